//! Makes cargo notice changes it cannot see. cargo compares modification times, so a file replaced by an
//! older one (`mv` of a backup, `cp -p`, some editors' undo files) looks unchanged to it. For such files, the
//! times cargo compares with are set back in devhost's own target directory. The user's files are never
//! touched.

use std::fs::{File, FileTimes, Metadata};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::app::{App, PathPackage};
use crate::dep_info;
use crate::file_times::{CLOCK_LAG_MAX, last_change, modified, status_changed};
use crate::paths::entries;
use crate::replay::Current;

/// Finds files whose change cargo would miss: changed after its `last_run` began, but with a modification
/// time not after the run. A crate's time is when cargo called rustc for it, so a file saved during the run
/// can also change unnoticed. `changed` has files known to have changed; `sources` are inspected, too.
pub(crate) fn find_hidden(
    changed: &[PathBuf],
    sources: &[PathBuf],
    last_run: &RangeInclusive<SystemTime>,
) -> Vec<PathBuf> {
    let seems_old = |metadata: &Metadata| modified(metadata) <= *last_run.end();
    let changed = changed.iter().filter(|path| {
        // cargo notices a removed file.
        std::fs::metadata(path).is_ok_and(|metadata| seems_old(&metadata))
    });
    let others = sources.iter().filter(|path| {
        std::fs::metadata(path)
            .is_ok_and(|metadata| seems_old(&metadata) && status_changed(&metadata) > *last_run.start())
    });
    let mut hidden: Vec<PathBuf> = changed.chain(others).cloned().collect();
    hidden.sort();
    hidden.dedup();
    hidden
}

/// Lets cargo take for its own what replays, before which it was aged, have compiled for another app. Leaves out the app's own package,
/// which may have been aged for other reasons, and what cargo has messages of: it would show them again.
pub(crate) fn renew(app: &App, profile_dirs: &[PathBuf], current: &[Current]) {
    for package in app.path_packages.iter().skip(1) {
        for unit in directories_of(profile_dirs, package, ".fingerprint") {
            let known = current.iter().find(|known| {
                known.suits_cargo && known.package_root == package.root && hash_of(&unit) == Some(&known.hash)
            });
            let Some(started) = known.and_then(|known| known.started) else { continue };
            let files: Vec<PathBuf> = entries(&unit).collect();
            if files.iter().any(|file| name_of(file).starts_with("output-")) {
                continue;
            }
            let is_aged = |file: &&PathBuf| {
                name_of(file).starts_with("dep-")
                    && std::fs::metadata(file).is_ok_and(|metadata| modified(&metadata) == aged_time())
            };
            files.iter().filter(is_aged).for_each(|file| set_modified(file, started));
        }
    }
}

/// Makes cargo recompile every path package that may use one of the files.
pub(crate) fn age_users(app: &App, profile_dirs: &[PathBuf], files: &[PathBuf], current: &[Current]) {
    for package in &app.path_packages {
        if files.iter().any(|file| may_use(app, profile_dirs, package, file)) {
            age_but(profile_dirs, package, current);
        }
    }
}

/// Makes cargo recompile every crate that was compiled, for whichever app, before one of the files took its place with an older
/// time: cargo would take it for compiled from that file.
pub(crate) fn age_overtaken<'f>(
    app: &App,
    profile_dirs: &[PathBuf],
    files: impl Iterator<Item = &'f PathBuf>,
    current: &[Current],
) {
    let times = |path: &'f PathBuf| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((path, modified(&metadata), status_changed(&metadata) + CLOCK_LAG_MAX))
    };
    let files: Vec<_> = files.filter_map(times).collect();
    for package in &app.path_packages {
        let compiled = dep_infos(profile_dirs, package);
        let compiled = compiled.iter().filter_map(|file| Some(modified(&std::fs::metadata(file).ok()?)));
        let compiled: Vec<SystemTime> = compiled.collect();
        let is_overtaken = |(file, modified, changed): &(&PathBuf, SystemTime, SystemTime)| {
            compiled.iter().any(|time| modified <= time && time < changed)
                && may_use(app, profile_dirs, package, file)
        };
        if files.iter().any(is_overtaken) {
            age_but(profile_dirs, package, current);
        }
    }
}

/// Makes cargo recompile every unknown path package: it may have been built for an app that then dropped it,
/// and its files have not been watched since.
pub(crate) fn age_newcomers(app: &App, profile_dirs: &[PathBuf], known: &[PathBuf], current: &[Current]) {
    for package in app.path_packages.iter().filter(|package| !known.contains(&package.root)) {
        age_but(profile_dirs, package, current);
    }
}

