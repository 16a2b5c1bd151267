//! Reaches the engine that settings name.

use std::sync::Arc;

use pet_ledger::{Ledger, LedgerError, Parts, Pending};
#[cfg(feature = "postgres")]
use pet_store_postgres::{PostgresLedger, PostgresSettings};
#[cfg(feature = "redis")]
use pet_store_redis::{RedisLedger, RedisSettings};

use super::{shared::Engine, SharedError, SharedStore};
use crate::{
    key,
    settings::{EngineUrl, PartsIn, Settings, StorageEngine},
    store::{secret_of, StoreError},
};

/// What coordinators with these settings share. `secret` is what it is sealed with if there is no file for that. Nothing
/// is asked of the engine yet.
///
/// # Errors
/// If the settings name nothing that can be shared, or there is no secret.
pub fn open_shared(settings: &Settings, secret: Option<&[u8]>) -> Result<SharedStore, StoreError> {
    let address = Address::of(settings)?;
    if settings.storage.parts == PartsIn::S3 && !cfg!(feature = "s3") {
        let why = "this program was built without S3 (feature s3)".into();
        let error = LedgerError::Setting { setting: key!(storage.parts), why };
        return Err(SharedError::from(error).into());
    }
    let elsewhere = elsewhere(settings);
    let secret = secret_of(&settings.storage, secret)?;
    let connect = move || -> Pending<'static, Engine> {
        let (address, elsewhere) = (address.clone(), elsewhere.clone());
        Box::pin(async move {
            let (ledger, parts) = address.connect().await?;
            join(ledger, parts, elsewhere).await
        })
    };
    let federation = &settings.storage.federation;
    let secret = secret.as_ref().map(|secret| &secret[..]);
    Ok(SharedStore::connecting(Arc::new(connect), federation, secret)?)
}

/// Makes what coordinators with these settings share, if it is not there yet; and tries the secret on it.
///
/// # Errors
/// As [`open_shared`], or if the engine does not let us.
pub async fn init_shared(settings: &Settings, secret: Option<&[u8]>) -> Result<(), StoreError> {
    let shared = open_shared(settings, secret)?;
    let made = Address::of(settings)?.initialize().await;
    made.map_err(SharedError::from)?;
    Ok(shared.open().await?)
}

/// What settings allow fits, with its seal and what else is around it.
#[cfg(feature = "redis")]
const _: () = assert!(crate::settings::MOST_IN_REDIS + (1 << 20) <= pet_store_redis::MOST_PART);

/// How long a call may take: a replica that waits for one that hangs cannot take over meanwhile. (What is long takes longer.)
fn call_time(settings: &Settings) -> std::time::Duration {
    let [least, most] = [2, 5].map(std::time::Duration::from_secs);
    settings.storage.lease_time.clamp(least, most)
}

/// An update of a round with as many sum participants as may be fits into a letter: 120 bytes for each of them
/// ([`Admission::to_bytes`](pet_core::coordinator::Admission::to_bytes)), and what is around.
const _: () = assert!(
    crate::settings::MOST_SUMMERS_OF_SHARED as usize * 120 + (64 << 10)
        <= pet_ledger::Limits::ALL.letter
);

type Connected = (Arc<dyn Ledger>, Arc<dyn Parts>);

/// How an engine is reached.
#[derive(Clone)]
enum Address {
    #[cfg(feature = "postgres")]
    Postgres(PostgresSettings),
    #[cfg(feature = "redis")]
    Redis(RedisSettings),
}

impl Address {
    fn of(settings: &Settings) -> Result<Self, SharedError> {
        let federation = settings.storage.federation.clone();
        let address =
            |url: &Option<EngineUrl>| url.as_ref().map_or("", EngineUrl::reveal).to_owned();
        match settings.storage.engine {
            #[cfg(feature = "postgres")]
            StorageEngine::Postgres => {
                let url = address(&settings.postgres.url);
                let mut postgres = PostgresSettings::new(url, federation);
                postgres.timeout = call_time(settings);
                Ok(Self::Postgres(postgres))
            }
            #[cfg(feature = "redis")]
            StorageEngine::Redis => {
                let mut redis = RedisSettings::new(address(&settings.redis.url), federation);
                redis.accept_loss = settings.redis.accept_loss;
                redis.timeout = call_time(settings);
                Ok(Self::Redis(redis))
            }
            engine => {
                let _ = (federation, address);
                let setting = key!(storage.engine);
                let why =
                    format!("this build has no {:?} that coordinators could share", engine.name());
                Err(LedgerError::Setting { setting, why }.into())
            }
        }
    }

