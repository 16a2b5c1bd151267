//! Members and updaters, honest and not: what each makes of the world.

use std::collections::VecDeque;

use bytes::Bytes;
use pet_core::crypto::{Digest, EncryptKeyPair, Seed, SigningKeyPair};
use pet_core::mask::{derive_mask, tree, KeyStream, MaskSeed};
use pet_core::model::Model;
use pet_core::participant::{self, TransportFault};
use pet_core::request::{self, RequestId, Response};
use pet_core::time::Timestamp;
use pet_core::v2::member::{self, Member};
use pet_core::v2::updater::Updater;
use pet_core::v2::{
    leaf_count, Accusation, Announcements, Call, Context, GroupMaskHeader, GroupSeed, MemberId,
    Phase, Post, Report, SealedGroupSeed, Terms, UploadKey, Vote, TREE_LEAF,
};

use super::scenario::{CheatKind, LieKind};
use crate::v2::by_hand::{root, seed, Committee, Round};

/// What an actor wants of the world.
#[derive(Debug)]
pub enum Wish {
    /// A request, with an id to be given back.
    Ask(RequestId, Call),
    /// A state is to be stored.
    Store(member::PersistId, Vec<u8>),
    /// To be woken.
    Wake(Option<Timestamp>),
    /// It has refused something, by name: for the report.
    Refused(&'static str),
}

/// A member, its disk, and how it lies.
#[derive(Debug)]
pub struct MemberActor {
    /// Its place.
    pub id: MemberId,
    /// The machine; nothing while it is down.
    pub machine: Option<Member>,
    /// The state that was stored last.
    pub disk: Vec<u8>,
    /// How it lies.
    pub lie: Option<LieKind>,
    /// How often it was started.
    pub boots: u64,
    keys: SigningKeyPair,
    /// What it sends in place of its mask.
    wrong_mask: Vec<u8>,
}

impl MemberActor {
    /// One that was never started.
    pub fn new(committee: &Committee, place: usize, lie: Option<LieKind>) -> Self {
        let id = committee.ids()[place];
        let keys = committee.member(id).clone();
        let number = place as u64;
        let settings = member::Settings::default();
        let machine = Member::new(
            keys.clone(),
            root(20, number),
            root(21, number),
            committee.pin(),
            settings,
        );
        let disk = machine.snapshot().to_bytes().to_vec();
        Self { id, machine: Some(machine), disk, lie, boots: 0, keys, wrong_mask: Vec::new() }
    }

    /// Starts it again, from its disk.
    ///
    /// # Panics
    /// If the disk has no state.
    pub fn start(&mut self) {
        self.boots += 1;
        let number = self.boots * 1000 + u64::from(self.id.group) * 100 + u64::from(self.id.index);
        let machine = Member::restore(&self.disk, root(22, number), member::Settings::default());
        self.machine = Some(machine.expect("its own state"));
    }

    /// Tells it something; what it wants then.
    pub fn input(&mut self, now: Timestamp, input: member::Input) -> Vec<Wish> {
        let mut wishes = Vec::new();
        let Some(machine) = &mut self.machine else { return wishes };
        let mut inputs = VecDeque::from([input]);
        loop {
            while let Some(input) = inputs.pop_front() {
                let _ = machine.handle_input(now, input);
            }
            match machine.poll_output() {
                member::Output::Request { id, call: request::Call::V2(call) } => {
                    wishes.push(Wish::Ask(id, call));
                }
                member::Output::Job(job) => inputs.push_back(member::Input::JobDone(job.finish())),
                member::Output::Persist { id, snapshot } => {
                    wishes.push(Wish::Store(id, snapshot.to_bytes().to_vec()));
                }
                member::Output::Event(member::Event::Refused { refusal, .. }) => {
                    wishes.push(Wish::Refused(refusal.label()));
                }
                member::Output::Event(_) => {}
                member::Output::Idle(idle) => {
                    wishes.push(Wish::Wake(idle.wake_at));
                    return wishes;
                }
                other => panic!("unknown output {other:?}"),
            }
        }
    }

