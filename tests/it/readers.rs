//! Apps that read files through the libraries that people use for it: what follows from a change of each.
//!
//! `tests/fixtures/plain/readers` has the apps. Whatever follows, the next response has the new content.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::support::{Devhost, cargo_turn, copy_tree, repository, scratch, write_file};

/// What a change leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// A new generation, and no word about a restart.
    Build,
    /// A new generation, with this reason.
    Restart(&'static str),
    /// Browsers swap a stylesheet. The app stays.
    Swap,
    /// Browsers reload. The app stays.
    Reload,
    Nothing,
}

struct Apps {
    dir: tempfile::TempDir,
    package: &'static str,
}

impl Apps {
    fn new(package: &'static str) -> Self {
        let dir = scratch();
        copy_tree(&repository().join("tests/fixtures/plain/readers"), dir.path());
        std::fs::create_dir(dir.path().join(".git")).unwrap();
        Self { dir, package }
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.dir.path().join(self.package).join(relative)
    }

    fn write(&self, relative: &str, text: &str) {
        write_file(self.path(relative), text);
    }

    /// Replaces a file as most editors do. What is written in place may be seen half done on a busy machine, which costs one
    /// more generation.
    fn replace(&self, relative: &str, text: &str) {
        let path = self.path(relative);
        let temporary = path.with_file_name(".edited.tmp~");
        std::fs::write(&temporary, text).unwrap();
        std::fs::rename(temporary, path).unwrap();
    }

    fn start(&self) -> Devhost {
        let target = concat!(env!("CARGO_TARGET_TMPDIR"), "/apps");
        let line = ["run", "--target-dir", target, "--port", "0", "--undamped"];
        Devhost::start(&self.path(""), &line).ready()
    }
}

/// Sends a request with these headers. Returns the status and the body, as a text.
fn ask(devhost: &Devhost, method: &str, url: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let (status, body) = ask_for_bytes(devhost, method, url, headers);
    (status, String::from_utf8_lossy(&body).into_owned())
}

fn ask_for_bytes(devhost: &Devhost, method: &str, url: &str, headers: &[(&str, &str)]) -> (u16, Vec<u8>) {
    let more: String = headers.iter().flat_map(|(name, value)| [name, ": ", value, "\r\n"]).collect();
    let head = format!("{method} {url} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{more}\r\n");
    let mut answer = Vec::new();
    devhost.connect(head.as_bytes()).read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("the head is whole");
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let status = head[9..12].parse().unwrap();
    (status, answer[end + 4..].to_vec())
}

/// Asserts what a change leads to, and that the next response for the URL has this in it.
#[track_caller]
fn assert_follows(devhost: &Devhost, change: impl FnOnce(), url: &str, content: &str, expected: Expected) {
    let before = devhost.get("/").generation();
    let printed = devhost.printed().lines().count();
    change();
    let after = devhost.get(url);
    let news = || devhost.printed().lines().skip(printed).collect::<Vec<_>>().join("\n");
    assert!(after.body.contains(content), "{url} after {expected:?}: {}\n{}", after.body, news());
    let (is_new, word) = match expected {
        Expected::Build => (true, "reloaded #"),
        Expected::Restart(why) => (true, why),
        Expected::Swap => (false, "css update"),
        Expected::Reload => (false, "page reload"),
        Expected::Nothing => (false, ""),
    };
    if !word.is_empty() {
        devhost.wait_line_after(printed, word);
    }
    // A later generation would be one too many.
    assert_eq!(devhost.get(url).generation(), before + u64::from(is_new), "{url}, {expected:?}:\n{}", news());
}

