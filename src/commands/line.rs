//! The command line. Knows which of its options were given, and so what devhost.toml may still say; takes the rest from
//! there as if it had been given, so that both have the same parsers, limits and conflicts.
//!
//! A flag that the file sets is switched off by `--FLAG=false`.

use std::error::Error as _;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, Parser as _};
use devhost_config::{APP_ARGS_KEY, Config, Given, Settings, Stronger, did_you_mean};
use devhost_model::Error;

use crate::cli::{Cli, Command};

/// clap's name of the app's arguments.
const APP_ARGS_ID: &str = "app_args";

/// The command line of one of devhost's commands.
pub(super) struct Line {
    /// As given, without flags that are switched off.
    arguments: Vec<OsString>,
    /// The keys of those.
    off: Vec<String>,
    /// The command's options.
    options: clap::Command,
    matches: ArgMatches,
}

impl Line {
    /// Parses this process's command line. A mistake in it, or a question for help, ends the process.
    pub(super) fn of_process() -> Self {
        Self::parse(std::env::args_os().collect()).unwrap_or_else(|error| error.exit())
    }

    /// Returns a `devhost run` without any options.
    pub(super) fn of_run() -> Self {
        Self::parse(["devhost", "run"].map(OsString::from).to_vec()).unwrap_or_else(|error| error.exit())
    }

    fn parse(mut arguments: Vec<OsString>) -> Result<Self, clap::Error> {
        let mut command = Cli::command();
        let off = arguments
            .get(1)
            .and_then(|name| command.find_subcommand(name))
            .map(|options| take_switched_off(&mut arguments, options))
            .unwrap_or_default();
        let matches = command.try_get_matches_from_mut(&arguments)?;
        let Some((name, matches)) = matches.subcommand() else {
            return Err(command.error(ErrorKind::MissingSubcommand, "a command is needed"));
        };
        let options = command.find_subcommand(name).cloned().unwrap_or_default();
        Ok(Self { matches: matches.clone(), options, arguments, off })
    }

    /// Returns the command as it is without a file.
    pub(super) fn alone(&self) -> Result<Command, Error> {
        self.with(&Settings::default())
    }

    /// Returns the command with what files say in addition.
    pub(super) fn with(&self, settings: &Settings) -> Result<Command, Error> {
        // The program and its command come first.
        let (start, own) = self.arguments.split_at(self.arguments.len().min(2));
        let all = start.iter().chain(settings.arguments()).chain(own);
        let cli = Cli::try_parse_from(all).map_err(|error| Error::mistake(why(&error), ""))?;
        let mut command = cli.command;
        let app_args = match &mut command {
            Command::Run(args) => Some(&mut args.app_args),
            Command::Bench(args) => Some(&mut args.app_args),
            Command::Doctor(_) | Command::Clean(_) => None,
        };
        if let (Some(app_args), Some(given)) = (app_args, settings.options.get(APP_ARGS_KEY)) {
            app_args.clone_from(&given.arguments);
        }
        Ok(command)
    }

    fn option(&self, key: &str) -> Option<&clap::Arg> {
        option(&self.options, key)
    }

    fn is_given(&self, option: &clap::Arg) -> bool {
        let source = self.matches.value_source(option.get_id().as_str());
        matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable))
    }
}

impl Stronger for Line {
    /// Also options that the command does not have are decided.
    fn decides(&self, key: &str) -> bool {
        let Some(option) = self.option(key).filter(|_| !self.off.iter().any(|off| off == key)) else {
            return true;
        };
        let mut all = self.options.get_arguments();
        self.is_given(option)
            || all.any(|other| self.is_given(other) && exclude(&self.options, option, other))
    }

    fn exclude(&self, one: &str, other: &str) -> bool {
        match (self.option(one), self.option(other)) {
            (Some(one), Some(other)) => exclude(&self.options, one, other),
            _ => false,
        }
    }
}

/// Removes flags that are switched off (`--open=false`) from devhost's own arguments. Returns their keys.
fn take_switched_off(arguments: &mut Vec<OsString>, options: &clap::Command) -> Vec<String> {
    let own_count = arguments.iter().position(|argument| argument == "--").unwrap_or(arguments.len());
    let key = |argument: &OsString| {
        let key = argument.to_str()?.strip_prefix("--")?.strip_suffix("=false")?;
        let option = option(options, key)?;
        matches!(option.get_action(), clap::ArgAction::SetTrue).then(|| key.to_owned())
    };
    let off: Vec<String> = arguments[..own_count].iter().filter_map(key).collect();
    let mut index = 0;
    arguments.retain(|argument| {
        index += 1;
        index > own_count || key(argument).is_none()
    });
    off
}

fn option<'c>(options: &'c clap::Command, key: &str) -> Option<&'c clap::Arg> {
    options.get_arguments().find(|option| match key {
        APP_ARGS_KEY => option.get_id() == APP_ARGS_ID,
        key if key.len() == 1 => option.get_short().is_some_and(|short| key.starts_with(short)),
        key => option.get_long() == Some(key),
    })
}

