//! What a kernel event says about a file.

use nix::sys::inotify::AddWatchFlags;

/// What an event says about the file at its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hint {
    /// The file is not finished: it was created, or written to and not closed, or removed by a save that may be about
    /// to replace it.
    Unfinished,
    /// The file is complete.
    Finished,
    /// Only its metadata changed.
    Touched,
}

/// Returns what the event says, `None` if nothing.
pub(crate) fn hint_of(event: AddWatchFlags) -> Option<Hint> {
    let leaves = AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_MOVE_SELF
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_UNMOUNT;
    let is_directory = event.contains(AddWatchFlags::IN_ISDIR);
    if event.intersects(leaves | AddWatchFlags::IN_MODIFY) {
        Some(Hint::Unfinished)
    } else if event.intersects(AddWatchFlags::IN_CREATE) {
        Some(if is_directory { Hint::Finished } else { Hint::Unfinished })
    } else if event.intersects(AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO) {
        Some(Hint::Finished)
    } else {
        event.contains(AddWatchFlags::IN_ATTRIB).then_some(Hint::Touched)
    }
}
