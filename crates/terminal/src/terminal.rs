//! The terminal: each message as text for people or as an event for programs.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::event::{TerminalEvent, Url};
use crate::foreign::tame;
use crate::keys::{self, Addresses};
use crate::label::{Label, Level, Stream};
use crate::live::{Building, Size, UNKNOWN_SIZE};
use crate::progress::Progress;
use crate::sink::Sink;
use crate::style::Style;
use devhost_model::{Cause, Diagnostic, Diagnostics, End, Error, Failure, Outcome, Reload, SideStatus};

/// The interval of progress lines if there is no terminal to draw a bar on.
const PROGRESS_LINE_INTERVAL_MS: u64 = 3_000;

/// The interval of progress events.
const PROGRESS_EVENT_INTERVAL_MS: u64 = 250;

/// How wide is what stands between an app's name and its lines.
const LABEL_END_WIDTH: usize = " | ".len();

/// How messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Human,
    /// One JSON object a line
    Json,
}

/// Informs the user. Can be used from several threads.
#[derive(Debug, Clone)]
pub struct Terminal {
    /// The app that everything said here is about, if several are served together.
    app: Option<Label>,
    /// How wide the longest name of an app is.
    names_width: usize,
    format: Format,
    verbose: bool,
    out: Sink,
    err: Sink,
    out_style: Style,
    err_style: Style,
    draws_bar: bool,
    draws_live: bool,
    /// The first line of the help has been shown.
    takes_keys: Arc<AtomicBool>,
    /// Also serialises the messages: the holder of the lock writes.
    progress: Arc<Mutex<Progress>>,
}

impl Terminal {
    /// Creates a terminal on standard output and standard error. `verbose` also shows details, and warnings
    /// along with errors.
    pub fn new(format: Format, verbose: bool) -> Self {
        Self {
            app: None,
            names_width: 0,
            format,
            verbose,
            out: Sink::Stdout,
            err: Sink::Stderr,
            out_style: Style::of(&io::stdout()),
            err_style: Style::of(&io::stderr()),
            draws_bar: format == Format::Human && io::stderr().is_terminal(),
            draws_live: format == Format::Human
                && io::stdout().is_terminal()
                && io::stderr().is_terminal()
                && std::env::var_os("TERM").is_none_or(|term| term != "dumb"),
            takes_keys: Arc::default(),
            progress: Arc::new(Mutex::new(Progress::Idle)),
        }
    }

    /// Makes the names of side processes as wide as these of several apps.
    #[must_use]
    pub fn with_names_width(self, names_width: usize) -> Self {
        Self { names_width, ..self }
    }

    /// Returns the same terminal for one of several apps: each line names it, and each event has its name as `app`.
    #[must_use]
    pub fn of_app(&self, app: Label) -> Self {
        Self { app: Some(app), ..self.clone() }
    }

    /// Says which apps are served together, before any of them is. For programs each of them says `listening`.
    pub fn heading(&self, version: &str, apps: &[&str]) {
        self.answer(|| {
            let hint = self.takes_keys.load(Ordering::Relaxed);
            let hint = if hint { format!("  {}\n\n", self.out_style.dim(keys::HINT)) } else { String::new() };
            self.out_style.banner(version, &apps.join(", "), &[]).replace("\n\n\n", "\n\n") + &hint
        });
    }

    /// Shows the addresses once the port is open. `since_start` is the time since devhost started; only the
    /// event has it.
    pub fn banner(&self, version: &str, app: &str, urls: &[(&str, &str)], since_start: Duration) {
        self.say(
            || {
                if self.app.is_some() {
                    return self.out_style.addresses(urls);
                }
                let hint = self.takes_keys.load(Ordering::Relaxed);
                let hint =
                    if hint { format!("  {}\n\n", self.out_style.dim(keys::HINT)) } else { String::new() };
                self.out_style.banner(version, app, urls) + &hint
            },
            || listening(version, app, urls, since_start),
        );
    }

