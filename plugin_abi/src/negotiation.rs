//! Checks a struct from the other side before it is trusted: first the version, then the size, then the
//! function pointers. Reads only what version and size allow. Returns checked copies with owned text and
//! plain function pointers, so that nothing has to be checked again.

use std::fmt;
use std::mem::{MaybeUninit, offset_of, size_of};

use crate::abi::{self, Descriptor, HostVtable, Slice, Start};

/// The longest name or version that a descriptor may carry, in bytes.
pub const TEXT_BYTES_MAX: usize = 256;

/// Why a struct from the other side cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AbiError {
    /// A pointer is null or not aligned.
    BadPointer {
        /// What it should point to.
        what: &'static str,
    },
    /// The major versions differ.
    Version {
        /// The plugin's version.
        plugin: u32,
        /// The host's version.
        host: u32,
    },
    /// The struct ends before its required fields do.
    TooSmall {
        /// The struct.
        what: &'static str,
        /// The size it claims, in bytes.
        size: usize,
        /// The size of the required fields, in bytes.
        required: usize,
    },
    /// A required function is missing.
    MissingFunction {
        /// Its name in the header.
        name: &'static str,
    },
    /// A text is longer than [`TEXT_BYTES_MAX`], or has a length but no bytes.
    BadText {
        /// The field.
        field: &'static str,
    },
}

impl fmt::Display for AbiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadPointer { what } => write!(f, "the pointer to the {what} is null or not aligned"),
            Self::Version { plugin, host } => write!(
                f,
                "the plugin was built for version {} of the devhost plugin ABI, this devhost speaks version {}",
                VersionText(*plugin),
                VersionText(*host)
            ),
            Self::TooSmall { what, size, required } => {
                write!(f, "the {what} has {size} bytes, at least {required} are needed")
            }
            Self::MissingFunction { name } => write!(f, "the required function `{name}` is missing"),
            Self::BadText { field } => {
                write!(f, "the plugin's {field} is longer than {TEXT_BYTES_MAX} bytes or has no bytes at all")
            }
        }
    }
}

impl std::error::Error for AbiError {}

/// Displays an ABI version as `major.minor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionText(
    /// Major part in the upper, minor part in the lower 16 bits.
    pub u32,
);

impl fmt::Display for VersionText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 >> 16, self.0 & 0xffff)
    }
}

/// A descriptor that passed [`check_descriptor`].
#[derive(Debug, Clone)]
pub struct DescriptorView {
    /// The plugin's ABI version.
    pub abi_version: u32,
    /// Bits of `abi::PLUGIN_*`.
    pub flags: u32,
    /// The plugin's name.
    pub name: String,
    /// The plugin's version.
    pub version: String,
    /// Starts the app.
    pub start: abi::StartFn,
    /// A request has arrived.
    pub request: abi::RequestFn,
    /// Bytes of the request body.
    pub request_body: abi::RequestBodyFn,
    /// `respond_body` takes bytes again.
    pub writable: abi::StreamFn,
    /// The client is gone.
    pub cancel: abi::StreamFn,
    /// A newer generation has taken over.
    pub drain: Option<abi::StateFn>,
    /// The app is to end.
    pub stop: Option<abi::StateFn>,
}

impl DescriptorView {
    /// Returns true if the plugin calls `poll` itself.
    pub fn has_own_loop(&self) -> bool {
        self.flags & abi::PLUGIN_OWN_LOOP != 0
    }
}

/// A start that passed [`check_start`].
#[derive(Debug, Clone, Copy)]
pub struct StartView {
    /// 1 for the first loaded code, one more for each reload.
    pub generation: u64,
    /// The first argument of every function.
    pub host: *mut abi::Host,
    /// Sends status and headers.
    pub respond_head: abi::RespondHeadFn,
    /// Sends body bytes.
    pub respond_body: abi::RespondBodyFn,
    /// Ends the response.
    pub respond_end: abi::EndFn,
    /// Ends the response with a panic report.
    pub respond_panic: abi::RespondPanicFn,
    /// Cuts the response off.
    pub reset: abi::EndFn,
    /// Reports request body bytes as consumed.
    pub consume: abi::ConsumeFn,
    /// Returns the file descriptor to wait for.
    pub event_fd: abi::PollFn,
    /// Handles all arrivals.
    pub poll: abi::PollFn,
    /// Sleeps until `poll` has something to do.
    pub wait: abi::WaitFn,
    /// Prints a line.
    pub log: abi::LogFn,
    /// Sends a whole response. Missing in hosts of version 1.0.
    pub respond: Option<abi::RespondFn>,
}

