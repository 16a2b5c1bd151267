//! Drivers that do one thing wrong are found, each by its name; one that does nothing wrong is not.

use std::collections::{BTreeMap, VecDeque};

use pet_core::coordinator::{self, Coordinator};
use pet_core::participant::{self, Participant};
use pet_core::request::RequestId;
use pet_core::time::Timestamp;
use pet_testing::contract::{Breach, Watched};
use pet_testing::sim::{
    run, run_with, shrink_with, CoordinatorDriver, Drivers, Failure, Fault, Faults,
    ParticipantDriver, Scenario, Violation,
};

/// Makes all drivers of one kind.
struct All<P, C> {
    participant: P,
    coordinator: C,
}

fn participants<D: ParticipantDriver + 'static>(
    make: impl Fn(Watched<Participant>) -> D,
) -> impl Drivers {
    let participant = move |machine| Box::new(make(machine)) as Box<dyn ParticipantDriver>;
    All { participant, coordinator: |machine| Box::new(machine) as Box<dyn CoordinatorDriver> }
}

fn coordinators<D: CoordinatorDriver + 'static>(
    make: impl Fn(Watched<Coordinator>) -> D,
) -> impl Drivers {
    let coordinator = move |machine| Box::new(make(machine)) as Box<dyn CoordinatorDriver>;
    All { participant: |machine| Box::new(machine) as Box<dyn ParticipantDriver>, coordinator }
}

impl<P, C> Drivers for All<P, C>
where
    P: Fn(Watched<Participant>) -> Box<dyn ParticipantDriver>,
    C: Fn(Watched<Coordinator>) -> Box<dyn CoordinatorDriver>,
{
    fn participant(&self, _: usize, machine: Watched<Participant>) -> Box<dyn ParticipantDriver> {
        (self.participant)(machine)
    }

    fn coordinator(&self, machine: Watched<Coordinator>) -> Box<dyn CoordinatorDriver> {
        (self.coordinator)(machine)
    }
}

fn calm(seed: u64) -> Scenario {
    Scenario { participants: 20, liars: 0, ..Scenario::small(seed).calm() }
}

/// The failure that a driver brings about in a world where all else goes well.
fn failure(drivers: &dyn Drivers) -> Failure {
    run(&calm(1)).expect("without that driver all is well");
    *run_with(&calm(1), drivers).expect_err("the driver is found")
}

fn breach(drivers: &dyn Drivers) -> Breach {
    let failure = failure(drivers);
    match failure.violation {
        Violation::Breach { breach, .. } => breach,
        _ => panic!("{failure}"),
    }
}

type Change<O> = fn(O) -> Option<O>;

/// Does something else with what the machine says; nothing is left of some of it.
#[derive(Debug)]
struct Changed<M, O> {
    machine: M,
    change: Change<O>,
}

impl ParticipantDriver for Changed<Watched<Participant>, participant::Output> {
    fn handle_input(
        &mut self,
        now: Timestamp,
        input: participant::Input,
    ) -> Result<(), participant::Reject> {
        self.machine.handle_input(now, input)
    }

    fn poll_output(&mut self) -> participant::Output {
        loop {
            if let Some(output) = (self.change)(self.machine.poll_output()) {
                return output;
            }
        }
    }

    fn machine(&self) -> &Participant {
        &self.machine
    }
}

impl CoordinatorDriver for Changed<Watched<Coordinator>, coordinator::Output> {
    fn handle_input(
        &mut self,
        now: Timestamp,
        input: coordinator::Input,
    ) -> Result<(), coordinator::Reject> {
        self.machine.handle_input(now, input)
    }

    fn poll_output(&mut self) -> coordinator::Output {
        loop {
            if let Some(output) = (self.change)(self.machine.poll_output()) {
                return output;
            }
        }
    }

    fn machine(&self) -> &Coordinator {
        &self.machine
    }
}

#[test]
fn a_participants_driver_that_drops_a_job_is_found() {
    use participant::Output;
    let drivers = participants(|machine| Changed {
        machine,
        change: |output| (!matches!(output, Output::Job(_))).then_some(output),
    });
    let failure = failure(&drivers);
    let is_named = match &failure.violation {
        Violation::Breach { breach, .. } => matches!(breach, Breach::JobForgotten { .. }),
        violation => matches!(violation, Violation::Stuck { .. } | Violation::Spinning { .. }),
    };
    assert!(is_named, "{failure}");
}

#[test]
fn a_coordinators_driver_that_drops_a_job_is_found() {
    use coordinator::Output;
    let drivers = coordinators(|machine| Changed {
        machine,
        change: |output| (!matches!(output, Output::Job(_))).then_some(output),
    });
    let failure = failure(&drivers);
    let is_named = match &failure.violation {
        Violation::Breach { breach, .. } => matches!(breach, Breach::JobForgotten { .. }),
        violation => matches!(violation, Violation::Stuck { .. } | Violation::Spinning { .. }),
    };
    assert!(is_named, "{failure}");
}

