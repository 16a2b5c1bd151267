//! The operator's token.

use std::{io, path::Path};

use pet_core::crypto::Blake2b;
use subtle::ConstantTimeEq;

use super::AdminError;
use crate::private::read_secret;

/// Shorter ones could be guessed.
const SHORTEST: usize = 16;

/// What is kept of the token: enough to know it again, and nothing to show.
pub(crate) struct Token {
    digest: [u8; 32],
}

impl Token {
    /// Reads it from a file; space around it does not count.
    pub fn read(path: &Path) -> Result<Self, AdminError> {
        let text = read_secret(path);
        let text = text.map_err(|source| AdminError::Token { path: path.to_owned(), source })?;
        let token = text.trim_ascii();
        if token.len() < SHORTEST || !token.iter().all(u8::is_ascii_graphic) {
            let why = "it must hold a single word of at least 16 visible ASCII characters";
            let source = io::Error::new(io::ErrorKind::InvalidData, why);
            return Err(AdminError::Token { path: path.to_owned(), source });
        }
        Ok(Self { digest: digest(token) })
    }

    /// Whether this is it. How long that takes tells nothing of it.
    pub fn is(&self, given: &[u8]) -> bool {
        self.digest.ct_eq(&digest(given)).into()
    }
}

fn digest(token: &[u8]) -> [u8; 32] {
    *Blake2b::hash(&[token]).as_bytes()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn a_token_is_a_long_word() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        for (content, is_good) in [
            ("0123456789abcdef", true),
            ("  0123456789abcdef\n", true),
            ("0123456789abcde", false),
            ("0123456789 abcdef", false),
            ("", false),
        ] {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            assert_eq!(Token::read(&path).is_ok(), is_good, "{content:?}");
        }
        fs::write(&path, "0123456789abcdef\n").unwrap();
        let token = Token::read(&path).unwrap();
        assert!(token.is(b"0123456789abcdef"));
        for wrong in [&b""[..], b"0123456789abcdeg", b"0123456789abcdef0", b"0123456789abcde"] {
            assert!(!token.is(wrong));
        }
        assert!(Token::read(&dir.path().join("none")).is_err());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = Token::read(&path).err().unwrap().to_string();
        assert!(error.contains("run `chmod 600 "), "{error}");
    }
}
