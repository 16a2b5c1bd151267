//! The coordinator's settings (protocol description, section 7).
//!
//! They come from a TOML file, from environment variables `XAYNET__SECTION__KEY` and from the
//! command line; the later of these wins, key by key, and what none of them gives has the default
//! stated at its field. Only `model.length` has no default. Case does not matter in keys. A
//! [`Loader`] puts the layers together and reports everything that is wrong with them in one go.
//!
//! A section nobody knows is ignored with a [`Warning`]: it may belong to a newer or an older
//! coordinator. A key nobody knows inside a known section is an error: there it is most likely a
//! typing mistake, and going on with the default instead could spoil a round. So is anything unknown
//! on the command line.

mod admin;
mod effective;
mod error;
mod filter;
mod key;
mod layers;
mod limits;
mod member;
mod networks;
mod optimizer;
mod origins;
mod s3;
mod schema;
mod storage;
mod v2;

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use pet_core::{
    coordinator::{self as protocol, Quorum},
    mask::{BoundType, DataType, GroupType, MaskConfig, MaskObjectView, ModelType},
    message::ReassemblyLimits,
    v2 as rounds_of_v2,
};

pub use self::admin::AdminSettings;
pub use self::effective::Effective;
pub use self::error::{Origin, Problem, SettingsError, Warning};
use self::layers::Layers;
pub use self::limits::LimitsSettings;
pub use self::member::{member_keys, LoadedMember, MemberLoader, MemberSettings};
pub use self::networks::{InvalidNetworks, Networks};
pub use self::optimizer::OptimizerSettings;
pub use self::origins::{InvalidOrigins, Origins};
pub use self::s3::{S3Buckets, S3Region, S3Secret, S3Settings};
pub(crate) use self::schema::{change, effective};
pub(crate) use self::storage::MODELS_KEPT;
#[cfg(feature = "redis")]
pub(crate) use self::storage::MOST_IN_REDIS;
#[cfg(feature = "replicas")]
pub(crate) use self::storage::MOST_SUMMERS_OF_SHARED;
pub use self::storage::{
    EngineUrl, PartsIn, PostgresSettings, RedisSettings, StorageEngine, StorageSettings,
};
pub use self::v2::{NoiseSettings, V2PhaseSettings, V2Settings, V2UpdateSettings};

/// Everything that can be set. The field names are the keys of the TOML file.
///
/// Settings built by hand, not by a [`Loader`], are checked when the coordinator starts: see
/// [`Settings::validate`].
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `[api]`: how participants reach the coordinator.
    pub api: ApiSettings,
    /// `[admin]`: how the operator reaches the coordinator.
    pub admin: AdminSettings,
    /// `[pet]`: the phases of a round.
    pub pet: PetSettings,
    /// `[mask]`: the mask configuration, used for the model's weights and for the scalar alike; with a
    /// Word32 group the scalar's is Word64. Default: Prime, F32, B0, M3.
    pub mask: MaskConfig,
    /// `[model]`: the model.
    pub model: ModelSettings,
    /// `[limits]`: what clients may take.
    pub limits: LimitsSettings,
    /// `[log]`: what is logged and how.
    pub log: LogSettings,
    /// `[storage]`: where the binary keeps rounds and models. In code, [`open_store`](crate::open_store) gives it for
    /// [`Options::store`](crate::Options::store).
    pub storage: StorageSettings,
    /// `[postgres]`: the database, if several coordinators share one.
    pub postgres: PostgresSettings,
    /// `[redis]`: the server, if several coordinators share one. Without effect for other engines, as in old settings.
    pub redis: RedisSettings,
    /// `[s3]`: storage for what is large of what several coordinators share.
    pub s3: S3Settings,
}

/// `[api]`: how participants reach the coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiSettings {
    /// The address to listen on; port 0 takes any free port. Default: `127.0.0.1:8081`.
    pub bind_address: SocketAddr,
    /// The file with the server's certificate and those that lead from it to a well-known one, in PEM
    /// form. Given together with the key: TLS, and nothing else, is spoken. Default: none.
    pub tls_certificate: Option<PathBuf>,
    /// The file with the certificate's private key, in PEM form. Default: none.
    pub tls_key: Option<PathBuf>,
    /// A file with certificates of authorities, in PEM form: only clients with a certificate of theirs are
    /// let in. Default: none, everyone is let in.
    pub tls_client_auth: Option<PathBuf>,
    /// Proxies that are believed when they say for whom they ask (`Forwarded`, `X-Forwarded-For`). Default: none.
    pub trusted_proxies: Networks,
    /// Whether connections of these proxies begin with a header of the PROXY protocol, version 1 or 2. Default:
    /// false.
    pub proxy_protocol: bool,
    /// The origins of web pages whose scripts may take part. Default: none but the coordinator's own.
    pub cors_origins: Origins,
}

