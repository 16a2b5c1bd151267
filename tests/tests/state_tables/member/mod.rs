//! The member of version 2: its tables, and a real member that is brought into each state.

pub mod answers;
mod bench;
pub mod looks;
mod observe;
mod offers;
mod stages;
mod world;

use super::enumeration::enumeration;

pub use observe::{found, looked, observed, tried_by};
pub use offers::offered;
pub use stages::Members;

enumeration! {
    /// How far a member is.
    Stage {
        /// It has seen nothing since it was started.
        First,
        /// It knows who it is, and takes part in no round.
        Idle,
        /// It takes part, and has not delivered its announcement.
        Promised,
        /// Its announcement is delivered.
        Announced,
        /// It was started anew after that: it has no vote in the round.
        Restarted,
        /// It has checked the list of announcements.
        Listed,
        /// It has checked all updates, and not delivered its report.
        Checked,
        /// Its report is delivered.
        Reported,
        /// It has checked the set, and not voted.
        Agreed,
        /// Its vote is stored, and not delivered.
        Pledged,
        /// Its vote is delivered.
        Voted,
        /// It has checked the set, and has no vote, as it was started anew.
        Voteless,
        /// It has checked the votes of the others.
        Certified,
        /// It has added up the masks, and not delivered the digest of the sum.
        Summed,
        /// The digest is delivered, and the sum is not.
        Signed,
        /// All of the sum is delivered.
        Sent,
        /// It does nothing more in the round.
        Out,
        /// The round is over, and that its root seed has gone on is not stored.
        Over,
    }
}

enumeration! {
    /// What it waits for.
    Doing {
        /// How the round stands: a look at it comes before every step, unless the last is fresh.
        Look,
        /// The end of a pause.
        Pause,
        /// Something of the round.
        Get,
        /// The job that checks it, or adds up the masks.
        Job,
        /// The answer to what it posts.
        Post,
        /// That its state is stored.
        Store,
    }
}

/// Where a member is.
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

/// What a member gets where it has something to get.
#[deny(clippy::wildcard_enum_match_arm, clippy::match_wildcard_for_single_variants)]
pub fn gets(stage: Stage) -> Option<&'static str> {
    use Stage as S;
    match stage {
        S::First => Some("roster"),
        S::Promised | S::Announced | S::Restarted => Some("announcements"),
        S::Listed => Some("entries"),
        S::Checked | S::Reported => Some("set"),
        S::Agreed | S::Pledged | S::Voted | S::Voteless => Some("votes"),
        S::Idle | S::Certified | S::Summed | S::Signed | S::Sent | S::Out | S::Over => None,
    }
}

/// Whether one can wait for this in that stage.
fn occurs(stage: Stage, doing: Doing) -> bool {
    use Stage as S;
    match doing {
        Doing::Look | Doing::Pause => stage != S::Over,
        Doing::Get => gets(stage).is_some(),
        Doing::Job => gets(stage).is_some() || stage == S::Certified,
        Doing::Post => {
            matches!(stage, S::Promised | S::Checked | S::Pledged | S::Summed | S::Signed)
        }
        Doing::Store => matches!(stage, S::Promised | S::Agreed | S::Over),
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
    /// It looks at the round.
    Looks(Stage),
    /// It pauses, and says what it waits for.
    Waits(Stage, &'static str),
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
