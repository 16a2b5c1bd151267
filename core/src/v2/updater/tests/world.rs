//! A committee, a coordinator that does as it is told, and updaters.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use crate::crypto::{Digest, PublicSigningKey};
use crate::crypto::{EncryptKeyPair, PublicEncryptKey, RootSeed, RoundSeed, Seed, SigningKeyPair};
use crate::mask::{Aggregation, KeyStream, MaskConfig, MaskObjectView, MaskSum, Unmasker};
use crate::model::{array, Model};
use crate::participant::{Event, Input, Output, Settings};
use crate::problem::Problem;
use crate::request::{self, ModelForm, Response};
use crate::round::RoundParameters;
use crate::time::Timestamp;
use crate::v2::merkle::{leaf_hash, Tree};
use crate::v2::updater::Updater;
use crate::v2::*;

/// When the first round is opened, in seconds since 1970.
pub(super) const START: u64 = 1_800_000_000;
pub(super) const LENGTH: usize = 5;

pub(super) fn keys(byte: u8) -> SigningKeyPair {
    SigningKeyPair::from_seed(&Seed::new([byte; 32]))
}

fn encrypt_keys(byte: u8) -> EncryptKeyPair {
    EncryptKeyPair::from_seed(&Seed::new([byte; 32]))
}

/// What a round has left behind.
pub(super) struct Completed {
    pub(super) certificate: Certificate,
    pub(super) tree: Tree,
    pub(super) included: Vec<PublicSigningKey>,
    pub(super) model: Model,
}

/// A header as it came in.
pub(super) struct Sent {
    pub(super) context: Context,
    pub(super) sealed: Bytes,
    pub(super) header: UpdateHeader,
}

/// An upload as it came in.
#[derive(Default)]
pub(super) struct Upload {
    header: Option<(Bytes, UpdateHeader)>,
    chunks: BTreeMap<u32, Bytes>,
}

pub(super) struct World {
    pub(super) roster: Roster,
    pub(super) members: Vec<(MemberId, SigningKeyPair)>,
    pub(super) terms: Terms,
    pub(super) phase: Phase,
    pub(super) uploads: BTreeMap<PublicSigningKey, Upload>,
    pub(super) completed: BTreeMap<u64, Completed>,
    pub(super) failure: Option<String>,
    /// Which members stay away.
    pub(super) away: BTreeSet<MemberId>,
    /// What is answered instead, by path: what becomes of the right answer.
    pub(super) lie: BTreeMap<&'static str, Box<dyn FnMut(Response) -> Response + Send>>,
    /// All calls so far.
    pub(super) calls: Vec<String>,
    /// Whether no update may come that is not in order.
    pub(super) is_strict: bool,
    /// All headers that came in, with the round that they are for.
    pub(super) sent: Vec<Sent>,
}

pub(super) fn authority() -> SigningKeyPair {
    keys(99)
}

impl World {
    /// Three groups of three, and rounds of F32 weights.
    pub(super) fn new() -> Self {
        Self::with("Word32/F32/B0/M3", None)
    }

    pub(super) fn with(config: &str, noise: Option<NoiseTerms>) -> Self {
        let mut members = Vec::new();
        let groups = (0..3u8).map(|group| {
            let all = (0..3u8).map(|index| {
                let keys = keys(100 + 10 * group + index);
                members.push((MemberId::new(group, index), keys.clone()));
                keys.public()
            });
            Group::new(format!("group {group}"), all.collect())
        });
        let roster =
            Roster::new(groups.collect(), Admission::Authority(authority().public())).unwrap();
        let terms = Terms {
            roster: roster.hash(),
            round: 1,
            parameters: RoundParameters {
                pk: encrypt_keys(1).public(),
                sum: 0.0,
                update: 0.0,
                seed: RoundSeed::new([1; 32]),
                mask_config: config.parse::<MaskConfig>().unwrap().into(),
                model_length: LENGTH as u64,
            },
            opened_at: START,
            model: None,
            n_min: 3,
            noise,
        };
        Self {
            roster,
            members,
            terms,
            phase: Phase::Update,
            uploads: BTreeMap::new(),
            completed: BTreeMap::new(),
            failure: None,
            away: BTreeSet::new(),
            lie: BTreeMap::new(),
            calls: Vec::new(),
            is_strict: true,
            sent: Vec::new(),
        }
    }

