//! With AVX2, two halves of a register at a time, and with AVX-512.

use std::arch::x86_64::*;

use super::{packing, pieces, unpacking, ZERO};

#[target_feature(enable = "avx2")]
pub(super) fn unpack_avx2(bytes: &[u8], width: usize, size: usize, whole: &mut [u8]) -> usize {
    let half = 16 / size * width;
    let count = pieces(bytes.len(), 2 * half, half + 16).min(whole.len() / 32);
    let index = unpacking::<16>(width, size);
    for i in 0..count {
        // SAFETY: `half + 16` bytes are there from the beginning of each piece; 32 in each register of
        // the output.
        unsafe {
            let index = _mm256_broadcastsi128_si256(_mm_loadu_si128(index.as_ptr().cast()));
            let from = bytes.as_ptr().add(i * 2 * half);
            let low = _mm256_castsi128_si256(_mm_loadu_si128(from.cast()));
            let both = _mm256_inserti128_si256::<1>(low, _mm_loadu_si128(from.add(half).cast()));
            let to = whole.as_mut_ptr().add(i * 32);
            _mm256_storeu_si256(to.cast(), _mm256_shuffle_epi8(both, index));
        }
    }
    count * 32 / size
}

#[target_feature(enable = "avx2")]
pub(super) fn pack_avx2(whole: &[u8], width: usize, size: usize, bytes: &mut [u8]) -> usize {
    let half = 16 / size * width;
    let count = pieces(bytes.len(), 2 * half, half + 16).min(whole.len() / 32);
    let index = packing::<16>(width, size);
    for i in 0..count {
        // SAFETY: as in `unpack_avx2`. What is written beyond a half is written again by the next, in
        // ascending order, or after this function.
        unsafe {
            let index = _mm256_broadcastsi128_si256(_mm_loadu_si128(index.as_ptr().cast()));
            let both = _mm256_loadu_si256(whole.as_ptr().add(i * 32).cast());
            let both = _mm256_shuffle_epi8(both, index);
            let to = bytes.as_mut_ptr().add(i * 2 * half);
            _mm_storeu_si128(to.cast(), _mm256_castsi256_si128(both));
            _mm_storeu_si128(to.add(half).cast(), _mm256_extracti128_si256::<1>(both));
        }
    }
    count * 32 / size
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub(super) fn unpack_avx512(bytes: &[u8], width: usize, size: usize, whole: &mut [u8]) -> usize {
    let step = 64 / size * width;
    let count = pieces(bytes.len(), step, 64).min(whole.len() / 64);
    let index = unpacking::<64>(width, size);
    // SAFETY: the array has 64 bytes.
    let index = unsafe { _mm512_loadu_si512(index.as_ptr().cast()) };
    let used = _mm512_cmplt_epu8_mask(index, _mm512_set1_epi8(ZERO as i8));
    for i in 0..count {
        // SAFETY: 64 bytes are there from the beginning of each piece, and in each register of the
        // output.
        unsafe {
            let packed = _mm512_loadu_si512(bytes.as_ptr().add(i * step).cast());
            let unpacked = _mm512_maskz_permutexvar_epi8(used, index, packed);
            _mm512_storeu_si512(whole.as_mut_ptr().add(i * 64).cast(), unpacked);
        }
    }
    count * 64 / size
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub(super) fn pack_avx512(whole: &[u8], width: usize, size: usize, bytes: &mut [u8]) -> usize {
    let step = 64 / size * width;
    let count = pieces(bytes.len(), step, 64).min(whole.len() / 64);
    let index = packing::<64>(width, size);
    // SAFETY: the array has 64 bytes.
    let index = unsafe { _mm512_loadu_si512(index.as_ptr().cast()) };
    for i in 0..count {
        // SAFETY: as in `unpack_avx512`. What is written beyond a piece is written again by the next, in
        // ascending order, or after this function.
        unsafe {
            let unpacked = _mm512_loadu_si512(whole.as_ptr().add(i * 64).cast());
            let packed = _mm512_permutexvar_epi8(index, unpacked);
            _mm512_storeu_si512(bytes.as_mut_ptr().add(i * step).cast(), packed);
        }
    }
    count * 64 / size
}
