//! What goes wrong, and when.

use std::time::Duration;

use pet_ledger::memory::Bug;
use pet_testing::sim::random::Random;

use crate::replica::flaws::Flaw;

/// Which replica something goes wrong with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The one with this number.
    Number(usize),
    /// Whoever leads then, if anybody does.
    Leader,
    /// One that does not.
    Other,
}

/// Something that goes wrong. Times are in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// Is killed, and started again after so long.
    Kill(Who, u64),
    /// Stops as after `SIGTERM`, and is started again after so long.
    Stop(Who, u64),
    /// Stands still for so long, its clock does not.
    Stand(Who, u64),
    /// Cannot reach the engine for so long.
    Cut(Who, u64),
    /// The engine does nothing for so long.
    EngineStands(u64),
    /// The engine's clock goes ahead at once, or back: as if all other machines had stood still, with their clocks.
    EngineClock(i64),
    /// A replica's own clock goes so much ahead at once.
    ClockJumps(Who, u64),
    /// No lease that it asks for reaches it, for so long, and all else does.
    Unrenewed(Who, u64),
    /// Of 1000 calls of a replica so many go wrong, for so long.
    Wrong(Who, u64, u64),
    /// Ways to the engine take up to so long, for so long.
    Slow(Who, u64, u64),
}

impl Happening {
    /// Which replica it is about, if it is about one.
    pub fn who(&self) -> Option<Who> {
        match self {
            Self::EngineStands(_) | Self::EngineClock(_) => None,
            Self::Kill(who, ..) | Self::Stop(who, ..) | Self::Stand(who, ..) => Some(*who),
            Self::Cut(who, ..) | Self::ClockJumps(who, ..) => Some(*who),
            Self::Wrong(who, ..) | Self::Slow(who, ..) | Self::Unrenewed(who, ..) => Some(*who),
        }
    }
}

/// A run, which follows from it.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub seed: u64,
    /// How many milliseconds the clock of each replica counts in a second.
    pub rates: Vec<u32>,
    pub participants: usize,
    /// For so long things go wrong.
    pub storm: Duration,
    /// When, in milliseconds.
    pub happenings: Vec<(u64, Happening)>,
    /// Of 1000 requests of participants, and of 1000 answers, so many are lost.
    pub losses: u64,
    /// Of 1000 requests of participants so many go to another replica than the one before, although that is there.
    pub wander: u64,
    /// Whether replicas that do not lead take messages for the one that does.
    pub relays: bool,
    /// A bug of the engine.
    pub bug: Option<Bug>,
    /// A bug of replicas.
    pub flaw: Option<Flaw>,
}

/// Fewer participants than a round needs, mostly.
const SCARCE: usize = 4;
/// How long a storm takes.
const STORM: u64 = 25_000;

impl Scenario {
    /// A random one.
    pub fn random(seed: u64) -> Self {
        let mut random = Random::new(seed).fork("scenario", 0);
        let style = random.pick(&[
            Style::Mixed,
            Style::Mixed,
            Style::SlowKills,
            Style::Lossy,
            Style::Kills,
            Style::Zombies,
            Style::Behind,
        ]);
        Self::of(style, seed)
    }

    /// A random one of a style.
    pub fn of(style: Style, seed: u64) -> Self {
        let mut random = Random::new(seed).fork("scenario", 1);
        let replicas = random.pick(&[2, 3, 3, 3, 4]);
        let scarce = random.chance(if style == Style::Kills { 0.5 } else { 0.05 });
        let participants = if scarce { SCARCE as u64 } else { random.between(8, 12) };
        let mut happenings = style.happenings(&mut random, replicas);
        let storm = happenings.iter().map(|(at, _)| *at).max().unwrap_or(0).max(STORM);
        happenings.sort_by_key(|(at, _)| *at);
        // No clock is worse than by a tenth.
        let is_right = random.chance(0.4);
        let rates =
            (0..replicas).map(|_| if is_right { 1000 } else { random.between(900, 1100) as u32 });
        let scenario = Self {
            seed,
            rates: rates.collect(),
            participants: participants as usize,
            storm: Duration::from_millis(storm),
            happenings,
            losses: random.pick(&[0, 0, 10, 50]),
            wander: random.pick(&[0, 10, 300]),
            relays: random.chance(0.75),
            bug: None,
            flaw: None,
        };
        match style {
            Style::Zombies | Style::Behind => Self { wander: 300, relays: true, ..scenario },
            Style::Replaced => Self { wander: 500, relays: true, participants: 12, ..scenario },
            Style::Each => Self { losses: 50, wander: 300, participants: 10, ..scenario },
            _ => scenario,
        }
    }

