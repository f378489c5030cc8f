//! devhost as the linker of the library of dependencies. rustc keeps the symbols of C code local to a dylib
//! (rust-lang/rust#65610), but generic Rust code that calls them is instantiated in the app. So the C symbols
//! are added to the version script's global list, and where they were compiled hidden, a copy of the archive
//! with their visibility set to protected is linked. Objects with Rust symbols are never touched: rustc has
//! decided about those. Then the real linker runs.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use object::elf;
use object::read::archive::ArchiveFile;
use object::read::elf::{ElfFile64, SectionHeader, Sym};
use object::{Endianness, Object};

/// The environment variable with the linker to be run in the end.
pub(super) const REAL_LINKER_VARIABLE: &str = "DEVHOST_LINKER";

/// The environment variable that, where it is set, makes the linker take in C code that nothing in the library
/// refers to: the app may.
pub(super) const TAKE_ALL_VARIABLE: &str = "DEVHOST_LINK_ALL";

/// Links as rustc asks, with the symbols of C code exported.
pub fn main(args: &[OsString]) -> ExitCode {
    let linker = std::env::var_os(REAL_LINKER_VARIABLE).unwrap_or_else(|| "cc".into());
    let take_all = std::env::var_os(TAKE_ALL_VARIABLE).is_some();
    match prepare(&expand(args), take_all).and_then(|prepared| run(&linker, &prepared)) {
        Ok(code) => code,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(linker: &OsString, prepared: &Prepared) -> Result<ExitCode, String> {
    // The arguments may have come from a response file, so they may be too long for a command line.
    let file = response_file(&prepared.args, &prepared.directory)
        .map_err(|error| format!("cannot write a file in {}: {error}", prepared.directory.display()))?;
    let mut argument = OsString::from("@");
    argument.push(file.path());
    let status = Command::new(linker)
        .arg(argument)
        .env_remove(REAL_LINKER_VARIABLE)
        .env_remove(TAKE_ALL_VARIABLE)
        .status()
        .map_err(|error| format!("cannot run the linker {}: {error}", linker.to_string_lossy()))?;
    Ok(ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)))
}

