//! What the front forwards requests to: a plugin app's shared-memory link, or the socket that a plain app
//! listens on. The rest of the front knows neither rings nor connections, and tests can stand in for a
//! worker. Never looks into bodies.

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
