//! The host's side of the plugin ABI: the vtable called by a plugin, on top of the worker's link.
//!
//! Translates between C structs and frames. Nothing here trusts a plugin's pointers beyond the ABI's
//! promises, and no panic leaves a vtable function.
#![expect(clippy::print_stderr, reason = "a worker's standard error is the user's")]

use std::ffi::c_void;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, PoisonError, TryLockError};

use bytes::Bytes;
use devhost_plugin::abi;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::load::Descriptor;
use devhost_link::wire::{
    HEADERS_COUNT_MAX, PanicReport, REQUEST_UPGRADE, RESPONSE_PANIC, RequestHead, ResponseHead,
};
use devhost_link::{CREDIT_MAX_BYTES, SendError, WorkerEvent, WorkerLink};

/// The largest panic report, in bytes; longer ones are cut.
const PANIC_TEXT_LEN_MAX: usize = 48 * 1024;

// A fresh response has credit for a whole report.
const _: () = assert!(PANIC_TEXT_LEN_MAX <= CREDIT_MAX_BYTES);

/// One plugin instance and its link. Lives as long as the process, unless discarded.
pub(super) struct Host {
    link: WorkerLink,
    descriptor: Descriptor,
    vtable: abi::HostVtable,
    /// What the plugin's `start` stored; null before.
    state: AtomicPtr<c_void>,
    /// Locked during `poll`; holds what arrived and is not handled yet.
    arrived: Mutex<Vec<WorkerEvent>>,
    /// True once `start` has returned, so that callbacks may be called.
    started: std::sync::atomic::AtomicBool,
    last_error: Mutex<String>,
}

/// Why a plugin has not started.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    /// Its last error message.
    #[error("{0}")]
    Said(String),
    /// The result of `start`, if it said nothing.
    #[error("start returned {0}")]
    Returned(i32),
}

