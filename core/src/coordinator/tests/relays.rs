//! Whatever becomes of letters, answers, parts, relays and the machine: exactly those count that were told so, nobody waits for
//! ever, and what is held is bounded.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::fixture::{quick, Fixture, TIME};
use super::replica::{check_mean, update, vote};
use super::sender::{mask_of, Sender};
use crate::coordinator::relay::{
    self, Content, Letter, LetterNumber, Limits, Relay, Seen, PATIENCE,
};
use crate::coordinator::*;
use crate::crypto::{PublicSigningKey, Task};
use crate::message::Tag;

const SENDERS: usize = 6;
const NODES: usize = 3;
const LIMITS: Limits = Limits { bytes: 1 << 20, messages: 8 };

/// A replica with a relay.
struct Node {
    relay: Relay,
    waiting: BTreeMap<Ticket, usize>,
    jobs: Vec<Job>,
    stores: Vec<(PartId, Content)>,
    told: Vec<(usize, Result<(), Rejection>)>,
    idle: relay::Idle,
}

/// A letter in the engine, until it is answered.
struct Posted {
    node: usize,
    number: LetterNumber,
    letter: Letter,
    is_read: bool,
}

struct World {
    fixture: Option<Fixture>,
    summer: Sender,
    senders: Vec<Sender>,
    /// Their messages, if they are known.
    messages: Vec<Verified>,
    nodes: Vec<Node>,
    incarnations: u8,
    inbox: Vec<Posted>,
    answers: Vec<(usize, LetterNumber, Result<(), Rejection>)>,
    pieces: BTreeMap<PartId, Bytes>,
    epoch: u64,
    /// How many records were looked at.
    records: usize,
    recorded: BTreeMap<Shard, PartId>,
    counted: BTreeMap<PublicSigningKey, Sender>,
    tickets: u64,
    /// The most that a relay ever held.
    most_bytes: usize,
    /// While the engine is away: what is to be posted. Nothing if it is there.
    mail: Option<Vec<(usize, LetterNumber, Letter)>>,
}

impl World {
    fn new() -> Self {
        let mut settings = quick();
        settings.update.time.max = Duration::from_secs(3600);
        settings.sum2.time.max = Duration::from_secs(3600);
        Self::with(settings)
    }

    fn with(settings: Settings) -> Self {
        let mut fixture = Fixture::new(settings);
        let summer = fixture.sum(1).remove(0);
        let senders = fixture.with_task(Task::Update, SENDERS + 3);
        let messages = senders.iter().map(|sender| update(&fixture, sender)).collect();
        let mut world = Self {
            fixture: Some(fixture),
            summer,
            senders,
            messages,
            nodes: Vec::new(),
            incarnations: 0,
            inbox: Vec::new(),
            answers: Vec::new(),
            pieces: BTreeMap::new(),
            epoch: 1,
            records: 0,
            recorded: BTreeMap::new(),
            counted: BTreeMap::new(),
            tickets: 0,
            most_bytes: 0,
            mail: None,
        };
        for _ in 0..NODES {
            let node = world.node();
            world.nodes.push(node);
        }
        (0..NODES).for_each(|node| world.show_log(node));
        world
    }

    fn node(&mut self) -> Node {
        self.incarnations += 1;
        let relay = Relay::new(Shard::new([self.incarnations; 16]), LIMITS, self.fixture().now);
        let idle = relay::Idle::new(None, relay::Why::Messages);
        let (waiting, jobs, stores, told) = Default::default();
        Node { relay, waiting, jobs, stores, told, idle }
    }

    fn fixture(&mut self) -> &mut Fixture {
        self.fixture.as_mut().expect("there is always one")
    }