    /// Shows the addresses again, because devhost has moved to the port that the app asks for.
    pub fn moved(&self, version: &str, app: &str, urls: &[(&str, &str)], since_start: Duration) {
        self.say(|| self.out_style.addresses(urls), || listening(version, app, urls, since_start));
    }

    /// Mentions with the next banner that keys are taken.
    pub fn take_keys(&self) {
        self.takes_keys.store(true, Ordering::Relaxed);
    }

    /// Mentions the key that shows the others, to somebody who has pressed one that does nothing.
    pub fn hint_at_keys(&self) {
        self.answer(|| format!("{}\n", self.out_style.dim(keys::HINT)));
    }

    /// Shows what each key does.
    pub fn keys(&self) {
        self.answer(|| self.out_style.keys());
    }

    /// Shows where the app is.
    pub fn addresses(&self, addresses: &Addresses<'_>) {
        let columns = size_of(io::stdout()).map(|size| size.columns);
        self.answer(|| self.out_style.whereabouts(addresses, columns));
    }

    /// Shows a failure once more, after what the app printed before it, which may have scrolled away.
    pub fn failure_again(&self, failure: &Failure, is_over: bool) {
        self.answer(|| {
            let failed = self.out_style.failure(failure, self.verbose);
            self.out_style.once_more(failure.app_output(), &failed, is_over)
        });
    }

    /// Shows a crash once more, after what the app printed before it.
    pub fn crash_again(&self, end: &End, output: &str, is_over: bool) {
        self.answer(|| self.out_style.once_more(output, &self.out_style.crash(end), is_over));
    }

    /// Says a word in answer to a key.
    pub fn reply(&self, message: &str) {
        self.answer(|| format!("{message}\n"));
    }

    /// Tells that changes are not acted on any more.
    pub fn paused(&self) {
        self.say(|| self.out_style.paused(), || TerminalEvent::Paused);
    }

    /// Tells that changes are acted on again, and how many files have changed meanwhile.
    pub fn resumed(&self, files: usize) {
        self.say(|| self.out_style.resumed(files), || TerminalEvent::Resumed { files });
    }

    /// Clears the screen and what has scrolled off it.
    pub fn clear(&self) {
        if self.draws_live {
            self.answer(|| "\x1b[H\x1b[2J\x1b[3J".into());
        }
    }

    /// Returns true if there is a terminal to draw a live line on.
    pub fn draws_live(&self) -> bool {
        self.draws_live
    }

    /// Draws the live line of a build, which is repeated about ten times a second. `printed` is what the app has printed since the last
    /// time, if anything.
    pub fn building(&self, building: &Building, elapsed: Duration, printed: Option<&str>) {
        if self.draws_live {
            let size = size_of(io::stderr()).unwrap_or(UNKNOWN_SIZE);
            let name = self.app.as_ref().map(|app| self.err_style.label(app) + " ").unwrap_or_default();
            let room =
                size.columns.saturating_sub(self.app.as_ref().map_or(0, |app| app.width + LABEL_END_WIDTH));
            let line = name + &self.err_style.live(building, elapsed, room);
            let text = self.lock().live().show(&line, size, printed);
            self.err.write(&text);
        }
    }

    /// Removes the live line, as the build is over.
    pub fn building_done(&self, printed: Option<&str>) {
        if self.draws_live {
            let size = size_of(io::stderr()).unwrap_or(UNKNOWN_SIZE);
            let mut progress = self.lock();
            let text = progress.end_live(size, printed);
            self.err.write(&text);
        }
    }

    /// Takes the live line off the screen for now, because another job gets the terminal.
    pub fn step_aside(&self) {
        self.lock().make_way_for(|first| self.err.write(first));
    }

