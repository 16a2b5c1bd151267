//! Brings a coordinator of version 2 into each state, and sees what it does with each input.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use pet_core::coordinator::{CountRange, TimeRange};
use pet_core::crypto::{Digest, EncryptKeyPair, RootSeed, Seed, Signature, SigningKeyPair};
use pet_core::job::{JobId, JobKind};
use pet_core::mask::{tree, KeyStream, MaskConfig, MaskSum, Masker};
use pet_core::model::{Model, Scalar};
use pet_core::time::Timestamp;
use pet_core::v2::coordinator::{
    Coordinator, Front, Input, Job, Large, Object, ObjectKind, Output, PersistId, Phase, Reject,
    Rejection, Settings, Ticket, Times, Why,
};
use pet_core::v2::{
    commitment, stream_seed, Accusation, Admission, Announcement, AnnouncementsHash, Call,
    Decision, Group, GroupMaskHeader, GroupSeed, MemberId, Post, Report, Roster, SealedGroupSeed,
    SetView, Terms, UpdateHeader, UploadKey, Vote,
};

use super::groups_table::{Cell, State, Stimulus};

const MIN: Duration = Duration::from_secs(10);
const MAX: Duration = Duration::from_secs(60);
const MEMBERS: u8 = 3;
const WEIGHTS: usize = 4;

fn seed(kind: u8, number: u8) -> Seed {
    let mut bytes = [kind; 32];
    bytes[0] = number;
    Seed::new(bytes)
}

fn roster_keys(member: u8) -> SigningKeyPair {
    SigningKeyPair::from_seed(&seed(1, member))
}

fn vote_keys(member: u8) -> SigningKeyPair {
    SigningKeyPair::from_seed(&seed(3, member))
}

fn updater_keys(updater: u8) -> SigningKeyPair {
    SigningKeyPair::from_seed(&seed(4, updater))
}

/// One group of three members; 3 or 4 updates.
fn settings() -> Settings {
    let members = (0..MEMBERS).map(|member| roster_keys(member).public()).collect();
    let updaters = (0..9).map(|updater| updater_keys(updater).public());
    let mut updaters: Vec<_> = updaters.collect();
    updaters.sort_unstable();
    let roster = Roster::new(vec![Group::new("group", members)], Admission::List(updaters));
    let mask: MaskConfig = "Word32/F32/B0/M3".parse().expect("a config");
    let times = Times::all(TimeRange { min: MIN, max: MAX });
    let count = CountRange { min: 3, max: 4 };
    Settings::new(roster.expect("a roster"), mask, WEIGHTS as u64, 3, count, times)
}

/// A coordinator and its store. What it gives out is done at once, unless that is switched off.
struct Driven {
    machine: Coordinator,
    front: Front,
    now: Timestamp,
    objects: BTreeMap<Object, Vec<u8>>,
    jobs: Vec<Job>,
    asked: Vec<Object>,
    replies: Vec<Result<(), Rejection>>,
    last_record: PersistId,
    idle: Option<Why>,
    storing: bool,
    working: bool,
    loading: bool,
    /// What the round before was.
    before: Option<Call>,
}

impl Driven {
    fn new() -> Self {
        let now = Timestamp::from_millis(1_800_000_000_000);
        let machine = Coordinator::new(settings(), RootSeed::new([7; 32]), now);
        let mut driven = Self {
            machine: machine.expect("good settings"),
            front: Front::new(),
            now,
            objects: BTreeMap::new(),
            jobs: Vec::new(),
            asked: Vec::new(),
            replies: Vec::new(),
            last_record: PersistId(0),
            idle: None,
            storing: true,
            working: true,
            loading: true,
            before: None,
        };
        driven.drain();
        // The second round, so that there is one before.
        driven.before = Some(driven.announcement(0, 0));
        driven.input(Input::Skip).expect("a round");
        driven
    }

