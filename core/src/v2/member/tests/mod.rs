//! The machine, round by round: what it asks, what it signs, and what it does not.

mod fixture;
mod lost_jobs;
mod promises;
mod properties;
mod refusals;
mod rounds;
mod secrets;
