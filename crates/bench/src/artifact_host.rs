//! The host of the plugins by which `devhost bench` finds out what a reload leaves behind: a process of its own that
//! reloads one plugin in one way and writes down what it sees, a line of JSON each. It may use the loader, the preload
//! of the zygote and fork. It judges nothing, and it may crash: how it ends is a result, too
//! ([`crate::artifacts`] reads both).
//!
//! Whoever starts it ends it, with its whole process group, at a deadline; so nothing here waits with one of its own.

use std::ffi::{OsString, c_void};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW, Symbol};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getppid};
use serde::{Deserialize, Serialize};

use devhost_process::zygote::preload;
use devhost_sys::process::{count_threads, exit_now};

/// The name by which devhost is called to be such a host.
pub const ARTIFACT_HOST_NAME: &str = "devhost-artifact-host";

/// The longest answer of a plugin.
const ANSWER_BYTES_MAX: usize = 4096;

/// Smaller than any core file, and the one value that keeps a program that collects them from being called.
const CORE_FILE_BYTES_MAX: u64 = 1;

/// How a host is to reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Way {
    /// dlopen, swap and dlclose in this process
    Inprocess,
    /// The dependency is loaded here, and each version in a forked child
    Fork,
    /// Each version in a forked child, which loads the dependency as well
    ForkNoPreload,
    /// This process is for the old version alone: it is stopped, and then the process ends at once
    Old,
    /// This process is for the new version alone
    New,
}

/// What a host is to do.
#[derive(Debug, Clone)]
pub struct Order {
    /// How to reload.
    pub way: Way,
    /// The library that stands for the dependencies.
    pub shared: PathBuf,
    /// The versions: the old and the new one, or the one that is wanted.
    pub plugins: Vec<PathBuf>,
    /// Where each version is put before it is loaded, in place of the one before; else each is loaded where it is.
    pub place: Option<PathBuf>,
}

impl Order {
    /// The order as the arguments of a host.
    pub fn args(&self) -> Vec<OsString> {
        let way = self.way.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
        let place = self.place.clone().unwrap_or_default();
        let mut args = vec![way.into(), self.shared.clone().into(), place.into()];
        args.extend(self.plugins.iter().map(OsString::from));
        args
    }

    fn parse(args: &[OsString]) -> Option<Self> {
        let [way, shared, place, plugins @ ..] = args else { return None };
        let way = Way::from_str(way.to_str()?, false).ok()?;
        let place = (!place.is_empty()).then(|| place.into());
        Some(Self { way, shared: shared.into(), plugins: plugins.iter().map(PathBuf::from).collect(), place })
    }
}

/// What a host, or a program of the same source, says while it goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Seen {
    /// A version was loaded and started.
    Started,
    /// A version answered.
    Answered {
        /// The version that the code that answered was compiled as.
        version: u32,
        /// Its answer.
        text: String,
    },
    /// The old version was stopped and given to dlclose.
    Unloaded,
    /// All is done; the process ends in the ordinary way.
    Ending,
    /// A forked child has ended.
    ChildEnded {
        /// By itself, with this code.
        code: Option<i32>,
        /// By this signal.
        signal: Option<i32>,
    },
    /// The host itself could not go on.
    Failed {
        /// Why.
        message: String,
    },
}

/// Runs the host, if the process was called as one. To be called first in `main`.
pub fn dispatch(argv0_file_name: &str) -> Option<u8> {
    if argv0_file_name != ARTIFACT_HOST_NAME {
        return None;
    }
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let Some(order) = Order::parse(&args) else {
        eprintln!("{ARTIFACT_HOST_NAME}: is called by `devhost bench` alone");
        return Some(2);
    };
    Some(match run(&order) {
        Ok(()) => 0,
        Err(message) => {
            say(&Seen::Failed { message });
            1
        }
    })
}

