//! Crowds of hostile clients against a whole coordinator: honest ones get through.

use std::time::Duration;

use pet_coordinator::{
    settings::{MinMax, Settings},
    Coordinator,
};
use pet_core::{
    crypto::{EncryptKeyPair, RootSeed, Seed, SigningKeyPair, Task, TaskSignatures},
    message::{Chunk, Frame, MessageId, MessageSize, SumPayload, Tag},
    model::Model,
    participant::Event,
    request::Call,
    round::RoundParameters,
};
use pet_transport_tokio::{Config, Participant};
use reqwest::Client;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::timeout,
};

/// Nothing here takes a tenth of this; what does is stuck.
const DEADLINE: Duration = Duration::from_secs(60);

const LENGTH: u64 = 2000;

fn settings() -> Settings {
    let exactly = |count| MinMax { min: count, max: count };
    let mut settings = Settings::for_model_length(LENGTH);
    settings.api.bind_address.set_port(0);
    settings.pet.sum.count = exactly(1);
    settings.pet.update.count = exactly(3);
    settings.pet.sum2.count = exactly(1);
    for time in
        [&mut settings.pet.sum.time, &mut settings.pet.update.time, &mut settings.pet.sum2.time]
    {
        *time = MinMax { min: Duration::ZERO, max: 10 * DEADLINE };
    }
    settings
}

struct Api {
    client: Client,
    url: String,
    parameters: RoundParameters,
}

impl Api {
    async fn new(coordinator: &Coordinator) -> Self {
        let (client, url) = (Client::new(), format!("http://{}", coordinator.local_addr()));
        let answer = client.get(format!("{url}/params")).send().await.unwrap();
        let parameters = RoundParameters::from_bytes(&answer.bytes().await.unwrap()).unwrap();
        Self { client, url, parameters }
    }

    async fn status(&self, path: &str) -> u16 {
        let answer = self.client.get(format!("{}{path}", self.url)).send().await.unwrap();
        answer.status().as_u16()
    }

    async fn text(&self, path: &str) -> String {
        let answer = self.client.get(format!("{}{path}", self.url)).send().await.unwrap();
        answer.text().await.unwrap()
    }

    async fn post(&self, message: Vec<u8>) -> u16 {
        let request = self.client.post(format!("{}/message", self.url)).body(message);
        request.send().await.unwrap().status().as_u16()
    }

