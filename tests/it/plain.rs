//! Plain apps: unmodified binaries of `tests/fixtures/plain`, one per framework and one per habit of apps
//! that a development server can trip over.
//!
//! Most frameworks take a minute to compile, so their tests are ignored by default:
//! `cargo test --test it plain -- --include-ignored`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{
    COLD_BUILD, Devhost, SOON, answer, cargo_turn, copy_tree, repository, run_to_end, scratch,
};

/// What each fixture shows until a test edits it.
pub(crate) const BEFORE: &str = "Before the edit";
pub(crate) const AFTER: &str = "After the edit";

/// Large enough to fill every buffer on the way.
const ECHO_LEN: usize = 400_000;

/// A copy of the fixtures' workspace, and the command line for one of its apps.
pub(crate) struct PlainApp {
    dir: tempfile::TempDir,
    args: Vec<String>,
}

impl PlainApp {
    /// The app of the package in this directory of the workspace.
    pub(crate) fn new(package: &str) -> Self {
        let dir = scratch();
        copy_tree(&repository().join("tests/fixtures/plain"), dir.path());
        Self { dir, args: vec![package.to_owned()] }
    }

    /// One of the binaries in `traps`.
    pub(crate) fn trap(name: &str) -> Self {
        Self::new("traps").with(&["--bin", name])
    }

    pub(crate) fn with(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.dir.path().join(relative)
    }

    /// Replaces text in a file as most editors do: by renaming a temporary file over it.
    pub(crate) fn edit(&self, relative: &str, from: &str, to: &str) {
        let path = self.path(relative);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{relative} has no {from:?}");
        let temporary = path.with_file_name(".edited.tmp~");
        std::fs::write(&temporary, text.replacen(from, to, 1)).unwrap();
        std::fs::rename(temporary, path).unwrap();
    }

    pub(crate) fn command_line(&self) -> Vec<&str> {
        let mut line = vec!["run", "--target-dir", concat!(env!("CARGO_TARGET_TMPDIR"), "/apps")];
        line.extend(self.args.iter().map(String::as_str));
        line
    }

    /// Starts it on a port of devhost's choice, with these arguments for the app.
    pub(crate) fn start(&self, app_args: &[&str]) -> Devhost {
        let mut line = self.command_line();
        line.extend(["--port", "0", "--"]);
        line.extend(app_args);
        Devhost::start(self.dir.path(), &line)
    }

    /// Returns all files of the workspace with their content.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        files_below(self.dir.path())
    }
}

fn files_below(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let kind = entry.file_type().unwrap();
        if kind.is_symlink() {
            continue;
        }
        if kind.is_dir() {
            found.extend(files_below(&entry.path()));
        } else {
            found.insert(entry.path(), std::fs::read(entry.path()).unwrap());
        }
    }
    found
}

/// Returns a port that is free now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits for something outside of devhost.
fn wait_for<T>(what: &str, devhost: &Devhost, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "never {what}:\n{}", devhost.printed());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The whole course: start, request, edit, request, end. The sources stay unchanged.
fn is_served_and_served_anew_after_an_edit(app: &PlainApp, file: &str) {
    is_served_and_served_anew_with(app, &[], file, |_| {});
}

pub(crate) fn is_served_and_served_anew_with(
    app: &PlainApp,
    args: &[&str],
    file: &str,
    more: impl FnOnce(&Devhost),
) {
    let _turn = cargo_turn();
    let devhost = app.start(args);
    let status = devhost.wait_ready(1);
    assert_eq!(status["kind"], "plain", "{status:#}");
    let page = devhost.get_page("/");
    assert_eq!((page.status, page.generation()), (200, 1), "{}", page.body);
    assert!(page.body.contains(BEFORE), "{}", page.body);
    let body: Vec<u8> = (b'a'..=b'w').cycle().take(ECHO_LEN).collect();
    let echo = devhost.post("/echo", "text/plain", &body);
    assert_eq!(echo.status, 200, "{}", echo.body);
    assert!(echo.body.as_bytes() == body, "the echo differs");
    app.edit(file, BEFORE, AFTER);
    let files = app.files();
    devhost.wait_ready(2);
    let page = devhost.get_page("/");
    assert!(page.body.contains(AFTER), "{}", page.body);
    assert!(page.generation() >= 2);
    more(&devhost);
    assert!(devhost.stop().success());
    let now = app.files();
    let changed: Vec<_> =
        now.keys().chain(files.keys()).filter(|path| now.get(*path) != files.get(*path)).collect();
    assert!(changed.is_empty(), "devhost wrote into the sources: {changed:?}");
}

