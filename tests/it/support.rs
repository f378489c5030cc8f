//! The harness: starts a devhost for one test, talks to it, and checks that it leaves nothing behind.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// The deadline for anything that should happen soon. Generous, since a busy machine is no failure.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// The deadline for a first build, which may compile all dependencies.
pub(crate) const COLD_BUILD: Duration = Duration::from_secs(900);

/// The variable that marks a test's processes.
const MARK: &str = "DEVHOST_TEST_MARK";

/// Waits for a test's turn to run cargo: they share a target directory, so only one runs at a time.
pub(crate) fn cargo_turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Makes a directory for one test.
pub(crate) fn scratch() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("it-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Writes a file and its parent directories.
pub(crate) fn write_file(path: PathBuf, text: &str) -> PathBuf {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    path
}

/// Returns the source of a server that answers each request with this expression.
pub(crate) fn server(expression: &str) -> String {
    const SERVER: &str = r#"
use std::io::{Read, Write};
fn main() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
            head.push(byte[0]);
        }
        let text = EXPRESSION;
        let length = text.len();
        let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}");
    }
}
"#;
    SERVER.replace("EXPRESSION", expression)
}

/// A server that calls `start`, and then answers with `page` of the request's path: a text, or a status and a body.
pub(crate) const PAGE_SERVER: &str = r#"
use std::io::{BufRead, BufReader, Write};

trait Reply {
    fn into_parts(self) -> (u16, Vec<u8>);
}

impl Reply for String {
    fn into_parts(self) -> (u16, Vec<u8>) {
        (200, self.into_bytes())
    }
}

impl Reply for (u16, Vec<u8>) {
    fn into_parts(self) -> Self {
        self
    }
}

fn main() {
    start();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        std::thread::spawn(move || {
            let mut lines = BufReader::new(&stream).lines();
            let Some(Ok(first)) = lines.next() else { return };
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let (status, body) = page(first.split(' ').nth(1).unwrap()).into_parts();
            let head = format!(
                "HTTP/1.1 {status} OK\r\ncontent-type: text/html\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(&[head.as_bytes(), &body].concat());
        });
    }
}
"#;

/// Compiles a C plugin of the fixtures.
pub(crate) fn compile_c(source: &str, to: &Path) {
    let fixtures = repository().join("tests/fixtures/c_plugin");
    let staged = to.with_extension("staged");
    let status = Command::new("cc")
        .args(["-Wall", "-Wextra", "-Werror", "-O1", "-g", "-shared", "-fPIC", "-Wl,--build-id=sha1", "-I"])
        .arg(repository().join("plugin_abi/include"))
        // A changed copy lies elsewhere, but includes their header.
        .arg("-I")
        .arg(&fixtures)
        .arg(fixtures.join(source))
        .arg("-o")
        .arg(&staged)
        .status()
        .unwrap();
    assert!(status.success(), "cc refused {source}");
    std::fs::rename(staged, to).unwrap();
}

/// A copy of the example app in its own workspace, with its sources in `example_app/`.
pub(crate) struct ExampleApp {
    pub dir: tempfile::TempDir,
}

impl ExampleApp {
    pub(crate) fn new() -> Self {
        let dir = scratch();
        copy_tree(&repository().join("example_app"), &dir.path().join("example_app"));
        std::fs::copy(repository().join("Cargo.lock"), dir.path().join("Cargo.lock")).unwrap();
        let manifest = dir.path().join("example_app/Cargo.toml");
        let plugin_abi = repository().join("plugin_abi");
        let text = std::fs::read_to_string(&manifest).unwrap();
        assert!(text.contains("../plugin_abi"));
        std::fs::write(&manifest, text.replace("../plugin_abi", plugin_abi.to_str().unwrap())).unwrap();
        let root = std::fs::read_to_string(repository().join("Cargo.toml")).unwrap();
        let package = root.split("[workspace.package]").nth(1).unwrap().split("\n[").next().unwrap();
        let workspace = format!(
            "[workspace]\nmembers = [\"example_app\"]\nresolver = \"3\"\n\n[workspace.package]{package}\n\
             [workspace.lints.rust]\nunsafe_code = \"warn\"\n"
        );
        std::fs::write(dir.path().join("Cargo.toml"), workspace).unwrap();
        Self { dir }
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.dir.path().join("example_app").join(relative)
    }

