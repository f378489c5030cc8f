//! The wording of messages for people, all in one place for consistency. Pure functions from facts to text.

use std::fmt::Write as _;
use std::path::Path;

use crate::foreign::tame;
use crate::label::Label;
use crate::style::{Style, printable};
use devhost_model::Error;
use devhost_model::{BuildReport, Cause, Diagnostic, End, Failure, Outcome, Reload, Steps, counted};

/// Times from here on are shown in seconds.
const SECONDS_FROM_MS: f64 = 10_000.0;
/// Step times from here on are shown without a fraction.
const WHOLE_FROM_MS: f64 = 10.0;
/// Shorter steps are omitted.
const SHOWN_FROM_MS: f64 = 0.05;

impl Style {
    pub(crate) fn banner(self, version: &str, app: &str, urls: &[(&str, &str)]) -> String {
        let mut text =
            format!("\n  {} {}  {}\n\n", self.good("devhost"), self.notable(version), self.dim(app));
        text.push_str(&self.addresses(urls));
        text.push('\n');
        text
    }

    pub(crate) fn addresses(self, urls: &[(&str, &str)]) -> String {
        let mut text = String::new();
        let width = urls.iter().map(|(label, _)| label.chars().count() + 1).max().unwrap_or(0);
        for (label, url) in urls {
            let label = format!("{:width$}", format!("{label}:"));
            let _ = writeln!(text, "  {}  {} {}", self.good("➜"), self.bold(&label), self.notable(url));
        }
        text
    }

    pub(crate) fn progress(self, done: u32, total: u32, current: &str) -> String {
        format!("{} {done}/{total} {}\n", self.good("building"), printable(current)).replace(" \n", "\n")
    }

    pub(crate) fn reload(self, reload: &Reload, verbose: bool) -> String {
        let number = format!("#{}", reload.generation);
        let took = time(reload.total_ms);
        let serving = match reload.generation {
            0 => String::new(),
            _ => format!("; {number} goes on serving"),
        };
        let what = match (reload.outcome, reload.cause) {
            (Outcome::Ok, Cause::Start) => format!("{} {number} in {took}", self.good("ready")),
            // Not built: the same code has read its files again.
            (Outcome::Ok, Cause::Change) if reload.steps.build_ms == 0.0 => {
                format!("{} {number} in {took}", self.good("restarted"))
            }
            (Outcome::Ok, Cause::Change) => format!("{} {number} in {took}", self.good("reloaded")),
            (Outcome::Ok, Cause::Refork) => format!("{} {number} as asked in {took}", self.good("restarted")),
            (Outcome::Ok, Cause::Rebuild) => {
                format!("{} {number} from scratch, as asked, in {took}", self.good("rebuilt"))
            }
            (Outcome::Ok, Cause::Crash) => {
                format!("{} {number} after a crash in {took}", self.doubtful("restarted"))
            }
            (Outcome::Ok, Cause::Rollback) => {
                format!("{} {number} with the last good code in {took}", self.doubtful("restarted"))
            }
            (Outcome::Ok, Cause::Retry) => {
                format!("{} {number} after a failed start in {took}", self.doubtful("restarted"))
            }
            (Outcome::Ok, Cause::Zygote) => {
                format!("{} {number} with a new zygote in {took}", self.doubtful("restarted"))
            }
            (Outcome::Behind, _) => format!("{} {number} in {took}", self.dim("built behind")),
            (Outcome::Unchanged, _) => format!("{} {number} in {took}", self.dim("unchanged")),
            (Outcome::BuildFailed, _) => format!("{} in {took}{serving}", self.bad("build failed")),
            (Outcome::StartFailed, _) => format!("{} in {took}{serving}", self.bad("start failed")),
        };
        let mut line = what;
        if let Some(steps) = steps(&reload.steps) {
            let _ = write!(line, " {}", self.dim(&format!("({steps})")));
        }
        if let Some(files) = self.files(&reload.files, reload.files_left_out) {
            let _ = write!(line, " {files}");
            if !reload.why.is_empty() {
                let _ = write!(line, ", {}", reload.why);
            }
        }
        line.push('\n');
        let made = reload.build.as_ref().filter(|_| reload.cause == Cause::Change);
        if let Some(made) = made.filter(|made| verbose || !made.replayed).and_then(BuildReport::summary) {
            let _ = writeln!(line, "  {}", self.dim(&printable(&made)));
        }
        line
    }