    /// Shows how many crates of the build are done.
    pub fn progress(&self, done: u32, total: u32, current: &str) {
        let mut progress = self.lock();
        if self.draws_bar {
            let named = self.app.as_ref().map(|app| format!("{}: {current}", app.name));
            progress.move_bar(self.err_style.colours, done, total, named.as_deref().unwrap_or(current));
            return;
        }
        let interval = match self.format {
            Format::Human => PROGRESS_LINE_INTERVAL_MS,
            Format::Json => PROGRESS_EVENT_INTERVAL_MS,
        };
        if !progress.is_due(Duration::from_millis(interval), current) {
            return;
        }
        match self.format {
            Format::Human => {
                self.err.write(&self.named(self.err_style, self.err_style.progress(done, total, current)));
            }
            Format::Json => {
                let event = TerminalEvent::Progress { done, total, current: current.into() };
                self.out.write(&self.line(&event));
            }
        }
    }

    /// Removes the progress bar, as the build is over.
    pub fn progress_done(&self) {
        self.lock().finish();
    }

    /// Tells how a reload went.
    pub fn reload(&self, reload: &Reload) {
        let event = || match (reload.cause, reload.outcome) {
            (Cause::Start, Outcome::Ok) => TerminalEvent::Ready { reload: reload.clone() },
            _ => TerminalEvent::Reload { reload: reload.clone() },
        };
        match reload.outcome {
            Outcome::Ok | Outcome::Unchanged | Outcome::Behind => {
                self.say(|| self.out_style.reload(reload, self.verbose), event);
            }
            // On the same stream as the failure.
            Outcome::BuildFailed | Outcome::StartFailed => {
                self.complain(|| self.err_style.reload(reload, self.verbose), event);
            }
        }
    }

    /// Tells why the newest code is not being served.
    pub fn failure(&self, failure: &Failure) {
        self.complain(
            || self.err_style.failure(failure, self.verbose),
            || TerminalEvent::Failure { title: failure.title(), failure: without_colours(failure) },
        );
    }

    /// Tells the compiler's warnings about code that built: the `new` ones to people, `all` of them to
    /// programs.
    pub fn warnings(&self, all: &Diagnostics, new: &[&Diagnostic]) {
        let told: Vec<&Diagnostic> = match self.format {
            Format::Human => new.to_vec(),
            Format::Json => all.iter().collect(),
        };
        let any = !told.is_empty();
        for warning in told {
            self.complain(
                || self.err_style.diagnostic(warning),
                || TerminalEvent::Diagnostic { diagnostic: in_plain(warning) },
            );
        }
        if let Some(left_out) = all.left_out().describe().filter(|_| any) {
            self.note(&format!("{left_out}, which `cargo build` shows"));
        }
    }

    /// Tells that stylesheets were swapped in open pages, and why the first of them matters.
    pub fn css(&self, files: &[impl AsRef<Path>], why: &str) {
        self.say(
            || self.out_style.stylesheets(files, why),
            || TerminalEvent::Css { files: texts(files), why: why.to_owned() },
        );
    }

    /// Tells that open pages were reloaded because of these files, and why the first of them matters.
    pub fn statics(&self, files: &[impl AsRef<Path>], why: &str) {
        self.say(
            || self.out_style.statics(files, why),
            || TerminalEvent::Statics { files: texts(files), why: why.to_owned() },
        );
    }

    /// Tells something worth knowing.
    pub fn note(&self, message: &str) {
        self.complain(|| self.err_style.note(message), || TerminalEvent::Note { message: message.into() });
    }

    /// Returns true if details were asked for.
    pub fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// Tells something worth knowing if details were asked for.
    pub fn detail(&self, message: &str) {
        if self.verbose {
            self.note(message);
        }
    }

    /// Warns about something that is probably wrong.
    pub fn warn(&self, message: &str) {
        self.complain(
            || self.err_style.warning(message),
            || TerminalEvent::Warning { message: message.into() },
        );
    }

    /// Tells what is wrong and what to do about it.
    pub fn error(&self, error: &Error) {
        self.complain(
            || self.err_style.error(error),
            || TerminalEvent::Error {
                message: error.message.clone(),
                hint: error.hint.clone(),
                mistake: error.mistake,
            },
        );
    }

    /// Tells that a worker crashed.
    pub fn crash(&self, end: &End) {
        self.complain(
            || self.err_style.crash(end),
            || TerminalEvent::Crash { message: end.to_string(), end: end.clone() },
        );
    }

