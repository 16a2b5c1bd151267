//! Whatever replicas do, and whatever happens to them and to the one that runs the machine: each participant counts once
//! at most, exactly those count that were told so, and the model is their mean.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::fixture::{quick, Fixture, TIME};
use super::replica::{admit, ask, check_mean, hand_in, update, vote, weight, Replica};
use super::sender::Sender;
use crate::coordinator::*;
use crate::crypto::{PublicSigningKey, Task};
use crate::job::{JobId, MAX_LOSSES};

const SENDERS: usize = 7;
const REPLICAS: usize = 3;

/// What happens next: what, with which sender, at which replica, after how many milliseconds.
type Step = (u8, usize, usize, u64);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0u8..20, 0..SENDERS, 0..REPLICAS, 0u64..120);
    proptest::collection::vec(step, 0..60)
}

struct World {
    fixture: Option<Fixture>,
    summer: Sender,
    senders: Vec<Sender>,
    messages: Vec<Verified>,
    replicas: Vec<Replica>,
    /// How many replicas there have been.
    incarnations: u8,
    /// What was handed in before, to be handed in again.
    letters: Vec<PartDone>,
    /// Who was told that it counts.
    counted: BTreeMap<PublicSigningKey, Sender>,
    /// The messages to the machine itself that have no answer yet.
    open: BTreeMap<Ticket, usize>,
    /// How many jobs were lost: after a few the round would fail.
    losses: u32,
}

impl World {
    fn new() -> Self {
        let mut fixture = Fixture::new(quick());
        let summer = fixture.sum(1).remove(0);
        // Some more, so that there are always enough in the end.
        let senders = fixture.with_task(Task::Update, SENDERS + 3);
        let messages = senders.iter().map(|sender| update(&fixture, sender)).collect();
        let replicas = (1..=REPLICAS as u8).map(|number| Replica::new(number, &fixture)).collect();
        fixture.working = false;
        let (letters, counted, open, losses) = Default::default();
        let incarnations = REPLICAS as u8;
        let fixture = Some(fixture);
        Self {
            fixture,
            summer,
            senders,
            messages,
            replicas,
            incarnations,
            letters,
            counted,
            open,
            losses,
        }
    }

    fn fixture(&mut self) -> &mut Fixture {
        self.fixture.as_mut().expect("there is always one")
    }

    /// Somebody is told that these count.
    fn count(&mut self, participants: &[PublicSigningKey]) {
        for participant in participants {
            let is_it = |sender: &&Sender| sender.keys.public() == *participant;
            let sender = self.senders.iter().find(is_it).expect("one of ours").clone();
            self.counted.insert(*participant, sender);
        }
    }

    fn send(&mut self, sender: usize) {
        let message = self.messages[sender].clone();
        let fixture = self.fixture();
        let _ = ask(fixture, |ticket| Input::Message { ticket, message });
        let ticket = Ticket(fixture.tickets);
        self.open.insert(ticket, sender);
        self.take_answers();
    }

    /// The machine's answers to messages that it has taken itself.
    fn take_answers(&mut self) {
        let replies = self.fixture().replies.clone();
        for (ticket, outcome) in replies {
            if let Some(sender) = self.open.remove(&ticket) {
                if outcome.is_ok() {
                    self.count(&[self.senders[sender].keys.public()]);
                }
            }
        }
    }

    /// Admits again whoever is not reserved any more, as a replica does; those that it may not have are left out.
    fn admit_again(&mut self, replica: usize) {
        let held = std::mem::take(&mut self.replicas[replica].held);
        for model in held {
            let of = |message: &&Verified| message.participant() == model.participant();
            let message = self.messages.iter().find(of).expect("one of ours").clone();
            let shard = self.replicas[replica].sum.shard();
            let admission = message.admission().unwrap().0;
            if admit(self.fixture(), shard, admission).is_ok() {
                self.replicas[replica].held.push(model);
            }
        }
    }

    fn hand_in(&mut self, replica: usize) {
        if self.replicas[replica].held.is_empty() {
            return;
        }
        let mut fixture = self.fixture.take().expect("there is always one");
        let (sum, done) = self.replicas[replica].store(&mut fixture);
        let outcome = hand_in(&mut fixture, done.clone()).expect("all is stored");
        self.fixture = Some(fixture);
        match outcome {
            Ok(()) => {
                self.count(&done.participants);
                self.letters.push(done.clone());
                let replica = &mut self.replicas[replica];
                (replica.sum, replica.last) = (sum, Some(done.part));
                replica.held.clear();
            }
            Err(Rejection::NotReserved { .. }) => self.admit_again(replica),
            // The phase is over: nobody was told anything.
            Err(Rejection::PartOver) => self.replicas[replica].held.clear(),
            Err(other) => panic!("{other}"),
        }
    }

