//! Keys at a terminal: what each does, and that the terminal is left as it was.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr};
use nix::unistd::Pid;

use crate::job_control::wait_stopped;
use crate::plain_worker::{App, free_port, line, open_terminal};
use crate::support::{Devhost, SOON, write_file};

const HINT: &str = "press ? for keys";

/// A line of the help.
const HELP: &str = "build from scratch: the app and its";

/// What clears a screen.
const CLEARED: &str = "\x1b[2J";

/// How often a key is pressed again whose neighbours may have made it part of a paste.
const PRESS_INTERVAL: Duration = Duration::from_millis(200);

/// A devhost in a terminal, and what is typed there.
struct Session {
    app: App,
    devhost: Devhost,
    keyboard: File,
    before: Termios,
}

impl Session {
    fn start(more: &[&str]) -> Self {
        Self::start_in_shell(None, more)
    }

    fn start_in_shell(script: Option<&str>, more: &[&str]) -> Self {
        let port = format!("PORT={}", free_port());
        let app = App::new(&[port.as_str(), "VERSION=\"one\""]);
        let (theirs, ours) = open_terminal();
        let keyboard = File::from(ours.try_clone().unwrap());
        let mut before = tcgetattr(&theirs).unwrap();
        // Nobody would set it so by default.
        before.control_chars[SpecialCharacterIndices::VERASE as usize] = 8;
        before.control_chars[SpecialCharacterIndices::VMIN as usize] = 7;
        before.local_flags.remove(LocalFlags::ECHOCTL);
        tcsetattr(&theirs, SetArg::TCSANOW, &before).unwrap();
        let (path, target) = (app.path(), app.dir.path().join("target"));
        let mut args =
            vec!["run", path.to_str().unwrap(), "--target-dir", target.to_str().unwrap(), "--port", "0"];
        args.extend(more);
        let devhost = match script {
            None => Devhost::start_in_terminal(app.dir.path(), &args, theirs, ours),
            Some(script) => Devhost::start_in_shell(script, app.dir.path(), &args, theirs, ours),
        };
        Self { app, devhost, keyboard, before }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.keyboard.write_all(bytes).unwrap();
    }

    /// Presses a key until this was printed as often as said.
    fn press_until(&mut self, key: u8, part: &str, count: usize) {
        let deadline = Instant::now() + SOON;
        while self.devhost.printed().matches(part).count() < count {
            assert!(Instant::now() < deadline, "never {part:?}:\n{}", self.devhost.printed());
            self.write(&[key]);
            std::thread::sleep(PRESS_INTERVAL);
            if part == CLEARED {
                self.write(b"?");
                std::thread::sleep(PRESS_INTERVAL);
            }
        }
    }

    /// Presses a key once, and waits for its answer.
    fn press(&mut self, key: u8, part: &str) {
        self.write(&[key]);
        self.devhost.wait_line(part);
        // The answer comes after the time in which another key would make it a paste.
    }

    fn settings(&self) -> Termios {
        tcgetattr(&self.keyboard).unwrap()
    }

