//! devhost at a terminal: what is typed while it draws.

use std::fs;
use std::io::{Read, Write};
use std::num::NonZero;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::pty::{grantpt, openpty, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpgid, tcgetpgrp};

use crate::support::{COLD_BUILD, Session, client, in_shell, scratch, server, write_file};

/// A terminal and everything written to it so far.
struct Screen {
    keys: fs::File,
    shown: Arc<(Mutex<String>, Condvar)>,
    reader: Option<JoinHandle<()>>,
}

impl Screen {
    fn new() -> (Self, OwnedFd) {
        let pty = openpty(None, None).unwrap();
        let mut output = fs::File::from(pty.master.try_clone().unwrap());
        let shown = Arc::<(Mutex<String>, Condvar)>::default();
        let screen = Arc::clone(&shown);
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // The end is an error: nobody has the terminal open any more.
            while let Ok(len @ 1..) = output.read(&mut buffer) {
                screen.0.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..len]));
                screen.1.notify_all();
            }
        });
        (Self { keys: pty.master.into(), shown, reader: Some(reader) }, pty.slave)
    }

    fn type_keys(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    fn wait(&self, part: &str) {
        let deadline = Instant::now() + COLD_BUILD;
        let mut shown = self.shown.0.lock().unwrap();
        while !shown.contains(part) {
            let left = deadline.checked_duration_since(Instant::now());
            let left = left.unwrap_or_else(|| panic!("{part:?} was never shown: {shown}"));
            shown = self.shown.1.wait_timeout(shown, left).unwrap().0;
        }
    }

    fn shown(&self) -> String {
        self.shown.0.lock().unwrap().clone()
    }

    /// What a person sees now: the lines of the screen, without those that are empty.
    fn now(&self) -> String {
        seen(&self.shown())
    }

    /// Waits until a person sees this.
    fn wait_now(&self, wanted: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + COLD_BUILD;
        let mut shown = self.shown.0.lock().unwrap();
        while !wanted(&seen(&shown)) {
            let left = deadline.checked_duration_since(Instant::now());
            let left = left.unwrap_or_else(|| panic!("never seen: {}", seen(&shown)));
            shown = self.shown.1.wait_timeout(shown, left).unwrap().0;
        }
    }

    fn end(mut self) -> String {
        self.reader.take().unwrap().join().unwrap();
        self.shown.0.lock().unwrap().clone()
    }
}

fn seen(written: &str) -> String {
    // As devhost takes a terminal of unknown size.
    let size = |length| NonZero::new(length).unwrap();
    let mut parser = vt100::Parser::new(size(24), size(80), 0);
    parser.process(written.as_bytes());
    parser.screen().contents().lines().filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

/// Has a command start in a session of its own, at this terminal.
fn in_terminal(command: &mut Command, terminal: &OwnedFd, end: RawFd) {
    command.stdin(terminal.try_clone().unwrap());
    command.stdout(terminal.try_clone().unwrap());
    command.stderr(terminal.try_clone().unwrap());
    command.env("TERM", "xterm");
    // SAFETY: both calls are allowed between fork and exec, and the descriptor is open there.
    unsafe {
        command.pre_exec(move || {
            nix::unistd::setsid()?;
            nix::errno::Errno::result(nix::libc::ioctl(end, nix::libc::TIOCSCTTY, 0)).map(drop)?;
            Ok(())
        })
    };
}

#[test]
fn typing_while_the_bar_is_drawn_leaves_no_trace() {
    let dir = scratch();
    let file = |name: &str| dir.path().join(name);
    fs::create_dir(file("src")).unwrap();
    let manifest = "[package]\nname = \"slow\"\nversion = \"0.1.0\"\nedition = \"2024\"\nbuild = \"build.rs\"\n[workspace]\n";
    fs::write(file("Cargo.toml"), manifest).unwrap();
    let script = "fn main() {\n    println!(\"cargo::rerun-if-changed=build.rs\");\n    while !std::path::Path::new(\"go\").exists() {\n        \
                  std::thread::sleep(std::time::Duration::from_millis(10));\n    }\n}\n";
    fs::write(file("build.rs"), script).unwrap();
    let server = "fn main() {\n    let listener = std::net::TcpListener::bind(\"127.0.0.1:0\").unwrap();\n    \
                  for client in listener.incoming() { drop(client); }\n}\n";
    fs::write(file("src/main.rs"), server).unwrap();

    let (mut screen, terminal) = Screen::new();
    let end = terminal.as_raw_fd();
    let session = Session::start(dir.path(), &["run"], |command| in_terminal(command, &terminal, end));
    drop(terminal);
    screen.wait("building");
    screen.type_keys("impatient\n");
    fs::write(file("go"), "").unwrap();
    screen.wait("ready #1");
    screen.type_keys("afterwards\n");
    screen.type_keys("\u{3}");
    assert!(session.end().success());
    let shown = screen.end();
    assert!(!shown.contains("impatient") && !shown.contains("afterwards"), "{shown}");
}

/// A server that prints a line for each request.
const CHATTY: &str = r#"
use std::io::{Read, Write};
fn main() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    for (number, stream) in (1..).zip(listener.incoming()) {
        let mut stream = stream.unwrap();
        let mut head = [0; 4096];
        let _ = stream.read(&mut head);
        println!("app: line {number}");
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    }
}
"#;

