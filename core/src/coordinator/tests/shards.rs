//! Replicas that add up masked models for the one that runs the machine: whom they are let have, and what they have done.

use std::sync::{Arc, OnceLock};

use proptest::prelude::*;

use super::fixture::{quick, Fixture, TIME};
use super::replica::{admit, ask, check_mean, hand_in, update, updating, vote, Replica};
use crate::coordinator::shards::RESERVED_FOR;
use crate::coordinator::*;
use crate::crypto::{PublicSigningKey, Task};
use crate::job::JobId;
use crate::message::{LocalSeedDict, Tag};

#[test]
fn two_shards_and_own_updates_make_one_mean() {
    let (mut fixture, summer) = updating();
    let senders = fixture.with_task(Task::Update, 8);
    let mut replicas = [1, 2].map(|number| Replica::new(number, &fixture));
    for (number, sender) in senders[..6].iter().enumerate() {
        let message = update(&fixture, sender);
        replicas[number % 2].admit(&mut fixture, &message).unwrap();
        // Each has two parts, the second of which replaces the first.
        if number >= 2 {
            replicas[number % 2].hand_in(&mut fixture).unwrap();
        }
    }
    assert_eq!(fixture.machine.accepted(), 6);
    for sender in &senders[6..] {
        let message = update(&fixture, sender);
        let outcome = ask(&mut fixture, |ticket| Input::Message { ticket, message });
        assert_eq!(outcome, Some(Ok(())));
    }
    fixture.wait(TIME);
    vote(&mut fixture, &summer, &senders);
    check_mean(&fixture, &senders);
}

#[test]
fn all_updates_may_be_in_parts() {
    let (mut fixture, summer) = updating();
    let senders = fixture.with_task(Task::Update, 3);
    let mut replica = Replica::new(1, &fixture);
    for sender in &senders {
        let message = update(&fixture, sender);
        replica.admit(&mut fixture, &message).unwrap();
    }
    replica.hand_in(&mut fixture).unwrap();
    fixture.wait(TIME);
    vote(&mut fixture, &summer, &senders);
    check_mean(&fixture, &senders);
}

#[test]
fn a_participant_is_reserved_for_one_shard() {
    let (mut fixture, _) = updating();
    let sender = &fixture.with_task(Task::Update, 1)[0];
    let message = update(&fixture, sender);
    let mut replicas = [1, 2].map(|number| Replica::new(number, &fixture));
    let in_progress = Rejection::InProgress(Tag::Update);
    replicas[0].admit(&mut fixture, &message).unwrap();
    // The same letter again changes nothing; another message of the participant is none of the reserved.
    assert_eq!(replicas[0].admit(&mut fixture, &message), Ok(()));
    let (sealed_anew, shard) = (update(&fixture, sender), replicas[0].shard());
    let (other, _) = sealed_anew.admission().unwrap();
    let is_same = other == message.admission().unwrap().0;
    let expected = if is_same { Ok(()) } else { Err(in_progress.clone()) };
    assert_eq!(admit(&mut fixture, shard, other), expected);
    assert_eq!(replicas[1].admit(&mut fixture, &message), Err(in_progress.clone()));
    let copy = message.clone();
    let outcome = ask(&mut fixture, |ticket| Input::Message { ticket, message: copy });
    assert_eq!(outcome, Some(Err(in_progress.clone())));
    let chunk = sender.chunk_of_update(&fixture.sums(), 0);
    assert_eq!(fixture.send(chunk), Some(Err(in_progress)));
    replicas[0].hand_in(&mut fixture).unwrap();
    let duplicate = Err(Rejection::DuplicateUpdate);
    assert_eq!(replicas[1].admit(&mut fixture, &message), duplicate);
    let outcome = ask(&mut fixture, |ticket| Input::Message { ticket, message });
    assert_eq!(outcome, Some(duplicate));
}

