//! What an updater signs about its masked model, and the header of its upload that carries it.

use thiserror::Error;

use super::announcement::Announcements;
use super::credential::{AdmissionError, Credential};
use super::error::{Blame, DecodeError};
use super::hash::{AnnouncementsHash, Commitment, Context, Label, PartsHash};
use super::roster::{Roster, MOST_GROUPS, MOST_MEMBERS};
use super::seeds::SealedGroupSeed;
use super::terms::Terms;
use super::wire::{serde_as_bytes, Reader, Writer};
use crate::crypto::{Digest, PublicSigningKey, Signature, SigningKeyPair};

pub use crate::mask::tree::{leaf_count, TREE_LEAF};

/// The root of a tree hash: over the length, and all leaves one after another.
pub(super) fn tree_root(label: Label, object_len: u64, leaves: &[Digest]) -> Digest {
    let mut hash = PartsHash::new(label);
    hash.part(&object_len.to_le_bytes());
    hash.begin(leaves.len() as u64 * Digest::LENGTH as u64);
    leaves.iter().for_each(|leaf| hash.more(leaf.as_bytes()));
    hash.finish()
}

/// The tree hash of a masked model, `H(Y)`.
pub fn model_root(object_len: u64, leaves: &[Digest]) -> Digest {
    tree_root(Label::MaskedModel, object_len, leaves)
}

/// What an updater's statement is a signature over. It is also what stands for the update in a
/// [`Decision`](super::Decision).
pub fn statement_digest(
    context: &Context,
    announcements: &AnnouncementsHash,
    updater: &PublicSigningKey,
    commitments: &[Commitment],
    model_root: &Digest,
) -> Digest {
    let mut hash = PartsHash::new(Label::Statement);
    hash.part(context.as_bytes());
    hash.part(announcements.as_bytes());
    hash.part(updater.as_bytes());
    commitments.iter().for_each(|commitment| hash.part(commitment.as_bytes()));
    hash.part(model_root.as_bytes());
    hash.finish()
}

/// The beginning of an updater's upload: everything but the masked model itself, whose leaves it has the hashes of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateHeader {
    /// Whose update it is.
    pub updater: PublicSigningKey,
    /// That it may update, where the roster has an authority.
    pub credential: Option<Credential>,
    /// To each group's seed, in the order of the groups.
    pub commitments: Vec<Commitment>,
    /// How many bytes the masked model has.
    pub object_len: u64,
    /// The hash of each [`TREE_LEAF`] bytes of it.
    pub leaves: Vec<Digest>,
    /// The updater's signature over [`UpdateHeader::statement_digest`].
    pub statement: Signature,
    /// The seed of its group for each announced member, in the order of the announcements.
    pub boxes: Vec<SealedGroupSeed>,
}

/// Why an update is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum UpdateRefusal {
    /// The updater may not update.
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    /// Not one commitment for each group.
    #[error(
        "the update of {updater} has {found} commitments, and the roster has {expected} groups"
    )]
    Commitments {
        /// The updater.
        updater: PublicSigningKey,
        /// How many there are.
        found: usize,
        /// How many there should be.
        expected: usize,
    },
    /// Not one box for each announced member.
    #[error("the update of {updater} has {found} boxes, and {expected} members have announced themselves")]
    Boxes {
        /// The updater.
        updater: PublicSigningKey,
        /// How many there are.
        found: usize,
        /// How many there should be.
        expected: usize,
    },
    /// A masked model of another length, or not as many leaves as its length asks for.
    #[error(
        "the masked model of {updater} has {found} bytes in {leaves} leaves, and this round's have {expected} bytes"
    )]
    Length {
        /// The updater.
        updater: PublicSigningKey,
        /// How many bytes it has.
        found: u64,
        /// In how many leaves.
        leaves: usize,
        /// How many bytes it should have.
        expected: u64,
    },
    /// Not the updater's signature, or over something else.
    #[error(
        "the statement of {updater} is not signed by it for this round and these announcements: it is forged, or from \
         another round"
    )]
    Statement {
        /// The updater.
        updater: PublicSigningKey,
    },
}

impl UpdateRefusal {
    /// Who is to blame.
    pub fn blame(&self) -> Blame {
        match self {
            Self::Admission(error) => error.blame(),
            Self::Commitments { updater, .. }
            | Self::Boxes { updater, .. }
            | Self::Length { updater, .. }
            | Self::Statement { updater } => Blame::Updater(*updater),
        }
    }
}

const WHAT: &str = "update";

