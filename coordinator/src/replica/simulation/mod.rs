//! Replicas, participants and an engine in virtual time: the real code of all of them, and whatever can go wrong in between.
//!
//! A [`Scenario`] says how many there are, what goes wrong and when; all else that is left to chance follows from its seed, so
//! that the same scenario is the same run. Replicas are [processes](crate::process::simulated) in one thread: they are killed
//! with all their tasks, stand still, and start again as new ones. Between them and the engine is a [`line`](line::Line), on
//! which calls are lost, late and doubled. Participants ask any replica, and another one if that one takes no messages. The
//! [`history`](history::History) reads what the engine really holds and says what must not be. After the storm everybody has to
//! find back in a stated time.

mod crowd;
mod history;
mod line;
mod schedule;
mod shrink;
mod tally;
mod tests;

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use pet_core::{
    coordinator::{relay::Limits, Phase},
    crypto::RootSeed,
};
use pet_ledger::{memory::MemoryEngine, Ledger, Parts, Vault};
use pet_testing::sim::random::Random;
use tokio::{
    sync::{oneshot, watch},
    time::{sleep, sleep_until, timeout, Instant},
};

use self::{
    crowd::{Client, Door, Losses},
    history::{rank, History, Stage},
    line::Line,
    schedule::{Happening, Scenario, Who},
    tally::{Tally, Trouble},
};
use super::{flaws::Flaw, Around, Replica, SharedStore};
use crate::{
    board::Board,
    coordinator::upload_limits,
    http,
    intake::Intake,
    metrics::Counters,
    models::Library,
    process::simulated::{spawn, Process, Turns},
    settings::{MinMax, Settings},
    status::{self, View},
};

const LEASE: Duration = Duration::from_secs(3);
const LENGTH: u64 = 3;
/// Phases take no longer.
const LONGEST_PHASE: Duration = Duration::from_secs(6);
/// So long nobody leads in the worst case: the longest happening, a lease, and what it takes to begin.
const OUTAGE: Duration = Duration::from_secs(14);
/// So long after the storm two more rounds are completed.
const CALM: Duration = Duration::from_secs(150);
/// So long after the storm a round that begins fails only if chance gives the tasks to too few.
const SETTLED: Duration = Duration::from_secs(8);
/// So long after the leader was killed another one leads.
const TAKEOVER: Duration = Duration::from_secs(5);
/// So long after its lease was over, with nothing else wrong, a follower shows what the log says.
const LAG: Duration = Duration::from_secs(2);

/// How a run went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub completed: u64,
    pub failed: u64,
    pub messages: u64,
    pub epochs: u64,
    /// Rounds that have failed in which chance had given the tasks to too few.
    pub unlucky: u64,
    /// How often what has gone wrong.
    pub tally: Tally,
    /// A hash over the whole log.
    pub log: String,
}

/// A run in which something was that must not be.
#[derive(Clone, Debug)]
pub struct Failure {
    pub scenario: Scenario,
    pub violation: String,
    pub story: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.story.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        writeln!(f, "{:#?}", self.scenario)?;
        writeln!(f, "VIOLATION: {}", self.violation)
    }
}

/// The settings of all replicas.
fn settings() -> Settings {
    let mut settings = Settings::for_model_length(LENGTH);
    let time = |min| MinMax { min: Duration::from_millis(min), max: LONGEST_PHASE };
    settings.pet.sum.prob = 0.4;
    settings.pet.sum.count = MinMax { min: 2, max: 4 };
    settings.pet.sum.time = time(300);
    settings.pet.update.prob = 0.9;
    settings.pet.update.count = MinMax { min: 3, max: 8 };
    settings.pet.update.time = time(300);
    settings.pet.sum2.count = MinMax { min: 1, max: 4 };
    settings.pet.sum2.time = time(300);
    settings.storage.lease_time = LEASE;
    settings.storage.models_kept = 2;
    settings
}

