//! The round that a member is shown, and what can be wrong with it.

use pet_core::crypto::{Signature, SigningKeyPair};
use pet_core::request::Response;
use pet_core::v2::{
    self, Announcement, Announcements, Decision, DecisionHash, EntriesPage, Entry, Group, MemberId,
    Phase, Roster, RoundView, SealedGroupSeed, SetView, Terms, Vote, Votes,
};
use pet_testing::v2::by_hand::{list, seed, Committee, HandMember, HandUpdate, Round};
use pet_testing::v2::stage;

use super::answers::Flaw;
use super::looks::Shown;

/// The number of the round.
pub const ROUND: u64 = 5;
const LENGTH: usize = 4;
const UPDATES: usize = 4;

/// One group of three members, of whom the first is driven; four updates.
pub struct World {
    pub committee: Committee,
    pub terms: Terms,
    pub list: Announcements,
    pub updates: Vec<HandUpdate>,
    /// The driven member's vote, once it has made one.
    pub own_vote: Option<Vote>,
    hands: Vec<HandMember>,
}

/// The member that is driven.
pub fn me() -> MemberId {
    MemberId::new(0, 0)
}

impl World {
    /// A round in which nobody has announced anything.
    pub fn new() -> Self {
        let committee = Committee::new(1, 3, UPDATES);
        let terms = committee.terms(ROUND, LENGTH as u64);
        let hands = committee.hands();
        let list = list(Vec::new());
        Self { committee, terms, list, updates: Vec::new(), own_vote: None, hands }
    }

