//! Unix sockets: what is dialled, and what stands behind it.

use serde::{Deserialize, Serialize};

use super::{Process, Serving};
use crate::trace::text::Text;

/// A unix socket's address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnixPath {
    /// A path in the caller's mount namespace, perhaps relative to its working directory.
    File(Text),
    /// An abstract name, without its NUL.
    Abstract(Text),
}

impl UnixPath {
    /// One as people write it: `@` begins an abstract name.
    pub fn written(path: &str) -> Self {
        match path.strip_prefix('@') {
            Some(name) => Self::Abstract(Text::from(name)),
            None => Self::File(Text::from(path)),
        }
    }

    /// The path or name.
    pub fn text(&self) -> &Text {
        match self {
            Self::File(text) | Self::Abstract(text) => text,
        }
    }
}

/// What stands behind a unix socket path, seen with the eyes of the process that dialled it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnixState {
    /// Who dialled.
    pub pid: u32,
    /// What it dialled.
    pub path: UnixPath,
    /// Something exists under that path (always true for an abstract name that is bound).
    pub exists: Option<bool>,
    /// It is a socket.
    pub is_socket: Option<bool>,
    /// Somebody listens behind it.
    pub listening: Option<bool>,
    /// What waits for whoever listens behind it.
    #[serde(default)]
    pub queue: Option<UnixQueue>,
    /// The first part of the path that this user may not search or write, with its mode and owner, as a phrase.
    pub forbidden: Option<Forbidden>,
}

/// The queue of a unix socket that listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnixQueue {
    /// How many wait.
    pub queued: u32,
    /// How many may.
    pub limit: u32,
    /// Who listens.
    pub owner: Option<Process>,
    /// `net.core.somaxconn`: no queue has a higher limit.
    pub somaxconn: Option<u32>,
    /// What it does.
    pub serving: Option<Serving>,
}

/// The part of a path that a user's permission ends at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forbidden {
    /// The directory or socket.
    pub path: Text,
    /// Permission bits, as in `0770`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// A unix stream socket that a server program listens on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnixListener {
    /// Where.
    pub path: UnixPath,
    /// By whom.
    pub owner: Process,
}
