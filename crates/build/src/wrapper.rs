//! devhost as `RUSTC_WORKSPACE_WRAPPER`: cargo calls it instead of rustc for workspace crates. The app's call
//! gets the library of dependencies and whatever else makes it loadable; other crates get cheaper debug
//! information. Everything else passes through untouched. It replaces itself by rustc, so signals, exit codes
//! and output need no care, except for a plain app's call (see `plain`).
//!
//! Workspace crates get line tables only; backtraces keep file and line.
//!
//! The app crate must mention the library of dependencies for rustc to load it: `export!` expands to `extern
//! crate devhost_deps as _;` under `--cfg devhost`, and to nothing otherwise. An ordinary build of the app
//! contains no devhost code.
#![expect(clippy::print_stderr, reason = "a program of its own: cargo shows what rustc writes")]

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::call::{Call, library_stem};
use crate::deps::{self, Linkage};
use crate::documents;
use crate::extern_kind::ExternKind;
use crate::helper_error::HelperError;
use crate::job_sheet::{Externs, JOB_SHEET_VARIABLE, JobSheet, Report};
use crate::linker::{APP_VARIABLE, REAL_LINKER_VARIABLE};
use crate::plain::PlainCall;
use crate::quick::Offer;
use crate::record::{self, REPLAY_VARIABLE};
use crate::script::Place;
use crate::settings::DebugInfo;
use devhost_model::AppKind;

/// Runs `rustc` as cargo asked, with devhost's additions.
pub(crate) fn main(args: &[OsString]) -> ExitCode {
    let Some((rustc, args)) = args.split_first() else {
        eprintln!("devhost-rustc: cargo runs this in place of rustc; there is nothing to run it for by hand");
        return ExitCode::FAILURE;
    };
    let call = Call::read(args);
    let sheet =
        std::env::var_os(JOB_SHEET_VARIABLE).and_then(|path| documents::read::<JobSheet>(Path::new(&path)));
    let mut command = Command::new(rustc);
    // Without a crate name cargo is asking about rustc itself.
    let sheet = sheet.filter(|_| !call.crate_name.is_empty());
    let result = match &sheet {
        Some(sheet) => {
            if std::env::var_os(REPLAY_VARIABLE).is_none() {
                record::keep(rustc, args, &call, sheet);
            }
            add(&mut command, rustc, args, &call, sheet)
        }
        None => {
            command.args(args);
            Ok(None)
        }
    };
    command.env_remove(JOB_SHEET_VARIABLE).env_remove(REPLAY_VARIABLE);
    let error = match result {
        Ok(None) => match sheet.and_then(|sheet| Place::of(&call, &sheet)) {
            Some(place) => match place.run(command) {
                Ok(code) => return code,
                Err(error) => error,
            },
            None => HelperError::io(format!("run {}", rustc.to_string_lossy()), command.exec()),
        },
        Ok(Some(plain)) => match plain.run(command) {
            Ok(code) => return code,
            Err(error) => error,
        },
        Err(error) => error,
    };
    eprintln!("error: {error}");
    ExitCode::FAILURE
}

/// Passes on a call's arguments with devhost's changes. A returned plain app's call adds them itself.
fn add(
    command: &mut Command,
    rustc: &OsStr,
    args: &[OsString],
    call: &Call,
    sheet: &JobSheet,
) -> Result<Option<PlainCall>, HelperError> {
    let root = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let app_type = match sheet.kind {
        AppKind::Plugin => "cdylib",
        AppKind::Plain => "bin",
    };
    let is_app = root.as_ref() == Some(&sheet.app_root)
        && call.crate_name == sheet.app_crate
        && call.crate_types == [app_type]
        && !call.test;
    let is_plain = is_app && sheet.kind == AppKind::Plain;
    if !is_plain {
        command.args(args);
    }
    add_debug_info(command, call, sheet.debug_info);
    // rustc's allocator is a jemalloc that reads this: huge pages save an eighth of its time, mostly page
    // faults. The user's own setting wins.
    if std::env::var_os("MALLOC_CONF").is_none() {
        command.env("MALLOC_CONF", "thp:always");
    }
    command.env("TMPDIR", &sheet.temporary);
    let Some(root) = root else { return Ok(None) };
    let externs = sort_externs(call, sheet, &root);
    if !is_app {
        if call.crate_types.iter().any(|kind| kind.ends_with("dylib")) {
            remove_old(call);
        }
        let path = record_path(sheet, &call.stem());
        documents::write(&path, &externs)
            .map_err(|error| HelperError::io(format!("write {}", path.display()), error))?;
        return Ok(None);
    }
    let linkage = add_app(command, rustc, call, sheet, externs)?;
    let is_quick = matches!(linkage, Linkage::Shared { .. }) && !linkage.is_relinked();
    // Only a replay: what cargo shows is rustc's own.
    let offer =
        (is_quick && std::env::var_os(REPLAY_VARIABLE).is_some()).then(|| Offer::of(call, sheet)).flatten();
    if let Some(offer) = &offer {
        offer.accept(command, &sheet.linker);
    }
    let mut report = Report {
        key: sheet.key.clone(),
        preload: linkage.preload(),
        static_marker: linkage.static_marker().to_owned(),
        relink_marker: linkage.relink_marker(),
        exclusion: linkage.exclusion(),
        notes: linkage.notes(),
        call: Some(record::path(&sheet.target_dir, &call.out_dir, &call.stem())),
        link: offer.map(|offer| offer.directory),
    };
    let mut plain = None;
    if is_plain {
        let prepared =
            PlainCall::prepare(rustc, args, call, sheet, matches!(linkage, Linkage::Shared { .. }))?;
        report.notes.extend(prepared.notes());
        plain = Some(prepared);
    }
    documents::write(&sheet.report, &report)
        .map_err(|error| HelperError::io(format!("write {}", sheet.report.display()), error))?;
    Ok(plain)
}

