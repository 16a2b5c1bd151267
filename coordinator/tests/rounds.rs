//! Rounds over HTTP, with the real state machine: what participants, the library's user and the
//! store see.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use nix::sys::resource::{getrlimit, setrlimit, Resource};

use pet_coordinator::{
    settings::{MinMax, Settings},
    Confirmations, Coordinator, DiskStore, Options, Store,
};
use pet_core::{
    coordinator::{PersistId, Record},
    crypto::{EncryptKeyPair, RootSeed, Seed, SigningKeyPair, Task, TaskSignatures, SEAL_OVERHEAD},
    message::{Frame, MessageSize, SumPayload, Tag},
    model::{Model, Scalar},
    participant::Event,
    problem::Problem,
    round::{RoundParameters, SumDict},
};
use pet_transport_tokio::{Config, Participant};
use reqwest::{Client, Response};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
    task::JoinSet,
    time::timeout,
};

/// Nothing here takes a tenth of this; what does is stuck.
const DEADLINE: Duration = Duration::from_secs(60);

/// A round of exactly so many participants of each kind, without minimal times.
fn settings(summers: u64, updaters: u64, length: u64) -> Settings {
    let exactly = |count| MinMax { min: count, max: count };
    let time = MinMax { min: Duration::ZERO, max: DEADLINE };
    let mut settings = Settings::for_model_length(length);
    settings.api.bind_address.set_port(0);
    settings.pet.sum.count = exactly(summers);
    settings.pet.update.count = exactly(updaters);
    settings.pet.sum2.count = exactly(summers);
    settings.pet.sum.time = time;
    settings.pet.update.time = time;
    settings.pet.sum2.time = time;
    settings
}

struct Api {
    client: Client,
    url: String,
}

impl Api {
    fn new(coordinator: &Coordinator) -> Self {
        Self { client: Client::new(), url: format!("http://{}", coordinator.local_addr()) }
    }

    async fn get(&self, path: &str) -> Response {
        self.client.get(format!("{}{path}", self.url)).send().await.unwrap()
    }

    async fn status(&self, path: &str) -> u16 {
        self.get(path).await.status().as_u16()
    }

    async fn parameters(&self) -> RoundParameters {
        let response = self.get("/params").await;
        assert_eq!(response.status(), 200);
        RoundParameters::from_bytes(&response.bytes().await.unwrap()).unwrap()
    }

    /// Posts a message as one who wants to know what is wrong with it; gives what is told.
    async fn problem(&self, message: Vec<u8>) -> Option<Problem> {
        let request = self.client.post(format!("{}/message", self.url)).body(message);
        let response = request.header("accept", Problem::MEDIA_TYPE).send().await.unwrap();
        let status = response.status().as_u16();
        let body = response.bytes().await.unwrap();
        Problem::of(&pet_core::request::Response::new(status, body))
    }

    /// Posts a message; gives the status after checking that the body is empty.
    async fn post(&self, message: Vec<u8>) -> u16 {
        let request = self.client.post(format!("{}/message", self.url)).body(message);
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        assert_eq!(response.bytes().await.unwrap().len(), 0);
        status
    }
}

/// The first `count` identities that have a task in a round.
fn with_task(parameters: &RoundParameters, task: Task, count: usize) -> Vec<SigningKeyPair> {
    (0u64..)
        .map(|number| {
            let mut seed = [0; 32];
            seed[..8].copy_from_slice(&number.to_le_bytes());
            SigningKeyPair::from_seed(&Seed::new(seed))
        })
        .filter(|keys| {
            TaskSignatures::sign(keys, &parameters.seed).task(parameters.sum, parameters.update)
                == task
        })
        .take(count)
        .collect()
}

fn sum_message(parameters: &RoundParameters, keys: &SigningKeyPair) -> Vec<u8> {
    let payload = SumPayload {
        sum_signature: TaskSignatures::sign(keys, &parameters.seed).sum,
        ephemeral_key: EncryptKeyPair::from_seed(&Seed::new([5; 32])).public(),
    };
    let mut frame = Frame::with_capacity(SumPayload::LENGTH);
    payload.write_to(frame.buffer_mut());
    let ephemeral = EncryptKeyPair::from_seed(&Seed::new([6; 32]));
    frame.seal(keys, &parameters.pk, Tag::Sum, false, &ephemeral).unwrap()
}

/// Waits until `condition` holds, looking again and again.
async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let looked = timeout(DEADLINE, async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    looked.await.unwrap_or_else(|_| panic!("never happened: {what}"));
}

