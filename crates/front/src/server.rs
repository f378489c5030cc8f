//! The server: limits, configuration and dispatch of requests.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use actix_http::{HttpService, KeepAlive};
use actix_service::{IntoServiceFactory, ServiceFactoryExt, map_config};
use actix_web::dev::{AppConfig, ServerHandle, Service, fn_service};
use actix_web::rt::net::TcpStream;
use actix_web::{App, HttpRequest, HttpResponse, web};
use tokio::runtime::Handle;

use super::client_gone::ClientWatch;
use super::context::{Front, Notices};
use super::files::Files;
use super::gate::{Gate, HOLD_TIME_MAX};
use super::host::HostRules;
use super::inbound::{ClientStream, HEAD_TIME_MAX, LINGER_TIME_MAX, RefusalReason, Turn};
use super::live_reload::Hub;
use super::pages::Page;
use super::{endpoints, headers, origin, proxy};
use devhost_model::StatusBoard;
use devhost_watch::{Observer, Suspicion};

/// How many threads serve the listeners of one call of `listen`. With one, a request's whole path stays on
/// it, its upstream's driver included.
const WORKER_COUNT: usize = 1;

/// How long responses may take to finish once the server is stopped.
const SHUTDOWN_TIME_MAX: Duration = Duration::from_secs(1);

/// The configuration of the front.
pub struct FrontConfig {
    /// The listening sockets; [`Server::listen`] adds more.
    pub listeners: Vec<TcpListener>,
    /// They are a guess: [`Server::keep`] or [`Server::leave`] follows.
    pub is_guess: bool,
    /// Host names to answer to besides local ones; a leading dot includes all subdomains.
    pub allowed_hosts: Vec<String>,
    /// Origins besides local ones that may open a WebSocket, as `origin::normalize` writes them.
    pub allowed_origins: Vec<String>,
    /// Identifies this run of devhost.
    pub session: String,
    /// The app's name.
    pub app: String,
    /// Whether to inject the live-reload script into pages.
    pub inject: bool,
    /// Requests wait until this is settled.
    pub suspicion: Arc<Suspicion>,
    /// What the app does with files.
    pub observer: Arc<Observer>,
    /// Where the paths of the app's files begin.
    pub root: PathBuf,
    /// Gets the runtime of the first thread that serves requests, to drive upstreams on.
    pub runtime: Arc<OnceLock<Handle>>,
    /// Gets notices for the user, such as a page whose policy keeps the live-reload script out.
    pub on_notice: Box<dyn Fn(String) + Send + Sync>,
}

/// The running front. It can listen on further addresses at any time.
pub struct Server {
    front: web::Data<Front>,
    allowed_hosts: Vec<String>,
    runtime: Arc<OnceLock<Handle>>,
    /// The runtime of a thread that may end when a guess turns out wrong, so no upstream may depend on it yet.
    tentative: Arc<OnceLock<Handle>>,
    handles: Mutex<Vec<ServerHandle>>,
}

/// Starts the front on the configured listeners, if any. Must be called on an actix runtime.
///
/// # Errors
///
/// Fails if the system refuses threads or descriptors.
pub fn serve(config: FrontConfig, gate: Gate, hub: Hub, status: Arc<StatusBoard>) -> io::Result<Server> {
    let server = Server {
        front: web::Data::new(Front {
            gate,
            hub,
            status,
            session: config.session,
            app: config.app,
            inject: config.inject,
            suspicion: config.suspicion,
            allowed_origins: config.allowed_origins,
            notices: Notices::new(config.on_notice),
            files: Files { observer: config.observer, root: config.root },
        }),
        allowed_hosts: config.allowed_hosts,
        runtime: config.runtime,
        tentative: Arc::default(),
        handles: Mutex::default(),
    };
    server.start(config.listeners, config.is_guess)?;
    Ok(server)
}

impl Server {
    /// Serves one more listener. Must be called on an actix runtime.
    ///
    /// # Errors
    ///
    /// Fails if the system refuses threads or descriptors.
    pub fn listen(&self, listener: TcpListener) -> io::Result<()> {
        self.start(vec![listener], false)
    }

    /// Keeps the listeners that were a guess.
    pub fn keep(&self) {
        if let Some(handle) = self.tentative.get() {
            let _ = self.runtime.set(handle.clone());
        }
    }

    /// Gives up the listeners so far, which were a guess. Their requests have as long as those that wait for a build. Must be
    /// called on an actix runtime.
    pub fn leave(&self) {
        for handle in std::mem::take(&mut *self.lock()) {
            // The ports are free once the first of its threads has heard of it, the rest takes its time.
            actix_web::rt::spawn(handle.stop(true));
        }
    }