    fn input(&mut self, node: usize, input: relay::Input) {
        let now = self.fixture().now;
        self.nodes[node].relay.handle_input(now, input);
        loop {
            let at = &mut self.nodes[node];
            match at.relay.poll_output() {
                relay::Output::Post { number, letter } => {
                    let letter = Letter::from_bytes(&letter.to_bytes()).unwrap();
                    match &mut self.mail {
                        Some(mail) => mail.push((node, number, letter)),
                        None => self.posted(node, number, letter),
                    }
                }
                relay::Output::Store { part, content } => at.stores.push((part, content)),
                relay::Output::Job(job) => at.jobs.push(job),
                relay::Output::Reply { ticket, outcome } => {
                    let sender = at.waiting.remove(&ticket).expect("answered once");
                    at.told.push((sender, outcome));
                }
                relay::Output::Idle(idle) => {
                    at.idle = idle;
                    self.most_bytes = self.most_bytes.max(at.relay.bytes());
                    assert!(at.relay.bytes() <= LIMITS.bytes && at.relay.updates() <= 8);
                    return;
                }
            }
        }
    }

    /// A letter is in the engine.
    fn posted(&mut self, node: usize, number: LetterNumber, letter: Letter) {
        let is_there = |posted: &Posted| posted.node == node && posted.number == number;
        if !self.inbox.iter().any(is_there) {
            self.inbox.push(Posted { node, number, letter, is_read: false });
        }
        let now = self.fixture().now;
        self.nodes[node].relay.handle_input(now, relay::Input::Posted { letter: number });
    }

    /// The engine is there again.
    fn post_all(&mut self) {
        for (node, number, letter) in self.mail.take().unwrap_or_default() {
            self.posted(node, number, letter);
        }
    }

    /// The message of a sender, if it can be sent now.
    fn message(&mut self, sender: usize) -> Option<Verified> {
        if self.fixture().machine.phase() != Phase::Update {
            return None;
        }
        let known = self.messages.get(sender).cloned();
        Some(known.unwrap_or_else(|| {
            let (sender, fixture) = (&self.senders[sender], self.fixture.as_ref().unwrap());
            update(fixture, sender)
        }))
    }

    fn send(&mut self, sender: usize, node: usize) {
        if let Some(message) = self.message(sender) {
            self.deliver(sender, node, message);
        }
    }

    fn deliver(&mut self, sender: usize, node: usize, message: Verified) {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.nodes[node].waiting.insert(ticket, sender);
        self.input(node, relay::Input::Message { ticket, message });
    }

    /// The machine reads the next letter that it has not read.
    fn read_letter(&mut self) {
        let Some(posted) = self.inbox.iter_mut().find(|posted| !posted.is_read) else { return };
        posted.is_read = true;
        let (node, number, letter) = (posted.node, posted.number, posted.letter.clone());
        let fixture = self.fixture.as_mut().unwrap();
        fixture.tickets += 1;
        let ticket = Ticket(fixture.tickets);
        let input = match letter {
            Letter::Message { small, large, .. } => {
                let large = large.map(|piece| self.pieces[&piece.part].clone());
                let message = Verified::from_bytes(&small, large).unwrap();
                Input::Message { ticket, message }
            }
            Letter::Admit { shard, admission } => Input::Admit { ticket, shard, admission },
            Letter::Part(done) => Input::Part { ticket, done },
            Letter::Lost { shard } => {
                self.inbox.retain(|posted| posted.node != node || posted.number != number);
                return fixture.input(Input::ShardLost { shard }).unwrap();
            }
        };
        fixture.input(input).unwrap();
        let outcome = fixture.replies.iter().find(|(id, _)| *id == ticket).unwrap().1.clone();
        let read = relay::read_answer(&relay::write_answer(&outcome)).unwrap();
        self.answers.push((node, number, read));
        self.note_records();
    }

    /// The answers are written: the letters are taken out, and may be fetched.
    fn fetch_answers(&mut self) {
        for (node, number, outcome) in std::mem::take(&mut self.answers) {
            self.inbox.retain(|posted| posted.node != node || posted.number != number);
            self.input(node, relay::Input::Answered { letter: number, outcome });
        }
    }

