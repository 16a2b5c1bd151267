#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
#[cfg(test)]
mod explore;
pub mod hints;
#[cfg(any(test, feature = "testing"))]
pub mod memory;
#[cfg(feature = "testing")]
pub mod server;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(feature = "testing")]
pub mod trial;

mod error;
mod names;
mod resolve;
mod types;
mod vault;

use std::{fmt::Debug, future::Future, pin::Pin, time::Duration};

use bytes::Bytes;

pub use error::LedgerError;
pub use names::{EntryHash, Epoch, LetterId, NotAPartName, PartName, Position, ReplicaId};
pub use resolve::{append_surely, resolve, Resolved};
pub use types::{
    verify_chain, Append, Appended, Ask, Beat, Elapsed, Entry, Head, Known, Lease, Letter, Limits,
    Posted, Seen, StoredPart,
};
pub use vault::{Place, Vault, VaultError, LEAST_SECRET};

/// What an engine is asked for, and will answer.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, LedgerError>> + Send + 'a>>;

/// The version of what is stored, and how, in engines. An engine of the version before is taken as it is, so that replicas
/// of two adjacent releases run side by side; a newer one is refused.
pub const SCHEMA: u32 = 1;

/// What replicas share. A ledger is the engine of one federation, seen through one replica's connections.
///
/// All calls have a deadline of their own, and end in an error then. A call whose future is dropped may still have its effect.
/// An error that leaves open whether a write was done is [`LedgerError::Unknown`]; each call says what to do then.
pub trait Ledger: Send + Sync + Debug {
    /// Takes the lease if it is free or has run out, renews it if `ask.replica` holds it, or else tells who does. To be
    /// called again after [`LedgerError::Unknown`]: who holds it already renews it. A renewal ([`Ask::renews`]) of an epoch
    /// that is over, while nobody holds the lease, is [`LedgerError::Fenced`].
    ///
    /// Time is the engine's alone. Who holds a lease has to stop by its own clock before `ttl` has passed since it *asked*;
    /// should it fail to, then its epoch is an old one, and its appends are refused.
    fn lease(&self, ask: Ask) -> Pending<'_, Lease>;

    /// Gives the lease up at once; nothing happens if that replica does not hold it in that epoch. It changes hands by that:
    /// the epoch grows, so that nothing more can be appended in the old one. May be called again.
    fn release(&self, replica: ReplicaId, epoch: Epoch) -> Pending<'_, ()>;

    /// The end of the log, and what else there is to know of it.
    fn head(&self) -> Pending<'_, Head>;

    /// Appends entries and answers letters, all in one transaction, if the epoch is the latest one, and the log's last entry
    /// is at [`Append::after`] and has [`Append::hash`]. Letters that are answered are taken out; answers to letters that are
    /// not there are left out. Without entries it only answers, on the same conditions.
    ///
    /// # Errors
    /// After [`LedgerError::Unknown`] ask [`resolve`], or let [`append_surely`] do all of it.
    fn append(&self, append: Append) -> Pending<'_, Appended>;

    /// Entries in order from the one behind `after`: at most so many, and no more once they are so many bytes long together
    /// (but for the first, which is given whatever its length). Nothing, at the end of the log.
    ///
    /// # Errors
    /// [`LedgerError::Forgotten`] if that entry is not kept any more.
    fn read(&self, after: Position, most: usize, most_bytes: usize) -> Pending<'_, Vec<Entry>>;

    /// Drops the entries in front of a position; those at it and behind it stay. May be called again.
    ///
    /// # Errors
    /// [`LedgerError::Fenced`] if the epoch is not the latest one.
    fn forget(&self, epoch: Epoch, before: Position) -> Pending<'_, ()>;

    /// Posts letters for the leader, whoever that is: all or none. Ids grow in the order in which letters can be read, so
    /// that who has read one has missed none before it.
    ///
    /// A letter with the sender, kind and key of one that waits already is the same: it gets the id of that one, which stays
    /// as it is. So it may be posted again after [`LedgerError::Unknown`]. (An empty key is equal to no other.)
    ///
    /// # Errors
    /// [`LedgerError::Full`] if too many letters wait, of this replica or of all.
    fn post(&self, letters: Vec<Letter>) -> Pending<'_, Vec<LetterId>>;

    /// Letters in order, from the one behind `after`: at most so many, and no more once they are so many bytes long together
    /// (but for the first).
    ///
    /// # Errors
    /// [`LedgerError::Fenced`] if the epoch is not the latest one.
    fn letters(
        &self,
        epoch: Epoch,
        after: LetterId,
        most: usize,
        most_bytes: usize,
    ) -> Pending<'_, Vec<Posted>>;

    /// Answers to letters of this replica, the earliest letter's first. They stay until they are [taken](Ledger::taken).
    fn answers(&self, to: ReplicaId, most: usize) -> Pending<'_, Vec<(LetterId, Bytes)>>;

    /// Takes answers away that have arrived. May be called again.
    fn taken(&self, to: ReplicaId, letters: Vec<LetterId>) -> Pending<'_, ()>;

    /// Says that a replica is alive. To be called before anything is posted, and every few seconds from then on.
    fn beat(&self, beat: Beat) -> Pending<'_, ()>;

    /// The replicas that have beaten, until they are swept.
    fn replicas(&self) -> Pending<'_, Vec<Seen>>;

    /// Drops what belongs to replicas that have not beaten for so long: their letters, answers to them, and their beats. Tells
    /// which replicas those were. May be called again; after [`LedgerError::Unknown`] it is not known which they were, so
    /// that all whose beat is gone from [`Ledger::replicas`] must be taken for lost.
    ///
    /// # Errors
    /// [`LedgerError::Fenced`] if the epoch is not the latest one.
    fn sweep(&self, epoch: Epoch, silent_for: Duration) -> Pending<'_, Vec<ReplicaId>>;

    /// Waits until there is something beyond what is known, or until the time is over; tells whether there is. A hint: it may
    /// be wrong either way, so look in both cases.
    fn changed(&self, known: Known, at_most: Duration) -> Pending<'_, bool>;

    /// The engine's clock, as the time since 1970.
    fn now(&self) -> Pending<'_, Duration>;

    /// What the ledger began with, at most [`Limits::header`] bytes: `new`, if nobody gave it anything before. It stays for
    /// ever. [`Vault`] keeps there what it takes to make its key. May be called again.
    fn header(&self, new: Bytes) -> Pending<'_, Bytes>;
}

/// Large bytes that never change, each under a name.
pub trait Parts: Send + Sync + Debug {
    /// Stores bytes; once this is done they are safe. To store the same bytes again changes nothing, so it may be called
    /// again after [`LedgerError::Unknown`].
    ///
    /// # Errors
    /// [`LedgerError::PartDiffers`] if there are other bytes of that name. (Engines that cannot tell without reading all of it
    /// compare the length and a hash.)
    fn put(&self, name: PartName, bytes: Bytes) -> Pending<'_, ()>;

    /// The bytes, if there are any of that name.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`] if they are there, but not all of them.
    fn get<'a>(&'a self, name: &'a PartName) -> Pending<'a, Option<Bytes>>;

    /// All that there are, with their age by the engine's clock, in the order of their names.
    fn list(&self) -> Pending<'_, Vec<StoredPart>>;

    /// Removes parts; those that are not there are none the less gone. May be called again.
    fn remove<'a>(&'a self, names: &'a [PartName]) -> Pending<'a, ()>;
}
