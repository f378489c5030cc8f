//! The builder on plain apps: each trap of turning a binary into a library, on minimal packages.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use devhost_build::{self as build, Artifact, Builder, Choice, Deps, Settings, Strategy, Target};
use devhost_model::Error;
use devhost_model::{AppKind, PLAIN_MAIN_SYMBOL};

use crate::build::{Workspace, build_error, built, load, manifest, mentions, start_error};
use crate::support::write_file;

struct Plain {
    directory: tempfile::TempDir,
}

impl Plain {
    /// The package `shop` with this main.rs.
    fn new(main: &str) -> Self {
        Self::edition("2021", main)
    }

    fn edition(edition: &str, main: &str) -> Self {
        let plain = Self { directory: tempfile::tempdir().unwrap() };
        plain.write("Cargo.toml", &manifest("shop", "").replace("2024", edition));
        plain.write("src/main.rs", main);
        plain
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().canonicalize().unwrap().join(path)
    }

    fn write(&self, path: &str, text: &str) -> PathBuf {
        write_file(self.path(path), text)
    }

    fn find(&self, argument: Option<&str>, settings: &Settings) -> Result<Target, Error> {
        build::app::find(argument, &self.path(""), settings)
    }

    fn builder(&self, settings: Settings) -> Builder {
        let target = self.find(None, &settings).unwrap_or_else(|error| panic!("{error:?}"));
        Builder::new(target, settings, env!("CARGO_BIN_EXE_devhost").as_ref()).unwrap()
    }

    fn built(&self) -> Artifact {
        built(&mut self.builder(Settings::default()), &[])
    }

    /// Runs `main` and returns its exit code. The user's directory must stay unchanged.
    fn exit_code(&self) -> i32 {
        let before = tree(&self.path(""));
        let artifact = self.built();
        assert_eq!(tree(&self.path("")), before, "the user's tree was written to");
        assert_eq!(artifact.warnings[..], [], "the generated lines have warnings of their own");
        run_main(&artifact)
    }
}

pub(crate) fn run_main(artifact: &Artifact) -> i32 {
    load(artifact).call::<i32>(PLAIN_MAIN_SYMBOL)
}

