//! What can go wrong with a link: a region that cannot be created or attached, and a peer that breaks the protocol.

use nix::errno::Errno;

use crate::protocol::FrameKind;

/// Why a region, or the link made of two, could not be created or attached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegionError {
    /// The system refused something.
    #[error("failed to {action} for the shared-memory link: {} ({errno:?})", errno.desc())]
    Refused {
        /// What failed: `create a region`.
        action: &'static str,
        /// Why it was refused.
        errno: Errno,
    },
    /// A region lacks protection, so its memory could vanish or change under its reader.
    #[error("the {region} region lacks seals: has {found:#x}, needs {needed:#x}")]
    Unsealed {
        /// `down` or `up`.
        region: &'static str,
        /// The bits of its seals.
        found: i32,
        /// The bits of the seals that it needs.
        needed: i32,
    },
    /// A region has a wrong header or size.
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
    /// What to do about it; empty if unknown.
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

/// How the peer broke the protocol. This ends the link.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerFault {
    /// A position goes back, is too far ahead, or lies between two words.
    #[error("position {found} of the {ring} is out of bounds ({low} to {high})")]
    Position {
        /// Which position: `writer` or `reader`.
        ring: &'static str,
        /// What the peer wrote.
        found: u64,
        /// The lowest valid position.
        low: u64,
        /// The highest valid position.
        high: u64,
    },
    /// A frame is longer than what was committed.
    #[error("a frame of {needed} bytes was committed with only {available}")]
    Truncated {
        /// The bytes that the frame claims.
        needed: usize,
        /// The bytes that were committed.
        available: usize,
    },
    /// A frame of a kind that does not exist.
    #[error("unknown kind of frame {0}")]
    UnknownKind(u8),
    /// A field of a frame's header has an invalid value.
    #[error("bad {field} {value} in a {kind:?} frame")]
    Field {
        /// The kind of the frame.
        kind: FrameKind,
        /// The field of its header.
        field: &'static str,
        /// Its value.
        value: u32,
    },
    /// A frame of a kind that this peer must not send.
    #[error("a {0:?} frame came from the wrong side")]
    WrongSide(FrameKind),
    /// A frame for a stream that was never opened, or that is opened out of turn.
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
    /// More streams than allowed.
    #[error("more than {0} streams at once")]
    TooManyStreams(usize),
    /// More data than there was credit for, or more credit than allowed.
    #[error("stream {stream} got {bytes} bytes, while {left} were allowed")]
    Credit {
        /// The stream.
        stream: u32,
        /// The bytes sent, or the bytes of credit given.
        bytes: usize,
        /// The bytes that were allowed.
        left: usize,
    },
    /// Too many wakes in a row without anything to read.
    #[error("it woke devhost {0} times in a row for nothing")]
    Wakes(u32),
}
