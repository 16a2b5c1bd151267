//! Who takes part: the groups with their members' keys, and who may update.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::error::DecodeError;
use super::hash::{hash, Label, RosterHash};
use super::wire::{is_rising, serde_as_bytes, Reader, Writer};
use crate::crypto::{Digest, PublicSigningKey};

/// The most groups of a roster.
pub const MOST_GROUPS: usize = 16;

/// The most members of a group.
pub const MOST_MEMBERS: usize = 31;

/// The most bytes of a group's name.
pub const MOST_NAME: usize = 64;

/// The most updaters of a roster that lists them.
pub const MOST_LISTED: usize = 1 << 17;

/// A member's place in the roster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MemberId {
    /// The group, from 0.
    pub group: u8,
    /// The member in its group, from 0.
    pub index: u8,
}

impl MemberId {
    /// The member `index` of the group `group`, both from 0.
    pub const fn new(group: u8, index: u8) -> Self {
        Self { group, index }
    }

    pub(super) fn write(self, writer: &mut Writer) {
        writer.u8(self.group);
        writer.u8(self.index);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { group: reader.u8("member")?, index: reader.u8("member")? })
    }
}

/// `group.index`, both from 0.
impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.group, self.index)
    }
}

impl fmt::Debug for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemberId({self})")
    }
}

/// A group: one domain of trust, in which each member does the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Who it is, for people: an organisation, a country.
    pub name: String,
    /// The members' keys: an odd number.
    pub members: Vec<PublicSigningKey>,
}

impl Group {
    /// A group.
    pub fn new(name: impl Into<String>, members: Vec<PublicSigningKey>) -> Self {
        Self { name: name.into(), members }
    }
}

/// Who may update.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Admission {
    /// Whoever has a [`Credential`](super::Credential) of this authority.
    Authority(PublicSigningKey),
    /// These, sorted, each once.
    List(Vec<PublicSigningKey>),
}

/// Why groups and admission are not a roster. Whoever has made it is to blame.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidRoster {
    /// No groups, or too many.
    #[error("a roster has 1 to {MOST_GROUPS} groups, not {0}")]
    Groups(usize),
    /// Not a number of members that has a majority.
    #[error(
        "group {name:?} has {members} members: it must be an odd number from 1 to {MOST_MEMBERS}"
    )]
    Members {
        /// The group.
        name: String,
        /// How many members it has.
        members: usize,
    },
    /// Groups of different sizes.
    #[error("group {name:?} has {members} members, and the first group has {first}: all groups must have as many")]
    UnequalGroups {
        /// The group.
        name: String,
        /// How many members it has.
        members: usize,
        /// How many the first group has.
        first: usize,
    },
    /// A name that cannot be shown.
    #[error(
        "the name of group {0} must have 1 to {MOST_NAME} bytes, without control characters and without spaces at its ends"
    )]
    Name(usize),
    /// Two groups with one name.
    #[error("two groups are named {0:?}: give each its own name")]
    SameName(String),
    /// A key that is there twice: groups must be disjoint.
    #[error("member key {0} is there twice: each member must have a key of its own, and be in one group only")]
    SameMember(PublicSigningKey),
    /// A list of updaters that is empty, too long, not sorted, or has a key twice.
    #[error(
        "the list of updaters must have 1 to {MOST_LISTED} keys, sorted, and each once (it has {0})"
    )]
    Updaters(usize),
}

/// The groups of a committee, and who may update.
///
/// Updaters and members pin its [hash](Roster::hash); the roster itself may come from anywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roster {
    groups: Vec<Group>,
    admission: Admission,
    hash: RosterHash,
}

const WHAT: &str = "roster";

impl Roster {
    /// A roster of these groups.
    ///
    /// # Errors
    /// If there are no groups or too many, a group has an even number of members or not as many as the others, a name or a
    /// key is there twice, or the list of updaters is not sorted.
    pub fn new(groups: Vec<Group>, admission: Admission) -> Result<Self, InvalidRoster> {
        if groups.is_empty() || groups.len() > MOST_GROUPS {
            return Err(InvalidRoster::Groups(groups.len()));
        }
        let first = groups[0].members.len();
        let (mut names, mut keys) = (BTreeSet::new(), BTreeSet::new());
        for (at, Group { name, members }) in groups.iter().enumerate() {
            let is_shown = name.trim() == name && !name.chars().any(char::is_control);
            if name.is_empty() || name.len() > MOST_NAME || !is_shown {
                return Err(InvalidRoster::Name(at));
            }
            if !names.insert(name) {
                return Err(InvalidRoster::SameName(name.clone()));
            }
            let (name, members) = (name.clone(), members.len());
            if members % 2 == 0 || members > MOST_MEMBERS {
                return Err(InvalidRoster::Members { name, members });
            }
            if members != first {
                return Err(InvalidRoster::UnequalGroups { name, members, first });
            }
        }
        if let Some(twice) =
            groups.iter().flat_map(|group| &group.members).find(|key| !keys.insert(*key))
        {
            return Err(InvalidRoster::SameMember(*twice));
        }
        if let Admission::List(updaters) = &admission {
            if updaters.is_empty() || updaters.len() > MOST_LISTED || !is_rising(updaters) {
                return Err(InvalidRoster::Updaters(updaters.len()));
            }
        }
        let mut roster = Self { groups, admission, hash: RosterHash::new([0; 32]) };
        roster.hash = RosterHash::new(*hash(Label::Roster, &[&roster.to_bytes()]).as_bytes());
        Ok(roster)
    }

