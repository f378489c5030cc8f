//! What counts as a change, on packages without dependencies: build inputs, files written by builds, and
//! files read and written by the app as it runs.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{COLD_BUILD, Devhost, PAGE_SERVER, SOON, cargo_turn, scratch, write_file};

/// A package in its own workspace.
struct App {
    directory: tempfile::TempDir,
}

impl App {
    /// With the functions `start` and `page` of its main.rs.
    fn new(main: &str, files: &[(&str, &str)]) -> Self {
        let app = Self { directory: scratch() };
        app.write(
            "Cargo.toml",
            "[package]\nname = 'shop'\nversion = '0.1.0'\nedition = '2024'\n[workspace]\n",
        );
        app.write("src/main.rs", &format!("{main}{PAGE_SERVER}"));
        for (path, text) in files {
            app.write(path, text);
        }
        app
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        write_file(self.path(path), text);
    }

    /// In the workspace's directory.
    fn start(&self) -> Devhost {
        Devhost::start(self.directory.path(), &["run", "shop", "--port", "0"])
    }
}

/// Waits until the page has this text. Requests wait during a build.
fn wait_page(devhost: &Devhost, text: &str) {
    let deadline = Instant::now() + SOON;
    loop {
        let page = devhost.get("/").body;
        if page.contains(text) {
            return;
        }
        assert!(Instant::now() < deadline, "never {text:?} but {page:?}:\n{}", devhost.printed());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn reloads(status: &Value) -> Vec<(String, String)> {
    let reloads = status["reloads"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    reloads.iter().map(|reload| (text(&reload["cause"]), text(&reload["outcome"]))).collect()
}

/// Lists the files in `data` with their content.
const LISTING_SCRIPT: &str = r#"
use std::path::Path;

fn list(directory: &Path, all: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            list(&entry.path(), all);
        } else {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            all.push(format!("[{}={text}]", entry.path().display()));
        }
    }
}

fn main() {
    let mut all = Vec::new();
    list(Path::new("data"), &mut all);
    all.sort();
    let out = std::env::var_os("OUT_DIR").unwrap();
    std::fs::write(Path::new(&out).join("list.txt"), all.concat()).unwrap();
    NAMES
}
"#;

const LISTING_PAGE: &str = "fn start() {}\nfn page(_: &str) -> String {\n    \
                            concat!(\"<\", include_str!(concat!(env!(\"OUT_DIR\"), \"/list.txt\")), \">\").into()\n}\n";

fn listing(names: &str) -> App {
    App::new(LISTING_PAGE, &[("data/a.sql", "one"), ("build.rs", &LISTING_SCRIPT.replace("NAMES", names))])
}

/// Each kind of change in `data` is seen.
fn changes_in_data_are_seen(app: &App, devhost: &Devhost) {
    wait_page(devhost, "<[data/a.sql=one]>");
    app.write("data/a.sql", "two");
    wait_page(devhost, "<[data/a.sql=two]>");
    app.write("data/deep/er/b.sql", "new");
    wait_page(devhost, "[data/deep/er/b.sql=new]");
    std::fs::rename(app.path("data/deep/er/b.sql"), app.path("data/deep/c.sql")).unwrap();
    wait_page(devhost, "[data/deep/c.sql=new]>");
    std::fs::remove_file(app.path("data/deep/c.sql")).unwrap();
    wait_page(devhost, "<[data/a.sql=two]>");
}

#[test]
fn every_file_of_a_directory_that_a_build_script_names_starts_a_build_and_each_start_builds_once() {
    let _turn = cargo_turn();
    let app = listing("println!(\"cargo::rerun-if-changed=data\");");
    let devhost = app.start().ready();
    changes_in_data_are_seen(&app, &devhost);
    assert!(devhost.stop().success());

    let devhost = app.start().ready();
    app.write("data/last.sql", "x");
    wait_page(&devhost, "[data/last.sql=x]");
    let status = devhost.wait_ready(2);
    let expected = [("start", "ok"), ("change", "ok")].map(|(cause, outcome)| (cause.into(), outcome.into()));
    assert_eq!(reloads(&status), expected, "{}", devhost.printed());
    assert!(devhost.printed().contains("ready #1"), "{}", devhost.printed());
    assert!(devhost.stop().success());
}

#[test]
fn a_directory_that_a_build_script_names_before_it_exists_is_noticed() {
    let _turn = cargo_turn();
    let app = listing("println!(\"cargo:rerun-if-changed=data\");");
    std::fs::remove_dir_all(app.path("data")).unwrap();
    let devhost = app.start().ready();
    wait_page(&devhost, "<>");
    app.write("data/a.sql", "one");
    changes_in_data_are_seen(&app, &devhost);
    assert!(devhost.stop().success());
}

#[test]
fn a_build_script_that_names_nothing_runs_again_for_any_file_of_its_package() {
    let _turn = cargo_turn();
    let app = listing("");
    let devhost = app.start().ready();
    changes_in_data_are_seen(&app, &devhost);
    assert!(devhost.stop().success());
}

#[test]
fn what_a_failed_build_missed_is_noticed_when_it_appears() {
    let _turn = cargo_turn();
    let page = "mod part;\nfn start() {}\nfn page(_: &str) -> String { part::text().into() }\n";
    let part = "pub fn text() -> &'static str { include_str!(\"../../notes/text\") }\n";
    let app = App::new(page, &[(".gitignore", "/notes\n")]);
    let devhost = app.start();
    let failed = |status: &Value| status["state"] == "failed";
    devhost.wait_status(COLD_BUILD, "failed", failed);
    app.write("src/part/mod.rs", part);
    devhost.wait_status(COLD_BUILD, "failed by the text", |status| {
        failed(status) && status["failure"].to_string().contains("notes/text")
    });
    app.write("notes/text", "first");
    wait_page(&devhost, "first");
    assert!(devhost.stop().success());

    // This run lacks what an earlier one has built.
    std::fs::rename(app.path("notes"), app.path("elsewhere")).unwrap();
    let devhost = app.start();
    devhost.wait_status(COLD_BUILD, "failed", failed);
    std::fs::rename(app.path("elsewhere"), app.path("notes")).unwrap();
    wait_page(&devhost, "first");
    assert!(devhost.stop().success());
}

/// Writes a different text at each run, then is slow.
const STAMPING_SCRIPT: &str = r#"
fn main() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    std::fs::write("STAMP", format!("pub const STAMP: &str = \"{now}\";")).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));
    NAMES
}
"#;

