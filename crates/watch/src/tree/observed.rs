//! Follows the places that the app has used: the files' contents like those of all others, and besides what is at each place at
//! all, where its links lead, and the names in listed directories.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use devhost_sys::content::Content;

use super::paths::below;
use super::state::{Extent, FirstLook, Role, Tree, Wanted};
use crate::classify::is_left_alone;
use crate::observed::Fresh;

/// How a file of an `SQLite` database begins (<https://www.sqlite.org/fileformat2.html>).
const SQLITE_START: &[u8] = b"SQLite format 3\0";

/// How many names of a listed directory are compared. In a larger one, only the first of them are.
const NAMES_COUNT_MAX: usize = 65_536;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Absent,
    File,
    Directory,
    Link(PathBuf),
    Other,
}

/// What is at a place, besides a file's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape {
    kind: Kind,
    /// The names in a listed directory.
    names: Option<BTreeSet<OsString>>,
}

impl Shape {
    fn of(place: &Path, is_listed: bool) -> Self {
        let kind = match fs::symlink_metadata(place) {
            Err(_) => Kind::Absent,
            Ok(metadata) if metadata.is_symlink() => Kind::Link(fs::read_link(place).unwrap_or_default()),
            Ok(metadata) if metadata.is_dir() => Kind::Directory,
            Ok(metadata) if metadata.is_file() => Kind::File,
            Ok(_) => Kind::Other,
        };
        Self { kind, names: is_listed.then(|| names_in(place)) }
    }
}

fn names_in(directory: &Path) -> BTreeSet<OsString> {
    let Ok(entries) = fs::read_dir(directory) else { return BTreeSet::new() };
    let names = entries.flatten().map(|entry| entry.file_name());
    names.filter(|name| !is_left_alone(name)).take(NAMES_COUNT_MAX).collect()
}

impl Tree {
    /// Follows what the app has used since the last call.
    pub(crate) fn follow_observed(&mut self) {
        let observer = Arc::clone(&self.observer);
        let (fresh, betrayed) = observer.take_news();
        for fresh in fresh {
            self.follow(fresh);
        }
        self.changed.extend(betrayed);
        let is_trusting = observer.is_trusted();
        if std::mem::replace(&mut self.is_trusting, is_trusting) != is_trusting {
            if is_trusting {
                self.forget_meaningless_files();
            } else {
                self.adopt(FirstLook::Old);
            }
        }
    }

    fn follow(&mut self, fresh: Fresh) {
        let Fresh { place, is_listed, was_there, first } = fresh;
        self.pass += 1;
        self.want_observed(&place);
        // Watch before looking, so that what changes in between is seen twice rather than never.
        self.watch_directory_of(&place);
        if is_listed {
            self.watch(&place, Extent::Named);
        }
        let shape = Shape::of(&place, is_listed);
        match shape.kind {
            Kind::Absent if was_there => {
                self.changed.insert(place.clone());
                self.appeared.insert(place.clone());
            }
            Kind::Directory if is_listed => self.find_new_in(&place, &shape, first),
            Kind::Directory if !was_there => {
                self.changed.insert(place.clone());
            }
            Kind::Absent | Kind::Directory | Kind::Other => {}
            Kind::File | Kind::Link(_) => self.look_at_file(&place, FirstLook::NewSince(first)),
        }
        self.shapes.insert(place, shape);
    }

    pub(super) fn want_observed(&mut self, place: &Path) {
        if let Some(wanted) = self.wanted.get_mut(place) {
            wanted.is_observed = true;
            return;
        }
        let named = self.named(place);
        let wanted = Wanted { named, own: None, role: Role::None, is_observed: true };
        self.wanted.insert(place.to_owned(), wanted);
    }

    /// Counts what has come into a directory since the app listed it.
    fn find_new_in(&mut self, directory: &Path, shape: &Shape, first: SystemTime) {
        for name in shape.names.iter().flatten() {
            let place = directory.join(name);
            if Content::notice(&place).is_newer_than(first) && place.is_file() {
                self.appeared.insert(place.clone());
                self.changed.insert(place);
            }
        }
    }

    /// Compares what is at a place that the app has used, below it and around it, with what was there.
    pub(super) fn look_at_shapes(&mut self, place: &Path) {
        let around = place.parent().filter(|directory| self.shapes.contains_key(*directory));
        let places: Vec<PathBuf> =
            around.map(Path::to_owned).into_iter().chain(below(&self.shapes, place).cloned()).collect();
        for place in places {
            self.look_at_shape(&place);
        }
    }

    pub(super) fn look_at_all_shapes(&mut self) {
        for place in self.shapes.keys().cloned().collect::<Vec<_>>() {
            self.look_at_shape(&place);
        }
    }

    fn look_at_shape(&mut self, place: &Path) {
        let Some(before) = self.shapes.get(place) else { return };
        let now = Shape::of(place, before.names.is_some());
        if *before == now {
            return;
        }
        let before = self.shapes.insert(place.to_owned(), now.clone()).unwrap_or_else(|| now.clone());
        if before.kind != now.kind {
            self.changed.insert(place.to_owned());
            self.appeared.insert(place.to_owned());
            if now.names.is_some() && now.kind == Kind::Directory {
                self.watch(place, Extent::Named);
            }
        }
        if let (Some(before), Some(now)) = (before.names, now.names) {
            for name in before.symmetric_difference(&now) {
                let place = place.join(name);
                self.appeared.insert(place.clone());
                self.changed.insert(place);
            }
        }
    }

    /// Returns true if names that come and go in the directory matter.
    pub(super) fn is_listed(&self, directory: &Path) -> bool {
        self.shapes.get(directory).is_some_and(|shape| shape.names.is_some())
    }
}

/// Returns true for the file of a database, whatever its name.
pub(super) fn is_database(place: &Path) -> bool {
    let mut start = [0; SQLITE_START.len()];
    let is_file = fs::metadata(place).is_ok_and(|metadata| metadata.is_file());
    is_file
        && fs::File::open(place).is_ok_and(|mut file| file.read_exact(&mut start).is_ok())
        && start == SQLITE_START
}
