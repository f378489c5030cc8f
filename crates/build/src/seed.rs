//! The first start: takes over dependencies cargo has already built for the user, so that only the
//! workspace's own crates are compiled. The user's target directory is only read, and nothing can be written
//! through to it: only files that cargo and rustc replace, and never write into, are hard-linked; everything
//! else is copied.

use std::collections::{HashMap, HashSet};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::app::App;
use crate::paths::{entries, temporary_directory};

/// Limit on copying if hard links are impossible (another file system): more takes longer than it saves.
const COPIED_SIZE_MAX_BYTES: u64 = 2 << 30;

/// Whether there is anything to take over for a profile directory.
pub(crate) fn finds(app: &App, profile: &str) -> bool {
    sources(app, profile).any(|(from, to)| is_built(&from) && !to.exists())
}

/// Takes over what exists for a profile directory, unless it has been built already. Best effort: what is not
/// taken over is built.
pub(crate) fn seed(app: &App, profile: &str) {
    for (from, to) in sources(app, profile) {
        take_over(app, &from, &to, &temporary_directory(&app.target_dir));
    }
}

/// Where the user's and devhost's builds of a profile are.
fn sources(app: &App, profile: &str) -> impl Iterator<Item = (PathBuf, PathBuf)> {
    let user = &app.user_build_dir;
    let triples = entries(user).filter(|path| {
        // `x86_64-unknown-linux-gnu`, if a target is configured. `devhost` and others have directories here,
        // too.
        path.file_name().is_some_and(|name| name.to_string_lossy().matches('-').count() >= 2)
    });
    std::iter::once(user.clone()).chain(triples).filter_map(move |from| {
        let to = app.target_dir.join(from.strip_prefix(user).ok()?).join(profile);
        let from = from.join(profile);
        (!from.starts_with(&app.target_dir)).then_some((from, to))
    })
}

fn is_built(directory: &Path) -> bool {
    directory.join(".fingerprint").is_dir()
}

/// Copies the app's built dependencies from one of cargo's target directories to another. Both paths include
/// the profile's directory. Best effort: what cannot be copied will be built.
pub fn take_over_dependencies(app: &App, from: &Path, to: &Path) {
    take_over(app, from, to, &to.with_file_name("tmp"));
}

/// Takes over one profile directory as another, unless that exists. `temporary` is on its file system.
pub(crate) fn take_over(app: &App, from: &Path, to: &Path, temporary: &Path) {
    if !to.exists()
        && is_built(from)
        && let Err(error) = Seeding::run(app, from, to, temporary)
    {
        tracing::debug!("nothing taken over from {}: {error}", from.display());
    }
}

struct Seeding<'a> {
    app: &'a App,
    from: &'a Path,
    /// Next to the destination, so that a rename works.
    scratch: PathBuf,
    /// The copies of files with several hard links, by device and inode.
    copies: HashMap<(u64, u64), PathBuf>,
    copied_bytes: u64,
}

