//! A federation of version 2 for the demo (`make demo-v2`): ten hospitals, three groups of three members, in one process, with the
//! real coordinator, updaters and members. Group 0 is honest; the members of the others belong to the coordinator, which keeps
//! all their keys, and writes their messages by hand, as they should be, until it tries to unmask a hospital.
//!
//! It is told what to do on standard input, a line each: `kill` ends a member of group 0 for good, `lie` has one of group 1
//! send a wrong mask from now on, `round W...` plays a round (of each hospital its weights, one hospital after another), `attack
//! W...` plays one more and says what a coalition is left with of the first hospital's model. Answers are lines of names and numbers.

use std::collections::{BTreeSet, VecDeque};
use std::io::{stdin, stdout, BufRead, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use pet_core::crypto::{Digest, EncryptKeyPair, RoundSeed, Task};
use pet_core::mask::{derive_mask, mask_model, tree, MaskConfigPair, MaskSum};
use pet_core::message::UpdatePayload;
use pet_core::model::{Model, Scalar};
use pet_core::participant;
use pet_core::request::{RequestId, Response};
use pet_core::round::{RoundParameters, SumDict};
use pet_core::time::Timestamp;
use pet_core::v2::coordinator::{Completed, CountRange, Event, Input, Settings, TimeRange, Times};
use pet_core::v2::{
    member, stream_seed, Announcements, Call, Context, EntriesPage, GroupMaskHeader, MemberId,
    Phase, Post, Report, UpdateHeader,
};
use pet_testing::by_hand::Hand;
use pet_testing::v2::by_hand::{root, seed, Committee, HandMember, OPENED_AT};
use pet_testing::v2::sim::actors::{to_member, to_updater, MemberActor, UpdaterActor, Wish};
use pet_testing::v2::sim::server::{Said, Server};
use pet_testing::v2::words;

const HOSPITALS: usize = 10;

/// Bound 100, steps of 2^-14.
fn config() -> MaskConfigPair {
    let config: pet_core::mask::MaskConfig = "Word32/F32/B2/M3".parse().expect("a config");
    config.into()
}

/// A member whose keys the coordinator has.
struct Friend {
    hand: HandMember,
    lies: bool,
    /// What it has done: in which context, up to which phase.
    done: Option<(Context, Phase)>,
}

struct Federation {
    committee: Committee,
    server: Server,
    members: Vec<MemberActor>,
    friends: Vec<Friend>,
    updaters: Vec<UpdaterActor>,
    /// When each member, then each updater, wants to be woken, and the server.
    wakes: Vec<Timestamp>,
    server_wake: Timestamp,
    now: Timestamp,
    requests: u64,
    completed: Option<Arc<Completed>>,
    events: Vec<Event>,
    reply: Option<Response>,
}

impl Federation {
    fn new(length: usize) -> Self {
        let committee = Committee::new(3, 3, HOSPITALS);
        let time = TimeRange { min: Duration::from_secs(12), max: Duration::from_secs(60) };
        let settings = Settings::new(
            committee.roster.clone(),
            config(),
            length as u64,
            3,
            CountRange { min: HOSPITALS as u64, max: HOSPITALS as u64 },
            Times::all(time),
        );
        let now = Timestamp::from_millis(OPENED_AT * 1000);
        let server = Server::new(settings, root(70, 1), now);
        let members = (0..3).map(|place| MemberActor::new(&committee, place, None)).collect();
        let hands = committee.hands().into_iter().filter(|hand| hand.id.group > 0);
        let friends = hands.map(|hand| Friend { hand, lies: false, done: None }).collect();
        let updaters: Vec<_> =
            (0..HOSPITALS).map(|i| UpdaterActor::new(&committee, i, length)).collect();
        let mut federation = Self {
            committee,
            server,
            members,
            friends,
            updaters,
            wakes: vec![now; 3 + HOSPITALS],
            server_wake: now,
            now,
            requests: 0,
            completed: None,
            events: Vec::new(),
            reply: None,
        };
        let said = federation.server.drain(now);
        federation.said(said);
        federation
    }

    fn said(&mut self, said: Vec<Said>) {
        let mut said = VecDeque::from(said);
        while let Some(next) = said.pop_front() {
            match next {
                Said::Keep(id) => said.extend(self.server.kept(self.now, id)),
                Said::Reply(_, outcome) => {
                    let round = self.server.front.round();
                    self.reply = Some(match outcome {
                        Ok(()) => Response::ok(""),
                        Err(rejection) => problem(&rejection.problem(round)),
                    });
                }
                Said::Event(event) => self.events.push(event),
                Said::Completed(completed) => self.completed = Some(completed),
                Said::Wake(at) => {
                    self.server_wake = at.unwrap_or(self.now + Duration::from_secs(3600));
                }
            }
        }
    }

    fn call(&mut self, call: Call) -> Response {
        if let Some(response) = self.server.answer(&call) {
            return response;
        }
        self.requests += 1;
        self.reply = None;
        match self.server.message(self.now, (0, 0, RequestId(self.requests)), call) {
            Ok(said) => self.said(said),
            Err(rejection) => return problem(&rejection.problem(self.server.front.round())),
        }
        self.reply.take().unwrap_or_else(|| Response::new(503, ""))
    }

    fn member(&mut self, place: usize) {
        let mut wishes = VecDeque::from(self.members[place].input(self.now, member::Input::Tick));
        while let Some(wish) = wishes.pop_front() {
            let input = match wish {
                Wish::Ask(id, call) => to_member(id, Ok(self.call(call))),
                Wish::Store(id, bytes) => {
                    self.members[place].disk = bytes;
                    member::Input::Persisted(id)
                }
                Wish::Wake(at) => {
                    self.wakes[place] = at.unwrap_or(self.now + Duration::from_secs(3600));
                    continue;
                }
                Wish::Refused(_) => continue,
            };
            wishes.extend(self.members[place].input(self.now, input));
        }
    }

    fn updater(&mut self, number: usize) {
        let tick = participant::Input::Tick;
        let mut wishes = VecDeque::from(self.updaters[number].input(self.now, tick));
        while let Some(wish) = wishes.pop_front() {
            match wish {
                Wish::Ask(id, call) => {
                    let answer = to_updater(id, Ok(self.call(call)));
                    wishes.extend(self.updaters[number].input(self.now, answer));
                }
                Wish::Wake(at) => {
                    self.wakes[3 + number] = at.unwrap_or(self.now + Duration::from_secs(3600));
                }
                Wish::Store(..) | Wish::Refused(_) => {}
            }
        }
    }

    fn list(&self) -> Option<Announcements> {
        let response = self.server.answer(&Call::Announcements)?;
        Announcements::from_bytes(&response.body).ok()
    }

    /// A friend does its part, as the protocol has it, with keys that the coordinator knows.
    fn friend(&mut self, place: usize) {
        let view = self.server.front.view();
        let (Some(terms), phase) = (view.terms, view.phase) else { return };
        let context = terms.context();
        if self.friends[place].done == Some((context, phase)) {
            return;
        }
        let (hand, lies) = (self.friends[place].hand.clone(), self.friends[place].lies);
        let post = |bytes: Vec<u8>| Post::new(context.tag(), bytes);
        let list = self.list();
        match (phase, list, view.decision) {
            (Phase::Announce, ..) => {
                self.call(Call::Announce(post(hand.announce(&context).to_bytes())));
            }
            (Phase::Check, Some(list), _) => {
                let report = Report::sign(&hand.keys, &context, &list.digest(), hand.id, vec![]);
                self.call(Call::Report(post(report.to_bytes())));
            }
            (Phase::Agree, _, Some(decision)) => {
                let vote = pet_core::v2::Vote::sign(&hand.vote, hand.id, &decision);
                self.call(Call::Vote(post(vote.to_bytes())));
            }
            (Phase::Sum2, Some(list), Some(decision)) => {
                let Some(object) = self.mask(&hand, &context, &list, lies) else { return };
                let leaves = tree::leaf_hashes(&object).map(Digest::new).collect();
                let length = object.len() as u64;
                let (keys, id) = (&hand.keys, hand.id);
                let header = GroupMaskHeader::sign(keys, &context, &decision, id, length, leaves);
                self.call(Call::Mask(post(header.to_bytes())));
                if self.server.front.view().wanted.contains(&id) {
                    self.call(Call::MaskChunk { member: id, index: 0, post: post(object) });
                }
                // It is asked for its bytes later, perhaps.
                return;
            }
            _ => return,
        }
        self.friends[place].done = Some((context, phase));
    }

    /// The sum of a group's masks, of what is in the boxes of one of its members; nothing if they are for somebody else, whose place
    /// it took in the middle of the round.
    fn mask(
        &self,
        hand: &HandMember,
        context: &Context,
        list: &Announcements,
        lies: bool,
    ) -> Option<Vec<u8>> {
        let page = self.server.answer(&Call::Entries { member: hand.id, from: 0 })?;
        let page = EntriesPage::from_bytes(&page.body).ok()?;
        let terms = self.server.front.terms()?;
        let mut seeds = Vec::new();
        for entry in &page.entries {
            let opened = entry.sealed.open(&hand.encrypt).ok()?;
            let (updater, group) = (&entry.updater, hand.id.group);
            seeds.push(stream_seed(context, &list.digest(), updater, group, &opened));
        }
        let mut sum = MaskSum::new(config(), terms.parameters.model_length as usize);
        sum.add_seeds(seeds);
        let mut object = sum.finish().to_bytes().ok()?;
        if lies {
            object[8] ^= 1;
        }
        Some(object)
    }

    /// Plays a round with these models.
    fn round(&mut self, models: &[Vec<f32>]) -> Option<Arc<Completed>> {
        for (updater, model) in self.updaters.iter_mut().zip(models) {
            updater.model = Some(Model::F32(model.clone()));
        }
        (self.completed, self.events) = (None, Vec::new());
        let end = self.now + Duration::from_secs(600);
        while self.completed.is_none() && self.now < end {
            for place in 0..self.members.len() {
                if self.wakes[place] <= self.now {
                    self.member(place);
                }
            }
            for place in 0..self.friends.len() {
                self.friend(place);
            }
            for number in 0..HOSPITALS {
                if self.wakes[3 + number] <= self.now {
                    self.updater(number);
                }
            }
            self.now = self.now + Duration::from_millis(250);
            if self.server_wake <= self.now {
                let said = self.server.input(self.now, Input::Tick);
                self.said(said);
            }
        }
        self.completed.clone()
    }

    /// Which hospital's key this is.
    fn header<'a>(&self, completed: &'a Completed, hospital: usize) -> Option<&'a UpdateHeader> {
        let key = self.committee.updaters[hospital].public();
        completed.headers().find(|header| header.updater == key)
    }

    /// What is left of a hospital's masked model once the streams of these groups are taken off.
    fn unmask(&self, completed: &Completed, groups: &[MemberId]) -> Option<Vec<u32>> {
        let header = self.header(completed, 0)?;
        let call = Call::MaskedModel { round: completed.round(), updater: header.updater };
        let mut left = words::vector(&self.server.answer(&call)?.body);
        let list = &completed.certificate.announcements;
        let context = completed.context();
        for member in groups {
            let hand = HandMember::new(&self.committee, *member, 0);
            let opened = header.boxes[list.position(*member)?].open(&hand.encrypt).ok()?;
            let key = &header.updater;
            let stream = stream_seed(context, &list.digest(), key, member.group, &opened);
            left = words::sub(&left, &words::of(&derive_mask(&stream, config(), left.len())));
        }
        Some(left)
    }

    /// One more round, of which the coordinator has all but one group; then one of which it has all; and version 1.
    fn attack(&mut self, models: &[Vec<f32>]) -> Option<[Vec<u32>; 3]> {
        let (b, c) = (MemberId::new(1, 1), MemberId::new(2, 2));
        let completed = self.round(models)?;
        let two = self.unmask(&completed, &[b, c])?;
        // The third group is bought as well: its members are replaced by friends. (A round that has begun before fails.)
        self.members.clear();
        let hands = self.committee.hands().into_iter().filter(|hand| hand.id.group == 0);
        self.friends.extend(hands.map(|hand| Friend { hand, lies: false, done: None }));
        let completed = self.round(models)?;
        let three = self.unmask(&completed, &[MemberId::new(0, 0), b, c])?;
        Some([two, three, version_1(&models[0])])
    }
}

