//! Detects changes to a file's content. Reads files; knows nothing of events or directories. It keeps no
//! history: content is compared with what was *last seen*, so going back to older content is a change.

use std::fs::{self, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Larger files are compared by stamp alone: reading them would cost more than a needless reload.
const HASHED_SIZE_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// A stamp this recent proves nothing: the file may be written again within the same tick of its filesystem's
/// clock (2 s on FAT). The same trick as git's "racily clean" entries.
const RACY_MS: u64 = 2_000;

/// Tells a rewritten file from its predecessor. Leaves out the ctime, which a hard link changes, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    size: u64,
    inode: u64,
    modified_ns: i128,
}

impl Identity {
    pub(crate) fn new(size: u64, inode: u64, modified_ns: i128) -> Self {
        Self { size, inode, modified_ns }
    }

    /// Returns the identity of the file at the path, if there is one.
    pub fn of(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|metadata| Self::from(&metadata))
    }
}

impl From<&Metadata> for Identity {
    fn from(metadata: &Metadata) -> Self {
        Self {
            size: metadata.size(),
            inode: metadata.ino(),
            modified_ns: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// The `stat` of a file. The same stamp means the same content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    identity: Identity,
    changed_ns: i128,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let changed_ns = nanoseconds(metadata.ctime(), metadata.ctime_nsec());
        Self { identity: metadata.into(), changed_ns }
    }

    /// Returns true if the stamp was taken long enough after the last write to vouch for the content.
    fn settled_at(&self, taken: SystemTime) -> bool {
        let taken = since_epoch(taken);
        let racy = i128::from(RACY_MS) * 1_000_000;
        (taken - self.identity.modified_ns).abs() > racy && (taken - self.changed_ns).abs() > racy
    }
}

fn nanoseconds(seconds: i64, nanoseconds: i64) -> i128 {
    i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds)
}

fn since_epoch(time: SystemTime) -> i128 {
    let ns = |duration: Duration| i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => ns(after),
        Err(before) => -ns(before.duration()),
    }
}

/// The content of a file as last seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Nothing is there.
    Absent,
    /// Noticed, but not read yet.
    Unread {
        /// Stands for the content.
        stamp: Stamp,
    },
    /// Its content is known.
    Read {
        /// The hash of its bytes.
        hash: blake3::Hash,
        /// The stamp before reading.
        stamp: Stamp,
        /// When the stamp was taken.
        taken: SystemTime,
    },
    /// Too large to read, or unreadable.
    Opaque {
        /// Stands for the content.
        stamp: Stamp,
    },
}

impl Content {
    /// Looks at a file without reading it.
    pub fn notice(path: &Path) -> Self {
        match file_stamp(path) {
            None => Self::Absent,
            Some(stamp) => Self::Unread { stamp },
        }
    }

    /// Updates to the file's current content. Returns true if it has changed.
    pub fn refresh(&mut self, path: &Path) -> bool {
        self.refresh_by(path, read_hash)
    }

    fn refresh_by(&mut self, path: &Path, read: impl FnOnce(&Path, &Stamp) -> Option<blake3::Hash>) -> bool {
        // Clock and stamp come before the bytes: after a write in between, the stamp is older than the bytes,
        // and the next look reads again. The other order would lose the write.
        let taken = SystemTime::now();
        let Some(stamp) = file_stamp(path) else {
            let changed = *self != Self::Absent;
            *self = Self::Absent;
            return changed;
        };
        if let Self::Read { stamp: seen, taken, .. } = *self
            && seen == stamp
            && stamp.settled_at(taken)
        {
            return false;
        }
        let now = match read(path, &stamp) {
            Some(hash) => Self::Read { hash, stamp, taken },
            None => Self::Opaque { stamp },
        };
        let changed = match (&*self, &now) {
            (Self::Read { hash: old, .. }, Self::Read { hash: new, .. }) => old != new,
            // There are no older bytes to compare with, so the stamp stands for them, and must still be the
            // same after reading. Otherwise bytes written since the look above would count as old, and the
            // edit would be lost for good.
            (Self::Unread { stamp: old }, _) => *old != stamp || file_stamp(path) != Some(*old),
            (Self::Opaque { stamp: old }, _) => *old != stamp,
            _ => true,
        };
        *self = now;
        changed
    }

