//! Messages for a round: right ones, and what may become of them.

use pet_core::crypto::{PublicSigningKey, Signature, Task};
use pet_core::message::Tag;
use pet_core::round::{RoundParameters, SumDict};
use proptest::prelude::*;
use proptest::sample::select;

use super::{bytes, Damage};
use crate::by_hand::{mask_of, Hand};

/// How many participants of each task write messages.
const WRITERS: usize = 4;

/// A message as it is sent.
#[derive(Debug, Clone)]
pub struct Letter {
    /// From whom.
    pub from: PublicSigningKey,
    /// What it is for.
    pub tag: Tag,
    /// What has become of it.
    pub harm: Harm,
    /// The bytes that arrive.
    pub sealed: Vec<u8>,
}

/// The harm that is done to a message.
#[derive(Debug, Clone)]
pub enum Harm {
    /// It is right.
    None,
    /// It was damaged before it was sealed: it opens, if not by its signature.
    BeforeSealing(Damage),
    /// It was damaged after it was sealed: it does not open, if anything was changed.
    AfterSealing(Damage),
}

impl Arbitrary for Harm {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        prop_oneof![
            Just(Self::None),
            any::<Damage>().prop_map(Self::BeforeSealing),
            any::<Damage>().prop_map(Self::AfterSealing),
        ]
        .boxed()
    }
}

/// Messages of a few participants that have a task in a round; each with a harm of its own. Update messages have a seed for
/// each of `sums`, sum2 messages the sum of the masks of all that write updates. (Those who have a task are searched
/// for: with probabilities that are very small that takes long.)
pub fn messages(parameters: &RoundParameters, sums: &SumDict) -> impl Strategy<Value = Letter> {
    let summers = Hand::with_task(Task::Sum, WRITERS, parameters);
    let updaters = Hand::with_task(Task::Update, WRITERS, parameters);
    let config = parameters.mask_config.vect;
    let mask = mask_of(&updaters, config, parameters.model_length as usize);
    let mut written = Vec::new();
    for hand in summers {
        let payload = hand.sum_payload(hand.ephemeral().public());
        written.push((hand.clone(), Tag::Sum, hand.sign(Tag::Sum, false, &payload)));
        let payload = hand.sum2_payload(&mask);
        written.push((hand.clone(), Tag::Sum2, hand.sign(Tag::Sum2, false, &payload)));
    }
    for hand in updaters {
        let payload = hand.update_payload(sums, &hand.fitting());
        written.push((hand.clone(), Tag::Update, hand.sign(Tag::Update, false, &payload)));
    }
    (select(written), any::<Harm>()).prop_map(|((hand, tag, signed), harm)| {
        let sealed = match &harm {
            Harm::None => hand.seal(&signed),
            Harm::BeforeSealing(damage) => hand.seal(&damage.apply(&signed)),
            Harm::AfterSealing(damage) => damage.apply(&hand.seal(&signed)),
        };
        Letter { from: hand.key(), tag, harm, sealed }
    })
}

/// Bytes in the form of a signature, whose scalar has at most 253 bits.
pub fn signatures() -> impl Strategy<Value = Signature> {
    bytes().prop_map(|mut bytes: [u8; 64]| {
        bytes[63] &= 0x1f;
        Signature::new(bytes)
    })
}
