//! Finds out from outside where a process listens, for apps whose calls bypass the interposer (raw system
//! calls, `io_uring`). Only reads `/proc`.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use crate::sockets::{listening_sockets, socket_inodes};

/// Returns the TCP addresses at which a process listens.
pub fn listening(pid: i32) -> Vec<SocketAddr> {
    let process = Path::new("/proc").join(pid.to_string());
    let inodes: HashSet<u64> = socket_inodes(&process).collect();
    if inodes.is_empty() {
        return Vec::new();
    }
    listening_sockets(&process)
        .filter(|socket| inodes.contains(&socket.inode))
        .map(|socket| socket.address)
        .collect()
}

/// Returns the address at which this machine reaches a listener: loopback if it listens on all interfaces.
pub fn reached_at(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
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
