//! Rounds that are over, and what follows them in another place.

use std::time::Duration;

use super::fixture::{quick, Fixture};
use super::records::play;
use crate::coordinator::*;
use crate::crypto::RootSeed;
use crate::model::DataType;
use crate::request::Call;

fn resumed(round: &EndedRound, root: &RootSeed, model: Option<GlobalModel>) -> Fixture {
    let mut recovery = Recovery::new(root.clone()).with_model(model);
    round.records(root).into_iter().for_each(|record| recovery.apply(record).unwrap());
    Fixture::resume(recovery, Duration::ZERO, quick())
}

/// In the middle of a round, too: it counts as over, and the next one goes on as if it had failed.
#[test]
fn a_round_that_is_over_is_followed_by_the_next_one() {
    let mut whole = Fixture::new(quick());
    play(&mut whole);
    let recovery = whole.recovery.clone().unwrap();
    assert_eq!((recovery.round_id(), recovery.accepted()), (Some(4), 0));
    let round = recovery.ended_round().unwrap();
    let model = whole.models.last().cloned();
    let root = RootSeed::new([1; 32]);

    let mut moved = resumed(&round, &root, model.clone());
    assert_eq!((moved.machine.round_id(), moved.machine.phase()), (5, Phase::Sum));
    let latest = |fixture: &Fixture| fixture.front.answer(&Call::Model(DataType::F32));
    assert_eq!(latest(&moved), latest(&whole));
    // As where it was: the next round's keys are the same, and were never used.
    for _ in 0..8 {
        if whole.machine.round_id() == 4 {
            whole.wait(quick().sum.time.max);
        }
    }
    assert_eq!(whole.machine.round_id(), 5);
    assert_eq!(moved.parameters(), whole.parameters());
    play(&mut moved);

    // From a backup: later rounds may have been seen.
    let mut later = round.clone();
    later.round_id = 6;
    let other = RootSeed::new([9; 32]);
    for (round, root) in [(&later, &root), (&round, &other)] {
        let renewed = resumed(round, root, model.clone());
        assert_eq!(renewed.machine.round_id(), round.round_id + 1);
        let (new, known) = (renewed.parameters(), whole.parameters());
        assert!(new.pk != known.pk && new.seed != known.seed);
    }
}
