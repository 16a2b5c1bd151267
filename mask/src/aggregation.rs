//! Adding up masked models: the coordinator's work in the update phase (spec section 5).

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::config::MaskConfigPair;
use super::group::{with_elements, Elements};
use super::object::{clip, MaskObject, MaskObjectError, MaskObjectPart, MaskObjectView};
use super::wire::WireNumbers;
use crate::simd::Level;

/// Why a masked model cannot be added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AggregationError {
    /// The vector has another config or length.
    #[error("the masked model does not fit: {found} with {found_len} numbers, the round has {expected} with {expected_len}")]
    ModelMismatch {
        /// Configs of the round.
        expected: MaskConfigPair,
        /// Length of the round's models.
        expected_len: usize,
        /// Configs of the object.
        found: MaskConfigPair,
        /// Its length.
        found_len: usize,
    },
    /// The unit has another config.
    #[error("the masked scalar does not fit: its config is {found}, the round has {expected}")]
    ScalarMismatch {
        /// Configs of the round.
        expected: MaskConfigPair,
        /// Configs of the object.
        found: MaskConfigPair,
    },
    /// The vector's config allows no more.
    #[error("no more than {0} models can be added up with the round's vector config")]
    TooManyModels(u64),
    /// The unit's config allows no more.
    #[error("no more than {0} scalars can be added up with the round's unit config")]
    TooManyScalars(u64),
    /// A number is not below its order.
    #[error("the masked model is invalid: {0}")]
    InvalidObject(#[from] MaskObjectError),
}

/// Why an aggregate cannot be unmasked, with this mask or at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnmaskError {
    /// Nothing was aggregated.
    #[error("there is no model to unmask")]
    NoModel,
    /// More models than the vector's config allows.
    #[error("more than the {0} models that the vector config allows were added up")]
    TooManyModels(u64),
    /// More models than the unit's config allows.
    #[error("more than the {0} scalars that the unit config allows were added up")]
    TooManyScalars(u64),
    /// There is nothing to unmask it with.
    #[error("there is no mask to take off")]
    NoMask,
    /// The mask's vector has another config or length.
    #[error("the mask does not fit: {found} with {found_len} numbers, the round has {expected} with {expected_len}")]
    MaskManyMismatch {
        /// Configs of the round.
        expected: MaskConfigPair,
        /// Length of the round's models.
        expected_len: usize,
        /// Configs of the mask.
        found: MaskConfigPair,
        /// Its length.
        found_len: usize,
    },
    /// The mask's unit has another config.
    #[error(
        "the mask of the scalar does not fit: its config is {found}, the round has {expected}"
    )]
    MaskOneMismatch {
        /// Configs of the round.
        expected: MaskConfigPair,
        /// Configs of the mask.
        found: MaskConfigPair,
    },
    /// The mask is malformed, or one of its numbers is not below its order.
    #[error("the mask is invalid: {0}")]
    InvalidMask(#[from] MaskObjectError),
    /// Without the mask, a number is not one that so many models add up to if each of them is within the
    /// bounds of the configs: somebody has sent what cannot be made by masking a model.
    #[error("number {index} of the {part} is not within what {nb_models} models add up to: a participant has sent something else than a masked model, or sum participants another mask than that of the models")]
    ImpossibleSum {
        /// Where it is.
        part: MaskObjectPart,
        /// Its index there.
        index: usize,
        /// How many models there are.
        nb_models: u64,
    },
    /// The scalars sum up to zero: the average does not exist.
    #[error("the scalars of all models are zero together, so that there is no average")]
    ScalarSumZero,
    /// Not the fault of any participant.
    #[error("there is not enough memory for a global model of {len} weights, {bytes} bytes in its exact form: give the coordinator more memory, or use a shorter model")]
    OutOfMemory {
        /// How many weights.
        len: usize,
        /// How many bytes the exact form may have.
        bytes: usize,
    },
}

/// The sum of masked models.
///
/// Two ways to add one: [`aggregate`](Self::aggregate) at once; or in steps, with
/// [`validate_shape`](Self::validate_shape), [`MaskObjectView::check_range`] and
/// [`MaskObjectView::check_unit`] for all of the object, then [`add_range`](Self::add_range) for all of it,
/// then [`add_unit`](Self::add_unit).
///
/// serde writes the number of models and the sum in its wire form; reading it validates both.
#[derive(Clone, PartialEq, Eq)]
pub struct Aggregation {
    nb_models: u64,
    sum: MaskObject,
}

