//! The participant's thread.

use std::sync::Arc;

use pet_transport_blocking::core::model::Scalar;
use pet_transport_blocking::core::participant::Event;
use pet_transport_blocking::{Handle, Participant};

use crate::inbox::is_late;
use crate::mailbox::{Mailbox, Stage};
use crate::watch::RoundWatch;

/// A participant, and where its events go.
pub(crate) struct Thread {
    participant: Participant,
    handle: Handle,
    mailbox: Arc<Mailbox>,
    rounds: RoundWatch,
    name: String,
    scalar: Scalar,
}

impl Thread {
    pub(crate) fn new(
        participant: Participant,
        mailbox: Arc<Mailbox>,
        name: String,
        scalar: Scalar,
    ) -> Self {
        Self {
            handle: participant.handle(),
            rounds: RoundWatch::new(participant.observer(), mailbox.clone()),
            participant,
            mailbox,
            name,
            scalar,
        }
    }

    /// Works until the participant is stopped.
    pub(crate) fn run(mut self) {
        // Six participants of one process write six lines: which is whose is told.
        let _span = tracing::error_span!("participant", key = %self.name).entered();
        let guard = BrokenOnPanic(self.mailbox.clone());
        // It ends with an error, once the participant was stopped.
        while let Ok(events) = self.participant.next_events(None) {
            events.iter().for_each(trace);
            let begins = events.iter().any(|event| matches!(event, Event::NewRound { .. }));
            self.take_in(events);
            if begins {
                self.rounds.look();
            }
        }
        std::mem::forget(guard);
    }

    /// Takes in what has happened at one moment, under one lock: nobody sees that a round has begun and not what it
    /// means for the local model.
    fn take_in(&self, events: Vec<Event>) {
        let has_noise = self.handle.terms().is_some_and(|terms| terms.noise.is_some());
        let mut contents = self.mailbox.lock();
        let inbox = &mut contents.inbox;
        inbox.has_noise = has_noise;
        for event in events {
            if inbox.take_in(event) {
                // Under the lock, so that no newer model is taken for it; there is something to do once in a
                // participant's life.
                inbox.look_over(self.handle.local_model().as_deref(), &self.scalar);
            }
        }
        drop(contents);
        self.mailbox.notify();
    }
}

/// Tells those who wait that nothing will come any more.
struct BrokenOnPanic(Arc<Mailbox>);

impl Drop for BrokenOnPanic {
    fn drop(&mut self) {
        let mut contents = self.0.lock();
        if contents.stage == Stage::Running {
            contents.stage = Stage::Broken;
        }
        drop(contents);
        self.0.notify();
    }
}

/// The native log.
fn trace(event: &Event) {
    use tracing::{debug, error, info, warn};
    match event {
        Event::NewRound { task, parameters } => {
            info!(?task, length = parameters.model_length, mask_config = %parameters.mask_config, "new round");
        }
        Event::ModelNeeded { data_type, length } => {
            info!(%data_type, length, "waiting for a local model");
        }
        Event::ModelRejected(error) => error!(%error, "local model dropped"),
        Event::ModelMasked(report) => {
            info!(
                clamped = report.clamped,
                scalar_clamped = report.scalar_clamped,
                "local model masked"
            );
        }
        Event::Progress { tag, sent, total } => debug!(?tag, sent, total, "part of a message sent"),
        Event::Sent(tag) => info!(?tag, "message sent"),
        Event::Rejected { tag, problem } if is_late(&problem.name) => {
            info!(?tag, %problem, "message came too late: out of this round");
        }
        Event::ModelOutdated => info!("local model of an earlier round dropped"),
        Event::Rejected { tag, problem } => {
            warn!(?tag, %problem, "message rejected: out of this round");
        }
        Event::GaveUp(error) => error!(%error, "out of this round"),
        Event::Trouble(trouble) => warn!(%trouble, "the coordinator is asked again later"),
        Event::Refused(refusal) => {
            error!(name = refusal.name(), blame = %refusal.blame(), %refusal, "not taking part");
        }
        Event::Certified { round, count, included: Some(false) } => {
            warn!(round, count, "round certified, and this participant was left out");
        }
        Event::Certified { round, count, included } => {
            info!(round, count, ?included, "round certified");
        }
        Event::NotCertified { round, reason } => info!(round, ?reason, "round not certified"),
        Event::BudgetSpent { round, spent, delta, budget } => {
            info!(round, spent, delta, ?budget, "privacy spent");
        }
        Event::GlobalModel(model) => debug!(?model, "global model fetched"),
        Event::GlobalModelFailed(error) => warn!(%error, "global model not fetched"),
        event => debug!(?event, "other event"),
    }
}
