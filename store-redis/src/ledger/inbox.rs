//! Letters and their answers.

use std::borrow::Cow;

use bytes::Bytes;
use pet_ledger::{Epoch, LedgerError, Letter, LetterId, Limits, Posted, ReplicaId};

use super::{MANY, PAGE};
use crate::{
    error::Does,
    reply::{cut, damaged, number, Reply},
    scripts::{ANSWERS, LETTERS, POST, TAKEN},
    server::{Args, Lane, Server},
};

/// What a letter begins with: its sender, its kind, the length of its key.
const HEADER: usize = 16 + 1 + 4;

/// What tells a letter from all others; nothing, if it has no key.
fn name(letter: &Letter) -> Cow<'static, [u8]> {
    if letter.key.is_empty() {
        return Cow::Borrowed(&[]);
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(&letter.from.0).update(&[letter.kind]).update(&letter.key);
    hasher.finalize().as_bytes().to_vec().into()
}

fn pack(letter: &Letter) -> Vec<u8> {
    let length = (letter.key.len() as u32).to_be_bytes();
    [&letter.from.0[..], &[letter.kind], &length, &letter.key, &letter.body].concat()
}

fn unpack(packed: Vec<u8>) -> Result<Letter, LedgerError> {
    const WHAT: &str = "a letter";
    let (header, rest) = cut(packed, HEADER, WHAT)?;
    let from = header[..16].try_into().map_err(|_| damaged(WHAT))?;
    let length = header[17..].try_into().map_err(|_| damaged(WHAT))?;
    let length = u32::from_be_bytes(length) as usize;
    if rest.len() < length {
        return Err(damaged(WHAT));
    }
    let (key, body) = (rest.slice(..length), rest.slice(length..));
    Ok(Letter { from: ReplicaId(from), kind: header[16], key, body })
}

pub(super) async fn post(
    server: &Server,
    posted: Vec<Letter>,
) -> Result<Vec<LetterId>, LedgerError> {
    Letter::check(&posted)?;
    if posted.is_empty() {
        return Ok(Vec::new());
    }
    let limits = Limits::ALL;
    let mut args = Args::new().number(limits.waiting as u64).number(limits.waiting_of_one as u64);
    for letter in &posted {
        args = args.bytes(name(letter)).bytes(&letter.from.0[..]).bytes(pack(letter));
    }
    let said = server.run(Lane::Log, Does::Write, &POST, &[], args).await?;
    let mut said = Reply::of(said)?;
    if said.bytes()? == b"full" {
        let (waiting, most) = (said.number()? as usize, said.number()? as usize);
        return Err(LedgerError::Full { waiting, most });
    }
    if said.len() != posted.len() {
        return Err(damaged("the inbox"));
    }
    posted.iter().map(|_| said.letter()).collect()
}

pub(super) async fn letters(
    server: &Server,
    epoch: Epoch,
    after: LetterId,
    most: usize,
    most_bytes: usize,
) -> Result<Vec<Posted>, LedgerError> {
    let (most, most_bytes) = (most.min(MANY) as u64, most_bytes.min(PAGE) as u64);
    let args = Args::new().number(epoch.0).number(after.0).number(most).number(most_bytes);
    let said = server.run(Lane::Log, Does::Read, &LETTERS, &[], args).await?;
    let mut said = Reply::of(said)?;
    if said.bytes()? == b"fenced" {
        return Err(LedgerError::Fenced { epoch: said.epoch()? });
    }
    let mut letters = Vec::with_capacity(said.len() / 2);
    while said.len() > 0 {
        letters.push(Posted { id: said.letter()?, letter: unpack(said.bytes()?)? });
    }
    Ok(letters)
}

pub(super) async fn answers(
    server: &Server,
    to: ReplicaId,
    most: usize,
) -> Result<Vec<(LetterId, Bytes)>, LedgerError> {
    let args = Args::new().bytes(&to.0[..]).number(most.min(MANY) as u64).number(PAGE as u64);
    let said = server.run(Lane::Log, Does::Read, &ANSWERS, &[], args).await?;
    let mut said = Reply::of(said)?;
    let mut answers = Vec::with_capacity(said.len() / 2);
    while said.len() > 0 {
        answers.push((said.letter()?, said.bytes()?.into()));
    }
    Ok(answers)
}

pub(super) async fn taken(
    server: &Server,
    to: ReplicaId,
    letters: Vec<LetterId>,
) -> Result<(), LedgerError> {
    for some in letters.chunks(MANY) {
        let mut args = Args::new().bytes(&to.0[..]);
        some.iter().for_each(|letter| args.push(number(letter.0)));
        server.run(Lane::Log, Does::Write, &TAKEN, &[], args).await?;
    }
    Ok(())
}
