//! The rustc call of a plain app: cargo asks for a binary and gets, in its place, a library a worker can
//! load. The root file is the shadow's (see [`crate::shadow`]), so rustc runs as a child, and its messages
//! and dep-info are translated before cargo reads them.

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};

use cargo_metadata::cargo_platform::Cfg;

use crate::allocator;
use crate::call::{Call, Token, expand, tokens};
use crate::exit_code::exit_code;
use crate::helper_error::HelperError;
use crate::job_sheet::{JOB_SHEET_VARIABLE, JobSheet};
use crate::root::{self, Root};
use crate::shadow::{self, About, Shadow};

/// A rustc call that turns a binary into a library.
#[derive(Debug)]
pub(crate) struct PlainCall {
    given: Vec<String>,
    /// cargo passed them in a file, as they are too many for a command line.
    long: bool,
    call: Call,
    shadow: Shadow,
    root: Root,
    /// A `#[global_allocator]` in force was removed.
    loses_allocator: bool,
    output: PathBuf,
    temporary: PathBuf,
}

impl PlainCall {
    /// Writes the shadow for a call of the app.
    pub(crate) fn prepare(
        rustc: &OsStr,
        args: &[OsString],
        call: &Call,
        sheet: &JobSheet,
        shared: bool,
    ) -> Result<Self, HelperError> {
        let failed = |what: &Path, error| HelperError::io(format!("read {}", what.display()), error);
        let cwd = std::env::current_dir().map_err(|error| failed(Path::new("."), error))?;
        let path = cwd.join(&call.input);
        let source = std::fs::read(&path).map_err(|error| failed(&path, error))?;
        // rustc will report a file that is not UTF-8.
        let source = String::from_utf8_lossy(&source);
        if root::has_no_main(&source) {
            return Err(HelperError::NoMain(call.input.clone()));
        }
        let mirror = sheet.target_dir.join("shadow").join(call.stem());
        let shadow = Shadow::new(&mirror, &cwd, &call.input);
        let root = root::generate(&source, &call.edition, shared);
        let loses_allocator = root.without_allocator && {
            let cfg = cfg(rustc, args);
            cfg.is_empty() || allocator::is_declared_in(&source, &cfg)
        };
        let shadow = shadow
            .and_then(|shadow| shadow.write(&root, &sheet.workspace_root, &sheet.target_dir).map(|()| shadow))
            .map_err(|error| {
                HelperError::io(format!("mirror the app's sources in {}", mirror.display()), error)
            })?;
        Ok(Self {
            given: expand(args),
            long: args.iter().any(|arg| arg.as_encoded_bytes().starts_with(b"@")),
            call: call.clone(),
            shadow,
            root,
            loses_allocator,
            output: call.out_dir.join(call.stem()),
            temporary: sheet.temporary.clone(),
        })
    }

    pub(crate) fn notes(&self) -> Vec<String> {
        let note = "the app's #[global_allocator] is not used: the shared standard library has its own \
                    (--deps static uses the app's)";
        self.loses_allocator.then(|| note.to_owned()).into_iter().collect()
    }

    fn arguments(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = Vec::new();
        for token in tokens(&self.given) {
            match token {
                Token::Input(_) => args.push(self.shadow.input().into()),
                Token::Flag(flag) => args.push(flag.into()),
                Token::Value("--crate-type", _) => args.extend(["--crate-type".into(), "cdylib".into()]),
                Token::Value("--emit", kinds) => {
                    args.push("--emit".into());
                    let mut kinds: Vec<OsString> = kinds.split(',').map(OsString::from).collect();
                    for kind in kinds.iter_mut().filter(|kind| *kind == "link") {
                        kind.push("=");
                        kind.push(&self.output);
                    }
                    args.push(kinds.join(std::ffi::OsStr::new(",")));
                }
                // As in the root file: as strict, but the appended entry may be an exception.
                Token::Value("--forbid" | "-F", lint) => args.extend(["--deny".into(), lint.into()]),
                Token::Value(flag, value) => args.extend([flag.into(), value.into()]),
            }
        }
        args.extend(self.shadow.remap_arguments());
        if self.call.codegen("relocation-model").is_some() {
            args.extend(["-C".into(), "relocation-model=pic".into()]);
        }
        if self.call.codegen("strip") == Some("symbols") {
            // The inspector needs the symbols.
            args.extend(["-C".into(), "strip=debuginfo".into()]);
        }
        args
    }

