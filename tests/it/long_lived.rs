//! Requests that stay open: `WebSockets`, event streams, endless uploads. They leave room for others, in
//! plugin and plain apps.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::plain::PlainApp;
use crate::plugin::{Plugin, touch};
use crate::support::{Devhost, SOON, cargo_turn};

/// How many long-lived requests one worker may have.
const LONG_LIVED_COUNT_MAX: usize = 2000;

/// How many ordinary ones.
const ORDINARY_COUNT_MAX: usize = 256;

pub(crate) const WEBSOCKET: &str = " HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Lets this process and its children open this many files.
fn allow_descriptors(count: u64) {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    assert!(hard >= count, "the system allows {hard} open files, and the test needs {count}");
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(count), hard).unwrap();
}

/// One app per way of reaching it, and how it is reloaded; the first is a plugin.
pub(crate) fn on_each_way(check: impl Fn(&Devhost, &dyn Fn())) {
    let plugin = Plugin::new("sockets.c");
    let devhost = plugin.start(&[]).ready();
    check(&devhost, &|| touch(&plugin.path(), 1));
    assert!(devhost.stop().success());
    let _turn = cargo_turn();
    let app = PlainApp::trap("sockets");
    let devhost = app.start(&[]).ready();
    check(&devhost, &|| app.edit("traps/src/bin/sockets.rs", "Before the edit", "After the edit"));
    assert!(devhost.stop().success());
}

/// Opens a request and waits for the start of its response.
pub(crate) fn open(devhost: &Devhost, request: &str) -> TcpStream {
    let mut connection = devhost.connect(request.as_bytes());
    let head = read_head(&mut connection);
    assert!(head.starts_with("HTTP/1.1 101") || head.starts_with("HTTP/1.1 200"), "{head}");
    connection
}

pub(crate) fn open_websocket(devhost: &Devhost, path: &str) -> TcpStream {
    open(devhost, &format!("GET {path}{WEBSOCKET}"))
}

fn read_head(connection: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        let count = connection.read(&mut byte).unwrap();
        assert!(count > 0, "closed after {:?}", String::from_utf8_lossy(&head));
        head.extend_from_slice(&byte);
    }
    String::from_utf8(head).unwrap()
}

fn is_answered(devhost: &Devhost) {
    let answer = devhost.get("/");
    assert_eq!((answer.status, answer.body.as_str()), (200, "Before the edit"));
    let answer = devhost.post("/", "text/plain", b"some");
    assert_eq!((answer.status, answer.body.as_str()), (200, "Before the edit"));
}

/// Sends a message and expects it back.
fn echoes(websocket: &mut TcpStream) {
    websocket.write_all(b"\x81\x82\0\0\0\0hi").unwrap();
    let mut echo = [0; 4];
    websocket.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"\x81\x02hi");
}

#[test]
fn requests_are_answered_beside_three_hundred_websockets() {
    on_each_way(|devhost, _| {
        let mut websockets: Vec<_> = (0..300).map(|_| open_websocket(devhost, "/ws")).collect();
        is_answered(devhost);
        websockets.iter_mut().for_each(echoes);
        is_answered(devhost);
    });
}

#[test]
fn requests_are_answered_beside_three_hundred_event_streams() {
    on_each_way(|devhost, _| {
        // As `EventSource` asks for them, and in another way.
        let asked = "GET /events HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n";
        let other = "GET /events HTTP/1.1\r\nhost: localhost\r\n\r\n";
        let _streams: Vec<_> =
            (0..300).map(|index| open(devhost, if index % 2 == 0 { asked } else { other })).collect();
        is_answered(devhost);
    });
}

#[test]
fn requests_are_answered_beside_three_hundred_uploads_that_never_end() {
    on_each_way(|devhost, _| {
        let half = b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\nhalf";
        let _uploads: Vec<_> = (0..300).map(|_| devhost.connect(half)).collect();
        is_answered(devhost);
    });
}

