//! Inputs for property tests, by `proptest`: settings, models, messages, requests, answers, and damage to any of them.
//!
//! Types of `pet-core` have strategies here, which are functions; this crate's own types ([`Scenario`], [`Faults`],
//! [`Fault`], [`Lie`], [`Damage`], [`Harm`]) implement `Arbitrary`.
//!
//! ```
//! use pet_core::message::MessageView;
//! use pet_testing::strategies::{mask_configs, models, Damage};
//! use proptest::prelude::*;
//!
//! proptest! {
//!     # #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
//!     # /*
//!     #[test]
//!     # */
//!     fn nothing_panics(bytes: Vec<u8>, damage: Damage) {
//!         let _ = MessageView::parse(&damage.apply(&bytes));
//!     }
//! }
//! # nothing_panics();
//! # let _ = mask_configs().prop_flat_map(|config| models(config, 3));
//! ```

mod damage;
mod masking;
mod messages;
mod requests;
mod settings;

pub use self::damage::Damage;
pub use self::masking::{mask_config_pairs, mask_configs, models, scalars};
pub use self::messages::{messages, signatures, Harm, Letter};
pub use self::requests::{calls, responses, round_parameters, transport_faults};
pub use self::settings::{coordinator_settings, participant_settings, wild_coordinator_settings};

use proptest::prelude::*;
use proptest::sample::select;

use crate::sim::lies::Lie;
use crate::sim::random::Random;
use crate::sim::{Fault, Faults, Scenario};

/// So many bytes.
pub fn bytes<const N: usize>() -> impl Strategy<Value = [u8; N]> {
    proptest::collection::vec(any::<u8>(), N).prop_map(|bytes| {
        let mut array = [0; N];
        array.copy_from_slice(&bytes);
        array
    })
}

/// Each of them.
impl Arbitrary for Fault {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        select(Self::ALL.to_vec()).boxed()
    }
}

/// Each of them.
impl Arbitrary for Lie {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        select(Self::ALL.to_vec()).boxed()
    }
}

/// Some kinds of faults, each rare or frequent. They do not shrink: failures of scenarios do, with
/// [`shrink`](crate::sim::shrink).
impl Arbitrary for Faults {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        any::<u64>().prop_map(|seed| Self::random(&mut Random::new(seed))).no_shrink().boxed()
    }
}

/// Random mixes of faults, lies, sizes and mask configs. They do not shrink: their failures do, with
/// [`shrink`](crate::sim::shrink).
impl Arbitrary for Scenario {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        any::<u64>().prop_map(Self::random).no_shrink().boxed()
    }
}
