//! Beginning a coordinator with a backup.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use pet_core::{
    coordinator::{EndedRound, PersistId, Record},
    crypto::RootSeed,
};

use super::{backup::Backup, Holdings, TransferError};
use crate::{
    private,
    replica::{self, SharedError, SharedStore},
    store::{Confirmations, DiskStore, Models, Store, StoreError},
};

/// What is begun with a backup: all of its own but the models. Later rounds than the backup knows may have been seen, so that no
/// key that follows from the old root may be used again.
///
/// The round that was read first may have ended before the models were read.
fn holdings(backup: Backup, last_round: Option<u64>) -> Result<Holdings, TransferError> {
    check(last_round)?;
    let latest = backup.rounds().last().copied().unwrap_or(0);
    let round_id = backup.round.round_id.max(latest).max(last_round.unwrap_or(0));
    let round = EndedRound { round_id, ..backup.round.clone() };
    Ok(Holdings { root: new_root()?, round, models: Arc::new(backup) })
}

/// There has to be a next round.
fn check(last_round: Option<u64>) -> Result<(), TransferError> {
    match last_round {
        Some(u64::MAX) => Err(TransferError::LastRound),
        _ => Ok(()),
    }
}

pub(super) fn new_root() -> Result<RootSeed, SharedError> {
    RootSeed::try_fill(|seed| getrandom::fill(seed)).map_err(SharedError::Randomness)
}

/// Begins what several coordinators share with a backup; it must be new. Gives the number of the last round: that of the backup, or
/// `last_round`, if that is a later one that somebody has seen.
///
/// # Errors
/// [`TransferError`]. It may be called again.
pub async fn restore_shared(
    backup: Backup,
    to: &SharedStore,
    last_round: Option<u64>,
) -> Result<u64, TransferError> {
    let holdings = holdings(backup, last_round)?;
    replica::found(to, &holdings, || Ok(())).await?;
    Ok(holdings.round.round_id)
}

/// Goes on with a federation whose engine was put back from a backup of the engine's own, with new keys, and without the round that was
/// in it. No replica may run. Gives the number of the last round, as [`restore_shared`].
///
/// # Errors
/// [`TransferError`]. It may be called again.
pub async fn renew_shared(
    store: &SharedStore,
    last_round: Option<u64>,
) -> Result<u64, TransferError> {
    check(last_round)?;
    replica::renew(store, new_root()?, last_round).await
}

/// Begins a directory with a backup; it must not be there yet. Gives the number of the last round, as [`restore_shared`].
///
/// # Errors
/// [`TransferError`]. It may be called again.
pub fn restore_directory(
    backup: Backup,
    to: &Path,
    secret: Option<&[u8]>,
    last_round: Option<u64>,
) -> Result<u64, TransferError> {
    if to.exists() {
        let there = io::Error::new(io::ErrorKind::AlreadyExists, "there is something already");
        return Err(StoreError::io("restore to", to, there).into());
    }
    let holdings = holdings(backup, last_round)?;
    let mut unfinished = to.as_os_str().to_owned();
    unfinished.push(format!(".{}.part", std::process::id()));
    let unfinished = PathBuf::from(unfinished);
    // What another process of this number has left there is of no use.
    let made = match fs::remove_dir_all(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => DirBuilder::new().mode(0o700).create(&unfinished),
    };
    made.map_err(|error| StoreError::io("restore to", &unfinished, error))?;
    let written = write(&holdings, &unfinished, secret);
    let renamed = written.and_then(|()| {
        let renamed =
            fs::rename(&unfinished, to).and_then(|()| match std::path::absolute(to)?.parent() {
                Some(parent) => private::sync_dir(parent),
                None => Ok(()),
            });
        renamed.map_err(|error| StoreError::io("restore to", to, error).into())
    });
    if renamed.is_err() {
        // What is of no use should not lie about; if that fails, so be it.
        let _ = fs::remove_dir_all(&unfinished);
    }
    renamed.map(|()| holdings.round.round_id)
}

fn write(holdings: &Holdings, to: &Path, secret: Option<&[u8]>) -> Result<(), TransferError> {
    let mut store = DiskStore::open(to, secret, usize::MAX)?;
    store.restore(holdings.root.clone())?;
    let (confirmations, mut confirmed) = Confirmations::channel();
    let mut last = PersistId(0);
    let mut write = |record: Record| -> Result<(), TransferError> {
        last = PersistId(last.0 + 1);
        store.persist(last, record, &confirmations);
        // One at a time: models are large.
        while confirmed.blocking_recv().transpose()?.is_some_and(|id| id < last) {}
        Ok(())
    };
    for round_id in holdings.models.rounds() {
        if let Some(model) = holdings.models.load(round_id)? {
            write(Record::Model(model))?;
        }
    }
    holdings.round.records(&holdings.root).into_iter().try_for_each(write)?;
    drop(store);
    // As a coordinator will read it.
    let mut store = DiskStore::inspect(to, secret)?;
    store.restore(holdings.root.clone())?;
    Ok(())
}
