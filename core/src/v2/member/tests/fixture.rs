//! A committee of two groups of three members, four updaters, and a coordinator that does what it is told.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::super::{Event, Idle, Input, Member, Output, Settings, Snapshot};
use crate::crypto::{
    Digest, EncryptKeyPair, PublicSigningKey, RootSeed, RoundSeed, Seed, SigningKeyPair,
};
use crate::mask::{derive_mask, MaskConfig, MaskConfigPair, MaskObject, MaskSum};
use crate::problem::Problem;
use crate::request::{Call, RequestId, Response};
use crate::round::RoundParameters;
use crate::time::Timestamp;
use crate::v2::{
    self, commitment, stream_seed, Admission, Announcement, Announcements, Context, Decision,
    DecisionHash, EntriesPage, Entry, Group, GroupMaskHeader, GroupSeed, MemberId, Phase, Pin,
    Report, Roster, RoundView, SealedGroupSeed, SetView, Terms, UpdateHeader, Vote, Votes,
};

pub(super) const LENGTH: usize = 10;
pub(super) const GROUPS: u8 = 2;
pub(super) const MEMBERS: u8 = 3;

/// When the first round is opened, in seconds.
pub(super) const OPENED: u64 = 1_000_000;

pub(super) fn config() -> MaskConfigPair {
    "Word32/F32/B0/M3".parse::<MaskConfig>().unwrap().into()
}

pub(super) fn member_keys(member: MemberId) -> SigningKeyPair {
    SigningKeyPair::from_seed(&Seed::new([10 + 10 * member.group + member.index; 32]))
}

pub(super) fn updater_keys(nth: u8) -> SigningKeyPair {
    SigningKeyPair::from_seed(&Seed::new([100 + nth; 32]))
}

pub(super) fn members() -> impl Iterator<Item = MemberId> {
    (0..GROUPS).flat_map(|group| (0..MEMBERS).map(move |index| MemberId::new(group, index)))
}

pub(super) fn roster() -> Roster {
    let group = |group| {
        let keys = (0..MEMBERS).map(|index| member_keys(MemberId::new(group, index)).public());
        Group::new(format!("group {group}"), keys.collect())
    };
    let mut updaters: Vec<_> = (0..8).map(|nth| updater_keys(nth).public()).collect();
    updaters.sort_unstable();
    Roster::new((0..GROUPS).map(group).collect(), Admission::List(updaters)).unwrap()
}

pub(super) fn pin() -> Pin {
    Pin::new(roster().hash(), 3)
}

pub(super) fn terms(round: u64) -> Terms {
    Terms {
        roster: roster().hash(),
        round,
        parameters: RoundParameters {
            pk: EncryptKeyPair::from_seed(&Seed::new([3; 32])).public(),
            sum: 0.0,
            update: 0.0,
            seed: RoundSeed::new([round as u8; 32]),
            mask_config: config(),
            model_length: LENGTH as u64,
        },
        opened_at: OPENED + round,
        model: None,
        n_min: 3,
        noise: None,
    }
}

pub(super) fn seed(updater: u8, group: u8) -> GroupSeed {
    GroupSeed::new([updater * 16 + group; 32])
}

/// A coordinator: a test sets its phase, and changes what it shows as it likes.
pub(super) struct Coordinator {
    pub(super) roster: Roster,
    pub(super) terms: Option<Terms>,
    pub(super) phase: Phase,
    pub(super) announced: BTreeMap<MemberId, Announcement>,
    pub(super) list: Option<Announcements>,
    pub(super) updates: BTreeMap<PublicSigningKey, UpdateHeader>,
    pub(super) reports: BTreeMap<MemberId, Report>,
    pub(super) excluded: Vec<PublicSigningKey>,
    /// What it shows in place of the decision that follows.
    pub(super) decision: Option<DecisionHash>,
    pub(super) votes: BTreeMap<MemberId, Vote>,
    pub(super) masks: BTreeMap<MemberId, GroupMaskHeader>,
    pub(super) chunks: BTreeMap<(MemberId, u32), bytes::Bytes>,
    pub(super) wanted: Vec<MemberId>,
    /// How many entries a page has.
    pub(super) page: usize,
    /// Everything that was posted, in order.
    pub(super) posted: Vec<v2::Call>,
    /// What is answered next, whatever is asked, if the path begins so.
    pub(super) forged: VecDeque<(&'static str, Response)>,
    pub(super) now: Timestamp,
}

impl Coordinator {
    pub(super) fn new() -> Self {
        let mut coordinator = Self {
            roster: roster(),
            terms: None,
            phase: Phase::Idle,
            announced: BTreeMap::new(),
            list: None,
            updates: BTreeMap::new(),
            reports: BTreeMap::new(),
            excluded: Vec::new(),
            decision: None,
            votes: BTreeMap::new(),
            masks: BTreeMap::new(),
            chunks: BTreeMap::new(),
            wanted: Vec::new(),
            page: 3,
            posted: Vec::new(),
            forged: VecDeque::new(),
            now: Timestamp::from_millis((OPENED + 10) * 1000),
        };
        coordinator.open(terms(1));
        coordinator
    }

