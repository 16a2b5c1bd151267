//! A replica that adds up masked models for the one that runs the machine, and what it says.

use super::fixture::{quick, Fixture, TIME};
use super::sender::{mask_of, Sender};
use crate::coordinator::*;
use crate::job::JobId;
use crate::model::Model;

/// A replica that takes update messages.
#[derive(Clone)]
pub(super) struct Replica {
    pub(super) sum: ShardSum,
    pub(super) last: Option<PartId>,
    /// Reserved, and in no recorded part.
    pub(super) held: Vec<MaskedModel>,
    parts: u8,
}

/// What stands for it in the mean.
pub(super) fn weight(sender: &Sender) -> f32 {
    sender.number as f32 / 1024.0
}

pub(super) fn update(fixture: &Fixture, sender: &Sender) -> Verified {
    let sealed = sender.update_of(&fixture.sums(), weight(sender));
    fixture.front.open(sealed).unwrap()
}

/// Tells the machine, and gives the answer if there is one already.
pub(super) fn ask(
    fixture: &mut Fixture,
    input: impl FnOnce(Ticket) -> Input,
) -> Option<Result<(), Rejection>> {
    fixture.tickets += 1;
    let ticket = Ticket(fixture.tickets);
    fixture.input(input(ticket)).unwrap();
    let replies: Vec<_> = fixture.replies.iter().filter(|(id, _)| *id == ticket).collect();
    assert!(replies.len() <= 1, "answered twice");
    replies.first().map(|(_, outcome)| outcome.clone())
}

pub(super) fn admit(
    fixture: &mut Fixture,
    shard: Shard,
    admission: Admission,
) -> Result<(), Rejection> {
    ask(fixture, |ticket| Input::Admit { ticket, shard, admission }).expect("it does not wait")
}

impl Replica {
    pub(super) fn new(number: u8, fixture: &Fixture) -> Self {
        let sum = ShardSum::new(Shard::new([number; 16]), &fixture.front).unwrap();
        Self { sum, last: None, held: Vec::new(), parts: 0 }
    }

    pub(super) fn shard(&self) -> Shard {
        self.sum.shard()
    }

    pub(super) fn admit(
        &mut self,
        fixture: &mut Fixture,
        message: &Verified,
    ) -> Result<(), Rejection> {
        let (admission, model) = message.admission().unwrap();
        let admission = Admission::from_bytes(&admission.to_bytes()).unwrap();
        admit(fixture, self.shard(), admission)?;
        // It may hold one already that is not reserved any more.
        self.held.retain(|held| held.participant() != model.participant());
        self.held.push(model);
        Ok(())
    }

    /// Adds up what it holds, and stores that.
    pub(super) fn store(&mut self, fixture: &mut Fixture) -> (ShardSum, PartDone) {
        self.parts += 1;
        let mut part = *self.shard().as_bytes();
        part[0] = self.parts;
        let part = PartId::new(part);
        let job = self.sum.add(JobId(7), &self.held).unwrap();
        let sum = self.sum.added(job.finish()).unwrap();
        fixture.parts.insert(part, sum.to_bytes().into());
        let done = sum.part(part, self.last, &self.held);
        assert_eq!(PartDone::from_bytes(&done.to_bytes()), Ok(done.clone()));
        (sum, done)
    }

    /// Has what it holds counted.
    pub(super) fn hand_in(&mut self, fixture: &mut Fixture) -> Result<(), Rejection> {
        let (sum, done) = self.store(fixture);
        let part = done.part;
        hand_in(fixture, done).expect("all is stored")?;
        (self.sum, self.last) = (sum, Some(part));
        self.held.clear();
        Ok(())
    }
}

pub(super) fn hand_in(fixture: &mut Fixture, done: PartDone) -> Option<Result<(), Rejection>> {
    ask(fixture, |ticket| Input::Part { ticket, done })
}

/// In the update phase, with a sum participant.
pub(super) fn updating() -> (Fixture, Sender) {
    let mut fixture = Fixture::new(quick());
    let summer = fixture.sum(1).remove(0);
    (fixture, summer)
}

/// The update phase is over; gives the votes for the mask of these.
pub(super) fn vote(fixture: &mut Fixture, summer: &Sender, counted: &[Sender]) {
    assert_eq!(fixture.machine.phase(), Phase::Sum2);
    assert_eq!(fixture.send(summer.sum2(&mask_of(counted))), Some(Ok(())));
    fixture.wait(TIME);
}

/// The model is the plain mean of exactly these.
pub(super) fn check_mean(fixture: &Fixture, counted: &[Sender]) {
    let model = fixture.models.last().expect("there is a model");
    assert_eq!(model.models, counted.len() as u64);
    let mean = counted.iter().map(weight).sum::<f32>() / counted.len() as f32;
    let Some(Model::F32(weights)) = model.weights.as_deref() else { panic!() };
    assert!(weights.iter().all(|weight| (weight - mean).abs() < 1e-6), "{weights:?}, not {mean}");
}