/// Sends requests for a served file in each way that browsers have.
const WAYS: &[fn(&Devhost, &str)] = &[
    |devhost, url| drop(ask(devhost, "GET", url, &[])),
    |devhost, url| drop(ask(devhost, "GET", url, &[("accept-encoding", "gzip")])),
    |devhost, url| {
        let modified = devhost.get(url).header("last-modified").map(str::to_owned);
        if let Some(modified) = modified {
            assert_eq!(ask(devhost, "GET", url, &[("if-modified-since", &modified)]).0, 304);
        }
    },
    |devhost, url| {
        let tag = devhost.get(url).header("etag").map(str::to_owned);
        if let Some(tag) = tag {
            assert_eq!(ask(devhost, "GET", url, &[("if-none-match", &tag)]).0, 304);
        }
    },
    |devhost, url| drop(ask(devhost, "GET", url, &[("range", "bytes=2-7")])),
    |devhost, url| drop(ask(devhost, "GET", url, &[("range", "bytes=9999-")])),
    |devhost, url| drop(ask(devhost, "HEAD", url, &[])),
    |devhost, url| {
        std::thread::scope(|scope| {
            for number in 0..4 {
                let packed: &[_] = if number % 2 == 0 { &[] } else { &[("accept-encoding", "gzip")] };
                scope.spawn(move || ask(devhost, "GET", url, packed));
            }
        });
    },
];

/// Asserts that a stylesheet never costs a restart, however it was asked for.
#[track_caller]
fn assert_is_only_served(apps: &Apps, devhost: &Devhost, url: &str, file: &str) {
    for (number, way) in WAYS.iter().enumerate() {
        way(devhost, url);
        let colour = format!("{url} {number}");
        let text = format!("p {{ content: '{colour}' }} /* {} */\n", " ".repeat(number * 37 % 100));
        let change = || if number % 2 == 0 { apps.write(file, &text) } else { apps.replace(file, &text) };
        assert_follows(devhost, change, url, &colour, Expected::Swap);
    }
}

#[test]
fn each_library_has_its_reaction() {
    let _turn = cargo_turn();
    let apps = Apps::new("readers");
    let devhost = apps.start();
    let templates: &[(&str, &str, Expected)] = &[
        ("/askama", "templates/askama/page.html", Expected::Build),
        ("/minijinja", "templates/loader/page.html", Expected::Restart("page.html, read while serving")),
        ("/minijinja/embedded", "templates/embedded.html", Expected::Build),
        ("/tera", "templates/tera/page.html", Expected::Restart("tera/page.html, read at start")),
        (
            "/tera",
            "templates/tera/new.html",
            Expected::Restart("new.html, in a directory that the app has listed"),
        ),
        ("/include", "included/one.txt", Expected::Build),
        ("/include", "included/two.txt", Expected::Build),
        ("/migrations", "migrations/1_first.sql", Expected::Build),
        ("/migrations", "migrations/2_second.sql", Expected::Build),
    ];
    for (number, (url, file, expected)) in templates.iter().enumerate() {
        devhost.get(url);
        let text = format!("edit {number}\n");
        assert_follows(&devhost, || apps.replace(file, &text), url, text.trim(), *expected);
    }

    // What a template without anything to fill in sends is the very file, until the app answers from memory.
    devhost.get("/tera/lazy");
    let why = "tera_lazy/page.html, ";
    for text in ["lazy second", "lazy third"] {
        let change = || apps.replace("templates/tera_lazy/page.html", text);
        assert_follows(&devhost, change, "/tera/lazy", text, Expected::Restart(why));
    }

    let title = |text: &str| format!("title = '{text}'\n");
    let change = || apps.replace("config/default.toml", &title("other"));
    assert_follows(&devhost, change, "/config", "other", Expected::Restart("default.toml, read at start"));
    let change = || apps.replace("config/local.toml", &title("local"));
    let why = "local.toml, the app had looked for it in vain";
    assert_follows(&devhost, change, "/config", "local", Expected::Restart(why));
    let change = || std::fs::remove_file(apps.path("config/local.toml")).unwrap();
    assert_follows(&devhost, change, "/config", "other", Expected::Restart("local.toml, read at start"));

    let change = || apps.replace("locales/en-US/main.ftl", "greeting = hello\n");
    assert_follows(&devhost, change, "/fluent/greeting", "hello", Expected::Build);
    let change = || apps.replace("locales/en-US/more.ftl", "farewell = bye\n");
    assert_follows(&devhost, change, "/fluent/farewell", "bye", Expected::Build);
    assert!(devhost.stop().success());
}

