//! devhost at a terminal: what is typed while it draws.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use nix::pty::openpty;

use crate::support::{COLD_BUILD, Session, scratch};

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

    fn end(mut self) -> String {
        self.reader.take().unwrap().join().unwrap();
        self.shown.0.lock().unwrap().clone()
    }
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
    let session = Session::start(dir.path(), &["run"], |command| {
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
    });
    drop(terminal);
    screen.wait("building");
    screen.type_keys("impatient\n");
    fs::write(file("go"), "").unwrap();
    screen.wait("ready #1");
    screen.type_keys("afterwards\n");
    screen.wait("afterwards");
    screen.type_keys("\u{3}");
    assert!(session.end().success());
    let shown = screen.end();
    assert!(!shown.contains("impatient"), "{shown}");
}