/// Shows the shape, not the numbers.
impl fmt::Debug for Aggregation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (config, len) = (self.config(), self.len());
        write!(f, "Aggregation({config}, {len} numbers, {} models)", self.nb_models)
    }
}

impl Aggregation {
    /// The sum of no models of `length` weights.
    pub fn new(config: MaskConfigPair, length: usize) -> Self {
        let vector = Elements::zeros(config.vect, length);
        let unit = Elements::zeros(config.unit, 1);
        Aggregation { nb_models: 0, sum: MaskObject { config, vector, unit } }
    }

    /// Takes a sum that was made elsewhere, of that many models.
    pub fn with_nb_models(sum: MaskObject, nb_models: u64) -> Self {
        Aggregation { nb_models, sum }
    }

    /// How many models were added.
    pub fn nb_models(&self) -> u64 {
        self.nb_models
    }

    /// The configs.
    pub fn config(&self) -> MaskConfigPair {
        self.sum.config
    }

    /// The number of weights of the models.
    pub fn len(&self) -> usize {
        self.sum.len()
    }

    /// Whether the models have no weights.
    pub fn is_empty(&self) -> bool {
        self.sum.is_empty()
    }

    /// The sum.
    pub fn object(&self) -> &MaskObject {
        &self.sum
    }

    /// Checks that this masked model can be added.
    ///
    /// # Errors
    /// If it does not fit, is one too many, or has a number that is not below its order.
    pub fn validate_aggregation(&self, view: &MaskObjectView<'_>) -> Result<(), AggregationError> {
        self.validate_shape(view)?;
        view.check_elements()?;
        Ok(())
    }

    /// The part of [`validate_aggregation`](Self::validate_aggregation) that takes no time.
    ///
    /// # Errors
    /// If it does not fit, or is one too many.
    pub fn validate_shape(&self, view: &MaskObjectView<'_>) -> Result<(), AggregationError> {
        let (expected, found) = (self.config(), view.config());
        // In the order of deployed coordinators: both configs come before the length.
        if found.vect == expected.vect && found.unit != expected.unit {
            return Err(AggregationError::ScalarMismatch { expected, found });
        }
        if found.vect != expected.vect || view.len() != self.len() {
            return Err(AggregationError::ModelMismatch {
                expected,
                expected_len: self.len(),
                found,
                found_len: view.len(),
            });
        }
        let [vect_max, unit_max] = [expected.vect, expected.unit].map(|c| c.max_nb_models());
        if self.nb_models >= vect_max {
            return Err(AggregationError::TooManyModels(vect_max));
        }
        if self.nb_models >= unit_max {
            return Err(AggregationError::TooManyScalars(unit_max));
        }
        Ok(())
    }

    /// Adds a masked model.
    ///
    /// # Errors
    /// As [`validate_aggregation`](Self::validate_aggregation); nothing has changed then.
    pub fn aggregate(&mut self, view: &MaskObjectView<'_>) -> Result<(), AggregationError> {
        self.validate_shape(view)?;
        view.check_unit()?;
        let added = with_elements!(&mut self.sum.vector, sums => {
            WireNumbers::new(Level::detected(), &sums.group, view.vector(), 0..view.len())
                .add_checked(&mut sums.vector)
        });
        added.map_err(|index| MaskObjectError::NotBelowOrder {
            part: MaskObjectPart::Vector,
            index,
        })?;
        self.add_unit(view);
        Ok(())
    }

    /// Adds some numbers of a masked model's vector (indices beyond its end are left out).
    ///
    /// The object has been validated. With one that was not, the sum is worthless afterwards.
    pub fn add_range(&mut self, view: &MaskObjectView<'_>, range: Range<usize>) {
        let config = self.sum.config.vect;
        debug_assert!(view.matches(self.sum.config, self.sum.len()));
        if view.config().vect != config {
            return;
        }
        let range = clip(range, self.sum.len().min(view.len()));
        with_elements!(&mut self.sum.vector, sums => {
            WireNumbers::new(Level::detected(), &sums.group, view.vector(), range.clone())
                .add(&mut sums.vector[range]);
        });
    }

    /// Adds a masked model's unit and counts the model; follows [`add_range`](Self::add_range).
    pub fn add_unit(&mut self, view: &MaskObjectView<'_>) {
        self.add_unit_of(view, 1);
    }