    fn note_records(&mut self) {
        let records = self.fixture.as_ref().unwrap().records[self.records..].to_vec();
        self.records += records.len();
        for record in records {
            let seeds = match record {
                Record::Part { shard, part, seeds, .. } => {
                    self.recorded.insert(shard, part);
                    seeds
                }
                Record::Updates { seeds, .. } => seeds,
                _ => continue,
            };
            for (participant, _) in seeds {
                let is_it = |sender: &&Sender| sender.keys.public() == participant;
                let sender = self.senders.iter().find(is_it).expect("one of ours").clone();
                assert!(self.counted.insert(participant, sender).is_none(), "counted twice");
            }
        }
    }

    fn show_log(&mut self, node: usize) {
        self.note_records();
        let front = self.fixture().front.clone();
        let recorded = self.recorded.get(&self.nodes[node].relay.shard()).copied();
        let seen = Seen { front, epoch: self.epoch, recorded, complete: true };
        self.input(node, relay::Input::Log(Box::new(seen)));
    }

    /// Its jobs are done, and what it stores is stored.
    fn work(&mut self, node: usize) {
        for job in std::mem::take(&mut self.nodes[node].jobs) {
            self.input(node, relay::Input::JobDone(job.finish()));
        }
        for (part, content) in std::mem::take(&mut self.nodes[node].stores) {
            match content {
                Content::Sum(sum) => {
                    let bytes = sum.to_bytes().into();
                    assert!(self.fixture().parts.insert(part, bytes).is_none(), "a name twice");
                }
                Content::Piece(bytes) | Content::Mask(bytes) => {
                    self.pieces.insert(part, bytes);
                }
            }
            self.input(node, relay::Input::Stored { part });
        }
    }

    fn crash(&mut self) {
        self.note_records();
        self.fixture = self.fixture.take().map(|fixture| {
            let settings = fixture.machine.settings.clone();
            fixture.crashed(settings)
        });
        self.records = 0;
        self.epoch += 1;
        // What was read and not answered is read by the next one.
        self.answers.clear();
        self.inbox.iter_mut().for_each(|posted| posted.is_read = false);
    }

    fn tick(&mut self, time: Duration) {
        let fixture = self.fixture();
        fixture.now = fixture.now + time;
        (0..NODES).for_each(|node| self.input(node, relay::Input::Tick));
    }

    fn take(&mut self, (kind, sender, node): (u8, usize, usize)) {
        match kind {
            0..=4 => self.send(sender, node),
            5..=8 => self.read_letter(),
            9..=10 => self.fetch_answers(),
            11..=13 => self.work(node),
            14 => self.show_log(node),
            15 => self.crash(),
            16 => self.tick(relay::LINGER),
            17 => self.tick(PATIENCE + Duration::from_secs(11)),
            18 => {
                // It is believed to be gone, with its letters.
                let shard = self.nodes[node].relay.shard();
                self.inbox.retain(|posted| posted.node != node);
                self.answers.retain(|(of, ..)| *of != node);
                self.fixture().input(Input::ShardLost { shard }).unwrap();
            }
            19 => {
                // It is gone. Its letters may still be there; nobody gets the answers.
                let shard = self.nodes[node].relay.shard();
                self.nodes[node] = self.node();
                self.inbox.retain(|posted| posted.node != node);
                self.answers.retain(|(of, ..)| *of != node);
                self.fixture().input(Input::ShardLost { shard }).unwrap();
                self.show_log(node);
            }
            20 => {
                self.nodes[node].jobs.pop();
                if !self.nodes[node].jobs.is_empty() || self.nodes[node].idle.why == relay::Why::Job
                {
                    self.input(node, relay::Input::JobLost);
                }
            }
            21 => {
                // An answer comes twice.
                let answers = self.answers.clone();
                for (node, number, outcome) in answers {
                    self.input(node, relay::Input::Answered { letter: number, outcome });
                }
            }
            22 => {
                // A letter is posted again after it was answered: nobody knew that it was.
                let again: Vec<_> = self
                    .inbox
                    .iter()
                    .filter(|posted| posted.is_read)
                    .map(|posted| {
                        let (node, number) = (posted.node, posted.number);
                        Posted { node, number, letter: posted.letter.clone(), is_read: false }
                    })
                    .collect();
                self.fetch_answers();
                self.inbox.extend(again);
            }
            _ => {
                // Another one takes it itself.
                let Some(message) = self.message(sender) else { return };
                let fixture = self.fixture();
                fixture.tickets += 1;
                let ticket = Ticket(fixture.tickets);
                fixture.input(Input::Message { ticket, message }).unwrap();
                self.note_records();
            }
        }
    }

