//! The machine itself.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::io::{
    Event, FetchError, Idle, Input, ModelMismatch, Output, Reject, TransportFault, Trouble,
    TroubleReason, Why,
};
use super::jobs::{ComposeError, Composer, DecodeModel, Outcome};
use super::settings::Settings;
use super::snapshot::{Snapshot, State};
use super::stage::{Content, Round, Stage, Upload};
use super::{Job, JobResult};
use crate::crypto::{Purpose, RootSeed, SigningKeyPair, SnapshotKey, Task, TaskSignatures};
use crate::job::{JobId, Release, Work};
use crate::message::Tag;
use crate::model::Model;
use crate::problem::Problem;
use crate::request::{Call, RequestId, Response};
use crate::round::RoundParameters;
use crate::snapshot::EnvelopeError;
use crate::time::Timestamp;

/// From so many bytes on memory is freed in a job.
const RELEASE_FROM: usize = 1 << 16;

/// The longest pause that a coordinator can ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// A participant. See the [module's page](super) for how to drive it.
#[derive(Debug)]
pub struct Participant {
    keys: SigningKeyPair,
    root: RootSeed,
    settings: Settings,
    now: Timestamp,
    round: Option<Round>,
    stage: Stage,
    model: Option<Arc<Model>>,
    /// The local model that is being masked: it is used up when that succeeds.
    masking: Option<Arc<Model>>,
    /// Whether the user was asked for a model in this round.
    model_asked: bool,
    activity: Activity,
    fetch: Fetch,
    /// How often the global model was asked for: each wish is answered.
    wishes: usize,
    /// How many looks at the coordinator in a row brought no progress.
    misses: u32,
    /// How long the next pause is at least.
    least_pause: Duration,
    outputs: VecDeque<Output>,
    next_id: u64,
    stopped: bool,
}

/// What the main line of the machine is doing. Every step begins with a look at the round's
/// parameters, so that work for a round that is over is never begun.
#[derive(Debug, Clone)]
enum Activity {
    /// Nothing until then.
    Waiting(Timestamp),
    /// Getting the round parameters.
    Params(RequestId),
    /// Getting the sum dictionary.
    Sums(RequestId),
    /// Getting this participant's column of the seed dictionary.
    Seeds(RequestId),
    /// Delivering a part of a message.
    Post(RequestId),
    /// Making a message, or a chunk of it.
    Job(JobId),
}

/// How far getting the global model is: it goes on beside the main line.
#[derive(Debug, Clone)]
enum Fetch {
    /// It is not asked for.
    None,
    /// Getting the round parameters first, for the data type.
    Params(RequestId),
    /// Getting the model.
    Model(RequestId, Arc<RoundParameters>),
    /// Reading the model.
    Job(JobId, Arc<RoundParameters>),
}

impl Participant {
    /// A participant with an identity and a seed for everything random that it makes. The seed must
    /// be unpredictable, and no other participant may have it.
    pub fn new(keys: SigningKeyPair, root: RootSeed, settings: Settings) -> Self {
        let state = State {
            secret: keys.secret().clone(),
            root,
            round: None,
            stage: Stage::Awaiting,
            model: None,
        };
        Self::from_state(state, settings)
    }

    /// A participant whose identity, too, follows from the seed. The seed must be unpredictable, and no
    /// other participant may have it.
    pub fn from_seed(root: RootSeed, settings: Settings) -> Self {
        let keys = SigningKeyPair::from_seed(&root.derive(Purpose::Identity, &[]));
        Self::new(keys, root, settings)
    }

    /// Goes on where a saved participant was, with other settings if need be.
    ///
    /// # Errors
    /// If the bytes are not a snapshot of a participant, or of a version that is not known.
    pub fn restore(snapshot: &[u8], settings: Settings) -> Result<Self, EnvelopeError> {
        State::from_bytes(snapshot).map(|state| Self::from_state(state, settings))
    }

    /// Like [`Participant::restore`], from a sealed snapshot.
    ///
    /// # Errors
    /// As [`Participant::restore`]; [`EnvelopeError::DoesNotOpen`] if the key is another one.
    pub fn restore_sealed(
        snapshot: &[u8],
        key: &SnapshotKey,
        settings: Settings,
    ) -> Result<Self, EnvelopeError> {
        State::unseal(snapshot, key).map(|state| Self::from_state(state, settings))
    }

