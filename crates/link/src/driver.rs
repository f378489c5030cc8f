//! The driver task of the front's end: takes what has arrived and delivers it to the streams' inboxes.
//!
//! Locks are taken in the order endpoint, inbox, and never across an await. The front never reads its
//! eventfd's counter: tokio waits for edges, and each ring is one.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, watch};

use crate::endpoint::{Endpoint, FRAMES_PER_POLL_COUNT_MAX, Incoming, Over, Refusal};
use crate::fault::PeerFault;
use crate::inbox::{StreamError, StreamSlot};
use crate::layout::RING_LENGTH_MAX_BYTES;
use crate::protocol::{FRAME_HEADER_BYTES, STREAMS_COUNT_MAX};
use crate::spin::Spin;

/// How many turns empty a full ring, whatever it contains. Bounds the draining after a close.
const DRAIN_TURNS_COUNT_MAX: usize =
    RING_LENGTH_MAX_BYTES / FRAME_HEADER_BYTES / FRAMES_PER_POLL_COUNT_MAX + 1;

/// How many wakes in a row may find nothing. An honest worker rings at most twice for each change, and the
/// first ring may already reveal what the second announces.
const EMPTY_WAKES_COUNT_MAX: u32 = 1024;

/// State shared by the driver, the client and the halves of all streams.
#[derive(Debug)]
pub(crate) struct Shared {
    endpoint: Mutex<Endpoint<Arc<StreamSlot>>>,
    /// One permit per stream that may be open.
    pub(crate) places: Arc<Semaphore>,
    /// Notified when the ring has more room.
    pub(crate) space: Notify,
    /// Wakes the driver for anything but a frame.
    command: Notify,
    close_is_asked: AtomicBool,
    /// Whether a request or a message was sent since the driver's last turn.
    is_asked: AtomicBool,
    over: watch::Sender<Option<Over>>,
}

