//! A participant on a thread of its own.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pet_transport_blocking::core::crypto::{PublicSigningKey, Task};
use pet_transport_blocking::core::model::{Model, Scalar};
use pet_transport_blocking::core::participant::{Event, Reject};
use pet_transport_blocking::core::request::Response;
use pet_transport_blocking::core::round::RoundParameters;
use pet_transport_blocking::{Error, Handle, Observer, Participant};
use zeroize::Zeroizing;

use crate::cast::{cast, check, CastError};
use crate::errors::LocalModelError;
use crate::findings::Findings;
use crate::inbox::{is_late, Answer, Inbox, News, Shape};
use crate::logging::Notice;
use crate::state;

/// A running participant, reachable from any thread. Dropping it ends the thread.
pub(crate) struct Driver {
    handle: Handle,
    mailbox: Arc<Mailbox>,
    key: PublicSigningKey,
    /// The process that the thread is in.
    process: u32,
}

/// What the participant's thread and the others share.
struct Mailbox {
    contents: Mutex<Contents>,
    changed: Condvar,
}

#[derive(Default)]
struct Contents {
    inbox: Inbox,
    stage: Stage,
}

/// How far the participant's life is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Stage {
    #[default]
    Running,
    /// It does nothing any more; its state can be had.
    Closed,
    /// Its state was had.
    Saved,
    /// Its thread has panicked, which is a bug.
    Broken,
}

/// Why a call cannot be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gone {
    /// The participant was stopped.
    Stopped,
    /// It belongs to the process that this one was forked from.
    Forked,
    /// Its thread has panicked.
    Broken,
}

/// Why a local model is not taken.
pub(crate) enum SetError {
    Model(LocalModelError),
    Gone(Gone),
}

impl Driver {
    /// Starts the thread; `waiting` is a local model whose type is to be checked, and `scalar` the participant's.
    pub(crate) fn start(
        participant: Participant,
        waiting: Option<Model>,
        scalar: Scalar,
    ) -> std::io::Result<Arc<Self>> {
        let handle = participant.handle();
        // Of a restored participant's round: it may be long over.
        let mut inbox = Inbox::new(handle.parameters(), waiting);
        inbox.proxy = participant.proxy().map(ToString::to_string);
        let contents = Contents { inbox, stage: Stage::Running };
        let mailbox = Arc::new(Mailbox { contents: Mutex::new(contents), changed: Condvar::new() });
        let key = handle.public_key();
        let thread = Thread {
            rounds: RoundWatch::new(participant.observer(), mailbox.clone()),
            participant,
            handle: handle.clone(),
            mailbox: mailbox.clone(),
            name: short_name(&key),
            scalar,
        };
        std::thread::Builder::new().name("xaynet-native".into()).spawn(move || thread.run())?;
        Ok(Arc::new(Self { handle, mailbox, key, process: std::process::id() }))
    }

    /// Who the participant is.
    pub(crate) fn public_key(&self) -> &PublicSigningKey {
        &self.key
    }

    /// What the log calls it.
    pub(crate) fn name(&self) -> String {
        short_name(&self.key)
    }

    /// What has become of local models and rounds since somebody looked.
    pub(crate) fn take_news(&self) -> Result<Vec<News>, Gone> {
        self.with_inbox(Inbox::take_news)
    }

    /// Does something with the inbox of a running participant.
    pub(crate) fn with_inbox<R>(&self, action: impl FnOnce(&mut Inbox) -> R) -> Result<R, Gone> {
        let mut contents = self.lock()?;
        contents.check()?;
        Ok(action(&mut contents.inbox))
    }