#[test]
fn a_driver_that_reuses_a_request_id_is_found() {
    use participant::{Input, Output, Reject};

    /// One request at a time is under way: so what does it need numbers for?
    #[derive(Debug)]
    struct OneId {
        machine: Watched<Participant>,
        under_way: Option<RequestId>,
    }

    const ID: RequestId = RequestId(1);

    impl ParticipantDriver for OneId {
        fn handle_input(&mut self, now: Timestamp, input: Input) -> Result<(), Reject> {
            let input = match (input, self.under_way) {
                (Input::Response { response, .. }, Some(id)) => Input::Response { id, response },
                (Input::Fault { fault, .. }, Some(id)) => Input::Fault { id, fault },
                (input, _) => input,
            };
            self.machine.handle_input(now, input)
        }

        fn poll_output(&mut self) -> Output {
            match self.machine.poll_output() {
                Output::Request { id, call } => {
                    self.under_way = Some(id);
                    Output::Request { id: ID, call }
                }
                output => output,
            }
        }

        fn machine(&self) -> &Participant {
            &self.machine
        }
    }

    let drivers = participants(|machine| OneId { machine, under_way: None });
    assert_eq!(breach(&drivers), Breach::RequestIdReused(ID));
}

#[test]
fn a_driver_that_delivers_a_response_twice_is_found() {
    use participant::{Input, Output, Reject};

    #[derive(Debug)]
    struct Twice(Watched<Participant>);

    impl ParticipantDriver for Twice {
        fn handle_input(&mut self, now: Timestamp, input: Input) -> Result<(), Reject> {
            if let Input::Response { id, response } = &input {
                let again = Input::Response { id: *id, response: response.clone() };
                self.0.handle_input(now, again)?;
                // The machine does not mind.
                let _ = self.0.handle_input(now, input);
                return Ok(());
            }
            self.0.handle_input(now, input)
        }

        fn poll_output(&mut self) -> Output {
            self.0.poll_output()
        }

        fn machine(&self) -> &Participant {
            &self.0
        }
    }

    assert!(matches!(breach(&participants(Twice)), Breach::AnsweredTwice(_)));
}

#[test]
fn a_driver_that_leaves_outputs_in_the_machine_is_found() {
    use participant::{Idle, Output, Why};
    let drivers = participants(|machine| Changed {
        machine,
        // Whatever is told to the user seems to be the last.
        change: |output| match output {
            Output::Event(_) => Some(Output::Idle(Idle::new(None, Why::Answer))),
            output => Some(output),
        },
    });
    assert_eq!(breach(&drivers), Breach::NotDrained);
}

#[test]
fn a_driver_that_never_wakes_its_machine_is_found() {
    use coordinator::Output;
    let drivers = coordinators(|machine| Changed {
        machine,
        change: |output| match output {
            Output::Idle(mut idle) => {
                idle.wake_at = idle.wake_at.map(|_| Timestamp::from_millis(u64::MAX >> 8));
                Some(Output::Idle(idle))
            }
            output => Some(output),
        },
    });
    assert!(matches!(breach(&drivers), Breach::NotWoken(_)));
}

#[test]
fn a_changed_global_model_is_found() {
    use coordinator::Output;
    let drivers = coordinators(|machine| Changed {
        machine,
        change: |output| match output {
            Output::Front(front) => Some(Output::Front(match front.model().cloned() {
                Some(mut model) => {
                    let mut bytes = model.rationals.to_vec();
                    let last = bytes.len() - 1;
                    bytes[last] ^= 1;
                    model.rationals = bytes.into();
                    front.with_model(Some(model))
                }
                None => front,
            })),
            output => Some(output),
        },
    });
    let failure = failure(&drivers);
    assert!(
        matches!(failure.violation, Violation::WrongMean { .. } | Violation::WrongCount { .. }),
        "{failure}"
    );
}

/// Confirms each record before it is stored: so all that depends on it is published at once.
#[derive(Debug)]
struct Hasty<M>(M, Timestamp);

trait Machine: std::fmt::Debug {
    fn tell(
        &mut self,
        now: Timestamp,
        input: coordinator::Input,
    ) -> Result<(), coordinator::Reject>;
    fn ask(&mut self) -> coordinator::Output;
    fn get(&self) -> &Coordinator;
}

macro_rules! machine {
    ($($of:ty),*) => {$(
        impl Machine for $of {
            fn tell(
                &mut self,
                now: Timestamp,
                input: coordinator::Input,
            ) -> Result<(), coordinator::Reject> {
                self.handle_input(now, input)
            }
            fn ask(&mut self) -> coordinator::Output {
                self.poll_output()
            }
            fn get(&self) -> &Coordinator {
                self
            }
        }
    )*};
}

machine!(Coordinator, Watched<Coordinator>);

