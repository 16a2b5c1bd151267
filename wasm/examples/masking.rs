//! How long masking takes natively, on one thread: for `bench/masking.js`, which measures the WebAssembly module beside it.
//!
//! For each config that is given, a line of JSON: the round's parameters, and the nanoseconds that the job "mask model" takes
//! for each weight (the median of some).

#![allow(clippy::print_stdout, reason = "that is what it is for")]

use std::error::Error;
use std::time::Instant;

use pet_core::crypto::{PublicEncryptKey, RootSeed, RoundSeed};
use pet_core::job::JobKind;
use pet_core::mask::MaskConfig;
use pet_core::model::Model;
use pet_core::participant::{Input, Machine, Output};
use pet_core::request::{Call, Response};
use pet_core::round::RoundParameters;
use pet_core::time::Timestamp;

const RUNS: u8 = 7;

/// Masks a model once; gives how many nanoseconds each weight takes.
fn mask(parameters: &RoundParameters, seed: u8) -> Result<f64, Box<dyn Error>> {
    let length = usize::try_from(parameters.model_length)?;
    let mut machine = Machine::from_seed(RootSeed::new([seed; 32]), Default::default());
    let weights = (0..length).map(|i| (i % 2001) as f32 / 1000.0 - 1.0).collect();
    machine.handle_input(Timestamp::ZERO, Input::SetModel(Model::F32(weights)))?;
    let mut now = Timestamp::ZERO;
    loop {
        let input = match machine.poll_output() {
            Output::Request { id, call } => {
                let response = match call {
                    Call::Params => Response::ok(parameters.to_bytes()),
                    _ => Response::ok(vec![0; 8]),
                };
                Input::Response { id, response }
            }
            Output::Job(job) if job.kind() == JobKind::MaskModel => {
                let begun = Instant::now();
                let result = job.finish();
                let nanoseconds = begun.elapsed().as_nanos() as f64;
                drop(result);
                return Ok(nanoseconds / length as f64);
            }
            Output::Job(job) => Input::JobDone(job.finish()),
            Output::Idle(idle) => {
                now = idle.wake_at.ok_or("it waits for nothing")?;
                Input::Tick
            }
            _ => continue,
        };
        machine.handle_input(now, input)?;
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let length = arguments.next().ok_or("say how many weights, and which configs")?.parse()?;
    for config in arguments {
        let parameters = RoundParameters {
            pk: PublicEncryptKey::new([1; 32]),
            sum: 0.0,
            update: 1.0,
            seed: RoundSeed::new([2; 32]),
            mask_config: config.parse::<MaskConfig>()?.into(),
            model_length: length,
        };
        mask(&parameters, 0)?;
        let mut times: Vec<f64> =
            (1..=RUNS).map(|seed| mask(&parameters, seed)).collect::<Result<_, _>>()?;
        times.sort_by(f64::total_cmp);
        let hex: String = parameters.to_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let median = times[times.len() / 2];
        println!("{}", serde_json::json!({ "config": config, "parameters": hex, "ns": median }));
    }
    Ok(())
}
