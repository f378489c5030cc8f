//! What a worker's app looks for, reads, lists, changes and writes in the file system, as the interposer
//! notes it (`crates/process/src/worker/observe.c`).
//!
//! The notes are in shared memory, a table with room for a fixed number of paths, which the front reads with
//! plain system calls. Nothing in it is trusted: each word is read once and checked, so whatever an app
//! writes there, the worst is a wrong note of bounded size. What had no room is lost, and said to be.
//!
//! Times are those that files get from the kernel. A look's time is taken before the call and rounded down
//! like a file's, so a file that is changed after the look never seems older than it. A touch's time is taken
//! after the call.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::content::Identity;
use crate::memory;

// The layout, in native byte order. `observe.c` has the same numbers; a change of them is another version.
//
// Header: version u32, armed u32, sequence u64, written u64, slots used u32, arena bytes used u32, full u32,
//         changing u32.
// Scopes: texts that end with a zero byte; an empty one ends the list.
// Counts: a u32 for each slot, how many events it had. Raised after the slot is filled.
// Slots: hash u64, first u64, last u64 (nanoseconds since 1970), path's place in the arena u32, its length
//        u16, look u8, one byte unused.
// Index: a u32 for each bucket of the hash table, a slot's number plus one. The front does not read it.
// Writes: a ring. Number of the entry plus one u64, set last; device u64, inode u64, size u64, mtime i64,
//         ctime i64 (nanoseconds), is open u64, 8 bytes unused.
// Arena: the paths' bytes.

const VERSION: u32 = 2;

const HEADER_SIZE: usize = 64;
const ARMED_OFFSET: usize = 4;
const SEQUENCE_OFFSET: usize = 8;
const WRITTEN_OFFSET: usize = 16;
const SLOTS_USED_OFFSET: usize = 24;
const FULL_OFFSET: usize = 32;
const CHANGING_OFFSET: usize = 36;

const SCOPES_OFFSET: usize = HEADER_SIZE;
const SCOPES_SIZE: usize = 16 * 1024 - HEADER_SIZE;

const SLOTS_COUNT: usize = 16 * 1024;
const COUNTS_OFFSET: usize = SCOPES_OFFSET + SCOPES_SIZE;
const COUNT_SIZE: usize = 4;

const SLOTS_OFFSET: usize = COUNTS_OFFSET + SLOTS_COUNT * COUNT_SIZE;
const SLOT_SIZE: usize = 32;

const INDEX_OFFSET: usize = SLOTS_OFFSET + SLOTS_COUNT * SLOT_SIZE;
const INDEX_SIZE: usize = 2 * SLOTS_COUNT * 4;

const WRITES_OFFSET: usize = INDEX_OFFSET + INDEX_SIZE;
const WRITES_COUNT: usize = 4096;
const WRITE_SIZE: usize = 64;

const ARENA_OFFSET: usize = WRITES_OFFSET + WRITES_COUNT * WRITE_SIZE;
const TRAIL_SIZE: usize = 2304 * 1024;
const ARENA_SIZE: usize = TRAIL_SIZE - ARENA_OFFSET;

/// How long a thread may take from reserving an entry to filling it. One that takes longer is dead.
const UNFILLED_TIME_MAX: Duration = Duration::from_secs(1);

/// From this many changed slots on, the table is read whole instead of slot by slot.
const SINGLE_READS_COUNT_MAX: usize = 64;

/// What one worker's app did in the file system.
#[derive(Debug)]
pub struct Trail(File);

/// How far a reader of a [`Trail`] is.
#[derive(Default, Debug, Clone)]
pub struct Cursor {
    /// Of each slot, the events that were seen.
    counts: Vec<u32>,
    /// The writes that were seen.
    written: u64,
    /// An entry that was reserved but not filled when last seen, and when that was seen first.
    unfilled: Option<(u64, Instant)>,
}

