//! The listeners of plain apps' workers.

use std::net::SocketAddr;
use std::sync::Arc;

use devhost_front::gate::Backend;
use devhost_front::upstream::SocketClient;

use super::table::Workers;
use super::worker::{Worker, watch};
use crate::runner::ids::{WorkerId, WorkerProcess};
use crate::runner::input::Inputs;
use crate::runner::relay::Relay;

/// How many Unix socket files are remembered.
const SOCKETS_COUNT_MAX: usize = 64;

const FURTHER_COUNT_MAX: usize = 64;

impl Workers {
    /// Connects to a listening plain app. Returns false if there is a connection already.
    pub(in crate::runner) fn connect(&mut self, id: WorkerId, private: SocketAddr, inputs: &Inputs) -> bool {
        let Some(worker) = self.by_id.get_mut(&id).filter(|worker| worker.backend.is_none()) else {
            return false;
        };
        let client = {
            let _runtime = self.drivers.choose().enter();
            SocketClient::new(private)
        };
        if let Some(pid) = worker.pid() {
            client.set_process(pid);
        }
        let backend = Backend::new(id.generation, id.number, client, Some(Arc::clone(&worker.output)));
        backend.set_seat(Arc::clone(&worker.seat));
        watch(id, &backend, inputs.clone());
        worker.backend = Some(backend);
        true
    }

    /// Leads an app's relay to the TCP port that it listens on after all. Returns false if the app is not
    /// reached through its Unix socket.
    pub(in crate::runner) fn redirect(&self, id: WorkerId, private: SocketAddr) -> bool {
        let relay = self.by_id.get(&id).and_then(|worker| worker.relay.as_ref());
        let relay = relay.filter(|relay| relay.leads_to_unix_socket());
        if let Some(relay) = relay {
            relay.lead_to(private);
        }
        relay.is_some()
    }

    /// Returns the pid of a plain app that does not listen yet.
    pub(in crate::runner) fn unheard(&self, id: WorkerId) -> Option<i32> {
        self.by_id
            .get(&id)
            .filter(|worker| worker.backend.is_none() && !worker.kill_wanted)
            .and_then(Worker::pid)
    }

    /// Returns true for a plain app that does not listen yet.
    pub(in crate::runner) fn is_unheard(&self, target: WorkerProcess) -> bool {
        let found = self.find(target).and_then(|id| self.by_id.get(&id));
        found.is_some_and(|worker| worker.backend.is_none())
    }

    pub(in crate::runner) fn add_further(&mut self, id: WorkerId, address: String) {
        if let Some(worker) = self.by_id.get_mut(&id)
            && worker.further.len() < FURTHER_COUNT_MAX
        {
            worker.further.push(address);
        }
    }

    pub(in crate::runner) fn further(&self, id: WorkerId) -> &[String] {
        self.by_id.get(&id).map_or(&[], |worker| &worker.further)
    }

    /// Keeps a relay while its worker lives.
    pub(in crate::runner) fn keep(&mut self, id: WorkerId, relay: Relay) {
        if let Some(worker) = self.by_id.get_mut(&id) {
            worker.relay = Some(relay);
        }
    }

    pub(in crate::runner) fn add_socket(&mut self, file: String) {
        self.sockets.push_back(file);
        if self.sockets.len() > SOCKETS_COUNT_MAX {
            self.sockets.pop_front();
        }
    }
}
