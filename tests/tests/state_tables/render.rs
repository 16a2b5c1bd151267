//! Writes the tables as a page of the documentation.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::coordinator_table as coordinator;
use super::groups_table as groups;
use super::participant_table as participant;

const INTRODUCTION: &str = "\
# The state machines

What the machines do with every input in every state. This page is made from the tables in
`tests/tests/state_tables` (`make docs-tables`); each entry is tried on a real machine that was brought
into the state (`cargo test -p pet-tests --test state_tables`).

";

const COORDINATOR_LEGEND: &str = "\
Here a round needs 1 to 3 sum messages, 3 to 4 updates and 1 to 2 masks, and it is the machine's second one.
Messages are tried as a server hands them over: opened with what the machine has given out last, then given to the
machine. Shown is where the machine is afterwards.

| entry | meaning |
|---|---|
| · | nothing comes out, nothing changes |
| accepted → *State* | the message is accepted; its sender is told so once that is stored |
| known | the message is there already; its sender is told that it is accepted once that is stored; nothing changes |
| taken → *State* | the message is being worked on; its sender is told later |
| ✗ *reason* | the message is rejected with this label; nothing changes |
| refused: *reason* | `handle_input` gives an error; nothing changes |
| given out again | the job is given out once more, with another id |
| → *State* | the machine goes on |

`Idle` is the phase between two rounds; it never lasts from one call to the next.

";

const GROUPS_LEGEND: &str = "\
Here a round has one group of three members, and 3 to 4 updates; it is the machine's second one. The entries mean what
they mean for the coordinator of version 1; *given out again* stands for what the store is asked for, too.

";

const PARTICIPANT_LEGEND: &str = "\
A state is what the participant has to do next (its stage) and what it waits for. Before every step it looks at the
round's parameters; new ones begin a new round.

| entry | meaning |
|---|---|
| · | nothing comes out, nothing changes |
| → *Stage, doing* | the machine goes on |
| *Event* → *Stage, doing* | the machine goes on and tells its user |
| kept | the model is kept; what is being done goes on |
| asks | a request goes out beside what is being done |
| refused: *reason* | `handle_input` gives an error; nothing changes |
| stops | it does nothing more |

";

/// The whole page.
pub fn page() -> String {
    let mut page = INTRODUCTION.to_string();
    page += "## The coordinator\n\n";
    coordinator_diagram(&mut page);
    page += COORDINATOR_LEGEND;
    coordinator_tables(&mut page);
    page += "## The coordinator of version 2\n\n";
    groups_diagram(&mut page);
    page += GROUPS_LEGEND;
    groups_tables(&mut page);
    super::render_v2::page(&mut page);
    page += "## The participant\n\n";
    participant_diagram(&mut page);
    page += PARTICIPANT_LEGEND;
    participant_tables(&mut page);
    page
}

pub fn meanings<T: std::fmt::Debug + Copy>(
    page: &mut String,
    what: &str,
    values: &[T],
    of: impl Fn(T) -> &'static str,
) {
    let _ = writeln!(page, "| {what} | meaning |\n|---|---|");
    for value in values {
        let _ = writeln!(page, "| {value:?} | {} |", of(*value));
    }
    page.push('\n');
}

/// Arrows, with all inputs that lead from one state to another on one arrow.
pub fn diagram(
    page: &mut String,
    states: &[String],
    arrows: &BTreeMap<(String, String), Vec<String>>,
) {
    page.push_str("```mermaid\nstateDiagram-v2\n");
    let _ = writeln!(page, "    [*] --> {}", states[0]);
    for ((from, to), labels) in arrows {
        let _ = writeln!(page, "    {from} --> {to}: {}", labels.join(", "));
    }
    page.push_str("```\n\n");
}

pub fn table(page: &mut String, corner: &str, columns: &[String], rows: &[(String, Vec<String>)]) {
    let _ = writeln!(page, "| {corner} | {} |", columns.join(" | "));
    let _ = writeln!(page, "|---|{}", "---|".repeat(columns.len()));
    for (name, cells) in rows {
        let _ = writeln!(page, "| {name} | {} |", cells.join(" | "));
    }
    page.push('\n');
}

// The coordinator.

fn coordinator_cell(cell: coordinator::Cell) -> String {
    use coordinator::Cell;
    match cell {
        Cell::Ignored => "·".into(),
        Cell::Accepted(state) => format!("accepted → {state:?}"),
        Cell::Known => "known".into(),
        Cell::Reserved => "reserved".into(),
        Cell::Taken(state) => format!("taken → {state:?}"),
        Cell::Rejected(label) => format!("✗ {label}"),
        Cell::Refused(reason) => format!("refused: {reason}"),
        Cell::GivenOutAgain => "given out again".into(),
        Cell::Moves(state) => format!("→ {state:?}"),
    }
}

