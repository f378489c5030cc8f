//! The guest book as an ordinary server, for production or for a look without devhost: `PORT` names the port, or
//! `LISTEN=unix:PATH` a Unix socket, for a proxy on the same machine.
//! On Ctrl-C or SIGTERM it takes no new requests and lets the running ones finish.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an app logs there")]

use std::net::Ipv4Addr;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};

const PORT_DEFAULT: u16 = 3000;

/// What the value of `LISTEN` starts with.
const UNIX_PREFIX: &str = "unix:";

/// How long running requests may take to finish: feeds and chats have no end of their own.
const SHUTDOWN_TIME_MAX: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() -> ExitCode {
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<(), Box<dyn std::error::Error>> {
    let socket = read_socket()?;
    let port = read_port()?;
    let app = example_app::app()?;
    if let Some(path) = socket {
        let listener = bind_unix(&path)
            .map_err(|error| format!("cannot listen on the Unix socket {}: {error}", path.display()))?;
        println!("The guest book is open at {UNIX_PREFIX}{}", path.display());
        return serve_on(listener, app).await;
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .map_err(|error| format!("cannot listen on port {port}: {error}"))?;
    println!("The guest book is open at http://{}/", listener.local_addr()?);
    serve_on(listener, app).await
}

async fn serve_on<L: Listener>(listener: L, app: Router) -> Result<(), Box<dyn std::error::Error>>
where
    L::Addr: std::fmt::Debug,
{
    let server = axum::serve(listener, app).with_graceful_shutdown(wait_for_signal());
    tokio::select! {
        result = server => result?,
        () = async { wait_for_signal().await; tokio::time::sleep(SHUTDOWN_TIME_MAX).await } => {}
    }
    Ok(())
}

/// The Unix socket to listen on, if that is asked for.
fn read_socket() -> Result<Option<PathBuf>, String> {
    let Ok(text) = std::env::var("LISTEN") else { return Ok(None) };
    match text.strip_prefix(UNIX_PREFIX) {
        Some(path) if !path.is_empty() => Ok(Some(path.into())),
        _ => Err(format!("LISTEN must be {UNIX_PREFIX}PATH, not {text:?}")),
    }
}

/// A socket that an earlier run has left is removed; anything else at its path is somebody's file. It is not removed at the
/// end, when it may belong to a successor.
fn bind_unix(path: &Path) -> std::io::Result<UnixListener> {
    if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        std::fs::remove_file(path)?;
    }
    UnixListener::bind(path)
}

fn read_port() -> Result<u16, String> {
    match std::env::var("PORT") {
        Ok(text) => text.parse().map_err(|_| format!("PORT must be a number up to 65535, not {text:?}")),
        Err(_) => Ok(PORT_DEFAULT),
    }
}

async fn wait_for_signal() {
    let mut terminate = signal(SignalKind::terminate()).expect("a runtime with signals is running");
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
