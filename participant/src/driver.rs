//! A participant on a thread of its own.

use std::sync::Arc;
use std::time::Duration;

use pet_transport_blocking::core::crypto::{PublicSigningKey, SigningKeyPair, Task};
use pet_transport_blocking::core::model::{Model, Scalar};
use pet_transport_blocking::core::participant::{Reject, Snapshot};
use pet_transport_blocking::core::v2::updater::Ledger;
use pet_transport_blocking::core::v2::Terms;
use pet_transport_blocking::{Config, Error, Handle, Participant};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::inbox::{Answer, Inbox, News, View};
use crate::local::{CheckedModel, LocalModelError, ModelCheck};
use crate::mailbox::{Contents, Gone, Mailbox, Stage};
use crate::notice::Notice;
use crate::saved::{self, StateError};
use crate::sync::{thread, MutexGuard};
use crate::thread::Thread;

/// A running participant, reachable from any thread. Dropping it ends the thread.
#[derive(Debug)]
pub struct Driver {
    handle: Handle,
    pub(crate) mailbox: Arc<Mailbox>,
    key: PublicSigningKey,
    scalar: Scalar,
    /// The process that the thread is in.
    process: u32,
}

/// Why a participant cannot be started.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The saved state cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// The configuration cannot be used, or the system gives no random bytes.
    #[error(transparent)]
    Participant(#[from] Error),
    /// The system gives no thread.
    #[error("no native thread can be started: {0}")]
    Thread(std::io::Error),
}

