//! How a participant behaves.

use std::time::Duration;

use pet_participant::transport::core::message::MessageSize;
use pet_participant::transport::core::model::Scalar;
use pet_participant::transport::core::participant as core;

use crate::memory;
use crate::status::{free, guard, Error, Status};

/// How a participant behaves: scalar 1, messages of any size, models of up to 2^28 weights, and polling as others do it, unless
/// told otherwise.
#[derive(Debug, Default)]
pub struct Settings {
    pub(crate) settings: core::Settings,
}

/// The defaults. Free them with `pet_settings_free` when everything is made that is made with them.
///
/// # Safety
/// `settings` may be written.
#[no_mangle]
pub unsafe extern "C" fn pet_settings_new(settings: *mut *mut Settings) -> Status {
    guard(|| {
        // SAFETY: as the caller promises.
        unsafe { memory::out(settings, "settings")? }.set(memory::give(Settings::default()));
        Ok(())
    })
}

/// Frees them. A null pointer is nothing to free.
///
/// # Safety
/// `settings` is null, or of this library, and is not used any more.
#[no_mangle]
pub unsafe extern "C" fn pet_settings_free(settings: *mut Settings) {
    // SAFETY: as the caller promises.
    free(|| drop(unsafe { memory::take(settings) }));
}

/// Changes them.
///
/// # Safety
/// `settings` is null, or of this library, not freed, and nobody else uses it now.
unsafe fn change(
    settings: *mut Settings,
    action: impl FnOnce(&mut core::Settings) -> Result<(), Error>,
) -> Status {
    // SAFETY: as the caller promises.
    guard(|| action(&mut unsafe { memory::of_mut(settings, "settings")? }.settings))
}

/// How much this participant's models count: the global model is the mean of all, weighted with these. Not negative.
///
/// # Safety
/// `settings` is of this library, not freed, and no other thread uses it now.
#[no_mangle]
pub unsafe extern "C" fn pet_settings_set_scalar(settings: *mut Settings, scalar: f64) -> Status {
    let set = |settings: &mut core::Settings| {
        settings.scalar = Scalar::from_f64(scalar)
            .map_err(|error| Error::new(Status::Config, format!("the scalar {scalar}: {error}")))?;
        Ok(())
    };
    // SAFETY: as the caller promises.
    unsafe { change(settings, set) }
}

/// The same, as a fraction that is exact: `numerator / denominator`.
///
/// # Safety
/// `settings` is of this library, not freed, and no other thread uses it now.
#[no_mangle]
pub unsafe extern "C" fn pet_settings_set_scalar_ratio(
    settings: *mut Settings,
    numerator: u64,
    denominator: u64,
) -> Status {
    let set = |settings: &mut core::Settings| {
        settings.scalar =
            Scalar::from_ratio(numerator.into(), denominator.into()).map_err(|error| {
                Error::new(Status::Config, format!("the scalar {numerator}/{denominator}: {error}"))
            })?;
        Ok(())
    };
    // SAFETY: as the caller promises.
    unsafe { change(settings, set) }
}

/// The most bytes that a message may have before it is sent in parts.
///
/// # Safety
/// `settings` is of this library, not freed, and no other thread uses it now.
#[no_mangle]
pub unsafe extern "C" fn pet_settings_set_max_message_size(
    settings: *mut Settings,
    bytes: usize,
) -> Status {
    let set = |settings: &mut core::Settings| {
        settings.max_message_size = MessageSize::at_most(bytes)
            .map_err(|error| Error::new(Status::Config, error.to_string()))?;
        Ok(())
    };
    // SAFETY: as the caller promises.
    unsafe { change(settings, set) }
}

/// The most weights that models may have; in rounds of longer ones this participant takes no part.
///
/// # Safety
/// `settings` is of this library, not freed, and no other thread uses it now.
#[no_mangle]
pub unsafe extern "C" fn pet_settings_set_max_model_length(
    settings: *mut Settings,
    weights: u64,
) -> Status {
    let set = |settings: &mut core::Settings| {
        settings.max_model_length = weights;
        Ok(())
    };
    // SAFETY: as the caller promises.
    unsafe { change(settings, set) }
}

/// Whether a local model that was set in one round and not used is kept for a later one (it is, unless told otherwise).
///
/// # Safety
/// `settings` is of this library, not freed, and no other thread uses it now.
#[no_mangle]
pub unsafe extern "C" fn pet_settings_set_keep_models(
    settings: *mut Settings,
    keep: bool,
) -> Status {
    let set = |settings: &mut core::Settings| {
        settings.keep_models = keep;
        Ok(())
    };
    // SAFETY: as the caller promises.
    unsafe { change(settings, set) }
}

/// The pauses between two looks at the coordinator, in milliseconds: after progress; the first without progress; by what each
/// further one is longer, at least 1; and the longest.
///
/// # Safety
/// `settings` is of this library, not freed, and no other thread uses it now.
#[no_mangle]
pub unsafe extern "C" fn pet_settings_set_polling(
    settings: *mut Settings,
    after_progress_ms: u64,
    initial_ms: u64,
    factor: f64,
    max_ms: u64,
) -> Status {
    let set = |settings: &mut core::Settings| {
        if !factor.is_finite() || factor < 1.0 {
            return Err(Error::new(
                Status::Config,
                format!("the factor {factor} is not 1 or more"),
            ));
        }
        let polling = &mut settings.polling;
        polling.after_progress = Duration::from_millis(after_progress_ms);
        polling.initial = Duration::from_millis(initial_ms);
        polling.factor = factor;
        polling.max = Duration::from_millis(max_ms);
        Ok(())
    };
    // SAFETY: as the caller promises.
    unsafe { change(settings, set) }
}
