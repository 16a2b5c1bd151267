//! The group's order, and the other numbers that follow from the choices.

use num_bigint::{BigInt, BigUint};
use num_rational::BigRational;
use num_traits::{One, Pow};

use super::super::word;
use super::{BoundType, DataType, GroupType, MaskConfig};

/// `bits(order - 1)` by data, bound and model type; the same for all three old group types.
const BITS: [[[u16; 4]; 5]; 4] = [
    [[45, 55, 65, 75], [51, 61, 71, 81], [58, 68, 78, 88], [65, 75, 85, 95], [289, 299, 309, 319]],
    [
        [78, 88, 98, 108],
        [85, 95, 104, 114],
        [91, 101, 111, 121],
        [98, 108, 118, 128],
        [2112, 2122, 2132, 2142],
    ],
    [[45, 55, 65, 75], [51, 61, 71, 81], [58, 68, 78, 88], [65, 75, 85, 95], [76, 86, 96, 106]],
    [[45, 55, 65, 75], [51, 61, 71, 81], [58, 68, 78, 88], [65, 75, 85, 95], [108, 118, 128, 138]],
];

/// How far the prime order lies above the integer one, by data, bound and model type. F64/Bmax (0) has
/// primes of its own.
const PRIME_OFFSETS: [[[u16; 4]; 5]; 4] = [
    [[20, 2, 10, 2], [20, 56, 68, 2], [2, 88, 68, 26], [10, 2, 8, 130], [280, 322, 190, 82]],
    [[68, 26, 16, 158], [8, 130, 46, 202], [38, 70, 16, 40], [16, 158, 2, 22], [0, 0, 0, 0]],
    [[20, 2, 10, 2], [20, 56, 68, 2], [2, 88, 68, 26], [10, 2, 8, 130], [28, 48, 42, 108]],
    [[20, 2, 10, 2], [20, 56, 68, 2], [2, 88, 68, 26], [10, 2, 8, 130], [72, 12, 166, 88]],
];

/// The prime orders of F64/Bmax by model type: hexadecimal top digits, the exponent of the power of two
/// that they are multiplied by, and what is added.
const F64_BMAX_PRIMES: [(&str, u32, u16); 4] = [
    ("134ca80da894b87fbc1c4d08ac7dc993", 1987, 0x225),
    ("12d8dc1d56a13c2cbdb3a33a7872d6d981b", 1985, 0x70f),
    ("933e37a534cba61d8a0b6b38cd012e83455db", 1984, 0x2d),
    ("23f2b095d563b80e3633c9ad5e0cc9db0c6f6129", 1984, 0x141),
];

impl MaskConfig {
    /// The order q of the group: every number on the wire is below it.
    pub fn order(self) -> BigUint {
        match self.group_type {
            GroupType::Integer => self.integer_order(),
            GroupType::Prime => self.prime_order(),
            GroupType::Power2 | GroupType::Word32 | GroupType::Word64 => {
                BigUint::one() << self.number_bits()
            }
        }
    }

    fn integer_order(self) -> BigUint {
        use {BoundType::Bmax, DataType::*};
        // Width of the range of scaled weights, times exp_shift. For Bmax the deployed orders round the
        // float bounds to decimals and count the integer ranges exactly, unlike add_shift.
        let range = match (self.bound_type, self.data_type) {
            (Bmax, F32) => BigUint::from(2u32 * 34_028_235) * ten_to(31) * ten_to(45),
            (Bmax, F64) => BigUint::from(2u64 * 17_976_931_348_623_155) * ten_to(292) * ten_to(324),
            (Bmax, I32) => BigUint::from(u32::MAX) * self.exp_shift(),
            (Bmax, I64) => BigUint::from(u64::MAX) * self.exp_shift(),
            _ => BigUint::from(2u32) * self.add_shift_integer() * self.exp_shift(),
        };
        range * self.max_nb_models() + 1u32
    }

    fn prime_order(self) -> BigUint {
        if let (DataType::F64, BoundType::Bmax) = (self.data_type, self.bound_type) {
            let (top, exponent, low) = F64_BMAX_PRIMES[self.model_type as usize];
            let top = BigUint::parse_bytes(top.as_bytes(), 16).unwrap_or_default();
            return (top << exponent) + low;
        }
        self.integer_order() + self.table(&PRIME_OFFSETS)
    }

