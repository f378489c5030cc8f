//! A private TCP port in front of a Unix socket, for an app with no other listener. If the app later listens
//! on a TCP port, the relay leads there.

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// A relay that runs until dropped. Its connections live as long as their ends.
#[derive(Debug)]
pub(super) struct Relay {
    pub address: SocketAddr,
    to: watch::Sender<Target>,
    task: AbortHandle,
}

#[derive(Debug, Clone)]
enum Target {
    Unix { path: PathBuf, file: Option<Arc<OwnedFd>> },
    Tcp(SocketAddr),
}

impl Relay {
    /// Starts a relay to a Unix socket (`@NAME` if abstract). With the socket's file it leads to that, even if a
    /// later generation has replaced it at its path.
    pub(super) async fn start(path: PathBuf, file: Option<OwnedFd>) -> io::Result<Self> {
        let listener = bind_privately().await?;
        let address = listener.local_addr()?;
        let to = watch::Sender::new(Target::Unix { path, file: file.map(Arc::new) });
        let led = to.subscribe();
        let task = tokio::spawn(async move {
            // An error here means no descriptors are left: the client is turned away.
            loop {
                if let Ok((from, _)) = listener.accept().await {
                    tokio::spawn(pass_on(from, led.clone()));
                } else {
                    tokio::task::yield_now().await;
                }
            }
        });
        Ok(Self { address, to, task: task.abort_handle() })
    }

    /// Redirects to a TCP port. Connections to the Unix socket, which was not the app's main listener, are
    /// cut.
    pub(super) fn lead_to(&self, address: SocketAddr) {
        self.to.send_replace(Target::Tcp(address));
    }

    pub(super) fn leads_to_unix_socket(&self) -> bool {
        matches!(*self.to.borrow(), Target::Unix { .. })
    }
}

/// Binds to an address that nobody can guess, like the listeners of apps.
async fn bind_privately() -> io::Result<TcpListener> {
    match TcpListener::bind((random_loopback(), 0)).await {
        // Rare: the loopback interface has only 127.0.0.1.
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await
        }
        bound => bound,
    }
}

/// Returns one of the loopback interface's 2^24 IPv4 addresses.
fn random_loopback() -> Ipv4Addr {
    // The standard library's hasher has random keys, so its result is unpredictable.
    let [one, two, three, ..] = RandomState::new().hash_one(0_u8).to_ne_bytes();
    Ipv4Addr::new(127, 1 + one % 254, two, 1 + three % 254)
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass_on(mut from: TcpStream, mut target: watch::Receiver<Target>) -> io::Result<()> {
    let to = target.borrow_and_update().clone();
    // Like the front's own connections: a relay must not add delay.
    from.set_nodelay(true)?;
    match to {
        Target::Unix { path, file } => {
            let mut to = match file {
                // This path leads to the file itself, whatever its name is by now.
                Some(file) => UnixStream::connect(format!("/proc/self/fd/{}", file.as_raw_fd())).await?,
                None => connect(&path).await?,
            };
            tokio::select! {
                passed = copy_bidirectional(&mut from, &mut to) => passed.map(drop),
                Ok(()) = target.changed() => Ok(()),
            }
        }
        Target::Tcp(address) => {
            let mut to = TcpStream::connect(address).await?;
            to.set_nodelay(true)?;
            copy_bidirectional(&mut from, &mut to).await.map(drop)
        }
    }
}

async fn connect(path: &Path) -> io::Result<UnixStream> {
    match path.as_os_str().as_encoded_bytes().strip_prefix(b"@") {
        None => UnixStream::connect(path).await,
        Some(name) => {
            let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
            let stream = std::os::unix::net::UnixStream::connect_addr(&address)?;
            stream.set_nonblocking(true)?;
            UnixStream::from_std(stream)
        }
    }
}