    pub(crate) fn failure(self, failure: &Failure, verbose: bool) -> String {
        let mut text = String::new();
        match failure {
            Failure::Build { diagnostics, output } => {
                let (errors, others): (Vec<&Diagnostic>, Vec<&Diagnostic>) =
                    diagnostics.iter().partition(|diagnostic| diagnostic.is_error());
                // Warnings would hide the error that somebody is looking for. Errors come last, where the eye
                // is.
                let hidden = if verbose || errors.is_empty() { 0 } else { others.len() };
                for diagnostic in others.into_iter().skip(hidden).chain(errors) {
                    text.push_str(&self.diagnostic(diagnostic));
                }
                if !output.trim().is_empty() {
                    text.push_str(self.coloured(output.trim_end()).as_str());
                    text.push('\n');
                }
                if let Some(left_out) = diagnostics.left_out().describe() {
                    let _ = writeln!(text, "… {left_out}, which `cargo build` shows");
                }
                let _ = writeln!(text, "{} {}", self.bad("error:"), self.bold(&failure.title()));
                if hidden > 0 {
                    let warnings = counted(hidden, "warning", "warnings");
                    let _ = writeln!(text, "{}", self.dim(&format!("({warnings} not shown; -v shows them)")));
                }
            }
            // Its output was printed as it came.
            Failure::Process { message, hint, .. } | Failure::Start { message, hint, .. } => {
                let _ = writeln!(text, "{} {}: {message}", self.bad("error:"), self.bold(&failure.title()));
                self.hint(&mut text, hint);
            }
            Failure::Crash { end, .. } => {
                let _ = writeln!(text, "{} {}: {end}", self.bad("error:"), self.bold(&failure.title()));
                self.hint(&mut text, "it is started again after the next change");
            }
        }
        text
    }

    pub(crate) fn diagnostic(self, diagnostic: &Diagnostic) -> String {
        format!("{}\n\n", self.coloured(diagnostic.rendered.trim_end()))
    }

    pub(crate) fn error(self, error: &Error) -> String {
        let mut text = format!("{} {}\n", self.bad("error:"), self.bold(&self.coloured(&error.message)));
        self.hint(&mut text, &error.hint);
        text
    }

    pub(crate) fn hint(self, text: &mut String, hint: &str) {
        if !hint.is_empty() {
            let _ = writeln!(text, "{} {hint}", self.notable("hint:"));
        }
    }

    pub(crate) fn warning(self, message: &str) -> String {
        format!("{} {message}\n", self.doubtful("warning:"))
    }

    pub(crate) fn note(self, message: &str) -> String {
        format!("{} {message}\n", self.notable("note:"))
    }

    pub(crate) fn crash(self, end: &End) -> String {
        format!("{} {end}\n", self.bad("crashed:"))
    }

    /// Returns a line of a side process.
    pub(crate) fn output(self, label: &Label, line: &str) -> String {
        format!("{} {}", self.label(label), tame(line, self.colours)).trim_end().to_owned() + "\n"
    }

    pub(crate) fn stylesheets(self, files: &[impl AsRef<Path>], why: &str) -> String {
        self.shown("css update", files, why)
    }

    pub(crate) fn statics(self, files: &[impl AsRef<Path>], why: &str) -> String {
        self.shown("page reload", files, why)
    }

    fn shown(self, what: &str, files: &[impl AsRef<Path>], why: &str) -> String {
        let reason = if why.is_empty() { String::new() } else { format!(", {why}") };
        format!("{} {}{reason}\n", self.good(what), self.files(files, 0).unwrap_or_default())
    }

    /// Returns the first file and the number of others.
    pub(crate) fn files(self, files: &[impl AsRef<Path>], left_out: usize) -> Option<String> {
        let (first, rest) = files.split_first()?;
        let first = self.notable(&printable(&first.as_ref().to_string_lossy()));
        Some(match rest.len() + left_out {
            0 => first,
            more => format!("{first} +{}", counted(more, "more file", "more files")),
        })
    }
}

/// `712 ms`, `12.3 s`.
fn time(ms: f64) -> String {
    if ms >= SECONDS_FROM_MS { format!("{:.1} s", ms / 1000.0) } else { format!("{ms:.0} ms") }
}

