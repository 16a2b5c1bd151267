//! Beginning a federation with what a coordinator had in another place.

use std::sync::Arc;

use pet_core::{
    coordinator::{EndedRound, PersistId, Record},
    crypto::RootSeed,
};
use pet_ledger::{Position, ReplicaId};
use tokio::{sync::watch, time::Duration};

use super::{
    follower::{Follower, MODEL},
    item::KeptModel,
    kept::Kept,
    lease::{Attempt, Candidate, PhaseClock, Tenancy},
    log::End,
    models::SharedModels,
    shared::{aside, Shared},
    writer::Writer,
    SharedError, SharedStore,
};
use crate::transfer::{Holdings, TransferError};

/// How long others wait for one that was broken off.
const LEASE: Duration = Duration::from_secs(15);

/// What has become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The federation begins with it.
    Begun,
    /// The federation had begun with it before.
    WasThere {
        /// Its last round, or the one that it is in.
        round_id: u64,
    },
}

/// Begins a federation with what a coordinator had in another place, if nothing has begun there yet. `before` is called when all is
/// prepared, before it counts: from then on it may be there, whatever this returns.
///
/// It may be called again after any failure.
pub(crate) async fn found(
    store: &SharedStore,
    holdings: &Holdings,
    before: impl FnOnce() -> Result<(), TransferError>,
) -> Result<Found, TransferError> {
    let shared = store.reach().await?.clone();
    let (candidate, tenancy) = take(store, &shared).await?;
    let clock = PhaseClock::default();
    let done = tokio::select! {
        lost = candidate.keep(&shared, &tenancy, &clock) => Err(lost.into()),
        done = begin(store, &shared, &tenancy, holdings, before) => done,
    };
    candidate.release(&shared, tenancy.epoch).await;
    done
}

/// Goes on with a federation whose engine went back in time: without the round that was in it, and with keys that follow from another
/// root. Gives the number of the last round: `last_round`, if that is a later one.
pub(crate) async fn renew(
    store: &SharedStore,
    root: RootSeed,
    last_round: Option<u64>,
) -> Result<u64, TransferError> {
    let shared = store.reach().await?.clone();
    let (candidate, tenancy) = take(store, &shared).await?;
    let clock = PhaseClock::default();
    let done = tokio::select! {
        lost = candidate.keep(&shared, &tenancy, &clock) => Err(lost.into()),
        done = go_on(store, &shared, &tenancy, root, last_round) => done,
    };
    candidate.release(&shared, tenancy.epoch).await;
    done
}

async fn go_on(
    store: &SharedStore,
    shared: &Shared,
    tenancy: &Tenancy,
    root: RootSeed,
    last_round: Option<u64>,
) -> Result<u64, TransferError> {
    let models = Arc::new(SharedModels::new(store.clone()));
    let mut known = Follower::new(shared.clone(), Arc::clone(&models), usize::MAX, None).await?;
    known.advance().await?;
    let (round, kept, end) = known.into_ended();
    let nothing = || TransferError::NothingShared { federation: store.federation().to_owned() };
    let mut round = round.ok_or_else(nothing)?;
    round.round_id = round.round_id.max(last_round.unwrap_or(0));
    let mut writer = writer(shared, tenancy, end, &root, kept, models);
    let began = end.position.later(1);
    writer.write(records(&round, &root), None).await?;
    // Nobody reads the old records any more.
    shared.ledger().forget(tenancy.epoch, began).await.map_err(SharedError::from)?;
    Ok(round.round_id)
}

fn records(round: &EndedRound, root: &RootSeed) -> Vec<(PersistId, Record)> {
    round.records(root).into_iter().map(|record| (PersistId(0), record)).collect()
}

fn writer(
    shared: &Shared,
    tenancy: &Tenancy,
    end: End,
    root: &RootSeed,
    kept: Kept,
    models: Arc<SharedModels>,
) -> Writer {
    Writer {
        shared: shared.clone(),
        epoch: tenancy.epoch,
        end,
        root: root.clone(),
        kept,
        models,
        models_kept: usize::MAX,
        clock: Arc::default(),
        until: tenancy.until.subscribe(),
        looked: None,
        written: watch::channel(end).0,
    }
}

/// Keeps replicas out.
async fn take(store: &SharedStore, shared: &Shared) -> Result<(Candidate, Tenancy), TransferError> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(SharedError::Randomness)?;
    let name = format!("pet-coordinator (process {})", std::process::id());
    let candidate = Candidate { replica: ReplicaId(id), name, ttl: LEASE };
    match candidate.attempt(shared).await? {
        Attempt::Held(tenancy) => Ok((candidate, tenancy)),
        Attempt::Taken { by, .. } => {
            Err(TransferError::InUse { federation: store.federation().to_owned(), by })
        }
    }
}

async fn begin(
    store: &SharedStore,
    shared: &Shared,
    tenancy: &Tenancy,
    holdings: &Holdings,
    before: impl FnOnce() -> Result<(), TransferError>,
) -> Result<Found, TransferError> {
    let models = Arc::new(SharedModels::new(store.clone()));
    let head = shared.ledger().head().await.map_err(SharedError::from)?;
    if head.position != Position(0) {
        let mut known = Follower::new(shared.clone(), models, usize::MAX, None).await?;
        known.advance().await?;
        if known.root() != Some(&holdings.root) {
            return Err(TransferError::NotEmpty { federation: store.federation().to_owned() });
        }
        let (round, ..) = known.into_ended();
        return Ok(Found::WasThere { round_id: round.map_or(0, |round| round.round_id) });
    }
    let mut kept = Kept::default();
    kept.begin(store_models(shared, holdings).await?);
    let end = End::in_front_of(&head);
    let mut writer = writer(shared, tenancy, end, &holdings.root, kept, models);
    before()?;
    // All at once: the root, the models and the round, or nothing.
    writer.write(records(&holdings.round, &holdings.root), None).await?;
    Ok(Found::Begun)
}

/// Stores the global models. Nothing names them yet: should it end here, they are swept by and by.
async fn store_models(
    shared: &Shared,
    holdings: &Holdings,
) -> Result<Vec<KeptModel>, TransferError> {
    let mut kept = Vec::new();
    for round_id in holdings.models.rounds() {
        let models = Arc::clone(&holdings.models);
        let Some(model) = aside(move || models.load(round_id)).await?? else { continue };
        shared.archive(&model).await?;
        let bytes = aside(move || model.to_bytes()).await?;
        kept.push(KeptModel { round_id, part: shared.put(MODEL, bytes.into()).await? });
    }
    Ok(kept)
}
