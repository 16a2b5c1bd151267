//! The run of a simulation: one happening after another.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use pet_core::crypto::RoundSeed;
use pet_core::time::Timestamp;

use super::agenda::{Agenda, Happening};
use super::client::Client;
use super::drivers::{Drivers, NoDrivers};
use super::ledger::Ledger;
use super::random::Random;
use super::report::{Failure, Progress, Report};
use super::scenario::{Fault, Faults, Scenario};
use super::server::Server;
use super::trace::Trace;
use super::violation::Violation;

/// How long after the storm everyone must have found back: the longest interruption, the time until a
/// request is given up, and the longest pause, with room.
const RECOVERY: Duration = Duration::from_secs(200);
/// How long a driver may take for anything.
pub(super) const PATIENCE: Duration = Duration::from_secs(600);
/// How many rounds may fail in a row, by lot alone, in the calm.
const MOST_FAILED: u32 = 40;

/// A coordinator and its participants in virtual time.
pub(super) struct Simulation<'a> {
    pub(super) drivers: &'a dyn Drivers,
    pub(super) scenario: Scenario,
    pub(super) now: Timestamp,
    pub(super) agenda: Agenda,
    pub(super) server: Server,
    pub(super) clients: Vec<Client>,
    pub(super) ledger: Ledger,
    pub(super) trace: Trace,
    pub(super) chaos: Chaos,
    pub(super) report: Report,
    /// Messages that were sent, to be sent again by those who lie.
    pub(super) old_messages: VecDeque<Bytes>,
    /// The rounds that have begun in the calm, and the one before.
    pub(super) calm_rounds: BTreeSet<RoundSeed>,
    pub(super) completed_in_calm: u64,
    pub(super) watch: &'a mut dyn FnMut(&Progress<'_>),
}

/// Decides what goes wrong.
#[derive(Debug)]
pub(super) struct Chaos {
    faults: Faults,
    window: Range<u64>,
    until: Timestamp,
    count: u64,
    pub(super) struck: BTreeMap<String, u64>,
}

impl Chaos {
    /// Whether this goes wrong now.
    pub(super) fn strikes(&mut self, now: Timestamp, fault: Fault, random: &mut Random) -> bool {
        if !random.chance(self.faults.share(fault)) || now >= self.until {
            return false;
        }
        self.count += 1;
        let strikes = self.window.contains(&(self.count - 1));
        if strikes {
            *self.struck.entry(format!("{fault:?}")).or_default() += 1;
        }
        strikes
    }
}

/// Runs a scenario to its end.
///
/// # Errors
/// If a rule is broken.
pub fn run(scenario: &Scenario) -> Result<Report, Box<Failure>> {
    run_with(scenario, &NoDrivers)
}

/// Runs a scenario to its end, with drivers of your own.
///
/// # Errors
/// If a rule is broken.
pub fn run_with(scenario: &Scenario, drivers: &dyn Drivers) -> Result<Report, Box<Failure>> {
    play(scenario, drivers, &mut |_| {})
}

