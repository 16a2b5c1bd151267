//! A participant, as an app has it.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pet_participant::transport::core::crypto::Task as CoreTask;
use pet_participant::{Driver, Gone, StateFile};
use zeroize::Zeroizing;

use crate::config::Config;
use crate::error::ParticipantError;
use crate::event::Listener;
use crate::running::{Fault, Running};
use crate::trainer::Trainer;
use crate::weights::{DataType, Weights};

/// What a participant does in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum Task {
    /// Nothing: the lot has not drawn it, or it does not know of a round yet. (`None` would be no name in Swift.)
    Idle,
    /// It adds up the masks of others.
    Sum,
    /// It trains.
    Update,
}

/// What is known at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Record)]
pub struct View {
    /// How many rounds have begun while this participant was there.
    pub rounds: u64,
    /// What it does in this one.
    pub task: Task,
    /// How many weights the round's models have; nothing before the first contact with the coordinator.
    pub length: Option<u64>,
    /// Of which type they are.
    pub data_type: Option<DataType>,
    /// It waits for a local model: the trainer is at it.
    pub model_needed: bool,
}

/// A participant that runs until it is stopped, or nobody has it any more. Any thread may use it.
#[derive(uniffi::Object)]
pub struct Participant {
    driver: Arc<Driver>,
    /// What has gone wrong on the trainer's thread.
    fault: Arc<Fault>,
    state_file: Option<StateFile>,
    /// The last state, until it is where it belongs: the driver gives it once.
    unsaved: Mutex<Option<Zeroizing<Vec<u8>>>>,
}

#[uniffi::export]
impl Participant {
    /// Starts a participant. It goes on with the state in its file, if the configuration names one
    /// and it is there, or else with `state`, which `save` has given; without either it is a new one. `listener` is told what happens.
    ///
    /// # Errors
    /// If the configuration or the state cannot be used, or the system gives no thread.
    #[uniffi::constructor(default(state = None, listener = None))]
    pub fn new(
        config: Config,
        trainer: Arc<dyn Trainer>,
        state: Option<Vec<u8>>,
        listener: Option<Arc<dyn Listener>>,
    ) -> Result<Arc<Self>, ParticipantError> {
        let state_file = config.state_file.as_ref().map(StateFile::new);
        let kept = match &state_file {
            Some(file) => file.read().map_err(|error| cannot(file, "be read", &error))?,
            None => None,
        };
        let state = kept.or(state.map(Zeroizing::new));
        let state = state.as_ref().map(|state| &state[..]);
        let driver = Driver::start(config.try_into()?, state)?;
        let fault = Arc::new(Fault::default());
        Running { driver: driver.clone(), trainer, listener }.start(fault.clone()).map_err(
            |error| ParticipantError::System(format!("no native thread can be started: {error}")),
        )?;
        Ok(Arc::new(Self { driver, fault, state_file, unsaved: Mutex::default() }))
    }

    /// Its public key, of 32 bytes: the same after it was restored.
    pub fn public_key(&self) -> Vec<u8> {
        self.driver.public_key().as_bytes().to_vec()
    }

    /// Its name in logs: the beginning of its key.
    pub fn name(&self) -> String {
        self.driver.name()
    }

    /// What is known now.
    ///
    /// # Errors
    /// If it was stopped.
    pub fn view(&self) -> Result<View, ParticipantError> {
        let view = self.driver.view().map_err(|gone| self.why(gone))?;
        let check = self.driver.model_check().map_err(|gone| self.why(gone))?;
        let task = match self.driver.task().map_err(|gone| self.why(gone))? {
            CoreTask::Sum => Task::Sum,
            CoreTask::Update => Task::Update,
            // (Or one that may be added: nothing that an app has to do.)
            _ => Task::Idle,
        };
        Ok(View {
            rounds: view.rounds,
            task,
            length: check.length(),
            data_type: check.data_type().map(Into::into),
            model_needed: view.model_needed,
        })
    }

    /// The latest global model; nothing before there is one. Waits for it, at most so many milliseconds: not for a thread
    /// that draws a screen.
    ///
    /// # Errors
    /// If the coordinator does not give it in time, or the participant was stopped.
    pub fn global_model(&self, timeout_ms: u64) -> Result<Option<Weights>, ParticipantError> {
        let fetch = self.driver.fetch_model().map_err(|gone| self.why(gone))?;
        match fetch.wait(Duration::from_millis(timeout_ms)).map_err(|gone| self.why(gone))? {
            Some(Ok(model)) => Ok(model.map(Into::into)),
            Some(Err(error)) => Err(ParticipantError::Coordinator(error.to_string())),
            None => Err(ParticipantError::Coordinator(format!(
                "the coordinator has not given the global model within {timeout_ms} ms: try again later"
            ))),
        }
    }

    /// Ends all work, and writes the state to its file, if it has one. Without a file the participant's keys are gone:
    /// see `save`. A trainer that is at work is not interrupted; its model is not used any
    /// more.
    ///
    /// # Errors
    /// If it was stopped already. If the file cannot be written: see to that, and stop it again.
    pub fn stop(&self) -> Result<(), ParticipantError> {
        self.end().map(drop)
    }

    /// Like `stop`, and gives the state to go on with, for apps that keep it elsewhere than in a file. It holds secret keys:
    /// keep it where the system keeps such (encrypted with a key of Android's Keystore, or in Apple's keychain), and
    /// overwrite the array once it is there. Copies that are made on its way are not wiped.
    ///
    /// # Errors
    /// As for `stop`.
    pub fn save(&self) -> Result<Vec<u8>, ParticipantError> {
        self.end().map(|state| state.to_vec())
    }
}

