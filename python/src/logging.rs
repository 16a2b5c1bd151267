//! Two logs: native events go to standard output where the environment asks for them, and what every
//! user should know goes to Python's logger `participant`.

use std::io::IsTerminal;
use std::sync::Once;

use pet_participant::{Level, Notice};
use pyo3::exceptions::{PyException, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::EnvFilter;

/// The variables that hold a filter: of the published package, and of its later sources.
const VARIABLES: [&str; 2] = ["XAYNET_CLIENT", "XAYNET__CLIENT"];

/// What the participant's thread was called here before it went into a crate of its own.
const ONCE: &str = "xaynet_sdk::driver";

static INIT: Once = Once::new();

/// The number that Python's `logging` has for a level.
fn number(level: Level) -> u8 {
    match level {
        Level::Debug => 10,
        Level::Info => 20,
        Level::Warning => 30,
        _ => 40,
    }
}

/// Writes native events to standard output if the environment variable XAYNET_CLIENT (or
/// XAYNET__CLIENT) holds a filter such as `info` or `debug,ureq=info`. Importing the package does
/// this already; calling it again changes nothing.
///
/// Raises ValueError if the filter is malformed, or names what is not there, such as a level with a typing error;
/// in the latter case the rest of it holds.
#[pyfunction]
pub(crate) fn init_logging() -> PyResult<()> {
    let Some((name, filter)) =
        VARIABLES.iter().find_map(|name| Some((name, std::env::var(name).ok()?)))
    else {
        return Ok(());
    };
    let filter_text = filter;
    let filter = EnvFilter::builder().parse(with_participant(&filter_text)).map_err(|error| {
        PyValueError::new_err(format!("{name}={filter_text:?}: {error}. {FILTER_HELP}"))
    })?;
    let strange = strange_targets(&filter_text);
    INIT.call_once(|| {
        // An error means that the process has a subscriber already, which then hears of everything.
        let _ = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(std::io::stdout().is_terminal())
            // Whoever reads standard output may be gone. Then it would be told on standard error, and if
            // nobody reads that either there would be a panic.
            .log_internal_errors(false)
            .try_init();
    });
    if strange.is_empty() {
        return Ok(());
    }
    Err(PyValueError::new_err(format!(
        "{name}={filter_text:?}: nothing here is called {}. {FILTER_HELP}",
        strange.join(" or ")
    )))
}

/// The filter, in which what is said of this module holds for the participant in it, too.
fn with_participant(filter: &str) -> String {
    let own = filter.split(',').filter_map(|directive| {
        let directive = directive.trim();
        let (target, rest) =
            directive.split_at(directive.find(['=', '[']).unwrap_or(directive.len()));
        // A filter's targets are beginnings of targets.
        let is_ours = !target.is_empty() && ONCE.starts_with(target);
        is_ours.then(|| format!("pet_participant{rest}"))
    });
    let directives: Vec<String> = filter.split(',').map(String::from).chain(own).collect();
    directives.join(",")
}

/// What to say about a filter that is not understood, or that shows nothing.
const FILTER_HELP: &str =
    "A filter is a level (error, warn, info, debug, trace, off), or targets with levels, such as \
                           warn,xaynet_sdk=debug";

/// The beginnings of the names of what logs in this module, the libraries below it included.
const TARGETS: [&str; 17] = [
    "axum",
    "h2",
    "http",
    "hyper",
    "log",
    "mio",
    "native",
    "participant",
    "pet",
    "rayon",
    "rustls",
    "tokio",
    "tower",
    "tracing",
    "ureq",
    "webpki",
    "xaynet",
];

/// The targets in a filter that are nobody's: a level with a typing error is taken for one, and then nothing is logged.
fn strange_targets(filter: &str) -> Vec<&str> {
    let targets = filter.split(',').map(|directive| {
        let end = directive.find(['=', '[']).unwrap_or(directive.len());
        (directive[..end].trim(), end == directive.len())
    });
    let strange = |&(target, alone): &(&str, bool)| {
        let is_level = alone && target.parse::<LevelFilter>().is_ok();
        // A filter's targets are beginnings of targets.
        let known = |name: &&str| target.starts_with(*name) || name.starts_with(target);
        !target.is_empty() && !is_level && !TARGETS.iter().any(known)
    };
    targets.filter(strange).map(|(target, _)| target).collect()
}

/// Hands notices of the participant of this name to Python's logger `participant`. A filter or handler that fails is reported as Python
/// reports what nobody can catch: it must not keep the participant's news from the user.
///
/// # Errors
/// What is meant to end the program, such as KeyboardInterrupt.
pub(crate) fn tell(py: Python<'_>, name: &str, notices: Vec<Notice>) -> PyResult<()> {
    if notices.is_empty() {
        return Ok(());
    }
    let logger = py
        .import(intern!(py, "logging"))?
        .call_method1(intern!(py, "getLogger"), ("participant",))?;
    for notice in notices {
        let arguments = (number(notice.level), "[%s] %s", name, notice.text);
        match logger.call_method1(intern!(py, "log"), arguments) {
            Err(error) if error.is_instance_of::<PyException>(py) => {
                error.write_unraisable(py, Some(&logger));
            }
            other => drop(other?),
        }
    }
    Ok(())
}
