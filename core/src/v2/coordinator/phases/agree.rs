//! Members vote for the set of updates.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::check::Checked;
use super::{absent, heard, once, too_few, unexpected, Around, End, Stage, Sum2};
use crate::v2::coordinator::recovery::RecoveryError;
use crate::v2::coordinator::state::Round;
use crate::v2::coordinator::{Phase, Record, RoundFailure};
use crate::v2::{Decision, DecisionHash, MemberId, Vote, Votes};

/// The decision, and the votes for it so far.
#[derive(Clone)]
#[cfg_attr(test, derive(Debug))]
pub(in crate::v2::coordinator) struct Agree(Agreed);

/// What is voted for, and what a majority of every group has voted for in the end.
#[derive(Clone)]
#[cfg_attr(test, derive(Debug))]
pub(in crate::v2::coordinator) struct Agreed {
    pub(in crate::v2::coordinator) checked: Arc<Checked>,
    pub(in crate::v2::coordinator) decision: Decision,
    pub(in crate::v2::coordinator) hash: DecisionHash,
    pub(in crate::v2::coordinator) votes: Arc<BTreeMap<MemberId, Vote>>,
}

impl Agreed {
    /// The votes, sorted by member.
    pub(in crate::v2::coordinator) fn votes(&self) -> Votes {
        let votes = self.votes.values().copied().collect();
        Votes::new(votes).expect("a map is sorted by its keys, each once")
    }
}

impl Agree {
    pub(super) fn new(checked: Arc<Checked>, decision: Decision) -> Self {
        Self(Agreed { checked, decision, hash: decision.digest(), votes: Arc::default() })
    }

    pub(in crate::v2::coordinator) fn agreed(&self) -> &Agreed {
        &self.0
    }

    /// What becomes of a verified vote: nothing if it is there already. That of a member whose report does not count does:
    /// it is good or bad by itself.
    pub(in crate::v2::coordinator) fn take(&self, vote: Vote) -> Option<Record> {
        // There is one decision to vote for, and one valid signature.
        let is_new = !self.0.votes.contains_key(&vote.member);
        is_new.then_some(Record::Vote(vote))
    }

    pub(super) fn accepted(&self) -> u64 {
        self.0.votes.len() as u64
    }

    fn voters(&self) -> impl Iterator<Item = MemberId> + Clone + '_ {
        self.0.votes.keys().copied()
    }

    pub(super) fn end(&self, round: &Round) -> End {
        heard(&round.roster, self.voters(), self.0.checked.entries.members().count())
    }

    pub(super) fn failure(&self, round: &Round) -> RoundFailure {
        too_few(&round.roster, Phase::Agree, self.voters())
    }

    pub(super) fn absent(&self) -> Vec<MemberId> {
        absent(self.0.checked.entries.members(), self.voters())
    }

    pub(super) fn apply(
        mut self,
        record: &Record,
        _: &mut Around<'_>,
    ) -> Result<Stage, RecoveryError> {
        match record {
            Record::Vote(vote) => {
                let votes = Arc::make_mut(&mut self.0.votes);
                once(votes.insert(vote.member, *vote).is_none(), Phase::Agree)?;
                Ok(Stage::Agree(self))
            }
            Record::AgreeEnded => Ok(Stage::Sum2(Sum2::new(Arc::new(self.0)))),
            _ => Err(unexpected(record, Phase::Agree)),
        }
    }
}
