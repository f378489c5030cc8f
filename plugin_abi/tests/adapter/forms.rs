//! Every form of function that `export!` accepts, and starts that fail.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::task::{Context, Poll};

use axum::Router;
use axum::routing::get;
use devhost_plugin::{Body, Bytes, IntoResponse, Request, Response, http::StatusCode};

use crate::fake_host::{Acceptance, FakeHost};

macro_rules! start {
    ($app:expr) => {
        FakeHost::start(devhost_plugin::__descriptor!($app), Acceptance::All)
    };
}

fn body_of_root(host: Result<&'static FakeHost, Vec<String>>) -> String {
    let host = host.expect("the app starts");
    let exchange = host.get("/");
    assert_eq!(exchange.status, Some(200));
    host.stop();
    exchange.text()
}

fn router(text: &'static str) -> Router {
    Router::new().route("/", get(async move || text))
}

fn factory() -> Router {
    router("factory")
}

#[expect(clippy::unnecessary_wraps, reason = "the form of the function is what is tested")]
fn fallible_factory() -> Result<Router, std::io::Error> {
    Ok(router("fallible factory"))
}

async fn async_factory() -> Router {
    tokio::task::yield_now().await;
    router("async factory")
}

async fn async_fallible_factory() -> Result<Router, Box<dyn std::error::Error>> {
    Ok(router("async fallible factory"))
}

#[derive(Clone)]
struct BareService;

impl tower_service::Service<Request> for BareService {
    type Response = devhost_plugin::http::Response<String>;
    type Error = String;
    type Future = Ready<Result<Self::Response, String>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), String>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        ready(match request.uri().path() {
            "/" => Ok(devhost_plugin::http::Response::new("bare service".into())),
            _ => Err("no such thing".into()),
        })
    }
}

fn service() -> BareService {
    BareService
}

#[expect(clippy::needless_pass_by_value, reason = "the form of the function is what is tested")]
fn handler(request: Request) -> Response {
    format!("handler for {}", request.method()).into_response()
}

fn text_handler(_: Request) -> &'static str {
    "text handler"
}

async fn async_handler(_: Request) -> Result<(StatusCode, Vec<u8>), Never> {
    Ok((StatusCode::OK, b"async handler".to_vec()))
}

enum Never {}

impl IntoResponse for Never {
    fn into_response(self) -> Response {
        match self {}
    }
}

#[test]
fn every_form_of_app_serves() {
    assert_eq!(body_of_root(start!(factory)), "factory");
    assert_eq!(body_of_root(start!(fallible_factory)), "fallible factory");
    assert_eq!(body_of_root(start!(async_factory)), "async factory");
    assert_eq!(body_of_root(start!(async_fallible_factory)), "async fallible factory");
    assert_eq!(body_of_root(start!(service)), "bare service");
    assert_eq!(body_of_root(start!(handler)), "handler for GET");
    assert_eq!(body_of_root(start!(text_handler)), "text handler");
    assert_eq!(body_of_root(start!(async_handler)), "async handler");
    assert_eq!(body_of_root(start!(|| router("closure"))), "closure");
}

#[test]
fn the_error_of_a_service_is_a_500_with_its_text() {
    let host = start!(service).expect("the app starts");
    let exchange = host.get("/other");
    assert_eq!(exchange.status, Some(500));
    assert!(exchange.text().contains("no such thing"), "{}", exchange.text());
    host.stop();
}

#[test]
fn a_factory_may_spawn_tasks_and_run_a_runtime_of_its_own() {
    fn app() -> Router {
        tokio::spawn(async {});
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let text = runtime.block_on(async { "made by another runtime" });
        router(text)
    }
    assert_eq!(body_of_root(start!(app)), "made by another runtime");
}

fn reason(host: Result<&'static FakeHost, Vec<String>>) -> String {
    let logs = host.err().expect("the app does not start");
    logs.last().expect("a reason").clone()
}

#[test]
fn a_start_that_fails_tells_why() {
    fn failing() -> Result<Router, String> {
        Err("cannot open guests.db".into())
    }
    async fn async_failing() -> Result<Router, std::io::Error> {
        Err(std::io::Error::other("no database"))
    }
    assert_eq!(reason(start!(failing)), "the app failed to start: cannot open guests.db");
    assert_eq!(reason(start!(async_failing)), "the app failed to start: no database");
}

#[test]
fn a_start_that_panics_tells_why_and_where() {
    fn panicking() -> Router {
        panic!("no configuration")
    }
    async fn async_panicking() -> Router {
        panic!("no configuration")
    }
    for reason in [reason(start!(panicking)), reason(start!(async_panicking))] {
        assert!(reason.contains("no configuration"), "{reason}");
        assert!(reason.contains("forms.rs:"), "{reason}");
    }
}

#[test]
fn a_synchronous_handler_reads_and_streams_bodies() {
    struct Counting(u8);
    impl http_body::Body for Counting {
        type Data = Bytes;
        type Error = Infallible;
        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
            self.0 += 1;
            let piece = Bytes::from(format!("{} ", self.0));
            Poll::Ready((self.0 <= 3).then_some(Ok(http_body::Frame::data(piece))))
        }
    }
    fn app(request: Request) -> Response {
        match request.uri().path() {
            "/count" => Response::new(Body::new(Counting(0))),
            "/limited" => match request.into_body().read(4) {
                Ok(body) => body.into_response(),
                Err(error) => (StatusCode::PAYLOAD_TOO_LARGE, error.to_string()).into_response(),
            },
            _ => {
                let mut text = String::new();
                std::io::Read::read_to_string(&mut request.into_body().reader(), &mut text).expect("a body");
                text.to_uppercase().into_response()
            }
        }
    }
    let host = start!(app).expect("the app starts");
    assert_eq!(host.get("/count").text(), "1 2 3 ");

    let stream = host.request(crate::fake_host::Request::post("/upper", -1));
    host.send(stream, b"one ", false);
    host.send(stream, b"two", true);
    let exchange = host.wait_done(stream);
    assert_eq!((exchange.text().as_str(), exchange.header("content-length")), ("ONE TWO", Some("7")));

    for (body, status) in [("four", 200), ("fives", 413)] {
        let stream = host.request(crate::fake_host::Request::post("/limited", -1));
        host.send(stream, body.as_bytes(), true);
        assert_eq!(host.wait_done(stream).status, Some(status));
    }
    host.stop();
}

/// Inference must not depend on the value being a function item.
#[test]
fn forms_are_inferred_for_function_pointers_too() {
    fn accepts<Form>(_: impl devhost_plugin::IntoApp<Form>) {}
    accepts(factory as fn() -> Router);
    accepts(handler as fn(Request) -> Response);
    accepts(async_factory);
    let boxed: Box<dyn Fn(Request) -> String + Send + Sync> = Box::new(|_| String::new());
    accepts(boxed);
    fn returns_future() -> impl Future<Output = Router> {
        async_factory()
    }
    accepts(returns_future);
}
