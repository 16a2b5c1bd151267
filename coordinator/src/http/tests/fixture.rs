//! A server with answers that the test picks, and clients that write bytes.

use std::{
    fmt::Display,
    sync::{
        atomic::{AtomicBool, Ordering},
        Arc, Mutex,
    },
    time::Duration,
};

use bytes::Bytes;
use pet_core::{
    coordinator::GlobalModel,
    crypto::{Blake2b, RoundSeed},
    model::Model,
    request::{Call, Response as Answer},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{watch, Notify},
};

use crate::{
    http::{
        limited, router, serve, ConnectionLimits, Proxies, RateLimit, Rounds, Unprocessed, Upload,
        UploadLimits,
    },
    models::{Published, Unavailable},
    panics,
};

pub(super) const PK: [u8; 32] = [0xfb; 32];
/// `PK` in base64: it has both characters that differ between the two alphabets, and padding.
pub(super) const PK_BASE64: &str = "+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/s=";
pub(super) const PK_QUERY: &str =
    "%2B%2Fv7%2B%2Fv7%2B%2Fv7%2B%2Fv7%2B%2Fv7%2B%2Fv7%2B%2Fv7%2B%2Fv7%2B%2Fv7%2B%2Fv7%2B%2Fs%3D";

pub(super) const LIMIT: usize = 6000;

/// What a participant sends that wants to know why its message is rejected.
pub(super) const TELL_ME: &str = "accept: text/plain, application/problem+json\r\n";

pub(super) const GET_PARAMS: &[u8] =
    b"GET /params HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

/// Answers calls with what they ask for; takes messages at once, or when told to.
#[derive(Default)]
pub(super) struct Fake {
    pub(super) nothing_there: AtomicBool,
    pub(super) large_model: AtomicBool,
    pub(super) is_behind: AtomicBool,
    pub(super) panics: AtomicBool,
    pub(super) params: Mutex<Option<Bytes>>,
    pub(super) models: Mutex<Vec<Arc<Published>>>,
    pub(super) changed: Notify,
    pub(super) waiting: Notify,
    pub(super) messages: Mutex<Vec<Vec<u8>>>,
    pub(super) arrived: Notify,
    pub(super) hold: AtomicBool,
    pub(super) release: Notify,
    pub(super) unprocessed: Mutex<Option<Unprocessed>>,
    pub(super) not_received: Mutex<Vec<(&'static str, u64)>>,
    pub(super) refused: Notify,
}

pub(super) fn published(round_id: u64, rationals: Bytes, weights: Vec<f32>) -> Arc<Published> {
    Arc::new(Published::new(GlobalModel {
        round_id,
        seed: RoundSeed::new([0xab; 32]),
        models: 3,
        rationals,
        weights: Some(Arc::new(Model::F32(weights))),
        optimizer: None,
    }))
}

/// More than all buffers between a server and a client that does not read.
pub(super) const LARGE: usize = 64 << 20;

impl Rounds for Arc<Fake> {
    async fn answer(&self, call: Call) -> Answer {
        if self.nothing_there.load(Ordering::SeqCst) {
            return Answer::no_content();
        }
        assert!(!self.panics.load(Ordering::SeqCst), "told to panic");
        if let Some(round) = call.round() {
            if *round != Blake2b::hash(&[&self.params().unwrap_or_default()]) {
                return Answer::new(412, "");
            }
        }
        match call {
            Call::Seeds(pk) | Call::SeedsOf(pk, _) if *pk.as_bytes() == PK => {
                Answer::ok("seeds for PK")
            }
            Call::Seeds(_) | Call::SeedsOf(..) => Answer::no_content(),
            Call::Sums | Call::SumsOf(_) => Answer::ok("the sum dictionary"),
            other => panic!("no handler makes this call: {other:?}"),
        }
    }

