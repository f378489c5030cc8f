//! The host's functions with Rust types. Only this file calls through the vtable. It keeps no state and knows
//! nothing of the app.

use std::os::fd::{AsRawFd, RawFd};

use crate::abi;
use crate::negotiation::StartView;

use super::panics::PanicReport;

/// The process's host. Valid until the process ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Host(StartView);

// SAFETY: by contract `respond_*`, `reset`, `consume` and `log` may be called from any thread. Only the loop
// task calls `poll`, and it runs on one thread at a time.
unsafe impl Send for Host {}
// SAFETY: as above; calls for one stream are serialized by `Stream`.
unsafe impl Sync for Host {}

/// Why the host refused a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The stream or the link is over: nobody is left to be told.
    Over,
    /// The head was too large.
    TooLarge,
    /// The call was out of order.
    Invalid,
}

impl Host {
    /// # Safety
    /// The functions and the host pointer must stay valid until the process ends.
    pub(crate) unsafe fn new(start: StartView) -> Self {
        Self(start)
    }

    pub(crate) fn respond_head(
        self,
        stream: abi::StreamId,
        status: u16,
        headers: &http::HeaderMap,
        end: bool,
    ) -> Result<(), Refusal> {
        let headers = list(headers);
        let head = head_of(status, &headers);
        // SAFETY: function and host are valid (`new`); the head outlives the call.
        check(unsafe { (self.0.respond_head)(self.0.host, stream, &raw const head, i32::from(end)) })
    }

    /// Sends body bytes; returns how many were taken. After 0, `writable` says when to retry.
    pub(crate) fn respond_body(self, stream: abi::StreamId, data: &[u8]) -> Result<usize, Refusal> {
        // SAFETY: function and host are valid (`new`); the bytes outlive the call.
        taken(unsafe { (self.0.respond_body)(self.0.host, stream, data.as_ptr(), data.len()) }, data)
    }

    /// Sends a response with a complete body; returns how many bytes of it were taken. If all were, the
    /// response is over; otherwise it continues with `respond_body`.
    pub(crate) fn respond(
        self,
        stream: abi::StreamId,
        status: u16,
        headers: &http::HeaderMap,
        data: &[u8],
    ) -> Result<usize, Refusal> {
        let Some(respond) = self.0.respond else {
            self.respond_head(stream, status, headers, false)?;
            let taken = self.respond_body(stream, data)?;
            if taken == data.len() {
                self.respond_end(stream)?;
            }
            return Ok(taken);
        };
        let headers = list(headers);
        let head = head_of(status, &headers);
        // SAFETY: function and host are valid (`new`); head and bytes outlive the call.
        taken(unsafe { respond(self.0.host, stream, &raw const head, data.as_ptr(), data.len()) }, data)
    }

    pub(crate) fn respond_end(self, stream: abi::StreamId) -> Result<(), Refusal> {
        // SAFETY: function and host are valid (`new`).
        check(unsafe { (self.0.respond_end)(self.0.host, stream) })
    }

    pub(crate) fn respond_panic(self, stream: abi::StreamId, report: &PanicReport) -> Result<(), Refusal> {
        let panic = abi::Panic {
            struct_size: size_of_u32::<abi::Panic>(),
            reserved: 0,
            message: abi::Slice::new(report.message.as_bytes()),
            location: abi::Slice::new(report.location.as_bytes()),
            backtrace: abi::Slice::new(report.backtrace.as_bytes()),
        };
        // SAFETY: function and host are valid (`new`); the report outlives the call.
        check(unsafe { (self.0.respond_panic)(self.0.host, stream, &raw const panic) })
    }

    pub(crate) fn reset(self, stream: abi::StreamId) -> Result<(), Refusal> {
        // SAFETY: function and host are valid (`new`).
        check(unsafe { (self.0.reset)(self.0.host, stream) })
    }

    pub(crate) fn consume(self, stream: abi::StreamId, bytes: usize) -> Result<(), Refusal> {
        // SAFETY: function and host are valid (`new`).
        check(unsafe { (self.0.consume)(self.0.host, stream, bytes) })
    }

    /// Returns the descriptor to wait for, for tokio's `AsyncFd`. Never closed here.
    pub(crate) fn event_fd(self) -> EventFd {
        // SAFETY: function and host are valid (`new`).
        EventFd(unsafe { (self.0.event_fd)(self.0.host) })
    }

    /// Lets the host call the callbacks. Returns how much it handled, or `None` once the link is over.
    pub(crate) fn poll(self) -> Option<u32> {
        // SAFETY: function and host are valid (`new`), and only the loop task calls this.
        u32::try_from(unsafe { (self.0.poll)(self.0.host) }).ok()
    }

    pub(crate) fn log(self, level: i32, message: &str) {
        // SAFETY: function and host are valid (`new`); the text outlives the call.
        unsafe { (self.0.log)(self.0.host, level, abi::Slice::new(message.as_bytes())) }
    }
}

/// The host's event descriptor, borrowed for the life of the process.
#[derive(Debug)]
pub(crate) struct EventFd(RawFd);

impl AsRawFd for EventFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

fn list(headers: &http::HeaderMap) -> Vec<abi::Header> {
    let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| abi::Header {
        name: abi::Slice::new(name.as_str().as_bytes()),
        value: abi::Slice::new(value.as_bytes()),
    };
    headers.iter().map(header).collect()
}

fn head_of(status: u16, headers: &[abi::Header]) -> abi::ResponseHead {
    abi::ResponseHead {
        struct_size: size_of_u32::<abi::ResponseHead>(),
        status: u32::from(status),
        headers: headers.as_ptr(),
        header_count: headers.len(),
    }
}

/// Converts the host's result into the number of bytes taken.
fn taken(result: i64, data: &[u8]) -> Result<usize, Refusal> {
    match usize::try_from(result) {
        Ok(taken) => Ok(taken.min(data.len())),
        Err(_) => check(i32::try_from(result).unwrap_or(abi::INVALID)).map(|()| 0),
    }
}

fn check(code: i32) -> Result<(), Refusal> {
    match code {
        abi::DEAD_STREAM | abi::CLOSED => Err(Refusal::Over),
        abi::TOO_LARGE => Err(Refusal::TooLarge),
        code if code < 0 => Err(Refusal::Invalid),
        _ => Ok(()),
    }
}

pub(crate) const fn size_of_u32<T>() -> u32 {
    // ABI structs are a few dozen bytes long.
    size_of::<T>() as u32
}
