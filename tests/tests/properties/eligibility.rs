//! Tasks fall to as many participants as the probabilities say.

use pet_core::crypto::{RoundSeed, Seed, SigningKeyPair, Task, TaskSignatures};

const PARTICIPANTS: usize = 2000;
/// Of a binomial distribution: what is farther off happens by chance once in 500 million times, and the
/// participants are always the same.
const DEVIATIONS: f64 = 6.0;

#[test]
fn the_share_of_each_task_is_its_probability() {
    let seed = RoundSeed::new([5; 32]);
    let signatures: Vec<_> = (0..PARTICIPANTS as u64)
        .map(|number| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&number.to_le_bytes());
            TaskSignatures::sign(&SigningKeyPair::from_seed(&Seed::new(bytes)), &seed)
        })
        .collect();
    for (sum, update) in [(0.01, 0.5), (0.1, 0.9), (0.3, 1.0), (0.5, 0.5), (0.99, 0.01)] {
        let count = |task| signatures.iter().filter(|one| one.task(sum, update) == task).count();
        check(count(Task::Sum), sum);
        // Who sums does not update.
        check(count(Task::Update), (1.0 - sum) * update);
        check(count(Task::None), (1.0 - sum) * (1.0 - update));
    }
}

fn is_likely(count: usize, probability: f64) -> bool {
    let mean = PARTICIPANTS as f64 * probability;
    let deviation = (mean * (1.0 - probability)).sqrt();
    (count as f64 - mean).abs() <= DEVIATIONS * deviation
}

fn check(count: usize, probability: f64) {
    assert!(is_likely(count, probability), "{count} of {PARTICIPANTS} with {probability}");
}

#[test]
fn a_wrong_share_is_found() {
    assert!(is_likely(600, 0.3));
    assert!(!is_likely(600, 0.4));
    assert!(!is_likely(800, 0.3));
}
