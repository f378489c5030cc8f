//! The front's port. It is taken at the start if it is known, otherwise as soon as the app asks for one, and remembered, so
//! that the next start takes it at once. If the app asks for another one later, that is opened as well; the old one stays,
//! for open pages.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use devhost_front::gate::Gate;
use devhost_front::{self as front, FrontConfig, Hub};
use devhost_model::Error;
use devhost_model::StatusBoard;
use devhost_sys::listen;
use devhost_terminal::Terminal;

/// The file in devhost's target directory with the port that an app asked for last; the app's name is appended.
const REMEMBERED_FILE: &str = "devhost-port-";

/// How the front takes the port that a plain app asks for.
#[derive(Debug, Clone)]
pub(crate) struct PortPlan {
    /// The address to listen on.
    pub host: IpAddr,
    /// Give up if the port is in use.
    pub strict: bool,
    /// The port if the app asks for none.
    pub default: u16,
    /// devhost's target directory.
    pub target_dir: PathBuf,
    /// The app's name: several may share the directory.
    pub app: String,
    /// The port of the app's own listener, if the user names it.
    pub named: Option<u16>,
}

impl PortPlan {
    fn file(&self) -> PathBuf {
        self.target_dir.join(format!("{REMEMBERED_FILE}{}", self.app))
    }

    /// Returns the port that the app will ask for, if known: the one that the user names, or the one of the last run.
    pub(crate) fn expected(&self) -> Option<u16> {
        self.named.or_else(|| self.remembered())
    }

    fn remembered(&self) -> Option<u16> {
        let text = std::fs::read_to_string(self.file()).ok()?;
        text.trim().parse().ok().filter(|port| *port != 0)
    }

    fn remember(&self, port: u16) {
        if self.remembered() != Some(port) {
            // Without it the next start only has no port before the app listens.
            let _ = std::fs::create_dir_all(&self.target_dir);
            let _ = std::fs::write(self.file(), format!("{port}\n"));
        }
    }

    /// Takes the port; if that is not permitted, the default one, with a note about it.
    fn bind(&self, port: u16, terminal: &Terminal) -> Result<TcpListener, Error> {
        let bound = match listen::bind(self.host, port, self.strict) {
            Err(error) if !self.strict && port != self.default => {
                terminal.error(&error);
                listen::bind(self.host, self.default, false)
            }
            other => other,
        };
        let (listener, notes) = bound?;
        for note in notes {
            terminal.note(&note);
        }
        Ok(listener)
    }
}

/// Called once the front serves, with its address.
pub(crate) type OnServing = Box<dyn FnOnce(&Terminal, SocketAddr)>;

/// The front's server, before and after it has a port.
pub(super) struct Door {
    waiting: Option<(FrontConfig, OnServing)>,
    plan: Option<PortPlan>,
    server: Option<front::Server>,
    /// The ports that were asked for, the newest last; a busy one may have been replaced by the next.
    asked: Vec<u16>,
    /// The addresses that devhost has opened by itself.
    open: Vec<SocketAddr>,
    /// The app asks for an IPv6 address.
    ipv6: bool,
    /// The sockets that it serves on are inherited.
    is_given: bool,
}

/// How many ports may be open at once: each has threads of its own.
const PORTS_COUNT_MAX: usize = 8;

impl Door {
    /// Makes a door that is still closed. `is_given`: the sockets that it serves on are inherited.
    pub(super) fn new(
        config: FrontConfig,
        plan: Option<PortPlan>,
        is_given: bool,
        on_serving: OnServing,
    ) -> Self {
        Self {
            waiting: Some((config, on_serving)),
            plan,
            server: None,
            asked: Vec::new(),
            open: Vec::new(),
            ipv6: false,
            is_given,
        }
    }

    /// Opens it if the port was taken before.
    pub(super) fn open_if_known(
        &mut self,
        gate: &Gate,
        hub: &Hub,
        status: &Arc<StatusBoard>,
        terminal: &Terminal,
    ) -> Result<(), Error> {
        if self.waiting.as_ref().is_some_and(|(config, _)| config.listeners.is_empty()) {
            return Ok(());
        }
        self.asked.extend(self.plan.as_ref().and_then(PortPlan::expected));
        self.start(None, gate, hub, status, terminal)
    }

    /// Opens it on the port that the app asks for (0 for any), or on the default one if that is unknown. A port that is open
    /// stays open.
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
            if let Some(asked) = asked {
                self.follow(asked, &plan, terminal);
            }
            return Ok(());
        }
        let port = asked.unwrap_or(plan.default);
        self.asked.push(port);
        let listener = plan.bind(port, terminal)?;
        self.start(Some(listener), gate, hub, status, terminal)
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

    /// Records an open port, and opens it at `[::1]` as well if the app asks for IPv6. Not for inherited sockets, which are
    /// all that devhost is to serve on, nor for a single address of a network.
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
        let Some((mut config, on_serving)) = self.waiting.take() else { return Ok(()) };
        config.listeners.extend(listener);
        let addresses: Result<Vec<SocketAddr>, _> =
            config.listeners.iter().map(TcpListener::local_addr).collect();
        let addresses = addresses.map_err(failed)?;
        let server = front::serve(config, gate.clone(), hub.clone(), Arc::clone(status)).map_err(failed)?;
        self.server = Some(server);
        if let Some(address) = addresses.first() {
            on_serving(terminal, *address);
        }
        addresses.into_iter().for_each(|address| self.opened(address, terminal));
        Ok(())
    }

    /// Closes it.
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
