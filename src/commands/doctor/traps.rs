//! What in a package makes reloads slower or impossible. Reads manifests and sources; believes the compiler later.

use std::path::Path;

use cargo_metadata::{Target, TargetKind};
use syn::visit::{self, Visit};
use toml_edit::{Document, Item};

use super::{Check, Closure, exists, list};
use crate::build::Settings;
use crate::commands::package::Found;
use crate::restart::reason::{Described, Flags, has_no_main};

/// Allocators that many apps install.
const ALLOCATORS: &[&str] =
    &["tikv-jemallocator", "jemallocator", "mimalloc", "snmalloc-rs", "rpmalloc", "tcmalloc", "dhat"];

/// How many profiles may inherit one from the other; cargo refuses circles.
const PROFILES_INHERITED_COUNT_MAX: usize = 16;

/// Crates whose macros take in whole directories, each file by its name: the compiler does not see a new one.
const EMBEDDERS: &[&str] =
    &["include_dir", "rust-embed", "static-files", "actix-web-static-files", "axum-embed"];

/// Looks for each trap.
pub(super) fn checks(found: &Found, closure: &Closure<'_>, settings: &Settings) -> Vec<Check> {
    let mut checks = Vec::new();
    let manifest = workspace_manifest(found);
    let profile = settings.profile();
    checks.extend(check_panic(manifest.as_ref(), profile));
    checks.extend(check_lto(manifest.as_ref(), profile));
    checks.extend(check_other_profiles(manifest.as_ref(), profile));
    checks.extend(check_static(found));
    checks.extend(check_sources(found));
    checks.extend(check_allocators(found, closure));
    checks.extend(check_native(found, closure));
    checks.extend(check_build_script(found));
    checks.extend(check_embedding(found));
    checks.extend(check_own_rustc(found));
    checks
}

fn workspace_manifest(found: &Found) -> Option<Document<String>> {
    let path = found.metadata().workspace_root.join("Cargo.toml");
    Document::parse(std::fs::read_to_string(path).ok()?).ok()
}

/// A setting of a profile, or of one that it inherits.
fn setting<'d>(manifest: Option<&'d Document<String>>, profile: &str, key: &str) -> Option<&'d Item> {
    let profiles = manifest?.get("profile")?;
    let mut name = profile;
    for _ in 0..PROFILES_INHERITED_COUNT_MAX {
        let item = profiles.get(name);
        if let Some(setting) = item.and_then(|item| item.get(key)) {
            return Some(setting);
        }
        name = match name {
            "test" => "dev",
            "bench" => "release",
            _ => item?.get("inherits")?.as_str()?,
        };
    }
    None
}

fn aborts(manifest: Option<&Document<String>>, profile: &str) -> bool {
    setting(manifest, profile, "panic").and_then(Item::as_str) == Some("abort")
}

fn optimizes_at_link_time(manifest: Option<&Document<String>>, profile: &str) -> bool {
    setting(manifest, profile, "lto").is_some_and(|lto| {
        !(lto.as_bool() == Some(false) || matches!(lto.as_str(), Some("off" | "no" | "n")))
    })
}

fn check_panic(manifest: Option<&Document<String>>, profile: &str) -> Option<Check> {
    aborts(manifest, profile).then(|| {
        Check::warn(
            "panic-abort",
            format!(
                "the {profile} profile says panic = \"abort\": dependencies cannot be shared, and a panic ends the \
                 generation"
            ),
            "take it out of that profile, or use devhost with one that does not have it",
        )
    })
}

fn check_lto(manifest: Option<&Document<String>>, profile: &str) -> Option<Check> {
    optimizes_at_link_time(manifest, profile).then(|| {
        Check::warn(
            "lto",
            format!(
                "the {profile} profile asks for link-time optimization, which devhost switches off: it does not go with \
                 shared libraries"
            ),
            "nothing is to be done, unless what is measured is speed",
        )
    })
}

