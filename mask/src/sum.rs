//! Deriving masks and adding them up: the work of a sum participant (spec section 5).
//!
//! No mask is ever whole in memory. The sums are gone through in windows that fit the L2 cache, and in each
//! window the masks of all seeds are drawn, piece by piece in the L1 cache, and added. Of a seed only
//! the place in its key stream is kept.

use std::collections::VecDeque;
use std::fmt;

use zeroize::Zeroizing;

use super::config::MaskConfigPair;
use super::draw::Draws;
use super::element::Element;
use super::group::{with_elements, Elements, Group};
use super::object::MaskObject;
use super::seed::MaskSeed;
use crate::simd::Level;

/// Bytes of numbers that are drawn at a time. They fit the L2 cache; fewer would fit the L1 cache, but each time
/// some key stream is made in vain, which shows where every draw is accepted.
const PIECE_BYTES: usize = 64 << 10;

/// Bytes of the sums that one mask after the other is added to: they fit the L2 cache, and are long
/// enough for what beginning in the middle of a stream costs.
const WINDOW_BYTES: usize = 256 << 10;

/// What beginning a seed, or going on with it, costs beside its numbers, as a number of numbers.
const SEED_COST: usize = 64;

/// Fewer numbers than this are not worth sharing out among threads.
const MIN_SHARE: usize = 4096;

/// Adds up the masks of many seeds, in steps.
///
/// Memory: one vector of numbers, and some 50 bytes a seed. To use several cores, give each its own sum of
/// a part of the seeds and [`merge`](Self::merge) them, or, since that takes a vector for each core,
/// [`split`](Self::split) the work. Everything is wiped on drop.
pub struct MaskSum {
    config: MaskConfigPair,
    /// The whole vector.
    vector: Window,
    /// A single number.
    unit: Elements,
    /// What the unit of every seed is drawn to.
    one_unit: Elements,
    waiting: VecDeque<MaskSeed>,
    seeds_done: usize,
    /// Numbers added, and to be added, of seeds that are at work.
    begun_numbers: usize,
    /// How many seeds are at work, here or in parts.
    begun: usize,
    /// The parts that are not back yet: their numbers and where their streams stood.
    lent: Vec<(u64, Vec<Stream>)>,
    /// The next part's number.
    next_part: u64,
}

/// The two sums do not belong to the same round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("sums of masks of different configs or lengths cannot be merged")]
pub struct SumMismatch;

/// Shows the shape and the progress: the rest is secret.
impl fmt::Debug for MaskSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (done, total) = self.progress();
        write!(f, "MaskSum({}, {done} of {total} numbers)", self.config)
    }
}

impl MaskSum {
    /// The sum of no masks, for models of `length` weights.
    pub fn new(config: MaskConfigPair, length: usize) -> Self {
        MaskSum {
            config,
            vector: Window::new(config, 0, length),
            unit: Elements::zeros(config.unit, 1),
            one_unit: Elements::zeros(config.unit, 1),
            waiting: VecDeque::new(),
            seeds_done: 0,
            begun_numbers: 0,
            begun: 0,
            lent: Vec::new(),
            next_part: 0,
        }
    }

    /// The configs.
    pub fn config(&self) -> MaskConfigPair {
        self.config
    }

    /// The number of weights of the models.
    pub fn len(&self) -> usize {
        self.vector.sums.len()
    }

    /// Whether the models have no weights.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Queues the masks of these seeds; [`step`](Self::step) adds them. Those that come while others are
    /// half added make a pass of their own over the vector, until they are as far.
    pub fn add_seeds(&mut self, seeds: impl IntoIterator<Item = MaskSeed>) {
        self.waiting.extend(seeds);
    }

    /// Adds at most `max_numbers` more numbers; returns whether all queued masks are added.
    ///
    /// Beginning a seed counts as 64 of them, and so does going on with it after others, so that a step
    /// takes its time however short the models are.
    pub fn step(&mut self, max_numbers: usize) -> bool {
        self.call_back();
        let mut budget = max_numbers;
        while budget > 0 {
            let Some(seed) = self.waiting.pop_front() else { break };
            self.begin(&seed);
            budget = budget.saturating_sub(SEED_COST);
        }
        while budget > 0 && !self.vector.streams.is_empty() {
            let added = self.vector.step(budget);
            self.begun_numbers += added;
            budget = budget.saturating_sub(added + SEED_COST);
            let streams = std::mem::take(&mut self.vector.done);
            self.take_back(streams);
        }
        self.waiting.is_empty() && self.begun == 0
    }

