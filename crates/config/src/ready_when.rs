//! When a process beside the app counts as ready.

use std::num::NonZeroU16;
use std::path::PathBuf;

use regex::Regex;

use crate::fault::Fault;
use crate::read::{Node, Read};

/// When a process beside the app counts as ready. Exactly one of the keys.
#[derive(Debug, Clone)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename_all = "kebab-case", inline))]
pub(crate) enum ReadyWhen {
    /// Once something listens on this port of this machine.
    Port(NonZeroU16),
    /// Once it prints a line in which this regular expression matches.
    Line(String),
    /// Once this file exists; relative to the file's directory.
    File(PathBuf),
}

impl Read for ReadyWhen {
    fn read(node: Node<'_>) -> Result<Self, Fault> {
        const NEEDED: &str = "a table with one of `port`, `line` and `file`";
        let fields = node.fields(NEEDED)?;
        fields.know(&["port", "line", "file"])?;
        let mut given = fields.all();
        let (Some((key, _, value)), None) = (given.next(), given.next()) else {
            return Err(Fault::new(node.span, format!("{NEEDED} is needed"), ""));
        };
        let read = match key {
            "port" => NonZeroU16::read(value).map(Self::Port),
            "line" => expression(value).map(Self::Line),
            _ => PathBuf::read(value).map(Self::File),
        };
        read.map_err(|fault| fault.below(key))
    }
}

fn expression(node: Node<'_>) -> Result<String, Fault> {
    let text = String::read(node.clone())?;
    match Regex::new(&text) {
        Ok(_) => Ok(text),
        Err(error) => {
            // Its last line says why; those before show the expression, which is shown anyway.
            let error = error.to_string();
            let why =
                error.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned();
            let hint = "it is a regular expression: put a backslash before a character that means itself";
            Err(Fault::new(node.span, why, hint))
        }
    }
}
