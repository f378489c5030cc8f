//! Between a client's socket and actix: takes the bytes of a connection apart into requests, and hands actix one at a
//! time. actix-http keeps the method, the version and the connection type of the request that it has decoded *last*
//! and frames the response to an earlier one by them, so it must never see a request before the response to the one
//! before is complete and written. What actix sees is unambiguous: heads were examined here, and chunks are framed
//! anew. What is refused here is answered with a page of the front's, in its turn.
//!
//! [`head`] and [`chunked`] do no I/O; [`stream`] has the socket and the clock; a [`Turn`] is what the stream and the
//! front tell each other of the request that is being answered.

mod chunked;
mod head;
mod stream;
mod turn;

pub(crate) use head::{HEAD_SIZE_MAX, HEADERS_COUNT_MAX, Refusal, RefusalReason};
pub(crate) use stream::{ClientStream, HEAD_TIME_MAX, LINGER_TIME_MAX};
pub(crate) use turn::Turn;