    /// Adds a seed's unit, and puts its vector in front of all others.
    fn begin(&mut self, seed: &MaskSeed) {
        let mut draws = Draws::new(seed);
        with_elements!(&mut self.one_unit, unit => draws.fill(&unit.group, &mut unit.vector));
        self.unit.add(&self.one_unit);
        self.begun += 1;
        let stream = Stream { draws, next: 0 };
        if self.vector.sums.len() == 0 {
            self.take_back(vec![stream]);
        } else {
            self.vector.streams.push_front(stream);
        }
    }

    /// Goes on with streams after all others, or is done with them.
    fn take_back(&mut self, streams: Vec<Stream>) {
        let length = self.vector.sums.len();
        for stream in streams {
            if stream.next < length {
                self.vector.streams.push_back(stream);
            } else {
                self.begun -= 1;
                self.begun_numbers -= length;
                self.seeds_done += 1;
            }
        }
    }

    /// Splits off the next work as up to `parts` parts, which can run at the same time; none if it takes a
    /// step first (for seeds that are not begun), or there is too little to do. All of them are to be
    /// handed back to [`absorb`](Self::absorb), and then there may be more.
    ///
    /// Together they hold about a quarter of a vector. A part that is not back when something else is
    /// asked of the sum is done again, and not taken any more.
    pub fn split(&mut self, parts: usize) -> Vec<MaskSumPart> {
        self.call_back();
        let length = self.vector.sums.len();
        let streams = self.vector.streams.len();
        if parts < 2 || streams < 2 || !self.waiting.is_empty() {
            return Vec::new();
        }
        let window = (length / (4 * parts)).max(MIN_SHARE);
        if streams.saturating_mul(window.min(length)) < 2 * MIN_SHARE {
            return Vec::new();
        }
        // Many seeds are shared out at once. Few are not all at work at the same time, so that each part has
        // the same number of them: those that are furthest behind come first.
        let share = if streams < 8 * parts { streams / parts } else { streams.div_ceil(parts) };
        let queue = &mut self.vector.streams;
        queue.make_contiguous().sort_by_key(|stream| stream.next);
        let mut pieces = Vec::new();
        while let Some(start) = queue.front().map(|stream| stream.next) {
            if pieces.len() == parts {
                break;
            }
            let mut piece = Window::new(self.config, start, window.min(length - start));
            let mut total = 0;
            while piece.streams.len() < share.max(1) {
                // Those that are somewhat further come in where they are.
                if queue.front().is_none_or(|stream| stream.next >= piece.end()) {
                    break;
                }
                piece.streams.extend(queue.pop_front().inspect(|s| total += piece.end() - s.next));
            }
            let number = self.next_part;
            self.next_part += 1;
            self.lent.push((number, piece.streams.iter().cloned().collect()));
            pieces.push(MaskSumPart { number, total, window: piece });
        }
        pieces
    }

    /// Takes back a part of this sum, and adds what the part has not.
    pub fn absorb(&mut self, part: MaskSumPart) {
        let MaskSumPart { number, total, mut window } = part;
        let Some(at) = self.lent.iter().position(|(lent, _)| *lent == number) else { return };
        self.lent.swap_remove(at);
        while window.step(usize::MAX) > 0 {}
        self.begun_numbers += total;
        self.vector.sums.add_at(window.start, &window.sums);
        self.take_back(window.done);
    }

    /// Gives up the parts that are not back.
    fn call_back(&mut self) {
        for (_, streams) in self.lent.drain(..) {
            for stream in streams.into_iter().rev() {
                self.vector.streams.push_front(stream);
            }
        }
    }

    /// The progress: numbers added, and numbers of all seeds so far (saturating).
    pub fn progress(&self) -> (usize, usize) {
        let length = self.vector.sums.len();
        let seeds = self.seeds_done + self.begun + self.waiting.len();
        let done = self.seeds_done.saturating_mul(length).saturating_add(self.begun_numbers);
        (done, seeds.saturating_mul(length))
    }

    /// Merges another sum, finished or not: its masks, and the seeds that are still queued there.
    ///
    /// # Errors
    /// If config or length differ; nothing has changed then.
    pub fn merge(&mut self, mut other: MaskSum) -> Result<(), SumMismatch> {
        if self.config != other.config || self.vector.sums.len() != other.vector.sums.len() {
            return Err(SumMismatch);
        }
        self.call_back();
        other.call_back();
        self.vector.sums.add_at(0, &other.vector.sums);
        self.unit.add(&other.unit);
        self.vector.streams.append(&mut other.vector.streams);
        self.seeds_done += other.seeds_done;
        self.begun += other.begun;
        self.begun_numbers += other.begun_numbers;
        self.waiting.append(&mut other.waiting);
        Ok(())
    }

