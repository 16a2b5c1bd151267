//! What the machine makes of what shards say.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::merge::Merge;
use super::{reservations, FetchedPart, Merging, MOST_IN_PART};
use super::{Admission, PartDone, PartFault, PartId, Shard};
use crate::coordinator::phases::Stage;
use crate::coordinator::underway::Running;
use crate::coordinator::{Coordinator, Phase, Record, Reject, Rejection, RoundFailure, Ticket};
use crate::job::JobKind;
use crate::mask::Aggregation;
use crate::message::Tag;

/// Reservations and parts.
impl Coordinator {
    pub(in crate::coordinator) fn handle_admission(
        &mut self,
        ticket: Ticket,
        shard: Shard,
        admission: Admission,
    ) {
        match self.admit(shard, admission) {
            // There is nothing to store.
            Ok(()) => self.outbox.reply_at_once(ticket),
            Err(rejection) => self.reply(Some(ticket), Err(rejection)),
        }
    }

    fn admit(&mut self, shard: Shard, admission: Admission) -> Result<(), Rejection> {
        let Admission { round_id, participant, seeds } = admission;
        let stage = match self.state.stage() {
            Stage::Update(stage) if round_id == self.round_id() => stage,
            _ => return Err(Rejection::WrongPhase { tag: Tag::Update, phase: self.phase() }),
        };
        self.context.check_phase(Tag::Update)?;
        let (round, under_way) = (self.state.round(), &self.under_way);
        let reserved = under_way.reservations().of(&shard);
        if reserved.and_then(|reserved| reserved.get(&participant)) == Some(&seeds) {
            // The same letter again: the answer to the first was lost, or whoever wrote it does not know that it is reserved.
            return Ok(());
        }
        let is_under_way = under_way.is_in_progress(&participant);
        stage.admit(
            &participant,
            is_under_way,
            under_way.updates(),
            self.elapsed(),
            round,
            &self.settings,
        )?;
        if !stage.has_seed_for_each(&seeds) {
            return Err(Rejection::SeedDictMismatch);
        }
        if !under_way.reservations().has_room(&shard) || !self.state.parts().has_room(&shard) {
            return Err(Rejection::ShardFull);
        }
        self.under_way.reservations_mut().reserve(shard, participant, seeds);
        Ok(())
    }

    pub(in crate::coordinator) fn handle_part(&mut self, ticket: Ticket, done: PartDone) {
        let outcome = match self.take_part(&done) {
            Ok(None) => Ok(()),
            Ok(Some(record)) => {
                self.record(record);
                self.under_way.reservations_mut().end(&done.shard, &done.participants);
                Ok(())
            }
            Err(rejection) => Err(rejection),
        };
        self.reply(Some(ticket), outcome);
    }

    /// What is made of a part; nothing if it is recorded already.
    fn take_part(&self, done: &PartDone) -> Result<Option<Record>, Rejection> {
        let PartDone { round_id, shard, part, predecessor, participants, models } = done;
        let Stage::Update(stage) = self.state.stage() else { return Err(Rejection::PartOver) };
        if *round_id != self.round_id() || self.phase() != Phase::Update {
            return Err(Rejection::PartOver);
        }
        let senders: BTreeSet<_> = participants.iter().take(MOST_IN_PART + 1).collect();
        if senders.is_empty()
            || participants.len() > MOST_IN_PART
            || senders.len() < participants.len()
        {
            return Err(Rejection::PartCount);
        }
        let before = self.state.parts().of(shard);
        if before.is_some_and(|before| before.part == *part && before.models == *models) {
            // The answer was lost: with the machine that gave it, or on the way.
            let all_count = participants.iter().all(|participant| stage.counts(participant));
            return if all_count { Ok(None) } else { Err(Rejection::PartPredecessor) };
        }
        let (parts, follows) =
            (self.state.parts(), before.map(|before| before.part) == *predecessor);
        if !follows || !parts.has_room(shard) || parts.has_part(part) {
            return Err(Rejection::PartPredecessor);
        }
        let all = before.map_or(0, |before| before.models) + participants.len() as u64;
        if *models != all {
            return Err(Rejection::PartCount);
        }
        let reserved = self.under_way.reservations().of(shard);
        let seeds = participants.iter().map(|participant| {
            match reserved.and_then(|reserved| reserved.get(participant)) {
                Some(seeds) => Ok((*participant, seeds.clone())),
                None => Err(Rejection::NotReserved { participant: *participant }),
            }
        });
        let seeds = seeds.collect::<Result<_, _>>()?;
        let (shard, part, predecessor) = (*shard, *part, *predecessor);
        Ok(Some(Record::Part { shard, part, predecessor, seeds }))
    }

