//! Makes recorded calls: those of rustc, in dependency order and in parallel, each as soon as its
//! dependencies' metadata is there; and those of build scripts. Every process runs under the guard, as cargo
//! does, and ends at once when the future is dropped. What to compile is decided elsewhere.

use std::ffi::OsString;
use std::io::{PipeWriter, Write as _};
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::context::Context;
use crate::attended::{self, Attended, PIPE_SILENCE_TIME_MAX};
use crate::cargo::{OUTPUT_KEPT_LINES_MAX, Run};
use crate::diagnostics;
use crate::job_sheet::JOB_SHEET_VARIABLE;
use crate::outcome::Progress;
use crate::record::{REPLAY_VARIABLE, Recorded};
use crate::refusal::Refusal;
use devhost_model::{BuildStep, Diagnostic, Diagnostics};

/// Longer command lines are passed in a file, as cargo does.
const COMMAND_LINE_LEN_MAX: usize = 100_000;

/// Limit on buffered lines of output.
const LINES_WAITING_COUNT_MAX: usize = 1_024;

/// Limit on a build script's output.
const SCRIPT_OUTPUT_LEN_MAX_BYTES: usize = 4 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Call {
    pub name: String,
    pub recorded: Recorded,
    /// Indices of the calls it depends on.
    pub needs: Vec<usize>,
    /// It can start with its dependencies' metadata, and others with its own.
    pub pipelined: bool,
}

/// What happens to a call, by index.
#[derive(Debug)]
pub(super) enum Event {
    /// rustc is about to start.
    Starts(usize),
    Ended(usize, Ended),
}

#[derive(Debug, Default)]
pub(super) struct Ended {
    pub success: bool,
    pub diagnostics: Diagnostics,
    output: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waits,
    Runs,
    HasMetadata,
    Done,
    Failed,
}

enum Said {
    Line(usize, String),
    Over(usize, std::io::Result<bool>),
}

/// Makes the calls until all are done or one failed. The replay began at `begun`. Each process holds `held`
/// as its standard output, so that the pipe's other end tells when the last one is gone, whatever becomes of
/// the future.
///
/// # Errors
/// A process could not be started.
pub(super) async fn run(
    context: &Context,
    begun: Instant,
    calls: Vec<Call>,
    held: PipeWriter,
    progress: &mut dyn FnMut(Progress),
    mut tell: impl FnMut(Event),
) -> Result<Run, Refusal> {
    let (sender, mut receiver) = mpsc::channel(LINES_WAITING_COUNT_MAX);
    let mut tasks = JoinSet::new();
    let mut states = vec![Stage::Waits; calls.len()];
    let mut ends: Vec<Ended> = calls.iter().map(|_| Ended::default()).collect();
    let mut starts = vec![Duration::ZERO; calls.len()];
    let mut run = Run { success: true, ..Run::default() };
    loop {
        for index in 0..calls.len() {
            let running =
                states.iter().filter(|state| matches!(state, Stage::Runs | Stage::HasMetadata)).count();
            if run.success && running < context.jobs && can_start(&calls, &states, index) {
                tell(Event::Starts(index));
                states[index] = Stage::Runs;
                starts[index] = begun.elapsed();
                let count = |wanted| states.iter().filter(|state| **state == wanted).count();
                let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
                progress(Progress {
                    done: number(count(Stage::Done)),
                    total: number(calls.len()),
                    current: calls[index].name.clone(),
                });
                start(context, index, &calls[index].recorded, &held, &mut tasks, sender.clone())?;
            }
        }
        if !states.iter().any(|state| matches!(state, Stage::Runs | Stage::HasMetadata)) {
            break;
        }
        match receiver.recv().await {
            Some(Said::Line(index, line)) => match read(&line) {
                Line::Metadata if states[index] == Stage::Runs => states[index] = Stage::HasMetadata,
                Line::Metadata | Line::Nothing => {}
                Line::Diagnostic(diagnostic) => {
                    ends[index].diagnostics.add(diagnostic);
                }
                Line::Other => {
                    if ends[index].output.len() < OUTPUT_KEPT_LINES_MAX {
                        ends[index].output.push(line);
                    }
                }
            },
            Some(Said::Over(index, status)) => {
                let success = status.map_err(|error| Refusal::system("run rustc", &error))?;
                states[index] = if success { Stage::Done } else { Stage::Failed };
                let mut end = std::mem::take(&mut ends[index]);
                end.success = success;
                run.steps.push(BuildStep {
                    name: calls[index].name.clone(),
                    begun_ms: starts[index].as_secs_f64() * 1_000.0,
                    took_ms: (begun.elapsed().saturating_sub(starts[index])).as_secs_f64() * 1_000.0,
                });
                for line in &end.output {
                    run.output.push_str(line);
                    run.output.push('\n');
                }
                if !success {
                    run.success = false;
                    run.output.push_str(&summary(&calls[index], &end.diagnostics));
                }
                tell(Event::Ended(index, end));
            }
            None => return Err(Refusal::OutputLost),
        }
    }
    Ok(run)
}

