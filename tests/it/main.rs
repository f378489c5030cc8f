//! devhost tried from outside: the real executable, real processes, real files.

mod adopt;
mod artifacts;
mod bench;
mod bench_report;
mod browser;
mod build;
mod cargo_options;
mod clean;
mod equivalence;
mod example;
mod hostile;
mod job_control;
mod mistakes;
mod plain;
mod plain_build;
mod plain_worker;
mod plugin;
mod restart;
mod said;
mod support;
mod symbols;
mod terminal;
mod traffic;
mod truth;
mod workers;
mod zoo;
