//! Forks, lost jobs, the end, snapshots, and whatever else may come in.

use std::time::Duration;

use proptest::prelude::*;

use super::fixture::*;
use crate::crypto::{SnapshotKey, Task};
use crate::job::JobId;
use crate::model::Model;
use crate::participant::*;
use crate::request::{RequestId, Response};
use crate::v2::member::PersistId;

#[test]
fn a_fork_goes_on_in_the_same_way() {
    let mut fixture = waiting_for_model();
    fixture.input(Input::SetModel(model(0.5))).unwrap();
    assert!(fixture.machine.fork().is_some());
    fixture.params(&parameters(Task::Update));
    let job = fixture.job();
    let mut fork = Fixture::with(fixture.machine.fork().unwrap());
    for fixture in [&mut fork, &mut fixture] {
        fixture.input(Input::JobLost(job.id())).unwrap();
        fixture.params(&parameters(Task::Update));
        fixture.run_job();
        fixture.params(&parameters(Task::Update));
    }
    assert_eq!(payload_of(&mut fork), payload_of(&mut fixture));
    assert_eq!(fork.machine.snapshot().to_bytes(), fixture.machine.snapshot().to_bytes());
}

#[test]
fn lost_jobs_are_given_out_again_and_stale_results_turned_down() {
    let mut fixture = Fixture::new();
    fixture.params(&parameters(Task::Sum));
    let job = fixture.job();
    fixture.input(Input::JobLost(job.id())).unwrap();
    fixture.params(&parameters(Task::Sum));
    let again = fixture.job();
    assert_ne!(job.id(), again.id());
    let stale = job.id();
    assert_eq!(fixture.input(Input::JobDone(job.finish())), Err(Reject::UnknownJob(stale)));
    fixture.input(Input::JobDone(again.finish())).unwrap();
    let unknown = JobId(99);
    assert_eq!(fixture.input(Input::JobLost(unknown)), Err(Reject::UnknownJob(unknown)));
    let (id, _) = fixture.request();
    fixture.input(Input::Fault { id, fault: TransportFault::TimedOut }).unwrap();
    let late = Input::Response { id, response: Response::ok("") };
    assert_eq!(fixture.input(late), Err(Reject::UnknownRequest(id)));
}

#[test]
fn after_the_end_nothing_happens() {
    let mut fixture = Fixture::new();
    fixture.input(Input::Stop).unwrap();
    assert_eq!(fixture.idle(), Idle { wake_at: None, why: Why::Stopped });
    assert_eq!(fixture.input(Input::Tick), Err(Reject::Stopped));
}

#[test]
fn snapshots_have_a_kind_and_a_version_and_can_be_sealed() {
    let mut fixture = waiting_for_model();
    fixture.input(Input::SetModel(model(0.5))).unwrap();
    let snapshot = fixture.machine.snapshot();
    let bytes = snapshot.to_bytes();
    let restore = |bytes: &[u8]| Participant::restore(bytes, Settings::default());
    let restored = restore(&bytes).unwrap();
    assert!(restored.has_model());
    assert_eq!(restored.keys(), fixture.machine.keys());
    assert_eq!(restored.snapshot().to_bytes(), bytes);

    assert_eq!(restore(b"").err(), Some(RestoreError::NotASnapshot));
    let mut newer = bytes.to_vec();
    newer[4] = 200;
    assert_eq!(restore(&newer).err(), Some(RestoreError::Version { found: 200, known: 2 }));
    assert!(matches!(restore(&bytes[..40]).err(), Some(RestoreError::Damaged(_))));

    let key = SnapshotKey::new([5; 32]);
    let sealed = snapshot.seal(&key);
    assert_eq!(restore(&sealed).err(), Some(RestoreError::Sealed));
    let unseal = |bytes: &[u8], key| Participant::restore_sealed(bytes, &key, Settings::default());
    assert!(unseal(&sealed, key).is_ok());
    let wrong = SnapshotKey::new([6; 32]);
    assert_eq!(unseal(&sealed, wrong.clone()).err(), Some(RestoreError::DoesNotOpen));
    assert_eq!(unseal(&bytes, wrong).err(), Some(RestoreError::NotSealed));
}

#[test]
fn nothing_secret_is_shown() {
    let mut fixture = waiting_for_model();
    fixture.input(Input::SetModel(model(0.123))).unwrap();
    let shown = format!("{:?} {:?}", fixture.machine, fixture.machine.snapshot());
    assert!(!shown.contains("0.123"), "{shown}");
    assert!(shown.contains("(secret)"), "{shown}");
}

proptest! {
    /// Whatever comes, in whatever order: no panic, and the machine comes to rest.
    #[test]
    fn any_inputs_are_survived(steps in proptest::collection::vec((0u8..10, any::<u16>(), 0u64..20_000), 0..60)) {
        let mut fixture = Fixture::new();
        let mut jobs = Vec::new();
        let mut open = Vec::new();
        for (kind, status, millis) in steps {
            fixture.now = fixture.now + Duration::from_millis(millis);
            let id = open.last().copied().unwrap_or(RequestId(u64::from(status)));
            let task = [Task::None, Task::Sum, Task::Update][usize::from(status) % 3];
            let _ = fixture.input(match kind {
                0 => Input::Tick,
                1 => Input::Response { id, response: Response::ok(parameters(task).to_bytes()) },
                2 => Input::Response { id, response: Response::new(status, vec![kind; 40]) },
                3 => Input::Fault { id, fault: TransportFault::TooLarge },
                4 => match jobs.pop() {
                    Some(job) => Input::JobDone(Job::finish(job)),
                    None => Input::JobLost(JobId(u64::from(status))),
                },
                5 => Input::SetModel(Model::F32(vec![f32::from(status); usize::from(status % 5)])),
                6 => Input::FetchModel,
                7 => Input::Response { id, response: sums() },
                8 => Input::Persisted(PersistId(u64::from(status))),
                9 => Input::Patience(Duration::from_millis(u64::from(status))),
                _ => Input::JobLost(jobs.pop().map_or(JobId(0), |job: Job| job.id())),
            });
            for _ in 0..100 {
                match fixture.next() {
                    Output::Request { id, .. } => open.push(id),
                    Output::Job(job) => jobs.push(job),
                    Output::Idle(idle) => {
                        // Something is always due or waited for.
                        prop_assert!(idle.wake_at.is_some() || matches!(idle.why, Why::Answer | Why::LocalModel | Why::Job));
                        break;
                    }
                    Output::Event(_) => {}
                    Output::Cancel(id) => open.retain(|open| *open != id),
                    Output::HandOver { .. } => unreachable!("the settings do not say so"),
                    Output::Persist { .. } => unreachable!("version 1 stores nothing"),
                }
            }
            let saved = fixture.machine.snapshot().to_bytes();
            prop_assert!(Participant::restore(&saved, Settings::default()).is_ok());
        }
    }
}
