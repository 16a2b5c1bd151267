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

use crate::{
    connection::Connector, hints, parts::RedisParts, schema, server::Server,
    settings::RedisSettings,
};

/// How many bytes a script returns at most, but for a single entry or letter that is longer: until it is done, the server does
/// nothing else.
const PAGE: usize = 8 << 20;
/// How many entries, letters or answers a script returns at most.
const MANY: usize = 1000;

/// A federation's ledger in Redis. Clones share their connections.
#[derive(Clone, Debug)]
pub struct RedisLedger {
    server: Server,
    hints: Arc<pet_ledger::hints::Hints>,
    poll: Duration,
}

impl RedisLedger {
    /// Sets a federation up, if it is not there.
    ///
    /// # Errors
    /// If the server cannot be reached, or does not allow it, or may lose what it acknowledges; if the federation is there, but of
    /// another version.
    pub async fn initialize(settings: &RedisSettings) -> Result<(), LedgerError> {
        schema::initialize(&Server::new(settings)?).await
    }

    /// Connects to what was set up.
    ///
    /// # Errors
    /// [`LedgerError::NotInitialized`] if nothing was; [`LedgerError::Schema`] if it is of another version;
    /// [`LedgerError::Unsafe`] if the server may lose what it acknowledges; [`LedgerError::Setting`],
    /// [`LedgerError::Unreachable`], [`LedgerError::ReadOnly`], [`LedgerError::Denied`].
    pub async fn connect(settings: &RedisSettings) -> Result<Self, LedgerError> {
        let server = Server::new(settings)?;
        schema::check(&server).await?;
        server.is_there();
        let connector = Connector::new(settings.target()?)?;
        let hints = Arc::new(hints::hear(connector, server.key("ledger")));
        let ledger = Self { server, hints, poll: settings.poll };
        let mut warnings = ledger.warnings();
        if settings.target()?.is_in_the_clear() {
            warnings.push("redis:// is not encrypted: the password can be read on the network; take rediss://".into());
        }
        warnings.iter().for_each(|warning| tracing::warn!("Redis: {warning}"));
        Ok(ledger)
    }

    /// What is not quite as it should be with the server.
    pub fn warnings(&self) -> Vec<String> {
        self.server.warnings()
    }

    /// The parts that are in the same server.
    pub fn parts(&self) -> RedisParts {
        RedisParts::new(self.server.clone())
    }
}

impl Ledger for RedisLedger {
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
