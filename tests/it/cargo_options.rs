//! cargo's own options, and what devhost does about a cargo that cannot see everything.

use std::path::{Path, PathBuf};
use std::process::Command;

use devhost_build::{self as build, Builder, CargoOptions, Outcome, Settings, Target};
use devhost_model::Failure;

use crate::build::{built, load, manifest, run};
use crate::clean::{TINY, Tiny};
use crate::support::{run_to_end_with, scratch, write_file};

/// A workspace whose crates come from a registry on disk.
struct Site {
    directory: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let site = Self { directory: tempfile::tempdir().unwrap() };
        site.write(
            ".cargo/config.toml",
            "[source.crates-io]\nreplace-with = 'disk'\n[source.disk]\nlocal-registry = 'registry'\n",
        );
        site
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().canonicalize().unwrap().join(path)
    }

    fn write(&self, path: &str, text: &str) -> PathBuf {
        write_file(self.path(path), text)
    }

    /// Publishes a crate whose name has more than three letters, only in the index if it has no source.
    fn publish(&self, name: &str, dependencies: &[&str], more: &str, source: Option<&str>) {
        let directory = format!("{name}-1.0.0");
        let mut checksum = "0".repeat(64);
        if let Some(source) = source {
            let wanted: String = dependencies.iter().map(|name| format!("{name} = '1'\n")).collect();
            let text = manifest(name, &wanted).replace("0.1.0", "1.0.0") + more;
            self.write(&format!("packing/{directory}/Cargo.toml"), &text);
            self.write(&format!("packing/{directory}/src/lib.rs"), source);
            let packed = self.path(&format!("registry/{directory}.crate"));
            std::fs::create_dir_all(packed.parent().unwrap()).unwrap();
            let status = Command::new("tar")
                .arg("-czf")
                .arg(&packed)
                .arg("-C")
                .arg(self.path("packing"))
                .arg(&directory)
                .status()
                .unwrap();
            assert!(status.success());
            let output = Command::new("sha256sum").arg(&packed).output().unwrap();
            checksum = String::from_utf8_lossy(&output.stdout)[..64].to_owned();
        }
        let dependencies: Vec<_> = dependencies
            .iter()
            .map(|name| {
                serde_json::json!({
                    "name": name, "req": "^1", "features": [], "optional": false, "default_features": true,
                    "target": null, "kind": "normal",
                })
            })
            .collect();
        let entry = serde_json::json!({
            "name": name, "vers": "1.0.0", "deps": dependencies, "cksum": checksum, "features": {}, "yanked": false,
        });
        self.write(&format!("registry/index/{}/{}/{name}", &name[..2], &name[2..4]), &format!("{entry}\n"));
    }

    /// Where cargo unpacks the crates, away from other tests.
    fn find(&self, argument: Option<&str>, settings: &Settings) -> Result<Target, devhost_model::Error> {
        build::app::find(argument, &self.path(""), settings)
    }
}

