//! Files with signing keys: of members, updaters and admission authorities.
//!
//! A key file has one line, the 32 secret bytes of an Ed25519 key in hexadecimal digits, and is for its owner alone.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use pet_core::crypto::{Seed, SigningKeyPair};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::private::{self, read_secret};

/// Why a key file cannot be read or made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// It cannot be read, or others may read or change it.
    #[error("cannot read the key file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It holds something else.
    #[error(
        "{} is no key file: it must hold 64 hexadecimal digits, as `pet-coordinator keys generate` writes them",
        path.display()
    )]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be written, or is there already.
    #[error("cannot write the key file {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The operating system gives no random bytes.
    #[error("the operating system gives no randomness: {0}")]
    Randomness(getrandom::Error),
}

/// Reads the key in a file.
///
/// # Errors
/// If it cannot be read, is open to others (the message has the command that mends it), or holds no key.
pub fn read_signing_key(path: &Path) -> Result<SigningKeyPair, KeyFileError> {
    let text =
        read_secret(path).map_err(|source| KeyFileError::Read { path: path.to_owned(), source })?;
    let seed = digits(text.trim_ascii());
    let seed = seed.ok_or_else(|| KeyFileError::NoKey { path: path.to_owned() })?;
    Ok(SigningKeyPair::from_seed(&Seed::new(*seed)))
}

/// Makes a new key, in a new file for nobody else.
///
/// # Errors
/// If the file is there already or cannot be written, or there is no randomness.
pub fn create_signing_key(path: &Path) -> Result<SigningKeyPair, KeyFileError> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).map_err(KeyFileError::Randomness)?;
    let mut text = Zeroizing::new(String::with_capacity(65));
    for byte in seed.iter() {
        for nibble in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(nibble.into(), 16));
        }
    }
    text.push('\n');
    let written = private::new_file().create_new(true).open(path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    let written = written.and_then(|()| match std::path::absolute(path)?.parent() {
        Some(parent) => private::sync_dir(parent),
        None => Ok(()),
    });
    written.map_err(|source| KeyFileError::Write { path: path.to_owned(), source })?;
    Ok(SigningKeyPair::from_seed(&Seed::new(*seed)))
}

/// 32 bytes of hexadecimal digits, and nothing else.
fn digits(text: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let mut bytes = Zeroizing::new([0; 32]);
    if text.len() != 64 {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        // Two digits are a byte.
        *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn a_new_key_is_its_owners_alone_and_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("member.key");
        let made = create_signing_key(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read_signing_key(&path).unwrap(), made);
        assert_ne!(create_signing_key(&dir.path().join("other")).unwrap(), made);
        // A key that is there is never written over.
        let error = create_signing_key(&path).unwrap_err();
        assert!(matches!(error, KeyFileError::Write { .. }), "{error}");
        assert_eq!(read_signing_key(&path).unwrap(), made);
    }

    #[test]
    fn what_is_no_key_or_open_to_others_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        create_signing_key(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = read_signing_key(&path).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for text in ["", "00", &"0".repeat(63), &"0".repeat(65), &"g0".repeat(32), &"+1".repeat(32)]
        {
            fs::write(&path, text).unwrap();
            let error = read_signing_key(&path).unwrap_err();
            assert!(matches!(error, KeyFileError::NoKey { .. }), "{text}: {error}");
        }
    }
}