#[test]
fn a_served_file_never_costs_a_restart() {
    let _turn = cargo_turn();
    let apps = Apps::new("readers");
    let devhost = apps.start();
    for (url, file) in [
        ("/static/site.css", "static/site.css"),
        ("/packed/site.css", "static/site.css"),
        ("/squeezed/site.css", "squeezed/site.css"),
        ("/embed/site.css", "embedded/site.css"),
    ] {
        assert_is_only_served(&apps, &devhost, url, file);
    }
    devhost.get("/static/note.txt");
    let change = || apps.write("static/note.txt", "other note");
    assert_follows(&devhost, change, "/static/note.txt", "other note", Expected::Reload);

    // Git-ignored, like a stylesheet that a compiler writes.
    assert_eq!(devhost.get("/static/out.css").status, 404);
    let why = "out.css, the app had looked for it in vain";
    assert_follows(
        &devhost,
        || apps.write("static/out.css", "p {}"),
        "/static/out.css",
        "p {}",
        Expected::Restart(why),
    );
    assert_is_only_served(&apps, &devhost, "/static/out.css", "static/out.css");
    assert!(devhost.stop().success());
}

/// Packs a text, by gzip(1).
fn pack(text: &str) -> Vec<u8> {
    let mut gzip =
        Command::new("gzip").args(["-nc"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    gzip.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = gzip.wait_with_output().unwrap();
    assert!(output.status.success());
    output.stdout
}

#[test]
fn a_packed_file_beside_a_served_one_never_costs_a_restart() {
    let _turn = cargo_turn();
    let apps = Apps::new("readers");
    let (file, packed_file) = (apps.path("squeezed/page.css"), apps.path("squeezed/page.css.gz"));
    std::fs::write(&file, "p {}").unwrap();
    std::fs::write(&packed_file, pack("p {}")).unwrap();
    let devhost = apps.start();
    let url = "/squeezed/page.css";
    let generation = devhost.get("/").generation();
    for number in 0..4 {
        // Browsers ask for the packed one, other clients for the plain one.
        let packed = ask_for_bytes(&devhost, "GET", url, &[("accept-encoding", "gzip")]).1;
        assert!(packed.ends_with(&std::fs::read(&packed_file).unwrap()), "{packed:?}");
        assert_eq!(devhost.get(url).body, std::fs::read_to_string(&file).unwrap());
        let text = format!("p {{ content: '{number}' }}");
        std::fs::write(&file, &text).unwrap();
        std::fs::write(&packed_file, pack(&text)).unwrap();
    }
    assert_eq!(devhost.get("/").generation(), generation, "{}", devhost.printed());
    assert!(devhost.stop().success());
}

#[test]
fn what_the_app_writes_changes_nothing() {
    let _turn = cargo_turn();
    let apps = Apps::new("readers");
    let devhost = apps.start();
    for name in ["x.png", "y.png"] {
        let make = || {
            for _ in 0..3 {
                assert_eq!(devhost.get(&format!("/thumbs/{name}")).status, 200);
            }
        };
        assert_follows(&devhost, make, "/todos", "[", Expected::Nothing);
    }
    for text in ["milk", "bread"] {
        let add = || assert_eq!(devhost.post("/todos", "text/plain", text.as_bytes()).status, 200);
        assert_follows(&devhost, add, "/todos", text, Expected::Nothing);
    }
    // A change that counts shows that the ones before it did not.
    let change = || apps.replace("store/todos.json", "[\"by hand\"]");
    assert_follows(&devhost, change, "/todos", "by hand", Expected::Restart("todos.json, read at start"));
    assert_eq!(devhost.get("/todos").generation(), 2, "{}", devhost.printed());
    assert!(devhost.stop().success());
}

fn serves_files(package: &'static str, urls: &[&str]) {
    let _turn = cargo_turn();
    let apps = Apps::new(package);
    let devhost = apps.start();
    for url in urls {
        assert_is_only_served(&apps, &devhost, url, "static/site.css");
    }
    devhost.get_page("/");
    let change = || apps.write("pages/index.html", "<!doctype html><p>second");
    assert_follows(&devhost, change, "/", "second", Expected::Reload);
    assert!(devhost.stop().success());
}

#[test]
fn a_file_served_by_actix_never_costs_a_restart() {
    serves_files("on_actix", &["/static/site.css", "/packed/site.css"]);
}

#[test]
#[ignore = "builds Rocket, which takes minutes"]
fn a_file_served_by_rocket_never_costs_a_restart() {
    serves_files("on_rocket", &["/static/site.css"]);
}
