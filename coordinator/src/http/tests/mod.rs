//! Each detail of the HTTP interface that clients and proxies may lean on, over a real socket, with
//! answers that the test picks.

mod calls;
mod connections;
mod fixture;
mod message;
mod models;
mod news;
mod rfc9110;
mod upload;
