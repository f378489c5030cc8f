//! Detects from outside that a worker with requests stalls: it was stopped by a signal, or does not read its
//! input. Nothing that the worker writes can hide that, or stop the checks.
//!
//! Counts checks, only while the worker has requests, instead of reading a clock, so that time while devhost
//! itself was stopped does not count. Never judges a worker being debugged.
//!
//! The check, once a second, also takes what a worker wrote without a wake, and wakes one that sleeps without
//! having said so.

use std::sync::Arc;
use std::time::Duration;

use actix_web::rt;

use super::ids::WorkerId;
use super::input::{Input, Inputs};
use super::process_state::{Process, look_at};
use devhost_front::gate::{Backend, Gate, Visits};
use devhost_model::End;

/// The time between two checks. Waiting for the first request instead would cost each request a wake.
const LOOK_INTERVAL: Duration = Duration::from_millis(1000);

/// How long a worker with requests may be stopped by a signal.
const STOPPED_TIME_MAX: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sight {
    process: Process,
    /// How far it has read, if not everything.
    unread_from: Option<u64>,
}

#[derive(Debug, Default)]
struct Watch {
    last: Option<Sight>,
    stopped_for: Duration,
    unread_for: Duration,
}

impl Watch {
    /// Adds a check, one [`LOOK_INTERVAL`] after the last one. Returns what is wrong, if anything.
    fn see(&mut self, sight: Sight, limit: Duration) -> Option<String> {
        let last = self.last.replace(sight);
        if sight.process == Process::Debugged {
            *self = Self::default();
            return None;
        }
        let is_still_stopped = sight.process == Process::Stopped;
        self.stopped_for = if is_still_stopped { self.stopped_for + LOOK_INTERVAL } else { Duration::ZERO };
        let is_still_unread =
            sight.unread_from.is_some() && last.is_some_and(|last| last.unread_from == sight.unread_from);
        self.unread_for = if is_still_unread { self.unread_for + LOOK_INTERVAL } else { Duration::ZERO };
        if self.stopped_for >= STOPPED_TIME_MAX.min(limit) {
            return Some(format!(
                "a signal (SIGSTOP, SIGTTIN …) had stopped its process for {}",
                seconds(self.stopped_for)
            ));
        }
        (self.unread_for >= limit).then(|| {
            format!(
                "it had not looked at its requests for {} (--stall-ms gives it more time)",
                seconds(self.unread_for)
            )
        })
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Watches a worker until its link is closed.
pub(super) fn watch(
    worker: WorkerId,
    backend: &Arc<Backend>,
    pid: i32,
    gate: Gate,
    limit: Duration,
    inputs: Inputs,
) {
    let upstream = backend.upstream.clone();
    rt::spawn(async move {
        let end = tokio::select! {
            _ = upstream.closed() => return,
            message = until_it_stalls(&upstream, worker.number, pid, &gate, limit) => End::Stalled { message },
        };
        let _ = inputs.send(Input::WorkerCondemned { worker, end }).await;
    });
}

async fn until_it_stalls(
    upstream: &devhost_front::upstream::Upstream,
    number: u64,
    pid: i32,
    gate: &Gate,
    limit: Duration,
) -> String {
    let mut watch = Watch::default();
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        if gate.visits(number) == Visits::default() {
            watch = Watch::default();
            continue;
        }
        let sight = Sight { process: look_at(pid), unread_from: upstream.look() };
        if let Some(message) = watch.see(sight, limit) {
            return message;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn sight(process: Process, unread_from: Option<u64>) -> Sight {
        Sight { process, unread_from }
    }

    /// Returns how many identical checks it takes to find something wrong.
    fn looks_until_stalled(sight: Sight) -> Option<u32> {
        let mut watch = Watch::default();
        (1..1000).find(|_| watch.see(sight, LIMIT).is_some())
    }

    #[test]
    fn a_worker_that_is_stopped_is_told_from_one_that_does_not_read() {
        assert_eq!(looks_until_stalled(sight(Process::Stopped, None)), Some(5));
        assert_eq!(looks_until_stalled(sight(Process::Running, Some(8))), Some(11));
        assert_eq!(looks_until_stalled(sight(Process::Running, None)), None);
        assert_eq!(looks_until_stalled(sight(Process::Debugged, Some(8))), None);
    }

    #[test]
    fn a_worker_that_moves_begins_anew() {
        let mut watch = Watch::default();
        for position in 0..1000 {
            // Each position is seen for half the limit.
            let (position, stopped) = (position / 5, position % 5 < 3);
            let process = if stopped { Process::Stopped } else { Process::Running };
            assert_eq!(watch.see(sight(process, Some(position)), LIMIT), None);
        }
    }
}
