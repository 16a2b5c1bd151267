//! What the binary's commands do, but for `serve`.

mod admin;
mod audit;
mod backup;
mod backup_running;
mod check_config;
mod client;
mod completions;
mod data_dir;
mod exit;
mod export_model;
mod import_model;
mod keys;
mod man_pages;
pub mod member;
mod roster;
mod rounds;
pub mod service_manager;
mod status;
#[cfg(feature = "replicas")]
mod store;
mod watch;

#[cfg(feature = "replicas")]
pub use self::store::{migrate, restore, store};
pub use self::{
    admin::admin,
    audit::audit,
    backup::backup,
    check_config::check_config,
    completions::completions,
    exit::{Exit, Failed},
    export_model::export_model,
    import_model::{import_model, read_model, ModelFileError},
    keys::keys,
    man_pages::man_pages,
    roster::roster,
    rounds::rounds,
    status::status,
};
