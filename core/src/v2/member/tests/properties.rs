//! Arbitrary inputs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::super::{Input, Member, Output, PersistId, Snapshot};
use super::fixture::*;
use crate::crypto::RootSeed;
use crate::job::JobId;
use crate::request::{Call, RequestId, Response};
use crate::v2::{self, Announcement, Context, DecisionHash, MemberId, Phase, Vote};

/// What happens next.
#[derive(Debug, Clone)]
enum Act {
    /// Time passes, in milliseconds.
    Wait(u64),
    /// A request is answered as it should be.
    Answer,
    /// It is answered with the bytes of another call, damaged, or by nobody.
    Nonsense(u8, Vec<u8>),
    Fault,
    Run,
    Lose,
    Store,
    /// An answer to something that was not asked.
    Stray(u8),
    /// The coordinator goes to another phase, or opens a round, with the same number or another.
    Phase(u8),
    Open(u8, u8),
    Exclude(u8),
    /// Stopped without a word, and started again from what was stored so many states ago.
    Restart(u8),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => (0u64..20_000).prop_map(Act::Wait),
        12 => Just(Act::Answer),
        1 => (any::<u8>(), proptest::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(kind, bytes)| Act::Nonsense(kind, bytes)),
        1 => Just(Act::Fault),
        8 => Just(Act::Run),
        1 => Just(Act::Lose),
        8 => Just(Act::Store),
        1 => any::<u8>().prop_map(Act::Stray),
        4 => (1u8..6).prop_map(Act::Phase),
        1 => (0u8..4, any::<u8>()).prop_map(|(number, kind)| Act::Open(number, kind)),
        1 => (0u8..5).prop_map(Act::Exclude),
        1 => any::<u8>().prop_map(Act::Restart),
    ]
}

/// Everything that was signed, by all lives.
#[derive(Default)]
struct Signed {
    announcements: BTreeMap<Context, Announcement>,
    votes: BTreeMap<Context, Vec<Vote>>,
    /// By the last life of an unbroken line of states: contexts for each number.
    numbers: BTreeMap<u64, BTreeSet<Context>>,
}

impl Signed {
    fn take(&mut self, call: &v2::Call, context: Context, round: u64) {
        match call {
            v2::Call::Announce(post) => {
                let announcement = Announcement::from_bytes(&post.body).unwrap();
                let before = self.announcements.entry(context).or_insert(announcement);
                assert_eq!(*before, announcement, "two announcements in one context");
                self.numbers.entry(round).or_default().insert(context);
            }
            v2::Call::Vote(post) => {
                let vote = Vote::from_bytes(&post.body).unwrap();
                let votes = self.votes.entry(context).or_default();
                votes.push(vote);
                assert!(votes.iter().all(|other| *other == vote), "two votes in one context");
            }
            _ => {}
        }
    }
}

