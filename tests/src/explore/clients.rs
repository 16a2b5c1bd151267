//! The states of all participants, numbered, and what leads from one to the other.

use std::collections::HashMap;

use bytes::Bytes;
use pet_core::participant::{self, Event, Input, Output, Participant, Settings, TransportFault};
use pet_core::request::{Call, RequestId, Response};
use pet_core::time::Timestamp;

use super::cast::Cast;
use super::letters::{LetterId, Letters};

/// The number of a participant's state.
pub(super) type ClientId = u16;

/// What a participant waits for an answer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    /// The answer that a server can give from what is published.
    Get(Call),
    /// The answer to a message.
    Post(LetterId),
}

/// What can happen to a participant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// The answer to a GET: a body, or a 204.
    Answer(Option<Bytes>),
    /// The answer to a message: always the same.
    Done,
    /// No answer.
    Fault,
    /// A crash; what was saved a moment before is restored.
    Crash,
    /// A crash; what was saved at the very beginning is restored.
    CrashToStart,
}

struct State {
    machine: Participant,
    now: Timestamp,
    request: RequestId,
    waits: Waits,
    who: usize,
    crashes: u8,
}

/// All states of participants that were ever seen.
#[derive(Default)]
pub(super) struct Clients {
    states: Vec<State>,
    numbers: HashMap<Vec<u8>, ClientId>,
    steps: HashMap<(ClientId, Step), ClientId>,
    /// How often a participant has said that it can do nothing more in its round.
    pub gave_up: usize,
}

impl Clients {
    /// The beginning of everyone.
    pub fn start(&mut self, cast: &Cast, letters: &mut Letters) -> Result<Vec<ClientId>, String> {
        (0..cast.members.len()).map(|who| self.begin(cast, letters, who, 0)).collect()
    }

    fn begin(
        &mut self,
        cast: &Cast,
        letters: &mut Letters,
        who: usize,
        crashes: u8,
    ) -> Result<ClientId, String> {
        let member = &cast.members[who];
        let settings = Settings::default();
        let machine = Participant::new(member.keys.clone(), member.root.clone(), settings);
        self.settle(cast, letters, machine, Timestamp::ZERO, who, crashes)
    }

    pub fn waits(&self, id: ClientId) -> &Waits {
        &self.states[usize::from(id)].waits
    }

    pub fn len(&self) -> usize {
        self.states.len()
    }

    /// What an input leads to.
    pub fn step(
        &mut self,
        cast: &Cast,
        letters: &mut Letters,
        from: ClientId,
        step: Step,
    ) -> Result<ClientId, String> {
        if let Some(to) = self.steps.get(&(from, step.clone())) {
            return Ok(*to);
        }
        let state = &self.states[usize::from(from)];
        let (id, now, who, crashes) = (state.request, state.now, state.who, state.crashes);
        let mut machine = state.machine.fork().ok_or("a participant has outputs left")?;
        let input = match &step {
            Step::Answer(Some(body)) => {
                Input::Response { id, response: Response::ok(body.clone()) }
            }
            Step::Answer(None) => Input::Response { id, response: Response::no_content() },
            Step::Done => Input::Response { id, response: Response::ok("") },
            Step::Fault => Input::Fault { id, fault: TransportFault::TimedOut },
            Step::Crash => {
                let saved = machine.snapshot().to_bytes();
                let settings = machine.settings().clone();
                machine =
                    Participant::restore(&saved, settings).map_err(|error| error.to_string())?;
                Input::Tick
            }
            Step::CrashToStart => {
                let to = self.begin(cast, letters, who, crashes + 1)?;
                self.steps.insert((from, step), to);
                return Ok(to);
            }
        };
        let crashes = crashes + u8::from(step == Step::Crash);
        machine.handle_input(now, input).map_err(|error| error.to_string())?;
        let to = self.settle(cast, letters, machine, now, who, crashes)?;
        self.steps.insert((from, step), to);
        Ok(to)
    }

    /// Lets a participant do all that it can do alone, until it waits for an answer.
    fn settle(
        &mut self,
        cast: &Cast,
        letters: &mut Letters,
        mut machine: Participant,
        mut now: Timestamp,
        who: usize,
        crashes: u8,
    ) -> Result<ClientId, String> {
        let mut asked = None;
        loop {
            let input = match machine.poll_output() {
                Output::Request { id, call } => {
                    if asked.replace((id, call)).is_some() {
                        return Err("a participant asks two things at once".into());
                    }
                    continue;
                }
                Output::Job(job) => Input::JobDone(job.finish()),
                Output::Event(Event::ModelNeeded { .. }) => {
                    let parameters =
                        machine.parameters().ok_or("a model is asked for too early")?;
                    let round = cast.round_of(parameters);
                    Input::SetModel(cast.model(who, round, crashes))
                }
                Output::Event(Event::GaveUp(_)) => {
                    self.gave_up += 1;
                    continue;
                }
                Output::Event(_) => continue,
                Output::Idle(participant::Idle { wake_at: Some(at), .. }) => {
                    now = now.max(at);
                    Input::Tick
                }
                Output::Idle(_) => break,
                other => return Err(format!("unknown output {other:?}")),
            };
            machine.handle_input(now, input).map_err(|error| error.to_string())?;
        }
        let (request, call) = asked.ok_or("a participant is stuck: it waits for nothing")?;
        let waits = match call {
            Call::Message(sealed) => {
                let parameters = machine.parameters().ok_or("a message before the first round")?;
                Waits::Post(letters.add(cast, who, cast.round_of(parameters), &sealed)?)
            }
            get => Waits::Get(get),
        };
        let mut key = vec![who as u8, crashes];
        key.extend_from_slice(format!("{waits:?}").as_bytes());
        key.extend_from_slice(&machine.snapshot().to_bytes());
        if let Some(id) = self.numbers.get(&key) {
            return Ok(*id);
        }
        let id = ClientId::try_from(self.states.len()).map_err(|error| error.to_string())?;
        self.states.push(State { machine, now, request, waits, who, crashes });
        self.numbers.insert(key, id);
        Ok(id)
    }
}
