//! A coordinator made of the published crate's messages and sums.

use std::collections::BTreeMap;

use pet_core::{
    request::{Call, Response},
    time::Timestamp,
};
use pet_oracle::{old, Body, PairBytes, Parameters, Plain};

use crate::{Serve, PHASE, SUM_PROBABILITY};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Sum,
    Update,
    Sum2,
    Over,
}

/// A part of a message: its position, whether it is the last one, and its bytes.
type Part = (u16, bool, Vec<u8>);

pub struct OldCoordinator {
    secret: [u8; 32],
    parameters: Parameters,
    phase: Phase,
    phase_began: Timestamp,
    sums: BTreeMap<[u8; 32], [u8; 32]>,
    /// Sum participant -> update participant -> sealed seed.
    seeds: BTreeMap<[u8; 32], BTreeMap<[u8; 32], [u8; 80]>>,
    aggregation: old::Aggregation,
    masks: BTreeMap<[u8; 32], Vec<u8>>,
    parts: BTreeMap<([u8; 32], u16), Vec<Part>>,
    model: Option<Vec<u8>>,
}

impl OldCoordinator {
    pub fn new(seed: [u8; 32], pair: PairBytes, len: usize) -> Self {
        let (pk, secret) = old::encrypt_key_pair(&seed);
        let parameters = Parameters {
            pk,
            sum: SUM_PROBABILITY,
            update: 1.0,
            seed: old::sha256(&seed),
            mask_config: pair,
            model_length: len as u64,
        };
        Self {
            secret,
            parameters,
            phase: Phase::Sum,
            phase_began: Timestamp::ZERO,
            sums: BTreeMap::new(),
            seeds: BTreeMap::new(),
            aggregation: old::Aggregation::new(pair, len),
            masks: BTreeMap::new(),
            parts: BTreeMap::new(),
            model: None,
        }
    }

    fn message(&mut self, sealed: &[u8]) -> Result<(), String> {
        let opened = old::open(&self.parameters.pk, &self.secret, sealed).ok_or("does not open")?;
        let Plain { participant_pk, coordinator_pk, body } = old::read(&opened)?;
        if coordinator_pk != self.parameters.pk {
            return Err("another round's key".to_owned());
        }
        let body = match body {
            Body::Chunk { task, id, message_id, last, data } => {
                let parts = self.parts.entry((participant_pk, message_id)).or_default();
                parts.push((id, last, data));
                parts.sort();
                if parts
                    .last()
                    .is_none_or(|(id, last, _)| !last || usize::from(*id) + 1 != parts.len())
                {
                    return Ok(());
                }
                let payload: Vec<u8> =
                    parts.iter().flat_map(|(_, _, data)| data.iter().copied()).collect();
                old::read_payload(task, &payload)?
            }
            body => body,
        };
        self.payload(participant_pk, body)
    }

    fn payload(&mut self, pk: [u8; 32], body: Body) -> Result<(), String> {
        let Parameters { sum, update, seed, .. } = self.parameters;
        let eligible = |signature: &[u8; 64], task: &[u8], probability| {
            old::verify(&pk, signature, &[&seed[..], task].concat())
                && old::is_eligible(signature, probability)
        };
        match (self.phase, body) {
            (Phase::Sum, Body::Sum { sum_signature, ephm_pk }) => {
                check(eligible(&sum_signature, b"sum", sum), "not eligible to sum")?;
                check(self.sums.insert(pk, ephm_pk).is_none(), "summed twice")
            }
            (
                Phase::Update,
                Body::Update { sum_signature, update_signature, masked_model, seed_dict },
            ) => {
                check(!eligible(&sum_signature, b"sum", sum), "eligible to sum")?;
                check(eligible(&update_signature, b"update", update), "not eligible to update")?;
                check(seed_dict.keys().eq(self.sums.keys()), "a seed for every sum participant")?;
                self.aggregation.add(&masked_model)?;
                for (summer, sealed) in seed_dict {
                    let before = self.seeds.entry(summer).or_default().insert(pk, sealed);
                    check(before.is_none(), "updated twice")?;
                }
                Ok(())
            }
            (Phase::Sum2, Body::Sum2 { sum_signature, mask }) => {
                check(eligible(&sum_signature, b"sum", sum), "not eligible to sum")?;
                check(self.sums.contains_key(&pk), "not in the sum dictionary")?;
                check(self.masks.insert(pk, mask).is_none(), "summed twice")
            }
            (phase, body) => Err(format!("in phase {phase:?}: {body:?}")),
        }
    }

    fn unmask(&mut self) {
        let mut masks: Vec<_> = self.masks.values().collect();
        masks.dedup();
        let [mask] = masks[..] else { panic!("{} different masks", masks.len()) };
        let model = self.aggregation.clone().unmask(mask).expect("a mask that fits");
        self.model = Some(old::ratio_model_to_bincode(&model));
    }
}

fn check(holds: bool, otherwise: &str) -> Result<(), String> {
    if holds {
        Ok(())
    } else {
        Err(otherwise.to_owned())
    }
}

impl Serve for OldCoordinator {
    fn call(&mut self, _: Timestamp, call: &Call) -> Response {
        let published = self.phase != Phase::Over;
        let body = match call {
            Call::Params => Some(old::write_parameters(&self.parameters)),
            Call::Sums | Call::SumsOf(_) if published && self.phase != Phase::Sum => {
                Some(old::write_sum_dict(&self.sums))
            }
            Call::Seeds(pk) | Call::SeedsOf(pk, _) if self.phase == Phase::Sum2 => {
                self.seeds.get(pk.as_bytes()).map(old::write_seeds)
            }
            Call::Model(_) => self.model.clone(),
            Call::Message(sealed) => {
                let outcome = self.message(sealed);
                assert_eq!(outcome, Ok(()));
                Some(Vec::new())
            }
            _ => None,
        };
        body.map_or_else(Response::no_content, Response::ok)
    }

    fn pass(&mut self, now: Timestamp) {
        if self.phase == Phase::Over || now.saturating_since(self.phase_began) < PHASE {
            return;
        }
        self.phase_began = now;
        self.phase = match self.phase {
            Phase::Sum => Phase::Update,
            Phase::Update => Phase::Sum2,
            Phase::Sum2 | Phase::Over => {
                self.unmask();
                Phase::Over
            }
        };
    }
}
