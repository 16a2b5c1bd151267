//! The values of a whole round, and what liars make of them.

mod audit;
mod calls;
mod certificates;
mod checks;
mod codecs;
mod fixture;
