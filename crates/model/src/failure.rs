//! Why the newest code is not being served.

use serde::Serialize;

use crate::diagnostics::Diagnostics;
use crate::end::End;

/// Why the newest code is not being served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Failure {
    /// The build failed.
    Build {
        /// The errors and warnings, errors first, and how many were left out.
        #[serde(flatten)]
        diagnostics: Diagnostics,
        /// What else cargo printed (a broken manifest, a linker error), with ANSI colours.
        output: String,
    },
    /// A side process that has to run before the build has failed, so nothing was built.
    Process {
        /// Its name in `devhost.toml`.
        name: String,
        /// What happened.
        message: String,
        /// What to do about it, empty if unknown.
        hint: String,
        /// The last that it wrote.
        output: String,
    },
    /// The build succeeded, but the artifact did not load or the app did not start.
    Start {
        /// What happened.
        message: String,
        /// What to do about it, empty if unknown.
        hint: String,
        /// The generation that failed to start, 0 if none was forked.
        generation: u64,
        /// The last that it wrote to standard output and standard error, as far as devhost kept it.
        output: String,
    },
    /// The app crashed so often that devhost gave up until the next change.
    Crash {
        /// How it ended the last time.
        end: End,
        /// How it ended, in words.
        message: String,
        /// How often it crashed in a row.
        count: u32,
        /// The generation that crashed last.
        generation: u64,
        /// The last that it wrote to standard output and standard error, as far as devhost kept it.
        output: String,
    },
}

impl Failure {
    /// Makes the failure of a start that got no generation.
    pub fn start(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Start { message: message.into(), hint: hint.into(), generation: 0, output: String::new() }
    }

    /// Makes the failure of a generation that crashed too often.
    pub fn crash(end: End, count: u32, generation: u64) -> Self {
        let message = format!("The last time {end}.");
        Self::Crash { end, message, count, generation, output: String::new() }
    }

    /// Adds what the failed generation wrote last.
    #[must_use]
    pub fn with_output(mut self, output_of: impl FnOnce(u64) -> String) -> Self {
        if let Self::Start { generation, output, .. } | Self::Crash { generation, output, .. } = &mut self {
            *output = output_of(*generation);
        }
        self
    }

    /// Returns what the app wrote before it failed; empty if it was not running.
    pub fn app_output(&self) -> &str {
        match self {
            Self::Build { .. } | Self::Process { .. } => "",
            Self::Start { output, .. } | Self::Crash { output, .. } => output,
        }
    }

    /// Returns one line for a terminal or a title.
    pub fn title(&self) -> String {
        match self {
            Self::Build { diagnostics, .. } => match diagnostics.errors_count() {
                0 => "The build failed".into(),
                1 => "The build failed with one error".into(),
                n => format!("The build failed with {n} errors"),
            },
            Self::Process { name, .. } => format!("The process `{name}` failed before the build"),
            Self::Start { .. } => "The app did not start".into(),
            Self::Crash { count, .. } => format!("The app crashed {count} times in a row"),
        }
    }
}
