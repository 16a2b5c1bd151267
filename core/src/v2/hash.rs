//! The hash of version 2, and the names of what it is taken over.
//!
//! `H(label, parts)` is BLAKE2b-256 over the label `"pet v2 " + name` and the parts, each preceded by its length as a
//! 64-bit little-endian number. A label is used for one purpose only, so that nothing that was hashed or signed for one
//! purpose stands for anything in another.

use crate::crypto::{public_bytes, wiping_stack, Blake2b, Digest};

/// What a hash is taken for. Each label has one user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Label {
    /// A roster.
    Roster,
    /// A member's agreement to a roster, signed with its roster key.
    Consent,
    /// An updater's admission, signed by the authority.
    Credential,
    /// The context of a round.
    Context,
    /// A member's announcement, signed with its roster key.
    Announcement,
    /// The list of announcements.
    Announcements,
    /// A commitment to a group's seed.
    Commit,
    /// The mask seed that follows from a group's seed.
    Stream,
    /// A masked model: length and leaves.
    MaskedModel,
    /// An updater's statement, signed with its key.
    Statement,
    /// A member's report, signed with its roster key.
    Report,
    /// What is voted for.
    Decision,
    /// A vote, signed with a vote key.
    Vote,
    /// The mask of a group: length and leaves.
    GroupMask,
    /// A member's signed digest of its group's mask.
    MaskDigest,
    /// A global model: type, length and leaves.
    Model,
    /// The key that a masked model is uploaded under.
    Upload,
    /// The randomness of a group's noise.
    Noise,
}

impl Label {
    /// The whole label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Roster => "pet v2 roster",
            Self::Consent => "pet v2 consent",
            Self::Credential => "pet v2 credential",
            Self::Context => "pet v2 context",
            Self::Announcement => "pet v2 announcement",
            Self::Announcements => "pet v2 announcements",
            Self::Commit => "pet v2 commit",
            Self::Stream => "pet v2 stream",
            Self::MaskedModel => "pet v2 masked model",
            Self::Statement => "pet v2 statement",
            Self::Report => "pet v2 report",
            Self::Decision => "pet v2 decision",
            Self::Vote => "pet v2 vote",
            Self::GroupMask => "pet v2 group mask",
            Self::MaskDigest => "pet v2 mask digest",
            Self::Model => "pet v2 model",
            Self::Upload => "pet v2 upload",
            Self::Noise => "pet v2 noise",
        }
    }
}

/// `H(label, parts)`, part by part.
pub struct PartsHash(Blake2b);

impl PartsHash {
    /// No part yet.
    pub fn new(label: Label) -> Self {
        let mut hash = Self(Blake2b::new());
        hash.part(label.as_str().as_bytes());
        hash
    }

    /// One part more.
    pub fn part(&mut self, part: &[u8]) {
        self.begin(part.len() as u64);
        self.0.update(part);
    }

    /// Begins a part of so many bytes, which [`PartsHash::more`] brings piece by piece.
    pub fn begin(&mut self, length: u64) {
        self.0.update(&length.to_le_bytes());
    }

    /// A piece of the part that has begun.
    pub fn more(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The hash.
    pub fn finish(self) -> Digest {
        self.0.finish()
    }
}

/// `H(label, parts)`.
pub fn hash(label: Label, parts: &[&[u8]]) -> Digest {
    let mut hash = PartsHash::new(label);
    parts.iter().for_each(|part| hash.part(part));
    hash.finish()
}

/// `H(label, parts)` where a part, and so the hash, is secret: written to where the caller wants it, and nothing of it
/// stays on the stack.
pub(crate) fn secret_hash(label: Label, parts: &[&[u8]], to: &mut [u8; 32]) {
    wiping_stack(|| to.copy_from_slice(hash(label, parts).as_bytes()));
}

public_bytes! {
    /// The hash of a [`Roster`](super::Roster): what updaters and members pin.
    RosterHash, 32
}

public_bytes! {
    /// The context of a round (`ctx`): the hash of its [`Terms`](super::Terms). Everything that is signed in the round
    /// names it.
    Context, 32
}

impl Context {
    /// The first eight bytes: enough to tell rounds apart where nothing depends on it but a clear answer, as in
    /// `?round=` of a request.
    pub fn tag(&self) -> RoundTag {
        let mut tag = [0; 8];
        tag.copy_from_slice(&self.as_bytes()[..8]);
        RoundTag::new(tag)
    }
}

public_bytes! {
    /// The beginning of a round's [`Context`]: 16 hexadecimal digits in the query of a request, so that what comes too late
    /// is refused by name.
    RoundTag, 8
}

public_bytes! {
    /// The hash of the list of announcements, `H(l)`.
    AnnouncementsHash, 32
}

public_bytes! {
    /// A commitment to the seed that an updater gives to one group.
    Commitment, 32
}

public_bytes! {
    /// The hash of a [`Decision`](super::Decision): what members vote for (`D`).
    DecisionHash, 32
}

public_bytes! {
    /// The hash of a global model.
    ModelHash, 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_blake2b_over_parts_with_their_lengths() {
        let mut plain = Vec::new();
        for part in [&b"pet v2 stream"[..], b"ab", b"", b"c"] {
            plain.extend((part.len() as u64).to_le_bytes());
            plain.extend(part);
        }
        assert_eq!(hash(Label::Stream, &[b"ab", b"", b"c"]), Blake2b::hash(&[&plain]));
        assert_ne!(
            hash(Label::Stream, &[b"ab", b"", b"c"]),
            hash(Label::Stream, &[b"a", b"", b"bc"])
        );
        assert_ne!(hash(Label::Stream, &[b"ab"]), hash(Label::Commit, &[b"ab"]));
        let mut secret = [0; 32];
        secret_hash(Label::Stream, &[b"ab"], &mut secret);
        assert_eq!(Digest::new(secret), hash(Label::Stream, &[b"ab"]));
    }
}
