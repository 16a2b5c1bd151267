//! Ten participants, each on a thread of its own, until there is a global model.
//!
//!     cargo run -p pet-coordinator -- serve --model-length 4 --ephemeral
//!     cargo run -p pet-transport-blocking --example participants -- http://127.0.0.1:8081
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::sync::Arc;
use std::thread;

use pet_transport_blocking::core::crypto::Task;
use pet_transport_blocking::core::mask::DataType;
use pet_transport_blocking::core::model::Model;
use pet_transport_blocking::core::participant::Event;
use pet_transport_blocking::{Config, Error, Participant};

fn main() -> Result<(), Error> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:8081".into());
    let model = run(&url)?;
    println!("the global model: {model:?}, the first weight is {:?}", first_weight(&model));
    Ok(())
}

/// Takes part with ten participants until there is a global model.
pub fn run(url: &str) -> Result<Arc<Model>, Error> {
    let participants: Vec<_> = (0..10)
        .map(|number| {
            let config = Config::new(url)?;
            Ok(thread::spawn(move || take_part(config, number)))
        })
        .collect::<Result<_, Error>>()?;
    let mut model = None;
    for participant in participants {
        model = Some(participant.join().expect("no participant panics")?);
    }
    Ok(model.expect("there are ten participants"))
}

/// What one participant does.
fn take_part(config: Config, number: u8) -> Result<Arc<Model>, Error> {
    let mut participant = Participant::new(config)?;
    let handle = participant.handle();
    loop {
        // Nothing happens between two calls: the work is done in here.
        match participant.next_event(None)? {
            Some(Event::NewRound { task, .. }) => {
                // A round that begins is where a new global model comes from.
                if let Some(model) = participant.global_model()? {
                    return Ok(model);
                }
                let text = match task {
                    Task::Sum => "sums the masks",
                    Task::Update => "trains",
                    _ => "has nothing to do in this round",
                };
                println!("participant {number} {text}");
            }
            Some(Event::ModelNeeded { data_type, length }) => {
                handle.set_model(train(data_type, length, number))?;
            }
            Some(Event::Rejected { problem, .. }) => println!("participant {number}: {problem}"),
            Some(Event::Trouble(trouble)) => println!("participant {number}: {trouble}"),
            _ => {}
        }
    }
}

/// The training would be here. The mean of all that can be chosen is between 0 and 1.
fn train(data_type: DataType, length: u64, number: u8) -> Model {
    let length = length as usize;
    match data_type {
        DataType::F32 => Model::F32(vec![f32::from(number) / 10.0; length]),
        DataType::F64 => Model::F64(vec![f64::from(number) / 10.0; length]),
        DataType::I32 => Model::I32(vec![i32::from(number > 4); length]),
        DataType::I64 => Model::I64(vec![i64::from(number > 4); length]),
    }
}

fn first_weight(model: &Model) -> Option<f64> {
    match model {
        Model::F32(weights) => weights.first().map(|weight| f64::from(*weight)),
        Model::F64(weights) => weights.first().copied(),
        Model::I32(weights) => weights.first().map(|weight| f64::from(*weight)),
        Model::I64(weights) => weights.first().map(|weight| *weight as f64),
    }
}