    /// Stops all listeners. If `graceful`, responses may take a moment to finish.
    pub async fn stop(&self, graceful: bool) {
        let handles = std::mem::take(&mut *self.lock());
        futures_util::future::join_all(handles.iter().map(|handle| handle.stop(graceful))).await;
    }

    fn lock(&self) -> MutexGuard<'_, Vec<ServerHandle>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a server of its own for these listeners: a running actix server takes no more.
    fn start(&self, listeners: Vec<TcpListener>, is_guess: bool) -> io::Result<()> {
        if listeners.is_empty() {
            return Ok(());
        }
        let bound = listeners.iter().map(TcpListener::local_addr).collect::<Result<Vec<SocketAddr>, _>>()?;
        let hosts = web::Data::new(HostRules::new(&bound, &self.allowed_hosts));
        let front = self.front.clone();
        let runtime = Arc::clone(if is_guess { &self.tentative } else { &self.runtime });
        let app = move || {
            // Runs on each serving thread; the first one's runtime stays.
            let _ = runtime.set(Handle::current());
            App::new()
                .app_data(front.clone())
                .app_data(hosts.clone())
                .default_service(web::to(dispatch))
                .wrap_fn(|request, service| {
                    let turn = request.conn_data::<Turn>().cloned().unwrap_or_default();
                    let response = service.call(request);
                    async move { Ok(turn.answer(response.await?)) }
                })
        };
        let mut server = actix_web::dev::Server::build()
            .workers(WORKER_COUNT)
            .disable_signals()
            .shutdown_timeout(if is_guess { HOLD_TIME_MAX } else { SHUTDOWN_TIME_MAX }.as_secs());
        let shutdown = server.graceful_shutdown_signal();
        for listener in listeners {
            let (app, shutdown) = (app.clone(), shutdown.clone());
            // As `actix_web::HttpServer` does for plain HTTP, but on a stream of our own.
            server = server.listen("front", listener, move || {
                let shutdown = shutdown.clone();
                let app = app().into_factory().map_err(|error: actix_web::Error| error.error_response());
                let http = HttpService::build()
                    .graceful_shutdown_signal(move || {
                        let shutdown = shutdown.clone();
                        async move { shutdown.notified().await }
                    })
                    // The stream has its own timeouts.
                    .keep_alive(KeepAlive::Os)
                    .client_request_timeout(Duration::ZERO)
                    .client_disconnect_timeout(LINGER_TIME_MAX)
                    // A client that shuts down its sending side counts as gone; see `client_gone`.
                    .h1_allow_half_closed(false)
                    .on_connect_ext(|stream: &ClientStream, data| {
                        data.insert(stream.turn());
                        // Without the watch (out of descriptors) actix still notices most clients leave.
                        if let Ok(watch) = ClientWatch::attach(stream.socket()) {
                            data.insert(watch);
                        }
                    })
                    .h1(map_config(app, |()| AppConfig::default()));
                fn_service(async |stream: TcpStream| {
                    let stream = ClientStream::new(stream);
                    let peer = stream.peer();
                    Ok((stream, peer))
                })
                .and_then(http)
            })?;
        }
        let server = server.run();
        self.lock().push(server.handle());
        actix_web::rt::spawn(server);
        Ok(())
    }
}

async fn dispatch(
    request: HttpRequest,
    payload: web::Payload,
    front: web::Data<Front>,
    hosts: web::Data<HostRules>,
) -> HttpResponse {
    if let Some(refusal) = request.conn_data::<Turn>().and_then(Turn::take_refusal) {
        let page = match &refusal.reason {
            RefusalReason::Malformed(reason) => Page::bad_request(reason),
            RefusalReason::TooLarge => Page::head_too_large(),
            RefusalReason::TimedOut => Page::head_timed_out(HEAD_TIME_MAX),
        };
        return page.respond(&request, &front.page_context());
    }
    let authority = request.uri().authority().map(|authority| authority.as_str().to_owned());
    if let Err(refusal) = hosts.check(request.headers(), authority.as_deref()) {
        return Page::refused(&refusal).respond(&request, &front.page_context());
    }
    if headers::asks_for_websocket(request.headers())
        && let Some(origin) = origin::foreign(request.headers(), &hosts, &front.allowed_origins)
    {
        front.notices.foreign_websocket(&origin, request.path());
        let page = Page::websocket_forbidden(&origin).respond(&request, &front.page_context());
        return proxy::close(page);
    }
    if endpoints::is_own(request.path()) {
        return endpoints::respond(&request, &front).await;
    }
    proxy::forward(&request, payload.into_inner(), &front).await
}
