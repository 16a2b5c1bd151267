//! The committed test vectors, as far as the tests of this package read them.

use std::{path::Path, str::FromStr};

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::ToPrimitive;
use serde_json::Value;

use crate::{ConfigBytes, PairBytes, Weights};

/// Reads a vector file of `tests/vectors`.
///
/// # Panics
/// If it is missing or no JSON.
pub fn load(file: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors").join(file);
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A section of a vector file.
///
/// # Panics
/// If it is missing or empty: a test that loops over nothing checks nothing.
pub fn cases<'a>(file: &'a Value, section: &str) -> &'a [Value] {
    let cases = file[section].as_array().unwrap_or_else(|| panic!("no section {section}"));
    assert!(!cases.is_empty(), "section {section} is empty");
    cases
}

/// A field with text.
///
/// # Panics
/// If it is missing.
pub fn text<'a>(case: &'a Value, field: &str) -> &'a str {
    case[field].as_str().unwrap_or_else(|| panic!("no text {field} in {case}"))
}

/// A field with hex bytes.
///
/// # Panics
/// If it is missing or no hex.
pub fn bytes(case: &Value, field: &str) -> Vec<u8> {
    hex::decode(text(case, field)).unwrap_or_else(|error| panic!("{field}: {error}"))
}

/// A field with a known number of hex bytes.
///
/// # Panics
/// If it is missing, no hex or of another length.
pub fn array<const N: usize>(case: &Value, field: &str) -> [u8; N] {
    bytes(case, field).try_into().unwrap_or_else(|_| panic!("{field} has not {N} bytes"))
}

/// A field with a number that fits a `usize`, as text or as a JSON number.
///
/// # Panics
/// If it is missing or no such number.
pub fn size(case: &Value, field: &str) -> usize {
    let value = &case[field];
    value
        .as_u64()
        .or_else(|| value.as_str()?.parse().ok())
        .unwrap_or_else(|| panic!("no number {field} in {case}")) as usize
}

/// The two configs of a case.
///
/// # Panics
/// If one is missing.
pub fn pair(case: &Value) -> PairBytes {
    let config = |field| -> ConfigBytes { array(case, field) };
    PairBytes { vect: config("vect_config"), unit: config("unit_config") }
}

/// An exact fraction.
///
/// # Panics
/// If the text is none.
pub fn ratio(text: &str) -> BigRational {
    BigRational::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The scalar of a case if it is a double, as the published crate needs it.
pub fn scalar(case: &Value) -> Option<f64> {
    if let Some(bits) = case["scalar_f64"].as_str() {
        return Some(double(bits));
    }
    let exact = ratio(text(case, "scalar"));
    let double = exact.to_f64()?;
    (BigRational::from_float(double)? == exact).then_some(double)
}

/// A double given by its bits.
///
/// # Panics
/// If the text is no hex of eight bytes.
pub fn double(bits: &str) -> f64 {
    f64::from_bits(u64::from_str_radix(bits, 16).unwrap_or_else(|error| panic!("{bits}: {error}")))
}

/// A single given by its bits.
///
/// # Panics
/// If the text is no hex of four bytes.
pub fn single(bits: &str) -> f32 {
    f32::from_bits(u32::from_str_radix(bits, 16).unwrap_or_else(|error| panic!("{bits}: {error}")))
}

/// The weights of a case.
///
/// # Panics
/// If they are missing or malformed.
pub fn weights(case: &Value) -> Weights {
    let texts = case["weights"].as_array().expect("weights");
    let texts = texts.iter().map(|text| text.as_str().expect("a text"));
    match text(case, "weight_type") {
        "f32" => Weights::F32(texts.map(single).collect()),
        "f64" => Weights::F64(texts.map(double).collect()),
        "i32" => Weights::I32(texts.map(|text| text.parse().expect("an i32")).collect()),
        "i64" => Weights::I64(texts.map(|text| text.parse().expect("an i64")).collect()),
        "ratio" => Weights::Ratio(texts.map(ratio).collect()),
        other => panic!("unknown weight type {other}"),
    }
}

/// A decimal integer.
///
/// # Panics
/// If the text is none.
pub fn integer(text: &str) -> BigInt {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}
