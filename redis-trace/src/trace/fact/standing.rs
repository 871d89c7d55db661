//! How a running server stands: what it was told, and how many it serves.

use serde::{Deserialize, Serialize};

use super::{ConfigLine, ProcessKey};
use crate::trace::text::Text;

/// Files that Redis keeps for itself, beside its clients: `CONFIG_MIN_RESERVED_FDS`, src/server.h.
pub const RESERVED_FILES: u64 = 32;

/// How a server stands, as far as its files and its sockets show. Nothing is asked of the server itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Which process.
    pub pid: u32,
    /// When it started.
    pub start: u64,
    /// The port that was looked at.
    pub port: u16,
    /// Connections to that port that somebody has accepted; absent when they could not be counted.
    pub connected: Option<u64>,
    /// How many files it may open (`RLIMIT_NOFILE`, soft).
    pub files: Option<u64>,
    /// What its configuration and its command line set; absent when they are not known.
    pub settings: Option<Settings>,
}

/// What a server was told when it started; CONFIG SET may have changed it since.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// `maxclients`.
    pub maxclients: u64,
    /// `timeout`: seconds after which it closes an idle client; 0 for never.
    pub timeout: u64,
    /// `tls-port`; 0 for none.
    pub tls_port: u16,
    /// The lines and options that decide.
    pub decisive: Vec<Decisive>,
}

/// What decides a directive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Decisive {
    /// A line of a configuration file.
    Line(ConfigLine),
    /// An option of the command line, secrets redacted.
    Option(Text),
}

impl Decisive {
    /// The directive with its value, secrets redacted.
    pub fn text(&self) -> &Text {
        match self {
            Self::Line(line) => &line.text,
            Self::Option(text) => text,
        }
    }
}

impl Standing {
    /// Whose it is.
    pub fn process(&self) -> ProcessKey {
        ProcessKey::new(self.pid, self.start)
    }

    /// How many clients it takes: `maxclients`, unless its limit of open files leaves room for fewer.
    pub fn takes(&self) -> Option<u64> {
        let maxclients = self.settings.as_ref()?.maxclients;
        let room = self.files.map_or(u64::MAX, |files| files.saturating_sub(RESERVED_FILES));
        Some(maxclients.min(room))
    }

    /// Whether it serves as many clients as it takes.
    pub fn is_full(&self) -> bool {
        matches!((self.connected, self.takes()), (Some(connected), Some(takes)) if connected >= takes)
    }

    /// What decides a directive, where anything does.
    pub fn decides(&self, name: &str) -> Option<&Decisive> {
        let mut decisive = self.settings.iter().flat_map(|settings| &settings.decisive);
        decisive.find(|decisive| {
            decisive.text().as_str().split_ascii_whitespace().next().is_some_and(|word| word.eq_ignore_ascii_case(name))
        })
    }
}
