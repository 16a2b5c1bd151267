//! What a real member does with each input in each state.

use std::time::Duration;

use pet_core::crypto::SigningKeyPair;
use pet_core::job::{JobId, MAX_LOSSES};
use pet_core::participant::TransportFault;
use pet_core::problem::Problem;
use pet_core::request::{RequestId, Response};
use pet_core::v2::member::{Event, Input, Job, JobResult, PersistId, Reject, Settings};
use pet_testing::v2::by_hand::seed;

use super::answers::{comes_in, Flaw, Stimulus};
use super::bench::Bench;
use super::looks::Shown;
use super::stages::{got_in, Members};
use super::{Cell, Doing, Stage, State, Then};

pub(super) fn told(events: &[Event]) -> String {
    let names: Vec<_> = events.iter().filter_map(name).collect();
    names.join(", ")
}

/// How an event is shown; the two that each look tells, if there is something new, are left out. Clippy, which CI runs with all
/// warnings as errors, complains when there is one that is not listed.
#[deny(clippy::wildcard_enum_match_arm, clippy::match_wildcard_for_single_variants)]
fn name(event: &Event) -> Option<String> {
    let name = match event {
        Event::NewRound { .. } | Event::Phase { .. } => return None,
        Event::Refused { refusal, .. } => return Some(format!("refuses: {}", refusal.label())),
        Event::Roster { .. } => "Roster",
        Event::Announced { .. } => "Announced",
        Event::Announcements { .. } => "Announcements",
        Event::Accused { .. } => "Accused",
        Event::Reported { .. } => "Reported",
        Event::Voted { .. } => "Voted",
        Event::Certified { .. } => "Certified",
        Event::MaskSent { .. } => "MaskSent",
        Event::Progress { .. } => "Progress",
        Event::RoundOver { .. } => "RoundOver",
        Event::RoundFailed { .. } => "RoundFailed",
        Event::Rejected { .. } => "Rejected",
        Event::Trouble(_) => "Trouble",
        _ => unreachable!("clippy has told"),
    };
    Some(name.to_owned())
}

fn refused(reject: &Reject) -> &'static str {
    match reject {
        Reject::UnknownRequest(_) => "unknown request",
        Reject::UnknownJob(_) => "unknown job",
        Reject::UnknownPersist(_) => "unknown state",
        Reject::Stopped => "stopped",
        other => panic!("unknown reject {other:?}"),
    }
}

/// The inputs that try each kind of the machine's own inputs.
#[deny(clippy::wildcard_enum_match_arm, clippy::match_wildcard_for_single_variants)]
pub fn tried_by(input: &Input) -> &'static [Stimulus] {
    use Stimulus as I;
    match input {
        Input::Tick => &[I::Tick, I::Later, I::Days, I::JobDropped],
        Input::Response { .. } => &[I::Good, I::Nonsense, I::Busy, I::Rejected, I::StaleAnswer],
        Input::Fault { .. } => &[I::Fault],
        Input::JobDone(_) => &[I::JobDone, I::JobForeign, I::JobStale],
        Input::JobLost(_) => &[I::JobLost, I::JobLostAgain, I::JobLostLate],
        Input::Persisted(_) => &[I::Persisted, I::PersistedOther],
        Input::Stop => &[I::Stop],
        _ => unreachable!("clippy has told"),
    }
}

/// What a look really brings.
pub fn looked(members: &Members, stage: Stage, shown: Shown) -> Cell {
    let mut bench = members.looking(stage);
    if matches!(shown, Shown::CheckLost | Shown::AgreeLost | Shown::Sum2Lost) {
        bench.later(Duration::from_secs(60));
    }
    let events = bench.events.len();
    bench.look(members.world.shown(shown));
    members.cell(&bench, events)
}

/// What really becomes of what is wrong.
pub fn found(members: &Members, flaw: Flaw) -> Cell {
    let world = &members.world;
    let mut bench = match flaw {
        Flaw::RosterWithoutMe => {
            let stranger = SigningKeyPair::from_seed(&seed(99, 0));
            Bench::new(world, &stranger, Settings::default())
        }
        // It has found one to be bad.
        Flaw::SetBadUpdate => {
            let mut bench = members.at(State::At(Stage::Listed, Doing::Get));
            bench.respond(world.flawed(Flaw::EntriesBadBox)).expect("awaited");
            bench.job_done();
            bench.good();
            bench
        }
        _ => members.looking(flaw.stage()),
    };
    let shown = match flaw.stage() {
        Stage::Voted => Shown::AgreeOther,
        stage => got_in(stage),
    };
    bench.look(world.flawed_view(flaw, world.shown(shown)));
    bench.respond(world.flawed(flaw)).expect("awaited");
    let events = bench.events.len();
    bench.job_done();
    members.cell(&bench, events)
}

