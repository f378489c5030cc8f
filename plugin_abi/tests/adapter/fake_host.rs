//! A host without shared memory or front: it hands requests to a plugin through the C functions and keeps what comes
//! back. It checks what the header asks of a plugin, and can be as stingy as a slow client.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::c_void;
use std::io::{ErrorKind, Read, Write};
use std::mem::offset_of;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use devhost_plugin::abi::{self, Descriptor, Slice, StreamId};
use devhost_plugin::negotiation::{DescriptorView, check_descriptor};

/// Nothing here takes longer unless it hangs.
const DEADLINE: Duration = Duration::from_secs(20);
/// The credit of a request body, in bytes.
pub(crate) const CREDIT_BYTES: usize = 64 * 1024;
/// The largest piece of a request body, in bytes.
const PIECE_BYTES_MAX: usize = 16 * 1024;
/// The largest number of events that one poll handles.
const EVENTS_COUNT_MAX: usize = 64;

/// How much of a response the host takes at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Acceptance {
    /// Everything.
    All,
    /// 1 to 13 bytes, then nothing until it has said `writable`.
    Tiny,
    /// So many bytes for each stream, until [`FakeHost::give_room`].
    Room(usize),
}

pub(crate) struct FakeHost {
    state: Mutex<State>,
    changed: Condvar,
    acceptance: Acceptance,
    ready: UnixStream,
    make_ready: UnixStream,
    is_polling: AtomicBool,
}

struct State {
    plugin: Option<(DescriptorView, StatePointer)>,
    events: VecDeque<Event>,
    streams: HashMap<StreamId, Exchange>,
    last_stream: StreamId,
    logs: Vec<(i32, String)>,
    /// Streams that a call is being made for.
    busy: HashSet<StreamId>,
    violations: Vec<String>,
    /// How often `respond` was called.
    whole_responses_count: usize,
}

#[derive(Clone, Copy)]
struct StatePointer(*mut c_void);
// SAFETY: the header lets callbacks be called from any one thread.
unsafe impl Send for StatePointer {}

enum Event {
    Request(StreamId, Request),
    Body(StreamId, Vec<u8>, bool),
    Writable(StreamId),
    Cancel(StreamId),
}

/// A request to be sent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request {
    pub method: &'static str,
    pub target: String,
    pub headers: Vec<(&'static str, String)>,
    pub flags: u32,
    pub body_length: i64,
}

impl Request {
    pub(crate) fn get(target: &str) -> Self {
        Self { method: "GET", target: target.into(), flags: abi::REQUEST_END, ..Self::default() }
    }

    pub(crate) fn post(target: &str, body_length: i64) -> Self {
        Self { method: "POST", target: target.into(), body_length, ..Self::default() }
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// How far a response is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Response {
    Open,
    Ended,
    Reset,
    Panicked { message: String, location: String, backtrace: String },
    Cancelled,
}

/// What has been seen of one stream.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    pub status: Option<u32>,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub response: Response,
    /// Bytes of the request body that the plugin has consumed.
    pub consumed: usize,
    /// Bytes of the request body that were delivered.
    pub delivered: usize,
    to_deliver: VecDeque<u8>,
    end_after: bool,
    request_ended: bool,
    room: usize,
    calls: usize,
    wants_writable: bool,
}

impl Exchange {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn is_done(&self) -> bool {
        self.response != Response::Open
    }
}