impl Participant {
    fn end(&self) -> Result<Zeroizing<Vec<u8>>, ParticipantError> {
        let mut unsaved = self.unsaved.lock().unwrap_or_else(PoisonError::into_inner);
        let state = match unsaved.take() {
            Some(state) => state,
            None => self.driver.save().map_err(|gone| self.why(gone))?.0,
        };
        if let Some(file) = &self.state_file {
            if let Err(error) = file.write_final(&state) {
                *unsaved = Some(state);
                return Err(cannot(file, "be written", &error));
            }
        }
        Ok(state)
    }

    /// Why a call is refused: the trainer's thread closes the driver as well, if it comes to grief.
    fn why(&self, gone: Gone) -> ParticipantError {
        match gone {
            Gone::Stopped if self.fault.is_there() => ParticipantError::Bug(
                "the thread that asks the trainer has panicked: please report what it wrote to standard error".into(),
            ),
            gone => gone.into(),
        }
    }
}

fn cannot(file: &StateFile, what: &str, error: &io::Error) -> ParticipantError {
    ParticipantError::System(format!(
        "the state file {} cannot {what}: {error}; see to that, and try again",
        file.path().display()
    ))
}

/// The thread has the driver, too, and would go on.
impl Drop for Participant {
    fn drop(&mut self) {
        // Fails only if it was stopped.
        let _ = self.driver.close();
    }
}

impl std::fmt::Debug for Participant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Participant").field(&self.driver.name()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{ListenerError, TrainerError};
    use crate::event::Event;
    use crate::trainer::Training;

    struct Nothing;

    impl Trainer for Nothing {
        fn train(&self, _: Training) -> Result<Option<Weights>, TrainerError> {
            Ok(None)
        }
    }

    struct Panics;

    impl Listener for Panics {
        fn on_event(&self, _: Event) -> Result<(), ListenerError> {
            panic!("not what a listener does");
        }
    }

    /// Of a coordinator that is not there.
    fn config() -> Config {
        Config {
            url: "http://127.0.0.1:1".into(),
            authorities: None,
            threads: Some(1),
            settings: None,
            state_file: None,
        }
    }

    fn start(config: Config, state: Option<Vec<u8>>) -> Result<Arc<Participant>, ParticipantError> {
        Participant::new(config, Arc::new(Nothing), state, None)
    }

    #[test]
    fn it_goes_on_with_the_state_that_it_has_given() {
        let first = start(config(), None).unwrap();
        let state = first.save().unwrap();
        for refused in [first.stop(), first.save().map(drop), first.view().map(drop)] {
            assert_eq!(refused, Err(ParticipantError::Stopped));
        }
        assert_eq!(first.global_model(1), Err(ParticipantError::Stopped));
        let second = start(config(), Some(state)).unwrap();
        assert_eq!(second.public_key(), first.public_key());
        let none = start(config(), Some(b"no state".to_vec()));
        assert!(matches!(none, Err(ParticipantError::State(_))), "{none:?}");
    }

    #[test]
    fn it_goes_on_with_its_file_and_keeps_what_cannot_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let away = folder.path().join("folder");
        std::fs::create_dir(&away).unwrap();
        let path = away.join("state").to_str().unwrap().to_owned();
        let config = || Config { state_file: Some(path.clone()), ..config() };
        let first = start(config(), None).unwrap();
        // Somebody has taken the folder away.
        std::fs::remove_dir(&away).unwrap();
        let Err(ParticipantError::System(reason)) = first.stop() else { panic!("written") };
        assert!(reason.contains(&path), "{reason}");
        std::fs::create_dir(&away).unwrap();
        first.stop().unwrap();
        assert_eq!(first.stop(), Err(ParticipantError::Stopped));
        let second = start(config(), None).unwrap();
        assert_eq!(second.public_key(), first.public_key());
        // What is there cannot be read.
        drop(second);
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(matches!(start(config(), None), Err(ParticipantError::System(_))));
    }

    #[test]
    fn a_panic_on_the_trainers_thread_is_told_of_and_ends_the_participant() {
        // It is told that the coordinator is not there.
        let broken =
            Participant::new(config(), Arc::new(Nothing), None, Some(Arc::new(Panics))).unwrap();
        // (The driver wakes up whoever waits when it is closed.)
        while broken.driver.wait_beyond(u64::MAX, Duration::from_secs(60)).is_ok() {}
        let Err(ParticipantError::Bug(reason)) = broken.view() else { panic!("it goes on") };
        assert!(reason.contains("report"), "{reason}");
        // What it has is not lost.
        broken.save().unwrap();
    }

    #[test]
    fn one_that_nobody_has_any_more_is_stopped() {
        let participant = start(config(), None).unwrap();
        let driver = participant.driver.clone();
        drop(participant);
        assert_eq!(driver.view(), Err(Gone::Stopped));
    }

    #[test]
    fn a_coordinator_that_is_not_there_is_one_that_gives_no_model() {
        let alone = start(config(), None).unwrap();
        let refused = alone.global_model(60_000);
        assert!(matches!(refused, Err(ParticipantError::Coordinator(_))), "{refused:?}");
        let view = alone.view().unwrap();
        assert_eq!((view.rounds, view.length, view.task), (0, None, Task::Idle));
    }
}
