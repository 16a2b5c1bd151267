//! What a participant has told since somebody looked: events turned into what Python asks about.

use std::collections::VecDeque;
use std::sync::Arc;

use pet_transport_blocking::core::mask::MaskReport;
use pet_transport_blocking::core::model::{DataType, Model};
use pet_transport_blocking::core::participant::{Event, FetchError, Trouble};
use pet_transport_blocking::core::round::RoundParameters;

use crate::errors::LocalModelError;
use crate::logging::{Level, Notice};

/// How many notices are kept for somebody to look; then the oldest go.
const MAX_NOTICES: usize = 64;

/// Of which type and length this round's models are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) data_type: DataType,
    pub(crate) length: u64,
}

impl From<&RoundParameters> for Shape {
    fn from(parameters: &RoundParameters) -> Self {
        Self { data_type: parameters.mask_config.vect.data_type(), length: parameters.model_length }
    }
}

/// What came of fetching the global model.
pub(crate) type Answer = Result<Option<Arc<Model>>, FetchError>;

/// What is known and what is due.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    /// Grows with everything that happens.
    pub(crate) happened: u64,
    /// Grows with everything that brings the participant on.
    pub(crate) progress: u64,
    /// How many rounds have begun; the one that a restored participant finds itself in is one of them.
    pub(crate) rounds: u64,
    /// Of the current round's models; unknown before the first contact.
    pub(crate) shape: Option<Shape>,
    /// Of the models in the round that a participant was saved in, until it is known whether that round
    /// goes on.
    pub(crate) presumed: Option<Shape>,
    /// A new round has begun, and the global model was not fetched since.
    pub(crate) new_global_model: bool,
    /// The participant waits for a local model.
    pub(crate) model_needed: bool,
    /// A local model that was set before its type was known.
    pub(crate) waiting_model: Option<Model>,
    /// What was wrong with a local model that could not be checked at once.
    pub(crate) model_error: Option<LocalModelError>,
    /// How many wait for the global model, how often it was fetched, in vain or not, and what came last:
    /// kept until nobody waits for it.
    pub(crate) fetchers: usize,
    pub(crate) answers: u64,
    pub(crate) answer: Option<Answer>,
    notices: VecDeque<Notice>,
    /// The coordinator could not be asked, and nothing has succeeded since.
    in_trouble: bool,
}

impl Inbox {
    /// Of a participant that may have been saved in a round, and may have a local model whose type is
    /// yet to be checked.
    pub(crate) fn new(presumed: Option<Shape>, waiting_model: Option<Model>) -> Self {
        Self { presumed, waiting_model, ..Self::default() }
    }

    /// Takes in an event; tells whether a round has begun for this participant.
    pub(crate) fn take_in(&mut self, event: Event) -> bool {
        let rounds = self.rounds;
        self.happened += 1;
        if goes_on(&event) {
            if let Some(shape) = self.presumed.take() {
                self.enter_round(shape);
            }
        }
        if !matches!(event, Event::Trouble(_) | Event::GlobalModelFailed(_)) {
            self.in_trouble = false;
        }
        match event {
            Event::NewRound { parameters, .. } => {
                self.progress += 1;
                self.enter_round(Shape::from(&*parameters));
            }
            Event::ModelNeeded { .. } => {
                self.progress += 1;
                self.model_needed = true;
            }
            Event::ModelRejected(mismatch) => self.model_rejected(mismatch.into()),
            Event::ModelMasked(report) => {
                self.progress += 1;
                self.model_needed = false;
                self.report_clamping(report);
            }
            Event::Progress { .. } | Event::Sent(_) => self.progress += 1,
            Event::Rejected { tag, problem } => {
                self.progress += 1;
                let text = format!("the coordinator has rejected the {tag} message: {problem}");
                self.notice(Level::Warning, text);
            }
            Event::GaveUp(error) => {
                self.notice(Level::Error, format!("this participant is out of the round: {error}"))
            }
            Event::Trouble(trouble) => self.trouble(&trouble),
            Event::GlobalModel(model) => self.answered(Ok(model)),
            Event::GlobalModelFailed(error) => self.answered(Err(error)),
            // An event of a newer core, which nobody can ask about.
            _ => {}
        }
        self.rounds != rounds
    }

    fn enter_round(&mut self, shape: Shape) {
        self.rounds += 1;
        self.shape = Some(shape);
        self.presumed = None;
        self.new_global_model = true;
        self.model_needed = false;
    }

    /// A local model was taken before, and cannot be used.
    pub(crate) fn model_rejected(&mut self, error: LocalModelError) {
        self.notice(Level::Error, format!("the local model was dropped: {error}"));
        self.model_error = Some(error);
    }

    fn answered(&mut self, answer: Answer) {
        self.answers += 1;
        // Whoever asked may have given up meanwhile.
        self.answer = Some(answer).filter(|_| self.fetchers > 0);
    }

    /// Once is enough: the coordinator is asked again every few seconds.
    fn trouble(&mut self, trouble: &Trouble) {
        if !std::mem::replace(&mut self.in_trouble, true) {
            let text = format!("{trouble}; it is asked again until it works");
            self.notice(Level::Warning, text);
        }
    }

    fn report_clamping(&mut self, report: MaskReport) {
        if report.clamped > 0 {
            let text = format!(
                "{} weights of the local model, multiplied by the scalar, are beyond the bound of the coordinator's \
                 mask config (the largest is {:e}) and were put on it",
                report.clamped, report.largest_clamped
            );
            self.notice(Level::Warning, text);
        }
        if report.scalar_clamped {
            let text = "the scalar is beyond the bound of the coordinator's mask config and was put on it: this \
                        participant's models count for less than they should";
            self.notice(Level::Warning, text.into());
        }
    }

    fn notice(&mut self, level: Level, text: String) {
        if self.notices.len() == MAX_NOTICES {
            self.notices.pop_front();
        }
        self.notices.push_back(Notice { level, text });
    }

    /// What is to be logged.
    pub(crate) fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices).into()
    }
}

/// Whether an event means that the round goes on that the participant knows: it comes of a look at the
/// coordinator's parameters that has found the same.
fn goes_on(event: &Event) -> bool {
    matches!(
        event,
        Event::ModelNeeded { .. }
            | Event::ModelMasked(_)
            | Event::Progress { .. }
            | Event::Sent(_)
            | Event::Rejected { .. }
            | Event::GaveUp(_)
    )
}
