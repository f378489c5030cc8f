//! Plain apps without the build: a library in C or Rust stands for what devhost makes of a binary.

use std::collections::HashSet;
use std::io::BufReader;
use std::net::{IpAddr, Ipv6Addr, TcpListener, TcpStream};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{Answer, Devhost, SOON, client, repository, scratch};

pub(crate) struct App {
    pub dir: tempfile::TempDir,
}

impl App {
    pub(crate) fn new(macros: &[&str]) -> Self {
        let app = Self { dir: scratch() };
        app.compile(macros);
        app
    }

    pub(crate) fn compile(&self, macros: &[&str]) {
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

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("app.so")
    }

    /// Starts it at the port that it asks for.
    fn start(&self, more: &[&str]) -> Devhost {
        start(&self.path(), self.dir.path(), more)
    }

    /// Starts it on any free port.
    fn start_anywhere(&self, more: &[&str]) -> Devhost {
        self.start(&[&["--port", "0"][..], more].concat())
    }
}

fn start(library: &Path, dir: &Path, more: &[&str]) -> Devhost {
    let target = dir.join("target");
    let mut args = vec!["run", library.to_str().unwrap(), "--target-dir", target.to_str().unwrap()];
    args.extend(more);
    Devhost::start(dir, &args)
}

/// Returns a port that was free just now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Returns a line of the app's answer.
pub(crate) fn line<'a>(answer: &'a Answer, name: &str) -> &'a str {
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
    // The next start binds the port at once, even with nothing to serve yet.
    app.compile(&["EXIT=1"]);
    let devhost = app.start(&[]);
    assert_eq!(devhost.port, port);
    assert!(devhost.stop().success());
}

/// Returns a process's TCP listening addresses: IPv4 ones even for IPv6 sockets, others unchanged.
fn listeners_of(pid: i32) -> Vec<IpAddr> {
    devhost_sys::listeners::listening(pid).into_iter().map(|at| at.ip().to_canonical()).collect()
}

#[test]
fn a_private_listener_is_at_an_address_that_nobody_can_guess() {
    let port = format!("PORT={}", free_port());
    let mut seen = HashSet::new();
    for (macros, count) in [
        (&[port.as_str()][..], 1),
        (&[&port, "FAMILY=6"], 1),
        (&[&port, "FAMILY=46"], 2),
        (&["PORT=0"], 1),
        (&["PORT=0", "FAMILY=6"], 1),
    ] {
        let app = App::new(macros);
        let devhost = app.start_anywhere(&[]).ready();
        let listeners = listeners_of(devhost.worker_pid());
        assert_eq!(listeners.len(), count, "{macros:?}");
        for ip in &listeners {
            assert!(ip.is_loopback() && *ip != IpAddr::from([127, 0, 0, 1]), "{ip} with {macros:?}");
        }
        assert!(seen.insert(listeners[0]), "{} is there twice", listeners[0]);
        assert_eq!(devhost.get("/").status, 200, "{macros:?}");
        assert!(devhost.stop().success());
    }
}

#[test]
fn an_app_sees_the_addresses_that_it_asked_for_and_reaches_itself_there() {
    let port = free_port();
    let number = format!("PORT={port}");
    for (family, listener, loopback) in [("4", "0.0.0.0", "127.0.0.1"), ("6", "::", "::1")] {
        let app = App::new(&[&number, &format!("FAMILY={family}")]);
        let devhost = app.start_anywhere(&[]).ready();
        let answer = devhost.get(&format!("/self/{loopback}"));
        assert_eq!(line(&answer, "listener"), format!("{listener} {port}"));
        assert_eq!(line(&answer, "connection"), format!("{loopback} {port}"));
        assert!(line(&answer, "peer").starts_with(&format!("{loopback} ")), "{answer:?}");
        assert_eq!(line(&answer, "self"), format!("{loopback} {port}"));
        assert!(devhost.stop().success());
    }
}

