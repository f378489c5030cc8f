//! The safe Rust API: apps ([`app`]), their requests and responses ([`body`], [`response`]), and the adapter
//! that puts an app behind the C functions ([`adapter`]). All of it is compiled here, once; the app's own
//! crate only instantiates a thin shell around its service. Raw pointers stay in [`host`], [`adapter`] and
//! [`request`].

pub(crate) mod adapter;
mod answer;
pub(crate) mod app;
pub(crate) mod body;
pub(crate) mod error;
mod exchange;
mod host;
mod lock;
mod panics;
pub(crate) mod request;
pub(crate) mod response;
mod stream;
mod upgrade;
