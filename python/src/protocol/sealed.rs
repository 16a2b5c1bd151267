//! A coordinator of version 2 and its committee in one object, for simulations: the real machines, in memory. Jobs are run
//! on the spot, and what would have been stored is reported as stored at once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pet_transport_blocking::core::crypto::{PublicSigningKey, RootSeed, Seed, SigningKeyPair};
use pet_transport_blocking::core::job::{Job, JobResult, Part, PartResult};
use pet_transport_blocking::core::mask::MaskConfig;
use pet_transport_blocking::core::model::{DataType, Model};
use pet_transport_blocking::core::participant::Polling;
use pet_transport_blocking::core::request::{self, Response};
use pet_transport_blocking::core::time::Timestamp;
use pet_transport_blocking::core::v2::coordinator::{
    self as c, Coordinator, CountRange, Event, Front, Large, Object, Settings, Ticket, TimeRange,
    Times,
};
use pet_transport_blocking::core::v2::member::{self, Member};
use pet_transport_blocking::core::v2::{
    Admission, Call, Credential, Group, NoiseTerms, Pin, Roster,
};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::errors::CoordinatorInit;
use crate::weights_out;

/// What seeds are derived for.
const AUTHORITY: u8 = 1;
const COORDINATOR: u8 = 2;
const MEMBER: u8 = 3;
const ROOT: u8 = 4;
const BOOT: u8 = 5;

/// The coordinator of a simulation of version 2.
#[pyclass(module = "xaynet_sdk.xaynet_sdk", name = "_SealedCoordinator", frozen)]
pub(crate) struct SealedCoordinator {
    inner: Mutex<Inner>,
}

struct Inner {
    machine: Coordinator,
    front: Front,
    wake_at: Option<Timestamp>,
    members: Vec<(Member, Option<Timestamp>)>,
    objects: BTreeMap<Object, BTreeMap<u64, Vec<u8>>>,
    /// What has become of a message.
    replies: BTreeMap<u64, Result<(), c::Rejection>>,
    tickets: u64,
    events: VecDeque<Event>,
    authority: SigningKeyPair,
    roster: Arc<Roster>,
    model: Option<Arc<c::Completed>>,
    threads: usize,
}

#[pymethods]
impl SealedCoordinator {
    #[new]
    #[expect(clippy::too_many_arguments, reason = "only the package calls it")]
    fn new(
        model_length: u64,
        mask: &str,
        groups: u8,
        members: u8,
        n_min: u64,
        most: u64,
        noise: Option<(f64, f64)>,
        seed: [u8; 32],
        now: u64,
        threads: usize,
    ) -> PyResult<Self> {
        let wrong = |error: &dyn std::fmt::Display| CoordinatorInit::new_err(error.to_string());
        let mask: MaskConfig = mask.parse().map_err(|error| wrong(&error))?;
        let seeds = Seeds(RootSeed::new(seed));
        let authority = seeds.keys(&[AUTHORITY]);
        let groups: Vec<_> = (0..groups)
            .map(|group| {
                let keys = (0..members).map(|member| seeds.keys(&[MEMBER, group, member]).public());
                Group::new(format!("group {group}"), keys.collect())
            })
            .collect();
        let roster = Roster::new(groups, Admission::Authority(authority.public()));
        let roster = Arc::new(roster.map_err(|error| wrong(&error))?);
        let seconds = Duration::from_secs;
        let time = TimeRange { min: Duration::from_millis(200), max: seconds(10) };
        let count = CountRange { min: n_min, max: most };
        let mut settings =
            Settings::new(roster.clone(), mask, model_length, n_min, count, Times::all(time));
        if let Some((multiplier, clip)) = noise {
            settings = settings.with_noise(noise_terms(multiplier, clip)?);
        }
        let now = Timestamp::from_millis(now);
        let machine = Coordinator::new(settings, seeds.root(&[COORDINATOR]), now);
        let machine = machine.map_err(|error| wrong(&error))?;
        let pin = Pin::new(roster.hash(), n_min);
        let mut polling = Polling::default();
        polling.max = Duration::from_millis(100);
        let members = roster.members().map(|(id, _)| {
            let of = |purpose| [purpose, id.group, id.index];
            let settings = member::Settings::default().with_polling(polling);
            let (root, boot) = (seeds.root(&of(ROOT)), seeds.root(&of(BOOT)));
            (Member::new(seeds.keys(&of(MEMBER)), root, boot, pin, settings), Some(now))
        });
        let members = members.collect();
        let inner = Inner {
            machine,
            front: Front::new(),
            wake_at: Some(now),
            members,
            objects: BTreeMap::new(),
            replies: BTreeMap::new(),
            tickets: 0,
            events: VecDeque::new(),
            authority,
            roster,
            model: None,
            threads,
        };
        Ok(Self { inner: Mutex::new(inner) })
    }