    pub(super) fn pin(&self) -> Pin {
        Pin::new(self.roster.hash(), 3)
    }

    fn coordinator(&self) -> EncryptKeyPair {
        encrypt_keys(self.terms.round as u8)
    }

    fn byte_of(&self, member: MemberId) -> u8 {
        128u8.wrapping_add((self.terms.round as u8).wrapping_mul(9))
            ^ (member.group * 3 + member.index)
    }

    fn member_keys(&self, member: MemberId) -> EncryptKeyPair {
        encrypt_keys(self.byte_of(member))
    }

    fn vote_keys(&self, member: MemberId) -> SigningKeyPair {
        keys(self.byte_of(member))
    }

    pub(super) fn announcements(&self) -> Announcements {
        self.announced_for(&self.terms.context())
    }

    pub(super) fn announced_for(&self, context: &Context) -> Announcements {
        let there = self.members.iter().filter(|(member, _)| !self.away.contains(member));
        let all = there.map(|(member, keys)| {
            let encrypt_key: PublicEncryptKey = self.member_keys(*member).public();
            Announcement::sign(
                keys,
                context,
                *member,
                encrypt_key,
                self.vote_keys(*member).public(),
            )
        });
        Announcements::new(all.collect()).unwrap()
    }

    pub(super) fn view(&self) -> RoundView {
        let is_fixed = !matches!(self.phase, Phase::Announce | Phase::Idle);
        RoundView {
            phase: self.phase,
            terms: Some(self.terms.clone()),
            announcements: is_fixed.then(|| self.announcements().digest()),
            entries: self.uploads.len() as u64,
            completed: self.completed.keys().next_back().copied(),
            failure: self.failure.clone(),
            ..RoundView::idle()
        }
    }

    pub(super) fn answer(&mut self, call: &request::Call) -> Response {
        let request::Call::V2(call) = call else { panic!("a call of version 1: {call:?}") };
        self.calls.push(call.path_and_query());
        let response = self.answer_honestly(call);
        match self.lie.get_mut(call.path()) {
            Some(lie) => lie(response),
            None => response,
        }
    }

    fn answer_honestly(&mut self, call: &Call) -> Response {
        let of_round = |round: &Option<u64>| round.or(self.completed.keys().next_back().copied());
        let completed =
            |round: &Option<u64>| of_round(round).and_then(|at| self.completed.get(&at));
        match call {
            Call::Round => Response::ok(self.view().to_bytes()),
            Call::Roster => Response::ok(self.roster.to_bytes()),
            Call::Announcements => Response::ok(self.announcements().to_bytes()),
            Call::Certificate { round } => match completed(round) {
                Some(completed) => Response::ok(completed.certificate.to_bytes()),
                None => Response::new(404, ""),
            },
            Call::Model { round, data_type } => match completed(round) {
                Some(completed) => {
                    let mut bytes = Vec::new();
                    array::write_weights(&completed.model, &mut bytes);
                    Response::ok(bytes).model_form(ModelForm::Array(*data_type))
                }
                None => Response::new(404, ""),
            },
            Call::Proof { round, updater } => {
                let Some(completed) = completed(&Some(*round)) else {
                    return Response::new(404, "");
                };
                match completed.included.binary_search(updater) {
                    Ok(at) => Response::ok(completed.tree.prove(at as u64).unwrap().to_bytes()),
                    Err(_) => Response::new(404, ""),
                }
            }
            Call::Update(post) => {
                if post.round != Some(self.terms.context().tag()) {
                    return problem("other_round", 409);
                }
                let opened = self.coordinator().open(&post.body).expect("sealed for the round");
                let header = UpdateHeader::from_bytes(&opened).unwrap();
                let verified = header.verify(&self.roster, &self.terms, &self.announcements());
                assert!(verified.is_ok() || !self.is_strict, "{verified:?}");
                self.sent.push(Sent {
                    context: self.terms.context(),
                    sealed: post.body.clone(),
                    header: header.clone(),
                });
                if verified.is_err() {
                    return problem("boxes", 403);
                }
                let upload = self.uploads.entry(header.updater).or_default();
                if upload.header.as_ref().is_none_or(|(sealed, _)| *sealed != post.body) {
                    upload.chunks.clear();
                }
                upload.header = Some((post.body.clone(), header));
                Response::ok("")
            }
            Call::UpdateChunk { updater, index, post } => {
                if post.round != Some(self.terms.context().tag()) {
                    return problem("other_round", 409);
                }
                let upload = self.uploads.entry(*updater).or_default();
                if upload.header.is_none() {
                    return problem("unknown_upload", 409);
                }
                upload.chunks.insert(*index, post.body.clone());
                Response::ok("")
            }
            other => panic!("no updater asks for {other:?}"),
        }
    }