fn problem(problem: &pet_core::problem::Problem) -> Response {
    Response::new(problem.status, problem.to_json())
}

/// The same model in version 1: what the coordinator and one who sums are left with.
fn version_1(model: &[f32]) -> Vec<u32> {
    let parameters = RoundParameters {
        pk: EncryptKeyPair::from_seed(&seed(71, 0)).public(),
        sum: 0.5,
        update: 0.9,
        seed: RoundSeed::new([1; 32]),
        mask_config: config(),
        model_length: model.len() as u64,
    };
    let summers = Hand::with_task(Task::Sum, 3, &parameters);
    let hospital = Hand::with_task(Task::Update, 1, &parameters).remove(0);
    let mut sums = SumDict::new();
    for summer in &summers {
        sums.insert(summer.key(), summer.ephemeral().public());
    }
    let model = Model::F32(model.to_vec());
    let masked = mask_model(&hospital.mask_seed(), config(), &Scalar::one(), &model);
    let (masked, _) = masked.expect("finite weights");
    let sent = hospital.update_payload(&sums, &masked);
    let payload = UpdatePayload::parse(&sent).expect("its own");
    let sealed = payload.seeds.get(&summers[0].key()).expect("sealed for all who sum");
    let opened = sealed.open(&summers[0].ephemeral()).expect("sealed for it");
    let mask = words::of(&derive_mask(&opened, config(), model.len()));
    words::sub(&words::vector(&masked), &mask)
}

