//! The builder against real cargo, on small workspaces without a network: dependencies come from a vendored
//! directory instead of a registry.

use std::io::Read;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::support::write_file;
use devhost_build::{self as build, Artifact, Builder, DebugInfo, Outcome, Settings, Target};
use devhost_model::Error;
use devhost_model::{Diagnostic, Failure};
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_LOCAL, RTLD_NOW};

/// How long to wait for something that must happen.
const DEADLINE: Duration = Duration::from_secs(120);

pub(crate) struct Workspace {
    directory: tempfile::TempDir,
}

impl Workspace {
    /// The app `app`, the path crate `util` (a `lib` and a `cdylib`, so its file has no hash in its name), a
    /// stand-in for `devhost-plugin`, and the vendored crate `native`, which has C code.
    pub(crate) fn new() -> Self {
        let workspace = Self { directory: tempfile::tempdir().unwrap() };
        workspace.write(
            "Cargo.toml",
            "[workspace]\nmembers = ['app', 'util', 'plugin', 'tool']\nresolver = '3'\n",
        );
        workspace.write(
            ".cargo/config.toml",
            "[source.crates-io]\nreplace-with = 'vendored'\n[source.vendored]\ndirectory = 'vendor'\n",
        );
        workspace.package(
            "app",
            "devhost-plugin = { path = '../plugin' }\nutil = { path = '../util' }\nnative = '1'",
        );
        workspace.write(
            "app/src/lib.rs",
            "mod text;
            devhost_plugin::export!();
            #[unsafe(no_mangle)]
            pub extern \"C\" fn answer() -> i32 { native::call::<i32>() + util::number() }
            #[unsafe(no_mangle)]
            pub extern \"C\" fn letter() -> u8 { text::LETTER }
            ",
        );
        workspace.write("app/src/text.rs", "pub const LETTER: u8 = b'a';\n");
        workspace.package("util", "native = '1'\n[lib]\ncrate-type = ['lib', 'cdylib']");
        workspace.write("util/src/lib.rs", "pub fn number() -> i32 { native::call::<u8>() * 0 + 100 }\n");
        workspace.package("plugin", "");
        workspace.write("plugin/Cargo.toml", &manifest("devhost-plugin", ""));
        workspace.write(
            "plugin/src/lib.rs",
            "#[macro_export]
            macro_rules! export { () => {
                #[cfg(devhost)]
                extern crate devhost_deps as _;
                #[unsafe(no_mangle)]
                pub extern \"C\" fn devhost_plugin_descriptor() -> *const u8 { std::ptr::null() }
            } }
            ",
        );
        workspace.package("tool", "");
        workspace.write("tool/src/main.rs", "fn main() {}\n");
        std::fs::remove_file(workspace.path("tool/src/lib.rs")).unwrap();
        workspace.vendor_native();
        workspace
    }