    fn connect(self) -> Pending<'static, Connected> {
        Box::pin(async move {
            let connected: Connected = match self {
                #[cfg(feature = "postgres")]
                Self::Postgres(settings) => {
                    let ledger = PostgresLedger::connect(&settings).await?;
                    for warning in ledger.warnings() {
                        tracing::warn!("PostgreSQL: {warning}");
                    }
                    let parts = Arc::new(ledger.parts());
                    (Arc::new(ledger), parts)
                }
                #[cfg(feature = "redis")]
                Self::Redis(settings) => {
                    let ledger = RedisLedger::connect(&settings).await?;
                    let parts = Arc::new(ledger.parts());
                    (Arc::new(ledger), parts)
                }
            };
            Ok(connected)
        })
    }

    async fn initialize(self) -> Result<(), LedgerError> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(settings) => PostgresLedger::initialize(&settings).await,
            #[cfg(feature = "redis")]
            Self::Redis(settings) => RedisLedger::initialize(&settings).await,
        }
    }
}

/// What is large, where that is elsewhere: a bucket for parts, and one for global models.
#[cfg(feature = "s3")]
type Elsewhere = [pet_store_s3::S3Settings; 2];
#[cfg(not(feature = "s3"))]
type Elsewhere = std::convert::Infallible;

/// So long a call is tried: who waits for a message to be acknowledged is told in time.
#[cfg(feature = "s3")]
const TRIED: std::time::Duration = std::time::Duration::from_secs(5);

#[cfg(feature = "s3")]
fn elsewhere(settings: &Settings) -> Option<Elsewhere> {
    let (s3, federation) = (&settings.s3, &settings.storage.federation);
    if settings.storage.parts != PartsIn::S3 {
        return None;
    }
    // The settings were checked: what is needed is there.
    let region = s3.region.as_ref()?;
    let endpoint = region.endpoint.as_ref().or(s3.endpoint.as_ref()).cloned();
    let endpoint = endpoint.unwrap_or_else(|| format!("https://s3.{}.amazonaws.com", region.name));
    let models = s3.buckets.global_models.as_deref()?;
    let secret = s3.secret_access_key.as_ref()?.reveal();
    let keys = [s3.access_key.as_deref()?, secret];
    let bucket = |bucket: &str| {
        let at = [region.name.as_str(), &endpoint];
        let mut settings = pet_store_s3::S3Settings::new(at, bucket, keys, federation);
        settings.authorities.clone_from(&s3.authorities);
        settings.timeout = TRIED;
        settings
    };
    Some([bucket(s3.buckets.parts.as_deref().unwrap_or(models)), bucket(models)])
}

#[cfg(not(feature = "s3"))]
fn elsewhere(_: &Settings) -> Option<Elsewhere> {
    None
}

#[cfg(feature = "s3")]
async fn join(
    ledger: Arc<dyn Ledger>,
    parts: Arc<dyn Parts>,
    elsewhere: Option<Elsewhere>,
) -> Result<Engine, LedgerError> {
    let Some([large, models]) = elsewhere else { return Engine::undivided(ledger, parts).await };
    let large = Arc::new(pet_store_s3::S3Parts::connect(&large).await?);
    let models = Arc::new(pet_store_s3::S3Archive::connect(&models).await?);
    Engine::divided(ledger, parts, large, Some(models)).await
}

#[cfg(not(feature = "s3"))]
async fn join(
    ledger: Arc<dyn Ledger>,
    parts: Arc<dyn Parts>,
    elsewhere: Option<Elsewhere>,
) -> Result<Engine, LedgerError> {
    match elsewhere {
        None => Engine::undivided(ledger, parts).await,
        Some(never) => match never {},
    }
}
