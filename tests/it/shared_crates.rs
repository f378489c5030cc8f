//! Several apps of a workspace, built by turns as in one devhost: a crate that they use is compiled once for a change of it, whichever
//! app is built first, and nothing old is ever taken for new.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use devhost_build::{self as build, Builder, CargoOptions, Outcome, Settings};

use crate::build::{build_error, built, manifest, runtime};
use crate::plain_build::run_main;
use crate::support::write_file;

/// How long to wait for something that must happen.
const DEADLINE: Duration = Duration::from_secs(120);

/// What `admin` adds to the shared crate's number.
const ADMIN_ADDS: i32 = 100;

/// Stands for rustc, and writes down which crates it compiles. While there is a file `hold`, it does not end after the shared crate's
/// compilation, and makes a file `compiled`.
const RUSTC: &str = r#"#!/bin/sh
here=$(dirname "$0")
name=
for argument; do
    [ "$previous" = --crate-name ] && name=$argument
    previous=$argument
done
[ -n "$name" ] && echo "$name" >> "$here/log"
rustc "$@"
code=$?
if [ "$name" = shared ] && [ -e "$here/hold" ]; then
    touch "$here/compiled"
    turns=0
    while [ -e "$here/hold" ] && [ $turns -lt 2400 ]; do
        sleep 0.05
        turns=$((turns + 1))
    done
fi
exit $code
"#;

/// A workspace with the apps `api` and `admin`, and the crate `shared`.
struct Site {
    directory: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let site = Self { directory: tempfile::tempdir().unwrap() };
        let members = "members = ['shared', 'api', 'admin']";
        site.write("Cargo.toml", &format!("[workspace]\n{members}\nresolver = '3'\n"));
        site.write("shared/Cargo.toml", &(manifest("shared", "") + "[features]\nmore = []\n"));
        site.number(1);
        for name in ["api", "admin"] {
            site.write(&format!("{name}/Cargo.toml"), &manifest(name, "shared = { path = '../shared' }"));
        }
        site.write("api/src/main.rs", &main_with("shared::number()"));
        site.write("admin/src/main.rs", &main_with("shared::number() + 100"));
        let rustc = site.write("tool/rustc", RUSTC);
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(rustc, executable).unwrap();
        site.write("tool/log", "");
        site
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().canonicalize().unwrap().join(path)
    }

    fn write(&self, path: &str, text: &str) -> PathBuf {
        write_file(self.path(path), text)
    }

    /// Makes the shared crate return a number.
    fn number(&self, number: u8) -> PathBuf {
        self.write("shared/src/lib.rs", &numbered(number))
    }

    fn builder(&self, package: &str) -> Builder {
        let rustc = self.path("tool/rustc");
        let cargo = CargoOptions {
            offline: true,
            config: vec![format!("build.rustc='{}'", rustc.display())],
            ..CargoOptions::default()
        };
        let settings = Settings { cargo, ..Settings::default() };
        let target = build::app::find(Some(package), &self.path(""), &settings);
        let target = target.unwrap_or_else(|error| panic!("{error:?}"));
        Builder::new(target, settings, env!("CARGO_BIN_EXE_devhost").as_ref()).unwrap()
    }

    /// The builders of both apps, as at the start of a devhost.
    fn builders(&self) -> (Builder, Builder) {
        let (api, mut admin) = (self.builder("api"), self.builder("admin"));
        admin.share_with(&api);
        (api, admin)
    }

    /// How often the crate has been compiled since this was last asked of any.
    fn compiled_count(&self, name: &str) -> usize {
        let log = self.path("tool/log");
        let count = std::fs::read_to_string(&log).unwrap().lines().filter(|line| *line == name).count();
        std::fs::write(log, "").unwrap();
        count
    }
}

fn main_with(number: &str) -> String {
    format!("fn main() -> std::process::ExitCode {{ std::process::ExitCode::from({number}) }}\n")
}

fn numbered(number: u8) -> String {
    format!("pub fn number() -> u8 {{ {number} }}\n")
}

#[track_caller]
fn shows(builder: &mut Builder, changed: &[PathBuf], number: i32) {
    assert_eq!(run_main(&built(builder, changed)), number, "{:?}", builder.last_report());
}

