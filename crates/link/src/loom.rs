//! Models that loom runs in every order that the memory model allows: published bytes are seen whole, and no
//! wake is lost. CONTRIBUTING.md has the command.
//!
//! Memory made of loom's atomics stands for the two regions, and a flag under a mutex for the eventfd.

use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use crate::copy::LocalMemory;
use crate::frame::FrameHeader;
use crate::protocol::CREDIT_MAX_BYTES;
use crate::ring::{Consumer, Placement, Producer};
use crate::streams::{Received, Side, StreamTable};
use crate::wake::{Notice, Want};
use crate::word::WORD_BYTES;

const WRITE_POS: usize = 0;
const READ_POS: usize = 8;
const PARKED: usize = 16;
const SPACE_WANTED: usize = 24;
const RING: usize = 32;
/// Two words: the second frame of a model overtakes nothing, the third one wraps.
const RING_LENGTH_BYTES: usize = 2 * WORD_BYTES;
const REGION_LENGTH_BYTES: usize = RING + RING_LENGTH_BYTES;

const PLACE: Placement =
    Placement { ring: RING, length: RING_LENGTH_BYTES, write_pos: WRITE_POS, read_pos: READ_POS };

#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock().unwrap() = true;
        self.changed.notify_one();
    }

    fn clear(&self) {
        *self.rung.lock().unwrap() = false;
    }

    /// Waits until it is readable. If nobody will ever ring, loom reports the deadlock.
    fn wait(&self) {
        let mut rung = self.rung.lock().unwrap();
        while !*rung {
            rung = self.changed.wait(rung).unwrap();
        }
    }
}

struct Link {
    front: LocalMemory,
    worker: LocalMemory,
    front_bell: Bell,
    worker_bell: Bell,
}

impl Link {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            front: LocalMemory::new(REGION_LENGTH_BYTES),
            worker: LocalMemory::new(REGION_LENGTH_BYTES),
            front_bell: Bell::default(),
            worker_bell: Bell::default(),
        })
    }
}

fn word(number: u64) -> [u8; WORD_BYTES] {
    (number * 0x0101_0101_0101_0101).to_ne_bytes()
}

/// Writes `count` words, sleeping while the ring is full, as `Endpoint` does.
fn produce(link: &Link, count: u64) {
    let (mut producer, mut parked, mut space) =
        (Producer::new(PLACE), Notice::new(PARKED), Want::new(SPACE_WANTED));
    for number in 1..=count {
        loop {
            producer.refresh(&link.worker).unwrap();
            if producer.room() >= WORD_BYTES {
                break;
            }
            link.front_bell.clear();
            space.announce(&link.front);
            producer.refresh(&link.worker).unwrap();
            if producer.room() >= WORD_BYTES {
                break;
            }
            link.front_bell.wait();
        }
        space.withdraw(&link.front);
        producer.push(&link.front, &word(number), &[]);
        producer.publish(&link.front);
        if parked.take(&link.worker) {
            link.worker_bell.ring();
        }
    }
}

/// Reads `count` words, parking while the ring is empty, as `Endpoint` does.
fn consume(link: &Link, count: u64) {
    let (mut consumer, mut parked, mut space) =
        (Consumer::new(PLACE), Want::new(PARKED), Notice::new(SPACE_WANTED));
    for number in 1..=count {
        loop {
            parked.withdraw(&link.worker);
            consumer.refresh(&link.front).unwrap();
            if consumer.available() > 0 {
                break;
            }
            link.worker_bell.clear();
            parked.announce(&link.worker);
            consumer.refresh(&link.front).unwrap();
            if consumer.available() > 0 {
                break;
            }
            link.worker_bell.wait();
        }
        let mut found = [0; WORD_BYTES];
        consumer.pop(&link.front, &mut found);
        assert_eq!(
            found,
            word(number),
            "a word was seen before it was published, or after it was overwritten"
        );
        consumer.publish(&link.worker);
        if space.take(&link.front) {
            link.front_bell.ring();
        }
    }
}

fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    // Three preemptions find the bugs there are, says loom's documentation, in a bearable time.
    builder.preemption_bound = Some(3);
    builder.check(model);
}

fn model(count: u64) {
    check(move || {
        let link = Link::new();
        let producing = {
            let link = Arc::clone(&link);
            thread::spawn(move || produce(&link, count))
        };
        consume(&link, count);
        producing.join().unwrap();
    });
}

#[test]
fn a_consumer_that_parks_is_woken() {
    model(1);
}

#[test]
fn frames_are_seen_whole_and_in_order() {
    model(2);
}

#[test]
fn a_full_ring_wakes_its_producer_and_overwrites_nothing() {
    model(3);
}

/// Frames between the ends are the ring's business. Within an end, the driver that takes credit in and the
/// sender that waits for it share the stream table, under a lock, and the stream's waker.
#[test]
fn a_sender_without_credit_is_woken_when_some_is_returned() {
    check(|| {
        let mut table = StreamTable::new(Side::Front);
        table.open(1, false, ());
        table.use_credit(1, CREDIT_MAX_BYTES);
        let shared = Arc::new((Mutex::new(table), Bell::default()));
        let driving = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                for _ in 0..2 {
                    let received = shared
                        .0
                        .lock()
                        .unwrap()
                        .receive(&FrameHeader::window(1, CREDIT_MAX_BYTES / 2))
                        .unwrap();
                    if received == Received::Writable(()) {
                        shared.1.ring();
                    }
                }
            })
        };
        let mut sent = 0;
        while sent < CREDIT_MAX_BYTES {
            let credit = {
                let mut table = shared.0.lock().unwrap();
                let credit = table.credit(1).unwrap();
                if credit == 0 {
                    table.block(1);
                }
                table.use_credit(1, credit);
                credit
            };
            sent += credit;
            if credit == 0 {
                shared.1.wait();
                shared.1.clear();
            }
        }
        driving.join().unwrap();
    });
}