    /// A crate with C functions called only by its generic code, one of them compiled hidden.
    pub(crate) fn vendor_native(&self) {
        self.write("vendor/native/.cargo-checksum.json", "{\"files\":{}}");
        self.write("vendor/native/Cargo.toml", &manifest("native", "").replace("0.1.0", "1.0.0"));
        self.write(
            "vendor/native/src/lib.rs",
            "unsafe extern \"C\" { fn native_seen() -> i32; fn native_hidden() -> i32; }
            pub fn call<T>() -> i32 { unsafe { native_seen() + native_hidden() } }
            ",
        );
        self.write(
            "vendor/native/native.c",
            "int native_seen(void) { return 20; }
            __attribute__((visibility(\"hidden\"))) int native_helper(void) { return 3; }
            __attribute__((visibility(\"hidden\"))) int native_hidden(void) { return native_helper(); }
            ",
        );
        self.write(
            "vendor/native/build.rs",
            "use std::process::Command;
            fn main() {
                let out = std::env::var(\"OUT_DIR\").unwrap();
                let run = |program: &str, args: &[&str]| assert!(Command::new(program).args(args).status().unwrap().success());
                run(\"cc\", &[\"-c\", \"-fPIC\", \"native.c\", \"-o\", &format!(\"{out}/native.o\")]);
                run(\"ar\", &[\"crs\", &format!(\"{out}/libnative_c.a\"), &format!(\"{out}/native.o\")]);
                println!(\"cargo::rustc-link-search=native={out}\");
                println!(\"cargo::rustc-link-lib=static=native_c\");
            }
            ",
        );
    }

    fn package(&self, name: &str, dependencies: &str) {
        self.write(&format!("{name}/Cargo.toml"), &manifest(name, dependencies));
        self.write(&format!("{name}/src/lib.rs"), "");
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.directory.path().canonicalize().unwrap().join(path)
    }

    pub(crate) fn write(&self, path: &str, text: &str) -> PathBuf {
        write_file(self.path(path), text)
    }

    fn find(&self, argument: Option<&str>) -> Result<Target, Error> {
        build::app::find(argument, &self.path(""), &Settings::default())
    }

    fn mistake(&self, argument: Option<&str>) -> Error {
        let error = self.find(argument).expect_err("accepted");
        assert!(error.mistake, "{error:?}");
        assert!(!error.hint.is_empty(), "{error:?}");
        error
    }

    fn builder(&self) -> Builder {
        self.builder_with(Settings::default())
    }

    pub(crate) fn builder_with(&self, settings: Settings) -> Builder {
        let target = build::app::find(Some("app"), &self.path(""), &settings).unwrap();
        Builder::new(target, settings, env!("CARGO_BIN_EXE_devhost").as_ref()).unwrap()
    }
}

pub(crate) fn manifest(name: &str, dependencies: &str) -> String {
    format!(
        "[package]\nname = '{name}'\nversion = '0.1.0'\nedition = '2024'\n[dependencies]\n{dependencies}\n"
    )
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

pub(crate) fn run(builder: &mut Builder, changed: &[PathBuf]) -> Outcome {
    let build = async { tokio::time::timeout(DEADLINE, builder.build(changed, &mut |_| {})).await };
    runtime().block_on(build).expect("the build takes for ever")
}

pub(crate) fn built(builder: &mut Builder, changed: &[PathBuf]) -> Artifact {
    match run(builder, changed) {
        Outcome::Built(artifact) => artifact,
        Outcome::Failed(Failure::Build { diagnostics, output }) => {
            let rendered: String =
                diagnostics.iter().map(|diagnostic| diagnostic.rendered.as_str()).collect();
            panic!("the build failed:\n{rendered}{output}");
        }
        Outcome::Failed(failure) => panic!("the build failed: {failure:?}"),
    }
}

pub(crate) fn build_error(builder: &mut Builder, changed: &[PathBuf]) -> (Vec<Diagnostic>, String) {
    match run(builder, changed) {
        Outcome::Failed(Failure::Build { diagnostics, output }) => (diagnostics.to_vec(), output),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn start_error(builder: &mut Builder, changed: &[PathBuf]) -> (String, String) {
    match run(builder, changed) {
        Outcome::Failed(Failure::Start { message, hint, .. }) => (message, hint),
        other => panic!("{other:?}"),
    }
}

/// A library, loaded as by a worker and never unloaded.
pub(crate) struct Loaded(Library);

pub(crate) fn load(artifact: &Artifact) -> Loaded {
    for library in &artifact.preload {
        // SAFETY: the standard library and the fixture's dependencies run no code when loaded.
        std::mem::forget(unsafe { Library::open(Some(library), RTLD_NOW | RTLD_GLOBAL) }.unwrap());
    }
    // SAFETY: as above, for the fixture's app.
    Loaded(unsafe { Library::open(Some(&artifact.path), RTLD_NOW | RTLD_LOCAL) }.unwrap())
}

impl Loaded {
    pub(crate) fn call<T>(&self, name: &str) -> T {
        // SAFETY: the fixtures define functions of this type under the tests' names.
        unsafe { self.0.get::<extern "C" fn() -> T>(name.as_bytes()).unwrap()() }
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        // SAFETY: one more reference keeps the library loaded.
        let handle = unsafe { Library::from_raw(std::mem::replace(&mut self.0, Library::this()).into_raw()) };
        std::mem::forget(handle);
    }
}

fn letter(artifact: &Artifact) -> char {
    load(artifact).call::<u8>("letter").into()
}

/// Searching the file's string tables is enough to find a symbol.
pub(crate) fn mentions(library: &Path, symbol: &str) -> bool {
    let bytes = std::fs::read(library).unwrap();
    bytes.windows(symbol.len()).any(|window| window == symbol.as_bytes())
}

#[test]
fn dependencies_are_shared_and_path_crates_are_not() {
    let workspace = Workspace::new();
    let mut builder = workspace.builder();
    let mut totals = Vec::new();
    let mut progress = |progress: build::Progress| totals.push(progress.total);
    let Outcome::Built(first) = runtime().block_on(builder.build(&[], &mut progress)) else {
        panic!("failed")
    };
    assert!(!totals.is_empty());

    let [std, dependencies] = first.preload.as_slice() else { panic!("{first:?}") };
    assert!(std.file_name().unwrap().to_str().unwrap().starts_with("libstd-"));
    assert!(mentions(dependencies, "native_seen"), "the C code is in the library of dependencies");
    assert!(!mentions(dependencies, "util"), "a path crate is in the library of dependencies");
    for library in [std, dependencies] {
        assert!(mentions(library, library.file_name().unwrap().to_str().unwrap()), "no SONAME");
    }
    assert_eq!(load(&first).call::<i32>("answer"), 123);
    assert_eq!(first.build_id.len(), 40);
    for source in ["app/src/lib.rs", "app/src/text.rs", "util/src/lib.rs"] {
        assert!(first.sources.contains(&workspace.path(source)), "{:?}", first.sources);
    }
    assert!(
        first
            .sources
            .iter()
            .all(|source| source.is_absolute() && !source.starts_with(workspace.path("vendor")))
    );

    let same = built(&mut builder, &[]);
    assert_eq!(same.build_id, first.build_id);
    assert_ne!(same.path, first.path);

    let edited = workspace.write("app/src/text.rs", "pub const LETTER: u8 = b'b';\n");
    let second = built(&mut builder, &[edited]);
    assert_ne!(second.build_id, first.build_id);
    assert_eq!(second.preload, first.preload, "an edit of the app needs no new zygote");
    assert_eq!((letter(&first), letter(&second)), ('a', 'b'));

    let edited = workspace.write("util/src/lib.rs", "pub fn number() -> i32 { 200 }\n");
    let third = built(&mut builder, &[edited]);
    assert_eq!(third.preload, first.preload, "an edit of a path crate needs no new zygote");
    assert_eq!(load(&third).call::<i32>("answer"), 223);

    builder.collect(std::slice::from_ref(&third.path));
    assert!(third.path.exists() && third.preload[1].exists());
    assert!(!first.path.exists() && !second.path.exists());

    // Another run finds everything built, and removes what the previous run left.
    drop(builder);
    let mut builder = workspace.builder();
    let again = built(&mut builder, &[]);
    assert_eq!((again.build_id, again.preload), (third.build_id, third.preload));
    builder.collect(&[]);
    assert!(!third.path.exists());
}

#[test]
fn what_is_discarded_is_built_from_scratch_and_dependencies_stay() {
    let workspace = Workspace::new();
    let mut builder = workspace.builder();
    let first = built(&mut builder, &[]);
    let output = workspace.path("target/devhost/debug");
    let incremental = write_file(output.join("incremental/left/by-an-older-rustc"), "");
    let made = |kind: &str, name: &str| -> Vec<(PathBuf, SystemTime)> {
        let entries = std::fs::read_dir(output.join(kind)).unwrap().map(|entry| entry.unwrap());
        let named = entries.filter(|entry| entry.file_name().to_str().unwrap().starts_with(name));
        named.map(|entry| (entry.path(), entry.metadata().unwrap().modified().unwrap())).collect()
    };
    let before = (made("deps", "libutil"), made("deps", "libnative"));
    assert!(!before.0.is_empty() && !before.1.is_empty());
    runtime().block_on(builder.discard());
    assert!(!incremental.exists());
    assert!(first.path.exists() && first.preload.iter().all(|library| library.exists()));
    let second = built(&mut builder, &[]);
    assert!(!builder.last_report().replayed);
    assert!(builder.last_report().reason.contains("from scratch"), "{:?}", builder.last_report());
    assert_eq!(load(&second).call::<i32>("answer"), 123);
    assert_ne!(made("deps", "libutil"), before.0, "it was not compiled");
    assert_eq!(made("deps", "libnative"), before.1, "it was compiled");
    // What was recorded serves the next edit.
    let edited = workspace.write("app/src/text.rs", "pub const LETTER: u8 = b'b';\n");
    assert_eq!(letter(&built(&mut builder, &[edited])), 'b');
    assert!(builder.last_report().replayed, "{:?}", builder.last_report());
}

#[test]
fn revert_with_older_mtime_is_rebuilt() {
    let workspace = Workspace::new();
    let mut builder = workspace.builder();
    let old = SystemTime::now() - Duration::from_secs(3600);
    let file = workspace.path("app/src/text.rs");
    std::fs::File::options().append(true).open(&file).unwrap().set_modified(old).unwrap();
    let backup = workspace.path("backup.rs");
    let keep = || {
        std::fs::copy(&file, &backup).unwrap();
        std::fs::File::options().append(true).open(&backup).unwrap().set_modified(old).unwrap();
    };
    keep();
    assert_eq!(letter(&built(&mut builder, &[])), 'a');
    workspace.write("app/src/text.rs", "pub const LETTER: u8 = b'b';\n");
    assert_eq!(letter(&built(&mut builder, std::slice::from_ref(&file))), 'b');

    std::fs::rename(&backup, &file).unwrap();
    assert_eq!(letter(&built(&mut builder, std::slice::from_ref(&file))), 'a', "told by the watcher");

    keep();
    workspace.write("app/src/text.rs", "pub const LETTER: u8 = b'c';\n");
    assert_eq!(letter(&built(&mut builder, &[])), 'c');
    drop(builder);
    std::fs::rename(&backup, &file).unwrap();
    assert_eq!(letter(&built(&mut workspace.builder(), &[])), 'a', "restored while no devhost was running");
}

#[test]
fn a_compile_error_names_its_place_and_clears() {
    let workspace = Workspace::new();
    let mut builder = workspace.builder();
    let file = workspace.write("app/src/text.rs", "pub const LETTER: u8 =\n    \"no byte\";\n");
    let (diagnostics, output) = build_error(&mut builder, std::slice::from_ref(&file));
    let error = &diagnostics[0];
    assert_eq!((error.level.as_str(), error.code.as_deref()), ("error", Some("E0308")));
    assert_eq!(
        (error.file.as_deref(), error.line, error.column),
        (Some("app/src/text.rs"), Some(2), Some(5))
    );
    assert!(error.rendered.contains("mismatched types"));
    assert_eq!(diagnostics.len(), 1, "rustc's summary is left out: {diagnostics:?}");
    assert!(output.contains("could not compile"), "{output}");
    assert!(!output.contains("Compiling"), "{output}");

    workspace.write("app/src/text.rs", "pub const LETTER: u8 = b'd';\nfn unused() {}\n");
    let artifact = built(&mut builder, &[file]);
    assert_eq!(letter(&artifact), 'd');
    let warnings: Vec<_> = artifact.warnings.iter().map(|warning| warning.code.as_deref()).collect();
    assert_eq!(warnings, [Some("dead_code")]);
}

#[test]
fn manifests_may_change_and_break_while_devhost_runs() {
    let workspace = Workspace::new();
    let mut builder = workspace.builder();
    let good = std::fs::read_to_string(workspace.path("app/Cargo.toml")).unwrap();
    built(&mut builder, &[]);
    let manifest = workspace.write("app/Cargo.toml", "[package\n");
    let (_, output) = build_error(&mut builder, std::slice::from_ref(&manifest));
    assert!(output.contains("Cargo.toml") && output.contains("[package"), "{output}");

    workspace.package("extra", "");
    workspace.write("app/Cargo.toml", &format!("{good}extra = {{ path = '../extra' }}\n"));
    workspace.write(
        "Cargo.toml",
        "[workspace]\nmembers = ['app', 'util', 'plugin', 'tool', 'extra']\nresolver = '3'\n",
    );
    built(&mut builder, &[manifest]);
    let Target::App(app) = builder.target() else { panic!("no app") };
    let names: Vec<_> = app.path_packages.iter().map(|package| package.name.as_str()).collect();
    assert_eq!(names, ["app", "devhost-plugin", "extra", "util"], "the app comes first");
}

#[test]
fn settings_reach_the_app_although_cargo_cannot_see_them() {
    let workspace = Workspace::new();
    let lines = built(&mut workspace.builder(), &[]);
    let full = Settings { debug_info: DebugInfo::Full, ..Settings::default() };
    let full = built(&mut workspace.builder_with(full), &[]);
    let size = |artifact: &Artifact| artifact.path.metadata().unwrap().len();
    assert!(size(&full) > size(&lines), "{} and {} bytes", size(&full), size(&lines));
    let back = built(&mut workspace.builder(), &[]);
    assert_eq!(size(&back), size(&lines));
}

#[test]
fn what_cannot_be_shared_alone_is_linked_statically_and_says_why() {
    let workspace = Workspace::new();
    // A mangled C++ name is not exported from the library of dependencies.
    for file in ["vendor/native/native.c", "vendor/native/src/lib.rs"] {
        let text = std::fs::read_to_string(workspace.path(file)).unwrap();
        let text = text.replace("fn native_seen", "#[link_name = \"_Z4seenv\"] fn native_seen");
        workspace.write(file, &text.replace("int native_seen", "int _Z4seenv"));
    }
    let mut builder = workspace.builder();
    let artifact = built(&mut builder, &[]);
    assert_eq!(artifact.preload.len(), 2, "everything else is shared");
    assert!(!mentions(&artifact.preload[1], "_Z4seenv"));
    assert!(artifact.notes[0].starts_with("`native`"), "{:?}", artifact.notes);
    assert!(artifact.notes[0].contains("_Z4seenv"), "{:?}", artifact.notes);
    assert_eq!(load(&artifact).call::<i32>("answer"), 123);
    // Remembered: the next run does not try again.
    let again = built(&mut workspace.builder(), &[]);
    assert_eq!((again.build_id, again.notes), (artifact.build_id, artifact.notes));

    workspace.vendor_native();
    std::fs::remove_dir_all(workspace.path("target/devhost/debug")).unwrap();
    assert_eq!(built(&mut builder, &[]).notes, [] as [&str; 0], "the mended crate is shared again");

    workspace.write(
        "Cargo.toml",
        "[workspace]\nmembers = ['app', 'util', 'plugin', 'tool']\nresolver = '3'\n[profile.dev]\npanic = 'abort'\n",
    );
    let artifact = built(&mut builder, &[]);
    assert!(artifact.notes[0].contains("panic = \"abort\""), "{:?}", artifact.notes);
    assert_eq!(load(&artifact).call::<i32>("answer"), 123);
}

#[test]
fn what_cannot_be_loaded_is_not_given_out() {
    let workspace = Workspace::new();
    let mut builder = workspace.builder();
    let source = std::fs::read_to_string(workspace.path("app/src/lib.rs")).unwrap();
    workspace.write(
        "app/src/lib.rs",
        &format!(
            "{source}\nunsafe extern \"C\" {{ fn nowhere_to_be_found(); }}
            #[unsafe(no_mangle)] pub extern \"C\" fn caller() {{ unsafe {{ nowhere_to_be_found() }} }}"
        ),
    );
    let (message, _) = start_error(&mut builder, &[]);
    assert!(message.contains("nowhere_to_be_found"), "{message}");

    workspace.write("app/src/lib.rs", &source.replace("devhost_plugin::export!();", ""));
    let (message, hint) = start_error(&mut builder, &[]);
    assert!(message.contains("no `export!`"), "{message}");
    assert!(hint.contains("devhost_plugin::export!"), "{hint}");
}

#[test]
fn a_prebuilt_library_is_copied() {
    let workspace = Workspace::new();
    let app = built(&mut workspace.builder(), &[]);
    let library = workspace.path("libprebuilt.so");
    std::fs::copy(&app.path, &library).unwrap();
    let settings = Settings { target_dir: Some(workspace.path("own")), ..Settings::default() };
    let target = build::app::find(Some("libprebuilt.so"), &workspace.path(""), &settings).unwrap();
    assert_eq!(target.name(), "prebuilt");
    let mut builder = Builder::new(target, settings, env!("CARGO_BIN_EXE_devhost").as_ref()).unwrap();
    // It needs the app's dependencies, which are not preloaded here. The loader's message is unpredictable.
    let artifact = built(&mut builder, &[]);
    assert_eq!(artifact.build_id, app.build_id);
    std::fs::write(&library, "half").unwrap();
    assert_eq!(std::fs::read(&artifact.path).unwrap(), std::fs::read(&app.path).unwrap());
    let (message, hint) = start_error(&mut builder, &[]);
    assert!(message.contains("not an ELF file"), "{message}");
    assert!(hint.contains("build it again"), "{hint}");
}

/// A build that hangs in the app's build script, which has a socket to the test.
struct Hanging {
    workspace: Workspace,
    listener: UnixListener,
}

impl Hanging {
    pub(crate) fn new() -> Self {
        let workspace = Workspace::new();
        let socket = workspace.path("socket");
        workspace.write(
            "app/build.rs",
            &format!(
                "fn main() {{
                    let socket = std::os::unix::net::UnixStream::connect({socket:?}).unwrap();
                    loop {{ std::thread::park(); }}
                    drop(socket);
                }}"
            ),
        );
        Self { listener: UnixListener::bind(&socket).unwrap(), workspace }
    }

    /// Waits for the build script, lets `kill` end the build, and waits for the script's end.
    fn end_by(&self, kill: impl FnOnce()) {
        let (mut script, _) = self.listener.accept().unwrap();
        script.set_read_timeout(Some(DEADLINE)).unwrap();
        kill();
        assert_eq!(script.read(&mut [0]).expect("the build script outlives its build"), 0);
    }
}

#[test]
fn dropping_a_build_ends_cargo_and_what_it_started() {
    let hanging = Hanging::new();
    let mut builder = hanging.workspace.builder();
    let runtime = runtime();
    let listener = tokio_listener(&runtime, &hanging.listener);
    let script = runtime.block_on(async {
        let mut progress = |_| {};
        tokio::select! {
            outcome = builder.build(&[], &mut progress) => panic!("{outcome:?}"),
            script = listener.accept() => script.unwrap().0,
        }
    });
    let script = script.into_std().unwrap();
    script.set_nonblocking(false).unwrap();
    script.set_read_timeout(Some(DEADLINE)).unwrap();
    assert_eq!((&script).read(&mut [0]).expect("the build script outlives its build"), 0);

    std::fs::remove_file(hanging.workspace.path("app/build.rs")).unwrap();
    assert_eq!(letter(&built(&mut builder, &[])), 'a', "the next build is a good one");
}

fn tokio_listener(runtime: &tokio::runtime::Runtime, listener: &UnixListener) -> tokio::net::UnixListener {
    let _guard = runtime.enter();
    let listener = listener.try_clone().unwrap();
    listener.set_nonblocking(true).unwrap();
    tokio::net::UnixListener::from_std(listener).unwrap()
}

#[test]
fn a_killed_front_leaves_no_cargo() {
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};
    let hanging = Hanging::new();
    // `cat` stands for the front: it alone holds the pipe's other end, and is killed without a chance to act.
    let (reader, writer) = std::io::pipe().unwrap();
    let mut guard = Command::new(env!("CARGO_BIN_EXE_devhost"));
    guard.arg0("devhost-guard").args(["cargo", "build", "--lib", "-p", "app"]);
    guard.current_dir(hanging.workspace.path("")).stdin(reader).stdout(Stdio::null()).stderr(Stdio::null());
    let mut holder = Command::new("cat").stdout(writer).stdin(Stdio::piped()).spawn().unwrap();
    let mut guard = guard.spawn().unwrap();
    hanging.end_by(|| holder.kill().unwrap());
    holder.wait().unwrap();
    assert!(!guard.wait().unwrap().success());
}

#[test]
fn a_target_is_found_by_path_and_by_name() {
    let workspace = Workspace::new();
    let by_name = workspace.find(Some("app")).unwrap();
    let root = workspace.path("app");
    assert_eq!(workspace.find(Some("./app")).unwrap(), by_name);
    assert_eq!(workspace.find(Some("app/Cargo.toml")).unwrap(), by_name);
    assert_eq!(workspace.find(Some(root.to_str().unwrap())).unwrap(), by_name);
    assert_eq!(workspace.find(None).unwrap(), by_name, "the only app of the workspace");
    let settings = Settings::default();
    assert_eq!(build::app::find(None, &workspace.path("app/src"), &settings).unwrap(), by_name);
    assert_eq!(build::app::find(Some("app"), &workspace.path("util"), &settings).unwrap(), by_name);
    let Target::App(app) = by_name else { panic!("no app") };
    assert_eq!(app.root(), root);
    assert_eq!(app.target_dir, workspace.path("target/devhost"));
}

#[test]
fn a_mistake_is_named_with_what_to_do() {
    let workspace = Workspace::new();
    let says = |argument, part: &str| {
        let error = workspace.mistake(argument);
        assert!(error.message.contains(part), "{error:?}");
        error.hint
    };
    assert!(says(Some("nothing"), "no package `nothing`").contains("app, devhost-plugin, tool, util"));
    says(Some("./nothing"), "does not exist");
    says(Some("./vendor"), "no Cargo.toml");
    says(Some("app/src/lib.rs"), "neither a package nor a shared library");
    says(Some("missing.so"), "cannot read");
    assert!(says(Some("util"), "neither a binary nor an `export!`").contains("devhost_plugin::export!"));

    workspace.write("util/Cargo.toml", &manifest("util", "[lib]\nproc-macro = true"));
    says(Some("util"), "procedural macro");

    workspace.write("app/Cargo.toml", "[package\n");
    says(Some("./app"), "[package");
    let outside = tempfile::tempdir().unwrap();
    let error = build::app::find(None, outside.path(), &Settings::default()).unwrap_err();
    assert!(error.mistake && error.message.contains("no Cargo.toml"), "{error:?}");
}

#[test]
fn a_name_that_means_two_things_is_refused() {
    let workspace = Workspace::new();
    workspace.write(
        "Cargo.toml",
        "[workspace]\nmembers = ['app', 'util', 'plugin', 'tool', 'other']\nresolver = '3'\n",
    );
    let app = std::fs::read_to_string(workspace.path("app/Cargo.toml")).unwrap();
    workspace.write("app/Cargo.toml", &app.replace("'app'", "'other'"));
    workspace.package("other", "devhost-plugin = { path = '../plugin' }");
    workspace.write("other/Cargo.toml", &manifest("app", "devhost-plugin = { path = '../plugin' }"));
    let error = workspace.mistake(Some("app"));
    assert!(error.message.contains("both the directory"), "{error:?}");
    let Target::App(app) = workspace.find(Some("./app")).unwrap() else { panic!("no app") };
    assert_eq!(app.package, "other");
}

/// Returns every file below a directory with its content, permissions and modification time.
fn snapshot(directory: &Path) -> std::collections::BTreeMap<PathBuf, (Vec<u8>, u32, SystemTime)> {
    use std::os::unix::fs::MetadataExt;
    let mut files = std::collections::BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let metadata = path.symlink_metadata().unwrap();
        if metadata.is_dir() {
            files.extend(snapshot(&path));
        } else if metadata.is_file() {
            let content = std::fs::read(&path).unwrap();
            files.insert(path, (content, metadata.mode(), metadata.modified().unwrap()));
        }
    }
    files
}

#[test]
fn what_cargo_has_built_is_taken_over_and_left_as_it_is() {
    let workspace = Workspace::new();
    workspace.write("vendor/derive/.cargo-checksum.json", "{\"files\":{}}");
    workspace.write(
        "vendor/derive/Cargo.toml",
        &(manifest("derive", "").replace("0.1.0", "1.0.0") + "[lib]\nproc-macro = true\n"),
    );
    workspace.write(
        "vendor/derive/src/lib.rs",
        "#[proc_macro] pub fn nothing(_: proc_macro::TokenStream) -> proc_macro::TokenStream { Default::default() }",
    );
    let app = std::fs::read_to_string(workspace.path("app/Cargo.toml")).unwrap();
    workspace.write("app/Cargo.toml", &format!("{app}derive = '1'\n"));
    let source = std::fs::read_to_string(workspace.path("app/src/lib.rs")).unwrap();
    workspace.write("app/src/lib.rs", &format!("derive::nothing!();\n{source}"));
    let status = std::process::Command::new("cargo")
        .args(["build", "--quiet", "--offline", "-p", "app"])
        .current_dir(workspace.path(""))
        .env_remove("CARGO_TARGET_DIR")
        .status()
        .unwrap();
    assert!(status.success());
    let before = snapshot(&workspace.path("target/debug"));

    let mut builder = workspace.builder();
    let mut compiled = Vec::new();
    let mut progress = |progress: build::Progress| compiled.push(progress.current);
    let Outcome::Built(artifact) = runtime().block_on(builder.build(&[], &mut progress)) else {
        panic!("failed")
    };
    assert_eq!(load(&artifact).call::<i32>("answer"), 123);
    assert!(compiled.iter().any(|what| what.starts_with("app v")), "{compiled:?}");
    let again = compiled.iter().any(|what| what.starts_with("native v") || what.starts_with("derive v"));
    assert!(!again, "a dependency is compiled again: {compiled:?}");

    // Everything is rebuilt under the same names, and the user's files still stay.
    std::fs::remove_dir_all(workspace.path("target/devhost/debug/.fingerprint")).unwrap();
    let mut builder = workspace.builder();
    let mut compiled = Vec::new();
    let mut progress = |progress: build::Progress| compiled.push(progress.current);
    assert!(matches!(runtime().block_on(builder.build(&[], &mut progress)), Outcome::Built(_)));
    assert!(compiled.iter().any(|what| what.starts_with("native v")), "{compiled:?}");
    assert_eq!(
        snapshot(&workspace.path("target/debug")),
        before,
        "the user's target directory was written to"
    );
}
