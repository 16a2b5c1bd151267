//! Checking the votes.

use bytes::Bytes;

use super::{Outcome, Setup, Steps, SIGNATURES_PER_STEP};
use crate::job::{JobKind, Progress, Work};
use crate::v2::member::Refusal;
use crate::v2::{DecisionHash, Votes};

/// Verifies every vote, and that a majority of every group has voted.
pub(in super::super) struct CheckVotes {
    setup: Setup,
    decision: DecisionHash,
    /// Whether this member remembers to have voted for it.
    has_voted: bool,
    steps: Steps<Stage, DecisionHash>,
}

enum Stage {
    Read(Bytes),
    Verify(Votes, usize),
}

impl CheckVotes {
    pub(in super::super) fn new(
        setup: Setup,
        bytes: Bytes,
        decision: DecisionHash,
        has_voted: bool,
    ) -> Self {
        Self { setup, decision, has_voted, steps: Steps::Next(Stage::Read(bytes)) }
    }
}

impl Work<Outcome> for CheckVotes {
    fn kind(&self) -> JobKind {
        JobKind::CheckVotes
    }

    fn step(&mut self) -> bool {
        let Self { setup, decision, has_voted, steps } = self;
        steps.step(|stage| match stage {
            Stage::Read(bytes) => {
                let votes = Votes::from_bytes(&bytes)
                    .map_err(|source| Refusal::Malformed { what: "list of votes", source })?;
                Ok(Steps::Next(Stage::Verify(votes, 0)))
            }
            Stage::Verify(votes, from) => {
                let list = setup.list.as_ref().ok_or(Refusal::LeftOut)?;
                let end = votes.list().len().min(from + SIGNATURES_PER_STEP);
                for vote in &votes.list()[from..end] {
                    Votes::check_one(vote, list, decision)?;
                    // The signature is valid, so this member has made it.
                    if vote.member == setup.member && !*has_voted {
                        let what = "vote of";
                        return Err(Refusal::RolledBack { what, member: setup.member });
                    }
                }
                if end < votes.list().len() {
                    return Ok(Steps::Next(Stage::Verify(votes, end)));
                }
                votes.check_majorities(&setup.roster)?;
                Ok(Steps::Done(Ok(*decision)))
            }
        })
    }

    fn progress(&self) -> Progress {
        match &self.steps {
            Steps::Next(Stage::Verify(votes, done)) => {
                Progress { done: *done as u64, total: votes.list().len() as u64 }
            }
            Steps::Done(_) => Progress { done: 1, total: 1 },
            _ => Progress { done: 0, total: 1 },
        }
    }

    fn finish(self: Box<Self>) -> Outcome {
        Outcome::Votes(self.steps.finish())
    }
}
