//! A value that knows where it stands.

use std::ops::Range;

use crate::fault::Fault;
use crate::read::{Node, Read};

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct At<T> {
    pub value: T,
    pub span: Range<usize>,
}

impl<T: Read> Read for At<T> {
    fn read(node: Node<'_>) -> Result<Self, Fault> {
        let span = node.span.clone();
        Ok(Self { value: T::read(node)?, span })
    }
}

#[cfg(test)]
impl<T: schemars::JsonSchema> schemars::JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        T::json_schema(generator)
    }
}
