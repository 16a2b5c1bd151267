//! Whole rounds: bytes are read as what happens to a small federation.

use std::time::Duration;

use pet_core::request::Response;

use crate::federation::{Federation, CLIENTS};

/// The most that happens in one run: longer inputs find nothing that shorter ones do not.
const MOST_ACTIONS: usize = 200;

/// Plays what the bytes say, and then a while in which nothing goes wrong. No rule may be broken.
pub fn rounds(data: &[u8]) {
    let federation = play(data);
    assert!(federation.violations.is_empty(), "{:#?}", federation.violations);
}

/// Plays what the bytes say: pairs of an action and what it is done to.
pub fn play(data: &[u8]) -> Federation {
    let mut federation = Federation::new();
    for pair in data.chunks_exact(2).take(MOST_ACTIONS) {
        act(&mut federation, pair[0], pair[1]);
        if !federation.violations.is_empty() {
            break;
        }
    }
    for _ in 0..4 {
        federation.calm();
    }
    federation
}

fn act(federation: &mut Federation, action: u8, with: u8) {
    let (index, rest) = (usize::from(with) % CLIENTS, usize::from(with) / CLIENTS);
    match action % 20 {
        0 => federation.calm(),
        1 => federation.calm_client(index),
        2 => federation.calm_server(),
        3 => federation.tick(index),
        4 => federation.deliver(index, 1, |_| {}),
        5 => federation.deliver(index, 2, |_| {}),
        6 => federation.deliver(index, 1, |response| spoil(response, rest)),
        7 => federation.lose(index, false),
        8 => federation.lose(index, true),
        9 => federation.client_job(index, rest, false),
        10 => federation.client_job(index, 1, true),
        11 => federation.set_model(index),
        12 => federation.fetch_model(index),
        13 => federation.save_client(index),
        14 => federation.crash_client(index),
        15 => federation.server_job(index, rest % 2 == 1),
        16 => federation.store(),
        17 => federation.crash_server(),
        18 => federation.replay(rest, (index != 0).then_some(usize::from(with) * 37)),
        _ => match with {
            0..128 => federation.pass_to_next(),
            _ => federation.pass(Duration::from_millis(u64::from(with - 127) * 250)),
        },
    }
}

/// What a bad network or server makes of an answer. (A change that is still a well-formed answer is a
/// lie, and nobody promises that a participant can tell; but it may break no rule either.)
fn spoil(response: &mut Response, how: usize) {
    match how % 4 {
        0 => *response = Response::no_content(),
        1 => response.status = 503,
        2 => response.body.truncate(response.body.len() / 2),
        _ => {
            let mut body = response.body.to_vec();
            if !body.is_empty() {
                let at = how * 31 % body.len();
                body[at] ^= 1 << (how / 4 % 8);
            }
            response.body = body.into();
        }
    }
}
