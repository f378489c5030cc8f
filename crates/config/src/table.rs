//! Declares types that are read from a table with a fixed set of keys.

/// Declares a type whose fields are the keys of a table, written with hyphens. Other keys are faults.
macro_rules! table {
    ($(#[$meta:meta])* $name:ident, $what:literal { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* }) => {
        #[derive(Debug, Clone)]
        #[cfg_attr(test, derive(schemars::JsonSchema))]
        #[cfg_attr(test, schemars(rename_all = "kebab-case", deny_unknown_fields))]
        $(#[$meta])*
        pub(crate) struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
        }

        impl $crate::read::Read for $name {
            fn read(node: $crate::read::Node<'_>) -> Result<Self, $crate::fault::Fault> {
                let fields = node.fields($what)?;
                fields.know(&[$(stringify!($field)),*])?;
                Ok(Self { $($field: fields.field(stringify!($field))?,)* })
            }
        }
    };
}

pub(crate) use table;
