//! The jobs of participants and coordinator as their drivers run them: on one thread, and in as many parts as there
//! are cores.
//!
//! A job is more than the step that it is named after: masking hashes the model, signs and seals the message; adding
//! up masks opens the sealed seeds first, and signs and seals afterwards.

use std::time::Duration;

use bytes::Bytes;
use pet_core::coordinator::{self, Coordinator, CountRange, Front, Ticket, TimeRange, Verified};
use pet_core::crypto::{
    EncryptKeyPair, RootSeed, RoundSeed, Seed, SigningKeyPair, Task, TaskSignatures,
};
use pet_core::job::{Job, JobKind, JobResult};
use pet_core::mask::{MaskConfig, MaskConfigPair, MaskObjectView, MaskSeed, Unmasker};
use pet_core::message::{EncryptedMaskSeed, MessageView, SumPayload};
use pet_core::model::Model;
use pet_core::participant::{self, Participant};
use pet_core::request::{Call, Response};
use pet_core::round::{RoundParameters, SumDict, UpdateSeedDict};
use pet_core::time::Timestamp;
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::limits::LENGTHS;
use crate::machine;
use crate::ours::{self, weights, DEFAULT, MASKS};
use crate::runner::{id, Row, Runner, Target};

const MASK: &str = "job: mask, sign, seal";
const SUM2: &str = "job: Sum2 of 100 masks";
const AGGREGATE: &str = "job: aggregate 3 messages";
const UNMASK: &str = "job: unmask, both forms";

const NOW: Timestamp = Timestamp::ZERO;

/// Measures all of them.
pub fn measure(runner: &mut Runner) {
    let config: MaskConfig = DEFAULT.parse().expect("an old config");
    let [short, middle, long] = LENGTHS;
    let quick = runner.is_quick();
    let usual = if quick { short } else { middle };
    unmask_on_all_cores(runner, config.into(), if quick { &LENGTHS[..2] } else { &LENGTHS });

    for length in if quick { vec![short] } else { vec![middle, long] } {
        let updater = Updater::new(config, length);
        let message =
            MaskObjectView::serialized_len(config.into(), length).expect("a short model") as u64;
        both(
            runner,
            MASK,
            length,
            |mut row| {
                row = row.inputs(4 * length);
                if length == long {
                    row = row.target(Target::Memory {
                        wanted: 2.5,
                        of: "the message",
                        bytes: message,
                    });
                }
                row
            },
            || updater.job(),
        );
    }

    // A second's work is enough.
    let summer = Summer::new(config, short);
    let mask = MaskObjectView::serialized_len(config.into(), short).expect("a short model") as u64;
    both(
        runner,
        SUM2,
        short * MASKS,
        |row| row.target(Target::Memory { wanted: 3.0, of: "the output", bytes: mask }),
        || summer.job(),
    );

    let round = Round::new(config, usual);
    both(runner, AGGREGATE, 3 * usual, |row| row, || round.aggregate());
    both(runner, UNMASK, usual, |row| row, || round.unmask());
}

/// Unmasking to the array alone, which is no job.
fn unmask_on_all_cores(runner: &mut Runner, pair: MaskConfigPair, lengths: &[usize]) {
    let threads = machine::cores();
    if threads == 1 {
        return;
    }
    let pool = pool(threads);
    for &length in lengths {
        let one = id(ours::UNMASK, DEFAULT, length, 1);
        let row = Row::new(ours::UNMASK, DEFAULT, length)
            .threads(threads)
            .target(Target::FasterThan { wanted: wanted(threads), id: one });
        let (aggregation, mask) = ours::aggregated(pair, length);
        runner.measure(
            row,
            || (aggregation.clone(), mask.clone()),
            |(aggregation, mask)| {
                let mut unmasker = Unmasker::model_only(aggregation, mask).expect("it fits");
                loop {
                    let parts = match unmasker.gains_from_threads() {
                        true => unmasker.split(threads),
                        false => Vec::new(),
                    };
                    if parts.is_empty() {
                        break unmasker.finish().expect("it fits");
                    }
                    for part in finish_all(parts, &pool, |part| part.step(usize::MAX)) {
                        unmasker.absorb(part);
                    }
                }
            },
        );
    }
}

