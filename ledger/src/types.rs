//! What goes in and comes out.

use std::time::Duration;

use bytes::Bytes;

use crate::{EntryHash, Epoch, LedgerError, LetterId, PartName, Position, ReplicaId};

/// The most that an engine takes. The same for all engines, so that what fits one fits the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of one entry.
    pub entry: usize,
    /// Entries that are appended at once.
    pub entries: usize,
    /// Bytes of all entries and answers that are appended at once.
    pub append: usize,
    /// Bytes of the answer to a letter.
    pub answer: usize,
    /// Bytes of a letter: key and body.
    pub letter: usize,
    /// Letters that are posted, or answered, at once.
    pub letters: usize,
    /// Letters of one replica that wait.
    pub waiting_of_one: usize,
    /// Letters that wait.
    pub waiting: usize,
    /// Bytes of a part.
    pub part: usize,
    /// Bytes of the header.
    pub header: usize,
    /// Bytes of a beat: name, address and all else.
    pub beat: usize,
    /// Replicas that are known at one time.
    pub replicas: usize,
}

impl Limits {
    /// The limits.
    pub const ALL: Self = Self {
        entry: 16 << 20,
        entries: 1024,
        append: 32 << 20,
        answer: 64 << 10,
        letter: 4 << 20,
        letters: 1024,
        waiting_of_one: 4096,
        waiting: 16384,
        part: 1 << 30,
        header: 1024,
        beat: 16 << 10,
        replicas: 1000,
    };
}

/// What a replica asks for that would lead, or leads already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Who asks.
    pub replica: ReplicaId,
    /// What people call it.
    pub name: String,
    /// How long the lease is to last from now on, by the engine's clock.
    pub ttl: Duration,
    /// How long the phase has been going on, if that is known. It is stored only if the replica holds the lease.
    pub elapsed: Option<Elapsed>,
    /// If given, the lease is renewed only if the replica holds it in this epoch, and never taken: a call that arrives late
    /// changes nothing once the lease was given up.
    pub renews: Option<Epoch>,
}

/// How long a phase has been going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed {
    /// The log entry that the phase is known by: it goes on, or begins, with the entries up to this one.
    pub at: Position,
    /// How long.
    pub time: Duration,
}

/// What becomes of an [`Ask`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lease {
    /// Who asked holds the lease.
    Held {
        /// In this epoch: a new one if the lease was taken, the same if it was renewed.
        epoch: Epoch,
        /// For so long.
        left: Duration,
    },
    /// Another one holds it.
    HeldBy {
        /// Which one.
        replica: ReplicaId,
        /// What people call it.
        name: String,
        /// In this epoch.
        epoch: Epoch,
        /// For so long, if it is not renewed.
        left: Duration,
    },
}

/// The end of the log, and what else there is to know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The latest epoch: that of the lease, not that of the last entry.
    pub epoch: Epoch,
    /// Where the last entry is.
    pub position: Position,
    /// Its hash.
    pub hash: EntryHash,
    /// Where the first entry is that is kept; one behind the last, if none is.
    pub first: Position,
    /// The hash of the entry in front of the first: what [`verify_chain`] begins with.
    pub before: EntryHash,
    /// How long the phase has been going on, the time included that has passed since a leader said so, by the engine's clock.
    pub elapsed: Option<Elapsed>,
    /// The version of what is stored.
    pub schema: u32,
}

/// Entries to append, and letters to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// The epoch in which the replica leads.
    pub epoch: Epoch,
    /// Where the log ends, as the leader knows it.
    pub after: Position,
    /// The hash of the entry there.
    pub hash: EntryHash,
    /// The entries.
    pub entries: Vec<Bytes>,
    /// The answers to letters.
    pub answers: Vec<(LetterId, Bytes)>,
    /// How long the phase has been going on that these entries lead to, if that is known.
    pub elapsed: Option<Duration>,
}

impl Append {
    /// The entries as they will be in the log.
    pub fn to_entries(&self) -> Vec<Entry> {
        let (mut previous, mut position) = (self.hash, self.after);
        let entries = self.entries.iter().map(|bytes| {
            position = position.later(1);
            previous = EntryHash::of(previous, self.epoch, position, bytes);
            Entry { epoch: self.epoch, position, hash: previous, bytes: bytes.clone() }
        });
        entries.collect()
    }

    /// Where the log ends once this is done, and the hash of the entry there.
    pub fn end(&self) -> (Position, EntryHash) {
        self.to_entries().last().map_or((self.after, self.hash), |last| (last.position, last.hash))
    }

