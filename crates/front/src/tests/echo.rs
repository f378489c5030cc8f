//! One small app, served over a shared-memory link and over a socket. It has a thread of its own, as far from
//! the front as possible.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, mpsc};

use crate::upstream::{SocketClient, Upstream};
use devhost_link::wire::{REQUEST_UPGRADE, RequestHead, ResponseHead};
use devhost_link::{Client, LinkFds, SendError, WorkerEvent, WorkerLink};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Link,
    Socket,
    /// Without a front: what a client sees of the app's own server.
    Reference,
}

/// How long the app tries to send before it reports that it is blocked.
const STOPPED_AFTER: Duration = Duration::from_millis(300);

/// The app, and its reports.
pub(super) struct EchoApp {
    pub upstream: Upstream,
    /// Its address, if it listens.
    pub address: Option<SocketAddr>,
    said: mpsc::UnboundedReceiver<String>,
}

/// One request, as the app sees it.
struct Call {
    head: RequestHead,
    /// `None` ends it. Closed without that, it broke off.
    body: mpsc::Receiver<Option<Bytes>>,
    answer: mpsc::Sender<Piece>,
    say: mpsc::UnboundedSender<String>,
}

enum Piece {
    Head(u16, Vec<(String, String)>, bool),
    Data(Bytes),
    End,
    Cut,
}

impl EchoApp {
    /// Starts the app. Must be called on a tokio runtime.
    pub(super) fn start(way: Way) -> Self {
        let (say, said) = mpsc::unbounded_channel();
        let mut own_address = None;
        let upstream = match way {
            Way::Link => {
                let fds = LinkFds::create(1).unwrap();
                let client = Client::attach(&fds).unwrap();
                let link = WorkerLink::attach(fds).unwrap();
                spawn(serve_link(link, say));
                Upstream::Link(client)
            }
            Way::Socket | Way::Reference => {
                let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
                let address: SocketAddr = listener.local_addr().unwrap();
                own_address = Some(address);
                spawn(serve_socket(listener, say));
                Upstream::Socket(SocketClient::new(address))
            }
        };
        Self { upstream, address: own_address, said }
    }

    /// Waits until the app reports this.
    pub(super) async fn says(&mut self, what: &str) {
        let heard = async { while self.said.recv().await.expect("the app is gone") != what {} };
        super::soon(heard).await;
    }
}

/// Runs a server in a thread until the front drops its end.
fn spawn(server: impl Future<Output = ()> + Send + 'static) {
    std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(server);
    });
}

#[expect(clippy::too_many_lines, reason = "one arm for each thing that the app can do")]
async fn app(mut call: Call) {
    let path = String::from_utf8(call.head.target.to_vec()).unwrap();
    let text = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    match path.as_str() {
        "/hello" => {
            call.head_of(200, vec![text("content-length", "5")], false).await;
            if call.head.method != "HEAD" {
                call.data("hello").await;
            }
            call.piece(Piece::End).await;
        }
        "/204" => call.head_of(204, Vec::new(), true).await,
        "/304" => call.head_of(304, vec![text("etag", "\"x\"")], true).await,
        "/head" => {
            // Says what it got.
            let mut lines = format!("{} {path}\n", String::from_utf8_lossy(&call.head.method));
            for (name, value) in &call.head.headers {
                let (name, value) = (String::from_utf8_lossy(name), String::from_utf8_lossy(value));
                lines += &format!("{name}: {value}\n");
            }
            call.head_of(200, Vec::new(), false).await;
            call.data(lines).await;
            call.piece(Piece::End).await;
        }
        "/echo" => {
            call.head_of(200, vec![text("content-type", "application/octet-stream")], false).await;
            loop {
                match call.body.recv().await {
                    Some(Some(bytes)) => call.data(bytes).await,
                    Some(None) => break call.piece(Piece::End).await,
                    None => {
                        call.say("broken off");
                        break call.piece(Piece::Cut).await;
                    }
                }
            }
        }
        "/count" => {
            let mut count = 0;
            while let Some(Some(bytes)) = call.body.recv().await {
                count += bytes.len();
            }
            call.head_of(200, Vec::new(), false).await;
            call.data(count.to_string()).await;
            call.piece(Piece::End).await;
        }
        "/wait" => {
            call.say("waiting");
            call.answer.closed().await;
            call.say("cancelled");
        }
        "/endless" => {
            call.head_of(200, Vec::new(), false).await;
            let piece = Bytes::from(vec![7; 32 * 1024]);
            let mut stopped = false;
            loop {
                let sending = call.answer.send(Piece::Data(piece.clone()));
                match tokio::time::timeout(STOPPED_AFTER, sending).await {
                    Ok(Ok(())) if stopped => {
                        call.say("going on");
                        stopped = false;
                    }
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => break call.say("cancelled"),
                    Err(_) => {
                        if !stopped {
                            call.say("stopped");
                        }
                        stopped = true;
                    }
                }
            }
        }
        "/events" => {
            call.head_of(200, vec![text("content-type", "text/event-stream")], false).await;
            for number in 0..3 {
                call.data(format!("data: {number}\n\n")).await;
            }
            call.answer.closed().await;
            call.say("cancelled");
        }
        "/early" => {
            call.head_of(413, vec![text("content-length", "3")], false).await;
            call.data("big").await;
            call.piece(Piece::End).await;
            call.answer.closed().await;
        }
        "/refuse" => {
            call.head_of(413, vec![text("content-length", "3")], false).await;
            call.data("big").await;
            call.piece(Piece::End).await;
        }
        "/cut" | "/cut-sized" => {
            let length = (path == "/cut-sized").then(|| text("content-length", "10"));
            call.head_of(200, length.into_iter().collect(), false).await;
            call.data("part").await;
            // Only once the browser has that.
            call.body.recv().await;
            call.piece(Piece::Cut).await;
        }
        "/large-head" => {
            call.head_of(200, vec![text("x-large", &"l".repeat(40_000))], true).await;
        }
        "/ws" => {
            assert_eq!(call.head.flags & REQUEST_UPGRADE, REQUEST_UPGRADE);
            let headers =
                vec![text("upgrade", "websocket"), text("connection", "Upgrade"), text("x-ws", "1")];
            call.head_of(101, headers, false).await;
            call.data(&b"\x81\x02hi"[..]).await;
            while let Some(Some(bytes)) = call.body.recv().await {
                if bytes == "bye" {
                    return call.piece(Piece::End).await;
                }
                call.data(bytes).await;
            }
            call.say("socket closed");
        }
        _ => call.head_of(404, Vec::new(), true).await,
    }
}

