//! What a kernel event says about a file.

use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind, RenameMode};

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

/// Returns what the event says, `None` if nothing: the tree's own reading of files causes events, too.
pub(crate) fn hint_of(kind: EventKind) -> Option<Hint> {
    match kind {
        EventKind::Create(CreateKind::File)
        | EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Name(RenameMode::From))
        | EventKind::Remove(_) => Some(Hint::Unfinished),
        EventKind::Modify(ModifyKind::Metadata(_)) => Some(Hint::Touched),
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Create(_)
        | EventKind::Modify(_) => Some(Hint::Finished),
        EventKind::Access(_) | EventKind::Any | EventKind::Other => None,
    }
}