/// A conflict is declared with one of the two.
fn exclude(options: &clap::Command, one: &clap::Arg, other: &clap::Arg) -> bool {
    let declares = |one: &clap::Arg, other: &clap::Arg| {
        options.get_arg_conflicts_with(one).iter().any(|excluded| excluded.get_id() == other.get_id())
    };
    one.get_id() != other.get_id() && (declares(one, other) || declares(other, one))
}

/// Parses all options of files as `devhost run` parses its own.
///
/// # Errors
/// A mistake that shows the place of an option that is refused, or of two that exclude each other.
pub(super) fn check(config: &Config) -> Result<(), Error> {
    let command = Cli::command();
    let run = command.find_subcommand("run").cloned().unwrap_or_default();
    for group in config.groups() {
        let options: Vec<&Given> =
            group.iter().filter(|given| given.key != APP_ARGS_KEY && !given.arguments.is_empty()).collect();
        if parse_alone(&options).is_ok() {
            continue;
        }
        for given in &options {
            if let Err(error) = parse_alone(&[given]) {
                return Err(given
                    .place
                    .error(&format!("`{}`: {}", given.path, why(&error)), suggestion(&error)));
            }
        }
        for (index, one) in options.iter().enumerate() {
            let excluded = options[..index].iter().find(|other| {
                match (option(&run, &one.key), option(&run, &other.key)) {
                    (Some(one), Some(other)) => exclude(&run, one, other),
                    _ => false,
                }
            });
            if let Some(other) = excluded {
                let message = format!(
                    "`{}` and `{}`, which is at {}, exclude each other",
                    one.key, other.key, other.place
                );
                return Err(one.place.error(&message, "leave out one of them"));
            }
        }
    }
    Ok(())
}

fn parse_alone(options: &[&Given]) -> Result<ArgMatches, clap::Error> {
    let start = ["devhost", "run"].map(OsString::from);
    let arguments = options.iter().flat_map(|given| given.arguments.iter().cloned());
    Cli::command().try_get_matches_from(start.into_iter().chain(arguments))
}

/// Says what is wrong with a value, without naming the option.
fn why(error: &clap::Error) -> String {
    if let Some(source) = error.source() {
        return source.to_string();
    }
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let value = text(ContextKind::InvalidValue).unwrap_or_default();
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(valid)) if !valid.is_empty() => {
            let valid: Vec<String> = valid.iter().map(|valid| format!("`{valid}`")).collect();
            format!("one of {} is needed, not `{value}`", valid.join(", "))
        }
        _ => {
            let text = error.to_string();
            text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
        }
    }
}

fn suggestion(error: &clap::Error) -> String {
    match error.get(ContextKind::SuggestedValue) {
        Some(ContextValue::String(value)) => did_you_mean(value),
        _ => String::new(),
    }
}

