//! `GET /ws`: a chat over a WebSocket. Nothing is stored.
//!
//! A text message is a line, passed on to everybody in the room including its author. A binary message is echoed to
//! its sender alone. The server sends [`Notice`]s as JSON: `welcome` once, `presence` when somebody comes or
//! goes, `said` for a line, `refused` for a line that was not passed on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::State;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use serde::Serialize;
use tokio::sync::broadcast::{self, error::RecvError};

use crate::Board;

/// The longest line, in characters.
const LINE_MAX_CHARS: usize = 500;

/// The longest message of either kind, in bytes. A longer one ends the connection.
const MESSAGE_MAX_BYTES: usize = 1024 * 1024;

/// How many lines a slow guest may lag behind before some are skipped.
const BACKLOG_MAX_LINES: usize = 256;

/// Everybody who is chatting. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    lines: broadcast::Sender<Utf8Bytes>,
    guests: Arc<AtomicU64>,
}

impl Room {
    /// An empty room.
    pub(crate) fn new() -> Self {
        Self { lines: broadcast::Sender::new(BACKLOG_MAX_LINES), guests: Arc::default() }
    }

    fn tell_everybody(&self, notice: &Notice<'_>) {
        // An error means that the room is empty.
        let _ = self.lines.send(notice.to_text());
    }

    fn tell_presence(&self) {
        self.tell_everybody(&Notice::Presence { online: self.lines.receiver_count() });
    }
}

/// What the server says.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Notice<'a> {
    Welcome { you: &'a str },
    Presence { online: usize },
    Said { from: &'a str, text: &'a str },
    Refused { reason: String },
}

impl Notice<'_> {
    fn to_text(&self) -> Utf8Bytes {
        serde_json::to_string(self).expect("numbers and strings are always JSON").into()
    }
}

/// Lets a guest into the room.
pub(crate) async fn join(State(board): State<Board>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.max_message_size(MESSAGE_MAX_BYTES).on_upgrade(async move |mut socket| {
        let room = board.room;
        let guest = format!("Guest {}", room.guests.fetch_add(1, Ordering::Relaxed) + 1);
        let lines = room.lines.subscribe();
        room.tell_presence();
        // An error means that the guest is gone, which is no news to anybody but the room.
        let _ = talk(&mut socket, &room, &guest, lines).await;
        room.tell_presence();
    })
}

async fn talk(
    socket: &mut WebSocket,
    room: &Room,
    guest: &str,
    mut lines: broadcast::Receiver<Utf8Bytes>,
) -> Result<(), axum::Error> {
    socket.send(Message::Text(Notice::Welcome { you: guest }.to_text())).await?;
    loop {
        tokio::select! {
            line = lines.recv() => match line {
                Ok(line) => socket.send(Message::Text(line)).await?,
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Ok(()),
            },
            message = socket.recv() => match message.transpose()? {
                Some(Message::Text(text)) => match check_line(&text) {
                    Ok(text) => room.tell_everybody(&Notice::Said { from: guest, text }),
                    Err(refused) => socket.send(Message::Text(refused.to_text())).await?,
                },
                Some(Message::Binary(bytes)) => socket.send(Message::Binary(bytes)).await?,
                // axum answers pings and closes by itself.
                Some(Message::Ping(_) | Message::Pong(_)) => {}
                Some(Message::Close(_)) | None => return Ok(()),
            },
        }
    }
}

fn check_line(text: &str) -> Result<&str, Notice<'static>> {
    let text = text.trim();
    if text.is_empty() {
        Err(Notice::Refused { reason: "There is nothing in it.".into() })
    } else if text.chars().count() > LINE_MAX_CHARS {
        Err(Notice::Refused { reason: format!("A line has at most {LINE_MAX_CHARS} characters.") })
    } else {
        Ok(text)
    }
}
