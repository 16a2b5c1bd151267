//! Update messages of as many participants as one likes, signed and sealed beforehand, and connections that post them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{mpsc, Mutex};
use std::thread;
use std::time::Duration;

use pet_coordinator::settings::Settings;
use pet_core::coordinator::{Coordinator, Output, Record};
use pet_core::crypto::{EncryptKeyPair, RootSeed, Task};
use pet_core::message::Tag;
use pet_core::problem::Problem;
use pet_core::request::Response;
use pet_core::round::{RoundParameters, SumDict};
use pet_core::time::Timestamp;
use pet_testing::by_hand::Hand;

use crate::process::get_when_there;

/// What goes wrong here only ends a measurement.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// From which the coordinator's keys follow, if it is told so.
pub const SEED: [u8; 32] = [7; 32];

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// The settings, beside the model's length, of a coordinator whose first round takes so many updates, and that does not end its
/// phase while they come. One sum participant is enough.
pub fn settings(updates: usize) -> Vec<String> {
    settings_with(updates, 1)
}

/// The same with so many sum participants.
pub fn settings_with(updates: usize, summers: usize) -> Vec<String> {
    // So many models can be added up with it.
    let mut settings = vec!["mask.model_type=M6".to_owned()];
    for setting in [
        "log.filter=error",
        "limits.requests_per_second=0",
        "pet.sum.prob=0.01",
        "pet.sum.time.min=0",
        "pet.update.time.max=100000",
    ] {
        settings.push(setting.to_owned());
    }
    for end in ["min", "max"] {
        settings.push(format!("pet.sum.count.{end}={summers}"));
        settings.push(format!("pet.update.count.{end}={}", updates + 1));
    }
    settings
}

/// Has a sum participant take part in the first round of a coordinator, and gives so many updates that are ready to be sent.
///
/// # Errors
/// If nobody answers, or the sum participant is not accepted.
pub fn updates(address: &str, updates: usize, threads: usize) -> Result<Vec<Vec<u8>>> {
    updates_of(address, 1, updates, threads)
}

/// The same with so many sum participants.
///
/// # Errors
/// If nobody answers, or one of them is not accepted.
pub fn updates_of(
    address: &str,
    summers: usize,
    updates: usize,
    threads: usize,
) -> Result<Vec<Vec<u8>>> {
    let parameters = RoundParameters::from_bytes(&get_when_there(address, "/params")?)?;
    let mut connection = Connection::open(address)?;
    for summer in &Hand::with_task(Task::Sum, summers, &parameters) {
        connection.post(&summer.sum())?;
    }
    let sums = SumDict::from_bytes(&get_when_there(address, "/sums")?)?;
    Ok(prepare(&parameters, &sums, updates, threads))
}

/// The keys of the first round of a coordinator that has [`SEED`]: those of a machine with the same seed.
///
/// # Errors
/// If it has others.
pub fn round_key(address: &str) -> Result<EncryptKeyPair> {
    let parameters = RoundParameters::from_bytes(&get_when_there(address, "/params")?)?;
    let settings = Settings::for_model_length(parameters.model_length).protocol();
    let mut machine = Coordinator::new(settings, RootSeed::new(SEED), Timestamp::ZERO)?;
    loop {
        match machine.poll_output() {
            Output::Persist { record: Record::RoundBegan { secret, .. }, .. } => {
                let key = EncryptKeyPair::from_secret(secret);
                return match key.public() == parameters.pk {
                    true => Ok(key),
                    false => Err("the coordinator has other keys than those of its seed".into()),
                };
            }
            Output::Idle(_) => return Err("no round has begun".into()),
            _ => {}
        }
    }
}

/// Signed and sealed updates of as many participants. What is masked is the same for all: it makes no
/// difference to the coordinator.
fn prepare(
    parameters: &RoundParameters,
    sums: &SumDict,
    updates: usize,
    threads: usize,
) -> Vec<Vec<u8>> {
    let hand = &Hand::with_task(Task::Update, 1, parameters)[0];
    let payload = hand.update_payload(sums, &hand.fitting());
    let (next, messages) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(updates)));
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let hand = Hand::new(u32::try_from(number).unwrap_or(u32::MAX), parameters);
                if hand.signatures.task(parameters.sum, parameters.update) != Task::Update {
                    continue;
                }
                let mut payload = payload.clone();
                let signatures =
                    [&hand.signatures.sum.as_bytes()[..], hand.signatures.update.as_bytes()];
                payload[..128].copy_from_slice(&signatures.concat());
                let message = hand.send(Tag::Update, &payload);
                let mut messages = messages.lock().expect("nobody panics");
                if messages.len() == updates {
                    return;
                }
                messages.push(message);
            });
        }
    });
    messages.into_inner().expect("nobody panics")
}

