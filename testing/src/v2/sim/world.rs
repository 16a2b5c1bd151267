//! The run itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pet_core::crypto::PublicSigningKey;
use pet_core::participant::{self, TransportFault};
use pet_core::request::{RequestId, Response};
use pet_core::time::Timestamp;
use pet_core::v2::coordinator::{CountRange, Event, Input, Rejection, Settings, TimeRange, Times};
use pet_core::v2::member;
use pet_core::v2::{
    Announcement, Announcements, Call, Decision, EntriesPage, MemberId, Phase, RoundView, SetView,
    Vote,
};

use super::actors::{
    is_from, to_member, to_updater, CheatActor, Lies, MemberActor, UpdaterActor, Wish,
};
use super::network::{Agenda, Happening};
use super::scenario::{CheatKind, LieKind, Scenario};
use super::server::{Said, Sender, Server};
use super::watch::{Violation, Watch};
use crate::sim::random::Random;
use crate::v2::by_hand::{config, root, Committee, OPENED_AT};

/// What came of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// Rounds with a model.
    pub completed: u64,
    /// Rounds without, by the name of the failure.
    pub failed: BTreeMap<&'static str, u64>,
    /// Refusals of members and updaters, by name.
    pub refused: BTreeMap<&'static str, u64>,
    /// Updaters that were excluded, in all rounds.
    pub excluded: u64,
    /// Members that were disregarded.
    pub disregarded: u64,
    /// Masks that the majority of the group did not have.
    pub lying_masks: u64,
    /// Crashes.
    pub crashes: u64,
    /// Rounds in which members were shown different sets.
    pub splits: u64,
    /// All that has happened.
    pub steps: u64,
}

/// A run that has broken a rule.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The rule.
    pub violation: Violation,
    /// The run.
    pub scenario: Scenario,
    /// What had come of it by then.
    pub report: Report,
}

/// The lives of those whose answers are lost on the way, and of requests that come a second time.
const LOST: u64 = u64::MAX;
const NOBODY: u64 = u64::MAX - 1;
/// What waits for answers and stores at most: each actor has one request at a time, some of them twice.
const MOST_WAITING: u64 = 200;

/// Runs a scenario.
///
/// # Errors
/// If a rule is broken.
pub fn run(scenario: &Scenario) -> Result<Report, Box<Failure>> {
    let mut world = World::new(scenario);
    match world.run() {
        Ok(()) => Ok(world.report),
        Err(violation) => {
            let scenario = scenario.clone();
            Err(Box::new(Failure { violation, scenario, report: world.report }))
        }
    }
}

enum Actor {
    Member(Box<MemberActor>),
    Updater(Box<UpdaterActor>),
    Cheat(CheatActor),
}

/// A set that some members are shown in place of the real one.
struct Split {
    round: u64,
    set: SetView,
    to: BTreeSet<MemberId>,
}

struct World {
    scenario: Scenario,
    committee: Committee,
    server: Server,
    actors: Vec<Actor>,
    /// How often each actor was started: what was sent to an earlier life does not arrive.
    lives: Vec<u64>,
    waits: Vec<Option<Timestamp>>,
    open: Vec<usize>,
    server_life: u64,
    agenda: Agenda,
    now: Timestamp,
    random: Random,
    watch: Watch,
    split: Option<Split>,
    decided: u64,
    report: Report,
    last_failure: String,
    /// Requests with chunks that are not answered yet; and the acknowledged chunks of each updater, with the round.
    chunks: BTreeMap<(usize, RequestId), u32>,
    sent: BTreeMap<usize, (u64, BTreeSet<u32>)>,
    next_id: u64,
}

