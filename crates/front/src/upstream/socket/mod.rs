//! The way to a plain app: HTTP/1.1 to its worker's private port. hyper frames and parses. This module
//! chooses the connection for a request, and interprets the end of one.
//!
//! Only an idempotent request (RFC 9110 §9.2.2) without a body may be sent twice, and so may take a kept
//! connection. The app may just be closing that: if the kernel reset it and nothing came back, the request is
//! sent once more, on a fresh one. A reset does not prove that the app never read the request, so every other
//! request gets a fresh connection at once, and none from a worker seen to be dying.
//!
//! Trailers are dropped both ways: actix neither reads a request's nor sends a response's.

mod client;
mod convert;
mod receive;
mod send;
mod worker;

pub use client::SocketClient;
pub(crate) use receive::RecvHalf;
pub(crate) use send::SendHalf;