/// Moves a file with this text and an old time into a place.
fn replace_by_older(path: &Path, text: &str, modified: SystemTime) {
    let fresh = path.with_extension("fresh");
    std::fs::write(&fresh, text).unwrap();
    std::fs::File::options().append(true).open(&fresh).unwrap().set_modified(modified).unwrap();
    std::fs::rename(fresh, path).unwrap();
}

#[test]
fn a_change_is_compiled_once_and_reaches_both_apps() {
    let site = Site::new();
    let (mut api, mut admin) = site.builders();
    shows(&mut api, &[], 1);
    shows(&mut admin, &[], 1 + ADMIN_ADDS);
    assert_eq!(site.compiled_count("shared"), 1);
    for number in 2..6 {
        let changed = [site.number(number)];
        let number = i32::from(number);
        if number % 2 == 0 {
            shows(&mut api, &changed, number);
            shows(&mut admin, &changed, number + ADMIN_ADDS);
        } else {
            shows(&mut admin, &changed, number + ADMIN_ADDS);
            shows(&mut api, &changed, number);
        }
        assert!(api.last_report().replayed && admin.last_report().replayed, "{:?}", api.last_report());
        assert_eq!(site.compiled_count("shared"), 1);
    }
    // One in an app leaves the other alone.
    let main = site.write("api/src/main.rs", &main_with("shared::number() + 50"));
    shows(&mut api, &[main], 55);
    assert_eq!(site.compiled_count("shared"), 0);
    shows(&mut admin, &[], 5 + ADMIN_ADDS);
    assert_eq!(site.compiled_count("admin"), 0);
}

#[test]
fn a_new_module_is_compiled_once_and_a_removed_one_is_missed() {
    let site = Site::new();
    let (mut api, mut admin) = site.builders();
    shows(&mut api, &[], 1);
    shows(&mut admin, &[], 1 + ADMIN_ADDS);
    site.compiled_count("shared");
    let part = site.write("shared/src/part.rs", "pub const PART: u8 = 7;\n");
    let lib = site.write("shared/src/lib.rs", "mod part;\npub fn number() -> u8 { part::PART }\n");
    let changed = [part.clone(), lib];
    shows(&mut api, &changed, 7);
    shows(&mut admin, &changed, 7 + ADMIN_ADDS);
    assert_eq!(site.compiled_count("shared"), 1);
    // The other place of the same module: rustc refuses two.
    let twin = site.write("shared/src/part/mod.rs", "pub const PART: u8 = 8;\n");
    build_error(&mut admin, std::slice::from_ref(&twin));
    build_error(&mut api, std::slice::from_ref(&twin));
    std::fs::remove_file(&part).unwrap();
    shows(&mut admin, std::slice::from_ref(&part), 8 + ADMIN_ADDS);
    shows(&mut api, &[twin, part], 8);
}

#[test]
fn one_app_that_is_broken_keeps_nothing_from_the_other() {
    let site = Site::new();
    let (mut api, mut admin) = site.builders();
    shows(&mut api, &[], 1);
    shows(&mut admin, &[], 1 + ADMIN_ADDS);
    site.compiled_count("shared");
    let main = site.write("admin/src/main.rs", "fn main() { none() }\n");
    build_error(&mut admin, std::slice::from_ref(&main));
    for number in [2, 3] {
        let changed = [site.number(number)];
        build_error(&mut admin, &changed);
        shows(&mut api, &changed, i32::from(number));
        assert_eq!(site.compiled_count("shared"), 1);
    }
    site.write("admin/src/main.rs", &main_with("shared::number() + 101"));
    shows(&mut admin, &[main], 104);
    assert_eq!(site.compiled_count("shared"), 0);
}

#[test]
fn one_app_that_is_broken_from_the_start_shows_the_present_code_once_mended() {
    let site = Site::new();
    let main = site.write("admin/src/main.rs", "fn main() { none() }\n");
    let (mut api, mut admin) = site.builders();
    build_error(&mut admin, &[]);
    shows(&mut api, &[], 1);
    assert_eq!(site.compiled_count("shared"), 1);
    for number in 2..6 {
        let changed = [site.number(number)];
        if number % 2 == 0 {
            build_error(&mut admin, &changed);
            shows(&mut api, &changed, i32::from(number));
        } else {
            shows(&mut api, &changed, i32::from(number));
            build_error(&mut admin, &changed);
        }
        assert_eq!(site.compiled_count("shared"), 1);
    }
    let old = SystemTime::now() - Duration::from_secs(3600);
    replace_by_older(&site.path("shared/src/lib.rs"), &numbered(9), old);
    let lib = site.path("shared/src/lib.rs");
    shows(&mut api, std::slice::from_ref(&lib), 9);
    site.write("admin/src/main.rs", &main_with("shared::number() + 101"));
    shows(&mut admin, &[lib, main], 110);
}