#[test]
fn a_message_of_the_machines_own_is_not_reserved_meanwhile() {
    let (mut fixture, _) = updating();
    fixture.working = false;
    let sender = &fixture.with_task(Task::Update, 1)[0];
    let message = update(&fixture, sender);
    let mut replica = Replica::new(1, &fixture);
    let copy = message.clone();
    assert_eq!(ask(&mut fixture, |ticket| Input::Message { ticket, message: copy }), None);
    let in_progress = Err(Rejection::InProgress(Tag::Update));
    assert_eq!(replica.admit(&mut fixture, &message), in_progress);
}

#[test]
fn what_is_wrong_with_a_part_is_said() {
    let (mut fixture, _) = updating();
    let senders = fixture.with_task(Task::Update, 3);
    let mut replica = Replica::new(1, &fixture);
    for sender in &senders[..2] {
        let message = update(&fixture, sender);
        replica.admit(&mut fixture, &message).unwrap();
    }
    let (_, done) = replica.store(&mut fixture);
    let key = |number: usize| senders[number].keys.public();
    let id = PartId::new([9; 16]);
    let wrong = [
        (PartDone { round_id: 2, ..done.clone() }, Rejection::PartOver),
        (PartDone { participants: vec![], models: 0, ..done.clone() }, Rejection::PartCount),
        (PartDone { models: 3, ..done.clone() }, Rejection::PartCount),
        (PartDone { participants: vec![key(0); 2], ..done.clone() }, Rejection::PartCount),
        (
            PartDone {
                participants: (0..65).map(|n| PublicSigningKey::new([n; 32])).collect(),
                models: 65,
                ..done.clone()
            },
            Rejection::PartCount,
        ),
        (PartDone { predecessor: Some(id), ..done.clone() }, Rejection::PartPredecessor),
        (
            PartDone { participants: vec![key(0), key(2)], ..done.clone() },
            Rejection::NotReserved { participant: key(2) },
        ),
        (
            PartDone { shard: Shard::new([2; 16]), ..done.clone() },
            Rejection::NotReserved { participant: done.participants[0] },
        ),
    ];
    for (done, rejection) in wrong {
        let text = format!("{done:?}");
        assert_eq!(hand_in(&mut fixture, done), Some(Err(rejection)), "{text}");
    }
    assert_eq!(fixture.machine.accepted(), 0);
    // Nothing has changed: the right one is taken.
    replica.hand_in(&mut fixture).unwrap();
    // No name is used twice, by whomever.
    let message = update(&fixture, &senders[2]);
    let mut other = Replica::new(2, &fixture);
    other.admit(&mut fixture, &message).unwrap();
    let (_, next) = other.store(&mut fixture);
    let taken = PartDone { part: replica.last.unwrap(), ..next };
    assert_eq!(hand_in(&mut fixture, taken), Some(Err(Rejection::PartPredecessor)));
    fixture.wait(TIME * 40);
    assert_eq!(hand_in(&mut fixture, done), Some(Err(Rejection::PartOver)));
}

#[test]
fn a_part_that_is_handed_in_twice_counts_once() {
    let (mut fixture, summer) = updating();
    let senders = fixture.with_task(Task::Update, 3);
    let mut replica = Replica::new(1, &fixture);
    for sender in &senders {
        let message = update(&fixture, sender);
        replica.admit(&mut fixture, &message).unwrap();
    }
    let (_, done) = replica.store(&mut fixture);
    for _ in 0..2 {
        assert_eq!(hand_in(&mut fixture, done.clone()), Some(Ok(())));
    }
    // The answer of the coordinator before may be lost.
    let mut fixture = fixture.crashed(quick());
    assert_eq!(hand_in(&mut fixture, done), Some(Ok(())));
    let is_part = |record: &&Record| matches!(record, Record::Part { .. });
    assert_eq!(fixture.records.iter().filter(is_part).count(), 0);
    assert_eq!(fixture.machine.accepted(), 3);
    fixture.wait(TIME);
    vote(&mut fixture, &summer, &senders);
    check_mean(&fixture, &senders);
}