impl World {
    fn new(scenario: &Scenario) -> Self {
        let all = scenario.updaters + scenario.cheats.len();
        let committee = Committee::new(scenario.groups, scenario.members, all);
        let time = TimeRange { min: Duration::from_secs(1), max: Duration::from_secs(40) };
        let count = CountRange { min: 3, max: all as u64 };
        let times = Times::all(time);
        let (roster, length) = (committee.roster.clone(), scenario.length);
        let settings = Settings::new(roster, config(), length, 3, count, times);
        let now = Timestamp::from_millis(OPENED_AT * 1000);
        let server = Server::new(settings, root(70, scenario.seed), now);
        let places = 0..scenario.groups * scenario.members;
        let lie =
            |place| scenario.liars.iter().find(|(liar, _)| *liar == place).map(|(_, lie)| *lie);
        let mut actors: Vec<Actor> = places
            .map(|place| Actor::Member(Box::new(MemberActor::new(&committee, place, lie(place)))))
            .collect();
        let length = length as usize;
        actors.extend(
            (0..scenario.updaters).map(|number| {
                Actor::Updater(Box::new(UpdaterActor::new(&committee, number, length)))
            }),
        );
        actors.extend(
            scenario.cheats.iter().enumerate().map(|(place, kind)| {
                Actor::Cheat(CheatActor::new(scenario.updaters + place, *kind))
            }),
        );
        let count = actors.len();
        Self {
            scenario: scenario.clone(),
            committee,
            server,
            actors,
            lives: vec![0; count],
            waits: vec![None; count],
            open: vec![0; count],
            server_life: 0,
            agenda: Agenda::default(),
            now,
            random: Random::new(scenario.seed).fork("world", 0),
            watch: Watch::default(),
            split: None,
            decided: 0,
            report: Report::default(),
            last_failure: "none".into(),
            chunks: BTreeMap::new(),
            sent: BTreeMap::new(),
            next_id: 0,
        }
    }

    fn run(&mut self) -> Result<(), Violation> {
        let begin = self.now;
        let said = self.server.drain(self.now);
        self.server_said(said)?;
        for actor in 0..self.actors.len() {
            self.agenda.put(self.now, Happening::Wake { actor, life: 0 });
        }
        if self.scenario.crashes > Duration::ZERO {
            self.agenda.put(self.now + Duration::from_secs(2), Happening::Crash);
        }
        let calm_from = begin + self.scenario.storm;
        let mut before_calm = None;
        while let Some((at, what)) = self.agenda.next() {
            self.now = self.now.max(at);
            if self.now >= calm_from {
                let before = *before_calm.get_or_insert(self.watch.rounds);
                if self.watch.rounds >= before + 2 {
                    return Ok(());
                }
                if self.now >= calm_from + self.scenario.patience {
                    let seconds = self.scenario.patience.as_secs();
                    return Err(Violation::NoProgress(seconds, self.last_failure.clone()));
                }
            }
            self.report.steps += 1;
            self.happens(what)?;
        }
        Err(Violation::WaitsForNothing(usize::MAX))
    }

    fn is_storm(&self) -> bool {
        self.now < Timestamp::from_millis(OPENED_AT * 1000) + self.scenario.storm
    }

    fn latency(&mut self) -> Duration {
        Duration::from_millis(self.random.between(1, 80))
    }

    fn happens(&mut self, what: Happening) -> Result<(), Violation> {
        match what {
            Happening::Wake { actor, life } if life == self.lives[actor] => {
                self.input_of(actor, None)
            }
            Happening::Request { actor, life, id, call, is_answer_lost } => {
                self.arrives(actor, life, id, call, is_answer_lost)
            }
            Happening::Answer { actor, life, id, answer } if life == self.lives[actor] => {
                self.open[actor] = self.open[actor].saturating_sub(1);
                self.input_of(actor, Some((id, answer)))
            }
            Happening::Stored { actor, life, id, bytes } if life == self.lives[actor] => {
                Watch::bounded("bytes of a member's state", bytes.len() as u64, 4096)?;
                let now = self.now;
                let Actor::Member(member) = &mut self.actors[actor] else { return Ok(()) };
                member.disk = bytes;
                let wishes = member.input(now, member::Input::Persisted(id));
                self.wishes(actor, wishes)
            }
            Happening::Kept { life, id } if life == self.server_life => {
                let said = self.server.kept(self.now, id);
                self.server_said(said)
            }
            Happening::Tick { life } if life == self.server_life => {
                let said = self.server.input(self.now, Input::Tick);
                self.server_said(said)
            }
            Happening::Crash => self.crash(),
            Happening::Start { actor } => {
                match &mut self.actors[actor] {
                    Actor::Member(member) => member.start(),
                    Actor::Updater(updater) => updater.start(),
                    Actor::Cheat(_) => {}
                }
                self.input_of(actor, None)
            }
            _ => Ok(()),
        }
    }

