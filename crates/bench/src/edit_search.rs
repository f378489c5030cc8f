//! Finds an edit that shows: a text in the app's sources and its response, where the response shows the edit.

use std::collections::HashSet;
use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::client::{Client, FAILURE_STATUS_MIN};
use crate::edit::{self, Edit, Tokens};
use crate::subject::Subject;
use crate::ways::{Context, Way};

#[derive(Debug)]
pub(crate) enum Search {
    Found(Edit),
    /// No text of the sources shows.
    NothingShown,
    /// The app does not serve this way.
    Failed(anyhow::Error),
    Cancelled,
}

/// Tries the likeliest texts on a way that serves at `url`. `told` receives the one being tried.
pub(crate) fn search(
    way: &mut dyn Way,
    url: &str,
    context: &Context,
    tokens: &mut Tokens,
    told: &dyn Fn(&str),
) -> Search {
    let cancel = &context.cancel;
    let failed = |error| if cancel.is_cancelled() { Search::Cancelled } else { Search::Failed(error) };
    let body = match first_answer(way, url, context) {
        Ok(body) => body,
        Err(error) => return failed(error),
    };
    for candidate in candidates(&context.subject, &body) {
        let name = format!("{:?} in {}", candidate.text, candidate.file.display());
        told(&format!("trying {name}"));
        let tried = way.reload(&candidate, &tokens.next()).and_then(|seen| way.settle(&seen));
        let failure = match tried {
            Ok(_) => return Search::Found(candidate),
            Err(_) if cancel.is_cancelled() => return Search::Cancelled,
            Err(failure) => failure,
        };
        tracing::debug!("{name}: {failure:#}");
        if way.undo(&candidate).is_err() {
            // The text was not to blame.
            return failed(failure);
        }
    }
    Search::NothingShown
}

fn first_answer(way: &dyn Way, url: &str, context: &Context) -> Result<String> {
    match Client::new().get_unless_cancelled(url, &context.cancel)? {
        Some(answer) if answer.status < FAILURE_STATUS_MIN => Ok(answer.body),
        Some(answer) => bail!("the app answers with status {}:\n{}", answer.status, way.printed()),
        None => bail!("the app does not answer at {url}:\n{}", way.printed()),
    }
}

/// Places whose text the response shows, in the app's own sources, then in its path dependencies'.
fn candidates(subject: &Subject, body: &str) -> Vec<Edit> {
    let app = &subject.app;
    let own = app.source.parent().map(ToOwned::to_owned);
    let packages = app.path_packages.iter().map(|package| package.root.join("src"));
    let mut seen = HashSet::new();
    let directories: Vec<PathBuf> = own
        .into_iter()
        .chain(packages)
        .filter(|directory| directory.starts_with(&app.workspace_root) && seen.insert(directory.clone()))
        .collect();
    edit::candidates(&app.workspace_root, &directories, body)
}
