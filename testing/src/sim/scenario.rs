//! What is simulated: how many participants, which settings, and what goes wrong.

use std::ops::Range;
use std::time::Duration;

use pet_core::coordinator::{
    CountRange, Settings, Sum2Settings, SumSettings, TimeRange, UpdateSettings,
};
use pet_core::mask::MaskConfig;
use pet_core::message::ReassemblyLimits;

use super::lies::Lie;
use super::random::Random;

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Fault {
    /// A request does not arrive.
    LoseRequest,
    /// An answer does not arrive.
    LoseAnswer,
    /// A message arrives twice.
    Duplicate,
    /// A request or an answer takes very long, and is overtaken.
    Delay,
    /// A participant is cut off for a while.
    CutOff,
    /// A participant crashes, and is restored later.
    Crash,
    /// A crashed participant is restored from an older snapshot.
    OldSnapshot,
    /// A participant's job is lost.
    JobLost,
    /// The coordinator crashes, and is restored from what was stored.
    ServerCrash,
    /// The store was volatile: a crashed coordinator begins anew.
    Amnesia,
    /// A job of the coordinator is lost.
    ServerJobLost,
    /// The store takes very long.
    SlowStore,
    /// A participant that lies does so with its next message.
    Lie,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::LoseRequest,
        Self::LoseAnswer,
        Self::Duplicate,
        Self::Delay,
        Self::CutOff,
        Self::Crash,
        Self::OldSnapshot,
        Self::JobLost,
        Self::ServerCrash,
        Self::Amnesia,
        Self::ServerJobLost,
        Self::SlowStore,
        Self::Lie,
    ];
}

/// How often each thing goes wrong, from 0 to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Faults([f64; Fault::ALL.len()]);

impl Faults {
    /// Nothing ever does.
    pub const NONE: Self = Self([0.0; Fault::ALL.len()]);

    /// These do, each with its share.
    pub fn of(shares: &[(Fault, f64)]) -> Self {
        let mut faults = Self::NONE;
        for (fault, share) in shares {
            faults.0[*fault as usize] = *share;
        }
        faults
    }

    /// Everything does, so rarely that rounds come to their end.
    pub fn some_of_everything() -> Self {
        Self::of(&[
            (Fault::LoseRequest, 0.05),
            (Fault::LoseAnswer, 0.05),
            (Fault::Duplicate, 0.05),
            (Fault::Delay, 0.05),
            (Fault::CutOff, 0.005),
            (Fault::Crash, 0.01),
            (Fault::OldSnapshot, 0.5),
            (Fault::JobLost, 0.05),
            (Fault::ServerCrash, 0.01),
            (Fault::Amnesia, 0.2),
            (Fault::ServerJobLost, 0.05),
            (Fault::SlowStore, 0.05),
            (Fault::Lie, 0.7),
        ])
    }

    /// Some kinds of faults at random, each rare or frequent.
    pub fn random(random: &mut Random) -> Self {
        let mut faults = Self::some_of_everything();
        for share in &mut faults.0 {
            *share = match random.below(4) {
                0 | 1 => 0.0,
                2 => *share,
                _ => (*share * 4.0).min(1.0),
            };
        }
        faults
    }

    /// How often this happens.
    pub fn share(&self, fault: Fault) -> f64 {
        self.0[fault as usize]
    }

    /// Without one kind.
    pub fn without(&self, fault: Fault) -> Self {
        let mut faults = self.clone();
        faults.0[fault as usize] = 0.0;
        faults
    }

    /// Those that can happen.
    pub fn kinds(&self) -> impl Iterator<Item = (Fault, f64)> + '_ {
        let all = Fault::ALL.into_iter().map(|fault| (fault, self.share(fault)));
        all.filter(|(_, share)| *share > 0.0)
    }
}

/// A run: it follows from this, bit for bit.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// What everything random follows from.
    pub seed: u64,
    /// How many participants there are.
    pub participants: u64,
    /// How many of 100 participants lie.
    pub liars: u64,
    /// How many of 100 participants split their messages.
    pub splitters: u64,
    /// The coordinator's settings.
    pub settings: Settings,
    /// For how long things go wrong.
    pub storm: Duration,
    /// How many rounds must be completed in the calm after it.
    pub calm_rounds: u64,
    /// How often things go wrong.
    pub faults: Faults,
    /// Which lies are told.
    pub lies: Vec<Lie>,
    /// Which of the faults happen, counted in the order in which they would: for shrinking.
    pub window: Range<u64>,
}

