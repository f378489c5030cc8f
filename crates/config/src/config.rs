//! The files that concern an app, and which of their keys hold for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use devhost_model::Error;

use crate::file::{App, File, path_in};
use crate::given::Given;
use crate::settings::{Settings, Stronger};

/// The files that concern an app.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The strongest first.
    files: Vec<File>,
    paths: Vec<PathBuf>,
}

impl Config {
    /// Reads the files of directories: first the package's, which wins, then the workspace's.
    ///
    /// # Errors
    /// A mistake that shows the place.
    pub fn read<'d>(directories: impl IntoIterator<Item = &'d Path>, cwd: &Path) -> Result<Self, Error> {
        let mut config = Self::default();
        for directory in directories {
            let path = path_in(directory);
            if config.paths.contains(&path) {
                continue;
            }
            config.paths.push(path);
            config.files.extend(File::read(directory, cwd)?);
        }
        config.check_ports()?;
        Ok(config)
    }

    /// Returns the paths of the files, including those that do not exist.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Returns the apps that the files name, each once.
    pub fn apps(&self) -> Vec<&App> {
        let mut apps: Vec<&App> = Vec::new();
        for app in self.files.iter().flat_map(|file| &file.apps) {
            if apps.iter().all(|known| known.name != app.name) {
                apps.push(app);
            }
        }
        apps
    }

    /// Returns all options of all files, each group as strong as its members.
    pub fn groups(&self) -> impl Iterator<Item = &[Given]> {
        self.files.iter().flat_map(|file| {
            file.apps.iter().map(|app| app.options.as_slice()).chain([file.options.as_slice()])
        })
    }

    /// Returns what holds for an app of the files, or for what is none of them. The package's file wins over the
    /// workspace's, an app's table over the top level of its file, and both over what they exclude.
    pub fn settings(&self, app: Option<&str>, stronger: &impl Stronger) -> Settings {
        let mut settings = Settings::default();
        let mut env = BTreeMap::new();
        for file in &self.files {
            let app = file.apps.iter().find(|known| Some(known.name.as_str()) == app);
            let groups =
                app.map(|app| (&app.options, &app.env)).into_iter().chain([(&file.options, &file.env)]);
            for (options, variables) in groups {
                let taken = settings.options.clone();
                // An option that is off excludes nothing.
                let excludes = |taken: &Given, given: &Given| {
                    !taken.arguments.is_empty() && stronger.exclude(&taken.key, &given.key)
                };
                let counts = |given: &&Given| {
                    !stronger.decides(&given.key)
                        && !taken.contains_key(&given.key)
                        && !taken.values().any(|taken| excludes(taken, given))
                };
                let counting = options.iter().filter(counts);
                settings.options.extend(counting.map(|given| (given.key.clone(), given.clone())));
                for (name, value) in variables {
                    env.entry(name.clone()).or_insert_with(|| value.clone());
                }
            }
            for process in &file.processes {
                if settings.processes.iter().all(|known| known.name != process.name) {
                    settings.processes.push(process.clone());
                }
            }
        }
        settings.env = env.into_iter().collect();
        settings.watch = self.files.iter().find_map(|file| file.watch.clone()).unwrap_or_default();
        settings.ignore = self.files.iter().find_map(|file| file.ignore.clone()).unwrap_or_default();
        settings
    }

    /// Two apps cannot both have a port.
    fn check_ports(&self) -> Result<(), Error> {
        let mut ports: Vec<(&App, &Given)> = Vec::new();
        for app in self.apps() {
            let Some(port) = app.options.iter().find(|given| given.key == "port") else { continue };
            // 0 is whichever is free.
            let is_any = port.arguments.iter().any(|argument| argument == "--port=0");
            let other = ports.iter().find(|(_, other)| other.arguments == port.arguments && !is_any);
            if let Some((other, place)) = other {
                return Err(port.place.error(
                    &format!(
                        "the app `{}` has the port of `{}`, which is at {}",
                        app.name, other.name, place.place
                    ),
                    "give each app a port of its own, or 0 for one that is free",
                ));
            }
            ports.push((app, port));
        }
        Ok(())
    }
}
