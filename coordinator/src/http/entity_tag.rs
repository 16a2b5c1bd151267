//! Entity tags, and the lists of them that clients send (RFC 9110, sections 8.8.3 and 13.1).

use axum::http::{header::GetAll, HeaderValue};

/// The name of bytes that no other bytes have at their address: a strong one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EntityTag(String);

impl EntityTag {
    /// `None` for a name with a character that none may have: letters, digits and underscores are good.
    pub fn new(name: &str) -> Option<Self> {
        name.bytes().all(is_opaque).then(|| Self(name.to_owned()))
    }

    /// As it is sent.
    pub fn value(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&format!("\"{}\"", self.0)).ok()
    }
}

/// What `If-Match` or `If-None-Match` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum EntityTags<'a> {
    /// Whatever there is.
    Any,
    /// These.
    Listed(Vec<Listed<'a>>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed<'a> {
    weak: bool,
    opaque: &'a [u8],
}

impl<'a> EntityTags<'a> {
    /// Nothing if there is no such header, or it is not well-formed.
    pub fn of(values: GetAll<'a, HeaderValue>) -> Option<Self> {
        let mut listed = Vec::new();
        let mut is_any = false;
        for value in values {
            let mut rest = value.as_bytes().trim_ascii();
            if rest == b"*" {
                is_any = true;
                continue;
            }
            while let Some(next) = skip_commas(rest) {
                let (tag, after) = Listed::read(next)?;
                listed.push(tag);
                rest = after.trim_ascii_start();
                if !rest.is_empty() && rest[0] != b',' {
                    return None;
                }
            }
        }
        match (is_any, listed.is_empty()) {
            (true, true) => Some(Self::Any),
            (false, false) => Some(Self::Listed(listed)),
            _ => None,
        }
    }

    /// Whether it names this, where the same content is enough.
    pub fn name_weakly(&self, tag: &EntityTag) -> bool {
        self.name(tag, |_| true)
    }

    /// Whether it names this, byte for byte.
    pub fn name_strongly(&self, tag: &EntityTag) -> bool {
        self.name(tag, |listed| !listed.weak)
    }

    fn name(&self, tag: &EntityTag, counts: impl Fn(&Listed<'_>) -> bool) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(listed) => {
                listed.iter().any(|listed| listed.opaque == tag.0.as_bytes() && counts(listed))
            }
        }
    }
}

/// Whether `If-Range` names exactly this. Dates never do: nothing here has one.
pub(super) fn is_same(value: &HeaderValue, tag: &EntityTag) -> bool {
    let read = Listed::read(value.as_bytes().trim_ascii());
    read.is_some_and(|(listed, rest)| {
        rest.is_empty() && !listed.weak && listed.opaque == tag.0.as_bytes()
    })
}

/// Empty elements of a list say nothing. `None` at its end.
fn skip_commas(list: &[u8]) -> Option<&[u8]> {
    let start = list.iter().position(|byte| !b", \t".contains(byte))?;
    Some(&list[start..])
}

impl<'a> Listed<'a> {
    /// A tag at the beginning of some bytes, and what comes after it.
    fn read(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (weak, rest) = match bytes.strip_prefix(b"W/") {
            Some(rest) => (true, rest),
            None => (false, bytes),
        };
        let rest = rest.strip_prefix(b"\"")?;
        let end = rest.iter().position(|byte| *byte == b'"')?;
        let opaque = &rest[..end];
        let is_good = opaque.iter().copied().all(is_opaque);
        is_good.then_some((Self { weak, opaque }, &rest[end + 1..]))
    }
}

/// A character of a tag's name.
fn is_opaque(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x7e | 0x80..)
}

#[cfg(test)]
mod tests {
    use axum::http::{header::IF_MATCH, HeaderMap};

    use super::*;

    fn read(lines: &[&str]) -> Option<(bool, bool)> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(IF_MATCH, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        let tag = EntityTag::new("a,b").unwrap();
        let tags = EntityTags::of(headers.get_all(IF_MATCH))?;
        Some((tags.name_weakly(&tag), tags.name_strongly(&tag)))
    }

    #[test]
    fn lists_are_read_as_the_standard_says() {
        for (lines, expected) in [
            (&["\"a,b\""][..], Some((true, true))),
            (&["W/\"a,b\""], Some((true, false))),
            (&[" , \"x\" ,,\t\"a,b\","], Some((true, true))),
            (&["\"x\"", "W/\"y\", W/\"a,b\""], Some((true, false))),
            (&["*"], Some((true, true))),
            (&["\"*\""], Some((false, false))),
            (&["\"\""], Some((false, false))),
            (&["\"\u{e9}\""], Some((false, false))),
            (&[], None),
            (&[""], None),
            (&[","], None),
            (&["*, \"a,b\""], None),
            (&["*", "\"a,b\""], None),
            (&["a"], None),
            (&["\"a,b"], None),
            (&["\"a,b\" \"x\""], None),
            (&["w/\"a,b\""], None),
            // A library panicked about these.
            (&["\"\t\""], None),
            (&["\"a\tb\", \"a,b\""], None),
        ] {
            assert_eq!(read(lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn if_range_is_one_strong_tag() {
        let tag = EntityTag::new("1_ab").unwrap();
        assert_eq!(tag.value().unwrap(), "\"1_ab\"");
        for (text, expected) in [
            ("\"1_ab\"", true),
            ("W/\"1_ab\"", false),
            ("\"1_ab\", \"x\"", false),
            ("*", false),
            ("Tue, 15 Nov 1994 12:45:26 GMT", false),
            ("\"\t\"", false),
        ] {
            assert_eq!(is_same(&HeaderValue::from_static(text), &tag), expected, "{text}");
        }
        assert_eq!(EntityTag::new("a b"), None);
        assert_eq!(EntityTag::new("a\""), None);
    }
}
