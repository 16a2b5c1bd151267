//! Notices for the log of the binding's language.

/// A notice.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Notice {
    /// How important it is.
    pub level: Level,
    /// One line for people.
    pub text: String,
}

/// How important a notice is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Level {
    /// For those who are curious.
    Debug,
    /// What happens in every round.
    Info,
    /// Something that somebody should do something about.
    Warning,
    /// Something that was asked for does not happen.
    Error,
}
