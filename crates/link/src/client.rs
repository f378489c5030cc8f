//! The front's end of a link, on tokio: a driver task takes what arrives and hands it to the halves of each stream.
//!
//! Locks are taken in the order endpoint, then inbox, and never across an await. The front never reads its eventfd's
//! counter: tokio waits for edges, and each ring is one.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use nix::errno::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};

use super::LinkFds;
use super::copy::Access;
use super::fault::{PeerFault, RegionError};
use super::frame::FRAME_HEADER_BYTES;
use super::layout::RING_LENGTH_MAX_BYTES;
use super::link::{Endpoint, FRAMES_PER_POLL_COUNT_MAX, Incoming, Over, Refused};
use super::region::{Direction, Region, seal_down, verify_seals};
use super::spin::Spin;
use super::stream::{STREAMS_COUNT_MAX, Side};
use super::wake::Event;

/// How many turns of the driver empty a full ring, whatever is in it: the bound on draining after a close.
const DRAIN_TURNS_COUNT_MAX: usize =
    RING_LENGTH_MAX_BYTES / FRAME_HEADER_BYTES / FRAMES_PER_POLL_COUNT_MAX + 1;

/// How many wakes in a row may find nothing. An honest worker rings at most twice for each change that it makes, and
/// the second time may find that the first had told of both.
const EMPTY_WAKES_COUNT_MAX: u32 = 1024;

/// Pieces of a body that are smaller than this together are joined, so that a worker that sends byte by byte does not
/// cost the front an allocation for each.
const PIECE_JOIN_MAX_BYTES: usize = 4 * 1024;

/// A body that comes in larger pieces is an upload, to which nobody answers piece by piece.
const MESSAGE_LENGTH_MAX_BYTES: usize = 4 * 1024;

/// Why a stream or a link is over, seen from the front.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The worker cut this one response off, or wants no more of its request.
    #[error("the worker has reset the stream")]
    Reset,
    /// The link is gone: the worker died or was killed.
    #[error("the worker is gone")]
    Lost,
    /// The worker broke the protocol.
    #[error("the worker broke the protocol: {0}")]
    Fault(PeerFault),
    /// The head exceeds [`super::HEAD_LENGTH_MAX_BYTES`].
    #[error("the head is too large")]
    TooLarge,
}

impl From<Over> for StreamError {
    fn from(over: Over) -> Self {
        match over {
            Over::Lost => Self::Lost,
            Over::Fault(fault) => Self::Fault(fault),
        }
    }
}

/// What has arrived for a stream and was not taken yet. Its size is bounded by the credit of the stream.
#[derive(Debug, Default)]
struct Inbox {
    head: Option<(Bytes, bool)>,
    body: VecDeque<Bytes>,
    /// Set once nothing more will come, and why.
    ending: Option<Result<(), StreamError>>,
    waker: Option<Waker>,
}

impl Inbox {
    fn push(&mut self, piece: Bytes) {
        match self.body.back_mut() {
            Some(last) if last.len() + piece.len() <= PIECE_JOIN_MAX_BYTES => {
                let mut joined = BytesMut::from(std::mem::take(last));
                joined.extend_from_slice(&piece);
                *last = joined.freeze();
            }
            _ => self.body.push_back(piece),
        }
    }
}

/// What the driver and the halves of a stream share.
#[derive(Debug)]
struct Slot {
    inbox: Mutex<Inbox>,
    /// The sender may go on, or must give up.
    writable: Notify,
    /// The stream's place among [`STREAMS_COUNT_MAX`], given back with the last half: until then its inbox takes
    /// memory.
    _place: OwnedSemaphorePermit,
}

