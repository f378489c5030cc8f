//! One end of a link: its regions, rings, streams and wakes. Needs no runtime and never waits; the front and
//! the worker each put one behind a mutex.
//!
//! Once the peer breaks the protocol or the link is closed, the endpoint is *over*: it refuses everything and
//! no longer reads shared memory.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::copy::Words;
use crate::fault::PeerFault;
use crate::frame::FrameHeader;
use crate::layout::{
    CLOSING_OFFSET_BYTES, PARKED_OFFSET_BYTES, READ_POS_OFFSET_BYTES, RING_OFFSET_BYTES,
    SPACE_WANTED_OFFSET_BYTES, WRITE_POS_OFFSET_BYTES,
};
use crate::protocol::{
    CREDIT_MAX_BYTES, DATA_LENGTH_MAX_BYTES, FRAME_HEADER_BYTES, FrameKind, HEAD_LENGTH_MAX_BYTES,
};
use crate::region::Region;
use crate::ring::{Consumer, Placement, Producer};
use crate::streams::{AfterEnd, Received, Side, StreamRefusal, StreamTable};
use crate::sync::Ordering;
use crate::wake::{Event, Notice, Want};

/// How many frames are taken at once, to bound how long a lock or thread is held.
pub(crate) const FRAMES_PER_POLL_COUNT_MAX: usize = 64;

/// The most frames of a stream that may wait for room: a head, an end or a reset, and returned credit.
#[cfg(any(fuzzing, all(test, not(devhost_loom))))]
pub(crate) const PENDING_PER_STREAM_COUNT_MAX: usize = 3;

/// Why a link is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Over {
    /// Either end closed it.
    Lost,
    Fault(PeerFault),
}

/// Why something could not be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The stream, or the direction, is over.
    Dead,
    /// The call is out of turn, or a number is out of range.
    Invalid,
    TooLarge,
    Over(Over),
}

impl From<StreamRefusal> for Refusal {
    fn from(refusal: StreamRefusal) -> Self {
        match refusal {
            StreamRefusal::Dead => Self::Dead,
            StreamRefusal::Invalid => Self::Invalid,
        }
    }
}

/// What has arrived.
#[derive(Debug)]
pub(crate) enum Incoming<T> {
    /// A head.
    Head { stream: u32, target: T, bytes: Bytes, end: bool },
    /// A piece of a body; empty only at its end.
    Data { stream: u32, target: T, bytes: Bytes, end: bool },
    /// The stream's blocked sender may try again.
    Writable { stream: u32, target: T },
    /// The peer has reset the stream.
    Reset { stream: u32, target: T },
    /// No new stream will come.
    GoAway,
    /// The ring has more room.
    Space,
}

/// A frame that waits for room.
#[derive(Debug)]
struct Pending {
    header: FrameHeader,
    payload: Bytes,
}

#[derive(Debug)]
enum Life {
    Open,
    Over(Over),
}

/// One end of a link. `T` is what its user attaches to each stream.
#[derive(Debug)]
pub(crate) struct Endpoint<T> {
    own: Region,
    peer: Region,
    producer: Producer,
    consumer: Consumer,
    parked: Want,
    space: Want,
    /// The peer's position when the first sender ran out of room.
    space_mark: u64,
    peer_parked: Notice,
    peer_space: Notice,
    peer_event: Event,
    /// Frames that must not be lost and had no room: of each stream at most a head, an end or a reset, and returned
    /// credit.
    pending: VecDeque<Pending>,
    streams: StreamTable<T>,
    life: Life,
    /// Whether telling the peer is deferred.
    is_batching: bool,
}

