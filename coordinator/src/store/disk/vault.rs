//! Sealing what is secret, if there is a secret to seal it with.

use pet_core::crypto::{Blake2b, SnapshotKey};
use zeroize::Zeroizing;

use crate::store::StoreError;

/// The shortest secret.
const LEAST: usize = 16;
/// How stored bytes begin.
const PLAIN: u8 = 0;
const SEALED: u8 = 1;

/// Closes what is written and opens what is read.
#[derive(Clone)]
pub(super) struct Vault {
    key: Option<SnapshotKey>,
}

/// Why bytes cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    NeedsSecret,
    NotSealed,
    /// Another secret, or damaged.
    DoesNotOpen,
}

impl Vault {
    /// With the key that follows from a secret, if there is one.
    pub fn new(secret: Option<&[u8]>) -> Result<Self, StoreError> {
        if secret.is_some_and(|secret| secret.len() < LEAST) {
            return Err(StoreError::ShortSecret { least: LEAST });
        }
        let key = secret.map(|secret| {
            let digest = Blake2b::hash(&[b"pet-coordinator: key of a store", secret]);
            SnapshotKey::new(*digest.as_bytes())
        });
        Ok(Self { key })
    }

    pub fn close(&self, bytes: &[u8]) -> Vec<u8> {
        match &self.key {
            None => [&[PLAIN], bytes].concat(),
            Some(key) => {
                let mut closed = vec![SEALED];
                closed.append(&mut key.seal(bytes));
                closed
            }
        }
    }

    pub fn open(&self, bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, Closed> {
        match (bytes.split_first(), &self.key) {
            (Some((&PLAIN, rest)), None) => Ok(Zeroizing::new(rest.to_vec())),
            (Some((&PLAIN, _)), Some(_)) => Err(Closed::NotSealed),
            (Some((&SEALED, _)), None) => Err(Closed::NeedsSecret),
            (Some((&SEALED, rest)), Some(key)) => {
                key.open(rest).map(Zeroizing::new).map_err(|_| Closed::DoesNotOpen)
            }
            _ => Err(Closed::DoesNotOpen),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_with_its_secret_only() {
        let plain = Vault::new(None).unwrap();
        let sealed = Vault::new(Some(&[1; 16])).unwrap();
        let other = Vault::new(Some(&[2; 16])).unwrap();
        let open = |vault: &Vault, bytes: &[u8]| vault.open(bytes).map(|bytes| bytes.to_vec());
        assert_eq!(open(&plain, &plain.close(b"x")), Ok(b"x".to_vec()));
        assert_eq!(open(&sealed, &sealed.close(b"x")), Ok(b"x".to_vec()));
        assert_eq!(open(&other, &sealed.close(b"x")), Err(Closed::DoesNotOpen));
        assert_eq!(open(&plain, &sealed.close(b"x")), Err(Closed::NeedsSecret));
        assert_eq!(open(&sealed, &plain.close(b"x")), Err(Closed::NotSealed));
        for bytes in [&[][..], &[2, 3], &[1]] {
            assert_eq!(open(&sealed, bytes), Err(Closed::DoesNotOpen));
        }
        let error = Vault::new(Some(&[1; 15])).err().unwrap();
        assert!(matches!(error, StoreError::ShortSecret { least: 16 }));
    }
}
