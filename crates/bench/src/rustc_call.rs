//! A rustc call as rustc itself saw it: recorded by the rustc recorder, repeated by the `rustc` strategy.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// The jobserver's pipes are gone by the time the call is repeated, and `RUSTC` is the recorder.
const LEFT_OUT: [&str; 4] = ["CARGO_MAKEFLAGS", "MAKEFLAGS", "MFLAGS", "RUSTC"];

/// devhost's own variables, which are for its wrapper.
const LEFT_OUT_PREFIX: &str = "DEVHOST_";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RustcCall {
    program: PathBuf,
    args: Vec<String>,
    directory: PathBuf,
    environment: BTreeMap<String, String>,
}

impl RustcCall {
    /// The call this process was started for, redirected to `program`. Leaves out the variables `own`.
    pub(crate) fn of_this_process(program: &Path, args: &[OsString], own: &[&str]) -> Result<Self> {
        let text = |text: &OsString| text.clone().into_string().ok();
        let is_recorded = |name: &str| {
            !LEFT_OUT.contains(&name) && !own.contains(&name) && !name.starts_with(LEFT_OUT_PREFIX)
        };
        Ok(Self {
            program: program.to_owned(),
            args: args.iter().map(text).collect::<Option<_>>().context("an argument is not UTF-8")?,
            directory: std::env::current_dir()?,
            environment: std::env::vars_os()
                .filter_map(|(name, value)| Some((text(&name)?, text(&value)?)))
                .filter(|(name, _)| is_recorded(name))
                .collect(),
        })
    }

    /// Appends the call to a log in one write, since several rustcs run at once.
    pub(crate) fn append(&self, log: &Path) -> Result<()> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        File::options().create(true).append(true).open(log)?.write_all(&line)?;
        Ok(())
    }

    /// Reads a log, keeping only the last of several calls that make the same file.
    pub(crate) fn read_all(log: &Path) -> Result<Vec<Self>> {
        let text = std::fs::read_to_string(log).with_context(|| format!("cannot read {}", log.display()))?;
        let mut calls: Vec<Self> = Vec::new();
        for line in text.lines() {
            let call: Self = serde_json::from_str(line)?;
            calls.retain(|earlier| (earlier.out_dir(), earlier.stem()) != (call.out_dir(), call.stem()));
            calls.push(call);
        }
        Ok(calls)
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).current_dir(&self.directory).env_clear().envs(&self.environment);
        command
    }

    pub(crate) fn crate_name(&self) -> &str {
        self.option("--crate-name").unwrap_or_default()
    }

    pub(crate) fn package_dir(&self) -> PathBuf {
        let directory = self.environment.get("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
        directory.canonicalize().unwrap_or(directory)
    }

    /// Whether it makes a library for other crates.
    pub(crate) fn makes_rlib(&self) -> bool {
        matches!(self.option("--crate-type"), Some("lib" | "rlib"))
    }

    /// Whether it makes a loadable library.
    pub(crate) fn makes_cdylib(&self) -> bool {
        self.option("--crate-type") == Some("cdylib")
    }

    /// The files it has read, according to its dep-info.
    pub(crate) fn files(&self) -> HashSet<PathBuf> {
        let dep_info = self.out_dir().join(format!("{}.d", self.stem()));
        let text = std::fs::read_to_string(dep_info).unwrap_or_default();
        let paths = text.lines().filter_map(|line| line.strip_suffix(':'));
        paths.filter_map(|path| self.directory.join(path.replace("\\ ", " ")).canonicalize().ok()).collect()
    }

    /// Whether it uses the output of another call.
    pub(crate) fn uses(&self, other: &Self) -> bool {
        let library = other.out_dir().join(format!("lib{}", other.stem()));
        self.args.iter().any(|arg| {
            let path = arg.split_once('=').map(|(_, path)| self.directory.join(path));
            path.is_some_and(|path| path.with_extension("") == library)
        })
    }

    pub(crate) fn sources(&self) -> impl Iterator<Item = PathBuf> {
        self.args
            .iter()
            .filter(|arg| Path::new(arg).extension().is_some_and(|extension| extension == "rs"))
            .map(|arg| self.directory.join(arg))
    }

    pub(crate) fn shared_library(&self) -> PathBuf {
        let emitted = self.option("--emit").unwrap_or_default().split(',');
        match emitted.filter_map(|kind| kind.strip_prefix("link=")).next_back() {
            Some(path) => self.directory.join(path),
            None => self.out_dir().join(format!("lib{}.so", self.stem())),
        }
    }

    /// The value of the last option of this name, `-C NAME` for a `-C` option.
    fn option(&self, name: &str) -> Option<&str> {
        let codegen = name.strip_prefix("-C ");
        let mut values = self.args.iter().enumerate().filter_map(|(index, arg)| match codegen {
            Some(key) => arg.strip_prefix(key)?.strip_prefix('='),
            None if arg == name => self.args.get(index + 1).map(String::as_str),
            None => arg.strip_prefix(name)?.strip_prefix('='),
        });
        values.next_back()
    }

    fn stem(&self) -> String {
        let extra = self.option("-C extra-filename").unwrap_or_default();
        format!("{}{extra}", self.crate_name())
    }

    fn out_dir(&self) -> PathBuf {
        self.directory.join(self.option("--out-dir").unwrap_or_default())
    }
}