impl<T: Clone> Endpoint<T> {
    /// Creates the end that writes `own`, reads `peer`, and wakes the other end by `peer_event`.
    pub(crate) fn new(own: Region, peer: Region, peer_event: Event, side: Side<T>) -> Self {
        let place = |length| Placement {
            ring: RING_OFFSET_BYTES,
            length,
            write_pos: WRITE_POS_OFFSET_BYTES,
            read_pos: READ_POS_OFFSET_BYTES,
        };
        Self {
            producer: Producer::new(place(own.header().ring_length)),
            consumer: Consumer::new(place(peer.header().ring_length)),
            own,
            peer,
            parked: Want::new(PARKED_OFFSET_BYTES),
            space: Want::new(SPACE_WANTED_OFFSET_BYTES),
            space_mark: 0,
            peer_parked: Notice::new(PARKED_OFFSET_BYTES),
            peer_space: Notice::new(SPACE_WANTED_OFFSET_BYTES),
            peer_event,
            pending: VecDeque::new(),
            streams: StreamTable::new(side),
            life: Life::Open,
            is_batching: false,
        }
    }

    pub(crate) fn over(&self) -> Option<&Over> {
        match &self.life {
            Life::Open => None,
            Life::Over(over) => Some(over),
        }
    }

    fn check_open(&self) -> Result<(), Over> {
        self.over().map_or(Ok(()), |over| Err(over.clone()))
    }

    /// Ends the link and tells the peer. The first reason stays. Returns what was attached to the open
    /// streams.
    pub(crate) fn shut(&mut self, over: Over) -> Vec<T> {
        if self.over().is_none() {
            self.life = Life::Over(over);
        }
        // SYNC POINT `closing`: whoever sees this sees everything that was committed.
        self.own.memory().store(CLOSING_OFFSET_BYTES, 1, Ordering::Release);
        self.peer_event.ring();
        self.pending.clear();
        self.streams.take_all()
    }

    fn poison(&mut self, fault: PeerFault) -> Over {
        let over = Over::Fault(fault);
        self.life = Life::Over(over.clone());
        over
    }

    // ---- receiving

    /// Appends what has arrived, at most [`FRAMES_PER_POLL_COUNT_MAX`] frames, even before a fault.
    pub(crate) fn collect(&mut self, incoming: &mut Vec<Incoming<T>>) -> Result<(), Over> {
        self.check_open()?;
        self.parked.withdraw(self.own.memory());
        self.notice_space(incoming).map_err(|fault| self.poison(fault))?;
        let taken = self.take_frames(incoming).map_err(|fault| self.poison(fault))?;
        if taken == 0 && self.peer_is_closing() {
            // The peer's flag is visible, so everything it committed before is, too.
            let taken = self.take_frames(incoming).map_err(|fault| self.poison(fault))?;
            if taken == 0 {
                self.life = Life::Over(Over::Lost);
                return Err(Over::Lost);
            }
        }
        Ok(())
    }

    /// Announces that this end sleeps. Returns false if something has arrived meanwhile and must be
    /// collected.
    pub(crate) fn park(&mut self) -> Result<bool, Over> {
        self.check_open()?;
        self.parked.announce(self.own.memory());
        self.consumer.refresh(self.peer.memory()).map_err(|fault| self.poison(fault))?;
        self.producer.refresh(self.peer.memory()).map_err(|fault| self.poison(fault))?;
        let has_work = self.consumer.available() > 0 || self.has_new_space() || self.peer_is_closing();
        if has_work {
            self.parked.withdraw(self.own.memory());
        }
        Ok(!has_work)
    }

    /// Returns how far the peer had written and read at the last look. Any progress of the peer changes it.
    pub(crate) fn peer_positions(&self) -> (u64, u64) {
        (self.consumer.write_pos(), self.producer.read_pos())
    }

    /// Rings a peer that has not read everything, whatever its flag says, and returns how far it has read.
    pub(crate) fn nudge(&mut self) -> Result<Option<u64>, Refusal> {
        self.check_open().map_err(Refusal::Over)?;
        self.guard(|endpoint| endpoint.producer.refresh(endpoint.peer.memory()))?;
        if self.producer.is_empty() && self.pending.is_empty() {
            return Ok(None);
        }
        self.peer_event.ring();
        Ok(Some(self.producer.read_pos()))
    }

    pub(crate) fn written(&self) -> u64 {
        self.producer.write_pos()
    }

    /// Returns how far the peer has read if the link is over without a fault. Final once the peer's process
    /// has ended.
    pub(crate) fn last_read(&mut self) -> Option<u64> {
        let Life::Over(Over::Lost) = self.life else { return None };
        self.producer.refresh(self.peer.memory()).ok()?;
        Some(self.producer.read_pos())
    }

