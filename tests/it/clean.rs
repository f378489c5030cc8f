//! Anything below the target directory may be removed at any moment (`cargo clean`, `rm -rf target`): what
//! runs keeps running, and the next build restores it.

use std::path::{Path, PathBuf};

use devhost_build::{Artifact, Builder, Settings};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::build::{Workspace, build_error, built, load, manifest};
use crate::support::{COLD_BUILD, Devhost, SOON, run_to_end, scratch, write_file};

/// A server without dependencies that answers with `TEXT`.
pub(crate) const TINY: &str = "use std::io::{Read, Write};
const TEXT: &str = \"one\";
fn main() {
    let listener = std::net::TcpListener::bind(\"127.0.0.1:0\").unwrap();
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        std::thread::spawn(move || {
            let _ = stream.read(&mut [0; 4096]);
            let answer = format!(\"HTTP/1.1 200 OK\\r\\ncontent-length: {}\\r\\nconnection: close\\r\\n\\r\\n{TEXT}\", TEXT.len());
            let _ = stream.write_all(answer.as_bytes());
        });
    }
}
";

/// A package without dependencies, with devhost's target directory in its usual place.
pub(crate) struct Tiny {
    pub dir: tempfile::TempDir,
}

impl Tiny {
    pub(crate) fn new() -> Self {
        let tiny = Self { dir: scratch() };
        tiny.write("Cargo.toml", &manifest("tiny", ""));
        tiny.write("src/main.rs", TINY);
        tiny
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    pub(crate) fn write(&self, path: &str, text: &str) -> PathBuf {
        write_file(self.path(path), text)
    }

    /// Changes its answer.
    pub(crate) fn say(&self, text: &str) {
        self.write("src/main.rs", &TINY.replace("\"one\"", &format!("\"{text}\"")));
    }

    pub(crate) fn start(&self, more: &[&str]) -> Devhost {
        let mut args = vec!["run", "--port", "0"];
        args.extend(more);
        Devhost::start(self.dir.path(), &args)
    }
}

/// Waits until the text is served by this generation or a later one.
pub(crate) fn wait_served(devhost: &Devhost, generation: u64, text: &str) {
    devhost.wait_ready(generation);
    let answer = devhost.get("/");
    assert_eq!((answer.status, answer.body.as_str()), (200, text), "{}", devhost.printed());
}

#[test]
fn the_target_directory_may_be_removed_while_devhost_runs() {
    let tiny = Tiny::new();
    let devhost = tiny.start(&[]);
    wait_served(&devhost, 1, "one");
    let remove = |what: &str| {
        let began = std::time::Instant::now();
        // What prepares the next link may write into it meanwhile.
        while let Err(error) = std::fs::remove_dir_all(tiny.path(what)) {
            assert!(
                error.kind() == std::io::ErrorKind::DirectoryNotEmpty && began.elapsed() < SOON,
                "{error}"
            );
        }
    };
    for (number, what) in ["target", "target/devhost", "target/devhost/artifacts"].into_iter().enumerate() {
        let generation = 2 + number as u64;
        remove(what);
        assert_eq!(devhost.get("/").status, 200, "what runs goes on");
        tiny.say(&format!("text {number}"));
        wait_served(&devhost, generation, &format!("text {number}"));
    }
    // A restart first builds again.
    remove("target");
    kill(Pid::from_raw(devhost.worker_pid()), Signal::SIGKILL).unwrap();
    devhost.wait_status(COLD_BUILD, "built again", |status| {
        status["state"] == "ready" && status["generation"].as_u64() > Some(4)
    });
    wait_served(&devhost, 5, "text 2");
    let generation = devhost.status()["generation"].as_u64().unwrap();
    remove("target/devhost/preload");
    kill(Pid::from_raw(devhost.zygote_pid()), Signal::SIGKILL).unwrap();
    wait_served(&devhost, generation + 1, "text 2");
    assert!(devhost.printed().contains("built again"), "{}", devhost.printed());
    devhost.stop();
}

/// Returns the app's answer.
fn answer(artifact: &Artifact) -> (u8, i32) {
    let library = load(artifact);
    (library.call::<u8>("letter"), library.call::<i32>("answer"))
}

/// Returns the directories in devhost's target directory, two levels deep, inner ones first.
fn parts(target: &Path) -> Vec<PathBuf> {
    let directories = |path: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.is_dir() && !path.is_symlink()).collect()
    };
    let outer = directories(target);
    let inner = outer.iter().filter(|path| !path.ends_with("artifacts")).flat_map(|path| directories(path));
    inner.chain(outer.iter().cloned()).collect()
}

