//! Loads a plugin or a plain app: dlopen, entry point, and the build id of the loaded code.

use std::ffi::c_void;
use std::path::{Path, PathBuf};

use devhost_plugin::abi;
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_LOCAL, RTLD_NOW, Symbol};
use nix::libc;

use devhost_model::PLAIN_MAIN_SYMBOL;

pub(super) use devhost_plugin::negotiation::DescriptorView as Descriptor;

#[derive(Debug)]
pub(super) struct Loaded {
    /// Its checked descriptor.
    pub(super) descriptor: Descriptor,
    /// The GNU build id of the loaded library, in hex; empty if it has none.
    pub(super) build_id: String,
}

/// A loaded plain app. Never unloaded.
#[derive(Debug)]
pub(super) struct LoadedPlain {
    /// Calls the app's `main` and returns its exit code.
    pub(super) main: unsafe extern "C" fn() -> i32,
    /// The GNU build id of the loaded library, in hex; empty if it has none.
    pub(super) build_id: String,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    /// dlopen failed.
    #[error("failed to load {}: {message}", path.display())]
    Open {
        path: PathBuf,
        /// The loader's message.
        message: String,
    },
    /// A library, but no plugin.
    #[error("{} exports no {}", path.display(), abi::DESCRIPTOR_SYMBOL)]
    NoDescriptor {
        /// The artifact.
        path: PathBuf,
    },
    /// A library, but no plain app.
    #[error("{} exports no {PLAIN_MAIN_SYMBOL}", path.display())]
    NoMain {
        /// The artifact.
        path: PathBuf,
    },
    /// A plugin of another ABI version, or a broken one.
    #[error("{0}")]
    Abi(devhost_plugin::negotiation::AbiError),
}

impl LoadError {
    pub(super) fn hint(&self) -> &'static str {
        match self {
            Self::Open { .. } | Self::NoMain { .. } => "",
            Self::NoDescriptor { .. } => {
                "a plugin app says `devhost_plugin::export!(app);` at the root of its library"
            }
            Self::Abi(_) => "build the plugin and devhost from the same version of devhost's repository",
        }
    }
}

/// Loads a plugin. It may be unloaded once its `stop` has returned and nothing uses it any more.
pub(super) fn load_plugin(path: &Path) -> Result<(Loaded, Library), LoadError> {
    let library = open(path)?;
    // SAFETY: the ABI fixes the symbol's type, whatever its version.
    let descriptor: Symbol<unsafe extern "C" fn() -> *const abi::Descriptor> =
        unsafe { library.get(abi::DESCRIPTOR_SYMBOL) }
            .map_err(|_| LoadError::NoDescriptor { path: path.to_owned() })?;
    let build_id = build_id_at(*descriptor as *const c_void);
    // SAFETY: the ABI promises a descriptor that stays valid, and `check_descriptor` reads only what
    // `struct_size` covers.
    let descriptor =
        unsafe { devhost_plugin::negotiation::check_descriptor(descriptor()) }.map_err(LoadError::Abi)?;
    Ok((Loaded { descriptor, build_id }, library))
}

/// Loads a plain app. It is never unloaded.
pub(super) fn load_plain(path: &Path) -> Result<LoadedPlain, LoadError> {
    let library = open(path)?;
    // SAFETY: devhost's own build defines the symbol, with this type.
    let main: Symbol<unsafe extern "C" fn() -> i32> =
        unsafe { library.get(PLAIN_MAIN_SYMBOL) }.map_err(|_| LoadError::NoMain { path: path.to_owned() })?;
    let main = *main;
    std::mem::forget(library);
    Ok(LoadedPlain { build_id: build_id_at(main as *const c_void), main })
}

/// Loads a library that others depend on. It is never unloaded.
pub(super) fn load_global(path: &Path) -> Result<(), LoadError> {
    // SAFETY: loading runs the library's constructors. It is one of the app's own dependencies, which an
    // ordinary start would load as well.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) };
    std::mem::forget(library.map_err(|error| open_failed(path, &error))?);
    Ok(())
}

