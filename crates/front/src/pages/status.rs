//! The status page: what is being served, by which processes, and how the last reloads went.

use std::time::{SystemTime, UNIX_EPOCH};

use maud::{Markup, html};

use super::frame::Frame;
use crate::context::PageContext;
use crate::files::Document;
use crate::html::{Foreign, terminal_output};
use devhost_model::{
    AppStatus, BuildReport, Failure, Outcome, Reload, ServerState, SideState, SideStatus, Status,
};

/// A step that took less is not shown.
const STEP_SHOWN_FROM_MS: f64 = 0.05;

/// How many files of a reload the status page names.
const FILES_SHOWN_COUNT_MAX: usize = 5;

/// How many of the files that the app uses the status page names.
const USED_SHOWN_COUNT_MAX: usize = 200;

/// Renders the status page.
pub(crate) fn render_status(status: &Status, used: Option<&Document>, context: &PageContext<'_>) -> String {
    let state = match status.state {
        ServerState::Starting => "building for the first time",
        ServerState::Building => "building",
        ServerState::Ready => "ready: the newest code is being served",
        ServerState::Failed => "the newest code is not being served",
    };
    let state = if status.paused { format!("{state}; paused, changes wait") } else { state.to_owned() };
    let lead = match status.generation {
        0 => format!("{state}."),
        generation => format!("Generation {generation}, {state}."),
    };
    let frame = Frame {
        kind: "status",
        method: "GET",
        calm: status.state != ServerState::Failed,
        title: &status.app,
        lead: &lead,
        hint: &status.failure.as_ref().map(Failure::title).unwrap_or_default(),
    };
    frame.render(
        &html! { (apps(&status.apps)) (processes(status)) (beside(status, now_unix_ms())) (reloads(status)) (files(used)) },
        context,
    )
}

/// Renders what the app uses, and what a change of each file does.
fn files(used: Option<&Document>) -> Markup {
    html! {
        section {
            h2 { "Files that the app uses" }
            @match used {
                Some(used) => (list(used)),
                None => p class="empty" { "Not known at the moment: the watcher did not answer." },
            }
        }
    }
}

/// Renders the files one by one.
fn list(used: &Document) -> Markup {
    let left_out = used.left_out + used.files.len().saturating_sub(USED_SHOWN_COUNT_MAX);
    html! {
        @if used.full {
            p class="empty" { "The app uses more files than devhost can follow. Names of files count, too." }
        } @else if !used.trusted {
            p class="empty" { "Not all that the app does with files is seen. Names of files count, too." }
        }
        @if used.files.is_empty() {
            p class="empty" { "None yet." }
        } @else {
            dl {
                @for file in used.files.iter().take(USED_SHOWN_COUNT_MAX) {
                    dt { (Foreign(&file.path)) }
                    dd { (file.does) ": " (Foreign(&file.why)) }
                }
                @if left_out > 0 {
                    dt { (left_out) " more" }
                    dd { a href="/__devhost/files" { "/__devhost/files" } " lists them" }
                }
            }
        }
    }
}

