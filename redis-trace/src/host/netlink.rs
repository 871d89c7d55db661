//! Netlink: one question to the kernel, many answers.

use std::fmt::Debug;
use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable,
};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr};

/// The kernel fills at most this much at once.
const BUFFER: usize = 64 << 10;

/// The kernel's answers end here.
const HEADER: usize = 16;

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// One object.
    One,
    /// All there are.
    All,
    /// All there are of the kind that the request describes: since Linux 4.20, a table of routes is not sent whole.
    Filtered,
}

/// Asks about sockets of the calling thread's namespace and hands out each answer.
pub(crate) fn dump(request: SockDiagMessage, each: impl FnMut(SockDiagMessage)) -> Result<(), String> {
    talk(NETLINK_SOCK_DIAG, Wanted::All, request, each)
        .map_err(|error| format!("The kernel's sock_diag could not be asked, or broke off: {error}."))
}

/// Asks about one socket of the calling thread's namespace, and hands out the answer; an error when there is no such socket.
pub(crate) fn find(request: SockDiagMessage, each: impl FnMut(SockDiagMessage)) -> io::Result<()> {
    talk(NETLINK_SOCK_DIAG, Wanted::One, request, each)
}

/// Asks on a netlink protocol and hands out each answer; an error is the kernel's own.
pub(crate) fn talk<M>(protocol: isize, wanted: Wanted, request: M, each: impl FnMut(M)) -> io::Result<()>
where
    M: NetlinkSerializable + NetlinkDeserializable + Debug,
{
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    if wanted == Wanted::Filtered {
        socket.set_netlink_get_strict_chk(true)?;
    }
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | if wanted == Wanted::One { NLM_F_ACK } else { NLM_F_DUMP };
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(request));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;
    listen(&socket, each)
}

/// Reads until the kernel says that was all.
fn listen<M: NetlinkDeserializable + Debug>(socket: &Socket, mut each: impl FnMut(M)) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(BUFFER);
    loop {
        buffer.clear();
        socket.recv_from(&mut buffer, 0)?;
        let mut rest = buffer.as_slice();
        while let Some((message, after)) = split(rest) {
            rest = after;
            // One answer whose name or attribute cannot be decoded must not hide the others.
            let Ok(message) = NetlinkMessage::<M>::deserialize(message) else { continue };
            match message.payload {
                NetlinkPayload::InnerMessage(answer) => each(answer),
                // Without a code it says that all was done.
                NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                NetlinkPayload::Done(done) if done.code != 0 => {
                    return Err(io::Error::from_raw_os_error(done.code.saturating_neg()));
                }
                NetlinkPayload::Done(_) | NetlinkPayload::Error(_) => return Ok(()),
                _ => {}
            }
        }
    }
}

/// The first message of a datagram, and what follows it.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
    if length < HEADER {
        return None;
    }
    let message = bytes.get(..length)?;
    Some((message, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}