impl Cursor {
    /// Returns true if an entry has been empty for too long.
    fn is_overdue(&mut self, number: u64) -> bool {
        let now = Instant::now();
        match self.unfilled {
            Some((of, since)) if of == number => now.duration_since(since) >= UNFILLED_TIME_MAX,
            _ => {
                self.unfilled = Some((number, now));
                false
            }
        }
    }
}

/// What happened since a [`Cursor`].
#[derive(Default, Debug)]
pub struct News {
    /// Each look at each path, in the order of the first one.
    pub notes: Vec<Note>,
    /// The files opened for writing and closed again, in this order.
    pub writes: Vec<Written>,
    /// The app is observed at all.
    pub is_observed: bool,
    /// Something had no room, now or earlier: what the app looks at is not fully known.
    pub is_full: bool,
    /// Writes came faster than they were read: some are missing since the cursor.
    pub lost_writes: bool,
    /// A write is being noted right now. It comes with the next news.
    pub is_partial: bool,
}

/// The app looked at a path, once or more often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Absolute, but as the app named it: it may go over links and contain `..`.
    pub path: PathBuf,
    /// How it looked.
    pub look: Look,
    /// How often since the cursor.
    pub count: u32,
    /// When it did so for the first time of all.
    pub first: SystemTime,
    /// When it did so for the last time.
    pub last: SystemTime,
}

/// How an app looked at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Look {
    /// It opened the file for reading. Also a directory that was opened like a file.
    Read,
    /// There was nothing.
    Missed,
    /// It opened the directory to list it.
    Listed,
    /// It asked whether there is such a file, or for its properties.
    Stat,
    /// It made something of this name, or renamed something to it.
    Made,
    /// It removed the name, or renamed what had it.
    Removed,
}

/// A file that the app has written, as it was when it was opened for that, or closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// The file system.
    pub device: u64,
    /// The file in it.
    pub inode: u64,
    /// Its size in bytes.
    pub size: u64,
    /// When its content was last changed, in nanoseconds since 1970.
    pub modified_ns: i128,
    /// When its properties were last changed, in nanoseconds since 1970. A later rename changes that, too.
    pub changed_ns: i128,
    /// It was opened for writing, and otherwise closed.
    pub is_open: bool,
}

impl Written {
    /// Returns the identity of the file as it was.
    pub fn identity(&self) -> Identity {
        Identity::new(self.size, self.inode, self.modified_ns)
    }
}

impl Trail {
    /// Allocates the table for a new worker. Paths below a scope are noted even if they are in a place of the
    /// system's, such as `/usr`; paths elsewhere are noted in any case.
    ///
    /// # Errors
    /// The system is out of descriptors or memory, or the scopes are too long.
    pub fn create(scopes: &[&Path]) -> io::Result<Self> {
        let mut start = vec![0; HEADER_SIZE];
        start[..4].copy_from_slice(&VERSION.to_ne_bytes());
        for scope in scopes {
            start.extend(scope.as_os_str().as_bytes());
            start.push(0);
        }
        start.push(0);
        if start.len() > HEADER_SIZE + SCOPES_SIZE {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the paths to observe are too long"));
        }
        let memory = memory::allocate(c"devhost-trail", TRAIL_SIZE)?;
        memory.write_all_at(&start, 0)?;
        Ok(Self(memory))
    }

    /// Returns a number that grows with each event; 0 if it cannot be read. One system call.
    pub fn sequence(&self) -> u64 {
        let mut sequence = [0; 8];
        self.0
            .read_exact_at(&mut sequence, SEQUENCE_OFFSET as u64)
            .map_or(0, |()| u64::from_ne_bytes(sequence))
    }

    /// Returns true if the app is in a call that may change what a name stands for. What ended before, [`Trail::news`] knows
    /// from then on. One system call.
    pub fn is_changing(&self) -> bool {
        let mut changing = [0; 4];
        self.0.read_exact_at(&mut changing, CHANGING_OFFSET as u64).is_ok_and(|()| changing != [0; 4])
    }

