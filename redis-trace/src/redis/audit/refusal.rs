//! Who will be refused, and why.

use std::net::IpAddr;

use super::access::{Answer, Row};
use super::effective::{Effective, Kind};
use super::finding::Finding;
use super::rule::Rule;
use super::server::{Product, Server};
use crate::trace::text::Text;

/// So few clients are one pool.
const FEW_CLIENTS: i64 = 100;
/// Seconds after which pools of most clients look at idle connections at the earliest.
const SHORT_TIMEOUT: i64 = 60;
/// Commands that health checks and this program give.
const CHECKS: &[&str] = &["ping", "info", "config", "auth", "hello", "client", "command"];

/// A server of before 7.0.
const BEFORE_7: Server = Server { product: Product::Redis, version: (6, 2) };

/// Who will be refused, and why.
pub(super) fn findings(effective: &Effective<'_>, rows: &[Row]) -> Vec<Finding> {
    if effective.kind == Kind::Acl {
        return default_user(effective);
    }
    let mut found = protection(effective, rows);
    found.extend(places(effective, rows));
    found.extend(default_user(effective));
    found.extend(limits(effective));
    found.extend(renamed(effective));
    found.extend(announced(effective));
    found
}

/// What a client elsewhere is answered.
pub(super) fn others(rows: &[Row]) -> impl Iterator<Item = Answer> {
    rows.iter().filter(|row| row.client.starts_with("another host")).map(|row| row.answer)
}

/// Whom protected mode turns away.
fn protection(effective: &Effective<'_>, rows: &[Row]) -> Vec<Finding> {
    let mut found = Vec::new();
    let is_denied = others(rows).any(|answer| answer == Answer::Denied);
    let name = if effective.has_bind() { "bind" } else { "protected-mode" };
    if is_denied {
        let doors = effective.doors().join(" or ");
        let said =
            format!("protected mode turns away every client from elsewhere that dials {doors}: no password is set");
        let mut finding = Finding::new(Rule::RA201, said)
            .at_last(effective, name, None)
            .note("they are accepted first, told -DENIED and closed; many clients lose the text and report a reset")
            .fix(
                "set a password for the default user",
                Some("redis-cli CONFIG SET requirepass …; redis-cli CONFIG REWRITE"),
            )
            .risk("clients without the password are refused then");
        if effective.server.as_redis() >= (7, 0) && effective.has_bind() {
            finding = finding.note("since 7.0 bind does not end protected mode");
        }
        found.push(finding);
    }
    let before = super::access::rows(&effective.for_server(BEFORE_7));
    if is_denied && others(&before).any(|answer| matches!(answer, Answer::Open | Answer::Limited)) {
        let said =
            "Redis 6.2 and before, and KeyDB, would let clients from elsewhere in: there, bind ends protected mode";
        found.push(Finding::new(Rule::RA220, said).at_last(effective, name, None));
    }
    found
}

/// Where it listens and where not.
fn places(effective: &Effective<'_>, rows: &[Row]) -> Vec<Finding> {
    let mut found = Vec::new();
    let (port, tls) = (effective.settings.port, effective.settings.tls_port);
    if port == 0 && tls == 0 && effective.has("unixsocket") {
        let path = Text::new(effective.bytes("unixsocket").unwrap_or_default());
        let said = format!("TCP is off: this server is reached by {path} alone");
        found.push(Finding::new(Rule::RA203, said).at_last(effective, "port", None));
    } else if port == 0 && tls != 0 {
        let said = format!("only TLS is spoken, on port {tls}: clients without are cut off without a word");
        found.push(
            Finding::new(Rule::RA204, said)
                .at_last(effective, "tls-port", None)
                .fix("let clients dial with TLS", Some("rediss:// in a URL, redis-cli --tls")),
        );
    } else if others(rows).all(|answer| answer == Answer::NotListening)
        && rows.iter().any(|row| row.answer != Answer::NotListening)
        && effective.has_bind()
    {
        let said = "only this host reaches the server: it listens on loopback alone";
        found.push(Finding::new(Rule::RA202, said).at_last(effective, "bind", None));
    }
    for name in ["port", "tls-port"] {
        if effective.number(name).is_some_and(|port| (1..1024).contains(&port)) {
            let said = "a port below 1024 needs CAP_NET_BIND_SERVICE: units take it away most often";
            found.push(Finding::new(Rule::RA210, said).at_last(effective, name, Some(1)));
        }
    }
    let bound = effective.settings.bind.iter().filter(|_| effective.has_bind());
    for (nth, address) in bound.enumerate() {
        let is_fixed = address.parse::<IpAddr>().is_ok_and(|ip| !ip.is_loopback() && !ip.is_unspecified());
        if is_fixed {
            let said =
                format!("the server ends when no interface has {address} yet: at boot, before the network is up");
            let finding = Finding::new(Rule::RA209, said).at_last(effective, "bind", Some(nth + 1));
            found.push(finding.fix(
                "wait for the network, or let it be missing",
                Some(&format!("After=network-online.target in the unit, or bind -{address}")),
            ));
        }
    }
    if tls != 0
        && !effective
            .text("tls-auth-clients")
            .is_some_and(|word| ["no", "optional"].contains(&word.to_ascii_lowercase().as_str()))
    {
        let said =
            "TLS clients must bring a certificate that the server's CA has signed: tls-auth-clients is yes by default";
        let place = if effective.at("tls-auth-clients").is_some() { "tls-auth-clients" } else { "tls-port" };
        found.push(Finding::new(Rule::RA213, said).at_last(effective, place, None));
    }
    found
}

