//! Why an app can only run as its own program and not be loaded as a library, as far as known before a build.
//! Reads source files and cargo's configuration; the builder learns the rest from the compiler.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use cargo_metadata::cargo_platform::{Cfg, Platform};
use toml_edit::{Document, Item};

/// How many directories upwards cargo's configuration is searched.
const DIRECTORIES_COUNT_MAX: usize = 64;

/// Why the app with the root file `source`, built from `directory`, has to run as its own program.
pub fn reason(source: &Path, directory: &Path) -> Option<String> {
    if has_no_main(source) {
        return Some(format!("{} says #![no_main], so there is no `main` to call", source.display()));
    }
    reason_of_flags(directory)
}

/// The reason in rustc's flags or target.
fn reason_of_flags(directory: &Path) -> Option<String> {
    Flags::read(
        directory,
        |name| std::env::var_os(name),
        |target| TargetPlatform::by_rustc(directory, target),
    )
    .reason()
}

/// Whether a source file has an inner `#![no_main]`.
pub fn has_no_main(source: &Path) -> bool {
    let Ok(text) = std::fs::read_to_string(source) else { return false };
    match syn::parse_file(&text) {
        Ok(file) => file.attrs.iter().any(|attribute| attribute.path().is_ident("no_main")),
        // It is probably being written; cargo will report what is wrong.
        Err(_) => text.lines().any(|line| line.trim_start().starts_with("#![no_main]")),
    }
}

/// rustc's flags and target according to the environment and cargo's configuration.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// The target platform, if one is named.
    pub target: Option<String>,
    /// rustc's flags, and where they come from.
    pub rustflags: Vec<(String, String)>,
}

/// A platform's name and rustc's `cfg` for it.
#[derive(Debug, Clone)]
pub struct TargetPlatform {
    /// Such as `x86_64-unknown-linux-gnu`.
    pub name: String,
    /// The output of `rustc --print cfg`.
    pub cfg: Vec<Cfg>,
}

impl TargetPlatform {
    /// Asks rustc about a platform, or about the host. Returns `None` if it does not answer: cargo will say
    /// why.
    pub fn by_rustc(directory: &Path, target: Option<&str>) -> Option<Self> {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let ask = |args: &[&str]| {
            let output = Command::new(&rustc).args(args).current_dir(directory).output().ok()?;
            output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let name = match target {
            Some(target) => target.to_owned(),
            None => ask(&["-vV"])?.lines().find_map(|line| line.strip_prefix("host: "))?.to_owned(),
        };
        let cfg = ask(&["--print=cfg", "--target", &name])?;
        Some(Self { name, cfg: cfg.lines().filter_map(|line| line.parse().ok()).collect() })
    }

    /// Whether the configuration's table `[target.KEY]` is about this platform.
    fn is_meant_by(&self, key: &str) -> bool {
        key.parse::<Platform>().is_ok_and(|platform| platform.matches(&self.name, &self.cfg))
    }
}

impl Flags {
    /// Reads the configuration cargo would read in `directory`. `describe` is called at most once, only if
    /// needed, for the target platform, or the host if none is named.
    pub fn read(
        directory: &Path,
        variable: impl Fn(&str) -> Option<OsString>,
        describe: impl FnOnce(Option<&str>) -> Option<TargetPlatform>,
    ) -> Self {
        let text = |name: &str| variable(name).and_then(|value| value.into_string().ok());
        let home = variable("CARGO_HOME")
            .map(PathBuf::from)
            .or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".cargo")));
        let local =
            directory.ancestors().take(DIRECTORIES_COUNT_MAX).map(|directory| directory.join(".cargo"));
        let files: Vec<Configuration> =
            local.chain(home).filter_map(|place| Configuration::read(&place)).collect();
        let mut flags = Self {
            target: text("CARGO_BUILD_TARGET").or_else(|| {
                files.iter().find_map(|file| file.build_value("target")?.as_str().map(str::to_owned))
            }),
            rustflags: Vec::new(),
        };
        // Only the first of these places that has any counts.
        if let Some(encoded) = text("CARGO_ENCODED_RUSTFLAGS") {
            flags.add(encoded.split('\u{1f}'), "CARGO_ENCODED_RUSTFLAGS");
            return flags;
        }
        if let Some(plain) = text("RUSTFLAGS") {
            flags.add(plain.split_ascii_whitespace(), "RUSTFLAGS");
            return flags;
        }
        // Later flags win, and the nearest file comes last.
        let of_targets: Vec<_> = files.iter().rev().flat_map(Configuration::targets).collect();
        let of_build: Vec<_> = files.iter().rev().filter_map(Configuration::build_flags).collect();
        let matters = of_targets
            .iter()
            .map(|(_, flags)| flags)
            .chain(&of_build)
            .any(|(words, _)| words.iter().any(|word| is_about_runtime(word)));
        if matters
            && !of_targets.is_empty()
            && let Some(platform) = describe(flags.target.as_deref())
        {
            for (_, (words, source)) in of_targets.iter().filter(|(key, _)| platform.is_meant_by(key)) {
                flags.add(words.iter().map(String::as_str), source);
            }
        }
        if flags.rustflags.is_empty() {
            for (words, source) in &of_build {
                flags.add(words.iter().map(String::as_str), source);
            }
        }
        flags
    }

    /// The reason why these rule out a library.
    pub fn reason(&self) -> Option<String> {
        let last = self.rustflags.iter().rev().find(|(flag, _)| is_about_runtime(flag));
        if let Some((flag, source)) = last.filter(|(flag, _)| enables_static_runtime(flag)) {
            return Some(format!("{source} says `{flag}`, which links everything statically"));
        }
        let target = self.target.as_deref().filter(|target| target.contains("-musl"))?;
        Some(format!("it is built for {target}, which links everything statically"))
    }

    fn add<'f>(&mut self, flags: impl Iterator<Item = &'f str>, source: &str) {
        self.rustflags
            .extend(flags.filter(|flag| !flag.is_empty()).map(|flag| (flag.to_owned(), source.to_owned())));
    }
}

