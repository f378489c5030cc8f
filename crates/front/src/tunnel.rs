//! The client's half of a WebSocket on its way to the app, and the end of the connection to the app: when a generation ends,
//! the app is told by a close frame, between two frames of the client's. Its answer is waited for a moment, then the
//! connection is ended in order. So the app sees what it sees of a browser tab that is closed, and has nothing to log.
//!
//! What the app still sends meanwhile is thrown away: an app that is stuck in sending would not come to read the close frame.

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::rc::Rc;

use actix_web::dev::Payload;
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::time::Sleep;

use super::body::{PumpEnd, Signals, WEBSOCKET_CLOSE_TIME_MAX};
use super::gate::Visit;
use super::upstream::{RecvHalf, SendHalf, UpstreamError};
use super::websocket::{CLOSE_GOING_AWAY, FrameTracker};

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
    pub(crate) fn new(recv: RecvHalf, tracker: FrameTracker, visit: Visit) -> Self {
        Self {
            output: Output { recv, tracker, has_ended: false },
            deadline: Box::pin(tokio::time::sleep(WEBSOCKET_CLOSE_TIME_MAX)),
            _visit: visit,
        }
    }

    /// Does something else meanwhile; `None` if the time is over.
    async fn beside<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
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
    async fn finish(mut self, mut send: SendHalf) {
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

/// How the open time of a WebSocket ends.
enum Open {
    /// The client has ended its half.
    Finished,
    /// The client is gone.
    Broken,
    /// The app takes no more.
    Refused(UpstreamError),
    /// The request goes to another worker.
    Recalled,
    /// The generation ends.
    Leaves(Farewell),
    /// It has ended, and the app did not take in time what was being sent.
    Cut,
}

/// Sends what the client sends, and takes leave of the app when told so.
pub(super) async fn run(
    mut payload: Payload,
    kept: VecDeque<Bytes>,
    mut send: SendHalf,
    signals: Rc<Signals>,
) -> PumpEnd {
    let mut tracker = FrameTracker::default();
    match open(&mut payload, kept, &mut send, &mut tracker, &signals).await {
        Open::Finished => {
            // An error here shows in the response, too.
            let _ = send.finish().await;
            return PumpEnd::Finished(payload);
        }
        Open::Broken => return PumpEnd::Broken,
        Open::Recalled => return PumpEnd::Recalled(payload),
        Open::Refused(UpstreamError::Lost) if signals.has_kept() => {
            // Another worker may be sent all of it.
            signals.recall.notified().await;
            return PumpEnd::Recalled(payload);
        }
        Open::Leaves(farewell) => leave(&mut payload, send, &mut tracker, farewell, &signals).await,
        Open::Refused(_) | Open::Cut => drop(send),
    }
    tokio::select! {
        () = follow_client(&mut payload, &mut tracker, &signals) => {}
        () = signals.gone.notified() => {}
    }
    PumpEnd::Finished(payload)
}

async fn open(
    payload: &mut Payload,
    mut again: VecDeque<Bytes>,
    send: &mut SendHalf,
    tracker: &mut FrameTracker,
    signals: &Signals,
) -> Open {
    loop {
        let chunk = match again.pop_front() {
            Some(chunk) => chunk,
            None => tokio::select! {
                chunk = payload.next() => match chunk {
                    Some(Ok(chunk)) => {
                        signals.keep(&chunk);
                        chunk
                    }
                    Some(Err(_)) => return Open::Broken,
                    None => return Open::Finished,
                },
                () = signals.turn.breaks() => return Open::Broken,
                farewell = signals.farewell() => return Open::Leaves(farewell),
                () = signals.recall.notified() => return Open::Recalled,
            },
        };
        signals.follow(tracker, &chunk);
        let mut sending = pin!(send.send(chunk));
        let (sent, farewell) = tokio::select! {
            biased;
            sent = &mut sending => (Some(sent), None),
            farewell = signals.farewell() => {
                // What has begun is finished: a frame that was cut would swallow the close frame.
                let mut farewell = farewell;
                (farewell.beside(&mut sending).await, Some(farewell))
            }
            () = signals.recall.notified() => return Open::Recalled,
        };
        match (sent, farewell) {
            (Some(Ok(())), None) => {}
            (Some(Ok(())), Some(farewell)) => return Open::Leaves(farewell),
            (Some(Err(error)), _) => return Open::Refused(error),
            (None, _) => return Open::Cut,
        }
    }
}

/// Tells the app that the client goes away, and ends the connection.
async fn leave(
    payload: &mut Payload,
    mut send: SendHalf,
    tracker: &mut FrameTracker,
    mut farewell: Farewell,
    signals: &Signals,
) {
    let close = tell(payload, &mut send, tracker, signals);
    if farewell.beside(close).await != Some(true) {
        return;
    }
    tokio::select! {
        () = farewell.finish(send) => {}
        // The client's answer to its own close frame comes meanwhile.
        () = async {
            follow_client(payload, tracker, signals).await;
            std::future::pending().await
        } => {}
    }
}

/// Sends the close frame, after the frame that the client is in. False if it cannot be sent any more.
async fn tell(
    payload: &mut Payload,
    send: &mut SendHalf,
    tracker: &mut FrameTracker,
    signals: &Signals,
) -> bool {
    let mut rest = Bytes::new();
    while !tracker.is_at_boundary() {
        let Some(Ok(mut chunk)) = payload.next().await else { return false };
        rest = chunk.split_off(tracker.advance_to_boundary(&chunk));
        if send.send(chunk).await.is_err() {
            return false;
        }
    }
    let client_closes = tracker.has_seen_close();
    signals.follow(tracker, &rest);
    client_closes || send.send(CLOSE_GOING_AWAY).await.is_ok()
}

/// Looks out for the client's close frame until the client is gone.
async fn follow_client(payload: &mut Payload, tracker: &mut FrameTracker, signals: &Signals) {
    while let Some(Ok(chunk)) = payload.next().await {
        signals.follow(tracker, &chunk);
    }
}
