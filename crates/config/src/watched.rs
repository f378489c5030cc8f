//! What is watched besides what devhost finds by itself.

use devhost_model::Verdict;

use super::table::table;
use crate::fault::Fault;
use crate::read::{Node, Read};
use crate::suggest;
use crate::texts::Texts;

/// What a change of a watched file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename_all = "kebab-case", inline))]
pub(crate) enum Does {
    /// A build.
    Build,
    /// The app starts anew, without a build.
    Restart,
    /// Browsers reload; the app goes on.
    Reload,
}

impl Does {
    pub(crate) fn verdict(self) -> Verdict {
        match self {
            Self::Build => Verdict::Build,
            Self::Restart => Verdict::Restart,
            Self::Reload => Verdict::Reload,
        }
    }
}

impl Read for Does {
    fn read(node: Node<'_>) -> Result<Self, Fault> {
        const WORDS: [&str; 3] = ["build", "restart", "reload"];
        const NEEDED: &str = "`build`, `restart` or `reload`";
        let Some(word) = node.value.as_str() else { return Err(node.other_than(NEEDED)) };
        match word {
            "build" => Ok(Self::Build),
            "restart" => Ok(Self::Restart),
            "reload" => Ok(Self::Reload),
            _ => {
                let hint = suggest::closest(word, WORDS).map(suggest::did_you_mean).unwrap_or_default();
                Err(Fault::new(node.span, format!("{NEEDED} is needed, not `{word}`"), hint))
            }
        }
    }
}

table! {
    /// Files, and what a change of one does.
    #[cfg_attr(test, schemars(inline))]
    WatchedTable, "a table with `files` and `does`" {
        /// Globs relative to the file's directory.
        files: Texts,
        /// What a change does.
        #[cfg_attr(test, schemars(extend("default" = "restart")))]
        does: Option<Does>,
    }
}

/// One entry of `watch`: a glob for files at whose change the app starts anew, or a table.
#[derive(Debug, Clone)]
pub(crate) enum Watched {
    /// A glob for files at whose change the app starts anew.
    Glob(Texts),
    /// Files, and what a change of one does.
    Table(WatchedTable),
}

impl Watched {
    pub(crate) fn into_parts(self) -> (Texts, Verdict) {
        match self {
            Self::Glob(files) => (files, Verdict::Restart),
            Self::Table(table) => (table.files, table.does.unwrap_or(Does::Restart).verdict()),
        }
    }
}

impl Read for Watched {
    fn read(node: Node<'_>) -> Result<Self, Fault> {
        if node.value.as_str().is_some() {
            return Texts::read(node).map(Self::Glob);
        }
        if node.value.as_table().is_none() {
            return Err(node.other_than("a glob, or a table with `files` and `does`,"));
        }
        WatchedTable::read(node).map(Self::Table)
    }
}

/// The entries of `watch`: a list of them, or just one.
#[derive(Debug, Clone)]
pub(crate) struct AllWatched(pub Vec<Watched>);

impl Read for AllWatched {
    fn read(node: Node<'_>) -> Result<Self, Fault> {
        if node.value.as_str().is_some() || node.value.as_table().is_some() {
            return Ok(Self(vec![Watched::read(node)?]));
        }
        node.items("a list of globs")?.map(Watched::read).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
crate::schema::inline_schema!(AllWatched, |generator| {
    let table = WatchedTable::json_schema(generator);
    schemars::json_schema!({
        "anyOf": [
            { "type": "string" },
            table.clone(),
            { "type": "array", "items": { "anyOf": [{ "type": "string" }, table] } },
        ]
    })
});
