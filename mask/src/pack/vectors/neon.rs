//! With Neon: a table look-up for each register of unpacked numbers.

use std::arch::aarch64::*;

use super::{packing, pieces, unpacking};

/// Registers that are gone through at a time, so that the loop costs little.
const AT_A_TIME: usize = 4;

#[target_feature(enable = "neon")]
pub(super) fn unpack(bytes: &[u8], width: usize, size: usize, whole: &mut [u8]) -> usize {
    let step = 16 / size * width;
    let count = pieces(bytes.len(), step, 16).min(whole.len() / 16);
    let index = unpacking::<16>(width, size);
    // SAFETY: the array has 16 bytes.
    let index = unsafe { vld1q_u8(index.as_ptr()) };
    let one = |i: usize, whole: &mut [u8]| {
        // SAFETY: 16 bytes are there from the beginning of each piece, and in each register of the output.
        unsafe {
            let packed = vld1q_u8(bytes.as_ptr().add(i * step));
            vst1q_u8(whole.as_mut_ptr().add(i * 16), vqtbl1q_u8(packed, index));
        }
    };
    in_fours(count, |i| one(i, whole));
    count * 16 / size
}

#[target_feature(enable = "neon")]
pub(super) fn pack(whole: &[u8], width: usize, size: usize, bytes: &mut [u8]) -> usize {
    let step = 16 / size * width;
    let count = pieces(bytes.len(), step, 16).min(whole.len() / 16);
    let index = packing::<16>(width, size);
    // SAFETY: the array has 16 bytes.
    let index = unsafe { vld1q_u8(index.as_ptr()) };
    let one = |i: usize, bytes: &mut [u8]| {
        // SAFETY: as in `unpack`. What is written beyond a piece is written again by the next, in ascending
        // order, or after this function.
        unsafe {
            let unpacked = vld1q_u8(whole.as_ptr().add(i * 16));
            vst1q_u8(bytes.as_mut_ptr().add(i * step), vqtbl1q_u8(unpacked, index));
        }
    };
    in_fours(count, |i| one(i, bytes));
    count * 16 / size
}

/// Calls for 0, 1 and so on, `count` times.
#[inline(always)]
fn in_fours(count: usize, mut each: impl FnMut(usize)) {
    let whole = count / AT_A_TIME * AT_A_TIME;
    for i in (0..whole).step_by(AT_A_TIME) {
        (i..i + AT_A_TIME).for_each(&mut each);
    }
    (whole..count).for_each(each);
}