#[test]
fn the_answer_to_a_part_waits_for_the_store() {
    let (mut fixture, _) = updating();
    let sender = &fixture.with_task(Task::Update, 1)[0];
    let mut replica = Replica::new(1, &fixture);
    fixture.storing = false;
    let message = update(&fixture, sender);
    // An admission has nothing to be stored.
    replica.admit(&mut fixture, &message).unwrap();
    let (_, done) = replica.store(&mut fixture);
    assert_eq!(hand_in(&mut fixture, done.clone()), None);
    assert_eq!(hand_in(&mut fixture, done), None);
    fixture.input(Input::Persisted(fixture.last_record)).unwrap();
    let last: Vec<_> = fixture.replies.iter().rev().take(2).collect();
    assert!(last.iter().all(|(_, outcome)| outcome.is_ok()), "{last:?}");
}

#[test]
fn a_lost_shard_has_its_recorded_part_and_nothing_else() {
    let (mut fixture, summer) = updating();
    let senders = fixture.with_task(Task::Update, 4);
    let mut replicas = [1, 2].map(|number| Replica::new(number, &fixture));
    let messages: Vec<_> = senders.iter().map(|sender| update(&fixture, sender)).collect();
    replicas[0].admit(&mut fixture, &messages[0]).unwrap();
    replicas[0].hand_in(&mut fixture).unwrap();
    replicas[0].admit(&mut fixture, &messages[1]).unwrap();
    let shard = replicas[0].shard();
    for _ in 0..2 {
        fixture.input(Input::ShardLost { shard }).unwrap();
    }
    let participant = senders[1].keys.public();
    let not_reserved = Err(Rejection::NotReserved { participant });
    assert_eq!(replicas[0].hand_in(&mut fixture), not_reserved);
    for message in &messages[1..] {
        replicas[1].admit(&mut fixture, message).unwrap();
    }
    replicas[1].hand_in(&mut fixture).unwrap();
    fixture.wait(TIME);
    vote(&mut fixture, &summer, &senders);
    check_mean(&fixture, &senders);
}

#[test]
fn a_new_leader_has_participants_admitted_again() {
    let (mut fixture, summer) = updating();
    let senders = fixture.with_task(Task::Update, 3);
    let mut replica = Replica::new(1, &fixture);
    let messages: Vec<_> = senders.iter().map(|sender| update(&fixture, sender)).collect();
    for message in &messages {
        replica.admit(&mut fixture, message).unwrap();
    }
    let mut fixture = fixture.crashed(quick());
    let participant = replica.held[0].participant();
    let rejection = Rejection::NotReserved { participant };
    assert_eq!(rejection.label(), "not_reserved");
    assert_eq!(replica.hand_in(&mut fixture), Err(rejection));
    replica.held.clear();
    for message in &messages {
        replica.admit(&mut fixture, message).unwrap();
    }
    replica.hand_in(&mut fixture).unwrap();
    fixture.wait(TIME);
    vote(&mut fixture, &summer, &senders);
    check_mean(&fixture, &senders);
}

#[test]
fn reservations_are_waited_for_a_little_while() {
    for comes in [true, false] {
        let (mut fixture, _) = updating();
        let senders = fixture.with_task(Task::Update, 3);
        let mut replica = Replica::new(1, &fixture);
        for sender in &senders {
            let message = update(&fixture, sender);
            replica.admit(&mut fixture, &message).unwrap();
        }
        let time = quick().update.time.max;
        fixture.wait(time);
        assert_eq!(fixture.machine.phase(), Phase::Update);
        let idle = fixture.idle.unwrap();
        assert_eq!((idle.why, idle.wake_at), (Why::Shards, Some(fixture.now + RESERVED_FOR)));
        if comes {
            replica.hand_in(&mut fixture).unwrap();
            assert_eq!(fixture.machine.phase(), Phase::Sum2);
        } else {
            fixture.wait(RESERVED_FOR);
            let (phase, accepted, needed) = (Phase::Update, 0, 3);
            let failure = RoundFailure::TooFewMessages { phase, accepted, needed };
            assert_eq!(fixture.failures(), [failure]);
        }
    }
}

