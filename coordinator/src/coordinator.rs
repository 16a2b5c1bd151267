//! Starts and stops all parts: machine, driver and HTTP.

mod limits;
mod rounds;

use std::{io, net::SocketAddr, sync::Arc};

use pet_core::{
    coordinator::{InvalidSettings, ResumeError},
    crypto::RootSeed,
    model::Model,
    record::Sink,
};
use thiserror::Error;
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
    task::JoinHandle,
};
use tracing::info;

pub(crate) use self::limits::{answer_limits, upload_limits};
#[cfg(feature = "replicas")]
use self::rounds::rounds_of_replica;
pub use self::rounds::{check_roster, RosterError};
use self::{
    limits::{connection_limits, count, rate_limit},
    rounds::{rounds_of_v1, rounds_of_v2, Around, Driving, Rounds},
};
use crate::{
    admin::{self, AdminError, Listeners, Token},
    driver::DriverError,
    http::{self, Answers, ConnectionLimits, Proxies},
    initial::InitialModelError,
    key,
    log::DroppedLines,
    metrics::{Counters, Metrics},
    panics,
    settings::{Settings, SettingsError},
    status::{self, Keepers, Status, View},
    store::{rounds::RoundStore, Models, Store, StoreError},
    tls::{Tls, TlsError, TlsFiles},
};

/// Room for the largest sum dictionaries that a message's length is first expected to reflect, in
/// bytes; a round with a larger one raises the limit.
const SEEDS_ROOM: usize = 4 << 20;

/// A running coordinator.
///
/// ```
/// use pet_coordinator::{settings::Settings, Coordinator};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut settings = Settings::for_model_length(1000);
/// settings.api.bind_address.set_port(0);
/// let coordinator = Coordinator::start(settings).await?;
/// assert_ne!(coordinator.local_addr().port(), 0);
/// coordinator.shutdown().await?;
/// # Ok(())
/// # }
/// ```
///
/// Dropping it without [`shutdown`](Self::shutdown) stops it as well, in the background, as long as
/// its tokio runtime still runs.
#[derive(Debug)]
pub struct Coordinator {
    local_addr: SocketAddr,
    tls: Option<Arc<Tls>>,
    admin_addr: Option<SocketAddr>,
    counters: Arc<Counters>,
    models: Arc<dyn Models>,
    view: View,
    stop: watch::Sender<bool>,
    /// `None` once its end was seen.
    running: Option<JoinHandle<Result<(), DriverError>>>,
}

/// Options for a coordinator beside its settings.
#[derive(Default)]
#[non_exhaustive]
pub struct Options {
    /// The store for records; the coordinator goes on from what is in it: [`open_store`](crate::open_store) gives the one
    /// that the settings name. Default: nowhere, the state lives in memory.
    pub store: Option<Box<dyn Store>>,
    /// The store for rounds of version 2: [`open_round_store`](crate::open_round_store) gives the one that the settings name.
    /// Default: nowhere, the state lives in memory.
    pub round_store: Option<Box<dyn RoundStore>>,
    /// What this coordinator shares with others, with which it is one: neither `store` nor `round_store` is used then, and
    /// rounds are of version 1. Default: nothing.
    #[cfg(feature = "replicas")]
    pub shared: Option<crate::SharedStore>,
    /// The seed that everything random is derived from, all keys included. Default: the operating
    /// system's randomness. Give it in tests only, and never twice the same one to coordinators
    /// whose keys matter.
    pub seed: Option<[u8; 32]>,
    /// The model that the first round begins with, of as many weights as models have, in any type that fits theirs. A store
    /// that has a global model goes on with that one, so that the same can be given at every start. Rounds of version 1 only, and
    /// none that several coordinators share. Default: none, there is no global model before the first round has ended.
    pub initial_model: Option<Model>,
    /// Records all inputs of the state machine, **the keys of all rounds included**, so that
    /// [`replay`](pet_core::record::replay) can do the same again. Default: nowhere. For tests, and to
    /// look into a fault with test data: with the record anyone can read every message.
    pub record: Option<Sink>,
    /// The count of log lines that were dropped, for the metrics. Default: none.
    pub log_lines_dropped: DroppedLines,
}

