//! A round with an honest group of three real members, a corrupt group, and updates made by hand.

use pet_core::crypto::PublicSigningKey;
use pet_core::v2::member::{Event, Refusal};
use pet_core::v2::{Announcements, Decision, GroupMaskHeader, MemberId, Report, Terms, Vote};
use pet_testing::v2::by_hand::{list, Committee, HandMember, HandUpdate, Round};
use pet_testing::v2::stage::{Player, Said, Shown};

/// Two groups of three; group 0 is honest.
pub struct Scene {
    pub committee: Committee,
    pub terms: Terms,
    /// The members of group 0.
    pub players: Vec<Player>,
    /// The members of group 1.
    pub friends: Vec<HandMember>,
    pub list: Announcements,
    /// One update of each updater, sorted by key.
    pub updates: Vec<HandUpdate>,
    /// What they have trained.
    pub models: Vec<Vec<f32>>,
}

impl Scene {
    /// So many updaters; all members have announced themselves, all updates are made.
    pub fn new(updaters: usize) -> Self {
        Self::with(Committee::new(2, 3, updaters), |_| {})
    }

    /// The same with other terms.
    pub fn with(committee: Committee, change: impl FnOnce(&mut Terms)) -> Self {
        let mut terms = committee.terms(1, 8);
        change(&mut terms);
        let honest = (0..3).map(|index| MemberId::new(0, index));
        let mut players: Vec<_> = honest.map(|id| Player::new(&committee, id)).collect();
        let friends: Vec<_> =
            (0..3).map(|i| HandMember::new(&committee, MemberId::new(1, i), 0)).collect();
        let shown = Shown::announce(&committee, &terms);
        let announcements = players.iter_mut().map(|player| match &player.show(&shown)[..] {
            [Said::Announcement(announcement)] => *announcement,
            said => panic!("{said:?} instead of an announcement; {:?}", player.events),
        });
        let context = terms.context();
        let friendly = friends.iter().map(|friend| friend.announce(&context));
        let list = list(announcements.chain(friendly).collect());
        let models: Vec<Vec<f32>> = (0..committee.updaters.len())
            .map(|i| (0..8).map(|k| 0.1 * i as f32 - 0.03 * k as f32).collect())
            .collect();
        let round = Round { committee: &committee, terms: &terms, list: &list };
        let updates = models.iter().enumerate().map(|(i, model)| round.update(i, model)).collect();
        Self { committee, terms, players, friends, list, updates, models }
    }

    pub fn round(&self) -> Round<'_> {
        Round { committee: &self.committee, terms: &self.terms, list: &self.list }
    }

    pub fn length(&self) -> usize {
        self.terms.parameters.model_length as usize
    }

    pub fn all(&self) -> Vec<HandUpdate> {
        self.updates.clone()
    }

    pub fn without(&self, updater: PublicSigningKey) -> Vec<HandUpdate> {
        self.updates.iter().filter(|update| update.key() != updater).cloned().collect()
    }

    pub fn decision(&self, updates: &[HandUpdate]) -> Decision {
        self.round().decision(&updates.iter().collect::<Vec<_>>()).expect("sorted")
    }

    /// Every honest member checks all updates; those in `accused` are accused, each by each.
    pub fn check(&mut self, accused: &[PublicSigningKey]) {
        let all = self.all();
        for member in 0..3 {
            let report = self.check_one(member, &all);
            let keys: Vec<_> = report.accused.iter().map(|(key, _)| *key).collect();
            assert_eq!(keys, accused);
        }
    }

    /// One honest member checks these updates; gives its report.
    pub fn check_one(&mut self, member: usize, updates: &[HandUpdate]) -> Report {
        let updates: Vec<_> = updates.iter().collect();
        let shown = Shown::check(&self.round(), self.players[member].id, &updates);
        match &self.players[member].show(&shown)[..] {
            [Said::Report(report)] => report.clone(),
            said => panic!("{said:?} instead of a report; {:?}", self.players[member].events),
        }
    }

    /// What a member sees in the agree phase.
    pub fn agree(
        &self,
        member: usize,
        updates: &[HandUpdate],
        excluded: &[PublicSigningKey],
    ) -> Shown {
        let updates: Vec<_> = updates.iter().collect();
        Shown::agree(&self.round(), self.players[member].id, &updates, excluded)
    }

    /// The votes of these honest members for all of these updates but the excluded ones.
    pub fn vote(
        &mut self,
        members: &[usize],
        updates: &[HandUpdate],
        excluded: &[PublicSigningKey],
    ) -> Vec<Vote> {
        let mut votes = Vec::new();
        for &member in members {
            let shown = self.agree(member, updates, excluded);
            let said = self.players[member].show(&shown);
            votes.extend(said.into_iter().map(|said| match said {
                Said::Vote(vote) => vote,
                said => panic!("{said:?} instead of a vote"),
            }));
        }
        votes
    }

    /// These votes, and those of all of the corrupt group.
    pub fn with_friends(&self, mut votes: Vec<Vote>, decision: &Decision) -> Vec<Vote> {
        votes.extend(self.friends.iter().map(|friend| friend.vote(decision)));
        votes
    }

    /// Shows an honest member a set with votes for it.
    pub fn show_sum(
        &self,
        player: &mut Player,
        updates: &[HandUpdate],
        excluded: &[PublicSigningKey],
        votes: &[Vote],
    ) {
        let member = usize::from(player.id.index);
        let shown = self.agree(member, updates, excluded).sum2(votes.to_vec(), player.id);
        player.show(&shown);
    }

    /// The same with one of the scene's own; gives its mask, if it sends one.
    pub fn sum(
        &mut self,
        member: usize,
        updates: &[HandUpdate],
        excluded: &[PublicSigningKey],
        votes: &[Vote],
    ) -> Option<(GroupMaskHeader, Vec<u8>)> {
        let shown = self.agree(member, updates, excluded);
        let player = &mut self.players[member];
        let shown = shown.sum2(votes.to_vec(), player.id);
        player.show(&shown);
        player.masks().pop()
    }

    /// Whether a member has refused something like this.
    pub fn has_refused(&self, member: usize, like: impl Fn(&Refusal) -> bool) -> bool {
        has_refused(&self.players[member], like)
    }
}

/// Whether a member has refused something like this.
pub fn has_refused(player: &Player, like: impl Fn(&Refusal) -> bool) -> bool {
    player
        .events
        .iter()
        .any(|event| matches!(event, Event::Refused { refusal, .. } if like(refusal)))
}
