//! Plain apps without the build: a library that stands for what devhost makes of a binary, in C and in Rust.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Answer, Devhost, SOON, repository, scratch};

struct App {
    dir: tempfile::TempDir,
}

impl App {
    fn new(macros: &[&str]) -> Self {
        let app = Self { dir: scratch() };
        app.compile(macros);
        app
    }

    fn compile(&self, macros: &[&str]) {
        let staged = self.dir.path().join("app.staged");
        let status = Command::new("cc")
            .args(["-Wall", "-Wextra", "-O1", "-g", "-shared", "-fPIC", "-Wl,--build-id=sha1"])
            .args(macros.iter().map(|definition| format!("-D{definition}")))
            .arg(repository().join("tests/fixtures/c_plain/app.c"))
            .arg("-o")
            .arg(&staged)
            .status()
            .unwrap();
        assert!(status.success(), "cc refused {macros:?}");
        std::fs::rename(staged, self.path()).unwrap();
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("app.so")
    }

    fn start(&self, more: &[&str]) -> Devhost {
        start(&self.path(), self.dir.path(), more)
    }
}

fn start(library: &Path, dir: &Path, more: &[&str]) -> Devhost {
    let target = dir.join("target");
    let mut args = vec!["run", library.to_str().unwrap(), "--target-dir", target.to_str().unwrap()];
    args.extend(more);
    Devhost::start(dir, &args)
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A line of the app's answer.
fn line<'a>(answer: &'a Answer, name: &str) -> &'a str {
    let line = answer.body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {answer:?}"))
}

fn wait_failed(devhost: &Devhost) {
    devhost.wait_status(SOON, "failed", |status| status["state"] == "failed");
}

#[test]
fn the_front_takes_the_port_that_the_app_asks_for() {
    let port = free_port();
    let app = App::new(&[&format!("PORT={port}")]);
    let devhost = app.start(&[]);
    assert_eq!(devhost.port, port);
    assert_eq!(devhost.wait_ready(1)["kind"], "plain");
    let answer = devhost.get("/");
    assert_eq!((answer.status, answer.generation()), (200, 1));
    assert_eq!(line(&answer, "listener"), format!("0.0.0.0 {port}"), "the app sees what it asked for");
    assert_eq!(line(&answer, "connection"), format!("127.0.0.1 {port}"));
    devhost.wait_line(&format!("app: version one listens on 0.0.0.0 {port}"));
    let name = std::fs::read_to_string(format!("/proc/{}/comm", devhost.worker_pid())).unwrap();
    assert_eq!(name.trim(), "app");
    let name = std::fs::read_to_string(format!("/proc/{}/comm", devhost.zygote_pid())).unwrap();
    assert_eq!(name.trim(), "devhost-zygote");
    assert!(devhost.stop().success());
    // The next start takes the port at once, also where there is nothing to serve yet.
    app.compile(&["EXIT=1"]);
    let devhost = app.start(&[]);
    assert_eq!(devhost.port, port);
    assert!(devhost.stop().success());
}

#[test]
fn a_port_that_the_user_gives_wins() {
    let asked = free_port();
    let app = App::new(&[&format!("PORT={asked}")]);
    let devhost = app.start(&["--port", "0"]);
    assert_ne!(devhost.port, asked);
    devhost.wait_ready(1);
    assert_eq!(devhost.get("/").status, 200);
    TcpListener::bind(("127.0.0.1", asked)).expect("nobody has the port that the app asked for");
    assert!(devhost.stop().success());
}

#[test]
fn a_reload_ends_the_old_code_gracefully() {
    let port = format!("PORT={}", free_port());
    let app = App::new(&[&port, "GRACEFUL"]);
    let devhost = app.start(&["--port", "0"]);
    devhost.wait_ready(1);
    app.compile(&[&port, "GRACEFUL", "VERSION=\"two\""]);
    devhost.wait_ready(2);
    assert_eq!(line(&devhost.get("/"), "version"), "two");
    devhost.wait_line("ended gracefully: version one");
    devhost.wait_status(SOON, "alone", |status| status["workers"].as_array().unwrap().len() == 1);
    assert!(devhost.stop().success());
}

