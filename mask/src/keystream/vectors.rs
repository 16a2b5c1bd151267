//! What is the same for all vector registers, whatever their instructions are called. These are macros, since only what is
//! compiled for a processor's instructions is inlined into what is compiled for them, and not always then: all words of a
//! state must stay in registers.

/// ChaCha20's twenty rounds on vectors of words, one block in each lane, and the sum with what there was before them.
/// `$rotate::<N>` rotates to the left.
macro_rules! rounds {
    ($initial:expr, $add:ident, $xor:ident, $rotate:ident) => {{
        let initial: &[_; 16] = $initial;
        let mut s = *initial;
        for _ in 0..10 {
            $crate::keystream::vectors::quarter_rounds!(s, $add, $xor, $rotate,
                [0 4 8 12] [1 5 9 13] [2 6 10 14] [3 7 11 15]);
            $crate::keystream::vectors::quarter_rounds!(s, $add, $xor, $rotate,
                [0 5 10 15] [1 6 11 12] [2 7 8 13] [3 4 9 14]);
        }
        for (word, &initial) in s.iter_mut().zip(initial) {
            *word = $add(*word, initial);
        }
        s
    }};
}

/// Four of them side by side, so that no instruction has to wait for the one before it.
macro_rules! quarter_rounds {
    ($s:ident, $add:ident, $xor:ident, $rotate:ident,
     $([$a:literal $b:literal $c:literal $d:literal])*) => {
        $($s[$a] = $add($s[$a], $s[$b]);)*
        $($s[$d] = $rotate::<16>($xor($s[$d], $s[$a]));)*
        $($s[$c] = $add($s[$c], $s[$d]);)*
        $($s[$b] = $rotate::<12>($xor($s[$b], $s[$c]));)*
        $($s[$a] = $add($s[$a], $s[$b]);)*
        $($s[$d] = $rotate::<8>($xor($s[$d], $s[$a]));)*
        $($s[$c] = $add($s[$c], $s[$d]);)*
        $($s[$b] = $rotate::<7>($xor($s[$b], $s[$c]));)*
    };
}

/// Writes four blocks, whose words are in the lanes of sixteen vectors of 128 bits: `$low32` and the like give two vectors'
/// lower or upper halves, one after the other, by 32 or 64 bits.
macro_rules! write4 {
    ($words:expr, $out:expr, $combine:ty, $store:ident, $low32:ident, $high32:ident, $low64:ident, $high64:ident) => {
        for (column, words) in $words.chunks_exact(4).enumerate() {
            let (a, b, c, d) = (words[0], words[1], words[2], words[3]);
            let (ab, cd) = ($low32(a, b), $low32(c, d));
            $store::<$combine>(&mut $out[16 * column..], $low64(ab, cd));
            $store::<$combine>(&mut $out[BLOCK + 16 * column..], $high64(ab, cd));
            let (ab, cd) = ($high32(a, b), $high32(c, d));
            $store::<$combine>(&mut $out[2 * BLOCK + 16 * column..], $low64(ab, cd));
            $store::<$combine>(&mut $out[3 * BLOCK + 16 * column..], $high64(ab, cd));
        }
    };
}

pub(super) use {quarter_rounds, rounds, write4};
