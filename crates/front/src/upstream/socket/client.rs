//! Sends requests to a worker that listens.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{self, HeaderValue};
use tokio::sync::{Notify, mpsc, oneshot};

use super::convert::{is_idempotent, request};
use super::receive::RecvHalf;
use super::send::{SendHalf, Sending, Tunnel};
use super::worker::ListeningWorker;
use crate::upstream::UpstreamError;
use crate::upstream::connection::RequestBody;
use devhost_link::HEAD_LENGTH_MAX_BYTES;
use devhost_link::wire::{REQUEST_EXPECT, REQUEST_UPGRADE, RequestHead};

/// How many pieces of a request body may wait between the client and the app.
const PIECES_COUNT_MAX: usize = 1;

/// A handle on a worker that listens. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SocketClient(Arc<ListeningWorker>);

impl SocketClient {
    /// Creates a handle on what listens at `address`. Must be called on the tokio runtime that shall drive
    /// its connections.
    pub fn new(address: SocketAddr) -> Self {
        Self(Arc::new(ListeningWorker::new(address)))
    }

    /// Sets the worker's process. Only the first call counts.
    pub fn set_process(&self, pid: i32) {
        self.0.set_process(pid);
    }

    /// Sends a request. `end` means that no body follows.
    ///
    /// # Errors
    ///
    /// [`UpstreamError::Lost`] if the worker is dead and has seen nothing of the request, `Unreachable` if it
    /// lives but accepts no connection, `TooLarge` or `BadRequest` if HTTP/1.1 cannot carry the request.
    pub(crate) async fn open(&self, head: Bytes, end: bool) -> Result<(SendHalf, RecvHalf), UpstreamError> {
        let worker = &self.0;
        if head.len() > HEAD_LENGTH_MAX_BYTES {
            return Err(UpstreamError::TooLarge);
        }
        let head = RequestHead::decode(head)
            .map_err(|_| UpstreamError::BadRequest("The request's head cannot be read."))?;
        let permit = Arc::clone(&worker.permits).acquire_owned().await.map_err(|_| UpstreamError::Lost)?;
        if worker.is_dead() {
            return Err(UpstreamError::Lost);
        }
        let is_upgrade = head.flags & REQUEST_UPGRADE != 0;
        let is_repeatable = (end || is_upgrade) && is_idempotent(&head.method);
        let (body, sending, tunnel) = if is_upgrade {
            let (sender, receiver) = oneshot::channel();
            (RequestBody::empty(), Sending::Tunnel(Tunnel::Asked(receiver)), Some(sender))
        } else if end {
            (RequestBody::empty(), Sending::Nothing, None)
        } else {
            let (sender, receiver) = mpsc::channel(PIECES_COUNT_MAX);
            (RequestBody::pieces(receiver), Sending::Pieces(sender), None)
        };
        let mut request = request(&head, !end && !is_upgrade, body)?;
        let continued = Arc::new(Notify::new());
        if head.flags & REQUEST_EXPECT != 0 {
            request.headers_mut().insert(header::EXPECT, HeaderValue::from_static("100-continue"));
            let continued = Arc::clone(&continued);
            hyper::ext::on_informational(&mut request, move |interim| {
                if interim.status() == StatusCode::CONTINUE {
                    continued.notify_one();
                }
            });
        }
        let kept = if is_repeatable { worker.pool.take() } else { None };
        let again = kept.is_some().then_some(head);
        let connection = match kept {
            Some(connection) => connection,
            None => worker.connect().await?,
        };
        if !is_repeatable {
            worker.until_it_runs().await?;
        }
        let mut recv = RecvHalf::new(Arc::clone(worker), permit, is_repeatable, again, tunnel, continued);
        recv.send(connection, request);
        Ok((SendHalf::new(sending), recv))
    }

    /// Closes idle connections, as nothing new will come, so that a stopping app need not wait for them.
    pub(crate) fn goaway(&self) {
        self.0.pool.close();
    }

    /// Notes that the worker is dead. What it had sent is still delivered, then every exchange fails with
    /// [`UpstreamError::Lost`].
    pub(crate) fn close(&self) {
        self.0.close();
    }

    /// Resolves once the worker is dead.
    pub(crate) async fn closed(&self) {
        self.0.death().await;
    }

    #[cfg(test)]
    pub(crate) fn idle_count(&self) -> usize {
        self.0.pool.count()
    }
}
