//! Reaches the engine that settings name.

use std::sync::Arc;

use pet_ledger::{Ledger, Parts, Pending};
use pet_store_postgres::{PostgresLedger, PostgresSettings};

use super::{SharedError, SharedStore};
use crate::{
    settings::{PostgresUrl, Settings},
    store::{secret_of, StoreError},
};

/// What coordinators with these settings share. `secret` is what it is sealed with if there is no file for that. Nothing
/// is asked of the engine yet.
///
/// # Errors
/// If the settings name nothing that can be shared, or there is no secret.
pub fn open_shared(settings: &Settings, secret: Option<&[u8]>) -> Result<SharedStore, StoreError> {
    let connection = connection(settings);
    let secret = secret_of(&settings.storage, secret)?;
    let connect = move || -> Pending<'static, (Arc<dyn Ledger>, Arc<dyn Parts>)> {
        let connection = connection.clone();
        Box::pin(async move {
            let ledger = PostgresLedger::connect(&connection).await?;
            for warning in ledger.warnings() {
                tracing::warn!("PostgreSQL: {warning}");
            }
            let parts = ledger.parts();
            Ok((Arc::new(ledger) as Arc<dyn Ledger>, Arc::new(parts) as Arc<dyn Parts>))
        })
    };
    let federation = &settings.storage.federation;
    let secret = secret.as_ref().map(|secret| &secret[..]);
    Ok(SharedStore::connecting(Arc::new(connect), federation, secret)?)
}

/// Makes what coordinators with these settings share, if it is not there yet; and tries the secret on it.
///
/// # Errors
/// As [`open_shared`], or if the engine does not let us.
pub async fn init_shared(settings: &Settings, secret: Option<&[u8]>) -> Result<(), StoreError> {
    let shared = open_shared(settings, secret)?;
    let made = PostgresLedger::initialize(&connection(settings)).await;
    made.map_err(SharedError::from)?;
    Ok(shared.open().await?)
}

fn connection(settings: &Settings) -> PostgresSettings {
    let url = settings.postgres.url.as_ref().map_or("", PostgresUrl::reveal);
    PostgresSettings::new(url, settings.storage.federation.clone())
}
