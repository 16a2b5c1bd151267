//! What is published about the updates of a finished round, for whoever audits it.

use super::credential::Credential;
use super::entry::{Entry, MOST_ENTRIES};
use super::error::DecodeError;
use super::hash::{AnnouncementsHash, Commitment, Context};
use super::statement::{read_commitments, statement_digest, write_commitments, UpdateHeader};
use super::wire::{is_rising, serde_as_bytes, Reader, Writer};
use crate::crypto::{Digest, PublicSigningKey, Signature};

/// An updater's statement, as it is published: an [`Entry`] without a box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Whose update it is.
    pub updater: PublicSigningKey,
    /// That it may update, where the roster has an authority.
    pub credential: Option<Credential>,
    /// To each group's seed, in the order of the groups.
    pub commitments: Vec<Commitment>,
    /// The tree hash of the masked model: `H(Y)`.
    pub model_root: Digest,
    /// The updater's signature over [`Statement::digest`].
    pub signature: Signature,
}

impl Statement {
    /// What is published of an update.
    pub fn of(header: &UpdateHeader) -> Self {
        Self {
            updater: header.updater,
            credential: header.credential,
            commitments: header.commitments.clone(),
            model_root: header.model_root(),
            signature: header.statement,
        }
    }

    /// What is signed.
    pub fn digest(&self, context: &Context, announcements: &AnnouncementsHash) -> Digest {
        let Self { updater, commitments, model_root, .. } = self;
        statement_digest(context, announcements, updater, commitments, model_root)
    }

    /// Whether the updater has signed it, for this round.
    #[must_use]
    pub fn verify(&self, context: &Context, announcements: &AnnouncementsHash) -> bool {
        self.updater.verify(&self.signature, self.digest(context, announcements).as_bytes())
    }

    fn write(&self, writer: &mut Writer) {
        writer.raw(self.updater.as_bytes());
        writer.option(self.credential.as_ref(), |writer, credential| credential.write(writer));
        write_commitments(writer, &self.commitments);
        writer.raw(self.model_root.as_bytes());
        writer.raw(self.signature.as_bytes());
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            updater: PublicSigningKey::new(reader.array("updater")?),
            credential: reader.option("credential", Credential::read)?,
            commitments: read_commitments(reader)?,
            model_root: Digest::new(reader.array("hash of the masked model")?),
            signature: Signature::new(reader.array("statement")?),
        })
    }

    /// The bytes of a statement on its own.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::versioned(320);
        self.write(&mut writer);
        writer.finish()
    }

    /// Reads the bytes.
    ///
    /// # Errors
    /// If they are not those of a statement.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::versioned("statement", bytes)?;
        let statement = Self::read(&mut reader)?;
        reader.end()?;
        Ok(statement)
    }
}

impl From<Entry> for Statement {
    fn from(entry: Entry) -> Self {
        let Entry { updater, credential, commitments, model_root, statement: signature, .. } =
            entry;
        Self { updater, credential, commitments, model_root, signature }
    }
}

/// The fewest bytes of a statement: no credential, no commitments.
const LEAST_STATEMENT: usize = 32 + 1 + 1 + 32 + 64;

/// A part of the list of statements that a decision is over, sorted by updater.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementsPage {
    /// Of which round.
    pub context: Context,
    /// How many statements there are in all.
    pub total: u64,
    /// The place of the first of these.
    pub from: u64,
    /// The statements, sorted by updater, each once.
    pub statements: Vec<Statement>,
}

impl StatementsPage {
    /// The bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::versioned(52 + self.statements.len() * 320);
        writer.raw(self.context.as_bytes());
        writer.u64(self.total);
        writer.u64(self.from);
        writer.count(self.statements.len());
        self.statements.iter().for_each(|statement| statement.write(&mut writer));
        writer.finish()
    }

    /// Reads the bytes.
    ///
    /// # Errors
    /// If they are not those of a page of statements, or the statements are not sorted.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::versioned("page of statements", bytes)?;
        let page = Self {
            context: Context::new(reader.array("context")?),
            total: reader.u64("total")?,
            from: reader.u64("place")?,
            statements: reader.list(
                LEAST_STATEMENT,
                MOST_ENTRIES,
                "statements",
                Statement::read,
            )?,
        };
        if !is_rising(page.statements.iter().map(|statement| statement.updater)) {
            return Err(reader.malformed("list", "is not sorted, or has an updater twice"));
        }
        let end = page.from.checked_add(page.statements.len() as u64);
        if end.is_none_or(|end| end > page.total) {
            return Err(reader.malformed("place", "is beyond the total"));
        }
        reader.end()?;
        Ok(page)
    }
}

serde_as_bytes!(Statement, StatementsPage);
