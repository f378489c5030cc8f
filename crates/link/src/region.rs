//! A region: one memfd, created, sealed, checked and mapped.
//!
//! Its memory is allocated at creation, so that running out of it is an error and not a later SIGBUS. Its
//! seals are checked on attaching, so that it cannot shrink under its reader.

use std::ffi::CStr;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, SealFlag, fallocate, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::sys::stat::fstat;

use crate::copy::{Access, SharedMemory};
use crate::fault::RegionError;
use crate::layout::{RegionHeader, region_size};

/// One of the two regions of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Written by the front.
    Down,
    /// Written by the worker.
    Up,
}

impl Direction {
    fn name(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Up => "up",
        }
    }

    fn file_name(self) -> &'static CStr {
        match self {
            Self::Down => c"devhost-down",
            Self::Up => c"devhost-up",
        }
    }

    /// Returns the seals that a region must have before a worker gets it.
    fn seals(self) -> SealFlag {
        let fixed = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        match self {
            Self::Down => fixed | SealFlag::F_SEAL_FUTURE_WRITE,
            Self::Up => fixed,
        }
    }
}

fn refuse(action: &'static str) -> impl FnOnce(Errno) -> RegionError {
    move |errno| RegionError::Refused { action, errno }
}

/// Creates a region with its memory and header. `up` gets all its seals. `down` must still be mapped writable
/// by the front; [`seal_down`] follows.
pub(crate) fn create_region(
    direction: Direction,
    generation: u64,
    ring_length: usize,
) -> Result<OwnedFd, RegionError> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let fd = memfd_create(direction.file_name(), flags).map_err(refuse("create a region"))?;
    let size = libc::off_t::try_from(region_size(ring_length))
        .map_err(|_| RegionError::Malformed { region: direction.name(), what: "it is too large" })?;
    fallocate(&fd, FallocateFlags::empty(), 0, size).map_err(refuse("allocate the memory of a region"))?;
    let header = RegionHeader { ring_length, generation }.encode();
    let written = nix::sys::uio::pwrite(&fd, &header, 0).map_err(refuse("write a region"))?;
    if written != header.len() {
        return Err(RegionError::Malformed { region: direction.name(), what: "its header was cut short" });
    }
    let seals = match direction {
        Direction::Down => SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW,
        Direction::Up => direction.seals(),
    };
    add_seals(&fd, seals)?;
    Ok(fd)
}

/// Puts the last seals on a `down` region: from now on nobody else can write it or map it writable.
pub(crate) fn seal_down(fd: impl AsFd) -> Result<(), RegionError> {
    add_seals(fd, Direction::Down.seals())
}

fn add_seals(fd: impl AsFd, seals: SealFlag) -> Result<(), RegionError> {
    fcntl(fd, FcntlArg::F_ADD_SEALS(seals)).map(drop).map_err(refuse("seal a region"))
}

/// Checks that a region cannot shrink, and that nobody else can write `down`.
pub(crate) fn verify_seals(fd: impl AsFd, direction: Direction) -> Result<(), RegionError> {
    let found = fcntl(fd, FcntlArg::F_GET_SEALS).map_err(refuse("read the seals of a region"))?;
    let needed = direction.seals().bits();
    if found & needed == needed {
        Ok(())
    } else {
        Err(RegionError::Unsealed { region: direction.name(), found, needed })
    }
}

/// A mapped region, unmapped on drop.
#[derive(Debug)]
pub(crate) struct Region {
    memory: SharedMemory,
    header: RegionHeader,
}

