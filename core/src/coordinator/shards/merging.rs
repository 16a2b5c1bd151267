//! How far the adding up of the parts is.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::part::Expected;
use super::{PartId, Parts};
use crate::coordinator::state::Round;
use crate::mask::Aggregation;

/// How many parts are in memory, or on their way there, at a time.
const MOST_IN_MEMORY: usize = 4;

/// The parts that are to be added up. No record tells how far that is: whoever goes on from the records begins anew.
#[derive(Clone)]
pub(in crate::coordinator) struct Merging {
    /// The sum so far; nothing before the first models.
    pub(super) sum: Option<Arc<Aggregation>>,
    /// Those that were not asked for yet.
    waiting: VecDeque<(PartId, Expected)>,
    /// Those that were.
    fetching: BTreeMap<PartId, Expected>,
    /// Those that are here.
    pub(super) fetched: Vec<FetchedPart>,
    /// How many are in the job that runs.
    pub(super) running: usize,
}

/// A part that is here.
#[derive(Clone)]
pub(in crate::coordinator) struct FetchedPart {
    pub(super) part: PartId,
    pub(super) expected: Expected,
    pub(super) bytes: Bytes,
}

/// Shows its size.
impl fmt::Debug for FetchedPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FetchedPart({}, {} bytes)", self.part, self.bytes.len())
    }
}

impl Merging {
    /// All parts are to be added to the sum of the machine's own updates.
    pub(super) fn new(parts: &Parts, own: Option<Arc<Aggregation>>, round: &Round) -> Self {
        let (round_id, config) = (round.id, round.parameters.mask_config);
        let length = round.model_length();
        let expected = parts.iter().map(|(shard, recorded)| {
            let models = recorded.models;
            (recorded.part, Expected { round_id, shard, models, config, length })
        });
        let (fetching, fetched) = Default::default();
        Self { sum: own, waiting: expected.collect(), fetching, fetched, running: 0 }
    }

    /// The next part to ask for, if there is one and there is room for it.
    pub(super) fn next(&mut self) -> Option<PartId> {
        if self.fetching.len() + self.fetched.len() + self.running >= MOST_IN_MEMORY {
            return None;
        }
        let (part, expected) = self.waiting.pop_front()?;
        self.fetching.insert(part, expected);
        Some(part)
    }

    /// What a part must be that is asked for.
    pub(super) fn take(&mut self, part: &PartId) -> Option<Expected> {
        self.fetching.remove(part)
    }

    /// Whether all parts are in the sum.
    pub(super) fn is_done(&self) -> bool {
        let left = self.waiting.len() + self.fetching.len() + self.fetched.len() + self.running;
        left == 0
    }

    /// About how much memory it holds.
    pub(in crate::coordinator) fn bytes(&self) -> usize {
        let fetched: usize = self.fetched.iter().map(|fetched| fetched.bytes.len()).sum();
        fetched + self.sum.as_ref().map_or(0, |sum| sum.len() * 8)
    }
}
