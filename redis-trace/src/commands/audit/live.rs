//! The running server beside its file. Whatever may not be asked is said, and the file is judged all the same.

use std::collections::BTreeMap;
use std::str::FromStr;

use redis::Value;
use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::AuditArgs;
use crate::commands::doctor::dial::{self, Connection, Dial};
use crate::commands::doctor::server::{No, Server as Session};
use crate::commands::doctor::talk::Credentials;
use crate::commands::doctor::tls::{self, Trust};
use crate::failure::{Exit, Failure};
use crate::redis::audit::effective::{Effective, today};
use crate::redis::audit::server::{Product, Server};
use crate::redis::secret::REDACTED;
use crate::redis::target::Target;
use crate::trace::text::Text;

/// Directives whose values are secret.
const SECRET: &[&str] = &["requirepass", "masterauth", "tls-key-file-pass", "tls-client-key-file-pass"];

/// Directives that a server does not give back as they were written.
const INCOMPARABLE: &[&str] = &[
    "client-output-buffer-limit",
    "notify-keyspace-events",
    "oom-score-adj-values",
    "include",
    "user",
    "rename-command",
    "loadmodule",
    "sentinel",
    "latency-tracking-info-percentiles",
];

/// What a server has when nobody says, for the directives that decide who gets in.
const DEFAULTS: &[(&str, &str)] = &[
    ("port", "6379"),
    ("tls-port", "0"),
    ("protected-mode", "yes"),
    ("requirepass", ""),
    ("maxclients", "10000"),
    ("tcp-backlog", "511"),
    ("timeout", "0"),
    ("unixsocket", ""),
];

/// A running server, as far as it answers.
pub(super) struct Running {
    target: String,
    /// Its version.
    pub(super) server: Option<Server>,
    /// Its settings, by today's names.
    settings: BTreeMap<String, String>,
    /// What was not asked, or not answered.
    not_asked: Vec<String>,
}

/// How the running server differs from its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Drift {
    /// Which server.
    pub server: String,
    /// So many directives were compared.
    pub compared: usize,
    /// Those that differ.
    pub differs: Vec<Difference>,
    /// What could not be asked, and why.
    pub not_asked: Vec<String>,
}

/// A directive that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Difference {
    /// Which.
    pub directive: String,
    /// Its value in the file, secrets hidden; absent when it is not set there.
    pub file: Option<String>,
    /// The file's line.
    pub line: Option<u32>,
    /// Its value in the server, secrets hidden.
    pub running: String,
}

