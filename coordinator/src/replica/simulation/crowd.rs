//! Participants: the real machines, in front of all replicas at once.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{body::Body, http::Request, Router};
use http_body_util::BodyExt;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use pet_core::{
    crypto::{RootSeed, RoundSeed, Seed, SigningKeyPair},
    message::{MessageSize, Tag},
    model::Model,
    participant::{self, Event, Input, Output, Participant, TransportFault},
    request::{self, retry_after, Call, ModelForm, Response},
    time::Timestamp,
};
use pet_testing::sim::random::Random;
use tokio::time::{sleep, sleep_until, timeout, Instant};

use super::{
    history::{History, UNIT},
    tally::Trouble,
};
use crate::process::simulated::Process;

/// So long a participant waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What listens at an address now: nothing, if the process has been killed.
#[derive(Clone, Default)]
pub struct Door(Arc<Mutex<Option<(Process, Router)>>>);

impl Door {
    pub fn open(&self, process: Process, router: Router) {
        *self.0.lock().expect("nobody panics while it is locked") = Some((process, router));
    }

    fn now(&self) -> Option<(Process, Router)> {
        let door = self.0.lock().expect("nobody panics while it is locked").clone();
        door.filter(|(process, _)| process.is_alive())
    }
}

/// How much goes wrong between participants and replicas: of 1000 requests, and of 1000 answers, so many are lost.
pub type Losses = Arc<Mutex<u64>>;

/// A participant.
pub struct Client {
    number: usize,
    machine: Participant,
    began: Instant,
    random: Random,
    doors: Vec<Door>,
    /// The replica that it has last asked.
    at: usize,
    losses: Losses,
    history: Arc<History>,
    weights: Vec<i64>,
    round: Option<RoundSeed>,
    /// Of 1000 requests so many go to another replica than the one before, although that is there.
    pub wanders: u64,
    /// Whether the log took such a message when its sender sent it, of which kind that is.
    was_taken: [bool; 3],
}

/// Reasons that do not follow from the log: the phase's time was over by the machine's clock, or it worked on as many as
/// it may take.
const MAY_BE: [&str; 2] = ["too_late", "full"];
const TAGS: [Tag; 3] = [Tag::Sum, Tag::Update, Tag::Sum2];

impl Client {
    pub fn new(
        number: usize,
        length: u64,
        mut random: Random,
        doors: Vec<Door>,
        losses: Losses,
        history: Arc<History>,
    ) -> Self {
        let keys = SigningKeyPair::from_seed(&Seed::new(random.bytes32()));
        let unit = UNIT as u64;
        let weights: Vec<_> =
            (0..length).map(|_| random.below(2 * unit + 1) as i64 - UNIT).collect();
        history.trains(keys.clone(), weights.clone());
        let mut settings = participant::Settings::default();
        settings.polling.max = Duration::from_millis(400);
        if random.chance(0.3) {
            let size = MessageSize::at_most(random.between(220, 600) as usize);
            settings = settings.with_max_message_size(size.expect("large enough"));
        }
        let machine = Participant::new(keys, RootSeed::new(random.bytes32()), settings);
        let at = random.below(doors.len() as u64) as usize;
        Self {
            number,
            machine,
            began: Instant::now(),
            random,
            doors,
            at,
            losses,
            history,
            weights,
            round: None,
            wanders: 0,
            was_taken: [false; 3],
        }
    }

    /// Takes part, without end.
    pub async fn run(mut self) {
        loop {
            let output = self.machine.poll_output();
            let input = match output {
                Output::Request { id, call } => match self.ask(&call).await {
                    Ok(response) => Input::Response { id, response },
                    Err(fault) => Input::Fault { id, fault },
                },
                Output::Job(job) => {
                    self.pause(20).await;
                    Input::JobDone(job.finish())
                }
                Output::Event(event) => match self.hear(event) {
                    Some(input) => input,
                    None => continue,
                },
                Output::Idle(idle) => {
                    let at = idle.wake_at.expect("it waits for the time");
                    sleep_until(self.began + at.as_duration()).await;
                    Input::Tick
                }
                other => panic!("unknown output {other:?}"),
            };
            let now = Timestamp::from_duration(self.began.elapsed());
            self.machine.handle_input(now, input).expect("it is not stopped");
        }
    }