/// Why a local model was not set.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum SetError {
    /// The local model cannot be used.
    #[error(transparent)]
    Model(#[from] LocalModelError),
    /// The participant is gone.
    #[error(transparent)]
    Gone(#[from] Gone),
}

/// Stores a state in place of the one before, so that it is there after a power cut.
pub type Store = Box<dyn FnMut(&Snapshot) -> std::io::Result<()> + Send>;

impl Driver {
    /// Starts a participant, new or saved, and its thread.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(config: Config, state: Option<&[u8]>) -> Result<Arc<Self>, StartError> {
        Self::start_as(config, None, state)
    }

    /// Like [`Driver::start_as`], with a place where states are stored that must not be forgotten: see
    /// [`Participant::with_store`].
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start_stored(
        config: Config,
        keys: Option<SigningKeyPair>,
        state: Option<&[u8]>,
        store: Option<Store>,
    ) -> Result<Arc<Self>, StartError> {
        Self::start_with(config, keys, state, |participant| match store {
            Some(store) => participant.with_store(store),
            None => participant,
        })
    }

    /// Like [`Driver::start`], for a new participant with an identity that it was given; a saved one has its own.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start_as(
        config: Config,
        keys: Option<SigningKeyPair>,
        state: Option<&[u8]>,
    ) -> Result<Arc<Self>, StartError> {
        Self::start_stored(config, keys, state, None)
    }

    fn start_with(
        config: Config,
        keys: Option<SigningKeyPair>,
        state: Option<&[u8]>,
        set_up: impl FnOnce(Participant) -> Participant,
    ) -> Result<Arc<Self>, StartError> {
        let scalar = config.settings.scalar.clone();
        let (participant, waiting) = match state {
            None => match keys {
                None => (Participant::new(config)?, None),
                Some(keys) => (Participant::with_identity(config, keys)?, None),
            },
            Some(bytes) => {
                let (core, waiting) = saved::read(bytes)?;
                let participant =
                    Participant::restore(config, core).map_err(|error| match error {
                        Error::Restore(error) => StartError::State(error.into()),
                        error => error.into(),
                    })?;
                (participant, waiting)
            }
        };
        let participant = set_up(participant);
        let handle = participant.handle();
        // Of a saved participant, what it knows of its round may be long over.
        let round = handle.parameters();
        let mut has_unchecked = round.is_none() && handle.local_model().is_some();
        if let Some(model) = waiting {
            // Taken as it is: nothing is known of the round.
            handle.set_model(model)?;
            has_unchecked = true;
        }
        Self::run(participant, Inbox::new(round, has_unchecked), scalar).map_err(StartError::Thread)
    }

    pub(crate) fn run(
        participant: Participant,
        mut inbox: Inbox,
        scalar: Scalar,
    ) -> std::io::Result<Arc<Self>> {
        let handle = participant.handle();
        inbox.proxy = participant.proxy().map(ToString::to_string);
        let mailbox = Arc::new(Mailbox::new(inbox));
        let key = handle.public_key();
        let thread = Thread::new(participant, mailbox.clone(), short_name(&key), scalar.clone());
        thread::Builder::new().name("pet-participant".into()).spawn(move || thread.run())?;
        Ok(Arc::new(Self { handle, mailbox, key, scalar, process: std::process::id() }))
    }

    /// The participant's public key.
    pub fn public_key(&self) -> &PublicSigningKey {
        &self.key
    }

    /// The participant's name in logs: the beginning of its key.
    pub fn name(&self) -> String {
        short_name(&self.key)
    }

    /// The participant's view: what is known, and what is due.
    ///
    /// # Errors
    /// [`Gone`], as all calls but [`Driver::save`] and [`Driver::close`].
    pub fn view(&self) -> Result<View, Gone> {
        self.with_inbox(|inbox| inbox.view())
    }

    /// Waits until more has happened than [`View::happened`] things, at most `timeout`; gives whether it has.
    ///
    /// # Errors
    /// [`Gone`], also while it waits.
    pub fn wait_beyond(&self, happened: u64, timeout: Duration) -> Result<bool, Gone> {
        let done = |inbox: &mut Inbox| (inbox.happened() > happened).then_some(());
        self.lock()?.check()?;
        Ok(self.mailbox.wait(timeout, done)?.is_some())
    }

    /// Takes the news: what became of local models and rounds since the last call.
    ///
    /// # Errors
    /// [`Gone`].
    pub fn take_news(&self) -> Result<Vec<News>, Gone> {
        self.with_inbox(Inbox::take_news)
    }

    /// Takes the notices to log.
    ///
    /// # Errors
    /// [`Gone`].
    pub fn take_notices(&self) -> Result<Vec<Notice>, Gone> {
        self.with_inbox(Inbox::take_notices)
    }

    /// Takes the error of a local model that was set earlier and could not be checked then.
    ///
    /// # Errors
    /// [`Gone`].
    pub fn take_model_error(&self) -> Result<Option<LocalModelError>, Gone> {
        self.with_inbox(Inbox::take_model_error)
    }

    /// What a participant of version 2 has spent of its privacy; nothing for one of version 1.
    ///
    /// # Errors
    /// [`Gone`].
    pub fn ledger(&self) -> Result<Option<Ledger>, Gone> {
        self.lock()?.check()?;
        Ok(self.handle.ledger())
    }

    /// The terms of the round that a participant of version 2 is in; nothing before the first, or for one of version 1.
    ///
    /// # Errors
    /// [`Gone`].
    pub fn terms(&self) -> Result<Option<Arc<Terms>>, Gone> {
        self.lock()?.check()?;
        Ok(self.handle.terms())
    }

    /// The participant's task in this round.
    ///
    /// # Errors
    /// [`Gone`].
    pub fn task(&self) -> Result<Task, Gone> {
        self.lock()?.check()?;
        Ok(self.handle.task())
    }

    /// The check for local models, as of now.
    ///
    /// # Errors
    /// [`Gone`].
    pub fn model_check(&self) -> Result<ModelCheck, Gone> {
        let shape = self.with_inbox(|inbox| inbox.shape)?;
        Ok(ModelCheck { shape, scalar: self.scalar.clone() })
    }

    /// Sets the local model: it is used when the participant next updates; until then a later one replaces it.
    /// Before the first contact with the coordinator it is kept and checked later; what is wrong with it then is a
    /// notice, and [`Driver::take_model_error`].
    ///
    /// # Errors
    /// If it does not fit the round, or the participant works no longer.
    pub fn set_model(&self, checked: CheckedModel) -> Result<(), SetError> {
        let (mut contents, model) = self.running_for(checked)?;
        match self.handle.set_model(model) {
            Err(Error::Rejected(Reject::Model(mismatch))) => {
                return Err(SetError::Model(mismatch.into()))
            }
            // Stopped meanwhile: the caller learns that anyway.
            _ => contents.inbox.model_set(),
        }
        Ok(())
    }

    /// Sets the local model if the participant is still in its round of this number ([`View::rounds`]); gives whether
    /// it is. If not, nothing was done.
    ///
    /// # Errors
    /// As [`Driver::set_model`].
    pub fn set_model_for(&self, round: u64, checked: CheckedModel) -> Result<bool, SetError> {
        let (mut contents, model) = self.running_for(checked)?;
        let inbox = &mut contents.inbox;
        let Some(parameters) = inbox.parameters.as_ref().filter(|_| inbox.rounds() == round) else {
            return Ok(false);
        };
        // Another round may have begun that the inbox does not know of yet.
        match self.handle.set_model_for(parameters, model) {
            Err(Error::Rejected(Reject::Model(mismatch))) => Err(SetError::Model(mismatch.into())),
            Ok(true) => {
                inbox.model_set();
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// The lock, and a model that was checked for the round that is on.
    fn running_for(
        &self,
        mut checked: CheckedModel,
    ) -> Result<(MutexGuard<'_, Contents>, Model), SetError> {
        loop {
            let contents = self.running()?;
            let shape = contents.inbox.shape;
            if shape.is_none_or(|shape| checked.wanted == Some(shape.data_type())) {
                return Ok((contents, checked.model));
            }
            // Another round has begun meanwhile, perhaps the first. What takes time is done without the lock.
            drop(contents);
            checked = ModelCheck { shape, scalar: self.scalar.clone() }.check(checked.model)?;
        }
    }

    /// Asks for the global model.
    ///
    /// # Errors
    /// [`Gone`].
    pub fn fetch_model(&self) -> Result<Fetch<'_>, Gone> {
        let mut contents = self.running()?;
        self.handle.fetch_model().map_err(|_| Gone::Stopped)?;
        Ok(Fetch { driver: self, wish: contents.inbox.wish() })
    }

    /// Ends all work; every call but [`Driver::save`] is refused from now on.
    ///
    /// # Errors
    /// [`Gone`] if its state was had already.
    pub fn close(&self) -> Result<(), Gone> {
        let mut contents = self.lock()?;
        if contents.stage == Stage::Saved {
            return Err(Gone::Stopped);
        }
        if contents.stage == Stage::Running {
            contents.stage = Stage::Closed;
        }
        self.handle.stop();
        drop(contents);
        self.mailbox.notify();
        Ok(())
    }

    /// Ends all work at once and gives the saved state, once, and what there is left to tell. The state holds secret
    /// keys.
    ///
    /// # Errors
    /// [`Gone`] if its state was had already.
    pub fn save(&self) -> Result<(Zeroizing<Vec<u8>>, Vec<Notice>), Gone> {
        let mut contents = self.lock()?;
        if contents.stage == Stage::Saved {
            return Err(Gone::Stopped);
        }
        contents.stage = Stage::Saved;
        let snapshot = self.handle.stop();
        let notices = contents.inbox.take_notices();
        drop(contents);
        self.mailbox.notify();
        Ok((snapshot.to_bytes(), notices))
    }

    /// Ends the work without telling anyone: whoever waits is left waiting. For a process that is about to
    /// exit.
    pub fn halt(&self) {
        // In a forked process the locks may be held by threads that do not exist there.
        if self.process == std::process::id() {
            self.handle.stop();
        }
    }

    fn with_inbox<R>(&self, action: impl FnOnce(&mut Inbox) -> R) -> Result<R, Gone> {
        Ok(action(&mut self.running()?.inbox))
    }

    fn running(&self) -> Result<MutexGuard<'_, Contents>, Gone> {
        let contents = self.lock()?;
        contents.check()?;
        Ok(contents)
    }

    fn lock(&self) -> Result<MutexGuard<'_, Contents>, Gone> {
        if self.process != std::process::id() {
            return Err(Gone::Forked);
        }
        Ok(self.mailbox.lock())
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.halt();
    }
}

