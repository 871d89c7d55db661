//! Who holds a server's connections, and how many of them are idle, by `CLIENT LIST`.

use std::collections::BTreeMap;

use crate::trace::text::Text;

/// Of a server with more clients the list is not asked for: to write it would hold it up.
pub(super) const MOST: u64 = 2_000;

/// Idle for so long, seconds, a client is told of.
const IDLE: u64 = 300;

/// `top 10.0.3.7 (41 of 50); 12 idle for over 300 s, the longest 7200 s`.
pub(super) fn summary(list: &str) -> Option<String> {
    let mut hosts = BTreeMap::<&str, u32>::new();
    let (mut all, mut idle, mut longest) = (0, 0, 0);
    for line in list.lines() {
        let field = |name: &str| line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        let Some(address) = field("addr") else { continue };
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        *hosts.entry(host).or_default() += 1;
        all += 1;
        let quiet = field("idle").and_then(|seconds| seconds.parse::<u64>().ok()).unwrap_or_default();
        idle += u32::from(quiet > IDLE);
        longest = longest.max(quiet);
    }
    let (host, most) = hosts.iter().max_by_key(|(_, count)| **count)?;
    let quiet = match idle {
        0 => String::new(),
        idle => format!("; {idle} idle for over {IDLE} s, the longest {longest} s"),
    };
    Some(format!("top {} ({most} of {all}){quiet}", Text::from(*host)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_with_most_connections_and_the_idle_ones_are_told() {
        let list = "id=3 addr=10.0.3.7:1 laddr=x idle=7200 cmd=get\nid=4 addr=10.0.3.7:2 idle=0\n\
                    id=5 addr=[::1]:3 idle=301\n";
        assert_eq!(summary(list).as_deref(), Some("top 10.0.3.7 (2 of 3); 2 idle for over 300 s, the longest 7200 s"));
        assert_eq!(summary("ERR"), None);
    }
}