    /// Adds the unit of a sum of so many models, and counts them; follows the adding of its vector.
    pub fn add_unit_of(&mut self, sum: &MaskObjectView<'_>, nb_models: u64) {
        if sum.config().unit == self.sum.config.unit {
            self.sum.unit.add(&sum.unit_element());
        }
        self.nb_models = self.nb_models.saturating_add(nb_models);
    }

    /// Adds another sum of models of the same round.
    ///
    /// # Errors
    /// If it does not fit, or that would be too many models; nothing has changed then.
    pub fn merge(&mut self, other: &Aggregation) -> Result<(), AggregationError> {
        self.validate_merge(other)?;
        self.merge_range(other, 0..other.len());
        self.merge_unit(other);
        Ok(())
    }

    /// The part of [`merge`](Self::merge) that takes no time.
    ///
    /// # Errors
    /// As for `merge`.
    pub fn validate_merge(&self, other: &Aggregation) -> Result<(), AggregationError> {
        let (expected, found) = (self.config(), other.config());
        if expected != found || self.len() != other.len() {
            return Err(AggregationError::ModelMismatch {
                expected,
                expected_len: self.len(),
                found,
                found_len: other.len(),
            });
        }
        let nb_models = self.nb_models.saturating_add(other.nb_models);
        if nb_models > expected.vect.max_nb_models() {
            return Err(AggregationError::TooManyModels(expected.vect.max_nb_models()));
        }
        if nb_models > expected.unit.max_nb_models() {
            return Err(AggregationError::TooManyScalars(expected.unit.max_nb_models()));
        }
        Ok(())
    }

    /// Adds some numbers of another sum's vector (indices beyond its end are left out). The other sum has
    /// been validated; with one that was not, this one is worthless afterwards.
    pub fn merge_range(&mut self, other: &Aggregation, range: Range<usize>) {
        let range = clip(range, self.len().min(other.len()));
        self.sum.vector.add_range(&other.sum.vector, range);
    }

    /// Adds another sum's unit and counts its models; follows [`merge_range`](Self::merge_range).
    pub fn merge_unit(&mut self, other: &Aggregation) {
        self.sum.unit.add(&other.sum.unit);
        self.nb_models = self.nb_models.saturating_add(other.nb_models);
    }

    /// Checks that the sum can be unmasked with this mask.
    ///
    /// # Errors
    /// If there are no or too many models, or the mask does not fit or is invalid. A scalar sum of zero
    /// only shows when unmasking.
    pub fn validate_unmasking(&self, mask: &MaskObjectView<'_>) -> Result<(), UnmaskError> {
        self.validate_mask_shape(mask)?;
        mask.check_elements()?;
        Ok(())
    }

    /// The part of [`validate_unmasking`](Self::validate_unmasking) that takes no time.
    ///
    /// # Errors
    /// If there are no or too many models, or the mask does not fit.
    pub fn validate_mask_shape(&self, mask: &MaskObjectView<'_>) -> Result<(), UnmaskError> {
        let (expected, found) = (self.config(), mask.config());
        if self.nb_models == 0 {
            return Err(UnmaskError::NoModel);
        }
        let [vect_max, unit_max] = [expected.vect, expected.unit].map(|c| c.max_nb_models());
        if self.nb_models > vect_max {
            return Err(UnmaskError::TooManyModels(vect_max));
        }
        if self.nb_models > unit_max {
            return Err(UnmaskError::TooManyScalars(unit_max));
        }
        if found.vect != expected.vect || mask.len() != self.len() {
            return Err(UnmaskError::MaskManyMismatch {
                expected,
                expected_len: self.len(),
                found,
                found_len: mask.len(),
            });
        }
        if found.unit != expected.unit {
            return Err(UnmaskError::MaskOneMismatch { expected, found });
        }
        Ok(())
    }
}

/// Sums for a range of the weights, while masked models are added. Those of ranges that follow each other can
/// be made by different threads, and put together in the end.
pub struct RangeSum {
    config: MaskConfigPair,
    range: Range<usize>,
    /// From the range's beginning, as far as they are done.
    sums: Elements,
}

impl RangeSum {
    /// Nothing of the range is done; there is room for `capacity` sums.
    pub fn new(config: MaskConfigPair, range: Range<usize>, capacity: usize) -> Self {
        RangeSum { config, range, sums: Elements::with_capacity(config.vect, capacity) }
    }

    /// The part of the range that is left to do.
    pub fn rest(&self) -> Range<usize> {
        self.range.start + self.sums.len()..self.range.end
    }