/// `[pet]`: the phases of a round.
#[derive(Clone, Debug, PartialEq)]
pub struct PetSettings {
    /// `[pet.sum]`. Default: prob 0.3, count 1 to 100, time 1 to 60 seconds.
    pub sum: TaskSettings,
    /// `[pet.update]`. Default: prob 1.0, count 3 to 10,000, time 1 to 300 seconds.
    pub update: TaskSettings,
    /// `[pet.sum2]`. Default: count 1 to `pet.sum.count.max`, time 1 to 60 seconds.
    pub sum2: PhaseSettings,
    /// `[pet.optimizer]`: what becomes of the mean of a round. Default: it is the global model.
    pub optimizer: OptimizerSettings,
    /// `[pet.v2]`: rounds of PET v2. Default: off.
    pub v2: V2Settings,
}

/// A phase whose participants are drawn by lot: `[pet.sum]`, `[pet.update]`.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskSettings {
    /// The probability that a participant is drawn. Sum: above 0 and below 1; update: above 0, at
    /// most 1.
    pub prob: f64,
    /// The phase ends once `min` messages are accepted; beyond `max` they are discarded.
    pub count: MinMax<u64>,
    /// The phase lasts at least `min` and fails after `max`. In files: seconds, whole or with a
    /// fraction.
    pub time: MinMax<Duration>,
}

/// A phase that everyone with its task takes part in: `[pet.sum2]`.
#[derive(Clone, Debug, PartialEq)]
pub struct PhaseSettings {
    /// The phase ends once `min` messages are accepted; beyond `max` they are discarded.
    pub count: MinMax<u64>,
    /// The phase lasts at least `min` and fails after `max`. In files: seconds, whole or with a
    /// fraction.
    pub time: MinMax<Duration>,
    /// How many votes the mask that is taken off needs: more than half of those cast, and if it is set this share
    /// of the sum dictionary.
    pub quorum: Quorum,
}

/// A range, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinMax<T> {
    /// The lower end.
    pub min: T,
    /// The upper end.
    pub max: T,
}

/// `[model]`: the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSettings {
    /// The number of weights: at least 1, and so many that an update message stays below 4 GiB. No
    /// default.
    pub length: u64,
}

/// `[log]`: what is logged and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// A filter in the syntax of `tracing-subscriber`'s `EnvFilter`. The targets of the old
    /// coordinator, `xaynet` and `xaynet_server`, mean this one: see [`LogSettings::directives`].
    /// Default: `info`.
    pub filter: String,
    /// The format. Not among the old keys. Default: text.
    pub format: LogFormat,
}

impl LogSettings {
    /// The filter for `EnvFilter`: directives for the old coordinator's targets are repeated for
    /// ours, and libraries that warn of what we tell ourselves are kept quiet.
    pub fn directives(&self) -> String {
        filter::without_echoes(&filter::with_aliases(&self.filter))
    }
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON object a line.
    Json,
}

const DEFAULT_MASK: MaskConfig =
    match MaskConfig::new(GroupType::Prime, DataType::F32, BoundType::B0, ModelType::M3) {
        Ok(config) => config,
        Err(_) => panic!("every combination with Prime exists"),
    };

impl Settings {
    /// The defaults, for a model of `length` weights.
    pub fn for_model_length(length: u64) -> Self {
        let seconds =
            |min, max| MinMax { min: Duration::from_secs(min), max: Duration::from_secs(max) };
        Self {
            api: ApiSettings {
                bind_address: SocketAddr::from((Ipv4Addr::LOCALHOST, 8081)),
                tls_certificate: None,
                tls_key: None,
                tls_client_auth: None,
                trusted_proxies: Networks::default(),
                proxy_protocol: false,
                cors_origins: Origins::default(),
            },
            admin: AdminSettings::default(),
            pet: PetSettings {
                sum: TaskSettings {
                    prob: 0.3,
                    count: MinMax { min: 1, max: 100 },
                    time: seconds(1, 60),
                },
                update: TaskSettings {
                    prob: 1.0,
                    count: MinMax { min: 3, max: 10_000 },
                    time: seconds(1, 300),
                },
                sum2: PhaseSettings {
                    count: MinMax { min: 1, max: 100 },
                    time: seconds(1, 60),
                    quorum: Quorum::default(),
                },
                optimizer: OptimizerSettings::default(),
                v2: V2Settings::default(),
            },
            mask: DEFAULT_MASK,
            model: ModelSettings { length },
            limits: LimitsSettings::default(),
            log: LogSettings { filter: "info".to_owned(), format: LogFormat::Text },
            storage: StorageSettings::default(),
            postgres: PostgresSettings::default(),
            redis: RedisSettings::default(),
            s3: S3Settings::default(),
        }
    }

