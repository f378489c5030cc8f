//! What the wrapper records of each rustc call for a workspace crate: enough to repeat it without cargo. The
//! call is recorded as cargo made it; the wrapper adds devhost's own arguments anew each time.
//!
//! Of the environment only cargo's changes are kept. devhost itself runs with the rest, which may hold
//! secrets and does not belong in a file.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::call::{Call, expand};
use crate::documents;
use crate::job_sheet::JobSheet;
use crate::refusal::Refusal;

/// Tells the wrapper that the call is a replay, and recorded already.
pub(crate) const REPLAY_VARIABLE: &str = "DEVHOST_REPLAY";

/// The jobserver's variables: its pipes are gone when the call is repeated.
const JOBSERVER: &[&str] = &["CARGO_MAKEFLAGS", "MAKEFLAGS", "MFLAGS"];

/// The variable with a build script's output directory.
pub(crate) const OUT_DIR: &str = "OUT_DIR";

/// Limit on the total size of a recorded build script's variables.
const VARIABLES_LEN_MAX_BYTES: usize = 256 * 1024;

/// Callers of the wrapper that add nothing to the call.
const CALLERS: &[&str] = &["cargo", "sccache", "cachepot", "ccache"];

/// One rustc call for a workspace crate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Recorded {
    /// The job sheet's common key.
    pub key: String,
    pub rustc: PathBuf,
    /// Its arguments, `@file` expanded.
    pub args: Vec<String>,
    pub directory: PathBuf,
    pub package_root: PathBuf,
    pub set: BTreeMap<String, String>,
    pub removed: Vec<String>,
    /// For each of these, the hash of the value devhost gave to cargo.
    pub before: BTreeMap<String, Option<String>>,
    /// Hash of the files from which cargo took the variables.
    pub manifests: String,
}

impl Recorded {
    /// Checks that it was made with the job sheet's settings and variables.
    pub(crate) fn is_of(&self, sheet: &JobSheet, name: &str) -> Result<(), Refusal> {
        if self.key != sheet.common_key {
            return Err(Refusal::OtherSettings(name.to_owned()));
        }
        let mut before = self.before.iter();
        if let Some((variable, _)) =
            before.find(|(variable, hash)| sheet.environment.get(*variable) != hash.as_ref())
        {
            return Err(Refusal::OtherVariable { name: name.to_owned(), variable: variable.clone() });
        }
        Ok(())
    }

    /// Whether cargo would still set the same values. It does not recompile a crate for variables the crate
    /// has not asked for.
    pub(crate) fn is_current(&self, sheet: &JobSheet) -> bool {
        sheet.manifests.get(&self.package_root).is_some_and(|hash| *hash == self.manifests)
    }

    pub(crate) fn call(&self) -> Call {
        let args: Vec<OsString> = self.args.iter().map(OsString::from).collect();
        Call::read(&args)
    }
}

/// Hashes the variables devhost gives to cargo.
pub(crate) fn fingerprint(variables: impl Iterator<Item = (OsString, OsString)>) -> BTreeMap<String, String> {
    variables.filter_map(|(name, value)| Some((name.into_string().ok()?, hash(&value)))).collect()
}

fn hash(value: &OsString) -> String {
    blake3::hash(value.as_encoded_bytes()).to_hex()[..32].to_owned()
}

/// The path of a call's record, by its output file.
pub(crate) fn path(target_dir: &Path, out_dir: &Path, stem: &str) -> PathBuf {
    let place = blake3::hash(out_dir.as_os_str().as_encoded_bytes()).to_hex();
    target_dir.join("calls").join(format!("{}-{stem}.json", &place[..8]))
}

/// Records the call this process was started for. Best effort: without a record there is no replay.
pub(crate) fn keep(rustc: &OsStr, args: &[OsString], call: &Call, sheet: &JobSheet) {
    let path = path(&sheet.target_dir, &call.out_dir, &call.stem());
    // Left by an earlier call.
    let _ = std::fs::remove_file(&path);
    if let Some(recorded) = is_cargos_own().then(|| record(rustc, args, sheet)).flatten() {
        let _ = documents::write(&path, &recorded);
    }
}

/// The path of a build script run's record, by its output directory.
pub(crate) fn script_path(target_dir: &Path, out_dir: &Path) -> PathBuf {
    let place = blake3::hash(out_dir.as_os_str().as_encoded_bytes()).to_hex();
    target_dir.join("scripts").join(format!("{}.json", &place[..16]))
}

/// Records how cargo runs a build script whose program is at `place`.
pub(crate) fn keep_script(place: &OsStr, args: &[OsString], sheet: &JobSheet) {
    let Some(out_dir) = std::env::var_os(OUT_DIR).map(PathBuf::from) else { return };
    let path = script_path(&sheet.target_dir, &out_dir);
    // Left by an earlier run.
    let _ = std::fs::remove_file(&path);
    let recorded = is_cargos_own().then(|| record(place, args, sheet)).flatten();
    let len = |recorded: &Recorded| recorded.set.values().map(String::len).sum::<usize>();
    if let Some(recorded) = recorded.filter(|recorded| len(recorded) <= VARIABLES_LEN_MAX_BYTES) {
        let _ = documents::write(&path, &recorded);
    }
}

/// Whether cargo itself or a compiler cache started this process. Any other wrapper of the user's may do
/// things around the call that a replay would leave out; one that becomes this process by `exec` has done its
/// part already.
fn is_cargos_own() -> bool {
    let parent = std::fs::read_link(format!("/proc/{}/exe", std::os::unix::process::parent_id()));
    let name = parent.ok().and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
    name.is_some_and(|name| CALLERS.contains(&name.as_str()))
}

fn record(rustc: &OsStr, args: &[OsString], sheet: &JobSheet) -> Option<Recorded> {
    let utf8 = args.iter().all(|arg| arg.to_str().is_some());
    let mut set = BTreeMap::new();
    let mut seen = Vec::new();
    for (name, value) in std::env::vars_os() {
        let name = name.into_string().ok()?;
        let same = sheet.environment.get(&name).is_some_and(|known| *known == hash(&value));
        if !same && !JOBSERVER.contains(&name.as_str()) {
            set.insert(name.clone(), value.into_string().ok()?);
        }
        seen.push(name);
    }
    let removed: Vec<String> =
        sheet.environment.keys().filter(|name| !seen.contains(name)).cloned().collect();
    let before = set.keys().chain(&removed);
    let before = before.map(|name| (name.clone(), sheet.environment.get(name).cloned())).collect();
    utf8.then_some(())?;
    let package_root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR")?);
    Some(Recorded {
        key: sheet.common_key.clone(),
        rustc: rustc.into(),
        args: expand(args),
        directory: std::env::current_dir().ok()?,
        manifests: sheet.manifests.get(&package_root).cloned().unwrap_or_default(),
        package_root,
        set,
        removed,
        before,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_kept_as_hashes() {
        let variables = [(OsString::from("TOKEN"), OsString::from("secret"))];
        let kept = fingerprint(variables.into_iter());
        assert_ne!(kept["TOKEN"], "secret");
        assert_eq!(kept["TOKEN"], hash(&"secret".into()));
    }

    #[test]
    fn calls_into_different_directories_have_different_records() {
        let of = |out_dir: &str| path(Path::new("/t"), Path::new(out_dir), "app-1f");
        assert_ne!(of("/t/debug/deps"), of("/t/x/debug/deps"));
    }
}
