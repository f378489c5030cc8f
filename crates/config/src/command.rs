//! What a process beside the app runs.

use devhost_model::SideCommand;

use crate::fault::Fault;
use crate::read::{Node, Read};
use crate::texts::List;

/// A line for the shell, or a program and its arguments.
#[derive(Debug, Clone)]
pub(crate) struct Command(pub SideCommand);

impl Read for Command {
    fn read(node: Node<'_>) -> Result<Self, Fault> {
        const NEEDED: &str = "a line for the shell, or a list of a program and its arguments,";
        const EMPTY_HINT: &str =
            "give it what to run: a line for the shell, or a list of a program and its arguments";
        let empty = || Fault::new(node.span.clone(), "it is empty", EMPTY_HINT);
        if node.value.as_str().is_some() {
            let line = String::read(node.clone())?;
            return if line.trim().is_empty() { Err(empty()) } else { Ok(Self(SideCommand::Shell(line))) };
        }
        if node.value.as_array().is_none() {
            return Err(node.other_than(NEEDED));
        }
        let List(words) = List::read(node.clone())?;
        match words.first() {
            Some(program) if !program.is_empty() => Ok(Self(SideCommand::Program(words))),
            _ => Err(empty()),
        }
    }
}

#[cfg(test)]
crate::schema::inline_schema!(Command, |_| schemars::json_schema!({
    "anyOf": [
        { "type": "string", "minLength": 1 },
        { "type": "array", "items": { "type": "string" }, "minItems": 1 },
    ]
}));
