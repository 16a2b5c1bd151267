//! How many update messages a second a real coordinator takes, against what their cryptography alone costs.
//!
//! ```text
//! cargo build --release -p pet-coordinator
//! cargo run --release -p pet-tests --example load -- [--large] [--quick] [--ephemeral] [--json FILE]
//! ```
//!
//! Distinct participants' updates are signed and sealed beforehand, and posted over connections that are
//! kept, each when the answer to the one before is there; client and coordinator share the machine's cores. Afterwards
//! the same bytes are opened and their signatures checked, on all cores and with nothing else: the limit.
//! Linux only. With `--ephemeral` the coordinator stores nothing. `--large` adds a model of 25,000,000 weights, which takes 5 GB of memory.
#![allow(clippy::print_stdout)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use pet_coordinator::settings::Settings;
use pet_core::coordinator::{Coordinator, Output, Record};
use pet_core::crypto::{EncryptKeyPair, RootSeed, Task};
use pet_core::message::{MessageView, Tag};
use pet_core::problem::Problem;
use pet_core::request::Response;
use pet_core::round::{RoundParameters, SumDict};
use pet_core::time::Timestamp;
use pet_testing::by_hand::Hand;
use pet_tests::process::{get, get_when_there, CoordinatorProcess, Usage};
use serde_json::{json, Value};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// From which the coordinator's keys follow.
const SEED: [u8; 32] = [7; 32];

/// So many models can be added up with it.
const MASK: &str = "Prime/F32/B0/M6";

/// A load.
#[derive(Clone, Copy)]
struct Load {
    weights: usize,
    updates: usize,
    connections: usize,
}

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let (mut large, mut quick, mut ephemeral, mut file) = (false, false, false, None);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--large" => large = true,
            "--quick" => quick = true,
            "--ephemeral" => ephemeral = true,
            "--json" => file = Some(PathBuf::from(arguments.next().ok_or("--json needs a file")?)),
            _ => return Err("usage: load [--large] [--quick] [--ephemeral] [--json FILE]".into()),
        }
    }
    let mut loads = vec![
        Load { weights: 10_000, updates: 4000, connections: 64 },
        // The same memory, whatever the number of participants.
        Load { weights: 10_000, updates: 16_000, connections: 64 },
        Load { weights: 1_000_000, updates: 128, connections: 16 },
        Load { weights: 1_000_000, updates: 384, connections: 16 },
    ];
    if large {
        loads.push(Load { weights: 25_000_000, updates: 12, connections: 4 });
    }
    if quick {
        loads = vec![Load { weights: 1000, updates: 200, connections: 8 }];
    }
    let cores = thread::available_parallelism()?.get();
    println!(
        "{cores} cores, shared by client and coordinator; mask {MASK}; one sum participant; {}",
        if ephemeral { "nothing is stored" } else { "what is acknowledged is stored" }
    );
    println!(
        "  weights  updates  conns  updates/s    MB/s  limit/s  ratio  CPU ms/update: coordinator (user+sys)  \
         limit  client  peak MiB  at half"
    );
    let mut results = Vec::new();
    for load in loads {
        results.push(run(load, ephemeral, cores)?);
    }
    if let Some(file) = file {
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let report =
            json!({ "cores": cores, "mask": MASK, "durable": !ephemeral, "loads": results });
        std::fs::write(&file, serde_json::to_string_pretty(&report)? + "\n")?;
        println!("written to {}", file.display());
    }
    Ok(())
}

