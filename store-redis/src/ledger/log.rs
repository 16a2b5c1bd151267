//! The log.

use pet_ledger::{Append, Appended, Elapsed, Entry, EntryHash, Epoch, Head, LedgerError, Position};
use redis::Value;

use super::{MANY, PAGE};
use crate::{
    error::Does,
    reply::{bytes, cut, damaged, micros, number_of, Reply},
    scripts::{APPEND, DROP, FORGET, HEAD, READ},
    server::{Args, Lane, Server},
};

/// What an entry begins with: its epoch in digits, and its hash.
const EPOCH: usize = 16;
const HASH: usize = 32;

fn head_of(said: Value) -> Result<Head, LedgerError> {
    let mut said = Reply::of(said)?;
    let schema = u32::try_from(said.number()?).unwrap_or(u32::MAX);
    let (epoch, position) = (said.epoch()?, said.position()?);
    let hash = EntryHash(said.fixed("the hash of the last entry")?);
    let first = said.position()?;
    let before = EntryHash(said.fixed("the hash before the first entry")?);
    let elapsed = match said.maybe()? {
        Some(at) => Some(Elapsed { at: Position(number_of(&at)?), time: said.micros()? }),
        None => None,
    };
    Ok(Head { epoch, position, hash, first, before, elapsed, schema })
}

pub(super) async fn head(server: &Server) -> Result<Head, LedgerError> {
    head_of(server.run(Lane::Quick, Does::Read, &HEAD, &[], Args::new()).await?)
}

pub(super) async fn append(server: &Server, append: Append) -> Result<Appended, LedgerError> {
    append.check()?;
    let entries = append.to_entries();
    let (end, end_hash) =
        entries.last().map_or((append.after, append.hash), |last| (last.position, last.hash));
    let mut args = Args::new()
        .number(append.epoch.0)
        .number(append.after.0)
        .bytes(&append.hash.0[..])
        .number(end.0)
        .bytes(&end_hash.0[..])
        .bytes(append.elapsed.map(micros).unwrap_or_default())
        .number(entries.len() as u64);
    for entry in &entries {
        let epoch = format!("{:0EPOCH$}", entry.epoch.0);
        args.push([epoch.as_bytes(), &entry.hash.0, &entry.bytes].concat());
    }
    for (letter, answer) in &append.answers {
        args = args.number(letter.0).bytes(&answer[..]);
    }
    let said = server.run(Lane::Log, Does::Write, &APPEND, &[], args).await?;
    let mut said = Reply::of(said)?;
    match &said.bytes()?[..] {
        b"done" => Ok(Appended::Done(head_of(said.next()?)?)),
        b"fenced" => Ok(Appended::Fenced { epoch: said.epoch()? }),
        b"conflict" => Ok(Appended::Conflict(head_of(said.next()?)?)),
        _ => Err(damaged("the log")),
    }
}

pub(super) async fn read(
    server: &Server,
    after: Position,
    most: usize,
    most_bytes: usize,
) -> Result<Vec<Entry>, LedgerError> {
    let mut entries = Vec::new();
    let mut sum = 0;
    // Some at a time, so that the server is not held up.
    while entries.len() < most && (entries.is_empty() || sum < most_bytes) {
        let known = after.later(entries.len());
        let (many, page) = (MANY.min(most - entries.len()), PAGE.min(most_bytes - sum));
        match read_some(server, known, many, page).await {
            Ok(some) if some.is_empty() => break,
            Ok(some) => {
                let length: usize = some.iter().map(|entry| entry.bytes.len()).sum();
                // (The first one of a page is given whatever its length.)
                if !entries.is_empty() && sum + length > most_bytes {
                    break;
                }
                sum = (sum + length).min(most_bytes);
                entries.extend(some);
            }
            // (They were forgotten since the first ones were read.)
            Err(LedgerError::Forgotten { .. }) if !entries.is_empty() => break,
            Err(error) => return Err(error),
        }
    }
    Ok(entries)
}

async fn read_some(
    server: &Server,
    after: Position,
    most: usize,
    most_bytes: usize,
) -> Result<Vec<Entry>, LedgerError> {
    let args = Args::new().number(after.0).number(most as u64).number(most_bytes as u64);
    let said = server.run(Lane::Log, Does::Read, &READ, &[], args).await?;
    let mut said = Reply::of(said)?;
    let (first, next) = (said.position()?, after.later(1));
    if next < first {
        return Err(LedgerError::Forgotten { first });
    }
    let mut entries = Vec::with_capacity(said.len());
    while said.len() > 0 {
        let position = next.later(entries.len());
        let lost = || damaged(&format!("entry {position} of the log"));
        let entry = bytes(said.next()?).map_err(|_| lost())?;
        let (known, bytes) = cut(entry, EPOCH + HASH, &format!("entry {position} of the log"))?;
        let (epoch, hash) = known.split_at(EPOCH);
        let epoch = Epoch(number_of(epoch)?);
        let hash = EntryHash(hash.try_into().map_err(|_| lost())?);
        entries.push(Entry { epoch, position, hash, bytes });
    }
    Ok(entries)
}

pub(super) async fn forget(
    server: &Server,
    epoch: Epoch,
    before: Position,
) -> Result<(), LedgerError> {
    let args = Args::new().number(epoch.0).number(before.0);
    let said = server.run(Lane::Log, Does::Write, &FORGET, &[], args).await?;
    let mut said = Reply::of(said)?;
    if said.bytes()? == b"fenced" {
        return Err(LedgerError::Fenced { epoch: said.epoch()? });
    }
    // What nobody can read any more, some at a time.
    loop {
        let args = Args::new().number(MANY as u64);
        let left = server.run(Lane::Log, Does::Write, &DROP, &[], args).await?;
        if number_of(&bytes(left)?)? == 0 {
            return Ok(());
        }
    }
}
