//! devhost itself as a process: `devhost run` with each way of loading the new code.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::context::{Context, free_port};
use super::server::{CHECK_TIME, poll};
use super::way::{NOT_SHOWN, Seen, Settled, Way, ms, step};
use crate::client::Client;
use crate::edit::Edit;
use crate::gauge;
use crate::model::{Step, Strategy};
use crate::process::{self, COLD_BUILD_TIME_MAX, EDIT_TIME_MAX, Running};
use devhost_model::ZYGOTE_DEATH;

/// How long devhost's status may lag behind its response.
const STATUS_TIME_MAX: Duration = Duration::from_secs(10);

/// How long devhost may take to report how the process died.
const DEATH_NOTICE_TIME_MAX: Duration = Duration::from_secs(2);

/// How long to wait for the old code to be gone. It may take longer (a WebSocket), and then counts as memory.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);

/// How often the status is polled.
const STATUS_POLL_TIME: Duration = Duration::from_millis(5);

/// How often the progress of the first build is read.
const BUILD_POLL_TIME: Duration = Duration::from_millis(100);

/// devhost's answer to a request held for too long.
const GIVEN_UP_STATUS: u16 = 503;

/// Limit on a reported failure.
const FAILURE_LEN_MAX_CHARS: usize = 2_000;

#[derive(Debug)]
pub(crate) struct Devhost {
    context: Context,
    strategy: Strategy,
    copy: PathBuf,
    /// `127.0.0.1:PORT`.
    address: String,
    client: Client,
    server: Running,
    /// The process that loads the code, if it stays the same.
    loader: Option<i64>,
    /// Why devhost called cargo instead of a replay, for each such reload.
    cargo_reasons: Vec<String>,
}

impl Devhost {
    /// Starts devhost in a copy and waits until the app serves. `told` receives the build's progress.
    pub(crate) fn start(
        context: &Context,
        strategy: Strategy,
        copy: &Path,
        told: &mut dyn FnMut(&str),
    ) -> Result<Self> {
        Self::start_with(context, strategy, copy, &[], told)
    }

    /// Does the same with additional variables.
    pub(super) fn start_with(
        context: &Context,
        strategy: Strategy,
        copy: &Path,
        variables: &[(&str, &Path)],
        told: &mut dyn FnMut(&str),
    ) -> Result<Self> {
        let subject = &context.subject;
        let manifest = subject.app.manifest_path.parent().unwrap_or(Path::new("/"));
        let package =
            copy.join(subject.relative(manifest).context("the package is outside of its workspace")?);
        let mut command = process::command(std::env::current_exe()?);
        command
            .arg("run")
            .arg(package)
            .args(subject.choice_args())
            .args(&subject.build_args)
            .args(["--strategy", "fork", "--loading", loading(strategy)])
            // Several run at once, and the other ways have no processes beside the app either.
            .args(["--port", "0", "--message-format", "json", "--alone"])
            .arg("--target-dir")
            .arg(copy.join("target/devhost"))
            .arg("--")
            .args(&context.app_args);
        context.give_environment(&mut command, copy, free_port()?);
        command.envs(variables.iter().copied());
        let log = context.log(&strategy.name());
        // Asked, not killed: it has processes to end.
        let mut server = Running::start(command, &log, Signal::SIGTERM)?;
        let address = wait_for_address(context, &mut server, &log)?;
        let client = Client::new();
        let mut this = Self {
            context: context.clone(),
            strategy,
            copy: copy.to_owned(),
            address,
            client,
            server,
            loader: None,
            cargo_reasons: Vec::new(),
        };
        this.wait_until_ready(&log, told)?;
        if strategy == Strategy::Inprocess {
            this.loader = this.status()?.pointer("/zygote/pid").and_then(Value::as_i64);
        }
        Ok(this)
    }

    fn wait_until_ready(&mut self, log: &Path, told: &mut dyn FnMut(&str)) -> Result<()> {
        let deadline = Instant::now() + COLD_BUILD_TIME_MAX;
        loop {
            self.context.cancel.pause(BUILD_POLL_TIME)?;
            self.server.check()?;
            let status = self.status()?;
            check_status(&status)?;
            if status["state"] == "ready" {
                return Ok(());
            }
            if let Some(progress) = events(log).filter(|event| event["event"] == "progress").last() {
                let current = progress["current"].as_str().unwrap_or_default();
                told(&format!("{current} ({} of {})", progress["done"], progress["total"]));
            }
            ensure!(Instant::now() < deadline, "the build takes longer than {COLD_BUILD_TIME_MAX:?}");
        }
    }

    fn log(&self) -> PathBuf {
        self.context.log(&self.strategy.name())
    }

    fn status(&self) -> Result<Value> {
        status(&self.client, &self.address)
    }

