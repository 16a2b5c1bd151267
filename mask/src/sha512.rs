//! SHA-512 of several texts at the same time, one in each lane of the vector registers.
//!
//! One text's hash is a chain that no processor computes faster than about 0.8 GB/s; eight chains side by side are
//! several times as fast where there is AVX-512. It is here, and not with the rest of the cryptography, because the
//! `Level` is.

use crate::simd::{Kernel, Level};

/// How many texts are hashed at the same time.
pub const LANES: usize = 8;

/// From so many texts on it is faster than hashing one after another, where it is at all.
const LEAST: usize = 3;

/// How many bytes of a text lie apart from the rest of it.
pub const HEAD: usize = 64;

/// A text: its first bytes, and the rest.
pub type Text<'a> = (&'a [u8; HEAD], &'a [u8]);

/// A block, in bytes.
const BLOCK: usize = 128;

/// Whether this processor hashes so many texts faster side by side than one after another.
pub fn gains(texts: usize) -> bool {
    texts >= LEAST && is_wide(Level::detected())
}

fn is_wide(level: Level) -> bool {
    #[cfg(avx)]
    return matches!(level, Level::Avx512(_));
    #[cfg(not(avx))]
    {
        let _ = level;
        false
    }
}

/// The hashes of texts, in their order. Of [`LANES`] texts at a time the longer ones take longer: best are
/// texts of equal length.
pub fn hash_all(texts: &[Text<'_>]) -> Vec<[u8; 64]> {
    hash_all_at(Level::detected(), texts)
}

fn hash_all_at(level: Level, texts: &[Text<'_>]) -> Vec<[u8; 64]> {
    let mut hashes = Vec::with_capacity(texts.len());
    for texts in texts.chunks(LANES) {
        let mut lanes: Vec<Lane<'_>> = texts.iter().map(Lane::new).collect();
        while lanes.iter().filter(|lane| !lane.is_done()).count() >= LEAST {
            side_by_side(level, &mut lanes);
        }
        for lane in &mut lanes {
            while !lane.is_done() {
                alone(level, lane);
            }
        }
        hashes.extend(lanes.iter().map(Lane::hash));
    }
    hashes
}

/// A text on its way.
struct Lane<'a> {
    state: [u64; 8],
    first: [u8; BLOCK],
    middle: &'a [u8],
    last: Vec<u8>,
    /// What is being hashed of these three, and how many of its bytes are done.
    piece: u8,
    done: usize,
}

impl<'a> Lane<'a> {
    fn new((head, rest): &Text<'a>) -> Self {
        let (filling, rest) = rest.split_at(rest.len().min(BLOCK - HEAD));
        let (middle, end) = rest.split_at(rest.len() / BLOCK * BLOCK);
        let mut first = [0; BLOCK];
        first[..HEAD].copy_from_slice(*head);
        first[HEAD..HEAD + filling.len()].copy_from_slice(filling);
        let length = HEAD + filling.len() + rest.len();
        // What fills no block, a one, zeros, and how many bits it was.
        let mut last = if filling.len() < BLOCK - HEAD {
            first[..HEAD + filling.len()].to_vec()
        } else {
            end.to_vec()
        };
        last.push(0x80);
        last.resize((last.len() + 16).next_multiple_of(BLOCK) - 16, 0);
        last.extend_from_slice(&(length as u128 * 8).to_be_bytes());
        let piece = u8::from(filling.len() < BLOCK - HEAD);
        let mut lane = Self { state: INITIAL, first, middle, last, piece, done: 0 };
        lane.advance(0);
        lane
    }

    /// What comes next: whole blocks. Nothing at the end.
    fn blocks(&self) -> &[u8] {
        let piece = match self.piece {
            0 => &self.first[..],
            1 => self.middle,
            2 => &self.last,
            _ => &[],
        };
        &piece[self.done.min(piece.len())..]
    }

    fn advance(&mut self, bytes: usize) {
        self.done += bytes;
        while self.blocks().is_empty() && !self.is_done() {
            self.piece += 1;
            self.done = 0;
        }
    }

    fn is_done(&self) -> bool {
        self.piece > 2
    }

    fn hash(&self) -> [u8; 64] {
        let mut hash = [0; 64];
        for (bytes, word) in hash.chunks_exact_mut(8).zip(self.state) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        hash
    }
}

/// Hashes as much as all the lanes that are not done have in one piece. There is such a lane.
fn side_by_side(level: Level, lanes: &mut [Lane<'_>]) {
    let active: Vec<usize> = (0..lanes.len()).filter(|i| !lanes[*i].is_done()).collect();
    let bytes = active.iter().map(|i| lanes[*i].blocks().len()).min().unwrap_or_default();
    // Where there is no text, another one's is hashed, and the result forgotten.
    let lane_of = |lane: usize| active[lane % active.len()];
    let mut state = [[0; LANES]; 8];
    for (word, lanes_of_word) in state.iter_mut().enumerate() {
        for (lane, value) in lanes_of_word.iter_mut().enumerate() {
            *value = lanes[lane_of(lane)].state[word];
        }
    }
    let texts: [&[u8]; LANES] = std::array::from_fn(|lane| &lanes[lane_of(lane)].blocks()[..bytes]);
    let state = level.run(Blocks { state, texts });
    for (lane, i) in active.into_iter().enumerate() {
        lanes[i].state = std::array::from_fn(|word| state[word][lane]);
        lanes[i].advance(bytes);
    }
}

fn alone(level: Level, lane: &mut Lane<'_>) {
    let blocks = lane.blocks();
    let (bytes, state) = (blocks.len(), lane.state.map(|word| [word]));
    let state = level.run(Blocks { state, texts: [blocks] });
    lane.state = state.map(|[word]| word);
    lane.advance(bytes);
}

/// Hashes texts of equal length, which are whole blocks. Written so that the compiler keeps each word of all lanes in
/// one register.
struct Blocks<'a, const L: usize> {
    state: [[u64; L]; 8],
    texts: [&'a [u8]; L],
}

impl<const L: usize> Kernel for Blocks<'_, L> {
    type Output = [[u64; L]; 8];

    #[inline(always)]
    fn run(mut self) -> [[u64; L]; 8] {
        for start in (0..self.texts[0].len()).step_by(BLOCK) {
            let mut words = [[0; L]; 16];
            for (lane, text) in self.texts.iter().enumerate() {
                // It is always there; said so that it is checked once for the whole block.
                let Some(block) = text[start..].first_chunk::<BLOCK>() else { continue };
                for (word, bytes) in words.iter_mut().zip(block.chunks_exact(8)) {
                    let mut whole = [0; 8];
                    whole.copy_from_slice(bytes);
                    word[lane] = u64::from_be_bytes(whole);
                }
            }
            compress(&mut self.state, words);
        }
        self.state
    }
}

/// A word of each lane, made of words of each lane.
macro_rules! in_each_lane {
    (|$lane:ident| $word:expr) => {{
        let mut all = [0u64; L];
        for ($lane, word) in all.iter_mut().enumerate() {
            *word = $word;
        }
        all
    }};
}

#[inline(always)]
fn compress<const L: usize>(state: &mut [[u64; L]; 8], mut w: [[u64; L]; 16]) {
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    for (turn, constants) in CONSTANTS.iter().enumerate() {
        for (t, constant) in constants.iter().enumerate() {
            if turn > 0 {
                let [w0, w1, w9, w14] = [0, 1, 9, 14].map(|ahead| w[(t + ahead) % 16]);
                w[t] = in_each_lane!(|i| {
                    let s0 = w1[i].rotate_right(1) ^ w1[i].rotate_right(8) ^ (w1[i] >> 7);
                    let s1 = w14[i].rotate_right(19) ^ w14[i].rotate_right(61) ^ (w14[i] >> 6);
                    w0[i].wrapping_add(s0).wrapping_add(w9[i]).wrapping_add(s1)
                });
            }
            let word = w[t];
            let t1: [u64; L] = in_each_lane!(|i| {
                let s1 = e[i].rotate_right(14) ^ e[i].rotate_right(18) ^ e[i].rotate_right(41);
                let choice = (e[i] & f[i]) ^ (!e[i] & g[i]);
                let sum = h[i].wrapping_add(s1).wrapping_add(choice);
                sum.wrapping_add(constant.wrapping_add(word[i]))
            });
            let t2: [u64; L] = in_each_lane!(|i| {
                let s0 = a[i].rotate_right(28) ^ a[i].rotate_right(34) ^ a[i].rotate_right(39);
                let majority = (a[i] & b[i]) ^ (a[i] & c[i]) ^ (b[i] & c[i]);
                s0.wrapping_add(majority)
            });
            (h, g, f) = (g, f, e);
            e = in_each_lane!(|i| d[i].wrapping_add(t1[i]));
            (d, c, b) = (c, b, a);
            a = in_each_lane!(|i| t1[i].wrapping_add(t2[i]));
        }
    }
    for (sum, word) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        for (sum, word) in sum.iter_mut().zip(word) {
            *sum = sum.wrapping_add(word);
        }
    }
}

