//! The types that devhost's crates share: what a build or a worker came to, what a browser is told, the status document,
//! what devhost.toml says of files and of side processes, and the error that reaches a person. Plain data: no I/O, no clock.
#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]

mod app;
mod browser;
mod build_inputs;
mod changed_files;
mod diagnostics;
mod end;
mod error;
mod failure;
mod file_name;
mod reload;
mod rules;
mod side;
mod side_status;
mod signal;
mod status;
mod text;

pub use app::{AppKind, PLAIN_MAIN_SYMBOL};
pub use browser::BrowserEvent;
pub use build_inputs::BuildInputs;
pub use changed_files::ChangedFiles;
pub use diagnostics::{DIAGNOSTICS_COUNT_MAX, Diagnostic, Diagnostics, LeftOut, clip};
pub use end::{End, StopReason};
pub use error::{EXIT_FAULT, EXIT_MISTAKE, Error};
pub use failure::Failure;
pub use file_name::FileName;
pub use reload::{BuildReport, BuildStep, Cause, FILES_NAMED_COUNT_MAX, Outcome, Reload, Steps};
pub use rules::{Pattern, Rules, Verdict};
pub use side::{ReadyWhen, SideCommand, SideProcess};
pub use side_status::{SideEnd, SideState, SideStatus};
pub use status::{AppStatus, Process, ServerState, Status, StatusBoard, WorkerStatus};
pub use text::{WAITING_FOR, ZYGOTE_DEATH, counted};
