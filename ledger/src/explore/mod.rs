//! Everything that can happen between a few replicas and a ledger, within stated bounds.
//!
//! Each replica takes the lease, reads to the end, and appends an entry that answers the letters that wait; one that does not
//! get the lease posts a letter. Appends are those of [`append_surely`](crate::append_surely). Every call can happen at any
//! moment; of all calls together a few are lost before or after they arrive, come twice, or come when nobody waits for them any
//! more; leases run out at any moment; a replica dies at any moment. Every state is visited once: what a replica will do
//! follows from what it was told, so that states are equal if the engine, what each was told, and all that is left of the bounds
//! are.

mod gate;
mod replica;
mod tests;

use std::{
    collections::{BTreeMap, HashSet},
    future::Future,
    hash::{DefaultHasher, Hash, Hasher},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Waker},
};

use self::{
    gate::{now, Act, Fate, Gate},
    replica::{Beliefs, Replica, Slip, TTL},
};
use crate::{
    memory::{Bug, MemoryEngine, MemoryLedger},
    verify_chain, Entry, EntryHash, Epoch, Ledger, LetterId, Position, ReplicaId,
};

/// How far the search goes.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub replicas: u8,
    /// How often each asks for the lease.
    pub terms: usize,
    /// How many calls go wrong.
    pub faults: usize,
    /// How often all leases run out.
    pub ends: usize,
    /// How many replicas die.
    pub deaths: usize,
}

/// What is wrong on purpose.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seeded {
    pub bug: Option<Bug>,
    pub slip: Option<Slip>,
}

/// What can happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    /// A replica's call has its fate.
    Call(usize, Fate),
    /// A call of before arrives.
    Arrives(usize),
    LeasesEnd,
    Dies(usize),
}

/// How much was visited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub states: usize,
    pub steps: usize,
}

/// Visits every state.
///
/// # Errors
/// The first thing that must not be, and how it came to that.
pub fn explore(bounds: Bounds, seeded: Seeded) -> Result<Report, String> {
    let mut visited = HashSet::new();
    let mut report = Report::default();
    let mut paths: Vec<Vec<Step>> = vec![Vec::new()];
    while let Some(path) = paths.pop() {
        report.steps += 1;
        let world = World::after(bounds, seeded, &path);
        if let Err(what) = world.check() {
            return Err(format!("{what}, after {path:#?}"));
        }
        if !visited.insert(world.fingerprint()) {
            continue;
        }
        report.states += 1;
        for step in world.steps() {
            let mut longer = path.clone();
            longer.push(step);
            paths.push(longer);
        }
    }
    Ok(report)
}

struct World {
    engine: MemoryEngine,
    ledger: MemoryLedger,
    actors: Vec<Actor>,
    /// With whose call of which that is.
    on_their_way: Vec<((usize, usize), Act)>,
    left: Bounds,
    log: Vec<Entry>,
    violation: Option<String>,
}

struct Actor {
    gate: Gate,
    believes: Arc<Mutex<Beliefs>>,
    /// Nothing once it has ended, or died.
    running: Option<Pin<Box<dyn Future<Output = ()>>>>,
    told: Vec<String>,
}

impl World {
    fn new(bounds: Bounds, seeded: Seeded) -> Self {
        let engine = MemoryEngine::standing();
        if let Some(bug) = seeded.bug {
            engine.seed_bug(bug);
        }
        let actors = (1..=bounds.replicas).map(|number| {
            let gate = Gate::new(engine.ledger());
            let believes = Arc::<Mutex<Beliefs>>::default();
            let (terms, slip) = (bounds.terms, seeded.slip);
            let replica = Replica {
                gate: gate.clone(),
                number,
                believes: Arc::clone(&believes),
                terms,
                slip,
            };
            let mut actor =
                Actor { gate, believes, running: Some(Box::pin(replica.run())), told: Vec::new() };
            actor.go_on();
            actor
        });
        let actors = actors.collect();
        let ledger = engine.ledger();
        let (on_their_way, log) = (Vec::new(), Vec::new());
        Self { engine, ledger, actors, on_their_way, left: bounds, log, violation: None }
    }

