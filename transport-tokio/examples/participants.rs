//! Ten participants, each a task on tokio, until there is a global model.
//!
//!     cargo run -p pet-coordinator -- serve --model-length 4 --ephemeral
//!     cargo run -p pet-transport-tokio --example participants -- http://127.0.0.1:8081
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::sync::Arc;

use pet_transport_tokio::core::mask::DataType;
use pet_transport_tokio::core::model::Model;
use pet_transport_tokio::core::participant::Event;
use pet_transport_tokio::{Config, Error, Participant};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:8081".into());
    let model = run(&url).await?;
    println!("the global model: {model:?}");
    Ok(())
}

/// Takes part with ten participants until there is a global model.
pub async fn run(url: &str) -> Result<Arc<Model>, Error> {
    let mut participants = tokio::task::JoinSet::new();
    for number in 0..10 {
        participants.spawn(take_part(Config::new(url)?, number));
    }
    let mut model = None;
    while let Some(ended) = participants.join_next().await {
        model = Some(ended.expect("no participant panics")?);
    }
    Ok(model.expect("there are ten participants"))
}

/// What one participant does.
async fn take_part(config: Config, number: u8) -> Result<Arc<Model>, Error> {
    let mut participant = Participant::new(config)?;
    let handle = participant.handle();
    loop {
        // Waiting for other things beside, as with `tokio::select!`, loses nothing: it is cancel-safe.
        match participant.next_event().await? {
            Event::NewRound { task, .. } => {
                // A round that begins is where a new global model comes from.
                if let Some(model) = participant.global_model().await? {
                    return Ok(model);
                }
                println!("participant {number} has the task {task}");
            }
            Event::ModelNeeded { data_type, length } => {
                // Training takes long, and has no place on tokio's own threads.
                let train = move || train(data_type, length, number);
                let trained = tokio::task::spawn_blocking(train).await;
                handle.set_model(trained.expect("training does not panic"))?;
            }
            Event::Rejected { problem, .. } => println!("participant {number}: {problem}"),
            Event::Trouble(trouble) => println!("participant {number}: {trouble}"),
            _ => {}
        }
    }
}

/// The training would be here.
fn train(data_type: DataType, length: u64, number: u8) -> Model {
    let length = length as usize;
    match data_type {
        DataType::F32 => Model::F32(vec![f32::from(number) / 10.0; length]),
        DataType::F64 => Model::F64(vec![f64::from(number) / 10.0; length]),
        DataType::I32 => Model::I32(vec![i32::from(number > 4); length]),
        DataType::I64 => Model::I64(vec![i64::from(number > 4); length]),
    }
}
