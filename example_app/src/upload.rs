//! `/upload`: takes a body of any length and answers with its size and checksum. The bytes are counted as they
//! pass and never held, so memory stays the same for a terabyte.
//!
//! `POST` takes what a form sends (`multipart/form-data`, any number of files) or a bare body; `PUT` is the
//! same, for `curl -T file http://…/upload`.

use axum::Json;
use axum::body::Body;
use axum::extract::multipart::MultipartError;
use axum::extract::{FromRequest, Multipart, Request, State};
use axum::http::{StatusCode, header};
use axum::response::Html;
use futures_util::StreamExt;
use minijinja::context;
use serde::Serialize;

use crate::Board;
use crate::api::Refusal;
use crate::error::Error;

/// How many files one form may send.
const FORM_MAX_FILES: usize = 1_000;

/// What came.
#[derive(Debug, Serialize)]
pub(crate) struct Receipt {
    /// All files together.
    bytes: u64,
    /// In the order of sending; a bare body is one file without a name.
    files: Vec<ReceivedFile>,
}

#[derive(Debug, Serialize)]
struct ReceivedFile {
    name: Option<String>,
    bytes: u64,
    /// CRC-32 as in zip and gzip, eight hexadecimal digits.
    crc32: String,
}

/// `GET /upload`: the page.
pub(crate) async fn show(State(board): State<Board>) -> Result<Html<String>, Error> {
    board.templates.render("upload.html", context!())
}

/// `POST /upload` and `PUT /upload`.
pub(crate) async fn receive(request: Request) -> Result<Json<Receipt>, Refusal> {
    let files = if is_form(&request) {
        let form = Multipart::from_request(request, &())
            .await
            .map_err(|rejection| Refusal::new(rejection.status(), rejection.body_text()))?;
        receive_form(form).await?
    } else {
        vec![receive_body(request.into_body()).await?]
    };
    Ok(Json(Receipt { bytes: files.iter().map(|file| file.bytes).sum(), files }))
}

fn is_form(request: &Request) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.to_ascii_lowercase().starts_with("multipart/form-data"))
}

async fn receive_body(body: Body) -> Result<ReceivedFile, Refusal> {
    let mut tally = Tally::default();
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error.to_string()))?;
        tally.add(&chunk);
    }
    Ok(tally.finish(None))
}

async fn receive_form(mut form: Multipart) -> Result<Vec<ReceivedFile>, Refusal> {
    let refuse = |error: MultipartError| Refusal::new(error.status(), error.body_text());
    let mut files = Vec::new();
    while let Some(mut field) = form.next_field().await.map_err(refuse)? {
        // Fields that are no files, and the file field when no file was chosen, have no file name.
        let Some(name) = field.file_name().filter(|name| !name.is_empty()).map(str::to_owned) else {
            continue;
        };
        if files.len() == FORM_MAX_FILES {
            let text = format!("At most {FORM_MAX_FILES} files at once.");
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, text));
        }
        let mut tally = Tally::default();
        while let Some(chunk) = field.chunk().await.map_err(refuse)? {
            tally.add(&chunk);
        }
        files.push(tally.finish(Some(name)));
    }
    if files.is_empty() {
        return Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "There was no file in the form."));
    }
    Ok(files)
}

#[derive(Default)]
struct Tally {
    bytes: u64,
    checksum: crc32fast::Hasher,
}

impl Tally {
    fn add(&mut self, chunk: &[u8]) {
        self.bytes += chunk.len() as u64;
        self.checksum.update(chunk);
    }

    fn finish(self, name: Option<String>) -> ReceivedFile {
        ReceivedFile { name, bytes: self.bytes, crc32: format!("{:08x}", self.checksum.finalize()) }
    }
}
