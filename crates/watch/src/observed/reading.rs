//! Tells which opens of files a response explains, by comparing its body with the files. The front calls this for each request.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use devhost_sys::trail;

use super::observer::{Call, Seat, State};

/// How much of a body is compared. Of a larger one, this much and its length must be right.
const COMPARED_SIZE_MAX: u64 = 16 * 1024 * 1024;

/// How many files a body is compared with.
const CANDIDATES_COUNT_MAX: usize = 16;

/// How far the clock of the trail may be behind: a tick of the kernel, or several on a virtual machine that is kept waiting.
const TICK: Duration = Duration::from_millis(50);

const OK: u16 = 200;
const PARTIAL: u16 = 206;
const NOT_MODIFIED: u16 = 304;
const RANGE_NOT_SATISFIABLE: u16 = 416;

/// A request inside a worker.
#[derive(Debug)]
pub struct Look {
    seat: Arc<Seat>,
    began: SystemTime,
    /// The number of requests that had entered the worker, this one included.
    entered: u64,
    was_alone: bool,
}

/// A response's head.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// The path of the URL, without its query.
    pub path: &'a str,
    /// The request was a HEAD.
    pub is_head: bool,
    /// The status code.
    pub status: u16,
    /// The length of the body, if announced.
    pub length: Option<u64>,
    /// The body has a content coding, so `length` is not the file's.
    pub is_encoded: bool,
    /// Where a partial body begins, and how long the whole is.
    pub part: Option<(u64, u64)>,
}

/// What to do with a response.
#[derive(Debug)]
pub enum Check {
    /// Nothing.
    Pass,
    /// The body may be a file: show it to the comparison.
    Compare(Box<Comparison>),
    /// The app has not looked at a file that has changed: it answers with old content.
    Stale,
}

/// Opens that no response has explained yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unclaimed {
    opens: u64,
    stats: u64,
    last: SystemTime,
}

impl Default for Unclaimed {
    fn default() -> Self {
        Self { opens: 0, stats: 0, last: SystemTime::UNIX_EPOCH }
    }
}

impl Unclaimed {
    pub(super) fn add(&mut self, note: &trail::Note) {
        match note.look {
            trail::Look::Read => self.opens += u64::from(note.count),
            _ => self.stats += u64::from(note.count),
        }
        self.last = self.last.max(note.last);
    }
}

/// What the app had done with a served file when that changed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Promise {
    looks: u64,
    changed: SystemTime,
}

impl State {
    /// Expects the live workers to look at a file before they send it again.
    pub(super) fn promise(&mut self, place: &Path) {
        let changed = changed_at(place);
        for worker in self.workers.values_mut() {
            if let Some((looks, _)) = worker.looks.get(place) {
                worker.promises.insert(place.to_owned(), Promise { looks: *looks, changed });
            }
        }
    }

    /// Returns a file that a response for the URL shows, that has changed, and that the worker has not looked at since.
    fn broken_promise(&mut self, number: u64, url: &str) -> Option<PathBuf> {
        let places = self.knowledge.shown_at(url).to_vec();
        let worker = self.workers.get_mut(&number)?;
        for place in places {
            let Some(promise) = worker.promises.get(&place) else { continue };
            let (looks, last) = worker.looks.get(&place).copied().unwrap_or((0, SystemTime::UNIX_EPOCH));
            if looks <= promise.looks && last <= promise.changed {
                return Some(place);
            }
            worker.promises.remove(&place);
        }
        None
    }

    fn claim(&mut self, number: u64, url: &str, candidate: &Candidate) {
        let Some(worker) = self.workers.get_mut(&number) else { return };
        if let Some(unclaimed) = worker.unclaimed.get_mut(&candidate.place) {
            unclaimed.opens = unclaimed.opens.saturating_sub(candidate.opens);
            unclaimed.stats = unclaimed.stats.saturating_sub(candidate.stats);
            if unclaimed.opens + unclaimed.stats == 0 {
                worker.unclaimed.remove(&candidate.place);
            }
        }
        let generation = worker.generation;
        self.knowledge.served(generation, url, &candidate.place, candidate.opens, candidate.stats);
    }
}

