//! devhost in the place of a build script: cargo starts build scripts without a wrapper, so only here can the
//! call be observed. The rustc wrapper puts a small file where cargo expects the script's program. Its first
//! line makes the kernel start devhost as `devhost-script`, which records the call and then becomes the real
//! program. Arguments, directory, standard streams, exit code and signals are the script's own; its
//! environment is cargo's.
//!
//! In a replay (see [`crate::replay`]) it records nothing, but provides the jobserver in cargo's place.
#![expect(clippy::print_stderr, reason = "a program of its own: cargo shows what a build script writes")]

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::os::fd::IntoRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use crate::call::Call;
use crate::documents;
use crate::exit_code::exit_code;
use crate::helper_error::HelperError;
use crate::job_sheet::{JOB_SHEET_VARIABLE, JobSheet};
use crate::record::{self, REPLAY_VARIABLE};

/// devhost's name in the place of a build script.
pub(crate) const NAME: &str = "devhost-script";

/// The kernel's limit on a file's first line, including `#!` and the newline.
const FIRST_LINE_LEN_MAX_BYTES: usize = 255;

const REAL_SUFFIX: &str = ".real";

/// Limit on jobserver tokens: they must fit into an empty pipe.
const JOBS_COUNT_MAX: usize = 4_096;

/// Becomes the build script named by the first of `args`.
pub(crate) fn main(args: &[OsString]) -> ExitCode {
    let Some((place, args)) = args.split_first() else {
        eprintln!(
            "{NAME}: cargo runs this in place of a build script; there is nothing to run it for by hand"
        );
        return ExitCode::FAILURE;
    };
    let Some(program) = real_program(Path::new(place)) else {
        eprintln!("error: {} names no build script", place.to_string_lossy());
        return ExitCode::FAILURE;
    };
    let mut command = Command::new(&program);
    match std::env::var(REPLAY_VARIABLE) {
        Ok(jobs) => {
            let made = jobserver(jobs.parse().unwrap_or(1));
            match made {
                Ok(flags) => command.env(JOBSERVER_VARIABLE, flags),
                // As without make: a script that needs it will say so.
                Err(_) => command.env_remove(JOBSERVER_VARIABLE),
            };
        }
        Err(_) => {
            let sheet = std::env::var_os(JOB_SHEET_VARIABLE)
                .and_then(|path| documents::read::<JobSheet>(Path::new(&path)));
            if let Some(sheet) = sheet {
                record::keep_script(place, args, &sheet);
            }
        }
    }
    let error = command.arg0(place).args(args).env_remove(REPLAY_VARIABLE).exec();
    eprintln!("error: cannot run {}: {error}", program.display());
    ExitCode::FAILURE
}

/// The variable by which cargo passes on the jobserver.
const JOBSERVER_VARIABLE: &str = "CARGO_MAKEFLAGS";

/// Creates a pipe with a token for each job but the first, inherited across `exec`. Returns cargo's flags for
/// it.
fn jobserver(jobs: usize) -> std::io::Result<String> {
    let (reader, mut writer) = std::io::pipe()?;
    writer.write_all(&vec![b'|'; jobs.clamp(1, JOBS_COUNT_MAX) - 1])?;
    fcntl(&reader, FcntlArg::F_SETFD(FdFlag::empty()))?;
    fcntl(&writer, FcntlArg::F_SETFD(FdFlag::empty()))?;
    let (reader, writer) = (reader.into_raw_fd(), writer.into_raw_fd());
    Ok(format!("-j --jobserver-fds={reader},{writer} --jobserver-auth={reader},{writer}"))
}

/// The real program behind a file made by a [`Place`].
pub(crate) fn real_program(place: &Path) -> Option<PathBuf> {
    let bytes = std::fs::read(place).ok()?;
    let mut lines = bytes.split(|byte| *byte == b'\n');
    lines.next().filter(|line| line.starts_with(b"#!"))?;
    let name = lines.next().filter(|name| !name.is_empty())?;
    Some(place.parent()?.join(OsStr::from_bytes(name)))
}

