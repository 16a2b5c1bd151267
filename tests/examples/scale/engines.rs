//! Engines, and coordinators that share them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use pet_store_postgres::testing::Postgres;
use pet_store_redis::testing::Redis;
use pet_store_s3::testing::Storage;
use pet_tests::load::SEED;
use pet_tests::process::{get, CoordinatorProcess};

use crate::{Bench, Error};

const SECRET: &str = "a secret of the measurement";

/// Where rounds are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Directory,
    Postgres,
    /// Large parts in S3-compatible storage.
    PostgresAndS3,
    Redis,
}

/// Engines of their own for a measurement, and the folder for all files.
pub struct Engines {
    pub kind: Kind,
    folder: PathBuf,
    pub postgres: Option<Postgres>,
    redis: Option<Redis>,
    storage: Option<Storage>,
    /// Where the engine and the storage are reached, if that is not where they are.
    pub doors: Option<[String; 2]>,
}

impl Engines {
    /// None where they are not installed, which is said.
    pub fn start(kind: Kind) -> Result<Option<Self>, Error> {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("scale-{}-{number}-{kind:?}", std::process::id());
        let mut engines = Self {
            kind,
            folder: std::env::temp_dir().join(name),
            postgres: None,
            redis: None,
            storage: None,
            doors: None,
        };
        std::fs::create_dir_all(&engines.folder)?;
        std::fs::write(engines.folder.join("seed"), SEED)?;
        if matches!(kind, Kind::Postgres | Kind::PostgresAndS3) {
            engines.postgres = Postgres::on_disk();
            if engines.postgres.is_none() {
                return Ok(None);
            }
        }
        if kind == Kind::Redis {
            engines.redis = Redis::on_disk();
            if engines.redis.is_none() {
                return Ok(None);
            }
        }
        if kind == Kind::PostgresAndS3 {
            engines.storage = Storage::start();
            if engines.storage.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(engines))
    }

    /// Where each of them listens.
    pub fn addresses(&self) -> [Option<String>; 2] {
        let place = |url: &str| {
            let behind = url.split("://").nth(1)?;
            let host = behind.split('@').next_back()?.split('/').next()?;
            Some(host.to_owned())
        };
        let postgres = self.postgres.as_ref().and_then(|postgres| place(postgres.url()));
        let engine = postgres.or_else(|| self.redis.as_ref().and_then(|redis| place(redis.url())));
        let storage = self.storage.as_ref().map(|storage| {
            storage.url().trim_start_matches("http://").trim_end_matches('/').to_owned()
        });
        [engine, storage]
    }

    /// Seconds of processor time that PostgreSQL or Redis has used, with all its processes.
    pub fn processor(&self) -> f64 {
        let number = match (&self.postgres, &self.redis) {
            (Some(postgres), _) => {
                std::fs::read_to_string(postgres.folder().join("data/postmaster.pid"))
            }
            (_, Some(redis)) => std::fs::read_to_string(redis.folder().join("pid")),
            _ => return 0.0,
        };
        let number = number.unwrap_or_default();
        let Some(server) = number.lines().next().map(str::trim) else { return 0.0 };
        let used = |stat: String, of_children: bool| -> Option<(String, f64)> {
            let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
            let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
            let own = ticks(11)? + ticks(12)?;
            let ended = if of_children { ticks(13)? + ticks(14)? } else { 0.0 };
            // (Hundredths of a second.)
            Some((fields.get(1)?.to_string(), (own + ended) / 100.0))
        };
        let stat = |process: &str| std::fs::read_to_string(format!("/proc/{process}/stat")).ok();
        let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let children = all.filter_map(|entry| used(stat(entry.file_name().to_str()?)?, false));
        let children: f64 = children.filter(|(parent, _)| parent == server).map(|(_, s)| s).sum();
        children
            + stat(server).and_then(|stat| used(stat, true)).map_or(0.0, |(_, seconds)| seconds)
    }

    fn settings(&self, command: &mut Command, more: &[String]) {
        let [engine, storage] = match &self.doors {
            Some(doors) => doors.clone(),
            None => self.addresses().map(Option::unwrap_or_default),
        };
        let mut settings = vec!["api.bind_address=127.0.0.1:0".to_owned()];
        match self.kind {
            Kind::Directory => {
                settings.push(format!("storage.data_dir={}", self.folder.join("data").display()));
            }
            Kind::Redis => {
                settings.push("storage.engine=redis".into());
                command.env("XAYNET__REDIS__URL", format!("redis://{engine}"));
                command.env("PET_STORAGE_SECRET", SECRET);
            }
            Kind::Postgres | Kind::PostgresAndS3 => {
                settings.push("storage.engine=postgres".into());
                command.env("XAYNET__POSTGRES__URL", format!("postgres://pet@{engine}/postgres"));
                command.env("PET_STORAGE_SECRET", SECRET);
            }
        }
        if self.kind == Kind::PostgresAndS3 {
            settings.push("storage.parts=s3".into());
            settings.push("s3.access_key=pet-access".into());
            settings.push("s3.secret_access_key=pet-secret".into());
            settings.push("s3.region=local".into());
            settings.push(format!("s3.endpoint=http://{storage}"));
            settings.push("s3.buckets.global_models=pet".into());
        }
        for setting in settings.iter().chain(more) {
            command.arg("--set").arg(setting);
        }
        command.current_dir(&self.folder).stdin(Stdio::null());
    }

    /// Makes what coordinators with these settings share.
    pub fn init(&self, settings: &[String]) -> Result<(), Error> {
        if self.kind == Kind::Directory {
            return Ok(());
        }
        let serve = CoordinatorProcess::command()?;
        let mut command = Command::new(serve.get_program());
        command.args(["store", "init"]);
        self.settings(&mut command, settings);
        match command.stdout(Stdio::null()).status()?.success() {
            true => Ok(()),
            false => Err("store init has failed".into()),
        }
    }

    /// Starts one that shares them.
    pub fn replica(&self, number: usize, settings: &[String]) -> Result<CoordinatorProcess, Error> {
        let mut command = CoordinatorProcess::command()?;
        command.arg("--seed-file").arg(self.folder.join("seed"));
        self.settings(&mut command, settings);
        let folder = self.folder.join(number.to_string());
        std::fs::create_dir_all(&folder)?;
        let _ = std::fs::remove_file(folder.join("port"));
        CoordinatorProcess::start(&mut command, Path::new(&folder))
    }
}

impl Drop for Engines {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Waits until all are ready, and tells which one leads.
pub fn leader(bench: &Bench, replicas: &[CoordinatorProcess]) -> Result<usize, Error> {
    let ready = |replica: &CoordinatorProcess, path: &str| {
        get(replica.address(), path).is_ok_and(|(status, _)| status == 200)
    };
    bench.watch.until("waiting until all are ready", || {
        replicas.iter().all(|replica| ready(replica, "/readyz"))
    })?;
    let mut found = None;
    bench.watch.until("waiting until one leads", || {
        found = replicas.iter().position(|replica| ready(replica, "/readyz?leader"));
        found.is_some()
    })?;
    Ok(found.unwrap_or_default())
}