    fn round(&self) -> Round<'_> {
        Round { committee: &self.committee, terms: &self.terms, list: &self.list }
    }

    /// The driven member has announced this: now the list can be made, and updates.
    pub fn announced(&mut self, own: Announcement) {
        let context = self.terms.context();
        let others = self.hands[1..].iter().map(|hand| hand.announce(&context));
        self.list = list(others.chain([own]).collect());
        let weights = [0.5; LENGTH];
        self.updates = (0..UPDATES).map(|nth| self.round().update(nth, &weights)).collect();
    }

    /// The decision for the first so many updates.
    fn decision(&self, count: usize) -> Decision {
        let updates: Vec<_> = self.updates[..count].iter().collect();
        self.round().decision(&updates).expect("sorted")
    }

    /// The set of the first so many updates.
    fn set(&self, count: usize) -> SetView {
        let excluded = self.updates[count..].iter().map(HandUpdate::key).collect();
        SetView { decision: self.decision(count), excluded, reports: Vec::new() }
    }

    fn votes(&self, decision: &Decision, voters: &[usize]) -> Vec<Vote> {
        voters.iter().map(|voter| self.hands[*voter].vote(decision)).collect()
    }

    /// How a coordinator shows the round. Members are listed where they have delivered something, but for the lost.
    pub fn shown(&self, shown: Shown) -> stage::Shown {
        use Shown as W;
        let begun = |phase| {
            let mut begun = stage::Shown::announce(&self.committee, &self.terms);
            begun.view.phase = phase;
            begun
        };
        let from_update = |phase| {
            let updates: Vec<_> = self.updates.iter().collect();
            let mut listed = stage::Shown::check(&self.round(), me(), &updates);
            listed.view.phase = phase;
            listed.view.reported = vec![me()];
            listed
        };
        let from_agree = |phase, count: usize| {
            let mut agreed = from_update(phase);
            let set = self.set(count);
            agreed.view.excluded = set.excluded.len() as u64;
            agreed.view.decision = Some(set.decision.digest());
            agreed.view.voted = vec![me()];
            agreed.votes = Votes::new(self.votes(&set.decision, &[1, 2])).expect("sorted");
            agreed.set = Some(set);
            agreed
        };
        let masked = |phase, masked: &[MemberId], wanted: &[MemberId]| {
            let mut shown = from_agree(phase, UPDATES);
            shown.view.certified = true;
            shown.view.masked = masked.to_vec();
            shown.view.wanted = wanted.to_vec();
            shown
        };
        match shown {
            W::Nothing => {
                let mut nothing = begun(Phase::Idle);
                nothing.view = RoundView::idle();
                nothing
            }
            W::Announce => begun(Phase::Announce),
            W::Update => from_update(Phase::Update),
            W::Unlisted => begun(Phase::Update),
            W::Check => from_update(Phase::Check),
            W::CheckLost => {
                let mut lost = from_update(Phase::Check);
                lost.view.reported.clear();
                lost
            }
            W::Agree => from_agree(Phase::Agree, UPDATES),
            W::AgreeLost => {
                let mut lost = from_agree(Phase::Agree, UPDATES);
                lost.view.voted.clear();
                lost
            }
            W::AgreeOther => from_agree(Phase::Agree, UPDATES - 1),
            W::Sum2 => masked(Phase::Sum2, &[me()], &[me()]),
            W::Sum2Lost => masked(Phase::Sum2, &[], &[me()]),
            W::Sum2Unwanted => masked(Phase::Sum2, &[me()], &[]),
            W::Unmask => masked(Phase::Unmask, &[me()], &[]),
            W::Failed => {
                let mut failed = begun(Phase::Failed);
                failed.view.failure = Some("the round was skipped".to_owned());
                failed
            }
            W::Completed => {
                let mut completed = begun(Phase::Idle);
                completed.view.completed = Some(ROUND);
                completed
            }
            W::Next => {
                let terms = Terms { round: ROUND + 1, ..self.terms.clone() };
                stage::Shown::announce(&self.committee, &terms)
            }
        }
    }

    /// A coordinator of another committee's, with this one's members.
    fn other_roster(&self) -> Roster {
        let mut groups: Vec<Group> = self.committee.roster.groups().to_vec();
        groups[0].name = "another".to_owned();
        Roster::new(groups, self.committee.roster.admission().clone()).expect("a roster")
    }

    /// What the round is said to be where the flaw shows; the honest one if the flaw is elsewhere.
    pub fn flawed_view(&self, flaw: Flaw, honest: stage::Shown) -> stage::Shown {
        let mut shown = honest;
        let named = |decision: DecisionHash, mut shown: stage::Shown| {
            shown.view.decision = Some(decision);
            shown
        };
        match flaw {
            Flaw::ListForged | Flaw::ListNoMajority | Flaw::ListWithoutMe | Flaw::ListNotMine => {
                shown.view.announcements = Some(self.flawed_list(flaw).digest());
                shown
            }
            Flaw::SetMadeUp => named(self.made_up().digest(), shown),
            Flaw::SetTooFew => named(self.decision(2).digest(), shown),
            Flaw::SetSecond => named(self.decision(UPDATES - 1).digest(), shown),
            _ => shown,
        }
    }

    fn made_up(&self) -> Decision {
        let mut decision = self.decision(UPDATES);
        decision.count += 1;
        decision
    }

    fn flawed_list(&self, flaw: Flaw) -> Announcements {
        let context = self.terms.context();
        let mut all = self.list.list().to_vec();
        match flaw {
            Flaw::ListForged => {
                let stranger = SigningKeyPair::from_seed(&seed(99, 0));
                let (e, v) = (self.hands[2].encrypt.public(), self.hands[2].vote.public());
                all[2] = Announcement::sign(&stranger, &context, all[2].member, e, v);
            }
            Flaw::ListNoMajority => all.truncate(1),
            Flaw::ListWithoutMe => drop(all.remove(0)),
            Flaw::ListNotMine => all[0] = self.hands[0].announce(&context),
            _ => all.truncate(2),
        }
        list(all)
    }

    fn flawed_page(&self, flaw: Flaw) -> EntriesPage {
        let updates: Vec<_> = self.updates.iter().collect();
        let mut entries: Vec<Entry> = self.round().entries(me(), &updates);
        let mut page = EntriesPage {
            context: self.terms.context(),
            total: UPDATES as u64,
            from: 0,
            entries: Vec::new(),
        };
        let bad = SealedGroupSeed::new([5; 80]);
        match flaw {
            Flaw::EntriesOtherRound => page.context = v2::Context::new([0; 32]),
            Flaw::EntriesTooMany => page.total = 1_000_001,
            Flaw::EntriesBreakOff => entries.clear(),
            Flaw::EntriesElsewhere => (page.from, page.total) = (1, UPDATES as u64 + 1),
            Flaw::EntriesBadBox => entries[0].sealed = bad,
            Flaw::EntriesCopiedBox => entries[0].sealed = entries[1].sealed,
            Flaw::EntriesForged => entries[0].statement = Signature::new([1; 64]),
            Flaw::EntriesNotAdmitted => entries[0].credential = None,
            _ => entries.iter_mut().for_each(|entry| entry.sealed = bad),
        }
        page.entries = entries;
        page
    }

    fn flawed_set(&self, flaw: Flaw) -> SetView {
        match flaw {
            Flaw::SetOther | Flaw::SetSecond => self.set(UPDATES - 1),
            Flaw::SetMadeUp => SetView { decision: self.made_up(), ..self.set(UPDATES) },
            Flaw::SetStranger => {
                let stranger = SigningKeyPair::from_seed(&seed(99, 0)).public();
                SetView { excluded: vec![stranger], ..self.set(UPDATES) }
            }
            Flaw::SetTooFew => self.set(2),
            _ => self.set(UPDATES),
        }
    }

    fn flawed_votes(&self, flaw: Flaw) -> Votes {
        let decision = self.decision(UPDATES);
        let votes = match flaw {
            Flaw::VotesForged => self.votes(&self.decision(UPDATES - 1), &[1, 2]),
            Flaw::VotesNotMine => {
                let others = self.votes(&decision, &[1, 2]);
                self.own_vote.into_iter().chain(others).collect()
            }
            _ => self.votes(&decision, &[1]),
        };
        Votes::new(votes).expect("sorted")
    }

    /// The answer that has the flaw.
    #[deny(clippy::wildcard_enum_match_arm, clippy::match_wildcard_for_single_variants)]
    pub fn flawed(&self, flaw: Flaw) -> Response {
        use Flaw as F;
        Response::ok(match flaw {
            F::RosterNonsense
            | F::ListNonsense
            | F::EntriesNonsense
            | F::SetNonsense
            | F::VotesNonsense => b"nonsense".to_vec(),
            F::RosterOther => self.other_roster().to_bytes(),
            F::RosterWithoutMe => self.committee.roster.to_bytes(),
            F::ListOther
            | F::ListForged
            | F::ListNoMajority
            | F::ListWithoutMe
            | F::ListNotMine => self.flawed_list(flaw).to_bytes(),
            F::EntriesOtherRound
            | F::EntriesTooMany
            | F::EntriesBreakOff
            | F::EntriesElsewhere
            | F::EntriesBadBox
            | F::EntriesCopiedBox
            | F::EntriesForged
            | F::EntriesNotAdmitted
            | F::EntriesAllBad => self.flawed_page(flaw).to_bytes(),
            F::SetOther
            | F::SetMadeUp
            | F::SetStranger
            | F::SetTooFew
            | F::SetBadUpdate
            | F::SetSecond => self.flawed_set(flaw).to_bytes(),
            F::VotesForged | F::VotesNoMajority | F::VotesNotMine => {
                self.flawed_votes(flaw).to_bytes()
            }
        })
    }
}
