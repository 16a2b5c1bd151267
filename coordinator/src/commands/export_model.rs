//! `export-model`: a global model as a file.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Read, Write},
    path::Path,
};

use pet_coordinator::models;
use ureq::{http::Response, Body};

use super::{
    client::Client,
    data_dir,
    exit::{output_failed, print, Exit, Failed},
};
use crate::cli::{ExportModel, ModelFormat};

pub fn export_model(args: &ExportModel) -> Result<(), Failed> {
    match &args.data_dir {
        Some(dir) => from_directory(args, dir),
        None => from_coordinator(args),
    }
}

fn from_directory(args: &ExportModel, dir: &Path) -> Result<(), Failed> {
    let models = data_dir::open(dir, args.secret_file.as_ref())?.models();
    let round = args.round.or_else(|| models.rounds().last().copied());
    let round = round.ok_or_else(|| not_there("there is no global model yet"))?;
    let model = models.load(round).map_err(|error| Failed::new(Exit::Failure, error))?;
    let model =
        model.ok_or_else(|| not_there("there is no such model, or it is not kept any more"))?;
    let beyond = "a weight is beyond the data type: only --format rationals is to be had";
    let weights = model.weights.as_deref();
    let bytes = match args.format {
        ModelFormat::Rationals => model.rationals.to_vec(),
        ModelFormat::Npy => models::npy(weights.ok_or_else(|| not_there(beyond))?),
        ModelFormat::Raw => models::raw(weights.ok_or_else(|| not_there(beyond))?),
    };
    if args.output == Path::new("-") {
        return print(&bytes);
    }
    save(&args.output, |file| file.write_all(&bytes).map_err(output_failed))
}

fn from_coordinator(args: &ExportModel) -> Result<(), Failed> {
    let client = Client::new(&args.coordinator)?;
    let path = match args.round {
        Some(round) => format!("/models/{round}"),
        None => "/model".to_owned(),
    };
    let accept = match args.format {
        ModelFormat::Npy => "application/x-npy",
        ModelFormat::Raw => "application/vnd.pet.weights",
        ModelFormat::Rationals => "application/vnd.pet.rationals",
    };
    let response = client.get(&path, accept)?;
    match response.status().as_u16() {
        200 => {}
        204 => return Err(not_there("there is no global model yet: no round was completed")),
        _ => return Err(refused(&client, response)),
    }
    let length = response.body().content_length();
    let mut reader = response.into_body().into_with_config().limit(u64::MAX).reader();
    if args.output == Path::new("-") {
        return copy(&client, &mut reader, &mut io::stdout().lock(), length);
    }
    save(&args.output, |file| copy(&client, &mut reader, file, length))
}

fn copy(
    client: &Client,
    from: &mut impl Read,
    to: &mut impl Write,
    length: Option<u64>,
) -> Result<(), Failed> {
    let mut buffer = vec![0; 1 << 16];
    let mut copied = 0;
    loop {
        match from.read(&mut buffer).map_err(|error| client.unreachable(&error))? {
            0 => break,
            count => {
                to.write_all(&buffer[..count]).map_err(output_failed)?;
                copied += count as u64;
            }
        }
    }
    match length {
        Some(length) if length != copied => {
            let error = io::Error::other(format!("only {copied} of {length} bytes came"));
            Err(client.unreachable(&error))
        }
        _ => to.flush().map_err(output_failed),
    }
}

/// Writes a file in one step: nobody ever finds half a model in it.
fn save(path: &Path, write: impl FnOnce(&mut File) -> Result<(), Failed>) -> Result<(), Failed> {
    let cannot = |error: io::Error| {
        Failed::new(Exit::Failure, format!("cannot write {}: {error}", path.display()))
    };
    let mut unfinished = OsString::from(path);
    unfinished.push(format!(".{}.part", std::process::id()));
    let mut file = File::create(&unfinished).map_err(cannot)?;
    let written = write(&mut file)
        .and_then(|()| file.sync_all().map_err(cannot))
        .and_then(|()| fs::rename(&unfinished, path).map_err(cannot));
    if written.is_err() {
        // What is of no use should not lie about; if that fails, so be it.
        let _ = fs::remove_file(&unfinished);
    }
    written
}

fn not_there(why: &str) -> Failed {
    Failed::new(Exit::NotThere, why)
}

fn refused(client: &Client, response: Response<Body>) -> Failed {
    let status = response.status().as_u16();
    let mut why = String::new();
    // The reason is a line; if it does not come, the status has to do.
    let _ = response.into_body().into_reader().take(4096).read_to_string(&mut why);
    let why = why.trim();
    match status {
        404 | 406 => not_there(why),
        _ => {
            let url = client.url();
            let message =
                format!("the coordinator at {url} answers with HTTP status {status}: {why}");
            Failed::new(Exit::Unreachable, message)
        }
    }
}
