//! Bounds: what a store has to keep of a coordinator's records, and how much that may be.

use std::collections::BTreeMap;

use pet_core::coordinator::{Record, Settings};
use pet_core::crypto::PublicSigningKey;
use pet_core::message::{MessageId, ReassemblyLimits, SEED_ENTRY_LENGTH};

/// What a record has beside keys, seeds and chunks, at most.
const SMALL: usize = 512;

/// The records of a round that are needed to go on from, as bytes; as a store keeps them that drops what
/// later records replace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    chunks: BTreeMap<PublicSigningKey, (MessageId, usize)>,
    /// All others.
    rest: usize,
}

impl Log {
    /// Adds the next record.
    pub fn record(&mut self, record: &Record) {
        if record.begins_phase() {
            self.chunks.clear();
        }
        match record {
            Record::Chunk { participant, chunk, .. } => {
                let message = (chunk.message_id, 0);
                let entry = self.chunks.entry(*participant).or_insert(message);
                if entry.0 != chunk.message_id {
                    *entry = message;
                }
                entry.1 += record.to_bytes().len();
                return;
            }
            Record::ChunksDropped { participants } => {
                for participant in participants {
                    self.chunks.remove(participant);
                }
                return;
            }
            Record::Sum { participant, .. } | Record::Sum2 { participant, .. } => {
                self.chunks.remove(participant);
            }
            Record::Updates { seeds, .. } => {
                for (participant, _) in seeds {
                    self.chunks.remove(participant);
                }
            }
            Record::RoundBegan { .. } => self.rest = 0,
            _ => {}
        }
        self.rest += record.to_bytes().len();
    }

    /// How many bytes are kept.
    pub fn bytes(&self) -> usize {
        self.chunks.values().map(|(_, bytes)| bytes).sum::<usize>() + self.rest
    }

    /// Checks that no more is kept than the settings allow.
    ///
    /// # Errors
    /// How much it is, and how much it may be.
    pub fn check(&self, settings: &Settings) -> Result<(), (usize, usize)> {
        let (found, most) = (self.bytes(), most_stored(settings));
        match found <= most {
            true => Ok(()),
            false => Err((found, most)),
        }
    }
}

/// The most bytes of split messages in memory: those that were let in, what tiny chunks of theirs come to,
/// and a copy of what is being put together.
pub fn most_in_memory(limits: &ReassemblyLimits) -> usize {
    3 * limits.proven_bytes + 2 * limits.unproven_bytes + 4096
}

/// The most bytes of records, but for models, aggregate and masks.
pub fn most_stored(settings: &Settings) -> usize {
    let Settings { sum, update, sum2, .. } = settings;
    let [summers, updaters, voters] =
        [sum.count.max, update.count.max, sum2.count.max].map(|count| count as usize);
    let phases = 6 * SMALL;
    let dictionaries =
        (summers + voters) * 128 + updaters * (128 + summers * (SEED_ENTRY_LENGTH + 32));
    phases + dictionaries + most_in_memory(&settings.reassembly)
}

/// How many outputs may wait while so many messages have no answer: theirs, and a few for each phase that
/// ends meanwhile.
pub fn most_waiting(unanswered: usize) -> usize {
    unanswered + 64
}
