//! Jobs that nobody finishes.

use std::time::Duration;

use super::fixture::*;
use crate::crypto::{
    EncryptKeyPair, PublicEncryptKey, PublicSigningKey, RootSeed, Seed, SigningKeyPair, Task,
};
use crate::job::{JobKind, MAX_LOSSES};
use crate::mask::MaskSeed;
use crate::message::{EncryptedMaskSeed, MessageSize};
use crate::model::Model;
use crate::participant::*;
use crate::request::{Call, Response};
use crate::round::{RoundParameters, UpdateSeedDict};

/// A participant that is about to give out a job of a kind, and what it is answered.
struct Scene {
    fixture: Fixture,
    round: RoundParameters,
    seeds: Response,
}

impl Scene {
    fn before(kind: JobKind) -> Self {
        let length = match kind {
            JobKind::SealChunk | JobKind::SplitMessage => 20_000,
            _ => 3,
        };
        let task = match kind {
            JobKind::MakeSum | JobKind::AddMasks => Task::Sum,
            JobKind::ReadModel => Task::None,
            _ => Task::Update,
        };
        let size = match kind {
            JobKind::SealChunk => MessageSize::at_most(10_000).unwrap(),
            _ => MessageSize::UNLIMITED,
        };
        let settings = Settings { max_message_size: size, ..Settings::default() };
        let keys = SigningKeyPair::from_seed(&Seed::new([1; 32]));
        let fixture = Fixture::with(Participant::new(keys, RootSeed::new([2; 32]), settings));
        let round = RoundParameters { model_length: length, ..parameters(task) };
        let mut scene = Self { fixture, round, seeds: Response::no_content() };
        match kind {
            JobKind::MakeSum => {}
            JobKind::AddMasks => {
                let job = scene.job();
                scene.done(job);
                scene.fixture.params(&scene.round);
                let (_, payload) = payload_of(&mut scene.fixture);
                let ephemeral: [u8; 32] = payload[64..].try_into().unwrap();
                scene.seeds = seeds(&PublicEncryptKey::new(ephemeral));
                scene.fixture.pause();
            }
            JobKind::ReadModel => {
                scene.fixture.params(&scene.round);
                scene.fixture.input(Input::FetchModel).unwrap();
            }
            _ => {
                let model = Model::F32(vec![0.25; length as usize]);
                scene.fixture.input(Input::SetModel(model)).unwrap();
                if kind != JobKind::MaskModel {
                    // The model is masked, and freed.
                    for _ in 0..2 {
                        let job = scene.job();
                        scene.done(job);
                    }
                }
            }
        }
        if kind == JobKind::SplitMessage {
            scene.fixture.params(&scene.round);
            let (id, _) = scene.fixture.request();
            let refused = Input::Response { id, response: Response::new(413, "") };
            scene.fixture.input(refused).unwrap();
            scene.fixture.pause();
        }
        scene
    }

    fn done(&mut self, job: Job) {
        self.fixture.input(Input::JobDone(job.finish())).unwrap();
    }

    /// Answers whatever is asked until there is a job.
    fn job(&mut self) -> Job {
        loop {
            let (id, call) = match self.fixture.next() {
                Output::Job(job) => return job,
                Output::Request { id, call } => (id, call),
                other => panic!("no job, but {other:?}"),
            };
            let response = match call {
                Call::Params => Response::ok(self.round.to_bytes()),
                Call::SumsOf(_) => sums(),
                Call::SeedsOf(..) => self.seeds.clone(),
                Call::Model(_) => Response::ok(vec![7; 100]),
                call => panic!("{call:?} is not due"),
            };
            self.fixture.input(Input::Response { id, response }).unwrap();
        }
    }
}

fn seeds(ephemeral: &PublicEncryptKey) -> Response {
    let seed = |byte: u8| {
        let keys = EncryptKeyPair::from_seed(&Seed::new([byte + 100; 32]));
        let sealed = EncryptedMaskSeed::seal(&MaskSeed::new([byte; 32]), ephemeral, &keys);
        (PublicSigningKey::new([byte; 32]), sealed.unwrap())
    };
    Response::ok([1, 2, 3].map(seed).into_iter().collect::<UpdateSeedDict>().to_bytes())
}

const KINDS: [JobKind; 6] = [
    JobKind::MakeSum,
    JobKind::MaskModel,
    JobKind::AddMasks,
    JobKind::SealChunk,
    JobKind::SplitMessage,
    JobKind::ReadModel,
];

