//! What the app has written itself, by the identity of the files.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use devhost_sys::content::Identity;
use devhost_sys::trail::Written;

/// How many files written by the app are remembered. Beyond, the oldest count as written by somebody else.
const WRITTEN_COUNT_MAX: usize = 16_384;

/// A file in one state: its device and the rest. Renaming and linking keep it.
type State = (u64, Identity);

/// The files that the app wrote, as it left them, and those it still holds open for writing.
#[derive(Debug, Default)]
pub(super) struct WrittenFiles {
    left: HashSet<State>,
    /// The same, the oldest first.
    order: VecDeque<State>,
    /// By worker, device and inode: how many descriptors are open for writing, and how the file was when the last was opened.
    open: HashMap<(u64, u64, u64), (u32, Identity)>,
}

impl WrittenFiles {
    pub(super) fn add(&mut self, worker: u64, written: &Written) {
        let Written { device, inode, size, .. } = *written;
        let held = (worker, device, inode);
        let identity = written.identity();
        if written.is_open {
            let (count, before) = self.open.entry(held).or_insert((0, identity));
            (*count, *before) = (*count + 1, identity);
            return;
        }
        let mut was_written = true;
        if let Some((count, before)) = self.open.get_mut(&held) {
            // Opened and closed only: what is there is somebody else's. Of an empty file, opening it may have made it so.
            was_written = *before != identity || size == 0;
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.open.remove(&held);
            }
        }
        if !was_written {
            return;
        }
        let state = (device, identity);
        if self.left.insert(state) {
            self.order.push_back(state);
            if self.order.len() > WRITTEN_COUNT_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.left.remove(&oldest);
            }
        }
    }

    /// Forgets what an ended worker held open, or one of which news were lost.
    pub(super) fn forget_open(&mut self, worker: u64) {
        self.open.retain(|(of, _, _), _| *of != worker);
    }

    /// Returns true if what was found is as the app left it, or the app is writing it.
    pub(super) fn has(&self, found: &Found) -> bool {
        let Some((state, inode)) = &found.file else { return false };
        self.left.contains(state)
            || self.open.keys().any(|(_, device, number)| (device, number) == (&state.0, inode))
    }
}

/// What is at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Absent,
    File,
    /// A directory, a link, or something else.
    Other,
}

/// What was found at a place, at one moment.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) kind: Kind,
    /// The file to which the place leads, and its inode.
    file: Option<(State, u64)>,
}

impl Found {
    pub(super) fn at(place: &Path) -> Self {
        let kind = match fs::symlink_metadata(place) {
            Err(_) => Kind::Absent,
            Ok(metadata) if metadata.is_file() => Kind::File,
            Ok(_) => Kind::Other,
        };
        let file = fs::metadata(place).ok();
        let file = file.map(|file| ((file.dev(), Identity::from(&file)), file.ino()));
        Self { kind, file }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(path: &Path, is_open: bool) -> Written {
        let metadata = fs::metadata(path).unwrap();
        let ns = |seconds: i64, ns: i64| i128::from(seconds) * 1_000_000_000 + i128::from(ns);
        Written {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
            is_open,
        }
    }

    impl WrittenFiles {
        fn contains(&self, path: &Path) -> bool {
            self.has(&Found::at(path))
        }
    }

    #[test]
    fn a_file_is_the_apps_until_somebody_else_writes_it_whatever_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let (file, other) = (dir.path().join("a"), dir.path().join("b"));
        fs::write(&file, "one").unwrap();
        let mut written = WrittenFiles::default();
        assert!(!written.contains(&file));
        written.add(1, &left(&file, false));
        assert!(written.contains(&file));
        fs::rename(&file, &other).unwrap();
        assert!(written.contains(&other) && !written.contains(&file));
        fs::write(&other, "other").unwrap();
        assert!(!written.contains(&other));
    }

    #[test]
    fn a_file_that_the_app_only_opened_is_not_its_work() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a");
        fs::write(&file, "by hand").unwrap();
        let mut written = WrittenFiles::default();
        written.add(1, &left(&file, true));
        written.add(1, &left(&file, false));
        assert!(!written.contains(&file));
        written.add(1, &left(&file, true));
        fs::write(&file, "by the app").unwrap();
        written.add(1, &left(&file, false));
        assert!(written.contains(&file));
    }

    #[test]
    fn what_the_app_holds_open_is_being_written_by_it_until_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a");
        fs::write(&file, "one").unwrap();
        let mut written = WrittenFiles::default();
        written.add(7, &left(&file, true));
        fs::write(&file, "longer").unwrap();
        assert!(written.contains(&file));
        written.forget_open(7);
        assert!(!written.contains(&file));
    }
}
