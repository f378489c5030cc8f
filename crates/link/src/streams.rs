//! The streams of a link as state machines without I/O: what may be sent and received, and how much credit is
//! left. Both ends use the same table. It validates the peer's frames and refuses invalid calls of this end.
//!
//! A stream is over once both directions have ended or either end has reset it. It then leaves the table, and
//! frames still in flight for it are ignored. Consecutive ids tell it from a stream never opened.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::fault::PeerFault;
use crate::frame::FrameHeader;
use crate::protocol::{CREDIT_MAX_BYTES, DATA_LENGTH_MAX_BYTES, FrameKind, STREAMS_COUNT_MAX};

/// The number of consumed bytes from which on they are returned as credit.
const CREDIT_RETURN_MIN_BYTES: usize = CREDIT_MAX_BYTES / 2;

// Unreturned credit never keeps a sender from a full frame.
const _: () = assert!(CREDIT_MAX_BYTES - CREDIT_RETURN_MIN_BYTES >= DATA_LENGTH_MAX_BYTES);

/// What this end expects from the peer on one stream.
#[derive(Debug)]
enum Receiving {
    Head,
    /// Pieces of the body. The numbers add up to [`CREDIT_MAX_BYTES`].
    Body {
        /// Bytes that the peer may still send.
        credit: usize,
        /// Bytes delivered, not consumed yet.
        held: usize,
        /// Bytes consumed, not returned as credit yet.
        owed: usize,
    },
    Ended,
}

/// What this end may send on one stream.
#[derive(Debug)]
enum Sending {
    /// The response's head. Its body has credit from the start.
    Head,
    Body {
        /// Bytes that may still be sent.
        credit: usize,
        /// Whether a sender waits for permission to continue.
        is_blocked: bool,
    },
    Ended,
}

impl Receiving {
    fn body(end: bool) -> Self {
        if end { Self::Ended } else { Self::Body { credit: CREDIT_MAX_BYTES, held: 0, owed: 0 } }
    }
}

impl Sending {
    fn body(end: bool) -> Self {
        if end { Self::Ended } else { Self::Body { credit: CREDIT_MAX_BYTES, is_blocked: false } }
    }
}

#[derive(Debug)]
struct Stream<T> {
    receiving: Receiving,
    sending: Sending,
    target: T,
}

impl<T> Stream<T> {
    fn is_over(&self) -> bool {
        matches!((&self.receiving, &self.sending), (Receiving::Ended, Sending::Ended))
    }
}

/// The end of the link. A target is what the table's user attaches to each stream.
#[derive(Debug)]
pub(crate) enum Side<T> {
    /// Opens the streams.
    Front,
    /// Answers them, all with this target.
    Worker(T),
}

/// The meaning of a frame of the peer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received<T> {
    /// Nothing: the stream is over already.
    Ignored,
    Head(T, AfterEnd),
    Data(T, AfterEnd),
    /// The stream's sender may continue.
    Writable(T),
    Reset(T),
    /// No new stream will come.
    GoAway,
}

/// What remains to be done about a stream after a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AfterEnd {
    Nothing,
    /// The response is over, so the rest of the request is pointless: the peer must be told.
    Abandon,
}

/// Why this end must not do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamRefusal {
    /// The stream, or the direction, is over.
    Dead,
    /// It is out of turn.
    Invalid,
}

/// The open streams of one end.
#[derive(Debug)]
pub(crate) struct StreamTable<T> {
    side: Side<T>,
    last: u32,
    open: HashMap<u32, Stream<T>>,
}

impl<T: Clone> StreamTable<T> {
    pub(crate) fn new(side: Side<T>) -> Self {
        Self { side, last: 0, open: HashMap::new() }
    }

    /// Returns the id of the next stream, or `None` if there are no more.
    pub(crate) fn next_id(&self) -> Option<u32> {
        self.last.checked_add(1)
    }

