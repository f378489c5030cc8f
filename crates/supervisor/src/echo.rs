//! Echoes: changes that devhost's answer to an earlier change has caused. A handler that writes the picture that its own page
//! shows would make that page reload for ever; an app that writes its configuration when it starts would restart for ever.
//!
//! Nothing tells who wrote a file. But an echo follows soon after the answer to the change before it, again and again,
//! and mostly while the app is busy. So after a few in a row, answers are delayed more and more; but the last change is
//! always answered, so nothing stays outdated. A change after a quiet time is an edit, and is answered at once. No clock,
//! no files.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// A change this soon after the answer to the one before it may be an echo.
pub(crate) const ECHO_TIME_MAX: Duration = Duration::from_secs(1);

/// The same while the app is busy with requests: a slow handler writes late.
pub(crate) const BUSY_ECHO_TIME_MAX: Duration = Duration::from_secs(5);

/// How many echoes in a row are answered at once if the app is busy each time.
pub(crate) const BUSY_ECHOES_COUNT_MAX: u32 = 3;

/// How many echoes of an idle app count as one of a busy app.
const IDLE_ECHOES_FOR_EACH_COUNT: u32 = 3;

/// How long the first delayed answer comes after the answer before it. Doubled for each further one if the app is busy,
/// else after every [`IDLE_ECHOES_FOR_EACH_DOUBLING_COUNT`]: an editor that saves while somebody types makes many changes, too.
pub(crate) const ECHO_BACKOFF_TIME: Duration = Duration::from_secs(1);

/// See [`ECHO_BACKOFF_TIME`].
const IDLE_ECHOES_FOR_EACH_DOUBLING_COUNT: u32 = 5;

/// The longest delay of an answer.
pub(crate) const ECHO_BACKOFF_TIME_MAX: Duration = Duration::from_secs(30);

/// How many files that change repeatedly are tracked.
const SUSPECTS_COUNT_MAX: usize = 1_000;

/// What is done about a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Open pages are reloaded.
    Pages,
    /// Stylesheets are swapped.
    Styles,
    /// The app is restarted.
    Start,
    /// The app is built.
    Build,
}

/// The changes that lead to one kind of answer, and when they were answered.
#[derive(Debug, Default)]
pub(crate) struct Echoes {
    /// Busy echoes in a row, each counted [`IDLE_ECHOES_FOR_EACH_COUNT`] times, and idle ones.
    streak: u32,
    /// Delayed answers in a row, busy ones counted [`IDLE_ECHOES_FOR_EACH_DOUBLING_COUNT`] times.
    level: u32,
    answered: Option<Duration>,
    /// When each file of the row changed last.
    suspects: BTreeMap<PathBuf, Duration>,
    /// What waits for an answer, due at `due`.
    pending: Vec<PathBuf>,
    due: Duration,
}

/// When a change is answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// At once, together with what waited.
    Now(Vec<PathBuf>),
    /// Later.
    Later {
        /// The delay, unless an answer is scheduled already.
        after: Option<Duration>,
        /// It is the first of the row that is delayed.
        is_first: bool,
    },
}

impl Echoes {
    /// Decides when changed files are answered.
    pub(crate) fn judge(&mut self, now: Duration, files: Vec<PathBuf>, busy: bool) -> Verdict {
        let time_max = if busy { BUSY_ECHO_TIME_MAX } else { ECHO_TIME_MAX };
        let follows = self.answered.is_some_and(|answered| now.saturating_sub(answered) < time_max);
        let repeats =
            |file| self.suspects.get(file).is_some_and(|last| now.saturating_sub(*last) < ECHO_TIME_MAX);
        if !follows && !files.iter().all(repeats) {
            self.streak = 0;
            self.level = 0;
            self.suspects.clear();
            return Verdict::Now(self.answer(now, files));
        }
        if self.suspects.len() > SUSPECTS_COUNT_MAX {
            self.suspects.clear();
        }
        self.suspects.extend(files.iter().map(|file| (file.clone(), now)));
        if !self.pending.is_empty() {
            self.keep(files);
            return Verdict::Later { after: None, is_first: false };
        }
        self.streak += if busy { IDLE_ECHOES_FOR_EACH_COUNT } else { 1 };
        if self.streak <= BUSY_ECHOES_COUNT_MAX * IDLE_ECHOES_FOR_EACH_COUNT {
            return Verdict::Now(self.answer(now, files));
        }
        let is_first = self.level == 0;
        let doublings = (self.level / IDLE_ECHOES_FOR_EACH_DOUBLING_COUNT).min(16);
        let backoff = ECHO_BACKOFF_TIME.saturating_mul(1 << doublings).min(ECHO_BACKOFF_TIME_MAX);
        self.level += if busy { IDLE_ECHOES_FOR_EACH_DOUBLING_COUNT } else { 1 };
        self.due = self.answered.map_or(now, |answered| answered + backoff);
        if self.due <= now {
            return Verdict::Now(self.answer(now, files));
        }
        self.keep(files);
        Verdict::Later { after: Some(self.due.checked_sub(now).unwrap()), is_first }
    }

