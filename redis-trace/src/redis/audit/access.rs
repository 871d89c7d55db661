//! Who gets in from where, and who is refused how, by the real rules: seen on twelve servers, and compared with a running
//! one by a test.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::Serialize;

use super::effective::Effective;
use super::user::Commands;

/// What a client that dials and says PING is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Nobody listens there: ECONNREFUSED.
    NotListening,
    /// The connection is taken, told -DENIED and closed.
    Denied,
    /// It gets in without a password and may do everything.
    Open,
    /// It gets in without a password and may do some things.
    Limited,
    /// It gets in without a password and may do nothing: -NOPERM.
    Powerless,
    /// It must log in: -NOAUTH until then.
    Password,
    /// A name in `bind` or an ACL file that was not read decides.
    Unknown,
}

impl Answer {
    /// In words.
    pub fn told(self) -> &'static str {
        match self {
            Self::NotListening => "refused by the kernel: nobody listens there",
            Self::Denied => "accepted, told -DENIED and closed: protected mode",
            Self::Open => "gets in without a password, and may do everything",
            Self::Limited => "gets in without a password, and may do some things",
            Self::Powerless => "gets in without a password, and may do nothing (-NOPERM)",
            Self::Password => "must log in (-NOAUTH until then)",
            Self::Unknown => "cannot be told from this file alone",
        }
    }

    /// The cause that such a client meets.
    pub fn cause(self) -> Option<&'static str> {
        match self {
            Self::NotListening => Some("RT1007"),
            Self::Denied => Some("RT6001"),
            Self::Powerless => Some("RT6006"),
            Self::Password => Some("RT6003"),
            Self::Open | Self::Limited | Self::Unknown => None,
        }
    }
}

/// What a client at this address is answered when it dials that one.
pub fn answer(effective: &Effective<'_>, from: IpAddr, to: IpAddr) -> Answer {
    if effective.ports().is_empty() {
        return Answer::NotListening;
    }
    match effective.listens_on(to) {
        Some(true) => admitted(effective, Some(from)),
        Some(false) => Answer::NotListening,
        None => Answer::Unknown,
    }
}

/// What a client whose connection was taken is answered; one without an address came by the unix socket.
pub fn admitted(effective: &Effective<'_>, from: Option<IpAddr>) -> Answer {
    let Some(user) = &effective.default else { return Answer::Unknown };
    let is_local = from.is_none_or(|from| effective.server.is_local(from));
    let is_ended = effective.server.bind_ends_protection() && effective.has_bind();
    if user.nopass && effective.is_protected() && !is_local && !is_ended {
        return Answer::Denied;
    }
    match (user.nopass && user.on, user.commands) {
        (false, _) => Answer::Password,
        (true, Commands::All) => Answer::Open,
        (true, Commands::Some) => Answer::Limited,
        (true, Commands::None) => Answer::Powerless,
    }
}

/// One kind of client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Row {
    /// Who, and what it dials.
    pub client: String,
    /// What it is answered.
    pub answer: Answer,
    /// The cause that it meets.
    pub cause: Option<&'static str>,
}

/// An address that stands for another host's, and for one of this host that no `bind` names: set aside for examples.
const EXAMPLES: [(IpAddr, IpAddr); 2] = [
    (IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 9)), IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1))),
    (
        IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9)),
        IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
    ),
];

/// Every kind of client.
pub fn rows(effective: &Effective<'_>) -> Vec<Row> {
    let row = |client: String, answer: Answer| Row { client, answer, cause: answer.cause() };
    let mut rows = Vec::new();
    if !effective.ports().is_empty() {
        for loopback in [IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)] {
            rows.push(row(format!("this host, by {loopback}"), answer(effective, loopback, loopback)));
        }
        for (other, own) in EXAMPLES {
            let family = if own.is_ipv4() { "IPv4" } else { "IPv6" };
            let door = named_door(effective, own.is_ipv4()).unwrap_or(own);
            let what = if door == own { format!("its own {family} address") } else { door.to_string() };
            rows.push(row(format!("this host, by {what}"), answer(effective, door, door)));
            let what = if door == own { format!("by {family}") } else { format!("by {door}") };
            rows.push(row(format!("another host, {what}"), answer(effective, other, door)));
        }
    }
    if effective.has("unixsocket") {
        rows.push(row("this host, by the unix socket".to_owned(), admitted(effective, None)));
    }
    rows
}

/// An address of this family in `bind` that others may dial.
fn named_door(effective: &Effective<'_>, is_ipv4: bool) -> Option<IpAddr> {
    let named = effective.settings.bind.iter().map(|bound| bound.strip_prefix('-').unwrap_or(bound));
    let addresses = named.filter_map(|bound| bound.parse::<IpAddr>().ok());
    let mut doors = addresses.filter(|ip| ip.is_ipv4() == is_ipv4 && !ip.is_loopback() && !ip.is_unspecified());
    doors.next()
}
