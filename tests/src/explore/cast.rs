//! Who takes part, and within which bounds.

use std::time::Duration;

use pet_core::coordinator::{
    Coordinator, CountRange, Input, Output, Settings, Sum2Settings, SumSettings, TimeRange,
    UpdateSettings,
};
use pet_core::crypto::{
    EncryptKeyPair, PublicSigningKey, Purpose, RootSeed, Seed, SigningKeyPair, Task, TaskSignatures,
};
use pet_core::mask::MaskConfig;
use pet_core::message::ReassemblyLimits;
use pet_core::model::Model;
use pet_core::round::RoundParameters;
use pet_core::time::Timestamp;

/// The shortest time of a phase, where it has one.
pub(super) const MIN_TIME: Duration = Duration::from_secs(1);
/// The longest time of a phase.
pub(super) const MAX_TIME: Duration = Duration::from_secs(60);

/// What to explore: a federation, and how much may go wrong on one path.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many sum participants there are.
    pub summers: usize,
    /// How many of them the round needs.
    pub summers_needed: usize,
    /// How many update participants there are; a round needs three.
    pub updaters: usize,
    /// How many rounds; what comes after is not looked at.
    pub rounds: u64,
    /// Whether phases have a minimal time, so that more messages than needed can come.
    pub min_time: bool,
    /// Whether phases can run out of time.
    pub timeouts: bool,
    /// Whether records are stored at any later moment, rather than at once.
    pub slow_store: bool,
    /// How many requests or answers are lost.
    pub losses: u8,
    /// How many messages come twice, the second at any later moment.
    pub duplicates: u8,
    /// How many messages are opened long before the machine gets them.
    pub slow: u8,
    /// How often the coordinator crashes, and is restored from what was last stored.
    pub server_crashes: u8,
    /// How often a participant crashes, and is restored from its latest snapshot or its very first.
    pub client_crashes: u8,
    /// A defect, to see that it is found: the store confirms and keeps nothing.
    pub lying_store: bool,
}

impl Default for Plan {
    /// One sum participant, three update participants, one round, and nothing goes wrong but the time.
    fn default() -> Self {
        Self {
            summers: 1,
            summers_needed: 1,
            updaters: 3,
            rounds: 1,
            min_time: false,
            timeouts: true,
            slow_store: false,
            losses: 0,
            duplicates: 0,
            slow: 0,
            server_crashes: 0,
            client_crashes: 0,
            lying_store: false,
        }
    }
}

/// A participant's secrets.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub keys: SigningKeyPair,
    pub root: RootSeed,
}

/// All who take part.
#[derive(Clone, Debug)]
pub struct Cast {
    pub(super) settings: Settings,
    pub(super) root: RootSeed,
    pub(super) members: Vec<Member>,
    /// The parameters of each round, from the first on.
    pub(super) parameters: Vec<RoundParameters>,
}

impl Cast {
    /// Chosen so that the lot gives everyone the wanted role in every round.
    ///
    /// # Panics
    /// If the plan is no federation.
    pub fn new(plan: &Plan) -> Self {
        let min = if plan.min_time { MIN_TIME } else { Duration::ZERO };
        let time = TimeRange { min, max: MAX_TIME };
        let count = CountRange { min: plan.summers_needed as u64, max: plan.summers as u64 };
        let config: MaskConfig = "Prime/F32/B0/M3".parse().expect("a known config");
        // Small limits, so that what is stored has a bound that means something.
        let settings = Settings::new(
            SumSettings::new(0.5, count, time),
            UpdateSettings::new(1.0, CountRange { min: 3, max: 9 }, time),
            Sum2Settings::new(count, time),
            config,
            1,
        )
        .with_reassembly(ReassemblyLimits::default().with_bytes(1 << 12, 1 << 12));
        let root = RootSeed::new([77; 32]);
        let parameters = parameters(&settings, &root, plan.rounds + 1);
        let roles = [(Task::Sum, plan.summers), (Task::Update, plan.updaters)];
        let mut numbers = 0u32..;
        let mut members = Vec::new();
        for (task, count) in roles {
            let found = numbers.by_ref().map(member).filter(|member| {
                parameters[..plan.rounds as usize].iter().all(|parameters| {
                    let signatures = TaskSignatures::sign(&member.keys, &parameters.seed);
                    signatures.task(parameters.sum, parameters.update) == task
                })
            });
            members.extend(found.take(count));
        }
        Self { settings, root, members, parameters }
    }

    /// The number of a round, by its parameters.
    pub(super) fn round_of(&self, parameters: &RoundParameters) -> u64 {
        let index = self.parameters.iter().position(|known| known == parameters);
        index.expect("the parameters of every round are known") as u64 + 1
    }

    /// A round's keys.
    pub(super) fn round_keys(&self, round: u64) -> EncryptKeyPair {
        EncryptKeyPair::from_seed(&self.root.derive(Purpose::RoundKey, &[&round.to_le_bytes()]))
    }

    /// Who that is.
    pub(super) fn member(&self, key: &PublicSigningKey) -> usize {
        let index = self.members.iter().position(|member| member.keys.public() == *key);
        index.expect("everyone is known")
    }

    /// What a participant trains: another model in each round, and after each crash. Powers of two:
    /// every sum of different ones tells which they are.
    pub(super) fn model(&self, member: usize, round: u64, crashes: u8) -> Model {
        let nth = (round as usize - 1) * 4 + usize::from(crashes.min(3));
        let exponent = 1 + nth * self.members.len() + member;
        Model::F32(vec![0.5f32.powi(exponent as i32)])
    }
}

fn member(number: u32) -> Member {
    let mut seed = [11; 32];
    seed[..4].copy_from_slice(&number.to_le_bytes());
    Member { keys: SigningKeyPair::from_seed(&Seed::new(seed)), root: RootSeed::new(seed) }
}

/// The parameters of the first rounds: they do not depend on how rounds end.
fn parameters(settings: &Settings, root: &RootSeed, rounds: u64) -> Vec<RoundParameters> {
    let mut now = Timestamp::ZERO;
    let mut machine =
        Coordinator::new(settings.clone(), root.clone(), now).expect("a plan has valid settings");
    let mut parameters = Vec::new();
    loop {
        parameters.push(RoundParameters::clone(machine.parameters()));
        if parameters.len() as u64 >= rounds {
            return parameters;
        }
        now = now + MAX_TIME;
        machine.handle_input(now, Input::Tick).expect("it runs");
        loop {
            match machine.poll_output() {
                Output::Persist { id, .. } => {
                    machine.handle_input(now, Input::Persisted(id)).expect("it runs");
                }
                Output::Idle(_) => break,
                _ => {}
            }
        }
    }
}
