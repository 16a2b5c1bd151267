//! A member of version 2 as a small service: one thread that drives it, a data directory, and a page for health checks.

mod directory;
mod health;
mod page;
mod service;
mod tally;
mod tell;

pub use directory::{Directory, DirectoryError};
pub use health::{HealthError, HealthServer};
pub use page::StatusPage;
pub use service::{MemberService, MemberWatch, ServiceConfig, ServiceError};