/// A file that a response may show.
#[derive(Debug, Clone)]
struct Candidate {
    place: PathBuf,
    /// How many opens and looks at metadata the response would explain.
    opens: u64,
    stats: u64,
}

impl Seat {
    /// Notes that a request enters the worker.
    pub fn enter(self: &Arc<Self>) -> Look {
        let was_alone = self.inside.fetch_add(1, Ordering::AcqRel) == 0;
        let entered = self.entered.fetch_add(1, Ordering::AcqRel) + 1;
        self.read();
        if was_alone && let Some(worker) = self.observer.lock().workers.get_mut(&self.worker) {
            // No response will explain what happened before.
            worker.unclaimed.clear();
        }
        let began = SystemTime::now().checked_sub(TICK).unwrap_or(SystemTime::UNIX_EPOCH);
        Look { seat: Arc::clone(self), began, entered, was_alone }
    }
}

impl Look {
    /// Judges a response by its head, before anything of it is sent.
    pub fn judge(&self, answer: &Answer<'_>) -> Check {
        let seat = &self.seat;
        let has_news = seat.read();
        let has_promises = seat.observer.has_promises.load(Ordering::Acquire);
        if !matches!(answer.status, OK | PARTIAL | NOT_MODIFIED | RANGE_NOT_SATISFIABLE) {
            return Check::Pass;
        }
        let shows_body = matches!(answer.status, OK | PARTIAL) && !answer.is_head;
        // Beside another request, that one may have taken the news.
        if !has_news && !has_promises && self.is_alone() {
            return Check::Pass;
        }
        let mut state = seat.observer.lock();
        if has_promises && let Some(place) = state.broken_promise(seat.worker, answer.path) {
            state.betray(place);
            drop(state);
            seat.observer.call(Call::Stale);
            return Check::Stale;
        }
        let candidates = self.candidates(&state, answer);
        if candidates.is_empty() {
            return Check::Pass;
        }
        let known = state.knowledge.shown_at(answer.path).to_vec();
        let (shown, others): (Vec<_>, Vec<_>) =
            candidates.into_iter().partition(|candidate| known.contains(&candidate.place));
        for candidate in &shown {
            state.claim(seat.worker, answer.path, candidate);
        }
        // A file that was only looked at may stand beside the one that is sent, such as a packed one.
        if shown.iter().any(|candidate| candidate.opens > 0) || others.is_empty() {
            return Check::Pass;
        }
        if !shows_body {
            // There is nothing to compare. If the file changes, the app must look at it before it sends it.
            if let [only] = others.as_slice() {
                state.claim(seat.worker, answer.path, only);
            }
            return Check::Pass;
        }
        drop(state);
        Check::Compare(Box::new(Comparison {
            seat: Arc::clone(seat),
            url: answer.path.to_owned(),
            candidates: others,
            plain: Taken::default(),
            packed: Taken::default(),
            start: answer.part.map_or(0, |(start, _)| start),
            length: answer.length.filter(|_| !answer.is_encoded),
            is_over: false,
        }))
    }

    /// Returns true if no other request was in the worker since this one entered.
    fn is_alone(&self) -> bool {
        self.was_alone && self.seat.entered.load(Ordering::Acquire) == self.entered
    }

