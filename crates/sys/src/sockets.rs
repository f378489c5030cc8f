//! Listening TCP sockets and the processes that hold them, read from `/proc` (proc(5)). Opens no socket
//! itself.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// The state `TCP_LISTEN`.
const LISTENING: &str = "0A";

/// A listening socket in `net/tcp` or `net/tcp6`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ListeningSocket {
    pub(crate) address: SocketAddr,
    /// The owner's user id.
    pub(crate) user: u32,
    pub(crate) inode: u64,
}

/// Returns the listening sockets in a process's network namespace, given its directory in `/proc`, or `/proc`
/// itself for the calling process. IPv4 first.
pub(crate) fn listening_sockets(process: &Path) -> impl Iterator<Item = ListeningSocket> {
    ["net/tcp", "net/tcp6"]
        .map(|table| process.join(table))
        .into_iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| table.lines().skip(1).filter_map(parse).collect::<Vec<_>>())
}

/// Returns the inodes of a process's sockets, given its directory in `/proc`. Empty if we may not look into
/// it.
pub(crate) fn socket_inodes(process: &Path) -> impl Iterator<Item = u64> {
    fs::read_dir(process.join("fd")).into_iter().flatten().flatten().filter_map(|descriptor| {
        let target = fs::read_link(descriptor.path()).ok()?;
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    })
}

/// Parses a line of the table: slot, local address, remote address, state, queues, timer, retransmits, user,
/// timeout, inode. Returns `None` unless the socket listens.
fn parse(line: &str) -> Option<ListeningSocket> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    if *fields.get(3)? != LISTENING {
        return None;
    }
    Some(ListeningSocket {
        address: parse_address(fields.get(1)?)?,
        user: fields.get(7)?.parse().ok()?,
        inode: fields.get(9)?.parse().ok()?,
    })
}

/// Parses `0100007F:0BB8`: the address in four-byte words, each in native byte order, and the port.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::new();
    for at in (0..host.len()).step_by(8) {
        bytes.extend(u32::from_str_radix(host.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    }
    let ip = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(v4) => IpAddr::from(v4),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?),
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn line_of_the_socket_table_is_read() {
        let line = "   1: 0100007F:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000  0 4242 1 0000";
        let socket = ListeningSocket { address: "127.0.0.1:3000".parse().unwrap(), user: 1000, inode: 4242 };
        assert_eq!(parse(line), Some(socket));
        assert_eq!(parse(&line.replace(" 0A ", " 01 ")), None);
        assert_eq!(parse("nonsense"), None);
        let v6 = line.replace("0100007F:", "00000000000000000000000001000000:");
        assert_eq!(parse(&v6).unwrap().address, "[::1]:3000".parse().unwrap());
    }
}
