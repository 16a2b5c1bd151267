//! Jobs that are lost.

use super::super::{Event, Input, Output, Refusal, Why};
use super::fixture::*;
use crate::job::{JobId, MAX_LOSSES};
use crate::v2::{MemberId, Phase};

#[test]
fn a_lost_job_is_given_out_again_in_every_phase() {
    for phase in [Phase::Announce, Phase::Update, Phase::Check, Phase::Agree, Phase::Sum2] {
        let (mut scene, mut coordinator) = (Scene::new(MemberId::new(0, 0)), Coordinator::new());
        if phase > Phase::Announce {
            let before = [Phase::Announce, Phase::Update, Phase::Check, Phase::Agree];
            let before = before.into_iter().rfind(|before| *before < phase).unwrap();
            scene.run_on(&mut coordinator);
            advance(&mut scene, &mut coordinator, before);
        }
        scene.losses = MAX_LOSSES - 1;
        advance(&mut scene, &mut coordinator, phase);
        scene.run_on(&mut coordinator);
        assert_eq!(scene.losses, 0, "{phase}");
        assert_eq!(scene.labels(), [""; 0], "{phase}");
        advance(&mut scene, &mut coordinator, Phase::Sum2);
        assert!(coordinator.masks.contains_key(&scene.member), "{phase}: {:?}", scene.events);
    }
}

#[test]
fn a_job_that_is_lost_each_time_is_told_and_the_round_sat_out() {
    let (mut scene, mut coordinator) = until(Phase::Update);
    (0..4).for_each(|nth| coordinator.update(nth));
    coordinator.phase = Phase::Check;
    scene.losses = MAX_LOSSES;
    scene.run_on(&mut coordinator);
    let is_told = |event: &Event| {
        matches!(event, Event::Refused { refusal: Refusal::JobLost { times: MAX_LOSSES, .. }, .. })
    };
    assert!(scene.has(is_told));
    assert_eq!(scene.idle.as_ref().unwrap().why, Why::SitsOut);
    // The next round is none the worse for it.
    coordinator.open(terms(50));
    coordinator.wait(std::time::Duration::from_secs(50));
    scene.run_on(&mut coordinator);
    advance(&mut scene, &mut coordinator, Phase::Sum2);
    assert!(coordinator.masks.contains_key(&scene.member));
}

#[test]
fn a_dropped_job_is_noticed_at_the_next_call() {
    let (mut scene, mut coordinator) = until(Phase::Update);
    (0..4).for_each(|nth| coordinator.update(nth));
    coordinator.phase = Phase::Check;
    coordinator.wait(std::time::Duration::from_secs(10));
    scene.machine.handle_input(coordinator.now, Input::Tick).unwrap();
    let mut dropped = 0;
    for _ in 0..50 {
        match scene.machine.poll_output() {
            Output::Request { id, call } => {
                let response = coordinator.answer(&call);
                scene
                    .machine
                    .handle_input(coordinator.now, Input::Response { id, response })
                    .unwrap();
            }
            Output::Job(job) if dropped == 0 => {
                dropped = 1;
                drop(job);
            }
            Output::Job(_) => {
                dropped = 2;
                break;
            }
            Output::Idle(idle) => {
                assert_eq!(idle.why, Why::LostJob);
                break;
            }
            _ => {}
        }
    }
    assert_eq!(dropped, 2);
    assert!(scene.machine.handle_input(coordinator.now, Input::JobLost(JobId(1 << 40))).is_err());
    let late = Input::Response { id: fake_id(), response: crate::request::Response::ok("") };
    assert!(scene.machine.handle_input(coordinator.now, late).is_err());
}
