//! Whole files: what is read from them, and what is said of those with a mistake.

use std::path::{Path, PathBuf};

use devhost_model::{Error, ReadyWhen, SideCommand, Verdict};

use crate::{APP_ARGS_KEY, Config, Difference, File, Settings, Stronger};

fn parse(text: &str) -> Result<File, Error> {
    File::parse(text.into(), "devhost.toml".into(), Path::new("/shop"))
}

fn message(text: &str) -> String {
    let error = parse(text).unwrap_err();
    assert!(error.mistake);
    format!("{}\n{}", error.message, error.hint)
}

/// Nothing is stronger; `lib` and `bin` exclude each other.
struct Nothing;

impl Stronger for Nothing {
    fn decides(&self, _: &str) -> bool {
        false
    }

    fn exclude(&self, one: &str, other: &str) -> bool {
        matches!((one, other), ("lib", "bin") | ("bin", "lib"))
    }
}

/// Reads the files of the package `/…/app` and its workspace `/…`.
fn read(workspace: &str, package: &str) -> Result<(Config, PathBuf), Error> {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().to_owned();
    let app = root.join("app");
    std::fs::create_dir(&app).unwrap();
    std::fs::write(root.join("devhost.toml"), workspace).unwrap();
    std::fs::write(app.join("devhost.toml"), package).unwrap();
    Config::read([app.as_path(), root.as_path(), app.as_path()], &root).map(|config| (config, root))
}

fn arguments(settings: &Settings) -> Vec<String> {
    settings.arguments().map(|argument| argument.to_string_lossy().into_owned()).collect()
}

#[test]
fn options_become_arguments() {
    let text = "port = 0x1F90\nstrict-port = true\nopen = false\nallowed-host = ['a.test', '.b.test']\nfeatures = 'x'\n\
                env-file = ['.env', '/e']\ntarget-dir = 't'\nverbose = 2\nargs = ['--seed', 'x']\n\
                [cargo]\nZ = ['one']\njobs = -2\nconfig = 'build.jobs=1'\n";
    let file = parse(text).unwrap();
    let all: Vec<String> = file
        .options
        .iter()
        .filter(|given| given.key != APP_ARGS_KEY)
        .flat_map(|given| &given.arguments)
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let expected = "--port=8080 --strict-port --allowed-host=a.test --allowed-host=.b.test --env-file=/shop/.env --env-file=/e \
                    --features=x --target-dir=/shop/t --verbose --verbose --config=build.jobs=1 -Zone --jobs=-2";
    assert_eq!(all.join(" "), expected);
    let args = file.options.iter().find(|given| given.key == APP_ARGS_KEY).unwrap();
    assert_eq!(args.arguments, ["--seed", "x"]);
    assert!(file.options.iter().any(|given| given.key == "open" && given.arguments.is_empty()));
}

#[test]
fn an_unknown_key_is_shown_with_what_may_have_been_meant() {
    let expected = "devhost.toml:2:1: unknown key `strict_port`\n  |\n2 | strict_port = true\n  | ^^^^^^^^^^^\n\
                    did you mean `strict-port`?";
    assert_eq!(message("port = 1\nstrict_port = true\n"), expected);
    let inner = message("[apps.api]\nprot = 3\n");
    assert!(inner.starts_with("devhost.toml:2:1: `apps.api`: unknown key `prot`\n"), "{inner}");
    assert!(inner.ends_with("did you mean `port`?"), "{inner}");
    assert!(message("[apps.api]\npoll = true\n").contains("unknown key `poll`"), "it is no app's own");
    assert!(
        message("[processes.css]\ncommand = 'x'\ncwd = 'y'\n")
            .contains("the keys here are `command`, `directory`")
    );
}

#[test]
fn a_wrong_type_says_what_is_needed() {
    for (text, part) in [
        ("port = '8080'", "1:8: `port`: a number from 0 to 65535 is needed, not a string"),
        ("port = 65536", "`port`: a number from 0 to 65535 is needed, not 65536"),
        ("port = -1", "`port`: a number from 0 to 65535 is needed, not -1"),
        ("app-port = 0", "`app-port`: a number from 1 to 65535 is needed, not 0"),
        ("open = 1", "`open`: true or false is needed, not 1"),
        ("open = 'yes'", "`open`: true or false is needed, not a string"),
        ("host = true", "`host`: a string is needed, not true or false"),
        ("features = [1]", "1:13: `features`: a string is needed, not 1"),
        ("features = 1.5", "`features`: a string or a list of strings is needed, not a fraction"),
        ("args = '--seed x'", "`args`: a list of strings is needed, not a string"),
        ("cargo = true", "`cargo`: a table of cargo's options is needed, not true or false"),
        ("env = { PORT = 1 }", "`env.PORT`: a string is needed, not 1"),
        ("env = { 'A=B' = '1' }", "`env`: `A=B` cannot be the name of a variable"),
        ("verbose = 3", "`verbose`: 0, 1 or 2 is needed, not 3"),
        ("target-dir = ''", "`target-dir`: the path is empty"),
        ("bin = \"a\\u0000b\"", "`bin`: a NUL character cannot be used"),
        ("[cargo]\njobs = 'many'", "2:8: `cargo.jobs`: a number, or `\"default\"`, is needed, not a string"),
    ] {
        let message = message(text);
        assert!(message.contains(part), "{text}\n{message}");
    }
}

