//! Where plain apps listen: on their own port, on a Unix socket, or unseen.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use actix_web::rt;
use devhost_model::AppKind;
use devhost_process::Listening;
use devhost_supervisor::Event;

use super::ids::WorkerId;
use super::input::Input;
use super::relay::Relay;
use super::state::Runner;

/// How long a plain app listening on a Unix socket may take to listen on a TCP port as well.
const UNIX_ALONE_TIME: Duration = Duration::from_millis(500);

/// How often a plain app without a listener is checked from outside.
const LOOK_INTERVAL: Duration = Duration::from_millis(1000);

impl Runner {
    /// Connects to a listening plain app. Also returns whether requests now go there.
    pub(super) fn listens(
        &mut self,
        worker: WorkerId,
        micros: u64,
        listening: &Listening,
    ) -> (Vec<Event>, bool) {
        if !self.workers.connect(worker, listening.private, &self.inputs) {
            if self.workers.redirect(worker, listening.private) {
                self.open_door(Some(listening.port));
                self.note(format!(
                    "the app listens on {} as well, so requests go there and no longer to its Unix socket (--app-port N \
                     makes devhost wait for a port)",
                    listening.asked
                ));
            }
            return (Vec::new(), false);
        }
        tracing::debug!("{worker:?} asked for {} and has {}", listening.asked, listening.private);
        self.open_door(Some(listening.port));
        if !listening.keeps_its_port() {
            self.reach_by_ipv6(&listening.asked);
        }
        let fixed = listening.keeps_its_port().then_some(Event::KeepsItsPort);
        let ready = self.workers.ready(worker, Duration::from_micros(micros));
        (fixed.into_iter().chain(ready).collect(), true)
    }

    /// Opens the IPv6 address, too, if the app asks for one.
    pub(super) fn reach_by_ipv6(&mut self, asked: &str) {
        let is_ipv6 = asked.parse().is_ok_and(|asked: SocketAddr| asked.ip().to_canonical().is_ipv6());
        if is_ipv6 {
            self.door.open_ipv6(&self.terminal);
        }
    }

    /// Starts a relay for an app listening on a Unix socket, unless it soon listens on a TCP port.
    pub(super) fn relay(&self, worker: WorkerId, micros: u64, path: PathBuf, file: Option<OwnedFd>) {
        let inputs = self.inputs.clone();
        rt::spawn(async move {
            tokio::time::sleep(UNIX_ALONE_TIME).await;
            match Relay::start(path.clone(), file).await {
                Ok(relay) => {
                    let _ = inputs.send(Input::Relayed { worker, micros, path, relay }).await;
                }
                Err(error) => tracing::warn!("failed to listen for a Unix socket: {error}"),
            }
        });
    }

    /// Connects to an app through its relay.
    pub(super) fn relayed(&mut self, worker: WorkerId, micros: u64, path: &Path, relay: Relay) -> Vec<Event> {
        let asked = path.display().to_string();
        let listening = Listening { asked, port: 0, private: relay.address };
        let (events, is_new) = self.listens(worker, micros, &listening);
        if is_new {
            self.workers.keep(worker, relay);
            self.note(format!(
                "the app listens on the Unix socket {} and no TCP port, so requests go there (--app-port N makes \
                 devhost wait for a port)",
                path.display()
            ));
            if self.workers_count > 1 {
                self.note(
                    "its processes share that path: the one that took it last gets all requests".into(),
                );
            }
        }
        events
    }

    pub(super) fn look_at_plain(&self, kind: Option<AppKind>, workers: &[WorkerId]) {
        if kind == Some(AppKind::Plain) {
            workers.iter().for_each(|worker| self.look_later(*worker, Instant::now()));
        }
    }

    /// Checks whether a plain app without a reported listener has one all the same.
    pub(super) fn look(&mut self, worker: WorkerId, forked: Instant) -> Vec<Event> {
        let Some(pid) = self.workers.unheard(worker) else { return Vec::new() };
        let known = self.workers.further(worker);
        let may_be_it = |address: &SocketAddr| {
            (self.app_port == 0 || address.port() == self.app_port) && !known.contains(&address.to_string())
        };
        let found = devhost_sys::listeners::listening(pid).into_iter().find(may_be_it);
        let Some(address) = found else {
            self.look_later(worker, forked);
            return Vec::new();
        };
        self.note(format!(
            "the app listens on {address} by a way that devhost cannot see (system calls of its own, io_uring): it \
             keeps that port, and the old code has to end before the new one starts"
        ));
        let listening = Listening {
            asked: address.to_string(),
            port: address.port(),
            private: devhost_sys::listeners::reached_at(address),
        };
        let micros = u64::try_from(forked.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.listens(worker, micros, &listening).0
    }

    fn look_later(&self, worker: WorkerId, forked: Instant) {
        let inputs = self.inputs.clone();
        rt::spawn(async move {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let _ = inputs.send(Input::Look { worker, forked }).await;
        });
    }
}
