//! What a change of a file would do, for those who ask.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::backend::Backend;
use crate::error::WatchError;
use crate::observed::Observer;
use crate::scope::Scope;
use crate::tree::Tree;

/// How long an answer may take.
pub(crate) const ANSWER_TIME_MAX: Duration = Duration::from_secs(3);

/// How many files are explained at once. Of more, the rest is counted.
pub(crate) const FILES_COUNT_MAX: usize = 2_000;

/// What a change of a file does, the strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// devhost itself reads it again.
    Reread,
    /// The app is built, if the build reads it.
    Build,
    /// The app is started anew.
    Restart,
    /// Browsers load pages again.
    Reload,
    /// Browsers swap a stylesheet.
    Swap,
    /// Nothing happens.
    Nothing,
}

impl Effect {
    /// Names it, for programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Reread => "read",
            Self::Build => "build",
            Self::Restart => "restart",
            Self::Reload => "reload",
            Self::Swap => "swap",
            Self::Nothing => "nothing",
        }
    }

    /// Finds the effect of this name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        let all = [Self::Reread, Self::Build, Self::Restart, Self::Reload, Self::Swap, Self::Nothing];
        all.into_iter().find(|effect| effect.name() == name)
    }

    /// Says what happens, as the second half of a sentence.
    #[must_use]
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Reread => "devhost reads it again",
            Self::Build => "the app is built",
            Self::Restart => "the app starts anew",
            Self::Reload => "pages are loaded again",
            Self::Swap => "the stylesheet is swapped in open pages",
            Self::Nothing => "nothing happens",
        }
    }
}

/// What a change of a file would do, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The file, spelled as the build or the roots spell it.
    pub path: PathBuf,
    /// False if there is nothing at the path: the effect is that of its appearance.
    pub exists: bool,
    /// What a change does.
    pub effect: Effect,
    /// Why it does that.
    pub why: String,
    /// What else is to be known, in sentences.
    pub notes: Vec<String>,
}

/// Explained files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Explained {
    /// The files, in the order of their names.
    pub files: Vec<Explanation>,
    /// How many more there are.
    pub left_out: usize,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// One path, absolute.
    Path(PathBuf),
    /// All that the app uses.
    Uses,
}

/// A question to the watcher.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) about: About,
    pub(crate) answer: oneshot::Sender<Explained>,
}

/// Explains a path without a running app and without a build: by the user's rules, by what cargo reads, and by names.
///
/// # Errors
/// A root is missing or unreadable.
pub fn explain_unserved(scope: &Scope, path: &Path) -> Result<Explanation, WatchError> {
    let mut tree = Tree::new(scope, Backend::Poll, Observer::of(scope))?;
    Ok(tree.explain(path))
}

/// The watcher has given no answer in time, or there is none now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the watcher did not answer in time")]
pub struct NoAnswer;
