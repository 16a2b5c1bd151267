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