    /// Tells an actor the time, or an answer.
    fn input_of(
        &mut self,
        actor: usize,
        answer: Option<(RequestId, Result<Response, TransportFault>)>,
    ) -> Result<(), Violation> {
        let now = self.now;
        let wishes = match &mut self.actors[actor] {
            Actor::Member(member) => {
                let input =
                    answer.map_or(member::Input::Tick, |(id, answer)| to_member(id, answer));
                member.input(now, input)
            }
            Actor::Updater(updater) => {
                let input =
                    answer.map_or(participant::Input::Tick, |(id, answer)| to_updater(id, answer));
                let wishes = updater.input(now, input);
                if self.random.chance(0.2) {
                    updater.save();
                }
                wishes
            }
            Actor::Cheat(_) => return self.cheat(actor),
        };
        self.wishes(actor, wishes)
    }

    /// A cheat looks in five times a second.
    fn cheat(&mut self, actor: usize) -> Result<(), Violation> {
        let next = self.now + Duration::from_millis(200);
        self.agenda.put(next, Happening::Wake { actor, life: 0 });
        let view = self.server.front.view();
        let (Some(terms), Some(list)) = (view.terms, self.list()) else { return Ok(()) };
        if view.phase != Phase::Update {
            return Ok(());
        }
        let Actor::Cheat(cheat) = &mut self.actors[actor] else { return Ok(()) };
        for call in cheat.send(&self.committee, &terms, &list) {
            self.next_id += 1;
            self.arrives(actor, NOBODY, RequestId(self.next_id), call, false)?;
        }
        Ok(())
    }

    fn list(&self) -> Option<Announcements> {
        let response = self.server.answer(&Call::Announcements)?;
        Announcements::from_bytes(&response.body).ok()
    }

    fn wishes(&mut self, actor: usize, wishes: Vec<Wish>) -> Result<(), Violation> {
        let life = self.lives[actor];
        for wish in wishes {
            match wish {
                Wish::Ask(id, call) => self.ask(actor, id, call)?,
                Wish::Store(id, bytes) => {
                    self.open[actor] += 1;
                    let at = self.now + Duration::from_millis(self.random.between(0, 40));
                    self.agenda.put(at, Happening::Stored { actor, life, id, bytes });
                    if self.scenario.confirms_early {
                        self.confirm(actor, id)?;
                    }
                }
                Wish::Wake(Some(at)) => {
                    self.waits[actor] = Some(at);
                    let at = at.max(self.now + Duration::from_millis(1));
                    self.agenda.put(at, Happening::Wake { actor, life });
                }
                Wish::Wake(None) => {
                    self.waits[actor] = None;
                    if self.open[actor] == 0 {
                        return Err(Violation::WaitsForNothing(actor));
                    }
                }
                Wish::Refused(name) => *self.report.refused.entry(name).or_default() += 1,
            }
        }
        Ok(())
    }

    fn confirm(&mut self, actor: usize, id: member::PersistId) -> Result<(), Violation> {
        let now = self.now;
        let Actor::Member(member) = &mut self.actors[actor] else { return Ok(()) };
        let wishes = member.input(now, member::Input::Persisted(id));
        self.wishes(actor, wishes)
    }

    fn ask(&mut self, actor: usize, id: RequestId, call: Call) -> Result<(), Violation> {
        let life = self.lives[actor];
        self.open[actor] += 1;
        let call = match self.lie(actor, call.clone()) {
            Some(call) => call,
            None => return self.answer(actor, life, id, Err(TransportFault::TimedOut)),
        };
        self.watch_member(actor, &call)?;
        let storm = self.is_storm();
        if storm && self.random.chance(self.scenario.loss) {
            return self.answer(actor, life, id, Err(TransportFault::TimedOut));
        }
        let is_answer_lost = storm && self.random.chance(self.scenario.loss);
        let at = self.now + self.latency();
        if storm && call.post().is_some() && self.random.chance(self.scenario.doubled) {
            let again = self.now + self.latency() + self.latency();
            let call = call.clone();
            // Nobody waits for the second answer.
            self.agenda.put(
                again,
                Happening::Request { actor, life: NOBODY, id, call, is_answer_lost: false },
            );
        }
        self.agenda.put(at, Happening::Request { actor, life, id, call, is_answer_lost });
        Ok(())
    }

