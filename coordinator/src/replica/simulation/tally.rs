//! How often what may go wrong did: what never happens is not tested.

use std::collections::BTreeMap;

/// Something that goes wrong, and was there when it did harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// Whoever leads is killed.
    LeaderKilled,
    /// One that does not lead.
    OtherKilled,
    /// Whoever leads stops as after `SIGTERM`.
    LeaderStopped,
    OtherStopped,
    /// A replica stands still for longer than its lease.
    StoodTooLong,
    /// One that has led stands still, and goes on when another one leads.
    ZombieLeader,
    /// Something was written in an epoch that was over, and refused.
    Fenced,
    /// Something was written behind an entry that was not the last, and refused.
    NotTheLast,
    LeaderCutOff,
    OtherCutOff,
    EngineStood,
    EngineClockAhead,
    EngineClockBack,
    /// A call to the engine never arrives.
    CallLost,
    /// The answer to one never arrives.
    AnswerLost,
    CallLate,
    CallDoubled,
    /// The same, of entries.
    AppendLost,
    AppendUnanswered,
    AppendLate,
    AppendDoubled,
    /// Calls to the engine take long.
    Slow,
    /// A replica's clock counts too many seconds.
    ClockFast,
    /// Too few.
    ClockSlow,
    ClockJumped,
    /// What a participant asks never arrives.
    RequestLost,
    /// What it is answered.
    ResponseLost,
    /// A participant asks another replica than before, although that is there.
    Wandered,
}

impl Trouble {
    /// All of them.
    pub const ALL: [Self; 28] = [
        Self::LeaderKilled,
        Self::OtherKilled,
        Self::LeaderStopped,
        Self::OtherStopped,
        Self::StoodTooLong,
        Self::ZombieLeader,
        Self::Fenced,
        Self::NotTheLast,
        Self::LeaderCutOff,
        Self::OtherCutOff,
        Self::EngineStood,
        Self::EngineClockAhead,
        Self::EngineClockBack,
        Self::CallLost,
        Self::AnswerLost,
        Self::CallLate,
        Self::CallDoubled,
        Self::AppendLost,
        Self::AppendUnanswered,
        Self::AppendLate,
        Self::AppendDoubled,
        Self::Slow,
        Self::ClockFast,
        Self::ClockSlow,
        Self::ClockJumped,
        Self::RequestLost,
        Self::ResponseLost,
        Self::Wandered,
    ];
}

/// How often each has happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<Trouble, u64>);

impl Tally {
    pub fn note(&mut self, trouble: Trouble) {
        *self.0.entry(trouble).or_default() += 1;
    }

    /// With those of another run.
    pub fn add(&mut self, other: &Self) {
        for (trouble, times) in &other.0 {
            *self.0.entry(*trouble).or_default() += times;
        }
    }

    /// What has not happened at all.
    pub fn missing(&self) -> Vec<Trouble> {
        Trouble::ALL.into_iter().filter(|trouble| !self.0.contains_key(trouble)).collect()
    }
}
