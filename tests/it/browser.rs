//! The example app in a real Chromium, driven by `tests/browser/reload.mjs`.

use std::path::Path;
use std::process::Command;

use crate::support::{ExampleApp, cargo_turn, repository, scratch};

#[test]
fn chromium_shows_each_change() {
    let Some(chromium) = ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(find) else {
        // The README says what the browser test needs; `.ci/run` installs it.
        assert!(std::env::var_os("CI").is_none(), "CI needs a Chromium");
        eprintln!("skipped: no Chromium is installed");
        return;
    };
    let driver = repository().join("tests/browser");
    if !driver.join("node_modules/playwright-core").is_dir() {
        let npm = Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(&driver).status();
        assert!(npm.expect("npm is installed").success());
    }
    let _turn = cargo_turn();
    let app = ExampleApp::new();
    let devhost = app.start(&[]);
    devhost.wait_ready(1);
    let temporary = scratch();
    let shots = Path::new(env!("CARGO_TARGET_TMPDIR")).join("screenshots");
    std::fs::create_dir_all(&shots).unwrap();
    let output = Command::new("node")
        .arg(driver.join("reload.mjs"))
        .env("DEVHOST_URL", &devhost.url)
        .env("APP_DIR", app.path("."))
        .env("SHOTS", shots)
        .env("CHROMIUM", chromium)
        .env("TMPDIR", temporary.path())
        .output()
        .expect("node is installed");
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(devhost.stop().success());
}

fn find(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|file| file.is_file())
}