/// It cannot serve: page and terminal say why, and show the app's own output.
fn is_explained(app: &PlainApp, args: &[&str], why: &str, said: &[&str]) {
    is_explained_with_notes(app, args, why, said, &[]);
}

/// The terminal also has notes by devhost.
fn is_explained_with_notes(app: &PlainApp, args: &[&str], why: &str, said: &[&str], notes: &[&str]) {
    let _turn = cargo_turn();
    let devhost = app.start(args);
    devhost.wait_status(COLD_BUILD, "failed", |status| status["state"] == "failed");
    let page = devhost.get_page("/");
    assert!(page.status >= 500, "{}", page.status);
    for part in said.iter().chain([&why]) {
        assert!(page.body.contains(part), "the page lacks {part:?}: {}", page.body);
    }
    for part in said.iter().chain(notes).chain([&why]) {
        assert!(devhost.printed().contains(part), "the terminal lacks {part:?}: {}", devhost.printed());
    }
    assert!(devhost.stop().success());
}

mod frameworks {
    use super::*;

    fn served(framework: &str) {
        let package = format!("frameworks/{framework}");
        is_served_and_served_anew_after_an_edit(&PlainApp::new(&package), &format!("{package}/src/text.rs"));
    }

    #[test]
    fn axum() {
        let app = PlainApp::new("frameworks/axum");
        is_served_and_served_anew_with(&app, &[], "frameworks/axum/src/text.rs", a_websocket_is_tunnelled);
    }

    fn a_websocket_is_tunnelled(devhost: &Devhost) {
        let url = format!("ws://127.0.0.1:{}/ws", devhost.port);
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let (mut socket, response) = tokio_tungstenite::connect_async(url).await.unwrap();
            assert_eq!(response.status(), 101);
            for message in [Message::text("hello"), Message::binary(vec![7; 100_000])] {
                socket.send(message.clone()).await.unwrap();
                let echo = tokio::time::timeout(SOON, socket.next()).await.unwrap().unwrap().unwrap();
                assert!(echo == message, "the echo differs");
            }
            socket.close(None).await.unwrap();
        });
    }

    #[test]
    fn tiny_http() {
        served("tiny_http");
    }

    #[test]
    #[ignore = "compiles a framework"]
    fn actix_web() {
        served("actix_web");
    }

    #[test]
    #[ignore = "compiles a framework"]
    fn hyper() {
        served("hyper");
    }

    #[test]
    #[ignore = "compiles a framework"]
    fn poem() {
        served("poem");
    }

    #[test]
    #[ignore = "compiles a framework"]
    fn rocket_with_launch() {
        served("rocket");
    }

    #[test]
    #[ignore = "compiles a framework"]
    fn rocket_with_main() {
        served("rocket_main");
    }

    #[test]
    #[ignore = "compiles a framework"]
    fn salvo() {
        served("salvo");
    }

    #[test]
    #[ignore = "compiles a framework"]
    fn warp() {
        served("warp");
    }
}

mod packages {
    use super::*;

    #[test]
    fn a_library_beside_the_binary_is_followed() {
        let app = PlainApp::new("layouts/lib_and_bin");
        is_served_and_served_anew_after_an_edit(&app, "layouts/lib_and_bin/src/text.rs");
    }

    #[test]
    fn a_binary_in_src_bin_is_found() {
        let app = PlainApp::new("layouts/bin_in_src_bin");
        is_served_and_served_anew_after_an_edit(&app, "layouts/bin_in_src_bin/src/bin/server/text.rs");
    }

    #[test]
    fn a_binary_with_a_path_of_its_own_is_found() {
        let app = PlainApp::new("layouts/bin_path");
        is_served_and_served_anew_after_an_edit(&app, "layouts/bin_path/server/text.rs");
    }

