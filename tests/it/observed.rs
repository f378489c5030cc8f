//! What follows from a change of a file that the app reads, lists, looks for, sends or writes; and nothing from any other.

mod random;

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::support::{Devhost, PAGE_SERVER, cargo_turn, scratch, write_file};

/// Reads in every way there is. `/all` shows what it keeps in memory, in the order of [`shown`].
const READER: &str = r#"
use std::fs;
use std::path::Path;
use std::sync::{Mutex, OnceLock};

static CONFIG: OnceLock<String> = OnceLock::new();
static LAZY: OnceLock<String> = OnceLock::new();
static CACHED: OnceLock<Vec<u8>> = OnceLock::new();
static STAMP: OnceLock<String> = OnceLock::new();
static POSTS: OnceLock<String> = OnceLock::new();
static FLAG: OnceLock<bool> = OnceLock::new();
static LINKED: OnceLock<String> = OnceLock::new();
static DATABASE: Mutex<String> = Mutex::new(String::new());
const BUILT: &str = include_str!("../text/built.txt");

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|_| "none".into())
}

fn start() {
    CONFIG.set(read("config/app.toml")).unwrap();
    let modified = fs::metadata("assets/stamp.txt").and_then(|file| file.modified());
    let modified = modified.map_or(0, |time| time.duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos());
    STAMP.set(modified.to_string()).unwrap();
    let mut names: Vec<String> = fs::read_dir("posts").into_iter().flatten().flatten()
        .map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    POSTS.set(names.join(",")).unwrap();
    FLAG.set(Path::new("flags/maintenance").exists()).unwrap();
    std::env::set_current_dir("config").unwrap();
    LINKED.set(read("../linked/extra.toml")).unwrap();
    std::env::set_current_dir("..").unwrap();
    *DATABASE.lock().unwrap() = read("data/db.json");
    fs::read("data/pages").unwrap();
    read("config/left_out.toml");
}

fn page(url: &str) -> (u16, Vec<u8>) {
    let file = |path: &str| fs::read(path).map_or((404, b"none".to_vec()), |bytes| (200, bytes));
    match url {
        "/all" => {
            let lazy = LAZY.get_or_init(|| read("templates/lazy.html"));
            let parts = [CONFIG.get().unwrap(), lazy, STAMP.get().unwrap(), POSTS.get().unwrap(),
                &FLAG.get().unwrap().to_string(), LINKED.get().unwrap(), &*DATABASE.lock().unwrap(), BUILT];
            (200, parts.map(|part| part.trim_end()).join("|").into_bytes())
        }
        "/site.css" => file("static/site.css"),
        "/out.css" => file("ignored/out.css"),
        "/earlier.css" => file("static/earlier.css"),
        "/cached.html" => (200, CACHED.get_or_init(|| fs::read("static/cached.html").unwrap()).clone()),
        _ => match url.strip_prefix("/save/") {
            Some(text) => {
                fs::write("data/db.json", text).unwrap();
                *DATABASE.lock().unwrap() = text.into();
                fs::create_dir_all("uploads").unwrap();
                fs::write("uploads/new.tmp~", text).unwrap();
                fs::rename("uploads/new.tmp~", format!("uploads/{text}.png")).unwrap();
                (200, b"saved".to_vec())
            }
            None => file(&format!("uploads{url}")),
        },
    }
}
"#;