    /// Forgets all uploads, as a coordinator may that was restarted.
    pub(super) fn forget(&mut self) {
        self.uploads.clear();
    }

    /// Whether all chunks of an upload are there.
    pub(super) fn is_whole(&self, updater: &PublicSigningKey) -> bool {
        let upload = &self.uploads[updater];
        let leaves = upload.header.as_ref().map(|(_, header)| header.leaves.len());
        leaves == Some(upload.chunks.len())
    }

    pub(super) fn header(&self, updater: &PublicSigningKey) -> Option<&UpdateHeader> {
        self.uploads.get(updater)?.header.as_ref().map(|(_, header)| header)
    }

    /// The masked model of an updater, decrypted and checked leaf by leaf.
    pub(super) fn masked(&self, updater: &PublicSigningKey) -> Vec<u8> {
        let upload = &self.uploads[updater];
        let (sealed, header) = upload.header.as_ref().unwrap();
        let ephemeral = PublicEncryptKey::from_slice(&sealed[..32]).unwrap();
        let key = UploadKey::of_receiver(&self.coordinator(), &ephemeral).unwrap();
        let mut all = Vec::new();
        for (at, leaf) in header.leaves.iter().enumerate() {
            let mut chunk = upload.chunks[&(at as u32)].to_vec();
            KeyStream::new(key.as_bytes(), at as u64).xor(0, &mut chunk);
            assert_eq!(Digest::new(crate::mask::tree::leaf(&chunk)), *leaf);
            all.extend(chunk);
        }
        assert_eq!(all.len() as u64, header.object_len);
        all
    }

    /// The seeds of an update, as the last member of each group opens its box.
    pub(super) fn seeds(&self, header: &UpdateHeader) -> Vec<GroupSeed> {
        let (list, context) = (self.announcements(), self.terms.context());
        let seed = |group: u8| {
            let of_group = |one: &&Announcement| one.member.group == group;
            let member = list.list().iter().rev().find(of_group).unwrap().member;
            let entry = Entry::of(header, list.position(member).unwrap()).unwrap();
            let digest = list.digest();
            let keys = self.member_keys(member);
            entry.check(&self.roster, &self.terms, &context, &digest, group, &keys).unwrap()
        };
        (0..self.roster.groups().len() as u8).map(seed).collect()
    }

