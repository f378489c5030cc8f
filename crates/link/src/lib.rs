//! The shared-memory link between the front and one worker. It carries many streams at once, each a request and its
//! response, with bodies streamed both ways under back-pressure.
//!
//! It knows bytes and streams, but no HTTP library. Two memfds (`down`, written by the front; `up`, written by the worker)
//! hold a ring each. Frames go through the rings; an eventfd for each direction wakes the end that sleeps. Neither end
//! trusts the other: what a peer wrote is loaded once, validated, and copied out before it is used. A peer that breaks the
//! protocol costs the link ([`PeerFault`]) and nothing else.
//!
//! The layers, from the bottom: `copy` (the only one that touches shared memory), `layout` and `region`; `ring` and `wake`;
//! `frame`; `streams` (state machines without I/O); `endpoint` (one end, never waits). On top are the front's asynchronous
//! side ([`Client`], `driver`, `halves`) and the worker's ([`WorkerLink`]), which needs neither a runtime nor a thread.
//!
//! The thread that serves requests also drives the front's end, so that a response goes from the ring to the socket without changing
//! threads. A response that exists as a whole is written as one (`respond` of the ABI, since 1.1): head, body and end go into the ring, and
//! the peer is woken once. Besides reading and writing the client's socket, a small request then costs the front one write, and the
//! worker one write and one read.
//!
//! A region is allocated before it is used, so that a lack of memory is an error and not a SIGBUS.
//!
//! How the order of memory accesses is checked: loom tries every order that the model allows for ring, wake and credit (`loom.rs`); two
//! real processes exchange thousands of bodies through the smallest ring, and every byte is compared (`tests.rs`). `ThreadSanitizer` goes
//! by addresses, and the two ends map the memory at two of them, so it sees no more than the tests of `copy` and `ring` within one
//! process. Miri maps no memfd, but runs the same tests.
//!
//! Why not a Unix socket? A socket copies twice through the kernel and wakes on every message. Why not a library? None of the published
//! shared-memory rings has both a descriptor to wait on and no trust in its peer.
#![cfg(target_os = "linux")]

mod client;
mod copy;
mod driver;
mod endpoint;
mod fault;
mod fds;
mod frame;
mod halves;
mod inbox;
mod layout;
mod protocol;
mod region;
mod ring;
mod spin;
mod streams;
mod sync;
mod wake;
pub mod wire;
mod word;
mod worker;

#[cfg(any(fuzzing, all(test, not(devhost_loom))))]
pub mod hostile;
#[cfg(all(test, devhost_loom))]
mod loom;
#[cfg(all(test, not(devhost_loom)))]
mod tests;

pub use client::Client;
pub use fault::{PeerFault, RegionError};
pub use fds::LinkFds;
pub use halves::{RecvHalf, SendHalf};
pub use inbox::StreamError;
pub use protocol::{
    CREDIT_MAX_BYTES, DATA_LENGTH_MAX_BYTES, FrameKind, HEAD_LENGTH_MAX_BYTES, STREAMS_COUNT_MAX,
};
pub use worker::{SendError, WorkerEvent, WorkerLink};
