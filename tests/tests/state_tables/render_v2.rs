//! Writes the tables of version 2's members and updaters.

use std::collections::BTreeMap;
use std::fmt::{Debug, Write};

use super::render::{diagram, meanings, table};
use super::{member, updater};

const CELLS: &str = "\
| entry | meaning |
|---|---|
| · | nothing comes out, nothing changes |
| *events* → stage, ... | it tells its user that, and goes on in this stage; none is named where that stays the same |
| *refuses: ...* | it tells its user of the refusal with this name |
| looks | it looks at the round |
| gets, posts *something* | it asks the coordinator for that, or sends it |
| job: *something* | a job checks that, or makes it |
| stores | its state is to be stored; nothing else happens before |
| kept | what it was given is kept, or its wish is remembered; what is being done goes on |
| refused: reason | `handle_input` gives an error; nothing changes |
| stops | it does nothing more |

";

const MEMBER: &str = "\
Here there is one group of three members, and a round has four updates. A state is how far the member is in the round (its
stage), and what it waits for. A restored member takes part only in rounds that were opened after its start, and has no vote
where it has announced itself before: see [protocol-v2.md](protocol-v2.md#4-a-round). `waits:` comes before what it tells its
operator that it waits for. `NewRound` and `Phase`, which each look tells if there is something new, are left out.

";

const UPDATER: &str = "\
Here there is one group of three members, and the round starts from the global model of the one before. The updater's driver
stores states. A state is how far it is (its stage), and what it waits for.

";

/// The part of the page.
pub fn page(page: &mut String) {
    page.push_str("## The member of version 2\n\n");
    member_diagram(page);
    page.push_str(MEMBER);
    page.push_str(CELLS);
    meanings(page, "stage", member::Stage::ALL, member::Stage::meaning);
    meanings(page, "waits for", member::Doing::ALL, member::Doing::meaning);
    member_offers(page);
    member_looks(page);
    member_answers(page);
    member_findings(page);
    page.push_str("## The updater of version 2\n\n");
    updater_diagram(page);
    page.push_str(UPDATER);
    page.push_str("The entries mean what they mean for members.\n\n");
    meanings(page, "stage", updater::Stage::ALL, updater::Stage::meaning);
    meanings(page, "waits for", updater::Doing::ALL, updater::Doing::meaning);
    updater_offers(page);
    updater_looks(page);
    updater_answers(page);
    updater_findings(page);
    updater_wishes(page);
}

fn names<T: Debug>(values: &[T]) -> Vec<String> {
    values.iter().map(|value| format!("{value:?}")).collect()
}

fn lower(value: impl Debug) -> String {
    format!("{value:?}").to_lowercase()
}

/// A table of something by something.
fn matrix<R: Copy, C: Copy + Debug>(
    page: &mut String,
    corner: &str,
    rows: &[(String, R)],
    columns: &[C],
    cell: impl Fn(R, C) -> String,
) {
    let row = |(name, row): &(String, R)| {
        (name.clone(), columns.iter().map(|column| cell(*row, *column)).collect())
    };
    let rows: Vec<_> = rows.iter().map(row).collect();
    table(page, corner, &names(columns), &rows);
}

/// What is told, and what comes then.
fn entry(says: &str, then: String) -> String {
    match says {
        "" => then,
        says if then.starts_with('→') => format!("*{says}* {then}"),
        says => format!("*{says}*, {then}"),
    }
}

/// Where it goes on, which is said only if that is another stage than before, and with what.
fn goes<S: Debug + PartialEq>(from: Option<S>, to: S, does: &str) -> String {
    match from.is_some_and(|from| from == to) {
        true => does.to_owned(),
        false => format!("→ {}, {does}", lower(to)),
    }
}

/// The way of a round in which all goes well: all arrows but those of what goes wrong.
fn way<S: Debug + Copy + PartialEq>(
    page: &mut String,
    first: S,
    arrows: impl Iterator<Item = (S, S, String)>,
) {
    let mut all = BTreeMap::<_, Vec<String>>::new();
    for (from, to, label) in arrows.filter(|(from, to, _)| from != to) {
        let labels = all.entry((format!("{from:?}"), format!("{to:?}"))).or_default();
        if !labels.contains(&label) {
            labels.push(label);
        }
    }
    diagram(page, &[format!("{first:?}")], &all);
}

// The member.

fn member_cell(from: Option<member::Stage>, cell: &member::Cell) -> String {
    use member::Then;
    let then = match cell.then {
        Then::Nothing => "·".to_owned(),
        Then::Looks(stage) => goes(from, stage, "looks"),
        Then::Waits(stage, why) => goes(from, stage, &format!("waits: {why}")),
        Then::Gets(stage, what) => goes(from, stage, &format!("gets {what}")),
        Then::Checks(stage, what) => goes(from, stage, &format!("job: {what}")),
        Then::Posts(stage, what) => goes(from, stage, &format!("posts {what}")),
        Then::Stores(stage) => goes(from, stage, "stores"),
        Then::Refused(reason) => format!("refused: {reason}"),
        Then::Stops => "stops".to_owned(),
    };
    entry(&cell.says, then)
}

fn member_diagram(page: &mut String) {
    use member::answers::{expected, Stimulus};
    use member::{Stage, State, Then};
    let good = [Stimulus::Good, Stimulus::JobDone, Stimulus::Persisted];
    let arrows = State::all().into_iter().flat_map(|state| {
        good.iter().filter_map(move |stimulus| {
            let State::At(from, doing) = state else { return None };
            let to = match expected(state, *stimulus).then {
                Then::Looks(to) | Then::Waits(to, _) | Then::Stores(to) => to,
                Then::Gets(to, _) | Then::Checks(to, _) | Then::Posts(to, _) => to,
                Then::Nothing | Then::Refused(_) | Then::Stops => return None,
            };
            Some((from, to, lower(doing)))
        })
    });
    way(page, Stage::First, arrows);
}

fn member_offers(page: &mut String) {
    use member::looks::{offer, Life, Offered};
    page.push_str("### Which rounds it takes part in\n\n");
    meanings(page, "member", Life::ALL, Life::meaning);
    meanings(page, "round", Offered::ALL, Offered::meaning);
    let rows: Vec<_> =
        Offered::ALL.iter().map(|offered| (format!("{offered:?}"), *offered)).collect();
    matrix(page, "round", &rows, Life::ALL, |offered, life| {
        member_cell(None, &offer(life, offered))
    });
}

fn member_looks(page: &mut String) {
    use member::looks::{looked, Shown};
    use member::Stage;
    page.push_str("### What a look brings\n\n");
    meanings(page, "shown", Shown::ALL, Shown::meaning);
    let stages = Stage::ALL.iter().filter(|stage| **stage != Stage::Over);
    let rows: Vec<_> = stages.map(|stage| (lower(stage), *stage)).collect();
    let (begin, end) = Shown::ALL.split_at(8);
    for columns in [begin, end] {
        matrix(page, "stage", &rows, columns, |stage, shown| {
            member_cell(Some(stage), &looked(stage, shown))
        });
    }
}

fn member_answers(page: &mut String) {
    use member::answers::{expected, Stimulus};
    use member::State;
    page.push_str("### Everything else\n\n");
    meanings(page, "input", Stimulus::ALL, Stimulus::meaning);
    let name = |state: &State| match state {
        State::At(stage, doing) => format!("{}, {}", lower(stage), lower(doing)),
        State::Stopped => "stopped".to_owned(),
    };
    let rows: Vec<_> = State::all().iter().map(|state| (name(state), *state)).collect();
    let is_answer = |stimulus: &Stimulus| *stimulus < Stimulus::JobDone;
    let (answers, others): (Vec<_>, Vec<_>) = Stimulus::ALL.iter().copied().partition(is_answer);
    for columns in [answers, others] {
        matrix(page, "state", &rows, &columns, |state, stimulus| {
            let from = match state {
                State::At(stage, _) => Some(stage),
                State::Stopped => None,
            };
            member_cell(from, &expected(state, stimulus))
        });
    }
}

fn member_findings(page: &mut String) {
    use member::answers::{finding, Flaw};
    page.push_str("### What its jobs find\n\n");
    page.push_str("| flaw | in stage | meaning | what follows |\n|---|---|---|---|\n");
    for flaw in Flaw::ALL {
        let stage = lower(flaw.stage());
        let follows = member_cell(Some(flaw.stage()), &finding(*flaw));
        let _ = writeln!(page, "| {flaw:?} | {stage} | {} | {follows} |", flaw.meaning());
    }
    page.push('\n');
}

// The updater.

fn updater_cell(from: Option<updater::Stage>, cell: &updater::Cell) -> String {
    use updater::Then;
    let then = match cell.then {
        Then::Nothing => "·".to_owned(),
        Then::Kept(stage) if from == Some(stage) => "kept".to_owned(),
        Then::Kept(stage) => format!("→ {}, kept", lower(stage)),
        Then::Looks(stage) => goes(from, stage, "looks"),
        Then::Waits(stage) => goes(from, stage, "waits"),
        Then::Gets(stage, what) => goes(from, stage, &format!("gets {what}")),
        Then::Checks(stage, what) => goes(from, stage, &format!("job: {what}")),
        Then::Posts(stage, what) => goes(from, stage, &format!("posts {what}")),
        Then::Stores(stage) => goes(from, stage, "stores"),
        Then::Refused(reason) => format!("refused: {reason}"),
        Then::Stops => "stops".to_owned(),
    };
    entry(&cell.says, then)
}

fn updater_diagram(page: &mut String) {
    use updater::answers::{expected, Stimulus};
    use updater::{Stage, State, Then};
    let good = [Stimulus::Good, Stimulus::JobDone, Stimulus::Persisted, Stimulus::SetModel];
    let arrows = State::all().into_iter().flat_map(|state| {
        good.iter().filter_map(move |stimulus| {
            let State::At(from, doing) = state else { return None };
            let to = match expected(state, *stimulus).then {
                Then::Looks(to) | Then::Waits(to) | Then::Stores(to) | Then::Kept(to) => to,
                Then::Gets(to, _) | Then::Checks(to, _) | Then::Posts(to, _) => to,
                Then::Nothing | Then::Refused(_) | Then::Stops => return None,
            };
            let label = match stimulus {
                Stimulus::SetModel => "a model".to_owned(),
                _ => lower(doing),
            };
            Some((from, to, label))
        })
    });
    way(page, Stage::First, arrows);
}

fn updater_offers(page: &mut String) {
    use updater::looks::{offer, Life, Offered};
    page.push_str("### Which rounds it takes part in\n\n");
    meanings(page, "updater", Life::ALL, Life::meaning);
    meanings(page, "round", Offered::ALL, Offered::meaning);
    let rows: Vec<_> =
        Offered::ALL.iter().map(|offered| (format!("{offered:?}"), *offered)).collect();
    matrix(page, "round", &rows, Life::ALL, |offered, life| {
        updater_cell(None, &offer(life, offered))
    });
}

fn updater_looks(page: &mut String) {
    use updater::looks::{looked, Shown};
    page.push_str("### What a look brings\n\n");
    meanings(page, "shown", Shown::ALL, Shown::meaning);
    matrix(page, "stage", &updater_stages(), Shown::ALL, |stage, shown| {
        updater_cell(Some(stage), &looked(stage, shown))
    });
}

/// All but the one in which it never looks.
fn updater_stages() -> Vec<(String, updater::Stage)> {
    use updater::Stage;
    let stages = Stage::ALL.iter().filter(|stage| **stage != Stage::Masking);
    stages.map(|stage| (lower(stage), *stage)).collect()
}

fn updater_answers(page: &mut String) {
    use updater::answers::{expected, Stimulus};
    use updater::State;
    page.push_str("### Everything else\n\n");
    meanings(page, "input", Stimulus::ALL, Stimulus::meaning);
    let name = |state: &State| match state {
        State::At(stage, doing) => format!("{}, {}", lower(stage), lower(doing)),
        State::Stopped => "stopped".to_owned(),
    };
    let rows: Vec<_> = State::all().iter().map(|state| (name(state), *state)).collect();
    let is_answer = |stimulus: &Stimulus| *stimulus < Stimulus::JobDone;
    let (answers, others): (Vec<_>, Vec<_>) = Stimulus::ALL.iter().copied().partition(is_answer);
    for columns in [answers, others] {
        matrix(page, "state", &rows, &columns, |state, stimulus| {
            let from = match state {
                State::At(stage, _) => Some(stage),
                State::Stopped => None,
            };
            updater_cell(from, &expected(state, stimulus))
        });
    }
}

fn updater_findings(page: &mut String) {
    use updater::answers::{finding, Flaw};
    page.push_str("### What it finds to be wrong\n\n");
    page.push_str("| flaw | in stage | meaning | what follows |\n|---|---|---|---|\n");
    for flaw in Flaw::ALL {
        let stage = lower(flaw.stage());
        let follows = updater_cell(Some(flaw.stage()), &finding(*flaw));
        let _ = writeln!(page, "| {flaw:?} | {stage} | {} | {follows} |", flaw.meaning());
    }
    page.push('\n');
}

fn updater_wishes(page: &mut String) {
    use updater::answers::{answer, Wish};
    page.push_str("### Getting the global model\n\n");
    page.push_str("What those who wish for it are told, in every stage:\n\n");
    page.push_str("| what comes then | meaning | answer |\n|---|---|---|\n");
    for wish in Wish::ALL {
        let _ = writeln!(page, "| {wish:?} | {} | {} |", wish.meaning(), answer(*wish));
    }
    page.push('\n');
}
