//! Backtraces: the frames of the app stand out from those of its dependencies.

use std::path::Path;

use maud::{Markup, html};

use crate::html::Foreign;

/// Where this repository keeps the crate that makes an app a plugin: not all of its frames have its name.
const ADAPTER_SOURCES: &str = "/plugin_abi/src/service/";

/// A frame of a backtrace as std prints it: a line with number and name, and perhaps one with `at` and a place.
#[derive(Debug, PartialEq, Eq)]
struct BacktraceFrame<'a> {
    name: &'a str,
    at: Option<&'a str>,
}

impl BacktraceFrame<'_> {
    /// Returns true for code that the user writes (the app and path dependencies), judged by name and file.
    fn is_of_the_app(&self) -> bool {
        let is_foreign = |at: &str| {
            ["/rustc/", "/registry/src/", "/git/checkouts/", "/rustlib/", "/library/std/", ADAPTER_SOURCES]
                .iter()
                .any(|part| at.contains(part))
                || is_vendored(at)
        };
        !self.is_of_devhost() && self.at.is_some_and(|at| !is_foreign(at))
    }

    /// Returns true for code of the crate that makes an app a plugin. It is often a path dependency.
    fn is_of_devhost(&self) -> bool {
        ["devhost_plugin::", "<devhost_plugin::"].iter().any(|prefix| self.name.starts_with(prefix))
    }
}

/// Returns true for a file of `cargo vendor`, which leaves a record of checksums beside each manifest.
fn is_vendored(at: &str) -> bool {
    let path = at.rsplitn(3, ':').last().unwrap_or(at);
    Path::new(path).ancestors().skip(1).take_while(|directory| !directory.as_os_str().is_empty()).any(
        |directory| {
            directory.join("Cargo.toml").is_file() && directory.join(".cargo-checksum.json").is_file()
        },
    )
}

fn parse_backtrace(text: &str) -> Vec<BacktraceFrame<'_>> {
    let mut frames: Vec<BacktraceFrame<'_>> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("note: ")) {
        let numbered = line
            .split_once(": ")
            .filter(|(number, _)| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()));
        match (numbered, line.strip_prefix("at "), frames.last_mut()) {
            (Some((_, name)), _, _) => frames.push(BacktraceFrame { name: name.trim(), at: None }),
            (None, Some(at), Some(frame)) if frame.at.is_none() => frame.at = Some(at.trim()),
            // An inlined function has a name line without a number.
            (None, None, Some(_)) => frames.push(BacktraceFrame { name: line, at: None }),
            _ => {}
        }
    }
    frames
}

/// Renders a backtrace: first the frames of the app, then all of them, folded.
pub(super) fn to_html(text: &str) -> Markup {
    let frames = parse_backtrace(text);
    if frames.is_empty() {
        return html! { section { h2 { "Backtrace" } pre { (Foreign(text)) } } };
    }
    let app: Vec<_> = frames.iter().filter(|frame| frame.is_of_the_app()).collect();
    html! {
        @if !app.is_empty() {
            section {
                h2 { "In the app" }
                ol class="frames" { @for frame in &app { (frame_to_html(frame)) } }
            }
        }
        section {
            details open[app.is_empty()] {
                summary { "Full backtrace, " (frames.len()) " frames" }
                ol class="frames" { @for frame in &frames { (frame_to_html(frame)) } }
            }
        }
    }
}

fn frame_to_html(frame: &BacktraceFrame<'_>) -> Markup {
    html! {
        li class=[frame.is_of_the_app().then_some("app")] {
            (Foreign(frame.name))
            @if let Some(at) = frame.at { span class="at" { (Foreign(at)) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_the_app_stand_out() {
        let text = "   0: rust_begin_unwind\n             at /rustc/abc/library/std/src/panicking.rs:697:5\n   \
                    1: example_app::boom\n             at ./src/pages.rs:12:5\n   2: tower::call\n             \
                    at /home/u/.cargo/registry/src/x/tower/src/lib.rs:1:2\n   3: inlined\n      also_inlined\n";
        let frames = parse_backtrace(text);
        assert_eq!(frames.len(), 5);
        assert_eq!(frames[1], BacktraceFrame { name: "example_app::boom", at: Some("./src/pages.rs:12:5") });
        let app: Vec<_> =
            frames.iter().filter(|frame| frame.is_of_the_app()).map(|frame| frame.name).collect();
        assert_eq!(app, ["example_app::boom"]);
        assert!(to_html("no backtrace <at> all").into_string().contains("&lt;at&gt;"));
    }

    #[test]
    fn neither_the_adapter_nor_a_dependency_is_the_app() {
        let vendored = tempfile::tempdir().unwrap();
        let package = vendored.path().join("vendor/axum");
        std::fs::create_dir_all(package.join("src")).unwrap();
        std::fs::write(package.join("Cargo.toml"), "").unwrap();
        let at = |directory: &str| format!("{}:7:9", package.join(directory).join("lib.rs").display());
        fn frame<'a>(name: &'a str, at: &'a str) -> BacktraceFrame<'a> {
            BacktraceFrame { name, at: Some(at) }
        }
        assert!(frame("axum::call", &at("src")).is_of_the_app(), "it is a path dependency still");
        std::fs::write(package.join(".cargo-checksum.json"), "{}").unwrap();
        let vendored = at("src");
        for (name, at) in [
            ("axum::call", vendored.as_str()),
            (
                "devhost_plugin::service::adapter::serve",
                "/home/me/devhost/plugin_abi/src/service/adapter.rs:9:1",
            ),
            (
                "<devhost_plugin::service::panics::Catch<F> as Future>::poll",
                "./plugin_abi/src/service/panics.rs:1:1",
            ),
            (
                "{async_block#0}<axum::routing::Router<()>>",
                "/home/me/devhost/plugin_abi/src/service/app.rs:98:50",
            ),
            ("tower::call", "/opt/cargo-home/registry/src/index-0123/tower-0.5/src/lib.rs:1:2"),
            ("git::call", "/opt/cargo-home/git/checkouts/git-0123/abc/src/lib.rs:1:2"),
            ("core::ops::function::FnOnce::call_once", "/rustc/abc/library/core/src/ops/function.rs:250:5"),
        ] {
            assert!(!frame(name, at).is_of_the_app(), "{name}");
        }
        for (name, at) in [
            ("guests::show::<devhost_plugin::Remote>", "./src/pages.rs:12:5"),
            ("util::helper", "/home/me/projects/util/src/lib.rs:3:3"),
        ] {
            assert!(frame(name, at).is_of_the_app(), "{name}");
        }
    }
}
