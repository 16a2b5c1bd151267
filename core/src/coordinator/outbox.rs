//! What a coordinator puts out, and what of it waits for the store.
//!
//! There are two lanes. Jobs, records and rejections come out as soon as they are asked for. What must not be
//! seen before it is stored waits until all records are confirmed that were put out before it. Within a lane
//! the order is kept; and each kind of output has its own lane, so that none can take the wrong one.

use std::collections::VecDeque;

use super::io::{Event, Output, PersistId, Ticket};
use super::{Front, Job, PartId, Record, Rejection};

/// How many outputs may wait for the store. Messages that come then are sent away, whatever they are: so a
/// store that is stuck has no more to remember than this.
pub(super) const MOST_GATED: usize = 1 << 16;

/// All that a coordinator has put out, and nobody has taken yet.
#[derive(Default)]
pub(super) struct Outbox {
    ready: VecDeque<Output>,
    /// With the record that each waits for, in order.
    gated: VecDeque<(PersistId, Output)>,
    last_record: PersistId,
    confirmed: PersistId,
}

impl Outbox {
    /// Numbers a record and has it stored: what is put out from now on waits for it, if it waits at all.
    pub(super) fn persist(&mut self, record: Record) -> PersistId {
        self.last_record = PersistId(self.last_record.0 + 1);
        self.ready.push_back(Output::Persist { id: self.last_record, record });
        self.last_record
    }

    /// Gives out a job. It shows nothing to anyone, so it waits for nothing.
    pub(super) fn job(&mut self, job: Job) {
        self.ready.push_back(Output::Job(job));
    }

    /// Has everyone answered with this, once it is stored that it holds.
    pub(super) fn front(&mut self, front: Front) {
        self.gate(Output::Front(front));
    }

    /// Has no message taken any more, from now on: there is no record of that. `shown` is the front that came out
    /// last; those that still wait come out closed, too.
    pub(super) fn close(&mut self, shown: &Front) {
        if shown.round_id().is_some() {
            self.ready.push_back(Output::Front(shown.clone().closed()));
        }
        for (_, output) in &mut self.gated {
            if let Output::Front(front) = output {
                *front = std::mem::take(front).closed();
            }
        }
    }

    /// Tells the operator, once it is stored.
    pub(super) fn event(&mut self, event: Event) {
        self.gate(Output::Event(event));
    }

    /// Answers a message. Who is told that its message is there must not send it again, so that answer waits
    /// for the store; any other rejection has changed nothing and need not.
    pub(super) fn reply(&mut self, ticket: Ticket, outcome: Result<(), Rejection>) {
        let is_there = outcome.as_ref().err().is_none_or(Rejection::is_duplicate);
        let output = Output::Reply { ticket, outcome };
        match is_there {
            true => self.gate(output),
            false => self.ready.push_back(output),
        }
    }

    /// Accepts a message of which there is nothing to store.
    pub(super) fn reply_at_once(&mut self, ticket: Ticket) {
        self.ready.push_back(Output::Reply { ticket, outcome: Ok(()) });
    }

    /// A part is needed.
    pub(super) fn fetch(&mut self, part: PartId) {
        self.ready.push_back(Output::Fetch { part });
    }

    fn gate(&mut self, output: Output) {
        self.gated.push_back((self.last_record, output));
    }

    /// Takes a confirmation that all records up to this one are stored; gives up to which they are. Records
    /// that were never put out are not confirmed in advance.
    pub(super) fn confirm(&mut self, id: PersistId) -> PersistId {
        self.confirmed = self.confirmed.max(id.min(self.last_record));
        self.confirmed
    }

    /// The next output, if there is one that waits for nothing.
    pub(super) fn poll(&mut self) -> Option<Output> {
        if let Some(output) = self.ready.pop_front() {
            return Some(output);
        }
        let (record, _) = self.gated.front()?;
        match *record <= self.confirmed {
            true => self.gated.pop_front().map(|(_, output)| output),
            false => None,
        }
    }

