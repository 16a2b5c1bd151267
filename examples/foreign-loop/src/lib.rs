//! A hundred participants in one thread: `pet-core` in an event loop of one's own.
//!
//! mio watches the sockets, [`http`] is all there is of HTTP, and jobs run in steps of about a millisecond
//! between everything else.

#![forbid(unsafe_code)]

pub mod http;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use pet_core::crypto::RootSeed;
use pet_core::mask::DataType;
use pet_core::model::Model;
use pet_core::participant::{
    Event, Input, Job, Output, Participant, Reject, Settings, TransportFault,
};
use pet_core::request::{CoordinatorUrl, InvalidUrl, RequestId, RequestLimits};
use pet_core::time::Timestamp;

use http::Exchange;

/// Why the loop cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL is none.
    #[error(transparent)]
    Url(#[from] InvalidUrl),
    /// There is no TLS here.
    #[error("this example speaks plain HTTP: give a URL that begins with http://")]
    Https,
    /// The operating system refuses something.
    #[error("the operating system says: {0}")]
    Io(#[from] io::Error),
    /// The operating system gives no random bytes.
    #[error("the operating system gives no randomness: {0}")]
    Randomness(String),
    /// A machine does not take an input.
    #[error(transparent)]
    Machine(#[from] Reject),
}

/// What has come of it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Done {
    /// The global model that came first.
    pub model: Arc<Model>,
    /// How many requests were sent, of all participants.
    pub requests: usize,
    /// How many rounds the participants have seen begin, each counted for itself.
    pub rounds: usize,
}

/// A participant, and when it wants to be woken.
struct Member {
    machine: Participant,
    wake_at: Option<Timestamp>,
}

/// A request that is under way.
struct Pending {
    member: usize,
    id: RequestId,
    exchange: Exchange,
    /// When it has taken too long.
    deadline: Timestamp,
}

/// The participants and all that they wait for.
pub struct Loop {
    url: CoordinatorUrl,
    address: SocketAddr,
    limits: RequestLimits,
    poll: Poll,
    start: Instant,
    members: Vec<Member>,
    pending: HashMap<Token, Pending>,
    next_token: usize,
    /// The jobs of all members. One step of each in turn, so that none waits for another's end.
    jobs: VecDeque<(usize, Job)>,
    model: Option<Arc<Model>>,
    requests: usize,
    rounds: usize,
}

impl Loop {
    /// So many participants, each with an identity of its own.
    ///
    /// # Errors
    /// If the URL is no http URL or its host has no address, or the operating system refuses something.
    pub fn new(url: &str, participants: usize) -> Result<Self, Error> {
        let url = CoordinatorUrl::parse(url)?;
        if url.is_https() {
            return Err(Error::Https);
        }
        let mut addresses = format!("{}:{}", url.host(), url.port()).to_socket_addrs()?;
        let address =
            addresses.next().ok_or(io::ErrorKind::AddrNotAvailable).map_err(io::Error::from)?;
        let limits = RequestLimits::default();
        let members = (0..participants)
            .map(|_| {
                let seed = RootSeed::try_fill(|seed| getrandom::fill(seed));
                let seed = seed.map_err(|error| Error::Randomness(error.to_string()))?;
                let mut machine = Participant::from_seed(seed, Settings::default());
                // Nothing else waits for a request here, so that its answer may be held back until there is news.
                machine.handle_input(Timestamp::ZERO, Input::Patience(limits.patience()))?;
                Ok(Member { machine, wake_at: Some(Timestamp::ZERO) })
            })
            .collect::<Result<_, Error>>()?;
        Ok(Self {
            url,
            address,
            limits,
            poll: Poll::new()?,
            start: Instant::now(),
            members,
            pending: HashMap::new(),
            next_token: 0,
            jobs: VecDeque::new(),
            model: None,
            requests: 0,
            rounds: 0,
        })
    }

    /// Takes part until there is a global model.
    ///
    /// # Errors
    /// If the operating system refuses something.
    pub fn run(mut self) -> Result<Done, Error> {
        let mut events = Events::with_capacity(128);
        loop {
            self.wake()?;
            self.give_up_late_requests()?;
            self.step_jobs()?;
            if let Some(model) = self.model.take() {
                return Ok(Done { model, requests: self.requests, rounds: self.rounds });
            }
            match self.poll.poll(&mut events, self.pause()) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(error.into())
                }
                _ => {}
            }
            for event in &events {
                self.advance(event.token())?;
            }
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_duration(self.start.elapsed())
    }

    /// Tells those that wait for a time that it has come.
    fn wake(&mut self) -> Result<(), Error> {
        let now = self.now();
        for member in 0..self.members.len() {
            if self.members[member].wake_at.is_some_and(|at| at <= now) {
                self.tell(member, Input::Tick)?;
            }
        }
        Ok(())
    }

    /// Until when nothing is due: not at all if there are jobs.
    fn pause(&self) -> Option<Duration> {
        if !self.jobs.is_empty() {
            return Some(Duration::ZERO);
        }
        let wakes = self.members.iter().filter_map(|member| member.wake_at);
        let deadlines = self.pending.values().map(|pending| pending.deadline);
        let next = wakes.chain(deadlines).min()?;
        // A clock that counts in milliseconds is behind the poll's by less than one.
        Some(next.saturating_since(self.now()) + Duration::from_millis(1))
    }

    /// One step of each job; what is finished goes back to its machine.
    fn step_jobs(&mut self) -> Result<(), Error> {
        for _ in 0..self.jobs.len() {
            let Some((member, mut job)) = self.jobs.pop_front() else { break };
            if job.step() {
                self.tell(member, Input::JobDone(job.finish()))?;
            } else {
                self.jobs.push_back((member, job));
            }
        }
        Ok(())
    }

    /// Goes on with a request whose socket is ready.
    fn advance(&mut self, token: Token) -> Result<(), Error> {
        let Some(pending) = self.pending.get_mut(&token) else { return Ok(()) };
        match pending.exchange.advance() {
            Ok(None) => Ok(()),
            Ok(Some(response)) => self.end(token, |id| Input::Response { id, response }),
            Err(fault) => self.end(token, |id| Input::Fault { id, fault }),
        }
    }

    fn give_up_late_requests(&mut self) -> Result<(), Error> {
        let now = self.now();
        let late = self.pending.iter().filter(|(_, pending)| pending.deadline <= now);
        let late: Vec<Token> = late.map(|(token, _)| *token).collect();
        for token in late {
            self.end(token, |id| Input::Fault { id, fault: TransportFault::TimedOut })?;
        }
        Ok(())
    }

    /// Ends a request, and tells its machine how.
    fn end(&mut self, token: Token, input: impl FnOnce(RequestId) -> Input) -> Result<(), Error> {
        let Some(mut pending) = self.pending.remove(&token) else { return Ok(()) };
        self.poll.registry().deregister(&mut pending.exchange.stream)?;
        self.tell(pending.member, input(pending.id))
    }

    /// Tells a machine what has happened, and does what it says.
    fn tell(&mut self, member: usize, input: Input) -> Result<(), Error> {
        let now = self.now();
        match self.members[member].machine.handle_input(now, input) {
            // The answer is late, and nobody waits for it any more.
            Ok(()) | Err(Reject::UnknownRequest(_) | Reject::UnknownJob(_)) => {}
            Err(error) => return Err(error.into()),
        }
        self.drain(member)
    }

    /// Does what a machine says until it is idle. None of it waits.
    fn drain(&mut self, member: usize) -> Result<(), Error> {
        loop {
            let output = self.members[member].machine.poll_output();
            let input = match output {
                Output::Request { id, call } => {
                    self.requests += 1;
                    let patience = self.members[member].machine.patience(id).cloned();
                    let (url, limits) = (&self.url, &self.limits);
                    match Exchange::start(self.address, url, &call, patience.as_ref(), limits) {
                        Ok(exchange) => {
                            let wait = patience.map_or(Duration::ZERO, |patience| patience.wait);
                            let deadline = self.now() + self.limits.until_answer(&call) + wait;
                            self.watch(Pending { member, id, exchange, deadline })?;
                            continue;
                        }
                        Err(fault) => Input::Fault { id, fault },
                    }
                }
                Output::Cancel(id) => {
                    self.give_up(member, id)?;
                    continue;
                }
                Output::Job(job) => {
                    self.jobs.push_back((member, job));
                    continue;
                }
                Output::Event(Event::ModelNeeded { data_type, length }) => {
                    Input::SetModel(train(data_type, length, member))
                }
                // A round that begins is where a new global model comes from.
                Output::Event(Event::NewRound { .. }) => {
                    self.rounds += 1;
                    Input::FetchModel
                }
                Output::Event(Event::GlobalModel(Some(model))) => {
                    self.model = Some(model);
                    continue;
                }
                Output::Event(_) => continue,
                Output::Idle(idle) => {
                    self.members[member].wake_at = idle.wake_at;
                    return Ok(());
                }
                _ => continue,
            };
            let now = self.now();
            self.members[member].machine.handle_input(now, input)?;
        }
    }

    /// Drops a request whose answer is not waited for any more.
    fn give_up(&mut self, member: usize, id: RequestId) -> Result<(), Error> {
        let is_it = |pending: &Pending| pending.member == member && pending.id == id;
        let found = self.pending.iter().find(|(_, pending)| is_it(pending));
        let Some(token) = found.map(|(token, _)| *token) else { return Ok(()) };
        if let Some(mut pending) = self.pending.remove(&token) {
            self.poll.registry().deregister(&mut pending.exchange.stream)?;
        }
        Ok(())
    }

    fn watch(&mut self, mut pending: Pending) -> Result<(), Error> {
        let token = Token(self.next_token);
        self.next_token += 1;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut pending.exchange.stream, token, interest)?;
        self.pending.insert(token, pending);
        Ok(())
    }
}

/// The training would be here; it has a thread of its own, since it takes long.
fn train(data_type: DataType, length: u64, member: usize) -> Model {
    let (length, share) = (length as usize, (member % 10) as f32 / 10.0);
    match data_type {
        DataType::F32 => Model::F32(vec![share; length]),
        DataType::F64 => Model::F64(vec![share.into(); length]),
        DataType::I32 => Model::I32(vec![(member % 2) as i32; length]),
        DataType::I64 => Model::I64(vec![(member % 2) as i64; length]),
    }
}
