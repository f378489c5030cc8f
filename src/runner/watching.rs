//! What is watched: the directories of the app's packages. Where a build finds that the app has come to use another path
//! package, that one's directory is watched as well.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::mpsc;

use crate::build::Target;
use crate::watch::{Changes, Mode, Scope, Suspicion, WatchError, Watcher};

/// The watcher, and what it was told to watch.
#[derive(Debug)]
pub struct Watching {
    watcher: Watcher,
    scope: Scope,
    mode: Mode,
    suspicion: Arc<Suspicion>,
}

impl Watching {
    /// Watches an app, and some files whatever they are.
    ///
    /// # Errors
    /// The system refuses to watch.
    pub fn start(
        target: &Target,
        extra_files: &[PathBuf],
        mode: Mode,
    ) -> Result<(Self, mpsc::Receiver<Changes>), WatchError> {
        let mut scope = scope(target);
        scope.extra_files.extend(extra_files.iter().cloned());
        let suspicion = Arc::<Suspicion>::default();
        let (watcher, changes) = Watcher::start_with(scope.clone(), mode, Arc::clone(&suspicion))?;
        Ok((Self { watcher, scope, mode, suspicion }, changes))
    }

    /// Whether something may have changed that nobody has acted on yet.
    pub fn suspicion(&self) -> &Arc<Suspicion> {
        &self.suspicion
    }

    /// Takes what a build has read; see [`Watcher::set_sources_built_since`].
    pub fn set_sources_built_since(&self, sources: Vec<PathBuf>, started: SystemTime) {
        self.watcher.set_sources_built_since(sources, started);
    }

    /// Watches the directories of new path packages. What has changed in any directory comes by the receiver from now
    /// on, if there is one. To be called before the sources of the build are set: with them, what was changed while it
    /// ran is found.
    ///
    /// # Errors
    /// The system refuses to watch. What was watched still is.
    pub fn follow(&mut self, target: &Target) -> Result<Option<mpsc::Receiver<Changes>>, WatchError> {
        let roots = scope(target).roots;
        if roots.iter().all(|root| self.scope.roots.contains(root)) {
            return Ok(None);
        }
        let scope = Scope { roots, ..self.scope.clone() };
        let (watcher, changes) = Watcher::start_with(scope.clone(), self.mode, Arc::clone(&self.suspicion))?;
        self.watcher = watcher;
        self.scope = scope;
        Ok(Some(changes))
    }
}

fn scope(target: &Target) -> Scope {
    match target {
        Target::App(app) => Scope {
            roots: app.path_packages.iter().map(|package| package.root.clone()).collect(),
            workspace_root: app.workspace_root.clone(),
            exclude: vec![app.workspace_root.join("target"), app.target_dir.clone()],
            extra_files: Vec::new(),
        },
        Target::Prebuilt(prebuilt) => Scope {
            roots: Vec::new(),
            workspace_root: prebuilt.path.parent().map_or_else(PathBuf::new, PathBuf::from),
            exclude: vec![prebuilt.target_dir.clone()],
            extra_files: vec![prebuilt.path.clone()],
        },
    }
}
