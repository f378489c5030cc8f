//! The client's half of a WebSocket on its way to the app.
//!
//! When a generation ends, the app gets a close frame between two of the client's. After a moment for its
//! answer, the connection ends in order, as for a closed browser tab: nothing to log.

use std::collections::VecDeque;
use std::pin::pin;
use std::rc::Rc;

use actix_web::dev::Payload;
use bytes::Bytes;
use futures_util::StreamExt;

use super::farewell::Farewell;
use super::signals::{PumpEnd, Signals};
use crate::upstream::{SendHalf, UpstreamError};
use crate::websocket::{CLOSE_GOING_AWAY, FrameTracker};

/// How the open phase of a WebSocket ends.
enum Open {
    /// The client has ended its half.
    Finished,
    /// The client is gone.
    Broken,
    /// The app takes no more.
    Refused(UpstreamError),
    /// Another worker shall get the request.
    Recalled,
    /// The generation ends.
    Leaves(Farewell),
    /// The generation ended, and the app did not take a pending message in time.
    Cut,
}

/// Forwards the client's bytes, and takes leave of the app when told.
pub(super) async fn run(
    mut payload: Payload,
    kept: VecDeque<Bytes>,
    mut send: SendHalf,
    signals: Rc<Signals>,
) -> PumpEnd {
    let mut tracker = FrameTracker::default();
    match open(&mut payload, kept, &mut send, &mut tracker, &signals).await {
        Open::Finished => {
            // The response shows an error here, too.
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
                // Finishes the message: a truncated frame would swallow the close frame.
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
        // Meanwhile the client may answer its own close frame.
        () = async {
            follow_client(payload, tracker, signals).await;
            std::future::pending::<()>().await;
        } => {}
    }
}

/// Finishes the client's frame and sends the close frame. Returns false if that is no longer possible.
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

/// Watches for the client's close frame until the client is gone.
async fn follow_client(payload: &mut Payload, tracker: &mut FrameTracker, signals: &Signals) {
    while let Some(Ok(chunk)) = payload.next().await {
        signals.follow(tracker, &chunk);
    }
}
