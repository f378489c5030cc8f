//! The event stream at `/__devhost/events`: what open pages are told, and how late or lagging ones catch up.
//! Remembers only the last word.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::broadcast::{self, error::RecvError};

use super::gate::Gate;
use devhost_model::BrowserEvent;

/// How far a slow page may lag, in events, before it is greeted again.
const EVENTS_BEHIND_COUNT_MAX: usize = 64;

/// How often an idle event stream sends a keep-alive.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// Sends events to all open pages. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Hub(Arc<Mutex<Events>>);

#[derive(Debug)]
struct Events {
    /// `None` once closed, which ends all streams.
    sender: Option<broadcast::Sender<(u64, BrowserEvent)>>,
    /// Counts visible changes, so that a page which was away knows that it missed some.
    revision: u64,
    builds: u64,
    /// The last event of a running build.
    building: Option<BrowserEvent>,
}

impl Default for Hub {
    fn default() -> Self {
        Self::new()
    }
}

impl Hub {
    /// Creates a hub without listeners.
    pub fn new() -> Self {
        let sender = Some(broadcast::Sender::new(EVENTS_BEHIND_COUNT_MAX));
        Self(Arc::new(Mutex::new(Events { sender, revision: 0, builds: 0, building: None })))
    }

    fn lock(&self) -> MutexGuard<'_, Events> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends an event to all open pages.
    pub fn send(&self, event: BrowserEvent) {
        let mut state = self.lock();
        if matches!(event, BrowserEvent::Building { .. }) {
            state.builds += 1;
        }
        match &event {
            BrowserEvent::Building { .. } | BrowserEvent::Progress { .. } => {
                state.building = Some(event.clone());
            }
            BrowserEvent::Css { .. } => state.revision += 1,
            BrowserEvent::Reload { .. } | BrowserEvent::Failed { .. } | BrowserEvent::Recovered => {
                state.building = None;
            }
            BrowserEvent::Hello { .. } | BrowserEvent::Moved { .. } => {}
        }
        if let Some(sender) = &state.sender {
            // Fails only if no page is open.
            let _ = sender.send((state.revision, event));
        }
    }

    /// Counts a change that a Reload will announce. Must be called before the change can be served, so that
    /// only pages served afterwards count as up to date.
    pub fn advance(&self) {
        self.lock().revision += 1;
    }

    /// Ends all event streams, as devhost is ending.
    pub fn close(&self) {
        self.lock().sender = None;
    }

    /// Returns the number of reloads and stylesheet swaps.
    pub fn revision(&self) -> u64 {
        self.lock().revision
    }

    /// Returns the number of open event streams.
    pub fn listener_count(&self) -> usize {
        self.lock().sender.as_ref().map_or(0, broadcast::Sender::receiver_count)
    }

    fn subscribe(&self) -> Option<Subscription> {
        let state = self.lock();
        let receiver = state.sender.as_ref()?.subscribe();
        Some(Subscription {
            receiver,
            revision: state.revision,
            builds: state.builds,
            building: state.building.clone(),
        })
    }
}

#[derive(Debug)]
struct Subscription {
    receiver: broadcast::Receiver<(u64, BrowserEvent)>,
    revision: u64,
    builds: u64,
    building: Option<BrowserEvent>,
}

enum Step {
    Greet,
    Listen(Subscription),
}

/// Returns one event stream. It begins with a Hello, and sends another if the page falls behind.
pub(crate) fn stream_events(
    hub: Hub,
    gate: Gate,
    session: String,
) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> {
    stream_events_kept_alive(hub, gate, session, KEEP_ALIVE_INTERVAL)
}

