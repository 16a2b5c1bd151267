//! Sets of addresses.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;
use thiserror::Error;

/// IP addresses and networks, written with commas between them: `10.0.0.0/8, ::1`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

/// A text that is not a list of addresses.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is no IP address and no network such as 10.0.0.0/8")]
pub struct InvalidNetworks(String);

impl Networks {
    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an address is in the set. An IPv4 address is the same one if it comes as an IPv6 address.
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

impl FromStr for Networks {
    type Err = InvalidNetworks;

    fn from_str(text: &str) -> Result<Self, InvalidNetworks> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let network = |part: &str| {
            let address = || part.parse().map(|address: IpAddr| address.to_canonical().into());
            part.parse().or_else(|_| address()).map_err(|_| InvalidNetworks(part.to_owned()))
        };
        parts.map(network).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let networks: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&networks.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_networks_are_read_and_written() {
        let networks: Networks = " 10.0.0.0/8,::1 , 192.0.2.7,2001:db8::/32,".parse().unwrap();
        for (address, expected) in [
            ("10.200.1.1", true),
            ("::ffff:10.1.1.1", true),
            ("11.0.0.1", false),
            ("::1", true),
            ("::2", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("2001:db8:5::1", true),
            ("2001:db9::1", false),
        ] {
            assert_eq!(networks.contain(address.parse().unwrap()), expected, "{address}");
        }
        assert_eq!(networks.to_string().parse(), Ok(networks));
        assert!(Networks::default().is_empty() && "".parse::<Networks>().unwrap().is_empty());
        for wrong in ["x", "10.0.0.0/33", "10.0.0", "::1/129", "10.0.0.1;::1"] {
            let error = wrong.parse::<Networks>().unwrap_err().to_string();
            assert!(error.contains("10.0.0.0/8"), "{error}");
        }
    }
}