/// What the reader keeps in memory, if it reads everything now.
fn shown(root: &Path) -> String {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_else(|_| "none".into());
    let stamp = std::fs::metadata(root.join("assets/stamp.txt")).and_then(|file| file.modified());
    let stamp = stamp.map_or(0, |time| time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos());
    let mut names: Vec<String> = std::fs::read_dir(root.join("posts"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    let flag = root.join("flags/maintenance").exists();
    let parts = [
        read("config/app.toml"),
        read("templates/lazy.html"),
        stamp.to_string(),
        names.join(","),
        flag.to_string(),
        read("linked/extra.toml"),
        read("data/db.json"),
        read("text/built.txt"),
    ];
    parts.map(|part| part.trim_end().to_owned()).join("|")
}

struct Reader {
    outer: tempfile::TempDir,
}

impl Reader {
    fn new() -> Self {
        let reader = Self { outer: scratch() };
        for (path, text) in [
            (
                "app/Cargo.toml",
                "[package]\nname = 'reader'\nversion = '0.1.0'\nedition = '2024'\n[workspace]\n",
            ),
            ("app/src/main.rs", &format!("{READER}{PAGE_SERVER}")),
            ("app/.gitignore", "ignored\n"),
            ("app/devhost.toml", "ignore = ['config/left_out.toml']\nwatch = ['config/forced.toml']\n"),
            ("app/config/app.toml", "config"),
            ("app/templates/lazy.html", "lazy"),
            ("app/templates/unread.html", "unread"),
            ("app/assets/stamp.txt", "stamp"),
            ("app/posts/one.md", "one"),
            ("app/data/db.json", "db"),
            ("app/data/pages", "SQLite format 3\0, and so on"),
            ("app/config/left_out.toml", "left out"),
            ("app/config/forced.toml", "forced"),
            ("app/text/built.txt", "built"),
            ("app/static/site.css", "site"),
            ("app/static/unread.css", "unread"),
            ("app/static/earlier.css", "earlier"),
            ("app/static/cached.html", "cached"),
            ("app/ignored/out.css", "out"),
            ("app/ignored/unread.css", "unread"),
            ("app/notes.toml", "unread"),
            ("outside/extra.toml", "extra"),
        ] {
            write_file(reader.outer.path().join(path), text);
        }
        std::fs::create_dir(reader.path(".git")).unwrap();
        symlink("../outside", reader.path("linked")).unwrap();
        reader
    }

    fn root(&self) -> PathBuf {
        self.outer.path().join("app")
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        write_file(self.path(path), text);
    }

    fn start(&self, more: &[&str], left_out: Option<&str>) -> Devhost {
        let mut arguments = vec!["run", "--port", "0", "--undamped"];
        arguments.extend(more);
        let leave_out = |command: &mut std::process::Command| {
            if let Some(line) = left_out {
                command.env("DEVHOST_TEST_LEAVE_OUT", line);
            }
        };
        let devhost = Devhost::start_with(&self.root(), &arguments, leave_out).ready();
        assert_eq!(devhost.get("/all").body, shown(&self.root()));
        for url in ["/site.css", "/out.css", "/cached.html"] {
            devhost.get(url);
        }
        devhost
    }
}

/// Asserts that a change started the app anew, without a build, and that the next response knew it.
#[track_caller]
fn assert_restarted(devhost: &Devhost, reader: &Reader, change: impl FnOnce(), why: &str) {
    let before = devhost.get("/all").generation();
    change();
    let after = devhost.get("/all");
    assert_eq!(after.body, shown(&reader.root()), "{}", devhost.printed());
    assert_eq!(after.generation(), before + 1, "{}", devhost.printed());
    devhost.wait_line(why);
}

/// Asserts that a change left the app alone.
#[track_caller]
fn assert_stays(devhost: &Devhost, reader: &Reader, change: impl FnOnce()) {
    let before = devhost.get("/all").generation();
    change();
    assert_eq!(devhost.get("/all").generation(), before, "{}", devhost.printed());
    // A change that counts shows that the one before it did not.
    let text = format!("{before} {:?}", Instant::now());
    reader.write("config/app.toml", &text);
    let after = devhost.get("/all");
    assert_eq!(after.body, shown(&reader.root()), "{}", devhost.printed());
    assert_eq!(after.generation(), before + 1, "{}", devhost.printed());
}

fn each_kind_of_use_has_its_reaction(more: &[&str], left_out: Option<&str>) {
    let _turn = cargo_turn();
    let reader = Reader::new();
    let devhost = reader.start(more, left_out);
    let write = |path: &'static str, text: &'static str| move |reader: &Reader| reader.write(path, text);
    for (change, why) in [
        (write("config/app.toml", "other"), "config/app.toml, read at start"),
        (write("templates/lazy.html", "other"), "templates/lazy.html, read while serving"),
        (write("assets/stamp.txt", "other"), "assets/stamp.txt, the app looked at its metadata"),
        (write("posts/two.md", "two"), "posts/two.md, in a directory that the app has listed"),
        (write("flags/maintenance", ""), "flags/maintenance, the app had looked for it in vain"),
        (write("../outside/extra.toml", "other"), "extra.toml, read at start"),
    ] {
        devhost.get("/all");
        assert_restarted(&devhost, &reader, || change(&reader), why);
    }
    let remove = |path: &str| std::fs::remove_file(reader.path(path)).unwrap();
    reader.write("../elsewhere/extra.toml", "elsewhere");
    let lead_elsewhere = || {
        symlink("../elsewhere", reader.path("linked~")).unwrap();
        std::fs::rename(reader.path("linked~"), reader.path("linked")).unwrap();
    };
    assert_restarted(&devhost, &reader, lead_elsewhere, "linked, read at start");
    let edit = || reader.write("../elsewhere/extra.toml", "edited elsewhere");
    assert_restarted(&devhost, &reader, edit, "elsewhere/extra.toml, read at start");
    assert_restarted(&devhost, &reader, || remove("posts/one.md"), "posts/one.md, in a directory");
    assert_restarted(&devhost, &reader, || remove("flags/maintenance"), "flags/maintenance, ");

    // Each is sent as it is, so the app stays, and the next response has the new bytes.
    for (url, path) in [("/site.css", "static/site.css"), ("/out.css", "ignored/out.css")] {
        devhost.get(url);
        assert_stays(&devhost, &reader, || reader.write(path, "other"));
        assert_eq!(devhost.get(url).body, "other");
    }
    // The new generation has not sent this one, but browsers have it.
    devhost.get("/earlier.css");
    reader.write("config/app.toml", "new generation");
    let generation = devhost.get("/all").generation();
    reader.write("static/earlier.css", "other");
    let deadline = Instant::now() + Duration::from_secs(20);
    while !devhost.printed().contains("css update static/earlier.css") {
        assert!(Instant::now() < deadline, "browsers are not told:\n{}", devhost.printed());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(devhost.get("/all").generation(), generation, "{}", devhost.printed());
    let why = |path: &str| {
        let output = crate::support::run_to_end(&reader.root(), &["doctor", "--why", path]);
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(why("config/app.toml"), "config/app.toml: a change starts the app anew (read at start)\n");
    assert_eq!(why("src/main.rs"), "src/main.rs: a change builds the app (the compiler read it)\n");
    assert_eq!(why("notes.toml"), "notes.toml: a change does nothing (the app has not used it)\n");
    // This one looked the same, until the app answered from memory.
    let before = devhost.get("/cached.html").generation();
    reader.write("static/cached.html", "other");
    let after = devhost.get("/cached.html");
    assert_eq!((after.body.as_str(), after.generation()), ("other", before + 1), "{}", devhost.printed());
    devhost.wait_line("static/cached.html, served from the app's memory");
    reader.write("static/cached.html", "third");
    let after = devhost.get("/cached.html");
    assert_eq!((after.body.as_str(), after.generation()), ("third", before + 2), "{}", devhost.printed());

    for path in
        ["templates/unread.html", "static/unread.css", "ignored/unread.css", "notes.toml", "posts/two.md"]
    {
        assert_stays(&devhost, &reader, || reader.write(path, "more"));
    }
    // What the app writes itself is no change, and what somebody else writes into it is.
    assert_stays(&devhost, &reader, || assert_eq!(devhost.get("/save/x").body, "saved"));
    assert_eq!(devhost.get("/x.png").body, "x");
    assert_stays(&devhost, &reader, || {
        devhost.get("/save/x");
        devhost.get("/x.png");
    });
    assert_restarted(
        &devhost,
        &reader,
        || reader.write("data/db.json", "by hand"),
        "data/db.json, read at start",
    );
    assert!(devhost.stop().success());
    let output = crate::support::run_to_end(&reader.root(), &["doctor", "--why", "config/app.toml"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("No devhost serves `reader`"), "{output:?}");
}

#[test]
fn each_kind_of_use_by_a_program_of_its_own_has_its_reaction() {
    each_kind_of_use_has_its_reaction(&["--strategy", "restart"], None);
}

#[test]
fn each_kind_of_use_by_a_forked_app_has_its_reaction_and_each_line_of_the_rule_is_needed() {
    each_kind_of_use_has_its_reaction(&[], None);
    for line in
        ["OwnWork", "Remembered", "Read", "Missed", "LookedAt", "Listed", "Served", "Earlier", "Unused"]
    {
        let outcome = std::panic::catch_unwind(|| each_kind_of_use_has_its_reaction(&[], Some(line)));
        assert!(outcome.is_err(), "nothing is wrong without the line {line}");
    }
}

/// An app that uses a crate with this procedural macro, still without a main file.
fn app_with_macro(source: &str) -> tempfile::TempDir {
    let outer = scratch();
    let write = |path: &str, text: &str| drop(write_file(outer.path().join(path), text));
    write("macros/Cargo.toml", "[package]\nname = 'macros'\nedition = '2024'\n[lib]\nproc-macro = true\n");
    write("macros/src/lib.rs", source);
    write(
        "Cargo.toml",
        "[package]\nname = 'reader'\nedition = '2024'\n[dependencies]\nmacros.path = 'macros'\n[workspace]\n",
    );
    outer
}

/// Like `sqlx::migrate!`: reads a directory, and names to the compiler only the files that it found.
const MACRO: &str = r#"
use proc_macro::TokenStream;

#[proc_macro]
pub fn every_file(_: TokenStream) -> TokenStream {
    let root = std::path::PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("migrations");
    let mut files: Vec<_> = std::fs::read_dir(root).unwrap().flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "sql"));
    files.sort();
    let names: Vec<String> = files.iter().map(|file| format!("include_str!({file:?})")).collect();
    format!("concat!({})", names.join(",")).parse().unwrap()
}
"#;

#[test]
fn a_new_file_beside_those_that_a_macro_has_read_is_built_in() {
    let _turn = cargo_turn();
    let outer = app_with_macro(MACRO);
    let write = |path: &str, text: &str| drop(write_file(outer.path().join(path), text));
    write("migrations/1.sql", "one;");
    write("migrations/notes.txt", "notes");
    let page = "fn start() {}\nfn page(_: &str) -> (u16, Vec<u8>) { (200, macros::every_file!().into()) }\n";
    write("src/main.rs", &format!("{page}{PAGE_SERVER}"));
    let devhost = Devhost::start(outer.path(), &["run", "--port", "0", "--undamped"]).ready();
    assert_eq!(devhost.get("/").body, "one;");
    write("migrations/2.sql", "two;");
    assert_eq!(devhost.get("/").body, "one;two;", "{}", devhost.printed());
    write("migrations/2.sql", "second;");
    assert_eq!(devhost.get("/").body, "one;second;");
    std::fs::remove_file(outer.path().join("migrations/1.sql")).unwrap();
    assert_eq!(devhost.get("/").body, "second;");
    let generation = devhost.get("/").generation();
    write("migrations/notes.txt", "other");
    write("migrations/3.sql", "three;");
    let last = devhost.get("/");
    assert_eq!((last.body.as_str(), last.generation()), ("second;three;", generation + 1));
    assert!(devhost.stop().success());
}

/// Like askama's: finds a template in the package, and names it to the compiler relative to the file that calls the macro, up to
/// what they have in common.
const RELATIVE_MACRO: &str = r#"
use proc_macro::{Span, TokenStream};

#[proc_macro]
pub fn template(_: TokenStream) -> TokenStream {
    let root = std::path::PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap());
    let template = root.join("templates/page.html");
    let caller = std::path::absolute(Span::call_site().local_file().unwrap()).unwrap();
    let (from, to): (Vec<_>, Vec<_>) = (caller.parent().unwrap().components().collect(), template.components().collect());
    let same = from.iter().zip(&to).take_while(|(one, other)| one == other).count();
    let mut path = std::path::PathBuf::from("../".repeat(from.len() - same));
    path.extend(&to[same..]);
    format!("include_str!({:?})", path.display().to_string()).parse().unwrap()
}
"#;

#[test]
fn a_file_that_a_macro_names_relative_to_its_caller_is_followed() {
    let _turn = cargo_turn();
    let outer = app_with_macro(RELATIVE_MACRO);
    let write = |path: &str, text: &str| drop(write_file(outer.path().join(path), text));
    write("templates/page.html", "one");
    write(
        "src/main.rs",
        &format!(
            "fn start() {{}}\nfn page(_: &str) -> String {{ macros::template!().into() }}\n{PAGE_SERVER}"
        ),
    );
    let devhost = Devhost::start(outer.path(), &["run", "--port", "0", "--undamped"]).ready();
    devhost.wait_line("ready #1");
    assert_eq!(devhost.get("/").body, "one");
    write("templates/page.html", "two");
    assert_eq!(devhost.get("/").body, "two", "{}", devhost.printed());
    devhost.wait_line("templates/page.html");
    assert!(
        !devhost.printed().contains("is gone") && !devhost.printed().contains(".."),
        "{}",
        devhost.printed()
    );
    assert!(devhost.stop().success());
}
