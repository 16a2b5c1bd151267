//! `[storage]`, `[postgres]` and `[redis]`: where rounds and models are kept.

use std::{fmt, path::PathBuf, time::Duration};

use pet_core::{
    coordinator::OptimizerKind,
    mask::{DataType, MaskConfigPair},
};

use super::Settings;
use crate::key;

/// How many global models are kept unless it is set.
pub(crate) const MODELS_KEPT: usize = 10;

/// The most characters of a federation's name: databases cut longer ones off.
const LONGEST_NAME: usize = 40;

/// A lease is shorter than a round, and longer than a hiccup.
const LEASE_TIMES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The most bytes of an aggregate, or of a global model, in Redis: what it takes of one part, less what surrounds them.
pub(crate) const MOST_IN_REDIS: usize = 255 << 20;

/// The most sum participants of a round that coordinators share: an update goes to the one that leads as a letter, with a sealed
/// seed for each of them.
pub(crate) const MOST_SUMMERS_OF_SHARED: u64 = 30_000;

/// `[storage]`: where rounds and models are kept. Not among the old keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageSettings {
    /// What keeps them: a directory of this process alone, or a database that several coordinators share. Default:
    /// directory.
    pub engine: StorageEngine,
    /// Where what is large of it is, if coordinators share it: `engine`, with all else, or `s3`, as `[s3]` says. Default: engine.
    pub parts: PartsIn,
    /// The name of what coordinators share: those with the same name in the same database are one coordinator to
    /// participants. Lower-case letters, digits and underscores. Default: `default`.
    pub federation: String,
    /// How long the coordinator that leads may be silent until another one takes over. In files: seconds. Default: 3
    /// seconds.
    pub lease_time: Duration,
    /// The directory; made if it is not there. Default: `./pet-data`.
    pub data_dir: PathBuf,
    /// Keep everything in memory instead: it is lost when the coordinator stops. Default: no.
    pub ephemeral: bool,
    /// How many global models are kept, 1 at least. Default: 10.
    pub models_kept: usize,
    /// A file with the secret that what is kept is sealed with, 16 bytes at least. Default: none; then the binary
    /// takes it from the environment variable `PET_STORAGE_SECRET`, and without that nothing in a directory is sealed. A
    /// database that is shared needs one.
    pub secret_file: Option<PathBuf>,
}

impl Default for StorageSettings {
    fn default() -> Self {
        Self {
            engine: StorageEngine::default(),
            parts: PartsIn::default(),
            federation: "default".to_owned(),
            lease_time: Duration::from_secs(3),
            data_dir: "./pet-data".into(),
            ephemeral: false,
            models_kept: MODELS_KEPT,
            secret_file: None,
        }
    }
}

/// What keeps rounds and models.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StorageEngine {
    /// A directory, which one process has to itself.
    #[default]
    Directory,
    /// A PostgreSQL database, which several coordinators share.
    Postgres,
    /// Redis, which several coordinators share.
    Redis,
}

impl StorageEngine {
    /// As it is written in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::Postgres => "postgres",
            Self::Redis => "redis",
        }
    }

    /// Whether several coordinators share it.
    pub fn is_shared(self) -> bool {
        self != Self::Directory
    }
}

/// Where large parts are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PartsIn {
    /// In the engine.
    #[default]
    Engine,
    /// In S3-compatible storage; there are the global models as well, under their old names.
    S3,
}

impl PartsIn {
    /// As it is written in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::S3 => "s3",
        }
    }
}

/// `[postgres]`: the database of `storage.engine = "postgres"`. Not among the old keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PostgresSettings {
    /// How it is reached: `postgres://user:password@host:port/database`, also with several hosts. Default: none.
    pub url: Option<EngineUrl>,
}

/// `[redis]`: the server of `storage.engine = "redis"`. Old settings have its address for other engines, too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedisSettings {
    /// How it is reached: `redis://user:password@host:port/database`, or `rediss://` with TLS. Default: none.
    pub url: Option<EngineUrl>,
    /// Whether to take a Redis that may lose what it has acknowledged. Default: no.
    pub accept_loss: bool,
}

