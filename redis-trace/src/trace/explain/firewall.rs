//! What is told of a firewall: the rule, what it did, whose it is, and what would let the connection through.

use crate::firewall::{Backend, Candidate, Effect, Family, Hook, Owner, Site};
use crate::trace::errno;
use crate::trace::flow::{Endpoint, Flow, Netns};
use crate::trace::known::Known;
use crate::trace::refusal::{Attempt, Refusal};
use crate::trace::report::{Evidence, Fix};
use crate::trace::verdict::Filtered;

use super::words::plain;

/// The why, in one sentence.
pub(super) fn summary(target: &str, filtered: &Filtered) -> String {
    let Filtered { by, others, changed, answer } = filtered;
    let site = &by.site;
    let did = match &site.service {
        Some(service) => {
            let port = service.port.as_ref().map_or_else(String::new, |port| format!(":{port}"));
            format!("the service {}/{}{port} has no endpoints: ", service.namespace, service.name)
        }
        None if site.backend == Backend::Ipvs => {
            "the virtual service has no server that takes new connections: ".to_owned()
        }
        None => String::new(),
    };
    let others = match others.len() {
        0 => String::new(),
        1 => "; 1 other rule can have done it too".to_owned(),
        many => format!("; {many} other rules can have done it too"),
    };
    let changed = if *changed { "; the rules have changed since" } else { "" };
    let what = if *answer { "dropped the answer (SYN and ACK) of" } else { verb(by.effect) };
    format!("{did}{} {what} {target} at {}{others}{changed}", rule(site), site.hook.name())
}

/// The why of a connection that was translated.
pub(super) fn led(dialled: Endpoint, arrived: Endpoint, by: Option<&Candidate>) -> String {
    let by = by.map_or_else(|| "address translation".to_owned(), |by| rule(&by.site));
    format!("{by} led the connection from {dialled} to {arrived}, where nothing listens")
}

/// The rule that translated it.
pub(super) fn translator(by: &Candidate) -> Evidence {
    Evidence { source: "ruleset".to_owned(), text: rule(&by.site) }
}

/// `nftables rule "tcp dport 6379 drop" (inet f i handle 3)`, with its owner.
pub(crate) fn rule(site: &Site) -> String {
    let owner = site.owner.map_or_else(String::new, |owner| format!("{}'s ", of_owner(owner)));
    let kind = match (site.number, site.backend) {
        (_, Backend::Ipvs) => "IPVS service",
        (None, Backend::Nftables) => "nftables",
        (None, Backend::IptablesNft | Backend::IptablesLegacy) => "iptables",
        (Some(_), Backend::Nftables) => "nftables rule",
        (Some(_), Backend::IptablesNft | Backend::IptablesLegacy) => "iptables rule",
    };
    format!("{owner}{kind} `{}` ({})", site.rule, place(site))
}

/// `inet filter input handle 7`.
fn place(site: &Site) -> String {
    let place = format!("{} {} {}", site.family.name(), site.table, site.chain);
    match (site.handle, site.number) {
        (Some(handle), _) => format!("{place} handle {handle}"),
        (None, Some(number)) => format!("{place} rule {number}"),
        (None, None) => place,
    }
}

fn verb(effect: Effect) -> &'static str {
    match effect {
        Effect::Reset => "answered the connection to",
        Effect::Icmp(_) => "rejected the connection to",
        Effect::Drop | Effect::Elsewhere => "dropped the connection to",
        Effect::Translate { .. } => "redirected the connection to",
    }
}

fn of_owner(owner: Owner) -> &'static str {
    match owner {
        Owner::Ufw => "ufw",
        Owner::Firewalld => "firewalld",
        Owner::Docker => "Docker",
        Owner::KubeProxy => "kube-proxy",
        Owner::Calico => "Calico",
    }
}

/// The errno that a client gets which is refused in this way; absent when it gets none before its patience ends.
pub(super) fn errno(effect: Effect, ipv6: bool) -> Option<u32> {
    match effect {
        Effect::Reset => Some(errno::ECONNREFUSED),
        Effect::Icmp(code) => code.map(|code| errno::of_icmp(code, ipv6)),
        Effect::Drop | Effect::Elsewhere | Effect::Translate { .. } => None,
    }
}

/// The rules that can have done it.
pub(super) fn evidence(filtered: &Filtered, ipv6: bool) -> Vec<Evidence> {
    let told = |candidate: &Candidate, whose: &str| Evidence {
        source: "ruleset".to_owned(),
        text: format!("{whose}{}", rule(&candidate.site)),
    };
    let mut evidence = vec![told(&filtered.by, "")];
    if let Effect::Icmp(Some(code)) = filtered.by.effect
        && !filtered.answer
    {
        let name = errno::name(errno::of_icmp(code, ipv6));
        let text = format!("ICMP unreachable code {code}, which a client gets as {name}");
        evidence.push(Evidence { source: "icmp".to_owned(), text });
    }
    // A hundred rules that may have done it tell a reader no more than a few.
    evidence.extend(filtered.others.iter().take(4).map(|other| told(other, "or ")));
    evidence
}

