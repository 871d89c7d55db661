//! What must be told of what happened on a stage.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::Stage;
use crate::commands::demo::actor::Dialled;
use crate::commands::demo::expect::Expected;
use crate::trace::cause::Code;

impl Stage {
    /// A refusal of this dial: both ends seen, the right client, the right address.
    pub(crate) fn refusal(&self, code: Code, dialled: &Dialled, server: SocketAddr) -> Expected {
        let mut flow = json!({"protocol": "tcp", "netns": self.netns(), "server": endpoint(server)});
        if let Some(from) = dialled.from.filter(|from| from.port() != 0) {
            flow["client"] = json!({"port": from.port()});
        }
        Expected::refusal(code).with(json!({"outcome": "refused", "side": "both", "flow": flow,
            "client_process": {"pid": dialled.pid, "comm": "client", "uid": dialled.uid}}))
    }

    /// What a dial came to of which no other end was seen.
    pub(crate) fn failure(&self, code: Code, dialled: &Dialled, server: SocketAddr, outcome: &str) -> Expected {
        self.refusal(code, dialled, server).with(json!({"outcome": outcome, "side": "client"}))
    }

    /// A server's failure to listen there.
    pub(crate) fn listen_failure(&self, code: Code, pid: u32, asked: Option<SocketAddr>) -> Expected {
        let flow = json!({"client": null, "server": asked.map(endpoint), "netns": self.netns()});
        Expected::refusal(code)
            .with(json!({"outcome": "listen_failed", "side": "server", "flow": flow, "client_process": null, "server_process": {"pid": pid, "comm": self.server.comm()}}))
    }
}

/// A refusal of a dial of a unix socket.
pub(crate) fn unix_refusal(code: Code, dialled: &Dialled, path: &str, outcome: &str) -> Expected {
    Expected::refusal(code).with(json!({"outcome": outcome, "unix": {"path": path},
        "client_process": {"pid": dialled.pid, "comm": "client", "uid": dialled.uid}}))
}

/// An address as the output has it.
pub(crate) fn endpoint(address: SocketAddr) -> Value {
    json!({"ip": address.ip(), "port": address.port()})
}