    /// Completes the round with all updates but these: takes the masks off, and signs the certificate.
    pub(super) fn complete(&mut self, left_out: &[PublicSigningKey]) -> Model {
        let config = self.terms.parameters.mask_config;
        let length = self.terms.parameters.model_length as usize;
        let (context, list) = (self.terms.context(), self.announcements().digest());
        let included: Vec<_> =
            self.uploads.keys().filter(|key| !left_out.contains(key)).copied().collect();
        let mut sum = Aggregation::new(config, length);
        let mut masks = MaskSum::new(config, length);
        let mut digests = Vec::new();
        for updater in &included {
            let masked = self.masked(updater);
            sum.aggregate(&MaskObjectView::parse(&masked).unwrap().0).unwrap();
            let seeds = self.seeds(self.header(updater).unwrap());
            let streams = seeds
                .iter()
                .zip(0..)
                .map(|(seed, j)| stream_seed(&context, &list, updater, j, seed));
            masks.add_seeds(streams);
            digests.push(self.header(updater).unwrap().statement_digest(&context, &list));
        }
        let mask = masks.finish().to_bytes().unwrap();
        let mean = Unmasker::new(sum, mask).unwrap().finish().unwrap().model.unwrap();
        let model = match self.terms.noise {
            None => mean,
            Some(noise) => {
                let Model::F32(mean) = mean else { panic!() };
                let before = self.completed.values().next_back().map(|last| last.model.clone());
                let before = before.unwrap_or(Model::F32(vec![0.0; length]));
                let Model::F32(before) = before else { panic!() };
                let next = before.iter().zip(&mean).map(|(b, m)| b + noise.clip as f32 * m);
                Model::F32(next.collect())
            }
        };
        let leaves: Vec<_> =
            included.iter().zip(&digests).map(|(key, digest)| decision_leaf(key, digest)).collect();
        let updates = included.iter().copied().zip(digests);
        let decision = Decision::of(context, list, updates).unwrap();
        let there = self.announcements().list().to_vec();
        let votes = there
            .iter()
            .map(|one| Vote::sign(&self.vote_keys(one.member), one.member, &decision.digest()));
        let masks = there.iter().map(|one| {
            let keys = &self.members.iter().find(|(member, _)| *member == one.member).unwrap().1;
            let digest = Digest::new([one.member.group; 32]);
            MaskDigest::sign(keys, &context, &decision.digest(), one.member, digest)
        });
        let certificate = Certificate {
            terms: self.terms.clone(),
            announcements: self.announcements(),
            decision,
            votes: Votes::new(votes.collect()).unwrap(),
            masks: MaskDigests::new(masks.collect()).unwrap(),
        };
        let tree = Tree::new(leaves.iter().map(|leaf| leaf_hash(leaf)).collect());
        let completed = Completed { certificate, tree, included, model: model.clone() };
        self.completed.insert(self.terms.round, completed);
        self.phase = Phase::Idle;
        model
    }

    /// Another number for the round, and the key that goes with it.
    pub(super) fn set_round(&mut self, round: u64) {
        self.terms.round = round;
        self.terms.parameters.pk = self.coordinator().public();
    }

    /// Opens the next round, which starts from the last model.
    pub(super) fn open(&mut self) {
        self.terms.round += 1;
        self.terms.opened_at += 60;
        self.terms.parameters.pk = self.coordinator().public();
        self.terms.parameters.seed = RoundSeed::new([self.terms.round as u8; 32]);
        let last = self.completed.values().next_back();
        self.terms.model = last.map(|completed| model_hash(&completed.model));
        self.phase = Phase::Update;
        self.uploads.clear();
    }
}

pub(super) fn problem(name: &'static str, status: u16) -> Response {
    Response::new(status, Problem::new(name, status, "a title", "a reason").to_json())
}

/// An updater with a clock, and what it has said.
pub(super) struct Client {
    pub(super) machine: Updater,
    pub(super) now: Timestamp,
    pub(super) events: Vec<Event>,
    /// What it is given when it wants to train.
    pub(super) trained: Option<Model>,
    /// Whether it fetches the global model when a round begins, as most do.
    pub(super) fetches: bool,
    /// Whether it waits for that, and is asked to train meanwhile.
    fetching: bool,
    needed: bool,
    /// What was stored last.
    pub(super) stored: Option<Vec<u8>>,
    pub(super) disk_is_full: bool,
}

pub(super) fn settings(number: u8) -> Settings {
    let credential = Credential::issue(&authority(), &keys(number).public(), START + 100_000);
    Settings::default().with_credential(credential)
}

impl Client {
    pub(super) fn new(number: u8, pin: Pin) -> Self {
        Self::with(number, pin, settings(number))
    }

    pub(super) fn with(number: u8, pin: Pin, settings: Settings) -> Self {
        Self::of(Updater::new(keys(number), RootSeed::new([number; 32]), pin, settings))
    }

