//! The outcome of a reload, judged only from what the processes said and how they ended. The right answer is
//! not hard-coded: it is what the new version says after a cold start.

use nix::sys::signal::Signal;

use super::child::End;
use crate::model::Verdict;
use crate::programs::HostEvent;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// The version it was compiled as.
    pub version: u32,
    pub text: String,
}

/// What one process said, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Life {
    pub seen: Vec<HostEvent>,
    pub end: End,
}

impl Life {
    /// Parses a process's output, ignoring a line cut off by a crash.
    pub(super) fn new(end: End, output: &[u8]) -> Self {
        let seen = output
            .split(|byte| *byte == b'\n')
            .filter_map(|line| serde_json::from_slice(line).ok())
            .collect();
        Self { seen, end }
    }

    /// Splits a forking host's life into its children's. The last one includes the host's own end if that was
    /// not a good one.
    pub(super) fn of_children(self) -> Vec<Self> {
        let mut lives = Vec::new();
        let mut seen = Vec::new();
        for line in self.seen {
            if let HostEvent::ChildEnded { code, signal } = line {
                let end = signal.map_or(End::Exited(code.unwrap_or_default()), End::Signaled);
                lives.push(Self { seen: std::mem::take(&mut seen), end });
            } else {
                seen.push(line);
            }
        }
        if self.end != End::Exited(0) || !seen.is_empty() {
            lives.push(Self { seen, end: self.end });
        }
        lives
    }

    pub(super) fn failure(&self) -> Option<&str> {
        self.seen.iter().find_map(|seen| match seen {
            HostEvent::Failed { message } => Some(message.as_str()),
            _ => None,
        })
    }

    fn answers(&self) -> impl Iterator<Item = Answer> {
        self.seen.iter().filter_map(|seen| match seen {
            HostEvent::Answered { version, text } => Some(Answer { version: *version, text: text.clone() }),
            _ => None,
        })
    }

