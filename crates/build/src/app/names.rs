//! Lists of names in messages.

use std::collections::BTreeSet;

use cargo_metadata::Package;

/// How many names a message lists before "and N more".
const NAMES_LISTED_COUNT_MAX: usize = 40;

pub(super) fn list_names(packages: &[&Package]) -> String {
    list(packages.iter().map(|package| package.name.as_str()))
}

pub(super) fn list<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let names: BTreeSet<&str> = names.collect();
    let listed: Vec<&str> = names.iter().copied().take(NAMES_LISTED_COUNT_MAX).collect();
    match names.len() - listed.len() {
        0 => listed.join(", "),
        more => format!("{} and {more} more", listed.join(", ")),
    }
}