    fn is_there(&self, _: &Call) -> bool {
        !self.nothing_there.load(Ordering::SeqCst)
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

    async fn is_recent(&self) -> bool {
        !self.is_behind.load(Ordering::SeqCst)
    }

    fn kept_rounds(&self) -> Vec<u64> {
        self.models.lock().unwrap().iter().map(|model| model.round_id()).collect()
    }

    async fn kept_model(
        &self,
        round_id: u64,
        _: impl Fn() -> bool + Send + Sync,
    ) -> Result<Option<Arc<Published>>, Unavailable> {
        let models = self.models.lock().unwrap();
        Ok(models.iter().find(|model| model.round_id() == round_id).cloned())
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

pub(super) struct Server {
    pub(super) fake: Arc<Fake>,
    pub(super) address: std::net::SocketAddr,
    pub(super) stop: watch::Sender<bool>,
    pub(super) running: tokio::task::JoinHandle<()>,
}

/// What came back: the status, the header lines in lower case, the body.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) status: u16,
    pub(super) headers: Vec<String>,
    pub(super) body: String,
}

impl Got {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let prefix = format!("{name}: ");
        self.headers.iter().find_map(|line| line.strip_prefix(&prefix))
    }
}

pub(super) const A_WHILE: Duration = Duration::from_secs(60);

pub(super) fn uploads() -> UploadLimits {
    UploadLimits {
        memory: 4 << 20,
        messages: 1000,
        halves: true,
        queue: Duration::ZERO,
        start: A_WHILE,
        patience: A_WHILE,
        rate: 1,
        linger: A_WHILE,
    }
}

pub(super) fn connections() -> ConnectionLimits {
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
    pub(super) async fn start() -> Self {
        Self::with(uploads(), connections()).await
    }

    pub(super) async fn with(uploads: UploadLimits, connections: ConnectionLimits) -> Self {
        Self::at_rate(uploads, connections, None).await
    }

    pub(super) async fn at_rate(
        uploads: UploadLimits,
        connections: ConnectionLimits,
        rate: Option<RateLimit>,
    ) -> Self {
        Self::start_with(uploads, connections, rate, Proxies::default()).await
    }

    pub(super) async fn behind(
        uploads: UploadLimits,
        connections: ConnectionLimits,
        proxies: Proxies,
    ) -> Self {
        Self::start_with(uploads, connections, None, proxies).await
    }

    async fn start_with(
        uploads: UploadLimits,
        connections: ConnectionLimits,
        rate: Option<RateLimit>,
        proxies: Proxies,
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
        let router = panics::caught(router);
        let running = tokio::spawn(serve(listener, router, None, connections, proxies, stopped));
        Self { fake, address, stop, running }
    }

    /// Connects and sends the head of a message and the beginning of its body.
    pub(super) async fn begin_post(&self, length: usize, beginning: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let head = format!(
            "POST /message HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(beginning).await.unwrap();
        stream
    }

    pub(super) async fn post_chunked(&self, pieces: &[&[u8]]) -> Got {
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

    pub(super) fn not_received(&self) -> Vec<(&'static str, u64)> {
        self.fake.not_received.lock().unwrap().clone()
    }

    /// Sends bytes as they are and reads the answer to its end.
    pub(super) async fn raw(&self, request: &[u8]) -> Got {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request).await.unwrap();
        read_answer(&mut stream).await
    }

    pub(super) async fn get(&self, target: &str) -> Got {
        self.request("GET", target).await
    }

    pub(super) async fn request(&self, method: &str, target: &str) -> Got {
        let request = format!("{method} {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        self.raw(request.as_bytes()).await
    }

    pub(super) async fn post(&self, headers: &str, body: &[u8]) -> Got {
        let mut request = format!(
            "POST /message HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        self.raw(&request).await
    }

    pub(super) fn messages(&self) -> Vec<Vec<u8>> {
        self.fake.messages.lock().unwrap().clone()
    }
}

pub(super) async fn read_answer(stream: &mut TcpStream) -> Got {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    Got { status, headers: lines.map(str::to_lowercase).collect(), body: body.to_owned() }
}

/// Connects from another address than the others.
pub(super) async fn from_elsewhere(server: &Server) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    socket.connect(server.address).await.unwrap()
}

/// What a binary answer says: the head as text, the body as bytes.
pub(super) async fn get_bytes(
    server: &Server,
    target: &str,
    headers: &str,
) -> (u16, Vec<String>, Vec<u8>) {
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
