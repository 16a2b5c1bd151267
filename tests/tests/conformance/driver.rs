//! Both drivers behind one face.

use std::sync::mpsc::{channel, Receiver, RecvTimeoutError};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pet_core::model::Model;
use pet_core::participant::{Event, FetchError, Polling, Reject, Settings};
use pet_core::request::RequestLimits;
use pet_network::Environment;

/// Nothing in these tests takes nearly as long; what does is stuck.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// How to start a participant.
#[derive(Debug, Clone)]
pub struct Start {
    pub url: String,
    pub settings: Settings,
    pub limits: RequestLimits,
    /// A saved participant to go on with.
    pub state: Option<Vec<u8>>,
    /// Nothing by default, whatever the environment of the tests is.
    pub environment: Environment,
}

impl Start {
    /// A participant that polls quickly.
    pub fn new(url: &str) -> Self {
        let mut polling = Polling::default();
        polling.after_progress = Duration::from_millis(1);
        polling.initial = Duration::from_millis(2);
        polling.max = Duration::from_millis(20);
        Self {
            url: url.into(),
            settings: Settings::default().with_polling(polling),
            limits: RequestLimits::default(),
            state: None,
            environment: Environment::default(),
        }
    }
}

/// What can go wrong, the same for both drivers.
#[derive(Debug, Clone, PartialEq)]
pub enum Failure {
    Url,
    Restore,
    Rejected(Reject),
    Fetch(FetchError),
    Other(String),
}

/// A participant that a transport drives in the background.
pub trait Driver: Sized + Send {
    fn start(start: &Start) -> Result<Self, Failure>;
    /// The next event; `None` if the participant was stopped.
    fn next_event(&mut self) -> Option<Event>;
    fn set_model(&self, model: Model) -> Result<(), Failure>;
    fn global_model(&self) -> Result<Option<Arc<Model>>, Failure>;
    fn stop(&self) -> Vec<u8>;

    /// Skips events until one is wanted.
    fn wait_for<T>(&mut self, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
        loop {
            let event = self.next_event().expect("the participant was stopped");
            if let Some(found) = wanted(&event) {
                return found;
            }
        }
    }
}

fn receive(events: &Receiver<Event>) -> Option<Event> {
    match events.recv_timeout(DEADLINE) {
        Ok(event) => Some(event),
        Err(RecvTimeoutError::Disconnected) => None,
        Err(RecvTimeoutError::Timeout) => panic!("no event within {DEADLINE:?}"),
    }
}

/// `pet-transport-blocking`, on a thread of its own.
pub struct Blocking {
    handle: pet_transport_blocking::Handle,
    events: Receiver<Event>,
    thread: Option<JoinHandle<()>>,
}

impl From<pet_transport_blocking::Error> for Failure {
    fn from(error: pet_transport_blocking::Error) -> Self {
        use pet_transport_blocking::Error;
        match error {
            Error::Url(_) => Self::Url,
            Error::Restore(_) => Self::Restore,
            Error::Rejected(reject) => Self::Rejected(reject),
            Error::Fetch(error) => Self::Fetch(error),
            error => Self::Other(error.to_string()),
        }
    }
}

impl Driver for Blocking {
    fn start(start: &Start) -> Result<Self, Failure> {
        use pet_transport_blocking::{Config, Participant};
        let mut config = Config::new(&start.url)?;
        config.settings = start.settings.clone();
        config.limits = start.limits;
        config.environment = start.environment.clone();
        let mut participant = match &start.state {
            Some(state) => Participant::restore(config, state)?,
            None => Participant::new(config)?,
        };
        let handle = participant.handle();
        let (sender, events) = channel();
        let thread = std::thread::spawn(move || {
            while let Ok(event) = participant.next_event(None) {
                let Some(event) = event else { continue };
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        Ok(Self { handle, events, thread: Some(thread) })
    }

    fn next_event(&mut self) -> Option<Event> {
        receive(&self.events)
    }

    fn set_model(&self, model: Model) -> Result<(), Failure> {
        Ok(self.handle.set_model(model)?)
    }

    fn global_model(&self) -> Result<Option<Arc<Model>>, Failure> {
        Ok(self.handle.global_model(DEADLINE)?)
    }

    fn stop(&self) -> Vec<u8> {
        self.handle.stop().to_bytes().to_vec()
    }
}

impl Drop for Blocking {
    fn drop(&mut self) {
        self.handle.stop();
        // A request that hangs ends with its server or its limits; nobody waits for that here. What
        // has ended must not have panicked.
        if let Some(thread) = self.thread.take_if(|thread| thread.is_finished()) {
            if thread.join().is_err() && !std::thread::panicking() {
                panic!("the driver has panicked");
            }
        }
    }
}

/// `pet-transport-tokio`, as a task of a runtime.
pub struct Tokio {
    handle: pet_transport_tokio::Handle,
    events: Receiver<Event>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl From<pet_transport_tokio::Error> for Failure {
    fn from(error: pet_transport_tokio::Error) -> Self {
        use pet_transport_tokio::Error;
        match error {
            Error::Url(_) => Self::Url,
            Error::Restore(_) => Self::Restore,
            Error::Rejected(reject) => Self::Rejected(reject),
            Error::Fetch(error) => Self::Fetch(error),
            error => Self::Other(error.to_string()),
        }
    }
}

impl Driver for Tokio {
    fn start(start: &Start) -> Result<Self, Failure> {
        use pet_transport_tokio::{Config, Participant};
        let mut config = Config::new(&start.url)?;
        config.settings = start.settings.clone();
        config.limits = start.limits;
        config.environment = start.environment.clone();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let entered = runtime.enter();
        let mut participant = match &start.state {
            Some(state) => Participant::restore(config, state)?,
            None => Participant::new(config)?,
        };
        drop(entered);
        let handle = participant.handle();
        let (sender, events) = channel();
        runtime.spawn(async move {
            // Cancelled all the time: nothing may be lost by that.
            loop {
                let patience = Duration::from_micros(300);
                match tokio::time::timeout(patience, participant.next_event()).await {
                    Err(_) => {}
                    Ok(Ok(event)) => {
                        if sender.send(event).is_err() {
                            return;
                        }
                    }
                    Ok(Err(_)) => return,
                }
            }
        });
        Ok(Self { handle, events, runtime: Some(runtime) })
    }

    fn next_event(&mut self) -> Option<Event> {
        receive(&self.events)
    }

    fn set_model(&self, model: Model) -> Result<(), Failure> {
        Ok(self.handle.set_model(model)?)
    }

    fn global_model(&self) -> Result<Option<Arc<Model>>, Failure> {
        let runtime = self.runtime.as_ref().expect("it ends with the driver");
        let answer = runtime.block_on(async {
            tokio::time::timeout(DEADLINE, self.handle.global_model()).await.expect("an answer")
        });
        Ok(answer?)
    }

    fn stop(&self) -> Vec<u8> {
        self.handle.stop().to_bytes().to_vec()
    }
}

impl Drop for Tokio {
    fn drop(&mut self) {
        self.handle.stop();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Checks that something does not wait for anything that takes long.
pub fn promptly<T>(action: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = action();
    assert!(start.elapsed() < Duration::from_secs(25), "took {:?}", start.elapsed());
    result
}