    /// Returns what happened since the cursor, and moves it.
    pub fn news(&self, cursor: &mut Cursor) -> News {
        let mut news = News::default();
        // What cannot be read was cut off by the app.
        let lost = self.read_news(cursor, &mut news).is_err();
        news.is_full |= lost;
        news.lost_writes |= lost;
        news
    }

    fn read_news(&self, cursor: &mut Cursor, news: &mut News) -> io::Result<()> {
        let header = self.read(0, HEADER_SIZE)?;
        news.is_observed = u32_at(&header, ARMED_OFFSET) != 0;
        news.is_full = u32_at(&header, FULL_OFFSET) != 0;
        self.read_writes(u64_at(&header, WRITTEN_OFFSET), cursor, news)?;
        let used = usize::try_from(u32_at(&header, SLOTS_USED_OFFSET)).unwrap_or(usize::MAX).min(SLOTS_COUNT);
        self.read_notes(used, cursor, news)
    }

    fn read_notes(&self, used: usize, cursor: &mut Cursor, news: &mut News) -> io::Result<()> {
        let counts = self.read(COUNTS_OFFSET, used * COUNT_SIZE)?;
        if cursor.counts.len() < used {
            cursor.counts.resize(used, 0);
        }
        let moved: Vec<(usize, u32)> = (0..used)
            .map(|slot| (slot, u32_at(&counts, slot * COUNT_SIZE).wrapping_sub(cursor.counts[slot])))
            .filter(|(_, count)| *count != 0)
            .collect();
        let table = Table::of(self, used, moved.len())?;
        for (slot, count) in moved {
            cursor.counts[slot] = cursor.counts[slot].wrapping_add(count);
            match table.note(slot, count)? {
                Some(note) => news.notes.push(note),
                // Not the interposer's work.
                None => news.is_full = true,
            }
        }
        Ok(())
    }

    fn read_writes(&self, written: u64, cursor: &mut Cursor, news: &mut News) -> io::Result<()> {
        let oldest = written.saturating_sub(WRITES_COUNT as u64);
        if cursor.written < oldest || cursor.written > written {
            news.lost_writes = true;
            cursor.written = oldest;
        }
        if cursor.written == written {
            return Ok(());
        }
        let ring = self.read(WRITES_OFFSET, WRITES_COUNT * WRITE_SIZE)?;
        // Entries may have been overwritten while they were read.
        let overwritten = {
            let later = u64_at(&self.read(WRITTEN_OFFSET, 8)?, 0);
            later.saturating_sub(WRITES_COUNT as u64)
        };
        for number in cursor.written..written {
            let place = usize::try_from(number % WRITES_COUNT as u64).unwrap_or_default() * WRITE_SIZE;
            let entry = &ring[place..place + WRITE_SIZE];
            if number < overwritten {
                news.lost_writes = true;
            } else if u64_at(entry, 0) == number.wrapping_add(1) {
                news.writes.push(read_written(entry));
            } else if cursor.is_overdue(number) {
                // Its writer has ended in the middle of it.
                news.lost_writes = true;
            } else {
                // Its writer is about to fill it, and raises the sequence then.
                news.is_partial = true;
                return Ok(());
            }
            cursor.written = number.wrapping_add(1);
        }
        Ok(())
    }

    fn read(&self, offset: usize, size: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; size];
        self.0.read_exact_at(&mut bytes, offset as u64)?;
        Ok(bytes)
    }
}

impl AsFd for Trail {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Reads slots and paths: from a copy of all of them if there is much to read.
struct Table<'t> {
    trail: &'t Trail,
    copy: Option<(Vec<u8>, Vec<u8>)>,
}

