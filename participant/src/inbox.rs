//! The inbox of a participant: events turned into what a user asks about.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use pet_transport_blocking::core::mask::MaskReport;
use pet_transport_blocking::core::message::Tag;
use pet_transport_blocking::core::model::{Model, Scalar};
use pet_transport_blocking::core::participant::{
    Event, FetchError, ModelMismatch, Trouble, TroubleReason,
};
use pet_transport_blocking::core::round::RoundParameters;
use pet_transport_blocking::core::v2::Refusal;

use crate::findings::Findings;
use crate::local::{LocalModelError, ModelCheck, Shape, Unchecked};
use crate::notice::{Level, Notice};
use crate::rounds::{Over, Rounds};
use crate::short::Short;

/// How many notices are kept for somebody to look; then the oldest go.
const MAX_NOTICES: usize = 64;

/// How many different reasons are told while nothing works.
const MAX_TROUBLES: usize = 8;

/// Something that concerns a local model that was set, or the round that it was for.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum News {
    /// A round has begun.
    Round,
    /// The local model was masked.
    Masked,
    /// It was for the round before, and was dropped.
    Outdated,
    /// It was sent.
    Sent,
    /// The coordinator has rejected it.
    Rejected {
        /// It came too late, or when there were enough: what happens in any round.
        late: bool,
        /// Why, for people.
        why: String,
    },
    /// The participant is out of the round, for this reason.
    GaveUp(String),
    /// A round is over.
    Over(Over),
    /// Version 2: this participant does not go on as things are. The coordinator is asked again.
    Refused(Refusal),
    /// Version 2: a round has ended with a global model, and its certificate holds.
    Certified {
        /// The number of the round.
        round: u64,
        /// How many models were added up.
        count: u64,
        /// Whether this participant's is one of them; `None` if it has sent none in that round.
        included: Option<bool>,
    },
    /// Version 2: a round in which this participant's model was sent has ended without a certificate.
    NotCertified {
        /// The number of the round.
        round: u64,
        /// Why, for people.
        why: String,
    },
}

/// What is known and what is due, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct View {
    /// Grows with everything that happens.
    pub happened: u64,
    /// Grows with everything that brings the participant on.
    pub progress: u64,
    /// How many rounds have begun while this participant was there. One that it is restored in counts, too, as soon
    /// as it gets on in it.
    pub rounds: u64,
    /// The number of the round whose global model was asked for last, as `rounds` counts; 0 before.
    pub fetched_in: u64,
    /// A new round has begun, and the global model was not asked for since: there may be a new one.
    pub new_global_model: bool,
    /// The participant is to update the global model and waits for a local one.
    pub model_needed: bool,
}

/// Whether a message that was rejected for this reason came too late, or when there were enough: what happens in
/// any round.
pub(crate) fn is_late(name: &str) -> bool {
    ["wrong_phase", "too_late", "full", "too_many_models", "in_progress", "other_round"]
        .contains(&name)
}

/// The result of fetching the global model.
pub type Answer = Result<Option<Arc<Model>>, FetchError>;

/// The participant's view: what is known, and what is due.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    happened: u64,
    progress: u64,
    /// How many rounds have begun; the one that a restored participant finds itself in is one of them.
    rounds: u64,
    /// Of the current round's models; unknown before the first contact.
    pub(crate) shape: Option<Shape>,
    /// Whether the round that begins next has noise (version 2).
    pub(crate) has_noise: bool,
    /// The parameters of the current round, unknown before the first contact.
    pub(crate) parameters: Option<Arc<RoundParameters>>,
    /// Those of the round that a participant was saved in, until it is known whether that round goes on.
    pub(crate) presumed: Option<Arc<RoundParameters>>,
    fetched_in: u64,
    new_global_model: bool,
    /// The participant waits for a local model.
    pub(crate) model_needed: bool,
    /// A local model that was set before its round was known.
    unchecked: Unchecked,
    /// What was wrong with a local model that could not be checked at once.
    model_error: Option<LocalModelError>,
    /// How often the global model was asked for, and how many of these wishes are answered, in their order.
    wishes: u64,
    answers: u64,
    /// The wishes that somebody waits for, and what has come of them.
    waiting: BTreeMap<u64, Option<Answer>>,
    notices: VecDeque<Notice>,
    news: VecDeque<News>,
    over: Rounds,
    /// Why the coordinator could not be asked, as it was told, since something has last succeeded.
    troubles: Vec<String>,
    /// The proxy through which it is asked.
    pub(crate) proxy: Option<String>,
}

