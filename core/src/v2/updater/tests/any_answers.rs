//! Whatever is answered, in whatever order things happen: nothing panics, every wish is answered once, nothing loops, and
//! with honest answers it goes on.

use proptest::prelude::*;

use super::world::*;
use crate::model::Model;
use crate::participant::{Event, Input, Output, TransportFault};
use crate::request::Response;
use crate::time::Timestamp;
use crate::v2::Phase;

/// What becomes of an answer.
#[derive(Debug, Clone)]
enum Lie {
    Honest,
    Status(u16),
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Noise(Vec<u8>),
    Fault,
}

#[derive(Debug, Clone)]
enum Deed {
    Answer(Lie),
    DropJob,
    Model(u8),
    Wish,
    Pass(u16),
    Phase(u8),
    Complete,
    Next,
    Restart,
}

fn lie() -> impl Strategy<Value = Lie> {
    prop_oneof![
        6 => Just(Lie::Honest),
        1 => prop::sample::select(vec![200, 204, 301, 400, 404, 409, 413, 429, 500, 503])
            .prop_map(Lie::Status),
        2 => (any::<prop::sample::Index>(), 1..=255u8).prop_map(|(at, by)| Lie::Flip(at, by)),
        1 => any::<prop::sample::Index>().prop_map(Lie::Cut),
        1 => prop::collection::vec(any::<u8>(), 0..200).prop_map(Lie::Noise),
        1 => Just(Lie::Fault),
    ]
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        8 => lie().prop_map(Deed::Answer),
        1 => Just(Deed::DropJob),
        2 => (0..9u8).prop_map(Deed::Model),
        2 => Just(Deed::Wish),
        3 => (0..20_000u16).prop_map(Deed::Pass),
        1 => (0..8u8).prop_map(Deed::Phase),
        1 => Just(Deed::Complete),
        1 => Just(Deed::Next),
        1 => Just(Deed::Restart),
    ]
}

fn told(lie: &Lie, honest: Response) -> Option<Response> {
    Some(match lie {
        Lie::Honest => honest,
        Lie::Status(status) => Response::new(*status, honest.body),
        Lie::Flip(at, by) => {
            let mut body = honest.body.to_vec();
            if !body.is_empty() {
                let at = at.index(body.len());
                body[at] ^= by;
            }
            Response { body: body.into(), ..honest }
        }
        Lie::Cut(at) => {
            let at = at.index(honest.body.len() + 1);
            Response { body: honest.body.slice(..at), ..honest }
        }
        Lie::Noise(bytes) => Response::ok(bytes.clone()),
        Lie::Fault => return None,
    })
}

/// Does what the machine says until it is idle: the first jobs are dropped, and each answer becomes what the next lie
/// makes of it.
fn drain(client: &mut Client, world: &mut World, lies: &mut Vec<Lie>, mut dropped: usize) -> usize {
    for outputs in 0..1000 {
        match client.machine.poll_output() {
            Output::Request { id, call } => {
                let honest = world.answer(&call);
                let lie = lies.pop().unwrap_or(Lie::Honest);
                match told(&lie, honest) {
                    Some(response) => client.input(Input::Response { id, response }),
                    None => client.input(Input::Fault { id, fault: TransportFault::TimedOut }),
                }
            }
            Output::Job(_) if dropped > 0 => dropped -= 1,
            Output::Job(job) => client.input(Input::JobDone(job.finish())),
            Output::Event(event) => client.events.push(event),
            Output::Persist { .. } => unreachable!("nobody stores here"),
            Output::Cancel(_) => unreachable!("nothing is held back here"),
            Output::HandOver { .. } => unreachable!("version 2 hands nothing over"),
            Output::Idle(_) => return outputs,
        }
    }
    panic!("it never becomes idle: {:?}", &client.events[client.events.len() - 20..]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn it_survives_and_goes_on(deeds in prop::collection::vec(deed(), 1..50)) {
        let mut world = World::new();
        world.is_strict = false;
        let mut client = Client::new(1, world.pin());
        let mut others = clients(&world).split_off(1);
        let (mut lies, mut dropped, mut wishes) = (Vec::new(), 0, 0);
        for deed in deeds {
            match deed {
                Deed::Answer(lie) => lies.push(lie),
                Deed::DropJob => dropped += 1,
                Deed::Model(kind) => {
                    // One of another length may be refused.
                    let length = if kind == 8 { LENGTH + 1 } else { LENGTH };
                    let model = Model::F32(vec![f32::from(kind) / 16.0; length]);
                    let _ = client.machine.handle_input(client.now, Input::SetModel(model));
                }
                Deed::Wish => {
                    wishes += 1;
                    client.input(Input::FetchModel);
                }
                Deed::Pass(millis) => {
                    client.now = client.now + std::time::Duration::from_millis(millis.into());
                    client.input(Input::Tick);
                    drain(&mut client, &mut world, &mut lies, std::mem::take(&mut dropped));
                }
                Deed::Phase(at) => world.phase = Phase::ALL[usize::from(at)],
                Deed::Complete => {
                    run_all(&mut others, &mut world, 5);
                    let is_whole = |world: &World| world.uploads.keys().all(|key| world.is_whole(key));
                    if world.uploads.len() >= 3 && is_whole(&world) {
                        world.complete(&[]);
                    }
                }
                Deed::Next => world.open(),
                Deed::Restart => {
                    // Who has wished is gone with it.
                    client.restart();
                    client.events.clear();
                    wishes = 0;
                }
            }
        }
        // From here on everybody is honest.
        for _ in 0..3 {
            world.open();
            let model = Model::F32(vec![0.5; LENGTH]);
            client.now = client.now + std::time::Duration::from_secs(61);
            for _ in 0..12 {
                client.now = client.now + std::time::Duration::from_secs(1);
                client.input(Input::Tick);
                drain(&mut client, &mut world, &mut Vec::new(), 0);
                if client.machine.needs_model() {
                    wishes += 1;
                    client.input(Input::FetchModel);
                    drain(&mut client, &mut world, &mut Vec::new(), 0);
                    client.input(Input::SetModel(model.clone()));
                }
            }
        }
        let answers = client.take(|event| match event {
            Event::GlobalModel(_) | Event::GlobalModelFailed(_) => Some(()),
            _ => None,
        });
        prop_assert_eq!(answers.len(), wishes);
        let context = world.terms.context();
        prop_assert!(
            world.sent.iter().any(|sent| sent.context == context && sent.header.updater == client.key()),
            "{:?}",
            client.events
        );
        prop_assert!(client.now > Timestamp::ZERO);
    }
}
