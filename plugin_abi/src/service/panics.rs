//! Catches the app's panics as a request is polled, with message, location and backtrace. The previous hook
//! runs as well, so std prints what it always does.

use std::any::Any;
use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

/// The longest reported backtrace, in bytes.
const BACKTRACE_BYTES_MAX: usize = 48 * 1024;
/// The longest reported message, in bytes.
const MESSAGE_BYTES_MAX: usize = 8 * 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PanicReport {
    pub(crate) message: String,
    /// `file:line:column`, or empty.
    pub(crate) location: String,
    /// As printed by std, from the app's frames on, or empty.
    pub(crate) backtrace: String,
}

/// What the hook saw of the last panic on this thread.
struct Seen {
    location: String,
    backtrace: Backtrace,
}

thread_local! {
    /// The depth of [`catch`] calls on this thread.
    static CATCHING: Cell<u32> = const { Cell::new(0) };
    /// Set while the hook runs, so that a hook installed twice acts once.
    static IN_HOOK: Cell<bool> = const { Cell::new(false) };
    static SEEN: RefCell<Option<Seen>> = const { RefCell::new(None) };
}

/// Installs a hook before the current one that records location and backtrace of panics inside [`catch`].
pub(crate) fn install_hook() {
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if CATCHING.get() == 0 || IN_HOOK.replace(true) {
            return previous(info);
        }
        let location = info.location().map(ToString::to_string).unwrap_or_default();
        // Captured only: symbols are resolved if the panic reaches `catch`.
        let seen = Seen { location, backtrace: Backtrace::force_capture() };
        SEEN.with(|slot| *slot.borrow_mut() = Some(seen));
        previous(info);
        IN_HOOK.set(false);
    }));
}

/// Runs app code and catches its panic.
pub(crate) fn catch<T>(run: impl FnOnce() -> T) -> Result<T, PanicReport> {
    CATCHING.set(CATCHING.get() + 1);
    SEEN.with(|slot| slot.borrow_mut().take());
    // The caller drops whatever the panic left half-done.
    let result = catch_unwind(AssertUnwindSafe(|| begin_app_backtrace(run)));
    CATCHING.set(CATCHING.get() - 1);
    result.map_err(report)
}

/// Marks the frame below which a backtrace is not interesting.
#[inline(never)]
fn begin_app_backtrace<T>(run: impl FnOnce() -> T) -> T {
    let result = run();
    // Keeps this frame from being replaced by a tail call.
    std::hint::black_box(());
    result
}

fn report(payload: Box<dyn Any + Send>) -> PanicReport {
    let payload = match payload.downcast::<PanicReport>() {
        // Already caught on a synchronous handler's thread.
        Ok(report) => return *report,
        Err(payload) => payload,
    };
    let message = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (_, Some(text)) => text.clone(),
        _ => "a panic without a message".to_owned(),
    };
    // The payload's destructor is app code, too.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(payload)));
    let seen = SEEN.with(|slot| slot.borrow_mut().take());
    let (location, backtrace) = seen
        .map_or_else(Default::default, |seen| (seen.location, trim_backtrace(&seen.backtrace.to_string())));
    PanicReport {
        message: cut(message, MESSAGE_BYTES_MAX),
        location,
        backtrace: cut(backtrace, BACKTRACE_BYTES_MAX),
    }
}

fn cut(mut text: String, bytes_max: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes_max));
    text
}

/// A future whose panic becomes its result.
pub(crate) struct Catch<F>(Option<Pin<Box<F>>>);

impl<F: Future> Catch<F> {
    pub(crate) fn new(future: F) -> Self {
        Self(Some(Box::pin(future)))
    }
}

impl<F: Future> Future for Catch<F> {
    type Output = Result<F::Output, PanicReport>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(future) = self.0.as_mut() else {
            panic!("polled after its end");
        };
        match catch(|| future.as_mut().poll(cx)) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(report) => {
                // Dropped here, where a second panic is caught as well.
                let future = self.0.take();
                let _ = catch(|| drop(future));
                Poll::Ready(Err(report))
            }
        }
    }
}