impl Inbox {
    /// Of a participant that may have been saved in a round, and may have a local model that is yet to be
    /// checked.
    pub(crate) fn new(presumed: Option<Arc<RoundParameters>>, has_unchecked: bool) -> Self {
        let mut unchecked = Unchecked::default();
        unchecked.set(!has_unchecked);
        Self { presumed, unchecked, ..Self::default() }
    }

    pub(crate) fn view(&self) -> View {
        View {
            happened: self.happened,
            progress: self.progress,
            rounds: self.rounds,
            fetched_in: self.fetched_in,
            new_global_model: self.new_global_model,
            model_needed: self.model_needed,
        }
    }

    pub(crate) fn happened(&self) -> u64 {
        self.happened
    }

    pub(crate) fn rounds(&self) -> u64 {
        self.rounds
    }

    /// Somebody asks for the global model: the how manieth wish it is.
    pub(crate) fn wish(&mut self) -> u64 {
        self.new_global_model = false;
        self.fetched_in = self.rounds;
        self.wishes += 1;
        self.waiting.insert(self.wishes, None);
        self.wishes
    }

    /// What has come of a wish.
    pub(crate) fn answer(&mut self, wish: u64) -> Option<Answer> {
        let answer = self.waiting.get(&wish).cloned().flatten();
        if let Some(Err(_)) = answer {
            // The model is still one that nobody has.
            self.new_global_model = true;
        }
        answer
    }