    /// Opens the stream with the next id. `end`: no body follows.
    pub(crate) fn open(&mut self, id: u32, end: bool, target: T) {
        debug_assert_eq!(Some(id), self.next_id());
        self.last = id;
        self.open.insert(id, Stream { receiving: Receiving::Head, sending: Sending::body(end), target });
    }

    pub(crate) fn receive(&mut self, frame: &FrameHeader) -> Result<Received<T>, PeerFault> {
        match (&self.side, frame.kind) {
            (Side::Front, FrameKind::GoAway) => Err(PeerFault::WrongSide(frame.kind)),
            (Side::Worker(_), FrameKind::GoAway) => Ok(Received::GoAway),
            (Side::Worker(target), FrameKind::Headers) => {
                let target = target.clone();
                self.accept(frame, target)
            }
            _ => self.receive_on_open(frame),
        }
    }

    fn accept(&mut self, frame: &FrameHeader, target: T) -> Result<Received<T>, PeerFault> {
        if self.next_id() != Some(frame.stream) {
            return Err(self.unknown(frame));
        }
        if self.open.len() >= STREAMS_COUNT_MAX {
            return Err(PeerFault::TooManyStreams(STREAMS_COUNT_MAX));
        }
        self.last = frame.stream;
        let stream =
            Stream { receiving: Receiving::body(frame.end), sending: Sending::Head, target: target.clone() };
        self.open.insert(frame.stream, stream);
        Ok(Received::Head(target, AfterEnd::Nothing))
    }

    fn unknown(&self, frame: &FrameHeader) -> PeerFault {
        PeerFault::UnknownStream { kind: frame.kind, stream: frame.stream, last: self.last }
    }

    fn receive_on_open(&mut self, frame: &FrameHeader) -> Result<Received<T>, PeerFault> {
        if frame.stream > self.last {
            return Err(self.unknown(frame));
        }
        let is_front = matches!(self.side, Side::Front);
        let Entry::Occupied(mut entry) = self.open.entry(frame.stream) else { return Ok(Received::Ignored) };
        let stream = entry.get_mut();
        let received = match frame.kind {
            FrameKind::Headers => {
                let Receiving::Head = stream.receiving else { return Err(out_of_turn(frame)) };
                stream.receiving = Receiving::body(frame.end);
                Received::Head(stream.target.clone(), AfterEnd::Nothing)
            }
            FrameKind::Data => {
                let Receiving::Body { credit, held, .. } = &mut stream.receiving else {
                    return Err(out_of_turn(frame));
                };
                *credit = credit.checked_sub(frame.length).ok_or(PeerFault::Credit {
                    stream: frame.stream,
                    bytes: frame.length,
                    left: *credit,
                })?;
                *held += frame.length;
                if frame.end {
                    stream.receiving = Receiving::Ended;
                }
                Received::Data(stream.target.clone(), AfterEnd::Nothing)
            }
            FrameKind::Window => return stream.add_credit(frame),
            FrameKind::Reset => return Ok(Received::Reset(entry.remove().target)),
            FrameKind::GoAway => return Err(PeerFault::WrongSide(frame.kind)),
        };
        // Once the response is over, the rest of its request is pointless.
        let abandons = is_front
            && matches!(stream.receiving, Receiving::Ended)
            && !matches!(stream.sending, Sending::Ended);
        if abandons || stream.is_over() {
            entry.remove();
        }
        Ok(match received {
            Received::Head(target, _) if abandons => Received::Head(target, AfterEnd::Abandon),
            Received::Data(target, _) if abandons => Received::Data(target, AfterEnd::Abandon),
            other => other,
        })
    }

    #[cfg(any(fuzzing, all(test, not(devhost_loom))))]
    pub(crate) fn count(&self) -> usize {
        self.open.len()
    }

    fn find(&mut self, id: u32) -> Result<&mut Stream<T>, StreamRefusal> {
        self.open.get_mut(&id).ok_or(StreamRefusal::Dead)
    }

