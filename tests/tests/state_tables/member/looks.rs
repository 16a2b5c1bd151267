//! What a member does after a look at the round, and which rounds it takes part in.

use super::super::enumeration::enumeration;
use super::Then::{Checks, Gets, Looks, Posts, Stores, Waits};
use super::{gets, says, then, Cell, Stage};

enumeration! {
    /// What a look shows.
    Shown {
        /// No round: the coordinator has just begun to look for its state.
        Nothing,
        /// The announce phase.
        Announce,
        /// The update phase.
        Update,
        /// The update phase without a list of announcements.
        Unlisted,
        /// The check phase.
        Check,
        /// The check phase, a minute later: this member's report is not there.
        CheckLost,
        /// The agree phase.
        Agree,
        /// The agree phase, a minute later: this member's vote is not there.
        AgreeLost,
        /// The agree phase with another decision.
        AgreeOther,
        /// The sum2 phase: this member is asked for the sum of its group's masks.
        Sum2,
        /// The sum2 phase, a minute later: this member's digest and sum are not there.
        Sum2Lost,
        /// The sum2 phase: this member's digest is there, and it is asked for nothing.
        Sum2Unwanted,
        /// The unmask phase.
        Unmask,
        /// The round has failed.
        Failed,
        /// The round has ended with a model.
        Completed,
        /// The next round, in its announce phase.
        Next,
    }
}

/// What a look brings, in the round that the member knows, or the first that it sees.
#[deny(clippy::wildcard_enum_match_arm, clippy::match_wildcard_for_single_variants)]
pub fn looked(stage: Stage, shown: Shown) -> Cell {
    use Shown as W;
    use Stage as S;
    match stage {
        S::First => match shown {
            W::Nothing | W::Completed => then(Waits(S::First, "round")),
            W::Failed => says("RoundFailed", Waits(S::First, "round")),
            W::Announce
            | W::Update
            | W::Unlisted
            | W::Check
            | W::CheckLost
            | W::Agree
            | W::AgreeLost
            | W::AgreeOther
            | W::Sum2
            | W::Sum2Lost
            | W::Sum2Unwanted
            | W::Unmask
            | W::Next => then(Gets(S::First, "roster")),
        },
        S::Idle => match shown {
            W::Nothing | W::Completed => then(Waits(S::Idle, "round")),
            W::Failed => says("RoundFailed", Waits(S::Idle, "round")),
            W::Announce | W::Next => then(Stores(S::Promised)),
            W::Update
            | W::Unlisted
            | W::Check
            | W::CheckLost
            | W::Agree
            | W::AgreeLost
            | W::AgreeOther
            | W::Sum2
            | W::Sum2Lost
            | W::Sum2Unwanted
            | W::Unmask => says("refuses: late", Waits(S::Idle, "round")),
        },
        S::Promised
        | S::Announced
        | S::Restarted
        | S::Listed
        | S::Checked
        | S::Reported
        | S::Agreed
        | S::Pledged
        | S::Voted
        | S::Voteless
        | S::Certified
        | S::Summed
        | S::Signed
        | S::Sent
        | S::Out => in_round(stage, shown),
        S::Over => then(Looks(S::Over)),
    }
}

/// In the round that it takes part in.
#[deny(clippy::wildcard_enum_match_arm, clippy::match_wildcard_for_single_variants)]
fn in_round(stage: Stage, shown: Shown) -> Cell {
    use Shown as W;
    use Stage as S;
    let waits = |why| then(Waits(stage, why));
    match shown {
        W::Failed => return says("RoundOver, RoundFailed", Stores(S::Over)),
        W::Completed | W::Next => return says("RoundOver", Stores(S::Over)),
        _ if stage == S::Out => return waits("sits_out"),
        // Nothing is forgotten for that.
        W::Nothing => return waits("coordinator"),
        W::Announce if stage == S::Promised => return then(Posts(stage, "announcement")),
        // Also where the coordinator has gone back.
        W::Announce | W::Unlisted => return waits("announcements"),
        W::Update
        | W::Check
        | W::CheckLost
        | W::Agree
        | W::AgreeLost
        | W::AgreeOther
        | W::Sum2
        | W::Sum2Lost
        | W::Sum2Unwanted
        | W::Unmask => {}
    }
    // What is asked for still after ten seconds counts as lost.
    let is_late = matches!(shown, W::CheckLost | W::AgreeLost | W::Sum2Lost);
    let stage = if is_late && stage == S::Sent { S::Signed } else { stage };
    if matches!(stage, S::Promised | S::Announced | S::Restarted) {
        return then(Gets(stage, "announcements"));
    }
    if shown == W::Update {
        return waits("updates");
    }
    if stage == S::Listed {
        return then(Gets(stage, "entries"));
    }
    let has_certified = matches!(stage, S::Certified | S::Summed | S::Signed | S::Sent);
    match shown {
        W::Check if stage == S::Checked => then(Posts(stage, "report")),
        W::Check => waits("reports"),
        W::CheckLost => then(Posts(stage, "report")),
        W::AgreeOther if has_certified => {
            says("refuses: other_than_certified", Waits(S::Out, "sits_out"))
        }
        // It votes twice for nobody, but looks at what it is: perhaps the coordinator has put its mistake right.
        W::AgreeOther => then(Gets(stage, "set")),
        _ if matches!(stage, S::Checked | S::Reported) => then(Gets(stage, "set")),
        W::Agree | W::AgreeLost if stage == S::Agreed => then(Stores(stage)),
        W::Agree | W::AgreeLost if stage == S::Voteless => waits("votes"),
        W::Agree if stage == S::Pledged => then(Posts(stage, "vote")),
        W::Agree => waits("votes"),
        W::AgreeLost => then(Posts(stage, "vote")),
        _ if !has_certified => then(Gets(stage, gets(stage).unwrap_or_default())),
        W::Sum2 | W::Sum2Lost if stage == S::Certified => then(Checks(stage, "mask")),
        W::Sum2 | W::Sum2Unwanted | W::Unmask if stage == S::Summed => then(Posts(stage, "mask")),
        W::Sum2Lost => then(Posts(stage, "mask")),
        W::Sum2 if stage == S::Signed => then(Posts(stage, "mask_chunk")),
        W::Sum2 => waits("masks"),
        W::Sum2Unwanted | W::Unmask => waits("masks"),
        W::Nothing | W::Announce | W::Update | W::Unlisted | W::Failed | W::Completed | W::Next => {
            unreachable!("it was looked at before")
        }
    }
}