impl Shared {
    fn new(endpoint: Endpoint<Arc<StreamSlot>>) -> Self {
        Self {
            endpoint: Mutex::new(endpoint),
            places: Arc::new(Semaphore::new(STREAMS_COUNT_MAX)),
            space: Notify::new(),
            command: Notify::new(),
            close_is_asked: AtomicBool::new(false),
            is_asked: AtomicBool::new(false),
            over: watch::Sender::new(None),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Endpoint<Arc<StreamSlot>>> {
        self.endpoint.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls the endpoint. Fails all streams if the link turns out to be over.
    pub(crate) fn call<R>(
        &self,
        call: impl FnOnce(&mut Endpoint<Arc<StreamSlot>>) -> Result<R, Refusal>,
    ) -> Result<R, Refusal> {
        let result = call(&mut self.lock());
        if let Err(Refusal::Over(over)) = &result {
            self.end(over.clone());
        }
        result
    }

    /// Notes that something was sent that is probably answered at once.
    pub(crate) fn expect_answer(&self) {
        if Spin::is_for(self.places.available_permits()) {
            self.is_asked.store(true, Ordering::Relaxed);
            self.command.notify_one();
        }
    }

    /// Makes the driver deliver what is there and then end the link.
    pub(crate) fn close(&self) {
        self.close_is_asked.store(true, Ordering::Release);
        self.command.notify_one();
    }

    /// Makes the driver take a turn although nothing woke it.
    pub(crate) fn wake_driver(&self) {
        self.command.notify_one();
    }

    pub(crate) async fn ended(&self) -> Option<Over> {
        let mut over = self.over.subscribe();
        over.wait_for(Option::is_some).await.ok()?.clone()
    }

    fn end(&self, over: Over) {
        let (slots, over) = {
            let mut endpoint = self.lock();
            let slots = endpoint.shut(over.clone());
            (slots, endpoint.over().cloned().unwrap_or(over))
        };
        self.over.send_if_modified(|slot| {
            let first = slot.is_none();
            if first {
                *slot = Some(over.clone());
            }
            first
        });
        for slot in slots {
            slot.finish(Err(over.clone().into()));
        }
        self.places.close();
        self.space.notify_waiters();
        self.command.notify_one();
    }

    pub(crate) fn error(&self) -> StreamError {
        self.over.borrow().clone().unwrap_or(Over::Lost).into()
    }

    /// Takes what has arrived and delivers it. Parks if there is nothing and `spin` has ended.
    fn turn(&self, incoming: &mut Vec<Incoming<Arc<StreamSlot>>>, spin: &mut Spin) -> Turn {
        let collected = {
            let mut endpoint = self.lock();
            endpoint
                .collect(incoming)
                .and_then(|()| Ok(incoming.is_empty() && !spin.goes_on() && endpoint.park()?))
        };
        if !incoming.is_empty() {
            spin.note_frame();
        }
        for incoming in incoming.drain(..) {
            self.dispatch(incoming);
        }
        match collected {
            Ok(true) => Turn::Idle,
            Ok(false) => Turn::More,
            Err(over) => {
                self.end(over);
                Turn::Over
            }
        }
    }

    fn dispatch(&self, incoming: Incoming<Arc<StreamSlot>>) {
        match incoming {
            Incoming::Head { target, bytes, end, .. } => {
                target.change(|inbox| inbox.head = Some((bytes, end)));
                if end {
                    target.finish(Ok(()));
                }
            }
            Incoming::Data { target, bytes, end, .. } => {
                if !bytes.is_empty() {
                    target.change(|inbox| inbox.push(bytes));
                }
                if end {
                    target.finish(Ok(()));
                }
            }
            Incoming::Writable { target, .. } => target.writable.notify_one(),
            Incoming::Reset { target, .. } => target.finish(Err(StreamError::Reset)),
            Incoming::Space => self.space.notify_waiters(),
            // The endpoint treats it as a fault at this end.
            Incoming::GoAway => {}
        }
    }
}

enum Turn {
    /// There may be more.
    More,
    /// Nothing is left; the next frame rings.
    Idle,
    Over,
}

/// Checks that the peer has reasons for its wakes.
#[derive(Debug, Default)]
struct Wakes {
    /// Whether the peer has rung since the last check.
    rung: bool,
    /// How many rings in a row found nothing changed.
    empty: u32,
    positions: (u64, u64),
}

impl Wakes {
    fn check(&mut self, positions: (u64, u64)) -> Result<(), PeerFault> {
        let has_moved = std::mem::replace(&mut self.positions, positions) != positions;
        if has_moved {
            self.empty = 0;
        }
        if std::mem::take(&mut self.rung) && !has_moved {
            self.empty += 1;
        }
        if self.empty > EMPTY_WAKES_COUNT_MAX { Err(PeerFault::Wakes(self.empty)) } else { Ok(()) }
    }
}

/// Ends the link along with the driver's task, even if the runtime drops it.
struct DriverGuard<'a>(&'a Shared);

impl Drop for DriverGuard<'_> {
    fn drop(&mut self) {
        self.0.end(Over::Lost);
    }
}

async fn drive(shared: Arc<Shared>, event: AsyncFd<OwnedFd>) {
    let _guard = DriverGuard(&shared);
    let mut incoming = Vec::new();
    let mut drain_turns = 0;
    let mut wakes = Wakes::default();
    let mut spin = Spin::new();
    loop {
        // Read before the turn, so that the turn sees everything that a worker committed before it died.
        let is_closing = shared.close_is_asked.load(Ordering::Acquire);
        drain_turns += usize::from(is_closing);
        if is_closing {
            spin.end();
        } else if shared.is_asked.swap(false, Ordering::Relaxed) {
            spin.begin(Instant::now());
        }
        match shared.turn(&mut incoming, &mut spin) {
            Turn::Over => return,
            _ if drain_turns > DRAIN_TURNS_COUNT_MAX => return,
            Turn::More => tokio::task::yield_now().await,
            Turn::Idle if is_closing => return,
            Turn::Idle => {
                let positions = shared.lock().peer_positions();
                if let Err(fault) = wakes.check(positions) {
                    return shared.end(Over::Fault(fault));
                }
                tokio::select! {
                    ready = event.readable() => match ready {
                        Ok(mut ready) => {
                            ready.clear_ready();
                            wakes.rung = true;
                        }
                        // The runtime is shutting down.
                        Err(_) => return,
                    },
                    () = shared.command.notified() => {}
                }
            }
        }
    }
}

/// A reference to a link, held by the client and the halves of its streams. The link ends with the last one.
#[derive(Debug)]
pub(crate) struct LinkHandle(Arc<Shared>);

impl LinkHandle {
    /// Spawns the driver of an endpoint. The worker rings `event`.
    pub(crate) fn spawn_driver(
        runtime: &Handle,
        endpoint: Endpoint<Arc<StreamSlot>>,
        event: AsyncFd<OwnedFd>,
    ) -> Self {
        let shared = Arc::new(Shared::new(endpoint));
        runtime.spawn(drive(Arc::clone(&shared), event));
        Self(shared)
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.0
    }
}

impl Drop for LinkHandle {
    fn drop(&mut self) {
        self.0.end(Over::Lost);
    }
}
