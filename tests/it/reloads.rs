//! Many reloads under steady load: no request fails, none sent after a save gets the old code, and neither
//! front nor zygote grows.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::plain::PlainApp;
use crate::plugin::Plugin;
use crate::support::{Devhost, SOON, answer, cargo_turn, client, compile_c, repository};
use crate::traffic::resident_kib;

/// The time between two requests of the load.
const REQUEST_INTERVAL: Duration = Duration::from_millis(50);

/// After this many reloads everything has settled.
const WARM_UP_COUNT: usize = 5;

/// How much front and zygote together may grow, however many reloads.
const GROWTH_MAX_KIB: u64 = 16 * 1024;

/// How many more descriptors they may end up with; connections of the load come and go.
const DESCRIPTORS_MORE_COUNT_MAX: usize = 16;

/// The apps' answer, before and after each edit.
fn text(version: usize) -> String {
    if version == 0 { "Before the edit".into() } else { format!("version {version}") }
}

fn version_in(text: &str) -> Option<usize> {
    if text == "Before the edit" { Some(0) } else { text.strip_prefix("version ")?.parse().ok() }
}

/// Twenty requests a second, whatever happens to earlier ones. Every other one is a POST.
struct Load {
    over: Arc<AtomicBool>,
    sender: JoinHandle<Vec<JoinHandle<Result<(), String>>>>,
}

impl Load {
    /// `saved` is the newest saved version.
    fn start(devhost: &Devhost, saved: Arc<AtomicUsize>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (url, ends) = (devhost.url.clone(), Arc::clone(&over));
        let sender = std::thread::spawn(move || {
            let agent = client();
            let mut requests = Vec::new();
            let mut next = Instant::now();
            while !ends.load(Ordering::Relaxed) {
                let (agent, url, saved) = (agent.clone(), url.clone(), Arc::clone(&saved));
                let is_post = requests.len() % 2 == 1;
                requests.push(std::thread::spawn(move || {
                    let least = saved.load(Ordering::SeqCst);
                    let response =
                        if is_post { agent.post(&url).send("some body") } else { agent.get(&url).call() };
                    let answer = answer(response);
                    match version_in(&answer.body) {
                        Some(version) if answer.status == 200 && version >= least => Ok(()),
                        version => Err(format!(
                            "{} {version:?} after version {least} was saved: {:.300}",
                            answer.status, answer.body
                        )),
                    }
                }));
                next += REQUEST_INTERVAL;
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            requests
        });
        Self { over, sender }
    }

    /// Returns the number of requests, each of which must have been answered.
    fn end(self) -> usize {
        self.over.store(true, Ordering::Relaxed);
        let requests = self.sender.join().unwrap();
        let count = requests.len();
        let failed: Vec<String> =
            requests.into_iter().filter_map(|request| request.join().unwrap().err()).collect();
        assert!(failed.is_empty(), "{} of {count} requests failed: {failed:#?}", failed.len());
        count
    }
}

/// Returns the resident memory in KiB and the descriptors of front and zygote.
fn taken(devhost: &Devhost) -> (u64, usize) {
    let pids = [devhost.pid(), devhost.zygote_pid()];
    let descriptors = |pid: &i32| std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    (pids.into_iter().map(resident_kib).sum(), pids.iter().map(descriptors).sum())
}

/// Saves this many versions under load, each once the previous one is served.
fn reloads_lose_nothing(devhost: &Devhost, count: usize, save: impl Fn(usize)) {
    let saved = Arc::new(AtomicUsize::new(0));
    let load = Load::start(devhost, Arc::clone(&saved));
    let begun = Instant::now();
    let mut before = None;
    let mut times = Vec::new();
    for version in 1..=count {
        save(version);
        let since = Instant::now();
        saved.store(version, Ordering::SeqCst);
        while devhost.get("/").body != text(version) {
            assert!(since.elapsed() < SOON, "version {version} never came:\n{}", devhost.printed());
        }
        times.push(since.elapsed());
        if version == WARM_UP_COUNT {
            before = Some(taken(devhost));
        }
    }
    let requests = load.end();
    // The last of the old generations ends.
    devhost.wait_status(SOON, "drained", |status| status["workers"].as_array().unwrap().len() == 1);
    let (kib_before, descriptors_before) = before.expect("enough reloads to warm up");
    let (kib, descriptors) = taken(devhost);
    times.sort();
    eprintln!(
        "{count} reloads in {:?}, {requests} requests, none failed, none old; a reload took {:?} (median), {:?} (longest); \
         front and zygote: {kib_before} → {kib} KiB, {descriptors_before} → {descriptors} descriptors",
        begun.elapsed(),
        times[count / 2],
        times[count - 1],
    );
    assert!(kib <= kib_before + GROWTH_MAX_KIB, "they grew from {kib_before} to {kib} KiB");
    assert!(
        descriptors <= descriptors_before + DESCRIPTORS_MORE_COUNT_MAX,
        "they had {descriptors_before} descriptors, and have {descriptors}"
    );
}

fn of_a_plugin(count: usize) {
    let source = std::fs::read_to_string(repository().join("tests/fixtures/c_plugin/sockets.c")).unwrap();
    let plugin = Plugin::new("sockets.c");
    let devhost = plugin.start(&[]).ready();
    reloads_lose_nothing(&devhost, count, |version| {
        let changed = plugin.path().with_file_name("changed.c");
        std::fs::write(&changed, source.replace(&text(0), &text(version))).unwrap();
        let changed: &Path = &changed;
        compile_c(changed.to_str().unwrap(), &plugin.path());
    });
    assert!(devhost.stop().success());
}

fn of_a_plain_app(count: usize) {
    let _turn = cargo_turn();
    let app = PlainApp::trap("sockets");
    let devhost = app.start(&[]).ready();
    reloads_lose_nothing(&devhost, count, |version| {
        app.edit("traps/src/bin/sockets.rs", &text(version - 1), &text(version));
    });
    assert!(devhost.stop().success());
}

#[test]
fn fifteen_reloads_of_a_plugin_under_load_lose_nothing() {
    of_a_plugin(15);
}

#[test]
fn fifteen_reloads_of_a_plain_app_under_load_lose_nothing() {
    of_a_plain_app(15);
}

#[test]
#[ignore = "takes minutes"]
fn three_hundred_reloads_of_a_plugin_under_load_lose_nothing() {
    of_a_plugin(300);
}

#[test]
#[ignore = "takes many minutes"]
fn three_hundred_reloads_of_a_plain_app_under_load_lose_nothing() {
    of_a_plain_app(300);
}