/// Runs a scenario.
///
/// # Errors
/// The first thing that must not be.
pub fn run(scenario: &Scenario) -> Result<Report, Box<Failure>> {
    Flaw::set(scenario.flaw);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let random = Random::new(scenario.seed).fork("turns", 0);
    let scenario = scenario.clone();
    let outcome = Turns::block_on(random, &runtime, async move {
        let world = World::new(&scenario);
        let began = Instant::now();
        let violation = world.play(&scenario).await;
        let (completed, failed, messages) = world.history.counts();
        match violation {
            None => Ok(Report {
                completed,
                failed,
                messages,
                epochs: world.history.epoch().0,
                unlucky: world.history.unlucky(),
                tally: world.history.tally(),
                log: format!("{:?}", world.history.hash()),
            }),
            Some(violation) => {
                let story = world.history.story(began, 120);
                Err(Box::new(Failure { scenario, violation, story }))
            }
        }
    });
    Flaw::set(None);
    outcome
}

/// A place for a replica: there is one in it, or there was.
struct Place {
    number: usize,
    /// How many milliseconds its clock counts in a second.
    rate: u32,
    /// What it may hold for the one that leads.
    limits: Limits,
    door: Door,
    line: Line,
    running: Mutex<Option<Running>>,
}

struct Running {
    process: Process,
    view: View,
    board: watch::Receiver<Board>,
    stop: Option<oneshot::Sender<()>>,
}

struct World {
    random: Random,
    engine: MemoryEngine,
    vault: Vault,
    history: Arc<History>,
    places: Vec<Arc<Place>>,
    losses: Losses,
}

impl World {
    fn new(scenario: &Scenario) -> Self {
        let random = Random::new(scenario.seed);
        let engine = MemoryEngine::new();
        // So that its clock can be set back.
        engine.advance(Duration::from_secs(86_400));
        if let Some(bug) = scenario.bug {
            engine.seed_bug(bug);
        }
        let vault = Vault::for_tests("simulated");
        let history = History::new(engine.ledger(), engine.parts(), vault.clone(), settings());
        let places = scenario.rates.iter().enumerate().map(|(number, rate)| {
            let random = random.fork("line", number as u64);
            let line = Line::new(engine.ledger(), engine.parts(), Arc::clone(&history), random);
            let (door, running) = (Door::default(), Mutex::default());
            let limits = match scenario.relays {
                true => Limits { bytes: 1 << 20, messages: 256 },
                false => Limits { bytes: 0, messages: 0 },
            };
            Arc::new(Place { number, rate: *rate, limits, door, line, running })
        });
        let places = places.collect();
        let losses = Arc::new(Mutex::new(scenario.losses));
        Self { random, engine, vault, history, places, losses }
    }

    /// Plays it to its end; gives the first thing that must not be.
    async fn play(&self, scenario: &Scenario) -> Option<String> {
        let began = Instant::now();
        for place in &self.places {
            self.start(place, 0);
        }
        let doors: Vec<_> = self.places.iter().map(|place| place.door.clone()).collect();
        for number in 0..scenario.participants {
            let random = self.random.fork("participant", number as u64);
            let (losses, history) = (Arc::clone(&self.losses), Arc::clone(&self.history));
            let mut client = Client::new(number, LENGTH, random, doors.clone(), losses, history);
            client.wanders = scenario.wander;
            spawn(client.run());
        }
        for (at, happening) in &scenario.happenings {
            if let Some(violation) = self.until(began + Duration::from_millis(*at)).await {
                return Some(violation);
            }
            self.history.tell(format!("{happening:?}"));
            self.bring_about(*happening, *at);
        }
        let storm_ends = began + scenario.storm;
        if let Some(violation) = self.until(storm_ends).await {
            return Some(violation);
        }
        self.heal();
        self.history.tell("the storm is over");
        if let Some(violation) = self.find_back(scenario).await {
            return Some(violation);
        }
        // A renewal from the storm would prolong the lease of the leader that is killed now.
        if let Some(violation) = self.until(storm_ends + line::ARRIVED).await {
            return Some(violation);
        }
        self.take_over(scenario).await
    }

    /// Waits until a point in time, or something is that must not be.
    async fn until(&self, at: Instant) -> Option<String> {
        loop {
            if let Some(violation) = self.history.violation() {
                return Some(violation);
            }
            if let Some((phase, time)) = self.history.in_phase_for() {
                if phase.accepts().is_some() && time > LONGEST_PHASE + OUTAGE {
                    return Some(format!("the {phase} phase has been going on for {time:?}"));
                }
            }
            let now = Instant::now();
            if now >= at {
                return None;
            }
            sleep_until(at.min(now + Duration::from_millis(50))).await;
        }
    }

