//! The watcher on real directories, saved into in the ways that editors and git do. Nothing sleeps: a change is waited
//! for with a generous deadline, and that something is *no* change is shown by a later change that comes alone.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::FutureExt;
use tempfile::TempDir;
use tokio::sync::mpsc::Receiver;

use devhost_model::{BuildInputs, Pattern, Rules, Verdict};

use super::{
    About, Changes, Effect, Explanation, Mode, Observer, Scope, Surroundings, Suspicion, WatchError, Watcher,
};

const DEADLINE: Duration = Duration::from_secs(20);

/// A package in a directory of its own, watched.
struct Project {
    /// Holds `app`, the package, and whatever a test puts beside it.
    outer: TempDir,
    watcher: Watcher,
    changes: Receiver<Changes>,
    runtime: tokio::runtime::Runtime,
    sentinels: u32,
    mode: Mode,
    observer: Arc<Observer>,
}

impl Project {
    fn new(files: &[(&str, &str)]) -> Self {
        Self::start(files, Mode::Native, |_| {})
    }

    fn start(files: &[(&str, &str)], mode: Mode, adapt: impl FnOnce(&mut Scope)) -> Self {
        let outer = tempfile::tempdir().unwrap();
        let app = outer.path().join("app");
        let basic = [("Cargo.toml", "[package]"), ("src/main.rs", "fn main() {}")];
        for (path, text) in basic.iter().chain(files) {
            put(&app.join(path), text);
        }
        let mut scope = Scope {
            roots: vec![app.clone()],
            workspace_root: app.clone(),
            surroundings: vec![],
            exclude: vec![app.join("target")],
            env_files: vec![],
            own_files: vec![],
            rules: Rules::default(),
        };
        adapt(&mut scope);
        let observer = Arc::<Observer>::default();
        let (watcher, changes) = Watcher::start(&scope, mode, &Arc::default(), &observer).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        Self { outer, watcher, changes, runtime, sentinels: 0, mode, observer }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.outer.path().join("app").join(path)
    }

    fn write(&self, path: &str, text: &str) {
        put(&self.path(path), text);
    }

    fn next(&mut self) -> Changes {
        let changes = self.changes.recv();
        self.runtime
            .block_on(async { tokio::time::timeout(DEADLINE, changes).await })
            .expect("no change was reported")
            .expect("the watcher ended")
    }

    /// Lets the clock go on by more than the stamps of files may be behind it.
    fn let_stamps_grow_old(&mut self) {
        let began = Instant::now();
        while began.elapsed() < 5 * Duration::from_millis(super::watcher::STAMP_LAG_MAX_MS) {
            self.expect_nothing();
        }
    }

    /// Everything up to a change that is made now, without that change itself, and the number of batches.
    fn settle(&mut self) -> (Changes, usize) {
        let (mut all, mut batches) = self.settle_once();
        if self.mode == Mode::Poll {
            // A turn that sees the first one may have passed by what was made before it.
            let (more, count) = self.settle_once();
            all.merge(more);
            batches += count;
        }
        (all, batches)
    }

    fn settle_once(&mut self) -> (Changes, usize) {
        self.sentinels += 1;
        let sentinel = self.path(&format!("src/sentinel_{}.rs", self.sentinels));
        put(&sentinel, "");
        let mut all = Changes::empty(Instant::now());
        let mut batches = 0;
        loop {
            let changes = self.next();
            let is_last = changes.files.code.contains(&sentinel);
            let is_alone = is_last && changes.files.code.len() == 1;
            batches += usize::from(!is_alone);
            all.merge(changes);
            if is_last {
                all.files.code.retain(|path| *path != sentinel);
                return (all, batches);
            }
        }
    }

    /// What a change of the path would do, and why.
    fn explain(&self, path: &str) -> Explanation {
        let about = About::Path(self.path(path));
        self.runtime.block_on(self.observer.explain(about)).expect("no answer").files.remove(0)
    }

    /// Nothing has changed up to now.
    fn expect_nothing(&mut self) {
        let (changes, _) = self.settle();
        assert!(changes.is_empty(), "{changes:?}");
    }

    /// Exactly these files have changed up to now.
    fn expect(&mut self, class: &str, paths: &[&str]) {
        let (changes, _) = self.settle();
        self.assert_only(&changes, class, paths);
    }

    fn assert_only(&self, changes: &Changes, class: &str, paths: &[&str]) {
        let expected: Vec<PathBuf> = paths.iter().map(|path| self.path(path)).collect();
        for (name, list) in [
            ("code", &changes.files.code),
            ("inputs", &changes.files.inputs),
            ("styles", &changes.files.styles),
            ("statics", &changes.files.statics),
            ("startup", &changes.files.startup),
        ] {
            let expected = if name == class { &expected[..] } else { &[] };
            assert_eq!(list, expected, "{name} of {changes:?}");
        }
        assert_eq!(changes.problems, []);
    }

    fn set_sources(&mut self, paths: &[&str]) {
        let files = self.paths(paths);
        self.set_inputs(BuildInputs { files, ..BuildInputs::default() });
    }

    fn paths(&self, paths: &[&str]) -> Vec<PathBuf> {
        paths.iter().map(|path| self.path(path)).collect()
    }

    /// As after a build during which nothing changed.
    fn set_inputs(&mut self, inputs: BuildInputs) {
        self.let_stamps_grow_old();
        self.watcher.set_inputs_built_since(inputs, SystemTime::now());
    }

    /// As after a build whose script has named these.
    fn name_inputs(&mut self, paths: &[&str]) {
        let named = self.paths(paths);
        let files = self.paths(&["src/main.rs"]);
        self.set_inputs(BuildInputs { files, named, packages: vec![] });
    }
}

fn files(files: &[PathBuf]) -> BuildInputs {
    BuildInputs { files: files.to_vec(), ..BuildInputs::default() }
}

