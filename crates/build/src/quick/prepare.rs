//! Makes the plan for the next link, after a build and at the lowest priority. The next build ends it.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::cc;
use super::driver::{in_directory, repeat};
use super::early;
use super::last::{How, Last};
use super::merged::{self, Merged};
use super::object_file::unit_of;
use super::plan::{Plan, Stubbed};
use super::shape::Shape;
use super::stub;
use crate::documents;
use crate::known_file::{Identity, Known};
use crate::paths::entries;

/// The name under which devhost runs it.
pub(crate) const NAME: &str = "devhost-link-ahead";

/// For how many links an object that has changed is not merged: it may well change again.
const CHANGED_LINKS_COUNT: usize = 8;

const SCRATCH_PREFIX: &str = "making-";

/// Makes the plan in the directory in `args`. Silent: without a plan the next link is an ordinary one.
pub(crate) fn main(args: &[OsString]) -> ExitCode {
    in_directory(args, prepare)
}

fn prepare(directory: &Path) -> Option<()> {
    let last: Last = documents::read(&Last::path(directory))?;
    let old = documents::read::<Plan>(&Plan::path(directory)).filter(|old| old.is_of(&last.key));
    let mut plan = match old {
        Some(Plan { refused: Some(_), .. }) => return None,
        Some(old) => old,
        None => begin(&last, directory)?,
    };
    // The library that the last link has made: an ordinary link, or one that was as good.
    let shape = Shape::of(&last.directory.join(&last.line.output))?;
    plan.refused = if last.how == (How::Ordinarily { said: true }) {
        Some("the linker says something, which must not be lost".to_owned())
    } else {
        note_changes(&mut plan, &last);
        let paths = objects_in(&last.incremental);
        plan.stubs = make_stubs(&plan, &last.line.output, directory, &shape.used()).ok()?;
        plan.merged = merge(&plan, &last, directory, &paths).ok()?;
        let is_same = try_out(&plan, &last, directory, &paths).is_some_and(|made| made == shape);
        (!is_same).then(|| "it makes another library than the ordinary link".to_owned())
    };
    documents::write(&Plan::path(directory), &plan).ok()?;
    remove_unused(&plan, directory);
    Some(())
}

/// A plan that only has the arguments.
fn begin(last: &Last, directory: &Path) -> Option<Plan> {
    let lld = cc::lld_of(&last.line)?;
    let compiler = cc::program_of(last.linker.as_os_str())?;
    let scratch = tempfile::Builder::new().prefix(SCRATCH_PREFIX).tempdir_in(directory).ok()?;
    let args = cc::lld_arguments(&last.line, &last.linker, &last.directory, scratch.path())?;
    Some(Plan {
        key: last.key.clone(),
        refused: None,
        lld: Known::new(&lld).ok()?,
        compiler: Known::new(&compiler).ok()?,
        args,
        stubs: Vec::new(),
        merged: Vec::new(),
        units: HashMap::new(),
        changed: Vec::new(),
    })
}

/// Notes which codegen units differ from those of the link before.
fn note_changes(plan: &mut Plan, last: &Last) {
    let units: HashMap<String, Identity> =
        with_identities(last).map(|(path, identity)| (unit_of(path).to_owned(), identity)).collect();
    let known = std::mem::replace(&mut plan.units, units);
    if !known.is_empty() {
        let changed = plan.units.iter().filter(|(unit, identity)| known.get(*unit) != Some(identity));
        plan.changed.push(changed.map(|(unit, _)| unit.clone()).collect());
        let excess = plan.changed.len().saturating_sub(CHANGED_LINKS_COUNT);
        plan.changed.drain(..excess);
    }
}

fn with_identities(last: &Last) -> impl Iterator<Item = (&str, Identity)> {
    last.line.objects.iter().map(String::as_str).zip(last.objects.iter().copied())
}

