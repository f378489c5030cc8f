//! Steers new connections among listeners at the same address (`SO_REUSEPORT`).

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::libc::{self, sock_filter, sock_fprog};

/// The most listeners for the kernel to choose from.
const CHOSEN_COUNT_MAX: usize = 64;

/// A random number, as loaded by a packet filter (`SKF_AD_OFF + SKF_AD_RANDOM`).
const RANDOM: u32 = (-0x1000_i32 + 56).cast_unsigned();

/// Makes the kernel choose at random among these listeners, numbered in the order in which they began to
/// listen. Any of them can be passed. A number without a listener stands for any of them.
///
/// # Errors
/// The kernel is older than 4.6, or the socket does not listen with `SO_REUSEPORT`.
pub fn choose(listener: impl AsFd, places: &[u32]) -> io::Result<()> {
    let mut program = program(&places[..places.len().min(CHOSEN_COUNT_MAX)]);
    let Ok(len) = u16::try_from(program.len()) else { return Err(io::ErrorKind::InvalidInput.into()) };
    let program = sock_fprog { len, filter: program.as_mut_ptr() };
    // SAFETY: the kernel copies the program, which outlives the call and has the given length.
    let result = unsafe {
        libc::setsockopt(
            listener.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const program).cast(),
            size_of::<sock_fprog>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Returns a filter program that returns one of the places at random.
fn program(places: &[u32]) -> Vec<sock_filter> {
    let instruction = |code: u32, jt, jf, k| sock_filter { code: code as u16, jt, jf, k };
    let answer = |place| instruction(libc::BPF_RET | libc::BPF_K, 0, 0, place);
    let Some((last, others)) = places.split_last() else { return vec![answer(u32::MAX)] };
    let mut program = Vec::new();
    if !others.is_empty() {
        program.push(instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, RANDOM));
        program.push(instruction(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, 0, 0, places.len() as u32));
    }
    for (number, place) in others.iter().enumerate() {
        program.push(instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, number as u32));
        program.push(answer(*place));
    }
    program.push(answer(*last));
    program
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener, TcpStream};

    use nix::sys::socket::{
        AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, listen, setsockopt, socket, sockopt,
    };

    use super::*;

    fn shared(at: SocketAddr) -> TcpListener {
        let SocketAddr::V4(at) = at else { panic!("{at}") };
        let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        setsockopt(&socket, sockopt::ReusePort, &true).unwrap();
        bind(socket.as_raw_fd(), &SockaddrIn::from(at)).unwrap();
        listen(&socket, Backlog::new(64).unwrap()).unwrap();
        let listener = TcpListener::from(socket);
        listener.set_nonblocking(true).unwrap();
        listener
    }

    /// Returns how many of 30 connections each listener gets.
    fn spread<const COUNT: usize>(listeners: [&TcpListener; COUNT]) -> [usize; COUNT] {
        let address = listeners[0].local_addr().unwrap();
        // Once made, a connection is in its listener's queue.
        let clients: Vec<_> = (0..30).map(|_| TcpStream::connect(address).unwrap()).collect();
        let counts = listeners.map(|listener| std::iter::from_fn(|| listener.accept().ok()).count());
        assert_eq!(counts.iter().sum::<usize>(), clients.len());
        counts
    }

    #[test]
    fn the_chosen_listeners_get_all_connections() {
        let one = shared("127.0.0.1:0".parse().unwrap());
        let address = one.local_addr().unwrap();
        choose(&one, &[0]).unwrap();
        let two = shared(address);
        assert_eq!(spread([&one, &two]), [30, 0]);
        choose(&two, &[1]).unwrap();
        assert_eq!(spread([&one, &two]), [0, 30]);
        let three = shared(address);
        choose(&three, &[1, 2]).unwrap();
        let [none, some, others] = spread([&one, &two, &three]);
        assert!(none == 0 && some > 0 && others > 0, "{none} {some} {others}");
        // The last one fills the gap.
        drop(one);
        choose(&three, &[0]).unwrap();
        assert_eq!(spread([&two, &three]), [0, 30]);
        drop(two);
        choose(&three, &[7]).unwrap();
        assert_eq!(spread([&three]), [30]);
    }
}
