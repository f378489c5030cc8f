//! Bodies on their way through the front.
//!
//! A task of its own pumps the request's body to the app, so that a slow response does not stop it. The
//! response's body is taken from the app only when actix wants more. Both end when the response is over or the
//! client is gone. No buffer here grows: the link's credit is the limit.

mod error;
mod farewell;
mod pump;
mod response;
mod signals;
mod sized;
mod tunnel;

pub(crate) use error::{BodyError, ByteStream};
pub(crate) use pump::{Pump, RequestBody};
pub(crate) use response::AppBody;
pub(crate) use sized::{SizedBody, announced};
