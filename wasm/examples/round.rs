//! Whole rounds in memory, natively: what each participant is told, and what it sends. `tests/node/replay.test.js` has the
//! WebAssembly module told the same, which must send the same bytes.
//!
//!     cargo run --release --example round > tests/node/round.json

#![allow(clippy::print_stdout, reason = "that is what it is for")]

use std::error::Error;
use std::time::Duration;

use pet_core::coordinator::{
    self, Coordinator, CountRange, Front, Settings, Sum2Settings, SumSettings, Ticket, TimeRange,
    UpdateSettings,
};
use pet_core::crypto::RootSeed;
use pet_core::mask::MaskConfig;
use pet_core::model::Model;
use pet_core::participant::{Event, Input, Machine, Output};
use pet_core::request::{Call, ModelForm, Response};
use pet_core::round::RoundParameters;
use pet_core::time::Timestamp;
use serde_json::{json, Value};

/// More than is drawn of the key stream at a time, and no multiple of anything.
const LENGTH: usize = 333;
const PARTICIPANTS: u8 = 6;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// FNV-1a, 64 bits, as two halves: enough to tell bodies apart, and JavaScript has it in a line.
fn digest(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// The weights that a participant has trained in a round: whole 64ths.
fn trained(participant: u8, round: usize) -> Vec<f64> {
    let weight = |i: usize| {
        let number = (i * 31 + usize::from(participant) * 17 + round * 7) % 129;
        (number as f64 - 64.0) / 64.0
    };
    (0..LENGTH).map(weight).collect()
}

struct Server {
    machine: Coordinator,
    front: Front,
}

impl Server {
    fn drain(&mut self, now: Timestamp) {
        loop {
            let input = match self.machine.poll_output() {
                coordinator::Output::Job(job) => coordinator::Input::JobDone(job.finish()),
                coordinator::Output::Persist { id, .. } => coordinator::Input::Persisted(id),
                coordinator::Output::Front(front) => {
                    self.front = front;
                    continue;
                }
                coordinator::Output::Idle(_) => return,
                _ => continue,
            };
            self.tell(now, input);
        }
    }

    fn tell(&mut self, now: Timestamp, input: coordinator::Input) {
        // Nothing that comes too late is told here.
        let _ = self.machine.handle_input(now, input);
    }

    fn answer(&mut self, now: Timestamp, call: &Call) -> Response {
        if let Some(response) = self.front.answer(call) {
            return response;
        }
        if let Ok(message) = self.front.open(call.body().to_vec()) {
            self.tell(now, coordinator::Input::Message { ticket: Ticket(0), message });
            self.drain(now);
        }
        Response::ok("")
    }
}

struct Recorded {
    machine: Machine,
    seed: [u8; 32],
    steps: Vec<Value>,
    rounds: usize,
}

impl Recorded {
    fn tell(&mut self, now: Timestamp, step: Value, input: Input) -> Result<(), Box<dyn Error>> {
        let mut step = step;
        step["now"] = now.as_millis().into();
        self.steps.push(step);
        Ok(self.machine.handle_input(now, input)?)
    }

    fn drain(
        &mut self,
        number: u8,
        server: &mut Server,
        now: Timestamp,
        bodies: &mut Vec<String>,
    ) -> Result<(), Box<dyn Error>> {
        loop {
            match self.machine.poll_output() {
                Output::Request { id, call } => {
                    let request = json!({
                        "sends": call.method().to_owned() + &call.path_and_query(),
                        "body": digest(&call.body()),
                        "length": call.body().len(),
                    });
                    self.steps.push(request);
                    let response = server.answer(now, &call);
                    let content_type = match response.model_form {
                        ModelForm::Array(data_type) => Some(format!(
                            "application/vnd.pet.weights; dtype={}",
                            data_type.to_string().to_lowercase()
                        )),
                        _ => None,
                    };
                    // What was told before is told as its place.
                    let body = hex(&response.body);
                    let place = bodies.iter().position(|told| *told == body).unwrap_or_else(|| {
                        bodies.push(body);
                        bodies.len() - 1
                    });
                    let body = place;
                    let step = json!({
                        "tells": "response", "id": id.0, "status": response.status,
                        "body": body, "contentType": content_type,
                    });
                    self.tell(now, step, Input::Response { id, response })?;
                }
                Output::Job(job) => {
                    self.steps.push(json!({ "polls": "job" }));
                    let result = job.finish();
                    self.tell(now, json!({ "tells": "job" }), Input::JobDone(result))?;
                }
                Output::Event(Event::ModelNeeded { .. }) => {
                    self.steps.push(json!({ "polls": "event" }));
                    self.rounds += 1;
                    let weights = trained(number, self.rounds);
                    let step =
                        json!({ "tells": "model", "participant": number, "round": self.rounds });
                    self.tell(now, step, Input::SetModel(Model::F64(weights)))?;
                }
                Output::Event(Event::GlobalModel(Some(model))) => {
                    let bytes: Vec<u8> = match &*model {
                        Model::F32(weights) => {
                            weights.iter().flat_map(|w| w.to_le_bytes()).collect()
                        }
                        Model::F64(weights) => {
                            weights.iter().flat_map(|w| w.to_le_bytes()).collect()
                        }
                        other => return Err(format!("models of floats only: {other:?}").into()),
                    };
                    self.steps.push(json!({ "model": digest(&bytes) }));
                }
                Output::Idle(idle) => {
                    self.steps.push(json!({ "idle": idle.wake_at.map(|at| at.as_millis()) }));
                    return Ok(());
                }
                _ => self.steps.push(json!({ "polls": "event" })),
            }
        }
    }
}

/// Two rounds.
fn rounds(config: &str) -> Result<(Value, Vec<u8>), Box<dyn Error>> {
    let count = |max| CountRange { min: 1, max };
    let time = TimeRange { min: Duration::from_secs(1), max: Duration::from_secs(60) };
    let settings = Settings::new(
        SumSettings::new(0.4, count(10), time),
        UpdateSettings::new(1.0, CountRange { min: 3, max: 10 }, time),
        Sum2Settings::new(count(10), time),
        config.parse::<MaskConfig>()?,
        LENGTH as u64,
    );
    let machine = Coordinator::new(settings, RootSeed::new([1; 32]), Timestamp::ZERO)?;
    let mut server = Server { machine, front: Front::new() };
    server.drain(Timestamp::ZERO);
    let parameters = server.answer(Timestamp::ZERO, &Call::Params).body.to_vec();
    let mut participants: Vec<Recorded> = (0..PARTICIPANTS)
        .map(|i| {
            let seed = [10 + i; 32];
            let machine = Machine::from_seed(RootSeed::new(seed), Default::default());
            Recorded { machine, seed, steps: Vec::new(), rounds: 0 }
        })
        .collect();
    let mut now = Timestamp::ZERO;
    let mut models = 0;
    let mut bodies = Vec::new();
    while models < 2 {
        let before = server.front.model().map(|model| model.round_id);
        for (number, participant) in (0..).zip(&mut participants) {
            participant.tell(now, json!({ "tells": "tick" }), Input::Tick)?;
            participant.drain(number, &mut server, now, &mut bodies)?;
        }
        now = now + Duration::from_millis(500);
        server.tell(now, coordinator::Input::Tick);
        server.drain(now);
        if server.front.model().map(|model| model.round_id) != before {
            models += 1;
            for (number, participant) in (0..).zip(&mut participants) {
                participant.tell(now, json!({ "tells": "fetch" }), Input::FetchModel)?;
                participant.drain(number, &mut server, now, &mut bodies)?;
            }
        }
    }
    let participants: Vec<_> = participants
        .into_iter()
        .map(|each| json!({ "seed": hex(&each.seed), "steps": each.steps }))
        .collect();
    Ok((json!({ "config": config, "bodies": bodies, "participants": participants }), parameters))
}

fn main() -> Result<(), Box<dyn Error>> {
    // A sieve of two words, none at all in words, one of more bytes, and one of many.
    let mut all = Vec::new();
    let mut first = Vec::new();
    for config in [
        "Prime/F32/B0/M3",
        "Word32/F32/B0/M3",
        "Word64/F32/B0/M3",
        "Integer/F64/B2/M6",
        "Prime/F32/Bmax/M3",
    ] {
        let (case, parameters) = rounds(config)?;
        all.push(case);
        if first.is_empty() {
            first = parameters;
        }
    }
    // The first round of the first config, but that everyone is drawn to update.
    let parameters =
        RoundParameters { sum: 0.0, update: 1.0, ..RoundParameters::from_bytes(&first)? };
    let first = parameters.to_bytes();
    let round = json!({ "parameters": hex(&first), "length": LENGTH, "cases": all });
    println!("{}", serde_json::to_string(&round)?.replace("},{", "},\n{"));
    Ok(())
}
