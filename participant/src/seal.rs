//! Sealing saved states with a key, a random one or one [stretched] from a passphrase. What sealed bytes say about themselves in the clear (`head`) is the binding's.
//!
//! [stretched]: pet_transport_blocking::core::crypto::Stretching

use pet_transport_blocking::core::crypto::{MasterKey, SnapshotKey};
use thiserror::Error;
use zeroize::Zeroizing;

/// What the keys are for.
const PURPOSE: &str = "a participant's saved state";

/// The bytes were sealed with another secret, or were changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the saved state does not open with this key or passphrase, or it is damaged")]
pub struct DoesNotOpen;

/// Encrypts and authenticates a state, together with its head.
pub fn seal(key: &MasterKey, head: &[u8], state: &[u8]) -> Vec<u8> {
    key.sealing(PURPOSE).seal(head, state)
}

/// Opens what [`seal`] made.
///
/// # Errors
/// [`DoesNotOpen`].
pub fn open(
    key: &MasterKey,
    head: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, DoesNotOpen> {
    let opened = key.sealing(PURPOSE).open(head, sealed);
    opened.map(Zeroizing::new).map_err(|_| DoesNotOpen)
}

/// Opens what the first version made, which had no head.
///
/// # Errors
/// [`DoesNotOpen`].
pub fn open_first(key: &SnapshotKey, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, DoesNotOpen> {
    key.open(sealed).map(Zeroizing::new).map_err(|_| DoesNotOpen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_opens_and_the_head_counts() {
        let [key, other] = [1, 2].map(|byte| MasterKey::new([byte; 32]));
        let sealed = seal(&key, b"head", b"state");
        assert_eq!(open(&key, b"head", &sealed).unwrap().as_slice(), b"state");
        assert_eq!(open(&other, b"head", &sealed), Err(DoesNotOpen));
        assert_eq!(open(&key, b"heap", &sealed), Err(DoesNotOpen));
        let first_key = SnapshotKey::new([1; 32]);
        assert_eq!(open_first(&first_key, &sealed), Err(DoesNotOpen));
        let first = first_key.seal(b"state");
        assert_eq!(open_first(&first_key, &first).unwrap().as_slice(), b"state");
    }
}
