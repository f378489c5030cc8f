//! The app's standard input under `--stdin`: devhost's own, for each generation.
//!
//! A file is reopened for each generation. devhost's own terminal becomes the app's. Anything else (a pipe,
//! another terminal) is read here and passed on through a pipe per generation, so that the newest gets each
//! line. Piped input is kept, so that reloaded code can read it again; typed input is read once.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, IsTerminal, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use actix_web::rt;
use nix::fcntl::OFlag;
use nix::unistd::{pipe2, tcgetpgrp};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;
use tokio::sync::watch;

/// How much piped input is kept for later generations.
const KEPT_SIZE_MAX: usize = 1024 * 1024;

const CHUNK_SIZE: usize = 16 * 1024;

#[derive(Debug)]
pub(super) enum Stdin {
    /// A file, read from this position.
    File(u64),
    /// A pipe, a terminal other than devhost's own, or the like.
    Stream(Arc<Shared>),
    /// The terminal itself, read by the app: see [`super::foreground`].
    Terminal,
}

#[derive(Debug)]
pub(super) struct Input {
    fd: OwnedFd,
    feed: Option<Feed>,
}

/// Keeps a generation's input open and filled until dropped.
#[derive(Debug)]
pub(super) struct Feed {
    generation: u64,
    shared: Arc<Shared>,
    task: rt::task::JoinHandle<()>,
}

/// The input so far, and how much of it each generation has got.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// There may be room again.
    room: Condvar,
    /// There is something new for a generation.
    news: watch::Sender<()>,
}

#[derive(Debug)]
struct State {
    /// It was typed: each line is for one generation only.
    typed: bool,
    kept: VecDeque<u8>,
    /// The position of the first kept byte in the whole input.
    first: u64,
    /// The position up to which some generation has got it.
    passed_on: u64,
    ended: bool,
    /// The positions of live generations.
    readers: BTreeMap<u64, u64>,
}

impl Stdin {
    /// Starts reading devhost's standard input, unless it is the terminal, which the app reads itself.
    ///
    /// # Errors
    /// It is closed, or no thread can be started.
    pub(super) fn start(app_has_terminal: bool) -> io::Result<Self> {
        if app_has_terminal && tcgetpgrp(io::stdin()).is_ok() {
            return Ok(Self::Terminal);
        }
        let mut file = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        if file.metadata()?.is_file() {
            return Ok(Self::File(file.stream_position()?));
        }
        let shared = Arc::new(Shared::new(io::stdin().is_terminal()));
        let reader = Arc::clone(&shared);
        std::thread::Builder::new().name("devhost-stdin".into()).spawn(move || reader.read_all(file))?;
        Ok(Self::Stream(shared))
    }

    /// Opens another generation's standard input. Must be called on an actix runtime.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(super) fn open(&self, generation: u64) -> io::Result<Input> {
        match self {
            Self::File(position) => {
                let mut file = File::open("/proc/self/fd/0")?;
                file.seek(SeekFrom::Start(*position))?;
                Ok(Input { fd: file.into(), feed: None })
            }
            Self::Terminal => Ok(Input { fd: io::stdin().as_fd().try_clone_to_owned()?, feed: None }),
            Self::Stream(shared) => {
                let (fd, ours) = pipe2(OFlag::O_CLOEXEC)?;
                let pipe = pipe::Sender::from_owned_fd(ours)?;
                shared.enter(generation);
                let task = rt::spawn(Arc::clone(shared).feed(generation, pipe));
                let feed = Feed { generation, shared: Arc::clone(shared), task };
                Ok(Input { fd, feed: Some(feed) })
            }
        }
    }
}

impl Input {
    /// Returns what must live as long as the generation, closing the app's end here.
    pub(super) fn into_feed(self) -> Option<Feed> {
        self.feed
    }
}

impl AsFd for Input {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.task.abort();
        self.shared.lock().readers.remove(&self.generation);
        self.shared.tell();
    }
}

