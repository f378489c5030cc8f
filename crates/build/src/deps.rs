//! The library of dependencies: one dylib of everything the app uses and a developer does not edit. It is
//! linked once, and loaded once, in the zygote. Its name contains a hash of its ingredients, so an existing
//! one is right and never rewritten. If the dependencies cannot be shared, an empty rlib takes its place and
//! the app is linked statically.
#![expect(clippy::print_stderr, reason = "rustc and cargo pass on to the builder what the wrapper writes")]

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::call::Call;
use crate::documents;
use crate::helper_error::{HelperError, Unshareable};
use crate::inspector::{self, Inspector, list_symbols};
use crate::job_sheet::PROGRESS_MARK;
use crate::job_sheet::{Exclusion, JobSheet};
use crate::linker::{REAL_LINKER_VARIABLE, TAKE_ALL_VARIABLE};
use crate::settings::Deps;

/// The crate's name; `devhost_plugin::export!` says `extern crate devhost_deps`.
pub(crate) const CRATE_NAME: &str = "devhost_deps";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Linkage {
    /// Against the library of dependencies and the shared standard library.
    Shared {
        /// `libstd-HASH.so`.
        std: PathBuf,
        /// `libdevhost_deps-HASH.so`.
        dylib: PathBuf,
        /// The file that switches these dependencies to [`Linkage::Static`].
        static_marker: PathBuf,
        /// The file that makes [`crate::linker`] link the app, too.
        relink_marker: PathBuf,
        /// The file that lists what to keep out of the dylib.
        exclusion_path: PathBuf,
        exclusion: Option<Exclusion>,
    },
    /// Everything is in the app's own library.
    Static {
        /// An empty crate, for `extern crate devhost_deps`.
        rlib: PathBuf,
        reason: Option<String>,
        static_marker: PathBuf,
    },
}

impl Linkage {
    pub(crate) fn library(&self) -> &Path {
        match self {
            Self::Shared { dylib, .. } => dylib,
            Self::Static { rlib, .. } => rlib,
        }
    }

    pub(crate) fn preload(&self) -> Vec<PathBuf> {
        match self {
            Self::Shared { std, dylib, .. } => vec![std.clone(), dylib.clone()],
            Self::Static { .. } => Vec::new(),
        }
    }

    pub(crate) fn static_marker(&self) -> &Path {
        match self {
            Self::Shared { static_marker, .. } | Self::Static { static_marker, .. } => static_marker,
        }
    }

    /// The file that makes devhost's linker link the app. `None` if that is done already.
    pub(crate) fn relink_marker(&self) -> Option<PathBuf> {
        match self {
            Self::Shared { relink_marker, .. } if !relink_marker.is_file() => Some(relink_marker.clone()),
            _ => None,
        }
    }

    pub(crate) fn is_relinked(&self) -> bool {
        matches!(self, Self::Shared { relink_marker, .. } if relink_marker.is_file())
    }

    /// The file that lists what to keep out of the library. `None` if that is done already.
    pub(crate) fn exclusion(&self) -> Option<PathBuf> {
        match self {
            Self::Shared { exclusion_path, exclusion: None, .. } => Some(exclusion_path.clone()),
            _ => None,
        }
    }

    pub(crate) fn notes(&self) -> Vec<String> {
        match self {
            Self::Shared { exclusion, .. } => {
                exclusion.iter().map(|exclusion| exclusion.reason.clone()).collect()
            }
            Self::Static { reason, .. } => reason
                .iter()
                .map(|reason| {
                    format!("dependencies are linked into the app, which makes a reload slower: {reason}")
                })
                .collect(),
        }
    }
}

/// Written last, so it proves that the library next to it is complete.
#[derive(Debug, Serialize, Deserialize)]
struct Completed {
    std: PathBuf,
}

pub(crate) fn directory(target_dir: &Path) -> PathBuf {
    target_dir.join("preload")
}