#[test]
fn an_app_reaches_itself_on_a_port_that_the_system_chose() {
    let app = App::new(&["PORT=0"]);
    let devhost = app.start_anywhere(&[]).ready();
    let answer = devhost.get("/self/127.0.0.1");
    let port = line(&answer, "listener").strip_prefix("0.0.0.0 ").expect("it asked for all addresses");
    assert_eq!(line(&answer, "self"), format!("127.0.0.1 {port}"));
    TcpListener::bind(("127.0.0.1", port.parse().unwrap())).expect("nobody else can see the port");
    assert!(devhost.stop().success());
}

#[test]
fn a_port_that_the_user_gives_wins() {
    let asked = free_port();
    let app = App::new(&[&format!("PORT={asked}")]);
    let devhost = app.start_anywhere(&[]);
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
    let devhost = app.start_anywhere(&[]).ready();
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
    let devhost = app.start_anywhere(&[]).ready();
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
        let devhost = app.start_anywhere(&[]).ready();
        assert_eq!(devhost.get("/").status, 200, "{macros:?}");
        assert!(devhost.stop().success());
    }
}

#[test]
fn a_privileged_port_is_the_fronts_to_take() {
    let app = App::new(&["PORT=80"]);
    let devhost = app.start_anywhere(&[]).ready();
    assert_eq!(line(&devhost.get("/"), "listener"), "0.0.0.0 80");
    assert!(devhost.stop().success());
}

#[test]
fn a_further_listener_is_left_alone_and_both_generations_have_it() {
    let (port, further) = (format!("PORT={}", free_port()), free_port());
    let macros = [port.as_str(), &format!("FURTHER={further}")];
    let app = App::new(&macros);
    let devhost = app.start_anywhere(&[]).ready();
    devhost.wait_line(&format!("note: the app also listens on 0.0.0.0:{further}"));
    let direct = crate::support::answer(devhost.client.get(format!("http://127.0.0.1:{further}/")).call());
    assert_eq!(line(&direct, "listener"), format!("0.0.0.0 {further}"));
    app.compile(&[macros[0], macros[1], "VERSION=\"two\""]);
    devhost.wait_ready(2);
    assert!(!devhost.printed().contains("tried once more"), "{}", devhost.printed());
    assert!(devhost.stop().success());
}

#[test]
fn an_app_that_asks_for_ipv6_is_reachable_by_it() {
    let port = format!("PORT={}", free_port());
    for (family, by_ipv6) in [("6", true), ("46", true), ("4", false)] {
        let app = App::new(&[&port, &format!("FAMILY={family}")]);
        let devhost = app.start_anywhere(&[]).ready();
        assert_eq!(devhost.get("/").status, 200, "{family}");
        let at = (Ipv6Addr::LOCALHOST, devhost.port);
        if by_ipv6 {
            let url = format!("http://[::1]:{}/", devhost.port);
            // The second family may be reported after the first one serves.
            let deadline = Instant::now() + SOON;
            while TcpStream::connect(at).is_err() {
                assert!(Instant::now() < deadline, "nobody is at [::1]: {}", devhost.printed());
                std::thread::sleep(Duration::from_millis(10));
            }
            let answer = crate::support::answer(devhost.client.get(url).call());
            assert_eq!((answer.status, answer.generation()), (200, 1), "{family}");
        } else {
            TcpStream::connect(at).expect_err("the app has not asked for it");
        }
        assert!(devhost.stop().success());
        TcpListener::bind(at).expect("the port is free at [::1], too");
    }
}

