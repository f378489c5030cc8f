//! devhost in the place of the linker of a replayed call.
#![expect(clippy::print_stderr, reason = "a program of its own: rustc shows what its linker writes")]

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};

use super::early;
use super::last::{How, Last, identities};
use super::line::Line;
use super::plan::{self, Plan};
use crate::documents;
use crate::exit_code::exit_code;
use crate::helper_error::HelperError;
use crate::known_file::Identity;

/// The environment variable with the directory of plans, set to link quickly if possible.
pub(crate) const QUICK_VARIABLE: &str = "DEVHOST_LINK_QUICK";

/// The environment variable with rustc's incremental directory.
pub(super) const INCREMENTAL_VARIABLE: &str = "DEVHOST_LINK_INCREMENTAL";

/// Longer command lines are passed in a file.
const COMMAND_LINE_LEN_MAX: usize = 100_000;

/// Links by the plan in `directory`, or as rustc asks.
pub(crate) fn link(directory: &Path, linker: &OsStr, args: &[OsString], expanded: &[OsString]) -> ExitCode {
    let link = Link::of(directory, linker, expanded);
    if let Some(link) = &link
        && let Some(how) = link.quickly()
    {
        link.note(how);
        return ExitCode::SUCCESS;
    }
    match run(linker, args) {
        Ok(output) => {
            // Only now: rustc shows it in its own words.
            let _ = std::io::stdout().write_all(&output.stdout);
            let _ = std::io::stderr().write_all(&output.stderr);
            if let Some(link) = link.filter(|_| output.status.success()) {
                let said = !output.stdout.is_empty() || !output.stderr.is_empty();
                link.note(How::Ordinarily { said });
            }
            exit_code(output.status)
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(linker: &OsStr, args: &[OsString]) -> Result<Output, HelperError> {
    let mut command = Command::new(linker);
    command.args(args).env_remove(QUICK_VARIABLE).env_remove(INCREMENTAL_VARIABLE).stdin(Stdio::null());
    command
        .output()
        .map_err(|error| HelperError::io(format!("run the linker {}", linker.to_string_lossy()), error))
}

/// A link that could be made quickly, or could be noted for the next one.
struct Link<'c> {
    directory: &'c Path,
    linker: &'c OsStr,
    called_in: PathBuf,
    incremental: PathBuf,
    line: Line,
    key: String,
    objects: Vec<Identity>,
}

impl<'c> Link<'c> {
    fn of(directory: &'c Path, linker: &'c OsStr, args: &[OsString]) -> Option<Self> {
        let args: Option<Vec<String>> = args.iter().map(|arg| arg.to_str().map(str::to_owned)).collect();
        let line = Line::read(&args?)?;
        let called_in = std::env::current_dir().ok()?;
        let incremental = PathBuf::from(std::env::var_os(INCREMENTAL_VARIABLE)?);
        let key = plan::key(&line, linker, &called_in);
        let objects = identities(&line).ok()?;
        Some(Self { directory, linker, called_in, incremental, line, key, objects })
    }

    fn quickly(&self) -> Option<How> {
        if early::take(self.directory, &self.key, &self.line, &self.objects).is_some() {
            return Some(How::Early);
        }
        let plan =
            documents::read::<Plan>(&Plan::path(self.directory)).filter(|plan| plan.fits(&self.key))?;
        by_plan(&plan, self.directory, &self.line, &self.objects).ok()?;
        Some(How::Quickly)
    }

    /// Best effort: without it the next link is an ordinary one.
    fn note(&self, how: How) {
        let last = Last {
            line: self.line.clone(),
            key: self.key.clone(),
            linker: self.linker.into(),
            directory: self.called_in.clone(),
            incremental: self.incremental.clone(),
            objects: self.objects.clone(),
            how,
        };
        let _ = last.keep(self.directory);
    }
}

fn by_plan(plan: &Plan, directory: &Path, line: &Line, objects: &[Identity]) -> std::io::Result<()> {
    let objects: Vec<(&str, Identity)> =
        line.objects.iter().map(String::as_str).zip(objects.iter().copied()).collect();
    let args = plan.arguments(&objects, &line.temporary, str::to_owned);
    run_lld(plan, &args, directory, None)
}

/// Does something in the directory that is the only argument.
pub(super) fn in_directory(args: &[OsString], work: impl FnOnce(&Path) -> Option<()>) -> ExitCode {
    let [directory] = args else { return ExitCode::FAILURE };
    work(Path::new(directory)).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

/// Makes the last link again by the plan in `directory`, from these objects and to another file.
pub(super) fn repeat(
    plan: &Plan,
    last: &Last,
    directory: &Path,
    objects: &[(&str, Identity)],
    made: &Path,
    scratch: &Path,
) -> Option<()> {
    let (kept, to) = (Last::kept(directory), made.to_str()?);
    let args = plan.arguments(objects, kept.to_str()?, |arg| {
        if arg == last.line.output { to.to_owned() } else { arg.to_owned() }
    });
    run_lld(plan, &args, scratch, Some(&last.directory)).ok()
}

/// Runs lld, which must make the library without a word. What a stub does not have is an error. A long
/// command line is written to a file in `scratch`.
fn run_lld(plan: &Plan, args: &[String], scratch: &Path, called_in: Option<&Path>) -> std::io::Result<()> {
    let mut command = Command::new(&plan.lld.path);
    command.args(["-flavor", "gnu", "-z", "defs"]);
    command.env_remove(QUICK_VARIABLE).env_remove(INCREMENTAL_VARIABLE);
    if let Some(directory) = called_in {
        command.current_dir(directory);
    }
    let mut _file = None;
    if args.iter().map(String::len).sum::<usize>() > COMMAND_LINE_LEN_MAX {
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        let file = crate::linker::response_file(&args, scratch)?;
        let mut argument = OsString::from("@");
        argument.push(file.path());
        command.arg(argument);
        _file = Some(file);
    } else {
        command.args(args);
    }
    super::cc::run_silently(&mut command)
}