#[test]
fn both_families_of_one_port_are_the_apps() {
    let port = free_port();
    let app = App::new(&[&format!("PORT={port}"), "FAMILY=46"]);
    let devhost = app.start(&["--port", "0"]);
    devhost.wait_ready(1);
    assert_eq!(devhost.get("/").status, 200);
    devhost.wait_line(&format!("app: version one listens on :: {port}"));
    assert!(!devhost.printed().contains("also listens"), "{}", devhost.printed());
    assert!(devhost.stop().success());
}

#[test]
fn an_app_on_ipv6_or_on_any_port_is_served() {
    let port = format!("PORT={}", free_port());
    for macros in [&[port.as_str(), "FAMILY=6"][..], &["PORT=0"], &["PORT=0", "FAMILY=6"]] {
        let app = App::new(macros);
        let devhost = app.start(&["--port", "0"]);
        devhost.wait_ready(1);
        assert_eq!(devhost.get("/").status, 200, "{macros:?}");
        assert!(devhost.stop().success());
    }
}

#[test]
fn a_privileged_port_is_the_fronts_to_take() {
    let app = App::new(&["PORT=80"]);
    let devhost = app.start(&["--port", "0"]);
    devhost.wait_ready(1);
    assert_eq!(line(&devhost.get("/"), "listener"), "0.0.0.0 80");
    assert!(devhost.stop().success());
}

#[test]
fn a_further_listener_is_left_alone_and_both_generations_have_it() {
    let (port, further) = (format!("PORT={}", free_port()), free_port());
    let macros = [port.as_str(), &format!("FURTHER={further}")];
    let app = App::new(&macros);
    let devhost = app.start(&["--port", "0"]);
    devhost.wait_ready(1);
    devhost.wait_line(&format!("note: the app also listens on 0.0.0.0:{further}"));
    let direct = crate::support::answer(devhost.client.get(format!("http://127.0.0.1:{further}/")).call());
    assert_eq!(line(&direct, "listener"), format!("0.0.0.0 {further}"));
    app.compile(&[macros[0], macros[1], "VERSION=\"two\""]);
    devhost.wait_ready(2);
    assert!(!devhost.printed().contains("tried once more"), "{}", devhost.printed());
    assert!(devhost.stop().success());
}

#[test]
fn the_apps_own_port_can_be_named_where_another_comes_first() {
    let (port, further) = (free_port(), free_port());
    let app = App::new(&[&format!("PORT={port}"), &format!("FURTHER={further}"), "FURTHER_FIRST"]);
    let devhost = app.start(&["--app-port", &port.to_string()]);
    assert_eq!(devhost.port, port);
    devhost.wait_ready(1);
    assert_eq!(line(&devhost.get("/"), "listener"), format!("0.0.0.0 {port}"));
    assert!(devhost.stop().success());
}

#[test]
fn a_unix_socket_is_served() {
    let app = App::new(&["UNIX=\"app.sock\"", "VERSION=\"local\""]);
    let devhost = app.start(&["--port", "0"]);
    devhost.wait_ready(1);
    assert_eq!(line(&devhost.get("/"), "version"), "local");
    app.compile(&["UNIX=\"app.sock\"", "VERSION=\"newer\""]);
    devhost.wait_ready(2);
    assert_eq!(line(&devhost.get("/"), "version"), "newer");
    assert!(devhost.stop().success());
}

