//! Hexadecimal digits, in settings and in the queries of requests.

use std::str::FromStr;

use thiserror::Error;

use super::hash::{Context, RosterHash, RoundTag};
use crate::crypto::PublicSigningKey;

/// Text that is not so many bytes in hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{given:?} is not {expected} bytes in hexadecimal: give {} digits", 2 * expected)]
#[non_exhaustive]
pub struct InvalidHex {
    /// How many bytes were expected.
    pub expected: usize,
    /// The beginning of what was given.
    pub given: String,
}

/// Reads exactly `N` bytes, in digits of either case.
///
/// # Errors
/// If there are more or fewer digits, or anything else.
pub fn parse<const N: usize>(text: &str) -> Result<[u8; N], InvalidHex> {
    let invalid = || InvalidHex { expected: N, given: text.chars().take(2 * N + 8).collect() };
    if text.len() != 2 * N {
        return Err(invalid());
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let (high, low) = digit(pair[0]).zip(digit(pair[1])).ok_or_else(invalid)?;
        *byte = high << 4 | low;
    }
    Ok(bytes)
}

macro_rules! from_hex {
    ($($name:ident),*) => {$(
        /// Reads hexadecimal digits, as `Display` writes them.
        impl FromStr for $name {
            type Err = InvalidHex;

            fn from_str(text: &str) -> Result<Self, InvalidHex> {
                parse(text).map($name::new)
            }
        }
    )*};
}

from_hex!(RosterHash, Context, RoundTag, PublicSigningKey);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_read() {
        let hash = RosterHash::new(std::array::from_fn(|at| 7 * at as u8));
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert_eq!(hash.to_string().to_uppercase().parse(), Ok(hash));
        for text in ["", "0", "0g", "+1", "\u{e9}", "012"] {
            assert!(parse::<1>(text).is_err(), "{text}");
        }
        assert!("00".repeat(33).parse::<RosterHash>().is_err());
    }
}
