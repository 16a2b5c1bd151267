//! What a participant has told since somebody looked: events turned into what Python asks about.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use pet_transport_blocking::core::mask::{MaskConfigPair, MaskReport};
use pet_transport_blocking::core::message::Tag;
use pet_transport_blocking::core::model::{DataType, Model, Scalar};
use pet_transport_blocking::core::participant::{Event, FetchError, Trouble, TroubleReason};
use pet_transport_blocking::core::round::RoundParameters;

use crate::errors::LocalModelError;
use crate::findings::Findings;
use crate::logging::{Level, Notice};
use crate::rounds::{Over, Rounds};
use crate::short::Short;

/// How many notices are kept for somebody to look; then the oldest go.
const MAX_NOTICES: usize = 64;

/// How many different reasons are told while nothing works.
const MAX_TROUBLES: usize = 8;

/// What this round's models are: how they are masked, which says of which type they are, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    config: MaskConfigPair,
    pub(crate) length: u64,
}

impl From<&RoundParameters> for Shape {
    fn from(parameters: &RoundParameters) -> Self {
        Self { config: parameters.mask_config, length: parameters.model_length }
    }
}

impl Shape {
    pub(crate) fn data_type(self) -> DataType {
        self.config.vect.data_type()
    }

    /// What masking will do to a model beyond what its sender may expect.
    pub(crate) fn findings(self, model: &Model, scalar: &Scalar) -> Findings {
        Findings::new(self.config, model, scalar)
    }
}

/// Something that concerns a local model that was set, or the round that it was for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum News {
    Round,
    Masked,
    Outdated,
    Sent,
    Rejected { late: bool, why: String },
    GaveUp(String),
    Over(Over),
}

/// Whether a message that was rejected for this reason came too late, or when there were enough: what happens in
/// any round.
pub(crate) fn is_late(name: &str) -> bool {
    ["wrong_phase", "too_late", "full", "too_many_models", "in_progress"].contains(&name)
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
    /// The parameters of the current round, unknown before the first contact.
    pub(crate) parameters: Option<Arc<RoundParameters>>,
    /// Those of the round that a participant was saved in, until it is known whether that round goes on.
    pub(crate) presumed: Option<Arc<RoundParameters>>,
    /// The number of the round whose global model was asked for last.
    pub(crate) fetched_in: u64,
    /// A new round has begun, and the global model was not fetched since.
    pub(crate) new_global_model: bool,
    /// The participant waits for a local model.
    pub(crate) model_needed: bool,
    /// A local model that was set before its type was known.
    pub(crate) waiting_model: Option<Model>,
    /// What was wrong with a local model that could not be checked at once.
    pub(crate) model_error: Option<LocalModelError>,
    /// How often the global model was asked for, and how many of these wishes are answered, in their order.
    pub(crate) wishes: u64,
    answers: u64,
    /// The wishes that somebody waits for, and what has come of them.
    pub(crate) waiting: BTreeMap<u64, Option<Answer>>,
    notices: VecDeque<Notice>,
    news: VecDeque<News>,
    over: Rounds,
    /// Why the coordinator could not be asked, as it was told, since something has last succeeded.
    troubles: Vec<String>,
    /// The proxy through which it is asked.
    pub(crate) proxy: Option<String>,
}

impl Inbox {
    /// Of a participant that may have been saved in a round, and may have a local model whose type is
    /// yet to be checked.
    pub(crate) fn new(
        presumed: Option<Arc<RoundParameters>>,
        waiting_model: Option<Model>,
    ) -> Self {
        Self { presumed, waiting_model, ..Self::default() }
    }