/// Finds or makes the library for a call of the app.
pub(crate) fn provide(
    rustc: &OsStr,
    call: &Call,
    sheet: &JobSheet,
    libraries: &[PathBuf],
) -> Result<Linkage, HelperError> {
    let directory = directory(&sheet.target_dir);
    std::fs::create_dir_all(&directory)
        .map_err(|error| HelperError::io(format!("create {}", directory.display()), error))?;
    let mut hash = hash_of(rustc, call, sheet, libraries)?;
    let exclusion_path = directory.join(format!("{hash}.without"));
    let exclusion: Option<Exclusion> = documents::read(&exclusion_path);
    let mut libraries = libraries.to_vec();
    if let Some(exclusion) = &exclusion {
        libraries.retain(|library| !exclusion.libraries.contains(library));
        hash = hash_of(rustc, call, sheet, &libraries)?;
    }
    let recipe = Recipe { rustc, call, sheet, directory: &directory, hash };
    let static_marker = directory.join(format!("{}.static", recipe.hash));
    let relink_marker = directory.join(format!("{}.relink", recipe.hash));
    let lock = lock(&directory)?;
    if sheet.deps == Deps::Static {
        return Ok(Linkage::Static { rlib: recipe.rlib()?, reason: None, static_marker });
    }
    let reason = std::fs::read_to_string(&static_marker).ok().or_else(|| reason_to_be_static(call));
    let shared = match reason {
        Some(reason) => Err(Unshareable(reason)),
        None => recipe.dylib(&libraries)?,
    };
    let linkage = match shared {
        Ok((std, dylib)) => {
            Linkage::Shared { std, dylib, static_marker, relink_marker, exclusion_path, exclusion }
        }
        Err(reason) if sheet.deps == Deps::Shared => {
            return Err(HelperError::MustBeShared(reason));
        }
        Err(reason) => {
            // Saves the next build from finding out again.
            let _ = std::fs::write(&static_marker, &reason.0);
            Linkage::Static { rlib: recipe.rlib()?, reason: Some(reason.0), static_marker }
        }
    };
    drop(lock);
    Ok(linkage)
}

/// Why the profile or the flags rule out a shared standard library.
fn reason_to_be_static(call: &Call) -> Option<String> {
    if call.codegen("panic") == Some("abort") {
        return Some("the profile says panic = \"abort\", and the shared standard library unwinds".into());
    }
    if call.codegen("lto").is_some_and(|lto| !["off", "no", "n", "false"].contains(&lto)) {
        return Some("link-time optimization does not work with shared libraries".into());
    }
    let static_runtime = call
        .codegen
        .iter()
        .filter_map(|option| option.strip_prefix("target-feature="))
        .any(|features| features.split(',').any(|feature| feature == "+crt-static"));
    static_runtime.then(|| "the target feature crt-static is set".into())
}

/// Serializes builders of the same target directory; released on close.
fn lock(directory: &Path) -> Result<File, HelperError> {
    let path = directory.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    file.and_then(|file| file.lock().map(|()| file))
        .map_err(|error| HelperError::io(format!("lock {}", path.display()), error))
}

/// Covers everything that determines the library's contents. cargo names a dependency's file after its
/// version, features, flags and rustc, and rewrites it if anything below it changes.
fn hash_of(
    rustc: &OsStr,
    call: &Call,
    sheet: &JobSheet,
    libraries: &[PathBuf],
) -> Result<String, HelperError> {
    let mut hasher = blake3::Hasher::new();
    let mut put = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    put(sheet.tool.as_bytes());
    put(rustc.as_encoded_bytes());
    put(std::env::var_os("RUSTUP_TOOLCHAIN").unwrap_or_default().as_encoded_bytes());
    for flag in flags(call) {
        put(flag.as_bytes());
    }
    put(call.codegen("panic").unwrap_or_default().as_bytes());
    for library in libraries {
        let metadata = std::fs::metadata(library)
            .map_err(|error| HelperError::io(format!("read {}", library.display()), error))?;
        put(library.as_os_str().as_encoded_bytes());
        put(&metadata.len().to_le_bytes());
        put(&metadata.mtime().to_le_bytes());
        put(&metadata.mtime_nsec().to_le_bytes());
    }
    Ok(hasher.finalize().to_hex()[..16].to_owned())
}

/// Flags of the app's call that also concern the library.
fn flags(call: &Call) -> Vec<String> {
    let mut flags = Vec::new();
    for path in &call.search {
        flags.extend(["-L".into(), path.clone()]);
    }
    flags.extend(call.target.iter().flat_map(|target| ["--target".into(), target.clone()]));
    flags.extend(call.sysroot.iter().flat_map(|sysroot| ["--sysroot".into(), sysroot.clone()]));
    flags.extend(call.unstable.iter().flat_map(|option| ["-Z".into(), option.clone()]));
    let shared = [
        "link-arg",
        "link-args",
        "linker-flavor",
        "opt-level",
        "target-cpu",
        "target-feature",
        "relocation-model",
        "link-self-contained",
    ];
    flags.extend(
        call.codegen
            .iter()
            .filter(|option| shared.contains(&option.split('=').next().unwrap_or_default()))
            .flat_map(|option| ["-C".into(), option.clone()]),
    );
    flags
}

