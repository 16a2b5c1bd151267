//! What an updater does after a look at the round, and which rounds it takes part in.

use super::super::enumeration::enumeration;
use super::Then::{Gets, Posts, Stores, Waits};
use super::{gets, says, then, Cell, Stage};

enumeration! {
    /// What a look shows. The round starts from the global model of the one before.
    Shown {
        /// No round: the coordinator has just begun to look for its state.
        Nothing,
        /// The announce phase.
        Announce,
        /// The update phase.
        Update,
        /// The check phase.
        Check,
        /// The unmask phase.
        Unmask,
        /// The round has failed.
        Failed,
        /// The round has ended with a model.
        Completed,
        /// The next round, from the same model: this one has failed.
        Next,
        /// The next round, from this one's model.
        NextCompleted,
    }
}

/// What a look brings, in the round that the updater knows, or the first that it sees.
#[deny(clippy::wildcard_enum_match_arm, clippy::match_wildcard_for_single_variants)]
pub fn looked(stage: Stage, shown: Shown) -> Cell {
    use Shown as W;
    use Stage as S;
    let is_next = matches!(shown, W::Next | W::NextCompleted);
    let certificate = then(Gets(S::Begun, "certificate"));
    match stage {
        S::First => then(Gets(S::First, "roster")),
        S::NoRound => match shown {
            W::Nothing => then(Waits(S::NoRound)),
            W::Completed => says("NewRound", Waits(S::Begun)),
            W::Announce
            | W::Update
            | W::Check
            | W::Unmask
            | W::Failed
            | W::Next
            | W::NextCompleted => says("NewRound", Gets(S::Begun, "certificate")),
        },
        S::Begun => match shown {
            W::Nothing | W::Completed => then(Waits(S::Begun)),
            W::Next | W::NextCompleted => says("NewRound", certificate.then),
            W::Announce | W::Update | W::Check | W::Unmask | W::Failed => certificate,
        },
        S::Proven => match shown {
            W::Nothing | W::Completed => then(Waits(S::Proven)),
            W::Next => says("NewRound", Gets(S::Proven, "model")),
            W::NextCompleted => says("NewRound", certificate.then),
            W::Announce | W::Update | W::Check | W::Unmask | W::Failed => {
                then(Gets(S::Proven, "model"))
            }
        },
        S::Training | S::Ready | S::Done if shown == W::NextCompleted => {
            says("NewRound", certificate.then)
        }
        S::Training | S::Done if shown == W::Next => {
            says("NewRound, ModelNeeded", Waits(S::Training))
        }
        // The model is kept for the next round.
        S::Ready if is_next => says("NewRound", Waits(S::Ready)),
        S::Ready if shown == W::Update => then(Gets(S::Ready, "announcements")),
        S::Training | S::Ready | S::Done => then(Waits(stage)),
        S::Masking => then(Waits(S::Masking)),
        S::Made | S::Sending | S::Halfway | S::Sent => promised(stage, shown),
        S::Certified => match shown {
            W::Nothing => then(Waits(stage)),
            W::Completed | W::NextCompleted => then(Gets(stage, "proof")),
            // A coordinator that has gone back: the model before has a certificate of its own.
            W::Announce | W::Update | W::Check | W::Unmask => then(Gets(stage, "certificate")),
            W::Failed => says("NotCertified", Gets(S::Done, "certificate")),
            W::Next => says("NotCertified, NewRound", certificate.then),
        },
    }
}

/// An update is made, or sent.
#[deny(clippy::wildcard_enum_match_arm, clippy::match_wildcard_for_single_variants)]
fn promised(stage: Stage, shown: Shown) -> Cell {
    use Shown as W;
    use Stage as S;
    let is_sent = stage == S::Sent;
    match shown {
        W::Nothing => then(Waits(stage)),
        W::Update if stage == S::Made => then(Stores(stage)),
        W::Update if stage == S::Sending => then(Posts(stage, "update")),
        W::Update if stage == S::Halfway => then(Posts(stage, "chunk")),
        W::Update => then(Waits(stage)),
        W::Announce | W::Check | W::Unmask if is_sent => then(Waits(stage)),
        // Not all of it has come through.
        W::Announce | W::Check | W::Unmask => says("Rejected: too_late", Waits(S::Sent)),
        W::Failed if is_sent => says("NotCertified", Waits(S::Done)),
        W::Failed => says("NotCertified, Rejected: too_late", Waits(S::Done)),
        W::Next => says("NotCertified, NewRound, ModelNeeded", Waits(S::Training)),
        W::Completed | W::NextCompleted => then(Gets(stage, gets(S::Sent).unwrap_or_default())),
    }
}