impl Call {
    async fn head_of(&self, status: u16, headers: Vec<(String, String)>, end: bool) {
        self.piece(Piece::Head(status, headers, end)).await;
    }

    async fn data(&self, data: impl Into<Bytes>) {
        self.piece(Piece::Data(data.into())).await;
    }

    async fn piece(&self, piece: Piece) {
        // Fails only if nobody wants it any more.
        let _ = self.answer.send(piece).await;
    }

    fn say(&self, what: &str) {
        let _ = self.say.send(what.to_owned());
    }
}

// ---- over a link ----------------------------------------------------------------------------------------------

/// A stream, as the loop sees it.
struct Stream {
    /// `None` once the body is over.
    body: Option<mpsc::UnboundedSender<Option<Bytes>>>,
    writable: Arc<Notify>,
    sender: tokio::task::AbortHandle,
}

async fn serve_link(link: WorkerLink, say: mpsc::UnboundedSender<String>) {
    let link = Arc::new(link);
    let event = devhost_sys::runtime::register(
        link.event_fd().try_clone_to_owned().unwrap(),
        tokio::io::Interest::READABLE,
    )
    .unwrap();
    let mut streams: HashMap<u32, Stream> = HashMap::new();
    let mut events = Vec::new();
    loop {
        if link.poll(&mut events).is_err() {
            return;
        }
        if events.is_empty() {
            event.readable().await.unwrap().clear_ready();
            continue;
        }
        for event in events.drain(..) {
            match event {
                WorkerEvent::Head { stream, bytes, end } => {
                    streams.insert(stream, begin(&link, stream, bytes, end, &say));
                }
                WorkerEvent::Data { stream, bytes, end } => {
                    let Some(stream) = streams.get_mut(&stream) else { continue };
                    if let Some(body) = &stream.body {
                        let _ = body.send(Some(bytes));
                        if end {
                            let _ = body.send(None);
                            stream.body = None;
                        }
                    }
                }
                WorkerEvent::Writable { stream } => {
                    if let Some(stream) = streams.get(&stream) {
                        stream.writable.notify_one();
                    }
                }
                WorkerEvent::Cancel { stream } => {
                    if let Some(stream) = streams.remove(&stream) {
                        stream.sender.abort();
                    }
                }
                WorkerEvent::GoAway => {}
            }
        }
        // Gives the app's tasks their turn.
        tokio::task::yield_now().await;
    }
}

fn begin(
    link: &Arc<WorkerLink>,
    stream: u32,
    head: Bytes,
    end: bool,
    say: &mpsc::UnboundedSender<String>,
) -> Stream {
    let (body, mut arrived) = mpsc::unbounded_channel();
    let (body_sender, body_receiver) = mpsc::channel(1);
    let (answer, answers) = mpsc::channel(1);
    if end {
        body.send(None).unwrap();
    }
    let consumer = Arc::clone(link);
    tokio::spawn(async move {
        while let Some(piece) = arrived.recv().await {
            let len = piece.as_ref().map_or(0, Bytes::len);
            if body_sender.send(piece).await.is_err() {
                return;
            }
            if len > 0 {
                let _ = consumer.consume(stream, len);
            }
        }
    });
    let call =
        Call { head: RequestHead::decode(head).unwrap(), body: body_receiver, answer, say: say.clone() };
    tokio::spawn(app(call));
    let writable = Arc::new(Notify::new());
    let sender = tokio::spawn(answer_link(Arc::clone(link), stream, answers, Arc::clone(&writable)));
    Stream { body: Some(body), writable, sender: sender.abort_handle() }
}

