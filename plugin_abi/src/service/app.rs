//! What can be exported: each accepted form of a function becomes an [`App`], a service behind a pointer. The
//! app's own crate instantiates only the generic code here, so it stays small.

use std::fmt::Display;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tower_service::Service;

use super::body::Body;
use super::error::AppError;
use super::lock::lock;
use super::panics::{self, PanicReport};
use super::response::{IntoResponse, Response};

/// A request to an app.
pub type Request = http::Request<Body>;

/// A response, or the text of the service's error.
pub(crate) type Reply = Pin<Box<dyn Future<Output = Result<Response, AppError>> + Send>>;

trait Serve: Send + Sync {
    fn call(&self, request: Request) -> Reply;
}

/// A loaded app.
#[derive(Clone)]
pub struct App(Arc<dyn Serve>);

impl App {
    pub(crate) fn call(&self, request: Request) -> Reply {
        self.0.call(request)
    }
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("App")
    }
}

/// An app being made, perhaps by an async function.
pub enum Loading {
    /// The function has returned.
    Done(Result<App, AppError>),
    /// The function is async.
    Future(Pin<Box<dyn Future<Output = Result<App, AppError>>>>),
}

impl std::fmt::Debug for Loading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Loading")
    }
}

/// A [`tower_service::Service`] that can be an app: it takes a [`Request`], answers with any body of
/// [`Bytes`], and its error implements `Display`. Implemented for all that fit, such as an axum `Router`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no service that devhost can run",
    note = "it must implement `tower_service::Service<devhost_plugin::Request> + Clone + Send + 'static`, \
            answer with an `http::Response` and have an error that implements `Display`; an axum `Router` does \
            once it has its state (`with_state`)"
)]
pub trait AppService: Clone + Send + 'static {
    /// Puts the service behind a pointer.
    fn into_app(self) -> App;
}

impl<S, B> AppService for S
where
    S: Service<Request, Response = http::Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Display,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Display,
{
    fn into_app(self) -> App {
        App(Arc::new(ServiceApp(Mutex::new(self))))
    }
}

/// Cloned for each request, as in hyper. The mutex makes it `Sync`, which a service need not be.
struct ServiceApp<S>(Mutex<S>);

impl<S, B> Serve for ServiceApp<S>
where
    S: Service<Request, Response = http::Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Display,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Display,
{
    fn call(&self, request: Request) -> Reply {
        let mut service = lock(&self.0).clone();
        Box::pin(async move {
            poll_fn(|cx| service.poll_ready(cx)).await.map_err(|error| AppError::new(error.to_string()))?;
            let response = service.call(request).await.map_err(|error| AppError::new(error.to_string()))?;
            Ok(response.map(Body::new))
        })
    }
}

struct HandlerApp<F>(Arc<F>);

impl<F, R> Serve for HandlerApp<F>
where
    F: Fn(Request) -> R + Send + Sync + 'static,
    R: IntoResponse,
{
    fn call(&self, request: Request) -> Reply {
        let handler = self.0.clone();
        Box::pin(run_blocking(Box::new(move || handler(request).into_response())))
    }
}

/// Runs a synchronous handler on a thread where it may block.
async fn run_blocking(handler: Box<dyn FnOnce() -> Response + Send>) -> Result<Response, AppError> {
    /// Cancels a handler that has not begun when the client leaves.
    struct AbortOnDrop(tokio::task::JoinHandle<Result<Response, PanicReport>>);
    impl Drop for AbortOnDrop {
        fn drop(&mut self) {
            self.0.abort();
        }
    }
    let mut task = AbortOnDrop(tokio::task::spawn_blocking(move || panics::catch(handler)));
    match (&mut task.0).await {
        Ok(Ok(response)) => Ok(response),
        // The report continues as a panic payload to the poller of this request.
        Ok(Err(report)) => std::panic::resume_unwind(Box::new(report)),
        Err(error) => Err(AppError::new(format!("the handler did not run: {error}"))),
    }
}

struct AsyncHandlerApp<F>(F);