    #[test]
    fn a_package_is_found_by_its_name() {
        let app = PlainApp::new("bin_path");
        is_served_and_served_anew_after_an_edit(&app, "layouts/bin_path/server/text.rs");
    }

    #[test]
    fn an_example_is_served() {
        let app = PlainApp::new("layouts/example").with(&["--example", "shown"]);
        is_served_and_served_anew_after_an_edit(&app, "layouts/example/examples/shown/text.rs");
    }

    #[test]
    fn forbidden_unsafe_code_and_denied_warnings_do_not_matter() {
        let app = PlainApp::new("layouts/strict");
        is_served_and_served_anew_after_an_edit(&app, "layouts/strict/src/text.rs");
    }

    #[test]
    fn a_main_from_elsewhere_and_files_by_path_are_found() {
        let app = PlainApp::trap("imported_main");
        is_served_and_served_anew_with(&app, &[], "traps/assets/heading.txt", |devhost| {
            let page = devhost.get_page("/").body;
            assert!(page.contains("traps/src/bin/../shared/served.rs"), "file!() is another: {page}");
        });
    }

    #[test]
    fn a_main_that_never_returns_is_called() {
        let app = PlainApp::trap("never_returns");
        is_served_and_served_anew_after_an_edit(&app, "traps/src/bin/never_returns.rs");
    }

    #[test]
    fn an_app_of_release_profile_is_served() {
        let app = PlainApp::new("layouts/bin_path").with(&["--release"]);
        is_served_and_served_anew_after_an_edit(&app, "layouts/bin_path/server/text.rs");
    }

    #[test]
    fn panic_abort_is_served() {
        let app = PlainApp::new("panic_abort");
        is_served_and_served_anew_after_an_edit(&app, "panic_abort/src/text.rs");
    }

    #[test]
    fn a_global_allocator_is_served() {
        let app = PlainApp::new("with_allocator");
        is_served_and_served_anew_after_an_edit(&app, "with_allocator/src/text.rs");
    }

    #[test]
    fn c_libraries_with_hidden_symbols_are_shared() {
        let app = PlainApp::new("with_native");
        is_served_and_served_anew_with(&app, &[], "with_native/src/text.rs", |devhost| {
            assert!(devhost.get_page("/").body.contains("by SQLite 3."));
        });
    }

    #[test]
    fn a_path_package_that_is_added_while_devhost_runs_is_watched() {
        let _turn = cargo_turn();
        let app = PlainApp::new("layouts/bin_path");
        let devhost = app.start(&[]).ready();
        let extra = app.path("layouts/extra");
        std::fs::create_dir_all(extra.join("src")).unwrap();
        std::fs::write(extra.join("src/lib.rs"), "pub const EXTRA: &str = \"from the new package\";")
            .unwrap();
        let manifest = "[package]\nname = \"extra\"\nversion = \"0.1.0\"\nedition = \"2024\"\n";
        std::fs::write(extra.join("Cargo.toml"), manifest).unwrap();
        app.edit(
            "layouts/bin_path/Cargo.toml",
            "[dependencies]\n",
            "[dependencies]\nextra = { path = \"../extra\" }\n",
        );
        devhost.wait_status(SOON, "built again", |status| status["reloads"].as_array().unwrap().len() > 1);
        app.edit("layouts/bin_path/server/text.rs", "\"Before the edit\"", "extra::EXTRA");
        wait_for("the new package's text", &devhost, || {
            devhost.get("/").body.contains("from the new package").then_some(())
        });
        app.edit("layouts/extra/src/lib.rs", "from the new package", "from its next version");
        wait_for("the package's next text", &devhost, || {
            devhost.get("/").body.contains("from its next version").then_some(())
        });
        assert!(devhost.stop().success());
    }

    #[test]
    fn what_no_linker_makes_a_library_of_is_started_as_a_program_and_the_reason_is_said() {
        let app = PlainApp::new("not_a_library");
        is_served_and_served_anew_with(&app, &[], "not_a_library/src/text.rs", |devhost| {
            let why = "each reload starts the app's own program (as with --strategy restart): it cannot be linked as a library";
            assert_eq!(devhost.printed().matches(why).count(), 1, "{}", devhost.printed());
            app.edit("not_a_library/src/main.rs", "text::HEADING", "text::HEADLINE");
            let status = devhost.wait_status(SOON, "failed", |status| status["state"] == "failed");
            assert_eq!(status["failure"]["diagnostics"][0]["code"], "E0425", "{status:#}");
            assert!(devhost.get_page("/").body.contains(AFTER), "the last good code serves on");
            app.edit("not_a_library/src/main.rs", "text::HEADLINE", "text::HEADING");
            devhost.wait_status(SOON, "ready", |status| {
                status["state"] == "ready" && status["failure"].is_null()
            });
        });
    }

