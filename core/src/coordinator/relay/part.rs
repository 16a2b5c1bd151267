//! The part that is being made: models are added to the sum, that is stored, and then recorded.

use std::collections::BTreeMap;
use std::time::Duration;

use super::machine::{About, Relay};
use super::{
    Content, JobResult, Letter, LetterNumber, MaskedModel, Output, PartId, Rejection, Shard,
    ShardSum, Why, LINGER, MOST_IN_PART, MOST_LINGER, RETRY,
};
use crate::crypto::PublicSigningKey;
use crate::job::{JobId, MAX_LOSSES};
use crate::message::Tag;
use crate::time::Timestamp;

/// A part that is being made. There is one at a time, as each replaces the one before.
pub(super) struct UnderWay {
    id: PartId,
    began: Timestamp,
    /// What it adds to the part before.
    models: Vec<MaskedModel>,
    /// The sum with the models; the one before while they are added.
    sum: ShardSum,
    pub(super) making: Making,
}

pub(super) enum Making {
    /// A job adds the models. It was lost so often.
    Adding { job: JobId, losses: u32 },
    /// The sum is on its way into the store.
    Storing,
    /// It is stored, and the machine was told.
    Recording { letter: LetterNumber },
    /// The participants are not reserved any more, and are admitted again.
    AdmittingAgain {
        letters: BTreeMap<PublicSigningKey, LetterNumber>,
        refused: Vec<(PublicSigningKey, Rejection)>,
    },
    /// It came too late, or was recorded before: the log will show it.
    Unclear,
}

impl UnderWay {
    pub(super) fn participants(&self) -> impl DoubleEndedIterator<Item = PublicSigningKey> + '_ {
        self.models.iter().map(MaskedModel::participant)
    }

    pub(super) fn why(&self) -> Why {
        match self.making {
            Making::Adding { .. } => Why::Job,
            Making::Unclear => Why::Log,
            _ => Why::Engine,
        }
    }

    /// Whether this letter asks for the participant's admission once more.
    pub(super) fn awaits(&self, participant: &PublicSigningKey, number: LetterNumber) -> bool {
        match &self.making {
            Making::AdmittingAgain { letters, .. } => letters.get(participant) == Some(&number),
            _ => false,
        }
    }

    /// Whether this letter asks for its record.
    pub(super) fn awaits_record(&self, number: LetterNumber) -> bool {
        matches!(self.making, Making::Recording { letter } if letter == number)
    }
}

impl Relay {
    /// Whether this is the part that is being made.
    pub(super) fn is_making(&self, id: &PartId) -> bool {
        self.part.as_ref().is_some_and(|part| part.id == *id)
    }

    /// Until when those that are reserved wait for others; nothing if there are none, or a part is being made.
    pub(super) fn lingers_until(&self) -> Option<Timestamp> {
        if self.part.is_some() {
            return None;
        }
        self.updates.reserved(0).map(|(_, since, _)| since + self.linger())
    }

    fn linger(&self) -> Duration {
        self.last_took.clamp(LINGER, MOST_LINGER)
    }

    /// Begins to make a part, if it is time to; false if not.
    pub(super) fn begin_part(&mut self) -> bool {
        if self.part.is_some() {
            return false;
        }
        let Some((reserved, since, on_their_way)) = self.updates.reserved(0) else { return false };
        // Whoever is alone need not wait for others. With others about, each of them that comes along saves a part.
        let is_alone = on_their_way == 0 && self.last_count <= 1 && reserved <= 1;
        if reserved < MOST_IN_PART && !is_alone && self.now < since + self.linger() {
            return false;
        }
        let sum = match self.sum.take() {
            Some(sum) => Some(sum),
            None => ShardSum::new(self.shard, &self.front),
        };
        let Some(sum) = sum else { return false };
        self.sum = Some(sum.clone());
        let models = self.updates.take_reserved(MOST_IN_PART);
        self.last_count = models.len();
        let id = PartId::new(self.next_name());
        let making = Making::Adding { job: self.next_job(), losses: 0 };
        self.part = Some(UnderWay { id, began: self.now, models, sum, making });
        self.give_job();
        true
    }

    fn give_job(&mut self) {
        let Some(part) = &self.part else { return };
        let Making::Adding { job, .. } = part.making else { return };
        match part.sum.add(job, &part.models) {
            Ok(job) => self.out.push_back(Output::Job(job)),
            // They were verified, and the machine has counted them.
            Err(_) => self.give_shard_up(Rejection::NotProcessed),
        }
    }

    pub(super) fn job_lost(&mut self) {
        let number = self.next_job();
        let Some(part) = &mut self.part else { return };
        if let Making::Adding { job, losses } = &mut part.making {
            (*job, *losses) = (number, *losses + 1);
            match *losses > MAX_LOSSES {
                true => self.give_shard_up(Rejection::NotProcessed),
                false => self.give_job(),
            }
        }
    }

