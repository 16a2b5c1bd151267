//! Keeps account of what is accepted, and checks what is published against it.
//!
//! The ledger sees what no party of the protocol does: each update before it is masked. It is told of
//! each record of the coordinator, so it knows which updates the coordinator has accepted; from both
//! follows what the global model must be, exactly.

use std::collections::{BTreeMap, BTreeSet};

use num_bigint::BigInt;
use num_rational::BigRational;
use pet_core::coordinator::{Front, GlobalModel, Record};
use pet_core::crypto::{Blake2b, Digest, PublicSigningKey, RoundSeed};
use pet_core::mask::DataType;
use pet_core::message::{LocalSeedDict, Tag};
use pet_core::model::{ratio, Model};
use pet_core::round::{SeedDict, SumDict};

use super::violation::Violation;

/// A local model with its scalar, as whole numbers: each weight is a whole number of
/// [`unit`](Contribution::unit)s, each scalar of quarters. No mask config rounds such numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contribution {
    /// The weights.
    pub weights: Vec<i32>,
    /// The scalar.
    pub quarters: u32,
}

impl Contribution {
    /// How many units make 1.
    pub fn unit(data_type: DataType) -> i32 {
        match data_type {
            DataType::F32 | DataType::F64 => 256,
            DataType::I32 | DataType::I64 => 1,
        }
    }

    /// The model, as a participant sets it.
    pub fn model(&self, data_type: DataType) -> Model {
        let unit = Self::unit(data_type);
        let weights = self.weights.iter().copied();
        match data_type {
            DataType::F32 => Model::F32(weights.map(|w| w as f32 / unit as f32).collect()),
            DataType::F64 => Model::F64(weights.map(|w| f64::from(w) / f64::from(unit)).collect()),
            DataType::I32 => Model::I32(weights.collect()),
            DataType::I64 => Model::I64(weights.map(i64::from).collect()),
        }
    }
}

/// What was stored, in order.
#[derive(Debug, Clone)]
enum Entry {
    Round(RoundSeed),
    Sum(PublicSigningKey),
    Update(PublicSigningKey, Digest),
    Vote(PublicSigningKey, Digest),
    Winner(Digest),
}

/// What was accepted in a round.
#[derive(Debug, Default)]
struct Accepted {
    sums: BTreeSet<PublicSigningKey>,
    updates: BTreeMap<PublicSigningKey, Digest>,
    votes: BTreeMap<PublicSigningKey, Digest>,
    winner: Option<Digest>,
}

/// What everyone has seen of a round.
#[derive(Debug, Default)]
struct Shown {
    sums: Option<Digest>,
    updaters: Option<usize>,
    model: Option<Digest>,
}

/// The account.
#[derive(Debug)]
pub struct Ledger {
    data_type: DataType,
    length: usize,
    honest: BTreeSet<PublicSigningKey>,
    /// What each update was made of, by its sealed seeds, and the hash of its masked model.
    made: BTreeMap<Digest, (Contribution, Digest)>,
    log: Vec<Entry>,
    current: Accepted,
    acknowledged: BTreeMap<RoundSeed, BTreeSet<(Tag, PublicSigningKey)>>,
    /// The round whose parameters are published.
    public: Option<RoundSeed>,
    shown: BTreeMap<RoundSeed, Shown>,
}

/// What a published model is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The exact mean of all accepted updates.
    Mean,
    /// Nothing is promised: no honest sum participant has voted for the mask, and the protocol cannot
    /// tell.
    Outvoted,
    /// It was published and checked before.
    Again,
}

impl Ledger {
    /// An empty one.
    pub fn new(data_type: DataType, length: usize) -> Self {
        Self {
            data_type,
            length,
            honest: BTreeSet::new(),
            made: BTreeMap::new(),
            log: Vec::new(),
            current: Accepted::default(),
            acknowledged: BTreeMap::new(),
            public: None,
            shown: BTreeMap::new(),
        }
    }

    /// This participant does not lie.
    pub fn trust(&mut self, participant: PublicSigningKey) {
        self.honest.insert(participant);
    }

    /// A participant has made an update.
    ///
    /// # Errors
    /// If its mask seed was used for another masked model.
    pub fn made(
        &mut self,
        participant: PublicSigningKey,
        seeds: &LocalSeedDict,
        masked_model: &[u8],
        contribution: Contribution,
    ) -> Result<(), Violation> {
        let masked = Blake2b::hash(&[masked_model]);
        let earlier = self.made.insert(digest(seeds), (contribution, masked));
        match earlier {
            Some((_, earlier)) if earlier != masked => Err(Violation::SeedUsedTwice(participant)),
            _ => Ok(()),
        }
    }

