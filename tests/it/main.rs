//! devhost tried from outside: the real executable, real processes, real files.

mod browser;
mod build;
mod example;
mod mistakes;
mod plain_worker;
mod plain;
mod plugin;
mod support;