#[test]
fn a_websocket_ends_well_for_client_and_app_when_its_generation_does() {
    on_each_way(|devhost, reload| {
        let mut idle = open_websocket(devhost, "/ws");
        echoes(&mut idle);
        let mut in_message = open_websocket(devhost, "/ws");
        in_message.write_all(b"\x01\x82\0\0\0\0hi").unwrap();
        let mut flooded = open_websocket(devhost, "/flood");
        let reading = std::thread::spawn(move || {
            let mut end = Vec::new();
            let mut buffer = vec![0; 64 * 1024];
            loop {
                let count = flooded.read(&mut buffer).unwrap();
                if count == 0 {
                    return end;
                }
                end.extend_from_slice(&buffer[..count]);
                end.drain(..end.len().saturating_sub(4));
            }
        });
        // It does not read, so its app blocks in sending.
        let _unread = open_websocket(devhost, "/flood");
        reload();
        devhost.wait_ready(2);
        for (mut client, before) in [(idle, 0), (in_message, 4)] {
            let mut received = vec![0; before];
            client.read_exact(&mut received).unwrap();
            let mut close = [0; 4];
            client.read_exact(&mut close).unwrap();
            assert_eq!(&close, b"\x88\x02\x03\xf4");
        }
        assert_eq!(reading.join().unwrap(), b"\x88\x02\x03\xf4");
        devhost.wait_status(SOON, "drained", |status| status["workers"].as_array().unwrap().len() == 1);
        let printed = devhost.printed();
        for (path, count) in [("/ws", 2), ("/flood", 2)] {
            let well = format!("{path} was closed with 1001, then ended in order");
            assert_eq!(printed.matches(&well).count(), count, "{printed}");
        }
        assert!(!printed.contains("broke off") && !printed.contains("was reset"), "{printed}");
    });
}

#[test]
#[ignore = "opens thousands of connections"]
fn two_thousand_websockets_and_the_requests_beside_them_are_answered() {
    allow_descriptors(8192);
    on_each_way(|devhost, _| {
        let mut websockets: Vec<TcpStream> = Vec::new();
        let begun = Instant::now();
        while websockets.len() < LONG_LIVED_COUNT_MAX {
            websockets.push(open_websocket(devhost, "/ws"));
            if websockets.len().is_multiple_of(100) {
                is_answered(devhost);
            }
        }
        let opened = begun.elapsed();
        let mut longest = Duration::ZERO;
        for _ in 0..3 {
            for websocket in &mut websockets {
                echoes(websocket);
            }
            let asked = Instant::now();
            is_answered(devhost);
            longest = longest.max(asked.elapsed());
        }
        eprintln!(
            "2,000 WebSockets were open after {opened:?}; two requests beside them took {longest:?} at most"
        );
        // One more is turned away with a page, and others still get through.
        let mut refused = devhost.connect(format!("GET /ws{WEBSOCKET}").as_bytes());
        let mut page = String::new();
        refused.read_to_string(&mut page).unwrap();
        assert!(page.starts_with("HTTP/1.1 503") && page.contains("2000 WebSockets"), "{page}");
        devhost.wait_line("2000 WebSockets");
        is_answered(devhost);
        // Once the ordinary places are full as well, every client gets a page.
        let half = b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\nhalf";
        let uploads: Vec<_> = (0..ORDINARY_COUNT_MAX).map(|_| devhost.connect(half)).collect();
        let deadline = Instant::now() + SOON;
        let told = loop {
            let answer = devhost.get("/");
            if answer.status == 503 {
                break answer;
            }
            // Not all the uploads had arrived yet.
            assert!(Instant::now() < deadline, "never full");
        };
        assert!(told.body.contains("256 requests"), "{}", told.body);
        drop(uploads);
        let deadline = Instant::now() + SOON;
        while devhost.get("/").status != 200 {
            assert!(Instant::now() < deadline, "never answered again");
        }
        assert_eq!(devhost.printed().matches("2000 WebSockets").count(), 1, "{}", devhost.printed());
    });
}
