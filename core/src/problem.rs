//! Why a message is rejected, as its sender is told: problem details (RFC 9457).
//!
//! A coordinator answers a rejected message with an empty 200, as it was always done, unless the request
//! says that it accepts [`Problem::MEDIA_TYPE`]. Then the answer has a status of its own and says why.
//!
//! Nothing in it may help anyone who does not hold the keys that the message was made with. What
//! cannot be opened and what is not authentic gets the same answer, whatever exactly is wrong (only that
//! the phase takes no such messages is found before); all else follows from what the sender itself has
//! put into the message, or from what is public: the round parameters, the sum dictionary, the phase.
//! A sealed message cannot be changed so that it still opens. One who has recorded another's and
//! sends it again learns what an eavesdropper on plain HTTP learns from the first answer: TLS is against
//! both.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::message::Tag;
use crate::request::Response;

/// What the types of problems begin with; a short name follows.
const TYPE: &str = "urn:pet:problem:";

/// The most characters of a short name, and of a text.
const MOST_NAME: usize = 40;
const MOST_TEXT: usize = 400;

/// Why a message is rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The short, stable name of the reason: `wrong_phase`, `duplicate_update`, ...
    pub name: Cow<'static, str>,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong, in a few words that are the same for all messages with this problem.
    pub title: Cow<'static, str>,
    /// What is wrong with this message.
    pub detail: String,
    /// The round in which the message was looked at.
    pub round: Option<u64>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = if self.detail.is_empty() { &self.title } else { self.detail.as_str() };
        write!(f, "{text} ({})", self.name)
    }
}

/// The form on the wire. Of what others send, only the type counts.
#[derive(Serialize, Deserialize)]
struct Document<'a> {
    #[serde(rename = "type")]
    kind: Cow<'a, str>,
    #[serde(default)]
    title: Cow<'a, str>,
    #[serde(default)]
    status: u16,
    #[serde(default)]
    detail: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    round: Option<u64>,
}

impl Problem {
    /// The media type of problems.
    pub const MEDIA_TYPE: &'static str = "application/problem+json";

    /// The name for a message that the coordinator has given up.
    pub(crate) const NOT_PROCESSED: &'static str = "not_processed";

    /// One of a round that is not said. `name` is in lower case, with digits and underscores.
    pub fn new(
        name: impl Into<Cow<'static, str>>,
        status: u16,
        title: impl Into<Cow<'static, str>>,
        detail: impl Into<String>,
    ) -> Self {
        let (name, title, detail) = (name.into(), title.into(), detail.into());
        Self { name, status, title, detail, round: None }
    }

    /// The JSON document.
    pub fn to_json(&self) -> Vec<u8> {
        let document = Document {
            kind: format!("{TYPE}{}", self.name).into(),
            title: Cow::Borrowed(&self.title),
            status: self.status,
            detail: Cow::Borrowed(&self.detail),
            round: self.round,
        };
        // Numbers and strings can always be written.
        serde_json::to_vec(&document).unwrap_or_default()
    }

    /// Reads a definite rejection: an answer with a status of the client's fault, a problem of
    /// this protocol's, and no reason to try again; or that the coordinator has given the message up. `None` for
    /// everything else: a request that came too fast or too slowly, or was answered by a proxy.
    pub fn of(response: &Response) -> Option<Self> {
        let Response { status, ref body, .. } = *response;
        if !matches!(status, 400..=500) || matches!(status, 408 | 425 | 429) {
            return None;
        }
        let document: Document<'_> = serde_json::from_slice(body).ok()?;
        let name = document.kind.strip_prefix(TYPE)?;
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if name.is_empty() || name.len() > MOST_NAME || !name.bytes().all(is_name) {
            return None;
        }
        // Of the chunks of such a message only the last would be sent again: it would never be whole.
        if status == 500 && name != Self::NOT_PROCESSED {
            return None;
        }
        Some(Self {
            name: name.to_owned().into(),
            status,
            title: line(&document.title).into(),
            detail: line(&document.detail),
            round: document.round,
        })
    }

    /// Whether it says that the sender's message of this kind has been accepted before.
    pub fn is_duplicate(&self, tag: Tag) -> bool {
        self.name
            == match tag {
                Tag::Sum => "duplicate_sum",
                Tag::Update => "duplicate_update",
                Tag::Sum2 => "duplicate_sum2",
            }
    }
}

/// A text from outside, fit to be logged.
fn line(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    clean.take(MOST_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem() -> Problem {
        Problem {
            name: "wrong_phase".into(),
            status: 409,
            title: "Not now".into(),
            detail: "a sum message cannot be taken in the \"update\" phase".into(),
            round: Some(7),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for problem in [problem(), Problem { round: None, detail: String::new(), ..problem() }] {
            let response = Response::new(problem.status, problem.to_json());
            assert_eq!(Problem::of(&response), Some(problem));
        }
    }

    #[test]
    fn a_message_that_was_given_up_is_not_sent_again() {
        let given_up = Problem::new("not_processed", 500, "Not processed", "its job was lost");
        assert_eq!(Problem::of(&Response::new(500, given_up.to_json())), Some(given_up));
        // Another fault of the coordinator's may be over the next time.
        let fault = Problem::new("internal_error", 500, "A fault", "");
        assert_eq!(Problem::of(&Response::new(500, fault.to_json())), None);
    }

    #[test]
    fn the_document_is_the_standards() {
        let expected = concat!(
            r#"{"type":"urn:pet:problem:wrong_phase","title":"Not now","status":409,"#,
            r#""detail":"a sum message cannot be taken in the \"update\" phase","round":7}"#
        );
        assert_eq!(String::from_utf8(problem().to_json()).unwrap(), expected);
        assert_eq!(
            problem().to_string(),
            "a sum message cannot be taken in the \"update\" phase (wrong_phase)"
        );
    }

    #[test]
    fn what_is_no_definite_rejection_is_none() {
        let json = problem().to_json();
        for status in [200, 302, 408, 425, 429, 500, 503] {
            assert_eq!(Problem::of(&Response::new(status, json.clone())), None, "{status}");
        }
        let long = format!(r#"{{"type":"urn:pet:problem:{}"}}"#, "x".repeat(41));
        for body in [
            "",
            "nonsense",
            "[]",
            "{}",
            r#"{"type":7}"#,
            r#"{"type":"about:blank","title":"Not Found"}"#,
            r#"{"type":"urn:pet:problem:"}"#,
            r#"{"type":"urn:pet:problem:Wrong phase"}"#,
            &long,
            &"[".repeat(60_000),
        ] {
            assert_eq!(Problem::of(&Response::new(409, body.to_owned())), None, "{body}");
        }
    }

    #[test]
    fn only_the_type_is_needed_and_texts_are_tamed() {
        let body = r#"{"type":"urn:pet:problem:x","more":[1]}"#;
        let read = Problem::of(&Response::new(422, body)).unwrap();
        assert_eq!((read.name.as_ref(), read.status, read.round), ("x", 422, None));
        let body = format!(
            r#"{{"type":"urn:pet:problem:x","detail":"a\u001b[31m\nb{}"}}"#,
            "c".repeat(1000)
        );
        let read = Problem::of(&Response::new(422, body)).unwrap();
        assert!(read.detail.starts_with("a [31m bccc"), "{}", read.detail);
        assert_eq!(read.detail.len(), MOST_TEXT);
    }
}