    /// Has coordinator and committee do all that is due.
    fn tick(&self, py: Python<'_>, now: u64) {
        py.detach(|| self.lock().tick(Timestamp::from_millis(now)));
    }

    /// Answers an updater's call: status and body.
    fn request<'py>(
        &self,
        py: Python<'py>,
        now: u64,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> (u16, Bound<'py, PyBytes>) {
        let now = Timestamp::from_millis(now);
        let body = body.to_vec().into();
        let response = py.detach(|| {
            let mut inner = self.lock();
            let data_type = inner.data_type();
            match Call::parse(method, path, data_type, body) {
                Ok(call) => inner.answer(now, call),
                Err(error) => Response::new(404, error.to_string()),
            }
        });
        (response.status, PyBytes::new(py, &response.body))
    }

    /// The next of what there is to tell: a tuple of its name and what belongs to it.
    fn poll_output<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let mut inner = self.lock();
        match inner.events.pop_front() {
            Some(event) => event_tuple(py, event),
            None => {
                let due = inner.members.iter().filter_map(|(_, wake_at)| *wake_at);
                let wake_at = due.chain(inner.wake_at).min();
                ("idle", wake_at.map(Timestamp::as_millis), "messages").into_pyobject(py)
            }
        }
    }

    /// The hash of the roster, to be pinned.
    #[getter]
    fn roster<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.lock().roster.hash().as_bytes())
    }

    /// A credential for this key, for ever.
    fn credential<'py>(&self, py: Python<'py>, updater: [u8; 32]) -> Bound<'py, PyBytes> {
        let updater = PublicSigningKey::new(updater);
        let credential = Credential::issue(&self.lock().authority, &updater, u64::MAX);
        PyBytes::new(py, &credential.to_bytes())
    }

    #[getter]
    fn round_id(&self) -> u64 {
        self.lock().machine.round()
    }

    #[getter]
    fn phase(&self) -> String {
        self.lock().machine.phase().to_string()
    }

    /// The latest global model; None while there is none.
    fn global_model<'py>(
        &self,
        py: Python<'py>,
        as_array: bool,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(completed) = self.lock().model.clone() else { return Ok(None) };
        let model: &Model = &completed.model;
        Ok(Some(match as_array {
            true => weights_out::to_array(py, model)?,
            false => weights_out::to_list(py, model)?.into_any(),
        }))
    }
}

impl SealedCoordinator {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Everything that is secret in a simulation follows from one seed: it is no secret.
struct Seeds(RootSeed);

impl Seeds {
    fn derive(&self, what: &[u8]) -> Seed {
        use pet_transport_blocking::core::crypto::Purpose;
        self.0.derive(Purpose::Identity, &[b"simulation", what])
    }

    fn keys(&self, what: &[u8]) -> SigningKeyPair {
        SigningKeyPair::from_seed(&self.derive(what))
    }

    fn root(&self, what: &[u8]) -> RootSeed {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.derive(what).as_bytes());
        RootSeed::new(bytes)
    }
}

fn noise_terms(multiplier: f64, clip: f64) -> PyResult<NoiseTerms> {
    let thousandths = (multiplier * 1000.0).round();
    if !(thousandths >= 1.0 && thousandths <= f64::from(u32::MAX)) {
        return Err(CoordinatorInit::new_err(format!(
            "the noise multiplier must be from 0.001 to 4294967, and is {multiplier}"
        )));
    }
    Ok(NoiseTerms { multiplier_thousandths: thousandths as u32, clip })
}

impl Inner {
    fn data_type(&self) -> DataType {
        self.machine.terms().parameters.mask_config.vect.data_type()
    }

    fn tick(&mut self, now: Timestamp) {
        self.tell(now, c::Input::Tick);
        // Each may have something to do because of another one.
        for _ in 0..2 {
            for at in 0..self.members.len() {
                if self.members[at].1.is_some_and(|wake_at| wake_at <= now) {
                    self.attend(now, at);
                }
            }
        }
    }

