//! `--workers`: one generation in several processes, for plugin and plain apps.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::plain::{AFTER, BEFORE, PlainApp};
use crate::plugin::{Plugin, kill_9, touch};
use crate::support::{COLD_BUILD, Devhost, SOON, answer, cargo_turn, client};

const WORKERS: usize = 3;

/// How many clients send requests without a pause.
const CLIENTS: usize = 4;

fn plugin() -> (Plugin, Devhost) {
    let plugin = Plugin::new("plugin.c");
    let devhost = plugin.start(&["--workers", "3"]).ready();
    (plugin, devhost)
}

fn plain() -> (PlainApp, Devhost) {
    let app = PlainApp::trap("tells_its_pid").with(&["--workers", "3"]);
    let devhost = app.start(&[]).ready();
    (app, devhost)
}

/// Returns the workers in the status document.
fn listed(status: &serde_json::Value) -> BTreeSet<i64> {
    status["workers"].as_array().unwrap().iter().map(|worker| worker["pid"].as_i64().unwrap()).collect()
}

/// Returns the workers once all run and none drains.
fn wait_for_all(devhost: &Devhost, but: i64) -> BTreeSet<i64> {
    let status = devhost.wait_status(SOON, "all workers", |status| {
        let workers = status["workers"].as_array().unwrap();
        workers.len() == WORKERS
            && workers.iter().all(|worker| worker["draining"] == false)
            && !listed(status).contains(&but)
    });
    listed(&status)
}

/// Returns the process that answered.
fn pid_in(body: &str) -> i64 {
    let (_, after) = body.split_once("process ").unwrap_or_else(|| panic!("no process in {body:?}"));
    after.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

/// Returns the processes that answer this many requests, one after the other.
fn ask(devhost: &Devhost, count: usize) -> Vec<i64> {
    let one = |_| {
        let answer = devhost.get("/pid");
        assert_eq!(answer.status, 200, "{}", answer.body);
        pid_in(&answer.body)
    };
    (0..count).map(one).collect()
}

#[derive(Debug)]
struct Got {
    status: u16,
    generation: u64,
    body: String,
}

/// Clients that send requests without a pause.
struct Load {
    over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Vec<Got>>>,
}

impl Load {
    fn start(devhost: &Devhost) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let one = |_| {
            let (over, url) = (Arc::clone(&over), format!("{}/pid", devhost.url));
            std::thread::spawn(move || {
                let (client, mut got) = (client(), Vec::new());
                while !over.load(Ordering::Relaxed) {
                    let answer = answer(client.get(&url).call());
                    got.push(Got {
                        status: answer.status,
                        generation: answer.generation(),
                        body: answer.body,
                    });
                }
                got
            })
        };
        let clients = (0..CLIENTS).map(one).collect();
        Self { over, clients }
    }

    /// Returns each client's answers.
    fn end(self) -> Vec<Vec<Got>> {
        self.over.store(true, Ordering::Relaxed);
        self.clients.into_iter().map(|client| client.join().unwrap()).collect()
    }
}

fn each_worker_gets_requests(devhost: &Devhost) {
    let workers = wait_for_all(devhost, 0);
    let answered: BTreeSet<i64> = ask(devhost, WORKERS).into_iter().collect();
    assert_eq!(answered, workers, "each has its turn");
}

fn a_reload_under_load_loses_nothing(devhost: &Devhost, generation: u64, reload: impl FnOnce()) {
    let before = wait_for_all(devhost, 0);
    let load = Load::start(devhost);
    reload();
    devhost.wait_ready(generation);
    let after = devhost.wait_status(COLD_BUILD, "drained", |status| {
        let workers = status["workers"].as_array().unwrap();
        workers.len() == WORKERS && workers.iter().all(|worker| worker["generation"] == generation)
    });
    assert!(before.is_disjoint(&listed(&after)), "a new generation is new processes");
    for client in load.end() {
        let failed = client.iter().find(|got| got.status != 200);
        assert!(failed.is_none(), "{failed:?}");
        assert!(client.is_sorted_by_key(|got| got.generation), "old code came after new");
    }
    each_worker_gets_requests(devhost);
}

