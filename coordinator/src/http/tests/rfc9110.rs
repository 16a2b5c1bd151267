//! Conditional and range requests against what RFC 9110 says, sections 13 and 14, written down a second time:
//! over sets of positions and numbers of any size instead of bounds.

use axum::{
    body::{Bytes, HttpBody},
    http::{header, HeaderMap, HeaderValue, Method},
};
use http_body_util::BodyExt;
use proptest::{collection::vec, option, prelude::*, sample::select};

use crate::http::{conditional::Tagged, entity_tag::EntityTag};

/// The tag of what is asked for.
const OURS: &str = "1_ab";

/// An entity tag as a client writes it.
#[derive(Clone, Debug)]
struct Tag {
    weak: bool,
    opaque: &'static str,
}

impl Tag {
    fn text(&self) -> String {
        format!("{}\"{}\"", if self.weak { "W/" } else { "" }, self.opaque)
    }
}

/// `If-Match` or `If-None-Match`.
#[derive(Clone, Debug)]
enum Tags {
    Any,
    List(Vec<Tag>),
}

impl Tags {
    fn text(&self) -> String {
        match self {
            Self::Any => "*".to_owned(),
            Self::List(tags) => tags.iter().map(Tag::text).collect::<Vec<_>>().join(", "),
        }
    }

    /// 8.8.3.2: in a strong comparison no weak tag equals anything.
    fn has(&self, strong: bool) -> bool {
        match self {
            Self::Any => true,
            Self::List(tags) => tags.iter().any(|tag| tag.opaque == OURS && !(strong && tag.weak)),
        }
    }
}

#[derive(Clone, Debug)]
enum IfRange {
    Tag(Tag),
    Date,
}

/// A part of `Range`: numbers are written with so many zeros before them.
#[derive(Clone, Debug)]
enum Spec {
    Int(u128, Option<u128>),
    Suffix(u128),
}

impl Spec {
    fn text(&self, zeros: usize) -> String {
        let number = |number: &u128| format!("{}{number}", "0".repeat(zeros));
        match self {
            Self::Int(first, last) => {
                format!("{}-{}", number(first), last.as_ref().map(number).unwrap_or_default())
            }
            Self::Suffix(length) => format!("-{}", number(length)),
        }
    }

    /// 14.1.1
    fn is_valid(&self) -> bool {
        !matches!(self, Self::Int(first, Some(last)) if last < first)
    }

    /// The positions that it names, of so many.
    fn positions(&self, length: usize) -> Vec<usize> {
        let is_named = |position: &usize| match self {
            Self::Int(first, last) => {
                let position = *position as u128;
                *first <= position && last.is_none_or(|last| position <= last)
            }
            Self::Suffix(suffix) => ((length - position) as u128) <= *suffix,
        };
        (0..length).filter(is_named).collect()
    }
}

#[derive(Clone, Debug)]
struct Ask {
    length: usize,
    head: bool,
    if_match: Option<Tags>,
    if_none_match: Option<Tags>,
    if_range: Option<IfRange>,
    range: Option<(Vec<Spec>, usize, &'static str)>,
}

impl Ask {
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let mut put = |name, text: String| {
            headers.insert(name, HeaderValue::from_str(&text).unwrap());
        };
        if let Some(tags) = &self.if_match {
            put(header::IF_MATCH, tags.text());
        }
        if let Some(tags) = &self.if_none_match {
            put(header::IF_NONE_MATCH, tags.text());
        }
        match &self.if_range {
            Some(IfRange::Tag(tag)) => put(header::IF_RANGE, tag.text()),
            Some(IfRange::Date) => {
                put(header::IF_RANGE, "Tue, 15 Nov 1994 12:45:26 GMT".to_owned());
            }
            None => {}
        }
        if let Some((specs, zeros, separator)) = &self.range {
            let specs: Vec<String> = specs.iter().map(|spec| spec.text(*zeros)).collect();
            put(header::RANGE, format!("bytes={}", specs.join(separator)));
        }
        headers
    }

    /// The status and the positions of the bytes that come.
    fn expected(&self) -> (u16, Vec<usize>) {
        let all = (0..self.length).collect();
        // 13.2.2
        if self.if_match.as_ref().is_some_and(|tags| !tags.has(true)) {
            return (412, Vec::new());
        }
        if self.if_none_match.as_ref().is_some_and(|tags| tags.has(false)) {
            return (304, Vec::new());
        }
        let Some((specs, ..)) = self.range.as_ref().filter(|_| !self.head) else {
            return (200, all);
        };
        let same = match &self.if_range {
            None => true,
            Some(IfRange::Tag(tag)) => tag.opaque == OURS && !tag.weak,
            // 13.1.5: there is no date that could be the same.
            Some(IfRange::Date) => false,
        };
        // 14.2: an invalid header is ignored; so may be one with several ranges.
        if !same || specs.len() != 1 || !specs.iter().all(Spec::is_valid) {
            return (200, all);
        }
        let positions = specs[0].positions(self.length);
        match (&specs[0], positions.is_empty()) {
            (_, false) => (206, positions),
            // 14.1.2: satisfiable, and Content-Range has no way to say it.
            (Spec::Suffix(1..), true) => (200, all),
            (_, true) => (416, Vec::new()),
        }
    }
}

