//! The front's port. It is bound at the start if known, and remembered for the next one. If it is not known, a guess is bound, if
//! that is free: it is given up once the app asks for another one, and pages that are open there are told. If the app later asks
//! for another port than before, that is opened as well; the old one stays, for open pages.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use devhost_front::gate::Gate;
use devhost_front::{self as front, FrontConfig, Hub};
use devhost_model::Error;
use devhost_model::{BrowserEvent, StatusBoard};
use devhost_sys::{listen, network};
use devhost_terminal::Terminal;

/// The file in devhost's target directory with the last port an app asked for; the app's name is appended.
const REMEMBERED_FILE: &str = "devhost-port-";

/// How the front takes the port that a plain app asks for.
#[derive(Debug, Clone)]
pub(crate) struct PortPlan {
    /// The address to bind.
    pub host: IpAddr,
    /// Fail if the port is in use.
    pub strict: bool,
    /// The port if the app asks for none.
    pub default: u16,
    pub target_dir: PathBuf,
    /// Part of the file's name: several apps may share the directory.
    pub app: String,
    /// The port of the app's own listener, if named by the user.
    pub named: Option<u16>,
    /// What the app will probably ask for.
    pub guess: Option<u16>,
}

/// What is open before the app has asked for anything.
#[derive(Debug)]
pub(crate) enum Early {
    /// The port that it will ask for, or the next free one.
    Expected(TcpListener),
    /// One that it may ask for.
    Guessed(TcpListener),
    /// Nothing.
    Unknown,
}

impl Early {
    pub(crate) fn into_listener(self) -> Option<TcpListener> {
        match self {
            Self::Expected(listener) | Self::Guessed(listener) => Some(listener),
            Self::Unknown => None,
        }
    }
}

/// Binds a port, and tells of another one in its place.
pub(crate) fn bind(host: IpAddr, port: u16, strict: bool, terminal: &Terminal) -> Result<TcpListener, Error> {
    let (listener, notes) = listen::bind(host, port, strict)?;
    notes.iter().for_each(|note| terminal.note(note));
    Ok(listener)
}

impl PortPlan {
    fn file(&self) -> PathBuf {
        self.target_dir.join(format!("{REMEMBERED_FILE}{}", self.app))
    }

    /// Returns the port that the app will ask for, if known: the one the user names, or the last run's.
    pub(crate) fn expected(&self) -> Option<u16> {
        self.named.or_else(|| self.remembered())
    }

    /// Opens what can be opened before the app asks.
    ///
    /// # Errors
    /// The port that the app will ask for cannot be bound.
    pub(crate) fn open_early(&self, terminal: &Terminal) -> Result<Early, Error> {
        if let Some(port) = self.expected() {
            return bind(self.host, port, self.strict, terminal).map(Early::Expected);
        }
        let guessed = self.guess.and_then(|port| listen::bind_tentatively(self.host, port).ok());
        Ok(guessed.map_or(Early::Unknown, Early::Guessed))
    }

    fn remembered(&self) -> Option<u16> {
        let text = std::fs::read_to_string(self.file()).ok()?;
        text.trim().parse().ok().filter(|port| *port != 0)
    }

    fn remember(&self, port: u16) {
        if self.remembered() != Some(port) {
            // Best effort: without it, the next start has no port until the app listens.
            let _ = std::fs::create_dir_all(&self.target_dir);
            let _ = std::fs::write(self.file(), format!("{port}\n"));
        }
    }

    /// Binds the port, or the default one with a note if that fails.
    fn bind(&self, port: u16, terminal: &Terminal) -> Result<TcpListener, Error> {
        match bind(self.host, port, self.strict, terminal) {
            Err(error) if !self.strict && port != self.default => {
                terminal.error(&error);
                bind(self.host, self.default, false, terminal)
            }
            other => other,
        }
    }
}

/// When the front's address is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// It serves from now on.
    Start,
    /// It has moved there.
    Move,
}

/// Called with the address at which the front serves.
/// What it returns is kept while the front serves there.
pub(crate) type OnServing = Box<dyn Fn(&Terminal, SocketAddr, Occasion) -> Option<Box<dyn std::any::Any>>>;

/// The front's server, before and after it has a port.
pub(super) struct Door {
    waiting: Option<FrontConfig>,
    on_serving: OnServing,
    /// Where it serves, as long as that is a guess.
    guess: Option<TcpListener>,
    /// Kept while the front serves.
    kept: Option<Box<dyn std::any::Any>>,
    plan: Option<PortPlan>,
    server: Option<front::Server>,
    /// The requested ports, the newest last; a busy one may have been replaced by the next.
    asked: Vec<u16>,
    /// The addresses that devhost has opened by itself.
    open: Vec<SocketAddr>,
    /// The app asks for an IPv6 address.
    ipv6: bool,
    /// It serves on inherited sockets.
    is_given: bool,
}

