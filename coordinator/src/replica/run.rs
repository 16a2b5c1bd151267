//! A replica from its start to its end: it follows, and leads when nobody else does.

use std::{
    future::Future,
    sync::{Arc, Mutex},
};

use futures_util::FutureExt;
use pet_core::{
    coordinator::{relay::Limits, Shard},
    crypto::RootSeed,
};
use pet_ledger::{Head, Known, Position, ReplicaId};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};
use tracing::{error, info, warn};

use super::{
    beat::{beat, lock},
    commands::{serve, Desk, Done},
    flaws::Flaw,
    follower::Follower,
    lead::Ended,
    lease::{Attempt, Candidate, Tenancy},
    log::End,
    models::SharedModels,
    relaying::{Relaying, View},
    shared::Shared,
    SharedError, SharedStore,
};
use crate::{
    admin::Passed,
    board::Board,
    driver::{Delivery, DriverError},
    metrics::Counters,
    process::{
        fill_random, spawn,
        time::{sleep, timeout, Duration, Instant},
    },
    route::{Asking, Route},
    settings::Settings,
    status::{Observer, Replica as Shown},
    store::Models,
};

/// So soon after it has failed the engine is asked again.
const RETRY: Duration = Duration::from_millis(200);
/// How long a follower waits for news at most until it looks by itself.
const POLL: Duration = Duration::from_millis(500);
/// So long a replica that is to stop waits for what it has just asked the engine.
const STOP: Duration = Duration::from_millis(500);
/// What clients are told while the engine cannot be used. What it said is for the log, and for the status.
const NO_ENGINE: &str = "this replica cannot use the database that all replicas share";

/// So long a follower waits for more entries once it has heard of some.
const GATHER: Duration = Duration::from_millis(2);

/// How often the log is looked at, at most, because somebody has to be sure of it.
const BETWEEN: Duration = Duration::from_millis(10);

/// What a replica needs of the rest of the program.
pub(crate) struct Around {
    pub counters: Arc<Counters>,
    pub observer: Observer,
    pub board: watch::Sender<Board>,
    /// Where this replica listens.
    pub address: String,
    /// What people call it.
    pub name: String,
    /// What messages it may hold for whoever leads.
    pub limits: Limits,
}

/// One of several coordinators that are one.
pub(crate) struct Replica {
    store: SharedStore,
    pub(super) candidate: Candidate,
    address: String,
    pub(super) settings: Settings,
    pub(super) models: Arc<SharedModels>,
    pub(super) models_kept: usize,
    /// What may be held for whoever leads.
    limits: Limits,
    /// The root of all keys that it must be, if one was given.
    given: Option<RootSeed>,
    /// With this one a federation begins.
    pub(super) root: RootSeed,
    pub(super) board: watch::Sender<Board>,
    pub(super) counters: Arc<Counters>,
    pub(super) observer: Observer,
    pub(super) route: watch::Sender<Route>,
    pub(super) desk: watch::Sender<Desk>,
    /// What operators have had done by letter.
    pub(super) done: Arc<Mutex<Done>>,
    request: mpsc::Sender<Passed>,
    requests: Option<mpsc::Receiver<Passed>>,
    /// How far whoever leads in this process has written.
    pub(super) written: watch::Receiver<End>,
    /// The furthest that was read or written: nothing of before is shown again.
    seen: Option<End>,
    /// What of the log was last shown by following it.
    published: Option<End>,
    /// The same for the relay.
    view: watch::Sender<Option<View>>,
    /// When the log was last looked at, and who wants to be sure.
    asking: Asking,
    /// Takes messages while this replica follows.
    relaying: Option<Running>,
    /// The shard of the relay before, if there was one.
    shard: Option<Shard>,
    /// How often records were gone before they were read, as far as the relay knows.
    gaps: u64,
    shown: Arc<Mutex<Shown>>,
}

/// A relay that runs.
struct Running {
    deliver: mpsc::Sender<Delivery>,
    stop: oneshot::Sender<bool>,
    task: JoinHandle<Shard>,
}

/// What a follower does next.
enum Step {
    Lead(Tenancy),
    Wait(Known, Duration),
}

