//! Sealing what is secret, if there is a secret to seal it with.

use std::sync::Arc;

use pet_core::coordinator::Large;
use pet_core::crypto::{Blake2b, SealingKey, SnapshotKey, Stretching};
use zeroize::Zeroizing;

use crate::store::StoreError;

/// The shortest secret.
const LEAST: usize = 16;
/// How stored bytes begin.
const PLAIN: u8 = 0;
/// Sealed as the first version did.
const SEALED_FIRST: u8 = 1;
const SEALED: u8 = 2;

/// What is stored in the clear about how the rest is sealed: what it takes to make the key of the secret
/// (salt, passes, memory), and the store's own number, so that no row of another store is taken for one of
/// this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub stretching: Stretching,
    pub store: [u8; 16],
}

impl Header {
    /// A new one, of random bytes.
    pub fn new(random: &[u8; 32]) -> Self {
        let (mut salt, mut store) = ([0; 16], [0; 16]);
        salt.copy_from_slice(&random[..16]);
        store.copy_from_slice(&random[16..]);
        let mut stretching = Stretching::interactive(salt);
        if cfg!(test) {
            // Tests open stores all the time.
            stretching.memory = 1 << 20;
        }
        Self { stretching, store }
    }

    pub fn to_bytes(self) -> Vec<u8> {
        let Stretching { salt, passes, memory } = self.stretching;
        [&salt[..], &passes.to_le_bytes(), &memory.to_le_bytes(), &self.store].concat()
    }

    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (salt, rest) = bytes.split_first_chunk()?;
        let (passes, rest) = rest.split_first_chunk()?;
        let (memory, store) = rest.split_first_chunk()?;
        let (passes, memory) = (u64::from_le_bytes(*passes), u64::from_le_bytes(*memory));
        let stretching = Stretching { salt: *salt, passes, memory };
        Some(Self { stretching, store: store.try_into().ok()? })
    }
}

/// Where something is stored: sealed bytes open nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Root,
    /// The record with this number, without its large part.
    Record(u64),
    /// Its large part, in the database or in a file.
    Part(u64),
    /// Where its large part is, if that outlives the record.
    Chunk(u64),
}

/// Closes what is written and opens what is read. Clones share the key.
#[derive(Clone)]
pub(super) struct Vault {
    secret: Option<Arc<Zeroizing<Vec<u8>>>>,
    key: Option<Arc<(SealingKey, [u8; 16])>>,
}

/// Why bytes cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    NeedsSecret,
    NotSealed,
    /// Another secret, another place, or damaged.
    DoesNotOpen,
}

impl Vault {
    /// With a secret, if there is one. Until [`Vault::unlock`] nothing that is sealed opens.
    pub fn new(secret: Option<&[u8]>) -> Result<Self, StoreError> {
        if secret.is_some_and(|secret| secret.len() < LEAST) {
            return Err(StoreError::ShortSecret { least: LEAST });
        }
        let secret = secret.map(|secret| Arc::new(Zeroizing::new(secret.to_vec())));
        Ok(Self { secret, key: None })
    }

    pub fn has_secret(&self) -> bool {
        self.secret.is_some()
    }

    /// Makes the key of the secret, which takes a tenth of a second, if there is one.
    pub fn unlock(&mut self, header: &Header) -> Result<(), StoreError> {
        if let Some(secret) = &self.secret {
            let key = header.stretching.key(secret).map_err(StoreError::Key)?;
            self.key = Some(Arc::new((key.sealing("a coordinator's store"), header.store)));
        }
        Ok(())
    }

    pub fn close(&self, place: Place, bytes: &[u8]) -> Vec<u8> {
        match self.key.as_deref() {
            None => [&[PLAIN], bytes].concat(),
            Some((key, store)) => {
                let mut closed = Vec::with_capacity(1 + bytes.len() + SealingKey::OVERHEAD);
                closed.push(SEALED);
                closed.resize(1 + SealingKey::HEADROOM, 0);
                closed.extend_from_slice(bytes);
                key.seal_behind(&name(store, place), closed, 1)
            }
        }
    }

    /// Closes what grows with the model: its bytes are made in their place, and sealed there.
    pub fn close_large(&self, place: Place, large: &Large) -> Vec<u8> {
        let Some((key, store)) = self.key.as_deref() else { return large.to_bytes_after(&[PLAIN]) };
        let mut before = [0; 1 + SealingKey::HEADROOM];
        before[0] = SEALED;
        key.seal_behind(&name(store, place), large.to_bytes_after(&before), 1)
    }

