//! An app's environment is that of `cargo run`: see `tests/environment.sh`.

use std::process::{Command, Stdio};

use crate::support::{cargo_turn, repository};

fn compare(args: &[&str]) {
    let _turn = cargo_turn();
    // A shell that starts something in the background ignores SIGINT for it; devhost hears SIGINT all the same.
    let output = Command::new("env")
        .arg("--default-signal=INT")
        .arg(repository().join("tests/environment.sh"))
        .args(["--devhost", env!("CARGO_BIN_EXE_devhost")])
        .args(args)
        .env_remove("CARGO_TARGET_DIR")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{told}");
    assert!(output.status.success(), "{args:?}: {}\n{told}", output.status);
    assert!(told.contains("fields are the same"), "{told}");
}

#[test]
fn a_forked_app_finds_what_cargo_run_gives_it() {
    compare(&["--strategy", "fork"]);
}

#[test]
fn an_app_that_is_started_anew_finds_what_cargo_run_gives_it() {
    compare(&["--strategy", "restart"]);
}

#[test]
fn an_app_with_a_terminal_finds_what_cargo_run_gives_it() {
    let has_script =
        Command::new("script").arg("--version").output().is_ok_and(|output| output.status.success());
    if !has_script {
        eprintln!("skipped: there is no script(1)");
        return;
    }
    compare(&["--strategy", "fork", "--terminal"]);
}
