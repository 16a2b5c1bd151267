//! `[admin]`: how the operator reaches a running coordinator.

use std::{net::SocketAddr, path::PathBuf};

use crate::key;

/// `[admin]`: a listener of its own for the operator's actions. It is off unless an address or a socket is
/// given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdminSettings {
    /// The address to listen on, which must be one of this machine's own (127.0.0.1, ::1): the token goes
    /// over it in the clear. Default: none.
    pub bind_address: Option<SocketAddr>,
    /// The path of a Unix socket to listen on; only its owner may connect. Default: none.
    pub socket: Option<PathBuf>,
    /// The file with the token that every action must come with, of at least 16 characters. Needed with
    /// either of the above. Default: none.
    pub token_file: Option<PathBuf>,
}

impl AdminSettings {
    /// Whether the operator has a listener.
    pub fn is_on(&self) -> bool {
        self.bind_address.is_some() || self.socket.is_some()
    }

    /// The rules that are broken: the key, the value, the rule.
    pub(super) fn check(&self) -> Vec<(&'static str, Option<String>, String)> {
        let mut broken = Vec::new();
        if let Some(address) = self.bind_address.filter(|address| !address.ip().is_loopback()) {
            let rule = format!(
                "must be an address of this machine alone, such as 127.0.0.1:8082, or a socket \
                 instead ({}): the token would cross the network in the clear",
                key!(admin.socket)
            );
            broken.push((key!(admin.bind_address), Some(address.to_string()), rule));
        }
        if self.is_on() && self.token_file.is_none() {
            let rule = "is missing: name a file with a secret of at least 16 characters, without \
                        which nobody may act on this coordinator";
            broken.push((key!(admin.token_file), None, rule.to_owned()));
        }
        broken
    }
}
