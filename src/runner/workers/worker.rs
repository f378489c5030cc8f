//! One worker, and the tasks that watch it.

use std::rc::Rc;
use std::sync::Arc;

use actix_web::rt;
use devhost_front::gate::Backend;
use devhost_model::{End, StopReason};
use devhost_process::Channel;
use devhost_sys::output::Output;
use devhost_watch::Seat;

use crate::runner::ids::{Reaped, WorkerId};
use crate::runner::input::{Input, Inputs};
use crate::runner::relay::Relay;
use crate::runner::stdin::Feed;

pub(super) struct Worker {
    /// `None` for a plain app that does not listen yet.
    pub(super) backend: Option<Arc<Backend>>,
    /// It can serve.
    pub(super) ready: bool,
    /// Its replacement number, if it is a replacement.
    pub(super) replacement: Option<u64>,
    pub(super) stage: Stage,
    pub(super) control: Rc<Channel>,
    pub(super) kill_wanted: bool,
    /// It has reported everything: its control socket is closed.
    pub(super) silent: bool,
    /// Why it has to end, if devhost decided so.
    pub(super) condemned: Option<End>,
    /// Why devhost ends it, if not for its behaviour.
    pub(super) stopping: Option<StopReason>,
    /// The addresses of a plain app's listeners beside the main one.
    pub(super) further: Vec<String>,
    pub(super) relay: Option<Relay>,
    pub(super) output: Arc<Output>,
    /// Its place with the observer of what the app does with files.
    pub(super) seat: Arc<Seat>,
    /// Keeps its standard input open while it lives.
    pub(super) _stdin: Option<Feed>,
}

/// How far a worker's process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Its launcher has not reported the fork yet.
    Ordered,
    /// It has this pid.
    Running(i32),
    /// Its launcher has reaped it, so its pid may be another's, but its own last reports are on their way.
    Reaped(Reaped),
}

impl Worker {
    /// Returns the pid of a process that was forked and not reaped.
    pub(super) fn pid(&self) -> Option<i32> {
        match self.stage {
            Stage::Running(pid) => Some(pid),
            Stage::Ordered | Stage::Reaped(_) => None,
        }
    }

    /// Returns how its process ended, if it was reaped.
    pub(super) fn reaped(&self) -> Option<Reaped> {
        match self.stage {
            Stage::Reaped(reaped) => Some(reaped),
            Stage::Ordered | Stage::Running(_) => None,
        }
    }

    pub(super) fn stop_for(&mut self, reason: StopReason) {
        let reason = *self.stopping.get_or_insert(reason);
        if let Some(backend) = &self.backend {
            backend.set_stopping(reason);
        }
    }

    /// Closes the connection to it: nobody need wait for it any longer.
    pub(super) fn close(&self, end: Option<End>) {
        if let Some(backend) = &self.backend {
            if let Some(end) = end {
                backend.set_end(end);
            }
            backend.upstream.close();
        }
    }
}

/// Forwards a worker's reports and its hang-up.
pub(super) fn listen(worker: WorkerId, control: Rc<Channel>, inputs: Inputs) {
    rt::spawn(async move {
        while let Some((report, fds)) = control.receive_with_fds().await {
            let fd = fds.into_iter().next();
            if inputs.send(Input::Worker { worker, report, fd }).await.is_err() {
                return;
            }
        }
        let _ = inputs.send(Input::WorkerGone { worker }).await;
    });
}

/// Reports a worker that has broken the rules of its connection.
pub(super) fn watch(worker: WorkerId, backend: &Arc<Backend>, inputs: Inputs) {
    let client = backend.upstream.clone();
    rt::spawn(async move {
        if let Some(fault) = client.closed().await {
            let end = End::Fault { message: fault.to_string() };
            let _ = inputs.send(Input::WorkerCondemned { worker, end }).await;
        }
    });
}