enumeration! {
    /// What a member has been through before it sees a round.
    Life {
        /// It has never announced itself.
        New,
        /// It has announced itself in the round before, which is over.
        Known,
        /// The same, and it was started anew since.
        Restored,
        /// It was started anew in the middle of the round before.
        Midway,
    }
}

enumeration! {
    /// A round that is offered to it.
    Offered {
        /// The next one, in its announce phase.
        Good,
        /// The next one, in its update phase.
        Late,
        /// The next one, which has failed.
        Failed,
        /// The round before, with the terms that it has signed for, in its announce phase.
        Again,
        /// The number of the round before, and other terms.
        OtherTerms,
        /// A number below that.
        Below,
        /// A number far above that.
        FarAhead,
        /// The highest number that there is.
        Highest,
        /// One that was opened a minute ago: before a member that was started anew was started.
        OpenedBefore,
        /// One that is opened in ten seconds, going by this member's clock.
        Soon,
        /// One that is opened in two hours.
        FarFuture,
        /// One that was opened eight days ago.
        Old,
        /// Another roster.
        OtherRoster,
        /// As few as two updates.
        FewUpdates,
        /// Probabilities above 0: it invites participants of version 1.
        InvitesV1,
        /// Longer models than the settings allow.
        LongModel,
        /// A key of the coordinator that is a point of low order.
        WeakKey,
        /// No noise, and the pin has a budget.
        NoNoise,
        /// Less noise than the settings ask for.
        LittleNoise,
        /// One round would spend more than the budget.
        DearNoise,
        /// Noise that leaves no room for the sum.
        LoudNoise,
    }
}

/// What becomes of an offer.
#[deny(clippy::wildcard_enum_match_arm, clippy::match_wildcard_for_single_variants)]
pub fn offer(life: Life, offered: Offered) -> Cell {
    use Life as L;
    use Offered as O;
    use Stage as S;
    // It asks for the roster only where it is the pinned one, and there is something to take part in.
    let has_not_asked = matches!(offered, O::OtherRoster | O::Failed) && life == L::Midway;
    let idle = if has_not_asked { S::First } else { S::Idle };
    let refuses = |label: &str| says(&format!("refuses: {label}"), Waits(idle, "round"));
    let accepts = then(Stores(S::Promised));
    match offered {
        O::Good => accepts,
        O::Late => refuses("late"),
        O::Failed => says("RoundFailed", Waits(idle, "round")),
        O::Again => match life {
            L::New => accepts,
            L::Known | L::Restored => refuses("round_not_above"),
            L::Midway => says("refuses: restarted", Waits(S::Restarted, "announcements")),
        },
        O::OtherTerms | O::Below => match life {
            L::New => accepts,
            L::Known | L::Restored | L::Midway => refuses("round_not_above"),
        },
        O::FarAhead => match life {
            L::New => accepts,
            L::Known | L::Restored | L::Midway => refuses("round_too_far_ahead"),
        },
        O::Highest => refuses("round_too_far_ahead"),
        O::OpenedBefore => match life {
            L::New | L::Known => accepts,
            L::Restored | L::Midway => refuses("opened_before"),
        },
        O::Soon => then(Waits(S::Idle, "clock")),
        O::FarFuture | O::Old => refuses("not_lately"),
        O::OtherRoster | O::FewUpdates | O::InvitesV1 | O::NoNoise => refuses("pin"),
        O::LongModel => refuses("model_length"),
        O::WeakKey => refuses("weak_key"),
        O::LittleNoise => refuses("noise"),
        O::DearNoise => refuses("budget"),
        O::LoudNoise => refuses("noise_terms"),
    }
}