    #[test]
    fn a_library_that_the_system_lacks_is_named_and_the_last_good_code_serves_on() {
        let _turn = cargo_turn();
        let app = PlainApp::new("missing_library");
        let needs = "missing_library/src/needs.rs";
        app.edit(needs, "name = \"c\"", "name = \"nosuchlib\"");
        let devhost = app.start(&[]);
        let is_named = |text: &str| text.contains("does not find the system library `nosuchlib`");
        devhost.wait_status(COLD_BUILD, "failed", |status| status["state"] == "failed");
        let page = devhost.get_page("/");
        assert!(page.status >= 500, "{}", page.status);
        assert!(is_named(&page.body), "{}", page.body);
        assert!(is_named(&devhost.printed()), "{}", devhost.printed());
        app.edit(needs, "nosuchlib", "c");
        devhost.wait_status(SOON, "ready", |status| status["state"] == "ready");
        assert!(devhost.get_page("/").body.contains(BEFORE));
        app.edit(needs, "name = \"c\"", "name = \"nosuchlib\"");
        let status = devhost.wait_status(SOON, "failed", |status| status["state"] == "failed");
        assert!(is_named(&status["failure"].to_string()), "{status:#}");
        let page = devhost.get_page("/");
        assert_eq!(page.status, 200);
        assert!(page.body.contains(BEFORE), "the last good code serves on: {}", page.body);
        assert!(!devhost.printed().contains("own program"), "{}", devhost.printed());
        assert!(devhost.stop().success());
    }

    #[test]
    fn several_binaries_are_listed() {
        let app = PlainApp::new("traps");
        let output = run_to_end(app.dir.path(), &app.command_line());
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{told}");
        for part in ["--bin", "two_listeners", "never_returns"] {
            assert!(told.contains(part), "{part:?} is not in {told}");
        }
    }

    #[test]
    fn a_library_alone_is_refused_with_advice() {
        let app = PlainApp::new("layouts/library");
        let output = run_to_end(app.dir.path(), &app.command_line());
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{told}");
        for part in ["just_a_library", "export!"] {
            assert!(told.contains(part), "{part:?} is not in {told}");
        }
    }

    #[test]
    fn an_app_without_a_rust_main_is_started_as_a_program_and_the_reason_is_said() {
        let notes = ["no_main", "--strategy restart"];
        is_explained_with_notes(&PlainApp::trap("no_main"), &[], "exited with code 0", &[], &notes);
    }
}

mod listeners {
    use super::*;

    #[test]
    fn the_front_takes_the_port_that_the_app_asks_for() {
        let _turn = cargo_turn();
        let app = PlainApp::trap("given_port");
        let port = free_port().to_string();
        // The port of an earlier run is remembered.
        let remembered = Path::new(env!("CARGO_TARGET_TMPDIR")).join("apps/devhost-port-given_port");
        let _ = std::fs::remove_file(remembered);
        let mut line = app.command_line();
        line.extend(["--", &port]);
        let devhost = Devhost::start_with(app.dir.path(), &line, |command| {
            // So that no guess comes first.
            command.env("PORT", &port);
        });
        assert_eq!(devhost.port.to_string(), port);
        devhost.wait_ready(1);
        assert!(devhost.get_page("/").body.contains(BEFORE));
        devhost.wait_line(&format!("listening on 127.0.0.1:{port}"));
        app.edit("traps/src/bin/given_port.rs", BEFORE, AFTER);
        devhost.wait_ready(2);
        assert!(devhost.get_page("/").body.contains(AFTER));
        assert!(devhost.stop().success());
    }