    /// Returns true if people see colours.
    pub fn has_colours(&self) -> bool {
        self.format == Format::Human && self.out_style.colours
    }

    /// Shows a line that a side process has written.
    pub fn output(&self, label: &Label, stream: Stream, line: &str) {
        let (sink, style) = match stream {
            Stream::Stdout => (&self.out, self.out_style),
            Stream::Stderr => (&self.err, self.err_style),
        };
        self.tell(
            sink,
            style,
            || {
                let width = label.width.max(self.names_width);
                style.output(&Label { width, ..label.clone() }, line)
            },
            || TerminalEvent::Output { process: label.name.clone(), stream, line: tame(line, false) },
        );
    }

    /// Shows a line that the app itself has written. Only one of several apps writes to devhost.
    pub fn app_output(&self, stream: Stream, line: &str) {
        let (sink, style) = match stream {
            Stream::Stdout => (&self.out, self.out_style),
            Stream::Stderr => (&self.err, self.err_style),
        };
        let process = || self.app.as_ref().map(|app| app.name.clone()).unwrap_or_default();
        self.tell(
            sink,
            style,
            || tame(line, style.colours) + "\n",
            || TerminalEvent::Output { process: process(), stream, line: tame(line, false) },
        );
    }

    /// Tells what a side process does.
    pub fn process(&self, process: &SideStatus, level: Level, message: &str) {
        if self.format == Format::Human && level == Level::Detail && !self.verbose {
            return;
        }
        self.complain(
            || match level {
                Level::Detail | Level::Note => self.err_style.note(message),
                Level::Warning => self.err_style.warning(message),
            },
            || TerminalEvent::Process { message: message.into(), process: process.clone() },
        );
    }

    /// Tells that devhost is ending, and removes the progress bar.
    pub fn stopping(&self) {
        self.progress_done();
        // Starts a new line, because a terminal shows Ctrl-C as `^C` at the cursor.
        self.say(|| "\nstopping\n".to_owned(), || TerminalEvent::Stopping);
    }

    fn say(&self, text: impl FnOnce() -> String, event: impl FnOnce() -> TerminalEvent) {
        self.tell(&self.out, self.out_style, text, event);
    }

    fn complain(&self, text: impl FnOnce() -> String, event: impl FnOnce() -> TerminalEvent) {
        self.tell(&self.err, self.err_style, text, event);
    }

    fn tell(
        &self,
        sink: &Sink,
        style: Style,
        text: impl FnOnce() -> String,
        event: impl FnOnce() -> TerminalEvent,
    ) {
        let mut progress = self.lock();
        match self.format {
            Format::Json => self.out.write(&self.line(&event())),
            Format::Human => progress.make_way_for(|first| {
                self.err.write(first);
                sink.write(&self.named(style, text()));
            }),
        }
    }

    /// Writes what people ask for. Programs do not.
    fn answer(&self, text: impl FnOnce() -> String) {
        if self.format == Format::Human {
            self.lock().make_way_for(|first| {
                self.err.write(first);
                self.out.write(&self.named(self.out_style, text()));
            });
        }
    }

    /// Puts the app's name before each line, if there are several apps.
    fn named(&self, style: Style, text: String) -> String {
        let Some(app) = &self.app else { return text };
        let label = style.label(app);
        let mut named = String::with_capacity(text.len() + label.len());
        for line in text.lines() {
            named.push_str(format!("{label} {line}").trim_end());
            named.push('\n');
        }
        named
    }