    /// The groups.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Who may update.
    pub fn admission(&self) -> &Admission {
        &self.admission
    }

    /// All members with their keys, sorted.
    pub fn members(&self) -> impl Iterator<Item = (MemberId, PublicSigningKey)> + '_ {
        self.groups.iter().enumerate().flat_map(|(group, Group { members, .. })| {
            let id = move |index| MemberId::new(group as u8, index as u8);
            members.iter().enumerate().map(move |(index, key)| (id(index), *key))
        })
    }

    /// A member's key.
    pub fn key(&self, member: MemberId) -> Option<&PublicSigningKey> {
        self.groups.get(usize::from(member.group))?.members.get(usize::from(member.index))
    }

    /// Where the owner of a key is a member.
    pub fn member(&self, key: &PublicSigningKey) -> Option<MemberId> {
        self.members().find(|(_, other)| other == key).map(|(member, _)| member)
    }

    /// The name of a group, as messages show it.
    pub fn group_name(&self, group: u8) -> &str {
        self.groups.get(usize::from(group)).map_or("(no such group)", |group| &group.name)
    }

    /// How many members each group has.
    pub fn group_size(&self) -> usize {
        self.groups[0].members.len()
    }

    /// How many members are a majority of a group: of those in the roster, never of those who happen to be there.
    pub fn majority(&self) -> usize {
        self.group_size() / 2 + 1
    }

    /// What is pinned.
    pub fn hash(&self) -> RosterHash {
        self.hash
    }

    /// The group that has fewer than a majority among these members, who must be in the roster and there once each; with how
    /// many it has. `None` if every group has a majority.
    pub fn lacking(&self, members: impl IntoIterator<Item = MemberId>) -> Option<Lacking> {
        let mut counts = [0; MOST_GROUPS];
        for member in members {
            if let Some(count) = counts.get_mut(usize::from(member.group)) {
                *count += 1;
            }
        }
        let group = (0..self.groups.len()).find(|&group| counts[group] < self.majority())?;
        Some(Lacking { group: group as u8, have: counts[group], need: self.majority() })
    }

    /// The bytes, which the hash is taken over.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::versioned(0);
        writer.count(self.groups.len());
        for Group { name, members } in &self.groups {
            writer.bytes(name.as_bytes());
            write_keys(&mut writer, members);
        }
        match &self.admission {
            Admission::Authority(key) => {
                writer.u8(0);
                writer.raw(key.as_bytes());
            }
            Admission::List(keys) => {
                writer.u8(1);
                write_keys(&mut writer, keys);
            }
        }
        writer.finish()
    }

    /// Reads the bytes.
    ///
    /// # Errors
    /// If they are not those of a roster.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::versioned(WHAT, bytes)?;
        let groups = reader.list(8, MOST_GROUPS, "groups", |reader| {
            let name = reader.text(MOST_NAME, "group name")?.to_owned();
            Ok(Group { name, members: read_keys(reader, MOST_MEMBERS, "members")? })
        })?;
        let admission = match reader.u8("admission")? {
            0 => Admission::Authority(PublicSigningKey::new(reader.array("authority")?)),
            1 => Admission::List(read_keys(&mut reader, MOST_LISTED, "updaters")?),
            _ => {
                return Err(
                    reader.malformed("admission", "is neither an authority (0) nor a list (1)")
                )
            }
        };
        reader.end()?;
        Ok(Self::new(groups, admission)?)
    }
}

serde_as_bytes!(Roster);

/// What a member signs with its roster key to agree to a roster, and to prove that it has the key: no part of a round, but of
/// how organisations come to a roster.
pub fn consent(roster: &RosterHash) -> Digest {
    hash(Label::Consent, &[roster.as_bytes()])
}

/// A group without a majority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lacking {
    /// The group.
    pub group: u8,
    /// How many of its members are there.
    pub have: usize,
    /// How many must be.
    pub need: usize,
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, have, need } = self;
        write!(f, "group {group} has {have} of the {need} members that are a majority of it")
    }
}

pub(super) fn write_keys(writer: &mut Writer, keys: &[PublicSigningKey]) {
    writer.count(keys.len());
    keys.iter().for_each(|key| writer.raw(key.as_bytes()));
}

pub(super) fn read_keys(
    reader: &mut Reader<'_>,
    most: usize,
    field: &'static str,
) -> Result<Vec<PublicSigningKey>, DecodeError> {
    reader.list(32, most, field, |reader| reader.array(field).map(PublicSigningKey::new))
}
