//! Who may do more than is wanted.

use super::access::{Answer, Row};
use super::effective::{Effective, Kind};
use super::finding::Finding;
use super::refusal::others;
use super::rule::Rule;
use super::user::{Commands, User};
use crate::redis::config::Directive;
use crate::trace::text::Text;

/// Who may do more than is wanted.
pub(super) fn findings(effective: &Effective<'_>, rows: &[Row]) -> Vec<Finding> {
    let mut found = passwords(effective);
    if effective.kind == Kind::Acl {
        found.extend(without_password(effective));
        return found;
    }
    found.extend(doors(effective, rows));
    if others(rows).any(|answer| answer != Answer::NotListening) {
        found.extend(without_password(effective).filter(|_| !effective.has("aclfile")));
    }
    found.extend(commands(effective));
    found.extend(socket(effective));
    found.extend(old_tls(effective));
    found
}

/// What clients elsewhere may do.
fn doors(effective: &Effective<'_>, rows: &[Row]) -> Vec<Finding> {
    let mut found = Vec::new();
    let is_open = others(rows).any(|answer| matches!(answer, Answer::Open | Answer::Limited));
    let is_asked = others(rows).any(|answer| answer == Answer::Password);
    let is_off = effective.at("protected-mode").is_some() && !effective.is_protected();
    let is_by_bind = effective.has_bind() && (effective.server.bind_ends_protection() || !is_off);
    let name = if is_by_bind { "bind" } else { "protected-mode" };
    if is_open && effective.kind == Kind::Sentinel {
        let said = "whoever reaches this sentinel can name another master: a sentinel has no protected mode";
        found.push(
            Finding::new(Rule::RA310, said)
                .at_last(effective, "port", None)
                .fix("give it a password (6.2 and later)", Some("requirepass …")),
        );
    } else if is_open {
        let said = format!("whoever dials {} gets in without a password", effective.doors().join(" or "));
        let finding = Finding::new(Rule::RA301, said)
            .at_last(effective, name, None)
            .fix(
                "set a password for the default user",
                Some("redis-cli CONFIG SET requirepass …; redis-cli CONFIG REWRITE"),
            )
            .risk("clients without the password are refused then");
        let closes = is_off && !effective.server.bind_ends_protection();
        found.push(if closes {
            finding
                .fix("or turn protected mode on until there is one", Some("protected-mode yes"))
                .risk("clients from elsewhere are turned away (RT6001)")
                .instead(&["protected-mode yes"])
        } else {
            finding
        });
    } else if is_off && is_asked && effective.kind == Kind::Data {
        let said =
            "protected mode is off: without the password there would be nothing between the network and the data";
        found.push(
            Finding::new(Rule::RA306, said).at_last(effective, "protected-mode", None).instead(&["protected-mode yes"]),
        );
    }
    if is_asked && effective.settings.port != 0 {
        let said = "passwords and data cross the network unencrypted";
        let finding = Finding::new(Rule::RA302, said).at_last(
            effective,
            if effective.has_bind() { "bind" } else { "port" },
            None,
        );
        found.push(finding.fix("speak TLS there, or keep the network private", Some("tls-port, and port 0")));
    }
    found
}

/// Passwords that are guessed soon.
fn passwords(effective: &Effective<'_>) -> Vec<Finding> {
    let said = "the password is short or well known, and a server takes very many guesses a second";
    let finding = |directive: Option<&Directive>| {
        let finding = Finding::new(Rule::RA303, said).at(directive, None);
        finding.fix("take a long random one", Some("openssl rand -hex 32"))
    };
    let mut found = Vec::new();
    let password = effective.bytes("requirepass").filter(|password| !password.is_empty());
    if password.is_some_and(super::user::is_weak) && effective.kind != Kind::Acl {
        found.push(finding(effective.at("requirepass").and_then(|at| effective.directives.get(at))));
    }
    if effective.kind == Kind::Acl || !effective.has("aclfile") {
        let weak = effective.users.users.values().filter(|(user, _)| user.weak && user.on);
        found.extend(weak.map(|(_, at)| finding(effective.directives.get(*at))));
    }
    found
}

/// Users, the default one left aside, as whom everybody may log in.
fn without_password<'a>(effective: &'a Effective<'_>) -> impl Iterator<Item = Finding> + 'a {
    let is_open = |user: &User| user.on && user.nopass && user.commands != Commands::None;
    let open = effective.users.users.iter().filter(move |(name, (user, _))| *name != "default" && is_open(user));
    open.map(|(name, (_, at))| {
        let said = format!("everybody may log in as {}, with any password", Text::from(name.as_str()));
        Finding::new(Rule::RA304, said).at(effective.directives.get(*at), None)
    })
}

/// Commands that run code or change files.
fn commands(effective: &Effective<'_>) -> Vec<Finding> {
    let names = ["enable-debug-command", "enable-module-command", "enable-protected-configs"];
    let on = names.into_iter().filter(|name| effective.is_on(name, false));
    on.map(|name| {
        let said = format!("{name} is yes for clients from everywhere");
        let finding = Finding::new(Rule::RA305, said).at_last(effective, name, Some(1));
        finding
            .fix("allow it to clients of this host at most", Some(&format!("{name} local")))
            .instead(&[&format!("{name} local")])
    })
    .collect()
}

/// A unix socket that all users of the host may use.
fn socket(effective: &Effective<'_>) -> Option<Finding> {
    let mode = effective.text("unixsocketperm").and_then(|text| u32::from_str_radix(&text, 8).ok());
    let is_open = effective.default.as_ref().is_some_and(|user| user.nopass && user.on);
    if !effective.has("unixsocket") || !is_open || mode.is_none_or(|mode| mode & 0o002 == 0) {
        return None;
    }
    let said = "every user of this host may use the unix socket, without a password";
    let finding = Finding::new(Rule::RA307, said).at_last(effective, "unixsocketperm", Some(1));
    Some(
        finding
            .fix("let the group in alone", Some("unixsocketperm 770"))
            .risk("clients must be of the server's group")
            .instead(&["unixsocketperm 770"]),
    )
}

/// Versions of TLS that are broken.
fn old_tls(effective: &Effective<'_>) -> Option<Finding> {
    let at = effective.directives.get(effective.at("tls-protocols")?)?;
    let listed = at
        .values()
        .iter()
        .map(|value| String::from_utf8_lossy(value).to_ascii_lowercase())
        .collect::<Vec<_>>()
        .join(" ");
    let is_old = listed.split_ascii_whitespace().any(|version| matches!(version, "tlsv1" | "tlsv1.0" | "tlsv1.1"));
    let finding = || Finding::new(Rule::RA309, "TLS 1.0 and 1.1 are allowed: both are broken").at(Some(at), None);
    is_old.then(|| finding().instead(&["tls-protocols \"TLSv1.2 TLSv1.3\""]))
}