fn comes_to_an_end_and_follows_edits(app: &App) {
    let _turn = cargo_turn();
    for _ in 0..2 {
        let devhost = app.start().ready();
        wait_page(&devhost, "stamp ");
        let text = std::fs::read_to_string(app.path("src/main.rs")).unwrap();
        for number in 0..3 {
            app.write("src/main.rs", &text.replacen("\"stamp ", &format!("\"edit {number} stamp "), 1));
            wait_page(&devhost, &format!("edit {number} stamp "));
        }
        app.write("src/main.rs", &text);
        wait_page(&devhost, ">stamp ");
        // At rest: the next build is for an edit.
        let at_rest = |status: &Value| status["state"] == "ready";
        let before = reloads(&devhost.wait_status(COLD_BUILD, "ready", at_rest)).len();
        app.write("src/main.rs", &text.replacen("\"stamp ", "\"last stamp ", 1));
        wait_page(&devhost, "last stamp ");
        let after = reloads(&devhost.wait_status(COLD_BUILD, "ready", at_rest)).len();
        assert!(after <= before + 2, "{before} and {after}:\n{}", devhost.printed());
        app.write("src/main.rs", &text);
        assert!(devhost.stop().success());
    }
}

const STAMPED_PAGE: &str = "mod stamp;\nfn start() {}\nfn page(_: &str) -> String { format!(\">{}{}\", \"stamp \", stamp::STAMP) }\n";

fn stamping(stamp: &str, names: &str) -> String {
    STAMPING_SCRIPT.replace("\"STAMP\"", &format!("{stamp:?}")).replace("NAMES", names)
}

#[test]
fn a_build_script_that_writes_into_the_sources_does_not_build_for_ever() {
    let script = stamping("src/stamp.rs", "");
    comes_to_an_end_and_follows_edits(&App::new(STAMPED_PAGE, &[("build.rs", &script)]));
}