/// What really becomes of an input.
pub fn observed(members: &Members, state: State, stimulus: Stimulus) -> Cell {
    use Stimulus as I;
    let mut bench = members.at(state);
    if let State::At(stage, doing) = state {
        assert_eq!(bench.stage(&members.world), stage, "{state:?}: the bench is elsewhere");
        assert_eq!(waits_for(&bench), doing, "{state:?}: the bench does something else");
    }
    if stimulus == I::Restore {
        bench.restart();
        if let State::At(stage, _) = state {
            bench.shown = members.world.shown(comes_in(stage));
        }
        bench.good();
        while bench.does().ends_with("roster") {
            match bench.job {
                Some(_) => bench.job_done(),
                None => bench.good(),
            }
        }
        bench.events.retain(|event| !matches!(event, Event::Roster { .. }));
        return members.cell(&bench, 0);
    }
    prepare(&mut bench, stimulus);
    let seen = |bench: &Bench| {
        let pause = bench.idle.as_ref().filter(|_| bench.does() == "pause");
        let (request, store) = (bench.request.as_ref().map(|(id, _)| *id), bench.store);
        let job = bench.job.as_ref().map(Job::id);
        (bench.does(), request, job, store, pause.map(|idle| (idle.wake_at, idle.why)))
    };
    let (before, events) = (seen(&bench), bench.events.len());
    let snapshot = bench.machine.snapshot().to_bytes();
    let result = apply(members, &mut bench, stimulus);
    if let Err(reject) = result {
        assert!(bench.machine.snapshot().to_bytes() == snapshot, "{state:?} x {stimulus:?}");
        assert_eq!(bench.events.len(), events, "{state:?} x {stimulus:?}");
        return super::then(Then::Refused(refused(&reject)));
    }
    match seen(&bench) == before && bench.events.len() == events {
        true => super::then(Then::Nothing),
        false => members.cell(&bench, events),
    }
}

fn waits_for(bench: &Bench) -> Doing {
    match bench.does().split(' ').next() {
        Some("look") => Doing::Look,
        Some("get") => Doing::Get,
        Some("check") => Doing::Job,
        Some("post") => Doing::Post,
        Some("store") => Doing::Store,
        _ => Doing::Pause,
    }
}

/// What has to happen before.
fn prepare(bench: &mut Bench, stimulus: Stimulus) {
    if stimulus != Stimulus::JobLostAgain || bench.job.is_none() {
        return;
    }
    for _ in 1..MAX_LOSSES {
        let id = bench.job.take().expect("it was looked at").id();
        bench.act(Input::JobLost(id)).expect("awaited");
        if bench.job.is_none() {
            bench.good();
        }
    }
}

fn apply(members: &Members, bench: &mut Bench, stimulus: Stimulus) -> Result<(), Reject> {
    use Stimulus as I;
    let problem = |name: &'static str| {
        Response::new(409, Problem::new(name, 409, "No", "for a test").to_json())
    };
    match stimulus {
        I::Tick => bench.act(Input::Tick),
        I::Later => {
            bench.now = bench.now + Duration::from_secs(5);
            bench.act(Input::Tick)
        }
        I::Days => {
            bench.now = bench.now + Duration::from_secs(8 * 24 * 3600);
            bench.act(Input::Tick)
        }
        I::Good => {
            let response = bench.good_response();
            bench.respond(response)
        }
        I::NoContent => bench.respond(Response::no_content()),
        I::Nonsense => bench.respond(Response::ok("nonsense")),
        I::NotFound => bench.respond(Response::new(404, "")),
        I::ServerError => bench.respond(Response::new(500, "")),
        I::Busy => {
            let pause = Some(Duration::from_secs(7));
            bench.respond(Response::new(503, "").retry_after(pause))
        }
        I::TooLong => bench.respond(Response::new(413, "<html>")),
        I::Rejected => bench.respond(problem("wrong_phase")),
        I::Duplicate => bench.respond(problem("duplicate_message")),
        I::Fault => {
            let id = bench.request.as_ref().map_or(bench.answered, |(id, _)| *id);
            bench.act(Input::Fault { id, fault: TransportFault::TimedOut })
        }
        I::StaleAnswer => {
            let id = RequestId(u64::MAX);
            bench.act(Input::Response { id, response: Response::ok("") })
        }
        I::JobDone => {
            let result = bench.job.take().map(Job::finish);
            bench.act(Input::JobDone(result.unwrap_or_else(|| foreign(members, None))))
        }
        I::JobForeign => {
            let id = bench.job.as_ref().map(Job::id);
            bench.act(Input::JobDone(foreign(members, id)))
        }
        I::JobStale => match bench.job.take() {
            Some(job) => {
                bench.act(Input::JobLost(job.id())).expect("awaited");
                if bench.job.is_none() {
                    bench.good();
                }
                assert!(bench.job.is_some(), "it is given out again");
                let (events, result) =
                    (bench.events.len(), bench.act(Input::JobDone(job.finish())));
                assert_eq!(bench.events.len(), events);
                result
            }
            None => bench.act(Input::JobDone(foreign(members, None))),
        },
        I::JobLost | I::JobLostAgain => {
            let id = bench.job.take().map_or(JobId(u64::MAX), |job| job.id());
            bench.act(Input::JobLost(id))
        }
        I::JobDropped => {
            bench.job = None;
            bench.act(Input::Tick)
        }
        I::JobLostLate => bench.act(Input::JobLost(JobId(0))),
        I::Persisted => bench.act(Input::Persisted(bench.store.unwrap_or(PersistId(u64::MAX)))),
        I::PersistedOther => bench.act(Input::Persisted(PersistId(u64::MAX))),
        I::Stop => bench.act(Input::Stop),
        I::Restore => unreachable!("it was done before"),
    }
}

/// The result of another member's job, with another id.
fn foreign(members: &Members, id: Option<JobId>) -> JobResult {
    let job = |stage| members.at(State::At(stage, Doing::Job)).job.expect("it checks");
    let first = job(Stage::First);
    let other = if Some(first.id()) == id { job(Stage::Voted) } else { first };
    other.finish()
}