impl<F, Fut, R> Serve for AsyncHandlerApp<F>
where
    F: Fn(Request) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = R> + Send + 'static,
    R: IntoResponse,
{
    fn call(&self, request: Request) -> Reply {
        let response = (self.0)(request);
        Box::pin(async move { Ok(response.await.into_response()) })
    }
}

/// The forms accepted by [`export!`](crate::export). `Form` tells them apart and is always inferred.
#[diagnostic::on_unimplemented(
    message = "devhost cannot run `{Self}` as an app",
    label = "not one of the forms that `devhost_plugin::export!` accepts",
    note = "accepted are functions without arguments, `async` or not, that return a service (an axum `Router` \
            with its state, any `tower::Service`) or a `Result` of one, and handlers \
            `fn(devhost_plugin::Request) -> impl devhost_plugin::IntoResponse`, `async` or not",
    note = "a service must be `Clone + Send + 'static`, and errors must implement `Display`"
)]
pub trait IntoApp<Form> {
    /// Calls the function, or wraps the handler.
    fn load(self) -> Loading;
}

/// Names for the forms of [`IntoApp`].
pub mod form {
    use std::marker::PhantomData;

    /// `fn() -> Service`.
    #[derive(Debug)]
    pub struct Factory<S>(PhantomData<S>);
    /// `fn() -> Result<Service, Error>`.
    #[derive(Debug)]
    pub struct FallibleFactory<S, E>(PhantomData<(S, E)>);
    /// `async fn() -> Service`.
    #[derive(Debug)]
    pub struct AsyncFactory<F, S>(PhantomData<(F, S)>);
    /// `async fn() -> Result<Service, Error>`.
    #[derive(Debug)]
    pub struct AsyncFallibleFactory<F, S, E>(PhantomData<(F, S, E)>);
    /// `fn(Request) -> Response`.
    #[derive(Debug)]
    pub struct Handler<R>(PhantomData<R>);
    /// `async fn(Request) -> Response`.
    #[derive(Debug)]
    pub struct AsyncHandler<F, R>(PhantomData<(F, R)>);
}

impl<F, S> IntoApp<form::Factory<S>> for F
where
    F: FnOnce() -> S,
    S: AppService,
{
    fn load(self) -> Loading {
        Loading::Done(Ok(self().into_app()))
    }
}

impl<F, S, E> IntoApp<form::FallibleFactory<S, E>> for F
where
    F: FnOnce() -> Result<S, E>,
    S: AppService,
    E: Display,
{
    fn load(self) -> Loading {
        Loading::Done(finish_load(self()))
    }
}

impl<F, Fut, S> IntoApp<form::AsyncFactory<Fut, S>> for F
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = S> + 'static,
    S: AppService,
{
    fn load(self) -> Loading {
        let service = self();
        Loading::Future(Box::pin(async move { Ok(service.await.into_app()) }))
    }
}

impl<F, Fut, S, E> IntoApp<form::AsyncFallibleFactory<Fut, S, E>> for F
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<S, E>> + 'static,
    S: AppService,
    E: Display,
{
    fn load(self) -> Loading {
        let service = self();
        Loading::Future(Box::pin(async move { finish_load(service.await) }))
    }
}

impl<F, R> IntoApp<form::Handler<R>> for F
where
    F: Fn(Request) -> R + Send + Sync + 'static,
    R: IntoResponse,
{
    fn load(self) -> Loading {
        Loading::Done(Ok(App(Arc::new(HandlerApp(Arc::new(self))))))
    }
}

impl<F, Fut, R> IntoApp<form::AsyncHandler<Fut, R>> for F
where
    F: Fn(Request) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = R> + Send + 'static,
    R: IntoResponse,
{
    fn load(self) -> Loading {
        Loading::Done(Ok(App(Arc::new(AsyncHandlerApp(self)))))
    }
}

/// The alternate form also shows the causes of anyhow's errors.
fn finish_load<S: AppService, E: Display>(service: Result<S, E>) -> Result<App, AppError> {
    service.map(AppService::into_app).map_err(|error| AppError::new(format!("{error:#}")))
}
