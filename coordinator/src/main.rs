//! The binary `pet-coordinator`.
#![deny(unsafe_code)]

mod allocator;
mod cli;
mod commands;
mod logging;

use std::{
    fs,
    future::Future,
    io::{self, Write},
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process::ExitCode,
};

use clap::Parser;
use pet_coordinator::{
    log::DroppedLines,
    open_round_store, open_store,
    settings::{Loaded, Settings},
    Coordinator, Kept, Options, RunError, StartError, SECRET_VARIABLE,
};
use pet_core::record::Sink;
use thiserror::Error;
use tokio::signal::unix::{signal, SignalKind};
use tracing::{error, info, warn};
use zeroize::Zeroizing;

use self::{
    cli::{Cli, Command, MemberAction, MemberRun, Serve},
    commands::{service_manager, Exit, Failed},
    logging::Logging,
};

/// Why serving failed.
#[derive(Debug, Error)]
enum Failure {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Member(#[from] commands::member::MemberFailure),
    #[error(transparent)]
    Model(#[from] commands::ModelFileError),
    #[error("cannot read the seed file (--seed-file): {0}")]
    Seed(io::Error),
    #[error("the seed file (--seed-file) must have 32 bytes")]
    SeedLength,
    #[error("cannot make the record (--record): {0}")]
    Record(io::Error),
    #[error("cannot write the port file (--port-file): {0}")]
    PortFile(io::Error),
    #[error(
        "the operating system does not let this process wait for signals or start threads: {0}"
    )]
    System(io::Error),
    #[error("the operating system gives no thread for the log: {0}")]
    Log(io::Error),
}

fn main() -> ExitCode {
    // If that is refused it is only slower.
    allocator::set_up();
    let result = match Cli::parse().command {
        Command::Serve(args) => return run_coordinator(&args),
        Command::Member(args) => match &args.action {
            None => return run_member(&args.run),
            Some(MemberAction::Init { data_dir, key }) => {
                commands::member::init(data_dir, key.as_deref())
            }
            Some(MemberAction::CheckConfig(args)) => {
                commands::member::check_config(args, std::env::vars_os())
            }
        },
        Command::CheckConfig(args) => commands::check_config(&args, std::env::vars_os()),
        Command::Status(args) => commands::status(&args),
        Command::Rounds(args) => commands::rounds(&args),
        Command::ExportModel(args) => commands::export_model(&args),
        Command::ImportModel(args) => commands::import_model(&args, std::env::vars_os()),
        Command::Admin(args) => commands::admin(&args),
        Command::Audit(args) => commands::audit(&args),
        Command::Keys(args) => commands::keys(&args),
        Command::Roster(args) => commands::roster(&args),
        Command::Backup(args) => commands::backup(&args),
        #[cfg(feature = "replicas")]
        Command::Restore(args) => commands::restore(&args, std::env::vars_os()),
        #[cfg(feature = "replicas")]
        Command::Migrate(args) => commands::migrate(&args, std::env::vars_os()),
        #[cfg(feature = "replicas")]
        Command::Store(args) => commands::store(&args, std::env::vars_os()),
        Command::Completions(args) => commands::completions(&args),
        Command::ManPages(args) => commands::man_pages(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            if failed.exit != Exit::ReaderGone {
                // If not even this can be written there is nobody to tell.
                let _ = writeln!(io::stderr(), "error: {failed}");
            }
            failed.exit.into()
        }
    }
}

/// Serves until the end.
fn run_coordinator(args: &Serve) -> ExitCode {
    with_log(|logging| {
        let loaded = args.settings.loader(std::env::vars_os()).load();
        let loaded = loaded.map_err(|error| Failed::new(Exit::Usage, error))?;
        logging.begin(&loaded.settings.log, &loaded.warnings);
        on_runtime(serve(args, loaded, logging.dropped()))
    })
}

/// Runs a member until the end.
fn run_member(args: &MemberRun) -> ExitCode {
    with_log(|logging| {
        let loaded = args.settings.loader(std::env::vars_os()).load();
        let loaded = loaded.map_err(|error| Failed::new(Exit::Usage, error))?;
        logging.begin(&loaded.log, &loaded.warnings);
        on_runtime(async { Ok(commands::member::run(loaded, args.port_file.as_deref()).await?) })
    })
}

