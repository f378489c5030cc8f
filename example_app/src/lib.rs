//! A guest book: people sign it, see each other's entries arrive, chat, and upload files.
//!
//! The library is the whole app; `main.rs` only gives it a port. Under devhost the entry point is the line with `export!`
//! instead, which is all that this app knows about devhost. Templates and static files are read from the source folder at run
//! time; the entries are kept in one `SQLite` file.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an app logs there")]

mod api;
mod chat;
mod entry;
mod error;
mod feed;
mod pages;
mod store;
mod templates;
mod trouble;
mod upload;

use std::path::{Path, PathBuf};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use tower_http::services::ServeDir;

pub use error::Error;

/// The folder of this crate's sources, where templates and static files are.
const SOURCE_FOLDER: &str = env!("CARGO_MANIFEST_DIR");

/// The environment variable that names the folder for the database.
const DATA_VARIABLE: &str = "EXAMPLE_APP_DATA";

/// What the handlers share. Cheap to clone.
#[derive(Debug, Clone)]
struct Board {
    store: store::Store,
    templates: templates::Templates,
    room: chat::Room,
}

/// Makes the app, with its data in the folder named by `EXAMPLE_APP_DATA`, by default `data/` beside the sources.
///
/// # Errors
///
/// The database cannot be opened.
pub fn app() -> Result<Router, Error> {
    let data =
        std::env::var_os(DATA_VARIABLE).map_or_else(|| Path::new(SOURCE_FOLDER).join("data"), PathBuf::from);
    app_with_data(&data)
}

devhost_plugin::export!(app);

/// Makes the app, with its data in the given folder, which is created if it is missing.
///
/// # Errors
///
/// The database cannot be opened.
pub fn app_with_data(data: &Path) -> Result<Router, Error> {
    let source = Path::new(SOURCE_FOLDER);
    let board = Board {
        store: store::Store::open(data)?,
        templates: templates::Templates::new(source.join("templates")),
        room: chat::Room::new(),
    };
    let uploads = get(upload::show).post(upload::receive).put(upload::receive);
    let app = Router::new()
        .route("/", get(pages::show_book))
        .route("/entries", post(pages::sign_book))
        .route("/api/entries", get(api::list_entries).post(api::add_entry))
        .route("/api/entries/{id}", get(api::get_entry))
        .route("/api/version", get(api::show_version))
        .route("/api/{*rest}", axum::routing::any(api::refuse_unknown_path))
        .route("/feed", get(feed::follow))
        .route("/ws", get(chat::join))
        // An upload is counted as it passes and never stored, so it needs no limit.
        .route("/upload", uploads.layer(DefaultBodyLimit::disable()))
        .route("/slow", get(trouble::respond_slowly))
        .route("/panic", get(trouble::panic_on_purpose))
        .route("/crash", get(trouble::crash_on_purpose))
        .nest_service("/static", ServeDir::new(source.join("static")))
        .route("/favicon.ico", get(|| async { axum::response::Redirect::permanent("/static/logo.svg") }))
        .fallback(pages::show_missing)
        .with_state(board);
    Ok(app)
}