    /// Refuses what is beyond the [limits](Limits).
    ///
    /// # Errors
    /// [`LedgerError::TooLarge`].
    pub fn check(&self) -> Result<(), LedgerError> {
        let limits = Limits::ALL;
        let largest = self.entries.iter().map(Bytes::len).max().unwrap_or(0);
        let answers = self.answers.iter().map(|(_, bytes)| bytes.len());
        let sum = self.entries.iter().map(Bytes::len).chain(answers).sum();
        limit("a log entry's length", largest, limits.entry)?;
        let longest = self.answers.iter().map(|(_, bytes)| bytes.len()).max().unwrap_or(0);
        limit("an answer's length", longest, limits.answer)?;
        limit("the number of entries", self.entries.len(), limits.entries)?;
        limit("the number of answers", self.answers.len(), limits.letters)?;
        limit("the length of entries and answers", sum, limits.append)
    }
}

/// What becomes of an [`Append`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is done, and this is where the log ends now.
    Done(Head),
    /// Nothing is done: the lease has changed hands.
    Fenced {
        /// The latest epoch.
        epoch: Epoch,
    },
    /// Nothing is done: the log does not end where it was thought to end, but here.
    Conflict(Head),
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// In which epoch it was appended.
    pub epoch: Epoch,
    /// Where it is.
    pub position: Position,
    /// Its hash.
    pub hash: EntryHash,
    /// What it says.
    pub bytes: Bytes,
}

/// Checks that entries come one after another, the first behind `after`, and that each has the hash that it must have.
///
/// # Errors
/// [`LedgerError::Damaged`], with the first entry that is wrong.
pub fn verify_chain(
    after: Position,
    hash: EntryHash,
    entries: &[Entry],
) -> Result<(), LedgerError> {
    let (mut position, mut previous, mut epoch) = (after, hash, Epoch(0));
    for entry in entries {
        position = position.later(1);
        let hash = EntryHash::of(previous, entry.epoch, position, &entry.bytes);
        if entry.position != position || entry.hash != hash || entry.epoch < epoch {
            return Err(LedgerError::Damaged { what: format!("entry {position} of the log") });
        }
        (previous, epoch) = (entry.hash, entry.epoch);
    }
    Ok(())
}

/// A letter to whoever leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Who writes.
    pub from: ReplicaId,
    /// What it is about, in the writer's terms.
    pub kind: u8,
    /// What tells it from the writer's other letters of that kind. Empty: nothing does.
    pub key: Bytes,
    /// What it says.
    pub body: Bytes,
}

impl Letter {
    /// Refuses letters that are beyond the [limits](Limits).
    ///
    /// # Errors
    /// [`LedgerError::TooLarge`].
    pub fn check(letters: &[Self]) -> Result<(), LedgerError> {
        let lengths = letters.iter().map(|letter| letter.key.len() + letter.body.len());
        let (largest, sum) = lengths.fold((0, 0), |(most, sum), one| (one.max(most), sum + one));
        limit("a letter's length", largest, Limits::ALL.letter)?;
        limit("the number of letters", letters.len(), Limits::ALL.letters)?;
        limit("the length of letters", sum, Limits::ALL.append)
    }
}

/// A letter that was posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    /// Its number.
    pub id: LetterId,
    /// The letter.
    pub letter: Letter,
}

/// What a replica says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat {
    /// Which one it is.
    pub replica: ReplicaId,
    /// What people call it.
    pub name: String,
    /// Where it can be reached.
    pub address: String,
    /// Anything else.
    pub info: Bytes,
}

impl Beat {
    /// Refuses a beat that is beyond the [limits](Limits).
    ///
    /// # Errors
    /// [`LedgerError::TooLarge`].
    pub fn check(&self) -> Result<(), LedgerError> {
        let length = self.name.len() + self.address.len() + self.info.len();
        limit("a beat's length", length, Limits::ALL.beat)
    }
}

/// A replica that has beaten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What it said last.
    pub beat: Beat,
    /// How long ago that was, by the engine's clock.
    pub age: Duration,
}

/// What is known already: [`Ledger::changed`](crate::Ledger::changed) waits for what is beyond it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Waits for another epoch.
    pub epoch: Epoch,
    /// Waits for entries behind this one.
    pub position: Position,
    /// Waits for letters behind this one, if given.
    pub letters: Option<LetterId>,
    /// Waits for answers for this replica, if given.
    pub answers: Option<ReplicaId>,
}

/// A part that is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPart {
    /// Its name.
    pub name: PartName,
    /// How long ago it was stored, by the engine's clock.
    pub age: Duration,
}

pub(crate) fn limit(what: &'static str, number: usize, most: usize) -> Result<(), LedgerError> {
    if number > most {
        return Err(LedgerError::TooLarge { what, number, most });
    }
    Ok(())
}
