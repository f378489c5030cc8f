//! The builder itself: its state between builds, and what all ways of building share.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use devhost_model::{BuildInputs, BuildReport, Error, Failure};

use super::link_ahead::LinkAhead;
use super::memory::Memory;
use crate::app::{self, App, Target};
use crate::attended::Urgency;
use crate::documents;
use crate::explain::build_failure;
use crate::inspector::Inspector;
use crate::paths::entries;
use crate::refusal::Refusal;
#[cfg(any(test, feature = "testing"))]
use crate::replay::Weakness;
use crate::replay::{Ledger, Recording};
use crate::settings::{self, Settings, Strategy};
use crate::store::{ArtifactDirectory, units};
use crate::tool::Tool;

/// Builds one target, repeatedly.
#[derive(Debug)]
pub struct Builder {
    pub(super) target: Target,
    pub(super) settings: Settings,
    pub(super) tool: Tool,
    pub(super) artifacts: ArtifactDirectory,
    pub(super) count: u64,
    pub(super) memory: Memory,
    pub(super) inspector: Inspector,
    /// A manifest may have changed since cargo was last asked.
    pub(super) outdated: bool,
    /// What a replay needs, or why there is none.
    pub(super) recording: Result<Recording, Refusal>,
    pub(super) report: BuildReport,
    #[cfg(any(test, feature = "testing"))]
    pub(super) weakness: Option<Weakness>,
    /// Why the app runs as its own program, unasked.
    pub(super) fallback: Option<String>,
    /// cargo's configuration files, existing or not.
    pub(super) configuration: Vec<PathBuf>,
    /// Those that existed when cargo was last run or asked.
    pub(super) configured: Vec<PathBuf>,
    /// What is known in common with the builders of other apps.
    pub(super) ledger: Ledger,
    /// Something was removed while cargo ran, so what it considers fresh may be missing.
    pub(super) rebuild_wanted: bool,
    pub(super) cargo_started: bool,
    /// cargo was started by this builder, which has known of every change in its packages from then on.
    pub(super) has_run_cargo: bool,
    pub(super) last_built: Option<SystemTime>,
    pub(super) units: units::Keeper,
    /// Of the running build.
    pub(super) urgency: Urgency,
    pub(super) link_ahead: LinkAhead,
}

impl Builder {
    /// Creates a builder for `target`. `devhost` is the devhost executable, which cargo runs.
    ///
    /// # Errors
    /// devhost's target directory cannot be written.
    pub fn new(target: Target, settings: Settings, devhost: &Path) -> Result<Self, Error> {
        let target_dir = target.target_dir().to_owned();
        let failed = |error: io::Error| {
            Error::mistake(
                format!("cannot write devhost's target directory {}: {error}", target_dir.display()),
                "make it writable, or choose another one with --target-dir",
            )
        };
        let artifacts = ArtifactDirectory::make(&target_dir).map_err(failed)?;
        let tool = Tool::open(devhost).map_err(|error| {
            Error::fault(format!("cannot read the devhost executable {}: {error}", devhost.display()))
        })?;
        let mut builder = Self {
            target,
            settings,
            tool,
            artifacts,
            count: 0,
            memory: Memory::default(),
            inspector: Inspector::default(),
            outdated: false,
            recording: Err(Refusal::FirstBuild),
            report: BuildReport::default(),
            #[cfg(any(test, feature = "testing"))]
            weakness: None,
            fallback: None,
            configuration: Vec::new(),
            configured: Vec::new(),
            ledger: Ledger::default(),
            rebuild_wanted: false,
            cargo_started: false,
            has_run_cargo: false,
            last_built: None,
            units: units::Keeper::default(),
            urgency: Urgency::Awaited,
            link_ahead: LinkAhead::default(),
        };
        if let Target::App(app) = &builder.target {
            builder.memory = documents::read(&builder.document(app, "memory")).unwrap_or_default();
            builder.configured = existing_configuration(app);
        }
        Ok(builder)
    }

    /// Makes both compile only once what they compile in the same way. To be called before any build; then
    /// at most one of them may build at a time.
    pub fn share_with(&mut self, other: &Self) {
        self.ledger = other.ledger.clone();
        self.units = other.units.clone();
    }

    /// The target, as cargo last described it.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The inputs of the last successful build, even from an earlier run of devhost.
    pub fn known_inputs(&self) -> BuildInputs {
        self.memory.scripts.with_sources(&self.memory.sources)
    }

    /// How the last build was made.
    pub fn last_report(&self) -> &BuildReport {
        &self.report
    }

    /// Disables a part of the replay rule, to check that the tests notice.
    #[cfg(any(test, feature = "testing"))]
    pub fn weaken(&mut self, weakness: Weakness) {
        self.weakness = Some(weakness);
    }

    /// Whether the last replay that linked the app did so quickly.
    #[cfg(any(test, feature = "testing"))]
    pub fn linked_quickly(&self) -> bool {
        self.link_ahead.was_quick()
    }

    /// Blocks until the next link is prepared, which happens in the background.
    #[cfg(any(test, feature = "testing"))]
    pub fn wait_for_link_ahead(&mut self) {
        self.link_ahead.wait();
    }

    /// Whether the target directory is devhost's own. Others may build in one the user has named.
    pub(super) fn owns_target_dir(&self) -> bool {
        self.settings.target_dir.is_none()
    }

    pub(super) fn strategy(&self) -> Strategy {
        if self.fallback.is_some() { Strategy::Restart } else { self.settings.strategy }
    }

    pub(super) async fn current_app(&mut self) -> Result<App, Failure> {
        let Target::App(app) = &self.target else { unreachable!("only called for an app") };
        if !self.outdated {
            return Ok(app.clone());
        }
        let (app, settings) = (app.clone(), self.settings.clone());
        let refreshed = tokio::task::spawn_blocking(move || app::refresh(&app, &settings)).await;
        match refreshed {
            Ok(Ok(app)) => {
                self.target = Target::App(app.clone());
                self.outdated = false;
                Ok(app)
            }
            Ok(Err(error)) if error.hint.is_empty() => Err(build_failure(error.message)),
            Ok(Err(error)) => Err(build_failure(format!("{}\n{}", error.message, error.hint))),
            Err(error) => Err(build_failure(format!("asking cargo about the app failed: {error}"))),
        }
    }

    /// Looks again at what cargo's configuration consists of.
    pub(super) fn look_at_configuration(&mut self, app: &App) {
        self.configuration.clone_from(&app.config_files);
        self.configuration.extend(settings::config_files(app.root()));
        self.configured = existing_configuration(app);
    }

    pub(super) fn document(&self, app: &App, kind: &str) -> PathBuf {
        documents::path(app, &self.settings, kind)
    }

    pub(super) fn remember(&self, app: &App) {
        // Best effort: forgetting costs a needless build, or rarely misses a hidden change across runs.
        let _ = documents::write(&self.document(app, "memory"), &self.memory);
    }

    /// cargo's directories for the profile: the host's, and one per named target.
    pub(super) fn profile_dirs(&self, app: &App) -> Vec<PathBuf> {
        let profile = self.settings.profile_directory();
        std::iter::once(app.target_dir.clone())
            .chain(entries(&app.target_dir))
            .map(|directory| directory.join(profile))
            .filter(|directory| directory.join(".fingerprint").is_dir())
            .collect()
    }
}

/// cargo's configuration files that exist. Whichever cargo reads in the app's directory hold for all that it builds.
fn existing_configuration(app: &App) -> Vec<PathBuf> {
    settings::config_files(app.root()).into_iter().filter(|path| path.is_file()).collect()
}