    /// The part of the settings that belongs to the protocol.
    pub fn protocol(&self) -> protocol::Settings {
        let count = |range: MinMax<u64>| protocol::CountRange { min: range.min, max: range.max };
        let time = |range: MinMax<Duration>| protocol::TimeRange { min: range.min, max: range.max };
        let PetSettings { sum, update, sum2, optimizer, .. } = &self.pet;
        let mut settings = protocol::Settings::new(
            protocol::SumSettings::new(sum.prob, count(sum.count), time(sum.time)),
            protocol::UpdateSettings::new(update.prob, count(update.count), time(update.time)),
            protocol::Sum2Settings::new(count(sum2.count), time(sum2.time)),
            self.mask,
            self.model.length,
        );
        settings.sum2.quorum = sum2.quorum;
        settings.with_optimizer(optimizer.optimizer()).with_reassembly(self.reassembly())
    }

    /// Room for the parts of at least a few messages, however long the model.
    fn reassembly(&self) -> ReassemblyLimits {
        let bytes = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX);
        let message = self.mask_object_len();
        let proven = bytes(self.limits.multipart_bytes).max(message.saturating_mul(8));
        let unproven = bytes(self.limits.multipart_unproven_bytes);
        let mut limits = ReassemblyLimits::default().with_bytes(proven, unproven);
        limits.messages = bytes(self.limits.multipart_messages);
        limits.idle = self.limits.multipart_time;
        limits
    }

    /// The length of a masked model or mask in bytes; the largest number where it cannot be counted,
    /// which valid settings rule out.
    pub(crate) fn mask_object_len(&self) -> usize {
        usize::try_from(self.model.length)
            .ok()
            .and_then(|length| MaskObjectView::serialized_len(self.mask.into(), length))
            .unwrap_or(usize::MAX)
    }

    /// Checks every rule that settings must keep (section 7), whatever they were made from.
    ///
    /// # Errors
    /// [`SettingsError::Invalid`] with all the rules that are broken.
    pub fn validate(&self) -> Result<(), SettingsError> {
        let problems = schema::check(self);
        if problems.is_empty() {
            Ok(())
        } else {
            Err(SettingsError::Invalid(problems))
        }
    }
}

/// The keys of all settings, in alphabetical order. [`key!`](crate::key) gives one of them.
pub fn keys() -> Vec<&'static str> {
    schema::keys()
}

/// Valid settings, and warnings about the way they were given.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The settings; every rule holds.
    pub settings: Settings,
    /// Warnings about what was given without effect.
    pub warnings: Vec<Warning>,
    /// Every setting in effect, by key, and where it came from.
    pub effective: Vec<Effective>,
}

/// Loads settings from file, environment and command line; the later ones win.
///
/// ```
/// use pet_coordinator::settings::Loader;
///
/// let loaded = Loader::new().option("model.length", "--model-length", "1000").load()?;
/// assert_eq!(loaded.settings.api.bind_address.port(), 8081);
/// # Ok::<(), pet_coordinator::settings::SettingsError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Loader {
    file: Option<PathBuf>,
    document: Option<(PathBuf, String)>,
    env: Vec<(OsString, OsString)>,
    options: Vec<(String, String, String)>,
}

impl Loader {
    /// A loader without file, environment and options: it gives the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the TOML file at `path`.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    /// Takes the settings in a TOML document in memory, which wins over a file; `name` is what errors call
    /// it.
    #[must_use]
    pub fn document(mut self, name: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        self.document = Some((name.into(), text.into()));
        self
    }

    /// Takes the settings among these environment variables; pass `std::env::vars_os()` for the
    /// process's own.
    #[must_use]
    pub fn env(mut self, variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        self.env.extend(variables);
        self
    }

    /// Sets `key` (dotted) to the value of the command-line option `option`.
    #[must_use]
    pub fn option(
        mut self,
        key: impl Into<String>,
        option: impl Into<String>,
        value: impl Into<String>,
    ) -> Self {
        self.options.push((key.into(), option.into(), value.into()));
        self
    }

    /// Reads all sources, merges them, and checks the result.
    ///
    /// # Errors
    /// A file that cannot be read or is not TOML; otherwise [`SettingsError::Invalid`] with
    /// everything that is wrong.
    pub fn load(self) -> Result<Loaded, SettingsError> {
        let mut layers = Layers::default();
        if let Some(path) = &self.file {
            let text = fs::read_to_string(path)
                .map_err(|source| SettingsError::Read { path: path.clone(), source })?;
            layers.add_toml(path, &text)?;
        }
        if let Some((name, text)) = &self.document {
            layers.add_toml(name, text)?;
        }
        layers.add_env(self.env);
        for (key, option, value) in self.options {
            layers.add_option(&key, &option, value);
        }
        schema::interpret(&layers)
    }
}

impl From<protocol::InvalidSettings> for SettingsError {
    fn from(protocol::InvalidSettings(violations): protocol::InvalidSettings) -> Self {
        Self::Invalid(schema::from_core(violations, None, &BTreeSet::new()))
    }
}

impl From<rounds_of_v2::coordinator::InvalidSettings> for SettingsError {
    fn from(
        rounds_of_v2::coordinator::InvalidSettings(violations): rounds_of_v2::coordinator::InvalidSettings,
    ) -> Self {
        Self::Invalid(schema::from_core_v2(violations))
    }
}