/// The address of a database, in which there may be a password: that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct EngineUrl(String);

impl EngineUrl {
    /// Takes any text: whether it leads to a database shows when it is used.
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// All of it, the password included.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// Without what may be secret: everything before the host, and everything after a question mark.
impl fmt::Display for EngineUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.split_once("://").and_then(|(scheme, rest)| {
            // (A password may have any of these characters: where it ends is not known then.)
            let rest = match rest.split_once('?') {
                Some((_, after)) if after.contains('@') => return None,
                Some((before, _)) => before,
                None => rest,
            };
            let (credentials, place) = rest.rsplit_once('@').unwrap_or(("", rest));
            let user = credentials.split(':').next().filter(|user| !user.is_empty());
            let user = user.map(|user| format!("{user}@")).unwrap_or_default();
            Some(format!("{scheme}://{user}{place}"))
        });
        f.write_str(shown.as_deref().unwrap_or("(hidden)"))
    }
}

/// As [`Display`](fmt::Display).
impl fmt::Debug for EngineUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EngineUrl({self})")
    }
}

/// How many bytes of a stored global model are for one weight: as a number, in the old form, and what the optimiser remembers of it.
///
/// In the old form numerator and denominator have 9 bytes each, and 4 for each 32 bits. A mean is the quotient of two numbers that are
/// below the order of the group of scalars' masks; the floats of an optimiser need no more, unless most of them are below 10^-21.
fn bytes_per_weight(settings: &Settings) -> usize {
    let number = match settings.mask.data_type() {
        DataType::F32 | DataType::I32 => 4,
        DataType::F64 | DataType::I64 => 8,
    };
    let digits = MaskConfigPair::from(settings.mask).unit.bytes_per_number().div_ceil(4);
    let moments = settings.pet.optimizer.kind.map_or(0, OptimizerKind::moments);
    number + 2 * (9 + 4 * digits) + 8 * moments
}