    #[test]
    fn a_second_listener_is_left_to_the_app_across_generations() {
        let app = PlainApp::trap("two_listeners");
        let port = free_port();
        let file = "traps/src/bin/two_listeners.rs";
        is_served_and_served_anew_with(&app, &[&port.to_string()], file, |devhost| {
            wait_for("the new metrics", devhost, || {
                let metrics = devhost.client.get(format!("http://127.0.0.1:{port}/")).call().ok()?;
                answer(Ok(metrics)).body.contains(&format!("metrics of {AFTER}")).then_some(())
            });
        });
    }

    #[test]
    fn ipv4_and_ipv6_beside_each_other_are_one_app() {
        let app = PlainApp::trap("both_families");
        is_served_and_served_anew_after_an_edit(&app, "traps/src/bin/both_families.rs");
    }

    #[test]
    fn ipv6_alone_is_served() {
        let app = PlainApp::trap("ipv6_only");
        is_served_and_served_anew_after_an_edit(&app, "traps/src/bin/ipv6_only.rs");
    }

    #[test]
    fn any_port_is_served() {
        let app = PlainApp::trap("any_port");
        is_served_and_served_anew_after_an_edit(&app, "traps/src/bin/any_port.rs");
    }

    #[test]
    fn a_privileged_port_is_no_obstacle_with_a_port_of_ones_own() {
        let app = PlainApp::trap("privileged_port");
        is_served_and_served_anew_after_an_edit(&app, "traps/src/bin/privileged_port.rs");
    }

    #[test]
    fn a_unix_socket_alone_is_served() {
        let app = PlainApp::trap("unix_only");
        // Out of reach of a comparison of the sources.
        let elsewhere = scratch();
        let socket = elsewhere.path().join("app.socket");
        let file = "traps/src/bin/unix_only.rs";
        is_served_and_served_anew_with(&app, &[socket.to_str().unwrap()], file, |devhost| {
            assert!(devhost.printed().contains("app.socket"), "{}", devhost.printed());
        });
    }

    #[test]
    fn an_app_that_never_listens_is_explained() {
        let app = PlainApp::trap("never_listens").with(&["--start-timeout-ms", "3000"]);
        is_explained(&app, &[], "listen", &["waiting for better times"]);
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn a_listener_by_raw_system_calls_is_noticed() {
        let app = PlainApp::trap("bypasses_libc");
        let port = free_port().to_string();
        is_served_and_served_anew_with(&app, &[&port], "traps/src/bin/bypasses_libc.rs", |devhost| {
            let printed = devhost.printed();
            assert!(printed.contains("devhost cannot see"), "{printed}");
            // As that note says, it ends the old code first, without having to find out.
            assert!(!printed.contains("tried once more"), "{printed}");
        });
    }
}

mod starts {
    use super::*;

    #[test]
    fn an_exit_at_once_is_explained() {
        let app = PlainApp::trap("exits_at_once");
        is_explained(&app, &[], "exited with code 3 before it listened", &["usage: exits_at_once COMMAND"]);
    }

    #[test]
    fn an_end_without_an_error_is_explained() {
        let app = PlainApp::trap("succeeds_at_once");
        is_explained(&app, &[], "devhost expects a server", &["all work is done"]);
    }

    #[test]
    fn an_error_from_main_is_shown() {
        let app = PlainApp::trap("fails_at_start");
        is_explained(&app, &[], "exited with code 1", &["there is no such configuration file"]);
    }

    #[test]
    fn a_panic_at_start_is_shown_with_its_place() {
        let said = ["the database is not there", "traps/src/bin/panics_at_start.rs:5"];
        is_explained(&PlainApp::trap("panics_at_start"), &[], "exited with code 101", &said);
    }

    #[test]
    fn an_app_that_asks_on_stdin_finds_its_end() {
        let app = PlainApp::trap("reads_stdin");
        is_explained(&app, &[], "exited with code 1", &["Your name?", "nobody answered on stdin"]);
    }

    #[test]
    fn an_app_that_asks_on_stdin_gets_devhosts_answer_where_that_is_wanted() {
        let _turn = cargo_turn();
        let app = PlainApp::trap("reads_stdin").with(&["--stdin", "--port", "0"]);
        let (theirs, ours) = std::io::pipe().unwrap();
        let devhost = Devhost::start_with(app.dir.path(), &app.command_line(), |command| {
            command.stdin(theirs);
        });
        devhost.wait_line("Your name?");
        std::io::Write::write_all(&mut &ours, b"Ada\n").unwrap();
        devhost.wait_ready(1);
        assert_eq!(devhost.get("/").status, 200);
        assert!(devhost.stop().success());
    }

