//! Answers that a client may have already, or wants a part of (RFC 9110, sections 13 and 14).

use axum::{
    http::{header, HeaderMap, HeaderValue, Method, StatusCode},
    response::{IntoResponse, Response},
};

use super::{
    content::Content,
    entity_tag::{is_same, EntityTag, EntityTags},
    range::{wanted, Wanted},
};

/// Bytes with a name that no other bytes have at this address.
pub(super) struct Tagged {
    pub body: Content,
    pub etag: EntityTag,
    /// The old calls come without one.
    pub content_type: Option<HeaderValue>,
    /// Whether the request's Accept had a say.
    pub negotiated: bool,
}

/// Whether a client says that it has this already.
pub(super) fn is_known(request: &HeaderMap, etag: &EntityTag) -> bool {
    let tags = EntityTags::of(request.get_all(header::IF_NONE_MATCH));
    tags.is_some_and(|tags| tags.name_weakly(etag))
}

impl Tagged {
    /// Answers GET or HEAD: with all of it, a part of it, or not again. Nothing has a date, so that conditions
    /// on one do not count.
    pub fn answer(self, method: &Method, request: &HeaderMap) -> Response {
        let tags = EntityTags::of(request.get_all(header::IF_MATCH));
        let is_other = tags.is_some_and(|tags| !tags.name_strongly(&self.etag));
        let mut response = if is_other {
            StatusCode::PRECONDITION_FAILED.into_response()
        } else if is_known(request, &self.etag) {
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
        if let Some(etag) = self.etag.value() {
            headers.insert(header::ETAG, etag);
        }
        response
    }

    fn part(&self, method: &Method, request: &HeaderMap) -> Response {
        let full = self.body.len();
        let mut conditions = request.get_all(header::IF_RANGE).iter();
        let same = match (conditions.next(), conditions.next()) {
            (Some(condition), None) => is_same(condition, &self.etag),
            (None, _) => true,
            _ => false,
        };
        // A range is only defined for GET.
        let range = match method == Method::GET && same {
            true => wanted(request, full),
            false => Wanted::All,
        };
        let mut response = match range {
            Wanted::All => self.body.response(StatusCode::OK, 0..full),
            Wanted::Part(range) => {
                let (start, end) = (*range.start(), *range.end());
                let mut response = self.body.response(StatusCode::PARTIAL_CONTENT, start..end + 1);
                place(&mut response, format!("bytes {start}-{end}/{full}"));
                response
            }
            Wanted::Nothing => {
                let mut response = StatusCode::RANGE_NOT_SATISFIABLE.into_response();
                place(&mut response, format!("bytes */{full}"));
                return response;
            }
        };
        let headers = response.headers_mut();
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        if let Some(content_type) = &self.content_type {
            headers.insert(header::CONTENT_TYPE, content_type.clone());
        }
        response
    }
}

/// Says which part it is.
fn place(response: &mut Response, text: String) {
    if let Ok(value) = HeaderValue::try_from(text) {
        response.headers_mut().insert(header::CONTENT_RANGE, value);
    }
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
            body: axum::body::Bytes::from_static(b"0123456789").into(),
            etag: EntityTag::new("1_ab").unwrap(),
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
            ("bytes=-0", 416, Some("bytes */10"), 0),
            ("bytes=18446744073709551616-", 416, Some("bytes */10"), 0),
            ("bytes=7-18446744073709551616", 206, Some("bytes 7-9/10"), 3),
            ("Bytes=007-008", 206, Some("bytes 7-8/10"), 2),
            // Not honoured: several ranges, other units, nonsense.
            ("bytes=0-1,4-5", 200, None, 10),
            ("lines=0-1", 200, None, 10),
            ("bytes=", 200, None, 10),
            // Written backwards it is no range.
            ("bytes=5-1", 200, None, 10),
            ("bytes=9-0", 200, None, 10),
            ("bytes=18446744073709551617-18446744073709551616", 200, None, 10),
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
