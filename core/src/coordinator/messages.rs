//! What becomes of verified messages (specification, section 4).

use bytes::Bytes;

use super::io::Ticket;
use super::machine::Coordinator;
use super::phases::Stage;
use super::underway::{Split, SplitId, Update};
use super::verified::{Body, Verified};
use super::{Record, Rejection};
use crate::crypto::{Digest, PublicEncryptKey, PublicSigningKey};
use crate::message::{Judgement, OwnedChunk, Tag, Verdict};

impl Coordinator {
    /// `split` is what the message was put together from.
    pub(super) fn handle_message(
        &mut self,
        ticket: Option<Ticket>,
        message: Verified,
        split: Option<Split>,
    ) {
        let Verified { round_id, participant, tag, body } = message;
        let outcome = if round_id != self.round_id() {
            Err(self.wrong_phase(tag))
        } else {
            self.context.check_phase(tag).and_then(|()| self.context.check_body(&body))
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
                    self.turn_away(id, tag, participant, &rejection);
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
        let Stage::Sum(stage) = self.state.stage() else {
            return Err(self.wrong_phase(Tag::Sum));
        };
        let round = self.state.round();
        self.record(stage.take(participant, ephemeral_key, round, &self.settings)?);
        Ok(())
    }

    fn take_update(&mut self, update: Update) -> Result<(), Rejection> {
        let Stage::Update(stage) = self.state.stage() else {
            return Err(self.wrong_phase(Tag::Update));
        };
        let (round, under_way) = (self.state.round(), &self.under_way);
        let is_under_way = under_way.is_updating(&update.participant);
        let (elapsed, updates) = (self.elapsed(), under_way.updates());
        stage.admit(&update.participant, is_under_way, updates, elapsed, round, &self.settings)?;
        self.under_way.queue(update);
        Ok(())
    }

    fn take_sum2(
        &mut self,
        participant: PublicSigningKey,
        mask: Bytes,
        digest: Digest,
    ) -> Result<(), Rejection> {
        let Stage::Sum2(stage) = self.state.stage() else {
            return Err(self.wrong_phase(Tag::Sum2));
        };
        self.record(stage.take(participant, mask, digest, &self.settings)?);
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
        self.state.set_time(self.clock.now());
        let (round_id, message_id) = (self.round_id(), chunk.message_id);
        let kept = self.state.reassembly();
        let replaces = kept.has_other(&participant, message_id);
        let max_payload = max_payload.min(self.context.max_payload(tag));
        let proven = proven || kept.reserved(&participant).is_some() && !replaces;
        let Judgement { gone, verdict } =
            kept.judge(&participant, tag, &chunk, proven, max_payload);
        if !gone.is_empty() {
            self.record(Record::ChunksDropped { participants: gone });
        }
        match verdict? {
            Verdict::Keep { reserved } => {
                self.record(Record::Chunk { participant, tag, chunk, reserved });
                self.state.recorded(&participant, self.outbox.last_record());
                Ok(Some(()))
            }
            // Nothing is new: there is nothing to store but what is under way already, and the answer
            // waits for that.
            Verdict::Duplicate => Ok(Some(())),
            Verdict::Complete => {
                if replaces {
                    self.record(Record::ChunksDropped { participants: vec![participant] });
                }
                let complete = self.state.work_on(participant, tag, chunk, proven);
                self.assemble(ticket, participant, Split { round_id, message_id, complete }, 0);
                Ok(None)
            }
        }
    }

    /// A message that came in chunks is not accepted. Whoever is to come again does so with the chunk that was turned away, and not
    /// with those that were accepted: these stay. Otherwise nothing of it is kept.
    pub(super) fn turn_away(
        &mut self,
        id: SplitId,
        tag: Tag,
        participant: PublicSigningKey,
        why: &Rejection,
    ) {
        if !why.is_final() {
            return self.state.put_back(&participant);
        }
        self.state.settle(&participant);
        // With a phase all its chunks are gone; and of one that came in one chunk there is no record.
        let is_due = id.round_id == self.round_id() && self.phase().accepts() == Some(tag);
        let has_other = self.state.reassembly().has_other(&participant, id.message_id);
        if is_due && id.parts > 1 && !has_other {
            self.record(Record::ChunksDropped { participants: vec![participant] });
        }
    }

    /// Turns down chunks of a message that could only be a second one.
    fn reject_done(&self, participant: &PublicSigningKey, tag: Tag) -> Result<(), Rejection> {
        if let Some(duplicate) = self.state.stage().collected().duplicate(participant) {
            return Err(duplicate);
        }
        match self.under_way.is_in_progress(participant) {
            true => Err(Rejection::InProgress(tag)),
            false => self.context.check_phase(tag),
        }
    }

    fn wrong_phase(&self, tag: Tag) -> Rejection {
        Rejection::WrongPhase { tag, phase: self.phase() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::settings::tests::settings;
    use crate::coordinator::settings::CountRange;
    use crate::coordinator::{Input, Output, Phase};
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
