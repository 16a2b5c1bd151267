//! Coordinators and other programs in processes of their own.

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

/// What goes wrong here only ends a measurement.
type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// How long a coordinator may take until it listens, and until it has what it is asked for.
const DEADLINE: Duration = Duration::from_secs(120);

/// A process that ends with its owner.
#[derive(Debug)]
pub struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    /// Starts a program.
    ///
    /// # Errors
    /// If there is none that can be run.
    pub fn start(command: &mut Command) -> Result<Self> {
        let program = Path::new(command.get_program()).display().to_string();
        let child = command.spawn().map_err(|error| format!("{program}: {error}"))?;
        Ok(Self(child))
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Waits until it ends.
    ///
    /// # Errors
    /// If it says that it has failed.
    pub fn wait(&mut self) -> Result<()> {
        match self.0.wait()? {
            status if status.success() => Ok(()),
            status => Err(format!("a process has failed: {status}").into()),
        }
    }
}

/// A coordinator.
#[derive(Debug)]
pub struct CoordinatorProcess {
    process: Process,
    address: String,
}

impl CoordinatorProcess {
    /// The command that serves, to be given its settings: of the program that the environment variable
    /// `PET_COORDINATOR` names, or else of the one that was built beside this example.
    ///
    /// # Errors
    /// If nobody knows where this program is.
    pub fn command() -> Result<Command> {
        let program = match std::env::var_os("PET_COORDINATOR") {
            Some(program) => PathBuf::from(program),
            None => std::env::current_exe()?.with_file_name("../pet-coordinator"),
        };
        let mut command = Command::new(program);
        command.arg("serve");
        Ok(command)
    }

    /// Starts it, and waits until it listens. It writes its address into a file in the folder.
    ///
    /// # Errors
    /// If it ends before, or does not listen in time.
    pub fn start(command: &mut Command, folder: &Path) -> Result<Self> {
        let file = folder.join("port");
        let process = Process::start(command.arg("--port-file").arg(&file));
        let mut process =
            process.map_err(|error| format!("{error}; build pet-coordinator first"))?;
        let address = wait_for_file(&file, &mut process.0)?;
        Ok(Self { process, address })
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }
}

fn wait_for_file(path: &Path, child: &mut Child) -> Result<String> {
    let deadline = Instant::now() + DEADLINE;
    while Instant::now() < deadline {
        if let Ok(text) = std::fs::read_to_string(path) {
            return Ok(text.trim().into());
        }
        if let Some(status) = child.try_wait()? {
            return Err(format!("the coordinator has ended: {status}").into());
        }
        thread::sleep(Duration::from_millis(5));
    }
    Err("the coordinator does not listen".into())
}

/// The status and the body of what is at a path.
///
/// # Errors
/// If nobody answers, or not in HTTP.
pub fn get(address: &str, path: &str) -> Result<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").ok_or("no HTTP answer")?;
    let status = std::str::from_utf8(&answer[9..12])?.parse()?;
    Ok((status, answer.split_off(end + 4)))
}

/// The body of what is at a path, once it is there: a coordinator listens before its first round's
/// parameters are stored and published.
///
/// # Errors
/// If it does not come in time, or nobody answers.
pub fn get_when_there(address: &str, path: &str) -> Result<Vec<u8>> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match get(address, path)? {
            (200, body) => return Ok(body),
            (204, _) if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
            (status, _) => return Err(format!("{path} is not there: status {status}").into()),
        }
    }
}

/// What a process has used. Linux only.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// Seconds of processor time in its own code.
    pub user: f64,
    /// Seconds of processor time in the kernel.
    pub system: f64,
    /// Memory now, in KiB.
    pub resident: f64,
    /// The most memory that it ever had, in KiB.
    pub peak: f64,
}

impl Usage {
    /// Of the process with a number, or of `self`.
    ///
    /// # Errors
    /// If there is no such process, or no `/proc`.
    pub fn of(process: &str) -> Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
        let memory = |name: &str| -> Result<f64> {
            let value = status.lines().find_map(|line| line.strip_prefix(name));
            let value = value.and_then(|value| value.split_whitespace().next());
            Ok(value.ok_or("a field is missing in /proc")?.parse()?)
        };
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
        // In hundredths of a second.
        let ticks = |index: usize| -> Result<f64> {
            Ok(fields.get(index).ok_or("a field is missing in /proc")?.parse::<f64>()? / 100.0)
        };
        Ok(Self {
            user: ticks(11)?,
            system: ticks(12)?,
            resident: memory("VmRSS:")?,
            peak: memory("VmHWM:")?,
        })
    }

    /// Seconds of processor time.
    pub fn processor(&self) -> f64 {
        self.user + self.system
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coordinator_that_ends_is_not_waited_for() {
        let folder = std::env::temp_dir().join("no folder has this name");
        let error = CoordinatorProcess::start(&mut Command::new("false"), &folder).unwrap_err();
        assert!(error.to_string().starts_with("the coordinator has ended"), "{error}");
        let none = folder.join("no program has this name");
        let error = CoordinatorProcess::start(&mut Command::new(none), &folder).unwrap_err();
        assert!(error.to_string().ends_with("build pet-coordinator first"), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_has_used_something() {
        let usage = Usage::of("self").unwrap();
        assert!(usage.peak >= usage.resident && usage.resident > 0.0, "{usage:?}");
        assert!(Usage::of("nobody").is_err());
    }
}
