//! The bodies of requests and responses on their way through the front.
//!
//! A separate task pumps the request's body, so that a slow response does not stop it. The response's body is
//! taken from the app only on demand. Both end with the response or the client. The link's credit bounds all
//! buffers.

mod compared;
mod error;
mod farewell;
mod pump;
mod response;
mod signals;
mod sized;
mod tunnel;

pub(crate) use compared::compared;
pub(crate) use error::{BodyError, ByteStream};
pub(crate) use pump::{Pump, RequestBody};
pub(crate) use response::AppBody;
pub(crate) use sized::{SizedBody, announced};
