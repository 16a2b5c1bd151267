//! Draws of two and four words straight from the registers in which the key stream is made.
//!
//! There each vector holds the same word of several blocks. Candidates that begin at an even word (for four
//! words: at a multiple of four) have their last words in the same vectors in all blocks. So they are
//! compared before the words are put into the stream's order, which then only those few need that pass.

#[cfg(not(any(vector_instructions, simd128)))]
pub(super) fn draw<E>(
    _: &super::Source<'_>,
    _: &super::super::group::Group<E>,
    _: &mut [E],
) -> Option<super::Drawn> {
    None
}

#[cfg(any(vector_instructions, simd128))]
#[allow(clippy::incompatible_msrv, reason = "left out by an older compiler: build.rs")]
mod sift;

#[cfg(any(vector_instructions, simd128))]
pub(super) use sift::draw;

#[cfg(neon)]
mod neon;
#[cfg(simd128)]
mod wasm;
#[cfg(avx)]
#[allow(clippy::incompatible_msrv, reason = "left out by an older compiler: build.rs")]
mod x86;
