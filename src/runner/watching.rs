//! Watches the directories of the app's packages, including path packages that a build newly finds.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::mpsc;

use devhost_build::Target;
use devhost_model::{BuildInputs, Rules};
use devhost_watch::{Changes, Mode, Observer, Scope, Surroundings, Suspicion, WatchError, Watcher};

/// How many levels below a repository or workspace are searched for served files.
const SURROUNDINGS_DEPTH_MAX: usize = 12;

/// The same, below a working directory outside both, which may be anything.
const STRANGE_DEPTH_MAX: usize = 3;

#[derive(Debug)]
pub(crate) struct Watching {
    watcher: Watcher,
    scope: Scope,
    mode: Mode,
    suspicion: Arc<Suspicion>,
    observer: Arc<Observer>,
    /// What the last build depends on, and when it started.
    built: Option<(BuildInputs, SystemTime)>,
    /// What is known of the builds before one that has failed since, and when that started.
    doubted: Option<(BuildInputs, SystemTime)>,
}

impl Watching {
    /// Watches the files of a scope.
    ///
    /// # Errors
    /// The system refuses to watch.
    pub(crate) fn start(scope: Scope, mode: Mode) -> Result<(Self, mpsc::Receiver<Changes>), WatchError> {
        let suspicion = Arc::<Suspicion>::default();
        let observer = Observer::of(&scope);
        let (watcher, changes) = Watcher::start(&scope, mode, &suspicion, &observer)?;
        Ok((Self { watcher, scope, mode, suspicion, observer, built: None, doubted: None }, changes))
    }

    /// Returns where the app may have files of its own: its workspace, repository and working directory.
    pub(super) fn places(&self) -> Vec<PathBuf> {
        self.scope.surroundings.iter().map(|surroundings| surroundings.path.clone()).collect()
    }

    /// Returns whether something may have changed that nobody has acted on yet.
    pub(crate) fn suspicion(&self) -> &Arc<Suspicion> {
        &self.suspicion
    }

    /// Returns what the app's workers do with files.
    pub(crate) fn observer(&self) -> &Arc<Observer> {
        &self.observer
    }

    /// Sets what a build depends on; see [`Watcher::set_inputs_built_since`].
    pub(crate) fn set_inputs_built_since(&mut self, inputs: BuildInputs, started: SystemTime) {
        self.built = Some((inputs.clone(), started));
        self.doubted = None;
        self.watcher.set_inputs_built_since(inputs, started);
    }

    /// Records that a build has failed; see [`Watcher::doubt`].
    pub(crate) fn doubt(&mut self, known: BuildInputs, started: SystemTime) {
        self.doubted = Some((known.clone(), started));
        self.watcher.doubt(known, started);
    }

    /// Watches the directories of new path packages. If it returns a receiver, all changes come through that
    /// from now on. Must be called before the build's inputs are set, which finds changes made during the
    /// build.
    ///
    /// # Errors
    /// The system refuses to watch. The old scope is still watched.
    pub(crate) fn follow(&mut self, target: &Target) -> Result<Option<mpsc::Receiver<Changes>>, WatchError> {
        let roots = scope_of(target).roots;
        if roots.iter().all(|root| self.scope.roots.contains(root)) {
            return Ok(None);
        }
        let scope = Scope { roots, ..self.scope.clone() };
        let (watcher, changes) = Watcher::start(&scope, self.mode, &self.suspicion, &self.observer)?;
        self.watcher = watcher;
        self.scope = scope;
        Ok(Some(changes))
    }

    /// Watches other environment files, by other rules. All changes come through the receiver from now on; those since the last
    /// build's start come again.
    ///
    /// # Errors
    /// The system refuses to watch. The old scope is still watched.
    pub(crate) fn watch_instead(
        &mut self,
        env_files: Vec<PathBuf>,
        rules: Rules,
    ) -> Result<mpsc::Receiver<Changes>, WatchError> {
        let scope = Scope { env_files, rules, ..self.scope.clone() };
        let (watcher, changes) = Watcher::start(&scope, self.mode, &self.suspicion, &self.observer)?;
        if let Some((inputs, started)) = self.built.clone() {
            watcher.set_inputs_built_since(inputs, started);
        }
        if let Some((known, started)) = self.doubted.clone() {
            watcher.doubt(known, started);
        }
        self.watcher = watcher;
        self.scope = scope;
        Ok(changes)
    }
}

