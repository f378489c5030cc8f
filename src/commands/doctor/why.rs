//! `devhost doctor --why FILE`: asks the devhost that serves the app what a change of a file does, and why. If none does, tells
//! what is known without it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use devhost_build::Target;
use devhost_model::Error;
use devhost_watch::{Effect, Explanation, Scope};
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use serde::Deserialize;

/// How long devhost may take to answer. It gives up by itself before.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// The longest answer read, in bytes.
const ANSWER_SIZE_MAX: u64 = 64 * 1024;

/// How many devhosts are asked.
const SERVERS_COUNT_MAX: usize = 16;

/// Says where an app is being served, while this lives: a file of this run's own, named after the session, with the address.
#[derive(Debug)]
pub(in crate::commands) struct Serving(PathBuf);

impl Serving {
    /// Returns the directory with the addresses of an app.
    pub(in crate::commands) fn place(target: &Target) -> PathBuf {
        target.target_dir().join("serving").join(target.name())
    }

    /// Writes down the address, for `--why`.
    pub(in crate::commands) fn note(place: &Path, bound: SocketAddr, session: &str) -> Option<Self> {
        std::fs::create_dir_all(place).ok()?;
        let file = place.join(session);
        std::fs::write(&file, bound.to_string()).ok()?;
        Some(Self(file))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // A file that is left over leads nowhere, or to another devhost, which says that it is another.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Where a devhost served the app, and perhaps still does.
#[derive(Debug)]
struct Record {
    written: SystemTime,
    session: String,
    address: SocketAddr,
}

/// Reads where the app is served, the newest first.
fn records(place: &Path) -> Vec<Record> {
    let Ok(entries) = std::fs::read_dir(place) else { return Vec::new() };
    let read = |entry: std::fs::DirEntry| {
        let address = std::fs::read_to_string(entry.path()).ok()?.parse().ok()?;
        let written = entry.metadata().ok()?.modified().ok()?;
        Some(Record { written, session: entry.file_name().into_string().ok()?, address })
    };
    let mut records: Vec<Record> = entries.flatten().filter_map(read).collect();
    records.sort_by_key(|record| std::cmp::Reverse(record.written));
    records.truncate(SERVERS_COUNT_MAX);
    records
}

/// What devhost answers at `/__devhost/files`.
#[derive(Debug, Deserialize)]
struct Answer {
    session: String,
    trusted: bool,
    files: Vec<File>,
}

#[derive(Debug, Deserialize)]
struct File {
    path: String,
    exists: bool,
    does: String,
    why: String,
    notes: Vec<String>,
}

/// What came of asking.
enum Asked {
    Answered(Answer),
    /// Another program listens there, or none.
    Elsewhere,
    /// Something listens there, and does not answer in time.
    Silent(String),
}

/// Explains a file to the user. `scope` is what would be watched.
///
/// # Errors
/// The devhost that serves the app does not answer; or there is no such file, and nothing waits for it.
pub(super) fn explain(target: &Target, path: &Path, cwd: &Path, scope: &Scope) -> Result<String, Error> {
    let path = cwd.join(path);
    let mut silent = None;
    for record in records(&Serving::place(target)) {
        match ask(&record, &path) {
            Asked::Answered(answer) => return tell(&answer, &path),
            Asked::Elsewhere => {}
            Asked::Silent(why) => silent = silent.or(Some((record.address, why))),
        }
    }
    if let Some((address, why)) = silent {
        return Err(Error::fault(format!(
            "the devhost that served `{}` at {address} does not answer: {why}",
            target.name()
        )));
    }
    let explanation = devhost_watch::explain_unserved(scope, &path).map_err(Error::from)?;
    let relative =
        explanation.path.strip_prefix(&scope.workspace_root).unwrap_or(&explanation.path).to_owned();
    let told = describe(&Explanation { path: relative, ..explanation }, &path)?;
    Ok(format!(
        "{told}\nNo devhost serves `{}` now, so what it reads and what its build reads is not known. Start `devhost run`, \
         open the pages that matter, and ask again meanwhile.",
        target.name()
    ))
}

fn tell(answer: &Answer, path: &Path) -> Result<String, Error> {
    let Some(File { path: shown, exists, does, why, notes }) = answer.files.first() else {
        return Err(Error::fault("devhost's answer names no file"));
    };
    let explanation = Explanation {
        path: shown.into(),
        exists: *exists,
        effect: effect(does)?,
        why: why.clone(),
        notes: notes.clone(),
    };
    let mut told = describe(&explanation, path)?;
    if !answer.trusted {
        told.push_str("\nNot all that the app does is seen, so names of files count, too.");
    }
    Ok(told)
}

fn effect(name: &str) -> Result<Effect, Error> {
    Effect::of_name(name)
        .ok_or_else(|| Error::fault(format!("devhost answers in words of another version: `{name}`")))
}

fn describe(explanation: &Explanation, path: &Path) -> Result<String, Error> {
    let Explanation { path: shown, exists, effect, why, notes } = explanation;
    if !exists && *effect == Effect::Nothing {
        return Err(Error::mistake(
            format!("there is no {}, and nothing would happen if it appeared ({why})", path.display()),
            "name a file, relative to this directory or absolute",
        ));
    }
    let event = if *exists { "a change" } else { "does not exist; its appearance" };
    let effect = match effect {
        Effect::Reread => "makes devhost read it again",
        Effect::Build => "builds the app",
        Effect::Restart => "starts the app anew",
        Effect::Reload => "loads open pages again",
        Effect::Swap => "swaps the stylesheet in open pages",
        Effect::Nothing => "does nothing",
    };
    let first = format!("{}: {event} {effect} ({why})", shown.display());
    let lines = std::iter::once(first).chain(notes.iter().cloned());
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

fn ask(record: &Record, path: &Path) -> Asked {
    let mut address = record.address;
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    let encoded = percent_encode(path.as_os_str().as_encoded_bytes(), NON_ALPHANUMERIC);
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(ANSWER_TIME_MAX))
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .build();
    let asked = ureq::Agent::new_with_config(config)
        .get(format!("http://{address}/__devhost/files?path={encoded}"))
        .call()
        .and_then(|mut response| {
            Ok((
                response.status(),
                response.body_mut().with_config().limit(ANSWER_SIZE_MAX).read_to_string()?,
            ))
        });
    match asked {
        Ok((status, _)) if status.as_u16() == 503 => Asked::Silent("its watcher is busy".into()),
        Ok((_, body)) => match serde_json::from_str::<Answer>(&body) {
            Ok(answer) if answer.session == record.session => Asked::Answered(answer),
            _ => Asked::Elsewhere,
        },
        Err(ureq::Error::Timeout(_)) => Asked::Silent("nothing came within five seconds".into()),
        Err(_) => Asked::Elsewhere,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_run_of_devhost_has_its_own_record_and_removes_only_that() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("serving/shop");
        let one = Serving::note(&place, "127.0.0.1:8001".parse().unwrap(), "1-1").unwrap();
        let other = Serving::note(&place, "[::1]:8002".parse().unwrap(), "2-2").unwrap();
        std::fs::write(place.join("3-3"), "no address").unwrap();
        assert_eq!(records(&place).len(), 2);
        drop(one);
        let left = records(&place);
        assert_eq!((left.len(), &*left[0].session), (1, "2-2"));
        drop(other);
        assert!(records(&place).is_empty());
    }

    #[test]
    fn a_path_at_which_nothing_is_and_nothing_waits_is_a_mistake() {
        let answer = |exists, does: &str| Answer {
            session: "1-1".into(),
            trusted: true,
            files: vec![File {
                path: "a.css".into(),
                exists,
                does: does.into(),
                why: "why".into(),
                notes: vec!["A note.".into()],
            }],
        };
        let told = |exists, does| tell(&answer(exists, does), Path::new("/shop/a.css"));
        assert_eq!(
            told(true, "swap").unwrap(),
            "a.css: a change swaps the stylesheet in open pages (why)\nA note."
        );
        assert_eq!(
            told(false, "restart").unwrap(),
            "a.css: does not exist; its appearance starts the app anew (why)\nA note."
        );
        assert_eq!(told(true, "nothing").unwrap(), "a.css: a change does nothing (why)\nA note.");
        let error = told(false, "nothing").unwrap_err();
        assert_eq!(error.exit_code(), devhost_model::EXIT_MISTAKE);
        assert_eq!(told(true, "dance").unwrap_err().exit_code(), devhost_model::EXIT_FAULT);
    }
}
