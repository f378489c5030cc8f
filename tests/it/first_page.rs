//! The first page: there is an address before the app is built, even if it is a guess, and what cargo has built already is served
//! at once.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::{Devhost, SOON, answer, cargo_turn, client, scratch};

/// Answers each request with a word and the number of the request. Its arguments are its ports, the main one first.
const MAIN: &str = r#"
use std::io::{Read, Write};
use std::net::TcpListener;

fn main() {
    let held = std::env::var("HELD").ok().and_then(|port| port.parse::<u16>().ok());
    let _held = held.map(|port| std::net::UdpSocket::bind(("127.0.0.1", port)).unwrap());
    let ports: Vec<u16> = std::env::args().skip(1).map(|port| port.parse().unwrap()).collect();
    let listeners: Vec<_> = ports.iter().map(|port| TcpListener::bind(("127.0.0.1", *port)).unwrap()).collect();
    let mut count = 0;
    for client in listeners[0].incoming() {
        let mut client = client.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            match client.read(&mut byte) {
                Ok(1) => request.push(byte[0]),
                _ => break,
            }
        }
        count += 1;
        let text = format!("{} {count} {}", WORD, option_env!("FIRST_PAGE").unwrap_or("none"));
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", text.len());
        let _ = write!(client, "{head}{text}");
    }
}

#[cfg(not(feature = "loud"))]
const WORD: &str = include_str!("word.txt");
#[cfg(feature = "loud")]
const WORD: &str = "LOUD";
"#;

/// Holds the build until a file is there. For a minute, so that a broken test leaves no process behind.
const HELD_BUILD: &str = r#"
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for _ in 0..6000 {
        if std::path::Path::new("go").exists() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}
"#;

struct Shop {
    dir: tempfile::TempDir,
    /// cargo's home, whose locks other tests do not hold.
    home: tempfile::TempDir,
}

impl Shop {
    fn new() -> Self {
        let dir = scratch();
        let manifest = "[package]\nname = \"first-shop\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[features]\nloud = []\n\n[workspace]\n";
        std::fs::create_dir_all(dir.path().join("src")).unwrap();
        let shop = Self { dir, home: scratch() };
        shop.write("Cargo.toml", manifest);
        shop.write("src/main.rs", MAIN);
        shop.write("src/word.txt", "one");
        shop
    }

    /// One whose build waits for [`Self::go`].
    fn held() -> Self {
        let shop = Self::new();
        shop.write("build.rs", HELD_BUILD);
        shop
    }

    fn go(&self) {
        self.write("go", "");
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.dir.path().join(relative)
    }

    /// Replaces a file as most editors do.
    fn write(&self, relative: &str, text: &str) {
        let temporary = self.path(".written.tmp~");
        std::fs::write(&temporary, text).unwrap();
        std::fs::rename(temporary, self.path(relative)).unwrap();
    }

    /// Starts it where the environment says `guess`, with these arguments for the app.
    fn start(&self, guess: u16, app_args: &[u16]) -> Devhost {
        self.start_with(guess, &[], app_args, |_| {})
    }

