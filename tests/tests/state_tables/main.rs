//! Every state of the machines against every kind of input.
//!
//! The tables are functions whose matches the compiler proves to be total. Each of their entries is
//! tried on a real machine that was brought into the state. `docs/state-machines.md` is made of them.

mod coordinator_drive;
mod coordinator_table;
mod enumeration;
mod groups_drive;
mod groups_table;
mod member;
mod participant_drive;
mod participant_table;
mod render;
mod render_v2;
mod updater;

use std::fmt::Debug;

/// Where a machine does something else than its table says.
fn differences<State: Copy + Debug, Stimulus: Copy + Debug, Cell: Debug + PartialEq>(
    states: &[State],
    stimuli: &[Stimulus],
    expected: impl Fn(State, Stimulus) -> Cell,
    observed: impl Fn(State, Stimulus) -> Cell,
) -> Vec<String> {
    let pairs = states.iter().flat_map(|state| stimuli.iter().map(|stimulus| (*state, *stimulus)));
    pairs
        .filter_map(|(state, stimulus)| {
            let (observed, expected) = (observed(state, stimulus), expected(state, stimulus));
            (observed != expected)
                .then(|| format!("{state:?} x {stimulus:?}: {observed:?}, not {expected:?}"))
        })
        .collect()
}

#[test]
fn the_coordinator_does_what_its_table_says() {
    use coordinator_drive::observed;
    use coordinator_table::{expected, State, Stimulus};
    let wrong = differences(State::ALL, Stimulus::ALL, expected, observed);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_participant_does_what_its_table_says() {
    use participant_drive::observed;
    use participant_table::{expected, State, Stimulus};
    let wrong = differences(&State::all(), Stimulus::ALL, expected, observed);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn getting_the_global_model_goes_as_its_table_says() {
    use participant_drive::fetch_observed;
    use participant_table::{fetch_expected, FetchStimulus, Fetching};
    let wrong = differences(Fetching::ALL, FetchStimulus::ALL, fetch_expected, fetch_observed);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_coordinator_of_version_2_does_what_its_table_says() {
    use groups_drive::observed;
    use groups_table::{expected, State, Stimulus};
    let wrong = differences(State::ALL, Stimulus::ALL, expected, observed);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_member_does_what_its_tables_say() {
    use member::answers::{expected, finding, Flaw, Stimulus};
    use member::looks::{self, Life, Offered, Shown};
    use member::{Members, Stage, State};
    let members = Members::new();
    let mut wrong = differences(&State::all(), Stimulus::ALL, expected, |state, stimulus| {
        member::observed(&members, state, stimulus)
    });
    // What is over is stored before the next look.
    let stages: Vec<_> = Stage::ALL.iter().copied().filter(|stage| *stage != Stage::Over).collect();
    wrong.extend(differences(&stages, Shown::ALL, looks::looked, |stage, shown| {
        member::looked(&members, stage, shown)
    }));
    wrong.extend(differences(Life::ALL, Offered::ALL, looks::offer, |life, offered| {
        member::offered(&members, life, offered)
    }));
    wrong.extend(differences(
        Flaw::ALL,
        &[()],
        |flaw, ()| finding(flaw),
        |flaw, ()| member::found(&members, flaw),
    ));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_updater_does_what_its_tables_say() {
    use updater::answers::{answer, expected, finding, Flaw, Stimulus, Wish};
    use updater::looks::{self, Life, Offered, Shown};
    use updater::{Stage, State, Updaters};
    let updaters = Updaters::new();
    let mut wrong = differences(&State::all(), Stimulus::ALL, expected, |state, stimulus| {
        updater::observed(&updaters, state, stimulus)
    });
    // While it masks it does not look.
    let looking = Stage::ALL.iter().copied().filter(|stage| *stage != Stage::Masking);
    let stages: Vec<_> = looking.collect();
    wrong.extend(differences(&stages, Shown::ALL, looks::looked, |stage, shown| {
        updater::looked(&updaters, stage, shown)
    }));
    wrong.extend(differences(Life::ALL, Offered::ALL, looks::offer, |life, offered| {
        updater::offered(&updaters, life, offered)
    }));
    wrong.extend(differences(
        Flaw::ALL,
        &[()],
        |flaw, ()| finding(flaw),
        |flaw, ()| updater::found(&updaters, flaw),
    ));
    wrong.extend(differences(
        &stages,
        Wish::ALL,
        |_, wish| answer(wish),
        |stage, wish| updater::wished(&updaters, stage, wish),
    ));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Each refusal of a member's is in one of its tables.
#[test]
fn no_refusal_of_a_member_is_left_out() {
    use member::answers::{expected, finding, Flaw, Stimulus};
    use member::looks::{looked, offer, Life, Offered, Shown};
    use member::{Stage, State};
    let pairs = |told: &mut Vec<String>| {
        for state in State::all() {
            told.extend(Stimulus::ALL.iter().map(|stimulus| expected(state, *stimulus).says));
        }
        for stage in Stage::ALL {
            told.extend(Shown::ALL.iter().map(|shown| looked(*stage, *shown).says));
        }
        for life in Life::ALL {
            told.extend(Offered::ALL.iter().map(|offered| offer(*life, *offered).says));
        }
        told.extend(Flaw::ALL.iter().map(|flaw| finding(*flaw).says));
    };
    let mut told = Vec::new();
    pairs(&mut told);
    let is_told = |label: &&&str| {
        let refusal = format!("refuses: {label}");
        !told.iter().any(|says| says.split(", ").any(|said| said == refusal))
    };
    let left_out: Vec<_> =
        pet_core::v2::member::Refusal::LABELS.iter().filter(is_told).copied().collect();
    // The sum of masks that were checked can always be made.
    assert_eq!(left_out, ["mask"]);
}

/// Tables with a wrong entry do not pass.
#[test]
fn a_wrong_entry_is_found() {
    use coordinator_table::{Cell, State, Stimulus};
    let lenient = |state, stimulus| match (state, stimulus) {
        (State::Update, Stimulus::Sum) => Cell::Accepted(State::Update),
        _ => coordinator_table::expected(state, stimulus),
    };
    let stimuli = [Stimulus::Tick, Stimulus::Sum];
    let wrong = differences(&[State::Update], &stimuli, lenient, coordinator_drive::observed);
    assert_eq!(
        wrong,
        ["Update x Sum: Rejected(\"wrong_phase\"), not Accepted(Update)"],
        "a late sum message is not accepted"
    );
}

/// Each kind of input that the machines have is tried.
#[test]
fn no_kind_of_input_is_left_out() {
    use pet_core::coordinator::{Input, PersistId};
    use pet_core::job::JobId;
    use pet_core::participant;
    for input in
        [Input::Tick, Input::JobLost(JobId(1)), Input::Persisted(PersistId(1)), Input::Stop]
    {
        assert!(!coordinator_drive::tried_by(&input).is_empty(), "{input:?}");
    }
    use pet_core::v2::coordinator::Input as GroupsInput;
    for input in [
        GroupsInput::Tick,
        GroupsInput::JobLost(JobId(1)),
        GroupsInput::Persisted(PersistId(1)),
        GroupsInput::Skip,
        GroupsInput::Stop,
    ] {
        assert!(!groups_drive::tried_by(&input).is_empty(), "{input:?}");
    }
    use pet_core::v2::member as v2_member;
    for input in [
        v2_member::Input::Tick,
        v2_member::Input::JobLost(JobId(1)),
        v2_member::Input::Persisted(v2_member::PersistId(1)),
        v2_member::Input::Stop,
    ] {
        assert!(!member::tried_by(&input).is_empty(), "{input:?}");
    }
    for input in [
        participant::Input::Tick,
        participant::Input::JobLost(JobId(1)),
        participant::Input::FetchModel,
        participant::Input::Persisted(v2_member::PersistId(1)),
        participant::Input::Stop,
    ] {
        assert!(!updater::tried_by(&input).is_empty(), "{input:?}");
    }
    for input in [
        participant::Input::Tick,
        participant::Input::JobLost(JobId(1)),
        participant::Input::FetchModel,
        participant::Input::Stop,
    ] {
        assert!(!participant_drive::tried_by(&input).is_empty(), "{input:?}");
    }
}

/// With `PET_WRITE_DOCS` set the page is written instead (`make docs-tables`).
#[test]
fn the_documentation_shows_these_tables() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/state-machines.md");
    let page = render::page();
    if std::env::var_os("PET_WRITE_DOCS").is_some() {
        std::fs::write(path, &page).expect("docs can be written to");
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(committed == page, "docs/state-machines.md is stale: run make docs-tables");
}
