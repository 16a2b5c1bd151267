//! What a run is made of.

use std::time::Duration;

use pet_core::v2::Phase;

use crate::sim::random::Random;

/// What a lying member does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LieKind {
    /// Sends a mask that is none, properly signed.
    WrongMask,
    /// Accuses every updater.
    AccuseEveryone,
    /// Is not heard of any more from this phase of each round on.
    Vanish(Phase),
    /// Votes with a signature of another key.
    WrongVote,
    /// Signs a digest and never sends its mask.
    KeepMask,
}

impl LieKind {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::WrongMask,
        Self::AccuseEveryone,
        Self::Vanish(Phase::Check),
        Self::Vanish(Phase::Sum2),
        Self::WrongVote,
        Self::KeepMask,
    ];
}

/// What a lying updater does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheatKind {
    /// Sends a broken box to every member.
    BadBoxes,
    /// Sends a broken box to one member.
    OneBadBox,
    /// Commits to other seeds than it seals.
    OtherSeeds,
    /// Stops in the middle of its upload.
    HalfAnUpload,
}

impl CheatKind {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::BadBoxes, Self::OneBadBox, Self::OtherSeeds, Self::HalfAnUpload];
}

/// A run: two of equal scenarios are equal, step by step.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// What everything random follows from.
    pub seed: u64,
    /// How many groups.
    pub groups: usize,
    /// How many members each has.
    pub members: usize,
    /// How many honest updaters.
    pub updaters: usize,
    /// Weights of a model.
    pub length: u64,
    /// Which members lie, by their place in the roster, and how.
    pub liars: Vec<(usize, LieKind)>,
    /// How the other updaters cheat.
    pub cheats: Vec<CheatKind>,
    /// The share of requests, and of answers, that are lost.
    pub loss: f64,
    /// The share of messages that come twice.
    pub doubled: f64,
    /// The mean time between two crashes of anyone, during the storm; zero for none.
    pub crashes: Duration,
    /// Whether the coordinator crashes as well.
    pub server_crashes: bool,
    /// The share of rounds in which the coordinator shows some members another set.
    pub splits: f64,
    /// How long it goes on like this.
    pub storm: Duration,
    /// Within which time after it two rounds must be completed.
    pub patience: Duration,
    /// Whether members are told that their states are stored before they are: a faulty driver, which must be found.
    pub confirms_early: bool,
}

impl Scenario {
    /// In which nothing goes wrong.
    pub fn calm(seed: u64) -> Self {
        Self {
            seed,
            groups: 3,
            members: 3,
            updaters: 4,
            length: 3,
            liars: Vec::new(),
            cheats: Vec::new(),
            loss: 0.0,
            doubled: 0.0,
            crashes: Duration::ZERO,
            server_crashes: false,
            splits: 0.0,
            storm: Duration::ZERO,
            patience: Duration::from_secs(1800),
            confirms_early: false,
        }
    }

    /// One of all kinds. At most a minority of each group lies.
    pub fn random(seed: u64) -> Self {
        let mut random = Random::new(seed).fork("scenario", 0);
        let groups = random.between(1, 3) as usize;
        let members = random.pick(&[1, 3, 3, 3, 5]);
        let mut liars = Vec::new();
        for group in 0..groups {
            for index in 0..members / 2 {
                if random.chance(0.4) {
                    // Not always the first ones.
                    let place = group * members
                        + (index + random.below(2) as usize * (members / 2 + 1)) % members;
                    if liars.iter().all(|(other, _)| *other != place) {
                        liars.push((place, random.pick(&LieKind::ALL)));
                    }
                }
            }
        }
        let cheats = (0..random.below(3)).map(|_| random.pick(&CheatKind::ALL)).collect();
        let is_rough = random.chance(0.7);
        let share = |random: &mut Random, most: u64| random.below(most) as f64 / 1000.0;
        Self {
            seed,
            groups,
            members,
            updaters: random.between(4, 7) as usize,
            length: random.between(1, 5),
            liars,
            cheats,
            loss: if is_rough { share(&mut random, 150) } else { 0.0 },
            doubled: if is_rough { share(&mut random, 100) } else { 0.0 },
            crashes: match random.below(3) {
                0 => Duration::ZERO,
                _ => Duration::from_secs(random.between(5, 60)),
            },
            server_crashes: random.chance(0.5),
            splits: if random.chance(0.5) { 0.4 } else { 0.0 },
            storm: Duration::from_secs(random.between(60, 400)),
            patience: Duration::from_secs(1800),
            confirms_early: false,
        }
    }
}
