//! What becomes of verified messages, and of the jobs that they need (specification, section 4).

use std::sync::Arc;

use bytes::Bytes;

use super::assemble::Assemble;
use super::context::{Body, Verified};
use super::io::{Event, Record, Reject, Ticket};
use super::jobs::{Aggregate, Outcome};
use super::machine::{Coordinator, Running, Split, SplitId, Update};
use super::settings::most_summers;
use super::state::{Stage, Vote};
use super::{GlobalModel, JobResult, Phase, Rejection};
use crate::crypto::{Digest, PublicEncryptKey, PublicSigningKey};
use crate::job::JobId;
use crate::mask::{Aggregation, Unmasked};
use crate::message::{Judgement, OwnedChunk, Tag, Verdict};
use crate::round::RoundParameters;

/// The most updates that are aggregated in one job.
const MOST_UPDATES: usize = 64;

impl Coordinator {
    /// `split` is what the message was put together from.
    pub(super) fn handle_message(
        &mut self,
        ticket: Option<Ticket>,
        message: Verified,
        split: Option<Split>,
    ) {
        let Verified { round_id, participant, tag, body } = message;
        let outcome = if round_id != self.round.id {
            Err(Rejection::WrongPhase { tag, phase: self.stage.phase() })
        } else {
            self.context.check_phase(tag)
        };
        let split_id = split.as_ref().map(Split::id);
        // Kept, so that a large message that is rejected, or a mask that is there already, is not freed
        // in this call.
        let kept = body.bytes();
        let outcome = outcome.and_then(|()| match body {
            Body::Sum { ephemeral_key } => self.take_sum(participant, ephemeral_key).map(Some),
            Body::Update { masked_model, seeds } => {
                let update = Update { ticket, participant, masked_model, seeds, split };
                self.take_update(update).map(|()| None)
            }
            Body::Sum2 { mask, digest } => self.take_sum2(participant, mask, digest).map(Some),
            Body::Chunk { chunk, proven, max_payload } => {
                self.take_chunk(ticket, participant, tag, chunk, proven, max_payload)
            }
        });
        match outcome {
            Ok(Some(())) => self.reply(ticket, Ok(())),
            // The reply comes later.
            Ok(None) => {}
            Err(rejection) => {
                if let Some(id) = split_id {
                    self.drop_chunks(id, tag, participant);
                }
                self.reply(ticket, Err(rejection));
            }
        }
        if kept.is_unique() {
            self.release(kept.len(), kept);
        }
    }

    fn take_sum(
        &mut self,
        participant: PublicSigningKey,
        ephemeral_key: PublicEncryptKey,
    ) -> Result<(), Rejection> {
        let Stage::Sum { dict } = &mut self.stage else {
            return Err(self.wrong_phase(Tag::Sum));
        };
        if dict.contains(&participant) {
            return Err(Rejection::DuplicateSum);
        }
        let RoundParameters { mask_config, model_length, .. } = *self.round.parameters;
        let fitting = most_summers(mask_config, model_length).unwrap_or(0);
        if dict.len() as u64 >= self.settings.sum.count.max.min(fitting) {
            return Err(Rejection::Full(Phase::Sum));
        }
        dict.insert(participant, ephemeral_key);
        self.forget_chunks(&participant);
        self.outbox.persist(Record::Sum { participant, ephemeral_key });
        Ok(())
    }

    fn take_update(&mut self, update: Update) -> Result<(), Rejection> {
        let Stage::Update { seeds, .. } = &self.stage else {
            return Err(self.wrong_phase(Tag::Update));
        };
        if seeds.contains(&update.participant) {
            return Err(Rejection::DuplicateUpdate);
        }
        if self.updating.contains(&update.participant) {
            return Err(Rejection::InProgress(Tag::Update));
        }
        let count = (seeds.len() + self.updating.len()) as u64;
        if count >= self.settings.update.count.max {
            return Err(Rejection::Full(Phase::Update));
        }
        let config = self.round.parameters.mask_config;
        if count >= config.vect.max_nb_models().min(config.unit.max_nb_models()) {
            return Err(Rejection::TooManyModels);
        }
        if self.elapsed() >= self.settings.update.time.max {
            return Err(Rejection::TooLate(Phase::Update));
        }
        self.updating.insert(update.participant);
        self.queue.push(update);
        Ok(())
    }

    /// Gives out waiting updates as one job, unless one is running. Called when nothing else is due:
    /// a job for a phase that ends at this moment would be in vain.
    pub(super) fn aggregate(&mut self) {
        let busy = self.running.values().any(|running| matches!(running, Running::Aggregate(_)));
        if busy || self.queue.is_empty() {
            return;
        }
        if let Stage::Update { aggregation, .. } = &self.stage {
            let rest = self.queue.split_off(self.queue.len().min(MOST_UPDATES));
            let updates = std::mem::replace(&mut self.queue, rest);
            let models = updates.iter().map(|update| update.masked_model.clone()).collect();
            let (config, length) = (self.round.parameters.mask_config, self.round.model_length());
            let work = Aggregate::new(config, length, aggregation.clone(), models);
            self.job(work, Running::Aggregate(updates));
        }
    }