fn on_runtime(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failed> {
    let result = tokio::runtime::Runtime::new().map_err(Failure::System).and_then(|runtime| {
        let result = runtime.block_on(work);
        // What still computes has nobody to compute for.
        runtime.shutdown_background();
        result
    });
    result.map_err(|error| Failed::new(Exit::Failure, error))
}

/// Does something that logs. Whatever becomes of standard error: nothing here waits for it for long, or fails with it.
fn with_log(work: impl FnOnce(&Logging) -> Result<(), Failed>) -> ExitCode {
    logging::block_signals();
    let logging = match Logging::start() {
        Ok(logging) => logging,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {}", Failure::Log(error));
            return Exit::Failure.into();
        }
    };
    let result = work(&logging);
    let exit = match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            // Whatever the log's filter lets through.
            logging.line(&format!("error: {failed}\n"));
            failed.exit.into()
        }
    };
    logging.end();
    exit
}

async fn serve(args: &Serve, loaded: Loaded, dropped: DroppedLines) -> Result<(), Failure> {
    // Before the port file is there, so that whoever waits for it may also interrupt.
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::System)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::System)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(Failure::System)?;

    let mut options = Options::default();
    options.log_lines_dropped = dropped;
    if let Some(path) = &args.initial_model {
        options.initial_model = Some(commands::read_model(path)?);
    }
    if let Some(path) = &args.seed_file {
        options.seed = Some(read_seed(path)?);
        warn!("all keys follow from the seed file: this coordinator is for tests only");
    }
    if let Some(path) = &args.record {
        options.record = Some(record_to(path).map_err(Failure::Record)?);
        warn!("all keys are written to the record: this coordinator is for tests only");
    }
    let secret =
        std::env::var_os(SECRET_VARIABLE).map(|secret| Zeroizing::new(secret.into_encoded_bytes()));
    let secret = secret.as_ref().map(|secret| &secret[..]);
    let (storage, v2) = (&loaded.settings.storage, &loaded.settings.pet.v2);
    if storage.engine.is_shared() {
        share(&mut options, &loaded.settings, secret)?;
    } else if v2.is_on() {
        let kept = Kept { rounds: storage.models_kept, audited: v2.rounds_audited };
        let store = open_round_store(storage, kept, secret).map_err(StartError::from)?;
        options.round_store = Some(store);
    } else {
        options.store = Some(open_store(storage, secret).map_err(StartError::from)?);
    }
    let mut coordinator = Coordinator::start_with(loaded.settings, options).await?;
    if let Some(path) = &args.port_file {
        write_address(path, coordinator.local_addr()).map_err(Failure::PortFile)?;
    }
    service_manager::ready(format_args!("listening on {}", coordinator.local_addr()));
    loop {
        tokio::select! {
            result = coordinator.wait() => return Ok(result?),
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            _ = hangup.recv() => reload(&coordinator),
        }
    }
    info!("interrupted: answering the requests in flight (interrupt again to stop at once)");
    service_manager::stopping();
    tokio::select! {
        result = coordinator.shutdown() => result?,
        _ = interrupt.recv() => warn!("interrupted again"),
        _ = terminate.recv() => warn!("interrupted again"),
    }
    info!("stopped");
    Ok(())
}

/// Has the coordinator share a database with others.
#[cfg(feature = "replicas")]
fn share(
    options: &mut Options,
    settings: &Settings,
    secret: Option<&[u8]>,
) -> Result<(), StartError> {
    options.shared = Some(pet_coordinator::open_shared(settings, secret)?);
    Ok(())
}

#[cfg(not(feature = "replicas"))]
fn share(_: &mut Options, _: &Settings, _: Option<&[u8]>) -> Result<(), StartError> {
    Err(StartError::NothingShared)
}

/// Takes new certificates into use.
fn reload(coordinator: &Coordinator) {
    match coordinator.reload_tls() {
        Ok(true) => info!("certificate and key were read again: they hold for new connections"),
        Ok(false) => info!("there is nothing to read again: TLS is not configured"),
        Err(error) => error!(%error, "certificate and key stay as they were"),
    }
}

fn read_seed(path: &Path) -> Result<[u8; 32], Failure> {
    let bytes = fs::read(path).map_err(Failure::Seed)?;
    bytes.try_into().map_err(|_| Failure::SeedLength)
}

/// Records into a new file that nobody else may read.
fn record_to(path: &Path) -> io::Result<Sink> {
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let mut file = Some(file);
    Ok(Box::new(move |entry| {
        let written = file.as_mut().map_or(Ok(()), |file| file.write_all(entry));
        if let Err(error) = written {
            error!(%error, "the record breaks off: it cannot be written");
            file = None;
        }
    }))
}

/// Writes the file in one step, so that nobody ever reads half an address.
fn write_address(path: &Path, address: SocketAddr) -> io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(format!(".{}", std::process::id()));
    fs::write(&unfinished, address.to_string())?;
    fs::rename(&unfinished, path)
}
