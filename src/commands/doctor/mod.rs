//! `devhost doctor`: looks at a package, the toolchain and the machine, and says of each thing that matters whether it
//! is well, and if not, what to do. It reads, and changes nothing.

mod app;
mod check;
mod closure;
mod examination;
mod machine;
mod report;
mod traps;

pub(super) use examination::run;
