//! `GET /feed`: new entries as server-sent events, each with the entry as JSON and its id as the event's id.
//!
//! A reader that reconnects names the last id that it has seen, and first gets what it missed. The entries themselves are
//! always read from the store; what wakes a feed only says that there is something to read. So nothing is lost or out of
//! order, even if a reader is slow or the process was replaced meanwhile.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream, StreamExt};
use serde::Deserialize;
use tokio::sync::watch;

use crate::Board;
use crate::entry::Entry;
use crate::error::Error;
use crate::store::Store;

/// How soon a reader should reconnect after its connection has ended.
const RETRY_TIME: Duration = Duration::from_millis(500);

/// How often an idle feed says something, so that a dead connection is noticed.
const KEEP_ALIVE_TIME: Duration = Duration::from_secs(15);

/// How many entries are read from the store at a time.
const BATCH_MAX_ENTRIES: u32 = 50;

/// Where to start.
#[derive(Debug, Deserialize)]
pub(crate) struct Start {
    /// The last id that the reader has, for readers without a `Last-Event-ID`.
    after: Option<i64>,
}

/// Follows the book from `Last-Event-ID`, else from `?after=ID`, else from now.
pub(crate) async fn follow(
    State(board): State<Board>,
    Query(start): Query<Start>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Error> {
    // Subscribed before the first look at the store: an entry written in between wakes the feed again.
    let changes = board.store.changes();
    let last = match last_event_id(&headers).or(start.after) {
        Some(id) => id,
        None => board.store.latest_id().await?,
    };
    let follower = Follower { store: board.store, changes, last, batch: VecDeque::new() };
    let entries = stream::unfold(follower, async |mut follower| {
        let entry = follower.next().await?;
        Some((describe(&entry), follower))
    });
    let opening = stream::once(async { Event::default().retry(RETRY_TIME).comment("following the book") });
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE_TIME);
    Ok(Sse::new(opening.chain(entries).map(Ok)).keep_alive(keep_alive))
}

struct Follower {
    store: Store,
    changes: watch::Receiver<i64>,
    last: i64,
    batch: VecDeque<Entry>,
}

impl Follower {
    /// The next entry, waiting for it to be written; `None` ends the feed.
    async fn next(&mut self) -> Option<Entry> {
        loop {
            if let Some(entry) = self.batch.pop_front() {
                self.last = entry.id;
                return Some(entry);
            }
            self.changes.mark_unchanged();
            match self.store.list_after(self.last, BATCH_MAX_ENTRIES).await {
                Ok(entries) if entries.is_empty() => self.changes.changed().await.ok()?,
                Ok(entries) => self.batch.extend(entries),
                Err(error) => {
                    // The reader reconnects by itself and continues where it was.
                    eprintln!("error: {error}");
                    return None;
                }
            }
        }
    }
}

fn describe(entry: &Entry) -> Event {
    Event::default()
        .event("entry")
        .id(entry.id.to_string())
        .json_data(entry)
        .expect("numbers and strings are always JSON")
}

fn last_event_id(headers: &HeaderMap) -> Option<i64> {
    headers.get("last-event-id")?.to_str().ok()?.parse().ok()
}
