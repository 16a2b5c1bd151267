//! What the entries of the log say, in bytes.
//!
//! An entry is a record, or the beginning of a log: what a replica needs that has not read what was before it. Large
//! pieces are parts; the entry names them, so that a part which is not named by an entry counts for nothing.

use pet_core::crypto::{Blake2b, PublicSigningKey, RootSeed};
use pet_ledger::PartName;
use zeroize::Zeroizing;

use super::SharedError;

/// The form of entries. A reader takes this one only.
const VERSION: u8 = 1;

const BEGIN: u8 = 0;
const RECORD: u8 = 1;
const CHUNK: u8 = 2;

/// A part, as an entry names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PartRef {
    pub name: PartName,
    /// How many bytes it has, before it is sealed.
    pub length: u64,
    /// The hash of these bytes: also what is not sealed cannot be exchanged.
    pub digest: [u8; 32],
}

impl PartRef {
    pub fn new(name: PartName, bytes: &[u8]) -> Self {
        Self { name, length: bytes.len() as u64, digest: digest(bytes) }
    }

    /// Whether these are the bytes.
    pub fn is_of(&self, bytes: &[u8]) -> bool {
        self.length == bytes.len() as u64 && self.digest == digest(bytes)
    }
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    *Blake2b::hash(&[bytes]).as_bytes()
}

/// A global model that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeptModel {
    pub round_id: u64,
    pub part: PartRef,
}

/// An entry of the log, in the clear.
pub(super) enum Item {
    /// A round begins: the log needs nothing of what was before.
    Begin {
        /// What all keys are derived from.
        root: RootSeed,
        /// The global models that are kept, in order.
        models: Vec<KeptModel>,
    },
    /// A record, without its large part.
    Record { small: Small, large: Option<PartRef> },
    /// A record of a part of a message. Who follows needs to know whose it is only.
    Chunk { participant: PublicSigningKey, small: Small },
}

/// A record but for its large part.
#[derive(Clone)]
pub(super) enum Small {
    Here(Zeroizing<Vec<u8>>),
    /// Some are long, too.
    Part(PartRef),
}

impl Item {
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(vec![VERSION]);
        match self {
            Self::Begin { root, models } => {
                bytes.push(BEGIN);
                bytes.extend_from_slice(root.as_bytes());
                bytes.extend_from_slice(&(models.len() as u64).to_le_bytes());
                for KeptModel { round_id, part } in models {
                    bytes.extend_from_slice(&round_id.to_le_bytes());
                    write_part(&mut bytes, Some(part));
                }
            }
            Self::Record { small, large } => {
                bytes.push(RECORD);
                write_part(&mut bytes, large.as_ref());
                small.write_to(&mut bytes);
            }
            Self::Chunk { participant, small } => {
                bytes.push(CHUNK);
                bytes.extend_from_slice(participant.as_bytes());
                small.write_to(&mut bytes);
            }
        }
        bytes
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SharedError> {
        let mut reader = Reader(bytes);
        match reader.byte()? {
            VERSION => {}
            found => return Err(SharedError::EntryVersion { found, known: VERSION }),
        }
        let item = match reader.byte()? {
            BEGIN => {
                let root = RootSeed::new(*reader.array()?);
                let count = u64::from_le_bytes(*reader.array()?);
                let mut models = Vec::new();
                for _ in 0..count {
                    let round_id = u64::from_le_bytes(*reader.array()?);
                    let part = reader.part()?.ok_or(MALFORMED)?;
                    models.push(KeptModel { round_id, part });
                }
                Self::Begin { root, models }
            }
            RECORD => {
                let large = reader.part()?;
                Self::Record { small: reader.small()?, large }
            }
            CHUNK => {
                let participant = PublicSigningKey::new(*reader.array()?);
                Self::Chunk { participant, small: reader.small()? }
            }
            _ => return Err(MALFORMED),
        };
        if reader.0.is_empty() {
            Ok(item)
        } else {
            Err(MALFORMED)
        }
    }
}

impl Small {
    fn write_to(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Here(small) => {
                write_part(bytes, None);
                bytes.extend_from_slice(small);
            }
            Self::Part(part) => write_part(bytes, Some(part)),
        }
    }

    /// The part that it is in.
    pub fn part(&self) -> Option<&PartRef> {
        match self {
            Self::Here(_) => None,
            Self::Part(part) => Some(part),
        }
    }
}

/// An entry that opens was written by a replica: this is no accident on the way.
const MALFORMED: SharedError = SharedError::Malformed("an entry of the log");

fn write_part(bytes: &mut Vec<u8>, part: Option<&PartRef>) {
    let name = part.map_or("", |part| part.name.as_str());
    // Names of parts are short.
    bytes.push(name.len() as u8);
    bytes.extend_from_slice(name.as_bytes());
    if let Some(part) = part {
        bytes.extend_from_slice(&part.length.to_le_bytes());
        bytes.extend_from_slice(&part.digest);
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], SharedError> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(MALFORMED)?;
        self.0 = rest;
        Ok(head)
    }

    fn byte(&mut self) -> Result<u8, SharedError> {
        Ok(self.take(1)?[0])
    }

    fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], SharedError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(MALFORMED)?;
        self.0 = rest;
        Ok(head)
    }

    fn small(&mut self) -> Result<Small, SharedError> {
        Ok(match self.part()? {
            Some(part) => Small::Part(part),
            None => Small::Here(Zeroizing::new(std::mem::take(&mut self.0).to_vec())),
        })
    }

    fn part(&mut self) -> Result<Option<PartRef>, SharedError> {
        let length = usize::from(self.byte()?);
        if length == 0 {
            return Ok(None);
        }
        let name = std::str::from_utf8(self.take(length)?).map_err(|_| MALFORMED)?;
        let name = name.parse().map_err(|_| MALFORMED)?;
        let length = u64::from_le_bytes(*self.array()?);
        Ok(Some(PartRef { name, length, digest: *self.array()? }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(byte: u8) -> PartRef {
        PartRef::new(PartName::new("mask", [byte; 16]).unwrap(), &[byte; 100])
    }

    #[test]
    fn entries_come_back_and_nothing_else_is_one() {
        let models = vec![KeptModel { round_id: 7, part: part(1) }];
        for item in [
            Item::Begin { root: RootSeed::new([3; 32]), models },
            Item::Record { small: Small::Here([1, 2].to_vec().into()), large: None },
            Item::Record { small: Small::Here(Vec::new().into()), large: Some(part(2)) },
            Item::Record { small: Small::Part(part(4)), large: None },
            Item::Chunk {
                participant: PublicSigningKey::new([5; 32]),
                small: Small::Part(part(6)),
            },
        ] {
            let bytes = item.to_bytes();
            assert_eq!(Item::from_bytes(&bytes).unwrap().to_bytes(), bytes);
            let longer = [&bytes[..], &[0]].concat();
            let is_open = matches!(&item, Item::Record { small: Small::Here(_), .. });
            assert_eq!(Item::from_bytes(&longer).is_ok(), is_open);
            for length in 0..bytes.len() {
                // Never a panic.
                let _ = Item::from_bytes(&bytes[..length]);
            }
        }
        assert!(matches!(
            Item::from_bytes(&[2, 0]),
            Err(SharedError::EntryVersion { found: 2, known: 1 })
        ));
        assert!(part(1).is_of(&[1; 100]) && !part(1).is_of(&[2; 100]));
    }
}
