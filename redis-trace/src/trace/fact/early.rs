//! Connections that end early: accepted, and then turned away or left without a word.

use serde::{Deserialize, Serialize};

use super::Task;
use crate::trace::flow::{Endpoint, Flow};
use crate::trace::text::Text;

/// A connection that ended when its server had said no, or next to nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EarlyEnd {
    /// Who dialled what.
    pub flow: Flow,
    /// The thread of the server that closed it, where this host is the server's.
    pub server: Option<Task>,
    /// The client's end told of it too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub client: bool,
    /// Bytes that the server sent.
    pub sent: u32,
    /// Bytes that the client sent.
    pub received: u32,
    /// Of them, those that the server read; absent where the client's end tells.
    pub read: Option<u32>,
    /// Sequence number behind the server's last byte: both ends know it.
    pub end: u32,
    /// For how long no data had come, milliseconds.
    pub idle_ms: u32,
    /// Bytes that the server sent and the client had not acknowledged.
    #[serde(default)]
    pub waiting: u32,
    /// For how long the end that tells had sent no data, milliseconds.
    #[serde(default)]
    pub quiet_ms: u32,
    /// How it ended.
    pub parting: Parting,
    /// What those that ended alike were counted as.
    pub kind: u16,
    /// Of the bytes that the server sent, so many at the end are known.
    pub known: u32,
    /// The first line of what is known, when it begins as a refusal does and nothing but errors follows.
    pub reply: Option<Text>,
    /// Where the server sent the client with what it said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect: Option<Endpoint>,
    /// The TLS alert that ended it: what it complains of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert: Option<u8>,
}

/// How a connection ended early, and which end tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Parting {
    /// The server closed it.
    Closed,
    /// The server closed it with data unread, and so reset it.
    Reset,
    /// The client closed it first.
    Left,
    /// The server closed it though the client had asked nothing for a while.
    Waited,
    /// The client's end: the server closed or reset it.
    LeftByServer,
    /// The client's end: it sent a TLS `ClientHello`, had no answer, and closed.
    HelloUnanswered,
    /// The client's end: it sent a TLS alert, and closed.
    Alerted,
}