impl Replica {
    /// A replica of this store. `given` is the root of all keys, if there must be that one; otherwise a new federation
    /// begins with `root`.
    pub fn new(
        store: SharedStore,
        settings: Settings,
        given: Option<RootSeed>,
        root: RootSeed,
        around: Around,
    ) -> Result<Self, SharedError> {
        let mut id = [0; 16];
        fill_random(&mut id).map_err(SharedError::Randomness)?;
        let Around { counters, observer, board, address, name, limits } = around;
        let (request, requests) = Passed::channel();
        let shown = Shown {
            name: name.clone(),
            is_leader: false,
            leader: None,
            epoch: 0,
            position: 0,
            at_end: None,
            trouble: None,
            load: store.load(),
            replicas: Vec::new(),
        };
        let why = "this replica does not know yet which one leads".to_owned();
        let nothing = End { position: Position(0), hash: Default::default() };
        Ok(Self {
            models: Arc::new(SharedModels::new(store.clone())),
            store,
            candidate: Candidate { replica: ReplicaId(id), name, ttl: settings.storage.lease_time },
            address,
            models_kept: settings.storage.models_kept,
            limits,
            settings,
            given,
            root,
            board,
            counters,
            observer,
            route: watch::channel(Route::Nowhere(why.as_str().into())).0,
            desk: watch::channel(Desk::Nowhere(why)).0,
            done: Arc::default(),
            request,
            requests: Some(requests),
            written: watch::channel(nothing).1,
            seen: None,
            published: None,
            view: watch::channel(None).0,
            asking: Asking::since(Instant::now()),
            relaying: None,
            shard: None,
            gaps: 0,
            shown: Arc::new(Mutex::new(shown)),
        })
    }

    /// Where messages go at any time.
    pub fn routes(&self) -> watch::Receiver<Route> {
        self.route.subscribe()
    }

    /// The global models that are kept.
    pub fn models(&self) -> Arc<dyn Models> {
        self.models.clone()
    }

    /// The way for the operator to act on the machine, wherever that is.
    pub fn requests(&self) -> mpsc::Sender<Passed> {
        self.request.clone()
    }

    /// Runs until `stop` resolves or its sender is gone, and then until all is stored. It ends before only if what is
    /// stored cannot be used: while the engine is away it waits.
    pub async fn run(mut self, stop: oneshot::Receiver<()>) -> Result<(), DriverError> {
        let stop = stop.map(drop).shared();
        let beating = beat(
            self.store.clone(),
            (self.candidate.replica, self.candidate.ttl),
            self.address.clone(),
            Arc::clone(&self.shown),
            self.observer.clone(),
        );
        let requests = self.requests.take();
        let serving = requests.map(|requests| spawn(serve(requests, self.desk.subscribe())));
        let beating = spawn(beating);
        let ended = self.follow_and_lead(stop).await;
        beating.abort();
        if let Some(serving) = serving {
            serving.abort();
        }
        ended
    }

    async fn follow_and_lead(
        &mut self,
        stop: impl Future<Output = ()> + Clone + Unpin,
    ) -> Result<(), DriverError> {
        let mut failures = 0u32;
        loop {
            let followed = self.follow(stop.clone()).await;
            // Whoever waits sends its message again: to the machine here, or to another replica.
            let leads = followed.as_ref().is_ok_and(Option::is_some);
            self.stop_relaying(!leads).await;
            let followed = followed.map_err(|error| DriverError::Store(error.into()))?;
            let Some((tenancy, follower)) = followed else { return Ok(()) };
            self.show(|shown| {
                shown.is_leader = true;
                shown.leader = Some(shown.name.clone());
                shown.epoch = tenancy.epoch.0;
                shown.trouble = None;
            });
            let shared = follower.shared().clone();
            let began = Instant::now();
            let ended = self.lead(&tenancy, follower, stop.clone()).await;
            self.cease(&ended);
            let why = match ended {
                Ended::Stopped(result) => {
                    self.candidate.release(&shared, tenancy.epoch).await;
                    return result;
                }
                Ended::Lost(why) => why,
            };
            if !matches!(why, SharedError::Superseded) {
                self.candidate.release(&shared, tenancy.epoch).await;
            }
            if !why.is_passing() {
                error!(error = %why, "this replica leads no more, and stops");
                return Err(DriverError::Store(why.into()));
            }
            warn!(reason = %why, epoch = tenancy.epoch.0, "this replica leads no more");
            // Who cannot lead leaves it to others for a while: nobody gets any further by taking turns without a pause.
            let ttl = self.candidate.ttl;
            failures = if began.elapsed() > ttl { 0 } else { (failures + 1).min(8) };
            let pause = (RETRY * 2u32.pow(failures)).min(ttl);
            tokio::select! {
                biased;
                () = sleep(pause) => {}
                () = stop.clone() => {}
            }
        }
    }

    /// Takes no more messages.
    fn cease(&mut self, ended: &Ended) {
        let why = match ended {
            Ended::Stopped(_) => "this replica stops",
            // Why is for the log: what an engine says of itself is nobody else's.
            Ended::Lost(_) => "this replica has just ceased to lead",
        };
        self.unroute(why);
        let end = *self.written.borrow();
        self.see(end);
        // The last that it has written is perhaps not shown.
        self.published = None;
        self.show(|shown| (shown.is_leader, shown.leader) = (false, None));
    }

