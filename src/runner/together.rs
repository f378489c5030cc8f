//! Several apps in one devhost: a runner each, and what they share.
//!
//! Each app has its own front, launchers, supervisor, watcher and builder. Shared are the terminal, the keys, the signals, the
//! processes beside the apps, and the turn to build. An app that ends by itself leaves the others alone.

use std::rc::Rc;
use std::sync::Arc;

use actix_web::rt;
use devhost_model::{Error, ServerState, StatusBoard};
use devhost_process::{Argv, Loading};
use devhost_supervisor::Origin;
use devhost_terminal::Terminal;
use futures_util::StreamExt as _;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;

use super::app_output::AppOutput;
use super::input::{INPUTS_COUNT_MAX, Input, Inputs};
use super::job::Job;
use super::keys::Keys;
use super::launcher::{LAUNCHER_END_TIME_MAX, Launcher};
use super::member::Member;
use super::orders::Order;
use super::sides::{Beside, Common};
use super::signals::{Signals, Wish};
use super::start::{Ground, Parts, assemble, on_system};

/// An app that cannot be served, although the others are.
pub(crate) struct NotServed {
    /// What people call it.
    pub name: String,
    /// `plugin` or `plain`, as far as that is known.
    pub kind: &'static str,
}

/// Runs several apps until the user ends devhost, or none is left. `terminal` is that of all.
pub(crate) fn run_together(
    apps: Vec<Parts>,
    not_served: Vec<NotServed>,
    terminal: Arc<Terminal>,
) -> Result<(), Error> {
    on_system(|links| serve(apps, not_served, terminal, links))
}

async fn serve(
    apps: Vec<Parts>,
    not_served: Vec<NotServed>,
    terminal: Arc<Terminal>,
    links: tokio::runtime::Handle,
) -> Result<(), Error> {
    // Before an address is printed: anyone who reads it may end devhost.
    let signals = Signals::new()?;
    let (orders, received) = mpsc::channel(INPUTS_COUNT_MAX);
    let keys = if apps.iter().all(|app| app.keys) { Keys::listen(&orders, &terminal) } else { None };
    let statuses: Vec<Arc<StatusBoard>> = apps.iter().map(Parts::status).collect();
    let failed = not_served.into_iter().map(|app| {
        let status = StatusBoard::new(app.name, app.kind);
        status.update(|status| status.state = ServerState::Failed);
        Arc::new(status)
    });
    let boards: Vec<Arc<StatusBoard>> = statuses.iter().cloned().chain(failed).collect();
    StatusBoard::introduce(&boards);
    let names: Vec<&str> = apps.iter().map(|app| app.front.app.as_str()).collect();
    terminal.heading(env!("CARGO_PKG_VERSION"), &names);
    let stop_time_max = apps.iter().map(|app| app.settings.stop_time_max).max().unwrap_or_default();
    let lists = apps.iter().map(|app| app.config_file.processes().to_vec()).collect();
    let common = Common::start(lists, &terminal, statuses.clone(), stop_time_max)?;
    let mut together = Together {
        terminal,
        common: Rc::new(common),
        guard: None,
        keys: keys.map(Rc::new),
        members: Vec::new(),
        running: FuturesUnordered::new(),
        has_hinted: false,
        _boards: boards,
    };
    together.guard_keyboard(apps.first().map(|app| &app.argv));
    for (place, (app, status)) in apps.into_iter().zip(statuses).enumerate() {
        let terminal = Arc::clone(&app.terminal);
        if let Err(error) = together.begin(place, app, &status, &links) {
            status.update(|status| status.state = ServerState::Failed);
            terminal.error(&error);
        }
    }
    together.run(received, signals).await
}

/// An app that has ended, by its terminal, and why.
type Ended = (Arc<Terminal>, Result<(), Error>);

/// The apps that run, and what they share.
struct Together {
    terminal: Arc<Terminal>,
    common: Rc<Common>,
    /// Restores the terminal if devhost is killed: what the apps' own launchers write to is a pipe.
    guard: Option<Launcher>,
    keys: Option<Rc<Keys>>,
    members: Vec<(Rc<Member>, Inputs)>,
    running: FuturesUnordered<LocalBoxFuture<'static, Ended>>,
    /// An unknown key was answered.
    has_hinted: bool,
    /// The documents know each other weakly.
    _boards: Vec<Arc<StatusBoard>>,
}

