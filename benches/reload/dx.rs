//! The strongest peer, `dx serve --hotpatch`, where somebody has installed it. It patches a running program, so an app
//! must be changed for it; see [`App::for_dx`]. An app that cannot be, or that dx does not serve, is left out, with the
//! reason.

use std::path::PathBuf;

use anyhow::Result;
use serde_json::json;

use crate::apps::{App, Edit, ORIGINAL};
use crate::process::{self, COLD_BUILD_TIME_MAX, Client, EDIT_TIME_MAX, Running};
use crate::stats::Sample;
use crate::ways::{Place, Way, ms};

/// `dx serve --hotpatch`.
#[derive(Debug)]
pub(crate) struct Dx {
    app: App,
    directory: PathBuf,
    url: String,
    client: Client,
    server: Running,
}

impl Dx {
    /// Starts dx and waits for the first page; why not, where that cannot be.
    pub(crate) fn prepare(place: Place<'_>) -> Result<Result<Self, String>> {
        let version = process::command("dx").arg("--version").output();
        let Some(version) = version.ok().filter(|output| output.status.success()) else {
            return Ok(Err("there is no `dx` (cargo install dioxus-cli --version 0.7.10)".into()));
        };
        let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
        let Some(app) = place.app.for_dx() else {
            return Ok(Err("the app cannot be changed for it".into()));
        };
        let changed = Place { app: &app, ..place };
        let directory = changed.of("dx")?;
        let (port, own_port) = (process::free_port()?, process::free_port()?);
        let mut command = process::command("dx");
        command.args(["serve", "--hotpatch", "--package", app.package, "--port", &own_port.to_string()]);
        command.args(["--open", "false", "--interactive", "false"]).current_dir(&directory);
        changed.give_environment(&mut command, &directory, port);
        let mut server = Running::start(command, &place.log("dx"))?;
        let (url, client) = (format!("http://127.0.0.1:{port}/"), Client::new());
        let served = client
            .poll(&url, &mut server, COLD_BUILD_TIME_MAX, |answer| Ok(answer.body.contains(ORIGINAL)))
            .map(drop);
        if let Err(error) = served {
            process::check_interrupt()?;
            return Ok(Err(format!("{version} does not serve it: {error:#}")));
        }
        Ok(Ok(Self { app, directory, url, client, server }))
    }
}

impl Way for Dx {
    fn name(&self) -> &'static str {
        "dx"
    }

    fn measure(&mut self, edit: &Edit, string: &str) -> Result<Sample> {
        // The same place in the changed app.
        let edit = self.app.edits.iter().find(|own| own.name == edit.name).unwrap_or(edit);
        let saved = edit.save(&self.directory, string)?;
        let answer = self
            .client
            .poll(&self.url, &mut self.server, EDIT_TIME_MAX, |answer| Ok(answer.body.contains(string)))?;
        Ok(Sample { ms: ms(answer.first_byte - saved), parts: json!({}) })
    }

    fn end(self: Box<Self>) -> Result<()> {
        self.server.kill();
        Ok(())
    }
}