#[test]
fn a_build_script_that_writes_into_a_directory_that_it_names_does_not_build_for_ever() {
    let page = "fn start() {}\nfn page(_: &str) -> String { \">\".to_owned() + \"stamp \" }\n";
    let script = stamping("data/stamp.txt", "println!(\"cargo::rerun-if-changed=data\");");
    comes_to_an_end_and_follows_edits(&App::new(page, &[("build.rs", &script), ("data/input", "x")]));
}

/// Counts requests, and reads files once.
const READING_MAIN: &str = r#"
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

static PAGE: LazyLock<String> = LazyLock::new(|| std::fs::read_to_string("templates/page.html").unwrap());
static CONFIG: LazyLock<String> = LazyLock::new(|| std::fs::read_to_string("config/default.yaml").unwrap());
static COUNT: AtomicU32 = AtomicU32::new(0);

fn start() {}

fn page(url: &str) -> String {
    if url.starts_with("/static/") {
        return std::fs::read_to_string(&url[1..]).unwrap();
    }
    format!("{} {} visit {}.", *PAGE, *CONFIG, COUNT.fetch_add(1, Ordering::Relaxed))
}
"#;

#[test]
fn what_the_app_has_read_once_starts_it_anew_and_what_it_serves_does_not() {
    let _turn = cargo_turn();
    let files =
        [("templates/page.html", "old page"), ("config/default.yaml", "old: config"), ("static/a.js", "1")];
    let app = App::new(READING_MAIN, &files);
    let devhost = app.start().ready();
    wait_page(&devhost, "old page old: config visit 0.");
    app.write("templates/page.html", "new page");
    let page = devhost.get("/").body;
    assert_eq!(page, "new page old: config visit 0.", "a request after the save");
    app.write("config/default.yaml", "new: config");
    assert_eq!(devhost.get("/").body, "new page new: config visit 0.");
    let line = devhost.wait_line("config/default.yaml");
    assert!(line.contains("restarted #3") && !line.contains("build"), "{line}");
    assert_eq!(devhost.get("/static/a.js").body, "1");
    app.write("static/a.js", "2");
    devhost.wait_line("page reload static/a.js");
    assert_eq!(devhost.get("/static/a.js").body, "2");
    let page = devhost.get("/");
    assert_eq!((page.body.as_str(), page.generation()), ("new page new: config visit 1.", 3));
    assert!(devhost.stop().success());
}

#[test]
fn served_files_outside_of_the_package_are_followed() {
    let _turn = cargo_turn();
    let main = "fn start() {}\nfn page(url: &str) -> String { std::fs::read_to_string(format!(\"frontend/static{url}\")).unwrap() }\n";
    let app = App { directory: scratch() };
    app.write("Cargo.toml", "[workspace]\nmembers = ['backend']\nresolver = '3'\n");
    app.write("backend/Cargo.toml", "[package]\nname = 'shop'\nversion = '0.1.0'\nedition = '2024'\n");
    app.write("backend/src/main.rs", &format!("{main}{PAGE_SERVER}"));
    app.write("frontend/static/a.js", "one");
    app.write("frontend/static/a.css", "one");
    let devhost = app.start().ready();
    assert_eq!((devhost.get("/a.css").body.as_str(), devhost.get("/a.js").body.as_str()), ("one", "one"));
    app.write("frontend/static/a.css", "two");
    devhost.wait_line("css update frontend/static/a.css");
    app.write("frontend/static/a.js", "two");
    devhost.wait_line("page reload frontend/static/a.js");
    let page = devhost.get("/a.js");
    assert_eq!((page.body.as_str(), page.generation()), ("two", 1));
    assert!(devhost.stop().success());
}

/// Behaves like an open page: reloads when told to, until devhost says that it slows down. Returns the number
/// of loads.
fn follow(devhost: &Devhost, path: &str, loads_max: usize) -> usize {
    let mut stream = devhost
        .connect(b"GET /__devhost/events HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n");
    stream.flush().unwrap();
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    devhost.get(path);
    let mut loads = 1;
    for _ in lines.filter(|line| line.contains("\"reload\"")) {
        devhost.get(path);
        loads += 1;
        if loads == loads_max || devhost.printed().contains("less and less often") {
            break;
        }
    }
    loads
}

