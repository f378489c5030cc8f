//! Times forks of a process with a loaded library, like a zygote. It has one thread, measures, prints one
//! JSON document, and ends.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a helper program, whose output the bench reads"
)]

use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW, Symbol};
use nix::fcntl::OFlag;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, SysconfVar, fork, pipe2, sysconf};

use crate::model::{ForkCost, ForkSample};
use devhost_sys::process::{count_threads, exit_untouched};

/// devhost's name as the fork timer. Arguments: the library, its number of crates, the number of forks.
pub(crate) const FORK_TIMER_NAME: &str = "devhost-fork-timer";

/// The library's function that uses every crate.
pub(crate) const TOUCH_SYMBOL: &str = "devhost_bench_touch";

/// Uncounted forks: the first ones find cold caches.
const WARM_UP_COUNT: u32 = 3;

const PAGE_SIZE_DEFAULT_BYTES: i64 = 4096;

/// Runs the timer if the process was called as one.
pub(super) fn dispatch(argv0_file_name: &str) -> Option<u8> {
    (argv0_file_name == FORK_TIMER_NAME).then(|| match run() {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{FORK_TIMER_NAME}: {error:#}");
            1
        }
    })
}

fn run() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [library, crate_count, fork_count] = &args[..] else {
        anyhow::bail!("only `devhost bench` calls this");
    };
    let cost = measure(Path::new(library), crate_count.parse()?, fork_count.parse()?)?;
    println!("{}", serde_json::to_string(&cost)?);
    Ok(())
}

fn measure(path: &Path, crate_count: u32, fork_count: u32) -> Result<ForkCost> {
    // SAFETY: the bench made the library; it has no constructors of its own.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) }?;
    // SAFETY: the bench gave the function this type.
    let touch: Symbol<unsafe extern "C" fn() -> u64> = unsafe { library.get(TOUCH_SYMBOL) }?;
    let mut samples = Vec::new();
    for number in 0..WARM_UP_COUNT + fork_count {
        let sample = fork_once(*touch)?;
        if number >= WARM_UP_COUNT {
            samples.push(sample);
        }
    }
    Ok(ForkCost {
        crate_count,
        image_bytes: std::fs::metadata(path)?.len(),
        rss_bytes: resident_bytes()?,
        samples,
    })
}

fn fork_once(touch: unsafe extern "C" fn() -> u64) -> Result<ForkSample> {
    ensure!(count_threads()? == 1, "there is more than one thread");
    let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
    let begun = Instant::now();
    // SAFETY: this process has one thread, as just checked.
    match unsafe { fork() }? {
        ForkResult::Child => {
            // SAFETY: as for the symbol above.
            let touched = unsafe { touch() };
            let faults = getrusage(UsageWho::RUSAGE_SELF).map_or(0, |usage| usage.minor_page_faults());
            // Keeps the reads from being optimized away.
            let faults = faults + i64::from(touched == u64::MAX);
            let written = std::fs::File::from(write).write_all(&faults.to_ne_bytes());
            exit_untouched(i32::from(written.is_err()))
        }
        ForkResult::Parent { child } => {
            let forked = begun.elapsed();
            drop(write);
            let mut faults = [0; size_of::<i64>()];
            let answered = std::fs::File::from(read).read_exact(&mut faults);
            let answer = begun.elapsed();
            waitpid(child, None)?;
            answered.context("the child has not answered")?;
            Ok(ForkSample {
                fork_ms: forked.as_secs_f64() * 1_000.0,
                answer_ms: answer.as_secs_f64() * 1_000.0,
                page_fault_count: u64::try_from(i64::from_ne_bytes(faults)).unwrap_or(0),
            })
        }
    }
}

fn resident_bytes() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages = text.split_ascii_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or(PAGE_SIZE_DEFAULT_BYTES);
    let pages = pages.ok_or_else(|| io::Error::other("/proc/self/statm is not as expected"))?;
    Ok(pages * page.unsigned_abs())
}
