//! The addresses at which people reach a server, from this machine and others. Reads the network interfaces;
//! opens nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// How many addresses to show; a machine with containers may have dozens.
const ADDRESSES_COUNT_MAX: usize = 8;

/// The label of addresses that other machines reach.
pub const NETWORK: &str = "Network";

/// Returns labelled addresses for the banner: at least one, the one to open first. A server on all interfaces
/// is shown with each one's address, never as 0.0.0.0.
pub fn urls(bound: SocketAddr) -> Vec<(&'static str, String)> {
    urls_with(bound, interface_addresses())
}

fn urls_with(bound: SocketAddr, interfaces: Vec<IpAddr>) -> Vec<(&'static str, String)> {
    let url = |address: IpAddr| format!("http://{}/", SocketAddr::new(address, bound.port()));
    if !bound.ip().is_unspecified() {
        let label = if bound.ip().to_canonical().is_loopback() { "Local" } else { NETWORK };
        return vec![(label, url(bound.ip()))];
    }
    let local = if bound.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
    let reached = interfaces.into_iter().filter(|address| bound.is_ipv6() || address.is_ipv4());
    let network = reached.take(ADDRESSES_COUNT_MAX).map(|address| (NETWORK, url(address)));
    std::iter::once(("Local", url(local))).chain(network).collect()
}

/// Returns a warning for users who have allowed other machines, or believe they have.
pub fn warning(bound: SocketAddr, allow_remote: bool) -> Option<&'static str> {
    if !bound.ip().to_canonical().is_loopback() {
        return Some(
            "everybody on your network can use this app, and sees its errors with their source code; devhost has no \
             login and no encryption",
        );
    }
    allow_remote.then_some(
        "--allow-remote changes nothing at an address that only this machine reaches; add --host 0.0.0.0 to listen on all",
    )
}

/// Returns the addresses of interfaces that are up, except loopback and link-local ones. IPv4 first, since
/// people type it.
fn interface_addresses() -> Vec<IpAddr> {
    use nix::net::if_::InterfaceFlags;
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let mut addresses: Vec<IpAddr> = interfaces
        .filter(|interface| interface.flags.contains(InterfaceFlags::IFF_UP))
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
        })
        .filter(|address| match address {
            IpAddr::V4(address) => !address.is_loopback() && !address.is_link_local(),
            IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local(),
        })
        .collect();
    addresses.sort_by_key(IpAddr::is_ipv6);
    addresses.dedup();
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(bound: &str) -> Vec<(&'static str, String)> {
        let interfaces = ["192.168.1.2", "10.0.0.7", "2001:db8::1"].map(|address| address.parse().unwrap());
        urls_with(bound.parse().unwrap(), interfaces.to_vec())
    }

    #[test]
    fn a_server_on_all_interfaces_is_told_by_addresses_that_work() {
        let [local, first, second] = &told("0.0.0.0:3000")[..] else { panic!("{:?}", told("0.0.0.0:3000")) };
        assert_eq!((local.0, local.1.as_str()), ("Local", "http://127.0.0.1:3000/"));
        assert_eq!((first.0, first.1.as_str()), ("Network", "http://192.168.1.2:3000/"));
        assert_eq!(second.1, "http://10.0.0.7:3000/");
        let both = told("[::]:80");
        assert_eq!(both[0].1, "http://[::1]:80/");
        assert_eq!(both[3].1, "http://[2001:db8::1]:80/");
        assert!(urls("0.0.0.0:1".parse().unwrap()).iter().all(|(_, url)| !url.contains("0.0.0.0")));
    }

    #[test]
    fn a_server_on_one_address_is_told_by_it() {
        assert_eq!(told("127.0.0.1:3000"), [("Local", "http://127.0.0.1:3000/".to_owned())]);
        assert_eq!(told("192.168.1.2:3000"), [("Network", "http://192.168.1.2:3000/".to_owned())]);
    }

    #[test]
    fn who_lets_others_in_is_warned() {
        for open in ["0.0.0.0:1", "[::]:1", "192.168.1.2:1"] {
            assert!(warning(open.parse().unwrap(), true).unwrap().contains("everybody"), "{open}");
        }
        assert!(warning("127.0.0.1:1".parse().unwrap(), true).unwrap().contains("--host 0.0.0.0"));
        assert_eq!(warning("127.0.0.1:1".parse().unwrap(), false), None);
    }
}
