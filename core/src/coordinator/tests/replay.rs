//! Going on from the records of a large round.

use std::sync::Arc;
use std::time::Duration;

use super::fixture::quick;
use crate::coordinator::state::State;
use crate::coordinator::*;
use crate::crypto::{EncryptKeyPair, PublicSigningKey, RootSeed, Seed};
use crate::mask::Aggregation;
use crate::message::{EncryptedMaskSeed, LocalSeedDict};
use crate::time::Timestamp;

const UPDATES: u32 = 10_000;
const SUMMERS: u32 = 100;

fn key(number: u32) -> PublicSigningKey {
    let mut key = [0; 32];
    key[..4].copy_from_slice(&number.to_le_bytes());
    PublicSigningKey::new(key)
}

/// 10,000 updates, each with seeds for 100 sum participants, half of them in parts of four shards: as bytes, as a log has
/// them, and the aggregate.
fn log(settings: &Settings, root: &RootSeed) -> (Vec<Vec<u8>>, Arc<Aggregation>) {
    let keys = EncryptKeyPair::from_seed(&Seed::new([3; 32]));
    let mut log = vec![State::first_round(settings, root)];
    log.extend(
        (0..SUMMERS)
            .map(|number| Record::Sum { participant: key(number), ephemeral_key: keys.public() }),
    );
    log.push(Record::SumEnded);
    let seeds = |number: u32| {
        let seed = EncryptedMaskSeed::new([number as u8; 80]);
        Arc::new(LocalSeedDict::new((0..SUMMERS).map(|to| (key(to), seed)).collect()).unwrap())
    };
    let mut parts = [None; 4];
    for batch in 0..UPDATES / 50 {
        let batch_seeds = (0..50).map(|at| 1_000 + batch * 50 + at);
        let seeds = batch_seeds.map(|number| (key(number), seeds(number))).collect();
        log.push(match batch % 2 {
            0 => Record::Updates { seeds, aggregation: None },
            _ => {
                let at = batch as usize / 2 % 4;
                let mut part = [at as u8; 16];
                part[..4].copy_from_slice(&batch.to_le_bytes());
                let predecessor = parts[at].replace(PartId::new(part));
                let shard = Shard::new([at as u8; 16]);
                Record::Part { shard, part: PartId::new(part), predecessor, seeds }
            }
        });
    }
    let nothing = Aggregation::new(settings.mask, 4).object().clone();
    let own = Aggregation::with_nb_models(nothing, u64::from(UPDATES) / 2);
    (log.iter().map(|record| record.to_bytes().to_vec()).collect(), Arc::new(own))
}

/// In 0.5 s without optimisation, as was measured by hand: a replica that takes over has ten.
#[test]
fn ten_thousand_updates_are_followed_and_gone_on_from() {
    let (mut settings, root) = (quick(), RootSeed::new([1; 32]));
    settings.mask = "Prime/F32/B0/M6".parse::<crate::mask::MaskConfig>().unwrap().into();
    let (log, own) = log(&settings, &root);
    let mut follower = Follower::new(root, None);
    for small in &log {
        follower.apply(Record::from_bytes(small, None).unwrap()).unwrap();
    }
    for piece in follower.missing() {
        let own = Large::Aggregation(own.clone()).to_bytes().into_owned();
        follower.supply(&piece, own.into()).unwrap();
    }
    let recovery = follower.into_recovery().unwrap();
    let now = Timestamp::ZERO;
    let machine = Coordinator::resume(recovery, Duration::ZERO, settings, now).unwrap();
    assert_eq!(machine.accepted(), u64::from(UPDATES));
}
