//! The end of the app's half of a WebSocket whose generation ends: the client gets no more of it, and what the app
//! still sends is thrown away, because an app that is stuck sending would not get to read the close frame.

use std::pin::{Pin, pin};
use std::time::Duration;

use tokio::time::Sleep;

use crate::gate::Visit;
use crate::upstream::{RecvHalf, SendHalf};
use crate::websocket::FrameTracker;

/// How long the end of a WebSocket waits for the frame it is in, and then for the client's close frame.
pub(super) const WEBSOCKET_CLOSE_TIME_MAX: Duration = Duration::from_secs(1);

/// The end of the app's half: the client gets no more of it.
pub(super) struct Farewell {
    output: Output,
    deadline: Pin<Box<Sleep>>,
    /// Until it is over, the generation has a request.
    _visit: Visit,
}

/// What the app sends, which nobody gets.
struct Output {
    recv: RecvHalf,
    tracker: FrameTracker,
    has_ended: bool,
}

impl Output {
    /// Throws the next piece away. Cancel-safe.
    async fn discard(&mut self) {
        match self.recv.data().await {
            Ok(Some(piece)) => self.tracker.advance(&piece),
            Ok(None) | Err(_) => self.has_ended = true,
        }
    }

    /// True once the app says nothing more that matters.
    fn is_closed(&self) -> bool {
        self.has_ended || self.tracker.has_seen_close()
    }
}

impl Farewell {
    /// Begins it, with the place in the app's frames.
    pub(super) fn new(recv: RecvHalf, tracker: FrameTracker, visit: Visit) -> Self {
        Self {
            output: Output { recv, tracker, has_ended: false },
            deadline: Box::pin(tokio::time::sleep(WEBSOCKET_CLOSE_TIME_MAX)),
            _visit: visit,
        }
    }

    /// Does something else meanwhile; `None` if the time is over.
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

    /// Waits for the app's close frame, answers it by the end of the client's half, and waits for the end of the app's.
    pub(super) async fn finish(mut self, mut send: SendHalf) {
        let Self { output, deadline, .. } = &mut self;
        let end = async {
            while !output.is_closed() {
                output.discard().await;
            }
            // An error means that the app is gone.
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
