//! devhost.toml: what it says holds, the command line wins, a mistake has its place, and a change is applied or noted.

use std::path::{Path, PathBuf};

use crate::build::manifest;
use crate::support::{Devhost, SOON, cargo_turn, run_to_end, scratch, server, write_file};

/// Tells what the app was given.
const TELLS: &str = r#"format!("{} {:?} {:?} {}", env!("CARGO_BIN_NAME"), std::env::args().skip(1).collect::<Vec<_>>(), std::env::var("TOLD").ok(), cfg!(feature = "loud"))"#;

/// A workspace with the package `site`, which has the binaries `one` and `two`.
struct Site {
    dir: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let site = Self { dir: scratch() };
        site.write("Cargo.toml", "[workspace]\nmembers = ['site', 'other']\nresolver = '3'\n");
        site.write("site/Cargo.toml", &format!("{}\n[features]\nloud = []\n", manifest("site", "")));
        site.write("site/src/bin/one.rs", &server(TELLS));
        site.write("site/src/bin/two.rs", &server(TELLS));
        site.write("other/Cargo.toml", &manifest("other", ""));
        site.write("other/src/lib.rs", "");
        site
    }

    fn root(&self) -> &Path {
        self.dir.path()
    }

    fn write(&self, path: &str, text: &str) -> PathBuf {
        write_file(self.root().join(path), text)
    }

    /// Starts devhost in a directory.
    fn start(&self, cwd: &str, args: &[&str]) -> Devhost {
        let line: Vec<&str> = std::iter::once("run").chain(args.iter().copied()).collect();
        Devhost::start(&self.root().join(cwd), &line).ready()
    }

    /// Returns what devhost says of a mistake.
    fn refused(&self, args: &[&str]) -> String {
        let output = run_to_end(self.root(), args);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{message}");
        message
    }
}