    fn line(&self, event: &TerminalEvent) -> String {
        event.line(self.app.as_ref().map(|app| app.name.as_str()))
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn size_of(stream: impl AsFd) -> Option<Size> {
    let (width, height) = terminal_size::terminal_size_of(stream)?;
    Some(Size { columns: width.0.into(), rows: height.0.into() })
}

/// Removes a failure's colours, as cargo does for `--message-format json`.
fn without_colours(failure: &Failure) -> Failure {
    match failure {
        Failure::Build { diagnostics, output } => Failure::Build {
            diagnostics: diagnostics.map(in_plain),
            output: anstream::adapter::strip_str(output).to_string(),
        },
        other => other.clone(),
    }
}

fn in_plain(diagnostic: &Diagnostic) -> Diagnostic {
    let rendered = anstream::adapter::strip_str(&diagnostic.rendered).to_string();
    Diagnostic { rendered, ..diagnostic.clone() }
}

fn texts(files: &[impl AsRef<Path>]) -> Vec<String> {
    files.iter().map(|file| file.as_ref().to_string_lossy().into_owned()).collect()
}

fn listening(version: &str, app: &str, urls: &[(&str, &str)], since_start: Duration) -> TerminalEvent {
    TerminalEvent::Listening {
        version: version.into(),
        app: app.into(),
        urls: urls.iter().map(|(label, url)| Url { label: (*label).into(), url: (*url).into() }).collect(),
        since_start_ms: since_start.as_secs_f64() * 1000.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use devhost_model::{SideState, Steps};

    struct Written {
        terminal: Terminal,
        out: Arc<Mutex<Vec<u8>>>,
        err: Arc<Mutex<Vec<u8>>>,
    }

    fn in_memory(format: Format) -> Written {
        let out = Arc::new(Mutex::new(Vec::new()));
        let err = Arc::new(Mutex::new(Vec::new()));
        let terminal = Terminal {
            app: None,
            names_width: 0,
            format,
            verbose: false,
            out: Sink::Memory(out.clone()),
            err: Sink::Memory(err.clone()),
            out_style: Style { colours: false },
            err_style: Style { colours: false },
            draws_bar: false,
            draws_live: false,
            takes_keys: Arc::default(),
            progress: Arc::new(Mutex::new(Progress::Idle)),
        };
        Written { terminal, out, err }
    }

    impl Written {
        fn take(&self) -> (String, String) {
            let take = |bytes: &Mutex<Vec<u8>>| {
                String::from_utf8(std::mem::take(&mut bytes.lock().unwrap())).unwrap()
            };
            (take(&self.out), take(&self.err))
        }

        fn take_event(&self) -> serde_json::Value {
            let (out, err) = self.take();
            assert_eq!(err, "");
            assert!(out.ends_with('\n') && out.matches('\n').count() == 1, "{out}");
            serde_json::from_str(&out).unwrap()
        }
    }

    fn reload(cause: Cause, outcome: Outcome) -> Reload {
        Reload {
            generation: 2,
            cause,
            files: vec!["src/main.rs".into()],
            files_left_out: 0,
            why: String::new(),
            outcome,
            total_ms: 700.0,
            steps: Steps { build_ms: 690.0, fork_ms: 0.5, load_ms: 2.0, ready_ms: 4.0, ..Steps::default() },
            build: None,
        }
    }

    #[test]
    fn course_goes_to_stdout_and_trouble_to_stderr() {
        let written = in_memory(Format::Human);
        written.terminal.reload(&reload(Cause::Change, Outcome::Ok));
        written.terminal.css(&["style.css"], "");
        let (out, err) = written.take();
        assert!(
            out.starts_with("reloaded #2 in 700 ms (") && out.ends_with("css update style.css\n"),
            "{out}"
        );
        assert_eq!(err, "");
        written.terminal.reload(&reload(Cause::Change, Outcome::BuildFailed));
        written.terminal.warn("hm");
        written.terminal.detail("not asked for");
        let (out, err) = written.take();
        assert_eq!(out, "");
        assert!(
            err.starts_with("build failed in 700 ms; #2 goes on serving") && err.ends_with("warning: hm\n"),
            "{err}"
        );
    }

    #[test]
    fn progress_without_a_terminal_is_a_line_now_and_then() {
        let written = in_memory(Format::Human);
        for done in 0..100 {
            written.terminal.progress(done, 100, "serde");
        }
        assert_eq!(written.take().1, "building 0/100 serde\n");
        written.terminal.progress(0, 100, "waiting for another cargo (file lock on build directory)");
        assert!(
            written.take().1.contains("waiting for another cargo"),
            "nobody should wonder why nothing happens"
        );
        written.terminal.progress(1, 100, "waiting for another cargo (file lock on build directory)");
        assert_eq!(written.take().1, "", "it is told once");
        written.terminal.progress_done();
        written.terminal.progress(0, 3, "app");
        assert_eq!(written.take().1, "building 0/3 app\n");
    }

    #[test]
    fn every_message_is_an_event_with_json() {
        let written = in_memory(Format::Json);
        let terminal = &written.terminal;
        terminal.banner("0.1.0", "app", &[("Local", "http://127.0.0.1:3000/")], Duration::from_millis(42));
        assert_eq!(
            written.take_event(),
            serde_json::json!({"event": "listening", "version": "0.1.0", "app": "app", "since_start_ms": 42.0,
                "urls": [{"label": "Local", "url": "http://127.0.0.1:3000/"}]})
        );
        terminal.progress(1, 2, "serde");
        assert_eq!(
            written.take_event(),
            serde_json::json!({"event": "progress", "done": 1, "total": 2, "current": "serde"})
        );
        terminal.reload(&reload(Cause::Start, Outcome::Ok));
        assert_eq!(written.take_event()["event"], "ready");
        terminal.reload(&reload(Cause::Change, Outcome::BuildFailed));
        assert_eq!(
            written.take_event(),
            serde_json::json!({"event": "reload", "generation": 2, "cause": "change", "files": ["src/main.rs"],
                "files_left_out": 0, "why": "", "outcome": "build_failed", "total_ms": 700.0,
                "steps": {"notice_ms": 0.0, "build_ms": 690.0, "fork_ms": 0.5, "load_ms": 2.0, "ready_ms": 4.0,
                    "other_ms": 0.0, "first_response_ms": null},
                "build": null})
        );
        let diagnostic = Diagnostic {
            level: "error".into(),
            message: "no".into(),
            code: Some("E0308".into()),
            file: Some("src/a.rs".into()),
            line: Some(1),
            column: Some(2),
            rendered: "error: no\nmore".into(),
        };
        terminal.failure(&Failure::Build { diagnostics: vec![diagnostic].into(), output: String::new() });
        let event = written.take_event();
        assert_eq!((&event["event"], &event["failure"]["kind"]), (&"failure".into(), &"build".into()));
        assert_eq!(event["failure"]["diagnostics"][0]["line"], 1);
        terminal.css(&["a.css"], "served as it is");
        assert_eq!(
            written.take_event(),
            serde_json::json!({"event": "css", "files": ["a.css"], "why": "served as it is"})
        );
        terminal.statics(&["a.html"], "");
        assert_eq!(
            written.take_event(),
            serde_json::json!({"event": "statics", "files": ["a.html"], "why": ""})
        );
        terminal.crash(&End::Exited { code: 3 });
        assert_eq!(written.take_event()["end"], serde_json::json!({"how": "exited", "code": 3}));
        terminal.note("n");
        assert_eq!(written.take_event(), serde_json::json!({"event": "note", "message": "n"}));
        terminal.warn("w");
        assert_eq!(written.take_event(), serde_json::json!({"event": "warning", "message": "w"}));
        terminal.error(&Error::mistake("m", "h"));
        assert_eq!(
            written.take_event(),
            serde_json::json!({"event": "error", "message": "m", "hint": "h", "mistake": true})
        );
        terminal.stopping();
        assert_eq!(written.take_event(), serde_json::json!({"event": "stopping"}));
    }

    #[test]
    fn each_line_about_one_of_several_apps_names_it() {
        let written = in_memory(Format::Human);
        let api = written.terminal.of_app(Label { name: "api".into(), width: 5, place: 0 });
        written.terminal.heading("0.1.0", &["api", "admin"]);
        assert_eq!(written.take().0, "\n  devhost 0.1.0  api, admin\n\n");
        api.banner("0.1.0", "api", &[("Local", "http://127.0.0.1:3000/")], Duration::ZERO);
        assert_eq!(written.take().0, "api   |   ➜  Local: http://127.0.0.1:3000/\n");
        api.error(&Error::mistake("one", "two\nthree"));
        api.app_output(Stream::Stderr, "own");
        let (out, err) = written.take();
        assert_eq!(out, "");
        assert!(err.lines().count() >= 3 && err.lines().all(|line| line.starts_with("api   |")), "{err}");
        let written = in_memory(Format::Json);
        let api = written.terminal.of_app(Label { name: "api".into(), width: 5, place: 0 });
        api.app_output(Stream::Stdout, "own");
        assert_eq!(
            written.take_event(),
            serde_json::json!({"event": "output", "app": "api", "process": "api", "stream": "stdout", "line": "own"})
        );
        written.terminal.note("n");
        assert_eq!(written.take_event(), serde_json::json!({"event": "note", "message": "n"}));
    }

    fn side(state: SideState) -> SideStatus {
        SideStatus {
            name: "db".into(),
            state,
            before_build: false,
            pid: Some(7),
            since_unix_ms: 1,
            next_start_unix_ms: None,
            restarts: 0,
            last_end: None,
            last_lines: Vec::new(),
        }
    }

    #[test]
    fn lines_of_side_processes_go_where_they_were_written_to() {
        let label = Label { name: "db".into(), width: 2, place: 0 };
        let written = in_memory(Format::Human);
        written.terminal.output(&label, Stream::Stdout, "one");
        written.terminal.output(&label, Stream::Stderr, "two");
        assert_eq!(written.take(), ("db | one\n".into(), "db | two\n".into()));
        let written = in_memory(Format::Json);
        written.terminal.output(&label, Stream::Stderr, "\x1b[31mtwo\x1b[0m");
        assert_eq!(
            written.take_event(),
            serde_json::json!({"event": "output", "process": "db", "stream": "stderr", "line": "two"})
        );
    }

    #[test]
    fn what_side_processes_do_is_told_to_people_by_weight_and_to_programs_always() {
        let written = in_memory(Format::Human);
        written.terminal.process(&side(SideState::Running), Level::Detail, "d");
        written.terminal.process(&side(SideState::Ready), Level::Note, "n");
        written.terminal.process(&side(SideState::BackingOff), Level::Warning, "w");
        assert_eq!(written.take().1, "note: n\nwarning: w\n");
        let written = in_memory(Format::Json);
        written.terminal.process(&side(SideState::Running), Level::Detail, "d");
        let event = written.take_event();
        assert_eq!(
            (&event["event"], &event["name"], &event["state"], &event["pid"], &event["message"]),
            (&"process".into(), &"db".into(), &"running".into(), &7.into(), &"d".into())
        );
    }

    #[test]
    fn a_path_that_is_no_utf_8_is_a_reload_event_like_any_other() {
        use std::os::unix::ffi::OsStrExt;
        let written = in_memory(Format::Json);
        let mut odd = reload(Cause::Change, Outcome::Ok);
        odd.files = vec![std::ffi::OsStr::from_bytes(b"src/\xff.rs").into()];
        written.terminal.reload(&odd);
        let event = written.take_event();
        assert_eq!(
            (&event["event"], &event["files"]),
            (&"reload".into(), &serde_json::json!(["src/\u{fffd}.rs"]))
        );
    }

    #[test]
    fn events_have_no_colours() {
        let written = in_memory(Format::Json);
        let coloured = Diagnostic {
            level: "error".into(),
            code: None,
            file: None,
            line: None,
            column: None,
            message: "no".into(),
            rendered: "\u{1b}[1merror\u{1b}[0m: no\n".into(),
        };
        written.terminal.warnings(&vec![coloured.clone()].into(), &[]);
        let output = "\u{1b}[31mred\u{1b}[0m".into();
        written.terminal.failure(&Failure::Build { diagnostics: vec![coloured].into(), output });
        let (out, _) = written.take();
        assert!(out.contains("error: no\\n") && out.contains("\"red\"") && !out.contains("u001b"), "{out}");
    }
}