fn finish_all<P: Send>(
    parts: Vec<P>,
    pool: &rayon::ThreadPool,
    step: impl Fn(&mut P) -> bool + Sync,
) -> Vec<P> {
    let finish = |mut part| {
        while !step(&mut part) {}
        part
    };
    pool.install(|| parts.into_par_iter().map(finish).collect())
}

/// A pool of so many threads.
pub fn pool(threads: usize) -> rayon::ThreadPool {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    pool.expect("threads can be started")
}

/// How many times as fast so many threads should be: 1.8 times on two.
fn wanted(threads: usize) -> f64 {
    0.9 * threads as f64
}

/// Measures a job on one thread, and on all cores if there are more.
fn both<R: Send>(
    runner: &mut Runner,
    step: &'static str,
    weights: usize,
    finish: impl Fn(Row) -> Row,
    mut job: impl FnMut() -> Job<R>,
) {
    let cores = machine::cores();
    for threads in if cores > 1 { vec![1, cores] } else { vec![1] } {
        let mut row = finish(Row::new(step, DEFAULT, weights).threads(threads));
        if threads > 1 {
            row = row.target(Target::FasterThan {
                wanted: wanted(threads),
                id: id(step, DEFAULT, weights, 1),
            });
        }
        let pool = pool(threads);
        runner.measure(row, &mut job, |job| run(job, threads, &pool));
    }
}

/// As the drivers run it: its parts on a pool of so many threads.
pub fn run<R: Send>(job: Job<R>, threads: usize, pool: &rayon::ThreadPool) -> JobResult<R> {
    job.run(
        threads,
        || false,
        |parts| {
            let mut results: Vec<_> = parts.iter().map(|_| None).collect();
            pool.in_place_scope(|scope| {
                let mut work = parts.into_iter().zip(&mut results);
                let own = work.next();
                for (part, result) in work {
                    scope.spawn(move |_| *result = part.run(|| false));
                }
                if let Some((part, result)) = own {
                    *result = part.run(|| false);
                }
            });
            results.into_iter().collect()
        },
    )
    .expect("nobody cancels it")
}

fn keys(number: u64) -> SigningKeyPair {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    SigningKeyPair::from_seed(&Seed::new(seed))
}

fn model(length: usize) -> Model {
    Model::F32(weights(length).iter().map(|w| *w as f32).collect())
}

/// What a participant has come to.
enum Stop {
    /// The job that was waited for.
    Job(participant::Job),
    /// It has sent this message.
    Sent(Bytes),
}

/// Does what a participant says, with answers from `answer`, until it gives out a job of the kind that is waited for, if
/// one is, or has sent a message.
fn drive(
    participant: &mut Participant,
    wanted: Option<JobKind>,
    mut answer: impl FnMut(&Call) -> Response,
) -> Stop {
    use participant::{Input, Output};
    let mut now = NOW;
    participant.handle_input(now, Input::Tick).expect("it runs");
    loop {
        let mut sent = None;
        let input = match participant.poll_output() {
            Output::Job(job) if Some(job.kind()) == wanted => return Stop::Job(job),
            Output::Job(job) => Input::JobDone(job.finish()),
            Output::Request { id, call: Call::Message(message) } => {
                sent = Some(message);
                Input::Response { id, response: Response::ok("") }
            }
            Output::Request { id, call } => Input::Response { id, response: answer(&call) },
            Output::Idle(idle) => {
                now = idle.wake_at.unwrap_or_else(|| panic!("it waits for {:?}", idle.why));
                Input::Tick
            }
            _ => continue,
        };
        participant.handle_input(now, input).expect("it runs");
        if let Some(message) = sent {
            return Stop::Sent(message);
        }
    }
}

fn until_job(
    participant: &mut Participant,
    kind: JobKind,
    mut answer: impl FnMut(&Call) -> Response,
) -> participant::Job {
    loop {
        if let Stop::Job(job) = drive(participant, Some(kind), &mut answer) {
            return job;
        }
    }
}

