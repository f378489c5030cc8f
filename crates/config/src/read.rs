//! Turns TOML values into types, with the place of each fault.

use std::num::NonZeroU16;
use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::fault::Fault;
use crate::suggest;

/// A value and where it stands.
#[derive(Clone)]
pub(crate) struct Node<'a> {
    pub value: &'a DeValue<'a>,
    pub span: Range<usize>,
}

impl<'a> Node<'a> {
    pub(crate) fn new(value: &'a Spanned<DeValue<'a>>) -> Self {
        Self { value: value.get_ref(), span: value.span() }
    }

    /// Makes the fault of a value that is something else than what is needed.
    pub(crate) fn other_than(&self, needed: &str) -> Fault {
        let found = match self.value {
            DeValue::String(_) => "a string",
            DeValue::Integer(number) => {
                return Fault::new(self.span.clone(), format!("{needed} is needed, not {number}"), "");
            }
            DeValue::Float(_) => "a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        Fault::new(self.span.clone(), format!("{needed} is needed, not {found}"), "")
    }

    pub(crate) fn items(&self, needed: &str) -> Result<impl Iterator<Item = Node<'a>> + use<'a>, Fault> {
        match self.value {
            DeValue::Array(items) => Ok(items.iter().map(Node::new)),
            _ => Err(self.other_than(needed)),
        }
    }

    pub(crate) fn fields(&self, needed: &str) -> Result<Fields<'a>, Fault> {
        match self.value {
            DeValue::Table(table) => Ok(Fields { table, span: self.span.clone() }),
            _ => Err(self.other_than(needed)),
        }
    }
}

/// A table's keys and values.
pub(crate) struct Fields<'a> {
    pub table: &'a DeTable<'a>,
    pub span: Range<usize>,
}

impl<'a> Fields<'a> {
    /// Fails at the first key that is not among those of the table's fields.
    pub(crate) fn know(&self, fields: &[&str]) -> Result<(), Fault> {
        let known: Vec<String> = fields.iter().map(|field| key(field)).collect();
        match self.table.keys().find(|given| !known.iter().any(|known| known == given.get_ref())) {
            None => Ok(()),
            Some(unknown) => {
                let (span, name) = (unknown.span(), unknown.get_ref());
                Err(Fault::new(span, format!("unknown key `{name}`"), suggest::hint(name, &known)))
            }
        }
    }

    pub(crate) fn field<T: Read>(&self, field: &str) -> Result<T, Fault> {
        let key = key(field);
        match self.table.get(key.as_str()) {
            Some(value) => T::read(Node::new(value)).map_err(|fault| fault.below(&key)),
            None => T::missing().ok_or_else(|| {
                Fault::new(
                    self.span.clone(),
                    format!("the key `{key}` is missing"),
                    format!("add `{key} = …`"),
                )
            }),
        }
    }

    /// Returns all keys with their values, in the file's order.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'a str, Range<usize>, Node<'a>)> + use<'a> {
        self.table.iter().map(|(key, value)| (key.get_ref().as_ref(), key.span(), Node::new(value)))
    }
}

/// Returns the key of a field: its name, with hyphens.
pub(crate) fn key(field: &str) -> String {
    field.replace('_', "-")
}

/// What can be read from a value.
pub(crate) trait Read: Sized {
    fn read(node: Node<'_>) -> Result<Self, Fault>;

    /// What a missing key means; `None` if it must not be missing.
    fn missing() -> Option<Self> {
        None
    }
}

impl<T: Read> Read for Option<T> {
    fn read(node: Node<'_>) -> Result<Self, Fault> {
        T::read(node).map(Some)
    }

    fn missing() -> Option<Self> {
        Some(None)
    }
}

impl Read for bool {
    fn read(node: Node<'_>) -> Result<Self, Fault> {
        node.value.as_bool().ok_or_else(|| node.other_than("true or false"))
    }
}

impl Read for String {
    fn read(node: Node<'_>) -> Result<Self, Fault> {
        match node.value.as_str() {
            // No argument and no variable can have it.
            Some(text) if text.contains('\0') => {
                Err(Fault::new(node.span, "a NUL character cannot be used", ""))
            }
            Some(text) => Ok(text.to_owned()),
            None => Err(node.other_than("a string")),
        }
    }
}

impl Read for PathBuf {
    fn read(node: Node<'_>) -> Result<Self, Fault> {
        match String::read(node.clone()) {
            Ok(text) if text.is_empty() => Err(Fault::new(node.span, "the path is empty", "")),
            Ok(text) => Ok(text.into()),
            Err(_) if node.value.as_str().is_none() => Err(node.other_than("a path, which is a string,")),
            Err(fault) => Err(fault),
        }
    }
}

/// Reads a whole number.
fn number<T: TryFrom<i64>>(node: &Node<'_>, needed: &str) -> Result<T, Fault> {
    let number = node.value.as_integer();
    let number = number.and_then(|number| i64::from_str_radix(number.as_str(), number.radix()).ok());
    number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| node.other_than(needed))
}

macro_rules! numbers {
    ($($type:ty: $needed:literal,)*) => {
        $(impl Read for $type {
            fn read(node: Node<'_>) -> Result<Self, Fault> {
                number(&node, $needed)
            }
        })*
    };
}

numbers! {
    u8: "a number from 0 to 255",
    u16: "a number from 0 to 65535",
    u32: "a whole number",
    u64: "a whole number",
}

impl Read for NonZeroU16 {
    fn read(node: Node<'_>) -> Result<Self, Fault> {
        const NEEDED: &str = "a number from 1 to 65535";
        NonZeroU16::new(number(&node, NEEDED)?).ok_or_else(|| node.other_than(NEEDED))
    }
}