    /// The answer of a process that serves one version, and ends well.
    pub(super) fn only_answer(&self) -> Option<Answer> {
        (self.end == End::Exited(0)).then(|| self.answers().next()).flatten()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Judgement {
    pub verdict: Verdict,
    pub observation: String,
}

/// Judges a reload in one process by its second answer.
pub(super) fn judge_one_process(life: &Life, cold: &Answer) -> Judgement {
    judge(life, life.answers().nth(1), cold)
}

pub(super) fn judge_two_processes(lives: &[Life], cold: &Answer) -> Judgement {
    match lives {
        [old, ..] if old.only_answer().is_none() => {
            let Judgement { verdict, observation } = judge(old, None, cold);
            Judgement { verdict, observation: format!("the old code: {observation}") }
        }
        [_, new] => judge(new, new.answers().next(), cold),
        _ => Judgement { verdict: Verdict::Crashed, observation: "the new code was not started".into() },
    }
}

fn judge(life: &Life, answer: Option<Answer>, cold: &Answer) -> Judgement {
    let (verdict, observation) = match (life.end, answer) {
        (End::Signaled(number), _) => (Verdict::Crashed, format!("{} {}", signal_name(number), moment(life))),
        (End::TimedOut | End::Cancelled, _) => (Verdict::Hung, format!("hung {}", moment(life))),
        (End::Exited(0), Some(answer)) if answer == *cold => (Verdict::Clean, answer.text),
        (End::Exited(0), Some(answer)) if answer.text == cold.text => {
            (Verdict::Left, format!("version {} answered", answer.version))
        }
        (End::Exited(0), Some(answer)) => {
            (Verdict::Left, format!("{} (after a cold start: {})", answer.text, cold.text))
        }
        (End::Exited(code), _) => (Verdict::Crashed, format!("exit code {code} {}", moment(life))),
    };
    Judgement { verdict, observation }
}

/// When in its life the process ended.
fn moment(life: &Life) -> &'static str {
    match life.seen.last() {
        Some(HostEvent::Unloaded) => "after the old code was unloaded",
        Some(HostEvent::Ending) => "when the process ended",
        Some(HostEvent::Answered { .. }) => "after an answer",
        Some(HostEvent::Started) => "after a start",
        _ => "before a start",
    }
}

fn signal_name(number: i32) -> String {
    Signal::try_from(number).map_or_else(|_| format!("signal {number}"), |signal| signal.as_str().to_owned())
}

/// The worst of several tries, with its frequency if they differ.
pub(super) fn worst(judgements: &[Judgement]) -> Judgement {
    let Some(worst) = judgements.iter().max_by_key(|judgement| badness(judgement.verdict)) else {
        return Judgement { verdict: Verdict::Hung, observation: "was not tried".into() };
    };
    let count = judgements.iter().filter(|judgement| judgement.verdict == worst.verdict).count();
    let mut worst = worst.clone();
    if count < judgements.len() {
        worst.observation = format!("{} ({count} of {} tries)", worst.observation, judgements.len());
    }
    worst
}

fn badness(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Clean => 0,
        Verdict::Left => 1,
        Verdict::Hung => 2,
        Verdict::Crashed => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(version: u32, text: &str) -> HostEvent {
        HostEvent::Answered { version, text: text.into() }
    }

    fn cold() -> Answer {
        Answer { version: 2, text: "start 1".into() }
    }

    fn one_process(seen: Vec<HostEvent>, end: End) -> Verdict {
        judge_one_process(&Life { seen, end }, &cold()).verdict
    }

    #[test]
    fn only_an_answer_as_after_a_cold_start_and_a_good_end_are_clean() {
        let first = || answered(1, "start 1");
        let good = End::Exited(0);
        assert_eq!(one_process(vec![first(), answered(2, "start 1")], good), Verdict::Clean);
        assert_eq!(one_process(vec![first(), answered(2, "start 2")], good), Verdict::Left);
        assert_eq!(one_process(vec![first(), answered(1, "start 1")], good), Verdict::Left);
        assert_eq!(one_process(vec![first()], good), Verdict::Crashed);
        assert_eq!(one_process(vec![first(), answered(2, "start 1")], End::Signaled(11)), Verdict::Crashed);
        assert_eq!(one_process(vec![first(), answered(2, "start 1")], End::Exited(1)), Verdict::Crashed);
        assert_eq!(one_process(vec![first(), answered(2, "start 1")], End::TimedOut), Verdict::Hung);
    }

    #[test]
    fn a_crash_tells_the_signal_and_when() {
        let life = Life { seen: vec![answered(1, "start 1"), HostEvent::Unloaded], end: End::Signaled(11) };
        assert_eq!(judge_one_process(&life, &cold()).observation, "SIGSEGV after the old code was unloaded");
    }

    #[test]
    fn a_forking_host_is_judged_by_its_children() {
        let ended = |code, signal| HostEvent::ChildEnded { code, signal };
        let judged = |seen, end| judge_two_processes(&Life { seen, end }.of_children(), &cold());
        let good = ended(Some(0), None);
        let seen = vec![answered(1, "start 1"), good.clone(), answered(2, "start 1"), good.clone()];
        assert_eq!(judged(seen.clone(), End::Exited(0)).verdict, Verdict::Clean);
        let died = vec![answered(1, "start 1"), good.clone(), answered(2, "start 1"), ended(None, Some(6))];
        assert_eq!(judged(died, End::Exited(0)).verdict, Verdict::Crashed);
        let old_died = vec![ended(None, Some(11)), answered(2, "start 1"), good.clone()];
        let judgement = judged(old_died, End::Exited(0));
        assert_eq!(judgement.verdict, Verdict::Crashed);
        assert!(judgement.observation.starts_with("the old code: SIGSEGV"), "{judgement:?}");
        // The host itself dies while its second child lives.
        assert_eq!(judged(seen[..3].to_vec(), End::Signaled(9)).verdict, Verdict::Crashed);
        assert_ne!(judged(seen, End::Signaled(9)).verdict, Verdict::Clean);
    }

    #[test]
    fn a_line_that_was_cut_off_is_not_taken_for_an_answer() {
        let life = Life::new(End::Signaled(11), b"{\"step\":\"unloaded\"}\n{\"step\":\"answered\",\"vers");
        assert_eq!(life.seen, [HostEvent::Unloaded]);
    }

    #[test]
    fn the_worst_of_several_tries_counts() {
        let judgement =
            |verdict, observation: &str| Judgement { verdict, observation: observation.to_owned() };
        let worst = worst(&[
            judgement(Verdict::Left, "start 2"),
            judgement(Verdict::Crashed, "SIGSEGV"),
            judgement(Verdict::Clean, "start 1"),
        ]);
        assert_eq!(worst, judgement(Verdict::Crashed, "SIGSEGV (1 of 3 tries)"));
    }
}
