use pet_core::v2::MemberId;

use super::*;
use crate::v2::by_hand::{list, Committee, Round};
use crate::v2::stage::{Player, Shown};

fn play(scenario: &Scenario) -> Report {
    run(scenario).unwrap_or_else(|failure| {
        let small = shrink(*failure, 60);
        panic!("{}\n{:#?}\n{:#?}", small.violation, small.scenario, small.report)
    })
}

#[test]
fn a_calm_federation_completes_its_rounds() {
    let report = play(&Scenario::calm(1));
    assert!(report.completed >= 2, "{report:?}");
    assert_eq!(report.failed, [].into());
}

#[test]
fn equal_scenarios_give_equal_runs() {
    let scenario = Scenario::random(3);
    assert_eq!(play(&scenario), play(&scenario));
}

/// `SIM_SEED` is the first seed, `SIM_COUNT` how many there are.
#[test]
fn storms() {
    let number =
        |name: &str, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let first: u64 = number("SIM_SEED", 1);
    let mut all = Report::default();
    for seed in first..first + number("SIM_COUNT", 12) {
        let report = play(&Scenario::random(seed));
        all.completed += report.completed;
        all.crashes += report.crashes;
        all.splits += report.splits;
        all.steps += report.steps;
        for (name, count) in report.failed {
            *all.failed.entry(name).or_default() += count;
        }
        for (name, count) in report.refused {
            *all.refused.entry(name).or_default() += count;
        }
    }
    assert!(all.completed > 24 && all.crashes > 20 && all.splits > 0, "{all:?}");
}

/// The check bites: a driver that confirms a state before it is stored is found, and what fails is made small.
#[test]
fn who_confirms_before_it_is_stored_is_found() {
    let scenario = Scenario { confirms_early: true, ..Scenario::random(5) };
    let failure = shrink(*run(&scenario).unwrap_err(), 40);
    assert!(matches!(failure.violation, Violation::BeforeStored { .. }), "{}", failure.violation);
    assert!(failure.scenario.liars.is_empty() && failure.scenario.cheats.is_empty());
    assert!(failure.scenario.loss == 0.0 && failure.scenario.length == 1);
}

/// The check bites: two majorities of an honest group for two decisions. Members are copied with their memory, which nothing in
/// the simulation can do.
#[test]
fn two_decisions_are_found() {
    let committee = Committee::new(1, 3, 4);
    let terms = committee.terms(1, 2);
    let mut players: Vec<_> =
        (0..3).map(|index| Player::new(&committee, MemberId::new(0, index))).collect();
    let shown = Shown::announce(&committee, &terms);
    players.iter_mut().for_each(|player| drop(player.show(&shown)));
    let list = list(players.iter().map(|player| player.announcement().unwrap()).collect());
    let round = Round { committee: &committee, terms: &terms, list: &list };
    let updates: Vec<_> = (0..4).map(|i| round.update(i, &[0.1, 0.2])).collect();
    let updates: Vec<_> = updates.iter().collect();
    for player in &mut players {
        player.show(&Shown::check(&round, player.id, &updates));
    }
    let twin = players[0].fork();
    players.push(twin);
    let (mut watch, context) = (Watch::default(), terms.context());
    let mut results = Vec::new();
    for (number, player) in players.iter_mut().enumerate() {
        // The twin and the last member see another set.
        let excluded: &[_] = if number < 2 { &[] } else { &[updates[1].key()] };
        let shown = Shown::agree(&round, player.id, &updates, excluded);
        watch.shown(context, shown.view.decision.unwrap());
        player.show(&shown);
        let (vote, disk) = (player.votes()[0], player.stored.last().unwrap());
        results.push(watch.votes(&committee.roster, |_| true, &list, &context, &vote, disk));
    }
    assert!(results[..3].iter().all(Result::is_ok), "{results:?}");
    assert!(matches!(results[3], Err(Violation::TwoDecisions { group: 0, .. })), "{results:?}");
    // The vote of somebody whose disk does not know of it.
    let (vote, disk) = (players[1].votes()[0], &players[1].stored[0]);
    let result = watch.votes(&committee.roster, |_| true, &list, &context, &vote, disk);
    assert!(matches!(result, Err(Violation::BeforeStored { what: "vote", .. })), "{result:?}");
}
