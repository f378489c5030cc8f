//! Links the app differently if the linker refused it or the loader would: first less is shared, then
//! nothing.

use std::path::{Path, PathBuf};

use devhost_model::Failure;

use super::base::Builder;
use crate::app::App;
use crate::explain::build_failure;
use crate::inspector::{Problem, list_symbols};
use crate::job_sheet::{Exclusion, Report};
use crate::settings::Deps;
use crate::{cargo, documents, fallback, linker};

impl Builder {
    /// Makes the next run of cargo share less if that may solve a problem: leaves out the crates that cause
    /// it, or shares nothing.
    pub(super) fn share_less(
        &self,
        app: &App,
        problem: &Problem,
        ready: &Report,
        libraries: &[(String, PathBuf)],
    ) -> Result<Option<fallback::Doubt>, Failure> {
        let reason = match problem {
            Problem::Unfit { .. } => return Ok(None),
            Problem::OwnAllocator => "the app has a #[global_allocator] outside of its root file".to_owned(),
            Problem::Unresolved(symbols) => {
                format!("{} would not be found in the shared library of dependencies", list_symbols(symbols))
            }
        };
        let written = match (&ready.exclusion, problem) {
            (Some(path), Problem::Unresolved(symbols)) => exclusion(app, symbols, libraries, &reason)
                .map(|exclusion| (path, documents::write(path, &exclusion))),
            _ => None,
        };
        let (path, result) =
            written.unwrap_or_else(|| (&ready.static_marker, std::fs::write(&ready.static_marker, &reason)));
        if self.settings.deps == Deps::Shared && path == &ready.static_marker {
            let _ = std::fs::remove_file(path);
            return Ok(None);
        }
        result.map_err(|error| build_failure(format!("cannot write {}: {error}", path.display())))?;
        Ok(Some(fallback::Doubt::of(path)))
    }

    /// The marker file, and its text, that make the app link differently after the linker refused it.
    pub(super) fn other_linkage(&self, ready: &Report, run: &cargo::Run) -> Option<(PathBuf, String)> {
        let reason = fallback::reason_to_share_nothing(run)?;
        match &ready.relink_marker {
            Some(marker) if fallback::misses_symbols(run) => Some((marker.clone(), reason)),
            _ if self.settings.deps == Deps::Auto => Some((ready.static_marker.clone(), reason)),
            _ => None,
        }
    }
}

/// Leaves out the crates that define the symbols, and their dependents.
fn exclusion(
    app: &App,
    symbols: &[String],
    libraries: &[(String, PathBuf)],
    reason: &str,
) -> Option<Exclusion> {
    let defines = |path: &Path| std::fs::read(path).is_ok_and(|bytes| linker::defines_one(&bytes, symbols));
    let origins: Vec<&(String, PathBuf)> = libraries.iter().filter(|(_, path)| defines(path)).collect();
    let (_, first) = origins.first()?;
    let ids: Vec<&str> = origins.iter().map(|(id, _)| id.as_str()).collect();
    let excluded = libraries.iter().filter(|(id, _)| app.reaches(id, &ids)).map(|(_, path)| path.clone());
    let stem = first.file_stem().unwrap_or_default().to_string_lossy();
    let stem = stem.strip_prefix("lib").unwrap_or(&stem);
    let name = stem.rsplit_once('-').map_or(stem, |(name, _)| name);
    Some(Exclusion {
        libraries: excluded.collect(),
        reason: format!(
            "`{name}`, and what uses it, is linked into the app, which makes a reload slower: {reason}"
        ),
    })
}