    fn wait_settings(&self, what: &str, wanted: impl Fn(&Termios) -> bool) {
        let deadline = Instant::now() + SOON;
        while !wanted(&self.settings()) {
            assert!(Instant::now() < deadline, "never {what}: {:?}", self.settings());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn wait_keys(&self) {
        self.wait_settings("key by key", reads_keys);
    }

    fn wait_restored(&self) {
        self.wait_settings("as it was", |settings| *settings == self.before);
    }
}

fn reads_keys(settings: &Termios) -> bool {
    !settings.local_flags.intersects(LocalFlags::ICANON | LocalFlags::ECHO)
}

#[test]
fn each_key_does_what_the_help_says() {
    let browser = tempfile::tempdir().unwrap();
    let opened = browser.path().join("opened");
    let script = format!("#!/bin/sh\necho \"$1\" > {0}.new; mv {0}.new {0}\n", opened.display());
    let program = write_file(browser.path().join("xdg-open"), &script);
    std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let shell = format!("PATH={}:$PATH; \"$@\"", browser.path().display());
    let mut session = Session::start_in_shell(Some(&shell), &[]);
    session.devhost.wait_ready(1);
    session.devhost.wait_line(HINT);
    session.wait_keys();
    assert!(session.settings().local_flags.contains(LocalFlags::ISIG), "Ctrl-C is a signal");
    assert_eq!(session.settings().output_flags, session.before.output_flags, "output is as it was");

    session.press(b'?', HELP);
    session.press(b'e', "nothing has gone wrong so far");
    let worker = session.devhost.worker_pid();
    session.press(b'r', "restarted #2 as asked in");
    assert_ne!(session.devhost.worker_pid(), worker);
    session.press(b'R', "rebuilt #3 from scratch, as asked, in");
    let status = session.devhost.wait_ready(3);
    let causes: Vec<_> =
        status["reloads"].as_array().unwrap().iter().map(|reload| &reload["cause"]).collect();
    assert_eq!(causes, ["start", "refork", "rebuild"]);
    session.press(b'u', "--allow-remote");
    let url = session.devhost.url.clone();
    session.press(b'o', &format!("opening {url}"));
    let deadline = Instant::now() + SOON;
    while std::fs::read_to_string(&opened).unwrap_or_default().trim() != format!("{url}/") {
        assert!(Instant::now() < deadline, "no browser was opened");
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = session.devhost.get_page("/exit");
    session.devhost.wait_ready(4);
    session.press_until(b'e', "crashed: ", 2);
    session.devhost.wait_line("(it is over: the newest code is serving)");
    // A line is only seen here once it is ended.
    session.press_until(b'c', CLEARED, 1);
    session.press_until(b'x', HINT, 2);
    session.write(b"q");
    session.devhost.wait_line("stopping");
    assert!(session.devhost.ended().success());
}

#[test]
fn what_changes_while_it_is_paused_is_served_when_it_goes_on() {
    let mut session = Session::start(&[]);
    session.devhost.wait_ready(1);
    session.press(b'p', "paused: changes are noticed");
    session.devhost.wait_status(SOON, "paused", |status| status["paused"] == true);
    session.app.compile(&["VERSION=\"two\""]);
    session.devhost.wait_line("app.so changed; it waits for the end of the pause");
    let answer = session.devhost.get("/");
    assert_eq!((line(&answer, "version"), answer.generation()), ("one", 1));
    session.press(b'p', "resumed: 1 file has changed meanwhile");
    session.devhost.wait_ready(2);
    assert_eq!(line(&session.devhost.get("/"), "version"), "two");
    assert_eq!(session.devhost.status()["paused"], false);
    assert!(session.devhost.stop().success());
}

#[test]
fn what_is_pasted_or_no_key_does_nothing() {
    let mut session = Session::start(&[]);
    session.devhost.wait_ready(1);
    session.wait_keys();
    session.write(b"quit, or Rerun\n\x1b[A\x1b[15~q");
    session.press_until(b'?', HELP, 1);
    for key in [b'\x04', b'\n', b' ', b'\x7f', b'\0'] {
        session.write(&[key]);
        let shown = session.devhost.printed().matches(HELP).count();
        session.press_until(b'?', HELP, shown + 1);
    }
    let status = session.devhost.status();
    assert_eq!(status["generation"], 1, "{status:#}");
    assert_eq!(session.devhost.printed().matches(HINT).count(), 1, "only the first one");
    assert!(session.devhost.stop().success());
}

#[test]
fn the_terminal_is_left_as_it_was_however_devhost_ends() {
    // The shell owns the terminal, which would be reset if that ended.
    let script = "\"$@\"; echo \"ended with $?\"; read line; echo \"read $line\"";
    for (end, code) in [
        (None, 0),
        (Some(Signal::SIGINT), 0),
        (Some(Signal::SIGTERM), 0),
        (Some(Signal::SIGHUP), 0),
        (Some(Signal::SIGQUIT), 131),
        (Some(Signal::SIGKILL), 137),
        (Some(Signal::SIGABRT), 134),
    ] {
        let mut session = Session::start_in_shell(Some(script), &[]);
        session.devhost.wait_ready(1);
        session.wait_keys();
        match end {
            None => session.write(b"q"),
            Some(signal) => kill(Pid::from_raw(session.devhost.front_pid()), signal).unwrap(),
        }
        session.devhost.wait_line(&format!("ended with {code}"));
        session.wait_restored();
        session.write(b"as ever\n");
        session.devhost.wait_line("read as ever");
        let Session { app: _app, devhost, keyboard: _keyboard, .. } = session;
        assert!(devhost.ended().success(), "{end:?}");
    }
}

#[test]
fn ctrl_z_restores_the_terminal_and_going_on_takes_the_keyboard_again() {
    let mut session = Session::start(&[]);
    session.devhost.wait_ready(1);
    let pid = session.devhost.pid();
    for round in 1..=2 {
        session.wait_keys();
        session.write(b"\x1a");
        wait_stopped(pid, true);
        assert!(session.settings() == session.before, "it is stopped with the terminal as it was");
        session.write(b"for the shell\n");
        kill(Pid::from_raw(pid), Signal::SIGCONT).unwrap();
        session.wait_keys();
        session.press_until(b'?', HELP, round);
    }
    assert!(session.devhost.stop().success());
}

#[test]
fn in_the_background_the_terminal_is_let_be_until_the_shell_lends_it() {
    let script = "set -m; \"$@\" & read line; echo \"read $line\"; fg; read line; echo \"read $line\"";
    let mut session = Session::start_in_shell(Some(script), &[]);
    session.devhost.wait_ready(1);
    assert!(session.settings() == session.before);
    session.write(b"quit\n");
    session.devhost.wait_line("read quit");
    session.wait_keys();
    session.press_until(b'?', HELP, 1);
    session.write(b"q");
    session.devhost.wait_line("stopping");
    session.wait_restored();
    session.write(b"again\n");
    session.devhost.wait_line("read again");
    assert!(session.devhost.ended().success());
}

#[test]
fn without_the_terminal_there_are_no_keys() {
    // The app has it.
    let mut session = Session::start(&["--stdin"]);
    session.devhost.wait_ready(1);
    assert!(session.settings() == session.before);
    session.write(b"?");
    assert!(!session.devhost.printed().contains(HINT));
    assert!(session.devhost.stop().success());
    // It is written to, and something else is read.
    let port = format!("PORT={}", free_port());
    let app = App::new(&[&port]);
    let (theirs, ours) = open_terminal();
    let (before, keyboard) = (tcgetattr(&theirs).unwrap(), File::from(ours.try_clone().unwrap()));
    let (path, target): (PathBuf, PathBuf) = (app.path(), app.dir.path().join("target"));
    let args = ["run", path.to_str().unwrap(), "--target-dir", target.to_str().unwrap(), "--port", "0"];
    let devhost = Devhost::start_on(app.dir.path(), &args, theirs, ours).ready();
    assert!(tcgetattr(&keyboard).unwrap() == before);
    assert!(!devhost.printed().contains(HINT), "{}", devhost.printed());
    assert!(devhost.stop().success());
}
