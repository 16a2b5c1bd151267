//! From settings to those of the machine.

use std::{path::Path, sync::Arc};

use pet_core::v2::{
    coordinator::{self as machine, CountRange, TimeRange, Times},
    NoiseTerms, Roster,
};
use thiserror::Error;
use tracing::{info, warn};

use crate::{
    key,
    roster::{Consent, RosterFile, RosterFileError},
    settings::{MinMax, Settings, V2PhaseSettings, V2Settings},
};

/// Why the roster cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RosterError {
    /// The file cannot be used.
    #[error("{key}: {0}", key = key!(pet.v2.roster_file))]
    File(#[from] RosterFileError),
    /// Somebody has changed it after it was signed.
    #[error(
        "{}: the signatures of members {} are not valid: the roster was changed after they had signed it, or they are \
         forged. Have it signed again (pet-coordinator roster sign)",
        key!(pet.v2.roster_file), members.join(", ")
    )]
    Signatures {
        /// Whose they should be.
        members: Vec<String>,
    },
}

/// Reads the roster of a federation. That members have not signed it is only told: it is the participants who decide by
/// its hash.
pub(crate) fn read_roster(path: &Path) -> Result<Arc<Roster>, RosterError> {
    let file = RosterFile::read(path)?;
    let of = |wanted| {
        let members = file.members().filter(move |(.., consent)| *consent == wanted);
        members.map(|(member, ..)| member.to_string()).collect::<Vec<_>>()
    };
    let (invalid, missing) = (of(Consent::Invalid), of(Consent::Missing));
    if !invalid.is_empty() {
        return Err(RosterError::Signatures { members: invalid });
    }
    if !missing.is_empty() {
        warn!(members = missing.join(", "), "not all members have signed the roster");
    }
    Ok(Arc::new(file.roster().clone()))
}

/// Says what differential privacy makes of models: whoever turns it on must know.
pub(crate) fn tell_noise(settings: &machine::Settings) {
    let Some(noise) = &settings.noise else { return };
    let (groups, weights) = (settings.roster.groups().len() as f64, settings.model_length as f64);
    let updates = settings.count.min.max(settings.n_min);
    // All groups add theirs, so that one honest one is enough.
    let of_mean = groups.sqrt() * noise.multiplier() * noise.clip / updates as f64;
    let of_update = noise.clip / weights.sqrt();
    let useful = (groups * weights).sqrt() * noise.multiplier();
    info!(
        multiplier = noise.multiplier(),
        clip = noise.clip,
        updates,
        noise = of_mean,
        "each weight of a mean of so many updates has noise of about this standard deviation"
    );
    if of_mean > of_update {
        warn!(
            noise = of_mean,
            change = of_update,
            "with {updates} updates the noise is larger than what an update changes a weight by on average: it is useful only \
             with many more than {useful:.0} updates"
        );
    }
}

impl Settings {
    /// The settings of rounds of v2, with this roster.
    pub(crate) fn federation(&self, roster: Arc<Roster>) -> machine::Settings {
        let time = |range: MinMax<_>| TimeRange { min: range.min, max: range.max };
        let phase = |phase: V2PhaseSettings| time(phase.time);
        let V2Settings { n_min, first_round, announce, update, check, agree, sum2, noise, .. } =
            &self.pet.v2;
        let times = Times {
            announce: phase(*announce),
            update: time(update.time),
            check: phase(*check),
            agree: phase(*agree),
            sum2: phase(*sum2),
        };
        let count = CountRange { min: update.count.min, max: update.count.max };
        let mut limits = machine::Limits::default();
        // Room for at least a few uploads, however long the model.
        let object = self.mask_object_len() as u64;
        limits.upload_bytes = limits.upload_bytes.max(object.saturating_mul(8));
        let settings =
            machine::Settings::new(roster, self.mask, self.model.length, *n_min, count, times)
                .with_first_round(*first_round)
                .with_limits(limits);
        match (noise.thousandths(), noise.clip) {
            (Some(multiplier_thousandths), Some(clip)) => {
                settings.with_noise(NoiseTerms { multiplier_thousandths, clip })
            }
            _ => settings,
        }
    }
}
