//! A running participant.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::{c_char, CString};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pet_participant::transport;
use pet_participant::{self as running, Gone, SetError, StartError, StateFile};

use zeroize::Zeroizing;

use crate::buffer::Buffer;
use crate::config::Config;
use crate::event;
use crate::memory;
use crate::news::{self, News, NewsKind, Notice};
use crate::status::{c_text, free, guard, Error, Status};
use crate::weights::{DataType, Model, Weights};

/// A participant on a thread of its own, which speaks to its coordinator. Any thread may use it, several at once.
#[derive(Debug)]
pub struct Driver {
    driver: Arc<running::Driver>,
    state_file: Option<Arc<StateFile>>,
    news: Mutex<VecDeque<running::News>>,
    notices: Mutex<VecDeque<running::Notice>>,
    /// The last state, until it is where it belongs: it can be had once only.
    unsaved: Mutex<Option<Zeroizing<Vec<u8>>>>,
}

thread_local! {
    /// The text of the last notice or news that this thread has had.
    static TEXT: RefCell<CString> = RefCell::default();
}

/// Keeps a text until this thread asks for the next.
fn keep(text: CString) -> *const c_char {
    TEXT.with(|slot| {
        slot.replace(text);
        slot.borrow().as_ptr()
    })
}

/// What is known and what is due. (A round may begin meanwhile: a global model that is fetched for it may have another length.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct View {
    /// Grows with everything that happens.
    pub happened: u64,
    /// How many rounds have begun while this participant was there.
    pub rounds: u64,
    /// How many weights the round's models have; 0 before the first contact with the coordinator.
    pub length: u64,
    /// Of which type they are: a `pet_data_type`.
    pub data_type: u32,
    /// What it does in this round: a `pet_task_kind`.
    pub task: u32,
    /// It is to update the global model and waits for a local one.
    pub model_needed: bool,
    /// A new round has begun, and the global model was not fetched since: there may be a new one.
    pub new_global_model: bool,
}

fn gone(gone: Gone) -> Error {
    let status = match gone {
        Gone::Stopped => Status::Stopped,
        Gone::Forked => Status::Forked,
        _ => Status::Bug,
    };
    Error::new(status, gone.to_string())
}

fn not_set(error: SetError) -> Error {
    match error {
        SetError::Gone(error) => gone(error),
        error => Error::new(Status::Model, error.to_string()),
    }
}

fn not_started(error: StartError) -> Error {
    let status = match &error {
        StartError::State(_) => Status::State,
        StartError::Thread(_) | StartError::Participant(transport::Error::Randomness(_)) => {
            Status::System
        }
        _ => Status::Config,
    };
    Error::new(status, error.to_string())
}

impl Driver {
    fn start(config: &Config) -> Result<Self, Error> {
        let file = config.state_file.as_ref().map(|path| Arc::new(StateFile::new(path)));
        let cannot = |file: &StateFile, error: std::io::Error| {
            Error::new(
                Status::System,
                format!("the state file {} cannot be used: {error}", file.path().display()),
            )
        };
        let kept = match &file {
            Some(file) => file.read().map_err(|error| cannot(file, error))?,
            None => None,
        };
        let state = kept.as_ref().or(config.state.as_ref()).map(|state| &state[..]);
        let driver = running::Driver::start(config.config.clone(), state).map_err(not_started)?;
        Ok(Self {
            driver,
            state_file: file,
            news: Mutex::default(),
            notices: Mutex::default(),
            unsaved: Mutex::default(),
        })
    }

    fn view(&self) -> Result<View, Error> {
        let view = self.driver.view().map_err(gone)?;
        let check = self.driver.model_check().map_err(gone)?;
        Ok(View {
            happened: view.happened,
            rounds: view.rounds,
            length: check.length().unwrap_or(0),
            data_type: check.data_type().map_or(DataType::F32, DataType::from) as u32,
            task: event::task(self.driver.task().map_err(gone)?),
            model_needed: view.model_needed,
            new_global_model: view.new_global_model,
        })
    }

    /// In a forked process locks may be held by threads that do not exist there.
    fn check_process(&self) -> Result<(), Error> {
        match self.driver.view() {
            Err(Gone::Forked) => Err(gone(Gone::Forked)),
            _ => Ok(()),
        }
    }

