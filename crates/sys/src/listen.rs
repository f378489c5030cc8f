//! Binds the port that people open in their browsers, or says who has it. Never accepts a connection, and
//! never kills a process.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::Path;

use devhost_model::Error;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::ReusePort;

use crate::sockets::{listening_sockets, socket_inodes};

/// How many ports to try after a busy one.
const NEXT_PORTS_COUNT_MAX: u16 = 20;
/// How many processes to search for the owner of a busy port.
const PROCESSES_COUNT_MAX: usize = 65_536;

/// Refuses addresses that other machines can reach, unless the user allows them: devhost runs code from the
/// working directory, shows sources, and has no login.
///
/// # Errors
/// A mistake if the address is refused.
pub fn permit(host: IpAddr, allow_remote: bool) -> Result<(), Error> {
    if allow_remote || host.to_canonical().is_loopback() {
        return Ok(());
    }
    Err(Error::mistake(
        format!(
            "{host} can be reached by other machines, and a development server has no protection against them"
        ),
        "leave --host out (127.0.0.1), or add --allow-remote if everybody on that network may use this app and see its \
         errors",
    ))
}

/// Binds the port, 0 for a free one. If it is busy and not `strict`, binds the next free one; the returned
/// notes tell the user.
///
/// # Errors
/// The port is busy and `strict`, all ports after it are busy, too, or the system refuses the address.
pub fn bind(host: IpAddr, port: u16, strict: bool) -> Result<(TcpListener, Vec<String>), Error> {
    let error = match listen_on(host, port) {
        Ok(listener) => return Ok((listener, Vec::new())),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => error,
        Err(error) => return Err(explain(&error, host, port, strict)),
    };
    // Port 0 is busy only if all are, so there is no next one.
    if strict || port == 0 {
        return Err(explain(&error, host, port, strict));
    }
    let last = port.saturating_add(NEXT_PORTS_COUNT_MAX);
    for next in port.saturating_add(1)..=last {
        match listen_on(host, next) {
            Ok(listener) => {
                return Ok((listener, vec![format!("port {port} is in use{}; using {next}", by_whom(port))]));
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(explain(&error, host, next, strict)),
        }
    }
    Err(Error::mistake(
        format!("port {port} is in use{}, and so are all up to {last}", by_whom(port)),
        "end what uses them, or choose another with --port (0 takes any free one)",
    ))
}

/// Binds exactly this port.
///
/// # Errors
/// The port is busy (the message says who has it), or the system refuses the address.
pub fn bind_exactly(host: IpAddr, port: u16) -> Result<TcpListener, Error> {
    listen_on(host, port).map_err(|error| explain(&error, host, port, false))
}

/// Binds exactly this port, but lets an app that devhost runs have it as well: its further listeners share their ports with those of
/// later generations.
///
/// # Errors
/// The port is busy, or the system refuses the address.
pub fn bind_tentatively(host: IpAddr, port: u16) -> io::Result<TcpListener> {
    let listener = listen_on(host, port)?;
    // Only now, so that it is not shared with somebody who has it already.
    setsockopt(&listener, ReusePort, &true)?;
    Ok(listener)
}

/// Shares the port of a tentative listener no more.
///
/// # Errors
/// The system refuses.
pub fn claim(listener: &TcpListener) -> io::Result<()> {
    Ok(setsockopt(listener, ReusePort, &false)?)
}

/// Returns true if the port is taken.
pub fn is_busy(host: IpAddr, port: u16) -> bool {
    listen_on(host, port).is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

fn listen_on(host: IpAddr, port: u16) -> io::Result<TcpListener> {
    // The standard library sets SO_REUSEADDR and close-on-exec.
    TcpListener::bind(SocketAddr::new(host, port))
}

fn explain(error: &io::Error, host: IpAddr, port: u16, strict: bool) -> Error {
    match error.raw_os_error() {
        Some(libc::EADDRINUSE) => Error::mistake(
            format!("port {port} is in use{}", by_whom(port)),
            if strict {
                "end it, choose another with --port (0 takes any free one), or leave --strict-port out"
            } else {
                "end it, or choose another with --port (0 takes any free one)"
            },
        ),
        Some(libc::EACCES | libc::EPERM) => Error::mistake(
            format!("no permission to listen on port {port}"),
            format!(
                "take a port from 1024 on (`--port 3000`), or allow low ports with `sudo sysctl \
                 net.ipv4.ip_unprivileged_port_start={port}`"
            ),
        ),
        Some(libc::EADDRNOTAVAIL) => Error::mistake(
            format!("the address {host} belongs to no network interface of this machine"),
            "`ip address` lists those that do; leave --host out for 127.0.0.1",
        ),
        Some(libc::EAFNOSUPPORT) => Error::mistake(
            format!("this machine does not support addresses such as {host}"),
            "leave --host out for 127.0.0.1",
        ),
        Some(libc::EMFILE | libc::ENFILE) => {
            Error::fault(format!("no file descriptor is left to listen on {host} port {port}"))
                .with_hint("raise the limit with `ulimit -n 4096`, or end programs that hold many files open")
        }
        _ => Error::fault(format!("failed to listen on {host} port {port}: {error}")),
    }
}

/// Returns ` by nginx (pid 12)` if that can be found out, else nothing.
fn by_whom(port: u16) -> String {
    let Some(socket) = listening_sockets(Path::new("/proc")).find(|socket| socket.address.port() == port)
    else {
        return String::new();
    };
    match owner_of(socket.inode) {
        Some((pid, name)) => format!(" by {name} (pid {pid})"),
        None if socket.user != nix::unistd::geteuid().as_raw() => format!(" by user {}", socket.user),
        None => String::new(),
    }
}

/// Returns the lowest pid that holds the socket, among the processes that we may look into.
fn owner_of(inode: u64) -> Option<(u32, String)> {
    let mut pids: Vec<u32> = fs::read_dir("/proc")
        .ok()?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .take(PROCESSES_COUNT_MAX)
        .collect();
    pids.sort_unstable();
    pids.into_iter().find_map(|pid| {
        let process = Path::new("/proc").join(pid.to_string());
        socket_inodes(&process).any(|held| held == inode).then(|| {
            let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
            let name: String = name.trim().chars().filter(|character| !character.is_control()).collect();
            (pid, if name.is_empty() { "a process".to_owned() } else { name })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::os::fd::AsRawFd;

    const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn busy_port() -> (TcpListener, u16) {
        // A port with free ones after it.
        loop {
            let listener = TcpListener::bind((LOCAL, 0)).unwrap();
            let port = listener.local_addr().unwrap().port();
            if port < u16::MAX - NEXT_PORTS_COUNT_MAX {
                return (listener, port);
            }
        }
    }

    #[test]
    fn port_0_takes_a_free_one() {
        let (listener, notes) = bind(LOCAL, 0, true).unwrap();
        assert_ne!(listener.local_addr().unwrap().port(), 0);
        assert!(notes.is_empty());
    }

    #[test]
    fn busy_port_gives_the_next_free_one_and_says_who_has_it() {
        let (_busy, port) = busy_port();
        let (listener, notes) = bind(LOCAL, port, false).unwrap();
        let next = listener.local_addr().unwrap().port();
        assert!(next > port && next <= port + NEXT_PORTS_COUNT_MAX);
        let [note] = &notes[..] else { panic!("{notes:?}") };
        assert!(note.starts_with(&format!("port {port} is in use by ")), "{note}");
        assert!(note.contains(&format!("(pid {})", std::process::id())), "{note}");
        assert!(note.ends_with(&format!("; using {next}")), "{note}");
    }

    #[test]
    fn a_tentative_listener_gives_way_to_those_that_share_and_to_nobody_else() {
        use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, socket};
        let make = || {
            let tentative = bind_tentatively(LOCAL, 0).unwrap();
            let port = tentative.local_addr().unwrap().port();
            (tentative, port)
        };
        let share = |port| {
            let further =
                socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
            setsockopt(&further, ReusePort, &true).unwrap();
            let bound = nix::sys::socket::bind(further.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, port));
            bound.map(|()| further)
        };
        let (_tentative, port) = make();
        assert!(bind_tentatively(LOCAL, port).is_err() && listen_on(LOCAL, port).is_err());
        assert!(share(port).is_ok(), "an app's further listener has it as well");
        let (claimed, port) = make();
        claim(&claimed).unwrap();
        assert!(share(port).is_err());
    }

    #[test]
    fn busy_port_on_ipv6_is_found_too() {
        let Ok(busy) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) else { return };
        let port = busy.local_addr().unwrap().port();
        let error = bind(IpAddr::V6(Ipv6Addr::LOCALHOST), port, true).unwrap_err();
        assert!(error.message.contains(&format!("(pid {})", std::process::id())), "{}", error.message);
    }

    #[test]
    fn busy_port_is_a_mistake_if_strict() {
        let (_busy, port) = busy_port();
        let error = bind(LOCAL, port, true).unwrap_err();
        assert!(error.mistake);
        assert!(error.message.starts_with(&format!("port {port} is in use by ")), "{}", error.message);
        assert!(error.hint.contains("--port") && error.hint.contains("--strict-port"));
    }

    #[test]
    fn strictness_that_nobody_asked_for_is_not_spoken_of() {
        let (_busy, port) = busy_port();
        let error = bind_exactly(LOCAL, port).unwrap_err();
        assert!(error.mistake && error.message.starts_with(&format!("port {port} is in use")), "{error:?}");
        assert!(error.hint.contains("--port") && !error.hint.contains("--strict-port"), "{}", error.hint);
        assert!(is_busy(LOCAL, port));
    }

    #[test]
    fn address_of_another_machine_is_a_mistake() {
        // TEST-NET-1 belongs to nobody (RFC 5737).
        let error = bind("192.0.2.1".parse().unwrap(), 0, false).unwrap_err();
        assert!(error.mistake && error.message.contains("192.0.2.1 belongs to no network interface"));
    }

    #[test]
    fn low_port_without_permission_is_a_mistake_that_says_what_to_do() {
        let lowest: u16 = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start")
            .map_or(1024, |text| text.trim().parse().unwrap());
        if lowest <= 1 {
            return;
        }
        let error = std::thread::spawn(|| {
            let unchanged: libc::uid_t = libc::uid_t::MAX;
            let nobody: libc::uid_t = 65_534;
            // SAFETY: the raw call takes plain numbers, and changes the user of only this thread, which ends
            // here.
            unsafe { libc::syscall(libc::SYS_setresuid, unchanged, nobody, unchanged) };
            bind(LOCAL, 1, false).unwrap_err()
        })
        .join()
        .unwrap();
        assert!(error.mistake);
        assert_eq!(error.message, "no permission to listen on port 1");
        assert!(error.hint.contains("--port 3000"), "{}", error.hint);
    }

    #[test]
    fn exhausted_descriptors_are_a_fault() {
        let error = explain(&io::Error::from_raw_os_error(libc::EMFILE), LOCAL, 3000, false);
        assert!(!error.mistake && error.hint.contains("ulimit -n"));
    }

    #[test]
    fn only_loopback_is_permitted_without_being_asked_for() {
        for host in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(permit(host.parse().unwrap(), false), Ok(()), "{host}");
        }
        for host in ["0.0.0.0", "::", "192.168.1.2", "10.0.0.1"] {
            let host = host.parse().unwrap();
            let error = permit(host, false).unwrap_err();
            assert!(error.mistake && error.hint.contains("--allow-remote"));
            assert_eq!(permit(host, true), Ok(()));
        }
    }
}
