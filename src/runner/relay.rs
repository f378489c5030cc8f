//! A private TCP port in front of a Unix socket: the way to an app that listens on nothing else.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::linux::net::SocketAddrExt;
use std::path::{Path, PathBuf};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::AbortHandle;

/// A relay that runs until it is dropped. Connections that it has made live as long as their ends.
#[derive(Debug)]
pub struct Relay {
    /// Where it listens.
    pub address: SocketAddr,
    task: AbortHandle,
}

impl Relay {
    /// Starts a relay to a Unix socket; an abstract one starts with `@`.
    pub async fn start(path: PathBuf) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            // An error here is a lack of descriptors: whoever connected is turned away.
            loop {
                if let Ok((from, _)) = listener.accept().await {
                    tokio::spawn(pass_on(from, path.clone()));
                } else {
                    tokio::task::yield_now().await;
                }
            }
        });
        Ok(Self { address, task: task.abort_handle() })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass_on(mut from: TcpStream, path: PathBuf) -> io::Result<()> {
    let mut to = connect(&path).await?;
    copy_bidirectional(&mut from, &mut to).await.map(drop)
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