    fn save(&self) -> Result<Buffer, Error> {
        self.check_process()?;
        let mut unsaved = lock(&self.unsaved);
        let state = match unsaved.take() {
            Some(state) => state,
            None => {
                let (state, notices) = self.driver.save().map_err(gone)?;
                lock(&self.notices).extend(notices);
                state
            }
        };
        if let Some(file) = &self.state_file {
            if let Err(error) = file.write_final(&state) {
                *unsaved = Some(state);
                let path = file.path().display();
                let text = format!(
                    "the state cannot be written to {path}: {error}; see to that, and call pet_driver_stop again"
                );
                return Err(Error::new(Status::System, text));
            }
        }
        Ok(Buffer::new(state))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a participant, and its thread. `config` is copied.
///
/// # Safety
/// `config` is of this library and not freed; `driver` may be written.
#[no_mangle]
pub unsafe extern "C" fn pet_driver_start(
    config: *const Config,
    driver: *mut *mut Driver,
) -> Status {
    guard(|| {
        // SAFETY: as the caller promises.
        let (config, to) =
            unsafe { (memory::of(config, "config")?, memory::out(driver, "driver")?) };
        to.set(memory::give(Driver::start(config)?));
        Ok(())
    })
}

/// Its public key: 32 bytes.
///
/// # Safety
/// `driver` is of this library and not freed; 32 bytes may be written to `key`.
#[no_mangle]
pub unsafe extern "C" fn pet_driver_public_key(driver: *const Driver, key: *mut u8) -> Status {
    guard(|| {
        // SAFETY: as the caller promises.
        let (driver, to) =
            unsafe { (memory::of(driver, "driver")?, memory::out(key.cast::<[u8; 32]>(), "key")?) };
        to.set(*driver.driver.public_key().as_bytes());
        Ok(())
    })
}

/// Waits until more than `happened` things have happened, at most so long, and says how things are. `PET_OK` also when the
/// time is over: then `view.happened` is as before. Begin with 0, and go on with `view.happened`.
///
/// # Safety
/// `driver` is of this library and not freed; `view` may be written.
#[no_mangle]
pub unsafe extern "C" fn pet_driver_wait(
    driver: *const Driver,
    happened: u64,
    timeout_ms: u64,
    view: *mut View,
) -> Status {
    guard(|| {
        // SAFETY: as the caller promises.
        let (driver, to) = unsafe { (memory::of(driver, "driver")?, memory::out(view, "view")?) };
        driver.driver.wait_beyond(happened, Duration::from_millis(timeout_ms)).map_err(gone)?;
        to.set(driver.view()?);
        Ok(())
    })
}

/// Sets the local model: it is sent when the participant next updates; until then a later one replaces it. A copy is made.
///
/// # Safety
/// `driver` is of this library and not freed; `weights` are as many of the type as it says.
#[no_mangle]
pub unsafe extern "C" fn pet_driver_set_model(
    driver: *const Driver,
    weights: *const Weights,
) -> Status {
    guard(|| {
        // SAFETY: as the caller promises.
        let (driver, model) =
            unsafe { (memory::of(driver, "driver")?, memory::of(weights, "weights")?.read()?) };
        let driver = &driver.driver;
        let checked = driver.model_check().map_err(gone)?.check(model);
        let checked = checked.map_err(|error| Error::new(Status::Model, error.to_string()))?;
        driver.set_model(checked).map_err(not_set)
    })
}

/// Sets the local model if the participant is still in this round (`rounds` of the view that it was trained for); otherwise
/// nothing is done, and the answer is `PET_ERROR_LATE`.
///
/// # Safety
/// As for `pet_driver_set_model`.
#[no_mangle]
pub unsafe extern "C" fn pet_driver_set_model_for(
    driver: *const Driver,
    rounds: u64,
    weights: *const Weights,
) -> Status {
    guard(|| {
        // SAFETY: as the caller promises.
        let (driver, model) =
            unsafe { (memory::of(driver, "driver")?, memory::of(weights, "weights")?.read()?) };
        let driver = &driver.driver;
        let late = || Error::new(Status::Late, "the round that the model was trained for is over");
        // Before it is looked at as one of another round.
        if driver.view().map_err(gone)?.rounds != rounds {
            return Err(late());
        }
        let checked = driver.model_check().map_err(gone)?.check(model);
        let checked = checked.map_err(|error| Error::new(Status::Model, error.to_string()))?;
        match driver.set_model_for(rounds, checked).map_err(not_set)? {
            true => Ok(()),
            false => Err(late()),
        }
    })
}

/// Fetches the global model; `model` is null while there is none. `PET_ERROR_TIMEOUT` if the coordinator does not answer in
/// time, `PET_ERROR_COORDINATOR` if it cannot be asked: wait some seconds before the next try.
///
/// # Safety
/// `driver` is of this library and not freed; `model` may be written.
#[no_mangle]
pub unsafe extern "C" fn pet_driver_fetch_model(
    driver: *const Driver,
    timeout_ms: u64,
    model: *mut *mut Model,
) -> Status {
    guard(|| {
        // SAFETY: as the caller promises.
        let (driver, to) = unsafe { (memory::of(driver, "driver")?, memory::out(model, "model")?) };
        let fetch = driver.driver.fetch_model().map_err(gone)?;
        match fetch.wait(Duration::from_millis(timeout_ms)).map_err(gone)? {
            None => Err(Error::new(
                Status::Timeout,
                format!("the coordinator did not give the global model within {timeout_ms} ms"),
            )),
            Some(Err(error)) => Err(Error::new(Status::Coordinator, error.to_string())),
            Some(Ok(model)) => {
                to.set(model.map_or(std::ptr::null_mut(), |model| memory::give(Model::new(model))));
                Ok(())
            }
        }
    })
}

/// The next news: what became of local models and of rounds. `taken` is set to whether there is any.
///
/// # Safety
/// `driver` is of this library and not freed; `news` and `taken` may be written.
#[no_mangle]
pub unsafe extern "C" fn pet_driver_next_news(
    driver: *const Driver,
    news: *mut News,
    taken: *mut bool,
) -> Status {
    guard(|| {
        // SAFETY: as the caller promises.
        let (driver, to, taken) = unsafe {
            (
                memory::of(driver, "driver")?,
                memory::out(news, "news")?,
                memory::out(taken, "taken")?,
            )
        };
        driver.check_process()?;
        let mut kept = lock(&driver.news);
        if kept.is_empty() {
            kept.extend(driver.driver.take_news().map_err(gone)?);
        }
        let next = kept.pop_front();
        taken.set(next.is_some());
        let (kind, round, text) = next.map_or((NewsKind::Other, 0, CString::default()), news::news);
        to.set(News { kind: kind as u32, round, text: keep(text) });
        Ok(())
    })
}

/// The next line for a log. `taken` is set to whether there is any. A participant that nobody listens to keeps the last 64.
/// Those of its end are there after `pet_driver_stop`, too.
///
/// # Safety
/// As for `pet_driver_next_news`.
#[no_mangle]
pub unsafe extern "C" fn pet_driver_next_notice(
    driver: *const Driver,
    notice: *mut Notice,
    taken: *mut bool,
) -> Status {
    guard(|| {
        // SAFETY: as the caller promises.
        let (driver, to, taken) = unsafe {
            (
                memory::of(driver, "driver")?,
                memory::out(notice, "notice")?,
                memory::out(taken, "taken")?,
            )
        };
        driver.check_process()?;
        let mut kept = lock(&driver.notices);
        if kept.is_empty() {
            match driver.driver.take_notices() {
                Ok(notices) => kept.extend(notices),
                Err(Gone::Stopped) => {}
                Err(error) => return Err(gone(error)),
            }
        }
        let next = kept.pop_front();
        taken.set(next.is_some());
        let level = next.as_ref().map_or(running::Level::Debug, |notice| notice.level);
        let text = next.map_or_else(CString::default, |notice| c_text(notice.text));
        to.set(Notice { level: news::level(level) as u32, text: keep(text) });
        Ok(())
    })
}

/// Ends all work, and puts the state into the state file if there is one; if that fails, call it again once it can be written.
/// Calls that wait come back with `PET_ERROR_STOPPED`.
/// The driver is still to be freed. `state` may be null; otherwise it is set to the state, which may go on elsewhere.
///
/// # Safety
/// `driver` is of this library and not freed; `state` is null or may be written.
#[no_mangle]
pub unsafe extern "C" fn pet_driver_stop(driver: *const Driver, state: *mut *mut Buffer) -> Status {
    guard(|| {
        // SAFETY: as the caller promises.
        let driver = unsafe { memory::of(driver, "driver")? };
        let buffer = driver.save()?;
        if !state.is_null() {
            // SAFETY: as the caller promises.
            unsafe { memory::out(state, "state")? }.set(memory::give(buffer));
        }
        Ok(())
    })
}

/// Ends all work, if it goes on, without saving anything, and frees the driver. No other thread may be in a call with it. A null
/// pointer is nothing to free.
///
/// # Safety
/// `driver` is null, or of this library, and is not used any more.
#[no_mangle]
pub unsafe extern "C" fn pet_driver_free(driver: *mut Driver) {
    // SAFETY: as the caller promises.
    free(|| drop(unsafe { memory::take(driver) }));
}
