//! The steady load: requests at a fixed rate, whether earlier ones are answered or not, as from people who
//! know nothing of a reload.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::client::{Client, FAILURE_STATUS_MIN};
use super::model::Requests;

/// Limit on pending requests. Further ones are not sent: the server has long stood still.
const OUTSTANDING_COUNT_MAX: usize = 512;

/// How long requests may take after the reload.
const FINISH_TIME_MAX: Duration = Duration::from_secs(10);

/// How often to check whether they have ended.
const FINISH_POLL_TIME: Duration = Duration::from_millis(1);

#[derive(Debug, Clone, Copy, PartialEq)]
struct Sent {
    at: Instant,
    /// When its response began, or it failed.
    over: Option<Instant>,
    failed: bool,
    /// The new code answered it.
    by_new_code: bool,
}

#[derive(Debug)]
pub(super) struct Load {
    over: Arc<AtomicBool>,
    outstanding: Arc<AtomicUsize>,
    sent: Arc<Mutex<Vec<Sent>>>,
    sender: Option<JoinHandle<()>>,
}

impl Load {
    /// Starts sending. `new_text` in a response identifies the new code.
    pub(crate) fn start(url: &str, requests_per_second: f64, new_text: &str) -> Self {
        let mut load =
            Self { over: Arc::default(), outstanding: Arc::default(), sent: Arc::default(), sender: None };
        if requests_per_second <= 0.0 {
            return load;
        }
        let interval = Duration::from_secs_f64(1.0 / requests_per_second);
        let (over, outstanding, sent) =
            (Arc::clone(&load.over), Arc::clone(&load.outstanding), Arc::clone(&load.sent));
        let (url, new_text) = (url.to_owned(), new_text.to_owned());
        let client = Client::new();
        let send = move || {
            let mut next = Instant::now();
            while !over.load(Ordering::Relaxed) {
                if outstanding.load(Ordering::Relaxed) < OUTSTANDING_COUNT_MAX {
                    let request = Request {
                        client: client.clone(),
                        url: url.clone(),
                        new_text: new_text.clone(),
                        outstanding: Arc::clone(&outstanding),
                        sent: Arc::clone(&sent),
                    };
                    outstanding.fetch_add(1, Ordering::Relaxed);
                    if std::thread::Builder::new().name("load".into()).spawn(|| request.make()).is_err() {
                        outstanding.fetch_sub(1, Ordering::Relaxed);
                    }
                }
                next += interval;
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        };
        load.sender = std::thread::Builder::new().name("load".into()).spawn(send).ok();
        load
    }

    /// Stops, and counts outcomes of requests between a save and the new code's first response.
    pub(crate) fn finish(mut self, saved: Instant, first_byte: Instant) -> Requests {
        self.stop();
        let deadline = Instant::now() + FINISH_TIME_MAX;
        while self.outstanding.load(Ordering::Relaxed) > 0 && Instant::now() < deadline {
            std::thread::sleep(FINISH_POLL_TIME);
        }
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        classify(&sent, saved, first_byte, Instant::now())
    }

    fn stop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(sender) = self.sender.take() {
            let _ = sender.join();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop();
    }
}

fn classify(sent: &[Sent], saved: Instant, first_byte: Instant, now: Instant) -> Requests {
    let mut requests = Requests::default();
    for request in sent.iter().filter(|request| request.at >= saved && request.at <= first_byte) {
        let wait = request.over.unwrap_or(now).saturating_duration_since(request.at);
        requests.sent_count += 1;
        requests.failed_count += u32::from(request.failed || request.over.is_none());
        requests.held_count += u32::from(!request.failed && request.by_new_code);
        requests.longest_wait_ms = requests.longest_wait_ms.max(wait.as_secs_f64() * 1_000.0);
    }
    requests
}

struct Request {
    client: Client,
    url: String,
    new_text: String,
    outstanding: Arc<AtomicUsize>,
    sent: Arc<Mutex<Vec<Sent>>>,
}

impl Request {
    fn make(self) {
        let at = Instant::now();
        let index = {
            let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
            sent.push(Sent { at, over: None, failed: false, by_new_code: false });
            sent.len() - 1
        };
        let done = match self.client.get(&self.url) {
            Ok(answer) => Sent {
                at,
                over: Some(answer.first_byte),
                failed: answer.status >= FAILURE_STATUS_MIN,
                by_new_code: answer.body.contains(&self.new_text),
            },
            Err(_) => Sent { at, over: Some(Instant::now()), failed: true, by_new_code: false },
        };
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)[index] = done;
        self.outstanding.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_requests_of_the_reload_count() {
        let begun = Instant::now();
        let at = |ms: u64| begun + Duration::from_millis(ms);
        let request = |sent: u64, over: Option<u64>, failed, by_new_code| Sent {
            at: at(sent),
            over: over.map(at),
            failed,
            by_new_code,
        };
        let sent = [
            request(50, Some(55), true, false),
            request(110, Some(112), false, false),
            request(120, Some(420), false, true),
            request(130, Some(131), true, false),
            request(140, None, false, false),
            request(450, Some(480), true, false),
        ];
        let requests = classify(&sent, at(100), at(400), at(1_140));
        assert_eq!((requests.sent_count, requests.failed_count, requests.held_count), (4, 2, 1));
        assert!((requests.longest_wait_ms - 1_000.0).abs() < 1e-6, "{requests:?}");
    }

    #[test]
    fn a_server_that_refuses_is_seen_by_every_request() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        let begun = Instant::now();
        let load = Load::start(&url, 200.0, "new");
        while load.sent.lock().unwrap().len() < 5 {
            assert!(begun.elapsed() < Duration::from_secs(60));
            std::thread::yield_now();
        }
        let requests = load.finish(begun, Instant::now());
        assert!(requests.sent_count >= 5, "{requests:?}");
        assert_eq!((requests.failed_count, requests.held_count), (requests.sent_count, 0));
    }

    #[test]
    fn no_load_sends_nothing() {
        let load = Load::start("http://127.0.0.1:1/", 0.0, "new");
        assert_eq!(load.finish(Instant::now(), Instant::now()), Requests::default());
    }
}
