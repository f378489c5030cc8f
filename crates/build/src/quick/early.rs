//! Links while rustc still writes its incremental state, as soon as the objects of the last link are there
//! again. Whether these are all and rustc wants the same link, nobody knows before rustc calls its linker:
//! until then the result is only a file.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use serde::{Deserialize, Serialize};

use super::driver::{in_directory, repeat};
use super::last::Last;
use super::line::{Line, OBJECT_SUFFIX, TEMPORARY_FILES};
use super::object_file::unit_of;
use super::plan::Plan;
use crate::documents;
use crate::known_file::{Identity, Known};

/// The name under which devhost runs it.
pub(crate) const NAME: &str = "devhost-link-early";

/// How long rustc may take. It ends with rustc, too.
const WATCH_TIME_MAX: Duration = Duration::from_secs(3_600);

/// For how long events are left to gather.
const BATCH_TIME: Duration = Duration::from_millis(3);

/// How long rustc's linker waits for a link that has begun.
const LINK_TIME_MAX: Duration = Duration::from_secs(10);

/// A link that was made before rustc asked for it.
#[derive(Debug, Serialize, Deserialize)]
struct Early {
    key: String,
    objects: Vec<Identity>,
    library: Known,
}

/// Watches for the objects of the call with the plans in `args`, and links them. Silent.
pub(crate) fn main(args: &[OsString]) -> ExitCode {
    in_directory(args, link)
}

fn link(directory: &Path) -> Option<()> {
    let last: Last = documents::read(&Last::path(directory))?;
    let plan: Plan = documents::read(&Plan::path(directory))?;
    if !plan.fits(&last.key) {
        return None;
    }
    let objects = Watch::begin(&last.line)?.objects(&last.line)?;
    let _lock = File::create(lock_path(directory))
        .and_then(|lock| lock.try_lock().map(|()| lock).map_err(io::Error::from))
        .ok()?;
    let identities: Vec<Identity> =
        objects.iter().map(|path| Identity::of(Path::new(path))).collect::<io::Result<_>>().ok()?;
    let paths: Vec<(&str, Identity)> =
        objects.iter().map(String::as_str).zip(identities.iter().copied()).collect();
    let made = directory.join("early.so");
    repeat(&plan, &last, directory, &paths, &made, directory)?;
    let early = Early { key: last.key, objects: identities, library: Known::new(&made).ok()? };
    documents::write(&path(directory), &early).ok()
}

fn path(directory: &Path) -> PathBuf {
    directory.join("early.json")
}

/// What stays in the directory.
pub(super) fn lasting(directory: &Path) -> [PathBuf; 1] {
    [lock_path(directory)]
}

fn lock_path(directory: &Path) -> PathBuf {
    directory.join("early.lock")
}

/// Puts what was linked early in its place, if it is what rustc wants now: the same line, the same objects,
/// and the same small files. From here on no early link begins.
pub(super) fn take(directory: &Path, key: &str, line: &Line, objects: &[Identity]) -> Option<()> {
    let lock = File::create(lock_path(directory)).ok()?;
    wait_for(&lock)?;
    // It stays locked until this process ends.
    std::mem::forget(lock);
    let early: Early = documents::read(&path(directory))?;
    let _ = std::fs::remove_file(path(directory));
    let is_wanted = early.key == key && early.objects == objects && early.library.is_unchanged();
    (is_wanted && has_same_files(directory, line)).then_some(())?;
    std::fs::rename(&early.library.path, &line.output).ok()
}

fn wait_for(lock: &File) -> Option<()> {
    let begun = Instant::now();
    while lock.try_lock().is_err() {
        if begun.elapsed() > LINK_TIME_MAX {
            return None;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Some(())
}

/// Whether rustc's small files are those that were kept of the last link.
fn has_same_files(directory: &Path, line: &Line) -> bool {
    let kept = Last::kept(directory);
    TEMPORARY_FILES.iter().all(|name| {
        let (now, then) = (Path::new(&line.temporary).join(name), kept.join(name));
        std::fs::read(now).ok() == std::fs::read(then).ok()
    })
}

/// Watches the directory in which rustc writes objects.
struct Watch {
    inotify: Inotify,
    directory: PathBuf,
    stem: String,
}

impl Watch {
    fn begin(line: &Line) -> Option<Self> {
        let first = Path::new(line.objects.first()?);
        let directory = first.parent()?.to_owned();
        let stem = first.file_name()?.to_str()?.split('.').next()?.to_owned();
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).ok()?;
        let events = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO;
        inotify.add_watch(&directory, events).ok()?;
        Some(Self { inotify, directory, stem })
    }

    /// Waits until each unit of the line has an object again. Returns them in the order of the line.
    fn objects(&self, line: &Line) -> Option<Vec<String>> {
        let wanted: HashSet<&str> = line.objects.iter().map(|path| unit_of(path)).collect();
        let mut written: HashMap<String, String> = HashMap::new();
        let begun = Instant::now();
        while written.len() < wanted.len() {
            let left = WATCH_TIME_MAX.checked_sub(begun.elapsed())?;
            let timeout = PollTimeout::try_from(left).ok()?;
            poll(&mut [PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN)], timeout).ok()?;
            // rustc writes hundreds in a short time: to wake up for each would take time from it.
            std::thread::sleep(BATCH_TIME);
            let events = match self.inotify.read_events() {
                Ok(events) => events,
                Err(nix::errno::Errno::EAGAIN) => continue,
                Err(_) => return None,
            };
            for event in events {
                // Without a name events were lost.
                let name = event.name?.into_string().ok()?;
                let path = self.directory.join(&name).to_str()?.to_owned();
                if self.is_object(&name) && (!event.mask.contains(AddWatchFlags::IN_CREATE) || is_link(&path))
                {
                    let unit = unit_of(&path).to_owned();
                    // One more than last time: another link.
                    wanted.contains(unit.as_str()).then_some(())?;
                    written.insert(unit, path);
                }
            }
        }
        line.objects.iter().map(|path| written.remove(unit_of(path))).collect()
    }

    fn is_object(&self, name: &str) -> bool {
        name.ends_with(OBJECT_SUFFIX)
            && name.strip_prefix(&self.stem).is_some_and(|rest| rest.starts_with('.'))
    }
}

/// Whether a file was made as a hard link to one that is complete: rustc's way to use an object again.
fn is_link(path: &str) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.nlink() > 1)
}
