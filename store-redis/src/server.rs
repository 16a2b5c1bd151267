//! Connections to the server, and calls with deadlines on them.

use std::{
    borrow::Cow,
    fmt,
    future::Future,
    sync::{
        atomic::{AtomicBool, Ordering},
        Arc, Mutex,
    },
    time::Duration,
};

use deadpool::managed::{self, Metrics, Object, Pool, PoolError, RecycleError, RecycleResult};
use pet_ledger::LedgerError;
use redis::{Cmd, RedisResult, Script, ServerErrorKind, Value};
use tokio::time::timeout;

use crate::{
    connection::{Connection, Connector},
    error::{lost, of_call, of_connecting, Does},
    reply, safety,
    schema::KEYS,
    settings::RedisSettings,
    ENGINE,
};

/// Makes connections to a server that is fit.
pub(crate) struct Manager {
    connector: Connector,
    federation: String,
    accept_loss: bool,
    warnings: Arc<Mutex<Vec<String>>>,
}

impl managed::Manager for Manager {
    type Type = Connection;
    type Error = LedgerError;

    async fn create(&self) -> Result<Connection, LedgerError> {
        let made = self.connector.connect().await;
        let mut connection = made.map_err(|error| of_connecting(&self.federation, &error))?;
        // Whenever a server has started again, it may have been set up otherwise, or be another one.
        let warnings = safety::check(&mut connection, &self.federation, self.accept_loss).await?;
        *self.warnings.lock().expect("nobody panics while it is locked") = warnings;
        Ok(connection)
    }

    async fn recycle(
        &self,
        connection: &mut Connection,
        _: &Metrics,
    ) -> RecycleResult<LedgerError> {
        if connection.is_open() {
            return Ok(());
        }
        Err(RecycleError::message("it was closed"))
    }
}

/// Connections: some for calls that must never wait for long ones, others for the log, others for what is large.
#[derive(Clone)]
pub(crate) struct Server {
    quick: Pool<Manager>,
    log: Pool<Manager>,
    parts: Pool<Manager>,
    timeout: Duration,
    federation: String,
    accept_loss: bool,
    prefix: String,
    keys: Arc<[String]>,
    warnings: Arc<Mutex<Vec<String>>>,
    /// Whether the ledger was there.
    was_there: Arc<AtomicBool>,
}

/// Which connections a call takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Leases, beats, the head.
    Quick,
    /// Entries and letters.
    Log,
    /// Parts.
    Parts,
}

/// What a script is given.
#[derive(Default)]
pub(crate) struct Args<'a> {
    values: Vec<Cow<'a, [u8]>>,
    bytes: usize,
}

impl<'a> Args<'a> {
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn bytes(mut self, value: impl Into<Cow<'a, [u8]>>) -> Self {
        self.push(value);
        self
    }

    #[must_use]
    pub fn number(self, number: u64) -> Self {
        self.bytes(reply::number(number))
    }

    pub fn push(&mut self, value: impl Into<Cow<'a, [u8]>>) {
        let value = value.into();
        self.bytes += value.len();
        self.values.push(value);
    }
}

impl Server {
    pub fn new(settings: &RedisSettings) -> Result<Self, LedgerError> {
        let prefix = settings.prefix()?;
        let connector = Connector::new(settings.target()?)?;
        let warnings = Arc::new(Mutex::new(Vec::new()));
        let pool = |size: usize| {
            let manager = Manager {
                connector: connector.clone(),
                federation: settings.federation.clone(),
                accept_loss: settings.accept_loss,
                warnings: Arc::clone(&warnings),
            };
            Pool::builder(manager).max_size(size.max(1)).build().map_err(|error| {
                LedgerError::Setting { setting: "redis.connections", why: error.to_string() }
            })
        };
        let quarter = settings.connections / 4;
        Ok(Self {
            quick: pool(quarter)?,
            parts: pool(quarter)?,
            log: pool(settings.connections.saturating_sub(2 * quarter.max(1)))?,
            timeout: settings.timeout,
            federation: settings.federation.clone(),
            accept_loss: settings.accept_loss,
            keys: KEYS.iter().map(|key| format!("{prefix}:{key}")).collect(),
            prefix,
            warnings,
            was_there: Arc::default(),
        })
    }