    /// The answers that wait for this record, and for no later one.
    pub(super) fn answers_with(
        &self,
        id: PersistId,
    ) -> impl Iterator<Item = (Ticket, &Result<(), Rejection>)> {
        let from = self.gated.partition_point(|(record, _)| *record < id);
        let of_it = self.gated.range(from..).take_while(move |(record, _)| *record == id);
        of_it.filter_map(|(_, output)| match output {
            Output::Reply { ticket, outcome } => Some((*ticket, outcome)),
            _ => None,
        })
    }

    /// The number of the latest record.
    pub(super) fn last_record(&self) -> PersistId {
        self.last_record
    }

    /// Whether all records are stored.
    pub(super) fn is_stored(&self) -> bool {
        self.confirmed == self.last_record
    }

    /// Whether as much waits for the store as may.
    pub(super) fn is_full(&self) -> bool {
        self.gated.len() >= MOST_GATED
    }

    /// Whether anything waits for the store.
    pub(super) fn is_waiting(&self) -> bool {
        !self.gated.is_empty()
    }

    /// How many outputs there are.
    pub(super) fn len(&self) -> usize {
        self.ready.len() + self.gated.len()
    }

    /// Another one like this. Nothing if there are outputs that could be taken without a confirmation: there
    /// may be jobs among them, and a job is there once.
    pub(super) fn fork(&self) -> Option<Self> {
        if !self.ready.is_empty() {
            return None;
        }
        let gated = self.gated.iter().map(|(id, output)| Some((*id, output.copy()?)));
        Some(Self {
            ready: VecDeque::new(),
            gated: gated.collect::<Option<_>>()?,
            last_record: self.last_record,
            confirmed: self.confirmed,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::coordinator::jobs::Outcome;
    use crate::coordinator::Phase;
    use crate::job::{JobId, Release};
    use crate::message::Tag;

    /// What is put in, and what is done with the box.
    #[derive(Debug, Clone, Copy)]
    enum Step {
        Persist,
        Job,
        Front,
        Event,
        Accept,
        Duplicate,
        Reject,
        Confirm(u64),
        Poll,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            2 => Just(Step::Persist),
            1 => Just(Step::Job),
            1 => Just(Step::Front),
            1 => Just(Step::Event),
            1 => Just(Step::Accept),
            1 => Just(Step::Duplicate),
            1 => Just(Step::Reject),
            2 => (0u64..20).prop_map(Step::Confirm),
            4 => Just(Step::Poll),
        ];
        proptest::collection::vec(step, 0..120)
    }

    fn rejected() -> Rejection {
        Rejection::WrongPhase { tag: Tag::Sum, phase: Phase::Update }
    }

    /// The number that `put` has given to an output; nothing for fronts, which have no room for one.
    fn number(output: &Output) -> Option<u64> {
        match output {
            Output::Persist { record: Record::RoundFailed { round_id }, .. }
            | Output::Event(Event::PhaseBegan { round_id, .. }) => Some(*round_id),
            Output::Job(job) => Some(job.id().0),
            Output::Reply { ticket, .. } => Some(ticket.0),
            _ => None,
        }
    }

    proptest! {
        /// A model of it: what is put in comes out once, each lane in its order, and nothing that waits before
        /// all records are confirmed that were there when it was put in.
        #[test]
        fn order_is_kept_and_nothing_passes_its_record(steps in steps()) {
            let mut outbox = Outbox::default();
            let mut ready = VecDeque::new();
            let mut gated: VecDeque<(u64, _)> = VecDeque::new();
            let (mut records, mut confirmed) = (0, 0);
            for (step, n) in steps.into_iter().chain([Step::Confirm(u64::MAX)]).zip(0u64..) {
                match step {
                    Step::Persist => {
                        records += 1;
                        let record = Record::RoundFailed { round_id: n };
                        prop_assert_eq!(outbox.persist(record), PersistId(records));
                        ready.push_back(Some(n));
                    }
                    Step::Job => {
                        outbox.job(Job::new(JobId(n), Release::new((), Outcome::Released)));
                        ready.push_back(Some(n));
                    }
                    Step::Reject => {
                        outbox.reply(Ticket(n), Err(rejected()));
                        ready.push_back(Some(n));
                    }
                    Step::Front => {
                        outbox.front(Front::new());
                        gated.push_back((records, None));
                    }
                    Step::Event => {
                        outbox.event(Event::PhaseBegan { round_id: n, phase: Phase::Sum });
                        gated.push_back((records, Some(n)));
                    }
                    Step::Accept => {
                        outbox.reply(Ticket(n), Ok(()));
                        gated.push_back((records, Some(n)));
                    }
                    Step::Duplicate => {
                        outbox.reply(Ticket(n), Err(Rejection::DuplicateUpdate));
                        gated.push_back((records, Some(n)));
                    }
                    Step::Confirm(id) => {
                        confirmed = confirmed.max(id.min(records));
                        prop_assert_eq!(outbox.confirm(PersistId(id)), PersistId(confirmed));
                    }
                    Step::Poll => {
                        let is_due = gated.front().is_some_and(|(record, _)| *record <= confirmed);
                        let expected = match ready.pop_front() {
                            None if is_due => gated.pop_front().map(|(_, number)| number),
                            ready => ready,
                        };
                        let found = outbox.poll();
                        prop_assert_eq!(found.as_ref().map(number), expected);
                    }
                }
                prop_assert_eq!(outbox.len(), ready.len() + gated.len());
                prop_assert_eq!(outbox.is_waiting(), !gated.is_empty());
                prop_assert_eq!(outbox.is_stored(), confirmed == records);
                prop_assert_eq!(outbox.fork().is_some(), ready.is_empty());
            }
            // All is confirmed now: all comes out.
            let left: Vec<_> = std::iter::from_fn(|| outbox.poll()).map(|out| number(&out)).collect();
            let gated = gated.into_iter().map(|(_, number)| number);
            prop_assert_eq!(left, ready.into_iter().chain(gated).collect::<Vec<_>>());
        }
    }

    #[test]
    fn so_many_outputs_may_wait_and_no_more() {
        let mut outbox = Outbox::default();
        outbox.persist(Record::SumEnded);
        for ticket in 0..MOST_GATED as u64 {
            assert!(!outbox.is_full());
            outbox.reply(Ticket(ticket), Ok(()));
        }
        assert!(outbox.is_full());
        // One that need not wait takes no place.
        outbox.reply(Ticket(0), Err(rejected()));
        outbox.confirm(PersistId(1));
        for _ in 0..3 {
            assert!(outbox.poll().is_some());
        }
        assert!(!outbox.is_full());
    }

    /// It would be of a record of another machine, and what the next one tells of would be seen too early.
    #[test]
    fn a_record_that_is_not_there_yet_is_not_confirmed() {
        let mut outbox = Outbox::default();
        assert_eq!(outbox.confirm(PersistId(5)), PersistId(0));
        outbox.persist(Record::SumEnded);
        outbox.reply(Ticket(1), Ok(()));
        assert!(matches!(outbox.poll(), Some(Output::Persist { id: PersistId(1), .. })));
        assert!(outbox.poll().is_none());
        // A confirmation takes nothing back.
        assert_eq!(outbox.confirm(PersistId(1)), PersistId(1));
        assert_eq!(outbox.confirm(PersistId(0)), PersistId(1));
        assert!(outbox.poll().is_some());
    }

    #[test]
    fn a_fork_waits_for_the_same_records() {
        let mut outbox = Outbox::default();
        outbox.persist(Record::SumEnded);
        outbox.event(Event::PhaseBegan { round_id: 7, phase: Phase::Update });
        assert!(outbox.poll().is_some());
        let mut fork = outbox.fork().unwrap();
        assert!(fork.poll().is_none());
        fork.confirm(PersistId(1));
        assert_eq!(fork.poll().as_ref().and_then(number), Some(7));
        assert!(outbox.poll().is_none(), "the other one still waits");
    }
}
