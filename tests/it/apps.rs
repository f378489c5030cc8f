//! Several apps in one devhost.

use std::path::Path;
use std::time::Instant;

use devhost_model::EXIT_MISTAKE;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{Running, SOON, answer, client, run_to_end, scratch, server, write_file};

/// A workspace with the packages `api` and `admin`, which both use `common`.
struct Site(tempfile::TempDir);

impl Site {
    fn new() -> Self {
        let site = Self(scratch());
        site.write("Cargo.toml", "[workspace]\nmembers = ['common', 'api', 'admin']\nresolver = '3'\n");
        site.write("common/Cargo.toml", "[package]\nname = 'common'\nversion = '0.1.0'\nedition = '2024'\n");
        site.write("common/src/lib.rs", "pub const WORD: &str = \"one\";\n");
        for name in ["api", "admin"] {
            site.write(
                &format!("{name}/Cargo.toml"),
                &format!(
                    "[package]\nname = '{name}'\nversion = '0.1.0'\nedition = '2024'\n\
                     [dependencies]\ncommon = {{ path = '../common' }}\n"
                ),
            );
            site.write(&format!("{name}/src/main.rs"), &app(name));
        }
        site
    }

    fn write(&self, name: &str, text: &str) {
        write_file(self.0.path().join(name), text);
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn start(&self, args: &[&str]) -> Running {
        let args: Vec<&str> = ["run"].into_iter().chain(args.iter().copied()).collect();
        Running::start(self.path(), &args)
    }
}

fn app(name: &str) -> String {
    let says = format!("format!(\"{name} says {{}} to {{:?}}\", common::WORD, std::env::var(\"WHO\").ok())");
    server(&says).replace("fn main() {", &format!("fn main() {{\n    println!(\"here is {name}\");"))
}

/// One of the apps, where it is served.
struct Served(String);

impl Served {
    fn of(devhost: &Running, name: &str) -> Self {
        let line = devhost.wait_line(&format!("{name:5} |   ➜  Local:"));
        Self(line[line.find("http://").unwrap()..].trim().trim_end_matches('/').to_owned())
    }

    fn get(&self, path: &str) -> String {
        answer(client().get(format!("{}{path}", self.0)).call()).body
    }

    fn wait_status(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + SOON;
        loop {
            let status: Value = serde_json::from_str(&self.get("/__devhost/status")).unwrap();
            if wanted(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "never {what}: {status:#}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    fn wait_generation(&self, generation: u64) -> Value {
        self.wait_status(&format!("#{generation}"), |status| {
            status["state"] == "ready" && status["generation"] == generation
        })
    }
}

fn crates_of_last_build(status: &Value) -> Vec<&str> {
    let reloads = status["reloads"].as_array().unwrap();
    let crates = reloads.last().unwrap()["build"]["crates"].as_array().unwrap();
    crates.iter().map(|made| made["name"].as_str().unwrap()).collect()
}

#[test]
fn a_change_in_a_shared_crate_reaches_both_apps_and_one_in_an_app_only_that() {
    let site = Site::new();
    site.write(
        "devhost.toml",
        "[apps.api]\nport = 0\nenv = { WHO = 'you' }\n[apps.admin]\n[processes.side]\ncommand = 'echo started; exec sleep 100031'\n",
    );
    let devhost = site.start(&[]);
    let (api, admin) = (Served::of(&devhost, "api"), Served::of(&devhost, "admin"));
    api.wait_generation(1);
    let status = admin.wait_generation(1);
    assert_eq!(api.get("/"), "api says one to Some(\"you\")");
    assert_eq!(admin.get("/"), "admin says one to None");
    // Each knows the other, and the process that runs once for both.
    assert_eq!((&status["app"], &status["apps"][0]["app"]), (&"admin".into(), &"api".into()));
    assert_eq!(status["apps"][0]["url"], format!("{}/", api.0));
    assert_eq!(status["processes"][0]["name"], "side");
    assert!(admin.get("/__devhost/").contains(&format!("<a href=\"{}/\">api</a>", api.0)));
    devhost.wait_line("api   | here is api");
    assert_eq!(devhost.count_lines("side  | started"), 1);

    site.write("common/src/lib.rs", "pub const WORD: &str = \"two\";\n");
    let mut compiled = Vec::new();
    for (served, name) in [(&api, "api"), (&admin, "admin")] {
        let status = served.wait_generation(2);
        assert!(served.get("/").starts_with(&format!("{name} says two")), "{}", served.get("/"));
        compiled.extend(crates_of_last_build(&status).into_iter().map(str::to_owned));
    }
    compiled.sort();
    assert_eq!(compiled, ["admin", "api", "common"], "each is compiled once");
    site.write("api/src/main.rs", &app("api").replace("says", "sings"));
    assert_eq!(crates_of_last_build(&api.wait_generation(3)), ["api"]);
    assert!(api.get("/").starts_with("api sings two"));
    assert_eq!(admin.wait_generation(2)["reloads"].as_array().unwrap().len(), 2);
    assert!(devhost.end_by(Signal::SIGTERM).success());
}

#[test]
fn an_app_that_does_not_compile_or_cannot_be_served_leaves_the_other_alone() {
    let site = Site::new();
    site.write("admin/src/main.rs", "fn main() { none() }\n");
    site.write("devhost.toml", "[apps.api]\n[apps.admin]\n[apps.odd]\npackage = 'common'\n");
    let devhost = site.start(&["--port", "0"]);
    devhost.wait_line("odd   | error: ");
    let api = Served::of(&devhost, "api");
    api.wait_generation(1);
    let admin = Served::of(&devhost, "admin");
    admin.wait_status("failed", |status| status["state"] == "failed");
    let status = api.wait_status("the others' states", |status| status["apps"][0]["state"] == "failed");
    assert_eq!((&status["apps"][1]["app"], &status["apps"][1]["state"]), (&"odd".into(), &"failed".into()));
    assert!(api.get("/").starts_with("api says one"));
    site.write("admin/src/main.rs", &app("admin"));
    admin.wait_generation(1);
    assert!(admin.get("/").starts_with("admin says one"));
    assert!(devhost.end_by(Signal::SIGINT).success());
}

#[test]
fn what_only_one_app_can_have_is_refused() {
    let site = Site::new();
    site.write("devhost.toml", "port = 4321\n[apps.api]\n[apps.admin]\n");
    for (args, expected) in [
        (&["run"][..], "`api` and `admin` cannot both listen on port 4321"),
        (
            &["run", "api", "admin", "--port", "4000"],
            "several apps cannot listen on one port, 4000: api, admin",
        ),
        (&["run", "--port", "0", "--stdin"], "--stdin is for one app, and these are served: "),
        (
            &["run", "api", "amdin", "--port", "0"],
            "has no app or package `amdin`\nhint: did you mean `admin`? ",
        ),
    ] {
        let output = run_to_end(site.path(), args);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(i32::from(EXIT_MISTAKE)), "{told}");
        assert!(told.contains(expected), "{args:?}: {told}");
        assert!(output.stdout.is_empty() && told.starts_with("error: "), "nothing is served: {output:?}");
    }
}
