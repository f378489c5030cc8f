//! A server under test: asks it until it answers as wanted, and finds out where it listens.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::context::Context;
use crate::cancel::Cancel;
use crate::client::{Answer, Client};
use crate::gauge;
use crate::process::{EDIT_TIME_MAX, Running};

/// Pause before a server is asked again.
const POLL_TIME: Duration = Duration::from_millis(1);

/// How often a polled server's processes are checked, if that costs something.
pub(super) const CHECK_TIME: Duration = Duration::from_millis(100);

/// The same for a program just started: until its address is known, nothing else can be done.
pub(super) const STARTED_CHECK_TIME: Duration = Duration::from_millis(2);

/// Asks until the answer is as wanted. `check` is called now and then, and fails if that is hopeless.
pub(super) fn poll(
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

/// A server's address, found among those its processes listen on.
#[derive(Debug, Default)]
pub(super) struct ServerAddress {
    address: Option<String>,
}

impl ServerAddress {
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

    pub(super) fn url(&self, context: &Context) -> String {
        self.address.as_ref().map(|address| context.at(address)).unwrap_or_default()
    }

    /// Waits until one of the processes returned by `pids` listens, as long as the server lives.
    pub(super) fn wait(
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

    /// Asks until the answer is as wanted. Keeps looking up the address: an app may change its port.
    pub(super) fn poll(
        &mut self,
        server: &mut Running,
        (check_time, pids): (Duration, impl Fn(i32) -> Vec<i32>),
        context: &Context,
        client: &Client,
        wanted: impl FnMut(&Answer) -> Result<bool>,
    ) -> Result<Answer> {
        let found = RefCell::new(self);
        let check = || {
            server.check()?;
            found.borrow_mut().look(&pids(server.pid()), context, client)
        };
        let url = || found.borrow().url(context);
        poll(client, url, EDIT_TIME_MAX, &context.cancel, (check_time, check), wanted)
    }

    /// The process that listens there.
    pub(super) fn listener(&self, root: i32) -> Option<i32> {
        let address = self.address.as_ref()?;
        gauge::descendants(&[root]).into_iter().find(|pid| {
            devhost_sys::listeners::listening(*pid)
                .into_iter()
                .any(|listening| devhost_sys::listeners::reached_at(listening).to_string() == *address)
        })
    }
}
