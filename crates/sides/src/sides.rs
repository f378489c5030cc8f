//! The runner's handle to the side processes.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use devhost_model::{Failure, SideProcess, StatusBoard};
use devhost_terminal::Terminal;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::crew::{Awaited, Channels, Ends, REQUESTS_COUNT_MAX, Request, work};
use crate::orders::Order;
use crate::run::Wish;
use crate::words;

/// How long the processes may take to end after they were killed.
const KILL_TIME_MAX: Duration = Duration::from_secs(3);

/// Where the processes run.
#[derive(Debug)]
pub struct Place {
    /// devhost's executable, which is the attendants', too.
    pub devhost: PathBuf,
    /// Where their lines go.
    pub terminal: Arc<Terminal>,
    /// Where their state is published: for each app that is served.
    pub statuses: Vec<Arc<StatusBoard>>,
    /// How long they may take to end.
    pub stop_time_max: Duration,
}

/// The side processes. If dropped, they are killed.
#[derive(Debug)]
pub struct Sides {
    lists: watch::Sender<Vec<SideProcess>>,
    requests: mpsc::Sender<Request>,
    wishes: watch::Sender<Wish>,
    awaited: watch::Receiver<Awaited>,
    channels: Channels,
    /// Closed once all have ended.
    over: watch::Receiver<()>,
}

impl Sides {
    /// Starts the processes, on a thread of their own.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn start(processes: Vec<SideProcess>, place: Place) -> io::Result<Self> {
        let (lists, new_lists) = watch::channel(processes);
        let (requests, received) = mpsc::channel(REQUESTS_COUNT_MAX);
        let (wishes, wished) = watch::channel(Wish::Run);
        let (published, awaited) = watch::channel(Awaited::default());
        let (open, over) = watch::channel(());
        let channels = Channels::default();
        let ends = Ends {
            lists: new_lists,
            requests: received,
            wishes: wished,
            awaited: published,
            channels: Arc::clone(&channels),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("devhost-sides".into()).spawn(move || {
            runtime.block_on(work(Arc::new(place), ends));
            drop(runtime);
            drop(open);
        })?;
        Ok(Self { lists, requests, wishes, awaited, channels, over })
    }

    /// Makes these the processes that run: starts those that are new, ends those that are gone, and starts those anew that
    /// have changed.
    pub fn apply(&self, processes: Vec<SideProcess>) {
        self.lists.send_if_modified(|list| {
            let is_new = *list != processes;
            *list = processes;
            is_new
        });
    }

    /// Waits until what has to run before a build has succeeded; what failed before is run again. `waits` is called with
    /// what is waited for.
    ///
    /// # Errors
    /// A process has failed.
    pub async fn prepare(&self, waits: impl FnMut(&str)) -> Result<(), Failure> {
        let (answer, answered) = oneshot::channel();
        if self.requests.send(Request::Prepare(answer)).await.is_err() {
            return Ok(());
        }
        // No answer means that devhost ends, and no build counts any more.
        self.wait(answered, |awaited| &awaited.steps, waits).await.unwrap_or(Ok(()))
    }

    /// Waits until the processes that say when they are ready are so, or have had their time. `waits` is
    /// called with what is waited for.
    pub async fn ready(&self, waits: impl FnMut(&str)) {
        let (answer, answered) = oneshot::channel();
        if self.requests.send(Request::Await(answer)).await.is_ok() {
            self.wait(answered, |awaited| &awaited.unready, waits).await;
        }
    }

    /// Returns true if the app's first start would wait for a process.
    pub fn is_awaited(&self) -> bool {
        !self.awaited.borrow().unready.is_empty()
    }

    /// Suspends them, as Ctrl-Z does.
    pub fn suspend(&self) {
        self.order(Order::Suspend);
    }

    /// Lets them go on.
    pub fn proceed(&self) {
        self.order(Order::Proceed);
    }

    /// Asks them all to end, and waits until they have, or were killed.
    pub async fn end(&self) {
        self.wishes.send_replace(Wish::End);
        let mut over = self.over.clone();
        // Each is killed when its time is up. This is for a thread that hangs.
        let _ = over.changed().await;
    }

    /// Kills them all, and waits until they have ended.
    pub async fn kill(&self) {
        self.wishes.send_replace(Wish::Kill);
        let mut over = self.over.clone();
        let _ = timeout(KILL_TIME_MAX, over.changed()).await;
    }

    /// Sent from here, because after the first order the whole process stops.
    fn order(&self, order: Order) {
        let channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        channels.values().filter_map(Weak::upgrade).for_each(|channel| channel.send(order));
    }

    async fn wait<T>(
        &self,
        mut answered: oneshot::Receiver<T>,
        names: impl Fn(&Awaited) -> &Vec<String>,
        mut waits: impl FnMut(&str),
    ) -> Option<T> {
        let mut awaited = self.awaited.clone();
        loop {
            let waited_for = names(&awaited.borrow_and_update()).clone();
            if !waited_for.is_empty() {
                waits(&words::awaited(&waited_for));
            }
            tokio::select! {
                answer = &mut answered => return answer.ok(),
                Ok(()) = awaited.changed() => {}
                else => return None,
            }
        }
    }
}
