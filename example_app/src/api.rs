//! The JSON side of the book. Every answer is JSON, including refusals: `{"error": "…"}`, with `"fields"` if single fields are
//! to blame.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::Board;
use crate::entry::{Complaints, Draft, Entry};
use crate::error::Error;

const LIST_DEFAULT_ENTRIES: u32 = 50;
const LIST_MAX_ENTRIES: u32 = 200;

/// Why a request was turned away.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    body: RefusalBody,
}

#[derive(Debug, Serialize)]
struct RefusalBody {
    error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<Complaints>,
}

impl Refusal {
    /// A refusal that no single field is to blame for.
    pub(crate) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, body: RefusalBody { error: error.into(), fields: None } }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        eprintln!("error: {error}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Something went wrong.")
    }
}

impl From<Complaints> for Refusal {
    fn from(complaints: Complaints) -> Self {
        let mut refusal = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "The entry was not accepted.");
        refusal.body.fields = Some(complaints);
        refusal
    }
}

impl From<JsonRejection> for Refusal {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

impl From<QueryRejection> for Refusal {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

impl From<PathRejection> for Refusal {
    fn from(rejection: PathRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

/// Which entries to list.
#[derive(Debug, Deserialize)]
pub(crate) struct Range {
    before: Option<i64>,
    limit: Option<u32>,
}

/// A list of entries, newest first.
#[derive(Debug, Serialize)]
pub(crate) struct List {
    entries: Vec<Entry>,
    /// The number of all entries.
    total: i64,
}

/// `GET /api/entries?limit=N&before=ID`.
pub(crate) async fn list_entries(
    State(board): State<Board>,
    range: Result<Query<Range>, QueryRejection>,
) -> Result<Json<List>, Refusal> {
    let Query(range) = range?;
    let limit = range.limit.unwrap_or(LIST_DEFAULT_ENTRIES);
    if !(1..=LIST_MAX_ENTRIES).contains(&limit) {
        let text = format!("limit must be from 1 to {LIST_MAX_ENTRIES}.");
        return Err(Refusal::new(StatusCode::BAD_REQUEST, text));
    }
    let entries = board.store.list_before(range.before.unwrap_or(i64::MAX), limit).await?;
    Ok(Json(List { entries, total: board.store.count().await? }))
}

/// `GET /api/entries/{id}`.
pub(crate) async fn get_entry(
    State(board): State<Board>,
    id: Result<Path<i64>, PathRejection>,
) -> Result<Json<Entry>, Refusal> {
    let Path(id) = id?;
    let entry = board.store.get(id).await?;
    entry.map(Json).ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, format!("There is no entry {id}.")))
}

/// `POST /api/entries` with `{"name", "message"}`.
pub(crate) async fn add_entry(
    State(board): State<Board>,
    draft: Result<Json<Draft>, JsonRejection>,
) -> Result<Response, Refusal> {
    let Json(draft) = draft?;
    let entry = board.store.add(draft.check()?).await?;
    let place = format!("/api/entries/{}", entry.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, place)], Json(entry)).into_response())
}

/// Which code answers.
#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "the names of the JSON")]
pub(crate) struct Version {
    name: &'static str,
    version: &'static str,
    /// The process that answers, a new one after each reload.
    pid: u32,
}

/// `GET /api/version`.
pub(crate) async fn show_version() -> Json<Version> {
    Json(Version {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        pid: std::process::id(),
    })
}

/// Every other address under `/api/`.
pub(crate) async fn refuse_unknown_path(address: Uri) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, format!("There is no {}.", address.path()))
}