/// A request for the global model. Dropping it is giving it up.
#[derive(Debug)]
pub struct Fetch<'a> {
    driver: &'a Driver,
    /// The how manieth it is.
    wish: u64,
}

impl Fetch<'_> {
    /// The answer, if it comes in time: a model that was asked for after the wish, or is still the current one.
    ///
    /// # Errors
    /// [`Gone`], also while it waits.
    pub fn wait(&self, timeout: Duration) -> Result<Option<Answer>, Gone> {
        self.driver.lock()?.check()?;
        self.driver.mailbox.wait(timeout, |inbox| inbox.answer(self.wish))
    }
}

impl Drop for Fetch<'_> {
    fn drop(&mut self) {
        if let Ok(mut contents) = self.driver.lock() {
            contents.inbox.give_up(self.wish);
        }
    }
}

/// The beginning of a key, by which a participant is told from others.
fn short_name(key: &PublicSigningKey) -> String {
    key.as_bytes().iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;
    use crate::Registry;

    /// Of a coordinator that is not there.
    fn start(state: Option<&[u8]>) -> Arc<Driver> {
        let mut config = Config::new("http://127.0.0.1:1").unwrap();
        config.environment = Default::default();
        Driver::start(config, state).unwrap()
    }

    fn set(driver: &Driver, model: impl Into<Model>) -> Result<(), SetError> {
        driver.set_model(driver.model_check()?.check(model.into())?)
    }

    #[test]
    fn a_model_set_before_the_first_contact_is_in_the_state() {
        let driver = start(None);
        set(&driver, vec![0.1f64, 0.2]).unwrap();
        assert!(set(&driver, vec![f64::NAN]).is_err());
        assert!(!driver
            .set_model_for(0, driver.model_check().unwrap().check(vec![0.5f32].into()).unwrap())
            .unwrap());
        let (state, _) = driver.save().unwrap();
        let restored = start(Some(&state));
        assert_eq!(restored.public_key(), driver.public_key());
        let model = restored.handle.local_model().unwrap();
        assert!(*model == Model::F64(vec![0.1, 0.2]));
        // As in the state of the version before.
        let restored = start(Some(include_bytes!("../tests/states/waiting_in_a_round")));
        assert_eq!(restored.handle.local_model().unwrap().len(), 5);
        assert!(restored.handle.parameters().is_some());
        // What it knows of its round may be long over: any model is taken.
        set(&restored, vec![1i64; 7]).unwrap();
        assert_eq!(restored.handle.local_model().unwrap().len(), 7);
    }

    #[test]
    fn a_state_is_had_once_and_after_closing() {
        let driver = start(None);
        driver.close().unwrap();
        driver.close().unwrap();
        assert_eq!(driver.view(), Err(Gone::Stopped));
        assert_eq!(set(&driver, vec![0.5f32]), Err(SetError::Gone(Gone::Stopped)));
        assert!(driver.fetch_model().is_err());
        driver.save().unwrap();
        assert_eq!(driver.save().unwrap_err(), Gone::Stopped);
        assert_eq!(driver.close(), Err(Gone::Stopped));
    }

    #[test]
    fn trouble_is_told_once_and_wakes_who_waits() {
        let driver = start(None);
        assert!(driver.wait_beyond(0, Duration::from_secs(60)).unwrap());
        let notices = driver.take_notices().unwrap();
        assert_eq!(notices.len(), 1);
        assert!(notices[0].text.contains("asked again"), "{notices:?}");
        assert!(driver
            .fetch_model()
            .unwrap()
            .wait(Duration::from_secs(60))
            .unwrap()
            .unwrap()
            .is_err());
        assert!(driver.view().unwrap().new_global_model);
    }

    #[test]
    fn a_registry_halts_who_is_there() {
        let registry = Registry::new();
        let driver = start(None);
        registry.remember(&driver);
        registry.remember(&start(None));
        registry.halt_all();
        assert!(driver.handle.is_stopped());
    }

    #[test]
    fn states_that_are_none_are_refused() {
        let config = || Config::new("http://127.0.0.1:1").unwrap();
        let refused = |state: &[u8]| Driver::start(config(), Some(state)).unwrap_err();
        assert!(matches!(refused(b"nonsense"), StartError::State(StateError::Core(_))));
        assert!(matches!(refused(b"PETw"), StartError::State(StateError::Damaged(_))));
    }
}