fn put(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn save_in_place_is_a_change() {
    let mut project = Project::new(&[]);
    let before = Instant::now();
    project.write("src/main.rs", "fn main() { changed() }");
    let changes = project.next();
    project.assert_only(&changes, "code", &["src/main.rs"]);
    assert!(changes.at >= before && changes.at <= Instant::now());
}

#[test]
fn save_by_renaming_over_is_a_change_of_the_file_alone() {
    let mut project = Project::new(&[]);
    project.write("src/.main.rs.tmp", "fn main() { one() }");
    project.write("src/main.rs.new", "fn main() { two() }");
    fs::rename(project.path("src/main.rs.new"), project.path("src/main.rs")).unwrap();
    project.expect("code", &["src/main.rs"]);
}

#[test]
fn save_as_vim_does_is_a_change_of_the_file_alone() {
    let mut project = Project::new(&[]);
    project.write("src/.main.rs.swp", "swap");
    project.write("src/4913", "");
    fs::remove_file(project.path("src/4913")).unwrap();
    fs::rename(project.path("src/main.rs"), project.path("src/main.rs~")).unwrap();
    project.write("src/main.rs", "fn main() { vim() }");
    fs::remove_file(project.path("src/main.rs~")).unwrap();
    fs::remove_file(project.path("src/.main.rs.swp")).unwrap();
    project.expect("code", &["src/main.rs"]);
}

#[test]
fn save_by_deleting_and_creating_the_same_is_no_change() {
    let mut project = Project::new(&[]);
    project.expect_nothing();
    let began = Instant::now();
    fs::remove_file(project.path("src/main.rs")).unwrap();
    project.write("src/main.rs", "fn main() {}");
    let took = began.elapsed();
    let (changes, _) = project.settle();
    // On a machine that stalls for longer than a batch waits, the gap may have been seen.
    assert!(changes.is_empty() || took > Duration::from_millis(40), "{changes:?} after {took:?}");
}

#[test]
fn save_as_jetbrains_does_is_a_change_of_the_file_alone() {
    let mut project = Project::new(&[]);
    project.write("src/main.rs___jb_tmp___", "fn main() { jb() }");
    fs::rename(project.path("src/main.rs"), project.path("src/main.rs___jb_old___")).unwrap();
    fs::rename(project.path("src/main.rs___jb_tmp___"), project.path("src/main.rs")).unwrap();
    fs::remove_file(project.path("src/main.rs___jb_old___")).unwrap();
    project.expect("code", &["src/main.rs"]);
}

#[test]
fn save_in_two_writes_is_seen_whole() {
    let mut project = Project::new(&[]);
    let mut file = fs::File::create(project.path("src/main.rs")).unwrap();
    file.write_all(b"fn main() {").unwrap();
    file.write_all(b" half() }").unwrap();
    drop(file);
    project.expect("code", &["src/main.rs"]);
}

#[test]
fn save_of_the_same_content_is_no_change() {
    let mut project = Project::new(&[("static/style.css", "a {}")]);
    project.write("src/main.rs", "fn main() {}");
    project.write("static/style.css", "a {}");
    project.expect_nothing();
}

#[test]
fn going_back_to_older_content_is_a_change() {
    let mut project = Project::new(&[]);
    project.write("src/main.rs", "fn main() { new() }");
    project.expect("code", &["src/main.rs"]);
    project.write("src/main.rs", "fn main() {}");
    project.expect("code", &["src/main.rs"]);
}

#[test]
fn deleted_file_is_a_change_and_so_is_its_return() {
    let mut project = Project::new(&[("src/page.rs", "page")]);
    project.set_sources(&["src/main.rs", "src/page.rs"]);
    fs::remove_file(project.path("src/page.rs")).unwrap();
    project.expect("code", &["src/page.rs"]);
    project.write("src/page.rs", "page");
    project.expect("code", &["src/page.rs"]);
}

#[test]
fn renamed_file_is_a_change_at_both_names() {
    let mut project = Project::new(&[("src/one.rs", "page")]);
    fs::rename(project.path("src/one.rs"), project.path("src/two.rs")).unwrap();
    project.expect("code", &["src/one.rs", "src/two.rs"]);
}

#[test]
fn burst_is_one_batch() {
    let names: Vec<String> = (0..200).map(|number| format!("src/module_{number:03}.rs")).collect();
    let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "old")).collect();
    let mut project = Project::new(&files);
    let began = Instant::now();
    for name in &names {
        project.write(name, "new");
    }
    let stalls_max = usize::try_from(began.elapsed().as_millis() / 5).unwrap();
    let (changes, batches) = project.settle();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    project.assert_only(&changes, "code", &names);
    assert!(batches <= 2 + stalls_max, "{batches} batches");
}

#[test]
fn new_directory_is_searched_and_watched() {
    let mut project = Project::new(&[]);
    project.write("src/pages/admin/mod.rs", "one");
    project.expect("code", &["src/pages/admin/mod.rs"]);
    project.write("src/pages/admin/mod.rs", "two");
    project.expect("code", &["src/pages/admin/mod.rs"]);
    project.write("src/pages/admin/users.rs", "one");
    project.expect("code", &["src/pages/admin/users.rs"]);
}

#[test]
fn directory_moved_in_is_searched_and_watched() {
    let mut project = Project::new(&[]);
    put(&project.outer.path().join("elsewhere/deep/x.rs"), "one");
    fs::rename(project.outer.path().join("elsewhere"), project.path("src/moved")).unwrap();
    project.expect("code", &["src/moved/deep/x.rs"]);
    project.write("src/moved/deep/x.rs", "two");
    project.expect("code", &["src/moved/deep/x.rs"]);
}

#[test]
fn removed_directory_changes_its_files_and_may_come_back() {
    let mut project = Project::new(&[("src/pages/a.rs", "a"), ("src/pages/deep/b.rs", "b")]);
    fs::remove_dir_all(project.path("src/pages")).unwrap();
    project.expect("code", &["src/pages/a.rs", "src/pages/deep/b.rs"]);
    project.write("src/pages/deep/b.rs", "b");
    project.expect("code", &["src/pages/deep/b.rs"]);
    project.write("src/pages/deep/b.rs", "c");
    project.expect("code", &["src/pages/deep/b.rs"]);
}

