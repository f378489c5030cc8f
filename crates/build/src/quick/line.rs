//! The command line by which rustc calls a linker, taken apart: rustc's objects, its temporary directory, and
//! the rest, which is the same from one link of an app to the next.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// Stands in a [`Line`] for all of rustc's objects. No argument has a control character.
pub(super) const OBJECTS: &str = "\u{1}objects";

/// Stands for rustc's temporary directory.
pub(super) const TEMPORARY: &str = "\u{1}temporary";

pub(super) const OBJECT_SUFFIX: &str = ".rcgu.o";

const VERSION_SCRIPT: &str = "-Wl,--version-script=";

/// Files in rustc's temporary directory that differ in name only.
pub(super) const TEMPORARY_FILES: &[&str] = &["list", "symbols.o"];

/// What else may be there: an empty directory.
const TEMPORARY_DIRECTORY: &str = "raw-dylibs";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    /// The arguments, with [`OBJECTS`] and [`TEMPORARY`] for what differs.
    pub args: Vec<String>,
    pub objects: Vec<String>,
    pub temporary: String,
    pub output: String,
}

impl Line {
    /// Returns `None` for anything but the link of a library from objects in a row.
    pub(super) fn read(args: &[String]) -> Option<Self> {
        let is_object = |arg: &&String| arg.ends_with(OBJECT_SUFFIX);
        let first = args.iter().position(|arg| is_object(&arg))?;
        let objects: Vec<String> = args[first..].iter().take_while(is_object).cloned().collect();
        if args.iter().filter(is_object).count() != objects.len() || !args.contains(&"-shared".to_owned()) {
            return None;
        }
        let script = args.iter().find_map(|arg| arg.strip_prefix(VERSION_SCRIPT))?;
        let temporary = Path::new(script).parent()?.to_str()?.to_owned();
        let output = args.get(args.iter().position(|arg| arg == "-o")? + 1)?.clone();
        let mut rest = Vec::new();
        for arg in args[..first].iter().chain(&args[first + objects.len()..]) {
            if rest.len() == first {
                rest.push(OBJECTS.to_owned());
            }
            if arg.contains(|character: char| character.is_control()) {
                return None;
            }
            rest.push(without_temporary(arg, &temporary)?);
        }
        Some(Self { args: rest, objects, temporary, output })
    }
}

/// Replaces the temporary directory, if the argument names something known in it.
fn without_temporary(arg: &str, temporary: &str) -> Option<String> {
    let Some((before, after)) = arg.split_once(temporary) else { return Some(arg.to_owned()) };
    let name = after.strip_prefix('/')?;
    (TEMPORARY_FILES.contains(&name) || name == TEMPORARY_DIRECTORY)
        .then(|| format!("{before}{TEMPORARY}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Option<Line> {
        Line::read(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn what_differs_between_two_links_is_taken_out() {
        let line = |temporary: &str, random: &str| {
            read(&format!(
                "-Wl,--version-script=/t/{temporary}/list -m64 /t/{temporary}/symbols.o /d/app.one.{random}.rcgu.o \
                 /d/app.two.{random}.rcgu.o -lc -L /t/{temporary}/raw-dylibs -o /d/libapp.so -shared"
            ))
            .unwrap()
        };
        let (one, other) = (line("rustcA", "1"), line("rustcB", "2"));
        assert_eq!(one.args, other.args);
        assert_eq!(one.args[2..5], ["\u{1}temporary/symbols.o", OBJECTS, "-lc"]);
        assert_eq!(one.objects, ["/d/app.one.1.rcgu.o", "/d/app.two.1.rcgu.o"]);
        assert_eq!((other.temporary.as_str(), other.output.as_str()), ("/t/rustcB", "/d/libapp.so"));
    }

    #[test]
    fn an_unusual_line_is_not_read() {
        let usual = "-Wl,--version-script=/t/list /d/a.rcgu.o -lc -o /d/libapp.so -shared";
        assert!(read(usual).is_some());
        for (from, to) in [
            ("-shared", "-pie"),
            ("-lc", "-lc /d/b.rcgu.o"),
            ("-lc", "/t/import.o"),
            (" -o", " --out"),
            ("-Wl,--version-script=/t/list", "-lm"),
        ] {
            assert_eq!(read(&usual.replace(from, to)), None, "{to}");
        }
    }
}
