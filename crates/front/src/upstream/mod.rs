//! What the front forwards requests to: a plugin app's shared-memory link, or a plain app's socket. Hides
//! rings and connections from the rest of the front, and lets tests stand in for a worker. Never looks into
//! bodies.

mod connection;
mod error;
mod pool;
mod socket;
mod way;

#[cfg(test)]
pub(crate) use connection::RESPONSE_HEAD_SIZE_MAX;
pub(crate) use error::UpstreamError;
pub use socket::SocketClient;
pub use way::Upstream;
pub(crate) use way::{RecvHalf, SendHalf};
