//! What participants know of their messages, and what global models must be like because of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard},
    time::Instant,
};

use pet_core::crypto::PublicSigningKey;
use tokio::sync::Notify;

/// Who has begun to send an update in a round, and whose messages were acknowledged.
#[derive(Clone, Default)]
pub struct Round {
    pub begun: BTreeSet<usize>,
    pub acknowledged: BTreeSet<usize>,
    pub summers: BTreeSet<PublicSigningKey>,
}

/// The rounds by their seeds.
pub type Rounds = BTreeMap<[u8; 32], Round>;

/// What all participants have seen.
#[derive(Default)]
pub struct Books {
    rounds: Mutex<Rounds>,
    /// When messages were acknowledged.
    acknowledgements: Mutex<Vec<Instant>>,
    /// What happened to each participant last.
    last: Mutex<BTreeMap<usize, (Instant, String)>>,
    /// Somebody's update was just acknowledged.
    pub news: Notify,
}

impl Books {
    pub fn rounds(&self) -> MutexGuard<'_, Rounds> {
        self.rounds.lock().unwrap()
    }

    pub fn begun(&self, round: &[u8; 32], index: usize) {
        self.rounds().entry(*round).or_default().begun.insert(index);
    }

    pub fn update_acknowledged(&self, round: &[u8; 32], index: usize) {
        self.rounds().entry(*round).or_default().acknowledged.insert(index);
        self.acknowledged();
        self.news.notify_waiters();
    }

    pub fn sum_acknowledged(&self, round: &[u8; 32], participant: PublicSigningKey) {
        self.rounds().entry(*round).or_default().summers.insert(participant);
        self.acknowledged();
    }

    /// A message of some kind was acknowledged now.
    pub fn acknowledged(&self) {
        self.acknowledgements.lock().unwrap().push(Instant::now());
    }

    /// What has just happened to a participant.
    pub fn happened(&self, index: usize, mut what: String) {
        what.truncate(what.char_indices().nth(160).map_or(what.len(), |(place, _)| place));
        self.last.lock().unwrap().insert(index, (Instant::now(), what));
    }

    /// What happened to each participant last, and how many seconds ago: for whoever wants to know why nothing happens any more.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    pub fn last(&self) -> String {
        let last = self.last.lock().unwrap();
        let line = |(index, (at, what)): (&usize, &(Instant, String))| {
            format!("\n  {index}, {:.1} s ago: {what}", at.elapsed().as_secs_f64())
        };
        last.iter().map(line).collect()
    }

    /// When messages were acknowledged after a moment.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    pub fn acknowledged_since(&self, moment: Instant) -> Vec<Instant> {
        let all = self.acknowledgements.lock().unwrap();
        all.iter().copied().filter(|at| *at > moment).collect()
    }

    /// A global model must be the mean of the updates that were acknowledged, each once, and of some that were under way; bit for
    /// bit. Those from `strangers` on keep no books. Gives how many of them nobody was told of.
    pub fn check(
        &self,
        seed: &[u8; 32],
        weights: &[f32],
        strangers: usize,
    ) -> Result<usize, String> {
        let Some(round) = self.rounds().get(seed).cloned() else {
            return Err("nobody has begun to send an update in its round".into());
        };
        let Round { begun, acknowledged, .. } = round;
        let members: BTreeSet<usize> =
            (0..weights.len()).filter(|index| weights[*index] != 0.0).collect();
        let share = 1.0 / members.len() as f32;
        for (index, weight) in weights.iter().enumerate().filter(|(_, weight)| **weight != 0.0) {
            if weight.to_bits() != share.to_bits() {
                let times = weight * members.len() as f32;
                return Err(format!(
                    "{index} has the weight {weight}: it counts {times} times, of {members:?}"
                ));
            }
        }
        if !acknowledged.is_subset(&members) {
            return Err(format!("{acknowledged:?} were acknowledged, and in it are {members:?}"));
        }
        let untold: BTreeSet<_> =
            members.difference(&acknowledged).filter(|index| **index < strangers).collect();
        if !untold.iter().all(|index| begun.contains(*index)) {
            return Err(format!(
                "in it are {members:?}, and only {begun:?} had begun to send something"
            ));
        }
        Ok(untold.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four participants, of whom two were told that their updates are safe and a third one has begun.
    fn books() -> Books {
        let books = Books::default();
        for index in [0, 1, 2] {
            books.begun(&[1; 32], index);
        }
        books.update_acknowledged(&[1; 32], 0);
        books.update_acknowledged(&[1; 32], 1);
        books
    }

    #[test]
    fn what_a_model_must_not_be_is_found() {
        let (third, half) = (1.0 / 3.0, 0.5);
        let books = books();
        let check = |weights: &[f32]| books.check(&[1; 32], weights, 3);
        assert_eq!(check(&[third, third, third, 0.0]), Ok(1));
        assert_eq!(check(&[half, half, 0.0, 0.0]), Ok(0));
        // One that keeps no books.
        assert_eq!(check(&[third, third, 0.0, third]), Ok(0));
        // Lost, counted twice, never sent, not the mean, of no round.
        assert!(check(&[1.0, 0.0, 0.0, 0.0]).unwrap_err().contains("acknowledged"));
        assert!(check(&[third, 2.0 * third, 0.0, 0.0]).unwrap_err().contains("times"));
        assert!(check(&[half, half + f32::EPSILON, 0.0, 0.0]).unwrap_err().contains("times"));
        assert!(books
            .check(&[1; 32], &[third, third, 0.0, third], 4)
            .unwrap_err()
            .contains("begun"));
        assert!(books.check(&[2; 32], &[half, half], 4).is_err());
    }
}
