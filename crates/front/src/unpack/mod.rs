//! Removes the content-codings of a body as it streams through, in bounded steps whatever the compression
//! ratio. As strict as necessary (a truncated or damaged body ends with an error) and as lenient as browsers
//! (both forms of `deflate`, bytes after the end of gzip, empty bodies).

mod coding;
mod input;
mod layer;
mod stream;
#[cfg(test)]
pub(super) mod tests;

pub(crate) use coding::{Coding, codings};
pub(crate) use stream::unpack;