    fn take_sum2(
        &mut self,
        participant: PublicSigningKey,
        mask: Bytes,
        digest: Digest,
    ) -> Result<(), Rejection> {
        let Stage::Sum2 { sum_dict, voters, votes, .. } = &mut self.stage else {
            return Err(self.wrong_phase(Tag::Sum2));
        };
        if !sum_dict.contains(&participant) {
            return Err(Rejection::UnknownSumParticipant);
        }
        if voters.contains(&participant) {
            return Err(Rejection::DuplicateSum2);
        }
        if voters.len() as u64 >= self.settings.sum2.count.max {
            return Err(Rejection::Full(Phase::Sum2));
        }
        voters.insert(participant);
        let mut first = None;
        votes
            .entry(digest)
            .or_insert_with(|| {
                first = Some(mask.clone());
                Vote { mask, count: 0 }
            })
            .count += 1;
        self.forget_chunks(&participant);
        self.outbox.persist(Record::Sum2 { participant, digest, mask: first });
        Ok(())
    }

    fn take_chunk(
        &mut self,
        ticket: Option<Ticket>,
        participant: PublicSigningKey,
        tag: Tag,
        chunk: OwnedChunk,
        proven: bool,
        max_payload: usize,
    ) -> Result<Option<()>, Rejection> {
        self.reject_done(&participant, tag)?;
        self.reassembly.set_time(self.now);
        let (round_id, message_id) = (self.round.id, chunk.message_id);
        let replaces = self.reassembly.has_other(&participant, message_id);
        let proven = proven || self.reassembly.reserved(&participant).is_some() && !replaces;
        let Judgement { gone, verdict } =
            self.reassembly.judge(&participant, tag, &chunk, proven, max_payload);
        if !gone.is_empty() {
            self.drop_chunks_of(gone);
        }
        match verdict? {
            Verdict::Keep { reserved } => {
                self.reassembly.keep_chunk(participant, tag, chunk.clone(), reserved);
                self.outbox.persist(Record::Chunk { participant, tag, chunk, reserved });
                self.reassembly.recorded(&participant, self.outbox.last_record().0);
                Ok(Some(()))
            }
            // Nothing is new: there is nothing to store but what is under way already, and the answer
            // waits for that.
            Verdict::Duplicate => Ok(Some(())),
            Verdict::Complete => {
                if replaces {
                    self.drop_chunks_of(vec![participant]);
                }
                let complete = self.reassembly.work_on(participant, tag, chunk, proven);
                self.assemble(ticket, participant, Split { round_id, message_id, complete });
                Ok(None)
            }
        }
    }

    /// Keeps nothing of the chunks that a message came in that is not accepted.
    fn drop_chunks(&mut self, id: SplitId, tag: Tag, participant: PublicSigningKey) {
        self.reassembly.settle(&participant);
        // With a phase all its chunks are gone; and of one that came in one chunk there is no record.
        let is_due = id.round_id == self.round.id && self.stage.phase().accepts() == Some(tag);
        if is_due && id.parts > 1 && !self.reassembly.has_other(&participant, id.message_id) {
            self.drop_chunks_of(vec![participant]);
        }
    }

    fn drop_chunks_of(&mut self, participants: Vec<PublicSigningKey>) {
        for participant in &participants {
            self.forget_chunks(participant);
        }
        self.outbox.persist(Record::ChunksDropped { participants });
    }

    /// Keeps no chunks of a participant whose message is accepted: a second one never is.
    fn forget_chunks(&mut self, participant: &PublicSigningKey) {
        if let Some((bytes, chunks)) = self.reassembly.forget(participant) {
            self.release(bytes, chunks);
        }
    }

    /// Turns down chunks of a message that could only be a second one.
    fn reject_done(&self, participant: &PublicSigningKey, tag: Tag) -> Result<(), Rejection> {
        match &self.stage {
            Stage::Sum { dict } if dict.contains(participant) => Err(Rejection::DuplicateSum),
            Stage::Update { seeds, .. } if seeds.contains(participant) => {
                Err(Rejection::DuplicateUpdate)
            }
            Stage::Sum2 { voters, .. } if voters.contains(participant) => {
                Err(Rejection::DuplicateSum2)
            }
            _ if self.is_in_progress(participant) => Err(Rejection::InProgress(tag)),
            _ => self.context.check_phase(tag),
        }
    }

    /// Whether all chunks of the participant's message are here, and it is not accepted yet. To the sender
    /// of one of them again it must not look as if that were delivered only now.
    fn is_in_progress(&self, participant: &PublicSigningKey) -> bool {
        let assembled = |running: &Running| matches!(running, Running::Assemble { participant: sender, .. } if sender == participant);
        self.updating.contains(participant) || self.running.values().any(assembled)
    }

    fn assemble(&mut self, ticket: Option<Ticket>, participant: PublicSigningKey, split: Split) {
        let context = self.context.clone();
        let work = Assemble::new(context, participant, split.complete.clone());
        self.job(work, Running::Assemble { ticket, participant, split });
    }