/// Like [`run`], with a look at each of the coordinator's events.
///
/// # Errors
/// If a rule is broken.
pub fn run_watched(
    scenario: &Scenario,
    watch: &mut dyn FnMut(&Progress<'_>),
) -> Result<Report, Box<Failure>> {
    play(scenario, &NoDrivers, watch)
}

fn play(
    scenario: &Scenario,
    drivers: &dyn Drivers,
    watch: &mut dyn FnMut(&Progress<'_>),
) -> Result<Report, Box<Failure>> {
    let mut simulation = Simulation::new(scenario.clone(), drivers, watch);
    let outcome = simulation.run();
    let Simulation { scenario, trace, mut report, chaos, now, .. } = simulation;
    report.faults = chaos.struck;
    report.end = now;
    let (digest, trace) = trace.finish();
    report.digest = Some(digest);
    match outcome {
        Ok(()) => Ok(report),
        Err(violation) => {
            Err(Box::new(Failure { scenario, violation, faults: chaos.count, report, trace }))
        }
    }
}

impl<'a> Simulation<'a> {
    fn new(
        scenario: Scenario,
        drivers: &'a dyn Drivers,
        watch: &'a mut dyn FnMut(&Progress<'_>),
    ) -> Self {
        let random = Random::new(scenario.seed);
        let data_type = scenario.settings.mask.vect.data_type();
        let length = usize::try_from(scenario.settings.model_length).expect("a short model");
        let mut ledger = Ledger::new(data_type, length);
        let mut agenda = Agenda::default();
        let mut clients = Vec::new();
        for number in 0..scenario.participants {
            let mut client = Client::new(&scenario, random.fork("participant", number));
            if client.honest {
                ledger.trust(client.keys.public());
            }
            let begin = Timestamp::from_millis(client.random.below(10_000));
            let index = clients.len();
            client.wake = Some(agenda.add(begin, Happening::ClientRestored(index)));
            clients.push(client);
        }
        agenda.add(Timestamp::ZERO, Happening::ServerRestored);
        let chaos = Chaos {
            faults: scenario.faults.clone(),
            window: scenario.window.clone(),
            until: Timestamp::ZERO + scenario.storm,
            count: 0,
            struck: BTreeMap::new(),
        };
        Self {
            drivers,
            server: Server::new(random.fork("server", 0)),
            scenario,
            now: Timestamp::ZERO,
            agenda,
            clients,
            ledger,
            trace: Trace::default(),
            chaos,
            report: Report::default(),
            old_messages: VecDeque::new(),
            calm_rounds: BTreeSet::new(),
            completed_in_calm: 0,
            watch,
        }
    }

    fn run(&mut self) -> Result<(), Violation> {
        let times = [
            self.scenario.settings.sum.time.max,
            self.scenario.settings.update.time.max,
            self.scenario.settings.sum2.time.max,
        ];
        let round: Duration = times.iter().sum();
        let patience = round * MOST_FAILED;
        let calm_from = Timestamp::ZERO + self.scenario.storm;
        let recovered = match self.scenario.storm {
            Duration::ZERO => calm_from,
            _ => calm_from + RECOVERY,
        };
        while let Some((at, happening)) = self.agenda.next() {
            self.now = at;
            self.report.happenings += 1;
            self.happen(happening)?;
            if self.completed_in_calm >= self.scenario.calm_rounds && self.now >= recovered {
                return self.check_end();
            }
            if self.now >= recovered + patience {
                self.check_drivers()?;
                return Err(Violation::NoRounds(self.now.saturating_since(calm_from)));
            }
        }
        self.check_drivers()?;
        let who = "everyone".into();
        Err(Violation::Stuck { who, why: "nothing is going to happen any more".into() })
    }

    pub(super) fn is_calm(&self) -> bool {
        self.now >= Timestamp::ZERO + self.scenario.storm
    }

    fn happen(&mut self, happening: Happening) -> Result<(), Violation> {
        match happening {
            Happening::ClientWakes(client) => self.client_wakes(client),
            Happening::ClientJob(life, job) => self.client_job(life, job),
            Happening::ClientJobLost(life, job, told) => self.client_job_lost(life, job, told),
            Happening::ClientRestored(client) => self.restore_client(client),
            Happening::Answered(life, id, response) => self.client_answer(life, id, Ok(response)),
            Happening::Refused(life, id) => {
                let fault = pet_core::participant::TransportFault::Unreachable("refused".into());
                self.client_answer(life, id, Err(fault))
            }
            Happening::TimedOut(life, id) => {
                let fault = pet_core::participant::TransportFault::TimedOut;
                self.client_answer(life, id, Err(fault))
            }
            Happening::Arrives(sender, call) => self.arrives(sender, call),
            Happening::ServerWakes => self.server_wakes(),
            Happening::Opened(crashes, sender, message) => self.opened(crashes, sender, *message),
            Happening::ServerJob(crashes, job) => self.server_job(crashes, job),
            Happening::ServerJobLost(crashes, job, told) => {
                self.server_job_lost(crashes, job, told)
            }
            Happening::Stored(crashes) => self.stored(crashes),
            Happening::ServerRestored => self.restore_server(),
        }
    }

    /// Everyone takes part again.
    fn check_end(&self) -> Result<(), Violation> {
        self.check_drivers()?;
        if self.scenario.storm == Duration::ZERO {
            return Ok(());
        }
        for (index, client) in self.clients.iter().enumerate() {
            let machine = client.driver.as_ref().map(|driver| driver.machine());
            let round = machine.and_then(|machine| machine.parameters());
            if !round.is_some_and(|round| self.calm_rounds.contains(&round.seed)) {
                return Err(Violation::LeftBehind { who: format!("participant {index}") });
            }
        }
        Ok(())
    }
}

impl Simulation<'_> {
    /// No driver owes anything for long.
    fn check_drivers(&self) -> Result<(), Violation> {
        self.check_server_driver()?;
        (0..self.clients.len()).try_for_each(|client| self.check_client_driver(client))
    }
}

/// Adds one to a count.
pub(super) fn count<K: Ord>(counts: &mut BTreeMap<K, u64>, what: K) {
    *counts.entry(what).or_default() += 1;
}