    pub(crate) fn read(&self, relative: &str) -> String {
        std::fs::read_to_string(self.path(relative)).unwrap()
    }

    /// Replaces text in a file as most editors do: by renaming a temporary file over it.
    pub(crate) fn edit(&self, relative: &str, from: &str, to: &str) {
        let text = self.read(relative);
        assert!(text.contains(from), "{relative} has no {from:?}");
        self.write(relative, &text.replacen(from, to, 1));
    }

    pub(crate) fn write(&self, relative: &str, text: &str) {
        let path = self.path(relative);
        let temporary = path.with_file_name(format!(".{}.tmp~", path.file_name().unwrap().to_string_lossy()));
        std::fs::write(&temporary, text).unwrap();
        std::fs::rename(temporary, path).unwrap();
    }

    pub(crate) fn start(&self, more: &[&str]) -> Devhost {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("apps");
        let mut args = vec!["run", "example_app", "--port", "0", "--target-dir", target.to_str().unwrap()];
        args.extend(more);
        Devhost::start(self.dir.path(), &args)
    }
}

/// Copies a directory without what builds and runs leave there.
pub(crate) fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if ["target", "data", "tests"].contains(&name.to_str().unwrap()) {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &to.join(name));
        } else {
            std::fs::copy(entry.path(), to.join(name)).unwrap();
        }
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn generation(&self) -> u64 {
        self.header("x-devhost-generation").expect("the answer has a generation").parse().unwrap()
    }
}

/// An HTTP client with a time limit on everything.
pub(crate) fn client() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(SOON))
        .max_redirects(0)
        .build()
        .into()
}

pub(crate) fn answer(response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Answer {
    let mut response = response.expect("the request reached a server");
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let status = response.status().as_u16();
    Answer { status, headers, body: response.body_mut().read_to_string().expect("the body arrived whole") }
}

#[derive(Default)]
struct Lines {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

impl Lines {
    fn follow(self: &Arc<Self>, stream: impl Read + Send + 'static) {
        let lines = Arc::clone(self);
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines() {
                let Ok(line) = line else { return };
                lines.lines.lock().unwrap().push(line);
                lines.more.notify_all();
            }
        });
    }

    fn wait(&self, limit: Duration, mut wanted: impl FnMut(&str) -> bool) -> Option<String> {
        let deadline = Instant::now() + limit;
        let mut lines = self.lines.lock().unwrap();
        let mut seen = 0;
        loop {
            if let Some(line) = lines[seen..].iter().find(|line| wanted(line)) {
                return Some(line.clone());
            }
            seen = lines.len();
            let left = deadline.checked_duration_since(Instant::now())?;
            lines = self.more.wait_timeout(lines, left).unwrap().0;
        }
    }
}

pub(crate) struct Devhost {
    child: Child,
    output: Arc<Lines>,
    mark: String,
    temporary: tempfile::TempDir,
    pub url: String,
    pub port: u16,
    pub client: ureq::Agent,
}