    fn input(&mut self, input: Input) -> Result<(), Reject> {
        let outcome = self.machine.handle_input(self.now, input);
        self.drain();
        outcome
    }

    fn drain(&mut self) {
        loop {
            let input = match self.machine.poll_output() {
                Output::Job(job) if job.kind() == JobKind::FreeMemory => continue,
                Output::Job(job) if self.working => Input::JobDone(job.finish()),
                Output::Job(job) => {
                    self.jobs.push(job);
                    continue;
                }
                Output::Persist { id, record } => {
                    self.last_record = id;
                    if let Some(Large::Chunk { object, data, .. }) = record.large(2) {
                        self.objects.insert(object, data.to_vec());
                    }
                    match self.storing {
                        true => Input::Persisted(id),
                        false => continue,
                    }
                }
                Output::Load(object) if self.loading => {
                    Input::Loaded { object, bytes: self.load(&object) }
                }
                Output::Load(object) => {
                    self.asked.push(object);
                    continue;
                }
                Output::Front(front) => {
                    self.front = front;
                    continue;
                }
                Output::Reply { outcome, .. } => {
                    self.replies.push(outcome);
                    continue;
                }
                Output::Idle(idle) => {
                    self.idle = Some(idle.why);
                    return;
                }
                _ => continue,
            };
            self.machine.handle_input(self.now, input).expect("it waits for this");
        }
    }

    fn load(&self, object: &Object) -> Option<Bytes> {
        self.objects.get(object).cloned().map(Bytes::from)
    }

    fn wait(&mut self, time: Duration) -> Result<(), Reject> {
        self.now = self.now + time;
        self.input(Input::Tick)
    }

    /// As a server does it: opened with what was given out last.
    fn send(&mut self, call: Call) -> Result<(), Rejection> {
        let message = self.front.open(call)?;
        let before = self.replies.len();
        let input = Input::Message { ticket: Ticket(0), message };
        self.machine.handle_input(self.now, input).map_err(|_| Rejection::Stopped)?;
        self.drain();
        match &self.replies[before..] {
            [reply] => reply.clone(),
            // Its sender is told so once that is stored.
            [] if !self.storing => Ok(()),
            replies => panic!("each message is answered once: {replies:?}"),
        }
    }

    fn good(&mut self, call: Call) {
        let shown = format!("{call:?}");
        assert_eq!(self.send(call), Ok(()), "{shown}");
    }

    // What is sent.

    fn terms(&self) -> Terms {
        Terms::clone(self.front.terms().expect("a round"))
    }

    fn post(&self, body: impl Into<Bytes>) -> Post {
        Post::new(self.terms().context().tag(), body)
    }

    fn list(&self) -> AnnouncementsHash {
        self.front.view().announcements.unwrap_or(AnnouncementsHash::new([0; 32]))
    }

    fn announcement(&self, member: u8, other: u8) -> Call {
        let encrypt = EncryptKeyPair::from_seed(&seed(2, member)).public();
        let vote = vote_keys(member + 10 * other).public();
        let (keys, id) = (roster_keys(member), MemberId::new(0, member));
        let signed = Announcement::sign(&keys, &self.terms().context(), id, encrypt, vote);
        Call::Announce(self.post(signed.to_bytes()))
    }

    fn stream(&self, updater: u8) -> pet_core::mask::MaskSeed {
        let (context, key) = (self.terms().context(), updater_keys(updater).public());
        stream_seed(&context, &self.list(), &key, 0, &GroupSeed::from(seed(5, updater)))
    }

    fn masked(&self, updater: u8, weight: f32) -> Vec<u8> {
        let model = std::sync::Arc::new(Model::F32(vec![weight; WEIGHTS]));
        let (config, seeds) = (self.terms().parameters.mask_config, [self.stream(updater)]);
        let masker = Masker::behind_all(&[], 0, &seeds, config, &Scalar::one(), model);
        masker.and_then(Masker::finish).expect("a model").0
    }

