//! What has truly happened: reads what the engine holds after each call that may have changed it, and says what must not be.
//!
//! It shares nothing with the replicas but the form of entries and records: who leads, what was accepted and what each global
//! model must be follows from the log alone, and from what participants were given to train with.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use pet_core::{
    coordinator::{Front, GlobalModel, Phase, Record},
    crypto::{Digest, PublicSigningKey, RoundSeed, SigningKeyPair, Task, TaskSignatures},
    message::Tag,
    model::ratio::decode_ratios,
    round::RoundParameters,
};
use pet_ledger::{
    memory::{Call, MemoryLedger, MemoryParts},
    verify_chain, Entry, EntryHash, Epoch, Ledger, PartName, Parts, Place, Position, ReplicaId,
    Vault,
};
use tokio::time::Instant;

use super::tally::{Tally, Trouble};
use crate::{
    replica::item::{Item, Small},
    settings::Settings,
};

/// So many units are 1: weights are whole numbers of them, which no mask config rounds.
pub const UNIT: i64 = 256;

/// All that has happened, and the first thing that must not.
pub struct History {
    ledger: MemoryLedger,
    parts: MemoryParts,
    vault: Vault,
    settings: Settings,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    position: Position,
    hash: EntryHash,
    epoch: Epoch,
    /// Who has led in an epoch, and where the log was when it got the lease: nobody else could write from then on.
    leaders: BTreeMap<Epoch, (ReplicaId, Position)>,
    released: BTreeSet<Epoch>,
    rounds: BTreeMap<u64, Round>,
    phase: Option<Phase>,
    phase_began: Option<Instant>,
    /// Parts without which nobody could go on.
    needed: BTreeMap<String, PartName>,
    /// Models that participants train, in units.
    trained: BTreeMap<PublicSigningKey, Vec<i64>>,
    participants: Vec<SigningKeyPair>,
    tally: Tally,
    is_settled: bool,
    violation: Option<String>,
    story: Vec<(Instant, String)>,
}

/// A round, as it is in the log, and as it was shown.
#[derive(Default)]
struct Round {
    seed: Option<RoundSeed>,
    parameters: Vec<u8>,
    sums: BTreeSet<PublicSigningKey>,
    updates: BTreeSet<PublicSigningKey>,
    votes: BTreeMap<PublicSigningKey, Digest>,
    model: Option<GlobalModel>,
    failed: bool,
    /// Whether chance has given the tasks to as many participants as it takes.
    has_enough: bool,
    /// Whether nothing went wrong any more when it began.
    is_settled: bool,
    shown_sums: Option<Vec<u8>>,
}

/// Where the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stage {
    pub round: u64,
    /// The phase's place in a round.
    pub rank: u8,
}

/// Sum, update, sum2, and what comes then.
pub fn rank(phase: Phase) -> u8 {
    match phase {
        Phase::Sum => 0,
        Phase::Update => 1,
        Phase::Sum2 => 2,
        _ => 3,
    }
}

