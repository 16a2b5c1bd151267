//! A participant made of the published crate's masks and messages, as section 6 of the
//! specification has it.

use std::collections::BTreeMap;

use pet_core::{crypto::PublicSigningKey, model::DataType, request::Call, time::Timestamp};
use pet_oracle::{old, Body, Parameters, Plain, Task};

use crate::{Member, Received, Serve, TakePart};

/// Seal and header of a message, header of a chunk.
const CHUNK_OVERHEAD: usize = 48 + 136 + 8;

enum Stage {
    Sum,
    Sum2,
    Update,
    Awaiting,
}

pub struct OldParticipant {
    member: Member,
    round: Option<Parameters>,
    stage: Stage,
}

impl OldParticipant {
    pub fn new(member: &Member) -> Self {
        Self { member: member.clone(), round: None, stage: Stage::Awaiting }
    }

    /// Keys and seeds of its own, one for each purpose in each round.
    fn seed(&self, purpose: &str, round: &Parameters) -> [u8; 32] {
        old::sha256(&[&self.member.seed[..], purpose.as_bytes(), &round.seed].concat())
    }

    fn begin(&self, round: &Parameters) -> Stage {
        let (sum, update) = self.member.task_signatures(&round.seed);
        if old::is_eligible(&sum, round.sum) {
            Stage::Sum
        } else if old::is_eligible(&update, round.update) {
            Stage::Update
        } else {
            Stage::Awaiting
        }
    }

    fn sum(&self, round: &Parameters) -> Body {
        let (sum_signature, _) = self.member.task_signatures(&round.seed);
        let (ephm_pk, _) = old::encrypt_key_pair(&self.seed("ephemeral", round));
        Body::Sum { sum_signature, ephm_pk }
    }

    fn update(&self, round: &Parameters, sums: &BTreeMap<[u8; 32], [u8; 32]>) -> Body {
        let (sum_signature, update_signature) = self.member.task_signatures(&round.seed);
        let seed = self.seed("mask", round);
        let Member { scalar, weights, .. } = &self.member;
        Body::Update {
            sum_signature,
            update_signature,
            masked_model: old::mask(&seed, round.mask_config, *scalar, weights),
            seed_dict: sums
                .iter()
                .map(|(pk, ephm_pk)| (*pk, old::seal_mask_seed(&seed, ephm_pk)))
                .collect(),
        }
    }

    fn sum2(&self, round: &Parameters, seeds: &BTreeMap<[u8; 32], [u8; 80]>) -> Body {
        let (sum_signature, _) = self.member.task_signatures(&round.seed);
        let (ephm_pk, ephm_sk) = old::encrypt_key_pair(&self.seed("ephemeral", round));
        let len = round.model_length as usize;
        let mut mask = old::Aggregation::new(round.mask_config, len);
        for sealed in seeds.values() {
            let seed = old::open_mask_seed(sealed, &ephm_pk, &ephm_sk).expect("a seed for us");
            mask.add(&old::derive_mask(&seed, round.mask_config, len)).unwrap();
        }
        Body::Sum2 { sum_signature, mask: mask.to_bytes() }
    }

    fn send(&self, round: &Parameters, body: Body, now: Timestamp, coordinator: &mut dyn Serve) {
        let (participant_pk, signing_key) = self.member.signing_keys();
        let task = match body {
            Body::Update { .. } => Task::Update,
            Body::Sum2 { .. } => Task::Sum2,
            _ => Task::Sum,
        };
        let plain = Plain { participant_pk, coordinator_pk: round.pk, body };
        let whole = old::write(&plain, &signing_key);
        let messages = match self.member.max_message_size {
            Some(size) if whole.len() + 48 > size => {
                let chunks: Vec<_> = whole[136..].chunks(size - CHUNK_OVERHEAD).collect();
                let last = chunks.len() - 1;
                let chunk = |(id, data): (usize, &&[u8])| Body::Chunk {
                    task,
                    id: id as u16,
                    message_id: u16::from(self.member.seed[1]),
                    last: id == last,
                    data: data.to_vec(),
                };
                let parts = chunks.iter().enumerate().map(chunk);
                parts
                    .map(|body| old::write(&Plain { body, ..plain.clone() }, &signing_key))
                    .collect()
            }
            _ => vec![whole],
        };
        for message in messages {
            let sealed = old::seal(&round.pk, &message);
            assert_eq!(coordinator.call(now, &Call::Message(sealed.into())).status, 200);
        }
    }
}

impl TakePart for OldParticipant {
    fn turn(&mut self, now: Timestamp, coordinator: &mut dyn Serve) {
        let round = coordinator.call(now, &Call::Params);
        let round = old::read_parameters(&round.body).unwrap();
        if self.round.as_ref() != Some(&round) {
            self.stage = self.begin(&round);
            self.round = Some(round);
            return;
        }
        let (body, next) = match self.stage {
            Stage::Awaiting => return,
            Stage::Sum => (self.sum(&round), Stage::Sum2),
            Stage::Update => {
                let sums = coordinator.call(now, &Call::Sums);
                if sums.status == 204 {
                    return;
                }
                let sums = old::read_sum_dict(&sums.body).unwrap();
                (self.update(&round, &sums), Stage::Awaiting)
            }
            Stage::Sum2 => {
                let pk = PublicSigningKey::new(self.member.signing_keys().0);
                let seeds = coordinator.call(now, &Call::Seeds(pk));
                if seeds.status == 204 {
                    return;
                }
                let seeds = old::read_seeds(&seeds.body).unwrap();
                (self.sum2(&round, &seeds), Stage::Awaiting)
            }
        };
        self.stage = next;
        self.send(&round, body, now, coordinator);
    }

    fn global_model(&mut self, now: Timestamp, coordinator: &mut dyn Serve) -> Received {
        let model = coordinator.call(now, &Call::Model(DataType::F32));
        Received::Exact(old::ratio_model_from_bincode(&model.body).unwrap())
    }
}
