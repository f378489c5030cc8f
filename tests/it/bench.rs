//! `devhost bench` from outside, on apps small enough to build quickly.

use std::path::{Path, PathBuf};
use std::process::Output;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{
    COLD_BUILD, ExampleApp, Running, cargo_turn, repository, run_to_end, run_to_end_within, scratch,
};

/// A plain app in its own workspace, with a path dependency outside it.
struct App(tempfile::TempDir);

const MAIN: &str = r#"fn main() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    page::serve(listener, |_| String::from("A heading for people"))
}
"#;

impl App {
    fn new(main: &str) -> Self {
        let dir = scratch();
        let page = repository().join("tests/fixtures/plain/page");
        let up = "../".repeat(dir.path().components().count() - 1);
        let page = Path::new(&up).join(page.strip_prefix("/").unwrap());
        let manifest = format!(
            "[package]\nname = \"small\"\nedition = \"2024\"\n\n[dependencies]\npage = {{ path = {page:?} }}\n\n[workspace]\n"
        );
        std::fs::create_dir(dir.path().join("src")).unwrap();
        std::fs::write(dir.path().join("Cargo.toml"), manifest).unwrap();
        std::fs::write(dir.path().join("src/main.rs"), main).unwrap();
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn bench(&self, args: &[&str]) -> (Output, Value) {
        bench(self.0.path(), args)
    }
}

/// Runs a bench to its end. Returns its output and the document.
fn bench(cwd: &Path, args: &[&str]) -> (Output, Value) {
    let args: Vec<&str> = ["bench", "--json", "-"].iter().chain(args).copied().collect();
    let output = run_to_end_within(COLD_BUILD, cwd, &args, |_| {});
    let report = serde_json::from_slice(&output.stdout);
    let report = report.unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (output, report)
}

fn result<'r>(report: &'r Value, strategy: &str) -> &'r Value {
    let results = report["strategies"].as_array().unwrap();
    let found = results.iter().find(|result| result["strategy"] == strategy);
    found.unwrap_or_else(|| panic!("no {strategy} in {report:#}"))
}

/// Checks what must hold for every reload. Returns the names of its steps.
fn check(reload: &Value) -> Vec<&str> {
    let total = reload["total_ms"].as_f64().unwrap();
    let steps = reload["steps"].as_array().unwrap();
    let sum: f64 = steps.iter().map(|step| step["duration_ms"].as_f64().unwrap()).sum();
    assert!(total > 0.0 && sum >= total - 1.0, "{reload:#}");
    let memory = |name: &str| reload.pointer(&format!("/memory/{name}")).and_then(Value::as_u64).unwrap();
    assert!(memory("rss_bytes") >= memory("pss_bytes") && memory("private_dirty_bytes") > 0, "{reload:#}");
    let requests = &reload["requests"];
    assert!(requests["sent_count"].as_u64() > Some(0), "{reload:#}");
    assert!(requests["failed_count"].as_u64() <= requests["sent_count"].as_u64());
    assert!(reload["cpu_ms"].as_f64() > Some(0.0), "{reload:#}");
    steps.iter().map(|step| step["name"].as_str().unwrap()).collect()
}

