//! A prebuilt C plugin: everything but the build, in milliseconds.

use std::io::Read;
use std::path::{Path, PathBuf};

use devhost_plugin::abi;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Devhost, SOON, compile_c, scratch};

pub(crate) struct Plugin {
    dir: tempfile::TempDir,
}

impl Plugin {
    pub(crate) fn new(source: &str) -> Self {
        let plugin = Self { dir: scratch() };
        plugin.compile(source);
        plugin
    }

    fn compile(&self, source: &str) {
        compile_c(source, &self.path());
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("plugin.so")
    }

    pub(crate) fn start(&self, more: &[&str]) -> Devhost {
        let path = self.path();
        let mut args = vec!["run", path.to_str().unwrap(), "--port", "0"];
        args.extend(more);
        Devhost::start(self.dir.path(), &args)
    }
}

pub(crate) fn kill_9(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}

#[test]
fn a_plugin_in_c_is_served() {
    let plugin = Plugin::new("plugin.c");
    let devhost = plugin.start(&[]);
    let answer = devhost.get("/");
    assert_eq!((answer.status, answer.generation()), (200, 1));
    assert!(answer.body.contains("hello from C"), "{}", answer.body);
    // Larger than every buffer on the way, so it passes only if both directions stream.
    let body: Vec<u8> = (0..3_000_000u32).map(|n| b'a' + (n % 23) as u8).collect();
    let answer = devhost.post("/echo", "text/plain", &body);
    assert_eq!(answer.status, 200);
    assert!(answer.body.as_bytes() == body, "the echo differs");
    assert!(devhost.stop().success());
}

#[test]
fn the_status_document_says_what_runs() {
    let plugin = Plugin::new("plugin.c");
    let devhost = plugin.start(&[]);
    let status = devhost.wait_ready(1);
    assert_eq!(status["kind"], "plugin");
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["front"]["pid"], devhost.pid());
    assert!(status["zygote"]["pid"].is_i64());
    assert_eq!(status["workers"][0]["generation"], 1);
    let reload = &status["reloads"][0];
    assert_eq!((reload["cause"].as_str(), reload["outcome"].as_str()), (Some("start"), Some("ok")));
    for step in ["build_ms", "fork_ms", "load_ms", "ready_ms"] {
        assert!(reload["steps"][step].as_f64().unwrap() >= 0.0, "{reload}");
    }
    assert!(devhost.stop().success());
}

#[test]
fn a_replaced_plugin_is_loaded_anew() {
    let plugin = Plugin::new("plugin.c");
    let devhost = plugin.start(&[]);
    assert_eq!(devhost.get("/").generation(), 1);
    plugin.compile("failing_start.c");
    devhost.wait_status(SOON, "failed", |status| status["state"] == "failed");
    let answer = devhost.get("/");
    assert_eq!((answer.status, answer.generation()), (200, 1), "the last good generation serves on");
    assert!(devhost.printed().contains("cannot open the database"));
    plugin.compile("plugin.c");
    devhost.wait_status(SOON, "ready", |status| status["state"] == "ready");
    assert!(devhost.stop().success());
}

#[test]
fn a_stack_overflow_in_a_plugin_is_told_as_one() {
    let plugin = Plugin::new("plugin.c");
    let devhost = plugin.start(&[]).ready();
    let page = devhost.get_page("/overflow");
    assert!(page.body.contains("Thread 'main' of the app has overflowed its stack"), "{}", page.body);
    devhost.wait_line("thread 'main' of the app has overflowed its stack");
    devhost.wait_ready(2);
    assert!(devhost.stop().success());
}