fn a_killed_worker_is_replaced_while_the_others_serve(devhost: &Devhost) {
    let before = wait_for_all(devhost, 0);
    let killed = *before.first().unwrap();
    let generation = devhost.status()["generation"].clone();
    let load = Load::start(devhost);
    kill_9(i32::try_from(killed).unwrap());
    devhost.wait_status(SOON, "noticed", |status| !listed(status).contains(&killed));
    // Somebody answers, whether or not the new one is there.
    assert!(!ask(devhost, 2 * WORKERS).contains(&killed));
    let after = wait_for_all(devhost, killed);
    assert_eq!(before.intersection(&after).count(), WORKERS - 1, "the others live on");
    let status = devhost.wait_status(SOON, "ready", |status| status["state"] == "ready");
    assert_eq!(status["generation"], generation, "it is the same generation");
    assert!(devhost.printed().contains("crashed:"), "{}", devhost.printed());
    let new = *after.difference(&before).next().unwrap();
    devhost.wait_status(SOON, "joined", |_| ask(devhost, WORKERS).contains(&new));
    let got = load.end();
    // Only the killed worker's requests fail.
    let failed = got.iter().flatten().filter(|got| got.status != 200).count();
    assert!(failed <= CLIENTS, "{failed} requests failed");
    assert!(
        got.iter()
            .flatten()
            .filter(|got| got.status == 200)
            .all(|got| before.contains(&pid_in(&got.body)) || pid_in(&got.body) == new)
    );
}

fn a_request_under_way_keeps_its_worker_and_the_next_ones_go_to_the_others(devhost: &Devhost) {
    let workers = wait_for_all(devhost, 0);
    let mut echo = devhost.connect(b"POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: 6\r\n\r\nabc");
    let mut got = Vec::new();
    let mut read_until = |echo: &mut std::net::TcpStream, end: &str| {
        while !String::from_utf8_lossy(&got).contains(end) {
            let mut piece = [0; 1024];
            let length = echo.read(&mut piece).expect("more of the echo");
            assert_ne!(length, 0, "cut off: {:?}", String::from_utf8_lossy(&got));
            got.extend_from_slice(&piece[..length]);
        }
    };
    read_until(&mut echo, "abc");
    let others: BTreeSet<i64> = ask(devhost, 2 * WORKERS).into_iter().collect();
    assert_eq!(others.len(), WORKERS - 1, "all but the busy one");
    assert!(others.is_subset(&workers));
    for other in &others {
        kill_9(i32::try_from(*other).unwrap());
    }
    devhost.wait_status(SOON, "noticed", |status| listed(status).is_disjoint(&others));
    echo.write_all(b"def").unwrap();
    read_until(&mut echo, "def");
}

#[test]
fn a_plugin_apps_workers_share_the_requests_and_replace_each_other() {
    let (plugin, devhost) = plugin();
    each_worker_gets_requests(&devhost);
    for generation in 2..6u32 {
        a_reload_under_load_loses_nothing(&devhost, generation.into(), || touch(&plugin.path(), generation));
    }
    a_killed_worker_is_replaced_while_the_others_serve(&devhost);
    a_request_under_way_keeps_its_worker_and_the_next_ones_go_to_the_others(&devhost);
    assert!(devhost.stop().success());
}

#[test]
fn a_plain_apps_workers_share_the_requests_and_replace_each_other() {
    let _turn = cargo_turn();
    let (app, devhost) = plain();
    each_worker_gets_requests(&devhost);
    a_reload_under_load_loses_nothing(&devhost, 2, || {
        app.edit("traps/src/bin/tells_its_pid.rs", BEFORE, AFTER);
    });
    assert!(devhost.get("/").body.contains(AFTER));
    a_killed_worker_is_replaced_while_the_others_serve(&devhost);
    assert!(devhost.stop().success());
}

