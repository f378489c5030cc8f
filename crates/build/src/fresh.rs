//! Asks cargo whether the user's own build of the app is up to date, in the user's own target directory, and stops it before it
//! compiles anything if not.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use cargo_metadata::{Artifact, Message};

use crate::app::App;
use crate::attended::{Attended, Said, guarded};
use crate::cargo_text::strip_colours;
use crate::environment;
use crate::settings::{Choice, Settings};

/// How long cargo may take. It has nothing to do but to look at files, and perhaps to wait for another cargo.
const TIME_MAX: Duration = Duration::from_secs(10);

/// What cargo says when it is about to do more than to look at files.
const WORKING_WORDS: [&str; 5] = ["Compiling ", "Updating ", "Downloading ", "Locking ", "Checking "];

/// Why there is no program that is up to date.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotFresh {
    #[error("cargo had more to do than to look: {0}")]
    Works(String),
    #[error("cargo took too long")]
    TimedOut,
    #[error("cargo failed or named no executable")]
    Failed,
    #[error("cargo could not be run: {0}")]
    NotRun(#[from] std::io::Error),
}

/// What cargo has built before, and would not build again.
#[derive(Debug, Default)]
pub(crate) struct Fresh {
    /// The program that it would run.
    pub(crate) executable: PathBuf,
    /// Everything that it is made from.
    pub(crate) artifacts: Vec<Artifact>,
    /// The output directories of build scripts, with their packages' ids.
    pub(crate) scripts: Vec<(String, PathBuf)>,
}

/// Asks cargo. Dropping the future ends it.
///
/// # Errors
/// The program is not up to date, or that cannot be found out in time.
pub(crate) async fn ask(app: &App, settings: &Settings, devhost: &Path) -> Result<Fresh, NotFresh> {
    let mut command = guarded(devhost, OsStr::new("cargo"));
    command
        .args(arguments(app, settings))
        .current_dir(app.root())
        .env_clear()
        .envs(environment::inherited())
        // They change what it says, and not what it does.
        .envs([("CARGO_TERM_QUIET", "false"), ("CARGO_TERM_VERBOSE", "false"), ("CARGO_TERM_COLOR", "never")])
        .env("CARGO_TERM_PROGRESS_WHEN", "never")
        .stdout(Stdio::piped());
    let attended = Attended::new(command.spawn()?);
    tokio::time::timeout(TIME_MAX, read(app, attended)).await.unwrap_or(Err(NotFresh::TimedOut))
}

async fn read(app: &App, mut cargo: Attended) -> Result<Fresh, NotFresh> {
    let mut fresh = Fresh::default();
    loop {
        match cargo.next().await? {
            Said::Out(line) => match serde_json::from_str::<Message>(&line) {
                Ok(Message::CompilerArtifact(artifact)) => {
                    if !artifact.fresh {
                        return Err(NotFresh::Works(artifact.target.name));
                    }
                    if let Some(executable) = executable(app, &artifact) {
                        fresh.executable = executable;
                    }
                    fresh.artifacts.push(artifact);
                }
                Ok(Message::BuildScriptExecuted(script)) => {
                    fresh.scripts.push((script.package_id.repr, script.out_dir.into_std_path_buf()));
                }
                _ => {}
            },
            Said::Err(line) => {
                let line = strip_colours(&line);
                if WORKING_WORDS.iter().any(|word| line.trim_start().starts_with(word)) {
                    return Err(NotFresh::Works(line.trim().to_owned()));
                }
            }
            Said::Over(status) if status.success() && fresh.executable.is_file() => return Ok(fresh),
            Said::Over(_) => return Err(NotFresh::Failed),
        }
    }
}

fn executable(app: &App, artifact: &Artifact) -> Option<PathBuf> {
    let (Choice::Bin(name) | Choice::Example(name)) = &app.choice else { return None };
    let is_it = artifact.package_id.repr == app.package_id && artifact.target.name == *name;
    artifact.executable.as_ref().filter(|_| is_it).map(|path| path.clone().into_std_path_buf())
}

/// `cargo build` of what `cargo run` would run.
fn arguments(app: &App, settings: &Settings) -> Vec<OsString> {
    let target = match &app.choice {
        Choice::Bin(name) => ["--bin", name],
        Choice::Example(name) => ["--example", name],
        Choice::Lib => ["--package", &app.package],
    };
    let mut args: Vec<OsString> = ["build", "--message-format=json"].map(OsString::from).into();
    args.extend(target.map(OsString::from));
    args.extend([OsString::from("--manifest-path"), app.manifest_path.clone().into()]);
    args.extend(["--profile", settings.profile()].map(OsString::from));
    args.extend(settings.feature_args().into_iter().map(OsString::from));
    args.extend(settings.cargo.building_args().into_iter().map(OsString::from));
    args
}
