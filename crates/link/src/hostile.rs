//! A worker that acts on the front's end of a link as its input says. Shared by the fuzz targets and the
//! property tests.
//!
//! Whatever the worker writes, each call of the front's end must return, keep every limit, and read no byte
//! that the worker did not commit. The worker's end is a bare mapping; the front's is the real one.

use std::cell::Cell;

use crate::copy::{Access, Words};
use crate::endpoint::{
    Endpoint, FRAMES_PER_POLL_COUNT_MAX, Incoming, Over, PENDING_PER_STREAM_COUNT_MAX, Refusal,
};
use crate::fds::LinkFds;
use crate::frame::FrameHeader;
use crate::layout::{
    CONTROL_OFFSETS_BYTES, READ_POS_OFFSET_BYTES, RING_LENGTH_MIN_BYTES, RING_OFFSET_BYTES,
    WRITE_POS_OFFSET_BYTES,
};
use crate::protocol::{
    CREDIT_MAX_BYTES, DATA_LENGTH_MAX_BYTES, FRAME_HEADER_BYTES, HEAD_LENGTH_MAX_BYTES, STREAMS_COUNT_MAX,
};
use crate::region::{Direction, Region, seal_down};
use crate::streams::Side;
use crate::sync::Ordering;
use crate::wake::Event;

const RING_LENGTH_BYTES: usize = RING_LENGTH_MIN_BYTES;
const REGION_LENGTH_BYTES: usize = RING_OFFSET_BYTES + RING_LENGTH_BYTES;

/// Runs a worker that writes words anywhere in its region between the front's calls.
pub fn write_anywhere(input: &[u8]) {
    let mut game = Game::new();
    let mut input = Input(input);
    while let Some(act) = input.byte() {
        match act % 4 {
            0 => {
                // Most often a control word, with a number that could be right.
                let word = usize::from(input.byte().unwrap_or(0)) % CONTROL_OFFSETS_BYTES.len();
                let offset = CONTROL_OFFSETS_BYTES[word];
                let word = if act & 4 == 0 { input.number(3) * 8 } else { input.number(8) };
                game.store(offset, word);
            }
            1 => {
                let offset = usize::try_from(input.number(3)).unwrap_or(0) % REGION_LENGTH_BYTES / 8 * 8;
                game.store(offset, input.number(8));
            }
            2 => game.put_frame(&mut input),
            _ => game.call_front(&mut input),
        }
    }
    game.end();
}

/// Runs a worker whose frames are arbitrary, but which publishes and reads like an honest one.
pub fn send_frames(input: &[u8]) {
    let mut game = Game::new();
    let mut input = Input(input);
    while let Some(act) = input.byte() {
        match act % 8 {
            0..=3 => game.put_frame(&mut input),
            4 => game.read_everything(),
            _ => game.call_front(&mut input),
        }
    }
    game.end();
}

/// The bytes that decide what happens.
struct Input<'i>(&'i [u8]);

impl Input<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// Returns a number of this many bytes, zero-padded at the end of the input.
    fn number(&mut self, bytes: usize) -> u64 {
        (0..bytes).fold(0, |number, _| number << 8 | u64::from(self.byte().unwrap_or(0)))
    }

    /// Returns a length, most often small or at a limit.
    fn length(&mut self, limit: usize) -> usize {
        let byte = usize::from(self.byte().unwrap_or(0));
        match byte {
            0..=127 => byte,
            128..=191 => (byte - 127) * 1024,
            192..=223 => limit - (byte - 192).min(limit),
            _ => limit + (byte - 223),
        }
    }
}

/// The memory of a link, reused because creating it takes longer than most games.
struct Board {
    down: Region,
    up: Region,
    /// The same memory as `up`, writable.
    worker: Region,
    event: Event,
}

thread_local! {
    /// What the previous game has left.
    static BOARD: Cell<Option<Board>> = const { Cell::new(None) };
}

impl Board {
    fn take() -> Self {
        let Some(board) = BOARD.take() else { return Self::new() };
        for memory in [board.down.memory(), board.worker.memory()] {
            memory.write(0, &vec![0; REGION_LENGTH_BYTES]);
        }
        board
    }

