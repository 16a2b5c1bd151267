//! The state machine without IO.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use pet_participant::transport::core::crypto::RootSeed;
use pet_participant::transport::core::participant::{Input as CoreInput, Reject};
use pet_participant::transport::core::time::Timestamp;
use pet_participant::{Machine, Refused};

use crate::buffer::Buffer;
use crate::input::{Input, Told};
use crate::memory;
use crate::output::Output;
use crate::settings::Settings;
use crate::status::{free, guard, Error, Status};

/// A participant without thread and network. Any thread may use it; two that do so at once wait for each other.
#[derive(Debug)]
pub struct Participant {
    machine: Mutex<Machine>,
    /// Unlike that of any other participant in this process.
    number: u64,
}

impl Participant {
    fn new(machine: Machine) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self { machine: Mutex::new(machine), number: NEXT.fetch_add(1, Ordering::Relaxed) }
    }

    fn lock(&self) -> Result<MutexGuard<'_, Machine>, Error> {
        self.machine.lock().map_err(|_| {
            Error::new(
                Status::Bug,
                "a call of this participant has failed before: free it, and restore it",
            )
        })
    }
}

/// Settings, or the defaults for a null pointer.
///
/// # Safety
/// The pointer is null, or of this library and not freed.
unsafe fn settings(
    settings: *const Settings,
) -> pet_participant::transport::core::participant::Settings {
    // SAFETY: as the caller promises.
    unsafe { settings.as_ref() }.map(|settings| settings.settings.clone()).unwrap_or_default()
}

/// A new participant, of whose keys and random numbers all follow from the seed: 32 bytes that nobody can guess and no other
/// participant has. With a null pointer the system's random bytes are taken. `settings` may be null.
///
/// # Safety
/// `seed` is null, or there are 32 bytes; `config` is null, or of this library and not freed; `participant` may be written.
#[no_mangle]
pub unsafe extern "C" fn pet_participant_new(
    seed: *const u8,
    config: *const Settings,
    participant: *mut *mut Participant,
) -> Status {
    guard(|| {
        // SAFETY: as the caller promises.
        let (to, settings) =
            unsafe { (memory::out(participant, "participant")?, settings(config)) };
        let seed = if seed.is_null() {
            RootSeed::try_fill(|to| getrandom::fill(to)).map_err(|error| {
                Error::new(Status::System, format!("the system gives no random bytes: {error}"))
            })?
        } else {
            // SAFETY: as the caller promises.
            let given = unsafe { memory::slice(seed, 32, "seed")? };
            RootSeed::try_fill(|to| {
                to.copy_from_slice(given);
                Ok::<_, std::convert::Infallible>(())
            })
            .unwrap_or_else(|never| match never {})
        };
        to.set(memory::give(Participant::new(Machine::new(seed, settings))));
        Ok(())
    })
}

/// A participant that goes on where it was when it was saved. `settings` may be null.
///
/// # Safety
/// `state` has `length` bytes; `config` is null, or of this library and not freed; `participant` may be written.
#[no_mangle]
pub unsafe extern "C" fn pet_participant_restore(
    state: *const u8,
    length: usize,
    config: *const Settings,
    participant: *mut *mut Participant,
) -> Status {
    guard(|| {
        // SAFETY: as the caller promises.
        let (state, settings, to) = unsafe {
            (
                memory::slice(state, length, "state")?,
                settings(config),
                memory::out(participant, "participant")?,
            )
        };
        let machine = Machine::restore(state, settings)
            .map_err(|error| Error::new(Status::State, error.to_string()))?;
        to.set(memory::give(Participant::new(machine)));
        Ok(())
    })
}

/// Frees it, and wipes its keys. A null pointer is nothing to free.
///
/// # Safety
/// `participant` is null, or of this library, and is not used any more.
#[no_mangle]
pub unsafe extern "C" fn pet_participant_free(participant: *mut Participant) {
    // SAFETY: as the caller promises.
    free(|| drop(unsafe { memory::take(participant) }));
}