/// Asks a server. One that is not reached or does not let in is a result like any other.
pub(super) fn ask(target: &str, args: &AuditArgs) -> anyhow::Result<Running> {
    let target = Target::from_str(target).map_err(|why| {
        Failure::new(Exit::Usage, format!("cannot tell which server to ask: {why}"))
            .attempt("redis-trace audit FILE --live HOST[:PORT]")
    })?;
    let credentials = Credentials::new(&args.login, &target)?;
    let mut running =
        Running { target: target.to_string(), server: None, settings: BTreeMap::new(), not_asked: Vec::new() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let places = runtime.block_on(dial::places(&target));
    runtime.shutdown_background();
    let reached = places.and_then(|places| {
        let mut dials = places.into_iter().take(2).map(dial::dial);
        let connected = dials.find_map(|Dial { place, result, .. }| Some((place, result.ok()?)));
        connected.ok_or_else(|| format!("{target} was not reached: redis-trace doctor {target} says why"))
    });
    let reached = match (reached, &target) {
        (Ok((place, Connection::Tcp(stream))), Target::Tcp { host, tls: true, .. }) => {
            tls::connect(stream, &place, host, &Trust::new(&args.tls)?)?
        }
        (reached, _) => reached.map(|(_, connection)| connection),
    };
    match reached {
        Ok(connection) => running.interview(&mut Session(connection), &credentials),
        Err(why) => running.not_asked.push(format!("everything: {why}")),
    }
    Ok(running)
}

impl Running {
    /// Four commands at most, all of which read.
    fn interview(&mut self, session: &mut Session, credentials: &Credentials) {
        let mut admitted = session.lets_in();
        for command in credentials.auth().into_iter().chain([redis::cmd("PING")]) {
            admitted = admitted.and_then(|()| session.serves(&command).map(|_| ()));
        }
        match admitted {
            Ok(()) => self.look(session),
            Err(No::Said(said, _)) => self.not_asked.push(format!("everything: {}", said.meaning)),
            Err(No::Tls(error)) => self.not_asked.push(format!("everything: {error}")),
        }
    }

    /// Its version and its settings.
    fn look(&mut self, session: &mut Session) {
        let info = session.info();
        let version = info.text("valkey_version").map(|version| (Product::Valkey, version));
        let version = version.or_else(|| info.text("redis_version").map(|version| (Product::Redis, version)));
        self.server = version.and_then(|(product, version)| {
            let server: Server = version.parse().ok()?;
            Some(Server { product, ..server })
        });
        if self.server.is_none() {
            self.not_asked.push("the version: INFO is not answered".to_owned());
        }
        match session.ask(redis::cmd("CONFIG").arg("GET").arg("*")) {
            Some(Value::Array(pairs)) => {
                for pair in pairs.chunks_exact(2) {
                    if let [Value::BulkString(name), Value::BulkString(value)] = pair {
                        let name = today(name).into_owned();
                        self.settings.insert(name, String::from_utf8_lossy(value).into_owned());
                    }
                }
            }
            _ => self.not_asked.push(
                "the settings: CONFIG GET is not answered (a user needs +config|get; some services take it away)"
                    .to_owned(),
            ),
        }
    }

    /// Compares it with a file.
    pub(super) fn compare(&self, effective: &Effective<'_>) -> Drift {
        let mut differs = Vec::new();
        let mut compared = 0;
        for (name, running) in &self.settings {
            if INCOMPARABLE.contains(&name.as_str()) {
                continue;
            }
            let written = written(effective, name);
            let default = DEFAULTS.iter().find(|(known, _)| known == name).map(|(_, value)| (*value).to_owned());
            let Some(expected) = written.clone().or(default) else { continue };
            if expected.starts_with("./") {
                continue; // the server tells where it is, not what was written
            }
            compared += 1;
            if normal(&expected) == normal(running) {
                continue;
            }
            let place = effective.at(name).and_then(|at| effective.directives.get(at)?.place.as_ref());
            differs.push(Difference {
                directive: Text::from(name.as_str()).to_string(),
                file: written.map(|value| shown(name, &value)),
                line: place.map(|place| place.line),
                running: shown(name, running),
            });
        }
        Drift { server: self.target.clone(), compared, differs, not_asked: self.not_asked.clone() }
    }
}

/// What the file has for a name; `save` lines add up.
pub(super) fn written(effective: &Effective<'_>, name: &str) -> Option<String> {
    let last = effective.directives.get(effective.at(name)?)?;
    let saves = effective.directives.iter().filter(|directive| name == "save" && directive.name() == b"save");
    let values: Vec<String> = match name {
        "save" => saves
            .flat_map(|saved| saved.values().iter())
            .map(|value| String::from_utf8_lossy(value).into_owned())
            .collect(),
        _ => last.values().iter().map(|value| String::from_utf8_lossy(value).into_owned()).collect(),
    };
    Some(values.join(" "))
}

/// A value so that what means the same is the same: letters' case, amounts of memory, blanks.
pub(super) fn normal(value: &str) -> String {
    let lower = value.trim().to_ascii_lowercase();
    let digits = lower.chars().take_while(char::is_ascii_digit).count();
    let factor: u128 = match &lower[digits..] {
        "b" => 1,
        "k" => 1_000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return lower.split_ascii_whitespace().collect::<Vec<_>>().join(" "),
    };
    lower[..digits].parse::<u128>().map_or(lower.clone(), |number| (number * factor).to_string())
}

/// A value that may be shown.
pub(super) fn shown(name: &str, value: &str) -> String {
    match value {
        "" => "\"\"".to_owned(),
        _ if SECRET.contains(&name) => REDACTED.to_owned(),
        value => Text::from(value).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_mean_the_same_are_the_same() {
        assert_eq!(normal("100MB"), normal("104857600"));
        assert_eq!(normal("1k"), "1000");
        assert_eq!(normal(" Yes"), "yes");
        assert_eq!(normal("3600  1 300 100"), "3600 1 300 100");
        assert_eq!(
            normal("99999999999999999999999999999999999999999gb"),
            "99999999999999999999999999999999999999999gb"
        );
    }
}
