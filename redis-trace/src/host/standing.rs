//! How a running server stands: its configuration as it read it, its limit of open files, and who is connected to it.

use super::{Host, files, process, sockets};
use crate::redis::config::Directive;
use crate::redis::secret;
use crate::trace::fact::{Decisive, ProcessKey, Settings, Standing, What};
use crate::trace::flow::Netns;
use crate::trace::text::Text;

/// Directives of which the line is told that decides them.
const DECISIVE: &[&[u8]] = &[
    b"maxclients",
    b"timeout",
    b"client-output-buffer-limit",
    b"requirepass",
    b"protected-mode",
    b"maxmemory",
    b"dir",
];

impl Host {
    /// How a server stands that was started with these arguments, as far as that was seen, and listens on this port.
    pub(super) fn standing(&self, key: ProcessKey, argv: &[Text], netns: Netns, port: u16) -> What {
        let mut standing = Standing { pid: key.pid, start: key.start(), port, ..Standing::default() };
        standing.connected = self.inside(netns, || sockets::accepted(port)).flatten().ok();
        if process::lives(key) {
            standing.files = files::limit(key.pid);
            standing.settings = (!argv.is_empty()).then(|| settings(key, argv)).flatten();
        }
        What::Standing(standing)
    }
}

/// What a server was told; nothing when a part of it could not be read.
fn settings(key: ProcessKey, argv: &[Text]) -> Option<Settings> {
    let configuration = files::configuration(key, argv);
    if configuration.unread().is_some() {
        return None;
    }
    let timeout = configuration.directives.iter().rev().find(|directive| directive.name() == b"timeout");
    let timeout = timeout.and_then(|directive| std::str::from_utf8(directive.values().first()?).ok()?.parse().ok());
    let last = |name: &&[u8]| configuration.directives.iter().rev().find(|directive| directive.name() == *name);
    Some(Settings {
        maxclients: configuration.settings.maxclients,
        timeout: timeout.unwrap_or_default(),
        tls_port: configuration.settings.tls_port,
        decisive: DECISIVE.iter().filter_map(last).map(decisive).collect(),
    })
}

/// A directive as it may be shown.
fn decisive(directive: &Directive) -> Decisive {
    let words = directive.words.as_deref().unwrap_or_default();
    let option = || Decisive::Option(secret::redact_line(&Text::new(&words.join(&b' '))));
    directive.place.clone().map_or_else(option, Decisive::Line)
}
