//! What holds for whatever is chosen: codecs, masking, whole runs, and what drives them.

mod codecs;
mod eligibility;
mod jobs;
mod masking;
mod runs;
mod transports;