    /// The sum of the masks; adds what is still queued.
    pub fn finish(mut self) -> MaskObject {
        while !self.step(usize::MAX) {}
        MaskObject { config: self.config, vector: self.vector.sums, unit: self.unit }
    }
}

/// A part of the work of a [`MaskSum`]: some of the masks in a window of the vector.
///
/// For any thread. Everything is wiped on drop.
pub struct MaskSumPart {
    number: u64,
    window: Window,
    /// How many numbers it adds.
    total: usize,
}

/// Shows the progress: the rest is secret.
impl fmt::Debug for MaskSumPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (done, total) = self.progress();
        write!(f, "MaskSumPart({done} of {total} numbers)")
    }
}

impl MaskSumPart {
    /// Adds at most `max_numbers` more numbers, as [`MaskSum::step`]; returns whether all are added.
    pub fn step(&mut self, max_numbers: usize) -> bool {
        let mut budget = max_numbers;
        while budget > 0 && !self.window.streams.is_empty() {
            budget = budget.saturating_sub(self.window.step(budget) + SEED_COST);
        }
        self.window.streams.is_empty()
    }

    /// The progress: numbers added, and numbers in all.
    pub fn progress(&self) -> (usize, usize) {
        let window = &self.window;
        let missing = window.streams.iter().map(|stream| window.end() - stream.next).sum::<usize>();
        (self.total - missing, self.total)
    }

    /// About how much memory it holds.
    pub fn bytes(&self) -> usize {
        with_elements!(&self.window.sums, sums => std::mem::size_of_val(&sums.vector[..]))
    }
}

/// Where the mask of one seed stands.
#[derive(Clone)]
struct Stream {
    draws: Draws,
    /// The number of the vector that comes next.
    next: usize,
}

/// A part of a vector of sums, and the masks that are still to be added to it.
struct Window {
    /// The first number's index in the vector.
    start: usize,
    sums: Elements,
    streams: VecDeque<Stream>,
    /// The streams that have come to the end.
    done: Vec<Stream>,
}

impl Window {
    fn new(config: MaskConfigPair, start: usize, length: usize) -> Self {
        let sums = Elements::zeros(config.vect, length);
        Window { start, sums, streams: VecDeque::new(), done: Vec::new() }
    }

    fn end(&self) -> usize {
        self.start + self.sums.len()
    }

    /// Adds up to `max_numbers` of the first stream's numbers; returns how many. If it has come to the end
    /// of a piece of the window that fits the cache, the next time is another stream's turn.
    fn step(&mut self, max_numbers: usize) -> usize {
        let Some(mut stream) = self.streams.pop_front() else { return 0 };
        let first = stream.next - self.start;
        let (last, cached) = with_elements!(&mut self.sums, sums => {
            let group = *sums.group;
            let cached = (WINDOW_BYTES / std::mem::size_of_val(&group.max)).max(1);
            let cached = (first / cached + 1).saturating_mul(cached).min(sums.vector.len());
            let last = first.saturating_add(max_numbers).min(cached);
            add_masks(&group, &mut stream.draws, &mut sums.vector[first..last]);
            (last, cached)
        });
        stream.next = self.start + last;
        if last < cached {
            self.streams.push_front(stream);
        } else if last < self.sums.len() {
            self.streams.push_back(stream);
        } else {
            self.done.push(stream);
        }
        last - first
    }
}

/// Adds a stream's next numbers.
fn add_masks<E: Element>(group: &Group<E>, draws: &mut Draws, sums: &mut [E]) {
    if draws.add(group, sums) {
        return;
    }
    let level = Level::detected();
    let piece = (PIECE_BYTES / std::mem::size_of::<E>()).max(1);
    let mut masks = Zeroizing::new(vec![group.max; piece.min(sums.len())]);
    for sums in sums.chunks_mut(piece) {
        let masks = &mut masks[..sums.len()];
        draws.fill(group, masks);
        group.add_all(level, sums, masks);
    }
}

