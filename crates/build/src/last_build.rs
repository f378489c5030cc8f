//! What is known of an app's last build before the next one.

use crate::app::App;
use crate::directives::Directives;
use crate::documents;
use crate::job_sheet::Report;
use crate::paths::entries;
use crate::settings::Settings;

/// How an app was last linked by devhost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastBuild {
    /// Whether its dependencies are in a shared library, apart from those in the notes.
    pub shared: bool,
    /// The notes of that build.
    pub notes: Vec<String>,
}

/// How the app was last linked with these settings, if ever.
pub fn last_build(app: &App, settings: &Settings) -> Option<LastBuild> {
    let report: Report = documents::read(&documents::path(app, settings, "report"))?;
    Some(LastBuild { shared: !report.preload.is_empty(), notes: report.notes })
}

/// Whether the app's build script named inputs in its last run, by devhost or the user.
pub fn script_names_inputs(app: &App, settings: &Settings) -> Option<bool> {
    let places = [&app.target_dir, &app.user_build_dir];
    let scripts =
        places.into_iter().flat_map(|place| entries(&place.join(settings.profile_directory()).join("build")));
    let outputs = scripts
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.rsplit_once('-').is_some_and(|(package, _)| package == app.package)
        })
        .map(|path| path.join("output"));
    let newest = outputs
        .filter_map(|path| Some((std::fs::metadata(&path).ok()?.modified().ok()?, path)))
        .max_by_key(|(modified, _)| *modified)?;
    Some(Directives::read(&std::fs::read(newest.1).ok()?).names_inputs)
}
