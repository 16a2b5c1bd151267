//! Attack 10: differential privacy, audited from outside. Two worlds that differ in one hospital's difference (all of its
//! norm on one weight, or zero) are played through whole rounds, with a real member of the honest group, and with a coordinator that
//! knows everything else. From how well it tells the worlds apart follows a lower bound of epsilon, which must stay
//! below the claim. It is above it with the noise removed, and with noise that each replica draws for itself.

use pet_core::mask::accounting;
use pet_core::mask::noise::{Noise, NoiseSeed};
use pet_core::v2::{MemberId, NoiseTerms, Terms};
use pet_testing::v2::by_hand::{config, list, seed, Committee, HandMember, HandUpdate, Round};
use pet_testing::v2::stage::{Player, Said, Shown};
use pet_testing::v2::words;

/// z, in thousandths.
const MULTIPLIER: u32 = 1000;
const DELTA: f64 = 0.01;
const ROUNDS: usize = 1500;

/// The worlds: what the audited hospital sends.
const WORLDS: [f32; 2] = [0.0, 1.0];

fn sigma() -> f64 {
    Noise::new(config().vect, 1, MULTIPLIER).unwrap().sigma() as f64
}

/// What the coordinator is left with of the audited hospital's number, in units of the noise's deviation, after it has taken off
/// all that it knows: the other hospitals' models, and the other group's streams.
fn audited(scene: &Scene<'_>, masks: &[Vec<u32>]) -> f64 {
    let mut left = words::vector(&scene.updates[0].object);
    for (update, model) in scene.updates.iter().zip(&scene.models).skip(1) {
        left = words::add(&left, &words::vector(&update.object));
        left = words::sub(&left, &words::encode(model));
    }
    let updates: Vec<&HandUpdate> = scene.updates.iter().collect();
    left = words::sub(&left, &words::of(&scene.round.mask(1, &updates)));
    // Zero is encoded as 2^21. Of several masks of the honest group it takes the mean.
    let zero = words::encode(&[0.0]);
    let of = |mask: &Vec<u32>| {
        let number = words::sub(&words::sub(&left, mask), &zero)[0];
        f64::from(number as i32) / sigma()
    };
    masks.iter().map(of).sum::<f64>() / masks.len() as f64
}

struct Scene<'a> {
    round: Round<'a>,
    updates: Vec<HandUpdate>,
    models: Vec<Vec<f32>>,
}

fn terms(committee: &Committee, number: u64, noise: bool) -> Terms {
    let mut terms = committee.terms(number, 1);
    terms.noise = noise.then_some(NoiseTerms { multiplier_thousandths: MULTIPLIER, clip: 1.0 });
    terms
}

/// Plays a round; gives the honest member's mask, as it sends it.
fn play(scene: &Scene<'_>, player: &mut Player, friend: &HandMember) -> Vec<u32> {
    let updates: Vec<&HandUpdate> = scene.updates.iter().collect();
    let check = Shown::check(&scene.round, player.id, &updates);
    assert!(
        matches!(&player.show(&check)[..], [Said::Report(report)] if report.accused.is_empty())
    );
    let agree = Shown::agree(&scene.round, player.id, &updates, &[]);
    let said = player.show(&agree);
    let [Said::Vote(vote)] = said[..] else { panic!("{said:?}: {:?}", player.events) };
    let decision = agree.set.as_ref().unwrap().decision;
    let votes = vec![vote, friend.vote(&decision)];
    player.show(&agree.sum2(votes, player.id));
    words::vector(&player.masks().pop().expect("a mask").1)
}