#[test]
fn where_all_workers_are_gone_others_come() {
    let (_plugin, devhost) = plugin();
    let killed = wait_for_all(&devhost, 0);
    for pid in &killed {
        kill_9(i32::try_from(*pid).unwrap());
    }
    devhost.wait_status(SOON, "served by others", |status| {
        let now = listed(status);
        status["state"] == "ready" && now.len() == WORKERS && now.is_disjoint(&killed)
    });
    devhost.wait_status(SOON, "answered by each", |status| {
        ask(&devhost, WORKERS).into_iter().collect::<BTreeSet<_>>() == listed(status)
    });
    assert!(devhost.stop().success());
}

#[test]
fn a_killed_front_leaves_no_worker() {
    let (_plugin, devhost) = plugin();
    wait_for_all(&devhost, 0);
    devhost.kill_9();
}

#[test]
fn an_app_that_can_run_only_once_is_told_of_one_worker() {
    let _turn = cargo_turn();
    let app = PlainApp::trap("locks_a_file").with(&["--workers", "2"]);
    let lock = app.path("lock");
    let devhost = app.start(&[lock.to_str().unwrap()]);
    devhost.wait_status(COLD_BUILD, "failed", |status| status["state"] == "failed");
    let page = devhost.get_page("/");
    assert!(page.status >= 500 && page.body.contains("--workers 1"), "{}", page.body);
    assert!(
        page.body.contains("database is locked"),
        "the page has the output of the one that failed: {}",
        page.body
    );
    devhost.wait_status(SOON, "all ended", |status| status["workers"].as_array().unwrap().is_empty());
    assert!(devhost.stop().success());
}

/// Requests that try every way to a worker: on a kept connection, on a fresh one, with a body.
const IDLE_DEATH_REQUESTS: [&str; 3] = [
    "GET /pid HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
    "POST /echo HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
    "POST /echo HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 4\r\n\r\nbody",
];

/// Kills the idle workers, each time in another way, and expects no request to notice.
fn no_request_sees_an_idle_worker_die(devhost: &Devhost, workers: usize) {
    // devhost gives up after five crashes in a row of each worker.
    for (round, is_stopped_first) in [(0, false), (1, true), (2, false), (3, true)] {
        // To have a kept connection.
        assert_eq!(devhost.get("/pid").status, 200);
        let status = devhost.wait_status(SOON, "all workers", |status| listed(status).len() == workers);
        let pids: Vec<_> = listed(&status).into_iter().map(|pid| i32::try_from(pid).unwrap()).collect();
        if is_stopped_first {
            pids.iter().for_each(|pid| kill(Pid::from_raw(*pid), Signal::SIGSTOP).unwrap());
        } else {
            pids.iter().for_each(|pid| kill_9(*pid));
        }
        let sent: Vec<_> =
            IDLE_DEATH_REQUESTS.iter().map(|request| devhost.connect(request.as_bytes())).collect();
        if is_stopped_first {
            pids.iter().for_each(|pid| kill_9(*pid));
        }
        for (mut connection, request) in sent.into_iter().zip(IDLE_DEATH_REQUESTS) {
            let mut answer = String::new();
            connection.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "round {round}, {request:?}: {answer}");
            assert!(!request.ends_with("body") || answer.contains("body"), "round {round}: {answer}");
        }
    }
}

#[test]
fn no_request_sees_an_idle_plugin_worker_die() {
    for workers in ["1", "3"] {
        let plugin = Plugin::new("plugin.c");
        let devhost = plugin.start(&["--workers", workers]).ready();
        no_request_sees_an_idle_worker_die(&devhost, workers.parse().unwrap());
        assert!(devhost.stop().success());
    }
}

#[test]
fn no_request_sees_an_idle_plain_worker_die() {
    let _turn = cargo_turn();
    for workers in ["1", "3"] {
        let app = PlainApp::trap("tells_its_pid").with(&["--workers", workers]);
        let devhost = app.start(&[]).ready();
        no_request_sees_an_idle_worker_die(&devhost, workers.parse().unwrap());
        assert!(devhost.stop().success());
    }
}