    /// Waits until `done` gives something, at most `timeout`.
    pub(crate) fn wait<R>(
        &self,
        timeout: Duration,
        mut done: impl FnMut(&mut Inbox) -> Option<R>,
    ) -> Result<Option<R>, Gone> {
        let mut contents = self.lock()?;
        contents.check()?;
        if let Some(result) = done(&mut contents.inbox) {
            return Ok(Some(result));
        }
        let mut result = None;
        let waited = self.mailbox.changed.wait_timeout_while(contents, timeout, |contents| {
            if contents.check().is_ok() {
                result = done(&mut contents.inbox);
            }
            result.is_none() && contents.check().is_ok()
        });
        let (contents, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match result {
            Some(result) => Ok(Some(result)),
            None => contents.check().map(|()| None),
        }
    }

    /// What the participant does in this round.
    pub(crate) fn task(&self) -> Result<Task, Gone> {
        self.lock()?.check()?;
        Ok(self.handle.task())
    }

    /// Sets the local model if the participant is still in its round of this number; tells whether it is.
    pub(crate) fn set_model_for(&self, round: u64, model: Model) -> Result<bool, SetError> {
        let current = |inbox: &mut Inbox| match &inbox.parameters {
            Some(parameters) if inbox.rounds == round => Some(parameters.clone()),
            _ => None,
        };
        let Some(parameters) = self.with_inbox(current).map_err(SetError::Gone)? else {
            return Ok(false);
        };
        let model = cast(model, Shape::from(&*parameters).data_type()).map_err(SetError::cast)?;
        let mut contents = self.lock().map_err(SetError::Gone)?;
        contents.check().map_err(SetError::Gone)?;
        // Another round may have begun meanwhile, also one that the inbox does not know of yet.
        match self.handle.set_model_for(&parameters, model) {
            Err(Error::Rejected(Reject::Model(mismatch))) => {
                return Err(SetError::Model(mismatch.into()))
            }
            Ok(true) => {}
            _ => return Ok(false),
        }
        let inbox = &mut contents.inbox;
        inbox.waiting_model = None;
        if inbox.rounds == round {
            inbox.model_needed = false;
        }
        Ok(true)
    }

    /// Sets the local model, or keeps it until its type can be checked.
    pub(crate) fn set_model(&self, mut model: Model) -> Result<(), SetError> {
        let shape = self.with_inbox(|inbox| inbox.shape).map_err(SetError::Gone)?;
        // What takes time is done without the lock.
        match shape {
            Some(shape) => model = cast(model, shape.data_type()).map_err(SetError::cast)?,
            None => check(&model).map_err(SetError::cast)?,
        }
        let mut contents = self.lock().map_err(SetError::Gone)?;
        contents.check().map_err(SetError::Gone)?;
        let inbox = &mut contents.inbox;
        match inbox.shape {
            Some(shape) => {
                if shape.data_type() != model.data_type() {
                    // Another round has begun meanwhile, perhaps the first.
                    model = cast(model, shape.data_type()).map_err(SetError::cast)?;
                }
                hand_over(&self.handle, model).map_err(SetError::Model)?;
                inbox.waiting_model = None;
                inbox.model_needed = false;
            }
            None => match fit(model, inbox.presumed.as_deref()) {
                Ok(model) => {
                    hand_over(&self.handle, model).map_err(SetError::Model)?;
                    inbox.waiting_model = None;
                }
                Err(model) => inbox.waiting_model = Some(model),
            },
        }
        Ok(())
    }

    /// The model in the type that is wanted, as far as that is known, and what masking will do to it.
    pub(crate) fn prepare(
        &self,
        model: Model,
        scalar: &Scalar,
    ) -> Result<(Model, Option<Findings>), SetError> {
        let shape = self.with_inbox(|inbox| inbox.shape).map_err(SetError::Gone)?;
        let Some(shape) = shape else {
            return Ok((model, None));
        };
        let model = cast(model, shape.data_type()).map_err(SetError::cast)?;
        let findings = shape.findings(&model, scalar);
        Ok((model, Some(findings)))
    }

    /// Asks for the global model.
    pub(crate) fn fetch_model(&self) -> Result<Fetch<'_>, Gone> {
        let mut contents = self.lock()?;
        contents.check()?;
        self.handle.fetch_model().map_err(|_| Gone::Stopped)?;
        let inbox = &mut contents.inbox;
        inbox.new_global_model = false;
        inbox.fetched_in = inbox.rounds;
        inbox.wishes += 1;
        inbox.waiting.insert(inbox.wishes, None);
        Ok(Fetch { driver: self, wish: inbox.wishes })
    }

    /// Ends all work; every call but [`Driver::save`] is refused from now on.
    pub(crate) fn close(&self) -> Result<(), Gone> {
        let mut contents = self.lock()?;
        if contents.stage == Stage::Saved {
            return Err(Gone::Stopped);
        }
        if contents.stage == Stage::Running {
            contents.stage = Stage::Closed;
        }
        self.handle.stop();
        drop(contents);
        self.mailbox.changed.notify_all();
        Ok(())
    }

