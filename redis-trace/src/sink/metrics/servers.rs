//! What servers said of themselves when they were asked last, for whoever scrapes.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::page::{Family, Labels, Value, seconds};
use crate::redis::info::Info;

/// Most servers that are asked: of each there are some twenty series.
pub const SERVERS: usize = 8;

/// A server that is asked how it is.
#[derive(Clone, Debug, Default)]
pub struct Server {
    /// Which, as it was named.
    target: String,
    /// When its last answer came, or was given up.
    asked: Option<Timestamp>,
    /// What it said then.
    said: Option<Facts>,
    /// How often it did not say, by why.
    unanswered: BTreeMap<&'static str, u64>,
}

/// What a server says of itself, as far as it does. A limit that it does not have is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Facts {
    clients: Option<u64>,
    clients_limit: Option<u64>,
    memory: Option<u64>,
    memory_limit: Option<u64>,
    rejected: Option<u64>,
    uptime: Option<u64>,
}

impl Server {
    /// One that was not asked yet; the name is safe to show.
    pub fn new(target: String) -> Self {
        Self { target, ..Self::default() }
    }

    /// It answered, or why it did not.
    pub fn take(&mut self, answer: Result<&Info, &'static str>, now: Timestamp) {
        self.asked = Some(now);
        self.said = answer.ok().map(|info| Facts {
            clients: info.number("connected_clients"),
            clients_limit: info.number("maxclients"),
            memory: info.number("used_memory"),
            memory_limit: info.number("maxmemory").filter(|limit| *limit > 0),
            rejected: info.number("rejected_connections"),
            uptime: info.number("uptime_in_seconds"),
        });
        if let Err(why) = answer {
            *self.unanswered.entry(why).or_default() += 1;
        }
    }

    fn labels(&self) -> Labels {
        vec![("target", self.target.clone())]
    }
}

/// All of them.
pub(super) fn families(servers: &[Server]) -> [Family; 9] {
    let series = |value: &dyn Fn(&Server) -> Option<Value>| {
        servers.iter().filter_map(|server| Some((server.labels(), value(server)?))).collect::<Vec<_>>()
    };
    let fact = |value: fn(&Facts) -> Option<u64>| {
        series(&|server: &Server| server.said.as_ref().and_then(value).map(Value::Whole))
    };
    let unanswered = servers.iter().flat_map(|server| {
        let labels = |why: &str| [server.labels(), vec![("reason", why.to_owned())]].concat();
        server.unanswered.iter().map(move |(why, number)| (labels(why), Value::Whole(*number)))
    });
    [
        Family::gauge(
            "redistrace_redis_up",
            "Whether the server answered INFO when it was asked last",
            series(&|server| server.asked.map(|_| Value::Whole(server.said.is_some().into()))),
        ),
        Family::counter(
            "redistrace_redis_unanswered",
            "Times that the server was asked and did not answer, by why",
            unanswered.collect(),
        ),
        Family::gauge(
            "redistrace_redis_asked_timestamp_seconds",
            "When the server was asked last",
            series(&|server| Some(Value::Real(seconds(server.asked?.as_millisecond())))),
        ),
        Family::gauge("redistrace_redis_clients", "Clients that are connected", fact(|facts| facts.clients)),
        Family::gauge(
            "redistrace_redis_clients_limit",
            "Clients that the server takes (maxclients)",
            fact(|facts| facts.clients_limit),
        ),
        Family::gauge("redistrace_redis_memory_bytes", "Memory in use", fact(|facts| facts.memory)),
        Family::gauge(
            "redistrace_redis_memory_limit_bytes",
            "Memory that the server may use for data (maxmemory); absent without a limit",
            fact(|facts| facts.memory_limit),
        ),
        Family::counter(
            "redistrace_redis_rejected_connections",
            "Connections that the server took and turned away: maxclients, protected mode",
            fact(|facts| facts.rejected),
        ),
        Family::gauge(
            "redistrace_redis_uptime_seconds",
            "Time since the server was started",
            fact(|facts| facts.uptime),
        ),
    ]
}