/// Finds what to watch of an app that runs in `cwd`, besides what its build will name: its packages and their surroundings, and
/// the files of devhost.toml at `config_files`.
pub(crate) fn scope(
    target: &Target,
    cwd: &Path,
    env_files: &[PathBuf],
    config_files: &[PathBuf],
    rules: Rules,
) -> Scope {
    let mut scope = scope_of(target);
    scope.surroundings = surroundings(&scope.workspace_root, cwd, std::env::home_dir().as_deref());
    scope.env_files = env_files.to_vec();
    scope.own_files.extend(config_files.iter().cloned());
    scope.rules = rules;
    scope
}

fn scope_of(target: &Target) -> Scope {
    match target {
        Target::App(app) => Scope {
            roots: app.path_packages.iter().map(|package| package.root.clone()).collect(),
            workspace_root: app.workspace_root.clone(),
            exclude: vec![app.workspace_root.join("target"), app.target_dir.clone()],
            ..Scope::default()
        },
        Target::Prebuilt(prebuilt) => Scope {
            workspace_root: prebuilt.path.parent().map_or_else(PathBuf::new, PathBuf::from),
            exclude: vec![prebuilt.target_dir.clone()],
            own_files: vec![prebuilt.path.clone()],
            ..Scope::default()
        },
    }
}

/// Returns the directories outside the app's packages from which it may serve files: its repository or
/// workspace, and its working directory.
fn surroundings(workspace_root: &Path, cwd: &Path, home: Option<&Path>) -> Vec<Surroundings> {
    let repository = workspace_root.ancestors().find(|directory| directory.join(".git").exists());
    // A home directory that is a repository contains more than this app.
    let is_home = |directory: &Path| home.is_some_and(|home| home.starts_with(directory));
    let project = repository.filter(|directory| !is_home(directory)).unwrap_or(workspace_root);
    let depth_max = |directory: &Path| match directory {
        directory if is_home(directory) => 1,
        directory if directory.starts_with(project) => SURROUNDINGS_DEPTH_MAX,
        _ => STRANGE_DEPTH_MAX,
    };
    let mut all: Vec<Surroundings> = Vec::new();
    // Each by itself: one may be ignored by another's rules. The nearest come first, because their number is
    // bounded.
    for path in [workspace_root, cwd, project] {
        if all.iter().all(|known| known.path != path) {
            all.push(Surroundings { path: path.to_owned(), depth_max: depth_max(path) });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn served_files_are_looked_for_in_the_repository_and_where_the_app_runs() {
        let outer = tempfile::tempdir().unwrap();
        let (workspace, cwd) = (outer.path().join("repository/backend"), outer.path().join("repository"));
        std::fs::create_dir_all(&workspace).unwrap();
        let paths = |cwd: &Path, home: Option<&Path>| -> Vec<(PathBuf, usize)> {
            let all = surroundings(&workspace, cwd, home);
            all.into_iter().map(|surroundings| (surroundings.path, surroundings.depth_max)).collect()
        };
        let own = (workspace.clone(), SURROUNDINGS_DEPTH_MAX);
        assert_eq!(paths(&cwd, None), [own.clone(), (cwd.clone(), STRANGE_DEPTH_MAX)]);
        assert_eq!(paths(&cwd, Some(&cwd)), [own.clone(), (cwd.clone(), 1)]);
        std::fs::create_dir(cwd.join(".git")).unwrap();
        let repository = (cwd.clone(), SURROUNDINGS_DEPTH_MAX);
        assert_eq!(paths(&workspace, None), [own.clone(), repository.clone()]);
        assert_eq!(paths(&cwd, None), [own, repository]);
    }
}
