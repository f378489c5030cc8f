//! The way to a plain app: HTTP/1.1 to the private port that its worker listens on. hyper frames and parses; this
//! folder decides which connection a request takes, and what the end of a connection means.
//!
//! A request may be sent twice only if its method is idempotent (RFC 9110, section 9.2.2) and it has no body. Such a
//! request may take a kept connection. The app may be closing that connection at the same time: if nothing came back
//! and the kernel reset the connection, the request is sent once more, on a fresh one. A reset is a hint and no proof
//! that the app never read the request: an app may also read and then reset. So every other request gets a fresh
//! connection at once, and none at all from a worker that is seen to be dying.
//!
//! Trailers end here, both ways: actix neither tells a request's nor sends a response's.

mod client;
mod convert;
mod receive;
mod send;
mod worker;

pub use client::SocketClient;
pub(crate) use receive::RecvHalf;
pub(crate) use send::SendHalf;
