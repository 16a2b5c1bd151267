//! How long the answer to a request may be held back.

use std::time::Duration;

use super::RequestLimits;

/// What may be sent along with a call that only waits for news: the answer may come once there is some (RFC 7240,
/// `Prefer: wait`). A coordinator that does not know of this answers at once, and nothing is wrong.
///
/// The machine says it of a request when it is asked for it, with
/// [`Participant::patience`](crate::participant::Participant::patience).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Patience {
    /// How long the answer may be held back: whole seconds, one at least. The time that a transport allows for the
    /// answer is longer by this.
    pub wait: Duration,
    /// The entity tag of what is known already: the answer is a 304 as long as there is nothing else.
    pub known: Option<String>,
}

impl Patience {
    /// Nobody is asked to wait for longer: much that lies between takes a connection for dead after a minute.
    pub const LONGEST: Duration = Duration::from_secs(45);

    /// So much, as far as it can be asked for: in whole seconds, and not for too long. Zero is none.
    pub(crate) fn clamp(wait: Duration) -> Duration {
        Duration::from_secs(wait.min(Self::LONGEST).as_secs())
    }

    /// The headers to send beside those of the call.
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![("prefer", format!("wait={}", self.wait.as_secs()))];
        headers.extend(self.known.as_ref().map(|tag| ("if-none-match", format!("\"{tag}\""))));
        headers
    }
}

impl RequestLimits {
    /// How long answers may be held back for a transport with these limits: no longer than it waits for an answer
    /// otherwise, and a 304 or a short body is still in time.
    pub fn patience(&self) -> Duration {
        Patience::LONGEST.min(self.answer).min(self.total / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_say_how_long_and_what_is_known() {
        let mut patience = Patience { wait: Duration::from_secs(45), known: None };
        assert_eq!(patience.headers(), [("prefer", "wait=45".to_owned())]);
        patience.known = Some("ab".into());
        assert_eq!(patience.headers()[1], ("if-none-match", "\"ab\"".to_owned()));
    }

    #[test]
    fn patience_is_within_the_limits_of_the_transport() {
        let seconds = Duration::from_secs;
        let limits = RequestLimits::default();
        assert_eq!(limits.patience(), seconds(45));
        assert_eq!(RequestLimits { answer: seconds(7), ..limits }.patience(), seconds(7));
        assert_eq!(RequestLimits { total: seconds(8), ..limits }.patience(), seconds(4));
        assert_eq!(Patience::clamp(Duration::from_millis(4900)), seconds(4));
        assert_eq!(Patience::clamp(Duration::from_millis(900)), Duration::ZERO);
        assert_eq!(Patience::clamp(Duration::MAX), seconds(45));
    }
}
