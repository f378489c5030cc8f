//! What devhost prints about builds, and what it does not repeat.

use crate::support::{Devhost, scratch, server, write_file};

/// The app's answer, as an expression.
const ANSWER: &str = "part::text(\"one\")";

const PART: &str = "pub fn text(text: &str) -> &str { text }\nfn never_called() {}\n";

#[test]
fn old_warnings_are_not_printed_again_and_no_line_speaks_of_a_failure_that_was_mended() {
    let directory = scratch();
    let write = |path: &str, text: &str| write_file(directory.path().join(path), text);
    let package = |name: &str| format!("[package]\nname = '{name}'\nversion = '0.1.0'\nedition = '2024'\n");
    write(
        "Cargo.toml",
        &(package("app") + "[workspace]\nmembers = ['part']\n[dependencies]\npart = { path = 'part' }\n"),
    );
    write("src/main.rs", &server(ANSWER));
    write("part/Cargo.toml", &package("part"));
    write("part/src/lib.rs", PART);
    let devhost = Devhost::start(directory.path(), &["run", "--port", "0"]).ready();
    let count = |part: &str| devhost.printed().matches(part).count();
    let old = "function `never_called` is never used";
    assert_eq!(count(old), 1, "{}", devhost.printed());
    write("src/main.rs", &server(&ANSWER.replace("one", "two")));
    devhost.wait_ready(2);
    write("src/main.rs", &server(&ANSWER.replace("one", "three")).replace("let text", "let mut text"));
    devhost.wait_ready(3);
    devhost.wait_line("variable does not need to be mutable");
    assert_eq!(count(old), 1, "{}", devhost.printed());
    // Its line has moved, and there is another one.
    write("part/src/lib.rs", &format!("// A line.\n{PART}fn another_one() {{}}\n"));
    devhost.wait_ready(4);
    devhost.wait_line("function `another_one` is never used");
    assert_eq!((count(old), count("does not need to be mutable")), (1, 1), "{}", devhost.printed());
    // By cargo, which repeats them all.
    write("Cargo.toml", &(std::fs::read_to_string(directory.path().join("Cargo.toml")).unwrap() + "# 1\n"));
    write("src/main.rs", &server(&ANSWER.replace("one", "four")).replace("let text", "let mut text"));
    assert_eq!(devhost.get("/").body, "four");
    assert_eq!((count(old), count("another_one` is never")), (1, 1), "{}", devhost.printed());

    write("Cargo.toml", &(std::fs::read_to_string(directory.path().join("Cargo.toml")).unwrap() + "# 2\n"));
    write("src/main.rs", &server(&ANSWER.replace("\"one\"", "no_such_thing")));
    devhost.wait_line("cannot find value `no_such_thing`");
    write("src/main.rs", &server(&ANSWER.replace("one", "five")));
    assert_eq!(devhost.get("/").body, "five");
    devhost.wait_line("cargo: the build before failed");
    devhost.stop();
}
