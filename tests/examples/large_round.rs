//! One round with a large model through a real coordinator: one sum participant and three update
//! participants, each a process of its own.
//!
//! ```text
//! cargo build --release -p pet-coordinator
//! cargo run --release -p pet-tests --example large_round -- [blocking|tokio] [weights]
//! ```
//!
//! Prints time, processor time and peak memory of each process (Linux only), after checking that the
//! global model is the mean.
#![allow(clippy::print_stdout)]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use pet_core::crypto::{RootSeed, Seed, SigningKeyPair, Task, TaskSignatures};
use pet_core::message::Tag;
use pet_core::model::{ratio, DataType, Model};
use pet_core::participant::Event;
use pet_core::round::RoundParameters;
use pet_tests::process::{get, get_when_there, CoordinatorProcess, Process, Usage};

type Error = Box<dyn std::error::Error + Send + Sync>;

const UPDATERS: usize = 3;

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["participant", transport, task, number, url] => {
            let task = if task == "sum" { Task::Sum } else { Task::Update };
            participant(transport, task, number.parse()?, url)
        }
        [] => round("blocking", 1_000_000),
        [transport] => round(transport, 1_000_000),
        [transport, weights] => round(transport, weights.parse()?),
        _ => Err("usage: large_round [blocking|tokio] [weights]".into()),
    }
}

/// Starts everyone, waits for the global model, checks it, and reports.
fn round(transport: &str, weights: usize) -> Result<(), Error> {
    let folder = std::env::temp_dir().join(format!("large-round-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let coordinator = start_coordinator(&folder, weights)?;
    let address = coordinator.address();
    std::fs::remove_dir_all(&folder)?;
    let url = format!("http://{address}");

    let begin = Instant::now();
    let mut processes = Vec::new();
    for (task, count) in [("sum", 1), ("update", UPDATERS)] {
        for number in 0..count {
            let mut command = Command::new(std::env::current_exe()?);
            command.args(["participant", transport, task, &number.to_string(), &url]);
            processes.push(Process::start(&mut command)?);
        }
    }
    let body = loop {
        match get(address, "/model")? {
            (200, body) => break body,
            _ if begin.elapsed() > Duration::from_secs(600) => return Err("no global model".into()),
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let took = begin.elapsed();
    for process in &mut processes {
        process.wait()?;
    }
    report(&format!("coordinator ({transport})"), &coordinator.id().to_string())?;
    let Model::F32(model) = ratio::decode(&body, DataType::F32)? else { unreachable!() };
    for (index, weight) in model.iter().enumerate() {
        let mean: f32 =
            (0..UPDATERS).map(|n| local_weight(n, index)).sum::<f32>() / UPDATERS as f32;
        if (weight - mean).abs() > 1e-6 {
            return Err(format!("weight {index} is {weight} instead of {mean}").into());
        }
    }
    println!(
        "{weights} weights, transport {transport}: from start to global model {:.2} s (model of {} bytes checked)",
        took.as_secs_f64(),
        body.len(),
    );
    Ok(())
}

fn local_weight(number: usize, index: usize) -> f32 {
    ((index * 31 + number * 7919) % 2001) as f32 / 1000.0 - 1.0
}

fn start_coordinator(folder: &Path, weights: usize) -> Result<CoordinatorProcess, Error> {
    let config = folder.join("coordinator.toml");
    std::fs::write(
        &config,
        format!(
            "[api]\nbind_address = \"127.0.0.1:0\"\n[model]\nlength = {weights}\n[log]\nfilter = \"warn\"\n\
             [pet.sum]\nprob = 0.5\ncount = {{ min = 1, max = 1 }}\ntime = {{ min = 0, max = 600 }}\n\
             [pet.update]\nprob = 1.0\ncount = {{ min = {UPDATERS}, max = {UPDATERS} }}\ntime = {{ min = 0, max = 600 }}\n\
             [pet.sum2]\ncount = {{ min = 1, max = 1 }}\ntime = {{ min = 0, max = 600 }}\n"
        ),
    )?;
    let mut command = CoordinatorProcess::command()?;
    CoordinatorProcess::start(command.arg("--ephemeral").arg("--config").arg(&config), folder)
}

/// One participant, from its process' start to its last message.
fn participant(transport: &str, task: Task, number: usize, url: &str) -> Result<(), Error> {
    let parameters = parameters(url)?;
    let keys = identity(&parameters, task, number);
    let seed = RootSeed::new(*Seed::new([number as u8 + 1; 32]).as_bytes());
    let length = usize::try_from(parameters.model_length)?;
    // The model is the user's: it is there before the round begins.
    let model = || Model::F32((0..length).map(|index| local_weight(number, index)).collect());
    let last = if task == Task::Sum { Tag::Sum2 } else { Tag::Update };
    match transport {
        "blocking" => {
            use pet_transport_blocking::{Config, Participant};
            let mut participant = Participant::with_keys(Config::new(url)?, keys, seed)?;
            let handle = participant.handle();
            loop {
                match participant.next_event(None)? {
                    Some(Event::ModelNeeded { .. }) => handle.set_model(model())?,
                    Some(Event::Sent(tag)) if tag == last => break,
                    _ => {}
                }
            }
        }
        "tokio" => {
            use pet_transport_tokio::{Config, Participant};
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut participant = Participant::with_keys(Config::new(url)?, keys, seed)?;
                let handle = participant.handle();
                loop {
                    match participant.next_event().await? {
                        Event::ModelNeeded { .. } => handle.set_model(model())?,
                        Event::Sent(tag) if tag == last => return Ok::<(), Error>(()),
                        _ => {}
                    }
                }
            })?;
        }
        other => return Err(format!("unknown transport {other}").into()),
    }
    report(&format!("{task} participant {number}"), "self")
}

/// The parameters of the current round.
fn parameters(url: &str) -> Result<RoundParameters, Error> {
    let body = get_when_there(url.trim_start_matches("http://"), "/params")?;
    Ok(RoundParameters::from_bytes(&body)?)
}

/// The `number`th of the identities that have the task in this round.
fn identity(parameters: &RoundParameters, task: Task, number: usize) -> SigningKeyPair {
    (0u64..)
        .map(|candidate| {
            let mut seed = [0; 32];
            seed[..8].copy_from_slice(&candidate.to_le_bytes());
            SigningKeyPair::from_seed(&Seed::new(seed))
        })
        .filter(|keys| {
            TaskSignatures::sign(keys, &parameters.seed).task(parameters.sum, parameters.update)
                == task
        })
        .nth(number)
        .expect("half of all identities have the task")
}

/// Processor time and peak memory of a process.
fn report(who: &str, process: &str) -> Result<(), Error> {
    let usage = Usage::of(process)?;
    let (processor, peak) = (usage.processor(), usage.peak / 1024.0);
    println!("{who}: {processor:.2} s of processor time, {peak:.1} MiB at most");
    Ok(())
}