    /// Takes in an event; tells whether a round has begun for this participant.
    pub(crate) fn take_in(&mut self, event: Event) -> bool {
        let rounds = self.rounds;
        self.happened += 1;
        if goes_on(&event) {
            if let Some(parameters) = self.presumed.take() {
                self.enter_round(parameters);
            }
        }
        if !matches!(event, Event::Trouble(_) | Event::GlobalModelFailed(_)) {
            self.troubles.clear();
        }
        match event {
            Event::NewRound { parameters, task } => {
                self.progress += 1;
                self.notice(
                    Level::Info,
                    format!(
                        "a new round; task: {task}; models: {} weights, {}",
                        parameters.model_length, parameters.mask_config.vect
                    ),
                );
                self.news(News::Round);
                self.enter_round(parameters);
            }
            Event::ModelNeeded { data_type, length } => {
                self.progress += 1;
                let text = format!("waiting for a local model of {length} {data_type} weights");
                self.notice(Level::Info, text);
                self.model_needed = true;
            }
            Event::ModelRejected(mismatch) => self.model_rejected(mismatch.into()),
            Event::ModelOutdated => {
                self.notice(
                    Level::Info,
                    "the local model was for the round before: dropped".into(),
                );
                self.news(News::Outdated);
            }
            Event::ModelMasked(report) => {
                self.progress += 1;
                self.model_needed = false;
                self.news(News::Masked);
                self.notice(Level::Debug, "the local model is masked".into());
                self.report_clamping(report);
            }
            Event::Rejected { tag, problem } => {
                self.progress += 1;
                let text = format!("the coordinator has rejected the {tag} message: {problem}");
                // To be late is nothing unusual: a round ends once there are enough.
                let late = is_late(&problem.name);
                self.notice(if late { Level::Info } else { Level::Warning }, text);
                if tag == Tag::Update {
                    self.news(News::Rejected { late, why: problem.to_string() });
                }
            }
            Event::Progress { tag, sent, total } => {
                self.progress += 1;
                if total > 1 {
                    let text = format!("{sent} of {total} parts of the {tag} message are sent");
                    self.notice(Level::Debug, text);
                }
            }
            Event::Sent(tag) => {
                self.progress += 1;
                self.notice(Level::Info, format!("the {tag} message is sent"));
                if tag == Tag::Update {
                    self.news(News::Sent);
                }
            }
            Event::GaveUp(error) => {
                self.notice(Level::Error, format!("this participant is out of the round: {error}"));
                self.news(News::GaveUp(error.to_string()));
            }
            Event::Trouble(trouble) => self.trouble(&trouble),
            Event::GlobalModel(model) => self.answered(Ok(model)),
            Event::GlobalModelFailed(error) => self.answered(Err(error)),
            // An event of a newer core, which nobody can ask about.
            _ => {}
        }
        self.rounds != rounds
    }

    /// What the coordinator tells about the rounds before.
    pub(crate) fn take_in_status(&mut self, status: &[u8]) {
        let (over, advice) = self.over.take_in(status);
        if !over.is_empty() {
            self.happened += 1;
        }
        for round in over {
            self.news(News::Over(round));
        }
        if let Some(advice) = advice {
            self.notice(Level::Warning, advice);
        }
    }

    fn enter_round(&mut self, parameters: Arc<RoundParameters>) {
        self.rounds += 1;
        self.shape = Some(Shape::from(&*parameters));
        self.parameters = Some(parameters);
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
        // Whoever asked may have given up meanwhile; nobody else may have it, as it may be an old one.
        if let Some(waiting) = self.waiting.get_mut(&self.answers) {
            *waiting = Some(answer);
        }
    }

    /// Once for each reason is enough: the coordinator is asked again every few seconds.
    fn trouble(&mut self, trouble: &Trouble) {
        let reason = trouble.to_string();
        if self.troubles.len() >= MAX_TROUBLES || self.troubles.contains(&reason) {
            return;
        }
        let proxy = match (&trouble.reason, &self.proxy) {
            (TroubleReason::Status(_), Some(proxy)) => format!(" [through the proxy {proxy}]"),
            // The transport has told.
            _ => String::new(),
        };
        self.notice(Level::Warning, format!("{reason}{proxy}; it is asked again until it works"));
        self.troubles.push(reason);
    }

    /// Tells of a coarsely rounded model where nobody is there to be warned. (What is put on the bound is told once
    /// it was.)
    pub(crate) fn foresee(&mut self, findings: &Findings) {
        if let Some(loss) = &findings.loss {
            self.notice(Level::Warning, loss.to_string());
        }
    }

    fn report_clamping(&mut self, report: MaskReport) {
        if report.clamped > 0 {
            let text = format!(
                "{} weights of the local model, multiplied by the scalar, are beyond the bound of the coordinator's \
                 mask config (the largest is {}) and were put on it",
                report.clamped,
                Short(report.largest_clamped)
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
            // What is only told for those who are curious goes first.
            let idle_talk = self.notices.iter().position(|notice| notice.level < Level::Warning);
            self.notices.remove(idle_talk.unwrap_or(0));
        }
        self.notices.push_back(Notice { level, text });
    }

    fn news(&mut self, news: News) {
        if self.news.len() == MAX_NOTICES {
            self.news.pop_front();
        }
        self.news.push_back(news);
    }

    /// What has become of local models and rounds since somebody looked.
    pub(crate) fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news).into()
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
