//! Taking messages, and answering their senders.
//!
//! A message that is well received is answered with an empty 200, whether it is accepted or not: that is
//! what old participants know. Who sends `Accept: application/problem+json` is told of a rejection, as
//! problem details (RFC 9457) with a status of its own; see `pet_core::problem` for what that must not
//! give away. Where nothing is wrong but the moment, everyone gets a 429 or 503 with `Retry-After`.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{header, HeaderMap, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use pet_core::problem::Problem;

use super::{
    peers::Peer,
    upload::{Refusal, Refused},
    Api, Rounds, Unprocessed,
};

/// When to come back where nobody knows better.
pub(super) const SOON: Duration = Duration::from_secs(1);

pub(super) async fn message<R: Rounds>(
    State(api): State<Arc<Api<R>>>,
    request: Request,
) -> Response {
    let told = Told(accepts_problems(request.headers()));
    // Every request over the network has one.
    let peer = request.extensions().get::<Peer>().copied().unwrap_or_default();
    let limit = api.rounds.max_message_len();
    let upload = match api.uploads.receive(peer, request.into_body(), limit).await {
        Ok(upload) => upload,
        Err(Refused { why, length }) => {
            api.rounds.not_received(why.label(), length, &why);
            return told.refusal(&why);
        }
    };
    match api.rounds.message(upload).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => told.unprocessed(error),
    }
}

/// Whether problem details are among what a client takes by name: `*/*` is what any client says.
fn accepts_problems(headers: &HeaderMap) -> bool {
    let values =
        headers.get_all(header::ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_ours =
            parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case(Problem::MEDIA_TYPE));
        // A quality of zero means: not this.
        let refused = parts.any(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            name.trim().eq_ignore_ascii_case("q") && value.trim().parse() == Ok(0.0)
        });
        is_ours && !refused
    })
}

/// Whether the sender is told what is wrong with its message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told(bool);

impl Told {
    /// Told all of it.
    pub fn all() -> Self {
        Self(true)
    }

    pub fn refusal(self, refusal: &Refusal) -> Response {
        let (status, title) = match refusal {
            // Like every message that is rejected.
            Refusal::TooLong { .. } if !self.0 => return StatusCode::OK.into_response(),
            Refusal::TooLong { .. } | Refusal::FarTooLong { .. } => {
                (StatusCode::PAYLOAD_TOO_LARGE, "The message is too long")
            }
            Refusal::Busy => (StatusCode::SERVICE_UNAVAILABLE, "Too many messages"),
            Refusal::Stalled => (StatusCode::REQUEST_TIMEOUT, "The message comes too slowly"),
            // No problem of the message's, so none that its sender could take for final.
            Refusal::Broken => {
                return (StatusCode::BAD_REQUEST, format!("{refusal}\n")).into_response()
            }
        };
        self.answer(status, refusal.label(), title, refusal.to_string())
    }

    pub fn unprocessed(self, error: Unprocessed) -> Response {
        match error {
            Unprocessed::Rejected(problem) if self.0 => document(&problem),
            // Not the message's fault: with a 200 its sender would believe it delivered.
            Unprocessed::Rejected(problem) if problem.status >= 500 => {
                (StatusCode::INTERNAL_SERVER_ERROR, format!("{}\n", problem.detail)).into_response()
            }
            Unprocessed::Rejected(_) => StatusCode::OK.into_response(),
            Unprocessed::Stopped => self.later("stopping", "The coordinator ends", &error),
            Unprocessed::NoRoom => self.later("chunks_no_room", "There is no room now", &error),
            Unprocessed::InProgress => {
                self.later("in_progress", "The message is being processed", &error)
            }
            Unprocessed::StoreBehind => self.later("store_behind", "The store is behind", &error),
            Unprocessed::Full => self.later("shard_full", "The replica has too much to do", &error),
            Unprocessed::NoLeader(_) => {
                let title = "This replica does not lead";
                let mut response = self.later("no_leader", title, &error);
                // The next connection may lead to another one.
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
                response
            }
            Unprocessed::Bug => {
                (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response()
            }
        }
    }

    /// Nothing is wrong with the request but its time: clients send it again.
    fn later(self, name: &'static str, title: &'static str, error: &Unprocessed) -> Response {
        self.answer(StatusCode::SERVICE_UNAVAILABLE, name, title, error.to_string())
    }

    fn answer(
        self,
        status: StatusCode,
        name: &'static str,
        title: &'static str,
        detail: String,
    ) -> Response {
        let mut response = match self.0 {
            true => document(&Problem::new(name, status.as_u16(), title, detail)),
            false => (status, format!("{detail}\n")).into_response(),
        };
        if status == StatusCode::SERVICE_UNAVAILABLE {
            retry_after(&mut response, SOON);
        }
        response
    }
}

/// Says when to come back.
pub(super) fn retry_after(response: &mut Response, pause: Duration) {
    let seconds = pause.as_secs() + u64::from(pause.subsec_nanos() > 0);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
}

pub(super) fn document(problem: &Problem) -> Response {
    let mut response = Response::new(Body::from(problem.to_json()));
    // The statuses of problems are legal ones.
    *response.status_mut() =
        StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let kind = HeaderValue::from_static(Problem::MEDIA_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    if problem.status == 503 {
        retry_after(&mut response, SOON);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_for_those_who_name_them() {
        for (accept, expected) in [
            (&["application/problem+json"][..], true),
            (&["text/html, Application/Problem+JSON;q=0.5"], true),
            (&["text/html", "application/problem+json ; v=1"], true),
            (&[], false),
            (&["*/*"], false),
            (&["application/*"], false),
            (&["application/json"], false),
            (&["application/problem+json;q=0"], false),
            (&["application/problem+json; Q = 0.000"], false),
            (&["text/html;x=application/problem+json"], false),
        ] {
            let mut headers = HeaderMap::new();
            for value in accept {
                headers.append(header::ACCEPT, HeaderValue::from_static(value));
            }
            assert_eq!(accepts_problems(&headers), expected, "{accept:?}");
        }
    }

    #[test]
    fn pauses_are_whole_seconds_and_at_least_one() {
        for (millis, seconds) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2")] {
            let mut response = Response::new(Body::empty());
            retry_after(&mut response, Duration::from_millis(millis));
            assert_eq!(response.headers()[header::RETRY_AFTER], seconds);
        }
    }
}