    async fn pause(&mut self, most: u64) {
        let micros = self.random.between(200, most * 1000);
        sleep(Duration::from_micros(micros)).await;
    }

    fn hear(&mut self, event: Event) -> Option<Input> {
        let key = self.machine.keys().public();
        match event {
            Event::NewRound { parameters, .. } => self.round = Some(parameters.seed),
            Event::ModelNeeded { .. } => {
                let weights = self.weights.iter().map(|weight| *weight as f32 / UNIT as f32);
                return Some(Input::SetModel(Model::F32(weights.collect())));
            }
            Event::Sent(tag) => {
                let number = self.number;
                self.history.tell(format!("participant {number} knows its {tag} to be accepted"));
                if let Some(round) = self.round {
                    self.history.acknowledged(round, tag, key);
                }
            }
            Event::Rejected { tag, problem } => {
                let number = self.number;
                self.history.tell(format!("participant {number}: {tag} rejected: {problem}"));
                let index = TAGS.iter().position(|other| *other == tag);
                let was_taken = index.is_some_and(|index| self.was_taken[index]);
                let is_taken = self.round.is_some_and(|round| self.history.takes(round, tag, key));
                if was_taken && is_taken && !MAY_BE.contains(&&*problem.name) {
                    self.history.accuse(format!(
                        "a {tag} message of {key} was rejected for good, and is right: {problem}"
                    ));
                }
            }
            _ => {}
        }
        None
    }

    /// Asks one of the replicas; another one, if that one takes no messages.
    async fn ask(&mut self, call: &Call) -> Result<Response, TransportFault> {
        if matches!(call, Call::Message(_)) {
            let key = self.machine.keys().public();
            let takes = |tag| self.round.is_some_and(|seed| self.history.takes(seed, tag, key));
            self.was_taken = TAGS.map(takes);
        }
        let mut tries = 0;
        loop {
            if self.random.below(1000) < self.wanders {
                self.history.note(Trouble::Wandered);
                self.at = self.random.below(self.doors.len() as u64) as usize;
            }
            let response = self.ask_one(call).await;
            let is_elsewhere = match &response {
                Ok(response) => response.status == 503,
                Err(_) => true,
            };
            if is_elsewhere {
                self.at = (self.at + 1) % self.doors.len();
            }
            tries += 1;
            // As a load balancer does that knows of other replicas.
            let again = matches!(&response, Ok(response) if response.status == 503);
            if !again || tries >= self.doors.len() {
                return response;
            }
        }
    }

    async fn ask_one(&mut self, call: &Call) -> Result<Response, TransportFault> {
        self.pause(10).await;
        let losses = *self.losses.lock().expect("nobody panics while it is locked");
        let (arrives, comes_back) =
            (self.random.below(1000) >= losses, self.random.below(1000) >= losses);
        let Some((process, router)) = self.doors[self.at].now() else {
            return Err(TransportFault::Unreachable("nobody listens".to_owned()));
        };
        if !arrives {
            self.history.note(Trouble::RequestLost);
            sleep(PATIENCE).await;
            return Err(TransportFault::TimedOut);
        }
        let mut request = Request::builder().method(call.method()).uri(call.path_and_query());
        for (name, value) in call.headers() {
            request = request.header(name, &*value);
        }
        let request = request.body(Body::from(call.body())).expect("a request");
        let answer = process.run(answer(router, request));
        let answer = async {
            tokio::select! {
                biased;
                answer = answer => Ok(answer),
                () = process.died() => Err(TransportFault::Unreachable("cut off".to_owned())),
            }
        };
        let answer = timeout(PATIENCE, answer).await.map_err(|_| TransportFault::TimedOut)?;
        self.pause(10).await;
        if !comes_back {
            self.history.note(Trouble::ResponseLost);
            sleep(PATIENCE).await;
            return Err(TransportFault::TimedOut);
        }
        answer
    }
}

async fn answer(router: Router, request: Request<Body>) -> Response {
    let response = match TowerToHyperService::new(router).call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let (parts, body) = response.into_parts();
    let header = |name| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let retry = header("retry-after").and_then(retry_after);
    let form = header("content-type").map(ModelForm::of_content_type).unwrap_or_default();
    let status = parts.status.as_u16();
    let body = body.collect().await.expect("a body").to_bytes();
    let mut answer = request::Response::new(status, body);
    (answer.retry_after, answer.model_form) = (retry, form);
    answer
}
