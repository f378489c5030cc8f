//! Takes the program that the user's own cargo has built, if it is certainly up to date: with the same features, profile and
//! environment, and from the sources as they are. It is served until the next change, while devhost builds its own.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cargo_metadata::Artifact as CargoArtifact;
use devhost_model::AppKind;
use devhost_sys::program;

use super::base::Builder;
use crate::app::{App, PathPackage, Target};
use crate::file_times::{CLOCK_LAG_MAX, last_change, modified};
use crate::fresh::{self, Fresh, NotFresh};
use crate::inputs::ScriptInputs;
use crate::known_file::Known;
use crate::outcome::Artifact;
use crate::paths::entries;
use crate::settings::Choice;
use crate::unchanged::{Compiled, Doubt};

/// How many files in directories that build scripts name are looked at.
const SCRIPT_FILES_COUNT_MAX: usize = 10_000;

/// Why devhost builds first.
#[derive(Debug, thiserror::Error)]
enum NotServed {
    #[error("it is no plain app")]
    OtherKind,
    #[error("cargo has built none, or an older one")]
    NotBuilt,
    #[error(transparent)]
    NotFresh(#[from] NotFresh),
    #[error(transparent)]
    Doubt(#[from] Doubt),
    #[error("cargo's files of {0} are not where they are expected")]
    Elsewhere(String),
    #[error("nothing can be preloaded into a program that is linked statically")]
    Static,
    #[error("it was built anew meanwhile")]
    Replaced,
    #[error("cannot copy it: {0}")]
    NotCopied(#[from] io::Error),
}

impl Builder {
    /// Returns a copy of the program that the user's own cargo has built, if that is up to date beyond doubt. Nothing is compiled
    /// for it. Dropping the future ends cargo.
    pub async fn ready_made(&mut self) -> Option<Artifact> {
        let begun = std::time::Instant::now();
        match self.take_ready_made().await {
            Ok(artifact) => {
                tracing::debug!("cargo has built a program already, found in {:?}", begun.elapsed());
                Some(artifact)
            }
            Err(reason) => {
                tracing::debug!("no program is ready: {reason} ({:?})", begun.elapsed());
                None
            }
        }
    }

    async fn take_ready_made(&mut self) -> Result<Artifact, NotServed> {
        let Target::App(app) = &self.target else { return Err(NotServed::OtherKind) };
        if app.kind != AppKind::Plain {
            return Err(NotServed::OtherKind);
        }
        let app = app.clone();
        if !may_be_built(&app, self.settings.profile_directory()) {
            return Err(NotServed::NotBuilt);
        }
        let fresh = fresh::ask(&app, &self.settings, &self.tool.path()).await?;
        let program = Known::new(&fresh.executable)?;
        let sources = proved_sources(&app, &fresh)?;
        if program::is_static(&fresh.executable) {
            return Err(NotServed::Static);
        }
        let path = self.next_program_path(&app.crate_name)?;
        // A copy, as of all programs: cargo may write the next one to its place.
        std::fs::copy(&fresh.executable, &path)?;
        if !program.is_unchanged() {
            return Err(NotServed::Replaced);
        }
        let build_id = program::build_id(&path)?;
        let scripts = ScriptInputs::read(&app, &fresh.scripts);
        Ok(Artifact::program(app.kind, path, build_id, sources, scripts))
    }
}

/// Looks whether it is worthwhile to ask cargo, which would begin to compile otherwise: there is a program, and the app's own main
/// file is older.
fn may_be_built(app: &App, profile: &str) -> bool {
    let (name, place) = match &app.choice {
        Choice::Bin(name) => (name, "."),
        Choice::Example(name) => (name, "examples"),
        Choice::Lib => return false,
    };
    let built = |directory: PathBuf| {
        let list = directory.join(profile).join(place).join(format!("{name}.d"));
        let program = std::fs::metadata(list.with_extension("")).ok()?;
        let sources = crate::dep_info::read_sources(&list, Path::new("/"));
        let is_older = |source: &PathBuf| {
            std::fs::metadata(source).is_ok_and(|metadata| modified(&metadata) <= modified(&program))
        };
        Some(!sources.is_empty() && sources.iter().all(is_older))
    };
    let directories = std::iter::once(app.user_build_dir.clone()).chain(entries(&app.user_build_dir));
    // Without one here cargo may have it elsewhere, which is not worth a look.
    directories.filter_map(built).any(|is_older| is_older)
}

/// Returns the sources of the app and its path packages, if they are still what they were when they were compiled.
fn proved_sources(app: &App, fresh: &Fresh) -> Result<Vec<PathBuf>, NotServed> {
    let mut sources = Vec::new();
    let mut has_app = false;
    for artifact in &fresh.artifacts {
        let Some(package) = package_of(app, artifact) else { continue };
        has_app |= package.id == app.package_id && artifact.executable.is_some();
        let unit =
            unit(app, fresh, artifact).ok_or_else(|| NotServed::Elsewhere(artifact.target.name.clone()))?;
        sources.extend(unit.compiled(package).sources(&app.workspace_root)?);
    }
    if !has_app {
        return Err(NotServed::Elsewhere(app.package.clone()));
    }
    for (id, out_dir) in &fresh.scripts {
        if let Some(package) = app.path_packages.iter().find(|package| package.id == *id) {
            let inputs = ScriptInputs::read(app, &[(id.clone(), out_dir.clone())]);
            prove_inputs(&inputs, out_dir, package)?;
        }
    }
    sources.sort();
    sources.dedup();
    Ok(sources)
}

fn package_of<'a>(app: &'a App, artifact: &CargoArtifact) -> Option<&'a PathPackage> {
    app.path_packages.iter().find(|package| package.id == artifact.package_id.repr)
}

/// Where cargo has what it has compiled of a crate.
struct Unit {
    /// Its directory for the profile.
    profile_dir: PathBuf,
    dep_info: PathBuf,
    /// cargo's hash, which is in all names.
    hash: String,
}

impl Unit {
    /// The crate whose output is `NAME-HASH`, in a directory below the one for the profile.
    fn at(output: &Path) -> Option<Self> {
        let stem = output.file_name()?.to_str()?;
        let (_, hash) = stem.rsplit_once('-')?;
        let dep_info = output.with_file_name(format!("{stem}.d"));
        Some(Self { profile_dir: output.parent()?.parent()?.to_owned(), dep_info, hash: hash.to_owned() })
    }

