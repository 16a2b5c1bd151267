//! Parts, in slices.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use pet_ledger::{LedgerError, PartName, Parts, Pending, StoredPart};
use redis::{cmd, Value};

use crate::{
    error::Does,
    reply::{bytes, damaged, number_of, Reply},
    schema::fresh,
    scripts::{CLOCK, PART, REMOVE, SEND, STORE},
    server::{Args, Lane, Server},
    ENGINE,
};

/// The longest part that is taken, in bytes. All of it is in the server's memory.
pub const MOST_PART: usize = 256 << 20;

/// The length of a slice. While one is written the server does nothing else.
const SLICE: usize = 1 << 20;
/// How many slices are sent or read at once.
const AT_ONCE: usize = 4;
/// After so many seconds the server removes slices whose sender has not come to the end.
const SENT: u64 = 3600;
/// How many names are listed.
const MOST_NAMES: usize = 1_000_000;
/// How many are removed at once.
const REMOVED: usize = 500;

/// Parts in the ledger's server. Clones share their connections.
#[derive(Clone, Debug)]
pub struct RedisParts {
    server: Server,
}

/// What is known of a part: its hash, its length, and when it was stored.
struct About {
    hash: [u8; 32],
    length: usize,
    stored: Duration,
}

impl About {
    const DIGITS: usize = 16;

    fn of(name: &str, bytes: &[u8]) -> Result<Self, LedgerError> {
        let damaged = || damaged(&format!("what is known of the part {name}"));
        if bytes.len() != 32 + 2 * Self::DIGITS {
            return Err(damaged());
        }
        let (hash, numbers) = bytes.split_at(32);
        let (length, stored) = numbers.split_at(Self::DIGITS);
        let length = usize::try_from(number_of(length)?).map_err(|_| damaged())?;
        // Nothing longer was ever taken.
        if length > MOST_PART {
            return Err(damaged());
        }
        let stored = Duration::from_micros(number_of(stored)?);
        Ok(Self { hash: hash.try_into().map_err(|_| damaged())?, length, stored })
    }
}

impl RedisParts {
    pub(crate) fn new(server: Server) -> Self {
        Self { server }
    }

    fn slices(&self, name: &PartName) -> String {
        self.server.key(&format!("part:{name}"))
    }

    async fn about(&self, name: &PartName) -> Result<Option<About>, LedgerError> {
        let args = Args::new().bytes(name.as_str().as_bytes());
        match self.server.run(Lane::Parts, Does::Read, &PART, &[], args).await? {
            Value::Nil => Ok(None),
            about => About::of(name.as_str(), &bytes(about)?).map(Some),
        }
    }

    async fn put_part(&self, name: PartName, part: Bytes) -> Result<(), LedgerError> {
        if part.len() > MOST_PART {
            let (what, number, most) = ("the length of a part in Redis", part.len(), MOST_PART);
            return Err(LedgerError::TooLarge { what, number, most });
        }
        let hash = *blake3::hash(&part).as_bytes();
        let same = |about: About| match (about.hash, about.length) == (hash, part.len()) {
            true => Ok(()),
            false => Err(LedgerError::PartDiffers { name: name.clone() }),
        };
        if let Some(about) = self.about(&name).await? {
            return same(about);
        }
        let sent = self.server.key(&format!("sent:{}", fresh()));
        // (A part of no bytes has one slice.)
        let slices: Vec<_> =
            if part.is_empty() { vec![&part[..]] } else { part.chunks(SLICE).collect() };
        for (number, some) in slices.chunks(AT_ONCE).enumerate() {
            self.send(&sent, number * AT_ONCE, some).await?;
        }
        let about =
            [&hash[..], format!("{:0width$}", part.len(), width = About::DIGITS).as_bytes()]
                .concat();
        let args =
            Args::new().bytes(name.as_str().as_bytes()).bytes(about).number(slices.len() as u64);
        let keys = [sent, self.slices(&name)];
        match self.server.run(Lane::Parts, Does::Write, &STORE, &keys, args).await? {
            Value::Int(0) => Ok(()),
            Value::Int(missing) => {
                let why =
                    format!("{missing} slices of the part {name} were gone before all were sent");
                Err(LedgerError::Engine { engine: ENGINE, why })
            }
            // Somebody else has stored it meanwhile.
            about => same(About::of(name.as_str(), &bytes(about)?)?),
        }
    }

