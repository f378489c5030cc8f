//! What holds for every page.

use std::time::Duration;

use actix_web::http::Method;

use super::page::{OUTPUT_LINES_SHOWN_COUNT_MAX, Page};
use super::render_status;
use super::section::Section;
use crate::context::PageContext;
use crate::files::{Document, Entry};
use crate::slots::SlotKind;
use devhost_link::wire::PanicReport;
use devhost_model::{Diagnostic, End, Failure, SideEnd, SideState, SideStatus, StatusBoard, StopReason};

const EVIL: &str = "<script>alert('x')</script>\u{1b}[31m&\"";
const CONTEXT: PageContext<'_> = PageContext { app: "a<b", session: "s\"", generation: 3, revision: 1 };

fn diagnostic(level: &str, message: &str) -> Diagnostic {
    Diagnostic {
        level: level.into(),
        message: message.into(),
        code: Some("E0308".into()),
        file: Some(format!("src/{EVIL}.rs")),
        line: Some(3),
        column: Some(9),
        rendered: format!("\u{1b}[1m\u{1b}[38;5;9m{level}\u{1b}[0m: {message}\n"),
    }
}

fn all_pages() -> Vec<Page> {
    let report = PanicReport {
        message: EVIL.into(),
        location: EVIL.into(),
        backtrace: format!("   0: {EVIL}\n   at /rustc/x/{EVIL}:1\n   1: app::f\n   at ./src/{EVIL}:2:3"),
    };
    vec![
        Page::failure(&Failure::Build {
            diagnostics: vec![diagnostic("warning", "unused"), diagnostic("error", EVIL)].into(),
            output: EVIL.into(),
        }),
        Page::failure(&Failure::Process {
            name: EVIL.into(),
            message: EVIL.into(),
            hint: EVIL.into(),
            output: EVIL.into(),
        }),
        Page::failure(&Failure::start(EVIL, EVIL).with_output(|_| EVIL.into())),
        Page::failure(
            &Failure::crash(End::Fault { message: EVIL.into() }, 5, 3).with_output(|_| EVIL.into()),
        ),
        Page::starting(EVIL),
        Page::panic(&report, EVIL, 3),
        Page::crash(&End::Signalled { signal: 11 }, EVIL, 3),
        Page::crash(&End::StackOverflow { thread: EVIL.into(), signal: 6 }, EVIL, 3),
        Page::cut_off(StopReason::Replaced, EVIL, 3),
        Page::cut_off(StopReason::Crowded, EVIL, 3),
        Page::cut_off(StopReason::Shutdown, EVIL, 3),
        Page::cut_off(StopReason::HungUp, EVIL, 3),
        Page::bad_response(EVIL, EVIL),
        Page::unanswered(EVIL, 3).output(EVIL),
        Page::unreachable(EVIL, EVIL, 3),
        Page::timed_out(Duration::from_secs(60)),
        Page::full(9),
        Page::busy(SlotKind::Ordinary, 2000),
        Page::busy(SlotKind::LongLived, 64),
        Page::closed(),
        Page::head_too_large(),
        Page::bad_request(EVIL),
        Page::host_forbidden(EVIL),
        Page::origin_forbidden(),
        Page::not_found(),
        Page::method_not_allowed(),
    ]
}

#[test]
fn nothing_gets_into_a_page_unescaped() {
    for page in all_pages() {
        let html = page.to_html(&Method::GET, &CONTEXT);
        assert_eq!(html.matches("<script").count(), 1, "{html}");
        assert!(!html.contains("<script>alert"), "{html}");
        assert!(!html.contains('\u{1b}'), "{html}");
        assert!(html.contains("data-session=\"s&quot;\" data-generation=\"3\""));
    }
}

#[test]
fn what_a_process_beside_the_app_says_gets_into_the_status_page_escaped() {
    let board = StatusBoard::new(EVIL.into(), "plain");
    board.update(|status| {
        status.processes = vec![SideStatus {
            name: EVIL.into(),
            state: SideState::BackingOff,
            before_build: false,
            pid: Some(7),
            since_unix_ms: 0,
            next_start_unix_ms: Some(u64::MAX),
            restarts: 3,
            last_end: Some(SideEnd::NotStarted { message: EVIL.into() }),
            last_lines: vec![EVIL.into()],
        }];
    });
    let evil = Entry { path: EVIL.into(), does: "restart", why: EVIL.into(), ..Entry::default() };
    let used = Document { files: vec![evil], ..Document::default() };
    let html = render_status(&board.snapshot(), Some(&used), &CONTEXT);
    assert!(html.contains("starts again") && html.contains("last lines"), "{html}");
    assert!(!html.contains("<script>alert") && !html.contains('\u{1b}'), "{html}");
}

#[test]
fn text_has_no_escape_sequences_and_json_is_json() {
    for page in all_pages() {
        let json = page.to_json(&CONTEXT);
        assert!(json["error"]["title"].is_string() && json["error"]["kind"].is_string());
        if !matches!(page.kind, "bad_request" | "process_failed" | "start_failed" | "panic" | "bad_response")
            && page.sections.iter().all(|section| !matches!(section, Section::Facts(_)))
        {
            assert!(page.to_text().starts_with(&page.title));
        }
    }
    let build = &all_pages()[0];
    assert!(!build.to_text().contains('\u{1b}'));
    assert_eq!(build.to_json(&CONTEXT)["error"]["diagnostics"][0]["level"], "error");
}

#[test]
fn errors_come_before_warnings_with_their_places_and_colours() {
    let html = all_pages()[0].to_html(&Method::GET, &CONTEXT);
    assert!(html.find(">error[E0308]<").unwrap() < html.find(">warning[E0308]<").unwrap());
    assert!(html.contains(".rs:3:9</span>"));
    assert!(html.contains("var(--bright-red,#f55)'>error"), "{html}");
}

#[test]
fn output_from_before_the_request_is_shown_only_if_there_is_none_since_and_said_to_be_so() {
    let before = || "from before\n".to_owned();
    let page = Page::unanswered("GET /", 3).output_since_request("since\n", before);
    assert!(page.to_text().contains("since") && !page.to_text().contains("from before"));
    let page = Page::unanswered("GET /", 3).output_since_request(" \n", before);
    assert!(page.to_text().contains("nothing since the request. Its output before that:\nfrom before"));
    assert!(page.to_html(&Method::GET, &CONTEXT).contains("<details><summary>The app has written nothing"));
    assert_eq!(page.to_json(&CONTEXT)["error"]["earlier_output"], "from before");
    assert!(
        !Page::unanswered("GET /", 3).output_since_request("", String::new).to_text().contains("before that")
    );
}

#[test]
fn the_last_lines_of_the_app_are_shown_with_their_colours() {
    let lines: String = (0..OUTPUT_LINES_SHOWN_COUNT_MAX + 5).map(|line| format!("line {line};\n")).collect();
    let page = Page::unanswered("GET /", 3).output(&format!("{lines}\u{1b}[31mred\u{1b}[0m\n"));
    let html = page.to_html(&Method::GET, &CONTEXT);
    assert!(html.contains("'>red</span>") && html.contains("line 6;") && !html.contains("line 5;"), "{html}");
    assert!(page.to_text().contains(";\nred\n"), "{}", page.to_text());
    assert!(!Page::unanswered("GET /", 3).output(" \n").to_text().contains("output"));
}