/// How many ports may be open at once: each has its own threads.
const PORTS_COUNT_MAX: usize = 8;

impl Door {
    /// Makes a closed door.
    pub(super) fn new(
        config: FrontConfig,
        plan: Option<PortPlan>,
        is_given: bool,
        on_serving: OnServing,
    ) -> Self {
        Self {
            waiting: Some(config),
            on_serving,
            guess: None,
            kept: None,
            plan,
            server: None,
            asked: Vec::new(),
            open: Vec::new(),
            ipv6: false,
            is_given,
        }
    }

    /// Opens it if the port is bound already.
    pub(super) fn open_if_known(
        &mut self,
        gate: &Gate,
        hub: &Hub,
        status: &Arc<StatusBoard>,
        terminal: &Terminal,
    ) -> Result<(), Error> {
        if self.waiting.as_ref().is_some_and(|config| config.listeners.is_empty()) {
            return Ok(());
        }
        self.asked.extend(self.plan.as_ref().and_then(PortPlan::expected));
        self.start(None, gate, hub, status, terminal)
    }

    /// Opens it on the app's port (0 for any), or on the default one if that is unknown. An open port stays
    /// open.
    pub(super) fn open(
        &mut self,
        asked: Option<u16>,
        gate: &Gate,
        hub: &Hub,
        status: &Arc<StatusBoard>,
        terminal: &Terminal,
    ) -> Result<(), Error> {
        let Some(plan) = self.plan.clone() else { return Ok(()) };
        let asked = asked.filter(|port| *port != 0);
        if let Some(port) = asked {
            plan.remember(port);
        }
        if self.waiting.is_none() {
            let Some(asked) = asked else { return Ok(()) };
            return match self.guess.take() {
                Some(guess) => self.settle(guess, asked, &plan, hub, status, terminal),
                None => {
                    self.follow(asked, &plan, terminal);
                    Ok(())
                }
            };
        }
        let port = asked.unwrap_or(plan.default);
        self.asked.push(port);
        let listener = plan.bind(port, terminal)?;
        self.start(Some(listener), gate, hub, status, terminal)
    }

    /// Keeps the guessed port if the app asks for that one. Otherwise serves where it asks, has the pages that are open move there,
    /// and gives the other port up.
    fn settle(
        &mut self,
        guess: TcpListener,
        asked: u16,
        plan: &PortPlan,
        hub: &Hub,
        status: &Arc<StatusBoard>,
        terminal: &Terminal,
    ) -> Result<(), Error> {
        let Some(server) = &self.server else { return Ok(()) };
        self.asked = vec![asked];
        let failed = |error| Error::fault(format!("failed to serve on port {asked}: {error}"));
        let guessed = guess.local_addr().map_err(failed)?;
        if guessed.port() == asked {
            server.keep();
            return listen::claim(&guess).map_err(failed);
        }
        // The app may want it for something else.
        drop(guess);
        server.leave();
        let listener = plan.bind(asked, terminal)?;
        let address = listener.local_addr().map_err(failed)?;
        server.listen(listener).map_err(failed)?;
        hub.send(BrowserEvent::Moved { from: guessed.port(), to: address.port() });
        terminal
            .note(&format!("the app asks for port {asked}, so devhost is there, and no longer at {guessed}"));
        self.open.clear();
        self.tell(address, Occasion::Move, status, terminal);
        self.opened(address, terminal);
        Ok(())
    }

    /// Tells where the front is.
    fn tell(
        &mut self,
        address: SocketAddr,
        occasion: Occasion,
        status: &Arc<StatusBoard>,
        terminal: &Terminal,
    ) {
        let url = network::urls(address).into_iter().next().map(|(_, url)| url);
        status.update(|status| status.url = url);
        // What was kept for the old address must be gone before the same is made for the new one.
        self.kept = None;
        self.kept = (self.on_serving)(terminal, address, occasion);
    }