struct Recipe<'a> {
    rustc: &'a OsStr,
    call: &'a Call,
    sheet: &'a JobSheet,
    directory: &'a Path,
    hash: String,
}

impl Recipe<'_> {
    /// The dylibs of the standard library and the dependencies, or why there can be none.
    fn dylib(&self, libraries: &[PathBuf]) -> Result<Result<(PathBuf, PathBuf), Unshareable>, HelperError> {
        let name = format!("lib{CRATE_NAME}-{}.so", self.hash);
        let dylib = self.directory.join(&name);
        let completed = self.directory.join(format!("lib{CRATE_NAME}-{}.json", self.hash));
        if let Some(Completed { std }) = documents::read(&completed)
            && std.is_file()
            && dylib.is_file()
        {
            // The most recently used ones are kept.
            let _ = File::options()
                .append(true)
                .open(&completed)
                .and_then(|file| file.set_modified(std::time::SystemTime::now()));
            return Ok(Ok((std, dylib)));
        }
        eprintln!("{PROGRESS_MARK}{} dependencies into one shared library", libraries.len());
        let std = match self.find_std()? {
            Ok(std) => std,
            Err(reason) => return Ok(Err(reason)),
        };
        // C code that only the app refers to must be in the library, so all of it is included. If some of it
        // refers to missing symbols (code for another system, say), only what the library refers to is
        // included.
        let mut unresolved = Vec::new();
        for take_all in [true, false] {
            let scratch = self.scratch()?;
            if let Err(refusal) =
                run(self.dylib_command(&name, libraries, scratch.path(), take_all), &source(libraries))?
            {
                return Ok(Err(refusal));
            }
            let made = scratch.path().join(&name);
            if inspector::brings_allocator(&made) {
                return Ok(Err(Unshareable("a dependency brings a #[global_allocator] of its own".into())));
            }
            unresolved = Inspector::default().unresolved_of(&made, &std)?;
            if unresolved.is_empty() {
                self.keep(&scratch, &name)?;
                documents::write(&completed, &Completed { std: std.clone() })
                    .map_err(|error| HelperError::io(format!("write {}", completed.display()), error))?;
                return Ok(Ok((std, dylib)));
            }
        }
        Ok(Err(Unshareable(format!(
            "the shared library of dependencies would need {}, which nothing has",
            list_symbols(&unresolved)
        ))))
    }

    fn dylib_command(&self, name: &str, libraries: &[PathBuf], out_dir: &Path, take_all: bool) -> Command {
        let mut command = self.command("dylib", out_dir);
        command.args([
            "-C",
            "prefer-dynamic",
            "-C",
            "debuginfo=0",
            "-C",
            "strip=debuginfo",
            "-C",
            "rpath=no",
        ]);
        command.args(["-C", &format!("link-arg=-Wl,-soname={name}")]);
        let mut linker = OsString::from("linker=");
        linker.push(&self.sheet.linker);
        command.arg("-C").arg(linker);
        command.env(REAL_LINKER_VARIABLE, self.call.codegen("linker").unwrap_or("cc"));
        if take_all {
            command.env(TAKE_ALL_VARIABLE, "1");
        }
        for (number, library) in libraries.iter().enumerate() {
            let mut given = OsString::from(format!("dependency_{number}="));
            given.push(library);
            command.arg("--extern").arg(given);
        }
        command
    }

    /// An empty crate of the library's name.
    fn rlib(&self) -> Result<PathBuf, HelperError> {
        let name = format!("lib{CRATE_NAME}-{}.rlib", self.hash);
        let rlib = self.directory.join(&name);
        if !rlib.is_file() {
            let scratch = self.scratch()?;
            let mut command = self.command("rlib", scratch.path());
            command.args(["-C", "debuginfo=0"]);
            command.args(self.call.codegen("panic").map(|panic| format!("-Cpanic={panic}")));
            run(command, "")?.map_err(HelperError::NoPlaceholder)?;
            self.keep(&scratch, &name)?;
        }
        Ok(rlib)
    }

    fn command(&self, crate_type: &str, out_dir: &Path) -> Command {
        let mut command = Command::new(self.rustc);
        command
            .args(["-", "--crate-name", CRATE_NAME, "--edition=2021", "--crate-type", crate_type])
            .args(["--cap-lints=allow", "--emit=link"])
            .args(["-C", &format!("metadata={}", self.hash), "-C", &format!("extra-filename=-{}", self.hash)])
            .arg("--out-dir")
            .arg(out_dir)
            .args(flags(self.call))
            .env("TMPDIR", &self.sheet.temporary);
        command
    }

    /// Next to the destination, so that a rename works. Removed with whatever is left in it.
    fn scratch(&self) -> Result<tempfile::TempDir, HelperError> {
        tempfile::Builder::new().prefix("making-").tempdir_in(self.directory).map_err(|error| {
            HelperError::io(format!("create a directory in {}", self.directory.display()), error)
        })
    }

    fn keep(&self, scratch: &tempfile::TempDir, name: &str) -> Result<(), HelperError> {
        let made = scratch.path().join(name);
        std::fs::rename(&made, self.directory.join(name))
            .map_err(|error| HelperError::io(format!("move {} to its place", made.display()), error))
    }

    /// `libstd-HASH.so`, or why there is none.
    fn find_std(&self) -> Result<Result<PathBuf, Unshareable>, HelperError> {
        let mut command = Command::new(self.rustc);
        command.args(["--print", "target-libdir"]);
        command.args(self.call.target.iter().flat_map(|target| ["--target", target]));
        command.args(self.call.sysroot.iter().flat_map(|sysroot| ["--sysroot", sysroot]));
        let output = command.output().map_err(|error| HelperError::io("run rustc", error))?;
        let directory = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        let entries = std::fs::read_dir(&directory).map_err(|error| {
            HelperError::io(format!("read rustc's libraries in {}", directory.display()), error)
        })?;
        let std = entries.filter_map(|entry| Some(entry.ok()?.path())).find(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("libstd-") && name.ends_with(".so")
        });
        Ok(std.ok_or_else(|| {
            Unshareable(format!("the toolchain has no shared standard library in {}", directory.display()))
        }))
    }
}

