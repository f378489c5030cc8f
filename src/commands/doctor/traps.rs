//! What in a package makes reloads slower or impossible. Reads manifests and sources; believes the compiler later.

use std::path::Path;

use cargo_metadata::TargetKind;
use syn::visit::{self, Visit};
use toml_edit::{Document, Item};

use super::{Check, Closure, exists, list};
use crate::commands::package::Found;
use crate::restart::reason::{Described, Flags, has_no_main};

/// Allocators that many apps install.
const ALLOCATORS: &[&str] =
    &["tikv-jemallocator", "jemallocator", "mimalloc", "snmalloc-rs", "rpmalloc", "tcmalloc", "dhat"];

/// Looks for each trap.
pub(super) fn checks(found: &Found, closure: &Closure<'_>) -> Vec<Check> {
    let mut checks = Vec::new();
    let manifest = workspace_manifest(found);
    checks.extend(check_panic(manifest.as_ref()));
    checks.extend(check_lto(manifest.as_ref()));
    checks.extend(check_static(found));
    checks.extend(check_sources(found));
    checks.extend(check_allocators(found, closure));
    checks.extend(check_native(found, closure));
    checks.extend(check_build_script(found));
    checks.extend(check_own_rustc(found));
    checks
}

fn workspace_manifest(found: &Found) -> Option<Document<String>> {
    let path = found.metadata.workspace_root.join("Cargo.toml");
    Document::parse(std::fs::read_to_string(path).ok()?).ok()
}

/// A setting of the profile that devhost builds with.
fn profile<'d>(manifest: Option<&'d Document<String>>, key: &str) -> Option<&'d Item> {
    manifest?.get("profile")?.get("dev")?.get(key)
}

fn check_panic(manifest: Option<&Document<String>>) -> Option<Check> {
    let aborts = profile(manifest, "panic").and_then(Item::as_str) == Some("abort");
    aborts.then(|| {
        Check::warn(
            "panic-abort",
            "the dev profile says panic = \"abort\": dependencies cannot be shared, and a panic ends the generation",
            "remove it from [profile.dev]; [profile.release] may keep it",
        )
    })
}

fn check_lto(manifest: Option<&Document<String>>) -> Option<Check> {
    let lto = profile(manifest, "lto")?;
    let off = lto.as_bool() == Some(false) || matches!(lto.as_str(), Some("off" | "no" | "n"));
    (!off).then(|| {
        Check::warn(
            "lto",
            "the dev profile asks for link-time optimization, which devhost switches off: it does not go with shared \
             libraries",
            "remove `lto` from [profile.dev]",
        )
    })
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
    for target in found.binaries().into_iter().chain(found.library()) {
        let source = target.src_path.as_std_path();
        if target.is_bin() && has_no_main(source) {
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
    fn traps_of_the_profile_are_found_in_dev_alone() {
        let bad = manifest("[profile.dev]\npanic = \"abort\"\nlto = \"thin\"");
        assert_eq!(check_panic(Some(&bad)).unwrap().id, "panic-abort");
        assert_eq!(check_lto(Some(&bad)).unwrap().id, "lto");
        let good = manifest("[profile.dev]\nlto = false\n[profile.release]\npanic = \"abort\"\nlto = true");
        assert_eq!((check_panic(Some(&good)), check_lto(Some(&good))), (None, None));
        assert_eq!(check_panic(None), None);
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
