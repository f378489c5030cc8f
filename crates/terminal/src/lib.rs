//! What the person at the terminal (or their editor) is told. May write to standard output and standard error;
//! never reads (it only stops the echo while a bar is drawn), and never touches what the app itself writes: that goes from the worker to the terminal directly.
//!
//! The banner and the course of things go to standard output; progress, failures and warnings to standard error.
//! With JSON, everything is a [`TerminalEvent`] a line on standard output. Each message is written at once, whole
//! lines only, so that lines of several threads and processes do not mix.
#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]

mod echo;
mod event;
mod text;

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

pub use event::{TerminalEvent, Url};

use echo::Silence;

use devhost_model::Error;
use devhost_model::{Cause, Diagnostic, Diagnostics, End, Failure, Outcome, Reload, WAITING_FOR};
pub use text::{Style, printable};

/// Time between two lines of progress where there is no terminal to draw a bar on.
const PROGRESS_LINE_INTERVAL_MS: u64 = 3_000;
/// Time between two progress events.
const PROGRESS_EVENT_INTERVAL_MS: u64 = 250;
/// How often the bar is drawn while nothing is reported, for its elapsed time.
const BAR_TICK_MS: u64 = 250;

/// How messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Human,
    /// One JSON object a line
    Json,
}

/// Where the messages go.
#[derive(Debug)]
enum Sink {
    Stdout,
    Stderr,
    #[cfg(test)]
    Memory(std::sync::Arc<Mutex<Vec<u8>>>),
}

impl Sink {
    fn write(&self, text: &str) {
        // Whoever reads may have gone: that must not end the server.
        let _ = match self {
            Self::Stdout => write_whole(io::stdout().lock(), text),
            Self::Stderr => write_whole(io::stderr().lock(), text),
            #[cfg(test)]
            Self::Memory(bytes) => write_whole(&mut *bytes.lock().unwrap(), text),
        };
    }
}

