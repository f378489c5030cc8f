//! Pages and terminal tell the truth: about exits caused by devhost itself, stack overflows, other requests'
//! output, restored code, a great many errors, names that are not UTF-8.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;

use crate::plain::{AFTER, BEFORE, PlainApp};
use crate::support::{COLD_BUILD, Devhost, SOON, cargo_turn};

const ENDS_BADLY: &str = "traps/src/bin/ends_badly.rs";

/// Loads a page without waiting for the answer.
fn ask(devhost: &Devhost, path: &str) -> std::net::TcpStream {
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: localhost\r\naccept: text/html\r\nconnection: close\r\n\r\n");
    devhost.connect(request.as_bytes())
}

fn read(mut stream: std::net::TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer comes");
    answer
}

#[test]
fn a_stack_overflow_is_told_as_one_whichever_thread_it_was() {
    let _turn = cargo_turn();
    for strategy in ["fork", "restart"] {
        for (args, path, thread) in [
            (&["--on-the-main-thread"][..], "/overflow", "main"),
            (&[], "/overflow", "<unknown>"),
            (&[], "/overflow-named", "a-deep-thinker"),
        ] {
            let app = PlainApp::trap("ends_badly").with(&["--strategy", strategy]);
            let devhost = app.start(args).ready();
            let page = devhost.get_page(path);
            assert_eq!(page.status, 502, "{}", page.body);
            let shown = thread.replace('<', "&lt;").replace('>', "&gt;");
            for part in [
                "The app's stack overflowed".to_owned(),
                format!("Thread '{shown}' of the app has overflowed its stack (SIGABRT)"),
                "fatal runtime error: stack overflow".to_owned(),
            ] {
                assert!(page.body.contains(&part), "{strategy} {path} lacks {part:?}: {}", page.body);
            }
            devhost.wait_line(&format!("thread '{thread}' of the app has overflowed its stack"));
            let said = devhost.wait_line("has overflowed its stack");
            assert!(said.starts_with(&format!("thread '{thread}' (")), "{said}");
            // Other faults go to the previous handler, and do not count as one.
            devhost.wait_ready(2);
            let page = devhost.get_page("/segv");
            assert!(page.body.contains("SIGSEGV") && !page.body.contains("overflowed"), "{}", page.body);
            assert!(devhost.stop().success());
        }
    }
}

#[test]
fn a_crash_page_has_no_output_of_earlier_requests() {
    let _turn = cargo_turn();
    let app = PlainApp::trap("ends_badly");
    let devhost = app.start(&[]).ready();
    assert_eq!(devhost.get_page("/first").status, 200);
    let page = devhost.get_page("/abort");
    assert!(page.body.contains("SIGABRT") && page.body.contains("asked for /abort"), "{}", page.body);
    assert!(!page.body.contains("asked for /first"), "{}", page.body);
    assert!(devhost.stop().success());
}

#[test]
fn a_request_that_outlives_the_drain_is_told_that_newer_code_took_over() {
    let _turn = cargo_turn();
    for strategy in ["fork", "restart"] {
        let app = PlainApp::trap("ends_badly").with(&["--drain-ms", "200", "--strategy", strategy]);
        let devhost = app.start(&[]).ready();
        let slow = ask(&devhost, "/slow");
        devhost.wait_line("asked for /slow");
        app.edit(ENDS_BADLY, BEFORE, AFTER);
        let answer = read(slow);
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(answer.contains("The request was cut off") && answer.contains("--drain-ms"), "{answer}");
        assert!(!answer.contains("crash") && !answer.contains("SIG"), "{answer}");
        devhost.wait_line("a request in the old code of #1 had no answer yet when it was ended");
        devhost.wait_ready(2);
        assert!(!devhost.printed().contains("crashed:"), "{}", devhost.printed());
        assert!(devhost.stop().success());
    }
}

