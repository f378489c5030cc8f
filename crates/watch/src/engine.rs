//! The thread that turns events into batches of changes: it takes what waits in the intake, asks the tree which events
//! matter, waits for the end of a burst, lets the tree look, and sends what has changed. It owns the tree and reads the
//! clock; it does not know what a path means.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc;

use crate::batch::Batch;
use crate::changes::Changes;
use crate::error::WatchError;
use crate::explained::{About, Explained, Question};
use crate::hint::Hint;
use crate::intake::{Intake, Waiting};
use crate::tree::{ReadOne, Tree};

/// How long a checkout may take between writing a file and the ignore file that makes that file count.
const CHECKOUT_TIME_MAX_MS: u64 = 1_000;

/// How long a package's directory may be missing before that is reported: a checkout may be about to put it back.
const AWAY_TIME_MAX_MS: u64 = 2_000;

/// How often everything is looked at when polling.
const POLL_INTERVAL_MS: u64 = 500;

/// Polling uses at most one in this many parts of a processor.
const POLL_SHARE: u32 = 10;

/// How often the engine asks what the app has done, if nothing else happens.
const OBSERVE_INTERVAL_MS: u64 = 500;

/// How many batches may wait for their reader. Later ones are merged into one.
pub(super) const QUEUE_COUNT_MAX: usize = 16;

/// How long to wait before offering a batch to a full queue again.
const QUEUE_RETRY_MS: u64 = 20;

/// The thread's state.
pub(super) struct Engine {
    intake: Arc<Intake>,
    tree: Tree,
    sender: mpsc::Sender<Changes>,
    batch: Batch,
    /// How many suspicious events were taken.
    taken: u64,
    /// Changes for which the queue had no room.
    unsent: Option<Changes>,
    next_poll: Option<Instant>,
    /// Packages whose directories are missing, since when, and whether that was reported.
    away: BTreeMap<PathBuf, (Instant, bool)>,
}

impl Engine {
    pub(super) fn new(intake: Arc<Intake>, tree: Tree, sender: mpsc::Sender<Changes>, polls: bool) -> Self {
        let next_poll = polls.then(|| Instant::now() + Duration::from_millis(POLL_INTERVAL_MS));
        Self {
            intake,
            tree,
            sender,
            batch: Batch::default(),
            taken: 0,
            unsent: None,
            next_poll,
            away: BTreeMap::new(),
        }
    }

    /// Runs until it is told to stop.
    pub(super) fn run(mut self) {
        let mut has_unread = true;
        loop {
            let mut waiting = self.intake.take(self.deadline(has_unread));
            if waiting.stop {
                return;
            }
            has_unread |= waiting.inputs.is_some() || waiting.doubt.is_some();
            let questions = std::mem::take(&mut waiting.questions);
            self.carry_out(waiting);
            let now = Instant::now();
            if self.batch.is_due(now) {
                self.look_at_batch();
                has_unread = true;
            } else if self.next_poll.is_some_and(|next| next <= now) {
                self.poll(now);
                has_unread = true;
            } else if has_unread {
                has_unread = self.read_one(now);
            }
            self.report_missing_packages(now);
            self.send(None);
            self.answer(questions);
            if self.batch.span.is_none() {
                self.intake.suspicion().judge(self.taken);
            }
        }
    }

    fn deadline(&self, has_unread: bool) -> Option<Instant> {
        let now = Instant::now();
        let retry = self.unsent.as_ref().map(|_| now + Duration::from_millis(QUEUE_RETRY_MS));
        let untold = self.away.values().filter(|(_, told)| !told);
        let away = untold.map(|(since, _)| *since + Duration::from_millis(AWAY_TIME_MAX_MS)).min();
        let observe = Some(now + Duration::from_millis(OBSERVE_INTERVAL_MS));
        [self.batch.due(), self.next_poll, retry, away, observe, has_unread.then_some(now)]
            .into_iter()
            .flatten()
            .min()
    }

