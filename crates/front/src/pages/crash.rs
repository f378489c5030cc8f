//! The worker ended with the request inside: it crashed, or devhost ended it.

use actix_web::http::StatusCode;

use super::page::Page;
use crate::words::capitalize;
use devhost_model::{End, StopReason};

impl Page {
    /// The worker died, or was ended, with the request inside.
    pub(crate) fn crash(end: &End, request_line: &str, generation: u64) -> Self {
        let title = match end {
            End::Stopped { reason: StopReason::HungUp } => "The app was ended",
            End::Stopped { reason } => return Self::cut_off(*reason, request_line, generation),
            End::StackOverflow { .. } => "The app's stack overflowed",
            End::Stalled { .. } => "The app stopped responding",
            End::Exited { .. } => "The app exited",
            End::Orphaned | End::Lost => "The app is gone",
            End::Signalled { .. } | End::Fault { .. } => "The app crashed",
        };
        let lead = format!("{}.", capitalize(&end.to_string()));
        let page = Self::new(StatusCode::BAD_GATEWAY, "crash", title, lead);
        let page = match end {
            End::StackOverflow { .. } => page.hint(
                "Usually a function calls itself without end. If a thread does need a larger stack, set it with \
                 std::thread::Builder::stack_size or RUST_MIN_STACK.",
            ),
            _ => page,
        };
        page.about(request_line, generation)
    }

    /// devhost ended the worker with the request inside.
    pub(crate) fn cut_off(reason: StopReason, request_line: &str, generation: u64) -> Self {
        let title = "The request was cut off";
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let page = match reason {
            StopReason::Replaced => Self::new(
                status,
                "cut_off",
                title,
                "The code changed while the app was still answering. The new code has taken over, and the old code \
                 ran out of time to finish.",
            )
            .hint("--drain-ms gives such requests more time."),
            StopReason::Crowded => Self::new(
                status,
                "cut_off",
                title,
                "The code changed several times while the app was still answering, and devhost keeps only a few \
                 generations that have requests.",
            ),
            StopReason::Shutdown => Self::new(
                status,
                "closed",
                "devhost is shutting down",
                "It was stopped while the app was still answering this request.",
            ),
            StopReason::HungUp => return Self::crash(&End::Stopped { reason }, request_line, generation),
        };
        page.about(request_line, generation)
    }
}