#[test]
fn broken_toml_is_shown_where_it_breaks() {
    let message = message("port = 1\nhost = \"127.0.0.1\nopen = true\n");
    assert!(message.starts_with("devhost.toml:2:"), "{message}");
    assert!(message.contains("\n2 | host = \"127.0.0.1\n"), "{message}");
    assert!(parse("port = 1\nport = 2\n").unwrap_err().message.contains("devhost.toml:2:1: duplicate key"));
}

#[test]
fn watch_and_ignore_are_globs() {
    let text = "ignore = ['static/generated/**']\nwatch = ['content/**', { files = 'proto/**', does = 'build' }, \
                { files = ['locale/*', 'a'], does = 'reload' }]";
    let file = parse(text).unwrap();
    let verdicts: Vec<Verdict> = file.watch.unwrap().into_iter().map(|(_, verdict)| verdict).collect();
    assert_eq!(verdicts, [Verdict::Restart, Verdict::Build, Verdict::Reload, Verdict::Reload]);
    assert_eq!(file.ignore.unwrap().len(), 1);
    for (text, part) in [
        ("ignore = ['a', 'b[']", "1:16: `ignore`: `b[` is not a glob"),
        ("watch = [{ files = '{a' }]", "1:20: `watch`: `{a` is not a glob"),
        ("watch = [{ file = 'a' }]", "unknown key `file`"),
        ("watch = [{ does = 'build' }]", "the key `files` is missing"),
        ("watch = [{ files = 'a', does = 'rebuild' }]", "did you mean `build`?"),
        ("watch = [1]", "a glob, or a table with `files` and `does`, is needed, not 1"),
        ("watch = 1", "`watch`: a list of globs is needed, not 1"),
    ] {
        let message = message(text);
        assert!(message.contains(part), "{text}\n{message}");
    }
}

#[test]
fn processes_are_described() {
    let text = "[processes.tailwind]\ncommand = 'npx x --watch'\ndirectory = 'web'\nenv = { A = '1' }\nready-when = { port = 5173 }\n\
                [processes.migrate]\ncommand = ['sqlx', 'migrate']\nbefore-build = true\n\
                [processes.api]\ncommand = 'x'\nrestart = false\nready-when = { file = 'a.css' }\n";
    let [tailwind, migrate, api] = parse(text).unwrap().processes.try_into().unwrap();
    assert_eq!((tailwind.name.as_str(), tailwind.restart, tailwind.before_build), ("tailwind", true, false));
    assert_eq!(tailwind.command, SideCommand::Shell("npx x --watch".into()));
    assert_eq!((tailwind.directory, tailwind.ready_when), ("/shop/web".into(), Some(ReadyWhen::Port(5173))));
    assert_eq!(tailwind.env, [("A".into(), "1".into())]);
    assert_eq!(migrate.command, SideCommand::Program(vec!["sqlx".into(), "migrate".into()]));
    assert_eq!((migrate.directory, migrate.restart, migrate.before_build), ("/shop".into(), false, true));
    assert_eq!((api.restart, api.ready_when), (false, Some(ReadyWhen::File("/shop/a.css".into()))));
    for (text, part) in [
        ("[processes.a]\n", "1:1: `processes.a`: the key `command` is missing"),
        ("[processes.a]\ncommand = ' '", "2:11: `processes.a.command`: it is empty"),
        ("[processes.a]\ncommand = []", "it is empty"),
        (
            "[processes.a]\ncommand = 1",
            "a line for the shell, or a list of a program and its arguments, is needed, not 1",
        ),
        ("[processes.'a b']\ncommand = 'x'", "`a b` cannot be a name here"),
        (
            "[processes.a]\ncommand = 'x'\nready-when = { line = 'a(' }",
            "`processes.a.ready-when.line`: unclosed group",
        ),
        (
            "[processes.a]\ncommand = 'x'\nready-when = {}",
            "a table with one of `port`, `line` and `file` is needed",
        ),
        ("[processes.a]\ncommand = 'x'\nready-when = { port = 1, file = 'b' }", "a table with one of"),
        ("[processes.a]\ncommand = 'x'\nready-when = { prot = 1 }", "did you mean `port`?"),
        ("[processes.a]\ncommand = 'x'\nready-when = { port = 0 }", "a number from 1 to 65535 is needed"),
        ("[processes.a]\ncommand = 'x'\nbefore-build = true\nrestart = true", "is not started again"),
        (
            "[processes.a]\ncommand = 'x'\nbefore-build = true\nready-when = { port = 1 }",
            "is ready when it has ended",
        ),
    ] {
        let message = message(text);
        assert!(message.contains(part), "{text}\n{message}");
    }
}

