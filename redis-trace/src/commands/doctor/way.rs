//! The way to a server: the interface, the next hop, and the firewall's rules that the connection meets on it.

use std::net::{IpAddr, SocketAddr};

use super::dial::Place;
use super::report::{Doctor, State};
use crate::host::{self, Host};
use crate::trace::explain::rule;
use crate::trace::fact::{Way, What};
use crate::trace::flow::{Endpoint, Flow, Netns};
use crate::trace::question::Question;

/// So many rules are told, when it cannot be told which.
const SHOWN: usize = 2;

/// Tells the way to a place, and who on it can refuse; `is_taken` when the connection stands.
pub(super) fn look(doctor: &mut Doctor, host: &mut Host, place: Option<&Place>, is_taken: bool) -> anyhow::Result<()> {
    let Some(Place::Tcp(address)) = place else { return Ok(()) };
    let task = host::this_task()?;
    let to = Endpoint { ip: address.ip().to_canonical(), port: address.port() };
    route(doctor, host, "route", to)?;
    rules(doctor, host, task.netns, task.uid, to, is_taken)
}

/// Tells the way by which answers go back to a client.
pub(super) fn back(doctor: &mut Doctor, host: &mut Host, client: IpAddr) -> anyhow::Result<()> {
    route(doctor, host, "back", Endpoint { ip: client.to_canonical(), port: ephemeral() })
}

/// Tells the way to an endpoint.
fn route(doctor: &mut Doctor, host: &mut Host, step: &str, to: Endpoint) -> anyhow::Result<()> {
    let task = host::this_task()?;
    let question = Question::Way { netns: task.netns, to, uid: task.uid };
    for answer in host.answer(&question, host::boottime()) {
        let (state, text) = match answer {
            What::Way(way) => told(&way.way, to, task.uid),
            What::Unreadable { why, .. } => (State::Unknown, why.to_string()),
            _ => continue,
        };
        doctor.step(step, state, text)?;
    }
    Ok(())
}

/// `over eth0 from 10.0.0.5, by 10.0.0.1`.
fn told(way: &Way, to: Endpoint, uid: u32) -> (State, String) {
    match way {
        Way::Sent { hop, hop_failed } => {
            let leaving = host::leaving(to, uid);
            let link = leaving.as_ref().and_then(|leaving| leaving.interface.clone());
            let over = link.as_ref().map_or_else(String::new, |link| format!("over {}", link.name));
            let from = leaving.and_then(|leaving| leaving.source).map_or_else(String::new, |ip| format!(" from {ip}"));
            let by = if *hop == to.ip { String::new() } else { format!(", by {hop}") };
            let text = format!("{over}{from}{by}");
            if *hop_failed {
                (State::Bad, format!("{text}: {hop} does not answer on its link"))
            } else if link.is_some_and(|link| !link.has_carrier) {
                (State::Warn, format!("{text}: the interface has no carrier"))
            } else {
                (State::Good, text)
            }
        }
        Way::Refused { by: Some(by), .. } => (State::Bad, format!("{by} refuses packets to {}", to.ip)),
        Way::Refused { by: None, .. } => (State::Bad, format!("there is no route to {}", to.ip)),
        Way::Blocked { by } => (State::Bad, format!("an IPsec policy blocks packets to {}: {by}", to.ip)),
    }
}

/// The firewall's rules that can refuse this very connection.
fn rules(
    doctor: &mut Doctor,
    host: &mut Host,
    netns: Netns,
    uid: u32,
    to: Endpoint,
    is_taken: bool,
) -> anyhow::Result<()> {
    let Some(leaving) = host::leaving(to, uid) else { return Ok(()) };
    let source = leaving.source.unwrap_or(to.ip);
    let client = Endpoint { ip: source, port: ephemeral() };
    let flow = Flow { netns, client, server: to, ifindex: 0 };
    let link = leaving.interface.map(|link| link.name);
    let (suspects, hooks) = match host.judged(&flow, link, uid) {
        Ok(judged) => judged,
        Err(why) => return Ok(doctor.skip(&["firewall"], &why)?),
    };
    let told: Vec<String> = suspects.candidates.iter().map(|candidate| rule(&candidate.site)).collect();
    let must = suspects.candidates.iter().find(|candidate| candidate.must);
    let (state, text) = match (must, &told[..]) {
        (Some(must), _) if !is_taken => {
            (State::Bad, format!("{} refuses it; {}", rule(&must.site), host::kept(&must.site)))
        }
        (Some(must), _) => (State::Unknown, format!("{} refuses it, and the connection stands", rule(&must.site))),
        (None, []) if suspects.complete => (State::Good, format!("no rule refuses it on its way ({hooks})")),
        (None, []) => (State::Unknown, "the rules are too many to be followed to their end".to_owned()),
        (None, some) => {
            let first = some.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(" or ");
            let more = some.len().saturating_sub(SHOWN);
            let more = if more > 0 { format!(" or {more} more") } else { String::new() };
            let state = if is_taken { State::Good } else { State::Unknown };
            let but = if is_taken { ", and has not: the connection stands" } else { "" };
            (state, format!("{first}{more} may refuse it{but}"))
        }
    };
    Ok(doctor.step("firewall", state, text)?)
}

/// A port as the kernel chooses it for a dial.
fn ephemeral() -> u16 {
    const FIRST: u16 = 32_768;
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    range.split_ascii_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(FIRST)
}

/// An address of this namespace.
pub(super) fn is_here(host: &mut Host, netns: Netns, address: &SocketAddr) -> bool {
    let ip: IpAddr = address.ip().to_canonical();
    ip.is_loopback()
        || host
            .answer(&Question::Addresses(netns), host::boottime())
            .into_iter()
            .any(|answer| matches!(answer, What::Addresses { addresses, .. } if addresses.contains(&ip)))
}
