//! Handles changed files. Changes that may be echoes ([`crate::echo`]) are answered later.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use devhost_model::{BrowserEvent, Cause, ChangedFiles, FILES_NAMED_COUNT_MAX};

use crate::action::{Action, Actions};
use crate::code::Code;
use crate::echo::{Answer, ECHO_TIME_MAX, Echoes, Verdict};
use crate::event::Timer;
use crate::journey::Journey;
use crate::state::{Build, Supervisor, Wanted};

impl Supervisor {
    pub(crate) fn on_changed(
        &mut self,
        now: Duration,
        at: Duration,
        files: ChangedFiles,
        busy: bool,
        actions: &mut Actions,
    ) {
        if self.is_put_off(&files, actions) {
            return;
        }
        let ChangedFiles { mut code, inputs, startup, styles, statics } = files;
        // An app may write files when it starts, too.
        let is_at_start = self.starting.is_some()
            || self.current.as_ref().is_some_and(|current| now.saturating_sub(current.since) < ECHO_TIME_MAX);
        if code.is_empty() {
            code = self.answer_to(Answer::Build, now, inputs, busy || is_at_start, actions);
        } else {
            code.extend(inputs);
        }
        if !code.is_empty() {
            self.restart_wanted |= !startup.is_empty();
            self.on_code_changed(now, at, code, actions);
        } else if !startup.is_empty() {
            let startup = self.answer_to(Answer::Start, now, startup, busy || is_at_start, actions);
            self.on_startup_changed(now, at, startup, actions);
        }
        let styles = self.answer_to(Answer::Styles, now, styles, busy, actions);
        refresh_pages(Answer::Styles, styles, actions);
        let statics = self.answer_to(Answer::Pages, now, statics, busy, actions);
        refresh_pages(Answer::Pages, statics, actions);
    }

    fn echoes(&mut self, answer: Answer) -> &mut Echoes {
        match answer {
            Answer::Pages => &mut self.page_echoes,
            Answer::Styles => &mut self.style_echoes,
            Answer::Start => &mut self.start_echoes,
            Answer::Build => &mut self.build_echoes,
        }
    }

    /// Returns the files that are to be answered now; the rest is put off.
    fn answer_to(
        &mut self,
        answer: Answer,
        now: Duration,
        files: Vec<PathBuf>,
        busy: bool,
        actions: &mut Actions,
    ) -> Vec<PathBuf> {
        let Some(first) = files.first().cloned() else { return Vec::new() };
        if !self.settings.damp_echoes {
            return files;
        }
        match self.echoes(answer).judge(now, files, busy) {
            Verdict::Now(files) => files,
            Verdict::Later { after, is_first } => {
                if is_first {
                    actions.push(Action::TellOfEcho { answer, file: first });
                }
                if let Some(after) = after {
                    actions.push(Action::Arm { timer: Timer::Echo(answer), after });
                }
                Vec::new()
            }
        }
    }

    /// Answers the changes that were put off.
    pub(crate) fn answer_echo(&mut self, now: Duration, answer: Answer, actions: &mut Actions) {
        let files = self.echoes(answer).take_due(now);
        let kept = match answer {
            _ if files.is_empty() => return,
            Answer::Pages => ChangedFiles { statics: files.clone(), ..ChangedFiles::default() },
            Answer::Styles => ChangedFiles { styles: files.clone(), ..ChangedFiles::default() },
            Answer::Start => ChangedFiles { startup: files.clone(), ..ChangedFiles::default() },
            Answer::Build => ChangedFiles { code: files.clone(), ..ChangedFiles::default() },
        };
        if self.is_put_off(&kept, actions) {
            return;
        }
        match answer {
            Answer::Pages | Answer::Styles => refresh_pages(answer, files, actions),
            Answer::Start => self.on_startup_changed(now, now, files, actions),
            Answer::Build => self.on_code_changed(now, now, files, actions),
        }
    }

    pub(crate) fn on_code_changed(
        &mut self,
        now: Duration,
        at: Duration,
        code: Vec<PathBuf>,
        actions: &mut Actions,
    ) {
        if self.must_wait(now, at, code.first(), actions) {
            add_new(&mut self.overtaking.code, code);
            return;
        }
        if matches!(self.build, Build::Running { .. }) {
            actions.push(Action::CancelBuild);
        }
        add_new(&mut self.unbuilt, code);
        self.begin_anew(actions);
        let named = self.unbuilt.iter().take(FILES_NAMED_COUNT_MAX);
        let files = named.map(|file| file.display().to_string()).collect();
        actions.push(Action::Tell(BrowserEvent::Building { files }));
        actions.push(Action::SetState(self.waiting_state()));
        self.start_build(now, at, actions);
    }

    pub(crate) fn on_startup_changed(
        &mut self,
        now: Duration,
        at: Duration,
        files: Vec<PathBuf>,
        actions: &mut Actions,
    ) {
        if files.is_empty() {
            return;
        }
        self.restart_wanted = true;
        if self.is_building() {
            // The code of this build will be started in any case.
            return;
        }
        // Code that did not start may start with the new values.
        let Some(code) = self.startable() else { return };
        if self.must_wait(now, at, files.first(), actions) {
            add_new(&mut self.overtaking.startup, files);
            return;
        }
        self.begin_anew(actions);
        actions.push(Action::SetState(self.waiting_state()));
        let journey = Journey::new(Cause::Change, files, at);
        self.want(Wanted { code, journey, second_try: false }, actions);
    }

