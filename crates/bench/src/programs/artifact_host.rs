//! Reloads one of the bench's plugins in one way and reports its observations. Uses the loader, the zygote's
//! preload and fork. It judges nothing, and it may crash: how it ends is a result, too ([`crate::artifacts`]
//! reads both).
//!
//! Its parent kills it, with its whole process group, at a deadline; so nothing here needs one of its own.
#![expect(
    clippy::print_stderr,
    reason = "a helper program, whose standard error is for whoever calls it by hand"
)]

use std::ffi::{OsString, c_void};
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW, Symbol};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getppid};

use super::artifact_protocol::{ARTIFACT_HOST_NAME, HostEvent, HostJob, ReloadMode};
use devhost_process::zygote::preload;
use devhost_sys::process::{count_threads, exit_now};

const ANSWER_BYTES_MAX: usize = 4096;

/// Smaller than any core file, and the only value that disables a core dump handler.
const CORE_FILE_BYTES_MAX: u64 = 1;

/// Runs the host if the process was called as one.
pub(super) fn dispatch(argv0_file_name: &str) -> Option<u8> {
    if argv0_file_name != ARTIFACT_HOST_NAME {
        return None;
    }
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let Some(job) = HostJob::parse(&args) else {
        eprintln!("{ARTIFACT_HOST_NAME}: only `devhost bench` calls this");
        return Some(2);
    };
    Some(match run(&job) {
        Ok(()) => 0,
        Err(error) => {
            report(&HostEvent::Failed { message: format!("{error:#}") });
            1
        }
    })
}

fn run(job: &HostJob) -> Result<()> {
    end_with_parent()?;
    // A crash is an expected result here, not one to keep.
    let _ = setrlimit(Resource::RLIMIT_CORE, CORE_FILE_BYTES_MAX, CORE_FILE_BYTES_MAX);
    match (job.mode, job.plugins.as_slice()) {
        (ReloadMode::Inprocess, [old, new]) => {
            preload(std::slice::from_ref(&job.shared))?;
            reload_in_process(job, old, new)
        }
        (ReloadMode::Fork, [old, new]) => {
            preload(std::slice::from_ref(&job.shared))?;
            fork_both(job, old, new)
        }
        (ReloadMode::ForkNoPreload, [old, new]) => fork_both(job, old, new),
        (ReloadMode::Old, [plugin]) => serve_old(job, plugin),
        (ReloadMode::New, [plugin]) => serve_new(job, plugin),
        _ => bail!("the number of plugins does not fit"),
    }
}

fn end_with_parent() -> Result<()> {
    let parent = getppid();
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    // It may have ended before the line above.
    ensure!(getppid() == parent, "whoever started this process is gone");
    Ok(())
}

fn reload_in_process(job: &HostJob, old: &Path, new: &Path) -> Result<()> {
    let mut state = std::ptr::null_mut();
    let first = Plugin::load(job, old)?;
    first.start(&raw mut state);
    first.answer();
    let second = if job.place.is_some() {
        // Both share one place, so the old one has to go first.
        first.stop();
        first.unload()?;
        let second = Plugin::load(job, new)?;
        second.start(&raw mut state);
        second
    } else {
        let second = Plugin::load(job, new)?;
        second.start(&raw mut state);
        first.stop();
        first.unload()?;
        second
    };
    second.answer();
    report(&HostEvent::Ending);
    // The process's own exit handlers are part of the test, so it exits normally.
    std::process::exit(0)
}

fn fork_both(job: &HostJob, old: &Path, new: &Path) -> Result<()> {
    fork_one(|| serve_old(job, old))?;
    fork_one(|| serve_new(job, new))
}

/// Runs one version in a forked child, and waits for its end.
fn fork_one(serve: impl FnOnce() -> Result<()>) -> Result<()> {
    let thread_count = count_threads()?;
    ensure!(thread_count == 1, "the host has {thread_count} threads and must not fork");
    // SAFETY: this process has one thread, as just checked, so no other can hold a lock.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => {
            report(&wait_for(child)?);
            Ok(())
        }
        ForkResult::Child => match end_with_parent().and_then(|()| serve()) {
            Ok(()) => exit_now(0),
            Err(error) => {
                report(&HostEvent::Failed { message: format!("{error:#}") });
                exit_now(1)
            }
        },
    }
}

