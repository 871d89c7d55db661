//! Where a server sends its clients: the masters that a Sentinel names, the nodes that a Cluster announces.

use std::collections::BTreeMap;

use redis::Value;

use super::report::{Doctor, Finding, State};
use super::server::Server;
use super::talk::text;
use crate::redis::info::Info;
use crate::redis::reply;
use crate::trace::text::Text;

/// Slots of a cluster, src/cluster.h.
const SLOTS: u32 = 16_384;

/// An address that a server gives its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lead {
    /// Who it is said to be: `master mymaster`, `owner of 0-5460`.
    pub(super) who: String,
    pub(super) host: String,
    pub(super) port: u16,
    /// What corrects it, when nobody can be reached there.
    pub(super) fix: (&'static str, &'static str),
    /// It is for the other nodes and not for clients.
    pub(super) is_bus: bool,
}

/// Asks for them, by what the server is.
pub(super) fn ask(server: &mut Server, info: &Info, doctor: &mut Doctor) -> anyhow::Result<Vec<Lead>> {
    match info.text("redis_mode") {
        Some("sentinel") => match server.ask(redis::cmd("SENTINEL").arg("MASTERS")) {
            Some(Value::Array(masters)) => of_sentinel(&masters, doctor),
            _ => unknown(doctor, "sentinel", "it does not say which masters it watches"),
        },
        Some("cluster") => match server.ask(redis::cmd("CLUSTER").arg("NODES")).and_then(text) {
            Some(nodes) => of_cluster(&nodes, doctor),
            None => unknown(doctor, "cluster", "it does not say which nodes there are"),
        },
        _ => Ok(Vec::new()),
    }
}

fn unknown(doctor: &mut Doctor, step: &str, why: &str) -> anyhow::Result<Vec<Lead>> {
    doctor.step(step, State::Unknown, why.to_owned())?;
    Ok(Vec::new())
}

/// What a node of a Cluster says of a command with a key while it has the Cluster for down: nothing of it is served then.
pub(super) fn down(server: &mut Server, info: &Info) -> Option<Finding> {
    const STATE: &str = "cluster_state:fail";
    let is_node = info.text("redis_mode") == Some("cluster");
    let state = is_node.then(|| server.ask(redis::cmd("CLUSTER").arg("INFO")).and_then(text)).flatten()?;
    let said = reply::of_error("CLUSTERDOWN")?;
    state.lines().any(|line| line == STATE).then(|| Finding::of_reply(&said, &Text::from(STATE)))
}

/// `SENTINEL MASTERS`: of each, names and values in turn.
fn of_sentinel(masters: &[Value], doctor: &mut Doctor) -> anyhow::Result<Vec<Lead>> {
    let mut leads = Vec::new();
    for master in masters {
        let Value::Array(fields) = master else { continue };
        let words: Vec<String> = fields.iter().cloned().filter_map(text).collect();
        let fields: BTreeMap<&str, &str> =
            words.chunks_exact(2).map(|pair| (pair[0].as_str(), pair[1].as_str())).collect();
        let field = |name: &str| fields.get(name).copied().unwrap_or_default();
        let (name, flags) = (Text::from(field("name")), Text::from(field("flags")));
        let Ok(port) = field("port").parse() else { continue };
        let is_down = flags.as_str().contains("down");
        let told = format!("{name} is {}:{port} ({flags})", Text::from(field("ip")));
        doctor.step("sentinel", if is_down { State::Warn } else { State::Good }, told)?;
        leads.push(Lead {
            who: format!("master {name} of the Sentinel"),
            host: field("ip").to_owned(),
            port,
            fix: (
                "let the Sentinel watch an address that clients reach, and the servers announce such",
                "CONFIG SET replica-announce-ip ADDRESS",
            ),
            is_bus: false,
        });
    }
    if leads.is_empty() {
        doctor.step("sentinel", State::Bad, "it watches no master".to_owned())?;
    }
    Ok(leads)
}

/// `CLUSTER NODES`: a line a node, `ID IP:PORT@BUS[,HOST] FLAGS MASTER PING PONG EPOCH LINK SLOTS…`.
fn of_cluster(nodes: &str, doctor: &mut Doctor) -> anyhow::Result<Vec<Lead>> {
    let (mut leads, mut served, mut failed) = (Vec::new(), 0, Vec::new());
    for line in nodes.lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, address, flags, _, _, _, _, _, slots @ ..] = words.as_slice() else { continue };
        let is_failed = flags.split(',').any(|flag| matches!(flag, "fail" | "fail?" | "noaddr"));
        let ranges: Vec<&str> = slots.iter().copied().filter(|range| !range.starts_with('[')).collect();
        if is_failed {
            failed.push((*address).to_owned());
        } else {
            served += ranges.iter().map(|range| slots_of(range)).sum::<u32>();
        }
        if flags.contains("myself") || is_failed || ranges.is_empty() {
            continue;
        }
        leads.extend(node(address, &ranges));
    }
    let failures =
        if failed.is_empty() { String::new() } else { format!("; failed: {}", Text::from(failed.join(", ").as_str())) };
    let text = format!("{served} of {SLOTS} slots are served{failures}");
    let state = if served == SLOTS && failed.is_empty() { State::Good } else { State::Warn };
    doctor.step("cluster", state, text)?;
    Ok(leads)
}

/// How many slots `0-5460` or `7` are.
fn slots_of(range: &str) -> u32 {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    match (first.parse::<u32>(), last.parse::<u32>()) {
        (Ok(first), Ok(last)) if first <= last => last - first + 1,
        _ => 0,
    }
}

/// The port for clients and the one for the other nodes.
fn node(address: &str, ranges: &[&str]) -> Vec<Lead> {
    let address = address.split(',').next().unwrap_or_default();
    let Some((host, ports)) = address.rsplit_once(':') else { return Vec::new() };
    let (port, bus) = ports.split_once('@').map_or((ports, None), |(port, bus)| (port, Some(bus)));
    let owner = format!("owner of slots {}", Text::from(ranges.first().copied().unwrap_or_default()));
    let lead = |who: String, port: &str, fix, is_bus| {
        Some(Lead { who, host: host.to_owned(), port: port.parse().ok()?, fix, is_bus })
    };
    let announce = ("let the node announce an address that clients reach", "CONFIG SET cluster-announce-ip ADDRESS");
    let open = ("open the bus port between the nodes", "CONFIG GET cluster-announce-bus-port");
    let of_bus = bus.and_then(|bus| lead(format!("cluster bus of the {owner}"), bus, open, true));
    lead(owner.clone(), port, announce, false).into_iter().chain(of_bus).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_its_port_and_its_bus() {
        let leads = node("10.0.0.2:7001@17001,node2", &["0-5460"]);
        let shown: Vec<_> = leads.iter().map(|lead| (lead.who.as_str(), lead.host.as_str(), lead.port)).collect();
        assert_eq!(
            shown,
            [
                ("owner of slots 0-5460", "10.0.0.2", 7001),
                ("cluster bus of the owner of slots 0-5460", "10.0.0.2", 17001)
            ]
        );
        assert_eq!(node("fd00::2:7001@17001", &["1"])[0].host, "fd00::2");
        assert_eq!((slots_of("0-5460"), slots_of("7"), slots_of("x")), (5_461, 1, 0));
    }
}
