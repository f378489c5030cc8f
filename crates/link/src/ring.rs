//! A ring between one producer and one consumer, in two processes that do not trust each other.
//!
//! Each end keeps its position in private memory and publishes a copy; it never reads its own words back. It
//! loads the peer's position once, validates it, and then uses only its copy.
//!
//! Its correctness rests on two orderings, marked by `SYNC POINT` comments at both ends. *committed*:
//! [`Producer::publish`] (release) pairs with [`Consumer::refresh`] (acquire), so that what was written is
//! seen. *taken*: [`Consumer::publish`] (release) pairs with [`Producer::refresh`] (acquire), so that nothing
//! is overwritten before it was copied out. Positions move by whole words.
//!
//! On x86-64 all four are plain moves, so a test there proves nothing. On arm64 they are `stlr` and
//! `ldar`/`ldapr`, and the bulk copies between them plain `ldr`/`str`. Without *committed* a consumer could
//! read a frame before the position that covers it (load-load). Without *taken* a producer's stores could
//! pass the consumer's loads (load-store: `stlr` keeps earlier loads before it, `ldar` later stores after
//! it). `loom.rs` tries what the language's memory model allows, which is weaker than either machine.

use crate::copy::Words;
use crate::fault::PeerFault;
use crate::sync::Ordering;
use crate::word::{WORD_BYTES, round_up};

/// The offsets of a ring and its positions in the two regions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placement {
    /// The ring, in the producer's region.
    pub(crate) ring: usize,
    /// The length of the ring in bytes: a power of two, and at least a word.
    pub(crate) length: usize,
    /// The write position, in the producer's region.
    pub(crate) write_pos: usize,
    /// The read position, in the consumer's region.
    pub(crate) read_pos: usize,
}

impl Placement {
    /// Splits a range of the ring where it wraps. Returns offset and length of the first part; the rest is at
    /// the start.
    fn split(&self, position: u64, length: usize) -> (usize, usize) {
        debug_assert!(length <= self.length);
        // The ring length is a power of two that fits a usize, so the masked position does, too.
        #[expect(clippy::cast_possible_truncation, reason = "masked to less than the ring length")]
        let start = (position & (self.length as u64 - 1)) as usize;
        (self.ring + start, length.min(self.length - start))
    }
}

/// The writing end.
#[derive(Debug)]
pub(crate) struct Producer {
    place: Placement,
    write_pos: u64,
    /// The peer's position at the last refresh.
    read_pos: u64,
}

impl Producer {
    pub(crate) fn new(place: Placement) -> Self {
        Self { place, write_pos: 0, read_pos: 0 }
    }

    /// Returns how many bytes fit, as of the last refresh.
    pub(crate) fn room(&self) -> usize {
        // `refresh` keeps the difference within the ring length.
        self.place.length - usize::try_from(self.write_pos - self.read_pos).unwrap_or(self.place.length)
    }

    pub(crate) fn write_pos(&self) -> u64 {
        self.write_pos
    }

    /// Returns how far the peer had read at the last refresh.
    pub(crate) fn read_pos(&self) -> u64 {
        self.read_pos
    }

    /// Returns whether the peer had read everything at the last refresh.
    pub(crate) fn is_empty(&self) -> bool {
        self.read_pos == self.write_pos
    }

    pub(crate) fn refresh(&mut self, peer: &impl Words) -> Result<(), PeerFault> {
        // SYNC POINT `taken`: what the consumer copied out before it stored this is not overwritten before it did.
        let found = peer.load(self.place.read_pos, Ordering::Acquire);
        check_position("reader", found, self.read_pos, self.write_pos)?;
        self.read_pos = found;
        Ok(())
    }

    /// Writes a header and a payload, each padded to whole words. The peer sees them after
    /// [`Producer::publish`].
    ///
    /// # Panics
    ///
    /// Panics if there is not enough room.
    pub(crate) fn push(&mut self, own: &impl Words, header: &[u8], payload: &[u8]) {
        assert!(round_up(header.len()) + round_up(payload.len()) <= self.room(), "the ring overflows");
        for part in [header, payload] {
            let (offset, first) = self.place.split(self.write_pos, part.len());
            own.write(offset, &part[..first]);
            own.write(self.place.ring, &part[first..]);
            self.write_pos += round_up(part.len()) as u64;
        }
    }