    fn ephemeral(updater: u8) -> EncryptKeyPair {
        EncryptKeyPair::from_seed(&seed(6, updater))
    }

    fn header(&self, updater: u8, weight: f32) -> Call {
        let masked = self.masked(updater, weight);
        let (context, list, keys) = (self.terms().context(), self.list(), updater_keys(updater));
        let group_seed = GroupSeed::from(seed(5, updater));
        let members = self.front.view().announced as usize;
        let mut header = UpdateHeader {
            updater: keys.public(),
            credential: None,
            commitments: vec![commitment(&context, &list, &keys.public(), 0, &group_seed)],
            object_len: masked.len() as u64,
            leaves: tree::leaf_hashes(&masked).map(Digest::new).collect(),
            statement: Signature::new([0; 64]),
            // Nobody looks into them here.
            boxes: vec![SealedGroupSeed::new([1; 80]); members],
        };
        header.sign(&keys, &context, &list);
        let pk = self.terms().parameters.pk;
        let sealed = pk.seal(&header.to_bytes(), &Self::ephemeral(updater)).expect("a good key");
        Call::Update(self.post(sealed))
    }

    fn chunk(&self, updater: u8) -> Call {
        let pk = self.terms().parameters.pk;
        let key = UploadKey::of_sender(&Self::ephemeral(updater), &pk).expect("a good key");
        let mut chunk = self.masked(updater, 0.5);
        KeyStream::new(key.as_bytes(), 0).xor(0, &mut chunk);
        let updater = updater_keys(updater).public();
        Call::UpdateChunk { updater, index: 0, post: self.post(chunk) }
    }

    fn report(&self, member: u8, accused: &[u8]) -> Call {
        let (context, list) = (self.terms().context(), self.list());
        let accuse = |updater: &u8| (updater_keys(*updater).public(), Accusation::Box);
        let accused = accused.iter().map(accuse).collect();
        let id = MemberId::new(0, member);
        let report = Report::sign(&roster_keys(member), &context, &list, id, accused);
        Call::Report(self.post(report.to_bytes()))
    }

    /// Any decision where there is none yet.
    fn decision(&self) -> Decision {
        let set = self.front.answer(&Call::Set).respond(|_| None);
        let set = set.filter(|set| set.status == 200);
        let set = set.map(|set| SetView::from_bytes(&set.body).expect("a set"));
        set.map_or_else(
            || Decision::of(self.terms().context(), self.list(), []).expect("sorted"),
            |set| set.decision,
        )
    }

    fn vote(&self, member: u8, other: bool) -> Call {
        let mut decision = self.decision();
        decision.count += u64::from(other);
        let vote = Vote::sign(&vote_keys(member), MemberId::new(0, member), &decision.digest());
        Call::Vote(self.post(vote.to_bytes()))
    }

    fn mask(&self, updaters: u8) -> Vec<u8> {
        let mut sum = MaskSum::new(self.terms().parameters.mask_config, WEIGHTS);
        sum.add_seeds((0..updaters).map(|updater| self.stream(updater)));
        sum.finish().to_bytes().expect("a short mask")
    }

    fn mask_header(&self, member: u8, updaters: u8) -> Call {
        let mask = self.mask(updaters);
        let leaves = tree::leaf_hashes(&mask).map(Digest::new).collect();
        let (context, decision) = (self.terms().context(), self.decision().digest());
        let (keys, id, len) = (roster_keys(member), MemberId::new(0, member), mask.len() as u64);
        let header = GroupMaskHeader::sign(&keys, &context, &decision, id, len, leaves);
        Call::Mask(self.post(header.to_bytes()))
    }

    fn mask_chunk(&self) -> Call {
        let post = self.post(self.mask(3));
        Call::MaskChunk { member: MemberId::new(0, 0), index: 0, post }
    }

    // Into the states.

