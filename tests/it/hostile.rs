//! Workers that write to their link what no correct one would, or are stopped or killed at any step: the
//! front still answers, the next request gets a worker, and nothing is left behind.

use std::io::Read;
use std::net::TcpStream;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::plain::PlainApp;
use crate::plugin::{Plugin, kill_9, touch};
use crate::support::{COLD_BUILD, Devhost, SOON, cargo_turn};

/// How long a worker may stall here, in milliseconds.
const STALL_MS: &str = "2000";

/// How many requests may fail after an act with late effects: the one that reveals them, and those that come
/// before the worker's end is known.
const FAILED_REQUESTS_COUNT_MAX: usize = 10;

struct Hostile {
    devhost: Devhost,
    _plugin: Plugin,
}

impl Hostile {
    fn start() -> Self {
        let plugin = Plugin::new("hostile.c");
        let devhost = plugin.start(&["--stall-ms", STALL_MS]).ready();
        Self { devhost, _plugin: plugin }
    }

    /// Sends a GET without waiting for the answer.
    fn send(&self, target: &str) -> TcpStream {
        self.devhost.connect(
            format!(
                "GET {target} HTTP/1.1\r\nhost: localhost\r\naccept: text/html\r\nconnection: close\r\n\r\n"
            )
            .as_bytes(),
        )
    }

    /// Returns everything received on a request's connection.
    fn get(&self, target: &str) -> String {
        rest(self.send(target))
    }

    /// Expects a serving worker, old or new.
    fn expect_service(&self, what: &str) {
        for _ in 0..FAILED_REQUESTS_COUNT_MAX {
            let answer = self.get("/");
            if answer.contains("still here") {
                assert!(answer.starts_with("HTTP/1.1 200"), "{what}: {answer}");
                return;
            }
            // A page, or a response cut off when the act was discovered.
            assert!(
                answer.starts_with("HTTP/1.1 502") || answer.starts_with("HTTP/1.1 200"),
                "{what}: {answer}"
            );
        }
        panic!("no worker serves after {what}:\n{}", self.devhost.printed());
    }

    fn expect_new_worker(&self, what: &str) {
        self.devhost.wait_ready(2);
        let answer = self.devhost.get("/");
        assert_eq!(
            (answer.status, answer.body.as_str(), answer.generation()),
            (200, "still here", 2),
            "{what}"
        );
    }

    fn stop(self, what: &str) {
        assert!(self.devhost.stop().success(), "{what}");
    }
}

