//! Each detail of the HTTP interface that clients and proxies may lean on, over a real socket, with
//! answers that the test picks.

use std::{
    sync::{
        atomic::{AtomicBool, Ordering},
        Mutex,
    },
    time::Duration,
};

use bytes::Bytes;
use pet_core::{
    coordinator::{GlobalModel, Rejection},
    crypto::RoundSeed,
    model::Model,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{watch, Notify},
};

use super::*;

const PK: [u8; 32] = [0xfb; 32];
/// `PK` in base64: it has both characters that differ between the two alphabets, and padding.
const PK_BASE64: &str = "+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/s=";
const PK_QUERY: &str =
    "%2B%2Fv7%2B%2Fv7%2B%2Fv7%2B%2Fv7%2B%2Fv7%2B%2Fv7%2B%2Fv7%2B%2Fv7%2B%2Fv7%2B%2Fv7%2B%2Fs%3D";

const LIMIT: usize = 6000;

/// Answers calls with what they ask for; takes messages at once, or when told to.
#[derive(Default)]
struct Fake {
    nothing_there: AtomicBool,
    large_model: AtomicBool,
    params: Mutex<Option<Bytes>>,
    models: Mutex<Vec<Arc<Published>>>,
    changed: Notify,
    waiting: Notify,
    messages: Mutex<Vec<Vec<u8>>>,
    arrived: Notify,
    hold: AtomicBool,
    release: Notify,
    unprocessed: Mutex<Option<Unprocessed>>,
    not_received: Mutex<Vec<(&'static str, u64)>>,
    refused: Notify,
}

fn published(round_id: u64, rationals: Bytes, weights: Vec<f32>) -> Arc<Published> {
    Arc::new(Published::new(GlobalModel {
        round_id,
        seed: RoundSeed::new([0xab; 32]),
        models: 3,
        rationals,
        weights: Some(Arc::new(Model::F32(weights))),
    }))
}

/// More than all buffers between a server and a client that does not read.
const LARGE: usize = 64 << 20;

impl Rounds for Arc<Fake> {
    async fn answer(&self, call: Call) -> Answer {
        if self.nothing_there.load(Ordering::SeqCst) {
            return Answer::no_content();
        }
        match call {
            Call::Seeds(pk) if *pk.as_bytes() == PK => Answer::ok("seeds for PK"),
            Call::Seeds(_) => Answer::no_content(),
            Call::Sums => Answer::ok("the sum dictionary"),
            other => panic!("no handler makes this call: {other:?}"),
        }
    }

    fn params(&self) -> Option<Bytes> {
        let params = self.params.lock().unwrap().clone();
        let there = !self.nothing_there.load(Ordering::SeqCst);
        there.then(|| params.unwrap_or(Bytes::from_static(b"the parameters")))
    }

    fn model(&self) -> Option<Arc<Published>> {
        if self.nothing_there.load(Ordering::SeqCst) {
            return None;
        }
        self.models.lock().unwrap().last().cloned().or_else(|| {
            let rationals = match self.large_model.load(Ordering::SeqCst) {
                true => vec![0; LARGE].into(),
                false => Bytes::from_static(b"the model"),
            };
            Some(published(3, rationals, vec![0.5, -1.0]))
        })
    }

    fn kept_rounds(&self) -> Vec<u64> {
        self.models.lock().unwrap().iter().map(|model| model.model().round_id).collect()
    }

    async fn kept_model(&self, round_id: u64) -> Result<Option<Arc<Published>>, StoreError> {
        let models = self.models.lock().unwrap();
        Ok(models.iter().find(|model| model.model().round_id == round_id).cloned())
    }

    async fn until(&self, is_so: impl Fn() -> bool + Send + Sync) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if is_so() {
                return;
            }
            self.waiting.notify_one();
            changed.await;
        }
    }

    fn max_message_len(&self) -> usize {
        LIMIT
    }

    fn not_received(&self, label: &'static str, length: u64, reason: &dyn Display) {
        assert!(!reason.to_string().is_empty());
        self.not_received.lock().unwrap().push((label, length));
        self.refused.notify_one();
    }

    async fn message(&self, upload: Upload) -> Result<(), Unprocessed> {
        if let Some(error) = &*self.unprocessed.lock().unwrap() {
            return Err(error.clone());
        }
        self.messages.lock().unwrap().push(upload.bytes.clone());
        self.arrived.notify_one();
        if self.hold.load(Ordering::SeqCst) {
            self.release.notified().await;
        }
        Ok(())
    }
}

struct Server {
    fake: Arc<Fake>,
    address: std::net::SocketAddr,
    stop: watch::Sender<bool>,
    running: tokio::task::JoinHandle<()>,
}

