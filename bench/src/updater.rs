//! The whole job of an updater of version 2, as its machine gives it out: the model is hashed for its seeds, masked under a stream
//! for each group, hashed, encrypted, signed for, and the seeds are sealed to nine members. Afterwards header and chunks
//! are ready to be sent.

use pet_core::crypto::{EncryptKeyPair, RootSeed, RoundSeed, Seed, SigningKeyPair};
use pet_core::job::JobKind;
use pet_core::mask::MaskConfig;
use pet_core::model::Model;
use pet_core::participant::{Event, Input, Job, Output, Settings};
use pet_core::request::{self, RequestId, Response};
use pet_core::round::RoundParameters;
use pet_core::time::Timestamp;
use pet_core::v2::{
    Admission, Announcement, Announcements, Call, Group, MemberId, Phase, Pin, Roster, RoundView,
    Terms, Updater,
};

use crate::jobs::{pool, run};
use crate::limits::LENGTHS;
use crate::machine;
use crate::ours::weights;
use crate::runner::{Row, Runner, Target};

const JOB: &str = "v2 job: an update, ready";
const WORD32: &str = "Word32/F32/B0/M3";
const GROUPS: u8 = 3;
const OPENED_AT: u64 = 1_800_000_000;

/// Measures it.
pub fn measure(runner: &mut Runner) {
    let length = LENGTHS[usize::from(!runner.is_quick())];
    let waiting = Waiting::new(length);
    let cores = machine::cores();
    for threads in if cores > 1 { vec![1, cores] } else { vec![1] } {
        let mut row = Row::new(JOB, WORD32, length).threads(threads).inputs(4 * length);
        if threads == 1 {
            row = row.target(Target::Nanoseconds(6.0));
        }
        let pool = pool(threads);
        runner.measure(row, || waiting.job(), |job| run(job, threads, &pool));
    }
}

/// An updater that waits for the list of announcements.
struct Waiting {
    machine: Updater,
    id: RequestId,
    list: Vec<u8>,
}

fn keys(byte: u8) -> SigningKeyPair {
    SigningKeyPair::from_seed(&Seed::new([byte; 32]))
}

impl Waiting {
    fn new(length: usize) -> Self {
        let members = |group: u8| {
            (0..3).map(move |index| (MemberId::new(group, index), keys(10 * group + index + 10)))
        };
        let groups = (0..GROUPS).map(|group| {
            Group::new(
                format!("group {group}"),
                members(group).map(|(_, keys)| keys.public()).collect(),
            )
        });
        let updater = keys(1);
        let admission = Admission::List(vec![updater.public()]);
        let roster = Roster::new(groups.collect(), admission).expect("a roster");
        let pair = |byte| EncryptKeyPair::from_seed(&Seed::new([byte; 32]));
        let terms = Terms {
            roster: roster.hash(),
            round: 1,
            parameters: RoundParameters {
                pk: pair(2).public(),
                sum: 0.0,
                update: 0.0,
                seed: RoundSeed::new([3; 32]),
                mask_config: WORD32.parse::<MaskConfig>().expect("a usable config").into(),
                model_length: length as u64,
            },
            opened_at: OPENED_AT,
            model: None,
            n_min: 3,
            noise: None,
        };
        let context = terms.context();
        let all = (0..GROUPS).flat_map(members).map(|(member, keys)| {
            let byte = 100 + 10 * member.group + member.index;
            let vote = SigningKeyPair::from_seed(&Seed::new([byte; 32])).public();
            Announcement::sign(&keys, &context, member, pair(byte).public(), vote)
        });
        let list = Announcements::new(all.collect()).expect("sorted");
        let view = RoundView {
            phase: Phase::Update,
            terms: Some(terms),
            announcements: Some(list.digest()),
            ..RoundView::idle()
        };
        let pin = Pin::new(roster.hash(), 3);
        let mut machine = Updater::new(updater, RootSeed::new([4; 32]), pin, Settings::default());
        let mut now = Timestamp::from_millis(OPENED_AT * 1000);
        let model = weights(length).iter().map(|weight| *weight as f32).collect();
        let mut model = Some(Model::F32(model));
        loop {
            let input = match machine.poll_output() {
                Output::Request { id, call: request::Call::V2(call) } => {
                    let body = match call {
                        Call::Round => view.to_bytes(),
                        Call::Roster => roster.to_bytes(),
                        Call::Announcements => return Self { machine, id, list: list.to_bytes() },
                        call => panic!("it asks for {call:?}"),
                    };
                    Input::Response { id, response: Response::ok(body) }
                }
                Output::Job(job) => Input::JobDone(job.finish()),
                Output::Event(Event::ModelNeeded { .. }) => {
                    Input::SetModel(model.take().expect("it is asked for once"))
                }
                Output::Idle(idle) => {
                    now = idle.wake_at.expect("it looks again");
                    Input::Tick
                }
                _ => continue,
            };
            machine.handle_input(now, input).expect("an input that is waited for");
        }
    }

    fn job(&self) -> Job {
        let mut machine = self.machine.fork().expect("no output waits");
        let now = Timestamp::from_millis(OPENED_AT * 1000);
        let response = Response::ok(self.list.clone());
        let answer = Input::Response { id: self.id, response };
        machine.handle_input(now, answer).expect("it is waited for");
        loop {
            match machine.poll_output() {
                Output::Job(job) if job.kind() == JobKind::MaskModel => return job,
                Output::Job(job) => {
                    let done = Input::JobDone(job.finish());
                    machine.handle_input(now, done).expect("it is waited for");
                }
                output => panic!("{output:?} comes before the job"),
            }
        }
    }
}
