//! What must hold, whatever happens.

use std::collections::{BTreeMap, BTreeSet};

use pet_core::crypto::PublicSigningKey;
use pet_core::v2::coordinator::Completed;
use pet_core::v2::member::{Member, Settings};
use pet_core::v2::{
    Announcement, Announcements, Context, DecisionHash, MemberId, Roster, Terms, Vote,
};
use thiserror::Error;

use super::actors::trained;
use crate::v2::by_hand::{root, Committee};
use crate::v2::words;

/// A rule that was broken.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum Violation {
    /// Two decisions with majorities of an honest group.
    #[error("two decisions of one context have the votes of a majority of honest group {group}: {first} and {second}")]
    TwoDecisions {
        /// The group.
        group: u8,
        /// One.
        first: DecisionHash,
        /// The other.
        second: DecisionHash,
    },
    /// Two certified sets in one context.
    #[error("round {0} was completed twice, with different sets")]
    CompletedTwice(u64),
    /// Something left before it was stored.
    #[error("member {member} has sent its {what} before the promise was stored")]
    BeforeStored {
        /// Who.
        member: MemberId,
        /// What.
        what: &'static str,
    },
    /// An accepted update is nowhere.
    #[error("the update of {updater} was accepted in round {round}, and is neither in the set nor excluded")]
    Lost {
        /// In which round.
        round: u64,
        /// Whose.
        updater: PublicSigningKey,
    },
    /// The model is not the mean.
    #[error(
        "weight {weight} of the model of round {round} is {found}, and the mean is {expected}"
    )]
    WrongMean {
        /// In which round.
        round: u64,
        /// Which weight.
        weight: usize,
        /// What the model says.
        found: f64,
        /// What it should be.
        expected: f64,
    },
    /// A certificate that does not hold.
    #[error("the certificate of round {0} does not hold: {1}")]
    Certificate(u64, String),
    /// Somebody is in the set who must not be.
    #[error("an update whose boxes are bad is in the model of round {0}")]
    BadUpdate(u64),
    /// Something is larger than it may be.
    #[error("there are {count} {what}, and {most} is the most that there may be")]
    Unbounded {
        /// What.
        what: &'static str,
        /// How many.
        count: u64,
        /// The most.
        most: u64,
    },
    /// A machine that waits for nothing.
    #[error("actor {0} waits for nothing")]
    WaitsForNothing(usize),
    /// Nothing goes on.
    #[error("in {0} seconds after the storm no round was completed; the last failure: {1}")]
    NoProgress(u64, String),
}

impl Violation {
    /// Whether the same rule is broken.
    pub fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// Whose votes there are for a decision.
type Voters = BTreeMap<DecisionHash, BTreeSet<MemberId>>;

/// Keeps account of all that honest participants have signed.
#[derive(Debug, Default)]
pub struct Watch {
    votes: BTreeMap<Context, Voters>,
    /// Decisions that anybody was shown, by context.
    shown: BTreeMap<Context, BTreeSet<DecisionHash>>,
    completed: BTreeMap<Context, DecisionHash>,
    /// Whose uploads were acknowledged in full.
    accepted: BTreeMap<Context, BTreeSet<PublicSigningKey>>,
    /// How many rounds were completed.
    pub rounds: u64,
}

impl Watch {
    /// A decision was shown to somebody.
    pub fn shown(&mut self, context: Context, decision: DecisionHash) {
        self.shown.entry(context).or_default().insert(decision);
    }

    /// All chunks of an update were acknowledged.
    pub fn accepted(&mut self, context: Context, updater: PublicSigningKey) {
        self.accepted.entry(context).or_default().insert(updater);
    }

    /// An honest member sends its announcement; this is on its disk.
    ///
    /// # Errors
    /// If it has not promised that.
    pub fn announces(
        &mut self,
        announcement: &Announcement,
        context: &Context,
        disk: &[u8],
    ) -> Result<(), Violation> {
        let promise = promise(disk);
        let is_there = promise.contains(&hex(context.as_bytes()))
            && promise.contains(&hex(announcement.vote_key.as_bytes()));
        let member = announcement.member;
        is_there.then_some(()).ok_or(Violation::BeforeStored { member, what: "announcement" })
    }

