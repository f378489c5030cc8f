//! `devhost doctor --why FILE`: the answer is what a change of the file does.

use std::ffi::OsString;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::process::Output;

use crate::support::{Devhost, PAGE_SERVER, cargo_turn, run_to_end, scratch, write_file};

/// Reads its settings at its start, and sends its stylesheet as it is.
const MAIN: &str = r#"
static SETTINGS: std::sync::OnceLock<String> = std::sync::OnceLock::new();

fn start() {
    SETTINGS.set(std::fs::read_to_string("settings.toml").unwrap()).unwrap();
    let _ = std::fs::read_to_string("extra.toml");
    let _ = std::fs::read_dir("posts").unwrap().count();
    std::fs::write("written.txt", "by the app").unwrap();
    let _ = std::fs::read_to_string("written.txt").unwrap();
}

fn page(path: &str) -> (u16, Vec<u8>) {
    match path {
        "/app.css" => (200, std::fs::read("static/app.css").unwrap()),
        _ => (200, format!("{}{}", SETTINGS.get().unwrap(), env!("MADE")).into_bytes()),
    }
}
"#;

fn app() -> tempfile::TempDir {
    let app = scratch();
    for (path, text) in [
        ("Cargo.toml", "[package]\nname = 'shop'\nversion = '0.1.0'\nedition = '2024'\n[workspace]\n"),
        ("build.rs", "fn main() { println!(\"cargo::rerun-if-changed=made\\ncargo::rustc-env=MADE=made\") }"),
        ("made/a.txt", ""),
        ("src/main.rs", &format!("{MAIN}{PAGE_SERVER}")),
        ("static/app.css", "a"),
        ("static/unused.css", "a"),
        ("settings.toml", "settings"),
        ("posts/one.md", ""),
        ("devhost.toml", "ignore = ['posts/draft.md']\n"),
    ] {
        write_file(app.path().join(path), text);
    }
    app
}

fn why(app: &Path, path: impl Into<OsString>) -> Output {
    let path = path.into();
    crate::support::run_to_end_with(app, &["doctor", "--why"], |command| {
        command.arg(path);
    })
}

fn told(app: &Path, path: &str) -> String {
    let output = why(app, path);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn each_file_is_explained_as_its_change_would_be_judged() {
    let _turn = cargo_turn();
    let app = app();
    let devhost = Devhost::start(app.path(), &["run", "-v", "--port", "0"]).ready();
    assert_eq!(devhost.get("/app.css").body, "a");
    for (path, expected) in [
        ("settings.toml", "a change starts the app anew (read at start)"),
        ("static/app.css", "a change swaps the stylesheet in open pages (served as it is)"),
        (
            "extra.toml",
            "does not exist; its appearance starts the app anew (the app had looked for it in vain)",
        ),
        ("posts", "a change starts the app anew (listed by the app: a name that comes or goes in it counts)"),
        (
            "posts/two.md",
            "does not exist; its appearance starts the app anew (in a directory that the app has listed)",
        ),
        (
            "posts/one.md",
            "a change does nothing (the app has not used it)\n\
             If it vanishes, the app starts anew (in a directory that the app has listed).",
        ),
        (
            "written.txt",
            "a change starts the app anew (read at start)\n\
             The app wrote what is there now; what it writes itself does nothing.",
        ),
        ("src/main.rs", "a change builds the app (the compiler read it)"),
        (
            "src/new.rs",
            "does not exist; its appearance builds the app (Rust code of a package that the app uses)",
        ),
        ("Cargo.toml", "a change builds the app (cargo reads it)"),
        (
            "made/b.txt",
            "does not exist; its appearance builds the app (in a directory that may be part of the build)",
        ),
        (".env", "does not exist; its appearance starts the app anew (the app's environment)"),
        ("devhost.toml", "a change makes devhost read it again (devhost itself reads it)"),
        ("static/unused.css", "a change does nothing (the app has not used it)"),
    ] {
        assert_eq!(told(app.path(), path), format!("{path}: {expected}\n"));
    }
    for (path, why_not) in [
        (OsString::from("posts/draft.md"), "says devhost.toml"),
        ("static/none.css".into(), "the app has not used it"),
        (OsString::from_vec(b"static/\xff.css".to_vec()), "the app has not used it"),
    ] {
        let output = why(app.path(), path);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("there is no") && said.contains(why_not), "{said}");
    }
    devhost.wait_line("when these change, the app starts anew:");
    assert!(devhost.printed().contains("settings.toml (read at start)"), "{}", devhost.printed());
    // A second devhost of the same app answers, too, and its end leaves the first one's record.
    let target = app.path().join("target/second");
    let second =
        Devhost::start(app.path(), &["run", "--port", "0", "--target-dir", target.to_str().unwrap()]).ready();
    assert!(second.stop().success());
    assert!(told(app.path(), "settings.toml").contains("read at start"));
    assert!(devhost.stop().success());
    let unserved = told(app.path(), "static/app.css");
    assert!(
        unserved.starts_with("static/app.css: a change swaps the stylesheet in open pages (by its name)\n")
            && unserved.contains("No devhost serves `shop` now"),
        "{unserved}"
    );
    let records = std::fs::read_dir(app.path().join("target/devhost/serving/shop")).unwrap();
    assert_eq!(records.count(), 0);
}

#[test]
fn what_listens_where_devhost_served_is_not_taken_for_it() {
    let app = app();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    write_file(app.path().join("target/devhost/serving/shop/1-1"), &address.to_string());
    let server = std::thread::spawn(move || {
        // The first is answered by another program, the second by none.
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        std::io::Write::write_all(
            &mut stream,
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}",
        )
        .unwrap();
        drop(stream);
        listener.accept().unwrap()
    });
    assert!(told(app.path(), "settings.toml").contains("No devhost serves `shop` now"));
    let output = why(app.path(), "settings.toml");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("does not answer: nothing came within five seconds"), "{said}");
    drop(server.join().unwrap());
    assert!(run_to_end(app.path(), &["clean"]).status.success());
}
