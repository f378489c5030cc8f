//! The words that the parts of devhost share: what a build or a worker came to, what a browser is told, the status
//! document, and the error that reaches a person. Plain data, no I/O.
#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]

mod changed_files;
mod diagnostics;
mod error;
mod file_name;
mod inputs;
mod words;

pub use changed_files::ChangedFiles;
pub use diagnostics::{
    DIAGNOSTIC_TEXT_SIZE_MAX, DIAGNOSTICS_COUNT_MAX, DIAGNOSTICS_SIZE_MAX, Diagnostic, Diagnostics, LeftOut,
    clip,
};
pub use error::{EXIT_FAULT, EXIT_MISTAKE, Error};
pub use file_name::FileName;
pub use inputs::BuildInputs;
pub use words::*;
