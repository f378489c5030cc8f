//! The front's end of a link, on tokio.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use nix::errno::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::copy::Access;
use crate::driver::{LinkHandle, Shared};
use crate::endpoint::{Endpoint, Over, Refusal};
use crate::fault::{PeerFault, RegionError};
use crate::fds::LinkFds;
use crate::halves::{RecvHalf, SendHalf, open_halves};
use crate::inbox::{StreamError, StreamSlot};
use crate::region::{Direction, Region, seal_down, verify_seals};
use crate::streams::Side;
use crate::wake::Event;

/// The front's end of a link: opens streams. Cheap to clone. The link is closed once the last clone and all halves of streams
/// are dropped.
#[derive(Debug, Clone)]
pub struct Client(Arc<LinkHandle>);

impl Client {
    /// Attaches to a link that [`LinkFds::create`] made, puts the last seals on it, and spawns the driver task on
    /// the current tokio runtime. Once for each link, before its descriptors are passed to a worker.
    ///
    /// # Errors
    ///
    /// There is no runtime, or the system refuses memory or descriptors.
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
            // SAFETY: an OwnedFd stays the same open descriptor until it is dropped, and the AsyncFd
            // deregisters it before that.
            unsafe { AsyncFd::register_with_interest(event, Interest::READABLE) }
                .map_err(|error| refuse("wait on an eventfd", &error.into_parts().1))?
        };
        let endpoint = Endpoint::new(down, up, worker_event, Side::Front);
        Ok(Self(Arc::new(LinkHandle::spawn_driver(&runtime, endpoint, event))))
    }

    fn shared(&self) -> &Shared {
        self.0.shared()
    }

    #[cfg(all(test, not(devhost_loom)))]
    pub(crate) fn open_count(&self) -> usize {
        self.shared().lock().open_count()
    }

    /// Opens a stream with the encoded head of a request. Waits while [`STREAMS_COUNT_MAX`](crate::STREAMS_COUNT_MAX) are open
    /// or the ring is full. `end`: there is no body, and the sending half is already finished. Cancel-safe: no stream is opened.
    ///
    /// # Errors
    ///
    /// Any [`StreamError`] but `Reset`.
    pub async fn open(&self, head: Bytes, end: bool) -> Result<(SendHalf, RecvHalf), StreamError> {
        let shared = self.shared();
        let place = Arc::clone(&shared.places).acquire_owned().await.map_err(|_| shared.error())?;
        let slot = Arc::new(StreamSlot::new(place));
        loop {
            let mut space = pin!(shared.space.notified());
            // From here on no notification is lost, even if it comes before the wait.
            space.as_mut().enable();
            let open = |endpoint: &mut Endpoint<Arc<StreamSlot>>| {
                let id = endpoint.open(&head, end, Arc::clone(&slot))?;
                Ok(id.map(|id| (id, endpoint.written())))
            };
            match shared.call(open) {
                Ok(Some((id, head_end))) => {
                    shared.expect_answer();
                    return Ok(open_halves(id, head_end, slot, &self.0, end));
                }
                Ok(None) => space.await,
                Err(Refusal::TooLarge) => return Err(StreamError::TooLarge),
                Err(Refusal::Over(over)) => return Err(over.into()),
                // A new stream is neither.
                Err(Refusal::Dead | Refusal::Invalid) => return Err(StreamError::Reset),
            }
        }
    }

    /// Tells the worker that a newer generation has taken over. Streams may still be opened for requests that were admitted
    /// before.
    pub fn goaway(&self) {
        // Fails only if the link is over, and nobody is left to tell.
        let _ = self.shared().call(Endpoint::go_away);
    }

    /// Closes the link of a worker that is dead: delivers the frames that it had committed, then fails every open stream with
    /// [`StreamError::Lost`].
    pub fn close(&self) {
        self.shared().close();
    }

    /// Looks for frames without a wake, and wakes a worker that has not read everything. Called now and then while streams are
    /// open, this turns lost wakes into delays.
    ///
    /// Returns how far the worker has read if it has not read everything: the same number again after a while means that it
    /// does not read at all.
    pub fn look(&self) -> Option<u64> {
        self.shared().wake_driver();
        self.shared().call(Endpoint::nudge).unwrap_or(None)
    }

    /// Resolves once the link is over, with the worker's fault if there was one. Any number of tasks may wait.
    pub async fn closed(&self) -> Option<PeerFault> {
        match self.shared().ended().await? {
            Over::Lost => None,
            Over::Fault(fault) => Some(fault),
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
