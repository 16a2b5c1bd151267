//! Our coordinator's state machine, driven.

use std::time::Duration;

use pet_core::{
    coordinator::{
        Coordinator, CountRange, Front, Input, Output, Settings, Sum2Settings, SumSettings, Ticket,
        TimeRange, UpdateSettings,
    },
    crypto::RootSeed,
    mask::{MaskConfig, MaskConfigPair},
    request::{Call, Response},
    time::Timestamp,
};
use pet_oracle::PairBytes;

use crate::{Serve, MIN_UPDATES, PHASE, SUM_PROBABILITY};

pub struct OurCoordinator {
    machine: Coordinator,
    front: Front,
}

impl OurCoordinator {
    pub fn new(seed: [u8; 32], pair: PairBytes, len: usize) -> Self {
        let config = |bytes| MaskConfig::from_bytes(bytes).expect("the four bytes of a config");
        let count = |min| CountRange { min, max: 100 };
        let time = TimeRange { min: PHASE, max: Duration::from_secs(60) };
        let settings = Settings::new(
            SumSettings::new(SUM_PROBABILITY, count(1), time),
            UpdateSettings::new(1.0, count(MIN_UPDATES as u64), time),
            Sum2Settings::new(count(1), time),
            MaskConfigPair { vect: config(pair.vect), unit: config(pair.unit) },
            len as u64,
        );
        let machine = Coordinator::new(settings, RootSeed::new(seed), Timestamp::ZERO)
            .expect("legal settings");
        Self { machine, front: Front::new() }
    }

    fn input(&mut self, now: Timestamp, input: Input) {
        self.machine.handle_input(now, input).expect("an input that is waited for");
        loop {
            let input = match self.machine.poll_output() {
                Output::Job(job) => Input::JobDone(job.finish()),
                Output::Persist { id, .. } => Input::Persisted(id),
                Output::Front(front) => {
                    self.front = front;
                    continue;
                }
                Output::Reply { outcome, .. } => {
                    assert_eq!(outcome, Ok(()));
                    continue;
                }
                Output::Idle(_) => return,
                _ => continue,
            };
            self.machine.handle_input(now, input).expect("an input that is waited for");
        }
    }
}

impl Serve for OurCoordinator {
    fn call(&mut self, now: Timestamp, call: &Call) -> Response {
        if let Some(response) = self.front.answer(call) {
            return response;
        }
        let message = self.front.open(call.body().to_vec()).expect("a message that is accepted");
        self.input(now, Input::Message { ticket: Ticket(0), message });
        Response::ok("")
    }

    fn pass(&mut self, now: Timestamp) {
        self.input(now, Input::Tick);
    }
}