    fn start_with(
        &self,
        guess: u16,
        args: &[&str],
        app_args: &[u16],
        adjust: impl FnOnce(&mut Command),
    ) -> Devhost {
        let app_args: Vec<String> = app_args.iter().map(u16::to_string).collect();
        let mut line = vec!["run"];
        line.extend(args);
        line.push("--");
        line.extend(app_args.iter().map(String::as_str));
        Devhost::start_with(self.dir.path(), &line, |command| {
            command.env("PORT", guess.to_string()).env("CARGO_HOME", self.home.path());
            adjust(command);
        })
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn is_starting_page(devhost: &Devhost) -> bool {
    let page = devhost.get_page("/");
    page.status == 503 && page.body.contains("for the first time")
}

#[test]
fn a_page_is_there_before_the_app_is_built() {
    let _turn = cargo_turn();
    let shop = Shop::held();
    let port = free_port();
    let devhost = shop.start(port, &[port]);
    assert_eq!(devhost.port, port);
    assert!(is_starting_page(&devhost));
    shop.go();
    devhost.wait_ready(1);
    assert!(devhost.get("/").body.starts_with("one"));
    assert!(!devhost.printed().contains("no longer"), "{}", devhost.printed());
    assert!(devhost.stop().success());

    // Next time it is known, whatever the environment says.
    std::fs::remove_file(shop.path("go")).unwrap();
    shop.write("build.rs", &format!("{HELD_BUILD}\n"));
    let devhost = shop.start(free_port(), &[port]);
    assert_eq!(devhost.port, port);
    assert!(is_starting_page(&devhost));
    shop.go();
    devhost.wait_ready(1);
    assert!(devhost.stop().success());
}

#[test]
fn a_wrong_guess_is_followed_with_the_pages_that_are_open_and_given_up() {
    let _turn = cargo_turn();
    let shop = Shop::held();
    let (guess, port) = (free_port(), free_port());
    // It may want the guessed one for something else.
    let mut devhost = shop.start(guess, &[port, guess]);
    assert_eq!(devhost.port, guess);
    assert!(is_starting_page(&devhost));
    let events = client().get(format!("{}/__devhost/events", devhost.url)).call().unwrap();
    let url = devhost.url.clone();
    let waits = std::thread::spawn(move || answer(client().get(format!("{url}/")).call()));
    shop.go();
    let moved = format!("{{\"type\":\"moved\",\"from\":{guess},\"to\":{port}}}");
    let mut lines = BufReader::new(events.into_body().into_reader()).lines();
    assert!(lines.any(|line| line.unwrap().contains(&moved)), "pages are told");
    assert!(waits.join().unwrap().body.starts_with("one"), "what waited at the old address is answered");
    devhost.wait_line(&format!("Local: http://127.0.0.1:{port}/"));
    devhost.url = format!("http://127.0.0.1:{port}");
    devhost.port = port;
    let status = devhost.wait_ready(1);
    assert_eq!(status["url"], format!("http://127.0.0.1:{port}/"), "{status:#}");
    assert!(devhost.get("/").body.starts_with("one"));
    shop.write("src/word.txt", "two");
    devhost.wait_ready(2);
    assert!(devhost.get("/").body.starts_with("two"), "the front's threads are there");
    assert!(devhost.stop().success());
}

#[test]
fn a_guess_that_somebody_else_has_is_no_mistake() {
    let _turn = cargo_turn();
    let shop = Shop::new();
    let theirs = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free_port();
    let devhost = shop.start(theirs.local_addr().unwrap().port(), &[port]);
    assert_eq!(devhost.port, port);
    devhost.wait_ready(1);
    assert!(!devhost.printed().contains("in use"), "{}", devhost.printed());
    assert!(devhost.stop().success());
}

#[test]
fn a_first_build_that_fails_is_shown_at_once_at_the_address() {
    let _turn = cargo_turn();
    let shop = Shop::new();
    shop.write("src/main.rs", &MAIN.replace("count += 1;", "count += \"one\";"));
    let port = free_port();
    let devhost = shop.start(port, &[port]);
    assert_eq!(devhost.port, port);
    devhost.wait_status(SOON, "failed", |status| status["state"] == "failed");
    let page = devhost.get_page("/");
    assert!(page.status == 500 && page.body.contains("E0277"), "{} {}", page.status, page.body);
    shop.write("src/main.rs", MAIN);
    devhost.wait_status(SOON, "ready", |status| status["state"] == "ready");
    assert!(devhost.get("/").body.starts_with("one"));
    assert!(devhost.stop().success());
}

const SERVES: &str = "up to date and serves";

impl Shop {
    /// Builds it as its developer does.
    fn build(&self) {
        let status = Command::new("cargo")
            .args(["build", "--quiet"])
            .current_dir(self.dir.path())
            .env_remove("CARGO_TARGET_DIR")
            .env("CARGO_HOME", self.home.path())
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// One that is built, whose next build waits for [`Self::go`].
    fn built() -> Self {
        let shop = Self::held();
        shop.go();
        shop.build();
        std::fs::remove_file(shop.path("go")).unwrap();
        shop
    }

    /// What changes if cargo builds it again.
    fn stamp(&self) -> (u64, std::time::SystemTime) {
        let program = std::fs::metadata(self.path("target/debug/first-shop")).unwrap();
        (program.ino(), program.modified().unwrap())
    }
}

fn wait_built_behind(devhost: &Devhost) {
    devhost.wait_status(SOON, "built behind", |status| {
        let reloads = status["reloads"].as_array().unwrap();
        reloads.iter().any(|reload| reload["outcome"] == "behind")
    });
}

#[test]
fn what_cargo_has_built_serves_before_devhost_has_built_anything_and_keeps_its_memory_until_a_change() {
    let _turn = cargo_turn();
    let shop = Shop::built();
    let before = shop.stamp();
    let port = free_port();
    let devhost = shop.start(port, &[port]).ready();
    devhost.wait_line(SERVES);
    let first = devhost.get("/");
    assert_eq!((first.body.as_str(), first.generation()), ("one 1 none", 1));
    let deps = shop.path("target/devhost/debug/deps");
    let has_app = || files_in(&deps).any(|name| name.starts_with("first_shop") && !name.ends_with(".d"));
    assert!(!has_app(), "nothing is built yet");
    assert_eq!(devhost.get("/").body, "one 2 none");
    shop.go();
    wait_built_behind(&devhost);
    let third = devhost.get("/");
    assert_eq!((third.body.as_str(), third.generation()), ("one 3 none", 1), "it keeps its memory");
    let program = devhost.worker_pid();
    shop.write("src/word.txt", "two");
    devhost.wait_ready(2);
    assert_eq!(devhost.get("/").body, "two 1 none");
    assert_ne!(devhost.worker_pid(), program);
    assert!(devhost.status()["reloads"].as_array().unwrap().last().unwrap()["steps"]["fork_ms"] != 0.0);
    assert_eq!(shop.stamp(), before, "the developer's own build is left alone");
    assert!(devhost.stop().success());
}

#[test]
fn an_edit_while_devhost_builds_behind_it_is_served_by_the_next_generation() {
    let _turn = cargo_turn();
    let shop = Shop::built();
    let port = free_port();
    let devhost = shop.start(port, &[port]).ready();
    assert_eq!(devhost.get("/").body, "one 1 none");
    shop.write("src/word.txt", "two");
    devhost.wait_status(SOON, "building", |status| status["state"] == "building");
    shop.go();
    // Held until the new code serves.
    assert_eq!(devhost.get("/").body, "two 1 none");
    devhost.wait_ready(2);
    assert!(devhost.stop().success());
}

#[test]
fn what_is_not_up_to_date_beyond_doubt_is_not_served() {
    let _turn = cargo_turn();
    let shop = Shop::new();
    shop.build();
    std::fs::write(shop.path("older.txt"), "older").unwrap();
    let hour = Duration::from_secs(3600);
    let older = std::fs::File::options().append(true).open(shop.path("older.txt")).unwrap();
    older.set_modified(std::time::SystemTime::now() - hour).unwrap();
    let before = shop.stamp();
    let no_change: &dyn Fn(&Shop) = &|_| {};
    /// What is different, devhost's arguments, its environment, what is done before, and what is served.
    type Case<'c> = (&'c str, &'c [&'c str], &'c [(&'c str, &'c str)], &'c dyn Fn(&Shop), &'c str);
    let cases: [Case<'_>; 5] = [
        ("another feature", &["--features", "loud"], &[], no_change, "LOUD 1 none"),
        ("another environment", &[], &[("FIRST_PAGE", "x")], no_change, "one 1 x"),
        ("another profile", &["--release"], &[], no_change, "one 1 none"),
        ("an edit", &[], &[], &|shop| shop.write("src/word.txt", "two"), "two 1 none"),
        (
            "an older file in its place",
            &[],
            &[],
            &|shop| std::fs::rename(shop.path("older.txt"), shop.path("src/word.txt")).unwrap(),
            "older 1 none",
        ),
    ];
    for (what, args, variables, change, wanted) in cases {
        change(&shop);
        let port = free_port();
        let devhost = shop.start_with(port, args, &[port], |command| {
            command.envs(variables.iter().copied());
        });
        devhost.wait_ready(1);
        assert_eq!(devhost.get("/").body, wanted, "{what}");
        assert!(!devhost.printed().contains(SERVES), "{what}: {}", devhost.printed());
        assert!(devhost.stop().success());
        assert_eq!(shop.stamp(), before, "{what}: it is not built twice");
        let _ = std::fs::remove_dir_all(shop.path("target/devhost"));
    }
}

#[test]
fn a_program_that_does_not_start_is_said_and_what_devhost_builds_is_tried() {
    let _turn = cargo_turn();
    let shop = Shop::built();
    let port = free_port();
    let theirs = UdpSocket::bind("127.0.0.1:0").unwrap();
    let held = theirs.local_addr().unwrap().port().to_string();
    let devhost = shop.start_with(port, &["--no-overlap"], &[port], |command| {
        command.env("HELD", held);
    });
    devhost.wait_status(SOON, "failed", |status| status["state"] == "failed");
    let page = devhost.get_page("/");
    assert!(page.body.contains("did not start"), "{}", page.body);
    drop(theirs);
    shop.go();
    devhost.wait_status(SOON, "ready", |status| status["state"] == "ready");
    assert_eq!(devhost.get("/").body, "one 1 none");
    assert!(devhost.stop().success());
}

fn files_in(directory: &Path) -> impl Iterator<Item = String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
}
