//! A whole round in memory: a coordinator and ten participants, and nothing between them but function calls.
//!
//!     cargo run -p pet-core --example round
#![allow(clippy::print_stdout, clippy::disallowed_macros, reason = "an example prints")]

use std::error::Error;
use std::time::Duration;

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

/// What has come out.
#[derive(Debug)]
pub struct Round {
    /// How many models the global model is the mean of.
    pub models: u64,
    /// Its weights.
    pub weights: Vec<f32>,
    /// What the first one should be.
    pub expected: f32,
}

fn main() -> Result<(), Box<dyn Error>> {
    let round = run()?;
    println!("the mean of {} models is {:?}", round.models, round.weights);
    println!("their trained first weights have the mean {}", round.expected);
    Ok(())
}

/// Runs a round.
pub fn run() -> Result<Round, Box<dyn Error>> {
    // Time is a number that we make up, and all randomness comes from seeds: this gives the same each time.
    let mut now = Timestamp::ZERO;
    let mut server = Server::new(now)?;
    let mut participants: Vec<Participant> = (0..10)
        .map(|i| Participant::from_seed(RootSeed::new([i; 32]), participant::Settings::default()))
        .collect();
    let mut trained = Vec::new();
    loop {
        for participant in &mut participants {
            participant.handle_input(now, participant::Input::Tick)?;
            drain(participant, now, &mut server, &mut trained)?;
        }
        if let Some(model) = server.front.model() {
            let Some(Model::F32(weights)) = model.weights.as_deref() else {
                return Err("a mean of F32 weights is an F32".into());
            };
            let expected = trained.iter().sum::<f32>() / trained.len() as f32;
            return Ok(Round { models: model.models, weights: weights.clone(), expected });
        }
        // A real driver waits for the earliest `wake_at`, an answer, or a job.
        now = now + Duration::from_millis(100);
        server.machine.handle_input(now, coordinator::Input::Tick)?;
        server.drain(now)?;
    }
}

/// Does what a participant says, until it is idle.
fn drain(
    participant: &mut Participant,
    now: Timestamp,
    server: &mut Server,
    trained: &mut Vec<f32>,
) -> Result<(), Box<dyn Error>> {
    use participant::{Event, Input, Output};
    loop {
        let input = match participant.poll_output() {
            Output::Request { id, call } => {
                Input::Response { id, response: server.answer(now, &call)? }
            }
            Output::Job(job) => Input::JobDone(job.finish()),
            Output::Event(Event::ModelNeeded { length, .. }) => {
                // The training would be here.
                let weight = trained.len() as f32 / 16.0;
                trained.push(weight);
                Input::SetModel(Model::F32(vec![weight; length as usize]))
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
        let count = CountRange { min: 1, max: 10 };
        let time = TimeRange { min: Duration::from_secs(1), max: Duration::from_secs(60) };
        let settings = Settings::new(
            SumSettings::new(0.3, count, time),
            UpdateSettings::new(1.0, CountRange { min: 3, max: 10 }, time),
            Sum2Settings::new(count, time),
            "Prime/F32/B0/M3".parse::<MaskConfig>()?,
            4,
        );
        let machine = Coordinator::new(settings, RootSeed::new([99; 32]), now)?;
        let mut server = Self { machine, front: Front::new() };
        server.drain(now)?;
        Ok(server)
    }

    /// Does what the machine says, until it is idle.
    fn drain(&mut self, now: Timestamp) -> Result<(), Box<dyn Error>> {
        use coordinator::{Input, Output};
        loop {
            let input = match self.machine.poll_output() {
                Output::Job(job) => Input::JobDone(job.finish()),
                // A server that shall survive a crash stores the records first.
                Output::Persist { id, .. } => Input::Persisted(id),
                Output::Front(front) => {
                    self.front = front;
                    continue;
                }
                Output::Event(event) => {
                    println!("coordinator: {event:?}");
                    continue;
                }
                Output::Idle(_) => return Ok(()),
                _ => continue,
            };
            self.machine.handle_input(now, input)?;
        }
    }

    /// Answers one call.
    fn answer(&mut self, now: Timestamp, call: &Call) -> Result<Response, Box<dyn Error>> {
        if let Some(response) = self.front.answer(call) {
            return Ok(response);
        }
        // Opening a message needs no machine: a server does it on many threads.
        match self.front.open(call.body().to_vec()) {
            Ok(message) => {
                let input = coordinator::Input::Message { ticket: Ticket(0), message };
                self.machine.handle_input(now, input)?;
                self.drain(now)?;
            }
            Err(rejection) => println!("rejected: {rejection}"),
        }
        Ok(Response::ok(""))
    }
}
