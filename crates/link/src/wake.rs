//! Sleeping and waking: a word in shared memory that says "wake me", and an eventfd that does it.
//!
//! The end that is going to sleep announces a [`Want`], then looks once more at what it waits for. The other end
//! changes that, then looks at the word with a [`Notice`] and rings if it was announced. Between its store and
//! its load each end has a sequentially consistent fence, so at least one of the two sees what the other did: a
//! wake is never lost (`Want::announce` and `Notice::take` are the two ends of the sync point *parked*). This is the
//! store-buffer pattern that futexes and parkers rest on; the models in `loom.rs` try its orders.
//!
//! Release and acquire would not do on any machine: a store may still wait in the store buffer when the load after it
//! has been done, on x86-64 too (it is the one order that x86 does not keep). The fences are `mfence` or a locked
//! instruction there and `dmb ish` on arm64, which is a barrier for all processes that share the memory. The eventfd's
//! system call is no substitute: the end that decides not to ring makes none.
//!
//! A want carries a number that grows each time, so that one announcement is answered by one ring however many
//! frames follow.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;

use crate::copy::Words;
use crate::sync::{Ordering, fence};

/// The wanting side of a wake.
#[derive(Debug)]
pub(crate) struct Want {
    offset: usize,
    number: u64,
    announced: bool,
}

impl Want {
    /// Nothing is wanted yet. `offset` is that of the word in this end's own region.
    pub(crate) fn new(offset: usize) -> Self {
        Self { offset, number: 0, announced: false }
    }

    /// True from the announcement to the withdrawal.
    pub(crate) fn is_announced(&self) -> bool {
        self.announced
    }

    /// Asks to be woken. The caller must look once more at what it waits for before it sleeps.
    pub(crate) fn announce(&mut self, own: &impl Words) {
        self.number += 1;
        self.announced = true;
        own.store(self.offset, self.number, Ordering::Relaxed);
        // SYNC POINT `parked`: this store before the caller's look at the peer's position, for everybody.
        fence(Ordering::SeqCst);
    }

    /// No longer asks to be woken.
    pub(crate) fn withdraw(&mut self, own: &impl Words) {
        if self.announced {
            self.announced = false;
            own.store(self.offset, 0, Ordering::Relaxed);
        }
    }
}

/// The answering side of a wake.
#[derive(Debug)]
pub(crate) struct Notice {
    offset: usize,
    answered: u64,
}

impl Notice {
    /// Nothing was answered yet. `offset` is that of the word in the peer's region.
    pub(crate) fn new(offset: usize) -> Self {
        Self { offset, answered: 0 }
    }

    /// True when the peer waits for what this end has just published, and was not yet woken for it.
    ///
    /// A peer that writes nonsense here only gets more or fewer wakes.
    pub(crate) fn take(&mut self, peer: &impl Words) -> bool {
        // SYNC POINT `parked`: the caller's store of its position before this look at the peer's word, for everybody.
        fence(Ordering::SeqCst);
        let number = peer.load(self.offset, Ordering::Relaxed);
        let is_new = number != 0 && number != self.answered;
        if is_new {
            self.answered = number;
        }
        is_new
    }
}

/// An eventfd: what one end sleeps on and the other one rings.
#[derive(Debug)]
pub(crate) struct Event(OwnedFd);

impl Event {
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Makes it readable.
    pub(crate) fn ring(&self) {
        // The only failure there can be is a counter that is full, and then it is readable already.
        while nix::unistd::write(&self.0, &1_u64.to_ne_bytes()) == Err(Errno::EINTR) {}
    }

    /// Takes the counter, so that only the next ring makes it readable.
    pub(crate) fn clear(&self) {
        // A counter of zero is an EAGAIN: the descriptor does not block.
        while nix::unistd::read(&self.0, &mut [0; 8]) == Err(Errno::EINTR) {}
    }
}

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
