//! Checking the set of updates, and the decision that follows from it.

use std::sync::Arc;

use bytes::Bytes;

use super::{Outcome, Setup, Steps, HASHES_PER_STEP};
use crate::crypto::PublicSigningKey;
use crate::job::{JobKind, Progress, Work};
use crate::v2::member::round::{Agreed, Checked};
use crate::v2::member::Refusal;
use crate::v2::{DecisionHash, DecisionHasher, SetView};

/// All updates of a round, page by page.
type All = Arc<Vec<Arc<Vec<Checked>>>>;

/// Works out the decision from the updates that this member has checked itself, without those that are excluded.
pub(in super::super) struct CheckSet {
    setup: Setup,
    all: All,
    /// What the round says is voted for.
    shown: Option<DecisionHash>,
    /// The fewest updates that may be added up.
    least: u64,
    steps: Steps<Stage, Agreed>,
}

enum Stage {
    Read(Bytes),
    Hash(Box<Hashing>),
}

struct Hashing {
    /// What the set says is voted for.
    decision: DecisionHash,
    hasher: DecisionHasher,
    excluded: Arc<Vec<PublicSigningKey>>,
    /// How many of them were come by.
    skipped: usize,
    /// The next update: its page, and its place there.
    page: usize,
    at: usize,
    bad: Option<Refusal>,
}

impl CheckSet {
    pub(in super::super) fn new(
        setup: Setup,
        bytes: Bytes,
        all: All,
        shown: Option<DecisionHash>,
        least: u64,
    ) -> Self {
        Self { setup, all, shown, least, steps: Steps::Next(Stage::Read(bytes)) }
    }

    fn read(setup: &Setup, shown: Option<DecisionHash>, bytes: &[u8]) -> Result<Stage, Refusal> {
        let set = SetView::from_bytes(bytes)
            .map_err(|source| Refusal::Malformed { what: "set of updates", source })?;
        let decision = set.decision.digest();
        match shown {
            Some(expected) if expected != decision => {
                return Err(Refusal::OtherDecision { expected, found: decision });
            }
            _ => {}
        }
        let list = setup.list.as_ref().ok_or(Refusal::LeftOut)?;
        let hasher = DecisionHasher::new(setup.context, list.digest());
        let excluded = Arc::new(set.excluded);
        let hashing = Hashing { decision, hasher, excluded, skipped: 0, page: 0, at: 0, bad: None };
        Ok(Stage::Hash(Box::new(hashing)))
    }
}

impl Hashing {
    /// The next updates; whether these were all.
    fn step(&mut self, all: &[Arc<Vec<Checked>>]) -> Result<bool, Refusal> {
        for _ in 0..HASHES_PER_STEP {
            let Some(page) = all.get(self.page) else { return Ok(true) };
            let Some(update) = page.get(self.at) else {
                self.page += 1;
                self.at = 0;
                continue;
            };
            self.at += 1;
            // Both lists are sorted.
            if self.excluded.get(self.skipped) == Some(&update.updater) {
                self.skipped += 1;
                continue;
            }
            if let (Err(accusation), None) = (&update.seed, &self.bad) {
                let (updater, accusation) = (update.updater, *accusation);
                self.bad = Some(Refusal::BadUpdate { updater, accusation });
            }
            let pushed = self.hasher.push(&update.updater, &update.statement);
            pushed.map_err(|_| Refusal::Entries("is not sorted, or has an updater twice"))?;
        }
        Ok(false)
    }

    fn finish(self, least: u64) -> Result<Agreed, Refusal> {
        if let Some(stranger) = self.excluded.get(self.skipped) {
            return Err(Refusal::Excluded(*stranger));
        }
        let (decision, count) = (self.hasher.finish().digest(), self.hasher.count());
        if decision != self.decision {
            return Err(Refusal::OtherDecision { expected: decision, found: self.decision });
        }
        if count < least {
            return Err(Refusal::TooFew { least, found: count });
        }
        match self.bad {
            Some(refusal) => Err(refusal),
            None => Ok(Agreed { decision, count, excluded: self.excluded }),
        }
    }
}

impl Work<Outcome> for CheckSet {
    fn kind(&self) -> JobKind {
        JobKind::CheckSet
    }

    fn step(&mut self) -> bool {
        let Self { setup, all, shown, least, steps } = self;
        steps.step(|stage| match stage {
            Stage::Read(bytes) => Ok(Steps::Next(Self::read(setup, *shown, &bytes)?)),
            Stage::Hash(mut hashing) => match hashing.step(all)? {
                true => Ok(Steps::Done(Ok(hashing.finish(*least)?))),
                false => Ok(Steps::Next(Stage::Hash(hashing))),
            },
        })
    }

    fn progress(&self) -> Progress {
        let total = self.all.len() as u64;
        match &self.steps {
            Steps::Next(Stage::Hash(hashing)) => Progress { done: hashing.page as u64, total },
            Steps::Done(_) => Progress { done: total, total },
            _ => Progress { done: 0, total },
        }
    }

    fn finish(self: Box<Self>) -> Outcome {
        Outcome::Set(self.steps.finish())
    }
}