fn coordinator_diagram(page: &mut String) {
    use coordinator::{expected, Cell, State, Stimulus};
    let mut arrows = BTreeMap::<_, Vec<_>>::new();
    for state in State::ALL {
        for stimulus in Stimulus::ALL {
            // The first two are possible everywhere; before the third there was a whole message.
            use Stimulus::{ChunkOfSecond, Restore, Stop};
            if matches!(stimulus, Stop | Restore | ChunkOfSecond) {
                continue;
            }
            let (Cell::Accepted(to) | Cell::Taken(to) | Cell::Moves(to)) =
                expected(*state, *stimulus)
            else {
                continue;
            };
            if to != *state {
                let arrow = (format!("{state:?}"), format!("{to:?}"));
                arrows.entry(arrow).or_default().push(format!("{stimulus:?}"));
            }
        }
    }
    let states: Vec<_> = State::ALL.iter().map(|state| format!("{state:?}")).collect();
    diagram(page, &states, &arrows);
}

fn coordinator_tables(page: &mut String) {
    use coordinator::{expected, in_sum, in_sum2, in_update, State, Stimulus};
    meanings(page, "state", State::ALL, State::meaning);
    meanings(page, "input", Stimulus::ALL, Stimulus::meaning);
    type Phase = (&'static str, fn(State) -> bool);
    let phases: [Phase; 4] = [
        ("In the sum phase", |state| in_sum(state).is_some()),
        ("In the update phase", |state| in_update(state).is_some()),
        ("In the sum2 phase", |state| in_sum2(state).is_some()),
        ("Else", |state| in_sum(state).or(in_update(state)).or(in_sum2(state)).is_none()),
    ];
    for (title, belongs) in phases {
        let _ = writeln!(page, "### {title}\n");
        let states: Vec<_> = State::ALL.iter().copied().filter(|state| belongs(*state)).collect();
        let columns: Vec<_> = states.iter().map(|state| format!("{state:?}")).collect();
        let row = |stimulus: &Stimulus| {
            let cell = |state: &State| coordinator_cell(expected(*state, *stimulus));
            (format!("{stimulus:?}"), states.iter().map(cell).collect())
        };
        let rows: Vec<_> = Stimulus::ALL.iter().map(row).collect();
        table(page, "input", &columns, &rows);
    }
}

// The coordinator of version 2.

fn groups_cell(cell: groups::Cell) -> String {
    use groups::Cell;
    match cell {
        Cell::Ignored => "·".into(),
        Cell::Accepted(state) => format!("accepted → {state:?}"),
        Cell::Known => "known".into(),
        Cell::Rejected(label) => format!("✗ {label}"),
        Cell::Refused(reason) => format!("refused: {reason}"),
        Cell::GivenOutAgain => "given out again".into(),
        Cell::Moves(state) => format!("→ {state:?}"),
    }
}

fn groups_diagram(page: &mut String) {
    use groups::{expected, Cell, State, Stimulus};
    let mut arrows = BTreeMap::<_, Vec<_>>::new();
    for state in State::ALL {
        for stimulus in Stimulus::ALL {
            let (Cell::Accepted(to) | Cell::Moves(to)) = expected(*state, *stimulus) else {
                continue;
            };
            // These are possible everywhere.
            if to != *state && !matches!(stimulus, Stimulus::Stop | Stimulus::Skip) {
                let arrow = (format!("{state:?}"), format!("{to:?}"));
                arrows.entry(arrow).or_default().push(format!("{stimulus:?}"));
            }
        }
    }
    let states: Vec<_> = State::ALL.iter().map(|state| format!("{state:?}")).collect();
    diagram(page, &states, &arrows);
}

fn groups_tables(page: &mut String) {
    use groups::{expected, phase, State, Stimulus};
    meanings(page, "state", State::ALL, State::meaning);
    meanings(page, "input", Stimulus::ALL, Stimulus::meaning);
    let parts: [(&str, &[Option<u8>]); 4] = [
        ("While updates come", &[Some(0), Some(1)]),
        ("While they are checked and agreed on", &[Some(2), Some(3)]),
        ("While masks come, and are taken off", &[Some(4), Some(5)]),
        ("When no round is under way", &[None]),
    ];
    for (title, phases) in parts {
        let _ = writeln!(page, "### {title}\n");
        let belongs = |state: &State| phases.contains(&phase(*state));
        let states: Vec<_> = State::ALL.iter().copied().filter(belongs).collect();
        let columns: Vec<_> = states.iter().map(|state| format!("{state:?}")).collect();
        let row = |stimulus: &Stimulus| {
            let cell = |state: &State| groups_cell(expected(*state, *stimulus));
            (format!("{stimulus:?}"), states.iter().map(cell).collect())
        };
        let rows: Vec<_> = Stimulus::ALL.iter().map(row).collect();
        table(page, "input", &columns, &rows);
    }
}

// The participant.

fn place(stage: participant::Stage, doing: participant::Doing) -> String {
    format!("{stage:?}, {doing:?}").to_lowercase()
}

fn participant_cell(cell: participant::Cell) -> String {
    use participant::Cell;
    match cell {
        Cell::Ignored => "·".into(),
        Cell::To(stage, doing) => format!("→ {}", place(stage, doing)),
        Cell::Says(event, stage, doing) => format!("{event} → {}", place(stage, doing)),
        Cell::Kept => "kept".into(),
        Cell::Beside => "asks".into(),
        Cell::Refused(reason) => format!("refused: {reason}"),
        Cell::Stops => "stops".into(),
    }
}

/// Between the stages only: what is waited for is in the table.
fn participant_diagram(page: &mut String) {
    use participant::{expected, Cell, Stage, State, Stimulus};
    let mut arrows = BTreeMap::<_, Vec<_>>::new();
    for state in State::all() {
        let State::At(from, doing) = state else { continue };
        for stimulus in Stimulus::ALL {
            let (Cell::To(to, _) | Cell::Says(_, to, _)) = expected(state, *stimulus) else {
                continue;
            };
            let begins = matches!(stimulus, Stimulus::NewSum | Stimulus::NewUpdate)
                || *stimulus == Stimulus::NewIdle;
            // A new round leads from everywhere to its first stage.
            if to != from && (!begins || from == Stage::First) {
                let arrow = (format!("{from:?}"), format!("{to:?}"));
                let label = format!("{stimulus:?} ({doing:?})");
                arrows.entry(arrow).or_default().push(label);
            }
        }
    }
    let states: Vec<_> = Stage::ALL.iter().map(|stage| format!("{stage:?}")).collect();
    diagram(page, &states, &arrows);
}

fn participant_tables(page: &mut String) {
    use participant::{
        expected, fetch_expected, Doing, FetchCell, FetchStimulus, Fetching, Stage, State, Stimulus,
    };
    meanings(page, "stage", Stage::ALL, Stage::meaning);
    meanings(page, "waits for", Doing::ALL, Doing::meaning);
    meanings(page, "input", Stimulus::ALL, Stimulus::meaning);
    let job_done = |stimulus: &&Stimulus| **stimulus >= Stimulus::JobDone;
    let (others, answers): (Vec<_>, Vec<_>) = Stimulus::ALL.iter().partition(job_done);
    for (title, stimuli) in [("Time and answers", answers), ("Jobs and commands", others)] {
        let _ = writeln!(page, "### {title}\n");
        let columns: Vec<_> = stimuli.iter().map(|stimulus| format!("{stimulus:?}")).collect();
        let row = |state: State| {
            let name = match state {
                State::At(stage, doing) => place(stage, doing),
                State::Stopped => "stopped".into(),
            };
            let cell = |stimulus: &&Stimulus| participant_cell(expected(state, **stimulus));
            (name, stimuli.iter().map(cell).collect())
        };
        let rows: Vec<_> = State::all().into_iter().map(row).collect();
        table(page, "state", &columns, &rows);
    }
    page.push_str("### Getting the global model\n\nThis goes on beside everything else.\n\n");
    meanings(page, "state", Fetching::ALL, Fetching::meaning);
    meanings(page, "input", FetchStimulus::ALL, FetchStimulus::meaning);
    let columns: Vec<_> = FetchStimulus::ALL.iter().map(|s| format!("{s:?}")).collect();
    let row = |fetching: &Fetching| {
        let cell = |stimulus: &FetchStimulus| match fetch_expected(*fetching, *stimulus) {
            FetchCell::To(to) => format!("→ {to:?}"),
            FetchCell::Answers(event, to) => format!("{event} → {to:?}"),
            FetchCell::Refused(reason) => format!("refused: {reason}"),
        };
        (format!("{fetching:?}"), FetchStimulus::ALL.iter().map(cell).collect())
    };
    let rows: Vec<_> = Fetching::ALL.iter().map(row).collect();
    table(page, "state", &columns, &rows);
    page.truncate(page.trim_end().len());
    page.push('\n');
}
