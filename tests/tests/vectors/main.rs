//! Byte-exact test vectors, from the folder that `PET_VECTORS` names, else from `tests/vectors`.
//!
//! A missing or empty file, and a section without cases, is a failure.

mod bincode_forms;
mod cryptography;
mod messages;
mod numbers;

use std::path::PathBuf;

use serde_json::Value;

fn folder() -> PathBuf {
    match std::env::var_os("PET_VECTORS") {
        Some(folder) if !folder.is_empty() => folder.into(),
        _ => concat!(env!("CARGO_MANIFEST_DIR"), "/vectors").into(),
    }
}

/// A vector file.
fn load(name: &str) -> Value {
    let path = folder().join(name);
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(!bytes.is_empty(), "{} is empty", path.display());
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The cases of a section, of which there must be some.
fn cases(file: &str, section: &str) -> Vec<Value> {
    let cases = load(file)[section].as_array().expect(section).clone();
    assert!(!cases.is_empty(), "{file} has no {section}");
    cases
}

fn text<'a>(case: &'a Value, field: &str) -> &'a str {
    case[field]
        .as_str()
        .unwrap_or_else(|| panic!("no text {field} in {case}"))
}

fn flag(case: &Value, field: &str) -> bool {
    case[field]
        .as_bool()
        .unwrap_or_else(|| panic!("no flag {field} in {case}"))
}

fn number(case: &Value, field: &str) -> u64 {
    case[field]
        .as_u64()
        .unwrap_or_else(|| panic!("no number {field} in {case}"))
}

fn list<'a>(case: &'a Value, field: &str) -> &'a [Value] {
    case[field]
        .as_array()
        .unwrap_or_else(|| panic!("no list {field} in {case}"))
}

fn bytes(case: &Value, field: &str) -> Vec<u8> {
    hex::decode(text(case, field)).expect(field)
}

fn array<const N: usize>(case: &Value, field: &str) -> [u8; N] {
    bytes(case, field)
        .try_into()
        .unwrap_or_else(|_| panic!("{field} has not {N} bytes in {case}"))
}

fn f64_bits(case: &Value, field: &str) -> f64 {
    f64::from_bits(u64::from_be_bytes(array(case, field)))
}