fn stream_events_kept_alive(
    hub: Hub,
    gate: Gate,
    session: String,
    interval: Duration,
) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> {
    futures_util::stream::unfold(Step::Greet, move |step| {
        let (hub, gate, session) = (hub.clone(), gate.clone(), session.clone());
        async move {
            let mut subscription = match step {
                Step::Greet => {
                    // Subscribes before the greeting, so that no event is lost in between.
                    let mut subscription = hub.subscribe()?;
                    let hello = BrowserEvent::Hello {
                        session,
                        generation: gate.current().map_or(0, |backend| backend.generation),
                        builds: subscription.builds,
                        failure: gate.failure(),
                    };
                    let mut text = encode(subscription.revision, &hello);
                    if let Some(building) = subscription.building.take() {
                        text.push_str(&encode(subscription.revision, &building));
                    }
                    return Some((Ok(text.into()), Step::Listen(subscription)));
                }
                Step::Listen(subscription) => subscription,
            };
            match tokio::time::timeout(interval, subscription.receiver.recv()).await {
                Err(_) => Some((Ok(Bytes::from_static(b":\n\n")), Step::Listen(subscription))),
                Ok(Ok((revision, event))) => {
                    Some((Ok(encode(revision, &event).into()), Step::Listen(subscription)))
                }
                Ok(Err(RecvError::Lagged(_))) => Some((Ok(Bytes::from_static(b":\n\n")), Step::Greet)),
                Ok(Err(RecvError::Closed)) => None,
            }
        }
    })
}

/// Encodes one event as text/event-stream. Its id is the revision.
fn encode(revision: u64, event: &BrowserEvent) -> String {
    // Always one line: serde_json escapes line ends.
    let json = serde_json::to_string(event).unwrap_or_else(|_| "{}".into());
    format!("id: {revision}\ndata: {json}\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use devhost_model::Failure;
    use futures_util::{FutureExt, StreamExt};

    fn text(item: Option<Result<Bytes, std::convert::Infallible>>) -> String {
        String::from_utf8(item.unwrap().unwrap().to_vec()).unwrap()
    }

    fn open(hub: &Hub, gate: &Gate) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> + Unpin {
        Box::pin(stream_events(hub.clone(), gate.clone(), "s1".into()))
    }

    #[tokio::test]
    async fn the_first_event_is_hello_and_then_events_follow() {
        let (hub, gate) = (Hub::new(), Gate::new());
        let failure = Failure::start("no\nport", "");
        gate.set_failure(Some(failure));
        let mut events = open(&hub, &gate);
        let hello = text(events.next().await);
        assert!(hello.starts_with("id: 0\ndata: {\"type\":\"hello\",\"session\":\"s1\",\"generation\":0,"));
        assert!(hello.contains("no\\nport") && hello.ends_with("\n\n"));
        hub.advance();
        hub.send(BrowserEvent::Reload { generation: 2, files: Vec::new(), restarted: true });
        assert_eq!(
            text(events.next().await),
            "id: 1\ndata: {\"type\":\"reload\",\"generation\":2,\"restarted\":true}\n\n"
        );
    }

    #[tokio::test]
    async fn a_page_opened_during_a_build_learns_of_it() {
        let (hub, gate) = (Hub::new(), Gate::new());
        hub.send(BrowserEvent::Progress { done: 3, total: 9, current: "serde".into() });
        assert!(text(open(&hub, &gate).next().await).contains("\"type\":\"progress\",\"done\":3"));
        hub.send(BrowserEvent::Reload { generation: 1, files: Vec::new(), restarted: true });
        assert!(!text(open(&hub, &gate).next().await).contains("progress"));
    }

    #[tokio::test]
    async fn a_page_that_fell_behind_is_greeted_again() {
        let (hub, gate) = (Hub::new(), Gate::new());
        let mut events = open(&hub, &gate);
        events.next().await;
        for _ in 0..=EVENTS_BEHIND_COUNT_MAX {
            hub.send(BrowserEvent::Css { files: Vec::new() });
        }
        assert_eq!(text(events.next().await), ":\n\n");
        assert!(text(events.next().await).starts_with("id: 65\ndata: {\"type\":\"hello\""));
        assert!(events.next().now_or_never().is_none());
    }

    #[tokio::test]
    async fn an_idle_stream_says_that_it_is_alive() {
        let interval = Duration::from_millis(1);
        let mut events = Box::pin(stream_events_kept_alive(Hub::new(), Gate::new(), "s".into(), interval));
        events.next().await;
        assert_eq!(text(events.next().await), ":\n\n");
        assert_eq!(text(events.next().await), ":\n\n");
    }

    #[tokio::test]
    async fn streams_end_with_devhost() {
        let (hub, gate) = (Hub::new(), Gate::new());
        let mut events = open(&hub, &gate);
        events.next().await;
        assert_eq!(hub.listener_count(), 1);
        hub.close();
        assert!(events.next().await.is_none());
        assert!(open(&hub, &gate).next().await.is_none());
    }
}