    /// Does all that there is to do, but for the time to pass.
    fn settle(&mut self) {
        for _ in 0..20 {
            while self.inbox.iter().any(|posted| !posted.is_read) {
                self.read_letter();
            }
            self.fetch_answers();
            for node in 0..NODES {
                self.show_log(node);
                self.work(node);
            }
            self.tick(relay::LINGER);
        }
    }

    fn finish(mut self) {
        self.settle();
        // What was lost is posted again.
        self.tick(PATIENCE + Duration::from_secs(11));
        self.settle();
        for sender in SENDERS..SENDERS + 3 {
            self.send(sender, sender % NODES);
        }
        self.settle();
        for node in &self.nodes {
            assert!(node.waiting.is_empty(), "somebody waits: {:?}", node.relay);
            assert_eq!(node.relay.updates(), 0, "nothing is left: {:?}", node.relay);
            for (sender, outcome) in &node.told {
                if outcome.is_ok() {
                    let key = self.senders[*sender].keys.public();
                    assert!(self.counted.contains_key(&key), "told, and not counted");
                }
            }
        }
        let fixture = self.fixture();
        if fixture.machine.phase() == Phase::Update {
            fixture.wait(TIME);
        }
        let (counted, summer): (Vec<_>, _) =
            (self.counted.values().cloned().collect(), self.summer.clone());
        assert!(counted.len() >= 3);
        vote(self.fixture(), &summer, &counted);
        check_mean(self.fixture(), &counted);
    }
}

fn steps() -> impl Strategy<Value = Vec<(u8, usize, usize)>> {
    proptest::collection::vec((0u8..24, 0..SENDERS, 0..NODES), 0..80)
}

proptest! {
    #[test]
    fn exactly_those_count_that_a_relay_told_so(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
        }
        world.finish();
    }
}

#[test]
fn updates_are_added_up_together_and_told_once_they_are_recorded() {
    let mut world = World::new();
    for sender in 0..4 {
        world.send(sender, 0);
    }
    world.read_letter();
    world.read_letter();
    world.fetch_answers();
    // Two are on their way still: they are waited for, but not for long.
    assert!(world.nodes[0].jobs.is_empty());
    assert_eq!(world.nodes[0].idle.why, relay::Why::Updates);
    world.read_letter();
    world.read_letter();
    world.fetch_answers();
    world.tick(relay::LINGER);
    assert_eq!(world.nodes[0].jobs.len(), 1);
    world.work(0);
    world.work(0);
    assert!(world.nodes[0].told.is_empty(), "nothing is recorded");
    world.read_letter();
    world.fetch_answers();
    assert_eq!(world.nodes[0].told.len(), 4);
    assert!(world.nodes[0].told.iter().all(|(_, outcome)| outcome.is_ok()));
    let is_part = |record: &&Record| matches!(record, Record::Part { .. });
    assert_eq!(world.fixture().records.iter().filter(is_part).count(), 1);
    world.finish();
}