/// The mask of one seed, for a model of `length` weights.
pub fn derive_mask(seed: &MaskSeed, config: MaskConfigPair, length: usize) -> MaskObject {
    let mut draws = Draws::new(seed);
    let mut unit = Elements::zeros(config.unit, 1);
    with_elements!(&mut unit, unit => draws.fill(&unit.group, &mut unit.vector));
    let mut vector = Elements::zeros(config.vect, length);
    with_elements!(&mut vector, vector => draws.fill(&vector.group, &mut vector.vector));
    MaskObject { config, vector, unit }
}

#[cfg(test)]
mod tests {
    use super::super::config::MaskConfig;
    use super::*;
    use num_bigint::BigUint;

    fn seeds(count: u8) -> Vec<MaskSeed> {
        (0..count).map(|i| MaskSeed::new([i; 32])).collect()
    }

    fn naive(config: MaskConfigPair, length: usize, seeds: &[MaskSeed]) -> MaskObject {
        let mut vector = vec![BigUint::default(); length];
        let mut unit = BigUint::default();
        for seed in seeds {
            let mask = derive_mask(seed, config, length);
            for (sum, number) in vector.iter_mut().zip(mask.numbers()) {
                *sum = (&*sum + number) % config.vect.order();
            }
            unit = (unit + mask.unit()) % config.unit.order();
        }
        MaskObject::from_numbers(config, &vector, unit).unwrap()
    }

    #[test]
    fn all_configs_add_up() {
        for config in MaskConfig::all() {
            let config = config.into();
            let mut sum = MaskSum::new(config, 5);
            sum.add_seeds(seeds(7));
            assert_eq!(sum.finish(), naive(config, 5, &seeds(7)), "{config}");
        }
    }

    #[test]
    fn steps_and_parts_do_not_matter() {
        let config = MaskConfig::from_bytes([0, 1, 6, 9]).unwrap().into();
        let cached = WINDOW_BYTES / 16;
        let length = 2 * cached + 3;
        let expected = naive(config, length, &seeds(4));
        for step in [333, SEED_COST, cached, length, 3 * length] {
            let mut sum = MaskSum::new(config, length);
            sum.add_seeds(seeds(4));
            let mut steps = 1;
            while !sum.step(step) {
                steps += 1;
                let (done, total) = sum.progress();
                assert!(done < total && total == 4 * length);
                assert!(done <= (steps - 1) * step);
            }
            // No seed makes a step longer; the last one of a step makes it shorter.
            assert!((4 * length).div_ceil(step) <= steps);
            assert_eq!(sum.progress(), (4 * length, 4 * length));
            assert!(sum.finish() == expected);
        }
        // The other sum is half done, in the middle of two masks and with another in the queue.
        let mut sum = MaskSum::new(config, length);
        sum.add_seeds(seeds(4)[..1].to_vec());
        let mut other = MaskSum::new(config, length);
        other.add_seeds(seeds(4)[1..3].to_vec());
        other.step(cached + 500);
        other.add_seeds(seeds(4)[3..].to_vec());
        sum.step(300);
        let (done, other_done) = (sum.progress().0, other.progress().0);
        assert!(0 < done && done < other_done);
        sum.merge(other).unwrap();
        assert_eq!(sum.progress(), (done + other_done, 4 * length));
        assert!(sum.finish() == expected);
    }

    #[test]
    fn parts_may_be_longer_than_the_cache() {
        let config = MaskConfig::from_bytes([0, 1, 6, 9]).unwrap().into();
        let length = 8 * (WINDOW_BYTES / 16 + 5);
        let mut sum = MaskSum::new(config, length);
        sum.add_seeds(seeds(2));
        sum.step(2 * SEED_COST);
        for mut part in sum.split(2) {
            assert_eq!(part.progress(), (0, length / 8));
            while !part.step(WINDOW_BYTES / 16 + 1) {}
            assert_eq!(part.progress(), (length / 8, length / 8));
            sum.absorb(part);
        }
        assert_eq!(sum.progress(), (length / 4, 2 * length));
        assert!(sum.finish() == naive(config, length, &seeds(2)));
    }

    #[test]
    fn merged_sums_know_how_many_they_are_of() {
        let config = MaskConfig::from_bytes([1, 0, 0, 3]).unwrap().into();
        let [mut sum, mut other] = [0..2, 2..5].map(|range| {
            let mut sum = MaskSum::new(config, 3);
            sum.add_seeds(seeds(5)[range].to_vec());
            while !sum.step(1) {}
            sum
        });
        other.add_seeds(seeds(6)[5..].to_vec());
        sum.merge(other).unwrap();
        assert_eq!(sum.progress(), (5 * 3, 6 * 3));
        assert_eq!(sum.finish(), naive(config, 3, &seeds(6)));
    }

