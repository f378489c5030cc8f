//! Whether another thread of this process waits for events with epoll, and so is done with those it had before. The kernel
//! tells in which system call a thread is (`proc_pid_syscall`(5)).

use std::fs::File;
use std::os::unix::fs::FileExt;

/// The system calls in which such a thread waits.
#[cfg(target_arch = "x86_64")]
const WAITS: &[libc::c_long] = &[libc::SYS_epoll_wait, libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2];
#[cfg(not(target_arch = "x86_64"))]
const WAITS: &[libc::c_long] = &[libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2];

/// A thread that waits for events with epoll, and handles them.
#[derive(Debug)]
pub struct EpollThread(File);

impl EpollThread {
    /// Returns the calling thread, for others to look at. `None` if the system does not tell.
    pub fn current() -> Option<Self> {
        File::open("/proc/thread-self/syscall").ok().map(Self)
    }

    /// Returns true unless it waits for events: it handles some, or is about to. False also if it has ended, or if nothing can
    /// be found out.
    pub fn is_busy(&self) -> bool {
        let mut text = [0; 64];
        let Ok(length) = self.0.read_at(&mut text, 0) else { return false };
        // The number of the system call, or `running`.
        let text = str::from_utf8(&text[..length]).unwrap_or_default();
        let number = text.split_ascii_whitespace().next().and_then(|word| word.parse().ok());
        length > 0 && !number.is_some_and(|number| WAITS.contains(&number))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
    use nix::sys::eventfd::{EfdFlags, EventFd};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    fn wait(what: &str, condition: impl Fn() -> bool) {
        let began = Instant::now();
        while !condition() {
            assert!(began.elapsed() < DEADLINE, "{what}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_thread_is_busy_until_it_waits_again() {
        let event = std::sync::Arc::new(EventFd::from_flags(EfdFlags::EFD_NONBLOCK).unwrap());
        let told = std::sync::Arc::clone(&event);
        let ((took, taken), (go, gate)) = (mpsc::channel(), mpsc::channel::<()>());
        let (says, said) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            says.send(EpollThread::current().unwrap()).unwrap();
            let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
            epoll.add(&*told, EpollEvent::new(EpollFlags::EPOLLIN, 0)).unwrap();
            for _ in 0..2 {
                epoll.wait(&mut [EpollEvent::empty()], EpollTimeout::NONE).unwrap();
                told.read().unwrap();
                took.send(()).unwrap();
                gate.recv_timeout(DEADLINE).unwrap();
            }
        });
        let found = said.recv_timeout(DEADLINE).unwrap();
        wait("it does not wait", || !found.is_busy());
        event.write(1).unwrap();
        taken.recv_timeout(DEADLINE).unwrap();
        assert!(found.is_busy(), "it is not done with the event");
        go.send(()).unwrap();
        wait("it does not wait again", || !found.is_busy());
        event.write(1).unwrap();
        go.send(()).unwrap();
        thread.join().unwrap();
        assert!(!found.is_busy(), "it has ended");
    }
}
