//! The kinds of jobs, and what a scheduler has to know about them.

use std::fmt;

/// What a job does. Its [class](JobKind::class) says how to run it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum JobKind {
    /// Makes a sum participant's first message.
    MakeSum,
    /// Makes an update participant's message: the local model is masked. It takes the local model that is set
    /// when it is given out; one that is set later is for another round.
    MaskModel,
    /// Makes a sum participant's second message: the masks of all updates are added up.
    AddMasks,
    /// Signs and seals a part of a message.
    SealChunk,
    /// Splits a message that is too long for something on the way to the coordinator.
    SplitMessage,
    /// Reads the global model.
    ReadModel,
    /// Checks the certificate of a round.
    CheckCertificate,
    /// Puts a message together that came in parts, and checks it.
    Assemble,
    /// Adds updates to the aggregate.
    Aggregate,
    /// Adds the sums of other replicas to the aggregate.
    Merge,
    /// Takes the mask off the aggregate: this makes the global model.
    Unmask,
    /// Frees much memory at once.
    FreeMemory,
    /// Reads the roster.
    CheckRoster,
    /// Checks the announcements of the members of all groups.
    CheckAnnouncements,
    /// Checks updates: credentials, statements, and the boxes for a member.
    CheckEntries,
    /// Checks the set of updates that is to be voted for.
    CheckSet,
    /// Checks votes.
    CheckVotes,
    /// Adds up the masks of a group.
    AddGroupMasks,
    /// Makes the decision that the members of all groups vote for.
    Decide,
}

/// The class of a job, which says how to run it.
///
/// It is about how the work grows, not about how long this job takes: with a tiny model all are over at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum JobClass {
    /// Over in about a millisecond, whatever the model: it may be run where it is given out.
    Short,
    /// Takes as long as one message or one model is, on one thread: run it beside the event loop. There may be
    /// as many at the same time as there are messages, so limit how many run at once, to about the number of cores.
    Serial,
    /// Takes as long as the model is, times the crowd: share it out over all cores
    /// ([`Job::run`](super::Job::run)). Its machine has one such job at a time and goes on only after it, so do not
    /// let it queue behind serial ones.
    Parallel,
}

impl JobKind {
    /// All kinds.
    pub const ALL: [Self; 19] = [
        Self::MakeSum,
        Self::MaskModel,
        Self::AddMasks,
        Self::SealChunk,
        Self::SplitMessage,
        Self::ReadModel,
        Self::CheckCertificate,
        Self::Assemble,
        Self::Aggregate,
        Self::Merge,
        Self::Unmask,
        Self::FreeMemory,
        Self::CheckRoster,
        Self::CheckAnnouncements,
        Self::CheckEntries,
        Self::CheckSet,
        Self::CheckVotes,
        Self::AddGroupMasks,
        Self::Decide,
    ];

    /// The job's class, which says how to run it.
    pub fn class(self) -> JobClass {
        match self {
            Self::MakeSum => JobClass::Short,
            Self::SealChunk
            | Self::SplitMessage
            | Self::ReadModel
            | Self::CheckCertificate
            | Self::Assemble
            | Self::Merge
            | Self::FreeMemory
            | Self::CheckRoster
            | Self::CheckAnnouncements
            | Self::CheckSet
            | Self::CheckVotes
            | Self::Decide => JobClass::Serial,
            Self::MaskModel
            | Self::AddMasks
            | Self::Aggregate
            | Self::Unmask
            | Self::CheckEntries
            | Self::AddGroupMasks => JobClass::Parallel,
        }
    }

    /// The job's name for people, in two or three words.
    pub fn name(self) -> &'static str {
        match self {
            Self::MakeSum => "make sum message",
            Self::MaskModel => "mask local model",
            Self::AddMasks => "add up masks",
            Self::SealChunk => "seal chunk",
            Self::SplitMessage => "split message",
            Self::ReadModel => "read global model",
            Self::CheckCertificate => "check certificate",
            Self::Assemble => "assemble multipart message",
            Self::Aggregate => "aggregate updates",
            Self::Merge => "merge parts of the aggregate",
            Self::Unmask => "unmask global model",
            Self::FreeMemory => "free memory",
            Self::CheckRoster => "check roster",
            Self::CheckAnnouncements => "check announcements",
            Self::CheckEntries => "check updates",
            Self::CheckSet => "check set of updates",
            Self::CheckVotes => "check votes",
            Self::AddGroupMasks => "add up group's masks",
            Self::Decide => "make decision",
        }
    }

    /// A short, stable name, for metrics and other languages.
    pub fn label(self) -> &'static str {
        match self {
            Self::MakeSum => "make_sum",
            Self::MaskModel => "mask_model",
            Self::AddMasks => "add_masks",
            Self::SealChunk => "seal_chunk",
            Self::SplitMessage => "split_message",
            Self::ReadModel => "read_model",
            Self::CheckCertificate => "check_certificate",
            Self::Assemble => "assemble",
            Self::Aggregate => "aggregate",
            Self::Merge => "merge",
            Self::Unmask => "unmask",
            Self::FreeMemory => "free_memory",
            Self::CheckRoster => "check_roster",
            Self::CheckAnnouncements => "check_announcements",
            Self::CheckEntries => "check_entries",
            Self::CheckSet => "check_set",
            Self::CheckVotes => "check_votes",
            Self::AddGroupMasks => "add_group_masks",
            Self::Decide => "decide",
        }
    }
}

/// The name for people.
impl fmt::Display for JobKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl JobClass {
    /// A short, stable name, for metrics and other languages.
    pub fn label(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::Serial => "serial",
            Self::Parallel => "parallel",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_kinds_share_a_name_or_a_label() {
        let names: BTreeSet<_> = JobKind::ALL.iter().map(|kind| kind.name()).collect();
        let labels: BTreeSet<_> = JobKind::ALL.iter().map(|kind| kind.label()).collect();
        assert_eq!((names.len(), labels.len()), (JobKind::ALL.len(), JobKind::ALL.len()));
    }
}