    /// Ends all work and gives the state, once, and what there is left to tell.
    pub(crate) fn save(&self) -> Result<(Zeroizing<Vec<u8>>, Vec<Notice>), Gone> {
        let mut contents = self.lock()?;
        if contents.stage == Stage::Saved {
            return Err(Gone::Stopped);
        }
        contents.stage = Stage::Saved;
        let snapshot = self.handle.stop();
        let waiting = contents.inbox.waiting_model.take();
        let notices = contents.inbox.take_notices();
        drop(contents);
        self.mailbox.changed.notify_all();
        Ok((state::write(&snapshot, waiting.as_ref()), notices))
    }

    /// Ends the work, and tells nobody.
    pub(crate) fn halt(&self) {
        // In a forked process the locks may be held by threads that do not exist there.
        if self.process == std::process::id() {
            self.handle.stop();
        }
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

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, Contents> {
        // Nothing that is done under the lock leaves it half done.
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contents {
    fn check(&self) -> Result<(), Gone> {
        match self.stage {
            Stage::Running => Ok(()),
            Stage::Closed | Stage::Saved => Err(Gone::Stopped),
            Stage::Broken => Err(Gone::Broken),
        }
    }
}

/// A wish for the global model.
pub(crate) struct Fetch<'a> {
    driver: &'a Driver,
    /// The how manieth it is.
    wish: u64,
}

impl Fetch<'_> {
    /// The answer, if it comes in time.
    pub(crate) fn wait(&self, timeout: Duration) -> Result<Option<Answer>, Gone> {
        self.driver.wait(timeout, |inbox| inbox.waiting.get(&self.wish).cloned().flatten())
    }
}

impl Drop for Fetch<'_> {
    fn drop(&mut self) {
        let Ok(mut contents) = self.driver.lock() else {
            return;
        };
        // A model can be big, and nobody asks for this one any more.
        contents.inbox.waiting.remove(&self.wish);
    }
}

impl SetError {
    fn cast(error: CastError) -> Self {
        Self::Model(error.into())
    }
}

/// The model as the round wants it that the participant was saved in, or as it is if it does not fit:
/// another round may have begun.
fn fit(model: Model, presumed: Option<&RoundParameters>) -> Result<Model, Model> {
    match presumed.map(Shape::from).filter(|shape| shape.length == model.len() as u64) {
        None => Err(model),
        Some(shape) if shape.data_type() == model.data_type() => Ok(model),
        Some(shape) => cast(model.clone(), shape.data_type()).map_err(|_| model),
    }
}

/// Gives the participant a model in the type that it wants.
fn hand_over(handle: &Handle, model: Model) -> Result<(), LocalModelError> {
    match handle.set_model(model) {
        Err(Error::Rejected(Reject::Model(mismatch))) => Err(mismatch.into()),
        // Stopped meanwhile: the caller learns that anyway.
        _ => Ok(()),
    }
}

/// What runs on the participant's thread.
struct Thread {
    participant: Participant,
    handle: Handle,
    mailbox: Arc<Mailbox>,
    rounds: RoundWatch,
    name: String,
    scalar: Scalar,
}

impl Thread {
    fn run(mut self) {
        // Six participants of one process write six lines: which is whose is told.
        let _span = tracing::error_span!("participant", key = %self.name).entered();
        let guard = BrokenOnPanic(self.mailbox.clone());
        // It ends with an error, once the participant was stopped.
        while let Ok(event) = self.participant.next_event(None) {
            if let Some(event) = event {
                trace(&event);
                let begins = matches!(event, Event::NewRound { .. });
                self.take_in(event);
                if begins {
                    self.rounds.look();
                }
            }
        }
        std::mem::forget(guard);
    }

    fn take_in(&self, event: Event) {
        let mut contents = self.mailbox.lock();
        let inbox = &mut contents.inbox;
        let new_round = inbox.take_in(event);
        let waiting = inbox.waiting_model.take_if(|_| new_round);
        if let (Some(shape), Some(model)) = (inbox.shape, waiting) {
            // Under the lock, so that no newer model is replaced; it happens once in a participant's life.
            let outcome = cast(model, shape.data_type()).map_err(LocalModelError::from);
            if let Ok(model) = &outcome {
                inbox.foresee(&shape.findings(model, &self.scalar));
            }
            match outcome.and_then(|model| hand_over(&self.handle, model)) {
                Ok(()) => inbox.model_needed = false,
                Err(error) => inbox.model_rejected(error),
            }
        }
        drop(contents);
        self.mailbox.changed.notify_all();
    }
}