/// The last call and those it depends on, in order.
pub(crate) fn needed_by_last(calls: Vec<RustcCall>) -> Vec<RustcCall> {
    let mut needed: Vec<RustcCall> = Vec::new();
    for call in calls.into_iter().rev() {
        if needed.is_empty() || needed.iter().any(|other| other.uses(&call)) {
            needed.push(call);
        }
    }
    needed.reverse();
    needed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(name: &str, kind: &str, used: &[&str]) -> RustcCall {
        let mut args: Vec<String> =
            ["--crate-name", name, "--crate-type", kind, "--out-dir", "/w/deps", "-C"]
                .map(str::to_owned)
                .into();
        args.push(format!("extra-filename=-{name}1"));
        for other in used {
            args.extend(["--extern".into(), format!("{other}=/w/deps/lib{other}-{other}1.rmeta")]);
        }
        RustcCall { program: "rustc".into(), args, directory: "/w".into(), environment: BTreeMap::new() }
    }

    #[test]
    fn calls_of_other_crates_are_left_out() {
        let calls = vec![
            call("leaf", "lib", &[]),
            call("stranger", "lib", &["leaf"]),
            call("middle", "rlib", &["leaf"]),
            call("app", "cdylib", &["middle"]),
        ];
        let needed = needed_by_last(calls);
        assert_eq!(needed.iter().map(RustcCall::crate_name).collect::<Vec<_>>(), ["leaf", "middle", "app"]);
        assert!(needed[0].makes_rlib() && needed[2].makes_cdylib());
        assert_eq!(needed[2].shared_library(), Path::new("/w/deps/libapp-app1.so"));
    }

    #[test]
    fn of_two_calls_for_one_file_the_later_counts() {
        let scratch = tempfile::tempdir().unwrap();
        let log = scratch.path().join("calls.jsonl");
        let mut again = call("leaf", "lib", &[]);
        again.environment.insert("AGAIN".into(), "1".into());
        for call in [&call("leaf", "lib", &[]), &call("app", "cdylib", &["leaf"]), &again] {
            call.append(&log).unwrap();
        }
        assert_eq!(RustcCall::read_all(&log).unwrap(), [call("app", "cdylib", &["leaf"]), again]);
    }

    #[test]
    fn files_are_those_of_the_dep_info() {
        let scratch = tempfile::tempdir().unwrap();
        let mut call = call("app", "cdylib", &[]);
        call.directory = scratch.path().to_owned();
        call.args[5] = "deps".into();
        std::fs::create_dir(scratch.path().join("deps")).unwrap();
        let source = scratch.path().join("a file.rs");
        std::fs::write(&source, "").unwrap();
        let text = "deps/app.so: a\\ file.rs gone.rs\n\na\\ file.rs:\ngone.rs:\n";
        std::fs::write(scratch.path().join("deps/app-app1.d"), text).unwrap();
        assert_eq!(call.files(), HashSet::from([source.canonicalize().unwrap()]));
    }
}
