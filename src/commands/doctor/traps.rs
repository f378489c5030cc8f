//! Checks a package's manifests and sources for what makes reloads slower or impossible. The compiler's later
//! findings take precedence.

use std::path::Path;

use cargo_metadata::cargo_platform::Cfg;
use cargo_metadata::{DependencyKind, Target, TargetKind};
use toml_edit::{Document, Item};

use super::app::FRAMEWORKS;
use super::check::Check;
use super::closure::{Closure, list};
use crate::commands::package::Found;
use devhost_build::program_only::{Flags, TargetPlatform, has_no_main};
use devhost_build::{self as build, Settings, allocator};

/// How long a chain of inheriting profiles may be; cargo refuses cycles.
const PROFILES_INHERITED_COUNT_MAX: usize = 16;

/// Crates by which apps serve TLS, and the prefixes of the enabling features.
const TLS_FEATURES: &[(&str, &str)] = &[
    ("axum-server", "tls-"),
    ("actix-web", "rustls"),
    ("actix-web", "openssl"),
    ("poem", "rustls"),
    ("poem", "native-tls"),
    ("poem", "openssl-tls"),
    ("salvo", "rustls"),
    ("salvo", "native-tls"),
    ("salvo", "openssl"),
    ("rocket", "tls"),
    ("warp", "tls"),
    ("hyper-rustls", "acceptor"),
];

/// Crates whose macros embed whole directories file by file: the compiler does not notice new files.
const EMBEDDERS: &[&str] =
    &["include_dir", "rust-embed", "static-files", "actix-web-static-files", "axum-embed"];

pub(super) fn checks(found: &Found, closure: &Closure<'_>, settings: &Settings) -> Vec<Check> {
    let mut checks = Vec::new();
    let manifest = workspace_manifest(found);
    let profile = settings.profile();
    checks.extend(check_panic(manifest.as_ref(), profile));
    checks.extend(check_lto(manifest.as_ref(), profile));
    checks.extend(check_other_profiles(manifest.as_ref(), profile));
    checks.extend(check_static(found));
    checks.extend(check_sources(found));
    checks.extend(check_allocator(found, manifest.as_ref(), profile));
    checks.extend(check_protocols(found));
    checks.extend(check_native(found, closure));
    checks.extend(check_build_script(found, settings));
    checks.extend(check_embedding(found));
    checks.extend(check_own_rustc(found));
    checks
}

fn workspace_manifest(found: &Found) -> Option<Document<String>> {
    let path = found.metadata().workspace_root.join("Cargo.toml");
    Document::parse(std::fs::read_to_string(path).ok()?).ok()
}

/// Returns a setting of a profile, or the inherited one.
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
            "no action needed, unless you measure speed",
        )
    })
}

/// Reports what another profile would change. No warnings, since it was not chosen.
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
    let mut flags =
        Flags::read(found.root(), variable, |target| TargetPlatform::by_rustc(found.root(), target));
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
    }
    checks
}

/// Returns true if a target is or may be the app, or is its library.
fn is_meant(found: &Found, target: &Target) -> bool {
    let is_library = found.library().is_some_and(|library| library == target);
    let is_app = match &found.app {
        Ok(app) => target.src_path.as_std_path() == app.source,
        Err(_) => target.is_bin(),
    };
    is_library || is_app
}

/// Checks for a compiled-in allocator: many apps have one only for another platform, feature or profile.
fn check_allocator(found: &Found, manifest: Option<&Document<String>>, profile: &str) -> Option<Check> {
    let cfg = cfg(found, is_for_debugging(manifest, profile))?;
    let targets = found.package().targets.iter().filter(|target| is_meant(found, target));
    let source =
        targets.into_iter().find_map(|target| allocator::declared(target.src_path.as_std_path(), &cfg))?;
    let source = source.strip_prefix(found.root()).unwrap_or(&source);
    Some(Check::warn(
        "global-allocator",
        format!(
            "{} has a #[global_allocator]: if dependencies are shared, the standard library's own allocator is used \
             instead",
            source.display()
        ),
        "no action needed for development; for measurements use `cargo run` or `--strategy restart`",
    ))
}

/// Returns the `cfg` values that the app sees.
fn cfg(found: &Found, debugging: bool) -> Option<Vec<Cfg>> {
    let mut cfg = TargetPlatform::by_rustc(found.root(), Some(&found.host))?.cfg;
    cfg.extend(found.features().iter().filter_map(|feature| format!("feature={feature:?}").parse().ok()));
    let assertions: Cfg = "debug_assertions".parse().ok()?;
    cfg.retain(|cfg| *cfg != assertions);
    cfg.extend(debugging.then_some(assertions));
    Some(cfg)
}

