//! A rule of nftables stands between the client and the server.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Result, ensure};
use serde_json::json;

use super::Scenario;
use crate::commands::demo::expect::Expected;
use crate::commands::demo::rules::{by_rule, by_site, certain};
use crate::commands::demo::stage::{REDIS, Stage, endpoint};
use crate::kernel::has_kprobes;
use crate::trace::cause::Code;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new("nftables rejects with a reset what Redis would take", Code::RT3001, &[reset]),
    Scenario::new("nftables rejects with a reset what has not left its host", Code::RT3001, &[reset_at_output]),
    Scenario::new("nftables rejects with ICMP errors", Code::RT3002, &[icmp]),
    Scenario::new("nftables drops", Code::RT3003, &[silence]),
    Scenario::new("a chain's policy drops", Code::RT3003, &[policy]),
    Scenario::new("rules with sets, maps, states and jumps", Code::RT3001, &[conditions]),
    Scenario::new("two rules can have rejected it", Code::RT3001, &[ambiguous]),
    Scenario::new("two of 410 rules of a chain can have rejected it", Code::RT3001, &[amid_many]),
    Scenario::new("a rule of an interface drops before any other sees it", Code::RT3003, &[at_ingress]),
    Scenario::new("rules are replaced between two connects", Code::RT3001, &[first_rules, other_rules]),
    Scenario::new("a router's rules reject and drop", Code::RT3003, &[router]),
    Scenario::new("a rule's remark is hostile", Code::RT3001, &[hostile]),
    Scenario::new("output translates the address to a port without a listener", Code::RT3005, &[translated]),
    Scenario::new("prerouting redirects to a port without a listener", Code::RT3005, &[redirected]),
];

const INPUT: &str = "type filter hook input priority 0;";
const OUTPUT: &str = "type filter hook output priority 0;";
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const LOOPBACK6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// What the client is told to get, and what it dialled.
fn got(expected: Expected, outcome: &str, errno: Option<&str>, server: SocketAddr) -> Expected {
    let expected = expected.with(json!({"outcome": outcome, "flow": {"server": endpoint(server)}}));
    match errno {
        Some(errno) => expected.with(json!({"errno": errno})),
        None => expected,
    }
}

/// Dials a port that must refuse; the rule with the remark `hit` must be named.
fn refused_by(stage: &mut Stage, hook: &str, remark: &str, server: SocketAddr) -> Result<Expected> {
    let dialled = stage.refused(server)?;
    let expected = by_rule(Code::RT3001, stage.own(), hook, remark)?;
    let client = json!({"client_process": {"pid": dialled.pid, "comm": "client"}});
    Ok(got(certain(expected.with(client)), "refused", Some("ECONNREFUSED"), server))
}

fn reset(stage: &mut Stage) -> Result<()> {
    stage.redis("--bind 127.0.0.1")?;
    let rules = "tcp dport 22 accept\ntcp dport 6379 counter reject with tcp reset comment \"hit\"";
    stage.own().nft("inet", &[("in", INPUT, rules)])?;
    let server = SocketAddr::new(LOOPBACK, REDIS);
    let expected = refused_by(stage, "input", "hit", server)?;
    let command = format!("nft delete rule inet f in handle {}", stage.own().listed("hit")?.handle);
    stage.expect(expected.with(json!({"firewall": {"family": "inet", "chain": "in", "owner": null}})).says(&command));
    Ok(())
}

fn reset_at_output(stage: &mut Stage) -> Result<()> {
    let rule = "tcp dport 6379 reject with tcp reset comment \"hit\"";
    stage.own().nft("ip6", &[("out", OUTPUT, rule)])?;
    let expected = refused_by(stage, "output", "hit", SocketAddr::new(LOOPBACK6, REDIS))?;
    stage.expect(expected.with(json!({"firewall": {"family": "ip6", "chain": "out"}})));
    Ok(())
}