impl Seeding<'_> {
    fn run(app: &App, from: &Path, to: &Path, temporary: &Path) -> io::Result<()> {
        std::fs::create_dir_all(temporary)?;
        let scratch = tempfile::Builder::new().prefix("seed-").tempdir_in(temporary)?;
        let mut seeding = Seeding {
            app,
            from,
            scratch: scratch.path().to_owned(),
            copies: HashMap::new(),
            copied_bytes: 0,
        };
        // A running cargo invalidates a fingerprint before it builds and renews it afterwards. So
        // fingerprints come first, and those changed since are dropped.
        let fingerprints = seeding.take_fingerprints()?;
        seeding.take_build_scripts()?;
        seeding.take_libraries()?;
        for (original, metadata, copy) in fingerprints {
            let same = std::fs::metadata(&original).is_ok_and(|now| {
                now.mtime_nsec() == metadata.mtime_nsec() && now.mtime() == metadata.mtime()
            });
            if !same && let Some(unit) = copy.parent() {
                let _ = std::fs::remove_dir_all(unit);
            }
        }
        if let Some(parent) = to.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::rename(scratch.path(), to)
    }

    /// The directories of dependencies: `NAME-HASH`.
    fn units(&self, kind: &str) -> impl Iterator<Item = PathBuf> + use<> {
        let names: HashSet<String> = self.app.dependencies.keys().cloned().collect();
        entries(&self.from.join(kind)).filter(move |path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.rsplit_once('-').is_some_and(|(name, _)| names.contains(name))
        })
    }

    fn take_fingerprints(&mut self) -> io::Result<Vec<(PathBuf, Metadata, PathBuf)>> {
        let mut taken = Vec::new();
        for unit in self.units(".fingerprint") {
            for file in entries(&unit) {
                let metadata = std::fs::metadata(&file)?;
                if metadata.is_file() {
                    let copy = self.place(&file)?;
                    self.copy(&file, &metadata, &copy)?;
                    taken.push((file, metadata, copy));
                }
            }
        }
        Ok(taken)
    }

    /// Takes build scripts and their output, which is copied: they may write to it again.
    fn take_build_scripts(&mut self) -> io::Result<()> {
        let mut queue: Vec<PathBuf> = self.units("build").collect();
        while let Some(path) = queue.pop() {
            let metadata = std::fs::symlink_metadata(&path)?;
            let place = self.place(&path)?;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // cargo removes the program before linking it anew.
            let is_program = (name.starts_with("build-script-") || name.starts_with("build_script_"))
                && path.extension().is_none();
            if metadata.is_symlink() {
                std::os::unix::fs::symlink(std::fs::read_link(&path)?, place)?;
            } else if metadata.is_dir() {
                std::fs::create_dir_all(place)?;
                queue.extend(entries(&path));
            } else if is_program {
                self.link(&path, &metadata, &place)?;
            } else if metadata.is_file() {
                self.copy(&path, &metadata, &place)?;
            }
        }
        Ok(())
    }

    fn take_libraries(&mut self) -> io::Result<()> {
        let crates: HashSet<&String> = self.app.dependencies.values().collect();
        std::fs::create_dir_all(self.scratch.join("deps"))?;
        for file in entries(&self.from.join("deps")) {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Some((stem, ending)) = name.rsplit_once('.') else { continue };
            let stem = if ending == "d" { Some(stem) } else { stem.strip_prefix("lib") };
            let Some((crate_name, _)) = stem.and_then(|stem| stem.rsplit_once('-')) else { continue };
            if !crates.iter().any(|known| known.as_str() == crate_name) {
                continue;
            }
            let metadata = std::fs::metadata(&file)?;
            let place = self.place(&file)?;
            match ending {
                // rustc writes these elsewhere and renames them.
                "rlib" | "rmeta" => self.link(&file, &metadata, &place)?,
                // A linker may write into an existing file.
                "so" | "d" => self.copy(&file, &metadata, &place)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// The destination of a file, with its directory created.
    fn place(&self, path: &Path) -> io::Result<PathBuf> {
        let place = self.scratch.join(path.strip_prefix(self.from).map_err(io::Error::other)?);
        if let Some(parent) = place.parent() {
            std::fs::create_dir_all(parent)?;
        }
        Ok(place)
    }

    fn link(&mut self, file: &Path, metadata: &Metadata, place: &Path) -> io::Result<()> {
        std::fs::hard_link(file, place).or_else(|_| self.copy(file, metadata, place))
    }

    /// Copies a file with its modification time, which cargo compares.
    fn copy(&mut self, file: &Path, metadata: &Metadata, place: &Path) -> io::Result<()> {
        let inode = (metadata.dev(), metadata.ino());
        if metadata.nlink() > 1
            && let Some(copy) = self.copies.get(&inode)
        {
            return std::fs::hard_link(copy, place);
        }
        self.copied_bytes += metadata.len();
        if self.copied_bytes > COPIED_SIZE_MAX_BYTES {
            return Err(io::Error::other("there is too much to copy"));
        }
        std::fs::copy(file, place)?;
        File::options().append(true).open(place)?.set_modified(metadata.modified()?)?;
        self.copies.insert(inode, place.to_owned());
        Ok(())
    }
}
