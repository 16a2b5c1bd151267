//! `member`: a member of a group as a service.

use std::{
    ffi::OsString,
    fs, io,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::Duration,
};

use pet_coordinator::{
    keys::create_signing_key,
    member::{Directory, HealthError, HealthServer, MemberService, ServiceConfig, ServiceError},
    read_secret,
    settings::{LoadedMember, MemberSettings},
};
use pet_transport_blocking::{Error as DriverError, MemberConfig, Tls};
use thiserror::Error;
use tokio::signal::unix::{signal, SignalKind};
use tracing::{error, info, warn};

use super::check_config::show;
use super::exit::{print, Exit, Failed};
use super::service_manager;
use crate::cli::MemberArgs;

/// How long an end waits for a request that is under way: its answer is of no use any more.
const LAST_REQUEST: Duration = Duration::from_secs(5);

/// How often it is looked whether the member still runs.
const LOOK: Duration = Duration::from_secs(1);

/// Why a member cannot be run.
#[derive(Debug, Error)]
pub enum MemberFailure {
    #[error(transparent)]
    Service(#[from] ServiceError),
    #[error(transparent)]
    Health(#[from] HealthError),
    #[error(transparent)]
    Driver(#[from] DriverError),
    #[error("{key} = {}: {source}", path.display())]
    File { key: &'static str, path: PathBuf, source: io::Error },
    #[error("the operating system does not let this process wait for signals: {0}")]
    System(io::Error),
    #[error("cannot write the port file (--port-file): {0}")]
    PortFile(io::Error),
    #[error(
        "the member's thread has ended: see what the log says of panics, and please report it"
    )]
    Ended,
}

/// Makes the data directory and the key.
pub fn init(data_dir: &Path, key: Option<&Path>) -> Result<(), Failed> {
    let failed = |error: &dyn std::fmt::Display| Failed::new(Exit::Failure, error);
    let directory = Directory::open(data_dir).map_err(|error| failed(&error))?;
    let keys = match key {
        Some(path) => create_signing_key(path).map_err(|error| failed(&error))?,
        None => directory.create_key().map_err(|error| failed(&error))?,
    };
    print(format!("{}\n", keys.public()))
}

/// Prints the settings in effect.
pub fn check_config(
    args: &MemberArgs,
    env: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<(), Failed> {
    let loaded = args.loader(env).load().map_err(|error| Failed::new(Exit::Usage, error))?;
    show(&loaded.warnings, &loaded.effective)
}

/// Runs a member until the end.
pub async fn run(loaded: LoadedMember, port_file: Option<&Path>) -> Result<(), MemberFailure> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(MemberFailure::System)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(MemberFailure::System)?;
    let LoadedMember { settings, .. } = loaded;
    let service = MemberService::start(config(&settings)?)?;
    let health = match settings.bind_address {
        Some(address) => Some(HealthServer::start(address, service.watch()).await?),
        None => None,
    };
    if let Some(health) = &health {
        info!(address = %health.local_addr(), "health checks and metrics: /healthz, /status, /metrics");
        if let Some(path) = port_file {
            write_address(path, &health.local_addr().to_string())
                .map_err(MemberFailure::PortFile)?;
        }
    }
    service_manager::ready("polling the coordinator");
    let mut looks = tokio::time::interval(LOOK);
    let ended = loop {
        tokio::select! {
            _ = interrupt.recv() => break false,
            _ = terminate.recv() => break false,
            _ = looks.tick() => if !service.is_running() { break true },
        }
    };
    if ended {
        error!("the member does not run any more");
        return Err(MemberFailure::Ended);
    }
    info!("interrupted: the member ends (interrupt again to end at once)");
    service_manager::stopping();
    let ending = async {
        if let Some(health) = health {
            health.shutdown().await;
        }
        let stopped = tokio::task::spawn_blocking(move || service.stop());
        if tokio::time::timeout(LAST_REQUEST, stopped).await.is_err() {
            warn!("a request is under way: its answer is not waited for");
        }
    };
    tokio::select! {
        () = ending => {}
        _ = interrupt.recv() => warn!("interrupted again"),
        _ = terminate.recv() => warn!("interrupted again"),
    }
    info!("stopped");
    Ok(())
}

fn config(settings: &MemberSettings) -> Result<ServiceConfig, MemberFailure> {
    let mut driver = MemberConfig::new(&settings.coordinator)?;
    driver.settings = settings.protocol();
    if let Some(threads) = NonZeroUsize::new(settings.threads) {
        driver.threads = threads;
    }
    driver.tls = tls(settings)?;
    // Loaded settings have a roster: that was looked at.
    let pin = settings.pin().ok_or(MemberFailure::Ended)?;
    let mut config = ServiceConfig::new(&settings.data_dir, pin, driver);
    config.key_file = settings.key_file.clone();
    Ok(config)
}

fn tls(settings: &MemberSettings) -> Result<Tls, MemberFailure> {
    let file =
        |key, path: &Path, source| MemberFailure::File { key, path: path.to_owned(), source };
    let mut tls = Tls::default();
    if let Some(path) = &settings.ca_file {
        let pem = fs::read(path).map_err(|error| file("member.ca_file", path, error))?;
        tls = tls.trusting(&pem)?;
    }
    if let (Some(certificate), Some(key)) = (&settings.tls_certificate, &settings.tls_key) {
        let pem = fs::read(certificate)
            .map_err(|error| file("member.tls_certificate", certificate, error))?;
        let secret = read_secret(key).map_err(|error| file("member.tls_key", key, error))?;
        tls = tls.with_identity(&pem, &secret)?;
    }
    Ok(tls)
}

/// Writes the file in one step, so that nobody ever reads half an address.
fn write_address(path: &Path, address: &str) -> io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(format!(".{}", std::process::id()));
    fs::write(&unfinished, address)?;
    fs::rename(&unfinished, path)
}