/// Where cargo expects a build script's program.
#[derive(Debug)]
pub(crate) struct Place {
    program: PathBuf,
    first_line: Vec<u8>,
}

impl Place {
    /// The place for a build script's rustc call. Returns `None` for any other call, or if the kernel could
    /// not find devhost by a file's first line: the script then stays its own program, and only cargo runs
    /// it.
    pub(crate) fn of(call: &Call, sheet: &JobSheet) -> Option<Self> {
        let is_script = call.crate_name.starts_with("build_script_")
            && call.crate_types == ["bin"]
            && !call.test
            && call.out_dir.parent().is_some_and(|parent| parent.ends_with("build"));
        if !is_script {
            return None;
        }
        let devhost = sheet.script.as_os_str().as_bytes();
        let first_line = [b"#!", devhost, b"\n"].concat();
        let fits = first_line.len() <= FIRST_LINE_LEN_MAX_BYTES
            && devhost.starts_with(b"/")
            && !devhost.iter().any(u8::is_ascii_whitespace);
        fits.then(|| Self { program: call.out_dir.join(call.stem()), first_line })
    }

    /// Runs `rustc` and, on success, puts devhost in its output's place. Returns the exit code.
    pub(crate) fn run(&self, mut rustc: Command) -> Result<ExitCode, HelperError> {
        // Whichever linker writes the program must not write into the old file.
        let _ = std::fs::remove_file(&self.program);
        let status = rustc.status().map_err(|error| {
            HelperError::io(format!("run {}", rustc.get_program().to_string_lossy()), error)
        })?;
        if status.success() {
            let real = self.program.with_added_extension(&REAL_SUFFIX[1..]);
            // If devhost cannot be put there, the script stays its own program.
            if std::fs::rename(&self.program, &real).is_ok() && self.put(&real).is_err() {
                let _ = std::fs::rename(&real, &self.program);
            }
        }
        Ok(exit_code(status))
    }

    fn put(&self, real: &Path) -> std::io::Result<()> {
        let directory = self.program.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(&self.first_line)?;
        file.write_all(real.file_name().unwrap_or_default().as_bytes())?;
        file.write_all(b"\n")?;
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o755))?;
        // Closed first: the kernel runs no file open for writing.
        file.into_temp_path().persist(&self.program)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_leads_to_the_real_program() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("build_script_build-1f");
        let place = Place { program: program.clone(), first_line: b"#!/a/bin/devhost-script\n".to_vec() };
        let mut rustc = Command::new("cp");
        rustc.arg("/bin/true").arg(&program);
        place.run(rustc).unwrap();
        let real = real_program(&program).unwrap();
        assert_eq!(real, directory.path().join("build_script_build-1f.real"));
        assert!(Command::new(&real).status().unwrap().success());
        assert_eq!(real_program(&real), None, "a program is no place");
        // cargo gives the file another name.
        let linked = directory.path().join("build-script-build");
        std::fs::hard_link(&program, &linked).unwrap();
        assert_eq!(real_program(&linked), Some(real));
    }

    #[test]
    fn only_a_build_script_has_a_place() {
        let mut sheet = JobSheet { script: "/t/bin/1/devhost-script".into(), ..JobSheet::stub() };
        let read = |line: &str| Call::read(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        let script = read(
            "--crate-name build_script_build build.rs --crate-type bin --out-dir /t/debug/build/app-1f \
             -C extra-filename=-1f",
        );
        assert!(Place::of(&script, &sheet).is_some());
        let app =
            read("--crate-name build_script_build src/main.rs --crate-type bin --out-dir /t/debug/deps");
        assert!(Place::of(&app, &sheet).is_none());
        sheet.script = "/a directory/devhost-script".into();
        assert!(Place::of(&script, &sheet).is_none(), "the kernel takes a space for the end of the name");
        sheet.script = PathBuf::from("/").join("d".repeat(300)).join(NAME);
        assert!(Place::of(&script, &sheet).is_none(), "the kernel would cut the name off");
    }
}
