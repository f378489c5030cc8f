//! `devhost init`: turns a plain app into a plugin app where that can be done safely. It makes a plan, shows it as a
//! diff, asks, and then writes all of it or nothing.

mod manifest;
mod split;

use std::fs;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use similar::TextDiff;

use super::package::{self, Found};
use crate::build::app::PLUGIN_PACKAGE;
use crate::cli::{InitArgs, Selection};
use crate::error::Error;
use crate::terminal::{Format, Terminal};

/// How many lines around a change are shown.
const CONTEXT_LINES_COUNT: usize = 3;
/// How many changed files git's list is cut to.
const DIRTY_LISTED_COUNT_MAX: usize = 5;

/// What is written next to a file before it takes its place.
const STAGED_PREFIX: &str = ".devhost-init-";

/// Frameworks whose apps a plugin app cannot export: a plugin app is a tower service of HTTP requests.
const FRAMEWORKS_OF_THEIR_OWN: &[(&str, &str)] = &[
    (
        "actix-web",
        "has services of its own, which are no tower services and stay on the thread that made them",
    ),
    ("ntex", "has services of its own, which are no tower services and stay on the thread that made them"),
    ("rocket", "runs its own server, and gives no service that takes a request"),
    ("poem", "has endpoints of its own, with requests and responses of their own types"),
    ("salvo", "has handlers of its own, with requests and responses of their own types"),
    (
        "warp",
        "has filters of its own; a service that is made of one takes requests with hyper's own bodies alone",
    ),
    ("tide", "has requests and responses of its own types, and another runtime"),
    ("gotham", "has handlers of its own, with a state of its own"),
    ("rouille", "runs its own server, without tower services"),
    ("tiny_http", "runs its own server, without tower services"),
];

/// A file that is to be written.
#[derive(Debug, PartialEq, Eq)]
struct Change {
    path: PathBuf,
    /// What it has now; nothing where it does not exist.
    old: Option<String>,
    new: String,
}

/// All that is to be done.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    changes: Vec<Change>,
    notes: Vec<String>,
}