#[test]
fn a_second_listener_never_leads_to_old_code_beside_new() {
    let (port, further) = (format!("PORT={}", free_port()), free_port());
    let macros = [port.as_str(), &format!("FURTHER={further}")];
    let app = App::new(&macros);
    let devhost = app.start_anywhere(&[]).ready();
    devhost.wait_line(&format!("note: the app also listens on 0.0.0.0:{further}"));
    let ask = || {
        let answer = crate::support::answer(client().get(format!("http://127.0.0.1:{further}/")).call());
        line(&answer, "version").to_owned()
    };
    assert_eq!(ask(), "one");
    // The old code keeps running for a while, and listens.
    let slow = devhost.connect(b"GET /slow HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    devhost.wait_line("a slow request has begun");
    app.compile(&[macros[0], macros[1], "VERSION=\"two\""]);
    devhost.wait_ready(2);
    for _ in 0..40 {
        assert_eq!(ask(), "two");
    }
    let mut slowly = String::new();
    std::io::Read::read_to_string(&mut BufReader::new(slow), &mut slowly).unwrap();
    assert!(slowly.contains("version one"), "{slowly}");
    devhost.wait_status(SOON, "alone", |status| status["workers"].as_array().unwrap().len() == 1);
    // The same with another order of listeners.
    app.compile(&[macros[0], macros[1], "VERSION=\"three\""]);
    devhost.wait_ready(3);
    for _ in 0..20 {
        assert_eq!(ask(), "three");
    }
    assert!(devhost.stop().success());
}

#[test]
fn a_port_that_is_named_wins_over_one_that_was_remembered() {
    let (port, further) = (free_port(), free_port());
    let numbers = [format!("PORT={port}"), format!("FURTHER={further}")];
    let app = App::new(&[&numbers[0], &numbers[1], "FURTHER_FIRST"]);
    let devhost = app.start(&[]);
    assert_eq!(devhost.port, further);
    devhost.wait_ready(1);
    assert!(devhost.stop().success());
    // Bound before anything listens, even if the app never gets that far.
    app.compile(&["EXIT=1"]);
    let devhost = app.start(&["--app-port", &port.to_string()]);
    assert_eq!(devhost.port, port);
    assert!(devhost.stop().success());
}

#[test]
fn a_unix_socket_of_an_earlier_generation_is_no_obstacle() {
    let app = App::new(&["UNIX=\"app.sock\"", "KEEPS"]);
    let devhost = app.start_anywhere(&[]).ready();
    for (generation, version) in [(2, "two"), (3, "three")] {
        app.compile(&["UNIX=\"app.sock\"", "KEEPS", &format!("VERSION=\"{version}\"")]);
        devhost.wait_ready(generation);
        assert_eq!(line(&devhost.get("/"), "version"), version);
    }
    assert!(!devhost.printed().contains("tried once more"), "{}", devhost.printed());
    // A dead worker has left its file behind.
    assert!(devhost.get_page("/exit").status >= 500);
    devhost.wait_ready(4);
    assert_eq!(line(&devhost.get("/"), "version"), "three");
    assert!(devhost.stop().success());
}

#[test]
fn somebody_elses_unix_socket_is_left_to_them() {
    let app = App::new(&[&format!("PORT={}", free_port())]);
    let devhost = app.start_anywhere(&[]).ready();
    let theirs = UnixListener::bind(app.dir.path().join("app.sock")).unwrap();
    app.compile(&["UNIX=\"app.sock\"", "KEEPS"]);
    wait_failed(&devhost);
    assert!(devhost.printed().contains("Address already in use"), "{}", devhost.printed());
    let _ours = UnixStream::connect(app.dir.path().join("app.sock")).unwrap();
    theirs.accept().unwrap();
    assert!(devhost.stop().success());
}

#[test]
fn old_code_that_removes_its_unix_socket_leaves_that_of_the_new() {
    let app = App::new(&["UNIX=\"app.sock\"", "CLEANUP"]);
    let devhost = app.start_anywhere(&[]).ready();
    app.compile(&["UNIX=\"app.sock\"", "CLEANUP", "VERSION=\"two\""]);
    devhost.wait_ready(2);
    devhost.wait_line("cleaned up: version one");
    assert_eq!(line(&devhost.get("/"), "version"), "two");
    UnixStream::connect(app.dir.path().join("app.sock")).expect("the new code's socket has its name");
    assert!(devhost.stop().success());
}

#[test]
fn new_code_that_fails_after_it_took_the_unix_socket_leaves_the_last_good_serving() {
    let app = App::new(&["UNIX=\"app.sock\""]);
    // Without a second try, for which the old code would end.
    let devhost = app.start_anywhere(&[]).ready();
    app.compile(&["UNIX=\"app.sock\"", "FAILS"]);
    wait_failed(&devhost);
    devhost.wait_status(SOON, "the last good code", |status| status["generation"].as_u64() >= Some(1));
    assert_eq!(line(&devhost.get("/"), "version"), "one");
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
    let devhost = app.start_anywhere(&[]).ready();
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
    let devhost = app.start_anywhere(&[]).ready();
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
    let devhost = app.start_anywhere(&[]).ready();
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
    let devhost = app.start_anywhere(&["--no-overlap"]).ready();
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
    let devhost = app.start_anywhere(&[]);
    wait_failed(&devhost);
    let page = devhost.get_page("/");
    assert!(page.body.contains("exited with code 0 before it listened"), "{}", page.body);
    assert!(page.body.contains("devhost expects a server"), "{}", page.body);
    app.compile(&[&port]);
    devhost.wait_status(SOON, "ready", |status| status["state"] == "ready");
    // It may be the old code's fault, so it is tried alone. It is not, so the old code is restarted.
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
    let devhost = app.start_anywhere(&["--start-timeout-ms", "400"]);
    wait_failed(&devhost);
    let page = devhost.get_page("/");
    assert!(page.body.contains("did not listen within 0.4 s"), "{}", page.body);
    assert!(page.body.contains("bind a TCP port"), "{}", page.body);
    assert!(devhost.stop().success());
}

#[test]
fn a_daemon_is_told_to_stay() {
    let app = App::new(&[&format!("PORT={}", free_port()), "DAEMON"]);
    let devhost = app.start_anywhere(&[]);
    wait_failed(&devhost);
    let page = devhost.get_page("/");
    assert!(page.body.contains("has become a daemon"), "{}", page.body);
    assert!(devhost.stop().success());
}

#[test]
fn an_exit_on_a_request_is_a_crash_and_the_app_comes_back() {
    let app = App::new(&[&format!("PORT={}", free_port())]);
    let devhost = app.start_anywhere(&[]).ready();
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
    let devhost = app.start_anywhere(&["--env-file", "local.env"]).ready();
    assert_eq!(line(&devhost.get("/env/COLOUR"), "variable"), "red");
    assert_eq!(line(&devhost.get("/env/NO_COLOR"), "variable"), "1", "what is set already wins");
    assert_eq!(line(&devhost.get("/env/DEVHOST_ZYGOTE"), "variable"), "(none)");
    std::fs::write(&file, "COLOUR=blue\n").unwrap();
    devhost.wait_ready(2);
    assert_eq!(line(&devhost.get("/env/COLOUR"), "variable"), "blue");
    assert!(devhost.stop().success());
}

#[test]
fn the_page_of_a_failed_start_shows_what_the_app_said_last() {
    let app = App::new(&["SAY=\"\\033[31mno <database>\\033[0m at all\\n\"", "EXIT=4"]);
    let devhost = app.start_anywhere(&[]);
    wait_failed(&devhost);
    let page = devhost.get_page("/");
    assert!(page.body.contains("exited with code 4 before it listened"), "{}", page.body);
    assert!(page.body.contains(">no &lt;database&gt;</span> at all"), "{}", page.body);
    assert!(
        devhost.printed().contains("no <database>"),
        "the terminal has it as well: {}",
        devhost.printed()
    );
    let failure = &devhost.status()["failure"];
    assert!(failure["output"].as_str().unwrap().contains("no <database>"), "{failure:#}");
    // The app's earlier output is not its output now.
    app.compile(&["SAY=\"another reason\\n\"", "EXIT=4"]);
    devhost.wait_status(SOON, "the other reason", |status| {
        status["failure"]["output"].as_str().is_some_and(|output| output == "another reason\n")
    });
    assert!(devhost.stop().success());
}

#[test]
fn the_page_of_an_app_that_never_listens_shows_what_it_waits_for() {
    let app = App::new(&["SAY=\"waiting for the queue\\n\"", "HANG"]);
    let devhost = app.start_anywhere(&["--start-timeout-ms", "400"]);
    wait_failed(&devhost);
    let page = devhost.get_page("/");
    assert!(page.body.contains("waiting for the queue"), "{}", page.body);
    assert!(devhost.stop().success());
}

#[test]
fn the_page_of_a_crash_shows_what_the_app_said_last() {
    let app = App::new(&[&format!("PORT={}", free_port()), "SAY=\"famous last words\\n\""]);
    let devhost = app.start_anywhere(&[]).ready();
    let page = devhost.get_page("/exit");
    assert!(page.body.contains("code 3") && page.body.contains("famous last words"), "{}", page.body);
    assert!(devhost.stop().success());
}

#[test]
fn a_terminal_stays_one_for_the_app() {
    let app = App::new(&[&format!("PORT={}", free_port())]);
    let (devhosts, ours) = open_terminal();
    let target = app.dir.path().join("target");
    let path = app.path();
    let args = ["run", path.to_str().unwrap(), "--target-dir", target.to_str().unwrap(), "--port", "0"];
    let devhost = Devhost::start_on(app.dir.path(), &args, devhosts, ours).ready();
    assert_eq!(line(&devhost.get("/"), "terminal"), "1");
    assert!(devhost.stop().success());
}

#[test]
fn standard_input_is_empty_unless_it_is_asked_for() {
    let port = format!("PORT={}", free_port());
    let app = App::new(&[&port, "STDIN"]);
    let file = app.dir.path().join("input");
    std::fs::write(&file, "one two").unwrap();
    let start = |more: &[&str]| {
        let target = app.dir.path().join("target");
        let path = app.path();
        let mut args = vec!["run", path.to_str().unwrap(), "--target-dir", target.to_str().unwrap()];
        args.extend(more);
        let input = std::fs::File::open(&file).unwrap();
        Devhost::start_with(app.dir.path(), &args, |command| {
            command.stdin(input);
        })
    };
    let devhost = start(&["--port", "0"]).ready();
    assert_eq!(line(&devhost.get("/"), "input"), "");
    assert!(devhost.stop().success());
    // Each generation reads the file from the start.
    let devhost = start(&["--port", "0", "--stdin"]).ready();
    assert_eq!(line(&devhost.get("/"), "input"), "one two");
    app.compile(&[&port, "STDIN", "VERSION=\"two\""]);
    devhost.wait_ready(2);
    assert_eq!((line(&devhost.get("/"), "version"), line(&devhost.get("/"), "input")), ("two", "one two"));
    assert!(devhost.stop().success());
}

#[test]
fn what_comes_through_a_pipe_is_there_for_the_code_after_a_reload() {
    let port = format!("PORT={}", free_port());
    let app = App::new(&[&port, "STDIN"]);
    let (theirs, ours) = std::io::pipe().unwrap();
    let (target, path) = (app.dir.path().join("target"), app.path());
    let args =
        ["run", path.to_str().unwrap(), "--target-dir", target.to_str().unwrap(), "--port", "0", "--stdin"];
    let devhost = Devhost::start_with(app.dir.path(), &args, |command| {
        command.stdin(theirs);
    });
    std::io::Write::write_all(&mut &ours, b"through a pipe").unwrap();
    drop(ours);
    devhost.wait_ready(1);
    assert_eq!(line(&devhost.get("/"), "input"), "through a pipe");
    app.compile(&[&port, "STDIN", "VERSION=\"two\""]);
    devhost.wait_ready(2);
    assert_eq!(line(&devhost.get("/"), "input"), "through a pipe");
    assert!(devhost.stop().success());
}

#[test]
fn a_tcp_listener_after_a_unix_socket_takes_over() {
    let app = App::new(&[
        "UNIX=\"control.sock\"",
        "LATE=\"now.lock\"",
        &format!("PORT={}", free_port()),
        "VERSION=\"late\"",
    ]);
    let devhost = app.start_anywhere(&[]).ready();
    devhost.wait_line("no TCP port, so requests go there");
    assert!(line(&devhost.get("/"), "listener").starts_with("unix"));
    // A lock means nothing to devhost, which would start the app anew because of another file that it polls.
    std::fs::write(app.dir.path().join("now.lock"), "").unwrap();
    devhost.wait_line("no longer to its Unix socket");
    assert!(line(&devhost.get("/"), "listener").starts_with("0.0.0.0 "));
    assert!(devhost.stop().success());
}

#[test]
fn another_port_of_the_app_is_followed_and_the_old_one_stays() {
    let (first, second) = (free_port(), free_port());
    let app = App::new(&[&format!("PORT={first}")]);
    let devhost = app.start(&[]);
    assert_eq!(devhost.port, first);
    devhost.wait_ready(1);
    app.compile(&[&format!("PORT={second}"), "VERSION=\"moved\""]);
    devhost.wait_line(&format!("the app asks for port {second} now: it is at http://127.0.0.1:{second}/"));
    devhost.wait_ready(2);
    for port in [first, second] {
        let url = format!("http://127.0.0.1:{port}/");
        assert_eq!(line(&crate::support::answer(devhost.client.get(url).call()), "version"), "moved");
    }
    // Back again: nothing has to be opened.
    app.compile(&[&format!("PORT={first}"), "VERSION=\"back\""]);
    devhost.wait_ready(3);
    assert_eq!(line(&devhost.get("/"), "version"), "back");
    assert!(devhost.stop().success());
    TcpListener::bind(("127.0.0.1", second)).expect("the other port is free, too");
}

#[test]
fn a_port_that_the_user_gives_does_not_move() {
    let (first, second) = (free_port(), free_port());
    let app = App::new(&[&format!("PORT={first}")]);
    let devhost = app.start_anywhere(&[]).ready();
    app.compile(&[&format!("PORT={second}"), "VERSION=\"moved\""]);
    devhost.wait_ready(2);
    assert_eq!(line(&devhost.get("/"), "version"), "moved");
    TcpListener::bind(("127.0.0.1", second)).expect("nobody has the port that the app asks for now");
    assert!(devhost.stop().success());
}

#[test]
fn a_socket_that_devhost_was_started_with_is_the_fronts_and_the_app_binds_its_own() {
    let app = App::new(&[&format!("PORT={}", free_port())]);
    let passed = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = passed.local_addr().unwrap().port();
    let devhost = start_with_descriptor_3(&app, &passed, &[]);
    drop(passed);
    assert_eq!(devhost.port, port);
    devhost.wait_ready(1);
    assert_eq!(devhost.get("/").status, 200);
    for variable in ["LISTEN_FDS", "LISTEN_PID"] {
        assert_eq!(line(&devhost.get(&format!("/env/{variable}")), "variable"), "(none)");
    }
    assert!(devhost.stop().success());
}

#[test]
fn a_port_that_the_user_gives_wins_over_a_socket() {
    let app = App::new(&[&format!("PORT={}", free_port())]);
    let passed = TcpListener::bind("127.0.0.1:0").unwrap();
    let devhost = start_with_descriptor_3(&app, &passed, &["--port", "0"]);
    assert_ne!(devhost.port, passed.local_addr().unwrap().port());
    devhost.wait_line("are not used");
    assert!(devhost.stop().success());
}

#[test]
fn what_is_passed_and_is_no_listener_is_a_mistake() {
    let app = App::new(&[]);
    let file = std::fs::File::open(app.path()).unwrap();
    let output = crate::support::run_to_end_with(
        app.dir.path(),
        &[
            "run",
            app.path().to_str().unwrap(),
            "--target-dir",
            app.dir.path().join("target").to_str().unwrap(),
        ],
        |command| pass_as_descriptor_3(command, &file),
    );
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("is not a listening TCP socket") && message.contains("LISTEN_FDS"), "{message}");
}

