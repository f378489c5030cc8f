//! `devhost clean`: removes what devhost has built for a workspace, unless it is in use. Leaves alone what
//! others have put beside it.

use std::io::Write as _;
use std::process::ExitCode;

use super::package;
use crate::cli::CleanArgs;
use devhost_build::{self as build, Leavings};
use devhost_model::{EXIT_FAULT, Error};
use devhost_terminal::{Format, Terminal};

/// Removes what was built, or prints what would be removed.
pub(super) fn run(args: &CleanArgs) -> ExitCode {
    let terminal = Terminal::new(Format::Human, false);
    match clean(args) {
        Ok(text) => match writeln!(anstream::stdout().lock(), "{text}") {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(EXIT_FAULT),
        },
        Err(error) => {
            terminal.error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

fn clean(args: &CleanArgs) -> Result<String, Error> {
    let cwd = std::env::current_dir()
        .map_err(|error| Error::fault(format!("the current directory cannot be used: {error}")))?;
    let argument = args.app.as_deref().map(std::path::Path::to_string_lossy);
    let settings = build::Settings {
        target_dir: args.target_dir.clone(),
        cargo: package::cargo_options(&args.cargo, &cwd),
        ..build::Settings::default()
    };
    let place = build::app::place_of_builds(argument.as_deref(), &cwd, &settings)?;
    let leavings = Leavings::look(&place)
        .map_err(|error| Error::fault(format!("cannot read {}: {error}", place.display())))?;
    let shown = place.display();
    if leavings.is_empty() {
        return Ok(format!("there is nothing of devhost's in {shown}"));
    }
    let (size, files) = (human(leavings.size_bytes()), leavings.file_count());
    if args.dry_run {
        let mut text = format!("would remove {size} in {files} files from {shown}:");
        for (name, bytes) in leavings.parts() {
            text.push_str(&format!("\n{:>10}  {name}", human(bytes)));
        }
        return Ok(text);
    }
    let _held = leavings.hold().map_err(|user| {
        Error::mistake(
            format!("{user} uses {shown}"),
            "end it first (Ctrl-C where it runs); `devhost clean --dry-run` tells what there is",
        )
    })?;
    leavings.remove().map_err(|error| Error::fault(format!("cannot remove all of {shown}: {error}")))?;
    Ok(format!("removed {size} in {files} files from {shown}"))
}

/// Formats a size: `1.4 GB`, `120 kB`.
fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut size = bytes as f64;
    let mut unit = 0;
    while size >= 999.5 && unit + 1 < UNITS.len() {
        size /= 1000.0;
        unit += 1;
    }
    if unit == 0 || size >= 99.95 {
        format!("{size:.0} {}", UNITS[unit])
    } else {
        format!("{size:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_readable() {
        let sizes = [0, 999, 1_000, 119_600, 999_499_999, 1_440_000_000];
        assert_eq!(sizes.map(human), ["0 B", "999 B", "1.0 kB", "120 kB", "999 MB", "1.4 GB"]);
    }
}