    /// Follows until it holds the lease; nothing if it is to stop.
    async fn follow(
        &mut self,
        stop: impl Future<Output = ()> + Clone + Unpin,
    ) -> Result<Option<(Tenancy, Follower)>, SharedError> {
        let mut follower = None;
        let mut ask_at = Instant::now();
        let mut in_trouble = false;
        loop {
            if stop.clone().now_or_never().is_some() {
                return Ok(None);
            }
            let stepped = {
                let step = self.step(&mut follower, &mut ask_at);
                tokio::pin!(step);
                tokio::select! {
                    biased;
                    stepped = &mut step => Some(stepped),
                    // It may be about to take the lease: that is given up again, or else it runs out.
                    () = stop.clone() => timeout(STOP, step).await.ok(),
                }
            };
            let Some(stepped) = stepped else { return Ok(None) };
            let pause = match stepped {
                Ok(Step::Lead(tenancy)) => {
                    return Ok(follower.take().map(|follower| (tenancy, follower)));
                }
                Ok(Step::Wait(known, at_most)) => {
                    if std::mem::take(&mut in_trouble) {
                        info!("the engine can be used again");
                    }
                    let (store, asking) = (self.store.clone(), self.asking.clone());
                    async move {
                        let news = async {
                            let waited = match store.reach().await {
                                Ok(shared) => shared.ledger().changed(known, at_most).await.is_ok(),
                                Err(_) => false,
                            };
                            if !waited {
                                sleep(RETRY.min(at_most)).await;
                            }
                            // Entries that follow each other closely are read at once.
                            sleep(GATHER).await;
                        };
                        let wanted = async {
                            sleep(BETWEEN).await;
                            asking.wanted().await;
                        };
                        tokio::select! {
                            biased;
                            () = news => {}
                            () = wanted => {}
                        }
                    }
                    .left_future()
                }
                Err(error) if error.is_passing() => {
                    // Whatever it has read in part is read again, and who leads is asked again.
                    (follower, ask_at) = (None, Instant::now());
                    if !std::mem::replace(&mut in_trouble, true) {
                        warn!(%error, "the engine cannot be used: waiting for it");
                    }
                    self.unroute(NO_ENGINE);
                    self.show(|shown| {
                        (shown.leader, shown.trouble) = (None, Some(error.to_string()));
                    });
                    sleep(RETRY).right_future()
                }
                Err(error) => return Err(error),
            };
            tokio::select! {
                biased;
                () = pause => {}
                () = stop.clone() => {}
            }
        }
    }

    /// Looks once.
    async fn step(
        &mut self,
        following: &mut Option<Follower>,
        ask_at: &mut Instant,
    ) -> Result<Step, SharedError> {
        let shared = self.store.reach().await?.clone();
        let follower = match following {
            Some(follower) => follower,
            None => {
                let (shared, models) = (shared.clone(), Arc::clone(&self.models));
                let follower = Follower::new(shared, models, self.models_kept, self.seen).await?;
                // The relay may have followed one before, which had read more.
                following.insert(follower.with_gaps(self.gaps + 1))
            }
        };
        let looked = Instant::now();
        let (head, _) = follower.advance().await?;
        if let Some(seen) = &self.seen {
            seen.check(&head)?;
        }
        self.check_root(follower)?;
        self.observer.followed(&follower.take_steps());
        self.publish(follower, &head);
        self.see(follower.end());
        if self.published.is_some() {
            self.asking.knows(looked);
            self.relay_messages(&shared)?;
        }
        let mut epoch = head.epoch;
        if epoch.0 != self.shown().epoch {
            // It has changed hands, or was given up.
            *ask_at = looked;
        }
        let position = follower.end().position;
        if Instant::now() >= *ask_at {
            match self.candidate.attempt(&shared).await? {
                Attempt::Held(tenancy) => return Ok(Step::Lead(tenancy)),
                Attempt::Taken { by, epoch: latest, left } => {
                    epoch = latest;
                    // The engine's clock may have been set back since the lease was taken.
                    *ask_at = Instant::now() + left.min(self.candidate.ttl) + self.jitter();
                    let why = format!("this replica follows, {by} leads (epoch {latest})");
                    if self.relaying.is_none() {
                        self.unroute(&why);
                    }
                    let (shared, leader) = (shared.clone(), by.clone());
                    self.desk.send_replace(Desk::At { shared, epoch: latest, leader });
                    self.show(|shown| {
                        (shown.leader, shown.epoch) = (Some(by), latest.0);
                    });
                }
            }
        }
        self.show(|shown| {
            (shown.position, shown.at_end, shown.trouble) = (position.0, Some(looked), None);
        });
        let at_most = ask_at.saturating_duration_since(Instant::now()).min(POLL);
        let known = Known { epoch, position, letters: None, answers: None };
        Ok(Step::Wait(known, at_most))
    }