    /// Takes what is due now.
    pub(crate) fn take_due(&mut self, now: Duration) -> Vec<PathBuf> {
        if self.pending.is_empty() || now < self.due { Vec::new() } else { self.answer(now, Vec::new()) }
    }

    fn keep(&mut self, files: Vec<PathBuf>) {
        for file in files {
            if self.pending.len() < SUSPECTS_COUNT_MAX && !self.pending.contains(&file) {
                self.pending.push(file);
            }
        }
    }

    fn answer(&mut self, now: Duration, files: Vec<PathBuf>) -> Vec<PathBuf> {
        self.answered = Some(now);
        self.keep(files.clone());
        let mut all = std::mem::take(&mut self.pending);
        // Answer what did not fit, too.
        all.extend(files.into_iter().filter(|file| !all.contains(file)).collect::<Vec<_>>());
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Changes a file `pause` after each answer, for a time, and gives when it was answered.
    fn answers(echoes: &mut Echoes, pause: Duration, busy: bool, time: Duration) -> Vec<Duration> {
        let (mut now, mut answers) = (Duration::ZERO, Vec::new());
        while now < time {
            match echoes.judge(now, vec!["u.png".into()], busy) {
                Verdict::Now(_) => answers.push(now),
                Verdict::Later { after, .. } => {
                    now += after.unwrap();
                    assert_eq!(echoes.take_due(now), [PathBuf::from("u.png")]);
                    answers.push(now);
                }
            }
            now += pause;
        }
        answers
    }

    #[test]
    fn a_loop_comes_to_rest_but_never_to_an_end() {
        let loads = answers(&mut Echoes::default(), 30 * MS, true, Duration::from_secs(12));
        assert!((5..=10).contains(&loads.len()), "{loads:?}");
        let loads = answers(&mut Echoes::default(), 30 * MS, true, Duration::from_secs(600));
        assert!((20..=30).contains(&loads.len()), "{loads:?}");
        let slow = answers(&mut Echoes::default(), 2_000 * MS, true, Duration::from_secs(600));
        assert!(slow.len() < 40, "{slow:?}");
        let by_itself = answers(&mut Echoes::default(), 30 * MS, false, Duration::from_secs(12));
        assert!(by_itself.len() < 20, "{by_itself:?}");
    }

    #[test]
    fn a_file_that_is_always_being_written_is_answered_less_and_less() {
        let (mut echoes, mut answers, mut first) = (Echoes::default(), 0, 0);
        let mut now = Duration::ZERO;
        while now < Duration::from_secs(120) {
            match echoes.judge(now, vec!["clock.txt".into()], false) {
                Verdict::Now(_) => answers += 1,
                Verdict::Later { is_first, .. } => first += u32::from(is_first),
            }
            answers += usize::from(!echoes.take_due(now).is_empty());
            now += 100 * MS;
        }
        assert!(answers < 40, "{answers}");
        assert_eq!(first, 1, "it is told once");
    }

    #[test]
    fn somebody_whose_editor_saves_all_the_time_does_not_wait_long() {
        let edits = answers(&mut Echoes::default(), 300 * MS, false, Duration::from_secs(20));
        let longest = edits.windows(2).map(|pair| pair[1].checked_sub(pair[0]).unwrap()).max().unwrap();
        assert!(edits.len() > 15 && longest <= 4_000 * MS, "{edits:?}");
    }

    #[test]
    fn an_edit_out_of_the_quiet_is_answered_at_once() {
        let mut echoes = Echoes::default();
        answers(&mut echoes, 30 * MS, true, Duration::from_secs(20));
        let now = Duration::from_secs(60);
        let edit = |echoes: &mut Echoes, now| echoes.judge(now, vec!["page.html".into()], false);
        assert_eq!(edit(&mut echoes, now), Verdict::Now(vec!["page.html".into()]));
        for step in 1..50 {
            let now = now + 1_200 * MS * step;
            assert!(matches!(edit(&mut echoes, now), Verdict::Now(_)), "{step}");
        }
    }

    #[test]
    fn an_edit_while_an_answer_is_put_off_is_answered_at_once_with_it() {
        let mut echoes = Echoes::default();
        let mut now = Duration::ZERO;
        for _ in 0..20 {
            match echoes.judge(now, vec!["u.png".into()], true) {
                Verdict::Later { after: Some(after), .. } if after > 10_000 * MS => break,
                Verdict::Later { after, .. } => now += after.unwrap(),
                Verdict::Now(_) => {}
            }
            echoes.take_due(now);
            now += 30 * MS;
        }
        now += 6_000 * MS;
        let verdict = echoes.judge(now, vec!["app.js".into()], false);
        assert_eq!(verdict, Verdict::Now(vec!["u.png".into(), "app.js".into()]));
        assert!(echoes.take_due(now + 60_000 * MS).is_empty(), "it was answered");
    }

    #[test]
    fn files_of_other_names_are_echoes_too() {
        let mut echoes = Echoes::default();
        let later = (0..20).filter(|number| {
            let files = vec![format!("thumbs/{number}.png").into()];
            matches!(echoes.judge(MS * 30 * *number, files, true), Verdict::Later { .. })
        });
        assert!(later.count() > 10);
    }
}