/// What the coordinator finds in so many rounds of a world. `masks` makes of the honest group's mask what the coordinator gets.
fn observe(
    model: f32,
    noise: bool,
    masks: impl Fn(&Scene<'_>, u64, Vec<u32>) -> Vec<Vec<u32>>,
) -> Vec<f64> {
    let committee = Committee::new(2, 1, 3);
    let friend = HandMember::new(&committee, MemberId::new(1, 0), 0);
    let mut player = Player::new(&committee, MemberId::new(0, 0));
    (1..=ROUNDS as u64)
        .map(|number| {
            let terms = terms(&committee, number, noise);
            let shown = Shown::announce(&committee, &terms);
            player.show(&shown);
            let own = player.announcement().expect("it takes part");
            let list = list(vec![own, friend.announce(&terms.context())]);
            let round = Round { committee: &committee, terms: &terms, list: &list };
            let models = vec![vec![model], vec![0.25], vec![-0.5]];
            let updates = models
                .iter()
                .enumerate()
                .map(|(i, model)| {
                    // Seeds of their own in each round and world.
                    let model = pet_core::model::Model::F32(model.clone());
                    round.update_with(i, &model, 2 * number + u64::from(noise))
                })
                .collect();
            let scene = Scene { round, updates, models };
            player.said.clear();
            let mask = play(&scene, &mut player, &friend);
            audited(&scene, &masks(&scene, number, mask))
        })
        .collect()
}

/// One-sided Clopper-Pearson bounds at 99.9 %, by bisection on the binomial tail.
fn bounds(hits: usize, of: usize) -> (f64, f64) {
    // P(X >= hits) for X ~ B(of, p), by its logarithms.
    let at_least = |hits: usize, p: f64| -> f64 {
        let mut log = of as f64 * (1.0 - p).ln();
        let mut below = 0.0;
        for k in 0..hits {
            below += log.exp();
            log += ((of - k) as f64 / (k + 1) as f64).ln() + (p / (1.0 - p)).ln();
        }
        1.0 - below
    };
    let bisect = |is_above: &dyn Fn(f64) -> bool| {
        let (mut low, mut high) = (1e-12, 1.0 - 1e-12);
        for _ in 0..60 {
            let middle = (low + high) / 2.0;
            if is_above(middle) {
                high = middle;
            } else {
                low = middle;
            }
        }
        low
    };
    let low = if hits == 0 { 0.0 } else { bisect(&|p| at_least(hits, p) > 1e-3) };
    let high = if hits == of { 1.0 } else { bisect(&|p| at_least(hits + 1, p) > 1.0 - 1e-3) };
    (low, high)
}

/// The largest epsilon that the observations prove: for events "at least t", `ln((p1 - delta) / p0)`, with p1 and p0 at the
/// unfavourable ends of what they may be. One half of the rounds chooses the event, the other half judges it.
fn proven_epsilon(worlds: &[Vec<f64>; 2]) -> f64 {
    let half = ROUNDS / 2;
    let count = |world: &[f64], t: f64| world.iter().filter(|x| **x >= t).count();
    let epsilon = |rounds: std::ops::Range<usize>, t: f64| {
        let of = rounds.len();
        let (p1, _) = bounds(count(&worlds[1][rounds.clone()], t), of);
        let (_, p0) = bounds(count(&worlds[0][rounds], t), of);
        if p1 > DELTA {
            ((p1 - DELTA) / p0).ln()
        } else {
            0.0
        }
    };
    let events = (-40..=80).map(|t| f64::from(t) / 10.0);
    let best = events.max_by(|a, b| epsilon(0..half, *a).total_cmp(&epsilon(0..half, *b))).unwrap();
    epsilon(half..ROUNDS, best)
}

fn claim() -> f64 {
    accounting::epsilon(accounting::rho(MULTIPLIER), DELTA)
}

fn as_it_is(_: &Scene<'_>, _: u64, mask: Vec<u32>) -> Vec<Vec<u32>> {
    vec![mask]
}

#[test]
fn two_neighbouring_worlds_stay_below_the_claim() {
    let worlds = WORLDS.map(|model| observe(model, true, as_it_is));
    let epsilon = proven_epsilon(&worlds);
    assert!(epsilon < claim(), "{epsilon} is proven, and {} is claimed", claim());
    // The audit is no formality: it proves a good part of the claim.
    assert!(epsilon > 0.2 * claim(), "{epsilon} of {}", claim());
    for (world, x) in worlds.iter().zip(WORLDS) {
        chi_square(world, f64::from(x) * words::STEPS / sigma());
    }
}

/// What was observed is distributed as the noise about the model should be: 20 bins that are equally likely. (The noise is
/// millions of steps wide, so the continuous distribution stands for it; small ones are compared with the exact probabilities in
/// pet-mask.)
fn chi_square(observed: &[f64], mean: f64) {
    let mut bins = [0usize; 20];
    for x in observed {
        let share = normal_below(x - mean);
        bins[((share * 20.0) as usize).min(19)] += 1;
    }
    let expected = observed.len() as f64 / 20.0;
    let chi: f64 = bins.iter().map(|bin| (*bin as f64 - expected).powi(2) / expected).sum();
    // 19 degrees of freedom: above 50 once in 7,000.
    assert!(chi < 50.0, "chi-square {chi:.1}: {bins:?}");
}

/// The standard normal distribution, by Simpson's rule.
fn normal_below(x: f64) -> f64 {
    let density = |t: f64| (-t * t / 2.0).exp() / std::f64::consts::TAU.sqrt();
    let (from, steps) = (-9.0, 2000);
    let x = x.clamp(from, 9.0);
    let h = (x - from) / f64::from(steps);
    let inner =
        (1..steps).map(|k| density(from + f64::from(k) * h) * if k % 2 == 1 { 4.0 } else { 2.0 });
    (density(from) + density(x) + inner.sum::<f64>()) * h / 3.0
}

/// The control: without noise the audit proves more than is claimed.
#[test]
fn without_noise_the_audit_fails() {
    let worlds = WORLDS.map(|model| observe(model, false, as_it_is));
    let epsilon = proven_epsilon(&worlds);
    assert!(epsilon > claim(), "{epsilon} of {}", claim());
}

/// The control: five replicas that each draw noise of their own are asked one after another, and the mean of what they say
/// has less noise than is claimed.
#[test]
fn noise_drawn_by_each_replica_fails_the_audit() {
    let gaussian = Noise::new(config().vect, 1, MULTIPLIER).unwrap().gaussian();
    let replicas = |scene: &Scene<'_>, number: u64, _: Vec<u32>| -> Vec<Vec<u32>> {
        let updates: Vec<&HandUpdate> = scene.updates.iter().collect();
        let sum = words::of(&scene.round.mask(0, &updates));
        let world = scene.models[0][0] as u64;
        (0..5)
            .map(|replica| {
                let own = seed(50, (number * 5 + replica) * 2 + world);
                let mut noise = [0i128];
                gaussian.fill_block(&NoiseSeed::new(*own.as_bytes()), 0, &mut noise);
                words::sub(&sum, &[noise[0] as u32])
            })
            .collect()
    };
    let worlds = WORLDS.map(|model| observe(model, false, replicas));
    let epsilon = proven_epsilon(&worlds);
    assert!(epsilon > claim(), "{epsilon} of {}", claim());
}