    /// What honest members sign is looked at as it leaves.
    fn watch_member(&mut self, actor: usize, call: &Call) -> Result<(), Violation> {
        let Actor::Member(member) = &self.actors[actor] else { return Ok(()) };
        if member.lie.is_some() {
            return Ok(());
        }
        let Some(terms) = self.server.front.terms().cloned() else { return Ok(()) };
        let context = terms.context();
        let post = call.post();
        if post.is_some_and(|post| post.round != Some(context.tag())) {
            return Ok(());
        }
        match call {
            Call::Announce(post) => {
                let announcement = Announcement::from_bytes(&post.body).expect("its own");
                self.watch.announces(&announcement, &context, &member.disk)
            }
            Call::Vote(post) => {
                let vote = Vote::from_bytes(&post.body).expect("its own");
                let Some(list) = self.list() else { return Ok(()) };
                let liars: BTreeSet<MemberId> = self.liars().collect();
                let (disk, roster) = (member.disk.clone(), self.committee.roster.clone());
                let is_honest = |id| !liars.contains(&id);
                self.watch.votes(&roster, is_honest, &list, &context, &vote, &disk)
            }
            _ => Ok(()),
        }
    }

    fn liars(&self) -> impl Iterator<Item = MemberId> + '_ {
        self.actors.iter().filter_map(|actor| match actor {
            Actor::Member(member) if member.lie.is_some() => Some(member.id),
            _ => None,
        })
    }

    fn lie(&mut self, actor: usize, call: Call) -> Option<Call> {
        let Actor::Member(member) = &self.actors[actor] else { return Some(call) };
        match member.lie {
            None => return Some(call),
            Some(LieKind::Vanish(from)) if is_from(&call, from) => return None,
            Some(_) => {}
        }
        let terms = self.server.front.terms().cloned();
        let (Some(terms), Some(list)) = (terms, self.list()) else { return Some(call) };
        let view = self.server.front.view();
        let updaters = self.entries(member.id).into_iter().map(|(key, _)| key).collect();
        let world = Lies { terms: &terms, list: &list, updaters, decision: view.decision };
        let Actor::Member(member) = &mut self.actors[actor] else { return None };
        member.lie(call, &world)
    }

    /// All entries, with the statements' digests.
    fn entries(&self, member: MemberId) -> Vec<(PublicSigningKey, pet_core::crypto::Digest)> {
        let mut all = Vec::new();
        loop {
            let call = Call::Entries { member, from: all.len() as u64 };
            let Some(response) = self.server.answer(&call) else { return all };
            let Ok(page) = EntriesPage::from_bytes(&response.body) else { return all };
            let Some(list) = self.list() else { return all };
            let digest = |entry: &pet_core::v2::Entry| {
                (entry.updater, entry.statement_digest(&page.context, &list.digest()))
            };
            all.extend(page.entries.iter().map(digest));
            if page.entries.is_empty() || all.len() as u64 >= page.total {
                return all;
            }
        }
    }

    /// A request is at the coordinator.
    fn arrives(
        &mut self,
        actor: usize,
        life: u64,
        id: RequestId,
        call: Call,
        is_answer_lost: bool,
    ) -> Result<(), Violation> {
        let life = if is_answer_lost { LOST } else { life };
        if let Some(mut response) = self.server.answer(&call) {
            if let Some(split) = self.split_answer(actor, &call, &response) {
                response = split;
            }
            return self.answer(actor, life, id, Ok(response));
        }
        if let Call::UpdateChunk { index, .. } = &call {
            self.chunks.insert((actor, id), *index);
        }
        match self.server.message(self.now, (actor, life, id), call) {
            Ok(said) => self.server_said(said),
            Err(rejection) => {
                let response = refused(&rejection, self.server.front.round());
                self.answer(actor, life, id, Ok(response))
            }
        }
    }

    fn answer(
        &mut self,
        actor: usize,
        life: u64,
        id: RequestId,
        answer: Result<Response, TransportFault>,
    ) -> Result<(), Violation> {
        if life == NOBODY {
            return Ok(());
        }
        let (life, answer, pause) = match (life, answer) {
            // The answer is lost on the way: the sender waits for it in vain.
            (LOST, _) => (self.lives[actor], Err(TransportFault::TimedOut), 3000),
            (life, Err(fault)) => (life, Err(fault), 3000),
            (life, answer) => (life, answer, 0),
        };
        let at = self.now + self.latency() + Duration::from_millis(pause);
        self.agenda.put(at, Happening::Answer { actor, life, id, answer });
        Ok(())
    }

    /// The coordinator shows this member another set, where it does so.
    fn split_answer(&mut self, actor: usize, call: &Call, response: &Response) -> Option<Response> {
        let Actor::Member(member) = &self.actors[actor] else { return None };
        let id = member.id;
        if let (Call::Round, Ok(view)) = (call, RoundView::from_bytes(&response.body)) {
            self.maybe_split(&view);
            if let (Some(decision), Some(terms)) = (view.decision, &view.terms) {
                self.watch.shown(terms.context(), decision);
            }
        }
        let split = self.split.as_ref()?;
        if split.round != self.server.machine.round() || !split.to.contains(&id) {
            return None;
        }
        match call {
            Call::Round => {
                let mut view = RoundView::from_bytes(&response.body).ok()?;
                view.decision?;
                view.decision = Some(split.set.decision.digest());
                view.excluded = split.set.excluded.len() as u64;
                Some(Response::ok(view.to_bytes()))
            }
            Call::Set => Some(Response::ok(split.set.to_bytes())),
            _ => None,
        }
    }

    fn maybe_split(&mut self, view: &RoundView) {
        let Some(terms) = &view.terms else { return };
        if view.phase != Phase::Agree || self.decided >= terms.round {
            return;
        }
        self.decided = terms.round;
        if !self.is_storm() || !self.random.chance(self.scenario.splits) {
            return;
        }
        let Some(set) = self.server.answer(&Call::Set) else { return };
        let Ok(real) = SetView::from_bytes(&set.body) else { return };
        let ids = self.committee.ids();
        let entries = self.entries(ids[0]);
        let left: Vec<_> =
            entries.iter().filter(|(key, _)| !real.excluded.contains(key)).copied().collect();
        if left.is_empty() {
            return;
        }
        let victim = left[self.random.below(left.len() as u64) as usize].0;
        let mut excluded = real.excluded.clone();
        excluded.push(victim);
        excluded.sort_unstable();
        let Some(list) = self.list() else { return };
        let less = left.into_iter().filter(|(key, _)| *key != victim);
        let Ok(decision) = Decision::of(terms.context(), list.digest(), less) else { return };
        let to = ids.into_iter().filter(|_| self.random.chance(0.5)).collect();
        self.watch.shown(terms.context(), decision.digest());
        self.report.splits += 1;
        let set = SetView { decision, excluded, reports: real.reports };
        self.split = Some(Split { round: terms.round, set, to });
    }

    fn server_said(&mut self, said: Vec<Said>) -> Result<(), Violation> {
        for said in said {
            match said {
                Said::Keep(id) => {
                    let at = self.now + Duration::from_millis(self.random.between(0, 40));
                    self.agenda.put(at, Happening::Kept { life: self.server_life, id });
                }
                Said::Reply((actor, life, id), outcome) => {
                    self.acknowledged(actor, id, &outcome);
                    let response = match outcome {
                        Ok(()) => Response::ok(""),
                        Err(rejection) => refused(&rejection, self.server.front.round()),
                    };
                    self.answer(actor, life, id, Ok(response))?;
                }
                Said::Event(Event::RoundFailed { failure, .. }) => {
                    *self.report.failed.entry(failure.label()).or_default() += 1;
                    self.last_failure = failure.to_string();
                }
                Said::Event(event) => match event {
                    Event::UpdatersExcluded { count, .. } => self.report.excluded += count,
                    Event::MemberDisregarded { .. } => self.report.disregarded += 1,
                    Event::LyingMask { .. } => self.report.lying_masks += 1,
                    _ => {}
                },
                Said::Completed(completed) => {
                    let bad = self.bad();
                    self.watch.completed(&self.committee, &completed, &bad)?;
                    self.report.completed = self.watch.rounds;
                }
                Said::Wake(Some(at)) => {
                    let at = at.max(self.now + Duration::from_millis(1));
                    self.agenda.put(at, Happening::Tick { life: self.server_life });
                }
                Said::Wake(None) => {}
            }
        }
        let (waiting, kept) = self.server.records();
        let most = 40 + 12 * self.actors.len() as u64 * self.committee.ids().len() as u64;
        Watch::bounded("records that wait for the store", waiting as u64, MOST_WAITING)?;
        Watch::bounded("records of a round", kept as u64, most)?;
        let outputs = self.server.machine.waiting_outputs() as u64;
        Watch::bounded("outputs that wait for the store", outputs, MOST_WAITING)
    }

    /// Updates that no set may have.
    fn bad(&self) -> BTreeSet<PublicSigningKey> {
        let of = |actor: &Actor| match actor {
            Actor::Cheat(cheat)
                if matches!(cheat.kind, CheatKind::BadBoxes | CheatKind::OtherSeeds) =>
            {
                Some(self.committee.updaters[cheat.number].public())
            }
            _ => None,
        };
        self.actors.iter().filter_map(of).collect()
    }

    /// A message was acknowledged: when all chunks of an update are, the update is accepted.
    fn acknowledged(&mut self, actor: usize, id: RequestId, outcome: &Result<(), Rejection>) {
        let number = match &self.actors[actor] {
            Actor::Updater(updater) => updater.number,
            Actor::Cheat(cheat) => cheat.number,
            Actor::Member(_) => return,
        };
        let chunk = self.chunks.remove(&(actor, id)).filter(|_| outcome.is_ok());
        let (Some(index), Some(terms)) = (chunk, self.server.front.terms()) else { return };
        if self.server.front.phase() != Phase::Update {
            return;
        }
        let sent = self.sent.entry(actor).or_default();
        if sent.0 != terms.round {
            *sent = (terms.round, BTreeSet::new());
        }
        sent.1.insert(index);
        if sent.1.len() as u64 == pet_core::v2::leaf_count(terms.object_len()) {
            let key = self.committee.updaters[number].public();
            self.watch.accepted(terms.context(), key);
        }
    }

    /// Somebody crashes.
    fn crash(&mut self) -> Result<(), Violation> {
        if !self.is_storm() {
            return Ok(());
        }
        let mean = self.scenario.crashes.as_millis() as u64;
        let next = self.now + Duration::from_millis(self.random.between(mean / 2, 3 * mean / 2));
        self.agenda.put(next, Happening::Crash);
        self.report.crashes += 1;
        if self.scenario.server_crashes && self.random.chance(0.3) {
            let (waiting, _) = self.server.records();
            let survive = self.random.below(waiting as u64 + 1) as usize;
            self.server_life += 1;
            let (senders, said) = self.server.crash(self.now, survive);
            for (actor, life, id) in senders as Vec<Sender> {
                self.answer(actor, life, id, Err(TransportFault::TimedOut))?;
            }
            return self.server_said(said);
        }
        let actor = self.random.below(self.actors.len() as u64) as usize;
        match &mut self.actors[actor] {
            Actor::Member(member) if member.machine.is_some() => member.machine = None,
            Actor::Updater(updater) if updater.machine.is_some() => updater.machine = None,
            _ => return Ok(()),
        }
        self.lives[actor] += 1;
        self.open[actor] = 0;
        let at = self.now + Duration::from_millis(self.random.between(100, 20_000));
        self.agenda.put(at, Happening::Start { actor });
        Ok(())
    }
}

fn refused(rejection: &Rejection, round: Option<u64>) -> Response {
    let problem = rejection.problem(round);
    Response::new(problem.status, problem.to_json())
}