impl Region {
    pub(crate) fn map(fd: impl AsFd, direction: Direction, access: Access) -> Result<Self, RegionError> {
        let malformed = |what| RegionError::Malformed { region: direction.name(), what };
        let size = fstat(&fd).map_err(refuse("look at a region"))?.st_size;
        let size = usize::try_from(size).map_err(|_| malformed("its size is negative"))?;
        let length = NonZeroUsize::new(size)
            .filter(|size| size.get() >= region_size(0))
            .ok_or_else(|| malformed("it is too small"))?;
        let protection = match access {
            Access::Read => ProtFlags::PROT_READ,
            Access::Write => ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
        };
        // SAFETY: a new mapping, at an address picked by the kernel, affects nothing else.
        let base = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, fd, 0) }
            .map_err(refuse("map a region"))?;
        // SAFETY: just mapped with this length and access. The file cannot shrink: it was created or verified
        // with that seal. The mapping is accessed only through `memory`, and unmapped only when that is
        // dropped.
        let memory = unsafe { SharedMemory::new(base.cast(), length.get(), access) };
        let mut region = Self { memory, header: RegionHeader { ring_length: 0, generation: 0 } };
        region.header = RegionHeader::read(&region.memory, size, direction.name())?;
        Ok(region)
    }

    pub(crate) fn memory(&self) -> &SharedMemory {
        &self.memory
    }

    /// Returns its header as of mapping.
    pub(crate) fn header(&self) -> RegionHeader {
        self.header
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: `map` made the mapping with this length, and nothing refers to it any more.
        let unmapped = unsafe { munmap(self.memory.base().cast(), self.memory.length()) };
        debug_assert!(unmapped.is_ok(), "a region was not mapped");
    }
}

#[cfg(all(test, not(devhost_loom)))]
mod tests {
    use super::*;
    use crate::layout::RING_LENGTH_MIN_BYTES;

    fn create(direction: Direction) -> OwnedFd {
        create_region(direction, 7, RING_LENGTH_MIN_BYTES).unwrap()
    }

    #[test]
    fn a_region_says_what_it_was_made_for() {
        let region = Region::map(create(Direction::Up), Direction::Up, Access::Read).unwrap();
        assert_eq!(region.header(), RegionHeader { ring_length: RING_LENGTH_MIN_BYTES, generation: 7 });
    }

    #[test]
    fn a_region_cannot_change_its_size() {
        let fd = create(Direction::Up);
        verify_seals(&fd, Direction::Up).unwrap();
        assert_eq!(nix::unistd::ftruncate(&fd, 0), Err(Errno::EPERM));
        assert_eq!(nix::unistd::ftruncate(&fd, 1 << 27), Err(Errno::EPERM));
    }

    #[test]
    fn the_down_region_is_writable_for_the_front_alone() {
        let fd = create(Direction::Down);
        let front = Region::map(&fd, Direction::Down, Access::Write).unwrap();
        assert!(matches!(
            verify_seals(&fd, Direction::Down),
            Err(RegionError::Unsealed { region: "down", .. })
        ));
        seal_down(&fd).unwrap();
        verify_seals(&fd, Direction::Down).unwrap();
        assert!(Region::map(&fd, Direction::Down, Access::Write).is_err());
        assert!(nix::sys::uio::pwrite(&fd, &[1], 0).is_err());
        let worker = Region::map(&fd, Direction::Down, Access::Read).unwrap();
        use crate::copy::Words;
        use crate::sync::Ordering;
        front.memory().store(4096, 5, Ordering::Release);
        assert_eq!(worker.memory().load(4096, Ordering::Acquire), 5);
    }

    #[test]
    fn what_is_no_region_is_refused() {
        let fd = create(Direction::Up);
        nix::sys::uio::pwrite(&fd, &[0; 8], 0).unwrap();
        let error = Region::map(&fd, Direction::Up, Access::Read).unwrap_err();
        assert_eq!(error, RegionError::Malformed { region: "up", what: "it is no region" });
        let fd = create(Direction::Up);
        nix::sys::uio::pwrite(&fd, &u64::MAX.to_le_bytes(), 16).unwrap();
        assert!(Region::map(&fd, Direction::Up, Access::Read).is_err());
        let empty = memfd_create(c"empty", MFdFlags::MFD_CLOEXEC).unwrap();
        assert!(Region::map(&empty, Direction::Up, Access::Read).is_err());
        let pipe = nix::unistd::pipe().unwrap().0;
        assert!(Region::map(&pipe, Direction::Up, Access::Read).is_err());
    }

    #[test]
    fn a_refusal_names_the_thing_and_what_to_do() {
        for errno in [Errno::ENOMEM, Errno::EMFILE, Errno::ENFILE] {
            let error = refuse("create a region")(errno);
            assert!(error.to_string().contains("create a region"), "{error}");
            assert!(error.to_string().contains(&format!("{errno:?}")), "{error}");
            assert!(!error.hint().is_empty());
        }
    }
}
