//! What was ever answered, by anybody: it must be the same everywhere, and stay so.

use std::collections::BTreeMap;

use bytes::Bytes;
use pet_core::{
    crypto::PublicSigningKey,
    round::{RoundParameters, SumDict},
};
use pet_ledger::{verify_chain, Entry, EntryHash, Position};

use super::told::Process;

pub type Seed = [u8; 32];

/// What was ever answered, by anybody.
#[derive(Default)]
pub struct Seen {
    pub parameters: BTreeMap<Seed, Bytes>,
    keys: BTreeMap<[u8; 32], Seed>,
    pub sums: BTreeMap<Seed, SumDict>,
    seeds: BTreeMap<(Seed, PublicSigningKey), Bytes>,
    /// The name and the bytes of the model of a round.
    pub models: BTreeMap<u64, (String, Bytes)>,
    /// The log's entries: whose epoch, and with which hash.
    pub log: BTreeMap<u64, (u64, EntryHash)>,
    /// What must not be.
    pub wrong: Vec<String>,
}

impl Seen {
    /// Each position was written in one epoch, none in an earlier one than those before it, and only by who led in it.
    pub fn check_log(&self, leaders: &BTreeMap<u64, Process>) -> Result<(), String> {
        let mut last = 0;
        for (position, (epoch, _)) in &self.log {
            if *epoch < last {
                return Err(format!(
                    "entry {position} of the log is of epoch {epoch}, one before of {last}"
                ));
            }
            last = *epoch;
            if !leaders.contains_key(epoch) {
                return Err(format!(
                    "entry {position} of the log is of epoch {epoch}, in which nobody has led"
                ));
            }
        }
        Ok(())
    }

