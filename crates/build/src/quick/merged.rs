//! Objects merged into one. Sections keep their names, so the linker collects what nobody uses as before.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::object_file::unit_of;
use crate::known_file::{Identity, Known};

/// How many objects are merged into one at most. If one of them changes, all are linked one by one.
const MEMBERS_COUNT_MAX: usize = 32;

/// Fewer are not worth it.
const MEMBERS_COUNT_MIN: usize = 4;

/// Objects that were next to each other in rustc's list, merged in that order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Merged {
    pub file: Known,
    pub members: Vec<Identity>,
}

impl Merged {
    /// Whether the next objects are its members.
    pub(super) fn starts(&self, objects: &[(&str, Identity)]) -> bool {
        objects.len() >= self.members.len()
            && self.members.iter().zip(objects).all(|(member, (_, identity))| member == identity)
    }
}

/// Divides objects into runs to be merged, none with a unit in `changing`.
pub(super) fn runs<'o>(
    objects: &'o [(&'o str, Identity)],
    changing: &HashSet<&str>,
) -> Vec<&'o [(&'o str, Identity)]> {
    objects
        .split(|(path, _)| changing.contains(unit_of(path)))
        .flat_map(|run| run.chunks(MEMBERS_COUNT_MAX))
        .filter(|run| run.len() >= MEMBERS_COUNT_MIN)
        .collect()
}

/// Merges the members at `paths` in `directory`. Holds on to them there, under names of their own.
pub(super) fn merge(
    lld: &Path,
    directory: &Path,
    members: &[(&str, Identity)],
    paths: &HashMap<u64, PathBuf>,
) -> io::Result<Merged> {
    let members_held: Vec<PathBuf> =
        members.iter().map(|(_, identity)| hold(directory, *identity, paths)).collect::<io::Result<_>>()?;
    let file = directory.join(format!("{}.o", name_of(members)));
    let mut command = Command::new(lld);
    command.args(["-flavor", "gnu", "-r", "-o"]).arg(&file).args(members_held);
    super::cc::run_silently(&mut command)?;
    Ok(Merged { file: Known::new(&file)?, members: members.iter().map(|(_, identity)| *identity).collect() })
}

fn name_of(members: &[(&str, Identity)]) -> String {
    let mut hasher = blake3::Hasher::new();
    for (_, identity) in members {
        hasher.update(format!("{identity:?}").as_bytes());
    }
    format!("merged-{}", &hasher.finalize().to_hex()[..16])
}

/// The name by which an object is held.
pub(super) fn held(directory: &Path, identity: Identity) -> PathBuf {
    directory.join(format!("held-{}.o", identity.inode))
}

/// A hard link in `directory` to the object, made unless it is there.
pub(super) fn hold(
    directory: &Path,
    identity: Identity,
    paths: &HashMap<u64, PathBuf>,
) -> io::Result<PathBuf> {
    let held = held(directory, identity);
    if Identity::of(&held).is_ok_and(|there| there == identity) {
        return Ok(held);
    }
    let _ = std::fs::remove_file(&held);
    let path = paths.get(&identity.inode).ok_or(io::ErrorKind::NotFound)?;
    std::fs::hard_link(path, &held)?;
    if Identity::of(&held)? == identity { Ok(held) } else { Err(io::ErrorKind::NotFound.into()) }
}