impl FakeHost {
    /// Starts a plugin, or tells what it logged.
    pub(crate) fn start(
        descriptor: *const Descriptor,
        acceptance: Acceptance,
    ) -> Result<&'static Self, Vec<String>> {
        Self::start_with(descriptor, acceptance, &VTABLE)
    }

    /// Starts a plugin as a host of version 1.0 does.
    pub(crate) fn start_older(descriptor: *const Descriptor) -> Result<&'static Self, Vec<String>> {
        Self::start_with(descriptor, Acceptance::All, &OLDER_VTABLE)
    }

    /// How often the plugin has sent a response in one call.
    pub(crate) fn whole_responses_count(&self) -> usize {
        self.lock().whole_responses_count
    }

    fn start_with(
        descriptor: *const Descriptor,
        acceptance: Acceptance,
        vtable: &'static abi::HostVtable,
    ) -> Result<&'static Self, Vec<String>> {
        // SAFETY: the tests hand in descriptors of loaded plugins.
        let view = unsafe { check_descriptor(descriptor) }.expect("a good descriptor");
        let (ready, make_ready) = UnixStream::pair().expect("a socket pair");
        ready.set_nonblocking(true).expect("a socket");
        make_ready.set_nonblocking(true).expect("a socket");
        let host: &'static Self = Box::leak(Box::new(Self {
            state: Mutex::new(State {
                plugin: None,
                events: VecDeque::new(),
                streams: HashMap::new(),
                last_stream: 0,
                logs: Vec::new(),
                busy: HashSet::new(),
                violations: Vec::new(),
                whole_responses_count: 0,
            }),
            changed: Condvar::new(),
            acceptance,
            ready,
            make_ready,
            is_polling: AtomicBool::new(false),
        }));
        let start = abi::Start {
            abi_version: vtable.abi_version,
            struct_size: u32::try_from(size_of::<abi::Start>()).expect("small"),
            generation: 1,
            host: std::ptr::from_ref(host).cast_mut().cast(),
            vtable: &raw const *vtable,
        };
        let mut state = std::ptr::null_mut();
        // SAFETY: both pointers are valid; host and vtable are never freed.
        let code = unsafe { (view.start)(&raw const start, &raw mut state) };
        let mut guard = host.lock();
        if code != abi::OK {
            return Err(guard.logs.iter().map(|(_, text)| text.clone()).collect());
        }
        guard.plugin = Some((view, StatePointer(state)));
        drop(guard);
        Ok(host)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic under the lock")
    }

    fn push(&self, state: &mut State, event: Event) {
        state.events.push_back(event);
        // A full socket is readable already.
        let _ = (&self.make_ready).write(&[1]);
    }

    pub(crate) fn request(&self, request: Request) -> StreamId {
        let mut state = self.lock();
        state.last_stream += 1;
        let stream = state.last_stream;
        let has_body = request.flags & abi::REQUEST_END == 0;
        let exchange = Exchange {
            status: None,
            headers: Vec::new(),
            body: Vec::new(),
            response: Response::Open,
            consumed: 0,
            delivered: 0,
            to_deliver: VecDeque::new(),
            end_after: false,
            request_ended: !has_body,
            room: if let Acceptance::Room(room) = self.acceptance { room } else { usize::MAX },
            calls: 0,
            wants_writable: false,
        };
        state.streams.insert(stream, exchange);
        self.push(&mut state, Event::Request(stream, request));
        stream
    }

    /// Sends bytes of a request body as the credit allows.
    pub(crate) fn send(&self, stream: StreamId, data: &[u8], end: bool) {
        let mut state = self.lock();
        let exchange = state.streams.get_mut(&stream).expect("a stream");
        exchange.to_deliver.extend(data);
        exchange.end_after |= end;
        self.deliver(&mut state, stream);
    }

    fn deliver(&self, state: &mut State, stream: StreamId) {
        loop {
            let Some(exchange) = state.streams.get_mut(&stream) else { return };
            if exchange.request_ended || matches!(exchange.response, Response::Cancelled | Response::Reset) {
                return;
            }
            let credit = CREDIT_BYTES - (exchange.delivered - exchange.consumed);
            let len = exchange.to_deliver.len().min(credit).min(PIECE_BYTES_MAX);
            let end = exchange.end_after && len == exchange.to_deliver.len();
            if len == 0 && !end {
                return;
            }
            let piece = exchange.to_deliver.drain(..len).collect();
            exchange.delivered += len;
            exchange.request_ended = end;
            self.push(state, Event::Body(stream, piece, end));
        }
    }

    pub(crate) fn cancel(&self, stream: StreamId) {
        let mut state = self.lock();
        state.streams.get_mut(&stream).expect("a stream").response = Response::Cancelled;
        self.push(&mut state, Event::Cancel(stream));
    }

    /// For [`Acceptance::Room`]: the client has read so many bytes.
    pub(crate) fn give_room(&self, stream: StreamId, bytes: usize) {
        let mut state = self.lock();
        let exchange = state.streams.get_mut(&stream).expect("a stream");
        exchange.room += bytes;
        if std::mem::take(&mut exchange.wants_writable) {
            self.push(&mut state, Event::Writable(stream));
        }
    }

    /// Waits until a stream is as described, and returns what was seen of it.
    pub(crate) fn wait(&self, stream: StreamId, is_as_wanted: impl Fn(&Exchange) -> bool) -> Exchange {
        let deadline = Instant::now() + DEADLINE;
        let mut state = self.lock();
        let has_own_loop = state.plugin.as_ref().is_some_and(|(view, _)| view.has_own_loop());
        loop {
            let exchange = &state.streams[&stream];
            if is_as_wanted(exchange) {
                return exchange.clone();
            }
            assert!(Instant::now() < deadline, "it never came: {exchange:?}, {:?}", state.logs);
            if has_own_loop {
                state = self.changed.wait_timeout(state, DEADLINE).expect("no panic under the lock").0;
            } else {
                drop(state);
                self.poll();
                state = self.lock();
            }
        }
    }

    pub(crate) fn wait_done(&self, stream: StreamId) -> Exchange {
        self.wait(stream, Exchange::is_done)
    }

    /// Sends a request without a body and waits for the whole response.
    pub(crate) fn get(&self, target: &str) -> Exchange {
        let stream = self.request(Request::get(target));
        self.wait_done(stream)
    }

    pub(crate) fn logs(&self) -> Vec<(i32, String)> {
        self.lock().logs.clone()
    }

    /// Ends the plugin. Nothing against the header's rules may have happened.
    pub(crate) fn stop(&self) {
        let (view, state) = {
            let mut guard = self.lock();
            let (view, state) = guard.plugin.take().expect("stopped once");
            (view, state)
        };
        if let Some(stop) = view.stop {
            // SAFETY: the state is the one that start() stored.
            unsafe { stop(state.0) };
        }
        assert_eq!(self.lock().violations, Vec::<String>::new());
    }

    fn poll(&self) -> i32 {
        if self.is_polling.swap(true, Ordering::AcqRel) {
            self.lock().violations.push("two threads in poll".into());
            return abi::INVALID;
        }
        let mut counter = [0; 4096];
        while matches!((&self.ready).read(&mut counter), Ok(len) if len == counter.len()) {}
        let mut handled = 0;
        while handled < EVENTS_COUNT_MAX {
            let (view, pointer, event) = {
                let mut state = self.lock();
                let Some((view, pointer)) = state.plugin.clone() else { break };
                let Some(event) = state.events.pop_front() else { break };
                (view, pointer.0, event)
            };
            call(&view, pointer, event);
            handled += 1;
        }
        self.is_polling.store(false, Ordering::Release);
        i32::try_from(handled).expect("small")
    }

    /// Makes a change for one call of the plugin, and checks that no other call for the stream overlaps it.
    fn change<T>(
        &self,
        stream: StreamId,
        dead: T,
        change: impl FnOnce(&Self, &mut State, StreamId) -> T,
    ) -> T {
        let mut state = self.lock();
        if !state.busy.insert(stream) {
            state.violations.push(format!("overlapping calls for stream {stream}"));
        }
        drop(state);
        std::thread::yield_now();
        let mut state = self.lock();
        let result = match state.streams.get(&stream) {
            Some(exchange) if exchange.response != Response::Cancelled => change(self, &mut state, stream),
            _ => dead,
        };
        state.busy.remove(&stream);
        self.changed.notify_all();
        result
    }
}

