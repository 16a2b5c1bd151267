//! Noise for differential privacy: the discrete Gaussian that each group of a PET v2 committee takes off its mask.
//!
//! An updater sends a difference of norm at most 1 (see [`Clip`]). Encoded with steps of 1/E it is a vector of integers, and as
//! each of them is rounded down, of norm at most `E + ceil(sqrt(L))` for L weights: the [`sensitivity`], which is checked
//! in integers before it is masked. The noise has `σ = ceil(z · sensitivity)` with the multiplier z that the round's terms name
//! ([`Noise`]), and what it costs is accounted for in [`accounting`](crate::accounting).
//!
//! All of it is exact: integers, no floating point, no approximation ([`DiscreteGaussian`]). The randomness comes from a
//! [`NoiseSeed`] and nothing else, so that all members of a group, on whatever machine and however many cores, find the same
//! noise bit for bit.
//!
//! Adjacent are two rounds that differ in one updater's difference, which is 0 in one of them; who takes part is public. For
//! differences that are replaced by any other the sensitivity is twice as large, less the rounding.

mod block;
mod clip;
mod coins;
mod gaussian;
mod norm;
mod room;
mod terms;
#[cfg(test)]
mod tests;

pub use block::{DiscreteGaussian, NoiseSeed, SigmaOutOfRange, NOISE_BLOCK};
pub use clip::{Clip, ClipError, Clipped};
pub use gaussian::MAX_SIGMA;
pub use norm::squared_norm;
pub use room::{HeadRoom, NoHeadRoom};
pub use terms::{sensitivity, Noise, NoiseError};
