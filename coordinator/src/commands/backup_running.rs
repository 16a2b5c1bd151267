//! `backup` of a running coordinator: its global models and its round, as it publishes them.

#[cfg(not(feature = "replicas"))]
pub fn of_running(_: &crate::cli::Backup) -> Result<(), super::exit::Failed> {
    let why = "this program was built without backups of running coordinators (feature replicas): give --data-dir";
    Err(super::exit::Failed::new(super::exit::Exit::Usage, why))
}

#[cfg(feature = "replicas")]
pub use self::running::of_running;

#[cfg(feature = "replicas")]
mod running {
    use std::{env, sync::Arc};

    use pet_coordinator::{
        read_secret, status::Status, transfer::Backup as Written, transfer::BackupWriter, Models,
        SECRET_VARIABLE,
    };
    use pet_core::{
        coordinator::{EndedRound, GlobalModel},
        crypto::RoundSeed,
        model::{array::ArrayDecoder, DataType, Model},
        round::RoundParameters,
    };
    use serde::Deserialize;
    use ureq::{http::Response, Body};
    use zeroize::Zeroizing;

    use crate::{
        cli::Backup,
        commands::{
            client::Client,
            exit::{print, Exit, Failed},
        },
    };

    /// The most bytes of a model: as many as a part may have.
    const MOST: u64 = 1 << 30;
    /// How often a round is looked at that has changed meanwhile.
    const LOOKS: usize = 20;

    #[derive(Deserialize)]
    struct List {
        models: Vec<Entry>,
    }

    #[derive(Deserialize)]
    struct Entry {
        round_id: u64,
    }

    /// Saves what a coordinator has published. It may go on meanwhile: models never change, and one that is not kept any more is
    /// left out.
    pub fn of_running(args: &Backup) -> Result<(), Failed> {
        let client = Client::new(&args.coordinator)?;
        let secret = match &args.secret_file {
            Some(path) => Some(read_secret(path).map_err(|error| {
                let path = path.display();
                Failed::new(Exit::Failure, format!("cannot read the secret file {path}: {error}"))
            })?),
            None => env::var_os(SECRET_VARIABLE)
                .map(|secret| Zeroizing::new(secret.into_encoded_bytes())),
        };
        let secret = secret.as_ref().map(|secret| secret.trim_ascii_end());
        let failed = |error| Failed::new(Exit::Failure, error);
        let (round, status) = round(&client)?;
        let round_id = round.round_id;
        let mut writer = BackupWriter::create(&args.to, round, secret).map_err(failed)?;
        let list = body(&client, client.get("/models", "application/json")?)?;
        let list: Option<List> = list.and_then(|list| serde_json::from_slice(&list).ok());
        let list = list.ok_or_else(|| not_understood(&client, "/models"))?;
        let mut rounds: Vec<u64> = list.models.into_iter().map(|entry| entry.round_id).collect();
        rounds.sort_unstable();
        for round_id in rounds {
            if let Some(model) = model(&client, round_id, &status)? {
                writer.add(&model).map_err(failed)?;
            }
        }
        writer.finish(secret).map_err(failed)?;
        let models = Written::open(&args.to, secret).map_err(failed)?.rounds().len();
        print(format!("saved: round {round_id}, and {models} global models\n"))
    }

    /// The round that it is in, which counts as over.
    fn round(client: &Client) -> Result<(EndedRound, Status), Failed> {
        let (_, mut status) = client.status()?;
        if status.now.v2.is_some() {
            let why = "its rounds are of version 2: stop it, and give --data-dir";
            return Err(Failed::new(Exit::Failure, why));
        }
        for _ in 0..LOOKS {
            let parameters = body(client, client.get("/params", "application/octet-stream")?)?;
            let parameters = parameters.filter(|bytes| !bytes.is_empty());
            let missing =
                || Failed::new(Exit::NotThere, "no round has begun yet: there is nothing to save");
            let parameters = RoundParameters::from_bytes(&parameters.ok_or_else(missing)?);
            let parameters = parameters.map_err(|_| not_understood(client, "/params"))?;
            let (_, after) = client.status()?;
            let round_id = after.now.round.id;
            if status.now.round.id == round_id && round_id > 0 {
                return Ok((EndedRound { round_id, parameters: Arc::new(parameters) }, after));
            }
            status = after;
        }
        Err(Failed::new(
            Exit::Unreachable,
            "its rounds are too short to be saved: each time another one was going on",
        ))
    }

