//! Runs one check after the other.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;

use cargo_metadata::Package;
use devhost_build as build;
use devhost_model::{EXIT_FAULT, EXIT_MISTAKE, Error};
use devhost_terminal::{Format, Terminal};

use super::app::{check_closure, check_framework, check_kind, check_shared, framework, kind};
use super::check::Mark;
use super::closure::{Closure, names};
use super::report::{Examination, print};
use super::{machine, traps, why};
use crate::cli::DoctorArgs;
use crate::commands::configured;
use crate::commands::line::Line;
use crate::commands::package;
use crate::commands::run::{configure, in_directory};
use crate::runner::scope;

pub(in crate::commands) fn run(args: &DoctorArgs) -> ExitCode {
    let terminal = Terminal::new(Format::Human, false);
    if let Some(path) = &args.why {
        let explained = explain(args, path).and_then(|text| {
            let written = writeln!(std::io::stdout(), "{text}");
            written.map_err(|error| Error::fault(format!("failed to write: {error}")))
        });
        return explained.map_or_else(
            |error| {
                terminal.error(&error);
                ExitCode::from(error.exit_code())
            },
            |()| ExitCode::SUCCESS,
        );
    }
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

fn explain(args: &DoctorArgs, path: &Path) -> Result<String, Error> {
    let cwd = std::env::current_dir()
        .map_err(|error| Error::fault(format!("the current directory cannot be used: {error}")))?;
    let settings = package::settings(&args.selection, &cwd);
    let argument = args.app.as_ref().map(|app| app.to_string_lossy().into_owned());
    let target = build::app::find(argument.as_deref(), &cwd, &settings)?;
    let line = Rc::new(Line::of_run());
    let chosen = configured::choose_one(&line, args.app.as_ref(), &cwd)?;
    let (run, file) = configure(line, chosen, &cwd)?;
    let env_files = in_directory(&cwd, &run.env_files);
    why::explain(&target, path, &cwd, &scope(&target, &cwd, &env_files, file.paths(), file.rules()?))
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
