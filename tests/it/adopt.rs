//! `devhost doctor` on small packages: what it says, and that it changes nothing.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::support::{repository, run_to_end, run_to_end_with, scratch};

fn manifest(name: &str, dependencies: &str) -> String {
    format!(
        "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[dependencies]\n{dependencies}\n[workspace]\n"
    )
}

fn package(dir: &Path, manifest: &str, file: &str, text: &str) {
    fs::create_dir_all(dir.join("src")).unwrap();
    fs::write(dir.join("Cargo.toml"), manifest).unwrap();
    fs::write(dir.join(file), text).unwrap();
    fs::copy(repository().join("Cargo.lock"), dir.join("Cargo.lock")).unwrap();
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn doctor(dir: &Path, args: &[&str], code: i32) -> Value {
    let output = run_to_end_with(dir, &[&["doctor", "--json"], args].concat(), |command| {
        command.env_remove("RUSTFLAGS");
    });
    assert_eq!(output.status.code(), Some(code), "{}", printed(&output));
    serde_json::from_slice(&output.stdout).expect("it is JSON")
}

fn mark<'v>(examination: &'v Value, id: &str) -> Option<&'v str> {
    let checks = examination["checks"].as_array().unwrap();
    checks.iter().find(|check| check["id"] == id).map(|check| check["mark"].as_str().unwrap())
}

#[test]
fn doctor_knows_a_plugin_app() {
    let examination = doctor(&repository(), &["example_app"], 0);
    assert_eq!((&examination["kind"], &examination["framework"]), (&"plugin".into(), &"axum".into()));
    let has = |list: &str, name: &str| examination[list].as_array().unwrap().contains(&name.into());
    assert!(has("shared", "rusqlite") && has("macros", "serde_derive") && !has("shared", "tempfile"));
    for id in ["rustc", "cargo", "cc", "inotify-watches", "descriptors", "shared-memory"] {
        assert!(mark(&examination, id).is_some(), "{id}");
    }
}

#[test]
fn doctor_finds_the_traps_of_a_plain_app() {
    let dir = scratch();
    let text =
        manifest("trap", "part = { path = \"part\" }\n") + "[profile.dev]\npanic = \"abort\"\nlto = true\n";
    let source = "#![no_main]\n#[global_allocator]\nstatic A: std::alloc::System = std::alloc::System;\n";
    package(dir.path(), &text, "src/main.rs", source);
    fs::write(dir.path().join("build.rs"), "fn main() {}").unwrap();
    let part = "[package]\nname = \"part\"\nversion = \"0.1.0\"\nedition = \"2024\"\n";
    package(&dir.path().join("part"), part, "src/lib.rs", "");
    fs::create_dir(dir.path().join(".cargo")).unwrap();
    let config = "[build]\nrustflags = [\"-Ctarget-feature=+crt-static\"]\n";
    fs::write(dir.path().join(".cargo/config.toml"), config).unwrap();
    let examination = doctor(dir.path(), &[], 0);
    assert_eq!(examination["kind"], "plain");
    assert_eq!(examination["path"], serde_json::json!(["part"]));
    for id in ["panic-abort", "lto", "no-main", "global-allocator", "crt-static", "build-script", "framework"]
    {
        assert_eq!(mark(&examination, id), Some("warn"), "{id}: {examination:#}");
    }
}

#[test]
fn doctor_judges_what_run_would_serve() {
    let dir = scratch();
    let text = manifest("several", "") + "[profile.release]\npanic = \"abort\"\n";
    package(dir.path(), &text, "src/main.rs", "fn main() {}");
    fs::create_dir(dir.path().join("src/bin")).unwrap();
    fs::write(dir.path().join("src/bin/other.rs"), "#![no_main]\n").unwrap();
    // As with `run`, it must be named.
    let examination = doctor(dir.path(), &[], 2);
    assert_eq!((&examination["kind"], mark(&examination, "kind")), (&"plain".into(), Some("fail")));
    let examination = doctor(dir.path(), &["--bin", "several"], 0);
    assert_eq!(mark(&examination, "kind"), Some("ok"));
    assert_eq!((mark(&examination, "no-main"), mark(&examination, "panic-abort")), (None, None));
    assert_eq!(mark(&examination, "profiles"), Some("ok"));
    let examination = doctor(dir.path(), &["--bin", "other", "--release"], 0);
    assert_eq!(mark(&examination, "no-main"), Some("warn"));
    assert_eq!(mark(&examination, "panic-abort"), Some("warn"));
}

