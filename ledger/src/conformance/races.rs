//! What several do at once.

use std::sync::{
    atomic::{AtomicUsize, Ordering},
    Arc,
};

use tokio::task::JoinSet;

use super::{
    append, ask, done, ensure, entry, equal, lead, letter, replica, Checked, Factory, Ledgers,
    Wrong,
};
use crate::{
    verify_chain, Append, Appended, EntryHash, Epoch, Lease, Ledger, LedgerError, LetterId,
    Position,
};

/// All that were spawned, in any order.
async fn all<T: 'static>(mut tasks: JoinSet<Result<T, LedgerError>>) -> Result<Vec<T>, Wrong> {
    let mut done = Vec::new();
    while let Some(joined) = tasks.join_next().await {
        done.push(joined.map_err(|error| format!("a call panics: {error}"))??);
    }
    Ok(done)
}

pub(super) async fn one_takes_the_lease(factory: &dyn Factory, ledgers: Ledgers) -> Checked {
    let ttl = factory.unit() * 20;
    let mut tasks = JoinSet::new();
    for number in 0..12 {
        let ledger = ledgers[usize::from(number) % 3].clone();
        tasks.spawn(async move { ledger.lease(ask(number, ttl)).await });
    }
    let leases = all(tasks).await?;
    let held = leases.iter().filter(|lease| matches!(lease, Lease::Held { .. })).count();
    equal!(held, 1, "how many hold the lease: {leases:?}");
    equal!(ledgers[0].head().await?.epoch, Epoch(1), "the epoch");
    Ok(())
}

pub(super) async fn one_appends(_: &dyn Factory, ledgers: Ledgers) -> Checked {
    let epoch = lead(&ledgers[0], 1).await?;
    for round in 0..5u64 {
        let head = ledgers[0].head().await?;
        let mut tasks = JoinSet::new();
        for (number, ledger) in ledgers.iter().enumerate() {
            let (ledger, text) = (ledger.clone(), format!("{number}"));
            let append = append(epoch, &head, &[&text]);
            tasks.spawn(async move { ledger.append(append).await });
        }
        let appended = all(tasks).await?;
        let done = appended.iter().filter(|a| matches!(a, Appended::Done(_))).count();
        equal!(done, 1, "how many append at one position: {appended:?}");
        equal!(ledgers[0].head().await?.position, Position(round + 1), "the position");
    }
    let read = ledgers[0].read(Position(0), 100, 10000).await?;
    verify_chain(Position(0), EntryHash::default(), &read)?;
    Ok(())
}

/// A leader appends one entry after another, while the lease goes to somebody else: what it was told is done is there, in front
/// of what the new one appends; nothing of it comes later.
pub(super) async fn a_leader_is_fenced_between_two_appends(
    _: &dyn Factory,
    [one, other, third]: Ledgers,
) -> Checked {
    let old = lead(&one, 1).await?;
    let mut head = one.head().await?;
    let zombie = tokio::spawn(async move {
        let mut acknowledged = Vec::new();
        loop {
            match one.append(append(old, &head, &["old"])).await {
                Ok(Appended::Done(now)) => {
                    acknowledged.push((now.position, now.hash));
                    head = now;
                }
                Ok(Appended::Fenced { .. }) => return Ok(acknowledged),
                other => return Err(format!("neither done nor fenced: {other:?}")),
            }
            tokio::task::yield_now().await;
        }
    });
    while !zombie.is_finished() && third.head().await?.position < Position(3) {
        tokio::task::yield_now().await;
    }
    other.release(replica(1), old).await?;
    let new = lead(&other, 2).await?;
    let head = other.head().await?;
    done(other.append(append(new, &head, &["new"])).await?)?;
    let acknowledged = zombie.await.map_err(|error| format!("it panics: {error}"))??;
    let read = third.read(Position(0), 100_000, 1 << 30).await?;
    verify_chain(Position(0), EntryHash::default(), &read)?;
    let of_old = &read[..read.len() - 1];
    let there: Vec<_> = of_old.iter().map(|entry| (entry.position, entry.hash)).collect();
    equal!(there, acknowledged, "what the old leader was told is done");
    ensure!(of_old.iter().all(|entry| entry.epoch == old), "entries of another epoch");
    Ok(())
}

/// Who reads letters one after another, while several post, gets each once and in order.
pub(super) async fn no_letter_is_missed(_: &dyn Factory, ledgers: Ledgers) -> Checked {
    let epoch = lead(&ledgers[0], 1).await?;
    const EACH: usize = 15;
    let finished = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for number in 0..6u8 {
        let ledger: Arc<dyn Ledger> = ledgers[usize::from(number) % 3].clone();
        let finished = finished.clone();
        tasks.spawn(async move {
            let mut posted = Ok(());
            for i in 0..EACH {
                let one = ledger.post(vec![letter(number, &format!("{i}"), "x")]).await;
                posted = posted.and(one.map(drop));
                tokio::task::yield_now().await;
            }
            finished.fetch_add(1, Ordering::SeqCst);
            posted
        });
    }
    let (mut last, mut read) = (LetterId(0), Vec::new());
    // Until nobody posts any more and there is nothing left.
    loop {
        let ended = finished.load(Ordering::SeqCst) == 6;
        let letters = ledgers[0].letters(epoch, last, 7, 1000).await?;
        let more = !letters.is_empty();
        for posted in letters {
            ensure!(posted.id > last, "letter {} comes after {last}", posted.id);
            last = posted.id;
            read.push(posted);
        }
        if ended && !more {
            break;
        }
        tokio::task::yield_now().await;
    }
    all(tasks).await?;
    equal!(read.len(), 6 * EACH, "the number of letters that were read");
    let there = ledgers[1].letters(epoch, LetterId(0), 1000, 100_000).await?;
    equal!(read, there, "the letters that were read while others came");
    Ok(())
}

pub(super) async fn a_letter_with_a_key_is_posted_at_once_by_two(
    _: &dyn Factory,
    ledgers: Ledgers,
) -> Checked {
    let epoch = lead(&ledgers[0], 1).await?;
    for round in 0..5 {
        let mut tasks = JoinSet::new();
        for ledger in ledgers.clone() {
            let key = format!("{round}");
            tasks.spawn(async move { ledger.post(vec![letter(2, &key, "x")]).await });
        }
        let ids = all(tasks).await?;
        ensure!(ids.windows(2).all(|pair| pair[0] == pair[1]), "the ids of one letter: {ids:?}");
    }
    let letters = ledgers[0].letters(epoch, LetterId(0), 100, 10000).await?;
    equal!(letters.len(), 5, "the number of letters");
    let answers = letters.iter().map(|posted| (posted.id, entry("a"))).collect();
    let head = ledgers[0].head().await?;
    done(ledgers[0].append(Append { answers, ..append(epoch, &head, &[]) }).await?)?;
    Ok(())
}
