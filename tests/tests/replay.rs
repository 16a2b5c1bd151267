//! Recorded machines do the same again: committed records of a round over HTTP, and fresh ones.
//!
//! `make record-trace` writes the committed ones anew. That is needed whenever a machine says something
//! else than it did (other derived bytes, other events, other snapshots), and only then.

use std::sync::{Arc, Mutex};

use pet_core::coordinator::Coordinator;
use pet_core::crypto::{Digest, EncryptKeyPair, RootSeed, RoundSeed, Seed};
use pet_core::mask::MaskConfig;
use pet_core::participant::{Input, Output, Participant, Settings};
use pet_core::record::{replay, Recorded, ReplayError};
use pet_core::request::{Call, Response};
use pet_core::round::RoundParameters;
use pet_core::time::Timestamp;
use pet_tests::recording::{identity, model, record_round, NAMES, ROOT};

const COMMITTED: [&[u8]; 5] = [
    include_bytes!("../traces/coordinator.record"),
    include_bytes!("../traces/sum-tokio.record"),
    include_bytes!("../traces/update-tokio.record"),
    include_bytes!("../traces/update-tokio-split.record"),
    include_bytes!("../traces/update-blocking.record"),
];

const COORDINATOR: usize = 0;
const SPLIT: usize = 3;
const UPDATE: usize = 4;

/// Replays the record of the machine with this number. Gives a hash of what it has said, and all in words.
fn again(number: usize, record: &[u8]) -> (Result<Digest, ReplayError>, String) {
    let mut story = String::new();
    let watch = |_, what: &dyn std::fmt::Debug| story.push_str(&format!("{what:?}\n"));
    let said = match number {
        COORDINATOR => replay::<Coordinator>(record, watch).map(|replay| replay.said),
        _ => replay::<Participant>(record, watch).map(|replay| replay.said),
    };
    (said, story)
}

fn check(records: &[impl AsRef<[u8]>]) {
    assert_eq!(records.len(), NAMES.len());
    for (number, (name, record)) in NAMES.iter().zip(records).enumerate() {
        let (said, story) = again(number, record.as_ref());
        if let Err(error) = said {
            panic!("{name}: {error}\n(meant so? then `make record-trace`)\n{story}");
        }
        let says = match number {
            COORDINATOR => "RoundCompleted { round_id: 1, models: 3, votes: 1 }",
            1 => "Event(Sent(Sum2))",
            _ => "Event(Sent(Update))",
        };
        assert!(story.contains(says), "{name}:\n{story}");
        assert!(number == COORDINATOR || story.contains("Event(GlobalModel(Some("), "{story}");
        assert_eq!(number == SPLIT, story.contains("Event(Progress {"), "{name}:\n{story}");
    }
}