/// The slower the engine, the more updates share a part: but nobody waits for more than a second.
#[test]
fn others_are_waited_for_as_long_as_the_part_before_took() {
    for (took, lingers) in [
        (Duration::ZERO, relay::LINGER),
        (relay::LINGER * 4, relay::LINGER * 4),
        (Duration::from_secs(5), relay::MOST_LINGER),
    ] {
        let mut world = World::new();
        let (first, second) = ([0, 1], [2, 3]);
        for sender in first {
            world.send(sender, 0);
            world.read_letter();
        }
        world.fetch_answers();
        world.tick(relay::LINGER);
        // Its models are added, and it is stored.
        world.work(0);
        world.tick(took);
        world.work(0);
        world.read_letter();
        world.fetch_answers();
        assert_eq!(world.nodes[0].told.len(), first.len());
        // What they held is released.
        world.work(0);
        for sender in second {
            world.send(sender, 0);
            world.read_letter();
        }
        world.fetch_answers();
        world.tick(lingers - Duration::from_millis(1));
        assert!(world.nodes[0].jobs.is_empty(), "{took:?}");
        world.tick(Duration::from_millis(1));
        assert_eq!(world.nodes[0].jobs.len(), 1, "{took:?}");
        world.finish();
    }
}

#[test]
fn the_log_tells_what_a_lost_answer_would_have() {
    let mut world = World::new();
    world.send(0, 0);
    world.read_letter();
    world.fetch_answers();
    world.work(0);
    world.work(0);
    world.read_letter();
    world.answers.clear();
    world.show_log(0);
    assert_eq!(world.nodes[0].told, [(0, Ok(()))]);
}

#[test]
fn a_new_machine_admits_the_part_that_is_stored() {
    let mut world = World::new();
    world.send(0, 0);
    world.read_letter();
    world.fetch_answers();
    world.work(0);
    world.work(0);
    world.crash();
    world.read_letter();
    world.fetch_answers();
    assert_eq!(world.nodes[0].idle.why, relay::Why::Engine);
    world.read_letter();
    world.fetch_answers();
    // The same part is handed in again.
    assert!(world.nodes[0].stores.is_empty());
    world.read_letter();
    world.fetch_answers();
    assert_eq!(world.nodes[0].told, [(0, Ok(()))]);
    assert_eq!(world.fixture().parts.len(), 1);
    world.finish();
}

#[test]
fn whoever_waits_too_long_is_told_to_come_again_and_finds_its_message_there() {
    let mut world = World::new();
    let message = world.message(0).unwrap();
    world.deliver(0, 0, message.clone());
    world.tick(PATIENCE);
    let in_progress = Err(Rejection::InProgress(Tag::Update));
    assert_eq!(world.nodes[0].told, [(0, in_progress)]);
    assert_eq!(world.nodes[0].relay.updates(), 1);
    let letters = world.inbox.len();
    world.deliver(0, 0, message);
    assert_eq!(world.inbox.len(), letters);
    world.settle();
    assert_eq!(world.nodes[0].told[1..], [(0, Ok(()))]);
    world.finish();
}

#[test]
fn no_more_is_held_than_may_be() {
    let mut world = World::new();
    let senders = world.fixture().with_task(Task::Update, 10);
    world.senders = senders;
    world.messages.clear();
    for sender in 0..10 {
        world.send(sender, 0);
    }
    let full = Err(Rejection::ShardFull);
    assert_eq!(world.nodes[0].told, [(8, full.clone()), (9, full)]);
    world.settle();
    assert_eq!(world.nodes[0].told.len(), 10);
    assert_eq!(world.counted.len(), 8);
}

#[test]
fn what_comes_too_late_is_told_so_by_the_log() {
    let mut world = World::new();
    for sender in 0..4 {
        world.send(sender, 0);
    }
    for sender in 4..7 {
        world.take((23, sender % SENDERS, 0));
    }
    world.take((23, 3, 0));
    world.fixture().wait(TIME);
    assert_eq!(world.fixture().machine.phase(), Phase::Sum2);
    world.show_log(0);
    let phase = Phase::Sum2;
    let late = Err(Rejection::WrongPhase { tag: Tag::Update, phase });
    assert_eq!(world.nodes[0].told.len(), 4);
    assert!(world.nodes[0].told.iter().all(|(_, outcome)| *outcome == late));
    assert_eq!(world.nodes[0].relay.bytes(), 0);
}