/// The app `app` needs only crates that exist. Missing ones are needed by its tests, on another system, and
/// by another member.
fn partial_site() -> Site {
    let site = Site::new();
    site.publish("absent", &[], "", None);
    site.publish("shared", &[], "", Some("pub fn number() -> i32 { 20 }"));
    site.publish("direct", &["shared"], "", Some("pub fn number() -> i32 { shared::number() + 3 }"));
    site.publish(
        "making",
        &[],
        "[lib]\nproc-macro = true\n",
        Some(
            "#[proc_macro] pub fn hundred(_: proc_macro::TokenStream) -> proc_macro::TokenStream { \"100\".parse().unwrap() }",
        ),
    );
    site.publish("script", &["shared"], "", Some("pub fn word() -> &'static str { \"b\" }"));
    site.write("Cargo.toml", "[workspace]\nmembers = ['app', 'part', 'tool']\nresolver = '3'\n");
    site.write(
        "app/Cargo.toml",
        &manifest(
            "app",
            "near = { package = 'direct', version = '1' }\nmaking = '1'\npart = { path = '../part' }\n\
             [build-dependencies]\nscript = '1'\n[dev-dependencies]\nabsent = '1'\n\
             [target.'cfg(windows)'.dependencies]\nabsent = '1'",
        ),
    );
    site.write(
        "app/build.rs",
        "fn main() { println!(\"cargo::rerun-if-changed=build.rs\"); println!(\"cargo::rustc-env=WORD={}\", script::word()); }",
    );
    site.write(
        "app/src/main.rs",
        "fn main() -> std::process::ExitCode {
            assert_eq!(env!(\"WORD\"), \"b\");
            u8::try_from(near::number() + making::hundred!() + part::number()).unwrap().into()
        }",
    );
    site.write("part/Cargo.toml", &manifest("part", "shared = '1'"));
    site.write("part/src/lib.rs", "pub fn number() -> i32 { shared::number() - 20 }");
    site.write("tool/Cargo.toml", &manifest("tool", "absent = '1'"));
    site.write("tool/src/main.rs", "fn main() {}");
    site
}

fn offline() -> Settings {
    Settings { cargo: CargoOptions { offline: true, ..CargoOptions::default() }, ..Settings::default() }
}

fn builder_of(site: &Site, settings: Settings) -> Builder {
    let target = site.find(Some("app"), &settings).unwrap_or_else(|error| panic!("{error:?}"));
    Builder::new(target, settings, env!("CARGO_BIN_EXE_devhost").as_ref()).unwrap()
}

fn exit_code(builder: &mut Builder, changed: &[PathBuf]) -> i32 {
    load(&built(builder, changed)).call::<i32>(devhost_model::PLAIN_MAIN_SYMBOL)
}

#[test]
fn an_app_is_served_although_crates_of_other_members_are_not_there() {
    let site = partial_site();
    let whole = Command::new("cargo")
        .args(["metadata", "--offline", "--format-version", "1"])
        .current_dir(site.path(""))
        .output()
        .unwrap();
    assert!(!whole.status.success(), "the test tries nothing");
    let mut builder = builder_of(&site, offline());
    let Target::App(app) = builder.target() else { panic!("no app") };
    let names: Vec<_> = app.path_packages.iter().map(|package| package.name.as_str()).collect();
    assert_eq!(names, ["app", "part"]);
    let artifact = built(&mut builder, &[]);
    assert_eq!(artifact.preload.len(), 2, "the dependencies are shared: {:?}", artifact.notes);
    assert_eq!(load(&artifact).call::<i32>(devhost_model::PLAIN_MAIN_SYMBOL), 123);
    let edited = site.write("part/src/lib.rs", "pub fn number() -> i32 { shared::number() - 19 }");
    assert_eq!(exit_code(&mut builder, std::slice::from_ref(&edited)), 124);
    assert!(builder.last_report().replayed, "{:?}", builder.last_report());
    // Manifests are reread in the same way.
    let text = std::fs::read_to_string(site.path("app/Cargo.toml")).unwrap();
    let saved = site.write("app/Cargo.toml", &format!("{text}\n# saved\n"));
    assert_eq!(exit_code(&mut builder, &[saved]), 124);
}

#[test]
fn a_crate_that_the_app_needs_is_missed() {
    let site = partial_site();
    site.write("part/Cargo.toml", &manifest("part", "shared = '1'\nabsent = '1'"));
    let error = site.find(Some("app"), &offline()).unwrap_err();
    assert!(error.mistake && error.message.contains("absent"), "{error:?}");
    assert!(!error.message.contains('\u{1b}'), "{error:?}");
}

fn told(outcome: Outcome) -> String {
    match outcome {
        Outcome::Failed(Failure::Build { output, .. }) => output,
        other => panic!("{other:?}"),
    }
}

#[test]
fn values_for_cargos_configuration_reach_every_build() {
    let site = Site::new();
    site.write("Cargo.toml", &manifest("app", ""));
    let main = "fn main() -> std::process::ExitCode { env!(\"WORD\").len().try_into().map_or(0, |n: u8| n).into() }\n";
    let path = site.write("src/main.rs", main);
    let file = site.write("more/settings.toml", "[env]\nWORD = 'four'\n");
    let with = |config: &[&str]| Settings {
        cargo: CargoOptions {
            config: config.iter().map(|one| (*one).to_owned()).collect(),
            ..CargoOptions::default()
        },
        ..Settings::default()
    };
    for (config, length) in [(vec!["env.WORD='a'"], 1), (vec!["env.WORD='a'", file.to_str().unwrap()], 4)] {
        let mut builder = builder_of(&site, with(&config));
        assert_eq!(exit_code(&mut builder, &[]), length, "{config:?}");
        site.write("src/main.rs", &format!("{main}// {config:?}\n"));
        assert_eq!(exit_code(&mut builder, std::slice::from_ref(&path)), length);
        assert!(builder.last_report().replayed, "{:?}", builder.last_report());
    }
    // A file given by name is an ordinary configuration file.
    let mut builder = builder_of(&site, with(&[file.to_str().unwrap()]));
    assert_eq!(exit_code(&mut builder, &[]), 4);
    site.write("more/settings.toml", "[env]\nWORD = 'seven77'\n");
    assert_eq!(exit_code(&mut builder, &[file]), 7);
}

#[test]
fn options_about_versions_and_the_lock_file_are_cargos_to_obey() {
    let site = Site::new();
    let text = manifest("app", "").replace("edition", "rust-version = '1.999'\nedition");
    site.write("Cargo.toml", &text);
    site.write("src/main.rs", "fn main() -> std::process::ExitCode { 5.into() }");
    let output = told(run(&mut builder_of(&site, Settings::default()), &[]));
    assert!(output.contains("1.999"), "{output}");
    let ignoring =
        CargoOptions { ignore_rust_version: true, jobs: Some("1".into()), ..CargoOptions::default() };
    let mut builder = builder_of(&site, Settings { cargo: ignoring, ..Settings::default() });
    assert_eq!(exit_code(&mut builder, &[]), 5);

    site.publish("shared", &[], "", Some(""));
    site.write("Cargo.toml", &manifest("app", "shared = '1'"));
    let locked = CargoOptions { locked: true, ..CargoOptions::default() };
    let error = site.find(None, &Settings { cargo: locked, ..Settings::default() }).unwrap_err();
    assert!(error.mistake && error.message.contains("--locked"), "{error:?}");
    let unstable = CargoOptions { unstable: vec!["no-such-option".into()], ..CargoOptions::default() };
    let error = site.find(None, &Settings { cargo: unstable, ..Settings::default() }).unwrap_err();
    assert!(error.mistake && error.message.contains("-Z"), "{error:?}");
}

/// Returns what devhost prints to a pipe.
fn printed(cwd: &Path, args: &[&str], variables: &[(&str, &str)]) -> String {
    let output = run_to_end_with(cwd, args, |command| {
        command.env_remove("NO_COLOR").envs(variables.iter().copied());
    });
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout)
}