    /// Makes everything pushed visible to the peer.
    pub(crate) fn publish(&self, own: &impl Words) {
        // SYNC POINT `committed`: the bytes that were pushed before are seen by whoever sees this.
        own.store(self.place.write_pos, self.write_pos, Ordering::Release);
    }
}

/// The reading end.
#[derive(Debug)]
pub(crate) struct Consumer {
    place: Placement,
    read_pos: u64,
    /// The peer's position at the last refresh.
    write_pos: u64,
}

impl Consumer {
    pub(crate) fn new(place: Placement) -> Self {
        Self { place, read_pos: 0, write_pos: 0 }
    }

    /// Returns how many bytes can be read, as of the last refresh.
    pub(crate) fn available(&self) -> usize {
        usize::try_from(self.write_pos - self.read_pos).unwrap_or(self.place.length)
    }

    /// Returns how far the peer had written at the last refresh.
    pub(crate) fn write_pos(&self) -> u64 {
        self.write_pos
    }

    pub(crate) fn refresh(&mut self, peer: &impl Words) -> Result<(), PeerFault> {
        // SYNC POINT `committed`: what the producer pushed before it stored this is seen by the loads after it.
        let found = peer.load(self.place.write_pos, Ordering::Acquire);
        check_position("writer", found, self.write_pos, self.read_pos + self.place.length as u64)?;
        self.write_pos = found;
        Ok(())
    }

    /// Copies out the next bytes and consumes the words that contain them.
    ///
    /// # Panics
    ///
    /// Panics if fewer are available.
    pub(crate) fn pop(&mut self, peer: &impl Words, out: &mut [u8]) {
        assert!(round_up(out.len()) <= self.available(), "the ring underflows");
        let (offset, first) = self.place.split(self.read_pos, out.len());
        let length = out.len();
        let (head, tail) = out.split_at_mut(first);
        peer.read(offset, head);
        peer.read(self.place.ring, tail);
        self.read_pos += round_up(length) as u64;
    }

    /// Returns the room of everything popped to the peer.
    pub(crate) fn publish(&self, own: &impl Words) {
        // SYNC POINT `taken`: the loads of the bytes that were popped are done before anybody sees this.
        own.store(self.place.read_pos, self.read_pos, Ordering::Release);
    }
}

fn check_position(ring: &'static str, found: u64, low: u64, high: u64) -> Result<(), PeerFault> {
    if (low..=high).contains(&found) && found.is_multiple_of(WORD_BYTES as u64) {
        Ok(())
    } else {
        Err(PeerFault::Position { ring, found, low, high })
    }
}

