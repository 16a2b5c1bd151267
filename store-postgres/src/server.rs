//! Connections to the server, and calls with deadlines on them.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod};
use pet_ledger::LedgerError;
use tokio::time::timeout;
use tokio_postgres::{
    types::{ToSql, Type},
    Row,
};

use crate::{
    error::{lost, of_call, of_connecting, Does, Failed},
    settings::PostgresSettings,
    tls::Tls,
    vacuum::Vacuum,
    ENGINE,
};

/// A value and its type.
pub(crate) type Value<'a> = (&'a (dyn ToSql + Sync), Type);

/// Connections: a few for calls that must never wait for long ones, the others for those.
#[derive(Clone)]
pub(crate) struct Server {
    quick: Pool,
    long: Pool,
    timeout: Duration,
    federation: String,
    /// The schema's name, which is safe to stand in a statement.
    pub schema: String,
    /// Tidies up after what is removed of the log.
    pub log: Vacuum,
    /// The same for letters and answers.
    pub mail: Vacuum,
    /// The same for parts.
    pub parts: Vacuum,
    /// The room that these have left.
    pub room: Vacuum,
}

/// Which connections a call takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Leases, beats, the head.
    Quick,
    /// All else.
    Long,
}

impl Server {
    pub fn new(settings: &PostgresSettings) -> Result<Self, LedgerError> {
        let (config, authorities) = settings.config()?;
        let tls = Tls::new(authorities.as_deref())?;
        let pool = |size| {
            // (Nothing is to be reset: no call leaves anything in a session.)
            let how = ManagerConfig { recycling_method: RecyclingMethod::Fast };
            let manager = Manager::from_config(config.clone(), tls.clone(), how);
            Pool::builder(manager).max_size(size).build().map_err(|error| LedgerError::Setting {
                setting: "postgres.connections",
                why: error.to_string(),
            })
        };
        let alone = Arc::default();
        Ok(Self {
            quick: pool((settings.connections / 4).max(1))?,
            long: pool((settings.connections - settings.connections / 4).max(1))?,
            timeout: settings.timeout,
            federation: settings.federation.clone(),
            schema: settings.schema()?,
            log: Vacuum::of_log(&alone),
            mail: Vacuum::of_mail(&alone),
            parts: Vacuum::of_parts(&alone),
            room: Vacuum::of_room(&alone),
        })
    }

    /// How long a call may take that carries so many bytes.
    pub fn deadline(&self, bytes: usize) -> Duration {
        self.timeout + Duration::from_secs(bytes as u64 >> 20)
    }

    /// Runs one statement, which is a transaction.
    pub async fn run(
        &self,
        lane: Lane,
        does: Does,
        statement: &str,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, LedgerError> {
        let statement = self.of_schema(statement);
        self.call(lane, does, self.deadline(0), async |client| {
            Ok(client.query_typed(&statement, values).await?)
        })
        .await
    }

    /// Locks with one statement, and runs another one that sees all that was done before the lock was had: one transaction. All
    /// is sent at once.
    pub async fn run_locked(
        &self,
        lock: &str,
        statement: &str,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, LedgerError> {
        let (lock, statement) = (self.of_schema(lock), self.of_schema(statement));
        let begin = self.begin(self.deadline(0));
        self.call(Lane::Long, Does::Write, self.deadline(0), async |client| {
            let (_, _, rows, _) = tokio::try_join!(
                biased;
                client.batch_execute(&begin),
                client.query_typed(&lock, &[]),
                client.query_typed(&statement, values),
                client.batch_execute("COMMIT"),
            )?;
            Ok(rows)
        })
        .await
    }

    /// Runs a statement that is no transaction, and may take so long.
    pub async fn chore(&self, deadline: Duration, statement: &str) -> Result<(), LedgerError> {
        self.call(Lane::Long, Does::Write, deadline, async |client| {
            Ok(client.batch_execute(statement).await?)
        })
        .await
    }

    /// Begins a transaction that the server itself ends if nobody is there any more to do so.
    pub fn begin(&self, deadline: Duration) -> String {
        let millis = deadline.as_millis();
        format!(
            "BEGIN; SET LOCAL statement_timeout = {millis}; \
             SET LOCAL idle_in_transaction_session_timeout = {millis}"
        )
    }

    /// Puts the schema's name where a statement has `$SCHEMA`.
    pub fn of_schema(&self, statement: &str) -> String {
        statement.replace("$SCHEMA", &self.schema)
    }

    /// Does something on a connection, until a deadline. After any error, and if this is dropped before it is done, the connection
    /// is closed.
    pub async fn call<T>(
        &self,
        lane: Lane,
        does: Does,
        deadline: Duration,
        act: impl AsyncFnOnce(&Object) -> Result<T, Failed>,
    ) -> Result<T, LedgerError> {
        let pool = if lane == Lane::Quick { &self.quick } else { &self.long };
        let client = within(deadline, pool.get()).await.map_err(|late| {
            let why = format!("no connection was free or made in {late:?}");
            LedgerError::Unreachable { engine: ENGINE, why }
        })?;
        let client = client.map_err(|error| match error {
            PoolError::Backend(error) => of_connecting(&error),
            other => LedgerError::Unreachable { engine: ENGINE, why: other.to_string() },
        })?;
        let used = Used(Some(client));
        let Some(client) = &used.0 else { unreachable!("it was put there") };
        match within(deadline, act(client)).await {
            Ok(Ok(done)) => {
                used.give_back();
                Ok(done)
            }
            Ok(Err(Failed::By(error))) => Err(of_call(does, &self.federation, &error)),
            Ok(Err(Failed::Late(late))) => Err(lost(does, format!("nothing came for {late:?}"))),
            // Nothing is cancelled: a cancelled commit that waits for a standby counts as done.
            Err(late) => Err(lost(does, format!("no answer in {late:?}"))),
        }
    }

    /// Whether there are connections to spare.
    pub fn has_spare_connections(&self) -> bool {
        self.long.status().max_size >= 3
    }
}

/// A connection on which something is done. If that does not end well, or whoever waits for it gives up, there may be a transaction
/// open on it, or an answer on its way that is for nobody: then it is closed, and not used again.
struct Used(Option<Object>);

impl Used {
    fn give_back(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Used {
    fn drop(&mut self) {
        drop(self.0.take().map(Object::take));
    }
}

async fn within<T>(time: Duration, act: impl Future<Output = T>) -> Result<T, Duration> {
    timeout(time, act).await.map_err(|_| time)
}

/// Without addresses and passwords.
impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("schema", &self.schema).finish_non_exhaustive()
    }
}
