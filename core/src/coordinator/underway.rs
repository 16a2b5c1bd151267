//! What is being worked on. No record tells of it yet, and nobody was answered: whoever goes on from the
//! records does without.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::io::Ticket;
use super::jobs::Outcome;
use super::shards::{FetchedPart, Merging, Reservations};
use super::Job;
use crate::crypto::PublicSigningKey;
use crate::job::{JobId, Release, Watch, Work};
use crate::message::{Complete, LocalSeedDict, MessageId};

/// The most updates that are aggregated in one job.
const MOST_UPDATES: usize = 64;

/// A verified update on its way into the aggregate.
#[derive(Clone)]
pub(super) struct Update {
    /// Nobody waits for an answer if it was restored.
    pub(super) ticket: Option<Ticket>,
    pub(super) participant: PublicSigningKey,
    pub(super) masked_model: Bytes,
    pub(super) seeds: Arc<LocalSeedDict>,
    /// The chunks that it came in, if it did.
    pub(super) split: Option<Split>,
}

impl Update {
    /// What it came in, and of whom.
    fn split(&self) -> Option<(&PublicSigningKey, &Split)> {
        Some((&self.participant, self.split.as_ref()?))
    }
}

/// A job that was given out, with what is needed to give it out again.
#[derive(Clone)]
pub(super) enum Running {
    Aggregate(Vec<Update>),
    Unmask,
    Merge(Vec<FetchedPart>),
    Assemble {
        ticket: Option<Ticket>,
        participant: PublicSigningKey,
        split: Split,
        /// How often in a row it was lost before.
        losses: u32,
    },
}

impl Running {
    /// Whether its job gives such a result: that of another machine's may have the same id.
    pub(super) fn gives(&self, outcome: &Outcome) -> bool {
        matches!(
            (self, outcome),
            (Self::Aggregate(_), Outcome::Aggregated(_))
                | (Self::Unmask, Outcome::Unmasked(_) | Outcome::Optimized(_))
                | (Self::Merge(_), Outcome::Merged(_))
                | (Self::Assemble { .. }, Outcome::Assembled(_))
        )
    }
}

/// A message that came in chunks. All but the last of them were accepted and will not be sent again: until
/// the message itself is accepted or rejected it has to be saved.
#[derive(Clone)]
pub(super) struct Split {
    /// In which round.
    pub(super) round_id: u64,
    pub(super) message_id: MessageId,
    pub(super) complete: Complete,
}

/// Which split message it was, and in how many parts it came.
#[derive(Clone, Copy)]
pub(super) struct SplitId {
    pub(super) round_id: u64,
    pub(super) message_id: MessageId,
    pub(super) parts: usize,
}

impl Split {
    pub(super) fn id(&self) -> SplitId {
        let Self { round_id, message_id, complete } = self;
        SplitId { round_id: *round_id, message_id: *message_id, parts: complete.parts.len() }
    }
}

/// Updates that wait, and jobs that run.
#[derive(Default)]
pub(super) struct UnderWay {
    /// Whose updates are under way.
    updating: BTreeSet<PublicSigningKey>,
    /// Verified updates that wait for the running aggregation to end.
    queue: Vec<Update>,
    /// Whose updates other replicas are working on.
    reservations: Reservations,
    /// The parts that are being added up.
    merging: Option<Merging>,
    running: BTreeMap<JobId, Running>,
    last_job: u64,
    watch: Watch,
    /// How often in a row the job was lost that the phase waits for.
    losses: u32,
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

    /// The same for a second machine. The jobs that run belong to the other one: it does not see them lost.
    pub(super) fn fork(&self) -> Self {
        Self {
            updating: self.updating.clone(),
            queue: self.queue.clone(),
            reservations: self.reservations.clone(),
            merging: self.merging.clone(),
            running: self.running.clone(),
            last_job: self.last_job,
            watch: Watch::default(),
            losses: self.losses,
        }
    }

    #[cfg(test)]
    pub(super) fn watched(&self) -> usize {
        self.watch.len()
    }

    /// How many jobs run.
    pub(super) fn jobs(&self) -> usize {
        self.running.len()
    }