    pub(in crate::coordinator) fn lose_shard(&mut self, shard: &Shard) {
        let lost = self.under_way.reservations_mut().lose(shard);
        self.release(reservations::bytes(&lost), lost);
    }
}

/// Adding the parts up.
impl Coordinator {
    /// Adds the parts up, if there are any: as soon as they are all known, though the sum is needed later only.
    pub(in crate::coordinator) fn merge(&mut self) {
        let own = match self.state.stage() {
            Stage::Sum2(sum2) => sum2.aggregation(),
            Stage::Unmask(unmask) => unmask.aggregation(),
            _ => return,
        };
        if self.state.parts().is_empty() || self.under_way.merging().is_some() {
            return;
        }
        let merging = Merging::new(self.state.parts(), own.cloned(), self.state.round());
        *self.under_way.merging() = Some(merging);
        self.go_on_merging();
    }

    fn go_on_merging(&mut self) {
        while let Some(part) = self.under_way.merging().as_mut().and_then(Merging::next) {
            self.outbox.fetch(part);
        }
        let round = self.state.round();
        let shape = (round.parameters.mask_config, round.model_length());
        let Some(merging) = self.under_way.merging() else { return };
        if merging.running == 0 && !merging.fetched.is_empty() {
            let fetched = std::mem::take(&mut merging.fetched);
            merging.running = fetched.len();
            let work = Merge::new(shape, merging.sum.clone(), &fetched);
            self.job(work, Running::Merge(fetched));
        } else if merging.is_done() {
            if let Some(Merging { sum, .. }) = self.under_way.merging().take() {
                self.record(Record::Merged { aggregation: sum });
                self.unmask();
            }
        }
    }

    pub(in crate::coordinator) fn handle_fetched(
        &mut self,
        part: PartId,
        bytes: Option<Bytes>,
    ) -> Result<(), Reject> {
        let expected = self.under_way.merging().as_mut().and_then(|merging| merging.take(&part));
        let (expected, bytes) = match (expected, bytes) {
            (Some(expected), Some(bytes)) => (expected, bytes),
            (Some(_), None) => {
                self.fail(RoundFailure::PartLost { part, fault: PartFault::Missing });
                return Ok(());
            }
            (None, bytes) => {
                let bytes = bytes.unwrap_or_default();
                self.release(bytes.len(), bytes);
                return Err(Reject::UnknownPart(part));
            }
        };
        if let Some(merging) = self.under_way.merging() {
            merging.fetched.push(FetchedPart { part, expected, bytes });
        }
        self.go_on_merging();
        Ok(())
    }

    pub(in crate::coordinator) fn merged(
        &mut self,
        parts: Vec<FetchedPart>,
        outcome: Result<Arc<Aggregation>, (PartId, PartFault)>,
    ) {
        self.release(parts.iter().map(|part| part.bytes.len()).sum(), parts);
        match outcome {
            Ok(sum) => {
                self.under_way.not_lost();
                if let Some(merging) = self.under_way.merging() {
                    merging.running = 0;
                    let old = merging.sum.replace(sum);
                    self.release(old.as_ref().map_or(0, |old| old.len() * 8), old);
                }
                self.go_on_merging();
            }
            Err((part, fault)) => self.fail(RoundFailure::PartLost { part, fault }),
        }
    }

    /// The job that had these parts was lost.
    pub(in crate::coordinator) fn merge_again(&mut self, mut parts: Vec<FetchedPart>) {
        if self.give_out_again(JobKind::Merge) {
            if let Some(merging) = self.under_way.merging() {
                merging.running = 0;
                parts.append(&mut merging.fetched);
                merging.fetched = parts;
            }
            self.go_on_merging();
        }
    }
}
