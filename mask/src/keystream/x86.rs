//! ChaCha20 with 128-bit, 256-bit and 512-bit registers: four, eight and sixteen blocks at a time.

use std::arch::x86_64::*;

use super::combine::{ADD32, ADD64, WRITE, XOR};
use super::vectors::{rounds, write4};
use super::{Combine, Key, BLOCK};
use crate::simd::{Avx2, Avx512};

/// For any processor of this kind.
#[allow(unsafe_code)]
pub(super) fn blocks_sse2<C: Combine>(key: &Key, first: u64, out: &mut [u8]) {
    // SAFETY: all x86-64 processors have SSE2.
    unsafe { blocks4::<C>(key, first, out) }
}

#[allow(unsafe_code)]
pub(super) fn blocks_avx512<C: Combine>(_: Avx512, key: &Key, first: u64, out: &mut [u8]) {
    // SAFETY: the witness shows that the processor has the instructions.
    unsafe { blocks16::<C>(key, first, out) }
}

#[allow(unsafe_code)]
pub(super) fn blocks_avx2<C: Combine>(_: Avx2, key: &Key, first: u64, out: &mut [u8]) {
    // SAFETY: the witness shows that the processor has the instructions.
    unsafe { blocks8::<C>(key, first, out) }
}

#[target_feature(enable = "sse2")]
fn blocks4<C: Combine>(key: &Key, first: u64, out: &mut [u8]) {
    for (i, out) in out.chunks_exact_mut(4 * BLOCK).enumerate() {
        let words = state4(key, first.wrapping_add(4 * i as u64));
        write4!(
            words,
            out,
            C,
            store128,
            _mm_unpacklo_epi32,
            _mm_unpackhi_epi32,
            _mm_unpacklo_epi64,
            _mm_unpackhi_epi64
        );
    }
}

#[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl")]
fn blocks16<C: Combine>(key: &Key, first: u64, out: &mut [u8]) {
    for (i, out) in out.chunks_exact_mut(16 * BLOCK).enumerate() {
        let words = state16(key, first.wrapping_add(16 * i as u64));
        for (out, block) in out.chunks_exact_mut(BLOCK).zip(transpose16(words)) {
            store512::<C>(out, block);
        }
    }
}

#[target_feature(enable = "avx2")]
fn blocks8<C: Combine>(key: &Key, first: u64, out: &mut [u8]) {
    for (i, out) in out.chunks_exact_mut(8 * BLOCK).enumerate() {
        let [low, high] = halves(state8(key, first.wrapping_add(8 * i as u64)));
        let (low, high) = (transpose8(low), transpose8(high));
        for ((out, low), high) in out.chunks_exact_mut(BLOCK).zip(low).zip(high) {
            store256::<C>(&mut out[..32], low);
            store256::<C>(&mut out[32..], high);
        }
    }
}

/// The words of four blocks, the first in the lowest lanes.
#[inline]
#[target_feature(enable = "sse2")]
fn state4(key: &Key, first: u64) -> [__m128i; 16] {
    let counters: [u64; 4] = std::array::from_fn(|lane| first.wrapping_add(lane as u64));
    let low = counters.map(|counter| counter as u32 as i32);
    let high = counters.map(|counter| (counter >> 32) as u32 as i32);
    let mut initial = [_mm_setzero_si128(); 16];
    for (lanes, word) in initial.iter_mut().zip(key.0) {
        *lanes = _mm_set1_epi32(word as i32);
    }
    initial[12] = _mm_set_epi32(low[3], low[2], low[1], low[0]);
    initial[13] = _mm_set_epi32(high[3], high[2], high[1], high[0]);
    rounds!(&initial, _mm_add_epi32, _mm_xor_si128, rotate128)
}

#[inline]
#[target_feature(enable = "sse2")]
fn rotate128<const N: i32>(x: __m128i) -> __m128i {
    match N {
        16 => _mm_or_si128(_mm_slli_epi32::<16>(x), _mm_srli_epi32::<16>(x)),
        12 => _mm_or_si128(_mm_slli_epi32::<12>(x), _mm_srli_epi32::<20>(x)),
        8 => _mm_or_si128(_mm_slli_epi32::<8>(x), _mm_srli_epi32::<24>(x)),
        7 => _mm_or_si128(_mm_slli_epi32::<7>(x), _mm_srli_epi32::<25>(x)),
        _ => unreachable!("ChaCha rotates by 16, 12, 8 and 7 bits"),
    }
}