    pub fn open(&self, place: Place, bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, Closed> {
        match (bytes.split_first(), self.key.as_deref()) {
            (Some((&PLAIN, rest)), None) if !self.has_secret() => Ok(Zeroizing::new(rest.to_vec())),
            (Some((&PLAIN, _)), _) => Err(Closed::NotSealed),
            (Some((&(SEALED | SEALED_FIRST), _)), _) if !self.has_secret() => {
                Err(Closed::NeedsSecret)
            }
            (Some((&SEALED, rest)), Some((key, store))) => {
                let opened = key.open(&name(store, place), rest);
                opened.map(Zeroizing::new).map_err(|_| Closed::DoesNotOpen)
            }
            _ => Err(Closed::DoesNotOpen),
        }
    }

    /// Opens what a store of the first version holds: its key is a plain hash of the secret, and what it
    /// sealed may be of any place.
    pub fn open_first(&self, bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, Closed> {
        match (bytes.split_first(), &self.secret) {
            (Some((&SEALED_FIRST, rest)), Some(secret)) => {
                let digest = Blake2b::hash(&[b"pet-coordinator: key of a store", &secret[..]]);
                let key = SnapshotKey::new(*digest.as_bytes());
                key.open(rest).map(Zeroizing::new).map_err(|_| Closed::DoesNotOpen)
            }
            (Some((&SEALED_FIRST, _)), None) => Err(Closed::NeedsSecret),
            (Some((&PLAIN, rest)), None) => Ok(Zeroizing::new(rest.to_vec())),
            (Some((&PLAIN, _)), Some(_)) => Err(Closed::NotSealed),
            _ => Err(Closed::DoesNotOpen),
        }
    }

    /// As the first version did, to have stores of it in tests.
    #[cfg(test)]
    pub fn close_first(&self, bytes: &[u8]) -> Vec<u8> {
        match &self.secret {
            None => [&[PLAIN], bytes].concat(),
            Some(secret) => {
                let digest = Blake2b::hash(&[b"pet-coordinator: key of a store", &secret[..]]);
                let sealed = SnapshotKey::new(*digest.as_bytes()).seal(bytes);
                [&[SEALED_FIRST], &sealed[..]].concat()
            }
        }
    }
}

/// A place, as sealed bytes are bound to it.
fn name(store: &[u8; 16], place: Place) -> Vec<u8> {
    let (kind, number) = match place {
        Place::Root => (0u8, 0),
        Place::Record(number) => (1, number),
        Place::Part(number) => (2, number),
        Place::Chunk(number) => (3, number),
    };
    [&store[..], &[kind], &number.to_le_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header {
        stretching: Stretching { salt: [1; 16], passes: 1, memory: 8 << 10 },
        store: [2; 16],
    };

    fn vault(secret: Option<&[u8]>) -> Vault {
        let mut vault = Vault::new(secret).unwrap();
        vault.unlock(&HEADER).unwrap();
        vault
    }

    fn open(vault: &Vault, place: Place, bytes: &[u8]) -> Result<Vec<u8>, Closed> {
        vault.open(place, bytes).map(|bytes| bytes.to_vec())
    }

    #[test]
    fn opens_with_its_secret_only() {
        let (plain, sealed) = (vault(None), vault(Some(&[1; 16])));
        let other = vault(Some(&[2; 16]));
        let at = Place::Record(7);
        assert_eq!(open(&plain, at, &plain.close(at, b"x")), Ok(b"x".to_vec()));
        assert_eq!(open(&sealed, at, &sealed.close(at, b"x")), Ok(b"x".to_vec()));
        assert_eq!(open(&other, at, &sealed.close(at, b"x")), Err(Closed::DoesNotOpen));
        assert_eq!(open(&plain, at, &sealed.close(at, b"x")), Err(Closed::NeedsSecret));
        assert_eq!(open(&sealed, at, &plain.close(at, b"x")), Err(Closed::NotSealed));
        for bytes in [&[][..], &[3, 3], &[2], &[1]] {
            assert_eq!(open(&sealed, at, bytes), Err(Closed::DoesNotOpen));
        }
        let error = Vault::new(Some(&[1; 15])).err().unwrap();
        assert!(matches!(error, StoreError::ShortSecret { least: 16 }));
    }

    #[test]
    fn opens_at_its_place_in_its_store_only() {
        let sealed = vault(Some(&[1; 16]));
        let places = [Place::Root, Place::Record(0), Place::Record(1), Place::Part(1)];
        for made in places {
            for asked in places {
                let opened = open(&sealed, asked, &sealed.close(made, b"x"));
                assert_eq!(opened.is_ok(), made == asked, "{made:?} {asked:?}");
            }
        }
        let mut other = Vault::new(Some(&[1; 16])).unwrap();
        other.unlock(&Header { store: [3; 16], ..HEADER }).unwrap();
        let row = sealed.close(Place::Root, b"x");
        assert_eq!(open(&other, Place::Root, &row), Err(Closed::DoesNotOpen));
        // What the first version has sealed is not taken, once a store is of the second.
        let first = sealed.close_first(b"x");
        assert_eq!(open(&sealed, Place::Root, &first), Err(Closed::DoesNotOpen));
        assert_eq!(sealed.open_first(&first).unwrap()[..], *b"x");
    }

    #[test]
    fn headers_come_back() {
        let header = Header::new(&[9; 32]);
        assert_eq!(Header::from_bytes(&header.to_bytes()), Some(header));
        for length in 0..header.to_bytes().len() {
            assert_eq!(Header::from_bytes(&header.to_bytes()[..length]), None);
        }
    }
}