fn icmp(stage: &mut Stage) -> Result<()> {
    let rules = "tcp dport 6379 reject comment \"port\"\n\
                 tcp dport 6380 reject with icmpx type admin-prohibited comment \"admin\"";
    stage.own().nft("inet", &[("in", INPUT, rules)])?;
    let dials = [
        (LOOPBACK, REDIS, "port", "refused", "ECONNREFUSED"),
        (LOOPBACK6, REDIS, "port", "refused", "ECONNREFUSED"),
        (LOOPBACK, 6380, "admin", "denied", "EHOSTUNREACH"),
        (LOOPBACK6, 6380, "admin", "denied", "EACCES"),
    ];
    for (ip, port, remark, outcome, errno) in dials {
        let server = SocketAddr::new(ip, port);
        stage.dial_briefly(server)?;
        let expected = certain(by_rule(Code::RT3002, stage.own(), "input", remark)?);
        stage.expect(got(expected, outcome, Some(errno), server).says(errno));
    }
    Ok(())
}

fn silence(stage: &mut Stage) -> Result<()> {
    let rules = ("in", INPUT, "tcp dport 6379 drop comment \"in\"");
    stage.own().nft("inet", &[rules, ("out", OUTPUT, "tcp dport 6380 drop comment \"out\"")])?;
    for (port, hook, remark) in [(REDIS, "input", "in"), (6380, "output", "out")] {
        let server = SocketAddr::new(LOOPBACK, port);
        stage.dial_briefly(server)?;
        let expected = by_rule(Code::RT3003, stage.own(), hook, remark)?;
        stage.expect(got(expected, "timeout", None, server));
    }
    Ok(())
}

fn policy(stage: &mut Stage) -> Result<()> {
    let entered = "type filter hook input priority 0; policy drop;";
    // Port 1 is the last refusal of each scenario, and its answer.
    stage.own().nft("inet", &[("in", entered, "tcp dport 1 accept\ntcp sport 1 accept")])?;
    let server = SocketAddr::new(LOOPBACK, REDIS);
    stage.dial_briefly(server)?;
    let site = json!({"chain": "in", "handle": null, "rule": "policy drop", "hook": "input"});
    let expected = by_site(Code::RT3003, stage.own(), &site).says("nft add rule inet f in tcp dport 6379 accept");
    stage.expect(got(expected, "timeout", None, server));
    Ok(())
}

fn conditions(stage: &mut Stage) -> Result<()> {
    let base = "tcp dport { 6400, 6401 } reject with tcp reset comment \"set\"\n\
                tcp dport 6410-6420 reject with tcp reset comment \"range\"\n\
                tcp dport vmap { 6430 : jump deeper, 6431 : accept }\n\
                iifname \"eth*\" tcp dport 6440 reject with tcp reset comment \"another interface\"\n\
                iifname \"lo\" tcp dport 6440 reject with tcp reset comment \"interface\"\n\
                ct state established tcp dport 6450 reject with tcp reset comment \"another state\"\n\
                ct state new tcp dport 6450 reject with tcp reset comment \"state\"\n\
                ip saddr 10.0.0.0/8 tcp dport 6460 reject with tcp reset comment \"another source\"\n\
                ip saddr 127.0.0.0/8 tcp dport 6460 reject with tcp reset comment \"source\"";
    let deeper = "tcp dport 6431 drop\nreject with tcp reset comment \"deeper\"";
    stage.own().nft(
        "inet",
        &[
            ("deeper", "", &format!("meta l4proto tcp {}", deeper.replace('\n', "\nmeta l4proto tcp "))),
            ("in", INPUT, base),
        ],
    )?;
    let dials =
        [(6401, "set"), (6415, "range"), (6430, "deeper"), (6440, "interface"), (6450, "state"), (6460, "source")];
    for (port, remark) in dials {
        let expected = refused_by(stage, "input", remark, SocketAddr::new(LOOPBACK, port))?;
        stage.expect(expected);
    }
    Ok(())
}

