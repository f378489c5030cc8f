//! Whether the sources of a program that cargo has built are those that it was built from. cargo compares modification times; this is
//! stricter, as nothing may serve old code: a file that was put in its place, or that a macro may find beside another, counts as changed
//! whatever its modification time is. What cannot be proved is not so.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::dep_info;
use crate::file_times::{CLOCK_LAG_MAX, changed, modified, status_changed};
use crate::paths::entries;

/// How many files a directory with sources may have. Looking at more takes too long.
const ENTRIES_COUNT_MAX: usize = 10_000;

/// A crate that cargo has compiled.
#[derive(Debug)]
pub(crate) struct Compiled {
    /// rustc's list of its sources.
    pub(crate) dep_info: PathBuf,
    /// The file that cargo has written right before it called rustc.
    pub(crate) invoked: PathBuf,
}

/// Why the sources cannot be taken for those of the program.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Doubt {
    #[error("it is not known when {} was compiled", .0.display())]
    Unknown(PathBuf),
    #[error("{} has changed since, or is gone", .0.display())]
    Changed(PathBuf),
    #[error("{} is new beside the sources", .0.display())]
    New(PathBuf),
    #[error("{} was put in its place since", .0.display())]
    Moved(PathBuf),
    #[error("{} has too many files", .0.display())]
    Many(PathBuf),
}

impl Compiled {
    /// Returns its sources if they are still what rustc read.
    ///
    /// # Errors
    /// That is not certain.
    pub(crate) fn sources(&self, workspace_root: &Path) -> Result<Vec<PathBuf>, Doubt> {
        let unknown = || Doubt::Unknown(self.dep_info.clone());
        let invoked = modified(&std::fs::metadata(&self.invoked).map_err(|_| unknown())?);
        let time = invoked.checked_sub(CLOCK_LAG_MAX).ok_or_else(unknown)?;
        let sources = dep_info::read_sources(&self.dep_info, workspace_root);
        if sources.is_empty() {
            return Err(unknown());
        }
        let mut kinds: BTreeMap<&Path, BTreeSet<Option<&OsStr>>> = BTreeMap::new();
        for source in &sources {
            let is_old = |metadata: Metadata| changed(&metadata) < time;
            // The name may lead elsewhere by now.
            let link = std::fs::symlink_metadata(source);
            if !link.is_ok_and(is_old) || !std::fs::metadata(source).is_ok_and(is_old) {
                return Err(Doubt::Changed(source.clone()));
            }
            if let Some(directory) = source.parent() {
                kinds.entry(directory).or_default().insert(source.extension());
            }
        }
        for (directory, extensions) in kinds {
            look_around(directory, &extensions, &sources, time)?;
        }
        Ok(sources)
    }
}

/// Looks for new files that rustc or a macro may take for sources.
fn look_around(
    directory: &Path,
    extensions: &BTreeSet<Option<&OsStr>>,
    sources: &[PathBuf],
    time: SystemTime,
) -> Result<(), Doubt> {
    let itself = std::fs::metadata(directory).map_err(|_| Doubt::Changed(directory.to_owned()))?;
    if is_moved(&itself, time) {
        return Err(Doubt::Moved(directory.to_owned()));
    }
    let mut count = 0;
    for path in entries(directory) {
        count += 1;
        if count > ENTRIES_COUNT_MAX {
            return Err(Doubt::Many(directory.to_owned()));
        }
        let name: OsString = path.file_name().unwrap_or_default().into();
        let is_alike = extensions.contains(&path.extension()) && !name.as_encoded_bytes().starts_with(b".");
        if !is_alike || sources.binary_search(&path).is_ok() {
            continue;
        }
        let is_new = std::fs::symlink_metadata(&path)
            .is_ok_and(|metadata| !metadata.is_dir() && changed(&metadata) >= time);
        if is_new {
            return Err(Doubt::New(path));
        }
    }
    Ok(())
}

