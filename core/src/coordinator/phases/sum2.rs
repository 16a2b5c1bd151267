//! Sum participants send the sum of the masks. The mask that most of them send is taken off.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{aggregate_bytes, merged, once, unexpected, Around, Collected, Facts, Stage, Unmask};
use crate::coordinator::settings::Settings;
use crate::coordinator::shards::Parts;
use crate::coordinator::state::Round;
use crate::coordinator::{Phase, Record, RecoveryError, Rejection, RoundFailure};
use crate::crypto::{Digest, PublicSigningKey};
use crate::mask::Aggregation;
use crate::message::{Tag, SEED_ENTRY_LENGTH};
use crate::round::{SeedDict, SumDict};

pub(super) const FACTS: Facts = Facts {
    name: "sum2",
    accepts: Some(Tag::Sum2),
    limits: |settings| Some((settings.sum2.count, settings.sum2.time)),
    is_in_round: true,
    too_few: "too_few_sum2",
};

/// The votes so far, and what the mask is taken off.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::coordinator) struct Sum2 {
    sum_dict: Arc<SumDict>,
    seeds: Arc<SeedDict>,
    /// Nothing while it is somewhere else.
    #[serde(with = "super::optional_sum")]
    aggregation: Option<Arc<Aggregation>>,
    voters: BTreeSet<PublicSigningKey>,
    votes: BTreeMap<Digest, Vote>,
}

/// A mask, and how many sum participants have sent it.
#[derive(Clone, Serialize, Deserialize)]
struct Vote {
    /// Empty while it is somewhere else.
    mask: Bytes,
    count: u64,
}

/// Shows no mask.
impl fmt::Debug for Vote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vote({} times)", self.count)
    }
}

impl Sum2 {
    pub(super) fn new(
        sum_dict: Arc<SumDict>,
        seeds: SeedDict,
        aggregation: Option<Arc<Aggregation>>,
    ) -> Self {
        let (voters, votes) = Default::default();
        Self { sum_dict, seeds: Arc::new(seeds), aggregation, voters, votes }
    }

    /// What is made of a sum2 message.
    pub(in crate::coordinator) fn take(
        &self,
        participant: PublicSigningKey,
        mask: Bytes,
        digest: Digest,
        settings: &Settings,
    ) -> Result<Record, Rejection> {
        if !self.sum_dict.contains(&participant) {
            return Err(Rejection::UnknownSumParticipant);
        }
        if let Some(duplicate) = self.duplicate(&participant) {
            return Err(duplicate);
        }
        if self.accepted() >= settings.sum2.count.max {
            return Err(Rejection::Full(Phase::Sum2));
        }
        let is_first = !self.votes.contains_key(&digest);
        Ok(Record::Sum2 { participant, digest, mask: is_first.then_some(mask) })
    }

    /// Which mask is taken off: the one that most have sent, if enough of them have.
    fn winner(&self, settings: &Settings) -> Result<Digest, RoundFailure> {
        let sum_participants = self.sum_dict.len() as u64;
        let most = self.votes.values().map(|vote| vote.count).max().unwrap_or(0);
        let cast = self.votes.values().map(|vote| vote.count).sum();
        let needed = settings.sum2.quorum.needed(cast, sum_participants);
        let mut winners = self.votes.iter().filter(|(_, vote)| vote.count == most);
        match (winners.next(), winners.count()) {
            (None, _) => Err(RoundFailure::NoMask),
            (Some(_), 0) if most < needed && cast == 1 => {
                Err(RoundFailure::LoneVote { sum_participants, needed })
            }
            (Some(_), 0) if most < needed => {
                Err(RoundFailure::NoQuorum { votes: most, cast, needed })
            }
            (Some((digest, _)), 0) => Ok(*digest),
            (Some(_), others) => Err(RoundFailure::TiedMasks { masks: others + 1, votes: most }),
        }
    }

    /// The aggregate without the parts; nothing if all is in those.
    pub(in crate::coordinator) fn aggregation(&self) -> Option<&Arc<Aggregation>> {
        self.aggregation.as_ref()
    }

