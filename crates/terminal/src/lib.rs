//! What the user at the terminal, or their editor, is told.
//!
//! Writes to standard output and standard error, and never reads (it only switches off the echo under a
//! progress bar; keys are read elsewhere). The app's own output goes from the worker to the terminal directly; that of side processes, and of apps that
//! are served together, comes through here, line by line.
//!
//! The banner and the course of events go to standard output; progress, failures and warnings to standard
//! error. In JSON, everything is one event per line on standard output. Messages are written at once and in
//! whole lines, so that those of several threads and processes do not mix.
#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]

mod echo;
mod event;
mod foreign;
mod keys;
mod label;
mod live;
mod progress;
mod qr;
mod sink;
mod style;
mod terminal;
mod text;

pub use foreign::plain;
pub use keys::Addresses;
pub use label::{Label, Level, Stream};
pub use live::Building;
pub use style::{Style, printable};
pub use terminal::{Format, Terminal};