    const fn table(self, table: &[[[u16; 4]; 5]; 4]) -> u16 {
        table[self.data_type as usize][self.bound_type as usize][self.model_type as usize]
    }

    /// Length in bits of the largest number, order - 1.
    pub const fn number_bits(self) -> usize {
        match word::bits(self.group_type) {
            Some(bits) => bits as usize,
            None => self.table(&BITS) as usize,
        }
    }

    /// Length in bytes of a number on the wire.
    pub const fn bytes_per_number(self) -> usize {
        self.number_bits().div_ceil(8)
    }

    /// Length in bytes of one draw from the key stream: the bytes of the order itself, which for powers
    /// of two can be one more than those of the largest number. In a word group every word is an element,
    /// and a draw is just one of them.
    pub(crate) const fn bytes_per_draw(self) -> usize {
        match self.group_type {
            GroupType::Power2 => self.number_bits() / 8 + 1,
            _ => self.bytes_per_number(),
        }
    }

    /// A: scaled weights are clamped to -A..=A and shifted by A. Always an integer.
    pub fn add_shift(self) -> BigRational {
        BigRational::from_integer(BigInt::from(self.add_shift_integer()))
    }

    pub(crate) fn add_shift_integer(self) -> BigUint {
        match (self.bound_type, self.data_type) {
            (BoundType::B0, _) => BigUint::from(1u32),
            (BoundType::B2, _) => BigUint::from(100u32),
            (BoundType::B4, _) => BigUint::from(10_000u32),
            (BoundType::B6, _) => BigUint::from(1_000_000u32),
            (BoundType::Bmax, DataType::F32) => BigUint::from((1u32 << 24) - 1) << 104u32,
            (BoundType::Bmax, DataType::F64) => BigUint::from((1u64 << 53) - 1) << 971u32,
            (BoundType::Bmax, DataType::I32) => BigUint::one() << 31u32,
            (BoundType::Bmax, DataType::I64) => BigUint::one() << 63u32,
        }
    }

    /// E: shifted weights are multiplied by it before they are cut to integers. In a word group: the largest
    /// power of two with which the most models allowed can be added up.
    pub fn exp_shift(self) -> BigUint {
        let Self { group_type, data_type, bound_type, model_type } = self;
        if let Some(e) = word::exponent(group_type, data_type, bound_type, model_type) {
            return BigUint::one() << e;
        }
        ten_to(match (self.data_type, self.bound_type) {
            (DataType::F32, BoundType::Bmax) => 45,
            (DataType::F64, BoundType::Bmax) => 324,
            (DataType::F64, _) => 20,
            _ => 10,
        })
    }
}

fn ten_to(exponent: u32) -> BigUint {
    Pow::pow(BigUint::from(10u32), exponent)
}

#[cfg(test)]
mod tests {
    use sha2::Digest;

    use super::*;

    #[test]
    fn bits_and_bytes_are_those_of_the_order() {
        for config in MaskConfig::all() {
            let order = config.order();
            assert_eq!((&order - 1u32).bits() as usize, config.number_bits(), "{config}");
            let drawn = match config.group_type.is_word() {
                true => &order - 1u32,
                false => order.clone(),
            };
            assert_eq!(drawn.bits().div_ceil(8) as usize, config.bytes_per_draw(), "{config}");
            let (num, den) = config.add_shift().into();
            assert!(den.is_one());
            let range = num * 2 * BigInt::from(config.exp_shift());
            assert!(range < BigInt::from(order), "{config}: a single model must fit");
        }
    }

    /// That they are those of deployed participants is for the vectors to show; here, that none is another
    /// than before.
    #[test]
    fn orders_and_shifts_are_what_they_were() {
        let mut all = String::new();
        for config in MaskConfig::all().filter(|config| !config.group_type.is_word()) {
            let (a, e) = (config.add_shift(), config.exp_shift());
            all += &format!("{config} {} {a} {e}\n", config.order());
        }
        let digest = sha2::Sha256::digest(all.as_bytes());
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, "84d13b33fb6ef7ddb80d4aaa4d505587c2dbf6c2a36fce1ccc4ea26fb3f47932");
    }

    /// Fermat's test.
    #[test]
    fn prime_orders_are_prime() {
        let primes = MaskConfig::all().filter(|config| config.group_type == GroupType::Prime);
        for config in primes {
            let order = config.order();
            let two = BigUint::from(2u32);
            assert!(two.modpow(&(&order - 1u32), &order).is_one(), "{config}");
        }
    }
}