#[test]
fn what_the_files_say_holds_and_the_packages_wins() {
    let _turn = cargo_turn();
    let site = Site::new();
    site.write(
        "devhost.toml",
        "port = 0\nbin = 'one'\nenv = { TOLD = 'root' }\nargs = ['--root']\ntarget-dir = 'built'\n",
    );
    site.write(
        "site/devhost.toml",
        "bin = 'two'\nfeatures = 'loud'\nenv-file = 'told.env'\nargs = ['--seed', 'a b']\n",
    );
    site.write("site/told.env", "TOLD=file\n");
    let devhost = site.start("site", &[]);
    assert_eq!(devhost.get("/").body, r#"two ["--seed", "a b"] Some("root") true"#);
    assert!(site.root().join("built").is_dir(), "paths are relative to the file");
    devhost.stop();
}

#[test]
fn the_command_line_and_the_environment_win() {
    let _turn = cargo_turn();
    let site = Site::new();
    site.write(
        "site/devhost.toml",
        "port = 0\nhost = '127.0.0.2'\nlib = true\nfeatures = 'loud'\nargs = ['x']\nstdin = true\nworkers = 1\n",
    );
    let args = ["run", "--bin", "one", "--features=", "--stdin=false", "--workers", "2", "--", "y"];
    let devhost = Devhost::start_with(&site.root().join("site"), &args, |command| {
        command.env("DEVHOST_HOST", "127.0.0.1").env("TOLD", "outside");
    });
    let devhost = devhost.ready();
    assert!(devhost.url.starts_with("http://127.0.0.1:"), "{}", devhost.url);
    assert_eq!(devhost.get("/").body, r#"one ["y"] Some("outside") false"#);
    devhost.stop();
}

#[test]
fn an_app_of_the_file_is_served_by_its_name() {
    let _turn = cargo_turn();
    let site = Site::new();
    site.write(
        "devhost.toml",
        "port = 0\nargs = ['all']\n[apps.first]\npackage = 'site'\nbin = 'one'\n\
         [apps.second]\npackage = 'site'\nbin = 'two'\nenv = { TOLD = '2' }\n",
    );
    let devhost = site.start(".", &["second"]);
    assert_eq!(devhost.get("/").body, r#"two ["all"] Some("2") false"#);
    devhost.stop();
}

#[test]
fn a_mistake_in_the_file_is_shown_at_its_place() {
    let site = Site::new();
    site.write("devhost.toml", "# all\nstrict_port = true\n");
    let message = site.refused(&["run", "site"]);
    let expected = "error: devhost.toml:2:1: unknown key `strict_port`\n  |\n2 | strict_port = true\n  | ^^^^^^^^^^^\n\
                    hint: did you mean `strict-port`?\n";
    assert_eq!(message, expected);
    for command in ["bench", "doctor", "clean"] {
        assert!(site.refused(&[command, "site"]).contains("devhost.toml:2:1: unknown key"), "{command}");
    }
    site.write("devhost.toml", "workers = 17\n");
    assert!(site.refused(&["run", "site"]).contains("devhost.toml:1:11: `workers`: 17 is not in 1..=16\n"));
    site.write("devhost.toml", "[apps.shop]\npackage = 'sight'\n");
    let message = site.refused(&["run"]);
    assert!(
        message.contains("devhost.toml:2:11: `apps.shop`: the workspace has no package `sight`\n"),
        "{message}"
    );
    assert!(message.contains("the packages here: other, site"), "{message}");
    site.write("devhost.toml", "");
    site.write("site/devhost.toml", "port = 'http'\n");
    let message = site.refused(&["run", "site"]);
    assert!(
        message.contains("site/devhost.toml:1:8: `port`: a number from 0 to 65535 is needed"),
        "{message}"
    );
}

#[test]
fn other_commands_heed_what_concerns_the_build() {
    let _turn = cargo_turn();
    let site = Site::new();
    site.write("devhost.toml", "target-dir = 'built'\nbin = 'none'\nport = 1\n");
    site.write("built/devhost/keep", "");
    let output = run_to_end(site.root(), &["clean", "--dry-run"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("/built"), "{output:?}");
    let output = run_to_end(site.root(), &["doctor", "site"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("`none`"), "{output:?}");
}

#[test]
fn a_change_is_applied_or_noted_and_a_broken_file_changes_nothing() {
    let _turn = cargo_turn();
    let site = Site::new();
    site.write("site/devhost.toml", "port = 0\nbin = 'one'\n");
    let devhost = site.start("site", &[]);
    assert_eq!(devhost.get("/").body, "one [] None false");
    site.write("site/devhost.toml", "port = 0\nbin = 'one'\nenv = { TOLD = 'now' }\n");
    devhost.wait_line("devhost.toml: `env` is applied");
    devhost.wait_ready(2);
    assert_eq!(devhost.get("/").body, r#"one [] Some("now") false"#);
    site.write("site/devhost.toml", "port = 0\nbin = 'one'\nenv = { TOLD = now }\n");
    devhost.wait_line("devhost goes on as before");
    assert!(devhost.printed().contains("devhost.toml:3:16: "), "{}", devhost.printed());
    site.write("site/devhost.toml", "port = 1\nbin = 'two'\nenv-file = 'told.env'\n");
    devhost.wait_line("devhost.toml: `bin` has changed; it takes effect when devhost is started again");
    devhost.wait_line("devhost.toml: `port` has changed");
    // The file named now is not there yet.
    devhost.wait_line("told.env");
    site.write("site/told.env", "TOLD=file\n");
    devhost.wait_status(SOON, "with the variable of the file", |_| {
        devhost.get("/").body == r#"one [] Some("file") false"#
    });
    // A file at the workspace's root counts as soon as it is there.
    site.write("devhost.toml", "env = { TOLD = 'root' }\n");
    devhost.wait_status(SOON, "with the variable of the root's file", |_| {
        devhost.get("/").body == r#"one [] Some("root") false"#
    });
    assert!(!devhost.printed().contains("reloaded #"), "nothing was built: {}", devhost.printed());
    devhost.stop();
}

#[test]
fn a_build_that_failed_is_mended_after_a_change_of_what_is_ignored() {
    let _turn = cargo_turn();
    let site = Site::new();
    site.write("site/devhost.toml", "port = 0\nbin = 'one'\n");
    let devhost = site.start("site", &[]);
    site.write("site/src/bin/one.rs", &server("include_str!(\"../../words.dat\")"));
    devhost.wait_line("words.dat");
    site.write("site/devhost.toml", "port = 0\nbin = 'one'\nignore = ['notes/**']\n");
    devhost.wait_line("devhost.toml: `ignore` is applied");
    site.write("site/words.dat", "mended");
    devhost.wait_status(SOON, "mended", |_| devhost.get("/").body == "mended");
    devhost.stop();
}