fn start_with_descriptor_3(app: &App, passed: &TcpListener, more: &[&str]) -> Devhost {
    let (target, path) = (app.dir.path().join("target"), app.path());
    let mut args = vec!["run", path.to_str().unwrap(), "--target-dir", target.to_str().unwrap()];
    args.extend(more);
    Devhost::start_with(app.dir.path(), &args, |command| pass_as_descriptor_3(command, passed))
}

pub(crate) fn open_terminal() -> (OwnedFd, OwnedFd) {
    let (mut master, mut slave) = (-1, -1);
    use std::ptr::{null, null_mut};
    // SAFETY: the two numbers outlive the call, and the other arguments are optional.
    let result = unsafe { nix::libc::openpty(&raw mut master, &raw mut slave, null_mut(), null(), null()) };
    assert_eq!(result, 0);
    // SAFETY: both were just opened and have no other owner.
    let ends = unsafe { (OwnedFd::from_raw_fd(slave), OwnedFd::from_raw_fd(master)) };
    for end in [&ends.0, &ends.1] {
        nix::fcntl::fcntl(end, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC)).unwrap();
    }
    ends
}

/// As systemfd does it.
fn pass_as_descriptor_3(command: &mut Command, passed: &impl std::os::fd::AsRawFd) {
    let raw = passed.as_raw_fd();
    command.env("LISTEN_FDS", "1");
    // SAFETY: plain system calls, fit for the time between fork and exec.
    unsafe {
        std::os::unix::process::CommandExt::pre_exec(command, move || {
            // A copy that is no 3 itself, so that the one at 3 stays open across the exec.
            let copy = nix::libc::fcntl(raw, nix::libc::F_DUPFD, 10);
            if copy < 0 || nix::libc::dup2(copy, 3) < 0 {
                return Err(std::io::Error::last_os_error());
            }
            nix::libc::close(copy);
            Ok(())
        });
    }
}