    /// The coordinator has given out a record.
    ///
    /// # Errors
    /// If a message is counted twice, or was made by nobody.
    pub fn record(&mut self, record: &Record) -> Result<(), Violation> {
        match record {
            Record::RoundBegan { parameters, .. } => self.append(Entry::Round(parameters.seed)),
            Record::Sum { participant, .. } => self.append(Entry::Sum(*participant)),
            Record::Updates { seeds, .. } => {
                for (participant, seeds) in seeds {
                    let digest = digest(seeds);
                    if !self.made.contains_key(&digest) {
                        return Err(Violation::UnknownUpdate(*participant));
                    }
                    self.append(Entry::Update(*participant, digest))?;
                }
                Ok(())
            }
            Record::Sum2 { participant, digest, .. } => {
                self.append(Entry::Vote(*participant, *digest))
            }
            Record::Sum2Ended { digest } => self.append(Entry::Winner(*digest)),
            _ => Ok(()),
        }
    }

    fn append(&mut self, entry: Entry) -> Result<(), Violation> {
        self.current.add(&entry)?;
        self.log.push(entry);
        Ok(())
    }

    /// The point to go back to, should all that comes after it be lost.
    pub fn mark(&self) -> usize {
        self.log.len()
    }

    /// All that came after the mark is lost.
    ///
    /// # Errors
    /// If some of it was acknowledged.
    pub fn roll_back(&mut self, mark: usize) -> Result<(), Violation> {
        self.log.truncate(mark);
        self.current = Accepted::default();
        for entry in &self.log {
            self.current.add(entry)?;
        }
        let Some(Entry::Round(seed)) =
            self.log.iter().rev().find(|entry| matches!(entry, Entry::Round(_)))
        else {
            return Ok(());
        };
        for (tag, participant) in self.acknowledged.get(seed).into_iter().flatten() {
            let (kept, what) = match tag {
                Tag::Sum => (self.current.sums.contains(participant), "sum"),
                Tag::Update => (self.current.updates.contains_key(participant), "update"),
                Tag::Sum2 => (self.current.votes.contains_key(participant), "sum2"),
                _ => (false, "unknown"),
            };
            if !kept {
                return Err(Violation::LostAcknowledged { what, participant: *participant });
            }
        }
        Ok(())
    }

    /// The coordinator has lost everything, as one without a store may.
    pub fn forget(&mut self) {
        self.log.clear();
        self.current = Accepted::default();
        self.public = None;
    }

    /// A whole message was acknowledged.
    pub fn acknowledged(&mut self, round: RoundSeed, tag: Tag, participant: PublicSigningKey) {
        self.acknowledged.entry(round).or_default().insert((tag, participant));
    }

    /// What is published has changed; a verdict if there is a model.
    ///
    /// # Errors
    /// If it does not follow from what was accepted, or has changed since it was first published.
    pub fn published(&mut self, front: &Front) -> Result<Option<Verdict>, Violation> {
        if let Some(parameters) = front.parameters() {
            self.show_round(parameters.seed);
        }
        if let Some(sums) = front.sums() {
            self.check_sums(sums)?;
        }
        if let Some(seeds) = front.seeds() {
            self.check_seeds(seeds)?;
        }
        front.model().map(|model| self.check_model(model)).transpose()
    }

    fn show_round(&mut self, seed: RoundSeed) {
        self.public = Some(seed);
        self.shown.entry(seed).or_default();
    }

    fn check_sums(&mut self, sums: &SumDict) -> Result<(), Violation> {
        let seed = self.public.ok_or(Violation::UnknownRound)?;
        let (round, accepted) = self.accepted(seed)?;
        let what = "sum participants";
        if !sums.iter().map(|(key, _)| key).eq(&accepted.sums) {
            return Err(Violation::WrongDictionary { round, what });
        }
        let digest = Blake2b::hash(&[&sums.to_bytes()]);
        let shown = &mut self.shown.entry(seed).or_default().sums;
        check_same(shown, digest, round, what).map(|_| ())
    }