    async fn until_there(&self, path: &str) {
        let there = async {
            while self.status(path).await != 200 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(DEADLINE, there).await.unwrap_or_else(|_| panic!("{path} never comes"));
    }

    fn with_task(&self, task: Task, count: usize) -> Vec<SigningKeyPair> {
        let RoundParameters { seed, sum, update, .. } = self.parameters;
        let has_task =
            |keys: &SigningKeyPair| TaskSignatures::sign(keys, &seed).task(sum, update) == task;
        (0..).map(identity).filter(has_task).take(count).collect()
    }

    fn seal(&self, keys: &SigningKeyPair, tag: Tag, multipart: bool, payload: &[u8]) -> Vec<u8> {
        let mut frame = Frame::with_capacity(payload.len());
        frame.buffer_mut().extend_from_slice(payload);
        let ephemeral = EncryptKeyPair::from_seed(&Seed::new([6; 32]));
        frame.seal(keys, &self.parameters.pk, tag, multipart, &ephemeral).unwrap()
    }

    /// Takes the place of the sum participant, so that the update phase begins.
    async fn end_sum_phase(&self) -> SigningKeyPair {
        let keys = self.with_task(Task::Sum, 1).remove(0);
        let payload = SumPayload {
            sum_signature: TaskSignatures::sign(&keys, &self.parameters.seed).sum,
            ephemeral_key: EncryptKeyPair::from_seed(&Seed::new([5; 32])).public(),
        };
        let mut bytes = Vec::new();
        payload.write_to(&mut bytes);
        assert_eq!(self.post(self.seal(&keys, Tag::Sum, false, &bytes)).await, 200);
        self.until_there("/sums").await;
        keys
    }

    /// Three honest participants send their updates, in parts.
    async fn honest_updates(&self) {
        let mut participants = JoinSet::new();
        for keys in self.with_task(Task::Update, 3) {
            let mut config = Config::new(&self.url).unwrap();
            config.settings.max_message_size = MessageSize::at_most(1000).unwrap();
            config.settings.polling.max = Duration::from_millis(20);
            let root = RootSeed::new(*keys.public().as_bytes());
            let mut participant = Participant::with_keys(config, keys, root).unwrap();
            participants.spawn(async move {
                let handle = participant.handle();
                loop {
                    match participant.next_event().await.unwrap() {
                        Event::ModelNeeded { length, .. } => {
                            handle.set_model(Model::F32(vec![0.5; length as usize])).unwrap();
                        }
                        Event::Sent(Tag::Update) => return,
                        Event::Rejected { problem, .. } => panic!("rejected: {problem}"),
                        _ => {}
                    }
                }
            });
        }
        timeout(DEADLINE, participants.join_all()).await.unwrap();
    }
}

/// Whatever was done to it: it has not panicked.
async fn end(coordinator: Coordinator) {
    assert_eq!(coordinator.metrics().panics, 0);
    coordinator.shutdown().await.unwrap();
}

fn identity(number: u64) -> SigningKeyPair {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    SigningKeyPair::from_seed(&Seed::new(seed))
}

/// Invented participants send parts of messages that never become whole; they fill what is for them,
/// and push out each other. Those who have the right to send get theirs through.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_never_become_whole_keep_nobody_out() {
    let mut settings = settings();
    settings.limits.multipart_unproven_bytes = 20_000;
    settings.limits.multipart_messages = 10;
    let coordinator = Coordinator::start(settings).await.unwrap();
    let api = Api::new(&coordinator).await;
    let summer = api.end_sum_phase().await;

    let flood = async || {
        for number in 0..100 {
            let mut payload = Vec::new();
            let data = &[7; 3000];
            let chunk = Chunk { id: 1, message_id: MessageId(1), is_last: false, data };
            chunk.write_to(&mut payload);
            let keys = identity(1_000_000 + number);
            assert_eq!(api.post(api.seal(&keys, Tag::Update, true, &payload)).await, 200);
        }
    };
    flood().await;
    assert_eq!(coordinator.metrics().rejections.total(), 0);
    tokio::join!(flood(), api.honest_updates());
    api.until_there(&Call::Seeds(summer.public()).path_and_query()).await;
    end(coordinator).await;
}

/// What is sent without the right to send it is found out at its first bytes.
#[tokio::test]
async fn the_first_part_of_a_message_shows_whether_its_sender_may_send_it() {
    let coordinator = Coordinator::start(settings()).await.unwrap();
    let api = Api::new(&coordinator).await;
    let rejected = |label: &str| coordinator.metrics().rejections.get(label);
    let part = |id, signatures: &TaskSignatures| {
        let mut data = [&signatures.sum.as_bytes()[..], signatures.update.as_bytes()].concat();
        data.extend_from_slice(&[7; 500]);
        let mut payload = Vec::new();
        Chunk { id, message_id: MessageId(1), is_last: false, data: &data }.write_to(&mut payload);
        payload
    };
    let updater = &api.with_task(Task::Update, 1)[0];
    let signatures = TaskSignatures::sign(updater, &api.parameters.seed);
    let early = api.seal(updater, Tag::Update, true, &part(0, &signatures));
    assert_eq!(api.post(early.clone()).await, 200);
    assert_eq!(rejected("wrong_phase"), 1);

    let summer = api.end_sum_phase().await;
    assert_eq!(api.post(early).await, 200);
    assert_eq!(rejected("wrong_phase"), 1);
    let of_summer = TaskSignatures::sign(&summer, &api.parameters.seed);
    let theirs = api.seal(&summer, Tag::Update, true, &part(0, &of_summer));
    assert_eq!(api.post(theirs).await, 200);
    assert_eq!(rejected("not_eligible"), 1);
    // A signature of somebody else's.
    let stranger = identity(2_000_000);
    let stolen = api.seal(&stranger, Tag::Update, true, &part(0, &signatures));
    assert_eq!(api.post(stolen).await, 200);
    assert_eq!(rejected("not_eligible"), 2);
    end(coordinator).await;
}

