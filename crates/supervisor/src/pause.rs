//! The pause: what changes is kept, and acted on when the user resumes. What had begun before is finished, and no request waits for it.

use std::path::PathBuf;
use std::time::Duration;

use devhost_model::ChangedFiles;

use crate::action::{Action, Actions};
use crate::change::add_new;
use crate::state::Supervisor;

/// How many changed files of a kind are kept. Beyond that it is known that more have changed, but not which: a build finds
/// them by their content, and pages are loaded anew for all files alike.
const FILES_KEPT_COUNT_MAX: usize = 10_000;

/// What has changed during a pause.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    files: ChangedFiles,
}

impl Pending {
    /// Keeps changed files. Returns true if they are the first ones.
    fn keep(&mut self, files: &ChangedFiles) -> bool {
        let is_first = self.files.is_empty();
        let ChangedFiles { code, inputs, startup, styles, statics } = &mut self.files;
        let styles_left_out =
            room_for(styles).saturating_sub(files.styles.len()) == 0 && !files.styles.is_empty();
        for (kept, more) in [
            (code, &files.code),
            (inputs, &files.inputs),
            (startup, &files.startup),
            (styles, &files.styles),
            (&mut *statics, &files.statics),
        ] {
            let more = more.iter().take(room_for(kept)).cloned().collect();
            add_new(kept, more);
        }
        if styles_left_out && statics.is_empty() {
            // Pages that are loaded anew have all stylesheets.
            statics.extend(files.styles.first().cloned());
        }
        is_first
    }
}

fn room_for(kept: &[PathBuf]) -> usize {
    FILES_KEPT_COUNT_MAX.saturating_sub(kept.len())
}

impl Supervisor {
    pub(crate) fn on_pause_asked(&mut self, actions: &mut Actions) {
        if self.paused.is_some() {
            return;
        }
        self.paused = Some(Pending::default());
        actions.push(Action::SetPaused { paused: true, files: 0 });
        if self.current.is_some() {
            actions.push(Action::Release);
        }
    }

    pub(crate) fn on_resume_asked(&mut self, now: Duration, actions: &mut Actions) {
        let Some(Pending { files }) = self.paused.take() else { return };
        actions.push(Action::SetPaused { paused: false, files: count(&files) });
        if self.settings.hold && self.is_building() {
            actions.push(Action::Hold);
        }
        if !files.is_empty() {
            self.on_changed(now, now, files, false, actions);
        }
    }

    /// Keeps changed files for later while devhost is paused. Returns false if they are to be acted on now.
    pub(crate) fn is_put_off(&mut self, files: &ChangedFiles, actions: &mut Actions) -> bool {
        let Some(pending) = &mut self.paused else { return false };
        if pending.keep(files) {
            let ChangedFiles { code, inputs, startup, styles, statics } = files;
            let first = [code, inputs, startup, styles, statics].into_iter().find_map(|list| list.first());
            actions.extend(first.map(|file| Action::TellOfPause { file: file.clone() }));
        }
        true
    }

    /// Takes what changed during the pause and needs a start.
    pub(crate) fn take_pending_startup(&mut self) -> Vec<PathBuf> {
        self.paused.as_mut().map(|pending| std::mem::take(&mut pending.files.startup)).unwrap_or_default()
    }

    /// Takes what changed during the pause and needs a build.
    pub(crate) fn take_pending_code(&mut self) -> Vec<PathBuf> {
        let Some(Pending { files }) = &mut self.paused else { return Vec::new() };
        let mut code = std::mem::take(&mut files.code);
        add_new(&mut code, std::mem::take(&mut files.inputs));
        code
    }
}

