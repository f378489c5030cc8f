//! Removes the content-codings of a body as it streams through, in bounded steps whatever the compression
//! ratio. Truncated or damaged bodies end with an error. As lenient as browsers otherwise: both forms of
//! `deflate`, bytes after the end of gzip, empty bodies.

mod coding;
mod input;
mod layer;
mod stream;
#[cfg(test)]
pub(super) mod tests;

pub(crate) use coding::{Coding, codings};
pub(crate) use stream::unpack;
