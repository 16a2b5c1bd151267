//! Names and numbers.

use std::{fmt, str::FromStr};

use pet_core::crypto::Blake2b;

/// A replica from its start to its end (16 random bytes): one that starts again is another one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaId(pub [u8; 16]);

/// The number of a leadership. It grows each time that the lease changes hands, also if nobody takes it; zero before
/// the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// The number of a log entry. The first one has the number 1; 0 is where an empty log ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

/// The number of a letter. Zero is before the first one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LetterId(pub u64);

/// The hash of a log entry, and thereby of all before it. Zeros where there is none before the first one.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryHash(pub [u8; 32]);

impl Position {
    /// The position so many entries later.
    #[must_use]
    pub fn later(self, entries: usize) -> Self {
        Self(self.0.saturating_add(entries as u64))
    }
}

impl EntryHash {
    /// The hash of an entry: BLAKE2b-256 over the hash of the one before it, epoch and position (8 bytes each, little-endian),
    /// and the bytes.
    pub fn of(previous: Self, epoch: Epoch, position: Position, bytes: &[u8]) -> Self {
        let (epoch, position) = (epoch.0.to_le_bytes(), position.0.to_le_bytes());
        Self(*Blake2b::hash(&[&previous.0, &epoch, &position, bytes]).as_bytes())
    }
}

/// The name of a part: what kind of thing it is, and 16 bytes that tell it from others of its kind. Written as
/// `kind-` and 32 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartName(String);

/// Not the name of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a part's name is a word of at most 32 of a-z, 0-9 and -, a dash, and 32 hexadecimal digits"
)]
pub struct NotAPartName;

impl PartName {
    const MOST_KIND: usize = 32;

    /// A name.
    ///
    /// # Errors
    /// [`NotAPartName`] if the kind is empty, longer than 32, or has anything in it but `a-z`, `0-9` and `-`.
    pub fn new(kind: &str, id: [u8; 16]) -> Result<Self, NotAPartName> {
        let fits = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        if kind.is_empty() || kind.len() > Self::MOST_KIND || !kind.bytes().all(fits) {
            return Err(NotAPartName);
        }
        Ok(Self(format!("{kind}-{}", Hex(&id))))
    }

    /// The name as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What kind of thing it is.
    pub fn kind(&self) -> &str {
        &self.0[..self.0.len() - 33]
    }

    /// What tells it from others of its kind.
    pub fn id(&self) -> [u8; 16] {
        let number = u128::from_str_radix(&self.0[self.0.len() - 32..], 16);
        number.expect("a name ends with 32 hexadecimal digits").to_be_bytes()
    }
}

impl FromStr for PartName {
    type Err = NotAPartName;

    fn from_str(text: &str) -> Result<Self, NotAPartName> {
        let (kind, id) = text.rsplit_once('-').ok_or(NotAPartName)?;
        let digit = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        if id.len() != 32 || !id.bytes().all(digit) {
            return Err(NotAPartName);
        }
        let id = u128::from_str_radix(id, 16).map_err(|_| NotAPartName)?;
        Self::new(kind, id.to_be_bytes())
    }
}

impl fmt::Display for PartName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
    }
}

impl fmt::Debug for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReplicaId({self})")
    }
}

impl fmt::Display for EntryHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
    }
}

impl fmt::Debug for EntryHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EntryHash({self})")
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_parts_come_back() {
        let name = PartName::new("shard-sum2", [0xa5; 16]).unwrap();
        assert_eq!(name.as_str(), "shard-sum2-a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5");
        assert_eq!((name.kind(), name.id()), ("shard-sum2", [0xa5; 16]));
        assert_eq!(name.as_str().parse(), Ok(name));
    }

    #[test]
    fn nothing_else_is_a_name() {
        for kind in ["", "Model", "a/b", "..", "a_b", "ä", &"x".repeat(33)] {
            assert_eq!(PartName::new(kind, [0; 16]), Err(NotAPartName), "{kind}");
        }
        let digits = "0123456789abcdef0123456789abcdef";
        for text in [
            "",
            "model",
            "-",
            &format!("-{digits}"),
            &format!("model-{}", &digits[1..]),
            &format!("model-0{digits}"),
            &format!("model-+{}", &digits[1..]),
            &format!("model-{}", digits.to_uppercase()),
            &format!("../model-{digits}"),
        ] {
            assert_eq!(text.parse::<PartName>(), Err(NotAPartName), "{text}");
        }
    }

    /// Engines hold these: another hash would make their logs unreadable.
    #[test]
    fn the_hash_of_an_entry_stays() {
        let hash = EntryHash::of(EntryHash([1; 32]), Epoch(2), Position(3), b"entry");
        assert_eq!(
            hash.to_string(),
            "b8c8c933059af737d6ea26d4e0655a92e0b4e5cce0c6d75b47d8d3fe212e4aee"
        );
        for other in [
            EntryHash::of(EntryHash([2; 32]), Epoch(2), Position(3), b"entry"),
            EntryHash::of(EntryHash([1; 32]), Epoch(3), Position(3), b"entry"),
            EntryHash::of(EntryHash([1; 32]), Epoch(2), Position(4), b"entry"),
            EntryHash::of(EntryHash([1; 32]), Epoch(2), Position(3), b"entrx"),
        ] {
            assert_ne!(hash, other);
        }
    }
}