fn until_sent(participant: &mut Participant, answer: impl FnMut(&Call) -> Response) -> Bytes {
    match drive(participant, None, answer) {
        Stop::Sent(message) => message,
        Stop::Job(_) => unreachable!("none is waited for"),
    }
}

fn parameters(
    config: MaskConfig,
    length: usize,
    sum: f64,
    keys: &EncryptKeyPair,
) -> RoundParameters {
    RoundParameters {
        pk: keys.public(),
        sum,
        update: 1.0,
        seed: RoundSeed::new([3; 32]),
        mask_config: config.into(),
        model_length: length as u64,
    }
}

fn participant_with(keys: SigningKeyPair) -> Participant {
    let root = RootSeed::new(*keys.public().as_bytes());
    Participant::new(keys, root, participant::Settings::default())
}

fn participant() -> Participant {
    participant_with(keys(1))
}

/// An update participant with a trained model.
struct Updater {
    parameters: Bytes,
    sums: Bytes,
    length: usize,
}

impl Updater {
    fn new(config: MaskConfig, length: usize) -> Self {
        let coordinator = EncryptKeyPair::from_seed(&Seed::new([1; 32]));
        let mut sums = SumDict::new();
        sums.insert(keys(9).public(), EncryptKeyPair::from_seed(&Seed::new([2; 32])).public());
        Updater {
            parameters: parameters(config, length, 0.0, &coordinator).to_bytes().into(),
            sums: sums.to_bytes().into(),
            length,
        }
    }

    fn job(&self) -> participant::Job {
        let mut participant = participant();
        let input = participant::Input::SetModel(model(self.length));
        participant.handle_input(NOW, input).expect("it runs");
        until_job(&mut participant, JobKind::MaskModel, |call| match call {
            Call::Params => Response::ok(self.parameters.clone()),
            Call::SumsOf(_) => Response::ok(self.sums.clone()),
            _ => Response::no_content(),
        })
    }
}

/// A sum participant with many seeds to open.
struct Summer {
    parameters: Bytes,
    seeds: Bytes,
}

impl Summer {
    fn new(config: MaskConfig, length: usize) -> Self {
        let coordinator = EncryptKeyPair::from_seed(&Seed::new([1; 32]));
        let parameters = Bytes::from(parameters(config, length, 1.0, &coordinator).to_bytes());
        // The key to seal seeds for is in the sum message.
        let sent = until_sent(&mut participant(), |_| Response::ok(parameters.clone()));
        let opened = coordinator.open(&sent).expect("it is for this coordinator");
        let message = MessageView::parse(&opened).expect("a message");
        let key = SumPayload::parse(message.payload).expect("a sum message").ephemeral_key;
        let seal = |number: u64| {
            let mut seed = [4; 32];
            seed[..8].copy_from_slice(&number.to_le_bytes());
            let ephemeral = EncryptKeyPair::from_seed(&Seed::new(seed));
            let sealed = EncryptedMaskSeed::seal(&MaskSeed::new(seed), &key, &ephemeral);
            (keys(1000 + number).public(), sealed.expect("a good key"))
        };
        let seeds: UpdateSeedDict = (0..MASKS as u64).map(seal).collect();
        let seeds = Bytes::from(seeds.to_bytes());
        Summer { parameters, seeds }
    }

    fn job(&self) -> participant::Job {
        until_job(&mut participant(), JobKind::AddMasks, |call| match call {
            Call::Params => Response::ok(self.parameters.clone()),
            Call::SeedsOf(..) => Response::ok(self.seeds.clone()),
            _ => Response::ok(""),
        })
    }
}

/// A coordinator, and what it has published.
struct Server {
    machine: Coordinator,
    front: Front,
}

impl Server {
    /// At the beginning of a round, always the same.
    fn new(settings: &coordinator::Settings) -> Self {
        let machine = Coordinator::new(settings.clone(), RootSeed::new([5; 32]), NOW)
            .expect("valid settings");
        let mut server = Server { machine, front: Front::new() };
        server.finish();
        server
    }