/// The words of sixteen blocks, the first in the lowest lanes.
#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl")]
pub(crate) fn state16(key: &Key, first: u64) -> [__m512i; 16] {
    let lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    let start = _mm512_set1_epi32(first as u32 as i32);
    let low = _mm512_add_epi32(start, lanes);
    let carry = _mm512_cmplt_epu32_mask(low, start);
    let high = _mm512_set1_epi32((first >> 32) as u32 as i32);
    let high = _mm512_mask_add_epi32(high, carry, high, _mm512_set1_epi32(1));
    let mut initial = [_mm512_setzero_si512(); 16];
    for (lanes, word) in initial.iter_mut().zip(key.0) {
        *lanes = _mm512_set1_epi32(word as i32);
    }
    initial[12] = low;
    initial[13] = high;
    rounds!(&initial, _mm512_add_epi32, _mm512_xor_si512, _mm512_rol_epi32)
}

/// The words of eight blocks, the first in the lowest lanes.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn state8(key: &Key, first: u64) -> [__m256i; 16] {
    let lanes = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0);
    let start = _mm256_set1_epi32(first as u32 as i32);
    let low = _mm256_add_epi32(start, lanes);
    // All ones where the sum is not below the start, so that the carry is 1 + that.
    let no_carry = _mm256_cmpeq_epi32(_mm256_max_epu32(low, start), low);
    let carry = _mm256_add_epi32(_mm256_set1_epi32(1), no_carry);
    let high = _mm256_add_epi32(_mm256_set1_epi32((first >> 32) as u32 as i32), carry);
    let mut initial = [_mm256_setzero_si256(); 16];
    for (lanes, word) in initial.iter_mut().zip(key.0) {
        *lanes = _mm256_set1_epi32(word as i32);
    }
    initial[12] = low;
    initial[13] = high;
    // There are fewer registers than the rounds need. What does not fit goes to the stack, which is only
    // aligned for whole vectors if something on it wants that: without, this can take 2.4 times as long.
    let initial = Aligned(initial);
    rounds!(&std::hint::black_box(&initial).0, _mm256_add_epi32, _mm256_xor_si256, rotate256)
}

/// Beginning at a line of the cache.
#[repr(align(64))]
struct Aligned<T>(T);

#[inline]
#[target_feature(enable = "avx2")]
fn rotate256<const N: i32>(x: __m256i) -> __m256i {
    match N {
        16 => {
            let bytes = _mm_set_epi8(13, 12, 15, 14, 9, 8, 11, 10, 5, 4, 7, 6, 1, 0, 3, 2);
            _mm256_shuffle_epi8(x, _mm256_broadcastsi128_si256(bytes))
        }
        8 => {
            let bytes = _mm_set_epi8(14, 13, 12, 15, 10, 9, 8, 11, 6, 5, 4, 7, 2, 1, 0, 3);
            _mm256_shuffle_epi8(x, _mm256_broadcastsi128_si256(bytes))
        }
        12 => _mm256_or_si256(_mm256_slli_epi32::<12>(x), _mm256_srli_epi32::<20>(x)),
        7 => _mm256_or_si256(_mm256_slli_epi32::<7>(x), _mm256_srli_epi32::<25>(x)),
        _ => unreachable!("ChaCha rotates by 16, 12, 8 and 7 bits"),
    }
}

fn halves<T: Copy>(s: [T; 16]) -> [[T; 8]; 2] {
    [std::array::from_fn(|i| s[i]), std::array::from_fn(|i| s[i + 8])]
}

