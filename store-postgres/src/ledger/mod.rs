//! The ledger.

mod chores;
mod inbox;
mod lease;
mod log;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use pet_ledger::{
    Append, Appended, Ask, Beat, Entry, Epoch, Head, Known, Lease, Ledger, LedgerError, Letter,
    LetterId, Pending, Position, Posted, ReplicaId, Seen,
};
use tokio_postgres::types::Type;

use crate::{
    hints, parts::PostgresParts, safety, schema, server::Server, settings::PostgresSettings,
    tls::Tls,
};

/// A federation's ledger in PostgreSQL. Clones share their connections.
#[derive(Clone, Debug)]
pub struct PostgresLedger {
    server: Server,
    hints: Arc<pet_ledger::hints::Hints>,
    warnings: Arc<[String]>,
    poll: Duration,
}

impl PostgresLedger {
    /// Sets a federation up: makes its tables, if they are not there.
    ///
    /// # Errors
    /// If the server cannot be reached, or does not allow it; if the tables are there, but of another version.
    pub async fn initialize(settings: &PostgresSettings) -> Result<(), LedgerError> {
        let server = Server::new(settings)?;
        safety::check(&server).await?;
        schema::initialize(&server).await
    }

    /// Connects to what was set up.
    ///
    /// # Errors
    /// [`LedgerError::NotInitialized`] if nothing was; [`LedgerError::Schema`] if it is of another version;
    /// [`LedgerError::Unsafe`] if the server may lose what it acknowledges; [`LedgerError::Setting`],
    /// [`LedgerError::Unreachable`], [`LedgerError::ReadOnly`], [`LedgerError::Denied`].
    pub async fn connect(settings: &PostgresSettings) -> Result<Self, LedgerError> {
        let server = Server::new(settings)?;
        let warnings = safety::check(&server).await?;
        schema::check(&server).await?;
        warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        let (config, authorities) = settings.config()?;
        let tls = Tls::new(authorities.as_deref())?;
        let hints = Arc::new(hints::hear(config, tls, server.schema.clone()));
        Ok(Self { server, hints, warnings: warnings.into(), poll: settings.poll })
    }

    /// What is not quite as it should be with the server.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The parts that are in the same database.
    pub fn parts(&self) -> PostgresParts {
        PostgresParts::new(self.server.clone())
    }
}

impl Ledger for PostgresLedger {
    fn lease(&self, ask: Ask) -> Pending<'_, Lease> {
        Box::pin(lease::lease(&self.server, ask))
    }

    fn release(&self, replica: ReplicaId, epoch: Epoch) -> Pending<'_, ()> {
        Box::pin(lease::release(&self.server, replica, epoch))
    }

    fn head(&self) -> Pending<'_, Head> {
        Box::pin(log::head(&self.server))
    }

    fn append(&self, append: Append) -> Pending<'_, Appended> {
        Box::pin(log::append(&self.server, append))
    }

    fn read(&self, after: Position, most: usize, most_bytes: usize) -> Pending<'_, Vec<Entry>> {
        Box::pin(log::read(&self.server, after, most, most_bytes))
    }

    fn forget(&self, epoch: Epoch, before: Position) -> Pending<'_, ()> {
        Box::pin(log::forget(&self.server, epoch, before))
    }

    fn post(&self, letters: Vec<Letter>) -> Pending<'_, Vec<LetterId>> {
        Box::pin(inbox::post(&self.server, letters))
    }

    fn letters(
        &self,
        epoch: Epoch,
        after: LetterId,
        most: usize,
        most_bytes: usize,
    ) -> Pending<'_, Vec<Posted>> {
        Box::pin(inbox::letters(&self.server, epoch, after, most, most_bytes))
    }

    fn answers(&self, to: ReplicaId, most: usize) -> Pending<'_, Vec<(LetterId, Bytes)>> {
        Box::pin(inbox::answers(&self.server, to, most))
    }

    fn taken(&self, to: ReplicaId, letters: Vec<LetterId>) -> Pending<'_, ()> {
        Box::pin(inbox::taken(&self.server, to, letters))
    }

    fn beat(&self, beat: Beat) -> Pending<'_, ()> {
        Box::pin(chores::beat(&self.server, beat))
    }

    fn replicas(&self) -> Pending<'_, Vec<Seen>> {
        Box::pin(chores::replicas(&self.server))
    }

    fn sweep(&self, epoch: Epoch, silent_for: Duration) -> Pending<'_, Vec<ReplicaId>> {
        Box::pin(chores::sweep(&self.server, epoch, silent_for))
    }

    fn changed(&self, known: Known, at_most: Duration) -> Pending<'_, bool> {
        Box::pin(chores::changed(&self.server, &self.hints, self.poll, known, at_most))
    }

    fn now(&self) -> Pending<'_, Duration> {
        Box::pin(chores::now(&self.server))
    }

    fn header(&self, new: Bytes) -> Pending<'_, Bytes> {
        Box::pin(chores::header(&self.server, new))
    }
}

/// A number as the server keeps it.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number that the server keeps.
fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

fn of_micros(number: i64) -> Duration {
    Duration::from_micros(unsigned(number))
}

/// Bytes of a fixed length that the server keeps.
fn fixed<const N: usize>(bytes: &[u8], what: &str) -> Result<[u8; N], LedgerError> {
    bytes.try_into().map_err(|_| LedgerError::Damaged { what: what.into() })
}

const INT: Type = Type::INT8;
const BYTES: Type = Type::BYTEA;
const TEXT: Type = Type::TEXT;
