//! Socket activation: listening sockets passed to devhost, by the protocol of systemd's `sd_listen_fds(3)`,
//! which systemfd and catflap speak as well. The front takes them; the app never sees them and binds its own
//! socket.

use std::io;
use std::net::TcpListener;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, SockType, SockaddrLike, SockaddrStorage, getsockname, getsockopt, sockopt,
};

/// The first passed descriptor.
const FIRST_FD: RawFd = 3;

/// The most passed descriptors to look at.
const FDS_COUNT_MAX: RawFd = 64;

/// The protocol's variables. Removed, since the programs started by devhost do not get the descriptors.
const VARIABLES: &[&str] = &["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_FDS_FIRST_FD"];

/// Takes the TCP listeners passed to this process, and clears the variables. Must be called once, while
/// single-threaded and before anything opens a descriptor.
///
/// # Errors
/// A passed descriptor is not a TCP listener.
pub fn take() -> io::Result<Vec<TcpListener>> {
    let count = count();
    for variable in VARIABLES {
        // SAFETY: the process is single-threaded, so nobody reads the environment meanwhile.
        unsafe { std::env::remove_var(variable) };
    }
    (FIRST_FD..FIRST_FD + count).map(take_one).collect()
}

/// Returns how many sockets were passed to this process.
fn count() -> RawFd {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<RawFd>().ok());
    // systemfd sets no pid. Another process's pid means that the variables were inherited by mistake.
    let is_for_us = std::env::var_os("LISTEN_PID").is_none()
        || number("LISTEN_PID").is_some_and(|pid| pid.cast_unsigned() == std::process::id());
    number("LISTEN_FDS").filter(|_| is_for_us).unwrap_or(0).clamp(0, FDS_COUNT_MAX)
}

fn take_one(raw: RawFd) -> io::Result<TcpListener> {
    let refused =
        |what: &str| io::Error::new(io::ErrorKind::InvalidInput, format!("descriptor {raw} {what}"));
    // SAFETY: only for the calls below, which fail if it is not open.
    let fd = unsafe { BorrowedFd::borrow_raw(raw) };
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(|_| refused("is not open"))?;
    let listens = getsockopt(&fd, sockopt::AcceptConn).unwrap_or(false);
    let is_stream = getsockopt(&fd, sockopt::SockType).is_ok_and(|kind| kind == SockType::Stream);
    let family = getsockname::<SockaddrStorage>(raw).ok().and_then(|name| name.family());
    let is_inet = matches!(family, Some(AddressFamily::Inet | AddressFamily::Inet6));
    if !(listens && is_stream && is_inet) {
        return Err(refused("is not a listening TCP socket"));
    }
    // SAFETY: the protocol hands it over, it was just seen to be open, and nobody else here owns it.
    Ok(TcpListener::from(unsafe { OwnedFd::from_raw_fd(raw) }))
}
