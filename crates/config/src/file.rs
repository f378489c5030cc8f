//! One devhost.toml, read and checked as far as it can be by itself.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use devhost_model::{Error, Pattern, ReadyWhen, SideProcess, Verdict};
use toml::de::{DeTable, DeValue};

use crate::at::At;
use crate::document::{self, Document, Process, absolute};
use crate::fault::Fault;
use crate::given::Given;
use crate::place::{Place, Source};
use crate::read::{Node, Read};
use crate::ready_when;
use crate::texts::Texts;

/// The file's name.
pub const FILE_NAME: &str = "devhost.toml";

/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The most apps that a file may have, and that may be served together: each has a front, workers and builds of its own.
pub const APPS_COUNT_MAX: usize = 8;

/// The most processes beside the app that a file may have.
pub(crate) const PROCESSES_COUNT_MAX: usize = 32;

/// One devhost.toml.
#[derive(Debug, Clone)]
pub struct File {
    pub(crate) options: Vec<Given>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) watch: Option<Vec<(Pattern, Verdict)>>,
    pub(crate) ignore: Option<Vec<Pattern>>,
    pub(crate) processes: Vec<SideProcess>,
    pub(crate) apps: Vec<App>,
}

/// An app that a file names.
#[derive(Debug, Clone)]
pub struct App {
    /// Its name.
    pub name: String,
    /// Its package, if that has another name.
    pub package: Option<String>,
    /// Where the file names its package, or else the app.
    pub place: Place,
    pub(crate) options: Vec<Given>,
    pub(crate) env: Vec<(String, String)>,
}

impl App {
    /// Returns the name of its package.
    pub fn package(&self) -> &str {
        self.package.as_deref().unwrap_or(&self.name)
    }

    /// Returns the options that it sets for itself.
    pub fn options(&self) -> &[Given] {
        &self.options
    }
}

impl File {
    /// Reads the file in a directory, if there is one. Messages name it relative to `cwd`, if it is below that.
    ///
    /// # Errors
    /// A mistake that names the file, and the place in it.
    pub fn read(directory: &Path, cwd: &Path) -> Result<Option<Self>, Error> {
        let path = directory.join(FILE_NAME);
        let shown = path.strip_prefix(cwd).unwrap_or(&path).display().to_string();
        let refused = |why: String| {
            Error::mistake(format!("cannot read {shown}: {why}"), "make it a text file that you may read")
        };
        let opened = match std::fs::File::open(&path) {
            Ok(opened) => opened,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(refused(error.to_string())),
        };
        let mut bytes = Vec::new();
        // Also ends what has no end, and a special file has no text.
        let is_file = opened.metadata().is_ok_and(|metadata| metadata.is_file());
        if !is_file {
            return Err(refused("it is not a file".into()));
        }
        opened
            .take(FILE_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| refused(error.to_string()))?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(refused(format!("it is larger than {FILE_BYTES_MAX} bytes")));
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let line =
                error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|byte| **byte == b'\n');
            refused(format!("line {} is not UTF-8", line.count() + 1))
        })?;
        Self::parse(text, shown, directory).map(Some)
    }

    /// Reads a file's text.
    pub(crate) fn parse(text: String, shown: String, directory: &Path) -> Result<Self, Error> {
        let source = Arc::new(Source { shown, text, directory: directory.to_owned() });
        read(&source).map_err(|fault| source.error(fault))
    }
}

