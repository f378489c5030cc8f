//! The file's keys. Their comments are what editors show, by the JSON schema that is made from these types.

use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::at::At;
use crate::command::Command;
use crate::given::{CargoConfig, Files, Given, Jobs, Times, Value};
use crate::place::Source;
use crate::read::key;
use crate::ready_when::ReadyWhen;
use crate::table::table;
use crate::texts::{List, Named, Texts, Variables};
use crate::watched::AllWatched;

/// Declares a table's options, each with what it becomes on the command line, and tables that have them among other keys.
macro_rules! options {
    (
        $(#[$options_meta:meta])* $names:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* }
        $($(#[$meta:meta])* $name:ident, $what:literal { $($further:tt)* })*
    ) => {
        $(#[$options_meta])*
        const $names: &[&str] = &[$(stringify!($field)),*];

        options!(@tables { $($(#[$field_meta])* $field: Option<At<$type>>,)* } $({ $(#[$meta])* $name, $what { $($further)* } })*);
        options!(@given { $($field)* } { $($name)* });
    };
    (@tables $options:tt $($table:tt)*) => {
        $(options!(@table $options $table);)*
    };
    (@table { $($options:tt)* } { $(#[$meta:meta])* $name:ident, $what:literal { $($further:tt)* } }) => {
        table! { $(#[$meta])* $name, $what { $($options)* $($further)* } }
    };
    (@given $fields:tt { $($name:ident)* }) => {
        $(options!(@given_of $fields $name);)*
    };
    (@given_of { $($field:ident)* } $name:ident) => {
        impl $name {
            /// Adds the options that are given in the table of this name.
            pub(crate) fn add_given(&self, table: &str, source: &Arc<Source>, given: &mut Vec<Given>) {
                $(add(table, stringify!($field), self.$field.as_ref(), source, given);)*
            }
        }
    };
}

fn add<T: Value>(
    table: &str,
    field: &str,
    value: Option<&At<T>>,
    source: &Arc<Source>,
    given: &mut Vec<Given>,
) {
    if let Some(At { value, span }) = value {
        let key = key(field);
        let path = if table.is_empty() { key.clone() } else { format!("{table}.{key}") };
        let arguments = value.arguments(&key, &source.directory);
        given.push(Given { key, path, arguments, place: source.place(span.clone()) });
    }
}

options! {
    /// The options that each app can have for itself.
    APP_OPTIONS {
        /// The port to listen on; 0 takes a free one. Without it, the port that the app asks for, or 3000.
        port: u16,
        /// The address to listen on: an IP address, or `localhost`.
        host: String,
        /// Give up if the port is in use, instead of taking the next free one.
        strict_port: bool,
        /// Allow an address that other machines can reach.
        allow_remote: bool,
        /// Host names for which requests are answered too; a leading dot allows all names below it.
        allowed_host: Texts,
        /// Origins (`SCHEME://HOST`) whose pages may open web sockets, besides local ones and those of allowed hosts.
        allowed_origin: Texts,
        /// Open the app in a browser.
        open: bool,
        /// Serve the old code until the new is ready, instead of letting requests wait for it.
        no_hold: bool,
        /// Leave pages as they are: no live reload, no error overlay.
        no_inject: bool,
        /// End the old code before the new code starts, while requests wait: for apps that cannot run twice at once.
        no_overlap: bool,
        /// How many processes serve the app. Each runs the whole app; nothing in memory is shared between them.
        #[cfg_attr(test, schemars(range(min = 1, max = 16)))]
        workers: u32,
        /// How new code is run: in a fork that loads the app as a library, or as the app's own program.
        #[cfg_attr(test, schemars(extend("enum" = ["auto", "fork", "restart"])))]
        strategy: String,
        /// How long the old code may take to finish its requests, in milliseconds.
        drain_ms: u64,
        /// How long the app may take to start, in milliseconds.
        #[cfg_attr(test, schemars(range(min = 1)))]
        start_timeout_ms: u64,
        /// How long the app may ignore its requests before it is restarted, in milliseconds; 0 for ever.
        stall_ms: u64,
        /// How long the app may take to exit when devhost exits, in milliseconds; then it is killed.
        stop_timeout_ms: u64,
        /// Files with environment variables for the app (`NAME=VALUE`), which do not override those that are set already.
        env_file: Files,
        /// Give the app devhost's standard input, and its terminal, if there is one.
        stdin: bool,
        /// The port of the app's main listener, if it has several.
        app_port: NonZeroU16,
        /// Serve the package's library, which must have an `export!`.
        lib: bool,
        /// Serve the package's binary of this name.
        bin: String,
        /// Serve the package's example of this name.
        example: String,
        /// Features to activate.
        features: Texts,
        /// Activate all features.
        all_features: bool,
        /// Do not activate the default features.
        no_default_features: bool,
        /// Build with optimization.
        release: bool,
        /// Build with this profile.
        profile: String,
        /// How much debug information the app is built with; less builds faster.
        #[cfg_attr(test, schemars(extend("enum" = ["line-tables", "full"])))]
        debuginfo: String,
        /// How the app is linked to its dependencies; one shared library of them makes reloads fast.
        #[cfg_attr(test, schemars(extend("enum" = ["auto", "shared", "static"])))]
        deps: String,
        /// Arguments for the app.
        args: List,
    }

    /// Settings of `devhost run`, instead of options on the command line, which win over them.
    ///
    /// Paths and globs are relative to the directory of this file.
    #[cfg_attr(test, schemars(title = "devhost.toml"))]
    Document, "a table" {
        /// Look for changes twice a second, for file systems that send no events (network, container and WSL mounts).
        poll: Option<At<bool>>,
        /// Directory for everything that is built.
        target_dir: Option<At<PathBuf>>,
        /// How to report what happens; `json` is one event per line, for editors.
        #[cfg_attr(test, schemars(extend("enum" = ["human", "json"])))]
        message_format: Option<At<String>>,
        /// Print more; 2 for devhost's own log.
        verbose: Option<At<Times>>,
        /// Environment variables for the app. They override those of `env-file`, but not those that are set already.
        env: Option<Variables>,
        /// Files whose changes count besides those that devhost finds by itself: globs, or tables of `files` and what a
        /// change `does`. Of several entries for a file the last counts.
        watch: Option<AllWatched>,
        /// Files whose changes do nothing: globs. They win over `watch`.
        ignore: Option<Texts>,
        /// Options of cargo's own, which mean what they mean to cargo.
        cargo: Option<Cargo>,
        /// Processes that run beside the app, by name.
        processes: Option<Named<Process>>,
        /// Apps, by name, to serve together or one by one. What is not set here is as at the top level.
        apps: Option<Named<AppTable>>,
    }

    /// An app. What is not set here is as at the top level.
    AppTable, "a table of an app's settings" {
        /// The package, if its name is not that of the app.
        package: Option<At<String>>,
        /// Environment variables for the app, in addition to those at the top level.
        env: Option<Variables>,
    }
}

options! {
    /// The options of cargo's own.
    CARGO_OPTIONS {
        /// Run without accessing the network.
        offline: bool,
        /// Fail if Cargo.lock would change.
        locked: bool,
        /// The same as `locked` and `offline`.
        frozen: bool,
        /// Ignore the `rust-version` of packages.
        ignore_rust_version: bool,
        /// Values of cargo's configuration (`KEY=VALUE`), or configuration files.
        config: CargoConfig,
        /// Unstable options of cargo (nightly only).
        Z: Texts,
        /// How many rustc processes run at once; negative ones count down from the number of CPUs.
        jobs: Jobs,
    }

    /// Options of cargo's own, which mean what they mean to cargo.
    #[cfg_attr(test, schemars(inline))]
    #[expect(non_snake_case, reason = "the option has this name")]
    Cargo, "a table of cargo's options" {}
}

table! {
    /// A process that runs beside the app.
    Process, "a table with a `command`" {
        /// What is run: a line for the shell, or a list of a program and its arguments.
        command: Command,
        /// The directory that it runs in, relative to that of this file.
        directory: Option<PathBuf>,
        /// Environment variables, which override devhost's own.
        env: Option<Variables>,
        /// When it counts as ready: one of `port`, `line` and `file`. Without it, as soon as it runs.
        ready_when: Option<At<ReadyWhen>>,
        /// Run it once, to its end; the first build starts after it has succeeded.
        #[cfg_attr(test, schemars(extend("default" = false)))]
        before_build: Option<bool>,
        /// Start it again when it ends.
        #[cfg_attr(test, schemars(extend("default" = true)))]
        restart: Option<At<bool>>,
    }
}

/// Options of the whole, which are no app's own.
const WHOLE_OPTIONS: [&str; 4] = ["poll", "target_dir", "message_format", "verbose"];

impl Document {
    /// Adds the options of the whole and of cargo that are given.
    pub(crate) fn add_given_for_all(&self, source: &Arc<Source>, given: &mut Vec<Given>) {
        let [poll, target_dir, message_format, verbose] = WHOLE_OPTIONS;
        add("", poll, self.poll.as_ref(), source, given);
        add("", target_dir, self.target_dir.as_ref(), source, given);
        add("", message_format, self.message_format.as_ref(), source, given);
        add("", verbose, self.verbose.as_ref(), source, given);
        if let Some(cargo) = &self.cargo {
            cargo.add_given("cargo", source, given);
        }
    }
}

/// Returns the keys that stand for options of the command line, those of `[cargo]` among them.
pub fn option_keys() -> Vec<String> {
    let fields = APP_OPTIONS.iter().chain(&WHOLE_OPTIONS).chain(CARGO_OPTIONS);
    fields.map(|field| key(field)).collect()
}

/// Returns a path of the file, made absolute.
pub(crate) fn absolute(directory: &Path, path: Option<&Path>) -> PathBuf {
    path.map_or_else(|| directory.to_owned(), |path| directory.join(path))
}
