//! `store`, `migrate`, `restore`: what several coordinators share, and how it begins.

use std::{env, ffi::OsString, future::Future, path::Path};

use pet_coordinator::{
    init_shared, key, open_shared, read_secret,
    settings::{Settings, StorageEngine},
    transfer::{migrate as migrate_to, renew_shared, restore_directory, restore_shared, Backup},
    Models, SharedStore, SECRET_VARIABLE,
};
use zeroize::Zeroizing;

use super::exit::{print, Exit, Failed};
use crate::cli::{Migrate, Restore, SettingsArgs, Store, StoreAction};

type Secret = Option<Zeroizing<Vec<u8>>>;

fn failed(error: impl std::fmt::Display) -> Failed {
    Failed::new(Exit::Failure, error)
}

fn load(
    settings: &SettingsArgs,
    env: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Settings, Failed> {
    let loaded = settings.loader(env).load();
    Ok(loaded.map_err(|error| Failed::new(Exit::Usage, error))?.settings)
}

/// The settings of something that several share.
fn load_shared(
    settings: &SettingsArgs,
    env: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Settings, Failed> {
    let settings = load(settings, env)?;
    if settings.storage.engine == StorageEngine::Directory {
        let why = format!("there is nothing to set up: {} is \"directory\"", key!(storage.engine));
        return Err(Failed::new(Exit::Usage, why));
    }
    Ok(settings)
}

fn secret_of_environment() -> Secret {
    let secret = Zeroizing::new(env::var_os(SECRET_VARIABLE)?.into_encoded_bytes());
    Some(trimmed(&secret))
}

fn secret_in(path: &Path) -> Result<Secret, Failed> {
    let secret = read_secret(path).map_err(|error| {
        failed(format!("cannot read the secret file {}: {error}", path.display()))
    })?;
    Ok(Some(trimmed(&secret)))
}

/// Whoever writes a secret down ends the line.
fn trimmed(secret: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(secret.trim_ascii_end().to_vec())
}

fn run<T>(work: impl Future<Output = T>) -> Result<T, Failed> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    Ok(runtime.map_err(failed)?.block_on(work))
}

fn shared(settings: &Settings, secret: &Secret) -> Result<SharedStore, Failed> {
    open_shared(settings, secret.as_ref().map(|secret| &secret[..])).map_err(failed)
}

/// Makes the tables; or goes on with tables that were put back.
pub fn store(
    args: &Store,
    env: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<(), Failed> {
    let StoreAction::Init { settings, restored, last_round } = &args.action;
    let settings = load_shared(settings, env)?;
    let secret = secret_of_environment();
    let init = init_shared(&settings, secret.as_ref().map(|secret| &secret[..]));
    run(init)?.map_err(failed)?;
    let (federation, engine) = (&settings.storage.federation, settings.storage.engine.name());
    if *restored {
        let store = shared(&settings, &secret)?;
        let round = run(renew_shared(&store, *last_round))?.map_err(failed)?;
        let next = round + 1;
        return print(format!(
            "federation {federation:?} goes on with round {next} and new keys\n"
        ));
    }
    print(format!("federation {federation:?} is set up in {engine}\n"))
}

/// Moves a directory.
pub fn migrate(
    args: &Migrate,
    env: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<(), Failed> {
    let settings = load_shared(&args.settings, env)?;
    if !args.from.join("coordinator.redb").is_file() {
        let why = format!("there is no coordinator.redb in {}", args.from.display());
        return Err(Failed::new(Exit::NotThere, format!("{why}: is this a data directory?")));
    }
    let secret = args.from_secret_file.as_ref().map(|path| secret_in(path)).transpose()?.flatten();
    let store = shared(&settings, &secret_of_environment())?;
    let secret = secret.as_ref().map(|secret| &secret[..]);
    let moved = run(migrate_to(&args.from, secret, &store, args.drop_round))?.map_err(failed)?;
    let federation = &settings.storage.federation;
    if moved.was_there {
        return print(format!("federation {federation:?} has this coordinator already\n"));
    }
    let (models, next) = (moved.models.len(), moved.round_id + 1);
    print(format!(
        "federation {federation:?} goes on with round {next}; {models} global models went along\n"
    ))
}

/// Begins with a backup.
pub fn restore(
    args: &Restore,
    env: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<(), Failed> {
    let from_settings = match &args.settings.config {
        Some(_) => Some(load(&args.settings, env)?),
        None if args.check => None,
        None => Some(load(&args.settings, env)?),
    };
    let of_settings =
        match from_settings.as_ref().and_then(|settings| settings.storage.secret_file.as_ref()) {
            Some(path) => secret_in(path)?,
            None => secret_of_environment(),
        };
    let of_backup = match &args.from_secret_file {
        Some(path) => secret_in(path)?,
        None if args.unsealed => None,
        None => of_settings.clone(),
    };
    let backup = Backup::open(&args.from, of_backup.as_ref().map(|secret| &secret[..]));
    let backup = backup.map_err(failed)?;
    let (round, models) = (backup.round.round_id, backup.rounds());
    let settings = match from_settings {
        Some(settings) if !args.check => settings,
        _ => {
            let rounds: Vec<String> = models.iter().map(u64::to_string).collect();
            let models = if rounds.is_empty() { "none".to_owned() } else { rounds.join(", ") };
            return print(format!(
                "the backup is sound: of round {round}, with global models of rounds {models}\n"
            ));
        }
    };
    let storage = &settings.storage;
    let round = if storage.engine == StorageEngine::Directory {
        let secret = of_settings.as_ref().map(|secret| &secret[..]);
        restore_directory(backup, &storage.data_dir, secret, args.last_round).map_err(failed)?
    } else {
        let store = shared(&settings, &of_settings)?;
        run(restore_shared(backup, &store, args.last_round))?.map_err(failed)?
    };
    let next = round + 1;
    print(format!(
        "{} global models are restored; the next round is {next}, with new keys\n",
        models.len()
    ))
}
