//! Something that is no firewall's rule drops what the client sends.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;
use serde_json::json;

use super::{Needs, Scenario};
use crate::commands::demo::expect::{Expected, SENTINEL_PORT};
use crate::commands::demo::stage::{REDIS, Stage, endpoint};
use crate::kernel::has_drop_receivers;
use crate::trace::cause::Code;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new("conntrack's table is full", Code::RT2006, &[conntrack]).needing(Needs::SmallConntrack),
    Scenario::new("rp_filter refuses where it comes from", Code::RT3032, &[reverse_path]),
    Scenario::new("a filter on the listener's socket drops", Code::RT3032, &[socket_filter])
        .needing(Needs::DropReasons),
    Scenario::new("an IPsec policy blocks what comes in", Code::RT3031, &[ipsec]).needing(Needs::DropReasons),
];

/// So many connections conntrack may take for its table to be filled here.
const SMALL: u32 = 65_536;

/// Memory up to which the kernel chooses no larger limit, bytes: nf_conntrack_init_start(), net/netfilter/nf_conntrack_core.c.
const SMALL_MEMORY: u64 = 4 << 30;

/// Whether it takes no more. The limit is the whole host's and not a scenario's to change; where nobody has used conntrack
/// yet, the kernel will choose it by the memory that there is.
pub(super) fn has_small_conntrack() -> bool {
    if let Ok(limit) = std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max") {
        return limit.trim().parse::<u32>().is_ok_and(|limit| limit <= SMALL);
    }
    let memory = rustix::system::sysinfo();
    memory.totalram * u64::from(memory.mem_unit) <= SMALL_MEMORY
}

/// The other namespace.
const FAR: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 254);

/// Dials in vain; what must be told of it.
pub(super) fn in_vain(stage: &mut Stage, code: Code, server: SocketAddr) -> Result<Expected> {
    let dialled = stage.dial_briefly(server)?;
    let client = json!({"client_process": {"pid": dialled.pid, "comm": "client"}, "outcome": "timeout"});
    Ok(Expected::refusal(code).with(client).with(json!({"flow": {"server": endpoint(server)}})))
}

fn conntrack(stage: &mut Stage) -> Result<()> {
    stage.redis("--bind 127.0.0.1")?;
    // Port 1 is the last refusal of each scenario, and its answer: they must pass. Port 9 takes what fills the table.
    let untracked = format!("tcp dport {SENTINEL_PORT} notrack\ntcp sport {SENTINEL_PORT} notrack");
    stage.own().nft(
        "inet",
        &[
            ("early", "type filter hook prerouting priority -300;", &untracked),
            ("earlier", "type filter hook output priority -300;", &untracked),
            ("in", "type filter hook input priority 0;", "tcp dport 9 tcp sport 9 drop\nct state new accept"),
        ],
    )?;
    stage.dials("fill-conntrack")?;
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, REDIS));
    let expected = in_vain(stage, Code::RT2006, server)?;
    let likely =
        json!({"cause": {"class": "backlog_full", "confidence": "likely"}, "firewall": null, "side": "client"});
    stage.expect(expected.with(likely).says("conntrack's table is full").says("nf_conntrack_max"));
    Ok(())
}

fn reverse_path(stage: &mut Stage) -> Result<()> {
    // A source address to which no way leads back.
    stage.add_address("10.99.0.1/32")?;
    let far = stage.other_netns(&format!("{FAR}/24"))?;
    let (far, mac) = (far.number, far.mac()?);
    stage.know_neighbour("10.77.0.254", &mac)?;
    stage.redis_elsewhere("--bind 10.77.0.254")?;
    stage.ip("route add 10.77.0.254/32 dev wire src 10.99.0.1")?;
    stage.far()?.run("sysctl", &["-qw", "net.ipv4.conf.all.rp_filter=1"])?;
    let expected = in_vain(stage, Code::RT3032, SocketAddr::from((FAR, REDIS)))?;
    let there = json!({"flow": {"netns": far, "client": {"ip": "10.99.0.1"}}, "side": "both"});
    stage.expect(expected.with(there).says("rp_filter").says("ip route get 10.99.0.1"));
    Ok(())
}

fn socket_filter(stage: &mut Stage) -> Result<()> {
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, REDIS));
    stage.actor(&format!("listen-deaf {server}"), "listening")?;
    let expected = in_vain(stage, Code::RT3032, server)?;
    // Older kernels do not tell for which socket it came: a program of its cgroup may have done it.
    let confidence = if has_drop_receivers() { "certain" } else { "likely" };
    let is = json!({"cause": {"class": "policy", "confidence": confidence}});
    stage.expect(expected.with(is).says("a filter on the listener's socket").says("SOCKET_FILTER"));
    Ok(())
}

fn ipsec(stage: &mut Stage) -> Result<()> {
    let far = stage.other_netns(&format!("{FAR}/24"))?;
    far.ip("xfrm policy add src 10.77.0.1/32 dir in action block")?;
    stage.redis_elsewhere("--bind 10.77.0.254")?;
    let expected = in_vain(stage, Code::RT3031, SocketAddr::from((FAR, REDIS)))?;
    let certain = json!({"cause": {"class": "policy", "confidence": "certain"}});
    stage.expect(expected.with(certain).says("XFRM_POLICY").says("ip xfrm policy"));
    Ok(())
}