    /// Whether there are so few participants that rounds fail.
    pub fn is_scarce(&self) -> bool {
        self.participants <= SCARCE
    }

    /// Leaders are killed as soon as they lead, and there are too few participants to get on before a phase's time is over.
    pub fn with_churn(self) -> Self {
        let storm = 45_000;
        let kills = (1500..storm).step_by(3200);
        let happenings = kills.map(|at| (at, Happening::Kill(Who::Leader, 500))).collect();
        Self { happenings, participants: SCARCE, storm: Duration::from_millis(storm), ..self }
    }

    /// Without anything that goes wrong.
    pub fn calm(seed: u64) -> Self {
        let storm = Duration::from_secs(2);
        let participants = 10;
        let calm = Self::of(Style::Mixed, seed);
        let rates = vec![1000; calm.rates.len()];
        Self { happenings: Vec::new(), losses: 0, storm, participants, rates, ..calm }
    }
}

/// What kind of things go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Anything.
    Mixed,
    /// Leaders get slow, and are killed or stopped.
    SlowKills,
    /// Much of what leaders say or hear is lost, late or doubled; and they lose their lease.
    Lossy,
    /// One leader after the other goes.
    Kills,
    /// Leaders do not know for a while that others lead, and participants ask them none the less.
    Zombies,
    /// The engine is slow for all, so that followers are behind, also when they get the lease; and participants ask them.
    Behind,
    /// Leaders are replaced all the time while what they write is on its way, and most messages come by letter.
    Replaced,
    /// Each kind of happening once, in any order, with clocks that are all wrong.
    Each,
}