#[test]
fn a_crash_shows_the_signal_and_a_new_worker_serves_at_once() {
    let plugin = Plugin::new("plugin.c");
    let devhost = plugin.start(&[]).ready();
    let first = devhost.worker_pid();
    let crash = devhost.get_page("/crash");
    assert!(crash.status >= 500, "{}", crash.status);
    assert!(crash.body.contains("SIGABRT"), "{}", crash.body);
    let answer = devhost.get("/");
    assert_eq!((answer.status, answer.generation()), (200, 2));
    let status = devhost.wait_ready(2);
    assert_ne!(devhost.worker_pid(), first);
    let reload = status["reloads"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((reload["cause"].as_str(), reload["generation"].as_u64()), (Some("crash"), Some(2)));
    assert!(devhost.stop().success());
}

#[test]
fn repeated_crashes_end_in_an_explanation_and_a_change_recovers() {
    let plugin = Plugin::new("plugin.c");
    let devhost = plugin.start(&[]).ready();
    let explained = (0..20).find_map(|_| {
        let answer = devhost.get_page("/crash");
        answer.body.contains("in a row").then_some(answer)
    });
    let explained = explained.expect("devhost gives up at some point");
    assert_eq!(devhost.status()["state"], "failed");
    assert!(explained.status >= 500);
    touch(&plugin.path(), 2);
    devhost.wait_status(SOON, "ready", |status| status["state"] == "ready");
    assert_eq!(devhost.get("/").status, 200);
    assert!(devhost.stop().success());
}

#[test]
fn a_start_that_hangs_is_ended_and_explained() {
    let plugin = Plugin::new("hanging_start.c");
    let devhost = plugin.start(&["--start-timeout-ms", "300"]);
    devhost.wait_status(SOON, "failed", |status| status["state"] == "failed");
    let page = devhost.get_page("/");
    assert!(page.status >= 500 && page.body.contains("did not start within"), "{}", page.body);
    plugin.compile("plugin.c");
    devhost.wait_status(SOON, "ready", |status| status["state"] == "ready");
    assert!(devhost.stop().success());
}

#[test]
fn another_abi_version_is_refused_by_both_names() {
    let plugin = Plugin::new("bad_abi.c");
    let devhost = plugin.start(&[]);
    devhost.wait_status(SOON, "failed", |status| status["state"] == "failed");
    let page = devhost.get_page("/");
    let ours = format!("version {}.{}", abi::ABI_MAJOR, abi::ABI_MINOR);
    assert!(page.body.contains("99.") && page.body.contains(&ours), "{}", page.body);
    assert!(devhost.stop().success());
}

#[test]
fn a_killed_worker_is_replaced() {
    let plugin = Plugin::new("plugin.c");
    let devhost = plugin.start(&[]).ready();
    kill_9(devhost.worker_pid());
    devhost.wait_ready(2);
    assert_eq!(devhost.get("/").status, 200);
    assert!(devhost.stop().success());
}

#[test]
fn a_killed_zygote_is_replaced_and_its_workers_with_it() {
    let plugin = Plugin::new("plugin.c");
    let devhost = plugin.start(&[]).ready();
    let (zygote, worker) = (devhost.zygote_pid(), devhost.worker_pid());
    // A client that waits for an answer gets one.
    let mut waiting =
        devhost.connect(b"POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\nabc");
    devhost.wait_status(SOON, "serving", |status| status["state"] == "ready");
    kill_9(zygote);
    let mut told = Vec::new();
    // A reset connection is as good as an answer; silence would not be.
    let _ = waiting.read_to_end(&mut told);
    devhost.wait_ready(2);
    devhost.wait_line("the zygote has died (signal: 9 (SIGKILL))");
    assert_ne!(devhost.zygote_pid(), zygote);
    assert_ne!(devhost.worker_pid(), worker);
    assert_eq!(devhost.get("/").status, 200);
    assert!(devhost.stop().success());
}

#[test]
fn a_killed_front_leaves_nothing() {
    let plugin = Plugin::new("plugin.c");
    let devhost = plugin.start(&[]).ready();
    devhost.kill_9();
}

#[test]
fn sigterm_ends_it_with_success() {
    let plugin = Plugin::new("plugin.c");
    let devhost = plugin.start(&[]).ready();
    kill(Pid::from_raw(devhost.pid()), Signal::SIGTERM).unwrap();
    assert!(devhost.stop().success());
}

#[test]
fn a_foreign_host_header_is_refused() {
    let plugin = Plugin::new("plugin.c");
    let devhost = plugin.start(&[]).ready();
    for path in ["/", "/__devhost/status"] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n");
        let mut answer = String::new();
        devhost.connect(request.as_bytes()).read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    }
    let foreign = devhost.client.get(format!("{}/__devhost/events", devhost.url));
    let answer = crate::support::answer(foreign.header("origin", "http://evil.example").call());
    assert_eq!(answer.status, 403);
    assert!(devhost.stop().success());
}

/// Makes different code that does the same, by changing a library's build id.
pub(crate) fn touch(path: &Path, with: u32) {
    /// The name, and nothing else of 4 bytes, comes before the build id.
    const NOTE: &[u8] = b"\x14\0\0\0\x03\0\0\0GNU\0";
    let mut bytes = std::fs::read(path).unwrap();
    let at = bytes.windows(NOTE.len()).position(|window| window == NOTE).expect("a build id") + NOTE.len();
    bytes[at..at + 4].copy_from_slice(&with.to_ne_bytes());
    let staged = path.with_extension("staged");
    std::fs::write(&staged, bytes).unwrap();
    std::fs::rename(staged, path).unwrap();
}

#[test]
fn many_reloads_leave_fds_threads_maps_and_processes_constant() {
    let plugin = Plugin::new("plugin.c");
    let devhost = plugin.start(&[]).ready();
    let mut generation = 1u32;
    let mut reload = || {
        generation += 1;
        touch(&plugin.path(), generation);
        devhost.wait_ready(generation.into());
        devhost.wait_status(SOON, "drained", |status| status["workers"].as_array().unwrap().len() == 1);
    };
    for _ in 0..5 {
        reload();
    }
    let front = count_resources(devhost.pid());
    let zygote = count_resources(devhost.zygote_pid());
    for _ in 0..60 {
        reload();
    }
    // One keep-alive connection more or less is no leak; one per reload would be.
    assert_near(front, count_resources(devhost.pid()));
    assert_near(zygote, count_resources(devhost.zygote_pid()));
    assert!(devhost.stop().success());
}

#[derive(Debug, Clone, Copy)]
struct Resources {
    fds: usize,
    threads: usize,
    maps: usize,
}

fn count_resources(pid: i32) -> Resources {
    let entries = |what: &str| std::fs::read_dir(format!("/proc/{pid}/{what}")).unwrap().count();
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    Resources { fds: entries("fd"), threads: entries("task"), maps: maps.lines().count() }
}

fn assert_near(before: Resources, after: Resources) {
    let grown =
        after.fds > before.fds + 8 || after.threads > before.threads + 4 || after.maps > before.maps + 24;
    assert!(!grown, "before {before:?}, after {after:?}");
}
