//! What a real updater does with each input in each state.

use std::time::Duration;

use pet_core::job::{JobId, MAX_LOSSES};
use pet_core::model::Model;
use pet_core::participant::{Event, Input, Job, JobResult, Reject, TransportFault};
use pet_core::problem::Problem;
use pet_core::request::{RequestId, Response};
use pet_core::v2::member::PersistId;
use pet_core::v2::{Phase, RosterHash, RoundView, Terms};

use super::answers::{comes_in, Flaw, Stimulus, Wish};
use super::bench::{model, Bench};
use super::looks::Shown;
use super::stages::Updaters;
use super::world::{LENGTH, ROUND};
use super::{Cell, Doing, Stage, State, Then};

pub(super) fn told(events: &[Event]) -> String {
    let names: Vec<_> = events.iter().map(name).collect();
    names.join(", ")
}

/// How an event is shown. Clippy, which CI runs with all warnings as errors, complains when there is one that is not listed.
#[deny(clippy::wildcard_enum_match_arm, clippy::match_wildcard_for_single_variants)]
fn name(event: &Event) -> String {
    let name = match event {
        Event::Refused(refusal) => return format!("refuses: {}", refusal.name()),
        Event::Rejected { problem, .. } => return format!("Rejected: {}", problem.name),
        Event::NewRound { .. } => "NewRound",
        Event::ModelNeeded { .. } => "ModelNeeded",
        Event::ModelRejected(_) => "ModelRejected",
        Event::ModelMasked(_) => "ModelMasked",
        Event::ModelOutdated => "ModelOutdated",
        Event::Progress { .. } => "Progress",
        Event::Sent(_) => "Sent",
        Event::GaveUp(_) => "GaveUp",
        Event::Trouble(_) => "Trouble",
        Event::GlobalModel(_) => "GlobalModel",
        Event::GlobalModelFailed(_) => "GlobalModelFailed",
        Event::Certified { .. } => "Certified",
        Event::NotCertified { .. } => "NotCertified",
        Event::BudgetSpent { .. } => "BudgetSpent",
        _ => unreachable!("clippy has told"),
    };
    name.to_owned()
}

fn refused(reject: &Reject) -> &'static str {
    match reject {
        Reject::UnknownRequest(_) => "unknown request",
        Reject::UnknownJob(_) => "unknown job",
        Reject::UnknownPersist(_) => "unknown state",
        Reject::Model(_) => "model",
        Reject::Stopped => "stopped",
        other => panic!("unknown reject {other:?}"),
    }
}

/// The inputs that try each kind of the machine's own inputs.
#[deny(clippy::wildcard_enum_match_arm, clippy::match_wildcard_for_single_variants)]
pub fn tried_by(input: &Input) -> &'static [Stimulus] {
    use Stimulus as I;
    match input {
        Input::Tick => &[I::Tick, I::Later, I::JobDropped],
        Input::Response { .. } => &[I::Good, I::Nonsense, I::Busy, I::Rejected, I::StaleAnswer],
        Input::Fault { .. } => &[I::Fault],
        Input::JobDone(_) => &[I::JobDone, I::JobForeign, I::JobStale],
        Input::JobLost(_) => &[I::JobLost, I::JobLostAgain, I::JobLostLate],
        Input::SetModel(_) => &[I::SetModel, I::SetModelLength, I::SetModelType],
        Input::FetchModel => &[I::FetchModel],
        Input::Persisted(_) => &[I::Persisted, I::PersistedOther],
        Input::NotPersisted { .. } => &[I::NotPersisted],
        // Its answers come at once.
        Input::Patience(_) => &[],
        Input::Stop => &[I::Stop],
        _ => unreachable!("clippy has told"),
    }
}

/// What a look really brings.
pub fn looked(updaters: &Updaters, stage: Stage, shown: Shown) -> Cell {
    let mut bench = updaters.looking(stage);
    let events = bench.events.len();
    bench.look(&updaters.world, updaters.world.shown(shown));
    updaters.cell(&bench, events)
}

