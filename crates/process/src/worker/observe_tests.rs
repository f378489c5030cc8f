//! What `observe.c` notes of a program that does to files what it is told, as the front reads it.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime};

use devhost_sys::trail::Look::{self, Listed, Made, Missed, Read, Removed, Stat};
use devhost_sys::trail::{Cursor, News, Trail, Written};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::interpose::{FD_VARIABLE, INTERPOSER_SO, TRAIL_VARIABLE};

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/c_files/app.c");

/// The program, the interposer, and a directory `files` in which the program runs, with the file `a` and the
/// directory `sub` with the file `b`.
struct Scene {
    dir: tempfile::TempDir,
    files: PathBuf,
    trail: Trail,
    cursor: Cursor,
}

impl Scene {
    fn new() -> Self {
        Self::with_scopes(&[])
    }

    fn with_scopes(scopes: &[&Path]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files = dir.path().canonicalize().unwrap().join("files");
        fs::create_dir_all(files.join("sub")).unwrap();
        fs::write(files.join("a"), "a").unwrap();
        fs::write(files.join("sub/b"), "b").unwrap();
        fs::write(dir.path().join("interpose.so"), INTERPOSER_SO).unwrap();
        let scene = Self { trail: Trail::create(scopes).unwrap(), cursor: Cursor::default(), files, dir };
        let mut compiler = Command::new("cc");
        compiler.args(["-Wall", "-Wextra", "-Werror", "-O1", "-pthread", PROGRAM, "-o"]).arg(scene.program());
        assert!(compiler.status().unwrap().success());
        scene
    }

    fn program(&self) -> PathBuf {
        self.dir.path().join("app")
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        let trail = self.trail.as_fd().as_raw_fd();
        command
            .current_dir(&self.files)
            .env("LD_PRELOAD", self.dir.path().join("interpose.so"))
            // It reports nothing: there is no listener.
            .env(FD_VARIABLE, "0")
            .env(TRAIL_VARIABLE, trail.to_string())
            .stdin(Stdio::null());
        // SAFETY: one system call, fit for the time between fork and exec. The descriptor is open until then.
        unsafe {
            command.pre_exec(move || {
                let trail = std::os::fd::BorrowedFd::borrow_raw(trail);
                fcntl(trail, FcntlArg::F_SETFD(FdFlag::empty()))?;
                Ok(())
            });
        }
        command
    }

