//! The suite that every store of parts has to pass, on storage that speaks S3; and what goes wrong with that.

use std::{
    sync::{
        atomic::{AtomicUsize, Ordering},
        Arc,
    },
    time::Duration,
};

use bytes::Bytes;
use pet_ledger::{
    conformance::{check_parts, Factory},
    Ledger, LedgerError, PartName, Parts, Pending,
};
use pet_store_s3::{testing::Storage, S3Archive, S3Parts, S3Settings};

/// A federation after another, in one bucket.
struct Federations<'a> {
    storage: &'a Storage,
    next: AtomicUsize,
}

impl Factory for Federations<'_> {
    fn ledgers(&self) -> Pending<'_, [Arc<dyn Ledger>; 3]> {
        unreachable!("it has parts only")
    }

    fn parts(&self) -> Pending<'_, [Arc<dyn Parts>; 2]> {
        Box::pin(async {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let settings = self.storage.settings(&format!("f{number}"));
            let (one, other) =
                (S3Parts::connect(&settings).await?, S3Parts::connect(&settings).await?);
            Ok([one, other].map(|parts| Arc::new(parts) as Arc<dyn Parts>))
        })
    }

    fn pass(&self, time: Duration) -> Pending<'_, ()> {
        Box::pin(async move {
            tokio::time::sleep(time).await;
            Ok(())
        })
    }

    fn unit(&self) -> Duration {
        Duration::from_millis(1500)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn storage_conforms_and_its_faults_are_named() {
    let Some(storage) = Storage::start() else { return };
    let federations = Federations { storage: &storage, next: AtomicUsize::new(0) };
    assert_eq!(check_parts(&federations).await, []);
    lists_have_pages(&storage).await;
    wrong_settings_are_named(&storage).await;
    what_is_kept_never_changes(&storage).await;
    it_is_killed_and_comes_back(storage).await;
}

async fn lists_have_pages(storage: &Storage) {
    let mut settings = storage.settings("pages");
    settings.page = 7;
    let parts = S3Parts::connect(&settings).await.unwrap();
    let name = |number: u16| {
        PartName::new("x", [number.to_be_bytes(); 8].concat().try_into().unwrap()).unwrap()
    };
    let mut storing = tokio::task::JoinSet::new();
    for number in 0..30 {
        let parts = parts.clone();
        storing.spawn(async move { parts.put(name(number), Bytes::from_static(b"x")).await });
        if storing.len() > 8 {
            storing.join_next().await.unwrap().unwrap().unwrap();
        }
    }
    while let Some(stored) = storing.join_next().await {
        stored.unwrap().unwrap();
    }
    let listed: Vec<_> = parts.list().await.unwrap().into_iter().map(|part| part.name).collect();
    assert_eq!(listed.len(), 30);
    assert_eq!(listed, (0..30).map(name).collect::<Vec<_>>());
    // Another federation in the same bucket sees none of it.
    let other = S3Parts::connect(&storage.settings("page")).await.unwrap();
    assert_eq!(other.list().await.unwrap(), []);
}

async fn wrong_settings_are_named(storage: &Storage) {
    let right = storage.settings("a");
    let with = |change: fn(&mut S3Settings)| {
        let mut settings = right.clone();
        change(&mut settings);
        async move { S3Parts::connect(&settings).await.unwrap_err() }
    };
    let error = with(|settings| settings.secret_access_key = "wrong".into()).await;
    assert!(matches!(error, LedgerError::Denied { .. }), "{error}");
    let error = with(|settings| settings.bucket = "nowhere".into()).await;
    assert!(error.to_string().contains("s3.buckets"), "{error}");
    let error = with(|settings| settings.endpoint = "storage".into()).await;
    assert!(error.to_string().contains("s3.region"), "{error}");
    let error = with(|settings| settings.authorities = Some("/nowhere.pem".into())).await;
    assert!(error.to_string().contains("s3.authorities"), "{error}");
    let error = with(|settings| settings.federation = "A".into()).await;
    assert!(error.to_string().starts_with("federation"), "{error}");
    assert!(!format!("{right:?}").contains("pet-secret"));
}

async fn what_is_kept_never_changes(storage: &Storage) {
    let archive = S3Archive::connect(&storage.settings("kept")).await.unwrap();
    let (key, bytes) = ("7_ab".to_owned(), Bytes::from_static(b"model"));
    assert_eq!(archive.get(key.clone()).await.unwrap(), None);
    assert!(archive.keep(key.clone(), bytes.clone()).await.unwrap());
    assert!(archive.keep(key.clone(), bytes.clone()).await.unwrap());
    assert!(!archive.keep(key.clone(), Bytes::from_static(b"other")).await.unwrap());
    assert_eq!(archive.get(key).await.unwrap(), Some(bytes));
    let mut wrong = storage.settings("kept");
    wrong.bucket = "nowhere".into();
    let error = S3Archive::connect(&wrong).await.unwrap_err();
    assert!(error.to_string().contains("s3.buckets"), "{error}");
}

async fn it_is_killed_and_comes_back(storage: Storage) {
    let mut settings = storage.settings("killed");
    // As long as a start may take.
    settings.timeout = Duration::from_secs(120);
    let patient = S3Parts::connect(&settings).await.unwrap();
    settings.timeout = Duration::from_secs(3);
    let hasty = S3Parts::connect(&settings).await.unwrap();
    let name = PartName::new("model", [1; 16]).unwrap();
    patient.put(name.clone(), Bytes::from_static(b"model")).await.unwrap();
    let storage = tokio::task::spawn_blocking(move || {
        storage.kill();
        storage
    });
    let storage = storage.await.unwrap();
    let error = hasty.get(&name).await.unwrap_err();
    assert!(matches!(error, LedgerError::Unreachable { .. }), "{error}");
    // Nothing was sent: it is known that it was not stored.
    let error = hasty.put(name.clone(), Bytes::from_static(b"model")).await.unwrap_err();
    assert!(matches!(error, LedgerError::Unreachable { .. }), "{error}");
    let waiting = tokio::spawn({
        let name = name.clone();
        async move { patient.get(&name).await }
    });
    let _storage = tokio::task::spawn_blocking(move || {
        storage.start_again();
        storage
    })
    .await
    .unwrap();
    assert_eq!(waiting.await.unwrap().unwrap(), Some(Bytes::from_static(b"model")));
}
