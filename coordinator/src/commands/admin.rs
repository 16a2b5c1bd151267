//! `admin`: the operator's actions, over the listener that is only for them.

use std::{io, path::Path, time::Duration};

use http_body_util::{BodyExt, Full};
use hyper::{body::Bytes, client::conn::http1, Request};
use hyper_util::rt::TokioIo;
use pet_coordinator::{key, read_secret};
use serde_json::{Map, Value};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

use super::exit::{print, Exit, Failed};
use crate::cli::{Admin, AdminAction};

/// How long an action may take.
const PATIENCE: Duration = Duration::from_secs(15);

pub fn admin(args: &Admin) -> Result<(), Failed> {
    let cannot_read = |error: io::Error| {
        let path = args.token_file.display();
        Failed::new(Exit::Failure, format!("cannot read the token file {path}: {error}"))
    };
    let token = read_secret(&args.token_file).map_err(cannot_read)?;
    let token = std::str::from_utf8(&token);
    let token = token.map_err(|error| cannot_read(io::Error::other(error)))?;
    let (method, path, body) = match &args.action {
        AdminAction::Pause => ("POST", "/admin/pause", Vec::new()),
        AdminAction::Resume => ("POST", "/admin/resume", Vec::new()),
        AdminAction::Skip => ("POST", "/admin/skip", Vec::new()),
        AdminAction::Settings => ("GET", "/admin/settings", Vec::new()),
        AdminAction::Set { settings } => {
            let text = |(key, value): &(String, String)| (key.clone(), Value::from(value.as_str()));
            let changes: Map<String, Value> = settings.iter().map(text).collect();
            ("POST", "/admin/settings", Value::Object(changes).to_string().into_bytes())
        }
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "coordinator")
        .header("authorization", format!("Bearer {}", token.trim()))
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| Failed::new(Exit::Usage, format!("the token is none: {error}")))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failed::new(Exit::Failure, error))?;
    let (status, text) = runtime.block_on(async {
        match tokio::time::timeout(PATIENCE, send(args, request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(unreachable(args, &error.to_string())),
            Err(_) => Err(unreachable(args, "it does not answer")),
        }
    })?;
    match status {
        200 => print(format!("{}\n", text.trim_end())),
        503 => Err(Failed::new(Exit::Unreachable, text.trim_end())),
        _ => Err(Failed::new(Exit::Failure, text.trim_end())),
    }
}

fn unreachable(args: &Admin, why: &str) -> Failed {
    let place = match &args.socket {
        Some(path) => path.display().to_string(),
        None => args.address.to_string(),
    };
    let hint = format!("is {} or {} set there?", key!(admin.bind_address), key!(admin.socket));
    Failed::new(Exit::Unreachable, format!("the coordinator at {place}: {why}; {hint}"))
}

type Error = Box<dyn std::error::Error>;

async fn send(args: &Admin, request: Request<Full<Bytes>>) -> Result<(u16, String), Error> {
    match &args.socket {
        Some(path) => exchange(connect(path).await?, request).await,
        None => exchange(TcpStream::connect(args.address).await?, request).await,
    }
}

async fn connect(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(path).await
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<(u16, String), Error> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
