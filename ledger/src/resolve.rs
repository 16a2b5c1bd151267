//! What has become of an append whose answer was lost.

use std::future::Future;

use crate::{Append, Appended, Epoch, Head, Ledger, LedgerError};

/// What has become of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// It was done. (The log may have gone on since.)
    Done(Head),
    /// It was not done, and may yet be: the same is to be appended again, and nothing else before that.
    NotDone(Head),
    /// It was not done and never will be: the lease has changed hands.
    Fenced {
        /// The latest epoch.
        epoch: Epoch,
    },
    /// It was not done and never will be: somebody else has written there.
    Other(Head),
}

/// Reads back what has become of an append that ended in [`LedgerError::Unknown`].
///
/// An append without entries leaves nothing in the log to tell by: it counts as not done, and to do it twice does no harm.
///
/// # Errors
/// Those of [`Ledger::head`] and [`Ledger::read`]: it is as unknown as before.
pub async fn resolve(ledger: &dyn Ledger, append: &Append) -> Result<Resolved, LedgerError> {
    let (position, hash) = append.end();
    let head = ledger.head().await?;
    if head.position < position || append.entries.is_empty() {
        return Ok(if head.epoch != append.epoch {
            Resolved::Fenced { epoch: head.epoch }
        } else if (head.position, head.hash) == (append.after, append.hash) {
            Resolved::NotDone(head)
        } else {
            Resolved::Other(head)
        });
    }
    if position < head.first && position < head.position {
        // Only who leads forgets, and whoever asks has not.
        return Ok(Resolved::Fenced { epoch: head.epoch });
    }
    let there = if head.position == position {
        head.hash
    } else {
        let before = crate::Position(position.0 - 1);
        match ledger.read(before, 1, 1).await {
            Ok(entries) => entries.first().map(|entry| entry.hash).unwrap_or_default(),
            Err(LedgerError::Forgotten { .. }) => {
                return Ok(Resolved::Fenced { epoch: head.epoch })
            }
            Err(error) => return Err(error),
        }
    };
    Ok(if there == hash { Resolved::Done(head) } else { Resolved::Other(head) })
}

/// Appends until it is certain what has become of it: after an unknown outcome the same again, until the ledger says that it is
/// done, or never will be. Between two tries `pause` is awaited; it ends the tries with `false`.
///
/// # Errors
/// The last one, if `pause` has ended the tries, and any that is not passing at once. Whether it was done is then unknown if any
/// try ended so: the error is [`LedgerError::Unknown`] in that case, whatever the last one was.
pub async fn append_surely<P>(
    ledger: &dyn Ledger,
    append: Append,
    mut pause: impl FnMut(&LedgerError) -> P,
) -> Result<Appended, LedgerError>
where
    P: Future<Output = bool>,
{
    let mut unknown = None;
    loop {
        let outcome = match unknown {
            None => ledger.append(append.clone()).await,
            Some(_) => again(ledger, &append).await,
        };
        let error = match outcome {
            Ok(appended) => return Ok(appended),
            Err(error) => error,
        };
        if error.is_unknown() {
            unknown = Some(error.clone());
        }
        if !error.is_passing() || !pause(&error).await {
            return Err(unknown.unwrap_or(error));
        }
    }
}