impl Slot {
    fn new(place: OwnedSemaphorePermit) -> Self {
        Self { inbox: Mutex::default(), writable: Notify::new(), _place: place }
    }

    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Inbox)) {
        let waker = {
            let mut inbox = self.lock();
            change(&mut inbox);
            inbox.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Nothing more will come. The first reason stays.
    fn finish(&self, ending: Result<(), StreamError>) {
        self.change(|inbox| {
            inbox.ending.get_or_insert(ending);
        });
        self.writable.notify_one();
    }

    /// Why nothing more can be sent.
    fn send_error(&self) -> StreamError {
        match &self.lock().ending {
            Some(Err(error)) => error.clone(),
            Some(Ok(())) | None => StreamError::Reset,
        }
    }
}

#[derive(Debug)]
struct Shared {
    endpoint: Mutex<Endpoint<Arc<Slot>>>,
    places: Arc<Semaphore>,
    /// The ring has more room.
    space: Notify,
    /// Wakes the driver for something other than a frame.
    command: Notify,
    close_is_asked: AtomicBool,
    /// A request or a message was sent since the driver last looked.
    is_asked: AtomicBool,
    over: watch::Sender<Option<Over>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Endpoint<Arc<Slot>>> {
        self.endpoint.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the endpoint. Where that finds the link to be over, everybody is told.
    fn call<R>(
        &self,
        call: impl FnOnce(&mut Endpoint<Arc<Slot>>) -> Result<R, Refused>,
    ) -> Result<R, Refused> {
        let result = call(&mut self.lock());
        if let Err(Refused::Over(over)) = &result {
            self.end(over.clone());
        }
        result
    }

    /// Something was sent that is probably answered at once.
    fn expect_answer(&self) {
        if Spin::is_for(self.places.available_permits()) {
            self.is_asked.store(true, Ordering::Relaxed);
            self.command.notify_one();
        }
    }

    /// Ends the link and fails all streams.
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

    fn error(&self) -> StreamError {
        self.over.borrow().clone().unwrap_or(Over::Lost).into()
    }

    /// Takes what has arrived and hands it on. Where that is nothing, it parks, unless `spin` goes on.
    fn turn(&self, incoming: &mut Vec<Incoming<Arc<Slot>>>, spin: &mut Spin) -> Turn {
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

    fn dispatch(&self, incoming: Incoming<Arc<Slot>>) {
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
            // The endpoint takes it for a fault on this side.
            Incoming::GoAway => {}
        }
    }
}

/// What a turn of the driver came to.
enum Turn {
    /// There may be more.
    More,
    /// Nothing is left, and the next frame rings.
    Idle,
    /// The link is over.
    Over,
}

/// Whether the peer has a reason for its wakes.
#[derive(Debug, Default)]
struct Wakes {
    /// The peer has rung since the last check.
    rung: bool,
    /// Rings in a row after which nothing had changed.
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

/// Ends the link when the driver's task goes, also where its runtime dropped it.
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
        // Read before the turn: what a worker had committed before it died is then in sight of the turn.
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

/// Ends the link when the last client and the last half of a stream are gone.
#[derive(Debug)]
struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.end(Over::Lost);
    }
}

/// The front's end of a link: opens streams. Cheap to clone. The link is closed when the last clone and all halves
/// of streams are gone.
#[derive(Debug, Clone)]
pub struct Client(Arc<Handle>);

impl Client {
    /// Attaches to a link that [`LinkFds::create`] made, puts the last seals on it, and spawns the driver task on
    /// the current tokio runtime. Once for each link, and before its descriptors are passed to a worker.
    ///
    /// # Errors
    ///
    /// Where there is no runtime, or the system refuses memory or descriptors.
    pub fn attach(fds: &LinkFds) -> Result<Self, RegionError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| RegionError::NoRuntime)?;
        let down = Region::map(&fds.down, Direction::Down, Access::Write)?;
        seal_down(&fds.down)?;
        verify_seals(&fds.up, Direction::Up)?;
        let up = Region::map(&fds.up, Direction::Up, Access::Read)?;
        let worker_event = Event::new(clone_event(fds.worker_event.as_fd())?);
        let event = {
            let _context = runtime.enter();
            let event = clone_event(fds.front_event.as_fd())?;
            // SAFETY: an OwnedFd is open, always the same descriptor, and stays so until it is dropped, which the
            // AsyncFd does after it deregistered it.
            unsafe { AsyncFd::register_with_interest(event, Interest::READABLE) }
                .map_err(|error| refuse("wait on an eventfd", &error.into_parts().1))?
        };
        let shared = Arc::new(Shared {
            endpoint: Mutex::new(Endpoint::new(down, up, worker_event, Side::Front)),
            places: Arc::new(Semaphore::new(STREAMS_COUNT_MAX)),
            space: Notify::new(),
            command: Notify::new(),
            close_is_asked: AtomicBool::new(false),
            is_asked: AtomicBool::new(false),
            over: watch::Sender::new(None),
        });
        runtime.spawn(drive(Arc::clone(&shared), event));
        Ok(Self(Arc::new(Handle(shared))))
    }

    fn shared(&self) -> &Shared {
        &self.0.0
    }

    /// How many streams have not ended.
    #[cfg(all(test, not(devhost_loom)))]
    pub(super) fn open_count(&self) -> usize {
        self.shared().lock().open_count()
    }

    /// Opens a stream with the encoded head of a request; waits while [`STREAMS_COUNT_MAX`] are open or the ring is
    /// full. `end`: there is no body, and the sending half is finished already. Cancel-safe: no stream is opened.
    ///
    /// # Errors
    ///
    /// Any [`StreamError`] but `Reset`.
    pub async fn open(&self, head: Bytes, end: bool) -> Result<(SendHalf, RecvHalf), StreamError> {
        let shared = self.shared();
        let place = Arc::clone(&shared.places).acquire_owned().await.map_err(|_| shared.error())?;
        let slot = Arc::new(Slot::new(place));
        loop {
            let mut space = pin!(shared.space.notified());
            // From here on no notice is missed, even one that comes before the wait.
            space.as_mut().enable();
            let open = |endpoint: &mut Endpoint<Arc<Slot>>| {
                let id = endpoint.open(&head, end, Arc::clone(&slot))?;
                Ok(id.map(|id| (id, endpoint.written())))
            };
            match shared.call(open) {
                Ok(Some((id, head_end))) => {
                    let stream = Stream { id, head_end, slot, link: Arc::clone(&self.0) };
                    let state = if end { SendState::Finished } else { SendState::Open };
                    let receive = RecvHalf { stream: stream.clone(), unreturned: 0 };
                    shared.expect_answer();
                    return Ok((SendHalf { stream, state }, receive));
                }
                Ok(None) => space.await,
                Err(Refused::TooLarge) => return Err(StreamError::TooLarge),
                Err(Refused::Over(over)) => return Err(over.into()),
                // Neither is said of a stream that is new.
                Err(Refused::Dead | Refused::Invalid) => return Err(StreamError::Reset),
            }
        }
    }

    /// Tells the worker that a newer generation has taken over. Streams may still be opened, for requests that were
    /// let in before.
    pub fn goaway(&self) {
        // A link that is over has nobody left to tell.
        let _ = self.shared().call(Endpoint::go_away);
    }

    /// The worker is dead: hands on the frames that it had committed, then fails every open stream with
    /// [`StreamError::Lost`].
    pub fn close(&self) {
        self.shared().close_is_asked.store(true, Ordering::Release);
        self.shared().command.notify_one();
    }

    /// Looks for frames although nothing woke this end, and wakes a worker that has not read everything: called now and
    /// then while streams are open, it makes lost wakes slow, and nothing worse.
    ///
    /// Says how far the worker has read of what was sent to it, where it has not read everything: the same number
    /// again after a while means that it does not read at all.
    pub fn look(&self) -> Option<u64> {
        self.shared().command.notify_one();
        self.shared().call(Endpoint::nudge).unwrap_or(None)
    }

    /// Resolves once the link is over, with the fault where there was one. Any number of tasks may wait.
    pub async fn closed(&self) -> Option<PeerFault> {
        let mut over = self.shared().over.subscribe();
        let over = over.wait_for(Option::is_some).await.ok()?;
        match over.as_ref()? {
            Over::Lost => None,
            Over::Fault(fault) => Some(fault.clone()),
        }
    }
}