impl<'t> Table<'t> {
    fn of(trail: &'t Trail, used: usize, wanted: usize) -> io::Result<Self> {
        let copy = if wanted > SINGLE_READS_COUNT_MAX {
            Some((trail.read(SLOTS_OFFSET, used * SLOT_SIZE)?, trail.read(ARENA_OFFSET, ARENA_SIZE)?))
        } else {
            None
        };
        Ok(Self { trail, copy })
    }

    /// Returns `None` for a slot that makes no sense.
    fn note(&self, slot: usize, count: u32) -> io::Result<Option<Note>> {
        let read;
        let slot = if let Some((slots, _)) = &self.copy {
            &slots[slot * SLOT_SIZE..][..SLOT_SIZE]
        } else {
            read = self.trail.read(SLOTS_OFFSET + slot * SLOT_SIZE, SLOT_SIZE)?;
            &read[..]
        };
        let path_at = usize::try_from(u32_at(slot, 24)).unwrap_or(usize::MAX);
        let path_size = usize::from(u16::from_ne_bytes([slot[28], slot[29]]));
        let path_end = path_at.saturating_add(path_size);
        let Some(look) = look_of(slot[30]).filter(|_| path_end <= ARENA_SIZE) else { return Ok(None) };
        let path = match &self.copy {
            Some((_, arena)) => arena[path_at..path_end].to_vec(),
            None => self.trail.read(ARENA_OFFSET + path_at, path_size)?,
        };
        if path.first() != Some(&b'/') || path.contains(&0) {
            return Ok(None);
        }
        let path = PathBuf::from(OsString::from_vec(path));
        let (first, last) = (time_of(u64_at(slot, 8)), time_of(u64_at(slot, 16)));
        Ok(Some(Note { path, look, count, first, last }))
    }
}

fn read_written(entry: &[u8]) -> Written {
    let signed = |at| i128::from(u64_at(entry, at).cast_signed());
    Written {
        device: u64_at(entry, 8),
        inode: u64_at(entry, 16),
        size: u64_at(entry, 24),
        modified_ns: signed(32),
        changed_ns: signed(40),
        is_open: u64_at(entry, 48) != 0,
    }
}

fn look_of(number: u8) -> Option<Look> {
    Some(match number {
        0 => Look::Read,
        1 => Look::Missed,
        2 => Look::Listed,
        3 => Look::Stat,
        4 => Look::Made,
        5 => Look::Removed,
        _ => return None,
    })
}

