//! Runs the requested command.

use std::process::ExitCode;

use clap::Parser as _;

use super::{bench, clean, doctor, run};
use crate::cli::{Cli, Command};

/// Runs the requested command.
pub(crate) fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(args) => run::run(*args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Clean(args) => clean::run(&args),
    }
}