    /// Does the next `max` numbers: those of `base`, or zeros, plus those of all models. The objects have
    /// been validated.
    pub fn step<'a>(
        &mut self,
        base: Option<&Aggregation>,
        models: impl Iterator<Item = MaskObjectView<'a>> + Clone,
        max: usize,
    ) {
        let end = self.rest().start.saturating_add(max).min(self.range.end);
        while self.rest().start < end {
            // A block stays in the cache while number after number is added to each of its sums.
            let start = self.rest().start;
            let block = start..end.min(start + BLOCK);
            self.sums.extend(base.map(|base| &base.sum.vector), block.clone());
            for model in models.clone().filter(|model| model.config() == self.config) {
                with_elements!(&mut self.sums, sums => {
                    let offset = sums.vector.len() - block.len();
                    let block = clip(block.clone(), model.len());
                    WireNumbers::new(Level::detected(), &sums.group, model.vector(), block)
                        .add(&mut sums.vector[offset..]);
                });
            }
        }
    }

    /// Appends the sums of the range that follows, of the same models.
    pub fn append(&mut self, next: RangeSum) {
        debug_assert!(self.rest().start == next.range.start && next.rest().is_empty());
        self.sums.append(next.sums);
    }

    /// The sum, when the whole vector is done: of the models in `base` and those added. Their units are still to
    /// be added, with [`Aggregation::add_unit`].
    pub fn finish(self, base: Option<&Aggregation>) -> Aggregation {
        let RangeSum { config, sums, .. } = self;
        let (nb_models, unit) = match base {
            Some(base) => (base.nb_models, base.sum.unit.clone()),
            None => (0, Elements::zeros(config.unit, 1)),
        };
        Aggregation { nb_models, sum: MaskObject { config, vector: sums, unit } }
    }
}

/// Sums that models are added to at a time: they stay in the L2 cache.
const BLOCK: usize = 8192;

