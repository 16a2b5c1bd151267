//! The published `xaynet-core` 0.2.0 as an oracle for `pet-core`.
//!
//! [`old`] and [`ours`] put the two implementations behind the same small vocabulary: bytes as they
//! go over the wire, exact rationals, and [`Plain`] messages. [`strategies`] makes the inputs. The
//! tests of this package feed both sides the same inputs and compare what comes out, byte for byte
//! or as exact numbers.
//!
//! The old crate takes a scalar as an `f64` only, so scalars here are doubles; and it panics or
//! clamps silently where ours reports an error, so such inputs are compared case by case.
#![forbid(unsafe_code)]

pub mod differential;
pub mod old;
pub mod ours;
pub mod strategies;
pub mod vectors;
mod vocabulary;

pub use vocabulary::{Body, ConfigBytes, PairBytes, Parameters, Plain, Task, Weights};
