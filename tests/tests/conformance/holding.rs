//! Answers that are held back until there is news (`Prefer: wait`): few requests, and nothing waits for them that has
//! something else to do.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pet_coordinator::settings::{MinMax, Settings};
use pet_coordinator::Coordinator;
use pet_core::crypto::{EncryptKeyPair, PublicSigningKey, RoundSeed, Seed};
use pet_core::message::Tag;
use pet_core::model::Model;
use pet_core::participant::Event;
use pet_core::round::SumDict;
use pet_tests::fake::{Action, FakeServer};

use crate::conformance;
use crate::driver::{promptly, Driver, Start, DEADLINE};
use crate::faults::parameters;

conformance!(
    a_round_takes_at_most_eight_requests_of_a_participant,
    nothing_waits_for_an_answer_that_is_held_back,
    a_model_that_is_set_ends_the_wait_for_the_next_round,
    what_cuts_off_those_who_wait_does_no_harm,
);

/// Lets everything through to a server, and counts the requests.
struct Counter {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
}

impl Counter {
    fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = requests.clone();
        // It ends with the process: it waits for connections that nobody makes any more.
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(server)) else { return };
                let (back, counted) =
                    ((server.try_clone().unwrap(), client.try_clone().unwrap()), counted.clone());
                std::thread::spawn(move || pass(back.0, back.1, |_| {}));
                std::thread::spawn(move || pass(client, server, |bytes| count(bytes, &counted)));
            }
        });
        Self { address, requests }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, mut look: impl FnMut(&[u8])) {
    let mut buffer = [0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        look(&buffer[..length]);
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// Both clients write the head of a request at once.
fn count(bytes: &[u8], requests: &AtomicUsize) {
    let found = bytes.windows(11).filter(|window| *window == b" HTTP/1.1\r\n").count();
    requests.fetch_add(found, Ordering::SeqCst);
}

fn a_round_takes_at_most_eight_requests_of_a_participant<D: Driver>() {
    const PARTICIPANTS: usize = 8;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut settings = Settings::for_model_length(100);
    settings.api.bind_address.set_port(0);
    // Long enough for many looks, if they were made.
    let time = MinMax { min: Duration::from_millis(500), max: Duration::from_secs(20) };
    settings.pet.sum.time = MinMax { max: Duration::from_secs(4), ..time };
    settings.pet.update.time = time;
    settings.pet.sum2.time = time;
    let coordinator = runtime.block_on(Coordinator::start(settings)).unwrap();
    let kept = coordinator.models().clone();
    let deadline = Instant::now() + 5 * DEADLINE;
    let address = coordinator.local_addr();
    std::thread::scope(|scope| {
        for _ in 0..PARTICIPANTS {
            let kept = &kept;
            scope.spawn(move || {
                let counter = Counter::before(address);
                let mut driver =
                    D::start(&Start::new(&format!("http://{}", counter.address))).unwrap();
                let (mut rounds, mut tasks) = (0, Vec::new());
                while kept.rounds().len() < 2 {
                    assert!(Instant::now() < deadline, "no two rounds in time");
                    match driver.next_event().unwrap() {
                        Event::NewRound { task, .. } => {
                            (rounds, _) = (rounds + 1, tasks.push(task));
                            driver.global_model().unwrap();
                        }
                        Event::ModelNeeded { length, .. } => {
                            driver.set_model(Model::F32(vec![0.5; length as usize])).unwrap();
                        }
                        _ => {}
                    }
                }
                let requests = counter.requests.load(Ordering::SeqCst);
                assert!(requests <= 8 * rounds, "{requests} requests in rounds as {tasks:?}");
                assert!(requests >= rounds, "{requests} requests in {rounds} rounds");
            });
        }
    });
    runtime.block_on(coordinator.shutdown()).unwrap();
}

fn nothing_waits_for_an_answer_that_is_held_back<D: Driver>() {
    let (held, is_held) = channel();
    let server = FakeServer::start(move |request| match request.path.as_str() {
        "/params" if request.header("prefer").is_some() => {
            let known = request.header("if-none-match").map(str::to_owned);
            held.send(known).expect("the test waits");
            Action::Hang
        }
        "/params" => Action::Answer(200, parameters(0.0, 0.0).to_bytes()),
        _ => Action::Answer(204, Vec::new()),
    });
    let mut driver = D::start(&Start::new(&server.url())).unwrap();
    let known = is_held.recv_timeout(DEADLINE).expect("it waits for the next round");
    assert_eq!(known, Some(format!("\"{}\"", parameters(0.0, 0.0).tag())));
    assert_eq!(promptly(|| driver.global_model()), Ok(None));
    promptly(|| driver.stop());
    promptly(|| while driver.next_event().is_some() {});
}

fn a_model_that_is_set_ends_the_wait_for_the_next_round<D: Driver>() {
    let key = EncryptKeyPair::from_seed(&Seed::new([7; 32])).public();
    let sums: SumDict = [(PublicSigningKey::new([7; 32]), key)].into_iter().collect();
    let (held, is_held) = channel();
    let server = FakeServer::start(move |request| match request.path.as_str() {
        "/params" if request.header("prefer").is_some() => {
            let _ = held.send(());
            Action::Hang
        }
        "/params" => Action::Answer(200, parameters(0.0, 2.0).to_bytes()),
        "/sums" => Action::Answer(200, sums.to_bytes()),
        "/message" => Action::Answer(200, Vec::new()),
        _ => Action::Answer(204, Vec::new()),
    });
    let mut driver = D::start(&Start::new(&server.url())).unwrap();
    let length = driver.wait_for(|event| match event {
        Event::ModelNeeded { length, .. } => Some(*length),
        _ => None,
    });
    is_held.recv_timeout(DEADLINE).expect("it waits for the next round");
    promptly(|| {
        driver.set_model(Model::F32(vec![0.5; length as usize])).unwrap();
        driver.wait_for(|event| matches!(event, Event::Sent(Tag::Update)).then_some(()));
    });
}

/// As a proxy does that does not wait for long.
fn what_cuts_off_those_who_wait_does_no_harm<D: Driver>() {
    let cut = Arc::new(Mutex::new(0));
    let cuts = cut.clone();
    let server = FakeServer::start(move |request| {
        let mut cuts = cuts.lock().unwrap();
        if request.header("prefer").is_some() {
            *cuts += 1;
            return Action::Close;
        }
        let mut parameters = parameters(0.0, 0.0);
        parameters.seed = RoundSeed::new([u8::from(*cuts >= 5); 32]);
        Action::Answer(200, parameters.to_bytes())
    });
    let mut driver = D::start(&Start::new(&server.url())).unwrap();
    let mut rounds = 0;
    while rounds < 2 {
        match driver.next_event().unwrap() {
            Event::NewRound { .. } => rounds += 1,
            event => panic!("{event:?}"),
        }
    }
    assert!(*cut.lock().unwrap() >= 5);
}
