//! The app behind the C functions: starts the runtime and the app, turns callbacks into tasks, and stops.
//! Each `start` makes an instance that is never freed.

use std::collections::HashMap;
use std::ffi::c_void;
use std::future::{Future, poll_fn};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Runtime;
use tokio::task::AbortHandle;

use crate::abi::{self, Slice, StreamId};
use crate::negotiation::check_start;

use super::app::{App, Loading};
use super::error::AppError;
use super::exchange;
use super::host::{Host, size_of_u32};
use super::lock::lock;
use super::panics::{self, Catch};
use super::request::{Disposition, read_head};
use super::stream::Stream;

/// How long `stop` waits for app code that does not return.
const STOP_TIME_MAX: Duration = Duration::from_millis(500);
/// After this many successful polls in a row, the loop lets other tasks run.
const POLLS_IN_A_ROW_COUNT_MAX: u32 = 8;
/// One thread for an app that blocks, and one to go on meanwhile.
const THREADS_COUNT_MIN: usize = 2;

/// What [`export!`](crate::export) knows about an app.
pub trait Plugin {
    /// The package's name.
    const NAME: &'static str;
    /// The package's version.
    const VERSION: &'static str;
    /// Calls the exported function.
    fn load() -> Loading;
}

/// Returns an app's descriptor.
pub const fn descriptor<P: Plugin>() -> abi::Descriptor {
    unsafe extern "C" fn start<P: Plugin>(start: *const abi::Start, state: *mut *mut c_void) -> i32 {
        // SAFETY: the host promises valid pointers, as the header says.
        unsafe { start_app(start, state, P::load) }
    }
    abi::Descriptor {
        abi_version: abi::ABI_VERSION,
        struct_size: size_of_u32::<abi::Descriptor>(),
        flags: abi::PLUGIN_OWN_LOOP,
        reserved: 0,
        name: Slice::new(P::NAME.as_bytes()),
        version: Slice::new(P::VERSION.as_bytes()),
        start: Some(start::<P>),
        request: Some(on_request),
        request_body: Some(on_request_body),
        writable: Some(on_writable),
        cancel: Some(on_cancel),
        drain: None,
        stop: Some(on_stop),
    }
}

/// What `state` points to.
struct Adapter {
    host: Host,
    app: App,
    handle: tokio::runtime::Handle,
    /// Taken by `stop`.
    runtime: Mutex<Option<Runtime>>,
    streams: Mutex<HashMap<StreamId, OpenStream>>,
}

/// A request being answered.
struct OpenStream {
    stream: Arc<Stream>,
    task: AbortHandle,
}

/// # Safety
/// `start` and `state` must be as the header says of `start`'s arguments.
unsafe fn start_app(start: *const abi::Start, state: *mut *mut c_void, load: fn() -> Loading) -> i32 {
    // SAFETY: promised by the caller.
    let host = match unsafe { check_start(start) } {
        // SAFETY: the header says that they are valid until the process ends.
        Ok(start) => unsafe { Host::new(start) },
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "without a host there is no log")]
            {
                eprintln!("{error}");
            }
            return abi::INVALID;
        }
    };
    match load_app(load) {
        Ok((runtime, app)) => {
            let handle = runtime.handle().clone();
            let streams = Mutex::new(HashMap::new());
            let adapter: &'static Adapter = Box::leak(Box::new(Adapter {
                host,
                app,
                handle: handle.clone(),
                runtime: Mutex::new(Some(runtime)),
                streams,
            }));
            // SAFETY: promised by the caller.
            unsafe { *state = std::ptr::from_ref(adapter).cast_mut().cast() };
            // Last: callbacks may come from here on.
            handle.spawn(run_loop(host));
            abi::OK
        }
        Err(error) => {
            host.log(abi::LOG_ERROR, &error.to_string());
            abi::INVALID
        }
    }
}

