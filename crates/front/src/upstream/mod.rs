//! What the front forwards requests to. A plugin app's upstream is a shared-memory link, a plain app's is the
//! socket that it listens on; the seam is here so that the rest of the front knows neither rings nor
//! connections, and so that tests can stand in for a worker. It never looks into bodies.

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