/// Looks what has become of an append that may have been done, and does it if it was not.
async fn again(ledger: &dyn Ledger, append: &Append) -> Result<Appended, LedgerError> {
    match resolve(ledger, append).await? {
        Resolved::Done(head) => return Ok(Appended::Done(head)),
        Resolved::Fenced { epoch } => return Ok(Appended::Fenced { epoch }),
        Resolved::Other(head) => return Ok(Appended::Conflict(head)),
        Resolved::NotDone(_) => {}
    }
    let appended = ledger.append(append.clone()).await?;
    if !matches!(appended, Appended::Done(_)) {
        // Perhaps the first try was done in between.
        if let Resolved::Done(head) = resolve(ledger, append).await? {
            return Ok(Appended::Done(head));
        }
    }
    Ok(appended)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::{
        memory::{random_faults, script, Call, Fault, MemoryEngine, MemoryLedger},
        Ask, Lease, Position, ReplicaId,
    };

    const TTL: Duration = Duration::from_secs(5);

    async fn lead(ledger: &MemoryLedger, number: u8) -> Epoch {
        let (replica, name) = (ReplicaId([number; 16]), String::new());
        match ledger
            .lease(Ask { replica, name, ttl: TTL, elapsed: None, renews: None })
            .await
            .unwrap()
        {
            Lease::Held { epoch, .. } => epoch,
            other => panic!("{other:?}"),
        }
    }

    fn entry(epoch: Epoch, head: &Head, text: &'static str) -> Append {
        Append {
            epoch,
            after: head.position,
            hash: head.hash,
            entries: vec![Bytes::from_static(text.as_bytes())],
            answers: Vec::new(),
            elapsed: None,
        }
    }

    async fn never(_: LedgerError) -> bool {
        false
    }

    async fn unknown(ledger: &MemoryLedger, append: &Append, fault: Fault) {
        ledger.set_faults(script(Call::Append, [fault]));
        assert!(ledger.append(append.clone()).await.unwrap_err().is_unknown());
    }

    #[tokio::test]
    async fn what_was_done_is_found_and_what_was_not() {
        let ledger = MemoryEngine::standing().ledger();
        let epoch = lead(&ledger, 1).await;
        let append = entry(epoch, &ledger.head().await.unwrap(), "a");
        unknown(&ledger, &append, Fault::LostBefore).await;
        let resolved = resolve(&ledger, &append).await.unwrap();
        assert!(matches!(resolved, Resolved::NotDone(_)), "{resolved:?}");
        unknown(&ledger, &append, Fault::LostAfter).await;
        let resolved = resolve(&ledger, &append).await.unwrap();
        assert!(matches!(resolved, Resolved::Done(head) if head.position == Position(1)));
    }

    #[tokio::test]
    async fn what_a_later_leader_has_built_upon_was_done() {
        let engine = MemoryEngine::standing();
        let (one, other) = (engine.ledger(), engine.ledger());
        let old = lead(&one, 1).await;
        let append = entry(old, &one.head().await.unwrap(), "a");
        unknown(&one, &append, Fault::LostAfter).await;
        engine.advance(TTL * 2);
        let new = lead(&other, 2).await;
        let head = other.head().await.unwrap();
        other.append(entry(new, &head, "b")).await.unwrap();
        let resolved = resolve(&one, &append).await.unwrap();
        assert!(matches!(resolved, Resolved::Done(head) if head.position == Position(2)));
        // Once it is forgotten nobody can tell, and who asks does not lead any more.
        other.forget(new, Position(2)).await.unwrap();
        assert_eq!(resolve(&one, &append).await.unwrap(), Resolved::Fenced { epoch: new });
    }

    #[tokio::test]
    async fn what_a_later_leader_has_replaced_was_not_done() {
        let engine = MemoryEngine::standing();
        let (one, other) = (engine.ledger(), engine.ledger());
        let old = lead(&one, 1).await;
        let append = entry(old, &one.head().await.unwrap(), "a");
        unknown(&one, &append, Fault::DoneLater(TTL * 3)).await;
        engine.advance(TTL * 2);
        let new = lead(&other, 2).await;
        assert_eq!(resolve(&one, &append).await.unwrap(), Resolved::Fenced { epoch: new });
        other.append(entry(new, &other.head().await.unwrap(), "b")).await.unwrap();
        // It arrives at last, and is refused.
        engine.advance(TTL * 2);
        let resolved = resolve(&one, &append).await.unwrap();
        assert!(matches!(resolved, Resolved::Other(head) if head.position == Position(1)));
    }

    /// The append arrives between the look and the second try: it is done once, and told so.
    #[tokio::test]
    async fn an_append_that_comes_late_is_done_once() {
        let engine = MemoryEngine::standing();
        let ledger = engine.ledger();
        let epoch = lead(&ledger, 1).await;
        let append = entry(epoch, &ledger.head().await.unwrap(), "a");
        let mut calls = 0;
        ledger.set_faults(move |call| {
            calls += usize::from(call == Call::Append);
            match (call, calls) {
                (Call::Append, 1) => Fault::DoneLater(Duration::from_secs(1)),
                (Call::Append, 2) => Fault::Late(Duration::from_secs(2)),
                _ => Fault::None,
            }
        });
        let trying = append_surely(&ledger, append, |_| async { true });
        let passing = async {
            for _ in 0..4 {
                tokio::task::yield_now().await;
                engine.advance(Duration::from_secs(1));
            }
        };
        let (appended, ()) = tokio::join!(trying, passing);
        let Ok(Appended::Done(head)) = appended else { panic!("{appended:?}") };
        assert_eq!(head.position, Position(1));
        assert_eq!(ledger.read(Position(0), 10, 100).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn tries_end_as_the_caller_says_and_tell_that_it_is_unknown() {
        let ledger = MemoryEngine::standing().ledger();
        let epoch = lead(&ledger, 1).await;
        let append = entry(epoch, &ledger.head().await.unwrap(), "a");
        ledger.cut(true);
        let error = append_surely(&ledger, append.clone(), |error| never(error.clone())).await;
        assert!(error.unwrap_err().is_unknown());
        // A refusal after that does not make it known.
        let full = LedgerError::NoRoom { engine: "it", why: String::new() };
        let mut first = true;
        ledger.set_faults(move |call| match (call, std::mem::take(&mut first)) {
            (Call::Append, true) => Fault::LostAfter,
            (Call::Append, false) => Fault::None,
            _ => Fault::Error(full.clone()),
        });
        let mut tries = 0;
        let outcome = append_surely(&ledger, append, |_| {
            tries += 1;
            let more = tries < 3;
            async move { more }
        });
        assert!(outcome.await.unwrap_err().is_unknown());
        assert_eq!(tries, 3);
    }

    /// Whatever goes wrong, each entry is there once and in order, and what is told is true.
    #[tokio::test]
    async fn random_faults_lose_and_double_nothing() {
        for seed in 0..200 {
            let engine = MemoryEngine::standing();
            let (ledger, sound) = (engine.ledger(), engine.ledger());
            let epoch = lead(&sound, 1).await;
            ledger.set_faults(random_faults(seed, 2, Duration::from_secs(1)));
            let appending = async {
                let mut head = sound.head().await.unwrap();
                for _ in 0..20 {
                    let append = entry(epoch, &head, "x");
                    let end = append.end();
                    let appended = append_surely(&ledger, append, |_| async {
                        tokio::task::yield_now().await;
                        true
                    });
                    let Ok(Appended::Done(now)) = appended.await else { panic!("seed {seed}") };
                    assert_eq!((now.position, now.hash), end, "seed {seed}");
                    head = now;
                }
            };
            let passing = async {
                loop {
                    tokio::task::yield_now().await;
                    engine.advance(Duration::from_millis(100));
                }
            };
            tokio::select! { () = appending => {} () = passing => unreachable!() }
            assert_eq!(sound.head().await.unwrap().position, Position(20), "seed {seed}");
            let entries = sound.read(Position(0), 100, 1000).await.unwrap();
            crate::verify_chain(Position(0), crate::EntryHash::default(), &entries).unwrap();
        }
    }
}