/// A frame of a textual backtrace.
struct Frame<'a> {
    name: &'a str,
    /// `file:line:column`, or empty.
    place: &'a str,
}

impl Frame<'_> {
    /// Returns true for the last of std's and this crate's frames between hook and panic.
    fn is_end_of_panic(&self) -> bool {
        self.name.contains("__rust_end_short_backtrace")
    }

    /// Returns true for frames between the app's code and the panic: `panic!`, `unwrap`, an index out of
    /// bounds.
    fn is_panic_machinery(&self) -> bool {
        ["core::panicking::", "std::panicking::", "core::option::", "core::result::", "core::slice::index::"]
            .iter()
            .any(|prefix| self.name.starts_with(prefix))
            || self.name.contains("rust_begin_unwind")
    }

    fn is_begin_of_app(&self) -> bool {
        self.name.contains("begin_app_backtrace") && self.name.contains("devhost_plugin")
    }

    /// Returns true if the frame is in the user's code, judging by its path.
    fn is_own(&self) -> bool {
        let foreign = ["/rustc/", "/registry/src/", "/git/checkouts/", "/lib/rustlib/src/"];
        // This crate is often a path dependency, and its frames surround the app's. Not all carry its name.
        let is_adapter =
            ["devhost_plugin::", "<devhost_plugin::"].iter().any(|prefix| self.name.starts_with(prefix));
        !is_adapter
            && !is_in_this_crate(self.place)
            && !self.place.is_empty()
            && !foreign.iter().any(|part| self.place.contains(part))
    }
}

/// Returns true if a place is in this crate's sources. std shortens paths below the working directory.
fn is_in_this_crate(place: &str) -> bool {
    const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/service/");
    if place.starts_with(SOURCES) {
        return true;
    }
    let Some(shortened) = place.strip_prefix("./") else { return false };
    std::env::current_dir().is_ok_and(|directory| directory.join(shortened).starts_with(SOURCES))
}

/// Cuts std's backtrace down to the frames from the panic to the app's outermost function.
fn trim_backtrace(text: &str) -> String {
    let frames = parse_frames(text);
    let mut from = frames.iter().position(Frame::is_end_of_panic).map_or(0, |index| index + 1);
    while frames.get(from).is_some_and(Frame::is_panic_machinery) {
        from += 1;
    }
    let mut to = frames.iter().position(Frame::is_begin_of_app).unwrap_or(frames.len()).max(from);
    // Cuts the frames of server and runtime between the marker and the app. Without debug info no place is
    // known, so all frames stay.
    if let Some(last) = frames[from..to].iter().rposition(Frame::is_own) {
        to = from + last + 1;
    }
    let mut trimmed = String::new();
    for (index, frame) in frames[from..to].iter().enumerate() {
        trimmed.push_str(&format!("{index:4}: {}\n", frame.name));
        if !frame.place.is_empty() {
            trimmed.push_str(&format!("             at {}\n", frame.place));
        }
    }
    if trimmed.is_empty() { text.to_owned() } else { trimmed }
}

