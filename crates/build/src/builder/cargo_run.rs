//! One run of cargo: its preparation, arguments and environment.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use devhost_model::Failure;

use super::base::Builder;
use crate::app::App;
use crate::explain::build_failure;
use crate::file_times::CLOCK_LAG_MAX;
use crate::job_sheet::{JOB_SHEET_VARIABLE, JobSheet, Report};
use crate::outcome::Progress;
use crate::paths::{concerns_cargo, link, temporary_directory};
use crate::quick::{EARLY_NAME, PREPARE_NAME};
use crate::settings::{Choice, Strategy};
use crate::store::units;
use crate::{cargo, documents, environment, footing, record, replay, script, seed, stale};

impl Builder {
    /// Takes over the user's own cargo artifacts if nothing has been built here yet.
    pub(super) async fn seed(&self, app: &App, progress: &mut dyn FnMut(Progress)) {
        if !self.profile_dirs(app).is_empty() {
            return;
        }
        let (app, profile) = (app.clone(), self.settings.profile_directory().to_owned());
        if !seed::finds(&app, &profile) {
            return;
        }
        let total = self.memory.units.unwrap_or(app.units_expected);
        progress(Progress { done: 0, total, current: "taking over what cargo has built before".into() });
        // Only its thread can fail; what is not taken over is built.
        let _ = tokio::task::spawn_blocking(move || seed::seed(&app, &profile)).await;
    }

    /// Writes the wrapper's job sheet and links devhost's other names.
    pub(super) fn place_job_sheet(&self, app: &App, report: &Path) -> io::Result<PathBuf> {
        let (key, common_key) = (self.key(app), self.common_key());
        let sheet_path = self.document(app, "job-sheet");
        let environment = record::fingerprint(self.environment(app, &sheet_path).into_iter());
        let bin = app.target_dir.join("bin").join(&common_key);
        std::fs::create_dir_all(&bin)?;
        std::fs::create_dir_all(temporary_directory(&app.target_dir))?;
        for name in ["devhost-rustc", "devhost-linker", PREPARE_NAME, EARLY_NAME, script::NAME] {
            link(&self.tool.path(), &bin.join(name))?;
        }
        let sheet = JobSheet {
            tool: self.tool.stamp().to_owned(),
            target_dir: app.target_dir.clone(),
            temporary: temporary_directory(&app.target_dir),
            workspace_root: app.workspace_root.clone(),
            app_root: app.root().to_owned(),
            app_crate: match self.strategy() {
                Strategy::Fork => app.crate_name.clone(),
                // No crate is turned into a library.
                Strategy::Restart => String::new(),
            },
            kind: app.kind,
            deps: self.settings.deps,
            debug_info: self.settings.debug_info,
            externs: app.externs.clone(),
            report: report.to_owned(),
            linker: bin.join("devhost-linker"),
            script: bin.join(script::NAME),
            environment,
            manifests: replay::manifest_hashes(app),
            key,
            common_key,
        };
        documents::write(&sheet_path, &sheet)?;
        Ok(sheet_path)
    }

    /// Hashes what affects the compilation of any workspace crate but is unknown to cargo. cargo hashes the
    /// wrapper's path, so a new key recompiles them. Apps with the same key share what cargo compiles in the
    /// same way for them.
    pub(super) fn common_key(&self) -> String {
        let settings = format!("{:?} {:?}", self.settings.debug_info, self.settings.cargo.decisive());
        hash_of(&[self.tool.stamp(), &settings, &format!("{:?}", self.configured)])
    }

    /// Hashes in addition what affects the app's own call alone, of which it is an argument.
    pub(super) fn key(&self, app: &App) -> String {
        let settings = format!("{:?} {:?}", self.strategy(), self.settings.decisive());
        hash_of(&[&self.common_key(), &app.package_id, &settings])
    }

    pub(super) fn show_hidden_changes(&mut self, app: &App, changed: &[PathBuf]) {
        let now = SystemTime::now();
        let profile_dirs = self.profile_dirs(app);
        let current = self.ledger.current();
        stale::renew(app, &profile_dirs, &current);
        if let Some(last_start) = self.memory.last_start {
            let last_run = last_start..=self.memory.last_end.unwrap_or(now);
            let hidden = stale::find_hidden(changed, &self.memory.sources, &last_run);
            stale::age_users(app, &profile_dirs, &hidden, &current);
        }
        let files = self.memory.sources.iter().chain(changed);
        stale::age_overtaken(app, &profile_dirs, files, &current);
        let unmanaged: Vec<PathBuf> = changed.iter().filter(|path| !concerns_cargo(path)).cloned().collect();
        stale::age_unfollowed(app, &profile_dirs, &unmanaged, &self.memory.sources, &current);
        if std::mem::take(&mut self.rebuild_wanted) || footing::lacks_records(&app.target_dir) {
            stale::age_losers(app, &profile_dirs, &self.memory.scripts.packages, changed);
            stale::age_newcomers(app, &profile_dirs, &[], &[]);
        }
        // What came later was watched by nobody, or by another app that has yet to build what it knows of.
        let newcomers = if std::mem::replace(&mut self.has_run_cargo, true) { &[][..] } else { &current[..] };
        stale::age_newcomers(app, &profile_dirs, &self.memory.packages, newcomers);
        self.memory.packages = app.path_packages.iter().map(|package| package.root.clone()).collect();
        self.memory.last_start = now.checked_sub(CLOCK_LAG_MAX);
    }