/// Looks whenever a round begins what has become of the one before, on a thread beside the participant's, which
/// is not to wait for that.
struct RoundWatch {
    observer: Observer,
    mailbox: Arc<Mailbox>,
    state: Arc<Mutex<Look>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    None,
    UnderWay,
    /// Another round has begun meanwhile.
    Again,
    /// The coordinator has no status: one of old.
    Never,
}

impl RoundWatch {
    fn new(observer: Observer, mailbox: Arc<Mailbox>) -> Self {
        Self { observer, mailbox, state: Arc::new(Mutex::new(Look::None)) }
    }

    fn look(&self) {
        let (observer, mailbox, state) =
            (self.observer.clone(), self.mailbox.clone(), self.state.clone());
        {
            let mut look = state.lock().unwrap_or_else(PoisonError::into_inner);
            match *look {
                Look::None => *look = Look::UnderWay,
                Look::UnderWay => *look = Look::Again,
                Look::Again | Look::Never => {}
            }
            if *look != Look::UnderWay {
                return;
            }
        }
        let started = std::thread::Builder::new().name("xaynet-status".into()).spawn({
            let state = state.clone();
            move || loop {
                let answer = observer.status();
                if let Ok(Response { status: 200, body, .. }) = &answer {
                    mailbox.lock().inbox.take_in_status(body);
                    mailbox.changed.notify_all();
                }
                let mut look = state.lock().unwrap_or_else(PoisonError::into_inner);
                match (*look, answer) {
                    // A proxy that has a bad moment answers otherwise.
                    (_, Ok(Response { status: 404 | 405 | 501, .. })) => *look = Look::Never,
                    (Look::Again, _) => {
                        *look = Look::UnderWay;
                        continue;
                    }
                    _ => *look = Look::None,
                }
                return;
            }
        });
        if started.is_err() {
            // No thread is to be had: next time.
            *state.lock().unwrap_or_else(PoisonError::into_inner) = Look::None;
        }
    }
}

/// The beginning of a key, by which a participant is told from others.
pub(crate) fn short_name(key: &PublicSigningKey) -> String {
    key.as_bytes().iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// Tells those who wait that nothing will come any more.
struct BrokenOnPanic(Arc<Mailbox>);

impl Drop for BrokenOnPanic {
    fn drop(&mut self) {
        let mut contents = self.0.lock();
        if contents.stage == Stage::Running {
            contents.stage = Stage::Broken;
        }
        drop(contents);
        self.0.changed.notify_all();
    }
}

/// The native log.
fn trace(event: &Event) {
    use tracing::{debug, error, info, warn};
    match event {
        Event::NewRound { task, parameters } => {
            info!(?task, length = parameters.model_length, mask_config = %parameters.mask_config, "new round");
        }
        Event::ModelNeeded { data_type, length } => {
            info!(%data_type, length, "waiting for a local model");
        }
        Event::ModelRejected(error) => error!(%error, "local model dropped"),
        Event::ModelMasked(report) => {
            info!(
                clamped = report.clamped,
                scalar_clamped = report.scalar_clamped,
                "local model masked"
            );
        }
        Event::Progress { tag, sent, total } => debug!(?tag, sent, total, "part of a message sent"),
        Event::Sent(tag) => info!(?tag, "message sent"),
        Event::Rejected { tag, problem } if is_late(&problem.name) => {
            info!(?tag, %problem, "message came too late: out of this round");
        }
        Event::ModelOutdated => info!("local model of an earlier round dropped"),
        Event::Rejected { tag, problem } => {
            warn!(?tag, %problem, "message rejected: out of this round");
        }
        Event::GaveUp(error) => error!(%error, "out of this round"),
        Event::Trouble(trouble) => warn!(%trouble, "the coordinator is asked again later"),
        Event::GlobalModel(model) => debug!(?model, "global model fetched"),
        Event::GlobalModelFailed(error) => warn!(%error, "global model not fetched"),
        event => debug!(?event, "other event"),
    }
}
