//! The bench's requests, each on a connection of its own.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::cancel::{CANCEL_CHECK_TIME, Cancel};

/// How long a request may take: longer than devhost holds one.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(120);

/// The lowest status that counts as a failure of the app.
pub(super) const FAILURE_STATUS_MIN: u16 = 500;

#[derive(Debug)]
pub(super) struct Answer {
    pub asked: Instant,
    /// When the head had arrived.
    pub first_byte: Instant,
    pub status: u16,
    /// The generation that answered, according to devhost.
    pub generation: Option<u64>,
    pub body: String,
}

/// Makes requests. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Client(ureq::Agent);

impl Client {
    pub(crate) fn new() -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(REQUEST_TIME_MAX))
            .max_idle_connections(0)
            // Never a proxy: all requests stay on this machine.
            .proxy(None)
            .build();
        Self(config.into())
    }

    pub(crate) fn get(&self, url: &str) -> Result<Answer> {
        let asked = Instant::now();
        let mut response = self.0.get(url).call()?;
        let first_byte = Instant::now();
        let generation = response.headers().get("x-devhost-generation");
        let generation = generation.and_then(|value| value.to_str().ok()?.parse().ok());
        let status = response.status().as_u16();
        let body = response.body_mut().read_to_vec()?;
        let body = String::from_utf8_lossy(&body).into_owned();
        Ok(Answer { asked, first_byte, status, generation, body })
    }

    /// Makes one request and gives it up if the user cancels, since a server may hold it for long. Returns
    /// `None` if it fails.
    pub(crate) fn get_unless_cancelled(&self, url: &str, cancel: &Cancel) -> Result<Option<Answer>> {
        cancel.check()?;
        let (sender, receiver) = mpsc::sync_channel(1);
        let (client, url) = (self.clone(), url.to_owned());
        std::thread::Builder::new().name("request".into()).spawn(move || {
            // Nobody listens if it was given up.
            let _ = sender.send(client.get(&url));
        })?;
        loop {
            match receiver.recv_timeout(CANCEL_CHECK_TIME) {
                Ok(answer) => return Ok(answer.ok()),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => cancel.check()?,
            }
        }
    }
}