fn time_of(nanos: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_nanos(nanos)).unwrap_or(UNIX_EPOCH)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|word| word.try_into().ok()).map_or(0, u64::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Trail {
        fn put(&self, offset: usize, bytes: &[u8]) {
            self.0.write_all_at(bytes, offset as u64).unwrap();
        }

        /// Like the interposer.
        fn note(&self, slot: usize, path: &str, look: u8, count: u32, last: u64) {
            let place = slot * 64;
            self.put(ARENA_OFFSET + place, path.as_bytes());
            let mut bytes = [0; SLOT_SIZE];
            bytes[8..16].copy_from_slice(&1_000_000_000u64.to_ne_bytes());
            bytes[16..24].copy_from_slice(&last.to_ne_bytes());
            bytes[24..28].copy_from_slice(&u32::try_from(place).unwrap().to_ne_bytes());
            bytes[28..30].copy_from_slice(&u16::try_from(path.len()).unwrap().to_ne_bytes());
            bytes[30] = look;
            self.put(SLOTS_OFFSET + slot * SLOT_SIZE, &bytes);
            self.put(COUNTS_OFFSET + slot * COUNT_SIZE, &count.to_ne_bytes());
            let used =
                u32::try_from(slot + 1).unwrap().max(u32_at(&self.read(SLOTS_USED_OFFSET, 4).unwrap(), 0));
            self.put(SLOTS_USED_OFFSET, &used.to_ne_bytes());
        }

        fn write(&self, number: u64, is_filled: bool) {
            let tag = if is_filled { number + 1 } else { 0 };
            let words = [tag, 1, number, 3, 4, 5, 0, 0];
            let place = WRITES_OFFSET + usize::try_from(number).unwrap() % WRITES_COUNT * WRITE_SIZE;
            self.put(place, &words.map(u64::to_ne_bytes).concat());
            self.put(WRITTEN_OFFSET, &(number + 1).to_ne_bytes());
        }
    }

    fn inodes(news: &News) -> Vec<u64> {
        news.writes.iter().map(|write| write.inode).collect()
    }

    #[test]
    fn a_new_trail_is_empty_and_says_where_to_look() {
        let trail = Trail::create(&[Path::new("/a"), Path::new("/b c")]).unwrap();
        let news = trail.news(&mut Cursor::default());
        assert!(news.notes.is_empty() && news.writes.is_empty());
        assert!(!news.is_observed && !news.is_full && !news.lost_writes);
        assert_eq!(trail.sequence(), 0);
        assert_eq!(trail.read(SCOPES_OFFSET, 9).unwrap(), b"/a\0/b c\0\0");
        let long = "x".repeat(SCOPES_SIZE);
        assert!(Trail::create(&[Path::new(&long)]).is_err());
    }

    #[test]
    fn calls_under_way_are_seen() {
        let trail = Trail::create(&[]).unwrap();
        assert!(!trail.is_changing());
        trail.put(CHANGING_OFFSET, &1u32.to_ne_bytes());
        assert!(trail.is_changing());
    }

    #[test]
    fn each_look_is_news_once() {
        let trail = Trail::create(&[]).unwrap();
        let mut cursor = Cursor::default();
        trail.note(0, "/app/a.html", 0, 2, 2_000_000_000);
        trail.note(1, "/app/none", 1, 1, 1_000_000_000);
        let news = trail.news(&mut cursor);
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let read = Note { path: "/app/a.html".into(), look: Look::Read, count: 2, first: at(1), last: at(2) };
        let missed =
            Note { path: "/app/none".into(), look: Look::Missed, count: 1, first: at(1), last: at(1) };
        assert_eq!(news.notes, [read.clone(), missed]);
        assert!(trail.news(&mut cursor).notes.is_empty());
        let kept = cursor.clone();
        trail.note(0, "/app/a.html", 0, 5, 3_000_000_000);
        assert_eq!(trail.news(&mut cursor).notes, [Note { count: 3, last: at(3), ..read }]);
        assert_eq!(trail.news(&mut kept.clone()).notes.len(), 1, "each reader has its own cursor");
        assert_eq!(trail.news(&mut Cursor::default()).notes.len(), 2);
    }

    #[test]
    fn many_looks_are_read_like_few() {
        let trail = Trail::create(&[]).unwrap();
        let count = SINGLE_READS_COUNT_MAX * 2;
        (0..count).for_each(|slot| trail.note(slot, &format!("/app/{slot}"), 3, 1, 1));
        let mut cursor = Cursor::default();
        let news = trail.news(&mut cursor);
        let paths: Vec<_> = news.notes.into_iter().map(|note| note.path).collect();
        assert_eq!(paths, (0..count).map(|slot| PathBuf::from(format!("/app/{slot}"))).collect::<Vec<_>>());
        trail.note(7, "/app/7", 3, 2, 1);
        assert_eq!(trail.news(&mut cursor).notes[0].path, Path::new("/app/7"));
    }

    #[test]
    fn writes_come_in_order_and_what_was_overwritten_is_said_to_be_lost() {
        let trail = Trail::create(&[]).unwrap();
        let mut cursor = Cursor::default();
        trail.write(0, true);
        trail.write(1, true);
        let news = trail.news(&mut cursor);
        assert_eq!(inodes(&news), [0, 1]);
        let first = Written { device: 1, inode: 0, size: 3, modified_ns: 4, changed_ns: 5, is_open: false };
        assert_eq!(news.writes[0], first);
        assert!(!news.lost_writes);
        let count = WRITES_COUNT as u64 + 10;
        (2..count).for_each(|number| trail.write(number, true));
        let news = trail.news(&mut cursor);
        assert!(news.lost_writes);
        assert_eq!(inodes(&news), (10..count).collect::<Vec<_>>());
        let news = trail.news(&mut cursor);
        assert!(!news.lost_writes && news.writes.is_empty());
    }

    #[test]
    fn a_write_that_is_being_noted_is_waited_for_but_not_for_ever() {
        let trail = Trail::create(&[]).unwrap();
        let mut cursor = Cursor::default();
        trail.write(0, false);
        trail.write(1, true);
        let news = trail.news(&mut cursor);
        assert!(news.writes.is_empty() && !news.lost_writes && news.is_partial);
        let news = trail.news(&mut cursor);
        assert!(news.writes.is_empty() && !news.lost_writes && news.is_partial);
        let mut patient = cursor.clone();
        let (number, since) = cursor.unfilled.unwrap();
        cursor.unfilled = Some((number, since.checked_sub(UNFILLED_TIME_MAX).unwrap()));
        let news = trail.news(&mut cursor);
        assert!(news.lost_writes, "whoever was to fill it is dead");
        assert_eq!(inodes(&news), [1]);
        trail.write(0, true);
        trail.write(1, true);
        assert_eq!(inodes(&trail.news(&mut patient)), [0, 1]);
    }

    #[test]
    fn a_slot_that_makes_no_sense_is_left_out_and_counts_as_full() {
        let trail = Trail::create(&[]).unwrap();
        for (slot, path, look) in
            [(0, "relative", 0), (1, "/good", 0), (2, "", 0), (3, "/a", 6), (4, "/a\0b", 0)]
        {
            trail.note(slot, path, look, 1, u64::MAX);
        }
        let news = trail.news(&mut Cursor::default());
        assert_eq!(
            news.notes.iter().map(|note| note.path.as_path()).collect::<Vec<_>>(),
            [Path::new("/good")]
        );
        assert!(news.is_full);
    }

    #[test]
    fn whatever_a_worker_leaves_there_is_read_within_bounds() {
        let trail = Trail::create(&[]).unwrap();
        let mut state = 1u64;
        let mut random = |size: usize| -> Vec<u8> {
            (0..size)
                .map(|_| {
                    state =
                        state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    state.to_be_bytes()[0]
                })
                .collect()
        };
        let mut cursor = Cursor::default();
        for round in 0..8 {
            trail.put(0, &random(TRAIL_SIZE));
            if round % 2 == 1 {
                // Plausible numbers lead further into the rest.
                trail.put(WRITTEN_OFFSET, &(round * 1000u64).to_ne_bytes());
                trail.put(SLOTS_USED_OFFSET, &u32::try_from(round).unwrap().to_ne_bytes());
            }
            let news = trail.news(&mut cursor);
            assert!(news.notes.len() <= SLOTS_COUNT && news.writes.len() <= WRITES_COUNT);
            assert!(news.notes.iter().all(|note| u16::try_from(note.path.as_os_str().len()).is_ok()));
        }
        trail.put(WRITTEN_OFFSET, &u64::MAX.to_ne_bytes());
        assert!(trail.news(&mut cursor).lost_writes);
        assert!(cursor.counts.len() <= SLOTS_COUNT);
    }

    #[test]
    fn a_trail_that_was_cut_off_is_full() {
        for size in [0, HEADER_SIZE, SLOTS_OFFSET, ARENA_OFFSET] {
            let trail = Trail::create(&[]).unwrap();
            (0..SINGLE_READS_COUNT_MAX * 2).for_each(|slot| trail.note(slot, "/a", 0, 1, 1));
            trail.0.set_len(size as u64).unwrap();
            let news = trail.news(&mut Cursor::default());
            assert!(news.is_full && news.lost_writes);
            assert_eq!(trail.sequence(), 0);
        }
    }
}
