//! Finds out when a process is ready, as its `ready-when` has it. Lines are looked at as they come; the rest is polled.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::{Duration, SystemTime};

use devhost_model::ReadyWhen;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// How often to look.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// How long a connection to this machine may take.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(1);

/// How far the times of files may lag behind the clock.
const FILE_TIME_LAG_MAX: Duration = Duration::from_millis(20);

/// When a file from before the process's start counts, though nobody has written it again: many programs leave a file
/// alone that is as it should be.
const OLD_FILE_TIME: Duration = Duration::from_secs(2);

/// Waits until the process is ready; for ever, if its output tells.
pub(crate) async fn until_ready(when: &ReadyWhen, started: SystemTime) {
    match when {
        ReadyWhen::Line(_) => std::future::pending().await,
        ReadyWhen::Port(port) => {
            while !listens(*port).await {
                sleep(LOOK_INTERVAL).await;
            }
        }
        ReadyWhen::File(file) => {
            while !is_written(file, started) {
                sleep(LOOK_INTERVAL).await;
            }
        }
    }
}

async fn listens(port: u16) -> bool {
    for host in [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)] {
        if matches!(timeout(CONNECT_TIME_MAX, TcpStream::connect((host, port))).await, Ok(Ok(_))) {
            return true;
        }
    }
    false
}

fn is_written(file: &Path, started: SystemTime) -> bool {
    let Ok(written) = std::fs::metadata(file).and_then(|metadata| metadata.modified()) else { return false };
    let is_new = started.checked_sub(FILE_TIME_LAG_MAX).is_none_or(|from| written >= from);
    is_new || started.elapsed().is_ok_and(|lived| lived >= OLD_FILE_TIME)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn a_port_is_ready_once_something_listens_at_either_address() {
        runtime().block_on(async {
            for host in ["127.0.0.1", "::1"] {
                let Ok(listener) = std::net::TcpListener::bind((host, 0)) else { continue };
                let port = listener.local_addr().unwrap().port();
                until_ready(&ReadyWhen::Port(port), SystemTime::now()).await;
                drop(listener);
                assert!(!listens(port).await, "{host}");
            }
        });
    }

    #[test]
    fn a_file_counts_once_it_is_written_and_an_old_one_after_a_while() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("app.css");
        let now = SystemTime::now();
        assert!(!is_written(&file, now));
        std::fs::write(&file, "").unwrap();
        assert!(is_written(&file, now));
        let old = std::fs::File::options().write(true).open(&file).unwrap();
        old.set_modified(now - Duration::from_secs(3600)).unwrap();
        assert!(!is_written(&file, SystemTime::now()));
        assert!(is_written(&file, SystemTime::now() - OLD_FILE_TIME));
        runtime().block_on(until_ready(&ReadyWhen::File(file), now - OLD_FILE_TIME));
    }
}