fn response_file(args: &[OsString], directory: &Path) -> std::io::Result<tempfile::NamedTempFile> {
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

/// Reads `@file` arguments as gcc does: words apart by white space, quotes and backslashes.
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

fn words(text: &str) -> Vec<String> {
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

/// The arguments for the real linker, and what must live as long as it runs.
struct Prepared {
    args: Vec<OsString>,
    /// rustc's own temporary directory, which it removes.
    directory: PathBuf,
    /// The patched archives.
    _archives: Option<tempfile::TempDir>,
}

fn prepare(args: &[OsString], take_all: bool) -> Result<Prepared, String> {
    let mut args = args.to_vec();
    let Some(script) = version_script(&args) else {
        return Ok(Prepared { args, directory: std::env::temp_dir(), _archives: None });
    };
    let directory = script.parent().unwrap_or(Path::new(".")).to_owned();
    let mut symbols = BTreeSet::new();
    let mut archives = None;
    for number in 0..args.len() {
        let path = PathBuf::from(&args[number]);
        if !is_archive(&path) {
            continue;
        }
        let Ok(mut bytes) = std::fs::read(&path) else { continue };
        let found = native_symbols(&bytes);
        if !found.hidden.is_empty() {
            for &position in &found.hidden {
                bytes[position] = (bytes[position] & !VISIBILITY_MASK) | elf::STV_PROTECTED.0;
            }
            let kept: &tempfile::TempDir = match &archives {
                Some(kept) => kept,
                None => archives.insert(archive_directory(&directory)?),
            };
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let copy = kept.path().join(format!("{number}-{name}"));
            std::fs::write(&copy, bytes)
                .map_err(|error| format!("cannot write {}: {error}", copy.display()))?;
            args[number] = copy.into();
        }
        symbols.extend(found.names);
    }
    if !symbols.is_empty() {
        export(&script, &symbols)?;
        // Not each member of an archive ends up in the library, so not each symbol of the list exists.
        args.push("-Wl,--undefined-version".into());
        if take_all {
            // In front of the archives: not every linker looks back.
            args.splice(0..0, symbols.iter().map(|symbol| format!("-Wl,-u,{symbol}").into()));
        }
    }
    Ok(Prepared { args, directory, _archives: archives })
}

/// The part of `st_other` that holds the visibility.
const VISIBILITY_MASK: u8 = 3;

fn version_script(args: &[OsString]) -> Option<PathBuf> {
    let mut args = args.iter().map(|arg| arg.to_string_lossy());
    args.find_map(|arg| arg.split_once("--version-script=").map(|(_, path)| PathBuf::from(path)))
}

fn is_archive(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // compiler_builtins has its symbols hidden so that each library uses its own.
    path.extension().is_some_and(|extension| extension == "rlib" || extension == "a")
        && !name.contains("libcompiler_builtins-")
}

fn archive_directory(directory: &Path) -> Result<tempfile::TempDir, String> {
    tempfile::Builder::new()
        .prefix("devhost-")
        .tempdir_in(directory)
        .map_err(|error| format!("cannot create a directory in {}: {error}", directory.display()))
}

/// Adds symbols to the `global:` list of a version script.
fn export(script: &Path, symbols: &BTreeSet<String>) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("cannot change {}: {error}", script.display());
    let text = std::fs::read_to_string(script).map_err(|error| failed(&error))?;
    let list: String = symbols.iter().map(|symbol| format!("    {symbol};\n")).collect();
    let changed = match (text.find("global:"), text.find('{')) {
        (Some(position), _) => insert(&text, position + "global:".len(), &format!("\n{list}")),
        (None, Some(position)) => insert(&text, position + 1, &format!("\n  global:\n{list}")),
        (None, None) => return Err(failed(&"it has no block")),
    };
    std::fs::write(script, changed).map_err(|error| failed(&error))
}

fn insert(text: &str, position: usize, what: &str) -> String {
    format!("{}{what}{}", &text[..position], &text[position..])
}

/// The symbols that C code in an archive defines for others.
#[derive(Debug, Default, PartialEq, Eq)]
struct NativeSymbols {
    /// Their names.
    names: Vec<String>,
    /// Where in the archive the `st_other` of the hidden ones is.
    hidden: Vec<usize>,
}

fn native_symbols(archive: &[u8]) -> NativeSymbols {
    let mut found = NativeSymbols::default();
    let Ok(file) = ArchiveFile::parse(archive) else { return found };
    for member in file.members().flatten() {
        // rustc's own objects, which are most of the bytes, are known by their name already.
        if memchr_contains(member.name(), b".rcgu.o") || member.name() == b"lib.rmeta" {
            continue;
        }
        let (start, size) = member.file_range();
        let (Ok(start), Ok(size)) = (usize::try_from(start), usize::try_from(size)) else { continue };
        let Some(bytes) = archive.get(start..start.saturating_add(size)) else { continue };
        if let Some(member) = member_symbols(bytes) {
            found.names.extend(member.names);
            found.hidden.extend(member.hidden.into_iter().map(|position| start + position));
        }
    }
    found
}

/// Whether an archive defines one of the symbols, by its own table of them.
pub(super) fn defines_one(archive: &[u8], wanted: &[String]) -> bool {
    let Ok(file) = ArchiveFile::parse(archive) else { return false };
    let Ok(Some(symbols)) = file.symbols() else { return false };
    symbols.flatten().any(|symbol| wanted.iter().any(|name| name.as_bytes() == symbol.name()))
}

fn memchr_contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// The symbols of one object, unless it has anything to do with Rust.
fn member_symbols(bytes: &[u8]) -> Option<NativeSymbols> {
    let file = ElfFile64::<Endianness>::parse(bytes).ok()?;
    if file.kind() != object::ObjectKind::Relocatable {
        return None;
    }
    let endian = file.endian();
    let (_, section) = file
        .elf_section_table()
        .enumerate()
        .find(|(_, section)| section.sh_type(endian) == elf::SHT_SYMTAB)?;
    let table_start = usize::try_from(section.sh_offset(endian)).ok()?;
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
            && !name.is_empty()
            // C++ code that Rust could call has C names; the rest are templates and the like, by the thousand.
            && !name.starts_with("_Z")
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_$.".contains(&byte));
        if !exported {
            continue;
        }
        match symbol.st_visibility() {
            elf::STV_HIDDEN => {
                let entry = std::mem::size_of::<elf::Sym64<Endianness>>();
                found.hidden.push(table_start + index * entry + SYMBOL_OTHER_OFFSET_BYTES);
                found.names.push(name.to_owned());
            }
            elf::STV_DEFAULT | elf::STV_PROTECTED => found.names.push(name.to_owned()),
            _ => {}
        }
    }
    Some(found)
}

/// Where `st_other` is in an `Elf64_Sym`: after a name of four bytes and `st_info`.
const SYMBOL_OTHER_OFFSET_BYTES: usize = 5;

/// Both manglings of rustc, and the few names of its runtime that have none.
fn is_rust_symbol(name: &str) -> bool {
    let legacy = name.starts_with("_ZN") && {
        // `17h`, sixteen hexadecimal digits and `E` end the name, before what LLVM may append.
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
