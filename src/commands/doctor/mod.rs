//! `devhost doctor`: checks a package, the toolchain and the machine, and says of everything that matters whether it is fine,
//! and if not, what to do. It only reads.

mod app;
mod check;
mod closure;
mod examination;
mod machine;
mod report;
mod traps;

pub(super) use examination::run;