fn tag() -> impl Strategy<Value = Tag> {
    let opaque = select(vec![OURS, OURS, "", "1_ac", "a,b", "*", "W/"]);
    (any::<bool>(), opaque).prop_map(|(weak, opaque)| Tag { weak, opaque })
}

fn tags() -> impl Strategy<Value = Tags> {
    prop_oneof![1 => Just(Tags::Any), 4 => vec(tag(), 1..4).prop_map(Tags::List)]
}

/// Around the length, around the largest numbers of 64 bits, and beyond.
fn number() -> impl Strategy<Value = u128> {
    let large = u128::from(u64::MAX);
    prop_oneof![4 => 0_u128..14, 1 => large - 2..large + 3, 1 => any::<u128>()]
}

fn spec() -> impl Strategy<Value = Spec> {
    prop_oneof![
        (number(), option::of(number())).prop_map(|(first, last)| Spec::Int(first, last)),
        number().prop_map(Spec::Suffix),
    ]
}

fn ask() -> impl Strategy<Value = Ask> {
    let range = (
        prop_oneof![4 => vec(spec(), 1..=1), 1 => vec(spec(), 2..4)],
        0_usize..3,
        select(vec![",", ", ", " ,\t,, "]),
    );
    let if_range = prop_oneof![4 => tag().prop_map(IfRange::Tag), 1 => Just(IfRange::Date)];
    let conditions = (option::weighted(0.2, tags()), option::weighted(0.2, tags()));
    (0_usize..12, any::<bool>(), conditions, option::weighted(0.3, if_range), option::of(range))
        .prop_map(|(length, head, (if_match, if_none_match), if_range, range)| Ask {
            length,
            head: head && length % 2 == 0,
            if_match,
            if_none_match,
            if_range,
            range,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn requests_are_answered_as_the_standard_says(ask in ask()) {
        let bytes: Vec<u8> = (0..ask.length as u8).collect();
        let tagged = Tagged {
            body: Bytes::from(bytes).into(),
            etag: EntityTag::new(OURS).unwrap(),
            content_type: None,
            negotiated: true,
        };
        let method = if ask.head { Method::HEAD } else { Method::GET };
        let response = tagged.answer(&method, &ask.headers());
        let (status, positions) = ask.expected();
        prop_assert_eq!(response.status().as_u16(), status);
        let place = match (status, positions.first(), positions.last()) {
            (206, Some(first), Some(last)) => Some(format!("bytes {first}-{last}/{}", ask.length)),
            (416, ..) => Some(format!("bytes */{}", ask.length)),
            _ => None,
        };
        let headers = response.headers();
        let given = headers.get(header::CONTENT_RANGE).map(|value| value.to_str().unwrap());
        prop_assert_eq!(given, place.as_deref());
        let ours = format!("\"{OURS}\"");
        prop_assert_eq!(&headers[header::ETAG], ours.as_str());
        prop_assert_eq!(response.body().size_hint().exact(), Some(positions.len() as u64));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let body = runtime.block_on(response.into_body().collect()).unwrap().to_bytes();
        let body: Vec<usize> = body.iter().map(|byte| usize::from(*byte)).collect();
        prop_assert_eq!(body, positions);
    }

    /// Whatever it is, there is an answer.
    #[test]
    fn no_header_is_too_strange(
        range in "(bytes|Bytes|lines|)(=| = |)[-0-9, \t=*xW/\"]{0,40}",
        tags in "[-*\"W/1_ab, \t\\\\]{0,30}",
    ) {
        let mut headers = HeaderMap::new();
        for (name, text) in [
            (header::RANGE, &range),
            (header::IF_RANGE, &tags),
            (header::IF_MATCH, &tags),
            (header::IF_NONE_MATCH, &tags),
        ] {
            headers.insert(name, HeaderValue::from_str(text).unwrap());
            let tagged = Tagged {
                body: Bytes::from_static(b"0123456789").into(),
                etag: EntityTag::new(OURS).unwrap(),
                content_type: None,
                negotiated: true,
            };
            let status = tagged.answer(&Method::GET, &headers).status().as_u16();
            prop_assert!([200, 206, 304, 412, 416].contains(&status));
        }
    }
}
