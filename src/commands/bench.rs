//! `devhost bench`: finds the app, opens the report files, measures, and shows the results.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;

use super::package;
use crate::cli::BenchArgs;
use devhost_bench::model::{Report, Strategy};
use devhost_bench::{self as bench, Cancel, Plan, Subject};
use devhost_model::Error;
use devhost_terminal::{Format, Terminal};

/// Stands for standard output instead of a file.
const STANDARD_OUTPUT: &str = "-";

/// Keeps two benches out of each other's way.
const LOCK_NAME: &str = "lock";

/// The exit code of a cancelled run: 128 plus SIGINT's number.
const EXIT_CANCELLED: u8 = 130;

pub(super) fn run(args: &BenchArgs) -> ExitCode {
    match measure(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_CANCELLED),
        Err(error) => {
            Terminal::new(Format::Human, false).error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// Returns true if everything was measured.
fn measure(args: &BenchArgs) -> Result<bool, Error> {
    let cwd = std::env::current_dir()
        .map_err(|error| Error::fault(format!("the current directory cannot be used: {error}")))?;
    let outputs = Outputs::open(args)?;
    let edit = args.edit.as_deref().map(|edit| parse_edit(edit, &cwd)).transpose()?;
    let settings = package::settings(&args.selection, &cwd);
    let argument = args.app.as_ref().map(|app| app.to_string_lossy().into_owned());
    let subject = Subject::find(argument.as_deref(), &cwd, &settings)?;
    let _lock = lock(&subject)?;
    let mut strategies = if args.strategies.is_empty() {
        Strategy::value_variants().to_vec()
    } else {
        args.strategies.clone()
    };
    let mut seen = std::collections::HashSet::new();
    strategies.retain(|strategy| seen.insert(*strategy));
    let plan = Plan {
        subject,
        strategies,
        reload_count: args.reloads,
        requests_per_second: args.requests_per_second,
        url_path: args.url_path.clone(),
        edit,
        with_fork_cost: !args.no_fork_cost,
        with_artifacts: !args.no_artifacts,
        app_args: args.app_args.clone(),
    };
    let cancel = Cancel::on_signals()
        .map_err(|error| Error::fault(format!("failed to listen for signals: {error:#}")))?;
    let report = bench::run(&plan, &cancel)?;
    outputs.write(&report)?;
    Ok(report.is_complete)
}

/// Splits the argument into a file and a text in it.
fn parse_edit(edit: &str, cwd: &Path) -> Result<(PathBuf, String), Error> {
    let (file, text) = edit.split_once(':').filter(|(_, text)| !text.is_empty()).ok_or_else(|| {
        Error::mistake(
            format!("`{edit}` names no text to edit"),
            "give a file, a colon, and a text in the file: --edit src/pages.rs:Welcome",
        )
    })?;
    let file = cwd.join(file);
    Ok((file.canonicalize().unwrap_or(file), text.to_owned()))
}

fn lock(subject: &Subject) -> Result<File, Error> {
    let place = subject.place();
    let failed = |error: std::io::Error| {
        Error::mistake(
            format!("cannot write to {}: {error}", place.display()),
            "choose another directory with --target-dir",
        )
    };
    std::fs::create_dir_all(place).map_err(failed)?;
    let path = place.join(LOCK_NAME);
    let mut lock = File::options().create(true).truncate(false).write(true).open(path).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => {
            // For people who wonder which bench it is.
            let _ = lock.set_len(0).and_then(|()| write!(lock, "{}", std::process::id()));
            Ok(lock)
        }
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::mistake(
            format!("another bench is running in {}", place.display()),
            "wait for it, or choose another directory with --target-dir",
        )),
        Err(std::fs::TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Renders a report as a document.
type Write = fn(&Report) -> Result<String, Error>;

/// The report's destinations besides the terminal. Opened before measuring, so that mistakes show early.
struct Outputs {
    files: Vec<Output>,
    /// One of them is standard output, so nothing else may be printed there.
    stdout_is_taken: bool,
}

struct Output {
    path: PathBuf,
    write: Write,
    /// Created for this run, and removed again without a report.
    is_new: bool,
    written: bool,
}

impl Drop for Output {
    fn drop(&mut self) {
        if self.is_new && !self.written {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Outputs {
    fn open(args: &BenchArgs) -> Result<Self, Error> {
        let wanted: [(&str, &Option<PathBuf>, Write); 3] = [
            ("--json", &args.json, json),
            ("--csv", &args.csv, |report| Ok(bench::report::csv(report))),
            ("--html", &args.html, |report| Ok(bench::report::html(report))),
        ];
        let mut outputs = Self { files: Vec::new(), stdout_is_taken: false };
        for (option, path, write) in wanted {
            let Some(path) = path else { continue };
            let mut is_new = false;
            if path == Path::new(STANDARD_OUTPUT) {
                if std::mem::replace(&mut outputs.stdout_is_taken, true) {
                    return Err(Error::mistake(
                        "two documents cannot both go to standard output",
                        "give one of them a file",
                    ));
                }
            } else {
                is_new = !path.exists();
                File::options().create(true).append(true).open(path).map_err(|error| {
                    Error::mistake(
                        format!("cannot write {}: {error}", path.display()),
                        format!("give {option} a file in a directory that exists and that you may write to"),
                    )
                })?;
            }
            outputs.files.push(Output { path: path.clone(), write, is_new, written: false });
        }
        Ok(outputs)
    }

    fn write(mut self, report: &Report) -> Result<(), Error> {
        let mut failure = None;
        for output in &mut self.files {
            let text = (output.write)(report)?;
            let written = if output.path == Path::new(STANDARD_OUTPUT) {
                std::io::stdout().write_all(text.as_bytes()).and_then(|()| std::io::stdout().flush())
            } else {
                std::fs::write(&output.path, text)
            };
            match written {
                Ok(()) => output.written = true,
                // Write the others all the same: measuring took a while.
                Err(error) => {
                    failure =
                        Some(Error::fault(format!("failed to write {}: {error}", output.path.display())));
                }
            }
        }
        if !self.stdout_is_taken {
            let mut stdout = anstream::stdout();
            let shown = stdout.write_all(bench::report::terminal(report).as_bytes());
            if let Err(error) = shown {
                failure.get_or_insert(Error::fault(format!("failed to write the report: {error}")));
            }
        }
        failure.map_or(Ok(()), Err)
    }
}

fn json(report: &Report) -> Result<String, Error> {
    let text = serde_json::to_string_pretty(report).map_err(|error| Error {
        mistake: false,
        message: error.to_string(),
        hint: String::new(),
    })?;
    Ok(text + "\n")
}
