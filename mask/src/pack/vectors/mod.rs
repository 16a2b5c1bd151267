//! Packing and unpacking with a shuffle of the bytes of a vector register.

#[cfg(neon)]
mod neon;
#[cfg(avx)]
#[allow(clippy::incompatible_msrv, reason = "left out by an older compiler: build.rs")]
mod x86;

use super::Primitive;
use crate::simd::Level;

/// Unpacks all numbers but a few at the end; returns how many.
pub(super) fn unpack<P: Primitive>(
    level: Level,
    bytes: &[u8],
    width: usize,
    numbers: &mut [P],
) -> usize {
    let len = size_of_val(numbers);
    // SAFETY: a primitive integer is as good as its bytes, any of which make one.
    let whole = unsafe { std::slice::from_raw_parts_mut(numbers.as_mut_ptr().cast::<u8>(), len) };
    if width == P::BYTES {
        whole.copy_from_slice(bytes);
        return numbers.len();
    }
    match level {
        Level::Portable => 0,
        // SAFETY: the level shows that the processor has the instructions.
        #[cfg(avx)]
        Level::Avx2(_) => unsafe { x86::unpack_avx2(bytes, width, P::BYTES, whole) },
        // SAFETY: as above.
        #[cfg(avx)]
        Level::Avx512(_) => unsafe { x86::unpack_avx512(bytes, width, P::BYTES, whole) },
        // SAFETY: as above.
        #[cfg(neon)]
        Level::Neon(_) => unsafe { neon::unpack(bytes, width, P::BYTES, whole) },
    }
}

/// Packs all numbers but a few at the end; returns how many.
pub(super) fn pack<P: Primitive>(
    level: Level,
    numbers: &[P],
    width: usize,
    bytes: &mut [u8],
) -> usize {
    let len = size_of_val(numbers);
    // SAFETY: a primitive integer has no bytes that are not initialized.
    let whole = unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast::<u8>(), len) };
    if width == P::BYTES {
        bytes.copy_from_slice(whole);
        return numbers.len();
    }
    match level {
        Level::Portable => 0,
        // SAFETY: the level shows that the processor has the instructions.
        #[cfg(avx)]
        Level::Avx2(_) => unsafe { x86::pack_avx2(whole, width, P::BYTES, bytes) },
        // SAFETY: as above.
        #[cfg(avx)]
        Level::Avx512(_) => unsafe { x86::pack_avx512(whole, width, P::BYTES, bytes) },
        // SAFETY: as above.
        #[cfg(neon)]
        Level::Neon(_) => unsafe { neon::pack(whole, width, P::BYTES, bytes) },
    }
}

/// What a shuffle of bytes puts a zero for.
const ZERO: u8 = 0x80;

/// Which packed byte goes where in a register of `N` unpacked ones.
fn unpacking<const N: usize>(width: usize, size: usize) -> [u8; N] {
    std::array::from_fn(|i| match i % size {
        at if at < width => (i / size * width + at) as u8,
        _ => ZERO,
    })
}

/// Which unpacked byte goes where in a register of `N` packed ones.
fn packing<const N: usize>(width: usize, size: usize) -> [u8; N] {
    std::array::from_fn(|i| match i / width {
        number if number < N / size => (number * size + i % width) as u8,
        _ => ZERO,
    })
}

/// How many pieces of `step` bytes there are, so that `reach` bytes can be read or written from the
/// beginning of each.
fn pieces(len: usize, step: usize, reach: usize) -> usize {
    len.checked_sub(reach).map_or(0, |rest| rest / step + 1)
}
