//! The operator's listeners: an address of this machine, a Unix socket, or both.

use std::{
    fs::{self, DirBuilder},
    io,
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
};

use axum::Router;
use thiserror::Error;
use tokio::{
    net::{TcpListener, UnixListener, UnixStream},
    sync::watch,
};
use tracing::{info, warn};

use crate::{key, settings::AdminSettings};

/// Why the operator's listener cannot be started.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The token cannot be read, or is not valid.
    #[error("cannot use the token file {} ({}): {source}", path.display(), key!(admin.token_file))]
    Token {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address} ({}): {source}", key!(admin.bind_address))]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the operating system says.
        source: io::Error,
    },
    /// The Unix socket cannot be listened on.
    #[error("cannot listen on the socket {} ({}): {source}", path.display(), key!(admin.socket))]
    Socket {
        /// Its path.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
}

/// Bound, and not serving yet.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    tcp: Option<TcpListener>,
    unix: Option<Socket>,
}

/// A socket whose file goes when it does.
#[derive(Debug)]
struct Socket {
    listener: Option<UnixListener>,
    path: PathBuf,
}

impl Drop for Socket {
    fn drop(&mut self) {
        // If it stays there it is taken for left over next time.
        let _ = fs::remove_file(&self.path);
    }
}

impl Listeners {
    pub async fn bind(settings: &AdminSettings) -> Result<Self, AdminError> {
        let mut listeners = Self::default();
        if let Some(address) = settings.bind_address {
            let error = |source| AdminError::Bind { address, source };
            listeners.tcp = Some(TcpListener::bind(address).await.map_err(error)?);
        }
        if let Some(path) = &settings.socket {
            let error = |source| AdminError::Socket { path: path.clone(), source };
            listeners.unix = Some(bind_socket(path).await.map_err(error)?);
        }
        Ok(listeners)
    }

    /// The address that it listens on, if it does.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.tcp.as_ref()?.local_addr().ok()
    }

    /// Serves until `stopped` says so or its sender is gone. Requests under way are not waited for: what
    /// they ask for is done in an instant, or not at all.
    pub async fn serve(self, router: Router, mut stopped: watch::Receiver<bool>) {
        let Self { tcp, mut unix } = self;
        let over_tcp = async {
            if let Some(listener) = tcp {
                info!(address = ?listener.local_addr().ok(), "the operator is listened to");
                told(axum::serve(listener, router.clone()).await);
            }
        };
        let over_unix = async {
            let Some(Socket { listener, path }) = unix.as_mut() else { return };
            if let Some(listener) = listener.take() {
                info!(socket = %path.display(), "the operator is listened to");
                told(axum::serve(listener, router.clone()).await);
            }
        };
        tokio::select! {
            _ = async { tokio::join!(over_tcp, over_unix) } => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
    }
}

fn told(ended: io::Result<()>) {
    if let Err(error) = ended {
        warn!(%error, "the operator is not listened to any more");
    }
}

/// Binds a socket that only its owner may connect to, at no moment anybody else: whatever the umask, it is
/// made where nobody else gets to, and is moved once it is its owner's alone.
async fn bind_socket(path: &Path) -> io::Result<Socket> {
    if fs::symlink_metadata(path).is_ok_and(|data| data.file_type().is_socket()) {
        if UnixStream::connect(path).await.is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        // What a process that was killed has left over is in the way.
        fs::remove_file(path)?;
    }
    if fs::symlink_metadata(path).is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    // Short, since paths of sockets have about a hundred bytes.
    let private = path.with_file_name(format!(".{:x}", std::process::id()));
    let hidden = private.join("s");
    // Of a process with the same number that was killed here.
    let _ = fs::remove_file(&hidden);
    let _ = fs::remove_dir(&private);
    DirBuilder::new().mode(0o700).create(&private)?;
    let bound = UnixListener::bind(&hidden).and_then(|listener| {
        fs::set_permissions(&hidden, fs::Permissions::from_mode(0o600))?;
        fs::rename(&hidden, path)?;
        Ok(Socket { listener: Some(listener), path: path.to_owned() })
    });
    // One that stays is empty.
    let _ = fs::remove_file(&hidden);
    let _ = fs::remove_dir(&private);
    bound
}
