//! Which hosts are reached without a proxy: the list in `NO_PROXY`, as curl reads it.

use std::net::IpAddr;

use ipnet::IpNet;

/// A list of hosts that are reached without a proxy.
///
/// Entries are separated by commas or spaces; upper and lower case are the same.
///
/// - `example.com` and `.example.com` are this host and all hosts below it;
/// - `10.1.2.3`, `::1` and `[::1]` are this address, `10.0.0.0/8` and `fd00::/8` all addresses in that network; names
///   of hosts are not looked up for that;
/// - `*` is every host;
/// - an entry may end in a port, `example.com:8081` or `[::1]:8081`, and then counts for that port only (which
///   requests has, and curl has not).
///
/// What is nothing of that is no host's name, and is ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NoProxy {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    hosts: Hosts,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Hosts {
    All,
    In(IpNet),
    /// This one, without dots around it, and all below.
    Below(String),
}

impl NoProxy {
    /// Reads a list.
    pub fn parse(list: &str) -> Self {
        let is_separator = |c: char| c == ',' || c.is_whitespace();
        Self { entries: list.split(is_separator).filter_map(Entry::parse).collect() }
    }

    /// Whether this host and port are reached without a proxy. The host may be an IPv6 address,
    /// with or without brackets.
    pub fn contains(&self, host: &str, port: u16) -> bool {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        // An address of a link names the link, too.
        let address = bare.split('%').next().unwrap_or(bare).parse::<IpAddr>().ok();
        let name = bare.trim_end_matches('.').to_ascii_lowercase();
        self.entries.iter().any(|entry| {
            entry.port.is_none_or(|own| own == port)
                && match (&entry.hosts, address) {
                    (Hosts::All, _) => true,
                    (Hosts::In(network), Some(address)) => network.contains(&address),
                    (Hosts::Below(domain), None) => is_below(&name, domain),
                    (Hosts::In(_), None) | (Hosts::Below(_), Some(_)) => false,
                }
        })
    }
}

/// Whether a name is that of a domain, or ends in it after a dot.
fn is_below(name: &str, domain: &str) -> bool {
    match name.strip_suffix(domain) {
        Some(before) => before.is_empty() || before.ends_with('.'),
        None => false,
    }
}

impl Entry {
    fn parse(text: &str) -> Option<Self> {
        if let Some(hosts) = Hosts::parse(text) {
            return Some(Self { hosts, port: None });
        }
        let (hosts, port) = text.rsplit_once(':')?;
        // `parse` would take a plus sign.
        let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|_| is_number)?;
        Some(Self { hosts: Hosts::parse(hosts)?, port: Some(port) })
    }
}

impl Hosts {
    fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::All);
        }
        if let Some(rest) = text.strip_prefix('[') {
            let (address, length) = rest.split_once(']')?;
            // With a port behind, it would be another address.
            if !length.is_empty() && !length.starts_with('/') {
                return None;
            }
            return network(&format!("{address}{length}")).map(Self::In);
        }
        if let Some(network) = network(text) {
            return Some(Self::In(network));
        }
        let domain = text.trim_start_matches('.').trim_end_matches('.').to_ascii_lowercase();
        (!domain.is_empty() && !domain.contains([':', '/'])).then_some(Self::Below(domain))
    }
}

fn network(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}
