//! Attack 2: two groups of three members, four updaters, one group Byzantine. A coordinator shows the honest members anything, in
//! any order, restarts them from any state that they have ever stored, and uses every vote that it has got from anyone. It must
//! never have two certified sets for one context.
//!
//! Members speak with the coordinator only, so what one of them does depends on what it is shown, and on nothing else. So each
//! member is explored by itself, with its real machine, against a coordinator that has *more* than it can have: all votes of all
//! other members for everything (their keys are the test's). What comes out is every history of votes that the member can be
//! brought to. The second half is the product: every combination of the three members' histories, and every list and decision, is
//! looked at for majorities. If the product has no two certified sets, no run of the protocol has.
//!
//! *Bounds*: two contexts with one number (`make explore`: and one with the next); lists of all members, without one, and with another
//! life's announcement of this member; two sets; one restart, from any state ever stored, before or after the round is opened. *Equal states*: machines are equal if their `Debug` texts are, but for
//! times and counters; what they have stored and said belongs to the state.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use pet_core::crypto::PublicSigningKey;
use pet_core::time::Timestamp;
use pet_core::v2::member::{Member, Settings};
use pet_core::v2::{Announcement, Announcements, Context, DecisionHash, Phase, Terms, Vote};
use pet_testing::v2::by_hand::{list, root, Committee, HandMember, HandUpdate, Round, OPENED_AT};
use pet_testing::v2::stage::{Player, Said, Shown, STARTED};
use pet_testing::v2::words;

/// A vote, and whose key it is under.
type Cast = (Context, PublicSigningKey, DecisionHash);

/// What a member has said in one history, as far as it matters.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
struct History {
    announced: BTreeSet<(u64, Context, PublicSigningKey)>,
    votes: BTreeSet<Cast>,
    /// For which decisions it has sent a mask.
    masks: BTreeSet<(Context, DecisionHash)>,
}

/// What the coordinator does to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Action {
    /// The rounds are opened: before, the clock is a minute earlier.
    Open,
    Announce(usize),
    Check(usize),
    /// A list, and which updater is excluded.
    Agree(usize, Option<usize>),
    Sum(usize, Option<usize>),
    Idle,
    /// From the stored state with this number.
    Restart(usize),
    /// What no disk can do: memory and all is set back to this earlier state of the path.
    Rewind(usize),
}

/// A list that the coordinator can show, with the updates made for it.
struct Listed {
    terms: usize,
    list: Announcements,
    updates: Vec<HandUpdate>,
}

struct World {
    committee: Committee,
    terms: Vec<Terms>,
    /// The other members' puppets.
    others: Vec<HandMember>,
    member: usize,
    may_rewind: bool,
}

/// A state of the member: at rest.
struct State {
    player: Player,
    history: History,
    lists: Vec<Listed>,
    is_open: bool,
    restarts: u64,
    /// What is or was on its disk: what it promises, and which of the stored states that is.
    disks: Vec<(String, usize)>,
    /// The states before, for what only the control does.
    path: Vec<Player>,
}

const RESTARTS: u64 = 1;
const EXCLUDED: [Option<usize>; 2] = [None, Some(0)];

impl World {
    fn new(member: usize, contexts: usize, may_rewind: bool) -> Self {
        let committee = Committee::new(2, 3, 4);
        let first = committee.terms(1, 4);
        let mut same_number = committee.terms(1, 4);
        same_number.n_min = 4;
        let next = committee.terms(2, 4);
        let terms = [first, same_number, next].into_iter().take(contexts).collect();
        let id = committee.ids()[member];
        let others = committee.hands().into_iter().filter(|hand| hand.id != id).collect();
        Self { committee, terms, others, member, may_rewind }
    }

    fn start(&self) -> State {
        let mut player = Player::new(&self.committee, self.committee.ids()[self.member]);
        player.now = STARTED;
        State {
            player,
            history: History::default(),
            lists: Vec::new(),
            is_open: false,
            restarts: 0,
            disks: vec![(String::new(), 0)],
            path: Vec::new(),
        }
    }

    /// All that can be done in a state.
    fn actions(&self, state: &State) -> Vec<Action> {
        if !state.is_open {
            let restart = (state.restarts < RESTARTS).then_some(Action::Restart(0));
            return restart.into_iter().chain([Action::Open]).collect();
        }
        let mut actions: Vec<_> = (0..self.terms.len()).map(Action::Announce).collect();
        actions.push(Action::Idle);
        for list in 0..state.lists.len() {
            actions.push(Action::Check(list));
            for excluded in EXCLUDED {
                actions.push(Action::Agree(list, excluded));
                actions.push(Action::Sum(list, excluded));
            }
        }
        if self.may_rewind {
            actions.extend((0..state.path.len()).map(Action::Rewind));
        } else if state.restarts < RESTARTS {
            actions.extend(state.disks.iter().map(|(_, stored)| Action::Restart(*stored)));
        }
        actions
    }

