//! A workspace on disk, a builder that serves it, and a clean cargo build to compare with. Knows only that
//! the workspace's app prints a response and ends. Every library runs in its own process.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use devhost_build::Weakness;
use devhost_build::{self as build, Artifact, Builder, CargoOptions, Outcome, Settings};
use devhost_model::{AppKind, PLAIN_MAIN_SYMBOL};
use devhost_model::{Diagnostic, Failure};

use crate::support::{repository, write_file};

/// How long a build may take on a busy machine.
const BUILD_TIME_MAX: Duration = Duration::from_secs(300);

/// What a plugin app exports for the tests, beside its descriptor.
pub(super) const PLUGIN_MAIN_SYMBOL: &str = "equivalence_main";

/// The reason for a build made without cargo.
const REPLAYED: &str = "replayed";

thread_local! {
    static WEAKNESS: Cell<Option<Weakness>> = const { Cell::new(None) };
}

/// Runs something with builders that break a rule. Returns true if that was noticed.
pub(super) fn is_noticed(weakness: Weakness, deed: impl FnOnce() + std::panic::UnwindSafe) -> bool {
    WEAKNESS.set(Some(weakness));
    let outcome = std::panic::catch_unwind(deed);
    WEAKNESS.set(None);
    outcome.is_err()
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    /// What the app printed.
    Response(String),
    /// Why the code does not build.
    Broken(String),
}

impl Seen {
    pub(super) fn response(&self) -> Option<&str> {
        match self {
            Self::Response(text) => Some(text),
            Self::Broken(_) => None,
        }
    }
}

/// A workspace in its own directory, and its builder.
pub(super) struct Site {
    directory: tempfile::TempDir,
    root: PathBuf,
    kind: AppKind,
    loader: PathBuf,
    builder: Option<Builder>,
    /// The rule broken by every new builder.
    weakness: Option<Weakness>,
    runtime: tokio::runtime::Runtime,
    /// The last good build's inputs, followed by the watcher.
    pub sources: Vec<PathBuf>,
    /// The warnings about the last built code.
    pub warnings: Vec<Diagnostic>,
    /// How many builds were made without cargo.
    pub replayed_count: u64,
    pub quick_count: u64,
    /// Why the last build was made as it was.
    pub reason: String,
    /// How often each reason occurred.
    pub reasons: BTreeMap<String, u64>,
}