fn parse_frames(text: &str) -> Vec<Frame<'_>> {
    let mut frames: Vec<Frame<'_>> = Vec::new();
    // Only the first of several inlined functions has a number.
    for line in text.lines().map(str::trim) {
        if let Some(place) = line.strip_prefix("at ") {
            if let Some(frame) = frames.last_mut() {
                frame.place = place;
            }
            continue;
        }
        let name = match line.split_once(": ") {
            Some((number, name)) if number.chars().all(|c| c.is_ascii_digit()) => name,
            _ => line,
        };
        frames.push(Frame { name, place: "" });
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAW: &str = "\
   0: devhost_plugin::service::panics::install_hook::{{closure}}
             at /home/me/plugin_abi/src/service/panics.rs:50:33
   1: std::panicking::rust_panic_with_hook
             at /rustc/abc/library/std/src/panicking.rs:842:13
   2: std::sys::backtrace::__rust_end_short_backtrace
             at /rustc/abc/library/std/src/sys/backtrace.rs:174:18
   3: __rustc::rust_begin_unwind
             at /rustc/abc/library/std/src/panicking.rs:697:5
   4: core::panicking::panic_fmt
             at /rustc/abc/library/core/src/panicking.rs:75:14
   5: core::option::unwrap_failed
             at /rustc/abc/library/core/src/option.rs:2040:5
   6: guests::pages::show
             at ./src/pages.rs:12:5
      guests::pages::list
             at ./src/pages.rs:20:9
   7: <F as axum::handler::Handler<T>>::call
             at /home/me/.cargo/registry/src/index/axum-0.8.9/src/handler/mod.rs:246:52
   8: devhost_plugin::service::panics::begin_app_backtrace
             at /home/me/plugin_abi/src/service/panics.rs:70:18
   9: tokio::runtime::task::raw::poll
";

    #[test]
    fn backtraces_keep_the_frames_of_the_app() {
        let expected = "   0: guests::pages::show\n             at ./src/pages.rs:12:5\n   1: \
                        guests::pages::list\n             at ./src/pages.rs:20:9\n";
        assert_eq!(trim_backtrace(RAW), expected);
    }

    #[test]
    fn backtraces_end_with_the_app_and_not_with_the_adapter() {
        let adapter =
            "   8: <devhost_plugin::service::app::Serve<S> as devhost_plugin::service::app::App>::call
             at /home/me/plugin_abi/src/service/app.rs:40:9
   9: devhost_plugin::service::panics::begin_app_backtrace";
        let raw = RAW.replace("   8: devhost_plugin::service::panics::begin_app_backtrace", adapter);
        assert!(raw.contains("Serve<S>"));
        assert_eq!(trim_backtrace(&raw), trim_backtrace(RAW));
        // As rustc names an `async` block, in the working directory and elsewhere.
        for place in
            [concat!(env!("CARGO_MANIFEST_DIR"), "/src/service/app.rs:98:50"), "./src/service/app.rs:98:50"]
        {
            let block = format!(
                "   8: {{async_block#0}}<axum::routing::Router<()>>\n             at {place}\n   9: devhost_plugin::service::panics::begin_app_backtrace"
            );
            let raw = RAW.replace("   8: devhost_plugin::service::panics::begin_app_backtrace", &block);
            assert!(raw.contains("async_block"));
            assert_eq!(trim_backtrace(&raw), trim_backtrace(RAW), "{place}");
        }
    }

    #[test]
    fn backtraces_without_debug_info_keep_everything_up_to_the_marker() {
        let raw: String =
            RAW.lines().filter(|line| !line.trim().starts_with("at ")).map(|l| format!("{l}\n")).collect();
        let trimmed = trim_backtrace(&raw);
        assert!(trimmed.contains("guests::pages::show") && trimmed.contains("axum::handler"), "{trimmed}");
        assert!(!trimmed.contains("tokio") && !trimmed.contains("panicking"), "{trimmed}");
    }

    #[test]
    fn an_unknown_text_is_kept() {
        assert_eq!(trim_backtrace("<unknown>"), "   0: <unknown>\n");
        assert_eq!(trim_backtrace(""), "");
    }

    #[test]
    fn a_panic_is_reported_with_its_place_and_frames() {
        install_hook();
        let report =
            catch(|| -> () { std::hint::black_box(None::<()>).expect("nothing there") }).expect_err("panics");
        assert_eq!(report.message, "nothing there");
        assert!(report.location.contains("panics.rs:"), "{}", report.location);
        assert!(report.backtrace.contains("a_panic_is_reported"), "{}", report.backtrace);
        assert!(!report.backtrace.contains("rust_begin_unwind"), "{}", report.backtrace);
        assert!(!report.backtrace.contains("begin_app_backtrace"), "{}", report.backtrace);
    }
}