    #[test]
    fn a_daemon_is_explained_and_does_not_stay() {
        is_explained(&PlainApp::trap("daemonizes"), &[], "has become a daemon", &[]);
    }

    #[test]
    fn a_start_that_fails_keeps_the_last_good_code() {
        let _turn = cargo_turn();
        let app = PlainApp::trap("never_returns");
        let file = "traps/src/bin/never_returns.rs";
        let devhost = app.start(&[]).ready();
        app.edit(file, "127.0.0.1:3000", "nowhere");
        // It is tried once more alone before that, so the last good code may have been restarted.
        devhost.wait_status(SOON, "failed", |status| status["state"] == "failed");
        let page = devhost.get_page("/");
        assert_eq!(page.status, 200);
        assert!(page.body.contains(BEFORE), "{}", page.body);
        app.edit(file, "nowhere", "127.0.0.1:3000");
        devhost.wait_status(SOON, "ready", |status| status["state"] == "ready");
        assert_eq!(devhost.get_page("/").status, 200);
        assert!(devhost.stop().success());
    }

    #[test]
    fn a_compile_error_names_the_real_file() {
        let _turn = cargo_turn();
        let app = PlainApp::new("layouts/strict");
        let devhost = app.start(&[]).ready();
        app.edit("layouts/strict/src/main.rs", "text::HEADING", "text::HEADLINE");
        let status = devhost.wait_status(SOON, "failed", |status| status["state"] == "failed");
        let diagnostic = &status["failure"]["diagnostics"][0];
        assert_eq!(diagnostic["code"], "E0425", "{status:#}");
        let file = Path::new(diagnostic["file"].as_str().unwrap());
        let real = app.path("layouts/strict/src/main.rs").canonicalize().unwrap();
        assert_eq!(app.dir.path().join(file).canonicalize().unwrap(), real, "{diagnostic}");
        assert!(!devhost.printed().contains("shadow"), "{}", devhost.printed());
        assert!(devhost.get_page("/").body.contains(BEFORE), "the last good code serves on");
        app.edit("layouts/strict/src/main.rs", "text::HEADLINE", "text::HEADING");
        devhost
            .wait_status(SOON, "ready", |status| status["state"] == "ready" && status["failure"].is_null());
        assert!(devhost.stop().success());
    }

    #[test]
    fn an_app_sees_what_cargo_run_would_give_it() {
        let _turn = cargo_turn();
        let app = PlainApp::trap("surroundings");
        let package = app.path("traps").canonicalize().unwrap();
        let mut line = app.command_line();
        line.retain(|word| *word != "traps");
        line.extend(["--port", "0", "--", "one", "--two"]);
        let devhost = Devhost::start(&package, &line).ready();
        devhost.wait_line("local address 127.0.0.1:3000");
        let page = devhost.get_page("/").body;
        let package = package.to_str().unwrap();
        for (name, value) in [
            ("bin", "surroundings"),
            ("package", "traps"),
            ("file", "traps/src/bin/surroundings.rs"),
            ("module", "surroundings"),
            ("manifest at build", package),
            ("manifest at run", package),
            ("name at run", "traps"),
            ("directory", package),
            ("arguments", "one --two"),
            ("preload", ""),
        ] {
            assert!(page.contains(&format!("[{name}={value}]")), "{name} is not {value:?}: {page}");
        }
        assert!(devhost.stop().success());
    }

