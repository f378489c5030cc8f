//! A program's ELF file: its build id, and whether it is dynamically linked.

use std::fs::File;
use std::io;
use std::path::Path;

use object::Endianness;
use object::elf::PT_INTERP;
use object::read::ReadCache;
use object::read::elf::{ElfFile64, ProgramHeader};
use object::read::{Object, ReadRef};

/// How many digits of a hash replace a missing build id: as many as in a SHA-1 build id.
const HASH_DIGITS_COUNT: usize = 40;

/// Returns the program's GNU build id in hex, or a hash of the whole file if it has none. The same id means
/// the same code.
///
/// # Errors
/// The file cannot be read.
pub fn build_id(program: &Path) -> io::Result<String> {
    let cache = ReadCache::new(File::open(program)?);
    let own = ElfFile64::<Endianness, _>::parse(&cache).ok().and_then(|elf| elf.build_id().ok().flatten());
    if let Some(own) = own {
        return Ok(own.iter().map(|byte| format!("{byte:02x}")).collect());
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(program)?)?;
    Ok(hasher.finalize().to_hex()[..HASH_DIGITS_COUNT].to_owned())
}

/// Returns true if the program runs without a dynamic loader, so that nothing can be preloaded into it.
pub fn is_static(program: &Path) -> bool {
    let Ok(file) = File::open(program) else { return false };
    let cache = ReadCache::new(file);
    let data: &ReadCache<File> = &cache;
    debug_assert!(data.len().is_ok());
    ElfFile64::<Endianness, _>::parse(data).is_ok_and(|elf| {
        let endian = elf.endian();
        !elf.elf_program_headers().iter().any(|header| header.p_type(endian) == PT_INTERP)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_bytes_have_the_same_build_id_and_others_another_one() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        std::fs::write(&one, "no ELF file").unwrap();
        std::fs::write(&two, "no ELF file").unwrap();
        assert_eq!(build_id(&one).unwrap(), build_id(&two).unwrap());
        std::fs::write(&two, "no ELF file either").unwrap();
        assert_ne!(build_id(&one).unwrap(), build_id(&two).unwrap());
        assert_eq!(build_id(&one).unwrap().len(), HASH_DIGITS_COUNT);
        assert!(build_id(&dir.path().join("missing")).is_err());
    }

    #[test]
    fn this_test_is_a_dynamic_program() {
        let own = std::env::current_exe().unwrap();
        assert!(!is_static(&own));
        assert_eq!(build_id(&own).unwrap(), build_id(Path::new("/proc/self/exe")).unwrap());
    }
}