/// What came back: the status, the header lines in lower case, the body.
#[derive(Debug)]
struct Got {
    status: u16,
    headers: Vec<String>,
    body: String,
}

impl Got {
    fn header(&self, name: &str) -> Option<&str> {
        let prefix = format!("{name}: ");
        self.headers.iter().find_map(|line| line.strip_prefix(&prefix))
    }
}

const A_WHILE: Duration = Duration::from_secs(60);

fn uploads() -> UploadLimits {
    UploadLimits {
        memory: 4 << 20,
        messages: 1000,
        queue: Duration::ZERO,
        patience: A_WHILE,
        rate: 1,
        linger: A_WHILE,
    }
}

fn connections() -> ConnectionLimits {
    ConnectionLimits {
        open: 100,
        of_one: 100,
        head_bytes: 1 << 16,
        handshake: A_WHILE,
        head: A_WHILE,
        write: A_WHILE,
        grace: A_WHILE,
    }
}

impl Server {
    async fn start() -> Self {
        Self::with(uploads(), connections()).await
    }

    async fn with(uploads: UploadLimits, connections: ConnectionLimits) -> Self {
        Self::at_rate(uploads, connections, None).await
    }

    async fn at_rate(
        uploads: UploadLimits,
        connections: ConnectionLimits,
        rate: Option<RateLimit>,
    ) -> Self {
        let fake = Arc::new(Fake::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let mut router = router(Arc::clone(&fake), uploads);
        if let Some(rate) = rate {
            let fake = Arc::clone(&fake);
            router = limited(router, rate, move || fake.not_received("rate", 0, &"too fast"));
        }
        let running = tokio::spawn(serve(listener, router, None, connections, stopped));
        Self { fake, address, stop, running }
    }

    /// Connects and sends the head of a message and the beginning of its body.
    async fn begin_post(&self, length: usize, beginning: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let head = format!(
            "POST /message HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(beginning).await.unwrap();
        stream
    }

    async fn post_chunked(&self, pieces: &[&[u8]]) -> Got {
        let mut request =
            b"POST /message HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
                .to_vec();
        for piece in pieces {
            request.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            request.extend_from_slice(piece);
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"0\r\n\r\n");
        self.raw(&request).await
    }

    fn not_received(&self) -> Vec<(&'static str, u64)> {
        self.fake.not_received.lock().unwrap().clone()
    }

    /// Sends bytes as they are and reads the answer to its end.
    async fn raw(&self, request: &[u8]) -> Got {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request).await.unwrap();
        read_answer(&mut stream).await
    }

    async fn get(&self, target: &str) -> Got {
        self.request("GET", target).await
    }

    async fn request(&self, method: &str, target: &str) -> Got {
        let request = format!("{method} {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        self.raw(request.as_bytes()).await
    }

    async fn post(&self, headers: &str, body: &[u8]) -> Got {
        let mut request = format!(
            "POST /message HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        self.raw(&request).await
    }

    fn messages(&self) -> Vec<Vec<u8>> {
        self.fake.messages.lock().unwrap().clone()
    }
}

async fn read_answer(stream: &mut TcpStream) -> Got {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    Got { status, headers: lines.map(str::to_lowercase).collect(), body: body.to_owned() }
}

#[tokio::test]
async fn gets_answer_with_their_content_types() {
    let server = Server::start().await;
    let seeds = format!("/seeds?pk={PK_QUERY}");
    for (target, body, content_type) in [
        ("/params", "the parameters", None),
        ("/sums", "the sum dictionary", Some("application/octet-stream")),
        (&seeds, "seeds for PK", Some("application/octet-stream")),
        ("/model", "the model", None),
    ] {
        let got = server.get(target).await;
        assert_eq!((got.status, got.body.as_str()), (200, body), "{target}");
        assert_eq!(got.header("content-type"), content_type, "{target}");
        assert_eq!(got.header("content-length"), Some(body.len().to_string().as_str()));
    }
}

#[tokio::test]
async fn what_is_not_there_is_204_without_a_body() {
    let server = Server::start().await;
    server.fake.nothing_there.store(true, Ordering::SeqCst);
    for target in ["/sums", "/model", &format!("/seeds?pk={PK_QUERY}")] {
        let got = server.get(target).await;
        assert_eq!((got.status, got.body.as_str()), (204, ""), "{target}");
        assert_eq!(got.header("content-type"), None, "{target}");
    }
}

#[tokio::test]
async fn a_trailing_slash_and_extra_parameters_are_accepted() {
    let server = Server::start().await;
    for target in [
        "/params/",
        "/params?a=b",
        "/params/?a",
        "/sums/?a=b&a=c",
        "/model/",
        &format!("/seeds/?a=b&pk={PK_QUERY}&c"),
    ] {
        assert_eq!(server.get(target).await.status, 200, "{target}");
    }
    let got = server
        .raw(b"POST /message/?a=b HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi")
        .await;
    assert_eq!((got.status, server.messages()), (200, vec![b"hi".to_vec()]));
}

#[tokio::test]
async fn a_pk_is_standard_base64_padded_or_not() {
    let server = Server::start().await;
    let unpadded = PK_QUERY.strip_suffix("%3D").unwrap();
    let seeds = |pk: &str| format!("/seeds?pk={pk}");
    for pk in [PK_QUERY, unpadded, PK_BASE64, "%2B/v7%2b/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/s="] {
        let got = server.get(&seeds(pk)).await;
        assert_eq!((got.status, got.body.as_str()), (200, "seeds for PK"), "{pk}");
    }
    let unknown = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA%3D";
    assert_eq!(server.get(&seeds(unknown)).await.status, 204);
    for bad in [
        "/seeds",
        "/seeds?",
        "/seeds/",
        "/seeds?pk",
        "/seeds?pk=",
        "/seeds?PK=AAAA",
        &seeds("AAAA"),
        &seeds(&PK_QUERY.replace("%2B", "-").replace("%2F", "_")),
        &seeds(&format!("{PK_QUERY}%3D")),
        &seeds(&format!("{unpadded}A")),
        &seeds(&PK_QUERY.replace("v7", "v!")),
        // The last character holds bits beyond the 32 bytes.
        &seeds(&PK_QUERY.replace("%2Fs%3D", "%2Ft%3D")),
        // 31 and 33 bytes.
        &seeds("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        &seeds("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        &seeds(&format!("{PK_QUERY}&pk={PK_QUERY}")),
    ] {
        let got = server.get(bad).await;
        assert_eq!(got.status, 400, "{bad}");
        assert!(got.body.contains("base64"), "{bad}: {}", got.body);
    }
}

#[tokio::test]
async fn wrong_methods_are_405_and_unknown_paths_404() {
    let server = Server::start().await;
    for (method, target, allowed) in [
        ("POST", "/params", "get,head"),
        ("PUT", "/sums/", "get,head"),
        ("DELETE", "/seeds", "get,head"),
        ("PATCH", "/model", "get,head"),
        ("GET", "/message", "post"),
        ("PUT", "/message/", "post"),
    ] {
        let got = server.request(method, target).await;
        assert_eq!((got.status, got.header("allow")), (405, Some(allowed)), "{method} {target}");
    }
    for target in ["/", "/params/x", "/Params", "/messages"] {
        assert_eq!(server.get(target).await.status, 404, "{target}");
    }
}

#[tokio::test]
async fn any_content_type_is_taken_and_answered_with_an_empty_200() {
    let server = Server::start().await;
    for header in [
        "",
        "content-type: application/octet-stream\r\n",
        "content-type: application/x-www-form-urlencoded\r\n",
        "content-type: ???\r\n",
    ] {
        let got = server.post(header, b"\x00sealed").await;
        assert_eq!((got.status, got.body.as_str()), (200, ""), "{header}");
        assert_eq!(got.header("content-length"), Some("0"));
    }
    assert_eq!(server.messages(), vec![b"\x00sealed".to_vec(); 4]);
}

#[tokio::test]
async fn chunked_bodies_are_taken() {
    let server = Server::start().await;
    let got = server.post_chunked(&[b"abc", b"de"]).await;
    assert_eq!((got.status, server.messages()), (200, vec![b"abcde".to_vec()]));
}

#[tokio::test]
async fn the_answer_comes_after_the_message_was_processed() {
    let server = Server::start().await;
    server.fake.hold.store(true, Ordering::SeqCst);
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream
        .write_all(
            b"POST /message HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 1\r\n\r\nm",
        )
        .await
        .unwrap();
    server.fake.arrived.notified().await;
    // The message is there and not processed; other calls are answered all the while, this one is
    // not.
    assert_eq!(server.get("/params").await.status, 200);
    let mut byte = [0];
    assert!(stream.try_read(&mut byte).is_err(), "there is an answer already");
    server.fake.release.notify_one();
    assert_eq!(read_answer(&mut stream).await.status, 200);
}

/// A message that is too long can only be rejected, and is answered as such: 413 is for what nobody
/// would read to its end.
#[tokio::test]
async fn too_long_is_rejected_and_far_too_long_is_413() {
    let server = Server::start().await;
    let far = 2 * LIMIT + (1 << 20);
    let bytes = vec![7; far + 1];
    for length in [LIMIT, LIMIT + 1, far, far + 1] {
        let body = &bytes[..length];
        let (status, empty) = if length > far { (413, false) } else { (200, true) };
        for got in
            [server.post("", body).await, server.post_chunked(&[&body[..5], &body[5..]]).await]
        {
            assert_eq!((got.status, got.body.is_empty()), (status, empty), "{length}");
            assert!(empty || got.body.contains("6000 bytes"), "{}", got.body);
        }
    }
    assert_eq!(server.messages(), vec![vec![7; LIMIT]; 2]);
    let lengths = server.not_received();
    let expected = [LIMIT + 1, LIMIT + 1, far, far, far + 1, far + 1];
    assert_eq!(lengths, expected.map(|length| ("too_long", length as u64)));
}

#[tokio::test]
async fn a_sender_of_far_too_much_still_gets_its_answer() {
    let server = Server::start().await;
    assert_eq!(server.post("", &vec![7; 3 << 20]).await.status, 413);
    assert_eq!(server.messages(), Vec::<Vec<u8>>::new());
}

/// Far more than is read of a refused upload: the server ends it, although the client sends on.
#[tokio::test]
async fn nothing_makes_the_server_read_without_end() {
    let linger = Duration::from_millis(20);
    let server = Server::with(UploadLimits { linger, ..uploads() }, connections()).await;
    let mut stream = server.begin_post(usize::MAX >> 1, b"").await;
    let piece = vec![0; 1 << 16];
    while stream.write_all(&piece).await.is_ok() {}
    assert_eq!(server.not_received(), [("too_long", (u64::MAX >> 1))]);
}

#[tokio::test]
async fn memory_for_uploads_is_limited_and_given_back() {
    let limits = UploadLimits { memory: 16384, ..uploads() };
    let server = Server::with(limits, connections()).await;
    server.fake.hold.store(true, Ordering::SeqCst);
    let mut first = server.begin_post(5000, &[1; 5000]).await;
    server.fake.arrived.notified().await;
    let got = server.post("", &[2; 5000]).await;
    assert_eq!((got.status, got.header("retry-after")), (503, Some("1")));
    let got = server.post_chunked(&[&[2; 2500], &[2; 2500]]).await;
    assert_eq!((got.status, got.header("retry-after")), (503, Some("1")));
    assert_eq!(server.not_received(), [("busy", 5000), ("busy", 5000)]);
    server.fake.hold.store(false, Ordering::SeqCst);
    server.fake.release.notify_one();
    assert_eq!(read_answer(&mut first).await.status, 200);
    assert_eq!(server.post("", &[3; 5000]).await.status, 200);
    assert_eq!(server.post_chunked(&[&[2; 2500], &[2; 2500]]).await.status, 200);
}

/// Memory is taken before the first byte is read, so that nobody who has begun to send is turned away.
#[tokio::test]
async fn uploads_wait_for_memory() {
    let limits = UploadLimits { memory: 8192, queue: A_WHILE, ..uploads() };
    let server = Server::with(limits, connections()).await;
    server.fake.hold.store(true, Ordering::SeqCst);
    let mut first = server.begin_post(5000, b"").await;
    // Whichever comes first: both get through, one after the other.
    let mut second = server.begin_post(5000, &[2; 5000]).await;
    first.write_all(&[1; 5000]).await.unwrap();
    for _ in 0..2 {
        server.fake.arrived.notified().await;
        server.fake.release.notify_one();
    }
    assert_eq!(read_answer(&mut first).await.status, 200);
    assert_eq!(read_answer(&mut second).await.status, 200);
    assert_eq!(server.not_received(), []);
}

#[tokio::test]
async fn an_upload_that_stalls_is_408() {
    let limits = UploadLimits { patience: Duration::from_millis(20), ..uploads() };
    let server = Server::with(limits, connections()).await;
    let mut stream = server.begin_post(2, b"m").await;
    assert_eq!(read_answer(&mut stream).await.status, 408);
    assert_eq!(server.not_received(), [("stalled", 2)]);
}

#[tokio::test]
async fn an_upload_that_breaks_off_is_no_message() {
    let server = Server::start().await;
    let mut stream = server.begin_post(2, b"m").await;
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert_eq!(server.messages(), Vec::<Vec<u8>>::new());
    tokio::time::timeout(A_WHILE, server.fake.refused.notified()).await.unwrap();
    assert_eq!(server.not_received(), [("broken", 2)]);
}

#[tokio::test]
async fn a_message_that_was_not_processed_is_no_200() {
    let server = Server::start().await;
    for (error, status, retry) in [
        (Unprocessed::Stopped, 503, Some("1")),
        (Unprocessed::NoRoom, 503, Some("1")),
        (Unprocessed::InProgress, 503, Some("1")),
        (Unprocessed::Bug, 500, None),
    ] {
        *server.fake.unprocessed.lock().unwrap() = Some(error.clone());
        let got = server.post("", b"m").await;
        assert_eq!((got.status, got.header("retry-after")), (status, retry), "{error}");
        assert_eq!(got.body, format!("{error}\n"));
        let got = server.post(TELL_ME, b"m").await;
        assert_eq!((got.status, got.header("retry-after")), (status, retry), "{error}");
        assert!(got.body.contains(&error.to_string()));
    }
}

/// What a participant sends that wants to know why its message is rejected.
const TELL_ME: &str = "accept: text/plain, application/problem+json\r\n";

/// Connects from another address than the others.
async fn from_elsewhere(server: &Server) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    socket.connect(server.address).await.unwrap()
}

const GET_PARAMS: &[u8] = b"GET /params HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn who_finds_no_place_is_told_to_come_again() {
    for limits in [
        ConnectionLimits { open: 2, ..connections() },
        ConnectionLimits { of_one: 2, ..connections() },
    ] {
        let server = Server::with(uploads(), limits).await;
        server.fake.hold.store(true, Ordering::SeqCst);
        let mut first = server.begin_post(1, b"m").await;
        server.fake.arrived.notified().await;
        let second = TcpStream::connect(server.address).await.unwrap();
        // Whatever is asked, and however much is sent.
        for request in [GET_PARAMS, &[b'x'; 200_000]] {
            let mut stream = TcpStream::connect(server.address).await.unwrap();
            stream.write_all(request).await.unwrap();
            let got = read_answer(&mut stream).await;
            assert_eq!((got.status, got.header("retry-after")), (503, Some("5")));
            assert!(got.body.ends_with("a moment\n"), "{got:?}");
        }
        let mut elsewhere = from_elsewhere(&server).await;
        elsewhere.write_all(GET_PARAMS).await.unwrap();
        let expected = if limits.open == 2 { 503 } else { 200 };
        assert_eq!(read_answer(&mut elsewhere).await.status, expected);
        drop(second);
        server.fake.release.notify_one();
        assert_eq!(read_answer(&mut first).await.status, 200);
        let again = async {
            while server.get("/params").await.status != 200 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(A_WHILE, again).await.expect("places are given back");
    }
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_again() {
    let rate = RateLimit { per_second: 0.1, burst: 3.0 };
    let server = Server::at_rate(uploads(), connections(), Some(rate)).await;
    assert_eq!(server.get("/params").await.status, 200);
    // On one connection or on several.
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let kept = b"GET /params HTTP/1.1\r\nhost: x\r\n\r\n";
    stream.write_all(&[kept, GET_PARAMS].concat()).await.unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await.unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
    let got = server.get("/params").await;
    assert_eq!((got.status, got.header("retry-after")), (429, Some("10")));
    // A message is not even looked at, but read for a while.
    let got = server.post("", &vec![7; 3 << 20]).await;
    assert_eq!((got.status, got.header("retry-after")), (429, Some("10")));
    assert_eq!(server.messages(), Vec::<Vec<u8>>::new());
    assert_eq!(server.not_received(), [("rate", 0)]);
    // This is about one client.
    let mut elsewhere = from_elsewhere(&server).await;
    elsewhere.write_all(GET_PARAMS).await.unwrap();
    assert_eq!(read_answer(&mut elsewhere).await.status, 200);
}

#[tokio::test]
async fn giant_heads_are_refused() {
    let limits = ConnectionLimits { head_bytes: 1 << 13, ..connections() };
    let server = Server::with(uploads(), limits).await;
    let fill = |length| {
        format!(
            "GET /params HTTP/1.1\r\nhost: x\r\nconnection: close\r\na: {}\r\n\r\n",
            "x".repeat(length)
        )
    };
    assert_eq!(server.raw(fill(4000).as_bytes()).await.status, 200);
    let mut many = GET_PARAMS[..GET_PARAMS.len() - 2].to_vec();
    (0..1000).for_each(|_| many.extend_from_slice(b"a: b\r\n"));
    many.extend_from_slice(b"\r\n");
    for request in [fill(20_000).into_bytes(), many, vec![b'G'; 20_000]] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        // The server may hang up before all is sent.
        let _ = stream.write_all(&request).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer);
        let refused = answer.is_empty()
            || answer.starts_with("HTTP/1.1 431 ")
            || answer.starts_with("HTTP/1.1 414 ")
            || answer.starts_with("HTTP/1.1 400 ");
        assert!(refused, "{answer}");
    }
    assert_eq!(server.get("/params").await.status, 200);
}

#[tokio::test]
async fn a_head_that_never_ends_is_given_up() {
    let limits = ConnectionLimits { head: Duration::from_millis(20), ..connections() };
    let server = Server::with(uploads(), limits).await;
    for beginning in [&b""[..], b"G", b"GET /params HTTP/1.1\r\nhost: x\r\na:"] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(beginning).await.unwrap();
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(A_WHILE, stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "{beginning:?}");
        assert!(!answer.starts_with(b"HTTP/1.1 200"));
    }
}

/// Half of the places is the most that one client gets: the others send on.
#[tokio::test]
async fn slow_senders_do_not_keep_others_out() {
    let limits = UploadLimits { messages: 20, ..uploads() };
    let server = Server::with(limits, connections()).await;
    let mut slow = Vec::new();
    for _ in 0..30 {
        slow.push(server.begin_post(5000, b"m").await);
    }
    // As soon as the server has seen them all, there is no place for this client.
    let refused = async { while server.post("", b"m").await.status != 503 {} };
    tokio::time::timeout(A_WHILE, refused).await.unwrap();
    let mut elsewhere = from_elsewhere(&server).await;
    elsewhere
        .write_all(b"POST /message HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi")
        .await
        .unwrap();
    assert_eq!(read_answer(&mut elsewhere).await.status, 200);
    assert!(server.messages().contains(&b"hi".to_vec()));
    assert_eq!(server.get("/params").await.status, 200);
}

#[tokio::test]
async fn a_rejected_message_is_an_empty_200_unless_its_sender_wants_to_know() {
    let server = Server::start().await;
    let problem = Rejection::DuplicateUpdate.problem(7);
    *server.fake.unprocessed.lock().unwrap() = Some(Unprocessed::Rejected(problem.clone()));
    for header in ["", "accept: */*\r\n", "accept: application/json\r\n"] {
        let got = server.post(header, b"m").await;
        assert_eq!((got.status, got.body.as_str()), (200, ""), "{header}");
    }
    let got = server.post(TELL_ME, b"m").await;
    assert_eq!(got.status, 409);
    assert_eq!(got.header("content-type"), Some("application/problem+json"));
    assert_eq!(Problem::of(&Answer::new(got.status, got.body)), Some(problem));
}

#[tokio::test]
async fn what_was_not_received_is_told_as_well() {
    let limits = UploadLimits { memory: 4096, ..uploads() };
    let server = Server::with(limits, connections()).await;
    let far = 2 * LIMIT + (1 << 20);
    for length in [LIMIT + 1, far + 1] {
        let got = server.post(TELL_ME, &vec![7; length]).await;
        let problem = Problem::of(&Answer::new(got.status, got.body)).unwrap();
        assert_eq!((got.status, problem.name.as_ref()), (413, "too_long"), "{length}");
    }
    server.fake.hold.store(true, Ordering::SeqCst);
    let mut first = server.begin_post(4000, &[1; 4000]).await;
    server.fake.arrived.notified().await;
    let got = server.post(TELL_ME, &[2; 4000]).await;
    assert_eq!((got.status, got.header("retry-after")), (503, Some("1")));
    assert!(got.body.contains("urn:pet:problem:busy"), "{}", got.body);
    server.fake.release.notify_one();
    assert_eq!(read_answer(&mut first).await.status, 200);
}

#[tokio::test]
async fn stopping_answers_what_is_in_flight_and_lets_nobody_in() {
    let mut server = Server::start().await;
    server.fake.hold.store(true, Ordering::SeqCst);
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream
        .write_all(b"POST /message HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nm")
        .await
        .unwrap();
    // Connected, and not asking for anything: closed at once.
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    server.fake.arrived.notified().await;
    server.stop.send_replace(true);
    assert_eq!(idle.read(&mut [0]).await.unwrap_or(0), 0);
    server.fake.release.notify_one();
    assert_eq!(read_answer(&mut stream).await.status, 200);
    (&mut server.running).await.unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

/// The server ends when its last connection has: within the grace, which is much longer than a test
/// may take.
#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_cut_off() {
    let write = Duration::from_millis(50);
    let grace = Duration::from_secs(3600);
    let limits = ConnectionLimits { write, grace, ..connections() };
    let mut server = Server::with(uploads(), limits).await;
    server.fake.large_model.store(true, Ordering::SeqCst);
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /model HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    // The answer has begun.
    assert!(stream.read_u8().await.is_ok());
    server.stop.send_replace(true);
    tokio::time::timeout(A_WHILE, &mut server.running).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_is_in_flight_is_cut_off_after_the_grace() {
    let limits = ConnectionLimits { grace: Duration::from_millis(20), ..connections() };
    let mut server = Server::with(uploads(), limits).await;
    server.fake.hold.store(true, Ordering::SeqCst);
    let mut stream = server.begin_post(1, b"m").await;
    server.fake.arrived.notified().await;
    server.stop.send_replace(true);
    (&mut server.running).await.unwrap();
    assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0, "an answer from a server that is gone");
}

#[tokio::test]
async fn no_connection_outlives_a_server_that_is_dropped() {
    let server = Server::start().await;
    server.fake.hold.store(true, Ordering::SeqCst);
    let mut stream = server.begin_post(1, b"m").await;
    server.fake.arrived.notified().await;
    server.running.abort();
    assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0, "an answer from a server that is gone");
}