    pub(super) fn of(machine: Updater) -> Self {
        let now = Timestamp::from_millis(START * 1000);
        Self {
            machine,
            now,
            events: Vec::new(),
            trained: None,
            fetches: true,
            fetching: false,
            needed: false,
            stored: None,
            disk_is_full: false,
        }
    }

    pub(super) fn trains(mut self, weights: impl Into<Model>) -> Self {
        self.trained = Some(weights.into());
        self
    }

    pub(super) fn key(&self) -> PublicSigningKey {
        self.machine.keys().public()
    }

    pub(super) fn input(&mut self, input: Input) {
        self.machine.handle_input(self.now, input).unwrap();
    }

    /// Does what the machine says until it is idle; gives when it wants to be called again.
    pub(super) fn drain(&mut self, world: &mut World) -> Option<Timestamp> {
        self.input(Input::Tick);
        loop {
            match self.machine.poll_output() {
                Output::Request { id, call } => {
                    let response = world.answer(&call);
                    self.input(Input::Response { id, response });
                }
                Output::Job(job) => self.input(Input::JobDone(job.finish())),
                Output::Cancel(_) => unreachable!("nothing is held back here"),
                Output::HandOver { .. } => unreachable!("version 2 hands nothing over"),
                Output::Persist { id, snapshot } => match self.disk_is_full {
                    true => self.input(Input::NotPersisted { id, reason: "no room".into() }),
                    false => {
                        self.stored = Some(snapshot.to_bytes().to_vec());
                        self.input(Input::Persisted(id));
                    }
                },
                Output::Event(event) => self.see(event),
                Output::Idle(idle) => return idle.wake_at,
            }
        }
    }

    pub(super) fn see(&mut self, event: Event) {
        match &event {
            Event::NewRound { .. } if self.fetches => {
                self.fetching = true;
                self.input(Input::FetchModel);
            }
            Event::NewRound { .. } => self.needed = false,
            Event::ModelNeeded { .. } => self.needed = true,
            Event::GlobalModel(_) => self.fetching = false,
            Event::GlobalModelFailed(_) if self.fetching => self.input(Input::FetchModel),
            _ => {}
        }
        if self.needed && !self.fetching {
            self.needed = false;
            if let Some(model) = self.trained.clone() {
                self.input(Input::SetModel(model));
            }
        }
        self.events.push(event);
    }

    /// Lets so many of its pauses pass.
    pub(super) fn run(&mut self, world: &mut World, pauses: usize) {
        for _ in 0..pauses {
            let wake_at = self.drain(world);
            let pause = wake_at.map_or(Duration::ZERO, |at| at.saturating_since(self.now));
            self.now = self.now + pause;
        }
    }

    pub(super) fn take<T>(&mut self, pick: impl Fn(&Event) -> Option<T>) -> Vec<T> {
        self.events.iter().filter_map(pick).collect()
    }

    pub(super) fn refusals(&mut self) -> Vec<Refusal> {
        self.take(|event| match event {
            Event::Refused(refusal) => Some(refusal.clone()),
            _ => None,
        })
    }

    pub(super) fn is_sent(&self) -> bool {
        self.events.iter().any(|event| matches!(event, Event::Sent(_)))
    }

    /// Goes on from its snapshot, as after a restart.
    pub(super) fn restart(&mut self) {
        let bytes = self.machine.snapshot().to_bytes();
        let (pin, settings) = (*self.machine.pin(), self.machine.settings().clone());
        self.machine = Updater::restore(&bytes, pin, settings).unwrap();
    }
}

/// A federation of five, of which each trains to its number in sixteenths.
pub(super) fn clients(world: &World) -> Vec<Client> {
    (1..=5u8)
        .map(|number| {
            Client::new(number, world.pin())
                .trains(Model::F32(vec![f32::from(number) / 16.0; LENGTH]))
        })
        .collect()
}

pub(super) fn run_all(clients: &mut [Client], world: &mut World, pauses: usize) {
    clients.iter_mut().for_each(|client| client.run(world, pauses));
}
