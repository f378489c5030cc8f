//! `devhost doctor`: looks at a package, the toolchain and the machine, and says of each thing that matters whether it
//! is well, and if not, what to do. It reads, and changes nothing.

mod machine;
mod traps;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::path::Path;
use std::process::ExitCode;

use cargo_metadata::{DependencyKind, Metadata, Package, PackageId, TargetKind};
use serde::Serialize;

use super::package::{self, Found};
use crate::cli::DoctorArgs;
use devhost_build::app::PLUGIN_PACKAGE;
use devhost_build::{self as build, App, Choice, LastBuild};
use devhost_model::AppKind;
use devhost_model::counted;
use devhost_model::{EXIT_FAULT, EXIT_MISTAKE, Error};
use devhost_terminal::{Format, Terminal};

/// How many names a line lists.
const NAMES_LISTED_COUNT_MAX: usize = 8;

/// Web frameworks by their crates, the more specific ones first: most stand on others of the list.
const FRAMEWORKS: &[(&str, &str)] = &[
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

/// How well something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Mark {
    Ok,
    Warn,
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Check {
    /// A name that stays the same from version to version.
    id: &'static str,
    mark: Mark,
    /// What is.
    message: String,
    /// What to do about it, empty where nothing is to be done.
    advice: String,
}

impl Check {
    fn ok(id: &'static str, message: impl Into<String>) -> Self {
        Self { id, mark: Mark::Ok, message: message.into(), advice: String::new() }
    }

    fn warn(id: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { id, mark: Mark::Warn, message: message.into(), advice: advice.into() }
    }

    fn fail(id: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { id, mark: Mark::Fail, message: message.into(), advice: advice.into() }
    }
}

/// The whole examination.
#[derive(Debug, Serialize)]
struct Examination {
    package: String,
    /// `plugin`, `plain`, or nothing where it is no app.
    kind: Option<&'static str>,
    framework: Option<&'static str>,
    /// Crates for the shared library of dependencies.
    shared: Vec<String>,
    /// Path crates, which are linked into the app's own library.
    path: Vec<String>,
    /// Procedural macros, which run in the compiler.
    macros: Vec<String>,
    checks: Vec<Check>,
}

/// Runs the examination and prints it.
pub(super) fn run(args: &DoctorArgs) -> ExitCode {
    let terminal = Terminal::new(Format::Human, false);
    match examine(args) {
        Ok(examination) => {
            let failed = examination.checks.iter().any(|check| check.mark == Mark::Fail);
            if print(&examination, args.json).is_err() {
                return ExitCode::from(EXIT_FAULT);
            }
            if failed { ExitCode::from(EXIT_MISTAKE) } else { ExitCode::SUCCESS }
        }
        Err(error) => {
            terminal.error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

fn examine(args: &DoctorArgs) -> Result<Examination, Error> {
    let cwd = std::env::current_dir()
        .map_err(|error| Error::fault(format!("the current directory cannot be used: {error}")))?;
    let found = package::find(args.app.as_deref(), &cwd, &args.selection)?;
    let settings = package::settings(&args.selection, &cwd);
    let closure = Closure::of(&found);
    let kind = kind(&found);
    let framework = framework(&found, &closure);
    let mut checks = vec![check_kind(&found), check_framework(framework)];
    let names = |packages: &[&Package]| names(packages.iter().copied());
    let last = found.app.as_ref().ok().and_then(|app| build::last_build(app, &settings));
    checks.push(check_shared(&closure, last));
    checks.extend(check_closure(&closure));
    checks.extend(traps::checks(&found, &closure, &settings));
    checks.extend(machine::versions(found.root()));
    checks.extend(machine::limits(&found, &closure));
    Ok(Examination {
        package: found.package().name.to_string(),
        kind,
        framework,
        shared: names(&closure.shared),
        path: names(&closure.path),
        macros: names(&closure.macros),
        checks,
    })
}

fn kind(found: &Found) -> Option<&'static str> {
    match &found.app {
        Ok(App { kind: AppKind::Plugin, .. }) => Some("plugin"),
        Ok(App { kind: AppKind::Plain, .. }) => Some("plain"),
        // Which of several binaries it is has to be said, but each of them is a plain app.
        Err(_) => (!found.binaries().is_empty()).then_some("plain"),
    }
}

fn check_kind(found: &Found) -> Check {
    let name = &found.package().name;
    let App { kind, choice, .. } = match &found.app {
        Ok(app) => app,
        Err(error) => return Check::fail("kind", error.message.clone(), error.hint.clone()),
    };
    match (kind, choice) {
        // The dependency is the sign of a plugin app; whether it exports one, its build will tell.
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

fn framework(found: &Found, closure: &Closure<'_>) -> Option<&'static str> {
    let direct = FRAMEWORKS.iter().find(|(name, _)| found.depends_on(name));
    let any = || {
        let reached: HashSet<&str> = closure.all().map(|package| package.name.as_str()).collect();
        FRAMEWORKS.iter().find(|(name, _)| reached.contains(name))
    };
    direct.or_else(any).map(|(_, title)| *title)
}

fn check_framework(framework: Option<&str>) -> Check {
    match framework {
        Some(title) => Check::ok("framework", format!("it is made with {title}")),
        None => Check::warn(
            "framework",
            "no web framework that devhost knows is among its dependencies",
            "no action needed, as long as it listens on a TCP port",
        ),
    }
}

fn check_closure(closure: &Closure<'_>) -> Vec<Check> {
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

/// Which dependencies go into the shared library: all that can, unless the last build has found out otherwise.
fn check_shared(closure: &Closure<'_>, last: Option<LastBuild>) -> Check {
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

/// The packages that a build of the app compiles for the app itself, told apart by where they go.
struct Closure<'m> {
    shared: Vec<&'m Package>,
    path: Vec<&'m Package>,
    macros: Vec<&'m Package>,
}

impl<'m> Closure<'m> {
    fn of(found: &'m Found) -> Self {
        let metadata: &'m Metadata = found.metadata();
        let packages: HashMap<&PackageId, &'m Package> =
            metadata.packages.iter().map(|package| (&package.id, package)).collect();
        let nodes: HashMap<_, _> =
            metadata.resolve.iter().flat_map(|resolve| &resolve.nodes).map(|node| (&node.id, node)).collect();
        let app = &found.package().id;
        let mut closure = Self { shared: Vec::new(), path: Vec::new(), macros: Vec::new() };
        let mut seen = HashSet::from([app]);
        let mut queue = VecDeque::from([app]);
        while let Some(id) = queue.pop_front() {
            let Some(package) = packages.get(id) else { continue };
            if id != app {
                let is_macro = package.targets.iter().any(|target| target.is_kind(TargetKind::ProcMacro));
                if is_macro {
                    closure.macros.push(package);
                    // What a macro uses is compiled for the compiler.
                    continue;
                } else if package.source.is_none() && package.name.as_str() != PLUGIN_PACKAGE {
                    closure.path.push(package);
                } else {
                    closure.shared.push(package);
                }
            }
            let dependencies = nodes.get(id).into_iter().flat_map(|node| &node.deps);
            for dependency in dependencies {
                let is_normal = dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal);
                if is_normal && seen.insert(&dependency.pkg) {
                    queue.push_back(&dependency.pkg);
                }
            }
        }
        closure
    }

    fn all(&self) -> impl Iterator<Item = &'m Package> {
        self.shared.iter().chain(&self.path).chain(&self.macros).copied()
    }
}

/// Names, with versions where one name has several.
fn names<'m>(packages: impl Iterator<Item = &'m Package>) -> Vec<String> {
    let packages: Vec<_> = packages.collect();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for package in &packages {
        *counts.entry(package.name.as_str()).or_default() += 1;
    }
    let names: BTreeSet<String> = packages
        .iter()
        .map(|package| match counts[package.name.as_str()] {
            1 => package.name.to_string(),
            _ => format!("{} {}", package.name, package.version),
        })
        .collect();
    names.into_iter().collect()
}

fn list(names: &[String]) -> String {
    let listed = names.iter().take(NAMES_LISTED_COUNT_MAX).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMES_LISTED_COUNT_MAX) {
        0 => listed,
        more => format!("{listed} and {more} more"),
    }
}

fn print(examination: &Examination, json: bool) -> std::io::Result<()> {
    use std::io::Write;
    let mut out = anstream::stdout().lock();
    if json {
        let text = serde_json::to_string_pretty(examination)?;
        return writeln!(out, "{text}");
    }
    for Check { mark, message, advice, .. } in &examination.checks {
        let mark = match mark {
            Mark::Ok => "\x1b[1;32m  ok\x1b[0m",
            Mark::Warn => "\x1b[1;33mwarn\x1b[0m",
            Mark::Fail => "\x1b[1;31mfail\x1b[0m",
        };
        writeln!(out, "{mark}  {message}")?;
        if !advice.is_empty() {
            writeln!(out, "      → {advice}")?;
        }
    }
    let count = |mark| examination.checks.iter().filter(|check| check.mark == mark).count();
    let (warnings, failures) = (count(Mark::Warn), count(Mark::Fail));
    writeln!(out, "\n{}", summary(warnings, failures))
}

fn summary(warnings: usize, failures: usize) -> String {
    let failures = match failures {
        0 => "nothing stands in the way".to_owned(),
        count => counted(count, "thing stands in the way", "things stand in the way"),
    };
    let warnings = match warnings {
        0 => "no warnings".to_owned(),
        count => counted(count, "warning", "warnings"),
    };
    format!("{failures}; {warnings}")
}

/// Whether a file exists below a package's root.
fn exists(root: &Path, name: &str) -> bool {
    root.join(name).is_file()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Selection;

    #[test]
    fn the_summary_counts() {
        assert_eq!(summary(0, 0), "nothing stands in the way; no warnings");
        assert_eq!(summary(1, 2), "2 things stand in the way; 1 warning");
    }

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (0..10).map(|n| format!("c{n}")).collect();
        assert!(list(&names).ends_with("c7 and 2 more"));
        assert_eq!(list(&names[..1]), "c0");
    }

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