    /// How many updates are under way here.
    pub(super) fn updating(&self) -> u64 {
        self.updating.len() as u64
    }

    /// How many updates are under way, here and at other replicas.
    pub(super) fn updates(&self) -> u64 {
        self.updating() + self.reservations.len() as u64
    }

    /// Whose updates other replicas are working on.
    pub(super) fn reservations(&self) -> &Reservations {
        &self.reservations
    }

    pub(super) fn reservations_mut(&mut self) -> &mut Reservations {
        &mut self.reservations
    }

    /// Whether the participant's update is under way, here or at another replica.
    pub(super) fn is_updating(&self, participant: &PublicSigningKey) -> bool {
        self.updating.contains(participant) || self.reservations.contains(participant)
    }

    /// The parts that are being added up; nothing if none are.
    pub(super) fn merging(&mut self) -> &mut Option<Merging> {
        &mut self.merging
    }

    /// Whether parts are being added up.
    pub(super) fn is_merging(&self) -> bool {
        self.merging.is_some()
    }

    /// An update is to be aggregated.
    pub(super) fn queue(&mut self, update: Update) {
        self.updating.insert(update.participant);
        self.queue.push(update);
    }

    /// These updates were lost with their job: they are the next ones.
    pub(super) fn queue_again(&mut self, mut updates: Vec<Update>) {
        updates.append(&mut self.queue);
        self.queue = updates;
    }

    /// The updates for the next job; nothing if there are none, or one is running.
    pub(super) fn next_updates(&mut self) -> Option<Vec<Update>> {
        let busy = self.running.values().any(|running| matches!(running, Running::Aggregate(_)));
        if busy || self.queue.is_empty() {
            return None;
        }
        let rest = self.queue.split_off(self.queue.len().min(MOST_UPDATES));
        Some(std::mem::replace(&mut self.queue, rest))
    }

    /// An update is accepted.
    pub(super) fn updated(&mut self, participant: &PublicSigningKey) {
        self.updating.remove(participant);
    }

    /// Whether all of the participant's message is here, and it is not accepted yet. To the sender of a chunk
    /// of it again it must not look as if that were delivered only now.
    pub(super) fn is_in_progress(&self, participant: &PublicSigningKey) -> bool {
        let is_assembled = |running: &Running| match running {
            Running::Assemble { participant: sender, .. } => sender == participant,
            Running::Aggregate(_) | Running::Unmask | Running::Merge(_) => false,
        };
        self.is_updating(participant) || self.running.values().any(is_assembled)
    }

    /// A phase ends: nothing is waited for but messages that are put together, as they have to be answered, and
    /// parts that are added up. Gives the updates that nobody will aggregate, and the reservations.
    pub(super) fn end_phase(&mut self) -> (Vec<Update>, Reservations) {
        self.updating.clear();
        let reserved = std::mem::take(&mut self.reservations);
        let mut late = std::mem::take(&mut self.queue);
        let (watch, is_merging) = (&mut self.watch, self.merging.is_some());
        if !is_merging {
            self.losses = 0;
        }
        self.running.retain(|id, running| {
            match running {
                Running::Aggregate(updates) => late.append(updates),
                Running::Unmask => {}
                Running::Merge(_) if !is_merging => {}
                Running::Merge(_) | Running::Assemble { .. } => return true,
            }
            watch.end(*id);
            false
        });
        (late, reserved)
    }

    /// Nothing is waited for any more. Gives what was.
    pub(super) fn end(&mut self) -> impl Iterator<Item = Running> {
        self.watch = Watch::default();
        std::mem::take(&mut self.running).into_values()
    }

    /// The split messages of which all chunks are here.
    pub(super) fn splits(&self) -> Vec<(&PublicSigningKey, &Split)> {
        let mut splits: Vec<_> = self.queue.iter().filter_map(Update::split).collect();
        for running in self.running.values() {
            match running {
                Running::Aggregate(updates) => {
                    splits.extend(updates.iter().filter_map(Update::split));
                }
                Running::Assemble { participant, split, .. } => splits.push((participant, split)),
                Running::Unmask | Running::Merge(_) => {}
            }
        }
        splits
    }
}