    /// The lists that can be made once the member has announced itself so.
    fn lists(&self, terms: usize, own: Announcement) -> Vec<Listed> {
        let context = self.terms[terms].context();
        let others: Vec<_> = self.others.iter().map(|other| other.announce(&context)).collect();
        let whole: Vec<_> = others.iter().copied().chain([own]).collect();
        // Without one of the honest others: two of three are left.
        let fewer: Vec<_> =
            whole.iter().copied().filter(|a| a.member != others[0].member).collect();
        // The other contexts are there to be announced, and to be voted in; one list is enough for that.
        let some = [whole, fewer].into_iter().take(if terms == 0 { 2 } else { 1 });
        some.map(|announcements| {
            let list = list(announcements);
            let terms_of = &self.terms[terms];
            let round = Round { committee: &self.committee, terms: terms_of, list: &list };
            let updates = (0..4).map(|i| round.update(i, &[0.1 * i as f32; 4])).collect();
            Listed { terms, list, updates }
        })
        .collect()
    }

    /// What follows from an action.
    fn after(&self, state: &State, action: Action) -> State {
        let mut player = state.player.fork();
        let mut next_lists = Vec::new();
        let (mut is_open, mut restarts) = (state.is_open, state.restarts);
        match action {
            Action::Open => {
                // Three seconds later: a restart before takes a second each.
                is_open = true;
                player.now = Timestamp::from_millis(OPENED_AT * 1000 + 3000);
            }
            Action::Announce(terms) => {
                player.show(&Shown::announce(&self.committee, &self.terms[terms]));
            }
            Action::Idle => {
                let mut shown = Shown::announce(&self.committee, &self.terms[0]);
                shown.view.phase = Phase::Idle;
                shown.view.terms = None;
                player.show(&shown);
            }
            Action::Check(list) => {
                let listed = &state.lists[list];
                let updates: Vec<_> = listed.updates.iter().collect();
                player.show(&Shown::check(&self.round(listed), player.id, &updates));
            }
            Action::Agree(list, excluded) => {
                let shown = self.agree(&state.lists[list], excluded, &player);
                player.show(&shown);
            }
            Action::Sum(list, excluded) => {
                let listed = &state.lists[list];
                let shown = self.agree(listed, excluded, &player);
                let decision = shown.set.as_ref().expect("a set").decision;
                // Every vote there can be: of all puppets that are in the list, and this member's own, if it has cast it.
                let announced = |id| listed.list.get(id).is_some();
                let votes = self.others.iter().filter(|other| announced(other.id));
                let mut votes: Vec<Vote> = votes.map(|other| other.vote(&decision)).collect();
                let own = listed.list.get(player.id).map(|own| own.vote_key);
                let own = player
                    .votes()
                    .into_iter()
                    .find(|vote| own.is_some_and(|key| vote.verify(&key, &decision.digest())));
                votes.extend(own);
                let shown = shown.sum2(votes, player.id);
                player.show(&shown);
            }
            Action::Restart(stored) => {
                restarts += 1;
                player.restart(Some(stored), restarts);
            }
            Action::Rewind(to) => {
                restarts += 1;
                let (said, stored) = (player.said.clone(), player.stored.clone());
                player = state.path[to].fork();
                (player.said, player.stored) = (said, stored);
            }
        }
        let mut history = state.history.clone();
        let mut lists: Vec<Listed> = state.lists.iter().map(Listed::again).collect();
        for said in &player.said[state.player.said.len()..] {
            match said {
                Said::Announcement(own) => {
                    let is_of = |terms: &&Terms| {
                        own.verify(&self.committee.roster, &terms.context()).is_ok()
                    };
                    let terms = self.terms.iter().position(|terms| is_of(&terms));
                    let terms = terms.expect("one of the contexts that it was shown");
                    let (round, context) = (self.terms[terms].round, self.terms[terms].context());
                    if history.announced.insert((round, context, own.vote_key)) {
                        next_lists.extend(self.lists(terms, *own));
                    }
                }
                Said::Vote(vote) => {
                    history.votes.insert(self.cast(&lists, vote, player.id));
                }
                Said::Mask(header) => {
                    let (Action::Sum(list, excluded), roster) = (action, &self.committee.roster)
                    else {
                        panic!("a mask, after {action:?}");
                    };
                    let shown = self.agree(&lists[list], excluded, &player);
                    let decision = shown.set.expect("a set").decision;
                    let terms = &self.terms[lists[list].terms];
                    let (context, hash) = (terms.context(), decision.digest());
                    assert_eq!(header.verify(roster, terms, &hash), Ok(()), "for what was shown");
                    history.masks.insert((context, hash));
                    self.check_mask(&player, &lists[list], excluded);
                }
                Said::Report(report) => assert_eq!(report.accused, []),
                Said::Chunk(_) => {}
            }
        }
        lists.extend(next_lists);
        let mut path: Vec<Player> = Vec::new();
        if self.may_rewind {
            path.extend(state.path.iter().map(Player::fork));
            path.push(state.player.fork());
        }
        let mut disks = state.disks.clone();
        for stored in state.player.stored.len()..player.stored.len() {
            let label = label(&player.stored[stored]);
            if disks.iter().all(|(known, _)| *known != label) {
                disks.push((label, stored));
            }
        }
        State { player, history, lists, is_open, restarts, disks, path }
    }