/// `build 689 · fork 0.5`: the steps that took place, in milliseconds.
fn steps(steps: &Steps) -> Option<String> {
    let steps: Vec<String> = [
        ("notice", steps.notice_ms),
        ("build", steps.build_ms),
        ("fork", steps.fork_ms),
        ("load", steps.load_ms),
        ("ready", steps.ready_ms),
        ("other", steps.other_ms),
    ]
    .into_iter()
    .filter(|(_, ms)| *ms >= SHOWN_FROM_MS)
    .map(|(name, ms)| if ms < WHOLE_FROM_MS { format!("{name} {ms:.1}") } else { format!("{name} {ms:.0}") })
    .collect();
    (!steps.is_empty()).then(|| steps.join(" · "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use devhost_model::Diagnostics;

    const PLAIN: Style = Style { colours: false };
    const COLOURED: Style = Style { colours: true };

    fn reload(cause: Cause, outcome: Outcome) -> Reload {
        Reload {
            generation: 7,
            cause,
            files: vec!["src/pages.rs".into()],
            files_left_out: 0,
            why: String::new(),
            outcome,
            total_ms: 712.3,
            steps: Steps { build_ms: 689.2, fork_ms: 0.52, load_ms: 2.1, ready_ms: 4.04, ..Steps::default() },
            build: None,
        }
    }

    fn diagnostic(level: &str, rendered: &str) -> Diagnostic {
        Diagnostic {
            level: level.into(),
            message: String::new(),
            code: None,
            file: None,
            line: None,
            column: None,
            rendered: rendered.into(),
        }
    }

    #[test]
    fn banner_has_the_addresses() {
        let urls = [("Local", "http://127.0.0.1:3000/"), ("Network", "http://192.168.1.2:3000/")];
        assert_eq!(
            PLAIN.banner("0.1.0", "example_app", &urls),
            "\n  devhost 0.1.0  example_app\n\n  ➜  Local:   http://127.0.0.1:3000/\n  ➜  Network: \
             http://192.168.1.2:3000/\n\n"
        );
    }

    #[test]
    fn reload_is_one_line_with_its_steps() {
        assert_eq!(
            PLAIN.reload(&reload(Cause::Change, Outcome::Ok), false),
            "reloaded #7 in 712 ms (build 689 · fork 0.5 · load 2.1 · ready 4.0) src/pages.rs\n"
        );
    }

    #[test]
    fn a_restart_says_what_the_app_had_to_do_with_the_file() {
        let mut one = reload(Cause::Change, Outcome::Ok);
        one.steps.build_ms = 0.0;
        one.files = vec!["config/app.toml".into()];
        one.why = "read at start".into();
        assert!(PLAIN.reload(&one, false).ends_with(") config/app.toml, read at start\n"));
    }

    #[test]
    fn reload_of_several_files_counts_them() {
        let mut one = reload(Cause::Change, Outcome::Ok);
        one.files.push("src/a.rs".into());
        assert!(PLAIN.reload(&one, false).ends_with(") src/pages.rs +1 more file\n"));
        one.files.push("src/b.rs".into());
        assert!(PLAIN.reload(&one, false).ends_with(") src/pages.rs +2 more files\n"));
    }

    #[test]
    fn start_and_restarts_say_what_they_are() {
        let mut start = reload(Cause::Start, Outcome::Ok);
        start.generation = 1;
        start.files.clear();
        start.total_ms = 94_321.0;
        start.steps.build_ms = 94_300.0;
        assert_eq!(
            PLAIN.reload(&start, false),
            "ready #1 in 94.3 s (build 94300 · fork 0.5 · load 2.1 · ready 4.0)\n"
        );
        let mut restart = reload(Cause::Crash, Outcome::Ok);
        restart.files.clear();
        restart.total_ms = 6.6;
        restart.steps.build_ms = 0.0;
        assert_eq!(
            PLAIN.reload(&restart, false),
            "restarted #7 after a crash in 7 ms (fork 0.5 · load 2.1 · ready 4.0)\n"
        );
        restart.cause = Cause::Rollback;
        assert!(PLAIN.reload(&restart, false).starts_with("restarted #7 with the last good code in 7 ms ("));
        restart.cause = Cause::Retry;
        assert!(PLAIN.reload(&restart, false).starts_with("restarted #7 after a failed start in 7 ms ("));
        restart.cause = Cause::Refork;
        assert!(PLAIN.reload(&restart, false).starts_with("restarted #7 as asked in 7 ms ("));
        restart.cause = Cause::Rebuild;
        assert!(PLAIN.reload(&restart, false).starts_with("rebuilt #7 from scratch, as asked, in 7 ms ("));
        restart.cause = Cause::Zygote;
        assert!(PLAIN.reload(&restart, false).starts_with("restarted #7 with a new zygote in 7 ms ("));
    }

    #[test]
    fn failed_reload_says_who_goes_on_serving() {
        let mut failed = reload(Cause::Change, Outcome::BuildFailed);
        failed.steps = Steps { build_ms: 402.0, ..Steps::default() };
        failed.total_ms = 402.0;
        assert_eq!(
            PLAIN.reload(&failed, false),
            "build failed in 402 ms; #7 goes on serving (build 402) src/pages.rs\n"
        );
        failed.generation = 0;
        failed.outcome = Outcome::StartFailed;
        assert_eq!(PLAIN.reload(&failed, false), "start failed in 402 ms (build 402) src/pages.rs\n");
        failed.generation = 7;
        failed.outcome = Outcome::Unchanged;
        assert_eq!(PLAIN.reload(&failed, false), "unchanged #7 in 402 ms (build 402) src/pages.rs\n");
    }

    #[test]
    fn control_characters_in_names_do_not_reach_the_terminal() {
        let mut evil = reload(Cause::Change, Outcome::Ok);
        evil.files = vec!["src/\x1b[2Jx.rs".into()];
        assert!(!PLAIN.reload(&evil, false).contains('\x1b'));
    }

    #[test]
    fn build_failure_shows_errors_last_and_hides_warnings() {
        let failure = Failure::Build {
            diagnostics: vec![
                diagnostic("error", "\x1b[31merror\x1b[0m: no\n --> src/a.rs:1:1\n\n"),
                diagnostic("warning", "\x1b[33mwarning\x1b[0m: hm\n"),
            ]
            .into(),
            output: String::new(),
        };
        assert_eq!(
            PLAIN.failure(&failure, false),
            "error: no\n --> src/a.rs:1:1\n\nerror: The build failed with one error\n(1 warning not shown; -v shows them)\n"
        );
        assert_eq!(
            PLAIN.failure(&failure, true),
            "warning: hm\n\nerror: no\n --> src/a.rs:1:1\n\nerror: The build failed with one error\n"
        );
        assert!(COLOURED.failure(&failure, false).contains("\x1b[31merror\x1b[0m: no\n"));
    }

    #[test]
    fn build_failure_without_diagnostics_shows_what_cargo_said() {
        let failure = Failure::Build {
            diagnostics: Diagnostics::default(),
            output: "\x1b[1merror\x1b[0m: failed to parse manifest\n".into(),
        };
        assert_eq!(
            PLAIN.failure(&failure, false),
            "error: failed to parse manifest\nerror: The build failed\n"
        );
    }

    #[test]
    fn failed_start_and_repeated_crash_say_what_next() {
        let start = Failure::start("no symbol", "say export!");
        assert_eq!(
            PLAIN.failure(&start, false),
            "error: The app did not start: no symbol\nhint: say export!\n"
        );
        let crash = Failure::crash(End::Exited { code: 3 }, 5, 7);
        assert_eq!(
            PLAIN.failure(&crash, false),
            "error: The app crashed 5 times in a row: the app called exit with code 3\nhint: it is started again after \
             the next change\n"
        );
    }

    #[test]
    fn lines_of_side_processes_are_aligned_and_tamed() {
        let label = |name: &str| Label { name: name.into(), width: 8, place: 1 };
        assert_eq!(PLAIN.output(&label("db"), "ready\x1b[2J"), "db       | ready\n");
        assert_eq!(PLAIN.output(&label("tailwind"), ""), "tailwind |\n");
        assert_eq!(
            COLOURED.output(&label("tailwind"), "\x1b[32mDone\x1b[0m"),
            "\x1b[35mtailwind |\x1b[0m \x1b[32mDone\x1b[0m\x1b[0m\n"
        );
    }

    #[test]
    fn a_process_that_fails_before_the_build_is_named() {
        let failure = Failure::Process {
            name: "migrate".into(),
            message: "it exited with code 1".into(),
            hint: "look".into(),
            output: "no database".into(),
        };
        assert_eq!(
            PLAIN.failure(&failure, false),
            "error: The process `migrate` failed before the build: it exited with code 1\nhint: look\n"
        );
    }

    #[test]
    fn small_messages_are_one_line() {
        assert_eq!(PLAIN.stylesheets(&["static/style.css"], ""), "css update static/style.css\n");
        assert_eq!(
            PLAIN.statics(&["a.html", "b.html"], "served as it is"),
            "page reload a.html +1 more file, served as it is\n"
        );
        assert_eq!(PLAIN.note("x"), "note: x\n");
        assert_eq!(PLAIN.warning("x"), "warning: x\n");
        assert_eq!(PLAIN.progress(120, 283, "serde"), "building 120/283 serde\n");
        assert_eq!(PLAIN.progress(0, 283, ""), "building 0/283\n");
        assert_eq!(
            PLAIN.crash(&End::Signalled { signal: 11 }),
            "crashed: the app was ended by SIGSEGV (segmentation fault)\n"
        );
        assert_eq!(PLAIN.error(&Error::mistake("no", "do")), "error: no\nhint: do\n");
        assert_eq!(PLAIN.error(&Error::fault("no")), "error: no\n");
    }
}