#[test]
fn an_app_that_goes_round_the_c_library_is_found_and_told() {
    let port = free_port();
    let app = App::new(&[&format!("PORT={port}"), "RAW"]);
    let devhost = app.start(&["--port", "0"]);
    devhost.wait_ready(1);
    devhost.wait_line("by a way that devhost cannot see");
    assert_eq!(line(&devhost.get("/"), "listener"), format!("0.0.0.0 {port}"));
    // Both generations need the very same port, so the second one starts alone.
    app.compile(&[&format!("PORT={port}"), "RAW", "VERSION=\"two\""]);
    devhost.wait_status(SOON, "the new code", |status| {
        status["generation"].as_u64() > Some(1) && status["state"] == "ready"
    });
    assert_eq!(line(&devhost.get("/"), "version"), "two");
    assert!(devhost.stop().success());
}

#[test]
fn an_app_that_cannot_run_twice_is_tried_alone_and_then_always_so() {
    let port = format!("PORT={}", free_port());
    let macros = [port.as_str(), "LOCK=\"database.lock\""];
    let app = App::new(&macros);
    let devhost = app.start(&["--port", "0"]);
    devhost.wait_ready(1);
    app.compile(&[macros[0], macros[1], "VERSION=\"two\""]);
    devhost.wait_line("it is tried once more alone");
    devhost.wait_line("from now on the old code ends before the new one starts");
    devhost.wait_ready(3);
    assert_eq!(line(&devhost.get("/"), "version"), "two");
    app.compile(&[macros[0], macros[1], "VERSION=\"three\""]);
    devhost.wait_ready(4);
    assert_eq!(line(&devhost.get("/"), "version"), "three");
    assert_eq!(devhost.printed().matches("tried once more").count(), 1);
    assert!(devhost.stop().success());
}

#[test]
fn without_overlap_nothing_runs_twice_and_no_request_is_lost() {
    let port = format!("PORT={}", free_port());
    let macros = [port.as_str(), "LOCK=\"database.lock\""];
    let app = App::new(&macros);
    let devhost = app.start(&["--port", "0", "--no-overlap"]);
    devhost.wait_ready(1);
    for (version, generation) in [("two", 2), ("three", 3)] {
        app.compile(&[macros[0], macros[1], &format!("VERSION=\"{version}\"")]);
        devhost.wait_status(SOON, version, |status| {
            assert_eq!(devhost.get("/").status, 200);
            status["generation"] == generation && status["state"] == "ready"
        });
        assert_eq!(line(&devhost.get("/"), "version"), version);
    }
    assert!(!devhost.printed().contains("tried once more"), "{}", devhost.printed());
    assert!(devhost.stop().success());
}

#[test]
fn an_app_that_ends_before_it_listens_is_told_what_is_expected() {
    let port = format!("PORT={}", free_port());
    let app = App::new(&["EXIT=0"]);
    let devhost = app.start(&["--port", "0"]);
    wait_failed(&devhost);
    let page = devhost.get_page("/");
    assert!(page.body.contains("exited with code 0 before it listened"), "{}", page.body);
    assert!(page.body.contains("devhost expects a server"), "{}", page.body);
    app.compile(&[&port]);
    devhost.wait_status(SOON, "ready", |status| status["state"] == "ready");
    // It may be the old code's fault, so it is tried alone; as it is not, the old code is started again.
    app.compile(&["EXIT=7"]);
    wait_failed(&devhost);
    assert!(devhost.printed().contains("exited with code 7 before it listened"), "{}", devhost.printed());
    devhost.wait_status(SOON, "last good again", |status| status["generation"].as_u64() > Some(2));
    assert_eq!(devhost.get("/").status, 200, "the last good code serves on");
    assert!(devhost.stop().success());
}

#[test]
fn an_app_that_never_listens_is_told_what_is_expected() {
    let app = App::new(&["HANG"]);
    let devhost = app.start(&["--port", "0", "--start-timeout-ms", "400"]);
    wait_failed(&devhost);
    let page = devhost.get_page("/");
    assert!(page.body.contains("did not listen within 0.4 s"), "{}", page.body);
    assert!(page.body.contains("bind a TCP port"), "{}", page.body);
    assert!(devhost.stop().success());
}