/// Whom the users' rules turn away.
fn default_user(effective: &Effective<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let Some(default) = &effective.default else { return found };
    let is_inert = effective.kind != Kind::Acl && effective.has("requirepass") && default.nopass;
    if is_inert {
        let by = if effective.has("aclfile") { "the ACL file" } else { "the line `user default`" };
        let said = format!("requirepass has no effect: {by} decides, and lets the default user in without a password");
        let finding = Finding::new(Rule::RA207, said).at_last(effective, "requirepass", None);
        found.push(
            finding
                .note("CONFIG GET requirepass shows the password all the same")
                .fix("set the password there", Some("user default on >… ~* &* +@all")),
        );
    }
    let named = effective.users.users.get("default").map(|(_, at)| *at);
    let at = named.and_then(|at| effective.directives.get(at)).filter(|_| !effective.has("aclfile"));
    let can_others = effective.users.users.iter().any(|(name, (user, _))| name != "default" && user.can_log_in());
    if !default.can_log_in() && !can_others {
        let said = "nobody gets in: no user is on that has a password or does without";
        found.push(Finding::new(Rule::RA208, said).at(at, None));
    } else if !default.on {
        let said = "the default user is off: clients must name a user, and AUTH with a password alone fails";
        found.push(Finding::new(Rule::RA217, said).at(at, None));
    }
    found
}

/// Numbers that are too small.
fn limits(effective: &Effective<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(most) = effective.number("maxclients").filter(|most| (1..FEW_CLIENTS).contains(most)) {
        let said = format!("after {most} clients everybody is told -ERR max number of clients reached");
        found.push(Finding::new(Rule::RA205, said).at_last(effective, "maxclients", Some(1)));
    }
    if let Some(seconds) = effective.number("timeout").filter(|seconds| (1..SHORT_TIMEOUT).contains(seconds)) {
        let said = format!("clients that say nothing for {seconds} s are closed: pools find their connections dead");
        let finding = Finding::new(Rule::RA212, said).at_last(effective, "timeout", Some(1));
        found.push(
            finding
                .fix("let pools drop idle connections sooner, or close none", Some("timeout 0"))
                .instead(&["timeout 0"]),
        );
    }
    found
}

/// Commands that checks need and that have another name or none.
fn renamed(effective: &Effective<'_>) -> Vec<Finding> {
    let renamed = effective.directives.iter().filter(|directive| directive.name() == b"rename-command");
    let checks = renamed.filter_map(|directive| {
        let [command, new] = directive.values() else { return None };
        let command = String::from_utf8_lossy(command).to_ascii_lowercase();
        if !CHECKS.contains(&command.as_str()) {
            return None;
        }
        let fate = if new.is_empty() { "taken away" } else { "renamed" };
        let said =
            format!("{} is {fate}: health checks and clients that give it are refused", command.to_ascii_uppercase());
        let finding = Finding::new(Rule::RA211, said).at(Some(directive), Some(1));
        Some(
            finding.fix("restrict users by ACL rules instead of renaming", Some("user app on >… ~* +@all -@dangerous")),
        )
    });
    checks.collect()
}

/// Addresses to which clients are sent.
fn announced(effective: &Effective<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for name in ["cluster-announce-ip", "replica-announce-ip"] {
        let Some(address) = effective.text(name).and_then(|text| text.parse::<IpAddr>().ok()) else { continue };
        if address.is_loopback() || address.is_unspecified() {
            let said = format!("clients are sent to {address}: for each of them that is its own host");
            found.push(Finding::new(Rule::RA214, said).at_last(effective, name, Some(1)));
        }
    }
    for directive in effective.directives.iter().filter(|directive| directive.name() == b"sentinel") {
        let [verb, _, address, ..] = directive.values() else { continue };
        let is_loopback = std::str::from_utf8(address)
            .is_ok_and(|text| text == "localhost" || text.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()));
        if verb.eq_ignore_ascii_case(b"monitor") && is_loopback {
            let said = "clients ask the sentinel for the master and are sent to their own host: the master is watched by a loopback address";
            found.push(Finding::new(Rule::RA214, said).at(Some(directive), Some(3)));
        }
    }
    found
}