/// Runs it to its end.
pub fn run(args: &InitArgs) -> ExitCode {
    let terminal = Terminal::new(Format::Human, false);
    match convert(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            terminal.error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

fn convert(args: &InitArgs) -> Result<(), Error> {
    let cwd = std::env::current_dir()
        .map_err(|error| Error::fault(format!("the current directory cannot be used: {error}")))?;
    let found = package::find(args.app.as_deref(), &cwd, &Selection::default())?;
    let name = &found.package().name;
    if found.exports_app() {
        say(&format!("`{name}` is a plugin app already: nothing is to be done"))?;
        return Ok(());
    }
    let Plan { changes, notes } = plan(&found, args)?;
    let mut diff = String::new();
    for change in &changes {
        diff.push_str(&unified_diff(change, found.root()));
    }
    say(diff.trim_end())?;
    for note in &notes {
        say(&format!("note: {note}"))?;
    }
    if !args.allow_dirty {
        refuse_dirty_tree(found.root())?;
    }
    if !args.yes && !confirm()? {
        return Err(Error::mistake(
            "nothing was changed",
            "`devhost init --yes` changes the files without asking",
        ));
    }
    write_all(&changes)?;
    say(&format!(
        "`{name}` is a plugin app now. `cargo check` says whether all fits; `devhost run` serves it."
    ))
}

fn say(text: &str) -> Result<(), Error> {
    let mut out = anstream::stdout().lock();
    writeln!(out, "{text}").map_err(|error| Error::fault(format!("cannot write to standard output: {error}")))
}

/// Finds out what is to be done, or why it has to be done by hand.
fn plan(found: &Found, args: &InitArgs) -> Result<Plan, Error> {
    let name = &found.package().name;
    if let Some((framework, why)) = FRAMEWORKS_OF_THEIR_OWN.iter().find(|(name, _)| found.depends_on(name))
        && !found.depends_on("axum")
    {
        return Err(Error::mistake(
            format!("`{name}` stays a plain app: {framework} {why}"),
            "nothing is to be done: `devhost run` serves it as it is, and reloads it as a plugin app is reloaded",
        ));
    }
    if !found.depends_on("axum") && found.library().is_none() {
        return Err(by_hand(
            found,
            "it does not depend on axum, and the library of a plugin app exports an axum Router or another tower service",
        ));
    }
    let mut plan = match found.library() {
        Some(library) => extend_library(found, library.src_path.as_std_path())?,
        None => make_library(found)?,
    };
    if !found.depends_on(PLUGIN_PACKAGE) {
        let path = found.package().manifest_path.as_std_path();
        let plugin = plugin_path(args)?;
        let old = read(path)?;
        let new = manifest::add_plugin(&old, &plugin)
            .map_err(|reason| Error::mistake(format!("`{name}`: {reason}"), "mend the manifest first"))?;
        plan.changes.insert(0, Change { path: path.to_owned(), old: Some(old), new });
    }
    Ok(plan)
}

/// A package with a library: its function is exported.
fn extend_library(found: &Found, path: &Path) -> Result<Plan, Error> {
    let old = read(path)?;
    let Some(function) = split::find_app_function(&old) else {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        return Err(by_hand(
            found,
            &format!("{file} has no single function without arguments that returns a Router"),
        ));
    };
    let new = format!("{}\n\ndevhost_plugin::export!({function});\n", old.trim_end());
    Ok(Plan { changes: vec![Change { path: path.to_owned(), old: Some(old), new }], notes: Vec::new() })
}

/// A package with a `main` alone: it is divided.
fn make_library(found: &Found) -> Result<Plan, Error> {
    let binaries = found.binaries();
    let [binary] = binaries.as_slice() else {
        return Err(by_hand(found, &format!("it has {} binaries and no library", binaries.len())));
    };
    let main = binary.src_path.as_std_path();
    let library = found.root().join("src/lib.rs");
    if main != found.root().join("src/main.rs") {
        return Err(by_hand(found, &format!("its binary is not src/main.rs but {}", main.display())));
    }
    if library.exists() {
        return Err(by_hand(found, "src/lib.rs exists, but is no library to cargo"));
    }
    let old = read(main)?;
    let crate_name = found.package().name.replace('-', "_");
    let split::Split { library: text, main: new, notes } =
        split::split(&old, &crate_name).map_err(|reason| by_hand(found, &reason))?;
    let changes = vec![
        Change { path: library, old: None, new: text },
        Change { path: main.to_owned(), old: Some(old), new },
    ];
    Ok(Plan { changes, notes })
}

/// The app cannot be changed safely: what a person would do.
fn by_hand(found: &Found, reason: &str) -> Error {
    Error::mistake(
        format!("`{}` cannot be changed safely: {reason}", found.package().name),
        format!(
            "`devhost run` serves it as it is. To make it a plugin app by hand: add {PLUGIN_PACKAGE} to [dependencies]; \
             let src/lib.rs have `pub fn app() -> axum::Router` (it may be async, and may return a Result) and \
             `devhost_plugin::export!(app);`; and let `main` serve what that function returns"
        ),
    )
}

/// Where the plugin crate is.
fn plugin_path(args: &InitArgs) -> Result<PathBuf, Error> {
    let has_it = |directory: &Path| {
        let manifest = fs::read_to_string(directory.join("Cargo.toml")).unwrap_or_default();
        manifest.contains(&format!("name = \"{PLUGIN_PACKAGE}\""))
    };
    if let Some(given) = &args.plugin_path {
        return given.canonicalize().ok().filter(|path| has_it(path)).ok_or_else(|| {
            Error::mistake(
                format!("{} has no package {PLUGIN_PACKAGE}", given.display()),
                "give the directory plugin_abi of devhost's repository",
            )
        });
    }
    let executable = std::env::current_exe().unwrap_or_default();
    let beside =
        executable.ancestors().map(|directory| directory.join("plugin_abi")).find(|path| has_it(path));
    beside.ok_or_else(|| {
        Error::mistake(
            format!("where the crate {PLUGIN_PACKAGE} is cannot be told: devhost does not run from its repository"),
            "say it with `--plugin-path DIR`: the directory plugin_abi of devhost's repository. What is to be added to \
             Cargo.toml is `devhost-plugin = { path = \"DIR\" }`",
        )
    })
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|error| Error::fault(format!("cannot read {}: {error}", path.display())))
}

fn unified_diff(change: &Change, root: &Path) -> String {
    let name = change.path.strip_prefix(root).unwrap_or(&change.path).display().to_string();
    let old_name = if change.old.is_some() { format!("a/{name}") } else { "/dev/null".into() };
    let old = change.old.as_deref().unwrap_or_default();
    TextDiff::from_lines(old, change.new.as_str())
        .unified_diff()
        .context_radius(CONTEXT_LINES_COUNT)
        .header(&old_name, &format!("b/{name}"))
        .to_string()
}

/// As `cargo fix` does: what was not committed could not be told from what is changed here.
fn refuse_dirty_tree(root: &Path) -> Result<(), Error> {
    let output = Command::new("git").args(["status", "--porcelain", "--", "."]).current_dir(root).output();
    // No git, or no repository: the diff has been shown.
    let Ok(output) = output else { return Ok(()) };
    let text = String::from_utf8_lossy(&output.stdout);
    let files: Vec<&str> = text.lines().filter_map(|line| line.get(3..)).collect();
    if files.is_empty() {
        return Ok(());
    }
    let listed = files.iter().take(DIRTY_LISTED_COUNT_MAX).copied().collect::<Vec<_>>().join(", ");
    let more = match files.len().saturating_sub(DIRTY_LISTED_COUNT_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Err(Error::mistake(
        format!("git has changes here that are not committed: {listed}{more}"),
        "commit or stash them, or change the files all the same with --allow-dirty",
    ))
}

/// Asks. Nobody to ask means no.
fn confirm() -> Result<bool, Error> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Ok(false);
    }
    let failed = |error: io::Error| Error::fault(format!("cannot ask: {error}"));
    let mut err = anstream::stderr().lock();
    write!(err, "Change these files? [y/N] ").map_err(failed)?;
    err.flush().map_err(failed)?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer).map_err(failed)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Writes all files, or none: each next to its place first, and back again where one does not get there.