    /// Ends all that goes wrong.
    fn heal(&self) {
        self.engine.pause(false);
        *self.losses.lock().expect("nobody panics while it is locked") = 0;
        for place in &self.places {
            place.line.weather(|weather| {
                *weather = line::Weather::CALM;
            });
            let process = place.with(|running| running.process.clone());
            match process.filter(Process::is_alive) {
                Some(process) => process.stand_still(false),
                None => self.start(place, 1_000_000),
            }
        }
    }

    /// Two more rounds come to a good end.
    async fn find_back(&self, scenario: &Scenario) -> Option<String> {
        let rounds = || {
            let (completed, failed, _) = self.history.counts();
            completed + if scenario.is_scarce() { failed } else { 0 }
        };
        let before = rounds();
        let (began, end) = (Instant::now(), Instant::now() + CALM);
        let mut settled = false;
        while rounds() < before + 2 {
            if !settled && began.elapsed() >= SETTLED {
                settled = true;
                self.history.settle(true);
            }
            if let Some(violation) = self.history.violation() {
                return Some(violation);
            }
            if Instant::now() >= end {
                let roles = self.places.iter().map(|place| place.role());
                return Some(format!(
                    "no two rounds were completed within {CALM:?} after the storm; {:?}",
                    roles.collect::<Vec<_>>()
                ));
            }
            sleep(Duration::from_millis(50)).await;
        }
        self.check_lag().await
    }

    /// All replicas show what the log has said a while ago.
    async fn check_lag(&self) -> Option<String> {
        let stage = self.history.stage()?;
        sleep(LAG).await;
        for place in &self.places {
            let shown = place.with(|running| stage_of(&running.board)).flatten();
            if shown.is_none_or(|shown| shown < stage) {
                return Some(format!(
                    "replica {} shows {shown:?}, and {LAG:?} ago the log was at {stage:?}",
                    place.number
                ));
            }
        }
        self.history.violation()
    }

