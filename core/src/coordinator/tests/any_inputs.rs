//! Nothing that comes in harms a machine.

use std::time::Duration;

use proptest::prelude::*;

use super::fixture::{quick, Fixture};
use super::sender::{mask_of, Sender};
use crate::coordinator::*;
use crate::job::JobId;
use crate::request::Call;
use crate::round::SumDict;

proptest! {
    /// Whatever comes, in whatever order: no panic, every message is answered once, and something is
    /// always due or waited for.
    #[test]
    fn any_inputs_are_survived(
        steps in proptest::collection::vec((0u8..14, 0u32..12, 0u64..20_000), 0..60),
        storing: bool,
        working: bool,
    ) {
        let mut settings = quick();
        // Two incomplete messages are too many.
        settings.reassembly.unproven_bytes = 2500;
        let mut fixture = Fixture::new(settings);
        (fixture.storing, fixture.working) = (storing, working);
        for (kind, number, millis) in steps {
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
                _ => {
                    if let Some(job) = fixture.jobs.pop() {
                        let _ = fixture.input(Input::JobDone(job.finish()));
                    }
                }
            }
            let idle = fixture.idle.unwrap();
            prop_assert!(idle.wake_at.is_some() || matches!(idle.why, Why::Job | Why::Store));
            let saved = fixture.machine.snapshot().to_bytes();
            prop_assert!(Coordinator::restore(&saved, quick(), fixture.now).is_ok());
        }
    }
}
