//! Apps and pages in a real Chromium, driven by the scripts in `tests/browser`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

use devhost_front::samples::{self, Sample};
use serde_json::json;

use crate::plain::PlainApp;
use crate::support::{ExampleApp, cargo_turn, repository, scratch};

#[test]
fn chromium_shows_each_change() {
    let Some(chromium) = find_chromium() else { return };
    let driver = install_driver();
    let _turn = cargo_turn();
    let app = ExampleApp::new();
    let devhost = app.start(&[]).ready();
    let mut script = Command::new("node");
    script.arg(driver.join("reload.mjs")).env("DEVHOST_URL", &devhost.url).env("APP_DIR", app.path("."));
    run_script(script, &chromium);
    assert!(devhost.stop().success());
}

#[test]
fn each_of_devhosts_pages_is_readable_at_every_width_in_light_and_dark() {
    let Some(chromium) = find_chromium() else { return };
    let driver = install_driver();
    let directory = scratch();
    let samples = samples::all();
    assert!(samples.len() > 20, "{}", samples.len());
    let samples: Vec<_> = samples
        .into_iter()
        .map(|Sample { name, html, events }| json!({ "name": name, "html": html, "events": events }))
        .collect();
    let pages =
        json!({ "policy": samples::policy(), "script": samples::client_script(), "samples": samples });
    let file = directory.path().join("pages.json");
    std::fs::write(&file, pages.to_string()).unwrap();
    let mut script = Command::new("node");
    script.arg(driver.join("looks.mjs")).env("PAGES", &file);
    run_script(script, &chromium);
}

#[test]
fn whatever_chromium_loads_as_a_document_reloads_itself() {
    drive_site("documents.mjs");
}

#[test]
fn chromium_never_shows_an_old_copy_after_an_edit() {
    drive_site("copies.mjs");
}

/// Runs a script against the site of files and documents.
fn drive_site(name: &str) {
    let Some(chromium) = find_chromium() else { return };
    let driver = install_driver();
    let _turn = cargo_turn();
    let app = PlainApp::trap("site");
    let devhost = app.start(&[]).ready();
    let mut script = Command::new("node");
    script.arg(driver.join(name)).env("DEVHOST_URL", &devhost.url).env("APP_DIR", app.path("traps"));
    run_script(script, &chromium);
    assert!(devhost.stop().success());
}

/// Runs a browser script, which must succeed. Its screenshots are kept.
#[track_caller]
pub(crate) fn run_script(mut script: Command, chromium: &Path) {
    let temporary = scratch();
    let shots = Path::new(env!("CARGO_TARGET_TMPDIR")).join("screenshots");
    std::fs::create_dir_all(&shots).unwrap();
    let output = script
        .env("SHOTS", shots)
        .env("CHROMIUM", chromium)
        .env("TMPDIR", temporary.path())
        .output()
        .expect("node is installed");
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
}

/// Returns the installed browser. Without one the test is skipped, except in CI.
pub(crate) fn find_chromium() -> Option<PathBuf> {
    let chromium = ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(find);
    if chromium.is_none() {
        // The README says what the browser test needs; `.ci/run` installs it.
        assert!(std::env::var_os("CI").is_none(), "CI needs a Chromium");
        eprintln!("skipped: no Chromium is installed");
    }
    chromium
}

/// Returns the directory of the browser scripts, with their dependencies installed.
pub(crate) fn install_driver() -> PathBuf {
    // Two tests at once would install into the same directory.
    static INSTALLED: Once = Once::new();
    let driver = repository().join("tests/browser");
    INSTALLED.call_once(|| {
        if !driver.join("node_modules/playwright-core").is_dir() {
            let npm =
                Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(&driver).status();
            assert!(npm.expect("npm is installed").success());
        }
    });
    driver
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|file| file.is_file())
}
