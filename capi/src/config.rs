//! Where the coordinator is.

use std::ffi::c_char;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use pet_participant::transport;

use zeroize::Zeroizing;

use crate::memory;
use crate::settings::Settings;
use crate::status::{free, guard, Error, Status};

/// Where the coordinator is, whom to trust, and where the state is kept.
pub struct Config {
    pub(crate) config: transport::Config,
    pub(crate) state_file: Option<PathBuf>,
    pub(crate) state: Option<Zeroizing<Vec<u8>>>,
}

/// Shows no state.
impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config").field("url", &self.config.url).finish_non_exhaustive()
    }
}

fn unusable(error: transport::Error) -> Error {
    Error::new(Status::Config, error.to_string())
}

/// For the coordinator with this URL, such as `http://127.0.0.1:8081`. Proxies and authorities are those that the environment
/// names, as curl has them. `settings` may be null, and is copied.
///
/// # Safety
/// `url` is a text; `settings` is null, or of this library and not freed; `config` may be written.
#[no_mangle]
pub unsafe extern "C" fn pet_config_new(
    url: *const c_char,
    settings: *const Settings,
    config: *mut *mut Config,
) -> Status {
    guard(|| {
        // SAFETY: as the caller promises.
        let (url, settings, to) = unsafe {
            (memory::text(url, "url")?, settings.as_ref(), memory::out(config, "config")?)
        };
        let mut config = transport::Config::new(url).map_err(unusable)?;
        if let Some(settings) = settings {
            config.settings = settings.settings.clone();
        }
        to.set(memory::give(Config { config, state_file: None, state: None }));
        Ok(())
    })
}

/// Frees it. A null pointer is nothing to free.
///
/// # Safety
/// `config` is null, or of this library, and is not used any more.
#[no_mangle]
pub unsafe extern "C" fn pet_config_free(config: *mut Config) {
    // SAFETY: as the caller promises.
    free(|| drop(unsafe { memory::take(config) }));
}

/// How many threads a job may use: all cores, unless told otherwise.
///
/// # Safety
/// `config` is of this library, not freed, and no other thread uses it now.
#[no_mangle]
pub unsafe extern "C" fn pet_config_set_threads(config: *mut Config, threads: usize) -> Status {
    guard(|| {
        // SAFETY: as the caller promises.
        let config = unsafe { memory::of_mut(config, "config")? };
        config.config.threads = NonZeroUsize::new(threads)
            .ok_or_else(|| Error::new(Status::Config, "a job needs one thread at least"))?;
        Ok(())
    })
}

/// Trusts these authorities' certificates, in PEM form, and no others.
///
/// # Safety
/// `config` is of this library, not freed, and no other thread uses it now; `pem` has `length` bytes.
#[no_mangle]
pub unsafe extern "C" fn pet_config_set_authorities(
    config: *mut Config,
    pem: *const u8,
    length: usize,
) -> Status {
    guard(|| {
        // SAFETY: as the caller promises.
        let (config, pem) =
            unsafe { (memory::of_mut(config, "config")?, memory::slice(pem, length, "pem")?) };
        config.config.tls = config.config.tls.clone().trusting(pem).map_err(unusable)?;
        Ok(())
    })
}

/// Shows this certificate to coordinators that ask for one; it and its private key are in PEM form.
///
/// # Safety
/// `config` is of this library, not freed, and no other thread uses it now; `certificate` and `key` have so many bytes.
#[no_mangle]
pub unsafe extern "C" fn pet_config_set_identity(
    config: *mut Config,
    certificate: *const u8,
    certificate_length: usize,
    key: *const u8,
    key_length: usize,
) -> Status {
    guard(|| {
        // SAFETY: as the caller promises.
        let (config, certificate, key) = unsafe {
            (
                memory::of_mut(config, "config")?,
                memory::slice(certificate, certificate_length, "certificate")?,
                memory::slice(key, key_length, "key")?,
            )
        };
        config.config.tls =
            config.config.tls.clone().with_identity(certificate, key).map_err(unusable)?;
        Ok(())
    })
}

/// Keeps the state in this file: what is there is gone on from, and `pet_driver_stop` puts the state there. It holds secret
/// keys; give each participant a file of its own.
///
/// # Safety
/// `config` is of this library, not freed, and no other thread uses it now; `path` is a text.
#[no_mangle]
pub unsafe extern "C" fn pet_config_set_state_file(
    config: *mut Config,
    path: *const c_char,
) -> Status {
    guard(|| {
        // SAFETY: as the caller promises.
        let (config, path) =
            unsafe { (memory::of_mut(config, "config")?, memory::text(path, "path")?) };
        config.state_file = Some(PathBuf::from(path));
        Ok(())
    })
}

/// Goes on from this state, which `pet_driver_stop` has given; a state file that is there comes first. A copy is made, and wiped
/// when it is freed.
///
/// # Safety
/// `config` is of this library, not freed, and no other thread uses it now; `state` has `length` bytes.
#[no_mangle]
pub unsafe extern "C" fn pet_config_set_state(
    config: *mut Config,
    state: *const u8,
    length: usize,
) -> Status {
    guard(|| {
        // SAFETY: as the caller promises.
        let (config, state) =
            unsafe { (memory::of_mut(config, "config")?, memory::slice(state, length, "state")?) };
        config.state = Some(Zeroizing::new(state.to_vec()));
        Ok(())
    })
}