    /// Starts the response. `end`: no body follows.
    pub(crate) fn send_head(&mut self, id: u32, end: bool) -> Result<(), StreamRefusal> {
        let stream = self.find(id)?;
        match stream.sending {
            Sending::Head => stream.sending = Sending::body(end),
            Sending::Body { .. } => return Err(StreamRefusal::Invalid),
            Sending::Ended => return Err(StreamRefusal::Dead),
        }
        self.remove_if_over(id);
        Ok(())
    }

    /// Returns how many bytes of the body there is credit for.
    pub(crate) fn credit(&mut self, id: u32) -> Result<usize, StreamRefusal> {
        match self.find(id)?.sending {
            Sending::Head => Err(StreamRefusal::Invalid),
            Sending::Body { credit, .. } => Ok(credit),
            Sending::Ended => Err(StreamRefusal::Dead),
        }
    }

    pub(crate) fn use_credit(&mut self, id: u32, bytes: usize) {
        if let Ok(Stream { sending: Sending::Body { credit, .. }, .. }) = self.find(id) {
            debug_assert!(bytes <= *credit, "more was sent than there is credit for");
            *credit = credit.saturating_sub(bytes);
        }
    }

    pub(crate) fn block(&mut self, id: u32) {
        if let Ok(Stream { sending: Sending::Body { is_blocked, .. }, .. }) = self.find(id) {
            *is_blocked = true;
        }
    }

    /// Unblocks and returns the streams whose sender has credit and waited for room.
    pub(crate) fn unblock_all(&mut self) -> Vec<(u32, T)> {
        let mut unblocked = Vec::new();
        for (id, stream) in &mut self.open {
            if let Sending::Body { credit: 1.., is_blocked: is_blocked @ true } = &mut stream.sending {
                *is_blocked = false;
                unblocked.push((*id, stream.target.clone()));
            }
        }
        unblocked
    }

    /// Ends the direction in which this end sends.
    pub(crate) fn end(&mut self, id: u32) -> Result<(), StreamRefusal> {
        let stream = self.find(id)?;
        match stream.sending {
            Sending::Head => return Err(StreamRefusal::Invalid),
            Sending::Body { .. } => stream.sending = Sending::Ended,
            Sending::Ended => return Err(StreamRefusal::Dead),
        }
        self.remove_if_over(id);
        Ok(())
    }

    pub(crate) fn reset(&mut self, id: u32) -> Result<(), StreamRefusal> {
        self.open.remove(&id).map(drop).ok_or(StreamRefusal::Dead)
    }

    /// Counts bytes as consumed. Returns the credit to return now, if any.
    pub(crate) fn consume(&mut self, id: u32, bytes: usize) -> Result<Option<usize>, StreamRefusal> {
        match &mut self.find(id)?.receiving {
            Receiving::Head => Err(StreamRefusal::Invalid),
            Receiving::Ended => Ok(None),
            Receiving::Body { credit, held, owed } => {
                *held = held.checked_sub(bytes).ok_or(StreamRefusal::Invalid)?;
                *owed += bytes;
                if *owed < CREDIT_RETURN_MIN_BYTES {
                    return Ok(None);
                }
                let returned = std::mem::take(owed);
                *credit += returned;
                Ok(Some(returned))
            }
        }
    }

    /// Removes all streams, as the link is over.
    pub(crate) fn take_all(&mut self) -> Vec<T> {
        self.open.drain().map(|(_, stream)| stream.target).collect()
    }

    fn remove_if_over(&mut self, id: u32) {
        if self.open.get(&id).is_some_and(Stream::is_over) {
            self.open.remove(&id);
        }
    }
}