#[test]
fn an_edit_that_is_reverted_is_seen_by_both() {
    let site = Site::new();
    let (mut api, mut admin) = site.builders();
    let lib = [site.path("shared/src/lib.rs")];
    let first = std::fs::metadata(&lib[0]).unwrap().modified().unwrap();
    shows(&mut api, &[], 1);
    shows(&mut admin, &[], 1 + ADMIN_ADDS);
    site.number(2);
    shows(&mut api, &lib, 2);
    // Before the other was built, with the old time, as by `git stash` or a backup.
    replace_by_older(&lib[0], &numbered(1), first);
    shows(&mut admin, &lib, 1 + ADMIN_ADDS);
    shows(&mut api, &lib, 1);
    site.number(3);
    shows(&mut admin, &lib, 3 + ADMIN_ADDS);
    site.number(1);
    // It never knew of the edit.
    shows(&mut api, &lib, 1);
    shows(&mut admin, &lib, 1 + ADMIN_ADDS);
}

#[test]
fn an_error_in_the_shared_crate_is_told_by_both_and_mended_for_both() {
    let site = Site::new();
    let (mut api, mut admin) = site.builders();
    shows(&mut api, &[], 1);
    shows(&mut admin, &[], 1 + ADMIN_ADDS);
    let changed = [site.write("shared/src/lib.rs", "pub fn number() -> u8 { none }\n")];
    for builder in [&mut api, &mut admin] {
        let (diagnostics, _) = build_error(builder, &changed);
        assert!(diagnostics.iter().any(|diagnostic| diagnostic.message.contains("none")), "{diagnostics:?}");
    }
    site.compiled_count("shared");
    site.number(2);
    shows(&mut admin, &changed, 2 + ADMIN_ADDS);
    shows(&mut api, &changed, 2);
    assert_eq!(site.compiled_count("shared"), 1);
    // Mended before the other has tried.
    site.write("shared/src/lib.rs", "pub fn number() -> u8 { none }\n");
    build_error(&mut api, &changed);
    site.number(2);
    shows(&mut admin, &changed, 2 + ADMIN_ADDS);
    shows(&mut api, &changed, 2);
}

#[test]
fn an_edit_while_the_shared_crate_is_compiled_reaches_both_apps() {
    for modified in [None, Some(SystemTime::now() - Duration::from_secs(3600))] {
        for starts_with_cargo in [false, true] {
            let site = Site::new();
            let (mut api, mut admin) = site.builders();
            let lib = [site.path("shared/src/lib.rs")];
            if !starts_with_cargo {
                shows(&mut api, &[], 1);
                shows(&mut admin, &[], 1 + ADMIN_ADDS);
                site.number(2);
            }
            site.write("tool/hold", "");
            let edit = async {
                while !site.path("tool/compiled").exists() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                match modified {
                    Some(time) => replace_by_older(&lib[0], &numbered(3), time),
                    None => drop(site.number(3)),
                }
                std::fs::remove_file(site.path("tool/hold")).unwrap();
            };
            let mut ignore = |_| {};
            let both = async { tokio::join!(api.build(&lib, &mut ignore), edit).0 };
            let outcome = runtime().block_on(async { tokio::time::timeout(DEADLINE, both).await });
            assert!(matches!(outcome, Ok(Outcome::Built(_))), "{outcome:?}");
            shows(&mut admin, &lib, 3 + ADMIN_ADDS);
            shows(&mut api, &lib, 3);
        }
    }
}

