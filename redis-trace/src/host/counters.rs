//! The kernel's counters of resets and failed attempts, namespace by namespace.

use std::fs;

use super::{Host, netns, process};
use crate::trace::fact::Counters;
use crate::trace::flow::Netns;

impl Host {
    /// The counters of every namespace that can be entered.
    pub fn counters(&mut self) -> Vec<Counters> {
        self.look(&process::ids());
        let read = netns::inside_each(&self.places, here);
        read.into_iter().filter_map(|(_, counters)| counters.ok().flatten()).collect()
    }
}

/// The counters of the namespace that the calling thread is in.
fn here(netns: Netns) -> Option<Counters> {
    let snmp = fs::read_to_string("/proc/thread-self/net/snmp").ok()?;
    let netstat = fs::read_to_string("/proc/thread-self/net/netstat").ok()?;
    Some(Counters {
        netns,
        out_resets: value(&snmp, "Tcp:", "OutRsts")?,
        attempt_fails: value(&snmp, "Tcp:", "AttemptFails")?,
        embryonic_resets: value(&netstat, "TcpExt:", "EmbryonicRsts").unwrap_or_default(),
        listen_overflows: value(&netstat, "TcpExt:", "ListenOverflows").unwrap_or_default(),
        listen_drops: value(&netstat, "TcpExt:", "ListenDrops").unwrap_or_default(),
    })
}

/// How often a packet found an accept queue or a SYN queue full in the calling thread's namespace.
pub(super) fn overflows() -> Option<(u64, u64)> {
    let netstat = fs::read_to_string("/proc/thread-self/net/netstat").ok()?;
    Some((value(&netstat, "TcpExt:", "ListenOverflows")?, value(&netstat, "TcpExt:", "TCPReqQFullDrop")?))
}

/// The value of a counter: a table is a line of names and a line of values, both after its own name.
fn value(text: &str, table: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(table)).map(str::split_whitespace);
    let at = lines.next()?.position(|other| other == name)?;
    lines.next()?.nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_found_under_its_name() {
        let text = "Ip: Forwarding\nIp: 1\nTcp: RtoMin MaxConn OutRsts\nTcp: 200 -1 17\n";
        assert_eq!(value(text, "Tcp:", "OutRsts"), Some(17));
        assert_eq!(value(text, "Tcp:", "AttemptFails"), None);
    }

    #[test]
    fn the_kernel_has_all_that_are_read() {
        assert!(here(Netns(0)).is_some());
        let netstat = fs::read_to_string("/proc/net/netstat").expect("counters");
        for name in ["EmbryonicRsts", "ListenOverflows", "ListenDrops"] {
            assert!(value(&netstat, "TcpExt:", name).is_some(), "{name}");
        }
    }
}
