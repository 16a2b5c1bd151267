//! The terms of a round: all that must be the same for everyone, before anything is sent.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::error::{Blame, DecodeError};
use super::hash::{hash, Context, Label, ModelHash, RosterHash};
use super::wire::{serde_as_bytes, Reader, Writer};
use crate::mask::{BoundType, DataType, MaskConfigPair, MaskObjectView};
use crate::round::RoundParameters;

/// The least number of updates that a pin or a round may ask for: below it, a sum hides nobody.
pub const LEAST_UPDATES: u64 = 3;

/// How old the terms of a round may be, for whoever joins it.
pub const MOST_AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The noise of a round.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct NoiseTerms {
    /// The standard deviation of a group's noise, in thousandths of the sensitivity: z = 4 is 4000.
    pub multiplier_thousandths: u32,
    /// The length (L2 norm) that differences are clipped to: C.
    pub clip: f64,
}

impl NoiseTerms {
    /// The standard deviation of a group's noise in units of the sensitivity: z.
    pub fn multiplier(&self) -> f64 {
        f64::from(self.multiplier_thousandths) / 1000.0
    }
}

/// The terms of a round. Their hash is the round's [`Context`].
#[derive(Debug, Clone, PartialEq)]
pub struct Terms {
    /// Who takes part.
    pub roster: RosterHash,
    /// The number of the round. It only rises.
    pub round: u64,
    /// The round parameters of version 1, with probabilities of 0: participants of version 1 idle.
    pub parameters: RoundParameters,
    /// When the round was opened, in seconds since the Unix epoch: credentials are checked against it.
    pub opened_at: u64,
    /// The global model that the round starts from, if there is one.
    pub model: Option<ModelHash>,
    /// The least number of updates that are ever added up.
    pub n_min: u64,
    /// The noise, if there is any.
    pub noise: Option<NoiseTerms>,
}

/// Why nobody should take part under these terms.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum InvalidTerms {
    /// Probabilities that are not 0.
    #[error(
        "the round's parameters invite participants of version 1: both probabilities must be 0"
    )]
    InvitesV1,
    /// A mask config without a word group.
    #[error(
        "the round's mask config is {0}, and version 2 needs a word group: set Word32 or Word64 in the coordinator's settings"
    )]
    MaskConfig(MaskConfigPair),
    /// A model of no weights, or of too many.
    #[error("the round's models have {0} weights: it must be 1 to 4294967295")]
    ModelLength(u64),
    /// A round of fewer updates than hide anybody.
    #[error("the round asks for {n_min} updates at least: it must be from {LEAST_UPDATES} to {most}, the most that its mask config can add up")]
    Updates {
        /// What the terms say.
        n_min: u64,
        /// What the mask config can add up.
        most: u64,
    },
    /// Noise that is none, or a clip that is no length.
    #[error(
        "the round's noise has a multiplier of {} and a clip of {}: both must be above 0, and no extremes",
        .0.multiplier(), .0.clip
    )]
    Noise(NoiseTerms),
    /// A mask config that noise does not go with.
    #[error("the round has noise with the mask config {0}: differences need F32 or F64 weights and the bound B0")]
    NoiseConfig(MaskConfigPair),
    /// Opened in the future.
    #[error(
        "the round was opened at {opened_at} (Unix time), and the clock here says {now}: one of the two clocks is wrong"
    )]
    FromTheFuture {
        /// When, in seconds since the Unix epoch.
        opened_at: u64,
        /// The time here.
        now: u64,
    },
    /// Opened long ago.
    #[error(
        "the round was opened at {opened_at} (Unix time), more than 7 days before the time here, {now}: it is an old one that \
         is shown again, or the clock here is wrong"
    )]
    Old {
        /// When, in seconds since the Unix epoch.
        opened_at: u64,
        /// The time here.
        now: u64,
    },
}

impl InvalidTerms {
    /// Who is to blame.
    pub fn blame(&self) -> Blame {
        Blame::Coordinator
    }
}

const WHAT: &str = "terms of a round";

impl Terms {
    /// The round's context.
    pub fn context(&self) -> Context {
        Context::new(*hash(Label::Context, &[&self.to_bytes()]).as_bytes())
    }

    /// The least number of updates that count under a pin that asks for `pinned`.
    pub fn least_updates(&self, pinned: u64) -> u64 {
        self.n_min.max(pinned).max(LEAST_UPDATES)
    }