/// Makes cargo compile what these changes may concern if it does not follow the file. A new or removed file
/// may be found as a module, or by a macro that reads a directory. cargo knows a symbolic link only by its
/// target when rustc read it. And if `part/mod.rs` appears next to `part.rs`, no file known to cargo has
/// changed, but rustc would refuse both. rustc's own dep-info has the names rustc tried.
pub(crate) fn age_unfollowed(
    app: &App,
    profile_dirs: &[PathBuf],
    changed: &[PathBuf],
    followed: &[PathBuf],
    current: &[Current],
) {
    let unfollowed: Vec<&PathBuf> = changed.iter().filter(|path| !followed.contains(path)).collect();
    let concerns = |package: &PathPackage, file: &Path| {
        owner(app, file).is_some_and(|owner| owner.root == package.root)
            || dep_info_names(app, profile_dirs, package, file)
            || twin(file).is_some_and(|twin| dep_info_names(app, profile_dirs, package, &twin))
            || is_beside_compiled(app, profile_dirs, package, file)
    };
    for package in &app.path_packages {
        let files: Vec<&PathBuf> =
            unfollowed.iter().copied().filter(|file| concerns(package, file)).collect();
        if !files.is_empty() {
            // What the content does not show, the time must: a macro may have read the file, or found none.
            let has_read = |current: &Current, file: &PathBuf| {
                let times = current.started.zip(last_change_of_name(file));
                current.sources.contains(file)
                    || times.is_some_and(|(started, changed)| started > changed + CLOCK_LAG_MAX)
            };
            let has_read_all = |current: &&Current| files.iter().all(|file| has_read(current, file));
            let read: Vec<Current> = current.iter().filter(has_read_all).cloned().collect();
            age_compiled(profile_dirs, package, &read);
        }
    }
}

/// Makes cargo rerun the build scripts of these packages, which name no inputs, if one of their files is
/// gone: cargo only looks for newer files.
pub(crate) fn age_losers(app: &App, profile_dirs: &[PathBuf], packages: &[PathBuf], changed: &[PathBuf]) {
    for file in changed.iter().filter(|file| !file.exists()) {
        if let Some(owner) = owner(app, file).filter(|owner| packages.contains(&owner.root)) {
            age(profile_dirs, owner);
        }
    }
}

/// The innermost package whose directory contains a file.
fn owner<'a>(app: &'a App, file: &Path) -> Option<&'a PathPackage> {
    let around = app.path_packages.iter().filter(|package| file.starts_with(&package.root));
    around.max_by_key(|package| package.root.components().count())
}

/// The other file in which rustc looks for the same module.
fn twin(path: &Path) -> Option<PathBuf> {
    if path.file_name()? == "mod.rs" {
        return Some(path.parent()?.with_added_extension("rs"));
    }
    (path.extension()? == "rs").then(|| path.with_extension("").join("mod.rs"))
}

/// Makes cargo recompile the app's own package.
pub(crate) fn age_app(app: &App, profile_dirs: &[PathBuf]) {
    if let Some(package) = app.path_packages.first() {
        age(profile_dirs, package);
    }
}

/// Whether the file belongs to no other package, or the package's dep-info names it.
fn may_use(app: &App, profile_dirs: &[PathBuf], package: &PathPackage, file: &Path) -> bool {
    let owner = owner(app, file);
    owner.is_none_or(|owner| owner.root == package.root) || dep_info_names(app, profile_dirs, package, file)
}

pub(crate) fn dep_info_names(
    app: &App,
    profile_dirs: &[PathBuf],
    package: &PathPackage,
    file: &Path,
) -> bool {
    dep_info_has(app, profile_dirs, package, |source| source == file)
}

/// Whether a macro of the package has read a file like this one in the same directory, and may look for others there.
fn is_beside_compiled(app: &App, profile_dirs: &[PathBuf], package: &PathPackage, file: &Path) -> bool {
    let is_alike = |source: &Path| source.parent() == file.parent() && source.extension() == file.extension();
    file.extension().is_some_and(|extension| extension != "rs")
        && dep_info_has(app, profile_dirs, package, is_alike)
}

fn dep_info_has(
    app: &App,
    profile_dirs: &[PathBuf],
    package: &PathPackage,
    is_wanted: impl Fn(&Path) -> bool,
) -> bool {
    let is_app = app.path_packages.first().is_some_and(|first| first.root == package.root);
    let stems: Vec<&String> = package.crate_name.iter().chain(is_app.then_some(&app.crate_name)).collect();
    let is_dep_info = |name: &str| {
        name.strip_suffix(".d").is_some_and(|name| {
            stems.iter().any(|stem| {
                name.strip_prefix(stem.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
            })
        })
    };
    profile_dirs.iter().flat_map(|directory| entries(&directory.join("deps"))).any(|path| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(is_dep_info)
            && dep_info::read_sources(&path, &app.workspace_root).iter().any(|source| is_wanted(source))
    })
}