fn run(load: Load, ephemeral: bool, cores: usize) -> Result<Value, Error> {
    let Load { weights, updates, connections } = load;
    let folder = std::env::temp_dir().join(format!("load-{}-{weights}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let coordinator = start(&folder, load, ephemeral)?;
    let (address, process) = (coordinator.address(), coordinator.id());
    let parameters = RoundParameters::from_bytes(&get_when_there(address, "/params")?)?;
    let key = round_key(&parameters)?;

    let summer = &Hand::with_task(Task::Sum, 1, &parameters)[0];
    let mut connection = Connection::open(address)?;
    connection.post(&summer.sum())?;
    let sums = SumDict::from_bytes(&get_when_there(address, "/sums")?)?;
    let messages = prepare(&parameters, &sums, updates, cores);
    let bytes: usize = messages.iter().map(Vec::len).sum();

    let client_before = Usage::of("self")?;
    let before = Usage::of(&process.to_string())?;
    let began = Instant::now();
    let at_half = post(address, &messages, connections, process)?;
    let took = began.elapsed().as_secs_f64();
    let after = Usage::of(&process.to_string())?;
    let client_after = Usage::of("self")?;
    let (_, metrics) = get(address, "/metrics")?;
    if !String::from_utf8_lossy(&metrics).contains("\npet_panics_total 0\n") {
        return Err("the coordinator has panicked under load".into());
    }
    drop((connection, coordinator));
    std::fs::remove_dir_all(&folder)?;

    let limit_before = Usage::of("self")?;
    let limit_took = crypto_limit(&key, messages, cores)?;
    let limit_after = Usage::of("self")?;

    let count = updates as f64;
    let (rate, limit) = (count / took, count / limit_took);
    let per_update = |seconds: f64| seconds * 1000.0 / count;
    let user = per_update(after.user - before.user);
    let system = per_update(after.system - before.system);
    let client = per_update(client_after.processor() - client_before.processor());
    let limit_cpu = per_update(limit_after.processor() - limit_before.processor());
    let megabytes = bytes as f64 / 1e6 / took;
    let mib = |kib: f64| kib / 1024.0;
    println!(
        "{weights:9}  {updates:7}  {connections:5}  {rate:9.1}  {megabytes:6.1}  {limit:7.1}  {:5.2}  \
         {:22.3} ({user:.3}+{system:.3})  {limit_cpu:5.3}  {client:6.3}  {:8.0}  {:7.0}",
        rate / limit,
        user + system,
        mib(after.peak),
        mib(at_half),
    );
    Ok(json!({
        "weights": weights,
        "updates": updates,
        "connections": connections,
        "bytes": bytes,
        "seconds": took,
        "updates_per_second": rate,
        "megabytes_per_second": megabytes,
        "crypto_limit": {
            "seconds": limit_took,
            "updates_per_second": limit,
            "cpu_ms_per_update": limit_cpu,
        },
        "ratio": rate / limit,
        "cpu_ms_per_update": {
            "coordinator_user": user,
            "coordinator_system": system,
            "client": client,
        },
        "coordinator_memory_mib": {
            "before": mib(before.resident),
            "peak_at_half": mib(at_half),
            "peak": mib(after.peak),
        },
    }))
}

fn start(folder: &Path, load: Load, ephemeral: bool) -> Result<CoordinatorProcess, Error> {
    let seed = folder.join("seed");
    std::fs::write(&seed, SEED)?;
    let mut command = CoordinatorProcess::command()?;
    command.arg("--seed-file").arg(&seed);
    let updates = load.updates + 1;
    for setting in [
        format!("model.length={}", load.weights),
        "api.bind_address=127.0.0.1:0".into(),
        "mask.model_type=M6".into(),
        "log.filter=error".into(),
        format!("storage.ephemeral={ephemeral}"),
        format!("storage.data_dir={}", folder.join("data").display()),
        "limits.requests_per_second=0".into(),
        "pet.sum.prob=0.01".into(),
        "pet.sum.count.max=1".into(),
        "pet.sum.time.min=0".into(),
        // The phase does not end while messages come.
        format!("pet.update.count.min={updates}"),
        format!("pet.update.count.max={updates}"),
        "pet.update.time.max=100000".into(),
    ] {
        command.arg("--set").arg(setting);
    }
    CoordinatorProcess::start(command.current_dir(folder).stdin(Stdio::null()), folder)
}

/// The round's keys: those of a machine with the same seed.
fn round_key(parameters: &RoundParameters) -> Result<EncryptKeyPair, Error> {
    let settings = Settings::for_model_length(parameters.model_length).protocol();
    let mut machine = Coordinator::new(settings, RootSeed::new(SEED), Timestamp::ZERO)?;
    loop {
        match machine.poll_output() {
            Output::Persist { record: Record::RoundBegan { secret, .. }, .. } => {
                let key = EncryptKeyPair::from_secret(secret);
                return match key.public() == parameters.pk {
                    true => Ok(key),
                    false => Err("the coordinator has other keys than those of its seed".into()),
                };
            }
            Output::Idle(_) => return Err("no round has begun".into()),
            _ => {}
        }
    }
}

/// Signed and sealed updates of as many participants. What is masked is the same for all: it makes no
/// difference to the coordinator.
fn prepare(
    parameters: &RoundParameters,
    sums: &SumDict,
    updates: usize,
    cores: usize,
) -> Vec<Vec<u8>> {
    let hand = &Hand::with_task(Task::Update, 1, parameters)[0];
    let payload = hand.update_payload(sums, &hand.fitting());
    let (next, messages) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(updates)));
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let hand = Hand::new(u32::try_from(number).unwrap_or(u32::MAX), parameters);
                if hand.signatures.task(parameters.sum, parameters.update) != Task::Update {
                    continue;
                }
                let mut payload = payload.clone();
                let signatures =
                    [&hand.signatures.sum.as_bytes()[..], hand.signatures.update.as_bytes()];
                payload[..128].copy_from_slice(&signatures.concat());
                let message = hand.send(Tag::Update, &payload);
                let mut messages = messages.lock().expect("nobody panics");
                if messages.len() == updates {
                    return;
                }
                messages.push(message);
            });
        }
    });
    messages.into_inner().expect("nobody panics")
}

