//! What every way is given: the app, and its processes' environment.

use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::cancel::Cancel;
use crate::subject::Subject;

#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub subject: Subject,
    /// The requested path, from `/` on.
    pub url_path: String,
    pub app_args: Vec<OsString>,
    pub cancel: Cancel,
}

impl Context {
    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.subject.place.join(format!("{name}.log"))
    }

    /// Where a way's processes are started, within its copy of the workspace.
    pub(super) fn directory(&self, copy: &Path) -> PathBuf {
        let directory = copy.join(&self.subject.cwd);
        if directory.is_dir() { directory } else { copy.to_owned() }
    }

    /// Sets a command's directory, port and, whatever the user's configuration says, cargo's target directory
    /// in a copy.
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

/// A currently free port on loopback.
pub(super) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