/// Whatever happens: it does not panic, it always waits in the end, and there is one announcement and one vote for
/// a context; and one context for a number, where it went on from the state that was stored last.
fn check(acts: Vec<Act>, sets_back: bool) {
    let member = MemberId::new(0, 0);
    let mut coordinator = Coordinator::new();
    let new = || {
        let (root, boot) = (RootSeed::new([1; 32]), RootSeed::new([2; 32]));
        Member::new(member_keys(member), root, boot, pin(), settings())
    };
    let mut machine = new();
    let mut stored: Vec<Snapshot> = vec![machine.snapshot()];
    let mut boots = 2u8;
    let mut signed = Signed::default();
    let mut requests: Vec<(RequestId, Call)> = Vec::new();
    let mut jobs = Vec::new();
    let mut states: Vec<(PersistId, Snapshot)> = Vec::new();
    let mut answers: Vec<Response> = Vec::new();
    let mut asked: BTreeMap<RequestId, (Context, u64)> = BTreeMap::new();
    for act in acts {
        let now = coordinator.now;
        match act {
            Act::Wait(millis) => coordinator.wait(Duration::from_millis(millis)),
            Act::Answer => {
                if let Some((id, call)) = requests.pop() {
                    let is_there = coordinator.list.is_some();
                    let needs_list = !matches!(
                        call,
                        Call::V2(
                            v2::Call::Round
                                | v2::Call::Roster
                                | v2::Call::Announcements
                                | v2::Call::Announce(_)
                                | v2::Call::Vote(_)
                                | v2::Call::Votes
                        )
                    );
                    let is_late = asked.get(&id).is_some_and(|(c, _)| *c != coordinator.context());
                    let response = match (needs_list && !is_there) || is_late {
                        true => rejected("wrong_round"),
                        false => coordinator.answer(&call),
                    };
                    answers.push(response.clone());
                    let _ = machine.handle_input(now, Input::Response { id, response });
                }
            }
            Act::Nonsense(kind, bytes) => {
                if let Some((id, _)) = requests.pop() {
                    let mut response = match answers.get(usize::from(kind) % answers.len().max(1)) {
                        Some(answer) if kind % 3 > 0 => answer.clone(),
                        _ => Response::new(200 + u16::from(kind % 4) * 100, bytes.clone()),
                    };
                    if kind % 3 == 2 && !response.body.is_empty() {
                        let mut body = response.body.to_vec();
                        for (at, byte) in bytes.iter().enumerate() {
                            let at = (at * 37 + usize::from(*byte)) % body.len();
                            body[at] ^= byte;
                        }
                        response = Response::ok(body);
                    }
                    let _ = machine.handle_input(now, Input::Response { id, response });
                }
            }
            Act::Fault => {
                if let Some((id, _)) = requests.pop() {
                    let fault = crate::participant::TransportFault::TimedOut;
                    let _ = machine.handle_input(now, Input::Fault { id, fault });
                }
            }
            Act::Run => {
                if let Some(job) = jobs.pop() {
                    let job: super::super::Job = job;
                    let _ = machine.handle_input(now, Input::JobDone(job.finish()));
                }
            }
            Act::Lose => drop(jobs.pop()),
            Act::Store => {
                if let Some((id, snapshot)) = states.pop() {
                    stored.push(snapshot);
                    let _ = machine.handle_input(now, Input::Persisted(id));
                }
            }
            Act::Stray(id) => {
                let id = u64::from(id);
                let response = Response::ok("");
                let _ = machine.handle_input(now, Input::Response { id: RequestId(id), response });
                let _ = machine.handle_input(now, Input::JobLost(JobId(id)));
            }
            Act::Phase(phase) => {
                let phase = Phase::ALL[usize::from(phase)];
                if phase > Phase::Announce && coordinator.list.is_none() {
                    coordinator.begin_updates();
                    (0..4).for_each(|nth| coordinator.update(nth));
                }
                if phase > Phase::Agree {
                    coordinator.others_vote();
                    coordinator.wanted = vec![member];
                }
                coordinator.phase = phase;
            }
            Act::Open(number, kind) => {
                let mut terms = terms(1 + u64::from(number));
                terms.opened_at = now.as_millis() / 1000 + u64::from(kind % 3);
                coordinator.open(terms);
            }
            Act::Exclude(nth) => coordinator.excluded = vec![updater_keys(nth).public()],
            Act::Restart(back) => {
                boots = boots.wrapping_add(1);
                let boot = RootSeed::new([boots; 32]);
                let back = if sets_back { usize::from(back) % stored.len() } else { 0 };
                let state = stored[stored.len() - 1 - back].to_bytes();
                machine = Member::restore(&state, boot, settings()).unwrap();
                // A new process, a moment later.
                coordinator.wait(Duration::from_millis(1));
                requests.clear();
                jobs.clear();
                states.clear();
            }
        }
        let _ = machine.handle_input(coordinator.now, Input::Tick);
        let mut outputs = 0;
        loop {
            outputs += 1;
            assert!(outputs < 1000, "it never waits");
            match machine.poll_output() {
                Output::Request { id, call } => {
                    let (context, round) = (coordinator.context(), coordinator.terms().round);
                    let Call::V2(inner) = &call else { panic!("{call:?}") };
                    // Whatever was shown: the post itself says which round it is for.
                    let tag = inner.post().and_then(|post| post.round);
                    if tag.is_none_or(|tag| tag == context.tag()) {
                        signed.take(inner, context, round);
                        asked.insert(id, (context, round));
                    } else {
                        asked.insert(id, (Context::new([0; 32]), 0));
                    }
                    requests.push((id, call));
                }
                Output::Job(job) => jobs.push(job),
                Output::Persist { id, snapshot } => states.push((id, snapshot)),
                Output::Event(_) => {}
                Output::Idle(_) => break,
            }
        }
    }
    if !sets_back {
        for (number, contexts) in signed.numbers {
            assert_eq!(contexts.len(), 1, "round {number}");
        }
    }
    let _ = DecisionHash::new([0; 32]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn started_anew_from_the_last_state_it_signs_once(
        acts in proptest::collection::vec(act(), 0..150),
    ) {
        check(acts, false);
    }

    #[test]
    fn started_anew_from_any_state_it_signs_once_in_a_context(
        acts in proptest::collection::vec(act(), 0..150),
    ) {
        check(acts, true);
    }

    #[test]
    fn arbitrary_bytes_are_no_state(bytes: Vec<u8>) {
        prop_assert!(Member::restore(&bytes, RootSeed::new([0; 32]), settings()).is_err());
    }
}