#[test]
fn directory_that_takes_anothers_name_is_watched() {
    let mut project = Project::new(&[("src/pages/a.rs", "a"), ("src/pages/only_old.rs", "x")]);
    put(&project.outer.path().join("other/a.rs"), "b");
    fs::rename(project.path("src/pages"), project.outer.path().join("away")).unwrap();
    fs::rename(project.outer.path().join("other"), project.path("src/pages")).unwrap();
    project.expect("code", &["src/pages/a.rs", "src/pages/only_old.rs"]);
    project.write("src/pages/a.rs", "c");
    project.expect("code", &["src/pages/a.rs"]);
    put(&project.outer.path().join("away/a.rs"), "d");
    project.expect_nothing();
}

#[test]
fn ignored_files_and_target_are_nothing() {
    let mut project = Project::new(&[
        (".gitignore", "generated\n*.gen.rs\n"),
        ("src/.gitignore", "local.rs\n"),
        ("generated/old.rs", "x"),
        ("target/debug/build/x.rs", "x"),
        ("node_modules/lib/index.js", "x"),
        ("cache/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n"),
        ("cache/x.html", "x"),
    ]);
    for path in [
        "generated/old.rs",
        "generated/new.rs",
        "src/x.gen.rs",
        "src/local.rs",
        "target/debug/build/x.rs",
        "target/debug/new.html",
        "node_modules/lib/index.js",
        "node_modules/new/index.js",
        "cache/x.html",
        ".hidden/x.rs",
        "static/.hidden.css",
    ] {
        project.write(path, "changed");
    }
    project.expect_nothing();
}

#[test]
fn excludes_of_the_repository_count() {
    let mut project =
        Project::new(&[(".git/info/exclude", "scratch\n"), ("scratch/x.html", "x"), ("pages/y.html", "y")]);
    project.write("scratch/x.html", "changed");
    project.expect_nothing();
    project.write("pages/y.html", "changed");
    project.expect("startup", &["pages/y.html"]);
    project.write(".git/info/exclude", "");
    // What comes into sight and is as new as this may be reported.
    let _ = project.settle();
    project.write("scratch/x.html", "changed again");
    project.expect("startup", &["scratch/x.html"]);
}

#[test]
fn changed_ignore_file_is_obeyed() {
    let mut project = Project::new(&[(".gitignore", "generated\n"), ("generated/x.rs", "x")]);
    project.write(".gitignore", "other\n");
    // What comes into sight and is as new as this may be reported.
    let _ = project.settle();
    project.write("generated/x.rs", "y");
    project.expect("code", &["generated/x.rs"]);
    project.write(".gitignore", "generated\n");
    project.expect_nothing();
    project.write("generated/x.rs", "z");
    project.expect_nothing();
}

#[test]
fn file_that_comes_with_a_changed_ignore_file_is_not_lost() {
    let mut project = Project::new(&[(".gitignore", "generated\n")]);
    project.write(".gitignore", "nothing\n");
    project.write("src/new.rs", "new");
    project.write("generated/new.rs", "new");
    let (changes, _) = project.settle();
    assert!(changes.files.code.contains(&project.path("src/new.rs")), "{changes:?}");
    assert!(changes.files.code.contains(&project.path("generated/new.rs")), "{changes:?}");
}

#[test]
fn ignored_source_counts_all_the_same() {
    let mut project = Project::new(&[(".gitignore", "generated\n"), ("generated/x.rs", "x")]);
    project.set_sources(&["src/main.rs", "generated/x.rs"]);
    project.expect_nothing();
    project.write("generated/x.rs", "y");
    project.expect("code", &["generated/x.rs"]);
}

#[test]
fn generated_source_in_an_excluded_directory_is_nothing() {
    let mut project = Project::new(&[("target/debug/out/gen.rs", "x")]);
    project.set_sources(&["src/main.rs", "target/debug/out/gen.rs"]);
    project.write("target/debug/out/gen.rs", "y");
    project.expect_nothing();
}

#[test]
fn change_is_sorted_by_what_it_leads_to() {
    let mut project = Project::new(&[
        ("static/style.css", "a {}"),
        ("static/logo.png", "png"),
        ("templates/page.html", "<p>"),
        (".env", "A=1"),
    ]);
    project.write("static/style.css", "b {}");
    project.expect("styles", &["static/style.css"]);
    project.write("static/logo.png", "other");
    project.expect("statics", &["static/logo.png"]);
    project.write("templates/page.html", "<b>");
    project.expect("startup", &["templates/page.html"]);
    project.write(".env", "A=2");
    project.expect("startup", &[".env"]);
    for path in ["Cargo.toml", "Cargo.lock", "build.rs", "rust-toolchain.toml", ".cargo/config.toml"] {
        project.write(path, "changed");
        project.expect("code", &[path]);
    }
}

#[test]
fn file_that_the_build_read_is_code_until_it_no_longer_reads_it() {
    let mut project = Project::new(&[("static/style.css", "a {}"), ("notes.txt", "x")]);
    project.set_sources(&["src/main.rs", "static/style.css", "notes.txt"]);
    project.expect_nothing();
    project.write("static/style.css", "b {}");
    project.write("notes.txt", "y");
    project.expect("code", &["notes.txt", "static/style.css"]);
    project.set_sources(&["src/main.rs"]);
    project.expect_nothing();
    project.write("static/style.css", "c {}");
    project.write("notes.txt", "z");
    project.expect("styles", &["static/style.css"]);
}

