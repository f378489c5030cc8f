//! The wording of build failures, and hints.

use std::path::{Path, PathBuf};

use devhost_model::{Diagnostics, Failure};

use crate::cargo;
use crate::cargo_text;
use crate::deps;
use crate::inspector::{self, Problem};
use crate::job_sheet::Report;

/// The library and the report of a run, or its failure.
pub(crate) fn finish(run: &cargo::Run, report: Option<Report>) -> Result<(PathBuf, Report), Failure> {
    if !run.success {
        return Err(failed(run));
    }
    let library = run
        .library
        .clone()
        .ok_or_else(|| build_failure("cargo succeeded, but reported no library for the app".into()))?;
    let report = report.ok_or_else(|| {
        build_failure(
            "cargo succeeded without calling devhost for the app. Does a `rustc` or `rustc-wrapper` in \
             .cargo/config.toml leave out the arguments that it is given?"
                .into(),
        )
    })?;
    Ok((library, report))
}

pub(crate) fn failed(run: &cargo::Run) -> Failure {
    let mut output = run.output.clone();
    if let Some(hint) = missing_from_the_system(run) {
        output.push_str(&format!("hint: {hint}\n"));
    }
    Failure::Build { diagnostics: run.diagnostics.sorted(), output }
}

/// A hint for something missing that cargo does not provide.
fn missing_from_the_system(run: &cargo::Run) -> Option<String> {
    let rendered = run.diagnostics.iter().map(|diagnostic| diagnostic.rendered.as_str());
    let text: Vec<String> = rendered.chain([run.output.as_str()]).map(cargo_text::strip_colours).collect();
    let mut lines = text.iter().flat_map(|text| text.lines());
    lines.find_map(|line| {
        if let Some(library) = deps::missing_library(line) {
            return Some(format!(
                "the linker does not find the system library `{library}`: install the package with its development \
                 files (`lib{library}-dev`, `{library}-devel` or the like)"
            ));
        }
        // In the words of the crate pkg-config.
        let (_, rest) = line.split_once("The system library `")?;
        let (library, _) = rest.split_once("` required by crate")?;
        Some(format!(
            "install the package with the development files of `{library}`, or let PKG_CONFIG_PATH name the directory \
             of its `{library}.pc`"
        ))
    })
}

pub(crate) fn explain(problem: Problem, library: &Path) -> Failure {
    match problem {
        Problem::Unfit { message, hint } => start_failure(message, hint),
        Problem::OwnAllocator => start_failure(
            format!("{} has an allocator of its own beside the shared standard library's", library.display()),
            "use --deps static, or --deps auto",
        ),
        Problem::Unresolved(symbols) => start_failure(
            format!(
                "{} needs symbols that nothing provides: {}",
                library.display(),
                inspector::list_symbols(&symbols)
            ),
            "link the library that has them (in a build script: `cargo::rustc-link-lib=NAME`)",
        ),
    }
}

pub(crate) fn build_failure(output: String) -> Failure {
    Failure::Build { diagnostics: Diagnostics::default(), output }
}

pub(crate) fn start_failure(message: impl Into<String>, hint: impl Into<String>) -> Failure {
    Failure::start(message, hint)
}