    /// What it really sends, if it sends it at all.
    pub fn lie(&mut self, call: Call, world: &Lies<'_>) -> Option<Call> {
        let Some(lie) = self.lie else { return Some(call) };
        let context = world.terms.context();
        Some(match (lie, call) {
            (LieKind::AccuseEveryone, Call::Report(post)) => {
                let all = world.updaters.iter().map(|key| (*key, Accusation::Box)).collect();
                let report = Report::sign(&self.keys, &context, &world.list.digest(), self.id, all);
                Call::Report(Post { body: report.to_bytes().into(), ..post })
            }
            (LieKind::WrongVote, Call::Vote(post)) => {
                let keys = SigningKeyPair::from_seed(&seed(60, 1));
                let decision = world.decision?;
                let vote = Vote { signature: keys.sign(decision.as_bytes()), member: self.id };
                Call::Vote(Post { body: vote.to_bytes().into(), ..post })
            }
            (LieKind::KeepMask, Call::MaskChunk { .. }) => return None,
            (LieKind::WrongMask, Call::Mask(post)) => {
                let decision = world.decision?;
                // A mask of the right shape, the same for all who lie so.
                let parameters = &world.terms.parameters;
                let (config, length) = (parameters.mask_config, parameters.model_length as usize);
                let mask = derive_mask(&MaskSeed::new([7; 32]), config, length);
                self.wrong_mask = mask.to_bytes().expect("in range");
                let length = self.wrong_mask.len();
                let leaves = tree::leaf_hashes(&self.wrong_mask).map(Digest::new).collect();
                let header = GroupMaskHeader::sign(
                    &self.keys,
                    &context,
                    &decision,
                    self.id,
                    length as u64,
                    leaves,
                );
                Call::Mask(Post { body: header.to_bytes().into(), ..post })
            }
            (LieKind::WrongMask, Call::MaskChunk { member, index, post }) => {
                let from = index as usize * TREE_LEAF;
                let to = self.wrong_mask.len().min(from + TREE_LEAF);
                let body = Bytes::copy_from_slice(self.wrong_mask.get(from..to).unwrap_or(&[]));
                Call::MaskChunk { member, index, post: Post { body, ..post } }
            }
            (_, call) => call,
        })
    }
}

/// Whether this is sent in a phase of a round, and not before this one.
pub fn is_from(call: &Call, from: Phase) -> bool {
    phase(call).is_some_and(|phase| phase >= from)
}

/// In which phase this is sent.
fn phase(call: &Call) -> Option<Phase> {
    Some(match call {
        Call::Announce(_) => Phase::Announce,
        Call::Report(_) => Phase::Check,
        Call::Vote(_) => Phase::Agree,
        Call::Mask(_) | Call::MaskChunk { .. } => Phase::Sum2,
        _ => return None,
    })
}

/// What a liar knows of the round.
#[derive(Debug)]
pub struct Lies<'a> {
    /// The terms.
    pub terms: &'a Terms,
    /// The announcements.
    pub list: &'a Announcements,
    /// Who has sent an update.
    pub updaters: Vec<pet_core::crypto::PublicSigningKey>,
    /// What is voted for.
    pub decision: Option<pet_core::v2::DecisionHash>,
}

/// An honest updater, and the state that it was saved in last.
#[derive(Debug)]
pub struct UpdaterActor {
    /// Its number.
    pub number: usize,
    /// The machine; nothing while it is down.
    pub machine: Option<Updater>,
    /// Its saved state.
    pub saved: Vec<u8>,
    /// What it sets when a model is needed, in place of [`trained`].
    pub model: Option<Model>,
    settings: participant::Settings,
    pin: pet_core::v2::Pin,
    length: usize,
}

/// What an updater trains: the same in each round, since one whose answers were lost may send what it has trained before.
pub fn trained(number: usize, length: usize) -> Vec<f32> {
    let base = (number as f32 + 1.0) / 16.0 - 0.3;
    (0..length).map(|k| base - k as f32 / 64.0).collect()
}

impl UpdaterActor {
    /// A new one.
    pub fn new(committee: &Committee, number: usize, length: usize) -> Self {
        let settings =
            participant::Settings::default().with_credential(committee.credential(number));
        let keys = committee.updaters[number].clone();
        let pin = committee.pin();
        let machine = Updater::new(keys, root(30, number as u64), pin, settings.clone());
        let saved = machine.snapshot().to_bytes().to_vec();
        Self { number, machine: Some(machine), saved, model: None, settings, pin, length }
    }

    /// Starts it again from what was saved last.
    ///
    /// # Panics
    /// If that is no state.
    pub fn start(&mut self) {
        let machine = Updater::restore(&self.saved, self.pin, self.settings.clone());
        self.machine = Some(machine.expect("its own state"));
    }

    /// Saves its state.
    pub fn save(&mut self) {
        if let Some(machine) = &self.machine {
            self.saved = machine.snapshot().to_bytes().to_vec();
        }
    }