#[cfg(all(test, not(devhost_loom)))]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;
    use crate::copy::{Access, Backing, LocalMemory};

    const SMALL: Placement = Placement { ring: 64, length: 64, write_pos: 0, read_pos: 8 };
    const HEADER: [u8; 8] = *b"12345678";

    fn memories() -> (LocalMemory, LocalMemory) {
        (LocalMemory::new(128), LocalMemory::new(128))
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push(Vec<u8>),
        Publish,
        Pop,
        GiveBack,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..64).prop_map(Step::Push),
            Just(Step::Publish),
            Just(Step::Pop),
            Just(Step::GiveBack),
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        #[test]
        fn ring_behaves_as_a_queue(steps in steps()) {
            let (front, worker) = memories();
            let (mut producer, mut consumer) = (Producer::new(SMALL), Consumer::new(SMALL));
            // What the consumer has not taken, and how much of it is published.
            let mut queue = VecDeque::new();
            let mut published = 0;
            // The room in bytes that the consumer has not given back.
            let (mut taken, mut used) = (0, 0);
            for step in steps {
                match step {
                    Step::Push(bytes) => {
                        let size = HEADER.len() + round_up(bytes.len());
                        producer.refresh(&worker).unwrap();
                        prop_assert_eq!(producer.room(), 64 - used);
                        if size <= producer.room() {
                            producer.push(&front, &HEADER, &bytes);
                            used += size;
                            queue.push_back(bytes);
                        }
                    }
                    Step::Publish => {
                        producer.publish(&front);
                        published = queue.len();
                    }
                    Step::Pop => {
                        consumer.refresh(&front).unwrap();
                        prop_assert_eq!(consumer.available() > 0, published > 0);
                        if published > 0 {
                            let wanted: Vec<u8> = queue.pop_front().unwrap();
                            published -= 1;
                            let (mut header, mut bytes) = ([0; 8], vec![0; wanted.len()]);
                            consumer.pop(&front, &mut header);
                            consumer.pop(&front, &mut bytes);
                            prop_assert_eq!(header, HEADER);
                            taken += HEADER.len() + round_up(bytes.len());
                            prop_assert_eq!(bytes, wanted);
                        }
                    }
                    Step::GiveBack => {
                        consumer.publish(&worker);
                        used -= std::mem::take(&mut taken);
                    }
                }
            }
        }

        #[test]
        fn any_position_of_a_peer_is_refused_or_within_bounds(positions in prop::collection::vec(any::<u64>(), 1..20)) {
            let (front, worker) = memories();
            let (mut producer, mut consumer) = (Producer::new(SMALL), Consumer::new(SMALL));
            producer.push(&front, &HEADER, &[]);
            for position in positions {
                front.store(SMALL.write_pos, position, Ordering::Relaxed);
                worker.store(SMALL.read_pos, position, Ordering::Relaxed);
                let _ = consumer.refresh(&front);
                let _ = producer.refresh(&worker);
                prop_assert!(consumer.available() <= 64);
                prop_assert!(producer.room() <= 64);
            }
        }
    }

    #[test]
    fn a_position_that_goes_back_is_a_fault() {
        let (front, worker) = memories();
        let (mut producer, mut consumer) = (Producer::new(SMALL), Consumer::new(SMALL));
        producer.push(&front, &HEADER, &[0; 16]);
        producer.publish(&front);
        consumer.refresh(&front).unwrap();
        front.store(SMALL.write_pos, 16, Ordering::Relaxed);
        let fault = PeerFault::Position { ring: "writer", found: 16, low: 24, high: 64 };
        assert_eq!(consumer.refresh(&front), Err(fault));
        consumer.pop(&front, &mut [0; 24]);
        consumer.publish(&worker);
        producer.refresh(&worker).unwrap();
        worker.store(SMALL.read_pos, 8, Ordering::Relaxed);
        assert!(producer.refresh(&worker).is_err());
    }

    #[test]
    fn a_position_between_two_words_is_a_fault() {
        let (front, _) = memories();
        front.store(SMALL.write_pos, 12, Ordering::Relaxed);
        assert!(Consumer::new(SMALL).refresh(&front).is_err());
    }

    #[test]
    fn two_threads_pass_bytes_through_one_memory() {
        const PLACE: Placement = Placement { ring: 128, length: 128, write_pos: 0, read_pos: 8 };
        let (mut down, mut up) = (Backing::new(256), Backing::new(256));
        let (down, up) = (down.share(Access::Write), up.share(Access::Write));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut producer = Producer::new(PLACE);
                for number in 0..50_u8 {
                    while producer.room() < 24 {
                        producer.refresh(&up).unwrap();
                        std::thread::yield_now();
                    }
                    producer.push(&down, &[number; 8], &[number; 13]);
                    producer.publish(&down);
                }
            });
            let mut consumer = Consumer::new(PLACE);
            for number in 0..50_u8 {
                while consumer.available() == 0 {
                    consumer.refresh(&down).unwrap();
                    std::thread::yield_now();
                }
                let (mut header, mut payload) = ([0; 8], [0; 13]);
                consumer.pop(&down, &mut header);
                consumer.pop(&down, &mut payload);
                assert_eq!((header, payload), ([number; 8], [number; 13]));
                consumer.publish(&up);
            }
        });
    }
}