#[test]
fn a_build_that_is_given_up_leaves_nothing_half_compiled_to_the_other_app() {
    for starts_with_cargo in [false, true] {
        let site = Site::new();
        let (mut api, mut admin) = site.builders();
        let lib = [site.path("shared/src/lib.rs")];
        shows(&mut admin, &[], 1 + ADMIN_ADDS);
        if !starts_with_cargo {
            shows(&mut api, &[], 1);
        }
        site.number(2);
        site.write("tool/hold", "");
        let given_up = async {
            let compiled = async {
                while !site.path("tool/compiled").exists() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            let mut ignore = |_| {};
            tokio::select! {
                outcome = api.build(&lib, &mut ignore) => panic!("{outcome:?}"),
                () = compiled => {}
            }
        };
        runtime().block_on(async { tokio::time::timeout(DEADLINE, given_up).await }).unwrap();
        std::fs::remove_file(site.path("tool/hold")).unwrap();
        shows(&mut admin, &lib, 2 + ADMIN_ADDS);
        shows(&mut api, &lib, 2);
    }
}

#[test]
fn an_app_alone_finds_what_was_built_with_another_and_never_takes_it_for_newer() {
    let site = Site::new();
    shows(&mut site.builder("api"), &[], 1);
    let between = SystemTime::now();
    // Edited under the other app alone, then replaced while none runs, by a file that is newer than the first app's build.
    let mut admin = site.builder("admin");
    shows(&mut admin, &[], 1 + ADMIN_ADDS);
    let changed = [site.number(2)];
    shows(&mut admin, &changed, 2 + ADMIN_ADDS);
    drop(admin);
    // Made once more by cargo, whose word counts from then on.
    shows(&mut site.builder("admin"), &[], 2 + ADMIN_ADDS);
    replace_by_older(&changed[0], &numbered(3), between);
    shows(&mut site.builder("api"), &[], 3);
    // And then both.
    site.compiled_count("shared");
    let (mut api, mut admin) = site.builders();
    shows(&mut api, &[], 3);
    shows(&mut admin, &[], 3 + ADMIN_ADDS);
    assert_eq!(site.compiled_count("shared"), 0, "it was compiled before");
    let changed = [site.number(4)];
    shows(&mut admin, &changed, 4 + ADMIN_ADDS);
    shows(&mut api, &changed, 4);
    assert_eq!(site.compiled_count("shared"), 1);
}

#[test]
fn two_devhosts_that_serve_an_app_each_show_the_present_code() {
    let site = Site::new();
    let (mut api, mut admin) = (site.builder("api"), site.builder("admin"));
    for number in 1..4 {
        let changed = [site.number(number)];
        shows(&mut api, &changed, i32::from(number));
        shows(&mut admin, &changed, i32::from(number) + ADMIN_ADDS);
    }
    let old = SystemTime::now() - Duration::from_secs(3600);
    let lib = [site.path("shared/src/lib.rs")];
    replace_by_older(&lib[0], &numbered(9), old);
    shows(&mut admin, &lib, 9 + ADMIN_ADDS);
    shows(&mut api, &lib, 9);
}

#[test]
fn each_set_of_features_is_compiled_once() {
    let site = Site::new();
    site.write(
        "admin/Cargo.toml",
        &manifest("admin", "shared = { path = '../shared', features = ['more'] }"),
    );
    let text = |number: u8| {
        format!("pub fn number() -> u8 {{ {number} + 10 * u8::from(cfg!(feature = \"more\")) }}\n")
    };
    site.write("shared/src/lib.rs", &text(1));
    let (mut api, mut admin) = site.builders();
    shows(&mut api, &[], 1);
    shows(&mut admin, &[], 11 + ADMIN_ADDS);
    assert_eq!(site.compiled_count("shared"), 2);
    for number in 2..5 {
        let changed = [site.write("shared/src/lib.rs", &text(number))];
        shows(&mut admin, &changed, 10 + i32::from(number) + ADMIN_ADDS);
        shows(&mut api, &changed, i32::from(number));
        assert_eq!(site.compiled_count("shared"), 2, "once for each");
    }
    // From now on with the same.
    let manifest = site.write("admin/Cargo.toml", &manifest("admin", "shared = { path = '../shared' }"));
    shows(&mut admin, &[manifest], 4 + ADMIN_ADDS);
    let changed = [site.write("shared/src/lib.rs", &text(5))];
    shows(&mut admin, &changed, 5 + ADMIN_ADDS);
    shows(&mut api, &changed, 5);
}

#[test]
fn a_macro_and_a_build_script_that_both_use_reach_both() {
    let site = Site::new();
    let members = "members = ['shared', 'api', 'admin', 'maker', 'value']";
    site.write("Cargo.toml", &format!("[workspace]\n{members}\nresolver = '3'\n"));
    site.write(
        "maker/Cargo.toml",
        &manifest("maker", "value = { path = '../value' }\n[lib]\nproc-macro = true"),
    );
    site.write(
        "maker/src/lib.rs",
        "#[proc_macro]\npub fn made(_: proc_macro::TokenStream) -> proc_macro::TokenStream {\n    \
         format!(\"{}u8\", value::VALUE).parse().unwrap()\n}\n",
    );
    site.write("value/Cargo.toml", &manifest("value", ""));
    site.write("value/src/lib.rs", "pub const VALUE: u8 = 20;\n");
    site.write("shared/Cargo.toml", &manifest("shared", "maker = { path = '../maker' }"));
    site.write(
        "shared/build.rs",
        "fn main() {\n    println!(\"cargo::rerun-if-changed=word.txt\");\n    \
         println!(\"cargo::rustc-env=WORD={}\", std::fs::read_to_string(\"word.txt\").unwrap());\n}\n",
    );
    site.write("shared/word.txt", "1");
    site.write(
        "shared/src/lib.rs",
        "pub fn number() -> u8 { maker::made!() + env!(\"WORD\").parse::<u8>().unwrap() }\n",
    );
    let (mut api, mut admin) = site.builders();
    shows(&mut api, &[], 21);
    shows(&mut admin, &[], 21 + ADMIN_ADDS);
    let word = [site.write("shared/word.txt", "2")];
    shows(&mut api, &word, 22);
    shows(&mut admin, &word, 22 + ADMIN_ADDS);
    let value = [site.write("value/src/lib.rs", "pub const VALUE: u8 = 30;\n")];
    shows(&mut admin, &value, 32 + ADMIN_ADDS);
    shows(&mut api, &value, 32);
    // One app edits, while the other has not yet been built after the edit before.
    site.write("value/src/lib.rs", "pub const VALUE: u8 = 40;\n");
    shows(&mut api, &value, 42);
    site.write("shared/word.txt", "3");
    shows(&mut api, &word, 43);
    let both = [word[0].clone(), value[0].clone()];
    shows(&mut admin, &both, 43 + ADMIN_ADDS);
    site.write("shared/word.txt", "4");
    shows(&mut admin, &word, 44 + ADMIN_ADDS);
    shows(&mut api, &word, 44);
}

/// What the sources of a [`Site`] say at present.
struct Present {
    shared: Option<u8>,
    part: Option<u8>,
    api: Option<u8>,
    admin: Option<u8>,
}

impl Present {
    fn shared(&self) -> Option<i32> {
        Some(i32::from(self.shared?) + i32::from(self.part.unwrap_or(0)))
    }

    fn write(&self, site: &Site) {
        let number = self.shared.map_or_else(|| "none".to_owned(), |number| number.to_string());
        let part = if self.part.is_some() { ("mod part;\n", "part::PART") } else { ("", "0") };
        let text = format!("{}pub fn number() -> u8 {{ {number} + {} }}\n", part.0, part.1);
        if std::fs::read_to_string(site.path("shared/src/lib.rs")).unwrap() != text {
            site.write("shared/src/lib.rs", &text);
        }
    }
}

/// Edits and builds at random for so many steps.
fn wander(seed: u64, steps_count: usize) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let site = Site::new();
    let old = SystemTime::now() - Duration::from_secs(3600);
    let mut present = Present { shared: Some(1), part: None, api: Some(0), admin: Some(100) };
    let (mut api, mut admin) = site.builders();
    let mut pending: [Vec<PathBuf>; 2] = Default::default();
    let lib = site.path("shared/src/lib.rs");
    let part = site.path("shared/src/part.rs");
    for step in 0..steps_count {
        let number = u8::try_from(1 + next(20)).unwrap();
        let done = match next(14) {
            0..=2 => {
                present.shared = Some(number);
                present.write(&site);
                vec![lib.clone()]
            }
            3 => {
                present.shared = None;
                present.write(&site);
                vec![lib.clone()]
            }
            4 => {
                present.shared = Some(number);
                present.part = None;
                let text = format!("pub fn number() -> u8 {{ {number} + 0 }}\n");
                replace_by_older(&lib, &text, old + Duration::from_secs(next(3000)));
                vec![lib.clone()]
            }
            5 => {
                present.part = Some(number);
                site.write("shared/src/part.rs", &format!("pub const PART: u8 = {number};\n"));
                present.write(&site);
                vec![part.clone(), lib.clone()]
            }
            6 => {
                let name = ["api", "admin"][usize::try_from(next(2)).unwrap()];
                let is_good = next(3) > 0;
                let adds = number + if name == "admin" { 100 } else { 0 };
                let text = if is_good { format!("shared::number() + {adds}") } else { "none".into() };
                *if name == "api" { &mut present.api } else { &mut present.admin } = is_good.then_some(adds);
                vec![site.write(&format!("{name}/src/main.rs"), &main_with(&text))]
            }
            7 => {
                // As at a new start of devhost, which is told of nothing.
                drop((api, admin));
                (api, admin) = site.builders();
                pending = Default::default();
                Vec::new()
            }
            what => {
                let is_api = what % 2 == 0;
                let (builder, adds) =
                    if is_api { (&mut api, present.api) } else { (&mut admin, present.admin) };
                let changed = std::mem::take(&mut pending[usize::from(!is_api)]);
                let wanted = present.shared().zip(adds).map(|(number, adds)| number + i32::from(adds));
                match wanted {
                    Some(number) => shows(builder, &changed, number),
                    None => drop(build_error(builder, &changed)),
                }
                println!("seed {seed}, step {step}: {wanted:?} by {:?}", builder.last_report());
                Vec::new()
            }
        };
        if !done.is_empty() {
            println!("seed {seed}, step {step}: {done:?}");
        }
        pending.iter_mut().for_each(|files| files.extend(done.iter().cloned()));
    }
}

