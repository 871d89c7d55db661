//! What a configuration comes to: the last word on each directive, and the default user.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;

use super::server::Server;
use super::user::{User, Users};
use crate::redis::config::{Directive, Settings};

/// What kind of server a configuration is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One that keeps data.
    Data,
    /// A sentinel.
    Sentinel,
    /// No configuration but a file of users.
    Acl,
}

/// The name that a directive has today, by whatever name it goes.
pub fn today(name: &[u8]) -> Cow<'_, str> {
    let name = String::from_utf8_lossy(name);
    if let Some(rest) = name.strip_prefix("slave") {
        return if rest == "of" { "replicaof".into() } else { format!("replica{rest}").into() };
    }
    for (old, new) in [("min-slaves-", "min-replicas-"), ("cluster-slave-", "cluster-replica-"), ("primary", "master")]
    {
        if let Some(rest) = name.strip_prefix(old) {
            return format!("{new}{rest}").into();
        }
    }
    match name.as_ref() {
        "repl-ping-slave-period" => "repl-ping-replica-period".into(),
        "lua-time-limit" => "busy-reply-threshold".into(),
        ziplist if ziplist.contains("-ziplist-") => ziplist.replace("-ziplist-", "-listpack-").into(),
        _ => name,
    }
}

/// What a configuration comes to.
#[derive(Clone, Debug)]
pub struct Effective<'a> {
    /// Every directive, in order.
    pub directives: &'a [Directive],
    /// The last of each, by today's name.
    last: HashMap<String, usize>,
    /// Where it listens.
    pub settings: Settings,
    /// Its users, when they are known.
    pub users: Users,
    /// Who one is before one logs in; absent when an ACL file that was not read decides.
    pub default: Option<User>,
    /// What kind.
    pub kind: Kind,
    /// For which server.
    pub server: Server,
}

impl<'a> Effective<'a> {
    /// Of these directives, and of the ACL file that they name when it was read.
    pub fn new(directives: &'a [Directive], acl: Option<&[Directive]>, kind: Kind, server: Server) -> Self {
        let mut settings = Settings::new(kind == Kind::Sentinel);
        let mut last = HashMap::new();
        for (at, directive) in directives.iter().enumerate().filter(|(_, directive)| !directive.name().is_empty()) {
            settings.apply(directive.words.as_deref().unwrap_or_default());
            last.insert(today(directive.name()).into_owned(), at);
        }
        let users = Users::new(acl.unwrap_or(directives));
        let mut whole = Self { directives, last, settings, users, default: None, kind, server };
        whole.default = whole.default_user(acl.is_some());
        whole
    }

    /// The same, for another server.
    #[must_use]
    pub fn for_server(&self, server: Server) -> Self {
        Self { server, ..self.clone() }
    }

    /// An ACL file decides before users of the configuration, and those before `requirepass`.
    fn default_user(&self, has_acl: bool) -> Option<User> {
        if self.has("aclfile") && !has_acl {
            return None;
        }
        if let Some((user, _)) = self.users.users.get("default") {
            return Some(user.clone());
        }
        match self.bytes("requirepass").filter(|password| !password.is_empty()) {
            Some(password) if !has_acl => Some(User::with_password(password)),
            _ => Some(User::open()),
        }
    }

    /// The names of all that is set, as they are today, in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.last.keys().map(String::as_str)
    }

    /// The directive that decides.
    pub fn at(&self, name: &str) -> Option<usize> {
        self.last.get(name).copied()
    }

    /// It is set, and not to nothing.
    pub fn has(&self, name: &str) -> bool {
        self.bytes(name).is_some_and(|value| !value.is_empty())
    }

    /// Its first value.
    pub fn bytes(&self, name: &str) -> Option<&'a [u8]> {
        self.directives.get(self.at(name)?)?.values().first().map(Vec::as_slice)
    }

    /// Its first value as text.
    pub fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        self.bytes(name).map(String::from_utf8_lossy)
    }

    /// Its value as a number.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.text(name)?.parse().ok()
    }

    /// Whether it is on, or what it is when nobody says.
    pub fn is_on(&self, name: &str, otherwise: bool) -> bool {
        self.bytes(name).map_or(otherwise, |value| value.eq_ignore_ascii_case(b"yes"))
    }

    /// Protected mode is on; a sentinel has none unless it is told so.
    pub fn is_protected(&self) -> bool {
        self.is_on("protected-mode", self.kind != Kind::Sentinel)
    }

    /// A `bind` line decides where it listens; an empty one means every address until 6.2, and none since.
    pub fn has_bind(&self) -> bool {
        self.at("bind").is_some() && (!self.settings.bind.is_empty() || !self.server.bind_ends_protection())
    }

    /// It listens by TCP, with TLS or without.
    pub fn ports(&self) -> Vec<u16> {
        self.settings.ports()
    }

    /// Whether it listens on this address; absent when a name in `bind` decides.
    pub fn listens_on(&self, address: IpAddr) -> Option<bool> {
        if !self.has_bind() {
            return Some(true);
        }
        let plain = self.settings.bind.iter().map(|bound| bound.strip_prefix('-').unwrap_or(bound));
        let mut unknown = false;
        for bound in plain {
            let hears = match bound {
                "*" => Some(address.is_ipv4()),
                "::*" => Some(address.is_ipv6()),
                name => name.parse::<IpAddr>().ok().map(|bound| {
                    // A socket of either family takes its own alone: IPV6_V6ONLY.
                    bound == address || (bound.is_unspecified() && bound.is_ipv4() == address.is_ipv4())
                }),
            };
            match hears {
                Some(true) => return Some(true),
                Some(false) => {}
                None => unknown = true,
            }
        }
        (!unknown).then_some(false)
    }

    /// The addresses that clients elsewhere may dial: those of `bind` that are no loopback; wildcards by name.
    pub fn doors(&self) -> Vec<String> {
        if !self.has_bind() {
            return vec!["any address".to_owned()];
        }
        let plain = self.settings.bind.iter().map(|bound| bound.strip_prefix('-').unwrap_or(bound));
        let is_inner = |bound: &str| bound == "localhost" || bound.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        plain.filter(|bound| !is_inner(bound)).map(door).collect()
    }
}

/// An address of `bind` in words.
fn door(bound: &str) -> String {
    match bound {
        "*" | "0.0.0.0" => "any IPv4 address".to_owned(),
        "::*" | "::" => "any IPv6 address".to_owned(),
        other => crate::trace::text::Text::from(other).to_string(),
    }
}
