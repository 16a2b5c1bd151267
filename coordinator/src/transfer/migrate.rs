//! From a directory to what several coordinators share.

use std::path::Path;

use pet_core::{coordinator::Phase, crypto::RootSeed};

use super::{Holdings, TransferError};
use crate::{
    replica::{found, Found, SharedError, SharedStore},
    store::{mark_moved, refuse_moved_elsewhere, Destination, DiskStore, Restored, Store},
};

/// What has become of a migration.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Migrated {
    /// The last round: the next one has the number after it.
    pub round_id: u64,
    /// The rounds whose global models went along.
    pub models: Vec<u64>,
    /// Whether all was there already.
    pub was_there: bool,
}

/// Moves the coordinator of a directory, which does not run, to what several coordinators share. What is there must be new, or the
/// same coordinator: so it may be called again after any failure. A directory that was moved to another place is refused. From the
/// moment on in which it may be there no coordinator begins in the directory any more.
///
/// A round in which messages were accepted is moved only if it is to be dropped.
///
/// # Errors
/// [`TransferError`].
pub async fn migrate(
    from: &Path,
    secret: Option<&[u8]>,
    to: &SharedStore,
    drop_round: bool,
) -> Result<Migrated, TransferError> {
    let mut store = DiskStore::inspect(from, secret)?;
    let destination = Destination { federation: to.federation(), number: to.number().await? };
    // The directory is locked by now: nobody else moves it.
    refuse_moved_elsewhere(from, destination)?;
    // Nothing that is new is kept.
    let unused =
        RootSeed::try_fill(|seed| getrandom::fill(seed)).map_err(SharedError::Randomness)?;
    let Restored { recovery, .. } = store.restore(unused)?;
    let nothing = || match store.models().rounds()[..] {
        [] => TransferError::Nothing { path: from.to_owned() },
        _ => TransferError::OnlyInitialModel { path: from.to_owned() },
    };
    let round = recovery.ended_round().ok_or_else(nothing)?;
    let (phase, accepted) = (recovery.phase(), recovery.accepted());
    let is_between = match phase {
        Phase::Idle | Phase::Failure => true,
        Phase::Sum => accepted == 0 && recovery.incomplete_bytes() == 0,
        _ => false,
    };
    if !is_between && !drop_round {
        return Err(TransferError::InRound { round_id: round.round_id, phase, accepted });
    }
    let holdings = Holdings { root: recovery.root().clone(), round, models: store.models() };
    let found = found(to, &holdings, || Ok(mark_moved(from, destination)?)).await?;
    if let Found::WasThere { round_id } = found {
        // It may have been broken off right before.
        mark_moved(from, destination)?;
        // Somebody may have taken the mark away, and gone on here.
        if round_id < holdings.round.round_id {
            let (federation, here) = (to.federation().to_owned(), holdings.round.round_id);
            return Err(TransferError::Behind { federation, there: round_id, here });
        }
    }
    Ok(Migrated {
        round_id: holdings.round.round_id,
        models: holdings.models.rounds(),
        was_there: found != Found::Begun,
    })
}
