//! Roster files: who takes part in a federation of v2, in a form that people read, and who has agreed to it.
//!
//! A roster file is TOML or JSON. Only the groups' names, the members' keys and the admission are part of the roster, and
//! so of its hash; each member's signature over that hash stands beside its key.

mod file;
mod text;

use std::{
    io,
    path::{Path, PathBuf},
};

use pet_core::{
    crypto::{PublicSigningKey, Signature, SigningKeyPair},
    v2::{consent, Group, InvalidRoster, MemberId, Roster, RosterHash},
};
use thiserror::Error;

/// No roster file is as long as this: the longest list of updaters has half of it.
const LONGEST: u64 = 16 << 20;

/// What a roster file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RosterFile {
    roster: Roster,
    /// In the order of the roster's members.
    signatures: Vec<Option<Signature>>,
}

/// Whether a member has agreed to a roster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent {
    /// It has signed the roster's hash.
    Signed,
    /// There is no signature.
    Missing,
    /// What stands there is no signature of this member over this roster: the roster was changed after it had signed, or it
    /// is a forgery.
    Invalid,
}

/// Why a roster file cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RosterFileError {
    /// It cannot be read or written.
    #[error("cannot {action} the roster file {}: {source}", path.display())]
    Io {
        /// What was to be done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// It is neither TOML nor JSON, or something is missing in it.
    #[error("{} is no roster file: {problem}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and where.
        problem: String,
    },
    /// The groups and the admission in it are no roster.
    #[error("the roster in {} is not valid: {source}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The rule that is broken.
        source: InvalidRoster,
    },
}

/// Why somebody cannot sign a roster.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the key {key} is of no member of this roster: add it to a group first, or use the member's own key file")]
pub struct NoMember {
    /// The key.
    pub key: PublicSigningKey,
}

impl RosterFile {
    /// A roster that nobody has signed yet.
    pub fn new(roster: Roster) -> Self {
        let signatures = vec![None; roster.members().count()];
        Self { roster, signatures }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, or is no roster file.
    pub fn read(path: &Path) -> Result<Self, RosterFileError> {
        let cannot_read =
            |source| RosterFileError::Io { action: "read", path: path.to_owned(), source };
        let file = std::fs::File::open(path).map_err(cannot_read)?;
        let mut text = String::new();
        let mut file = io::Read::take(file, LONGEST);
        io::Read::read_to_string(&mut file, &mut text).map_err(cannot_read)?;
        text::parse(&text).map_err(|error| error.of(path))
    }

    /// Writes the file as TOML, in one step: nobody ever reads half a roster.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), RosterFileError> {
        let written = file::replace(path, self.to_toml().as_bytes());
        written.map_err(|source| RosterFileError::Io {
            action: "write",
            path: path.to_owned(),
            source,
        })
    }

    /// The roster.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// What participants pin.
    pub fn hash(&self) -> RosterHash {
        self.roster.hash()
    }

    /// All members with their keys, and whether they have agreed.
    pub fn members(&self) -> impl Iterator<Item = (MemberId, PublicSigningKey, Consent)> + '_ {
        let digest = consent(&self.hash());
        self.roster.members().zip(&self.signatures).map(move |((member, key), signature)| {
            let consent = match signature {
                None => Consent::Missing,
                Some(signature) if key.verify(signature, digest.as_bytes()) => Consent::Signed,
                Some(_) => Consent::Invalid,
            };
            (member, key, consent)
        })
    }

    /// The owner of a key agrees to this roster, and proves with it that it has the key.
    ///
    /// # Errors
    /// If it is no member.
    pub fn sign(&mut self, keys: &SigningKeyPair) -> Result<MemberId, NoMember> {
        let key = keys.public();
        let place =
            self.roster.members().position(|(_, other)| other == key).ok_or(NoMember { key })?;
        self.signatures[place] = Some(keys.sign(consent(&self.hash()).as_bytes()));
        self.roster.member(&key).ok_or(NoMember { key })
    }

    /// Takes the valid signatures of another copy of the same roster; gives how many are new, and nothing if it is another
    /// roster.
    pub fn collect(&mut self, other: &Self) -> Option<usize> {
        if other.hash() != self.hash() {
            return None;
        }
        let states: Vec<_> = self.members().map(|(.., consent)| consent).collect();
        let theirs: Vec<_> = other.members().map(|(.., consent)| consent).collect();
        let mut new = 0;
        for (place, (mine, theirs)) in states.into_iter().zip(theirs).enumerate() {
            if theirs == Consent::Signed && mine != Consent::Signed {
                self.signatures[place] = other.signatures[place];
                new += 1;
            }
        }
        Some(new)
    }

    /// The groups of the roster.
    pub fn groups(&self) -> &[Group] {
        self.roster.groups()
    }
}

#[cfg(test)]
mod tests;