    fn check_loader(&self, status: &Value) -> Result<()> {
        let loader = status.pointer("/zygote/pid").and_then(Value::as_i64);
        if self.loader.is_some() && loader != self.loader {
            let how = self.how_the_loader_died()?;
            bail!("the process died when the code in it was exchanged: {how}\n{}", self.server.printed());
        }
        Ok(())
    }

    /// devhost's report, once it has reaped the process.
    fn how_the_loader_died(&self) -> Result<String> {
        let log = self.log();
        let begun = Instant::now();
        loop {
            let told = events(&log).filter_map(|event| event["message"].as_str().map(str::to_owned));
            if let Some(how) = told.filter(|message| message.starts_with(ZYGOTE_DEATH)).last() {
                return Ok(how);
            }
            if begun.elapsed() > DEATH_NOTICE_TIME_MAX {
                return Ok("devhost does not say how".into());
            }
            self.context.cancel.pause(STATUS_POLL_TIME)?;
        }
    }
}

impl Way for Devhost {
    fn strategy(&self) -> Strategy {
        self.strategy
    }

    fn url(&self) -> Option<String> {
        Some(self.context.at(&self.address))
    }

    fn roots(&self) -> Vec<i32> {
        vec![self.server.pid()]
    }

    fn reload(&mut self, edit: &Edit, token: &str) -> Result<Seen> {
        let before = self.status()?["generation"].as_u64().unwrap_or(0);
        let saved = edit.save(&self.copy, token)?;
        let (client, address) = (self.client.clone(), self.address.clone());
        let url = self.context.at(&self.address);
        let server = &mut self.server;
        let check = || {
            server.check()?;
            check_status(&status(&client, &address)?)
        };
        let check = (CHECK_TIME, check);
        let answer = poll(
            &self.client,
            || url.clone(),
            EDIT_TIME_MAX,
            &self.context.cancel,
            check,
            |answer| {
                if answer.status == GIVEN_UP_STATUS {
                    // It was held for as long as devhost holds a request; the build goes on.
                    return Ok(false);
                }
                if answer.body.contains(token) {
                    return Ok(true);
                }
                ensure!(answer.generation <= Some(before), NOT_SHOWN);
                Ok(false)
            },
        )?;
        Ok(Seen { saved, shown: answer.first_byte, generation: answer.generation, steps: Vec::new() })
    }

    fn settle(&mut self, seen: &Seen) -> Result<Settled> {
        let generation = seen.generation.context("devhost does not say which generation has answered")?;
        let begun = Instant::now();
        loop {
            let status = self.status()?;
            self.check_loader(&status)?;
            let journey = journey(&status, generation);
            let workers = status["workers"].as_array().map(Vec::as_slice).unwrap_or_default();
            let is_alone = workers.len() <= 1;
            if let Some(journey) = journey
                && (is_alone || begun.elapsed() > DRAIN_TIME_MAX)
            {
                if journey.pointer("/build/replayed") == Some(&Value::Bool(false)) {
                    let reason = journey.pointer("/build/reason").and_then(Value::as_str);
                    self.cargo_reasons.push(reason.unwrap_or("it does not say why").to_owned());
                }
                let total_ms = ms(seen.shown - seen.saved);
                let pid = workers
                    .iter()
                    .find(|worker| worker["generation"].as_u64() == Some(generation))
                    .and_then(|worker| i32::try_from(worker["pid"].as_i64()?).ok());
                return Ok(Settled {
                    steps: steps(&journey["steps"], total_ms, self.strategy),
                    memory: pid.and_then(gauge::memory),
                });
            }
            ensure!(
                begun.elapsed() < STATUS_TIME_MAX,
                "devhost's status never tells of generation {generation}"
            );
            self.context.cancel.pause(STATUS_POLL_TIME)?;
        }
    }

    fn undo(&mut self, edit: &Edit) -> Result<()> {
        let count = |status: &Value| status["reloads"].as_array().map_or(0, Vec::len);
        let before = count(&self.status()?);
        edit.restore(&self.copy)?;
        let begun = Instant::now();
        loop {
            let status = self.status()?;
            if count(&status) > before {
                if status["state"] == "ready" {
                    return Ok(());
                }
                check_status(&status)?;
            }
            ensure!(begun.elapsed() < EDIT_TIME_MAX, "the app does not serve again as it was");
            self.context.cancel.pause(STATUS_POLL_TIME)?;
        }
    }

    fn notes(&self) -> Vec<String> {
        let log = self.log();
        let notes = events(&log).filter(|event| event["event"] == "note");
        let mut notes: Vec<String> =
            notes.filter_map(|event| event["message"].as_str().map(str::to_owned)).collect();
        notes.dedup();
        if let Some(reason) = self.cargo_reasons.first() {
            let count = self.cargo_reasons.len();
            notes
                .push(format!("cargo built {count} of the reloads, which is slower than a replay: {reason}"));
        }
        notes
    }

    fn printed(&self) -> String {
        self.server.printed()
    }

    fn end(self: Box<Self>) {
        self.server.end();
    }
}