#[test]
fn an_unknown_strategy_is_a_mistake_that_lists_those_there_are() {
    let output = run_to_end(&repository(), &["bench", "--strategies", "fork,teleport"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    for part in ["teleport", "inprocess", "fork-no-preload", "spawn", "restart", "watchexec", "dx"] {
        assert!(error.contains(part), "{part} in {error}");
    }
}

#[test]
fn a_file_that_cannot_be_written_is_known_before_anything_is_built() {
    let app = App::new(MAIN);
    let missing = app.path("missing/report.html");
    let args = ["bench", "--json", "report.json", "--html", missing.to_str().unwrap()];
    let output = run_to_end(app.0.path(), &args);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("missing/report.html") && error.contains("--html"), "{error}");
    assert!(!app.path("target").exists(), "something was built");
    assert!(!app.path("report.json").exists(), "an empty file is left");
    let output = run_to_end(app.0.path(), &["bench", "--json", "-", "--csv", "-"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_plain_app_is_measured_and_what_needs_a_plugin_is_named() {
    let app = App::new(MAIN);
    let (output, report) = app.bench(&[
        "--reloads=2",
        "--strategies=inprocess,fork,fork-no-preload,spawn,restart,restart-line-tables",
        "--no-fork-cost",
        "--no-artifacts",
    ]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(report["is_complete"], true);
    assert_eq!(report["settings"]["edited_file"], "src/main.rs");
    let skipped = report["skipped"].as_array().unwrap();
    assert_eq!(skipped.len(), 1, "{skipped:?}");
    assert_eq!(skipped[0]["name"], "inprocess");
    assert!(skipped[0]["reason"].as_str().unwrap().contains("no plugin app"));
    for (strategy, steps) in [
        ("fork", &["notice", "build", "fork", "load", "start", "first-response", "other"][..]),
        ("fork-no-preload", &["notice", "build", "fork", "load", "start", "first-response", "other"]),
        ("spawn", &["notice", "build", "exec", "load", "start", "first-response", "other"]),
        ("restart", &["build", "stop", "exec", "start", "first-response"]),
        ("restart-line-tables", &["build", "stop", "exec", "start", "first-response"]),
    ] {
        let result = result(&report, strategy);
        let reloads = result["reloads"].as_array().unwrap();
        assert!(result["failure"].is_null() && reloads.len() == 2, "{result:#}");
        for reload in reloads {
            assert_eq!(check(reload), steps);
        }
    }
    let failed = |strategy: &str| -> u64 {
        let reloads = result(&report, strategy)["reloads"].as_array().unwrap();
        reloads.iter().filter_map(|reload| reload["requests"]["failed_count"].as_u64()).sum()
    };
    assert_eq!(failed("fork"), 0, "{report:#}");
    // The user's own files are unchanged.
    assert_eq!(std::fs::read_to_string(app.path("src/main.rs")).unwrap(), MAIN);
    assert!(!app.path("target/debug").exists());
}

#[test]
fn bare_rustc_calls_are_measured_although_nothing_serves() {
    let app = App::new(MAIN);
    let args = ["--reloads=2", "--strategies=rustc", "--no-fork-cost", "--no-artifacts"];
    let output = run_to_end_within(COLD_BUILD, app.0.path(), &[&["bench"][..], &args].concat(), |_| {});
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("`rustc` serves nothing") && error.contains("--edit"), "{error}");
    // The second run reuses the first one's recorded calls for what it need not build.
    let (output, report) = app.bench(&[&args[..], &["--edit=src/main.rs:A heading"]].concat());
    assert!(output.status.success(), "{output:?}");
    let result = result(&report, "rustc");
    let reloads = result["reloads"].as_array().unwrap();
    assert!(result["failure"].is_null() && reloads.len() == 2, "{result:#}");
    for reload in reloads {
        let steps = reload["steps"].as_array().unwrap();
        assert_eq!((steps.len(), &steps[0]["name"]), (1, &Value::from("build")), "{reload:#}");
        assert_eq!(steps[0]["duration_ms"], reload["total_ms"]);
        let parts = steps[0]["parts"].as_array().unwrap();
        assert_eq!((parts.len(), &parts[0]["name"]), (1, &Value::from("small")), "{reload:#}");
        assert!(reload["memory"].is_null() && reload["cpu_ms"].as_f64() > Some(0.0), "{reload:#}");
        assert_eq!(reload["requests"]["sent_count"], 0);
    }
    assert_eq!(std::fs::read_to_string(app.path("src/main.rs")).unwrap(), MAIN);
}

#[test]
fn a_plugin_app_is_exchanged_within_its_process() {
    let _turn = cargo_turn();
    let app = ExampleApp::new();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("apps");
    let (output, report) = bench(
        app.dir.path(),
        &[
            "example_app",
            "--reloads=2",
            "--strategies=inprocess,fork",
            "--no-fork-cost",
            "--no-artifacts",
            "--target-dir",
            target.to_str().unwrap(),
        ],
    );
    assert!(output.status.success(), "{output:?}");
    for (strategy, steps) in [
        ("inprocess", &["notice", "build", "load", "start", "first-response", "other"][..]),
        ("fork", &["notice", "build", "fork", "load", "start", "first-response", "other"]),
    ] {
        let result = result(&report, strategy);
        let reloads = result["reloads"].as_array().unwrap();
        assert!(result["failure"].is_null() && reloads.len() == 2, "{result:#}");
        for reload in reloads {
            assert_eq!(check(reload), steps);
            assert_eq!(reload["requests"]["failed_count"], 0, "{reload:#}");
            assert!(reload["requests"]["held_count"].as_u64() > Some(0), "{reload:#}");
        }
    }
}

/// A stand-in for `watchexec`: reruns what follows `--` whenever a source is newer.
const WATCHEXEC: &str = r#"#!/bin/sh
if [ "$1" = --version ]; then echo "watchexec 0.0.0-test"; exit; fi
while [ "$1" != -- ]; do
    if [ "$1" = --watch ]; then watched="$2"; fi
    shift
done
shift
stamp="${CARGO_TARGET_DIR}/stamp"
mkdir -p "${CARGO_TARGET_DIR}"
while :; do
    touch "$stamp"
    "$@" &
    while [ -z "$(find "$watched" -newer "$stamp" -name '*.rs')" ]; do sleep 0.05; done
    kill $!
    wait $!
done
"#;

#[test]
fn an_outside_tool_is_driven_and_one_that_is_missing_is_named() {
    use std::os::unix::fs::PermissionsExt as _;
    let app = App::new(MAIN);
    let tools = scratch();
    let tool = tools.path().join("watchexec");
    std::fs::write(&tool, WATCHEXEC).unwrap();
    std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap();
    let args =
        ["bench", "--json=-", "--reloads=1", "--strategies=watchexec,dx", "--no-fork-cost", "--no-artifacts"];
    let output = run_to_end_within(COLD_BUILD, app.0.path(), &args, |command| {
        command.env("PATH", format!("{}:{path}", tools.path().display()));
    });
    assert!(output.status.success(), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["machine"]["tools"][0][1], "watchexec 0.0.0-test");
    assert_eq!(report["skipped"][0]["name"], "dx");
    let result = result(&report, "watchexec");
    assert_eq!(result["reloads"].as_array().unwrap().len(), 1, "{result:#}");
    assert!(result["reloads"][0]["memory"]["rss_bytes"].as_u64() > Some(0), "{result:#}");
}

#[test]
fn an_app_that_crashes_in_one_strategy_is_measured_in_the_others() {
    let app = App::new(
        r#"fn main() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let program = std::env::current_exe().unwrap();
    if program.file_name().unwrap() != "small" {
        eprintln!("this is not my program");
        std::process::abort();
    }
    page::serve(listener, |_| String::from("A heading for people"))
}
"#,
    );
    let (output, report) =
        app.bench(&["--reloads=1", "--strategies=fork,restart", "--no-fork-cost", "--no-artifacts"]);
    assert!(output.status.success(), "{output:?}");
    let failure = result(&report, "fork")["failure"].as_str().unwrap();
    assert!(failure.contains("this is not my program"), "{failure}");
    assert_eq!(result(&report, "restart")["reloads"].as_array().unwrap().len(), 1);
    assert_eq!(report["is_complete"], true);
}

#[test]
fn a_text_that_never_shows_is_a_mistake_that_says_how_to_name_one() {
    let app = App::new(
        r#"fn main() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    page::serve(listener, |_| std::process::id().to_string())
}
"#,
    );
    let args = ["bench", "--strategies=restart", "--no-fork-cost", "--no-artifacts"];
    let output = run_to_end_within(COLD_BUILD, app.0.path(), &args, |_| {});
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("--edit") && error.contains("--url-path"), "{error}");
}

#[test]
fn a_cancelled_bench_keeps_what_it_has_and_leaves_nothing() {
    let app = App::new(MAIN);
    let file = app.path("report.json");
    let bench = Running::start(
        app.0.path(),
        &["bench", "--reloads=5000", "--strategies=fork,restart", "--json", file.to_str().unwrap()],
    );
    bench.wait_line("reload 3 of 5000");
    let status = bench.end_by(Signal::SIGINT);
    assert_eq!(status.code(), Some(130));
    let report: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!(report["is_complete"], false);
    for strategy in ["fork", "restart"] {
        let reloads = result(&report, strategy)["reloads"].as_array().unwrap();
        assert!((1..=3).contains(&reloads.len()), "{reloads:?}");
    }
    assert_eq!(report["fork_costs"].as_array().unwrap().len(), 0);
}

#[test]
fn a_bench_that_is_killed_leaves_no_process() {
    let app = App::new(MAIN);
    let bench = Running::start(app.0.path(), &["bench", "--reloads=5000", "--strategies=fork,restart"]);
    bench.wait_line("reload 1 of 5000");
    bench.end_by(Signal::SIGKILL);
}