/// Nobody says that the jobs were dropped, nor does anything else happen: the machine looks by itself.
#[test]
fn a_dropped_job_is_given_out_again_and_given_up_in_the_end() {
    for kind in KINDS {
        let mut scene = Scene::before(kind);
        for times in 1..=MAX_LOSSES {
            let job = scene.job();
            assert_eq!(job.kind(), kind);
            let idle = scene.fixture.idle();
            let why = match (kind, times) {
                // The main line goes on beside it.
                (JobKind::ReadModel, _) => Why::Poll,
                (_, 1) => Why::Job,
                _ => Why::LostJob,
            };
            assert_eq!(idle.why, why, "{kind}, {times}");
            // Also when its result is.
            match times % 2 {
                1 => drop(job),
                _ => drop(job.finish()),
            }
        }
        // What was to be sent is freed.
        let idle = loop {
            match scene.fixture.next() {
                Output::Idle(idle) => break idle,
                Output::Job(job) if job.kind() == JobKind::FreeMemory => drop(job),
                other => panic!("{kind}: {other:?}"),
            }
        };
        let told = match scene.fixture.events.last() {
            Some(Event::GaveUp(error @ ComposeError::JobLost { .. })) => error.to_string(),
            Some(Event::GlobalModelFailed(error @ FetchError::JobLost(_))) => error.to_string(),
            other => panic!("{kind}: {other:?}"),
        };
        assert!(told.contains(&format!("lost {MAX_LOSSES} times")), "{told}");
        assert_eq!(idle.why, Why::Poll, "{kind}: it looks for the next round");
    }
}

/// What counts is how often in a row: a job that is done once has nothing wrong with it.
#[test]
fn a_job_that_is_done_in_the_end_is_as_any_other() {
    for kind in KINDS {
        let mut scene = Scene::before(kind);
        for _ in 1..MAX_LOSSES {
            drop(scene.job());
        }
        let job = scene.job();
        scene.done(job);
        let given_up = |event: &Event| {
            matches!(event, Event::GaveUp(_) | Event::GlobalModelFailed(FetchError::JobLost(_)))
        };
        while let Output::Event(event) = scene.fixture.machine.poll_output() {
            scene.fixture.events.push(event);
        }
        assert!(!scene.fixture.events.iter().any(given_up), "{kind}");
        assert_eq!((scene.fixture.machine.losses, scene.fixture.machine.fetch_losses), (0, 0));
    }
}

/// Whoever drops a job and says nothing is asked to come back.
#[test]
fn while_a_job_runs_the_machine_looks_whether_it_was_lost() {
    let mut scene = Scene::before(JobKind::MakeSum);
    let job = scene.job();
    let idle = scene.fixture.idle();
    assert_eq!(idle.wake_at, Some(scene.fixture.now + Duration::from_secs(10)));
    // It was not: nothing happens but that it is waited for.
    scene.fixture.now = idle.wake_at.unwrap();
    scene.fixture.input(Input::Tick).unwrap();
    assert_eq!(scene.fixture.idle().why, Why::Job);
    scene.done(job);
    assert_eq!(scene.fixture.request().1, Call::Params);
}

/// Some drivers say it in so many words, before or after the machine has seen it.
#[test]
fn what_the_machine_knows_may_be_told() {
    let mut scene = Scene::before(JobKind::MakeSum);
    for noticed in [false, true] {
        let job = scene.job();
        let id = job.id();
        drop(job);
        if noticed {
            assert!(matches!(scene.fixture.machine.poll_output(), Output::Request { .. }));
        }
        assert_eq!(scene.fixture.input(Input::JobLost(id)), Ok(()));
        assert_eq!(scene.fixture.input(Input::JobLost(id)), Ok(()));
        assert_eq!(scene.fixture.machine.losses, 1 + u32::from(noticed));
    }
}

/// What is dropped with a machine's fork is another machine's affair.
#[test]
fn a_fork_waits_for_no_job_of_the_other() {
    let mut scene = Scene::before(JobKind::MakeSum);
    let job = scene.job();
    let mut fork = scene.fixture.machine.fork().unwrap();
    drop(job);
    assert!(matches!(fork.poll_output(), Output::Idle(Idle { why: Why::Job, .. })));
    assert_eq!(scene.fixture.request().1, Call::Params);
}

#[test]
fn freed_memory_is_nothing_to_lose() {
    let mut scene = Scene::before(JobKind::SealChunk);
    let job = scene.job();
    scene.fixture.machine.release(1 << 20, vec![0_u8; 1 << 20]);
    let free = scene.fixture.job();
    assert_eq!(free.kind(), JobKind::FreeMemory);
    drop(free);
    assert_eq!(scene.fixture.idle().why, Why::Job);
    scene.done(job);
}