#[test]
fn the_readmes_example_is_a_file() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")).unwrap();
    let example = readme.split("```toml\n").find(|part| part.starts_with("#:schema")).unwrap();
    let file = parse(example.split("```").next().unwrap()).unwrap();
    assert_eq!((file.processes.len(), file.apps.len()), (2, 1));
}

#[test]
fn too_many_apps_are_refused() {
    let text: String = (0..9).map(|number| format!("[apps.a{number}]\n")).collect();
    assert!(message(&text).contains("`apps`: there can be 8, and there are 9"), "{}", message(&text));
}

#[test]
fn the_packages_file_wins_key_by_key() {
    let workspace = "port = 1\nopen = true\nlib = true\nwatch = ['a']\nenv = { A = '1', B = '1' }\nenv-file = '.env'\n\
                     [processes.x]\ncommand = 'x'\n[processes.y]\ncommand = 'x'\n";
    let package = "port = 2\nbin = 'a'\nenv = { B = '2' }\n[processes.y]\ncommand = 'y'\n";
    let (config, root) = read(workspace, package).unwrap();
    let settings = config.settings(None, &Nothing);
    let env_file = format!("--env-file={}", root.join(".env").display());
    assert_eq!(arguments(&settings), ["--bin=a", &env_file, "--open", "--port=2"]);
    assert_eq!(settings.env, [("A".into(), "1".into()), ("B".into(), "2".into())]);
    let processes: Vec<_> = settings.processes.iter().map(|process| &process.command).collect();
    assert_eq!(processes, [&SideCommand::Shell("y".into()), &SideCommand::Shell("x".into())]);
    assert_eq!(settings.rules().unwrap().of(&root.join("a")), Some(Verdict::Restart));
    assert_eq!(config.paths(), [root.join("app/devhost.toml"), root.join("devhost.toml")]);
}

#[test]
fn an_apps_table_wins_over_the_top_level() {
    let workspace = "workers = 2\nopen = true\nbin = 'x'\n[apps.api]\nport = 1\nopen = false\nlib = true\nenv = { A = '1' }\n\
                     [apps.admin]\npackage = 'the-admin'\nport = 2\n";
    let (config, _) = read(workspace, "").unwrap();
    let apps: Vec<_> = config.apps().iter().map(|app| (app.name.as_str(), app.package())).collect();
    assert_eq!(apps, [("api", "api"), ("admin", "the-admin")]);
    let api = config.settings(Some("api"), &Nothing);
    assert_eq!(arguments(&api), ["--lib", "--port=1", "--workers=2"]);
    assert_eq!(api.env, [("A".into(), "1".into())]);
    assert_eq!(arguments(&config.settings(None, &Nothing)), ["--bin=x", "--open", "--workers=2"]);
    let (config, _) = read("bin = 'x'\n[apps.api]\nlib = false\n", "").unwrap();
    assert_eq!(
        arguments(&config.settings(Some("api"), &Nothing)),
        ["--bin=x"],
        "what is off excludes nothing"
    );
}

#[test]
fn two_apps_on_one_port_are_a_mistake_that_names_both_places() {
    let error = read("[apps.api]\nport = 1\n[apps.b]\nport = 1\n", "").unwrap_err();
    let part = "devhost.toml:4:8: the app `b` has the port of `api`, which is at devhost.toml:2:8\n";
    assert!(error.message.starts_with(part), "{error}");
    read("[apps.api]\nport = 0\n[apps.b]\nport = 0\n", "").unwrap();
}

#[test]
fn a_file_that_cannot_be_read_is_a_mistake() {
    let place = tempfile::tempdir().unwrap();
    let read = || File::read(place.path(), Path::new("/")).map(|file| file.is_some());
    assert!(!read().unwrap());
    let path = place.path().join("devhost.toml");
    std::fs::write(&path, b"a = 1\n# \xff").unwrap();
    assert!(read().unwrap_err().message.ends_with("line 2 is not UTF-8"));
    std::fs::write(&path, "#".repeat(2 << 20)).unwrap();
    assert!(read().unwrap_err().message.contains("is larger than"));
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(read().unwrap_err().message.contains("it is not a file"));
}

#[test]
fn a_change_is_applied_or_waits_for_the_next_start() {
    let place = tempfile::tempdir().unwrap();
    let of = |text: &str| {
        std::fs::write(place.path().join("devhost.toml"), text).unwrap();
        Config::read([place.path()], place.path()).unwrap().settings(None, &Nothing)
    };
    let old = of("port = 1\nopen = false\ncargo = { offline = true }\n[processes.x]\ncommand = 'x'\n");
    let new = of("port = 2\nenv-file = 'a'\nignore = 'x'\nenv = { A = '1' }\n[processes.x]\ncommand = 'y'\n");
    let difference = Difference::between(&old, &new);
    assert_eq!(difference.applied, ["env-file", "env", "ignore", "processes.x"]);
    assert_eq!(difference.later, ["cargo.offline", "port"]);
    assert!(
        Difference::between(
            &old,
            &of("port = 1\ncargo = { offline = true }\n[processes.x]\ncommand = 'x'\n")
        )
        .is_empty()
    );
}
