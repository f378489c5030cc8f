//! The commands of the command line. Each turns arguments into parts and runs them; the parts know no arguments.

mod bench;
mod clean;
mod doctor;
mod package;
mod run;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

/// Runs the command that the arguments ask for.
pub(crate) fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(args) => run::run(*args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Clean(args) => clean::run(&args),
    }
}