fn models(text: &str) -> Option<Vec<Vec<f32>>> {
    let weights: Vec<f32> = text.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
    let length = weights.len() / HOSPITALS;
    let is_whole = length > 0 && length * HOSPITALS == weights.len();
    is_whole.then(|| weights.chunks_exact(length).map(<[f32]>::to_vec).collect())
}

fn numbers<T: ToString>(name: &str, numbers: impl IntoIterator<Item = T>) -> String {
    let numbers: Vec<String> = numbers.into_iter().map(|number| number.to_string()).collect();
    format!("{name} {}\n", numbers.join(" "))
}

/// What is told of a round.
fn told(federation: &Federation, completed: &Completed) -> String {
    let Model::F32(weights) = &*completed.model else { return "failed\n".into() };
    let mut notes = BTreeSet::new();
    for event in &federation.events {
        match event {
            Event::MembersMissing { members, .. } => {
                notes.extend(members.iter().map(|member| format!("missing={member}")));
            }
            Event::LyingMask { member, .. } => _ = notes.insert(format!("lied={member}")),
            _ => {}
        }
    }
    let votes = completed.certificate.votes.list().len();
    numbers("notes", [format!("votes={votes}"), format!("models={}", completed.models())])
        .trim_end()
        .to_owned()
        + &notes.iter().map(|note| format!(" {note}")).collect::<String>()
        + "\n"
        + &numbers("global", weights)
}

