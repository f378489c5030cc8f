//! Removes the content-codings of a body while it streams through, in steps of a bounded size, however much comes out
//! of however little. As strict as it must be (a body that breaks off or is damaged ends with an error) and as lenient as
//! browsers are (both forms of `deflate`, bytes after the end of gzip, a body of no bytes at all).

mod coding;
mod input;
mod layer;
mod stream;
#[cfg(test)]
pub(super) mod tests;

pub(crate) use coding::{Coding, codings};
pub(crate) use stream::unpack;