    fn new() -> Self {
        let fds = LinkFds::create_with(1, RING_LENGTH_BYTES).expect("memory for a link");
        let map = |fd, direction, access| Region::map(fd, direction, access).expect("a fresh region");
        let down = map(&fds.down, Direction::Down, Access::Write);
        seal_down(&fds.down).expect("a fresh region");
        let up = map(&fds.up, Direction::Up, Access::Read);
        let worker = map(&fds.up, Direction::Up, Access::Write);
        Self { down, up, worker, event: Event::new(fds.worker_event) }
    }
}

struct Game {
    front: Endpoint<u32>,
    worker: Region,
    written: u64,
    incoming: Vec<Incoming<u32>>,
    opened: u32,
    /// For each stream, how many bytes of its body were delivered and not consumed.
    held: Vec<usize>,
}

impl Game {
    fn new() -> Self {
        let Board { down, up, worker, event } = Board::take();
        let front = Endpoint::new(down, up, event, Side::Front);
        Self { front, worker, written: 0, incoming: Vec::new(), opened: 0, held: vec![0; 1] }
    }

    fn store(&mut self, offset: usize, word: u64) {
        self.worker.memory().store(offset, word, Ordering::Release);
    }

    fn put_bytes(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            let at = usize::try_from(self.written).unwrap_or(0) % RING_LENGTH_BYTES;
            self.store(RING_OFFSET_BYTES + at, u64::from_ne_bytes(word));
            self.written += 8;
        }
    }

    /// Publishes a frame that may be wrong in any way.
    fn put_frame(&mut self, input: &mut Input<'_>) {
        let choice = input.byte().unwrap_or(0);
        let stream = u32::from(input.byte().unwrap_or(0)) % (self.opened + 2);
        let end = choice & 0x80 != 0;
        let header = match choice % 8 {
            0 | 1 => FrameHeader::headers(stream, input.length(HEAD_LENGTH_MAX_BYTES), end),
            2 | 3 => FrameHeader::data(stream, input.length(DATA_LENGTH_MAX_BYTES), end),
            4 => FrameHeader::window(stream, input.length(CREDIT_MAX_BYTES)),
            5 => FrameHeader::reset(stream),
            6 => FrameHeader::go_away(),
            _ => {
                let bytes: [u8; FRAME_HEADER_BYTES] = std::array::from_fn(|_| input.byte().unwrap_or(0));
                self.put_bytes(&bytes);
                return self.store(WRITE_POS_OFFSET_BYTES, self.written);
            }
        };
        self.put_bytes(&header.encode());
        self.put_bytes(&vec![choice; header.length]);
        self.store(WRITE_POS_OFFSET_BYTES, self.written);
    }

    /// Publishes that everything was read, as an honest worker does.
    fn read_everything(&mut self) {
        let written = self.front.written();
        self.store(READ_POS_OFFSET_BYTES, written);
    }

    fn call_front(&mut self, input: &mut Input<'_>) {
        let choice = input.byte().unwrap_or(0);
        let stream = u32::from(input.byte().unwrap_or(0)) % (self.opened + 2);
        let was_over = self.front.over().cloned();
        let refused = match choice % 10 {
            0..=2 => self.collect().map_err(Refusal::Over),
            3 => self.front.park().map(drop).map_err(Refusal::Over),
            4 => self.open(input.length(HEAD_LENGTH_MAX_BYTES), choice & 0x80 != 0),
            5 => {
                let data = vec![choice; input.length(CREDIT_MAX_BYTES)];
                self.front.send_data(stream, &data).map(|sent| assert!(sent <= data.len()))
            }
            6 => self.front.send_end(stream),
            7 => self.consume(stream),
            8 => self.front.reset(stream),
            _ => self.front.nudge().map(drop),
        };
        if let Some(over) = was_over {
            assert_eq!(refused, Err(Refusal::Over(over)), "an end that is over did something");
        }
        self.check();
    }

    fn open(&mut self, length: usize, end: bool) -> Result<(), Refusal> {
        // The front's client has a permit for each stream.
        if self.front.open_count() >= STREAMS_COUNT_MAX {
            return Ok(());
        }
        let opened = self.front.open(&vec![7; length], end, self.opened + 1)?;
        if let Some(id) = opened {
            self.opened += 1;
            assert_eq!(id, self.opened);
            self.held.push(0);
        }
        Ok(())
    }

    fn consume(&mut self, stream: u32) -> Result<(), Refusal> {
        let held = self.held.get_mut(stream as usize).map_or(0, std::mem::take);
        self.front.consume(stream, held)
    }

    fn collect(&mut self) -> Result<(), Over> {
        let collected = self.front.collect(&mut self.incoming);
        let mut frames = 0;
        for incoming in std::mem::take(&mut self.incoming) {
            match incoming {
                Incoming::Head { stream, target, bytes, .. } => {
                    assert_eq!(stream, target);
                    assert!(bytes.len() <= HEAD_LENGTH_MAX_BYTES);
                    frames += 1;
                }
                Incoming::Data { stream, target, bytes, end } => {
                    assert_eq!(stream, target);
                    assert!(bytes.len() <= DATA_LENGTH_MAX_BYTES && (end || !bytes.is_empty()));
                    self.held[stream as usize] += bytes.len();
                    assert!(
                        self.held[stream as usize] <= CREDIT_MAX_BYTES,
                        "more is held than there is credit"
                    );
                    frames += 1;
                }
                Incoming::Writable { stream, target } | Incoming::Reset { stream, target } => {
                    assert_eq!(stream, target);
                }
                Incoming::GoAway => panic!("a worker sent the front away"),
                Incoming::Space => {}
            }
        }
        // Twice if the peer is closing.
        assert!(frames <= 2 * FRAMES_PER_POLL_COUNT_MAX);
        collected
    }

    /// Leaves the memory to the next game.
    fn end(self) {
        let (down, up, event) = self.front.into_parts();
        BOARD.set(Some(Board { down, up, worker: self.worker, event }));
    }

    fn check(&self) {
        assert!(self.front.open_count() <= STREAMS_COUNT_MAX);
        let bound = PENDING_PER_STREAM_COUNT_MAX * STREAMS_COUNT_MAX;
        assert!(self.front.pending_count() <= bound, "{} frames wait", self.front.pending_count());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fault::PeerFault;

    proptest! {
        // The fuzz targets try more.
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_worker_that_writes_anywhere_never_breaks_the_front(
            input in prop::collection::vec(any::<u8>(), 0..2000),
        ) {
            write_anywhere(&input);
        }

        #[test]
        fn a_worker_that_sends_any_frames_never_breaks_the_front(
            input in prop::collection::vec(prop_oneof![0_u8..16, any::<u8>()], 0..2000),
        ) {
            send_frames(&input);
        }
    }

    /// The inputs worth keeping from the fuzz targets.
    #[test]
    fn the_inputs_that_are_kept_pass() {
        let root = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        let corpus = ["fuzz/corpus", "../fuzz/corpus"].map(|path| root.join(path));
        let corpus = corpus.into_iter().find(|path| path.exists()).expect("a corpus");
        for target in ["region", "frames"] {
            let mut count = 0;
            for file in std::fs::read_dir(corpus.join(target)).unwrap() {
                let input = std::fs::read(file.unwrap().path()).unwrap();
                // Either game must stand any input.
                write_anywhere(&input);
                send_frames(&input);
                count += 1;
            }
            assert!(count > 0, "no inputs for {target}");
        }
    }

    #[test]
    fn credit_that_a_worker_was_never_given_is_not_credit() {
        let mut game = Game::new();
        // The ring is full and never read: nothing from the front arrives.
        while game.front.open(&vec![0; HEAD_LENGTH_MAX_BYTES], false, game.opened + 1).unwrap().is_some() {
            game.opened += 1;
            game.held.push(0);
        }
        assert!(game.opened > 0);
        for length in [CREDIT_MAX_BYTES / 2, 4096, 256, 1] {
            while game.front.send_data(2, &vec![0; length]).unwrap() == length {}
        }
        game.put_bytes(&FrameHeader::headers(1, 0, false).encode());
        let mut taken = 0;
        let fault = loop {
            game.put_bytes(&FrameHeader::data(1, DATA_LENGTH_MAX_BYTES, false).encode());
            game.put_bytes(&vec![1; DATA_LENGTH_MAX_BYTES]);
            game.store(WRITE_POS_OFFSET_BYTES, game.written);
            if let Err(over) = game.collect() {
                break Refusal::Over(over);
            }
            taken += DATA_LENGTH_MAX_BYTES;
            if let Err(refused) = game.consume(1) {
                break refused;
            }
            assert!(taken <= 2 * CREDIT_MAX_BYTES, "{taken} bytes came without credit");
        };
        assert!(matches!(fault, Refusal::Over(Over::Fault(PeerFault::Credit { stream: 1, .. }))));
        game.check();
    }
}