    /// All configs would take long: one for each kind of number.
    #[test]
    fn pieces_for_threads_add_up() {
        for bytes in [[16, 0, 0, 3], [1, 0, 0, 3], [0, 1, 2, 6], [2, 0, 255, 3]] {
            let config: MaskConfigPair = MaskConfig::from_bytes(bytes).unwrap().into();
            for (length, count) in [(1, 9000), (MIN_SHARE + 1, 2), (5 * MIN_SHARE, 3), (30_000, 40)]
            {
                let seeds: Vec<_> = (0..count)
                    .map(|i: u64| {
                        let mut seed = [1; 32];
                        seed[..8].copy_from_slice(&i.to_le_bytes());
                        MaskSeed::new(seed)
                    })
                    .collect();
                if count == 40 && bytes[2] == 255 {
                    continue;
                }
                let mut expected = MaskSum::new(config, length);
                expected.add_seeds(seeds.clone());
                let expected = expected.finish();
                for parts in [2, 3, 16] {
                    let mut sum = MaskSum::new(config, length);
                    sum.add_seeds(seeds.clone());
                    let (mut rounds, mut most) = (0, 0);
                    loop {
                        let pieces = sum.split(parts);
                        if pieces.is_empty() {
                            if sum.step(SEED_COST * seeds.len()) {
                                break;
                            }
                            continue;
                        }
                        rounds += 1;
                        most = most.max(pieces.len());
                        let before = sum.progress().0;
                        let mut added = 0;
                        for mut piece in pieces {
                            assert_eq!(piece.progress().0, 0);
                            while !piece.step(1000) {}
                            let (done, total) = piece.progress();
                            assert_eq!(done, total);
                            assert!(
                                piece.bytes() <= 34 * 8 * length.div_ceil(4 * parts).max(MIN_SHARE)
                            );
                            added += done;
                            let width = config.vect.bytes_per_number();
                            assert!(piece.bytes() >= piece.window.sums.len() * width);
                            sum.absorb(piece);
                        }
                        assert_eq!(sum.progress().0, before + added);
                    }
                    let total = length * seeds.len();
                    assert_eq!(sum.progress(), (total, total));
                    assert!(rounds > 0);
                    assert_eq!(most, parts.min(count as usize));
                    assert!(sum.finish() == expected);
                }
            }
        }
    }

    #[test]
    fn what_is_not_worth_sharing_is_not_shared() {
        let config = MaskConfig::from_bytes([1, 0, 0, 3]).unwrap().into();
        let parts = |length, count, parts| {
            let mut sum = MaskSum::new(config, length);
            sum.add_seeds(seeds(count));
            sum.step(SEED_COST * usize::from(count));
            let lent = sum.split(parts).len();
            assert!(sum.finish() == naive(config, length, &seeds(count)));
            lent
        };
        // For one thread, or of one seed, or of few numbers in all.
        assert_eq!(parts(2 * MIN_SHARE, 2, 0), 0);
        assert_eq!(parts(2 * MIN_SHARE, 2, 1), 0);
        assert_eq!(parts(4 * MIN_SHARE, 1, 2), 0);
        assert_eq!(parts(MIN_SHARE - 1, 2, 2), 0);
        assert_eq!(parts(MIN_SHARE, 2, 2), 2);
    }

    #[test]
    fn a_step_of_a_part_is_as_long_as_it_may_be() {
        let config = MaskConfig::from_bytes([1, 0, 0, 3]).unwrap().into();
        let mut sum = MaskSum::new(config, MIN_SHARE);
        sum.add_seeds(seeds(4));
        sum.step(4 * SEED_COST);
        let mut part = sum.split(2).swap_remove(0);
        assert_eq!(part.progress(), (0, 2 * MIN_SHARE));
        assert!(!part.step(MIN_SHARE + SEED_COST + 10));
        assert_eq!(part.progress(), (MIN_SHARE + 10, 2 * MIN_SHARE));
        assert!(!part.step(MIN_SHARE - 11));
        assert_eq!(part.progress(), (2 * MIN_SHARE - 1, 2 * MIN_SHARE));
        assert!(part.step(1));
    }