/// When a file was last changed; of a missing one, its directory. `None` if that is missing, too.
fn last_change_of_name(file: &Path) -> Option<SystemTime> {
    last_change(file).or_else(|| last_change(file.parent()?))
}

/// Makes cargo recompile a package, including its build script, but not what is `current`.
fn age_compiled(profile_dirs: &[PathBuf], package: &PathPackage, current: &[Current]) {
    let is_current = |file: &&PathBuf| {
        let hash = file.parent().and_then(hash_of);
        current.iter().any(|known| known.package_root == package.root && hash == Some(&known.hash))
    };
    let files = dep_infos(profile_dirs, package);
    files.iter().filter(|file| !is_current(file)).for_each(|file| set_back(file));
}

/// Makes cargo recompile a package, but neither recompile nor run its build script.
pub(crate) fn age_crates(profile_dirs: &[PathBuf], package: &PathPackage) {
    let of_script = |file: &PathBuf| name_of(file).starts_with("dep-build-script-");
    dep_infos(profile_dirs, package).iter().filter(|file| !of_script(file)).for_each(|file| set_back(file));
}

/// The files whose times count as those of a package's compiled crates.
fn dep_infos(profile_dirs: &[PathBuf], package: &PathPackage) -> Vec<PathBuf> {
    let directories = directories_of(profile_dirs, package, ".fingerprint");
    directories
        .iter()
        .flat_map(|path| entries(path))
        .filter(|file| name_of(file).starts_with("dep-"))
        .collect()
}

fn name_of(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Makes cargo recompile a package and rerun its build script.
pub(crate) fn age(profile_dirs: &[PathBuf], package: &PathPackage) {
    age_but(profile_dirs, package, &[]);
}

/// As [`age`], but leaves alone what is `current`, unless a build script that is run again makes cargo recompile it.
fn age_but(profile_dirs: &[PathBuf], package: &PathPackage, current: &[Current]) {
    age_compiled(profile_dirs, package, current);
    age_script(profile_dirs, package);
}

/// Makes cargo rerun a package's build script and recompile what depends on it.
pub(crate) fn age_script(profile_dirs: &[PathBuf], package: &PathPackage) {
    for directory in directories_of(profile_dirs, package, "build") {
        set_back(&directory.join("output"));
    }
}

/// A package's directories below one of cargo's own.
pub(crate) fn directories_of(profile_dirs: &[PathBuf], package: &PathPackage, name: &str) -> Vec<PathBuf> {
    let of_package = |path: &PathBuf| {
        path.file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_prefix(package.name.as_str()))
            // cargo's hash has no dash: `app-1f…` belongs to `app`, `app-core-1f…` does not.
            .and_then(|rest| rest.strip_prefix('-'))
            .is_some_and(|hash| !hash.contains('-'))
    };
    profile_dirs.iter().flat_map(|directory| entries(&directory.join(name))).filter(of_package).collect()
}

/// The hash in the name of a unit's directory.
fn hash_of(unit: &Path) -> Option<&str> {
    Some(unit.file_name()?.to_str()?.rsplit_once('-')?.1)
}

/// Older than any source.
fn aged_time() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1)
}

fn set_back(file: &Path) {
    set_modified(file, aged_time());
}

fn set_modified(file: &Path, time: SystemTime) {
    if let Ok(file) = File::options().append(true).open(file) {
        let _ = file.set_times(FileTimes::new().set_modified(time));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_has_two_places() {
        let twin = |path: &str| twin(Path::new(path));
        assert_eq!(twin("src/part.rs"), Some("src/part/mod.rs".into()));
        assert_eq!(twin("src/part.x/mod.rs"), Some("src/part.x.rs".into()));
        assert_eq!(twin("src/text.txt"), None);
    }

    #[test]
    fn only_changes_behind_cargos_back_are_hidden() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, age_secs: u64| {
            let path = directory.path().join(name);
            std::fs::write(&path, "").unwrap();
            let time = SystemTime::now() - Duration::from_secs(age_secs);
            File::options().append(true).open(&path).unwrap().set_modified(time).unwrap();
            path
        };
        let restored = file("restored.rs", 3600);
        let edited = file("edited.rs", 0);
        let gone = directory.path().join("gone.rs");
        let ago = |secs| SystemTime::now() - Duration::from_secs(secs);
        let during = file("during.rs", 50);
        let all = [during.clone(), edited, gone, restored.clone()];
        let run = ago(60)..=ago(40);
        assert_eq!(find_hidden(&all, &[], &run), [during.clone(), restored.clone()]);
        assert_eq!(find_hidden(&[], &all, &run), [during, restored], "found without being told");
        let future = SystemTime::now() + Duration::from_secs(60);
        assert!(find_hidden(&[], &all, &(future..=future)).is_empty());
    }
}
