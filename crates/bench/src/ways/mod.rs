//! The ways from a save to the new code that are compared. Each works in a copy of the workspace of its own, and none
//! knows of the others.

mod cargo;
mod devhost;
mod tool;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

pub(super) use cargo::Cargo;
pub(super) use devhost::{Devhost, Seed};
pub(super) use tool::{Tool, find as find_tool};

use super::cancel::Cancel;
use super::client::{Answer, Client};
use super::edit::Edit;
use super::model::{Memory, Step, Strategy};
use super::process::{EDIT_TIME_MAX, Running};
use super::subject::Subject;

/// How long it is until a server that has not answered as wanted is asked again.
const POLL_TIME: Duration = Duration::from_millis(1);

/// How often what is behind a server is looked at while it is polled, where that costs something.
const CHECK_TIME: Duration = Duration::from_millis(100);

/// The same for a program that was just started: until it is known where it listens, nothing else can be done.
const STARTED_CHECK_TIME: Duration = Duration::from_millis(2);

/// What all ways are given.
#[derive(Debug, Clone)]
pub(super) struct Context {
    /// The app.
    pub subject: Subject,
    /// What is asked for: `/` and what follows it.
    pub url_path: String,
    /// The app's own arguments.
    pub app_args: Vec<std::ffi::OsString>,
    /// Whether to go on.
    pub cancel: Cancel,
}

impl Context {
    /// Where the output of a way's processes goes.
    fn log(&self, name: &str) -> PathBuf {
        self.subject.place.join(format!("{name}.log"))
    }

    /// Where a way's processes are started, within its copy of the workspace.
    fn directory(&self, copy: &Path) -> PathBuf {
        let directory = copy.join(&self.subject.cwd);
        if directory.is_dir() { directory } else { copy.to_owned() }
    }

    /// Where cargo puts what it builds in a copy, whatever the user's configuration says.
    fn give_environment(&self, command: &mut Command, copy: &Path, port: u16) {
        command
            .current_dir(self.directory(copy))
            .env("CARGO_TARGET_DIR", copy.join("target"))
            .env("NO_COLOR", "1")
            .env("PORT", port.to_string());
    }

    fn at(&self, address: &str) -> String {
        format!("http://{address}{}", self.url_path)
    }
}

/// What a reload has come to.
#[derive(Debug)]
pub(super) struct Seen {
    /// When the file was saved.
    pub saved: Instant,
    /// The first response of the new code.
    pub answer: Answer,
    /// What is known of the way there already.
    pub steps: Vec<Step>,
}

/// What is known of a reload once it has settled.
#[derive(Debug)]
pub(super) struct Settled {
    /// The steps from the save to the first response.
    pub steps: Vec<Step>,
    /// Memory of the process that serves.
    pub memory: Option<Memory>,
}

/// A way from a save to the new code.
pub(super) trait Way {
    /// Which one.
    fn strategy(&self) -> Strategy;

    /// Where it serves what is asked for.
    fn url(&self) -> String;

    /// The processes that belong to it; their descendants do, too.
    fn roots(&self) -> Vec<i32>;

    /// Saves the edit and waits for the new code.
    fn reload(&mut self, edit: &Edit, token: &str) -> Result<Seen>;

    /// Waits until nothing of the old code is left, and looks at what there is.
    fn settle(&mut self, seen: &Seen) -> Result<Settled>;

    /// Takes an edit back that did not show, and waits until the app serves again.
    fn undo(&mut self, edit: &Edit) -> Result<()>;

    /// What it has noted about the app so far.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// What its processes have printed last.
    fn printed(&self) -> String;

    /// Ends what runs.
    fn end(self: Box<Self>);
}

/// A time as the samples have it.
pub(super) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

fn step(name: &str, duration_ms: f64) -> Step {
    Step { name: name.into(), duration_ms }
}

/// Asks until the answer is as wanted. `check` is called now and then, and fails where that is hopeless.
fn poll(
    client: &Client,
    url: impl Fn() -> String,
    limit: Duration,
    cancel: &Cancel,
    (check_time, mut check): (Duration, impl FnMut() -> Result<()>),
    mut wanted: impl FnMut(&Answer) -> Result<bool>,
) -> Result<Answer> {
    let begun = Instant::now();
    let mut checked = begun;
    loop {
        if let Some(answer) = client.get_unless_cancelled(&url(), cancel)?
            && wanted(&answer)?
        {
            return Ok(answer);
        }
        if checked.elapsed() >= check_time {
            check()?;
            checked = Instant::now();
        }
        ensure!(begun.elapsed() < limit, "{} does not answer as wanted within {limit:?}", url());
        std::thread::sleep(POLL_TIME);
    }
}

/// A port on loopback that is free now.
fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A server that some program started, found by looking where its processes listen.
#[derive(Debug, Default)]
struct Found {
    address: Option<String>,
}

impl Found {
    /// Finds where one of the processes listens and answers.
    fn look(&mut self, pids: &[i32], context: &Context, client: &Client) -> Result<()> {
        for &pid in pids {
            for address in devhost_sys::listeners::listening(pid) {
                let address = devhost_sys::listeners::reached_at(address).to_string();
                if client.get_unless_cancelled(&context.at(&address), &context.cancel)?.is_some() {
                    self.address = Some(address);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn url(&self, context: &Context) -> String {
        self.address.as_ref().map(|address| context.at(address)).unwrap_or_default()
    }

    /// Waits until one of the processes that `pids` finds for the server's is one, for as long as the server lives.
    fn wait(
        &mut self,
        server: &mut Running,
        (limit, pids): (Duration, impl Fn(i32) -> Vec<i32>),
        context: &Context,
        client: &Client,
    ) -> Result<()> {
        let begun = Instant::now();
        while self.address.is_none() {
            context.cancel.pause(POLL_TIME)?;
            server.check()?;
            self.look(&pids(server.pid()), context, client)?;
            if begun.elapsed() > limit {
                bail!("it does not listen on a TCP port within {limit:?}:\n{}", server.printed());
            }
        }
        Ok(())
    }

    /// Asks until the answer is as wanted. Meanwhile it is looked again where the server's processes listen: an app may
    /// take another port each time.
    fn poll(
        &mut self,
        server: &mut Running,
        (check_time, pids): (Duration, impl Fn(i32) -> Vec<i32>),
        context: &Context,
        client: &Client,
        wanted: impl FnMut(&Answer) -> Result<bool>,
    ) -> Result<Answer> {
        let found = std::cell::RefCell::new(self);
        let check = || {
            server.check()?;
            found.borrow_mut().look(&pids(server.pid()), context, client)
        };
        let url = || found.borrow().url(context);
        poll(client, url, EDIT_TIME_MAX, &context.cancel, (check_time, check), wanted)
    }

    /// The process that listens there.
    fn listener(&self, root: i32) -> Option<i32> {
        let address = self.address.as_ref()?;
        super::gauge::descendants(&[root]).into_iter().find(|pid| {
            devhost_sys::listeners::listening(*pid)
                .into_iter()
                .any(|listening| devhost_sys::listeners::reached_at(listening).to_string() == *address)
        })
    }
}

/// What is said where a text does not show.
const NOT_SHOWN: &str = "the new code answers, but without the edit";