fn clone_event(fd: BorrowedFd<'_>) -> Result<OwnedFd, RegionError> {
    fd.try_clone_to_owned().map_err(|error| refuse("duplicate an eventfd", &error))
}

fn refuse(action: &'static str, error: &std::io::Error) -> RegionError {
    let errno = error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw);
    RegionError::Refused { action, errno }
}

/// What both halves of a stream hold.
#[derive(Debug, Clone)]
struct Stream {
    id: u32,
    /// Where in the ring the head of the request ends.
    head_end: u64,
    slot: Arc<Slot>,
    link: Arc<Handle>,
}

impl Stream {
    fn shared(&self) -> &Shared {
        &self.link.0
    }

    /// Ends the stream both ways, if it is not over yet.
    fn reset(&self) {
        // It often is over, and then there is nothing to do.
        if self.shared().call(|endpoint| endpoint.reset(self.id)).is_ok() {
            self.slot.finish(Err(StreamError::Reset));
        }
    }

    fn send_error(&self, refused: Refused) -> StreamError {
        match refused {
            Refused::Over(over) => over.into(),
            Refused::TooLarge => StreamError::TooLarge,
            Refused::Dead | Refused::Invalid => self.slot.send_error(),
        }
    }
}

/// How far the body of a request has been sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SendState {
    Open,
    Finished,
}

