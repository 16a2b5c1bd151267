//! One message on all of its way: sealed bytes, opened, checked, taken in or turned down.

use std::sync::OnceLock;

use pet_core::coordinator::{Coordinator, Front, Input, Output, Phase, Ticket};
use pet_core::crypto::{EncryptKeyPair, Seed, SigningKeyPair};
use pet_core::message::{Frame, Tag};
use pet_core::time::Timestamp;

use crate::federation::{client_seeds, settings, Federation};

/// A coordinator in one of the three phases that take messages.
struct Scene {
    front: Front,
    snapshot: Vec<u8>,
}

fn scenes() -> &'static [Scene; 3] {
    static SCENES: OnceLock<[Scene; 3]> = OnceLock::new();
    SCENES.get_or_init(|| {
        [Phase::Sum, Phase::Update, Phase::Sum2].map(|phase| {
            let mut federation = Federation::new();
            federation.calm_server();
            while federation.phase() != phase {
                federation.calm();
            }
            Scene { front: federation.front().clone(), snapshot: federation.server_snapshot() }
        })
    })
}

/// The first byte chooses the phase and how the rest is to be read: as sealed bytes, as an opened message
/// that is then sealed, or as tag, flags and payload of a message that is then signed and sealed by the
/// participant that the second byte names.
///
/// The coordinator gives exactly one answer, and only an accepted message changes its state.
pub fn sealed_message(data: &[u8]) {
    let [how, who, rest @ ..] = data else { return };
    let scene = &scenes()[usize::from(how % 3)];
    let Some(sealed) = seal(scene, how / 3 % 3, *who, rest) else { return };
    let Ok(message) = scene.front.open(sealed.clone()) else { return };

    let now = Timestamp::from_millis(1);
    let mut machine =
        Coordinator::restore(&scene.snapshot, settings(), now).expect("a coordinator's snapshot");
    while !matches!(machine.poll_output(), Output::Idle(_)) {}
    let before = machine.snapshot().to_bytes();
    let (accepted, _) = take(&mut machine, now, message.clone());
    let after = machine.snapshot().to_bytes();
    assert_eq!(accepted, *before != *after, "accepted, and not changed, or the other way round");
    // Once more: a chunk may be repeated, nothing else.
    let again = scene.front.open(sealed).expect("it opened before");
    let chunk = again.is_chunk();
    if accepted {
        let (again, records) = take(&mut machine, now, again);
        assert!(!again || chunk, "a message was taken twice");
        assert_eq!(records, 0, "a repeated message is stored again");
    }
}

fn seal(scene: &Scene, how: u8, who: u8, rest: &[u8]) -> Option<Vec<u8>> {
    let key = scene.front.parameters().expect("a round has begun").pk;
    let ephemeral = EncryptKeyPair::from_seed(&Seed::new([who; 32]));
    match how {
        0 => Some(rest.to_vec()),
        1 => key.seal(rest, &ephemeral).ok(),
        _ => {
            let [tag, flags, payload @ ..] = rest else { return None };
            let seeds = client_seeds();
            let keys = SigningKeyPair::from_seed(&Seed::new(seeds[usize::from(who) % seeds.len()]));
            let tag = [Tag::Sum, Tag::Update, Tag::Sum2][usize::from(*tag) % 3];
            let mut frame = Frame::with_capacity(payload.len());
            frame.buffer_mut().extend_from_slice(payload);
            frame.seal(&keys, &key, tag, flags & 1 == 1, &ephemeral).ok()
        }
    }
}

/// Hands a message to the machine and does what it says; gives whether the message was accepted, and how
/// many records were put out.
fn take(
    machine: &mut Coordinator,
    now: Timestamp,
    message: pet_core::coordinator::Verified,
) -> (bool, usize) {
    let ticket = Ticket(7);
    machine.handle_input(now, Input::Message { ticket, message }).expect("it is not stopped");
    let (mut answer, mut records) = (None, 0);
    loop {
        let input = match machine.poll_output() {
            Output::Job(job) => Input::JobDone(job.finish()),
            Output::Persist { id, .. } => {
                records += 1;
                Input::Persisted(id)
            }
            Output::Reply { ticket: Ticket(7), outcome } => {
                assert!(answer.replace(outcome.is_ok()).is_none(), "a second answer");
                continue;
            }
            Output::Idle(_) => return (answer.expect("an answer"), records),
            _ => continue,
        };
        machine.handle_input(now, input).expect("it is due");
    }
}

/// Inputs for a corpus: the messages of one round, to be signed and sealed again, as they were opened.
pub fn examples() -> Vec<(String, Vec<u8>)> {
    let mut federation = Federation::new();
    while federation.models.is_empty() {
        federation.calm();
    }
    let keys = client_seeds().map(|seed| SigningKeyPair::from_seed(&Seed::new(seed)).public());
    let messages = federation.opened_messages();
    let mut examples = Vec::new();
    for (nth, message) in messages.iter().enumerate() {
        let (tag, flags) = (message[132] - 1, message[133]);
        let who = keys.iter().position(|key| key.as_bytes()[..] == message[64..96]).unwrap_or(0);
        let head = [tag + 6, who as u8, tag, flags];
        let name = |kind| format!("{kind}-{}-{nth}", ["sum", "update", "sum2"][usize::from(tag)]);
        examples.push((name("signed"), [&head[..], &message[136..]].concat()));
        examples.push((name("opened"), [&[tag + 3, 9], &message[..]].concat()));
    }
    examples
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise the corpus would exercise nothing but the first check.
    #[test]
    fn examples_of_every_phase_are_accepted() {
        let mut accepted = [false; 3];
        for (name, example) in examples() {
            let scene = &scenes()[usize::from(example[0] % 3)];
            let sealed = seal(scene, example[0] / 3 % 3, example[1], &example[2..]).unwrap();
            let opened = scene.front.open(sealed);
            accepted[usize::from(example[0] % 3)] |= opened.is_ok();
            assert!(
                name.starts_with("opened") || opened.is_ok() || example[3] == 1,
                "{name}: {opened:?}"
            );
        }
        assert_eq!(accepted, [true; 3]);
    }
}
