//! Bulk traffic through front and worker, and its effect on their memory. Slow, so only on demand.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;

use crate::plugin::Plugin;
use crate::support::{Devhost, SOON};

/// How much front and worker together may grow, whatever passes through them.
const GROWTH_MAX_KIB: u64 = 64 * 1024;

/// A day of server-sent events, at one a second.
const EVENTS_COUNT: usize = 24 * 60 * 60;

struct Run {
    devhost: Devhost,
    _plugin: Plugin,
}

impl Run {
    fn start() -> Self {
        let plugin = Plugin::new("plugin.c");
        let devhost = plugin.start(&[]).ready();
        // What the first request allocates permanently is no growth.
        assert_eq!(devhost.post("/echo", "text/plain", &vec![b'w'; 1 << 20]).status, 200);
        Self { devhost, _plugin: plugin }
    }

    /// Returns the resident memory of front and worker, without the regions themselves.
    fn resident_kib(&self) -> u64 {
        [self.devhost.pid(), self.devhost.worker_pid()].into_iter().map(resident_kib).sum()
    }

    /// Sends a body of this many pieces while reading it back. Returns the greatest growth.
    fn echo(&self, piece: &[u8], count: usize) -> u64 {
        let before = self.resident_kib();
        let mut sender = self
            .devhost
            .connect(b"POST /echo HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n");
        let receiver = sender.try_clone().unwrap();
        let expected = piece.len() * count;
        let receiving = std::thread::spawn(move || read_chunked(receiver, expected));
        let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
        chunk.extend_from_slice(piece);
        chunk.extend_from_slice(b"\r\n");
        let mut most = before;
        for index in 0..count {
            sender.write_all(&chunk).unwrap();
            if index % (count / 64) == 0 {
                most = most.max(self.resident_kib());
            }
        }
        sender.write_all(b"0\r\n\r\n").unwrap();
        assert_eq!(receiving.join().unwrap(), expected);
        most.max(self.resident_kib()) - before
    }
}

pub(crate) fn resident_kib(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("a line for it");
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Checks a chunked body's chunks and returns its length.
fn read_chunked(stream: TcpStream, expected: usize) -> usize {
    use std::io::BufRead;
    stream.set_read_timeout(Some(SOON)).unwrap();
    let mut reader = BufReader::with_capacity(1 << 20, stream);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        assert!(reader.read_line(&mut line).unwrap() > 0, "the head broke off");
    }
    let mut total = 0;
    let mut chunk = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line).unwrap();
        let length = usize::from_str_radix(line.trim(), 16).unwrap();
        chunk.resize(length + 2, 0);
        reader.read_exact(&mut chunk).unwrap();
        assert!(chunk.ends_with(b"\r\n"));
        total += length;
        assert!(total <= expected, "more came back than was sent");
        if length == 0 {
            return total;
        }
    }
}

#[test]
#[ignore = "takes minutes in a debug build"]
fn two_gigabytes_up_and_down_leave_memory_as_it_was() {
    let run = Run::start();
    let piece: Vec<u8> = (0..1 << 20).map(|index: u32| (index % 251) as u8).collect();
    let growth = run.echo(&piece, 2048);
    eprintln!("2 GiB up and down at once: front and worker grew by {growth} KiB at most");
    assert!(growth <= GROWTH_MAX_KIB, "they grew by {growth} KiB");
    assert!(run.devhost.stop().success());
}

#[test]
#[ignore = "takes minutes in a debug build"]
fn a_day_of_events_leaves_memory_as_it_was() {
    let run = Run::start();
    let first = run.echo(b"data: tick\n\n", EVENTS_COUNT);
    let second = run.echo(b"data: tick\n\n", EVENTS_COUNT);
    eprintln!("{EVENTS_COUNT} events: front and worker grew by {first} KiB, the second time by {second} KiB");
    assert!(first <= GROWTH_MAX_KIB, "they grew by {first} KiB");
    // Memory needed once is reused the second time.
    assert!(second <= GROWTH_MAX_KIB / 16, "they grew by {second} KiB again");
    assert!(run.devhost.stop().success());
}
