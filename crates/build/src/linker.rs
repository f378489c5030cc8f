//! devhost as a linker, of the library of dependencies and, on request, of an app. In the end it runs the
//! real linker. (How an app is linked quickly is in [`crate::quick`].)
//!
//! rustc makes C symbols (rust-lang/rust#65610) and assembly symbols local to a dylib, although generic Rust
//! code instantiated in the app needs them. They are added to the version script's global list. If C code was
//! compiled hidden, a copy of the archive is linked with protected visibility. Definitions in Rust objects
//! are left alone: rustc has decided about them.
//!
//! References from Rust objects are not. If a crate makes a shim for another crate's function (a
//! `#[track_caller]` function behind a pointer or in a vtable), rustc believes the function itself was made
//! there and marks the reference hidden. One such reference hides the function in the whole library, and in
//! the app no shared library can satisfy it. So hidden references to Rust symbols become ordinary ones, in
//! copies.
#![expect(clippy::print_stderr, reason = "a program of its own: rustc shows what its linker writes")]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::helper_error::HelperError;
use crate::quick::{self, QUICK_VARIABLE};
use object::elf;
use object::read::archive::ArchiveFile;
use object::read::elf::{ElfFile64, SectionHeader, Sym};
use object::{Endianness, Object};

/// The environment variable with the real linker.
pub(crate) const REAL_LINKER_VARIABLE: &str = "DEVHOST_LINKER";

/// The environment variable that includes C code the library does not refer to: the app may.
pub(crate) const TAKE_ALL_VARIABLE: &str = "DEVHOST_LINK_ALL";

/// The environment variable set to link an app, not the library of dependencies.
pub(crate) const APP_VARIABLE: &str = "DEVHOST_LINK_APP";

/// Links as rustc asks, and exports what others need.
pub(crate) fn main(args: &[OsString]) -> ExitCode {
    let linker = std::env::var_os(REAL_LINKER_VARIABLE).unwrap_or_else(|| "cc".into());
    if let Some(directory) = std::env::var_os(QUICK_VARIABLE) {
        return quick::link(Path::new(&directory), &linker, args, &expand(args));
    }
    let output = match std::env::var_os(APP_VARIABLE) {
        Some(_) => Output::App,
        None => Output::Dependencies { take_all: std::env::var_os(TAKE_ALL_VARIABLE).is_some() },
    };
    match prepare(&expand(args), output).and_then(|prepared| run(&linker, &prepared)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(linker: &OsString, prepared: &Prepared) -> Result<ExitCode, HelperError> {
    // Arguments from a response file may be too long for a command line.
    let file = response_file(&prepared.args, &prepared.directory).map_err(|error| {
        HelperError::io(format!("write a file in {}", prepared.directory.display()), error)
    })?;
    let mut argument = OsString::from("@");
    argument.push(file.path());
    let status = Command::new(linker)
        .arg(argument)
        .env_remove(REAL_LINKER_VARIABLE)
        .env_remove(TAKE_ALL_VARIABLE)
        .env_remove(APP_VARIABLE)
        .status()
        .map_err(|error| HelperError::io(format!("run the linker {}", linker.to_string_lossy()), error))?;
    Ok(ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)))
}

pub(crate) fn response_file(args: &[OsString], directory: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let mut text = Vec::new();
    for arg in args {
        text.push(b'"');
        for &byte in arg.as_encoded_bytes() {
            if byte == b'"' || byte == b'\\' {
                text.push(b'\\');
            }
            text.push(byte);
        }
        text.extend(b"\"\n");
    }
    let file = tempfile::Builder::new().prefix("devhost-link-").tempfile_in(directory)?;
    std::fs::write(file.path(), text)?;
    Ok(file)
}

/// Expands `@file` arguments as gcc does, with quotes and backslashes.
fn expand(args: &[OsString]) -> Vec<OsString> {
    let mut expanded = Vec::new();
    for arg in args {
        let text = arg.to_string_lossy();
        match text.strip_prefix('@').and_then(|path| std::fs::read_to_string(path).ok()) {
            Some(file) => expanded.extend(words(&file).into_iter().map(OsString::from)),
            None => expanded.push(arg.clone()),
        }
    }
    expanded
}