/// The rules that are broken: the key, the value if there is one to show, the rule.
pub(super) fn check(settings: &Settings) -> Vec<(&'static str, Option<String>, String)> {
    let mut broken = Vec::new();
    let StorageSettings { engine, federation, lease_time, ephemeral, .. } = &settings.storage;
    let is_name = (1..=LONGEST_NAME).contains(&federation.len())
        && federation.bytes().all(|c| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    if !is_name {
        broken.push((
            key!(storage.federation),
            Some(format!("{federation:?}")),
            format!("must be 1 to {LONGEST_NAME} lower-case letters, digits and underscores"),
        ));
    }
    let (least, most) = LEASE_TIMES;
    if !(least..=most).contains(lease_time) {
        broken.push((
            key!(storage.lease_time),
            Some(lease_time.as_secs_f64().to_string()),
            format!("must be from {} to {} seconds", least.as_secs(), most.as_secs()),
        ));
    }
    let missing = match engine {
        StorageEngine::Postgres if settings.postgres.url.is_none() => Some(key!(postgres.url)),
        StorageEngine::Redis if settings.redis.url.is_none() => Some(key!(redis.url)),
        _ => None,
    };
    if let Some(url) = missing {
        broken.push((key!(storage.engine), None, format!("needs {url} as well")));
    }
    let length = usize::try_from(settings.model.length).unwrap_or(usize::MAX);
    let model = length.saturating_mul(bytes_per_weight(settings));
    let is_in_redis = *engine == StorageEngine::Redis && settings.storage.parts == PartsIn::Engine;
    if is_in_redis && settings.mask_object_len().max(model) > MOST_IN_REDIS {
        broken.push((
            key!(model.length),
            Some(settings.model.length.to_string()),
            format!(
                "is too long for {} = \"redis\", which takes aggregates and models of {} MiB: take \"postgres\"",
                key!(storage.engine),
                MOST_IN_REDIS >> 20
            ),
        ));
    }
    if engine.is_shared() && settings.pet.sum.count.max > MOST_SUMMERS_OF_SHARED {
        broken.push((
            key!(pet.sum.count.max),
            Some(settings.pet.sum.count.max.to_string()),
            format!(
                "must be {MOST_SUMMERS_OF_SHARED} at most with {} = {:?}: what coordinators tell each other of an update has a seed \
                 for each sum participant",
                key!(storage.engine),
                engine.name()
            ),
        ));
    }
    if engine.is_shared() && *ephemeral {
        broken.push((
            key!(storage.ephemeral),
            None,
            format!(
                "keeps everything in this process: leave it out, or {} = {:?}",
                key!(storage.engine),
                engine.name()
            ),
        ));
    }
    if engine.is_shared() && settings.pet.v2.is_on() {
        broken.push((
            key!(pet.v2.roster_file),
            None,
            format!(
                "needs {} = {:?}: rounds of v2 cannot be shared by several coordinators yet",
                key!(storage.engine),
                StorageEngine::Directory.name()
            ),
        ));
    }
    broken
}

#[cfg(test)]
mod tests {
    use pet_core::{coordinator::GlobalModel, model::Model};

    use super::*;

    /// What Redis would refuse for ever, once the first round ends, is refused at the start.
    #[test]
    fn models_that_redis_cannot_hold_are_refused() {
        for (mask, kind, bytes) in [
            ("Prime/F32/B0/M3", None, 4 + 34),
            ("Prime/F64/B0/M3", None, 8 + 42),
            ("Word32/F32/B0/M3", None, 4 + 34),
            ("Prime/F32/B6/M3", Some(OptimizerKind::FedAvg), 4 + 42),
            ("Prime/F32/B0/M3", Some(OptimizerKind::FedAvgM), 4 + 34 + 8),
            ("Prime/F64/B0/M3", Some(OptimizerKind::FedAdam), 8 + 42 + 16),
        ] {
            let most = (MOST_IN_REDIS / bytes) as u64;
            for (length, is_refused) in [(most, false), (most + 1, true)] {
                let mut settings = Settings::for_model_length(length);
                settings.mask = mask.parse().unwrap();
                settings.pet.optimizer.kind = kind;
                settings.storage.engine = StorageEngine::Redis;
                settings.redis.url = Some(EngineUrl::new("redis://db"));
                let broken = check(&settings);
                let found = broken.iter().any(|(key, ..)| *key == key!(model.length));
                assert_eq!(found, is_refused, "{mask} {kind:?} {length}: {broken:?}");
            }
        }
    }

    /// As counted, and not above it.
    #[test]
    fn a_stored_model_has_the_bytes_that_are_counted() {
        let weight = |i: usize| ((i * 7919) as f64).sin() / 30.0;
        let models = [
            ("Prime/F32/B0/M3", Model::F32((1..1000).map(|i| weight(i) as f32).collect())),
            ("Prime/F64/B0/M3", Model::F64((1..1000).map(weight).collect())),
        ];
        for (mask, model) in models {
            let mut settings = Settings::for_model_length(999);
            settings.mask = mask.parse().unwrap();
            let counted = 999 * bytes_per_weight(&settings) + 1000;
            let stored = GlobalModel::initial(model).unwrap().to_bytes().len();
            assert!(
                stored <= counted && stored > counted / 10 * 7,
                "{mask}: {stored} of {counted}"
            );
        }
    }

    #[test]
    fn no_password_is_shown() {
        for (url, shown) in [
            ("postgres://pet:hush@db:5432/pet", "postgres://pet@db:5432/pet"),
            ("postgres://pet:hu@sh@db1,db2/pet?password=hush", "postgres://pet@db1,db2/pet"),
            ("postgres://db/pet", "postgres://db/pet"),
            ("host=db password=hush", "(hidden)"),
            ("postgres://pet:hush?sh@db/pet", "(hidden)"),
            ("postgres://db/pet?password=hu@hush", "(hidden)"),
            ("redis://:hush@redis:6379/1", "redis://redis:6379/1"),
        ] {
            let url = EngineUrl::new(url);
            assert_eq!(url.to_string(), shown);
            assert!(!format!("{url:?}").contains("hush"));
        }
    }
}
