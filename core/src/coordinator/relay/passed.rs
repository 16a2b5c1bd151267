//! Messages that go on as a whole: sum, sum2, and chunks.

use bytes::Bytes;

use super::machine::{name, About, Relay, Waiter};
use super::{
    Content, Letter, LetterNumber, Output, PartId, Piece, Rejection, Ticket, Verified, MOST_WAITING,
};
use crate::crypto::PublicSigningKey;
use crate::message::Tag;

/// The most masks of a round that are known to be stored. (Honest sum participants all send the same one.)
const MOST_MASKS: usize = 64;

/// A message that goes on as a whole, until it is answered: it takes up room so long, whether anybody waits or not.
pub(super) struct Passed {
    pub(super) tag: Tag,
    /// Of a chunk there may be others.
    sender: Option<PublicSigningKey>,
    waiters: Vec<Waiter>,
    letter: Letter,
    large: Option<Piece>,
    /// Its large piece, until that is stored.
    piece: Option<Bytes>,
}

impl Passed {
    /// Whether nobody waits for it, and it is of a round that is over.
    pub(super) fn is_over(&self, round: Option<u64>) -> bool {
        let Letter::Message { round_id, .. } = &self.letter else { return true };
        self.waiters.is_empty() && self.piece.is_none() && round.is_some_and(|now| now > *round_id)
    }
}

impl Relay {
    pub(super) fn pass_on(&mut self, ticket: Ticket, message: Verified) {
        let (round_id, tag) = (message.round_id(), message.tag());
        let sender = (!message.is_chunk()).then(|| message.participant());
        if let Some(&number) = sender.as_ref().and_then(|sender| self.senders.get(sender)) {
            return self.pass_on_again(ticket, number, &message);
        }
        let piece = message.large();
        if !self.has_room(piece.as_ref().map_or(0, Bytes::len)) {
            return self.tell(ticket, Err(Rejection::ShardFull));
        }
        let large = piece.is_some().then(|| match message.digest() {
            // Equal masks have one name, at all replicas, so that they are stored once.
            Some(digest) => {
                let round = round_id.to_le_bytes();
                let part = PartId::new(name(&[b"a mask", &round, digest.as_bytes()]));
                Piece { part, is_shared: true }
            }
            None => Piece { part: PartId::new(self.next_name()), is_shared: false },
        });
        let number = self.next_number();
        let waiters = vec![self.wait(ticket, About::Message(number))];
        let letter = Letter::Message { round_id, small: message.to_bytes(), large };
        self.passed.insert(number, Passed { tag, sender, waiters, letter, large, piece: None });
        self.senders.extend(sender.map(|sender| (sender, number)));
        let (Some(large), Some(piece)) = (large, piece) else { return self.post_message(number) };
        if self.masks.contains(&large.part) {
            return self.post_message(number);
        }
        self.bytes += piece.len();
        if let Some(passed) = self.passed.get_mut(&number) {
            passed.piece = Some(piece.clone());
        }
        let waiting = self.storing.entry(large.part).or_default();
        waiting.push(number);
        if waiting.len() == 1 {
            let content = match large.is_shared {
                true => Content::Mask(piece),
                false => Content::Piece(piece),
            };
            self.out.push_back(Output::Store { part: large.part, content });
        }
    }

    /// A message of this sender is under way. The same one again waits for the same answer.
    fn pass_on_again(&mut self, ticket: Ticket, number: LetterNumber, message: &Verified) {
        let bytes = message.to_bytes();
        let is_same = self.passed.get(&number).is_some_and(|passed| {
            passed.waiters.len() < MOST_WAITING
                && matches!(&passed.letter, Letter::Message { small, .. } if *small == bytes)
        });
        if !is_same {
            return self.tell(ticket, Err(Rejection::InProgress(message.tag())));
        }
        let waiter = self.wait(ticket, About::Message(number));
        if let Some(passed) = self.passed.get_mut(&number) {
            passed.waiters.push(waiter);
        }
    }

    fn post_message(&mut self, number: LetterNumber) {
        let Some(passed) = self.passed.get_mut(&number) else { return };
        let (letter, piece) = (passed.letter.clone(), passed.piece.take());
        self.post(number, letter, About::Message(number));
        if let Some(piece) = piece {
            self.release(piece);
        }
    }

    pub(super) fn piece_stored(&mut self, part: PartId) {
        for number in self.storing.remove(&part).unwrap_or_default() {
            let large = self.passed.get(&number).and_then(|passed| passed.large);
            if large.is_some_and(|large| large.is_shared) && self.masks.len() < MOST_MASKS {
                self.masks.insert(part);
            }
            self.post_message(number);
        }
    }

    pub(super) fn piece_not_stored(&mut self, part: &PartId) {
        for number in self.storing.remove(part).unwrap_or_default() {
            self.message_answered(number, Err(Rejection::NotProcessed));
        }
    }

    pub(super) fn message_answered(
        &mut self,
        number: LetterNumber,
        outcome: Result<(), Rejection>,
    ) {
        let Some(Passed { waiters, large, piece, .. }) = self.remove_passed(number) else { return };
        if let (Err(_), Some(large)) = (&outcome, large) {
            // Whatever it was: another one of its name is stored anew.
            self.masks.remove(&large.part);
        }
        if let Some(piece) = piece {
            self.release(piece);
        }
        self.answer(waiters, &outcome);
    }

    pub(super) fn remove_passed(&mut self, number: LetterNumber) -> Option<Passed> {
        let passed = self.passed.remove(&number)?;
        if let Some(sender) = &passed.sender {
            self.senders.remove(sender);
        }
        Some(passed)
    }

    /// Its sender waits no longer. It stays until it is answered: its letter and its piece are in the engine so long.
    pub(super) fn wait_no_longer(&mut self, number: LetterNumber, ticket: Ticket) -> Option<Tag> {
        let passed = self.passed.get_mut(&number)?;
        passed.waiters.retain(|(other, _)| *other != ticket);
        Some(passed.tag)
    }
}
