//! Whether a library's source files say `export!`, which distinguishes a plugin app from a package that
//! merely depends on the plugin crate. The build has the last word.

use std::path::Path;

use syn::visit::Visit;

/// Limit on source files read.
const SOURCES_COUNT_MAX: usize = 10_000;

/// Whether a source file next to or below a library's root file exports an app.
pub fn is_said_by(library: &Path) -> bool {
    let Some(directory) = library.parent() else { return false };
    let files = ignore::WalkBuilder::new(directory).follow_links(true).build().flatten();
    files
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "rs"))
        .take(SOURCES_COUNT_MAX)
        .filter_map(|entry| std::fs::read_to_string(entry.path()).ok())
        .any(|text| says_export(&text))
}

/// Whether a source file exports an app. Mentions in strings or comments do not count.
fn says_export(text: &str) -> bool {
    struct Search(bool);
    impl Visit<'_> for Search {
        fn visit_item_macro(&mut self, item: &syn::ItemMacro) {
            let names: Vec<_> = item.mac.path.segments.iter().map(|part| part.ident.to_string()).collect();
            self.0 |= names == ["export"] || names == ["devhost_plugin", "export"];
        }
    }
    if !text.contains("export!") {
        return false;
    }
    // It is probably being written, and says what it said before.
    let Ok(file) = syn::parse_file(text) else { return true };
    let mut search = Search(false);
    search.visit_file(&file);
    search.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_is_told_from_a_mention() {
        assert!(says_export("pub fn app() {}\n\ndevhost_plugin::export!(app);"));
        assert!(says_export("use devhost_plugin::export;\nmod m { export!(app); }"));
        assert!(!says_export(
            "// devhost_plugin::export!(app);\nconst HINT: &str = \"\ndevhost_plugin::export!(app);\";"
        ));
        assert!(!says_export("wit_bindgen::export!(app);"));
        assert!(says_export("pub fn app() {\ndevhost_plugin::export!(app);"), "half written");
    }
}
