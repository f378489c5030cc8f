//! The commands. Each turns arguments into parts and runs them; the parts know no arguments.

mod bench;
mod clean;
mod configured;
mod dispatch;
mod doctor;
mod guess;
mod line;
mod package;
mod run;
mod several;

pub(crate) use dispatch::main;
