//! What is being worked on. No record tells of it yet, and nobody was answered: whoever goes on from the
//! records does without.

use std::collections::{BTreeMap, BTreeSet};

use super::jobs::{Outcome, Stored};
use super::sums::Sums;
use super::{Conflict, Job};
use crate::crypto::{Digest, PublicSigningKey};
use crate::job::{JobId, Release, Watch, Work};
use crate::time::Timestamp;
use crate::v2::MemberId;

/// A job that was given out, with what is needed to give it out again.
#[derive(Clone)]
pub(super) enum Running {
    Decide,
    Add(Vec<Stored>),
    Unmask,
}

impl Running {
    /// Whether its job gives such a result: that of another machine's may have the same id.
    fn gives(&self, outcome: &Outcome) -> bool {
        matches!(
            (self, outcome),
            (Self::Decide, Outcome::Decided(_))
                | (Self::Add(_), Outcome::Added(_))
                | (Self::Unmask, Outcome::Unmasked(_))
                | (Self::Add(_) | Self::Unmask, Outcome::Damaged(_))
        )
    }
}

/// Who is asked for a mask, and since when nothing of it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) member: MemberId,
    pub(super) since: Timestamp,
}

/// Jobs that run, and what is known of senders and objects.
#[derive(Default)]
pub(super) struct UnderWay {
    running: BTreeMap<JobId, Running>,
    last_job: u64,
    watch: Watch,
    /// How often in a row the job was lost that the phase waits for.
    losses: u32,
    /// When the last of each incomplete upload has come.
    pub(super) active: BTreeMap<PublicSigningKey, Timestamp>,
    /// Who is asked for each mask that is wanted.
    pub(super) sources: BTreeMap<(u8, Digest), Source>,
    /// What the operator was told of: once is enough.
    pub(super) told: BTreeSet<Conflict>,
    pub(super) sums: Sums,
}

impl UnderWay {
    fn next_job(&mut self) -> JobId {
        self.last_job += 1;
        JobId(self.last_job)
    }

    /// A job is given out.
    pub(super) fn job(&mut self, work: impl Work<Outcome> + 'static, running: Running) -> Job {
        let id = self.next_job();
        self.running.insert(id, running);
        Job::watched(id, work, &mut self.watch)
    }

    /// A job that frees memory: nobody waits for it.
    pub(super) fn free(&mut self, garbage: impl Send + 'static) -> Job {
        Job::new(self.next_job(), Release::new(garbage, Outcome::Released))
    }

    /// Whether there was such a job, whatever has become of it.
    pub(super) fn has_given_out(&self, id: JobId) -> bool {
        (1..=self.last_job).contains(&id.0)
    }

    /// A job has come back with this. Nothing if it was not waited for.
    pub(super) fn done(&mut self, id: JobId, outcome: &Outcome) -> Option<Running> {
        let gives = self.running.get(&id).is_some_and(|running| running.gives(outcome));
        if gives {
            self.take(id)
        } else {
            None
        }
    }

    /// A job has come back, or is lost. Nothing if it was not waited for.
    pub(super) fn take(&mut self, id: JobId) -> Option<Running> {
        self.watch.end(id);
        self.running.remove(&id)
    }

    /// The jobs that were lost since the last look.
    pub(super) fn take_lost(&mut self) -> Vec<JobId> {
        self.watch.take_lost()
    }

    /// The job that the phase waits for was lost; gives how often in a row.
    pub(super) fn lost(&mut self) -> u32 {
        self.losses += 1;
        self.losses
    }

    /// The job that the phase waits for is done.
    pub(super) fn not_lost(&mut self) {
        self.losses = 0;
    }

    /// Whether the job that the phase waits for was lost before.
    pub(super) fn was_lost(&self) -> bool {
        self.losses > 0
    }

    /// Whether a job runs that makes the decision.
    pub(super) fn is_deciding(&self) -> bool {
        self.running.values().any(|running| matches!(running, Running::Decide))
    }

    /// Whether a job runs that takes the masks off.
    pub(super) fn is_unmasking(&self) -> bool {
        self.running.values().any(|running| matches!(running, Running::Unmask))
    }

    /// How many jobs run.
    pub(super) fn jobs(&self) -> usize {
        self.running.len()
    }

    /// Nothing of the round is waited for any more. Gives what was being added up.
    pub(super) fn end(&mut self) -> Sums {
        self.watch = Watch::default();
        self.running.clear();
        self.losses = 0;
        self.active.clear();
        self.sources.clear();
        self.told.clear();
        std::mem::take(&mut self.sums)
    }

    /// The same for a second machine. The jobs that run belong to the other one: it does not see them lost.
    pub(super) fn fork(&self) -> Self {
        Self {
            running: self.running.clone(),
            last_job: self.last_job,
            watch: Watch::default(),
            losses: self.losses,
            active: self.active.clone(),
            sources: self.sources.clone(),
            told: self.told.clone(),
            sums: self.sums.clone(),
        }
    }
}
