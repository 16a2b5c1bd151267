//! What makes a participant one of version 2: its pin, its credential, its identity.

use pet_transport_blocking::core::crypto::{Seed, SigningKeyPair};
use pet_transport_blocking::core::participant::Settings;
use pet_transport_blocking::core::v2::updater::{Ledger, DEFAULT_DELTA};
use pet_transport_blocking::core::v2::{Budget, Credential, Pin, RosterHash, Terms};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use zeroize::Zeroizing;

use crate::errors::ParticipantInit;

/// The roster's hash, the least number of updates, and epsilon and delta of the budget.
pub(crate) type PinTuple = (Vec<u8>, u64, Option<(f64, f64)>);

/// What was spent as an epsilon, for which delta, in how many rounds, and the epsilon of the budget.
pub(crate) type Spent = (f64, f64, u64, Option<f64>);

/// Sets pin and credential, both as the package has read them.
pub(crate) fn settle(
    settings: &mut Settings,
    pin: Option<PinTuple>,
    credential: Option<&[u8]>,
) -> PyResult<()> {
    let wrong = |error: String| ParticipantInit::new_err(error);
    if let Some((roster, n_min, budget)) = pin {
        let roster = RosterHash::from_slice(&roster).map_err(|error| wrong(error.to_string()))?;
        let mut pin = Pin::new(roster, n_min);
        if let Some((epsilon, delta)) = budget {
            pin = pin.with_budget(Budget::new(epsilon, delta));
        }
        pin.check().map_err(|error| wrong(error.to_string()))?;
        settings.pin = Some(pin);
    }
    if let Some(bytes) = credential {
        let credential = Credential::from_bytes(bytes).map_err(|error| wrong(error.to_string()))?;
        settings.credential = Some(credential);
    }
    Ok(())
}

/// An identity of 32 secret bytes, as key files hold them.
pub(crate) fn identity(bytes: Option<&[u8]>) -> PyResult<Option<SigningKeyPair>> {
    let Some(bytes) = bytes else { return Ok(None) };
    let seed = Seed::from_slice(bytes).map_err(|_| {
        ParticipantInit::new_err(format!(
            "an identity has 32 secret bytes, and this one has {}",
            bytes.len()
        ))
    })?;
    Ok(Some(SigningKeyPair::from_seed(&seed)))
}

/// What was spent, with the budget of these settings.
pub(crate) fn spent(ledger: &Ledger, settings: Option<&Pin>) -> Spent {
    let budget = settings.and_then(|pin| pin.budget);
    let delta = budget.map_or(DEFAULT_DELTA, |budget| budget.delta);
    (ledger.epsilon(delta), delta, ledger.rounds(), budget.map(|budget| budget.epsilon))
}

/// Multiplier and clip of a round's noise.
pub(crate) fn noise(terms: &Terms) -> Option<(f64, f64)> {
    terms.noise.map(|noise| (noise.multiplier(), noise.clip))
}

/// What an admission authority gives to the updater with this key; for tests and simulations.
#[pyfunction]
#[pyo3(name = "_credential")]
pub(crate) fn credential_of<'py>(
    py: Python<'py>,
    authority: &[u8],
    updater: &[u8],
    expires_at: u64,
) -> PyResult<Bound<'py, PyBytes>> {
    use pet_transport_blocking::core::crypto::PublicSigningKey;
    let wrong = |error: String| ParticipantInit::new_err(error);
    let seed = Zeroizing::new(authority.to_vec());
    let seed = Seed::from_slice(&seed).map_err(|error| wrong(error.to_string()))?;
    let updater =
        PublicSigningKey::from_slice(updater).map_err(|error| wrong(error.to_string()))?;
    let credential = Credential::issue(&SigningKeyPair::from_seed(&seed), &updater, expires_at);
    Ok(PyBytes::new(py, &credential.to_bytes()))
}

/// The hash of the roster in a file.
#[cfg(feature = "coordinator")]
#[pyfunction]
#[pyo3(name = "_roster_hash")]
pub(crate) fn roster_hash<'py>(
    py: Python<'py>,
    path: std::path::PathBuf,
) -> PyResult<Bound<'py, PyBytes>> {
    let file = pet_coordinator::roster::RosterFile::read(&path)
        .map_err(|error| ParticipantInit::new_err(error.to_string()))?;
    Ok(PyBytes::new(py, file.hash().as_bytes()))
}
