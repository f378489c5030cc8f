//! The bench's report page in a real Chromium, driven by `tests/browser/report.mjs`.

use std::path::Path;
use std::process::Command;

use devhost_bench::model;
use devhost_bench::report::html;

use crate::browser::{find_chromium, install_driver, run_script};

#[path = "bench_sample.rs"]
mod sample;

#[test]
fn chromium_draws_each_plot_of_a_report() {
    let Some(chromium) = find_chromium() else { return };
    let driver = install_driver();
    // Kept for people to look at, like the screenshots.
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
    let mut script = Command::new("node");
    script.arg(driver.join("report.mjs")).env("REPORTS", &pages);
    run_script(script, &chromium);
}
