//! Which rounds a real member takes part in.

use std::time::Duration;

use pet_core::crypto::PublicEncryptKey;
use pet_core::v2::member::{Event, Settings};
use pet_core::v2::{Budget, NoiseTerms, Phase, Pin, RosterHash, Terms};
use pet_testing::v2::stage;

use super::bench::Bench;
use super::looks::{Life, Offered};
use super::stages::Members;
use super::world::{me, ROUND};
use super::{Cell, Stage};

/// What a member with this life really makes of that offer.
pub fn offered(members: &Members, life: Life, offered: Offered) -> Cell {
    let base = &members.world;
    let noise = |thousandths| Some(NoiseTerms { multiplier_thousandths: thousandths, clip: 1.0 });
    let (mut settings, mut pin) = (Settings::default(), base.committee.pin());
    let mut signed = base.terms.clone();
    match offered {
        Offered::LittleNoise => {
            settings = settings.with_least_noise(Some(4000));
            signed.noise = noise(8000);
        }
        Offered::NoNoise | Offered::DearNoise => {
            pin = Pin { budget: Some(Budget::new(4.0, 1e-5)), ..pin };
            signed.noise = noise(8000);
        }
        _ => {}
    }
    let mut bench = born(members, life, &signed, pin, settings);
    bench.later(Duration::from_secs(60));
    if !bench.looks() {
        bench.pause();
    }
    let now = bench.now.as_millis() / 1000;
    let mut terms = Terms { round: ROUND + 1, opened_at: now - 1, ..signed.clone() };
    let mut phase = Phase::Announce;
    match offered {
        Offered::Good => {}
        Offered::Late => phase = Phase::Update,
        Offered::Failed => phase = Phase::Failed,
        Offered::Again => terms = signed,
        Offered::OtherTerms => terms.round = ROUND,
        Offered::Below => terms.round = ROUND - 1,
        Offered::FarAhead => terms.round = ROUND + (1 << 20) + 1,
        Offered::Highest => terms.round = u64::MAX,
        Offered::OpenedBefore => terms.opened_at = now - 61,
        Offered::Soon => terms.opened_at = now + 10,
        Offered::FarFuture => terms.opened_at = now + 7200,
        Offered::Old => terms.opened_at = now - 8 * 24 * 3600,
        Offered::OtherRoster => terms.roster = RosterHash::new([1; 32]),
        Offered::FewUpdates => terms.n_min = 2,
        Offered::InvitesV1 => terms.parameters.sum = 0.5,
        Offered::LongModel => terms.parameters.model_length = 1 << 29,
        Offered::WeakKey => {
            terms.parameters.pk = PublicEncryptKey::new([0; 32]);
        }
        Offered::NoNoise => terms.noise = None,
        Offered::LittleNoise => terms.noise = noise(3999),
        Offered::DearNoise => terms.noise = noise(500),
        Offered::LoudNoise => terms.noise = noise(4_000_000_000),
    }
    let mut shown = stage::Shown::announce(&base.committee, &terms);
    shown.view.phase = phase;
    shown.view.failure = (phase == Phase::Failed).then(|| "skipped".to_owned());
    let events = bench.events.len();
    bench.look(shown);
    // Who it is, and that what was before is over, comes first.
    loop {
        match bench.does().as_str() {
            "get roster" => bench.good(),
            "check roster" => bench.job_done(),
            "store" if bench.stage(base) == Stage::Over => bench.persisted(),
            "look" => bench.good(),
            _ => break,
        }
    }
    bench.events.retain(|event| !matches!(event, Event::Roster { .. }));
    members.cell(&bench, events.min(bench.events.len()))
}

/// A member that has been through this.
fn born(members: &Members, life: Life, signed: &Terms, pin: Pin, settings: Settings) -> Bench {
    let world = &members.world;
    let keys = world.committee.member(me());
    let mut bench = Bench::with_pin(world, keys, pin, settings);
    let announce = |terms: &Terms| stage::Shown::announce(&world.committee, terms);
    let in_phase = |terms: &Terms, phase| {
        let mut shown = announce(terms);
        shown.view.phase = phase;
        shown
    };
    if life == Life::New {
        let before = Terms { round: 1, ..signed.clone() };
        bench.run(in_phase(&before, Phase::Update), "pause");
        bench.events.clear();
        return bench;
    }
    bench.run(announce(signed), "pause");
    if life != Life::Midway {
        bench.run(in_phase(signed, Phase::Failed), "pause");
    }
    if life != Life::Known {
        bench.later(Duration::from_secs(10));
        bench.restart();
    }
    if life == Life::Restored {
        // So that it knows who it is.
        bench.run(in_phase(signed, Phase::Update), "pause");
    }
    bench.events.clear();
    bench
}
