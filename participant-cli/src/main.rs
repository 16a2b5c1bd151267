//! The command `pet-participant`.
#![forbid(unsafe_code)]

mod cli;
mod trainer;

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        atomic::{AtomicBool, Ordering},
        Arc,
    },
    time::{Duration, Instant},
};

use clap::Parser;
use pet_participant::{
    transport::{
        core::model::{Model, Scalar},
        Config, Tls,
    },
    Driver, Gone, Level, News, SetError, StartError, StateFile,
};
use signal_hook::consts::{SIGINT, SIGTERM};
use thiserror::Error;

use self::{
    cli::Cli,
    trainer::{Task, Trained, Trainer, Training},
};

/// How often it looks whether the trainer has ended, or somebody wants it to stop.
const TICK: Duration = Duration::from_millis(50);
/// After how long it says what it waits for.
const SAY_AFTER: Duration = Duration::from_secs(60);

/// Why it cannot go on.
#[derive(Debug, Error)]
enum Failure {
    #[error("--scalar {0} is none: it is a number that is not negative")]
    Scalar(f64),
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the certificates cannot be used: {0}")]
    Tls(pet_participant::transport::Error),
    #[error("the state file {} cannot be used: {source}", path.display())]
    State { path: PathBuf, source: io::Error },
    #[error("the state file {} is in use by another participant: give each a file of its own", .0.display())]
    InUse(PathBuf),
    #[error(transparent)]
    Url(#[from] pet_participant::transport::Error),
    #[error("the participant cannot be started: {0}")]
    Start(#[from] StartError),
    #[error("cannot make a folder for models: {0}")]
    Folder(io::Error),
    #[error("the operating system does not let this process wait for signals: {0}")]
    Signals(io::Error),
    #[error("the participant's thread has ended: {0}")]
    Gone(#[from] Gone),
}

fn main() -> ExitCode {
    let args = Cli::parse();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&format!("error: {failure}"));
            match failure {
                Failure::Scalar(_) | Failure::Url(_) => ExitCode::from(2),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// A line on standard error.
fn say(line: &str) {
    // If nobody reads it there is nobody to tell.
    let _ = writeln!(io::stderr(), "{line}");
}

fn run(args: &Cli) -> Result<(), Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(Failure::Signals)?;
    }
    let config = config(args)?;
    let kept = args.state_file.as_deref().map(Kept::open).transpose()?;
    let state = kept.as_ref().map(Kept::read).transpose()?.flatten();
    let store = kept.as_ref().map(|kept| {
        let file = Arc::clone(&kept.file);
        let store: pet_participant::Store = Box::new(move |state| file.write(&state.to_bytes()));
        store
    });
    let state = state.as_ref().map(|state| &state[..]);
    let driver = Driver::start_stored(config, None, state, store)?;
    let (folder, _temporary) = match &args.folder {
        Some(folder) => (folder.clone(), None),
        None => {
            let made = tempfile::tempdir().map_err(Failure::Folder)?;
            (made.path().to_owned(), Some(made))
        }
    };
    let timeout = args.timeout.map(Duration::from_secs);
    let trainer = Trainer::new(args.trainer.clone(), folder, timeout);
    say(&format!("participant {} at {}", driver.name(), args.url));
    let ended = take_part(&driver, &trainer, args.verbose, &stop);
    // Also after a failure: what it has promised must not be forgotten.
    if let Ok((state, _)) = driver.save() {
        if let Some(kept) = &kept {
            let path = kept.file.path().to_owned();
            let written = kept.file.write_final(&state);
            written.map_err(|source| Failure::State { path, source })?;
        }
    }
    ended
}

fn config(args: &Cli) -> Result<Config, Failure> {
    let mut config = Config::new(&args.url)?;
    config.settings.scalar =
        Scalar::from_f64(args.scalar).map_err(|_| Failure::Scalar(args.scalar))?;
    let read = |path: &Path| {
        fs::read(path).map_err(|source| Failure::Read { path: path.to_owned(), source })
    };
    let mut tls = Tls::default();
    if let Some(ca) = &args.ca {
        tls = tls.trusting(&read(ca)?).map_err(Failure::Tls)?;
    }
    if let (Some(certificate), Some(key)) = (&args.certificate, &args.key) {
        tls = tls.with_identity(&read(certificate)?, &read(key)?).map_err(Failure::Tls)?;
    }
    config.tls = tls;
    Ok(config)
}

/// Goes on until it is to stop.
fn take_part(
    driver: &Driver,
    trainer: &Trainer,
    verbose: bool,
    stop: &AtomicBool,
) -> Result<(), Failure> {
    let mut training: Option<Training> = None;
    // The round that was trained for, whatever came of it.
    let mut attempted = 0;
    let mut happened = 0;
    let mut waits_since = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        driver.wait_beyond(happened, TICK)?;
        tell(driver, verbose)?;
        let view = driver.view()?;
        happened = view.happened;
        if view.rounds != attempted && training.take().is_some() {
            say("the trainer was killed: its round is over");
        }
        if let Some(running) = &mut training {
            let task = running.task();
            let trained = running.poll();
            if let Ok(None) = trained {
                continue;
            }
            let seconds = running.elapsed().as_secs_f64();
            match trained {
                Ok(Some(Trained::Model(model))) => {
                    say(&format!("round {}: trained in {seconds:.1} s", task.round));
                    set(driver, task, model)?;
                }
                Ok(_) => say(&format!("round {}: the trainer does not take part", task.round)),
                Err(error) => say(&format!("round {}: {error}", task.round)),
            }
            training = None;
        } else if view.model_needed && view.rounds != attempted {
            match begin(driver, trainer, view.rounds, stop)? {
                Begun::Training(begun) => (training, attempted) = (Some(begun), view.rounds),
                Begun::Failed => attempted = view.rounds,
                Begun::Later => {}
            }
        }
        if training.is_some() || view.model_needed {
            waits_since = Instant::now();
        } else if waits_since.elapsed() > SAY_AFTER {
            waits_since = Instant::now();
            say("waiting: nothing is to be trained in this round, or the coordinator does not answer");
        }
    }
    say("stopped");
    Ok(())
}

enum Begun {
    Training(Training),
    /// It cannot be run: not again in this round.
    Failed,
    /// The global model cannot be had right now.
    Later,
}

fn begin(
    driver: &Driver,
    trainer: &Trainer,
    round: u64,
    stop: &AtomicBool,
) -> Result<Begun, Failure> {
    let fetch = driver.fetch_model()?;
    let global = loop {
        match fetch.wait(TICK)? {
            Some(Ok(model)) => break model,
            Some(Err(error)) => {
                say(&format!("the global model cannot be had: {error}; it is tried again"));
                return Ok(Begun::Later);
            }
            None if stop.load(Ordering::Relaxed) => return Ok(Begun::Later),
            None => {}
        }
    };
    let check = driver.model_check()?;
    let (Some(length), Some(data_type)) = (check.length(), check.data_type()) else {
        return Ok(Begun::Later);
    };
    Ok(match trainer.start(Task { round, length, data_type }, global.as_deref()) {
        Ok(training) => Begun::Training(training),
        Err(error) => {
            say(&format!("round {round}: {error}"));
            Begun::Failed
        }
    })
}

/// Hands the model over.
fn set(driver: &Driver, task: Task, model: Model) -> Result<(), Failure> {
    let checked = match driver.model_check()?.check(model) {
        Ok(checked) => checked,
        Err(error) => {
            say(&format!("round {}: the local model cannot be used: {error}", task.round));
            return Ok(());
        }
    };
    match driver.set_model_for(task.round, checked) {
        Ok(true) => {}
        Ok(false) => say(&format!("round {} is over: its model is dropped", task.round)),
        Err(SetError::Gone(gone)) => return Err(gone.into()),
        Err(error) => {
            say(&format!("round {}: the local model cannot be used: {error}", task.round))
        }
    }
    Ok(())
}

/// Says what has happened.
fn tell(driver: &Driver, verbose: bool) -> Result<(), Failure> {
    let least = if verbose { Level::Info } else { Level::Warning };
    for notice in driver.take_notices()? {
        if notice.level >= least {
            say(&notice.text);
        }
    }
    for news in driver.take_news()? {
        match news {
            News::Sent => say("the model was sent"),
            News::Rejected { why, .. } => say(&format!("the model was rejected: {why}")),
            News::GaveUp(why) => say(&format!("out of this round: {why}")),
            News::Refused(refusal) => say(&format!("refused: {refusal}")),
            _ => {}
        }
    }
    Ok(())
}

/// The state's file, which this process alone uses.
struct Kept {
    file: Arc<StateFile>,
    /// Beside it, since the file itself is replaced.
    _lock: File,
}

impl Kept {
    fn open(path: &Path) -> Result<Self, Failure> {
        let file = Arc::new(StateFile::new(path));
        let state = |source| Failure::State { path: path.to_owned(), source };
        let mut options = OpenOptions::new();
        options.write(true).create(true).mode(0o600);
        let lock = options.open(file.beside("lock")).map_err(state)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { file, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Failure::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => Err(state(source)),
        }
    }

    fn read(&self) -> Result<Option<zeroize::Zeroizing<Vec<u8>>>, Failure> {
        let path = self.file.path().to_owned();
        self.file.read().map_err(|source| Failure::State { path, source })
    }
}
