//! ChaCha20 in plain Rust, four blocks at a time, for processors that have no code of their own.

use zeroize::Zeroize;

use super::{Combine, Key, BLOCK};

const LANES: usize = 4;

/// The same word of several blocks.
type Lane = [u32; LANES];

pub(super) fn blocks<C: Combine>(key: &Key, first: u64, out: &mut [u8]) {
    for (i, out) in out.chunks_exact_mut(LANES * BLOCK).enumerate() {
        four::<C>(key, first.wrapping_add((i * LANES) as u64), out);
    }
}

fn four<C: Combine>(key: &Key, first: u64, out: &mut [u8]) {
    let counters: [u64; LANES] = std::array::from_fn(|lane| first.wrapping_add(lane as u64));
    let mut initial = [[0; LANES]; 16];
    for (lanes, word) in initial.iter_mut().zip(key.0) {
        *lanes = [word; LANES];
    }
    initial[12] = counters.map(|counter| counter as u32);
    initial[13] = counters.map(|counter| (counter >> 32) as u32);
    let mut state = initial;
    for _ in 0..10 {
        for i in 0..4 {
            quarter_round(&mut state, i, i + 4, i + 8, i + 12);
        }
        for i in 0..4 {
            quarter_round(&mut state, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4);
        }
    }
    let mut stream = [0; LANES * BLOCK];
    for (word, (lanes, initial)) in state.iter().zip(&initial).enumerate() {
        for lane in 0..LANES {
            let at = lane * BLOCK + 4 * word;
            let sum = lanes[lane].wrapping_add(initial[lane]);
            stream[at..at + 4].copy_from_slice(&sum.to_le_bytes());
        }
    }
    C::combine(out, &stream);
    stream.zeroize();
}

#[inline(always)]
fn quarter_round(state: &mut [Lane; 16], a: usize, b: usize, c: usize, d: usize) {
    add_xor_rotate::<16>(state, a, b, d);
    add_xor_rotate::<12>(state, c, d, b);
    add_xor_rotate::<8>(state, a, b, d);
    add_xor_rotate::<7>(state, c, d, b);
}

/// a += b; c = (c ^ a) <<< N.
#[inline(always)]
// Three arrays are indexed at the same time, two of them written.
#[allow(clippy::needless_range_loop)]
fn add_xor_rotate<const N: u32>(state: &mut [Lane; 16], a: usize, b: usize, c: usize) {
    for lane in 0..LANES {
        state[a][lane] = state[a][lane].wrapping_add(state[b][lane]);
        state[c][lane] = (state[c][lane] ^ state[a][lane]).rotate_left(N);
    }
}
