//! What a message and its answer cost between two processes: over the link as the front and a worker use it, over the
//! same link without a runtime, and over a Unix socket. Run with `cargo bench --manifest-path link/Cargo.toml`.
//!
//! The other process is this executable again, and only echoes.

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput};
use devhost_link::{Client, LinkFds, WorkerEvent, WorkerLink};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// What the other process is to do, and its descriptors.
const PART_VARIABLE: &str = "DEVHOST_BENCH_PART";
/// The lengths of messages: what a small request is, and what a page is.
const LENGTHS_BYTES: [usize; 2] = [64, 16 * 1024];

fn main() {
    if let Ok(part) = std::env::var(PART_VARIABLE) {
        return play(&part);
    }
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(4))
        .configure_from_args();
    for length in LENGTHS_BYTES {
        let mut group = criterion.benchmark_group("round trip");
        group.throughput(Throughput::Bytes(length as u64));
        group.bench_with_input(BenchmarkId::new("unix socket", length), &length, |bench, length| {
            bench.iter_custom(|count| time_socket(*length, count));
        });
        group.bench_with_input(BenchmarkId::new("link, a stream each", length), &length, |bench, length| {
            bench.iter_custom(|count| time_link(*length, count, false));
        });
        group.bench_with_input(BenchmarkId::new("link, one stream", length), &length, |bench, length| {
            bench.iter_custom(|count| time_link(*length, count, true));
        });
        group.bench_with_input(BenchmarkId::new("unix socket, tokio", length), &length, |bench, length| {
            bench.iter_custom(|count| time_tokio_socket(*length, count));
        });
        group.finish();
    }
    criterion.final_summary();
}

/// Starts the other process with these descriptors.
fn start(part: &str, fds: &[RawFd]) -> Child {
    let list: Vec<String> = fds.iter().map(ToString::to_string).collect();
    let mut command = Command::new(std::env::current_exe().expect("this executable"));
    command.env(PART_VARIABLE, format!("{part}:{}", list.join(","))).stdin(Stdio::null());
    let fds = fds.to_vec();
    // SAFETY: between fork and exec only fcntl is called, which is safe there.
    unsafe {
        command.pre_exec(move || {
            for fd in &fds {
                if libc::fcntl(*fd, libc::F_SETFD, 0) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
    command.spawn().expect("the other process")
}

/// The other process.
fn play(part: &str) {
    let (part, list) = part.split_once(':').expect("a part and its descriptors");
    // SAFETY: the process that started this one passes these descriptors to it, and nothing else here has them.
    let mut fds = list.split(',').map(|fd| unsafe { OwnedFd::from_raw_fd(fd.parse().expect("a number")) });
    let mut next = || fds.next().expect("a descriptor");
    if part == "socket" {
        let mut socket = UnixStream::from(next());
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = socket.read(&mut buffer) {
            socket.write_all(&buffer[..count]).expect("the other end");
        }
        return;
    }
    let fds = LinkFds { down: next(), up: next(), front_event: next(), worker_event: next() };
    echo(&WorkerLink::attach(fds).expect("a link"));
}

fn echo(link: &WorkerLink) {
    let mut events = Vec::new();
    loop {
        if link.poll(&mut events).is_err() {
            return;
        }
        if events.is_empty() {
            let mut fds = [PollFd::new(link.event_fd(), PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::NONE).expect("an eventfd");
        }
        for event in events.drain(..) {
            match event {
                WorkerEvent::Head { stream, bytes, end: true } => {
                    // The small ones fit a head; a real head is as large as that.
                    link.head(stream, &bytes[..bytes.len().min(64)], false).expect("a stream");
                    link.data(stream, &bytes).expect("credit");
                    link.end(stream).expect("a stream");
                }
                WorkerEvent::Head { stream, .. } => link.head(stream, b"", false).expect("a stream"),
                WorkerEvent::Data { stream, bytes, end: false } => {
                    assert_eq!(link.data(stream, &bytes), Ok(bytes.len()), "a message fits the credit");
                    link.consume(stream, bytes.len()).expect("what was received");
                }
                // What is over needs no answer.
                WorkerEvent::Data { stream, .. } => drop(link.end(stream)),
                WorkerEvent::Writable { .. } | WorkerEvent::Cancel { .. } | WorkerEvent::GoAway => {}
            }
        }
    }
}

/// One message after the other, each on a stream of its own as a request is, or all on one as a WebSocket's are.
fn time_link(length: usize, count: u64, one_stream: bool) -> Duration {
    let runtime = runtime();
    let fds = LinkFds::create(1).expect("memory");
    let client = {
        let _runtime = runtime.enter();
        Client::attach(&fds).expect("memory")
    };
    let numbers = [&fds.down, &fds.up, &fds.front_event, &fds.worker_event].map(AsRawFd::as_raw_fd);
    let mut child = start("link", &numbers);
    drop(fds);
    let message = Bytes::from(vec![7; length]);
    let time = runtime.block_on(async {
        if one_stream {
            let (mut send, mut receive) = client.open(Bytes::new(), false).await.expect("a worker");
            receive.head().await.expect("a head");
            let begun = Instant::now();
            for _ in 0..count {
                send.send(message.clone()).await.expect("a worker");
                let mut left = length;
                while left > 0 {
                    left -= receive.data().await.expect("a worker").expect("a body").len();
                }
            }
            begun.elapsed()
        } else {
            // The first one waits for the process.
            ask(&client, &message).await;
            let begun = Instant::now();
            for _ in 0..count {
                ask(&client, &message).await;
            }
            begun.elapsed()
        }
    });
    drop(client);
    child.wait().expect("the other process");
    time
}

async fn ask(client: &Client, message: &Bytes) {
    let (_send, mut receive) = client.open(message.clone(), true).await.expect("a worker");
    receive.head().await.expect("a head");
    let mut left = message.len();
    while let Some(piece) = receive.data().await.expect("a worker") {
        left -= piece.len();
    }
    assert_eq!(left, 0);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn socket_pair() -> (UnixStream, Child) {
    let (ours, theirs) = UnixStream::pair().expect("sockets");
    let child = start("socket", &[theirs.as_raw_fd()]);
    (ours, child)
}

fn time_socket(length: usize, count: u64) -> Duration {
    let (mut socket, mut child) = socket_pair();
    let (message, mut answer) = (vec![7; length], vec![0; length]);
    let mut time = Duration::ZERO;
    for round in 0..=count {
        let begun = Instant::now();
        socket.write_all(&message).expect("the other end");
        socket.read_exact(&mut answer).expect("the other end");
        // The first one waits for the process.
        if round > 0 {
            time += begun.elapsed();
        }
    }
    drop(socket);
    child.wait().expect("the other process");
    time
}

/// The same from a runtime, as a front would have to use it.
fn time_tokio_socket(length: usize, count: u64) -> Duration {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (socket, mut child) = socket_pair();
    socket.set_nonblocking(true).expect("a socket");
    let (message, mut answer) = (vec![7; length], vec![0; length]);
    let runtime = runtime();
    let time = runtime.block_on(async {
        let mut socket = tokio::net::UnixStream::from_std(socket).expect("a socket");
        let mut begun = Instant::now();
        for round in 0..=count {
            socket.write_all(&message).await.expect("the other end");
            socket.read_exact(&mut answer).await.expect("the other end");
            if round == 0 {
                begun = Instant::now();
            }
        }
        begun.elapsed()
    });
    child.wait().expect("the other process");
    time
}