#[test]
fn doctor_fails_where_there_is_no_app() {
    let dir = scratch();
    package(dir.path(), &manifest("nothing", ""), "src/lib.rs", "");
    let examination = doctor(dir.path(), &["."], 2);
    assert_eq!(mark(&examination, "kind"), Some("fail"));
    let output = run_to_end(dir.path(), &["doctor", "missing/dir"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(printed(&output).contains("missing/dir"), "{}", printed(&output));
}

/// Returns the check with this id.
fn message(examination: &Value, id: &str) -> String {
    let checks = examination["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["id"] == id);
    check.map(|check| check["message"].as_str().unwrap().to_owned()).unwrap_or_default()
}

#[test]
fn doctor_says_that_grpc_and_tls_do_not_get_through() {
    let dir = scratch();
    for name in ["tonic", "axum-server"] {
        let text =
            format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\n[features]\ntls-rustls = []\n");
        package(&dir.path().join(name), &text, "src/lib.rs", "");
    }
    let grpc = dir.path().join("grpc");
    package(&grpc, &manifest("grpc", "tonic = { path = \"../tonic\" }\n"), "src/main.rs", "fn main() {}");
    let examination = doctor(&grpc, &[], 2);
    assert_eq!(mark(&examination, "protocol"), Some("fail"), "{examination:#}");
    let tls = dir.path().join("tls");
    let dependency = "axum-server = { path = \"../axum-server\", features = [\"tls-rustls\"] }\n";
    package(&tls, &manifest("tls", dependency), "src/main.rs", "fn main() {}");
    let examination = doctor(&tls, &[], 0);
    assert_eq!(mark(&examination, "protocol"), Some("warn"), "{examination:#}");
}

#[test]
fn doctor_counts_only_an_allocator_that_is_compiled_in() {
    let dir = scratch();
    let source = "#[cfg(feature = \"fast\")]\nmod memory;\nfn main() {}\n";
    package(dir.path(), &(manifest("app", "") + "[features]\nfast = []\n"), "src/main.rs", source);
    let allocator = "#[global_allocator]\nstatic A: std::alloc::System = std::alloc::System;\n";
    fs::write(dir.path().join("src/memory.rs"), allocator).unwrap();
    assert_eq!(mark(&doctor(dir.path(), &[], 0), "global-allocator"), None);
    let examination = doctor(dir.path(), &["--features", "fast"], 0);
    assert!(message(&examination, "global-allocator").starts_with("src/memory.rs "), "{examination:#}");
}

#[test]
fn doctor_goes_by_what_a_build_script_has_printed() {
    let dir = scratch();
    let helper = "[package]\nname = \"helper\"\nversion = \"0.1.0\"\n";
    let text = "pub fn build() { println!(\"cargo:rerun-if-changed=app.proto\"); }";
    package(&dir.path().join("helper"), helper, "src/lib.rs", text);
    let app = dir.path().join("app");
    let text = manifest("app", "") + "[build-dependencies]\nhelper = { path = \"../helper\" }\n";
    package(&app, &text, "src/main.rs", "fn main() {}");
    fs::write(app.join("build.rs"), "fn main() { helper::build() }").unwrap();
    // Unknown before it has run.
    assert_eq!(mark(&doctor(&app, &[], 0), "build-script"), Some("ok"));
    let built = std::process::Command::new("cargo").args(["build", "-q"]).current_dir(&app).status().unwrap();
    assert!(built.success());
    let examination = doctor(&app, &[], 0);
    assert!(message(&examination, "build-script").contains("only when what it names"), "{examination:#}");
}

#[test]
fn a_package_with_examples_alone_is_told_how_to_serve_one() {
    let dir = scratch();
    package(dir.path(), &manifest("shown", ""), "src/lib.rs", "");
    fs::create_dir(dir.path().join("examples")).unwrap();
    fs::write(dir.path().join("examples/site.rs"), "fn main() {}").unwrap();
    let output = run_to_end(dir.path(), &["run"]);
    assert_eq!(output.status.code(), Some(2));
    let printed = printed(&output);
    assert!(printed.contains("--example NAME") && printed.contains("site"), "{printed}");
}
