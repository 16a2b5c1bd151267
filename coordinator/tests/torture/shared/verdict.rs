//! Whether what was answered and logged is what participants were told.

use std::collections::BTreeSet;

use super::{seen::Seen, told::Told, OLD, PARTICIPANTS};
use crate::books::Books;

/// What is known of global models that are as they must be.
#[derive(Debug, PartialEq, Eq)]
pub struct Verdict {
    /// How many updates are in them of which nobody was told.
    pub not_told: usize,
    /// How many of participants of old.
    pub old: usize,
}

impl Verdict {
    pub fn of(seen: &Seen, told: &Told, books: &Books) -> Result<Self, String> {
        rounds(seen, told, books)?;
        models(seen, told, books)
    }
}

/// Each global model is the mean of exactly what was acknowledged, and of some that was under way; of as many as was logged.
fn models(seen: &Seen, told: &Told, books: &Books) -> Result<Verdict, String> {
    let (mut not_told, mut old) = (0, 0);
    for (round, (_, bytes)) in &seen.models {
        let weights: Vec<f32> = bytes
            .chunks_exact(4)
            .map(|four| f32::from_le_bytes(four.try_into().unwrap()))
            .collect();
        let (known, beyond) = weights.split_at(PARTICIPANTS + OLD);
        if beyond.iter().any(|weight| *weight != 0.0) {
            return Err(format!("round {round}: something counts that nobody has sent"));
        }
        let checked = books.check(&seen.seed_of(*round), known, PARTICIPANTS);
        not_told += checked.map_err(|why| format!("round {round}: {why}"))?;
        old += known[PARTICIPANTS..].iter().filter(|weight| **weight != 0.0).count();
        let members = known.iter().filter(|weight| **weight != 0.0).count() as u64;
        // (Whoever has made it may have been killed before it could say so.)
        if told.models.get(round).is_some_and(|models| *models != members) {
            return Err(format!(
                "round {round}: {members} models are in the mean, and a log says {:?}",
                told.models.get(round)
            ));
        }
    }
    Ok(Verdict { not_told, old })
}

/// Every round has a model, or a log says why it has none; sum participants that were told so are in their round.
fn rounds(seen: &Seen, told: &Told, books: &Books) -> Result<(), String> {
    let last = seen.models.keys().last().copied().unwrap_or(0);
    let missing: Vec<u64> = (1..last)
        .filter(|round| !seen.models.contains_key(round) && !told.failed.contains_key(round))
        .collect();
    if !missing.is_empty() {
        return Err(format!(
            "rounds {missing:?} have no model, and no log says that they have failed"
        ));
    }
    let with_models: BTreeSet<_> = seen.models.keys().map(|round| seen.seed_of(*round)).collect();
    let books = books.rounds();
    let without = books
        .iter()
        .filter(|(seed, round)| !round.acknowledged.is_empty() && !with_models.contains(*seed));
    let without = without.count();
    // The last one is not over.
    if without > told.failed.len() + 1 {
        return Err(format!("{without} rounds took updates and have no model"));
    }
    for (seed, sums) in &seen.sums {
        let Some(round) = books.get(seed) else { continue };
        if round.summers.iter().any(|summer| !sums.contains(summer)) {
            return Err("sum participants were told that they take part, and do not".into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use pet_core::{
        crypto::{PublicEncryptKey, PublicSigningKey},
        round::SumDict,
    };

    use super::*;

    /// The model of a round with these in it.
    fn model(seen: &mut Seen, round: u8, members: &[usize]) {
        let mut weights = [0.0_f32; PARTICIPANTS + OLD + 3];
        for member in members {
            weights[*member] = 1.0 / members.len() as f32;
        }
        let bytes: Vec<u8> = weights.iter().flat_map(|weight| weight.to_le_bytes()).collect();
        let name = format!("{round}_{}", format!("{round:02x}").repeat(32));
        seen.model(0, round.into(), name, Bytes::from(bytes));
    }

    /// Three rounds with models: in each two were told that they are in it.
    fn all_is_well() -> (Seen, Told, Books) {
        let (mut seen, mut told, books) = (Seen::default(), Told::default(), Books::default());
        for round in 1..4 {
            for member in [0, 1, 2] {
                books.begun(&[round; 32], member);
            }
            books.update_acknowledged(&[round; 32], 0);
            books.update_acknowledged(&[round; 32], 1);
            model(&mut seen, round, &[0, 1, 2, PARTICIPANTS]);
            told.models.insert(round.into(), 4);
        }
        (seen, told, books)
    }

    fn found(plant: impl FnOnce(&mut Seen, &mut Told, &Books)) -> String {
        let (mut seen, mut told, books) = all_is_well();
        plant(&mut seen, &mut told, &books);
        Verdict::of(&seen, &told, &books).unwrap_err()
    }

    #[test]
    fn what_is_well_passes() {
        let (seen, told, books) = all_is_well();
        assert_eq!(Verdict::of(&seen, &told, &books), Ok(Verdict { not_told: 3, old: 3 }));
    }

    #[test]
    fn an_acknowledged_update_that_does_not_count_is_found() {
        let why = found(|_, _, books| books.update_acknowledged(&[2; 32], 5));
        assert!(why.contains("round 2") && why.contains("were acknowledged"), "{why}");
    }

    #[test]
    fn a_model_with_what_nobody_has_sent_is_found() {
        let planted = |members: &'static [usize]| {
            found(|seen, _, _| {
                seen.models.remove(&2);
                model(seen, 2, members);
            })
        };
        assert!(planted(&[0, 1, 7]).contains("had begun"));
        assert!(planted(&[0, 1, PARTICIPANTS + OLD]).contains("nobody has sent"));
        assert!(planted(&[0, 1, 2]).contains("3 models are in the mean"));
    }

    #[test]
    fn a_weight_that_is_off_by_one_bit_is_found() {
        let why = found(|seen, _, _| {
            let (_, bytes) = seen.models.get_mut(&2).unwrap();
            let mut off = bytes.to_vec();
            off[0] ^= 1;
            *bytes = Bytes::from(off);
        });
        assert!(why.contains("it counts"), "{why}");
    }

    #[test]
    fn a_round_that_is_gone_in_silence_is_found() {
        let why = found(|seen, _, _| drop(seen.models.remove(&2)));
        assert!(why.contains("rounds [2] have no model"), "{why}");
        // Their updates were taken, and fewer rounds have failed than that.
        let why = found(|seen, told, books| {
            for round in [2, 3] {
                seen.models.remove(&round);
            }
            told.failed.insert(2, "why".into());
            books.update_acknowledged(&[9; 32], 0);
        });
        assert!(why.contains("3 rounds took updates"), "{why}");
    }

    #[test]
    fn a_sum_participant_that_was_told_so_and_is_not_there_is_found() {
        let of = |byte| PublicSigningKey::new([byte; 32]);
        let mut sums = SumDict::new();
        sums.insert(of(1), PublicEncryptKey::new([1; 32]));
        let why = found(|seen, _, books| {
            seen.sums.insert([2; 32], sums);
            books.sum_acknowledged(&[2; 32], of(1));
            books.sum_acknowledged(&[2; 32], of(2));
        });
        assert!(why.contains("sum participants were told"), "{why}");
    }
}