pub(crate) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, quote) {
            ('\\', _) => word.get_or_insert_default().extend(characters.next()),
            ('"' | '\'', None) => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (_, Some(open)) if open == character => quote = None,
            (_, None) if character.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

struct Prepared {
    args: Vec<OsString>,
    /// rustc's own temporary directory, which rustc removes.
    directory: PathBuf,
    _archives: Option<tempfile::TempDir>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Output {
    App,
    Dependencies {
        /// Include C code nothing in the library refers to: the app may.
        take_all: bool,
    },
}

fn prepare(args: &[OsString], output: Output) -> Result<Prepared, HelperError> {
    let mut args = args.to_vec();
    let Some(script) = version_script(&args) else {
        return Ok(Prepared { args, directory: std::env::temp_dir(), _archives: None });
    };
    let directory = script.parent().unwrap_or(Path::new(".")).to_owned();
    let mut symbols = BTreeSet::new();
    let mut copies = None;
    for number in 0..args.len() {
        let path = PathBuf::from(&args[number]);
        if !is_archive(&path) && !is_object(&path) {
            continue;
        }
        let Ok(mut bytes) = std::fs::read(&path) else { continue };
        let exported = match output {
            Output::Dependencies { .. } if is_archive(&path) => native_symbols(&bytes),
            _ => NativeSymbols::default(),
        };
        let references = hidden_references(&bytes);
        if !exported.hidden.is_empty() || !references.is_empty() {
            for &position in &exported.hidden {
                bytes[position] = (bytes[position] & !VISIBILITY_MASK) | elf::STV_PROTECTED.0;
            }
            for &position in &references {
                bytes[position] = (bytes[position] & !VISIBILITY_MASK) | elf::STV_DEFAULT.0;
            }
            let kept: &tempfile::TempDir = match &copies {
                Some(kept) => kept,
                None => copies.insert(archive_directory(&directory)?),
            };
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let copy = kept.path().join(format!("{number}-{name}"));
            std::fs::write(&copy, bytes)
                .map_err(|error| HelperError::io(format!("write {}", copy.display()), error))?;
            args[number] = copy.into();
        }
        symbols.extend(exported.names);
    }
    if !symbols.is_empty() {
        export(&script, &symbols)?;
        // Some symbols may not exist: not every archive member is linked.
        args.push("-Wl,--undefined-version".into());
        if output == (Output::Dependencies { take_all: true }) {
            // Before the archives: not every linker looks back.
            args.splice(0..0, symbols.iter().map(|symbol| format!("-Wl,-u,{symbol}").into()));
        }
    }
    Ok(Prepared { args, directory, _archives: copies })
}

/// The bits of `st_other` with the visibility.
const VISIBILITY_MASK: u8 = 3;

fn version_script(args: &[OsString]) -> Option<PathBuf> {
    let mut args = args.iter().map(|arg| arg.to_string_lossy());
    args.find_map(|arg| arg.split_once("--version-script=").map(|(_, path)| PathBuf::from(path)))
}

fn is_archive(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // compiler_builtins hides its symbols so that each library uses its own.
    path.extension().is_some_and(|extension| extension == "rlib" || extension == "a")
        && !name.contains("libcompiler_builtins-")
}

fn is_object(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "o")
}

fn archive_directory(directory: &Path) -> Result<tempfile::TempDir, HelperError> {
    tempfile::Builder::new()
        .prefix("devhost-")
        .tempdir_in(directory)
        .map_err(|error| HelperError::io(format!("create a directory in {}", directory.display()), error))
}

/// Adds symbols to the `global:` list of a version script.
fn export(script: &Path, symbols: &BTreeSet<String>) -> Result<(), HelperError> {
    let failed = |error: std::io::Error| HelperError::io(format!("change {}", script.display()), error);
    let text = std::fs::read_to_string(script).map_err(failed)?;
    let list: String = symbols.iter().map(|symbol| format!("    {symbol};\n")).collect();
    let changed = match (text.find("global:"), text.find('{')) {
        (Some(position), _) => insert(&text, position + "global:".len(), &format!("\n{list}")),
        (None, Some(position)) => insert(&text, position + 1, &format!("\n  global:\n{list}")),
        (None, None) => return Err(HelperError::VersionScript(script.to_owned())),
    };
    std::fs::write(script, changed).map_err(failed)
}

fn insert(text: &str, position: usize, what: &str) -> String {
    format!("{}{what}{}", &text[..position], &text[position..])
}

/// An archive's exported symbols unknown to rustc: those of C code and assembly.
#[derive(Debug, Default, PartialEq, Eq)]
struct NativeSymbols {
    names: Vec<String>,
    /// Offsets in the archive of the hidden ones' `st_other`.
    hidden: Vec<usize>,
}

fn native_symbols(archive: &[u8]) -> NativeSymbols {
    let mut found = NativeSymbols::default();
    for (name, start, bytes) in members(archive) {
        // rustc's own objects are recognized by name.
        if memchr_contains(name, RUST_OBJECT_NAME_PART) {
            found.names.extend(assembly_symbols(bytes));
        } else if let Some(member) = member_symbols(bytes) {
            found.names.extend(member.names);
            found.hidden.extend(member.hidden.into_iter().map(|position| start + position));
        }
    }
    found
}

const RUST_OBJECT_NAME_PART: &[u8] = b".rcgu.o";

/// An archive's objects: name, offset and content.
fn members(archive: &[u8]) -> impl Iterator<Item = (&[u8], usize, &[u8])> {
    let file = ArchiveFile::parse(archive).ok();
    let members = file.into_iter().flat_map(|file| file.members().flatten().collect::<Vec<_>>());
    members.filter(|member| member.name() != b"lib.rmeta").filter_map(|member| {
        let (start, size) = member.file_range();
        let (start, size) = (usize::try_from(start).ok()?, usize::try_from(size).ok()?);
        Some((member.name(), start, archive.get(start..start.saturating_add(size))?))
    })
}

/// C-like symbols in one of rustc's objects. rustc knows nothing of `global_asm!`; what is `#[no_mangle]` is
/// in its list already.
fn assembly_symbols(bytes: &[u8]) -> Vec<String> {
    let Some(file) = relocatable(bytes) else { return Vec::new() };
    let (endian, table) = (file.endian(), file.elf_symbol_table());
    let names = table.iter().filter(|symbol| {
        // A weak one is one of many alike, for the object's own use.
        symbol.st_bind() == elf::STB_GLOBAL
            && symbol.st_shndx(endian) != elf::SHN_UNDEF
            && symbol.st_visibility() == elf::STV_DEFAULT
    });
    let names =
        names.filter_map(|symbol| std::str::from_utf8(symbol.name(endian, table.strings()).ok()?).ok());
    names.filter(|name| !is_rust_symbol(name) && has_name_of_c(name)).map(str::to_owned).collect()
}

/// Offsets of the `st_other` of hidden references to Rust symbols, in an object or an archive's objects.
fn hidden_references(bytes: &[u8]) -> Vec<usize> {
    if bytes.starts_with(elf::ELFMAG.as_slice()) {
        return hidden_references_of(bytes).unwrap_or_default();
    }
    members(bytes)
        .flat_map(|(_, start, bytes)| {
            let found = hidden_references_of(bytes).unwrap_or_default();
            found.into_iter().map(move |position| start + position)
        })
        .collect()
}

fn hidden_references_of(bytes: &[u8]) -> Option<Vec<usize>> {
    let file = relocatable(bytes)?;
    let (endian, table, start) = (file.endian(), file.elf_symbol_table(), table_start(&file)?);
    let references = table.iter().enumerate().filter(|(_, symbol)| {
        symbol.st_shndx(endian) == elf::SHN_UNDEF
            && symbol.st_visibility() == elf::STV_HIDDEN
            && symbol
                .name(endian, table.strings())
                .is_ok_and(|name| std::str::from_utf8(name).is_ok_and(is_rust_symbol))
    });
    Some(references.map(|(index, _)| position_of_other(start, index)).collect())
}

fn relocatable(bytes: &[u8]) -> Option<ElfFile64<'_, Endianness>> {
    let file = ElfFile64::<Endianness>::parse(bytes).ok()?;
    (file.kind() == object::ObjectKind::Relocatable).then_some(file)
}