/// Tells it what has happened; then `pet_participant_poll_output` is to be called until it is idle. `now_ms` are milliseconds
/// of a clock that does not go back, whatever it counts from.
///
/// # Safety
/// `participant` is of this library and not freed; `input` is set as its kind says.
#[no_mangle]
pub unsafe extern "C" fn pet_participant_handle_input(
    participant: *const Participant,
    now_ms: u64,
    input: *const Input,
) -> Status {
    guard(|| {
        // SAFETY: as the caller promises.
        let (participant, told) = unsafe {
            (memory::of(participant, "participant")?, memory::of(input, "input")?.read()?)
        };
        let now = Timestamp::from_millis(now_ms);
        match told {
            Told::Core(input) => participant.lock()?.handle_input(now, input).map_err(reject),
            Told::Job(job) => {
                // SAFETY: as the caller promises.
                unsafe { memory::of(job, "input.job")? }.check(participant.number)?;
                // SAFETY: as above, and it is the participant's now.
                let job = unsafe { memory::take(job) };
                let mut machine = participant.lock()?;
                // One that was lost is noticed by the machine once it is dropped.
                let input = match job.and_then(|job| job.into_result()) {
                    Some(result) => CoreInput::JobDone(result),
                    None => CoreInput::Tick,
                };
                machine.handle_input(now, input).map_err(reject)
            }
            Told::Model(model) => {
                let check = participant.lock()?.model_check();
                // Without the lock: this takes time in proportion to the model.
                let checked = check
                    .check(model)
                    .map_err(|error| Error::new(Status::Model, error.to_string()))?;
                participant.lock()?.set_model(now, checked).map_err(|refused| match refused {
                    Refused::Model(error) => Error::new(Status::Model, error.to_string()),
                    Refused::Reject(error) => reject(error),
                })
            }
        }
    })
}

fn reject(reject: Reject) -> Error {
    let status = match &reject {
        Reject::UnknownRequest(_) | Reject::UnknownJob(_) | Reject::UnknownPersist(_) => {
            Status::Late
        }
        Reject::Model(_) => Status::Model,
        Reject::Stopped => Status::Stopped,
        _ => Status::Argument,
    };
    Error::new(status, reject.to_string())
}

/// Says what should happen next. Call it until it gives `PET_OUTPUT_IDLE`, and free each output.
///
/// # Safety
/// `participant` is of this library and not freed; `output` may be written.
#[no_mangle]
pub unsafe extern "C" fn pet_participant_poll_output(
    participant: *const Participant,
    output: *mut *mut Output,
) -> Status {
    guard(|| {
        // SAFETY: as the caller promises.
        let (participant, to) =
            unsafe { (memory::of(participant, "participant")?, memory::out(output, "output")?) };
        let mut machine = participant.lock()?;
        let polled = machine.poll();
        let patience = |id| machine.core().patience(id).cloned();
        let output = Output::new(polled, participant.number, patience);
        to.set(memory::give(output));
        Ok(())
    })
}

/// Whether it waits for a local model.
///
/// # Safety
/// `participant` is of this library and not freed; `needs` may be written.
#[no_mangle]
pub unsafe extern "C" fn pet_participant_needs_model(
    participant: *const Participant,
    needs: *mut bool,
) -> Status {
    guard(|| {
        // SAFETY: as the caller promises.
        let (participant, to) =
            unsafe { (memory::of(participant, "participant")?, memory::out(needs, "needs")?) };
        to.set(participant.lock()?.needs_model());
        Ok(())
    })
}

/// Its public key: 32 bytes.
///
/// # Safety
/// `participant` is of this library and not freed; 32 bytes may be written to `key`.
#[no_mangle]
pub unsafe extern "C" fn pet_participant_public_key(
    participant: *const Participant,
    key: *mut u8,
) -> Status {
    guard(|| {
        // SAFETY: as the caller promises.
        let (participant, to) = unsafe {
            (memory::of(participant, "participant")?, memory::out(key.cast::<[u8; 32]>(), "key")?)
        };
        to.set(*participant.lock()?.core().keys().public().as_bytes());
        Ok(())
    })
}

/// All that is needed to go on later, at any time: see `pet_participant_restore`.
///
/// # Safety
/// `participant` is of this library and not freed; `state` may be written.
#[no_mangle]
pub unsafe extern "C" fn pet_participant_save(
    participant: *const Participant,
    state: *mut *mut Buffer,
) -> Status {
    guard(|| {
        // SAFETY: as the caller promises.
        let (participant, to) =
            unsafe { (memory::of(participant, "participant")?, memory::out(state, "state")?) };
        let snapshot = participant.lock()?.snapshot();
        to.set(memory::give(Buffer::new(snapshot.to_bytes())));
        Ok(())
    })
}
