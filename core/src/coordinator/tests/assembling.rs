//! Multipart messages are put together and checked in steps.

use bytes::Bytes;

use super::fixture::{quick, Fixture};
use super::sender::{mask_of, Sender};
use crate::coordinator::assemble::{Assemble, BYTES_PER_STEP};
use crate::coordinator::jobs::Outcome;
use crate::coordinator::*;
use crate::job::{Job, JobId};
use crate::mask::{derive_mask, MaskConfigPair, MaskSeed};
use crate::message::{Complete, Tag};

/// Runs the job; gives the result, and how many steps it has taken. No step copies more than it may.
fn assemble(
    fixture: &Fixture,
    sender: &Sender,
    complete: Complete,
) -> (Result<(), Rejection>, usize) {
    let context = fixture.machine.context.clone();
    let mut job = Job::new(JobId(0), Assemble::new(context, sender.keys.public(), complete));
    let (mut before, mut steps) = (0, 1);
    while !job.step() {
        steps += 1;
        let done = job.progress().done;
        assert!(done - before <= BYTES_PER_STEP as u64);
        before = done;
    }
    match job.finish().handed_in().1 {
        Outcome::Assembled(result) => (result.map(|_| ()), steps),
        _ => panic!("another outcome"),
    }
}

fn parts(payload: &[u8], size: usize) -> Vec<Bytes> {
    payload.chunks(size).map(Bytes::copy_from_slice).collect()
}

/// As in one step, whatever the parts are.
#[test]
fn the_result_is_that_of_one_step() {
    let mut fixture = Fixture::new(quick());
    let summers = fixture.sum(1);
    let updaters = fixture.update(1.0);
    let mask = mask_of(&updaters).to_bytes().unwrap();
    let good = [&summers[0].signatures.sum.as_bytes()[..], &mask].concat();
    let mut damaged = good.clone();
    damaged[64 + 8..][..6].fill(0xff);
    for payload in [good.clone(), damaged, good[..100].to_vec(), Vec::new()] {
        let context = fixture.machine.context.clone();
        let participant = summers[0].keys.public();
        let expected = context
            .check_payload(participant, Tag::Sum2, false, payload.clone().into())
            .map(|_| ());
        for size in [1, 7, 64, 1000] {
            let complete = Complete { tag: Tag::Sum2, parts: parts(&payload, size) };
            let (found, _) = assemble(&fixture, &summers[0], complete);
            assert_eq!(found, expected, "{} bytes by {size}", payload.len());
        }
    }
}

/// Counted in bytes: joining, checking and hashing a long message takes as many steps as it is long.
#[test]
fn steps_are_bounded() {
    let mut fixture = Fixture::new(quick());
    let summers = fixture.sum(1);
    let updaters = fixture.update(1.0);
    let config: MaskConfigPair = updaters[0].parameters.mask_config;
    let length = 4 * BYTES_PER_STEP / 6;
    let mask = derive_mask(&MaskSeed::new([1; 32]), config, length).to_bytes().unwrap();
    let payload = [&summers[0].signatures.sum.as_bytes()[..], &mask].concat();
    for size in [1000, BYTES_PER_STEP, 3 * BYTES_PER_STEP] {
        let complete = Complete { tag: Tag::Sum2, parts: parts(&payload, size) };
        let (found, steps) = assemble(&fixture, &summers[0], complete);
        let expected = Rejection::ModelLength { expected: 4, actual: length as u64 };
        assert_eq!(found, Err(expected));
        let pieces = payload.len() / BYTES_PER_STEP;
        assert!(steps >= 3 * pieces, "{steps} steps");
    }
}