/// Why a coordinator cannot start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The settings break rules.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address} ({}): {source}", key!(api.bind_address))]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the operating system says.
        source: io::Error,
    },
    /// Certificate and key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The operator's listener cannot be started.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The operating system gives no random bytes for keys.
    #[error("the operating system gives no randomness: {0}")]
    Randomness(getrandom::Error),
    /// The stored state cannot be restored.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The roster of a federation cannot be used.
    #[error(transparent)]
    Roster(#[from] RosterError),
    /// The federation cannot begin with this model.
    #[error(transparent)]
    InitialModel(#[from] InitialModelError),
    /// A federation's coordinator cannot be recorded.
    #[error("rounds of version 2 cannot be recorded: leave --record out")]
    RecordOfFederation,
    /// This build keeps rounds in directories only.
    #[error("this build does not know that engine: use one with the feature of its name, or {} = \"directory\"", key!(storage.engine))]
    NothingShared,
    /// A coordinator that shares rounds with others cannot be recorded.
    #[error("rounds that several coordinators share cannot be recorded: leave --record out")]
    RecordOfShared,
    /// A coordinator cannot go on from what is stored.
    #[error("the coordinator cannot go on from what is stored: {0}")]
    Resume(ResumeError),
    /// A coordinator of version 2 cannot go on from what is stored.
    #[error("the coordinator cannot go on from what is stored: {0}")]
    ResumeOfV2(pet_core::v2::coordinator::ResumeError),
    /// A record has nothing of optimisers.
    #[error("rounds with an optimizer ({}) cannot be recorded: leave it or --record out", key!(pet.optimizer.kind))]
    RecordOfOptimizer,
    /// Only a coordinator that begins anew can be recorded.
    #[error("a record must begin with the first round: use a new data directory, or --ephemeral")]
    RecordOfRestored,
}

/// Why a coordinator has failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// The rounds cannot go on.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// The coordinator's task was lost: it panicked, or its runtime is gone.
    #[error("internal error: the coordinator's task was lost: {0}")]
    Lost(String),
}

impl Coordinator {
    /// Starts a coordinator on the current tokio runtime. When this returns, it listens.
    ///
    /// # Errors
    /// If the settings break rules or the address cannot be listened on.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        Self::start_with(settings, Options::default()).await
    }

    /// Starts a coordinator like [`start`](Self::start), with [`Options`].
    ///
    /// # Errors
    /// If the settings break rules or the address cannot be listened on.
    pub async fn start_with(settings: Settings, options: Options) -> Result<Self, StartError> {
        settings.validate()?;
        panics::count();
        #[cfg(not(feature = "replicas"))]
        if settings.storage.engine.is_shared() {
            return Err(StartError::NothingShared);
        }
        let given = options.seed.map(RootSeed::new);
        let seed = given.clone().map_or_else(random_seed, Ok)?;
        let tls = TlsFiles::of(&settings.api).map(Tls::load).transpose()?.map(Arc::new);
        let address = settings.api.bind_address;
        let bind_error = |source| StartError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(bind_error)?;
        let local_addr = listener.local_addr().map_err(bind_error)?;
        let token = match &settings.admin.token_file {
            Some(path) if settings.admin.is_on() => Some(Token::read(path)?),
            _ => None,
        };
        let admin_listeners = Listeners::bind(&settings.admin).await?;
        let admin_addr = admin_listeners.local_addr();

        let counters = Arc::new(Counters::new(options.log_lines_dropped.clone()));
        let (stop, stopped) = watch::channel(false);
        let (observer, view, keepers) = status::channel(Arc::clone(&counters), stopped.clone());
        let around = Around { counters: Arc::clone(&counters), observer, stopped: stopped.clone() };
        let Rounds { driving, router, models } = match &settings.pet.v2.roster_file {
            #[cfg(feature = "replicas")]
            _ if options.shared.is_some() => {
                rounds_of_replica(&settings, options, given, seed, around, local_addr).await?
            }
            None => rounds_of_v1(&settings, options, given, seed, around).await?,
            Some(path) => rounds_of_v2(&settings, path, options, given, seed, around).await?,
        };
        let connections = connection_limits(&settings.limits);
        let held = counters.histograms.answer_bytes.clone();
        let answers = Answers::new(answer_limits(&settings.limits), held);
        let mut router = http::visible(router, view.clone(), answers);
        if let Some(limit) = rate_limit(&settings.limits) {
            let counters = Arc::clone(&counters);
            router = http::limited(router, limit, move || counters.rejected("rate"));
        }

        let trusted = settings.api.trusted_proxies.clone();
        // Around what is limited, so that pages are told of that, too.
        let router = http::cors(router, &settings.api.cors_origins);
        let router = http::identified(router, trusted.clone());
        let proxies = Proxies { trusted, say_for_whom: settings.api.proxy_protocol };
        // Around all else: nothing that answers may hang up on a client.
        let http =
            Http { router: panics::caught(router), tls: tls.clone(), limits: connections, proxies };
        let operator = token.map(|token| Operator {
            listeners: admin_listeners,
            router: panics::caught(admin::router(driving.addressee(&settings), token)),
        });

        info!(
            address = %local_addr,
            tls = tls.is_some(),
            model_length = settings.model.length,
            mask = %settings.mask,
            version = if settings.pet.v2.is_on() { 2 } else { 1 },
            optimizer = settings.pet.optimizer.kind.map(|kind| kind.name()),
            "the coordinator listens"
        );
        let running = tokio::spawn(run(driving, keepers, listener, http, operator, stopped));
        Ok(Self {
            local_addr,
            admin_addr,
            tls,
            counters,
            models,
            view,
            stop,
            running: Some(running),
        })
    }

    /// The address that the coordinator listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Reloads the certificate and the key, for new connections. Returns whether there is TLS at all.
    ///
    /// # Errors
    /// If they cannot be used: those of before are used further.
    pub fn reload_tls(&self) -> Result<bool, TlsError> {
        self.tls.as_deref().map_or(Ok(false), |tls| tls.reload().map(|()| true))
    }

    /// The address of the operator's listener, if there is one (`admin.bind_address`).
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin_addr
    }

    /// The counters since the start.
    pub fn metrics(&self) -> Metrics {
        self.counters.read()
    }

    /// The global models that are kept of all rounds.
    pub fn models(&self) -> &Arc<dyn Models> {
        &self.models
    }

    /// What the coordinator is doing; `GET /status` gives the same.
    pub fn status(&self) -> Status {
        self.view.status()
    }

    /// Waits until the coordinator ends, which happens before [`shutdown`](Self::shutdown) only if
    /// something fails. Cancel-safe.
    ///
    /// # Errors
    /// Why it has ended; told once.
    pub async fn wait(&mut self) -> Result<(), RunError> {
        let Some(running) = &mut self.running else {
            return Ok(());
        };
        let result = running.await;
        self.running = None;
        Ok(result.map_err(|error| RunError::Lost(error.to_string()))??)
    }

    /// Stops: accepts no more connections, and answers the requests in flight. Takes at most about
    /// 20 seconds.
    ///
    /// # Errors
    /// If it has failed before, or the store is stuck.
    pub async fn shutdown(mut self) -> Result<(), RunError> {
        self.stop.send_replace(true);
        self.wait().await
    }
}