impl Together {
    fn begin(
        &mut self,
        place: usize,
        mut app: Parts,
        status: &Arc<StatusBoard>,
        links: &tokio::runtime::Handle,
    ) -> Result<(), Error> {
        let signals = Signals::of_end()?;
        let (inputs, received) = mpsc::channel(INPUTS_COUNT_MAX);
        let (output, streams) = AppOutput::listen(&app.terminal)?;
        app.argv.output = Some(streams);
        let member = Rc::<Member>::default();
        let ground = Ground {
            links: links.clone(),
            inputs: inputs.clone(),
            keys: None,
            output: Some(output),
            member: Some(Rc::clone(&member)),
        };
        let terminal = Arc::clone(&app.terminal);
        let beside = Beside::of(&self.common, place);
        let (runner, changes) = assemble(app, ground, Arc::clone(status), |_, _| Ok(beside))?;
        self.members.push((member, inputs));
        self.running.push(Box::pin(async move {
            let result = Box::pin(runner.run(received, changes, signals)).await;
            (terminal, result)
        }));
        Ok(())
    }

    async fn run(mut self, mut received: mpsc::Receiver<Input>, mut signals: Signals) -> Result<(), Error> {
        let mut ends_asked_count = 0;
        while !self.running.is_empty() {
            tokio::select! {
                wish = signals.recv() => match wish {
                    Wish::End(_) => {
                        ends_asked_count += 1;
                        self.terminal.stopping();
                    }
                    Wish::Suspend => self.job().suspend(),
                    Wish::Proceed => self.job().take_keyboard(),
                },
                Some(input) = received.recv() => {
                    if let Input::Ordered(order) = input {
                        self.ordered(order);
                    }
                }
                Some((terminal, result)) = self.running.next() => {
                    if let Err(error) = result {
                        terminal.error(&error);
                        if ends_asked_count == 0 && !self.running.is_empty() {
                            terminal.note("this app is not served any more; the others are");
                        }
                    }
                }
            }
        }
        self.common.end(&mut signals, ends_asked_count > 1).await;
        if let Some(guard) = self.guard.take() {
            guard.end(LAUNCHER_END_TIME_MAX).await;
        }
        // What is typed from now on is the shell's.
        self.keys = None;
        if ends_asked_count == 0 {
            return Err(Error::mistake("none of the apps could be served", "the errors above say why"));
        }
        Ok(())
    }

    /// Acts on a key: for all apps, or once.
    fn ordered(&mut self, order: Order) {
        match order {
            Order::Refork
            | Order::Rebuild
            | Order::PauseOrResume
            | Order::Open
            | Order::Addresses
            | Order::LastError => {
                for (_, inputs) in &self.members {
                    let inputs = inputs.clone();
                    rt::spawn(async move {
                        // One that has ended does nothing more.
                        let _ = inputs.send(Input::Ordered(order)).await;
                    });
                }
            }
            Order::Clear | Order::Help | Order::Quit | Order::Unknown => {
                order.perform_once(&self.terminal, &mut self.has_hinted);
            }
        }
    }

    /// devhost and the apps, as one job of the shell.
    fn job(&self) -> Job<'_> {
        Job {
            terminal: &self.terminal,
            keys: self.keys.as_deref(),
            guard: self.guard.as_ref(),
            groups: self.members.iter().flat_map(|(member, _)| member.groups.borrow().clone()).collect(),
            common: &self.common,
        }
    }

    fn guard_keyboard(&mut self, argv: Option<&Argv>) {
        let (Some(keys), Some(argv)) = (&self.keys, argv) else { return };
        let argv = Argv { args: Vec::new(), variables: Vec::new(), output: None, ..argv.clone() };
        match Launcher::start(&Origin::Keeper, &argv, Loading::default()) {
            Ok(guard) => {
                guard.guard_terminal(keys.changed());
                self.guard = Some(guard);
            }
            Err(error) => {
                tracing::warn!("the terminal stays as it is if devhost is killed: {}", error.message);
            }
        }
    }
}
