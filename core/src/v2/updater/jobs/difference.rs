//! What is masked in a round with noise: the clipped difference of the local model from the global one.

use std::sync::Arc;

use super::Recipe;
use crate::mask::noise::{Clip, Noise};
use crate::mask::MaskError;
use crate::model::{CastError, DataType, Model, Weights};
use crate::participant::ComposeError;
use crate::v2::NoiseTerms;

/// How many weights are looked at in a step: some hundred microseconds' work.
const WEIGHTS_PER_STEP: usize = 1 << 16;

/// Making the difference, in steps.
pub(super) enum Difference {
    /// The local model becomes one of the round's type.
    Convert {
        local: Arc<Model>,
        converted: Model,
    },
    Clip(Box<Clip>),
}

impl Difference {
    pub(super) fn new(local: &Arc<Model>, wanted: DataType) -> Self {
        Self::Convert { local: local.clone(), converted: Model::with_capacity(wanted, local.len()) }
    }

    /// The next step; the difference after the last.
    pub(super) fn step(
        mut self,
        recipe: &Recipe,
        noise: NoiseTerms,
    ) -> Result<Result<Model, Self>, ComposeError> {
        match &mut self {
            Self::Convert { local, converted } => {
                let wanted = converted.data_type();
                if local.data_type() == wanted {
                    return Self::clip(recipe, noise, local.clone()).map(Err);
                }
                let range = converted.len()..local.len().min(converted.len() + WEIGHTS_PER_STEP);
                if range.is_empty() {
                    let converted = std::mem::replace(converted, Model::F32(Vec::new()));
                    return Self::clip(recipe, noise, Arc::new(converted)).map(Err);
                }
                local.blocks::<CastError>(wanted, range, |weights| {
                    match (&mut *converted, weights) {
                        (Model::F32(all), Weights::F32(weights)) => all.extend_from_slice(weights),
                        (Model::F64(all), Weights::F64(weights)) => all.extend_from_slice(weights),
                        // Terms with noise and integers are refused before.
                        _ => {}
                    }
                    Ok(())
                })?;
                Ok(Err(self))
            }
            Self::Clip(clip) => {
                if !clip.step(WEIGHTS_PER_STEP) {
                    return Ok(Err(self));
                }
                let Self::Clip(clip) = self else { unreachable!("it was looked at") };
                Ok(Ok(clip.finish()?.model))
            }
        }
    }

    fn clip(recipe: &Recipe, terms: NoiseTerms, local: Arc<Model>) -> Result<Self, ComposeError> {
        let config = recipe.terms.parameters.mask_config.vect;
        let noise = Noise::new(config, local.len(), terms.multiplier_thousandths)
            // Such terms are refused before.
            .map_err(|_| MaskError::TooLong(local.len()))?;
        Ok(Self::Clip(Box::new(Clip::new(noise, local, recipe.global.clone(), terms.clip)?)))
    }

    /// Weights done, of all passes, and how many there are.
    pub(super) fn progress(&self) -> (usize, usize) {
        match self {
            Self::Convert { local, .. } => (0, 2 * local.len()),
            Self::Clip(clip) => clip.progress(),
        }
    }
}