/// The body of a request. Dropped before [`SendHalf::finish`], it resets the stream unless that is over.
#[derive(Debug)]
pub struct SendHalf {
    stream: Stream,
    state: SendState,
}

impl SendHalf {
    /// Sends all of it, waiting for credit and room: that is the back-pressure. When cancelled, part of it may have
    /// been sent.
    ///
    /// # Errors
    ///
    /// `Reset` where the worker wants no more of it, which the response says nothing bad about; `Lost`, `Fault`.
    pub async fn send(&mut self, mut data: Bytes) -> Result<(), StreamError> {
        if self.state == SendState::Finished {
            return Err(StreamError::Reset);
        }
        let is_message = data.len() <= MESSAGE_LENGTH_MAX_BYTES;
        while !data.is_empty() {
            let sent = self
                .stream
                .shared()
                .call(|endpoint| endpoint.send_data(self.stream.id, &data))
                .map_err(|refused| self.stream.send_error(refused))?;
            data.advance(sent);
            if !data.is_empty() {
                self.stream.slot.writable.notified().await;
            }
        }
        if is_message {
            self.stream.shared().expect_answer();
        }
        Ok(())
    }

    /// Ends the body.
    ///
    /// # Errors
    ///
    /// As [`SendHalf::send`].
    pub async fn finish(&mut self) -> Result<(), StreamError> {
        if self.state == SendState::Finished {
            return Ok(());
        }
        self.state = SendState::Finished;
        self.stream
            .shared()
            .call(|endpoint| endpoint.send_end(self.stream.id))
            .map_err(|refused| self.stream.send_error(refused))
    }
}

impl Drop for SendHalf {
    fn drop(&mut self) {
        if self.state == SendState::Open {
            self.stream.reset();
        }
    }
}

/// The response. Dropped before its end, it resets the stream, which cancels the handler.
#[derive(Debug)]
pub struct RecvHalf {
    stream: Stream,
    /// The bytes of the last piece, whose credit is returned when the next one is asked for.
    unreturned: usize,
}

impl RecvHalf {
    /// The head of the response, encoded, and whether the response is over with it. Once for each stream.
    /// Cancel-safe.
    ///
    /// # Errors
    ///
    /// `Reset`, `Lost` or `Fault`.
    pub async fn head(&mut self) -> Result<(Bytes, bool), StreamError> {
        std::future::poll_fn(|context| {
            let mut inbox = self.stream.slot.lock();
            if let Some(head) = inbox.head.take() {
                return Poll::Ready(Ok(head));
            }
            match &inbox.ending {
                Some(ending) => Poll::Ready(Err(ending.clone().err().unwrap_or(StreamError::Reset))),
                None => {
                    inbox.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// After [`StreamError::Lost`]: true if the worker has not taken the request from the ring. To be asked once its
    /// process has ended; before, it may still do so.
    pub fn was_never_read(&self) -> bool {
        self.stream.shared().lock().last_read().is_some_and(|read| read < self.stream.head_end)
    }

    /// The next piece of the body; `None` at its end. Asking for it says that the last one was consumed.
    /// Cancel-safe.
    ///
    /// # Errors
    ///
    /// `Reset`, `Lost` or `Fault`, after all that had arrived.
    pub async fn data(&mut self) -> Result<Option<Bytes>, StreamError> {
        std::future::poll_fn(|context| self.poll_data(context)).await
    }

    /// [`RecvHalf::data`] as a poll.
    ///
    /// # Errors
    ///
    /// As [`RecvHalf::data`].
    pub fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamError>> {
        let consumed = std::mem::take(&mut self.unreturned);
        if consumed > 0 {
            // A stream that is over needs no credit.
            let _ = self.stream.shared().call(|endpoint| endpoint.consume(self.stream.id, consumed));
        }
        let mut inbox = self.stream.slot.lock();
        if let Some(piece) = inbox.body.pop_front() {
            self.unreturned = piece.len();
            return Poll::Ready(Ok(Some(piece)));
        }
        match &inbox.ending {
            Some(Ok(())) => Poll::Ready(Ok(None)),
            Some(Err(error)) => Poll::Ready(Err(error.clone())),
            None => {
                inbox.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for RecvHalf {
    fn drop(&mut self) {
        let is_over = self.stream.slot.lock().ending.is_some();
        if !is_over {
            self.stream.reset();
        }
    }
}
