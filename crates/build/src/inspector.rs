//! Checks a freshly built library before a process is forked for it: is it complete and for this machine,
//! does it export its entry symbol, which build is it, and will the loader find every symbol it needs? Only
//! reads; never loads anything.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::helper_error::HelperError;
use devhost_model::{AppKind, PLAIN_MAIN_SYMBOL};
use devhost_plugin::abi::DESCRIPTOR_SYMBOL;
use object::elf;
use object::read::elf::{ElfFile64, Sym};
use object::{Endianness, Object};

const SYMBOLS_LISTED_COUNT_MAX: usize = 5;

/// Limit on the loader's configuration files, which can include each other.
const LOADER_FILES_COUNT_MAX: usize = 100;

/// A loadable library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Checked {
    /// The GNU build id in hexadecimal.
    pub build_id: String,
    pub kind: AppKind,
}

/// How a library's app is started, as far as the library can be read.
pub(crate) fn kind_of(library: &Path) -> AppKind {
    let bytes = std::fs::read(library).unwrap_or_default();
    let kind = parse(library, &bytes).ok().and_then(|file| kind_by(&symbols(&file).0));
    kind.unwrap_or(AppKind::Plugin)
}

/// A plugin's descriptor wins: a plugin app may also have a `main`.
fn kind_by(defined: &[&[u8]]) -> Option<AppKind> {
    if defined.contains(&DESCRIPTOR_SYMBOL.as_bytes()) {
        Some(AppKind::Plugin)
    } else {
        defined.contains(&PLAIN_MAIN_SYMBOL.as_bytes()).then_some(AppKind::Plain)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Problem {
    Unfit {
        message: String,
        hint: String,
    },
    /// Symbols the loader would not find.
    Unresolved(Vec<String>),
    /// It has its own allocator, but the shared standard library would free its memory.
    OwnAllocator,
}

impl Problem {
    fn unfit(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Unfit { message: message.into(), hint: hint.into() }
    }

    pub(crate) fn said_of(self, copy: &Path, original: &Path) -> Self {
        match self {
            Self::Unfit { message, hint } => {
                let message = message.replace(&*copy.to_string_lossy(), &original.to_string_lossy());
                Self::Unfit { message, hint }
            }
            other => other,
        }
    }
}

pub(crate) fn list_symbols(symbols: &[String]) -> String {
    let listed = symbols.iter().take(SYMBOLS_LISTED_COUNT_MAX).cloned().collect::<Vec<_>>().join(", ");
    match symbols.len().saturating_sub(SYMBOLS_LISTED_COUNT_MAX) {
        0 => listed,
        more => format!("{listed} and {more} more"),
    }
}

/// Checks libraries, and caches what the libraries they need offer.
#[derive(Debug, Default)]
pub(crate) struct Inspector {
    known: HashMap<PathBuf, Arc<Offer>>,
    directories: Option<Vec<PathBuf>>,
}

/// What a shared library offers and needs.
#[derive(Debug, Default)]
struct Offer {
    symbols: HashSet<Vec<u8>>,
    needed: Vec<String>,
    soname: Option<String>,
}

impl Inspector {
    /// Checks a library to be loaded after `preload`, and its kind, if one is expected.
    pub(crate) fn check(
        &mut self,
        expected: Option<AppKind>,
        library: &Path,
        preload: &[PathBuf],
    ) -> Result<Checked, Problem> {
        let bytes = std::fs::read(library)
            .map_err(|error| Problem::unfit(format!("cannot read {}: {error}", library.display()), ""))?;
        let file = parse(library, &bytes)?;
        let (defined, undefined) = symbols(&file);
        let kind = match (expected, kind_by(&defined)) {
            (Some(AppKind::Plain), found) if found != Some(AppKind::Plain) => {
                return Err(Problem::unfit(
                    format!("{} does not export {PLAIN_MAIN_SYMBOL}", library.display()),
                    "does an argument for the linker, from a build script or .cargo/config.toml, hide symbols?",
                ));
            }
            (Some(AppKind::Plugin), Some(AppKind::Plain)) | (_, None) => {
                return Err(Problem::unfit(
                    format!(
                        "{} does not export {DESCRIPTOR_SYMBOL}: there is no `export!`",
                        library.display()
                    ),
                    "write `devhost_plugin::export!(app);` in src/lib.rs, where `app` is the function that makes the app",
                ));
            }
            (_, Some(kind)) => kind,
        };
        if !preload.is_empty() && has_allocator(&file) {
            return Err(Problem::OwnAllocator);
        }
        if expected.is_some() && preload.is_empty() && defines(&file, |name| name == b"malloc") {
            return Err(Problem::unfit(
                "it has a `malloc` of its own for the whole process, which is loaded too late to be that: the C library \
                 has given memory that it would then free",
                "let the allocator's crate not override the C library's (mimalloc: without `override`, jemalloc: without \
                 `unprefixed_malloc_on_supported_platforms`), or use --strategy restart",
            ));
        }
        let build_id = match file.build_id() {
            Ok(Some(build_id)) => build_id.iter().map(|byte| format!("{byte:02x}")).collect(),
            _ => blake3::hash(&bytes).to_hex()[..40].to_owned(),
        };
        let unresolved = self.unresolved(undefined, dynamic(&file), preload);
        if unresolved.is_empty() {
            Ok(Checked { build_id, kind })
        } else {
            Err(Problem::Unresolved(unresolved))
        }
    }

    /// The symbols of a library of dependencies that neither `std` nor the system's libraries offer.
    pub(crate) fn unresolved_of(
        &mut self,
        library: &Path,
        std: &PathBuf,
    ) -> Result<Vec<String>, HelperError> {
        let bytes = std::fs::read(library)
            .map_err(|error| HelperError::io(format!("read {}", library.display()), error))?;
        let file = ElfFile64::<Endianness>::parse(&*bytes).map_err(HelperError::NotElf)?;
        let (_, undefined) = symbols(&file);
        Ok(self.unresolved(undefined, dynamic(&file), std::slice::from_ref(std)))
    }

    /// The names nothing offers. Empty if a needed library cannot be inspected.
    fn unresolved(&mut self, undefined: Vec<&[u8]>, needs: Offer, preload: &[PathBuf]) -> Vec<String> {
        let mut offers = Vec::new();
        let mut present = HashSet::new();
        let mut queue: VecDeque<String> = needs.needed.into();
        for library in preload {
            let Some(offer) = self.offer(library) else { return Vec::new() };
            present.extend(offer.soname.clone());
            queue.extend(offer.needed.iter().cloned());
            offers.push(offer);
        }
        while let Some(name) = queue.pop_front() {
            if !present.insert(name.clone()) {
                continue;
            }
            let Some(offer) = self.find(&name).and_then(|path| self.offer(&path)) else {
                // The loader may know better where to look, and will tell if it does not.
                return Vec::new();
            };
            queue.extend(offer.needed.iter().cloned());
            offers.push(offer);
        }
        let mut names: Vec<String> = undefined
            .into_iter()
            .filter(|name| !offers.iter().any(|offer| offer.symbols.contains(*name)))
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect();
        names.sort();
        names.dedup();
        names
    }

    fn offer(&mut self, path: &Path) -> Option<Arc<Offer>> {
        if let Some(offer) = self.known.get(path) {
            return Some(Arc::clone(offer));
        }
        let bytes = std::fs::read(path).ok()?;
        let file = parse(path, &bytes).ok()?;
        let mut offer = dynamic(&file);
        offer.symbols = symbols(&file).0.into_iter().map(<[u8]>::to_vec).collect();
        let offer = Arc::new(offer);
        self.known.insert(path.to_owned(), Arc::clone(&offer));
        Some(offer)
    }

    /// Where the loader would find a system library.
    fn find(&mut self, name: &str) -> Option<PathBuf> {
        let directories = self.directories.get_or_insert_with(loader_directories);
        directories.iter().map(|directory| directory.join(name)).find(|path| path.is_file())
    }
}

/// Whether a library has an allocator of its own, which must not meet a shared standard library.
pub(crate) fn brings_allocator(library: &Path) -> bool {
    let Ok(bytes) = std::fs::read(library) else { return false };
    ElfFile64::<Endianness>::parse(&*bytes).is_ok_and(|file| has_allocator(&file))
}

fn has_allocator(file: &ElfFile64<'_, Endianness>) -> bool {
    defines(file, |name| {
        name == b"__rust_alloc" || name.starts_with(b"_R") && name.ends_with(b"_7___rustc12___rust_alloc")
    })
}

/// Whether a library defines a matching symbol, local or exported.
fn defines(file: &ElfFile64<'_, Endianness>, wanted: impl Fn(&[u8]) -> bool) -> bool {
    let endian = file.endian();
    let table = file.elf_symbol_table();
    table.iter().any(|symbol| {
        symbol.st_shndx(endian) != elf::SHN_UNDEF && symbol.name(endian, table.strings()).is_ok_and(&wanted)
    })
}

/// The dynamic symbols a library defines, and those it needs from elsewhere.
fn symbols<'b>(file: &ElfFile64<'b, Endianness>) -> (Vec<&'b [u8]>, Vec<&'b [u8]>) {
    let endian = file.endian();
    let table = file.elf_dynamic_symbol_table();
    let mut defined = Vec::new();
    let mut undefined = Vec::new();
    for symbol in table.iter() {
        let Ok(name) = symbol.name(endian, table.strings()) else { continue };
        if symbol.st_shndx(endian) != elf::SHN_UNDEF {
            defined.push(name);
        } else if symbol.st_bind() != elf::STB_WEAK && !name.is_empty() {
            undefined.push(name);
        }
    }
    (defined, undefined)
}

fn dynamic(file: &ElfFile64<'_, Endianness>) -> Offer {
    let mut offer = Offer::default();
    let Ok(table) = file.elf_dynamic_table() else { return offer };
    for entry in &table {
        let text = || table.string(entry).ok().map(|name| String::from_utf8_lossy(name).into_owned());
        match entry.tag {
            elf::DT_NEEDED => offer.needed.extend(text()),
            elf::DT_SONAME => offer.soname = text(),
            _ => {}
        }
    }
    offer
}

/// Offsets in an ELF header: class, byte order, type and machine.
const ELF_CLASS_AT: usize = 4;
const ELF_ORDER_AT: usize = 5;
const ELF_TYPE_AT: usize = 16;
const ELF_MACHINE_AT: usize = 18;
const ELF_START_LEN_BYTES: usize = 20;

/// `e_type` of a shared library.
const ELF_TYPE_SHARED: u16 = 3;

fn parse<'b>(path: &Path, bytes: &'b [u8]) -> Result<ElfFile64<'b, Endianness>, Problem> {
    let rebuild = "build it again; if it was just being written, the next change starts another try";
    if !bytes.starts_with(b"\x7fELF") || bytes.len() < ELF_START_LEN_BYTES {
        let what = if bytes.is_empty() { "is empty" } else { "is not a shared library (not an ELF file)" };
        return Err(Problem::unfit(format!("{} {what}", path.display()), rebuild));
    }
    let word = |at: usize| match bytes[ELF_ORDER_AT] {
        2 => u16::from_be_bytes([bytes[at], bytes[at + 1]]),
        _ => u16::from_le_bytes([bytes[at], bytes[at + 1]]),
    };
    let given = (bytes[ELF_CLASS_AT], word(ELF_MACHINE_AT));
    let own = own_machine();
    if own.is_some_and(|own| own != given) {
        return Err(Problem::unfit(
            format!(
                "{} is for another machine: {}, and devhost runs on {}",
                path.display(),
                machine_name(given),
                own.map_or_else(|| std::env::consts::ARCH.into(), machine_name)
            ),
            "build it for this machine; a `build.target` in .cargo/config.toml may say otherwise",
        ));
    }
    if word(ELF_TYPE_AT) != ELF_TYPE_SHARED {
        return Err(Problem::unfit(format!("{} is not a shared library", path.display()), rebuild));
    }
    ElfFile64::parse(bytes).map_err(|error| {
        Problem::unfit(format!("{} is damaged or only half there: {error}", path.display()), rebuild)
    })
}