    pub(super) async fn run_cargo(
        &mut self,
        app: &App,
        sheet: &Path,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<cargo::Run, Failure> {
        self.cargo_started = true;
        self.memory.last_end = None;
        self.remember(app);
        let devhost = self.tool.path();
        let started = SystemTime::now() - CLOCK_LAG_MAX;
        let invocation = cargo::Invocation {
            devhost: &devhost,
            args: self.cargo_args(app),
            environment: self.environment(app, sheet),
            directory: app.root(),
            app,
            units_expected: self.memory.units.unwrap_or(app.units_expected),
            urgency: self.urgency,
        };
        self.ledger.cargo_begins();
        let run = cargo::run(invocation, progress).await;
        self.ledger.cargo_ended();
        let run = run.map_err(|error| build_failure(format!("cannot run {}: {error}", devhost.display())))?;
        self.memory.last_end = Some(SystemTime::now());
        self.remember(app);
        if self.owns_target_dir() {
            let document = self.document(app, units::DIRECTORY);
            self.units.note(&document, app, &self.profile_dirs(app), &run, started);
        }
        Ok(run)
    }

    /// The rustc wrapper's path, which changes whenever the wrapper would behave differently.
    pub(super) fn wrapper(&self, app: &App) -> PathBuf {
        app.target_dir.join("bin").join(self.common_key()).join("devhost-rustc")
    }

    pub(super) fn environment(&self, app: &App, sheet: &Path) -> Vec<(OsString, OsString)> {
        let own: [(&str, OsString); 7] = [
            (JOB_SHEET_VARIABLE, sheet.into()),
            ("RUSTC_WORKSPACE_WRAPPER", self.wrapper(app).into()),
            // If the user shares one build directory among all builds, devhost's builds would wait for
            // theirs.
            ("CARGO_BUILD_BUILD_DIR", app.target_dir.clone().into()),
            ("CARGO_TERM_COLOR", environment::colour().into()),
            ("CARGO_TERM_PROGRESS_WHEN", "never".into()),
            ("CARGO_TERM_QUIET", "false".into()),
            ("CARGO_TERM_VERBOSE", "false".into()),
        ];
        let mut environment: Vec<_> =
            environment::inherited().filter(|(name, _)| own.iter().all(|(own, _)| name != own)).collect();
        environment.extend(own.map(|(name, value)| (name.into(), value)));
        environment
    }

    pub(super) fn cargo_args(&self, app: &App) -> Vec<OsString> {
        let format = if environment::coloured() { "json-diagnostic-rendered-ansi" } else { "json" };
        let profile = self.settings.profile();
        let target = match &app.choice {
            Choice::Lib => vec!["--lib", "--crate-type", "cdylib"],
            Choice::Bin(name) => vec!["--bin", name],
            Choice::Example(name) => vec!["--example", name],
        };
        let mut args: Vec<OsString> = vec!["rustc".into()];
        args.extend(target.into_iter().map(OsString::from));
        args.push("--manifest-path".into());
        args.push(app.manifest_path.clone().into());
        args.push("--target-dir".into());
        args.push(app.target_dir.clone().into());
        args.push(format!("--message-format={format}").into());
        args.push("--profile".into());
        args.push(profile.into());
        args.extend(self.settings.feature_args().into_iter().map(OsString::from));
        args.extend(self.settings.cargo.building_args().into_iter().map(OsString::from));
        // With link-time optimization crates contain no machine code yet, and cannot become a library. After
        // the user's values: the later one wins.
        args.push(format!("--config=profile.{profile}.lto=false").into());
        if !self.settings.cargo.config.is_empty() {
            let place = toml_edit::Value::from(app.target_dir.to_string_lossy().into_owned());
            args.push(format!("--config=build.build-dir={}", place.to_string().trim()).into());
        }
        // cargo passes it to the app's own call alone, whose result is then not taken for one of other
        // settings, or of another strategy.
        args.extend(["--".into(), format!("-Cmetadata={}", self.key(app)).into()]);
        args
    }
}

fn hash_of(parts: &[&str]) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part.as_bytes());
        hasher.update(&[0]);
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

/// The wrapper's report, if it belongs to this job sheet and everything it names still exists.
pub(super) fn valid_report(report: &Path, sheet: &Path) -> Option<Report> {
    let sheet: JobSheet = documents::read(sheet)?;
    documents::read(report).filter(|report: &Report| {
        report.key == sheet.key && report.preload.iter().all(|library| library.is_file())
    })
}