#[test]
fn edit_during_the_build_that_named_the_file_is_not_lost() {
    let mut project = Project::new(&[("notes.txt", "old"), ("static/style.css", "a {}")]);
    project.expect_nothing();
    let started = SystemTime::now();
    project.write("static/style.css", "b {}");
    project.expect("styles", &["static/style.css"]);
    project.write("notes.txt", "new");
    let sources = ["src/main.rs", "notes.txt", "static/style.css"].map(|path| project.path(path));
    project.watcher.set_inputs_built_since(files(&sources), started);
    project.expect("code", &["notes.txt", "static/style.css"]);
    project.watcher.set_inputs_built_since(files(&sources), started);
    project.expect_nothing();
}

#[test]
fn database_and_logs_are_nothing() {
    let mut project = Project::new(&[("data/guests.sqlite", "x"), ("static/guests.db", "x")]);
    for path in [
        "data/guests.sqlite",
        "data/guests.sqlite-wal",
        "data/guests.sqlite-journal",
        "static/guests.db",
        "static/guests.db-shm",
        "app.log",
        "static/app.log",
        "data.json",
        "uploads/cat.png",
    ] {
        project.write(path, "written by the app");
        fs::remove_file(project.path(path)).unwrap();
        project.write(path, "written by the app again");
    }
    project.expect_nothing();
}

#[test]
fn tests_and_foreign_packages_are_nothing() {
    let mut project = Project::new(&[("tools/gen/Cargo.toml", "[package]"), ("tools/gen/src/main.rs", "x")]);
    for path in ["tests/it.rs", "benches/b.rs", "examples/e.rs", "tools/gen/src/main.rs"] {
        project.write(path, "changed");
    }
    project.expect_nothing();
}

#[test]
fn source_outside_of_the_roots_is_watched() {
    let mut project = Project::new(&[]);
    let outside = project.outer.path().join("shared/text.txt");
    let neighbour = project.outer.path().join("shared/other.rs");
    put(&outside, "one");
    let main = project.path("src/main.rs");
    project.set_inputs(files(&[main, outside.clone()]));
    let _ = project.settle();
    put(&neighbour, "x");
    put(&outside, "two");
    let (changes, _) = project.settle();
    assert_eq!(changes.files.code, std::slice::from_ref(&outside));
    fs::remove_dir_all(outside.parent().unwrap()).unwrap();
    let (changes, _) = project.settle();
    assert_eq!(changes.files.code, std::slice::from_ref(&outside));
    put(&outside, "two");
    let (changes, _) = project.settle();
    assert_eq!(changes.files.code, std::slice::from_ref(&outside));
    put(&outside, "three");
    let (changes, _) = project.settle();
    assert_eq!(changes.files.code, [outside]);
}

#[test]
fn symlinked_root_is_reported_as_it_was_named() {
    let mut project = Project::start(&[("static/style.css", "a {}")], Mode::Native, |scope| {
        let link = scope.workspace_root.with_file_name("link");
        symlink(&scope.workspace_root, &link).unwrap();
        scope.roots = vec![link.clone()];
        scope.workspace_root = link;
    });
    let link = project.outer.path().join("link");
    let watcher = &project.watcher;
    watcher.set_inputs_built_since(files(&[link.join("src/main.rs")]), SystemTime::now());
    put(&project.path("src/main.rs"), "changed through the real path");
    assert_eq!(project.next().files.code, [link.join("src/main.rs")]);
    put(&link.join("static/style.css"), "b {}");
    assert_eq!(project.next().files.styles, [link.join("static/style.css")]);
}

#[test]
fn file_and_directory_behind_symbolic_links_are_followed() {
    let mut project = Project::start(&[], Mode::Native, |scope| {
        let outer = scope.workspace_root.parent().unwrap();
        put(&outer.join("shared/common.rs"), "one");
        put(&outer.join("web/style.css"), "a {}");
        symlink("../../shared/common.rs", scope.workspace_root.join("src/common.rs")).unwrap();
        symlink("../web", scope.workspace_root.join("static")).unwrap();
    });
    put(&project.outer.path().join("shared/common.rs"), "two");
    project.expect("code", &["src/common.rs"]);
    put(&project.outer.path().join("web/style.css"), "b {}");
    project.expect("styles", &["static/style.css"]);
}

#[test]
fn extra_file_counts_wherever_it_lies() {
    let mut project = Project::start(&[("target/plugin.so", "one")], Mode::Native, |scope| {
        scope.own_files = vec![scope.workspace_root.join("target/plugin.so")];
    });
    project.write("target/plugin.so.new", "two");
    fs::rename(project.path("target/plugin.so.new"), project.path("target/plugin.so")).unwrap();
    project.expect("code", &["target/plugin.so"]);
}

#[test]
fn path_package_beside_the_app_is_watched() {
    let mut project = Project::start(&[], Mode::Native, |scope| {
        let library = scope.workspace_root.with_file_name("library");
        put(&library.join("Cargo.toml"), "[package]");
        put(&library.join("src/lib.rs"), "one");
        scope.roots.push(library);
    });
    let library = project.outer.path().join("library/src/lib.rs");
    put(&library, "two");
    assert_eq!(project.next().files.code, [library]);
}

#[test]
fn root_that_goes_is_told_and_may_come_back() {
    let mut project = Project::start(&[], Mode::Native, |scope| {
        let library = scope.workspace_root.with_file_name("library");
        put(&library.join("src/lib.rs"), "one");
        scope.roots.push(library);
    });
    let library = project.outer.path().join("library");
    fs::remove_dir_all(&library).unwrap();
    let (changes, _) = project.settle();
    assert_eq!(changes.files.code, [library.join("src/lib.rs")]);
    assert_eq!(changes.problems, [], "it may be back in a moment");
    assert_eq!(project.next().problems, [WatchError::RootGone { path: library.clone() }]);
    put(&library.join("src/lib.rs"), "two");
    let (changes, _) = project.settle();
    assert_eq!(changes.files.code, [library.join("src/lib.rs")]);
    put(&library.join("src/lib.rs"), "three");
    let (changes, _) = project.settle();
    assert_eq!(changes.files.code, [library.join("src/lib.rs")]);
}

