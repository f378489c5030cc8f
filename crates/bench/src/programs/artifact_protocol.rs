//! The protocol between the bench and an artifact host: the job, as the host's arguments, and its
//! observations, as lines of JSON.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// devhost's name as an artifact host.
pub(crate) const ARTIFACT_HOST_NAME: &str = "devhost-artifact-host";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReloadMode {
    /// dlopen, swap and dlclose in this process
    Inprocess,
    /// The dependency is loaded here, and each version in a forked child
    Fork,
    /// Each version in a forked child, which loads the dependency as well
    ForkNoPreload,
    /// Only the old version: it is stopped, and the process ends at once
    Old,
    /// Only the new version
    New,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostJob {
    pub mode: ReloadMode,
    /// The library that stands for the dependencies.
    pub shared: PathBuf,
    /// The old and the new version, or the only one.
    pub plugins: Vec<PathBuf>,
    /// Where each version is put before it is loaded, replacing the one before. If `None`, each is loaded
    /// from its own path.
    pub place: Option<PathBuf>,
}

impl HostJob {
    pub(crate) fn args(&self) -> Vec<OsString> {
        let mode =
            self.mode.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
        let place = self.place.clone().unwrap_or_default();
        let mut args = vec![mode.into(), self.shared.clone().into(), place.into()];
        args.extend(self.plugins.iter().map(OsString::from));
        args
    }

    /// Parses the output of [`HostJob::args`]. Returns `None` if it is malformed.
    pub(crate) fn parse(args: &[OsString]) -> Option<Self> {
        let [mode, shared, place, plugins @ ..] = args else { return None };
        let mode = ReloadMode::from_str(mode.to_str()?, false).ok()?;
        let place = (!place.is_empty()).then(|| place.into());
        Some(Self {
            mode,
            shared: shared.into(),
            plugins: plugins.iter().map(PathBuf::from).collect(),
            place,
        })
    }
}

/// The progress reports of a host, or of a program built from the same source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub(crate) enum HostEvent {
    Started,
    Answered {
        /// The version it was compiled as.
        version: u32,
        text: String,
    },
    /// The old version was stopped and passed to dlclose.
    Unloaded,
    /// Everything is done; the process exits normally.
    Ending,
    ChildEnded {
        /// By itself, with this code.
        code: Option<i32>,
        /// By this signal.
        signal: Option<i32>,
    },
    /// The host itself could not go on.
    Failed {
        /// Why.
        message: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_comes_through_the_command_line_as_it_was() {
        for place in [None, Some(PathBuf::from("/tmp/place.so"))] {
            let job = HostJob {
                mode: ReloadMode::ForkNoPreload,
                shared: "/tmp/shared.so".into(),
                plugins: vec!["/tmp/old.so".into(), "/tmp/new.so".into()],
                place,
            };
            assert_eq!(HostJob::parse(&job.args()), Some(job));
        }
    }

    #[test]
    fn what_a_program_says_is_understood() {
        let event: HostEvent =
            serde_json::from_str(r#"{"step":"answered","version":2,"text":"start 1"}"#).unwrap();
        assert_eq!(event, HostEvent::Answered { version: 2, text: "start 1".into() });
    }
}