fn call(view: &DescriptorView, state: *mut c_void, event: Event) {
    match event {
        Event::Request(stream, request) => {
            let headers: Vec<abi::Header> = request
                .headers
                .iter()
                .map(|(name, value)| abi::Header {
                    name: Slice::new(name.as_bytes()),
                    value: Slice::new(value.as_bytes()),
                })
                .collect();
            let head = abi::RequestHead {
                struct_size: u32::try_from(size_of::<abi::RequestHead>()).expect("small"),
                flags: request.flags,
                http_version: 11,
                reserved: 0,
                body_length: request.body_length,
                method: Slice::new(request.method.as_bytes()),
                target: Slice::new(request.target.as_bytes()),
                remote: Slice::new(b"127.0.0.1:50123"),
                headers: headers.as_ptr(),
                header_count: headers.len(),
            };
            // SAFETY: all pointers are valid during the call.
            unsafe { (view.request)(state, stream, &raw const head) }
        }
        Event::Body(stream, data, end) => {
            // SAFETY: as above.
            unsafe { (view.request_body)(state, stream, data.as_ptr(), data.len(), u32::from(end)) }
        }
        // SAFETY: as above.
        Event::Writable(stream) => unsafe { (view.writable)(state, stream) },
        // SAFETY: as above.
        Event::Cancel(stream) => unsafe { (view.cancel)(state, stream) },
    }
}