impl UpdateHeader {
    /// Signs the statement: `statement` becomes the signature of `keys` over what the header says. The
    /// header's `updater` must be the public half of `keys`.
    pub fn sign(
        &mut self,
        keys: &SigningKeyPair,
        context: &Context,
        announcements: &AnnouncementsHash,
    ) {
        debug_assert_eq!(self.updater, keys.public());
        self.statement = keys.sign(self.statement_digest(context, announcements).as_bytes());
    }

    /// The tree hash of the masked model: `H(Y)`.
    pub fn model_root(&self) -> Digest {
        model_root(self.object_len, &self.leaves)
    }

    /// What the statement is a signature over.
    pub fn statement_digest(&self, context: &Context, announcements: &AnnouncementsHash) -> Digest {
        let root = self.model_root();
        statement_digest(context, announcements, &self.updater, &self.commitments, &root)
    }

    /// Whether the update may be taken in a round with these terms and announcements. Two signatures at most:
    /// about 0.1 ms.
    ///
    /// # Errors
    /// Why not.
    pub fn verify(
        &self,
        roster: &Roster,
        terms: &Terms,
        announcements: &Announcements,
    ) -> Result<(), UpdateRefusal> {
        let updater = self.updater;
        let (found, expected) = (self.commitments.len(), roster.groups().len());
        if found != expected {
            return Err(UpdateRefusal::Commitments { updater, found, expected });
        }
        let (found, expected) = (self.boxes.len(), announcements.list().len());
        if found != expected {
            return Err(UpdateRefusal::Boxes { updater, found, expected });
        }
        let (found, leaves, expected) = (self.object_len, self.leaves.len(), terms.object_len());
        if found != expected || leaves as u64 != leaf_count(found) {
            return Err(UpdateRefusal::Length { updater, found, leaves, expected });
        }
        roster.admission().check(&updater, self.credential.as_ref(), terms.opened_at)?;
        let digest = self.statement_digest(&terms.context(), &announcements.digest());
        match updater.verify(&self.statement, digest.as_bytes()) {
            true => Ok(()),
            false => Err(UpdateRefusal::Statement { updater }),
        }
    }

    /// The bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::versioned(
            256 + 32 * (self.commitments.len() + self.leaves.len())
                + SealedGroupSeed::LENGTH * self.boxes.len(),
        );
        writer.raw(self.updater.as_bytes());
        writer.option(self.credential.as_ref(), |writer, credential| credential.write(writer));
        write_commitments(&mut writer, &self.commitments);
        writer.u64(self.object_len);
        write_leaves(&mut writer, &self.leaves);
        writer.raw(self.statement.as_bytes());
        writer.count(self.boxes.len());
        self.boxes.iter().for_each(|sealed| writer.raw(sealed.as_bytes()));
        writer.finish()
    }

    /// Reads the bytes.
    ///
    /// # Errors
    /// If they are not those of the header of an update.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::versioned(WHAT, bytes)?;
        let header = Self {
            updater: PublicSigningKey::new(reader.array("updater")?),
            credential: reader.option("credential", Credential::read)?,
            commitments: read_commitments(&mut reader)?,
            object_len: reader.u64("length")?,
            leaves: read_leaves(&mut reader)?,
            statement: Signature::new(reader.array("statement")?),
            boxes: reader.list(
                SealedGroupSeed::LENGTH,
                MOST_GROUPS * MOST_MEMBERS,
                "boxes",
                |reader| reader.array("boxes").map(SealedGroupSeed::new),
            )?,
        };
        reader.end()?;
        Ok(header)
    }
}

serde_as_bytes!(UpdateHeader);

/// The most leaves that a mask object has.
const MOST_LEAVES: usize = 1 << 17;

pub(super) fn write_leaves(writer: &mut Writer, leaves: &[Digest]) {
    writer.count(leaves.len());
    leaves.iter().for_each(|leaf| writer.raw(leaf.as_bytes()));
}

pub(super) fn read_leaves(reader: &mut Reader<'_>) -> Result<Vec<Digest>, DecodeError> {
    reader.list(Digest::LENGTH, MOST_LEAVES, "leaves", |reader| {
        reader.array("leaves").map(Digest::new)
    })
}

pub(super) fn write_commitments(writer: &mut Writer, commitments: &[Commitment]) {
    writer.u8(commitments.len() as u8);
    commitments.iter().for_each(|commitment| writer.raw(commitment.as_bytes()));
}

pub(super) fn read_commitments(reader: &mut Reader<'_>) -> Result<Vec<Commitment>, DecodeError> {
    let count = usize::from(reader.u8("commitments")?);
    if count > MOST_GROUPS {
        return Err(reader.malformed("commitments", "are more than a roster has groups"));
    }
    (0..count).map(|_| reader.array("commitments").map(Commitment::new)).collect()
}
