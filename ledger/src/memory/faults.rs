//! What goes wrong between a replica and the engine.

use std::time::Duration;

use crate::LedgerError;

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Call {
    Lease,
    Release,
    Head,
    Append,
    Read,
    Forget,
    Post,
    Letters,
    Answers,
    Taken,
    Beat,
    Replicas,
    Sweep,
    Now,
    Header,
    Put,
    Get,
    List,
    Remove,
}

impl Call {
    /// Whether it may change something.
    pub fn writes(self) -> bool {
        use Call::{Append, Beat, Forget, Header, Lease, Post, Put, Release, Remove, Sweep, Taken};
        matches!(
            self,
            Lease | Release | Append | Forget | Post | Taken | Beat | Sweep | Header | Put | Remove
        )
    }
}

/// What becomes of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing goes wrong.
    None,
    /// It never arrives; whoever called cannot tell whether it did.
    LostBefore,
    /// It is done, and the answer is lost.
    LostAfter,
    /// Whoever called is told that the answer is lost, and it is done after so much time on the engine's clock,
    /// as soon as anybody else looks.
    DoneLater(Duration),
    /// It arrives after so much time, and is answered then.
    Late(Duration),
    /// It arrives twice; the first answer is given.
    Doubled,
    /// Nothing is done, for this reason.
    Error(LedgerError),
}

/// Decides what becomes of each call.
pub(super) type Faults = Box<dyn FnMut(Call) -> Fault + Send>;

/// These faults, one for each of the next calls of that kind; none then, and none for other calls.
pub fn script(
    call: Call,
    faults: impl IntoIterator<Item = Fault>,
) -> impl FnMut(Call) -> Fault + Send {
    let mut faults: std::collections::VecDeque<_> = faults.into_iter().collect();
    move |now| if now == call { faults.pop_front().unwrap_or(Fault::None) } else { Fault::None }
}

/// One of so many calls goes wrong, in a way that the seed decides: lost before or after, late by up to `latest`, or doubled.
pub fn random_faults(seed: u64, one_of: u64, latest: Duration) -> impl FnMut(Call) -> Fault + Send {
    let mut state = seed;
    let mut draw = move || {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    move |_| {
        let (happens, kind, part) = (draw() % one_of.max(1) == 0, draw() % 5, draw() % 1000);
        let late = latest.mul_f64(part as f64 / 1000.0);
        match kind {
            _ if !happens => Fault::None,
            0 => Fault::LostBefore,
            1 => Fault::LostAfter,
            2 => Fault::DoneLater(late),
            3 => Fault::Late(late),
            _ => Fault::Doubled,
        }
    }
}