#[test]
fn sums_masks_and_chunks_go_as_letters_and_equal_masks_are_stored_once() {
    let mut settings = quick();
    settings.update.time.max = Duration::from_secs(3600);
    settings.sum.count.min = 2;
    let fixture = Fixture::new(settings);
    let summers = fixture.with_task(Task::Sum, 2);
    let messages: Vec<_> =
        summers.iter().map(|summer| fixture.front.open(summer.sum()).unwrap()).collect();
    let mut world = World::new();
    world.fixture = Some(fixture);
    world.messages.clear();
    world.records = 0;
    world.show_log(0);
    for (number, message) in messages.into_iter().enumerate() {
        world.deliver(number, 0, message);
    }
    world.settle();
    assert_eq!(world.nodes[0].told, [(0, Ok(())), (1, Ok(()))]);
    world.fixture().wait(TIME);
    world.show_log(0);
    // An update in chunks is put together by the machine.
    let updaters = world.fixture().with_task(Task::Update, 3);
    world.senders = updaters.clone();
    let chunk = updaters[0].chunk_of_update(&world.fixture().sums(), 0);
    let chunk = world.fixture().front.open(chunk).unwrap();
    world.deliver(0, 0, chunk);
    assert!(matches!(world.nodes[0].stores[..], [(_, Content::Piece(_))]));
    world.settle();
    assert_eq!(world.nodes[0].told[2..], [(0, Ok(()))]);
    for updater in &updaters {
        let number =
            world.senders.iter().position(|one| one.keys.public() == updater.keys.public());
        world.take((23, number.unwrap(), 0));
    }
    // The minimal time has passed: with the last one the phase ended.
    world.show_log(0);
    assert_eq!(world.fixture().machine.phase(), Phase::Sum2);
    let counted: Vec<_> = world.counted.values().cloned().collect();
    for summer in &summers {
        let sealed = summer.sum2(&mask_of(&counted));
        let message = world.fixture().front.open(sealed).unwrap();
        world.deliver(0, 0, message);
    }
    assert_eq!(world.nodes[0].stores.len(), 1);
    world.settle();
    let told = &world.nodes[0].told;
    assert!(told[told.len() - 2..].iter().all(|(_, outcome)| outcome.is_ok()), "{told:?}");
    assert_eq!(world.pieces.len(), 2);
}

#[test]
fn while_the_engine_is_away_no_letter_is_given_out_twice() {
    let mut world = World::new();
    world.mail = Some(Vec::new());
    (0..4).for_each(|sender| world.send(sender, 0));
    for _ in 0..20 {
        world.tick(PATIENCE + Duration::from_secs(11));
    }
    assert_eq!(world.mail.as_ref().map(Vec::len), Some(4));
    // It is back: what has no answer is posted again, as it may be lost.
    world.post_all();
    world.mail = Some(Vec::new());
    world.tick(PATIENCE + Duration::from_secs(11));
    assert_eq!(world.mail.as_ref().map(Vec::len), Some(4));
    world.post_all();
    world.finish();
}

/// The sum phase of a round with so many who are to sum.
fn summing(count: usize) -> (World, Vec<Verified>) {
    let mut settings = quick();
    // It does not end by itself.
    settings.sum.count = CountRange { min: 100, max: 100 };
    settings.sum.time.max = Duration::from_secs(3600);
    let mut fixture = Fixture::new(settings);
    let summers = fixture.with_task(Task::Sum, count);
    let open = |summer: &Sender| fixture.front.open(summer.sum()).unwrap();
    let messages = summers.iter().map(open).collect();
    let mut world = World::new();
    // The relays' time does not go back.
    fixture.now = world.fixture().now;
    world.fixture = Some(fixture);
    world.messages.clear();
    world.records = 0;
    world.show_log(0);
    (world, messages)
}