impl<T: Clone> Stream<T> {
    fn add_credit(&mut self, frame: &FrameHeader) -> Result<Received<T>, PeerFault> {
        match &mut self.sending {
            // No body was sent, so no credit was used.
            Sending::Head => Err(out_of_turn(frame)),
            // Returned before the peer saw the end.
            Sending::Ended => Ok(Received::Ignored),
            Sending::Body { credit, is_blocked } => {
                let left = CREDIT_MAX_BYTES - *credit;
                if frame.credit > left {
                    return Err(PeerFault::Credit { stream: frame.stream, bytes: frame.credit, left });
                }
                *credit += frame.credit;
                if std::mem::take(is_blocked) {
                    Ok(Received::Writable(self.target.clone()))
                } else {
                    Ok(Received::Ignored)
                }
            }
        }
    }
}

fn out_of_turn(frame: &FrameHeader) -> PeerFault {
    PeerFault::OutOfTurn { kind: frame.kind, stream: frame.stream }
}

#[cfg(all(test, not(devhost_loom)))]
mod tests {
    use std::collections::{BTreeSet, VecDeque};

    use proptest::prelude::*;

    use super::*;

    /// Two honest ends and the frames between them.
    struct Pair {
        front: StreamTable<()>,
        worker: StreamTable<()>,
        down: VecDeque<FrameHeader>,
        up: VecDeque<FrameHeader>,
    }

    #[derive(Debug, Clone)]
    enum Step {
        Open { end: bool },
        Head { id: u32, end: bool },
        Data { from_front: bool, id: u32, length: usize },
        End { from_front: bool, id: u32 },
        Reset { from_front: bool, id: u32 },
        Consume { at_front: bool, id: u32, length: usize },
        Deliver { down: bool },
    }

    fn step() -> impl Strategy<Value = Step> {
        let id = 1_u32..6;
        let length = 1_usize..=CREDIT_MAX_BYTES / 4;
        prop_oneof![
            2 => any::<bool>().prop_map(|end| Step::Open { end }),
            2 => (id.clone(), any::<bool>()).prop_map(|(id, end)| Step::Head { id, end }),
            6 => (any::<bool>(), id.clone(), length.clone())
                .prop_map(|(from_front, id, length)| Step::Data { from_front, id, length }),
            2 => (any::<bool>(), id.clone()).prop_map(|(from_front, id)| Step::End { from_front, id }),
            1 => (any::<bool>(), id.clone()).prop_map(|(from_front, id)| Step::Reset { from_front, id }),
            6 => (any::<bool>(), id, length)
                .prop_map(|(at_front, id, length)| Step::Consume { at_front, id, length }),
            12 => any::<bool>().prop_map(|down| Step::Deliver { down }),
        ]
    }

    impl Pair {
        fn new() -> Self {
            Self {
                front: StreamTable::new(Side::Front),
                worker: StreamTable::new(Side::Worker(())),
                down: VecDeque::new(),
                up: VecDeque::new(),
            }
        }

        fn end_of(&mut self, front: bool) -> (&mut StreamTable<()>, &mut VecDeque<FrameHeader>) {
            if front { (&mut self.front, &mut self.down) } else { (&mut self.worker, &mut self.up) }
        }

        fn take(&mut self, step: &Step) -> Result<(), PeerFault> {
            match *step {
                Step::Open { end } => {
                    let id = self.front.next_id().unwrap();
                    self.front.open(id, end, ());
                    self.down.push_back(FrameHeader::headers(id, 0, end));
                }
                Step::Head { id, end } => {
                    if self.worker.send_head(id, end).is_ok() {
                        self.up.push_back(FrameHeader::headers(id, 0, end));
                    }
                }
                Step::Data { from_front, id, length } => {
                    let (table, frames) = self.end_of(from_front);
                    let length = length.min(table.credit(id).unwrap_or(0));
                    if length > 0 {
                        table.use_credit(id, length);
                        frames.push_back(FrameHeader::data(id, length, false));
                    }
                }
                Step::End { from_front, id } => {
                    let (table, frames) = self.end_of(from_front);
                    if table.end(id).is_ok() {
                        frames.push_back(FrameHeader::data(id, 0, true));
                    }
                }
                Step::Reset { from_front, id } => {
                    let (table, frames) = self.end_of(from_front);
                    if table.reset(id).is_ok() {
                        frames.push_back(FrameHeader::reset(id));
                    }
                }
                Step::Consume { at_front, id, length } => {
                    let (table, frames) = self.end_of(at_front);
                    if let Ok(Some(credit)) = table.consume(id, length) {
                        frames.push_back(FrameHeader::window(id, credit));
                    }
                }
                Step::Deliver { down: true } => {
                    if let Some(frame) = self.down.pop_front() {
                        self.worker.receive(&frame)?;
                    }
                }
                Step::Deliver { down: false } => {
                    if let Some(frame) = self.up.pop_front() {
                        let received = self.front.receive(&frame)?;
                        if let Received::Head((), AfterEnd::Abandon) | Received::Data((), AfterEnd::Abandon) =
                            received
                        {
                            self.down.push_back(FrameHeader::reset(frame.stream));
                        }
                    }
                }
            }
            Ok(())
        }
    }