    fn check_seeds(&mut self, seeds: &SeedDict) -> Result<(), Violation> {
        let seed = self.public.ok_or(Violation::UnknownRound)?;
        let (round, accepted) = self.accepted(seed)?;
        let what = "mask seeds";
        let all = accepted.updates.keys().all(|key| seeds.contains(key));
        if !all || seeds.len() != accepted.updates.len() {
            return Err(Violation::WrongDictionary { round, what });
        }
        let shown = &mut self.shown.entry(seed).or_default().updaters;
        check_same(shown, seeds.len(), round, what).map(|_| ())
    }

    fn check_model(&mut self, model: &GlobalModel) -> Result<Verdict, Violation> {
        let digest = Blake2b::hash(&[&model.rationals]);
        let shown = &mut self.shown.entry(model.seed).or_default().model;
        if check_same(shown, digest, model.round_id, "weights")? {
            return Ok(Verdict::Again);
        }
        let (round, accepted) = self.accepted(model.seed)?;
        if !self.check_votes(round, &accepted)? {
            return Ok(Verdict::Outvoted);
        }
        let count = |what, expected: usize, found: u64| match expected as u64 == found {
            true => Ok(()),
            false => Err(Violation::WrongCount { round, what, expected: expected as u64, found }),
        };
        count("number of updates", accepted.updates.len(), model.models)?;
        let weights = ratio::decode_ratios(&model.rationals).unwrap_or_default();
        count("length", self.length, weights.len() as u64)?;
        for (index, found) in weights.iter().enumerate() {
            let expected = self.mean(&accepted, index);
            if *found != expected {
                return Err(Violation::WrongMean {
                    round,
                    index,
                    updates: accepted.updates.len(),
                    expected: expected.to_string(),
                    found: found.to_string(),
                });
            }
        }
        Ok(Verdict::Mean)
    }

    /// Whether the winning mask is that of honest participants.
    fn check_votes(&self, round: u64, accepted: &Accepted) -> Result<bool, Violation> {
        let winner = accepted.winner.ok_or(Violation::WrongWinner(round))?;
        let mut counts: BTreeMap<Digest, u64> = BTreeMap::new();
        let mut honest = BTreeSet::new();
        for (participant, digest) in &accepted.votes {
            *counts.entry(*digest).or_default() += 1;
            if self.honest.contains(participant) {
                honest.insert(*digest);
            }
        }
        let most = counts.get(&winner).copied().unwrap_or(0);
        if counts.iter().any(|(digest, count)| *digest != winner && *count >= most) {
            return Err(Violation::WrongWinner(round));
        }
        if honest.len() > 1 {
            return Err(Violation::HonestMasksDiffer(round));
        }
        Ok(honest.contains(&winner))
    }

    fn mean(&self, accepted: &Accepted, index: usize) -> BigRational {
        let (mut sum, mut scalars) = (0i64, 0i64);
        for digest in accepted.updates.values() {
            let (Contribution { weights, quarters }, _) = &self.made[digest];
            sum += i64::from(*quarters) * i64::from(weights[index]);
            scalars += i64::from(*quarters);
        }
        let unit = i64::from(Contribution::unit(self.data_type));
        BigRational::new(BigInt::from(sum), BigInt::from(scalars * unit))
    }

    /// The number of a round since the coordinator's beginning, and what was accepted in it.
    fn accepted(&self, seed: RoundSeed) -> Result<(u64, Accepted), Violation> {
        let mut accepted = None;
        let mut round = 0;
        for entry in &self.log {
            match (entry, &mut accepted) {
                (Entry::Round(_), Some(_)) => break,
                (Entry::Round(other), None) => {
                    round += 1;
                    accepted = (*other == seed).then(Accepted::default);
                }
                (entry, Some(accepted)) => accepted.add(entry)?,
                _ => {}
            }
        }
        accepted.map(|accepted| (round, accepted)).ok_or(Violation::UnknownRound)
    }
}

impl Accepted {
    fn add(&mut self, entry: &Entry) -> Result<(), Violation> {
        let (new, what, participant) = match entry {
            Entry::Round(_) => {
                *self = Self::default();
                return Ok(());
            }
            Entry::Winner(digest) => {
                self.winner = Some(*digest);
                return Ok(());
            }
            Entry::Sum(participant) => (self.sums.insert(*participant), "sum", participant),
            Entry::Update(participant, digest) => {
                (self.updates.insert(*participant, *digest).is_none(), "update", participant)
            }
            Entry::Vote(participant, digest) => {
                (self.votes.insert(*participant, *digest).is_none(), "sum2", participant)
            }
        };
        match new {
            true => Ok(()),
            false => Err(Violation::CountedTwice { what, participant: *participant }),
        }
    }
}

