//! The course of one request, as one task, which `cancel` aborts: the app answers, the answer goes to the
//! host, and the response ends whatever happens.

use std::sync::Arc;

use http::Method;

use crate::abi;

use super::answer::{answer, send};
use super::app::{App, Request};
use super::host::Refusal;
use super::panics::Catch;
use super::request::Disposition;
use super::stream::Stream;
use super::upgrade;

/// Answers a request, ending the response in every case.
pub(crate) async fn run(app: App, stream: Arc<Stream>, disposition: Disposition) {
    let stream_of_task = stream.clone();
    let outcome = Catch::new(async move {
        let stream = stream_of_task;
        match disposition {
            Disposition::Serve(request) => serve(&app, &stream, request).await,
            Disposition::ServeUpgrade(request) => upgrade::serve(app, &stream, request).await,
            Disposition::Refuse(response) => send(&stream, response, true).await,
        }
    })
    .await;
    match outcome {
        // With `Over`, nobody is left to be told.
        Ok(Ok(()) | Err(Refusal::Over)) => {}
        Ok(Err(refusal)) => {
            let message = format!("the host refused a response: {refusal:?}");
            stream.host().log(abi::LOG_ERROR, &message);
            stream.reset();
        }
        Err(report) => {
            let _ = stream.respond_panic(&report);
        }
    }
}

async fn serve(app: &App, stream: &Stream, request: Request) -> Result<(), Refusal> {
    let is_head = request.method() == Method::HEAD;
    let response = answer(app, request, stream).await;
    send(stream, response, !is_head).await
}