fn loading(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::Inprocess => "one-process",
        Strategy::ForkNoPreload => "worker",
        Strategy::Spawn => "fresh",
        _ => "preloaded",
    }
}

fn events(log: &Path) -> impl Iterator<Item = Value> {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let lines: Vec<Value> = text
        .lines()
        .filter(|line| line.starts_with('{'))
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    lines.into_iter()
}

fn wait_for_address(context: &Context, server: &mut Running, log: &Path) -> Result<String> {
    let deadline = Instant::now() + EDIT_TIME_MAX;
    loop {
        if let Some(listening) = events(log).find(|event| event["event"] == "listening") {
            let url = listening.pointer("/urls/0/url").and_then(Value::as_str).unwrap_or_default();
            let address = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
            return Ok(address.to_owned());
        }
        if let Err(ended) = server.check() {
            // Its own error is better than how it ended.
            let error = events(log).filter(|event| event["event"] == "error").last();
            let message = error.as_ref().and_then(|error| error["message"].as_str());
            return Err(message.map_or(ended, |message| anyhow::anyhow!("{message}")));
        }
        ensure!(Instant::now() < deadline, "devhost does not listen:\n{}", server.printed());
        context.cancel.pause(STATUS_POLL_TIME)?;
    }
}

fn status(client: &Client, address: &str) -> Result<Value> {
    let answer = client.get(&format!("http://{address}/__devhost/status"))?;
    serde_json::from_str(&answer.body).context("devhost's status is no JSON")
}

/// Fails if the newest code is not served.
fn check_status(status: &Value) -> Result<()> {
    let failure = &status["failure"];
    // The reason may be a moment behind the state, or ahead of it.
    if status["state"] != "failed" || failure.is_null() {
        return Ok(());
    }
    let text = |value: &Value| value.as_str().map(str::to_owned).unwrap_or_default();
    let message = match failure["kind"].as_str() {
        Some("build") => {
            let diagnostics = failure["diagnostics"].as_array().into_iter().flatten();
            let messages: Vec<String> = diagnostics.map(|diagnostic| text(&diagnostic["message"])).collect();
            format!("the build failed: {}{}", messages.join("; "), text(&failure["output"]))
        }
        Some("start") => {
            format!("the app did not start: {} {}", text(&failure["message"]), text(&failure["output"]))
        }
        _ => format!(
            "the app crashed {} times in a row: {} {}",
            failure["count"],
            failure["end"],
            text(&failure["output"])
        ),
    };
    bail!("{}", message.trim().chars().take(FAILURE_LEN_MAX_CHARS).collect::<String>())
}

/// devhost's record of the reload that made a generation, once it includes the first response.
fn journey(status: &Value, generation: u64) -> Option<Value> {
    let reloads = status["reloads"].as_array()?;
    let journey = reloads.iter().rev().find(|reload| reload["generation"].as_u64() == Some(generation))?;
    journey.pointer("/steps/first_response_ms").is_some_and(Value::is_number).then(|| journey.clone())
}

/// devhost's steps under the bench's names. The rest of the total is `other`.
fn steps(steps: &Value, total_ms: f64, strategy: Strategy) -> Vec<Step> {
    let fork = if strategy == Strategy::Spawn { "exec" } else { "fork" };
    let names = [
        ("notice", "notice_ms"),
        ("build", "build_ms"),
        (fork, "fork_ms"),
        ("load", "load_ms"),
        ("start", "ready_ms"),
        ("first-response", "first_response_ms"),
    ];
    let mut steps: Vec<Step> =
        names.map(|(name, field)| step(name, steps[field].as_f64().unwrap_or(0.0))).into();
    if strategy == Strategy::Inprocess {
        steps.retain(|step| step.name != "fork");
    }
    let known: f64 = steps.iter().map(|step| step.duration_ms).sum();
    steps.push(step("other", (total_ms - known).max(0.0)));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_explained_is_other() {
        let told = json!({ "notice_ms": 1.0, "build_ms": 500.0, "fork_ms": 20.0, "load_ms": 3.0, "ready_ms": 2.0,
                           "other_ms": 7.0, "first_response_ms": 4.0 });
        for (strategy, other, second) in [
            (Strategy::Fork, 70.0, "fork"),
            (Strategy::Spawn, 70.0, "exec"),
            (Strategy::Inprocess, 90.0, "load"),
        ] {
            let steps = steps(&told, 600.0, strategy);
            assert_eq!(steps[2].name, second);
            assert_eq!(steps.last(), Some(&step("other", other)), "{strategy:?}");
        }
    }

    #[test]
    fn a_failure_is_told() {
        let status = json!({ "state": "failed", "failure": { "kind": "build", "output": "",
            "diagnostics": [{ "message": "mismatched types" }] } });
        assert_eq!(check_status(&status).unwrap_err().to_string(), "the build failed: mismatched types");
        assert!(check_status(&json!({ "state": "ready" })).is_ok());
    }
}