impl Host {
    /// Makes the host for a loaded plugin. Leaked: the plugin may keep its address.
    pub(super) fn new(link: WorkerLink, descriptor: Descriptor) -> &'static Self {
        let vtable = abi::HostVtable {
            abi_version: abi::ABI_VERSION,
            struct_size: size_of_u32::<abi::HostVtable>(),
            respond_head: Some(respond_head),
            respond_body: Some(respond_body),
            respond_end: Some(respond_end),
            respond_panic: Some(respond_panic),
            reset: Some(reset),
            consume: Some(consume),
            event_fd: Some(event_fd),
            poll: Some(poll_link),
            wait: Some(wait_link),
            log: Some(log),
            respond: Some(respond),
        };
        Box::leak(Box::new(Self {
            link,
            descriptor,
            vtable,
            state: AtomicPtr::new(std::ptr::null_mut()),
            arrived: Mutex::new(Vec::new()),
            started: std::sync::atomic::AtomicBool::new(false),
            last_error: Mutex::new(String::new()),
        }))
    }

    pub(super) fn start(&'static self, generation: u64) -> Result<(), StartError> {
        let start: &'static abi::Start = Box::leak(Box::new(abi::Start {
            abi_version: abi::ABI_VERSION,
            struct_size: size_of_u32::<abi::Start>(),
            generation,
            host: std::ptr::from_ref(self).cast_mut().cast(),
            vtable: &raw const self.vtable,
        }));
        // Nothing has come yet. This parks the link, so that the first arrival makes `event_fd` readable for
        // a plugin that waits before it polls.
        self.poll();
        let mut state = std::ptr::null_mut();
        // SAFETY: the descriptor was checked when loaded; both arguments live long enough.
        let result = unsafe { (self.descriptor.start)(start, &raw mut state) };
        if result != abi::OK {
            let said = std::mem::take(&mut *lock(&self.last_error));
            return Err(if said.is_empty() { StartError::Returned(result) } else { StartError::Said(said) });
        }
        self.state.store(state, Ordering::Release);
        self.started.store(true, Ordering::Release);
        Ok(())
    }

    /// Returns true if the plugin calls `poll` on a thread of its own.
    pub(super) fn has_own_loop(&self) -> bool {
        self.descriptor.flags & abi::PLUGIN_OWN_LOOP != 0
    }

    /// Returns a descriptor that is readable once something has arrived.
    pub(super) fn event_fd(&self) -> BorrowedFd<'_> {
        self.link.event_fd()
    }

    /// Handles all arrivals. For the main thread of a plugin without its own loop.
    pub(super) fn handle_everything(&self) {
        while self.poll() > 0 {}
    }

    pub(super) fn stop(&self) {
        if let Some(stop) = self.descriptor.stop {
            // SAFETY: a checked function of the plugin, called once, on the main thread, after `start`.
            unsafe { stop(self.state()) };
        }
    }

    /// Frees the host and its link, in a process that goes on.
    ///
    /// # Safety
    /// The plugin's `stop` must have returned, and the plugin must not call the host any more.
    pub(super) unsafe fn discard(&'static self) {
        // SAFETY: it came from a box in `new`, and the caller promises that nobody uses it any more.
        drop(unsafe { Box::from_raw(std::ptr::from_ref(self).cast_mut()) });
    }

    fn state(&self) -> *mut c_void {
        self.state.load(Ordering::Acquire)
    }

    fn poll(&self) -> i32 {
        let mut arrived = match self.arrived.try_lock() {
            Ok(arrived) => arrived,
            Err(TryLockError::Poisoned(arrived)) => arrived.into_inner(),
            Err(TryLockError::WouldBlock) => return abi::INVALID,
        };
        if let Err(error) = self.link.poll(&mut arrived) {
            return code(error);
        }
        if !self.started.load(Ordering::Acquire) {
            // The plugin's own loop was faster than its `start`. The front sends nothing before `start` has
            // returned.
            return 0;
        }
        let count = i32::try_from(arrived.len()).unwrap_or(i32::MAX);
        for event in arrived.drain(..) {
            self.dispatch(event);
        }
        count
    }

    fn dispatch(&self, event: WorkerEvent) {
        let state = self.state();
        let descriptor = &self.descriptor;
        match event {
            WorkerEvent::Head { stream, bytes, end } => self.dispatch_request(stream, bytes, end),
            WorkerEvent::Data { stream, bytes, end } => {
                let flags = if end { abi::BODY_END } else { 0 };
                // SAFETY: a checked callback; the bytes outlive the call.
                unsafe { (descriptor.request_body)(state, stream, bytes.as_ptr(), bytes.len(), flags) }
            }
            // SAFETY: a checked callback.
            WorkerEvent::Writable { stream } => unsafe { (descriptor.writable)(state, stream) },
            // SAFETY: a checked callback.
            WorkerEvent::Cancel { stream } => unsafe { (descriptor.cancel)(state, stream) },
            WorkerEvent::GoAway => {
                if let Some(drain) = descriptor.drain {
                    // SAFETY: a checked callback.
                    unsafe { drain(state) }
                }
            }
        }
    }

    fn dispatch_request(&self, stream: u32, bytes: Bytes, end: bool) {
        let head = match RequestHead::decode(bytes) {
            Ok(head) => head,
            Err(error) => {
                // Both ends are the same executable, so this is a bug in devhost. Only this request suffers.
                eprintln!("devhost worker: {error}");
                let _ = self.link.reset(stream);
                return;
            }
        };
        let headers: Vec<abi::Header> = head
            .headers
            .iter()
            .map(|(name, value)| abi::Header { name: slice(name), value: slice(value) })
            .collect();
        let mut flags = 0;
        if end {
            flags |= abi::REQUEST_END;
        }
        if head.flags & REQUEST_UPGRADE != 0 {
            flags |= abi::REQUEST_UPGRADE;
        }
        let request = abi::RequestHead {
            struct_size: size_of_u32::<abi::RequestHead>(),
            flags,
            http_version: u32::from(head.version),
            reserved: 0,
            body_length: head.body_length.and_then(|length| i64::try_from(length).ok()).unwrap_or(-1),
            method: slice(&head.method),
            target: slice(&head.target),
            remote: slice(&head.remote),
            headers: headers.as_ptr(),
            header_count: headers.len(),
        };
        // SAFETY: a checked callback; everything that `request` points to outlives the call.
        unsafe { (self.descriptor.request)(self.state(), stream, &raw const request) }
    }

    fn respond_head(&self, stream: u32, head: &abi::ResponseHead, end: bool) -> Result<(), SendError> {
        self.link.head(stream, &encode(head)?, end)
    }

    fn respond_panic(&self, stream: u32, panic: &abi::Panic) -> Result<(), SendError> {
        // SAFETY: the ABI promises that slices are valid during the call.
        let text = |slice| unsafe { text_of(slice, PANIC_TEXT_LEN_MAX / 2) };
        let report = PanicReport {
            message: text(panic.message),
            location: text(panic.location),
            backtrace: text(panic.backtrace),
        };
        let mut body = serde_json::to_vec(&report).map_err(|_| SendError::Invalid)?;
        if body.len() > PANIC_TEXT_LEN_MAX {
            body = serde_json::to_vec(&PanicReport { backtrace: String::new(), ..report })
                .map_err(|_| SendError::Invalid)?;
        }
        let head = ResponseHead { flags: RESPONSE_PANIC, status: 500, headers: Vec::new() };
        match self.link.head(stream, &head.encode(), false) {
            Ok(()) => {}
            // The head was already sent: all that is left is to cut the response off.
            Err(SendError::Invalid) => return self.link.reset(stream),
            Err(error) => return Err(error),
        }
        // A fresh response has a full window, larger than the report. If the ring is full all the same, cut
        // the page rather than block the thread.
        let taken = self.link.data(stream, &body)?;
        if taken < body.len() { self.link.reset(stream) } else { self.link.end(stream) }
    }
}