fn main() -> ExitCode {
    let mut federation: Option<Federation> = None;
    let mut out = stdout().lock();
    for line in stdin().lock().lines() {
        let Ok(line) = line else { return ExitCode::FAILURE };
        let (command, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let answer = match (command, models(rest)) {
            ("round", Some(models)) => {
                let federation = federation.get_or_insert_with(|| Federation::new(models[0].len()));
                match federation.round(&models) {
                    Some(completed) => told(federation, &completed),
                    None => "failed\n".into(),
                }
            }
            ("attack", Some(models)) => {
                match federation.as_mut().and_then(|federation| federation.attack(&models)) {
                    Some([two, three, one]) => {
                        numbers("two_groups", two)
                            + &numbers("all_groups", three)
                            + &numbers("version_1", one)
                    }
                    None => "failed\n".into(),
                }
            }
            ("kill", _) => {
                if let Some(member) = federation.as_mut().and_then(|f| f.members.pop()) {
                    drop(member);
                }
                "done\n".into()
            }
            ("lie", _) => {
                if let Some(friend) = federation.as_mut().and_then(|f| f.friends.first_mut()) {
                    friend.lies = true;
                }
                "done\n".into()
            }
            _ => "unknown\n".into(),
        };
        if out.write_all(answer.as_bytes()).and_then(|()| out.flush()).is_err() {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
