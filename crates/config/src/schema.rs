//! The JSON schema for editors, made from the types of the file's keys. It is checked in, and has to be up to date.

use std::path::Path;

use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::document::{Document, option_keys};

/// If this variable is set, the schema is written anew.
const WRITE_VARIABLE: &str = "DEVHOST_WRITE_SCHEMA";

/// Gives a type that is read by hand a schema of its own, written where the type is used.
macro_rules! inline_schema {
    ($type:ident, |$generator:pat_param| $schema:expr) => {
        impl schemars::JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema($generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                $schema
            }
        }
    };
}
pub(crate) use inline_schema;

fn schema() -> Value {
    // What Taplo, the usual TOML language server, knows.
    let mut generator = SchemaSettings::draft07().into_generator();
    let mut schema = generator.root_schema_for::<Document>().to_value();
    remove_null(&mut schema);
    schema
}

/// Removes `null` from all alternatives: a key that may be missing is no key that may be null, of which TOML has none.
fn remove_null(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(remove_null),
        Value::Object(object) => {
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|one| one != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    object.insert("type".into(), only);
                }
            }
            if let Some(Value::Array(alternatives)) = object.get_mut("anyOf") {
                alternatives.retain(|one| one.get("type").is_none_or(|one| one != "null"));
                if let [Value::Object(only)] = alternatives.as_slice() {
                    let only = only.clone();
                    object.remove("anyOf");
                    // What is said of the key wins over what is said of the type.
                    for (key, value) in only {
                        object.entry(key).or_insert(value);
                    }
                }
            }
            object.values_mut().for_each(remove_null);
        }
        _ => {}
    }
}

#[test]
fn the_schema_in_the_repository_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../devhost.schema.json");
    let text = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    if std::env::var_os(WRITE_VARIABLE).is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == text, "devhost.schema.json is out of date: run this test with {WRITE_VARIABLE}=1");
}

#[test]
fn every_key_has_a_description_and_every_option_a_key() {
    let schema = schema();
    let properties = schema["properties"].as_object().unwrap();
    for (key, property) in properties {
        assert!(property["description"].is_string(), "{key}: {property}");
        let is_option = option_keys().contains(key);
        assert!(
            is_option != ["apps", "cargo", "env", "ignore", "processes", "watch"].contains(&key.as_str()),
            "{key}"
        );
    }
    let cargo = properties["cargo"]["properties"].as_object().unwrap();
    for key in option_keys() {
        assert!(properties.contains_key(&key) != cargo.contains_key(&key), "{key}");
    }
    let text = schema.to_string();
    assert!(!text.contains("null"), "{text}");
}
