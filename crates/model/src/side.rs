//! A process that runs beside the app, as devhost.toml describes it (`[processes.NAME]`).

use std::path::PathBuf;

/// A process beside the app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SideProcess {
    /// Its name: letters, digits, `-` and `_`.
    pub name: String,
    /// What is run.
    pub command: SideCommand,
    /// The directory that it runs in, absolute.
    pub directory: PathBuf,
    /// Environment variables besides devhost's own, which they override.
    pub env: Vec<(String, String)>,
    /// When it counts as ready; `None` for as soon as it runs.
    pub ready_when: Option<ReadyWhen>,
    /// It runs to its end, once, and the first build starts only after it has succeeded. Such a process has neither
    /// `ready_when` nor `restart`.
    pub before_build: bool,
    /// It is started again when it ends.
    pub restart: bool,
}

/// What a [`SideProcess`] runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SideCommand {
    /// A line for `sh -c`.
    Shell(String),
    /// A program and its arguments; at least the program.
    Program(Vec<String>),
}

/// When a [`SideProcess`] counts as ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadyWhen {
    /// Once something listens on this port of this machine. Not 0.
    Port(u16),
    /// Once it prints a line in which this regular expression (in the syntax of the `regex` crate, checked) matches.
    Line(String),
    /// Once this file exists, an absolute path.
    File(PathBuf),
}