    /// A key of the federation.
    pub fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.prefix)
    }

    /// What is not quite as it should be with the server.
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.lock().expect("nobody panics while it is locked").clone()
    }

    /// From now on the ledger has to be there.
    pub fn is_there(&self) {
        self.was_there.store(true, Ordering::Relaxed);
    }

    /// How long a call may take that carries so many bytes.
    pub fn deadline(&self, bytes: usize) -> Duration {
        self.timeout + Duration::from_secs(bytes as u64 >> 20)
    }

    /// Runs a script, with these keys besides those that all have.
    pub async fn run(
        &self,
        lane: Lane,
        does: Does,
        script: &Script,
        keys: &[String],
        args: Args<'_>,
    ) -> Result<Value, LedgerError> {
        let deadline = self.deadline(args.bytes);
        let mut command =
            Cmd::with_capacity(KEYS.len() + keys.len() + args.values.len() + 3, args.bytes);
        command.arg("EVALSHA").arg(script.get_hash()).arg(self.keys.len() + keys.len());
        command.arg(&self.keys[..]).arg(keys);
        for value in &args.values {
            command.arg(&value[..]);
        }
        drop(args);
        self.call(lane, does, deadline, async |connection| {
            let ran: RedisResult<Value> = command.query_async(&mut connection.redis).await;
            match ran {
                Err(error) if error.kind() == ServerErrorKind::NoScript.into() => {
                    script.load_async(&mut connection.redis).await?;
                    command.query_async(&mut connection.redis).await
                }
                ran => ran,
            }
        })
        .await
    }

    /// Looks again whether the server is set up to keep what it holds.
    pub async fn check_durability(&self) -> Result<(), LedgerError> {
        let settings = self
            .call(Lane::Quick, Does::Read, self.deadline(0), async |connection| {
                safety::settings(connection).await
            })
            .await?;
        safety::refuse_change(&settings, self.accept_loss)
    }

    /// Does something on a connection, until a deadline. After any error the connection is closed: where its name leads may be
    /// another server by now.
    pub async fn call<T>(
        &self,
        lane: Lane,
        does: Does,
        deadline: Duration,
        act: impl AsyncFnOnce(&mut Connection) -> RedisResult<T>,
    ) -> Result<T, LedgerError> {
        let pool = match lane {
            Lane::Quick => &self.quick,
            Lane::Log => &self.log,
            Lane::Parts => &self.parts,
        };
        let connection = within(deadline, pool.get()).await.map_err(|late| {
            let why = format!("no connection was free or made in {late:?}");
            LedgerError::Unreachable { engine: ENGINE, why }
        })?;
        let mut connection = connection.map_err(|error| match error {
            PoolError::Backend(error) => error,
            other => LedgerError::Unreachable { engine: ENGINE, why: other.to_string() },
        })?;
        match within(deadline, act(&mut connection)).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => {
                drop(Object::take(connection));
                Err(self.named(of_call(does, &self.federation, &error)))
            }
            Err(late) => {
                drop(Object::take(connection));
                Err(lost(does, format!("no answer in {late:?}")))
            }
        }
    }

    /// A ledger that was there and is not any more was not forgotten to be set up.
    fn named(&self, error: LedgerError) -> LedgerError {
        match error {
            LedgerError::NotInitialized { .. } if self.was_there.load(Ordering::Relaxed) => {
                let what = format!("{} in Redis, which was there and is gone,", self.keys[0]);
                LedgerError::Damaged { what }
            }
            error => error,
        }
    }
}

async fn within<T>(time: Duration, act: impl Future<Output = T>) -> Result<T, Duration> {
    timeout(time, act).await.map_err(|_| time)
}

/// Without addresses and passwords.
impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}