#[test]
fn bytes_that_are_no_query_are_no_key() {
    let check = |text: &str| assert_eq!(public_key(text), None, "{text}");
    for text in ["pk=%", "pk=%zz", "pk=%ff%fe", "&&&", "pk=\u{0}"] {
        check(text);
    }
    assert_eq!(public_key(&format!("pk={PK_QUERY}")), Some(PublicSigningKey::new(PK)));
    // The type of bodies that handlers give is the one of the answers, without a copy.
    let body = Bytes::from_static(b"x");
    assert_eq!(Answer::ok(body.clone()).body, body);
}

/// What a binary answer says: the head as text, the body as bytes.
async fn get_bytes(server: &Server, target: &str, headers: &str) -> (u16, Vec<String>, Vec<u8>) {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.split("\r\n").map(str::to_lowercase).collect(), bytes.split_off(end + 4))
}

#[tokio::test]
async fn a_model_comes_in_the_form_that_the_client_prefers() {
    let server = Server::start().await;
    let array = [0.5_f32, -1.0].map(f32::to_le_bytes).concat();
    let npy = models_npy();
    for (accept, status, content_type, body) in [
        ("", 200, None, &b"the model"[..]),
        ("accept: */*\r\n", 200, None, b"the model"),
        ("accept: ???\r\n", 200, None, b"the model"),
        ("accept: application/*\r\n", 200, None, b"the model"),
        ("accept: application/octet-stream\r\n", 200, None, b"the model"),
        ("accept: application/vnd.pet.rationals\r\n", 200, None, b"the model"),
        (
            "accept: application/vnd.pet.weights\r\n",
            200,
            Some("application/vnd.pet.weights; dtype=f32"),
            &array,
        ),
        (
            "accept: */*;q=0.1, application/vnd.pet.weights;q=0.9\r\n",
            200,
            Some("application/vnd.pet.weights; dtype=f32"),
            &array,
        ),
        (
            "accept: application/vnd.pet.weights; dtype=f32\r\n",
            200,
            Some("application/vnd.pet.weights; dtype=f32"),
            &array,
        ),
        ("accept: application/x-npy\r\n", 200, Some("application/x-npy"), &npy),
        (
            "accept: application/x-npy;q=0.5\r\naccept: image/png\r\n",
            200,
            Some("application/x-npy"),
            &npy,
        ),
    ] {
        let (got, head, bytes) = get_bytes(&server, "/model", accept).await;
        let got_type = head.iter().find_map(|line| line.strip_prefix("content-type: "));
        assert_eq!((got, got_type), (status, content_type), "{accept}");
        assert_eq!(bytes, body, "{accept}");
        for line in ["vary: accept", "accept-ranges: bytes", "cache-control: no-cache"] {
            assert!(head.iter().any(|got| got == line), "{accept}: {line}: {head:?}");
        }
    }
    for accept in ["image/png", "application/vnd.pet.weights; dtype=f64", "application/x-npy;q=0"] {
        let (status, head, body) =
            get_bytes(&server, "/model", &format!("accept: {accept}\r\n")).await;
        let body = String::from_utf8(body).unwrap();
        assert_eq!(status, 406, "{accept}: {body}");
        assert!(
            body.contains("application/vnd.pet.weights; dtype=f32") && body.contains("x-npy"),
            "{body}"
        );
        assert!(head.contains(&"vary: accept".to_owned()));
    }
}