/// What really becomes of what is wrong.
pub fn found(updaters: &Updaters, flaw: Flaw) -> Cell {
    let world = &updaters.world;
    let from = if flaw == Flaw::LocalNaN { Stage::Training } else { flaw.stage() };
    let mut bench = updaters.looking(from);
    if flaw == Flaw::LocalNaN {
        bench.act(Input::SetModel(Model::F32(vec![f32::NAN; LENGTH]))).expect("it fits");
    }
    bench.look(world, world.flawed_view(flaw));
    let events = bench.events.len();
    bench.respond(world.flawed(flaw)).expect("awaited");
    while bench.job.is_some() {
        bench.job_done();
    }
    updaters.cell(&bench, events)
}

/// What those are really told who wish for the global model.
pub fn wished(updaters: &Updaters, stage: Stage, wish: Wish) -> &'static str {
    let world = &updaters.world;
    let mut bench = updaters.looking(stage);
    bench.fault();
    bench.act(Input::FetchModel).expect("it runs");
    bench.pause();
    let events = bench.events.len();
    let view = match wish {
        Wish::Nothing => RoundView::idle(),
        Wish::Announce => world.shown(Shown::Announce),
        Wish::Completed => world.shown(Shown::Completed),
        Wish::Fault => {
            bench.fault();
            bench.view.clone()
        }
        Wish::OtherRoster => {
            let terms = Terms { roster: RosterHash::new([1; 32]), ..world.terms.clone() };
            world.in_phase(&Terms { round: ROUND + 1, ..terms }, Phase::Announce)
        }
    };
    if wish != Wish::Fault {
        bench.run(world, view, &[]);
    }
    let mut answers = bench.events[events..].iter().filter_map(|event| match event {
        Event::GlobalModel(None) => Some("GlobalModel: none"),
        Event::GlobalModel(Some(model)) if **model == Model::F32(vec![0.25; LENGTH]) => {
            Some("GlobalModel: of the round before")
        }
        Event::GlobalModel(Some(_)) => Some("GlobalModel: of the round"),
        Event::GlobalModelFailed(_) => Some("GlobalModelFailed"),
        _ => None,
    });
    let answer = answers.next().unwrap_or("nothing");
    assert_eq!(answers.next(), None, "each wish is answered once");
    answer
}