fn run(order: &Order) -> Result<(), String> {
    end_with_parent()?;
    // A crash is an expected result here, not one to keep.
    let _ = setrlimit(Resource::RLIMIT_CORE, CORE_FILE_BYTES_MAX, CORE_FILE_BYTES_MAX);
    match (order.way, order.plugins.as_slice()) {
        (Way::Inprocess, [old, new]) => {
            preload(std::slice::from_ref(&order.shared)).map_err(|error| error.to_string())?;
            reload_in_process(order, old, new)
        }
        (Way::Fork, [old, new]) => {
            preload(std::slice::from_ref(&order.shared)).map_err(|error| error.to_string())?;
            fork_both(order, old, new)
        }
        (Way::ForkNoPreload, [old, new]) => fork_both(order, old, new),
        (Way::Old, [plugin]) => serve_old(order, plugin),
        (Way::New, [plugin]) => serve_new(order, plugin),
        _ => Err("the number of plugins does not fit".into()),
    }
}

fn end_with_parent() -> Result<(), String> {
    let parent = getppid();
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(|error| error.to_string())?;
    // It may have ended before the line above; whoever adopted this process is not waited for.
    if getppid() == parent { Ok(()) } else { Err("whoever started this process is gone".into()) }
}

fn reload_in_process(order: &Order, old: &Path, new: &Path) -> Result<(), String> {
    let mut state = std::ptr::null_mut();
    let first = Plugin::load(order, old)?;
    first.start(&raw mut state);
    first.answer();
    let second = if order.place.is_some() {
        // There is one place for both, so the old one has to go first.
        first.stop();
        first.unload()?;
        let second = Plugin::load(order, new)?;
        second.start(&raw mut state);
        second
    } else {
        let second = Plugin::load(order, new)?;
        second.start(&raw mut state);
        first.stop();
        first.unload()?;
        second
    };
    second.answer();
    say(&Seen::Ending);
    // What the process itself runs at its end is part of what is tried, so it ends as any program does.
    std::process::exit(0)
}

fn fork_both(order: &Order, old: &Path, new: &Path) -> Result<(), String> {
    fork_one(|| serve_old(order, old))?;
    fork_one(|| serve_new(order, new))
}

/// Runs one version in a forked child, and waits for its end.
fn fork_one(serve: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    match count_threads() {
        Ok(1) => {}
        Ok(count) => return Err(format!("the host has {count} threads and must not fork")),
        Err(error) => return Err(error.to_string()),
    }
    // SAFETY: this process has one thread, as was just proven, so no lock can be held by another one.
    match unsafe { fork() }.map_err(|error| error.to_string())? {
        ForkResult::Parent { child } => {
            say(&wait_for(child)?);
            Ok(())
        }
        ForkResult::Child => {
            let failed = |message| {
                say(&Seen::Failed { message });
                exit_now(1)
            };
            match end_with_parent().and_then(|()| serve()) {
                Ok(()) => exit_now(0),
                Err(message) => failed(message),
            }
        }
    }
}

fn wait_for(child: Pid) -> Result<Seen, String> {
    match waitpid(child, None).map_err(|error| error.to_string())? {
        WaitStatus::Signaled(_, signal, _) => {
            Ok(Seen::ChildEnded { code: None, signal: Some(signal as i32) })
        }
        WaitStatus::Exited(_, code) => Ok(Seen::ChildEnded { code: Some(code), signal: None }),
        other => Err(format!("the child is {other:?}")),
    }
}

/// The old version's whole life in a process of its own, which ends as a worker does: at once.
fn serve_old(order: &Order, path: &Path) -> Result<(), String> {
    let mut state = std::ptr::null_mut();
    let plugin = Plugin::load(order, path)?;
    plugin.start(&raw mut state);
    plugin.answer();
    plugin.stop();
    exit_now(0)
}

/// The new version in a process of its own. It ends as any program does, so that exit handlers run here, too.
fn serve_new(order: &Order, path: &Path) -> Result<(), String> {
    let mut state = std::ptr::null_mut();
    let plugin = Plugin::load(order, path)?;
    plugin.start(&raw mut state);
    plugin.answer();
    say(&Seen::Ending);
    std::process::exit(0)
}

fn say(seen: &Seen) {
    // Whoever reads may be gone; then this process is about to be killed.
    if let Ok(mut line) = serde_json::to_vec(seen) {
        line.push(b'\n');
        let _ = std::io::stdout().write_all(&line).and_then(|()| std::io::stdout().flush());
    }
}

