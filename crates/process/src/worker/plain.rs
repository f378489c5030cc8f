//! A plain app's worker: loads the cdylib made from an unmodified binary, and calls its `main`.
//!
//! The process has no threads but the app's own: some crates count threads before they read the local time
//! zone. The interposer reports on whichever app thread it runs on. The zygote sends the SIGTERM that ends
//! the app.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use devhost_sys::process::{exit_now, micros_since};

use super::code::{Code, EXIT_FAILED};
use super::interpose;
use super::load::{self, LoadedPlain};
use crate::control::{self, WorkerReport};

pub(crate) fn run_plain(code: Code<'_>, wanted_port: u16, earlier: Option<&str>, control: OwnedFd) -> ! {
    let begun = Instant::now();
    let loaded = code.load_before().and_then(|()| load::load_plain(code.artifact));
    let LoadedPlain { main, build_id } = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            report(
                &control,
                &WorkerReport::LoadFailed { message: error.to_string(), hint: error.hint().into() },
                None,
            );
            exit_now(EXIT_FAILED)
        }
    };
    let plugin = String::new();
    report(&control, &WorkerReport::Loaded { build_id, plugin, micros: micros_since(begun) }, None);

    let begun = Instant::now();
    interpose::arm(wanted_port, earlier, move |seen, fd| {
        report(&control, &seen.into_report(micros_since(begun)), fd);
    });
    // SAFETY: the symbol comes from devhost's build, or from a prebuilt library that claims to have it.
    let code = unsafe { main() };
    std::process::exit(code)
}

fn report(control: &OwnedFd, report: &WorkerReport, fd: Option<BorrowedFd<'_>>) {
    // Fails if the front is gone, and then the zygote ends this process; or if the app has closed descriptors
    // that are not its own, and then the front ends it.
    let fds: Vec<_> = fd.iter().map(AsRawFd::as_raw_fd).collect();
    let _ = control::send(control.as_fd(), report, &fds);
}