    /// Opens another port that the app asks for.
    fn follow(&mut self, port: u16, plan: &PortPlan, terminal: &Terminal) {
        if self.asked.last() == Some(&port) {
            return;
        }
        let is_open = self.asked.contains(&port);
        self.asked.retain(|known| *known != port);
        self.asked.push(port);
        if is_open {
            return;
        }
        let stays = "devhost goes on serving where it is";
        let Some(server) = self.server.as_ref().filter(|_| self.asked.len() <= PORTS_COUNT_MAX) else {
            self.asked.pop();
            terminal.note(&format!(
                "the app asks for port {port} now; {stays}, and takes that port when it is started again"
            ));
            return;
        };
        // No other port instead: one works already.
        let opened = listen::bind_exactly(plan.host, port).and_then(|listener| {
            let failed = |error| Error::fault(format!("failed to serve on port {port}: {error}"));
            let address = listener.local_addr().map_err(failed)?;
            server.listen(listener).map_err(failed).map(|()| address)
        });
        match opened {
            Ok(address) => {
                terminal.note(&format!(
                    "the app asks for port {port} now: it is at http://{address}/; the old address still works"
                ));
                self.opened(address, terminal);
            }
            Err(error) => {
                terminal.error(&error);
                terminal.note(&format!("the app asks for port {port} now; {stays}"));
            }
        }
    }

    /// Opens each port at `[::1]`, too, because the app asks for an IPv6 address.
    pub(super) fn open_ipv6(&mut self, terminal: &Terminal) {
        if !self.ipv6 {
            self.ipv6 = true;
            let open = std::mem::take(&mut self.open);
            open.into_iter().for_each(|address| self.opened(address, terminal));
        }
    }

    /// Records an open port, and opens it at `[::1]` as well if the app asks for IPv6. Not for inherited
    /// sockets, beyond which devhost must not serve, nor for a single address of a network.
    fn opened(&mut self, address: SocketAddr, terminal: &Terminal) {
        self.open.push(address);
        let is_alone = address.is_ipv4() && (address.ip().is_loopback() || address.ip().is_unspecified());
        let Some(server) = self.server.as_ref().filter(|_| self.ipv6 && is_alone && !self.is_given) else {
            return;
        };
        let port = address.port();
        match listen::bind_exactly(Ipv6Addr::LOCALHOST.into(), port) {
            Ok(listener) => {
                if let Err(error) = server.listen(listener) {
                    terminal.warn(&format!("failed to serve on [::1] port {port}: {error}"));
                }
            }
            // On a machine without IPv6 nobody looks for the app there.
            Err(error) if listen::is_busy(Ipv6Addr::LOCALHOST.into(), port) => terminal.note(&format!(
                "the app asks for an address of IPv6, but at [::1] {}; it is at http://{address}/ alone",
                error.message
            )),
            Err(error) => tracing::debug!("nothing at [::1]: {}", error.message),
        }
    }

    fn start(
        &mut self,
        listener: Option<TcpListener>,
        gate: &Gate,
        hub: &Hub,
        status: &Arc<StatusBoard>,
        terminal: &Terminal,
    ) -> Result<(), Error> {
        let failed = |error: std::io::Error| Error::fault(format!("failed to start the server: {error}"));
        let Some(mut config) = self.waiting.take() else { return Ok(()) };
        let guess = config.is_guess.then(|| config.listeners[0].try_clone()).transpose().map_err(failed)?;
        config.listeners.extend(listener);
        let addresses: Result<Vec<SocketAddr>, _> =
            config.listeners.iter().map(TcpListener::local_addr).collect();
        let addresses = addresses.map_err(failed)?;
        let server = front::serve(config, gate.clone(), hub.clone(), Arc::clone(status)).map_err(failed)?;
        self.server = Some(server);
        if let Some(address) = addresses.first() {
            self.tell(*address, Occasion::Start, status, terminal);
        }
        self.guess = guess;
        addresses.into_iter().for_each(|address| self.opened(address, terminal));
        Ok(())
    }

    /// Returns the addresses that are open, the first one first.
    pub(super) fn addresses(&self) -> &[SocketAddr] {
        &self.open
    }

    pub(super) async fn close(&self) {
        if let Some(server) = &self.server {
            server.stop(false).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let plan = PortPlan {
            host: IpAddr::from([127, 0, 0, 1]),
            strict: false,
            default: 3000,
            target_dir: dir.path().into(),
            app: "shop".into(),
            named: None,
            guess: None,
        };
        assert_eq!(plan.remembered(), None);
        plan.remember(8080);
        assert_eq!(plan.remembered(), Some(8080));
        assert_eq!(plan.expected(), Some(8080));
        let named = PortPlan { named: Some(9090), ..plan.clone() };
        assert_eq!(named.expected(), Some(9090), "what the user names wins");
        std::fs::write(plan.file(), "nonsense").unwrap();
        assert_eq!(plan.expected(), None);
    }
}