/// Where the objects of the last call are now, by inode.
fn objects_in(incremental: &Path) -> HashMap<u64, PathBuf> {
    let sessions = entries(incremental).flat_map(|of_crate| entries(&of_crate).collect::<Vec<_>>());
    let mut paths = HashMap::new();
    for session in sessions.filter(|path| path.is_dir()) {
        let files = std::fs::read_dir(session).into_iter().flatten().flatten();
        let objects = files.filter(|file| file.path().extension().is_some_and(|extension| extension == "o"));
        paths.extend(objects.map(|file| (file.ino(), file.path())));
    }
    paths
}

/// Makes stubs of the shared libraries that lld is given by path, where that is possible.
fn make_stubs(
    plan: &Plan,
    output: &str,
    directory: &Path,
    used: &HashSet<Vec<u8>>,
) -> io::Result<Vec<Stubbed>> {
    let libraries = plan.args.iter().filter(|arg| *arg != output).map(Path::new);
    let is_one = |path: &&Path| path.is_absolute() && path.extension().is_some_and(|kind| kind == "so");
    let mut stubs = Vec::new();
    for library in libraries.filter(is_one) {
        let known = Known::new(library)?;
        let Some(bytes) = stub::make(library, used) else { continue };
        let place = directory.join(format!("stub-{}", &blake3::hash(&bytes).to_hex()[..16]));
        let path = place.join(library.file_name().unwrap_or_default());
        if std::fs::read(&path).ok().as_ref() != Some(&bytes) {
            std::fs::create_dir_all(&place)?;
            std::fs::write(&path, bytes)?;
        }
        if known.is_unchanged() {
            stubs.push(Stubbed { library: known, stub: Known::new(&path)? });
        }
    }
    Ok(stubs)
}

/// Merges what has not changed of late. Keeps what was merged before and still is in the list.
fn merge(
    plan: &Plan,
    last: &Last,
    directory: &Path,
    paths: &HashMap<u64, PathBuf>,
) -> io::Result<Vec<Merged>> {
    let changing: HashSet<&str> = plan.changed.iter().flatten().map(String::as_str).collect();
    let objects: Vec<(&str, Identity)> = with_identities(last).collect();
    let runs = merged::runs(&objects, &changing);
    let kept = |run: &[(&str, Identity)]| {
        let mut merged = plan.merged.iter().filter(|merged| merged.members.len() == run.len());
        merged.find(|merged| merged.starts(run) && merged.file.is_unchanged()).cloned()
    };
    runs.into_iter()
        .map(|run| match kept(run) {
            Some(merged) => Ok(merged),
            None => merged::merge(&plan.lld.path, directory, run, paths),
        })
        .collect()
}

/// Makes the last link again by the plan. Returns what comes of it.
fn try_out(plan: &Plan, last: &Last, directory: &Path, paths: &HashMap<u64, PathBuf>) -> Option<Shape> {
    let scratch = tempfile::Builder::new().prefix(SCRATCH_PREFIX).tempdir_in(directory).ok()?;
    let held: Vec<PathBuf> = last
        .objects
        .iter()
        .map(|identity| merged::hold(scratch.path(), *identity, paths).ok())
        .collect::<Option<_>>()?;
    let held: Vec<&str> = held.iter().map(|path| path.to_str()).collect::<Option<_>>()?;
    let objects: Vec<(&str, Identity)> = held.into_iter().zip(last.objects.iter().copied()).collect();
    let made = scratch.path().join("made.so");
    repeat(plan, last, directory, &objects, &made, scratch.path())?;
    Shape::of(&made)
}

/// Removes what earlier plans have left, and what was left by a `prepare` that was ended.
fn remove_unused(plan: &Plan, directory: &Path) {
    let merged = plan.merged.iter();
    let mut used: HashSet<PathBuf> = merged.clone().map(|merged| merged.file.path.clone()).collect();
    used.extend(merged.flat_map(|merged| &merged.members).map(|member| merged::held(directory, *member)));
    used.extend(plan.stubs.iter().filter_map(|stub| Some(stub.stub.path.parent()?.to_owned())));
    used.extend([Plan::path(directory), Last::path(directory), Last::kept(directory)]);
    used.extend(early::lasting(directory));
    for path in entries(directory).filter(|path| !used.contains(path)) {
        let _ = std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir_all(&path));
    }
}
