//! A stub: a shared library with nothing but a name and the symbols that the app uses. For a linker it stands
//! for the real one; nobody can load it.

use std::collections::HashSet;
use std::path::Path;

use object::Endianness;
use object::elf;
use object::read::elf::{ElfFile64, Sym as _};
use object::write::elf::{FileHeader, Sym, Writer};

/// How many entries a stub's dynamic section has: its name, and the end.
const DYNAMIC_COUNT: usize = 2;

struct Symbol<'l> {
    name: &'l [u8],
    info: elf::SymbolInfo,
    other: elf::SymbolOther,
    size: u64,
}

/// Makes a stub of a library, with those of its symbols that are `used`. Returns `None` if it cannot be
/// replaced: its symbols have versions, or it is not a library of this machine.
pub(super) fn make(library: &Path, used: &HashSet<Vec<u8>>) -> Option<Vec<u8>> {
    let bytes = std::fs::read(library).ok()?;
    let file = ElfFile64::<Endianness>::parse(&*bytes).ok()?;
    let endian = file.endian();
    let sections = file.elf_section_table();
    if sections.gnu_verdef(endian, &*bytes).ok()?.is_some() {
        return None;
    }
    let versions = sections.gnu_versym(endian, &*bytes).ok()?.map_or(&[][..], |(versions, _)| versions);
    let is_local = |index: usize| {
        versions.get(index).is_some_and(|version| version.0.get(endian) == elf::VER_NDX_LOCAL.into())
    };
    let table = file.elf_dynamic_symbol_table();
    let mut symbols = Vec::new();
    for (index, symbol) in table.enumerate() {
        let name = symbol.name(endian, table.strings()).ok()?;
        if symbol.st_shndx(endian) != elf::SHN_UNDEF && !is_local(index.0) && used.contains(name) {
            let (info, other) = (symbol.st_info(), symbol.st_other());
            symbols.push(Symbol { name, info, other, size: symbol.st_size(endian) });
        }
    }
    let dynamic = file.elf_dynamic_table().ok()?;
    let soname = dynamic.iter().find(|entry| entry.tag == elf::DT_SONAME);
    let soname = soname.map_or_else(
        // What a linker does without one.
        || library.file_name().map(|name| name.as_encoded_bytes().to_vec()),
        |entry| dynamic.string(entry).ok().map(<[u8]>::to_vec),
    )?;
    write(file.endian(), &soname, &symbols)
}

fn write(endian: Endianness, soname: &[u8], symbols: &[Symbol<'_>]) -> Option<Vec<u8>> {
    let mut buffer = Vec::new();
    let mut writer = Writer::new(endian, true, &mut buffer);
    writer.reserve_null_section_index();
    writer.reserve_dynsym_section_index();
    writer.reserve_dynstr_section_index();
    writer.reserve_dynamic_section_index();
    writer.reserve_shstrtab_section_index();
    let soname = writer.add_dynamic_string(soname);
    let names: Vec<_> = symbols.iter().map(|symbol| writer.add_dynamic_string(symbol.name)).collect();
    writer.reserve_null_dynamic_symbol_index();
    for _ in symbols {
        writer.reserve_dynamic_symbol_index();
    }
    writer.reserve_file_header();
    writer.reserve_dynsym();
    writer.reserve_dynstr().ok()?;
    writer.reserve_dynamic(DYNAMIC_COUNT);
    writer.reserve_shstrtab().ok()?;
    writer.reserve_section_headers();
    let header = FileHeader {
        os_abi: elf::ELFOSABI_NONE,
        abi_version: 0,
        e_type: elf::ET_DYN,
        e_machine: elf::EM_X86_64,
        e_entry: 0,
        e_flags: elf::FileFlags(0),
    };
    writer.write_file_header(&header).ok()?;
    writer.write_null_dynamic_symbol();
    for (symbol, name) in symbols.iter().zip(names) {
        writer.write_dynamic_symbol(&Sym {
            st_name: writer.dynamic_string_offset(Some(name)),
            section: None,
            st_info: symbol.info,
            st_other: symbol.other,
            // Defined, though in no section.
            st_shndx: elf::SHN_ABS,
            st_value: 0,
            st_size: symbol.size,
        });
    }
    writer.write_dynstr();
    writer.write_align_dynamic();
    writer.write_dynamic_string(elf::DT_SONAME, soname).ok()?;
    writer.write_dynamic(elf::DT_NULL, 0).ok()?;
    writer.write_shstrtab();
    writer.write_null_section_header();
    writer.write_dynsym_section_header(0, 1);
    writer.write_dynstr_section_header(0);
    writer.write_dynamic_section_header(0);
    writer.write_shstrtab_section_header();
    Some(buffer)
}
