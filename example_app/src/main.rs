//! The guest book as an ordinary server, for production or for a look without devhost: `PORT` names the port.
//! On Ctrl-C or SIGTERM it takes no new requests and lets the running ones finish.

use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

const PORT_DEFAULT: u16 = 3000;

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
    let port = read_port()?;
    let app = example_app::app()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .map_err(|error| format!("cannot listen on port {port}: {error}"))?;
    println!("The guest book is open at http://{}/", listener.local_addr()?);

    let server = axum::serve(listener, app).with_graceful_shutdown(wait_for_signal());
    tokio::select! {
        result = server => result?,
        () = async { wait_for_signal().await; tokio::time::sleep(SHUTDOWN_TIME_MAX).await } => {}
    }
    Ok(())
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
