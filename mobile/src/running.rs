//! The thread that waits for something to do, and asks the app.

use std::io;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use pet_participant::transport::core::model::Model;
use pet_participant::{Driver, Gone, SetError, View};

use crate::event::{Event, Listener, LogLevel};
use crate::trainer::{Trainer, Training};
use crate::weights::DataType;

/// How long it sleeps at most. Nothing depends on it: what happens, or a stop, wakes it up.
const NAP: Duration = Duration::from_secs(60);

/// How long the coordinator may take for the global model.
const FETCH: Duration = Duration::from_secs(60);

/// How long to wait after it did not give it.
const AGAIN: Duration = Duration::from_secs(5);

/// What the thread works with.
pub(crate) struct Running {
    pub(crate) driver: Arc<Driver>,
    pub(crate) trainer: Arc<dyn Trainer>,
    pub(crate) listener: Option<Arc<dyn Listener>>,
}

/// Whether the thread has panicked. (The bindings do, if the other language answers with what it must not.)
#[derive(Debug, Default)]
pub(crate) struct Fault(AtomicBool);

impl Fault {
    pub(crate) fn is_there(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Running {
    /// Starts the thread.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) fn start(self, fault: Arc<Fault>) -> io::Result<()> {
        let run = move || {
            // (Nothing of it is used afterwards but the driver, which has locks of its own.)
            if catch_unwind(AssertUnwindSafe(|| self.run())).is_err() {
                fault.0.store(true, Ordering::Release);
                // Whoever waits is told. (It fails only if it was stopped meanwhile.)
                let _ = self.driver.close();
            }
        };
        thread::Builder::new().name("pet-trainer".into()).spawn(run).map(drop)
    }

    /// Goes on until the participant is stopped.
    fn run(&self) {
        self.ended(self.work());
    }

    /// Says so if it has ended by a fault. (That it was stopped is known to whoever has stopped it.)
    fn ended(&self, why: Gone) {
        if why != Gone::Stopped {
            self.tell(Event::Log { level: LogLevel::Error, text: why.to_string() });
        }
    }

    fn work(&self) -> Gone {
        let mut seen = 0;
        // The round that the trainer was asked for last.
        let mut asked = None;
        loop {
            let view = match self.next(seen) {
                Ok(view) => view,
                Err(gone) => return gone,
            };
            seen = view.happened;
            if view.model_needed && asked != Some(view.rounds) {
                match self.train(view) {
                    Ok(Answered::Yes) => asked = Some(view.rounds),
                    // More than this never happens: so it waits for all of the time.
                    Ok(Answered::NotYet) => {
                        if let Err(gone) = self.driver.wait_beyond(u64::MAX, AGAIN) {
                            return gone;
                        }
                        seen = 0;
                    }
                    Err(gone) => return gone,
                }
            }
        }
    }

    fn next(&self, seen: u64) -> Result<View, Gone> {
        self.driver.wait_beyond(seen, NAP)?;
        let view = self.driver.view()?;
        let news = self.driver.take_news()?;
        let notices = self.driver.take_notices()?;
        news.into_iter().map(Event::from).for_each(|event| self.tell(event));
        notices.into_iter().map(Event::from).for_each(|event| self.tell(event));
        Ok(view)
    }

    fn tell(&self, event: Event) {
        if let Some(listener) = &self.listener {
            // A listener that fails has nobody else to tell.
            let _ = listener.on_event(event);
        }
    }

    fn failed(&self, reason: impl ToString) {
        self.tell(Event::TrainerFailed { reason: reason.to_string() });
    }

    fn train(&self, view: View) -> Result<Answered, Gone> {
        let global_model = match self.driver.fetch_model()?.wait(FETCH)? {
            Some(Ok(model)) => model.map(Into::into),
            // It is told by a notice.
            Some(Err(_)) | None => return Ok(Answered::NotYet),
        };
        let check = self.driver.model_check()?;
        let (Some(length), Some(data_type)) = (check.length(), check.data_type()) else {
            return Ok(Answered::NotYet);
        };
        let data_type = DataType::from(data_type);
        let training = Training { round: view.rounds, length, data_type, global_model };
        match self.trainer.train(training) {
            Ok(None) => {}
            Err(error) => self.failed(error),
            Ok(Some(weights)) => match Model::try_from(weights) {
                Err(error) => self.failed(error),
                Ok(model) => self.set(view.rounds, model)?,
            },
        }
        Ok(Answered::Yes)
    }

    fn set(&self, round: u64, model: Model) -> Result<(), Gone> {
        let checked = match self.driver.model_check()?.check(model) {
            Ok(checked) => checked,
            Err(error) => {
                self.failed(error);
                return Ok(());
            }
        };
        match self.driver.set_model_for(round, checked) {
            Ok(true) => {}
            // The round was over before the trainer was.
            Ok(false) => self.tell(Event::ModelOutdated),
            Err(SetError::Gone(gone)) => return Err(gone),
            Err(error) => self.failed(error),
        }
        Ok(())
    }
}

/// Whether the trainer was asked.
enum Answered {
    Yes,
    NotYet,
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use pet_participant::transport::Config;

    use super::*;
    use crate::error::{ListenerError, TrainerError};
    use crate::weights::Weights;

    struct Nothing;

    impl Trainer for Nothing {
        fn train(&self, _: Training) -> Result<Option<Weights>, TrainerError> {
            Ok(None)
        }
    }

    #[derive(Default)]
    struct Heard(Mutex<Vec<Event>>);

    impl Listener for Heard {
        fn on_event(&self, event: Event) -> Result<(), ListenerError> {
            self.0.lock().unwrap().push(event);
            Ok(())
        }
    }

    #[test]
    fn an_end_by_a_fault_is_told_and_a_stop_is_not() {
        let heard = Arc::new(Heard::default());
        let driver = Driver::start(Config::new("http://127.0.0.1:1").unwrap(), None).unwrap();
        let running = Running { driver, trainer: Arc::new(Nothing), listener: Some(heard.clone()) };
        running.ended(Gone::Stopped);
        assert!(heard.0.lock().unwrap().is_empty());
        running.ended(Gone::Broken);
        let [Event::Log { level: LogLevel::Error, text }] = &heard.0.lock().unwrap()[..] else {
            panic!("nothing is told");
        };
        assert!(text.contains("report"), "{text}");
    }
}