#[test]
fn the_committed_records_of_a_round_over_http_replay() {
    check(&COMMITTED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_round_over_http_is_recorded_with_both_transports_and_replays() {
    check(&record_round().await);
}

/// The record with one bit changed where it has these bytes for the first time.
fn change(record: &[u8], bytes: &[u8]) -> Vec<u8> {
    let at = record.windows(bytes.len()).position(|window| window == bytes);
    let mut changed = record.to_vec();
    changed[at.expect("it is in the record")] ^= 1;
    changed
}

/// A machine that begins otherwise, or is told something else, says something else.
#[test]
fn a_replay_sees_what_was_changed() {
    let weights: Vec<u8> = match model(UPDATE - 1) {
        pet_core::model::Model::F32(weights) => {
            weights.iter().flat_map(|weight| weight.to_le_bytes()).collect()
        }
        other => panic!("{other:?}"),
    };
    let keys = identity(UPDATE - 1);
    for (what, number, bytes) in [
        ("the coordinator's seed", COORDINATOR, &ROOT[..]),
        ("who has sent a message", COORDINATOR, keys.public().as_bytes()),
        ("the participant's seed", UPDATE, &[UPDATE as u8; 32]),
        ("the local model", UPDATE, &weights),
    ] {
        let (said, story) = again(number, &change(COMMITTED[number], bytes));
        assert!(matches!(said, Err(ReplayError::Diverged { .. })), "{what}: {said:?}\n{story}");
    }
}

/// Wherever a bit of a participant's record is changed, the replay fails; but for those of the time that
/// make no difference. (A coordinator takes what it is told for verified.)
#[test]
fn damaged_records_do_not_replay() {
    for (number, record) in COMMITTED.into_iter().enumerate().skip(COORDINATOR + 1) {
        let (right, _) = again(number, record);
        let (mut all, mut same) = (0, 0);

        for at in (0..record.len()).step_by(11) {
            let mut changed = record.to_vec();
            changed[at] ^= 1 << (at % 8);
            let (said, _) = again(number, &changed);
            all += 1;
            if said.is_ok() {
                assert_eq!(said, right, "{}, byte {at}", NAMES[number]);
                same += 1;
            }
        }
        assert!(same * 10 < all, "{}: {same} of {all}", NAMES[number]);
    }
}

#[test]
fn what_is_not_a_whole_record_is_refused() {
    let record = COMMITTED[UPDATE];
    for cut in [record.len() / 2, record.len() - 1] {
        let (said, _) = again(UPDATE, &record[..cut]);
        assert!(matches!(said, Err(ReplayError::BrokenOff { input: 1.. })), "{said:?}");
    }
    let longer = [record, &[0]].concat();
    assert!(matches!(again(UPDATE, &longer).0, Err(ReplayError::BrokenOff { .. })));
    assert_eq!(again(COORDINATOR, record).0, Err(ReplayError::NotARecord), "of a participant");
    assert_eq!(again(UPDATE, b"PET").0, Err(ReplayError::NotARecord));
    let mut newer = record.to_vec();
    newer[4] += 1;
    assert_eq!(again(UPDATE, &newer).0, Err(ReplayError::Version { found: 3, known: 2 }));
}

/// When a loss is noticed depends on other threads: so it is an input in the record, and the replay goes the same way.
#[test]
fn a_dropped_job_is_in_the_record() {
    let record = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&record);
    let mut machine =
        Recorded::from(Participant::from_seed(RootSeed::new([1; 32]), Settings::default()));
    machine.record(Box::new(move |bytes| sink.lock().unwrap().extend_from_slice(bytes)));
    let parameters = RoundParameters {
        pk: EncryptKeyPair::from_seed(&Seed::new([7; 32])).public(),
        sum: 2.0,
        update: 0.0,
        seed: RoundSeed::new([3; 32]),
        mask_config: "Prime/F32/B0/M3".parse::<MaskConfig>().unwrap().into(),
        model_length: 3,
    };
    let mut dropped = 0;
    loop {
        let input = match machine.poll_output() {
            Output::Request { id, call: Call::Params } => {
                Input::Response { id, response: Response::ok(parameters.to_bytes()) }
            }
            Output::Request { .. } => break,
            Output::Job(job) if dropped < 2 => {
                dropped += 1;
                std::thread::spawn(move || drop(job)).join().unwrap();
                continue;
            }
            Output::Job(job) => Input::JobDone(job.finish()),
            Output::Event(_) => continue,
            other => panic!("nobody waits for anything: {other:?}"),
        };
        machine.handle_input(Timestamp::ZERO, input).unwrap();
    }
    drop(machine);
    let mut story = String::new();
    let watch = |_, what: &dyn std::fmt::Debug| story.push_str(&format!("{what:?}\n"));
    let replayed = replay::<Participant>(&record.lock().unwrap(), watch);
    assert!(replayed.is_ok(), "{:?}\n{story}", replayed.err());
    assert_eq!(story.matches("JobLost(").count(), 2, "{story}");
}