/// Lowers the profile's debug information, never raises it.
fn add_debug_info(command: &mut Command, call: &Call, wanted: DebugInfo) {
    let full = matches!(call.codegen("debuginfo"), Some("1" | "2" | "limited" | "full"))
        || call.codegen.iter().any(|option| option == "debuginfo");
    if wanted == DebugInfo::LineTables && full {
        command.args(["-C", "debuginfo=line-tables-only"]);
    }
}

/// Sorts a crate's externs by what cargo says of each package, never by file name.
fn sort_externs(call: &Call, sheet: &JobSheet, root: &Path) -> Externs {
    let mut sorted = Externs::default();
    let Some(kinds) = sheet.externs.get(root) else { return sorted };
    for library in &call.externs {
        match kinds.get(&library.name) {
            Some(ExternKind::Path) => sorted.path.push(library.path.clone()),
            Some(ExternKind::Library)
                if library.rlib().is_file() || library.path.extension() != Some(OsStr::new("so")) =>
            {
                sorted.libraries.push(library.rlib());
            }
            _ => {}
        }
    }
    sorted
}

/// Where a path crate's externs are recorded for the app's call.
fn record_path(sheet: &JobSheet, stem: &str) -> PathBuf {
    sheet.target_dir.join("externs").join(format!("{stem}.json"))
}

/// The dependencies of the app and of the path crates it reaches.
fn collect_libraries(sheet: &JobSheet, app: Externs) -> Vec<PathBuf> {
    let mut libraries = app.libraries;
    let mut queue = app.path;
    let mut seen = std::collections::HashSet::new();
    while let Some(path) = queue.pop() {
        let Some(stem) = library_stem(&path) else { continue };
        if !seen.insert(stem.to_owned()) {
            continue;
        }
        // A path crate outside of the workspace is compiled without the wrapper: dependencies only it uses
        // stay static.
        if let Some(externs) = documents::read::<Externs>(&record_path(sheet, stem)) {
            libraries.extend(externs.libraries.into_iter().filter(|library| library.is_file()));
            queue.extend(externs.path);
        }
    }
    libraries.sort();
    libraries.dedup();
    libraries
}

fn add_app(
    command: &mut Command,
    rustc: &OsStr,
    call: &Call,
    sheet: &JobSheet,
    externs: Externs,
) -> Result<Linkage, HelperError> {
    let libraries = collect_libraries(sheet, externs);
    let linkage = deps::provide(rustc, call, sheet, &libraries)?;
    if sheet.kind == AppKind::Plugin {
        remove_old(call);
        command.args(["--cfg", "devhost", "--check-cfg=cfg(devhost)"]);
    }
    let mut devhost_deps = OsString::from("devhost_deps=");
    devhost_deps.push(linkage.library());
    command.arg("--extern").arg(devhost_deps);
    command.arg("-C").arg(link_argument(call, "--build-id=sha1"));
    if call.externs.iter().any(|library| library.path.extension() == Some(OsStr::new("so"))) {
        // A path crate that is a dylib stays one. `cargo run` tells the loader by the environment where it
        // is.
        command.arg("-C").arg(link_argument(call, &format!("-rpath={}", call.out_dir.display())));
    }
    if let Linkage::Shared { .. } = linkage {
        command.args(["-C", "prefer-dynamic"]);
    }
    if linkage.is_relinked() {
        let mut linker = OsString::from("linker=");
        linker.push(&sheet.linker);
        command.arg("-C").arg(linker);
        command.env(REAL_LINKER_VARIABLE, call.codegen("linker").unwrap_or("cc")).env(APP_VARIABLE, "1");
    }
    Ok(linkage)
}

/// Unlinks an old library: whichever linker writes the new one, whoever has the old one mapped or hard-linked
/// keeps its content.
fn remove_old(call: &Call) {
    let _ = std::fs::remove_file(call.out_dir.join(format!("lib{}.so", call.stem())));
}

/// An argument for the linker itself, through the C compiler that usually calls it.
fn link_argument(call: &Call, argument: &str) -> String {
    let bare = call.codegen("linker-flavor").is_some_and(|flavor| {
        flavor == "ld" || flavor.starts_with("ld.") || (flavor.contains("ld") && !flavor.contains("cc"))
    });
    if bare { format!("link-arg={argument}") } else { format!("link-arg=-Wl,{argument}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn debug_args(line: &str, wanted: DebugInfo) -> usize {
        let call = Call::read(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        let mut command = Command::new("rustc");
        add_debug_info(&mut command, &call, wanted);
        command.get_args().count()
    }

    #[test]
    fn debug_information_is_lowered_but_never_raised() {
        assert_eq!(debug_args("-C debuginfo=2", DebugInfo::LineTables), 2);
        assert_eq!(debug_args("-C debuginfo=2", DebugInfo::Full), 0);
        assert_eq!(debug_args("-C debuginfo=0", DebugInfo::LineTables), 0);
        assert_eq!(debug_args("-C opt-level=3", DebugInfo::LineTables), 0);
    }
}
