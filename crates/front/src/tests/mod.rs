//! The front as a whole, on a real socket. Tests play the worker and the browser.

mod cancel;
mod conformance;
mod echo;
mod endpoints;
pub(super) mod fake;
mod pages;
mod pipelining;
mod proxy;
mod repeat;
mod scripts;
mod socket;
mod upgrade;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use self::fake::{FakeExchange, FakeWorker, fake_worker};
use super::gate::{Backend, Gate};
use super::upstream::Upstream;
use super::{FrontConfig, Hub, Server, serve};
use devhost_model::StatusBoard;

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) async fn soon<T>(event: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, event).await.expect("it did not happen in time")
}

struct Site {
    address: SocketAddr,
    gate: Gate,
    hub: Hub,
    status: Arc<StatusBoard>,
    notices: Arc<Mutex<Vec<String>>>,
    server: Arc<Server>,
}

impl Site {
    /// Starts a front with nothing behind it yet.
    fn start() -> Self {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (gate, hub) = (Gate::new(), Hub::new());
        let status = Arc::new(StatusBoard::new("shop".into(), "plugin"));
        let notices = Arc::new(Mutex::new(Vec::new()));
        let config = FrontConfig {
            is_guess: false,
            listeners: vec![listener],
            allowed_hosts: vec![".allowed.test".into()],
            allowed_origins: vec!["https://partner.example".into()],
            session: "session-1".into(),
            app: "shop".into(),
            inject: true,
            suspicion: Arc::default(),
            observer: Arc::default(),
            root: "/shop".into(),
            runtime: Arc::default(),
            on_notice: {
                let notices = Arc::clone(&notices);
                Box::new(move |notice| notices.lock().unwrap().push(notice))
            },
        };
        let server = serve(config, gate.clone(), hub.clone(), Arc::clone(&status)).unwrap();
        Self { address, gate, hub, status, notices, server: Arc::new(server) }
    }

    /// Starts a front with a generation behind it.
    fn start_serving() -> (Self, FakeWorker) {
        let site = Self::start();
        let worker = site.swap(1);
        (site, worker)
    }

    fn swap(&self, number: u64) -> FakeWorker {
        let (client, worker) = fake_worker();
        self.gate.swap(vec![Backend::new(number, number, client, None)], true);
        worker
    }

    /// Puts a generation in place, reached by `client`.
    fn swap_to(&self, number: u64, client: impl Into<Upstream>) -> Arc<Backend> {
        let generation = Backend::new(number, number, client, None);
        self.gate.swap(vec![Arc::clone(&generation)], true);
        generation
    }

    async fn connect(&self) -> Browser {
        Browser { stream: TcpStream::connect(self.address).await.unwrap(), input: Vec::new() }
    }

    /// Sends a GET with these headers besides Host.
    async fn get(&self, path: &str, headers: &str) -> Browser {
        let mut browser = self.connect().await;
        browser.send(&format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n")).await;
        browser
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // Begun here, and run as far as the test's runtime gets.
        let server = Arc::clone(&self.server);
        actix_web::rt::spawn(async move { server.stop(false).await });
    }
}

/// A client at the level of bytes.
struct Browser {
    stream: TcpStream,
    input: Vec<u8>,
}

#[derive(Debug)]
struct Head {
    status: u16,
    headers: Vec<(String, String)>,
}

impl Head {
    fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(have, _)| have == name).map(|(_, value)| value.as_str()).collect()
    }
}

impl Browser {
    async fn send(&mut self, text: impl AsRef<[u8]>) {
        soon(self.stream.write_all(text.as_ref())).await.unwrap();
    }

    /// Reads more. Returns false at the end.
    async fn fill(&mut self) -> bool {
        match soon(self.stream.read_buf(&mut self.input)).await {
            Ok(count) => count > 0,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => false,
            Err(error) => panic!("{error}"),
        }
    }

    async fn read_until(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self.input.windows(end.len()).position(|window| window == end) {
                return self.input.drain(..at + end.len()).collect();
            }
            assert!(self.fill().await, "closed after {:?}", String::from_utf8_lossy(&self.input));
        }
    }

    async fn read_exact(&mut self, len: usize) -> Vec<u8> {
        while self.input.len() < len {
            assert!(self.fill().await, "closed after {:?}", String::from_utf8_lossy(&self.input));
        }
        self.input.drain(..len).collect()
    }

    async fn head(&mut self) -> Head {
        let text = String::from_utf8(self.read_until(b"\r\n\r\n").await).unwrap();
        let mut lines = text.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Head { status, headers }
    }

    /// Returns one chunk of a chunked body, `None` at its end.
    async fn chunk(&mut self) -> Option<Vec<u8>> {
        let line = String::from_utf8(self.read_until(b"\r\n").await).unwrap();
        let len = usize::from_str_radix(line.trim(), 16).unwrap();
        let mut chunk = self.read_exact(len + 2).await;
        chunk.truncate(len);
        (len > 0).then_some(chunk)
    }

    async fn body(&mut self, head: &Head) -> String {
        let bytes = if head.get("transfer-encoding") == Some("chunked") {
            let mut whole = Vec::new();
            while let Some(chunk) = self.chunk().await {
                whole.extend(chunk);
            }
            whole
        } else if let Some(length) = head.get("content-length") {
            self.read_exact(length.parse().unwrap()).await
        } else {
            self.rest().await
        };
        String::from_utf8(bytes).unwrap()
    }

    async fn response(&mut self) -> (Head, String) {
        let head = self.head().await;
        let body = self.body(&head).await;
        (head, body)
    }

    /// Returns everything up to the end of the connection.
    async fn rest(&mut self) -> Vec<u8> {
        while self.fill().await {}
        std::mem::take(&mut self.input)
    }
}

/// Answers one request with an HTML page and returns what the browser got.
async fn page(
    site: &Site,
    worker: &mut FakeWorker,
    headers: &[(&str, &str)],
    body: impl Into<bytes::Bytes>,
) -> (Head, String) {
    let mut browser = site.get("/page", "accept: text/html\r\n").await;
    let mut all = vec![("content-type", "text/html")];
    all.extend_from_slice(headers);
    let exchange: FakeExchange = worker.next().await;
    exchange.answer(200, &all, body).await;
    browser.response().await
}
