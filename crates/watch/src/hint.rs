//! What an event of the kernel says about a file.

use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind, RenameMode};

/// What an event says about the file at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hint {
    /// Its writer is not done: it was created, written to and not closed, or taken away by a save that may put
    /// another in its place.
    Unfinished,
    /// It is complete.
    Finished,
    /// Something that is no writing: its times or its mode.
    Touched,
}

/// What an event says, `None` where it says nothing: this thread's own reading of files makes events too.
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
