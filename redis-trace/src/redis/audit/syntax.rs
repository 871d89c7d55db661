//! What keeps a server from starting, or is read otherwise than it looks.

use std::collections::HashMap;

use super::effective::{Effective, Kind, today};
use super::finding::Finding;
use super::rule::Rule;
use crate::redis::config::Directive;
use crate::redis::directives;
use crate::trace::text::Text;

/// Directives that may stand more than once, and all count.
const REPEATED: &[&str] = &[
    "save",
    "include",
    "loadmodule",
    "user",
    "rename-command",
    "client-output-buffer-limit",
    "sentinel",
    "latency-tracking-info-percentiles",
    "notify-keyspace-events",
];

/// Bytes that a unix socket's path may have.
const SOCKET_PATH: usize = 107;

/// What is wrong with each line, and with lines that do not go together.
pub(super) fn findings(effective: &Effective<'_>) -> Vec<Finding> {
    let mut guesses = 0;
    let of_lines = effective.directives.iter().filter_map(|directive| of_line(directive, effective, &mut guesses));
    let mut all: Vec<Finding> = of_lines.collect();
    all.extend(effective.directives.iter().filter_map(|directive| of_name(directive, effective)));
    all.extend(overruled(effective));
    all.extend(users(effective));
    all.extend(sockets(effective));
    all
}

/// What no server, or not this one, accepts.
fn of_line(directive: &Directive, effective: &Effective<'_>, guesses: &mut usize) -> Option<Finding> {
    if effective.kind == Kind::Acl && directive.name() != b"user" {
        let said = "a line of an ACL file begins with `user`: there are no comments and nothing else";
        return Some(Finding::new(Rule::RA109, said).at(Some(directive), Some(0)));
    }
    if directive.words.is_none() {
        let said = "quotes are not closed, or close in the middle of a word";
        return Some(Finding::new(Rule::RA103, said).at(Some(directive), None));
    }
    let name = Text::new(directive.name());
    let Some(fault) = directives::fault(directive.words.as_deref()) else {
        return of_mode(directive, effective).or_else(|| of_version(directive, effective));
    };
    if !directives::is_known(name.as_str()) {
        *guesses += 1;
        return Some(unknown(directive, name.as_str(), *guesses <= super::MOST));
    }
    let finding = Finding::new(Rule::RA102, format!("{name}: {fault}"));
    Some(match directive.values().iter().position(|value| value.starts_with(b"#")) {
        Some(comment) => commented(finding, directive, comment),
        None => finding.at(Some(directive), (directive.values().len() == 1).then_some(1)),
    })
}

/// A directive that nobody knows; what was meant is looked for where it will be shown.
fn unknown(directive: &Directive, name: &str, is_guessed: bool) -> Finding {
    let said = format!("no server knows the directive {name}");
    let finding = Finding::new(Rule::RA101, said).at(Some(directive), Some(0));
    let Some(meant) = is_guessed.then(|| directives::nearest(name)).flatten() else { return finding };
    let line = directive.place.as_ref().map_or("", |place| place.text.as_str());
    let rest = directive.spans.first().and_then(|span| line.get(span.end..)).unwrap_or_default();
    finding.fix(format!("did you mean {meant}?"), None).instead(&[&format!("{meant}{rest}")])
}

/// What looks like a comment behind a directive is its value.
fn commented(finding: Finding, directive: &Directive, comment: usize) -> Finding {
    let finding = finding
        .at(Some(directive), Some(comment + 1))
        .note("a comment stands on a line of its own: behind a directive, # is a value");
    let line = directive.place.as_ref().map_or("", |place| place.text.as_str());
    let Some(at) = directive.spans.get(comment + 1).map(|span| span.start) else { return finding };
    match (line.get(..at), line.get(at..)) {
        (Some(kept), Some(moved)) if at > 0 => {
            let (kept, moved) = (kept.trim_end().to_owned(), moved.to_owned());
            finding.fix("put the comment on a line of its own", None).instead(&[&moved, &kept])
        }
        _ => finding,
    }
}

/// A directive of the other mode.
fn of_mode(directive: &Directive, effective: &Effective<'_>) -> Option<Finding> {
    if directive.name() != b"sentinel" || effective.kind == Kind::Sentinel {
        return None;
    }
    let said = "a sentinel's directive, and this is no sentinel's configuration";
    let finding = Finding::new(Rule::RA114, said).at(Some(directive), Some(0));
    Some(finding.fix("start it as a sentinel", Some("redis-sentinel FILE")))
}

/// A directive of another version.
fn of_version(directive: &Directive, effective: &Effective<'_>) -> Option<Finding> {
    let name = Text::new(directive.name());
    let why = directives::is_of_another_version(name.as_str(), effective.server.as_redis())?;
    let said = format!("{} does not know {name}: {why}", effective.server);
    let finding = Finding::new(Rule::RA107, said).at(Some(directive), Some(0));
    Some(finding.fix("take the line out, or run a server that knows it", None).instead(&[]))
}

