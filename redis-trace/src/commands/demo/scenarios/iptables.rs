//! A rule of iptables, of either kind, stands between the client and the server, and somebody wrote it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Result;
use serde_json::json;

use super::Scenario;
use crate::commands::demo::netns::Netns;
use crate::commands::demo::rules::{by_site, certain};
use crate::commands::demo::stage::{REDIS, Stage, endpoint};
use crate::trace::cause::Code;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new("today's iptables rejects", Code::RT3001, &[by_nf_tables]),
    Scenario::new("the legacy iptables rejects", Code::RT3002, &[by_legacy]),
    Scenario::new("ufw's chain drops", Code::RT3003, &[ufw]),
    Scenario::new("ufw denies by default what comes in", Code::RT3003, &[ufw_by_default]),
    Scenario::new("firewalld's zone rejects what it does not allow", Code::RT3002, &[firewalld]),
    Scenario::new("kube-proxy rejects for a service without endpoints", Code::RT3004, &[without_endpoints]),
];

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const LOOPBACK6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// Where a far server is.
const FAR: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 254);

/// The chains of a firewalld that has one zone and allows ssh, as its version 1.3 gives them to nftables.
const FIREWALLD: &str = "table inet firewalld {
chain filter_INPUT {
type filter hook input priority filter + 10; policy accept;
ct state { established, related } accept
ct status dnat accept
iifname \"lo\" accept
ct state invalid drop
jump filter_INPUT_ZONES
reject with icmpx admin-prohibited
}
chain filter_INPUT_ZONES {
goto filter_IN_public
}
chain filter_IN_public {
jump filter_IN_public_deny
jump filter_IN_public_allow
meta l4proto { icmp, ipv6-icmp } accept
reject with icmpx admin-prohibited
}
chain filter_IN_public_deny {
}
chain filter_IN_public_allow {
tcp dport 22 accept
}
}
";

/// What ufw has once it is enabled and allows ssh, as far as a SYN can meet it.
const UFW: [&str; 16] = [
    "-N ufw-before-input",
    "-N ufw-user-input",
    "-N ufw-not-local",
    "-N ufw-after-input",
    "-N ufw-skip-to-policy-input",
    "-A INPUT -j ufw-before-input",
    "-A INPUT -j ufw-after-input",
    "-A ufw-before-input -i lo -j ACCEPT",
    "-A ufw-before-input -j ufw-not-local",
    "-A ufw-before-input -j ufw-user-input",
    "-A ufw-not-local -d 224.0.0.0/4 -j RETURN",
    "-A ufw-user-input -p tcp --dport 22 -j ACCEPT",
    "-A ufw-after-input -p tcp --dport 139 -j ufw-skip-to-policy-input",
    "-A ufw-after-input -p tcp --dport 445 -j ufw-skip-to-policy-input",
    "-A ufw-skip-to-policy-input -j DROP",
    "-P INPUT DROP",
];

/// Adds a rule by one of the iptables programs; words are parted by blanks, a `+` stands for a blank within one.
fn rule(netns: &Netns, program: &str, rule: &str) -> Result<()> {
    let words: Vec<String> = rule.split(' ').map(|word| word.replace('+', " ")).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    netns.run(program, &words).map(drop)
}

fn by_nf_tables(stage: &mut Stage) -> Result<()> {
    both_kinds(stage, "nft", "iptables-nft")
}

fn by_legacy(stage: &mut Stage) -> Result<()> {
    both_kinds(stage, "legacy", "iptables-legacy")
}

