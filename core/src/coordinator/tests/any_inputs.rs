//! Nothing that comes in harms a machine, and whatever comes in, its state is what its records add up to.

use std::time::Duration;

use proptest::prelude::*;

use super::fixture::{quick, recorded, Fixture};
use super::sender::{mask_of, Sender};
use crate::coordinator::*;
use crate::crypto::RootSeed;
use crate::job::JobId;
use crate::request::Call;
use crate::round::SumDict;

/// Time passes, and something comes in: what it is, from whom, after how many milliseconds.
type Step = (u8, u32, u64);

/// How many kinds of messages, jobs' results and confirmations there are, and of what other replicas say; the operator's
/// wishes come after.
const KINDS: u8 = 18;
const KINDS_WITH_CONTROL: u8 = 22;

fn steps(kinds: u8, senders: u32, millis: u64, most: usize) -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec((0..kinds, 0..senders, 0..millis), 0..most)
}

/// The update of one that another replica is let have, or not. Its parts are stored nowhere.
fn take_of_shard(fixture: &mut Fixture, kind: u8, sealed: Vec<u8>, number: u32) {
    let shard = Shard::new([(number % 2) as u8; 16]);
    fixture.tickets += 1;
    let ticket = Ticket(fixture.tickets);
    let admission = fixture.front.open(sealed).ok().and_then(|message| message.admission());
    let Some((admission, model)) = admission else { return };
    let before = fixture.machine.state.parts().of(&shard);
    let mut part = [number as u8; 16];
    part[..8].copy_from_slice(&ticket.0.to_le_bytes());
    let done = PartDone {
        round_id: admission.round_id(),
        shard,
        part: PartId::new(part),
        predecessor: before.map(|before| before.part),
        participants: vec![model.participant()],
        models: before.map_or(0, |before| before.models) + 1,
    };
    let input = match kind {
        0 => Input::Admit { ticket, shard, admission },
        _ => Input::Part { ticket, done },
    };
    let _ = fixture.input(input);
}

/// Two incomplete messages are too many.
fn narrow() -> Settings {
    let mut settings = quick();
    settings.reassembly.unproven_bytes = 2500;
    settings
}

fn take(fixture: &mut Fixture, (kind, number, millis): Step) {
    fixture.now = fixture.now + Duration::from_millis(millis);
    let sender = Sender::new(number, &fixture.parameters());
    let sums = match fixture.front.answer(&Call::Sums).unwrap() {
        response if response.status == 200 => fixture.sums(),
        _ => SumDict::new(),
    };
    match kind {
        0..=1 => drop(fixture.send(sender.sum())),
        2..=3 => drop(fixture.send(sender.update(&sums, 1.0))),
        4 => drop(fixture.send(sender.sum2(&mask_of(std::slice::from_ref(&sender))))),
        5 => drop(fixture.input(Input::Persisted(PersistId(u64::from(number))))),
        6 => drop(fixture.input(Input::JobLost(JobId(u64::from(number))))),
        7 => drop(fixture.input(Input::Tick)),
        8..=12 => drop(fixture.send(sender.chunk_of_update(&sums, millis))),
        13 => {
            if let Some(job) = fixture.jobs.pop() {
                let _ = fixture.input(Input::JobDone(job.finish()));
            }
        }
        14..=15 => take_of_shard(fixture, kind - 14, sender.update(&sums, 1.0), number),
        16 => {
            let shard = Shard::new([(number % 2) as u8; 16]);
            let _ = fixture.input(Input::ShardLost { shard });
        }
        17 => {
            let part = PartId::new([number as u8; 16]);
            let _ = fixture.input(Input::Fetched { part, bytes: Some(Vec::new().into()) });
        }
        18 => drop(fixture.input(Input::Pause)),
        19 => drop(fixture.input(Input::Resume)),
        20 => drop(fixture.input(Input::Skip)),
        _ => {
            let mut settings = narrow();
            settings.sum.count.min = u64::from(1 + number % 2);
            let _ = fixture.input(Input::ChangeSettings(Box::new(settings)));
        }
    }
}

proptest! {
    /// Whatever comes, in whatever order: no panic, every message is answered once, and something is
    /// always due or waited for.
    #[test]
    fn any_inputs_are_survived(
        steps in steps(KINDS, 12, 20_000, 60),
        storing: bool,
        working: bool,
    ) {
        let mut fixture = Fixture::new(narrow());
        (fixture.storing, fixture.working) = (storing, working);
        for step in steps {
            take(&mut fixture, step);
            let idle = fixture.idle.unwrap();
            prop_assert!(idle.wake_at.is_some() || matches!(idle.why, Why::Job | Why::Store));
            let saved = fixture.machine.snapshot().to_bytes();
            prop_assert!(Coordinator::restore(&saved, quick(), fixture.now).is_ok());
        }
    }

    /// The running machine and whoever goes on from its records are in the same state, after each input,
    /// and also if it is one that went on from records itself. A few senders have time enough to complete
    /// split messages. (`Fixture::check_recovery` looks as well, whenever a machine of these tests is idle.)
    #[test]
    fn the_state_is_what_the_records_add_up_to(
        steps in steps(KINDS_WITH_CONTROL, 4, 600, 100),
        crashes in proptest::collection::vec(any::<prop::sample::Index>(), 0..3),
        updating: bool,
        storing: bool,
        working: bool,
    ) {
        let crashes: Vec<_> = crashes.iter().map(|crash| crash.index(100)).collect();
        let mut fixture = Fixture::new(narrow());
        if updating {
            fixture.sum(1);
        }
        (fixture.storing, fixture.working) = (storing, working);
        let mut records = std::mem::take(&mut fixture.records);
        for (number, step) in steps.into_iter().enumerate() {
            if crashes.contains(&number) {
                fixture = fixture.crashed(narrow());
            }
            take(&mut fixture, step);
            records.append(&mut fixture.records);
            let mut fresh = Recovery::new(RootSeed::new([1; 32]));
            for record in &records {
                fresh.apply(record.clone()).unwrap();
            }
            let [fresh, state] = [fresh.state().unwrap(), &fixture.machine.state].map(recorded);
            prop_assert!(fresh == state, "not what the records add up to: {:?}", fixture.machine);
        }
    }
}
