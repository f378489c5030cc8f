//! Each way in which a build shorter than cargo's could leave old code in place, alone and by name. A case
//! tells the builder what the watcher would, and demands the new response at once.

use std::io::{BufRead, BufReader};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use devhost_build::Weakness;
use devhost_model::AppKind;

use super::scripts;
use super::site::{Seen, Site, is_noticed};
use crate::support::{Devhost, SOON, scratch, server, write_file};

pub(super) const HOUR: Duration = Duration::from_secs(3_600);

pub(super) fn manifest(name: &str, more: &str) -> String {
    format!("[package]\nname = '{name}'\nversion = '0.1.0'\nedition = '2024'\n{more}")
}

pub(super) fn site(members: &str, dependencies: &str) -> Site {
    let site = Site::new(AppKind::Plain);
    site.write("ws/Cargo.toml", &format!("[workspace]\nresolver = '3'\nmembers = [{members}]\n"));
    site.write("ws/app/Cargo.toml", &manifest("app", &format!("[dependencies]\n{dependencies}")));
    site
}

/// The app alone; its `main` prints the expression.
fn app(lines: &str, shown: &str) -> Site {
    let site = site("'app'", "");
    main_of(&site, lines, shown);
    site
}

/// The app, printing `part::shown()` of the crate `part`.
pub(super) fn app_and_part(part: &str) -> Site {
    let site = site("'app', 'part'", "part = { path = '../part' }\n");
    main_of(&site, "", "part::shown()");
    site.write("ws/part/Cargo.toml", &manifest("part", ""));
    site.write("ws/part/src/lib.rs", part);
    site
}