fn open_failed(path: &Path, error: &libloading::Error) -> LoadError {
    LoadError::Open { path: path.to_owned(), message: error.to_string() }
}

fn open(path: &Path) -> Result<Library, LoadError> {
    // SAFETY: loading runs the library's constructors; the library is the app, which is trusted as code.
    unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }.map_err(|error| open_failed(path, &error))
}

/// Returns the GNU build id of the library loaded at an address.
fn build_id_at(address: *const c_void) -> String {
    struct Search {
        address: u64,
        build_id: Vec<u8>,
    }

    unsafe extern "C" fn visit(
        info: *mut libc::dl_phdr_info,
        _size: usize,
        data: *mut c_void,
    ) -> libc::c_int {
        // SAFETY: dl_iterate_phdr passes a valid info, and our own `Search` as data.
        let (info, search) = unsafe { (&*info, &mut *data.cast::<Search>()) };
        // SAFETY: the loader keeps `dlpi_phnum` headers at `dlpi_phdr`.
        let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
        let contains = headers.iter().filter(|header| header.p_type == libc::PT_LOAD).any(|header| {
            let start = info.dlpi_addr.wrapping_add(header.p_vaddr);
            (start..start.wrapping_add(header.p_memsz)).contains(&search.address)
        });
        if !contains {
            return 0;
        }
        for header in headers.iter().filter(|header| header.p_type == libc::PT_NOTE) {
            let start = info.dlpi_addr.wrapping_add(header.p_vaddr) as *const u8;
            let len = usize::try_from(header.p_memsz).unwrap_or(0);
            // SAFETY: a PT_NOTE segment of a loaded library is mapped and readable.
            let notes = unsafe { std::slice::from_raw_parts(start, len) };
            if let Some(id) = gnu_build_id(notes) {
                search.build_id = id.to_vec();
                return 1;
            }
        }
        1
    }

    let mut search = Search { address: address as u64, build_id: Vec::new() };
    // SAFETY: `visit` matches the callback's type, and `search` outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut search).cast()) };
    search.build_id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Finds the `NT_GNU_BUILD_ID` in a note segment: name length, description length, type, name, description,
/// each padded to 4 bytes.
fn gnu_build_id(mut notes: &[u8]) -> Option<&[u8]> {
    const NT_GNU_BUILD_ID: u32 = 3;
    let word = |bytes: &[u8], at: usize| -> Option<u32> {
        Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
    };
    while notes.len() >= 12 {
        let (name_len, description_len, kind) = (word(notes, 0)?, word(notes, 4)?, word(notes, 8)?);
        let name_len = usize::try_from(name_len).ok()?;
        let description_len = usize::try_from(description_len).ok()?;
        let description_at = 12usize.checked_add(name_len.checked_next_multiple_of(4)?)?;
        let end = description_at.checked_add(description_len)?;
        let name = notes.get(12..12 + name_len)?;
        let description = notes.get(description_at..end)?;
        if kind == NT_GNU_BUILD_ID && name == b"GNU\0" {
            return Some(description);
        }
        notes = notes.get(end.checked_next_multiple_of(4)?..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_build_id_is_found_behind_other_notes() {
        let mut notes = Vec::new();
        for (kind, description) in [(1u32, &b"abcde"[..]), (3, &[0xde, 0xad][..])] {
            notes.extend(4u32.to_ne_bytes());
            notes.extend(u32::try_from(description.len()).unwrap().to_ne_bytes());
            notes.extend(kind.to_ne_bytes());
            notes.extend(b"GNU\0");
            notes.extend(description);
            notes.resize(notes.len().next_multiple_of(4), 0);
        }
        assert_eq!(gnu_build_id(&notes), Some(&[0xde, 0xad][..]));
        for len in 0..notes.len() - 4 {
            let _ = gnu_build_id(&notes[..len]);
        }
    }

    #[test]
    fn a_file_that_is_no_library_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "no ELF").unwrap();
        let error = load_plugin(file.path()).unwrap_err().to_string();
        assert!(error.contains(&file.path().display().to_string()), "{error}");
    }
}