fn models_npy() -> Vec<u8> {
    crate::models::npy(&Model::F32(vec![0.5, -1.0]))
}

#[tokio::test]
async fn each_form_has_its_own_tag_and_parts() {
    let server = Server::start().await;
    let mut tags = Vec::new();
    for accept in ["*/*", "application/vnd.pet.weights", "application/x-npy"] {
        let accept = format!("accept: {accept}\r\n");
        let (_, head, whole) = get_bytes(&server, "/model", &accept).await;
        let tag = head.iter().find_map(|line| line.strip_prefix("etag: ")).unwrap().to_owned();
        let known = format!("{accept}if-none-match: {tag}\r\n");
        let (status, head, body) = get_bytes(&server, "/model", &known).await;
        assert_eq!((status, body.len()), (304, 0));
        assert!(head.contains(&format!("etag: {tag}")));
        let part = format!("{accept}range: bytes=2-4\r\nif-range: {tag}\r\n");
        let (status, _, body) = get_bytes(&server, "/model", &part).await;
        assert_eq!((status, body.as_slice()), (206, &whole[2..5]));
        tags.push(tag);
    }
    tags.dedup();
    assert_eq!(tags.len(), 3, "{tags:?}");
    assert!(tags[0].contains(&"ab".repeat(32)), "{tags:?}");
}