/// Nobody comes any more: the round need not wait for them.
#[test]
fn with_its_shards_lost_the_phase_ends_in_time() {
    let (mut fixture, _) = updating();
    let senders = fixture.with_task(Task::Update, 3);
    let mut replica = Replica::new(1, &fixture);
    for sender in &senders {
        let message = update(&fixture, sender);
        replica.admit(&mut fixture, &message).unwrap();
    }
    fixture.wait(quick().update.time.max);
    fixture.input(Input::ShardLost { shard: replica.shard() }).unwrap();
    assert_eq!(fixture.failures().len(), 1);
}

#[test]
fn reservations_count_against_the_limits() {
    let (mut fixture, _) = updating();
    let parameters = fixture.parameters();
    let message = update(&fixture, &fixture.with_task(Task::Update, 1)[0]);
    let (template, _) = message.admission().unwrap();
    let one = |number: u64| {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_le_bytes());
        Admission { participant: PublicSigningKey::new(key), ..template.clone() }
    };
    let most = quick().update.count.max;
    for number in 0..most {
        assert_eq!(admit(&mut fixture, Shard::new([1; 16]), one(number)), Ok(()));
    }
    // No record tells of them: nobody is turned away for good on their word.
    let full = Rejection::ShardFull;
    assert_eq!(admit(&mut fixture, Shard::new([2; 16]), one(most)), Err(full.clone()));
    assert_eq!(full.problem(1).status, 503);
    fixture.input(Input::ShardLost { shard: Shard::new([1; 16]) }).unwrap();
    assert_eq!(admit(&mut fixture, Shard::new([2; 16]), one(most)), Ok(()));
    // Of another round, or not for its sum participants.
    let other = Admission { round_id: 2, ..one(most + 1) };
    let over = Rejection::WrongPhase { tag: Tag::Update, phase: Phase::Update };
    assert_eq!(admit(&mut fixture, Shard::new([2; 16]), other), Err(over));
    let nothing = Arc::new(LocalSeedDict::default());
    let other = Admission { seeds: nothing, ..one(most + 1) };
    let mismatch = Err(Rejection::SeedDictMismatch);
    assert_eq!(admit(&mut fixture, Shard::new([2; 16]), other), mismatch);
    assert_eq!(parameters.pk, fixture.parameters().pk, "it is still the first round");
}

/// Whoever has them carried in something of limited size counts on that.
#[test]
fn an_admission_has_120_bytes_for_each_sum_participant() {
    for summers in [1, 5] {
        let mut fixture = Fixture::new(quick());
        fixture.sum(summers);
        let message = update(&fixture, &fixture.with_task(Task::Update, 1)[0]);
        let (admission, _) = message.admission().unwrap();
        let length = admission.to_bytes().len();
        assert!((1..=200).contains(&(length - 120 * summers)), "{length}");
    }
}

