//! What a fork costs as the image of the forking process grows: libraries of 10, 100 and 300 small generated
//! crates, each compiled by rustc once, loaded by a helper that forks.
//!
//! A generated crate is about what an average dependency adds to the library of dependencies: code, read-only
//! data, pointers set by the loader (in private pages, whose page tables a fork copies), and some written
//! data.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::cancel::Cancel;
use super::model::ForkCost;
use super::process;
use crate::programs::{FORK_TIMER_NAME, TOUCH_SYMBOL};

/// The images' numbers of crates.
pub(super) const CRATE_COUNTS: [u32; 3] = [10, 100, 300];

const FORKS_COUNT: u32 = 40;

/// Limit on compiling one crate or image.
const COMPILE_TIME_MAX: Duration = Duration::from_secs(120);

/// Each crate's read-only data, pointers, functions, and written words.
const DATA_LEN_BYTES: usize = 96 * 1024;
const POINTERS_COUNT: usize = 1024;
const FUNCTIONS_COUNT: usize = 32;
const STATE_LEN_WORDS: usize = 512;

/// Measures all images. `told` receives the current step.
pub(super) fn measure(place: &Path, cancel: &Cancel, told: &mut dyn FnMut(&str)) -> Result<Vec<ForkCost>> {
    let directory = place.join("fork-cost").join(compiler_key()?);
    fs::create_dir_all(&directory)?;
    let largest = CRATE_COUNTS.iter().copied().max().unwrap_or(0);
    compile_crates(&directory, largest, cancel, told)?;
    CRATE_COUNTS
        .iter()
        .map(|&count| {
            told(&format!("forking a process with {count} crates"));
            let image = link(&directory, count, cancel)?;
            fork(&directory, &image, count, cancel)
        })
        .collect()
}

/// The compiler's key: its libraries are of no use to another.
fn compiler_key() -> Result<String> {
    let output = process::command("rustc").arg("-vV").output().context("cannot run `rustc`")?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(&output.stdout);
    hasher.update(crate_source(0).as_bytes());
    Ok(hasher.finalize().to_hex().chars().take(16).collect())
}

fn crate_name(number: u32) -> String {
    format!("devhost_bench_crate_{number}")
}

fn crate_source(number: u32) -> String {
    let mut source = format!(
        "use std::sync::atomic::{{AtomicU64, Ordering}};\n\
         static DATA: [u8; {DATA_LEN_BYTES}] = [{}; {DATA_LEN_BYTES}];\n\
         static POINTERS: [&u8; {POINTERS_COUNT}] = {{\n\
             let mut pointers = [&DATA[0]; {POINTERS_COUNT}];\n\
             let mut at = 0;\n\
             while at < {POINTERS_COUNT} {{ pointers[at] = &DATA[at * {}]; at += 1; }}\n\
             pointers\n\
         }};\n\
         static STATE: [AtomicU64; {STATE_LEN_WORDS}] = [const {{ AtomicU64::new({number}) }}; {STATE_LEN_WORDS}];\n",
        number % 251 + 1,
        DATA_LEN_BYTES / POINTERS_COUNT,
    );
    let mut names = String::new();
    for index in 0..FUNCTIONS_COUNT {
        let _ = write!(names, "f{index}, ");
        let _ = writeln!(
            source,
            "#[inline(never)] fn f{index}(x: u64) -> u64 {{ let mut y = x ^ {index}; \
             if y % 3 == 0 {{ y = y.rotate_left(7).wrapping_mul({}) }} \
             for step in 0..(y % 5) {{ y = y.wrapping_add(step * {number}) }} y }}",
            index * 2 + 3
        );
    }
    let _ = write!(
        source,
        "static CALLS: [fn(u64) -> u64; {FUNCTIONS_COUNT}] = [{names}];\n\
         pub fn touch() -> u64 {{\n\
             let mut sum = STATE[0].fetch_add(1, Ordering::Relaxed);\n\
             for call in &CALLS {{ sum = sum.wrapping_add(call(sum)); }}\n\
             for at in (0..{POINTERS_COUNT}).step_by(256) {{ sum = sum.wrapping_add(u64::from(*POINTERS[at])); }}\n\
             sum\n\
         }}\n"
    );
    source
}

fn compile_crates(directory: &Path, count: u32, cancel: &Cancel, told: &mut dyn FnMut(&str)) -> Result<()> {
    let missing: VecDeque<u32> = (0..count)
        .filter(|number| !directory.join(format!("lib{}.rlib", crate_name(*number))).exists())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    told(&format!("compiling {} small crates to measure forks", missing.len()));
    let queue = Mutex::new(missing);
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let threads = std::thread::available_parallelism().map_or(1, Into::into);
    std::thread::scope(|scope| {
        let compile = || -> Result<()> {
            while let Some(number) = next() {
                compile_crate(directory, number, cancel)?;
            }
            Ok(())
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(compile)).collect();
        workers.into_iter().try_for_each(|worker| {
            worker.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a thread has panicked")))
        })
    })
}

fn compile_crate(directory: &Path, number: u32, cancel: &Cancel) -> Result<()> {
    let name = crate_name(number);
    let source = directory.join(format!("{name}.rs"));
    fs::write(&source, crate_source(number))?;
    let mut command = process::command("rustc");
    command
        .args(["--edition", "2021", "--crate-type", "rlib", "--crate-name", &name])
        .args(["-Copt-level=0", "-Cdebuginfo=0", "-Ccodegen-units=1", "--emit=link", "--out-dir"])
        .arg(directory)
        .arg(&source);
    process::run(command, &directory.join(format!("{name}.log")), COMPILE_TIME_MAX, cancel)?;
    Ok(())
}

fn link(directory: &Path, count: u32, cancel: &Cancel) -> Result<PathBuf> {
    let image = directory.join(format!("libimage_{count}.so"));
    if image.exists() {
        return Ok(image);
    }
    let mut source = String::new();
    for number in 0..count {
        let _ = writeln!(source, "extern crate {};", crate_name(number));
    }
    let _ = writeln!(
        source,
        "#[unsafe(no_mangle)]\npub extern \"C\" fn {TOUCH_SYMBOL}() -> u64 {{\n    let mut sum = 0_u64;"
    );
    for number in 0..count {
        let _ = writeln!(source, "    sum = sum.wrapping_add({}::touch());", crate_name(number));
    }
    source.push_str("    sum\n}\n");
    let root = directory.join(format!("image_{count}.rs"));
    fs::write(&root, source)?;
    let staged = directory.join(format!("image_{count}.staged"));
    let mut command = process::command("rustc");
    command
        .args(["--edition", "2021", "--crate-type", "cdylib", "-Copt-level=0", "-Cdebuginfo=0", "-L"])
        .arg(directory)
        .arg("-o")
        .arg(&staged)
        .arg(&root);
    process::run(command, &directory.join(format!("image_{count}.log")), COMPILE_TIME_MAX, cancel)?;
    fs::rename(&staged, &image)?;
    Ok(image)
}

fn fork(directory: &Path, image: &Path, count: u32, cancel: &Cancel) -> Result<ForkCost> {
    let log = directory.join("forks.log");
    let mut command = process::command(std::env::current_exe()?);
    command.arg0(FORK_TIMER_NAME).arg(image).args([count.to_string(), FORKS_COUNT.to_string()]);
    process::run(command, &log, COMPILE_TIME_MAX, cancel)?;
    let text = fs::read_to_string(&log)?;
    serde_json::from_str(text.trim()).with_context(|| format!("{FORK_TIMER_NAME} says {text:?}"))
}
