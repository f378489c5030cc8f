//! User mistakes and machine limits: each ends with a message that names the thing and says what to do, with
//! exit code 2 (or a failed state that recovers), and leaves nothing behind.

use std::net::TcpListener;
use std::path::Path;
use std::process::Output;

use crate::support::{
    Devhost, ExampleApp, SOON, answer, cargo_turn, compile_c, repository, run_to_end, run_to_end_with,
    scratch,
};

fn message(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs it and expects exit code 2 and a message with all of the parts.
fn refused(cwd: &Path, args: &[&str], parts: &[&str]) {
    let output = run_to_end(cwd, args);
    let message = message(&output);
    assert_eq!(output.status.code(), Some(2), "{message}");
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
}

fn package(dir: &Path, manifest: &str, lib: Option<&str>) {
    std::fs::create_dir_all(dir.join("src")).unwrap();
    std::fs::write(dir.join("Cargo.toml"), manifest).unwrap();
    match lib {
        Some(lib) => std::fs::write(dir.join("src/lib.rs"), lib).unwrap(),
        None => std::fs::write(dir.join("src/main.rs"), "fn main() {}").unwrap(),
    }
}

const MANIFEST: &str = "[package]\nname = \"shop\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n";

#[test]
fn a_path_that_is_no_package_is_named() {
    let dir = scratch();
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    refused(dir.path(), &["run", "./empty"], &["empty", "Cargo.toml", "hint:"]);
}

#[test]
fn an_unknown_package_is_named_with_the_known_ones() {
    refused(&repository(), &["run", "exampel_app"], &["exampel_app", "example_app"]);
}

#[test]
fn a_package_without_export_is_told_what_to_write() {
    let dir = scratch();
    package(dir.path(), MANIFEST, Some("pub fn app() {}"));
    refused(dir.path(), &["run"], &["shop", "export!", "devhost-plugin"]);
}

#[test]
fn a_package_without_a_library_is_told_so() {
    let dir = scratch();
    package(dir.path(), MANIFEST, None);
    refused(dir.path(), &["run", "--lib"], &["shop", "no library"]);
}

#[test]
fn a_broken_manifest_shows_cargos_message() {
    let dir = scratch();
    package(dir.path(), "[package\nname = 1", Some(""));
    refused(dir.path(), &["run"], &["Cargo.toml"]);
}

#[test]
fn a_missing_cargo_is_named() {
    let dir = scratch();
    package(dir.path(), MANIFEST, Some(""));
    let output = run_to_end_with(dir.path(), &["run"], |command| {
        command.env("PATH", dir.path()).env_remove("CARGO");
    });
    assert_eq!(output.status.code(), Some(2), "{}", message(&output));
    assert!(message(&output).contains("cargo"), "{}", message(&output));
}

#[test]
fn a_file_that_is_no_plugin_fails_with_its_name() {
    let dir = scratch();
    let path = dir.path().join("plugin.so");
    std::fs::write(&path, "not a library").unwrap();
    let devhost = Devhost::start(dir.path(), &["run", path.to_str().unwrap(), "--port", "0"]);
    devhost.wait_status(SOON, "failed", |status| status["state"] == "failed");
    let page = devhost.get_page("/");
    assert!(page.status >= 500 && page.body.contains("plugin.so"), "{}", page.body);
    assert!(devhost.stop().success());
}

#[test]
fn a_missing_plugin_is_named() {
    refused(scratch().path(), &["run", "missing.so"], &["missing.so"]);
}

#[test]
fn an_unknown_option_is_exit_code_2() {
    refused(scratch().path(), &["run", "--prot", "1"], &["--prot"]);
}

fn plugin() -> (tempfile::TempDir, String) {
    let dir = scratch();
    let path = dir.path().join("plugin.so");
    compile_c("plugin.c", &path);
    let path = path.to_str().unwrap().to_owned();
    (dir, path)
}

#[test]
fn a_port_in_use_is_said_and_the_next_one_taken() {
    let (dir, path) = plugin();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let devhost = Devhost::start(dir.path(), &["run", &path, "--port", &port.to_string()]);
    assert_ne!(devhost.port, port);
    let printed = devhost.printed();
    assert!(printed.contains(&port.to_string()), "{printed}");
    // This test's own process has the port.
    assert!(printed.contains(&std::process::id().to_string()), "{printed}");
    assert!(devhost.stop().success());
}

#[test]
fn a_port_in_use_is_an_error_with_strict_port() {
    let (dir, path) = plugin();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    refused(dir.path(), &["run", &path, "--port", &port, "--strict-port"], &[&port, "hint:"]);
}

#[test]
fn a_public_address_needs_a_flag() {
    let (dir, path) = plugin();
    refused(dir.path(), &["run", &path, "--host", "0.0.0.0", "--port", "0"], &["0.0.0.0", "--allow-remote"]);
    let open = ["run", path.as_str(), "--host", "0.0.0.0", "--allow-remote", "--port", "0"];
    let devhost = Devhost::start(dir.path(), &open);
    devhost.wait_line("everybody on your network");
    assert!(devhost.url.starts_with("http://127.0.0.1:"), "{}", devhost.url);
    assert!(!devhost.printed().contains("http://0.0.0.0"), "{}", devhost.printed());
    devhost.wait_ready(1);
    for line in devhost.printed().lines().filter(|line| line.contains("Network:")) {
        let url = &line[line.find("http://").expect("it has an address")..];
        assert_eq!(answer(devhost.client.get(url.trim()).call()).status, 200, "{line}");
    }
    assert!(devhost.stop().success());
}

#[test]
fn a_host_that_would_be_every_host_is_refused() {
    let (dir, path) = plugin();
    for (host, part) in [("*", "every web page could read the app"), ("", "a host name is needed")] {
        refused(dir.path(), &["run", &path, "--allowed-host", host], &[part]);
    }
}

#[test]
fn memory_and_descriptors_that_are_refused_fail_the_start_with_a_reason() {
    let (dir, path) = plugin();
    let devhost = Devhost::start(dir.path(), &["run", &path, "--port", "0"]).ready();
    // Too few for another link; open ones stay open.
    let open = std::fs::read_dir(format!("/proc/{}/fd", devhost.pid())).unwrap().count();
    limit_descriptors(devhost.pid(), open as u64);
    crate::plugin::touch(Path::new(&path), 1);
    devhost.wait_line("Too many open files");
    limit_descriptors(devhost.pid(), 1024);
    crate::plugin::touch(Path::new(&path), 2);
    devhost.wait_status(SOON, "ready", |status| {
        status["state"] == "ready" && status["generation"].as_u64() > Some(1)
    });
    assert_eq!(devhost.get("/").status, 200);
    assert!(devhost.stop().success());
}

fn limit_descriptors(pid: i32, soft: u64) {
    let status = std::process::Command::new("prlimit")
        .args([format!("--pid={pid}"), format!("--nofile={soft}:4096")])
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn an_app_that_does_not_build_at_first_shows_the_error_and_recovers() {
    let _turn = cargo_turn();
    let app = ExampleApp::new();
    app.edit("src/pages.rs", "const HEADING: &str = ", "const HEADING: u32 = ");
    let devhost = app.start(&[]);
    let status =
        devhost.wait_status(crate::support::COLD_BUILD, "failed", |status| status["state"] == "failed");
    assert_eq!(status["generation"], 0);
    let page = devhost.get_page("/");
    assert_eq!(page.status, 500);
    assert!(page.body.contains("E0308") && page.body.contains("src/pages.rs"), "{}", page.body);
    app.edit("src/pages.rs", "const HEADING: u32 = ", "const HEADING: &str = ");
    devhost.wait_status(SOON, "ready", |status| status["state"] == "ready");
    assert_eq!(devhost.get_page("/").status, 200);
    assert!(devhost.stop().success());
}

#[test]
fn a_target_directory_that_cannot_be_written_is_named() {
    let _turn = cargo_turn();
    let app = ExampleApp::new();
    refused(
        app.dir.path(),
        &["run", "example_app", "--port", "0", "--target-dir", "/proc/devhost"],
        &["/proc/devhost", "--target-dir"],
    );
}

#[test]
fn no_inotify_watches_left_is_said_with_what_to_do() {
    let dir = scratch();
    for name in ["a", "b", "c", "d"] {
        std::fs::create_dir_all(dir.path().join("app/src").join(name)).unwrap();
    }
    let app = dir.path().join("app");
    let manifest = format!(
        "{}[dependencies]\ndevhost-plugin = {{ path = {:?} }}\n",
        MANIFEST.replace("[workspace]\n", ""),
        repository().join("plugin_abi")
    );
    package(&app, &format!("{manifest}[workspace]\n"), Some("devhost_plugin::export!(app);"));
    std::fs::copy(repository().join("Cargo.lock"), app.join("Cargo.lock")).unwrap();
    // A user namespace's limits hold only within it.
    let limited = "echo 2 > /proc/sys/user/max_inotify_watches && exec \"$0\" run . --port 0";
    let output = std::process::Command::new("unshare")
        .args(["-Ur", "sh", "-c", limited, env!("CARGO_BIN_EXE_devhost")])
        .current_dir(&app)
        .env("NO_COLOR", "1")
        .output();
    let output = match output {
        Ok(output) if !message(&output).contains("unshare") => output,
        refused => {
            eprintln!("skipped: user namespaces are not allowed here ({refused:?})");
            return;
        }
    };
    let message = message(&output);
    assert!(!output.status.success(), "{message}");
    assert!(message.contains("max_user_watches") && message.contains("--poll"), "{message}");
}