    /// Nobody waits for it any more. A model can be big.
    pub(crate) fn give_up(&mut self, wish: u64) {
        self.waiting.remove(&wish);
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
        if !matches!(event, Event::Trouble(_) | Event::Refused(_) | Event::GlobalModelFailed(_)) {
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
            // What is wrong with its weights was told when it was looked over.
            Event::ModelRejected(ModelMismatch::Mask(_)) if self.unchecked.was_told() => {}
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
            Event::Refused(refusal) => {
                let text = format!(
                    "this participant does not take part: {refusal} [to blame: {}]",
                    refusal.blame()
                );
                self.notice(Level::Error, text);
                self.news(News::Refused(refusal));
            }
            Event::Certified { round, count, included } => {
                self.progress += 1;
                let (level, mine) = match included {
                    Some(true) => (Level::Info, ", this participant's among them"),
                    Some(false) => (
                        Level::Warning,
                        ", and this participant's was left out: ask the coordinator's operator why (GET /v2/set has the \
                         reports)",
                    ),
                    None => (Level::Info, ""),
                };
                let text =
                    format!("round {round} is certified: {count} models were added up{mine}");
                self.notice(level, text);
                self.news(News::Certified { round, count, included });
            }
            Event::NotCertified { round, reason } => {
                let why = reason.unwrap_or_else(|| "the coordinator does not say why".into());
                self.notice(Level::Info, format!("round {round} has no certificate: {why}"));
                self.news(News::NotCertified { round, why });
            }
            Event::BudgetSpent { round, spent, delta, budget } => {
                let of = budget.map(|budget| format!(" of {}", Short(budget))).unwrap_or_default();
                let text = format!(
                    "round {round} costs privacy: epsilon {}{of} is spent at delta {}",
                    Short(spent),
                    Short(delta)
                );
                self.notice(Level::Info, text);
            }
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
        self.shape = Some(Shape::from(&*parameters).with_noise(self.has_noise));
        self.parameters = Some(parameters);
        self.presumed = None;
        self.new_global_model = true;
        self.model_needed = false;
    }

    /// A local model was set.
    pub(crate) fn model_set(&mut self) {
        let known = self.shape.is_some();
        self.unchecked.set(known);
        self.model_needed &= !known;
    }

    /// Now that the round is known, a local model of before can be looked over: what its user should know of it is
    /// told.
    pub(crate) fn look_over(&mut self, model: Option<&Model>, scalar: &Scalar) {
        let check = ModelCheck { shape: self.shape, scalar: scalar.clone() };
        match self.unchecked.look_over(model, &check) {
            None => {}
            Some(Ok(findings)) => {
                self.foresee(&findings);
                self.model_needed = false;
            }
            Some(Err(error)) => self.model_rejected(error),
        }
    }

    /// A local model was taken before, and cannot be used.
    fn model_rejected(&mut self, error: LocalModelError) {
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
    fn foresee(&mut self, findings: &Findings) {
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

    pub(crate) fn take_model_error(&mut self) -> Option<LocalModelError> {
        self.model_error.take()
    }

    /// Takes the news: what became of local models and rounds since the last call.
    pub(crate) fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news).into()
    }

    /// Takes the notices to log.
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

#[cfg(test)]
mod tests {
    use pet_transport_blocking::core::crypto::{PublicEncryptKey, RoundSeed, Task};
    use pet_transport_blocking::core::mask::{DataType, MaskConfig, MaskError};
    use pet_transport_blocking::core::participant::TransportFault;
    use pet_transport_blocking::core::problem::Problem;

    use super::*;

    fn parameters(number: u8) -> Arc<RoundParameters> {
        let mask: MaskConfig = "Prime/F32/B0/M3".parse().unwrap();
        Arc::new(RoundParameters {
            pk: PublicEncryptKey::new([1; 32]),
            sum: 0.0,
            update: 1.0,
            seed: RoundSeed::new([number; 32]),
            mask_config: mask.into(),
            model_length: 2,
        })
    }

    fn new_round(number: u8) -> Event {
        Event::NewRound { task: Task::Update, parameters: parameters(number) }
    }

    fn needed() -> Event {
        Event::ModelNeeded { data_type: DataType::F32, length: 2 }
    }

    fn trouble(reason: &str) -> Event {
        let reason = TransportFault::Unreachable(reason.into()).into();
        Event::Trouble(Trouble::new("params", reason))
    }

    fn texts(inbox: &mut Inbox, least: Level) -> Vec<String> {
        let notices = inbox.take_notices().into_iter();
        notices.filter(|notice| notice.level >= least).map(|notice| notice.text).collect()
    }

    #[test]
    fn the_round_that_a_participant_was_saved_in_counts_once_it_gets_on_in_it() {
        let mut inbox = Inbox::new(Some(parameters(1)), false);
        assert!(!inbox.take_in(trouble("no")));
        assert_eq!((inbox.rounds(), inbox.shape), (0, None));
        assert!(inbox.take_in(needed()));
        let view = inbox.view();
        assert_eq!((view.rounds, view.new_global_model, view.model_needed), (1, true, true));
        assert!(!inbox.take_in(Event::Sent(Tag::Update)));
        // Or it is over, and another one is the first.
        let mut inbox = Inbox::new(Some(parameters(1)), false);
        assert!(inbox.take_in(new_round(2)));
        assert!(!inbox.take_in(needed()));
        assert_eq!(inbox.rounds(), 1);
    }

    #[test]
    fn wishes_are_answered_in_their_order_and_given_up_ones_are_not_kept() {
        let mut inbox = Inbox::new(None, false);
        inbox.take_in(new_round(1));
        let wishes = [inbox.wish(), inbox.wish(), inbox.wish()];
        assert!(!inbox.view().new_global_model);
        inbox.give_up(wishes[1]);
        let model = Arc::new(Model::F32(vec![0.5; 2]));
        inbox.take_in(Event::GlobalModel(None));
        assert_eq!(inbox.answer(wishes[0]), Some(Ok(None)));
        assert_eq!(inbox.answer(wishes[2]), None);
        inbox.take_in(Event::GlobalModel(Some(model.clone())));
        // Of the wish that was given up.
        assert_eq!(Arc::strong_count(&model), 1);
        let failed = FetchError::Length { expected: 2, actual: 3 };
        inbox.take_in(Event::GlobalModelFailed(failed.clone()));
        assert_eq!(inbox.answer(wishes[2]), Some(Err(failed)));
        assert!(inbox.view().new_global_model);
    }

    #[test]
    fn trouble_is_told_once_for_each_reason_until_something_works() {
        let mut inbox = Inbox::new(None, false);
        inbox.proxy = Some("http://proxy".into());
        for _ in 0..3 {
            inbox.take_in(trouble("no"));
            inbox.take_in(trouble("never"));
        }
        assert_eq!(texts(&mut inbox, Level::Warning).len(), 2);
        inbox.take_in(Event::Sent(Tag::Sum));
        inbox.take_in(trouble("no"));
        let status = Event::Trouble(Trouble::new("params", TroubleReason::Status(502)));
        inbox.take_in(status);
        let told = texts(&mut inbox, Level::Warning);
        assert_eq!(told.len(), 2);
        assert!(told[1].contains("[through the proxy http://proxy]"), "{told:?}");
        for number in 0..100 {
            inbox.take_in(trouble(&number.to_string()));
        }
        assert_eq!(texts(&mut inbox, Level::Warning).len(), MAX_TROUBLES - 2);
    }

    #[test]
    fn talk_goes_before_warnings_where_nobody_looks() {
        let mut inbox = Inbox::new(None, false);
        inbox.take_in(trouble("no"));
        for number in 0..100 {
            inbox.take_in(new_round(number));
        }
        assert_eq!(inbox.notices.len(), MAX_NOTICES);
        assert_eq!(texts(&mut inbox, Level::Warning).len(), 1);
        assert_eq!(inbox.take_news().len(), MAX_NOTICES);
        assert!(inbox.take_news().is_empty());
    }

    #[test]
    fn lateness_is_no_warning() {
        let mut inbox = Inbox::new(None, false);
        for (name, late) in [("too_late", true), ("model_length", false)] {
            let problem = Problem::new(name, 400, "", "");
            inbox.take_in(Event::Rejected { tag: Tag::Update, problem });
            assert_eq!(texts(&mut inbox, Level::Warning).is_empty(), late);
            let news = inbox.take_news();
            assert!(matches!(&news[..], [News::Rejected { late: told, .. }] if *told == late));
        }
    }

    #[test]
    fn a_model_that_is_no_good_is_told_once() {
        let scalar = Scalar::one();
        let beyond = Model::F64(vec![0.5, 1e39]);
        let mut inbox = Inbox::new(None, false);
        inbox.model_set();
        assert!(inbox.take_in(new_round(1)));
        inbox.look_over(Some(&beyond), &scalar);
        assert!(inbox.take_model_error().is_some());
        assert_eq!(texts(&mut inbox, Level::Error).len(), 1);
        // Later the machine finds it out, too.
        inbox.take_in(Event::ModelRejected(MaskError::NotFinite { index: 1 }.into()));
        assert!(inbox.take_model_error().is_none());
        assert!(texts(&mut inbox, Level::Error).is_empty());
        // One that was not looked over is told of by the machine.
        inbox.take_in(Event::ModelRejected(MaskError::NotFinite { index: 1 }.into()));
        assert!(inbox.take_model_error().is_some());
    }

    #[test]
    fn refusals_and_certificates_of_version_2_are_told() {
        let mut inbox = Inbox::new(None, false);
        inbox.take_in(Event::Refused(Refusal::NoV2));
        let told = texts(&mut inbox, Level::Error);
        assert!(told.len() == 1 && told[0].contains("[to blame: the coordinator]"), "{told:?}");
        let certified = |included| Event::Certified { round: 7, count: 5, included };
        for (included, warnings) in [(Some(true), 0), (Some(false), 1), (None, 0)] {
            inbox.take_in(certified(included));
            assert_eq!(texts(&mut inbox, Level::Warning).len(), warnings, "{included:?}");
        }
        inbox.take_in(Event::NotCertified { round: 8, reason: None });
        let (spent, delta) = (1.25, 1e-5);
        inbox.take_in(Event::BudgetSpent { round: 9, spent, delta, budget: Some(3.0) });
        let told = texts(&mut inbox, Level::Info);
        assert!(told[1].contains("epsilon 1.25 of 3 is spent at delta 1e-5"), "{told:?}");
        let news = inbox.take_news();
        assert_eq!(news[0], News::Refused(Refusal::NoV2));
        assert_eq!(news[2], News::Certified { round: 7, count: 5, included: Some(false) });
        assert!(matches!(news[4], News::NotCertified { round: 8, .. }));
    }
}