/// All replicas of a group take off the same noise, to the bit; other groups and other sets another.
#[test]
fn replicas_draw_the_same_noise() {
    let committee = Committee::new(2, 3, 3);
    let terms = terms(&committee, 1, true);
    let mut players: Vec<_> =
        (0..3).map(|index| Player::new(&committee, MemberId::new(0, index))).collect();
    let friends: Vec<_> =
        (0..3).map(|index| HandMember::new(&committee, MemberId::new(1, index), 0)).collect();
    let shown = Shown::announce(&committee, &terms);
    players.iter_mut().for_each(|player| drop(player.show(&shown)));
    let own = players.iter().map(|player| player.announcement().unwrap());
    let list = list(own.chain(friends.iter().map(|f| f.announce(&terms.context()))).collect());
    let round = Round { committee: &committee, terms: &terms, list: &list };
    let updates: Vec<_> = (0..3).map(|i| round.update(i, &[0.1])).collect();
    let updates: Vec<_> = updates.iter().collect();
    let agree = |player: &Player| Shown::agree(&round, player.id, &updates, &[]);
    let votes: Vec<_> = players
        .iter_mut()
        .flat_map(|player| {
            player.show(&Shown::check(&round, player.id, &updates));
            let shown = agree(player);
            player.show(&shown);
            player.votes()
        })
        .collect();
    let decision = round.decision(&updates).unwrap();
    let votes: Vec<_> =
        votes.into_iter().chain(friends.iter().map(|friend| friend.vote(&decision))).collect();
    let masks: Vec<_> = players
        .iter_mut()
        .map(|player| {
            let shown = agree(player).sum2(votes.clone(), player.id);
            player.show(&shown);
            words::vector(&player.masks().pop().expect("a mask").1)
        })
        .collect();
    assert_eq!(votes.len(), 6);
    assert!(masks.iter().all(|mask| *mask == masks[0]));
    assert_ne!(masks[0], words::of(&round.mask(0, &updates)), "there is noise in it");
}

/// The bounds that the audit rests on, for numbers that tables have (99.9 %, one-sided).
#[test]
fn the_bounds_are_those_of_tables() {
    let (low, high) = bounds(0, 1000);
    assert_eq!(low, 0.0);
    assert!((high - 0.006_884).abs() < 1e-4, "{high}");
    let (low, high) = bounds(1000, 1000);
    assert!((low - 0.993_116).abs() < 1e-4 && high == 1.0, "{low}");
    let (low, high) = bounds(500, 1000);
    assert!(low > 0.44 && low < 0.46 && high > 0.54 && high < 0.56, "{low} {high}");
}
