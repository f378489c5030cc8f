//! `devhost doctor`: checks a package, the toolchain and the machine, and says what is fine, and what to do
//! about the rest. Only reads.

mod app;
mod check;
mod closure;
mod examination;
mod machine;
mod report;
mod traps;
mod why;

pub(super) use examination::run;
pub(super) use why::Serving;