/// More connections than there may be, most of them silent or slow: once they have had their time, the
/// round goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_and_slow_connections_have_their_time() {
    let mut settings = settings();
    settings.limits.connections = 30;
    settings.limits.connections_per_address = 0;
    // All of them come within it, and an honest message as well.
    settings.limits.header_time = Duration::from_secs(3);
    settings.limits.body_time = Duration::from_secs(3);
    settings.limits.messages = 10;
    let coordinator = Coordinator::start(settings).await.unwrap();
    let api = Api::new(&coordinator).await;
    let address = coordinator.local_addr();

    let mut crowd = JoinSet::new();
    for number in 0..100 {
        crowd.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let beginning: &[u8] = match number % 3 {
                0 => b"",
                1 => b"GET /par",
                _ => b"POST /message HTTP/1.1\r\nhost: x\r\ncontent-length: 5000\r\n\r\nm",
            };
            let _ = stream.write_all(beginning).await;
            let mut answer = Vec::new();
            // Each of them is answered or cut off, none is kept.
            let _ = stream.read_to_end(&mut answer).await;
            String::from_utf8_lossy(&answer).into_owned()
        });
    }
    let answers = timeout(DEADLINE, crowd.join_all()).await.unwrap();
    let refused = answers.iter().filter(|answer| answer.starts_with("HTTP/1.1 503 ")).count();
    assert!(refused >= 30, "{refused} of 100 were told that there is no place");
    assert!(!answers.iter().any(|answer| answer.starts_with("HTTP/1.1 2")));

    let summer = api.end_sum_phase().await;
    api.honest_updates().await;
    api.until_there(&Call::Seeds(summer.public()).path_and_query()).await;
    end(coordinator).await;
}

/// Far more connections announce messages than there is memory for, from two addresses: some send nothing of them,
/// the others a single byte. They hold what they have sent, and nobody up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn announced_messages_that_do_not_come_keep_nobody_out() {
    let mut settings = settings();
    // As little as there can be: four of the longest messages.
    settings.limits.message_bytes = 1;
    settings.limits.body_start_time = 10 * DEADLINE;
    settings.limits.body_time = 10 * DEADLINE;
    settings.limits.queue_time = Duration::ZERO;
    let coordinator = Coordinator::start(settings).await.unwrap();
    let api = Api::new(&coordinator).await;
    let summer = api.end_sum_phase().await;
    let mut idle = Vec::new();
    for number in 0..240 {
        let socket = TcpSocket::new_v4().unwrap();
        let from = if number % 2 == 0 { "127.0.0.1:0" } else { "127.0.0.2:0" };
        socket.bind(from.parse().unwrap()).unwrap();
        let mut stream = socket.connect(coordinator.local_addr()).await.unwrap();
        let head = b"POST /message HTTP/1.1\r\nhost: x\r\ncontent-length: 4000000\r\n\r\nm";
        let sent = if number % 4 < 2 { &head[..head.len() - 1] } else { &head[..] };
        stream.write_all(sent).await.unwrap();
        idle.push(stream);
    }
    let in_flight = format!("pet_http_requests_in_flight {}", idle.len() + 1);
    let all_there = async {
        while !api.text("/metrics").await.contains(&in_flight) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, all_there).await.expect("the server has seen all of them");
    api.honest_updates().await;
    api.until_there(&Call::Seeds(summer.public()).path_and_query()).await;
    assert_eq!(coordinator.metrics().rejections.get("busy"), 0);
    drop(idle);
    end(coordinator).await;
}