    /// The seed of a round that has a model.
    pub fn seed_of(&self, round: u64) -> [u8; 32] {
        let (_, hex) = self.models[&round].0.split_once('_').expect("<round>_<seed>");
        std::array::from_fn(|index| u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).unwrap())
    }

    /// Notes what somebody has answered: whoever has answered before must have said the same.
    pub fn parameters(&mut self, by: usize, bytes: Bytes) -> Option<Seed> {
        let Ok(parameters) = RoundParameters::from_bytes(&bytes) else {
            self.wrong.push(format!("replica {by} has parameters that cannot be read"));
            return None;
        };
        let seed = *parameters.seed.as_bytes();
        let first = self.parameters.entry(seed).or_insert_with(|| bytes.clone());
        if *first != bytes {
            self.wrong
                .push(format!("replica {by} has other parameters of a round than others had"));
        }
        let first = self.keys.entry(*parameters.pk.as_bytes()).or_insert(seed);
        if *first != seed {
            self.wrong.push(format!("replica {by} uses the keys of another round again"));
        }
        Some(seed)
    }

    pub fn sums(&mut self, by: usize, seed: Seed, bytes: &Bytes) -> Option<PublicSigningKey> {
        let Ok(sums) = SumDict::from_bytes(bytes) else {
            self.wrong.push(format!("replica {by} has sum participants that cannot be read"));
            return None;
        };
        let first = sums.iter().next().map(|(participant, _)| *participant);
        if *self.sums.entry(seed).or_insert_with(|| sums.clone()) != sums {
            self.wrong.push(format!(
                "replica {by} has other sum participants of a round than others had"
            ));
        }
        first
    }

    pub fn seeds(&mut self, by: usize, of: (Seed, PublicSigningKey), bytes: Bytes) {
        if *self.seeds.entry(of).or_insert_with(|| bytes.clone()) != bytes {
            self.wrong.push(format!("replica {by} has other seeds of a round than others had"));
        }
    }

    pub fn model(&mut self, by: usize, round: u64, name: String, bytes: Bytes) {
        let model = (name, bytes);
        if *self.models.entry(round).or_insert_with(|| model.clone()) != model {
            self.wrong
                .push(format!("replica {by} has another model of round {round} than others had"));
        }
    }

    /// Notes entries of the log: those behind `after`, if it is known what the last one was.
    pub fn entries(&mut self, after: Option<(Position, EntryHash)>, entries: &[Entry]) {
        if let Some((position, hash)) = after {
            if let Err(error) = verify_chain(position, hash, entries) {
                self.wrong.push(format!("the log: {error}"));
            }
        }
        for entry in entries {
            let now = (entry.epoch.0, entry.hash);
            let before = *self.log.entry(entry.position.0).or_insert(now);
            if before != now {
                self.wrong.push(format!(
                    "entry {} of the log was of epoch {}, and now there is another one, of epoch {}",
                    entry.position, before.0, now.0
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use pet_core::crypto::{PublicEncryptKey, RoundSeed};
    use pet_ledger::Epoch;

    use super::*;

    fn parameters(key: u8, seed: u8) -> Bytes {
        let settings = pet_coordinator::settings::Settings::for_model_length(10);
        let parameters = RoundParameters {
            pk: PublicEncryptKey::new([key; 32]),
            sum: 0.5,
            update: 0.5,
            seed: RoundSeed::new([seed; 32]),
            mask_config: settings.mask.into(),
            model_length: 10,
        };
        parameters.to_bytes().into()
    }

    /// What was noted as wrong; nothing may be before the last step, which is done by replica 2.
    fn wrong(seen: Seen) -> String {
        let [wrong] = &seen.wrong[..] else { panic!("{:?}", seen.wrong) };
        assert!(wrong.contains("replica 2") || wrong.contains("log"), "{wrong}");
        wrong.clone()
    }

    #[test]
    fn other_parameters_and_keys_that_are_used_twice_are_found() {
        let mut seen = Seen::default();
        for (by, key, seed) in [(0, 1, 1), (1, 1, 1), (0, 2, 2), (1, 2, 2)] {
            assert_eq!(seen.parameters(by, parameters(key, seed)), Some([seed; 32]));
        }
        assert!(seen.wrong.is_empty());
        // Another key in the same round; the key of the round before in a new one.
        seen.parameters(2, parameters(3, 2));
        assert!(wrong(seen).contains("other parameters"));
        let mut seen = Seen::default();
        seen.parameters(0, parameters(1, 1));
        seen.parameters(2, parameters(1, 2));
        assert!(wrong(seen).contains("keys of another round again"));
        let mut seen = Seen::default();
        assert_eq!(seen.parameters(2, Bytes::from_static(b"no parameters")), None);
        assert!(wrong(seen).contains("cannot be read"));
    }

    #[test]
    fn other_dictionaries_and_models_are_found() {
        let sums = |bytes: &[u8]| {
            let mut sums = SumDict::new();
            for byte in bytes {
                sums.insert(PublicSigningKey::new([*byte; 32]), PublicEncryptKey::new([1; 32]));
            }
            Bytes::from(sums.to_bytes())
        };
        let mut seen = Seen::default();
        for by in [0, 1] {
            assert_eq!(
                seen.sums(by, [1; 32], &sums(&[4, 5])),
                Some(PublicSigningKey::new([4; 32]))
            );
        }
        seen.sums(0, [2; 32], &sums(&[5]));
        assert!(seen.wrong.is_empty());
        seen.sums(2, [1; 32], &sums(&[4]));
        assert!(wrong(seen).contains("other sum participants"));

        let mut seen = Seen::default();
        let of = ([1; 32], PublicSigningKey::new([4; 32]));
        for by in [0, 1] {
            seen.seeds(by, of, Bytes::from_static(b"sealed"));
        }
        assert!(seen.wrong.is_empty());
        seen.seeds(2, of, Bytes::from_static(b"other"));
        assert!(wrong(seen).contains("other seeds"));

        let model = |bytes: &'static [u8]| ("1_00".to_owned(), Bytes::from_static(bytes));
        for (name, bytes) in [("1_00", "one bit less"), ("1_01", "model")] {
            let mut seen = Seen::default();
            let (first, weights) = model(b"model");
            seen.model(0, 1, first.clone(), weights.clone());
            seen.model(1, 1, first, weights);
            assert!(seen.wrong.is_empty());
            seen.model(2, 1, name.into(), Bytes::from_static(bytes.as_bytes()));
            assert!(wrong(seen).contains("another model of round 1"));
        }
    }

    /// Entries behind one another, each with its epoch.
    fn entries(texts: &[(u64, &'static str)]) -> Vec<Entry> {
        let mut previous = EntryHash::default();
        let numbered = texts.iter().zip(1..).map(|((epoch, text), number)| {
            let (epoch, position) = (Epoch(*epoch), Position(number));
            let hash = EntryHash::of(previous, epoch, position, text.as_bytes());
            previous = hash;
            Entry { epoch, position, hash, bytes: Bytes::from_static(text.as_bytes()) }
        });
        numbered.collect()
    }

    #[test]
    fn a_log_that_changes_or_does_not_hang_together_is_found() {
        let start = Some((Position(0), EntryHash::default()));
        let first = entries(&[(1, "a"), (1, "b")]);
        let mut seen = Seen::default();
        seen.entries(start, &first);
        seen.entries(None, &first[1..]);
        assert!(seen.wrong.is_empty());
        // Another one has written at a position that was read already, with a chain of its own.
        seen.entries(start, &entries(&[(1, "a"), (2, "c")]));
        assert!(wrong(seen).contains("now there is another one"));
        let mut seen = Seen::default();
        let mut broken = first;
        broken[1].bytes = Bytes::from_static(b"c");
        seen.entries(start, &broken);
        assert!(wrong(seen).contains("the log"));
    }

    #[test]
    fn two_leaders_of_one_position_are_found() {
        let leaders = BTreeMap::from([(1, (0, 1)), (2, (1, 1)), (3, (0, 2))]);
        let check = |texts: &[(u64, &'static str)]| {
            let mut seen = Seen::default();
            seen.entries(None, &entries(texts));
            seen.check_log(&leaders)
        };
        assert_eq!(check(&[(1, "a"), (1, "b"), (3, "c")]), Ok(()));
        assert!(check(&[(1, "a"), (3, "b"), (2, "c")]).unwrap_err().contains("one before of 3"));
        assert!(check(&[(1, "a"), (4, "b")]).unwrap_err().contains("nobody has led"));
    }
}