/// Whether it was shown before; an error if it was another one.
fn check_same<T: PartialEq>(
    shown: &mut Option<T>,
    now: T,
    round: u64,
    what: &'static str,
) -> Result<bool, Violation> {
    match shown.replace(now) {
        None => Ok(false),
        before if before == *shown => Ok(true),
        _ => Err(Violation::Republished { round, what }),
    }
}

/// What identifies an update: no two have the same sealed seeds.
fn digest(seeds: &LocalSeedDict) -> Digest {
    let mut bytes = Vec::with_capacity(LocalSeedDict::serialized_len(seeds.entries().len()));
    seeds.write_to(&mut bytes);
    Blake2b::hash(&[&bytes])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use pet_core::crypto::{EncryptKeyPair, Seed};
    use pet_core::mask::{Aggregation, MaskConfig};
    use pet_core::message::EncryptedMaskSeed;
    use pet_core::round::RoundParameters;

    use super::*;

    const SEED: RoundSeed = RoundSeed::new([7; 32]);

    fn key(byte: u8) -> PublicSigningKey {
        PublicSigningKey::new([byte; 32])
    }

    fn seeds(byte: u8) -> LocalSeedDict {
        LocalSeedDict::new(vec![(key(1), EncryptedMaskSeed::new([byte; 80]))]).unwrap()
    }

    fn contribution(weight: i32, quarters: u32) -> Contribution {
        Contribution { weights: vec![weight], quarters }
    }

    fn config() -> MaskConfig {
        "Prime/F32/B0/M3".parse().unwrap()
    }

    fn parameters() -> Arc<RoundParameters> {
        Arc::new(RoundParameters {
            pk: EncryptKeyPair::from_seed(&Seed::new([1; 32])).public(),
            sum: 0.5,
            update: 0.5,
            seed: SEED,
            mask_config: config().into(),
            model_length: 1,
        })
    }

    fn updates(of: &[u8]) -> Record {
        Record::Updates {
            seeds: of.iter().map(|byte| (key(*byte), Arc::new(seeds(*byte)))).collect(),
            aggregation: Some(Arc::new(Aggregation::new(config().into(), 1))),
        }
    }

    fn vote(of: u8, mask: u8) -> Record {
        Record::Sum2 { participant: key(of), digest: Digest::new([mask; 32]), mask: None }
    }

    fn winner(mask: u8) -> Record {
        Record::Sum2Ended { digest: Digest::new([mask; 32]) }
    }

    /// Three updates, with scalars 1, 1/2 and 1/4, accepted in one round. Sum participant 1 is honest.
    fn ledger() -> Ledger {
        let mut ledger = Ledger::new(DataType::F32, 1);
        ledger.trust(key(1));
        for (byte, weight, quarters) in [(11, 256, 4), (12, -128, 2), (13, 64, 1)] {
            let contribution = contribution(weight, quarters);
            ledger.made(key(byte), &seeds(byte), &[byte], contribution).unwrap();
        }
        let secret = EncryptKeyPair::from_seed(&Seed::new([1; 32])).secret().clone();
        let began = Record::RoundBegan { round_id: 1, parameters: parameters(), secret };
        ledger.record(&began).unwrap();
        ledger.show_round(SEED);
        let ephemeral_key = parameters().pk;
        ledger.record(&Record::Sum { participant: key(1), ephemeral_key }).unwrap();
        ledger.record(&updates(&[11, 12, 13])).unwrap();
        ledger
    }

    fn model(numer: i64, denom: i64, models: u64) -> GlobalModel {
        let weight = BigRational::new(numer.into(), denom.into());
        GlobalModel {
            round_id: 1,
            seed: SEED,
            models,
            rationals: ratio::encode_ratios(&[weight]).into(),
            weights: None,
            optimizer: None,
        }
    }

    #[test]
    fn only_the_exact_mean_of_all_accepted_updates_passes() {
        let mut ledger = ledger();
        ledger.record(&vote(1, 5)).unwrap();
        ledger.record(&winner(5)).unwrap();
        // (4 * 256 - 2 * 128 + 64) / (7 * 256)
        let right = model(832, 7 * 256, 3);
        assert_eq!(ledger.check_model(&right), Ok(Verdict::Mean));
        assert_eq!(ledger.check_model(&right), Ok(Verdict::Again));
        let changed = ledger.check_model(&model(833, 7 * 256, 3));
        assert!(matches!(changed, Err(Violation::Republished { .. })), "{changed:?}");
    }

    #[test]
    fn a_wrong_mean_or_count_is_found() {
        for (model, kind) in [
            (model(833, 7 * 256, 3), "mean"),
            // The mean of the first two only.
            (model(768, 6 * 256, 3), "mean"),
            (model(832, 7 * 256, 2), "count"),
        ] {
            let mut ledger = ledger();
            ledger.record(&vote(1, 5)).unwrap();
            ledger.record(&winner(5)).unwrap();
            let found = ledger.check_model(&model).unwrap_err();
            match kind {
                "mean" => assert!(matches!(found, Violation::WrongMean { .. }), "{found}"),
                _ => assert!(matches!(found, Violation::WrongCount { .. }), "{found}"),
            }
        }
    }

    #[test]
    fn a_message_that_counts_twice_is_found() {
        let mut ledger = ledger();
        let again = ledger.record(&updates(&[12])).unwrap_err();
        assert_eq!(again, Violation::CountedTwice { what: "update", participant: key(12) });
        ledger.record(&vote(1, 5)).unwrap();
        assert!(matches!(ledger.record(&vote(1, 6)), Err(Violation::CountedTwice { .. })));
    }

    #[test]
    fn an_update_that_nobody_made_is_found() {
        let found = ledger().record(&updates(&[99])).unwrap_err();
        assert_eq!(found, Violation::UnknownUpdate(key(99)));
    }

    #[test]
    fn a_mask_seed_for_two_models_is_found() {
        let mut ledger = ledger();
        let again = contribution(256, 4);
        assert_eq!(ledger.made(key(11), &seeds(11), &[11], again.clone()), Ok(()));
        let found = ledger.made(key(11), &seeds(11), &[0], again).unwrap_err();
        assert_eq!(found, Violation::SeedUsedTwice(key(11)));
    }

    #[test]
    fn what_was_acknowledged_must_not_be_lost() {
        let mut ledger = ledger();
        let mark = ledger.mark();
        assert_eq!(ledger.roll_back(mark), Ok(()));
        ledger.acknowledged(SEED, Tag::Update, key(13));
        assert_eq!(ledger.roll_back(mark), Ok(()));
        let found = ledger.roll_back(mark - 1).unwrap_err();
        assert_eq!(found, Violation::LostAcknowledged { what: "update", participant: key(13) });
    }

    #[test]
    fn dictionaries_must_be_what_was_accepted_and_stay_so() {
        let mut ledger = ledger();
        let wrong = ledger.check_sums(&SumDict::new()).unwrap_err();
        assert!(matches!(wrong, Violation::WrongDictionary { .. }), "{wrong}");
        let mut dict = SumDict::new();
        dict.insert(key(1), parameters().pk);
        assert_eq!(ledger.check_sums(&dict), Ok(()));
        let mut dict = SumDict::new();
        dict.insert(key(1), EncryptKeyPair::from_seed(&Seed::new([2; 32])).public());
        let changed = ledger.check_sums(&dict).unwrap_err();
        assert!(matches!(changed, Violation::Republished { .. }), "{changed}");
    }

    #[test]
    fn the_mask_must_have_most_votes_and_nothing_is_promised_where_liars_win() {
        let mut outvoted = ledger();
        for (voter, mask) in [(1, 5), (2, 6), (3, 6)] {
            outvoted.record(&vote(voter, mask)).unwrap();
        }
        outvoted.record(&winner(6)).unwrap();
        assert_eq!(outvoted.check_model(&model(1, 3, 3)), Ok(Verdict::Outvoted));

        let mut tied = ledger();
        for (voter, mask) in [(1, 5), (2, 6)] {
            tied.record(&vote(voter, mask)).unwrap();
        }
        tied.record(&winner(5)).unwrap();
        assert_eq!(tied.check_model(&model(832, 7 * 256, 3)), Err(Violation::WrongWinner(1)));

        let mut differing = ledger();
        differing.trust(key(2));
        for (voter, mask) in [(1, 5), (2, 6), (3, 5)] {
            differing.record(&vote(voter, mask)).unwrap();
        }
        differing.record(&winner(5)).unwrap();
        let found = differing.check_model(&model(832, 7 * 256, 3)).unwrap_err();
        assert_eq!(found, Violation::HonestMasksDiffer(1));
    }
}