    /// The leader is killed, and another one leads soon.
    async fn take_over(&self, scenario: &Scenario) -> Option<String> {
        let Some(leader) = self.leader() else {
            return Some("nobody leads in the calm".to_owned());
        };
        let before = self.history.epoch();
        self.history.tell(format!("the leader, replica {}, is killed in the calm", leader.number));
        self.history.settle(false);
        leader.kill();
        let led = async {
            while self.history.epoch() == before || self.leader().is_none() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        if timeout(TAKEOVER, led).await.is_err() {
            let roles = self.places.iter().map(|place| place.role());
            return Some(format!(
                "nobody leads {TAKEOVER:?} after the leader was killed; {:?}",
                roles.collect::<Vec<_>>()
            ));
        }
        if scenario.is_scarce() {
            return self.history.violation();
        }
        let (completed, ..) = self.history.counts();
        let (began, unlucky) = (Instant::now(), self.history.unlucky());
        while self.history.counts().0 == completed {
            // But for rounds in which chance has given the tasks to too few.
            let tries = 1 + (self.history.unlucky() - unlucky) as u32;
            if began.elapsed() > (LONGEST_PHASE * 3 + LEASE) * tries {
                return Some("no round was completed after the last takeover".to_owned());
            }
            sleep(Duration::from_millis(50)).await;
        }
        self.history.violation()
    }

    fn leader(&self) -> Option<&Arc<Place>> {
        self.places.iter().find(|place| place.role().as_deref() == Some("leader"))
    }

    /// Has a replica started in a place, the time being what its chance follows from.
    fn start(&self, place: &Arc<Place>, at: u64) {
        start(
            place,
            &self.vault,
            &self.history,
            self.random.fork("process", at * 100 + place.number as u64),
        );
    }

    /// The number of a replica.
    fn number_of(&self, who: Who) -> Option<usize> {
        let with_role = |leads: bool| {
            let mut places = self.places.iter();
            places.find(|place| place.role().is_some_and(|role| (role == "leader") == leads))
        };
        match who {
            Who::Number(number) => Some(number),
            Who::Leader => with_role(true).map(|place| place.number),
            Who::Other => with_role(false).map(|place| place.number),
        }
    }

    fn bring_about(&self, happening: Happening, at: u64) {
        match happening {
            Happening::EngineStands(time) => {
                self.history.note(Trouble::EngineStood);
                self.engine.pause(true);
                let engine = self.engine.clone();
                return after(time, move || engine.pause(false));
            }
            Happening::EngineClock(by) => {
                let time = Duration::from_millis(by.unsigned_abs());
                if by > 0 {
                    self.history.note(Trouble::EngineClockAhead);
                    self.engine.advance(time);
                } else {
                    self.history.note(Trouble::EngineClockBack);
                    self.engine.set_back(time);
                }
                return;
            }
            _ => {}
        }
        let Some(number) = happening.who().and_then(|who| self.number_of(who)) else { return };
        match happening {
            Happening::Kill(_, time) => self.kill(number, time, at),
            Happening::Stop(_, time) => self.stop(number, time, at),
            Happening::Stand(_, time) => self.stand(number, time),
            Happening::Cut(_, time) => self.cut(number, time),
            Happening::ClockJumps(_, ahead) => self.jump(number, ahead),
            Happening::Wrong(_, share, time) => {
                self.with_weather(number, time, move |weather, is| {
                    weather.wrong = if is { share } else { 0 };
                });
            }
            Happening::Unrenewed(_, time) => {
                self.with_weather(number, time, |weather, is| weather.unrenewed = is);
            }
            Happening::Slow(_, slowest, time) => {
                self.with_weather(number, time, move |weather, is| {
                    weather.slowest = if is { slowest } else { 4 };
                });
            }
            Happening::EngineStands(_) | Happening::EngineClock(_) => {}
        }
    }

    /// Notes that something goes wrong with a replica that runs: with whoever leads, or with another one.
    fn note(&self, number: usize, of_leader: Trouble, of_other: Trouble) {
        match self.places[number].role().as_deref() {
            Some("leader") => self.history.note(of_leader),
            Some(_) => self.history.note(of_other),
            None => {}
        }
    }

    fn cut(&self, number: usize, time: u64) {
        self.note(number, Trouble::LeaderCutOff, Trouble::OtherCutOff);
        self.with_weather(number, time, |weather, is| weather.cut = is);
    }

    fn jump(&self, number: usize, ahead: u64) {
        self.history.note(Trouble::ClockJumped);
        let process = self.places[number].with(|running| running.process.clone());
        process.inspect(|process| process.jump(Duration::from_millis(ahead)));
    }

    fn kill(&self, number: usize, time: u64, at: u64) {
        self.note(number, Trouble::LeaderKilled, Trouble::OtherKilled);
        self.places[number].kill();
        self.start_later(number, time, at);
    }

    fn stop(&self, number: usize, time: u64, at: u64) {
        self.note(number, Trouble::LeaderStopped, Trouble::OtherStopped);
        self.places[number].with(|running| drop(running.stop.take()));
        self.start_later(number, time, at);
    }

    fn start_later(&self, number: usize, time: u64, at: u64) {
        let (place, vault) = (Arc::clone(&self.places[number]), self.vault.clone());
        let history = Arc::clone(&self.history);
        let random = self.random.fork("process", at * 100 + number as u64);
        let Some(process) = place.with(|running| running.process.clone()) else { return };
        after(time, move || {
            // Who has not ended by itself by now is made to.
            process.kill();
            start(&place, &vault, &history, random);
        });
    }

    fn stand(&self, number: usize, time: u64) {
        let Some(process) = self.places[number].with(|running| running.process.clone()) else {
            return;
        };
        let leads = self.places[number].role().as_deref() == Some("leader");
        let (history, epoch) = (Arc::clone(&self.history), self.history.epoch());
        process.stand_still(true);
        after(time, move || {
            if process.is_alive() && Duration::from_millis(time) > LEASE {
                history.note(Trouble::StoodTooLong);
            }
            if process.is_alive() && leads && history.epoch() > epoch {
                history.note(Trouble::ZombieLeader);
            }
            process.stand_still(false);
        });
    }

    fn with_weather(
        &self,
        number: usize,
        time: u64,
        change: impl Fn(&mut line::Weather, bool) + Send + 'static,
    ) {
        let line = self.places[number].line.clone();
        line.weather(|weather| change(weather, true));
        after(time, move || line.weather(|weather| change(weather, false)));
    }
}

/// Does something once so many milliseconds have passed.
fn after(time: u64, act: impl FnOnce() + Send + 'static) {
    spawn(async move {
        sleep(Duration::from_millis(time)).await;
        act();
    });
}

/// Starts a replica in a place, unless one runs there.
fn start(place: &Arc<Place>, vault: &Vault, history: &Arc<History>, random: Random) {
    if place.with(|running| running.process.is_alive()).unwrap_or(false) {
        return;
    }
    let process = Process::new(random);
    process.set_clock(place.rate, Duration::ZERO);
    match place.rate {
        ..1000 => history.note(Trouble::ClockSlow),
        1000 => {}
        _ => history.note(Trouble::ClockFast),
    }
    let (settings, limits) = (settings(), place.limits);
    let counters = Arc::new(Counters::default());
    let (_, stopped) = watch::channel(false);
    let (observer, view, _) = status::channel(Arc::clone(&counters), stopped.clone());
    let library = Arc::new(Library::new(1 << 20));
    let (board, shown) = watch::channel(Board::new(1 << 16, Arc::clone(&library)));
    let ledger = Arc::new(place.line.clone()) as Arc<dyn Ledger>;
    let parts = Arc::new(place.line.clone()) as Arc<dyn Parts>;
    let store = SharedStore::opened(ledger, parts, vault.clone());
    let name = format!("replica {}", place.number);
    let (stop, stopping) = oneshot::channel();
    let (read_board, history) = (shown.clone(), Arc::clone(history));
    let (door, inside, called) = (place.door.clone(), process.clone(), name.clone());
    spawn(watch_board(name.clone(), process.clone(), shown.clone(), Arc::clone(&history)));
    let running = async move {
        let mut root = [0; 32];
        crate::process::fill_random(&mut root).expect("there is chance");
        let around = Around {
            counters: Arc::clone(&counters),
            observer,
            board,
            address: called.clone(),
            name: called.clone(),
            limits,
        };
        let replica = Replica::new(store, settings.clone(), None, RootSeed::new(root), around);
        let replica = replica.expect("there is chance");
        let (routes, models) = (replica.routes(), replica.models());
        let intake = Intake::new(read_board, counters, routes, models, library, stopped);
        door.open(inside.clone(), http::router(intake, upload_limits(&settings, 1 << 16)));
        let ended = replica.run(stopping).await;
        history.tell(format!("{called} has ended: {ended:?}"));
        if let Err(error) = ended {
            history.accuse(format!("{called} has ended: {error}"));
        }
        // Nobody listens any more.
        inside.kill();
    };
    spawn(process.run(running));
    *place.lock() = Some(Running { process, view, board: shown, stop: Some(stop) });
}

/// What a replica shows never goes back, and is what the log says.
async fn watch_board(
    name: String,
    process: Process,
    mut board: watch::Receiver<Board>,
    history: Arc<History>,
) {
    let mut before: Option<Stage> = None;
    let looking = async {
        while board.changed().await.is_ok() {
            let front = board.borrow_and_update().front().clone();
            history.shown(&name, &front);
            let now = front
                .round_id()
                .filter(|_| front.phase() != Phase::Shutdown)
                .map(|round| Stage { round, rank: rank(front.phase()) });
            if now.is_some() && now < before {
                history.accuse(format!("{name} shows {now:?} after {before:?}"));
            }
            before = now.or(before);
        }
    };
    tokio::select! {
        biased;
        () = looking => {}
        () = process.died() => {}
    }
}

fn stage_of(board: &watch::Receiver<Board>) -> Option<Stage> {
    let board = board.borrow();
    let front = board.front();
    Some(Stage { round: front.round_id()?, rank: rank(front.phase()) })
}

impl Place {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Running>> {
        self.running.lock().expect("nobody panics while it is locked")
    }

    fn with<T>(&self, act: impl FnOnce(&mut Running) -> T) -> Option<T> {
        self.lock().as_mut().map(act)
    }

    fn kill(&self) {
        let process = self.with(|running| running.process.clone());
        process.inspect(Process::kill);
    }

    /// What it says that it is, if it runs.
    fn role(&self) -> Option<String> {
        let (process, view) =
            self.with(|running| (running.process.clone(), running.view.clone()))?;
        if !process.runs() {
            return None;
        }
        view.status().now.replica.map(|replica| replica.role)
    }
}