fn write_all(changes: &[Change]) -> Result<(), Error> {
    let failed = |path: &Path, error: &io::Error| {
        Error::fault(format!("cannot write {}: {error}; nothing was changed", path.display()))
    };
    let mut staged = Vec::new();
    for change in changes {
        let directory = change.path.parent().unwrap_or(Path::new("."));
        let file = stage(directory, change).map_err(|error| failed(&change.path, &error))?;
        staged.push(file);
    }
    for (index, (file, change)) in staged.into_iter().zip(changes).enumerate() {
        // Whoever saved it meanwhile is not overwritten.
        let is_old = fs::read_to_string(&change.path).ok() == change.old;
        let placed = if is_old {
            file.persist(&change.path).map(drop).map_err(|error| error.error)
        } else {
            Err(io::Error::other("it has been changed meanwhile"))
        };
        if let Err(error) = placed {
            for done in &changes[..index] {
                let _ = match &done.old {
                    Some(old) => fs::write(&done.path, old),
                    None => fs::remove_file(&done.path),
                };
            }
            return Err(failed(&change.path, &error));
        }
    }
    Ok(())
}

fn stage(directory: &Path, change: &Change) -> io::Result<tempfile::NamedTempFile> {
    let mut file = tempfile::Builder::new().prefix(STAGED_PREFIX).tempfile_in(directory)?;
    file.write_all(change.new.as_bytes())?;
    let permissions = match fs::metadata(&change.path) {
        Ok(metadata) => metadata.permissions(),
        // What others may read of a new file beside others.
        Err(_) => std::os::unix::fs::PermissionsExt::from_mode(0o644),
    };
    file.as_file().set_permissions(permissions)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(path: PathBuf, old: Option<&str>, new: &str) -> Change {
        Change { path, old: old.map(str::to_owned), new: new.into() }
    }

    #[test]
    fn the_diff_of_a_new_file_and_of_a_changed_one_is_a_patch() {
        let root = Path::new("/w");
        let new = unified_diff(&change("/w/src/lib.rs".into(), None, "a\n"), root);
        assert!(new.starts_with("--- /dev/null\n+++ b/src/lib.rs\n") && new.contains("+a\n"), "{new}");
        let changed = unified_diff(&change("/w/src/main.rs".into(), Some("a\nb\n"), "a\nc\n"), root);
        assert!(
            changed.contains("--- a/src/main.rs\n+++ b/src/main.rs\n") && changed.contains("-b\n+c\n"),
            "{changed}"
        );
    }

    #[test]
    fn all_files_are_written_or_none() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        fs::write(&one, "1").unwrap();
        fs::write(&two, "saved by somebody meanwhile").unwrap();
        let changes = [
            change(one.clone(), Some("1"), "new"),
            change(dir.path().join("three"), None, "3"),
            change(two.clone(), Some("2"), "new"),
        ];
        let error = write_all(&changes).unwrap_err();
        assert!(error.message.contains("meanwhile") && !error.mistake, "{error}");
        assert_eq!(fs::read_to_string(&one).unwrap(), "1");
        assert_eq!(fs::read_to_string(&two).unwrap(), "saved by somebody meanwhile");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "something is left");
        write_all(&changes[..2]).unwrap();
        assert_eq!(fs::read_to_string(&one).unwrap(), "new");
    }
}