    /// Whether the aggregate is the one of all updates, together with the parts.
    pub(in crate::coordinator) fn has_all_models(&self, parts: &Parts) -> bool {
        let own = self.aggregation.as_ref().map_or(0, |sum| sum.nb_models());
        own.checked_add(parts.models()) == Some(self.seeds.len() as u64)
    }

    /// Whether the aggregate is somewhere else.
    pub(super) fn lacks_aggregation(&self, parts: &Parts) -> bool {
        self.aggregation.is_none() && self.seeds.len() as u64 != parts.models()
    }

    /// The masks that are somewhere else.
    pub(super) fn lacks_masks(&self) -> impl Iterator<Item = Digest> + '_ {
        let lacking = self.votes.iter().filter(|(_, vote)| vote.mask.is_empty());
        lacking.map(|(digest, _)| *digest)
    }

    pub(super) fn supply_aggregation(&mut self, aggregation: Arc<Aggregation>) {
        self.aggregation = Some(aggregation);
    }

    pub(super) fn supply_mask(&mut self, digest: &Digest, mask: Bytes) {
        if let Some(vote) = self.votes.get_mut(digest) {
            vote.mask = mask;
        }
    }

    pub(super) fn apply(
        mut self,
        record: &Record,
        around: &mut Around<'_>,
    ) -> Result<Stage, RecoveryError> {
        match record {
            Record::Sum2 { participant, digest, mask } => {
                once(self.voters.insert(*participant), Phase::Sum2)?;
                match (self.votes.get_mut(digest), mask) {
                    (Some(vote), None) => vote.count += 1,
                    (None, Some(mask)) => {
                        self.votes.insert(*digest, Vote { mask: mask.clone(), count: 1 });
                    }
                    (None, None) if around.without_large => {
                        self.votes.insert(*digest, Vote { mask: Bytes::new(), count: 1 });
                    }
                    _ => return Err(RecoveryError::WrongMask),
                }
                around.accepted(participant);
                Ok(Stage::Sum2(self))
            }
            Record::Merged { aggregation } => {
                self.aggregation = merged(self.aggregation, aggregation.as_ref(), around)?;
                Ok(Stage::Sum2(self))
            }
            Record::Sum2Ended { digest } => {
                let Vote { mask, count } =
                    self.votes.remove(digest).ok_or(RecoveryError::WrongMask)?;
                let unmask = Unmask::new(self.aggregation, mask, count, self.seeds.len() as u64);
                // The aggregate is no garbage, but the rest is.
                let Self { sum_dict, seeds, voters, votes, .. } = self;
                let bytes = seeds_bytes(&sum_dict, &seeds) + votes_bytes(&votes);
                around.garbage.add(bytes, (sum_dict, seeds, voters, votes));
                Ok(Stage::Unmask(unmask))
            }
            _ => Err(unexpected(record, Phase::Sum2)),
        }
    }
}

impl Collected for Sum2 {
    fn accepted(&self) -> u64 {
        self.voters.len() as u64
    }

    fn bytes(&self) -> usize {
        seeds_bytes(&self.sum_dict, &self.seeds)
            + self.aggregation.as_deref().map_or(0, aggregate_bytes)
            + votes_bytes(&self.votes)
    }

    fn sum_dict(&self) -> Option<&Arc<SumDict>> {
        Some(&self.sum_dict)
    }

    fn seeds(&self) -> Option<&Arc<SeedDict>> {
        Some(&self.seeds)
    }

    fn duplicate(&self, participant: &PublicSigningKey) -> Option<Rejection> {
        self.voters.contains(participant).then_some(Rejection::DuplicateSum2)
    }

    fn is_sound(&self, round: &Round, parts: &Parts) -> bool {
        self.aggregation.as_deref().map_or(!parts.is_empty(), |sum| round.fits(sum))
    }

    fn end(&self, settings: &Settings) -> Option<Result<Record, RoundFailure>> {
        Some(self.winner(settings).map(|digest| Record::Sum2Ended { digest }))
    }
}

fn seeds_bytes(sum_dict: &SumDict, seeds: &SeedDict) -> usize {
    seeds.len() * sum_dict.len() * SEED_ENTRY_LENGTH
}

fn votes_bytes(votes: &BTreeMap<Digest, Vote>) -> usize {
    votes.values().map(|vote| vote.mask.len()).sum()
}
