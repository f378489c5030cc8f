//! What must be the same in two links of the same objects: what the library needs, exports and imports, and
//! what runs or is registered when it is loaded.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

use object::Endianness;
use object::elf;
use object::read::elf::{ElfFile64, SectionHeader as _, Sym as _};

/// Sections whose size must be the same, besides those with the name of a C variable, whose ends a program can
/// ask for.
const SECTIONS: &[&str] = &[".init_array", ".fini_array", ".preinit_array", ".ctors", ".tdata", ".tbss"];

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shape {
    needed: Vec<Vec<u8>>,
    soname: Option<Vec<u8>>,
    symbols: BTreeSet<Dynamic>,
    /// Names and sizes.
    sections: BTreeMap<Vec<u8>, u64>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Dynamic {
    name: Vec<u8>,
    info: u8,
    other: u8,
    is_defined: bool,
}

impl Shape {
    /// Returns `None` if it is no library that can be read.
    pub(super) fn of(library: &Path) -> Option<Self> {
        let bytes = std::fs::read(library).ok()?;
        let file = ElfFile64::<Endianness>::parse(&*bytes).ok()?;
        let endian = file.endian();
        let dynamic = file.elf_dynamic_table().ok()?;
        let strings = |tag: elf::DynamicTag| {
            let entries = dynamic.iter().filter(move |entry| entry.tag == tag);
            entries.filter_map(|entry| dynamic.string(entry).ok()).map(<[u8]>::to_vec).collect::<Vec<_>>()
        };
        let table = file.elf_dynamic_symbol_table();
        let mut symbols = BTreeSet::new();
        for symbol in table.iter() {
            symbols.insert(Dynamic {
                name: symbol.name(endian, table.strings()).ok()?.to_vec(),
                info: symbol.st_info().0,
                other: symbol.st_other().0,
                is_defined: symbol.st_shndx(endian) != elf::SHN_UNDEF,
            });
        }
        let mut sections = BTreeMap::new();
        let headers = file.elf_section_table();
        for section in headers.iter() {
            let name = headers.section_name(endian, section).ok()?;
            if SECTIONS.iter().any(|known| known.as_bytes() == name) || is_of_c(name) {
                *sections.entry(name.to_vec()).or_default() += section.sh_size(endian);
            }
        }
        Some(Self {
            needed: strings(elf::DT_NEEDED),
            soname: strings(elf::DT_SONAME).pop(),
            symbols,
            sections,
        })
    }

    /// The symbols it takes from other libraries.
    pub(super) fn used(&self) -> HashSet<Vec<u8>> {
        self.symbols.iter().filter(|symbol| !symbol.is_defined).map(|symbol| symbol.name.clone()).collect()
    }
}

fn is_of_c(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}