#[tokio::test]
async fn head_tells_the_length_and_sends_nothing() {
    let server = Server::start().await;
    for (target, length) in [("/model", "9"), ("/params", "14")] {
        let got = server.request("HEAD", target).await;
        assert_eq!((got.status, got.body.as_str()), (200, ""), "{target}");
        assert_eq!(got.header("content-length"), Some(length), "{target}");
        assert!(got.header("etag").is_some());
    }
}

#[tokio::test]
async fn kept_models_are_listed_and_found_by_round() {
    let server = Server::start().await;
    assert_eq!(server.get("/models").await.body, "{\"models\":[]}");
    *server.fake.models.lock().unwrap() = (1..=3)
        .map(|round| published(round, Bytes::from(format!("model {round}")), vec![round as f32]))
        .collect();
    let seed = "ab".repeat(32);
    let got = server.get("/models/").await;
    assert_eq!(got.header("content-type"), Some("application/json"));
    let listed = r#"{"models":[{"round_id":3},{"round_id":2},{"round_id":1}]}"#;
    assert_eq!(got.body, listed);
    for target in ["/models/2", "/models/2/", &format!("/models/2_{seed}")] {
        let got = server.get(target).await;
        assert_eq!((got.status, got.body.as_str()), (200, "model 2"), "{target}");
    }
    let (status, _, body) =
        get_bytes(&server, "/models/2", "accept: application/vnd.pet.weights\r\n").await;
    assert_eq!((status, body), (200, 2_f32.to_le_bytes().to_vec()));
    for (target, status) in [
        ("/models/4", 404),
        (&format!("/models/2_{}", "cd".repeat(32)), 404),
        ("/models/x", 400),
        ("/models/2_", 400),
    ] {
        let got = server.get(target).await;
        assert_eq!(got.status, status, "{target}");
        assert!(!got.body.is_empty());
    }
}

