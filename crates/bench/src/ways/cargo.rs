//! What everybody has: `cargo build`, then a restart of the program. The old one is killed once the new one
//! is built.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::context::{Context, free_port};
use super::server::{STARTED_CHECK_TIME, ServerAddress};
use super::way::{NOT_SHOWN, Seen, Settled, Way, ms, step};
use crate::client::Client;
use crate::edit::Edit;
use crate::gauge;
use crate::model::Strategy;
use crate::process::{self, COLD_BUILD_TIME_MAX, EDIT_TIME_MAX, Running};

/// The app's own program, restarted for each edit.
#[derive(Debug)]
pub(crate) struct Cargo {
    context: Context,
    strategy: Strategy,
    copy: PathBuf,
    program: PathBuf,
    port: u16,
    client: Client,
    server: Option<Running>,
    found: ServerAddress,
}

impl Cargo {
    /// Builds the app in a copy of the workspace, starts it, and waits for its first answer.
    pub(crate) fn start(context: &Context, strategy: Strategy, copy: &Path) -> Result<Self> {
        let log = context.log(&strategy.name());
        let build = build(context, strategy, copy)?;
        process::run(build, &log, COLD_BUILD_TIME_MAX, &context.cancel)?;
        let program = executable(context, &log)?;
        let mut this = Self {
            context: context.clone(),
            strategy,
            copy: copy.to_owned(),
            program,
            port: free_port()?,
            client: Client::new(),
            server: None,
            found: ServerAddress::default(),
        };
        this.start_program()?;
        let server = this.server.as_mut().context("it was just started")?;
        this.found.wait(
            server,
            (EDIT_TIME_MAX, |pid| gauge::descendants(&[pid])),
            &this.context,
            &this.client,
        )?;
        Ok(this)
    }

    /// A directory from which devhost may take built dependencies.
    pub(crate) fn built(&self) -> PathBuf {
        let directory = self.program.parent().unwrap_or(Path::new("/"));
        let is_example = directory.file_name().is_some_and(|name| name == "examples");
        let directory = if is_example { directory.parent() } else { Some(directory) };
        directory.unwrap_or(Path::new("/")).to_owned()
    }

    fn start_program(&mut self) -> Result<()> {
        let mut command = process::command(&self.program);
        command.args(&self.context.app_args);
        for (name, value) in &self.context.subject.app.variables {
            // Variables about the package are those of `cargo run`, in this copy.
            let value = self.in_copy(value);
            command.env(name, value);
        }
        self.context.give_environment(&mut command, &self.copy, self.port);
        command.env_remove("CARGO_TARGET_DIR");
        self.server = Some(Running::start(
            command,
            &self.context.log(&format!("{}-app", self.strategy.name())),
            Signal::SIGKILL,
        )?);
        Ok(())
    }

    fn in_copy(&self, value: &str) -> String {
        let root = &self.context.subject.app.workspace_root;
        match Path::new(value).strip_prefix(root) {
            Ok(relative) => self.copy.join(relative).to_string_lossy().into_owned(),
            Err(_) => value.to_owned(),
        }
    }
}

impl Way for Cargo {
    fn strategy(&self) -> Strategy {
        self.strategy
    }

    fn url(&self) -> Option<String> {
        Some(self.found.url(&self.context))
    }

    fn roots(&self) -> Vec<i32> {
        self.server.iter().map(Running::pid).collect()
    }

    fn reload(&mut self, edit: &Edit, token: &str) -> Result<Seen> {
        let build = build(&self.context, self.strategy, &self.copy)?;
        let log = self.context.log(&self.strategy.name());
        let saved = edit.save(&self.copy, token)?;
        let built = process::run(build, &log, EDIT_TIME_MAX, &self.context.cancel)?;
        if let Some(server) = self.server.take() {
            // Killed: the app's own shutdown would count against cargo.
            server.kill();
        }
        let stopped = Instant::now();
        self.start_program()?;
        let started = Instant::now();
        let Self { context, client, server, found, .. } = self;
        let server = server.as_mut().context("it was just started")?;
        let itself = (STARTED_CHECK_TIME, |pid| vec![pid]);
        let answer = found.poll(server, itself, context, client, |answer| {
            let shown = answer.body.contains(token);
            ensure!(shown || answer.status >= 500, NOT_SHOWN);
            Ok(shown)
        })?;
        let steps = vec![
            step("build", ms(built - saved)),
            step("stop", ms(stopped - built)),
            step("exec", ms(started - stopped)),
            step("start", ms(answer.asked.saturating_duration_since(started))),
            step("first-response", ms(answer.first_byte - answer.asked.max(started))),
        ];
        Ok(Seen { saved, shown: answer.first_byte, generation: None, steps })
    }

    fn settle(&mut self, seen: &Seen) -> Result<Settled> {
        let memory = self.server.as_ref().and_then(|server| gauge::memory(server.pid()));
        Ok(Settled { steps: seen.steps.clone(), memory })
    }

    fn undo(&mut self, edit: &Edit) -> Result<()> {
        edit.restore(&self.copy)?;
        Ok(())
    }

    fn printed(&self) -> String {
        self.server.as_ref().map(Running::printed).unwrap_or_default()
    }

    fn end(self: Box<Self>) {
        if let Some(server) = self.server {
            server.end();
        }
    }
}

fn build(context: &Context, strategy: Strategy, copy: &Path) -> Result<Command> {
    let subject = &context.subject;
    let program = subject.program.as_ref().map_err(|reason| *reason)?;
    let mut command = process::command("cargo");
    command
        .args(["build", "--package", subject.package()])
        .args(program)
        .args(&subject.build_args)
        .args(["--message-format", "json-render-diagnostics"]);
    context.give_environment(&mut command, copy, 0);
    if strategy == Strategy::RestartLineTables {
        command.env(debug_variable(subject.profile_name()), "line-tables-only");
    }
    Ok(command)
}

fn executable(context: &Context, log: &Path) -> Result<PathBuf> {
    let name = context.subject.program.as_ref().map(|[_, name]| name.as_str()).unwrap_or_default();
    let text = std::fs::read(log)?;
    let text = String::from_utf8_lossy(&text);
    let mut messages = text.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line.trim()).ok());
    let message = messages
        .find(|message| {
            message.pointer("/target/name").and_then(Value::as_str) == Some(name)
                && message["executable"].is_string()
        })
        .with_context(|| format!("cargo does not say where `{name}` is"))?;
    Ok(message["executable"].as_str().unwrap_or_default().into())
}

/// The environment variable for a profile's `debug`.
fn debug_variable(profile: &str) -> String {
    format!("CARGO_PROFILE_{}_DEBUG", profile.to_uppercase().replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_profile_has_a_variable_of_its_own() {
        assert_eq!(debug_variable("dev"), "CARGO_PROFILE_DEV_DEBUG");
        assert_eq!(debug_variable("fast-dev"), "CARGO_PROFILE_FAST_DEV_DEBUG");
    }
}
