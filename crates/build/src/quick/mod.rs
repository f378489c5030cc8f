//! The quick link: links the app of a replayed call in half the time, and to the same library.
//!
//! Three things make it quick. Objects that have not changed were merged beforehand into a few (`ld -r`). The
//! libraries of dependencies, whose ten thousands of symbols a linker would read, are replaced by stubs that
//! have only those used last time. And rustc's own lld is called without the C compiler that usually calls it,
//! with the arguments that the C compiler would pass.
//!
//! In the order of events:
//!
//! 1. The wrapper offers it to a replayed call that leaves the linker to rustc (`offer`). Any linker, linker
//!    flag or unknown option of the user's rules it out, and cargo's own calls are never offered it.
//! 2. rustc calls devhost as its linker (`driver`), which notes the last link (`last`). If a plan fits, it
//!    links by it; otherwise, or if lld says anything at all, it links the ordinary way. A link that fails in
//!    a replay is repeated by cargo, so nobody sees another message than the linker's own.
//! 3. Meanwhile `early` has waited for the objects of the last link. Once all are there, it links them while
//!    rustc still writes its incremental state. The result is taken if rustc then asks for a link of the same
//!    objects, and thrown away otherwise: names cannot prove that nothing is missing.
//! 4. After the build, at the lowest priority, the plan for the next link is made (`prepare`): arguments,
//!    stubs (`stub`), merged objects (`merged`). It is tried on the last link, and dropped if the library
//!    differs from what the ordinary link has made (`shape`).
//!
//! A merged object counts only while rustc's list names exactly its members, in their order, and each is the
//! same file, unchanged: rustc links unchanged objects from its incremental directory, and writes a changed
//! one to a new file. A plan holds on to the files, so that no number of a file is used again. A symbol that a
//! stub lacks is an error of the quick link only.

mod cc;
mod driver;
mod early;
mod last;
mod line;
mod merged;
mod object_file;
mod offer;
mod plan;
mod prepare;
mod shape;
mod stub;

pub(crate) use self::driver::{QUICK_VARIABLE, link};
pub(crate) use self::early::{NAME as EARLY_NAME, main as early};
#[cfg(any(test, feature = "testing"))]
pub(crate) use self::last::was_quick;
pub(crate) use self::offer::Offer;
pub(crate) use self::prepare::{NAME as PREPARE_NAME, main as prepare};
