//! Networks of their own for replicas: each is in a network namespace, with a cable to its clients and one to the engines. A cable
//! that is pulled is no proxy that refuses: packets are gone, and nobody is told.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::Path,
    process::{id, Command},
};

/// To whom a cable leads.
#[derive(Clone, Copy)]
pub enum Cable {
    Clients,
    Engines,
}

impl Cable {
    pub const BOTH: [Self; 2] = [Self::Clients, Self::Engines];

    /// A letter for names, and a network of those that are set aside for measurements (RFC 2544).
    fn network(self) -> (char, u8) {
        match self {
            Self::Clients => ('c', 18),
            Self::Engines => ('e', 19),
        }
    }
}

pub struct Wires {
    replicas: usize,
}

impl Wires {
    /// Lays them; none where that may not be done, which is said.
    pub fn lay(replicas: usize) -> Option<Self> {
        // What was made is taken away again, also if it is not all.
        let wires = Self { replicas };
        match wires.make() {
            Ok(()) => Some(wires),
            Err(why) => {
                crate::report(&format!(
                    "SKIPPED: no cables are pulled, as that takes network namespaces (ip, as root): {why}. Replicas are cut off \
                     by the proxy in between alone"
                ));
                None
            }
        }
    }

    fn make(&self) -> Result<(), String> {
        for cable in Cable::BOTH {
            let (bridge, here) = (bridge(cable), self.here(cable));
            ip(&["link", "add", &bridge, "type", "bridge"])?;
            ip(&["addr", "add", &format!("{here}/24"), "dev", &bridge])?;
            ip(&["link", "set", &bridge, "up"])?;
        }
        for replica in 0..self.replicas {
            let space = space(replica);
            ip(&["netns", "add", &space])?;
            ip(&["-n", &space, "link", "set", "lo", "up"])?;
            for cable in Cable::BOTH {
                let (near, far) = (end(replica, cable), format!("to-{}", cable.network().0));
                let peer = ["peer", "name", &far, "netns", &space];
                ip(&[&["link", "add", &near, "type", "veth"], &peer[..]].concat())?;
                let there = format!("{}/24", self.there(replica, cable));
                ip(&["-n", &space, "addr", "add", &there, "dev", &far])?;
                ip(&["-n", &space, "link", "set", &far, "up"])?;
                ip(&["link", "set", &near, "master", &bridge(cable), "up"])?;
            }
        }
        Ok(())
    }

    /// Where whoever is in no network of its own is, for replicas.
    pub fn here(&self, cable: Cable) -> IpAddr {
        address(cable, 1)
    }

    /// Where a replica is.
    pub fn there(&self, replica: usize, cable: Cable) -> IpAddr {
        address(cable, 10 + replica as u8)
    }

    /// Runs a program in a replica's network, as the same process.
    pub fn command(replica: usize, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &space(replica)]).arg(program);
        command
    }

    pub fn pull(&self, replica: usize, cables: &[Cable]) {
        self.set(replica, cables, "down");
    }

    pub fn plug_in(&self, replica: usize, cables: &[Cable]) {
        self.set(replica, cables, "up");
    }

    fn set(&self, replica: usize, cables: &[Cable], state: &str) {
        for cable in cables {
            ip(&["link", "set", &end(replica, *cable), state]).unwrap();
        }
    }
}

impl Drop for Wires {
    fn drop(&mut self) {
        for replica in 0..self.replicas {
            let _ = ip(&["netns", "del", &space(replica)]);
        }
        for cable in Cable::BOTH {
            let _ = ip(&["link", "del", &bridge(cable)]);
        }
    }
}

// (Names of devices have 15 characters at most; processes have numbers of up to 7 digits.)

fn space(replica: usize) -> String {
    format!("pet{}-{replica}", id())
}

fn bridge(cable: Cable) -> String {
    format!("pet{}{}", id(), cable.network().0)
}

fn end(replica: usize, cable: Cable) -> String {
    format!("{}{replica}", bridge(cable))
}

fn address(cable: Cable, host: u8) -> IpAddr {
    Ipv4Addr::new(198, cable.network().1, (id() % 256) as u8, host).into()
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output();
    let output = output.map_err(|error| format!("ip cannot be run: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    output.status.success().then_some(()).ok_or(format!(
        "ip {}: {}",
        arguments.join(" "),
        said.trim()
    ))
}