    /// Returns the code that can be started now: the newest, or if that does not build, the last good one.
    pub(crate) fn startable(&self) -> Option<Arc<Code>> {
        if self.build_broken { self.last_good.clone() } else { self.newest.clone() }
    }

    /// Gives up what is starting, which is outdated now, and forgets earlier crashes. It is killed rather than drained: it has
    /// had no requests.
    pub(crate) fn begin_anew(&mut self, actions: &mut Actions) {
        self.wanted = None;
        self.abandon_starting(actions);
        self.crashes = 0;
        self.zygote_deaths = 0;
        if self.holds() || self.current.is_none() {
            actions.push(Action::Hold);
        }
    }
}

/// Swaps the stylesheets of open pages, or reloads the pages.
fn refresh_pages(answer: Answer, files: Vec<PathBuf>, actions: &mut Actions) {
    if !files.is_empty() {
        actions.push(match answer {
            Answer::Styles => Action::SwapStyles { files },
            Answer::Pages | Answer::Start | Answer::Build => Action::ReloadPages { files },
        });
    }
}

/// Adds the files that are not in the list yet. Switching branches can change thousands.
pub(crate) fn add_new(files: &mut Vec<PathBuf>, more: Vec<PathBuf>) {
    let mut known: HashSet<PathBuf> = files.iter().cloned().collect();
    files.extend(more.into_iter().filter(|file| known.insert(file.clone())));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Bench, build_started, code, forked};
    use crate::event::Event;

    #[test]
    fn new_environment_means_a_fork_without_a_build() {
        let mut bench = Bench::serving();
        let actions = bench.change_startup_file();
        assert_eq!((build_started(&actions), forked(&actions)), (None, Some((2, "a".into()))));
    }

    #[test]
    fn new_environment_starts_code_that_would_not_start_before() {
        let mut bench = Bench::serving();
        bench.change("src/a.rs");
        bench.built(2, code("b"));
        bench.send(Event::StartFailed {
            generation: 2,
            message: "KEY is missing".into(),
            hint: String::new(),
        });
        assert_eq!(forked(&bench.change_startup_file()), Some((3, "b".into())));
        assert!(bench.start(3, "b").contains(&Action::SetFailure(None)));
    }

    #[test]
    fn new_environment_during_a_build_restarts_even_the_same_code() {
        let mut bench = Bench::serving();
        bench.change("src/a.rs");
        assert_eq!(forked(&bench.change_startup_file()), None);
        assert_eq!(forked(&bench.built(2, code("a"))), Some((2, "a".into())));
    }

    #[test]
    fn a_stylesheet_or_a_static_file_needs_neither_build_nor_fork() {
        let mut bench = Bench::serving();
        let files = ChangedFiles {
            styles: vec!["static/a.css".into()],
            statics: vec!["static/a.js".into()],
            ..ChangedFiles::default()
        };
        let actions = bench.changed(files, false);
        assert_eq!(
            actions,
            [
                Action::SwapStyles { files: vec!["static/a.css".into()] },
                Action::ReloadPages { files: vec!["static/a.js".into()] }
            ]
        );
    }

    #[test]
    fn files_that_may_be_inputs_are_built_and_keep_what_else_they_mean() {
        let mut bench = Bench::serving();
        let file = || vec![PathBuf::from("static/a.css")];
        let files = ChangedFiles { inputs: file(), styles: file(), ..ChangedFiles::default() };
        let actions = bench.changed(files, false);
        assert_eq!(build_started(&actions), Some((2, file())));
        assert!(actions.contains(&Action::SwapStyles { files: file() }));
    }

    #[test]
    fn an_app_that_writes_what_starts_it_comes_to_rest_and_is_started_once_more_at_last() {
        let mut bench = Bench::serving();
        let files = || ChangedFiles { startup: vec!["config.toml".into()], ..ChangedFiles::default() };
        let mut generation = 1;
        let later = (0..20).find_map(|_| {
            let actions = bench.changed(files(), true);
            if let Some((forked, _)) = forked(&actions) {
                generation = forked;
                bench.start(forked, "a");
                return None;
            }
            assert!(
                actions.contains(&Action::TellOfEcho { answer: Answer::Start, file: "config.toml".into() })
            );
            actions.iter().find_map(|action| match action {
                Action::Arm { timer: timer @ Timer::Echo(Answer::Start), after } => Some((*timer, *after)),
                _ => None,
            })
        });
        let (timer, after) = later.expect("it goes on for ever");
        bench.now += after;
        assert_eq!(forked(&bench.send(Event::Timer(timer))), Some((generation + 1, "a".into())));
    }

    #[test]
    fn thousands_of_changed_files_are_counted_and_a_few_named() {
        let mut bench = Bench::serving();
        let code: Vec<PathBuf> = (0..5_000).map(|number| format!("src/{number}.rs").into()).collect();
        let actions = bench.changed(ChangedFiles { code, ..ChangedFiles::default() }, false);
        let told = actions.iter().find_map(|action| match action {
            Action::Tell(BrowserEvent::Building { files }) => Some(files.len()),
            _ => None,
        });
        assert_eq!(told, Some(FILES_NAMED_COUNT_MAX));
        let actions = bench.build_failed(2);
        let told = actions.iter().find_map(|action| match action {
            Action::Report(reload) => Some((reload.files.len(), reload.files_left_out)),
            _ => None,
        });
        assert_eq!(told, Some((FILES_NAMED_COUNT_MAX, 5_000 - FILES_NAMED_COUNT_MAX)));
    }
}