    /// Goes on with the split messages that were saved before they were accepted.
    pub(super) fn assemble_again(&mut self) {
        let round_id = self.round.id;
        for (participant, message_id, complete) in self.reassembly.take_complete() {
            self.reassembly.hold(participant, &complete, true, 0);
            self.assemble(None, participant, Split { round_id, message_id, complete });
        }
    }

    fn wrong_phase(&self, tag: Tag) -> Rejection {
        Rejection::WrongPhase { tag, phase: self.stage.phase() }
    }

    pub(super) fn handle_job(&mut self, result: JobResult) -> Result<(), Reject> {
        if let Outcome::Released = result.outcome {
            return Ok(());
        }
        let running = self.running.remove(&result.id).ok_or(Reject::UnknownJob(result.id))?;
        match (running, result.outcome) {
            (Running::Aggregate(updates), Outcome::Aggregated(sum)) => {
                self.aggregated(updates, sum)
            }
            (Running::Unmask { models, votes }, Outcome::Unmasked(unmasked)) => match unmasked {
                Ok(unmasked) => self.complete_round(unmasked, models, votes),
                Err(error) => self.fail(error.into()),
            },
            (Running::Assemble { ticket, participant, split }, Outcome::Assembled(message)) => {
                match message {
                    Ok(message) => self.handle_message(ticket, message, Some(split)),
                    Err(rejection) => {
                        self.drop_chunks(split.id(), split.complete.tag, participant);
                        self.reply(ticket, Err(rejection));
                    }
                }
            }
            // A result with a foreign machine's id.
            (running, _) => {
                self.running.insert(result.id, running);
                return Err(Reject::UnknownJob(result.id));
            }
        }
        Ok(())
    }

    fn aggregated(&mut self, updates: Vec<Update>, sum: Arc<Aggregation>) {
        let Stage::Update { seeds, aggregation, .. } = &mut self.stage else { return };
        let old = aggregation.replace(sum.clone());
        let mut accepted = Vec::with_capacity(updates.len());
        for update in &updates {
            seeds.insert(update.participant, update.seeds.clone());
            accepted.push((update.participant, update.seeds.clone()));
        }
        self.outbox.persist(Record::Updates { seeds: accepted, aggregation: Some(sum) });
        for update in &updates {
            self.forget_chunks(&update.participant);
            self.updating.remove(&update.participant);
            self.reply(update.ticket, Ok(()));
        }
        self.release(old.as_ref().map_or(0, |old| old.len() * 8), old);
        self.release(updates.iter().map(|update| update.masked_model.len()).sum(), updates);
    }

    fn complete_round(&mut self, unmasked: Unmasked, models: u64, votes: u64) {
        let round_id = self.round.id;
        let model = GlobalModel {
            round_id,
            seed: self.round.parameters.seed,
            models,
            rationals: unmasked.ratios.into(),
            weights: unmasked.model.ok().map(Arc::new),
        };
        let old = self.model.replace(model.clone());
        self.release(old.as_ref().map_or(0, |old| old.rationals.len()), old);
        self.outbox.persist(Record::Model(model));
        self.show();
        self.outbox.event(Event::RoundCompleted { round_id, models, votes });
        self.next_round();
    }

    pub(super) fn handle_lost_job(&mut self, id: JobId) -> Result<(), Reject> {
        match self.running.remove(&id).ok_or(Reject::UnknownJob(id))? {
            Running::Aggregate(mut updates) => {
                updates.append(&mut self.queue);
                self.queue = updates;
            }
            Running::Unmask { .. } => self.unmask(),
            Running::Assemble { ticket, participant, split } => {
                self.assemble(ticket, participant, split);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::settings::tests::settings;
    use crate::coordinator::settings::CountRange;
    use crate::coordinator::{Input, Output};
    use crate::crypto::RootSeed;
    use crate::time::Timestamp;

    /// With one sum participant more, no update message could say its own length.
    #[test]
    fn no_more_sum_participants_are_taken_than_fit_into_an_update_message() {
        let mut settings = settings();
        settings.model_length = 715_827_780;
        settings.sum.count = CountRange { min: 1, max: 10 };
        settings.sum.time.min = settings.sum.time.max;
        let now = Timestamp::ZERO;
        let mut machine = Coordinator::new(settings, RootSeed::new([1; 32]), now).unwrap();
        for number in 0..4 {
            let message = Verified {
                round_id: machine.round_id(),
                participant: PublicSigningKey::new([number; 32]),
                tag: Tag::Sum,
                body: Body::Sum { ephemeral_key: PublicEncryptKey::new([9; 32]) },
            };
            let ticket = Ticket(u64::from(number));
            machine.handle_input(now, Input::Message { ticket, message }).unwrap();
        }
        assert_eq!(machine.accepted(), 2);
        let outputs = std::iter::from_fn(|| machine.outbox.poll());
        let rejections: Vec<_> = outputs
            .filter_map(|output| match output {
                Output::Reply { outcome: Err(rejection), .. } => Some(rejection),
                _ => None,
            })
            .collect();
        assert_eq!(rejections, [Rejection::Full(Phase::Sum), Rejection::Full(Phase::Sum)]);
    }
}
