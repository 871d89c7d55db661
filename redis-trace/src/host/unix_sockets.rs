//! Unix sockets of the calling thread's network namespace, as the kernel's `unix_diag` shows them.

use std::os::unix::ffi::OsStrExt;

use netlink_packet_core::Nla as _;
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{SOCK_STREAM, TCP_LISTEN};
use netlink_packet_sock_diag::unix::nlas::{Nla, UnixDiagName};
use netlink_packet_sock_diag::unix::{ShowFlags, StateFlags, UnixRequest, UnixResponse};

use super::netlink;
use crate::trace::fact::UnixPath;
use crate::trace::text::Text;

/// The file a socket is bound to, as `unix_diag` names it: the kernel's own device number, and 32 bits of the inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileId {
    /// Device, 12 bits major and 20 bits minor.
    pub(crate) device: u32,
    /// Inode, cut.
    pub(crate) inode: u32,
}

/// A unix socket that has a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnixSocket {
    /// The name it was bound to.
    pub(crate) name: UnixPath,
    /// Inode of the socket itself.
    pub(crate) inode: u64,
    /// The file it is bound to; the name alone may lead elsewhere by now.
    pub(crate) file: Option<FileId>,
    /// It listens.
    pub(crate) listening: bool,
    /// It is a stream socket.
    pub(crate) stream: bool,
    /// What is in its queue and what may be, when it listens.
    pub(crate) queue: Option<(u32, u32)>,
}

/// Those that listen.
pub(crate) fn listeners() -> Result<Vec<UnixSocket>, String> {
    sockets(StateFlags::LISTEN)
}

/// All that have a name.
pub(crate) fn named() -> Result<Vec<UnixSocket>, String> {
    sockets(StateFlags::from_bits_retain(u32::MAX))
}

/// Those in certain states.
fn sockets(state_flags: StateFlags) -> Result<Vec<UnixSocket>, String> {
    let show_flags = ShowFlags::NAME | ShowFlags::VFS | ShowFlags::RQLEN;
    let request = UnixRequest { state_flags, inode: 0, show_flags, cookie: [0xff; 8] };
    let mut sockets = Vec::new();
    netlink::dump(SockDiagMessage::UnixRequest(request), |answer| {
        if let SockDiagMessage::UnixResponse(answer) = answer {
            sockets.extend(socket(&answer));
        }
    })?;
    Ok(sockets)
}

/// One answer; a socket without a name cannot be dialled.
fn socket(answer: &UnixResponse) -> Option<UnixSocket> {
    let name = match answer.name()? {
        UnixDiagName::Pathname(path) => UnixPath::File(Text::until_nul(path.as_bytes())),
        UnixDiagName::Abstract(name) => UnixPath::Abstract(Text::new(name)),
    };
    Some(UnixSocket {
        name,
        inode: u64::from(answer.header.inode),
        file: answer.nlas.iter().find_map(file),
        listening: answer.header.state == TCP_LISTEN,
        stream: answer.header.kind == SOCK_STREAM,
        queue: answer.nlas.iter().find_map(|nla| match nla {
            Nla::ReceiveQueueLength(queued, limit) => Some((*queued, *limit)),
            _ => None,
        }),
    })
}

/// `struct unix_diag_vfs` of include/uapi/linux/unix_diag.h, whose fields the library keeps to itself.
fn file(nla: &Nla) -> Option<FileId> {
    let Nla::Vfs(_) = nla else { return None };
    let mut bytes = [0; 8];
    nla.emit_value(&mut bytes);
    let (inode, device) = (bytes.first_chunk()?, bytes.last_chunk()?);
    Some(FileId { device: u32::from_ne_bytes(*device), inode: u32::from_ne_bytes(*inode) })
}