#[test]
fn a_request_that_is_cut_off_by_the_end_of_devhost_is_told_so() {
    let _turn = cargo_turn();
    let app = PlainApp::trap("ends_badly");
    let devhost = app.start(&[]).ready();
    let slow = ask(&devhost, "/slow");
    devhost.wait_line("asked for /slow");
    assert!(devhost.stop().success());
    let answer = read(slow);
    assert!(answer.contains("devhost is shutting down") && !answer.contains("SIG"), "{answer}");
}

#[test]
fn an_app_that_closes_what_is_not_its_own_is_not_said_to_be_out_of_memory() {
    let _turn = cargo_turn();
    let app = PlainApp::trap("ends_badly");
    let devhost = app.start(&[]).ready();
    let page = devhost.get_page("/close-everything");
    assert!(page.body.contains("had closed descriptors that are not its own"), "{}", page.body);
    assert!(!page.body.contains("SIGKILL"), "{}", page.body);
    devhost.wait_ready(2);
    assert!(devhost.stop().success());
}

#[test]
fn the_last_good_code_that_is_brought_back_has_not_crashed() {
    let _turn = cargo_turn();
    let app = PlainApp::trap("ends_badly").with(&["--no-overlap"]);
    let devhost = app.start(&[]).ready();
    app.edit(
        ENDS_BADLY,
        "let listener =",
        "std::process::exit(3);\n    #[allow(unreachable_code)]\n    let listener =",
    );
    devhost.wait_line("restarted #3 with the last good code");
    assert_eq!(devhost.get_page("/").generation(), 3);
    assert!(!devhost.printed().contains("crash"), "{}", devhost.printed());
    assert!(devhost.stop().success());
}

#[test]
fn twenty_thousand_errors_are_counted_and_some_are_shown() {
    /// For each of page, status document and event.
    const SIZE_MAX: usize = 2 * 1024 * 1024;
    let _turn = cargo_turn();
    let app = PlainApp::trap("ends_badly");
    let mistakes = "    let _: u8 = \"x\";\n".repeat(20_000);
    app.edit(ENDS_BADLY, "fn main()", &format!("fn mistaken() {{\n{mistakes}}}\n\nfn main()"));
    let devhost = app.start(&[]);
    let status = devhost.wait_status(COLD_BUILD, "failed", |status| status["state"] == "failed");
    assert!(status.to_string().len() < SIZE_MAX);
    assert_eq!(status["failure"]["left_out"]["errors"], 19_900, "{}", status["failure"]["left_out"]);
    assert_eq!(status["failure"]["diagnostics"].as_array().unwrap().len(), 100);
    let page = devhost.get_page("/");
    assert!(page.body.len() < SIZE_MAX, "{}", page.body.len());
    assert!(page.body.contains("failed with 20000 errors") && page.body.contains("and 19,900 more errors"));
    let printed = devhost.printed();
    assert!(printed.len() < SIZE_MAX && printed.contains("and 19,900 more errors"), "{}", printed.len());
    assert!(devhost.stop().success());
}

#[test]
fn a_changed_file_whose_name_is_no_utf_8_leaves_the_status_document_whole() {
    let _turn = cargo_turn();
    let app = PlainApp::trap("ends_badly");
    let file = app.path(".").join(OsStr::from_bytes(b"caf\xe9.env"));
    std::fs::write(&file, "GREETING=one\n").unwrap();
    let mut line = app.command_line();
    line.extend(["--port", "0", "--env-file"]);
    let devhost = Devhost::start_with(&app.path("."), &line, |command| {
        command.arg(&file);
    });
    devhost.wait_ready(1);
    std::fs::write(&file, "GREETING=two\n").unwrap();
    let status = devhost.wait_status(SOON, "reloaded", |status| status["generation"] == 2);
    let named = status["reloads"].to_string();
    assert!(named.contains("caf\u{fffd}.env"), "{named}");
    assert!(devhost.get_page("/__devhost/").body.contains("caf\u{fffd}.env"));
    assert!(devhost.stop().success());
}
