//! devhost tried from outside: the real executable, real processes, real files.

mod browser;
mod build;
mod example;
mod mistakes;
mod plugin;
mod support;
