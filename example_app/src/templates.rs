//! The HTML templates: every `*.html` in one folder, autoescaped. A debug build reads them for each page, so
//! an edit shows at the next request without a build; a release build reads them once.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use axum::response::Html;
use minijinja::{Environment, UndefinedBehavior, Value};

use crate::error::Error;

/// The templates of a folder. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Templates {
    folder: Arc<PathBuf>,
    kept: Arc<OnceLock<Environment<'static>>>,
}

impl Templates {
    /// The templates of this folder, which is first read when one is rendered.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder: Arc::new(folder), kept: Arc::default() }
    }

    /// Renders the template of this file name.
    pub(crate) fn render(&self, name: &str, values: Value) -> Result<Html<String>, Error> {
        if cfg!(debug_assertions) {
            return render(&read_folder(&self.folder)?, name, values);
        }
        match self.kept.get() {
            Some(templates) => render(templates, name, values),
            None => {
                let templates = read_folder(&self.folder)?;
                render(self.kept.get_or_init(|| templates), name, values)
            }
        }
    }
}

fn render(templates: &Environment<'_>, name: &str, values: Value) -> Result<Html<String>, Error> {
    Ok(Html(templates.get_template(name)?.render(values)?))
}

fn read_folder(folder: &Path) -> Result<Environment<'static>, Error> {
    let complain = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::TemplateFile { path, source }
    };
    let mut templates = Environment::new();
    // A misspelt name in a template shall be an error and not an empty place.
    templates.set_undefined_behavior(UndefinedBehavior::Strict);
    templates.add_filter("hue", hue);
    for file in std::fs::read_dir(folder).map_err(complain(folder))? {
        let path = file.map_err(complain(folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        // Editors put their own files beside the one that is being edited.
        let is_html = path.extension().is_some_and(|extension| extension == "html");
        let Some(name) = name.filter(|name| is_html && !name.starts_with('.')) else {
            continue;
        };
        let text = std::fs::read_to_string(&path).map_err(complain(&path))?;
        templates.add_template_owned(name.to_owned(), text)?;
    }
    Ok(templates)
}

/// The golden angle: it puts neighbouring numbers far apart on the circle.
const HUE_STEP_DEGREES: u32 = 137;

/// The colour of a name as an angle in degrees. `static/book.js` computes the same one.
fn hue(name: &str) -> u32 {
    name.chars().fold(0, |hue, letter| (hue * 31 + u32::from(letter)) % 360) * HUE_STEP_DEGREES % 360
}

#[cfg(test)]
mod tests {
    use minijinja::context;

    use super::*;

    #[test]
    fn edited_template_shows_at_the_next_rendering() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("page.html");
        let templates = Templates::new(folder.path().to_owned());
        std::fs::write(&file, "old {{ name }}").expect("a file");
        assert_eq!(
            templates.render("page.html", context!(name => "<b>")).expect("a page").0,
            "old &lt;b&gt;"
        );
        std::fs::write(&file, "new {{ name }}").expect("a file");
        assert_eq!(templates.render("page.html", context!(name => "&")).expect("a page").0, "new &amp;");
    }

    #[test]
    fn broken_template_is_an_error_that_names_file_and_line() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("page.html"), "fine\n{{ name").expect("a file");
        let error = Templates::new(folder.path().to_owned()).render("page.html", context!()).unwrap_err();
        assert!(error.to_string().contains("page.html:2"), "{error}");
    }
}
