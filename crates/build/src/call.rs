//! A rustc command line, parsed as far as the wrapper needs it. Most changes are appended, since rustc lets
//! the last flag win. Only if that is not enough is the command line rebuilt from its [`tokens`].

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Extern {
    pub name: String,
    pub path: PathBuf,
}

impl Extern {
    /// The file to link: cargo gives libraries only their dependencies' metadata.
    pub(crate) fn rlib(&self) -> PathBuf {
        self.path.with_extension("rlib")
    }
}

/// A parsed rustc command line. Lists have every occurrence of their option.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Call {
    pub input: PathBuf,
    pub crate_name: String,
    pub edition: String,
    pub crate_types: Vec<String>,
    pub test: bool,
    /// Every `--extern` with a file.
    pub externs: Vec<Extern>,
    pub search: Vec<String>,
    pub codegen: Vec<String>,
    pub unstable: Vec<String>,
    pub target: Option<String>,
    pub sysroot: Option<String>,
    pub out_dir: PathBuf,
}

impl Call {
    pub(crate) fn read(args: &[OsString]) -> Self {
        let mut call = Self::default();
        for token in tokens(&expand(args)) {
            let (flag, value) = match token {
                Token::Value(flag, value) => (flag, value),
                Token::Flag(flag) => {
                    call.test |= flag == "--test";
                    continue;
                }
                Token::Input(input) => {
                    call.input = input.into();
                    continue;
                }
            };
            match flag {
                "--crate-name" => call.crate_name = value.into(),
                "--edition" => call.edition = value.into(),
                "--crate-type" => call.crate_types.extend(value.split(',').map(str::to_owned)),
                "--extern" => call.externs.extend(read_extern(value)),
                "-L" => call.search.push(value.into()),
                "-C" | "--codegen" => call.codegen.push(value.into()),
                "-Z" => call.unstable.push(value.into()),
                "--target" => call.target = Some(value.into()),
                "--sysroot" => call.sysroot = Some(value.into()),
                "--out-dir" => call.out_dir = value.into(),
                _ => {}
            }
        }
        call
    }

    /// The last `-C name=…`.
    pub(crate) fn codegen(&self, name: &str) -> Option<&str> {
        self.codegen.iter().rev().find_map(|option| match option.split_once('=') {
            Some((key, value)) if key == name => Some(value),
            None if option == name => Some(""),
            _ => None,
        })
    }

    /// The stem of rustc's output files: the crate's name and cargo's suffix.
    pub(crate) fn stem(&self) -> String {
        format!("{}{}", self.crate_name, self.codegen("extra-filename").unwrap_or_default())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// A flag without a value, or an unknown one.
    Flag(&'a str),
    Value(&'a str, &'a str),
    Input(&'a str),
}

pub(crate) fn tokens(args: &[String]) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut args = args.iter().map(String::as_str);
    while let Some(arg) = args.next() {
        let (flag, inline) = split(arg);
        if TAKES_VALUE.contains(&flag) {
            let Some(value) = inline.or_else(|| args.next()) else { break };
            tokens.push(Token::Value(flag, value));
        } else if arg.starts_with('-') && arg != "-" {
            tokens.push(Token::Flag(arg));
        } else {
            tokens.push(Token::Input(arg));
        }
    }
    tokens
}

/// The stem of a library without the `lib` prefix.
pub(crate) fn library_stem(path: &Path) -> Option<&str> {
    path.file_stem()?.to_str()?.strip_prefix("lib")
}

/// Options whose value may be a separate argument.
const TAKES_VALUE: &[&str] = &[
    "--crate-name",
    "--crate-type",
    "--extern",
    "-L",
    "-C",
    "--codegen",
    "-Z",
    "--target",
    "--sysroot",
    "--out-dir",
    "--cfg",
    "--check-cfg",
    "--emit",
    "--edition",
    "--error-format",
    "--json",
    "--color",
    "--cap-lints",
    "--print",
    "--diagnostic-width",
    "--remap-path-prefix",
    "-l",
    "-o",
    "-A",
    "-W",
    "-D",
    "-F",
    "--allow",
    "--warn",
    "--deny",
    "--forbid",
    "--force-warn",
];

fn split(arg: &str) -> (&str, Option<&str>) {
    if arg.starts_with("--") {
        match arg.split_once('=') {
            Some((flag, value)) => (flag, Some(value)),
            None => (arg, None),
        }
    } else if arg.starts_with('-') && arg.len() > 2 && arg.is_char_boundary(2) {
        (&arg[..2], Some(&arg[2..]))
    } else {
        (arg, None)
    }
}

/// `[options:]name[=path]`
fn read_extern(value: &str) -> Option<Extern> {
    let (name, path) = value.split_once('=')?;
    let name = name.rsplit(':').next().unwrap_or(name);
    Some(Extern { name: name.into(), path: path.into() })
}

/// Expands `@file` arguments, cargo's way to pass a long command line.
pub(crate) fn expand(args: &[OsString]) -> Vec<String> {
    let mut expanded = Vec::new();
    for arg in args {
        let text = lossy(arg);
        match text.strip_prefix('@').and_then(|path| std::fs::read_to_string(path).ok()) {
            Some(file) => expanded.extend(file.lines().map(str::to_owned)),
            None => expanded.push(text),
        }
    }
    expanded
}

fn lossy(text: &OsStr) -> String {
    text.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Call {
        Call::read(&line.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn a_cargo_call_is_understood() {
        let call = read(
            "--crate-name app --edition=2024 src/lib.rs --error-format=json --crate-type cdylib --emit=dep-info,link \
             -C debuginfo=2 -C metadata=1f -C extra-filename=-1f --out-dir /t/debug/deps -L dependency=/t/debug/deps \
             --extern axum=/t/debug/deps/libaxum-9b.rlib --extern priv:core_of=/t/debug/deps/libcore_of-1.rmeta \
             --extern proc_macro -Cdebuginfo=1",
        );
        assert_eq!((call.crate_name.as_str(), call.edition.as_str()), ("app", "2024"));
        assert_eq!(call.input, Path::new("src/lib.rs"));
        assert_eq!(call.crate_types, ["cdylib"]);
        assert_eq!(call.stem(), "app-1f");
        assert_eq!(call.codegen("debuginfo"), Some("1"), "the last one wins");
        assert_eq!(call.out_dir, Path::new("/t/debug/deps"));
        let names: Vec<_> = call.externs.iter().map(|library| library.name.as_str()).collect();
        assert_eq!(names, ["axum", "core_of"]);
        assert_eq!(call.externs[1].rlib(), Path::new("/t/debug/deps/libcore_of-1.rlib"));
        assert_eq!(library_stem(&call.externs[0].path), Some("axum-9b"));
        assert!(!call.test);
    }

    #[test]
    fn a_value_that_looks_like_a_flag_is_no_flag() {
        assert!(!read("--cfg --test src/lib.rs").test);
        assert!(read("--test src/lib.rs").test);
    }

    #[test]
    fn a_response_file_is_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "--crate-name\napp\n").unwrap();
        assert_eq!(read(&format!("@{}", file.path().display())).crate_name, "app");
    }
}
