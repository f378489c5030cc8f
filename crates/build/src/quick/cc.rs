//! Asks the C compiler which arguments it would pass to lld, and runs programs that should have nothing to
//! say.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::line::{Line, OBJECTS, TEMPORARY};
use crate::linker::words;

/// The directory in which rustc has the C compiler look for lld.
const SEARCH_OPTION: &str = "-B";

/// rustc's own lld, if the line makes the C compiler use it.
pub(super) fn lld_of(line: &Line) -> Option<PathBuf> {
    line.args.iter().find(|arg| *arg == "-fuse-ld=lld")?;
    let places: Vec<&str> = line.args.iter().filter_map(|arg| arg.strip_prefix(SEARCH_OPTION)).collect();
    let [place] = places[..] else { return None };
    let place = Path::new(place);
    // A wrapper that becomes its neighbour.
    (place.file_name()? == "gcc-ld" && place.join("ld.lld").is_file()).then_some(())?;
    let lld = place.parent()?.join("rust-lld");
    lld.is_file().then_some(lld)
}

/// The program that a name leads to.
pub(super) fn program_of(name: &OsStr) -> Option<PathBuf> {
    if name.as_encoded_bytes().contains(&b'/') {
        return std::fs::canonicalize(name).ok();
    }
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).map(|place| place.join(name)).find(|path| path.is_file());
    std::fs::canonicalize(found?).ok()
}

/// The arguments that the C compiler would pass to lld, with the placeholders of the line. `None` if it would
/// call another linker, or does not say.
pub(super) fn lld_arguments(
    line: &Line,
    linker: &Path,
    directory: &Path,
    scratch: &Path,
) -> Option<Vec<String>> {
    let temporary = scratch.to_str()?;
    let objects = scratch.join("objects.rcgu.o");
    std::fs::write(&objects, "").ok()?;
    for name in super::line::TEMPORARY_FILES {
        std::fs::write(scratch.join(name), "").ok()?;
    }
    let objects = objects.to_str()?;
    let args = line
        .args
        .iter()
        .map(|arg| if arg == OBJECTS { objects.to_owned() } else { arg.replace(TEMPORARY, temporary) });
    let mut command = Command::new(linker);
    command.arg("-###").args(args).current_dir(directory).stdin(Stdio::null());
    // Killed, it leaves files behind.
    command.env("LC_ALL", "C").env("TMPDIR", scratch);
    let output = command.output().ok().filter(|output| output.status.success())?;
    let said = String::from_utf8(output.stderr).ok()?;
    let commands: Vec<Vec<String>> = said
        .lines()
        .filter(|line| line.starts_with(' '))
        .map(words)
        .filter(|words| !words.is_empty())
        .collect();
    let [command] = &commands[..] else { return None };
    let (program, args) = command.split_first()?;
    let name = Path::new(program).file_name()?.to_str()?;
    (name == "collect2" || name == "ld.lld").then_some(())?;
    let args = without_plugin(args);
    let args: Vec<String> = args
        .map(|arg| if arg == objects { OBJECTS.to_owned() } else { arg.replace(temporary, TEMPORARY) })
        .collect();
    (args.iter().filter(|arg| *arg == OBJECTS).count() == 1).then_some(args)
}

/// Leaves out what is for `collect2`, and the plugin for link-time optimization, which lld has no use for.
fn without_plugin(args: &[String]) -> impl Iterator<Item = &String> {
    let mut is_value = false;
    args.iter().filter(move |arg| {
        let is_left_out = is_value || arg.starts_with("-plugin") || arg.starts_with("-fuse-ld=");
        is_value = !is_value && *arg == "-plugin";
        !is_left_out
    })
}

/// Runs a linker that must succeed without a word.
///
/// # Errors
/// It cannot be run, fails or says something.
pub(super) fn run_silently(command: &mut Command) -> io::Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() && output.stdout.is_empty() && output.stderr.is_empty() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_only_for_the_c_compiler_is_left_out() {
        let args = ["-plugin", "/lto.so", "-plugin-opt=-pass", "-fuse-ld=lld", "-shared", "-o", "x"];
        let args = args.map(str::to_owned);
        assert_eq!(without_plugin(&args).collect::<Vec<_>>(), ["-shared", "-o", "x"]);
    }
}
