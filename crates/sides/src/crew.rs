//! The thread behind [`Sides`](crate::Sides): passes to the director what happens, and does what it decides.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use devhost_model::{Failure, SideProcess};
use devhost_terminal::Label;
use tokio::sync::{mpsc, oneshot, watch};

use crate::channel::Channel;
use crate::director::{Action, Director, Event, Preparation};
use crate::run::{Run, Wish};
use crate::sides::Place;

/// How many events may queue up. Beyond that, those who send them wait.
const EVENTS_COUNT_MAX: usize = 256;

/// How many builds and starts may ask at once. Beyond that, they wait.
pub(crate) const REQUESTS_COUNT_MAX: usize = 16;

/// The sockets to the attendants, by run.
pub(crate) type Channels = Arc<Mutex<HashMap<u64, Weak<Channel>>>>;

/// What a build waits for.
#[derive(Debug)]
pub(crate) enum Request {
    /// The steps before it. Answered once they have succeeded, or one has failed.
    Prepare(oneshot::Sender<Result<(), Failure>>),
    /// The processes that the app's first start waits for.
    Await(oneshot::Sender<()>),
}

/// Whom builds and starts wait for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Awaited {
    /// What a build waits for now.
    pub(crate) steps: Vec<String>,
    /// Processes that are not ready.
    pub(crate) unready: Vec<String>,
}

/// The ends of the channels to the handle.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) lists: watch::Receiver<Vec<SideProcess>>,
    pub(crate) requests: mpsc::Receiver<Request>,
    pub(crate) wishes: watch::Receiver<Wish>,
    pub(crate) awaited: watch::Sender<Awaited>,
    pub(crate) channels: Channels,
}

pub(crate) struct Crew {
    director: Director,
    place: Arc<Place>,
    begun: Instant,
    begun_unix: Duration,
    runs: HashMap<u64, watch::Sender<Wish>>,
    prepares: Vec<oneshot::Sender<Result<(), Failure>>>,
    awaits: Vec<oneshot::Sender<()>>,
    events: mpsc::Sender<Event>,
    awaited: watch::Sender<Awaited>,
    channels: Channels,
}

/// Works until the processes have ended as wished, or the handle is gone.
pub(crate) async fn work(place: Arc<Place>, ends: Ends) {
    let Ends { mut lists, mut requests, mut wishes, awaited, channels } = ends;
    let (events, mut received) = mpsc::channel(EVENTS_COUNT_MAX);
    let mut crew = Crew {
        director: Director::default(),
        place,
        begun: Instant::now(),
        begun_unix: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
        runs: HashMap::new(),
        prepares: Vec::new(),
        awaits: Vec::new(),
        events,
        awaited,
        channels,
    };
    let list = lists.borrow_and_update().clone();
    crew.handle(Event::Apply(list));
    loop {
        tokio::select! {
            changed = lists.changed() => match changed {
                Ok(()) => {
                    let list = lists.borrow_and_update().clone();
                    crew.handle(Event::Apply(list));
                }
                Err(_) => return,
            },
            Some(request) = requests.recv() => match request {
                Request::Prepare(answer) => {
                    crew.prepares.push(answer);
                    crew.handle(Event::BuildBegins);
                }
                Request::Await(answer) => {
                    crew.awaits.push(answer);
                    crew.answer();
                }
            },
            Some(event) = received.recv() => crew.handle(event),
            Ok(()) = wishes.changed() => {
                let wish = *wishes.borrow_and_update();
                crew.handle(Event::Stop);
                crew.runs.values().for_each(|run| urge(run, wish));
            }
        }
        if *wishes.borrow() != Wish::Run && crew.director.is_empty() {
            return;
        }
    }
}

impl Crew {
    fn handle(&mut self, event: Event) {
        if let Event::Ended { run, .. } = &event {
            self.runs.remove(run);
            self.channels().remove(run);
        }
        let now = self.begun.elapsed();
        let actions = self.director.handle(now, event);
        for action in actions {
            self.perform(action);
        }
        self.publish();
        self.answer();
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Start { run, process, place } => self.start(run, process, place),
            Action::End { run } => {
                if let Some(run) = self.runs.get(&run) {
                    urge(run, Wish::End);
                }
            }
            Action::Kill { run } => {
                if let Some(run) = self.runs.get(&run) {
                    urge(run, Wish::Kill);
                }
            }
            Action::Arm { timer, after } => {
                let events = self.events.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(after).await;
                    let _ = events.send(Event::Timer(timer)).await;
                });
            }
            Action::Tell { name, level, message } => {
                if let Some(status) = self.director.status_of(&name, |time| self.unix_ms(time)) {
                    self.place.terminal.process(&status, level, &message);
                }
            }
            Action::Complain(error) => self.place.terminal.error(&error),
        }
    }

    fn start(&mut self, number: u64, process: SideProcess, place: usize) {
        let (wish, wishes) = watch::channel(Wish::Run);
        self.runs.insert(number, wish);
        let label = Label { name: process.name.clone(), width: self.director.longest_name(), place };
        let events = self.events.clone();
        let run = Run { number, process, label, place: Arc::clone(&self.place), wishes, events };
        let channels = Arc::clone(&self.channels);
        tokio::spawn(run.go(move |channel| {
            let mut channels = channels.lock().unwrap_or_else(PoisonError::into_inner);
            channels.insert(number, Arc::downgrade(channel));
        }));
    }

    fn publish(&self) {
        let processes = self.director.status(|time| self.unix_ms(time));
        for status in &self.place.statuses {
            status.update(|status| status.processes.clone_from(&processes));
        }
        let steps = match self.director.preparation() {
            Preparation::Pending(names) => names,
            Preparation::Done | Preparation::Failed(_) => Vec::new(),
        };
        self.awaited.send_replace(Awaited { steps, unready: self.director.awaited() });
    }

    /// Answers the requests whose time has come.
    fn answer(&mut self) {
        let answer = match self.director.preparation() {
            Preparation::Pending(_) => None,
            Preparation::Done => Some(Ok(())),
            Preparation::Failed(failure) => Some(Err(failure)),
        };
        // A build that was cancelled hears of nothing any more.
        if let Some(answer) = answer {
            for prepare in self.prepares.drain(..) {
                let _ = prepare.send(answer.clone());
            }
        }
        if self.director.awaited().is_empty() {
            for wait in self.awaits.drain(..) {
                let _ = wait.send(());
            }
        }
        self.prepares.retain(|prepare| !prepare.is_closed());
        self.awaits.retain(|wait| !wait.is_closed());
    }

    fn unix_ms(&self, time: Duration) -> u64 {
        u64::try_from((self.begun_unix + time).as_millis()).unwrap_or(u64::MAX)
    }

    fn channels(&self) -> MutexGuard<'_, HashMap<u64, Weak<Channel>>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wishes more than before, never less.
fn urge(run: &watch::Sender<Wish>, wish: Wish) {
    run.send_if_modified(|before| {
        let more = wish > *before;
        *before = wish.max(*before);
        more
    });
}