    /// Returns true if the file was noticed, but not read.
    pub fn is_unread(&self) -> bool {
        matches!(self, Self::Unread { .. })
    }

    /// Returns true if the file was written, moved here or deleted since `time`, judging by its stamp.
    pub fn is_newer_than(&self, time: SystemTime) -> bool {
        match self {
            Self::Absent => true,
            Self::Unread { stamp } | Self::Read { stamp, .. } | Self::Opaque { stamp } => {
                stamp.changed_ns.max(stamp.identity.modified_ns) >= since_epoch(time)
            }
        }
    }
}

/// Returns the stamp of a regular file, following symbolic links. Anything else counts as absent.
fn file_stamp(path: &Path) -> Option<Stamp> {
    // `fs::metadata` does not open the file, so a FIFO cannot block.
    let metadata = fs::metadata(path).ok()?;
    metadata.is_file().then(|| Stamp::of(&metadata))
}

fn read_hash(path: &Path, stamp: &Stamp) -> Option<blake3::Hash> {
    if stamp.identity.size > HASHED_SIZE_MAX_BYTES {
        return None;
    }
    let mut hasher = blake3::Hasher::new();
    // The file may grow while being read, so limit the bytes as well.
    let mut bytes = fs::File::open(path).ok()?.take(HASHED_SIZE_MAX_BYTES + 1);
    std::io::copy(&mut bytes, &mut hasher).ok()?;
    (bytes.limit() > 0).then(|| hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_other_content_is_a_change() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.rs");
        fs::write(&file, "one").unwrap();
        let mut content = Content::notice(&file);
        assert!(content.is_unread());
        assert!(!content.refresh(&file), "untouched since it was noticed");
        fs::write(&file, "one").unwrap();
        assert!(!content.refresh(&file), "the same bytes");
        fs::write(&file, "two").unwrap();
        assert!(content.refresh(&file));
        fs::write(&file, "one").unwrap();
        assert!(content.refresh(&file), "older content is a change");
        fs::remove_file(&file).unwrap();
        assert!(content.refresh(&file));
        assert!(!content.refresh(&file));
        fs::write(&file, "one").unwrap();
        assert!(content.refresh(&file));
    }

    #[test]
    fn file_written_before_its_first_reading_is_a_change() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.rs");
        fs::write(&file, "one").unwrap();
        let mut content = Content::notice(&file);
        fs::write(&file, "longer").unwrap();
        assert!(content.refresh(&file));
    }

    #[test]
    fn file_written_during_its_first_reading_is_a_change() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.rs");
        fs::write(&file, "one").unwrap();
        let mut content = Content::notice(&file);
        let is_change = content.refresh_by(&file, |path, stamp| {
            fs::write(path, "longer").unwrap();
            read_hash(path, stamp)
        });
        assert!(is_change, "the next look sees what this one has read");
        assert!(!content.refresh(&file));
    }

    #[test]
    fn large_file_is_compared_by_its_stamp() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("movie");
        let file = fs::File::create(&path).unwrap();
        file.set_len(HASHED_SIZE_MAX_BYTES + 1).unwrap();
        let mut content = Content::notice(&path);
        assert!(!content.refresh(&path));
        file.set_len(HASHED_SIZE_MAX_BYTES + 2).unwrap();
        assert!(content.refresh(&path));
        assert!(!content.refresh(&path));
    }

    #[test]
    fn directory_and_fifo_are_absent_files() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Content::notice(dir.path()), Content::Absent);
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(Content::notice(&fifo), Content::Absent);
    }
}
