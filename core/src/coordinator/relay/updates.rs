//! Updates that are held until they are in a part that is recorded.

use std::collections::{BTreeMap, VecDeque};

use super::machine::{About, Relay, Waiter};
use super::part::Making;
use super::{Admission, Letter, LetterNumber, MaskedModel, Rejection, Ticket, MOST_WAITING};
use crate::crypto::PublicSigningKey;
use crate::message::Tag;
use crate::time::Timestamp;

/// The updates that are held.
#[derive(Default)]
pub(super) struct Updates {
    held: BTreeMap<PublicSigningKey, Held>,
    /// Whose admission is to be asked for.
    to_admit: VecDeque<PublicSigningKey>,
    /// Who is reserved and in no part yet, the first first.
    reserved: VecDeque<PublicSigningKey>,
    /// Those of a phase that is over, and what they are told.
    over: VecDeque<(BTreeMap<PublicSigningKey, Held>, Rejection)>,
}

/// A verified update.
pub(super) struct Held {
    admission: Admission,
    pub(super) model: MaskedModel,
    waiters: Vec<Waiter>,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It is to be asked whether it is admitted.
    Waiting,
    /// That was asked.
    Admitting(LetterNumber),
    /// It is reserved, since then, by the machine of this epoch.
    Reserved(Timestamp, u64),
    /// It is in the part that is being made.
    InPart,
}

impl Updates {
    pub(super) fn len(&self) -> usize {
        let over: usize = self.over.iter().map(|(over, _)| over.len()).sum();
        self.held.len() + over
    }

    pub(super) fn wait_no_longer(&mut self, participant: &PublicSigningKey, ticket: Ticket) {
        if let Some(held) = self.held.get_mut(participant) {
            held.waiters.retain(|(other, _)| *other != ticket);
        }
    }

    /// Whether this letter asks for the participant's admission.
    pub(super) fn awaits(&self, participant: &PublicSigningKey, number: LetterNumber) -> bool {
        let held = self.held.get(participant);
        held.is_some_and(|held| held.stage == Stage::Admitting(number))
    }

    /// How many are reserved, since when the first is, and how many others are on their way.
    pub(super) fn reserved(&self, in_part: usize) -> Option<(usize, Timestamp, usize)> {
        let first = self.held.get(self.reserved.front()?)?;
        let Stage::Reserved(since, _) = first.stage else { return None };
        let reserved = self.reserved.len();
        Some((reserved, since, self.held.len().saturating_sub(reserved + in_part)))
    }

    /// The first ones that are reserved go into a part.
    pub(super) fn take_reserved(&mut self, most: usize) -> Vec<MaskedModel> {
        let taken: Vec<_> = self.reserved.drain(..most.min(self.reserved.len())).collect();
        let models = taken.into_iter().filter_map(|participant| {
            let held = self.held.get_mut(&participant)?;
            held.stage = Stage::InPart;
            Some(held.model.clone())
        });
        models.collect()
    }

    /// The part is not made: these are reserved still.
    pub(super) fn put_back(
        &mut self,
        participants: impl DoubleEndedIterator<Item = PublicSigningKey>,
        now: Timestamp,
        epoch: u64,
    ) {
        for participant in participants.rev() {
            if let Some(held) = self.held.get_mut(&participant) {
                held.stage = Stage::Reserved(now, epoch);
                self.reserved.push_front(participant);
            }
        }
    }

    pub(super) fn admission(&self, participant: &PublicSigningKey) -> Option<&Admission> {
        self.held.get(participant).map(|held| &held.admission)
    }

    /// All must be admitted again.
    pub(super) fn admit_all(&mut self) {
        self.reserved.clear();
        self.to_admit.clear();
        for (participant, held) in &mut self.held {
            held.stage = Stage::Waiting;
            self.to_admit.push_back(*participant);
        }
    }
}