async fn answer_link(
    link: Arc<WorkerLink>,
    stream: u32,
    mut answers: mpsc::Receiver<Piece>,
    writable: Arc<Notify>,
) {
    while let Some(piece) = answers.recv().await {
        let sent = match piece {
            Piece::Head(status, headers, end) => {
                let headers = headers.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
                link.head(stream, &ResponseHead { flags: 0, status, headers }.encode(), end)
            }
            Piece::Data(data) => send_all(&link, stream, data, &writable).await,
            Piece::End => link.end(stream),
            Piece::Cut => link.reset(stream),
        };
        if sent.is_err() {
            return;
        }
    }
}

async fn send_all(
    link: &WorkerLink,
    stream: u32,
    mut data: Bytes,
    writable: &Notify,
) -> Result<(), SendError> {
    loop {
        let taken = link.data(stream, &data)?;
        let _ = data.split_to(taken);
        if data.is_empty() {
            return Ok(());
        }
        writable.notified().await;
    }
}

// ---- over a socket --------------------------------------------------------------------------------------------

async fn serve_socket(listener: std::net::TcpListener, say: mpsc::UnboundedSender<String>) {
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.unwrap().0,
            () = say.closed() => return,
        };
        let say = say.clone();
        let service = hyper::service::service_fn(move |request| answer_socket(request, say.clone()));
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        tokio::spawn(async move { drop(connection.await) });
    }
}

async fn answer_socket(
    mut request: hyper::Request<Incoming>,
    say: mpsc::UnboundedSender<String>,
) -> Result<hyper::Response<Answers>, std::convert::Infallible> {
    let upgrade = request.headers().contains_key("upgrade").then(|| hyper::upgrade::on(&mut request));
    let (body_sender, body) = mpsc::channel(1);
    let (answer, mut answers) = mpsc::channel(1);
    let (parts, incoming) = request.into_parts();
    let head = RequestHead {
        flags: if upgrade.is_some() { REQUEST_UPGRADE } else { 0 },
        method: parts.method.as_str().to_owned().into(),
        target: parts.uri.to_string().into(),
        headers: parts
            .headers
            .iter()
            .map(|(name, value)| (name.as_str().to_owned().into(), Bytes::copy_from_slice(value.as_bytes())))
            .collect(),
        ..RequestHead::default()
    };
    // hyper says `100 Continue` to a waiting client once the body is read.
    if upgrade.is_none() && head.target != "/refuse" {
        tokio::spawn(take_body(incoming, body_sender.clone()));
    }
    tokio::spawn(app(Call { head, body, answer, say }));
    let Some(Piece::Head(status, headers, end)) = answers.recv().await else {
        // The app does not answer.
        return std::future::pending().await;
    };
    let mut response = hyper::Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    let answers = match upgrade {
        Some(upgrade) if status == 101 => {
            tokio::spawn(async move {
                let upgraded = TokioIo::new(upgrade.await.unwrap());
                tunnel(upgraded, body_sender, answers).await;
            });
            None
        }
        _ => (!end).then_some(answers),
    };
    Ok(response.body(Answers(answers)).unwrap())
}

async fn take_body(mut incoming: Incoming, body: mpsc::Sender<Option<Bytes>>) {
    loop {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut incoming).poll_frame(cx)).await;
        let piece = match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => Some(data),
                // Trailers.
                Err(_) => continue,
            },
            Some(Err(_)) => return,
            None => None,
        };
        let over = piece.is_none();
        if body.send(piece).await.is_err() || over {
            return;
        }
    }
}

async fn tunnel(
    upgraded: TokioIo<hyper::upgrade::Upgraded>,
    body: mpsc::Sender<Option<Bytes>>,
    mut answers: mpsc::Receiver<Piece>,
) {
    let (mut read, mut write) = tokio::io::split(upgraded);
    let reader = async move {
        let mut buffer = vec![0; 4096];
        while let Ok(count @ 1..) = read.read(&mut buffer).await {
            let _ = body.send(Some(Bytes::copy_from_slice(&buffer[..count]))).await;
        }
        let _ = body.send(None).await;
    };
    let reader = tokio::spawn(reader);
    while let Some(Piece::Data(data)) = answers.recv().await {
        if write.write_all(&data).await.is_err() {
            break;
        }
    }
    reader.abort();
    let _ = write.shutdown().await;
}

struct Answers(Option<mpsc::Receiver<Piece>>);

impl Body for Answers {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let Some(answers) = &mut self.0 else { return Poll::Ready(None) };
        Poll::Ready(match ready!(answers.poll_recv(cx)) {
            Some(Piece::Data(data)) => Some(Ok(Frame::data(data))),
            Some(Piece::End) => None,
            Some(Piece::Head(..) | Piece::Cut) | None => Some(Err(std::io::Error::other("cut"))),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}
