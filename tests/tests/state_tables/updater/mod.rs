//! The updater of version 2: its tables, and a real updater that is brought into each state.

pub mod answers;
mod bench;
pub mod looks;
mod observe;
mod offers;
mod stages;
mod world;

use super::enumeration::enumeration;

pub use observe::{found, looked, observed, tried_by, wished};
pub use offers::offered;
pub use stages::Updaters;

enumeration! {
    /// How far an updater is.
    Stage {
        /// It has seen nothing since it was started.
        First,
        /// It knows the roster, and has seen no round.
        NoRound,
        /// A round has begun, and the certificate of the global model that it starts from is not checked.
        Begun,
        /// That certificate holds, and the model is not there.
        Proven,
        /// It has asked for a local model, or does so after the next look.
        Training,
        /// It has a local model.
        Ready,
        /// It masks the model for members whose list it has checked.
        Masking,
        /// The update is made, and that it is promised is not stored.
        Made,
        /// The header of the update is not delivered.
        Sending,
        /// The header is delivered, and the masked model is not.
        Halfway,
        /// It has done what it can, and does not know whether its model is in the sum.
        Sent,
        /// The certificate of its round holds; whether its own model is in the sum is not known.
        Certified,
        /// It does nothing more in the round.
        Done,
    }
}

enumeration! {
    /// What it waits for.
    Doing {
        /// How the round stands: a look at it comes before every step.
        Look,
        /// The end of a pause.
        Pause,
        /// The end of a pause after something that went wrong.
        Trouble,
        /// Something that it has asked for.
        Get,
        /// The job that checks it, or masks the model.
        Job,
        /// The answer to a part of its update.
        Post,
        /// That its state is stored.
        Store,
    }
}

/// Where an updater is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    At(Stage, Doing),
    /// It was stopped.
    Stopped,
}

impl State {
    /// Every state that there is.
    pub fn all() -> Vec<Self> {
        let of = |stage: &Stage| {
            let stage = *stage;
            Doing::ALL.iter().filter(move |doing| occurs(stage, **doing)).map(move |d| (stage, *d))
        };
        let places = Stage::ALL.iter().flat_map(of).map(|(stage, doing)| Self::At(stage, doing));
        places.chain([Self::Stopped]).collect()
    }
}

/// What an updater gets where it has something to get.
#[deny(clippy::wildcard_enum_match_arm, clippy::match_wildcard_for_single_variants)]
pub fn gets(stage: Stage) -> Option<&'static str> {
    use Stage as S;
    match stage {
        S::First => Some("roster"),
        S::Begun | S::Sent => Some("certificate"),
        S::Proven => Some("model"),
        S::Ready => Some("announcements"),
        S::Certified => Some("proof"),
        S::NoRound | S::Training | S::Masking => None,
        S::Made | S::Sending | S::Halfway | S::Done => None,
    }
}

/// Whether one can wait for this in that stage.
fn occurs(stage: Stage, doing: Doing) -> bool {
    use Stage as S;
    match doing {
        Doing::Look | Doing::Trouble => stage != S::Masking,
        Doing::Pause => {
            matches!(stage, S::NoRound | S::Training | S::Ready | S::Sent | S::Done)
        }
        Doing::Get => gets(stage).is_some(),
        // A proof is checked at once.
        Doing::Job => stage == S::Masking || gets(stage).is_some() && stage != S::Certified,
        Doing::Post => matches!(stage, S::Sending | S::Halfway),
        Doing::Store => stage == S::Made,
    }
}

/// What becomes of an input: what is told, and what comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    pub says: String,
    pub then: Then,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Nothing changes.
    Nothing,
    /// What was given is kept, or what was wished for is remembered; what is being done goes on.
    Kept(Stage),
    /// It looks at the round.
    Looks(Stage),
    /// It pauses.
    Waits(Stage),
    /// It asks for this.
    Gets(Stage, &'static str),
    /// A job checks this, or makes it.
    Checks(Stage, &'static str),
    /// It posts this.
    Posts(Stage, &'static str),
    /// It has its state stored.
    Stores(Stage),
    /// The input means nothing now; nothing changes.
    Refused(&'static str),
    /// It does nothing more.
    Stops,
}

/// A cell in which nothing is told.
pub fn then(then: Then) -> Cell {
    Cell { says: String::new(), then }
}

/// A cell in which something is told.
pub fn says(says: &str, then: Then) -> Cell {
    Cell { says: says.to_owned(), then }
}