impl Site {
    /// An empty directory, for a workspace in `ws` with its app in the package `app`.
    pub(super) fn new(kind: AppKind) -> Self {
        let directory = tempfile::Builder::new().prefix("equivalence-").tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        let loader = root.join("load_and_call");
        compile_loader(&loader);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self {
            directory,
            root,
            kind,
            loader,
            builder: None,
            weakness: WEAKNESS.get(),
            runtime,
            sources: Vec::new(),
            warnings: Vec::new(),
            replayed_count: 0,
            quick_count: 0,
            reason: String::new(),
            reasons: BTreeMap::new(),
        }
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Writes a file in place, and returns its path.
    pub(super) fn write(&self, path: &str, text: &str) -> PathBuf {
        write_file(self.path(path), text)
    }

    pub(super) fn remove(&self, path: &str) -> PathBuf {
        let path = self.path(path);
        std::fs::remove_file(&path).unwrap();
        path
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> [PathBuf; 2] {
        let paths = [self.path(from), self.path(to)];
        std::fs::create_dir_all(paths[1].parent().unwrap()).unwrap();
        std::fs::rename(&paths[0], &paths[1]).unwrap();
        paths
    }

    /// Makes `path` a symbolic link, or redirects it.
    pub(super) fn link(&self, path: &str, target: &str) -> PathBuf {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = std::fs::remove_file(&path);
        std::os::unix::fs::symlink(target, &path).unwrap();
        path
    }

    pub(super) fn set_modified(&self, path: &str, time: SystemTime) {
        set_modified(&self.path(path), time);
    }

    /// Returns the builder, made on first use as at the start of devhost.
    fn builder(&mut self) -> &mut Builder {
        let weakness = self.weakness;
        self.builder.get_or_insert_with(|| {
            let settings = Settings {
                cargo: CargoOptions { offline: true, ..CargoOptions::default() },
                ..Settings::default()
            };
            let target = build::app::find(Some("app"), &self.root.join("ws"), &settings);
            let target = target.unwrap_or_else(|error| panic!("{error:?}"));
            let mut builder = Builder::new(target, settings, env!("CARGO_BIN_EXE_devhost").as_ref()).unwrap();
            if let Some(weakness) = weakness {
                builder.weaken(weakness);
            }
            builder
        })
    }

    /// Restarts devhost. Needs manifests that cargo accepts.
    pub(super) fn restart(&mut self) {
        if let Some(builder) = self.builder.take() {
            builder.remove_artifacts();
        }
        self.builder();
    }

    /// Builds after these changes and runs the result.
    pub(super) fn build(&mut self, changed: &[PathBuf]) -> Seen {
        self.build_while(changed, std::future::pending())
    }

    /// Like [`Site::build`], while something else happens.
    pub(super) fn build_while(&mut self, changed: &[PathBuf], other: impl Future<Output = ()>) -> Seen {
        self.builder();
        let Self { builder: Some(builder), runtime, .. } = self else { unreachable!("just made") };
        let mut ignore = |_| {};
        let build = async {
            let mut build = std::pin::pin!(builder.build(changed, &mut ignore));
            tokio::select! {
                outcome = &mut build => return outcome,
                () = other => {}
            }
            build.await
        };
        let outcome = runtime.block_on(async { tokio::time::timeout(BUILD_TIME_MAX, build).await });
        self.look(outcome.expect("the build takes for ever"))
    }

    /// Starts a build and gives it up once `until` is over. Returns true if it was done before.
    pub(super) fn begin_build(&mut self, changed: &[PathBuf], until: impl Future<Output = ()>) -> bool {
        self.builder();
        let Self { builder: Some(builder), runtime, .. } = self else { unreachable!("just made") };
        let mut ignore = |_| {};
        runtime.block_on(async {
            tokio::select! {
                _ = builder.build(changed, &mut ignore) => true,
                () = until => false,
            }
        })
    }

    fn look(&mut self, outcome: Outcome) -> Seen {
        let report = self.builder().last_report().clone();
        self.replayed_count += u64::from(report.replayed);
        self.quick_count += u64::from(report.replayed && self.builder().linked_quickly());
        // So that the next link is a quick one.
        self.builder().wait_for_link_ahead();
        self.reason = if report.replayed { REPLAYED.into() } else { report.reason };
        *self.reasons.entry(self.reason.clone()).or_default() += 1;
        match outcome {
            Outcome::Built(artifact) => {
                let seen = Seen::Response(self.run(&artifact));
                self.builder().collect(std::slice::from_ref(&artifact.path));
                self.sources = artifact.sources;
                self.warnings = artifact.warnings.to_vec();
                seen
            }
            Outcome::Failed(Failure::Build { diagnostics, output }) => {
                let rendered: String =
                    diagnostics.iter().map(|diagnostic| diagnostic.rendered.as_str()).collect();
                Seen::Broken(rendered + &output)
            }
            Outcome::Failed(failure) => panic!("built, but does not run: {failure:?}"),
        }
    }

    fn run(&self, artifact: &Artifact) -> String {
        assert_eq!(artifact.kind, self.kind);
        self.load_and_call(&artifact.path, self.symbol(), &artifact.preload)
    }

    fn symbol(&self) -> &'static str {
        match self.kind {
            AppKind::Plain => PLAIN_MAIN_SYMBOL,
            AppKind::Plugin => PLUGIN_MAIN_SYMBOL,
        }
    }

    fn load_and_call(&self, library: &Path, symbol: &str, preload: &[PathBuf]) -> String {
        text_of(Command::new(&self.loader).arg(symbol).arg(library).args(preload).output().unwrap())
    }

    /// Builds the sources with cargo alone, in an empty target directory.
    pub(super) fn clean_build(&self) -> Seen {
        let target = tempfile::Builder::new().prefix("clean-").tempdir_in(&self.root).unwrap();
        let mut command = Command::new("cargo");
        command.current_dir(self.path("ws")).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                command.env_remove(&name);
            }
        }
        match self.kind {
            AppKind::Plain => command.args(["build", "--bin", "app"]),
            AppKind::Plugin => command.args(["rustc", "--lib", "--crate-type", "cdylib"]),
        };
        let output = command
            .args(["--package", "app", "--offline", "--target-dir"])
            .arg(target.path())
            .output()
            .unwrap();
        if !output.status.success() {
            return Seen::Broken(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let made = target.path().join("debug");
        Seen::Response(match self.kind {
            AppKind::Plain => text_of(Command::new(made.join("app")).output().unwrap()),
            AppKind::Plugin => self.load_and_call(&made.join("libapp.so"), PLUGIN_MAIN_SYMBOL, &[]),
        })
    }

    /// Returns true if the last build was made without cargo.
    pub(super) fn is_replayed(&self) -> bool {
        self.reason == REPLAYED
    }

    /// Builds, and demands this response.
    #[track_caller]
    pub(super) fn shows(&mut self, response: &str, changed: &[PathBuf]) {
        match self.build(changed) {
            Seen::Response(text) => assert_eq!(text, response),
            Seen::Broken(why) => panic!("the build failed:\n{why}"),
        }
    }

    /// Builds, and demands a failure that says this.
    #[track_caller]
    pub(super) fn fails(&mut self, part: &str, changed: &[PathBuf]) {
        match self.build(changed) {
            Seen::Response(text) => panic!("built, and shows {text:?}"),
            Seen::Broken(why) => assert!(why.contains(part), "{why}"),
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in {}; the last build: {}", self.directory.path().display(), self.reason);
        }
    }
}

pub(super) fn set_modified(path: &Path, time: SystemTime) {
    std::fs::File::options().append(true).open(path).unwrap().set_modified(time).unwrap();
}

fn compile_loader(to: &Path) {
    let source = repository().join("tests/fixtures/loader/load_and_call.c");
    let status = Command::new("cc").args(["-Wall", "-Werror", "-o"]).arg(to).arg(source).arg("-ldl").status();
    assert!(status.unwrap().success());
}

#[track_caller]
fn text_of(output: Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}
