//! Encrypting with the key stream.

use std::fmt;

use super::{apply, Key, BLOCK};
use crate::simd::Level;

/// A ChaCha20 key stream to encrypt and decrypt with: 256-bit key, 64-bit nonce, 64-bit block counter from 0
/// (Bernstein's ChaCha20, libsodium's `crypto_stream_chacha20`).
///
/// Each block of 64 bytes can be made by itself, so that any core does any part of a message. A stream has no
/// authentication of its own, and must not be used for two messages: both are for whoever chooses key and nonce.
/// The key is wiped on drop.
pub struct KeyStream(Key);

/// Shows nothing: it is a secret.
impl fmt::Debug for KeyStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyStream(secret)")
    }
}

impl KeyStream {
    /// Bytes of a block.
    pub const BLOCK: usize = BLOCK;

    /// The stream of this key and nonce.
    pub fn new(key: &[u8; 32], nonce: u64) -> Self {
        KeyStream(Key::with_nonce(key, nonce))
    }

    /// XORs the stream, from the beginning of block `first_block` on, to these bytes: encrypts and decrypts.
    pub fn xor(&self, first_block: u64, bytes: &mut [u8]) {
        apply(Level::detected(), &self.0, first_block.wrapping_mul(BLOCK as u64), bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chacha20::cipher::{KeyIvInit, StreamCipher};
    use proptest::prelude::*;

    proptest! {
        /// A library's stream, whatever the length, and in pieces at any blocks.
        #[test]
        fn encrypts_as_a_library_does(key: [u8; 32], nonce: u64, len in 0usize..5000, cut in 0usize..80) {
            let text: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
            let mut expected = text.clone();
            chacha20::ChaCha20Legacy::new(&key.into(), &nonce.to_le_bytes().into())
                .apply_keystream(&mut expected);
            let stream = KeyStream::new(&key, nonce);
            let mut found = text.clone();
            stream.xor(0, &mut found);
            prop_assert_eq!(&found, &expected);
            let cut = (cut * BLOCK).min(len);
            let (first, second) = found.split_at_mut(cut);
            stream.xor((cut / BLOCK) as u64, second);
            stream.xor(0, first);
            prop_assert_eq!(found, text);
        }
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", KeyStream::new(&[7; 32], 1)), "KeyStream(secret)");
    }
}
