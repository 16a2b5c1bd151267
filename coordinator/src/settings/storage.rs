//! `[storage]` and `[postgres]`: where rounds and models are kept.

use std::{fmt, path::PathBuf, time::Duration};

use super::Settings;
use crate::key;

/// How many global models are kept unless it is set.
pub(crate) const MODELS_KEPT: usize = 10;

/// The most characters of a federation's name: databases cut longer ones off.
const LONGEST_NAME: usize = 40;

/// A lease is shorter than a round, and longer than a hiccup.
const LEASE_TIMES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// `[storage]`: where rounds and models are kept. Not among the old keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageSettings {
    /// What keeps them: a directory of this process alone, or a database that several coordinators share. Default:
    /// directory.
    pub engine: StorageEngine,
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
}

impl StorageEngine {
    /// As it is written in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::Postgres => "postgres",
        }
    }

    /// Whether several coordinators share it.
    pub fn is_shared(self) -> bool {
        self != Self::Directory
    }
}

/// `[postgres]`: the database of `storage.engine = "postgres"`. Not among the old keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PostgresSettings {
    /// How it is reached: `postgres://user:password@host:port/database`, also with several hosts. Default: none.
    pub url: Option<PostgresUrl>,
}

/// The address of a database, in which there may be a password: that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl(String);

impl PostgresUrl {
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
impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.split_once("://").and_then(|(scheme, rest)| {
            let rest = rest.split('?').next()?;
            let (credentials, place) = rest.rsplit_once('@').unwrap_or(("", rest));
            let user = credentials.split(':').next().filter(|user| !user.is_empty());
            let user = user.map(|user| format!("{user}@")).unwrap_or_default();
            Some(format!("{scheme}://{user}{place}"))
        });
        f.write_str(shown.as_deref().unwrap_or("(hidden)"))
    }
}

/// As [`Display`](fmt::Display).
impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresUrl({self})")
    }
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
    if *engine == StorageEngine::Postgres && settings.postgres.url.is_none() {
        broken.push((key!(storage.engine), None, format!("needs {} as well", key!(postgres.url))));
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
    use super::*;

    #[test]
    fn no_password_is_shown() {
        for (url, shown) in [
            ("postgres://pet:hush@db:5432/pet", "postgres://pet@db:5432/pet"),
            ("postgres://pet:hu@sh@db1,db2/pet?password=hush", "postgres://pet@db1,db2/pet"),
            ("postgres://db/pet", "postgres://db/pet"),
            ("host=db password=hush", "(hidden)"),
        ] {
            let url = PostgresUrl::new(url);
            assert_eq!(url.to_string(), shown);
            assert!(!format!("{url:?}").contains("hush"));
        }
    }
}