enumeration! {
    /// What an updater has been through before it sees a round.
    Life {
        /// It has made no statement yet.
        New,
        /// It has made one in the round before, which is over.
        Known,
    }
}

enumeration! {
    /// A round that is offered to it, without a global model.
    Offered {
        /// The next one.
        Good,
        /// The round before, with the terms under which it has made its statement, in its update phase.
        Again,
        /// The number of the round before, and other terms.
        OtherTerms,
        /// A number below that.
        Below,
        /// A number far above that.
        FarAhead,
        /// The highest number that there is.
        Highest,
        /// One that is opened in ten seconds, going by this updater's clock.
        Soon,
        /// One that is opened in two hours.
        FarFuture,
        /// One that was opened eight days ago.
        Old,
        /// Another roster.
        OtherRoster,
        /// As few as two updates.
        FewUpdates,
        /// Fewer updates than the pin asks for.
        FewerThanPinned,
        /// The pin asks for as few as two updates.
        BadPin,
        /// Probabilities above 0: it invites participants of version 1.
        InvitesV1,
        /// A mask config whose group is not made of words.
        PrimeConfig,
        /// A global model, and no certificate: it is of version 1.
        Uncertified,
        /// A roster with an authority, and this updater has no credential.
        NoCredential,
        /// A credential that has expired.
        OldCredential,
        /// Another updater's credential.
        OtherCredential,
        /// No noise, and the pin has a budget.
        NoNoise,
        /// One round would spend more than the budget.
        DearNoise,
        /// Noise that leaves no room for the sum.
        LoudNoise,
        /// Noise, and this updater's model does not count once.
        OwnScalar,
    }
}

/// What becomes of an offer.
#[deny(clippy::wildcard_enum_match_arm, clippy::match_wildcard_for_single_variants)]
pub fn offer(life: Life, offered: Offered) -> Cell {
    use Life as L;
    use Offered as O;
    let stage = match life {
        L::New => Stage::NoRound,
        L::Known => Stage::Done,
    };
    let refuses = |name: &str| says(&format!("refuses: {name}"), Waits(stage));
    let accepts = says("NewRound, ModelNeeded", Waits(Stage::Training));
    let known = |name: &str| match life {
        L::New => accepts.clone(),
        L::Known => refuses(name),
    };
    match offered {
        O::Good | O::Soon => accepts,
        O::Again => match life {
            L::New => accepts,
            // One statement in a round.
            L::Known => then(Waits(stage)),
        },
        O::OtherTerms => known("other_terms"),
        O::Below => known("round_not_above"),
        O::FarAhead => known("round_too_far_ahead"),
        O::Highest => refuses("round_too_far_ahead"),
        O::FarFuture | O::Old => refuses("time"),
        O::OtherRoster => refuses("roster"),
        O::FewUpdates | O::InvitesV1 => refuses("terms"),
        O::FewerThanPinned => refuses("too_few_updates"),
        O::BadPin => refuses("pin"),
        O::PrimeConfig => refuses("mask_config"),
        O::Uncertified => {
            let stage = if life == L::New { Stage::Begun } else { Stage::Training };
            says("NewRound, refuses: no_certificate", Waits(stage))
        }
        O::NoCredential => refuses("no_credential"),
        O::OldCredential => refuses("credential_expired"),
        O::OtherCredential => refuses("not_admitted"),
        O::NoNoise => refuses("no_noise"),
        O::DearNoise => refuses("budget"),
        O::LoudNoise => refuses("head_room"),
        O::OwnScalar => refuses("scalar"),
    }
}
