//! What a user at a terminal does with devhost and the app: typing to the app, Ctrl-C, Ctrl-Z.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, tcgetpgrp};

use crate::plain_worker::{App, free_port, line, open_terminal};
use crate::support::{Devhost, SOON};

const CTRL_C: &[u8] = b"\x03";
const CTRL_Z: &[u8] = b"\x1a";

/// A devhost in a terminal, and what is typed there.
struct Session {
    app: App,
    devhost: Devhost,
    keyboard: File,
}

impl Session {
    fn start(macros: &[&str], more: &[&str]) -> Self {
        let port = format!("PORT={}", free_port());
        let app = App::new(&[&[port.as_str()], macros].concat());
        let (theirs, ours) = open_terminal();
        let keyboard = File::from(ours.try_clone().unwrap());
        let (path, target) = (app.path(), app.dir.path().join("target"));
        let mut args =
            vec!["run", path.to_str().unwrap(), "--target-dir", target.to_str().unwrap(), "--port", "0"];
        args.extend(more);
        let devhost = Devhost::start_in_terminal(app.dir.path(), &args, theirs, ours);
        Self { app, devhost, keyboard }
    }

    fn press(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).unwrap();
    }

    fn wait_foreground(&self, pid: i32) {
        let deadline = Instant::now() + SOON;
        while tcgetpgrp(self.keyboard.as_fd()) != Ok(Pid::from_raw(pid)) {
            assert!(Instant::now() < deadline, "{pid} never has the terminal:\n{}", self.devhost.printed());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Waits until a process is stopped, or continues.
pub(crate) fn wait_stopped(pid: i32, wanted: bool) {
    let deadline = Instant::now() + SOON;
    loop {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let state = stat.rsplit(") ").next().unwrap().chars().next();
        if (state == Some('T')) == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{pid}: {stat}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_app_that_asks_for_the_terminal_gets_an_error_and_its_user_a_word() {
    let session = Session::start(&["TTY"], &[]);
    session.devhost.wait_line("which it has with --stdin alone");
    session.devhost.wait_line("app: /dev/tty: No such device or address");
    session.devhost.wait_status(SOON, "failed", |status| status["state"] == "failed");
    let page = session.devhost.get_page("/");
    assert!(page.body.contains("exited with code 1 before it listened"), "{}", page.body);
    assert!(session.devhost.stop().success());
}

#[test]
fn with_stdin_an_app_has_the_terminal_and_so_has_each_new_generation() {
    let mut session = Session::start(&["TTY"], &["--stdin"]);
    session.devhost.wait_line("app: your name?");
    session.press(b"Ada\n");
    session.devhost.wait_line("app: hello Ada");
    session.devhost.wait_ready(1);
    session.wait_foreground(session.devhost.worker_pid());
    // After a crash, too.
    let _ = session.devhost.get_page("/exit");
    session.press(b"Grace\n");
    session.devhost.wait_line("app: hello Grace");
    session.devhost.wait_ready(2);
    session.wait_foreground(session.devhost.worker_pid());
    // Once nothing of the app is left, devhost has the terminal.
    session.app.compile(&["EXIT=3"]);
    session.devhost.wait_status(SOON, "failed", |status| status["state"] == "failed");
    let devhost = session.devhost.pid();
    session.app.compile(&["HANG"]);
    session.wait_foreground_of_another_than(devhost);
    assert!(session.devhost.stop().success());
}

impl Session {
    fn wait_foreground_of_another_than(&self, pid: i32) {
        let deadline = Instant::now() + SOON;
        while tcgetpgrp(self.keyboard.as_fd()) == Ok(Pid::from_raw(pid)) {
            assert!(Instant::now() < deadline, "{pid} keeps the terminal:\n{}", self.devhost.printed());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn ctrl_c_is_sigint_for_the_app_and_its_cleaning_up_is_waited_for() {
    for more in [&[][..], &["--stdin"]] {
        let mut session = Session::start(&["CLEARS"], more);
        session.devhost.wait_ready(1);
        if !more.is_empty() {
            session.wait_foreground(session.devhost.worker_pid());
        }
        session.press(CTRL_C);
        session.devhost.wait_line("cleared up after SIGINT");
        assert!(session.devhost.ended().success(), "{more:?}");
    }
}

#[test]
fn sigint_for_devhost_leaves_an_app_that_has_the_terminal_its_time() {
    let session = Session::start(&["CLEARS"], &["--stdin"]);
    session.devhost.wait_ready(1);
    session.wait_foreground(session.devhost.worker_pid());
    kill(Pid::from_raw(session.devhost.pid()), Signal::SIGINT).unwrap();
    session.devhost.wait_line("cleared up after SIGINT");
    assert!(session.devhost.ended().success());
}

#[test]
fn ctrl_c_ends_an_app_that_has_the_terminal_and_no_handler() {
    let mut session = Session::start(&[], &["--stdin"]);
    session.devhost.wait_ready(1);
    session.wait_foreground(session.devhost.worker_pid());
    session.press(CTRL_C);
    session.devhost.wait_line("stopping");
    let Session { app: _app, devhost, keyboard: _keyboard } = session;
    assert_eq!(devhost.printed().matches("stopping").count(), 1);
    assert!(devhost.ended().success());
}

#[test]
fn sigterm_for_devhost_is_sigterm_for_the_app() {
    let session = Session::start(&["GRACEFUL"], &[]);
    session.devhost.wait_ready(1);
    kill(Pid::from_raw(session.devhost.pid()), Signal::SIGTERM).unwrap();
    session.devhost.wait_line("ended gracefully: version one");
    assert!(session.devhost.ended().success());
}

#[test]
fn an_app_that_does_not_end_is_killed_after_a_while_or_at_the_second_ctrl_c() {
    let mut session = Session::start(&["STUBBORN"], &["--stop-timeout-ms", "300"]);
    session.devhost.wait_ready(1);
    session.press(CTRL_C);
    session.devhost.wait_line("has not ended in time (--stop-timeout-ms)");
    assert!(session.devhost.ended().success());

    let day = (24 * 60 * 60 * 1000).to_string();
    let mut session = Session::start(&["STUBBORN"], &["--stop-timeout-ms", &day]);
    session.devhost.wait_ready(1);
    session.press(CTRL_C);
    session.devhost.wait_line("stopping");
    session.press(CTRL_C);
    assert!(session.devhost.ended().success());
}

#[test]
fn ctrl_z_stops_devhost_and_the_app_and_both_go_on() {
    for more in [&[][..], &["--stdin"]] {
        let mut session = Session::start(&[], more);
        session.devhost.wait_ready(1);
        let (devhost, worker) = (session.devhost.pid(), session.devhost.worker_pid());
        for _ in 0..2 {
            if !more.is_empty() {
                session.wait_foreground(worker);
            }
            session.press(CTRL_Z);
            wait_stopped(devhost, true);
            wait_stopped(worker, true);
            kill(Pid::from_raw(devhost), Signal::SIGCONT).unwrap();
            wait_stopped(devhost, false);
            wait_stopped(worker, false);
            assert_eq!(line(&session.devhost.get("/"), "pid"), worker.to_string(), "it is the same process");
        }
        assert!(session.devhost.stop().success());
    }
}