    pub(super) fn added(&mut self, result: JobResult) {
        let Some(part) = &mut self.part else { return };
        match &part.making {
            Making::Adding { job, .. } if *job == result.id() => {}
            _ => return,
        }
        match part.sum.added(result) {
            Ok(sum) => {
                (part.sum, part.making) = (sum.clone(), Making::Storing);
                let content = Content::Sum(sum);
                self.out.push_back(Output::Store { part: part.id, content });
            }
            Err(_) => self.job_lost(),
        }
    }

    pub(super) fn part_stored(&mut self) {
        if self.part.as_ref().is_some_and(|part| matches!(part.making, Making::Storing)) {
            self.hand_in();
        }
    }

    /// Tells the machine of the part.
    fn hand_in(&mut self) {
        let number = self.next_number();
        if let Some(letter) = self.part_letter() {
            self.make(Making::Recording { letter: number });
            self.post(number, letter, About::Part);
        }
    }

    fn part_letter(&self) -> Option<Letter> {
        let part = self.part.as_ref()?;
        Some(Letter::Part(part.sum.part(part.id, self.last, &part.models)))
    }

    fn make(&mut self, making: Making) {
        if let Some(part) = &mut self.part {
            part.making = making;
        }
    }

    pub(super) fn part_answered(&mut self, number: LetterNumber, outcome: Result<(), Rejection>) {
        if !self.part.as_ref().is_some_and(|part| part.awaits_record(number)) {
            return;
        }
        match outcome {
            Ok(()) => self.recorded(),
            Err(Rejection::NotReserved { .. }) => self.admit_part_again(),
            // The log shows whether the phase ended before or after it was recorded.
            Err(Rejection::PartOver) => self.make(Making::Unclear),
            Err(Rejection::StoreBehind) => {
                let number = self.next_number();
                if let Some(letter) = self.part_letter() {
                    self.make(Making::Recording { letter: number });
                    self.post_later(number, letter, About::Part, RETRY);
                }
            }
            // Whatever has happened, it does not know its own parts: whether these count is not said.
            Err(_) => self.give_shard_up(Rejection::InProgress(Tag::Update)),
        }
    }

    /// The part is recorded: its participants count.
    pub(super) fn recorded(&mut self) {
        let Some(part) = self.part.take() else { return };
        if let Making::Recording { letter } = part.making {
            self.forget(letter);
        }
        for participant in part.participants() {
            self.settle(&participant, &Ok(()));
        }
        let UnderWay { id, began, sum, .. } = part;
        self.last_took = self.now.saturating_since(began);
        (self.sum, self.last) = (Some(sum), Some(id));
    }

    fn admit_part_again(&mut self) {
        let Some(part) = &self.part else { return };
        let participants: Vec<_> = part.participants().collect();
        let mut letters = BTreeMap::new();
        for participant in participants {
            let number = self.next_number();
            let Some(admission) = self.updates.admission(&participant).cloned() else { continue };
            letters.insert(participant, number);
            let letter = Letter::Admit { shard: self.shard, admission };
            self.post(number, letter, About::Update(participant));
        }
        self.make(Making::AdmittingAgain { letters, refused: Vec::new() });
    }

    pub(super) fn admitted_again(
        &mut self,
        participant: PublicSigningKey,
        outcome: Result<(), Rejection>,
    ) {
        let Some(part) = &mut self.part else { return };
        let Making::AdmittingAgain { letters, refused } = &mut part.making else { return };
        letters.remove(&participant);
        if let Err(rejection) = outcome {
            refused.push((participant, rejection));
        }
        if !letters.is_empty() {
            return;
        }
        let refused = std::mem::take(refused);
        if refused.is_empty() {
            // The same part will do.
            return self.hand_in();
        }
        let Some(part) = self.part.take() else { return };
        for (participant, rejection) in refused {
            self.settle(&participant, &Err(rejection));
        }
        // The others are still there, and go into another part.
        self.updates.put_back(part.participants(), self.now, self.epoch);
    }

    /// Begins anew as another shard. Those in the part are told this, all others are admitted again.
    pub(super) fn give_shard_up(&mut self, rejection: Rejection) {
        if let Some(part) = self.part.take() {
            let outcome = Err(rejection);
            part.participants().for_each(|participant| self.settle(&participant, &outcome));
        }
        self.say(Letter::Lost { shard: self.shard });
        let shard = Shard::new(self.next_name());
        self.set_shard(shard);
        (self.sum, self.last, self.last_count) = (None, None, 0);
        self.updates.admit_all();
    }
}