fn is_for_debugging(manifest: Option<&Document<String>>, profile: &str) -> bool {
    if let Some(asked) = setting(manifest, profile, "debug-assertions").and_then(Item::as_bool) {
        return asked;
    }
    let profiles = manifest.and_then(|manifest| manifest.get("profile"));
    let mut name = profile;
    for _ in 0..PROFILES_INHERITED_COUNT_MAX {
        match profiles.and_then(|profiles| profiles.get(name)?.get("inherits")?.as_str()) {
            Some(inherited) => name = inherited,
            None => break,
        }
    }
    !matches!(name, "release" | "bench")
}

/// Checks for what the front does not forward: anything but HTTP/1.1 in clear text.
fn check_protocols(found: &Found) -> Vec<Check> {
    let mut checks = Vec::new();
    if found.depends_on("tonic") {
        let advice = "clients that speak gRPC have to wait for another way; gRPC-Web works (tonic-web, with \
                      `accept_http1(true)`)";
        let message = "it uses tonic: gRPC needs HTTP/2, and devhost passes on HTTP/1.1 only";
        // An app that also serves pages is worth a try.
        let serves_pages =
            FRAMEWORKS.iter().any(|(name, _)| !matches!(*name, "tonic" | "hyper") && found.depends_on(name))
                || found.depends_on("tonic-web");
        checks.push(if serves_pages {
            Check::warn("protocol", message, advice)
        } else {
            Check::fail("protocol", message, advice)
        });
    }
    let tls: Vec<String> = TLS_FEATURES
        .iter()
        .filter(|(name, start)| found.depends_on_feature(name, start))
        .map(|(name, _)| (*name).to_owned())
        .collect();
    if !tls.is_empty() {
        checks.push(Check::warn(
            "protocol",
            format!("it may serve TLS by itself ({}), and devhost passes on plain HTTP only", list(&tls)),
            "let it serve plain HTTP while developing",
        ));
    }
    checks
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

fn check_build_script(found: &Found, settings: &Settings) -> Option<Check> {
    let script = found.package().targets.iter().find(|target| target.is_kind(TargetKind::CustomBuild))?;
    let said = found.app.as_ref().ok().and_then(|app| build::script_names_inputs(app, settings));
    // If it uses no crates, it prints everything itself.
    let uses_crates =
        found.package().dependencies.iter().any(|dependency| dependency.kind == DependencyKind::Build);
    let is_known = said.is_some() || !uses_crates;
    let names_inputs = said.unwrap_or_else(|| {
        // Not run yet. A crate that it uses may print them.
        std::fs::read_to_string(&script.src_path).is_ok_and(|text| text.contains("rerun-if"))
    });
    Some(match (names_inputs, is_known) {
        (true, _) => Check::ok(
            "build-script",
            "the app has a build script, which runs only when what it names has changed",
        ),
        (false, false) => Check::ok(
            "build-script",
            "the app has a build script; once it has run, `devhost doctor` can tell what makes it run again",
        ),
        (false, true) => Check::warn(
            "build-script",
            "the app's build script names no inputs (`rerun-if-changed`), so it runs at every change of any file",
            "let it print `cargo::rerun-if-changed=build.rs` and the files that it reads",
        ),
    })
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

/// Returns true if a file exists below a package's root.
fn exists(root: &Path, name: &str) -> bool {
    root.join(name).is_file()
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
        // Another profile's finding becomes a warning only once it is chosen.
        let [other] = check_other_profiles(Some(&good), "dev").try_into().unwrap();
        assert!(other.message.contains("--profile release"), "{}", other.message);
        assert_eq!(check_panic(Some(&good), "release").unwrap().id, "panic-abort");
        let inherited =
            manifest("[profile.fast]\ninherits = \"release\"\n[profile.release]\npanic = \"abort\"");
        assert_eq!(check_panic(Some(&inherited), "fast").unwrap().id, "panic-abort");
        assert_eq!(check_panic(Some(&inherited), "other"), None);
    }

    #[test]
    fn assertions_for_debugging_follow_the_profile() {
        let manifest = manifest(
            "[profile.fast]\ninherits = \"release\"\n[profile.checked]\ninherits = \"release\"\ndebug-assertions = true",
        );
        let says = |profile| is_for_debugging(Some(&manifest), profile);
        assert!(says("dev") && says("checked") && !says("fast") && !says("release"));
    }
}
