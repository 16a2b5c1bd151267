//! How long a client is willing to wait for something new (RFC 7240: `Prefer: wait=30`).

use std::time::Duration;

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue},
    response::Response,
};

/// Nobody waits for longer: proxies take a connection for dead after a minute.
const LONGEST: Duration = Duration::from_secs(50);

const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// How long a request may be held back until there is news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Patience(Duration);

impl Patience {
    /// What the request says; `None` if it wants its answer at once.
    pub fn of(request: &HeaderMap) -> Option<Self> {
        request
            .get_all(PREFER)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|preference| {
                // Parameters of a preference follow after semicolons.
                let (name, value) = preference.split(';').next()?.split_once('=')?;
                let is_wait = name.trim().eq_ignore_ascii_case("wait");
                is_wait.then(|| value.trim().trim_matches('"').parse().ok())?
            })
            // Of a preference given twice the first one counts.
            .next()
            .map(|seconds| Self(Duration::from_secs(seconds).min(LONGEST)))
            .filter(|patience| !patience.0.is_zero())
    }

    pub fn duration(self) -> Duration {
        self.0
    }

    /// Tells the client that its wish was heard.
    pub fn acknowledge(self, response: &mut Response) {
        // A number of seconds is a legal value.
        if let Ok(value) = HeaderValue::from_str(&format!("wait={}", self.0.as_secs())) {
            response.headers_mut().insert(PREFERENCE_APPLIED, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preferences_are_read_as_the_standard_says() {
        for (values, seconds) in [
            (&["wait=10"][..], Some(10)),
            (&["Wait = 10"], Some(10)),
            (&["respond-async, wait=10; foo=1, wait=20"], Some(10)),
            (&["respond-async", "wait=\"7\""], Some(7)),
            (&["wait=100000"], Some(50)),
            (&["wait=0"], None),
            (&["wait"], None),
            (&["wait=soon"], None),
            (&["wait=-1"], None),
            (&["await=10"], None),
            (&[], None),
        ] {
            let mut request = HeaderMap::new();
            for value in values {
                request.append(PREFER, HeaderValue::from_str(value).unwrap());
            }
            let expected = seconds.map(|seconds| Patience(Duration::from_secs(seconds)));
            assert_eq!(Patience::of(&request), expected, "{values:?}");
        }
    }
}