fn write_whole(mut out: impl Write, text: &str) -> io::Result<()> {
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// How progress is shown.
#[derive(Debug)]
enum Progress {
    /// Nothing is being built, or nothing was said of it yet.
    Idle,
    /// A bar on a terminal, which does not echo meanwhile.
    Bar(ProgressBar, Option<Silence>),
    /// Lines or events: when the last one was written, and of what.
    Told(Instant, String),
}

/// Tells the person at the terminal what happens. Can be used from several threads.
#[derive(Debug)]
pub struct Terminal {
    format: Format,
    verbose: bool,
    out: Sink,
    err: Sink,
    out_style: Style,
    err_style: Style,
    draws_bar: bool,
    /// Also orders the messages: who holds it writes.
    progress: Mutex<Progress>,
}

impl Terminal {
    /// A terminal on standard output and standard error. `verbose` shows warnings beside errors, and details.
    pub fn new(format: Format, verbose: bool) -> Self {
        Self {
            format,
            verbose,
            out: Sink::Stdout,
            err: Sink::Stderr,
            out_style: Style::of(&io::stdout()),
            err_style: Style::of(&io::stderr()),
            draws_bar: format == Format::Human && io::stderr().is_terminal(),
            progress: Mutex::new(Progress::Idle),
        }
    }

    /// The addresses, once the port is open. `since_start` is from the start of devhost; only the event has it.
    pub fn banner(&self, version: &str, app: &str, urls: &[(&str, &str)], since_start: Duration) {
        self.say(
            || self.out_style.banner(version, app, urls),
            || TerminalEvent::Listening {
                version: version.into(),
                app: app.into(),
                urls: urls
                    .iter()
                    .map(|(label, url)| Url { label: (*label).into(), url: (*url).into() })
                    .collect(),
                since_start_ms: since_start.as_secs_f64() * 1000.0,
            },
        );
    }

    /// How far the build is, in crates: a bar on a terminal, else a line or an event now and then.
    pub fn progress(&self, done: u32, total: u32, current: &str) {
        let mut progress = self.lock();
        if self.draws_bar {
            if !matches!(*progress, Progress::Bar(..)) {
                *progress = Progress::Bar(new_bar(self.err_style.colours), Silence::start());
            }
            if let Progress::Bar(bar, _) = &*progress {
                bar.set_length(total.into());
                bar.set_position(done.into());
                bar.set_message(current.to_owned());
            }
            return;
        }
        let interval = match self.format {
            Format::Human => PROGRESS_LINE_INTERVAL_MS,
            Format::Json => PROGRESS_EVENT_INTERVAL_MS,
        };
        let now = Instant::now();
        if let Progress::Told(last, of) = &*progress
            && now.duration_since(*last) < Duration::from_millis(interval)
            && (of == current || !current.starts_with(WAITING_FOR))
        {
            return;
        }
        *progress = Progress::Told(now, current.to_owned());
        match self.format {
            Format::Human => self.err.write(&self.err_style.progress(done, total, current)),
            Format::Json => {
                self.out.write(&TerminalEvent::Progress { done, total, current: current.into() }.line());
            }
        }
    }

    /// The build is over: the bar goes away.
    pub fn progress_done(&self) {
        if let Progress::Bar(bar, _silence) = std::mem::replace(&mut *self.lock(), Progress::Idle) {
            bar.finish_and_clear();
        }
    }

    /// A reload is over, well or not.
    pub fn reload(&self, reload: &Reload) {
        let event = || match (reload.cause, reload.outcome) {
            (Cause::Start, Outcome::Ok) => TerminalEvent::Ready { reload: reload.clone() },
            _ => TerminalEvent::Reload { reload: reload.clone() },
        };
        match reload.outcome {
            Outcome::Ok | Outcome::Unchanged => {
                self.say(|| self.out_style.reload(reload, self.verbose), event);
            }
            // Beside the failure that it belongs to.
            Outcome::BuildFailed | Outcome::StartFailed => {
                self.complain(|| self.err_style.reload(reload, self.verbose), event);
            }
        }
    }

    /// Why the newest code is not being served.
    pub fn failure(&self, failure: &Failure) {
        self.complain(
            || self.err_style.failure(failure, self.verbose),
            || TerminalEvent::Failure { title: failure.title(), failure: without_colours(failure) },
        );
    }

    /// The compiler's warnings about code that built: a person is told of those that are `new`, a program of `all`.
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

    /// Stylesheets were swapped in open pages.
    pub fn css(&self, files: &[impl AsRef<Path>]) {
        self.say(|| self.out_style.stylesheets(files), || TerminalEvent::Css { files: texts(files) });
    }

    /// Open pages were loaded again because of these files.
    pub fn statics(&self, files: &[impl AsRef<Path>]) {
        self.say(|| self.out_style.statics(files), || TerminalEvent::Statics { files: texts(files) });
    }

    /// Something worth knowing.
    pub fn note(&self, message: &str) {
        self.complain(|| self.err_style.note(message), || TerminalEvent::Note { message: message.into() });
    }

    /// Something worth knowing for those who have asked for more.
    pub fn detail(&self, message: &str) {
        if self.verbose {
            self.note(message);
        }
    }

    /// Something that is probably not as it should be.
    pub fn warn(&self, message: &str) {
        self.complain(
            || self.err_style.warning(message),
            || TerminalEvent::Warning { message: message.into() },
        );
    }

    /// What is wrong, and what to do about it.
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

    /// A worker crashed.
    pub fn crash(&self, end: &End) {
        self.complain(
            || self.err_style.crash(end),
            || TerminalEvent::Crash { message: end.to_string(), end: end.clone() },
        );
    }

    /// devhost is ending. Also takes a bar away that is still there.
    pub fn stopping(&self) {
        self.progress_done();
        // A new line first: a terminal shows Ctrl-C as `^C` where the cursor is.
        self.say(|| "\nstopping\n".to_owned(), || TerminalEvent::Stopping);
    }

    fn say(&self, text: impl FnOnce() -> String, event: impl FnOnce() -> TerminalEvent) {
        self.tell(&self.out, text, event);
    }

    fn complain(&self, text: impl FnOnce() -> String, event: impl FnOnce() -> TerminalEvent) {
        self.tell(&self.err, text, event);
    }

    fn tell(&self, sink: &Sink, text: impl FnOnce() -> String, event: impl FnOnce() -> TerminalEvent) {
        let progress = self.lock();
        match (self.format, &*progress) {
            (Format::Json, _) => self.out.write(&event().line()),
            (Format::Human, Progress::Bar(bar, _)) => bar.suspend(|| sink.write(&text())),
            (Format::Human, _) => sink.write(&text()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn new_bar(colours: bool) -> ProgressBar {
    let template = if colours {
        "  {prefix:.green.bold} [{bar:30.cyan}] {pos}/{len} {elapsed:.dim} {wide_msg:.dim}"
    } else {
        "  {prefix} [{bar:30}] {pos}/{len} {elapsed} {wide_msg}"
    };
    let style = ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ");
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
        .with_style(style)
        .with_prefix("building");
    bar.enable_steady_tick(Duration::from_millis(BAR_TICK_MS));
    bar
}

/// For a reader that is no terminal, as what cargo writes for `--message-format json`.
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

fn environment(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

impl Style {
    /// As this stream wants it.
    pub fn of(stream: &impl IsTerminal) -> Self {
        Self { colours: wants_colours(stream.is_terminal(), &environment) }
    }
}

/// <https://no-color.org> first, then <https://bixense.com/clicolors>, then whether there is a terminal with colours.
fn wants_colours(is_terminal: bool, environment: &impl Fn(&str) -> Option<String>) -> bool {
    let is_set = |name: &str| environment(name).is_some_and(|value| !value.is_empty());
    let forces = |name: &str| environment(name).is_some_and(|value| !value.is_empty() && value != "0");
    if is_set("NO_COLOR") {
        return false;
    }
    if forces("CLICOLOR_FORCE") || forces("FORCE_COLOR") {
        return true;
    }
    let is_switched_off = environment("CLICOLOR").as_deref() == Some("0");
    is_terminal && !is_switched_off && environment("TERM").as_deref() != Some("dumb")
}

#[cfg(test)]
mod tests {
    use super::*;
    use devhost_model::Steps;
    use std::sync::Arc;

    struct Written {
        terminal: Terminal,
        out: Arc<Mutex<Vec<u8>>>,
        err: Arc<Mutex<Vec<u8>>>,
    }

    fn in_memory(format: Format) -> Written {
        let out = Arc::new(Mutex::new(Vec::new()));
        let err = Arc::new(Mutex::new(Vec::new()));
        let terminal = Terminal {
            format,
            verbose: false,
            out: Sink::Memory(out.clone()),
            err: Sink::Memory(err.clone()),
            out_style: Style { colours: false },
            err_style: Style { colours: false },
            draws_bar: false,
            progress: Mutex::new(Progress::Idle),
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
        written.terminal.css(&["style.css"]);
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
                "files_left_out": 0, "outcome": "build_failed", "total_ms": 700.0,
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
        terminal.css(&["a.css"]);
        assert_eq!(written.take_event(), serde_json::json!({"event": "css", "files": ["a.css"]}));
        terminal.statics(&["a.html"]);
        assert_eq!(written.take_event(), serde_json::json!({"event": "statics", "files": ["a.html"]}));
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

    #[test]
    fn colours_follow_the_environment() {
        let wants = |is_terminal: bool, variables: &[(&str, &str)]| {
            wants_colours(is_terminal, &|name: &str| {
                variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
            })
        };
        assert!(wants(true, &[]));
        assert!(!wants(false, &[]));
        assert!(!wants(true, &[("NO_COLOR", "1")]));
        assert!(wants(true, &[("NO_COLOR", "")]));
        assert!(!wants(true, &[("TERM", "dumb")]));
        assert!(!wants(true, &[("CLICOLOR", "0")]));
        assert!(wants(false, &[("CLICOLOR", "0"), ("CLICOLOR_FORCE", "1")]));
        assert!(wants(false, &[("CLICOLOR_FORCE", "1")]));
        assert!(wants(false, &[("FORCE_COLOR", "1")]));
        assert!(!wants(false, &[("CLICOLOR_FORCE", "0")]));
        assert!(!wants(false, &[("FORCE_COLOR", "1"), ("NO_COLOR", "1")]));
    }
}