    fn peer_is_closing(&self) -> bool {
        // SYNC POINT `closing`: for whoever sees this, the peer's positions are final.
        self.peer.memory().load(CLOSING_OFFSET_BYTES, Ordering::Acquire) != 0
    }

    fn has_new_space(&self) -> bool {
        self.space.is_announced() && self.producer.read_pos() > self.space_mark
    }

    fn notice_space(&mut self, incoming: &mut Vec<Incoming<T>>) -> Result<(), PeerFault> {
        if !self.space.is_announced() {
            return Ok(());
        }
        self.producer.refresh(self.peer.memory())?;
        if !self.has_new_space() {
            return Ok(());
        }
        self.space.withdraw(self.own.memory());
        if self.flush()? {
            incoming.push(Incoming::Space);
            let writable = self.streams.unblock_all().into_iter();
            incoming.extend(writable.map(|(stream, target)| Incoming::Writable { stream, target }));
        }
        Ok(())
    }

    fn take_frames(&mut self, incoming: &mut Vec<Incoming<T>>) -> Result<usize, PeerFault> {
        self.consumer.refresh(self.peer.memory())?;
        let mut taken = 0;
        while taken < FRAMES_PER_POLL_COUNT_MAX && self.consumer.available() > 0 {
            let (header, payload) = self.take_frame()?;
            self.receive(&header, payload, incoming)?;
            taken += 1;
        }
        if taken > 0 {
            self.consumer.publish(self.own.memory());
            if self.peer_space.take(self.peer.memory()) {
                self.peer_event.ring();
            }
        }
        Ok(taken)
    }

    fn take_frame(&mut self) -> Result<(FrameHeader, Bytes), PeerFault> {
        let available = self.consumer.available();
        if available < FRAME_HEADER_BYTES {
            return Err(PeerFault::Truncated { needed: FRAME_HEADER_BYTES, available });
        }
        let mut header = [0; FRAME_HEADER_BYTES];
        self.consumer.pop(self.peer.memory(), &mut header);
        let header = FrameHeader::decode(&header)?;
        if header.size() > available {
            return Err(PeerFault::Truncated { needed: header.size(), available });
        }
        let mut payload = vec![0; header.length];
        self.consumer.pop(self.peer.memory(), &mut payload);
        Ok((header, payload.into()))
    }

    fn receive(
        &mut self,
        header: &FrameHeader,
        bytes: Bytes,
        incoming: &mut Vec<Incoming<T>>,
    ) -> Result<(), PeerFault> {
        let (stream, end) = (header.stream, header.end);
        let mut after_end = AfterEnd::Nothing;
        match self.streams.receive(header)? {
            Received::Ignored => {}
            Received::Head(target, after) => {
                after_end = after;
                incoming.push(Incoming::Head { stream, target, bytes, end });
            }
            Received::Data(target, after) => {
                after_end = after;
                incoming.push(Incoming::Data { stream, target, bytes, end });
            }
            Received::Writable(target) => incoming.push(Incoming::Writable { stream, target }),
            Received::Reset(target) => {
                self.pending.retain(|pending| pending.header.stream != stream);
                incoming.push(Incoming::Reset { stream, target });
            }
            Received::GoAway => incoming.push(Incoming::GoAway),
        }
        match after_end {
            AfterEnd::Nothing => Ok(()),
            AfterEnd::Abandon => self.send_surely(FrameHeader::reset(stream), Bytes::new()),
        }
    }

    // ---- sending

    /// Opens a stream. Returns `None` if there is no room; [`Incoming::Space`] follows.
    pub(crate) fn open(&mut self, head: &[u8], end: bool, target: T) -> Result<Option<u32>, Refusal> {
        self.check_open().map_err(Refusal::Over)?;
        if head.len() > HEAD_LENGTH_MAX_BYTES {
            return Err(Refusal::TooLarge);
        }
        // Four billion streams outlast any generation, and the next one starts over.
        let id = self.streams.next_id().ok_or(Refusal::Over(Over::Lost))?;
        let header = FrameHeader::headers(id, head.len(), end);
        self.guard(|endpoint| {
            if !endpoint.has_room(header.size())? {
                return Ok(None);
            }
            endpoint.streams.open(id, end, target);
            endpoint.write(&header, head);
            Ok(Some(id))
        })
    }