fn table_start(file: &ElfFile64<'_, Endianness>) -> Option<usize> {
    let endian = file.endian();
    let section =
        file.elf_section_table().iter().find(|section| section.sh_type(endian) == elf::SHT_SYMTAB)?;
    usize::try_from(section.sh_offset(endian)).ok()
}

fn position_of_other(table_start: usize, index: usize) -> usize {
    table_start + index * std::mem::size_of::<elf::Sym64<Endianness>>() + SYMBOL_OTHER_OFFSET_BYTES
}

/// Whether an archive's symbol table has one of the symbols.
pub(crate) fn defines_one(archive: &[u8], wanted: &[String]) -> bool {
    let Ok(file) = ArchiveFile::parse(archive) else { return false };
    let Ok(Some(symbols)) = file.symbols() else { return false };
    symbols.flatten().any(|symbol| wanted.iter().any(|name| name.as_bytes() == symbol.name()))
}

fn memchr_contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// The symbols of an object. Returns `None` if it contains Rust.
fn member_symbols(bytes: &[u8]) -> Option<NativeSymbols> {
    let file = relocatable(bytes)?;
    let endian = file.endian();
    let table_start = table_start(&file)?;
    let table = file.elf_symbol_table();
    let strings = table.strings();
    let mut found = NativeSymbols::default();
    for (index, symbol) in table.iter().enumerate() {
        let name = symbol.name(endian, strings).ok()?;
        let Ok(name) = std::str::from_utf8(name) else { continue };
        if is_rust_symbol(name) {
            return None;
        }
        let exported = matches!(symbol.st_bind(), elf::STB_GLOBAL | elf::STB_WEAK)
            && symbol.st_shndx(endian) != elf::SHN_UNDEF
            && has_name_of_c(name);
        if !exported {
            continue;
        }
        match symbol.st_visibility() {
            elf::STV_HIDDEN => {
                found.hidden.push(position_of_other(table_start, index));
                found.names.push(name.to_owned());
            }
            elf::STV_DEFAULT | elf::STV_PROTECTED => found.names.push(name.to_owned()),
            _ => {}
        }
    }
    Some(found)
}

