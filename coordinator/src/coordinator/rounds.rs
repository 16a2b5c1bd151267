//! The rounds that a coordinator runs: of version 1, or of version 2.

use std::{path::Path, sync::Arc};

use axum::Router;
use pet_core::{
    coordinator::{Coordinator as Machine, Recovery},
    crypto::RootSeed,
    model::Model,
    record::Recorded,
    v2::coordinator::{self as v2, Coordinator as MachineOfV2},
};
use tokio::{
    sync::{oneshot, watch},
    task::spawn_blocking,
};
use tracing::info;

#[cfg(feature = "replicas")]
use super::limits::relay_limits;
use super::{count, upload_limits, Options, StartError, SEEDS_ROOM};
pub use crate::federation::RosterError;
#[cfg(feature = "replicas")]
use crate::replica::{self, Replica, SharedError};
use crate::{
    admin::{Addressee, Office},
    board::Board,
    driver::{Clock, Driver, DriverError},
    federation::{self, read_roster, tell_noise, Parts, Surroundings},
    http,
    initial::{initial_model, InitialModelError},
    intake::Intake,
    metrics::Counters,
    models::Library,
    settings::Settings,
    status::Observer,
    store::{
        rounds::{Kept, RestoredRounds, RoundMemory, RoundStore},
        Models, Restored, Store, StoreError, Volatile,
    },
};

/// What rounds need of the rest of the program.
pub(super) struct Around {
    pub counters: Arc<Counters>,
    pub observer: Observer,
    pub stopped: watch::Receiver<bool>,
}

/// Rounds that are ready to run.
pub(super) struct Rounds {
    pub driving: Driving,
    pub router: Router,
    pub models: Arc<dyn Models>,
}

/// Whoever runs them.
pub(super) enum Driving {
    V1(Box<Driver>),
    V2(Box<federation::Driver>),
    #[cfg(feature = "replicas")]
    Replica(Box<Replica>),
}

impl Driving {
    /// Where the operator's requests go.
    pub fn addressee(&self, settings: &Settings) -> Addressee {
        let commands = match self {
            Self::V1(driver) => driver.commands(),
            Self::V2(driver) => driver.commands(),
            #[cfg(feature = "replicas")]
            Self::Replica(replica) => return Addressee::Leader(replica.requests()),
        };
        Addressee::Here(Box::new(Office::new(commands, settings.clone())))
    }

    /// Runs rounds until `stop` resolves or its sender is gone, and then until all is stored.
    pub async fn run(self, stop: oneshot::Receiver<()>) -> Result<(), DriverError> {
        match self {
            Self::V1(driver) => driver.run(stop).await,
            Self::V2(driver) => driver.run(stop).await,
            #[cfg(feature = "replicas")]
            Self::Replica(replica) => replica.run(stop).await,
        }
    }
}

/// Whether the roster that settings name, if they do, can be used with them.
///
/// # Errors
/// Why it cannot.
pub fn check_roster(settings: &Settings) -> Result<(), StartError> {
    let Some(path) = &settings.pet.v2.roster_file else { return Ok(()) };
    let checked = settings.federation(read_roster(path)?).validate();
    checked.map_err(|invalid| StartError::Settings(invalid.into()))
}

/// Rounds of version 1, which go on from what is stored.
pub(super) async fn rounds_of_v1(
    settings: &Settings,
    options: Options,
    given: Option<RootSeed>,
    seed: RootSeed,
    around: Around,
) -> Result<Rounds, StartError> {
    let Around { counters, observer, stopped } = around;
    let store = options.store.unwrap_or_else(|| Box::new(Volatile::default()));
    let (store, Restored { recovery, elapsed }) = restore(store, seed).await?;
    if given.is_some_and(|given| given != *recovery.root()) {
        return Err(StoreError::OtherSeed.into());
    }
    let (store, recovery) = match &options.initial_model {
        Some(_) if options.record.is_some() => return Err(InitialModelError::Recorded.into()),
        Some(weights) => begin_with(weights, settings, store, recovery).await?,
        None => (store, recovery),
    };
    let models = store.models();
    let clock = Clock::start();
    let machine = match options.record {
        Some(_) if recovery.round_id().is_some() => return Err(StartError::RecordOfRestored),
        Some(_) if settings.pet.optimizer.kind.is_some() => {
            return Err(StartError::RecordOfOptimizer)
        }
        Some(sink) => {
            let root = recovery.root().clone();
            Recorded::<Machine>::record(settings.protocol(), root, clock.now(), sink)?
        }
        None => Machine::resume(recovery, elapsed, settings.protocol(), clock.now())?.into(),
    };
    let max_message_len = settings.mask_object_len().saturating_add(SEEDS_ROOM);
    let library = Arc::new(Library::new(count(settings.limits.answer_bytes)));
    let (board, read_board) = watch::channel(Board::new(max_message_len, Arc::clone(&library)));
    let (driver, deliver) =
        Driver::new(machine, clock, board, Arc::clone(&counters), observer, store);
    let intake = Intake::new(read_board, counters, deliver, models.clone(), library, stopped);
    let router = http::router(intake, upload_limits(settings, max_message_len));
    Ok(Rounds { driving: Driving::V1(Box::new(driver)), router, models })
}