/// Two sum and four update participants, some of which split their messages, come to the weighted
/// mean.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_round_ends_with_the_weighted_mean() {
    let length = 300;
    let dir = tempfile::tempdir().unwrap();
    let options = {
        let mut options = Options::default();
        options.seed = Some([1; 32]);
        options.store = Some(Box::new(DiskStore::open(&dir.path().join("data"), None, 3).unwrap()));
        options
    };
    let coordinator = Coordinator::start_with(settings(2, 4, length), options).await.unwrap();
    let api = Api::new(&coordinator);
    until("the round is stored", async || api.status("/params").await == 200).await;
    let parameters = api.parameters().await;
    assert_eq!(parameters.model_length, length);
    assert_eq!(api.status("/model").await, 204);

    let mut people = with_task(&parameters, Task::Sum, 2);
    people.extend(with_task(&parameters, Task::Update, 4));
    let mut participants = JoinSet::new();
    let (mut sum, mut weight) = (0.0, 0.0);
    for (index, keys) in people.into_iter().enumerate() {
        let mut config = Config::new(&api.url).unwrap();
        let scalar = index as f64 + 0.5;
        config.settings.scalar = Scalar::from_f64(scalar / 10.0).unwrap();
        config.settings.polling.max = Duration::from_millis(20);
        config.settings.polling.initial = Duration::from_millis(5);
        config.settings.polling.after_progress = Duration::from_millis(1);
        if index % 2 == 0 {
            config.settings.max_message_size = MessageSize::at_most(700).unwrap();
        }
        if index >= 2 {
            sum += scalar / 10.0 * (index as f64 / 10.0);
            weight += scalar / 10.0;
        }
        let seed = RootSeed::new([index as u8 + 10; 32]);
        let mut participant = Participant::with_keys(config, keys, seed).unwrap();
        participants.spawn(async move {
            let handle = participant.handle();
            loop {
                match participant.next_event().await.unwrap() {
                    Event::ModelNeeded { length, .. } => {
                        let weights = vec![index as f32 / 10.0; length as usize];
                        handle.set_model(Model::F32(weights)).unwrap();
                    }
                    Event::Sent(Tag::Update | Tag::Sum2) => return participant,
                    _ => {}
                }
            }
        });
    }
    let participants = timeout(DEADLINE, participants.join_all()).await.unwrap();
    until("the round is completed", async || coordinator.metrics().rounds_completed == 1).await;

    let mut participant = participants.into_iter().next().unwrap();
    let model = timeout(DEADLINE, participant.global_model()).await.unwrap().unwrap();
    let Some(Model::F32(weights)) = model.as_deref() else {
        panic!("{model:?}");
    };
    assert_eq!(weights.len(), length as usize);
    let mean = (sum / weight) as f32;
    for weight in weights {
        assert!((weight - mean).abs() < 1e-6, "{weight} is not {mean}");
    }
    // 28 bytes a weight is the old form.
    let model = api.get("/model").await.bytes().await.unwrap();
    assert_eq!(coordinator.models().rounds(), [1]);
    let kept = coordinator.models().load(1).unwrap().unwrap();
    assert_eq!((kept.seed, &kept.rationals), (parameters.seed, &model));
    assert!(model.starts_with(&length.to_le_bytes()));
    model_forms(&api, &model, mean).await;
    until("the next round begins", async || api.parameters().await != parameters).await;
    assert_eq!(api.status("/sums").await, 204);
    assert_eq!(coordinator.metrics().rejections.total(), 0);
    assert!(coordinator.metrics().messages_accepted > 8);
    coordinator.shutdown().await.unwrap();
    exported_from_directory(dir.path(), mean);
}

/// Also without a coordinator the model is to be had.
fn exported_from_directory(dir: &std::path::Path, mean: f32) {
    for (format, header) in [("npy", 128), ("raw", 0)] {
        let file = dir.join(format);
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_pet-coordinator"));
        command.args(["export-model", "--format", format, "--data-dir"]).arg(dir.join("data"));
        assert!(command.arg("-o").arg(&file).status().unwrap().success());
        let bytes = std::fs::read(&file).unwrap();
        assert_eq!(bytes.len(), header + 300 * 4);
        for weight in bytes[header..].chunks_exact(4) {
            let weight = f32::from_le_bytes(weight.try_into().unwrap());
            assert!((weight - mean).abs() < 1e-6, "{weight} is not {mean}");
        }
    }
}

