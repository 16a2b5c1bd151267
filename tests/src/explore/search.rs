//! The search: breadth first, every state once.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;

use super::cast::Plan;
use super::ledger::End;
use super::world::{Event, Universe, World};

/// What was explored.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How many states of the whole there are.
    pub states: usize,
    /// How many steps lead from one to another.
    pub steps: usize,
    /// How many steps the longest of the shortest paths has.
    pub depth: usize,
    /// How many states the coordinator has, its server and store included.
    pub servers: usize,
    /// How many states the participants have.
    pub participants: usize,
    /// How many different messages were sent.
    pub messages: usize,
    /// How rounds have ended, and by how many steps.
    pub ends: BTreeMap<End, usize>,
    /// How often a participant's machine has given up.
    pub gave_up: usize,
}

/// A state that must not be.
#[derive(Clone, Debug)]
pub struct Violation {
    /// What is wrong.
    pub what: String,
    /// A shortest way there.
    pub trace: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}; after", self.what)?;
        self.trace.iter().try_for_each(|step| writeln!(f, "  {step}"))
    }
}

/// Visits every state that can be reached. Stops at the first that must not be.
///
/// # Errors
/// The violation, with a shortest trace.
///
/// # Panics
/// If there are more than 2^32 states.
pub fn explore(plan: &Plan) -> Result<Report, Box<Violation>> {
    let mut search = Search::new(plan);
    match search.run() {
        Ok(()) => Ok(search.report),
        Err((what, state, last)) => Err(Box::new(search.violation(what, state, last))),
    }
}

struct Search {
    universe: Universe,
    /// From which state each was reached first, and how.
    origins: Vec<(u32, Option<Event>)>,
    report: Report,
}

type Found = (String, u32, Option<Event>);

impl Search {
    fn new(plan: &Plan) -> Self {
        let universe = Universe::new(plan);
        Self { universe, origins: Vec::new(), report: Report::default() }
    }

    fn run(&mut self) -> Result<(), Found> {
        let start = self.universe.start().map_err(|what| (what, 0, None))?;
        let mut numbers = HashMap::<World, u32>::from([(start, 0)]);
        let mut queue = VecDeque::from([(start, 0u32, 0usize)]);
        // Steps that can be counted on, backwards: (to, from).
        let mut fair = Vec::<(u32, u32)>::new();
        let mut ends = Vec::new();
        self.origins.push((0, None));
        while let Some((world, number, depth)) = queue.pop_front() {
            self.report.depth = depth;
            if self.universe.is_end(&world) {
                ends.push(number);
                continue;
            }
            for event in self.universe.events(&world) {
                let (next, ended) = self
                    .universe
                    .next(&world, event)
                    .map_err(|what| (what, number, Some(event)))?;
                for end in ended {
                    *self.report.ends.entry(end).or_default() += 1;
                }
                if next == world {
                    continue;
                }
                self.report.steps += 1;
                let fresh = u32::try_from(self.origins.len()).expect("fewer than 2^32 states");
                let to = *numbers.entry(next).or_insert(fresh);
                if to == fresh {
                    self.origins.push((number, Some(event)));
                    queue.push_back((next, to, depth + 1));
                }
                if event.is_fair() {
                    fair.push((to, number));
                }
            }
        }
        self.report.states = self.origins.len();
        self.report.servers = self.universe.servers.len();
        self.report.participants = self.universe.clients.len();
        self.report.messages = self.universe.letters.len();
        self.report.gave_up = self.universe.clients.gave_up;
        match dead_end(self.origins.len(), fair, &ends) {
            Some(state) => Err(("from here no round can end any more".into(), state, None)),
            None => Ok(()),
        }
    }

    fn violation(&mut self, what: String, state: u32, last: Option<Event>) -> Violation {
        let mut events: Vec<_> = last.into_iter().collect();
        let mut at = state;
        while let Some((from, Some(event))) = self.origins.get(at as usize).copied() {
            events.push(event);
            at = from;
        }
        let mut trace = Vec::new();
        let mut world = self.universe.start().ok();
        for event in events.into_iter().rev() {
            let next = world.and_then(|world| self.universe.next(&world, event).ok());
            world = next.map(|(next, _)| next);
            let after = world.map_or("?".into(), |world| self.universe.describe(&world));
            trace.push(format!("{event:?}: {after}"));
        }
        Violation { what, trace }
    }
}

/// The first state from which no end can be reached.
fn dead_end(states: usize, mut backwards: Vec<(u32, u32)>, ends: &[u32]) -> Option<u32> {
    backwards.sort_unstable();
    let mut reached = vec![false; states];
    let mut queue: Vec<u32> = ends.to_vec();
    ends.iter().for_each(|end| reached[*end as usize] = true);
    while let Some(to) = queue.pop() {
        let from = backwards.partition_point(|(state, _)| *state < to);
        for (_, from) in backwards[from..].iter().take_while(|(state, _)| *state == to) {
            if !std::mem::replace(&mut reached[*from as usize], true) {
                queue.push(*from);
            }
        }
    }
    reached.iter().position(|reached| !reached).map(|state| state as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_ends_are_found() {
        // 0 -> 1 -> 2 (an end), 0 -> 3 <-> 4.
        let backwards = vec![(1, 0), (2, 1), (3, 0), (4, 3), (3, 4)];
        assert_eq!(dead_end(5, backwards.clone(), &[2]), Some(3));
        let with_way_out = [backwards, vec![(2, 4)]].concat();
        assert_eq!(dead_end(5, with_way_out, &[2]), None);
    }
}
