//! The log of the binary: on standard error, by way of a writer that never holds anyone up.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use nix::sys::signal::{SigSet, Signal};
use pet_coordinator::{
    log::{self, DroppedLines, LogWriter},
    settings::{LogFormat, LogSettings, Warning},
};
use tracing::{dispatcher, warn, Dispatch};
use tracing_subscriber::EnvFilter;

/// How long the end of the process waits for the log to be written.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Writing must fail, not end or stop the process: beyond a file's limit (`ulimit -f`), and to the
/// terminal of another job (`stty tostop`). A pipe without a reader is no signal in Rust to begin with.
/// Holds for all threads that this one starts.
pub fn block_signals() {
    let signals: SigSet = [Signal::SIGXFSZ, Signal::SIGTTOU].into_iter().collect();
    // It fails with wrong arguments only.
    let _ = signals.thread_block();
}

/// The log's output.
pub struct Logging(LogWriter);

impl Logging {
    /// Has the output ready, and nothing else.
    pub fn start() -> io::Result<Self> {
        LogWriter::start(io::stderr()).map(Self)
    }

    /// Lets everything log. Says what is odd about the settings in the form of the log, but whatever its
    /// filter lets through: the filter itself may be what is odd. Panics are told like that, too.
    pub fn begin(&self, settings: &LogSettings, warnings: &[Warning]) {
        let unfiltered = self.log(settings.format, EnvFilter::new("warn"));
        dispatcher::with_default(&unfiltered, || {
            for warning in warnings {
                warn!("{warning}");
            }
        });
        // The filter was checked with the other settings.
        let filter = EnvFilter::builder().parse_lossy(settings.directives());
        // Nobody else sets one in this process.
        let _ = dispatcher::set_global_default(self.log(settings.format, filter));
        log::tell_panics(unfiltered);
    }

    fn log(&self, format: LogFormat, filter: EnvFilter) -> Dispatch {
        let writer = self.0.clone();
        let log = tracing_subscriber::fmt()
            .with_env_filter(filter)
            // These would go to standard error directly.
            .log_internal_errors(false)
            .with_writer(move || writer.clone());
        match format {
            LogFormat::Text => log.with_ansi(io::stderr().is_terminal()).into(),
            LogFormat::Json => log.json().flatten_event(true).into(),
        }
    }

    /// A line that is no event.
    pub fn line(&self, line: &str) {
        // It does not fail.
        let _ = self.0.clone().write_all(line.as_bytes());
    }

    /// What is lost.
    pub fn dropped(&self) -> DroppedLines {
        self.0.dropped()
    }

    /// Gives what was logged last a moment to be written.
    pub fn end(&self) {
        self.0.flush_within(LAST_WORDS);
    }
}