    /// A part that is lost, or comes too late, changes nothing.
    #[test]
    fn parts_may_be_lost() {
        let config = MaskConfig::from_bytes([1, 0, 0, 3]).unwrap().into();
        let length = 3 * MIN_SHARE;
        let mut sum = MaskSum::new(config, length);
        sum.add_seeds(seeds(4));
        sum.step(4 * SEED_COST);
        let mut lost = sum.split(2);
        assert_eq!(lost.len(), 2);
        // One of them is back in time.
        sum.absorb(lost.remove(0));
        let done = sum.progress().0;
        assert!(done > 0);
        let mut again = sum.split(2);
        assert_eq!(sum.progress().0, done);
        sum.absorb(lost.remove(0));
        assert_eq!(sum.progress().0, done);
        again.truncate(1);
        sum.absorb(again.remove(0));
        assert!(sum.progress().0 > done);
        assert!(sum.finish() == naive(config, length, &seeds(4)));
    }

    /// Also where some of the seeds have begun.
    #[test]
    fn parts_are_of_one_size() {
        let config = MaskConfig::from_bytes([1, 0, 0, 3]).unwrap().into();
        let mut sum = MaskSum::new(config, 16 * MIN_SHARE);
        sum.add_seeds(seeds(20));
        while sum.split(2).is_empty() {
            sum.step(20 * SEED_COST + 1000);
        }
        sum.step(20 * SEED_COST + 1000);
        assert!(sum.progress().0 > 0);
        let mut rounds = 0;
        loop {
            let parts = sum.split(2);
            if parts.is_empty() {
                break;
            }
            rounds += 1;
            let sizes: Vec<_> = parts.iter().map(|part| part.total).collect();
            let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
            assert!(sizes.len() == 2 && 10 * least > 9 * most, "{sizes:?}");
            for part in parts {
                sum.absorb(part);
            }
        }
        assert_eq!(rounds, 8);
        assert!(sum.finish() == naive(config, 16 * MIN_SHARE, &seeds(20)));
    }

    /// With few seeds, too, all parts have something to do nearly all of the time.
    #[test]
    fn three_seeds_keep_two_threads_busy() {
        let config = MaskConfig::from_bytes([1, 0, 0, 3]).unwrap().into();
        let length = 16 * MIN_SHARE;
        let mut sum = MaskSum::new(config, length);
        sum.add_seeds(seeds(3));
        assert!(sum.split(2).is_empty());
        sum.step(3 * SEED_COST);
        let mut time = 0;
        loop {
            let pieces = sum.split(2);
            if pieces.is_empty() {
                break;
            }
            time += pieces.iter().map(|piece| piece.total).max().unwrap();
            for piece in pieces {
                sum.absorb(piece);
            }
        }
        let (done, total) = sum.progress();
        time += total - done;
        assert!(10 * time <= 17 * length, "{time}");
        assert!(sum.finish() == naive(config, length, &seeds(3)));
    }

    #[test]
    fn models_without_weights_have_units() {
        let config = MaskConfig::from_bytes([2, 0, 0, 3]).unwrap().into();
        let mut sum = MaskSum::new(config, 0);
        assert!(sum.step(1));
        sum.add_seeds(seeds(3));
        assert!(!sum.step(SEED_COST + 1));
        assert!(sum.step(1));
        assert_eq!(sum.finish(), naive(config, 0, &seeds(3)));
    }

    /// A step is short even where there are many seeds for short models.
    #[test]
    fn seeds_count() {
        let config = MaskConfig::from_bytes([1, 0, 0, 3]).unwrap().into();
        let mut sum = MaskSum::new(config, 3);
        sum.add_seeds(seeds(100));
        let (mut steps, mut before) = (1, 0);
        while !sum.step(4 * SEED_COST) {
            let (done, _) = sum.progress();
            assert!(done - before <= 4 * 3);
            before = done;
            steps += 1;
        }
        // Four seeds a step are begun, and then added.
        assert_eq!(steps, 50);
    }

    #[test]
    fn other_rounds_are_not_merged() {
        let config: MaskConfigPair = MaskConfig::from_bytes([2, 0, 0, 3]).unwrap().into();
        let other = MaskConfig::from_bytes([2, 0, 0, 6]).unwrap().into();
        let mut sum = MaskSum::new(config, 2);
        assert_eq!(sum.merge(MaskSum::new(config, 3)), Err(SumMismatch));
        assert_eq!(sum.merge(MaskSum::new(other, 2)), Err(SumMismatch));
        assert_eq!(sum.merge(MaskSum::new(config, 2)), Ok(()));
    }
}