fn load_app(load: fn() -> Loading) -> Result<(Runtime, App), AppError> {
    let threads = std::thread::available_parallelism().map_or(THREADS_COUNT_MIN, |count| {
        // `max` keeps one blocked thread from blocking everything.
        count.get().max(THREADS_COUNT_MIN)
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("devhost-app")
        .enable_all()
        .build()
        .map_err(|error| AppError::new(format!("failed to start the tokio runtime: {error}")))?;
    panics::install_hook();
    let app = {
        // Entered, not blocked on: a synchronous function may use its own runtime.
        let _context = runtime.enter();
        match panics::catch(load) {
            Ok(Loading::Done(app)) => Ok(app),
            Ok(Loading::Future(future)) => runtime.block_on(Catch::new(future)),
            Err(report) => Err(report),
        }
    };
    // Again, to run before a hook that the app may have installed.
    panics::install_hook();
    match app {
        Ok(Ok(app)) => Ok((runtime, app)),
        Ok(Err(error)) => {
            runtime.shutdown_timeout(STOP_TIME_MAX);
            Err(AppError::new(format!("the app failed to start: {error}")))
        }
        Err(report) => {
            runtime.shutdown_timeout(STOP_TIME_MAX);
            let message =
                format!("the app panicked while starting: {} ({})", report.message, report.location);
            Err(AppError::new(message))
        }
    }
}

/// Calls `poll` whenever there is something to do, until the link is over.
async fn run_loop(host: Host) {
    // The deprecated constructor's replacement needs tokio 1.54, and apps may lock an older version. Its
    // safety condition holds: the host keeps the same descriptor open until the process ends.
    #[allow(deprecated)]
    let event_fd = match AsyncFd::with_interest(host.event_fd(), Interest::READABLE) {
        Ok(event_fd) => event_fd,
        Err(error) => {
            host.log(abi::LOG_ERROR, &format!("failed to wait for requests: {error}"));
            return;
        }
    };
    loop {
        match event_fd.readable().await {
            // Before the poll, so that whatever arrives after the poll's last look counts as new.
            Ok(mut ready) => ready.clear_ready(),
            Err(_) => return,
        }
        for polls in 1_u32.. {
            match host.poll() {
                None => return,
                Some(0) => break,
                Some(_) if polls.is_multiple_of(POLLS_IN_A_ROW_COUNT_MAX) => let_others_run().await,
                Some(_) => {}
            }
        }
    }
}

/// Moves to the end of the run queue. Tokio's `yield_now` would wait for this thread to become idle, and its
/// next task may block for long; from the queue, another thread can take the loop.
async fn let_others_run() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl Adapter {
    /// # Safety
    /// `state` must have been stored by `start_app`.
    unsafe fn from_state(state: *mut c_void) -> &'static Self {
        // SAFETY: it is never freed, and only shared references to it exist.
        unsafe { &*state.cast_const().cast() }
    }

    fn accept(&'static self, stream: Arc<Stream>, disposition: Disposition) {
        let id = stream.id();
        // Held until the entry is inserted, so that the task cannot remove it before.
        let mut streams = lock(&self.streams);
        let run = self.run(stream.clone(), disposition);
        let task = self.handle.spawn(run).abort_handle();
        streams.insert(id, OpenStream { stream, task });
    }

    #[expect(clippy::manual_async_fn, reason = "the future must not borrow from the callback, and says so")]
    fn run(
        &'static self,
        stream: Arc<Stream>,
        disposition: Disposition,
    ) -> impl Future<Output = ()> + Send + 'static {
        async move {
            exchange::run(self.app.clone(), stream.clone(), disposition).await;
            self.remove_if_over(&stream);
        }
    }

    fn find(&self, id: StreamId) -> Option<Arc<Stream>> {
        lock(&self.streams).get(&id).map(|entry| entry.stream.clone())
    }

    fn remove_if_over(&self, stream: &Stream) {
        if stream.is_over() {
            lock(&self.streams).remove(&stream.id());
        }
    }
}

unsafe extern "C" fn on_request(state: *mut c_void, id: StreamId, head: *const abi::RequestHead) {
    // SAFETY: the host returns what `start` stored, and a valid head.
    let (adapter, head) = unsafe { (Adapter::from_state(state), &*head) };
    let has_body = head.flags & abi::REQUEST_END == 0;
    let stream = Arc::new(Stream::new(id, adapter.host, has_body));
    // SAFETY: the host promises that the head's pointers are valid.
    let disposition = unsafe { read_head(head, &stream) };
    adapter.accept(stream, disposition);
}

unsafe extern "C" fn on_request_body(
    state: *mut c_void,
    id: StreamId,
    data: *const u8,
    len: usize,
    flags: u32,
) {
    // SAFETY: the host returns what `start` stored.
    let adapter = unsafe { Adapter::from_state(state) };
    if let Some(stream) = adapter.find(id) {
        // SAFETY: the host promises that the bytes are valid.
        let data = unsafe { Slice { data, len }.as_bytes() };
        stream.receive(data, flags & abi::BODY_END != 0);
        adapter.remove_if_over(&stream);
    }
}

unsafe extern "C" fn on_writable(state: *mut c_void, id: StreamId) {
    // SAFETY: the host returns what `start` stored.
    let adapter = unsafe { Adapter::from_state(state) };
    if let Some(stream) = adapter.find(id) {
        stream.wake_writer();
    }
}

unsafe extern "C" fn on_cancel(state: *mut c_void, id: StreamId) {
    // SAFETY: the host returns what `start` stored.
    let adapter = unsafe { Adapter::from_state(state) };
    let entry = lock(&adapter.streams).remove(&id);
    if let Some(OpenStream { stream, task }) = entry {
        stream.cancel();
        // The runtime drops the future, and with it all that the handler holds.
        task.abort();
    }
}

unsafe extern "C" fn on_stop(state: *mut c_void) {
    // SAFETY: the host returns what `start` stored.
    let adapter = unsafe { Adapter::from_state(state) };
    let runtime = lock(&adapter.runtime).take();
    if let Some(runtime) = runtime {
        runtime.shutdown_timeout(STOP_TIME_MAX);
    }
}
