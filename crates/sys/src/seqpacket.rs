//! Messages over a `SOCK_SEQPACKET` socket pair, each with at most eight descriptors.
//!
//! A message is one packet, which arrives whole or not at all, so no framing is needed. Descriptors arrive
//! close-on-exec.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg,
    socketpair,
};

/// The largest message, in bytes.
const MESSAGE_LEN_MAX: usize = 64 * 1024;

/// The most descriptors per message.
const MESSAGE_FDS_MAX: usize = 8;

/// Makes a connected pair, both ends close-on-exec.
///
/// # Errors
/// No descriptor is left.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?)
}

/// Sends one message. Blocks if the socket does.
///
/// # Errors
/// The message is empty or too large, the peer is gone, or the socket is non-blocking and full (`WouldBlock`).
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[RawFd]) -> io::Result<()> {
    if bytes.is_empty() || bytes.len() > MESSAGE_LEN_MAX || fds.len() > MESSAGE_FDS_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a control message is out of bounds"));
    }
    let rights = [ControlMessage::ScmRights(fds)];
    let control: &[ControlMessage<'_>] = if fds.is_empty() { &[] } else { &rights };
    let payload = [IoSlice::new(bytes)];
    loop {
        match sendmsg::<()>(socket.as_raw_fd(), &payload, control, MsgFlags::MSG_NOSIGNAL, None) {
            Ok(_) => return Ok(()),
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Receives one message with its descriptors; `None` if the peer has closed its end.
///
/// # Errors
/// The message was truncated, or the socket is non-blocking and empty (`WouldBlock`).
pub fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    let mut buffer = vec![0; MESSAGE_LEN_MAX];
    let mut space = cmsg_space!([RawFd; MESSAGE_FDS_MAX]);
    let (len, flags, fds) = loop {
        let mut payload = [IoSliceMut::new(&mut buffer)];
        match recvmsg::<()>(socket.as_raw_fd(), &mut payload, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC) {
            Ok(message) => {
                let mut fds = Vec::new();
                for control in message.cmsgs()? {
                    if let ControlMessageOwned::ScmRights(raw) = control {
                        // SAFETY: the kernel has just installed these descriptors for us, so nobody else owns
                        // them.
                        fds.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
                    }
                }
                break (message.bytes, message.flags, fds);
            }
            Err(nix::Error::EINTR) => {}
            // The peer closed its end with messages of ours unread.
            Err(nix::Error::ECONNRESET) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    };
    if flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a control message was truncated"));
    }
    if len == 0 {
        return Ok(None);
    }
    buffer.truncate(len);
    Ok(Some((buffer, fds)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_message_arrives_whole_with_its_descriptors() {
        let (a, b) = pair().unwrap();
        let (c, d) = pair().unwrap();
        send(a.as_fd(), b"hello", &[c.as_raw_fd()]).unwrap();
        drop(c);
        let (bytes, fds) = receive(b.as_fd()).unwrap().unwrap();
        assert_eq!((bytes.as_slice(), fds.len()), (b"hello".as_slice(), 1));
        send(fds[0].as_fd(), b"through", &[]).unwrap();
        assert_eq!(receive(d.as_fd()).unwrap().unwrap().0, b"through");
        drop(a);
        assert!(receive(b.as_fd()).unwrap().is_none());
    }

    #[test]
    fn an_empty_or_oversized_message_is_refused() {
        let (a, _b) = pair().unwrap();
        assert!(send(a.as_fd(), b"", &[]).is_err());
        assert!(send(a.as_fd(), &vec![1; MESSAGE_LEN_MAX + 1], &[]).is_err());
    }
}