    fn run_program(&self, program: &Path, args: &[&str]) -> Output {
        let output = self.command(program).args(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// Runs the program, and returns what is new.
    fn run(&mut self, args: &[&str]) -> News {
        self.run_program(&self.program(), args);
        let news = self.trail.news(&mut self.cursor);
        assert!(news.is_observed);
        assert!(!self.trail.is_changing(), "{args:?}: every call is over");
        news
    }

    /// Returns what is noted of words, with paths relative to the program's directory.
    fn looks(&mut self, args: &[&str]) -> Vec<(Look, String, u32)> {
        let news = self.run(args);
        assert!(!news.is_full && !news.lost_writes, "{args:?}");
        let relative = |path: &Path| {
            let path = path.strip_prefix(&self.files).unwrap_or(path);
            path.to_str().unwrap().to_owned()
        };
        news.notes.iter().map(|note| (note.look, relative(&note.path), note.count)).collect()
    }

    fn check(&mut self, args: &[&str], expected: &[(Look, &str, u32)]) {
        let mut looks = self.looks(args);
        let mut expected: Vec<_> =
            expected.iter().map(|(look, path, count)| (*look, (*path).to_owned(), *count)).collect();
        looks.sort();
        expected.sort();
        assert_eq!(looks, expected, "{args:?}");
    }

    fn written(&self, file: &str, is_open: bool) -> Written {
        let status = fs::metadata(self.files.join(file)).unwrap();
        let nanos = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        Written {
            device: status.dev(),
            inode: status.ino(),
            size: status.size(),
            modified_ns: nanos(status.mtime(), status.mtime_nsec()),
            changed_ns: nanos(status.ctime(), status.ctime_nsec()),
            is_open,
        }
    }

    /// Runs words that write the file; the last entry has to be what it is now. Returns which are `is_open`.
    fn writes(&mut self, args: &[&str], file: &str) -> Vec<bool> {
        let news = self.run(args);
        assert_eq!(news.writes.last(), Some(&self.written(file, false)), "{args:?}");
        news.writes.iter().map(|write| write.is_open).collect()
    }
}

#[test]
fn each_way_to_look_at_a_file_is_noted() {
    let mut scene = Scene::new();
    scene.check(&["read", "a", "read", "a"], &[(Read, "a", 2)]);
    scene.check(&["fread", "sub/b"], &[(Read, "sub/b", 1)]);
    scene.check(&["list", "sub"], &[(Listed, "sub", 1)]);
    for word in ["stat", "lstat", "statx", "path"] {
        scene.check(&[word, "sub/b"], &[(Stat, "sub/b", 1)]);
        scene.check(&[word, "sub"], &[]);
    }
    scene.check(&["access", "a"], &[(Stat, "a", 3)]);
    scene.check(&["access", "sub"], &[]);
    scene.check(&["realpath", "a"], &[(Stat, "a", 3)]);
    scene.check(&["fstatat", "sub", "b"], &[(Stat, "sub/b", 1)]);
    scene.check(&["fstat", "a"], &[(Read, "a", 1)]);
    scene.check(&["readat", "sub", "b"], &[(Listed, "sub", 1), (Read, "sub/b", 1)]);
    std::os::unix::fs::symlink("sub/b", scene.files.join("link")).unwrap();
    scene.check(
        &["readlink", "link", "lstat", "link", "read", "link"],
        &[(Stat, "link", 2), (Read, "link", 1)],
    );
}

#[test]
fn what_is_not_there_is_noted_whoever_looks_for_it() {
    let mut scene = Scene::new();
    for word in ["miss", "list-none", "stat-none", "access-none", "realpath-none"] {
        let name = format!("none-for-{word}");
        scene.check(&[word, &name], &[(Missed, &name, 1)]);
    }
    scene.check(
        &["miss", "a/below-a-file", "refuse", "a"],
        &[(Missed, "a/below-a-file", 1), (Missed, "a", 1)],
    );
    scene.check(&["unlink-none", "none"], &[]);
}

#[test]
fn a_path_is_what_it_was_relative_to() {
    let mut scene = Scene::new();
    let sub = scene.files.join("sub");
    let sub = sub.to_str().unwrap();
    scene.check(
        &["read", "sub/b", "chdir", "sub", "read", "b", "read", "../a", "fchdir", "..", "read", "a"],
        &[(Read, "sub/b", 2), (Read, "sub/../a", 1), (Read, "a", 1)],
    );
    scene.check(&["read-by-fd", "sub/b"], &[(Read, "sub/b", 4)]);
    scene.check(
        &["chdir", "/", "miss", "no-such-file-here", "read", &format!("{sub}/b")],
        &[(Missed, "/no-such-file-here", 1), (Read, "sub/b", 1)],
    );
    scene.check(
        &["mkdir", "gone", "chdir", "gone", "remove", &format!("{sub}/../gone"), "miss", "x"],
        &[(Made, "gone", 1), (Removed, "sub/../gone", 1)],
    );
}

#[test]
fn a_call_that_may_change_a_name_is_seen_while_it_is_under_way() {
    let mut scene = Scene::new();
    let pipe = scene.files.join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut app = scene.command(&scene.program()).args(["write", "pipe", "text"]).spawn().unwrap();
    let began = Instant::now();
    while !scene.trail.is_changing() {
        assert!(began.elapsed() < Duration::from_secs(20), "it opens a pipe that nobody reads");
        std::thread::yield_now();
    }
    assert_eq!(fs::read_to_string(pipe).unwrap(), "text");
    assert!(app.wait().unwrap().success());
    scene.run(&["write", "new", "text"]);
}

#[test]
fn what_the_app_changes_is_noted_by_name() {
    let mut scene = Scene::new();
    scene.check(&["write", "new", "text"], &[(Made, "new", 1)]);
    scene.check(&["overwrite", "new", "more"], &[(Read, "new", 1)]);
    scene.check(&["rename", "new", "newer"], &[(Removed, "new", 1), (Made, "newer", 1)]);
    scene.check(&["unlink", "newer"], &[(Removed, "newer", 1)]);
    scene.check(&["mkdir", "d", "rmdir", "d"], &[(Made, "d", 1), (Removed, "d", 1)]);
    scene.check(&["symlink", "a", "s", "link", "a", "l"], &[(Made, "s", 1), (Made, "l", 1)]);
    scene.check(&["remove", "s", "remove", "l"], &[(Removed, "s", 1), (Removed, "l", 1)]);
    // Deleted and created again.
    scene.check(
        &["read", "a", "unlink", "a", "miss", "a", "write", "a", "anew", "read", "a"],
        &[(Made, "a", 1), (Removed, "a", 1), (Read, "a", 2), (Missed, "a", 1)],
    );
}

#[test]
fn a_written_file_is_known_by_what_it_was_when_closed() {
    let mut scene = Scene::new();
    assert_eq!(scene.writes(&["write", "new", "text"], "new"), [true, false]);
    assert_eq!(scene.writes(&["overwrite", "new", "longer text"], "new"), [true, false]);
    assert_eq!(scene.writes(&["fwrite", "new", " and more"], "new"), [true, false]);
    assert_eq!(scene.writes(&["write-to-range", "range"], "range"), [true, false]);
    assert_eq!(scene.writes(&["truncate", "new"], "new"), [false]);
    assert_eq!(scene.writes(&["write-close-read", "new"], "new"), [true, false], "reading is no writing");
    assert_eq!(scene.writes(&["freopen", "stream", "a"], "stream"), [true, false]);
    // Opened once and copied three times, each before the one before it was closed.
    let copies = scene.writes(&["write-by-copies", "copied"], "copied");
    assert_eq!(copies.iter().filter(|is_open| **is_open).count(), 4);
    assert_eq!(copies.iter().filter(|is_open| !**is_open).count(), 4);
    // Still open when the process ends.
    let news = scene.run(&["write-open", "open", "text"]);
    let [open] = news.writes[..] else { panic!("{news:?}") };
    assert!(open.is_open);
    assert_eq!(open.inode, scene.written("open", true).inode);
    // A device is no file.
    assert!(scene.run(&["overwrite", "/dev/null", "text"]).writes.is_empty());
}

#[test]
fn the_file_times_can_be_compared_with_the_looks() {
    let mut scene = Scene::new();
    let before = SystemTime::now();
    let news = scene.run(&["read", "a", "write", "new", "text", "read", "new"]);
    let after = SystemTime::now();
    // The clock of files is behind by a tick.
    let tick = Duration::from_millis(20);
    for note in &news.notes {
        assert!(note.first >= before - tick && note.last <= after && note.first <= note.last, "{note:?}");
    }
    let find = |look, name: &str| {
        let is_it = |note: &&devhost_sys::trail::Note| note.look == look && note.path.ends_with(name);
        news.notes.iter().find(is_it).unwrap()
    };
    let modified = |name: &str| fs::metadata(scene.files.join(name)).unwrap().modified().unwrap();
    assert!(find(Read, "a").first > modified("a") - tick);
    assert!(find(Made, "new").last + tick >= modified("new"));
    // A change after the look is never older than it.
    let looked = find(Read, "a").last;
    fs::write(scene.files.join("a"), "changed").unwrap();
    assert!(modified("a") >= looked);
}

#[test]
fn the_system_is_left_out_unless_the_app_lives_there() {
    let mut scene = Scene::new();
    scene
        .check(&["read", "/proc/self/stat", "list", "/usr", "stat", "/etc/passwd", "miss", "/usr/none"], &[]);
    scene.check(
        &["miss", "/procession", "miss", "/etc/none"],
        &[(Missed, "/procession", 1), (Missed, "/etc/none", 1)],
    );
    let mut scene = Scene::with_scopes(&[Path::new("/srv/app"), Path::new("/usr/app")]);
    scene.check(
        &["miss", "/usr/none", "miss", "/usr/app/none", "miss", "/usr/application"],
        &[(Missed, "/usr/app/none", 1)],
    );
}

#[test]
fn a_fork_of_the_app_notes_to_the_same_trail() {
    let mut scene = Scene::new();
    scene.check(
        &["read", "a", "fork", "read", "a", "chdir", "sub", "fork", "read", "b"],
        &[(Read, "a", 2), (Read, "sub/b", 1)],
    );
}

#[test]
fn too_many_paths_are_said_to_be_and_the_app_goes_on() {
    let mut scene = Scene::new();
    let news = scene.run(&["miss-many", "sub", "20000", "read", "a", "write", "new", "text"]);
    assert!(news.is_full);
    assert_eq!(news.notes.len(), 16 * 1024);
    assert_eq!(news.writes.len(), 2);
    let before = scene.trail.sequence();
    let news = scene.run(&["miss-many", "sub", "10"]);
    assert_eq!(news.notes.len(), 10, "what is known is still counted");
    assert_eq!(scene.trail.sequence(), before + 10);
    // The paths fill the arena before the slots.
    let mut scene = Scene::new();
    let deep = "d/".repeat(200);
    let news = scene.run(&["miss-many", &deep, "16000"]);
    assert!(news.is_full && news.notes.len() < 4000, "{}", news.notes.len());
}

#[test]
fn threads_that_look_at_once_are_all_counted() {
    let mut scene = Scene::new();
    let news = scene.run(&["threads", "sub", "32", "300"]);
    assert!(!news.is_full);
    let mut counts = BTreeMap::new();
    for note in &news.notes {
        assert_eq!(note.look, Missed);
        *counts.entry(note.path.clone()).or_insert(0) += note.count;
    }
    assert_eq!(news.notes.len(), 300, "each path has one slot");
    assert_eq!(counts.len(), 300);
    assert!(counts.values().all(|count| *count == 32), "{counts:?}");
    assert_eq!(scene.trail.sequence(), 32 * 300);
}

#[test]
fn a_rust_program_is_seen() {
    const SOURCE: &str = r#"
        use std::fs;
        fn main() {
            fs::read("a").unwrap();
            fs::metadata("sub/b").unwrap();
            fs::metadata("none").unwrap_err();
            assert!(!fs::exists("none-either").unwrap());
            assert_eq!(fs::read_dir("sub").unwrap().count(), 1);
            fs::canonicalize("a").unwrap();
            fs::write("new", "text").unwrap();
            fs::rename("new", "newer").unwrap();
            fs::copy("newer", "copy").unwrap();
            fs::remove_file("newer").unwrap();
            let file = fs::File::options().append(true).open("copy").unwrap();
            let other = file.try_clone().unwrap();
            drop(file);
            std::io::Write::write_all(&mut &other, b" and more").unwrap();
            drop(other);
            fs::create_dir_all("x/y").unwrap();
            fs::remove_dir_all("x").unwrap();
            std::env::set_current_dir("sub").unwrap();
            fs::read("b").unwrap();
            assert!(std::env::vars_os().all(|(name, _)| !name.to_string_lossy().starts_with("DEVHOST")));
            assert!(std::env::var_os("LD_PRELOAD").is_none());
        }
    "#;
    let mut scene = Scene::new();
    let (source, program) = (scene.dir.path().join("app.rs"), scene.dir.path().join("rust"));
    fs::write(&source, SOURCE).unwrap();
    let mut compiler = Command::new("rustc");
    compiler.args(["--edition=2024", "-o"]).arg(&program).arg(&source);
    assert!(compiler.status().unwrap().success());
    scene.run_program(&program, &[]);
    let news = scene.trail.news(&mut scene.cursor);
    let looks: BTreeMap<(Look, String), u32> = news
        .notes
        .iter()
        .filter_map(|note| {
            let path = note.path.strip_prefix(&scene.files).ok()?;
            Some(((note.look, path.to_str().unwrap().to_owned()), note.count))
        })
        .collect();
    for (look, path) in [
        (Read, "a"),
        (Stat, "sub/b"),
        (Missed, "none"),
        (Missed, "none-either"),
        (Listed, "sub"),
        (Stat, "a"),
        (Made, "new"),
        (Removed, "new"),
        (Made, "newer"),
        (Read, "newer"),
        (Made, "copy"),
        (Made, "x"),
        (Made, "x/y"),
        (Read, "sub/b"),
    ] {
        assert!(looks.contains_key(&(look, path.to_owned())), "{look:?} {path} of {looks:?}");
    }
    assert_eq!(news.writes.last(), Some(&scene.written("copy", false)));
}

#[test]
fn another_interposer_gets_the_calls_too_and_may_fake_the_time() {
    const OTHER: &str = r#"
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <stdio.h>
        #include <sys/stat.h>
        #include <time.h>
        static int calls;
        int open(const char *path, int flags, ...) {
            calls++;
            return ((int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open"))(path, flags, 0);
        }
        int stat(const char *path, struct stat *status) {
            calls++;
            return ((int (*)(const char *, struct stat *))dlsym(RTLD_NEXT, "stat"))(path, status);
        }
        int clock_gettime(clockid_t clock, struct timespec *time) {
            (void)clock;
            *time = (struct timespec){.tv_sec = 1};
            return 0;
        }
        __attribute__((destructor)) static void end(void) { printf("%d", calls); }
    "#;
    let scene = Scene::new();
    let (source, other) = (scene.dir.path().join("other.c"), scene.dir.path().join("other.so"));
    fs::write(&source, OTHER).unwrap();
    let mut compiler = Command::new("cc");
    assert!(compiler.args(["-shared", "-fPIC", "-o"]).args([&other, &source]).status().unwrap().success());
    let both = format!("{}:{}", scene.dir.path().join("interpose.so").display(), other.display());
    let mut command = scene.command(&scene.program());
    let output = command.env("LD_PRELOAD", both).args(["read", "a", "stat", "a"]).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "2");
    let news = scene.trail.news(&mut Cursor::default());
    assert_eq!(news.notes.len(), 2);
    let hour = Duration::from_secs(3600);
    assert!(news.notes.iter().all(|note| note.last > SystemTime::now() - hour), "{news:?}");
}

#[test]
fn without_a_trail_nothing_changes() {
    let scene = Scene::new();
    let words =
        ["read", "a", "access", "a", "realpath", "a", "list", "sub", "fwrite", "new", "text", "fread", "new"];
    let words = [&words[..], &["write-by-copies", "c", "chdir", "sub", "read", "b", "statx", "b"]].concat();
    let mut command = scene.command(&scene.program());
    let output = command.env_remove(TRAIL_VARIABLE).args(&words).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Not a trail at all: standard input, which is closed then.
    let words = ["read", "a", "fread", "a"];
    let mut command = scene.command(&scene.program());
    let output = command.env(TRAIL_VARIABLE, "0").args(words).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!scene.trail.news(&mut Cursor::default()).is_observed);
}

/// Prints what a call costs, in nanoseconds, without and with the interposer, and observed.
#[test]
#[ignore = "a measurement"]
#[expect(clippy::print_stdout, reason = "its result")]
fn what_a_call_costs() {
    let scene = Scene::new();
    let (file, directory) = (scene.files.join("a"), scene.files.join("sub"));
    let args = ["time", file.to_str().unwrap(), directory.to_str().unwrap()];
    let plain = Command::new(scene.program()).current_dir(&scene.files).args(args).output().unwrap();
    let passed = scene.command(&scene.program()).env_remove(TRAIL_VARIABLE).args(args).output().unwrap();
    let observed = scene.run_program(&scene.program(), &args);
    let nanos = |output: &Output| -> Vec<(String, i64)> {
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        text.lines()
            .map(|line| {
                let (name, nanos) = line.split_once(' ').unwrap();
                (name.to_owned(), nanos.parse().unwrap())
            })
            .collect()
    };
    println!("{:24}{:>8}{:>8}{:>10}{:>8}", "ns", "plain", "passed", "observed", "added");
    for (((name, plain), (_, passed)), (_, observed)) in
        nanos(&plain).into_iter().zip(nanos(&passed)).zip(nanos(&observed))
    {
        println!("{name:24}{plain:>8}{passed:>8}{observed:>10}{:>8}", observed - plain);
    }
}
