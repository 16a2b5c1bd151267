//! The machine, step by step: what it asks, when, and what it says.

mod fixture;
mod global_model;
mod handed_over;
mod holding;
mod inputs;
mod keys;
mod let_through;
mod limits;
mod local_model;
mod lost_jobs;
mod other_types;
mod passed;
mod sending;
