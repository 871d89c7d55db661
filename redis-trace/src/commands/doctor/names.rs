//! Who gave a name its addresses: the hosts file or DNS, and whether the two agree.

use std::env;
use std::net::IpAddr;
use std::path::Path;

use super::dial::Place;
use super::report::{Doctor, State};
use crate::host::names;
use crate::redis::target::Target;

/// Variables that clients and platforms take a server's address from.
const VARIABLES: [&str; 3] = ["REDIS_URL", "VALKEY_URL", "REDIS_TLS_URL"];
/// Files that Docker and Podman put into every container.
const CONTAINERS: [&str; 2] = ["/.dockerenv", "/run/.containerenv"];

/// Tells what each source says of a name; of an address there is nothing to tell.
pub(super) fn look(doctor: &mut Doctor, target: &Target, places: &[Place]) -> anyhow::Result<()> {
    let Target::Tcp { host, .. } = target else { return Ok(()) };
    if host.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    let order = names::order().map_or_else(String::new, |order| format!(" (nsswitch.conf: {order})"));
    let dialled: Vec<IpAddr> = places.iter().filter_map(ip).collect();
    let from_file = match names::of_source("files", host) {
        Ok(found) => found,
        Err(why) => return Ok(doctor.skip(&["resolver"], &why)?),
    };
    let is_local = host == "localhost" || host.ends_with(".localhost");
    // What this host calls itself is no matter of DNS.
    let from_dns = match if is_local { Ok(Vec::new()) } else { names::of_source("dns", host) } {
        Ok(found) => found,
        Err(why) => return Ok(doctor.step("resolver", State::Unknown, format!("DNS was not heard: {why}{order}"))?),
    };
    let (state, text) = match (from_file.is_empty(), from_dns.is_empty()) {
        (false, true) if is_local => (State::Good, "the hosts file says so".to_owned()),
        (false, true) => (State::Warn, "the hosts file alone says so: DNS gave nothing".to_owned()),
        (true, false) => (State::Good, "DNS says so, the hosts file does not".to_owned()),
        (true, true) => (State::Good, "neither the hosts file nor DNS says so: another source does".to_owned()),
        (false, false) if same(&from_file, &from_dns) => (State::Good, "the hosts file and DNS agree".to_owned()),
        (false, false) => {
            let used = if from_file.iter().all(|ip| dialled.contains(ip)) { "the hosts file" } else { "DNS" };
            let text =
                format!("the hosts file says {}, DNS says {}: {used} is used", list(&from_file), list(&from_dns));
            (State::Warn, text)
        }
    };
    Ok(doctor.step("resolver", state, format!("{text}{order}"))?)
}

fn ip(place: &Place) -> Option<IpAddr> {
    match place {
        Place::Tcp(address) => Some(address.ip()),
        Place::Unix(_) => None,
    }
}

fn same(one: &[IpAddr], other: &[IpAddr]) -> bool {
    one.iter().all(|ip| other.contains(ip)) && other.iter().all(|ip| one.contains(ip))
}

/// What sends clients elsewhere than people think: a variable of the environment, and a container's own localhost.
pub(super) fn traps(doctor: &mut Doctor, target: &Target) -> anyhow::Result<()> {
    for name in VARIABLES {
        let Some(named) = env::var(name).ok().and_then(|url| Target::of_variable(&url)) else { continue };
        let (state, text) = if named.is_where(target) {
            (State::Good, format!("{name} names what was dialled"))
        } else {
            (State::Warn, format!("{name} names {named}, which is not what was dialled"))
        };
        doctor.step("environ", state, text)?;
    }
    let is_loopback =
        |host: &str| host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
    if CONTAINERS.iter().any(|sign| Path::new(sign).exists())
        && matches!(target, Target::Tcp { host, .. } if is_loopback(host))
    {
        let text = "in a container this is the container itself: a server beside it has another address";
        doctor.step("container", State::Warn, text.to_owned())?;
    }
    Ok(())
}

fn list(ips: &[IpAddr]) -> String {
    ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}