#[test]
fn a_shard_has_so_many_reservations_and_no_more() {
    let mut settings = quick();
    settings.update.count.max = 100_000;
    settings.mask = "Prime/F32/B0/M6".parse::<crate::mask::MaskConfig>().unwrap().into();
    let mut fixture = Fixture::new(settings);
    fixture.sum(1);
    let message = update(&fixture, &fixture.with_task(Task::Update, 1)[0]);
    let (template, _) = message.admission().unwrap();
    let mut number = 0u64;
    let mut next = |fixture: &mut Fixture, shard: u8| {
        number += 1;
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_le_bytes());
        let participant = PublicSigningKey::new(key);
        let (shard, admission) =
            (Shard::new([shard; 16]), Admission { participant, ..template.clone() });
        fixture
            .machine
            .handle_input(fixture.now, Input::Admit { ticket: Ticket(number), shard, admission })
            .unwrap();
        loop {
            match fixture.machine.poll_output() {
                Output::Reply { outcome, .. } => return outcome,
                Output::Idle(_) => panic!("no answer"),
                _ => {}
            }
        }
    };
    for _ in 0..1024 {
        assert_eq!(next(&mut fixture, 0), Ok(()));
    }
    assert_eq!(next(&mut fixture, 0), Err(Rejection::ShardFull));
    for shard in 1..64 {
        assert_eq!(next(&mut fixture, shard), Ok(()));
    }
    assert_eq!(next(&mut fixture, 64), Err(Rejection::ShardFull));
    assert_eq!(next(&mut fixture, 63), Ok(()));
}

#[test]
fn a_sum_takes_what_fits_it() {
    let (mut fixture, _) = updating();
    let senders = fixture.with_task(Task::Update, 2);
    let mut replica = Replica::new(1, &fixture);
    let message = update(&fixture, &senders[0]);
    replica.admit(&mut fixture, &message).unwrap();
    let (sum, model) = (&replica.sum, replica.held[0].clone());
    let add = |models: &[MaskedModel]| sum.add(JobId(1), models).map(drop);
    assert_eq!(add(&[]), Err(ShardSumError::Count(0)));
    assert_eq!(add(&vec![model.clone(); 65]), Err(ShardSumError::Count(65)));
    assert_eq!(add(&[model.clone(), model.clone()]), Err(ShardSumError::Twice));
    // The same settings, and another round.
    let mut next = Fixture::new(quick());
    next.input(Input::Skip).unwrap();
    next.sum(1);
    let other = ShardSum::new(Shard::new([1; 16]), &next.front).unwrap();
    assert_eq!(other.round_id(), 2);
    let added = other.add(JobId(1), std::slice::from_ref(&model)).map(drop);
    assert_eq!(added, Err(ShardSumError::OtherRound));
    // Split over threads it is the same; and what another job gives is not taken.
    let job = sum.add(JobId(1), std::slice::from_ref(&model)).unwrap();
    let new = sum.added(job.finish()).unwrap();
    assert_eq!(new.models(), 1);
    let job = sum.add(JobId(1), std::slice::from_ref(&model)).unwrap();
    assert_eq!(new.added(job.finish()).map(drop), Err(ShardSumError::OtherJob));
    assert!(ShardSum::new(Shard::new([1; 16]), &Front::new()).is_none());
}

/// What a replica says, as bytes.
fn letters() -> &'static [Vec<u8>; 2] {
    static LETTERS: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    LETTERS.get_or_init(|| {
        let (mut fixture, _) = updating();
        let sender = &fixture.with_task(Task::Update, 1)[0];
        let message = update(&fixture, sender);
        let mut replica = Replica::new(1, &fixture);
        replica.admit(&mut fixture, &message).unwrap();
        let (_, done) = replica.store(&mut fixture);
        [message.admission().unwrap().0.to_bytes(), done.to_bytes()]
    })
}

proptest! {
    /// Whatever bytes there are: an error, or what the machine answers once.
    #[test]
    fn any_letters_are_read_or_refused(
        number in 0usize..2,
        damages in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = letters()[number].clone();
        for (at, value) in damages {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let mut fixture = updating().0;
        if let Ok(admission) = Admission::from_bytes(&bytes) {
            prop_assert_eq!(Admission::from_bytes(&admission.to_bytes()), Ok(admission.clone()));
            let _ = admit(&mut fixture, Shard::new([1; 16]), admission);
        }
        if let Ok(done) = PartDone::from_bytes(&bytes) {
            prop_assert_eq!(PartDone::from_bytes(&done.to_bytes()), Ok(done.clone()));
            prop_assert!(hand_in(&mut fixture, done).is_some_and(|outcome| outcome.is_err()));
        }
    }
}