#[tokio::test]
async fn parameters_that_a_client_has_are_not_sent_again() {
    let server = Server::start().await;
    let tag = server.get("/params").await.header("etag").unwrap().to_owned();
    let known = format!("if-none-match: {tag}\r\n");
    assert_eq!(get_bytes(&server, "/params", &known).await.0, 304);
    *server.fake.params.lock().unwrap() = Some(Bytes::from_static(b"the next ones"));
    let (status, _, body) = get_bytes(&server, "/params", &known).await;
    assert_eq!((status, body.as_slice()), (200, &b"the next ones"[..]));
}

/// A client that says so is answered when there is something new, not before.
#[tokio::test]
async fn a_patient_client_waits_for_news() {
    for target in ["/params", "/model"] {
        let server = Arc::new(Server::start().await);
        let tag = server.get(target).await.header("etag").unwrap().to_owned();
        let request = format!("if-none-match: {tag}\r\nprefer: wait=50\r\n");
        let waiting = tokio::spawn({
            let server = Arc::clone(&server);
            async move { get_bytes(&server, target, &request).await }
        });
        server.fake.waiting.notified().await;
        // Something else has changed: no reason to wake it.
        server.fake.changed.notify_waiters();
        server.fake.waiting.notified().await;
        assert!(!waiting.is_finished());
        *server.fake.params.lock().unwrap() = Some(Bytes::from_static(b"news"));
        let next = published(4, Bytes::from_static(b"news"), vec![]);
        *server.fake.models.lock().unwrap() = vec![next];
        server.fake.changed.notify_waiters();
        let (status, head, body) = waiting.await.unwrap();
        assert_eq!((status, body.as_slice()), (200, &b"news"[..]), "{target}");
        assert!(head.contains(&"preference-applied: wait=50".to_owned()), "{head:?}");
    }
}

#[tokio::test]
async fn patience_ends() {
    let server = Server::start().await;
    let tag = server.get("/params").await.header("etag").unwrap().to_owned();
    let request = format!("if-none-match: {tag}\r\nprefer: wait=1\r\n");
    assert_eq!(get_bytes(&server, "/params", &request).await.0, 304);
    // Who has nothing yet has nothing to wait for, if there is something.
    assert_eq!(get_bytes(&server, "/params", "prefer: wait=50\r\n").await.0, 200);
}