struct Configuration {
    path: String,
    document: Document<String>,
}

impl Configuration {
    fn read(directory: &Path) -> Option<Self> {
        let path = ["config.toml", "config"]
            .map(|name| directory.join(name))
            .into_iter()
            .find(|path| path.is_file())?;
        let document = Document::parse(std::fs::read_to_string(&path).ok()?).ok()?;
        Some(Self { path: path.display().to_string(), document })
    }

    fn build_value(&self, key: &str) -> Option<&Item> {
        self.document.get("build")?.get(key)
    }

    /// The flags for all platforms, and where they come from.
    fn build_flags(&self) -> Option<(Vec<String>, &str)> {
        Some((words(self.build_value("rustflags")?), &self.path))
    }

    /// Platform tables that have flags: key, flags, and where they come from.
    fn targets(&self) -> Vec<(String, (Vec<String>, &str))> {
        let tables = self.document.get("target").and_then(Item::as_table_like);
        let tables = tables.into_iter().flat_map(|tables| tables.iter());
        tables
            .filter_map(|(key, table)| {
                Some((key.to_owned(), (words(table.get("rustflags")?), self.path.as_str())))
            })
            .collect()
    }
}

fn words(item: &Item) -> Vec<String> {
    match item.as_str() {
        Some(text) => text.split_ascii_whitespace().map(str::to_owned).collect(),
        None => {
            let list = item.as_array().into_iter().flatten();
            list.filter_map(|word| word.as_str().map(str::to_owned)).collect()
        }
    }
}

/// The features named by `target-feature=…`, with or without `-C`.
fn target_features(flag: &str) -> impl DoubleEndedIterator<Item = &str> {
    let flag = flag.strip_prefix("-C").unwrap_or(flag).trim_start();
    flag.strip_prefix("target-feature=").into_iter().flat_map(|features| features.split(','))
}

fn is_about_runtime(flag: &str) -> bool {
    target_features(flag).any(|feature| matches!(feature, "+crt-static" | "-crt-static"))
}

fn enables_static_runtime(flag: &str) -> bool {
    target_features(flag).rfind(|feature| feature.ends_with("crt-static")) == Some("+crt-static")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(config: &str, variables: &[(&str, &str)]) -> Flags {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join(".cargo")).unwrap();
        std::fs::create_dir_all(dir.path().join("app/src")).unwrap();
        std::fs::write(dir.path().join(".cargo/config.toml"), config).unwrap();
        Flags::read(
            &dir.path().join("app"),
            |name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()),
            |target| {
                let cfg = ["unix", "target_os=\"linux\"", "target_env=\"gnu\""];
                let cfg = cfg.iter().map(|cfg| cfg.parse().unwrap()).collect();
                Some(TargetPlatform { name: target.unwrap_or("x86_64-unknown-linux-gnu").to_owned(), cfg })
            },
        )
    }

    #[test]
    fn a_static_runtime_is_a_reason_wherever_it_is_asked_for() {
        let configured = [
            "[build]\nrustflags = [\"-C\", \"target-feature=+crt-static\"]",
            "[build]\nrustflags = \"-Ctarget-feature=+avx2,+crt-static\"",
            "[target.x86_64-unknown-linux-gnu]\nrustflags = [\"-Ctarget-feature=+crt-static\"]",
            "[target.'cfg(unix)']\nrustflags = [\"-Ctarget-feature=+crt-static\"]",
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
    fn flags_for_other_platforms_are_no_reason() {
        for key in [
            "x86_64-pc-windows-msvc",
            "'cfg(target_os = \"windows\")'",
            "x86_64-unknown-linux-musl",
            "'cfg('",
        ] {
            let config = format!("[target.{key}]\nrustflags = [\"-C\", \"target-feature=+crt-static\"]");
            assert_eq!(flags(&config, &[]).reason(), None, "{config}");
        }
        let config = "[target.aarch64-unknown-linux-gnu]\nrustflags = \"-Ctarget-feature=+crt-static\"";
        let there = [("CARGO_BUILD_TARGET", "aarch64-unknown-linux-gnu")];
        assert!(flags(config, &there).reason().is_some());
    }

    #[test]
    fn flags_count_from_one_place_alone_and_the_last_one_decides() {
        let config = "[build]\nrustflags = \"-Ctarget-feature=+crt-static\"";
        assert_eq!(flags(config, &[("RUSTFLAGS", "-Copt-level=1")]).reason(), None);
        let config = format!("{config}\n[target.'cfg(unix)']\nrustflags = \"-Ctarget-feature=-crt-static\"");
        assert_eq!(flags(&config, &[]).reason(), None);
        let config = "[build]\nrustflags = \"-Ctarget-feature=+crt-static\"\n\
                      [target.x86_64-unknown-linux-gnu]\nrustflags = \"-Copt-level=1\"";
        assert_eq!(flags(config, &[]).reason(), None);
        let twice = [("RUSTFLAGS", "-Ctarget-feature=+crt-static -C target-feature=+avx2,-crt-static")];
        assert_eq!(flags("", &twice).reason(), None);
    }

    #[test]
    fn rustc_describes_its_own_platform() {
        let described = TargetPlatform::by_rustc(Path::new("."), None).unwrap();
        assert!(described.name.contains("linux") && described.is_meant_by("cfg(target_os = \"linux\")"));
        assert!(described.is_meant_by(&described.name) && !described.is_meant_by("cfg(windows)"));
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