    pub(crate) fn send_head(&mut self, stream: u32, head: &[u8], end: bool) -> Result<(), Refusal> {
        self.check_open().map_err(Refusal::Over)?;
        if head.len() > HEAD_LENGTH_MAX_BYTES {
            return Err(Refusal::TooLarge);
        }
        self.streams.send_head(stream, end)?;
        let header = FrameHeader::headers(stream, head.len(), end);
        self.guard(|endpoint| endpoint.send_surely(header, Bytes::copy_from_slice(head)))
    }

    /// Sends as much of a body as credit and room allow. Returns how many bytes were taken; if not all,
    /// [`Incoming::Writable`] follows.
    pub(crate) fn send_data(&mut self, stream: u32, data: &[u8]) -> Result<usize, Refusal> {
        self.send_pieces(stream, data, false)
    }

    /// Like [`Endpoint::send_data`]. If `end`, `data` must not be empty, and its last piece ends the body.
    fn send_pieces(&mut self, stream: u32, data: &[u8], end: bool) -> Result<usize, Refusal> {
        self.check_open().map_err(Refusal::Over)?;
        // Even an empty piece is refused if the stream is over.
        self.streams.credit(stream)?;
        let mut sent = 0;
        while sent < data.len() {
            let credit = self.streams.credit(stream)?;
            let length = (data.len() - sent).min(credit).min(DATA_LENGTH_MAX_BYTES);
            let is_last = end && sent + length == data.len();
            let header = FrameHeader::data(stream, length, is_last);
            if length == 0 || !self.guard(|endpoint| endpoint.has_room(header.size()))? {
                self.streams.block(stream);
                break;
            }
            self.streams.use_credit(stream, length);
            if is_last {
                self.streams.end(stream)?;
            }
            self.write(&header, &data[sent..sent + length]);
            sent += length;
        }
        Ok(sent)
    }

    /// Sends the head of a response and as much of its body as credit and room allow, with the end if that is
    /// all. Tells the peer once. Returns how many bytes of the body were taken; if not all,
    /// [`Incoming::Writable`] follows.
    pub(crate) fn send_response(&mut self, stream: u32, head: &[u8], data: &[u8]) -> Result<usize, Refusal> {
        self.is_batching = true;
        let sent = self.send_response_frames(stream, head, data);
        self.is_batching = false;
        if self.over().is_none() {
            self.tell_written();
        }
        sent
    }

    fn send_response_frames(&mut self, stream: u32, head: &[u8], data: &[u8]) -> Result<usize, Refusal> {
        self.send_head(stream, head, false)?;
        if data.is_empty() {
            return self.send_end(stream).map(|()| 0);
        }
        self.send_pieces(stream, data, true)
    }

    pub(crate) fn send_end(&mut self, stream: u32) -> Result<(), Refusal> {
        self.check_open().map_err(Refusal::Over)?;
        self.streams.end(stream)?;
        self.guard(|endpoint| endpoint.send_surely(FrameHeader::data(stream, 0, true), Bytes::new()))
    }

    /// Ends a stream in both directions, dropping its pending frames.
    pub(crate) fn reset(&mut self, stream: u32) -> Result<(), Refusal> {
        self.check_open().map_err(Refusal::Over)?;
        self.streams.reset(stream)?;
        self.pending.retain(|pending| pending.header.stream != stream);
        self.guard(|endpoint| endpoint.send_surely(FrameHeader::reset(stream), Bytes::new()))
    }

    /// Notes that bytes of a body were consumed, so that the peer may send more.
    pub(crate) fn consume(&mut self, stream: u32, bytes: usize) -> Result<(), Refusal> {
        self.check_open().map_err(Refusal::Over)?;
        match self.streams.consume(stream, bytes)? {
            None => Ok(()),
            Some(credit) => self.guard(|endpoint| endpoint.return_credit(stream, credit)),
        }
    }

