//! Several coordinators that are one: whoever leads stops, is cut off, or cannot reach the engine, and the round goes on.
//! In this process, over an engine in memory; and as processes that share PostgreSQL.

mod cast;
mod failover;
mod faults;
mod processes;
mod refused;
