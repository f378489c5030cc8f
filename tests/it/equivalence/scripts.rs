//! Build scripts run without cargo: what they read, print and generate reaches the code as if cargo had run
//! them. A case tells the builder what the watcher would, and demands the new response at once.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::cases::{HOUR, app_and_part, main_of, manifest};
use super::site::{Seen, Site};
use crate::support::SOON;

/// The app, and the crate `part` with a build script: `lines` are in its `main`, which has `value` (the
/// content of `ws/value.txt`) and `out` (where it writes).
fn site(part: &str, lines: &str) -> Site {
    let site = app_and_part(part);
    let script = format!(
        "fn main() {{
            let value = std::fs::read_to_string(\"../value.txt\").unwrap();
            let out = std::path::PathBuf::from(std::env::var_os(\"OUT_DIR\").unwrap());
            {lines}
        }}"
    );
    site.write("ws/part/build.rs", &script);
    site.write("ws/value.txt", "1");
    site
}

#[track_caller]
fn is_replayed(site: &Site) {
    assert!(site.is_replayed(), "{}", site.reason);
}

/// Changes a manifest: devhost then knows nothing about the package except that cargo has run.
fn ask_cargo(site: &Site, round: u32) -> PathBuf {
    let text = manifest("app", "[dependencies]\npart = { path = '../part' }\n");
    site.write("ws/app/Cargo.toml", &format!("{text}# {round}\n"))
}

fn part_with(own: u32) -> String {
    format!(
        "include!(concat!(env!(\"OUT_DIR\"), \"/made.rs\"));
        pub fn shown() -> String {{ format!(\"{{MADE}} {{}} {own}\", env!(\"SET\")) }}"
    )
}

/// Like shadow-rs, vergen and built.
#[test]
pub(super) fn values_that_a_script_sets_at_every_build_reach_the_code() {
    let mut site = site(
        &part_with(1),
        "println!(\"cargo:rustc-env=SET={value}\");
        std::fs::write(out.join(\"made.rs\"), format!(\"const MADE: u32 = {value};\")).unwrap();",
    );
    let part = site.path("ws/part/src/lib.rs");
    site.shows("1 1 1", &[]);
    for round in 2..5 {
        site.write("ws/value.txt", &round.to_string());
        site.write("ws/part/src/lib.rs", &part_with(round));
        site.shows(&format!("{round} {round} {round}"), std::slice::from_ref(&part));
        is_replayed(&site);
        assert_eq!(site.clean_build(), Seen::Response(format!("{round} {round} {round}")));
    }
    // The script is another crate's business.
    let main = main_of(&site, "", "format!(\"{} new\", part::shown())");
    site.shows("4 4 4 new", std::slice::from_ref(&main));
    is_replayed(&site);
    // A file that no compiler reads.
    site.write("ws/value.txt", "5");
    let notes = site.write("ws/part/notes.txt", "");
    site.shows("5 5 4 new", std::slice::from_ref(&notes));
    is_replayed(&site);
    site.write("ws/value.txt", "6");
    let manifest = ask_cargo(&site, 1);
    site.write("ws/part/src/lib.rs", &part_with(6));
    site.shows("6 6 6 new", &[manifest, part]);
    assert!(!site.is_replayed());
    site.write("ws/value.txt", "7");
    let part = site.write("ws/part/src/lib.rs", &part_with(7));
    site.shows("7 7 7 new", &[part]);
    is_replayed(&site);
    site.restart();
    site.write("ws/part/src/lib.rs", &part_with(8));
    site.shows("7 7 8 new", &[]);
}

#[test]
pub(super) fn what_a_script_reads_is_read_again_without_cargo() {
    let mut site = site(
        "pub fn shown() -> &'static str { env!(\"SET\") }",
        "println!(\"cargo::rerun-if-changed=build.rs\");
        println!(\"cargo::rerun-if-changed=../value.txt\");
        println!(\"cargo::rerun-if-changed=names\");
        let names = std::fs::read_dir(\"names\").unwrap().count();
        println!(\"cargo::rustc-env=SET={value} {names}\");",
    );
    let value = site.path("ws/value.txt");
    site.write("ws/part/names/one", "");
    site.shows("1 1", &[]);
    assert!(site.sources.contains(&site.path("ws/part/../value.txt")), "{:?}", site.sources);
    for round in 2..4 {
        site.write("ws/value.txt", &round.to_string());
        // cargo would not see it.
        site.set_modified("ws/value.txt", SystemTime::now() - HOUR);
        site.shows(&format!("{round} 1"), std::slice::from_ref(&value));
        is_replayed(&site);
    }
    let deep = site.write("ws/part/names/two/deep", "");
    site.shows("3 2", &[deep]);
    is_replayed(&site);
    // Nobody has reported it.
    site.write("ws/value.txt", "4");
    site.shows("4 2", &[]);
    is_replayed(&site);
    // It is no longer an input once the script does not name it.
    site.write("ws/part/build.rs", "fn main() { println!(\"cargo::rustc-env=SET=fixed\"); }");
    let build = site.path("ws/part/build.rs");
    site.shows("fixed", &[build]);
}

/// Like scripts that only name the directory of migrations or templates read by a macro.
#[test]
pub(super) fn what_only_a_macro_reads_is_read_again_with_the_inputs_of_a_script() {
    let mut site =
        site("maker::names!();", "println!(\"cargo:rerun-if-changed=names\"); drop((value, out));");
    site.write("ws/Cargo.toml", "[workspace]\nresolver = '3'\nmembers = ['app', 'part', 'maker']\n");
    site.write("ws/part/Cargo.toml", &manifest("part", "[dependencies]\nmaker = { path = '../maker' }\n"));
    site.write("ws/maker/Cargo.toml", &manifest("maker", "[lib]\nproc-macro = true\n"));
    let maker = "#[proc_macro] pub fn names(_: proc_macro::TokenStream) -> proc_macro::TokenStream {
        let names = std::fs::read_dir(std::env::var(\"CARGO_MANIFEST_DIR\").unwrap() + \"/names\").unwrap();
        let mut names: Vec<_> = names.map(|name| name.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        format!(\"pub fn shown() -> &'static str {{ {:?} }}\", names.join(\"+\")).parse().unwrap()
    }";
    site.write("ws/maker/src/lib.rs", maker);
    site.write("ws/part/names/a", "");
    site.shows("a", &[]);
    let added = site.write("ws/part/names/b", "");
    site.shows("a+b", &[added]);
    is_replayed(&site);
    let removed = site.remove("ws/part/names/a");
    site.shows("b", &[removed]);
    is_replayed(&site);
}

const READER: &str = "#[proc_macro] pub fn made(_: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let text = std::fs::read_to_string(std::env::var(\"OUT_DIR\").unwrap() + \"/made\").unwrap();
    format!(\"pub fn shown() -> &'static str {{ {text:?} }}\").parse().unwrap()
}";

/// A named input is missing, so cargo runs it every time.
#[test]
pub(super) fn what_a_script_makes_every_time_reaches_a_macro() {
    let mut site = site(
        "maker::made!();",
        "println!(\"cargo:rerun-if-changed=never-there\"); std::fs::write(out.join(\"made\"), value).unwrap();",
    );
    site.write("ws/Cargo.toml", "[workspace]\nresolver = '3'\nmembers = ['app', 'part', 'maker']\n");
    site.write("ws/part/Cargo.toml", &manifest("part", "[dependencies]\nmaker = { path = '../maker' }\n"));
    site.write("ws/maker/Cargo.toml", &manifest("maker", "[lib]\nproc-macro = true\n"));
    site.write("ws/maker/src/lib.rs", READER);
    site.shows("1", &[]);
    for round in 2..6 {
        // Twice the same, so the package is left alone.
        let value = round / 2;
        site.write("ws/value.txt", &value.to_string());
        let main = main_of(&site, "", &format!("format!(\"{{}} {round}\", part::shown())"));
        site.shows(&format!("{value} {round}"), std::slice::from_ref(&main));
        is_replayed(&site);
    }
}

/// To cargo, nothing in the package is newer than its own run of the script.
#[test]
fn cargo_runs_a_script_again_that_was_run_without_it() {
    let mut site = site(
        "pub fn shown() -> String { format!(\"{}\", env!(\"SET\")) }",
        "let own = std::fs::read_to_string(\"own.txt\").unwrap();
        println!(\"cargo:rustc-env=SET={value} {own}\"); drop(out);",
    );
    let own = site.write("ws/part/own.txt", "1");
    site.shows("1 1", &[]);
    for round in 2..4 {
        site.write("ws/value.txt", &round.to_string());
        site.write("ws/part/own.txt", &round.to_string());
        site.set_modified("ws/part/own.txt", SystemTime::now() - HOUR);
        site.shows(&format!("{round} {round}"), std::slice::from_ref(&own));
        is_replayed(&site);
        let manifest = ask_cargo(&site, round);
        site.shows(&format!("{round} {round}"), &[manifest]);
        assert!(!site.is_replayed());
    }
}

/// It may have generated only half of something, without cargo knowing.
#[test]
pub(super) fn cargo_runs_a_script_again_that_was_given_up_without_it() {
    let mut site = site(
        "pub fn shown() -> String { format!(\"{}\", env!(\"SET\")) }",
        "let own = std::fs::read_to_string(\"own.txt\").unwrap();
        println!(\"cargo:rustc-env=SET={value} {own}\"); drop(out);
        if std::path::Path::new(\"../hang\").exists() {
            std::fs::write(\"../hangs\", \"\").unwrap();
            std::thread::sleep(std::time::Duration::from_secs(600));
        }",
    );
    let own = site.write("ws/part/own.txt", "1");
    site.shows("1 1", &[]);
    for round in 2..4 {
        site.write("ws/part/own.txt", &round.to_string());
        site.set_modified("ws/part/own.txt", SystemTime::now() - HOUR);
        site.write("ws/hang", "");
        let until = wait_for(site.path("ws/hangs"));
        assert!(!site.begin_build(std::slice::from_ref(&own), until));
        site.remove("ws/hang");
        site.remove("ws/hangs");
        if round == 2 {
            let manifest = ask_cargo(&site, round);
            site.shows(&format!("1 {round}"), &[manifest]);
        } else {
            site.restart();
            site.shows(&format!("1 {round}"), &[]);
        }
        assert!(!site.is_replayed());
    }
}

#[test]
fn what_a_script_cannot_change_without_cargo_is_left_to_cargo() {
    let mut site = site(
        "pub fn shown() -> String {
            format!(\"{} {}\", cfg!(chosen), option_env!(\"SET\").unwrap_or(\"none\"))
        }",
        "println!(\"cargo::rustc-check-cfg=cfg(chosen)\");
        match value.as_str() {
            \"1\" => {}
            \"2\" => println!(\"cargo::rustc-cfg=chosen\"),
            \"3\" => println!(\"cargo::rustc-env=SET=set\"),
            _ => panic!(\"the script has failed on purpose\"),
        }
        drop(out);",
    );
    let notes = site.write("ws/part/notes.txt", "");
    site.shows("false none", &[]);
    for (value, shown) in [("2", "true none"), ("3", "false set"), ("1", "false none")] {
        site.write("ws/value.txt", value);
        site.write("ws/part/notes.txt", value);
        site.shows(shown, std::slice::from_ref(&notes));
        assert!(site.reason.contains("build script of `part`"), "{}", site.reason);
        site.write("ws/part/notes.txt", "as before");
        site.shows(shown, std::slice::from_ref(&notes));
        is_replayed(&site);
    }
    site.write("ws/value.txt", "4");
    site.write("ws/part/notes.txt", "again");
    site.fails("the script has failed on purpose", std::slice::from_ref(&notes));
    site.write("ws/value.txt", "3");
    site.write("ws/part/notes.txt", "and again");
    site.shows("false set", &[notes]);
}

/// Its output goes to packages that are not compiled for it here.
#[test]
fn a_script_that_speaks_to_other_scripts_is_left_to_cargo() {
    let mut site = site(
        "pub fn shown() -> &'static str { env!(\"SET\") }",
        "println!(\"cargo::metadata=value={value}\"); println!(\"cargo::rustc-env=SET={value}\"); drop(out);",
    );
    site.write("ws/part/Cargo.toml", &manifest("part", "links = 'part'\n"));
    let script =
        "fn main() { println!(\"cargo::rustc-env=GIVEN={}\", std::env::var(\"DEP_PART_VALUE\").unwrap()); }";
    site.write("ws/app/build.rs", script);
    let main = main_of(&site, "", "format!(\"{} {}\", part::shown(), env!(\"GIVEN\"))");
    let notes = site.write("ws/part/notes.txt", "");
    site.shows("1 1", &[]);
    site.write("ws/value.txt", "2");
    site.write("ws/part/notes.txt", "2");
    site.shows("2 2", &[notes]);
    assert!(!site.is_replayed());
    main_of(&site, "", "format!(\"{} {} new\", part::shown(), env!(\"GIVEN\"))");
    site.shows("2 2 new", &[main]);
    is_replayed(&site);
}

/// Like scripts that count builds, or generate code beside the code.
#[test]
fn a_script_that_writes_into_its_package_is_run_every_time() {
    let mut site = site(
        "mod made; pub fn shown() -> u32 { made::MADE }",
        "std::fs::write(\"src/made.rs\", format!(\"pub const MADE: u32 = {value};\")).unwrap(); drop(out);",
    );
    site.write("ws/part/src/made.rs", "pub const MADE: u32 = 0;");
    site.shows("1", &[]);
    for round in 2..5 {
        site.write("ws/value.txt", &round.to_string());
        let main = main_of(&site, "", &format!("part::shown() + {round}00"));
        site.shows(&format!("{round}0{round}"), &[main]);
        is_replayed(&site);
    }
}

#[test]
fn a_script_finds_what_cargo_gives_it() {
    let mut site = site(
        "pub fn shown() -> u8 { 0 }",
        "drop(out);
        let mut text = String::new();
        let mut say = |what: String| { text.push_str(&what); text.push('\\n'); };
        let mut variables: Vec<_> = std::env::vars_os().collect();
        variables.sort();
        for (name, value) in &variables {
            if name != \"CARGO_MAKEFLAGS\" { say(format!(\"{name:?}={value:?}\")); }
        }
        say(format!(\"{:?}\", std::env::current_dir().unwrap()));
        say(format!(\"{:?}\", std::env::current_exe().unwrap().parent().unwrap()));
        say(format!(\"{:?}\", std::env::args_os().collect::<Vec<_>>()));
        let mut input = String::new();
        std::io::Read::read_to_string(&mut std::io::stdin(), &mut input).unwrap();
        say(format!(\"{input:?}\"));
        let flags = std::env::var(\"CARGO_MAKEFLAGS\").unwrap();
        let pipe = flags.split(\"--jobserver-auth=\").nth(1).unwrap();
        let (reader, writer) = pipe.split_once(',').unwrap();
        for descriptor in [reader, writer] {
            assert!(std::path::Path::new(&format!(\"/proc/self/fd/{descriptor}\")).exists(), \"{flags}\");
        }
        say(flags.replace(reader, \"R\").replace(writer, \"W\"));
        std::fs::write(format!(\"../seen-{value}\"), text).unwrap();",
    );
    let notes = site.write("ws/part/notes.txt", "");
    site.write("ws/.cargo/config.toml", "[env]\nFROM_CONFIGURATION = 'yes'\n[build]\njobs = 2\n");
    site.shows("0", &[]);
    site.write("ws/value.txt", "2");
    site.write("ws/part/notes.txt", "2");
    site.shows("0", &[notes]);
    is_replayed(&site);
    let seen = |number: u8| std::fs::read_to_string(site.path(&format!("ws/seen-{number}"))).unwrap();
    assert!(seen(1).contains("FROM_CONFIGURATION") && seen(1).contains("CARGO_CFG_UNIX"), "{}", seen(1));
    assert_eq!(seen(1), seen(2));
}

#[test]
fn a_script_that_is_given_up_ends_and_is_run_again() {
    let mut site = site(
        "pub fn shown() -> &'static str { env!(\"SET\") }",
        "drop(out);
        if value == \"2\" {
            std::fs::write(\"../pid.new\", std::process::id().to_string()).unwrap();
            std::fs::rename(\"../pid.new\", \"../pid\").unwrap();
            std::thread::sleep(std::time::Duration::from_secs(600));
        }
        println!(\"cargo::rustc-env=SET={value}\");",
    );
    let notes = site.write("ws/part/notes.txt", "");
    site.shows("1", &[]);
    site.write("ws/value.txt", "2");
    site.write("ws/part/notes.txt", "2");
    let pid = site.path("ws/pid");
    let until = wait_for(pid.clone());
    assert!(!site.begin_build(std::slice::from_ref(&notes), until));
    let pid = std::fs::read_to_string(pid).unwrap();
    let process = Path::new("/proc").join(pid);
    site.write("ws/value.txt", "3");
    // Nothing else has changed since.
    site.shows("3", &[]);
    is_replayed(&site);
    assert!(!process.exists(), "the script outlives its build");
}

#[test]
fn a_script_is_run_again_whatever_was_removed_of_what_was_built() {
    let mut site = site(
        &part_with(1),
        "println!(\"cargo:rustc-env=SET={value}\");
        std::fs::write(out.join(\"made.rs\"), format!(\"const MADE: u32 = {value};\")).unwrap();",
    );
    let notes = site.write("ws/part/notes.txt", "");
    site.shows("1 1 1", &[]);
    for (value, part) in [(2, "scripts"), (3, "bin"), (4, "debug/build")] {
        std::fs::remove_dir_all(site.path("ws/target/devhost").join(part)).unwrap();
        for value in [value.to_string(), format!("{value}0")] {
            site.write("ws/value.txt", &value);
            site.write("ws/part/notes.txt", &value);
            site.shows(&format!("{value} {value} 1"), std::slice::from_ref(&notes));
        }
        is_replayed(&site);
    }
}

async fn wait_for(path: PathBuf) {
    let begun = Instant::now();
    while !path.exists() {
        assert!(begun.elapsed() < SOON, "{} never comes", path.display());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn warnings_of_a_script_are_those_of_its_last_run() {
    let mut site =
        site("pub fn shown() -> u8 { 0 }", "println!(\"cargo::warning=the value is {value}\"); drop(out);");
    let notes = site.write("ws/part/notes.txt", "");
    let said = |site: &Site| -> Vec<String> { site.warnings.iter().map(|one| one.message.clone()).collect() };
    site.shows("0", &[]);
    assert_eq!(said(&site), ["part@0.1.0: the value is 1"]);
    site.write("ws/value.txt", "2");
    site.write("ws/part/notes.txt", "2");
    site.shows("0", &[notes]);
    is_replayed(&site);
    assert_eq!(said(&site), ["part@0.1.0: the value is 2"]);
    assert!(site.warnings[0].rendered.contains("part@0.1.0: the value is 2"), "{:?}", site.warnings);
    let main = main_of(&site, "", "1");
    site.shows("1", &[main]);
    assert_eq!(said(&site), ["part@0.1.0: the value is 2"]);
}