/// The forms for new clients hold the same numbers as the old one.
async fn model_forms(api: &Api, rationals: &[u8], mean: f32) {
    let get = async |path: &str, accept: &str| {
        let request = api.client.get(format!("{}{path}", api.url)).header("accept", accept);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200, "{path} {accept}");
        response.bytes().await.unwrap()
    };
    let list = api.get("/models").await.text().await.unwrap();
    assert_eq!(list, r#"{"models":[{"round_id":1}]}"#);
    for path in ["/model", "/models/1"] {
        assert_eq!(get(path, "*/*").await, rationals);
        let array = get(path, "application/vnd.pet.weights").await;
        assert_eq!(array.len(), 300 * 4);
        for weight in array.chunks_exact(4) {
            let weight = f32::from_le_bytes(weight.try_into().unwrap());
            assert!((weight - mean).abs() < 1e-6, "{weight} is not {mean}");
        }
        let npy = get(path, "application/x-npy").await;
        assert!(npy.starts_with(b"\x93NUMPY\x01\x00") && npy.ends_with(&array));
    }
}

/// Participants that wait for the next round ask once, not all the time, and the coordinator neither
/// minds them nor waits for them at its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_idle_participants_wait_for_the_next_round() {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let wanted = hard.min(soft.max(4096));
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).unwrap();
    // Both ends of a connection are in this process.
    let waiting = if wanted >= 2500 { 1000 } else { 100 };

    let coordinator = Coordinator::start(settings(1, 3, 10)).await.unwrap();
    let api = Api::new(&coordinator);
    let tag = api.get("/params").await.headers()["etag"].to_str().unwrap().to_owned();
    let request = format!(
        "GET /params HTTP/1.1\r\nhost: x\r\nconnection: close\r\nif-none-match: {tag}\r\nprefer: wait=50\r\n\r\n"
    );
    let mut connections = Vec::new();
    for _ in 0..waiting {
        let mut stream = TcpStream::connect(coordinator.local_addr()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        connections.push(stream);
    }
    // Those who do not wait are served all the while. A new client's connection is accepted last.
    let api = Api::new(&coordinator);
    assert_eq!(api.status("/params").await, 200);
    assert_eq!(api.status("/sums").await, 204);
    let mut byte = [0];
    assert!(connections.iter().all(|stream| stream.try_read(&mut byte).is_err()));
    // Where this waits for those who are idle, it cuts them off in the end, and tells them nothing.
    coordinator.shutdown().await.unwrap();
    let mut told = 0;
    for mut stream in connections {
        let mut answer = String::new();
        // Requests of the last ones may not have been read yet when the end came.
        let _ = stream.read_to_string(&mut answer).await;
        told += u64::from(answer.starts_with("HTTP/1.1 304 "));
    }
    assert!(told >= waiting * 9 / 10, "{told} of {waiting}");
}

#[tokio::test]
async fn the_next_round_is_told_to_those_who_wait() {
    let mut settings = settings(1, 3, 4);
    settings.pet.sum.time.max = Duration::from_millis(100);
    let coordinator = Coordinator::start(settings).await.unwrap();
    let api = Api::new(&coordinator);
    let mut tag = api.get("/params").await.headers()["etag"].clone();
    for _ in 0..3 {
        let request = api.client.get(format!("{}/params", api.url));
        let request = request.header("if-none-match", &tag).header("prefer", "wait=50");
        let response = timeout(DEADLINE, request.send()).await.unwrap().unwrap();
        assert_eq!(response.status(), 200);
        assert_ne!(response.headers()["etag"], tag);
        tag = response.headers()["etag"].clone();
    }
    coordinator.shutdown().await.unwrap();
}