#[test]
fn a_daemon_is_told_to_stay() {
    let app = App::new(&[&format!("PORT={}", free_port()), "DAEMON"]);
    let devhost = app.start(&["--port", "0"]);
    wait_failed(&devhost);
    let page = devhost.get_page("/");
    assert!(page.body.contains("has become a daemon"), "{}", page.body);
    assert!(devhost.stop().success());
}

#[test]
fn an_exit_on_a_request_is_a_crash_and_the_app_comes_back() {
    let app = App::new(&[&format!("PORT={}", free_port())]);
    let devhost = app.start(&["--port", "0"]);
    devhost.wait_ready(1);
    let page = devhost.get_page("/exit");
    assert!(page.status >= 500 && page.body.contains("code 3"), "{} {}", page.status, page.body);
    devhost.wait_ready(2);
    assert_eq!(devhost.get("/").status, 200);
    assert!(devhost.stop().success());
}

#[test]
fn an_environment_file_counts_and_a_change_of_it_restarts_the_app() {
    let app = App::new(&[&format!("PORT={}", free_port())]);
    let file = app.dir.path().join("local.env");
    std::fs::write(&file, "COLOUR=red\nNO_COLOR=never\n").unwrap();
    let devhost = app.start(&["--port", "0", "--env-file", "local.env"]);
    devhost.wait_ready(1);
    assert_eq!(line(&devhost.get("/env/COLOUR"), "variable"), "red");
    assert_eq!(line(&devhost.get("/env/NO_COLOR"), "variable"), "1", "what is set already wins");
    assert_eq!(line(&devhost.get("/env/DEVHOST_ZYGOTE"), "variable"), "(none)");
    std::fs::write(&file, "COLOUR=blue\n").unwrap();
    devhost.wait_ready(2);
    assert_eq!(line(&devhost.get("/env/COLOUR"), "variable"), "blue");
    assert!(devhost.stop().success());
}

/// The standard library comes as a shared library here, as in the apps that devhost builds: it has to find devhost's
/// functions, too.
#[test]
fn rusts_own_listeners_are_seen() {
    let dir = scratch();
    let (port, path) = (free_port(), dir.path().join("app.so"));
    let source = format!(
        r#"
        use std::io::{{Read, Write}};
        #[unsafe(no_mangle)]
        pub extern "C" fn devhost_plain_main() -> i32 {{
            let listener = std::net::TcpListener::bind(("0.0.0.0", {port})).unwrap();
            println!("rust listens on {{}}", listener.local_addr().unwrap());
            let name = std::env::args().next().unwrap();
            let rest = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
            loop {{
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.read(&mut [0; 4096]);
                let body = format!("name {{name}}\nrest {{rest}}\n");
                let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {{}}\r\n\r\n{{body}}", body.len());
            }}
        }}"#
    );
    let main = dir.path().join("main.rs");
    std::fs::write(&main, source).unwrap();
    let sysroot = Command::new("rustc").args(["--print", "target-libdir"]).output().unwrap();
    let sysroot = String::from_utf8(sysroot.stdout).unwrap();
    let status = Command::new("rustc")
        .args(["--edition=2024", "--crate-type=cdylib", "-Cprefer-dynamic"])
        .arg(format!("-Clink-arg=-Wl,-rpath,{}", sysroot.trim()))
        .arg("-o")
        .args([&path, &main])
        .status()
        .unwrap();
    assert!(status.success());
    let devhost = start(&path, dir.path(), &["--", "--seed", "data.json"]);
    assert_eq!(devhost.port, port);
    devhost.wait_ready(1);
    devhost.wait_line(&format!("rust listens on 0.0.0.0:{port}"));
    let answer = devhost.get("/");
    assert_eq!((line(&answer, "name"), line(&answer, "rest")), ("app", "--seed data.json"));
    assert!(devhost.stop().success());
}
