//! Configurations beside each other: in what those of one kind differ that were audited together.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::live::{normal, shown, written};
use crate::redis::audit::effective::Effective;
use crate::trace::text::Text;

/// What instances on one host cannot share, and what each has for itself.
const OWN: &[&str] =
    &["port", "tls-port", "bind", "unixsocket", "pidfile", "logfile", "dir", "dbfilename", "syslog-ident"];

/// A configuration's directives by today's names: value and line.
pub(super) struct Instance {
    file: Text,
    settings: BTreeMap<String, (String, Option<u32>)>,
}

/// How a configuration differs from the first of its kind that was audited with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Unlike {
    /// That first one.
    pub first: Text,
    /// The directives that differ; what each instance must have for itself is not among them.
    pub differs: Vec<Unlikeness>,
}

/// A directive that two files set differently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Unlikeness {
    /// Which.
    pub directive: Text,
    /// Its value in the first file, secrets hidden; absent when it is not set there.
    pub first: Option<String>,
    /// Its value in this file, likewise.
    pub here: Option<String>,
    /// Its line in this file.
    pub line: Option<u32>,
}

impl Instance {
    pub(super) fn new(file: &Text, effective: &Effective<'_>) -> Self {
        let line = |name: &str| Some(effective.directives.get(effective.at(name)?)?.place.as_ref()?.line);
        let own = |name: &&str| !OWN.contains(name);
        let settings = effective.names().filter(own).filter_map(|name| {
            let value = written(effective, name)?;
            Some((name.to_owned(), (value, line(name))))
        });
        Self { file: file.clone(), settings: settings.collect() }
    }

    /// In what another differs from this one.
    pub(super) fn unlike(&self, other: &Self) -> Unlike {
        let names = self.settings.keys().chain(other.settings.keys().filter(|name| !self.settings.contains_key(*name)));
        let value = |of: &Self, name: &str| of.settings.get(name).map(|(value, _)| normal(value));
        let differs = names.filter(|name| value(self, name) != value(other, name));
        let told = |of: &Self, name: &str| of.settings.get(name).map(|(value, _)| shown(name, value));
        let mut differs: Vec<Unlikeness> = differs
            .map(|name| Unlikeness {
                directive: Text::from(name.as_str()),
                first: told(self, name),
                here: told(other, name),
                line: other.settings.get(name).and_then(|(_, line)| *line),
            })
            .collect();
        differs.sort_by(|one, other| one.directive.as_str().cmp(other.directive.as_str()));
        Unlike { first: self.file.clone(), differs }
    }
}