fn seconds(min: u64, max: u64) -> TimeRange {
    TimeRange { min: Duration::from_secs(min), max: Duration::from_secs(max) }
}

impl Scenario {
    /// A few participants, everything goes wrong for ten minutes.
    pub fn small(seed: u64) -> Self {
        Self {
            seed,
            participants: 40,
            liars: 30,
            splitters: 30,
            settings: Settings::new(
                SumSettings::new(0.2, CountRange { min: 3, max: 12 }, seconds(5, 60)),
                UpdateSettings::new(0.8, CountRange { min: 5, max: 60 }, seconds(15, 90)),
                Sum2Settings::new(CountRange { min: 2, max: 12 }, seconds(10, 90)),
                config("Prime/F32/B0/M3"),
                8,
            )
            .with_reassembly(ReassemblyLimits::default().with_bytes(1 << 17, 1 << 14)),
            storm: Duration::from_secs(600),
            calm_rounds: 2,
            faults: Faults::some_of_everything(),
            lies: Lie::ALL.to_vec(),
            window: 0..u64::MAX,
        }
    }

    /// A random mix of faults, lies, sizes and mask configs.
    pub fn random(seed: u64) -> Self {
        let mut random = Random::new(seed).fork("scenario", 0);
        let mut scenario = Self::small(seed);
        scenario.participants = random.between(12, 80);
        scenario.liars = random.pick(&[0, 0, 10, 30]);
        scenario.splitters = random.pick(&[0, 30, 100]);
        scenario.faults = Faults::random(&mut random);
        scenario.lies.retain(|_| random.chance(0.6));
        scenario.settings.mask = config(random.pick(&[
            "Prime/F32/B0/M3",
            "Integer/F32/B2/M6",
            "Power2/F64/B0/M3",
            "Prime/F64/Bmax/M3",
            "Integer/I32/B2/M9",
            "Prime/I64/B4/M12",
        ]))
        .into();
        scenario.settings.model_length = random.between(1, 40);
        // Enough of each kind, on average, in the smallest crowd.
        scenario.settings.sum.prob = random.pick(&[0.3, 0.4]);
        scenario.settings.sum.count.min = random.between(1, 2);
        scenario.settings.sum2.count.min = 1;
        scenario.settings.update.count.min = 3;
        scenario
    }

    /// Very many participants, about five of which sum in each round, and a little of everything
    /// that can go wrong.
    pub fn crowd(seed: u64, participants: u64) -> Self {
        let mut scenario = Self::small(seed);
        scenario.participants = participants;
        scenario.liars = 2;
        scenario.splitters = 2;
        scenario.settings.sum.prob = (6.0 / participants as f64).min(0.5);
        scenario.settings.sum.count = CountRange { min: 2, max: 20 };
        scenario.settings.update.prob = 0.5;
        scenario.settings.update.count = CountRange { min: participants / 4, max: participants };
        scenario.settings.update.time = seconds(30, 120);
        scenario.settings.sum2.count.min = 2;
        scenario.settings.sum2.time = seconds(15, 120);
        scenario.settings.mask = config("Prime/F32/B0/M6").into();
        scenario.settings.model_length = 100;
        scenario.settings.reassembly = ReassemblyLimits::default().with_bytes(1 << 22, 1 << 18);
        scenario.storm = Duration::from_secs(300);
        scenario.faults = Faults::of(&[
            (Fault::LoseRequest, 0.01),
            (Fault::LoseAnswer, 0.01),
            (Fault::Duplicate, 0.01),
            (Fault::Delay, 0.02),
            (Fault::CutOff, 0.0005),
            (Fault::Crash, 0.001),
            (Fault::OldSnapshot, 0.5),
            (Fault::JobLost, 0.01),
            (Fault::ServerCrash, 0.000_03),
            (Fault::ServerJobLost, 0.01),
            (Fault::SlowStore, 0.01),
            (Fault::Lie, 0.3),
        ]);
        // With a few percent of liars among thousands one of them seals garbage in every round, and no
        // round would ever end well: the protocol has no remedy for that.
        scenario.lies.retain(|lie| *lie != Lie::SealedGarbage);
        scenario
    }

    /// Without anything that goes wrong.
    pub fn calm(mut self) -> Self {
        self.faults = Faults::NONE;
        self.storm = Duration::ZERO;
        self
    }
}

fn config(name: &str) -> MaskConfig {
    name.parse().expect("a mask config's name")
}