    pub(super) fn open(&mut self, terms: Terms) {
        self.terms = Some(terms);
        self.phase = Phase::Announce;
        self.announced.clear();
        self.list = None;
        self.updates.clear();
        self.reports.clear();
        self.excluded.clear();
        self.decision = None;
        self.votes.clear();
        self.masks.clear();
        self.chunks.clear();
        self.wanted.clear();
    }

    pub(super) fn wait(&mut self, pause: Duration) {
        self.now = self.now + pause;
    }

    pub(super) fn terms(&self) -> &Terms {
        self.terms.as_ref().unwrap()
    }

    pub(super) fn context(&self) -> Context {
        self.terms().context()
    }

    /// Fixes the list of all that have announced themselves; members that are no machines here announce for themselves.
    pub(super) fn begin_updates(&mut self) {
        let context = self.context();
        for member in members() {
            self.announced.entry(member).or_insert_with(|| {
                let (e, v) = (other_keys(member).public(), other_vote_keys(member).public());
                Announcement::sign(&member_keys(member), &context, member, e, v)
            });
        }
        let list = self.announced.values().copied().collect();
        self.list = Some(Announcements::new(list).unwrap());
        self.phase = Phase::Update;
    }

    /// Takes an update in.
    pub(super) fn update(&mut self, nth: u8) {
        let header = self.header(nth);
        self.updates.insert(header.updater, header);
    }

    pub(super) fn header(&self, nth: u8) -> UpdateHeader {
        let (context, list) = (self.context(), self.list.as_ref().unwrap());
        let keys = updater_keys(nth);
        let updater = keys.public();
        let l = list.digest();
        let commitments =
            (0..GROUPS).map(|g| commitment(&context, &l, &updater, g, &seed(nth, g))).collect();
        let boxes = list.list().iter().map(|announced| {
            let MemberId { group, index } = announced.member;
            let ephemeral = [nth, group, index];
            let ephemeral =
                RootSeed::new([7; 32]).derive(crate::crypto::Purpose::SeedSeal, &[&ephemeral]);
            let ephemeral = EncryptKeyPair::from_seed(&ephemeral);
            SealedGroupSeed::seal(&seed(nth, group), &announced.encrypt_key, &ephemeral).unwrap()
        });
        let mut header = UpdateHeader {
            updater,
            credential: None,
            commitments,
            object_len: self.terms().object_len(),
            leaves: vec![Digest::new([nth; 32])],
            statement: crate::crypto::Signature::new([0; 64]),
            boxes: boxes.collect(),
        };
        header.sign(&keys, &context, &l);
        header
    }

    /// The decision that follows from updates and exclusions.
    pub(super) fn decide(&self) -> Decision {
        let (context, l) = (self.context(), self.list.as_ref().unwrap().digest());
        let updates = self.updates.values().filter(|u| !self.excluded.contains(&u.updater));
        let digests = updates.map(|header| (header.updater, header.statement_digest(&context, &l)));
        Decision::of(context, l, digests).unwrap()
    }

    /// Has those vote that are no machines here.
    pub(super) fn others_vote(&mut self) {
        let decision = self.decide().digest();
        for member in members() {
            let is_other = self.announced[&member].encrypt_key == other_keys(member).public();
            if is_other {
                let vote = Vote::sign(&other_vote_keys(member), member, &decision);
                self.votes.insert(member, vote);
            }
        }
    }

    pub(super) fn view(&self) -> RoundView {
        let is_fixed = self.phase > Phase::Announce && self.phase != Phase::Failed;
        let is_decided = self.phase > Phase::Check && self.phase != Phase::Failed;
        let decision = self.decision.or_else(|| is_decided.then(|| self.decide().digest()));
        RoundView {
            phase: self.phase,
            terms: self.terms.clone(),
            announced: self.announced.len() as u32,
            announcements: self.list.as_ref().filter(|_| is_fixed).map(Announcements::digest),
            entries: self.updates.len() as u64,
            reported: self.reports.keys().copied().collect(),
            excluded: self.excluded.len() as u64,
            decision: decision.filter(|_| is_decided),
            voted: self.votes.keys().copied().collect(),
            certified: false,
            masked: self.masks.keys().copied().collect(),
            wanted: self.wanted.clone(),
            completed: None,
            failure: (self.phase == Phase::Failed).then(|| "it was told to fail".to_owned()),
        }
    }