/// Renders the other apps, if there are any.
fn apps(others: &[AppStatus]) -> Markup {
    let word = |state: ServerState| match state {
        ServerState::Starting => ("", "building for the first time"),
        ServerState::Building => ("", "building"),
        ServerState::Ready => ("level-good", "ready"),
        ServerState::Failed => ("level-error", "failed"),
    };
    html! {
        @if !others.is_empty() {
            section {
                h2 { "Other apps" }
                dl class="apps" {
                    @for other in others {
                        dt {
                            @match &other.url {
                                Some(url) => { a href=(url) { (Foreign(&other.app)) } }
                                None => { (Foreign(&other.app)) }
                            }
                        }
                        dd {
                            @let (class, word) = word(other.state);
                            span class=(class) { (word) }
                            @if other.generation > 0 { ", generation " (other.generation) }
                            @if let Some(url) = &other.url {
                                ", "
                                a href={ (url) "__devhost/" } { "status" }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn processes(status: &Status) -> Markup {
    // Each generation's workers are next to each other.
    let teams = status.workers.chunk_by(|a, b| (a.generation, a.draining) == (b.generation, b.draining));
    html! {
        section {
            h2 { "Processes" }
            dl {
                dt { "front" }
                dd { "pid " (status.front.pid) ", devhost " (status.version) }
                @if let Some(zygote) = status.zygote {
                    dt { "zygote" }
                    dd { "pid " (zygote.pid) }
                }
                @for workers in teams {
                    dt { @if workers.len() == 1 { "worker" } @else { "workers" } }
                    dd {
                        "pid "
                        @for (at, worker) in workers.iter().enumerate() {
                            @if at > 0 { ", " }
                            (worker.pid)
                        }
                        ", generation " (workers[0].generation)
                        @if workers[0].draining { ", draining" }
                    }
                }
            }
        }
    }
}

/// Renders the processes beside the app, if there are any.
fn beside(status: &Status, now_unix_ms: u64) -> Markup {
    html! {
        @if !status.processes.is_empty() {
            section {
                h2 { "Processes beside the app" }
                table class="beside" {
                    thead {
                        tr {
                            th class="name" { "name" }
                            th class="state" { "state" }
                            th class="pid number" { "pid" }
                            th class="restarts number" { "restarts" }
                            th class="end" { "last end" }
                        }
                    }
                    tbody { @for side in &status.processes { (side_row(side, now_unix_ms)) } }
                }
            }
        }
    }
}

fn side_row(side: &SideStatus, now_unix_ms: u64) -> Markup {
    let (class, word) = match side.state {
        SideState::Waiting => ("", "waiting"),
        SideState::Starting => ("", "starting"),
        SideState::Running => ("level-good", "running"),
        SideState::Ready => ("level-good", "ready"),
        SideState::BackingOff => ("level-warning", "starts again"),
        SideState::Ended => ("level-good", "ended"),
        SideState::Failed => ("level-error", "failed"),
        SideState::Ending => ("", "ending"),
    };
    let since = match side.next_start_unix_ms {
        Some(next) => format!("in {}", age(next.saturating_sub(now_unix_ms))),
        None => format!("for {}", age(now_unix_ms.saturating_sub(side.since_unix_ms))),
    };
    html! {
        tr {
            td class="name" {
                span class="file" { (Foreign(&side.name)) }
                @if side.before_build { span class="since" { "before the build" } }
            }
            td class="state" {
                span class=(class) { (word) }
                " "
                span class="since" { (since) }
            }
            td class="pid number" { @if let Some(pid) = side.pid { (pid) } }
            td class="restarts number" { @if side.restarts > 0 { (side.restarts) } }
            td class="end" {
                @if let Some(end) = side.last_end.as_ref().filter(|end| !(side.before_build && end.is_success())) {
                    (Foreign(&end.to_string()))
                    @if !side.last_lines.is_empty() {
                        details {
                            summary { "last lines" }
                            pre { (terminal_output(&side.last_lines.join("\n"))) }
                        }
                    }
                }
            }
        }
    }
}

fn now_unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// Returns a time that goes on, as in `12 s`, `5 min` and `3 h`.
fn age(ms: u64) -> String {
    match ms / 1_000 {
        seconds if seconds < 120 => format!("{seconds} s"),
        seconds if seconds < 7_200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    }
}

/// Renders the reloads, newest first. On a narrow screen each row becomes a block of its own.
fn reloads(status: &Status) -> Markup {
    html! {
        section {
            h2 { "Reloads" }
            @if status.reloads.is_empty() {
                p class="empty" { "None yet." }
            } @else {
                table class="reloads" {
                    thead {
                        tr {
                            th class="generation number" { "#" }
                            th class="outcome" { "outcome" }
                            th class="total number" { "total" }
                            th class="steps" { "steps" }
                            th class="files" { "files" }
                        }
                    }
                    tbody { @for reload in status.reloads.iter().rev() { (row(reload)) } }
                }
            }
        }
    }
}

fn row(reload: &Reload) -> Markup {
    let outcome_class = match reload.outcome {
        Outcome::Ok | Outcome::Unchanged | Outcome::Behind => "level-good",
        Outcome::BuildFailed | Outcome::StartFailed => "level-error",
    };
    let steps = reload.steps;
    let steps = [
        ("notice", Some(steps.notice_ms)),
        ("build", Some(steps.build_ms)),
        ("fork", Some(steps.fork_ms)),
        ("load", Some(steps.load_ms)),
        ("ready", Some(steps.ready_ms)),
        ("other", Some(steps.other_ms)),
        ("first response", steps.first_response_ms),
    ];
    let shown =
        steps.into_iter().filter_map(|(name, ms)| Some((name, ms.filter(|ms| *ms >= STEP_SHOWN_FROM_MS)?)));
    let more_files = reload.files.len().saturating_sub(FILES_SHOWN_COUNT_MAX) + reload.files_left_out;
    html! {
        tr {
            td class="generation number" { (reload.generation) }
            td class="outcome" {
                span class=(outcome_class) { (Foreign(&word(&reload.outcome))) }
                " "
                span class="cause" { (Foreign(&word(&reload.cause))) }
            }
            td class="total number" { (time(reload.total_ms)) }
            td class="steps" {
                @for (name, ms) in shown {
                    span class="step" { (name) " " b { (time(ms)) } }
                    " "
                }
                @if let Some(made) = reload.build.as_ref().and_then(BuildReport::summary) {
                    span class="made" { (Foreign(&made)) }
                }
            }
            td class="files" {
                @for file in reload.files.iter().take(FILES_SHOWN_COUNT_MAX) {
                    span class="file" { (Foreign(&file.to_string())) }
                }
                @match more_files {
                    0 => {}
                    1 => { span class="more" { "and one more file" } }
                    more => { span class="more" { "and " (more) " more files" } }
                }
            }
        }
    }
}

/// Returns a time as in `0.5 ms` and `12.3 s`.
fn time(ms: f64) -> String {
    match ms {
        ms if ms >= 10_000.0 => format!("{:.1} s", ms / 1_000.0),
        ms if ms >= 10.0 => format!("{ms:.0} ms"),
        ms => format!("{ms:.1} ms"),
    }
}

/// Returns a unit variant as the status document spells it, in words.
fn word(value: &impl serde::Serialize) -> String {
    let json = serde_json::to_value(value).unwrap_or_default();
    json.as_str().unwrap_or_default().replace('_', " ")
}
