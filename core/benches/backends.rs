//! What cryptography costs with libsodium and in Rust alone, in the same run, as a table:
//!
//!     cargo bench -p pet-core --bench backends --features backends
//!
//! and then what a round's jobs cost a participant with the backend in use: with `--no-default-features` it is the other.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_macros,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a measurement has a clock, and prints"
)]

use std::collections::BTreeMap;
use std::error::Error;
use std::time::{Duration, Instant};

use pet_core::coordinator::{
    self, Coordinator, CountRange, Front, Settings, Sum2Settings, SumSettings, Ticket, TimeRange,
    UpdateSettings,
};
use pet_core::crypto::RootSeed;
use pet_core::mask::MaskConfig;
use pet_core::model::Model;
use pet_core::participant::{self, Participant};
use pet_core::request::{Call, Response};
use pet_core::time::Timestamp;

/// About what a masked model of a million weights takes.
#[cfg(all(feature = "libsodium", feature = "backends"))]
const LARGE: usize = 7_000_000;
const WEIGHTS: u64 = 1_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    // `cargo test` runs it as well.
    if std::env::args().any(|argument| argument == "--test") {
        return Ok(());
    }
    #[cfg(all(feature = "libsodium", feature = "backends"))]
    operations::print();
    let backend = if cfg!(feature = "libsodium") { "libsodium" } else { "Rust" };
    let mut best = BTreeMap::new();
    for _ in 0..7 {
        for (job, took) in round()? {
            let best = best.entry(job).or_insert(took);
            *best = took.min(*best);
        }
    }
    println!("\n| job, {WEIGHTS} weights | {backend} |\n| :-- | --: |");
    for (job, took) in best {
        println!("| {job} | {:.2} ms |", took.as_secs_f64() * 1e3);
    }
    Ok(())
}

/// Each operation with both.
#[cfg(all(feature = "libsodium", feature = "backends"))]
mod operations {
    use std::hint::black_box;

    use pet_core::crypto::backend::{Backend, Length, Libsodium, Pure, KEY, NONCE, SIGNING};

    use super::*;

    pub fn print() {
        println!("| operation | libsodium | Rust | ratio |\n| :-- | --: | --: | --: |");
        let names = all::<Pure>(&mut Vec::new());
        let (mut theirs, mut ours) = (vec![f64::MAX; names.len()], vec![f64::MAX; names.len()]);
        // In turn, so that whatever else the machine does hits both.
        for _ in 0..15 {
            for (times, best) in [(run::<Libsodium>(), &mut theirs), (run::<Pure>(), &mut ours)] {
                best.iter_mut().zip(times).for_each(|(best, time)| *best = best.min(time));
            }
        }
        for ((name, theirs), ours) in names.iter().zip(theirs).zip(ours) {
            println!("| {name} | {} | {} | {:.2} |", shown(theirs), shown(ours), ours / theirs);
        }
    }

    fn shown(seconds: f64) -> String {
        match seconds {
            long if long > 1e-3 => format!("{:.2} ms", long * 1e3),
            short => format!("{:.2} µs", short * 1e6),
        }
    }

    fn run<B: Backend>() -> Vec<f64> {
        let mut times = Vec::new();
        all::<B>(&mut times);
        times
    }

    /// Does all of it, and tells what it was.
    fn all<B: Backend>(times: &mut Vec<f64>) -> Vec<&'static str> {
        let (mut names, mut large) = (Vec::new(), vec![7; LARGE]);
        let mut measure = |name, repeat: u32, work: &mut dyn FnMut()| {
            let start = Instant::now();
            (0..repeat).for_each(|_| work());
            times.push(start.elapsed().as_secs_f64() / f64::from(repeat));
            names.push(name);
        };
        let (seed, nonce) = ([5; KEY], [6; NONCE]);
        let (mut signing, mut secret, mut key) = ([0; SIGNING], [0; KEY], [0; KEY]);
        measure("signing key pair", 50, &mut || {
            black_box(B::signing_pair(&seed, &mut signing));
        });
        measure("sign 35 bytes (a task)", 50, &mut || {
            black_box(B::sign(&signing, &[7; 35]));
        });
        measure("sign 7 MB", 1, &mut || _ = black_box(B::sign(&signing, &large)));
        let mut public = [0; KEY];
        measure("encryption key pair", 50, &mut || public = B::box_pair(&seed, &mut secret));
        measure("key of a sealed box", 50, &mut || {
            black_box(B::box_key(&public, &secret, &mut key));
        });
        let mut tag = [0; 16];
        measure("box of 32 bytes, its key known", 200, &mut || {
            tag = B::secretbox_seal(&mut large[..32], &nonce, &key);
        });
        measure("seal 7 MB", 1, &mut || tag = B::secretbox_seal(&mut large, &nonce, &key));
        measure("open 7 MB", 1, &mut || assert!(B::secretbox_open(&mut large, &tag, &nonce, &key)));
        measure("seal 7 MB that are stored", 1, &mut || {
            tag = B::aead_seal(&mut large, b"place", &nonce, &key);
        });
        measure("BLAKE2b of 7 MB", 1, &mut || {
            let mut state = B::blake2b(Length::Digest, None);
            B::blake2b_update(&mut state, &large);
            B::blake2b_finish(state, &mut key);
        });
        measure("stretch a secret, 2 times 64 MiB", 1, &mut || {
            assert!(B::argon2id(b"secret", &[1; 16], 2, 64 << 20, &mut key));
        });
        names
    }
}