/// Replaces what a command is about.
pub(super) fn set_app(command: &mut Command, app: Option<PathBuf>) {
    match command {
        Command::Run(args) => args.app = app.into_iter().collect(),
        Command::Bench(args) => args.app = app,
        Command::Doctor(args) => args.app = app,
        Command::Clean(args) => args.app = app,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::RunArgs;
    use devhost_config::option_keys;
    use serde_json::Value;

    fn line(arguments: &str) -> Line {
        Line::parse(arguments.split_ascii_whitespace().map(OsString::from).collect()).unwrap()
    }

    fn config(text: &str) -> Config {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("devhost.toml"), text).unwrap();
        Config::read([place.path()], place.path()).unwrap()
    }

    fn run(arguments: &str, text: &str) -> RunArgs {
        let line = line(arguments);
        let config = config(text);
        check(&config).unwrap();
        match line.with(&config.settings(None, &line)).unwrap() {
            Command::Run(args) => *args,
            other => panic!("not run: {other:?}"),
        }
    }

    fn refused(text: &str) -> String {
        let error = check(&config(text)).unwrap_err();
        format!("{}\n{}", error.message, error.hint)
    }

    #[test]
    fn every_option_that_help_shows_has_a_key_and_every_key_is_one() {
        let command = Cli::command();
        let run = command.find_subcommand("run").unwrap();
        let shown = run.get_arguments().filter(|option| !option.is_hide_set() && option.get_id() != "app");
        let mut names: Vec<String> = shown
            .map(|option| match (option.get_long(), option.get_short()) {
                (Some(long), _) => long.to_owned(),
                (None, Some(short)) => short.to_string(),
                (None, None) => APP_ARGS_KEY.to_owned(),
            })
            .collect();
        let mut keys = option_keys();
        names.sort();
        keys.sort();
        assert_eq!(keys, names);
    }

    #[test]
    fn the_schema_has_the_values_that_options_take() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/devhost.schema.json");
        let schema: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let command = Cli::command();
        let run = command.find_subcommand("run").unwrap();
        for option in run.get_arguments().filter(|option| !option.is_hide_set()) {
            let (Some(key), values) = (option.get_long(), option.get_possible_values()) else { continue };
            if !option.get_action().takes_values() || values.is_empty() {
                continue;
            }
            let names: Vec<&str> = values.iter().map(clap::builder::PossibleValue::get_name).collect();
            let said: Vec<&str> = schema["properties"][key]["enum"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(Value::as_str)
                .collect();
            assert_eq!(said, names, "{key}");
        }
    }

    #[test]
    fn the_command_line_wins_over_the_file_and_the_file_over_defaults() {
        let text = "port = 1\nhost = '::1'\nopen = true\nno-hold = true\nfeatures = ['a']\ndrain-ms = 7\nargs = ['x']\n\
                    [cargo]\njobs = 2\nZ = 'one'\n";
        let args = run("devhost run --port 2 --features b", text);
        assert_eq!((args.port, args.host.to_string(), args.drain_ms), (Some(2), "::1".into(), 7));
        assert!(args.open && args.no_hold && !args.poll);
        assert_eq!((args.selection.features, args.app_args), (vec!["b".to_owned()], vec!["x".into()]));
        assert_eq!(args.selection.cargo.jobs.as_deref(), Some("2"));
        assert_eq!(args.selection.cargo.unstable, ["one"]);
        let args = run("devhost run -p 2 -- y", text);
        assert_eq!((args.port, args.app_args), (Some(2), vec!["y".into()]));
        assert_eq!(args.selection.features, ["a"]);
    }

    #[test]
    fn an_option_wins_over_keys_that_exclude_it() {
        let args = run("devhost run --profile slow --bin x", "release = true\nlib = true\n");
        assert_eq!((args.selection.profile.as_deref(), args.selection.release), (Some("slow"), false));
        assert_eq!((args.selection.bin.as_deref(), args.selection.lib), (Some("x"), false));
        let args = run("devhost run --lib", "bin = 'x'\n");
        assert_eq!((args.selection.bin, args.selection.lib), (None, true));
    }

    #[test]
    fn a_flag_of_the_file_can_be_switched_off() {
        let text = "open = true\nno-hold = true\ncargo = { offline = true }\n";
        let args = run("devhost run --open=false --offline=false site -- --no-hold=false", text);
        assert!(!args.open && args.no_hold && !args.selection.cargo.offline);
        assert_eq!((args.app, args.app_args), (vec!["site".into()], vec!["--no-hold=false".into()]));
        assert!(Line::parse(["devhost", "run", "--port=false"].map(OsString::from).to_vec()).is_err());
    }

    #[test]
    fn other_commands_take_the_keys_that_they_have() {
        let config = config("port = 1\nfeatures = 'a'\ntarget-dir = '/t'\nrelease = true\nargs = ['x']\n");
        let with = |arguments: &str| {
            let line = line(arguments);
            line.with(&config.settings(None, &line)).unwrap()
        };
        let Command::Bench(bench) = with("devhost bench") else { panic!() };
        assert_eq!((bench.selection.release, bench.app_args), (true, vec!["x".into()]));
        let Command::Doctor(doctor) = with("devhost doctor --json") else { panic!() };
        assert_eq!(doctor.selection.features, ["a"]);
        let Command::Clean(clean) = with("devhost clean -n") else { panic!() };
        assert_eq!(clean.target_dir, Some("/t".into()));
    }

    #[test]
    fn values_are_checked_as_on_the_command_line() {
        for (text, part) in [
            ("host = 'example.com'", "devhost.toml:1:8: `host`: an IP address is needed"),
            ("allowed-host = ['a.test', '*']", "`allowed-host`: with `*` every web page could read the app"),
            ("allowed-origin = 'a.test'", "`allowed-origin`: an origin is needed"),
            ("workers = 17", "`workers`: 17 is not in 1..=16"),
            ("start-timeout-ms = 0", "`start-timeout-ms`: 0 is not in 1.."),
            ("deps = 'some'", "`deps`: one of `auto`, `shared`, `static` is needed, not `some`"),
            ("strategy = 'restrt'", "did you mean `restart`?"),
            ("[cargo]\njobs = 0", "2:8: `cargo.jobs`: a number is needed that is not 0"),
            ("[apps.api]\nhost = 'x'", "2:8: `apps.api.host`: an IP address is needed"),
            (
                "release = true\nprofile = 'x'",
                "2:11: `profile` and `release`, which is at devhost.toml:1:11, exclude each other",
            ),
            ("bin = 'a'\nlib = true", "exclude each other"),
        ] {
            let message = refused(text);
            assert!(message.contains(part), "{text}\n{message}");
        }
        check(&config("release = false\nprofile = 'x'\nlib = false\nbin = 'a'")).unwrap();
    }
}