/// Posts all messages; gives the coordinator's peak memory when half of them are accepted, in KiB.
fn post(
    address: &str,
    messages: &[Vec<u8>],
    connections: usize,
    process: u32,
) -> Result<f64, Error> {
    let (next, accepted) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let at_half = Mutex::new(0.0);
    let run = || -> Result<(), Error> {
        let mut connection = Connection::open(address)?;
        while let Some(message) = messages.get(next.fetch_add(1, Ordering::Relaxed)) {
            connection.post(message)?;
            if accepted.fetch_add(1, Ordering::Relaxed) + 1 == messages.len() / 2 {
                let usage = Usage::of(&process.to_string())?;
                *at_half.lock().expect("nobody panics") = usage.peak;
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        let runs: Vec<_> = (0..connections).map(|_| scope.spawn(run)).collect();
        runs.into_iter().try_for_each(|run| run.join().expect("nobody panics"))
    })?;
    let at_half = *at_half.lock().expect("nobody panics");
    Ok(at_half)
}

/// Opens the messages and checks their signatures, on all cores. In seconds.
fn crypto_limit(key: &EncryptKeyPair, messages: Vec<Vec<u8>>, cores: usize) -> Result<f64, Error> {
    let messages: Vec<_> = messages.into_iter().map(Mutex::new).collect();
    let next = AtomicUsize::new(0);
    let run = || -> Result<(), Error> {
        while let Some(message) = messages.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut message = message.lock().expect("nobody panics");
            MessageView::parse(key.open_in_place(&mut message)?)?.verify_signature()?;
        }
        Ok(())
    };
    let began = Instant::now();
    thread::scope(|scope| {
        let runs: Vec<_> = (0..cores).map(|_| scope.spawn(run)).collect();
        runs.into_iter().try_for_each(|run| run.join().expect("nobody panics"))
    })?;
    Ok(began.elapsed().as_secs_f64())
}

/// A connection that is kept.
struct Connection(TcpStream);

impl Connection {
    fn open(address: &str) -> Result<Self, Error> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    /// Posts a message that must be accepted.
    fn post(&mut self, message: &[u8]) -> Result<(), Error> {
        let head = format!(
            "POST /message HTTP/1.1\r\nhost: x\r\naccept: {}\r\ncontent-length: {}\r\n\r\n",
            Problem::MEDIA_TYPE,
            message.len()
        );
        self.0.write_all(head.as_bytes())?;
        self.0.write_all(message)?;
        let (mut answer, mut buffer) = (Vec::new(), [0; 1024]);
        let end = loop {
            let count = self.0.read(&mut buffer)?;
            if count == 0 {
                return Err("the coordinator has hung up".into());
            }
            answer.extend_from_slice(&buffer[..count]);
            if let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
        };
        // An accepted message's answer has no body.
        match std::str::from_utf8(&answer[9..12])?.parse()? {
            200 => Ok(()),
            status => match Problem::of(&Response::new(status, answer.split_off(end))) {
                Some(problem) => Err(format!("not accepted: {problem}").into()),
                None => Err(format!("not accepted: status {status}").into()),
            },
        }
    }
}