    async fn send(&self, key: &str, first: usize, slices: &[&[u8]]) -> Result<(), LedgerError> {
        let mut args = Args::new().number(SENT).number(first as u64);
        slices.iter().for_each(|slice| args.push(*slice));
        self.server.run(Lane::Parts, Does::Write, &SEND, &[key.into()], args).await.map(drop)
    }

    async fn get_part(&self, name: &PartName) -> Result<Option<Bytes>, LedgerError> {
        let Some(about) = self.about(name).await? else { return Ok(None) };
        let (key, mut part) = (self.slices(name), BytesMut::with_capacity(about.length));
        let count = about.length.div_ceil(SLICE);
        for first in (0..count).step_by(AT_ONCE) {
            let mut some = cmd("HMGET");
            some.arg(&key).arg((first..count).take(AT_ONCE).collect::<Vec<_>>());
            let deadline = self.server.deadline(AT_ONCE * SLICE);
            let read = self.server.call(Lane::Parts, Does::Read, deadline, async |connection| {
                some.query_async::<Value>(&mut connection.redis).await
            });
            let mut slices = Reply::of(read.await?)?;
            while slices.len() > 0 {
                // (What is missing is noticed below.)
                part.extend_from_slice(&slices.maybe()?.unwrap_or_default());
            }
            // Slices that somebody made longer.
            if part.len() > about.length {
                break;
            }
        }
        if part.len() == about.length && *blake3::hash(&part).as_bytes() == about.hash {
            return Ok(Some(part.freeze()));
        }
        // It may have been removed while it was read.
        match self.about(name).await? {
            None => Ok(None),
            Some(_) => Err(damaged(&format!("the part {name}"))),
        }
    }

    async fn list_parts(&self) -> Result<Vec<StoredPart>, LedgerError> {
        let now = self.server.run(Lane::Parts, Does::Read, &CLOCK, &[], Args::new()).await?;
        let now = Duration::from_micros(number_of(&bytes(now)?)?);
        let key = self.server.key("parts");
        let mut found = std::collections::BTreeMap::new();
        let mut cursor = 0u64;
        loop {
            let mut scan = cmd("HSCAN");
            scan.arg(&key).arg(cursor).arg("COUNT").arg(1000);
            let page = self.server.call(
                Lane::Parts,
                Does::Read,
                self.server.deadline(0),
                async |connection| scan.query_async::<Value>(&mut connection.redis).await,
            );
            let mut page = Reply::of(page.await?)?;
            cursor = page.number()?;
            let mut pairs = Reply::of(page.next()?)?;
            while pairs.len() > 0 {
                let text = pairs.text()?;
                let name: PartName = text.parse().map_err(|error| {
                    let why = format!("the name of a part is {text:?}: {error}");
                    LedgerError::Engine { engine: ENGINE, why }
                })?;
                // (The same one may come again.)
                let about = About::of(&text, &pairs.bytes()?)?;
                found.insert(name, now.saturating_sub(about.stored));
            }
            if cursor == 0 || found.len() >= MOST_NAMES {
                break;
            }
        }
        Ok(found.into_iter().map(|(name, age)| StoredPart { name, age }).collect())
    }
}

impl Parts for RedisParts {
    fn put(&self, name: PartName, bytes: Bytes) -> Pending<'_, ()> {
        Box::pin(self.put_part(name, bytes))
    }

    fn get<'a>(&'a self, name: &'a PartName) -> Pending<'a, Option<Bytes>> {
        Box::pin(self.get_part(name))
    }

    fn list(&self) -> Pending<'_, Vec<StoredPart>> {
        Box::pin(self.list_parts())
    }

    fn remove<'a>(&'a self, names: &'a [PartName]) -> Pending<'a, ()> {
        Box::pin(async move {
            for names in names.chunks(REMOVED) {
                let keys: Vec<_> = names.iter().map(|name| self.slices(name)).collect();
                let mut args = Args::new();
                names.iter().for_each(|name| args.push(name.as_str().as_bytes()));
                self.server.run(Lane::Parts, Does::Write, &REMOVE, &keys, args).await?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever reads it makes room for as much.
    #[test]
    fn a_length_that_was_never_taken_is_damage() {
        let about = |length: usize| {
            let numbers = format!("{length:016}{:016}", 0);
            About::of("x", &[&[0; 32], numbers.as_bytes()].concat()).map(|about| about.length)
        };
        assert_eq!(about(MOST_PART), Ok(MOST_PART));
        assert!(matches!(about(MOST_PART + 1), Err(LedgerError::Damaged { .. })));
    }
}