/// What would be different with another profile: a word, as nobody has asked for it.
fn check_other_profiles(manifest: Option<&Document<String>>, chosen: &str) -> Vec<Check> {
    let defined = manifest.and_then(|manifest| manifest.get("profile")).and_then(Item::as_table_like);
    let names = defined.into_iter().flat_map(|profiles| profiles.iter().map(|(name, _)| name));
    names
        .filter(|name| *name != chosen && !["test", "bench"].contains(name) && aborts(manifest, name))
        .map(|name| {
            Check::ok(
                "profiles",
                format!(
                    "with `--profile {name}` dependencies could not be shared: it says panic = \"abort\""
                ),
            )
        })
        .collect()
}

fn check_static(found: &Found) -> Option<Check> {
    let variable = |name: &str| std::env::var_os(name);
    let mut flags = Flags::read(found.root(), variable, |target| Described::by_rustc(found.root(), target));
    flags.target.get_or_insert_with(|| found.host.clone());
    let reason = flags.reason()?;
    Some(Check::warn(
        "crt-static",
        format!("the app cannot be loaded as a library and is started afresh for each reload: {reason}"),
        "leave that out while developing, or live with slower reloads (`--strategy restart`)",
    ))
}

fn check_sources(found: &Found) -> Vec<Check> {
    let mut checks = Vec::new();
    for target in found.package().targets.iter().filter(|target| is_meant(found, target)) {
        let source = target.src_path.as_std_path();
        if !found.library().is_some_and(|library| library == target) && has_no_main(source) {
            checks.push(Check::warn(
                "no-main",
                format!("`{}` says #![no_main]: there is no `main` to call, so it is started afresh for each reload", target.name),
                "give it an ordinary `main`, or live with slower reloads (`--strategy restart`)",
            ));
        }
        if has_global_allocator(source) {
            checks.push(allocator_check(&format!("{} has a #[global_allocator]", source.display())));
        }
    }
    checks
}

/// Whether a target is the app, or may be it, or is the library beside it.
fn is_meant(found: &Found, target: &Target) -> bool {
    let is_library = found.library().is_some_and(|library| library == target);
    let is_app = match &found.app {
        Ok(app) => target.src_path.as_std_path() == app.source,
        Err(_) => target.is_bin(),
    };
    is_library || is_app
}

fn allocator_check(what: &str) -> Check {
    Check::warn(
        "global-allocator",
        format!(
            "{what}: where dependencies are shared, the standard library's own allocator is used instead"
        ),
        "nothing is to be done for developing; for measurements use `cargo run` or `--strategy restart`",
    )
}

/// Among what it depends on on this platform: many apps have an allocator for another one.
fn check_allocators(found: &Found, closure: &Closure<'_>) -> Option<Check> {
    let is_used = |name: &str| closure.all().any(|package| package.name.as_str() == name);
    let known: Vec<String> = ALLOCATORS
        .iter()
        .filter(|name| found.depends_on(name) && is_used(name))
        .map(|name| (*name).to_owned())
        .collect();
    (!known.is_empty()).then(|| allocator_check(&format!("it depends on {}", list(&known))))
}

/// Whether a source file declares a global allocator, in it or in a module within it.
fn has_global_allocator(source: &Path) -> bool {
    struct Search(bool);
    impl Visit<'_> for Search {
        fn visit_item_static(&mut self, item: &syn::ItemStatic) {
            self.0 |= item.attrs.iter().any(|attribute| attribute.path().is_ident("global_allocator"));
            visit::visit_item_static(self, item);
        }
    }
    let Ok(text) = std::fs::read_to_string(source) else { return false };
    let Ok(file) = syn::parse_file(&text) else { return false };
    let mut search = Search(false);
    search.visit_file(&file);
    search.0
}

fn check_native(found: &Found, closure: &Closure<'_>) -> Vec<Check> {
    let mut linked: Vec<String> = closure
        .shared
        .iter()
        .chain(&closure.path)
        .filter(|package| package.links.is_some())
        .map(|package| package.name.to_string())
        .collect();
    linked.sort();
    linked.dedup();
    let mut checks = Vec::new();
    if !linked.is_empty() {
        checks.push(Check::ok("native", format!("crates with native code: {}", list(&linked))));
    }
    if let Some(links) = &found.package().links {
        checks.push(Check::warn(
            "links",
            format!("the app itself links the native library `{links}`"),
            "its code is linked into each new artifact; a crate of its own for it makes reloads faster",
        ));
    }
    checks
}

