//! Makes the decision that members vote for.

use std::sync::Arc;

use super::Outcome;
use crate::crypto::PublicSigningKey;
use crate::job::{JobKind, Progress, Work};
use crate::v2::coordinator::entries::Entries;
use crate::v2::coordinator::phases::Reports;
use crate::v2::coordinator::ruling::{disregarded, exclusions, Exclusions, Ruling};
use crate::v2::coordinator::state::Round;
use crate::v2::DecisionHasher;

/// How many statements are hashed in a step: about half a millisecond's work.
const PER_STEP: usize = 256;

/// Rules on the reports, and hashes the statements of all updates that are not excluded.
pub(in crate::v2::coordinator) struct Decide {
    round: Arc<Round>,
    entries: Arc<Entries>,
    reports: Arc<Reports>,
    /// Nothing before the first step.
    excluded: Option<Exclusions>,
    hasher: DecisionHasher,
    last: Option<PublicSigningKey>,
    done: u64,
}

impl Decide {
    pub(in crate::v2::coordinator) fn new(
        round: &Arc<Round>,
        entries: &Arc<Entries>,
        reports: &Arc<Reports>,
    ) -> Self {
        let hasher = DecisionHasher::new(round.context, entries.announcements.digest());
        let (round, entries, reports) = (round.clone(), entries.clone(), reports.clone());
        Self { round, entries, reports, excluded: None, hasher, last: None, done: 0 }
    }

    fn exclusions(&self) -> Exclusions {
        let disregarded = disregarded(&self.round.roster, self.entries.len(), &self.reports);
        exclusions(&self.reports, &disregarded)
    }
}

impl Work<Outcome> for Decide {
    fn kind(&self) -> JobKind {
        JobKind::Decide
    }

    fn step(&mut self) -> bool {
        let Some(excluded) = &self.excluded else {
            self.excluded = Some(self.exclusions());
            return false;
        };
        let announcements = self.entries.announcements.digest();
        for _ in 0..PER_STEP {
            let Some(header) = self.entries.after(self.last.as_ref()) else { return true };
            let updater = header.updater;
            if !excluded.contains_key(&updater) {
                let digest = header.statement_digest(&self.round.context, &announcements);
                self.hasher.push(&updater, &digest).expect("entries are sorted, each once");
            }
            self.last = Some(updater);
            self.done += 1;
        }
        false
    }

    fn progress(&self) -> Progress {
        Progress { done: self.done, total: self.entries.len() }
    }

    fn finish(self: Box<Self>) -> Outcome {
        let disregarded = disregarded(&self.round.roster, self.entries.len(), &self.reports);
        let excluded = Arc::new(self.excluded.unwrap_or_default());
        let decision = self.hasher.finish();
        Outcome::Decided(Box::new(Ruling { decision, disregarded, excluded }))
    }
}