#[test]
fn missing_root_is_an_error_that_names_it() {
    let scope = Scope { roots: vec!["/no/such/app".into()], workspace_root: "/".into(), ..Scope::default() };
    for mode in [Mode::Native, Mode::Poll] {
        let error = Watcher::start(&scope, mode, &Arc::default(), &Arc::default()).err();
        assert_eq!(error, Some(WatchError::RootMissing { path: "/no/such/app".into() }));
    }
}

#[test]
fn polling_sees_what_events_would_tell() {
    let mut project = Project::start(
        &[("static/style.css", "a {}"), (".gitignore", "generated\n"), ("src/gone.rs", "x")],
        Mode::Poll,
        |_| {},
    );
    project.write("src/main.rs", "fn main() { polled() }");
    project.write("static/style.css", "b {}");
    project.write("src/pages/new.rs", "new");
    project.write("generated/x.rs", "x");
    fs::remove_file(project.path("src/gone.rs")).unwrap();
    let (changes, _) = project.settle();
    let code = ["src/gone.rs", "src/main.rs", "src/pages/new.rs"].map(|path| project.path(path));
    assert_eq!(changes.files.code, code);
    assert_eq!(changes.files.styles, [project.path("static/style.css")]);
    project.write("src/main.rs", "fn main() { polled() }");
    project.expect_nothing();
}

#[test]
fn look_at_everything_amid_events_loses_nothing() {
    let mut project = Project::new(&[("src/gone.rs", "x")]);
    project.expect_nothing();
    project.watcher.intake.report(crate::events::Report::Lost);
    project.write("src/main.rs", "fn main() { unseen() }");
    fs::remove_file(project.path("src/gone.rs")).unwrap();
    project.expect("code", &["src/gone.rs", "src/main.rs"]);
}