static VTABLE: abi::HostVtable = abi::HostVtable {
    abi_version: abi::ABI_VERSION,
    struct_size: size_of::<abi::HostVtable>() as u32,
    respond_head: Some(respond_head),
    respond_body: Some(respond_body),
    respond_end: Some(respond_end),
    respond_panic: Some(respond_panic),
    reset: Some(reset),
    consume: Some(consume),
    event_fd: Some(event_fd),
    poll: Some(poll),
    wait: Some(wait),
    log: Some(log),
    respond: Some(respond),
};

/// A host of version 1.0.
static OLDER_VTABLE: abi::HostVtable = abi::HostVtable {
    abi_version: abi::ABI_MAJOR << 16,
    struct_size: offset_of!(abi::HostVtable, respond) as u32,
    ..VTABLE
};

/// # Safety
/// `host` must be what `FakeHost::start` handed out.
unsafe fn host_of(host: *mut abi::Host) -> &'static FakeHost {
    // SAFETY: the caller vouches for it, and a host is never freed.
    unsafe { &*host.cast_const().cast() }
}

/// # Safety
/// The slice must be valid.
unsafe fn text_of(slice: Slice) -> String {
    // SAFETY: the caller vouches for it.
    String::from_utf8_lossy(unsafe { slice.as_bytes() }).into_owned()
}

fn exchange_of(state: &mut State, stream: StreamId) -> &mut Exchange {
    state.streams.get_mut(&stream).expect("looked up by `change`")
}

unsafe extern "C" fn respond_head(
    host: *mut abi::Host,
    stream: StreamId,
    head: *const abi::ResponseHead,
    end: i32,
) -> i32 {
    // SAFETY: the plugin hands back the host and a valid head.
    let (host, head) = unsafe { (host_of(host), &*head) };
    // SAFETY: as above.
    let headers: Vec<_> = unsafe { std::slice::from_raw_parts(head.headers, head.header_count) }
        .iter()
        // SAFETY: as above.
        .map(|header| unsafe { (text_of(header.name).to_ascii_lowercase(), text_of(header.value)) })
        .collect();
    host.change(stream, abi::DEAD_STREAM, |_, state, stream| {
        if headers.len() > 256 {
            return abi::TOO_LARGE;
        }
        let exchange = exchange_of(state, stream);
        if exchange.status.is_some() {
            return abi::INVALID;
        }
        exchange.status = Some(head.status);
        exchange.headers = headers;
        if end != 0 {
            exchange.response = Response::Ended;
        }
        abi::OK
    })
}

unsafe extern "C" fn respond_body(
    host: *mut abi::Host,
    stream: StreamId,
    data: *const u8,
    len: usize,
) -> i64 {
    // SAFETY: the plugin hands back the host and valid bytes.
    let (host, data) = unsafe { (host_of(host), Slice { data, len }.as_bytes()) };
    host.change(stream, i64::from(abi::DEAD_STREAM), |host, state, stream| {
        let exchange = exchange_of(state, stream);
        if exchange.status.is_none() || exchange.response != Response::Open {
            return i64::from(abi::INVALID);
        }
        exchange.calls += 1;
        let taken = match host.acceptance {
            Acceptance::All => len,
            Acceptance::Tiny if exchange.calls.is_multiple_of(2) => 0,
            Acceptance::Tiny => len.min(exchange.calls / 2 % 13 + 1),
            Acceptance::Room(_) => len.min(exchange.room),
        };
        exchange.room -= taken;
        exchange.body.extend(&data[..taken]);
        match host.acceptance {
            Acceptance::Tiny if taken == 0 => host.push(state, Event::Writable(stream)),
            Acceptance::Room(_) if taken < len => exchange.wants_writable = true,
            _ => {}
        }
        i64::try_from(taken).expect("small")
    })
}