    /// Runs `command`, rustc with devhost's additional arguments. Returns its exit code.
    pub(crate) fn run(&self, mut command: Command) -> Result<ExitCode, HelperError> {
        // Unlinked first: whichever linker writes the new library, whoever has the old one mapped or
        // hard-linked keeps its content.
        let _ = std::fs::remove_file(&self.output);
        let added: Vec<OsString> = command.get_args().map(OsString::from).collect();
        let mut whole = Command::new(command.get_program());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => whole.env(name, value),
                None => whole.env_remove(name),
            };
        }
        let mut args = self.arguments();
        args.extend(added);
        let kept = self.give(&mut whole, &args)?;
        command = whole;
        let output = output(command.stderr(Stdio::piped()).stdin(Stdio::null()).stdout(Stdio::inherit()))?;
        drop(kept);
        let said = self.shadow.translate(&output.stderr, shadow::escape_json);
        let lines = || said.split_inclusive(|byte| *byte == b'\n');
        let about = |line: &[u8]| shadow::about(line, &self.call.input, self.root.own_lines);
        if !output.status.success()
            && let Some(line) = lines().find(|line| about(line) == About::GeneratedError)
        {
            return self.run_as_given(command.get_program().into(), &message(line));
        }
        let own: Vec<u8> =
            lines().filter(|line| about(line) == About::App).flat_map(|line| line.iter().copied()).collect();
        let _ = std::io::stderr().write_all(&own);
        if output.status.success() {
            self.translate_dep_info()?;
        }
        Ok(exit_code(output.status))
    }

    /// Handles an error at the end of the root file, where the app's text and devhost's meet: lets rustc
    /// judge the app's own text alone.
    fn run_as_given(&self, rustc: OsString, reason: &str) -> Result<ExitCode, HelperError> {
        let scratch = tempfile::tempdir_in(&self.temporary)
            .map_err(|error| HelperError::io(format!("write {}", self.temporary.display()), error))?;
        let mut args: Vec<OsString> = Vec::new();
        for token in tokens(&self.given) {
            match token {
                Token::Input(text) | Token::Flag(text) => args.push(text.into()),
                Token::Value("--emit", _) => args.extend(["--emit".into(), "metadata".into()]),
                Token::Value("--out-dir", _) => args.extend(["--out-dir".into(), scratch.path().into()]),
                Token::Value("-C" | "--codegen", option) if option.starts_with("incremental") => {}
                Token::Value(flag, value) => args.extend([flag.into(), value.into()]),
            }
        }
        let mut command = Command::new(rustc);
        command.env_remove(JOB_SHEET_VARIABLE);
        let kept = self.give(&mut command, &args)?;
        let status =
            command.stdin(Stdio::null()).status().map_err(|error| HelperError::io("run rustc", error))?;
        drop(kept);
        if status.success() {
            return Err(HelperError::NoLibrary(reason.to_owned()));
        }
        Ok(exit_code(status))
    }

    /// Passes arguments to a command, in a file if there are too many.
    fn give(
        &self,
        command: &mut Command,
        args: &[OsString],
    ) -> Result<Option<tempfile::NamedTempFile>, HelperError> {
        if !self.long {
            command.args(args);
            return Ok(None);
        }
        let failed =
            |error: std::io::Error| HelperError::io(format!("write {}", self.temporary.display()), error);
        let mut file = tempfile::NamedTempFile::new_in(&self.temporary).map_err(failed)?;
        for arg in args {
            file.write_all(arg.as_encoded_bytes()).and_then(|()| file.write_all(b"\n")).map_err(failed)?;
        }
        let mut argument = OsString::from("@");
        argument.push(file.path());
        command.arg(argument);
        Ok(Some(file))
    }

    fn translate_dep_info(&self) -> Result<(), HelperError> {
        let path = self.call.out_dir.join(format!("{}.d", self.call.stem()));
        let failed = |error: std::io::Error| HelperError::io(format!("rewrite {}", path.display()), error);
        let text = std::fs::read(&path).map_err(failed)?;
        std::fs::write(&path, self.shadow.translate_dep_info(&text)).map_err(failed)
    }
}

fn cfg(rustc: &OsStr, args: &[OsString]) -> Vec<Cfg> {
    let output = Command::new(rustc).args(args).args(["--print", "cfg"]).stdin(Stdio::null()).output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().filter_map(|line| line.parse().ok()).collect()
}

fn output(command: &mut Command) -> Result<Output, HelperError> {
    let child = command.spawn().map_err(|error| {
        HelperError::io(format!("run {}", command.get_program().to_string_lossy()), error)
    })?;
    child.wait_with_output().map_err(|error| HelperError::io("wait for rustc", error))
}

fn message(line: &[u8]) -> String {
    let message = serde_json::from_slice::<serde_json::Value>(line).unwrap_or_default();
    message["message"].as_str().unwrap_or("rustc refuses it").to_owned()
}
