//! Errors of settings, which say what to change and where.

use std::{fmt, io, path::PathBuf};

use thiserror::Error;

/// Why settings could not be loaded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The settings file cannot be read.
    #[error("cannot read the settings file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The settings file is not TOML.
    #[error("{}, line {line}, column {column}: this is not valid TOML: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
        /// What the parser says.
        message: String,
    },
    /// At least one setting breaks a rule; all that do are listed.
    #[error("{}", list(.0))]
    Invalid(Vec<Problem>),
}

/// One setting that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The dotted key, such as `pet.sum.count.min`.
    pub key: String,
    /// The value as given, a long one shortened. `None` where there is none, and where it may be a
    /// secret.
    pub value: Option<String>,
    /// Where the value came from.
    pub origin: Origin,
    /// The rule it breaks, phrased to follow "the setting ...".
    pub rule: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.key)?;
        if let Some(value) = &self.value {
            write!(f, " = {value}")?;
        }
        if self.origin != Origin::Nowhere {
            write!(f, " ({})", self.origin)?;
        }
        write!(f, ": {}", self.rule)
    }
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It is missing, and there is no default; or the settings were built in code, not loaded.
    Nowhere,
    /// Nobody gave it: it is the built-in default.
    Default,
    /// The settings file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// An environment variable.
    Env {
        /// Its name, as it is written in the environment.
        name: String,
    },
    /// An option on the command line.
    Option {
        /// Its name, with the dashes.
        name: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nowhere => f.write_str("not given"),
            Self::Default => f.write_str("the default"),
            Self::File { path, line } => write!(f, "{}, line {line}", path.display()),
            Self::Env { name } => write!(f, "environment variable {name}"),
            Self::Option { name } => write!(f, "option {name}"),
        }
    }
}

/// Something given that has no effect, or not the one that may be expected. The coordinator starts
/// all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The dotted key, or the name of a whole section.
    pub key: String,
    /// Where it was given.
    pub origin: Origin,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "setting {} ({}): {}", self.key, self.origin, self.message)
    }
}

fn list(problems: &[Problem]) -> String {
    let mut text = match problems.len() {
        1 => "1 setting is wrong:".to_owned(),
        n => format!("{n} settings are wrong:"),
    };
    for problem in problems {
        text.push_str("\n  - ");
        text.push_str(&problem.to_string());
    }
    text
}