#[test]
fn a_long_build_shows_a_live_line_that_leaves_the_apps_lines_whole_and_nothing_of_itself() {
    let dir = scratch();
    let file = |name: &str| dir.path().join(name);
    fs::create_dir(file("src")).unwrap();
    let manifest = "[package]\nname = \"slow\"\nversion = \"0.1.0\"\nedition = \"2024\"\nbuild = \"build.rs\"\n[workspace]\n";
    fs::write(file("Cargo.toml"), manifest).unwrap();
    let script = "fn main() {\n    println!(\"cargo::rerun-if-changed=src\");\n    while !std::path::Path::new(\"go\").exists() {\n        \
                  std::thread::sleep(std::time::Duration::from_millis(10));\n    }\n}\n";
    fs::write(file("build.rs"), script).unwrap();
    fs::write(file("src/main.rs"), CHATTY).unwrap();
    fs::write(file("go"), "").unwrap();

    let (mut screen, terminal) = Screen::new();
    let end = terminal.as_raw_fd();
    let session = Session::start(dir.path(), &["run", "--port", "0", "--no-hold"], |command| {
        in_terminal(command, &terminal, end);
    });
    drop(terminal);
    screen.wait("ready #1");
    let shown = screen.shown();
    let url = shown.split("Local:").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    fs::remove_file(file("go")).unwrap();
    fs::write(file("src/main.rs"), format!("{CHATTY}\n// edited\n")).unwrap();
    for number in 1..=5 {
        screen.wait_now(|screen| {
            screen.lines().last().is_some_and(|line| line.starts_with("building src/main.rs "))
        });
        client().get(&url).call().unwrap();
        screen.wait_now(|screen| screen.lines().any(|line| line == format!("app: line {number}")));
    }
    screen.wait_now(|screen| {
        screen.lines().last().is_some_and(|line| line.starts_with("building src/main.rs "))
    });
    fs::write(file("go"), "").unwrap();
    screen.wait("reloaded #2");
    let now = screen.now();
    for number in 1..=5 {
        assert!(now.lines().any(|line| line == format!("app: line {number}")), "{now}");
    }
    assert!(!now.contains("building"), "{now}");
    screen.type_keys("q");
    assert!(session.end().success());
    screen.end();
}

/// Opens a terminal of which no other process gets an end by chance.
fn open_terminal() -> (OwnedFd, OwnedFd) {
    let ours = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let theirs = fs::File::options()
        .read(true)
        .write(true)
        .custom_flags(OFlag::O_NOCTTY.bits())
        .open(ptsname_r(&ours).unwrap());
    (ours.into(), theirs.unwrap().into())
}

/// Finds the process that listens for keys in this group.
fn listener_in(group: Pid) -> Option<Pid> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Pid::from_raw));
    pids.find(|pid| {
        getpgid(Some(*pid)) == Ok(group)
            && fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.starts_with(b"devhost-terminal"))
    })
}

#[test]
fn devhost_ends_with_its_terminal_even_if_the_process_that_listens_cannot_say_so() {
    let dir = scratch();
    write_file(
        dir.path().join("Cargo.toml"),
        "[package]\nname = 'short'\nversion = '0.1.0'\nedition = '2024'\n[workspace]\n",
    );
    write_file(dir.path().join("src/main.rs"), &server("\"short\""));
    let (ours, theirs) = open_terminal();
    let end = theirs.as_raw_fd();
    let session = Session::start(dir.path(), &["run", "--port", "0", "--stdin"], |command| {
        // The shell leads the session: the kernel tells it and the app that the terminal is gone, and not devhost.
        *command = in_shell("\"$@\"; true", dir.path(), command);
        in_terminal(command, &theirs, end);
    });
    drop(theirs);
    let deadline = Instant::now() + COLD_BUILD;
    let listener = loop {
        let group = tcgetpgrp(&ours).ok().filter(|group| *group != Pid::from_raw(session.pid()));
        if let Some(listener) = group.and_then(listener_in) {
            break listener;
        }
        assert!(Instant::now() < deadline, "the app never has the terminal");
        std::thread::sleep(Duration::from_millis(5));
    };
    kill(listener, Signal::SIGKILL).unwrap();
    drop(ours);
    assert!(!session.end().success(), "the shell has ended for another reason");
}
