//! What a program is known by: the same identity is the same code.

use std::fs::File;
use std::io;
use std::path::Path;

use object::Endianness;
use object::elf::PT_INTERP;
use object::read::ReadCache;
use object::read::elf::{ElfFile64, ProgramHeader};
use object::read::{Object, ReadRef};

/// How many hexadecimal digits of a hash stand for a program without a build id: as many as a SHA-1 build id has.
const HASH_DIGITS_COUNT: usize = 40;

/// The program's GNU build id in hexadecimal, or else a hash of all of it.
///
/// # Errors
/// The file cannot be read.
pub fn identity(program: &Path) -> io::Result<String> {
    let cache = ReadCache::new(File::open(program)?);
    let build_id =
        ElfFile64::<Endianness, _>::parse(&cache).ok().and_then(|elf| elf.build_id().ok().flatten());
    if let Some(build_id) = build_id {
        return Ok(build_id.iter().map(|byte| format!("{byte:02x}")).collect());
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(program)?)?;
    Ok(hasher.finalize().to_hex()[..HASH_DIGITS_COUNT].to_owned())
}

/// True where no dynamic loader starts the program, so that nothing can be preloaded into it.
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
    fn the_same_bytes_have_the_same_identity_and_others_another_one() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        std::fs::write(&one, "no ELF file").unwrap();
        std::fs::write(&two, "no ELF file").unwrap();
        assert_eq!(identity(&one).unwrap(), identity(&two).unwrap());
        std::fs::write(&two, "no ELF file either").unwrap();
        assert_ne!(identity(&one).unwrap(), identity(&two).unwrap());
        assert_eq!(identity(&one).unwrap().len(), HASH_DIGITS_COUNT);
        assert!(identity(&dir.path().join("missing")).is_err());
    }

    #[test]
    fn this_test_is_a_dynamic_program() {
        let own = std::env::current_exe().unwrap();
        assert!(!is_static(&own));
        assert_eq!(identity(&own).unwrap(), identity(Path::new("/proc/self/exe")).unwrap());
    }
}
