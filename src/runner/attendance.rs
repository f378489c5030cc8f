//! Detects launchers that are stopped by a signal, or hang. A dead one closes its socket; this finds those
//! that live and do nothing.
//!
//! Counts checks instead of reading a clock, so that time while devhost itself was stopped does not count.
//! Never judges a process being debugged.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use actix_web::rt;

use super::input::{Input, Inputs};
use super::process_state::{Process, look_at};

/// The time between two checks.
const LOOK_INTERVAL: Duration = Duration::from_millis(1000);

/// How many checks in a row may find it stopped.
const STOPPED_LOOKS_COUNT_MAX: u32 = 2;

/// How many checks in a row may find a fork unanswered. A fork takes milliseconds.
const SILENT_LOOKS_COUNT_MAX: u32 = 8;

/// What a launcher owes.
#[derive(Debug, Default)]
pub(super) struct Attendance {
    /// It was told to fork, which is always answered, and has said nothing since.
    is_asked: Cell<bool>,
}

impl Attendance {
    pub(super) fn ask(&self) {
        self.is_asked.set(true);
    }

    pub(super) fn hear(&self) {
        self.is_asked.set(false);
    }
}

#[derive(Debug, Default)]
struct Looks {
    stopped: u32,
    silent: u32,
}

impl Looks {
    /// Adds a check. Returns what is wrong, if anything.
    fn see(&mut self, process: Process, attendance: &Attendance) -> Option<String> {
        if process == Process::Debugged {
            *self = Self::default();
            return None;
        }
        self.stopped = if process == Process::Stopped { self.stopped + 1 } else { 0 };
        self.silent = if attendance.is_asked.get() { self.silent + 1 } else { 0 };
        if self.stopped >= STOPPED_LOOKS_COUNT_MAX {
            return Some("a signal (SIGSTOP, SIGTTIN …) has stopped it".into());
        }
        let limit = LOOK_INTERVAL * SILENT_LOOKS_COUNT_MAX;
        (self.silent >= SILENT_LOOKS_COUNT_MAX)
            .then(|| format!("it has not answered for {} s", limit.as_secs()))
    }
}

/// Watches a launcher until its attendance is dropped.
pub(super) fn watch(number: u64, pid: i32, attendance: &Rc<Attendance>, inputs: Inputs) {
    let attendance = Rc::downgrade(attendance);
    rt::spawn(async move {
        let mut looks = Looks::default();
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let Some(attendance) = attendance.upgrade() else { return };
            if let Some(message) = looks.see(look_at(pid), &attendance) {
                let _ = inputs.send(Input::LauncherStuck { number, message }).await;
                return;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns how many identical checks it takes to find something wrong.
    fn looks_until_stuck(process: Process, attendance: &Attendance) -> Option<u32> {
        let mut looks = Looks::default();
        (1..1000).find(|_| looks.see(process, attendance).is_some())
    }

    #[test]
    fn one_that_is_stopped_or_owes_an_answer_is_stuck() {
        let attendance = Attendance::default();
        assert_eq!(looks_until_stuck(Process::Stopped, &attendance), Some(2));
        assert_eq!(looks_until_stuck(Process::Running, &attendance), None, "nothing is due");
        attendance.ask();
        assert_eq!(looks_until_stuck(Process::Running, &attendance), Some(8));
        assert_eq!(looks_until_stuck(Process::Debugged, &attendance), None);
        attendance.hear();
        assert_eq!(looks_until_stuck(Process::Running, &attendance), None);
    }

    #[test]
    fn one_that_speaks_now_and_then_begins_anew() {
        let (attendance, mut looks) = (Attendance::default(), Looks::default());
        for look in 0..1000 {
            if look % 5 == 0 {
                attendance.hear();
            } else {
                attendance.ask();
            }
            let stopped = look % 2 == 0;
            let process = if stopped { Process::Stopped } else { Process::Running };
            assert_eq!(looks.see(process, &attendance), None);
        }
    }
}
