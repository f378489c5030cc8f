//! Why an app cannot be loaded as a library, as far as that can be known before a build. Reads sources and cargo's
//! configuration; the compiler's own word comes later, from the builder.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use toml_edit::{Document, Item};

/// How many directories upwards cargo's configuration is looked for.
const DIRECTORIES_COUNT_MAX: usize = 64;

/// The reason why the app whose root source file is `source`, built from `directory`, has to run as its own program.
pub fn reason(source: &Path, directory: &Path) -> Option<String> {
    if has_no_main(source) {
        return Some(format!("{} says #![no_main], so there is no `main` to call", source.display()));
    }
    reason_of_flags(directory)
}

/// The reason that lies in how and for what rustc compiles.
pub fn reason_of_flags(directory: &Path) -> Option<String> {
    Flags::read(directory, |name| std::env::var_os(name)).reason()
}

/// Whether a source file has `#![no_main]` at its head.
pub fn has_no_main(source: &Path) -> bool {
    let Ok(text) = std::fs::read_to_string(source) else { return false };
    match syn::parse_file(&text) {
        Ok(file) => file.attrs.iter().any(|attribute| attribute.path().is_ident("no_main")),
        // It is being written just now; cargo will say what is wrong.
        Err(_) => text.lines().any(|line| line.trim_start().starts_with("#![no_main]")),
    }
}

/// What the environment and cargo's configuration say about how and for what rustc compiles.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// The target platform, where one is named.
    pub target: Option<String>,
    /// The flags for rustc, and where they come from.
    pub rustflags: Vec<(String, String)>,
}

impl Flags {
    /// Reads the configuration that cargo would read in `directory`.
    pub fn read(directory: &Path, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let text = |name: &str| variable(name).and_then(|value| value.into_string().ok());
        let mut flags = Self { target: text("CARGO_BUILD_TARGET"), rustflags: Vec::new() };
        if let Some(encoded) = text("CARGO_ENCODED_RUSTFLAGS") {
            flags.add(encoded.split('\u{1f}'), "CARGO_ENCODED_RUSTFLAGS");
        }
        if let Some(plain) = text("RUSTFLAGS") {
            flags.add(plain.split_ascii_whitespace(), "RUSTFLAGS");
        }
        let home = variable("CARGO_HOME")
            .map(PathBuf::from)
            .or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".cargo")));
        let local =
            directory.ancestors().take(DIRECTORIES_COUNT_MAX).map(|directory| directory.join(".cargo"));
        for directory in local.chain(home) {
            let file = ["config.toml", "config"].map(|name| directory.join(name));
            if let Some(file) = file.into_iter().find(|file| file.is_file()) {
                flags.add_file(&file);
            }
        }
        flags
    }

    /// The reason why a library cannot be made with these.
    pub fn reason(&self) -> Option<String> {
        if let Some((flag, source)) = self.rustflags.iter().find(|(flag, _)| enables_static_runtime(flag)) {
            return Some(format!("{source} says `{flag}`, which links everything statically"));
        }
        let target = self.target.as_deref().filter(|target| target.contains("-musl"))?;
        Some(format!("it is built for {target}, which links everything statically"))
    }

    fn add<'f>(&mut self, flags: impl Iterator<Item = &'f str>, source: &str) {
        self.rustflags
            .extend(flags.filter(|flag| !flag.is_empty()).map(|flag| (flag.to_owned(), source.to_owned())));
    }

    fn add_file(&mut self, path: &Path) {
        let Ok(text) = std::fs::read_to_string(path) else { return };
        let Ok(document) = Document::parse(text) else { return };
        let source = path.display().to_string();
        let build = document.get("build");
        if self.target.is_none() {
            self.target =
                build.and_then(|build| build.get("target")).and_then(Item::as_str).map(str::to_owned);
        }
        let tables = document.get("target").and_then(Item::as_table_like);
        let targets = tables.into_iter().flat_map(|targets| targets.iter().map(|(_, target)| target));
        for section in build.into_iter().chain(targets) {
            match section.get("rustflags") {
                Some(flags) if flags.is_str() => {
                    self.add(flags.as_str().unwrap_or_default().split_ascii_whitespace(), &source);
                }
                Some(flags) => {
                    let flags = flags.as_array().into_iter().flatten();
                    self.add(flags.filter_map(|flag| flag.as_str()), &source);
                }
                None => {}
            }
        }
    }
}

/// `target-feature=+crt-static`, alone or after `-C`.
fn enables_static_runtime(flag: &str) -> bool {
    let flag = flag.strip_prefix("-C").unwrap_or(flag).trim_start();
    flag.strip_prefix("target-feature=")
        .is_some_and(|features| features.split(',').any(|feature| feature == "+crt-static"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(config: &str, variables: &[(&str, &str)]) -> Flags {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join(".cargo")).unwrap();
        std::fs::create_dir_all(dir.path().join("app/src")).unwrap();
        std::fs::write(dir.path().join(".cargo/config.toml"), config).unwrap();
        Flags::read(&dir.path().join("app"), |name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
        })
    }

    #[test]
    fn a_static_runtime_is_a_reason_wherever_it_is_asked_for() {
        let configured = [
            "[build]\nrustflags = [\"-C\", \"target-feature=+crt-static\"]",
            "[build]\nrustflags = \"-Ctarget-feature=+avx2,+crt-static\"",
            "[target.x86_64-unknown-linux-gnu]\nrustflags = [\"-Ctarget-feature=+crt-static\"]",
        ];
        for config in configured {
            let reason = flags(config, &[]).reason().unwrap_or_else(|| panic!("no reason: {config}"));
            assert!(reason.contains("config.toml says"), "{reason}");
        }
        let reason = flags("", &[("RUSTFLAGS", "-C target-feature=+crt-static")]).reason().unwrap();
        assert!(reason.starts_with("RUSTFLAGS says"), "{reason}");
        assert_eq!(flags("[build]\nrustflags = [\"-Ctarget-feature=-crt-static\"]", &[]).reason(), None);
    }

    #[test]
    fn a_musl_target_is_a_reason() {
        let musl = flags("[build]\ntarget = \"x86_64-unknown-linux-musl\"", &[]);
        assert!(musl.reason().unwrap().contains("x86_64-unknown-linux-musl"));
        let gnu = [("CARGO_BUILD_TARGET", "x86_64-unknown-linux-gnu")];
        assert_eq!(flags("[build]\ntarget = \"x86_64-unknown-linux-musl\"", &gnu).reason(), None);
        assert_eq!(flags("not [ toml", &[]), Flags::default());
    }

    #[test]
    fn no_main_is_a_reason_and_a_mention_of_it_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("main.rs");
        std::fs::write(&source, "//! Docs.\n#![allow(dead_code)]\n#![no_main]\nfn f() {}\n").unwrap();
        assert!(reason(&source, dir.path()).unwrap().contains("no_main"));
        std::fs::write(&source, "// #![no_main] is not used here\nfn main() {}\n").unwrap();
        assert!(!has_no_main(&source));
        assert!(!has_no_main(&dir.path().join("missing.rs")));
    }
}