    fn round<'a>(&'a self, listed: &'a Listed) -> Round<'a> {
        let terms = &self.terms[listed.terms];
        Round { committee: &self.committee, terms, list: &listed.list }
    }

    fn agree(&self, listed: &Listed, excluded: Option<usize>, player: &Player) -> Shown {
        let updates: Vec<_> = listed.updates.iter().collect();
        let excluded: Vec<_> = excluded.iter().map(|i| listed.updates[*i].key()).collect();
        Shown::agree(&self.round(listed), player.id, &updates, &excluded)
    }

    /// For what a vote is, and under which key.
    fn cast(&self, lists: &[Listed], vote: &Vote, id: pet_core::v2::MemberId) -> Cast {
        for listed in lists {
            let Some(own) = listed.list.get(id) else { continue };
            for excluded in EXCLUDED {
                let left = listed.updates.iter().enumerate();
                let left = left.filter(|(i, _)| Some(*i) != excluded).map(|(_, update)| update);
                let decision = self.round(listed).decision(&left.collect::<Vec<_>>()).unwrap();
                if vote.verify(&own.vote_key, &decision.digest()) {
                    return (decision.context, own.vote_key, decision.digest());
                }
            }
        }
        panic!("a vote for nothing that was shown");
    }

    /// The mask is the sum of the streams of exactly the set.
    fn check_mask(&self, player: &Player, listed: &Listed, excluded: Option<usize>) {
        let left = listed.updates.iter().enumerate();
        let left = left.filter(|(i, _)| Some(*i) != excluded).map(|(_, update)| update);
        let expected = self.round(listed).mask(0, &left.collect::<Vec<_>>());
        let (_, bytes) = player.masks().pop().expect("a mask");
        assert_eq!(words::vector(&bytes), words::of(&expected));
    }

    /// Every history that the member can be brought to, and how many states and steps that took.
    fn explore(&self) -> (BTreeSet<History>, usize, usize) {
        let mut known = BTreeSet::new();
        let mut histories = BTreeSet::new();
        let mut waiting = VecDeque::from([self.start()]);
        let mut steps = 0;
        while let Some(state) = waiting.pop_front() {
            for action in self.actions(&state) {
                steps += 1;
                let next = self.after(&state, action);
                let depth = next.path.len();
                if (!self.may_rewind || depth <= 5) && known.insert(key(&next)) {
                    histories.insert(next.history.clone());
                    waiting.push_back(next);
                }
            }
        }
        (histories, known.len(), steps)
    }
}

impl Listed {
    fn again(&self) -> Self {
        let Self { terms, list, updates } = self;
        Self { terms: *terms, list: list.clone(), updates: updates.clone() }
    }
}

/// Two states with one key behave alike: what the member has promised, what it keeps of the round, its life, what is on its disk, and
/// what it has said. What it was last shown and why it waits are not in it, since it looks again before it does anything.
fn key(state: &State) -> (String, BTreeSet<String>, History, bool, u64) {
    let text = format!("{:?}", state.player.machine);
    let between = |from: &str, to: &str| {
        let rest = &text[text.find(from).expect("a field") + from.len()..];
        &rest[..rest.rfind(to).expect("the next field")]
    };
    let promise = between(" promise: ", ", roster: ");
    let round = between("}, round: ", ", activity: ");
    let mut machine = String::new();
    for part in [promise, round] {
        // Without times.
        let mut pieces = part.split("Timestamp(");
        machine.push_str(pieces.next().unwrap_or_default());
        for piece in pieces {
            machine.push_str(piece.trim_start_matches(|c: char| c.is_ascii_digit()));
        }
    }
    let machine = without_number(&machine, " at: ");
    let disks = state.disks.iter().map(|(label, _)| label.clone()).collect();
    (machine, disks, state.history.clone(), state.is_open, state.restarts)
}

