//! The trail of an app in a forked worker, and as a program of its own: what is noted, and that nothing of
//! devhost's own is. The test plays the front. What each call leaves is tested in `crates/process`.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use devhost_process::{AppStart, Argv, Channel, ForkOrder, LauncherClient, Loading, Report, Role};
use devhost_sys::output::Output;
use devhost_sys::seqpacket;
use devhost_sys::trail::Look::{self, Listed, Made, Missed, Read, Removed, Stat};
use devhost_sys::trail::{Cursor, Trail};

use crate::support::{SOON, scratch};

/// What the app does in a directory, which comes first.
const APP: &str = r#"
    use std::{fs, path::Path};

    #[used]
    #[unsafe(link_section = ".init_array")]
    static EARLY: extern "C" fn() = {
        extern "C" fn early() {
            fs::read(Path::new(DIRECTORY).join("early")).unwrap();
        }
        early
    };

    #[unsafe(no_mangle)]
    pub extern "C" fn devhost_plain_main() -> i32 {
        let path = |name: &str| Path::new(DIRECTORY).join(name);
        assert_eq!(fs::read_to_string(path("template")).unwrap(), "hello");
        assert!(fs::metadata(path("asked")).unwrap().is_file());
        assert!(!path("none").exists());
        assert_eq!(fs::read_dir(path("listed")).unwrap().count(), 1);
        std::thread::spawn(move || fs::write(path("written"), "text").unwrap()).join().unwrap();
        std::env::set_current_dir(DIRECTORY).unwrap();
        fs::read_link("link").unwrap();
        fs::remove_file("link").unwrap();
        0
    }

    #[allow(dead_code)]
    fn main() {
        devhost_plain_main();
    }
"#;

fn expected() -> BTreeSet<(Look, &'static str)> {
    BTreeSet::from([
        (Read, "early"),
        (Read, "template"),
        (Stat, "asked"),
        (Missed, "none"),
        (Listed, "listed"),
        (Made, "written"),
        (Stat, "link"),
        (Removed, "link"),
    ])
}

fn make_files(directory: &Path) {
    fs::create_dir_all(directory.join("listed/below")).unwrap();
    for (name, text) in [("early", ""), ("template", "hello"), ("asked", "")] {
        fs::write(directory.join(name), text).unwrap();
    }
    std::os::unix::fs::symlink("template", directory.join("link")).unwrap();
}

fn compile(dir: &Path, directory: &Path, flags: &[&str]) -> PathBuf {
    let (source, artifact) = (dir.join("app.rs"), dir.join("app"));
    fs::write(&source, format!("const DIRECTORY: &str = {directory:?};\n{APP}")).unwrap();
    let mut compiler = Command::new("rustc");
    compiler.args(["--edition=2024", "-o"]).arg(&artifact).arg(&source).args(flags);
    assert!(compiler.status().unwrap().success(), "rustc refused the app");
    artifact
}

/// The standard library that a shared library may depend on.
fn standard_library() -> PathBuf {
    let printed = Command::new("rustc").args(["--print", "target-libdir"]).output().unwrap().stdout;
    let directory = String::from_utf8(printed).unwrap();
    let is_it = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with("libstd-") && name.ends_with(".so")
    };
    fs::read_dir(directory.trim()).unwrap().map(|entry| entry.unwrap().path()).find(is_it).unwrap()
}

/// Has a launcher run the artifact to its end, and checks its trail.
fn check(role: Role<'_>, flags: &[&str]) {
    let dir = scratch();
    let directory = dir.path().canonicalize().unwrap().join("files");
    make_files(&directory);
    let artifact = compile(dir.path(), &directory, flags);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let soon = |launcher: &LauncherClient| {
        let report = runtime.block_on(async { tokio::time::timeout(SOON, launcher.report()).await });
        report.expect("a report comes").expect("the launcher is there")
    };
    let argv = Argv {
        name: "app".into(),
        args: Vec::new(),
        variables: Vec::new(),
        at_terminal: false,
        stdout_is_taken: true,
        output: None,
    };
    let _entered = runtime.enter();
    let launcher = LauncherClient::start(Path::new(env!("CARGO_BIN_EXE_devhost")), &argv, role).unwrap();
    assert!(matches!(soon(&launcher), Report::Preloaded { .. }));
    let trail = Trail::create(&[dir.path()]).unwrap();
    let (ours, theirs): (OwnedFd, OwnedFd) = seqpacket::pair().unwrap();
    let _channel = Channel::new(ours).unwrap();
    let order = ForkOrder {
        generation: 1,
        artifact: &artifact,
        libraries: Vec::new(),
        start: AppStart::Plain { wanted_port: 0 },
        variables: Vec::new(),
        worker: &theirs,
        output: &Output::create().unwrap(),
        trail: &trail,
        stdin: None,
        earlier: None,
    };
    launcher.fork(order).unwrap();
    assert!(matches!(soon(&launcher), Report::Forked { .. }));
    let ended = soon(&launcher);
    assert!(matches!(ended, Report::Exited { code: Some(0), .. }), "{ended:?}");

    let news = trail.news(&mut Cursor::default());
    assert!(news.is_observed && !news.is_full && !news.lost_writes);
    // All that is noted is the app's.
    let looks: BTreeSet<(Look, &str)> = news
        .notes
        .iter()
        .map(|note| (note.look, note.path.strip_prefix(&directory).unwrap_or(&note.path).to_str().unwrap()))
        .collect();
    assert_eq!(looks, expected());
    let states: Vec<_> = news.writes.iter().map(|write| (write.is_open, write.size)).collect();
    assert_eq!(states, [(true, 0), (false, 4)]);
    runtime.block_on(launcher.end(SOON));
}

#[test]
fn a_forked_worker_leaves_a_trail_from_its_first_constructor_on() {
    let preload = [standard_library()];
    let role = Role::Zygote { preload: &preload, loading: Loading::Preloaded };
    check(role, &["--crate-type=cdylib", "-C", "prefer-dynamic"]);
    // With a standard library of its own.
    check(Role::Zygote { preload: &[], loading: Loading::Preloaded }, &["--crate-type=cdylib"]);
}

#[test]
fn a_program_of_the_apps_own_leaves_the_same_trail() {
    check(Role::Keeper, &[]);
}