    fn open_ids(table: &StreamTable<()>) -> BTreeSet<u32> {
        table.open.keys().copied().collect()
    }

    proptest! {
        #[test]
        fn honest_ends_never_fault_each_other_and_agree_on_what_is_open(
            steps in prop::collection::vec(step(), 0..300),
        ) {
            let mut pair = Pair::new();
            for step in &steps {
                prop_assert_eq!(pair.take(step), Ok(()));
            }
            while !(pair.down.is_empty() && pair.up.is_empty()) {
                prop_assert_eq!(pair.take(&Step::Deliver { down: true }), Ok(()));
                prop_assert_eq!(pair.take(&Step::Deliver { down: false }), Ok(()));
            }
            prop_assert_eq!(open_ids(&pair.front), open_ids(&pair.worker));
        }

        #[test]
        fn any_frames_keep_streams_and_credit_within_limits(
            frames in prop::collection::vec((0_u8..5, any::<bool>(), 1_u32..5, 0_usize..=CREDIT_MAX_BYTES), 0..100),
            front in any::<bool>(),
        ) {
            let mut table = StreamTable::new(if front { Side::Front } else { Side::Worker(()) });
            if front {
                (1..4).for_each(|id| table.open(id, id == 1, ()));
            }
            for (kind, end, id, number) in frames {
                let frame = match kind {
                    0 => FrameHeader::headers(id, number, end),
                    1 => FrameHeader::data(id, number, end),
                    2 => FrameHeader::window(id, number),
                    3 => FrameHeader::reset(id),
                    _ => FrameHeader::go_away(),
                };
                let _ = table.receive(&frame);
                let _ = table.consume(id, number);
                for stream in table.open.values() {
                    if let Receiving::Body { credit, held, owed } = stream.receiving {
                        prop_assert_eq!(credit + held + owed, CREDIT_MAX_BYTES);
                    }
                    if let Sending::Body { credit, .. } = stream.sending {
                        prop_assert!(credit <= CREDIT_MAX_BYTES);
                    }
                }
            }
        }
    }

    #[test]
    fn a_stream_that_was_opened_out_of_turn_is_a_fault() {
        for ids in [[2, 3], [1, 1], [1, 3]] {
            let mut table = StreamTable::new(Side::Worker(()));
            let results = ids.map(|id| table.receive(&FrameHeader::headers(id, 0, true)));
            assert!(
                results.iter().any(|result| matches!(result, Err(PeerFault::UnknownStream { .. }))),
                "{ids:?}"
            );
        }
    }

    #[test]
    fn more_streams_than_there_may_be_are_a_fault() {
        let mut table = StreamTable::new(Side::Worker(()));
        let most = u32::try_from(STREAMS_COUNT_MAX).unwrap();
        for id in 1..=most {
            assert!(table.receive(&FrameHeader::headers(id, 0, true)).is_ok());
        }
        let fault = table.receive(&FrameHeader::headers(most + 1, 0, true));
        assert_eq!(fault, Err(PeerFault::TooManyStreams(STREAMS_COUNT_MAX)));
    }
}
