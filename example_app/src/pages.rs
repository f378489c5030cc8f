//! The pages that people look at: the book with its form, and the page for a wrong address.

use axum::extract::rejection::FormRejection;
use axum::extract::{Form, Query, State};
use axum::http::{StatusCode, Uri};
use axum::response::{Html, IntoResponse, Redirect, Response};
use minijinja::{Value, context};
use serde::Deserialize;

use crate::Board;
use crate::entry::{Complaints, Draft, Entry, MESSAGE_MAX_CHARS, NAME_MAX_CHARS};
use crate::error::Error;

/// The heading of the book: change it, save, and look at the page.
const HEADING: &str = "The guest book";

const INTRODUCTION: &str = "You were here. Leave a line for whoever comes next.";

/// How many entries a page shows.
const PAGE_MAX_ENTRIES: u32 = 20;

/// Which part of the book to show.
#[derive(Debug, Deserialize)]
pub(crate) struct Place {
    /// Only entries older than this one.
    before: Option<i64>,
}

/// `GET /`: the newest entries and the form, or older entries with `?before=ID`.
pub(crate) async fn show_book(
    State(board): State<Board>,
    Query(place): Query<Place>,
) -> Result<Html<String>, Error> {
    render_book(&board, place.before, &Draft::default(), &Complaints::default()).await
}

/// `POST /entries`: signs the book and goes back to it, or shows the form again with what is wrong.
pub(crate) async fn sign_book(
    State(board): State<Board>,
    form: Result<Form<Draft>, FormRejection>,
) -> Result<Response, Error> {
    let Form(draft) = match form {
        Ok(form) => form,
        Err(rejection) => {
            let page = render_notice(&board, "That was no form", &rejection.body_text())?;
            return Ok((rejection.status(), page).into_response());
        }
    };
    match draft.check() {
        Ok(checked) => {
            let entry = board.store.add(checked).await?;
            Ok(Redirect::to(&format!("/#entry-{}", entry.id)).into_response())
        }
        Err(complaints) => {
            let page = render_book(&board, None, &draft, &complaints).await?;
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
        }
    }
}

/// Every address that nothing else answers.
pub(crate) async fn show_missing(State(board): State<Board>, address: Uri) -> Result<Response, Error> {
    let page = render_notice(&board, "Nothing on this page", &format!("There is no {}.", address.path()))?;
    Ok((StatusCode::NOT_FOUND, page).into_response())
}

async fn render_book(
    board: &Board,
    before: Option<i64>,
    draft: &Draft,
    complaints: &Complaints,
) -> Result<Html<String>, Error> {
    let entries = board.store.list_before(before.unwrap_or(i64::MAX), PAGE_MAX_ENTRIES).await?;
    let oldest = entries.last().map_or(0, |entry| entry.id);
    let has_older = !board.store.list_before(oldest, 1).await?.is_empty();
    let values = context! {
        heading => HEADING,
        introduction => INTRODUCTION,
        count => board.store.count().await?,
        latest => entries.first().map_or(0, |entry| entry.id),
        older => has_older.then_some(oldest),
        is_newest => before.is_none(),
        entries => entries.iter().map(describe).collect::<Vec<_>>(),
        blank => describe(&Entry { id: 0, name: String::new(), message: String::new(), written_at: String::new() }),
        draft => context!(name => &draft.name, message => &draft.message),
        complaints => context!(name => &complaints.name, message => &complaints.message),
        limits => context!(name => NAME_MAX_CHARS, message => MESSAGE_MAX_CHARS),
    };
    board.templates.render("book.html", values)
}

fn render_notice(board: &Board, title: &str, text: &str) -> Result<Html<String>, Error> {
    board.templates.render("notice.html", context!(title, text))
}

fn describe(entry: &Entry) -> Value {
    context! {
        id => entry.id,
        name => &entry.name,
        message => &entry.message,
        written_at => &entry.written_at,
    }
}
