//! The program that trains.

use std::{
    ffi::OsString,
    fs,
    io::{self, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{killpg, Signal},
    unistd::Pid,
};
use pet_participant::transport::core::model::{array, ArrayDecoder, ArrayError, DataType, Model};
use thiserror::Error;

/// Why there is no local model.
#[derive(Debug, Error)]
pub enum TrainerError {
    /// The program is not there, or not for us.
    #[error("the trainer {program} cannot be run: {source}")]
    Start {
        /// Its name.
        program: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// The folder cannot be written to.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// Its file cannot be read.
    #[error("cannot read the local model {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// What it has written is no model.
    #[error("the trainer's file is no model: {source} (it is to have {length} weights of type {data_type}, little-endian, and nothing else)")]
    Model {
        /// How many weights there should be.
        length: u64,
        /// Of which type.
        data_type: DataType,
        /// What is wrong.
        source: ArrayError,
    },
    /// It has failed.
    #[error("the trainer has failed ({0}): nothing is sent in this round")]
    Failed(ExitStatus),
    /// It has taken too long.
    #[error("the trainer was killed after {} seconds (--timeout): nothing is sent in this round", .0.as_secs())]
    TooLong(Duration),
}

/// What a training is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    /// Which round, as they are counted here.
    pub round: u64,
    /// How many weights.
    pub length: u64,
    /// Of which type.
    pub data_type: DataType,
}

/// How trainings are run.
#[derive(Debug)]
pub struct Trainer {
    command: Vec<OsString>,
    folder: PathBuf,
    timeout: Option<Duration>,
}

impl Trainer {
    /// With a command and its arguments, and a folder for models, which is there.
    pub fn new(command: Vec<OsString>, folder: PathBuf, timeout: Option<Duration>) -> Self {
        Self { command, folder, timeout }
    }

    /// Begins to train.
    ///
    /// # Errors
    /// If the global model cannot be written, or the program cannot be run.
    pub fn start(&self, task: Task, global: Option<&Model>) -> Result<Training, TrainerError> {
        let (global_path, local_path) = (self.folder.join("global"), self.folder.join("local"));
        forget(&local_path)?;
        let mut named = OsString::new();
        if let Some(model) = global {
            let write = |source| TrainerError::Write { path: global_path.clone(), source };
            let mut bytes = Vec::new();
            array::write_weights(model, &mut bytes);
            let mut file = fs::File::create(&global_path).map_err(write)?;
            file.write_all(&bytes).map_err(write)?;
            named = global_path.into_os_string();
        }
        let (program, arguments) = self.command.split_first().expect("the command line has one");
        let child = Command::new(program)
            .args(arguments)
            .env("PET_GLOBAL_MODEL", named)
            .env("PET_LOCAL_MODEL", &local_path)
            .env("PET_MODEL_LENGTH", task.length.to_string())
            .env("PET_DATA_TYPE", task.data_type.to_string().to_lowercase())
            .env("PET_ROUND", task.round.to_string())
            .stdin(Stdio::null())
            // So that what it has started itself ends with it.
            .process_group(0)
            .spawn();
        let program = || program.to_string_lossy().into_owned();
        let child = child.map_err(|source| TrainerError::Start { program: program(), source })?;
        Ok(Training { child, task, local_path, timeout: self.timeout, began: Instant::now() })
    }
}

/// A program that trains. Dropping it kills it, and what it has started.
#[derive(Debug)]
pub struct Training {
    child: Child,
    task: Task,
    local_path: PathBuf,
    timeout: Option<Duration>,
    began: Instant,
}

/// What a training has come to.
#[derive(Debug, PartialEq)]
pub enum Trained {
    /// A local model.
    Model(Model),
    /// It does not want to take part this time.
    NotThisTime,
}

impl Training {
    /// What it is for.
    pub fn task(&self) -> Task {
        self.task
    }

    /// How long it has taken.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// What it has come to; nothing while it goes on.
    ///
    /// # Errors
    /// If it has failed, takes too long, or has written something else.
    pub fn poll(&mut self) -> Result<Option<Trained>, TrainerError> {
        let ended = self.child.try_wait();
        let program = || "process".to_owned();
        let ended = ended.map_err(|source| TrainerError::Start { program: program(), source })?;
        match ended {
            None => match self.timeout {
                Some(timeout) if self.began.elapsed() > timeout => {
                    Err(TrainerError::TooLong(timeout))
                }
                _ => Ok(None),
            },
            Some(status) if !status.success() => Err(TrainerError::Failed(status)),
            Some(_) => self.read().map(Some),
        }
    }

    fn read(&self) -> Result<Trained, TrainerError> {
        let Task { length, data_type, .. } = self.task;
        let path = || self.local_path.clone();
        let bytes = match fs::read(&self.local_path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Trained::NotThisTime)
            }
            Err(source) => return Err(TrainerError::Read { path: path(), source }),
        };
        forget(&self.local_path)?;
        let decoded = ArrayDecoder::new(bytes, data_type).and_then(ArrayDecoder::finish);
        decoded.map(Trained::Model).map_err(|source| TrainerError::Model {
            length,
            data_type,
            source,
        })
    }
}

impl Drop for Training {
    fn drop(&mut self) {
        // It may have ended by itself, but not what it has started; and there is nobody to tell if not.
        if let Ok(group) = i32::try_from(self.child.id()) {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.local_path);
    }
}

/// No model is left lying about.
fn forget(path: &Path) -> Result<(), TrainerError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(TrainerError::Write { path: path.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASK: Task = Task { round: 3, length: 2, data_type: DataType::F32 };

    fn run(
        script: &str,
        global: Option<&Model>,
        timeout: Option<Duration>,
    ) -> Result<Trained, TrainerError> {
        let folder = tempfile::tempdir().unwrap();
        let command = ["sh", "-c", script].map(OsString::from).to_vec();
        let trainer = Trainer::new(command, folder.path().to_owned(), timeout);
        let mut training = trainer.start(TASK, global)?;
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(trained) = training.poll()? {
                assert!(!folder.path().join("local").exists(), "no model is left");
                return Ok(trained);
            }
            assert!(Instant::now() < end);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn what_it_is_told_and_what_it_gives() {
        let model = Model::F32(vec![0.5, -2.0]);
        let copy = "cp \"$PET_GLOBAL_MODEL\" \"$PET_LOCAL_MODEL\"";
        assert_eq!(run(copy, Some(&model), None).unwrap(), Trained::Model(model));
        let told =
            "[ \"$PET_GLOBAL_MODEL/$PET_MODEL_LENGTH/$PET_DATA_TYPE/$PET_ROUND\" = /2/f32/3 ]";
        assert_eq!(run(told, None, None).unwrap(), Trained::NotThisTime);
    }

    #[test]
    fn what_goes_wrong_says_so() {
        let failed = run("exit 3", None, None).unwrap_err();
        assert!(matches!(failed, TrainerError::Failed(_)) && failed.to_string().contains('3'));
        let half = run("printf abcde > \"$PET_LOCAL_MODEL\"", None, None).unwrap_err();
        assert!(half.to_string().contains("2 weights of type F32"), "{half}");
        let long = run("sleep 1000", None, Some(Duration::from_millis(50))).unwrap_err();
        assert!(matches!(long, TrainerError::TooLong(_)), "{long}");
        let folder = tempfile::tempdir().unwrap();
        let none = Trainer::new(vec!["/no/such/program".into()], folder.path().into(), None);
        assert!(none.start(TASK, None).unwrap_err().to_string().contains("/no/such/program"));
    }
}
