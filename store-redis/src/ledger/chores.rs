//! Beats, sweeping, waiting, header and clock.

use std::time::Duration;

use bytes::Bytes;
use pet_ledger::{hints::Hints, Beat, Epoch, Known, LedgerError, Limits, ReplicaId, Seen};

use crate::{
    error::Does,
    reply::{bytes, cut, damaged, micros, number_of, Reply},
    scripts::{BEAT, CLOCK, HEADER, NEWS, REPLICAS, SWEEP},
    server::{Args, Lane, Server},
};

/// Lengths of name and address (4 bytes each, big-endian), both, and anything else.
fn pack(beat: &Beat) -> Vec<u8> {
    let (name, address) = (beat.name.as_bytes(), beat.address.as_bytes());
    let lengths = [name.len(), address.len()].map(|length| (length as u32).to_be_bytes());
    [&lengths[0][..], &lengths[1], name, address, &beat.info].concat()
}

fn unpack(replica: ReplicaId, packed: Vec<u8>) -> Result<Beat, LedgerError> {
    const WHAT: &str = "what a replica said about itself";
    let (lengths, mut rest) = cut(packed, 8, WHAT)?;
    let mut text = |length: &[u8]| {
        let length = u32::from_be_bytes(length.try_into().map_err(|_| damaged(WHAT))?) as usize;
        if rest.len() < length {
            return Err(damaged(WHAT));
        }
        let text = rest.split_to(length);
        Ok(String::from_utf8_lossy(&text).into_owned())
    };
    let (name, address) = (text(&lengths[..4])?, text(&lengths[4..])?);
    Ok(Beat { replica, name, address, info: rest })
}

pub(super) async fn beat(server: &Server, beat: Beat) -> Result<(), LedgerError> {
    beat.check()?;
    let most = Limits::ALL.replicas;
    let args = Args::new().bytes(&beat.replica.0[..]).bytes(pack(&beat)).number(most as u64);
    let done = server.run(Lane::Quick, Does::Write, &BEAT, &[], args).await?;
    if number_of(&bytes(done)?)? == 0 {
        let (what, number) = ("the number of replicas", most + 1);
        return Err(LedgerError::TooLarge { what, number, most });
    }
    Ok(())
}

pub(super) async fn replicas(server: &Server) -> Result<Vec<Seen>, LedgerError> {
    let said = server.run(Lane::Quick, Does::Read, &REPLICAS, &[], Args::new()).await?;
    let mut said = Reply::of(said)?;
    let mut seen = Vec::with_capacity(said.len() / 3);
    while said.len() > 0 {
        let replica = ReplicaId(said.fixed("the list of replicas")?);
        seen.push(Seen { beat: unpack(replica, said.bytes()?)?, age: said.micros()? });
    }
    seen.sort_by_key(|seen| seen.beat.replica);
    Ok(seen)
}

pub(super) async fn sweep(
    server: &Server,
    epoch: Epoch,
    silent_for: Duration,
) -> Result<Vec<ReplicaId>, LedgerError> {
    let args = Args::new().number(epoch.0).bytes(micros(silent_for));
    let said = server.run(Lane::Log, Does::Write, &SWEEP, &[], args).await?;
    let mut said = Reply::of(said)?;
    if said.bytes()? == b"fenced" {
        return Err(LedgerError::Fenced { epoch: said.epoch()? });
    }
    let mut lost = Vec::with_capacity(said.len());
    while said.len() > 0 {
        lost.push(ReplicaId(said.fixed("the list of replicas")?));
    }
    lost.sort_unstable();
    Ok(lost)
}

pub(super) async fn changed(
    server: &Server,
    hints: &Hints,
    poll: Duration,
    known: Known,
    at_most: Duration,
) -> Result<bool, LedgerError> {
    hints.wait(poll, (known, at_most), || has_news(server, &known)).await
}

async fn has_news(server: &Server, known: &Known) -> Result<bool, LedgerError> {
    let to = known.answers.map(|replica| replica.0.to_vec()).unwrap_or_default();
    let said = server.run(Lane::Quick, Does::Read, &NEWS, &[], Args::new().bytes(to)).await?;
    let mut said = Reply::of(said)?;
    let (epoch, position, letter) = (said.epoch()?, said.position()?, said.letter()?);
    Ok(epoch != known.epoch
        || position > known.position
        || known.letters.is_some_and(|last| letter > last)
        || said.number()? > 0)
}

pub(super) async fn now(server: &Server) -> Result<Duration, LedgerError> {
    let said = server.run(Lane::Quick, Does::Read, &CLOCK, &[], Args::new()).await?;
    number_of(&bytes(said)?).map(Duration::from_micros)
}

pub(super) async fn header(server: &Server, new: Bytes) -> Result<Bytes, LedgerError> {
    let (what, number, most) = ("the header's length", new.len(), Limits::ALL.header);
    if number > most {
        return Err(LedgerError::TooLarge { what, number, most });
    }
    let args = Args::new().bytes(&new[..]);
    let said = server.run(Lane::Quick, Does::Write, &HEADER, &[], args).await?;
    bytes(said).map(Bytes::from)
}
