//! Two ends of a link in one process: what each promises the other, and what a broken worker can do to the
//! front.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::frame::FrameHeader;
use crate::layout::{
    READ_POS_OFFSET_BYTES, RING_LENGTH_MIN_BYTES, RING_OFFSET_BYTES, WRITE_POS_OFFSET_BYTES,
};
use crate::protocol::FRAME_HEADER_BYTES;
use crate::*;

/// How long a test waits for what must happen. Far more than it takes.
const DEADLINE: Duration = Duration::from_secs(30);

async fn soon<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(DEADLINE, what).await.expect("it did not happen in time")
}

fn linked() -> (Client, WorkerLink) {
    linked_with(layout::RING_LENGTH_BYTES)
}

fn linked_with(ring_length: usize) -> (Client, WorkerLink) {
    let fds = LinkFds::create_with(3, ring_length).unwrap();
    let client = Client::attach(&fds).unwrap();
    (client, WorkerLink::attach(fds).unwrap())
}

/// Blocks the thread until there are events, and returns them.
fn wait(link: &WorkerLink) -> Result<Vec<WorkerEvent>, SendError> {
    let mut events = Vec::new();
    loop {
        link.poll(&mut events)?;
        if !events.is_empty() {
            return Ok(events);
        }
        let mut fds = [PollFd::new(link.event_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(DEADLINE).unwrap();
        assert_eq!(poll(&mut fds, timeout), Ok(1), "nothing arrived in time");
    }
}

/// Opens streams without a body, and has the worker read their heads.
async fn open_streams(client: &Client, link: &WorkerLink, count: usize) -> Vec<(SendHalf, RecvHalf)> {
    let mut open = Vec::new();
    for _ in 0..count {
        open.push(soon(client.open(Bytes::new(), true)).await.unwrap());
    }
    let mut heads = 0;
    while heads < count {
        heads += wait(link).unwrap().len();
    }
    open
}

/// Runs the worker's side on its own thread.
fn spawn<R: Send + 'static>(
    link: WorkerLink,
    serve: impl FnOnce(&WorkerLink) -> R + Send + 'static,
) -> tokio::task::JoinHandle<R> {
    tokio::task::spawn_blocking(move || serve(&link))
}

/// Answers each request with its own head and body until the link is closed.
fn echo(link: &WorkerLink) {
    let mut unsent: HashMap<u32, (VecDeque<Bytes>, bool)> = HashMap::new();
    while let Ok(events) = wait(link) {
        for event in events {
            let stream = match event {
                WorkerEvent::Head { stream, bytes, end } => {
                    link.head(stream, &bytes, false).unwrap();
                    unsent.insert(stream, (VecDeque::new(), end));
                    stream
                }
                WorkerEvent::Data { stream, bytes, end } => {
                    let Some((queue, ended)) = unsent.get_mut(&stream) else { continue };
                    queue.push_back(bytes);
                    *ended = end;
                    stream
                }
                WorkerEvent::Writable { stream } => stream,
                WorkerEvent::Cancel { stream } => {
                    unsent.remove(&stream);
                    continue;
                }
                WorkerEvent::GoAway => continue,
            };
            let Some((queue, ended)) = unsent.get_mut(&stream) else { continue };
            while let Some(piece) = queue.front_mut() {
                let sent = link.data(stream, piece).unwrap();
                link.consume(stream, sent).unwrap();
                let rest = piece.split_off(sent);
                if !rest.is_empty() {
                    *piece = rest;
                    break;
                }
                queue.pop_front();
            }
            if *ended && queue.is_empty() {
                link.end(stream).unwrap();
                unsent.remove(&stream);
            }
        }
    }
}

/// Returns bytes that all differ from their neighbours.
fn body(length: usize, seed: usize) -> Bytes {
    #[expect(clippy::cast_possible_truncation, reason = "a pattern of bytes")]
    let byte = |index: usize| (index.wrapping_mul(31) ^ (index >> 8) ^ seed) as u8;
    (0..length).map(byte).collect::<Vec<u8>>().into()
}

async fn receive_all(receive: &mut RecvHalf) -> Result<Vec<u8>, StreamError> {
    let mut all = Vec::new();
    while let Some(piece) = receive.data().await? {
        all.extend_from_slice(&piece);
    }
    Ok(all)
}

async fn exchange(client: &Client, request: Bytes) -> Vec<u8> {
    let (mut send, mut receive) = client.open(Bytes::from_static(b"head"), false).await.unwrap();
    let sender = tokio::spawn(async move {
        send.send(request).await.unwrap();
        send.finish().unwrap();
    });
    assert_eq!(receive.head().await, Ok((Bytes::from_static(b"head"), false)));
    let response = receive_all(&mut receive).await.unwrap();
    sender.await.unwrap();
    response
}

#[tokio::test]
async fn bodies_larger_than_credit_and_ring_pass_both_ways() {
    for ring_length in [RING_LENGTH_MIN_BYTES, layout::RING_LENGTH_BYTES] {
        let (client, link) = linked_with(ring_length);
        assert_eq!(link.generation(), 3);
        let worker = spawn(link, echo);
        let request = body(3 * ring_length + 12345, 1);
        assert_eq!(soon(exchange(&client, request.clone())).await, request);
        drop(client);
        soon(worker).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_streams_share_a_small_ring() {
    let (client, link) = linked_with(RING_LENGTH_MIN_BYTES);
    let worker = spawn(link, echo);
    let exchanges = (0..300).map(|seed| {
        let client = client.clone();
        tokio::spawn(async move {
            let request = body(40_000 + seed * 7, seed);
            assert!(exchange(&client, request.clone()).await == request, "stream {seed} was garbled");
        })
    });
    for exchange in exchanges.collect::<Vec<_>>() {
        soon(exchange).await.unwrap();
    }
    assert_eq!(client.open_count(), 0);
    drop(client);
    soon(worker).await.unwrap();
}

#[tokio::test]
async fn a_response_can_be_a_head_alone() {
    let (client, link) = linked();
    let (_send, mut receive) = soon(client.open(Bytes::from_static(b"q"), true)).await.unwrap();
    assert_eq!(
        wait(&link),
        Ok(vec![WorkerEvent::Head { stream: 1, bytes: Bytes::from_static(b"q"), end: true }])
    );
    link.head(1, b"r", true).unwrap();
    assert_eq!(link.head(1, b"r", true), Err(SendError::DeadStream));
    assert_eq!(soon(receive.head()).await, Ok((Bytes::from_static(b"r"), true)));
    assert_eq!(soon(receive.data()).await, Ok(None));
}

/// Answers each request in one call, with a body of the length in its head.
fn answer_whole(link: &WorkerLink) {
    let mut unsent: HashMap<u32, Bytes> = HashMap::new();
    while let Ok(events) = wait(link) {
        for event in events {
            let (stream, mut rest, taken) = match event {
                WorkerEvent::Head { stream, bytes, .. } => {
                    let length = std::str::from_utf8(&bytes).unwrap().parse().unwrap();
                    let body = body(length, length);
                    let taken = link.respond(stream, b"head", &body).unwrap();
                    if taken == length {
                        assert_eq!(link.end(stream), Err(SendError::DeadStream), "it has ended");
                        continue;
                    }
                    (stream, body, taken)
                }
                WorkerEvent::Writable { stream } => {
                    let body = unsent.remove(&stream).unwrap();
                    let taken = link.data(stream, &body).unwrap();
                    (stream, body, taken)
                }
                _ => continue,
            };
            bytes::Buf::advance(&mut rest, taken);
            if rest.is_empty() {
                link.end(stream).unwrap();
            } else {
                unsent.insert(stream, rest);
            }
        }
    }
}

#[tokio::test]
async fn a_response_that_is_sent_whole_arrives_whole() {
    for ring_length in [RING_LENGTH_MIN_BYTES, layout::RING_LENGTH_BYTES] {
        let (client, link) = linked_with(ring_length);
        let worker = spawn(link, answer_whole);
        let lengths = [0, 1, DATA_LENGTH_MAX_BYTES - 1, DATA_LENGTH_MAX_BYTES, DATA_LENGTH_MAX_BYTES + 1];
        for length in lengths.into_iter().chain([CREDIT_MAX_BYTES, CREDIT_MAX_BYTES + 1, 5 * ring_length + 3])
        {
            let (_send, mut receive) = client.open(length.to_string().into(), true).await.unwrap();
            assert_eq!(soon(receive.head()).await, Ok((Bytes::from_static(b"head"), false)));
            assert!(soon(receive_all(&mut receive)).await.unwrap() == body(length, length), "{length} bytes");
        }
        assert_eq!(client.open_count(), 0);
        drop(client);
        soon(worker).await.unwrap();
    }
}

#[tokio::test]
async fn calls_out_of_order_are_refused() {
    let (client, link) = linked();
    assert_eq!(link.head(1, b"", false), Err(SendError::DeadStream));
    let (_send, _receive) = soon(client.open(Bytes::new(), false)).await.unwrap();
    wait(&link).unwrap();
    assert_eq!(link.data(1, b"x"), Err(SendError::Invalid));
    assert_eq!(link.end(1), Err(SendError::Invalid));
    assert_eq!(link.consume(1, 1), Err(SendError::Invalid));
    link.head(1, b"", false).unwrap();
    assert_eq!(link.head(1, b"", false), Err(SendError::Invalid));
    link.end(1).unwrap();
    assert_eq!(link.data(1, b"x"), Err(SendError::DeadStream));
    assert_eq!(link.data(1, b""), Err(SendError::DeadStream));
    assert_eq!(link.end(1), Err(SendError::DeadStream));
}

#[tokio::test]
async fn a_head_of_64_kib_passes_and_a_larger_one_is_refused() {
    let (client, link) = linked();
    let largest = body(HEAD_LENGTH_MAX_BYTES, 2);
    let larger = body(HEAD_LENGTH_MAX_BYTES + 1, 2);
    assert_eq!(client.open(larger.clone(), true).await.unwrap_err(), StreamError::TooLarge);
    let (_send, mut receive) = soon(client.open(largest.clone(), true)).await.unwrap();
    wait(&link).unwrap();
    assert_eq!(link.head(1, &larger, false), Err(SendError::TooLarge));
    link.head(1, &largest, true).unwrap();
    assert_eq!(soon(receive.head()).await, Ok((largest, true)));
}

#[tokio::test]
async fn a_slow_client_stops_the_worker() {
    let (client, link) = linked();
    let (_send, mut receive) = soon(client.open(Bytes::new(), true)).await.unwrap();
    wait(&link).unwrap();
    link.head(1, b"", false).unwrap();
    let response = body(2 * CREDIT_MAX_BYTES, 3);
    assert_eq!(link.data(1, &response), Ok(CREDIT_MAX_BYTES));
    assert_eq!(link.data(1, &response), Ok(0));
    let mut events = Vec::new();
    link.poll(&mut events).unwrap();
    assert_eq!(events, []);
    let mut taken = 0;
    while taken < CREDIT_MAX_BYTES {
        taken += soon(receive.data()).await.unwrap().unwrap().len();
    }
    assert_eq!(wait(&link), Ok(vec![WorkerEvent::Writable { stream: 1 }]));
    assert!(link.data(1, &response[taken..]).unwrap() > 0);
}

#[tokio::test]
async fn a_body_sent_byte_by_byte_arrives_whole() {
    let (client, link) = linked();
    let (_send, mut receive) = soon(client.open(Bytes::new(), true)).await.unwrap();
    wait(&link).unwrap();
    link.head(1, b"", false).unwrap();
    let response = body(10_000, 10);
    for byte in response.chunks(1) {
        assert_eq!(link.data(1, byte), Ok(1));
    }
    link.end(1).unwrap();
    soon(receive.head()).await.unwrap();
    assert_eq!(soon(receive_all(&mut receive)).await.unwrap(), response);
}

#[tokio::test]
async fn a_slow_worker_stops_the_client() {
    let (client, link) = linked();
    let (mut send, _receive) = soon(client.open(Bytes::new(), false)).await.unwrap();
    let mut sending = tokio::spawn(async move {
        send.send(body(2 * CREDIT_MAX_BYTES, 4)).await.unwrap();
        send
    });
    let mut got = 0;
    while got < CREDIT_MAX_BYTES {
        tokio::task::yield_now().await;
        let mut events = Vec::new();
        link.poll(&mut events).unwrap();
        for event in events {
            if let WorkerEvent::Data { bytes, .. } = event {
                got += bytes.len();
            }
        }
    }
    assert_eq!(got, CREDIT_MAX_BYTES);
    assert!(!sending.is_finished());
    link.consume(1, got).unwrap();
    assert_eq!(link.consume(1, 1), Err(SendError::Invalid));
    let _send = soon(&mut sending).await.unwrap();
}

#[tokio::test]
async fn a_reset_of_the_worker_cuts_the_response_off_after_what_was_sent() {
    let (client, link) = linked();
    let (mut send, mut receive) = soon(client.open(Bytes::new(), false)).await.unwrap();
    wait(&link).unwrap();
    link.head(1, b"r", false).unwrap();
    link.data(1, b"some").unwrap();
    link.reset(1).unwrap();
    assert_eq!(link.data(1, b"more"), Err(SendError::DeadStream));
    assert!(soon(receive.head()).await.is_ok());
    assert_eq!(soon(receive.data()).await, Ok(Some(Bytes::from_static(b"some"))));
    assert_eq!(soon(receive.data()).await, Err(StreamError::Reset));
    assert_eq!(soon(send.send(Bytes::from_static(b"x"))).await, Err(StreamError::Reset));
}

#[tokio::test]
async fn a_reset_before_the_head_is_told() {
    let (client, link) = linked();
    let (_send, mut receive) = soon(client.open(Bytes::new(), false)).await.unwrap();
    wait(&link).unwrap();
    link.reset(1).unwrap();
    assert_eq!(soon(receive.head()).await, Err(StreamError::Reset));
}

#[tokio::test]
async fn dropping_either_half_cancels_the_stream() {
    let (client, link) = linked();
    let (send, receive) = soon(client.open(Bytes::new(), false)).await.unwrap();
    wait(&link).unwrap();
    drop(receive);
    assert_eq!(wait(&link), Ok(vec![WorkerEvent::Cancel { stream: 1 }]));
    assert_eq!(link.head(1, b"", false), Err(SendError::DeadStream));
    drop(send);

    let (send, mut receive) = soon(client.open(Bytes::new(), false)).await.unwrap();
    wait(&link).unwrap();
    drop(send);
    assert_eq!(wait(&link), Ok(vec![WorkerEvent::Cancel { stream: 2 }]));
    assert_eq!(soon(receive.head()).await, Err(StreamError::Reset));
}

#[tokio::test]
async fn frames_for_a_stream_that_was_cancelled_are_ignored() {
    let (client, link) = linked();
    let (_send, receive) = soon(client.open(Bytes::new(), true)).await.unwrap();
    wait(&link).unwrap();
    drop(receive);
    // The worker has not seen the cancellation yet.
    link.head(1, b"late", false).unwrap();
    link.data(1, b"late").unwrap();
    let (_send, mut receive) = soon(client.open(Bytes::new(), true)).await.unwrap();
    let events = wait(&link).unwrap();
    assert!(events.contains(&WorkerEvent::Cancel { stream: 1 }), "{events:?}");
    link.head(2, b"in time", true).unwrap();
    assert_eq!(soon(receive.head()).await, Ok((Bytes::from_static(b"in time"), true)));
}

#[tokio::test]
async fn a_response_that_ends_early_stops_the_request() {
    let (client, link) = linked();
    let (mut send, mut receive) = soon(client.open(Bytes::new(), false)).await.unwrap();
    wait(&link).unwrap();
    let sending = tokio::spawn(async move { send.send(body(4 * CREDIT_MAX_BYTES, 5)).await });
    link.head(1, b"413", true).unwrap();
    assert_eq!(soon(sending).await.unwrap(), Err(StreamError::Reset));
    assert_eq!(soon(receive.head()).await, Ok((Bytes::from_static(b"413"), true)));
    assert_eq!(soon(receive.data()).await, Ok(None));
    loop {
        let events = wait(&link).unwrap();
        if events.contains(&WorkerEvent::Cancel { stream: 1 }) {
            break;
        }
    }
    assert_eq!(client.open_count(), 0);
}

#[tokio::test]
async fn the_worker_is_told_that_a_newer_generation_took_over_and_still_serves() {
    let (client, link) = linked();
    client.goaway();
    assert_eq!(wait(&link), Ok(vec![WorkerEvent::GoAway]));
    let (_send, mut receive) = soon(client.open(Bytes::new(), true)).await.unwrap();
    wait(&link).unwrap();
    link.head(1, b"", true).unwrap();
    soon(receive.head()).await.unwrap();
}

#[tokio::test]
async fn one_stream_more_than_the_most_waits_for_one_to_end() {
    let (client, link) = linked();
    let mut open = open_streams(&client, &link, STREAMS_COUNT_MAX).await;
    let mut next = Box::pin(client.open(Bytes::new(), true));
    assert!(futures_util::poll!(next.as_mut()).is_pending());
    link.head(77, b"", true).unwrap();
    let (_, mut receive) = open.swap_remove(76);
    soon(receive.head()).await.unwrap();
    drop(receive);
    soon(next).await.unwrap();
    let next = u32::try_from(STREAMS_COUNT_MAX).unwrap() + 1;
    assert!(matches!(wait(&link).unwrap()[..], [WorkerEvent::Head { stream, .. }, ..] if stream == next));
}

#[tokio::test]
async fn what_has_no_room_is_kept_and_sent_in_order() {
    let (client, link) = linked_with(RING_LENGTH_MIN_BYTES);
    let open = open_streams(&client, &link, 20).await;
    // The driver runs on this thread, so nothing is taken from the ring meanwhile: four of these fill it.
    let head = body(HEAD_LENGTH_MAX_BYTES, 6);
    for stream in 1..=20 {
        link.head(stream, &head, false).unwrap();
        let sent = link.data(stream, b"tail").unwrap();
        if sent == 0 {
            link.reset(stream).unwrap();
        } else {
            link.end(stream).unwrap();
        }
    }
    assert!((1..=20).any(|stream| link.head(stream, b"", false) == Err(SendError::DeadStream)));
    let flushed = spawn(link, |link| while wait(link).is_ok() {});
    let mut cut_off = 0;
    for (_, mut receive) in open {
        match soon(receive.head()).await {
            Ok((bytes, end)) => {
                assert!(bytes == head && !end, "a head was garbled");
                assert_eq!(soon(receive_all(&mut receive)).await.unwrap(), b"tail");
            }
            Err(error) => {
                assert_eq!(error, StreamError::Reset);
                cut_off += 1;
            }
        }
    }
    assert!(cut_off > 0);
    drop(client);
    soon(flushed).await.unwrap();
}

#[tokio::test]
async fn heads_without_room_arrive_when_there_is_some() {
    let (client, link) = linked_with(RING_LENGTH_MIN_BYTES);
    let open = open_streams(&client, &link, 20).await;
    for stream in 1..=20 {
        link.head(stream, &body(HEAD_LENGTH_MAX_BYTES, stream as usize), true).unwrap();
    }
    let flushed = spawn(link, |link| while wait(link).is_ok() {});
    for (index, (_, mut receive)) in open.into_iter().enumerate() {
        let (bytes, end) = soon(receive.head()).await.unwrap();
        assert!(bytes == body(HEAD_LENGTH_MAX_BYTES, index + 1) && end, "head {index} was garbled");
    }
    drop(client);
    soon(flushed).await.unwrap();
}

#[tokio::test]
async fn opening_waits_for_room_in_the_ring() {
    let (client, link) = linked_with(RING_LENGTH_MIN_BYTES);
    let head = body(HEAD_LENGTH_MAX_BYTES, 7);
    let mut open = Vec::new();
    loop {
        let mut opening = Box::pin(client.open(head.clone(), true));
        match futures_util::poll!(opening.as_mut()) {
            std::task::Poll::Ready(halves) => open.push(halves.unwrap()),
            std::task::Poll::Pending => {
                assert_eq!(open.len(), 3);
                assert_eq!(wait(&link).unwrap().len(), 3);
                open.push(soon(opening).await.unwrap());
                break;
            }
        }
    }
    assert!(matches!(wait(&link).unwrap()[..], [WorkerEvent::Head { stream: 4, .. }]));
}

#[tokio::test]
async fn closing_hands_on_what_was_committed_and_then_fails_the_rest() {
    let (client, link) = linked();
    let (_send, mut whole) = soon(client.open(Bytes::new(), true)).await.unwrap();
    let (mut send, mut cut) = soon(client.open(Bytes::new(), false)).await.unwrap();
    let (_send, mut none) = soon(client.open(Bytes::new(), true)).await.unwrap();
    wait(&link).unwrap();
    link.head(1, b"one", true).unwrap();
    link.head(2, b"two", false).unwrap();
    link.data(2, b"some").unwrap();
    // A worker that is killed runs no destructor.
    std::mem::forget(link);
    client.close();
    assert_eq!(soon(client.closed()).await, None);
    assert_eq!(soon(client.closed()).await, None);
    assert_eq!(soon(whole.head()).await, Ok((Bytes::from_static(b"one"), true)));
    assert_eq!(soon(whole.data()).await, Ok(None));
    assert_eq!(soon(cut.head()).await, Ok((Bytes::from_static(b"two"), false)));
    assert_eq!(soon(cut.data()).await, Ok(Some(Bytes::from_static(b"some"))));
    assert_eq!(soon(cut.data()).await, Err(StreamError::Lost));
    assert_eq!(soon(none.head()).await, Err(StreamError::Lost));
    assert_eq!(soon(send.send(Bytes::from_static(b"x"))).await, Err(StreamError::Lost));
    assert_eq!(soon(client.open(Bytes::new(), true)).await.unwrap_err(), StreamError::Lost);
}

#[tokio::test]
async fn closing_wakes_everybody_who_waits() {
    let (client, link) = linked();
    let (mut send, mut receive) = soon(client.open(Bytes::new(), false)).await.unwrap();
    let mut open = Vec::new();
    for _ in 1..STREAMS_COUNT_MAX {
        open.push(soon(client.open(Bytes::new(), true)).await.unwrap());
    }
    let sending = tokio::spawn(async move { send.send(body(2 * CREDIT_MAX_BYTES, 8)).await });
    let receiving = tokio::spawn(async move { receive.head().await });
    let other = client.clone();
    let opening = tokio::spawn(async move { other.open(Bytes::new(), true).await.map(drop) });
    let other = client.clone();
    let closed = tokio::spawn(async move { other.closed().await });
    tokio::task::yield_now().await;
    client.close();
    assert_eq!(soon(sending).await.unwrap(), Err(StreamError::Lost));
    assert_eq!(soon(receiving).await.unwrap(), Err(StreamError::Lost));
    assert_eq!(soon(opening).await.unwrap(), Err(StreamError::Lost));
    assert_eq!(soon(closed).await.unwrap(), None);
    drop(link);
}

#[tokio::test]
async fn a_worker_that_leaves_ends_the_link() {
    let (client, link) = linked();
    let (_send, mut receive) = soon(client.open(Bytes::new(), true)).await.unwrap();
    wait(&link).unwrap();
    link.head(1, b"last", true).unwrap();
    drop(link);
    assert_eq!(soon(client.closed()).await, None);
    assert_eq!(soon(receive.head()).await, Ok((Bytes::from_static(b"last"), true)));
}

#[tokio::test]
async fn a_front_that_leaves_ends_the_link_after_the_last_half() {
    let (client, link) = linked();
    let halves = soon(client.open(Bytes::new(), true)).await.unwrap();
    drop(client);
    assert!(matches!(wait(&link).unwrap()[..], [WorkerEvent::Head { stream: 1, .. }]));
    drop(halves);
    let events = wait(&link);
    assert!(matches!(events, Err(SendError::Closed)) || wait(&link) == Err(SendError::Closed), "{events:?}");
    assert_eq!(link.fault(), None);
}

#[tokio::test]
async fn the_worker_refuses_a_link_that_the_front_has_not_sealed() {
    let fds = LinkFds::create(1).unwrap();
    assert!(matches!(WorkerLink::attach(fds), Err(RegionError::Unsealed { .. })));
}

#[test]
fn attaching_needs_a_runtime() {
    let fds = LinkFds::create(1).unwrap();
    assert_eq!(Client::attach(&fds).unwrap_err(), RegionError::NoRuntime);
}

/// The link's descriptors in the other process, as a list of numbers.
const STRESS_VARIABLE: &str = "DEVHOST_TEST_STRESS_LINK";

/// Not a test, but the worker's process of the next one, which starts this executable again.
#[test]
#[ignore = "the other process of another test"]
fn worker_of_the_stress_test() {
    use std::os::fd::FromRawFd;
    let Ok(list) = std::env::var(STRESS_VARIABLE) else { return };
    // SAFETY: the starting test passes these descriptors to this process, and nothing else here has them.
    let mut fds = list.split(',').map(|fd| unsafe { OwnedFd::from_raw_fd(fd.parse().unwrap()) });
    let mut next = || fds.next().unwrap();
    let fds = LinkFds { down: next(), up: next(), front_event: next(), worker_event: next() };
    echo(&WorkerLink::attach(fds).unwrap());
}

/// What loom tries in order and Miri within a process, here between two processes on real hardware. A byte
/// seen too early or a lost wake shows as a difference or a timeout.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_exchange_a_great_deal_and_nothing_is_torn_or_lost() {
    use std::os::fd::AsRawFd;
    use std::os::unix::process::CommandExt;
    const EXCHANGES_COUNT: usize = 2000;
    const AT_ONCE_COUNT: usize = 12;
    let fds = LinkFds::create_with(1, RING_LENGTH_MIN_BYTES).unwrap();
    let client = Client::attach(&fds).unwrap();
    let numbers = [&fds.down, &fds.up, &fds.front_event, &fds.worker_event].map(AsRawFd::as_raw_fd);
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    let list = numbers.map(|fd| fd.to_string()).join(",");
    let name = concat!(module_path!(), "::worker_of_the_stress_test").split_once("::").unwrap().1;
    command.args(["--exact", name, "--ignored", "--quiet"]).env(STRESS_VARIABLE, list);
    command.stdout(std::process::Stdio::null());
    // SAFETY: between fork and exec only fcntl is called, which is async-signal-safe.
    unsafe {
        command.pre_exec(move || {
            for fd in numbers {
                if nix::libc::fcntl(fd, nix::libc::F_SETFD, 0) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
    let mut child = command.spawn().unwrap();
    drop(fds);
    let tasks = (0..AT_ONCE_COUNT).map(|task| {
        let client = client.clone();
        tokio::spawn(async move {
            for number in (task..EXCHANGES_COUNT).step_by(AT_ONCE_COUNT) {
                // From nothing to more than the ring holds, most often small.
                let length = if number % 97 == 0 { 300_000 } else { number * number % 5000 };
                let request = body(length, number);
                assert!(exchange(&client, request.clone()).await == request, "exchange {number} was garbled");
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        soon(task).await.unwrap();
    }
    drop(client);
    let ended = tokio::task::spawn_blocking(move || child.wait().unwrap());
    assert!(soon(ended).await.unwrap().success());
}

/// A worker that writes anything into its region.
struct Hostile {
    up: OwnedFd,
    front_event: OwnedFd,
    written: u64,
}

impl Hostile {
    fn write(&self, offset: usize, bytes: &[u8]) {
        let offset = i64::try_from(offset).unwrap();
        assert_eq!(nix::sys::uio::pwrite(&self.up, bytes, offset), Ok(bytes.len()));
    }

    fn ring(&self) {
        nix::unistd::write(&self.front_event, &1_u64.to_ne_bytes()).unwrap();
    }

    fn frame(&mut self, header: &[u8; FRAME_HEADER_BYTES], payload: &[u8]) {
        let at = RING_OFFSET_BYTES + usize::try_from(self.written).unwrap();
        self.write(at, header);
        self.write(at + FRAME_HEADER_BYTES, payload);
        self.written += (FRAME_HEADER_BYTES + payload.len().next_multiple_of(8)) as u64;
    }

    fn publish(&self) {
        self.write(WRITE_POS_OFFSET_BYTES, &self.written.to_le_bytes());
        self.ring();
    }
}

async fn hostile() -> (Client, RecvHalf, SendHalf, Hostile) {
    let fds = LinkFds::create(1).unwrap();
    let client = Client::attach(&fds).unwrap();
    let (send, receive) = soon(client.open(Bytes::new(), false)).await.unwrap();
    (client, receive, send, Hostile { up: fds.up, front_event: fds.front_event, written: 0 })
}

/// Returns the fault reported to all waiters.
async fn expect_fault(client: &Client, mut receive: RecvHalf) -> PeerFault {
    let fault = soon(client.closed()).await.expect("the fault went unnoticed");
    let told = async {
        receive.head().await?;
        while receive.data().await?.is_some() {}
        Ok(())
    };
    assert_eq!(soon(told).await, Err(StreamError::Fault(fault.clone())));
    let refused = soon(client.open(Bytes::new(), true)).await.unwrap_err();
    assert_eq!(refused, StreamError::Fault(fault.clone()));
    fault
}

#[tokio::test]
async fn frames_that_break_the_rules_are_faults() {
    type Frames = Vec<(FrameHeader, Vec<u8>)>;
    type Check = fn(&PeerFault) -> bool;
    let head = || (FrameHeader::headers(1, 0, false), vec![]);
    let overrun: Frames =
        std::iter::once(head())
            .chain((0..5).map(|_| {
                (FrameHeader::data(1, DATA_LENGTH_MAX_BYTES, false), vec![0; DATA_LENGTH_MAX_BYTES])
            }))
            .collect();
    let cases: Vec<(Frames, Check)> = vec![
        (vec![(FrameHeader::headers(2, 0, false), vec![])], |fault| {
            matches!(fault, PeerFault::UnknownStream { stream: 2, last: 1, .. })
        }),
        (vec![head(), head()], |fault| {
            matches!(fault, PeerFault::OutOfTurn { kind: FrameKind::Headers, .. })
        }),
        (vec![(FrameHeader::data(1, 1, false), vec![0; 8])], |fault| {
            matches!(fault, PeerFault::OutOfTurn { kind: FrameKind::Data, .. })
        }),
        (vec![head(), (FrameHeader::data(1, 0, false), vec![])], |fault| {
            matches!(fault, PeerFault::Field { kind: FrameKind::Data, field: "length", .. })
        }),
        (overrun, |fault| matches!(fault, PeerFault::Credit { left: 0, .. })),
        (vec![(FrameHeader::window(1, 1), vec![])], |fault| {
            matches!(fault, PeerFault::Credit { left: 0, .. })
        }),
        (vec![(FrameHeader::go_away(), vec![])], |fault| {
            matches!(fault, PeerFault::WrongSide(FrameKind::GoAway))
        }),
    ];
    for (frames, is_expected) in cases {
        let (client, receive, _send, mut worker) = hostile().await;
        for (header, payload) in &frames {
            worker.frame(&header.encode(), payload);
        }
        worker.publish();
        let fault = expect_fault(&client, receive).await;
        assert!(is_expected(&fault), "{fault}");
    }
}

#[tokio::test]
async fn a_frame_longer_than_what_was_committed_is_a_fault() {
    let (client, receive, _send, mut worker) = hostile().await;
    worker.frame(&FrameHeader::headers(1, 64, false).encode(), &[0; 8]);
    worker.publish();
    let fault = expect_fault(&client, receive).await;
    assert_eq!(fault, PeerFault::Truncated { needed: 80, available: 24 });
}

#[tokio::test]
async fn positions_out_of_bounds_are_faults() {
    for offset in [WRITE_POS_OFFSET_BYTES, READ_POS_OFFSET_BYTES] {
        let (client, receive, _send, worker) = hostile().await;
        worker.write(offset, &u64::MAX.to_le_bytes());
        worker.ring();
        let fault = expect_fault(&client, receive).await;
        assert!(matches!(fault, PeerFault::Position { found: u64::MAX, .. }), "{fault}");
    }
}

#[tokio::test]
async fn garbage_in_the_whole_region_costs_the_link_alone() {
    let (other, link) = linked();
    let serving = spawn(link, echo);
    for seed in 0..8 {
        let (client, receive, _send, worker) = hostile().await;
        worker.write(0, &body(RING_OFFSET_BYTES + layout::RING_LENGTH_BYTES, seed));
        worker.ring();
        expect_fault(&client, receive).await;
    }
    let request = body(100_000, 9);
    assert_eq!(soon(exchange(&other, request.clone())).await, request);
    drop(other);
    soon(serving).await.unwrap();
}

#[tokio::test]
async fn a_worker_on_many_threads_keeps_its_streams_apart() {
    let (client, link) = linked_with(RING_LENGTH_MIN_BYTES);
    let link = Arc::new(link);
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(soon(client.open(Bytes::new(), true)).await.unwrap());
    }
    let mut heads = 0;
    while heads < open.len() {
        heads += wait(&link).unwrap().len();
    }
    let (senders, poller) = start_senders(&link, 8);
    for (index, (_, receive)) in open.iter_mut().enumerate() {
        soon(receive.head()).await.unwrap();
        let response = soon(receive_all(receive)).await.unwrap();
        assert!(response == body(300_000, index + 1), "stream {} was garbled", index + 1);
    }
    drop((open, client));
    for sender in senders {
        soon(sender).await.unwrap();
    }
    soon(poller).await.unwrap();
}

/// Starts a thread for each stream that sends a body, and one that polls and wakes them.
fn start_senders(
    link: &Arc<WorkerLink>,
    count: u32,
) -> (Vec<tokio::task::JoinHandle<()>>, tokio::task::JoinHandle<()>) {
    let mut wakers = Vec::new();
    let senders = (1..=count)
        .map(|stream| {
            let link = Arc::clone(link);
            let (waker, wakes) = std::sync::mpsc::channel::<()>();
            wakers.push(waker);
            tokio::task::spawn_blocking(move || {
                let all = body(300_000, stream as usize);
                link.head(stream, b"", false).unwrap();
                let mut sent = 0;
                while sent < all.len() {
                    sent += link.data(stream, &all[sent..]).unwrap();
                    if sent < all.len() {
                        wakes.recv_timeout(DEADLINE).expect("the sender was never woken");
                    }
                }
                link.end(stream).unwrap();
            })
        })
        .collect();
    let link = Arc::clone(link);
    let poller = tokio::task::spawn_blocking(move || {
        while let Ok(events) = wait(&link) {
            for event in events {
                if let WorkerEvent::Writable { stream } = event {
                    // Fails only if the sender has ended and needs no wake.
                    let _ = wakers[stream as usize - 1].send(());
                }
            }
        }
    });
    (senders, poller)
}

#[test]
fn descriptors_of_a_link_do_not_block_and_do_not_cross_an_exec() {
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    let fds = LinkFds::create(1).unwrap();
    for fd in [&fds.down, &fds.up, &fds.front_event, &fds.worker_event] {
        let flags = FdFlag::from_bits_retain(fcntl(fd.as_fd(), FcntlArg::F_GETFD).unwrap());
        assert!(flags.contains(FdFlag::FD_CLOEXEC));
    }
    let mut counter = [0; 8];
    assert_eq!(nix::unistd::read(&fds.worker_event, &mut counter), Err(nix::errno::Errno::EAGAIN));
}
