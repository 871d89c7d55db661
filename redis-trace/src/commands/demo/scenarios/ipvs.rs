//! A virtual service of IPVS has no server for a new connection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Result;
use serde_json::json;

use super::{Needs, Scenario};
use crate::commands::demo::netns::Netns;
use crate::commands::demo::rules::by_site;
use crate::commands::demo::stage::{End, REDIS, Stage, endpoint};
use crate::trace::cause::Code;

pub(super) const SCENARIOS: &[Scenario] =
    &[Scenario::new("a virtual service of IPVS has no server", Code::RT3004, &[services, of_kube_proxy])
        .needing(Needs::Ipvs)];

/// The host that has the services.
const FAR: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 254);
const FAR6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0x254);

/// Runs ipvsadm in a namespace.
fn ipvsadm(netns: &Netns, arguments: &str) -> Result<()> {
    netns.run("ipvsadm", &arguments.split(' ').collect::<Vec<_>>()).map(drop)
}

/// Dials a service; it must be told that it has no server.
fn refused(stage: &mut Stage, server: SocketAddr, hook: &str, owner: Option<&str>, whose: End) -> Result<()> {
    let dialled = stage.dial_briefly(server)?;
    let family = if server.is_ipv6() { "ip6" } else { "ip" };
    let site = json!({"backend": "ipvs", "family": family, "hook": hook, "owner": owner,
        "rule": format!("-A -t {server} -s rr")});
    let told = json!({"outcome": "refused", "errno": "ECONNREFUSED", "flow": {"server": endpoint(server)},
        "cause": {"confidence": "likely"}, "client_process": {"pid": dialled.pid, "comm": "client"}});
    let expected =
        by_site(Code::RT3004, stage.at(whose)?, &site).with(told).says("has no server that takes new connections");
    stage.expect(expected);
    Ok(())
}

fn services(stage: &mut Stage) -> Result<()> {
    let far = stage.other_netns(&format!("{FAR}/24"))?;
    far.add_address6(&format!("{FAR6}/64"), "wire")?;
    let servers: [SocketAddr; 3] = [(FAR, REDIS).into(), (FAR, 6380).into(), (FAR6, REDIS).into()];
    for server in servers {
        ipvsadm(far, &format!("-A -t {server} -s rr"))?;
    }
    // One has a server, to which nothing new is to be sent.
    ipvsadm(far, &format!("-a -t {FAR}:6380 -r {FAR}:6381 -m -w 0"))?;
    let local = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 6382);
    ipvsadm(stage.own(), &format!("-A -t {local} -s rr"))?;
    stage.own().add_address6("fd77::1/64", "wire")?;
    stage.redis_elsewhere(&format!("--bind {FAR}"))?;
    for server in servers {
        refused(stage, server, "input", None, End::Far)?;
    }
    refused(stage, local, "output", None, End::Own)
}

fn of_kube_proxy(stage: &mut Stage) -> Result<()> {
    let server = SocketAddr::from((FAR, 6383));
    let far = stage.far()?;
    far.ip("link add kube-ipvs0 type dummy")?;
    ipvsadm(far, &format!("-A -t {server} -s rr"))?;
    refused(stage, server, "input", Some("kube-proxy"), End::Far)
}