impl<M: Machine> CoordinatorDriver for Hasty<M> {
    fn handle_input(
        &mut self,
        now: Timestamp,
        input: coordinator::Input,
    ) -> Result<(), coordinator::Reject> {
        self.1 = now;
        self.0.tell(now, input)
    }

    fn poll_output(&mut self) -> coordinator::Output {
        let output = self.0.ask();
        if let coordinator::Output::Persist { id, .. } = &output {
            self.0.tell(self.1, coordinator::Input::Persisted(*id)).expect("a running machine");
        }
        output
    }

    fn machine(&self) -> &Coordinator {
        self.0.get()
    }
}

#[test]
fn a_driver_that_publishes_before_the_record_is_stored_is_found() {
    let drivers = coordinators(|machine| Hasty(machine, Timestamp::ZERO));
    assert!(matches!(breach(&drivers), Breach::ConfirmedEarly { .. }));
}

/// Even if nobody watches how it treats its machine: it forgets, in a crash, what it has acknowledged.
#[test]
fn what_a_hasty_driver_leads_to_is_found_shrunk_and_seen_again() {
    let drivers = coordinators(|machine| Hasty(machine.into_inner(), Timestamp::ZERO));
    let wrong = |seed| {
        let mut scenario = Scenario::small(seed);
        scenario.faults = Faults::of(&[
            (Fault::LoseRequest, 0.05),
            (Fault::Delay, 0.05),
            (Fault::ServerCrash, 0.03),
            (Fault::SlowStore, 0.5),
        ]);
        run_with(&scenario, &drivers).err()
    };
    let failure = *(1..20).find_map(wrong).expect("what is wrong is found");
    assert!(
        matches!(
            failure.violation,
            Violation::LostAcknowledged { .. } | Violation::Republished { .. }
        ),
        "{failure}"
    );
    let (before, kinds) = (failure.trace.len(), failure.scenario.faults.kinds().count());
    let small = shrink_with(failure, 60, &drivers);
    assert!(small.scenario.participants < 40 || small.trace.len() < before, "{small}");
    assert!(small.scenario.faults.kinds().count() < kinds, "{small}");
    // What is printed is enough to see it again.
    let again = run_with(&small.scenario, &drivers).unwrap_err();
    assert_eq!((again.violation, again.trace), (small.violation, small.trace));
}

/// A driver with a life of its own: it numbers its requests itself, does its jobs at once, step by step, and has a
/// queue of what is to be done.
#[derive(Debug)]
struct Own {
    machine: Watched<Participant>,
    now: Timestamp,
    queue: VecDeque<participant::Output>,
    last: u64,
    requests: BTreeMap<RequestId, RequestId>,
}

impl Own {
    fn new(machine: Watched<Participant>) -> Self {
        let (queue, requests) = (VecDeque::new(), BTreeMap::new());
        Self { machine, now: Timestamp::ZERO, queue, last: 1_000, requests }
    }

    fn work(&mut self) {
        use participant::{Input, Output};
        loop {
            match self.machine.poll_output() {
                Output::Job(job) => {
                    let done = Input::JobDone(job.finish());
                    self.machine.handle_input(self.now, done).expect("it waits for its jobs");
                }
                Output::Request { id, call } => {
                    self.last += 7;
                    self.requests.insert(RequestId(self.last), id);
                    self.queue.push_back(Output::Request { id: RequestId(self.last), call });
                }
                output @ Output::Idle(_) => {
                    self.queue.push_back(output);
                    return;
                }
                output => self.queue.push_back(output),
            }
        }
    }
}

impl ParticipantDriver for Own {
    fn handle_input(
        &mut self,
        now: Timestamp,
        input: participant::Input,
    ) -> Result<(), participant::Reject> {
        use participant::Input;
        self.now = now;
        let input = match input {
            Input::Response { id, response } => {
                Input::Response { id: self.requests.remove(&id).expect("ours"), response }
            }
            Input::Fault { id, fault } => {
                Input::Fault { id: self.requests.remove(&id).expect("ours"), fault }
            }
            input => input,
        };
        self.machine.handle_input(now, input)
    }

    fn poll_output(&mut self) -> participant::Output {
        self.work();
        // Idle was queued as well: only the last one counts.
        while self.queue.len() > 1 {
            match self.queue.pop_front() {
                Some(participant::Output::Idle(_)) | None => {}
                Some(output) => return output,
            }
        }
        self.queue.pop_front().expect("it is idle at last")
    }

    fn machine(&self) -> &Participant {
        &self.machine
    }
}

#[test]
fn a_driver_that_does_things_its_own_way_and_right_survives_everything() {
    let drivers = participants(Own::new);
    for seed in 1..4 {
        let report = run_with(&Scenario::small(seed), &drivers);
        let report =
            report.unwrap_or_else(|failure| panic!("{}", shrink_with(*failure, 50, &drivers)));
        assert!(report.completed >= 2, "{report}");
    }
}
