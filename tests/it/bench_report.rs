//! The page of a report of the bench in a real Chromium, driven by `tests/browser/report.mjs`.

use std::path::Path;
use std::process::Command;

use devhost::bench::model;
use devhost::bench::report::html;

use crate::browser::{find_chromium, install_driver};
use crate::support::scratch;

#[path = "bench_sample.rs"]
mod sample;

#[test]
fn chromium_draws_each_plot_of_a_report() {
    let Some(chromium) = find_chromium() else { return };
    let driver = install_driver();
    let temporary = scratch();
    // Kept, like the screenshots, to be looked at.
    let pages = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-report");
    std::fs::create_dir_all(&pages).unwrap();
    for (name, report) in [
        ("full", sample::full()),
        ("single", sample::single()),
        ("empty", sample::empty()),
        ("hostile", sample::hostile()),
    ] {
        std::fs::write(pages.join(name).with_extension("html"), html(&report)).unwrap();
    }
    let shots = Path::new(env!("CARGO_TARGET_TMPDIR")).join("screenshots");
    std::fs::create_dir_all(&shots).unwrap();
    let output = Command::new("node")
        .arg(driver.join("report.mjs"))
        .env("REPORTS", &pages)
        .env("SHOTS", shots)
        .env("CHROMIUM", chromium)
        .env("TMPDIR", temporary.path())
        .output()
        .expect("node is installed");
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
}
