//! A worker played by a test. Each request arrives as a [`FakeExchange`] for the test to answer.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::sync::mpsc;

use devhost_link::wire::{RequestHead, ResponseHead};
use devhost_link::{PeerFault, StreamError};

/// How many pieces of a body may wait. Few, so that back-pressure shows soon.
const PIECES_COUNT_MAX: usize = 2;

/// The front's end.
#[derive(Debug, Clone)]
pub struct FakeClient(mpsc::UnboundedSender<FakeExchange>);

/// The test's end, which takes the requests.
pub(crate) struct FakeWorker(mpsc::UnboundedReceiver<FakeExchange>);

/// One request, answered by the test in place of the app.
pub(crate) struct FakeExchange {
    pub head: RequestHead,
    /// No body follows.
    pub bodiless: bool,
    body: mpsc::Receiver<Option<Bytes>>,
    response: mpsc::Sender<Piece>,
}

#[derive(Debug)]
enum Piece {
    Head(Bytes, bool),
    Data(Bytes),
    End,
    Error(StreamError),
}

/// Creates a worker and the way to it.
pub(crate) fn fake_worker() -> (FakeClient, FakeWorker) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (FakeClient(sender), FakeWorker(receiver))
}

impl From<FakeClient> for crate::upstream::Upstream {
    fn from(client: FakeClient) -> Self {
        Self::Fake(client)
    }
}

impl FakeClient {
    pub fn open(&self, head: Bytes, end: bool) -> Result<(FakeSend, FakeRecv), StreamError> {
        if head.len() > 64 * 1024 {
            return Err(StreamError::TooLarge);
        }
        let (body_sender, body) = mpsc::channel(PIECES_COUNT_MAX);
        let (response, response_receiver) = mpsc::channel(PIECES_COUNT_MAX);
        let head = RequestHead::decode(head).expect("the front encodes well");
        let exchange = FakeExchange { head, bodiless: end, body, response };
        self.0.send(exchange).map_err(|_| StreamError::Lost)?;
        Ok((FakeSend(body_sender), FakeRecv(response_receiver)))
    }
}

#[derive(Debug)]
pub struct FakeSend(mpsc::Sender<Option<Bytes>>);

impl FakeSend {
    pub async fn send(&mut self, data: Bytes) -> Result<(), StreamError> {
        self.0.send(Some(data)).await.map_err(|_| StreamError::Reset)
    }

    pub async fn finish(&mut self) -> Result<(), StreamError> {
        self.0.send(None).await.map_err(|_| StreamError::Reset)
    }
}

#[derive(Debug)]
pub struct FakeRecv(mpsc::Receiver<Piece>);

impl FakeRecv {
    pub async fn head(&mut self) -> Result<(Bytes, bool), StreamError> {
        match self.0.recv().await {
            Some(Piece::Head(bytes, end)) => Ok((bytes, end)),
            Some(Piece::Error(error)) => Err(error),
            Some(piece) => panic!("no head: {piece:?}"),
            None => Err(StreamError::Lost),
        }
    }

    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamError>> {
        Poll::Ready(match ready!(self.0.poll_recv(cx)) {
            Some(Piece::Data(bytes)) => Ok(Some(bytes)),
            Some(Piece::End) => Ok(None),
            Some(Piece::Error(error)) => Err(error),
            Some(piece) => panic!("no data: {piece:?}"),
            None => Err(StreamError::Lost),
        })
    }
}

impl FakeWorker {
    pub(crate) async fn next(&mut self) -> FakeExchange {
        super::soon(self.0.recv()).await.expect("the front is gone")
    }
}

impl FakeExchange {
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let (_, value) = self.head.headers.iter().find(|(have, _)| have == name.as_bytes())?;
        Some(String::from_utf8(value.to_vec()).unwrap())
    }

    /// Returns the next piece of the request body, `None` at its end.
    pub(crate) async fn body_piece(&mut self) -> Option<Bytes> {
        super::soon(self.body.recv()).await.expect("the body broke off")
    }

    /// Returns true if a piece of the request body waits.
    pub(crate) fn has_body_piece(&self) -> bool {
        !self.body.is_empty()
    }

    pub(crate) async fn whole_body(&mut self) -> Vec<u8> {
        let mut whole = Vec::new();
        while let Some(piece) = self.body_piece().await {
            whole.extend_from_slice(&piece);
        }
        whole
    }

    pub(crate) async fn respond(&self, status: u16, headers: &[(&str, &str)], end: bool) {
        self.respond_flagged(0, status, headers, end).await;
    }

    pub(crate) async fn respond_flagged(&self, flags: u8, status: u16, headers: &[(&str, &str)], end: bool) {
        let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        let headers = headers.iter().map(|(name, value)| (bytes(name), bytes(value))).collect();
        self.respond_raw(ResponseHead { flags, status, headers }.encode(), end).await;
    }

    /// Sends these bytes in place of a head.
    pub(crate) async fn respond_raw(&self, head: Bytes, end: bool) {
        self.piece(Piece::Head(head, end)).await;
    }

    pub(crate) async fn data(&self, data: impl Into<Bytes>) {
        self.piece(Piece::Data(data.into())).await;
    }

    pub(crate) async fn end(&self) {
        self.piece(Piece::End).await;
    }

    /// Answers with a complete response.
    pub(crate) async fn answer(&self, status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) {
        self.respond(status, headers, false).await;
        self.data(body).await;
        self.end().await;
    }

    pub(crate) async fn fail(&self, error: StreamError) {
        self.piece(Piece::Error(error)).await;
    }

    pub(crate) async fn fault(&self, ring: &'static str) {
        let fault = PeerFault::Position { ring, found: 9, low: 0, high: 1 };
        self.fail(StreamError::Fault(fault)).await;
    }

    /// Waits until the front has dropped both halves.
    pub(crate) async fn cancelled(&mut self) {
        super::soon(self.response.closed()).await;
        super::soon(async { while self.body.recv().await.is_some() {} }).await;
    }

    /// Returns how many more pieces of the body would be taken now.
    pub(crate) fn room(&self) -> usize {
        self.response.capacity()
    }

    async fn piece(&self, piece: Piece) {
        super::soon(self.response.send(piece)).await.expect("the front let go of the response");
    }
}
