//! devhost from outside: the real executable, real processes, real files.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "figures of measurements, and what to know of a test that failed"
)]
#![allow(
    clippy::assigning_clones,
    clippy::case_sensitive_file_extension_comparisons,
    clippy::too_many_lines,
    clippy::unnecessary_debug_formatting,
    clippy::unused_self,
    reason = "tests are read from top to bottom; paths are quoted for the sources that they write"
)]

mod adopt;
mod apps;
mod artifacts;
mod bench;
mod bench_report;
mod browser;
mod build;
mod cargo_options;
mod changes;
mod clean;
mod config;
mod disk;
mod environment;
mod equivalence;
mod example;
mod first_page;
mod hostile;
mod job_control;
mod keys;
mod long_lived;
mod mistakes;
mod observed;
mod plain;
mod plain_build;
mod plain_worker;
mod plugin;
mod quick_link;
mod readers;
mod reloads;
mod restart;
mod said;
mod shared_crates;
mod sides;
mod structure;
mod support;
mod symbols;
mod tailwind;
mod terminal;
mod traffic;
mod trail;
mod truth;
mod why;
mod workers;
mod zoo;