/// A reset and an ICMP error, over both families.
fn both_kinds(stage: &mut Stage, kind: &str, backend: &str) -> Result<()> {
    let fixes = if kind == "legacy" { "-legacy" } else { "" };
    let families = [("iptables", LOOPBACK, "ip"), ("ip6tables", LOOPBACK6, "ip6")];
    // All of them before the first dial: rules that change while they are read are not told.
    for (program, ..) in families {
        let named = format!("{program}-{kind}");
        rule(stage.own(), &named, "-A INPUT -p tcp --dport 22 -j ACCEPT")?;
        rule(stage.own(), &named, "-A INPUT -p tcp --dport 6379 -j REJECT --reject-with tcp-reset")?;
        rule(stage.own(), &named, "-A INPUT -p tcp --dport 6380 -j REJECT")?;
    }
    for (program, ip, family) in families {
        stage.refused(SocketAddr::new(ip, REDIS))?;
        stage.dial_briefly(SocketAddr::new(ip, 6380))?;
        for (code, port, number) in [(Code::RT3001, REDIS, 2), (Code::RT3002, 6380, 3)] {
            let site = json!({"backend": backend, "family": family, "table": "filter", "chain": "INPUT",
                "number": number, "hook": "input", "owner": null});
            let expected = by_site(code, stage.own(), &site)
                .with(json!({"outcome": "refused", "errno": "ECONNREFUSED"}))
                .with(json!({"flow": {"server": endpoint(SocketAddr::new(ip, port))}}))
                .says(&format!("--dport {port}"))
                .says(&format!("{program}{fixes} -t filter -D INPUT {number}"));
            let likely = json!({"cause": {"confidence": "likely"}});
            stage.expect(if kind == "legacy" { expected.with(likely) } else { certain(expected) });
        }
    }
    Ok(())
}

fn ufw(stage: &mut Stage) -> Result<()> {
    rule(stage.own(), "iptables-nft", "-N ufw-user-input")?;
    rule(stage.own(), "iptables-nft", "-A ufw-user-input -p tcp --dport 6379 -j DROP")?;
    rule(stage.own(), "iptables-nft", "-A INPUT -j ufw-user-input")?;
    let server = SocketAddr::new(LOOPBACK, REDIS);
    stage.dial_briefly(server)?;
    let site = json!({"chain": "ufw-user-input", "owner": "ufw", "number": 1});
    let expected = by_site(Code::RT3003, stage.own(), &site).says("ufw allow 6379/tcp");
    stage.expect(expected.with(json!({"outcome": "timeout", "flow": {"server": endpoint(server)}})));
    Ok(())
}

fn ufw_by_default(stage: &mut Stage) -> Result<()> {
    let far = stage.other_netns(&format!("{FAR}/24"))?;
    UFW.iter().try_for_each(|words| rule(far, "iptables-nft", words))?;
    let server = SocketAddr::from((FAR, REDIS));
    stage.dial_briefly(server)?;
    let site = json!({"chain": "INPUT", "owner": "ufw", "rule": "-P INPUT DROP", "hook": "input"});
    let expected = by_site(Code::RT3003, stage.far()?, &site).says("ufw allow 6379/tcp");
    stage.expect(expected.with(json!({"outcome": "timeout", "flow": {"server": endpoint(server)}})));
    Ok(())
}

fn firewalld(stage: &mut Stage) -> Result<()> {
    let far = stage.other_netns(&format!("{FAR}/24"))?;
    far.run("nft", &[FIREWALLD])?;
    let server = SocketAddr::from((FAR, REDIS));
    stage.dial_briefly(server)?;
    let site = json!({"table": "firewalld", "chain": "filter_IN_public", "owner": "firewalld", "hook": "input",
        "rule": "reject with icmpx admin-prohibited"});
    let expected = by_site(Code::RT3002, stage.far()?, &site).says("firewall-cmd --add-port=6379/tcp");
    let denied = json!({"outcome": "denied", "errno": "EHOSTUNREACH", "flow": {"server": endpoint(server)}});
    stage.expect(expected.with(denied));
    Ok(())
}

fn without_endpoints(stage: &mut Stage) -> Result<()> {
    stage.redis("--bind 127.0.0.1")?;
    rule(stage.own(), "iptables-nft", "-N KUBE-EXTERNAL-SERVICES")?;
    rule(
        stage.own(),
        "iptables-nft",
        "-A KUBE-EXTERNAL-SERVICES -p tcp -m comment --comment default/redis:redis+has+no+endpoints --dport 6379 -j REJECT",
    )?;
    rule(stage.own(), "iptables-nft", "-A INPUT -j KUBE-EXTERNAL-SERVICES")?;
    let server = SocketAddr::new(LOOPBACK, REDIS);
    stage.dial_briefly(server)?;
    let service = json!({"namespace": "default", "name": "redis", "port": "redis"});
    let site = json!({"chain": "KUBE-EXTERNAL-SERVICES", "owner": "kube-proxy", "service": service});
    let expected =
        by_site(Code::RT3004, stage.own(), &site).says("default/redis").says("kubectl -n default get endpoints redis");
    stage.expect(expected.with(json!({"outcome": "refused", "flow": {"server": endpoint(server)}})));
    Ok(())
}