/// How long each kind of job of a round took a participant.
fn round() -> Result<BTreeMap<String, Duration>, Box<dyn Error>> {
    let mut now = Timestamp::ZERO;
    let mut server = Server::new(now)?;
    let mut participants: Vec<Participant> = (0..8)
        .map(|i| Participant::from_seed(RootSeed::new([i; 32]), participant::Settings::default()))
        .collect();
    let mut jobs = BTreeMap::new();
    while server.front.model().is_none() {
        for participant in &mut participants {
            participant.handle_input(now, participant::Input::Tick)?;
            drain(participant, now, &mut server, &mut jobs)?;
        }
        now = now + Duration::from_millis(100);
        server.machine.handle_input(now, coordinator::Input::Tick)?;
        server.drain(now)?;
    }
    Ok(jobs)
}

fn drain(
    participant: &mut Participant,
    now: Timestamp,
    server: &mut Server,
    jobs: &mut BTreeMap<String, Duration>,
) -> Result<(), Box<dyn Error>> {
    use participant::{Event, Input, Output};
    loop {
        let input = match participant.poll_output() {
            Output::Request { id, call } => {
                Input::Response { id, response: server.answer(now, &call)? }
            }
            Output::Job(job) => {
                let name = format!("{}: {}", participant.task(), job.name());
                let start = Instant::now();
                let result = job.finish();
                let took = start.elapsed();
                let best = jobs.entry(name).or_insert(took);
                *best = took.min(*best);
                Input::JobDone(result)
            }
            Output::Event(Event::ModelNeeded { length, .. }) => {
                Input::SetModel(Model::F32(vec![0.5; length as usize]))
            }
            Output::Idle(_) => return Ok(()),
            _ => continue,
        };
        participant.handle_input(now, input)?;
    }
}

/// The server around a coordinator, and what it answers with.
struct Server {
    machine: Coordinator,
    front: Front,
}

impl Server {
    fn new(now: Timestamp) -> Result<Self, Box<dyn Error>> {
        let count = CountRange { min: 1, max: 8 };
        let time = TimeRange { min: Duration::from_secs(1), max: Duration::from_secs(60) };
        let settings = Settings::new(
            SumSettings::new(0.3, count, time),
            UpdateSettings::new(1.0, CountRange { min: 3, max: 8 }, time),
            Sum2Settings::new(count, time),
            "Prime/F32/B0/M3".parse::<MaskConfig>()?,
            WEIGHTS,
        );
        let machine = Coordinator::new(settings, RootSeed::new([99; 32]), now)?;
        let mut server = Self { machine, front: Front::new() };
        server.drain(now)?;
        Ok(server)
    }

    fn drain(&mut self, now: Timestamp) -> Result<(), Box<dyn Error>> {
        use coordinator::{Input, Output};
        loop {
            let input = match self.machine.poll_output() {
                Output::Job(job) => Input::JobDone(job.finish()),
                Output::Persist { id, .. } => Input::Persisted(id),
                Output::Front(front) => {
                    self.front = front;
                    continue;
                }
                Output::Idle(_) => return Ok(()),
                _ => continue,
            };
            self.machine.handle_input(now, input)?;
        }
    }

    fn answer(&mut self, now: Timestamp, call: &Call) -> Result<Response, Box<dyn Error>> {
        if let Some(response) = self.front.answer(call) {
            return Ok(response);
        }
        let message = self.front.open(call.body().to_vec())?;
        let input = coordinator::Input::Message { ticket: Ticket(0), message };
        self.machine.handle_input(now, input)?;
        self.drain(now)?;
        Ok(Response::ok(""))
    }
}