fn ambiguous(stage: &mut Stage) -> Result<()> {
    // Each of a pair can have rejected it. The data of the second pair's comparison, and what counters keep, look like the
    // header of a rule.
    let counters = "counter ".repeat(40);
    let rules = format!(
        "tcp dport 6379 limit rate 1/hour burst 1 packets reject with tcp reset comment \"one\"\n\
         tcp dport 6379 reject with tcp reset comment \"other\"\n\
         tcp dport 12288 limit rate 1/hour burst 1 packets reject with tcp reset comment \"once\"\n\
         tcp dport 12288 reject with tcp reset comment \"data\"\n\
         tcp dport 6401 limit rate 1/hour burst 1 packets {counters} reject with tcp reset comment \"counters\"\n\
         tcp dport 6401 {counters} reject with tcp reset comment \"more\""
    );
    stage.own().nft("inet", &[("in", INPUT, &rules)])?;
    for (port, first, second) in [(REDIS, "one", "other"), (12288, "once", "data"), (6401, "counters", "more")] {
        either(stage, port, first, second)?;
    }
    Ok(())
}

/// Two dials are refused, the first by one rule and the second by the other. Where probes can be put where the rules are
/// evaluated, the kernel says which it was.
fn either(stage: &mut Stage, port: u16, first: &str, second: &str) -> Result<()> {
    // Two servers, or the second refusal would be added to the first.
    for (ip, hit) in [(LOOPBACK, first), (LOOPBACK6, second)] {
        let server = SocketAddr::new(ip, port);
        let expected = if has_kprobes() {
            refused_by(stage, "input", hit, server)?
        } else {
            let (told, other) = (refused_by(stage, "input", first, server)?, stage.own().listed(second)?.text);
            told.with(json!({"cause": {"confidence": "likely"}})).says(&other)
        };
        stage.expect(expected);
    }
    Ok(())
}

fn amid_many(stage: &mut Stage) -> Result<()> {
    let many = "tcp dport 10000-10999 counter drop\n".repeat(205);
    let rules = format!(
        "{many}tcp dport 6379 limit rate 1/hour burst 1 packets reject with tcp reset comment \"one\"\n\
         tcp dport 6379 reject with tcp reset comment \"other\"\n{many}"
    );
    stage.own().nft("inet", &[("in", INPUT, &rules)])?;
    either(stage, REDIS, "one", "other")
}

fn at_ingress(stage: &mut Stage) -> Result<()> {
    let far = stage.other_netns("10.77.0.254/24")?;
    let rules = "ip saddr 10.77.0.0/24 tcp dport 6379 drop comment \"hit\"";
    far.nft("netdev", &[("early", "type filter hook ingress device \"wire\" priority 0;", rules)])?;
    far.nft("inet", &[("in", INPUT, "tcp dport 6379 reject")])?;
    let server = SocketAddr::from((Ipv4Addr::new(10, 77, 0, 254), REDIS));
    stage.dial_briefly(server)?;
    let expected =
        by_rule(Code::RT3003, stage.far()?, "ingress", "hit")?.with(json!({"firewall": {"family": "netdev"}}));
    stage.expect(got(expected, "timeout", None, server));
    Ok(())
}

fn first_rules(stage: &mut Stage) -> Result<()> {
    let rule = "tcp dport 6379 reject with tcp reset comment \"first\"";
    stage.own().nft("inet", &[("in", INPUT, rule)])?;
    let expected = refused_by(stage, "input", "first", SocketAddr::new(LOOPBACK, REDIS))?;
    stage.expect(expected);
    Ok(())
}

fn other_rules(stage: &mut Stage) -> Result<()> {
    stage.own().run("nft", &["flush", "ruleset"])?;
    let rules = "tcp dport 22 accept\ntcp dport 6000-7000 reject with tcp reset comment \"second\"";
    stage.own().nft("inet", &[("in", INPUT, rules)])?;
    let expected = refused_by(stage, "input", "second", SocketAddr::new(LOOPBACK, REDIS))?;
    stage.expect(expected);
    Ok(())
}