/// Checks the result of a plugin's `devhost_plugin_descriptor`. For hosts.
///
/// # Errors
/// See [`AbiError`]. If the version does not match, only `abi_version` and `struct_size` were read.
///
/// # Safety
/// `descriptor` must be null, or point to a struct that begins with `abi_version` and `struct_size`. If its
/// major version is [`abi::ABI_MAJOR`], it must be `struct_size` bytes long and laid out as in the header.
pub unsafe fn check_descriptor(descriptor: *const Descriptor) -> Result<DescriptorView, AbiError> {
    // SAFETY: promised by the caller; `Descriptor` is valid when zeroed.
    let copy =
        unsafe { copy_versioned(descriptor, "descriptor", offset_of!(Descriptor, drain), Side::Plugin)? };
    Ok(DescriptorView {
        abi_version: copy.abi_version,
        flags: copy.flags,
        // SAFETY: the texts belong to the descriptor, for which the caller vouches.
        name: unsafe { copy_text(copy.name, "name")? },
        // SAFETY: as above.
        version: unsafe { copy_text(copy.version, "version")? },
        start: require(copy.start, "start")?,
        request: require(copy.request, "request")?,
        request_body: require(copy.request_body, "request_body")?,
        writable: require(copy.writable, "writable")?,
        cancel: require(copy.cancel, "cancel")?,
        drain: copy.drain,
        stop: copy.stop,
    })
}

/// Checks the argument of `start`. For plugins.
///
/// # Errors
/// See [`AbiError`].
///
/// # Safety
/// As for [`check_descriptor`], for `start` and its vtable.
pub unsafe fn check_start(start: *const Start) -> Result<StartView, AbiError> {
    // SAFETY: promised by the caller; `Start` is valid when zeroed.
    let start = unsafe { copy_versioned(start, "start", size_of::<Start>(), Side::Host)? };
    // SAFETY: promised by the caller; `HostVtable` is valid when zeroed.
    let vtable =
        unsafe { copy_versioned(start.vtable, "host vtable", offset_of!(HostVtable, respond), Side::Host)? };
    Ok(StartView {
        generation: start.generation,
        host: start.host,
        respond_head: require(vtable.respond_head, "respond_head")?,
        respond_body: require(vtable.respond_body, "respond_body")?,
        respond_end: require(vtable.respond_end, "respond_end")?,
        respond_panic: require(vtable.respond_panic, "respond_panic")?,
        reset: require(vtable.reset, "reset")?,
        consume: require(vtable.consume, "consume")?,
        event_fd: require(vtable.event_fd, "event_fd")?,
        poll: require(vtable.poll, "poll")?,
        wait: require(vtable.wait, "wait")?,
        log: require(vtable.log, "log")?,
        respond: vtable.respond,
    })
}

/// Whose struct is being checked.
#[derive(Clone, Copy)]
enum Side {
    Plugin,
    Host,
}

/// Copies the part of `*source` known to both sides; the rest is zero.
///
/// # Safety
/// As for [`check_descriptor`]. `T` must begin with two `u32`, version and size, and be valid when zeroed.
unsafe fn copy_versioned<T: Copy>(
    source: *const T,
    what: &'static str,
    required: usize,
    side: Side,
) -> Result<T, AbiError> {
    if source.is_null() || !source.is_aligned() {
        return Err(AbiError::BadPointer { what });
    }
    // SAFETY: the pointer is aligned and not null, and every version begins with these two fields.
    let [version, size] = unsafe { source.cast::<[u32; 2]>().read() };
    if version >> 16 != abi::ABI_MAJOR {
        let (plugin, host) = match side {
            Side::Plugin => (version, abi::ABI_VERSION),
            Side::Host => (abi::ABI_VERSION, version),
        };
        return Err(AbiError::Version { plugin, host });
    }
    let size = size as usize;
    if size < required {
        return Err(AbiError::TooSmall { what, size, required });
    }
    let mut copy = MaybeUninit::<T>::zeroed();
    // SAFETY: both are at least this long, and a fresh local does not overlap with the source.
    unsafe {
        std::ptr::copy_nonoverlapping(
            source.cast::<u8>(),
            copy.as_mut_ptr().cast::<u8>(),
            size.min(size_of::<T>()),
        );
    }
    // SAFETY: the caller promises that zeros are valid, and the copied bytes are those of a `T`.
    Ok(unsafe { copy.assume_init() })
}

