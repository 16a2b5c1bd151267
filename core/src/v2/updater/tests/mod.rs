//! Tests of the machine, with a committee and a coordinator in memory.

mod any_answers;
mod budget;
mod certificates;
mod delivery;
mod holding;
mod promises;
mod refusals;
mod rounds;
mod world;