    fn after(bounds: Bounds, seeded: Seeded, path: &[Step]) -> Self {
        let mut world = Self::new(bounds, seeded);
        path.iter().for_each(|step| world.take(*step));
        world
    }

    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (index, actor) in self.actors.iter().enumerate() {
            let Some(call) = actor.running.as_ref().and_then(|_| actor.gate.call()) else {
                continue;
            };
            steps.push(Step::Call(index, Fate::Done));
            if self.left.faults > 0 {
                // A read that is lost is like one that is not done yet, and then fails.
                let wrong: &[Fate] = match call.writes() {
                    true => &[Fate::Lost, Fate::Unanswered, Fate::Late, Fate::Doubled],
                    false => &[Fate::Lost],
                };
                steps.extend(wrong.iter().map(|fate| Step::Call(index, *fate)));
            }
            if self.left.deaths > 0 {
                steps.push(Step::Dies(index));
            }
        }
        steps.extend((0..self.on_their_way.len()).map(Step::Arrives));
        if self.left.ends > 0 {
            steps.push(Step::LeasesEnd);
        }
        steps
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Call(index, fate) => {
                let actor = &mut self.actors[index];
                let (told, later) = actor.gate.let_through(fate);
                actor.told.push(told);
                actor.go_on();
                let which = (index, actor.told.len());
                self.on_their_way.extend(later.map(|act| (which, act)));
                self.left.faults -= usize::from(fate != Fate::Done);
            }
            Step::Arrives(index) => (self.on_their_way.remove(index).1)(),
            Step::LeasesEnd => {
                self.left.ends -= 1;
                self.engine.advance(TTL * 2);
            }
            Step::Dies(index) => {
                self.left.deaths -= 1;
                self.actors[index].running = None;
            }
        }
        self.look();
    }

    /// Reads what was written.
    fn look(&mut self) {
        let head = now(self.ledger.head()).expect("nothing is lost here");
        let log =
            now(self.ledger.read(Position(0), 100, usize::MAX)).expect("nothing is forgotten");
        for entry in log.iter().skip(self.log.len()) {
            if entry.epoch != head.epoch {
                let (epoch, latest) = (entry.epoch, head.epoch);
                self.violation = Some(format!("an entry of epoch {epoch} was written in {latest}"));
            }
        }
        if !log.starts_with(&self.log) {
            self.violation = Some("the log has changed".to_owned());
        }
        self.log = log;
    }

    fn check(&self) -> Result<(), String> {
        if let Some(violation) = &self.violation {
            return Err(violation.clone());
        }
        let chain = verify_chain(Position(0), EntryHash::default(), &self.log);
        chain.map_err(|error| error.to_string())?;
        let written = |text: &str| {
            self.log.iter().filter(|entry| entry.bytes[..] == *text.as_bytes()).count()
        };
        for entry in &self.log {
            let text = String::from_utf8_lossy(&entry.bytes);
            if written(&text) > 1 {
                return Err(format!("entry {text} is there twice"));
            }
        }
        let mut leaders: BTreeMap<Epoch, ReplicaId> = BTreeMap::new();
        let mut writers: BTreeMap<LetterId, ReplicaId> = BTreeMap::new();
        for (number, actor) in (1..).zip(&self.actors) {
            let id = Replica::id(number);
            let beliefs = actor.believes.lock().expect("nobody panics while it is locked").clone();
            if let Some(text) = beliefs.written.iter().find(|text| written(text) == 0) {
                return Err(format!("entry {text} is taken for written, and is not there"));
            }
            if let Some(text) = beliefs.not_written.iter().find(|text| written(text) > 0) {
                return Err(format!("entry {text} is taken for not written, and is there"));
            }
            for epoch in beliefs.epochs {
                if *leaders.entry(epoch).or_insert(id) != id {
                    return Err(format!("two replicas lead in epoch {epoch}"));
                }
            }
            for letter in beliefs.posted {
                if *writers.entry(letter).or_insert(id) != id {
                    return Err(format!("letter {letter} has two writers"));
                }
            }
        }
        for number in 1..=self.left.replicas {
            self.check_letters(number, &writers, &written)?;
        }
        Ok(())
    }

    fn check_letters(
        &self,
        number: u8,
        writers: &BTreeMap<LetterId, ReplicaId>,
        written: &dyn Fn(&str) -> usize,
    ) -> Result<(), String> {
        let id = Replica::id(number);
        let answers = now(self.ledger.answers(id, 100)).expect("nothing is lost here");
        for (letter, answer) in &answers {
            let text = String::from_utf8_lossy(answer);
            if written(&text) == 0 {
                return Err(format!(
                    "letter {letter} is answered by entry {text}, which is not there"
                ));
            }
            if writers.get(letter).is_some_and(|writer| *writer != id) {
                return Err(format!("replica {number} sees the answer to letter {letter}"));
            }
        }
        let head = now(self.ledger.head()).expect("nothing is lost here");
        let waiting = now(self.ledger.letters(head.epoch, LetterId(0), 100, usize::MAX));
        let waiting = waiting.expect("nothing is lost here");
        let of_it = waiting.iter().filter(|letter| letter.letter.from == id).count();
        match of_it > 1 {
            true => Err(format!("one letter of replica {number} waits {of_it} times")),
            false => Ok(()),
        }
    }

    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.engine.fingerprint().hash(&mut hasher);
        for actor in &self.actors {
            (&actor.told, actor.running.is_some()).hash(&mut hasher);
        }
        let Bounds { faults, ends, deaths, .. } = self.left;
        let on_their_way: Vec<_> = self.on_their_way.iter().map(|(which, _)| which).collect();
        (on_their_way, faults, ends, deaths).hash(&mut hasher);
        hasher.finish()
    }
}

impl Actor {
    /// Goes on until it waits for a call, or has ended.
    fn go_on(&mut self) {
        let Some(running) = &mut self.running else { return };
        let mut context = Context::from_waker(Waker::noop());
        if running.as_mut().poll(&mut context).is_ready() {
            self.running = None;
        }
    }
}