/// What a stored state promises: two that promise the same are alike.
fn label(stored: &[u8]) -> String {
    let member = Member::restore(stored, root(23, 0), Settings::default()).expect("a good state");
    let text = format!("{member:?}");
    let rest = &text[text.find(" promise: ").expect("a field")..];
    without_number(&rest[..rest.find(", roster: ").expect("the next field")], " at: ")
}

fn without_number(text: &str, before: &str) -> String {
    let mut pieces = text.split(before);
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        out.push_str(piece.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    out
}

/// Looks for two certified sets for one context in every combination of three members' histories: a set is certified for the honest
/// group if two of three votes for it are there. Gives the first such pair.
fn two_certified(histories: [&BTreeSet<History>; 3]) -> Option<(DecisionHash, DecisionHash)> {
    // Only the votes matter, by set. Others' keys are other keys: decisions are compared by what they are over, which is the same
    // for all three members, since all use the same lists.
    let votes = |histories: &BTreeSet<History>| -> BTreeSet<BTreeSet<(Context, usize)>> {
        histories.iter().map(|history| numbered(&history.votes)).collect()
    };
    let [a, b, c] = histories.map(votes);
    for a in &a {
        for b in &b {
            for c in &c {
                let mut counts: BTreeMap<(Context, usize), u32> = BTreeMap::new();
                for votes in [a, b, c] {
                    votes.iter().for_each(|vote| *counts.entry(*vote).or_default() += 1);
                }
                let certified: Vec<_> = counts.iter().filter(|(_, n)| **n >= 2).collect();
                for (i, ((context, one), _)) in certified.iter().enumerate() {
                    for ((other_context, other), _) in &certified[..i] {
                        if context == other_context {
                            let name = |n: usize| DecisionHash::new([n as u8; 32]);
                            return Some((name(*one), name(*other)));
                        }
                    }
                }
            }
        }
    }
    None
}

/// Votes by context, with decisions numbered as they come: the coordinator is free to pair lists and sets of different
/// members as it likes, which gives it more than it has.
fn numbered(votes: &BTreeSet<Cast>) -> BTreeSet<(Context, usize)> {
    let mut counts: BTreeMap<Context, usize> = BTreeMap::new();
    votes
        .iter()
        .map(|(context, _, _)| {
            let number = counts.entry(*context).or_default();
            *number += 1;
            (*context, *number)
        })
        .collect()
}

/// Explores all three honest members, and looks at every history and every combination of them.
fn explore_all(contexts: usize) {
    let mut all = Vec::new();
    for member in 0..3 {
        let (histories, states, steps) = World::new(member, contexts, false).explore();
        assert!(states > 1000 && steps > states, "{states} states, {steps} steps");
        for history in &histories {
            let announced: BTreeSet<_> = history.announced.iter().map(|(_, c, _)| c).collect();
            assert_eq!(announced.len(), history.announced.len(), "a context twice: {history:?}");
            let voted: BTreeSet<_> = history.votes.iter().map(|(context, ..)| context).collect();
            assert_eq!(voted.len(), history.votes.len(), "two votes in a context: {history:?}");
        }
        // The exploration reaches what there is to reach.
        assert!(histories.iter().any(|history| history.votes.len() == 1));
        let restarted = |history: &History| history.votes.is_empty() && !history.masks.is_empty();
        assert!(histories.iter().any(restarted), "a mask without a vote, after a restart");
        all.push(histories);
    }
    let [a, b, c] = &all[..] else { unreachable!() };
    assert_eq!(two_certified([a, b, c]), None);
}

#[test]
fn never_two_certified_sets() {
    explore_all(2);
}

/// The same with a further round, which takes minutes: `make explore` runs it.
#[test]
#[ignore = "takes minutes: make explore"]
fn never_two_certified_sets_in_two_rounds() {
    explore_all(3);
}

/// The control: members whose memory is set back with the disk, as if their vote keys were on it. The same search finds two
/// certified sets.
#[test]
fn with_memory_set_back_there_are_two() {
    let (histories, ..) = World::new(0, 1, true).explore();
    assert!(two_certified([&histories, &histories, &histories]).is_some());
}
