//! The types of `include/devhost_plugin.h` in Rust, field by field in the same order. The header has the
//! rules for their use. Function pointers are `Option`s, since the other side's are only trusted after a
//! check (see [`crate::negotiation`]).

use std::ffi::c_void;

/// The major part of the ABI version. Host and plugin must have the same.
pub const ABI_MAJOR: u32 = 1;
/// The minor part of the ABI version. A higher one adds fields at the end of structs.
pub const ABI_MINOR: u32 = 1;
/// Major part in the upper, minor part in the lower 16 bits.
pub const ABI_VERSION: u32 = (ABI_MAJOR << 16) | ABI_MINOR;

/// The name of this package, which plugin apps depend on.
pub const PACKAGE_NAME: &str = env!("CARGO_PKG_NAME");

/// The symbol exported by a plugin: a function that returns its [`Descriptor`].
pub const DESCRIPTOR_SYMBOL: &str = "devhost_plugin_descriptor";

/// Done.
pub const OK: i32 = 0;
/// The stream is over: the client is gone, or the response has ended.
pub const DEAD_STREAM: i32 = -1;
/// The link to the front is gone: the process is about to end.
pub const CLOSED: i32 = -2;
/// A call out of order, or an argument out of range.
pub const INVALID: i32 = -3;
/// A response head of more than 64 KiB, or of more than 256 headers.
pub const TOO_LARGE: i32 = -4;

/// [`RequestHead::flags`]: there is no body, and `request_body` is not called.
pub const REQUEST_END: u32 = 1;
/// [`RequestHead::flags`]: the client asks for an upgrade.
pub const REQUEST_UPGRADE: u32 = 2;
/// The flags of `request_body`: these are the last bytes.
pub const BODY_END: u32 = 1;
/// [`Descriptor::flags`]: the plugin calls `poll` itself, on its own thread.
pub const PLUGIN_OWN_LOOP: u32 = 1;

/// `log`: an error.
pub const LOG_ERROR: i32 = 1;
/// `log`: a warning.
pub const LOG_WARN: i32 = 2;
/// `log`: good to know.
pub const LOG_INFO: i32 = 3;
/// `log`: for debugging.
pub const LOG_DEBUG: i32 = 4;

/// One request and its response. Never reused in a process.
pub type StreamId = u32;

/// The host's side of one plugin instance. Opaque: only pointers to it exist.
#[repr(C)]
pub struct Host {
    _opaque: [u8; 0],
    // Neither Send nor Sync nor Unpin: nothing is known about what is behind the pointer.
    _marker: std::marker::PhantomData<(*mut u8, std::marker::PhantomPinned)>,
}

/// Borrowed bytes. If the length is 0, the pointer may be null.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Slice {
    /// The first byte.
    pub data: *const u8,
    /// The length in bytes.
    pub len: usize,
}

impl Slice {
    /// No bytes.
    pub const EMPTY: Self = Self { data: std::ptr::null(), len: 0 };

    /// Points to `bytes`. The borrow is not tracked.
    pub const fn new(bytes: &[u8]) -> Self {
        Self { data: bytes.as_ptr(), len: bytes.len() }
    }

    /// Returns the bytes.
    ///
    /// # Safety
    /// `data` must point to `len` bytes that stay readable and unchanged for `'a`, or `len` must be 0.
    pub const unsafe fn as_bytes<'a>(self) -> &'a [u8] {
        if self.len == 0 || self.data.is_null() {
            return &[];
        }
        // SAFETY: promised by the caller.
        unsafe { std::slice::from_raw_parts(self.data, self.len) }
    }
}

// SAFETY: a slice is read-only, and readers vouch for its bytes (`as_bytes`).
unsafe impl Send for Slice {}
// SAFETY: as above.
unsafe impl Sync for Slice {}

/// A header of a request or response.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Header {
    /// In lower case in requests, in any case in responses.
    pub name: Slice,
    /// The raw value.
    pub value: Slice,
}

/// The head of a request.
#[repr(C)]
#[derive(Debug)]
pub struct RequestHead {
    /// The host's size of this struct, in bytes.
    pub struct_size: u32,
    /// Bits of `REQUEST_*`.
    pub flags: u32,
    /// The HTTP version of the client's request, times ten: 10 or 11.
    pub http_version: u32,
    /// 0.
    pub reserved: u32,
    /// The length of the body in bytes, or -1 if unknown.
    pub body_length: i64,
    /// `GET`, `POST`, …
    pub method: Slice,
    /// Path and query: `/list?page=2`.
    pub target: Slice,
    /// Address and port of the client: `127.0.0.1:50123`.
    pub remote: Slice,
    /// The headers.
    pub headers: *const Header,
    /// The number of headers.
    pub header_count: usize,
}

/// The head of a response.
#[repr(C)]
#[derive(Debug)]
pub struct ResponseHead {
    /// The plugin's size of this struct, in bytes.
    pub struct_size: u32,
    /// 100 to 999.
    pub status: u32,
    /// The headers.
    pub headers: *const Header,
    /// The number of headers.
    pub header_count: usize,
}