fn wait_for(child: Pid) -> Result<HostEvent> {
    match waitpid(child, None)? {
        WaitStatus::Signaled(_, signal, _) => {
            Ok(HostEvent::ChildEnded { code: None, signal: Some(signal as i32) })
        }
        WaitStatus::Exited(_, code) => Ok(HostEvent::ChildEnded { code: Some(code), signal: None }),
        other => bail!("the child is {other:?}"),
    }
}

/// Runs the old version in its own process, which ends as a worker does: at once.
fn serve_old(job: &HostJob, path: &Path) -> Result<()> {
    let mut state = std::ptr::null_mut();
    let plugin = Plugin::load(job, path)?;
    plugin.start(&raw mut state);
    plugin.answer();
    plugin.stop();
    exit_now(0)
}

/// Runs the new version in its own process, which exits normally, so that exit handlers run.
fn serve_new(job: &HostJob, path: &Path) -> Result<()> {
    let mut state = std::ptr::null_mut();
    let plugin = Plugin::load(job, path)?;
    plugin.start(&raw mut state);
    plugin.answer();
    report(&HostEvent::Ending);
    std::process::exit(0)
}

fn report(event: &HostEvent) {
    // If the reader is gone, this process is about to be killed.
    if let Ok(mut line) = serde_json::to_vec(event) {
        line.push(b'\n');
        let _ = std::io::stdout().write_all(&line).and_then(|()| std::io::stdout().flush());
    }
}

type StartFn = unsafe extern "C" fn(*mut *mut c_void);
type AnswerFn = unsafe extern "C" fn(*mut u8, usize) -> usize;
type VersionFn = unsafe extern "C" fn() -> u32;
type StopFn = unsafe extern "C" fn();

/// A loaded version. The functions are valid until `unload`, which consumes it.
struct Plugin {
    library: Library,
    version: VersionFn,
    start: StartFn,
    answer: AnswerFn,
    stop: StopFn,
}

impl Plugin {
    fn load(job: &HostJob, path: &Path) -> Result<Self> {
        let path = match &job.place {
            Some(place) => put(path, place)?,
            None => path,
        };
        // SAFETY: the library is one of devhost's own plugins, whose constructors do nothing; plugin.rs gives
        // its symbols these types.
        unsafe {
            let library = Library::open(Some(path), RTLD_NOW | RTLD_LOCAL)?;
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
        report(&HostEvent::Started);
    }

    fn answer(&self) {
        let mut buffer = [0; ANSWER_BYTES_MAX];
        // SAFETY: it is loaded, and writes no more than the buffer's length.
        let (version, length) =
            unsafe { ((self.version)(), (self.answer)(buffer.as_mut_ptr(), buffer.len())) };
        let text = String::from_utf8_lossy(&buffer[..length.min(ANSWER_BYTES_MAX)]).into_owned();
        report(&HostEvent::Answered { version, text });
    }

    fn stop(&self) {
        // SAFETY: it is loaded.
        unsafe { (self.stop)() };
    }

    /// What may follow is exactly what is tried.
    fn unload(self) -> Result<()> {
        self.library.close()?;
        report(&HostEvent::Unloaded);
        Ok(())
    }
}

/// # Safety
/// The symbol must have that type.
unsafe fn symbol<F: Copy>(library: &Library, name: &[u8]) -> Result<F> {
    // SAFETY: as the caller promises.
    let symbol: Symbol<F> = unsafe { library.get(name) }?;
    Ok(*symbol)
}

/// Replaces the version before as a build does, by renaming a new file.
fn put<'place>(plugin: &Path, place: &'place Path) -> Result<&'place Path> {
    let staged = place.with_extension("staged");
    std::fs::copy(plugin, &staged)
        .and_then(|_| std::fs::rename(&staged, place))
        .with_context(|| format!("cannot put {} in place", plugin.display()))?;
    Ok(place)
}