    fn announced(mut self) -> Self {
        self.good(self.announcement(0, 0));
        self.good(self.announcement(1, 0));
        self
    }

    fn upload(&mut self, updater: u8) {
        self.good(self.header(updater, 0.5));
        self.good(self.chunk(updater));
    }

    /// All three members have announced themselves.
    fn updating(self) -> Self {
        let mut driven = self.announced();
        driven.good(driven.announcement(2, 0));
        driven.upload(0);
        driven.upload(1);
        driven
    }

    fn checking(self) -> Self {
        let mut driven = self.updating();
        driven.upload(2);
        driven.wait(MIN).expect("it runs");
        driven.good(driven.report(0, &[]));
        driven
    }

    fn agreeing(self) -> Self {
        let mut driven = self.checking();
        driven.good(driven.report(1, &[]));
        driven.good(driven.report(2, &[]));
        driven.good(driven.vote(0, false));
        driven
    }

    fn summing(mut self, loading: bool, working: bool) -> Self {
        self = self.agreeing();
        (self.loading, self.working) = (loading, working);
        self.good(self.vote(1, false));
        self.good(self.vote(2, false));
        self.good(self.mask_header(0, 3));
        self.good(self.mask_header(1, 3));
        self
    }

    fn masked_and_over(loading: bool, working: bool) -> Self {
        let mut driven = Self::new().summing(loading, working);
        driven.good(driven.mask_chunk());
        driven.wait(MIN).expect("it runs");
        driven
    }

    fn in_state(state: State) -> Self {
        let mut driven = match state {
            State::Announce => {
                let mut driven = Self::new();
                driven.good(driven.announcement(0, 0));
                driven
            }
            State::AnnounceEnough => Self::new().announced(),
            State::Update => Self::new().updating(),
            State::Uploading => {
                let mut driven = Self::new().updating();
                driven.good(driven.header(2, 0.5));
                driven
            }
            State::UpdateEnough => {
                let mut driven = Self::new().updating();
                driven.upload(2);
                driven
            }
            State::Check => Self::new().checking(),
            State::CheckEnough | State::Deciding => {
                let mut driven = Self::new().checking();
                driven.good(driven.report(1, &[]));
                driven
            }
            State::Agree => Self::new().agreeing(),
            State::AgreeEnough => {
                let mut driven = Self::new().agreeing();
                driven.good(driven.vote(1, false));
                driven
            }
            State::Sum2 => Self::new().summing(true, true),
            State::Sum2Enough => {
                let mut driven = Self::new().summing(true, true);
                driven.good(driven.mask_chunk());
                driven
            }
            State::Reading => Self::masked_and_over(false, true),
            State::Adding => {
                let mut driven = Self::masked_and_over(true, false);
                // The first one was added alone; now the others are.
                let first = driven.jobs.pop().expect("it adds");
                driven.input(Input::JobDone(first.finish())).expect("it waits for this");
                driven
            }
            State::ReadingMask | State::Unmasking => {
                let mut driven = Self::new().summing(true, true);
                driven.good(driven.mask_chunk());
                driven
            }
            State::Failed | State::Paused | State::Stopped => Self::new().updating(),
        };
        driven.working = false;
        driven.loading = false;
        match state {
            State::Deciding => driven.wait(MIN).expect("it runs"),
            State::ReadingMask => driven.wait(MIN).expect("it runs"),
            State::Unmasking => {
                driven.loading = true;
                driven.wait(MIN).expect("it runs");
                driven.loading = false;
            }
            State::Failed => {
                driven.storing = false;
                driven.input(Input::Skip).expect("a round");
            }
            State::Paused => {
                driven.input(Input::Pause).expect("it runs");
                driven.input(Input::Skip).expect("a round");
            }
            State::Stopped => driven.input(Input::Stop).expect("it runs"),
            _ => {}
        }
        assert_eq!(driven.state(), state);
        driven
    }

