//! The list of hosts without a proxy, against what it means, bit by bit, and against another library's reading of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hyper_util::client::proxy::matcher::Matcher;
use pet_network::NoProxy;
use proptest::prelude::*;

fn addresses() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(|bytes| IpAddr::V4(Ipv4Addr::from(bytes))),
        any::<[u8; 16]>().prop_map(|bytes| IpAddr::V6(Ipv6Addr::from(bytes))),
    ]
}

fn bits(address: IpAddr) -> Vec<bool> {
    let bytes = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1)).collect()
}

/// Names of few letters, so that some are parts of others.
fn names() -> impl Strategy<Value = String> {
    "[ab]{1,2}(\\.[ab]{1,2}){0,3}"
}

fn entries() -> impl Strategy<Value = String> {
    prop_oneof![
        names(),
        names().prop_map(|name| format!(".{name}")),
        names().prop_map(|name| name.to_uppercase()),
        (addresses(), 0u8..129).prop_map(|(address, length)| format!("{address}/{length}")),
        addresses().prop_map(|address| address.to_string()),
        "[a-b.*:/,0-9\\[\\]% ]{0,12}",
    ]
}

proptest! {
    #[test]
    fn a_network_has_the_addresses_that_begin_like_it(
        network in addresses(), length in 0usize..129, flip in prop::option::of(0usize..128), bracketed: bool,
    ) {
        let width = bits(network).len();
        prop_assume!(length <= width);
        // An address that differs in one bit, or not at all.
        let address = match (network, flip.map(|bit| bit % width)) {
            (network, None) => network,
            (IpAddr::V4(own), Some(bit)) => (u32::from(own) ^ 1 << (31 - bit)).to_be_bytes().into(),
            (IpAddr::V6(own), Some(bit)) => (u128::from(own) ^ 1 << (127 - bit)).to_be_bytes().into(),
        };
        let expected = bits(network)[..length] == bits(address)[..length];
        let host = if bracketed && address.is_ipv6() { format!("[{address}]") } else { address.to_string() };
        let list = NoProxy::parse(&format!("x.example, {network}/{length}"));
        prop_assert_eq!(list.contains(&host, 80), expected);
    }

    #[test]
    fn a_domain_has_itself_and_what_ends_in_it_after_a_dot(name in names(), domain in names(), dots in 0usize..3) {
        let entry = format!("{}{domain}", &".."[..dots]);
        let expected = name == domain || name.ends_with(&format!(".{domain}"));
        prop_assert_eq!(NoProxy::parse(&entry).contains(&name.to_uppercase(), 80), expected);
        prop_assert_eq!(NoProxy::parse(&entry.to_uppercase()).contains(&format!("{name}."), 80), expected);
    }

    #[test]
    fn an_entry_with_a_port_counts_for_that_port_only(entry in entries(), host in names(), port: u16, other: u16) {
        prop_assume!(!entry.contains([',', ' ', ':', '[', ']', '*']));
        let without = NoProxy::parse(&entry).contains(&host, port);
        let with = NoProxy::parse(&format!("{entry}:{port}"));
        prop_assert_eq!(with.contains(&host, port), without);
        prop_assert_eq!(with.contains(&host, other), without && other == port);
    }

    /// reqwest's reading of the same list, where it is meant to be the same: it knows no spaces between entries,
    /// no dots behind, no brackets, and no ports.
    #[test]
    fn another_library_reads_the_same(list in prop::collection::vec(entries(), 0..4), host in names(), address in addresses()) {
        let list = list.into_iter().filter(|entry| {
            let is_plain = !entry.contains([' ', '[', ']', '%', ',']) && !entry.ends_with('.');
            let is_address = entry.parse::<IpAddr>().is_ok() || entry.parse::<ipnet::IpNet>().is_ok();
            is_plain && (is_address || !entry.contains([':', '/'])) && (entry == "*" || !entry.contains('*'))
                && !entry.starts_with("..")
        });
        let list = list.collect::<Vec<_>>().join(",");
        let matcher = Matcher::builder().http("http://proxy").no(list.as_str()).build();
        for host in [host, match address { IpAddr::V4(a) => a.to_string(), IpAddr::V6(a) => format!("[{a}]") }] {
            let uri = format!("http://{host}:81/").parse().unwrap();
            // For that library a star is no host for addresses.
            if list.contains('*') { continue; }
            let expected = matcher.intercept(&uri).is_none();
            prop_assert_eq!(NoProxy::parse(&list).contains(&host, 81), expected, "{} in {}", host, list);
        }
    }

    #[test]
    fn nothing_panics(list: String, host: String, port: u16) {
        let _ = NoProxy::parse(&list).contains(&host, port);
    }
}