/// Whether a directory was renamed: that changes its status, but not when it was last written.
fn is_moved(metadata: &Metadata, time: SystemTime) -> bool {
    let is_written = (metadata.ctime(), metadata.ctime_nsec()) == (metadata.mtime(), metadata.mtime_nsec());
    status_changed(metadata) >= time && !is_written
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::Duration;

    use super::*;

    struct Crate {
        dir: tempfile::TempDir,
    }

    impl Crate {
        /// One that was compiled a while after its sources were written.
        fn new() -> Self {
            let one = Self { dir: tempfile::tempdir().unwrap() };
            std::fs::create_dir(one.path("src")).unwrap();
            std::fs::create_dir(one.path("migrations")).unwrap();
            for source in ["src/main.rs", "src/part.rs", "migrations/1.sql", "README.md"] {
                std::fs::write(one.path(source), source).unwrap();
            }
            let list = "app: src/main.rs src/part.rs migrations/1.sql README.md\n";
            std::fs::write(one.path("app.d"), list).unwrap();
            one.compile();
            one
        }

        fn compile(&self) {
            let invoked = File::create(self.path("invoked")).unwrap();
            invoked.set_modified(SystemTime::now() + 2 * CLOCK_LAG_MAX).unwrap();
            std::thread::sleep(3 * CLOCK_LAG_MAX);
        }

        fn path(&self, relative: &str) -> PathBuf {
            self.dir.path().join(relative)
        }

        fn look(&self) -> Result<Vec<PathBuf>, Doubt> {
            Compiled { dep_info: self.path("app.d"), invoked: self.path("invoked") }.sources(self.dir.path())
        }
    }

    #[test]
    fn sources_that_were_left_alone_are_proved() {
        let one = Crate::new();
        assert_eq!(one.look().map(|sources| sources.len()), Ok(4));
        // An editor's swap file, and what no macro has read, say nothing.
        std::fs::write(one.path("src/.main.rs.swp"), "").unwrap();
        std::fs::write(one.path("src/.#main.rs"), "").unwrap();
        std::fs::write(one.path("notes.txt"), "").unwrap();
        assert_eq!(one.look().map(|sources| sources.len()), Ok(4));
    }

    #[test]
    fn an_edit_counts_whatever_its_time_is() {
        let one = Crate::new();
        std::fs::write(one.path("src/part.rs"), "edited").unwrap();
        assert_eq!(one.look(), Err(Doubt::Changed(one.path("src/part.rs"))));
        let hour = Duration::from_secs(3600);
        let file = File::options().append(true).open(one.path("src/part.rs")).unwrap();
        file.set_modified(SystemTime::now() - hour).unwrap();
        assert_eq!(one.look(), Err(Doubt::Changed(one.path("src/part.rs"))), "as of a backup");
        std::fs::remove_file(one.path("src/part.rs")).unwrap();
        assert_eq!(one.look(), Err(Doubt::Changed(one.path("src/part.rs"))));
    }

    #[test]
    fn an_older_file_in_the_place_of_a_source_counts() {
        let one = Crate::new();
        std::fs::write(one.path("backup"), "older").unwrap();
        one.compile();
        std::fs::rename(one.path("backup"), one.path("src/main.rs")).unwrap();
        assert_eq!(one.look(), Err(Doubt::Changed(one.path("src/main.rs"))));
    }

    #[test]
    fn a_link_that_leads_elsewhere_counts() {
        let one = Crate::new();
        std::fs::write(one.path("other.txt"), "other").unwrap();
        one.compile();
        std::fs::remove_file(one.path("README.md")).unwrap();
        std::os::unix::fs::symlink(one.path("other.txt"), one.path("README.md")).unwrap();
        assert_eq!(one.look(), Err(Doubt::Changed(one.path("README.md"))));
    }

    #[test]
    fn a_directory_in_the_place_of_another_counts() {
        let one = Crate::new();
        std::fs::create_dir(one.path("other")).unwrap();
        for name in ["main.rs", "part.rs"] {
            std::fs::write(one.path("other").join(name), "other").unwrap();
        }
        one.compile();
        std::fs::rename(one.path("src"), one.path("away")).unwrap();
        std::fs::rename(one.path("other"), one.path("src")).unwrap();
        assert_eq!(one.look(), Err(Doubt::Moved(one.path("src"))));
    }

    #[test]
    fn a_new_file_that_a_macro_may_find_counts() {
        let one = Crate::new();
        std::fs::write(one.path("migrations/2.sql"), "").unwrap();
        assert_eq!(one.look(), Err(Doubt::New(one.path("migrations/2.sql"))));
        std::fs::remove_file(one.path("migrations/2.sql")).unwrap();
        std::fs::write(one.path("src/new.rs"), "").unwrap();
        assert_eq!(one.look(), Err(Doubt::New(one.path("src/new.rs"))));
    }

    #[test]
    fn without_a_list_or_a_time_nothing_is_proved() {
        let one = Crate::new();
        std::fs::remove_file(one.path("invoked")).unwrap();
        assert_eq!(one.look(), Err(Doubt::Unknown(one.path("app.d"))));
        one.compile();
        std::fs::write(one.path("app.d"), "").unwrap();
        assert_eq!(one.look(), Err(Doubt::Unknown(one.path("app.d"))));
    }
}