#[test]
fn slow_reader_gets_everything_in_few_batches() {
    let mut project = Project::new(&[]);
    let names: Vec<String> = (0..60).map(|number| format!("src/m{number:02}.rs")).collect();
    for name in &names {
        project.write(name, "x");
        // Far enough apart for batches of their own.
        let before = Instant::now();
        while before.elapsed() < Duration::from_millis(8) {
            std::thread::yield_now();
        }
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    project.expect("code", &names);
}

#[test]
fn dropped_watcher_ends_its_thread_and_its_channel() {
    let mut project = Project::new(&[]);
    let other = tempfile::tempdir().unwrap();
    let scope =
        Scope { roots: vec![other.path().into()], workspace_root: other.path().into(), ..Scope::default() };
    let (watcher, changes) = Watcher::start(&scope, Mode::Native, &Arc::default(), &Arc::default()).unwrap();
    drop(std::mem::replace(&mut project.watcher, watcher));
    assert!(project.runtime.block_on(project.changes.recv()).is_none());
    project.changes = changes;
    put(&other.path().join("x.rs"), "x");
    assert_eq!(project.next().files.code, [other.path().join("x.rs")]);
}

#[test]
fn requests_wait_for_what_becomes_of_a_save_and_not_for_anything_else() {
    let outer = tempfile::tempdir().unwrap();
    let root = outer.path().join("app");
    let file = root.join("src/main.rs");
    put(&root.join("Cargo.toml"), "[package]");
    put(&file, "fn main() {}");
    let suspicion = Arc::<Suspicion>::default();
    let scope = Scope { roots: vec![root.clone()], workspace_root: root.clone(), ..Scope::default() };
    let (_watcher, mut changes) = Watcher::start(&scope, Mode::Native, &suspicion, &Arc::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    put(&file, "fn main() { println!() }");
    let changed = runtime.block_on(async { tokio::time::timeout(DEADLINE, changes.recv()).await });
    assert_eq!(changed.unwrap().unwrap().files.code, std::slice::from_ref(&file));
    let _context = runtime.enter();
    assert!(suspicion.settled().now_or_never().is_none(), "nobody has acted on it");
    suspicion.settle(u64::MAX);
    // A save is several events, and the last of them may still be to be read.
    let begun = Instant::now();
    while suspicion.settled().now_or_never().is_none() {
        assert!(begun.elapsed() < DEADLINE, "it was acted on");
        std::thread::yield_now();
    }
    // The same text again is no change.
    put(&file, "fn main() { println!() }");
    put(&root.join("src/lib.rs"), "");
    let changed = runtime.block_on(async { tokio::time::timeout(DEADLINE, changes.recv()).await });
    assert_eq!(changed.unwrap().unwrap().files.code, [root.join("src/lib.rs")]);
}

#[test]
fn every_file_of_a_directory_that_a_build_script_names_is_an_input() {
    for mode in [Mode::Native, Mode::Poll] {
        let mut project = Project::start(&[("data/a.sql", "a"), ("data/deep/er/b.sql", "b")], mode, |_| {});
        project.name_inputs(&["data"]);
        project.expect_nothing();
        project.write("data/deep/er/b.sql", "edited");
        project.expect("inputs", &["data/deep/er/b.sql"]);
        project.write("data/deep/new/c.sql", "new");
        project.expect("inputs", &["data/deep/new/c.sql"]);
        fs::remove_file(project.path("data/a.sql")).unwrap();
        project.expect("inputs", &["data/a.sql"]);
        fs::rename(project.path("data/deep/new"), project.path("data/moved")).unwrap();
        project.expect("inputs", &["data/deep/new/c.sql", "data/moved/c.sql"]);
        fs::remove_dir_all(project.path("data/deep")).unwrap();
        project.expect("inputs", &["data/deep/er/b.sql"]);
        // No longer named.
        project.name_inputs(&[]);
        project.expect_nothing();
        project.write("data/moved/c.sql", "unknown");
        project.expect_nothing();
    }
}

#[test]
fn a_named_directory_counts_although_it_is_ignored_hidden_or_elsewhere() {
    let mut project = Project::new(&[(".gitignore", "/out"), ("out/x", "x"), (".hidden/y", "y")]);
    let elsewhere = project.outer.path().join("elsewhere");
    put(&elsewhere.join("deep/z"), "z");
    let mut named = project.paths(&["out", ".hidden"]);
    named.push(elsewhere.clone());
    project.set_inputs(BuildInputs { named, ..BuildInputs::default() });
    project.expect_nothing();
    project.write("out/new/x", "new");
    project.expect("inputs", &["out/new/x"]);
    project.write(".hidden/y", "new");
    project.expect("inputs", &[".hidden/y"]);
    put(&elsewhere.join("deep/z"), "new");
    let (changes, _) = project.settle();
    assert_eq!(changes.files.inputs, [elsewhere.join("deep/z")]);
    project.name_inputs(&["out"]);
    put(&elsewhere.join("deep/z"), "newer");
    project.expect_nothing();
}

#[test]
fn what_a_build_script_names_may_come_later_and_go() {
    let mut project = Project::new(&[]);
    project.name_inputs(&["later/schema.sql", "some/where/migrations"]);
    project.expect_nothing();
    project.write("later/schema.sql", "x");
    project.expect("code", &["later/schema.sql"]);
    project.write("some/where/migrations/1.sql", "x");
    let (changes, _) = project.settle();
    assert!(changes.files.inputs.contains(&project.path("some/where/migrations/1.sql")), "{changes:?}");
    project.write("some/where/migrations/2.sql", "x");
    project.expect("inputs", &["some/where/migrations/2.sql"]);
    fs::remove_dir_all(project.path("some")).unwrap();
    let (changes, _) = project.settle();
    assert!(!changes.files.code.is_empty() || !changes.files.inputs.is_empty(), "{changes:?}");
    project.write("some/where/migrations/3.sql", "x");
    let (changes, _) = project.settle();
    assert!(changes.files.inputs.contains(&project.path("some/where/migrations/3.sql")), "{changes:?}");
}

#[test]
fn links_in_named_directories_and_to_them_are_followed() {
    let mut project = Project::new(&[("data/a", "a")]);
    let (one, other) = (project.outer.path().join("one"), project.outer.path().join("other"));
    put(&one.join("x"), "x");
    put(&other.join("y"), "y");
    symlink(&one, project.path("data/link")).unwrap();
    symlink(&one, project.path("named")).unwrap();
    project.name_inputs(&["data"]);
    project.expect_nothing();
    put(&one.join("x"), "new");
    project.expect("inputs", &["data/link/x"]);
    project.name_inputs(&["named"]);
    project.expect_nothing();
    put(&one.join("x"), "newer");
    project.expect("inputs", &["named/x"]);
    fs::remove_file(project.path("named")).unwrap();
    symlink(&other, project.path("named")).unwrap();
    let (changes, _) = project.settle();
    assert!(!changes.files.code.is_empty() || !changes.files.inputs.is_empty(), "{changes:?}");
    put(&other.join("y"), "new");
    project.expect("inputs", &["named/y"]);
}

#[test]
fn what_lies_in_a_named_directory_keeps_the_meaning_of_its_path() {
    let mut project = Project::new(&[("static/a.css", "a"), ("static/a.js", "a"), ("src/data/x.rs", "x")]);
    project.name_inputs(&["static", "src/data"]);
    project.write("static/a.css", "new");
    let (changes, _) = project.settle();
    assert_eq!(
        (&changes.files.inputs, &changes.files.styles),
        (&project.paths(&["static/a.css"]), &project.paths(&["static/a.css"]))
    );
    project.write("src/data/x.rs", "new");
    project.expect("code", &["src/data/x.rs"]);
}

#[test]
fn what_changes_in_a_named_directory_while_the_build_runs_is_not_lost() {
    let mut project = Project::new(&[("data/a.sql", "old"), ("data/b.sql", "old")]);
    project.let_stamps_grow_old();
    let started = SystemTime::now();
    project.write("data/a.sql", "new");
    project.expect_nothing();
    let named = project.paths(&["data"]);
    let inputs = BuildInputs { named, ..BuildInputs::default() };
    project.watcher.set_inputs_built_since(inputs.clone(), started);
    project.expect("inputs", &["data/a.sql"]);
    project.watcher.set_inputs_built_since(inputs, started);
    project.expect_nothing();
}

#[test]
fn every_file_of_a_package_whose_build_script_names_nothing_is_an_input() {
    let mut project = Project::new(&[
        (".gitignore", "/out"),
        ("proto/a.proto", "a"),
        ("out/x", "x"),
        ("inner/Cargo.toml", "[package]"),
        ("inner/data", "x"),
    ]);
    project.write("proto/a.proto", "unknown");
    project.expect_nothing();
    let packages = vec![project.path("")];
    project.set_inputs(BuildInputs { packages, ..BuildInputs::default() });
    project.expect_nothing();
    project.write("proto/a.proto", "edited");
    project.write("new.txt", "new");
    project.expect("inputs", &["new.txt", "proto/a.proto"]);
    for path in ["out/x", "inner/data", "app.db", "proto/a.proto~"] {
        project.write(path, "nothing");
    }
    project.expect_nothing();
}

#[test]
fn after_a_failed_build_every_file_counts_until_one_succeeds() {
    for mode in [Mode::Native, Mode::Poll] {
        let mut project =
            Project::start(&[(".gitignore", "/out"), ("out/x", "x"), ("notes", "x")], mode, |_| {});
        project.let_stamps_grow_old();
        let started = SystemTime::now();
        project.write("early", "while it ran");
        project.expect_nothing();
        let outside = project.outer.path().join("outside");
        let known = BuildInputs { files: vec![outside.clone()], ..BuildInputs::default() };
        project.watcher.doubt(known, started);
        project.expect("inputs", &["early"]);
        project.write("out/generated/y", "new");
        project.write("notes", "edited");
        project.expect("inputs", &["notes", "out/generated/y"]);
        for path in ["target/x", ".git/index", "notes~", "src/.#main.rs", "node_modules/a/b"] {
            project.write(path, "nothing");
        }
        project.expect_nothing();
        put(&outside, "what an earlier build has read");
        let (changes, _) = project.settle();
        assert_eq!(changes.files.code, [outside]);
        project.set_sources(&["src/main.rs"]);
        project.write("notes", "again");
        project.write("out/x", "again");
        project.expect_nothing();
    }
}

#[test]
fn an_edit_of_a_file_that_is_being_read_for_the_first_time_is_seen() {
    let names: Vec<String> = (0..400).map(|number| format!("data/{number:03}")).collect();
    let mut files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "x")).collect();
    files.push((".gitignore", "/data"));
    // How often the moment is met is chance: without the second look at the stamp, in most rounds.
    for _ in 0..5 {
        let mut project = Project::start(&files, Mode::Native, |_| {});
        project.let_stamps_grow_old();
        // From here on the files count. They are noticed at once and read in idle time: while they are edited.
        project.watcher.doubt(BuildInputs::default(), SystemTime::now());
        for name in &names {
            project.write(name, "edited");
        }
        let edited: Vec<&str> = names.iter().map(String::as_str).collect();
        project.expect("inputs", &edited);
    }
}