    pub(super) fn answer(&mut self, call: &Call) -> Response {
        let Call::V2(call) = call else { panic!("a member speaks version 2 only: {call:?}") };
        if call.post().is_some() {
            self.posted.push(call.clone());
        }
        if let Some(at) = self.forged.iter().position(|(path, _)| call.path() == *path) {
            return self.forged.remove(at).unwrap().1;
        }
        let ok = |bytes: Vec<u8>| Response::ok(bytes);
        match call {
            v2::Call::Round => ok(self.view().to_bytes()),
            v2::Call::Roster => ok(self.roster.to_bytes()),
            v2::Call::Announcements => match &self.list {
                Some(list) => ok(list.to_bytes()),
                None => Response::no_content(),
            },
            v2::Call::Entries { member, from } => {
                let position = self.list.as_ref().and_then(|list| list.position(*member)).unwrap();
                let entries: Vec<_> = self
                    .updates
                    .values()
                    .map(|header| Entry::of(header, position).unwrap())
                    .collect();
                let total = entries.len() as u64;
                let entries = entries.into_iter().skip(*from as usize).take(self.page).collect();
                ok(EntriesPage { context: self.context(), total, from: *from, entries }.to_bytes())
            }
            v2::Call::Set => {
                let (decision, excluded) = (self.decide(), self.excluded.clone());
                let reports = self.reports.values().cloned().collect();
                ok(SetView { decision, excluded, reports }.to_bytes())
            }
            v2::Call::Votes => {
                ok(Votes::new(self.votes.values().copied().collect()).unwrap().to_bytes())
            }
            v2::Call::Announce(post) => {
                let announcement = Announcement::from_bytes(&post.body).unwrap();
                announcement.verify(&self.roster, &self.context()).unwrap();
                if self.announced.insert(announcement.member, announcement).is_some() {
                    return rejected("duplicate_announcement");
                }
                Response::ok("")
            }
            v2::Call::Report(post) => {
                let report = Report::from_bytes(&post.body).unwrap();
                let l = self.list.as_ref().unwrap().digest();
                report.verify(&self.roster, &self.context(), &l).unwrap();
                self.reports.insert(report.member, report);
                Response::ok("")
            }
            v2::Call::Vote(post) => {
                let vote = Vote::from_bytes(&post.body).unwrap();
                self.votes.insert(vote.member, vote);
                Response::ok("")
            }
            v2::Call::Mask(post) => {
                let header = GroupMaskHeader::from_bytes(&post.body).unwrap();
                self.masks.insert(header.member, header);
                Response::ok("")
            }
            v2::Call::MaskChunk { member, index, post } => {
                self.chunks.insert((*member, *index), post.body.clone());
                self.wanted.retain(|wanted| wanted != member);
                Response::ok("")
            }
            call => panic!("no member asks for {call:?}"),
        }
    }
}

pub(super) fn rejected(name: &'static str) -> Response {
    Response::new(409, Problem::new(name, 409, "Not now", "in a test").to_json())
}

fn other_seed(member: MemberId, purpose: u8) -> Seed {
    RootSeed::new([9; 32])
        .derive(crate::crypto::Purpose::MemberKey, &[&[member.group, member.index, purpose]])
}

pub(super) fn other_keys(member: MemberId) -> EncryptKeyPair {
    EncryptKeyPair::from_seed(&other_seed(member, 0))
}

pub(super) fn other_vote_keys(member: MemberId) -> SigningKeyPair {
    SigningKeyPair::from_seed(&other_seed(member, 1))
}

/// The sum of the masks of these updaters for a group.
pub(super) fn sum_of_masks(coordinator: &Coordinator, updaters: &[u8], group: u8) -> MaskObject {
    let (context, l) = (coordinator.context(), coordinator.list.as_ref().unwrap().digest());
    let mut sum = MaskSum::new(config(), LENGTH);
    sum.add_seeds(updaters.iter().map(|nth| {
        stream_seed(&context, &l, &updater_keys(*nth).public(), group, &seed(*nth, group))
    }));
    let sum = sum.finish();
    if let [one] = updaters {
        let only =
            stream_seed(&context, &l, &updater_keys(*one).public(), group, &seed(*one, group));
        assert_eq!(sum, derive_mask(&only, config(), LENGTH));
    }
    sum
}

/// A member with all that it says.
pub(super) struct Scene {
    pub(super) machine: Member,
    pub(super) member: MemberId,
    pub(super) events: Vec<Event>,
    /// Every state that was stored, in order.
    pub(super) stored: Vec<Snapshot>,
    /// Whether states are confirmed at once.
    pub(super) confirms: bool,
    /// Requests that wait for an answer, where they are not answered at once.
    pub(super) idle: Option<Idle>,
    /// How many jobs are lost before one is done.
    pub(super) losses: u32,
}

pub(super) fn settings() -> Settings {
    Settings::default()
}

impl Scene {
    pub(super) fn new(member: MemberId) -> Self {
        let (root, boot) = (RootSeed::new([1; 32]), RootSeed::new([2; 32]));
        Self::of(Member::new(member_keys(member), root, boot, pin(), settings()), member)
    }