type StartFn = unsafe extern "C" fn(*mut *mut c_void);
type AnswerFn = unsafe extern "C" fn(*mut u8, usize) -> usize;
type VersionFn = unsafe extern "C" fn() -> u32;
type StopFn = unsafe extern "C" fn();

/// One version, loaded. The functions are valid until it is unloaded, which takes it.
struct Plugin {
    library: Library,
    version: VersionFn,
    start: StartFn,
    answer: AnswerFn,
    stop: StopFn,
}

impl Plugin {
    fn load(order: &Order, path: &Path) -> Result<Self, String> {
        let path = match &order.place {
            Some(place) => put(path, place)?,
            None => path,
        };
        // SAFETY: the library is one of devhost's own plugins, whose constructors do nothing; its symbols have
        // the types that plugin.rs gives them.
        unsafe {
            let library =
                Library::open(Some(path), RTLD_NOW | RTLD_LOCAL).map_err(|error| error.to_string())?;
            Ok(Self {
                version: symbol(&library, b"artifact_version\0")?,
                start: symbol(&library, b"artifact_start\0")?,
                answer: symbol(&library, b"artifact_answer\0")?,
                stop: symbol(&library, b"artifact_stop\0")?,
                library,
            })
        }
    }

    fn start(&self, state: *mut *mut c_void) {
        // SAFETY: it is loaded, and the place for its state outlives the call.
        unsafe { (self.start)(state) };
        say(&Seen::Started);
    }

    fn answer(&self) {
        let mut buffer = [0; ANSWER_BYTES_MAX];
        // SAFETY: it is loaded, and writes no more than the buffer takes.
        let (version, length) =
            unsafe { ((self.version)(), (self.answer)(buffer.as_mut_ptr(), buffer.len())) };
        let text = String::from_utf8_lossy(&buffer[..length.min(ANSWER_BYTES_MAX)]).into_owned();
        say(&Seen::Answered { version, text });
    }

    fn stop(&self) {
        // SAFETY: it is loaded.
        unsafe { (self.stop)() };
    }

    /// What may come after this is the very thing that is tried.
    fn unload(self) -> Result<(), String> {
        self.library.close().map_err(|error| error.to_string())?;
        say(&Seen::Unloaded);
        Ok(())
    }
}

/// # Safety
/// The symbol has that type.
unsafe fn symbol<F: Copy>(library: &Library, name: &[u8]) -> Result<F, String> {
    // SAFETY: as the caller promises.
    let symbol: Symbol<F> = unsafe { library.get(name) }.map_err(|error| error.to_string())?;
    Ok(*symbol)
}

/// Puts a version where the one before was, as a build does: by a new file that takes the name.
fn put<'place>(plugin: &Path, place: &'place Path) -> Result<&'place Path, String> {
    let staged = place.with_extension("staged");
    std::fs::copy(plugin, &staged)
        .and_then(|_| std::fs::rename(&staged, place))
        .map_err(|error| format!("cannot put {} in place: {error}", plugin.display()))?;
    Ok(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_comes_through_the_command_line_as_it_was() {
        for place in [None, Some(PathBuf::from("/tmp/place.so"))] {
            let order = Order {
                way: Way::ForkNoPreload,
                shared: "/tmp/shared.so".into(),
                plugins: vec!["/tmp/old.so".into(), "/tmp/new.so".into()],
                place: place.clone(),
            };
            let parsed = Order::parse(&order.args()).unwrap();
            assert_eq!(parsed.way, order.way);
            assert_eq!(parsed.shared, order.shared);
            assert_eq!(parsed.plugins, order.plugins);
            assert_eq!(parsed.place, place);
        }
    }

    #[test]
    fn what_a_program_says_is_understood() {
        let seen: Seen = serde_json::from_str(r#"{"step":"answered","version":2,"text":"start 1"}"#).unwrap();
        assert_eq!(seen, Seen::Answered { version: 2, text: "start 1".into() });
    }
}