/// A name that has changed, or that does nothing.
fn of_name(directive: &Directive, effective: &Effective<'_>) -> Option<Finding> {
    let (name, redis) = (Text::new(directive.name()), effective.server.as_redis());
    if directives::is_idle(name.as_str(), redis) {
        let said = format!("{name} does nothing in {}", effective.server);
        return Some(Finding::new(Rule::RA402, said).at(Some(directive), Some(0)).instead(&[]));
    }
    let new = today(directive.name());
    let is_new_enough = redis >= (7, 0) || name.as_str().contains("slave");
    if new == String::from_utf8_lossy(directive.name())
        || !is_new_enough
        || name.as_str().starts_with("primary")
        || !directives::is_known(&new)
    {
        return None;
    }
    let line = directive.place.as_ref().map_or("", |place| place.text.as_str());
    let rest = directive.spans.first().and_then(|span| line.get(span.end..)).unwrap_or_default().to_owned();
    let finding = Finding::new(Rule::RA401, format!("{name} is called {new} today")).at(Some(directive), Some(0));
    Some(finding.instead(&[&format!("{new}{rest}")]))
}

/// Directives that a later one of the same name overrules with another value.
fn overruled(effective: &Effective<'_>) -> Vec<Finding> {
    let mut last: HashMap<String, &Directive> = HashMap::new();
    let mut found = Vec::new();
    for directive in effective.directives.iter().rev().filter(|directive| !directive.name().is_empty()) {
        let name = today(directive.name()).into_owned();
        if REPEATED.contains(&name.as_str()) {
            continue;
        }
        let Some(later) = last.get(&name).copied() else {
            last.insert(name, directive);
            continue;
        };
        if later.values() == directive.values() {
            continue;
        }
        let rule = if name == "bind" { Rule::RA215 } else { Rule::RA216 };
        let by = match &later.place {
            Some(place) => format!("line {} of {}", place.line, place.file),
            None => format!("the option --{name}"),
        };
        found.push(
            Finding::new(rule, format!("{} has no effect: {by} sets it again", Text::from(name.as_str())))
                .at(Some(directive), None),
        );
    }
    found.reverse();
    found
}

/// Users and where they stand.
fn users(effective: &Effective<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    if effective.kind != Kind::Acl {
        if let (true, Some(user)) =
            (effective.has("aclfile"), effective.directives.iter().find(|directive| directive.name() == b"user"))
        {
            let said = "users stand here and in the ACL file that aclfile names: the server does not start";
            let finding = Finding::new(Rule::RA108, said).at(Some(user), None);
            found.push(finding.fix("move this user into the ACL file", None));
            return found;
        }
        if effective.has("aclfile") {
            return found; // its users were judged with the file that they stand in
        }
    }
    for bad in &effective.users.bad {
        let finding = Finding::new(Rule::RA109, bad.why).at(effective.directives.get(bad.at), None);
        found.push(finding);
    }
    found
}

/// Where it listens, as far as that keeps it from starting.
fn sockets(effective: &Effective<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    if effective.kind == Kind::Acl {
        return found;
    }
    let has_socket = effective.has("unixsocket");
    let is_deaf = effective.has_bind() && effective.settings.bind.is_empty();
    if (effective.ports().is_empty() || is_deaf) && !has_socket {
        let name = if is_deaf { "bind" } else { "port" };
        let said =
            "there is no TCP port, no TLS port and no unix socket: the server has nothing to listen on and exits";
        found.push(Finding::new(Rule::RA111, said).at_last(effective, name, None));
    }
    if let Some(path) = effective.bytes("unixsocket").filter(|path| path.len() > SOCKET_PATH) {
        let outcome = if effective.server.as_redis() >= (7, 0) {
            "the server does not start"
        } else {
            "the server cuts it and listens elsewhere"
        };
        let said = format!("the path has {} bytes, and the kernel takes {SOCKET_PATH}: {outcome}", path.len());
        found.push(Finding::new(Rule::RA110, said).at_last(effective, "unixsocket", Some(1)));
    }
    let base = [effective.settings.port, effective.settings.tls_port].into_iter().max().unwrap_or_default();
    if effective.is_on("cluster-enabled", false)
        && effective.number("cluster-port").unwrap_or_default() == 0
        && base > 55_535
    {
        let said = format!("the cluster's bus port would be {}: there is no such port", u32::from(base) + 10_000);
        found.push(Finding::new(Rule::RA112, said).at_last(effective, "port", Some(1)));
    }
    if effective.settings.tls_port != 0 && !(effective.has("tls-cert-file") && effective.has("tls-key-file")) {
        let said = "tls-port needs tls-cert-file and tls-key-file: the server does not start";
        found.push(Finding::new(Rule::RA113, said).at_last(effective, "tls-port", None));
    }
    found
}
