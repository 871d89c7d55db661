//! The addresses that a namespace answers on, from the tables of `/proc/…/net`: they can be read from inside, or through
//! a process that lives there.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// Every address of the namespace whose `/proc/…/net` this is.
pub(crate) fn of(net: &Path) -> Result<Vec<IpAddr>, String> {
    let table = net.join("fib_trie");
    let ipv4 =
        std::fs::read_to_string(&table).map_err(|error| format!("{} could not be read: {error}.", table.display()))?;
    // A kernel without IPv6 has no such file.
    let ipv6 = std::fs::read_to_string(net.join("if_inet6")).unwrap_or_default();
    let addresses: BTreeSet<IpAddr> = parse_fib_trie(&ipv4).chain(parse_if_inet6(&ipv6)).collect();
    Ok(addresses.into_iter().collect())
}

/// A local address is a leaf (`|-- 127.0.0.1`) with a line `/32 host LOCAL` below it.
fn parse_fib_trie(text: &str) -> impl Iterator<Item = IpAddr> {
    let mut leaf = None;
    text.lines().filter_map(move |line| {
        let line = line.trim_start();
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse::<Ipv4Addr>().ok();
        }
        line.starts_with("/32 host LOCAL").then_some(leaf)?.map(IpAddr::V4)
    })
}

/// Lines like `fe800000000000000000000000000001 02 40 20 80 eth0`.
fn parse_if_inet6(text: &str) -> impl Iterator<Item = IpAddr> {
    text.lines().filter_map(|line| {
        let digits = line.split_ascii_whitespace().next().filter(|digits| digits.len() == 32)?;
        u128::from_str_radix(digits, 16).ok().map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_an_address_of_this_namespace() {
        let addresses = of(Path::new("/proc/thread-self/net")).expect("it can be read");
        assert!(addresses.contains(&IpAddr::from(Ipv4Addr::LOCALHOST)));
        assert!(
            !addresses.contains(&IpAddr::from([127, 0, 0, 0]))
                && !addresses.contains(&IpAddr::from([127, 255, 255, 255]))
        );
    }

    #[test]
    fn tables_that_cannot_be_read_are_a_sentence() {
        assert!(of(Path::new("/proc/0/net")).is_err_and(|error| error.ends_with('.')));
    }

    #[test]
    fn both_families_are_read() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.0.3.0\n        /24 link UNICAST\n     |-- 10.0.3.9\n        /32 host LOCAL\n";
        assert_eq!(parse_fib_trie(trie).collect::<Vec<_>>(), [IpAddr::from([10, 0, 3, 9])]);
        let inet6 = "00000000000000000000000000000001 01 80 10 80       lo\nshort 01\n";
        assert_eq!(parse_if_inet6(inet6).collect::<Vec<_>>(), [IpAddr::V6(Ipv6Addr::LOCALHOST)]);
    }
}