fn check_build_script(found: &Found) -> Option<Check> {
    let has_script = found.package().targets.iter().any(|target| target.is_kind(TargetKind::CustomBuild));
    let reads_all = || {
        let script = found.package().targets.iter().find(|target| target.is_kind(TargetKind::CustomBuild))?;
        let text = std::fs::read_to_string(&script.src_path).ok()?;
        Some(!text.contains("rerun-if"))
    };
    if !has_script {
        return None;
    }
    if reads_all() == Some(true) {
        return Some(Check::warn(
            "build-script",
            "the app's build script says no `rerun-if-changed`, so it runs at every change of any file",
            "let it print `cargo::rerun-if-changed=build.rs` and the files that it reads",
        ));
    }
    Some(Check::ok(
        "build-script",
        "the app has a build script, which runs only when what it names has changed",
    ))
}

fn check_embedding(found: &Found) -> Option<Check> {
    let known: Vec<String> =
        EMBEDDERS.iter().filter(|name| found.depends_on(name)).map(|name| (*name).to_owned()).collect();
    (!known.is_empty()).then(|| {
        Check::ok(
            "embedding",
            format!(
                "{}: what is compiled in counts as code; of a file that is new in such a directory the compiler hears \
                 with the next change of a source file",
                list(&known)
            ),
        )
    })
}

fn check_own_rustc(found: &Found) -> Vec<Check> {
    let mut checks = Vec::new();
    for directory in found.root().ancestors() {
        for name in [".cargo/config.toml", ".cargo/config"] {
            if !exists(directory, name) {
                continue;
            }
            let document = std::fs::read_to_string(directory.join(name))
                .ok()
                .and_then(|text| Document::parse(text).ok());
            let Some(build) = document.as_ref().and_then(|document| document.get("build")) else { continue };
            if build.get("rustc-workspace-wrapper").is_some() {
                checks.push(Check::warn(
                    "workspace-wrapper",
                    format!("{} sets build.rustc-workspace-wrapper", directory.join(name).display()),
                    "devhost puts itself in its place while it builds; use build.rustc-wrapper for caches",
                ));
            }
        }
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(text: &str) -> Document<String> {
        Document::parse(text.to_owned()).unwrap()
    }

    #[test]
    fn traps_are_those_of_the_profile_that_is_used() {
        let bad = manifest("[profile.dev]\npanic = \"abort\"\nlto = \"thin\"");
        assert_eq!(check_panic(Some(&bad), "dev").unwrap().id, "panic-abort");
        assert_eq!(check_lto(Some(&bad), "dev").unwrap().id, "lto");
        let good = manifest("[profile.dev]\nlto = false\n[profile.release]\npanic = \"abort\"\nlto = true");
        assert_eq!((check_panic(Some(&good), "dev"), check_lto(Some(&good), "dev")), (None, None));
        assert_eq!(check_panic(None, "dev"), None);
        // What another profile says is a word only, and a warning once it is chosen.
        let [other] = check_other_profiles(Some(&good), "dev").try_into().unwrap();
        assert!(other.message.contains("--profile release"), "{}", other.message);
        assert_eq!(check_panic(Some(&good), "release").unwrap().id, "panic-abort");
        let inherited =
            manifest("[profile.fast]\ninherits = \"release\"\n[profile.release]\npanic = \"abort\"");
        assert_eq!(check_panic(Some(&inherited), "fast").unwrap().id, "panic-abort");
        assert_eq!(check_panic(Some(&inherited), "other"), None);
    }

    #[test]
    fn a_global_allocator_is_found_in_a_module_and_not_in_a_comment() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "mod m { #[global_allocator] static A: X = X; }").unwrap();
        assert!(has_global_allocator(file.path()));
        std::fs::write(file.path(), "// #[global_allocator]\nfn main() {}").unwrap();
        assert!(!has_global_allocator(file.path()));
    }
}