impl History {
    pub fn new(
        ledger: MemoryLedger,
        parts: MemoryParts,
        vault: Vault,
        settings: Settings,
    ) -> Arc<Self> {
        Arc::new(Self { ledger, parts, vault, settings, state: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while it is locked")
    }

    /// This participant trains this model, in units, whatever the round.
    pub fn trains(&self, participant: SigningKeyPair, weights: Vec<i64>) {
        let mut state = self.lock();
        state.trained.insert(participant.public(), weights);
        state.participants.push(participant);
    }

    /// Something has gone wrong as it was to.
    pub fn note(&self, trouble: Trouble) {
        self.lock().tally.note(trouble);
    }

    /// How often what has gone wrong.
    pub fn tally(&self) -> Tally {
        self.lock().tally.clone()
    }

    /// Something that must not be.
    pub fn accuse(&self, what: impl Into<String>) {
        self.lock().accuse(what.into());
    }

    /// Something that is of interest to whoever reads how it came to something.
    pub fn tell(&self, what: impl Into<String>) {
        self.lock().story.push((Instant::now(), what.into()));
    }

    /// The first thing that must not be, if there was any.
    pub fn violation(&self) -> Option<String> {
        self.lock().violation.clone()
    }

    /// The last that has happened.
    pub fn story(&self, began: Instant, last: usize) -> Vec<String> {
        let state = self.lock();
        let skipped = state.story.len().saturating_sub(last);
        let line = |(at, what): &(Instant, String)| {
            format!("{:9.3} s  {what}", at.duration_since(began).as_secs_f64())
        };
        state.story.iter().skip(skipped).map(line).collect()
    }

    /// How many rounds have been completed, how many have failed, and how many messages were accepted.
    pub fn counts(&self) -> (u64, u64, u64) {
        let state = self.lock();
        let rounds = state.rounds.values();
        let completed = rounds.clone().filter(|round| round.model.is_some()).count();
        let failed = rounds.clone().filter(|round| round.failed).count();
        let messages =
            rounds.map(|round| round.sums.len() + round.updates.len() + round.votes.len());
        (completed as u64, failed as u64, messages.sum::<usize>() as u64)
    }

    /// How many rounds have failed in which chance had given the tasks to too few.
    pub fn unlucky(&self) -> u64 {
        let state = self.lock();
        state.rounds.values().filter(|round| round.failed && !round.has_enough).count() as u64
    }

    /// From now on nothing goes wrong any more; or again it may.
    pub fn settle(&self, is_settled: bool) {
        let mut state = self.lock();
        state.is_settled = is_settled;
        if !is_settled {
            state.rounds.values_mut().for_each(|round| round.is_settled = false);
        }
    }

    /// The latest epoch that somebody has led in.
    pub fn epoch(&self) -> Epoch {
        self.lock().leaders.last_key_value().map_or(Epoch(0), |(epoch, _)| *epoch)
    }

    /// A hash over all that the log has said.
    pub fn hash(&self) -> EntryHash {
        self.lock().hash
    }

    /// Where the log is.
    pub fn stage(&self) -> Option<Stage> {
        self.lock().stage()
    }

    /// Whether the log takes such a message of somebody for a round now.
    pub fn takes(&self, seed: RoundSeed, tag: Tag, participant: PublicSigningKey) -> bool {
        let state = self.lock();
        let Some(round) = state.rounds.values().next_back() else { return false };
        let most = &self.settings.pet;
        let is_open = match tag {
            Tag::Sum => (round.sums.len() as u64) < most.sum.count.max,
            Tag::Update => (round.updates.len() as u64) < most.update.count.max,
            Tag::Sum2 => round.sums.contains(&participant),
            _ => false,
        };
        round.seed == Some(seed)
            && state.phase.and_then(Phase::accepts) == Some(tag)
            && is_open
            && !round.has(tag, &participant)
    }

    /// Somebody was told that a message is accepted.
    pub fn acknowledged(&self, seed: RoundSeed, tag: Tag, participant: PublicSigningKey) {
        let mut state = self.lock();
        let round = state.rounds.values().find(|round| round.seed == Some(seed));
        if !round.is_some_and(|round| round.has(tag, &participant)) {
            state.accuse(format!(
                "a {tag} message of {participant} was acknowledged that is not in the log"
            ));
        }
    }

    /// How long the phase has been going on, in the phases that have an end in time.
    pub fn in_phase_for(&self) -> Option<(Phase, Duration)> {
        let state = self.lock();
        Some((state.phase?, state.phase_began?.elapsed()))
    }

    /// A replica holds the lease.
    pub fn leads(&self, epoch: Epoch, replica: ReplicaId) {
        let mut state = self.lock();
        match state.leaders.get(&epoch) {
            Some((other, _)) if *other != replica => {
                state.accuse(format!("two replicas lead in epoch {epoch}"));
            }
            Some(_) => {}
            None => {
                let position = state.position;
                state.leaders.insert(epoch, (replica, position));
                state.story.push((Instant::now(), format!("{replica} leads in epoch {epoch}")));
            }
        }
    }

    /// Whoever leads in this epoch is about to write behind this entry. When it got the lease it had the log to its end.
    pub fn appends(&self, epoch: Epoch, after: Position) {
        let mut state = self.lock();
        let Some((_, end)) = state.leaders.get(&epoch).copied() else { return };
        if after < end {
            state.accuse(format!("epoch {epoch} goes on from entry {after}, and not from {end}"));
        }
    }

    /// A leader has given up.
    pub fn released(&self, epoch: Epoch) {
        self.lock().released.insert(epoch);
    }

    /// Looks what a call has changed.
    pub async fn look(&self, call: Call) {
        if !matches!(call, Call::Append | Call::Remove | Call::Forget) {
            return;
        }
        if let Err(what) = self.look_at_all().await {
            self.accuse(what);
        }
    }

    async fn look_at_all(&self) -> Result<(), String> {
        let head = self.ledger.head().await.map_err(|error| error.to_string())?;
        loop {
            let (position, hash) = {
                let state = self.lock();
                (state.position, state.hash)
            };
            if head.position < position {
                return Err(format!("the log ends at {}, and had {position}", head.position));
            }
            let entries = self.ledger.read(position, 64, usize::MAX).await;
            let entries = entries.map_err(|error| format!("after {position}: {error}"))?;
            verify_chain(position, hash, &entries).map_err(|error| error.to_string())?;
            let Some(last) = entries.last() else { break };
            let end = (last.position, last.hash);
            for entry in &entries {
                self.take(entry, head.epoch).await?;
            }
            let mut state = self.lock();
            (state.position, state.hash) = end;
        }
        let needed = self.lock().needed.clone();
        for (what, name) in needed {
            if self.parts.get(&name).await.map_err(|error| error.to_string())?.is_none() {
                return Err(format!("the log needs the part {name} ({what}), which is not there"));
            }
        }
        Ok(())
    }

    async fn take(&self, entry: &Entry, latest: Epoch) -> Result<(), String> {
        let Entry { epoch, position, bytes, .. } = entry;
        let previous = {
            let mut state = self.lock();
            if *epoch != latest || state.released.contains(epoch) || *epoch < state.epoch {
                return Err(format!(
                    "entry {position} was written in epoch {epoch}, which is over: {latest} is"
                ));
            }
            state.epoch = *epoch;
            let previous = state.hash;
            (state.position, state.hash) = (*position, entry.hash);
            previous
        };
        let place = Place::Entry { epoch: *epoch, position: *position, previous };
        let opened = self.vault.open_at(place, bytes).map_err(|error| error.to_string())?;
        let item = Item::from_bytes(&opened).map_err(|error| error.to_string())?;
        let (small, large) = match item {
            Item::Begin { models, .. } => {
                let mut state = self.lock();
                state.needed.clear();
                for model in models {
                    let what = format!("model {}", model.round_id);
                    state.needed.insert(what, model.part.name);
                }
                return Ok(());
            }
            Item::Chunk { small, .. } => (small, None),
            Item::Record { small, large } => (small, large),
        };
        let Small::Here(small) = small else { return Ok(()) };
        let public = match &large {
            Some(part) if part.name.kind() == "model" => {
                self.parts.get(&part.name).await.map_err(|error| error.to_string())?
            }
            _ => None,
        };
        let record = Record::from_bytes(&small, public).map_err(|error| error.to_string())?;
        let mut state = self.lock();
        state
            .story
            .push((Instant::now(), format!("entry {position}, epoch {epoch}: {}", record.name())));
        state.apply(&record, &self.settings)?;
        if let Some(part) = large {
            let slot = match &record {
                Record::Model(model) => format!("model {}", model.round_id),
                Record::Sum2 { digest, .. } => format!("mask {digest:?}"),
                _ => "aggregate".to_owned(),
            };
            state.needed.insert(slot, part.name);
        }
        Ok(())
    }

    /// Looks at what a replica shows.
    pub fn shown(&self, who: &str, front: &Front) {
        let mut state = self.lock();
        if let Err(what) = state.shown(front) {
            state.accuse(format!("{who} shows {what}"));
        }
    }
}

impl Round {
    fn has(&self, tag: Tag, participant: &PublicSigningKey) -> bool {
        match tag {
            Tag::Sum => self.sums.contains(participant),
            Tag::Update => self.updates.contains(participant),
            Tag::Sum2 => self.votes.contains_key(participant),
            _ => false,
        }
    }
}

impl State {
    fn accuse(&mut self, what: String) {
        self.story.push((Instant::now(), format!("VIOLATION: {what}")));
        self.violation.get_or_insert(what);
    }

    fn stage(&self) -> Option<Stage> {
        let (round, _) = self.rounds.last_key_value()?;
        Some(Stage { round: *round, rank: rank(self.phase?) })
    }

    fn apply(&mut self, record: &Record, settings: &Settings) -> Result<(), String> {
        let phase = self.phase;
        let expects = |wanted: Phase| match phase {
            Some(phase) if phase == wanted => Ok(()),
            _ => Err(format!("a record ({}) in the {phase:?} phase", record.name())),
        };
        if let Record::RoundBegan { round_id, parameters, .. } = record {
            let last = self.rounds.last_key_value();
            if let Some((last, round)) = last {
                if *round_id != last + 1 || (round.model.is_none() && !round.failed) {
                    return Err(format!(
                        "round {round_id} begins after round {last}, which has no end"
                    ));
                }
            }
            if self.rounds.values().any(|round| round.seed == Some(parameters.seed)) {
                return Err(format!("round {round_id} has the keys of another one"));
            }
            let seed = Some(parameters.seed);
            let has_enough = self.has_enough(parameters, settings);
            let (parameters, is_settled) = (parameters.to_bytes().to_vec(), self.is_settled);
            let round = Round { seed, parameters, has_enough, is_settled, ..Round::default() };
            self.rounds.insert(*round_id, round);
            self.begin(Phase::Sum);
            return Ok(());
        }
        let Some((number, round)) =
            self.rounds.last_entry().map(|last| (*last.key(), last.into_mut()))
        else {
            return Err("a log that does not begin with a round".to_owned());
        };
        let twice = |new: bool, who: &PublicSigningKey| match new {
            true => Ok(()),
            false => Err(format!("a message of {who} counts twice in round {number}")),
        };
        let full = |count: usize, most: u64| match count as u64 > most {
            true => Err(format!("{count} messages in round {number}, and {most} may be")),
            false => Ok(()),
        };
        match record {
            Record::Sum { participant, .. } => {
                expects(Phase::Sum)?;
                twice(round.sums.insert(*participant), participant)?;
                full(round.sums.len(), settings.pet.sum.count.max)?;
            }
            Record::Updates { seeds, .. } | Record::Part { seeds, .. } => {
                expects(Phase::Update)?;
                for (participant, _) in seeds {
                    twice(round.updates.insert(*participant), participant)?;
                }
                full(round.updates.len(), settings.pet.update.count.max)?;
            }
            Record::Sum2 { participant, digest, .. } => {
                expects(Phase::Sum2)?;
                twice(round.votes.insert(*participant, *digest).is_none(), participant)?;
            }
            Record::SumEnded => {
                expects(Phase::Sum)?;
                self.begin(Phase::Update);
            }
            Record::UpdateEnded => {
                expects(Phase::Update)?;
                self.begin(Phase::Sum2);
            }
            Record::Sum2Ended { .. } => {
                expects(Phase::Sum2)?;
                self.begin(Phase::Unmask);
            }
            Record::Model(model) => {
                expects(Phase::Unmask)?;
                round.check(number, model, &self.trained)?;
                round.model = Some(model.clone());
                self.begin(Phase::Idle);
            }
            Record::RoundFailed { .. } => {
                round.failed = true;
                if round.has_enough && round.is_settled {
                    return Err(format!("round {number} fails, and nothing is wrong"));
                }
                self.begin(Phase::Failure);
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether chance gives the tasks of a round to as many participants as it takes.
    fn has_enough(&self, parameters: &RoundParameters, settings: &Settings) -> bool {
        let tasks = self.participants.iter().map(|keys| {
            TaskSignatures::sign(keys, &parameters.seed).task(parameters.sum, parameters.update)
        });
        let tasks: Vec<_> = tasks.collect();
        let chosen = |task| tasks.iter().filter(|chosen| **chosen == task).count() as u64;
        let pet = &settings.pet;
        chosen(Task::Sum) >= pet.sum.count.min && chosen(Task::Update) >= pet.update.count.min
    }

    fn begin(&mut self, phase: Phase) {
        (self.phase, self.phase_began) = (Some(phase), Some(Instant::now()));
    }

    fn shown(&mut self, front: &Front) -> Result<(), String> {
        if let Some(number) = front.round_id() {
            let stage = Stage { round: number, rank: rank(front.phase()) };
            if front.phase() != Phase::Shutdown
                && self.stage().is_none_or(|true_one| stage > true_one)
            {
                return Err(format!("{stage:?}, and the log is at {:?}", self.stage()));
            }
            let round = self.rounds.get_mut(&number).ok_or("an unknown round")?;
            if let Some(parameters) = front.parameters() {
                if parameters.to_bytes()[..] != round.parameters[..] {
                    return Err(format!("other parameters of round {number} than the log"));
                }
            }
            if let Some(sums) = front.sums() {
                if !sums.iter().map(|(key, _)| key).eq(&round.sums) {
                    return Err(format!("a wrong sum dictionary of round {number}"));
                }
                let bytes = sums.to_bytes().to_vec();
                if *round.shown_sums.get_or_insert_with(|| bytes.clone()) != bytes {
                    return Err(format!("another sum dictionary of round {number} than before"));
                }
            }
            if let Some(seeds) = front.seeds() {
                let all = round.updates.iter().all(|key| seeds.contains(key));
                if !all || seeds.len() != round.updates.len() {
                    return Err(format!("a wrong seed dictionary of round {number}"));
                }
            }
        }
        // Who sees a round must see what the ones before have come to.
        let of_round = front.round_id().filter(|_| front.parameters().is_some());
        let mut earlier = of_round.into_iter().flat_map(|number| self.rounds.range(..number).rev());
        let latest = earlier.find_map(|(number, round)| round.model.as_ref().map(|_| *number));
        let shown = front.model().map(|model| model.round_id);
        if shown < latest {
            return Err(format!("a round with the model of round {shown:?}, not {latest:?}"));
        }
        if let Some(model) = front.model() {
            let known = self.rounds.get(&model.round_id).and_then(|round| round.model.as_ref());
            if known.is_none_or(|known| known.rationals != model.rationals) {
                return Err(format!("another model of round {} than the log", model.round_id));
            }
        }
        Ok(())
    }
}

impl Round {
    /// Whether a model is the mean of exactly the accepted ones, and its mask the one that most voted for.
    fn check(
        &self,
        number: u64,
        model: &GlobalModel,
        trained: &BTreeMap<PublicSigningKey, Vec<i64>>,
    ) -> Result<(), String> {
        let wrong = |what: String| Err(format!("the model of round {number} has {what}"));
        let count = self.updates.len();
        if model.round_id != number || Some(model.seed) != self.seed || self.model.is_some() {
            return wrong("another round's name".to_owned());
        }
        if model.models != count as u64 || count == 0 {
            return wrong(format!("{} models in it, and {count} were accepted", model.models));
        }
        let weights = decode_ratios(&model.rationals).map_err(|error| error.to_string())?;
        for (index, found) in weights.iter().enumerate() {
            let mut sum = 0i64;
            for participant in &self.updates {
                sum += trained.get(participant).ok_or("an update of nobody")?[index];
            }
            // sum / (UNIT * count)
            if found.numer() * (UNIT * count as i64) != found.denom() * sum {
                return wrong(format!(
                    "weight {index} {found}, which is not the mean of the {count} accepted ones: {sum} / {}",
                    UNIT * count as i64
                ));
            }
        }
        Ok(())
    }
}
