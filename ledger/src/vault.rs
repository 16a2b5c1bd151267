//! Seals what an engine is given, so that whoever can read and write the engine can neither read it nor slip in anything.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use pet_core::crypto::{SealingKey, Stretching};
use zeroize::Zeroizing;

use crate::{EntryHash, Epoch, Ledger, LedgerError, LetterId, PartName, Position, ReplicaId};

/// The shortest secret, in bytes.
pub const LEAST_SECRET: usize = 16;

/// What a header begins with.
const MAGIC: [u8; 8] = *b"petvault";
const VERSION: u8 = 1;
/// magic, version, salt, passes, memory, number of the ledger; then the check value.
const PLAIN: usize = 8 + 1 + 16 + 8 + 8 + 16;

/// Closes and opens what goes through a ledger. Clones share the key.
///
/// What is sealed is bound to its [`Place`], to the federation's name, and to the ledger that it was made for: moved,
/// replayed or foreign bytes do not open.
#[derive(Clone)]
pub struct Vault {
    key: Arc<SealingKey>,
    /// Federation and ledger.
    bound: Arc<[u8]>,
}

/// Where sealed bytes belong: they open nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place<'a> {
    /// An entry of the log. It is bound to all entries before it by the hash of the last of them.
    Entry {
        /// In which epoch.
        epoch: Epoch,
        /// Where.
        position: Position,
        /// The hash of the entry before it.
        previous: EntryHash,
    },
    /// A letter's body. Who uses a key once only is safe from a letter that is posted again by somebody else.
    Letter {
        /// Who wrote it.
        from: ReplicaId,
        /// What it is about.
        kind: u8,
        /// What tells it from the writer's other letters of that kind.
        key: &'a [u8],
    },
    /// The answer to a letter.
    Answer {
        /// Who wrote the letter.
        to: ReplicaId,
        /// The letter.
        letter: LetterId,
        /// What it was about.
        kind: u8,
        /// What told it from the writer's other letters of that kind.
        key: &'a [u8],
    },
    /// A part.
    Part(&'a PartName),
    /// What a replica says about itself.
    Beat(ReplicaId),
    /// What anybody else seals: a purpose in words, and a name.
    Other {
        /// What for.
        purpose: &'static str,
        /// Which one.
        name: &'a [u8],
    },
}

