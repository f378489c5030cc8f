//! Between a client's socket and actix: splits a connection into requests and hands actix one at a time.
//! actix-http frames a response by the *last* decoded request, so it must not see the next request before the
//! previous response is complete and written. What actix sees is unambiguous: heads are checked, and chunks
//! framed anew. What is refused here gets one of the front's pages, in its turn.
//!
//! [`head`] and [`chunked`] do no I/O; [`stream`] has the socket and the timeouts; a [`Turn`] connects the
//! stream and the front.

mod chunked;
mod head;
mod stream;
mod turn;

pub(crate) use head::{HEAD_SIZE_MAX, HEADERS_COUNT_MAX, Refusal, RefusalReason};
pub(crate) use stream::{ClientStream, HEAD_TIME_MAX, LINGER_TIME_MAX};
pub(crate) use turn::Turn;
