//! Whether a call of the app may be linked quickly.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::driver::{INCREMENTAL_VARIABLE, QUICK_VARIABLE};
use super::early::NAME as EARLY_NAME;
use crate::call::Call;
use crate::job_sheet::JobSheet;

/// Codegen options that leave the link as it is. Any other may be about the linker.
const HARMLESS: &[&str] = &[
    "codegen-units",
    "debug-assertions",
    "debuginfo",
    "embed-bitcode",
    "extra-filename",
    "force-frame-pointers",
    "incremental",
    "metadata",
    "opt-level",
    "overflow-checks",
    "prefer-dynamic",
    "strip",
    "symbol-mangling-version",
    "target-cpu",
];

/// An app's link that may be quick.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offer {
    pub directory: PathBuf,
    incremental: PathBuf,
}

/// The directory of the plans of an app's call.
fn directory(sheet: &JobSheet, call: &Call) -> PathBuf {
    let mut hasher = blake3::Hasher::new();
    // Another devhost may write other plans.
    hasher.update(sheet.tool.as_bytes()).update(call.out_dir.as_os_str().as_encoded_bytes());
    sheet.target_dir.join("link").join(format!("{}-{}", &hasher.finalize().to_hex()[..8], call.stem()))
}

impl Offer {
    /// Returns `None` if the user or the target has a say in how the app is linked.
    pub(crate) fn of(call: &Call, sheet: &JobSheet) -> Option<Self> {
        let is_harmless = |option: &String| {
            let name = option.split('=').next().unwrap_or(option);
            HARMLESS.contains(&name)
        };
        let is_plain = call.target.is_none()
            && call.sysroot.is_none()
            && call.unstable.is_empty()
            && call.codegen.iter().all(is_harmless);
        let supported = cfg!(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"));
        let incremental = PathBuf::from(call.codegen("incremental")?);
        (is_plain && supported).then(|| Self { directory: directory(sheet, call), incremental })
    }

    /// Makes devhost the linker of rustc's call.
    pub(crate) fn accept(&self, command: &mut Command, linker: &Path) {
        let mut option = std::ffi::OsString::from("linker=");
        option.push(linker);
        command.arg("-C").arg(option);
        command.env(QUICK_VARIABLE, &self.directory).env(INCREMENTAL_VARIABLE, &self.incremental);
        // In the process group of the call, which the guard ends with it. Best effort.
        let mut early = Command::new(linker.with_file_name(EARLY_NAME));
        let _ = early.arg(&self.directory).stdin(Stdio::null()).stderr(Stdio::null()).spawn();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_offered(more: &str) -> bool {
        let line =
            format!("--crate-name app src/main.rs -C debuginfo=2 -C incremental=/t/i --out-dir /t/d{more}");
        let args: Vec<_> = line.split(' ').map(std::ffi::OsString::from).collect();
        Offer::of(&Call::read(&args), &JobSheet::stub()).is_some()
    }

    #[test]
    #[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
    fn the_users_own_ways_of_linking_win() {
        assert!(is_offered(""));
        assert!(is_offered(" -C opt-level=1"));
        for more in [
            "-C linker=clang",
            "-C link-arg=-fuse-ld=mold",
            "-C link-args=-s",
            "-Clinker-flavor=ld",
            "-C relocation-model=static",
            "-Z threads=8",
            "--target x86_64-unknown-linux-musl",
        ] {
            assert!(!is_offered(&format!(" {more}")), "{more}");
        }
    }
}
