//! The worker: a forked child that loads one generation's cdylib, serves it, and exits.
//!
//! It never unloads anything, except for `devhost bench`, and never returns to the zygote's code.
//! `plugin_app` is a plugin app's worker, with the host's side of the ABI in `host`; `plain` is a plain
//! app's. The interposer is also preloaded into the keeper's programs.

mod code;
mod host;
mod interpose;
mod load;
#[cfg(test)]
mod observe_tests;
mod plain;
mod plugin_app;
mod stack;

pub(crate) use code::Code;
pub(crate) use interpose::{
    EARLIER_VARIABLE, FD_VARIABLE, INTERPOSER_SO, LD_PRELOAD_VARIABLE, OUTPUT_VARIABLE, PORT_VARIABLE, Seen,
    TRAIL_VARIABLE, keep_output, observe,
};
pub(crate) use plain::run_plain;
pub(crate) use plugin_app::{run_plugin, run_plugin_unloading};
pub(crate) use stack::watch_stacks;
