//! Connections to the server, and calls with deadlines on them.

use std::{fmt, future::Future, time::Duration};

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod};
use pet_ledger::LedgerError;
use tokio::time::timeout;
use tokio_postgres::{
    types::{ToSql, Type},
    Error, Row,
};

use crate::{
    error::{lost, of_call, of_connecting, Does},
    settings::PostgresSettings,
    tls::Tls,
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
        Ok(Self {
            quick: pool((settings.connections / 4).max(1))?,
            long: pool((settings.connections - settings.connections / 4).max(1))?,
            timeout: settings.timeout,
            federation: settings.federation.clone(),
            schema: settings.schema()?,
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
            client.query_typed(&statement, values).await
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

    /// Does something on a connection, until a deadline. After any error that is not about the statement alone the
    /// connection is closed.
    pub async fn call<T>(
        &self,
        lane: Lane,
        does: Does,
        deadline: Duration,
        act: impl AsyncFnOnce(&Object) -> Result<T, Error>,
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
        match within(deadline, act(&client)).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => {
                // (After an error in a transaction it would still be open.)
                drop(Object::take(client));
                Err(of_call(does, &self.federation, &error))
            }
            Err(late) => {
                // Nothing is cancelled: a cancelled commit that waits for a standby counts as done.
                drop(Object::take(client));
                Err(lost(does, format!("no answer in {late:?}")))
            }
        }
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