#[test]
fn directories_of_inputs_are_watched_up_to_a_number() {
    let mut project = Project::new(&[]);
    let elsewhere = project.outer.path().join("elsewhere");
    for number in 0..=super::input_directories::INPUT_DIRECTORIES_COUNT_MAX {
        fs::create_dir_all(elsewhere.join(number.to_string())).unwrap();
    }
    project.set_inputs(BuildInputs { named: vec![elsewhere], ..BuildInputs::default() });
    let (changes, _) = project.settle();
    assert!(matches!(changes.problems[..], [WatchError::TooManyInputs { .. }]), "{:?}", changes.problems);
    project.write("src/main.rs", "still watched");
    project.expect("code", &["src/main.rs"]);
}

/// With `outer` watched for served files.
fn surrounded(files: &[(&str, &str)], mode: Mode, depth_max: usize) -> Project {
    Project::start(files, mode, |scope| {
        let outer = scope.workspace_root.parent().unwrap().to_owned();
        put(&outer.join("frontend/static/style.css"), "a {}");
        put(&outer.join(".gitignore"), "/ignored\n");
        fs::create_dir(outer.join(".git")).unwrap();
        scope.surroundings = vec![Surroundings { path: outer, depth_max }];
    })
}

#[test]
fn served_files_around_the_packages_are_watched() {
    for mode in [Mode::Native, Mode::Poll] {
        let mut project = surrounded(&[], mode, 8);
        let outer = project.outer.path().to_owned();
        put(&outer.join("frontend/static/style.css"), "b {}");
        let (changes, _) = project.settle();
        assert_eq!(changes.files.styles, [outer.join("frontend/static/style.css")]);
        put(&outer.join("frontend/public/new/app.js"), "new");
        let (changes, _) = project.settle();
        assert_eq!(changes.files.statics, [outer.join("frontend/public/new/app.js")]);
        put(&outer.join("templates/page.html"), "new");
        let (changes, _) = project.settle();
        assert_eq!(changes.files.startup, [outer.join("templates/page.html")]);
        put(&outer.join("other/Cargo.toml"), "[package]");
        for path in [
            "other/src/lib.rs",
            "other/templates/x.html",
            "ignored/static/a.js",
            "node_modules/x/dist/x.js",
            "README.md",
        ] {
            put(&outer.join(path), "nothing");
        }
        project.expect_nothing();
        project.write("src/main.rs", "still code");
        project.expect("code", &["src/main.rs"]);
    }
}

#[test]
fn served_files_are_looked_for_only_so_deep_and_in_so_many_directories() {
    let mut project = surrounded(&[], Mode::Native, 2);
    let outer = project.outer.path().to_owned();
    put(&outer.join("frontend/static/style.css"), "b {}");
    put(&outer.join("frontend/static/deep/style.css"), "b {}");
    let (changes, _) = project.settle();
    assert_eq!(changes.files.styles, [outer.join("frontend/static/style.css")]);
}

#[test]
fn what_the_user_says_about_files_wins() {
    let mut project = Project::start(
        &[
            ("content/a.md", "one"),
            (".gitignore", "generated\n"),
            ("generated/b.txt", "one"),
            ("proto/c.proto", "one"),
        ],
        Mode::Native,
        |scope| {
            fs::create_dir(scope.workspace_root.join(".git")).unwrap();
            let pattern = |glob: &str| Pattern::new(&scope.workspace_root, glob).unwrap();
            let watched = [
                (pattern("content/**"), Verdict::Restart),
                (pattern("generated/*.txt"), Verdict::Reload),
                (pattern("proto"), Verdict::Build),
                (pattern("later/one.txt"), Verdict::Restart),
            ];
            scope.rules = Rules::new(&[pattern("src/made.rs"), pattern("content/drafts")], &watched).unwrap();
        },
    );
    project.write("content/a.md", "two");
    project.expect("startup", &["content/a.md"]);
    project.write("content/new/b.md", "new");
    project.expect("startup", &["content/new/b.md"]);
    project.write("generated/b.txt", "two");
    project.expect("statics", &["generated/b.txt"]);
    project.write("proto/c.proto", "two");
    project.expect("code", &["proto/c.proto"]);
    project.write("later/one.txt", "new");
    project.expect("startup", &["later/one.txt"]);
    for ignored in ["src/made.rs", "content/drafts/c.md", "generated/c.bin"] {
        project.write(ignored, "new");
    }
    project.expect_nothing();
}