    /// How many bytes a masked model of this round has, and a group's mask as well: a mask object of version 1. 0 if the
    /// terms are [invalid](Terms::check).
    pub fn object_len(&self) -> u64 {
        let count = usize::try_from(self.parameters.model_length).ok();
        let config = self.parameters.mask_config;
        count.and_then(|count| MaskObjectView::serialized_len(config, count)).unwrap_or(0) as u64
    }

    /// Whether these terms make sense, whoever they are for.
    ///
    /// # Errors
    /// Why they do not.
    pub fn check(&self) -> Result<(), InvalidTerms> {
        let RoundParameters { sum, update, mask_config, model_length, .. } = self.parameters;
        if sum != 0.0 || update != 0.0 {
            return Err(InvalidTerms::InvitesV1);
        }
        if !mask_config.vect.group_type().is_word() || !mask_config.unit.group_type().is_word() {
            return Err(InvalidTerms::MaskConfig(mask_config));
        }
        if model_length == 0 || self.object_len() == 0 {
            return Err(InvalidTerms::ModelLength(model_length));
        }
        let (n_min, most) = (self.n_min, mask_config.max_nb_models());
        if n_min < LEAST_UPDATES || n_min > most {
            return Err(InvalidTerms::Updates { n_min, most });
        }
        let Some(noise) = self.noise else { return Ok(()) };
        if noise.multiplier_thousandths == 0 || !(noise.clip.is_normal() && noise.clip > 0.0) {
            return Err(InvalidTerms::Noise(noise));
        }
        let is_float = matches!(mask_config.vect.data_type(), DataType::F32 | DataType::F64);
        if !is_float || mask_config.vect.bound_type() != BoundType::B0 {
            return Err(InvalidTerms::NoiseConfig(mask_config));
        }
        Ok(())
    }

    /// Whether the round was opened lately, going by a clock here that may be wrong by `tolerance`.
    ///
    /// # Errors
    /// If it is [`MOST_AGE`] old, or to be opened later than the tolerance explains.
    pub fn check_time(&self, now: u64, tolerance: Duration) -> Result<(), InvalidTerms> {
        let opened_at = self.opened_at;
        if opened_at > now.saturating_add(tolerance.as_secs()) {
            return Err(InvalidTerms::FromTheFuture { opened_at, now });
        }
        if opened_at.saturating_add(MOST_AGE.as_secs()) < now {
            return Err(InvalidTerms::Old { opened_at, now });
        }
        Ok(())
    }

    /// The bytes, which the context is the hash of.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::versioned(256);
        writer.raw(self.roster.as_bytes());
        writer.u64(self.round);
        writer.raw(&self.parameters.to_bytes());
        writer.u64(self.opened_at);
        writer.option(self.model.as_ref(), |writer, model| writer.raw(model.as_bytes()));
        writer.u64(self.n_min);
        writer.option(self.noise.as_ref(), |writer, noise| {
            writer.u32(noise.multiplier_thousandths);
            writer.u64(noise.clip.to_bits());
        });
        writer.finish()
    }

    /// Reads the bytes. Whether the terms make sense is left to [`Terms::check`].
    ///
    /// # Errors
    /// If they are not those of terms.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::versioned(WHAT, bytes)?;
        let roster = RosterHash::new(reader.array("roster")?);
        let round = reader.u64("round")?;
        let parameters = reader.raw(RoundParameters::LENGTH, "parameters")?;
        let parameters = RoundParameters::from_bytes(parameters)
            .map_err(|_| reader.malformed("parameters", "are no round parameters"))?;
        let opened_at = reader.u64("time")?;
        let model = reader.option("model", |reader| reader.array("model").map(ModelHash::new))?;
        let n_min = reader.u64("least number of updates")?;
        let noise = reader.option("noise", |reader| {
            let multiplier_thousandths = reader.u32("noise")?;
            let clip = f64::from_bits(reader.u64("noise")?);
            // It would not equal itself.
            if clip.is_nan() {
                return Err(reader.malformed("noise", "has a clip that is not a number"));
            }
            Ok(NoiseTerms { multiplier_thousandths, clip })
        })?;
        reader.end()?;
        Ok(Self { roster, round, parameters, opened_at, model, n_min, noise })
    }
}

serde_as_bytes!(Terms);