    fn tell(&mut self, now: Timestamp, input: c::Input) {
        // Nothing is late here that could not be.
        let _ = self.machine.handle_input(now, input);
        loop {
            let input = match self.machine.poll_output() {
                c::Output::Job(job) => match run(job, self.threads) {
                    Some(result) => c::Input::JobDone(result),
                    None => continue,
                },
                c::Output::Persist { id, record } => {
                    self.store(&record);
                    c::Input::Persisted(id)
                }
                c::Output::Load(object) => {
                    c::Input::Loaded { object, bytes: self.load(object).map(Into::into) }
                }
                c::Output::Front(front) => {
                    self.front = front;
                    continue;
                }
                c::Output::Reply { ticket, outcome } => {
                    self.replies.insert(ticket.0, outcome);
                    continue;
                }
                c::Output::Event(event) => {
                    self.events.push_back(event);
                    continue;
                }
                c::Output::Idle(idle) => {
                    self.wake_at = idle.wake_at;
                    return;
                }
                _ => continue,
            };
            let _ = self.machine.handle_input(now, input);
        }
    }

    fn store(&mut self, record: &c::Record) {
        let round = self.machine.round();
        match record.large(round) {
            Some(Large::Chunk { object, offset, data }) => {
                self.objects.entry(object).or_default().insert(offset, data.to_vec());
            }
            Some(Large::Completed(completed)) => {
                // Nobody audits a simulation.
                self.objects.retain(|object, _| object.round > completed.round());
                self.model = Some(completed);
            }
            None => {}
        }
        if let c::Record::RoundFailed { round, .. } = record {
            self.objects.retain(|object, _| object.round > *round);
        }
    }

    fn load(&self, object: Object) -> Option<Vec<u8>> {
        let chunks = self.objects.get(&object)?;
        Some(chunks.values().flatten().copied().collect())
    }

    fn answer(&mut self, now: Timestamp, call: Call) -> Response {
        if let Some(response) =
            self.front.answer(&call).respond(|object| self.load(object).map(Into::into))
        {
            return response;
        }
        let rejection = match self.front.open(call) {
            Ok(message) => {
                self.tickets += 1;
                let ticket = self.tickets;
                self.tell(now, c::Input::Message { ticket: Ticket(ticket), message });
                match self.replies.remove(&ticket) {
                    Some(Ok(())) | None => return Response::ok(""),
                    Some(Err(rejection)) => rejection,
                }
            }
            Err(rejection) => rejection,
        };
        let problem = rejection.problem(self.front.round());
        Response::new(problem.status, problem.to_json())
    }

    /// Has a member do what is due.
    fn attend(&mut self, now: Timestamp, at: usize) {
        let _ = self.members[at].0.handle_input(now, member::Input::Tick);
        loop {
            let input = match self.members[at].0.poll_output() {
                member::Output::Request { id, call: request::Call::V2(call) } => {
                    let response = self.answer(now, call);
                    member::Input::Response { id, response }
                }
                member::Output::Job(job) => match run(job, self.threads) {
                    Some(result) => member::Input::JobDone(result),
                    None => continue,
                },
                member::Output::Persist { id, .. } => member::Input::Persisted(id),
                member::Output::Idle(idle) => {
                    self.members[at].1 = idle.wake_at;
                    return;
                }
                _ => continue,
            };
            let _ = self.members[at].0.handle_input(now, input);
        }
    }
}

fn run<R: Send>(job: Job<R>, threads: usize) -> Option<JobResult<R>> {
    job.run(
        threads.max(1),
        || false,
        |parts: Vec<Part<R>>| -> Option<Vec<PartResult<R>>> {
            std::thread::scope(|scope| {
                let mut parts = parts.into_iter();
                // The first is for this thread, which has nothing else to do.
                let own = parts.next();
                let threads: Vec<_> =
                    parts.map(|part| scope.spawn(|| part.run(|| false))).collect();
                let own = own.map(|part| part.run(|| false));
                let others = threads.into_iter().map(|thread| thread.join().ok().flatten());
                own.into_iter().chain(others).collect()
            })
        },
    )
}

fn event_tuple(py: Python<'_>, event: Event) -> PyResult<Bound<'_, PyTuple>> {
    match event {
        Event::PhaseBegan { round, phase } => {
            ("phase_began", round, phase.to_string()).into_pyobject(py)
        }
        Event::PhaseEnded { round, phase, accepted, took } => {
            ("phase_ended", round, phase.to_string(), accepted, took.as_secs_f64())
                .into_pyobject(py)
        }
        Event::RoundCompleted { round, models, votes, .. } => {
            ("round_completed", round, models, votes).into_pyobject(py)
        }
        Event::RoundFailed { round, phase, failure } => {
            ("round_failed", round, phase.to_string(), failure.to_string(), failure.label())
                .into_pyobject(py)
        }
        other => ("other", format!("{other:?}")).into_pyobject(py),
    }
}