    fn state(&self) -> State {
        let why = self.idle.expect("it was asked");
        let enough = matches!(why, Why::MinTime(_));
        let either = |few, many| if enough { many } else { few };
        match (self.machine.phase(), why) {
            _ if self.machine.is_stopped() => State::Stopped,
            (Phase::Announce, _) => either(State::Announce, State::AnnounceEnough),
            (Phase::Update, _) if enough => State::UpdateEnough,
            (Phase::Update, _) if self.machine.incomplete().0 > 0 => State::Uploading,
            (Phase::Update, _) => State::Update,
            (Phase::Check, Why::Job | Why::LostJob) => State::Deciding,
            (Phase::Check, _) => either(State::Check, State::CheckEnough),
            (Phase::Agree, _) => either(State::Agree, State::AgreeEnough),
            (Phase::Sum2, Why::Job | Why::LostJob) => State::Adding,
            (Phase::Sum2, Why::Object) => State::Reading,
            (Phase::Sum2, _) => either(State::Sum2, State::Sum2Enough),
            (Phase::Unmask, Why::Object) => State::ReadingMask,
            (Phase::Unmask, _) => State::Unmasking,
            (Phase::Failed, _) => State::Failed,
            _ => State::Paused,
        }
    }

    /// All that can be seen from outside.
    fn seen(&self) -> String {
        format!("{:?} {} {:?}", self.state(), self.machine.accepted(), self.front.view())
    }
}

/// What really happens.
pub fn observed(state: State, stimulus: Stimulus) -> Cell {
    let mut driven = Driven::in_state(state);
    let before = (driven.seen(), driven.last_record);
    let given_out = (driven.jobs.len(), driven.asked.len());
    let Some(outcome) = apply(&mut driven, stimulus) else {
        return Cell::Ignored;
    };
    let after = driven.state();
    let changed = before != (driven.seen(), driven.last_record);
    match outcome {
        Outcome::Message(Err(rejection)) => {
            assert!(!changed, "{state:?} {stimulus:?}: a rejection changes nothing");
            Cell::Rejected(rejection.label())
        }
        Outcome::Message(Ok(())) if changed => Cell::Accepted(after),
        Outcome::Message(Ok(())) => Cell::Known,
        Outcome::Input(Err(reject)) => {
            assert!(!changed, "{state:?} {stimulus:?}: what is refused changes nothing");
            Cell::Refused(match reject {
                Reject::UnknownJob(_) => "unknown job",
                Reject::UnknownObject(_) => "unknown object",
                Reject::Stopped => "stopped",
                Reject::NoRound => "no round",
                Reject::InvalidSettings => "invalid settings",
                _ => "?",
            })
        }
        Outcome::Input(Ok(())) if after != state => Cell::Moves(after),
        Outcome::Input(Ok(())) if (driven.jobs.len(), driven.asked.len()) != given_out => {
            Cell::GivenOutAgain
        }
        Outcome::Input(Ok(())) => Cell::Ignored,
    }
}

enum Outcome {
    Message(Result<(), Rejection>),
    Input(Result<(), Reject>),
}