/// A crate that only uses every library.
fn source(libraries: &[PathBuf]) -> String {
    (0..libraries.len()).map(|number| format!("extern crate dependency_{number} as _;\n")).collect()
}

/// Runs rustc on a source. Returns its first complaint.
fn run(mut command: Command, source: &str) -> Result<Result<(), Unshareable>, HelperError> {
    let failed = |error| HelperError::io("make the library of dependencies", error);
    command.stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(source.as_bytes()).map_err(failed)?;
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(Ok(()));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    if said.lines().any(|line| missing_library(line).is_some()) {
        // The app would miss it just as much.
        eprint!("{said}");
        return Err(HelperError::DependenciesMissing);
    }
    let complaint = complaint(&said)
        .unwrap_or_else(|| format!("rustc ended with {} when it made the library", output.status));
    Ok(Err(Unshareable(complaint)))
}

/// Reduces an error of rustc or a linker to one line.
fn complaint(said: &str) -> Option<String> {
    let line = said.lines().map(str::trim).find(|line| line.starts_with("error"))?;
    Some(line.split_once(": ").map_or(line, |(_, message)| message).to_owned())
}

/// The library a linker's line reports as missing.
pub(crate) fn missing_library(line: &str) -> Option<&str> {
    // GNU ld, gold and mold; lld.
    let rest = ["cannot find -l", "library not found: ", "unable to find library -l"]
        .iter()
        .find_map(|words| line.split_once(words))?
        .1;
    let end = rest.find(|character: char| character.is_whitespace() || ":,;'\"`".contains(character));
    Some(&rest[..end.unwrap_or(rest.len())]).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(line: &str) -> Option<String> {
        reason_to_be_static(&Call::read(&line.split(' ').map(OsString::from).collect::<Vec<_>>()))
    }

    #[test]
    fn a_linkers_complaint_becomes_one_line() {
        assert_eq!(missing_library("  = note: ld: cannot find -lpq: No such file"), Some("pq"));
        assert_eq!(complaint("warning: x\nerror[E0463]: no crate\n").unwrap(), "no crate");
        assert_eq!(complaint("killed"), None);
        assert_eq!(missing_library("rust-lld: error: unable to find library -lsass"), Some("sass"));
    }

    #[test]
    fn what_cannot_be_shared_is_linked_statically() {
        assert!(reason("-C panic=abort").is_some());
        assert!(reason("-C lto").is_some());
        assert!(reason("-C lto=thin").is_some());
        assert!(reason("-C target-feature=+avx2,+crt-static").is_some());
        assert!(reason("-C lto=off -C panic=unwind -C target-feature=-crt-static").is_none());
    }
}
