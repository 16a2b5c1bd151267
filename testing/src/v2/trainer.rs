//! An updater's machine, and a coordinator that shows it whatever a test says.

use std::collections::BTreeMap;

use bytes::Bytes;
use pet_core::crypto::{EncryptKeyPair, PublicEncryptKey};
use pet_core::mask::tree::TREE_LEAF;
use pet_core::mask::KeyStream;
use pet_core::model::{array, Model};
use pet_core::participant::{Event, Input, Output, Settings, TransportFault};
use pet_core::request::{Call, Response};
use pet_core::time::Timestamp;
use pet_core::v2::updater::{Refusal, Updater};
use pet_core::v2::{self, Certificate, Phase, Pin, UpdateHeader, UploadKey};

use super::by_hand::{root, seed, Committee, Round, OPENED_AT};
use super::stage::Shown;

/// What an updater has sent: its header, opened, and its masked model, decrypted.
#[derive(Debug, Clone, PartialEq)]
pub struct Sent {
    /// The header.
    pub header: UpdateHeader,
    /// The masked model, as far as it has come.
    pub object: Vec<u8>,
    key: Vec<u8>,
}

/// An updater, driven by hand.
#[derive(Debug)]
pub struct Trainer {
    /// The machine.
    pub machine: Updater,
    /// The time, in milliseconds since the Unix epoch.
    pub now: Timestamp,
    /// All that it has sent.
    pub sent: Vec<Sent>,
    /// All its events, in order.
    pub events: Vec<Event>,
    /// All that it has asked for, in order, by path.
    pub asked: Vec<String>,
    pin: Pin,
    settings: Settings,
}

/// How a round is shown to updaters: the update phase.
pub fn update_phase(round: &Round<'_>) -> Shown {
    let mut shown = Shown::announce(round.committee, round.terms);
    shown.view.phase = Phase::Update;
    shown.view.announcements = Some(round.list.digest());
    shown.view.announced = round.list.list().len() as u32;
    shown.list = Some(round.list.clone());
    shown
}

/// What an updater is shown beside a round.
#[derive(Debug, Clone, Default)]
pub struct Extra {
    /// The global model.
    pub model: Option<Model>,
    /// The certificate of a round.
    pub certificate: BTreeMap<u64, Certificate>,
    /// Whether the coordinator knows nothing of version 2.
    pub is_v1: bool,
}

impl Trainer {
    /// The updater with this number.
    pub fn new(committee: &Committee, updater: usize) -> Self {
        Self::with_pin(committee, updater, committee.pin())
    }

    /// The same with another pin.
    pub fn with_pin(committee: &Committee, updater: usize, pin: Pin) -> Self {
        let settings = Settings::default().with_credential(committee.credential(updater));
        let root = root(30, updater as u64);
        Self::from(
            Updater::new(committee.updaters[updater].clone(), root, pin, settings.clone()),
            pin,
            settings,
        )
    }

    fn from(machine: Updater, pin: Pin, settings: Settings) -> Self {
        let now = Timestamp::from_millis(OPENED_AT * 1000 + 1000);
        let (sent, events, asked) = (Vec::new(), Vec::new(), Vec::new());
        Self { machine, now, sent, events, asked, pin, settings }
    }

    /// Ends it and starts it again from this state.
    ///
    /// # Panics
    /// If that is none.
    pub fn restore(&mut self, snapshot: &[u8]) {
        self.machine =
            Updater::restore(snapshot, self.pin, self.settings.clone()).expect("a state");
    }

    /// Its state.
    pub fn snapshot(&self) -> Vec<u8> {
        self.machine.snapshot().to_bytes().to_vec()
    }

    /// Shows something, and gives it `local` when it needs a model, until it has looked some times more without anything new.
    ///
    /// # Panics
    /// If it speaks version 1, or sends what is malformed.
    pub fn show(&mut self, shown: &Shown, extra: &Extra, local: &Model) {
        let mut looks = 0;
        self.input(Input::Tick);
        loop {
            let input = match self.machine.poll_output() {
                Output::Request { id, call } => {
                    let Call::V2(call) = call else { panic!("it speaks version 1: {call:?}") };
                    looks += usize::from(matches!(call, v2::Call::Round));
                    if call.post().is_some() {
                        looks = 0;
                    }
                    self.asked.push(call.path().to_owned());
                    match self.answer(shown, extra, &call) {
                        Some(response) => Input::Response { id, response },
                        None => Input::Fault { id, fault: TransportFault::TimedOut },
                    }
                }
                Output::Job(job) => Input::JobDone(job.finish()),
                Output::Event(event) => {
                    self.events.push(event.clone());
                    match event {
                        Event::ModelNeeded { .. } => Input::SetModel(local.clone()),
                        _ => continue,
                    }
                }
                Output::Idle(idle) => {
                    if looks >= 8 {
                        return;
                    }
                    self.now = self.now.max(idle.wake_at.expect("it waits for the time only"));
                    Input::Tick
                }
                other => panic!("unknown output {other:?}"),
            };
            self.input(input);
        }
    }

    fn input(&mut self, input: Input) {
        // What is released comes back after its time.
        let _ = self.machine.handle_input(self.now, input);
    }

    fn answer(&mut self, shown: &Shown, extra: &Extra, call: &v2::Call) -> Option<Response> {
        let missing = || {
            let mut response = Response::ok("");
            response.status = 404;
            Some(response)
        };
        if extra.is_v1 {
            return missing();
        }
        match call {
            v2::Call::Update(post) => {
                let terms = shown.view.terms.as_ref()?;
                self.hear(&EncryptKeyPair::from_seed(&seed(4, terms.round)), &post.body);
                Some(Response::ok(""))
            }
            v2::Call::UpdateChunk { index, post, .. } => {
                let sent = self.sent.last_mut()?;
                let mut bytes = post.body.to_vec();
                let key: [u8; 32] = sent.key[..].try_into().ok()?;
                KeyStream::new(&key, u64::from(*index)).xor(0, &mut bytes);
                let at = *index as usize * TREE_LEAF;
                let end = sent.object.len().max(at + bytes.len());
                sent.object.resize(end, 0);
                sent.object[at..at + bytes.len()].copy_from_slice(&bytes);
                Some(Response::ok(""))
            }
            v2::Call::Model { .. } => {
                let mut bytes = Vec::new();
                array::write_weights(extra.model.as_ref()?, &mut bytes);
                Some(Response::ok(bytes))
            }
            v2::Call::Certificate { round } => match extra.certificate.get(&(*round)?) {
                Some(certificate) => Some(Response::ok(certificate.to_bytes())),
                None => missing(),
            },
            v2::Call::Proof { .. } => missing(),
            call => shown.answer(call).map(Response::ok),
        }
    }

    fn hear(&mut self, keys: &EncryptKeyPair, sealed: &Bytes) {
        let opened = keys.open(sealed).expect("sealed for the round's key");
        let header = UpdateHeader::from_bytes(&opened).expect("well-formed");
        let ephemeral = PublicEncryptKey::from_slice(&sealed[..32]).expect("a key");
        let key = UploadKey::of_receiver(keys, &ephemeral).expect("a good key");
        let key = key.as_bytes().to_vec();
        self.sent.push(Sent { header, object: Vec::new(), key });
    }

    /// Whether it has refused something like this.
    pub fn has_refused(&self, like: impl Fn(&Refusal) -> bool) -> bool {
        self.events.iter().any(|event| matches!(event, Event::Refused(refusal) if like(refusal)))
    }
}
