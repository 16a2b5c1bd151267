//! The part of an answer that a request asks for (RFC 9110, section 14).

use std::{cmp::Ordering, ops::RangeInclusive};

use axum::http::{header, HeaderMap};

/// What `Range` comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// There is none, it means nothing, or it names several parts: nobody has to honour it.
    All,
    /// These bytes.
    Part(RangeInclusive<u64>),
    /// Nothing that there is.
    Nothing,
}

/// What a request wants of so many bytes.
pub(super) fn wanted(request: &HeaderMap, full: u64) -> Wanted {
    let mut values = request.get_all(header::RANGE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Wanted::All };
    let specs = value.to_str().ok().and_then(range_set);
    let Some([spec]) = specs.as_deref() else { return Wanted::All };
    let Some(last) = full.checked_sub(1) else {
        // Of nothing the end is all of it, and can be given no place.
        return if let Spec::Last(1..) = spec { Wanted::All } else { Wanted::Nothing };
    };
    match *spec {
        Spec::Last(0) => Wanted::Nothing,
        Spec::Last(length) => Wanted::Part(full.saturating_sub(length)..=last),
        Spec::From(first, end) if first <= last => {
            Wanted::Part(first..=end.unwrap_or(last).min(last))
        }
        Spec::From(..) => Wanted::Nothing,
    }
}

/// A range as it is written. A number that is too large for any length counts as the largest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spec {
    /// From a position to another one, or to the end.
    From(u64, Option<u64>),
    /// So many bytes at the end.
    Last(u64),
}

/// The ranges of bytes that a header names; nothing if it names others, or is not well-formed.
fn range_set(text: &str) -> Option<Vec<Spec>> {
    let (unit, set) = text.split_once('=')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    // Recipients of lists are to take empty elements as well.
    let specs = set.split(',').map(|spec| spec.trim_matches([' ', '\t']));
    let specs = specs.filter(|spec| !spec.is_empty()).map(spec).collect::<Option<Vec<_>>>()?;
    (!specs.is_empty()).then_some(specs)
}

fn spec(text: &str) -> Option<Spec> {
    let (first, last) = text.split_once('-')?;
    match (first, last) {
        ("", length) => number(length).map(Spec::Last),
        (first, "") => Some(Spec::From(number(first)?, None)),
        (first, last) => {
            let range = Spec::From(number(first)?, Some(number(last)?));
            // "An int-range is invalid if the last-pos value is present and less than first-pos", and a
            // header with an invalid range in it is one that was never sent.
            (compare(first, last) != Ordering::Greater).then_some(range)
        }
    }
}

fn number(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// Compares numbers of any size.
fn compare(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}