impl Shared {
    fn new(typed: bool) -> Self {
        let state = State {
            typed,
            kept: VecDeque::new(),
            first: 0,
            passed_on: 0,
            ended: false,
            readers: BTreeMap::new(),
        };
        Self { state: Mutex::new(state), room: Condvar::new(), news: watch::Sender::new(()) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.room.notify_all();
        self.news.send_replace(());
    }

    /// Reads to the end, as fast as there is room.
    fn read_all(&self, mut from: impl Read) {
        let mut chunk = vec![0; CHUNK_SIZE];
        loop {
            match from.read(&mut chunk) {
                Ok(0) => break,
                Ok(len) => self.keep(&chunk[..len]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        self.lock().ended = true;
        self.tell();
    }

    fn keep(&self, bytes: &[u8]) {
        let mut state = self.lock();
        while state.kept.len() + bytes.len() > KEPT_SIZE_MAX {
            if !state.forget_passed_on() {
                state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
        state.kept.extend(bytes);
        drop(state);
        self.tell();
    }

    fn enter(&self, generation: u64) {
        let mut state = self.lock();
        let from = state.first;
        state.readers.insert(generation, from);
        drop(state);
        self.tell();
    }

    /// Fills one generation's input while it is the newest.
    async fn feed(self: Arc<Self>, generation: u64, mut pipe: pipe::Sender) {
        let mut news = self.news.subscribe();
        loop {
            news.mark_unchanged();
            let next = self.lock().next(generation);
            match next {
                Next::Wait => {
                    if news.changed().await.is_err() {
                        return;
                    }
                }
                Next::Bytes(bytes) => {
                    if pipe.write_all(&bytes).await.is_err() {
                        // The app has closed its input.
                        return;
                    }
                    self.lock().pass_on(generation, bytes.len());
                    self.room.notify_all();
                }
                Next::Over => return,
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Next {
    Bytes(Vec<u8>),
    Wait,
    Over,
}

impl State {
    fn next(&mut self, generation: u64) -> Next {
        let is_newest = self.readers.keys().next_back() == Some(&generation);
        let Some(position) = self.readers.get_mut(&generation) else { return Next::Over };
        if !is_newest {
            return Next::Wait;
        }
        let least = if self.typed { self.passed_on } else { self.first };
        *position = (*position).max(least);
        let begin = usize::try_from(*position - self.first).unwrap_or(usize::MAX);
        let bytes: Vec<u8> = self.kept.iter().skip(begin).take(CHUNK_SIZE).copied().collect();
        match (bytes.is_empty(), self.ended) {
            (false, _) => Next::Bytes(bytes),
            (true, false) => Next::Wait,
            (true, true) => Next::Over,
        }
    }

    fn pass_on(&mut self, generation: u64, len: usize) {
        if let Some(position) = self.readers.get_mut(&generation) {
            *position += len as u64;
            self.passed_on = self.passed_on.max(*position);
        }
    }

    /// Makes room by forgetting what some generation has got. Returns false if there is no such input.
    fn forget_passed_on(&mut self) -> bool {
        let len = usize::try_from(self.passed_on - self.first).unwrap_or(usize::MAX).min(self.kept.len());
        self.kept.drain(..len);
        self.first += len as u64;
        len > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns all that a generation gets for now.
    fn take(shared: &Shared, generation: u64) -> String {
        let mut text = Vec::new();
        loop {
            let next = shared.lock().next(generation);
            let Next::Bytes(bytes) = next else { return String::from_utf8(text).unwrap() };
            shared.lock().pass_on(generation, bytes.len());
            text.extend(bytes);
        }
    }

    #[test]
    fn what_came_through_a_pipe_is_there_for_each_generation() {
        let shared = Shared::new(false);
        shared.enter(1);
        shared.read_all(&b"one\ntwo\n"[..]);
        assert_eq!(take(&shared, 1), "one\ntwo\n");
        shared.enter(2);
        assert_eq!(take(&shared, 2), "one\ntwo\n");
        assert_eq!(shared.lock().next(2), Next::Over);
        assert_eq!(shared.lock().next(1), Next::Wait, "an old generation keeps its input open");
    }

    #[test]
    fn what_was_typed_goes_to_one_generation_the_newest() {
        let shared = Shared::new(true);
        shared.enter(1);
        shared.keep(b"one\n");
        assert_eq!(take(&shared, 1), "one\n");
        shared.enter(2);
        shared.keep(b"two\n");
        assert_eq!((take(&shared, 1), take(&shared, 2)), (String::new(), "two\n".into()));
        // The new one did not start.
        shared.lock().readers.remove(&2);
        shared.keep(b"three\n");
        assert_eq!(take(&shared, 1), "three\n");
    }

    #[test]
    fn what_is_kept_has_a_bound_and_the_rest_waits_for_a_reader() {
        let shared = Arc::new(Shared::new(false));
        shared.enter(1);
        let all: Vec<u8> = (0..2 * KEPT_SIZE_MAX).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let (reader, input) = (Arc::clone(&shared), all.clone());
        let thread = std::thread::spawn(move || reader.read_all(&input[..]));
        let mut got = Vec::new();
        while got.len() < all.len() {
            let next = shared.lock().next(1);
            if let Next::Bytes(bytes) = next {
                shared.lock().pass_on(1, bytes.len());
                shared.room.notify_all();
                got.extend(bytes);
            }
            assert!(shared.lock().kept.len() <= KEPT_SIZE_MAX);
        }
        assert!(got == all);
        thread.join().unwrap();
    }
}