    pub(super) fn of(machine: Member, member: MemberId) -> Self {
        let (events, stored) = (Vec::new(), Vec::new());
        Self { machine, member, events, stored, confirms: true, idle: None, losses: 0 }
    }

    /// A new life, from this state.
    pub(super) fn restored(state: &[u8], boot: u8, member: MemberId) -> Self {
        let boot = RootSeed::new([boot; 32]);
        Self::of(Member::restore(state, boot, settings()).unwrap(), member)
    }

    /// Does what the machine says until it is idle.
    pub(super) fn run(&mut self, coordinator: &mut Coordinator) {
        let _ = self.machine.handle_input(coordinator.now, Input::Tick);
        for _ in 0..10_000 {
            let input = match self.machine.poll_output() {
                Output::Request { id, call } => {
                    Input::Response { id, response: coordinator.answer(&call) }
                }
                Output::Job(_) if self.losses > 0 => {
                    self.losses -= 1;
                    Input::Tick
                }
                Output::Job(job) => Input::JobDone(job.finish()),
                Output::Persist { id, snapshot } => {
                    assert!(snapshot.to_bytes().len() < 4096);
                    self.stored.push(snapshot);
                    match self.confirms {
                        true => Input::Persisted(id),
                        false => continue,
                    }
                }
                Output::Event(event) => {
                    self.events.push(event);
                    continue;
                }
                Output::Idle(idle) => {
                    self.idle = Some(idle);
                    return;
                }
            };
            self.machine.handle_input(coordinator.now, input).unwrap();
        }
        panic!("it never waits");
    }

    /// Until it has had one look more.
    pub(super) fn look(&mut self, coordinator: &mut Coordinator) {
        coordinator.wait(Duration::from_secs(11));
        self.run(coordinator);
    }

    /// Until it has had several looks.
    pub(super) fn run_on(&mut self, coordinator: &mut Coordinator) {
        for _ in 0..3 {
            self.run(coordinator);
            coordinator.wait(Duration::from_secs(11));
        }
        self.run(coordinator);
    }

    pub(super) fn labels(&self) -> Vec<&'static str> {
        let label = |event: &Event| match event {
            Event::Refused { refusal, .. } => Some(refusal.label()),
            _ => None,
        };
        self.events.iter().filter_map(label).collect()
    }

    pub(super) fn has(&self, test: impl Fn(&Event) -> bool) -> bool {
        self.events.iter().any(test)
    }
}

/// An honest round up to this phase, with this member as a machine, and updaters 0 to 3.
pub(super) fn until(phase: Phase) -> (Scene, Coordinator) {
    let (mut scene, mut coordinator) = (Scene::new(MemberId::new(0, 0)), Coordinator::new());
    scene.run_on(&mut coordinator);
    advance(&mut scene, &mut coordinator, phase);
    (scene, coordinator)
}

/// Goes on, phase by phase, until this one.
pub(super) fn advance(scene: &mut Scene, coordinator: &mut Coordinator, phase: Phase) {
    while coordinator.phase < phase {
        match coordinator.phase {
            Phase::Announce => coordinator.begin_updates(),
            Phase::Update => {
                (0..4).for_each(|nth| coordinator.update(nth));
                coordinator.phase = Phase::Check;
            }
            Phase::Check => coordinator.phase = Phase::Agree,
            Phase::Agree => {
                coordinator.others_vote();
                coordinator.phase = Phase::Sum2;
            }
            _ => return,
        }
        scene.run_on(coordinator);
    }
}

pub(super) fn fake_id() -> RequestId {
    RequestId(1 << 40)
}