#[test]
fn a_complaint_of_cargos_is_plain_and_short_in_a_pipe() {
    let directory = scratch();
    let mut text = manifest("app", "");
    for number in 0..300 {
        text +=
            &format!("[target.'cfg(any(unix))'.dependencies.crate_{number}]\npath = 'nowhere/{number}'\n");
        text += &format!("unknown_{number} = 1\n");
    }
    std::fs::write(directory.path().join("Cargo.toml"), text).unwrap();
    std::fs::create_dir(directory.path().join("src")).unwrap();
    std::fs::write(directory.path().join("src/main.rs"), TINY).unwrap();
    for command in ["run", "doctor", "bench"] {
        let printed = printed(directory.path(), &[command], &[("CARGO_TERM_COLOR", "always")]);
        assert!(!printed.contains('\u{1b}'), "{printed}");
        assert!(printed.contains("nowhere/") && printed.lines().count() < 50, "{printed}");
    }
}

#[test]
fn the_commands_take_cargos_options() {
    let tiny = Tiny::new();
    tiny.write("settings/more.toml", "[env]\nWORD = 'there'\n");
    let devhost =
        tiny.start(&["--offline", "--config", "settings/more.toml", "-j", "1", "--config=env.OTHER='x'"]);
    devhost.wait_ready(1);
    devhost.stop();
    let output = run_to_end_with(tiny.dir.path(), &["doctor", "--offline", "--locked", "-j", "2"], |_| {});
    assert!(output.status.success(), "{output:?}");
    for command in ["run", "doctor", "bench"] {
        let output = run_to_end_with(tiny.dir.path(), &[command, "-Zno-such"], |_| {});
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{command}: {said}");
        assert!(said.contains("-Z"), "{command}: {said}");
    }
}
