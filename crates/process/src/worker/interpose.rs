//! The Rust side of `interpose.c`: arms it and parses its lines.
//!
//! The functions themselves (`bind`, `listen`, `getsockname` …) are in C because the same file is also the
//! `LD_PRELOAD` library for apps run as executables. Nothing here knows of control sockets.
//!
//! The first TCP listener bound by the app gets a private port, at an address in 127.0.0.0/8 drawn at random
//! by each process: the listener checks no Host header, so a page using DNS rebinding must not find it. IPv6
//! has only one loopback address, so an IPv6 listener gets the IPv4-mapped form. The app still sees the
//! addresses it asked for, its own and its peers', and reaches itself there. If it leaves the port to the
//! kernel, another socket replaces the bound one once it listens. A second listener on the same port (IPv6
//! beside IPv4) belongs to the first. Other listeners stay where they are, with `SO_REUSEPORT` so that two
//! generations can overlap.
//!
//! A worker tells the front which Unix socket files it has created, and the front tells the next generation,
//! whose bind replaces them, as it does a file nobody listens on. An old generation's cleanup does not remove
//! a newer one's file.

use std::ffi::{CString, c_char};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::control::{Listening, WorkerReport};

/// The interposer as an `LD_PRELOAD` library. It writes its lines to the descriptor in [`FD_VARIABLE`].
pub(crate) static INTERPOSER_SO: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/interpose.so"));

/// The number of the descriptor for the lines. The library removes the variable and makes the descriptor
/// close-on-exec.
pub(crate) const FD_VARIABLE: &str = "DEVHOST_INTERPOSE_FD";
/// The port of the app's main listener, if it has several; see [`arm`]. Removed by the library.
pub(crate) const PORT_VARIABLE: &str = "DEVHOST_INTERPOSE_PORT";
/// The number of the descriptor of the app's [`Output`](devhost_sys::output::Output). Removed by the library.
pub(crate) const OUTPUT_VARIABLE: &str = "DEVHOST_INTERPOSE_OUTPUT";
/// The number of the descriptor of the app's [`Trail`](devhost_sys::trail::Trail). Removed by the library.
pub(crate) const TRAIL_VARIABLE: &str = "DEVHOST_INTERPOSE_TRAIL";
/// The Unix socket files of earlier generations; see [`arm`]. Unset without one. Removed by the library.
pub(crate) const EARLIER_VARIABLE: &str = "DEVHOST_INTERPOSE_EARLIER";
/// The value of `LD_PRELOAD` for the app and its children; unset if that is to be unset.
pub(crate) const LD_PRELOAD_VARIABLE: &str = "DEVHOST_INTERPOSE_LD_PRELOAD";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The app's listener listens.
    Listening(Listening),
    /// The app asks for its port at this address as well.
    Also(String),
    /// A Unix listener listens at this path (`@` for an abstract one). Comes with a descriptor of its file.
    Unix(PathBuf),
    /// A Unix socket file was created. The text identifies it.
    Socket(String),
    /// Another listener, left alone, listens at this address. Comes with the listener if others may share it.
    Further(String),
    /// A fork of the process, with this pid, has daemonized.
    Detached(i32),
    /// The app asked for a terminal, but has none.
    NoTerminal,
}

impl Seen {
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (word, rest) = line.trim_end_matches('\n').split_once(' ')?;
        Some(match word {
            "listening" => {
                let mut parts = rest.split(' ');
                let asked = parts.next()?.to_owned();
                let port = parts.next()?.parse().ok()?;
                let private: SocketAddr = parts.next()?.parse().ok()?;
                Self::Listening(Listening { asked, port, private })
            }
            "also" => Self::Also(rest.into()),
            "unix" => Self::Unix(rest.into()),
            "socket" => Self::Socket(rest.into()),
            "further" => Self::Further(rest.into()),
            "terminal" => Self::NoTerminal,
            "detached" => Self::Detached(rest.parse().ok()?),
            _ => return None,
        })
    }
}