impl Style {
    fn happenings(self, random: &mut Random, replicas: u64) -> Vec<(u64, Happening)> {
        let mut happenings = Vec::new();
        let mut at = random.between(500, 4000);
        match self {
            Self::Mixed => {
                for _ in 0..random.between(2, 12) {
                    happenings.push((random.below(STORM), happening(random, replicas)));
                }
            }
            Self::SlowKills => {
                while at < STORM {
                    happenings
                        .push((at, Happening::Slow(Who::Leader, random.between(50, 500), 3000)));
                    let end = match random.below(3) {
                        0 => Happening::Stop(Who::Leader, random.between(500, 2000)),
                        1 => Happening::EngineClock(random.between(1000, 4000) as i64),
                        _ => Happening::Kill(Who::Leader, random.between(500, 2000)),
                    };
                    happenings.push((at + random.between(300, 2500), end));
                    at += random.between(4000, 8000);
                }
            }
            Self::Lossy => {
                while at < STORM {
                    happenings.push((
                        at,
                        Happening::Wrong(Who::Leader, random.pick(&[100, 300, 500]), 4000),
                    ));
                    let long = random.between(500, 6000);
                    let end = match random.below(4) {
                        0 => Happening::Cut(Who::Leader, long),
                        1 => Happening::Stand(Who::Leader, long),
                        2 => Happening::EngineClock(random.between(1000, 4000) as i64),
                        _ => Happening::Stop(Who::Leader, long),
                    };
                    happenings.push((at + random.between(300, 3500), end));
                    at += random.between(3000, 8000);
                }
            }
            Self::Kills => {
                while at < STORM {
                    let end = match random.below(4) {
                        0 => Happening::Stop(Who::Leader, random.between(100, 2000)),
                        _ => Happening::Kill(Who::Leader, random.between(100, 2000)),
                    };
                    happenings.push((at, end));
                    at += random.between(3300, 4200);
                }
            }
            Self::Zombies => {
                while at < STORM {
                    let long = random.between(5000, 9000);
                    happenings.push(match random.below(3) {
                        0 => (at, Happening::Stand(Who::Leader, long - 1000)),
                        _ => (at, Happening::Cut(Who::Leader, long)),
                    });
                    at += long + random.between(500, 2000);
                }
            }
            Self::Behind => {
                for number in 0..replicas {
                    let slow = Who::Number(number as usize);
                    happenings.push((0, Happening::Slow(slow, random.between(300, 800), STORM)));
                }
                while at < STORM {
                    let long = random.between(100, 1000);
                    let lease_is_over = Happening::EngineClock(4000);
                    match random.below(4) {
                        0 => happenings.push((at, Happening::Kill(Who::Leader, long))),
                        1 => happenings.push((at, Happening::Stop(Who::Leader, long))),
                        _ => {
                            happenings.push((at, Happening::Unrenewed(Who::Leader, 2500)));
                            happenings.push((at, lease_is_over));
                        }
                    }
                    at += random.between(1500, 4000);
                }
            }
            Self::Replaced => {
                for number in 0..replicas {
                    let slow = Who::Number(number as usize);
                    happenings.push((0, Happening::Slow(slow, random.between(150, 500), STORM)));
                }
                while at < STORM {
                    happenings.push((at, Happening::Unrenewed(Who::Leader, 2500)));
                    happenings.push((at, Happening::EngineClock(4000)));
                    at += random.between(1200, 2400);
                }
            }
            Self::Each => {
                let mut each = each(random);
                while !each.is_empty() {
                    let next = random.below(each.len() as u64) as usize;
                    happenings.push((at, each.swap_remove(next)));
                    at += random.between(1500, 2500);
                }
            }
        }
        happenings
    }
}

/// Each kind of happening, with whoever leads and with others.
fn each(random: &mut Random) -> Vec<Happening> {
    use Happening::{ClockJumps, Cut, EngineClock, EngineStands, Kill, Slow, Stand, Stop, Wrong};
    let mut each =
        vec![EngineStands(1500), EngineStands(4000), EngineClock(4000), EngineClock(-3000)];
    for who in [Who::Leader, Who::Other] {
        let mut long = || random.between(3500, 6000);
        each.extend([Kill(who, 1000), Stop(who, 1000), Stand(who, long()), Cut(who, long())]);
        each.extend([Wrong(who, 400, 6000), Slow(who, 300, 4000), ClockJumps(who, 4000)]);
    }
    each
}

fn happening(random: &mut Random, replicas: u64) -> Happening {
    let who = Who::Number(random.below(replicas) as usize);
    let (short, long) = (random.between(10, 1500), random.between(500, 9000));
    match random.below(18) {
        0 => Happening::Kill(who, long),
        1 | 2 => Happening::Kill(Who::Leader, long),
        3 => Happening::Stop(who, long),
        4 => Happening::Stop(Who::Leader, long),
        5 => Happening::Stand(who, long),
        6 | 7 => Happening::Stand(Who::Leader, long),
        8 => Happening::Cut(who, long),
        9 => Happening::Cut(Who::Leader, long),
        10 => Happening::EngineStands(short),
        11 => Happening::EngineStands(long),
        12 => Happening::EngineClock(random.between(500, 8000) as i64),
        13 => Happening::EngineClock(-(random.between(100, 4000) as i64)),
        14 => Happening::Wrong(who, random.pick(&[20, 100, 300]), long),
        15 => Happening::Slow(who, random.pick(&[30, 200, 800]), long),
        _ => Happening::ClockJumps(who, long),
    }
}
