//! Requests, through everything that answers HTTP.

use std::cell::OnceCell;

use pet_coordinator::fuzzing::{Answer, Site};

/// Lines of a request's head, up to an empty one, then its body: the method and the target with a space between
/// them, headers with a colon. Whatever is asked, there is an answer, which is one of those that the standard
/// allows.
pub fn http(data: &[u8]) {
    thread_local!(static SITE: OnceCell<Site> = const { OnceCell::new() });
    SITE.with(|site| ask(site.get_or_init(Site::new), data));
}

fn ask(site: &Site, data: &[u8]) {
    if let Some((_, length)) = site.proxy_header(data) {
        assert!(length <= data.len().min(5000));
    }
    let Some(request) = Request::read(data) else { return };
    let before = site.panics();
    let Some(answer) = request.answer(site, request.method) else { return };
    assert_eq!(site.panics(), before, "a panic");
    check(&request, &answer);
    if request.method == b"GET" && !request.target.starts_with(b"/events") {
        let head = request.answer(site, b"HEAD").expect("the same request");
        assert!(head.body.is_empty(), "HEAD has a body");
        assert_eq!(site.panics(), before, "a panic");
    }
}

/// What holds for every answer.
fn check(request: &Request<'_>, answer: &Answer) {
    let status = answer.status;
    assert!((200..600).contains(&status) && status != 500, "{status}");
    let length = answer.header("content-length").map(|value| number(value).expect("a length"));
    assert!(length.is_none_or(|length| request.method == b"HEAD" || length == answer.body.len()));
    match status {
        204 | 304 => assert!(answer.body.is_empty()),
        206 => {
            let place = answer.header("content-range").expect("where the part is");
            let place = place.strip_prefix(b"bytes ").expect("a unit");
            let mut numbers = place.split(|byte| b"-/".contains(byte)).map(number);
            let (first, last, full) = (numbers.next(), numbers.next(), numbers.next());
            let number = |number: Option<Option<usize>>| number.flatten().expect("a number");
            let (first, last, full) = (number(first), number(last), number(full));
            assert!(first <= last && last < full && answer.body.len() == last - first + 1);
        }
        416 => assert!(answer.header("content-range").is_some_and(|p| p.starts_with(b"bytes */"))),
        429 | 503 if request.target != b"/readyz" => {
            assert!(answer.header("retry-after").is_some(), "{status} without Retry-After");
        }
        _ => {}
    }
}

fn number(text: &[u8]) -> Option<usize> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

struct Request<'a> {
    method: &'a [u8],
    target: &'a [u8],
    headers: Vec<(&'a [u8], &'a [u8])>,
    body: &'a [u8],
}

impl<'a> Request<'a> {
    fn read(data: &'a [u8]) -> Option<Self> {
        let (first, mut rest) = line(data);
        let at = first.iter().position(|byte| *byte == b' ')?;
        let (method, target) = (&first[..at], &first[at + 1..]);
        let mut headers = Vec::new();
        loop {
            let (header, after) = line(rest);
            rest = after;
            if header.is_empty() || headers.len() == 50 {
                return Some(Self { method, target, headers, body: rest });
            }
            let at = header.iter().position(|byte| *byte == b':')?;
            headers.push((&header[..at], header[at + 1..].trim_ascii()));
        }
    }

    fn answer(&self, site: &Site, method: &[u8]) -> Option<Answer> {
        site.ask(method, self.target, &self.headers, self.body)
    }
}

/// The first line, and what comes after it.
fn line(data: &[u8]) -> (&[u8], &[u8]) {
    match data.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (data, &[]),
    }
}

/// Inputs for a corpus.
pub fn examples() -> [(&'static str, &'static str); 18] {
    [
        ("range-backwards", "GET /model\nrange: bytes=5-1\n\n"),
        ("range", "GET /model\nrange: bytes=3-7\nif-range: \"x\"\n\n"),
        ("range-suffix", "GET /openapi.json\nrange: bytes=-18446744073709551616\n\n"),
        ("ranges", "GET /params\nrange: bytes=0-1, 4-,-2\n\n"),
        ("known", "GET /params\nif-none-match: W/\"a\", *\nprefer: wait=30\n\n"),
        ("other", "GET /model/\nif-match: \"a\"\naccept: application/x-npy\n\n"),
        ("array", "HEAD /model\naccept: application/vnd.pet.weights;dtype=f32, */*;q=0.1\n\n"),
        ("models", "GET /models\n\n"),
        ("kept", "GET /models/1\naccept: application/x-npy\nrange: bytes=120-140\n\n"),
        ("full-name", "GET /models/1_0707070707070707070707070707070707070707070707070707070707070707\n\n"),
        ("seeds", "GET /seeds?pk=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA%3D\n\n"),
        ("proxied", "GET /status\nforwarded: for=\"[2001:db8::1]:1\";by=_x, for=127.0.0.2\nx-forwarded-for: 192.0.2.1\n\n"),
        ("proxy-line", "PROXY TCP4 192.0.2.1 192.0.2.2 1 65535\r\nGET /sums\n\n"),
        ("sums", "GET /sums\n\n"),
        ("message", "POST /message\naccept: application/problem+json;q=1\n\nno message"),
        ("status", "GET /status\n\n"),
        ("events", "GET /events\n\n"),
        ("metrics", "GET /metrics\nrange: bytes=1-0\n\n"),
    ]
}