/// From one word of all blocks in a vector to one block.
#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl")]
fn transpose16(s: [__m512i; 16]) -> [__m512i; 16] {
    // Four words of block 4 * i + row in the 128-bit part i of `rows[column][row]`.
    let mut rows = [[_mm512_setzero_si512(); 4]; 4];
    for (row, s) in rows.iter_mut().zip(s.chunks_exact(4)) {
        let (a, b) = (_mm512_unpacklo_epi32(s[0], s[1]), _mm512_unpackhi_epi32(s[0], s[1]));
        let (c, d) = (_mm512_unpacklo_epi32(s[2], s[3]), _mm512_unpackhi_epi32(s[2], s[3]));
        *row = [
            _mm512_unpacklo_epi64(a, c),
            _mm512_unpackhi_epi64(a, c),
            _mm512_unpacklo_epi64(b, d),
            _mm512_unpackhi_epi64(b, d),
        ];
    }
    let mut blocks = [_mm512_setzero_si512(); 16];
    for row in 0..4 {
        let (a, b, c, d) = (rows[0][row], rows[1][row], rows[2][row], rows[3][row]);
        let ab_even = _mm512_shuffle_i32x4::<0b10_00_10_00>(a, b);
        let ab_odd = _mm512_shuffle_i32x4::<0b11_01_11_01>(a, b);
        let cd_even = _mm512_shuffle_i32x4::<0b10_00_10_00>(c, d);
        let cd_odd = _mm512_shuffle_i32x4::<0b11_01_11_01>(c, d);
        blocks[row] = _mm512_shuffle_i32x4::<0b10_00_10_00>(ab_even, cd_even);
        blocks[4 + row] = _mm512_shuffle_i32x4::<0b10_00_10_00>(ab_odd, cd_odd);
        blocks[8 + row] = _mm512_shuffle_i32x4::<0b11_01_11_01>(ab_even, cd_even);
        blocks[12 + row] = _mm512_shuffle_i32x4::<0b11_01_11_01>(ab_odd, cd_odd);
    }
    blocks
}

/// From one word of all blocks in a vector to eight words of one block.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose8(s: [__m256i; 8]) -> [__m256i; 8] {
    let mut rows = [[_mm256_setzero_si256(); 4]; 2];
    for (row, s) in rows.iter_mut().zip(s.chunks_exact(4)) {
        let (a, b) = (_mm256_unpacklo_epi32(s[0], s[1]), _mm256_unpackhi_epi32(s[0], s[1]));
        let (c, d) = (_mm256_unpacklo_epi32(s[2], s[3]), _mm256_unpackhi_epi32(s[2], s[3]));
        *row = [
            _mm256_unpacklo_epi64(a, c),
            _mm256_unpackhi_epi64(a, c),
            _mm256_unpacklo_epi64(b, d),
            _mm256_unpackhi_epi64(b, d),
        ];
    }
    let mut blocks = [_mm256_setzero_si256(); 8];
    for row in 0..4 {
        let (a, b) = (rows[0][row], rows[1][row]);
        blocks[row] = _mm256_permute2x128_si256::<0x20>(a, b);
        blocks[4 + row] = _mm256_permute2x128_si256::<0x31>(a, b);
    }
    blocks
}

/// Combines a vector of the stream with what is there.
macro_rules! store {
    ($name:ident, $features:literal, $vector:ty, $len:literal, $load:ident, $store:ident, $xor:ident, $add32:ident, $add64:ident) => {
        #[inline]
        #[target_feature(enable = $features)]
        #[allow(unsafe_code)]
        fn $name<C: Combine>(out: &mut [u8], value: $vector) {
            let out = out[..$len].as_mut_ptr();
            // SAFETY: there are so many bytes, and the instructions need no alignment.
            unsafe {
                let value = match C::KIND {
                    WRITE => value,
                    XOR => $xor($load(out.cast()), value),
                    ADD32 => $add32($load(out.cast()), value),
                    ADD64 => $add64($load(out.cast()), value),
                    _ => unreachable!("there is no other way to combine"),
                };
                $store(out.cast(), value);
            }
        }
    };
}

store!(
    store512,
    "avx512f",
    __m512i,
    64,
    _mm512_loadu_si512,
    _mm512_storeu_si512,
    _mm512_xor_si512,
    _mm512_add_epi32,
    _mm512_add_epi64
);
store!(
    store256,
    "avx2",
    __m256i,
    32,
    _mm256_loadu_si256,
    _mm256_storeu_si256,
    _mm256_xor_si256,
    _mm256_add_epi32,
    _mm256_add_epi64
);
store!(
    store128,
    "sse2",
    __m128i,
    16,
    _mm_loadu_si128,
    _mm_storeu_si128,
    _mm_xor_si128,
    _mm_add_epi32,
    _mm_add_epi64
);
