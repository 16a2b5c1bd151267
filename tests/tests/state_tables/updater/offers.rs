//! Which rounds a real updater takes part in.

use pet_core::mask::MaskConfig;
use pet_core::model::Scalar;
use pet_core::v2::{Budget, Credential, NoiseTerms, Phase, Pin, RosterHash, RoundView, Terms};
use pet_testing::v2::by_hand::OPENED_AT;

use super::looks::{Life, Offered};
use super::stages::Updaters;
use super::world::ROUND;
use super::{Cell, Stage};

/// What an updater with this life really makes of that offer.
pub fn offered(updaters: &Updaters, life: Life, offered: Offered) -> Cell {
    let world = &updaters.world;
    let mut bench = updaters.looking(match life {
        Life::New => Stage::NoRound,
        Life::Known => Stage::Done,
    });
    let now = bench.now.as_millis() / 1000;
    let (mut pin, mut settings) = (*bench.machine.pin(), bench.machine.settings().clone());
    let same = Terms { model: None, ..world.terms.clone() };
    let mut terms = Terms { round: ROUND + 1, opened_at: now - 1, ..same.clone() };
    let mut phase = Phase::Announce;
    let noise = |thousandths| Some(NoiseTerms { multiplier_thousandths: thousandths, clip: 1.0 });
    match offered {
        Offered::Good => {}
        Offered::Again => (terms, phase) = (world.terms.clone(), Phase::Update),
        Offered::OtherTerms => terms.round = ROUND,
        Offered::Below => terms.round = ROUND - 1,
        Offered::FarAhead => terms.round = ROUND + (1 << 20) + 1,
        Offered::Highest => terms.round = u64::MAX,
        Offered::Soon => terms.opened_at = now + 10,
        Offered::FarFuture => terms.opened_at = now + 7200,
        Offered::Old => terms.opened_at = now - 8 * 24 * 3600,
        Offered::OtherRoster => terms.roster = RosterHash::new([1; 32]),
        Offered::FewUpdates => terms.n_min = 2,
        Offered::FewerThanPinned => pin.n_min = 4,
        Offered::BadPin => pin.n_min = 2,
        Offered::InvitesV1 => terms.parameters.sum = 0.5,
        Offered::PrimeConfig => {
            let config: MaskConfig = "Prime/F32/B0/M3".parse().expect("a config");
            terms.parameters.mask_config = config.into();
        }
        Offered::Uncertified => terms.model = world.terms.model,
        Offered::NoCredential => settings.credential = None,
        Offered::OldCredential => {
            let (key, authority) = (bench.machine.keys().public(), &world.committee.authority);
            settings.credential = Some(Credential::issue(authority, &key, OPENED_AT - 1));
        }
        Offered::OtherCredential => settings.credential = Some(world.committee.credential(1)),
        Offered::NoNoise | Offered::DearNoise => {
            pin = Pin { budget: Some(Budget::new(4.0, 1e-5)), ..pin };
            terms.noise = (offered == Offered::DearNoise).then_some(noise(500)).flatten();
        }
        Offered::LoudNoise => terms.noise = noise(4_000_000_000),
        Offered::OwnScalar => {
            settings.scalar = Scalar::from(2);
            terms.noise = noise(8000);
        }
    }
    if pin != *bench.machine.pin() || settings != *bench.machine.settings() {
        bench.restart(pin, settings);
    }
    let view = RoundView { completed: None, ..world.in_phase(&terms, phase) };
    let view = match offered {
        Offered::Again => RoundView { completed: Some(ROUND - 1), ..view },
        _ => view,
    };
    let events = bench.events.len();
    bench.look(world, view);
    // Who takes part, and for one that knows nothing the model, comes first.
    bench.go_on(world, &[]);
    let mut cell = updaters.cell(&bench, events);
    if offered == Offered::Again {
        cell.says = cell.says.replace("Certified, ", "");
    }
    cell
}