    /// What a replica never says: nothing may come of it.
    fn lie(&mut self, sender: usize, replica: usize, kind: u64) {
        let Some(last) = self.letters.get(replica).cloned() else { return };
        let key = self.senders[sender].keys.public();
        let mut lie = last.clone();
        match kind % 4 {
            0 => lie.part = PartId::new([kind as u8; 16]),
            1 => lie.participants.push(key),
            2 => lie.models += 1,
            _ => {
                lie =
                    PartDone { predecessor: Some(last.part), part: PartId::new([0xee; 16]), ..last }
            }
        }
        if hand_in(self.fixture(), lie.clone()) == Some(Ok(())) {
            // It has said nothing new.
            assert!(lie
                .participants
                .iter()
                .all(|participant| self.counted.contains_key(participant)));
        }
    }

    fn take(&mut self, (kind, sender, replica, millis): Step) {
        let fixture = self.fixture();
        fixture.now = fixture.now + Duration::from_millis(millis);
        match kind {
            0..=4 => {
                let message = self.messages[sender].clone();
                let mut fixture = self.fixture.take().expect("there is always one");
                let _ = self.replicas[replica].admit(&mut fixture, &message);
                self.fixture = Some(fixture);
            }
            5..=8 => self.hand_in(replica),
            9 => {
                let shard = self.replicas[replica].sum.shard();
                self.fixture().input(Input::ShardLost { shard }).unwrap();
            }
            10..=11 => self.send(sender),
            12 => {
                // The machine's replica crashes; another one takes its place.
                self.fixture = self.fixture.take().map(|fixture| fixture.crashed(quick()));
                self.open.clear();
            }
            13 => {
                // A replica begins anew: what it held is gone, and nobody was told of it.
                self.incarnations += 1;
                let new = Replica::new(self.incarnations, self.fixture());
                self.replicas[replica] = new;
            }
            14 => {
                // A letter comes again. It counts what it counted, if it still is the latest.
                if let Some(done) = self.letters.get(sender % self.letters.len().max(1)).cloned() {
                    let outcome = hand_in(self.fixture(), done).expect("all is stored");
                    let expected = [Rejection::PartPredecessor, Rejection::PartOver];
                    assert!(outcome.as_ref().err().is_none_or(|error| expected.contains(error)));
                }
            }
            15 => self.lie(sender, replica, millis),
            16 if self.losses + 1 < MAX_LOSSES => {
                self.losses += 1;
                let fixture = self.fixture();
                fixture.jobs.pop();
                fixture.drain();
            }
            // A job that there never was: one more that is lost in earnest would end the round.
            17 => drop(self.fixture().input(Input::JobLost(JobId(u64::MAX - millis)))),
            18 => {
                let part = PartId::new([millis as u8; 16]);
                let unknown = self.fixture().input(Input::Fetched { part, bytes: None });
                assert_eq!(unknown, Err(Reject::UnknownPart(part)));
            }
            _ => {
                if let Some(job) = self.fixture().jobs.pop() {
                    let _ = self.fixture().input(Input::JobDone(job.finish()));
                }
            }
        }
        self.take_answers();
    }

    fn finish(mut self, crash: bool) {
        let fixture = self.fixture();
        fixture.working = true;
        while let Some(job) = fixture.jobs.pop() {
            let _ = fixture.input(Input::JobDone(job.finish()));
        }
        self.take_answers();
        for sender in SENDERS..SENDERS + 3 {
            if self.fixture().machine.phase() == Phase::Update {
                self.send(sender);
            }
        }
        let fixture = self.fixture();
        fixture.wait(TIME);
        if crash {
            self.fixture = self.fixture.take().map(|fixture| fixture.crashed(quick()));
        }
        let counted: Vec<_> = self.counted.values().cloned().collect();
        let summer = self.summer.clone();
        let fixture = self.fixture();
        let means: f32 = counted.iter().map(weight).sum();
        assert!(means > 0.0 && counted.len() >= 3);
        vote(fixture, &summer, &counted);
        check_mean(fixture, &counted);
    }
}

proptest! {
    #[test]
    fn exactly_those_count_that_were_told_so(steps in steps(), crash: bool) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
        }
        world.finish(crash);
    }
}