/// Returns every file below a directory but the target directory and the lock file, with its content.
fn tree(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with("target") || path.ends_with("Cargo.lock") {
            continue;
        }
        if path.is_dir() {
            files.extend(tree(&path));
        } else {
            files.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    files
}

fn app(target: Result<Target, Error>) -> build::App {
    match target {
        Ok(Target::App(app)) => app,
        other => panic!("{other:?}"),
    }
}

fn bin(name: &str) -> Settings {
    Settings { choice: Some(Choice::Bin(name.into())), ..Settings::default() }
}

#[test]
fn a_binary_becomes_a_library_and_its_edits_are_seen() {
    let plain = Plain::new("mod code;\nfn main() -> std::process::ExitCode { code::CODE.into() }\n");
    let code = plain.write("src/code.rs", "pub const CODE: u8 = 7;\n");
    let mut builder = plain.builder(Settings::default());
    assert_eq!(app(Ok(builder.target().clone())).kind, AppKind::Plain);
    let first = built(&mut builder, &[]);
    assert_eq!(first.preload.len(), 2, "the standard library is shared");
    assert_eq!(first.sources, [plain.path("src/code.rs"), plain.path("src/main.rs")]);
    assert_eq!(run_main(&first), 7);
    plain.write("src/code.rs", "pub const CODE: u8 = 9;\n");
    assert_eq!(run_main(&built(&mut builder, &[code])), 9);
    let main = plain.write("src/main.rs", "fn main() -> std::process::ExitCode { 8.into() }\n");
    assert_eq!(run_main(&built(&mut builder, &[main])), 8);
    let same = built(&mut builder, &[]);
    assert_eq!(run_main(&same), 8);
    // Another run of devhost finds it built.
    drop(builder);
    assert_eq!(plain.built().build_id, same.build_id);
}

#[test]
fn every_main_is_called_and_its_end_reported() {
    for (main, code) in [
        ("fn main() {}", 0),
        ("fn main() -> Result<(), String> { Err(\"no\".into()) }", 1),
        ("fn main() -> Result<std::process::ExitCode, String> { Ok(3.into()) }", 3),
        ("use std::process::ExitCode; fn main() -> ExitCode { ExitCode::from(255) }", 255),
        ("fn main() -> ! { panic!(\"expected by the test\") }", 101),
        ("mod a { pub fn main() {} }\npub use a::main;", 0),
        ("mod a { pub fn run() {} }\nuse a::run as main;", 0),
        ("macro_rules! make { ($name:ident) => { fn $name() {} } }\nmake!(main);", 0),
        ("fn main() { #[derive(Debug)] struct Ok; struct Err; mod std {} let _ = (Ok, Err); }", 0),
        ("#![no_implicit_prelude]\nfn main() {}", 0),
        (
            "struct Result; mod core {} macro_rules! format { () => {} } fn main() { format!(); let _ = Result; }",
            0,
        ),
    ] {
        assert_eq!(Plain::new(&format!("#![allow(dead_code)]\n{main}")).exit_code(), code, "{main}");
    }
}

#[test]
fn editions_differ_in_what_the_generated_lines_may_say() {
    for edition in ["2015", "2018", "2021", "2024"] {
        assert_eq!(
            Plain::edition(edition, "fn main() { let _ = ::std::process::id(); }").exit_code(),
            0,
            "{edition}"
        );
    }
}

#[test]
fn strict_lints_do_not_hit_the_generated_lines() {
    let strict = "#![forbid(unsafe_code)]\n#![deny(warnings, missing_docs, unreachable_pub, unused, rust_2018_idioms)]\n\
                  #![forbid(unused_must_use, unused_results, unused_qualifications, unused_crate_dependencies)]\n";
    assert_eq!(Plain::new(&format!("//! Docs.\n{strict}fn main() {{}}")).exit_code(), 0);
    let plain = Plain::new("//! Docs.\nfn main() {}\n");
    let text = std::fs::read_to_string(plain.path("Cargo.toml")).unwrap();
    plain.write(
        "Cargo.toml",
        &format!("{text}[lints.rust]\nunsafe_code = 'forbid'\nmissing_docs = 'forbid'\nwarnings = 'deny'\n"),
    );
    assert_eq!(plain.exit_code(), 0);
    // They still hit the app.
    plain.write("src/main.rs", "//! Docs.\nfn main() { let unused = 1; }\n");
    let (diagnostics, _) = build_error(&mut plain.builder(Settings::default()), &[]);
    assert_eq!(diagnostics[0].code.as_deref(), Some("unused_variables"), "{diagnostics:?}");
}

#[test]
fn any_head_and_any_end_of_the_file_will_do() {
    for main in [
        "#!/usr/bin/env run\r\n//! Docs.\r\n#![allow(dead_code)]\r\nfn main() {}\r\n",
        "\u{feff}//! Docs.\n#![allow(dead_code)]\nfn main() {}",
        "/*! Docs. */ #![allow(dead_code)]\nfn main() {} // the end",
        "fn main() {} /* the end */",
        "#![cfg_attr(all(), doc = \"forbid ]\")]\nfn main() {}\n\n\n",
    ] {
        assert_eq!(Plain::new(main).exit_code(), 0, "{main:?}");
    }
}

#[test]
fn files_are_found_and_named_as_in_the_real_tree() {
    let plain = Plain::new(
        r#"mod inner;
        #[path = "../odd/place.rs"]
        mod odd;
        fn main() {
            assert_eq!(file!(), "src/main.rs");
            assert_eq!(inner::deep::FILE, "src/inner/deep.rs");
            assert_eq!(odd::FILE, "src/../odd/place.rs");
            assert_eq!(include_str!("../text.txt"), "text");
            assert_eq!(include_bytes!("other.bin"), b"other");
            assert_eq!(inner::deep::TEXT, "text");
            assert_eq!(env!("CARGO_BIN_NAME"), "shop");
            assert!(env!("CARGO_MANIFEST_DIR").starts_with('/'));
            let location = std::panic::Location::caller();
            assert_eq!((location.file(), location.line()), ("src/main.rs", 13));
        }"#,
    );
    plain.write("src/inner.rs", "pub mod deep;\n");
    plain.write(
        "src/inner/deep.rs",
        "pub const FILE: &str = file!();\npub const TEXT: &str = include_str!(\"../../text.txt\");\n",
    );
    plain.write("odd/place.rs", "pub const FILE: &str = file!();\n");
    plain.write("text.txt", "text");
    plain.write("src/other.bin", "other");
    assert_eq!(plain.exit_code(), 0);
    let artifact = plain.built();
    for source in ["src/main.rs", "src/inner/deep.rs", "text.txt", "src/other.bin"] {
        assert!(artifact.sources.contains(&plain.path(source)), "{source}: {:?}", artifact.sources);
    }
    assert!(!mentions(&artifact.path, "devhost/shadow"), "the library names the mirror");
}

#[test]
fn diagnostics_name_the_real_file() {
    let plain = Plain::new("fn main() {\n    let x: u8 = \"\";\n}\n");
    let mut builder = plain.builder(Settings::default());
    let (diagnostics, output) = build_error(&mut builder, &[]);
    let error = &diagnostics[0];
    assert_eq!((error.file.as_deref(), error.line, error.column), (Some("src/main.rs"), Some(2), Some(17)));

    let main = plain.write("src/main.rs", "mod missing;\nfn main() {}\n");
    let (missing, more) = build_error(&mut builder, std::slice::from_ref(&main));
    assert!(missing[0].rendered.contains("src/missing.rs"), "{missing:?}");

    let all = format!("{diagnostics:?}{output}{missing:?}{more}");
    assert!(!all.contains("shadow"), "{all}");
    let added = plain.write("src/missing.rs", "");
    assert_eq!(run_main(&built(&mut builder, &[added])), 0);
}

#[test]
fn what_is_wrong_at_the_files_end_is_said_of_the_apps_own_text() {
    let plain = Plain::new("fn other() {}\n");
    let mut builder = plain.builder(Settings::default());
    for (main, code, part) in [
        ("fn other() {}\n", Some("E0601"), "`main` function not found"),
        ("fn main() {\n", None, "unclosed delimiter"),
        ("fn main() {} /* never ends\n", Some("E0758"), "unterminated block comment"),
        ("fn main() {}\nfn main() {}\n", Some("E0428"), "defined multiple times"),
        ("fn main(_: u8) {}\n", Some("E0580"), "main"),
        ("async fn main() {}\n", Some("E0752"), "async"),
    ] {
        let file = plain.write("src/main.rs", main);
        let (diagnostics, output) = build_error(&mut builder, &[file]);
        let error = diagnostics.first().unwrap_or_else(|| panic!("{main}: {output}"));
        assert!(error.rendered.contains(part), "{main}: {error:?}");
        assert!(code.is_none() || error.code.as_deref() == code, "{main}: {error:?}");
        assert!(!format!("{diagnostics:?}{output}").contains("devhost_"), "{main}: {diagnostics:?}{output}");
    }
    let file = plain.write("src/main.rs", "fn main() {}\n");
    assert_eq!(run_main(&built(&mut builder, &[file])), 0);
}

#[test]
fn a_crate_with_a_c_main_is_told_so() {
    let plain = Plain::new(
        "#![no_main]\n#[no_mangle]\npub extern \"C\" fn main(_: i32, _: *const *const u8) -> i32 { 0 }\n",
    );
    let (_, output) = build_error(&mut plain.builder(Settings::default()), &[]);
    assert!(output.contains("no_main") && output.contains("src/main.rs"), "{output}");
}

#[test]
fn several_binaries_need_a_choice() {
    let plain = Plain::new("fn main() {}");
    plain.write("src/bin/worker.rs", "fn main() -> std::process::ExitCode { 5.into() }");
    plain.write(
        "src/bin/nested-one/main.rs",
        "mod part; fn main() -> std::process::ExitCode { part::CODE.into() }",
    );
    plain.write("src/bin/nested-one/part.rs", "pub const CODE: u8 = 6;");
    plain.write(
        "elsewhere/odd.rs",
        "fn main() -> std::process::ExitCode { assert_eq!(file!(), \"elsewhere/odd.rs\"); 4.into() }",
    );
    plain.write("examples/demo.rs", "fn main() -> std::process::ExitCode { 3.into() }");
    let text = manifest("shop", "") + "[[bin]]\nname = 'odd'\npath = 'elsewhere/odd.rs'\n";
    plain.write("Cargo.toml", &text);
    let error = plain.find(None, &Settings::default()).unwrap_err();
    assert!(error.mistake && error.message.contains("several binaries"), "{error:?}");
    assert!(
        error.hint.contains("--bin NAME") && error.hint.contains("nested-one, odd, shop, worker"),
        "{error:?}"
    );
    for (name, code) in [("worker", 5), ("nested-one", 6), ("odd", 4), ("shop", 0)] {
        assert_eq!(run_main(&built(&mut plain.builder(bin(name)), &[])), code, "{name}");
    }
    let example = Settings { choice: Some(Choice::Example("demo".into())), ..Settings::default() };
    assert_eq!(run_main(&built(&mut plain.builder(example), &[])), 3);
    let error = plain.find(None, &bin("other")).unwrap_err();
    assert!(error.message.contains("no binary `other`") && error.hint.contains("worker"), "{error:?}");
    plain.write("Cargo.toml", &text.replace("[package]", "[package]\ndefault-run = 'worker'"));
    assert_eq!(run_main(&plain.built()), 5);
}

#[test]
fn what_was_chosen_at_the_start_stays_chosen() {
    let exit = |code: u8| format!("fn main() -> std::process::ExitCode {{ {code}.into() }}");
    let plain = Plain::new(&exit(7));
    let mut builder = plain.builder(Settings::default());
    assert_eq!(run_main(&built(&mut builder, &[])), 7);
    let text = manifest("shop", "");
    let other = plain.write("src/bin/other.rs", &exit(8));
    let example = plain.write("examples/demo.rs", &exit(9));
    for text in [
        text.clone() + "# saved once more\n",
        text.replace("[package]", "[package]\ndefault-run = 'other'"),
        text.clone() + "[[bin]]\nname = 'third'\npath = 'src/bin/other.rs'\n",
        text.replace("'shop'", "'store'").replace("\"shop\"", "\"store\""),
    ] {
        let saved = plain.write("Cargo.toml", &text);
        let artifact = built(&mut builder, &[saved, other.clone(), example.clone()]);
        assert_eq!(run_main(&artifact), 7, "{text}");
    }
    // It vanishes, is missed, and comes back.
    let main = plain.path("src/main.rs");
    std::fs::remove_file(&main).unwrap();
    let saved = plain.write("Cargo.toml", &text);
    for changed in [vec![main.clone(), saved], Vec::new()] {
        let (_, output) = build_error(&mut builder, &changed);
        assert!(output.contains("any more") && output.contains("start devhost again"), "{output}");
    }
    plain.write("src/main.rs", &exit(6));
    assert_eq!(run_main(&built(&mut builder, &[main])), 6);
}

#[test]
fn a_chosen_example_stays_and_is_missed_if_it_is_gone() {
    let exit = |code: u8| format!("fn main() -> std::process::ExitCode {{ {code}.into() }}");
    let plain = Plain::new(&exit(1));
    let demo = plain.write("examples/demo.rs", &exit(3));
    let mut builder =
        plain.builder(Settings { choice: Some(Choice::Example("demo".into())), ..Settings::default() });
    assert_eq!(run_main(&built(&mut builder, &[])), 3);
    let more = plain.write("examples/more.rs", &exit(4));
    let saved = plain.write("Cargo.toml", &(manifest("shop", "") + "# saved\n"));
    assert_eq!(run_main(&built(&mut builder, &[more, saved.clone()])), 3);
    std::fs::remove_file(&demo).unwrap();
    let (_, output) = build_error(&mut builder, std::slice::from_ref(&demo));
    assert!(output.contains("demo"), "{output}");
    let (_, output) = build_error(&mut builder, &[saved]);
    assert!(output.contains("no example `demo` any more"), "{output}");
    plain.write("examples/demo.rs", &exit(5));
    assert_eq!(run_main(&built(&mut builder, &[demo])), 5);
}

#[test]
fn a_plugin_app_stays_one_beside_a_new_binary() {
    let workspace = Workspace::new();
    let mut builder = workspace.builder_with(Settings::default());
    built(&mut builder, &[]);
    let main = workspace.write("app/src/main.rs", "fn main() {}\n");
    let text = std::fs::read_to_string(workspace.path("app/Cargo.toml")).unwrap();
    let saved = workspace.write("app/Cargo.toml", &format!("{text}# saved\n"));
    assert_eq!(built(&mut builder, &[main, saved]).kind, AppKind::Plugin);
}

#[test]
fn the_only_default_of_a_workspace_decides() {
    let plain = Plain { directory: tempfile::tempdir().unwrap() };
    plain.write("Cargo.toml", "[workspace]\nresolver = '2'\nmembers = ['a', 'b']\n");
    for name in ["a", "b"] {
        plain.write(&format!("{name}/Cargo.toml"), &manifest(name, ""));
        plain.write(&format!("{name}/src/main.rs"), "fn main() {}");
    }
    plain.find(None, &Settings::default()).unwrap_err();
    let text = manifest("b", "").replace("[package]", "[package]\ndefault-run = 'b'");
    plain.write("b/Cargo.toml", &text);
    assert_eq!(app(plain.find(None, &Settings::default())).package, "b");
}

#[test]
fn a_library_beside_the_binary_is_a_path_crate() {
    let plain = Plain::new("fn main() -> std::process::ExitCode { shop::code().into() }\n");
    let library = plain.write("src/lib.rs", "pub fn code() -> u8 { 5 }\n");
    let mut builder = plain.builder(Settings::default());
    let first = built(&mut builder, &[]);
    assert_eq!(run_main(&first), 5);
    plain.write("src/lib.rs", "pub fn code() -> u8 { 6 }\n");
    let second = built(&mut builder, &[library]);
    assert_eq!(run_main(&second), 6);
    assert_eq!(first.preload, second.preload);
    let lib = Settings { choice: Some(Choice::Lib), ..Settings::default() };
    let error = plain.find(None, &lib).unwrap_err();
    assert!(error.mistake && error.message.contains("export!"), "{error:?}");
}

#[test]
fn profiles_and_features_reach_the_binary() {
    let plain = Plain::new(
        "fn main() -> std::process::ExitCode { (u8::from(cfg!(debug_assertions)) + 2 * u8::from(cfg!(feature = \"extra\"))).into() }",
    );
    plain.write(
        "Cargo.toml",
        &(manifest("shop", "")
            + "[features]\nextra = []\n[profile.fast]\ninherits = 'release'\nopt-level = 1\nlto = true\n"),
    );
    assert_eq!(run_main(&plain.built()), 1);
    let fast =
        Settings { profile: Some("fast".into()), features: vec!["extra".into()], ..Settings::default() };
    assert_eq!(run_main(&built(&mut plain.builder(fast), &[])), 2);
    let unknown = Settings { profile: Some("unknown".into()), ..Settings::default() };
    let (_, output) = build_error(&mut plain.builder(unknown), &[]);
    assert!(output.contains("unknown"), "{output}");
}

#[test]
fn a_workspace_has_its_only_app_its_default_member_or_a_mistake() {
    let plain = Plain { directory: tempfile::tempdir().unwrap() };
    let workspace = |more: &str| {
        plain.write("Cargo.toml", &format!("[workspace]\nresolver = '2'\nmembers = ['a', 'b', 'c']\n{more}"));
    };
    workspace("");
    for (name, file, text) in [("a", "main.rs", "fn main() {}"), ("b", "lib.rs", ""), ("c", "lib.rs", "")] {
        plain.write(&format!("{name}/Cargo.toml"), &manifest(name, ""));
        plain.write(&format!("{name}/src/{file}"), text);
    }
    assert_eq!(app(plain.find(None, &Settings::default())).package, "a", "the only binary");
    plain.write("c/src/main.rs", "fn main() {}");
    let error = plain.find(None, &Settings::default()).unwrap_err();
    assert!(
        error.mistake && error.hint.contains("devhost run NAME") && error.hint.contains("a, c"),
        "{error:?}"
    );
    assert_eq!(app(plain.find(Some("c"), &Settings::default())).package, "c");
    assert_eq!(app(plain.find(None, &bin("c"))).package, "c", "by its binary");
    workspace("default-members = ['c']\n");
    assert_eq!(app(plain.find(None, &Settings::default())).package, "c");
    let error = plain.find(Some("b"), &Settings::default()).unwrap_err();
    assert!(error.mistake && error.message.contains("neither a binary nor an `export!`"), "{error:?}");
    assert_eq!(run_main(&plain.built()), 0);
}

#[test]
fn dependencies_are_static_on_demand() {
    let plain = Plain::new("fn main() {}");
    let settings = Settings { deps: Deps::Static, ..Settings::default() };
    let artifact = built(&mut plain.builder(settings), &[]);
    assert!(artifact.preload.is_empty());
    assert_eq!(run_main(&artifact), 0);
}

/// An allocator that notices another allocator's memory.
const ALLOCATOR: &str = r"
    use std::alloc::{GlobalAlloc, Layout, System};
    use std::sync::atomic::{AtomicU8, Ordering};
    pub static USED: AtomicU8 = AtomicU8::new(0);
    pub struct Shifting;
    const SHIFT: usize = 4096;
    unsafe impl GlobalAlloc for Shifting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            USED.store(1, Ordering::Relaxed);
            System.alloc(Layout::from_size_align_unchecked(layout.size() + SHIFT, SHIFT)).add(SHIFT)
        }
        unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
            System.dealloc(memory.sub(SHIFT), Layout::from_size_align_unchecked(layout.size() + SHIFT, SHIFT))
        }
    }