/// Participants that are told to come later do so, and the round ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn participants_come_again_when_they_are_told_to() {
    let mut settings = settings();
    // So few that a slow machine makes more of them, too.
    settings.limits.requests_per_second = 8.0;
    settings.limits.request_burst = 15;
    let coordinator = Coordinator::start(settings).await.unwrap();
    let api = Api::new(&coordinator).await;
    let summer = api.end_sum_phase().await;
    // (What this test itself asks again and again is refused as well.)
    let before = coordinator.metrics().rejections.get("rate");
    api.honest_updates().await;
    assert!(coordinator.metrics().rejections.get("rate") > before);
    api.until_there(&Call::Seeds(summer.public()).path_and_query()).await;
    end(coordinator).await;
}

/// Each client of a proxy that is trusted has limits of its own, and no client has more than one of them, whatever it
/// writes itself.
#[tokio::test]
async fn behind_a_trusted_proxy_each_client_has_limits_of_its_own() {
    let mut settings = settings();
    settings.api.trusted_proxies = "127.0.0.0/8".parse().unwrap();
    settings.limits.requests_per_second = 0.001;
    settings.limits.request_burst = 3;
    let coordinator = Coordinator::start(settings).await.unwrap();
    let (client, url) = (Client::new(), format!("http://{}/healthz", coordinator.local_addr()));
    let ask = async |name: &str, line: &str| {
        client.get(&url).header(name, line).send().await.unwrap().status().as_u16()
    };
    for (name, line) in [("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=192.0.2.2")] {
        for _ in 0..3 {
            assert_eq!(ask(name, line).await, 200, "{line}");
        }
        assert_eq!(ask(name, line).await, 429, "{line}");
    }
    for made_up in 0..10 {
        let line = format!("198.51.100.{made_up}, 192.0.2.1");
        assert_eq!(ask("x-forwarded-for", &line).await, 429, "{line}");
        let line = format!("for=198.51.100.{made_up}, for=192.0.2.2");
        assert_eq!(ask("forwarded", &line).await, 429, "{line}");
    }
    // Nonsense of any kind counts as the proxy's own, once.
    let mut let_in = 0;
    for made_up in 0..10 {
        let_in += u32::from(ask("forwarded", &format!("for=_{made_up}")).await == 200);
    }
    assert_eq!(let_in, 3);
    end(coordinator).await;
}

/// Scripts of pages that are named may read what they are told, also that they ask too often; other pages are told nothing.
#[tokio::test]
async fn pages_are_let_in_by_their_origin() {
    let mut settings = settings();
    settings.api.cors_origins = "https://example.org".parse().unwrap();
    settings.limits.requests_per_second = 0.001;
    settings.limits.request_burst = 1;
    let coordinator = Coordinator::start(settings).await.unwrap();
    let (client, url) = (Client::new(), format!("http://{}/params", coordinator.local_addr()));
    let ask = async |method: &str, origin: &str| {
        let request = client.request(method.parse().unwrap(), &url).header("origin", origin);
        let answer = request.header("access-control-request-method", "GET").send().await.unwrap();
        let let_in = answer.headers().get("access-control-allow-origin");
        (answer.status().as_u16(), let_in.map(|origin| origin.to_str().unwrap().to_owned()))
    };
    let named = Some("https://example.org".to_owned());
    assert_eq!(ask("GET", "https://example.org").await, (200, named.clone()));
    assert_eq!(ask("GET", "https://example.org").await, (429, named.clone()));
    assert_eq!(ask("OPTIONS", "https://example.org").await, (200, named));
    for method in ["GET", "OPTIONS"] {
        assert_eq!(ask(method, "https://example.net").await, (429, None));
    }
    end(coordinator).await;
}