fn read(source: &Arc<Source>) -> Result<File, Fault> {
    let parsed = DeTable::parse(&source.text).map_err(|error| {
        let span = error.span().unwrap_or_default();
        Fault::new(span, error.message().to_owned(), "it has to be TOML: https://toml.io")
    })?;
    let table = DeValue::Table(parsed.into_inner());
    let document = Document::read(Node { value: &table, span: 0..0 })?;
    let mut options = Vec::new();
    document.add_given("", source, &mut options);
    document.add_given_for_all(source, &mut options);
    let Document { env, watch, ignore, processes, apps, .. } = document;
    let (processes, apps) = (processes.unwrap_or_default(), apps.unwrap_or_default());
    let directory = &source.directory;
    let ignore = ignore.map(|globs| patterns(&globs, directory).map_err(|fault| fault.below("ignore")));
    let watch = watch.map(|entries| {
        let mut all = Vec::new();
        for entry in entries.0 {
            let (globs, verdict) = entry.into_parts();
            all.extend(patterns(&globs, directory)?.into_iter().map(|pattern| (pattern, verdict)));
        }
        Ok(all)
    });
    let watch = watch.map(|watch: Result<_, Fault>| watch.map_err(|fault| fault.below("watch")));
    bounded("processes", processes.0.len(), PROCESSES_COUNT_MAX, processes.0.last().map(|(name, _)| name))?;
    bounded("apps", apps.0.len(), APPS_COUNT_MAX, apps.0.last().map(|(name, _)| name))?;
    let process = |(name, process): (At<String>, Process)| {
        let key = name.value.clone();
        side_process(name.value, process, directory).map_err(|fault| fault.below(&key).below("processes"))
    };
    Ok(File {
        options,
        env: env.unwrap_or_default().0,
        watch: watch.transpose()?,
        ignore: ignore.transpose()?,
        processes: processes.0.into_iter().map(process).collect::<Result<_, _>>()?,
        apps: apps.0.into_iter().map(|(name, app)| self::app(name, app, source)).collect(),
    })
}

fn bounded(key: &str, count: usize, max: usize, last: Option<&At<String>>) -> Result<(), Fault> {
    match last {
        Some(last) if count > max => {
            let hint = format!("leave out {}", count - max);
            Err(Fault::new(last.span.clone(), format!("there can be {max}, and there are {count}"), hint)
                .below(key))
        }
        _ => Ok(()),
    }
}

fn patterns(globs: &Texts, directory: &Path) -> Result<Vec<Pattern>, Fault> {
    let one = |glob: &At<String>| {
        Pattern::new(directory, &glob.value).map_err(|why| {
            let hint = "a glob is needed, such as `content/**` or `templates/*.html`";
            Fault::new(glob.span.clone(), format!("`{}` is not a glob: {why}", glob.value), hint)
        })
    };
    globs.0.iter().map(one).collect()
}

fn side_process(name: String, process: Process, directory: &Path) -> Result<SideProcess, Fault> {
    let before_build = process.before_build.unwrap_or(false);
    if before_build {
        let hint = "leave out `before-build` or this";
        let refused = |span: &std::ops::Range<usize>, what: &str| {
            Err(Fault::new(span.clone(), format!("what runs to its end before the build {what}"), hint))
        };
        if let Some(ready_when) = &process.ready_when {
            return refused(&ready_when.span, "is ready when it has ended")
                .map_err(|fault| fault.below("ready-when"));
        }
        if let Some(restart) = process.restart.as_ref().filter(|restart| restart.value) {
            return refused(&restart.span, "is not started again").map_err(|fault| fault.below("restart"));
        }
    }
    let ready_when = process.ready_when.map(|ready_when| match ready_when.value {
        ready_when::ReadyWhen::Port(port) => ReadyWhen::Port(port.get()),
        ready_when::ReadyWhen::Line(line) => ReadyWhen::Line(line),
        ready_when::ReadyWhen::File(file) => ReadyWhen::File(directory.join(file)),
    });
    Ok(SideProcess {
        name,
        command: process.command.0,
        directory: absolute(directory, process.directory.as_deref()),
        env: process.env.unwrap_or_default().0,
        ready_when,
        before_build,
        restart: process.restart.map_or(!before_build, |restart| restart.value),
    })
}

fn app(name: At<String>, app: document::AppTable, source: &Arc<Source>) -> App {
    let mut options = Vec::new();
    app.add_given(&format!("apps.{}", name.value), source, &mut options);
    App {
        name: name.value,
        place: source.place(app.package.as_ref().map_or(name.span, |package| package.span.clone())),
        package: app.package.map(|package| package.value),
        options,
        env: app.env.unwrap_or_default().0,
    }
}

/// Returns the path of the file in a directory.
pub(crate) fn path_in(directory: &Path) -> PathBuf {
    directory.join(FILE_NAME)
}