impl Serialize for Aggregation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes = self.sum.to_bytes().map_err(serde::ser::Error::custom)?;
        // As bytes, not as a list of numbers: the form is the same, the time is not.
        (self.nb_models, Bytes::from(bytes)).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Aggregation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let (nb_models, bytes) = <(u64, Bytes)>::deserialize(deserializer)?;
        let sum = MaskObject::from_bytes(&bytes).map_err(D::Error::custom)?;
        if nb_models > sum.config.max_nb_models() {
            return Err(D::Error::custom("more models than the configs allow"));
        }
        Ok(Aggregation { nb_models, sum })
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::MaskConfig;
    use super::super::{derive_mask, MaskSeed};
    use super::*;
    use num_bigint::BigUint;

    fn config(bytes: [u8; 4]) -> MaskConfigPair {
        MaskConfig::from_bytes(bytes).unwrap().into()
    }

    fn object(config: MaskConfigPair, seed: u8) -> Vec<u8> {
        derive_mask(&MaskSeed::new([seed; 32]), config, 3).to_bytes().unwrap()
    }

    /// The sum as big integers say.
    fn naive(config: MaskConfigPair, objects: &[Vec<u8>]) -> MaskObject {
        let mut vector = vec![BigUint::default(); 3];
        let mut unit = BigUint::default();
        for object in objects {
            let object = MaskObject::from_bytes(object).unwrap();
            for (sum, number) in vector.iter_mut().zip(object.numbers()) {
                *sum = (&*sum + number) % config.vect.order();
            }
            unit = (unit + object.unit()) % config.unit.order();
        }
        MaskObject::from_numbers(config, &vector, unit).unwrap()
    }

    #[test]
    fn all_configs_add_up() {
        for config in MaskConfig::all() {
            let config = config.into();
            let objects: Vec<_> = (0..6).map(|seed| object(config, seed)).collect();
            let mut sum = Aggregation::new(config, 3);
            let mut other = Aggregation::new(config, 3);
            for (i, object) in objects.iter().enumerate() {
                let view = MaskObjectView::parse_exact(object).unwrap();
                if i < 4 { &mut sum } else { &mut other }.aggregate(&view).unwrap();
            }
            sum.merge(&other).unwrap();
            assert_eq!(sum.nb_models(), 6);
            assert_eq!(*sum.object(), naive(config, &objects), "{config}");
            // The same in parts of the vector.
            let mut parts = Aggregation::new(config, 3);
            for object in &objects {
                let view = MaskObjectView::parse_exact(object).unwrap();
                parts.validate_aggregation(&view).unwrap();
                for range in [2..9, 0..2] {
                    parts.add_range(&view, range);
                }
                parts.add_unit(&view);
            }
            assert_eq!(parts, sum, "{config}");
        }
    }

    #[test]
    fn a_refused_object_changes_nothing() {
        let config = config([1, 0, 0, 3]);
        let mut sum = Aggregation::new(config, 3);
        sum.aggregate(&MaskObjectView::parse_exact(&object(config, 1)).unwrap()).unwrap();
        let before = sum.clone();
        let mut last_number = object(config, 2);
        last_number[8 + 12..8 + 18].fill(0xff);
        let mut unit = object(config, 2);
        unit[8 + 18 + 4..].fill(0xff);
        for bytes in [last_number, unit] {
            let view = MaskObjectView::parse_exact(&bytes).unwrap();
            let refused = sum.validate_aggregation(&view);
            assert!(matches!(refused, Err(AggregationError::InvalidObject(_))));
            assert_eq!(sum.aggregate(&view), refused);
            assert_eq!(sum, before);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_by_its_shape() {
        let [thousand, million] =
            [[1, 0, 0, 3], [1, 0, 0, 6]].map(|bytes| MaskConfig::from_bytes(bytes).unwrap());
        let pair = |vect, unit| MaskConfigPair { vect, unit };
        let with = |config, length, nb_models| {
            Aggregation::with_nb_models(
                Aggregation::new(config, length).object().clone(),
                nb_models,
            )
        };
        let refused = |sum: Aggregation, config, length| {
            let object = derive_mask(&MaskSeed::new([1; 32]), config, length).to_bytes().unwrap();
            let view = MaskObjectView::parse_exact(&object).unwrap();
            let mut changed = sum.clone();
            let refused = changed.aggregate(&view).err();
            assert_eq!(changed == sum, refused.is_some());
            assert_eq!(sum.validate_shape(&view).err(), refused);
            assert_eq!(sum.validate_aggregation(&view).err(), refused);
            refused
        };
        let same = pair(thousand, thousand);
        assert_eq!(refused(with(same, 3, 999), same, 3), None);
        for (other, length) in [(same, 4), (same, 2), (pair(million, thousand), 3)] {
            assert_eq!(
                refused(with(same, 3, 999), other, length),
                Some(AggregationError::ModelMismatch {
                    expected: same,
                    expected_len: 3,
                    found: other,
                    found_len: length,
                })
            );
        }
        let found = pair(thousand, million);
        assert_eq!(
            refused(with(same, 3, 999), found, 3),
            Some(AggregationError::ScalarMismatch { expected: same, found })
        );
        let vect = pair(thousand, million);
        assert_eq!(
            refused(with(vect, 3, 1000), vect, 3),
            Some(AggregationError::TooManyModels(1000))
        );
        let unit = pair(million, thousand);
        assert_eq!(refused(with(unit, 3, 999), unit, 3), None);
        assert_eq!(
            refused(with(unit, 3, 1000), unit, 3),
            Some(AggregationError::TooManyScalars(1000))
        );
    }

    #[test]
    fn ranges_in_steps_make_up_the_sum() {
        // Longer than a block, which is what is done at a time.
        let length = 2 * BLOCK + 5;
        let (config, other) = (config([1, 0, 0, 3]), config([0, 0, 0, 3]));
        let objects: Vec<_> = [(1, config), (2, config), (3, config), (4, other)]
            .map(|(seed, config)| derive_mask(&MaskSeed::new([seed; 32]), config, length))
            .map(|object| object.to_bytes().unwrap())
            .into();
        let views: Vec<_> =
            objects.iter().map(|object| MaskObjectView::parse_exact(object).unwrap()).collect();
        let mut base = Aggregation::new(config, length);
        base.aggregate(&views[0]).unwrap();
        for base in [None, Some(&base)] {
            let mut sum = base.cloned().unwrap_or_else(|| Aggregation::new(config, length));
            for view in &views[1..3] {
                sum.aggregate(view).unwrap();
            }
            for at in [0, 7, BLOCK + 3, length] {
                let [mut first, mut second] = [0..at, at..length]
                    .map(|range| RangeSum::new(config, range.clone(), range.len()));
                for part in [&mut first, &mut second] {
                    // In few and in many steps; what has another config is left out.
                    for max in [3, BLOCK, usize::MAX] {
                        let before = part.rest();
                        part.step(base, views[1..].iter().copied(), max);
                        let done = before.start.saturating_add(max).min(before.end);
                        assert_eq!(part.rest(), done..before.end);
                    }
                }
                first.append(second);
                let mut added = first.finish(base);
                for view in &views[1..3] {
                    added.add_unit(view);
                }
                assert_eq!(added, sum, "in ranges up to and from {at}");
            }
        }
    }

    #[test]
    fn masks_that_do_not_fit_are_refused_by_their_shape() {
        let [thousand, million] =
            [[1, 0, 0, 3], [1, 0, 0, 6]].map(|bytes| MaskConfig::from_bytes(bytes).unwrap());
        let pair = |vect, unit| MaskConfigPair { vect, unit };
        let refused = |(sum, nb_models), mask, length| {
            let sum = Aggregation::new(sum, 3).object().clone();
            let sum = Aggregation::with_nb_models(sum, nb_models);
            let mask = derive_mask(&MaskSeed::new([1; 32]), mask, length).to_bytes().unwrap();
            let mask = MaskObjectView::parse_exact(&mask).unwrap();
            let refused = sum.validate_mask_shape(&mask).err();
            assert_eq!(sum.validate_unmasking(&mask).err(), refused);
            refused
        };
        let same = pair(thousand, thousand);
        let (vect, unit) = (pair(thousand, million), pair(million, thousand));
        assert_eq!(refused((same, 0), same, 3), Some(UnmaskError::NoModel));
        assert_eq!(refused((same, 1000), same, 3), None);
        assert_eq!(refused((vect, 1001), vect, 3), Some(UnmaskError::TooManyModels(1000)));
        assert_eq!(refused((unit, 1000), unit, 3), None);
        assert_eq!(refused((unit, 1001), unit, 3), Some(UnmaskError::TooManyScalars(1000)));
        for (found, found_len) in [(same, 4), (same, 2), (unit, 3)] {
            assert_eq!(
                refused((same, 1), found, found_len),
                Some(UnmaskError::MaskManyMismatch {
                    expected: same,
                    expected_len: 3,
                    found,
                    found_len,
                })
            );
        }
        assert_eq!(
            refused((same, 1), vect, 3),
            Some(UnmaskError::MaskOneMismatch { expected: same, found: vect })
        );
        // A number that is not below its order shows only when all are looked at.
        let mut sum = Aggregation::new(same, 3);
        sum.aggregate(&MaskObjectView::parse_exact(&object(same, 1)).unwrap()).unwrap();
        let mut mask = object(same, 2);
        mask[8 + 12..8 + 18].fill(0xff);
        let mask = MaskObjectView::parse_exact(&mask).unwrap();
        assert_eq!(sum.validate_mask_shape(&mask), Ok(()));
        assert!(matches!(sum.validate_unmasking(&mask), Err(UnmaskError::InvalidMask(_))));
    }

    #[test]
    fn merging_respects_the_limits() {
        let config = config([1, 0, 0, 3]);
        let with = |count| Aggregation::with_nb_models(naive(config, &[]), count);
        let mut sum = with(600);
        assert_eq!(sum.merge(&with(401)), Err(AggregationError::TooManyModels(1000)));
        assert_eq!(sum.nb_models(), 600);
        assert_eq!(sum.merge(&with(400)), Ok(()));
        assert_eq!(sum.nb_models(), 1000);
        let other = Aggregation::new(config, 4);
        assert!(matches!(sum.merge(&other), Err(AggregationError::ModelMismatch { .. })));
    }

    #[test]
    fn snapshots_are_validated() {
        let config = config([1, 0, 0, 3]);
        let mut sum = Aggregation::new(config, 3);
        sum.aggregate(&MaskObjectView::parse_exact(&object(config, 1)).unwrap()).unwrap();
        let bytes = bincode::serialize(&sum).unwrap();
        assert_eq!(bincode::deserialize::<Aggregation>(&bytes).unwrap(), sum);
        let mut too_many = bytes.clone();
        too_many[..8].copy_from_slice(&1000u64.to_le_bytes());
        assert_eq!(bincode::deserialize::<Aggregation>(&too_many).unwrap().nb_models(), 1000);
        too_many[..8].copy_from_slice(&1001u64.to_le_bytes());
        assert!(bincode::deserialize::<Aggregation>(&too_many).is_err());
        let mut number = bytes.clone();
        number[24..30].fill(0xff);
        assert!(bincode::deserialize::<Aggregation>(&number).is_err());
        assert!(bincode::deserialize::<Aggregation>(&bytes[..bytes.len() - 1]).is_err());
    }
}