fn rest(mut connection: TcpStream) -> String {
    let mut bytes = Vec::new();
    match connection.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the client was left alone: {error}"),
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn a_worker_that_breaks_a_rule_is_replaced_and_its_client_told_which() {
    for (deed, told) in [
        ("/back", "out of bounds"),
        ("/ahead", "out of bounds"),
        ("/far", "out of bounds"),
        ("/between", "out of bounds"),
        ("/read-back", "out of bounds"),
        ("/read-ahead", "out of bounds"),
        ("/unknown", "was the last one opened"),
        ("/unasked", "from the wrong side"),
    ] {
        let hostile = Hostile::start();
        // So that the worker has read something.
        hostile.expect_service(deed);
        let page = hostile.get(deed);
        assert!(page.starts_with("HTTP/1.1 502"), "{deed}: {page}");
        assert!(page.contains(told) && page.contains("corrupted its link"), "{deed}: {page}");
        hostile.expect_new_worker(deed);
        hostile.stop(deed);
    }
}

#[test]
fn a_response_that_breaks_a_rule_is_cut_off_and_never_looks_whole() {
    for deed in ["/repeat", "/overrun"] {
        let hostile = Hostile::start();
        let page = hostile.get(deed);
        assert!(!page.ends_with("0\r\n\r\n"), "{deed}: {page}");
        hostile.expect_new_worker(deed);
        assert!(hostile.devhost.printed().contains("corrupted its link"), "{deed}");
        hostile.stop(deed);
    }
}

#[test]
fn random_bytes_in_the_region_cost_at_most_the_worker() {
    for deed in ["/random", "/words", "/frames"] {
        for seed in 1..=4 {
            let deed = format!("{deed}?{seed}");
            let hostile = Hostile::start();
            let victim = hostile.send(&deed);
            hostile.expect_service(&deed);
            // If the worker was left alive, nobody answers.
            drop(victim);
            hostile.stop(&deed);
        }
    }
}

#[test]
fn a_worker_that_says_it_is_closing_is_replaced() {
    let hostile = Hostile::start();
    let page = hostile.get("/closing");
    assert!(page.starts_with("HTTP/1.1 502"), "{page}");
    hostile.stop("/closing");
}

#[test]
fn a_worker_that_wakes_nobody_is_heard_all_the_same() {
    let hostile = Hostile::start();
    let answer = hostile.get("/silent");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    hostile.stop("/silent");
}

#[test]
fn a_worker_that_wakes_without_end_is_replaced() {
    let hostile = Hostile::start();
    let first = hostile.devhost.worker_pid();
    hostile.get("/storm");
    hostile.devhost.wait_ready(2);
    assert_ne!(hostile.devhost.worker_pid(), first);
    assert!(hostile.devhost.printed().contains("in a row for nothing"), "{}", hostile.devhost.printed());
    hostile.expect_service("/storm");
    hostile.stop("/storm");
}

#[test]
fn a_worker_that_returns_no_credit_holds_up_its_own_request_alone() {
    let hostile = Hostile::start();
    let endless = hostile
        .devhost
        .connect(b"POST /keep HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n10000\r\n");
    let answer = hostile.devhost.post("/keep", "text/plain", &vec![b'k'; 3_000_000]);
    assert_eq!((answer.status, answer.body.as_str()), (200, "kept"));
    let answer = hostile.devhost.get("/");
    assert_eq!((answer.status, answer.generation()), (200, 1));
    drop(endless);
    hostile.stop("/keep");
}

#[test]
fn a_worker_that_never_looks_at_its_link_is_replaced() {
    let hostile = Hostile::start();
    let deaf = hostile.send("/deaf");
    hostile.devhost.wait_line("deaf from now on");
    let page = hostile.get("/");
    assert!(page.starts_with("HTTP/1.1 502") && page.contains("had not looked at its requests"), "{page}");
    assert!(rest(deaf).contains("stopped responding"));
    hostile.expect_new_worker("/deaf");
    hostile.stop("/deaf");
}

/// The steps at which the fixture sends itself a signal, and whether the client has received a head by then.
const STEPS: [(&str, bool); 5] =
    [("written", false), ("published", true), ("rung", true), ("body", true), ("torn", true)];

#[test]
fn a_worker_that_is_killed_at_any_step_of_a_frame_is_replaced() {
    for (step, has_head) in STEPS {
        for signal in [Signal::SIGKILL, Signal::SIGABRT] {
            let hostile = Hostile::start();
            let answer = hostile.get(&format!("/at?{step}={}", signal as i32));
            if has_head {
                assert!(answer.starts_with("HTTP/1.1 200"), "{step}: {answer}");
                assert!(!answer.ends_with("0\r\n\r\n"), "{step}: {answer}");
            } else {
                assert!(answer.starts_with("HTTP/1.1 502"), "{step}: {answer}");
                assert!(answer.contains(signal.as_str()), "{step}: {answer}");
            }
            hostile.expect_new_worker(step);
            hostile.stop(step);
        }
    }
}

#[test]
fn a_worker_that_is_stopped_at_any_step_of_a_frame_is_replaced() {
    for (step, has_head) in STEPS {
        let hostile = Hostile::start();
        let answer = hostile.get(&format!("/at?{step}={}", Signal::SIGSTOP as i32));
        if has_head {
            assert!(answer.starts_with("HTTP/1.1 200"), "{step}: {answer}");
            assert!(!answer.ends_with("0\r\n\r\n"), "{step}: {answer}");
        } else {
            assert!(
                answer.starts_with("HTTP/1.1 502") && answer.contains("stopped responding"),
                "{step}: {answer}"
            );
        }
        hostile.expect_new_worker(step);
        hostile.stop(step);
    }
}

#[test]
fn a_worker_that_is_stopped_from_outside_answers_when_it_goes_on_in_time() {
    let hostile = Hostile::start();
    let worker = Pid::from_raw(hostile.devhost.worker_pid());
    kill(worker, Signal::SIGSTOP).unwrap();
    let waiting = hostile.send("/");
    kill(worker, Signal::SIGCONT).unwrap();
    assert!(rest(waiting).contains("still here"));
    kill(worker, Signal::SIGSTOP).unwrap();
    let page = hostile.get("/");
    assert!(page.starts_with("HTTP/1.1 502") && page.contains("SIGSTOP"), "{page}");
    hostile.expect_new_worker("SIGSTOP");
    // A stopped idle worker delays nobody, not even the end.
    let worker = Pid::from_raw(hostile.devhost.worker_pid());
    kill(worker, Signal::SIGSTOP).unwrap();
    hostile.devhost.wait_status(SOON, "serving", |status| status["state"] == "ready");
    hostile.stop("SIGSTOP");
}

/// Stops the launcher, and expects the next generation from another one.
fn a_stopped_parent_of_workers_is_replaced(devhost: &Devhost, name: &str, edit: impl FnOnce()) {
    let stopped = devhost.zygote_pid();
    kill(Pid::from_raw(stopped), Signal::SIGSTOP).unwrap();
    // Its workers keep serving.
    assert_eq!(devhost.get("/pid").generation(), 1);
    edit();
    devhost.wait_ready(2);
    devhost.wait_line(&format!("the {name} stands still: a signal (SIGSTOP"));
    // The stopped one's number is not reused.
    let answer = devhost.get("/pid");
    let second = answer.generation();
    assert!(answer.status == 200 && second >= 2, "{second}: {}", answer.body);
    assert_ne!(devhost.zygote_pid(), stopped);
    // The old generation ends without its help, then it ends itself.
    devhost.wait_status(SOON, "drained", |status| {
        status["workers"].as_array().unwrap().len() == 1
            && !std::path::Path::new(&format!("/proc/{stopped}")).exists()
    });
    // A worker that dies meanwhile is noticed all the same.
    kill(Pid::from_raw(devhost.zygote_pid()), Signal::SIGSTOP).unwrap();
    kill_9(devhost.worker_pid());
    let answer = devhost.get("/pid");
    assert!(answer.status == 200 && answer.generation() > second, "{}", answer.body);
    // And one that is stopped when devhost ends delays nothing.
    kill(Pid::from_raw(devhost.zygote_pid()), Signal::SIGSTOP).unwrap();
}

#[test]
fn a_zygote_that_is_stopped_is_replaced_and_its_workers_serve_on() {
    let plugin = Plugin::new("plugin.c");
    let devhost = plugin.start(&[]).ready();
    a_stopped_parent_of_workers_is_replaced(&devhost, "zygote", || touch(&plugin.path(), 7));
    assert!(devhost.stop().success());
}

#[test]
fn a_keeper_that_is_stopped_is_replaced_and_its_programs_serve_on() {
    let _turn = cargo_turn();
    let app = PlainApp::trap("tells_its_pid").with(&["--strategy", "restart"]);
    let devhost = app.start(&[]);
    devhost.wait_status(COLD_BUILD, "ready", |status| status["state"] == "ready");
    a_stopped_parent_of_workers_is_replaced(&devhost, "keeper", || {
        app.edit("traps/src/bin/tells_its_pid.rs", "Before the edit", "After the edit");
    });
    assert!(devhost.stop().success());
}