    /// Does what the machine says, until it gives out a job or is idle.
    fn drain(&mut self) -> Option<coordinator::Job> {
        use coordinator::{Input, Output};
        loop {
            match self.machine.poll_output() {
                Output::Job(job) => return Some(job),
                Output::Persist { id, .. } => {
                    self.machine.handle_input(NOW, Input::Persisted(id)).expect("it runs");
                }
                Output::Front(front) => self.front = front,
                Output::Reply { outcome, .. } => outcome.expect("a good message"),
                Output::Idle(_) => return None,
                _ => {}
            }
        }
    }

    fn done(&mut self, job: coordinator::Job) {
        self.machine.handle_input(NOW, coordinator::Input::JobDone(job.finish())).expect("it runs");
    }

    /// Runs all jobs.
    fn finish(&mut self) {
        while let Some(job) = self.drain() {
            self.done(job);
        }
    }

    /// Runs all jobs before the first one of that kind, and gives that.
    fn until_job(&mut self, kind: JobKind) -> coordinator::Job {
        loop {
            let job = self.drain().unwrap_or_else(|| panic!("no job to {kind}"));
            if job.kind() == kind {
                return job;
            }
            self.done(job);
        }
    }

    fn message(&mut self, message: &Verified) {
        let input = coordinator::Input::Message { ticket: Ticket(0), message: message.clone() };
        self.machine.handle_input(NOW, input).expect("it runs");
    }

    /// What a participant sends next, opened.
    fn receive(&self, participant: &mut Participant) -> Verified {
        let sent = until_sent(participant, |call| self.front.answer(call).expect("not a message"));
        self.front.open(sent.to_vec()).expect("a good message")
    }
}

const UPDATES: usize = 4;

/// A round with one sum participant and four update participants: its messages.
struct Round {
    settings: coordinator::Settings,
    sum: Verified,
    updates: Vec<Verified>,
    sum2: Verified,
}

impl Round {
    fn new(config: MaskConfig, length: usize) -> Self {
        let time = TimeRange { min: Duration::ZERO, max: Duration::from_secs(600) };
        let count = |count| CountRange { min: count, max: count };
        let settings = coordinator::Settings::new(
            coordinator::SumSettings::new(0.5, count(1), time),
            coordinator::UpdateSettings::new(1.0, count(UPDATES as u64), time),
            coordinator::Sum2Settings::new(count(1), time),
            config,
            length as u64,
        );
        let mut server = Server::new(&settings);
        let parameters = server.front.parameters().expect("a round").clone();
        let participants = |task: Task| {
            let parameters = parameters.clone();
            (0..)
                .map(keys)
                .filter(move |keys| {
                    let signatures = TaskSignatures::sign(keys, &parameters.seed);
                    signatures.task(parameters.sum, parameters.update) == task
                })
                .map(participant_with)
        };
        let mut summer = participants(Task::Sum).next().expect("half of all");
        let sum = server.receive(&mut summer);
        server.message(&sum);
        server.finish();
        let mut updates = Vec::new();
        for mut updater in participants(Task::Update).take(UPDATES) {
            let input = participant::Input::SetModel(model(length));
            updater.handle_input(NOW, input).expect("it runs");
            updates.push(server.receive(&mut updater));
        }
        for update in &updates {
            server.message(update);
        }
        server.finish();
        let sum2 = server.receive(&mut summer);
        Round { settings, sum, updates, sum2 }
    }

    /// A coordinator that is about to add all but the first of the updates.
    fn updated(&self) -> (Server, coordinator::Job) {
        let mut server = Server::new(&self.settings);
        server.message(&self.sum);
        server.finish();
        let (first, others) = self.updates.split_first().expect("four");
        server.message(first);
        let adding_first = server.until_job(JobKind::Aggregate);
        // They come while the first one is being added.
        for update in others {
            server.message(update);
        }
        server.done(adding_first);
        let job = server.until_job(JobKind::Aggregate);
        (server, job)
    }

    fn aggregate(&self) -> coordinator::Job {
        self.updated().1
    }

    fn unmask(&self) -> coordinator::Job {
        let (mut server, job) = self.updated();
        server.done(job);
        server.finish();
        server.message(&self.sum2);
        server.until_job(JobKind::Unmask)
    }
}