    /// Answers with what the log leads to, unless later things were shown before.
    fn publish(&mut self, follower: &Follower, head: &Head) {
        let is_old = self.seen.is_some_and(|seen| follower.end().position < seen.position);
        if is_old && !Flaw::GoesBack.is_there() {
            return;
        }
        let Some(mut front) = follower.front() else { return };
        if Flaw::ShowsOldModel.is_there() {
            let board = self.board.borrow();
            if board.front().round_id() < front.round_id() {
                front = front.with_model(board.front().model().cloned());
            }
        }
        let (accepted, phase_began) = follower.phase();
        let known = head.elapsed.filter(|elapsed| elapsed.at >= phase_began);
        let elapsed = known.map_or(Duration::ZERO, |elapsed| elapsed.time);
        self.observer.follows(&front, accepted, elapsed, &self.settings.protocol());
        // The relay knows it before anybody opens messages with it.
        self.view.send_if_modified(|view| {
            let (parts, gaps) = follower.parts();
            self.gaps = gaps;
            let is_known = view.as_ref().is_some_and(|view| {
                view.epoch == head.epoch && self.published == Some(follower.end())
            });
            if !is_known {
                *view = Some(View { front: front.clone(), epoch: head.epoch, parts, gaps });
            }
            !is_known
        });
        if self.published.replace(follower.end()) == Some(follower.end()) {
            return;
        }
        if let Some(model) = Board::publish(&self.board, front) {
            self.observer.model(&model);
        }
    }

    pub(super) fn check_root(&self, follower: &Follower) -> Result<(), SharedError> {
        match (&self.given, follower.root()) {
            (Some(given), Some(root)) if given != root => Err(SharedError::OtherSeed),
            _ => Ok(()),
        }
    }

    /// Notes how far the log was read or written.
    fn see(&mut self, end: End) {
        if self.seen.is_none_or(|seen| seen.position < end.position) {
            self.seen = Some(end);
        }
    }

    /// Has messages taken for whoever leads.
    fn relay_messages(&mut self, shared: &Shared) -> Result<(), SharedError> {
        if self.relaying.as_ref().is_some_and(|running| running.task.is_finished()) {
            error!("the task that passes messages on was lost: another one takes its place; please report this");
            self.relaying = None;
            self.unroute("the task that passes messages on was lost");
        }
        let running = match &self.relaying {
            Some(running) => running,
            None => {
                let (relaying, deliver) = Relaying::new(
                    shared.clone(),
                    self.candidate.replica,
                    self.limits,
                    Arc::clone(&self.counters),
                    self.view.subscribe(),
                )?;
                let (stop, stopped) = oneshot::channel();
                let task = spawn(relaying.run(self.shard.take(), stopped));
                self.relaying.insert(Running { deliver, stop, task })
            }
        };
        let recent = self.asking.recent();
        self.route.send_if_modified(|route| {
            let is_new = !matches!(route, Route::Relay(..));
            if is_new {
                *route = Route::Relay(running.deliver.clone(), recent);
            }
            is_new
        });
        Ok(())
    }

    /// Ends the relay; with a farewell, so that nobody waits for it.
    async fn stop_relaying(&mut self, farewell: bool) {
        let Some(Running { stop, task, .. }) = self.relaying.take() else { return };
        self.unroute("this replica is about to lead, or stops");
        let _ = stop.send(farewell);
        match task.await {
            Ok(shard) => self.shard = Some(shard),
            Err(error) => {
                error!(%error, "the task that passes messages on was lost; please report this");
            }
        }
        self.view.send_replace(None);
    }

    /// Has messages turned away, for a reason.
    fn unroute(&self, why: &str) {
        self.route.send_if_modified(|route| match route {
            Route::Nowhere(before) if **before == *why => false,
            route => {
                *route = Route::Nowhere(why.into());
                true
            }
        });
        self.desk.send_replace(Desk::Nowhere(why.to_owned()));
    }

    fn shown(&self) -> Shown {
        lock(&self.shown).clone()
    }

    pub(super) fn show(&self, change: impl FnOnce(&mut Shown)) {
        let mut shown = lock(&self.shown);
        change(&mut shown);
        self.observer.replica(shown.clone());
    }

    /// Not all replicas ask at the same moment.
    fn jitter(&self) -> Duration {
        let ReplicaId(id) = self.candidate.replica;
        Duration::from_millis(u64::from(id[0]) / 5)
    }
}
