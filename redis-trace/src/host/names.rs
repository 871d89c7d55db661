//! What one source of names alone says: glibc's `getent` asks the hosts file or DNS as the resolver would.

use std::net::IpAddr;
use std::time::Duration;

use super::command::{output, program};

/// A source answers within this time or not at all.
const PATIENCE: Duration = Duration::from_secs(2);

/// As much as is read of an answer.
const LIMIT: usize = 64 << 10;

/// The sources in their order, `files dns`, as /etc/nsswitch.conf has it.
pub fn order() -> Option<String> {
    let text = std::fs::read_to_string("/etc/nsswitch.conf").ok()?;
    let order = text.lines().find_map(|line| line.trim().strip_prefix("hosts:"))?;
    let plain = order.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    plain.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ').then_some(plain)
}

/// The addresses that a source (`files`, `dns`) gives a name; none when it does not know it. The error says why it could not
/// be asked.
pub fn of_source(source: &str, name: &str) -> Result<Vec<IpAddr>, String> {
    if name.starts_with('-') {
        return Err("getent would take the name for a flag".to_owned());
    }
    let mut getent = program("getent").ok_or("there is no getent to ask the sources one by one".to_owned())?;
    getent.args(["-s", source, "ahosts", name]);
    let text = match output(getent, PATIENCE, LIMIT) {
        Ok(text) => text,
        // glibc's way to say that the source does not know the name.
        Err(why) if why.contains("exit status: 2") => String::new(),
        Err(why) => return Err(why),
    };
    let mut ips: Vec<IpAddr> = Vec::new();
    for ip in text.lines().filter_map(|line| line.split_ascii_whitespace().next()?.parse().ok()) {
        if !ips.contains(&ip) {
            ips.push(ip);
        }
    }
    Ok(ips)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_file_knows_this_host_and_not_everybody() {
        let local = of_source("files", "localhost").expect("glibc is here");
        assert!(local.iter().any(IpAddr::is_loopback), "{local:?}");
        assert_eq!(of_source("files", "no-such-host.invalid"), Ok(Vec::new()));
        assert!(of_source("files", "-s").is_err());
    }
}