    /// An honest member sends its vote; this is on its disk.
    ///
    /// # Errors
    /// If it has not promised that, or there are two decisions now.
    pub fn votes(
        &mut self,
        roster: &Roster,
        is_honest: impl Fn(MemberId) -> bool,
        list: &Announcements,
        context: &Context,
        vote: &Vote,
        disk: &[u8],
    ) -> Result<(), Violation> {
        let member = vote.member;
        let Some(announced) = list.get(member) else { return Ok(()) };
        let shown = self.shown.entry(*context).or_default();
        let Some(decision) =
            shown.iter().find(|decision| vote.verify(&announced.vote_key, decision)).copied()
        else {
            return Ok(());
        };
        if !promise(disk).contains(&format!("vote: Some(DecisionHash({}", hex(decision.as_bytes())))
        {
            return Err(Violation::BeforeStored { member, what: "vote" });
        }
        let voters = self.votes.entry(*context).or_default();
        voters.entry(decision).or_default().insert(member);
        // Only groups that are honest as a whole promise anything.
        let is_whole = roster.members().filter(|(id, _)| id.group == member.group);
        if !is_whole.into_iter().all(|(id, _)| is_honest(id)) {
            return Ok(());
        }
        let count = |voters: &BTreeSet<MemberId>| {
            voters.iter().filter(|voter| voter.group == member.group).count()
        };
        let mut certified = voters.iter().filter(|(_, voters)| count(voters) >= roster.majority());
        match (certified.next(), certified.next()) {
            (Some((first, _)), Some((second, _))) => {
                Err(Violation::TwoDecisions { group: member.group, first: *first, second: *second })
            }
            _ => Ok(()),
        }
    }

    /// A round was completed.
    ///
    /// # Errors
    /// If its model is not the mean of its set, or anything else about it is wrong.
    pub fn completed(
        &mut self,
        committee: &Committee,
        completed: &Completed,
        bad: &BTreeSet<PublicSigningKey>,
    ) -> Result<(), Violation> {
        let certificate = &completed.certificate;
        let terms: &Terms = &certificate.terms;
        let (round, context) = (terms.round, terms.context());
        certificate
            .verify(&committee.roster, &committee.pin())
            .map_err(|error| Violation::Certificate(round, error.to_string()))?;
        let decision = certificate.decision.digest();
        match self.completed.insert(context, decision) {
            None => {}
            // The record was written again after a crash.
            Some(before) if before == decision => return Ok(()),
            Some(_) => return Err(Violation::CompletedTwice(round)),
        }
        let length = terms.parameters.model_length as usize;
        let mut sum = vec![0u64; length];
        let mut count = 0;
        for (number, keys) in committee.updaters.iter().enumerate() {
            let updater = keys.public();
            let is_in = completed.includes(&updater);
            if is_in {
                count += 1;
                let encoded = words::encode(&trained(number, length));
                sum.iter_mut().zip(encoded).for_each(|(sum, n)| *sum += u64::from(n));
            }
            if is_in && bad.contains(&updater) {
                return Err(Violation::BadUpdate(round));
            }
        }
        let found = crate::world::floats(&completed.model);
        for (weight, (sum, found)) in sum.into_iter().zip(found).enumerate() {
            let expected = sum as f64 / (words::STEPS * f64::from(count)) - 1.0;
            if (expected - found).abs() > f64::from(f32::EPSILON) * expected.abs().max(2e-7) {
                return Err(Violation::WrongMean { round, weight, found, expected });
            }
        }
        let accepted = self.accepted.remove(&context).unwrap_or_default();
        let excluded = completed.excluded();
        let mut missing = accepted.iter().filter(|updater| !completed.includes(updater));
        let count = missing.clone().count() as u64;
        if count > excluded {
            let updater = *missing.next().expect("there are some");
            return Err(Violation::Lost { round, updater });
        }
        self.rounds += 1;
        Ok(())
    }

    /// # Errors
    /// If there are more than `most`.
    pub fn bounded(what: &'static str, count: u64, most: u64) -> Result<(), Violation> {
        (count <= most).then_some(()).ok_or(Violation::Unbounded { what, count, most })
    }
}

/// What a member's stored state promises, as text.
fn promise(disk: &[u8]) -> String {
    let member = Member::restore(disk, root(23, 0), Settings::default()).expect("a good state");
    let text = format!("{member:?}");
    let from = text.find(" promise: ").expect("a field");
    let to = text[from..].find(", roster: ").expect("the next field");
    text[from..from + to].to_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
