//! Several coordinators that are one: whoever leads stops, is cut off, or cannot reach the engine, and the round goes on.
//! In this process, over an engine in memory; and as processes that share PostgreSQL or Redis, and S3-compatible storage.

mod admin;
mod cast;
mod failover;
mod faults;
mod once;
mod processes;
mod redis;
mod refused;
mod s3;
mod spread;
mod transfer;
