//! The wording of what is said about side processes, in one place.

use std::time::Duration;

use devhost_model::{ReadyWhen, SideCommand, SideEnd, SideProcess};

/// The exit code of a shell that has not found a command.
const SHELL_NOT_FOUND_CODE: i32 = 127;

/// The exit code of a shell that has found a command that cannot be run.
const SHELL_NOT_RUN_CODE: i32 = 126;

/// `500 ms`, `9.9 s`, `12 s`, `3 min`.
pub(crate) fn time(time: Duration) -> String {
    match time.as_secs_f64() {
        seconds if seconds >= 120.0 => format!("{:.0} min", seconds / 60.0),
        seconds if seconds >= 10.0 => format!("{seconds:.0} s"),
        seconds if seconds >= 0.9995 => format!("{seconds:.1} s"),
        seconds => format!("{:.0} ms", seconds * 1_000.0),
    }
}

pub(crate) fn started(name: &str, pid: i32) -> String {
    format!("the process `{name}` runs (pid {pid})")
}

pub(crate) fn ready(name: &str, took: Duration) -> String {
    format!("the process `{name}` is ready after {}", time(took))
}

pub(crate) fn not_ready(process: &SideProcess, limit: Duration) -> String {
    let name = &process.name;
    let missing = match &process.ready_when {
        Some(ReadyWhen::Port(port)) => format!(": nothing listens on port {port}"),
        Some(ReadyWhen::Line(pattern)) => format!(": it has written no line that matches `{pattern}`"),
        Some(ReadyWhen::File(file)) => format!(": there is no {}", file.display()),
        None => String::new(),
    };
    format!(
        "the process `{name}` is not ready after {}{missing}; nothing waits for it any longer",
        time(limit)
    )
}

/// It has ended, and is started again after a pause.
pub(crate) fn died(name: &str, end: &SideEnd, lived: Duration, in_a_row: u32, pause: Duration) -> String {
    let again = format!("it is started again in {}", time(pause));
    match in_a_row {
        1 if end.is_success() => format!(
            "the process `{name}` {end} after {}; {again} (it should go on, in the foreground; if that is all it has to \
             do, set `restart = false`, or `before-build = true` if the build needs what it makes)",
            time(lived)
        ),
        1 => format!("the process `{name}` {end} after {}; {again}", time(lived)),
        _ => format!(
            "the process `{name}` {end} after {}, the {} time in a row; {again}",
            time(lived),
            nth(in_a_row)
        ),
    }
}

/// It has ended, and stays so.
pub(crate) fn over(name: &str, end: &SideEnd, lived: Duration) -> String {
    format!("the process `{name}` {end} after {}", time(lived))
}

/// A step has succeeded.
pub(crate) fn done(name: &str, took: Duration) -> String {
    format!("the process `{name}` has done its work in {}", time(took))
}

fn nth(number: u32) -> String {
    let ending = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

/// Returns what is wrong with a command that cannot be run, if that is what this end means, and what to do.
pub(crate) fn unusable(process: &SideProcess, end: &SideEnd) -> Option<(String, String)> {
    let name = &process.name;
    let what = match (end, &process.command) {
        (SideEnd::Exited { code: SHELL_NOT_FOUND_CODE }, SideCommand::Shell(line)) => {
            format!("a command in `{line}` was not found")
        }
        (SideEnd::Exited { code: SHELL_NOT_RUN_CODE }, SideCommand::Shell(line)) => {
            format!("a command in `{line}` cannot be run")
        }
        (SideEnd::NotStarted { message }, _) => message.clone(),
        _ => return None,
    };
    let message = format!("the process `{name}` cannot be started: {what}");
    let hint = match end {
        SideEnd::NotStarted { message } if message.starts_with(NO_DIRECTORY) => {
            format!("create it, or correct `directory` of [processes.{name}] in devhost.toml")
        }
        _ => format!("install what is missing, or correct `command` of [processes.{name}] in devhost.toml"),
    };
    Some((message, hint))
}

/// How the message about a missing directory starts.
const NO_DIRECTORY: &str = "its directory ";

pub(crate) fn no_directory(process: &SideProcess) -> String {
    format!("{NO_DIRECTORY}{} does not exist", process.directory.display())
}

/// What a build or the app's start waits for.
pub(crate) fn awaited(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match names.as_slice() {
        [one] => format!("the process {one}"),
        several => format!("the processes {}", several.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_ordinals_read_well() {
        let texts = [500, 9_949, 12_400, 180_000].map(|ms| time(Duration::from_millis(ms)));
        assert_eq!(texts, ["500 ms", "9.9 s", "12 s", "3 min"]);
        assert_eq!([1, 2, 3, 4, 11, 13, 21, 112].map(nth).join(" "), "1st 2nd 3rd 4th 11th 13th 21st 112th");
    }
}
