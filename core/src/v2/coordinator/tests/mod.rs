//! Tests of the machine as a whole.

mod any_inputs;
mod failures;
mod fixture;
mod groups;
mod limits;
mod messages;
mod noise;
mod patience;
mod people;
mod restarts;
mod rounds;
mod settings;
