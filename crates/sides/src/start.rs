//! Starts an attendant with its process.

use std::io;
use std::path::Path;
use std::process::Stdio;

use devhost_model::{SideCommand, SideProcess};
use devhost_sys::{limits, seqpacket};
use tokio::process::{Child, Command};

use crate::attendant::{NAME, SAME_LIMIT, STDIN_EMPTY, STDIN_OPEN};
use crate::channel::Channel;

/// The variables by which programs are told to write colours into a pipe, and those that forbid it.
const COLOURS_ON: [&str; 2] = ["FORCE_COLOR", "CLICOLOR_FORCE"];
const COLOURS_OFF: [&str; 1] = ["NO_COLOR"];

/// Starts an attendant. It is killed with its process if dropped.
///
/// # Errors
/// The attendant cannot be started; whether its process can, it reports.
pub(crate) fn attended(process: &SideProcess, devhost: &Path, colours: bool) -> io::Result<(Child, Channel)> {
    let (ours, theirs) = seqpacket::pair()?;
    let mut command = Command::new(devhost);
    command
        .arg0(NAME)
        .arg(limits::original_descriptors().map_or(SAME_LIMIT.to_owned(), |soft| soft.to_string()));
    // What runs to its end must not wait for input.
    command.arg(if process.before_build { STDIN_EMPTY } else { STDIN_OPEN });
    match &process.command {
        SideCommand::Shell(line) => command.args(["sh", "-c", line]),
        SideCommand::Program(program) => command.args(program),
    };
    if colours && !chooses_colours(process) {
        command.envs(COLOURS_ON.map(|name| (name, "1")));
    }
    command
        .envs(process.env.iter().map(|(name, value)| (name, value)))
        .current_dir(&process.directory)
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn()?;
    Ok((child, Channel::new(ours)?))
}

/// Returns true if the user or the process's own environment says whether there are colours.
fn chooses_colours(process: &SideProcess) -> bool {
    let is_own = |name: &str| process.env.iter().any(|(own, _)| own == name);
    COLOURS_ON.into_iter().chain(COLOURS_OFF).any(|name| is_own(name) || std::env::var_os(name).is_some())
}
