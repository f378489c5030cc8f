//! What can go wrong with a link: a region that cannot be had, and a peer that breaks the protocol.
//!
//! Both name the thing; a [`RegionError`] also says what to do about it.

use nix::errno::Errno;

use crate::protocol::FrameKind;

/// Why a region, or the link made of two, could not be created or attached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegionError {
    /// The system refused something.
    #[error("failed to {action} for the shared-memory link: {} ({errno:?})", errno.desc())]
    Refused {
        /// What was to be done: `create a region`.
        action: &'static str,
        /// Why it was refused.
        errno: Errno,
    },
    /// A region is not protected as it has to be, so its memory could vanish or change under its reader.
    #[error("the {region} region lacks seals: has {found:#x}, needs {needed:#x}")]
    Unsealed {
        /// `down` or `up`.
        region: &'static str,
        /// The bits of the seals it has.
        found: i32,
        /// The bits of the seals it needs.
        needed: i32,
    },
    /// A region does not say what it has to.
    #[error("the {region} region is malformed: {what}")]
    Malformed {
        /// `down` or `up`.
        region: &'static str,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The front's end needs a tokio runtime to run its driver on.
    #[error("the shared-memory link needs a tokio runtime")]
    NoRuntime,
}

impl RegionError {
    /// What to do about it, empty where unknown.
    pub fn hint(&self) -> &'static str {
        let Self::Refused { errno, .. } = self else { return "" };
        match *errno {
            Errno::ENOMEM | Errno::ENOSPC => {
                "Memory is short. Close other programs, or raise the memory limit of the container or cgroup."
            }
            Errno::EMFILE => {
                "This process has too many open files. Raise the limit with `ulimit -n` and start devhost again."
            }
            Errno::ENFILE => {
                "The system has too many open files. Close other programs, or raise `sysctl fs.file-max`."
            }
            Errno::EFBIG => {
                "Files are limited in size. Raise the limit with `ulimit -f` and start devhost again."
            }
            Errno::ENOSYS => "devhost needs Linux 5.1 or later, with memfd_create allowed.",
            Errno::EPERM | Errno::EACCES => {
                "A sandbox forbids it. Allow memfd_create, eventfd and shared mappings for devhost."
            }
            _ => "",
        }
    }
}

/// How the peer broke the protocol. The link is over with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerFault {
    /// A position that goes back, is ahead of what there is, or lies between two words.
    #[error("position {found} of the {ring} is out of bounds ({low} to {high})")]
    Position {
        /// Which position: `writer` or `reader`.
        ring: &'static str,
        /// What the peer wrote.
        found: u64,
        /// The least that it may be.
        low: u64,
        /// The most that it may be.
        high: u64,
    },
    /// A frame that is longer than what was committed.
    #[error("a frame of {needed} bytes was committed with only {available}")]
    Truncated {
        /// The bytes that the frame says it takes.
        needed: usize,
        /// The bytes that were committed.
        available: usize,
    },
    /// A kind of frame that does not exist.
    #[error("unknown kind of frame {0}")]
    UnknownKind(u8),
    /// A field of a frame's header that holds what it must not.
    #[error("bad {field} {value} in a {kind:?} frame")]
    Field {
        /// The kind of the frame.
        kind: FrameKind,
        /// The field of its header.
        field: &'static str,
        /// What it holds.
        value: u32,
    },
    /// A kind of frame that this peer must not send.
    #[error("a {0:?} frame came from the wrong side")]
    WrongSide(FrameKind),
    /// A stream that was never opened, or is opened out of turn.
    #[error("a {kind:?} frame for stream {stream}, while {last} was the last one opened")]
    UnknownStream {
        /// The kind of the frame.
        kind: FrameKind,
        /// The stream it names.
        stream: u32,
        /// The stream that was opened last.
        last: u32,
    },
    /// A frame that the state of its stream does not allow.
    #[error("a {kind:?} frame out of turn on stream {stream}")]
    OutOfTurn {
        /// The kind of the frame.
        kind: FrameKind,
        /// The stream it names.
        stream: u32,
    },
    /// More streams than there may be.
    #[error("more than {0} streams at once")]
    TooManyStreams(usize),
    /// More data than there was credit for, or more credit than there may be.
    #[error("stream {stream} got {bytes} bytes, while {left} were allowed")]
    Credit {
        /// The stream.
        stream: u32,
        /// The bytes sent, or the bytes of credit given.
        bytes: usize,
        /// The bytes that were allowed.
        left: usize,
    },
    /// Wakes without end, and nothing to be found after any of them.
    #[error("it woke devhost {0} times in a row for nothing")]
    Wakes(u32),
}