/// Posts all messages over so many connections, in turns to these addresses: each when the answer to the one before is there.
/// `accepted` hears of each with the number of those before it.
///
/// # Errors
/// The first one, of any connection.
pub fn post(
    addresses: &[&str],
    messages: &[Vec<u8>],
    connections: usize,
    accepted: impl Fn(usize) -> Result<()> + Sync,
) -> Result<()> {
    let (next, before) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let (next, before, accepted) = (&next, &before, &accepted);
    let run = move |address: &str| -> Result<()> {
        let mut connection = Connection::open(address)?;
        while let Some(message) = messages.get(next.fetch_add(1, Ordering::Relaxed)) {
            connection.post(message)?;
            accepted(before.fetch_add(1, Ordering::Relaxed))?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let addresses = addresses.iter().cycle().take(connections);
        let runs: Vec<_> = addresses.map(|address| scope.spawn(move || run(address))).collect();
        runs.into_iter().try_for_each(|run| run.join().expect("nobody panics"))
    })
}

/// The same to replicas of which one leads: it gets one message of so many, as a balancer in front of them would deal them out, and
/// the others all that are left. (If each connection took the next one, the leader would get more than its part, as it answers sooner.)
///
/// # Errors
/// The first one, of any connection.
pub fn post_dealt<'a>(
    (leader, followers): (&str, &[&str]),
    one_of: usize,
    messages: &'a [Vec<u8>],
    connections: usize,
    accepted: impl Fn(usize) -> Result<()> + Sync,
) -> Result<()> {
    let (next, before) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let (next, before, accepted) = (&next, &before, &accepted);
    let (deal, dealt) = mpsc::channel::<&Vec<u8>>();
    let dealt = &Mutex::new(dealt);
    let send = move |connection: &mut Connection, message: &[u8]| -> Result<()> {
        connection.post(message)?;
        accepted(before.fetch_add(1, Ordering::Relaxed))
    };
    let follow = move |address: &str, deal: mpsc::Sender<&'a Vec<u8>>| -> Result<()> {
        let mut connection = Connection::open(address)?;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(message) = messages.get(number) else { return Ok(()) };
            match number % one_of {
                // If nobody takes it any more, that has failed, which is told.
                0 => drop(deal.send(message)),
                _ => send(&mut connection, message)?,
            }
        }
    };
    let lead = move || -> Result<()> {
        let mut connection = Connection::open(leader)?;
        loop {
            let message = dealt.lock().expect("nobody panics").recv();
            let Ok(message) = message else { return Ok(()) };
            send(&mut connection, message)?;
        }
    };
    let of_leader = connections.div_ceil(one_of);
    thread::scope(|scope| {
        let addresses = followers.iter().cycle().take(connections - of_leader);
        let mut runs: Vec<_> = addresses
            .map(|address| {
                let deal = deal.clone();
                scope.spawn(move || follow(address, deal))
            })
            .collect();
        drop(deal);
        runs.extend((0..of_leader).map(|_| scope.spawn(lead)));
        runs.into_iter().try_for_each(|run| run.join().expect("nobody panics"))
    })
}

/// A connection that is kept.
#[derive(Debug)]
pub struct Connection(TcpStream);

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// If nobody listens.
    pub fn open(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        // Whoever does not answer is not waited for without end.
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self(stream))
    }

    /// Posts a message that must be accepted.
    ///
    /// # Errors
    /// Why it is not.
    pub fn post(&mut self, message: &[u8]) -> Result<()> {
        let head = format!(
            "POST /message HTTP/1.1\r\nhost: x\r\naccept: {}\r\ncontent-length: {}\r\n\r\n",
            Problem::MEDIA_TYPE,
            message.len()
        );
        self.0.write_all(head.as_bytes())?;
        self.0.write_all(message)?;
        let (mut answer, mut buffer) = (Vec::new(), [0; 1024]);
        let end = loop {
            let count = self.0.read(&mut buffer)?;
            if count == 0 {
                return Err("the coordinator has hung up".into());
            }
            answer.extend_from_slice(&buffer[..count]);
            if let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
        };
        // An accepted message's answer has no body.
        match std::str::from_utf8(&answer[9..12])?.parse()? {
            200 => Ok(()),
            status => match Problem::of(&Response::new(status, answer.split_off(end))) {
                Some(problem) => Err(format!("not accepted: {problem}").into()),
                None => Err(format!("not accepted: status {status}").into()),
            },
        }
    }
}
