//! The thread that drives a member.

use std::{
    io,
    path::PathBuf,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use pet_core::{
    crypto::PublicSigningKey,
    v2::{
        member::{Settings, Snapshot, Status},
        Pin, PinError,
    },
};
use pet_transport_blocking::{
    Error as DriverError, Member, MemberConfig, MemberHandle, MemberStore,
};
use thiserror::Error;
use tracing::{info, warn};

use super::{
    directory::{Directory, DirectoryError},
    page::StatusPage,
    tally::Tally,
    tell::{tell, tell_not_stored},
};

/// How long the member works until it is looked whether it is well.
const TURN: Duration = Duration::from_secs(1);

/// The pause after a state could not be stored.
const STORE_AGAIN: Duration = Duration::from_secs(1);

/// A member that the coordinator has not answered for so long is not well.
const SILENCE: Duration = Duration::from_secs(5 * 60);

/// What a member needs to run.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServiceConfig {
    /// Where its state is, and its key if no other file is named.
    pub data_dir: PathBuf,
    /// The file with its key.
    pub key_file: Option<PathBuf>,
    /// What it insists on.
    pub pin: Pin,
    /// The coordinator, and how it is reached.
    pub driver: MemberConfig,
}

impl ServiceConfig {
    /// A member in this directory, with its key there.
    pub fn new(data_dir: impl Into<PathBuf>, pin: Pin, driver: MemberConfig) -> Self {
        Self { data_dir: data_dir.into(), key_file: None, pin, driver }
    }

    /// What it accepts, and how often it asks.
    pub fn settings(&self) -> &Settings {
        &self.driver.settings
    }
}

/// Why a member cannot be started.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// The pin makes no sense.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// The data directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The coordinator cannot be asked with these settings.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// There is no thread.
    #[error("the operating system gives no thread: {0}")]
    Thread(io::Error),
}

/// A running member. Dropping it stops it.
#[derive(Debug)]
pub struct MemberService {
    handle: MemberHandle,
    tally: Arc<Tally>,
    thread: Option<JoinHandle<()>>,
}

impl MemberService {
    /// Starts a member on a thread of its own.
    ///
    /// # Errors
    /// If its directory is in use, has no key or a damaged state, or the coordinator cannot be asked with these settings.
    pub fn start(config: ServiceConfig) -> Result<Self, ServiceError> {
        config.pin.check()?;
        let directory = Directory::open(&config.data_dir)?;
        let keys = directory.key(config.key_file.as_deref())?;
        if !directory.has_state() {
            warn!(
                dir = %directory.path().display(),
                "there is no state: the member begins anew (if it has run before, its state was lost)"
            );
        }
        let key = keys.public();
        let machine = directory.restore(keys, config.pin, config.settings().clone())?;
        let tally = Arc::new(Tally::new());
        let store = Counted { store: directory.store(), tally: Arc::clone(&tally) };
        let member = Member::drive(machine, config.driver.clone(), store)?;
        let handle = member.handle();
        info!(
            %key,
            roster = %config.pin.roster,
            coordinator = config.driver.url.shown(),
            "the member runs; it announces itself in rounds that are opened from now on"
        );
        if let Some(proxy) = member.proxy() {
            info!("the coordinator is asked through {proxy}");
        }
        let counts = Arc::clone(&tally);
        let run = move || run(member, &counts);
        let thread = thread::Builder::new().name("member".into()).spawn(run);
        Ok(Self { handle, tally, thread: Some(thread.map_err(ServiceError::Thread)?) })
    }

    /// How the member stands.
    pub fn status(&self) -> Status {
        self.handle.status()
    }

    /// The member's public key.
    pub fn public_key(&self) -> PublicSigningKey {
        self.handle.public_key()
    }

    /// A view of the member, for whoever answers health checks.
    pub fn watch(&self) -> MemberWatch {
        MemberWatch { handle: self.handle.clone(), tally: Arc::clone(&self.tally) }
    }

    /// Whether it still runs: it ends by a stop only, or by a bug.
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Stops the member, and waits until it has let go of its directory. A request that is under way is waited for, at most
    /// as long as the driver's limits say.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take() {
            // A panic was told already.
            let _ = thread.join();
        }
    }
}

impl Drop for MemberService {
    fn drop(&mut self) {
        self.end();
    }
}

/// A view of a running member.
#[derive(Debug, Clone)]
pub struct MemberWatch {
    handle: MemberHandle,
    tally: Arc<Tally>,
}

impl MemberWatch {
    /// How the member stands.
    pub fn status(&self) -> Status {
        self.handle.status()
    }

    /// The same, for programs.
    pub fn page(&self) -> StatusPage {
        self.status().into()
    }

    /// What is wrong with it; nothing if it is well.
    pub fn complaint(&self) -> Option<String> {
        if self.handle.is_stopped() {
            return Some("the member was stopped".to_owned());
        }
        let silence = self.tally.silent_for();
        if silence < SILENCE {
            return None;
        }
        let why = self.status().failure.unwrap_or_else(|| "there is no answer".to_owned());
        Some(format!(
            "the coordinator has not answered as it should for {} s: {why}",
            silence.as_secs()
        ))
    }

    /// The metrics in the OpenMetrics text format.
    pub fn metrics(&self) -> String {
        self.tally.exposition(&self.status())
    }
}

/// Counts what is stored.
struct Counted<S> {
    store: S,
    tally: Arc<Tally>,
}

impl<S: MemberStore> MemberStore for Counted<S> {
    fn store(&mut self, state: &Snapshot) -> io::Result<()> {
        let stored = self.store.store(state);
        self.tally.stored(stored.is_ok());
        stored
    }
}

/// Works until the member is stopped.
fn run(mut member: Member, tally: &Tally) {
    let handle = member.handle();
    loop {
        match member.next_event(Some(TURN)) {
            Ok(Some(event)) => {
                tell(&event);
                tally.event(&event);
            }
            Ok(None) => {}
            Err(error @ DriverError::Store(_)) => {
                tell_not_stored(&error.to_string());
                // Nothing of the member goes on meanwhile.
                thread::sleep(STORE_AGAIN);
            }
            Err(_) => return,
        }
        let status = handle.status();
        if status.failure.is_none() && status.phase.is_some() {
            tally.answered();
        }
    }
}