/// The standard library is shared here, as in devhost's builds, and must find devhost's functions, too.
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
                let mut head = [0; 4096];
                let len = stream.read(&mut head).unwrap();
                if head[..len].starts_with(b"GET /panic") {{
                    let handler = std::thread::spawn(move || {{
                        let _stream = stream;
                        panic!("the <cake> is a lie");
                    }});
                    let _ = handler.join();
                    continue;
                }}
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
    // A handler's panic is the app's own business; its message is on the page.
    let page = devhost.get_page("/panic");
    assert_eq!(page.status, 502, "{}", page.body);
    for part in ["gave no answer", "the &lt;cake&gt; is a lie", "panicked at", "main.rs:"] {
        assert!(page.body.contains(part), "{part:?} is not in {}", page.body);
    }
    assert!(devhost.stop().success());
}

#[test]
fn an_app_that_panics_at_start_gets_no_advice_on_its_input() {
    for (code, advised) in [("EXIT=1", true), ("EXIT=101", false)] {
        let app = App::new(&[code]);
        let devhost = app.start_anywhere(&[]);
        wait_failed(&devhost);
        let hint = devhost.status()["failure"]["hint"].to_string();
        assert_eq!(hint.contains("--stdin"), advised, "{hint}");
        assert_eq!(devhost.get_page("/").body.contains("--stdin"), advised);
        assert!(devhost.stop().success());
    }
}
