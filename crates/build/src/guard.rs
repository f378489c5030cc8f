//! The guard: a small process between devhost and cargo that ensures cargo's end. It runs cargo in a process
//! group of its own and kills that group (cargo, every rustc, every linker) as soon as the pipe on its
//! standard input closes, which happens when devhost cancels a build and also when devhost is killed.
//! `PR_SET_PDEATHSIG` alone would not do: it is tied to the parent's thread, not its process, and reaches
//! only cargo.
#![expect(clippy::print_stderr, reason = "a program of its own, whose standard error the builder reads")]

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;

use devhost_sys::parent::end_with_parent;
use devhost_sys::{limits, priority};

/// Prefix of the argument with the command's limit on open files.
pub(crate) const DESCRIPTORS_OPTION: &str = "--descriptors=";

/// The argument for a command that nobody waits for, before the others.
pub(crate) const BEHIND_OPTION: &str = "--behind";

/// Exit code if the command cannot be run, as in shells.
pub(crate) const EXIT_NOT_RUN: u8 = 127;

/// Runs the command in `args`, possibly after options, under guard. Returns its exit code.
pub(crate) fn main(args: &[OsString]) -> ExitCode {
    let is_behind = args.first().is_some_and(|first| first == BEHIND_OPTION);
    let args = &args[usize::from(is_behind)..];
    if is_behind {
        priority::lower();
    }
    let limit = args.first().and_then(|first| first.to_str()?.strip_prefix(DESCRIPTORS_OPTION)?.parse().ok());
    if let Some(soft) = limit {
        limits::set_descriptors(soft);
    }
    let Some((program, args)) = args[usize::from(limit.is_some())..].split_first() else {
        eprintln!("devhost-guard: there is nothing to run");
        return ExitCode::from(EXIT_NOT_RUN);
    };
    // Orphans of the group are reaped here, so that a killed build leaves nothing, not even a zombie.
    let _ = nix::sys::prctl::set_child_subreaper(true);
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).process_group(0);
    // The signal is tied to the forking thread: the main thread, which lives as long as this process.
    end_with_parent(&mut command, Signal::SIGKILL);
    let child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("error: cannot run {}: {error}", program.to_string_lossy());
            return ExitCode::from(EXIT_NOT_RUN);
        }
    };
    let group = Pid::from_raw(child.id().cast_signed());
    // Until cargo is reaped, its id, and so the group's, cannot be reused.
    let alive = Arc::new(Mutex::new(true));
    let watched = Arc::clone(&alive);
    std::thread::spawn(move || {
        wait_for_end_of_pipe();
        if *watched.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = killpg(group, Signal::SIGKILL);
        }
    });
    wait_without_reaping(group);
    let mut alive = alive.lock().unwrap_or_else(PoisonError::into_inner);
    // Whatever a wrapper or a build script left running must not outlive the build.
    let _ = killpg(group, Signal::SIGKILL);
    *alive = false;
    drop(alive);
    reap(group)
}

/// Nobody writes to the pipe, so a read returns when its other end is closed.
fn wait_for_end_of_pipe() {
    let mut buffer = [0; 64];
    let mut stdin = std::io::stdin().lock();
    loop {
        match stdin.read(&mut buffer) {
            Ok(0) => return,
            Err(error) if error.kind() != std::io::ErrorKind::Interrupted => return,
            _ => {}
        }
    }
}

fn wait_without_reaping(pid: Pid) {
    while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(Errno::EINTR) {}
}

/// Reaps the whole group and returns its leader's exit code.
fn reap(group: Pid) -> ExitCode {
    let mut code = 1;
    loop {
        match waitpid(Pid::from_raw(-group.as_raw()), None) {
            Ok(WaitStatus::Exited(pid, status)) if pid == group => code = status,
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == group => code = 128 + signal as i32,
            Err(Errno::EINTR) | Ok(_) => {}
            Err(_) => break,
        }
    }
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