#[test]
fn random_edits_and_builds_of_two_apps_show_the_present_code() {
    for seed in 1..=2 {
        wander(seed, 40);
    }
}

#[test]
#[ignore = "takes an hour"]
fn many_random_edits_and_builds_of_two_apps_show_the_present_code() {
    for seed in 100..200 {
        wander(seed, 60);
    }
}

#[test]
fn a_build_script_of_one_app_runs_with_what_was_compiled_for_the_other() {
    let site = Site::new();
    let more = "shared = { path = '../shared' }\n[build-dependencies]\nshared = { path = '../shared' }";
    site.write("admin/Cargo.toml", &manifest("admin", more));
    site.write(
        "admin/build.rs",
        "fn main() {\n    println!(\"cargo::rerun-if-changed=build.rs\");\n    \
         println!(\"cargo::rustc-env=NUMBER={}\", shared::number());\n}\n",
    );
    site.write("admin/src/main.rs", &main_with("shared::number() + env!(\"NUMBER\").parse::<u8>().unwrap()"));
    let (mut api, mut admin) = site.builders();
    shows(&mut api, &[], 1);
    shows(&mut admin, &[], 2);
    for number in 2..4 {
        let changed = [site.number(number)];
        shows(&mut api, &changed, i32::from(number));
        shows(&mut admin, &changed, 2 * i32::from(number));
    }
}