/// What really becomes of an input.
pub fn observed(updaters: &Updaters, state: State, stimulus: Stimulus) -> Cell {
    use Stimulus as I;
    let world = &updaters.world;
    let mut bench = updaters.at(state);
    if let State::At(stage, doing) = state {
        assert_eq!(bench.stage(world), stage, "{state:?}: the bench is elsewhere");
        let expected = if doing == Doing::Trouble { Doing::Pause } else { doing };
        assert_eq!(waits_for(&bench), expected, "{state:?}: the bench does something else");
    }
    if stimulus == I::Restore {
        let (pin, settings) = (*bench.machine.pin(), bench.machine.settings().clone());
        bench.restart(pin, settings);
        if let State::At(stage, _) = state {
            bench.view = world.shown(comes_in(stage));
        }
        bench.good(world);
        bench.good(world);
        bench.job_done();
        return updaters.cell(&bench, 0);
    }
    prepare(updaters, &mut bench, stimulus);
    let seen = |bench: &Bench| {
        let pause = bench.idle.as_ref().filter(|_| bench.does() == "pause");
        let (request, store) = (bench.request.as_ref().map(|(id, _)| *id), bench.store);
        let job = bench.job.as_ref().map(Job::id);
        (bench.does(), request, job, store, pause.map(|idle| idle.wake_at))
    };
    let (before, events) = (seen(&bench), bench.events.len());
    let snapshot = bench.machine.snapshot().to_bytes();
    let result = apply(updaters, &mut bench, stimulus);
    if let Err(reject) = result {
        assert!(bench.machine.snapshot().to_bytes() == snapshot, "{state:?} x {stimulus:?}");
        assert_eq!(bench.events.len(), events, "{state:?} x {stimulus:?}");
        return super::then(Then::Refused(refused(&reject)));
    }
    let is_given =
        matches!(stimulus, I::SetModel | I::SetModelLength | I::SetModelType | I::FetchModel);
    match seen(&bench) == before && bench.events.len() == events {
        true if is_given => super::then(Then::Kept(bench.stage(world))),
        true => super::then(Then::Nothing),
        false => updaters.cell(&bench, events),
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
fn prepare(updaters: &Updaters, bench: &mut Bench, stimulus: Stimulus) {
    if stimulus != Stimulus::JobLostAgain || bench.job.is_none() {
        return;
    }
    for _ in 1..MAX_LOSSES {
        drop(lose(updaters, bench));
    }
}

/// The job is lost, and given out again.
fn lose(updaters: &Updaters, bench: &mut Bench) -> Job {
    let (does, job) = (bench.does(), bench.job.take().expect("a job runs"));
    bench.act(Input::JobLost(job.id())).expect("awaited");
    bench.go_on(&updaters.world, &[&does]);
    assert!(bench.job.is_some(), "it is given out again");
    job
}

fn apply(updaters: &Updaters, bench: &mut Bench, stimulus: Stimulus) -> Result<(), Reject> {
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
        I::Good => {
            let response = bench.good_response(&updaters.world);
            bench.respond(response)
        }
        I::NoContent => bench.respond(Response::no_content()),
        I::NotFound => bench.respond(Response::new(404, "")),
        I::Nonsense => bench.respond(Response::ok(&b"\x02nonsense"[..])),
        I::OtherVersion => bench.respond(Response::ok(&b"\x03"[..])),
        I::ServerError => bench.respond(Response::new(500, "")),
        I::Busy => {
            let pause = Some(Duration::from_secs(7));
            bench.respond(Response::new(503, "").retry_after(pause))
        }
        I::TooLong => bench.respond(Response::new(413, "<html>")),
        I::Rejected => bench.respond(problem("wrong_phase")),
        I::UnknownUpload => bench.respond(problem("unknown_upload")),
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
            bench.act(Input::JobDone(result.unwrap_or_else(|| foreign(updaters, None))))
        }
        I::JobForeign => {
            let id = bench.job.as_ref().map(Job::id);
            bench.act(Input::JobDone(foreign(updaters, id)))
        }
        I::JobStale if bench.job.is_some() => {
            let job = lose(updaters, bench);
            let events = bench.events.len();
            let result = bench.act(Input::JobDone(job.finish()));
            bench.events.truncate(events);
            result
        }
        I::JobStale => bench.act(Input::JobDone(foreign(updaters, None))),
        I::JobLost | I::JobLostAgain => {
            let id = bench.job.take().map_or(JobId(u64::MAX), |job| job.id());
            bench.act(Input::JobLost(id))
        }
        I::JobDropped => {
            bench.job = None;
            bench.act(Input::Tick)
        }
        I::JobLostLate => bench.act(Input::JobLost(JobId(0))),
        I::SetModel => bench.act(Input::SetModel(model())),
        I::SetModelLength => bench.act(Input::SetModel(Model::F32(vec![0.5; LENGTH + 1]))),
        I::SetModelType => bench.act(Input::SetModel(Model::F64(vec![0.5; LENGTH]))),
        I::FetchModel => bench.act(Input::FetchModel),
        I::Persisted => bench.act(Input::Persisted(bench.store.unwrap_or(PersistId(u64::MAX)))),
        I::NotPersisted => {
            let id = bench.store.unwrap_or(PersistId(u64::MAX));
            bench.act(Input::NotPersisted { id, reason: "no space left".to_owned() })
        }
        I::PersistedOther => bench.act(Input::Persisted(PersistId(u64::MAX))),
        I::Stop => bench.act(Input::Stop),
        I::Restore => unreachable!("it was done before"),
    }
}

/// The result of another updater's job, with another id.
fn foreign(updaters: &Updaters, id: Option<JobId>) -> JobResult {
    let job = |stage| updaters.at(State::At(stage, Doing::Job)).job.expect("it checks");
    let first = job(Stage::First);
    let other = if Some(first.id()) == id { job(Stage::Sent) } else { first };
    other.finish()
}
