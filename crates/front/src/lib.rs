//! The front: an actix-web server that owns the port for the life of devhost.
//!
//! A request passes the host check, then goes to one of the front's own endpoints (`/__devhost/…`) or through
//! the gate to the current generation. Only this crate and the runner know actix. The front builds nothing
//! and starts no process. The runner decides about generations: it operates the [`Gate`](gate::Gate) and
//! informs open pages through the [`Hub`].
#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]

mod ansi;
mod body;
mod caching;
mod client_gone;
mod context;
mod csp;
mod endpoints;
mod files;
pub mod gate;
mod headers;
pub mod host;
mod html;
mod inbound;
mod inject;
mod live_reload;
pub mod origin;
mod pages;
mod prolog;
mod proxy;
#[cfg(any(test, feature = "testing"))]
pub mod samples;
mod server;
mod slots;
mod sniff;
mod unpack;
pub mod upstream;
mod websocket;
mod words;

#[cfg(test)]
mod tests;

pub use live_reload::Hub;
pub use server::{FrontConfig, Server, serve};