    /// Lists the files that the worker has opened during the request and that the response may show.
    fn candidates(&self, state: &State, answer: &Answer<'_>) -> Vec<Candidate> {
        let Some(worker) = state.workers.get(&self.seat.worker) else { return Vec::new() };
        let is_alone = self.is_alone();
        let whole = match answer.part {
            Some((_, whole)) => Some(whole),
            None => answer.length.filter(|_| !answer.is_encoded && answer.status == OK),
        };
        worker
            .unclaimed
            .iter()
            // What happened before the only request was cleared away when it entered.
            .filter(|(_, unclaimed)| self.was_alone || unclaimed.last >= self.began)
            .filter(|(place, _)| {
                let size =
                    std::fs::metadata(place).ok().filter(std::fs::Metadata::is_file).map(|file| file.len());
                size.is_some_and(|size| whole.is_none_or(|whole| whole == size))
            })
            .take(CANDIDATES_COUNT_MAX)
            .map(|(place, unclaimed)| {
                // Beside other requests, whose opens these are is unknown, but for one.
                let opens = if is_alone { unclaimed.opens } else { unclaimed.opens.min(1) };
                Candidate { place: place.clone(), opens, stats: unclaimed.stats }
            })
            .collect()
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        self.seat.inside.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Compares a body with the files that it may be, when it ends or is given up.
#[derive(Debug)]
pub struct Comparison {
    seat: Arc<Seat>,
    url: String,
    candidates: Vec<Candidate>,
    /// Without its codings.
    plain: Taken,
    /// As it was sent, if it has any: a file may have been packed before.
    packed: Taken,
    /// Where in the file the body begins.
    start: u64,
    length: Option<u64>,
    is_over: bool,
}

impl Comparison {
    /// Takes the next piece of the body, without its codings.
    pub fn feed(&mut self, piece: &[u8]) {
        self.plain.add(piece);
        if self.length == Some(self.plain.size) {
            self.finish();
        }
    }

    /// Takes the next piece of a body that has codings, as it was sent.
    pub fn feed_packed(&mut self, piece: &[u8]) {
        self.packed.add(piece);
    }

    /// Notes the end of the body.
    pub fn finish(&mut self) {
        if !std::mem::replace(&mut self.is_over, true) {
            self.compare();
        }
    }

    fn compare(&mut self) {
        let candidates = std::mem::take(&mut self.candidates);
        let is_whole = self.is_over && self.length.is_none() && self.start == 0;
        let has_plain = self.plain.size > 0;
        let is_shown = |candidate: &&Candidate| {
            let is = |taken: &Taken| taken.is_of(&candidate.place, self.start, is_whole);
            if self.packed.size == 0 {
                is(&self.plain)
            } else {
                is(&self.packed) || has_plain && is(&self.plain)
            }
        };
        // A packed file and the plain one beside it may both be shown, but only one was opened for this.
        let (opened, looked_at): (Vec<_>, Vec<_>) =
            candidates.iter().filter(is_shown).partition(|candidate| candidate.opens > 0);
        if opened.is_empty() && looked_at.is_empty() {
            return;
        }
        let mut state = self.seat.observer.lock();
        for shown in opened.into_iter().take(1).chain(looked_at) {
            state.claim(self.seat.worker, &self.url, shown);
        }
    }
}

impl Drop for Comparison {
    fn drop(&mut self) {
        // A client that goes away has seen a part of the file, or has its length at least.
        if !self.is_over && (self.plain.size + self.packed.size > 0 || self.length.is_some()) {
            self.compare();
        }
    }
}

/// What a comparison has got of a body.
#[derive(Debug, Default)]
struct Taken {
    hasher: blake3::Hasher,
    size: u64,
}

impl Taken {
    fn add(&mut self, piece: &[u8]) {
        let left = COMPARED_SIZE_MAX.saturating_sub(self.size);
        let compared = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        self.hasher.update(&piece[..compared]);
        self.size += piece.len() as u64;
    }

    /// Returns true if the file has this at `start`, and nothing else if this is the whole.
    fn is_of(&self, place: &Path, start: u64, is_whole: bool) -> bool {
        let part = self.size.min(COMPARED_SIZE_MAX);
        let size = std::fs::metadata(place).map_or(0, |file| file.len());
        (!is_whole || size == self.size)
            && hash_of(place, start, part).is_ok_and(|file| file == self.hasher.finalize())
    }
}

fn hash_of(path: &Path, start: u64, size: u64) -> std::io::Result<blake3::Hash> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(start))?;
    let mut hasher = blake3::Hasher::new();
    let read = std::io::copy(&mut file.take(size), &mut hasher)?;
    if read < size {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(hasher.finalize())
}

/// Returns when a file was changed last, or now if it is gone.
fn changed_at(place: &Path) -> SystemTime {
    use std::os::unix::fs::MetadataExt;
    let Ok(metadata) = std::fs::metadata(place) else { return SystemTime::now() };
    let (seconds, nanos) = (metadata.ctime(), metadata.ctime_nsec());
    let since = Duration::new(u64::try_from(seconds).unwrap_or(0), u32::try_from(nanos).unwrap_or(0));
    SystemTime::UNIX_EPOCH + since
}