impl Relay {
    pub(super) fn take_update(&mut self, ticket: Ticket, admission: Admission, model: MaskedModel) {
        let phase = self.front.phase();
        if !super::machine::takes_updates(phase) {
            return self.tell(ticket, Err(Rejection::WrongPhase { tag: Tag::Update, phase }));
        }
        let participant = admission.participant();
        if let Some(held) = self.updates.held.get(&participant) {
            // The same message again waits for the same answer.
            if held.admission != admission || held.waiters.len() >= MOST_WAITING {
                return self.tell(ticket, Err(Rejection::InProgress(Tag::Update)));
            }
            let waiter = self.wait(ticket, About::Update(participant));
            if let Some(held) = self.updates.held.get_mut(&participant) {
                held.waiters.push(waiter);
            }
            return;
        }
        if !self.has_room(model.bytes()) {
            return self.tell(ticket, Err(Rejection::ShardFull));
        }
        self.bytes += model.bytes();
        let waiters = vec![self.wait(ticket, About::Update(participant))];
        let held = Held { admission, model, waiters, stage: Stage::Waiting };
        self.updates.held.insert(participant, held);
        self.updates.to_admit.push_back(participant);
    }

    /// Asks for the next admission; false if there is none to ask for.
    pub(super) fn admit_next(&mut self) -> bool {
        // Those that another machine has reserved are the first.
        let epoch = self.epoch;
        let first = self.updates.reserved.front().and_then(|first| self.updates.held.get(first));
        let is_old = |held: &Held| matches!(held.stage, Stage::Reserved(_, of) if of != epoch);
        let next = match first.is_some_and(is_old) {
            true => self.updates.reserved.pop_front(),
            false => self.updates.to_admit.pop_front(),
        };
        let Some(participant) = next else { return false };
        let number = self.next_number();
        let Some(held) = self.updates.held.get_mut(&participant) else { return true };
        if !matches!(held.stage, Stage::Waiting | Stage::Reserved(..)) {
            return true;
        }
        held.stage = Stage::Admitting(number);
        let letter = Letter::Admit { shard: self.shard, admission: held.admission.clone() };
        self.post(number, letter, About::Update(participant));
        true
    }

    pub(super) fn admission_answered(
        &mut self,
        number: LetterNumber,
        participant: PublicSigningKey,
        outcome: Result<(), Rejection>,
    ) {
        if self.part.as_ref().is_some_and(|part| part.awaits(&participant, number)) {
            return self.admitted_again(participant, outcome);
        }
        if !self.updates.awaits(&participant, number) {
            return;
        }
        match outcome {
            Ok(()) => {
                let (now, epoch) = (self.now, self.epoch);
                if let Some(held) = self.updates.held.get_mut(&participant) {
                    held.stage = Stage::Reserved(now, epoch);
                    self.updates.reserved.push_back(participant);
                }
            }
            Err(rejection) => self.settle(&participant, &Err(rejection)),
        }
    }

    /// What became of an update is known.
    pub(super) fn settle(
        &mut self,
        participant: &PublicSigningKey,
        outcome: &Result<(), Rejection>,
    ) {
        if let Some(held) = self.updates.held.remove(participant) {
            self.settle_held(held, outcome);
        }
    }

    fn settle_held(&mut self, held: Held, outcome: &Result<(), Rejection>) {
        let Held { model, waiters, .. } = held;
        self.answer(waiters, outcome);
        self.release(model.object);
    }

    /// The log shows that the phase is over: what is not recorded by now never will be.
    pub(super) fn end_updates(&mut self, complete: bool) {
        let phase = self.front.phase();
        if let Some(part) = self.part.take() {
            // Whether it was recorded may have been in what was not read.
            if !complete && matches!(part.making, Making::Recording { .. } | Making::Unclear) {
                let unclear = Err(Rejection::InProgress(Tag::Update));
                part.participants().for_each(|participant| self.settle(&participant, &unclear));
            }
        }
        (self.sum, self.last, self.last_count) = (None, None, 0);
        self.updates.reserved.clear();
        self.updates.to_admit.clear();
        let over = std::mem::take(&mut self.updates.held);
        if !over.is_empty() {
            let rejection = Rejection::WrongPhase { tag: Tag::Update, phase };
            self.updates.over.push_back((over, rejection));
        }
    }

    /// Tells the next one that came too late; false if there is none.
    pub(super) fn end_next(&mut self) -> bool {
        let Some((over, rejection)) = self.updates.over.front_mut() else { return false };
        match over.pop_first() {
            Some((_, held)) => {
                let outcome = Err(rejection.clone());
                self.settle_held(held, &outcome);
            }
            None => drop(self.updates.over.pop_front()),
        }
        true
    }
}
