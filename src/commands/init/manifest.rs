//! The change to a Cargo.toml: the dependency on the plugin crate. Everything else in it stays as it is.

use std::path::Path;

use toml_edit::{DocumentMut, InlineTable, Item, Table, value};

use crate::build::app::PLUGIN_PACKAGE;

/// Adds the plugin crate to the dependencies, if it is not there.
pub(super) fn add_plugin(text: &str, plugin: &Path) -> Result<String, String> {
    let mut document: DocumentMut =
        text.parse().map_err(|error| format!("Cargo.toml does not parse: {error}"))?;
    let dependencies = document.entry("dependencies").or_insert(Item::Table(Table::new()));
    let Some(dependencies) = dependencies.as_table_like_mut() else {
        return Err("`dependencies` in Cargo.toml is no table".into());
    };
    if !dependencies.contains_key(PLUGIN_PACKAGE) {
        let path =
            plugin.to_str().ok_or("the path of devhost-plugin is no UTF-8, which Cargo.toml has to be")?;
        let mut entry = InlineTable::new();
        entry.insert("path", path.into());
        dependencies.insert(PLUGIN_PACKAGE, value(entry));
    }
    Ok(document.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_is_added_and_the_rest_stays() {
        let text = "# A shop.\n[package]\nname = \"shop\" # its name\n\n[dependencies]\naxum = \"0.8\"\n\n[profile.dev]\nlto = false\n";
        let added = add_plugin(text, Path::new("/d/plugin_abi")).unwrap();
        let line = "devhost-plugin = { path = \"/d/plugin_abi\" }\n";
        assert_eq!(added, text.replace("axum = \"0.8\"\n", &format!("axum = \"0.8\"\n{line}")));
        assert_eq!(add_plugin(&added, Path::new("/other")).unwrap(), added, "it is there already");
    }

    #[test]
    fn a_manifest_without_dependencies_gets_some() {
        let added = add_plugin("[package]\nname = \"shop\"\n", Path::new("/p")).unwrap();
        assert!(added.ends_with("[dependencies]\ndevhost-plugin = { path = \"/p\" }\n"), "{added}");
        assert!(add_plugin("dependencies = 1", Path::new("/p")).is_err());
        assert!(add_plugin("[", Path::new("/p")).is_err());
    }
}
