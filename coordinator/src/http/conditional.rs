//! Answers that a client may have already, or wants a part of (RFC 9110, sections 13 and 14).

use std::ops::RangeInclusive;

use axum::{
    body::{Body, Bytes},
    http::{header, HeaderMap, HeaderValue, Method, StatusCode},
    response::{IntoResponse, Response},
};
use headers::{AcceptRanges, ContentRange, ETag, HeaderMapExt, IfNoneMatch, IfRange};
use http_range_header::{parse_range_header, EndPosition, StartPosition};

/// Bytes with a name that no other bytes have at this address.
pub(super) struct Tagged {
    pub body: Bytes,
    pub etag: ETag,
    /// The old calls come without one.
    pub content_type: Option<HeaderValue>,
    /// Whether the request's Accept had a say.
    pub negotiated: bool,
}

/// The tag made of a name, which must consist of letters, digits, underscores and dashes.
pub(super) fn etag(name: &str) -> Option<ETag> {
    format!("\"{name}\"").parse().ok()
}

/// Whether a client says that it has this already.
pub(super) fn is_known(request: &HeaderMap, etag: &ETag) -> bool {
    request.typed_get::<IfNoneMatch>().is_some_and(|known| !known.precondition_passes(etag))
}

impl Tagged {
    /// Answers GET or HEAD: with all of it, a part of it, or not again.
    pub fn answer(self, method: &Method, request: &HeaderMap) -> Response {
        let mut response = if is_known(request, &self.etag) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            self.part(method, request)
        };
        let headers = response.headers_mut();
        if self.negotiated {
            headers.insert(header::VARY, HeaderValue::from_static("accept"));
        }
        // It may be kept, but the next round has another one.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.typed_insert(self.etag);
        response
    }

    fn part(&self, method: &Method, request: &HeaderMap) -> Response {
        let full = self.body.len() as u64;
        let range = Some(request)
            .filter(|_| method == Method::GET)
            .filter(|request| match request.typed_get::<IfRange>() {
                Some(condition) => !condition.is_modified(Some(&self.etag), None),
                None => !request.contains_key(header::IF_RANGE),
            })
            .and_then(|request| wanted(request, full));
        let mut response = match range {
            None => Response::new(Body::from(self.body.clone())),
            Some(Ok(range)) => {
                let (start, end) = (*range.start(), *range.end());
                // Both are positions in the body.
                let part = self.body.slice(start as usize..=end as usize);
                let mut response = (StatusCode::PARTIAL_CONTENT, Body::from(part)).into_response();
                if let Ok(place) = ContentRange::bytes(start..=end, Some(full)) {
                    response.headers_mut().typed_insert(place);
                }
                response
            }
            Some(Err(())) => {
                let mut response = StatusCode::RANGE_NOT_SATISFIABLE.into_response();
                response.headers_mut().typed_insert(ContentRange::unsatisfied_bytes(full));
                return response;
            }
        };
        let headers = response.headers_mut();
        headers.typed_insert(AcceptRanges::bytes());
        if let Some(content_type) = &self.content_type {
            headers.insert(header::CONTENT_TYPE, content_type.clone());
        }
        response
    }
}

/// The one range that is asked for. Nothing, and so everything, if it is not understood, or more than one:
/// nobody has to honour it. An error if it has nothing of the body.
fn wanted(request: &HeaderMap, full: u64) -> Option<Result<RangeInclusive<u64>, ()>> {
    let text = request.get(header::RANGE)?.to_str().ok()?;
    let parsed = parse_range_header(text).ok()?;
    let [range] = parsed.ranges.as_slice() else { return None };
    let last = full.checked_sub(1);
    let range = match (range.start, range.end) {
        (StartPosition::FromLast(length), _) => {
            last.map(|last| full.saturating_sub(length).min(last)..=last)
        }
        (StartPosition::Index(start), end) => last.filter(|last| start <= *last).map(|last| {
            start..=match end {
                EndPosition::Index(end) => end.min(last),
                EndPosition::LastByte => last,
            }
        }),
    };
    Some(range.ok_or(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(method: Method, headers: &[(header::HeaderName, &str)]) -> (u16, HeaderMap, u64) {
        let request: HeaderMap = headers
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()))
            .collect();
        let tagged = Tagged {
            body: Bytes::from_static(b"0123456789"),
            etag: etag("1_ab").unwrap(),
            content_type: None,
            negotiated: true,
        };
        let response = tagged.answer(&method, &request);
        let length = axum::body::HttpBody::size_hint(response.body()).exact().unwrap();
        (response.status().as_u16(), response.headers().clone(), length)
    }

    #[test]
    fn ranges_are_as_the_standard_says() {
        for (range, status, content_range, length) in [
            ("bytes=0-3", 206, Some("bytes 0-3/10"), 4),
            ("bytes=4-", 206, Some("bytes 4-9/10"), 6),
            ("bytes=9-9", 206, Some("bytes 9-9/10"), 1),
            ("bytes=-3", 206, Some("bytes 7-9/10"), 3),
            // More than there is means all of it.
            ("bytes=-300", 206, Some("bytes 0-9/10"), 10),
            ("bytes=5-99999", 206, Some("bytes 5-9/10"), 5),
            ("bytes=10-", 416, Some("bytes */10"), 0),
            ("bytes=10-12", 416, Some("bytes */10"), 0),
            // Not honoured: several ranges, other units, nonsense.
            ("bytes=0-1,4-5", 200, None, 10),
            ("lines=0-1", 200, None, 10),
            ("bytes=", 200, None, 10),
            ("bytes=-0", 200, None, 10),
            ("bytes=x-y", 200, None, 10),
        ] {
            let (got, headers, got_length) = answer(Method::GET, &[(header::RANGE, range)]);
            let got_range = headers.get(header::CONTENT_RANGE).map(|value| value.to_str().unwrap());
            assert_eq!((got, got_range, got_length), (status, content_range, length), "{range}");
            assert_eq!(headers[header::ETAG], "\"1_ab\"", "{range}");
        }
        // A range is only defined for GET.
        assert_eq!(answer(Method::HEAD, &[(header::RANGE, "bytes=0-3")]).0, 200);
    }

    #[test]
    fn a_range_of_something_else_is_not_given() {
        for (tag, status) in [
            ("\"1_ab\"", 206),
            ("\"1_ac\"", 200),
            ("W/\"1_ab\"", 200),
            ("Tue, 15 Nov 1994 12:45:26 GMT", 200),
            ("???", 200),
        ] {
            let headers = [(header::RANGE, "bytes=1-2"), (header::IF_RANGE, tag)];
            assert_eq!(answer(Method::GET, &headers).0, status, "{tag}");
        }
    }

    #[test]
    fn what_the_client_has_is_not_sent_again() {
        for (tags, status) in [
            ("\"1_ab\"", 304),
            ("W/\"1_ab\"", 304),
            ("\"x\", \"1_ab\"", 304),
            ("*", 304),
            ("\"1_ac\"", 200),
        ] {
            for method in [Method::GET, Method::HEAD] {
                let (got, headers, _) = answer(method, &[(header::IF_NONE_MATCH, tags)]);
                assert_eq!(got, status, "{tags}");
                assert_eq!(headers[header::ETAG], "\"1_ab\"");
                assert_eq!(headers[header::VARY], "accept");
            }
        }
        let both = [(header::IF_NONE_MATCH, "\"1_ab\""), (header::RANGE, "bytes=99-")];
        assert_eq!(answer(Method::GET, &both).0, 304);
    }
}
