//! Why files cannot be watched, and what to do about it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use devhost_model::Error;

/// Why files cannot be watched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// The kernel's limit on inotify watches is reached.
    #[error(
        "no inotify watches are left for {} (fs.inotify.max_user_watches{})", path.display(), limit_text(*limit)
    )]
    NoWatchesLeft {
        /// The directory that could not be watched.
        path: PathBuf,
        /// The limit, if it could be read.
        limit: Option<u64>,
    },
    /// The kernel's limit on inotify instances, or the process's limit on open files, is reached.
    #[error("no inotify instance is left (fs.inotify.max_user_instances{})", limit_text(*limit))]
    NoInstancesLeft {
        /// The limit, if it could be read.
        limit: Option<u64>,
    },
    /// A directory to watch does not exist.
    #[error("the directory {} does not exist", path.display())]
    RootMissing {
        /// The directory.
        path: PathBuf,
    },
    /// A watched directory has been missing for a while.
    #[error("the directory {} is gone", path.display())]
    RootGone {
        /// The directory.
        path: PathBuf,
    },
    /// A directory to watch cannot be read.
    #[error("failed to watch {}: {message}", path.display())]
    Unreadable {
        /// The directory.
        path: PathBuf,
        /// The system's error.
        message: String,
    },
    /// Too many directories may contain inputs of the build.
    #[error("too many directories may contain what the build reads; {} and later ones are not watched", path.display())]
    TooManyInputs {
        /// The first one that is not watched.
        path: PathBuf,
    },
    /// The watcher itself failed.
    #[error("failed to watch files: {message}")]
    Failed {
        /// The system's error.
        message: String,
    },
}

fn limit_text(limit: Option<u64>) -> String {
    limit.map(|limit| format!(" is {limit}")).unwrap_or_default()
}

fn inotify_limit(name: &str) -> Option<u64> {
    fs::read_to_string(Path::new("/proc/sys/fs/inotify").join(name)).ok()?.trim().parse().ok()
}

impl WatchError {
    /// Translates an error of `notify` while watching `path`.
    pub(crate) fn from_notify(error: &notify::Error, path: &Path) -> Self {
        match &error.kind {
            notify::ErrorKind::MaxFilesWatch => {
                Self::NoWatchesLeft { path: path.to_owned(), limit: inotify_limit("max_user_watches") }
            }
            notify::ErrorKind::PathNotFound => Self::RootMissing { path: path.to_owned() },
            notify::ErrorKind::Io(error) => Self::from_io(error, path),
            _ => Self::Failed { message: error.to_string() },
        }
    }

    /// Translates a system error at `path`.
    pub(crate) fn from_io(error: &io::Error, path: &Path) -> Self {
        match error.raw_os_error() {
            Some(libc::ENOSPC) => {
                Self::NoWatchesLeft { path: path.to_owned(), limit: inotify_limit("max_user_watches") }
            }
            Some(libc::EMFILE | libc::ENFILE) => {
                Self::NoInstancesLeft { limit: inotify_limit("max_user_instances") }
            }
            Some(libc::ENOENT | libc::ENOTDIR) => Self::RootMissing { path: path.to_owned() },
            _ => Self::Unreadable { path: path.to_owned(), message: error.to_string() },
        }
    }

    /// Returns what to do about it.
    pub(crate) fn hint(&self) -> String {
        match self {
            Self::NoWatchesLeft { limit, .. } => format!(
                "raise the limit with `sudo sysctl fs.inotify.max_user_watches={}`, end other programs that watch \
                 many files, or run devhost with --poll",
                limit.unwrap_or(65_536).saturating_mul(2).max(524_288)
            ),
            Self::NoInstancesLeft { limit } => format!(
                "raise the limit with `sudo sysctl fs.inotify.max_user_instances={}` (and look at `ulimit -n`, the \
                 limit of open files), or run devhost with --poll",
                limit.unwrap_or(128).saturating_mul(2).max(512)
            ),
            Self::RootMissing { .. } => {
                "it may have been moved or deleted; start devhost again where it is now".into()
            }
            Self::TooManyInputs { .. } => {
                "let the build script name fewer (`cargo::rerun-if-changed=PATH`), or save a source file to build".into()
            }
            Self::RootGone { .. } => "it is watched again as soon as it is back".into(),
            Self::Unreadable { path, .. } => format!("check the permissions of {}", path.display()),
            Self::Failed { .. } => "run devhost with --poll".into(),
        }
    }
}

impl From<WatchError> for Error {
    fn from(error: WatchError) -> Self {
        let mistake = matches!(error, WatchError::RootMissing { .. } | WatchError::Unreadable { .. });
        Self { mistake, message: error.to_string(), hint: error.hint() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exhausted_limits_name_the_sysctl_and_the_way_around() {
        let path = Path::new("/app/src");
        let watches = notify::Error::new(notify::ErrorKind::MaxFilesWatch);
        let error = Error::from(WatchError::from_notify(&watches, path));
        assert!(error.message.contains("/app/src") && error.message.contains("fs.inotify.max_user_watches"));
        assert!(error.hint.contains("sysctl fs.inotify.max_user_watches=") && error.hint.contains("--poll"));
        assert!(!error.mistake);

        let instances = notify::Error::io(io::Error::from_raw_os_error(libc::EMFILE));
        let error = Error::from(WatchError::from_notify(&instances, path));
        assert!(error.message.contains("fs.inotify.max_user_instances"));
        assert!(
            error.hint.contains("sysctl fs.inotify.max_user_instances=") && error.hint.contains("--poll")
        );
    }

    #[test]
    fn missing_and_unreadable_directories_are_mistakes_that_are_named() {
        let gone = io::Error::from_raw_os_error(libc::ENOENT);
        let error = Error::from(WatchError::from_io(&gone, Path::new("/app")));
        assert!(error.mistake && error.message == "the directory /app does not exist");
        let denied = io::Error::from_raw_os_error(libc::EACCES);
        let error = Error::from(WatchError::from_io(&denied, Path::new("/app")));
        assert!(error.mistake && error.message.starts_with("failed to watch /app: "));
    }
}