/// Whether a symbol is named as in C, like C++ code callable from Rust. The rest are templates and the like,
/// by the thousand.
fn has_name_of_c(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with("_Z")
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_$.".contains(&byte))
}

/// The offset of `st_other` in an `Elf64_Sym`: after a four-byte name and `st_info`.
const SYMBOL_OTHER_OFFSET_BYTES: usize = 5;

/// Recognizes both of rustc's manglings, and the few unmangled names of its runtime.
fn is_rust_symbol(name: &str) -> bool {
    let legacy = name.starts_with("_ZN") && {
        // `17h`, sixteen hex digits and `E` end the name, before any suffix of LLVM.
        name.match_indices("17h").any(|(position, _)| {
            let hash = &name.as_bytes()[position + 3..];
            hash.len() > 16 && hash[..16].iter().all(u8::is_ascii_hexdigit) && hash[16] == b'E'
        })
    };
    legacy
        || name.starts_with("_R")
            && name.as_bytes().get(2).is_some_and(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
        || name.starts_with("__rust_")
        || name == "rust_eh_personality"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rust_symbols_are_told_from_others() {
        for name in [
            "_ZN4core3fmt9Formatter9write_str17h0123456789abcdefE",
            "_ZN4core3fmt17h0123456789abcdefE.llvm.123",
            "_RNvCsbmNqQUJIY6D_4core3foo",
            "__rust_alloc",
            "rust_eh_personality",
        ] {
            assert!(is_rust_symbol(name), "{name}");
        }
        for name in
            ["sqlite3_bind_null", "ZSTD_compress", "_ZNSt6vectorIiSaIiEE9push_backEOi", "_Readable", ""]
        {
            assert!(!is_rust_symbol(name), "{name}");
        }
    }

    #[test]
    fn a_response_file_survives_both_ways() {
        let args: Vec<OsString> = ["-o", "a b.so", "quote\"d", "back\\slash", ""].map(OsString::from).into();
        let file = response_file(&args, &std::env::temp_dir()).unwrap();
        let mut argument = OsString::from("@");
        argument.push(file.path());
        assert_eq!(expand(&[argument]), args);
    }

    #[test]
    fn symbols_join_the_global_list() {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("list");
        std::fs::write(&script, "{\n  global:\n    a;\n\n  local:\n    *;\n};\n").unwrap();
        export(&script, &BTreeSet::from(["sqlite3_open".to_owned()])).unwrap();
        let text = std::fs::read_to_string(&script).unwrap();
        assert_eq!(text, "{\n  global:\n    sqlite3_open;\n\n    a;\n\n  local:\n    *;\n};\n");
        std::fs::write(&script, "{\n  local:\n    *;\n};\n").unwrap();
        export(&script, &BTreeSet::from(["sqlite3_open".to_owned()])).unwrap();
        assert!(std::fs::read_to_string(&script).unwrap().contains("global:\n    sqlite3_open;\n"));
    }
}
