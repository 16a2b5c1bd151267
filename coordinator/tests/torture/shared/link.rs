//! What stands between a replica and a server: a TCP proxy that can be told to cut, or to hold back, all that goes through it.

use std::net::{IpAddr, SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        tcp::{OwnedReadHalf, OwnedWriteHalf},
        TcpListener, TcpStream,
    },
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// What becomes of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// They pass.
    Flows,
    /// Connections end at once, as if a firewall refused them.
    Refused,
    /// They wait, and arrive later: nobody is told anything, as if a cable was cut for a while.
    Held,
}

type State = (SocketAddr, Traffic);

pub struct Link {
    pub address: SocketAddr,
    state: watch::Sender<State>,
    running: JoinHandle<()>,
}

impl Link {
    /// Takes connections at an address of this machine, and leads them there.
    pub async fn between(here: IpAddr, target: SocketAddr) -> Self {
        let listener = TcpListener::bind((here, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (state, seen) = watch::channel((target, Traffic::Flows));
        let running = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(carry(client, seen.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, state, running }
    }

    pub fn set(&self, traffic: Traffic) {
        self.state.send_modify(|state| state.1 = traffic);
    }

    /// From now on it leads to another server; connections to the one before end.
    pub fn lead_to(&self, target: SocketAddr) {
        self.state.send_modify(|state| state.0 = target);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.running.abort();
    }
}

async fn carry(client: TcpStream, mut state: watch::Receiver<State>) {
    let held = state.wait_for(|state| state.1 != Traffic::Held).await;
    let Ok((target, Traffic::Flows)) = held.map(|state| *state) else { return };
    let Ok(server) = TcpStream::connect(target).await else { return };
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true);
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (there, back) = (state.clone(), state.clone());
    let ended = state.wait_for(|(now, traffic)| *now != target || *traffic == Traffic::Refused);
    tokio::select! {
        () = pass(from_client, to_server, there) => {}
        () = pass(from_server, to_client, back) => {}
        _ = ended => {}
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut state: watch::Receiver<State>) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let Ok(count @ 1..) = from.read(&mut buffer).await else { return };
        if state.wait_for(|state| state.1 != Traffic::Held).await.is_err() {
            return;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