#[test]
fn any_part_of_the_target_directory_may_be_removed_between_builds() {
    let workspace = Workspace::new();
    let mut builder = workspace.builder_with(Settings::default());
    assert_eq!(answer(&built(&mut builder, &[])), (b'a', 123));
    let target = workspace.path("target/devhost");
    let parts = parts(&target);
    assert!(parts.len() > 8, "{parts:?}");
    for (number, part) in parts.iter().enumerate() {
        if part.exists() {
            std::fs::remove_dir_all(part).unwrap();
        }
        let letter = b'a' + u8::try_from(number % 26).unwrap();
        let text = format!("pub const LETTER: u8 = {letter};\n");
        let edited = workspace.write("app/src/text.rs", &text);
        let util = format!("pub fn number() -> i32 {{ native::call::<u8>() * 0 + {number} }}\n");
        let util = workspace.write("util/src/lib.rs", &util);
        let artifact = built(&mut builder, &[edited, util]);
        assert_eq!(answer(&artifact), (letter, 23 + i32::try_from(number).unwrap()), "{}", part.display());
        assert_eq!(artifact.preload.len(), 2, "{} is gone, and less is shared", part.display());
    }
}

/// A workspace whose app's build script removes something, once.
fn workspace_that_removes(what: &str) -> (Workspace, Builder) {
    let workspace = Workspace::new();
    workspace.write(
        "app/build.rs",
        &format!(
            "use std::path::Path;
            fn main() {{
                println!(\"cargo::rerun-if-changed=trigger\");
                let (trigger, what) = (Path::new(\"trigger\"), Path::new(\"../{what}\"));
                if std::fs::read_to_string(trigger).is_ok_and(|text| text == \"remove\") {{
                    std::fs::write(trigger, \"done\").unwrap();
                    if what.is_dir() {{ std::fs::remove_dir_all(what).unwrap() }} else {{ std::fs::remove_file(what).unwrap() }}
                }}
            }}
            "
        ),
    );
    workspace.write("app/trigger", "done");
    let builder = workspace.builder_with(Settings::default());
    (workspace, builder)
}

#[test]
fn what_is_removed_while_cargo_runs_is_made_again() {
    for what in [
        "target",
        "target/devhost/debug",
        "target/devhost/debug/deps",
        "target/devhost/bin",
        "target/devhost/job-sheet",
    ] {
        let (workspace, mut builder) = workspace_that_removes(what);
        assert_eq!(answer(&built(&mut builder, &[])), (b'a', 123));
        let edited = workspace.write("app/src/text.rs", "pub const LETTER: u8 = b'b';\n");
        let trigger = workspace.write("app/trigger", "remove");
        let artifact = built(&mut builder, &[edited, trigger.clone()]);
        assert_eq!(std::fs::read_to_string(&trigger).unwrap(), "done", "{what}");
        assert_eq!(answer(&artifact), (b'b', 123), "{what}");
        assert_eq!(artifact.preload.len(), 2, "{what} was removed, and less is shared");
    }
}

#[test]
fn an_error_in_the_code_is_told_although_the_target_directory_was_removed() {
    let (workspace, mut builder) = workspace_that_removes("target/devhost/debug/deps");
    built(&mut builder, &[]);
    let edited = workspace.write("app/src/text.rs", "pub const LETTER: u8 = missing;\n");
    let trigger = workspace.write("app/trigger", "remove");
    let (diagnostics, _) = build_error(&mut builder, &[edited, trigger]);
    assert!(diagnostics.iter().any(|one| one.message.contains("missing")), "{diagnostics:?}");
}

#[test]
fn clean_removes_what_devhost_has_made_and_nothing_else() {
    let tiny = Tiny::new();
    tiny.write("build.rs", "fn main() {}");
    let clean = |args: &[&str]| {
        let args: Vec<&str> = [&["clean"], args].concat();
        let output = run_to_end(tiny.dir.path(), &args);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    };
    let (code, said) = clean(&[]);
    assert!(code == Some(0) && said.contains("there is nothing"), "{said}");
    let mine = tiny.write("target/debug/mine", "built by cargo");
    let devhost = tiny.start(&[]);
    wait_served(&devhost, 1, "one");
    let (code, said) = clean(&[]);
    assert!(code == Some(2) && said.contains(&format!("process {}", devhost.pid())), "{said}");
    wait_served(&devhost, 1, "one");
    let (code, said) = clean(&["--dry-run"]);
    assert!(code == Some(0) && said.contains("would remove") && said.contains("preload"), "{said}");
    devhost.stop();
    let (code, said) = clean(&[]);
    assert!(code == Some(0) && said.starts_with("removed "), "{said}");
    assert!(!tiny.path("target/devhost").exists());
    assert!(mine.is_file() && tiny.path("src/main.rs").is_file());
    let devhost = tiny.start(&["--target-dir", "elsewhere"]);
    wait_served(&devhost, 1, "one");
    devhost.stop();
    let note = tiny.write("elsewhere/note", "mine");
    let (code, said) = clean(&["--target-dir", "elsewhere"]);
    assert!(code == Some(0) && said.starts_with("removed "), "{said}");
    let left: Vec<_> =
        std::fs::read_dir(tiny.path("elsewhere")).unwrap().map(|one| one.unwrap().path()).collect();
    assert_eq!(left, [note]);
}
