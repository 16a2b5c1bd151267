//! Every message that is ever sent, and what only an all-knowing observer knows of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use pet_core::crypto::{EncryptKeyPair, Purpose, RootSeed};
use pet_core::mask::{derive_mask, MaskConfigPair, MaskObject, MaskSeed, MaskSum};
use pet_core::message::{LocalSeedDict, MessageView, Payload, Tag};

use super::cast::Cast;

/// The number of a message.
pub(super) type LetterId = u16;

/// A message, looked through.
#[derive(Debug)]
pub(super) struct Letter {
    pub sealed: Vec<u8>,
    pub sender: usize,
    pub round: u64,
    pub tag: Tag,
    /// The weight of an update's model, and the seeds in it.
    pub update: Option<(f64, LocalSeedDict)>,
    /// Of which masks a sum2 message has the sum.
    pub masks: Option<u16>,
}

/// All messages.
#[derive(Debug, Default)]
pub struct Letters {
    numbers: HashMap<Vec<u8>, LetterId>,
    letters: Vec<Letter>,
    /// The masked model of each mask seed, and the round.
    seeds: BTreeMap<[u8; 32], (u64, Vec<u8>)>,
    sets: Vec<BTreeSet<[u8; 32]>>,
}

impl Letters {
    pub(super) fn get(&self, id: LetterId) -> &Letter {
        &self.letters[usize::from(id)]
    }

    pub(super) fn len(&self) -> usize {
        self.letters.len()
    }

    /// The update with these seeds: its number, and its model's weight.
    pub(super) fn find_update(
        &self,
        sender: usize,
        seeds: &LocalSeedDict,
    ) -> Option<(LetterId, f64)> {
        self.letters.iter().zip(0..).find_map(|(letter, id)| match &letter.update {
            Some((weight, of)) if letter.sender == sender && of == seeds => Some((id, *weight)),
            _ => None,
        })
    }

    /// Looks through a message that a participant sends; the same message has the same number.
    pub(super) fn add(
        &mut self,
        cast: &Cast,
        sender: usize,
        round: u64,
        sealed: &[u8],
    ) -> Result<LetterId, String> {
        if let Some(id) = self.numbers.get(sealed) {
            return Ok(*id);
        }
        let opened = cast.round_keys(round).open(sealed).map_err(|error| error.to_string())?;
        let view = MessageView::parse(&opened).map_err(|error| error.to_string())?;
        let payload = Payload::parse(view.tag, view.is_multipart, view.payload);
        let (mut update, mut masks) = (None, None);
        match payload.map_err(|error| error.to_string())? {
            Payload::Update(payload) => {
                let seed = self.shared_seed(cast, round, &payload.seeds)?;
                let masked = MaskObject::from_view(&payload.masked_model)
                    .map_err(|error| error.to_string())?;
                self.use_seed(&seed, round, &masked)?;
                update = Some((unmask_one(&masked, &seed), payload.seeds));
            }
            Payload::Sum2(payload) => {
                let mask =
                    MaskObject::from_view(&payload.mask).map_err(|error| error.to_string())?;
                masks = Some(self.find_set(round, &mask)?);
            }
            _ => {}
        }
        let id = LetterId::try_from(self.letters.len()).map_err(|error| error.to_string())?;
        self.numbers.insert(sealed.to_vec(), id);
        let letter =
            Letter { sealed: sealed.to_vec(), sender, round, tag: view.tag, update, masks };
        self.letters.push(letter);
        Ok(id)
    }

    /// A sum2 message that has the sum of certain masks.
    #[cfg(test)]
    pub(super) fn add_sum2(&mut self, round: u64, set: u16) {
        let (sealed, tag, masks) = (Vec::new(), Tag::Sum2, Some(set));
        self.letters.push(Letter { sealed, sender: 0, round, tag, update: None, masks });
    }

    /// Opens all boxes of an update: the same seed is in each of them.
    fn shared_seed(
        &self,
        cast: &Cast,
        round: u64,
        seeds: &LocalSeedDict,
    ) -> Result<MaskSeed, String> {
        let mut shared = None;
        for (summer, sealed) in seeds.entries() {
            let seed = ephemeral_keys(cast, cast.member(summer), round)
                .find_map(|keys| sealed.open(&keys).ok())
                .ok_or("a mask seed does not open for its sum participant")?;
            if shared.as_ref().is_some_and(|shared| *shared != seed) {
                return Err("an update has different seeds for different sum participants".into());
            }
            shared = Some(seed);
        }
        shared.ok_or_else(|| "an update has no seed at all".into())
    }

    /// A seed hides one masked model only, in all that can happen taken together: a machine that is
    /// restored may go on from any point of any of it.
    pub(super) fn use_seed(
        &mut self,
        seed: &MaskSeed,
        round: u64,
        masked: &MaskObject,
    ) -> Result<(), String> {
        let bytes = masked.to_bytes().map_err(|error| error.to_string())?;
        let before = self.seeds.insert(*seed.as_bytes(), (round, bytes.clone()));
        match before {
            Some((_, other)) if other != bytes => {
                Err("a mask seed is used for two different models".into())
            }
            _ => Ok(()),
        }
    }

