//! What participants ask of the coordinator, whatever carries it (specification, section 3).

use base64::Engine;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::crypto::PublicSigningKey;

/// Names one request of one participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId(pub u64);

/// One of the five calls that a coordinator answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// The round parameters.
    Params,
    /// The sum dictionary.
    Sums,
    /// The mask seeds for one sum participant.
    Seeds(PublicSigningKey),
    /// The global model.
    Model,
    /// Deliver a sealed message.
    Message(Bytes),
}

impl Call {
    /// The HTTP method.
    pub fn method(&self) -> &'static str {
        match self {
            Self::Message(_) => "POST",
            _ => "GET",
        }
    }

    /// Path and query, to be appended to the coordinator's base URL (which has no slash at its end).
    pub fn path_and_query(&self) -> String {
        match self {
            Self::Params => "/params".into(),
            Self::Sums => "/sums".into(),
            Self::Seeds(pk) => {
                let pk = base64::engine::general_purpose::STANDARD.encode(pk.as_bytes());
                let pk = pk
                    .replace('+', "%2B")
                    .replace('/', "%2F")
                    .replace('=', "%3D");
                format!("/seeds?pk={pk}")
            }
            Self::Model => "/model".into(),
            Self::Message(_) => "/message".into(),
        }
    }

    /// The body to send; empty for all but messages.
    pub fn body(&self) -> Bytes {
        match self {
            Self::Message(body) => body.clone(),
            _ => Bytes::new(),
        }
    }
}

/// What came back for a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Bytes,
}

impl Response {
    /// Status 200 with a body.
    pub fn ok(body: impl Into<Bytes>) -> Self {
        Self {
            status: 200,
            body: body.into(),
        }
    }

    /// Status 204: not available (yet).
    pub fn no_content() -> Self {
        Self {
            status: 204,
            body: Bytes::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_percent_encoded() {
        let pk = PublicSigningKey::new([0xfb; 32]);
        assert_eq!(
            Call::Seeds(pk).path_and_query(),
            "/seeds?pk=%2B%2Fv7%2B%2Fv7%2B%2Fv7%2B%2Fv7%2B%2Fv7%2B%2Fv7%2B%2Fv7%2B%2Fv7%2B%2Fv7%2B%2Fv7%2B%2Fs%3D"
        );
    }
}