/// Unbounded loops load at least this often.
const LOADS_COUNT_MAX: usize = 60;

/// A program that the app starts writes, which devhost does not see.
const WRITE_UNSEEN: &str = r#"
fn write(path: &str) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let script = format!("echo {now} > {path}");
    assert!(std::process::Command::new("sh").args(["-c", &script]).status().unwrap().success());
}
"#;

#[test]
fn a_page_that_makes_the_file_that_it_shows_comes_to_rest_and_edits_are_followed() {
    let _turn = cargo_turn();
    let main = r#"
fn start() {}
fn page(path: &str) -> String {
    let path = path.trim_start_matches('/');
    if path != "static/site.css" {
        write(path);
    }
    std::fs::read_to_string(path).unwrap()
}
"#;
    let files = [("static/thumbs/u.png", ""), ("pages/made.html", ""), ("static/site.css", "1")];
    let app = App::new(&format!("{main}{WRITE_UNSEEN}"), &files);
    for (path, file) in
        [("/static/thumbs/u.png", "static/thumbs/u.png"), ("/pages/made.html", "pages/made.html")]
    {
        let devhost = app.start().ready();
        devhost.get("/static/site.css");
        let loads = follow(&devhost, path, LOADS_COUNT_MAX);
        assert!(loads < LOADS_COUNT_MAX, "{}", devhost.printed());
        let line = devhost.wait_line("less and less often");
        assert!(line.contains(file), "{line}");
        app.write("static/site.css", path);
        devhost.wait_line("css update static/site.css");
        assert!(devhost.stop().success());
    }
}

#[test]
fn an_app_that_writes_what_it_reads_at_its_start_comes_to_rest() {
    let _turn = cargo_turn();
    let main = r#"
fn start() {
    std::fs::read("config.toml").unwrap();
    std::thread::spawn(|| write("config.toml"));
}
fn page(_: &str) -> String { "page".into() }
"#;
    let app = App::new(&format!("{main}{WRITE_UNSEEN}"), &[("config.toml", "")]);
    let devhost = app.start();
    let line = devhost.wait_line("less and less often");
    assert!(line.contains("config.toml"), "{line}");
    wait_page(&devhost, "page");
    assert!(devhost.status()["generation"].as_u64().unwrap() < 30, "{}", devhost.printed());
    assert!(devhost.stop().success());
}

#[test]
fn saves_without_a_pause_do_not_keep_requests_waiting_and_the_last_one_is_served() {
    const SAVES_COUNT: u32 = 1_000;
    const PAUSE: Duration = Duration::from_millis(40);
    let _turn = cargo_turn();
    let main = |number: u32| {
        format!("fn start() {{}}\nfn page(_: &str) -> String {{ \"save {number}.\".into() }}\n{PAGE_SERVER}")
    };
    let app = App::new("", &[("src/main.rs", &main(0))]);
    let devhost = app.start().ready();
    wait_page(&devhost, "save 0.");
    let mut slowest = Duration::ZERO;
    std::thread::scope(|scope| {
        let saves = scope.spawn(|| {
            for number in 1..=SAVES_COUNT {
                app.write("src/main.rs", &main(number));
                std::thread::sleep(PAUSE);
            }
        });
        while !saves.is_finished() {
            let begun = Instant::now();
            let answer = devhost.get("/");
            assert_eq!(answer.status, 200, "{}", answer.body);
            slowest = slowest.max(begun.elapsed());
        }
    });
    wait_page(&devhost, &format!("save {SAVES_COUNT}."));
    let page = devhost.get("/").body;
    assert_eq!(page, format!("save {SAVES_COUNT}."));
    eprintln!("the slowest request took {slowest:?}");
    // A build and start takes a second or two on a busy machine; unbounded, it would never stop.
    assert!(slowest < SOON / 3, "{slowest:?}");
    let line = devhost.wait_line("this build is left to finish");
    assert!(line.contains("src/main.rs"), "{line}");
    assert!(devhost.stop().success());
}
