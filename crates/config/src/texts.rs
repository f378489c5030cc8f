//! Lists of strings, and tables of them.

use crate::at::At;
use crate::fault::Fault;
use crate::read::{Node, Read};

/// A string, or a list of them.
#[derive(Debug, Clone)]
pub(crate) struct Texts(pub Vec<At<String>>);

impl Read for Texts {
    fn read(node: Node<'_>) -> Result<Self, Fault> {
        const NEEDED: &str = "a string or a list of strings";
        if node.value.as_str().is_some() {
            return Ok(Self(vec![At::read(node)?]));
        }
        node.items(NEEDED)?.map(At::read).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
crate::schema::inline_schema!(Texts, |_| schemars::json_schema!({
    "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }]
}));

/// A list of strings.
#[derive(Debug, Clone)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(transparent, inline))]
pub(crate) struct List(pub Vec<String>);

impl Read for List {
    fn read(node: Node<'_>) -> Result<Self, Fault> {
        node.items("a list of strings")?.map(String::read).collect::<Result<_, _>>().map(Self)
    }
}

/// Environment variables.
#[derive(Debug, Clone, Default)]
pub(crate) struct Variables(pub Vec<(String, String)>);

impl Read for Variables {
    fn read(node: Node<'_>) -> Result<Self, Fault> {
        let fields = node.fields("a table of variables (NAME = \"value\")")?;
        let variable = |(name, span, value): (&str, _, Node<'_>)| {
            if name.is_empty() || name.contains(['=', '\0']) {
                return Err(Fault::new(span, format!("`{name}` cannot be the name of a variable"), ""));
            }
            let value = String::read(value).map_err(|fault| fault.below(name))?;
            Ok((name.to_owned(), value))
        };
        fields.all().map(variable).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
crate::schema::inline_schema!(
    Variables,
    |_| schemars::json_schema!({ "type": "object", "additionalProperties": { "type": "string" } })
);

/// What stands under names of the user's choice, in the file's order.
#[derive(Debug, Clone)]
pub(crate) struct Named<T>(pub Vec<(At<String>, T)>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Read> Read for Named<T> {
    fn read(node: Node<'_>) -> Result<Self, Fault> {
        let one = |(name, span, value): (&str, std::ops::Range<usize>, Node<'_>)| {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
            if name.is_empty() || !name.chars().all(is_plain) {
                let hint = "use letters, digits, `-` and `_`";
                return Err(Fault::new(span, format!("`{name}` cannot be a name here"), hint));
            }
            let value = T::read(value).map_err(|fault| fault.below(name))?;
            Ok((At { value: name.to_owned(), span }, value))
        };
        node.fields("a table of tables")?.all().map(one).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
impl<T: schemars::JsonSchema> schemars::JsonSchema for Named<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Named{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "object",
            "propertyNames": { "pattern": "^[A-Za-z0-9_-]+$" },
            "additionalProperties": generator.subschema_for::<T>(),
        })
    }
}
