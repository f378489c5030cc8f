//! A real Tailwind beside an app: it writes a git-ignored stylesheet, which the app sends as it is.

use std::os::unix::fs::symlink;
use std::process::Command;

use crate::support::{COLD_BUILD, Devhost, PAGE_SERVER, cargo_turn, repository, scratch, write_file};

/// Has its page compiled in, as askama does it.
const MAIN: &str = r#"
fn start() {}

fn page(path: &str) -> (u16, Vec<u8>) {
    match path {
        "/static/app.css" => std::fs::read("static/app.css").map_or((404, Vec::new()), |text| (200, text)),
        _ => (200, include_str!("../templates/page.html").into()),
    }
}
"#;

#[test]
fn what_tailwind_writes_is_swapped_and_never_costs_a_restart() {
    let Some(tools) = install() else { return };
    let _turn = cargo_turn();
    let app = scratch();
    let write = |path: &str, text: &str| drop(write_file(app.path().join(path), text));
    write("Cargo.toml", "[package]\nname = 'shop'\nversion = '0.1.0'\nedition = '2024'\n[workspace]\n");
    write("src/main.rs", &format!("{MAIN}{PAGE_SERVER}"));
    write("templates/page.html", "<p class='text-red-500'>One</p>");
    write("in.css", "@import 'tailwindcss';\n");
    write(".gitignore", "/target\n/node_modules\n/static\n");
    write(
        "devhost.toml",
        "[processes.tailwind]\n\
         command = 'node_modules/.bin/tailwindcss -i in.css -o static/app.css --watch=always'\n\
         ready-when = { file = 'static/app.css' }\n",
    );
    std::fs::create_dir(app.path().join(".git")).unwrap();
    symlink(tools, app.path().join("node_modules")).unwrap();
    let devhost = Devhost::start(app.path(), &["run", "--port", "0"]);
    devhost.wait_status(COLD_BUILD, "it serves", |status| status["state"] == "ready");
    let css = devhost.get("/static/app.css");
    assert!(css.body.contains(".text-red-500") && !css.body.contains(".text-green-700"), "{}", css.body);
    let (before, printed) = (css.generation(), devhost.printed().lines().count());
    write("templates/page.html", "<p class='text-green-700'>Two</p>");
    assert!(devhost.get("/").body.contains("Two"));
    devhost.wait_line_after(printed, "css update static/app.css");
    let css = devhost.get("/static/app.css");
    assert!(css.body.contains(".text-green-700"), "{}", css.body);
    assert_eq!(css.generation(), before + 1, "only the page was built:\n{}", devhost.printed());
    assert!(devhost.stop().success());
}

/// Returns the directory with Tailwind. Without npm the test is skipped, except in CI.
fn install() -> Option<std::path::PathBuf> {
    let directory = repository().join("tests/tailwind");
    let installed = directory.join("node_modules");
    if !installed.join(".bin/tailwindcss").exists() {
        let npm =
            Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(&directory).status();
        match npm {
            Ok(status) => assert!(status.success(), "npm fails"),
            Err(error) => {
                assert!(std::env::var_os("CI").is_none(), "CI needs npm: {error}");
                eprintln!("skipped: npm is not installed");
                return None;
            }
        }
    }
    Some(installed)
}