    /// Of which masks this is the sum: they must be three at least.
    pub(super) fn find_set(&mut self, round: u64, mask: &MaskObject) -> Result<u16, String> {
        let seeds: Vec<_> =
            self.seeds.iter().filter(|(_, (of, _))| *of == round).map(|(seed, _)| *seed).collect();
        let (config, length) = (mask.config(), mask.len());
        let found = (0u32..1 << seeds.len()).find_map(|bits| {
            let chosen = (0..seeds.len()).filter(|index| bits >> index & 1 == 1);
            let set: BTreeSet<_> = chosen.map(|index| seeds[index]).collect();
            (sum_of(&set, config, length) == *mask).then_some(set)
        });
        let set = found.ok_or("a sum2 message is not the sum of masks in use")?;
        if set.len() < 3 {
            return Err(format!("a sum of only {} masks is sent: it unmasks", set.len()));
        }
        let index = self.sets.iter().position(|known| *known == set).unwrap_or_else(|| {
            self.sets.push(set);
            self.sets.len() - 1
        });
        u16::try_from(index).map_err(|error| error.to_string())
    }
}

fn sum_of(seeds: &BTreeSet<[u8; 32]>, config: MaskConfigPair, length: usize) -> MaskObject {
    let mut sum = MaskSum::new(config, length);
    sum.add_seeds(seeds.iter().map(|seed| MaskSeed::new(*seed)));
    sum.finish()
}

/// The ephemeral keys that a sum participant may have in a round: they depend on how many rounds it has
/// seen.
fn ephemeral_keys(
    cast: &Cast,
    member: usize,
    round: u64,
) -> impl Iterator<Item = EncryptKeyPair> + '_ {
    let parameters = cast.parameters[round as usize - 1].to_bytes();
    // The root goes on with each of them.
    let next =
        |root: &RootSeed| Some(RootSeed::new(*root.derive(Purpose::Ratchet, &[]).as_bytes()));
    let roots = std::iter::successors(next(&cast.members[member].root), next);
    roots.zip(0u64..8).map(move |(root, number)| {
        let context: [&[u8]; 2] = [&parameters, &number.to_le_bytes()];
        EncryptKeyPair::from_seed(&root.derive(Purpose::EphemeralKey, &context))
    })
}

/// The one weight of a single update, by the formulas of the specification.
fn unmask_one(masked: &MaskObject, seed: &MaskSeed) -> f64 {
    let mask = derive_mask(seed, masked.config(), masked.len());
    let number = |object: &MaskObject| -> u128 {
        object.numbers()[0].to_string().parse().expect("numbers of this config are small")
    };
    let order: u128 = masked.config().vect.order().to_string().parse().expect("small");
    let plain = (number(masked) + order - number(&mask)) % order;
    // F32, B0: E is 10^10 and A is 1.
    plain as f64 / 1e10 - 1.0
}

#[cfg(test)]
mod tests {
    use pet_core::mask::MaskConfig;

    use super::*;

    fn mask(seeds: impl IntoIterator<Item = u8>) -> MaskObject {
        let config: MaskConfig = "Prime/F32/B0/M3".parse().unwrap();
        let mut sum = MaskSum::new(config.into(), 1);
        sum.add_seeds(seeds.into_iter().map(|byte| MaskSeed::new([byte; 32])));
        sum.finish()
    }

    fn letters() -> Letters {
        let mut letters = Letters::default();
        for byte in 1..=4 {
            letters.use_seed(&MaskSeed::new([byte; 32]), 1, &mask([byte + 100])).unwrap();
        }
        letters
    }

    #[test]
    fn a_seed_used_twice_is_found() {
        let mut letters = letters();
        let seed = MaskSeed::new([1; 32]);
        assert_eq!(letters.use_seed(&seed, 1, &mask([101])), Ok(()), "the same once more");
        assert!(letters.use_seed(&seed, 1, &mask([102])).is_err());
    }

    #[test]
    fn sums_of_few_masks_are_found() {
        let mut letters = letters();
        assert_eq!(letters.find_set(1, &mask([1, 2, 3])), Ok(0));
        assert_eq!(letters.find_set(1, &mask([2, 3, 4])), Ok(1));
        assert_eq!(letters.find_set(1, &mask([3, 2, 1])), Ok(0));
        assert!(letters.find_set(1, &mask([1, 2])).unwrap_err().contains("only 2"));
        assert!(letters.find_set(1, &mask([1, 2, 9])).is_err(), "an unknown mask");
        assert!(letters.find_set(2, &mask([1, 2, 3])).is_err(), "masks of another round");
    }
}