fn encode(head: &abi::ResponseHead) -> Result<Bytes, SendError> {
    let status = u16::try_from(head.status).map_err(|_| SendError::Invalid)?;
    if !(100..=999).contains(&status) {
        return Err(SendError::Invalid);
    }
    if head.header_count > HEADERS_COUNT_MAX {
        return Err(SendError::TooLarge);
    }
    if head.header_count > 0 && head.headers.is_null() {
        return Err(SendError::Invalid);
    }
    let mut headers = Vec::with_capacity(head.header_count);
    for index in 0..head.header_count {
        // SAFETY: the ABI promises `header_count` headers at `headers`, valid during the call.
        let header = unsafe { &*head.headers.add(index) };
        // SAFETY: the ABI promises that slices are valid during the call.
        let (name, value) = unsafe { (bytes_of(header.name), bytes_of(header.value)) };
        headers.push((name.to_ascii_lowercase().into(), Bytes::copy_from_slice(value)));
    }
    Ok(ResponseHead { flags: 0, status, headers }.encode())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn size_of_u32<T>() -> u32 {
    u32::try_from(size_of::<T>()).expect("ABI structs are small")
}

fn slice(bytes: &[u8]) -> abi::Slice {
    abi::Slice { data: bytes.as_ptr(), len: bytes.len() }
}

/// # Safety
/// `slice` must be valid for reads while the result is used, or have a length of 0.
unsafe fn bytes_of<'a>(slice: abi::Slice) -> &'a [u8] {
    if slice.len == 0 || slice.data.is_null() {
        return &[];
    }
    // SAFETY: promised by the caller.
    unsafe { std::slice::from_raw_parts(slice.data, slice.len) }
}

/// # Safety
/// As [`bytes_of`].
unsafe fn text_of(slice: abi::Slice, len_max: usize) -> String {
    // SAFETY: promised by the caller.
    let bytes = unsafe { bytes_of(slice) };
    String::from_utf8_lossy(&bytes[..bytes.len().min(len_max)]).into_owned()
}

fn code(error: SendError) -> i32 {
    match error {
        SendError::DeadStream => abi::DEAD_STREAM,
        SendError::Closed => abi::CLOSED,
        SendError::Invalid => abi::INVALID,
        SendError::TooLarge => abi::TOO_LARGE,
    }
}

fn status(result: Result<(), SendError>) -> i32 {
    result.map_or_else(code, |()| abi::OK)
}

/// Runs the body of a vtable function on the plugin's host; a panic becomes `INVALID`.
///
/// # Safety
/// `host` must be the pointer passed to `start`.
unsafe fn with_host(host: *mut abi::Host, call: impl FnOnce(&Host) -> i32) -> i32 {
    if host.is_null() {
        return abi::INVALID;
    }
    // SAFETY: the host is leaked, and only discarded once the plugin does not call it any more.
    let host = unsafe { &*host.cast::<Host>() };
    catch_unwind(AssertUnwindSafe(|| call(host))).unwrap_or(abi::INVALID)
}

/// Like [`with_host`], for a function that returns a byte count.
///
/// # Safety
/// As [`with_host`].
unsafe fn count_with_host(host: *mut abi::Host, call: impl FnOnce(&Host) -> Result<usize, SendError>) -> i64 {
    let mut taken = 0;
    // SAFETY: promised by the caller.
    let result = unsafe {
        with_host(host, |host| {
            status(call(host).map(|count| taken = i64::try_from(count).unwrap_or(i64::MAX)))
        })
    };
    if result == abi::OK { taken } else { i64::from(result) }
}

unsafe extern "C" fn respond_head(
    host: *mut abi::Host,
    stream: u32,
    head: *const abi::ResponseHead,
    end: i32,
) -> i32 {
    // SAFETY: the ABI promises the host, and a head that is valid during the call.
    unsafe {
        with_host(host, |host| match head.as_ref() {
            Some(head) => status(host.respond_head(stream, head, end != 0)),
            None => abi::INVALID,
        })
    }
}

unsafe extern "C" fn respond_body(host: *mut abi::Host, stream: u32, data: *const u8, len: usize) -> i64 {
    // SAFETY: the ABI promises the host, and `len` readable bytes at `data` during the call.
    unsafe { count_with_host(host, |host| host.link.data(stream, bytes_of(abi::Slice { data, len }))) }
}

unsafe extern "C" fn respond(
    host: *mut abi::Host,
    stream: u32,
    head: *const abi::ResponseHead,
    data: *const u8,
    len: usize,
) -> i64 {
    // SAFETY: the ABI promises the host, a valid head and `len` readable bytes at `data` during the call.
    unsafe {
        count_with_host(host, |host| {
            let head = encode(head.as_ref().ok_or(SendError::Invalid)?)?;
            host.link.respond(stream, &head, bytes_of(abi::Slice { data, len }))
        })
    }
}

unsafe extern "C" fn respond_end(host: *mut abi::Host, stream: u32) -> i32 {
    // SAFETY: the ABI promises the host.
    unsafe { with_host(host, |host| status(host.link.end(stream))) }
}

unsafe extern "C" fn respond_panic(host: *mut abi::Host, stream: u32, panic: *const abi::Panic) -> i32 {
    // SAFETY: the ABI promises the host, and a report that is valid during the call.
    unsafe {
        with_host(host, |host| match panic.as_ref() {
            Some(panic) => status(host.respond_panic(stream, panic)),
            None => abi::INVALID,
        })
    }
}

unsafe extern "C" fn reset(host: *mut abi::Host, stream: u32) -> i32 {
    // SAFETY: the ABI promises the host.
    unsafe { with_host(host, |host| status(host.link.reset(stream))) }
}

unsafe extern "C" fn consume(host: *mut abi::Host, stream: u32, bytes: usize) -> i32 {
    // SAFETY: the ABI promises the host.
    unsafe { with_host(host, |host| status(host.link.consume(stream, bytes))) }
}

unsafe extern "C" fn event_fd(host: *mut abi::Host) -> i32 {
    // SAFETY: the ABI promises the host.
    unsafe { with_host(host, |host| host.link.event_fd().as_raw_fd()) }
}

unsafe extern "C" fn poll_link(host: *mut abi::Host) -> i32 {
    // SAFETY: the ABI promises the host.
    unsafe { with_host(host, Host::poll) }
}

unsafe extern "C" fn wait_link(host: *mut abi::Host, timeout_ms: i32) -> i32 {
    // SAFETY: the ABI promises the host.
    unsafe {
        with_host(host, |host| {
            let mut fds = [PollFd::new(host.link.event_fd(), PollFlags::POLLIN)];
            let timeout = PollTimeout::try_from(timeout_ms).unwrap_or(PollTimeout::NONE);
            match poll(&mut fds, timeout) {
                Ok(0) => 0,
                // An interruption counts as a wake: the caller polls and waits again.
                Ok(_) | Err(Errno::EINTR) => 1,
                Err(_) => abi::CLOSED,
            }
        })
    }
}

unsafe extern "C" fn log(host: *mut abi::Host, level: i32, message: abi::Slice) {
    // SAFETY: the ABI promises the host, and a slice that is valid during the call.
    unsafe {
        with_host(host, |host| {
            let text = text_of(message, PANIC_TEXT_LEN_MAX);
            if level == abi::LOG_ERROR {
                lock(&host.last_error).clone_from(&text);
            }
            eprintln!("{text}");
            abi::OK
        });
    }
}
