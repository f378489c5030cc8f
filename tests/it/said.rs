//! What devhost prints of builds, and what it does not print again.

use crate::support::{Devhost, scratch};

const SERVER: &str = r#"
use std::io::{Read, Write};
fn main() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
            head.push(byte[0]);
        }
        let text = part::text("one");
        let length = text.len();
        let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}");
    }
}
"#;

const PART: &str = "pub fn text(text: &str) -> &str { text }\nfn never_called() {}\n";

#[test]
fn old_warnings_are_not_printed_again_and_no_line_speaks_of_a_failure_that_was_mended() {
    let directory = scratch();
    let write = |path: &str, text: &str| {
        let path = directory.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let package = |name: &str| format!("[package]\nname = '{name}'\nversion = '0.1.0'\nedition = '2024'\n");
    write(
        "Cargo.toml",
        &(package("app") + "[workspace]\nmembers = ['part']\n[dependencies]\npart = { path = 'part' }\n"),
    );
    write("src/main.rs", SERVER);
    write("part/Cargo.toml", &package("part"));
    write("part/src/lib.rs", PART);
    let devhost = Devhost::start(directory.path(), &["run", "--port", "0"]);
    devhost.wait_ready(1);
    let count = |part: &str| devhost.printed().matches(part).count();
    let old = "function `never_called` is never used";
    assert_eq!(count(old), 1, "{}", devhost.printed());
    write("src/main.rs", &SERVER.replace("one", "two"));
    devhost.wait_ready(2);
    write("src/main.rs", &SERVER.replace("one", "three").replace("let text", "let mut text"));
    devhost.wait_ready(3);
    devhost.wait_line("variable does not need to be mutable");
    assert_eq!(count(old), 1, "{}", devhost.printed());
    // Its line has moved, and there is another one.
    write("part/src/lib.rs", &format!("// A line.\n{PART}fn another_one() {{}}\n"));
    devhost.wait_ready(4);
    devhost.wait_line("function `another_one` is never used");
    assert_eq!((count(old), count("does not need to be mutable")), (1, 1), "{}", devhost.printed());
    // By cargo, which says all of them again.
    write("Cargo.toml", &(std::fs::read_to_string(directory.path().join("Cargo.toml")).unwrap() + "# 1\n"));
    write("src/main.rs", &SERVER.replace("one", "four").replace("let text", "let mut text"));
    assert_eq!(devhost.get("/").body, "four");
    assert_eq!((count(old), count("another_one` is never")), (1, 1), "{}", devhost.printed());

    write("Cargo.toml", &(std::fs::read_to_string(directory.path().join("Cargo.toml")).unwrap() + "# 2\n"));
    write("src/main.rs", &SERVER.replace("\"one\"", "no_such_thing"));
    devhost.wait_line("cannot find value `no_such_thing`");
    write("src/main.rs", &SERVER.replace("one", "five"));
    assert_eq!(devhost.get("/").body, "five");
    devhost.wait_line("cargo: the build before failed");
    devhost.stop();
}