#[test]
fn apps_with_the_same_dependencies_have_one_library_of_them() {
    let site = Site::new();
    site.write(
        ".cargo/config.toml",
        "[source.crates-io]\nreplace-with = 'vendored'\n[source.vendored]\ndirectory = 'vendor'\n",
    );
    for name in ["dep", "other"] {
        site.write(&format!("vendor/{name}/.cargo-checksum.json"), "{\"files\":{}}");
        site.write(&format!("vendor/{name}/Cargo.toml"), &manifest(name, "").replace("0.1.0", "1.0.0"));
        site.write(&format!("vendor/{name}/src/lib.rs"), "pub fn zero() -> u8 { 0 }\n");
    }
    let uses = "shared = { path = '../shared' }\ndep = '1'";
    for name in ["api", "admin"] {
        site.write(&format!("{name}/Cargo.toml"), &manifest(name, uses));
        site.write(&format!("{name}/src/main.rs"), &main_with("shared::number() + dep::zero()"));
    }
    let (mut api, mut admin) = site.builders();
    let preload = built(&mut api, &[]).preload;
    assert_eq!(preload.len(), 2, "the standard library, and theirs");
    assert_eq!(built(&mut admin, &[]).preload, preload);
    assert_eq!(site.compiled_count("devhost_deps"), 1);
    let changed = [site.write("admin/Cargo.toml", &manifest("admin", &format!("{uses}\nother = '1'")))];
    assert_ne!(built(&mut admin, &changed).preload, preload, "it needs more");
    assert_eq!(built(&mut api, &changed).preload, preload);
}
