//! What the server answers.

use std::{str, time::Duration};

use bytes::Bytes;
use pet_ledger::{Epoch, LedgerError, LetterId, Position};
use redis::Value;

use crate::ENGINE;

/// The largest number that scripts know exactly.
pub(crate) const LARGEST: u64 = 1 << 53;

/// A number as scripts take it.
pub(crate) fn number(number: u64) -> Vec<u8> {
    number.min(LARGEST).to_string().into_bytes()
}

pub(crate) fn micros(time: Duration) -> Vec<u8> {
    // (So that a script can add it to its clock.)
    number(u64::try_from(time.as_micros()).unwrap_or(u64::MAX).min(LARGEST / 4))
}

/// Values, one after another.
#[derive(Debug)]
pub(crate) struct Reply(std::vec::IntoIter<Value>);

impl Reply {
    /// The values of an array.
    pub fn of(value: Value) -> Result<Self, LedgerError> {
        match value {
            Value::Array(values) => Ok(Self(values.into_iter())),
            other => Err(odd(&other)),
        }
    }

    /// How many there are still.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn next(&mut self) -> Result<Value, LedgerError> {
        self.0.next().ok_or_else(|| odd(&Value::Nil))
    }

    pub fn bytes(&mut self) -> Result<Vec<u8>, LedgerError> {
        bytes(self.next()?)
    }

    /// The next one, unless it is nothing.
    pub fn maybe(&mut self) -> Result<Option<Vec<u8>>, LedgerError> {
        match self.next()? {
            Value::Nil => Ok(None),
            value => bytes(value).map(Some),
        }
    }

    pub fn number(&mut self) -> Result<u64, LedgerError> {
        number_of(&self.bytes()?)
    }

    pub fn epoch(&mut self) -> Result<Epoch, LedgerError> {
        self.number().map(Epoch)
    }

    pub fn position(&mut self) -> Result<Position, LedgerError> {
        self.number().map(Position)
    }

    pub fn letter(&mut self) -> Result<LetterId, LedgerError> {
        self.number().map(LetterId)
    }

    pub fn micros(&mut self) -> Result<Duration, LedgerError> {
        self.number().map(Duration::from_micros)
    }

    pub fn text(&mut self) -> Result<String, LedgerError> {
        Ok(String::from_utf8_lossy(&self.bytes()?).into_owned())
    }

    /// Bytes of a fixed length that the server keeps.
    pub fn fixed<const N: usize>(&mut self, what: &str) -> Result<[u8; N], LedgerError> {
        self.bytes()?.try_into().map_err(|_| damaged(what))
    }
}

pub(crate) fn bytes(value: Value) -> Result<Vec<u8>, LedgerError> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        Value::SimpleString(text) => Ok(text.into_bytes()),
        Value::Int(number) => Ok(number.to_string().into_bytes()),
        other => Err(odd(&other)),
    }
}

pub(crate) fn number_of(text: &[u8]) -> Result<u64, LedgerError> {
    let number = str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| damaged("a number in the ledger"))
}

/// Bytes of which the first ones have a meaning of their own.
pub(crate) fn cut(bytes: Vec<u8>, at: usize, what: &str) -> Result<(Bytes, Bytes), LedgerError> {
    let mut rest = Bytes::from(bytes);
    if rest.len() < at {
        return Err(damaged(what));
    }
    Ok((rest.split_to(at), rest))
}

pub(crate) fn damaged(what: &str) -> LedgerError {
    LedgerError::Damaged { what: what.into() }
}

/// What no script of ours returns. (Without what is in it, which may be long.)
fn odd(value: &Value) -> LedgerError {
    let kind = match value {
        Value::Nil => "nothing",
        Value::Int(_) => "a number",
        Value::BulkString(_) | Value::SimpleString(_) | Value::Okay => "text",
        Value::Array(_) => "a list",
        _ => "something else",
    };
    LedgerError::Engine { engine: ENGINE, why: format!("it answered with {kind}, unexpectedly") }
}
