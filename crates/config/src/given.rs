//! A key that stands for an option, as the arguments that say the same on the command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::at::At;
use crate::place::Place;
use crate::texts::{List, Texts};

/// The key for the app's own arguments, which follow `--` on the command line.
pub const APP_ARGS_KEY: &str = "args";

/// A key that stands for an option, and what it says.
#[derive(Debug, Clone)]
pub struct Given {
    /// The key: the option's name without the hyphens before it.
    pub key: String,
    /// The key with the tables that it is in: `cargo.offline`, `apps.api.port`.
    pub path: String,
    /// The same on the command line: none for an option that is `false`. For [`APP_ARGS_KEY`], the app's arguments.
    pub arguments: Vec<OsString>,
    /// Where its value stands.
    pub place: Place,
}

/// What the value of an option becomes on the command line.
pub(crate) trait Value {
    fn arguments(&self, key: &str, directory: &Path) -> Vec<OsString>;
}

fn argument(key: &str, value: impl Into<OsString>) -> OsString {
    let mut argument = OsString::from(if key.len() == 1 { format!("-{key}") } else { format!("--{key}=") });
    argument.push(value.into());
    argument
}

impl Value for bool {
    fn arguments(&self, key: &str, _: &Path) -> Vec<OsString> {
        self.then(|| OsString::from(format!("--{key}"))).into_iter().collect()
    }
}

impl Value for String {
    fn arguments(&self, key: &str, _: &Path) -> Vec<OsString> {
        vec![argument(key, self)]
    }
}

impl Value for PathBuf {
    fn arguments(&self, key: &str, directory: &Path) -> Vec<OsString> {
        vec![argument(key, directory.join(self))]
    }
}

impl Value for Texts {
    fn arguments(&self, key: &str, _: &Path) -> Vec<OsString> {
        self.0.iter().map(|text| argument(key, &text.value)).collect()
    }
}

impl Value for List {
    fn arguments(&self, key: &str, _: &Path) -> Vec<OsString> {
        debug_assert_eq!(key, APP_ARGS_KEY);
        self.0.iter().map(OsString::from).collect()
    }
}

macro_rules! numbers {
    ($($type:ty)*) => {
        $(impl Value for $type {
            fn arguments(&self, key: &str, _: &Path) -> Vec<OsString> {
                vec![argument(key, self.to_string())]
            }
        })*
    };
}

numbers!(u16 u32 u64 std::num::NonZeroU16);

/// The value of an option that is repeated to say it more strongly.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(transparent, inline))]
pub(crate) struct Times(#[cfg_attr(test, schemars(range(max = 2)))] pub u8);

impl crate::read::Read for Times {
    fn read(node: crate::read::Node<'_>) -> Result<Self, crate::fault::Fault> {
        u8::read(node.clone())
            .ok()
            .filter(|times| *times <= 2)
            .map(Self)
            .ok_or_else(|| node.other_than("0, 1 or 2"))
    }
}

impl Value for Times {
    fn arguments(&self, key: &str, _: &Path) -> Vec<OsString> {
        vec![OsString::from(format!("--{key}")); usize::from(self.0)]
    }
}

/// Files named one by one, or a single one.
#[derive(Debug, Clone)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(transparent, inline))]
pub(crate) struct Files(Texts);

impl crate::read::Read for Files {
    fn read(node: crate::read::Node<'_>) -> Result<Self, crate::fault::Fault> {
        let files = Texts::read(node)?;
        match files.0.iter().find(|file| file.value.is_empty()) {
            Some(file) => Err(crate::fault::Fault::new(file.span.clone(), "the path is empty", "")),
            None => Ok(Self(files)),
        }
    }
}

impl Value for Files {
    fn arguments(&self, key: &str, directory: &Path) -> Vec<OsString> {
        let files = self.0.0.iter();
        files.map(|file| argument(key, directory.join(&file.value))).collect()
    }
}

/// Values of cargo's configuration (`KEY=VALUE`), and files with such. Like cargo, takes for a file what names one.
#[derive(Debug, Clone)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(transparent, inline))]
pub(crate) struct CargoConfig(Texts);

impl crate::read::Read for CargoConfig {
    fn read(node: crate::read::Node<'_>) -> Result<Self, crate::fault::Fault> {
        Texts::read(node).map(Self)
    }
}

impl Value for CargoConfig {
    fn arguments(&self, key: &str, directory: &Path) -> Vec<OsString> {
        let value = |text: &At<String>| {
            let file = directory.join(&text.value);
            if !text.value.is_empty() && file.exists() {
                argument(key, file)
            } else {
                argument(key, &text.value)
            }
        };
        self.0.0.iter().map(value).collect()
    }
}

/// A number of jobs: a number, or `default`.
#[derive(Debug, Clone)]
pub(crate) struct Jobs(String);

impl crate::read::Read for Jobs {
    fn read(node: crate::read::Node<'_>) -> Result<Self, crate::fault::Fault> {
        if node.value.is_integer() || node.value.as_str() == Some("default") {
            let text = match node.value.as_integer() {
                Some(number) => i64::from_str_radix(number.as_str(), number.radix())
                    .map_or_else(|_| number.to_string(), |number| number.to_string()),
                None => "default".into(),
            };
            return Ok(Self(text));
        }
        Err(node.other_than("a number, or `\"default\"`,"))
    }
}

impl Value for Jobs {
    fn arguments(&self, key: &str, _: &Path) -> Vec<OsString> {
        vec![argument(key, &self.0)]
    }
}

#[cfg(test)]
crate::schema::inline_schema!(Jobs, |_| schemars::json_schema!({
    "anyOf": [{ "type": "integer", "not": { "const": 0 } }, { "const": "default" }]
}));
