//! Whether `docs/bench-schema.json` describes the JSON document: a small validator of the keywords used by
//! the schema, which rejects others, and a check that neither side has a field the other lacks.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::sample;
use crate::model::{SCHEMA_VERSION, Strategy};
use clap::ValueEnum;

const SCHEMA: &str = include_str!("../../../../docs/bench-schema.json");

struct Validator {
    definitions: Value,
    /// `Definition.property` of everything found in a document.
    seen: BTreeSet<String>,
    faults: Vec<String>,
}

impl Validator {
    fn new() -> Self {
        let schema: Value = serde_json::from_str(SCHEMA).unwrap();
        Self { definitions: schema["$defs"].clone(), seen: BTreeSet::new(), faults: Vec::new() }
    }

    fn fault(&mut self, path: &str, what: &str) {
        self.faults.push(format!("{path}: {what}"));
    }

    fn check(&mut self, name: &str, schema: &Value, value: &Value, path: &str) {
        for (keyword, rule) in schema.as_object().expect("a schema is an object") {
            match keyword.as_str() {
                "description" | "required" => {}
                "$ref" => {
                    let name = rule.as_str().unwrap().strip_prefix("#/$defs/").unwrap().to_owned();
                    let schema = self.definitions[&name].clone();
                    assert!(schema.is_object(), "no definition of {name}");
                    self.check(&name, &schema, value, path);
                }
                "type" => {
                    let types = rule.as_array().cloned().unwrap_or_else(|| vec![rule.clone()]);
                    if !types.iter().any(|one| is_of_type(value, one.as_str().unwrap())) {
                        self.fault(path, &format!("{value} is no {rule}"));
                    }
                }
                "const" if rule == value => {}
                "enum" if rule.as_array().unwrap().contains(value) => {}
                "const" | "enum" => self.fault(path, &format!("{value} is not {rule}")),
                "minimum" => {
                    if value.as_f64().is_some_and(|number| number < rule.as_f64().unwrap()) {
                        self.fault(path, &format!("{value} is less than {rule}"));
                    }
                }
                "items" => {
                    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(name, rule, item, &format!("{path}[{index}]"));
                    }
                }
                "prefixItems" => {
                    for (index, rule) in rule.as_array().unwrap().iter().enumerate() {
                        self.check(name, rule, &value[index], &format!("{path}[{index}]"));
                    }
                }
                "minItems" | "maxItems" => {
                    let (count, bound) =
                        (value.as_array().map_or(0, Vec::len) as u64, rule.as_u64().unwrap());
                    if if keyword == "minItems" { count < bound } else { count > bound } {
                        self.fault(path, &format!("{count} items, {keyword} is {bound}"));
                    }
                }
                "anyOf" => self.check_any(name, rule, value, path),
                "properties" => self.check_properties(name, schema, value, path),
                other => panic!("the schema uses {other}, which is not checked here"),
            }
        }
    }

    fn check_any(&mut self, name: &str, rule: &Value, value: &Value, path: &str) {
        let before = self.faults.len();
        for one in rule.as_array().unwrap() {
            self.check(name, one, value, path);
            if self.faults.len() == before {
                return;
            }
            self.faults.truncate(before);
        }
        self.fault(path, &format!("{value} is none of {rule}"));
    }

    fn check_properties(&mut self, name: &str, schema: &Value, value: &Value, path: &str) {
        let Some(fields) = value.as_object() else { return };
        let properties = schema["properties"].as_object().unwrap();
        for required in schema["required"].as_array().unwrap() {
            if !fields.contains_key(required.as_str().unwrap()) {
                self.fault(path, &format!("{required} is missing"));
            }
        }
        for (field, value) in fields {
            match properties.get(field) {
                None => self.fault(path, &format!("{field} is not documented")),
                Some(rule) => {
                    if !value.is_null() {
                        self.seen.insert(format!("{name}.{field}"));
                    }
                    self.check(name, rule, value, &format!("{path}.{field}"));
                }
            }
        }
    }
}

fn is_of_type(value: &Value, name: &str) -> bool {
    match name {
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        other => panic!("{other} is no type of JSON Schema"),
    }
}

fn faults_of(document: &Value) -> Vec<String> {
    let mut validator = Validator::new();
    validator.check("", &json!({ "$ref": "#/$defs/Report" }), document, "report");
    validator.faults
}

#[test]
fn reports_of_all_kinds_are_as_the_schema_says() {
    for report in [sample::full(), sample::empty(), sample::single(), sample::hostile()] {
        assert_eq!(faults_of(&serde_json::to_value(report).unwrap()), Vec::<String>::new());
    }
}

#[test]
fn all_that_the_schema_documents_is_in_a_report() {
    let mut validator = Validator::new();
    let document = serde_json::to_value(sample::full()).unwrap();
    validator.check("", &json!({ "$ref": "#/$defs/Report" }), &document, "report");
    for (name, definition) in validator.definitions.as_object().unwrap() {
        for (property, rule) in definition["properties"].as_object().into_iter().flatten() {
            assert!(
                validator.seen.contains(&format!("{name}.{property}")),
                "{name}.{property} is never there"
            );
            assert!(rule["description"].is_string(), "{name}.{property} is not described");
        }
    }
}

#[test]
fn schema_knows_this_version_and_all_strategies() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    assert_eq!(schema["$ref"], "#/$defs/Report");
    assert_eq!(schema["$defs"]["Report"]["properties"]["schema_version"]["const"], SCHEMA_VERSION);
    let all: Vec<Value> =
        Strategy::value_variants().iter().map(|it| serde_json::to_value(it).unwrap()).collect();
    assert_eq!(schema["$defs"]["Strategy"]["enum"], Value::from(all));
}

#[test]
fn documents_that_are_not_as_the_schema_says_are_noticed() {
    let good = serde_json::to_value(sample::full()).unwrap();
    let broken = |path: &str, value: Option<Value>| {
        let mut document = good.clone();
        let (parent, field) = path.rsplit_once('/').unwrap();
        let parent = document.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        match value {
            Some(value) => drop(parent.insert(field.to_owned(), value)),
            None => drop(parent.remove(field).unwrap()),
        }
        faults_of(&document)
    };
    assert_eq!(broken("/machine/kernel", None), ["report.machine: \"kernel\" is missing"]);
    assert_eq!(broken("/machine/colour", Some(json!(1))), ["report.machine: colour is not documented"]);
    assert_eq!(broken("/duration_ms", Some(json!(-1))), ["report.duration_ms: -1 is less than 0"]);
    assert_eq!(broken("/schema_version", Some(json!(2))), ["report.schema_version: 2 is not 1"]);
    assert_eq!(broken("/strategies/0/strategy", Some(json!("magic"))).len(), 1);
    assert_eq!(broken("/strategies/0/reloads/0/memory", Some(json!({}))).len(), 1);
    assert_eq!(broken("/strategies/0/reloads/0/cpu_ms", Some(json!(null))), Vec::<String>::new());
    assert_eq!(broken("/machine/tools", Some(json!([["one"]]))).len(), 2);
}