/// Why bytes cannot be sealed or opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// The secret is too short.
    #[error("the storage secret has {length} bytes, and at least {LEAST_SECRET} are needed: take one of random bytes, such as `openssl rand -hex 32` gives")]
    ShortSecret {
        /// How long it is.
        length: usize,
    },
    /// Another secret than the one that the ledger began with, or another federation's ledger.
    #[error("the storage secret is not the one that federation {federation:?} was set up with: all replicas need the same secret and the same name of the federation")]
    WrongSecret {
        /// The federation's name in the settings.
        federation: String,
    },
    /// What the ledger began with is not what a vault made.
    #[error("what the ledger keeps about its seal is damaged, or of a newer release: restore it from a backup, or update")]
    Header,
    /// Not enough memory to make the key.
    #[error(
        "the key cannot be made of the storage secret: it takes {0} bytes of memory for a moment"
    )]
    Stretching(u64),
    /// What was read was not sealed for this place, or is damaged.
    #[error("{what} does not open: it is damaged, or somebody who does not have the storage secret put it there")]
    DoesNotOpen {
        /// What.
        what: String,
    },
    /// The ledger did not give or take its header.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl Vault {
    /// How many bytes longer sealed bytes are.
    pub const OVERHEAD: usize = SealingKey::OVERHEAD;

    /// How many of these come first.
    pub const HEADROOM: usize = SealingKey::HEADROOM;

    /// The vault of a ledger. A ledger that is new begins with these random bytes; another one has its own.
    ///
    /// Makes the key of the secret, which takes a tenth of a second of a processor.
    ///
    /// # Errors
    /// [`VaultError`]; a wrong secret is noticed here.
    pub async fn open(
        ledger: &dyn Ledger,
        federation: &str,
        secret: &[u8],
        random: &[u8; 32],
    ) -> Result<Self, VaultError> {
        check_length(secret)?;
        let new = Self::new_header(federation, secret, random)?;
        let header = ledger.header(new).await?;
        Self::from_header(&header, federation, secret)
    }

    /// What a new ledger begins with.
    ///
    /// # Errors
    /// If the secret is too short, or there is no memory to make the key.
    pub fn new_header(
        federation: &str,
        secret: &[u8],
        random: &[u8; 32],
    ) -> Result<Bytes, VaultError> {
        let (mut salt, mut number) = ([0; 16], [0; 16]);
        salt.copy_from_slice(&random[..16]);
        number.copy_from_slice(&random[16..]);
        let mut stretching = Stretching::interactive(salt);
        if cfg!(test) {
            // Tests open vaults all the time.
            stretching.memory = 1 << 20;
        }
        let mut header = [&MAGIC[..], &[VERSION], &salt].concat();
        header.extend(stretching.passes.to_le_bytes());
        header.extend(stretching.memory.to_le_bytes());
        header.extend(number);
        let vault = Self::with(stretching, &number, federation, secret)?;
        let check = vault.seal_place(&[0], &header);
        header.extend(check);
        Ok(header.into())
    }

    /// The vault of what a ledger began with.
    ///
    /// # Errors
    /// [`VaultError::WrongSecret`] if secret or federation are others, [`VaultError::Header`] if it makes no sense.
    pub fn from_header(header: &[u8], federation: &str, secret: &[u8]) -> Result<Self, VaultError> {
        let (plain, check) = header.split_at_checked(PLAIN).ok_or(VaultError::Header)?;
        let rest = plain.strip_prefix(&MAGIC).ok_or(VaultError::Header)?;
        let rest = rest.strip_prefix(&[VERSION]).ok_or(VaultError::Header)?;
        let mut fields =
            rest.chunks_exact(8).map(|field| <[u8; 8]>::try_from(field).expect("8 bytes"));
        let mut next = || fields.next().ok_or(VaultError::Header);
        let mut salt = [0; 16];
        salt[..8].copy_from_slice(&next()?);
        salt[8..].copy_from_slice(&next()?);
        let (passes, memory) = (u64::from_le_bytes(next()?), u64::from_le_bytes(next()?));
        let stretching = Stretching { salt, passes, memory };
        let vault = Self::with(stretching, &plain[PLAIN - 16..], federation, secret)?;
        match vault.open_place(&[0], check) {
            Some(checked) if checked[..] == *plain => Ok(vault),
            _ => Err(VaultError::WrongSecret { federation: federation.into() }),
        }
    }

    fn with(
        stretching: Stretching,
        number: &[u8],
        federation: &str,
        secret: &[u8],
    ) -> Result<Self, VaultError> {
        check_length(secret)?;
        let key = stretching.key(secret).map_err(|_| VaultError::Stretching(stretching.memory))?;
        let key = Arc::new(key.sealing("a ledger that replicas share"));
        let length = (federation.len() as u64).to_le_bytes();
        Ok(Self { key, bound: [number, &length, federation.as_bytes()].concat().into() })
    }

    /// A vault for tests: its key is made at once, and is no secret.
    #[cfg(any(test, feature = "testing"))]
    pub fn for_tests(federation: &str) -> Self {
        let cheap = Stretching { salt: [0; 16], passes: 1, memory: 8 << 10 };
        Self::with(cheap, &[0; 16], federation, &[0; LEAST_SECRET])
            .expect("there is memory for that")
    }

    /// The number of the ledger that it was made for, which is random: it tells it from all others, also of that name.
    pub fn number(&self) -> [u8; 16] {
        self.bound[..16].try_into().expect("it begins with the number")
    }

    /// Seals bytes for a place. Equal bytes for one place give equal sealed bytes.
    pub fn close(&self, place: Place<'_>, bytes: &[u8]) -> Bytes {
        self.seal_place(&place.to_bytes(), bytes).into()
    }

    /// The same for what lies behind the first [`HEADROOM`](Self::HEADROOM) bytes of a buffer, where it lies.
    ///
    /// # Panics
    /// If the buffer is shorter than that.
    pub fn close_behind(&self, place: Place<'_>, buffer: Vec<u8>) -> Bytes {
        self.key.seal_behind(&[&self.bound, &place.to_bytes()[..]].concat(), buffer, 0).into()
    }

    /// Opens what was sealed for a place.
    ///
    /// # Errors
    /// [`VaultError::DoesNotOpen`].
    pub fn open_at(
        &self,
        place: Place<'_>,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let opened = self.open_place(&place.to_bytes(), sealed);
        opened.ok_or_else(|| VaultError::DoesNotOpen { what: place.to_string() })
    }

    /// A tag that only who has the secret can make: for what has to be found by its content, such as the part that a digest
    /// names, without telling the digest.
    pub fn tag(&self, purpose: &'static str, content: &[u8]) -> [u8; 16] {
        let place = Place::Other { purpose, name: content };
        let sealed = self.close(place, b"");
        // The nonce of sealed bytes is a keyed hash of place and content.
        sealed[..16].try_into().expect("sealed bytes are longer")
    }

    fn seal_place(&self, place: &[u8], bytes: &[u8]) -> Vec<u8> {
        self.key.seal(&[&self.bound, place].concat(), bytes)
    }

    fn open_place(&self, place: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        self.key.open(&[&self.bound, place].concat(), sealed).ok().map(Zeroizing::new)
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault(secret)")
    }
}