";

const ALLOCATING: &str = "fn main() -> std::process::ExitCode {
    let strings: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    let thread = std::thread::spawn(move || strings.join(\"\"));
    drop((thread.join().unwrap(), std::env::current_dir().unwrap(), std::fs::read_to_string(\"/proc/self/stat\")));
    shop::USED.load(std::sync::atomic::Ordering::Relaxed).into()
}
";

#[test]
fn a_global_allocator_never_meets_the_shared_one() {
    let used = "#[global_allocator]\nstatic ALLOCATOR: shop::Shifting = shop::Shifting;\n";
    let plain = Plain::new(&format!("{used}{ALLOCATING}"));
    plain.write("src/lib.rs", ALLOCATOR);
    let artifact = plain.built();
    assert!(artifact.notes[0].contains("global_allocator"), "{:?}", artifact.notes);
    assert_eq!((artifact.preload.len(), run_main(&artifact)), (2, 0), "it is left out of the root file");

    let settings = Settings { deps: Deps::Static, ..Settings::default() };
    assert_eq!(run_main(&built(&mut plain.builder(settings), &[])), 1, "it is used where nothing is shared");

    plain.write("src/main.rs", &format!("mod memory;\n{ALLOCATING}"));
    plain.write("src/memory.rs", used);
    let artifact = plain.built();
    assert!(artifact.notes[0].contains("global_allocator"), "{:?}", artifact.notes);
    assert_eq!((artifact.preload.len(), run_main(&artifact)), (0, 1), "elsewhere it makes everything static");

    let settings = Settings { deps: Deps::Shared, ..Settings::default() };
    let (_, output) = build_error(&mut plain.builder(settings), &[]);
    assert!(
        output.contains("cannot be linked into a shared library") && output.contains("global_allocator"),
        "{output}"
    );
}

#[test]
fn what_cannot_be_linked_as_a_library_becomes_a_program_until_it_can() {
    let plain = Plain::new(
        "extern \"C\" { fn counted() -> i32; }
        fn main() -> std::process::ExitCode { (unsafe { counted() } as u8).into() }",
    );
    plain.write("counted.c", "static __thread int count = 5; int counted(void) { return ++count; }");
    let script = "fn main() {
        let out = std::env::var(\"OUT_DIR\").unwrap();
        let run = |line: String| {
            let words: Vec<&str> = line.split(' ').collect();
            assert!(std::process::Command::new(words[0]).args(&words[1..]).status().unwrap().success());
        };
        run(format!(\"cc -c -fPIE counted.c -o {out}/counted.o\"));
        run(format!(\"ar crs {out}/libcounted.a {out}/counted.o\"));
        println!(\"cargo:rustc-link-lib=static=counted\");
        println!(\"cargo:rustc-link-search={out}\");
    }";
    plain.write("build.rs", script);
    let (diagnostics, _) = build_error(&mut plain.builder(Settings::default()), &[]);
    assert!(diagnostics[0].message.starts_with("linking with"), "{diagnostics:?}");

    let mut builder = plain.builder(Settings { may_fall_back: true, ..Settings::default() });
    let artifact = built(&mut builder, &[]);
    assert_eq!((artifact.strategy, artifact.notes.len()), (Strategy::Restart, 1));
    assert!(artifact.notes[0].contains("cannot be linked as a library"), "{:?}", artifact.notes);
    let status = std::process::Command::new(&artifact.path).status().unwrap();
    assert_eq!(status.code(), Some(6));

    let main = plain.path("src/main.rs");
    let text = std::fs::read_to_string(&main).unwrap();
    plain.write("src/main.rs", &text.replace("as u8", "as Nothing"));
    let (diagnostics, _) = build_error(&mut builder, std::slice::from_ref(&main));
    assert_eq!(diagnostics[0].code.as_deref(), Some("E0425"), "{diagnostics:?}");
    plain.write("src/main.rs", &text);
    assert_eq!(built(&mut builder, &[main]).strategy, Strategy::Restart);

    let script = plain.write("build.rs", &script.replace("-fPIE", "-fPIC"));
    let artifact = built(&mut builder, &[script]);
    assert_eq!((artifact.strategy, artifact.notes.as_slice()), (Strategy::Fork, [].as_slice()));
    assert_eq!((artifact.preload.len(), run_main(&artifact)), (2, 6), "and everything is shared again");
}

#[test]
fn a_malloc_for_the_whole_process_is_left_to_a_program() {
    // Like the allocator crates that override the C library's functions.
    let plain = Plain::new(
        "#[no_mangle] pub unsafe extern \"C\" fn malloc(size: usize) -> *mut u8 {
            extern \"C\" { fn __libc_malloc(size: usize) -> *mut u8; }
            __libc_malloc(size)
        }
        fn main() {}",
    );
    let settings = Settings { may_fall_back: true, deps: Deps::Static, ..Settings::default() };
    let artifact = built(&mut plain.builder(settings), &[]);
    assert_eq!(artifact.strategy, Strategy::Restart);
    assert!(artifact.notes[0].contains("`malloc` of its own"), "{:?}", artifact.notes);
}

#[test]
fn an_error_of_the_apps_own_never_makes_it_a_program() {
    let plain = Plain::new("fn main() { nothing(); }");
    let mut builder = plain.builder(Settings { may_fall_back: true, ..Settings::default() });
    let (diagnostics, output) = build_error(&mut builder, &[]);
    assert_eq!(diagnostics[0].code.as_deref(), Some("E0425"), "{diagnostics:?}");
    assert!(!output.contains("program"), "{output}");
    // A symbol that the program lacks as well is reported for the intended library.
    let main = plain.write(
        "src/main.rs",
        "extern \"C\" { fn nowhere_to_be_found(); } fn main() { unsafe { nowhere_to_be_found() } }",
    );
    let (message, _) = start_error(&mut builder, &[main]);
    assert!(message.contains("nowhere_to_be_found"), "{message}");
    let main = plain.write("src/main.rs", "fn main() {}");
    let artifact = built(&mut builder, &[main]);
    assert_eq!((artifact.strategy, artifact.preload.len()), (Strategy::Fork, 2));
    assert_eq!(run_main(&artifact), 0);
}

#[test]
fn a_missing_system_library_is_named_and_taken_when_it_comes() {
    let plain = Plain::new(
        "extern \"C\" { fn not_there() -> i32; }
        fn main() -> std::process::ExitCode { (unsafe { not_there() } as u8).into() }",
    );
    plain.write(
        "build.rs",
        "fn main() {
            println!(\"cargo:rustc-link-lib=not_there\");
            println!(\"cargo:rustc-link-search={}\", std::env::var(\"CARGO_MANIFEST_DIR\").unwrap());
        }",
    );
    let mut builder = plain.builder(Settings::default());
    let (_, output) = build_error(&mut builder, &[]);
    assert!(output.contains("hint:") && output.contains("`not_there`"), "{output}");
    plain.write("not_there.c", "int not_there(void) { return 4; }");
    for command in ["cc -c -fPIC not_there.c -o not_there.o", "ar crs libnot_there.a not_there.o"] {
        let words: Vec<&str> = command.split(' ').collect();
        let status =
            std::process::Command::new(words[0]).args(&words[1..]).current_dir(plain.path("")).status();
        assert!(status.unwrap().success());
    }
    let artifact = built(&mut builder, &[]);
    assert_eq!((run_main(&artifact), artifact.notes), (4, vec![]));
}

#[test]
fn an_aborting_profile_and_required_features_are_respected() {
    let plain = Plain::new("fn main() {}");
    let text = manifest("shop", "")
        + "[profile.dev]\npanic = 'abort'\n[features]\nextra = []\n[[bin]]\nname = 'shop'\npath = 'src/main.rs'\n\
           required-features = ['extra']\n";
    plain.write("Cargo.toml", &text);
    let (_, output) = build_error(&mut plain.builder(Settings::default()), &[]);
    assert!(output.contains("requires the features") && output.contains("extra"), "{output}");
    let settings = Settings { features: vec!["extra".into()], ..Settings::default() };
    let artifact = built(&mut plain.builder(settings), &[]);
    assert!(artifact.notes[0].contains("panic = \"abort\""), "{:?}", artifact.notes);
    assert_eq!((artifact.preload.len(), run_main(&artifact)), (0, 0));
}

#[test]
fn a_path_crate_that_is_a_dylib_is_linked_in() {
    // Under different names: the loader would reuse a loaded one.
    for (name, kinds) in [("one", "'dylib'"), ("two", "'rlib', 'dylib'"), ("three", "'rlib', 'cdylib'")] {
        let plain = Plain::new(&format!("fn main() -> std::process::ExitCode {{ {name}::code().into() }}"));
        plain.write("Cargo.toml", &manifest("shop", &format!("{name} = {{ path = 'part' }}")));
        plain.write("part/Cargo.toml", &manifest(name, &format!("[lib]\ncrate-type = [{kinds}]")));
        plain.write("part/src/lib.rs", "pub fn code() -> u8 { 3 }");
        assert_eq!(run_main(&plain.built()), 3, "{kinds}");
    }
}

#[test]
fn a_dylib_with_dependencies_of_its_own_makes_the_app_static() {
    let workspace = Workspace::new();
    workspace
        .write("app/src/main.rs", "fn main() { assert_eq!(native::call::<u8>() + util::number(), 123); }");
    workspace.write("util/Cargo.toml", &manifest("util", "native = '1'\n[lib]\ncrate-type = ['dylib']"));
    let mut builder = workspace.builder_with(bin("app"));
    let artifact = built(&mut builder, &[]);
    assert_eq!(run_main(&artifact), 0, "{:?}", artifact.notes);
}

#[test]
fn a_dependency_of_any_crate_type_is_linked_in() {
    // Generic code that calls C from a dylib does not link with cargo alone either (rust-lang/rust#65610).
    let generic = "pub fn number<T>() -> i32 { native::call::<T>() + 1 }";
    let concrete = "pub fn number<T>() -> i32 { concrete() }\nfn concrete() -> i32 { native::call::<u16>() + 1 }\n\
                    const _: fn() -> i32 = concrete;";
    for (number, kinds, source, shared) in [
        (1, "'cdylib', 'rlib'", generic, true),
        (2, "'dylib', 'rlib'", generic, false),
        (3, "'rlib', 'staticlib'", generic, true),
        (4, "'dylib'", concrete, true),
    ] {
        let workspace = Workspace::new();
        let name = format!("kind{number}");
        workspace.write(&format!("vendor/{name}/.cargo-checksum.json"), "{\"files\":{}}");
        let text = manifest(&name, "native = '1'").replace("0.1.0", "1.0.0");
        workspace
            .write(&format!("vendor/{name}/Cargo.toml"), &format!("{text}[lib]\ncrate-type = [{kinds}]\n"));
        workspace.write(&format!("vendor/{name}/src/lib.rs"), source);
        workspace.write("app/Cargo.toml", &manifest("app", &format!("{name} = '1'")));
        let text = "pub fn main() -> std::process::ExitCode { (KIND::number::<u16>() as u8).into() }";
        let main = workspace.write("app/src/main.rs", &text.replace("KIND", &name));
        std::fs::remove_file(workspace.path("app/src/lib.rs")).unwrap();
        let mut builder = workspace.builder_with(bin("app"));
        let artifact = built(&mut builder, &[]);
        assert_eq!(run_main(&artifact), 24, "{kinds}: {:?}", artifact.notes);
        assert_eq!(!artifact.preload.is_empty(), shared, "{kinds}: {:?}", artifact.notes);
        // If it is a dylib that also contains what others use, devhost says so.
        let said = artifact.notes.iter().any(|note| note.contains("a crate that is a dylib contains `"));
        assert_eq!(said, !shared, "{kinds}: {:?}", artifact.notes);
        workspace.write("app/src/main.rs", &text.replace("KIND", &name).replace(" as u8", " as u8 + 1"));
        assert_eq!(run_main(&built(&mut builder, &[main])), 25, "{kinds}");
    }
}

#[test]
fn a_dependency_with_a_global_allocator_makes_the_app_static() {
    let workspace = Workspace::new();
    let allocator = ALLOCATOR.to_owned() + "#[global_allocator]\nstatic ALLOCATOR: Shifting = Shifting;\n";
    workspace.write("vendor/memory/.cargo-checksum.json", "{\"files\":{}}");
    workspace.write(
        "vendor/memory/Cargo.toml",
        &manifest("memory", "").replace("0.1.0", "1.0.0").replace("2024", "2021"),
    );
    workspace.write("vendor/memory/src/lib.rs", &allocator);
    workspace.write("app/Cargo.toml", &manifest("app", "memory = '1'"));
    workspace.write("app/src/main.rs", &ALLOCATING.replace("shop::", "memory::"));
    std::fs::remove_file(workspace.path("app/src/lib.rs")).unwrap();
    let artifact = built(&mut workspace.builder_with(bin("app")), &[]);
    assert!(artifact.notes[0].contains("global_allocator"), "{:?}", artifact.notes);
    assert_eq!((artifact.preload.len(), run_main(&artifact)), (0, 1));
}