fn own_machine() -> Option<(u8, u16)> {
    use std::io::Read;
    let mut start = [0; ELF_START_LEN_BYTES];
    std::fs::File::open("/proc/self/exe").ok()?.read_exact(&mut start).ok()?;
    let machine = [start[ELF_MACHINE_AT], start[ELF_MACHINE_AT + 1]];
    Some((start[ELF_CLASS_AT], u16::from_ne_bytes(machine)))
}

fn machine_name((class, machine): (u8, u16)) -> String {
    let name = match machine {
        3 => "x86",
        40 => "ARM",
        62 if class == 1 => "x32",
        62 => "x86_64",
        183 => "aarch64",
        243 => "RISC-V",
        _ => return format!("ELF machine {machine}"),
    };
    name.into()
}

/// The loader's search path: from the environment, the configuration, and built in.
fn loader_directories() -> Vec<PathBuf> {
    let mut directories: Vec<PathBuf> = std::env::var_os("LD_LIBRARY_PATH")
        .map(|paths| std::env::split_paths(&paths).filter(|path| path.is_absolute()).collect())
        .unwrap_or_default();
    directories.extend(configured_directories(Path::new("/etc/ld.so.conf")));
    let tuple = format!("{}-linux-gnu", std::env::consts::ARCH);
    for base in ["/lib64", "/usr/lib64", "/lib", "/usr/lib"] {
        directories.push(Path::new(base).join(&tuple));
        directories.push(base.into());
    }
    directories
}