#[tokio::test]
async fn every_message_is_answered_with_an_empty_200_and_rejections_are_counted() {
    let coordinator = Coordinator::start(settings(2, 3, 10)).await.unwrap();
    let api = Api::new(&coordinator);
    let parameters = api.parameters().await;
    let summers = with_task(&parameters, Task::Sum, 3);
    let updater = &with_task(&parameters, Task::Update, 1)[0];

    assert_eq!(api.post(Vec::new()).await, 200);
    assert_eq!(api.post(vec![0; 500]).await, 200);
    let mut damaged = sum_message(&parameters, &summers[0]);
    damaged[100] ^= 1;
    assert_eq!(api.post(damaged).await, 200);
    assert_eq!(coordinator.metrics().rejections.get("does_not_open"), 3);

    assert_eq!(api.post(sum_message(&parameters, updater)).await, 200);
    assert_eq!(coordinator.metrics().rejections.get("not_eligible"), 1);
    assert_eq!(coordinator.metrics().messages_accepted, 0);

    assert_eq!(api.post(sum_message(&parameters, &summers[0])).await, 200);
    assert_eq!(coordinator.metrics().messages_accepted, 1);
    assert_eq!(api.post(sum_message(&parameters, &summers[0])).await, 200);
    assert_eq!(coordinator.metrics().rejections.get("duplicate_sum"), 1);

    assert_eq!(api.status("/sums").await, 204);
    assert_eq!(api.post(sum_message(&parameters, &summers[1])).await, 200);
    until("the sum dictionary is there", async || api.status("/sums").await == 200).await;
    let sums = SumDict::from_bytes(&api.get("/sums").await.bytes().await.unwrap()).unwrap();
    assert!(sums.contains(&summers[0].public()) && sums.contains(&summers[1].public()));

    // The sum phase is over.
    assert_eq!(api.post(sum_message(&parameters, &summers[2])).await, 200);
    let metrics = coordinator.metrics();
    assert_eq!(metrics.rejections.get("wrong_phase"), 1);
    assert_eq!((metrics.messages_accepted, metrics.rejections.total()), (2, 6));
    coordinator.shutdown().await.unwrap();
}

/// Damaged, sealed for another key, signed by another: nobody can tell which from the answer.
#[tokio::test]
async fn who_wants_to_know_is_told_why_a_message_is_rejected() {
    let coordinator = Coordinator::start(settings(1, 3, 10)).await.unwrap();
    let api = Api::new(&coordinator);
    let parameters = api.parameters().await;
    let summers = with_task(&parameters, Task::Sum, 2);
    let updater = &with_task(&parameters, Task::Update, 1)[0];
    let other_key = EncryptKeyPair::from_seed(&Seed::new([8; 32]));
    let good = sum_message(&parameters, &summers[0]);

    let unauthentic = api.problem(Vec::new()).await.unwrap();
    assert_eq!((unauthentic.name.as_ref(), unauthentic.status), ("not_authentic", 400));
    let mut damaged = good.clone();
    damaged[100] ^= 1;
    let other_round = RoundParameters { pk: other_key.public(), ..parameters.clone() };
    for message in [damaged, sum_message(&other_round, &summers[0]), vec![7; 300]] {
        assert_eq!(api.problem(message).await.as_ref(), Some(&unauthentic));
    }
    let unsigned = {
        let mut frame = Frame::with_capacity(SumPayload::LENGTH);
        frame.buffer_mut().extend_from_slice(&[0; SumPayload::LENGTH]);
        let mut message =
            frame.sign(&summers[0], &parameters.pk, Tag::Sum, false).unwrap().to_vec();
        message[0] ^= 1;
        let ephemeral = EncryptKeyPair::from_seed(&Seed::new([6; 32]));
        let mut sealed = vec![0; SEAL_OVERHEAD];
        sealed.extend_from_slice(&message);
        parameters.pk.seal_in_place(&mut sealed, &ephemeral).unwrap();
        sealed
    };
    assert_eq!(api.problem(unsigned).await.as_ref(), Some(&unauthentic));
    let rejections = coordinator.metrics().rejections;
    assert_eq!((rejections.get("does_not_open"), rejections.get("bad_signature")), (4, 1));

    let told = |problem: Option<Problem>| problem.map(|told| (told.name, told.status));
    let ineligible = api.problem(sum_message(&parameters, updater)).await;
    assert_eq!(told(ineligible), Some(("not_eligible".into(), 403)));
    assert_eq!(api.problem(good.clone()).await, None);
    // The phase may have ended by now.
    let again = told(api.problem(good).await).unwrap();
    assert!([("duplicate_sum".into(), 409), ("wrong_phase".into(), 409)].contains(&again));
    until("the sum phase is over", async || api.status("/sums").await == 200).await;
    let late = api.problem(sum_message(&parameters, &summers[1])).await.unwrap();
    assert_eq!((late.name.as_ref(), late.status, late.round), ("wrong_phase", 409, Some(1)));
    assert!(late.detail.contains("update phase"), "{late}");
    coordinator.shutdown().await.unwrap();
}