fn command(cwd: &Path, args: &[&str], mark: &str, temporary: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_devhost"));
    command
        .args(args)
        .current_dir(cwd)
        .env(MARK, mark)
        .env("TMPDIR", temporary)
        .env("NO_COLOR", "1")
        // Where the copies of prebuilt plugins go.
        .env("XDG_CACHE_HOME", Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"))
        .env_remove("CARGO_TARGET_DIR")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn new_mark() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Waits for a process's end; `None` if it does not come in time.
fn wait_for_end(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + limit;
    loop {
        let status = child.try_wait().unwrap();
        if status.is_some() || Instant::now() > deadline {
            return status;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs devhost, which must end soon, and checks that nothing is left.
pub(crate) fn run_to_end(cwd: &Path, args: &[&str]) -> Output {
    run_to_end_with(cwd, args, |_| {})
}

pub(crate) fn run_to_end_with(cwd: &Path, args: &[&str], adjust: impl FnOnce(&mut Command)) -> Output {
    run_to_end_within(SOON, cwd, args, adjust)
}

/// Its output must fit into a pipe, unless it goes elsewhere.
pub(crate) fn run_to_end_within(
    limit: Duration,
    cwd: &Path,
    args: &[&str],
    adjust: impl FnOnce(&mut Command),
) -> Output {
    let (mark, temporary) = (new_mark(), scratch());
    let mut command = command(cwd, args, &mark, temporary.path());
    adjust(&mut command);
    let mut child = command.spawn().unwrap();
    if wait_for_end(&mut child, limit).is_none() {
        let _ = child.kill();
        panic!("devhost {args:?} did not end: {:?}", child.wait_with_output());
    }
    let output = child.wait_with_output().unwrap();
    assert_nothing_left(&mark, temporary.path());
    output
}

/// A devhost with standard streams given by a test.
pub(crate) struct Session {
    child: Child,
    mark: String,
    temporary: tempfile::TempDir,
}

impl Session {
    pub(crate) fn start(cwd: &Path, args: &[&str], adjust: impl FnOnce(&mut Command)) -> Self {
        let (mark, temporary) = (new_mark(), scratch());
        let mut command = command(cwd, args, &mark, temporary.path());
        adjust(&mut command);
        Self { child: command.spawn().unwrap(), mark, temporary }
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Waits for the end, and checks that nothing is left.
    pub(crate) fn end(mut self) -> ExitStatus {
        let Some(status) = wait_for_end(&mut self.child, SOON) else {
            let _ = self.child.kill();
            panic!("devhost did not end");
        };
        assert_nothing_left(&self.mark, self.temporary.path());
        status
    }
}

/// A running devhost command that serves nothing itself.
pub(crate) struct Running {
    child: Child,
    output: Arc<Lines>,
    mark: String,
    temporary: tempfile::TempDir,
}

impl Running {
    pub(crate) fn start(cwd: &Path, args: &[&str]) -> Self {
        let (mark, temporary) = (new_mark(), scratch());
        let mut child = command(cwd, args, &mark, temporary.path()).spawn().unwrap();
        let output = Arc::new(Lines::default());
        output.follow(child.stdout.take().unwrap());
        output.follow(child.stderr.take().unwrap());
        Self { child, output, mark, temporary }
    }

    pub(crate) fn wait_line(&self, part: &str) -> String {
        let line = self.output.wait(COLD_BUILD, |line| line.contains(part));
        line.unwrap_or_else(|| {
            panic!("{part:?} was never printed:\n{}", self.output.lines.lock().unwrap().join("\n"))
        })
    }

    pub(crate) fn count_lines(&self, part: &str) -> usize {
        self.output.lines.lock().unwrap().iter().filter(|line| line.contains(part)).count()
    }

    /// Sends a signal, waits for the end, and checks that nothing is left.
    pub(crate) fn end_by(mut self, signal: Signal) -> ExitStatus {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
        let status = wait_for_end(&mut self.child, SOON).expect("it ends");
        assert_nothing_left(&self.mark, self.temporary.path());
        status
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Devhost {
    pub(crate) fn start(cwd: &Path, args: &[&str]) -> Self {
        Self::start_with(cwd, args, |_| {})
    }

    pub(crate) fn start_with(cwd: &Path, args: &[&str], adjust: impl FnOnce(&mut Command)) -> Self {
        let (mark, temporary) = (new_mark(), scratch());
        let mut command = command(cwd, args, &mark, temporary.path());
        adjust(&mut command);
        let mut child = command.spawn().unwrap();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        Self::of(child, vec![Box::new(stdout), Box::new(stderr)], mark, temporary)
    }

    /// Starts it with its output on its own terminal.
    pub(crate) fn start_on(cwd: &Path, args: &[&str], terminal: OwnedFd, other_end: OwnedFd) -> Self {
        let (mark, temporary) = (new_mark(), scratch());
        let mut command = command(cwd, args, &mark, temporary.path());
        command.stdout(terminal.try_clone().unwrap()).stderr(terminal);
        let child = command.spawn().unwrap();
        // Drops its copies of the terminal, so that the other end sees the end.
        drop(command);
        Self::of(child, vec![Box::new(std::fs::File::from(other_end))], mark, temporary)
    }

    /// Starts it in its own session, with a terminal whose other end types.
    pub(crate) fn start_in_terminal(
        cwd: &Path,
        args: &[&str],
        terminal: OwnedFd,
        other_end: OwnedFd,
    ) -> Self {
        Self::start_in_session(cwd, args, terminal, other_end, |command| command)
    }

    /// The same with a shell, which runs `script` with devhost's command line as `$@`, and is the process that is meant by this.
    pub(crate) fn start_in_shell(
        script: &str,
        cwd: &Path,
        args: &[&str],
        terminal: OwnedFd,
        other_end: OwnedFd,
    ) -> Self {
        Self::start_in_session(cwd, args, terminal, other_end, |devhost| in_shell(script, cwd, &devhost))
    }

    fn start_in_session(
        cwd: &Path,
        args: &[&str],
        terminal: OwnedFd,
        other_end: OwnedFd,
        adjust: impl FnOnce(Command) -> Command,
    ) -> Self {
        let (mark, temporary) = (new_mark(), scratch());
        let mut command = adjust(command(cwd, args, &mark, temporary.path()));
        command.stdin(terminal.try_clone().unwrap()).stdout(terminal.try_clone().unwrap()).stderr(terminal);
        // SAFETY: only system calls, fit for the time between fork and exec.
        unsafe {
            std::os::unix::process::CommandExt::pre_exec(&mut command, || {
                nix::unistd::setsid()?;
                match nix::libc::ioctl(0, nix::libc::TIOCSCTTY, 0) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            });
        }
        let child = command.spawn().unwrap();
        drop(command);
        Self::of(child, vec![Box::new(std::fs::File::from(other_end))], mark, temporary)
    }

    fn of(
        child: Child,
        streams: Vec<Box<dyn Read + Send>>,
        mark: String,
        temporary: tempfile::TempDir,
    ) -> Self {
        let output = Arc::new(Lines::default());
        streams.into_iter().for_each(|stream| output.follow(stream));
        let mut devhost =
            Self { child, output, mark, temporary, url: String::new(), port: 0, client: client() };
        let line = devhost.wait_line("Local:");
        let at = line.find("http://").expect("the banner has an address");
        devhost.url = line[at..].trim().trim_end_matches('/').to_owned();
        devhost.port = devhost.url.rsplit(':').next().unwrap().parse().unwrap();
        devhost
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        answer(self.client.get(format!("{}{path}", self.url)).call())
    }

    /// Gets a page like a browser's navigation.
    pub(crate) fn get_page(&self, path: &str) -> Answer {
        let request = self.client.get(format!("{}{path}", self.url));
        answer(request.header("accept", "text/html,application/xhtml+xml,*/*;q=0.8").call())
    }

    pub(crate) fn post(&self, path: &str, content_type: &str, body: &[u8]) -> Answer {
        let request = self.client.post(format!("{}{path}", self.url));
        answer(request.header("content-type", content_type).send(body))
    }

    pub(crate) fn status(&self) -> Value {
        serde_json::from_str(&self.get("/__devhost/status").body).expect("the status is JSON")
    }

    /// Waits for a status document that satisfies the condition.
    pub(crate) fn wait_status(&self, limit: Duration, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + limit;
        loop {
            let status = self.status();
            if wanted(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "never {what}: {status:#}\n{}", self.printed());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn wait_ready(&self, generation: u64) -> Value {
        self.wait_status(COLD_BUILD, &format!("ready with generation {generation}"), |status| {
            let ready = status["state"] == "ready" && status["generation"].as_u64() >= Some(generation);
            assert!(status["state"] != "failed" || ready, "failed: {status:#}");
            ready
        })
    }

    /// Waits until its first generation serves.
    pub(crate) fn ready(self) -> Self {
        self.wait_ready(1);
        self
    }

    pub(crate) fn worker_pid(&self) -> i32 {
        let status = self.status();
        let workers = status["workers"].as_array().unwrap();
        let current = workers.iter().find(|worker| worker["draining"] == false).expect("a worker serves");
        i32::try_from(current["pid"].as_i64().unwrap()).unwrap()
    }

    pub(crate) fn front_pid(&self) -> i32 {
        i32::try_from(self.status()["front"]["pid"].as_i64().unwrap()).unwrap()
    }

    pub(crate) fn zygote_pid(&self) -> i32 {
        i32::try_from(self.status()["zygote"]["pid"].as_i64().expect("a zygote runs")).unwrap()
    }

    pub(crate) fn wait_line(&self, part: &str) -> String {
        let line = self.output.wait(COLD_BUILD, |line| line.contains(part));
        line.unwrap_or_else(|| panic!("{part:?} was never printed:\n{}", self.printed()))
    }

    /// Waits for a line with this in it that comes after the first `count`.
    pub(crate) fn wait_line_after(&self, count: usize, part: &str) {
        let mut number = 0;
        let line = self.output.wait(SOON, |line| {
            number += 1;
            number > count && line.contains(part)
        });
        assert!(line.is_some(), "{part:?} was not printed after line {count}:\n{}", self.printed());
    }

    pub(crate) fn printed(&self) -> String {
        self.output.lines.lock().unwrap().join("\n")
    }

    /// Sends raw bytes and returns the connection.
    pub(crate) fn connect(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.write_all(bytes).unwrap();
        stream
    }

    /// Ends it like Ctrl-C, and checks that nothing is left.
    pub(crate) fn stop(mut self) -> ExitStatus {
        let begun = Instant::now();
        kill(Pid::from_raw(self.pid()), Signal::SIGINT).unwrap();
        let status = self.wait_exit();
        assert!(begun.elapsed() < Duration::from_secs(20), "ending took {:?}", begun.elapsed());
        self.expect_all_gone();
        status
    }

    /// Waits for an end caused otherwise, and checks that nothing is left.
    pub(crate) fn ended(mut self) -> ExitStatus {
        self.expect_all_gone()
    }

    /// Kills it without a chance to clean up, and checks that nothing is left even so.
    pub(crate) fn kill_9(mut self) {
        kill(Pid::from_raw(self.pid()), Signal::SIGKILL).unwrap();
        self.expect_all_gone();
    }

    /// Waits for the end, and checks that no process, file or port is left.
    fn expect_all_gone(&mut self) -> ExitStatus {
        let status = self.wait_exit();
        assert_nothing_left(&self.mark, self.temporary.path());
        TcpListener::bind(("127.0.0.1", self.port)).expect("the port is free");
        status
    }

    fn wait_exit(&mut self) -> ExitStatus {
        wait_for_end(&mut self.child, SOON)
            .unwrap_or_else(|| panic!("devhost did not end:\n{}", self.printed()))
    }
}

impl Drop for Devhost {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- devhost printed:\n{}\n---", self.printed());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns a shell that runs `script` with a command as `$@`.
pub(crate) fn in_shell(script: &str, cwd: &Path, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "sh"]).arg(command.get_program()).args(command.get_args()).current_dir(cwd);
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

/// Returns the processes with a test's mark in their environment.
fn marked(mark: &str) -> Vec<String> {
    let wanted = format!("{MARK}={mark}");
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| {
            let environment = std::fs::read(entry.path().join("environ")).ok()?;
            let carries = environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes());
            carries.then(|| {
                let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
                let command = String::from_utf8_lossy(&command).replace('\0', " ");
                format!("{} {command}", entry.file_name().to_string_lossy())
            })
        })
        .collect()
}

fn assert_nothing_left(mark: &str, temporary: &Path) {
    let deadline = Instant::now() + SOON;
    // After a kill -9 the others need a moment to notice.
    while !marked(mark).is_empty() {
        assert!(Instant::now() < deadline, "processes are left: {:#?}", marked(mark));
        std::thread::sleep(Duration::from_millis(10));
    }
    let files: Vec<_> = std::fs::read_dir(temporary).unwrap().flatten().map(|entry| entry.path()).collect();
    assert!(files.is_empty(), "temporary files are left: {files:?}");
    let shared: Vec<_> = std::fs::read_dir("/dev/shm")
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    let ours = shared.iter().any(|path: &PathBuf| path.to_string_lossy().contains("devhost"));
    assert!(!ours, "shared memory is left: {shared:?}");
}