/// What would let the connection through.
pub(super) fn fix(filtered: &Filtered, refusal: &Refusal, known: &Known) -> Vec<Fix> {
    let Attempt::Connect(connect) = &refusal.attempt else { return Vec::new() };
    let Some(Flow { netns, server, .. }) = connect.flow().copied() else { return Vec::new() };
    let site = &filtered.by.site;
    let fix = |text: &str, command: Option<String>, risk: Option<&str>| Fix {
        text: text.to_owned(),
        command: command.and_then(|command| within(netns, known, &command)),
        file: None,
        line: None,
        risk: risk.map(ToOwned::to_owned),
    };
    let opens = Some("opens the port to everybody whom this rule kept out: narrow it to your clients");
    let port = server.port;
    if filtered.answer {
        let text = "accept what belongs to a connection that was let through, before this rule";
        return vec![fix(text, let_answers_pass(site), None)];
    }
    if let Some(service) = &site.service {
        let names = plain(&service.namespace).zip(plain(&service.name));
        let command = names.map(|(namespace, name)| format!("kubectl -n {namespace} get endpoints {name}"));
        return vec![fix("let the service have a pod that is ready: its selector, its pods", command, None)];
    }
    vec![match site.owner {
        Some(Owner::Ufw) => fix("allow the port in ufw", Some(format!("ufw allow {port}/tcp")), opens),
        Some(Owner::Firewalld) => {
            fix("allow the port in firewalld", Some(format!("firewall-cmd --add-port={port}/tcp")), opens)
        }
        // The one chain of Docker's that is left to others.
        Some(Owner::Docker) if site.chain.as_str() == "DOCKER-USER" => {
            fix("take the rule out, or accept the connection before it", undo(site, port), opens)
        }
        Some(Owner::Docker) => {
            let command = "docker ps --format '{{.Names}} {{.Networks}} {{.Ports}}'".to_owned();
            fix(
                "publish the container's port (docker run -p), or join its network: these are there",
                Some(command),
                None,
            )
        }
        Some(Owner::KubeProxy) => {
            fix("look whether the service has endpoints", Some("kubectl get endpoints -A".to_owned()), None)
        }
        Some(Owner::Calico) => {
            let command = "kubectl get networkpolicies -A".to_owned();
            fix("allow it in the network policy that selects the pod", Some(command), opens)
        }
        None if site.backend == Backend::Ipvs => {
            let command = "ipvsadm --list --numeric".to_owned();
            fix("give the virtual service a server, or one of its servers a weight above 0", Some(command), None)
        }
        None => fix("take the rule out, or accept the connection before it", undo(site, port), opens),
    }]
}

/// The command that lets pass what belongs to a connection. None where conntrack comes too late to know of one, and where a
/// name in it is not plain.
fn let_answers_pass(site: &Site) -> Option<String> {
    let (table, chain) = plain(&site.table).zip(plain(&site.chain))?;
    let knows_connections = matches!(site.hook, Hook::Input | Hook::Forward | Hook::Output | Hook::Postrouting);
    match site.backend {
        Backend::Nftables if knows_connections => {
            Some(format!("nft insert rule {} {table} {chain} ct state established,related accept", site.family.name()))
        }
        Backend::IptablesNft | Backend::IptablesLegacy if knows_connections => {
            let iptables = iptables(site);
            Some(format!("{iptables} -t {table} -I {chain} -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT"))
        }
        _ => None,
    }
}

/// The program of a table of iptables.
fn iptables(site: &Site) -> &'static str {
    match (site.family, site.backend) {
        (Family::Ip6, Backend::IptablesLegacy) => "ip6tables-legacy",
        (_, Backend::IptablesLegacy) => "iptables-legacy",
        (Family::Ip6, _) => "ip6tables",
        (_, _) => "iptables",
    }
}

/// What would make a translated connection arrive.
pub(super) fn serve(arrived: Endpoint) -> Fix {
    let text = format!("start the server that belongs on {arrived}, or correct the rule that leads there");
    Fix { text, command: None, file: None, line: None, risk: None }
}

/// The command that takes a rule out, or accepts the port where a policy drops it. None where a name in it is not plain.
fn undo(site: &Site, port: u16) -> Option<String> {
    let (table, chain) = plain(&site.table).zip(plain(&site.chain))?;
    let (family, iptables) = (site.family.name(), iptables(site));
    Some(match (site.backend, site.handle, site.number) {
        (Backend::Nftables, Some(handle), _) => format!("nft delete rule {family} {table} {chain} handle {handle}"),
        (Backend::Nftables, None, _) => format!("nft add rule {family} {table} {chain} tcp dport {port} accept"),
        (Backend::Ipvs, ..) => return None,
        (_, _, Some(number)) => format!("{iptables} -t {table} -D {chain} {number}"),
        (_, _, None) => format!("{iptables} -t {table} -A {chain} -p tcp --dport {port} -j ACCEPT"),
    })
}

/// A command as it is to be given here for the namespace it is meant for; none when there is no way there.
pub(super) fn within(netns: Netns, known: &Known, command: &str) -> Option<String> {
    // These ask somebody who is the same in every namespace.
    let is_everywhere = ["kubectl", "docker", "bpftool prog"].iter().any(|asked| command.starts_with(asked));
    if netns == known.sight.netns || is_everywhere {
        return Some(command.to_owned());
    }
    let namespace = known.namespace(netns)?;
    match (&namespace.name, namespace.pid) {
        (Some(name), _) => plain(name).map(|name| format!("ip netns exec {name} {command}")),
        (None, Some(pid)) => Some(format!("nsenter --net=/proc/{pid}/ns/net {command}")),
        (None, None) => None,
    }
}