    /// A global model, unless it is not kept any more.
    fn model(
        client: &Client,
        round_id: u64,
        status: &Status,
    ) -> Result<Option<GlobalModel>, Failed> {
        let path = format!("/models/{round_id}");
        let response = client.get(&path, "application/vnd.pet.rationals")?;
        let seed =
            response.headers().get("etag").and_then(|etag| etag.to_str().ok()).and_then(seed_of);
        let Some(rationals) = body(client, response)? else { return Ok(None) };
        let seed = seed.ok_or_else(|| not_understood(client, &path))?;
        // One with a weight beyond its type has no such form.
        let weights = match body(client, client.get(&path, "application/x-npy")?)? {
            None => None,
            Some(npy) => {
                let weights = weights(&npy).ok_or_else(|| not_understood(client, &path))?;
                Some(Arc::new(weights))
            }
        };
        // It is told of the latest rounds only.
        let past = status.rounds.iter().find(|past| past.id == round_id);
        let models = past.and_then(|past| past.models).unwrap_or(0);
        Ok(Some(GlobalModel {
            round_id,
            seed,
            models,
            rationals: rationals.into(),
            weights,
            optimizer: None,
        }))
    }

    /// The seed in the tag of a model: `"<round>_<seed>-<form>"`.
    fn seed_of(etag: &str) -> Option<RoundSeed> {
        let (_, rest) = etag.split_once('_')?;
        let digits =
            rest.get(..64).filter(|digits| digits.bytes().all(|c| c.is_ascii_hexdigit()))?;
        let mut seed = [0; 32];
        for (byte, at) in seed.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&digits[at..at + 2], 16).ok()?;
        }
        Some(RoundSeed::new(seed))
    }

    /// What is in a NumPy file of ours.
    fn weights(npy: &[u8]) -> Option<Model> {
        let length = npy.strip_prefix(b"\x93NUMPY\x01\x00")?.first_chunk::<2>()?;
        let (header, array) =
            npy.split_at_checked(10 + usize::from(u16::from_le_bytes(*length)))?;
        let header = std::str::from_utf8(&header[10..]).ok()?;
        let data_type = [
            ("<f4", DataType::F32),
            ("<f8", DataType::F64),
            ("<i4", DataType::I32),
            ("<i8", DataType::I64),
        ]
        .into_iter()
        .find_map(|(name, data_type)| header.contains(name).then_some(data_type))?;
        ArrayDecoder::new(array, data_type).ok()?.finish().ok()
    }

    /// A body; nothing where there is none.
    fn body(client: &Client, response: Response<Body>) -> Result<Option<Vec<u8>>, Failed> {
        match response.status().as_u16() {
            200 => {}
            204 | 404 | 406 => return Ok(None),
            status => {
                let why = format!(
                    "the coordinator at {} answers with HTTP status {status}",
                    client.url()
                );
                return Err(Failed::new(Exit::Unreachable, why));
            }
        }
        let read = response.into_body().into_with_config().limit(MOST).read_to_vec();
        read.map(Some).map_err(|error| client.unreachable(&error))
    }

    fn not_understood(client: &Client, path: &str) -> Failed {
        let why =
            format!("the coordinator at {}: {path} is not as this version knows it", client.url());
        Failed::new(Exit::Unreachable, why)
    }
}