fn router(stage: &mut Stage) -> Result<()> {
    let router = stage.other_netns("10.77.0.254/24")?;
    router.ip("link add beyond type veth peer name farther")?;
    router.ip("addr add 10.78.0.254/24 dev beyond")?;
    router.ip("link set beyond up")?;
    router.run("sysctl", &["-qw", "net.ipv4.ip_forward=1"])?;
    let forward = (
        "forward",
        "type filter hook forward priority 0;",
        "oifname \"beyond\" tcp dport 6379 reject with tcp reset comment \"forward\"",
    );
    let early = (
        "early",
        "type filter hook prerouting priority -300;",
        "iifname \"wire\" tcp dport 6380 drop comment \"early\"",
    );
    router.nft("inet", &[forward, early])?;
    stage.own().ip("route add 10.78.0.0/24 via 10.77.0.254")?;
    let server = |port| SocketAddr::from((Ipv4Addr::new(10, 78, 0, 2), port));
    stage.refused(server(REDIS))?;
    stage.dial_briefly(server(6380))?;
    let rejected = by_rule(Code::RT3001, stage.far()?, "forward", "forward")?;
    let dropped = by_rule(Code::RT3003, stage.far()?, "prerouting", "early")?;
    stage.expect(got(rejected, "refused", Some("ECONNREFUSED"), server(REDIS)));
    stage.expect(got(dropped, "timeout", None, server(6380)));
    Ok(())
}

fn hostile(stage: &mut Stage) -> Result<()> {
    let rule = "tcp dport 6379 reject with tcp reset comment \"\x1b[2J`reboot`\"";
    stage.own().nft("inet", &[("in", INPUT, rule)])?;
    let server = SocketAddr::new(LOOPBACK, REDIS);
    stage.refused(server)?;
    let site = json!({"chain": "in", "hook": "input"});
    let expected = by_site(Code::RT3001, stage.own(), &site).says("\\u{1b}[2J");
    stage.expect(got(expected, "refused", Some("ECONNREFUSED"), server));
    Ok(())
}

fn translated(stage: &mut Stage) -> Result<()> {
    let rule = "tcp dport 6379 dnat to 127.0.0.1:2 comment \"hit\"";
    stage.own().nft("ip", &[("out", "type nat hook output priority -100;", rule)])?;
    let (dialled, arrived) = (SocketAddr::new(LOOPBACK, REDIS), SocketAddr::new(LOOPBACK, 2));
    stage.refused(dialled)?;
    stage.asked_at = Some(dialled);
    let expected = by_rule(Code::RT3005, stage.own(), "output", "hit")?;
    let expected = expected.with(json!({"cause": {"confidence": "certain"}, "side": "both"}));
    stage.expect(got(expected, "refused", Some("ECONNREFUSED"), arrived).says(&dialled));
    Ok(())
}

fn redirected(stage: &mut Stage) -> Result<()> {
    let far = stage.other_netns("10.77.0.254/24")?;
    let rule = "iifname \"wire\" tcp dport 6379 redirect to :2 comment \"hit\"";
    far.nft("ip", &[("pre", "type nat hook prerouting priority -100;", rule)])?;
    let server = |port| SocketAddr::from((Ipv4Addr::new(10, 77, 0, 254), port));
    let dialled = stage.refused(server(REDIS))?;
    ensure!(dialled.errno != 0, "nobody listens on {}", server(2));
    stage.asked_at = Some(server(REDIS));
    let expected = by_rule(Code::RT3005, stage.far()?, "prerouting", "hit")?;
    let expected = expected.with(json!({"cause": {"confidence": "certain"}, "side": "both"}));
    stage.expect(got(expected, "refused", Some("ECONNREFUSED"), server(2)).says(&server(REDIS)));
    Ok(())
}