#[test]
fn each_path_is_explained_as_a_change_of_it_would_be_judged() {
    let files = [
        ("build.rs", ""),
        (".gitignore", "dist/\n"),
        ("dist/app.css", ""),
        ("templates/page.html", ""),
        ("static/app.css", ""),
        ("static/app.js", ""),
        ("schema/a.sql", ""),
        ("inner/Cargo.toml", "[package]"),
        ("inner/src/lib.rs", ""),
        ("app.env", ""),
        ("devhost.toml", ""),
        ("data/app.db", ""),
        ("notes.txt", ""),
        ("static/vendor.js", ""),
        ("docs/guide.md", ""),
        ("src/.main.rs.swp", ""),
    ];
    let mut project = Project::start(&files, Mode::Native, |scope| {
        let root = scope.workspace_root.clone();
        scope.env_files = vec![root.join("app.env")];
        scope.own_files = vec![root.join("devhost.toml")];
        let pattern = |glob| Pattern::new(&root, glob).unwrap();
        scope.rules =
            Rules::new(&[pattern("static/vendor.js")], &[(pattern("docs"), Verdict::Restart)]).unwrap();
    });
    let inputs = BuildInputs {
        files: vec![project.path("src/main.rs")],
        named: vec![project.path("schema")],
        packages: vec![],
    };
    project.set_inputs(inputs);
    for (path, effect, why) in [
        ("src/main.rs", Effect::Build, "the compiler read it"),
        ("src/new.rs", Effect::Build, "Rust code of a package that the app uses"),
        ("src/new/deep/mod.rs", Effect::Build, "Rust code of a package that the app uses"),
        ("Cargo.toml", Effect::Build, "cargo reads it"),
        ("Cargo.lock", Effect::Build, "cargo reads it"),
        ("schema/a.sql", Effect::Build, "in a directory that may be part of the build"),
        ("schema/b.sql", Effect::Build, "in a directory that may be part of the build"),
        ("schema", Effect::Build, "every file in it may be part of the build"),
        (".env", Effect::Restart, "the app's environment"),
        ("app.env", Effect::Restart, "the app's environment"),
        ("docs/guide.md", Effect::Restart, "says devhost.toml"),
        ("templates/page.html", Effect::Restart, "by its name"),
        ("static/app.css", Effect::Swap, "by its name"),
        ("static/app.js", Effect::Reload, "by its name"),
        ("devhost.toml", Effect::Reread, "devhost itself reads it"),
        ("static/vendor.js", Effect::Nothing, "says devhost.toml"),
        ("tests/it.rs", Effect::Nothing, "tests, benchmarks and examples are not part of the app"),
        ("inner/src/lib.rs", Effect::Nothing, "not in a package that the app uses"),
        (
            "data/app.db",
            Effect::Nothing,
            "a database, log, lock or other file that programs write, by its name",
        ),
        ("src/.main.rs.swp", Effect::Nothing, "an editor's temporary file, by its name"),
        ("target/debug/app", Effect::Nothing, "in a target directory, and not used by the app"),
        ("dist/app.css", Effect::Nothing, "git ignores it, and the app has not used it as far as is known"),
        (
            "notes.txt",
            Effect::Nothing,
            "the app has not used it as far as is known, and its name says nothing",
        ),
        ("src", Effect::Nothing, "a directory: ask about a file in it"),
    ] {
        let explanation = project.explain(path);
        assert_eq!((explanation.effect, &*explanation.why), (effect, why), "{path}");
        assert_eq!(explanation.path, project.path(path));
        assert_eq!(explanation.exists, project.path(path).exists(), "{path}");
    }
    project.expect_nothing();
}

#[test]
fn the_target_of_a_link_is_explained_by_the_link() {
    let project = Project::start(&[("other/real.css", "")], Mode::Native, |scope| {
        let root = &scope.workspace_root;
        std::fs::create_dir(root.join("static")).unwrap();
        std::os::unix::fs::symlink("../other/real.css", root.join("static/app.css")).unwrap();
        scope.rules = Rules::new(&[Pattern::new(root, "other/real.css").unwrap()], &[]).unwrap();
    });
    let explanation = project.explain("other/real.css");
    assert_eq!(explanation.effect, Effect::Swap);
    assert!(explanation.why.ends_with("static/app.css leads to it"), "{}", explanation.why);
}

#[test]
fn a_directory_that_takes_a_name_is_watched_whatever_becomes_of_the_one_before_it() {
    let mut project = Project::new(&[]);
    let data = project.path("data");
    let inputs = BuildInputs {
        files: vec![project.path("src/main.rs")],
        named: vec![data.clone(), project.path("lone/file.txt")],
        packages: vec![],
    };
    for round in 0..60 {
        for directory in [&data, &data.join("deep"), &project.path("lone")] {
            fs::create_dir_all(directory).unwrap();
        }
        if round == 0 {
            project.watcher.set_inputs_built_since(inputs.clone(), SystemTime::now());
        }
        project.settle();
        // The new ones may be watched before the end of the old ones is known.
        for directory in [&data, &project.path("lone")] {
            fs::remove_dir_all(directory).unwrap();
            fs::create_dir_all(directory.join("deep")).unwrap();
        }
        project.settle();
        for file in ["data/file.txt", "data/deep/file.txt", "lone/file.txt"] {
            project.write(file, &round.to_string());
            let (changes, _) = project.settle();
            let is_there = |list: &[PathBuf]| list.contains(&project.path(file));
            assert!(
                is_there(&changes.files.inputs) || is_there(&changes.files.code),
                "round {round}: {file} is missing in {changes:?}"
            );
        }
    }
}

#[test]
fn a_named_directory_is_noticed_however_fast_it_comes_with_those_above_it() {
    let mut project = Project::new(&[]);
    for round in 0..100 {
        let file = format!("round{round}/deep/er/1.sql");
        project.name_inputs(&[&format!("round{round}/deep/er")]);
        project.expect_nothing();
        project.write(&file, "x");
        let (changes, _) = project.settle();
        assert!(changes.files.inputs.contains(&project.path(&file)), "round {round}: {changes:?}");
    }
}