    fn compiled(&self, package: &PathPackage) -> Compiled {
        let directory = format!("{}-{}", package.name, self.hash);
        Compiled {
            dep_info: self.dep_info.clone(),
            invoked: self.profile_dir.join(".fingerprint").join(directory).join("invoked.timestamp"),
        }
    }
}

fn unit(app: &App, fresh: &Fresh, artifact: &CargoArtifact) -> Option<Unit> {
    let file = artifact.filenames.first()?.as_std_path();
    if artifact.target.is_custom_build() {
        // `build/NAME-HASH/build-script-build`
        let directory = file.parent()?;
        let mut lists = entries(directory).filter(|path| path.extension().is_some_and(|kind| kind == "d"));
        return Unit::at(directory).map(|unit| Unit { dep_info: lists.next().unwrap_or_default(), ..unit });
    }
    if artifact.executable.is_some() {
        return program_unit(app, &fresh.executable);
    }
    // `deps/libNAME-HASH.rlib`
    let stem = file.file_stem()?.to_str()?;
    Unit::at(&file.with_file_name(stem.strip_prefix("lib").unwrap_or(stem)))
}

/// cargo's own file of the program, of which the one that it names is a hard link.
fn program_unit(app: &App, executable: &Path) -> Option<Unit> {
    let itself = std::fs::metadata(executable).ok()?;
    let identity = (itself.dev(), itself.ino());
    let directory = match &app.choice {
        Choice::Example(_) => executable.parent()?.to_owned(),
        Choice::Bin(_) | Choice::Lib => executable.parent()?.join("deps"),
    };
    let mut found = entries(&directory).filter(|path| {
        let is_named = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_prefix(app.crate_name.as_str()))
            .is_some_and(|rest| rest.starts_with('-') && !rest.contains('.'));
        is_named && std::fs::metadata(path).is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == identity)
    });
    Unit::at(&found.next()?)
}

/// Checks what a build script reads, as cargo does, but not by modification times alone.
fn prove_inputs(inputs: &ScriptInputs, out_dir: &Path, package: &PathPackage) -> Result<(), NotServed> {
    let invoked = std::fs::metadata(out_dir.with_file_name("invoked.timestamp"))
        .map_err(|_| NotServed::Elsewhere(package.name.clone()))?;
    let time = modified(&invoked).checked_sub(CLOCK_LAG_MAX).unwrap_or(SystemTime::UNIX_EPOCH);
    let mut queue: Vec<PathBuf> = inputs.named.iter().chain(&inputs.packages).cloned().collect();
    let mut count = 0;
    while let Some(path) = queue.pop() {
        count += 1;
        if count > SCRIPT_FILES_COUNT_MAX {
            return Err(Doubt::Many(path).into());
        }
        let is_directory = path.is_dir();
        if !is_directory && last_change(&path).is_none_or(|changed| changed >= time) {
            return Err(Doubt::Changed(path).into());
        }
        // What a tool keeps there (`.git`), or cargo, is not read.
        let is_kept = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
                || path.join("CACHEDIR.TAG").exists()
        };
        if is_directory {
            queue.extend(entries(&path).filter(|path| !is_kept(path)));
        }
    }
    Ok(())
}