/// Returns the number of files; one may be in several lists.
fn count(files: &ChangedFiles) -> usize {
    let ChangedFiles { code, inputs, startup, styles, statics } = files;
    let mut all: Vec<&PathBuf> = [code, inputs, startup, styles, statics].into_iter().flatten().collect();
    all.sort();
    all.dedup();
    all.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Bench, build_started, code, forked, swapped_to};
    use crate::event::Event;

    fn set(paused: bool, files: usize) -> Action {
        Action::SetPaused { paused, files }
    }

    #[test]
    fn what_changes_during_a_pause_is_acted_on_after_it() {
        let mut bench = Bench::serving();
        assert_eq!(bench.send(Event::Pause), [set(true, 0), Action::Release]);
        assert_eq!(bench.send(Event::Pause), [], "it is paused already");
        assert_eq!(bench.change("src/a.rs"), [Action::TellOfPause { file: "src/a.rs".into() }]);
        assert_eq!(bench.change("src/b.rs"), [], "it is told once");
        assert_eq!(bench.change("src/a.rs"), []);
        let files = ChangedFiles {
            styles: vec!["static/a.css".into()],
            statics: vec!["static/a.js".into()],
            ..ChangedFiles::default()
        };
        assert_eq!(bench.changed(files, false), []);
        let actions = bench.send(Event::Resume);
        assert!(actions.contains(&set(false, 4)) && actions.contains(&Action::Hold), "{actions:?}");
        assert_eq!(build_started(&actions), Some((2, vec!["src/a.rs".into(), "src/b.rs".into()])));
        assert!(actions.contains(&Action::SwapStyles { files: vec!["static/a.css".into()] }));
        assert!(actions.contains(&Action::ReloadPages { files: vec!["static/a.js".into()] }));
        assert_eq!(bench.send(Event::Resume), [], "it goes on already");
    }

    #[test]
    fn a_file_that_starts_the_app_waits_for_the_end_of_the_pause() {
        let mut bench = Bench::serving();
        bench.send(Event::Pause);
        assert_eq!(forked(&bench.change_startup_file()), None);
        assert_eq!(forked(&bench.send(Event::Resume)), Some((2, "a".into())));
    }

    #[test]
    fn a_pause_without_a_change_ends_without_a_build() {
        let mut bench = Bench::serving();
        bench.send(Event::Pause);
        assert_eq!(bench.send(Event::Resume), [set(false, 0)]);
    }

    #[test]
    fn a_build_that_runs_when_devhost_is_paused_is_finished_and_no_request_waits_for_it() {
        let mut bench = Bench::serving();
        bench.change("src/a.rs");
        assert!(bench.send(Event::Pause).contains(&Action::Release));
        assert_eq!(build_started(&bench.change("src/b.rs")), None);
        bench.crash(1);
        let actions = bench.start(2, "a");
        assert!(actions.iter().any(|action| matches!(action, Action::Swap { release: true, .. })));
        bench.built(2, code("b"));
        assert!(swapped_to(&bench.start(3, "b"), 3));
        assert_eq!(build_started(&bench.send(Event::Resume)), Some((3, vec!["src/b.rs".into()])));
    }

    #[test]
    fn requests_wait_again_for_a_build_that_outlasts_the_pause() {
        let mut bench = Bench::serving();
        bench.change("src/a.rs");
        bench.send(Event::Pause);
        assert_eq!(bench.send(Event::Resume), [set(false, 0), Action::Hold]);
    }

    #[test]
    fn the_first_build_is_waited_for_in_a_pause_too() {
        let mut bench = Bench::new();
        assert_eq!(bench.send(Event::Pause), [set(true, 0)], "there is nothing else to serve");
        bench.built(1, code("a"));
        bench.send(Event::ZygoteReady);
        assert!(swapped_to(&bench.start(1, "a"), 1));
    }

    #[test]
    fn what_overtook_a_build_waits_as_well() {
        let mut bench = Bench::serving();
        for _ in 0..5 {
            bench.change("src/a.rs");
        }
        assert_eq!(bench.supervisor.overtaking(), [PathBuf::from("src/a.rs")]);
        bench.send(Event::Pause);
        bench.built(5, code("b"));
        assert_eq!(build_started(&bench.start(2, "b")), None);
        assert_eq!(build_started(&bench.send(Event::Resume)), Some((6, vec!["src/a.rs".into()])));
    }

    #[test]
    fn what_is_kept_has_a_bound() {
        let mut bench = Bench::serving();
        bench.send(Event::Pause);
        let files = |from: usize| -> Vec<PathBuf> {
            (from..from + FILES_KEPT_COUNT_MAX).map(|number| format!("static/{number}.css").into()).collect()
        };
        for from in [0, FILES_KEPT_COUNT_MAX] {
            let styles = files(from);
            bench.changed(ChangedFiles { styles, ..ChangedFiles::default() }, false);
        }
        let kept = &bench.supervisor.paused.as_ref().unwrap().files;
        assert_eq!((kept.styles.len(), kept.statics.len()), (FILES_KEPT_COUNT_MAX, 1));
        let actions = bench.send(Event::Resume);
        assert!(actions.iter().any(|action| matches!(action, Action::ReloadPages { .. })), "for the others");
    }
}