fn apply(driven: &mut Driven, stimulus: Stimulus) -> Option<Outcome> {
    use Stimulus as S;
    let call = match stimulus {
        S::Announcement => {
            let announced = driven.front.view().announced.min(2);
            driven.announcement(announced as u8, 0)
        }
        S::AnnouncementAgain => driven.announcement(0, 0),
        S::AnnouncementOther => driven.announcement(0, 1),
        S::Header => driven.header(7, 0.5),
        S::HeaderAgain => driven.header(0, 0.5),
        S::HeaderOther => driven.header(0, 0.25),
        S::Chunk => driven.chunk(if driven.state() == State::Uploading { 2 } else { 8 }),
        S::Report => {
            let reported = driven.front.view().reported.len().min(2);
            driven.report(reported as u8, &[])
        }
        S::ReportAgain => driven.report(0, &[]),
        S::ReportOther => driven.report(0, &[1]),
        S::Vote => {
            let voted = driven.front.view().voted.len().min(2);
            driven.vote(voted as u8, false)
        }
        S::VoteAgain => driven.vote(0, false),
        S::VoteOther => driven.vote(0, true),
        S::Mask => driven.mask_header(2, 3),
        S::MaskAgain => driven.mask_header(0, 3),
        S::MaskOther => driven.mask_header(0, 2),
        S::MaskChunk => driven.mask_chunk(),
        S::OtherRound => driven.before.clone()?,
        S::NoMessage => Call::Round,
        _ => return Some(Outcome::Input(apply_input(driven, stimulus))),
    };
    Some(Outcome::Message(driven.send(call)))
}

fn apply_input(driven: &mut Driven, stimulus: Stimulus) -> Result<(), Reject> {
    use Stimulus as S;
    let some_object = || {
        let kind = ObjectKind::Update(updater_keys(0).public());
        Object { round: 2, kind }
    };
    match stimulus {
        S::MinTime => driven.wait(MIN),
        S::MaxTime => {
            // What has failed is stored before anything else.
            driven.storing = false;
            driven.wait(MAX)
        }
        S::JobDone => match driven.jobs.pop() {
            Some(job) => driven.input(Input::JobDone(job.finish())),
            None => {
                let mut other = Driven::in_state(State::Deciding);
                let job = other.jobs.pop().expect("it decides");
                driven.input(Input::JobDone(job.finish()))
            }
        },
        S::JobLost => match driven.jobs.last().map(Job::id) {
            Some(id) => driven.input(Input::JobLost(id)),
            None => driven.input(Input::JobLost(JobId(1_000_000))),
        },
        S::Loaded => {
            let asked = std::mem::take(&mut driven.asked);
            if asked.is_empty() {
                return driven.input(Input::Loaded { object: some_object(), bytes: None });
            }
            for object in asked {
                let bytes = driven.load(&object);
                driven.input(Input::Loaded { object, bytes })?;
            }
            Ok(())
        }
        S::LoadedNothing => {
            let object = driven.asked.first().copied().unwrap_or_else(some_object);
            driven.input(Input::Loaded { object, bytes: None })
        }
        S::Persisted => {
            driven.storing = true;
            let last = driven.last_record;
            driven.input(Input::Persisted(last))
        }
        S::Skip => {
            driven.storing = false;
            driven.input(Input::Skip)
        }
        S::Pause => driven.input(Input::Pause),
        S::Resume => driven.input(Input::Resume),
        S::ChangeSettings => driven.input(Input::ChangeSettings(Box::new(settings()))),
        S::BadSettings => {
            let bad = settings().with_first_round(0);
            driven.input(Input::ChangeSettings(Box::new(bad)))
        }
        S::Stop => driven.input(Input::Stop),
        _ => driven.input(Input::Tick),
    }
}

/// The stimuli that try this kind of input.
pub fn tried_by(input: &Input) -> &'static [Stimulus] {
    use Stimulus as S;
    match input {
        Input::Tick => &[S::Tick, S::MinTime, S::MaxTime],
        Input::Message { .. } => &[S::Announcement, S::Header, S::Report, S::Vote, S::Mask],
        Input::JobDone(_) => &[S::JobDone],
        Input::JobLost(_) => &[S::JobLost],
        Input::Persisted(_) => &[S::Persisted],
        Input::Loaded { .. } => &[S::Loaded, S::LoadedNothing],
        Input::Stop => &[S::Stop],
        Input::Pause => &[S::Pause],
        Input::Resume => &[S::Resume],
        Input::Skip => &[S::Skip],
        Input::ChangeSettings(_) => &[S::ChangeSettings, S::BadSettings],
        _ => &[],
    }
}