/// # Safety
/// `text` must point to `len` readable bytes unless it is null or too long.
unsafe fn copy_text(text: Slice, field: &'static str) -> Result<String, AbiError> {
    if text.len > TEXT_BYTES_MAX || (text.len > 0 && text.data.is_null()) {
        return Err(AbiError::BadText { field });
    }
    // SAFETY: promised by the caller.
    let bytes = unsafe { text.as_bytes() };
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

fn require<F>(function: Option<F>, name: &'static str) -> Result<F, AbiError> {
    function.ok_or(AbiError::MissingFunction { name })
}

#[cfg(test)]
mod tests {
    use std::ffi::c_void;

    use super::*;

    unsafe extern "C" fn start(_: *const Start, _: *mut *mut c_void) -> i32 {
        abi::OK
    }
    unsafe extern "C" fn request(_: *mut c_void, _: u32, _: *const abi::RequestHead) {}
    unsafe extern "C" fn request_body(_: *mut c_void, _: u32, _: *const u8, _: usize, _: u32) {}
    unsafe extern "C" fn on_stream(_: *mut c_void, _: u32) {}
    unsafe extern "C" fn on_state(_: *mut c_void) {}

    fn descriptor() -> Descriptor {
        Descriptor {
            abi_version: abi::ABI_VERSION,
            struct_size: u32::try_from(size_of::<Descriptor>()).expect("small"),
            flags: abi::PLUGIN_OWN_LOOP,
            reserved: 0,
            name: Slice::new(b"guests"),
            version: Slice::new(b"0.1.0"),
            start: Some(start),
            request: Some(request),
            request_body: Some(request_body),
            writable: Some(on_stream),
            cancel: Some(on_stream),
            drain: Some(on_state),
            stop: Some(on_state),
        }
    }

    fn check(descriptor: &Descriptor) -> Result<DescriptorView, AbiError> {
        // SAFETY: a reference to a real descriptor.
        unsafe { check_descriptor(descriptor) }
    }

    #[test]
    fn a_good_descriptor_is_copied() {
        let view = check(&descriptor()).expect("is good");
        assert_eq!((view.name.as_str(), view.version.as_str()), ("guests", "0.1.0"));
        assert!(view.has_own_loop() && view.drain.is_some() && view.stop.is_some());
    }

    #[test]
    fn another_major_version_is_refused_and_both_are_named() {
        let error = check(&Descriptor { abi_version: 99 << 16 | 7, ..descriptor() }).expect_err("99.7");
        assert_eq!(error, AbiError::Version { plugin: 99 << 16 | 7, host: abi::ABI_VERSION });
        let text = error.to_string();
        assert!(text.contains("version 99.7") && text.contains("version 1.1"), "{text}");
    }

    #[test]
    fn a_newer_minor_version_is_accepted() {
        assert!(check(&Descriptor { abi_version: abi::ABI_VERSION + 3, ..descriptor() }).is_ok());
    }

    #[test]
    fn optional_functions_beyond_the_size_are_absent() {
        let size = u32::try_from(offset_of!(Descriptor, drain)).expect("small");
        let view = check(&Descriptor { struct_size: size, ..descriptor() }).expect("is good");
        assert!(view.drain.is_none() && view.stop.is_none());
    }

    #[test]
    fn a_size_without_the_required_fields_is_refused() {
        let size = u32::try_from(offset_of!(Descriptor, cancel)).expect("small");
        let error = check(&Descriptor { struct_size: size, ..descriptor() }).expect_err("too small");
        assert!(matches!(error, AbiError::TooSmall { what: "descriptor", .. }), "{error}");
    }

    #[test]
    fn a_missing_required_function_is_named() {
        let error = check(&Descriptor { writable: None, ..descriptor() }).expect_err("no writable");
        assert_eq!(error, AbiError::MissingFunction { name: "writable" });
    }

    #[test]
    fn bad_pointers_and_texts_are_refused() {
        // SAFETY: null is allowed.
        let error = unsafe { check_descriptor(std::ptr::null()) }.expect_err("null");
        assert_eq!(error, AbiError::BadPointer { what: "descriptor" });
        let name = Slice { data: std::ptr::null(), len: 5 };
        assert_eq!(
            check(&Descriptor { name, ..descriptor() }).err(),
            Some(AbiError::BadText { field: "name" })
        );
        let name = Slice { data: b"x".as_ptr(), len: usize::MAX };
        assert!(check(&Descriptor { name, ..descriptor() }).is_err());
    }
}