const INITIAL: [u64; 8] = [
    0x6a09_e667_f3bc_c908,
    0xbb67_ae85_84ca_a73b,
    0x3c6e_f372_fe94_f82b,
    0xa54f_f53a_5f1d_36f1,
    0x510e_527f_ade6_82d1,
    0x9b05_688c_2b3e_6c1f,
    0x1f83_d9ab_fb41_bd6b,
    0x5be0_cd19_137e_2179,
];

#[rustfmt::skip]
const CONSTANTS: [[u64; 16]; 5] = [
    [
        0x428a_2f98_d728_ae22, 0x7137_4491_23ef_65cd, 0xb5c0_fbcf_ec4d_3b2f, 0xe9b5_dba5_8189_dbbc,
        0x3956_c25b_f348_b538, 0x59f1_11f1_b605_d019, 0x923f_82a4_af19_4f9b, 0xab1c_5ed5_da6d_8118,
        0xd807_aa98_a303_0242, 0x1283_5b01_4570_6fbe, 0x2431_85be_4ee4_b28c, 0x550c_7dc3_d5ff_b4e2,
        0x72be_5d74_f27b_896f, 0x80de_b1fe_3b16_96b1, 0x9bdc_06a7_25c7_1235, 0xc19b_f174_cf69_2694,
    ],
    [
        0xe49b_69c1_9ef1_4ad2, 0xefbe_4786_384f_25e3, 0x0fc1_9dc6_8b8c_d5b5, 0x240c_a1cc_77ac_9c65,
        0x2de9_2c6f_592b_0275, 0x4a74_84aa_6ea6_e483, 0x5cb0_a9dc_bd41_fbd4, 0x76f9_88da_8311_53b5,
        0x983e_5152_ee66_dfab, 0xa831_c66d_2db4_3210, 0xb003_27c8_98fb_213f, 0xbf59_7fc7_beef_0ee4,
        0xc6e0_0bf3_3da8_8fc2, 0xd5a7_9147_930a_a725, 0x06ca_6351_e003_826f, 0x1429_2967_0a0e_6e70,
    ],
    [
        0x27b7_0a85_46d2_2ffc, 0x2e1b_2138_5c26_c926, 0x4d2c_6dfc_5ac4_2aed, 0x5338_0d13_9d95_b3df,
        0x650a_7354_8baf_63de, 0x766a_0abb_3c77_b2a8, 0x81c2_c92e_47ed_aee6, 0x9272_2c85_1482_353b,
        0xa2bf_e8a1_4cf1_0364, 0xa81a_664b_bc42_3001, 0xc24b_8b70_d0f8_9791, 0xc76c_51a3_0654_be30,
        0xd192_e819_d6ef_5218, 0xd699_0624_5565_a910, 0xf40e_3585_5771_202a, 0x106a_a070_32bb_d1b8,
    ],
    [
        0x19a4_c116_b8d2_d0c8, 0x1e37_6c08_5141_ab53, 0x2748_774c_df8e_eb99, 0x34b0_bcb5_e19b_48a8,
        0x391c_0cb3_c5c9_5a63, 0x4ed8_aa4a_e341_8acb, 0x5b9c_ca4f_7763_e373, 0x682e_6ff3_d6b2_b8a3,
        0x748f_82ee_5def_b2fc, 0x78a5_636f_4317_2f60, 0x84c8_7814_a1f0_ab72, 0x8cc7_0208_1a64_39ec,
        0x90be_fffa_2363_1e28, 0xa450_6ceb_de82_bde9, 0xbef9_a3f7_b2c6_7915, 0xc671_78f2_e372_532b,
    ],
    [
        0xca27_3ece_ea26_619c, 0xd186_b8c7_21c0_c207, 0xeada_7dd6_cde0_eb1e, 0xf57d_4f7f_ee6e_d178,
        0x06f0_67aa_7217_6fba, 0x0a63_7dc5_a2c8_98a6, 0x113f_9804_bef9_0dae, 0x1b71_0b35_131c_471b,
        0x28db_77f5_2304_7d84, 0x32ca_ab7b_40c7_2493, 0x3c9e_be0a_15c9_bebc, 0x431d_67c4_9c10_0d4c,
        0x4cc5_d4be_cb3e_42b6, 0x597f_299c_fc65_7e2a, 0x5fcb_6fab_3ad6_faec, 0x6c44_198c_4a47_5817,
    ],
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::{Digest, Sha512};

    use super::*;

    fn expected(texts: &[(Vec<u8>, Vec<u8>)]) -> Vec<[u8; 64]> {
        let hash = |(head, rest): &(Vec<u8>, Vec<u8>)| {
            Sha512::new().chain_update(head).chain_update(rest).finalize().into()
        };
        texts.iter().map(hash).collect()
    }

    fn check(texts: &[(Vec<u8>, Vec<u8>)]) {
        let borrowed: Vec<Text<'_>> =
            texts.iter().map(|(head, rest)| (head[..].try_into().unwrap(), &rest[..])).collect();
        let expected = expected(texts);
        for level in Level::available() {
            assert!(hash_all_at(*level, &borrowed) == expected, "{level:?}");
        }
    }

    fn text(number: usize, length: usize) -> (Vec<u8>, Vec<u8>) {
        let bytes =
            |from: usize, length| (from..from + length).map(|i| (i * i + number) as u8).collect();
        (bytes(number, HEAD), bytes(7 * number, length))
    }

    /// The whole and the half blocks, and the two sides of the place where the length still fits.
    #[test]
    fn every_length_around_the_blocks() {
        for length in 0..400 {
            check(&[text(1, length)]);
        }
        for length in [0, 46, 47, 48, 63, 64, 65, 174, 175, 176, 191, 192, 193, 10_000] {
            check(&(0..LANES).map(|number| text(number, length)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn few_texts_or_many() {
        for count in 0..=2 * LANES + 3 {
            check(&(0..count).map(|number| text(number, 1000)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn it_gains_only_with_several_texts() {
        assert!(!gains(0) && !gains(LEAST - 1));
        assert_eq!(gains(LEAST), is_wide(Level::detected()));
    }

    proptest! {
        #[test]
        fn texts_of_any_lengths(lengths in prop::collection::vec(0usize..2000, 0..20)) {
            let texts = lengths.iter().enumerate().map(|(number, length)| text(number, *length));
            check(&texts.collect::<Vec<_>>());
        }
    }
}
