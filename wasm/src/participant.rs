//! A participant: the state machine without IO.

use pet_core::crypto::RootSeed;
// (Not `Machine`: participants of version 2 would be half as large again.)
use pet_core::participant::{Input, Participant as Machine, Reject};
use pet_core::time::Timestamp;
use serde_json::json;
use zeroize::Zeroizing;

use crate::events;
use crate::exchange::{done, handle, say, Blob, Code, Failure};
use crate::{memory, outputs, settings};

/// A participant.
#[derive(Debug)]
pub struct Participant {
    machine: Machine,
}

impl Participant {
    /// Tells the machine something.
    pub(crate) fn handle_input(&mut self, now: f64, input: Input) -> Result<(), Failure> {
        // (What is negative or not a number becomes 0: the machine's clock does not go back.)
        let now = Timestamp::from_millis(now as u64);
        self.machine.handle_input(now, input).map_err(|reject| {
            let code = match &reject {
                Reject::UnknownRequest(_) | Reject::UnknownJob(_) | Reject::UnknownPersist(_) => {
                    Code::Late
                }
                Reject::Model(_) => Code::Model,
                Reject::Stopped => Code::Stopped,
                _ => Code::Config,
            };
            Failure::new(code, reject)
        })
    }
}

/// A participant of which all that is secret follows from a seed: 32 bytes that nobody can guess. Null, and why, if the settings
/// cannot be used.
///
/// # Safety
/// `seed` are 32 bytes and `config` a text, both from [`memory::pet_alloc`]: they are taken.
#[no_mangle]
pub unsafe extern "C" fn pet_participant_new(
    seed: *mut u8,
    config: *mut u8,
    config_length: usize,
) -> *mut Participant {
    // SAFETY: as the caller promises.
    let (seed, config) = unsafe {
        (Zeroizing::new(memory::take(seed, 32)), memory::take_text(config, config_length))
    };
    handle(settings::read(&config).map(|settings| {
        let seed = RootSeed::try_fill(|to| {
            to.copy_from_slice(&seed);
            Ok::<_, std::convert::Infallible>(())
        });
        let seed = seed.unwrap_or_else(|never| match never {});
        Participant { machine: Machine::from_seed(seed, settings) }
    }))
}

/// A participant that goes on where it was when it was saved. Null, and why, if that cannot be.
///
/// # Safety
/// `state` are so many bytes and `config` a text, both from [`memory::pet_alloc`]: they are taken.
#[no_mangle]
pub unsafe extern "C" fn pet_participant_restore(
    state: *mut u8,
    state_length: usize,
    config: *mut u8,
    config_length: usize,
) -> *mut Participant {
    // SAFETY: as the caller promises.
    let (state, config) = unsafe {
        (
            Zeroizing::new(memory::take(state, state_length)),
            memory::take_text(config, config_length),
        )
    };
    handle(settings::read(&config).and_then(|settings| {
        let machine =
            Machine::restore(&state, settings).map_err(|error| Failure::new(Code::State, error))?;
        Ok(Participant { machine })
    }))
}

/// Frees it, and wipes its keys.
///
/// # Safety
/// It was made here, and is not used any more.
#[no_mangle]
pub unsafe extern "C" fn pet_participant_free(participant: *mut Participant) {
    // SAFETY: as the caller promises.
    drop(unsafe { memory::take_back(participant) });
}

/// Says what should happen next, which is to be done: see [`outputs`].
///
/// # Safety
/// `participant` was made here and not freed.
#[no_mangle]
pub unsafe extern "C" fn pet_participant_poll(participant: *mut Participant) {
    // SAFETY: as the caller promises.
    let machine = &mut unsafe { &mut *participant }.machine;
    let output = machine.poll_output();
    outputs::tell(output, |id| machine.patience(id).cloned());
}

/// Says all that is needed to go on later.
///
/// # Safety
/// As for [`pet_participant_poll`].
#[no_mangle]
pub unsafe extern "C" fn pet_participant_save(participant: *const Participant) {
    // SAFETY: as the caller promises.
    let state = unsafe { &*participant }.machine.snapshot().to_bytes();
    say(&json!(null), Blob::Secret(state));
}

/// Says what is known of it: key, task, the round's models.
///
/// # Safety
/// As for [`pet_participant_poll`].
#[no_mangle]
pub unsafe extern "C" fn pet_participant_view(participant: *const Participant) {
    // SAFETY: as the caller promises.
    let machine = &unsafe { &*participant }.machine;
    let key = machine.keys().public();
    let parameters = machine.parameters();
    let view = json!({
        "publicKey": key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
        "task": events::task(machine.task()),
        "needsModel": machine.needs_model(),
        "hasModel": machine.has_model(),
        "round": parameters.map(|parameters| json!({
            "tag": parameters.tag().to_string(),
            "dataType": events::data_type(parameters.mask_config.vect.data_type()),
            "length": parameters.model_length,
            "maskConfig": parameters.mask_config.vect.to_string(),
        })),
    });
    say(&view, Blob::None);
}

/// Tells it something that has no more to it than this.
///
/// # Safety
/// As for [`pet_participant_poll`].
#[no_mangle]
pub unsafe extern "C" fn pet_participant_tick(participant: *mut Participant, now: f64) -> u32 {
    // SAFETY: as the caller promises.
    done(unsafe { &mut *participant }.handle_input(now, Input::Tick))
}