fn can_start(calls: &[Call], states: &[Stage], index: usize) -> bool {
    let call = &calls[index];
    states[index] == Stage::Waits
        && call.needs.iter().all(|need| match states[*need] {
            Stage::Done => true,
            Stage::HasMetadata => call.pipelined && calls[*need].pipelined,
            Stage::Waits | Stage::Runs | Stage::Failed => false,
        })
}

fn start(
    context: &Context,
    index: usize,
    recorded: &Recorded,
    held: &PipeWriter,
    tasks: &mut JoinSet<()>,
    sender: mpsc::Sender<Said>,
) -> Result<(), Refusal> {
    let failed = |error: std::io::Error| Refusal::system("run rustc", &error);
    let mut command = attended::guarded(&context.devhost, context.wrapper.as_os_str());
    command.arg(&recorded.rustc);
    let mut file = None;
    if recorded.args.iter().map(String::len).sum::<usize>() > COMMAND_LINE_LEN_MAX {
        let mut arguments = tempfile::NamedTempFile::new_in(&context.temporary).map_err(failed)?;
        for arg in &recorded.args {
            writeln!(arguments, "{arg}").map_err(failed)?;
        }
        let mut arg = OsString::from("@");
        arg.push(arguments.path());
        command.arg(arg);
        file = Some(arguments);
    } else {
        command.args(&recorded.args);
    }
    set_place(context, recorded, &mut command);
    command.env(REPLAY_VARIABLE, "1");
    let child = command.stdout(held.try_clone().map_err(failed)?).spawn().map_err(failed)?;
    tasks.spawn(async move {
        let mut attended = Attended::new(child);
        let status = loop {
            match attended.next().await {
                Ok(attended::Said::Out(line) | attended::Said::Err(line)) => {
                    let _ = sender.send(Said::Line(index, line)).await;
                }
                Ok(attended::Said::Over(status)) => break Ok(status.success()),
                Err(error) => break Err(error),
            }
        };
        drop(file);
        let _ = sender.send(Said::Over(index, status)).await;
    });
    Ok(())
}

/// Sets the directory and the environment of cargo's call.
fn set_place(context: &Context, recorded: &Recorded, command: &mut Command) {
    command.current_dir(&recorded.directory);
    command.env_clear().envs(context.environment.iter().map(|(name, value)| (name, value)));
    for name in &recorded.removed {
        command.env_remove(name);
    }
    command.envs(&recorded.set).env(JOB_SHEET_VARIABLE, &context.sheet_path);
}