    #[test]
    fn the_users_own_build_is_the_seed_and_stays_as_it_was() {
        let _turn = cargo_turn();
        let app = PlainApp::new("frameworks/tiny_http");
        let built = std::process::Command::new("cargo")
            .args(["build", "--quiet", "--package", "on_tiny_http"])
            .current_dir(app.dir.path())
            .env_remove("CARGO_TARGET_DIR")
            .status()
            .unwrap();
        assert!(built.success());
        let debug = app.path("target/debug");
        let before = files_below(&debug);
        let library = before
            .keys()
            .find(|path| {
                let name = path.file_name().unwrap().to_str().unwrap();
                name.starts_with("libtiny_http-") && name.ends_with(".rlib")
            })
            .expect("cargo built the dependency");
        let wanted = std::fs::metadata(library).unwrap().ino();
        for (strategy, old, new) in [("fork", BEFORE, AFTER), ("restart", AFTER, BEFORE)] {
            let args = ["run", "frameworks/tiny_http", "--port", "0", "--strategy", strategy];
            let devhost = Devhost::start(app.dir.path(), &args).ready();
            app.edit("frameworks/tiny_http/src/text.rs", old, new);
            devhost.wait_ready(2);
            assert!(devhost.get_page("/").body.contains(new));
            assert!(devhost.stop().success());
            assert!(files_below(&debug) == before, "target/debug is not what it was after {strategy}");
            let own = app.path("target/devhost");
            let seeded =
                files_below(&own).keys().any(|path| std::fs::symlink_metadata(path).unwrap().ino() == wanted);
            assert!(seeded, "the dependency was compiled again for {strategy}");
            std::fs::remove_dir_all(own).unwrap();
        }
    }
}

mod ends {
    use super::*;

    #[test]
    fn an_exit_on_a_request_is_a_page_and_the_app_comes_back() {
        let _turn = cargo_turn();
        let app = PlainApp::trap("exits_on_request");
        let devhost = app.start(&[]).ready();
        let page = devhost.get_page("/exit");
        assert!(page.status >= 500, "{}", page.status);
        assert!(page.body.contains("code 7"), "{}", page.body);
        assert!(devhost.printed().contains("that was the last request"), "{}", devhost.printed());
        devhost.wait_ready(2);
        let page = devhost.get_page("/");
        assert_eq!((page.status, page.generation()), (200, 2), "{}", page.body);
        assert!(devhost.stop().success());
    }

    #[test]
    fn a_request_in_flight_ends_before_the_old_code_gets_sigterm() {
        let _turn = cargo_turn();
        let app = PlainApp::trap("drains");
        let note = app.path("note");
        let devhost = app.start(&[note.to_str().unwrap()]).ready();
        let slow = devhost.connect(b"GET /slow HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        devhost.wait_line("a slow request has begun");
        app.edit("traps/src/bin/drains.rs", BEFORE, AFTER);
        let mut answer = String::new();
        let mut slow = BufReader::new(slow);
        slow.read_line(&mut answer).unwrap();
        assert!(answer.contains("200"), "{answer}");
        slow.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("x-devhost-generation: 1") && answer.contains(BEFORE), "{answer}");
        devhost.wait_ready(2);
        assert!(devhost.get_page("/").body.contains(AFTER));
        wait_for("SIGTERM", &devhost, || note.exists().then_some(()));
        devhost.wait_status(SOON, "drained", |status| status["workers"].as_array().unwrap().len() == 1);
        assert!(devhost.stop().success());
    }

    #[test]
    fn a_lock_that_the_old_code_holds_is_waited_for() {
        let app = PlainApp::trap("locks_a_file");
        let lock = app.path("lock");
        // It exists before the files are compared.
        std::fs::write(&lock, "").unwrap();
        let file = "traps/src/bin/locks_a_file.rs";
        is_served_and_served_anew_with(&app, &[lock.to_str().unwrap()], file, |devhost| {
            assert!(devhost.printed().contains("overlap"), "{}", devhost.printed());
        });
    }

    #[test]
    fn without_overlap_the_old_code_ends_first() {
        let app = PlainApp::trap("locks_a_file").with(&["--no-overlap"]);
        let lock = app.path("lock");
        std::fs::write(&lock, "").unwrap();
        let file = "traps/src/bin/locks_a_file.rs";
        is_served_and_served_anew_with(&app, &[lock.to_str().unwrap()], file, |devhost| {
            assert!(!devhost.printed().contains("database is locked"), "{}", devhost.printed());
        });
    }

    #[test]
    fn a_killed_devhost_leaves_no_app() {
        let _turn = cargo_turn();
        let app = PlainApp::new("layouts/bin_path");
        let devhost = app.start(&[]).ready();
        devhost.kill_9();
    }
}
