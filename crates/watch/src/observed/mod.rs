//! What the app does with files, and what therefore follows from a change of one.
//!
//! The interposer in the app's process notes which files are opened for reading, which directories are listed, which paths
//! are looked for in vain, and what the app writes itself ([`devhost_sys::trail`]). Nothing is configured and no name means
//! anything here; the guess by names ([`crate::classify`]) is left for what cannot be observed.
//!
//! # The rule
//!
//! It is closed: whatever is not known to be harmless starts the app anew. For a file that has changed, the first line that
//! fits counts:
//!
//! 1. **The user's configuration** says what a change does.
//! 2. **Part of the build**: a build. This is for the rest of the crate to know, and goes together with what follows.
//! 3. **The app wrote it itself**, and what is there now is what it wrote: nothing. Told by device, inode, size and time of
//!    the last write, as they were when the app closed the file; a file that the app still holds open for writing counts as
//!    written by it. A name that the app removed, renamed or made a directory of is its own doing, too.
//! 4. **Answered from memory** before: after a change of a served file, the app answered without looking at it
//!    ([`Promise`](knowledge)). From then on it counts as read.
//! 5. **Read by the serving generation, or one that starts**, in any way that is not known to have served it, at the start or
//!    later: the app may have kept what it read, in a static, a cache or a thread. It is started anew.
//! 6. **Looked for in vain**: as if read, once it appears. A file of which only the metadata was looked at counts as read.
//! 7. **In a directory that was listed**: as if read, when it appears or vanishes.
//! 8. **Served**: each time the app opened it, the response was the very bytes of the file, or a part of them, or said that
//!    they have not changed. Browsers load it again; the app stays. The next response for its URL is checked: the app must
//!    have looked at the file since the change, or that response is thrown away, and line 4 holds.
//! 9. **Used by an earlier generation only**: browsers may show it; the app has nothing of it. As if served.
//! 10. **Never used**: nothing, in whatever directory it is, and whether or not git ignores it.
//!
//! Databases with their journals, logs, sockets and locks mean nothing by their names, and a file that begins like an `SQLite`
//! database is one.
//!
//! # What is not seen
//!
//! System calls that do not pass through the C library (static executables, `io_uring`, rustix's own), programs that the app
//! starts, and maps of memory into which the app writes. If nothing is seen of the serving generation, if its app uses crates
//! that are known for that, or if it touches more files than there is room for, the guess by names counts as well
//! ([`Observer::is_trusted`]).

mod bounds;
mod generation;
mod knowledge;
mod observer;
mod reading;
mod weakness;
mod written;

pub(crate) use knowledge::{Fresh, Reaction, Why};
pub(crate) use observer::Call;
pub use observer::{Observer, Seat};
pub use reading::{Answer, Check, Comparison, Look};
pub(crate) use weakness::{Line, is_left_out};