/// Rounds of version 1 that this coordinator shares with others.
#[cfg(feature = "replicas")]
pub(super) async fn rounds_of_replica(
    settings: &Settings,
    options: Options,
    given: Option<RootSeed>,
    seed: RootSeed,
    around: Around,
    address: std::net::SocketAddr,
) -> Result<Rounds, StartError> {
    if options.record.is_some() {
        return Err(StartError::RecordOfShared);
    }
    if options.initial_model.is_some() {
        return Err(InitialModelError::OfShared.into());
    }
    let refused = |error| StartError::Store(StoreError::Shared(error));
    let shared = options.shared.ok_or(refused(SharedError::NeedsSecret))?;
    replica::look(&shared).await.map_err(refused)?;
    let Around { counters, observer, stopped } = around;
    let max_message_len = settings.mask_object_len().saturating_add(SEEDS_ROOM);
    let library = Arc::new(Library::new(count(settings.limits.answer_bytes)));
    let (board, read_board) = watch::channel(Board::new(max_message_len, Arc::clone(&library)));
    let around = replica::Around {
        counters: Arc::clone(&counters),
        observer,
        board,
        name: replica::name(address),
        address: address.to_string(),
        limits: relay_limits(settings, max_message_len),
    };
    let replica = Replica::new(shared, settings.clone(), given, seed, around);
    let replica = replica.map_err(refused)?;
    let (routes, models) = (replica.routes(), replica.models());
    let intake = Intake::new(read_board, counters, routes, models.clone(), library, stopped);
    let router = http::router(intake, upload_limits(settings, max_message_len));
    Ok(Rounds { driving: Driving::Replica(Box::new(replica)), router, models })
}

/// Rounds of version 2, with the roster in this file, which go on from what is stored.
pub(super) async fn rounds_of_v2(
    settings: &Settings,
    roster: &Path,
    options: Options,
    given: Option<RootSeed>,
    seed: RootSeed,
    around: Around,
) -> Result<Rounds, StartError> {
    if options.record.is_some() {
        return Err(StartError::RecordOfFederation);
    }
    if options.initial_model.is_some() {
        return Err(InitialModelError::OfFederation.into());
    }
    let Around { counters, observer, stopped } = around;
    let settings_of_v2 = settings.federation(read_roster(roster)?);
    tell_noise(&settings_of_v2);
    let kept =
        Kept { rounds: settings.storage.models_kept, audited: settings.pet.v2.rounds_audited };
    let store = options.round_store.unwrap_or_else(|| Box::new(RoundMemory::keeping(kept)));
    let (store, mut restored) = restore_rounds(store, seed).await?;
    if given.is_some_and(|given| given != *restored.recovery.root()) {
        return Err(StoreError::OtherSeed.into());
    }
    let clock = federation::Clock::start();
    let root = restored.recovery.root().clone();
    let recovery = std::mem::replace(&mut restored.recovery, v2::Recovery::new(root));
    let machine = MachineOfV2::resume(recovery, restored.elapsed, settings_of_v2, clock.now())?;
    let max_message_len = settings.mask_object_len().saturating_add(SEEDS_ROOM);
    let library = Arc::new(Library::new(count(settings.limits.answer_bytes)));
    let around = Surroundings { counters, observer, library, stop: stopped, max_message_len };
    let Parts { driver, intake, models } = Parts::new(machine, clock, &restored, store, around);
    let router = http::router_v2(intake, upload_limits(settings, max_message_len));
    Ok(Rounds { driving: Driving::V2(Box::new(driver)), router, models })
}

/// Reads what a store has, which may take a while.
async fn restore(
    mut store: Box<dyn Store>,
    seed: RootSeed,
) -> Result<(Box<dyn Store>, Restored), StoreError> {
    let read = spawn_blocking(move || {
        let restored = store.restore(seed)?;
        Ok((store, restored))
    });
    // It fails only with a panic.
    read.await.unwrap_or_else(|error| Err(StoreError::Panicked(error.to_string())))
}

/// Has a federation that has no global model yet begin with one.
async fn begin_with(
    weights: &Model,
    settings: &Settings,
    mut store: Box<dyn Store>,
    recovery: Recovery,
) -> Result<(Box<dyn Store>, Recovery), StartError> {
    // Also where it is of no use: a file of another federation is a mistake, whenever it is found.
    let model = initial_model(weights, settings)?;
    if let Some(latest) = store.models().rounds().last() {
        info!(round = latest, "the initial model is not used: there is a global model");
        return Ok((store, recovery));
    }
    let written = spawn_blocking(move || {
        store.begin_with(&model)?;
        Ok((store, recovery.with_model(Some(model))))
    });
    // It fails only with a panic.
    let written =
        written.await.unwrap_or_else(|error| Err(StoreError::Panicked(error.to_string())));
    info!(weights = settings.model.length, "the first round begins with the initial model");
    Ok(written?)
}

/// The same for rounds of version 2.
async fn restore_rounds(
    mut store: Box<dyn RoundStore>,
    seed: RootSeed,
) -> Result<(Box<dyn RoundStore>, RestoredRounds), StoreError> {
    let read = spawn_blocking(move || {
        let restored = store.restore(seed)?;
        Ok((store, restored))
    });
    // It fails only with a panic.
    read.await.unwrap_or_else(|error| Err(StoreError::Panicked(error.to_string())))
}

impl From<v2::ResumeError> for StartError {
    fn from(error: v2::ResumeError) -> Self {
        match error {
            v2::ResumeError::Settings(invalid) => Self::Settings(invalid.into()),
            other => Self::ResumeOfV2(other),
        }
    }
}