    fn carry_out(&mut self, waiting: Waiting) {
        self.taken = waiting.raised;
        if !waiting.problems.is_empty() {
            let mut changes = Changes::empty(Instant::now());
            changes.problems = waiting.problems;
            self.send(Some(changes));
        }
        self.observe();
        for (place, hint, at) in waiting.hints {
            if self.tree.is_relevant(&place) {
                self.batch.add(place, hint, at);
            }
        }
        if let Some((inputs, since)) = waiting.inputs {
            self.tree.set_inputs(&inputs, since);
            self.send_changes(&Batch::default());
        }
        if let Some((known, since)) = waiting.doubt {
            self.tree.doubt(&known, since);
            self.send_changes(&Batch::default());
        }
        if waiting.rescan {
            self.tree.inspect_everything();
            let batch = std::mem::take(&mut self.batch);
            self.send_changes(&batch);
        }
    }

    /// Follows what the app has used since the last call, and what has changed of it already.
    fn observe(&mut self) {
        self.tree.follow_observed();
        self.send_changes(&Batch::default());
    }

    fn answer(&mut self, questions: Vec<Question>) {
        for Question { about, answer } in questions {
            let explained = match about {
                About::Path(path) => Explained { files: vec![self.tree.explain(&path)], left_out: 0 },
                About::Uses => self.tree.explain_uses(),
            };
            // Whoever asked may have left.
            let _ = answer.send(explained);
        }
    }

    fn look_at_batch(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        let age = batch.span.map(|span| span.first.elapsed()).unwrap_or_default();
        let began = SystemTime::now() - age - Duration::from_millis(CHECKOUT_TIME_MAX_MS);
        self.tree.inspect_all(batch.places.keys(), began);
        // What the app did before the change is known now.
        self.tree.follow_observed();
        self.send_changes(&batch);
    }

    /// Reads a file in idle time. One that has changed joins the batch. Returns false if there is none left.
    fn read_one(&mut self, now: Instant) -> bool {
        match self.tree.read_one() {
            ReadOne::NoneLeft => return false,
            ReadOne::Unchanged => {}
            ReadOne::Changed(place) => self.batch.add(place, Hint::Finished, now),
        }
        true
    }

    fn poll(&mut self, began: Instant) {
        self.tree.inspect_everything();
        self.send_changes(&Batch::default());
        let ended = Instant::now();
        let pause = Duration::from_millis(POLL_INTERVAL_MS).max((ended - began) * POLL_SHARE);
        self.next_poll = Some(ended + pause);
    }

    fn report_missing_packages(&mut self, now: Instant) {
        let away: BTreeSet<PathBuf> = self.tree.missing_packages().map(Path::to_owned).collect();
        self.away.retain(|path, _| away.contains(path));
        let mut changes = Changes::empty(now);
        for path in away {
            let (since, told) = self.away.entry(path.clone()).or_insert((now, false));
            if !*told && now.duration_since(*since) >= Duration::from_millis(AWAY_TIME_MAX_MS) {
                *told = true;
                changes.problems.push(WatchError::RootGone { path });
            }
        }
        if !changes.is_empty() {
            self.send(Some(changes));
        }
    }

    fn send_changes(&mut self, batch: &Batch) {
        let changes = self.tree.take_changes(|place| batch.began_at(place));
        if let Some(mut changes) = changes {
            let files = &changes.files;
            if !files.code.is_empty() || !files.inputs.is_empty() || !files.startup.is_empty() {
                changes.report = self.intake.suspicion().report();
            }
            self.send(Some(changes));
        }
    }

    /// Sends waiting and new changes: at once if the queue has room, otherwise later and merged.
    fn send(&mut self, new: Option<Changes>) {
        let changes = match (self.unsent.take(), new) {
            (None, None) => return,
            (Some(one), None) | (None, Some(one)) => one,
            (Some(mut old), Some(new)) => {
                old.merge(new);
                old
            }
        };
        if let Err(mpsc::error::TrySendError::Full(changes)) = self.sender.try_send(changes) {
            self.unsent = Some(changes);
        }
    }
}
