//! The results of jobs come to the same bytes in whatever order and however many parts they come.

use std::time::Duration;

use pet_core::coordinator::{Coordinator, Front, Input, Job, Output, Phase, Record, Ticket};
use pet_core::crypto::{RootSeed, Task};
use pet_core::mask::{Aggregation, MaskConfig};
use pet_core::message::Tag;
use pet_core::round::SumDict;
use pet_core::time::Timestamp;
use pet_testing::by_hand::Hand;
use pet_testing::world::settings;
use proptest::collection::vec;
use proptest::prelude::*;
use std::sync::Arc;

const LENGTH: u64 = 5;
const UPDATERS: usize = 6;

/// A coordinator whose jobs wait until somebody wants them done.
struct Slow {
    machine: Coordinator,
    front: Front,
    jobs: Vec<Job>,
    accepted: usize,
    aggregation: Option<Arc<Aggregation>>,
    now: Timestamp,
}

impl Slow {
    fn new() -> Self {
        let config = "Prime/F32/B0/M3".parse::<MaskConfig>().unwrap();
        let settings = settings(config.into(), LENGTH);
        let machine = Coordinator::new(settings, RootSeed::new([8; 32]), Timestamp::ZERO).unwrap();
        let mut slow = Self {
            machine,
            front: Front::new(),
            jobs: Vec::new(),
            accepted: 0,
            aggregation: None,
            now: Timestamp::ZERO,
        };
        slow.input(Input::Tick);
        slow
    }

    fn input(&mut self, input: Input) {
        self.machine.handle_input(self.now, input).unwrap();
        loop {
            match self.machine.poll_output() {
                Output::Job(job) => self.jobs.push(job),
                Output::Persist { id, record } => {
                    if let Record::Updates { aggregation, .. } = record {
                        self.aggregation = aggregation;
                    }
                    self.machine.handle_input(self.now, Input::Persisted(id)).unwrap();
                }
                Output::Front(front) => self.front = front,
                Output::Reply { outcome, .. } => {
                    assert_eq!(outcome, Ok(()));
                    self.accepted += 1;
                }
                Output::Idle(_) => return,
                _ => {}
            }
        }
    }

    fn message(&mut self, sealed: Vec<u8>) {
        let message = self.front.open(sealed).unwrap();
        self.input(Input::Message { ticket: Ticket(0), message });
    }

    /// Does the job at a place in the queue, in some parts.
    fn job(&mut self, at: usize, parts: usize) {
        let job = self.jobs.remove(at % self.jobs.len());
        // The parts in reverse, as if the last thread had been the quickest.
        let result = job.run(
            parts,
            || false,
            |pieces| {
                let mut results: Vec<_> = pieces
                    .into_iter()
                    .rev()
                    .map(|piece| piece.run(|| false))
                    .collect::<Option<_>>()?;
                results.reverse();
                Some(results)
            },
        );
        self.input(Input::JobDone(result.unwrap()));
    }
}

/// An update phase in which every update comes in two chunks; the aggregate at its end.
fn aggregate(orders: &[u8], parts: &[u8]) -> Vec<u8> {
    let mut slow = Slow::new();
    let parameters = slow.machine.parameters().clone();
    let mut sums = SumDict::new();
    for hand in Hand::with_task(Task::Sum, 2, &parameters) {
        slow.message(hand.sum());
        sums.insert(hand.key(), hand.ephemeral().public());
    }
    slow.now = slow.now + Duration::from_secs(1);
    slow.input(Input::Tick);
    assert_eq!(slow.machine.phase(), Phase::Update);
    for hand in Hand::with_task(Task::Update, UPDATERS, &parameters) {
        let payload = hand.update_payload(&sums, &hand.fitting());
        for second in [false, true] {
            slow.message(hand.send_chunk(Tag::Update, &payload, 150, second));
        }
    }
    assert_eq!(slow.jobs.len(), UPDATERS, "each must be put together");
    let mut choices = orders.iter().zip(parts).cycle();
    while !slow.jobs.is_empty() {
        let (at, parts) = choices.next().unwrap();
        slow.job(usize::from(*at), usize::from(*parts));
    }
    assert_eq!(slow.machine.accepted(), UPDATERS as u64);
    // Two chunks of each, two sum messages.
    assert_eq!(slow.accepted, 2 * UPDATERS + 2);
    slow.aggregation.unwrap().object().to_bytes().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn in_any_order_and_any_parts(orders in vec(any::<u8>(), 1..12), parts in vec(1u8..6, 12)) {
        prop_assert_eq!(aggregate(&orders, &parts), aggregate(&[0], &[1]));
    }
}
