//! The server: its limits, its configuration, and which part of the front a request goes to.

use std::collections::HashSet;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::rt::net::TcpStream;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use tokio::runtime::Handle;

use super::client_gone::ClientWatch;
use super::gate::Gate;
use super::host::{HostRules, Refusal};
use super::live_reload::Hub;
use super::pages::{Page, PageContext};
use super::{dev_ui, proxy};
use crate::model::StatusBoard;
use crate::watch::Suspicion;

/// Threads that serve the requests of one call of `listen`. With one, everything that a request needs of the front runs
/// on it, the driver of its upstream included, and nothing is handed from thread to thread.
pub const WORKER_COUNT: usize = 1;

/// How long a client may take for the head of its first request.
pub const CLIENT_REQUEST_TIME_MAX: Duration = Duration::from_secs(10);

/// How long an idle connection is kept. Longer than clients keep theirs, so that they close first and no
/// request meets a connection that is being closed.
const KEEP_ALIVE_TIME_MAX: Duration = Duration::from_secs(90);

/// How long a connection is read on after a response that came before the end of its request, so that the
/// client gets to read the response.
const LINGER_TIME_MAX: Duration = Duration::from_millis(500);

/// How long responses may take to finish when the server is stopped.
const SHUTDOWN_TIME_MAX: Duration = Duration::from_secs(1);

/// How many pages are told apart in notices.
const NOTICES_COUNT_MAX: usize = 64;

/// What the front is told at its start.
pub struct FrontConfig {
    /// The listening sockets; more may follow by [`Server::listen`].
    pub listeners: Vec<TcpListener>,
    /// Host names to answer to besides the local ones; a leading dot includes all subdomains.
    pub allowed_hosts: Vec<String>,
    /// Differs for each run of devhost.
    pub session: String,
    /// The app's name.
    pub app: String,
    /// Put the live-reload script into pages.
    pub inject: bool,
    /// Requests wait until it is settled.
    pub suspicion: Arc<Suspicion>,
    /// Will be the runtime of the first thread that serves requests: the one to drive upstreams on.
    pub runtime: Arc<OnceLock<Handle>>,
    /// Gets what a person should know, once: a page whose policy keeps the live-reload script out.
    pub on_notice: Box<dyn Fn(String) + Send + Sync>,
}

/// What all requests share.
pub(super) struct Front {
    pub gate: Gate,
    pub hub: Hub,
    pub status: Arc<StatusBoard>,
    pub session: String,
    pub app: String,
    pub inject: bool,
    pub suspicion: Arc<Suspicion>,
    on_notice: Box<dyn Fn(String) + Send + Sync>,
    noticed: Mutex<HashSet<String>>,
}

impl Front {
    /// The context of a page as of now.
    pub fn page_context(&self) -> PageContext<'_> {
        PageContext {
            app: &self.app,
            session: &self.session,
            generation: self.current_generation(),
            revision: self.hub.revision(),
        }
    }

    /// The number of the current generation, 0 without one.
    pub fn current_generation(&self) -> u64 {
        self.gate.current().map_or(0, |generation| generation.number)
    }

    /// Tells the person that a page goes without live reload, once for each page.
    pub fn notice_page_without_script(&self, path: &str, reason: &str) {
        let mut noticed = self.noticed.lock().unwrap_or_else(PoisonError::into_inner);
        if noticed.len() < NOTICES_COUNT_MAX && noticed.insert(path.to_owned()) {
            drop(noticed);
            (self.on_notice)(format!("no live reload in {path}: {reason}"));
        }
    }
}

/// The running front. It may listen at any number of addresses, and take more of them at any time.
pub struct Server {
    front: web::Data<Front>,
    allowed_hosts: Vec<String>,
    runtime: Arc<OnceLock<Handle>>,
    handles: Mutex<Vec<ServerHandle>>,
}

/// Starts the front on the listeners that it is given, which may be none. To be called on an actix runtime.
///
/// # Errors
///
/// Where the system refuses threads or descriptors.
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
            on_notice: config.on_notice,
            noticed: Mutex::default(),
        }),
        allowed_hosts: config.allowed_hosts,
        runtime: config.runtime,
        handles: Mutex::default(),
    };
    server.start(config.listeners)?;
    Ok(server)
}

impl Server {
    /// Serves on one more listener, in the same way as on the others. To be called on an actix runtime.
    ///
    /// # Errors
    ///
    /// Where the system refuses threads or descriptors.
    pub fn listen(&self, listener: TcpListener) -> io::Result<()> {
        self.start(vec![listener])
    }

    /// Stops all listeners. With `graceful`, responses may take a moment to finish.
    pub async fn stop(&self, graceful: bool) {
        let handles = std::mem::take(&mut *self.lock());
        futures_util::future::join_all(handles.iter().map(|handle| handle.stop(graceful))).await;
    }

    fn lock(&self) -> MutexGuard<'_, Vec<ServerHandle>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// actix takes no further listener once it runs, so those of each call have a server of their own.
    fn start(&self, listeners: Vec<TcpListener>) -> io::Result<()> {
        if listeners.is_empty() {
            return Ok(());
        }
        let bound = listeners.iter().map(TcpListener::local_addr).collect::<Result<Vec<SocketAddr>, _>>()?;
        let hosts = web::Data::new(HostRules::new(&bound, &self.allowed_hosts));
        let front = self.front.clone();
        let runtime = Arc::clone(&self.runtime);
        let app = move || {
            // Called on each thread that serves; the first one's runtime stays.
            let _ = runtime.set(Handle::current());
            App::new().app_data(front.clone()).app_data(hosts.clone()).default_service(web::to(dispatch))
        };
        let mut server = HttpServer::new(app)
            .workers(WORKER_COUNT)
            .disable_signals()
            .keep_alive(KEEP_ALIVE_TIME_MAX)
            .client_request_timeout(CLIENT_REQUEST_TIME_MAX)
            .client_disconnect_timeout(LINGER_TIME_MAX)
            // A client that has shut down its sending side counts as gone; see `client_gone`.
            .h1_allow_half_closed(false)
            .tcp_nodelay(true)
            .shutdown_timeout(SHUTDOWN_TIME_MAX.as_secs())
            .on_connect(|connection, data| {
                // Without the watch (no descriptor left) actix still sees most clients go.
                if let Some(watch) =
                    connection.downcast_ref::<TcpStream>().and_then(|stream| ClientWatch::attach(stream).ok())
                {
                    data.insert(watch);
                }
            });
        for listener in listeners {
            server = server.listen(listener)?;
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
    let authority = request.uri().authority().map(|authority| authority.as_str().to_owned());
    if let Err(refusal) = hosts.check(request.headers(), authority.as_deref()) {
        return refuse(&refusal).respond(&request, &front.page_context());
    }
    if dev_ui::is_own(request.path()) {
        return dev_ui::respond(&request, &front);
    }
    proxy::forward(&request, payload.into_inner(), &front).await
}

/// The page for a request that is turned away.
pub(super) fn refuse(refusal: &Refusal) -> Page {
    match refusal {
        Refusal::Malformed => Page::bad_request("The Host header is not valid."),
        Refusal::Host(host) => Page::host_forbidden(host),
        Refusal::Origin => Page::origin_forbidden(),
    }
}