fn check_length(secret: &[u8]) -> Result<(), VaultError> {
    if secret.len() < LEAST_SECRET {
        return Err(VaultError::ShortSecret { length: secret.len() });
    }
    Ok(())
}

impl Place<'_> {
    /// As sealed bytes are bound to it: no two places are written the same. (The first byte tells what it is, and what has no
    /// fixed length comes last, or with its length. 0 is the header's.)
    fn to_bytes(self) -> Vec<u8> {
        match self {
            Self::Entry { epoch, position, previous } => {
                [&[1][..], &epoch.0.to_le_bytes(), &position.0.to_le_bytes(), &previous.0].concat()
            }
            Self::Letter { from, kind, key } => [&[2][..], &from.0, &[kind], key].concat(),
            Self::Answer { to, letter, kind, key } => {
                [&[3][..], &to.0, &letter.0.to_le_bytes(), &[kind], key].concat()
            }
            Self::Part(name) => [&[4], name.as_str().as_bytes()].concat(),
            Self::Beat(replica) => [&[5][..], &replica.0].concat(),
            Self::Other { purpose, name } => {
                let length = (purpose.len() as u64).to_le_bytes();
                [&[6][..], &length, purpose.as_bytes(), name].concat()
            }
        }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry { position, .. } => write!(f, "entry {position} of the log"),
            Self::Letter { from, .. } => write!(f, "a letter of replica {from}"),
            Self::Answer { letter, .. } => write!(f, "the answer to letter {letter}"),
            Self::Part(name) => write!(f, "the part {name}"),
            Self::Beat(replica) => write!(f, "what replica {replica} says about itself"),
            Self::Other { purpose, .. } => f.write_str(purpose),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryEngine;

    const SECRET: &[u8] = &[7; 32];

    fn vault() -> Vault {
        let header = Vault::new_header("hospitals", SECRET, &[1; 32]).unwrap();
        Vault::from_header(&header, "hospitals", SECRET).unwrap()
    }

    #[test]
    fn opens_at_its_place_only() {
        let (vault, part) = (vault(), PartName::new("model", [1; 16]).unwrap());
        let other = PartName::new("model", [2; 16]).unwrap();
        let (replica, previous) = (ReplicaId([1; 16]), EntryHash([1; 32]));
        let entry = |epoch, position, previous| Place::Entry {
            epoch: Epoch(epoch),
            position: Position(position),
            previous,
        };
        let letter = |from, kind, key| Place::Letter { from, kind, key };
        let answer =
            |letter, key| Place::Answer { to: replica, letter: LetterId(letter), kind: 1, key };
        let purpose = |purpose, name| Place::Other { purpose, name };
        let places = [
            entry(1, 1, previous),
            entry(2, 1, previous),
            entry(1, 2, previous),
            entry(1, 1, EntryHash([2; 32])),
            letter(replica, 1, b"a"),
            letter(ReplicaId([2; 16]), 1, b"a"),
            letter(replica, 2, b"a"),
            letter(replica, 1, b"ab"),
            answer(1, b"a"),
            answer(2, b"a"),
            answer(1, b""),
            Place::Part(&part),
            Place::Part(&other),
            Place::Beat(replica),
            purpose("a", b"bc"),
            purpose("ab", b"c"),
        ];
        for (i, made) in places.into_iter().enumerate() {
            let sealed = vault.close(made, b"content");
            assert_eq!(sealed.len(), 7 + Vault::OVERHEAD);
            let buffer = [&[0; Vault::HEADROOM][..], b"content"].concat();
            assert_eq!(vault.close_behind(made, buffer), sealed);
            for (j, asked) in places.into_iter().enumerate() {
                assert_eq!(vault.open_at(asked, &sealed).is_ok(), i == j, "{made:?} {asked:?}");
            }
        }
        let mut sealed = vault.close(places[0], b"content").to_vec();
        sealed[30] ^= 1;
        let error = vault.open_at(places[0], &sealed).unwrap_err();
        assert!(error.to_string().starts_with("entry 1 of the log does not open"), "{error}");
    }

    #[test]
    fn ledgers_and_federations_do_not_open_each_others() {
        let place = Place::Beat(ReplicaId([0; 16]));
        let sealed = vault().close(place, b"x");
        let of = |federation, random: &[u8; 32]| {
            let header = Vault::new_header(federation, SECRET, random).unwrap();
            Vault::from_header(&header, federation, SECRET).unwrap()
        };
        assert!(of("hospitals", &[1; 32]).open_at(place, &sealed).is_ok());
        assert!(of("hospital", &[1; 32]).open_at(place, &sealed).is_err());
        // Another ledger, with the same salt.
        let mut random = [1; 32];
        random[31] = 2;
        assert!(of("hospitals", &random).open_at(place, &sealed).is_err());
    }

    #[test]
    fn a_wrong_secret_is_named_at_the_start() {
        let header = Vault::new_header("hospitals", SECRET, &[1; 32]).unwrap();
        assert!(header.len() <= crate::Limits::ALL.header);
        let wrong = |federation: &str, secret| {
            let error = Vault::from_header(&header, federation, secret).unwrap_err();
            assert_eq!(error, VaultError::WrongSecret { federation: federation.into() });
        };
        wrong("hospitals", &[8; 32]);
        wrong("others", SECRET);
        let error = Vault::from_header(&header, "hospitals", &[7; 15]).unwrap_err();
        assert_eq!(error, VaultError::ShortSecret { length: 15 });
    }

    #[test]
    fn damaged_headers_are_refused() {
        let header = Vault::new_header("hospitals", SECRET, &[1; 32]).unwrap();
        for at in 0..header.len() {
            assert!(Vault::from_header(&header[..at], "hospitals", SECRET).is_err(), "{at}");
            let mut damaged = header.to_vec();
            damaged[at] ^= 0x80;
            assert!(Vault::from_header(&damaged, "hospitals", SECRET).is_err(), "{at}");
        }
    }

    #[tokio::test]
    async fn replicas_of_a_ledger_share_a_vault() {
        let engine = MemoryEngine::new();
        let (one, other) = (engine.ledger(), engine.ledger());
        let first = Vault::open(&one, "hospitals", SECRET, &[1; 32]).await.unwrap();
        let second = Vault::open(&other, "hospitals", SECRET, &[2; 32]).await.unwrap();
        let place = Place::Beat(ReplicaId([0; 16]));
        assert_eq!(second.open_at(place, &first.close(place, b"x")).unwrap()[..], *b"x");
        let error = Vault::open(&other, "hospitals", &[8; 32], &[3; 32]).await.unwrap_err();
        assert!(matches!(error, VaultError::WrongSecret { .. }), "{error}");
    }

    #[test]
    fn tags_are_of_one_purpose_and_content() {
        let vault = vault();
        assert_eq!(vault.tag("mask", b"a"), vault.tag("mask", b"a"));
        assert_ne!(vault.tag("mask", b"a"), vault.tag("mask", b"b"));
        assert_ne!(vault.tag("mask", b"a"), vault.tag("chunk", b"a"));
        assert_ne!(vault.tag("mask", b"a"), Vault::for_tests("hospitals").tag("mask", b"a"));
    }

    #[test]
    fn keys_are_in_no_log() {
        assert_eq!(format!("{:?}", vault()), "Vault(secret)");
    }
}