unsafe extern "C" fn respond(
    host: *mut abi::Host,
    stream: StreamId,
    head: *const abi::ResponseHead,
    data: *const u8,
    len: usize,
) -> i64 {
    // SAFETY: the plugin hands back what the other functions get, too.
    unsafe {
        // First: whoever waits for the response may look at the count as soon as that has ended.
        host_of(host).lock().whole_responses_count += 1;
        let code = respond_head(host, stream, head, 0);
        if code != abi::OK {
            return i64::from(code);
        }
        let taken = respond_body(host, stream, data, len);
        if usize::try_from(taken) == Ok(len) {
            assert_eq!(respond_end(host, stream), abi::OK);
        }
        taken
    }
}

unsafe extern "C" fn respond_end(host: *mut abi::Host, stream: StreamId) -> i32 {
    // SAFETY: the plugin hands back the host.
    let host = unsafe { host_of(host) };
    host.change(stream, abi::DEAD_STREAM, |_, state, stream| {
        let exchange = exchange_of(state, stream);
        if exchange.response != Response::Open || exchange.status.is_none() {
            return abi::INVALID;
        }
        exchange.response = Response::Ended;
        abi::OK
    })
}

unsafe extern "C" fn respond_panic(host: *mut abi::Host, stream: StreamId, panic: *const abi::Panic) -> i32 {
    // SAFETY: the plugin hands back the host and a valid report.
    let (host, panic) = unsafe { (host_of(host), &*panic) };
    // SAFETY: as above.
    let report = unsafe {
        Response::Panicked {
            message: text_of(panic.message),
            location: text_of(panic.location),
            backtrace: text_of(panic.backtrace),
        }
    };
    host.change(stream, abi::DEAD_STREAM, |_, state, stream| {
        let exchange = exchange_of(state, stream);
        if exchange.response != Response::Open {
            return abi::INVALID;
        }
        exchange.response = report;
        abi::OK
    })
}

unsafe extern "C" fn reset(host: *mut abi::Host, stream: StreamId) -> i32 {
    // SAFETY: the plugin hands back the host.
    let host = unsafe { host_of(host) };
    host.change(stream, abi::DEAD_STREAM, |_, state, stream| {
        let exchange = exchange_of(state, stream);
        exchange.request_ended = true;
        if exchange.response == Response::Open {
            exchange.response = Response::Reset;
        }
        abi::OK
    })
}

unsafe extern "C" fn consume(host: *mut abi::Host, stream: StreamId, bytes: usize) -> i32 {
    // SAFETY: the plugin hands back the host.
    let host = unsafe { host_of(host) };
    host.change(stream, abi::DEAD_STREAM, |host, state, stream| {
        let exchange = exchange_of(state, stream);
        exchange.consumed += bytes;
        if exchange.consumed > exchange.delivered {
            state.violations.push(format!("more consumed than delivered on stream {stream}"));
            return abi::INVALID;
        }
        host.deliver(state, stream);
        abi::OK
    })
}

unsafe extern "C" fn event_fd(host: *mut abi::Host) -> i32 {
    // SAFETY: the plugin hands back the host.
    unsafe { host_of(host) }.ready.as_raw_fd()
}

unsafe extern "C" fn poll(host: *mut abi::Host) -> i32 {
    // SAFETY: the plugin hands back the host.
    unsafe { host_of(host) }.poll()
}

unsafe extern "C" fn wait(host: *mut abi::Host, _timeout_ms: i32) -> i32 {
    // SAFETY: the plugin hands back the host.
    let host = unsafe { host_of(host) };
    let mut byte = [0];
    match (&host.ready).read(&mut byte) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
        _ => 1,
    }
}

unsafe extern "C" fn log(host: *mut abi::Host, level: i32, message: Slice) {
    // SAFETY: the plugin hands back the host and a valid text.
    let (host, text) = unsafe { (host_of(host), text_of(message)) };
    host.lock().logs.push((level, text));
    host.changed.notify_all();
}
