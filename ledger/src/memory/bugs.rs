//! Bugs that an engine could have.

/// A bug that the conformance suite has to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bug {
    /// Appends are not fenced: an old leader still writes.
    NoFence,
    /// Position and hash of the entry before are not looked at.
    NoPredecessor,
    /// Answers are written although the entries they belong to are not.
    AnswersWithoutEntries,
    /// A renewal of the lease is a new epoch.
    RenewalChangesHands,
    /// A lease never runs out.
    LeaseForEver,
    /// A lease that has run out is not taken, but shared: two hold it in one epoch.
    SharedLease,
    /// Whoever gives up the lease can still append.
    ReleaseIsNoFence,
    /// Whoever has given up the lease takes it again with a renewal that comes late.
    RenewalTakes,
    /// A letter that is posted twice is there twice.
    LetterTwice,
    /// Letters of a replica that is gone stay for ever.
    SweepForgetsLetters,
    /// Any replica sees the answers to all.
    AnswersForAll,
    /// A part can be changed.
    PartsChange,
    /// Forgetting takes the entry at the position as well.
    ForgetsOneMore,
    /// The time since the leader said how long the phase has gone on is lost.
    ElapsedStands,
    /// More letters are taken than may wait.
    NoLimit,
    /// An old leader can still make the log forget, and read letters.
    OldLeaderForgets,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::NoFence,
        Self::NoPredecessor,
        Self::AnswersWithoutEntries,
        Self::RenewalChangesHands,
        Self::LeaseForEver,
        Self::SharedLease,
        Self::ReleaseIsNoFence,
        Self::RenewalTakes,
        Self::LetterTwice,
        Self::SweepForgetsLetters,
        Self::AnswersForAll,
        Self::PartsChange,
        Self::ForgetsOneMore,
        Self::ElapsedStands,
        Self::NoLimit,
        Self::OldLeaderForgets,
    ];
}
