//! Outside tools that watch files and run cargo again, driven as by their users: only what they serve is
//! seen.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use nix::sys::signal::Signal;

use super::context::{Context, free_port};
use super::server::{CHECK_TIME, ServerAddress};
use super::way::{Seen, Settled, Way};
use crate::client::Client;
use crate::edit::Edit;
use crate::gauge;
use crate::model::Strategy;
use crate::process::{self, COLD_BUILD_TIME_MAX, Running};
use crate::subject::NoProgram;

/// What an app must depend on for `dx serve` to patch it.
const DX_DEPENDENCIES: [&str; 2] = ["dioxus", "dioxus-devtools"];

/// The server job of bacon's default settings, without asking git.
const BACON_JOB: &str = r#"[jobs.run-long]
command = ["cargo", "run"]
need_stdout = true
allow_warnings = true
background = false
on_change_strategy = "kill_then_restart"
apply_gitignore = false
"#;

#[derive(Debug)]
pub(crate) struct Tool {
    context: Context,
    strategy: Strategy,
    copy: PathBuf,
    client: Client,
    server: Running,
    found: ServerAddress,
}

/// Why a tool cannot be used on an app, and what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unavailable {
    /// The app has nothing the tool could run.
    #[error(transparent)]
    NoProgram(#[from] NoProgram),
    #[error("not installed: `cargo install {package}`")]
    NotInstalled {
        /// The package that provides it.
        package: &'static str,
    },
    /// `dx` has nothing to patch in the app.
    #[error("the app is not made for it: its `main` must call `dioxus_devtools::serve_subsecond`")]
    NotMadeForDx,
}

/// Finds a tool and returns its version.
///
/// # Errors
/// The tool is not installed, or cannot be used on this app.
pub(crate) fn find(context: &Context, strategy: Strategy) -> Result<String, Unavailable> {
    let (program, args, package): (_, &[&str], _) = match strategy {
        Strategy::Watchexec => ("watchexec", &["--version"], "watchexec-cli"),
        Strategy::CargoWatch => ("cargo", &["watch", "--version"], "cargo-watch"),
        Strategy::Bacon => ("bacon", &["--version"], "bacon"),
        _ => ("dx", &["--version"], "dioxus-cli"),
    };
    if let Err(reason) = &context.subject.program {
        return Err((*reason).into());
    }
    let output = process::command(program).args(args).output();
    let output =
        output.ok().filter(|output| output.status.success()).ok_or(Unavailable::NotInstalled { package })?;
    if strategy == Strategy::Dx
        && !DX_DEPENDENCIES.iter().any(|name| context.subject.direct_dependencies.contains(*name))
    {
        return Err(Unavailable::NotMadeForDx);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

impl Tool {
    /// Starts a tool in a copy of the workspace and waits for the app's first answer.
    pub(crate) fn start(context: &Context, strategy: Strategy, copy: &Path) -> Result<Self> {
        let mut command = command(context, strategy, copy);
        context.give_environment(&mut command, copy, free_port()?);
        let log = context.log(&strategy.name());
        let mut server = Running::start(command, &log, Signal::SIGTERM)?;
        let client = Client::new();
        let mut found = ServerAddress::default();
        found.wait(&mut server, (COLD_BUILD_TIME_MAX, what_it_runs), context, &client)?;
        Ok(Self { context: context.clone(), strategy, copy: copy.to_owned(), client, server, found })
    }
}

impl Way for Tool {
    fn strategy(&self) -> Strategy {
        self.strategy
    }

    fn url(&self) -> Option<String> {
        Some(self.found.url(&self.context))
    }

    fn roots(&self) -> Vec<i32> {
        vec![self.server.pid()]
    }

    fn reload(&mut self, edit: &Edit, token: &str) -> Result<Seen> {
        let saved = edit.save(&self.copy, token)?;
        let Self { context, client, server, found, .. } = self;
        let answer = found.poll(server, (CHECK_TIME, what_it_runs), context, client, |answer| {
            Ok(answer.body.contains(token))
        })?;
        Ok(Seen { saved, shown: answer.first_byte, generation: None, steps: Vec::new() })
    }

    fn settle(&mut self, seen: &Seen) -> Result<Settled> {
        let memory = self.found.listener(self.server.pid()).and_then(gauge::memory);
        Ok(Settled { steps: seen.steps.clone(), memory })
    }

    fn undo(&mut self, edit: &Edit) -> Result<()> {
        edit.restore(&self.copy)?;
        Ok(())
    }

    fn printed(&self) -> String {
        self.server.printed()
    }

    fn end(self: Box<Self>) {
        self.server.end();
    }
}

/// The tool's descendants without itself: `dx` has a server of its own.
fn what_it_runs(tool: i32) -> Vec<i32> {
    gauge::descendants(&[tool]).into_iter().filter(|pid| *pid != tool).collect()
}

/// What a user would type. git ignores the directory of the copies, so the tools must not ask git.
fn command(context: &Context, strategy: Strategy, copy: &Path) -> Command {
    let subject = &context.subject;
    let empty = [String::new(), String::new()];
    let program = subject.program.as_ref().unwrap_or(&empty);
    let mut run: Vec<String> = vec!["run".into(), "--package".into(), subject.package().into()];
    run.extend(program.iter().cloned());
    run.extend(subject.build_args.iter().cloned());
    if !context.app_args.is_empty() {
        run.push("--".into());
        run.extend(context.app_args.iter().map(|argument| argument.to_string_lossy().into_owned()));
    }
    let sources: Vec<PathBuf> = subject
        .app
        .path_packages
        .iter()
        .filter_map(|package| Some(copy.join(subject.relative(&package.root)?)))
        .map(|directory| directory.join("src"))
        .filter(|directory| directory.is_dir())
        .collect();
    let mut command;
    match strategy {
        Strategy::Watchexec => {
            command = process::command("watchexec");
            command.args(["--restart", "--no-vcs-ignore", "--exts", "rs,toml"]);
            for source in sources {
                command.arg("--watch").arg(source);
            }
            command.args(["--", "cargo"]).args(run);
        }
        Strategy::CargoWatch => {
            command = process::command("cargo");
            // It also ignores anything in a directory called `target`.
            command.args(["watch", "--ignore-nothing"]);
            for source in sources {
                command.arg("--watch").arg(source);
            }
            command.arg("--exec").arg(run.join(" "));
        }
        Strategy::Bacon => {
            command = process::command("bacon");
            command
                .args(["--headless", "--config-toml", BACON_JOB, "--job", "run-long", "--"])
                .args(&run[1..]);
        }
        _ => {
            command = process::command("dx");
            command.args(["serve", "--hotpatch", "--open", "false", "--interactive", "false"]);
            command.args(["--package", subject.package()]).args(program);
        }
    }
    command
}