/// A message that is too long is rejected like any other, whatever the phase; of a much longer one
/// nothing is read.
#[tokio::test]
async fn the_length_of_messages_is_limited_by_the_model() {
    let coordinator = Coordinator::start(settings(1, 3, 1_000_000)).await.unwrap();
    let api = Api::new(&coordinator);
    let counted = |label: &str| coordinator.metrics().rejections.get(label);
    assert_eq!(api.post(vec![0; 6_000_000]).await, 200);
    assert_eq!((counted("does_not_open"), counted("too_long")), (1, 0));
    assert_eq!(api.post(vec![0; 15_000_000]).await, 200);
    assert_eq!((counted("does_not_open"), counted("too_long")), (1, 1));
    let request = api.client.post(format!("{}/message", api.url)).body(vec![0; 30_000_000]);
    assert_eq!(request.send().await.unwrap().status(), 413);
    assert_eq!(counted("too_long"), 2);
    assert_eq!(coordinator.metrics().rejections.total(), 3);
    coordinator.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_round_without_participants_fails_and_the_next_begins() {
    let mut settings = settings(1, 3, 4);
    settings.pet.sum.time.max = Duration::from_millis(10);
    let coordinator = Coordinator::start(settings).await.unwrap();
    let api = Api::new(&coordinator);
    let first = api.parameters().await;
    until("rounds fail", async || coordinator.metrics().rounds_failed >= 2).await;
    let later = api.parameters().await;
    assert_ne!((first.pk, first.seed), (later.pk, later.seed));
    coordinator.shutdown().await.unwrap();
}

/// Confirms records when the test says so.
#[derive(Clone, Default)]
struct Slow {
    pending: Arc<Mutex<Option<(PersistId, Confirmations)>>>,
    arrived: Arc<Notify>,
}

impl Store for Slow {
    fn persist(&mut self, id: PersistId, _record: Record, confirmations: &Confirmations) {
        *self.pending.lock().unwrap() = Some((id, confirmations.clone()));
        self.arrived.notify_one();
    }
}

impl Slow {
    async fn confirm(&self) {
        timeout(DEADLINE, self.arrived.notified()).await.unwrap();
        let (id, confirmations) = self.pending.lock().unwrap().take().unwrap();
        confirmations.stored(id);
    }
}

#[tokio::test]
async fn nothing_is_acknowledged_before_it_is_stored() {
    let store = Slow::default();
    let mut options = Options::default();
    options.store = Some(Box::new(store.clone()));
    let coordinator = Coordinator::start_with(settings(2, 3, 10), options).await.unwrap();
    let api = Arc::new(Api::new(&coordinator));
    // Nobody may hear of a round that could be forgotten.
    assert_eq!(api.status("/params").await, 204);
    store.confirm().await;
    until("the parameters are there", async || api.status("/params").await == 200).await;

    let parameters = api.parameters().await;
    let keys = &with_task(&parameters, Task::Sum, 1)[0];
    let message = sum_message(&parameters, keys);
    let post = tokio::spawn({
        let api = Arc::clone(&api);
        async move { api.post(message).await }
    });
    timeout(DEADLINE, store.arrived.notified()).await.unwrap();
    store.arrived.notify_one();
    assert_eq!(coordinator.metrics().messages_accepted, 0);
    assert!(!post.is_finished());
    store.confirm().await;
    assert_eq!(timeout(DEADLINE, post).await.unwrap().unwrap(), 200);
    assert_eq!(coordinator.metrics().messages_accepted, 1);
    coordinator.shutdown().await.unwrap();
}

/// Time is virtual here: it jumps on whenever nothing else happens.
#[tokio::test(start_paused = true)]
async fn a_store_that_never_confirms_does_not_hold_up_the_end() {
    let mut options = Options::default();
    options.store = Some(Box::new(Slow::default()));
    let coordinator = Coordinator::start_with(settings(2, 3, 10), options).await.unwrap();
    let error = coordinator.shutdown().await.unwrap_err().to_string();
    assert!(error.contains("the store did not confirm"), "{error}");
}

#[tokio::test]
async fn wrong_settings_and_taken_addresses_are_told() {
    let mut wrong = settings(1, 3, 4);
    wrong.pet.sum.prob = 0.0;
    let error = Coordinator::start(wrong).await.unwrap_err().to_string();
    assert!(error.contains("pet.sum.prob = 0"), "{error}");

    let coordinator = Coordinator::start(settings(1, 3, 4)).await.unwrap();
    let mut second = settings(1, 3, 4);
    second.api.bind_address = coordinator.local_addr();
    let error = Coordinator::start(second).await.unwrap_err().to_string();
    assert!(error.contains(&coordinator.local_addr().to_string()), "{error}");
    coordinator.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_dropped_coordinator_stops_listening() {
    let coordinator = Coordinator::start(settings(1, 3, 4)).await.unwrap();
    let address = coordinator.local_addr();
    drop(coordinator);
    until("nobody listens", async || tokio::net::TcpStream::connect(address).await.is_err()).await;
}
