//! The port that people open: taken at the start where it is known, else as soon as the app has said which one it
//! asks for. What it was is remembered, so that the next start takes it at once. Where the app asks for another one
//! later, that one is opened as well; the old one goes on, for the pages that are open.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::Error;
use crate::front::gate::Gate;
use crate::front::{self, FrontConfig, Hub};
use crate::listen;
use crate::model::StatusBoard;
use crate::terminal::Terminal;

/// The file in devhost's target directory with the port that an app asked for last; the app's name follows.
const REMEMBERED_FILE: &str = "devhost-port-";

/// How the front takes the port that a plain app asks for.
#[derive(Debug, Clone)]
pub struct PortPlan {
    /// The address to listen on.
    pub host: IpAddr,
    /// Give up where the port is in use.
    pub strict: bool,
    /// The port where the app asks for none.
    pub default: u16,
    /// devhost's target directory.
    pub target_dir: PathBuf,
    /// The app's name: several may share the directory.
    pub app: String,
}

impl PortPlan {
    fn file(&self) -> PathBuf {
        self.target_dir.join(format!("{REMEMBERED_FILE}{}", self.app))
    }

    /// The port that the app asked for when it ran last.
    pub fn remembered(&self) -> Option<u16> {
        let text = std::fs::read_to_string(self.file()).ok()?;
        text.trim().parse().ok().filter(|port| *port != 0)
    }

    fn remember(&self, port: u16) {
        if self.remembered() != Some(port) {
            // Without it the next start has no port before the app listens; that is all.
            let _ = std::fs::create_dir_all(&self.target_dir);
            let _ = std::fs::write(self.file(), format!("{port}\n"));
        }
    }

    /// Takes the port; where that is not allowed, the default one, with a word about it.
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

/// Told once the front serves, with its address.
pub type OnServing = Box<dyn FnOnce(&Terminal, SocketAddr)>;

/// The front's server, before and after it has a port.
pub struct Door {
    waiting: Option<(FrontConfig, OnServing)>,
    plan: Option<PortPlan>,
    server: Option<front::Server>,
    /// The ports that were asked for, the newest last: a busy one may have been replaced by the next.
    asked: Vec<u16>,
}

/// How many ports are open at once: each has threads of its own.
const PORTS_COUNT_MAX: usize = 8;

impl Door {
    /// A door that is closed still.
    pub fn new(config: FrontConfig, plan: Option<PortPlan>, on_serving: OnServing) -> Self {
        Self { waiting: Some((config, on_serving)), plan, server: None, asked: Vec::new() }
    }

    /// Opens it where the port was taken before.
    pub fn open_if_known(
        &mut self,
        gate: &Gate,
        hub: &Hub,
        status: &Arc<StatusBoard>,
        terminal: &Terminal,
    ) -> Result<(), Error> {
        if self.waiting.as_ref().is_some_and(|(config, _)| config.listeners.is_empty()) {
            return Ok(());
        }
        self.asked.extend(self.plan.as_ref().and_then(PortPlan::remembered));
        self.start(None, gate, hub, status, terminal)
    }

    /// Opens it on the port that the app asks for (0 for any), or, where nobody knows that, on the default one. A port
    /// that is open stays so.
    pub fn open(
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

    /// The app asks for a port while others are open already.
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
        // No other port instead: there is one that works.
        let opened = listen::bind(plan.host, port, true).and_then(|(listener, _)| {
            let failed = |error| Error::fault(format!("failed to serve on port {port}: {error}"));
            let address = listener.local_addr().map_err(failed)?;
            server.listen(listener).map_err(failed).map(|()| address)
        });
        match opened {
            Ok(address) => terminal.note(&format!(
                "the app asks for port {port} now: it is at http://{address}/; where it was before it can be reached \
                 still"
            )),
            Err(error) => {
                terminal.error(&error);
                terminal.note(&format!("the app asks for port {port} now; {stays}"));
            }
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
        let address = config.listeners.first().map(TcpListener::local_addr).transpose().map_err(failed)?;
        let server = front::serve(config, gate.clone(), hub.clone(), Arc::clone(status)).map_err(failed)?;
        self.server = Some(server);
        if let Some(address) = address {
            on_serving(terminal, address);
        }
        Ok(())
    }

    /// Closes it.
    pub async fn close(&self) {
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
        };
        assert_eq!(plan.remembered(), None);
        plan.remember(8080);
        assert_eq!(plan.remembered(), Some(8080));
        std::fs::write(plan.file(), "nonsense").unwrap();
        assert_eq!(plan.remembered(), None);
    }
}
