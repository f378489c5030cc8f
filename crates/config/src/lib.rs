//! Reads and checks devhost.toml. Knows the file's keys and what they need, and where each value stands; knows nothing of
//! the command line's parser, and starts nothing.
//!
//! # How it works
//!
//! The keys are the fields of the types in `document`, read by hand (`read`) so that each fault has its place. A key that
//! stands for an option becomes the arguments that say the same on the command line ([`Given`]). So whoever parses those
//! checks both alike. A [`Config`] has the package's file and the workspace's; [`Config::settings`] is what holds for one
//! app.
#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]

mod at;
mod command;
mod config;
mod difference;
mod document;
mod fault;
mod file;
mod given;
mod place;
mod read;
mod ready_when;
#[cfg(test)]
mod schema;
mod settings;
mod suggest;
mod table;
#[cfg(test)]
mod tests;
mod texts;
mod watched;

pub use config::Config;
pub use difference::Difference;
pub use document::option_keys;
pub use file::{APPS_COUNT_MAX, App, FILE_NAME, File};
pub use given::{APP_ARGS_KEY, Given};
pub use place::Place;
pub use settings::{Settings, Stronger};
pub use suggest::{closest, did_you_mean};
