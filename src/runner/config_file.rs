//! devhost.toml while devhost runs: when it changes, it is read again. What can be applied is applied, and what cannot is
//! said. A broken file changes nothing.

use std::path::PathBuf;

use devhost_config::{Difference, Settings};
use devhost_model::{ChangedFiles, Error, Rules, SideProcess};

use super::state::Runner;

/// What devhost.toml and the command line say.
#[derive(Debug, Clone, Default)]
pub(crate) struct Said {
    pub settings: Settings,
    /// The environment files, of either.
    pub env_files: Vec<PathBuf>,
}

type Read = Box<dyn Fn() -> Result<Said, Error>>;

/// devhost.toml while devhost runs.
pub(crate) struct ConfigFile {
    /// Where it is, or may come to be.
    paths: Vec<PathBuf>,
    /// What it said at the start.
    first: Said,
    /// What it said last.
    last: Said,
    read: Read,
    /// No processes run beside the app.
    alone: bool,
}

impl Default for ConfigFile {
    fn default() -> Self {
        Self::new(Vec::new(), Said::default(), || Ok(Said::default()))
    }
}

impl ConfigFile {
    /// `read` reads what is in the files of these paths again.
    pub(crate) fn new(
        paths: Vec<PathBuf>,
        said: Said,
        read: impl Fn() -> Result<Said, Error> + 'static,
    ) -> Self {
        Self { paths, first: said.clone(), last: said, read: Box::new(read), alone: false }
    }

    /// Returns the environment variables that it gives the app.
    pub(crate) fn env(&self) -> &[(String, String)] {
        &self.last.settings.env
    }

    /// Returns the processes beside the app.
    pub(crate) fn processes(&self) -> &[SideProcess] {
        if self.alone { &[] } else { &self.last.settings.processes }
    }

    /// Leaves out the processes beside the app, whatever the file says.
    #[must_use]
    pub(crate) fn alone(self, alone: bool) -> Self {
        Self { alone, ..self }
    }

    /// Returns what it says of files.
    pub(crate) fn rules(&self) -> Result<Rules, Error> {
        self.last.settings.rules()
    }

    /// Returns where it is, or may come to be.
    pub(crate) fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Removes its own files from those that have changed. Returns them.
    fn take_from(&self, files: &mut ChangedFiles) -> Vec<PathBuf> {
        let ChangedFiles { code, inputs, startup, styles, statics } = files;
        let lists = [code, inputs, startup, styles, statics];
        let mut own: Vec<PathBuf> = lists
            .into_iter()
            .flat_map(|list| list.extract_if(.., |file| self.paths.contains(file)))
            .collect();
        own.dedup();
        own
    }
}

impl Runner {
    /// Takes devhost.toml out of the files that have changed, and reads it again if it is among them. It counts as read at
    /// the app's start if what it gives the app has changed.
    pub(super) fn config_file_changed(&mut self, files: &mut ChangedFiles) {
        let own = self.config_file.take_from(files);
        let Some(path) = own.into_iter().next() else { return };
        match self.read_config_file() {
            Ok(true) => files.startup.push(path),
            Ok(false) => {}
            Err(error) => {
                let hint = format!(
                    "{}{}devhost goes on as before",
                    error.hint,
                    if error.hint.is_empty() { "" } else { "; " }
                );
                self.terminal.error(&error.with_hint(hint));
            }
        }
    }

    /// Returns true if what it gives the app has changed.
    fn read_config_file(&mut self) -> Result<bool, Error> {
        let said = (self.config_file.read)()?;
        let difference = Difference::between(&self.config_file.last.settings, &said.settings);
        let since_start = Difference::between(&self.config_file.first.settings, &said.settings);
        let has = |key: &str| difference.applied.iter().any(|changed| changed == key);
        if has("watch") || has("ignore") || has("env-file") {
            let changes = self.watching.watch_instead(said.env_files.clone(), said.settings.rules()?)?;
            self.changes_anew = Some(changes);
        }
        self.env_files.clone_from(&said.env_files);
        self.config_file.last = said;
        self.sides.apply(self.config_file.processes().to_vec());
        for key in &difference.applied {
            self.terminal.note(&format!("devhost.toml: `{key}` is applied"));
        }
        for key in difference.later.iter().filter(|key| since_start.later.contains(key)) {
            self.terminal.note(&format!(
                "devhost.toml: `{key}` has changed; it takes effect when devhost is started again"
            ));
        }
        Ok(has("env") || has("env-file"))
    }
}
