//! Runs the requested command, completed by devhost.toml.

use std::path::PathBuf;
use std::process::ExitCode;

use devhost_model::Error;
use devhost_terminal::{Format, Terminal};

use super::line::Line;
use super::{bench, clean, configured, doctor, run};
use crate::cli::Command;

/// Runs the requested command.
pub(crate) fn main() -> ExitCode {
    let line = Line::of_process();
    match line.alone().and_then(|command| completed(&line, command)) {
        Ok(Command::Run(args)) => run::run(line, *args),
        Ok(Command::Doctor(args)) => doctor::run(&args),
        Ok(Command::Bench(args)) => bench::run(&args),
        Ok(Command::Clean(args)) => clean::run(&args),
        Err(error) => {
            Terminal::new(Format::Human, false).error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// Adds to a command what devhost.toml says. `devhost run`, which may be about several apps, does so for each.
fn completed(line: &Line, command: Command) -> Result<Command, Error> {
    let app: Option<&PathBuf> = match &command {
        Command::Run(_) => return Ok(command),
        Command::Doctor(args) => args.app.as_ref(),
        Command::Bench(args) => args.app.as_ref(),
        Command::Clean(args) => args.app.as_ref(),
    };
    // Without a directory to look in, the command says so.
    let Ok(cwd) = std::env::current_dir() else { return Ok(command) };
    configured::choose_one(line, app, &cwd)?.command(line)
}
