//! The status page: what is being served, by which processes, and how the last reloads went.

use maud::{Markup, html};

use super::frame::Frame;
use crate::context::PageContext;
use crate::html::Foreign;
use devhost_model::{BuildReport, Failure, Outcome, Reload, ServerState, Status};

/// A step that took less is not shown.
const STEP_SHOWN_FROM_MS: f64 = 0.05;

/// How many files of a reload the status page names.
const FILES_SHOWN_COUNT_MAX: usize = 5;

/// Renders the status page.
pub(crate) fn render_status(status: &Status, context: &PageContext<'_>) -> String {
    let state = match status.state {
        ServerState::Starting => "building for the first time",
        ServerState::Building => "building",
        ServerState::Ready => "ready: the newest code is being served",
        ServerState::Failed => "the newest code is not being served",
    };
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
    frame.render(&html! { (processes(status)) (reloads(status)) }, context)
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
        Outcome::Ok | Outcome::Unchanged => "level-good",
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
