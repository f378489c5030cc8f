//! The package: its kind of app, its framework, and where its dependencies go.

use std::collections::HashSet;

use cargo_metadata::Package;
use devhost_build::app::PLUGIN_PACKAGE;
use devhost_build::{App, Choice, LastBuild};
use devhost_model::{AppKind, counted};

use super::check::Check;
use super::closure::{Closure, list, names};
use crate::commands::package::Found;

/// Web frameworks by crate, more specific ones first: most build on others in the list.
pub(super) const FRAMEWORKS: &[(&str, &str)] = &[
    ("leptos_axum", "Leptos on axum"),
    ("leptos_actix", "Leptos on actix-web"),
    ("loco-rs", "Loco"),
    ("rocket", "Rocket"),
    ("actix-web", "actix-web"),
    ("axum", "axum"),
    ("poem", "Poem"),
    ("salvo", "Salvo"),
    ("warp", "warp"),
    ("ntex", "ntex"),
    ("tide", "Tide"),
    ("gotham", "Gotham"),
    ("rouille", "rouille"),
    ("tonic", "tonic (gRPC)"),
    ("tiny_http", "tiny_http"),
    ("hyper", "hyper"),
];

pub(super) fn kind(found: &Found) -> Option<&'static str> {
    match &found.app {
        Ok(App { kind: AppKind::Plugin, .. }) => Some("plugin"),
        Ok(App { kind: AppKind::Plain, .. }) => Some("plain"),
        // The user has to choose a binary, but each of them is a plain app.
        Err(_) => (!found.binaries().is_empty()).then_some("plain"),
    }
}

pub(super) fn check_kind(found: &Found) -> Check {
    let name = &found.package().name;
    let App { kind, choice, .. } = match &found.app {
        Ok(app) => app,
        Err(error) => return Check::fail("kind", error.message.clone(), error.hint.clone()),
    };
    match (kind, choice) {
        // The dependency suggests a plugin app; only its build tells whether it exports one.
        (AppKind::Plugin, _) if !found.exports_app() => Check::warn(
            "kind",
            format!("`{name}` depends on {PLUGIN_PACKAGE}, but its library exports no app"),
            "write `devhost_plugin::export!(app);` in the library, or choose the binary: `devhost run --bin NAME`",
        ),
        (AppKind::Plugin, _) => {
            Check::ok("kind", format!("`{name}` is a plugin app: its library says `export!`"))
        }
        (AppKind::Plain, Choice::Example(example)) => {
            Check::ok("kind", format!("the example `{example}` of `{name}` is a plain app"))
        }
        (AppKind::Plain, Choice::Bin(binary)) => {
            Check::ok("kind", format!("`{name}` is a plain app: its binary is `{binary}`"))
        }
        (AppKind::Plain, Choice::Lib) => Check::ok("kind", format!("`{name}` is a plain app")),
    }
}

pub(super) fn framework(found: &Found, closure: &Closure<'_>) -> Option<&'static str> {
    let direct = FRAMEWORKS.iter().find(|(name, _)| found.depends_on(name));
    let any = || {
        let reached: HashSet<&str> = closure.all().map(|package| package.name.as_str()).collect();
        FRAMEWORKS.iter().find(|(name, _)| reached.contains(name))
    };
    direct.or_else(any).map(|(_, title)| *title)
}

pub(super) fn check_framework(framework: Option<&str>) -> Check {
    match framework {
        Some(title) => Check::ok("framework", format!("it is made with {title}")),
        None => Check::warn(
            "framework",
            "no web framework that devhost knows is among its dependencies",
            "no action needed, as long as it listens on a TCP port",
        ),
    }
}

pub(super) fn check_closure(closure: &Closure<'_>) -> Vec<Check> {
    let line = |packages: &[&Package]| list(&names(packages.iter().copied()));
    let mut checks = Vec::new();
    if !closure.path.is_empty() {
        checks.push(Check::ok(
            "path",
            format!(
                "path crates stay with the app, and are built anew when they change: {}",
                line(&closure.path)
            ),
        ));
    }
    if !closure.macros.is_empty() {
        let macros = counted(closure.macros.len(), "procedural macro runs", "procedural macros run");
        checks.push(Check::ok("macros", format!("{macros} in the compiler alone")));
    }
    checks
}

/// Reports which dependencies go into the shared library: all that can, unless the last build found
/// otherwise.
pub(super) fn check_shared(closure: &Closure<'_>, last: Option<LastBuild>) -> Check {
    let count = closure.shared.len();
    let crates = counted(count, "crate", "crates");
    match last {
        None if count == 0 => Check::ok("shared", "there are no dependencies to share"),
        None => Check::ok("shared", format!("{crates} can go into the shared library of dependencies")),
        Some(LastBuild { shared: true, notes }) if notes.is_empty() => {
            Check::ok("shared", format!("{crates} are in the shared library of dependencies"))
        }
        Some(LastBuild { shared: true, notes }) => Check::ok(
            "shared",
            format!(
                "of {crates}, those that can be are in the shared library of dependencies: {}",
                notes.join("; ")
            ),
        ),
        Some(LastBuild { shared: false, notes }) => Check::warn(
            "shared",
            format!("in the last build nothing could be shared, of {crates}: {}", notes.join("; ")),
            "it works, and each reload links all dependencies; `devhost run` tries again once they have changed",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::cli::Selection;
    use crate::commands::package;

    #[test]
    fn this_package_is_examined() {
        let found =
            package::find(None, Path::new(env!("CARGO_MANIFEST_DIR")), &Selection::default()).unwrap();
        let closure = Closure::of(&found);
        assert_eq!(kind(&found), Some("plain"));
        assert_eq!(framework(&found, &closure), Some("actix-web"));
        assert!(closure.macros.iter().any(|package| package.name.as_str() == "serde_derive"));
        assert!(closure.shared.iter().any(|package| package.name.as_str() == "serde"));
        assert!(!closure.all().any(|package| package.name.as_str() == "proptest"), "a dependency of tests");
    }
}
