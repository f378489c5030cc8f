//! Finds by looking at a process from outside where it listens: for an app that does so by a way that the interposer
//! cannot see (system calls of its own, `io_uring`). Reads `/proc`, nothing else.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// `TCP_LISTEN` in the state column.
const LISTENING: &str = "0A";

/// The TCP addresses at which a process listens.
pub fn listening(pid: i32) -> Vec<SocketAddr> {
    let process = Path::new("/proc").join(pid.to_string());
    let inodes: HashSet<String> = std::fs::read_dir(process.join("fd"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let target = std::fs::read_link(entry.path()).ok()?;
            Some(target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
        })
        .collect();
    if inodes.is_empty() {
        return Vec::new();
    }
    let tables = ["net/tcp", "net/tcp6"].map(|table| std::fs::read_to_string(process.join(table)));
    tables
        .iter()
        .flatten()
        .flat_map(|table| table.lines().skip(1))
        .filter_map(parse)
        .filter(|(_, inode)| inodes.contains(*inode))
        .map(|(address, _)| address)
        .collect()
}

/// The loopback address at which somebody on this machine reaches a listener.
pub fn reached_at(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// A listener in a line of `/proc/net/tcp` (proc(5)), and its inode.
fn parse(line: &str) -> Option<(SocketAddr, &str)> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    if *fields.get(3)? != LISTENING {
        return None;
    }
    let (host, port) = fields.get(1)?.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    // Words of four bytes in the machine's own order.
    let mut bytes = Vec::new();
    for at in (0..host.len()).step_by(8) {
        bytes.extend(u32::from_str_radix(host.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    }
    let ip = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(v4) => IpAddr::from(v4),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?),
    };
    Some((SocketAddr::new(ip, port), fields.get(9)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn own_listeners_are_found() {
        let v4 = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let pid = std::process::id().cast_signed();
        assert!(!listening(pid).contains(&v4), "it is closed already");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(listening(pid).contains(&listener.local_addr().unwrap()));
        if let Ok(listener) = TcpListener::bind("[::1]:0") {
            assert!(listening(pid).contains(&listener.local_addr().unwrap()));
        }
    }

    #[test]
    fn a_wildcard_is_reached_at_loopback() {
        assert_eq!(reached_at("0.0.0.0:1".parse().unwrap()), "127.0.0.1:1".parse().unwrap());
        assert_eq!(reached_at("[::]:1".parse().unwrap()), "[::1]:1".parse().unwrap());
        assert_eq!(reached_at("10.0.0.1:1".parse().unwrap()), "10.0.0.1:1".parse().unwrap());
    }
}