#[test]
fn a_message_takes_up_room_until_it_is_answered() {
    for is_away in [false, true] {
        let (mut world, messages) = summing(LIMITS.messages + 1);
        world.mail = is_away.then(Vec::new);
        for (sender, message) in messages.iter().enumerate() {
            world.deliver(sender, 0, message.clone());
        }
        assert_eq!(world.nodes[0].told, [(LIMITS.messages, Err(Rejection::ShardFull))]);
        // Nobody waits any more. The letters are there all the same.
        world.tick(PATIENCE);
        assert_eq!(world.nodes[0].told.len(), LIMITS.messages + 1);
        world.deliver(0, 0, messages[LIMITS.messages].clone());
        assert_eq!(world.nodes[0].told.last(), Some(&(0, Err(Rejection::ShardFull))));
        // Who sends its message again waits for the answer to the first.
        world.deliver(0, 0, messages[0].clone());
        world.post_all();
        world.settle();
        assert_eq!(world.nodes[0].told.last(), Some(&(0, Ok(()))));
        world.deliver(0, 0, messages[LIMITS.messages].clone());
        assert_eq!(world.nodes[0].told.len(), LIMITS.messages + 3, "there is room");
    }
}

#[test]
fn a_message_that_cannot_be_posted_is_told_to_come_again() {
    let (mut world, messages) = summing(1);
    world.mail = Some(Vec::new());
    world.deliver(0, 0, messages[0].clone());
    let letter = world.mail.as_ref().unwrap()[0].1;
    world.input(0, relay::Input::NotPosted { letter });
    assert_eq!(world.nodes[0].told, [(0, Err(Rejection::InProgress(Tag::Sum)))]);
}

#[test]
fn a_participant_has_one_mask_under_way_at_a_time() {
    let mut world = World::new();
    for sender in 0..4 {
        world.take((23, sender, 0));
    }
    world.fixture().wait(TIME);
    world.show_log(0);
    let counted: Vec<_> = world.counted.values().cloned().collect();
    for (mask, stored) in [(mask_of(&counted), 1), (mask_of(&counted[..1]), 1)] {
        let sealed = world.summer.sum2(&mask);
        let message = world.fixture().front.open(sealed).unwrap();
        world.deliver(0, 0, message);
        assert_eq!(world.nodes[0].stores.len(), stored);
    }
    assert_eq!(world.nodes[0].told, [(0, Err(Rejection::InProgress(Tag::Sum2)))]);
    world.settle();
    assert_eq!(world.nodes[0].told[1..], [(0, Ok(()))]);
}

#[test]
fn a_part_of_two_rounds_ago_may_have_been_recorded() {
    let mut world = World::new();
    world.send(0, 0);
    world.read_letter();
    world.fetch_answers();
    world.work(0);
    world.work(0);
    world.read_letter();
    world.answers.clear();
    // It counts. Two rounds later nothing of it is told.
    let round = world.fixture().machine.round_id();
    for _ in 0..40 {
        world.fixture().wait(Duration::from_secs(7200));
        if world.fixture().machine.round_id() > round + 1 {
            break;
        }
    }
    assert!(world.fixture().machine.round_id() > round + 1);
    world.recorded.clear();
    world.show_log(0);
    assert_eq!(world.nodes[0].told, [(0, Err(Rejection::InProgress(Tag::Update)))]);
}

#[test]
fn a_part_that_cannot_be_stored_keeps_nobody_from_coming_again() {
    let mut world = World::new();
    world.send(0, 0);
    world.read_letter();
    world.fetch_answers();
    let shard = world.nodes[0].relay.shard();
    let job = world.nodes[0].jobs.pop().unwrap();
    world.input(0, relay::Input::JobDone(job.finish()));
    let (part, _) = world.nodes[0].stores.pop().unwrap();
    world.input(0, relay::Input::NotStored { part });
    assert_eq!(world.nodes[0].told, [(0, Err(Rejection::InProgress(Tag::Update)))]);
    assert_ne!(world.nodes[0].relay.shard(), shard);
    // The reservation is given up, too: another replica may take it.
    world.read_letter();
    world.send(0, 1);
    world.settle();
    assert_eq!(world.nodes[1].told, [(0, Ok(()))]);
}