/// A panic report.
#[repr(C)]
#[derive(Debug)]
pub struct Panic {
    /// The plugin's size of this struct, in bytes.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// The message.
    pub message: Slice,
    /// `src/pages.rs:12:5`, or empty.
    pub location: Slice,
    /// Text, or empty.
    pub backtrace: Slice,
}

/// [`HostVtable::respond_head`].
pub type RespondHeadFn = unsafe extern "C" fn(*mut Host, StreamId, *const ResponseHead, i32) -> i32;
/// [`HostVtable::respond_body`].
pub type RespondBodyFn = unsafe extern "C" fn(*mut Host, StreamId, *const u8, usize) -> i64;
/// [`HostVtable::respond`].
pub type RespondFn = unsafe extern "C" fn(*mut Host, StreamId, *const ResponseHead, *const u8, usize) -> i64;
/// [`HostVtable::respond_end`] and [`HostVtable::reset`].
pub type EndFn = unsafe extern "C" fn(*mut Host, StreamId) -> i32;
/// [`HostVtable::respond_panic`].
pub type RespondPanicFn = unsafe extern "C" fn(*mut Host, StreamId, *const Panic) -> i32;
/// [`HostVtable::consume`].
pub type ConsumeFn = unsafe extern "C" fn(*mut Host, StreamId, usize) -> i32;
/// [`HostVtable::event_fd`] and [`HostVtable::poll`].
pub type PollFn = unsafe extern "C" fn(*mut Host) -> i32;
/// [`HostVtable::wait`].
pub type WaitFn = unsafe extern "C" fn(*mut Host, i32) -> i32;
/// [`HostVtable::log`].
pub type LogFn = unsafe extern "C" fn(*mut Host, i32, Slice);

/// The host's functions. The first argument of each is [`Start::host`].
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct HostVtable {
    /// The host's [`ABI_VERSION`].
    pub abi_version: u32,
    /// The host's size of this struct, in bytes.
    pub struct_size: u32,
    /// Sends status and headers. A nonzero last argument ends the response.
    pub respond_head: Option<RespondHeadFn>,
    /// Sends body bytes; returns how many were taken.
    pub respond_body: Option<RespondBodyFn>,
    /// Ends the response.
    pub respond_end: Option<EndFn>,
    /// Ends the response with a panic report.
    pub respond_panic: Option<RespondPanicFn>,
    /// Cuts the response off; after its end, refuses the rest of the request body.
    pub reset: Option<EndFn>,
    /// Reports request body bytes as consumed.
    pub consume: Option<ConsumeFn>,
    /// Returns a file descriptor that is readable when `poll` has something to do.
    pub event_fd: Option<PollFn>,
    /// Handles all arrivals; returns their number.
    pub poll: Option<PollFn>,
    /// Sleeps until `poll` has something to do, or for this many milliseconds.
    pub wait: Option<WaitFn>,
    /// Prints a line on the app's standard error.
    pub log: Option<LogFn>,
    /// Sends status, headers and a complete body at once. Since 1.1.
    pub respond: Option<RespondFn>,
}

/// The argument of [`Descriptor::start`].
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Start {
    /// The host's [`ABI_VERSION`].
    pub abi_version: u32,
    /// The host's size of this struct, in bytes.
    pub struct_size: u32,
    /// 1 for the first loaded code, one more for each reload.
    pub generation: u64,
    /// Valid until the process ends.
    pub host: *mut Host,
    /// Valid until the process ends.
    pub vtable: *const HostVtable,
}

/// [`Descriptor::start`].
pub type StartFn = unsafe extern "C" fn(*const Start, *mut *mut c_void) -> i32;
/// [`Descriptor::request`].
pub type RequestFn = unsafe extern "C" fn(*mut c_void, StreamId, *const RequestHead);
/// [`Descriptor::request_body`].
pub type RequestBodyFn = unsafe extern "C" fn(*mut c_void, StreamId, *const u8, usize, u32);
/// [`Descriptor::writable`] and [`Descriptor::cancel`].
pub type StreamFn = unsafe extern "C" fn(*mut c_void, StreamId);
/// [`Descriptor::drain`] and [`Descriptor::stop`].
pub type StateFn = unsafe extern "C" fn(*mut c_void);
/// The exported function [`DESCRIPTOR_SYMBOL`].
pub type DescriptorFn = unsafe extern "C" fn() -> *const Descriptor;

/// What a plugin offers.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Descriptor {
    /// The plugin's [`ABI_VERSION`].
    pub abi_version: u32,
    /// The plugin's size of this struct, in bytes.
    pub struct_size: u32,
    /// Bits of `PLUGIN_*`.
    pub flags: u32,
    /// 0.
    pub reserved: u32,
    /// The plugin's name.
    pub name: Slice,
    /// The plugin's version.
    pub version: Slice,
    /// Starts the app. Required.
    pub start: Option<StartFn>,
    /// A request has arrived. Required.
    pub request: Option<RequestFn>,
    /// Bytes of the request body. Required.
    pub request_body: Option<RequestBodyFn>,
    /// `respond_body` takes bytes again. Required.
    pub writable: Option<StreamFn>,
    /// The client is gone. Required.
    pub cancel: Option<StreamFn>,
    /// A newer generation has taken over. Optional.
    pub drain: Option<StateFn>,
    /// The app is to end. Optional.
    pub stop: Option<StateFn>,
}