    /// Returns credit, merged with returned credit that still waits for room.
    fn return_credit(&mut self, stream: u32, credit: usize) -> Result<(), PeerFault> {
        let is_it = |pending: &&mut Pending| {
            pending.header.stream == stream && pending.header.kind == FrameKind::Window
        };
        let Some(waiting) = self.pending.iter_mut().find(is_it) else {
            return self.send_surely(FrameHeader::window(stream, credit), Bytes::new());
        };
        let bytes = waiting.header.credit + credit;
        if bytes > CREDIT_MAX_BYTES {
            // A peer that never got the first part had no credit for the bytes of the second.
            return Err(PeerFault::Credit { stream, bytes, left: CREDIT_MAX_BYTES });
        }
        waiting.header.credit = bytes;
        Ok(())
    }

    /// Tells the peer that no new stream will come.
    pub(crate) fn go_away(&mut self) -> Result<(), Refusal> {
        self.check_open().map_err(Refusal::Over)?;
        let is_waiting = self.pending.iter().any(|pending| pending.header.kind == FrameKind::GoAway);
        if is_waiting {
            return Ok(());
        }
        self.guard(|endpoint| endpoint.send_surely(FrameHeader::go_away(), Bytes::new()))
    }

    fn guard<R>(&mut self, act: impl FnOnce(&mut Self) -> Result<R, PeerFault>) -> Result<R, Refusal> {
        act(self).map_err(|fault| Refusal::Over(self.poison(fault)))
    }

    /// Sends a frame now, or once there is room.
    fn send_surely(&mut self, header: FrameHeader, payload: Bytes) -> Result<(), PeerFault> {
        if self.has_room(header.size())? {
            self.write(&header, &payload);
        } else {
            self.pending.push_back(Pending { header, payload });
        }
        Ok(())
    }

    /// Sends the pending frames. Returns true if none is left.
    fn flush(&mut self) -> Result<bool, PeerFault> {
        while let Some(next) = self.pending.front() {
            let size = next.header.size();
            if !self.ring_has_room(size)? {
                return Ok(false);
            }
            if let Some(next) = self.pending.pop_front() {
                self.write(&next.header, &next.payload);
            }
        }
        Ok(true)
    }

    /// Returns whether a frame of this size may be written now. Pending frames go first.
    fn has_room(&mut self, size: usize) -> Result<bool, PeerFault> {
        Ok(self.flush()? && self.ring_has_room(size)?)
    }

    /// Returns whether the ring has this much room. If not, asks the peer to tell when it has more.
    fn ring_has_room(&mut self, size: usize) -> Result<bool, PeerFault> {
        if self.producer.room() >= size {
            return Ok(true);
        }
        self.producer.refresh(self.peer.memory())?;
        if self.producer.room() >= size {
            return Ok(true);
        }
        if !self.space.is_announced() {
            self.space_mark = self.producer.read_pos();
        }
        // Announced again even if it was already: the answer to the last announcement may be on its way to an
        // earlier waiter.
        self.space.announce(self.own.memory());
        self.producer.refresh(self.peer.memory())?;
        Ok(self.producer.room() >= size)
    }

    fn write(&mut self, header: &FrameHeader, payload: &[u8]) {
        debug_assert_eq!(header.length, payload.len());
        self.producer.push(self.own.memory(), &header.encode(), payload);
        if !self.is_batching {
            self.tell_written();
        }
    }

    fn tell_written(&mut self) {
        self.producer.publish(self.own.memory());
        if self.peer_parked.take(self.peer.memory()) {
            self.peer_event.ring();
        }
    }
}

#[cfg(any(fuzzing, all(test, not(devhost_loom))))]
impl<T: Clone> Endpoint<T> {
    pub(crate) fn open_count(&self) -> usize {
        self.streams.count()
    }

    pub(crate) fn pending_count(&self) -> usize {
        self.pending.len()
    }

    pub(crate) fn into_parts(self) -> (Region, Region, Event) {
        (self.own, self.peer, self.peer_event)
    }
}
