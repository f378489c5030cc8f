//! Connects a Rust web app to `devhost`: on each save the app is built as a shared library and loaded into a
//! fresh process, where this crate links it to the development server. In production the same code runs as an
//! ordinary binary, with nothing of devhost in it.
//!
//! # Making an app a plugin app
//!
//! 1. Add this crate. It is part of the devhost repository:
//!
//!    ```toml
//!    [dependencies]
//!    axum = "0.8"
//!    devhost-plugin = { path = "../devhost/plugin_abi" }
//!    tokio = { version = "1", features = ["macros", "net", "rt-multi-thread"] }
//!    ```
//!
//! 2. Give the package a library, `src/lib.rs`, with a function that makes the app, and export it:
//!
//!    ```
//!    use axum::{Router, routing::get};
//!
//!    pub fn app() -> Router {
//!        Router::new().route("/", get(async || "Hello!"))
//!    }
//!
//!    devhost_plugin::export!(app);
//!    ```
//!
//! 3. For production, keep an ordinary `src/main.rs` that knows nothing of devhost:
//!
//!    ```no_run
//!    # mod my_app { pub fn app() -> axum::Router { axum::Router::new() } }
//!    #[tokio::main]
//!    async fn main() -> std::io::Result<()> {
//!        let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//!        axum::serve(listener, my_app::app()).await
//!    }
//!    ```
//!
//! Then `devhost run .` serves it. No crate type, feature or build script needs to be set.
//!
//! # What can be exported
//!
//! A function without arguments that returns a service: an axum `Router` with its state, or any
//! [`tower_service::Service`] of [`Request`] that is `Clone + Send + 'static`. It may be `async`, and may
//! return a `Result`: an error is shown in the terminal and the browser, and the last good code keeps
//! serving.
//!
//! ```
//! # struct Database;
//! # impl Database { async fn open(_: &str) -> Result<Self, std::io::Error> { Ok(Self) } }
//! async fn app() -> Result<axum::Router, std::io::Error> {
//!     let database = std::sync::Arc::new(Database::open("guests.db").await?);
//!     Ok(axum::Router::new().with_state(database))
//! }
//!
//! devhost_plugin::export!(app);
//! ```
//!
//! Or a plain handler, `async` or not, that takes a [`Request`] and returns something that implements
//! [`IntoResponse`]. A handler that is not `async` may block: it runs on a blocking thread.
//!
//! ```
//! use devhost_plugin::{IntoResponse, Request, http::StatusCode};
//!
//! const BODY_BYTES_MAX: usize = 1024 * 1024;
//!
//! fn handle(request: Request) -> impl IntoResponse {
//!     match request.uri().path() {
//!         "/" => (StatusCode::OK, "Hello!".to_owned()),
//!         "/length" => match request.into_body().read(BODY_BYTES_MAX) {
//!             Ok(body) => (StatusCode::OK, format!("{} bytes", body.len())),
//!             Err(error) => (StatusCode::BAD_REQUEST, error.to_string()),
//!         },
//!         path => (StatusCode::NOT_FOUND, format!("There is no {path}")),
//!     }
//! }
//!
//! devhost_plugin::export!(handle);
//! # use devhost_plugin::Body;
//! # let response = handle(Request::new(Body::empty())).into_response();
//! # assert_eq!(response.status(), StatusCode::OK);
//! ```
//!
//! # How it runs
//!
//! - The app runs in a tokio runtime of its own, also while the exported function runs, which may spawn tasks.
//! - Bodies are streamed in both directions, with back-pressure. When the client goes away, the handler's future is
//!   dropped.
//! - A panic in a handler becomes an error page with message, location and backtrace; the app keeps running.
//! - WebSocket upgrades work as they do under hyper.
//! - The client's address is a [`Remote`] among the request's extensions.
//!
//! # Plugins in other languages
//!
//! The boundary is C: `include/devhost_plugin.h` is its reference, [`abi`] its Rust version, and
//! [`negotiation`] is what each side checks before it trusts the other. With `default-features = false` only
//! these are compiled.

#![deny(missing_docs)]

pub mod abi;
#[cfg(feature = "service")]
mod export;
#[cfg(test)]
mod layout;
pub mod negotiation;
#[cfg(feature = "service")]
mod service;

pub use abi::PACKAGE_NAME;
#[cfg(feature = "service")]
pub use bytes::Bytes;
#[cfg(feature = "service")]
pub use http;

#[cfg(feature = "service")]
pub use service::{
    app::{App, AppService, IntoApp, Request},
    body::{Body, BodyReader},
    error::BodyError,
    request::Remote,
    response::{IntoResponse, Response},
};

/// Used by the macros. Not part of the API.
#[cfg(feature = "service")]
#[doc(hidden)]
pub mod __private {
    pub use crate::abi::Descriptor;
    pub use crate::service::adapter::{Plugin, descriptor};
    pub use crate::service::app::{Loading, form};
}