/// Runs a build script and returns its standard output, a pipe from `writer` to `reader`. Other readers see
/// the pipe's end when the last process is gone.
///
/// # Errors
/// It cannot be run, fails or says too much.
pub(super) async fn run_script(
    context: &Context,
    name: &str,
    recorded: &Recorded,
    mut reader: Receiver,
    writer: PipeWriter,
) -> Result<Vec<u8>, Refusal> {
    let failed = |error: std::io::Error| Refusal::system(format!("run the build script of `{name}`"), &error);
    let mut command = attended::guarded(&context.devhost, recorded.rustc.as_os_str());
    command.args(&recorded.args);
    set_place(context, recorded, &mut command);
    command.env(REPLAY_VARIABLE, context.jobs.to_string());
    let child = command.stdout(writer).spawn().map_err(failed)?;
    // It holds the pipe's end.
    drop(command);
    let mut attended = Attended::new(child);
    let mut output = Vec::new();
    let (mut is_open, mut status) = (true, None);
    while is_open || status.is_none() {
        tokio::select! {
            count = reader.read_buf(&mut output), if is_open => {
                is_open = count.map_err(failed)? > 0;
                if output.len() > SCRIPT_OUTPUT_LEN_MAX_BYTES {
                    return Err(Refusal::ScriptSaysTooMuch(name.to_owned()));
                }
            }
            // cargo shows a script's standard error only if it fails.
            said = attended.next(), if status.is_none() => {
                if let attended::Said::Over(ended) = said.map_err(failed)? {
                    status = Some(ended);
                }
            }
            // Something it started may hold the pipe open.
            () = tokio::time::sleep(PIPE_SILENCE_TIME_MAX), if status.is_some() => is_open = false,
        }
    }
    match status {
        Some(status) if status.success() => Ok(output),
        _ => Err(Refusal::ScriptFailed(name.to_owned())),
    }
}

enum Line {
    Diagnostic(Diagnostic),
    Metadata,
    Nothing,
    Other,
}

/// Parses a line of rustc's `--error-format=json`.
fn read(line: &str) -> Line {
    if line.is_empty() {
        return Line::Nothing;
    }
    let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else { return Line::Other };
    match message["$message_type"].as_str() {
        Some("artifact") if message["emit"] == "metadata" => Line::Metadata,
        Some("diagnostic") => match serde_json::from_value(message) {
            Ok(message) => diagnostics::convert(message).map_or(Line::Nothing, Line::Diagnostic),
            Err(_) => Line::Other,
        },
        Some(_) => Line::Nothing,
        None => Line::Other,
    }
}

/// cargo's words about a crate that does not compile.
fn summary(call: &Call, diagnostics: &Diagnostics) -> String {
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    let mut text = format!("error: could not compile `{}`", call.name);
    let (errors, warnings) = (diagnostics.errors_count(), diagnostics.warnings_count());
    if errors > 0 {
        text.push_str(&format!(" due to {errors} previous error{}", plural(errors)));
    }
    if warnings > 0 {
        text.push_str(&format!("; {warnings} warning{} emitted", plural(warnings)));
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn lines_of_rustc_are_told_apart() {
        let artifact = |emit: &str| {
            format!("{{\"$message_type\":\"artifact\",\"artifact\":\"/t/liba.rmeta\",\"emit\":\"{emit}\"}}")
        };
        assert!(matches!(read(&artifact("metadata")), Line::Metadata));
        assert!(matches!(read(&artifact("link")), Line::Nothing));
        assert!(matches!(read("thread 'rustc' panicked"), Line::Other));
        let diagnostic = "{\"$message_type\":\"diagnostic\",\"message\":\"m\",\"code\":null,\"level\":\"error\",\
                          \"spans\":[],\"children\":[],\"rendered\":\"error: m\\n\"}";
        assert!(matches!(read(diagnostic), Line::Diagnostic(diagnostic) if diagnostic.message == "m"));
    }

    #[test]
    fn a_library_starts_on_metadata_and_the_app_on_libraries() {
        let call = |needs: &[usize], pipelined| Call {
            name: String::new(),
            recorded: Recorded {
                key: String::new(),
                rustc: "rustc".into(),
                args: Vec::new(),
                directory: "/".into(),
                package_root: "/".into(),
                set: BTreeMap::new(),
                removed: Vec::new(),
                before: BTreeMap::new(),
                manifests: String::new(),
            },
            needs: needs.to_vec(),
            pipelined,
        };
        let calls = [call(&[], true), call(&[0], true), call(&[0, 1], false)];
        assert!(can_start(&calls, &[Stage::Waits; 3], 0));
        assert!(!can_start(&calls, &[Stage::Runs, Stage::Waits, Stage::Waits], 1));
        assert!(can_start(&calls, &[Stage::HasMetadata, Stage::Waits, Stage::Waits], 1));
        assert!(!can_start(&calls, &[Stage::HasMetadata, Stage::Done, Stage::Waits], 2));
        assert!(can_start(&calls, &[Stage::Done, Stage::Done, Stage::Waits], 2));
        assert!(!can_start(&calls, &[Stage::Failed, Stage::Done, Stage::Waits], 2));
    }
}
