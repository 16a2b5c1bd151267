//! What a member fetches of each update, and checks.

use std::fmt;

use super::credential::Credential;
use super::error::DecodeError;
use super::hash::{AnnouncementsHash, Commitment, Context};
use super::roster::Roster;
use super::seeds::{commitment, GroupSeed, SealedGroupSeed};
use super::statement::{read_commitments, statement_digest, write_commitments, UpdateHeader};
use super::terms::Terms;
use super::wire::{is_rising, serde_as_bytes, Reader, Writer};
use crate::crypto::{Digest, EncryptKeyPair, PublicSigningKey, Signature};

/// The most entries of a page.
pub const MOST_ENTRIES: usize = 1024;

/// An update, as one member sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Whose update it is.
    pub updater: PublicSigningKey,
    /// That it may update, where the roster has an authority.
    pub credential: Option<Credential>,
    /// To each group's seed, in the order of the groups.
    pub commitments: Vec<Commitment>,
    /// The tree hash of the masked model: `H(Y)`.
    pub model_root: Digest,
    /// The updater's signature over [`Entry::statement_digest`].
    pub statement: Signature,
    /// The seed of the member's group, sealed to the member.
    pub sealed: SealedGroupSeed,
}

/// What a member has against an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Accusation {
    /// The box does not open.
    Box,
    /// The box has a seed that was not committed to.
    Commitment,
    /// The statement is not signed by the updater for this round, or has not one commitment for each group.
    Statement,
    /// The updater is not admitted.
    Credential,
}

impl Accusation {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Box, Self::Commitment, Self::Statement, Self::Credential];

    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Box => 1,
            Self::Commitment => 2,
            Self::Statement => 3,
            Self::Credential => 4,
        }
    }

    /// A short, stable name.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Box => "box",
            Self::Commitment => "commitment",
            Self::Statement => "statement",
            Self::Credential => "credential",
        }
    }
}

impl fmt::Display for Accusation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Box => "its box does not open",
            Self::Commitment => "its box has another seed than was committed to",
            Self::Statement => "its statement is not signed by it for this round",
            Self::Credential => "it is not admitted",
        })
    }
}

impl Entry {
    /// What one member sees of an update: the box at this place of the header. `None` if there is none.
    pub fn of(header: &UpdateHeader, position: usize) -> Option<Self> {
        Some(Self {
            updater: header.updater,
            credential: header.credential,
            commitments: header.commitments.clone(),
            model_root: header.model_root(),
            statement: header.statement,
            sealed: *header.boxes.get(position)?,
        })
    }

    /// What the statement is a signature over, and what stands for the update in a decision.
    pub fn statement_digest(&self, context: &Context, announcements: &AnnouncementsHash) -> Digest {
        let Self { updater, commitments, model_root, .. } = self;
        statement_digest(context, announcements, updater, commitments, model_root)
    }

    /// Checks the entry as a member of this group, whose announced key these keys are; the seed that was in the box.
    /// About 0.15 ms: two signatures and a box.
    ///
    /// # Errors
    /// What to accuse the updater of.
    pub fn check(
        &self,
        roster: &Roster,
        terms: &Terms,
        context: &Context,
        announcements: &AnnouncementsHash,
        group: u8,
        keys: &EncryptKeyPair,
    ) -> Result<GroupSeed, Accusation> {
        let updater = &self.updater;
        if self.commitments.len() != roster.groups().len() {
            return Err(Accusation::Statement);
        }
        let committed = self.commitments.get(usize::from(group)).ok_or(Accusation::Statement)?;
        let credential = self.credential.as_ref();
        if roster.admission().check(updater, credential, terms.opened_at).is_err() {
            return Err(Accusation::Credential);
        }
        let digest = self.statement_digest(context, announcements);
        if !updater.verify(&self.statement, digest.as_bytes()) {
            return Err(Accusation::Statement);
        }
        let seed = self.sealed.open(keys).map_err(|_| Accusation::Box)?;
        match *committed == commitment(context, announcements, updater, group, &seed) {
            true => Ok(seed),
            false => Err(Accusation::Commitment),
        }
    }

    fn write(&self, writer: &mut Writer) {
        writer.raw(self.updater.as_bytes());
        writer.option(self.credential.as_ref(), |writer, credential| credential.write(writer));
        write_commitments(writer, &self.commitments);
        writer.raw(self.model_root.as_bytes());
        writer.raw(self.statement.as_bytes());
        writer.raw(self.sealed.as_bytes());
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            updater: PublicSigningKey::new(reader.array("updater")?),
            credential: reader.option("credential", Credential::read)?,
            commitments: read_commitments(reader)?,
            model_root: Digest::new(reader.array("hash of the masked model")?),
            statement: Signature::new(reader.array("statement")?),
            sealed: SealedGroupSeed::new(reader.array("box")?),
        })
    }

    /// The bytes of an entry on its own.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::versioned(400);
        self.write(&mut writer);
        writer.finish()
    }

    /// Reads the bytes.
    ///
    /// # Errors
    /// If they are not those of an entry.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::versioned("entry", bytes)?;
        let entry = Self::read(&mut reader)?;
        reader.end()?;
        Ok(entry)
    }
}

/// The fewest bytes of an entry: no credential, no commitments.
const LEAST_ENTRY: usize = 32 + 1 + 1 + 32 + 64 + 80;

/// A part of the list of entries for one member, sorted by updater.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntriesPage {
    /// Of which round.
    pub context: Context,
    /// How many entries there are in all.
    pub total: u64,
    /// The place of the first of these.
    pub from: u64,
    /// The entries, sorted by updater, each once.
    pub entries: Vec<Entry>,
}

impl EntriesPage {
    /// The bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::versioned(52 + self.entries.len() * 400);
        writer.raw(self.context.as_bytes());
        writer.u64(self.total);
        writer.u64(self.from);
        writer.count(self.entries.len());
        self.entries.iter().for_each(|entry| entry.write(&mut writer));
        writer.finish()
    }

    /// Reads the bytes.
    ///
    /// # Errors
    /// If they are not those of a page of entries, or the entries are not sorted.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::versioned("page of entries", bytes)?;
        let page = Self {
            context: Context::new(reader.array("context")?),
            total: reader.u64("total")?,
            from: reader.u64("place")?,
            entries: reader.list(LEAST_ENTRY, MOST_ENTRIES, "entries", Entry::read)?,
        };
        if !is_rising(page.entries.iter().map(|entry| entry.updater)) {
            return Err(reader.malformed("list", "is not sorted, or has an updater twice"));
        }
        let end = page.from.checked_add(page.entries.len() as u64);
        if end.is_none_or(|end| end > page.total) {
            return Err(reader.malformed("place", "is beyond the total"));
        }
        reader.end()?;
        Ok(page)
    }
}

serde_as_bytes!(Entry, EntriesPage);
