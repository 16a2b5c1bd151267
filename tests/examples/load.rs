//! How many update messages a second a real coordinator takes, against what their cryptography alone costs.
//!
//! ```text
//! cargo build --release -p pet-coordinator
//! cargo run --release -p pet-tests --example load -- [--large] [--quick] [--ephemeral] [--turns N] [--only WEIGHTS] [--json FILE]
//! ```
//!
//! Distinct participants' updates are signed and sealed beforehand, and posted over connections that are
//! kept, each when the answer to the one before is there; client and coordinator share the machine's cores. Afterwards
//! the same bytes are opened and their signatures checked, one by one, on all cores and with nothing else: the limit. Where other
//! programs use the machine as well, that of processor time tells more than that of time: the limit's over coordinator's and
//! client's. `--turns` does all of it several times and tells medians.
//! Linux only. With `--ephemeral` the coordinator stores nothing. `--large` adds a model of 25,000,000 weights, which takes 5 GB of memory.
#![allow(clippy::print_stdout)]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use pet_core::crypto::EncryptKeyPair;
use pet_core::message::MessageView;
use pet_tests::load::{post, round_key, settings, updates, SEED};
use pet_tests::process::{get, CoordinatorProcess, Usage};
use serde_json::{json, Value};

type Error = Box<dyn std::error::Error + Send + Sync>;

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
    let (mut turns, mut only) = (1, None);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--large" => large = true,
            "--quick" => quick = true,
            "--ephemeral" => ephemeral = true,
            "--json" => file = Some(PathBuf::from(arguments.next().ok_or("--json needs a file")?)),
            "--turns" => turns = arguments.next().ok_or("--turns needs a number")?.parse()?,
            "--only" => only = Some(arguments.next().ok_or("--only needs a number")?.parse()?),
            _ => {
                return Err(
                    "usage: load [--large] [--quick] [--ephemeral] [--turns N] [--only WEIGHTS] [--json FILE]"
                        .into(),
                )
            }
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
    loads.retain(|load| only.is_none_or(|only: usize| load.weights == only));
    let cores = thread::available_parallelism()?.get();
    println!(
        "{cores} cores, shared by client and coordinator; mask {MASK}; one sum participant; {}",
        if ephemeral { "nothing is stored" } else { "what is acknowledged is stored" }
    );
    println!(
        "  weights  updates  conns  updates/s    MB/s  limit/s  ratio  of CPU  CPU ms/update: coordinator (user+sys)  \
         limit  client  peak MiB  at half"
    );
    let mut results = Vec::new();
    for load in &loads {
        let mut of_load = Vec::new();
        for _ in 0..turns.max(1) {
            of_load.push(run(*load, ephemeral, cores)?);
        }
        if turns > 1 {
            let [time, processor] = ["ratio", "ratio_of_processor_time"].map(|ratio| {
                let mut all: Vec<_> =
                    of_load.iter().filter_map(|one| one[ratio].as_f64()).collect();
                all.sort_by(f64::total_cmp);
                all[all.len() / 2]
            });
            println!(
                "{:9}  median of the ratios: {time:.2}, of processor time: {processor:.2}",
                load.weights
            );
        }
        results.append(&mut of_load);
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
    let Load { weights, updates: number, connections } = load;
    let folder = std::env::temp_dir().join(format!("load-{}-{weights}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let coordinator = start(&folder, load, ephemeral)?;
    let (address, process) = (coordinator.address(), coordinator.id());
    let key = round_key(address)?;
    let messages = updates(address, load.updates, cores)?;
    let bytes: usize = messages.iter().map(Vec::len).sum();

    let client_before = Usage::of("self")?;
    let before = Usage::of(&process.to_string())?;
    let began = Instant::now();
    let at_half = Mutex::new(0.0);
    post(&[address], &messages, connections, |before| {
        if before + 1 == number / 2 {
            *at_half.lock().expect("nobody panics") = Usage::of(&process.to_string())?.peak;
        }
        Ok(())
    })?;
    let at_half = *at_half.lock().expect("nobody panics");
    let took = began.elapsed().as_secs_f64();
    let after = Usage::of(&process.to_string())?;
    let client_after = Usage::of("self")?;
    let (_, metrics) = get(address, "/metrics")?;
    if !String::from_utf8_lossy(&metrics).contains("\npet_panics_total 0\n") {
        return Err("the coordinator has panicked under load".into());
    }
    drop(coordinator);
    std::fs::remove_dir_all(&folder)?;

    let limit_before = Usage::of("self")?;
    let limit_took = crypto_limit(&key, messages, cores)?;
    let limit_after = Usage::of("self")?;

    let count = number as f64;
    let (rate, limit) = (count / took, count / limit_took);
    let per_update = |seconds: f64| seconds * 1000.0 / count;
    let user = per_update(after.user - before.user);
    let system = per_update(after.system - before.system);
    let client = per_update(client_after.processor() - client_before.processor());
    let limit_cpu = per_update(limit_after.processor() - limit_before.processor());
    let of_processor = limit_cpu / (user + system + client);
    let megabytes = bytes as f64 / 1e6 / took;
    let mib = |kib: f64| kib / 1024.0;
    println!(
        "{weights:9}  {number:7}  {connections:5}  {rate:9.1}  {megabytes:6.1}  {limit:7.1}  {:5.2}  {of_processor:6.2}  \
         {:22.3} ({user:.3}+{system:.3})  {limit_cpu:5.3}  {client:6.3}  {:8.0}  {:7.0}",
        rate / limit,
        user + system,
        mib(after.peak),
        mib(at_half),
    );
    Ok(json!({
        "weights": weights,
        "updates": number,
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
        "ratio_of_processor_time": of_processor,
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
    let mut all = settings(load.updates);
    all.extend([
        format!("model.length={}", load.weights),
        "api.bind_address=127.0.0.1:0".into(),
        format!("storage.ephemeral={ephemeral}"),
        format!("storage.data_dir={}", folder.join("data").display()),
    ]);
    for setting in all {
        command.arg("--set").arg(setting);
    }
    CoordinatorProcess::start(command.current_dir(folder).stdin(Stdio::null()), folder)
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