    /// Tells it something; what it wants then.
    pub fn input(&mut self, now: Timestamp, input: participant::Input) -> Vec<Wish> {
        use participant::{Event, Input, Output};
        let mut wishes = Vec::new();
        let Some(machine) = &mut self.machine else { return wishes };
        let mut inputs = VecDeque::from([input]);
        loop {
            while let Some(input) = inputs.pop_front() {
                let _ = machine.handle_input(now, input);
            }
            match machine.poll_output() {
                Output::Request { id, call: request::Call::V2(call) } => {
                    wishes.push(Wish::Ask(id, call));
                }
                Output::Request { call, .. } => panic!("an updater with a pin asks for {call:?}"),
                Output::Job(job) => inputs.push_back(Input::JobDone(job.finish())),
                Output::Event(Event::ModelNeeded { .. }) => {
                    let standard = || Model::F32(trained(self.number, self.length));
                    let model = self.model.clone().unwrap_or_else(standard);
                    inputs.push_back(Input::SetModel(model));
                }
                Output::Event(Event::Refused(refusal)) => {
                    wishes.push(Wish::Refused(refusal.name()))
                }
                Output::Event(_) => {}
                Output::Idle(idle) => {
                    wishes.push(Wish::Wake(idle.wake_at));
                    return wishes;
                }
                other => panic!("unknown output {other:?}"),
            }
        }
    }
}

/// An updater that cheats: what it sends is written by hand.
#[derive(Debug)]
pub struct CheatActor {
    /// Its number among all updaters.
    pub number: usize,
    /// How it cheats.
    pub kind: CheatKind,
    done: Option<Context>,
    waiting: Vec<Call>,
}

impl CheatActor {
    /// A new one.
    pub fn new(number: usize, kind: CheatKind) -> Self {
        Self { number, kind, done: None, waiting: Vec::new() }
    }

    /// What it sends next in a round: its header, then all chunks at once.
    ///
    /// # Panics
    /// If the round's key is weak.
    pub fn send(
        &mut self,
        committee: &Committee,
        terms: &Terms,
        list: &Announcements,
    ) -> Vec<Call> {
        let context = terms.context();
        if self.done.replace(context) == Some(context) {
            return std::mem::take(&mut self.waiting);
        }
        self.waiting.clear();
        let round = Round { committee, terms, list };
        let weights = trained(self.number, terms.parameters.model_length as usize);
        let mut update = round.update_with(self.number, &Model::F32(weights), terms.round);
        match self.kind {
            CheatKind::BadBoxes => {
                let broken = SealedGroupSeed::new([9; 80]);
                update.header.boxes.iter_mut().for_each(|sealed| *sealed = broken);
            }
            CheatKind::OneBadBox => {
                let place = terms.round as usize % update.header.boxes.len();
                update.header.boxes[place] = SealedGroupSeed::new([9; 80]);
            }
            CheatKind::OtherSeeds => {
                let other = GroupSeed::from(seed(61, terms.round));
                let boxes = list.list().iter().map(|to| update.sealed(to, &other)).collect();
                update.header.boxes = boxes;
            }
            CheatKind::HalfAnUpload => {}
        }
        update.sign();
        let mut bytes = *seed(62, terms.round * 100 + self.number as u64).as_bytes();
        bytes[31] = 1;
        let ephemeral = EncryptKeyPair::from_seed(&Seed::new(bytes));
        let pk = &terms.parameters.pk;
        let sealed = pk.seal(&update.header.to_bytes(), &ephemeral).expect("a good key");
        let key = UploadKey::of_sender(&ephemeral, pk).expect("a good key");
        let tag = context.tag();
        let header = vec![Call::Update(Post::new(tag, sealed))];
        if self.kind == CheatKind::HalfAnUpload {
            return header;
        }
        for index in 0..leaf_count(update.object.len() as u64) {
            let from = index as usize * TREE_LEAF;
            let to = update.object.len().min(from + TREE_LEAF);
            let mut chunk = update.object[from..to].to_vec();
            KeyStream::new(key.as_bytes(), index).xor(0, &mut chunk);
            let post = Post::new(tag, chunk);
            let (updater, index) = (update.key(), index as u32);
            self.waiting.push(Call::UpdateChunk { updater, index, post });
        }
        header
    }
}

/// An answer as an input of a member.
pub fn to_member(id: RequestId, answer: Result<Response, TransportFault>) -> member::Input {
    match answer {
        Ok(response) => member::Input::Response { id, response },
        Err(fault) => member::Input::Fault { id, fault },
    }
}

/// An answer as an input of an updater.
pub fn to_updater(id: RequestId, answer: Result<Response, TransportFault>) -> participant::Input {
    match answer {
        Ok(response) => participant::Input::Response { id, response },
        Err(fault) => participant::Input::Fault { id, fault },
    }
}