pub(super) fn main_of(site: &Site, lines: &str, shown: &str) -> PathBuf {
    let text = format!(
        "{lines}
        fn main() {{
            use std::io::Write;
            print!(\"{{}}\", {shown});
            std::io::stdout().flush().unwrap();
        }}\n"
    );
    site.write("ws/app/src/main.rs", &text)
}

#[test]
fn a_module_moves_between_its_two_places() {
    let mut site = app("mod part;", "part::SHOWN");
    let file = site.write("ws/app/src/part.rs", "pub const SHOWN: u8 = 1;");
    site.shows("1", &[]);
    let moved = site.rename("ws/app/src/part.rs", "ws/app/src/part/mod.rs");
    site.shows("1", &moved);
    let other = site.write("ws/app/src/part/mod.rs", "pub const SHOWN: u8 = 2;");
    site.shows("2", std::slice::from_ref(&other));
    // The outcome depends on a file that no compiler has read yet.
    site.write("ws/app/src/part.rs", "pub const SHOWN: u8 = 3;");
    site.fails("E0761", std::slice::from_ref(&file));
    site.remove("ws/app/src/part/mod.rs");
    site.shows("3", &[other]);
    site.remove("ws/app/src/part.rs");
    site.fails("E0583", std::slice::from_ref(&file));
    site.write("ws/app/src/part.rs", "pub const SHOWN: u8 = 4;");
    site.shows("4", &[file]);
}

#[test]
fn a_new_module_and_a_new_included_file_are_read_from_then_on() {
    let mut site = app("", "0");
    site.shows("0", &[]);
    let lines =
        "#[path = \"../elsewhere/part.rs\"] mod part; const TEXT: &str = include_str!(\"../../text.txt\");";
    let main = main_of(&site, lines, "format!(\"{} {TEXT}\", part::SHOWN)");
    let part = site.write("ws/app/elsewhere/part.rs", "pub const SHOWN: u8 = 1;");
    let text = site.write("ws/text.txt", "one");
    site.shows("1 one", &[main, part.clone()]);
    site.write("ws/text.txt", "two");
    site.shows("1 two", std::slice::from_ref(&text));
    site.write("ws/app/elsewhere/part.rs", "pub const SHOWN: u8 = 2;");
    site.shows("2 two", &[part]);
    site.remove("ws/text.txt");
    site.fails("text.txt", std::slice::from_ref(&text));
    site.write("ws/text.txt", "two");
    site.shows("2 two", &[text]);
}

#[test]
fn a_symbolic_link_counts_as_what_it_leads_to() {
    let mut site = app("mod part; mod below;", "format!(\"{} {}\", part::SHOWN, below::SHOWN)");
    let one = site.write("ws/app/linked/one.rs", "pub const SHOWN: u8 = 1;");
    site.write("ws/app/linked/two.rs", "pub const SHOWN: u8 = 2;");
    site.write("ws/app/linked/a/mod.rs", "pub const SHOWN: char = 'a';");
    site.write("ws/app/linked/b/mod.rs", "pub const SHOWN: char = 'b';");
    let link = site.link("ws/app/src/part.rs", "../linked/one.rs");
    site.link("ws/app/src/below", "../linked/a");
    site.shows("1 a", &[]);
    site.link("ws/app/src/part.rs", "../linked/two.rs");
    site.shows("2 a", std::slice::from_ref(&link));
    // The target is older than everything built.
    site.set_modified("ws/app/linked/one.rs", SystemTime::now() - HOUR);
    site.link("ws/app/src/part.rs", "../linked/one.rs");
    site.shows("1 a", std::slice::from_ref(&link));
    site.write("ws/app/linked/one.rs", "pub const SHOWN: u8 = 3;");
    site.shows("3 a", &[one, link.clone()]);
    site.link("ws/app/src/below", "../linked/b");
    site.shows("3 b", &[site.path("ws/app/src/below/mod.rs")]);
    site.remove("ws/app/src/part.rs");
    site.write("ws/app/src/part.rs", "pub const SHOWN: u8 = 4;");
    site.shows("4 b", &[link]);
}

#[test]
fn variables_that_the_configuration_sets_reach_the_code() {
    let mut site = app("", "option_env!(\"EQUIVALENCE_CASE\").unwrap_or(\"none\")");
    site.shows("none", &[]);
    let config = site.write("ws/.cargo/config.toml", "[env]\nEQUIVALENCE_CASE = 'one'\n");
    site.shows("one", std::slice::from_ref(&config));
    site.write("ws/.cargo/config.toml", "[env]\nEQUIVALENCE_CASE = 'two'\n");
    site.shows("two", std::slice::from_ref(&config));
    let main = main_of(&site, "", "env!(\"EQUIVALENCE_CASE\")");
    site.shows("two", std::slice::from_ref(&main));
    site.remove("ws/.cargo/config.toml");
    site.fails("EQUIVALENCE_CASE", std::slice::from_ref(&config));
    site.write("ws/.cargo/config.toml", "[env]\nEQUIVALENCE_CASE = 'three'\n");
    site.restart();
    site.shows("three", &[]);
}

/// The environment belongs to the process, so this case runs devhost itself.
#[test]
fn variables_of_the_environment_reach_the_code_when_devhost_starts_again() {
    let directory = scratch();
    let write = |path: &str, text: &str| write_file(directory.path().join(path), text);
    write("Cargo.toml", &manifest("app", "[workspace]\n"));
    write("src/main.rs", &server(ANSWER));
    let serve = |variable: Option<&str>| {
        Devhost::start_with(directory.path(), &["run", "--port", "0"], |command| {
            match variable {
                Some(value) => command.env("EQUIVALENCE_CASE", value),
                None => command.env_remove("EQUIVALENCE_CASE"),
            };
        })
    };
    for variable in [Some("one"), Some("two"), None] {
        let shown = variable.unwrap_or("none");
        write("src/main.rs", &server(ANSWER));
        let devhost = serve(variable);
        devhost.wait_ready(1);
        assert_eq!(devhost.get("/").body, format!("before {shown}"));
        write("src/main.rs", &server(&ANSWER.replace("before", "after")));
        devhost.wait_ready(2);
        assert_eq!(devhost.get("/").body, format!("after {shown}"));
        devhost.stop();
    }
}

/// The app's answer, as an expression.
const ANSWER: &str = r#"format!("before {}", option_env!("EQUIVALENCE_CASE").unwrap_or("none"))"#;

#[test]
fn manifests_reach_the_code() {
    let mut site = app_and_part(
        "pub fn shown() -> String {
            format!(\"{} {} {}\", env!(\"CARGO_PKG_VERSION\"), cfg!(feature = \"extra\"), cfg!(debug_assertions))
        }",
    );
    let features = "[features]\nextra = []\n";
    let part = site.write("ws/part/Cargo.toml", &manifest("part", features));
    site.shows("0.1.0 false true", &[]);
    site.write("ws/part/Cargo.toml", &manifest("part", features).replace("0.1.0", "0.2.0"));
    site.shows("0.2.0 false true", std::slice::from_ref(&part));
    site.write("ws/part/Cargo.toml", &manifest("part", &format!("{features}default = ['extra']\n")));
    site.shows("0.1.0 true true", std::slice::from_ref(&part));
    site.write("ws/part/Cargo.toml", &manifest("part", features));
    let app = site.write(
        "ws/app/Cargo.toml",
        &manifest("app", "[dependencies]\npart = { path = '../part', features = ['extra'] }\n"),
    );
    site.shows("0.1.0 true true", &[app.clone(), part]);
    site.write("ws/app/Cargo.toml", &manifest("app", "[dependencies]\npart = { path = '../part' }\n"));
    let profile = "[profile.dev]\ndebug-assertions = false\n";
    let text = format!("[workspace]\nresolver = '3'\nmembers = ['app', 'part']\n{profile}");
    let workspace = site.write("ws/Cargo.toml", &text);
    site.shows("0.1.0 false false", &[app, workspace]);
    assert_eq!(site.clean_build(), Seen::Response("0.1.0 false false".into()));
}

#[test]
fn another_version_in_the_lock_file_is_another_dependency() {
    let mut site = site("'app'", "outer = '1'\n");
    main_of(&site, "", "outer::shown()");
    let config = "[source.crates-io]\nreplace-with = 'vendored'\n[source.vendored]\ndirectory = 'vendor'\n";
    site.write("ws/.cargo/config.toml", config);
    for version in ["1.0.0", "1.1.0"] {
        let directory = format!("ws/vendor/outer-{version}");
        site.write(&format!("{directory}/.cargo-checksum.json"), "{\"files\":{}}");
        site.write(&format!("{directory}/Cargo.toml"), &manifest("outer", "").replace("0.1.0", version));
        let text = format!("pub fn shown() -> &'static str {{ \"{version}\" }}");
        site.write(&format!("{directory}/src/lib.rs"), &text);
    }
    site.shows("1.1.0", &[]);
    let lock = site.path("ws/Cargo.lock");
    let newer = std::fs::read_to_string(&lock).unwrap();
    let older = newer.replace("1.1.0", "1.0.0");
    assert_ne!(newer, older);
    site.write("ws/Cargo.lock", &older);
    site.shows("1.0.0", std::slice::from_ref(&lock));
    site.write("ws/Cargo.lock", &newer);
    site.set_modified("ws/Cargo.lock", SystemTime::now() - HOUR);
    site.shows("1.1.0", std::slice::from_ref(&lock));
    site.write("ws/Cargo.lock", &older);
    site.restart();
    site.shows("1.0.0", &[]);
}

#[test]
fn flags_in_the_configuration_reach_the_code() {
    let mut site = app("", "cfg!(chosen)");
    site.shows("false", &[]);
    let flags = "[build]\nrustflags = ['--cfg', 'chosen']\n";
    let config = site.write("ws/.cargo/config.toml", flags);
    site.shows("true", std::slice::from_ref(&config));
    site.remove("ws/.cargo/config.toml");
    site.shows("false", std::slice::from_ref(&config));
    // The same file's old place, above the workspace.
    let above = site.write(".cargo/config", flags);
    let clean = site.clean_build();
    assert_eq!(clean, site.build(&[above]));
}

#[test]
fn what_the_configuration_includes_reaches_the_code() {
    let mut site = app("", "env!(\"INCLUDED\")");
    site.write("ws/.cargo/config.toml", "include = ['../settings/one.toml']\n");
    let value = |value: u8| format!("[env]\nINCLUDED = '{value}'\n");
    let file = site.write("ws/settings/one.toml", &value(1));
    site.shows("1", &[]);
    assert!(site.sources.contains(&file), "it is watched: {:?}", site.sources);
    site.write("ws/settings/one.toml", &value(2));
    site.shows("2", &[file]);
    // Nobody has reported the change.
    site.write("ws/settings/one.toml", &value(3));
    let main = main_of(&site, "", "format!(\"{} again\", env!(\"INCLUDED\"))");
    site.shows("3 again", &[main]);
}

#[test]
fn another_toolchain_is_taken_as_cargo_takes_it() {
    let mut site = app("", "1");
    site.shows("1", &[]);
    let file = site.write("ws/rust-toolchain.toml", "[toolchain]\npath = '/there/is/no/toolchain'\n");
    let expected = site.clean_build();
    let seen = site.build(std::slice::from_ref(&file));
    assert_eq!(seen.response(), expected.response(), "{seen:?}");
    site.remove("ws/rust-toolchain.toml");
    site.shows("1", &[file]);
}

const MAKER: &str = "
    #[proc_macro]
    pub fn make(_: proc_macro::TokenStream) -> proc_macro::TokenStream { inner::SHOWN.parse().unwrap() }
    mod inner;
";

#[test]
fn what_a_procedural_macro_is_made_of_reaches_its_users() {
    let mut site = app_and_part("pub fn shown() -> u8 { maker::make!() }");
    site.write("ws/Cargo.toml", "[workspace]\nresolver = '3'\nmembers = ['app', 'part', 'maker']\n");
    site.write("ws/part/Cargo.toml", &manifest("part", "[dependencies]\nmaker = { path = '../maker' }\n"));
    let more = "[lib]\nproc-macro = true\n[dependencies]\nhelper = { path = '../helper' }\n";
    site.write("ws/maker/Cargo.toml", &manifest("maker", more));
    site.write("ws/maker/src/lib.rs", MAKER);
    let inner = site.write("ws/maker/src/inner.rs", "pub const SHOWN: &str = helper::SHOWN;");
    site.write("ws/helper/Cargo.toml", &manifest("helper", ""));
    let helper = site.write("ws/helper/src/lib.rs", "pub const SHOWN: &str = \"1\";");
    site.shows("1", &[]);
    site.write("ws/helper/src/lib.rs", "pub const SHOWN: &str = \"2\";");
    site.shows("2", &[helper]);
    site.write("ws/maker/src/inner.rs", "pub const SHOWN: &str = \"3\";");
    site.shows("3", std::slice::from_ref(&inner));
    site.write("ws/maker/src/inner.rs", "pub const SHOWN: &str = \"no number\";");
    site.fails("part", std::slice::from_ref(&inner));
    site.write("ws/maker/src/inner.rs", "pub const SHOWN: &str = \"4\";");
    site.shows("4", &[inner]);
}

#[test]
fn what_a_build_script_reads_reaches_the_code() {
    let mut site = app_and_part(
        "pub fn shown() -> String {
            let generated = include_str!(concat!(env!(\"OUT_DIR\"), \"/names\"));
            format!(\"{generated} {} {}\", env!(\"SET\"), cfg!(chosen))
        }",
    );
    let script = "fn main() {
        println!(\"cargo::rerun-if-changed=names\");
        println!(\"cargo::rerun-if-changed=value.txt\");
        println!(\"cargo::rerun-if-changed=build.rs\");
        println!(\"cargo::rustc-check-cfg=cfg(chosen)\");
        let value = std::fs::read_to_string(\"value.txt\").unwrap_or_default();
        println!(\"cargo::rustc-env=SET={value}\");
        if value == \"two\" { println!(\"cargo::rustc-cfg=chosen\"); }
        let names = std::fs::read_dir(\"names\").unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        let out = std::path::PathBuf::from(std::env::var_os(\"OUT_DIR\").unwrap());
        std::fs::write(out.join(\"names\"), names.join(\"+\")).unwrap();
    }\n";
    let build = site.write("ws/part/build.rs", script);
    let value = site.write("ws/part/value.txt", "one");
    site.write("ws/part/names/a", "");
    site.shows("a one false", &[]);
    site.write("ws/part/value.txt", "two");
    site.shows("a two true", std::slice::from_ref(&value));
    let added = site.write("ws/part/names/b", "");
    site.shows("a+b two true", std::slice::from_ref(&added));
    site.remove("ws/part/names/b");
    site.shows("a two true", &[added]);
    site.write("ws/part/build.rs", &script.replace("join(\"+\")", "join(\"+\").to_uppercase()"));
    site.shows("A two true", std::slice::from_ref(&build));
    site.write("ws/part/value.txt", "three");
    site.set_modified("ws/part/value.txt", SystemTime::now() - HOUR);
    site.shows("A three false", std::slice::from_ref(&value));
    site.remove("ws/part/value.txt");
    site.shows("A  false", &[value]);
    site.write("ws/part/build.rs", &script.replace("SET={value}", "SET=fixed"));
    site.shows("a fixed false", &[build]);
}

/// A module of both, and a crate used by both: what looks like the code's own is also the script's.
#[test]
fn what_a_build_script_shares_with_the_code_reaches_both() {
    let mut site = app_and_part(
        "mod value; pub fn shown() -> String { format!(\"{} {}\", env!(\"SET\"), own()) }
        fn own() -> String { format!(\"{}{}\", value::VALUE, helper::VALUE) }",
    );
    let dependencies = |section: &str| format!("[{section}]\nhelper = {{ path = '../helper' }}\n");
    let more = dependencies("dependencies") + &dependencies("build-dependencies");
    let part = site.write("ws/part/Cargo.toml", &manifest("part", &more));
    site.write("ws/helper/Cargo.toml", &manifest("helper", ""));
    let helper = site.write("ws/helper/src/lib.rs", "pub const VALUE: u8 = 1;");
    let value = site.write("ws/part/src/value.rs", "pub const VALUE: u8 = 1;");
    let script = "#[path = \"src/value.rs\"] mod value;
        fn main() {
            println!(\"cargo::rerun-if-changed=build.rs\");
            println!(\"cargo::rustc-env=SET={}{}\", value::VALUE, helper::VALUE);
        }";
    site.write("ws/part/build.rs", script);
    site.shows("11 11", &[]);
    for round in 2..4_u8 {
        site.write("ws/part/src/value.rs", &format!("pub const VALUE: u8 = {round};"));
        site.shows(&format!("{round}{0} {round}{0}", round - 1), std::slice::from_ref(&value));
        site.write("ws/helper/src/lib.rs", &format!("pub const VALUE: u8 = {round};"));
        site.shows(&format!("{round}{round} {round}{round}"), std::slice::from_ref(&helper));
        // cargo runs, but has nothing to do for the script.
        site.write("ws/part/Cargo.toml", &format!("{}# {round}\n", manifest("part", &more)));
        site.shows(&format!("{round}{round} {round}{round}"), std::slice::from_ref(&part));
    }
}

#[test]
fn a_path_dependency_outside_of_the_workspace_is_code_too() {
    let mut site = app_and_part("pub fn shown() -> String { outside::generic(outside::VALUE) }");
    let dependency = "[dependencies]\noutside = { path = '../../outside' }\n";
    site.write("ws/part/Cargo.toml", &manifest("part", dependency));
    site.write("outside/Cargo.toml", &manifest("outside", ""));
    let text = "pub const VALUE: u8 = 1; mod inner;
        pub fn generic<T: std::fmt::Display>(value: T) -> String { format!(\"{value} {}\", inner::SHOWN) }";
    let root = site.write("outside/src/lib.rs", text);
    let inner = site.write("outside/src/inner.rs", "pub const SHOWN: u8 = 1;");
    site.shows("1 1", &[]);
    site.write("outside/src/inner.rs", "pub const SHOWN: u8 = 2;");
    site.shows("1 2", std::slice::from_ref(&inner));
    site.write("outside/src/lib.rs", &text.replace("u8 = 1", "u16 = 300"));
    site.shows("300 2", &[root]);
    site.write("outside/src/inner.rs", "pub const SHOWN: u8 = 3;");
    site.set_modified("outside/src/inner.rs", SystemTime::now() - HOUR);
    site.shows("300 3", std::slice::from_ref(&inner));
    site.write("outside/src/inner.rs", "pub const SHOWN: u8 = 4;");
    site.restart();
    site.shows("300 4", &[]);
}

/// The script's variant of a crate uses one that the app's variant does not.
#[test]
fn what_a_build_script_uses_by_a_feature_reaches_the_code() {
    let mut site = site("'app', 'far', 'near'", "");
    let more = "build = 'build.rs'\n[dependencies]\nfar = { path = '../far' }\nnear = { path = '../near' }\n\
                [build-dependencies]\nnear = { path = '../near', features = ['more'] }\n";
    site.write("ws/app/Cargo.toml", &manifest("app", more));
    let script = "fn main() {
        println!(\"cargo::rerun-if-changed=build.rs\");
        println!(\"cargo::rustc-env=SET={}\", near::value());
    }";
    site.write("ws/app/build.rs", script);
    main_of(&site, "", "format!(\"{} {} {}\", env!(\"SET\"), near::value(), far::VALUE)");
    let more = "[features]\nmore = ['dep:far']\n[dependencies]\nfar = { path = '../far', optional = true }\n";
    site.write("ws/near/Cargo.toml", &manifest("near", more));
    let near = "#[cfg(feature = \"more\")] pub fn value() -> u8 { far::VALUE }
        #[cfg(not(feature = \"more\"))] pub fn value() -> u8 { 0 }";
    site.write("ws/near/src/lib.rs", near);
    site.write("ws/far/Cargo.toml", &manifest("far", ""));
    let far = site.write("ws/far/src/lib.rs", "pub const VALUE: u8 = 1;");
    site.shows("1 0 1", &[]);
    site.write("ws/far/src/lib.rs", "pub const VALUE: u8 = 2;");
    site.shows("2 0 2", std::slice::from_ref(&far));
    site.write("ws/far/src/lib.rs", "pub const VALUE: u8 = 3;");
    site.shows("3 0 3", &[far]);
}

/// No call for the middle package is recorded, so only cargo can recompile it.
#[test]
fn a_crate_that_is_used_from_outside_of_the_workspace_reaches_the_code() {
    let mut site =
        app_and_part("pub fn shown() -> String { format!(\"{} {}\", outside::shown(), helper::VALUE) }");
    let more = "[dependencies]\noutside = { path = '../../outside' }\nhelper = { path = '../helper' }\n";
    site.write("ws/part/Cargo.toml", &manifest("part", more));
    let more = "[dependencies]\nhelper = { path = '../ws/helper' }\n";
    site.write("outside/Cargo.toml", &manifest("outside", more));
    site.write("outside/src/lib.rs", "pub const fn shown() -> u8 { helper::VALUE + helper::value() }");
    site.write("ws/helper/Cargo.toml", &manifest("helper", ""));
    let text = |value: u8| format!("pub const VALUE: u8 = {value}; pub const fn value() -> u8 {{ {value} }}");
    let helper = site.write("ws/helper/src/lib.rs", &text(1));
    site.shows("2 1", &[]);
    site.write("ws/helper/src/lib.rs", &text(2));
    site.shows("4 2", std::slice::from_ref(&helper));
    site.write("ws/helper/src/lib.rs", &text(3));
    site.shows("6 3", &[helper]);
}

/// A file saved while cargo prepares its run is read by that run. With the same time it can change once more.
#[test]
fn a_time_within_the_run_of_cargo_hides_no_later_change() {
    let mut site = app_and_part("pub fn shown() -> u8 { outside::VALUE }");
    let dependency = "[dependencies]\noutside = { path = '../../outside' }\n";
    site.write("ws/part/Cargo.toml", &manifest("part", dependency));
    site.write("outside/Cargo.toml", &manifest("outside", ""));
    let path = "outside/src/lib.rs";
    let file = site.write(path, "pub const VALUE: u8 = 1;");
    site.shows("1", &[]);
    for value in 2..5 {
        let before = SystemTime::now();
        // A time between the start of devhost's build and cargo's call of rustc.
        site.write(path, &format!("pub const VALUE: u8 = {value};"));
        site.set_modified(path, before);
        site.shows(&value.to_string(), std::slice::from_ref(&file));
        let time = file.metadata().unwrap().modified().unwrap();
        site.write(path, &format!("pub const VALUE: u8 = 10{value};"));
        site.set_modified(path, time);
        site.shows(&format!("10{value}"), std::slice::from_ref(&file));
    }
}

/// Code compiled earlier no longer belongs to a build, and is no reason to run cargo.
#[test]
fn edits_are_replayed_again_after_the_dependencies_changed() {
    let mut site = site("'app', 'part'", "");
    site.write("ws/part/Cargo.toml", &manifest("part", ""));
    site.write("ws/part/src/lib.rs", "pub fn shown() -> u8 { 0 }");
    let main = main_of(&site, "", "1");
    site.shows("1", &[]);
    let manifest =
        site.write("ws/app/Cargo.toml", &manifest("app", "[dependencies]\npart = { path = '../part' }\n"));
    site.shows("1", &[manifest]);
    main_of(&site, "", "part::shown() + 2");
    site.shows("2", std::slice::from_ref(&main));
    assert!(site.is_replayed(), "{}", site.reason);
    let part = site.write("ws/part/src/lib.rs", "pub fn shown() -> u8 { 1 }");
    site.shows("3", &[part]);
    assert!(site.is_replayed(), "{}", site.reason);
}

#[test]
fn clocks_of_files_decide_nothing() {
    let mut site = app("mod part;", "part::SHOWN");
    let path = "ws/app/src/part.rs";
    let file = site.write(path, "pub const SHOWN: u8 = 0;");
    site.shows("0", &[]);
    let now = SystemTime::now();
    let same = file.metadata().unwrap().modified().unwrap();
    let times = [now + HOUR, now - HOUR, same, SystemTime::UNIX_EPOCH, now + 2 * HOUR, now + HOUR, same];
    for (number, time) in (1..).zip(times) {
        // Of the same length, so that the size reveals nothing either.
        site.write(path, &format!("pub const SHOWN: u8 = {number};"));
        site.set_modified(path, time);
        site.shows(&number.to_string(), std::slice::from_ref(&file));
    }
    // Not reported, and backdated.
    site.write(path, "pub const SHOWN: u8 = 8;");
    site.set_modified(path, now - HOUR);
    site.restart();
    site.shows("8", &[]);
}

#[test]
fn a_change_that_nobody_tells_of_is_found() {
    let mut site = app_and_part("pub fn shown() -> u8 { 1 }");
    site.shows("1", &[]);
    for number in [2, 3] {
        site.write("ws/part/src/lib.rs", &format!("pub fn shown() -> u8 {{ {number} }}"));
        site.shows(&number.to_string(), &[]);
    }
}

#[test]
fn a_manifest_that_changes_unnoticed_is_found() {
    let mut site = app_and_part("pub fn shown() -> &'static str { env!(\"CARGO_PKG_VERSION\") }");
    site.shows("0.1.0", &[]);
    for version in ["0.2.0", "0.3.0"] {
        site.write("ws/part/Cargo.toml", &manifest("part", "").replace("0.1.0", version));
        site.shows(version, &[]);
    }
}

#[test]
fn a_second_file_of_a_module_is_refused() {
    let mut site = app("mod part;", "part::SHOWN");
    let file = site.write("ws/app/src/part.rs", "pub const SHOWN: u8 = 0;");
    site.shows("0", &[]);
    for number in 1..=2 {
        site.write("ws/app/src/part.rs", &format!("pub const SHOWN: u8 = {number};"));
        site.shows(&number.to_string(), std::slice::from_ref(&file));
    }
    let other = site.write("ws/app/src/part/mod.rs", "");
    site.fails("E0761", std::slice::from_ref(&other));
    site.remove("ws/app/src/part/mod.rs");
    site.shows("2", &[other]);
}

#[test]
fn older_content_that_comes_back_is_a_change() {
    let one = "pub fn shown() -> u8 { 1 }";
    let mut site = app_and_part(one);
    site.shows("1", &[]);
    let file = site.path("ws/part/src/lib.rs");
    let backup = site.path("ws/part/lib.rs.backup");
    std::fs::rename(&file, &backup).unwrap();
    site.write("ws/part/src/lib.rs", "pub fn shown() -> u8 { 2 }");
    site.shows("2", std::slice::from_ref(&file));
    std::fs::rename(&backup, &file).unwrap();
    site.shows("1", std::slice::from_ref(&file));
    site.write("ws/part/src/lib.rs", "pub fn shown() -> u8 {");
    site.fails("part", std::slice::from_ref(&file));
    site.write("ws/part/src/lib.rs", one);
    site.shows("1", &[file]);
}

#[test]
fn what_changed_in_a_package_while_nothing_used_it_is_found() {
    let mut site = app_and_part("pub fn shown() -> u8 { 1 }");
    let dependency = "[dependencies]\npart = { path = '../part' }\n";
    site.shows("1", &[]);
    let with_it = |site: &Site| {
        let app = site.write("ws/app/Cargo.toml", &manifest("app", dependency));
        [app, main_of(site, "", "part::shown()")]
    };
    let without =
        |site: &Site| [site.write("ws/app/Cargo.toml", &manifest("app", "")), main_of(site, "", "0")];
    for (number, restarts) in [("2", false), ("3", true)] {
        let changed = without(&site);
        site.shows("0", &changed);
        let part = site.write("ws/part/src/lib.rs", &format!("pub fn shown() -> u8 {{ {number} }}"));
        site.set_modified("ws/part/src/lib.rs", SystemTime::now() - HOUR);
        if restarts {
            site.restart();
        } else {
            site.shows("0", &[part]);
        }
        let changed = with_it(&site);
        site.shows(number, &changed);
    }
}

#[test]
fn every_crate_that_uses_a_changed_one_is_made_anew() {
    let mut site =
        site("'app', 'middle', 'leaf'", "middle = { path = '../middle' }\nleaf = { path = '../leaf' }\n");
    main_of(&site, "", "format!(\"{} {}\", app::shown(), leaf::shown())");
    site.write("ws/app/src/lib.rs", "pub fn shown() -> String { middle::shown() }");
    site.write("ws/middle/Cargo.toml", &manifest("middle", "[dependencies]\nleaf = { path = '../leaf' }\n"));
    let middle =
        "pub fn shown() -> String { format!(\"{} {}\", leaf::shown(), leaf::SIZE + leaf::example!()) }";
    site.write("ws/middle/src/lib.rs", middle);
    site.write("ws/leaf/Cargo.toml", &manifest("leaf", ""));
    let leaf = |shown: &str, size: u8, example: u8| {
        format!(
            "pub const SIZE: usize = std::mem::size_of::<[u8; {size}]>();
            #[inline] pub fn shown() -> {shown} }}
            #[macro_export] macro_rules! example {{ () => {{ {example} }} }}"
        )
    };
    let file = site.write("ws/leaf/src/lib.rs", &leaf("u8 { 1", 1, 1));
    site.shows("1 2 1", &[]);
    for (text, response) in [
        (leaf("u8 { 2", 1, 1), "2 2 2"),
        (leaf("u8 { 2", 7, 1), "2 8 2"),
        (leaf("u8 { 2", 7, 3), "2 10 2"),
        (leaf("&'static str { \"x\"", 7, 3), "x 10 x"),
    ] {
        site.write("ws/leaf/src/lib.rs", &text);
        site.shows(response, std::slice::from_ref(&file));
    }
    site.write("ws/leaf/src/lib.rs", "");
    site.fails("middle", std::slice::from_ref(&file));
    site.write("ws/leaf/src/lib.rs", &leaf("u8 { 5", 1, 1));
    site.shows("5 2 5", &[file]);
    assert_eq!(site.clean_build(), Seen::Response("5 2 5".into()));
}

type Deed = Box<dyn FnOnce() + Send>;

/// Pauses rustc at will: a program in its place reports before or after it runs, and waits for permission to
/// go on.
struct Gate {
    /// What happens at the next run of rustc.
    deed: Arc<Mutex<Option<Deed>>>,
    socket: PathBuf,
    thread: Option<JoinHandle<()>>,
}

impl Gate {
    /// For the crate `app`; with `after`, rustc has read everything.
    fn new(site: &Site, after: bool) -> Self {
        let socket = site.path("gate.socket");
        let listener = UnixListener::bind(&socket).unwrap();
        let (before, behind) = if after { ("", "wait_at_gate();") } else { ("wait_at_gate();", "") };
        let source = site.write(
            "gate.rs",
            &format!(
                "use std::io::{{Read, Write}};
                fn wait_at_gate() {{
                    let mut stream = std::os::unix::net::UnixStream::connect({socket:?}).unwrap();
                    stream.write_all(b\"here\\n\").unwrap();
                    let _ = stream.read(&mut [0]);
                }}
                fn main() {{
                    let mut command = std::process::Command::new(\"rustc\");
                    let words: Vec<_> = std::env::args_os().skip(1).collect();
                    let gated = words.windows(2).any(|pair| pair[0] == \"--crate-name\" && pair[1] == \"app\");
                    if gated {{ {before} }}
                    let status = command.args(words).status().unwrap();
                    if gated {{ {behind} }}
                    std::process::exit(status.code().unwrap_or(1));
                }}",
            ),
        );
        let gate = site.path("gate");
        let output = Command::new("rustc").arg(source).arg("-o").arg(&gate).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        site.write("ws/.cargo/config.toml", &format!("[build]\nrustc = {gate:?}\n"));
        let deed: Arc<Mutex<Option<Deed>>> = Arc::default();
        let todo = Arc::clone(&deed);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().map(Result::unwrap) {
                stream.set_read_timeout(Some(SOON)).unwrap();
                let mut line = String::new();
                let _ = BufReader::new(&stream).read_line(&mut line);
                if line != "here\n" {
                    return;
                }
                let deed = todo.lock().unwrap().take();
                if let Some(deed) = deed {
                    deed();
                }
            }
        });
        Self { deed, socket, thread: Some(thread) }
    }

    /// Acts at the next run of rustc, then lets it go on.
    fn next(&self, deed: impl FnOnce() + Send + 'static) {
        *self.deed.lock().unwrap() = Some(Box::new(deed));
    }

    fn was_passed(&self) -> bool {
        self.deed.lock().unwrap().is_none()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // A connection without a message ends it.
        drop(UnixStream::connect(&self.socket));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn edited_at_the_gate(after: bool) {
    let mut site = app("mod part;", "part::SHOWN");
    let file = site.write("ws/app/src/part.rs", "pub const SHOWN: u8 = 1;");
    let gate = Gate::new(&site, after);
    site.shows("1", &[]);
    site.write("ws/app/src/part.rs", "pub const SHOWN: u8 = 0;");
    site.shows("0", std::slice::from_ref(&file));

    // Other code comes while rustc runs, and stays.
    site.write("ws/app/src/part.rs", "pub const SHOWN: u8 = 2;");
    let path = file.clone();
    gate.next(move || std::fs::write(path, "pub const SHOWN: u8 = 3;").unwrap());
    // Its output does not matter: the watcher has seen the change, so another build follows.
    let seen = site.build(std::slice::from_ref(&file));
    assert!(gate.was_passed());
    if site.is_replayed() {
        assert_eq!(seen, Seen::Response("3".into()), "a replay looks twice");
    }
    site.shows("3", std::slice::from_ref(&file));

    // Other, backdated code comes while rustc runs, and the build is given up.
    site.write("ws/app/src/part.rs", "pub const SHOWN: u8 = 4;");
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let path = file.clone();
    gate.next(move || {
        std::fs::write(&path, "pub const SHOWN: u8 = 5;").unwrap();
        super::site::set_modified(&path, SystemTime::now() - HOUR);
        let _ = sender.send(());
    });
    site.begin_build(std::slice::from_ref(&file), async { receiver.await.unwrap() });
    assert!(gate.was_passed());
    site.shows("5", &[file]);
}

/// The watcher reports nothing if a file is again as it last saw it.
fn changed_back_at_the_gate(after: bool) {
    let mut site = app("mod part;", "part::SHOWN");
    let file = site.write("ws/app/src/part.rs", "pub const SHOWN: u8 = 1;");
    let gate = Gate::new(&site, after);
    site.shows("1", &[]);
    let main = main_of(&site, "// Another line.\nmod part;", "part::SHOWN");
    let path = file.clone();
    gate.next(move || {
        std::fs::write(&path, "pub const SHOWN: u8 = 2;").unwrap();
        std::fs::write(&path, "pub const SHOWN: u8 = 1;").unwrap();
    });
    site.shows("1", &[main]);
    assert!(gate.was_passed());
    site.shows("1", &[]);
}

#[test]
fn code_that_changes_before_rustc_reads_it_is_built_once_more() {
    edited_at_the_gate(false);
    changed_back_at_the_gate(false);
}

#[test]
fn code_that_changes_after_rustc_has_read_it_is_built_once_more() {
    edited_at_the_gate(true);
    changed_back_at_the_gate(true);
}

/// A crate that does not read a variable is not recompiled for it, and the old value must not be remembered.
#[test]
fn a_variable_that_is_asked_for_after_it_changed_has_its_new_value() {
    let mut site = app_and_part("pub fn shown() -> u8 { 0 }");
    let config = site.write("ws/.cargo/config.toml", "[env]\nEQUIVALENCE_CASE = 'one'\n");
    let package = site.write("ws/part/Cargo.toml", &manifest("part", "license = 'one'\n"));
    site.shows("0", &[]);
    site.write("ws/.cargo/config.toml", "[env]\nEQUIVALENCE_CASE = 'two'\n");
    site.shows("0", &[config]);
    site.write("ws/part/Cargo.toml", &manifest("part", "license = 'two'\n"));
    site.shows("0", &[package]);
    let shown = |between: &str| {
        format!(
            "pub fn shown() -> &'static str {{
                concat!(env!(\"EQUIVALENCE_CASE\"), '{between}', env!(\"CARGO_PKG_LICENSE\"))
            }}"
        )
    };
    let part = site.write("ws/part/src/lib.rs", &shown(" "));
    site.shows("two two", std::slice::from_ref(&part));
    site.write("ws/part/src/lib.rs", &shown("+"));
    site.shows("two+two", std::slice::from_ref(&part));
    assert!(site.is_replayed(), "{}", site.reason);
}

/// The cases are only worth something if they fail when a rule is broken.
#[test]
fn every_part_of_the_rule_is_needed() {
    let cases: [(Weakness, fn()); 11] = [
        (Weakness::Guards, a_manifest_that_changes_unnoticed_is_found),
        (Weakness::UnknownFiles, a_second_file_of_a_module_is_refused),
        (Weakness::Dependents, every_crate_that_uses_a_changed_one_is_made_anew),
        (Weakness::Content, a_change_that_nobody_tells_of_is_found),
        (Weakness::SecondLook, || edited_at_the_gate(true)),
        (Weakness::Manifests, a_variable_that_is_asked_for_after_it_changed_has_its_new_value),
        (Weakness::ScriptInputs, scripts::what_a_script_reads_is_read_again_without_cargo),
        (Weakness::ScriptUsers, scripts::what_only_a_macro_reads_is_read_again_with_the_inputs_of_a_script),
        (Weakness::ScriptOutput, scripts::values_that_a_script_sets_at_every_build_reach_the_code),
        (Weakness::ScriptMade, scripts::what_a_script_makes_every_time_reaches_a_macro),
        (Weakness::ScriptAge, scripts::cargo_runs_a_script_again_that_was_given_up_without_it),
    ];
    let unnoticed: Vec<Weakness> = cases
        .into_iter()
        .filter(|(weakness, case)| !is_noticed(*weakness, *case))
        .map(|(weakness, _)| weakness)
        .collect();
    assert!(unnoticed.is_empty(), "{unnoticed:?} makes no difference");
}
