//! Byte-exact test vectors, from the folder that `PET_VECTORS` names, else from `tests/vectors`.
//!
//! A missing or empty file, and a section without cases, is a failure.

#![allow(clippy::disallowed_methods, reason = "they are in files")]

mod bincode_forms;
mod cryptography;
mod messages;
mod numbers;
mod v2;
mod v2_made;

use std::path::{Path, PathBuf};

use serde_json::Value;

/// The folder that `PET_VECTORS` names, if it does.
fn given_folder() -> Option<PathBuf> {
    std::env::var_os("PET_VECTORS").filter(|folder| !folder.is_empty()).map(PathBuf::from)
}

/// Where a vector file is. A relative folder is looked for from where cargo runs the tests, the
/// package, and from where people run cargo, the workspace.
fn path(name: &str) -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let given = given_folder().unwrap_or_else(|| package.join("../tests/vectors"));
    let paths = [given.join(name), package.join("..").join(given).join(name)];
    let found = paths.iter().find(|path| path.exists());
    found.unwrap_or(&paths[0]).clone()
}

/// Are these the vectors of this repository? Other files of the same format may lack some kinds of cases.
fn are_our_own() -> bool {
    given_folder().is_none()
}

/// A vector file.
fn load(name: &str) -> Value {
    let path = path(name);
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
    case[field].as_str().unwrap_or_else(|| panic!("no text {field} in {case}"))
}

fn flag(case: &Value, field: &str) -> bool {
    case[field].as_bool().unwrap_or_else(|| panic!("no flag {field} in {case}"))
}

fn number(case: &Value, field: &str) -> u64 {
    case[field].as_u64().unwrap_or_else(|| panic!("no number {field} in {case}"))
}

fn list<'a>(case: &'a Value, field: &str) -> &'a [Value] {
    case[field].as_array().unwrap_or_else(|| panic!("no list {field} in {case}"))
}

fn bytes(case: &Value, field: &str) -> Vec<u8> {
    hex::decode(text(case, field)).expect(field)
}

fn array<const N: usize>(case: &Value, field: &str) -> [u8; N] {
    bytes(case, field).try_into().unwrap_or_else(|_| panic!("{field} has not {N} bytes in {case}"))
}

fn f64_bits(case: &Value, field: &str) -> f64 {
    f64::from_bits(u64::from_be_bytes(array(case, field)))
}
