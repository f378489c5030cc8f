//! What every way is given: the app, and the environment that its processes run in.

use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::cancel::Cancel;
use crate::subject::Subject;

/// What all ways are given.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    /// The app.
    pub subject: Subject,
    /// What is asked for: `/` and what follows it.
    pub url_path: String,
    /// The app's own arguments.
    pub app_args: Vec<OsString>,
    /// Whether to go on.
    pub cancel: Cancel,
}

impl Context {
    /// Where the output of a way's processes goes.
    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.subject.place.join(format!("{name}.log"))
    }

    /// Where a way's processes are started, within its copy of the workspace.
    pub(super) fn directory(&self, copy: &Path) -> PathBuf {
        let directory = copy.join(&self.subject.cwd);
        if directory.is_dir() { directory } else { copy.to_owned() }
    }

    /// Where cargo puts what it builds in a copy, whatever the user's configuration says.
    pub(super) fn give_environment(&self, command: &mut Command, copy: &Path, port: u16) {
        command
            .current_dir(self.directory(copy))
            .env("CARGO_TARGET_DIR", copy.join("target"))
            .env("NO_COLOR", "1")
            .env("PORT", port.to_string());
    }

    pub(super) fn at(&self, address: &str) -> String {
        format!("http://{address}{}", self.url_path)
    }
}

/// A port on loopback that is free now.
pub(super) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