    fn from_state(state: State, settings: Settings) -> Self {
        Self {
            keys: SigningKeyPair::from_secret(state.secret),
            root: state.root,
            settings,
            now: Timestamp::ZERO,
            round: state.round,
            stage: state.stage,
            model: state.model,
            masking: None,
            model_asked: false,
            activity: Activity::Waiting(Timestamp::ZERO),
            fetch: Fetch::None,
            wishes: 0,
            misses: 0,
            least_pause: Duration::ZERO,
            outputs: VecDeque::new(),
            next_id: 0,
            stopped: false,
        }
    }

    /// All that is needed to go on later. Cheap: models and messages are shared, not copied. What is
    /// under way (a request, a job) is begun again after restoring, with the same bytes.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(State {
            secret: self.keys.secret().clone(),
            root: self.root.clone(),
            round: self.round.clone(),
            stage: self.stage.clone(),
            model: self.model.clone(),
        })
    }

    /// A second machine in exactly the same state: for exploring what could happen, by giving one this
    /// input and the other that. Only one of them may ever be seen by anyone. Nothing while outputs wait
    /// to be polled: there may be jobs among them, and a job is there once.
    pub fn fork(&self) -> Option<Self> {
        if !self.outputs.is_empty() {
            return None;
        }
        Some(Self {
            keys: self.keys.clone(),
            root: self.root.clone(),
            settings: self.settings.clone(),
            now: self.now,
            round: self.round.clone(),
            stage: self.stage.clone(),
            model: self.model.clone(),
            masking: self.masking.clone(),
            model_asked: self.model_asked,
            activity: self.activity.clone(),
            fetch: self.fetch.clone(),
            wishes: self.wishes,
            misses: self.misses,
            least_pause: self.least_pause,
            outputs: VecDeque::new(),
            next_id: self.next_id,
            stopped: self.stopped,
        })
    }

    /// This participant's identity.
    pub fn keys(&self) -> &SigningKeyPair {
        &self.keys
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What this participant does in the current round; [`Task::None`] before the first.
    pub fn task(&self) -> Task {
        self.round.as_ref().map_or(Task::None, |round| round.task)
    }

    /// The parameters of the current round; `None` before the first.
    pub fn parameters(&self) -> Option<&Arc<RoundParameters>> {
        self.round.as_ref().map(|round| &round.parameters)
    }

    /// Whether a local model is there that was not yet used.
    pub fn has_model(&self) -> bool {
        self.model.is_some()
    }

    /// Whether this participant waits for a local model.
    pub fn needs_model(&self) -> bool {
        matches!(self.stage, Stage::Mask { .. } | Stage::FetchSums)
            && self.model.is_none()
            && !matches!(self.activity, Activity::Job(_))
    }

    /// Takes in what happened. Afterwards [`Participant::poll_output`] is to be called until it is
    /// idle.
    ///
    /// # Errors
    /// [`Reject`] if the input means nothing now; the machine is as it was.
    pub fn handle_input(&mut self, now: Timestamp, input: Input) -> Result<(), Reject> {
        self.now = self.now.max(now);
        if self.stopped {
            return Err(Reject::Stopped);
        }
        match input {
            Input::Tick => Ok(()),
            Input::Response { id, response } => self.handle_answer(id, Ok(response)),
            Input::Fault { id, fault } => self.handle_answer(id, Err(fault)),
            Input::JobDone(result) => self.handle_job(result),
            Input::JobLost(id) => self.handle_lost_job(id),
            Input::SetModel(model) => self.set_model(model),
            Input::FetchModel => {
                self.fetch_model();
                Ok(())
            }
            Input::Stop => {
                self.stopped = true;
                self.outputs.clear();
                Ok(())
            }
        }
    }

    /// What should happen next. Call it until it gives [`Output::Idle`].
    pub fn poll_output(&mut self) -> Output {
        if let Some(output) = self.outputs.pop_front() {
            return output;
        }
        if self.stopped {
            return Output::Idle(Idle { wake_at: None, why: Why::Stopped });
        }
        let idle = match self.activity {
            Activity::Waiting(until) if until <= self.now => {
                let id = self.request(Call::Params);
                self.activity = Activity::Params(id);
                return self.poll_output();
            }
            Activity::Waiting(until) => Idle {
                wake_at: Some(until),
                why: match self.stage {
                    Stage::Mask { .. } if self.model.is_none() => Why::LocalModel,
                    _ => Why::Poll,
                },
            },
            Activity::Job(_) => Idle { wake_at: None, why: Why::Job },
            _ => Idle { wake_at: None, why: Why::Answer },
        };
        Output::Idle(idle)
    }

    // Requests and their answers.

    fn request(&mut self, call: Call) -> RequestId {
        let id = RequestId(self.next_id);
        self.next_id += 1;
        self.outputs.push_back(Output::Request { id, call });
        id
    }

    fn handle_answer(
        &mut self,
        id: RequestId,
        answer: Result<Response, TransportFault>,
    ) -> Result<(), Reject> {
        match self.activity {
            Activity::Params(expected) if expected == id => self.handle_params(answer),
            Activity::Sums(expected) if expected == id => {
                if let Some(sums) = self.available("sums", answer) {
                    self.stage = Stage::Mask { sums };
                    self.misses = 0;
                    self.step();
                }
            }
            Activity::Seeds(expected) if expected == id => {
                if let Some(seeds) = self.available("seeds", answer) {
                    self.compose(|composer| composer.sum2(seeds));
                }
            }
            Activity::Post(expected) if expected == id => self.handle_delivery(answer),
            _ => return self.handle_fetch_answer(id, answer),
        }
        Ok(())
    }

    fn handle_params(&mut self, answer: Result<Response, TransportFault>) {
        self.heed(&answer);
        let parameters = match read_params(answer) {
            Ok(parameters) => parameters,
            Err(reason) => return self.trouble("params", reason),
        };
        if self.parameters().is_none_or(|current| **current != parameters) {
            self.begin_round(parameters);
        }
        self.step();
    }

    /// The body of a 200; on a 204 or anything else another look is taken later.
    fn available(
        &mut self,
        call: &'static str,
        answer: Result<Response, TransportFault>,
    ) -> Option<Bytes> {
        self.heed(&answer);
        match read_body(answer) {
            Ok(Some(body)) => return Some(body),
            Ok(None) => self.wait_longer(),
            Err(reason) => self.trouble(call, reason),
        }
        None
    }

    fn handle_delivery(&mut self, answer: Result<Response, TransportFault>) {
        self.heed(&answer);
        let response = match answer {
            Ok(Response { status: 200..=299, .. }) => return self.delivered(),
            Ok(response) => response,
            Err(fault) => return self.trouble("message", fault.into()),
        };
        let Some(problem) = Problem::of(&response) else {
            return self.trouble("message", TroubleReason::Status(response.status));
        };
        match self.upload_mut().map(|upload| upload.tag) {
            // It has arrived before, and the answer was lost.
            Some(tag) if problem.is_duplicate(tag) => self.sent(tag),
            Some(tag) => {
                self.set_stage(Stage::Awaiting);
                self.event(Event::Rejected { tag, problem });
                self.wait_longer();
            }
            None => self.go_on(),
        }
    }

    fn trouble(&mut self, call: &'static str, reason: TroubleReason) {
        self.event(Event::Trouble(Trouble { call, reason }));
        self.wait_longer();
    }

    /// Heeds a coordinator that has too much to do: the next pause lasts as long as it says.
    fn heed(&mut self, answer: &Result<Response, TransportFault>) {
        if let Ok(Response { status: 429 | 503, retry_after: Some(pause), .. }) = answer {
            self.least_pause = (*pause).min(MAX_RETRY_AFTER);
        }
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    // Pauses.

    fn wait_after_progress(&mut self) {
        self.misses = 0;
        self.wait();
    }

    fn wait_longer(&mut self) {
        self.misses = self.misses.saturating_add(1);
        self.wait();
    }

    fn wait(&mut self) {
        let least = std::mem::take(&mut self.least_pause);
        let pause = self.settings.polling.pause(self.misses).max(least);
        self.activity = Activity::Waiting(self.now + pause);
    }

    fn go_on(&mut self) {
        self.misses = 0;
        self.activity = Activity::Waiting(self.now);
    }

    // The round.

    fn begin_round(&mut self, parameters: RoundParameters) {
        let signatures = TaskSignatures::sign(&self.keys, &parameters.seed);
        let task = signatures.task(parameters.sum, parameters.update);
        let parameters = Arc::new(parameters);
        self.set_stage(match task {
            Task::None => Stage::Awaiting,
            Task::Sum => Stage::Sum(None),
            Task::Update => Stage::FetchSums,
        });
        self.misses = 0;
        self.model_asked = false;
        let number = self.round.as_ref().map_or(0, |round| round.number.wrapping_add(1));
        self.round = Some(Round { parameters: parameters.clone(), number, signatures, task });
        self.event(Event::NewRound { task, parameters: parameters.clone() });
        if let Some(Err(mismatch)) = self.model.as_ref().map(|model| fits(model, &parameters)) {
            self.set_local_model(None);
            self.event(Event::ModelRejected(mismatch));
        }
    }

    /// Does the next step of the current stage, right after a look at the round's parameters.
    fn step(&mut self) {
        let Some(round) = &self.round else {
            return self.wait_longer();
        };
        match &self.stage {
            Stage::Awaiting => self.wait_longer(),
            Stage::Sum(None) => self.compose(|composer| composer.sum()),
            Stage::Sum2(None) => {
                let id = self.request(Call::Seeds(self.keys.public()));
                self.activity = Activity::Seeds(id);
            }
            Stage::FetchSums => {
                let id = self.request(Call::Sums);
                self.activity = Activity::Sums(id);
            }
            Stage::Mask { sums } => match &self.model {
                Some(model) => {
                    let (sums, model) = (sums.clone(), model.clone());
                    self.masking = Some(model.clone());
                    self.compose(|composer| composer.update(sums, model));
                }
                None => {
                    let event = Event::ModelNeeded {
                        data_type: round.parameters.mask_config.vect.data_type(),
                        length: round.parameters.model_length,
                    };
                    if !std::mem::replace(&mut self.model_asked, true) {
                        self.event(event);
                        return self.wait_after_progress();
                    }
                    self.wait_longer();
                }
            },
            Stage::Sum(Some(upload)) | Stage::Sum2(Some(upload)) | Stage::Update(upload) => {
                match &upload.content {
                    Content::Whole(sealed) => self.post(sealed.clone()),
                    Content::Chunks { .. } => {
                        let upload = upload.clone();
                        self.compose(|composer| composer.chunk(upload));
                    }
                }
            }
        }
    }

    fn post(&mut self, sealed: Bytes) {
        let id = self.request(Call::Message(sealed));
        self.activity = Activity::Post(id);
    }

    fn upload_mut(&mut self) -> Option<&mut Upload> {
        match &mut self.stage {
            Stage::Sum(Some(upload)) | Stage::Sum2(Some(upload)) | Stage::Update(upload) => {
                Some(upload)
            }
            _ => None,
        }
    }

    /// A part of the message was delivered.
    fn delivered(&mut self) {
        let Some(upload) = self.upload_mut() else {
            return self.go_on();
        };
        let tag = upload.tag;
        if let Content::Chunks { next, .. } = &mut upload.content {
            *next = next.saturating_add(1);
            let (sent, total) = upload.progress();
            self.event(Event::Progress { tag, sent, total });
            if sent < total {
                return self.go_on();
            }
        }
        self.sent(tag);
    }

    /// All of the message was delivered.
    fn sent(&mut self, tag: Tag) {
        self.event(Event::Sent(tag));
        self.set_stage(match tag {
            Tag::Sum => Stage::Sum2(None),
            Tag::Update | Tag::Sum2 => Stage::Awaiting,
        });
        self.wait_after_progress();
    }

    // Jobs.

    fn compose<W: Work<Outcome> + 'static>(&mut self, work: impl FnOnce(Composer) -> W) {
        let Some(round) = &self.round else { return };
        let composer = Composer {
            keys: self.keys.clone(),
            root: self.root.clone(),
            scalar: self.settings.scalar.clone(),
            size: self.settings.max_message_size,
            max_model_length: self.settings.max_model_length,
            parameters: round.parameters.clone(),
            number: round.number,
            signatures: round.signatures,
        };
        let id = self.job(work(composer));
        self.activity = Activity::Job(id);
    }

    fn job(&mut self, work: impl Work<Outcome> + 'static) -> JobId {
        let id = JobId(self.next_id);
        self.next_id += 1;
        self.outputs.push_back(Output::Job(Job::new(id, work)));
        id
    }

    /// Has memory freed elsewhere if it is much: that takes time, too.
    fn release(&mut self, bytes: usize, garbage: impl Send + 'static) {
        if bytes >= RELEASE_FROM {
            self.job(Release::new(garbage, Outcome::Released));
        }
    }

    fn set_stage(&mut self, stage: Stage) {
        let old = std::mem::replace(&mut self.stage, stage);
        self.release(old.bytes(), old);
    }

    fn set_local_model(&mut self, model: Option<Arc<Model>>) {
        if let Some(old) = std::mem::replace(&mut self.model, model) {
            self.release(old.len() * 8, old);
        }
    }

    fn handle_job(&mut self, result: JobResult) -> Result<(), Reject> {
        match self.activity {
            Activity::Job(expected) if expected == result.id => {
                self.handle_outcome(result.outcome);
                return Ok(());
            }
            _ => {}
        }
        match (&self.fetch, result.outcome) {
            (Fetch::Job(expected, _), Outcome::Model(model)) if *expected == result.id => {
                self.fetch = Fetch::None;
                self.answer_wishes(match model {
                    Ok(model) => Event::GlobalModel(Some(model)),
                    Err(error) => Event::GlobalModelFailed(error),
                });
                Ok(())
            }
            (_, Outcome::Released) => Ok(()),
            (_, outcome) => {
                self.release(outcome.bytes(), outcome);
                Err(Reject::UnknownJob(result.id))
            }
        }
    }

    fn handle_outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Composed(Ok(upload)) => {
                self.set_stage(match upload.tag {
                    Tag::Sum => Stage::Sum(Some(upload)),
                    Tag::Sum2 => Stage::Sum2(Some(upload)),
                    Tag::Update => Stage::Update(upload),
                });
                self.go_on();
            }
            Outcome::Masked(Ok((upload, report))) => {
                self.use_up_model();
                self.event(Event::ModelMasked(report));
                self.set_stage(Stage::Update(upload));
                self.go_on();
            }
            Outcome::Sealed(Ok(sealed)) => self.post(sealed),
            Outcome::Masked(Err(error))
            | Outcome::Composed(Err(error))
            | Outcome::Sealed(Err(error)) => self.not_composed(error),
            // These belong to other jobs; none of them runs as the main line's.
            Outcome::Model(_)
            | Outcome::MaskSum(_)
            | Outcome::Leaves(_)
            | Outcome::MaskPart(_)
            | Outcome::Released => self.go_on(),
        }
    }

    fn not_composed(&mut self, error: ComposeError) {
        match error {
            ComposeError::BadAnswer { call, source } => {
                if call == "sums" {
                    self.set_stage(Stage::FetchSums);
                }
                self.trouble(call, TroubleReason::Malformed(source));
            }
            ComposeError::Model(error) => {
                self.use_up_model();
                self.event(Event::ModelRejected(error));
                self.wait_longer();
            }
            error => {
                self.set_stage(Stage::Awaiting);
                self.event(Event::GaveUp(error));
                self.wait_longer();
            }
        }
    }

    fn handle_lost_job(&mut self, id: JobId) -> Result<(), Reject> {
        match (&self.activity, &self.fetch) {
            (Activity::Job(expected), _) if *expected == id => self.go_on(),
            (_, Fetch::Job(expected, parameters)) if *expected == id => {
                let parameters = parameters.clone();
                self.ask_for_model(parameters);
            }
            _ => return Err(Reject::UnknownJob(id)),
        }
        Ok(())
    }

    // The local model.

    fn set_model(&mut self, model: Model) -> Result<(), Reject> {
        let fits = self.parameters().map_or(Ok(()), |parameters| fits(&model, parameters));
        if let Err(mismatch) = fits {
            self.release(model.len() * 8, model);
            return Err(mismatch.into());
        }
        self.set_local_model(Some(Arc::new(model)));
        if let (Stage::Mask { .. }, Activity::Waiting(_)) = (&self.stage, &self.activity) {
            self.go_on();
        }
        Ok(())
    }

    /// Drops the model that was masked; one that was set in the meantime is for later.
    fn use_up_model(&mut self) {
        let Some(masked) = self.masking.take() else { return };
        if self.model.as_ref().is_some_and(|model| Arc::ptr_eq(&masked, model)) {
            self.model = None;
        }
        self.release(masked.len() * 8, masked);
    }

    // The global model.

    fn fetch_model(&mut self) {
        self.wishes = self.wishes.saturating_add(1);
        // A second wish is answered together with the first.
        if !matches!(self.fetch, Fetch::None) {
            return;
        }
        match self.parameters().cloned() {
            Some(parameters) => self.ask_for_model(parameters),
            None => self.fetch = Fetch::Params(self.request(Call::Params)),
        }
    }

    fn ask_for_model(&mut self, parameters: Arc<RoundParameters>) {
        let id = self.request(Call::Model(parameters.mask_config.vect.data_type()));
        self.fetch = Fetch::Model(id, parameters);
    }

    /// Every wish gets an answer of its own, so that nobody waits for one that another has taken.
    fn answer_wishes(&mut self, answer: Event) {
        for _ in 0..std::mem::take(&mut self.wishes) {
            self.event(answer.clone());
        }
    }

    fn handle_fetch_answer(
        &mut self,
        id: RequestId,
        answer: Result<Response, TransportFault>,
    ) -> Result<(), Reject> {
        let (call, reason) = match std::mem::replace(&mut self.fetch, Fetch::None) {
            Fetch::Params(expected) if expected == id => match read_params(answer) {
                Ok(parameters) => {
                    self.ask_for_model(Arc::new(parameters));
                    return Ok(());
                }
                Err(reason) => ("params", reason),
            },
            Fetch::Model(expected, parameters) if expected == id => {
                let form = answer.as_ref().map(|response| response.model_form).unwrap_or_default();
                match read_body(answer) {
                    Ok(Some(body)) => {
                        let data_type = parameters.mask_config.vect.data_type();
                        let id = self.job(DecodeModel::new(body, form, data_type));
                        self.fetch = Fetch::Job(id, parameters);
                        return Ok(());
                    }
                    Ok(None) => {
                        self.answer_wishes(Event::GlobalModel(None));
                        return Ok(());
                    }
                    Err(reason) => ("model", reason),
                }
            }
            other => {
                self.fetch = other;
                let bytes = answer.as_ref().map_or(0, |response| response.body.len());
                self.release(bytes, answer);
                return Err(Reject::UnknownRequest(id));
            }
        };
        let trouble = Trouble { call, reason };
        self.answer_wishes(Event::GlobalModelFailed(FetchError::Trouble(trouble)));
        Ok(())
    }
}

fn read_params(answer: Result<Response, TransportFault>) -> Result<RoundParameters, TroubleReason> {
    match answer? {
        Response { status: 200, body, .. } => Ok(RoundParameters::from_bytes(&body)?),
        Response { status, .. } => Err(TroubleReason::Status(status)),
    }
}

/// The body of a 200, nothing for a 204.
fn read_body(answer: Result<Response, TransportFault>) -> Result<Option<Bytes>, TroubleReason> {
    match answer? {
        Response { status: 200, body, .. } => Ok(Some(body)),
        Response { status: 204, .. } => Ok(None),
        Response { status, .. } => Err(TroubleReason::Status(status)),
    }
}

fn fits(model: &Model, parameters: &RoundParameters) -> Result<(), ModelMismatch> {
    let (expected, actual) = (parameters.mask_config.vect.data_type(), model.data_type());
    if expected != actual {
        return Err(ModelMismatch::DataType { expected, actual });
    }
    let (expected, actual) = (parameters.model_length, model.len() as u64);
    if expected != actual {
        return Err(ModelMismatch::Length { expected, actual });
    }
    Ok(())
}
