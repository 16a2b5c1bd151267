//! The twelve cases by which Chalkias, Garillot and Nikolaenko tell libraries apart (*Taming the many EdDSAs*, 2020), made anew
//! by the conditions that they list. In their table, libsodium takes the fourth alone.

use num_bigint::BigUint;

use super::*;

/// A number, and which part of low order: a point.
type Parts = (u64, usize);

/// What is hashed of a point in another form than the canonical one.
#[derive(Clone, Copy, PartialEq)]
enum Hashed {
    Canonical,
    AsWritten,
}

struct Case {
    key: [u8; 32],
    signature: [u8; 64],
    message: [u8; 1],
    /// The hash of point, key and message.
    hash: Scalar,
}

impl Case {
    /// Somebody's who knows all numbers. `odd` says which of point and key are written with the sign of a zero.
    fn new(r: Parts, a: Parts, odd: [bool; 2], hashed: Hashed, message: u8) -> Self {
        let canonical = [r, a].map(|(number, torsion)| {
            (EdwardsPoint::mul_base(&scalar(number)) + EIGHT_TORSION[torsion]).compress().0
        });
        let mut written = canonical;
        for (bytes, odd) in written.iter_mut().zip(odd) {
            bytes[31] |= u8::from(odd) << 7;
        }
        let [point, key] = if hashed == Hashed::AsWritten { written } else { canonical };
        let hash = Sha512::new().chain_update(point).chain_update(key).chain_update([message]);
        let hash = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&written[0]);
        signature[32..].copy_from_slice((scalar(r.0) + hash * scalar(a.0)).as_bytes());
        Self { key: written[1], signature, message: [message], hash }
    }

    /// The first message for which it fits, and the first part of low order of `R` among some.
    fn find(
        (r, torsions): (u64, std::ops::Range<usize>),
        a: Parts,
        (odd, hashed): ([bool; 2], Hashed),
        fits: fn(&Self) -> bool,
    ) -> Self {
        (0..=255)
            .flat_map(|message| torsions.clone().map(move |torsion| (message, torsion)))
            .map(|(message, torsion)| Self::new((r, torsion), a, odd, hashed, message))
            .find(fits)
            .expect("a message in a few fits")
    }

    /// An honest one, to whose number the group's order is added so many times.
    fn with_a_number_beyond_the_order(times: u32) -> Self {
        let mut case = Self::new((7, 0), (5, 0), HONEST.0, HONEST.1, 0);
        let number = BigUint::from_bytes_le(&case.signature[32..]);
        let number = number + BigUint::from_bytes_le(&ORDER) * times;
        case.signature[32..].copy_from_slice(&number.to_bytes_le());
        case
    }

    fn points(&self) -> [EdwardsPoint; 2] {
        let point = self.signature[..32].try_into().unwrap();
        [point, self.key].map(|bytes| CompressedEdwardsY(bytes).decompress().unwrap())
    }

    /// What is left of `S B - R - h A`.
    fn rest(&self) -> EdwardsPoint {
        let s = Scalar::from_bytes_mod_order(self.signature[32..].try_into().unwrap());
        let [r, a] = self.points();
        EdwardsPoint::mul_base(&s) - r - self.hash * a
    }

    fn holds(&self) -> bool {
        self.rest() == EIGHT_TORSION[0]
    }

    fn holds_with_the_cofactor_alone(&self) -> bool {
        !self.holds() && self.rest().is_small_order()
    }

    /// Not even with the cofactor, if the hash is multiplied by it and reduced before the key comes in.
    fn holds_unless_reduced(&self) -> bool {
        let eight = Scalar::from(8_u8);
        let [_, a] = self.points();
        self.holds_with_the_cofactor_alone() && (eight * self.hash) * a != eight * (self.hash * a)
    }
}

const HONEST: ([bool; 2], Hashed) = ([false; 2], Hashed::AsWritten);

#[test]
fn what_tells_libraries_apart() {
    const LOW: Parts = (0, 1);
    const MIXED: Parts = (5, 1);
    // Of order 2: `y` is -1 and `x` is 0, which has no sign.
    const ODD: Parts = (0, 4);
    let (odd_point, odd_key) = ([true, false], [false, true]);
    let (canonical, as_written) = (Hashed::Canonical, Hashed::AsWritten);
    let cases = [
        Case::find((0, 1..8), LOW, HONEST, Case::holds),
        Case::find((7, 1..8), LOW, HONEST, Case::holds),
        Case::find((0, 1..8), MIXED, HONEST, Case::holds),
        Case::find((7, 1..8), MIXED, HONEST, Case::holds),
        Case::find((7, 1..8), MIXED, HONEST, Case::holds_with_the_cofactor_alone),
        Case::find((7, 0..1), MIXED, HONEST, Case::holds_unless_reduced),
        // Below 2^253, where a check of the highest bits alone finds nothing; and beyond.
        Case::with_a_number_beyond_the_order(1),
        Case::with_a_number_beyond_the_order(15),
        Case::find((ODD.0, 4..5), MIXED, (odd_point, canonical), Case::holds),
        Case::find((ODD.0, 4..5), MIXED, (odd_point, as_written), Case::holds),
        Case::find((7, 1..8), ODD, (odd_key, canonical), Case::holds),
        Case::find((7, 1..8), ODD, (odd_key, as_written), Case::holds),
    ];
    assert!(cases[6].holds() && cases[7].holds());
    assert_eq!([6, 7].map(|i: usize| cases[i].signature[63] >> 5 == 0), [true, false]);
    for (i, case) in cases.iter().enumerate() {
        assert_eq!(check(case.key, case.signature, &case.message), i == 3, "case {i}");
    }
}