fn configured_directories(main: &Path) -> Vec<PathBuf> {
    let mut directories = Vec::new();
    let mut queue = VecDeque::from([main.to_owned()]);
    for _ in 0..LOADER_FILES_COUNT_MAX {
        let Some(file) = queue.pop_front() else { break };
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        for line in text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()) {
            if let Some(pattern) = line.strip_prefix("include ") {
                // The pattern is always a directory's `*.conf`.
                let pattern = file.parent().unwrap_or(Path::new("/")).join(pattern.trim());
                let entries = pattern.parent().and_then(|directory| std::fs::read_dir(directory).ok());
                let files = entries.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
                queue.extend(files.filter(|path| path.extension().is_some_and(|ending| ending == "conf")));
            } else if line.starts_with('/') {
                directories.push(line.into());
            }
        }
    }
    directories
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: &[u8]) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        match Inspector::default().check(None, file.path(), &[]) {
            Err(Problem::Unfit { message, .. }) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_no_library_is_named_so() {
        assert!(message(b"").contains("is empty"));
        assert!(message(b"<html>").contains("not an ELF file"));
        let own = std::fs::read("/proc/self/exe").unwrap();
        let mut foreign = own[..64].to_vec();
        foreign[ELF_MACHINE_AT] = 40;
        assert!(message(&foreign).contains("is for another machine: ARM"), "{}", message(&foreign));
        let mut half = own[..64].to_vec();
        half[ELF_TYPE_AT] = 3;
        assert!(message(&half).contains("only half there"), "{}", message(&half));
    }

    #[test]
    fn a_library_of_the_system_is_no_plugin() {
        let mut inspector = Inspector::default();
        let libc = inspector.find("libc.so.6").expect("every glibc system has it");
        let Err(Problem::Unfit { message, hint }) = inspector.check(None, &libc, &[]) else {
            panic!("accepted")
        };
        assert!(message.contains(DESCRIPTOR_SYMBOL));
        assert!(hint.contains("export!"));
    }

    #[test]
    fn long_lists_are_cut() {
        let symbols: Vec<String> = (0..7).map(|n| format!("s{n}")).collect();
        assert_eq!(list_symbols(&symbols), "s0, s1, s2, s3, s4 and 2 more");
        assert_eq!(list_symbols(&symbols[..1]), "s0");
    }
}
