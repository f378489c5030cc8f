//! Ends the app's half of a WebSocket whose generation ends. The app's output is discarded: an app blocked on
//! sending would never read the close frame.

use std::pin::{Pin, pin};
use std::time::Duration;

use tokio::time::Sleep;

use crate::gate::Visit;
use crate::upstream::{RecvHalf, SendHalf};
use crate::websocket::FrameTracker;

/// How long an ending WebSocket waits to complete a frame, and then for the client's close frame.
pub(super) const WEBSOCKET_CLOSE_TIME_MAX: Duration = Duration::from_secs(1);

/// The app's half on its way to its end.
pub(super) struct Farewell {
    output: Output,
    deadline: Pin<Box<Sleep>>,
    /// Counts as a request of the generation until this is over.
    _visit: Visit,
}

/// The app's output, which nobody gets.
struct Output {
    recv: RecvHalf,
    tracker: FrameTracker,
    has_ended: bool,
}

impl Output {
    /// Discards the next piece. Cancel-safe.
    async fn discard(&mut self) {
        match self.recv.data().await {
            Ok(Some(piece)) => self.tracker.advance(&piece),
            Ok(None) | Err(_) => self.has_ended = true,
        }
    }

    /// Returns true once nothing the app says matters any more.
    fn is_closed(&self) -> bool {
        self.has_ended || self.tracker.has_seen_close()
    }
}

impl Farewell {
    /// Starts with the position in the app's frames.
    pub(super) fn new(recv: RecvHalf, tracker: FrameTracker, visit: Visit) -> Self {
        Self {
            output: Output { recv, tracker, has_ended: false },
            deadline: Box::pin(tokio::time::sleep(WEBSOCKET_CLOSE_TIME_MAX)),
            _visit: visit,
        }
    }

    /// Runs `work` meanwhile. Returns `None` when the time is up.
    pub(super) async fn beside<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return Some(done),
                () = &mut self.deadline => return None,
                () = self.output.discard(), if !self.output.has_ended => {}
            }
        }
    }

    /// Waits for the app's close frame, ends the client's half in answer, and waits for the app's half to
    /// end.
    pub(super) async fn finish(mut self, mut send: SendHalf) {
        let Self { output, deadline, .. } = &mut self;
        let end = async {
            while !output.is_closed() {
                output.discard().await;
            }
            // Fails only if the app is gone.
            let _ = send.finish().await;
            while !output.has_ended {
                output.discard().await;
            }
        };
        tokio::select! {
            () = end => {}
            () = deadline => {}
        }
    }
}