/// How the server answers.
struct Http {
    router: axum::Router,
    tls: Option<Arc<Tls>>,
    limits: ConnectionLimits,
    proxies: Proxies,
}

/// What listens to the operator.
struct Operator {
    listeners: Listeners,
    router: axum::Router,
}

impl Operator {
    async fn serve(operator: Option<Self>, stopped: watch::Receiver<bool>) {
        if let Some(Self { listeners, router }) = operator {
            listeners.serve(router, stopped).await;
        }
    }
}

async fn run(
    driving: Driving,
    keepers: Keepers,
    listener: TcpListener,
    http: Http,
    operator: Option<Operator>,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), DriverError> {
    let (stop_driver, driver_stopped) = oneshot::channel();
    let driver = driving.run(driver_stopped);
    let (halt, halted) = watch::channel(false);
    let serving = http::serve(listener, http.router, http.tls, http.limits, http.proxies, halted);
    let listen = Operator::serve(operator, stopped.clone());
    let keepers = async { tokio::join!(keepers.run(), listen) };
    tokio::pin!(driver, serving, keepers);
    // The driver comes first: the round is published before the first request is accepted.
    let ended = tokio::select! {
        biased;
        result = &mut driver => Some(result),
        () = &mut serving => None,
        // These end when the coordinator is to stop, or before.
        () = async { keepers.await; stopped.wait_for(|stop| *stop).await.map_or((), drop) } => None,
    };
    halt.send_replace(true);
    if let Some(result) = ended {
        // With the rounds at an end, requests in flight are answered that nothing comes of them.
        serving.await;
        return result;
    }
    // The rounds go on while requests in flight are answered: they may depend on it.
    tokio::select! {
        biased;
        result = &mut driver => {
            serving.await;
            return result;
        }
        () = &mut serving => {}
    }
    drop(stop_driver);
    driver.await
}

fn random_seed() -> Result<RootSeed, StartError> {
    RootSeed::try_fill(|seed| getrandom::fill(seed)).map_err(StartError::Randomness)
}

impl From<ResumeError> for StartError {
    fn from(error: ResumeError) -> Self {
        match error {
            ResumeError::Settings(invalid) => invalid.into(),
            ResumeError::Records(error) => Self::Store(StoreError::Inconsistent(error)),
            other => Self::Resume(other),
        }
    }
}

impl From<InvalidSettings> for StartError {
    fn from(invalid: InvalidSettings) -> Self {
        Self::Settings(invalid.into())
    }
}