impl Seen {
    /// Returns the report for the front. `micros` is how long the app has been starting.
    pub(crate) fn into_report(self, micros: u64) -> WorkerReport {
        match self {
            Self::Listening(listening) => WorkerReport::Ready { micros, listening: Some(listening) },
            Self::Also(asked) => WorkerReport::Also { asked },
            Self::Unix(path) => WorkerReport::Unix { micros, path },
            Self::Socket(file) => WorkerReport::Socket { file },
            Self::Further(address) => WorkerReport::Further { address },
            Self::Detached(pid) => WorkerReport::Detached { pid },
            Self::NoTerminal => WorkerReport::NoTerminal,
        }
    }
}

type Sink = extern "C" fn(*const u8, usize, i32);

unsafe extern "C" {
    fn devhost_interpose_arm(sink: Sink, wanted: u16, earlier: *const c_char);
    fn devhost_interpose_keep_output(fd: i32);
    fn devhost_interpose_observe(fd: i32);
}

type Listener = Box<dyn Fn(Seen, Option<BorrowedFd<'_>>) + Send + Sync>;
static LISTENER: OnceLock<Listener> = OnceLock::new();

/// Arms the interposer: the app's port is `wanted`, or the first TCP port bound from now on if that is 0.
/// `earlier` lists what [`Seen::Socket`] reported of earlier generations, comma-separated, or is `None` if
/// there were none: their socket files give way to this process's. The listener is called on whichever app
/// thread does something worth reporting.
pub(crate) fn arm(
    wanted: u16,
    earlier: Option<&str>,
    listener: impl Fn(Seen, Option<BorrowedFd<'_>>) + Send + Sync + 'static,
) {
    // It is made of numbers, so it contains no zero byte.
    let earlier = earlier.and_then(|earlier| CString::new(earlier).ok());
    if LISTENER.set(Box::new(listener)).is_ok() {
        let earlier = earlier.as_ref().map_or(std::ptr::null(), |earlier| earlier.as_ptr());
        // SAFETY: `hear` is what the C side expects, and lives for ever; the text is read during the call.
        unsafe { devhost_interpose_arm(hear, wanted, earlier) };
    }
}

/// Keeps a copy of the tail of this process's standard output and error in `output`.
pub(crate) fn keep_output(output: &OwnedFd) {
    // SAFETY: the C side maps the descriptor's memory for good, and keeps nothing else of it.
    unsafe { devhost_interpose_keep_output(output.as_raw_fd()) };
}

/// Notes in `trail` what this process does in the file system from now on. Must be called while
/// single-threaded.
pub(crate) fn observe(trail: &OwnedFd) {
    // SAFETY: as for the output.
    unsafe { devhost_interpose_observe(trail.as_raw_fd()) };
}

extern "C" fn hear(line: *const u8, len: usize, fd: i32) {
    // SAFETY: the C side passes a line that is valid during the call.
    let line = unsafe { std::slice::from_raw_parts(line, len) };
    if let (Some(listener), Some(seen)) = (LISTENER.get(), Seen::parse(&String::from_utf8_lossy(line))) {
        // SAFETY: the C side passes a descriptor that is open during the call, or a negative number.
        let fd = (fd >= 0).then(|| unsafe { BorrowedFd::borrow_raw(fd) });
        listener(seen, fd);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        assert_eq!(
            Seen::parse("listening [::]:3000 3000 [::1]:40123"),
            Some(Seen::Listening(Listening {
                asked: "[::]:3000".into(),
                port: 3000,
                private: "[::1]:40123".parse().unwrap(),
            }))
        );
        assert_eq!(Seen::parse("unix /run/a b.sock\n"), Some(Seen::Unix("/run/a b.sock".into())));
        assert_eq!(Seen::parse("further 0.0.0.0:9090"), Some(Seen::Further("0.0.0.0:9090".into())));
        assert_eq!(Seen::parse("also [::1]:3000"), Some(Seen::Also("[::1]:3000".into())));
        assert_eq!(Seen::parse("socket 1:2:3:4"), Some(Seen::Socket("1:2:3:4".into())));
        assert_eq!(Seen::parse("terminal "), Some(Seen::NoTerminal));
        assert_eq!(Seen::parse("detached 12"), Some(Seen::Detached(12)));
        for line in ["", "listening", "listening 0.0.0.0:1 x 127.0.0.1:2", "detached x", "what else"] {
            assert_eq!(Seen::parse(line), None, "{line}");
        }
    }
}
